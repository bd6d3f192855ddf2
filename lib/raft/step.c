/*
 * One event in, one update out: dispatch, and the rules about terms (§3.3).
 */
#include <string.h>

#include "lib/raft/raft_internal.h"

/* ---- messages out ---- */

struct raft_message *raft_send(struct raft *r, enum raft_message_type type, raft_id to)
{
    ASSERT(r->out.message_count < RAFT_MESSAGES_MAX);
    struct raft_message *m = &r->out.messages[r->out.message_count++];
    memset(m, 0, sizeof(*m));
    m->type = type;
    m->from = r->options.id;
    m->to = to;
    m->term = r->term;
    return m;
}

struct raft_message *raft_reply(struct raft *r, const struct raft_message *request)
{
    enum raft_message_type type =
        (enum raft_message_type)(request->type + (RAFT_PRE_VOTE_REPLY - RAFT_PRE_VOTE));
    struct raft_message *m = raft_send(r, type, request->from);
    m->context = request->context;
    return m;
}

/* A reply that grants nothing; our term tells a stale sender why. */
void raft_refuse(struct raft *r, const struct raft_message *request)
{
    struct raft_message *m = raft_reply(r, request);
    m->read_id = request->read_id;
    m->reject_index = request->prev_index;
    m->sent_us = request->sent_us;
}

/* An entry that the leader makes itself, at the end of its log. */
void raft_append_made(struct raft *r, enum raft_entry_kind kind)
{
    struct raft_output *out = &r->out;
    ASSERT(r->state == RAFT_LEADER && out->made_count < RAFT_MADE_MAX);
    raft_index index = r->terms.last + 1;
    raft_terms_append(&r->terms, r->term, 1);
    raft_persist_write(r, index, index);
    out->made[out->made_count++] = (struct raft_made_entry){.index = index, .kind = kind};
    raft_progress_new_entries(r);
}

/* ---- messages in ---- */

static bool comes_from_leader(enum raft_message_type type)
{
    return type == RAFT_APPEND || type == RAFT_HEARTBEAT || type == RAFT_TIMEOUT_NOW;
}

/* A term has one leader at most (§3.4): who claims to be another is refused. */
static bool claims_our_term(const struct raft *r, const struct raft_message *m)
{
    return m->term == r->term && comes_from_leader(m->type) && r->term_leader != 0 &&
           r->term_leader != m->from;
}

static int dispatch_message(struct raft *r, const struct raft_message *m)
{
    switch (m->type) {
    case RAFT_VOTE: raft_election_vote(r, m); return 0;
    case RAFT_APPEND: return raft_append_receive(r, m);
    case RAFT_HEARTBEAT: raft_append_heartbeat(r, m); return 0;
    case RAFT_READ_INDEX: raft_read_index_asked(r, m); return 0;
    case RAFT_TIMEOUT_NOW: raft_transfer_timeout_now(r, m); return 0;
    case RAFT_PRE_VOTE_REPLY: raft_election_pre_vote_reply(r, m); return 0;
    case RAFT_VOTE_REPLY: raft_election_vote_reply(r, m); return 0;
    case RAFT_APPEND_REPLY: raft_replication_reply(r, m); return 0;
    case RAFT_HEARTBEAT_REPLY: raft_replication_heartbeat_reply(r, m); return 0;
    case RAFT_READ_INDEX_REPLY: raft_read_index_reply(r, m); return 0;
    case RAFT_TIMEOUT_NOW_REPLY: raft_transfer_reply(r, m); return 0;
    case RAFT_PRE_VOTE:
    case RAFT_SEND_SNAPSHOT:
    case RAFT_MESSAGE_TYPES: break;
    }
    return 0;
}

/* §3.3: a later term makes us its follower; a request of an earlier one is refused with ours, and a
 * reply of an earlier one is forgotten. A pre-vote names a term that nobody is in yet (§9.6), and a
 * vote that we promised not to give does not move us to its term either (§4.2.3). */
static int step_message(struct raft *r, const struct raft_message *m)
{
    bool is_request = raft_message_is_request(m->type);
    if (m->type == RAFT_PRE_VOTE) {
        raft_election_pre_vote(r, m);
        return 0;
    }
    if (m->type == RAFT_PRE_VOTE_REPLY && m->granted) {
        raft_election_pre_vote_reply(r, m);
        return 0;
    }
    if (m->term < r->term) {
        raft_trace_add(r, TRACE_STALE, m->from, m->type, m->term, 0, 0);
        if (is_request)
            raft_refuse(r, m);
        return 0;
    }
    if (claims_our_term(r, m)) {
        raft_trace_add(r, TRACE_TWO_LEADERS, m->from, r->term_leader, 0, 0, 0);
        raft_refuse(r, m);
        return ERR_BAD_REQUEST;
    }
    if (m->term > r->term) {
        if (m->type == RAFT_VOTE && raft_election_promised(r, m)) {
            raft_election_vote(r, m);
            return 0;
        }
        raft_trace_add(r, TRACE_LATER_TERM, m->from, m->type, m->term, 0, 0);
        if (!comes_from_leader(m->type)) /* those say themselves whom to follow */
            raft_election_follow(r, m->term, 0);
    }
    return dispatch_message(r, m);
}

static int check_message(const struct raft *r, const struct raft_message *m)
{
    bool known = m->type < RAFT_MESSAGE_TYPES && m->type != RAFT_SEND_SNAPSHOT;
    if (!known || m->to != r->options.id || m->from == 0 || m->from == m->to)
        return ERR_BAD_REQUEST;
    return 0;
}

static int receive(struct raft *r, const struct raft_message *m)
{
    int status = check_message(r, m);
    if (status)
        return status;
    if (m->term > RAFT_TERM_MAX) {
        if (raft_message_is_request(m->type))
            raft_refuse(r, m);
        return ERR_BAD_REQUEST;
    }
    return step_message(r, m);
}

/* ---- events ---- */

static void tick(struct raft *r)
{
    if (r->state == RAFT_LEADER) {
        raft_leader_tick(r);
        return;
    }
    if (r->transfer_over)
        raft_transfer_tick(r);
    raft_election_tick(r);
    if (r->state == RAFT_FOLLOWER)
        raft_read_index_tick(r);
}

static int withhold(struct raft *r, bool *flag, enum raft_decision decision, bool on)
{
    if (*flag == on)
        return 0;
    *flag = on;
    raft_trace_add(r, decision, 0, on, r->state, 0, 0);
    if (on)
        raft_leader_withhold(r);
    else if (r->state == RAFT_FOLLOWER)
        raft_election_rest(r);
    else if (!r->stalled && !r->fenced)
        r->handover_due_us = 0; /* in time: it goes on leading */
    return 0;
}

static int dispatch(struct raft *r, const struct raft_event *event)
{
    switch (event->type) {
    case RAFT_TICK: tick(r); return 0;
    case RAFT_MESSAGE: return receive(r, event->message);
    case RAFT_UNREACHABLE: raft_replication_unreachable(r, event->peer); return 0;
    case RAFT_PROPOSE: return raft_leader_propose(r, event->propose.count);
    case RAFT_READ: return raft_read_index_add(r, event->read.id, event->read.lease);
    case RAFT_PERSISTED: return raft_persist_done(r, event->persist);
    case RAFT_COMPACTED: return raft_snapshot_compacted(r, event->snapshot);
    case RAFT_SNAPSHOT_INSTALLED: return raft_snapshot_installed(r, event->snapshot);
    case RAFT_SNAPSHOT_SENT:
        return raft_snapshot_sent(r, event->peer, event->ok, event->snapshot->index);
    case RAFT_CHANGE: return raft_membership_change(r, event->change);
    case RAFT_TRANSFER: return raft_transfer_start(r, event->peer);
    case RAFT_STALL: return withhold(r, &r->stalled, TRACE_STALLED, event->ok);
    case RAFT_FENCE: return withhold(r, &r->fenced, TRACE_FENCED, event->ok);
    case RAFT_REMOVED: return raft_membership_told(r, event->index);
    case RAFT_EVENT_TYPES: break;
    }
    return ERR_BAD_REQUEST;
}

/* ---- updates ---- */

static void begin(struct raft *r, uint64_t now_us)
{
    struct raft_output *out = &r->out;
    if (r->now_us < now_us)
        r->now_us = now_us;
    raft_persist_begin(r);
    out->proposed_first = 0;
    out->proposed_term = 0;
    out->transfer_status = 0;
    out->configuration_changed = out->sends_left = false;
    out->appends = out->message_count = out->result_count = 0;
    out->state = (enum raft_state)r->state;
    out->term = r->term;
    out->leader = r->leader;
}

static uint64_t wake_us(const struct raft *r)
{
    if (r->state == RAFT_LEADER)
        return raft_leader_wake_us(r);
    uint64_t wake = r->election_due_us;
    if (r->read_due_us != 0 && r->read_due_us < wake)
        wake = r->read_due_us;
    if (r->transfer_over && r->transfer_due_us < wake)
        wake = r->transfer_due_us;
    return wake;
}

static void finish(struct raft *r, struct raft_update *update)
{
    struct raft_output *out = &r->out;
    raft_persist_finish(r, update);
    for (uint32_t i = 0; i < out->made_count; i++)
        if (out->made[i].kind == RAFT_CONFIGURATION)
            out->made[i].configuration = raft_configuration_at(r, out->made[i].index);
    update->made = out->made;
    update->made_count = out->made_count;
    update->proposed_first = out->proposed_first;
    update->proposed_term = out->proposed_term;
    update->messages = out->messages;
    update->message_count = out->message_count;
    update->commit = r->commit;
    update->reads = out->results;
    update->read_count = out->result_count;
    update->state_changed =
        out->state != r->state || out->term != r->term || out->leader != r->leader;
    update->configuration_changed = out->configuration_changed;
    update->transfer_status = out->transfer_status;
    update->wake_us = wake_us(r);
}

int raft_step(struct raft *r, const struct raft_event *event, struct raft_update *update)
{
    begin(r, event->now_us);
    int status = dispatch(r, event);
    if (r->state == RAFT_LEADER)
        raft_leader_advance(r);
    raft_membership_notice(r);
    finish(r, update);
    return status;
}
