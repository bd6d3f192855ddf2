/* Virtual cluster of cores: the network, and a test that plays a peer; see cluster.h. */
#include <inttypes.h>
#include <string.h>

#include "lib/base/mem.h"
#include "tests/support/cluster.h"
#include "tests/unit/tap.h"

enum { SETTLE_MAX = 400000 };

/* ---- sending ---- */

/* A reply ends the waiting of the request with its context. */
static void check_reply(struct cluster_node *n, const struct raft_message *m)
{
    for (uint32_t i = 0; i < n->waiting_count; i++) {
        const struct cluster_waiting *w = &n->waiting[i];
        if (w->context != m->context)
            continue;
        if (w->from != m->to || w->type + (RAFT_PRE_VOTE_REPLY - RAFT_PRE_VOTE) != m->type)
            case_fail("node %" PRIu64 ": %s answers a %s", n->id, raft_message_name(m->type),
                      raft_message_name(w->type));
        n->waiting[i] = n->waiting[--n->waiting_count];
        return;
    }
    case_fail("node %" PRIu64 ": a second %s, or one that nobody asked for", n->id,
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
        case_fail("node %" PRIu64 ": sends a %s from %" PRIu64 " to %" PRIu64, n->id,
                  raft_message_name(m->type), m->from, m->to);
        return;
    }
    if (m->type == RAFT_APPEND) {
        raft_index first = m->prev_index + 1;
        if (m->prev_index + m->entry_count > n->last || first <= n->disk->snapshot.index) {
            case_fail("node %" PRIu64 ": appends %" PRIu64 "+%u, which it has not", n->id, first,
                      m->entry_count);
            return;
        }
        if (m->prev_index > n->disk->snapshot.index && m->prev_term != n->log[m->prev_index].term)
            case_fail("node %" PRIu64 ": append with a wrong previous term", n->id);
        packet.entries = cluster_keep(c, &n->log[first], m->entry_count * sizeof(n->log[0]));
    }
    if (!raft_message_is_request(m->type) && m->type != RAFT_SEND_SNAPSHOT) {
        check_reply(n, m);
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

static int step_packet(struct cluster *c, raft_id to, const struct cluster_packet *packet)
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

static void note_waiting(struct cluster *c, struct cluster_node *n, struct raft_message *m)
{
    if (!raft_message_is_request(m->type))
        return;
    must(n->waiting_count < CLUSTER_WAITING);
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
    CHECK(sender->disk->snapshot.index >= m->snapshot_index);
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
    note_waiting(c, n, &packet.m);
    step_packet(c, n->id, &packet);
}

/* ---- the queue ---- */

static bool matches(const struct raft_message *m, enum raft_message_type type, raft_id from,
                    raft_id to)
{
    return (type == ANY || m->type == type) && (from == 0 || m->from == from) &&
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
static void check_answered(const struct cluster_node *n)
{
    if (!n->raft || n->disk_held || n->paused)
        return;
    for (uint32_t i = 0; i < n->waiting_count; i++)
        if (n->waiting[i].type != RAFT_READ_INDEX)
            case_fail("node %" PRIu64 ": a %s from %" PRIu64 " was never answered", n->id,
                      raft_message_name(n->waiting[i].type), n->waiting[i].from);
}

void cluster_settle(struct cluster *c)
{
    uint32_t i = 0, delivered = 0;
    while (i < c->packet_count) {
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
            case_fail("the messages never come to an end: %s", raft_message_name(packet.m.type));
            case_abandon();
        }
    }
    for (raft_id id = 1; id <= c->node_count; id++)
        check_answered(&c->nodes[id]);
}

/* ---- playing a peer ---- */

static const struct raft_message *feed_packet(struct cluster *c, raft_id id,
                                              struct cluster_packet packet)
{
    packet.m.to = id;
    c->replied = false;
    c->awaited_context = 0;
    note_waiting(c, &c->nodes[id], &packet.m);
    if (raft_message_is_request(packet.m.type))
        c->awaited_context = packet.m.context;
    step_packet(c, id, &packet);
    return cluster_replied(c);
}

const struct raft_message *cluster_replied(const struct cluster *c)
{
    return c->replied ? &c->reply : NULL;
}

const struct raft_message *cluster_feed(struct cluster *c, raft_id id, struct raft_message m)
{
    must(m.entry_count == 0);
    return feed_packet(c, id, (struct cluster_packet){.m = m});
}

const struct raft_message *cluster_append(struct cluster *c, raft_id id, struct cluster_append a)
{
    struct cluster_entry entries[256];
    uint32_t count = 0;
    for (; a.terms && a.terms[count]; count++) {
        must(count < 256);
        entries[count] = cluster_made_up(a.prev_index + 1 + count, a.terms[count]);
        if (a.configuration && a.configuration->index == a.prev_index + 1 + count) {
            entries[count].kind = RAFT_CONFIGURATION;
            entries[count].configuration =
                cluster_keep(c, a.configuration, sizeof(*a.configuration));
        }
    }
    struct raft_message m = {
        .type = RAFT_APPEND,
        .from = a.from,
        .term = a.term,
        .prev_index = a.prev_index,
        .prev_term = a.prev_term,
        .entry_count = count,
        .commit = a.commit,
        .round = a.round,
        .sent_us = a.sent_us,
    };
    return feed_packet(c, id, (struct cluster_packet){.m = m, .entries = entries});
}

void cluster_ack(struct cluster *c, raft_id id, raft_id from, raft_index match)
{
    cluster_feed(c, id,
                 (struct raft_message){.type = RAFT_APPEND_REPLY,
                                       .from = from,
                                       .term = raft_term_current(cluster_core(c, id)),
                                       .accepted = true,
                                       .match_index = match});
}

void cluster_refuse(struct cluster *c, raft_id id, raft_id from, raft_index reject, raft_index hint,
                    raft_term hint_term)
{
    cluster_feed(c, id,
                 (struct raft_message){.type = RAFT_APPEND_REPLY,
                                       .from = from,
                                       .term = raft_term_current(cluster_core(c, id)),
                                       .reject_index = reject,
                                       .hint_index = hint,
                                       .hint_term = hint_term});
}

void cluster_beat_reply(struct cluster *c, raft_id id, raft_id from, uint64_t round)
{
    cluster_feed(c, id,
                 (struct raft_message){.type = RAFT_HEARTBEAT_REPLY,
                                       .from = from,
                                       .term = raft_term_current(cluster_core(c, id)),
                                       .round = round});
}
