/* Cores under random faults: time, network, and carrying updates out; see torture.h. */
#include "tests/support/torture.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/err.h"
#include "lib/base/mem.h"
#include "tests/unit/tap.h"

struct torture_event {
    uint64_t at_us, number;
    enum { ARRIVES, SNAPSHOT_ARRIVES, SNAPSHOT_RESULT, UNREACHABLE } kind;
    raft_id to, from;
    struct raft_message message;
    struct torture_entry *entries; /* owned */
    struct raft_snapshot snapshot;
    uint64_t transfer;
    bool success;
};

struct torture_arena {
    struct torture_arena *next;
    uint64_t align[2];
};

void *torture_keep(struct torture *t, const void *data, size_t size)
{
    struct torture_arena *chunk = mem_alloc(sizeof(*chunk) + size);
    chunk->next = t->arena;
    t->arena = chunk;
    memcpy(chunk + 1, data, size);
    return chunk + 1;
}

/* --- chance and time */

uint64_t torture_below(struct torture *t, uint64_t bound)
{
    return bound > 0 ? prng_below(&t->prng, bound) : 0;
}

bool torture_chance(struct torture *t, uint32_t per_mille)
{
    return prng_chance(&t->prng, per_mille, 1000);
}

uint64_t torture_clock(const struct torture *t, const struct torture_node *n)
{
    int64_t now = (int64_t)t->now_us;
    return (uint64_t)(n->clock_offset_us + now + now * n->clock_ppm / 1000000);
}

/* When the node's clock shows `local`. */
static uint64_t when(const struct torture *t, const struct torture_node *n, uint64_t local)
{
    uint64_t clock = torture_clock(t, n);
    if (local <= clock)
        return t->now_us;
    if (local - clock > 1000000000) /* far away */
        return t->now_us + 1000000000;
    return t->now_us + (uint64_t)((int64_t)(local - clock) * 1000000 / (1000000 + n->clock_ppm)) +
           1;
}

/* --- failing */

static void show(const struct torture_node *n)
{
    struct raft_trace lines[60];
    const struct raft *r = n->core;
    if (!r) {
        diag("node %" PRIu64 " is down", n->id);
        return;
    }
    uint32_t count = raft_trace_read(r, 0, lines, 60);
    diag("node %" PRIu64 ": %s, term %" PRIu64 ", vote %" PRIu64 ", leader %" PRIu64
         ", log %" PRIu64 "..%" PRIu64 ", durable %" PRIu64 ", commit %" PRIu64 ", disk %" PRIu64
         "..%" PRIu64,
         n->id, raft_state_name(raft_state(r)), raft_term_current(r), raft_vote(r), raft_leader(r),
         raft_first_index(r), raft_last_index(r), raft_durable_index(r), raft_commit_index(r),
         n->snapshot.index + 1, n->disk_last);
    for (uint32_t i = 0; i < count; i++) {
        char text[200];
        raft_trace_format(&lines[i], text, sizeof(text), NULL, NULL);
        diag("    %" PRIu64 " t%" PRIu64 " %s", lines[i].now_us - (uint64_t)n->clock_offset_us,
             lines[i].term, text);
    }
}

void torture_fail(struct torture *t, const char *fmt, ...)
{
    if (t->failed)
        return;
    t->failed = true;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(t->failure, sizeof(t->failure), fmt, ap);
    va_end(ap);
    diag("seed %" PRIu64 ", at %" PRIu64 " us: %s", t->seed, t->now_us, t->failure);
    for (raft_id id = 1; id < TORTURE_NODES; id++)
        if (t->nodes[id].exists)
            show(&t->nodes[id]);
}

static void tell(struct torture *t, struct torture_node *n, uint64_t after)
{
    struct raft_trace lines[32];
    uint32_t count = raft_trace_read(n->core, after, lines, 32);
    for (uint32_t i = 0; i < count; i++) {
        char text[200];
        raft_trace_format(&lines[i], text, sizeof(text), NULL, NULL);
        diag("%9" PRIu64 " n%" PRIu64 " t%" PRIu64 " %s", t->now_us, n->id, lines[i].term, text);
    }
}

/* --- the queue: a heap by time */

static bool is_before(const struct torture_event *a, const struct torture_event *b)
{
    return a->at_us < b->at_us || (a->at_us == b->at_us && a->number < b->number);
}

static void enqueue(struct torture *t, struct torture_event *e)
{
    e->number = ++t->last_event;
    must(t->queue_count < TORTURE_EVENTS);
    uint32_t i = t->queue_count++;
    for (; i > 0 && is_before(e, t->queue[(i - 1) / 2]); i = (i - 1) / 2)
        t->queue[i] = t->queue[(i - 1) / 2];
    t->queue[i] = e;
}

static struct torture_event *dequeue(struct torture *t)
{
    struct torture_event *first = t->queue[0], *moved = t->queue[--t->queue_count];
    uint32_t i = 0;
    for (;;) {
        uint32_t child = 2 * i + 1;
        if (child + 1 < t->queue_count && is_before(t->queue[child + 1], t->queue[child]))
            child++;
        if (child >= t->queue_count || !is_before(t->queue[child], moved))
            break;
        t->queue[i] = t->queue[child];
        i = child;
    }
    t->queue[i] = moved;
    return first;
}

static struct torture_event *event_new(struct torture *t, uint64_t delay_us)
{
    struct torture_event *e = mem_zalloc(sizeof(*e));
    e->at_us = t->now_us + delay_us;
    return e;
}

static void event_free(struct torture_event *e)
{
    mem_free(e->entries);
    mem_free(e);
}

/* --- the network */

static uint64_t delay_us(struct torture *t)
{
    if (t->calm)
        return 100 + torture_below(t, 900);
    if (torture_chance(t, 20))
        return torture_below(t, t->plan.slow_delay_max_us);
    return 50 + torture_below(t, t->plan.delay_max_us);
}

static void transmit(struct torture *t, const struct raft_message *m,
                     const struct torture_entry *entries)
{
    struct torture_event *e = event_new(t, delay_us(t));
    e->kind = ARRIVES;
    e->to = m->to;
    e->from = m->from;
    e->message = *m;
    if (m->entry_count > 0)
        e->entries = mem_dup(entries, m->entry_count * sizeof(*entries));
    uint64_t *link = &t->link_us[m->from][m->to];
    bool in_order = m->type == RAFT_APPEND && !torture_chance(t, t->calm ? 0 : t->plan.reorder);
    if (in_order && e->at_us < *link)
        e->at_us = *link;
    if (m->type == RAFT_APPEND && e->at_us > *link)
        *link = e->at_us;
    enqueue(t, e);
}

static void send_part(struct torture *t, const struct raft_message *m,
                      const struct torture_entry *entries)
{
    bool lost = t->cut[m->from][m->to] || (!t->calm && torture_chance(t, t->plan.loss));
    if (lost) {
        if (torture_chance(t, t->plan.unreachable)) {
            struct torture_event *e = event_new(t, delay_us(t));
            e->kind = UNREACHABLE;
            e->to = m->from;
            e->from = m->to;
            enqueue(t, e);
        }
        return;
    }
    transmit(t, m, entries);
    if (!t->calm && torture_chance(t, t->plan.duplicate))
        transmit(t, m, entries);
}

static void check_answer(struct torture *t, struct torture_node *n, const struct raft_message *m)
{
    for (uint32_t i = 0; i < n->waiting_count; i++) {
        if (n->waiting[i] != m->context)
            continue;
        n->waiting[i] = n->waiting[--n->waiting_count];
        return;
    }
    torture_fail(t, "node %" PRIu64 " answers twice, or nobody: %s", n->id,
                 raft_message_name(m->type));
}

static void send_append(struct torture *t, struct torture_node *n, struct raft_message *m)
{
    raft_index last = m->prev_index + m->entry_count;
    if (last > n->last || m->prev_index < raft_snapshot_index(n->core) ||
        raft_term_at(n->core, m->prev_index) != m->prev_term) {
        torture_fail(t, "node %" PRIu64 " appends %" PRIu64 "+%u, which it has not", n->id,
                     m->prev_index, m->entry_count);
        return;
    }
    const struct torture_entry *entries = &n->log[m->prev_index + 1];
    if (m->entry_count > 1 && torture_chance(t, t->plan.split)) { /* as a carrier may */
        struct raft_message part = *m;
        part.entry_count = 1 + (uint32_t)torture_below(t, m->entry_count - 1);
        send_part(t, &part, entries);
        entries += part.entry_count;
        m->prev_index += part.entry_count;
        m->prev_term = n->log[m->prev_index].term;
        m->entry_count -= part.entry_count;
    }
    send_part(t, m, entries);
}

static void send_message(struct torture *t, struct torture_node *n, const struct raft_message *out)
{
    struct raft_message m = *out;
    if (m.from != n->id || m.to == n->id || m.to == 0 || m.to >= TORTURE_NODES)
        torture_fail(t, "node %" PRIu64 " sends a %s to %" PRIu64, n->id, raft_message_name(m.type),
                     m.to);
    else if (m.type == RAFT_SEND_SNAPSHOT)
        torture_snapshot_send(t, n, &m);
    else if (m.type == RAFT_APPEND)
        send_append(t, n, &m);
    else
        send_part(t, &m, NULL);
    if (m.type != RAFT_SEND_SNAPSHOT && !raft_message_is_request(m.type))
        check_answer(t, n, &m);
}

/* --- steps */

static void write_entries(struct torture *t, struct torture_node *n, const struct raft_update *u,
                          const struct raft_event *event, const struct torture_entry *entries)
{
    if (u->write_first != n->last + 1 || u->write_last >= TORTURE_LOG) {
        torture_fail(t, "node %" PRIu64 " writes from %" PRIu64 ", its log ends at %" PRIu64, n->id,
                     u->write_first, n->last);
        return;
    }
    for (raft_index i = u->write_first; i <= u->write_last; i++) {
        struct torture_entry e = {.term = raft_term_at(n->core, i), .payload = ++t->last_payload};
        bool received = event->type == RAFT_MESSAGE && event->message->type == RAFT_APPEND;
        if (received)
            e = entries[i - event->message->prev_index - 1];
        for (uint32_t k = 0; k < u->made_count; k++)
            if (u->made[k].index == i && u->made[k].kind == RAFT_CONFIGURATION)
                e.configuration =
                    torture_keep(t, u->made[k].configuration, sizeof(*u->made[k].configuration));
        if (e.term != raft_term_at(n->core, i))
            torture_fail(t, "node %" PRIu64 " takes %" PRIu64 " into another term", n->id, i);
        torture_check_entry(t, n, i, &e);
        n->log[i] = e;
    }
    n->last = u->write_last;
}

static void note_reads(struct torture *t, struct torture_node *n, const struct raft_update *u)
{
    for (uint32_t i = 0; i < u->read_count; i++) {
        const struct raft_read_result *result = &u->reads[i];
        uint32_t k = 0;
        while (k < n->read_count && n->reads[k].id != result->id)
            k++;
        if (k == n->read_count) {
            torture_fail(t, "node %" PRIu64 " answers a read twice", n->id);
            return;
        }
        raft_index floor = n->reads[k].floor;
        n->reads[k] = n->reads[--n->read_count];
        if (result->status != 0)
            continue;
        if (result->lease_until_us != 0) {
            if (torture_clock(t, n) >= result->lease_until_us || raft_lease_until_us(n->core) == 0)
                continue; /* the carrier looks again, and does not serve it */
            t->lease_reads++;
            floor = t->commit_max;
        }
        t->reads_served++;
        if (result->index < floor)
            torture_fail(t, "node %" PRIu64 " reads at %" PRIu64 ", committed was %" PRIu64, n->id,
                         result->index, floor);
    }
}

static void carry_out(struct torture *t, struct torture_node *n, const struct raft_update *u,
                      const struct raft_event *event, const struct torture_entry *entries)
{
    if (u->truncate_from) {
        if (u->truncate_from <= n->applied)
            torture_fail(t, "node %" PRIu64 " truncates %" PRIu64 ", which it applied", n->id,
                         u->truncate_from);
        n->last = u->truncate_from - 1;
    }
    if (u->write_first)
        write_entries(t, n, u, event, entries);
    if (u->persist) {
        struct torture_write w = {
            .kind = TORTURE_WRITE,
            .persist = u->persist,
            .hard_state = u->hard_state,
            .term = u->term,
            .vote = u->vote,
            .truncate_from = u->truncate_from,
            .first = u->write_first,
            .last = u->write_last,
        };
        torture_disk_add(t, n, &w);
    }
    for (uint32_t i = 0; i < u->message_count && !t->failed; i++)
        send_message(t, n, &u->messages[i]);
    note_reads(t, n, u);
    if (u->transfer_status == 1)
        t->transfers++;
    if (n->wake_us == u->wake_us)
        return;
    n->wake_us = u->wake_us;
    n->tick_at_us = UINT64_MAX;
    if (u->wake_us != UINT64_MAX)
        n->tick_at_us = when(t, n, u->wake_us) + n->tick_lag_us;
}

int torture_step(struct torture *t, struct torture_node *n, struct raft_event event,
                 const struct torture_entry *entries)
{
    if (t->failed)
        return 0;
    if (event.now_us == 0)
        event.now_us = torture_clock(t, n);
    t->steps++;
    memcpy(n->before, n->core, raft_state_size());
    raft_index commit = raft_commit_index(n->core);
    bool led = raft_state(n->core) == RAFT_LEADER;
    struct raft_trace newest = {0};
    if (t->verbose)
        raft_trace_read(n->core, 0, &newest, 1);
    struct raft_update update;
    int status = raft_step(n->core, &event, &update);
    if (t->verbose)
        tell(t, n, newest.number);
    const char *broken = raft_invariant(n->core);
    if (!broken)
        broken = raft_invariant_step(n->before, n->core);
    if (broken) {
        torture_fail(t, "node %" PRIu64 ": %s", n->id, broken);
        return status;
    }
    carry_out(t, n, &update, &event, entries);
    if (n->last != raft_last_index(n->core))
        torture_fail(t, "node %" PRIu64 ": log to %" PRIu64 ", the core thinks %" PRIu64, n->id,
                     n->last, raft_last_index(n->core));
    torture_check_step(t, n, &event, commit, led);
    torture_apply(t, n);
    return status;
}

/* --- what comes in */

static void deliver(struct torture *t, struct torture_event *e)
{
    struct torture_node *n = &t->nodes[e->to];
    struct raft_message m = e->message;
    struct raft_run runs[64];
    struct raft_configuration configurations[64];
    for (uint32_t i = 0; i < m.entry_count; i++) {
        if (m.run_count == 0 || runs[m.run_count - 1].term != e->entries[i].term) {
            must(m.run_count < 64);
            runs[m.run_count++] =
                (struct raft_run){.first = m.prev_index + 1 + i, .term = e->entries[i].term};
        }
        if (!e->entries[i].configuration)
            continue;
        must(m.configuration_count < 64);
        configurations[m.configuration_count++] = *e->entries[i].configuration;
    }
    m.runs = runs;
    m.configurations = configurations;
    if (raft_message_is_request(m.type)) {
        m.context = ++t->last_context;
        must(n->waiting_count < TORTURE_WAITING);
        n->waiting[n->waiting_count++] = m.context;
    }
    int status =
        torture_step(t, n, (struct raft_event){.type = RAFT_MESSAGE, .message = &m}, e->entries);
    if (status != 0)
        torture_fail(t, "node %" PRIu64 " takes a %s for nonsense", n->id,
                     raft_message_name(m.type));
}

static void handle(struct torture *t, struct torture_event *e)
{
    struct torture_node *n = &t->nodes[e->to];
    if (!n->core) {
        if (e->kind == SNAPSHOT_ARRIVES)
            torture_snapshot_result(t, e->from, e->to, e->transfer, false, 0, delay_us(t));
        event_free(e);
        return;
    }
    if (n->paused_until_us > t->now_us) {
        e->at_us = n->paused_until_us;
        enqueue(t, e);
        return;
    }
    switch (e->kind) {
    case ARRIVES: deliver(t, e); break;
    case SNAPSHOT_ARRIVES:
        torture_snapshot_arrived(t, e->from, e->to, e->transfer, &e->snapshot);
        break;
    case SNAPSHOT_RESULT:
        if (n->sending[e->from] == e->transfer) {
            n->sending[e->from] = 0;
            torture_step(t, n,
                         (struct raft_event){.type = RAFT_SNAPSHOT_SENT,
                                             .peer = e->from,
                                             .ok = e->success,
                                             .snapshot = &e->snapshot},
                         NULL);
        }
        break;
    case UNREACHABLE:
        torture_step(t, n, (struct raft_event){.type = RAFT_UNREACHABLE, .peer = e->from}, NULL);
        break;
    }
    event_free(e);
}

/* Arrives, fails, or gets lost, in which case the sender gives up after a while. */
void torture_snapshot_send(struct torture *t, struct torture_node *n, const struct raft_message *m)
{
    if (n->applied < m->snapshot_index) {
        torture_fail(t, "node %" PRIu64 " is to send a snapshot from the future", n->id);
        return;
    }
    uint64_t transfer = n->sending[m->to] = ++t->last_transfer;
    torture_snapshot_result(t, n->id, m->to, transfer, false, 0, 5 * (uint64_t)TORTURE_ELECTION_US);
    if (t->cut[n->id][m->to] || (!t->calm && torture_chance(t, 2 * t->plan.loss)))
        return;
    struct torture_event *e = event_new(t, 4 * delay_us(t));
    e->kind = SNAPSHOT_ARRIVES;
    e->to = m->to;
    e->from = n->id;
    e->transfer = transfer;
    e->snapshot.index = n->applied;
    e->snapshot.term = n->applied > 0 ? n->log[n->applied].term : 0;
    e->snapshot.configuration = n->applied_configuration;
    enqueue(t, e);
}

/* To `from`, the sender, of what it sent to `to`. */
void torture_snapshot_result(struct torture *t, raft_id from, raft_id to, uint64_t transfer,
                             bool success, raft_index index, uint64_t delay)
{
    struct torture_event *e = event_new(t, delay);
    e->kind = SNAPSHOT_RESULT;
    e->to = from;
    e->from = to;
    e->transfer = transfer;
    e->success = success;
    e->snapshot.index = index;
    enqueue(t, e);
}

/* --- running */

static uint64_t node_due(const struct torture_node *n)
{
    uint64_t due = n->tick_at_us;
    if (n->disk_due_us != 0 && n->disk_due_us < due)
        due = n->disk_due_us;
    if (n->disk_due_us != 0 && !n->stall_told && n->batch_began_us + TORTURE_ELECTION_US < due)
        due = n->batch_began_us + TORTURE_ELECTION_US;
    return due < n->paused_until_us ? n->paused_until_us : due;
}

static void node_run(struct torture *t, struct torture_node *n)
{
    if (n->disk_due_us != 0 && n->disk_due_us <= t->now_us)
        torture_disk_run(t, n);
    torture_disk_watch(t, n);
    uint64_t clock = torture_clock(t, n);
    if (n->tick_at_us > t->now_us)
        return;
    bool is_late = !t->calm && torture_chance(t, t->plan.tick_late);
    n->tick_lag_us = is_late ? torture_below(t, t->plan.tick_late_max_us) : 0;
    n->wake_us = 0;
    torture_step(t, n, (struct raft_event){.type = RAFT_TICK}, NULL);
    if (n->wake_us <= clock)
        torture_fail(t, "node %" PRIu64 " wants to be woken again at once", n->id);
}

void torture_run(struct torture *t, uint64_t us)
{
    uint64_t end = t->now_us + us;
    while (!t->failed) {
        uint64_t next = t->queue_count > 0 ? t->queue[0]->at_us : UINT64_MAX;
        struct torture_node *first = NULL;
        for (raft_id id = 1; id < TORTURE_NODES; id++) {
            struct torture_node *n = &t->nodes[id];
            uint64_t due = n->core ? node_due(n) : UINT64_MAX;
            if (due < next) {
                next = due;
                first = n;
            }
        }
        if (next > end)
            break;
        if (t->now_us < next)
            t->now_us = next;
        if (first)
            node_run(t, first);
        else
            handle(t, dequeue(t));
    }
    t->now_us = end;
}

/* --- what may happen */

raft_id torture_leader(const struct torture *t)
{
    raft_id leader = 0;
    for (raft_id id = 1; id < TORTURE_NODES; id++) {
        const struct raft *r = t->nodes[id].core;
        if (r && raft_state(r) == RAFT_LEADER &&
            (leader == 0 || raft_term_current(r) > raft_term_current(t->nodes[leader].core)))
            leader = id;
    }
    return leader;
}

static struct torture_node *awake(struct torture *t, raft_id id)
{
    struct torture_node *n = &t->nodes[id];
    return n->core && n->paused_until_us <= t->now_us ? n : NULL;
}

void torture_propose(struct torture *t, raft_id id, uint32_t count)
{
    struct torture_node *n = awake(t, id);
    if (n && n->last + count + 8 < TORTURE_LOG)
        torture_step(t, n, (struct raft_event){.type = RAFT_PROPOSE, .propose = {.count = count}},
                     NULL);
}

int torture_read(struct torture *t, raft_id id, bool lease)
{
    struct torture_node *n = awake(t, id);
    if (!n || n->read_count == TORTURE_READS)
        return ERR_NO_LEADER;
    struct torture_read read = {.id = ++t->last_read, .floor = t->commit_max};
    n->reads[n->read_count++] = read;
    struct raft_event event = {.type = RAFT_READ, .read = {.id = read.id, .lease = lease}};
    if (torture_chance(t, 200)) { /* a clock read a while ago: the process was stopped since */
        uint64_t stopped = torture_below(t, 2 * TORTURE_ELECTION_US);
        event.now_us = torture_clock(t, n) - stopped;
    }
    int status = torture_step(t, n, event, NULL);
    if (status != 0)
        n->read_count--;
    return status;
}

int torture_change(struct torture *t, raft_id id, struct raft_change change)
{
    struct torture_node *n = awake(t, id);
    if (!n || n->last + 8 >= TORTURE_LOG)
        return ERR_NO_LEADER;
    int status =
        torture_step(t, n, (struct raft_event){.type = RAFT_CHANGE, .change = &change}, NULL);
    t->changes += status == 0;
    return status;
}

int torture_transfer(struct torture *t, raft_id id, raft_id to)
{
    struct torture_node *n = awake(t, id);
    return n ? torture_step(t, n, (struct raft_event){.type = RAFT_TRANSFER, .peer = to}, NULL)
             : ERR_NO_LEADER;
}

void torture_fence(struct torture *t, raft_id id, bool fenced)
{
    struct torture_node *n = awake(t, id);
    if (!n || n->fenced == fenced)
        return;
    n->fenced = fenced;
    torture_step(t, n, (struct raft_event){.type = RAFT_FENCE, .ok = fenced}, NULL);
}

void torture_pause(struct torture *t, raft_id id, uint64_t us)
{
    if (t->nodes[id].core)
        t->nodes[id].paused_until_us = t->now_us + us;
}

void torture_crash_all(struct torture *t)
{
    for (raft_id id = 1; id < TORTURE_NODES; id++)
        torture_crash(t, id);
}

void torture_heal(struct torture *t)
{
    t->calm = true;
    memset(t->cut, 0, sizeof(t->cut));
    for (raft_id id = 1; id < TORTURE_NODES; id++) {
        struct torture_node *n = &t->nodes[id];
        if (!n->exists)
            continue;
        n->paused_until_us = 0;
        n->disk_hangs_until_us = 0;
        n->tick_lag_us = 0;
        if (n->tick_at_us > t->now_us + TORTURE_ELECTION_US && n->core)
            n->tick_at_us = t->now_us;
        if (n->disk_due_us > t->now_us + 2000)
            n->disk_due_us = t->now_us + 2000;
        if (!n->core)
            torture_start(t, id);
        torture_fence(t, id, false);
    }
}

void torture_free(struct torture *t)
{
    while (t->queue_count > 0)
        event_free(dequeue(t));
    for (raft_id id = 1; id < TORTURE_NODES; id++) {
        struct torture_node *n = &t->nodes[id];
        if (n->core)
            torture_crash(t, id);
        mem_free(n->log);
        mem_free(n->disk_log);
        mem_free(n->writes);
    }
    while (t->arena) {
        struct torture_arena *next = t->arena->next;
        mem_free(t->arena);
        t->arena = next;
    }
    mem_free(t->queue);
    mem_free(t->known);
    mem_free(t->known_index);
    mem_free(t->committed);
    mem_free(t->committed_in);
    mem_free(t->leaders);
    mem_free(t);
}
