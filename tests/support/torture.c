/* Cores under random faults: time, and carrying updates out; see torture.h. The network is in
 * torture_net.c. */
#include "tests/support/torture.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/err.h"
#include "lib/base/mem.h"
#include "tests/unit/tap.h"

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
            .removed = u->removed,
            .truncate_from = u->truncate_from,
            .first = u->write_first,
            .last = u->write_last,
        };
        torture_disk_add(t, n, &w);
    }
    for (uint32_t i = 0; i < u->message_count && !t->failed; i++)
        torture_send(t, n, &u->messages[i]);
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
    raft_remember(n->before, n->core);
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
        uint64_t next = torture_queue_due(t);
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
            torture_queue_run(t);
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
    torture_queue_clear(t);
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
