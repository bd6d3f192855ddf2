/* Virtual cluster of cores: the network; see cluster.h. */
#include <inttypes.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/mem.h"
#include "lib/sim/cluster.h"

enum { SETTLE_MAX = 400000 };

/* ---- sending ---- */

/* A reply ends the waiting of the request with its context. */
static void check_reply(const struct cluster *c, struct cluster_node *n,
                        const struct raft_message *m)
{
    for (uint32_t i = 0; i < n->waiting_count; i++) {
        const struct cluster_waiting *w = &n->waiting[i];
        if (w->context != m->context)
            continue;
        if (w->from != m->to || w->type + (RAFT_PRE_VOTE_REPLY - RAFT_PRE_VOTE) != m->type)
            cluster_breach(c, "node %s: %s answers a %s", c->names[n->id],
                           raft_message_name(m->type), raft_message_name(w->type));
        n->waiting[i] = n->waiting[--n->waiting_count];
        return;
    }
    cluster_breach(c, "node %s: a second %s, or one that nobody asked for", c->names[n->id],
                   raft_message_name(m->type));
}

static bool lost(const struct cluster *c, const struct raft_message *m)
{
    return c->cut[m->from][m->to] || c->dropped[m->type] ||
           (m->type == RAFT_PRE_VOTE && c->favoured && m->from != c->favoured);
}

static void enqueue(struct cluster *c, struct cluster_packet packet)
{
    if (c->packet_count == c->packet_room) {
        c->packet_room = c->packet_room * 2 + 16;
        c->packets = mem_realloc(c->packets, c->packet_room * sizeof(c->packets[0]));
    }
    c->packets[c->packet_count++] = packet;
}

void cluster_send(struct cluster *c, struct cluster_node *n, const struct raft_message *m)
{
    struct cluster_packet packet = {.m = *m, .due_us = c->now_us + c->delay_us};
    if (m->from != n->id || m->to == n->id || m->to == 0 || m->to > c->node_count) {
        cluster_breach(c, "node %s: sends a %s from %" PRIu64 " to %" PRIu64, c->names[n->id],
                       raft_message_name(m->type), m->from, m->to);
        return;
    }
    if (m->type == RAFT_APPEND) {
        raft_index first = m->prev_index + 1;
        if (m->prev_index + m->entry_count > n->last || first <= n->disk->snapshot.index) {
            cluster_breach(c, "node %s: appends %" PRIu64 "+%u, which it has not", c->names[n->id],
                           first, m->entry_count);
            return;
        }
        if (m->prev_index > n->disk->snapshot.index && m->prev_term != n->log[m->prev_index].term)
            cluster_breach(c, "node %s: append with a wrong previous term", c->names[n->id]);
        packet.entries = cluster_keep(c, &n->log[first], m->entry_count * sizeof(n->log[0]));
    }
    if (!raft_message_is_request(m->type) && m->type != RAFT_SEND_SNAPSHOT) {
        check_reply(c, n, m);
        if (m->context == c->awaited_context) {
            c->reply = *m;
            c->replied = true;
            return;
        }
    }
    bool unlucky = c->loss_percent > 0 && prng_chance(&c->prng, c->loss_percent, 100);
    if (m->type == RAFT_SEND_SNAPSHOT || (!lost(c, m) && !unlucky))
        enqueue(c, packet);
}

/* ---- delivering ---- */

int cluster_step_packet(struct cluster *c, raft_id to, const struct cluster_packet *packet)
{
    struct raft_message m = packet->m;
    struct raft_run *runs = mem_calloc(m.entry_count + 1u, sizeof(*runs));
    struct raft_configuration *configurations =
        mem_calloc(m.entry_count + 1u, sizeof(*configurations));
    m.runs = runs;
    m.configurations = configurations;
    m.run_count = m.configuration_count = 0;
    for (uint32_t i = 0; i < m.entry_count; i++) {
        const struct cluster_entry *e = &packet->entries[i];
        if (m.run_count == 0 || runs[m.run_count - 1].term != e->term)
            runs[m.run_count++] = (struct raft_run){.first = m.prev_index + 1 + i, .term = e->term};
        if (!e->configuration)
            continue;
        configurations[m.configuration_count++] = *e->configuration;
    }
    struct raft_event event = {.type = RAFT_MESSAGE, .message = &m};
    int status = cluster_step_with(c, to, event, packet->entries);
    mem_free(runs);
    mem_free(configurations);
    return status;
}

void cluster_note_waiting(struct cluster *c, struct cluster_node *n, struct raft_message *m)
{
    if (!raft_message_is_request(m->type))
        return;
    if (n->waiting_count == CLUSTER_WAITING) {
        cluster_end(c, "node %s: more than %d requests wait for a reply", c->names[n->id],
                    CLUSTER_WAITING);
        return;
    }
    m->context = ++c->last_context;
    n->waiting[n->waiting_count++] =
        (struct cluster_waiting){.context = m->context, .from = m->from, .type = m->type};
}

/* The carrier's part: the sender's snapshot, or one taken now, goes over and is installed. */
static void deliver_snapshot(struct cluster *c, const struct raft_message *m)
{
    struct cluster_node *sender = &c->nodes[m->from], *n = &c->nodes[m->to];
    if (!sender->raft)
        return;
    if (lost(c, m) || !n->raft || raft_term_current(n->raft) > m->term) {
        cluster_snapshot_sent(c, m->from, m->to, false, 0);
        return;
    }
    if (sender->disk->snapshot.index < m->snapshot_index)
        cluster_compact(c, m->from, sender->applied);
    if (sender->disk->snapshot.index < m->snapshot_index)
        cluster_breach(c, "node %s: asks for a snapshot beyond what it has applied",
                       c->names[m->from]);
    struct cluster_write write = {
        .snapshot = cluster_keep(c, &sender->disk->snapshot, sizeof(sender->disk->snapshot)),
        .snapshot_from = m->from,
    };
    cluster_write_add(c, n, write);
    if (!n->disk_held)
        while (cluster_disk_step(c, m->to))
            ;
}

void cluster_deliver(struct cluster *c, struct cluster_packet packet)
{
    struct cluster_node *n = &c->nodes[packet.m.to];
    if (packet.m.type == RAFT_SEND_SNAPSHOT) {
        deliver_snapshot(c, &packet.m);
        return;
    }
    if (!n->raft)
        return;
    cluster_note_waiting(c, n, &packet.m);
    cluster_step_packet(c, n->id, &packet);
}

/* ---- the queue ---- */

static bool matches(const struct raft_message *m, enum raft_message_type type, raft_id from,
                    raft_id to)
{
    return (type == CLUSTER_ANY || m->type == type) && (from == 0 || m->from == from) &&
           (to == 0 || m->to == to);
}

static void dequeue(struct cluster *c, uint32_t i, struct cluster_packet *out)
{
    *out = c->packets[i];
    c->packet_count--;
    memmove(&c->packets[i], &c->packets[i + 1], (c->packet_count - i) * sizeof(c->packets[0]));
}

uint32_t cluster_count(const struct cluster *c, enum raft_message_type type, raft_id from,
                       raft_id to)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < c->packet_count; i++)
        count += matches(&c->packets[i].m, type, from, to);
    return count;
}

const struct raft_message *cluster_sent(const struct cluster *c, enum raft_message_type type,
                                        raft_id from, raft_id to)
{
    for (uint32_t i = 0; i < c->packet_count; i++)
        if (matches(&c->packets[i].m, type, from, to))
            return &c->packets[i].m;
    return NULL;
}

bool cluster_take(struct cluster *c, enum raft_message_type type, raft_id from, raft_id to,
                  struct cluster_packet *out)
{
    for (uint32_t i = 0; i < c->packet_count; i++) {
        if (!matches(&c->packets[i].m, type, from, to))
            continue;
        dequeue(c, i, out);
        return true;
    }
    return false;
}

bool cluster_pass(struct cluster *c, enum raft_message_type type, raft_id from, raft_id to)
{
    struct cluster_packet packet;
    if (!cluster_take(c, type, from, to, &packet))
        return false;
    cluster_deliver(c, packet);
    return true;
}

void cluster_forget(struct cluster *c)
{
    c->packet_count = 0;
}

void cluster_cut(struct cluster *c, raft_id from, raft_id to)
{
    c->cut[from][to] = true;
}

void cluster_cut_both(struct cluster *c, raft_id a, raft_id b)
{
    c->cut[a][b] = c->cut[b][a] = true;
}

void cluster_isolate(struct cluster *c, raft_id id)
{
    for (raft_id other = 1; other <= c->node_count; other++)
        if (other != id)
            cluster_cut_both(c, id, other);
}

void cluster_hold(struct cluster *c, raft_id from, raft_id to)
{
    c->held[from][to] = true;
}

void cluster_heal(struct cluster *c)
{
    memset(c->cut, 0, sizeof(c->cut));
    memset(c->held, 0, sizeof(c->held));
    memset(c->dropped, 0, sizeof(c->dropped));
    c->loss_percent = 0;
    c->delay_us = 0;
}

/* Every request delivered has its reply by now, but for those that may wait: for a disk, or for a
 * read's confirmation. */
static void check_answered(const struct cluster *c, const struct cluster_node *n)
{
    if (!n->raft || n->disk_held || n->paused)
        return;
    for (uint32_t i = 0; i < n->waiting_count; i++)
        if (n->waiting[i].type != RAFT_READ_INDEX)
            cluster_breach(c, "node %s: a %s from %s was never answered", c->names[n->id],
                           raft_message_name(n->waiting[i].type), c->names[n->waiting[i].from]);
}

void cluster_settle(struct cluster *c)
{
    uint32_t i = 0, delivered = 0;
    while (i < c->packet_count && !c->ended) {
        const struct raft_message *m = &c->packets[i].m;
        struct cluster_node *n = &c->nodes[m->to];
        bool is_lost = lost(c, m) || (!n->raft && !n->played);
        if (n->played || c->packets[i].due_us > c->now_us ||
            (!is_lost && (c->held[m->from][m->to] || n->paused || c->nodes[m->from].paused))) {
            i++;
            continue;
        }
        struct cluster_packet packet;
        dequeue(c, i, &packet);
        if (is_lost && packet.m.type != RAFT_SEND_SNAPSHOT)
            continue;
        cluster_deliver(c, packet);
        if (++delivered > SETTLE_MAX) {
            cluster_end(c, "the messages never come to an end: %s",
                        raft_message_name(packet.m.type));
            return;
        }
    }
    for (raft_id id = 1; id <= c->node_count; id++)
        check_answered(c, &c->nodes[id]);
}
