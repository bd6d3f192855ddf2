/* Cores under random faults: the queue of what is on its way, and the network; see torture.h. */
#include <inttypes.h>
#include <string.h>

#include "lib/base/mem.h"
#include "tests/support/torture.h"
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

void torture_send(struct torture *t, struct torture_node *n, const struct raft_message *out)
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

/* --- what comes in */

/* As a carrier may: who asks for a vote and was removed is told so. */
static void tell_removed(struct torture *t, const struct torture_node *n,
                         const struct raft_message *m)
{
    const struct raft_configuration *c = raft_configuration_committed(n->core);
    struct torture_node *asks = &t->nodes[m->from];
    if (m->type == RAFT_PRE_VOTE && asks->core && c->index > 0 &&
        !raft_configuration_find(c, m->from) && torture_chance(t, 300))
        torture_step(t, asks, (struct raft_event){.type = RAFT_REMOVED, .index = c->index}, NULL);
}

static void deliver(struct torture *t, struct torture_event *e)
{
    struct torture_node *n = &t->nodes[e->to];
    struct raft_message m = e->message;
    tell_removed(t, n, &m);
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

uint64_t torture_queue_due(const struct torture *t)
{
    return t->queue_count > 0 ? t->queue[0]->at_us : UINT64_MAX;
}

void torture_queue_run(struct torture *t)
{
    handle(t, dequeue(t));
}

void torture_queue_clear(struct torture *t)
{
    while (t->queue_count > 0)
        event_free(dequeue(t));
}
