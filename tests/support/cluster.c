/* The virtual cluster as a fixture, and peers that the test plays; see cluster.h. */
#include "tests/support/cluster.h"

#include <inttypes.h>

#include "tests/unit/tap.h"

/* ---- beginning and end ---- */

static void fail(void *argument, const char *text, bool fatal)
{
    (void)argument;
    case_fail("%s", text);
    if (fatal)
        case_abandon();
}

static void show_traces(void *argument)
{
    enum { SHOWN = 24 };
    struct cluster *c = argument;
    for (raft_id id = 1; id <= c->node_count; id++) {
        struct raft_trace lines[RAFT_TRACE_MAX];
        struct raft *r = c->nodes[id].raft;
        if (!r)
            continue;
        uint32_t count = raft_trace_read(r, 0, lines, RAFT_TRACE_MAX);
        diag("node %" PRIu64 ": %s, term %" PRIu64 ", vote %" PRIu64 ", leader %" PRIu64
             ", log %" PRIu64 "..%" PRIu64 ", durable %" PRIu64 ", commit %" PRIu64,
             id, raft_state_name(raft_state(r)), raft_term_current(r), raft_vote(r), raft_leader(r),
             raft_first_index(r), raft_last_index(r), raft_durable_index(r), raft_commit_index(r));
        for (uint32_t i = count > SHOWN ? count - SHOWN : 0; i < count; i++) {
            char text[200];
            raft_trace_format(&lines[i], text, sizeof(text), NULL, NULL);
            diag("    %" PRIu64 " %s", lines[i].now_us, text);
        }
    }
}

struct cluster *cluster_new(struct cluster_plan plan)
{
    plan.observer = (struct cluster_observer){.breached = fail};
    struct cluster *c = cluster_start(&plan);
    case_set_hook(show_traces, c);
    return c;
}

void cluster_free(struct cluster *c)
{
    case_set_hook(NULL, NULL);
    cluster_stop(c);
}

/* ---- looking ---- */

bool cluster_log_is(const struct cluster *c, raft_id id, raft_index first, const raft_term *terms)
{
    const struct cluster_node *n = &c->nodes[id];
    raft_index i = first;
    for (; terms[i - first]; i++)
        if (i > n->last || n->log[i].term != terms[i - first])
            return false;
    return n->last == i - 1;
}

void configuration_add(struct raft_configuration *configuration, raft_id id, uint32_t flags)
{
    configuration->members[configuration->count++] = (struct raft_member){.id = id, .flags = flags};
}

/* ---- playing a peer ---- */

static const struct raft_message *feed_packet(struct cluster *c, raft_id id,
                                              struct cluster_packet packet)
{
    packet.m.to = id;
    c->replied = false;
    c->awaited_context = 0;
    cluster_note_waiting(c, &c->nodes[id], &packet.m);
    if (raft_message_is_request(packet.m.type))
        c->awaited_context = packet.m.context;
    cluster_step_packet(c, id, &packet);
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

/* ---- states ---- */

void cluster_elect(struct cluster *c, raft_id id)
{
    if (cluster_run_until_leads(c, id))
        return;
    case_fail("node %" PRIu64 " is not elected", id);
    case_abandon();
}

/* The other voters grant what the core asks for. */
static void grant_all(struct cluster *c, raft_id id, enum raft_message_type request,
                      enum raft_state while_in)
{
    const struct raft_message *asked;
    while (raft_state(c->nodes[id].raft) == while_in && (asked = cluster_sent(c, request, id, 0))) {
        struct cluster_packet packet;
        cluster_take(c, request, id, asked->to, &packet);
        cluster_feed(c, id,
                     (struct raft_message){.type = request + (RAFT_PRE_VOTE_REPLY - RAFT_PRE_VOTE),
                                           .from = packet.m.to,
                                           .term = packet.m.term,
                                           .granted = true});
    }
}

void cluster_become(struct cluster *c, raft_id id, enum raft_state state)
{
    struct cluster_node *n = &c->nodes[id];
    if (state == RAFT_FOLLOWER)
        return;
    for (int i = 0; i < 10 && raft_state(n->raft) == RAFT_FOLLOWER; i++) {
        if (n->wake_us > c->now_us)
            c->now_us = n->wake_us;
        cluster_tick(c, id);
    }
    if (state != RAFT_PRE_CANDIDATE)
        grant_all(c, id, RAFT_PRE_VOTE, RAFT_PRE_CANDIDATE);
    if (state == RAFT_LEADER)
        grant_all(c, id, RAFT_VOTE, RAFT_CANDIDATE);
    if (raft_state(n->raft) != state) {
        case_fail("node %" PRIu64 " does not become %s", id, raft_state_name(state));
        case_abandon();
    }
}

void cluster_become_ready(struct cluster *c, raft_id id)
{
    cluster_become(c, id, RAFT_LEADER);
    raft_index last = raft_last_index(c->nodes[id].raft);
    for (raft_id peer = 1; peer <= c->node_count; peer++)
        if (peer != id &&
            raft_configuration_find(raft_configuration_latest(c->nodes[id].raft), peer))
            cluster_ack(c, id, peer, last);
    REQUIRE(raft_leader_ready(c->nodes[id].raft));
    cluster_forget(c);
}
