/*
 * The leader's life: its no-op, heartbeats, check-quorum, proposals, and what follows every event.
 */
#include <string.h>

#include "lib/raft/raft_internal.h"

static void follow_previous_configuration(struct raft *r)
{
    /* Who was dropped by the latest configuration may not have learnt it from our predecessor. */
    const struct raft_configurations *all = &r->configurations;
    if (all->count > 1 && raft_latest(r)->index > r->commit)
        raft_progress_sync(r, &all->items[all->count - 2]);
}

/* A no-op of our own term lets everything before it commit (§3.6.2, §6.4). */
void raft_leader_start(struct raft *r)
{
    ASSERT(r->state == RAFT_CANDIDATE && r->vote == r->options.id);
    raft_trace_add(r, TRACE_LEADS, 0, r->terms.last + 1, r->commit, 0, 0);
    r->state = RAFT_LEADER;
    r->leader = r->term_leader = r->options.id;
    r->votes_granted = r->votes_refused = 0;
    r->transferring = false;
    r->noop = r->terms.last + 1;
    r->heartbeat_due_us = r->now_us + r->options.heartbeat_interval_us;
    follow_previous_configuration(r);
    raft_progress_sync(r, raft_latest(r));
    raft_leader_await_quorum(r);
    raft_append_made(r, RAFT_NOOP);
    raft_transfer_led(r);
}

void raft_leader_stop(struct raft *r)
{
    raft_trace_add(r, TRACE_LEADS_NO_MORE, 0, r->terms.last, r->commit, 0, 0);
    /* Our own vote was part of the lease under which reads may still be on their way (§6.4.1). */
    uint64_t lease_until_us = raft_lease_until_us(r);
    if (lease_until_us != UINT64_MAX && lease_until_us > r->promise_until_us) {
        r->promise_until_us = lease_until_us;
        r->promise_to = 0;
    }
    raft_read_index_drop(r);
    raft_transfer_stopped(r);
    memset(r->followers, 0, r->follower_count * sizeof(r->followers[0]));
    r->follower_count = 0;
    r->noop = 0;
    r->round = 0;
    r->heartbeat_due_us = r->quorum_due_us = r->handover_due_us = 0;
    r->lease_void = false;
    r->leader = 0;
}

/* May overtake appends, so it never bears a commit index that this follower may not have (§3.5). */
void raft_leader_heartbeat(struct raft *r, struct raft_follower *f)
{
    struct raft_message *m = raft_send(r, RAFT_HEARTBEAT, f->id);
    m->commit = r->commit < f->match ? r->commit : f->match;
    m->round = r->round;
    m->sent_us = r->now_us;
    if (f->leaving_index != 0 && !f->told && m->commit >= f->leaving_index) {
        f->told = true;
        f->told_us = r->now_us;
    }
}

static void heartbeat_all(struct raft *r)
{
    raft_read_index_open(r);
    for (uint32_t i = r->follower_count; i > 0; i--) {
        struct raft_follower *f = &r->followers[i - 1];
        if (raft_id_is_self(r, f->id))
            continue;
        if (f->leaving_index != 0 && r->now_us >= f->leaving_until_us) {
            raft_trace_add(r, TRACE_LEAVING_GIVEN_UP, f->id, f->leaving_index, f->match, 0, 0);
            raft_progress_leave(r, f);
            continue;
        }
        raft_leader_heartbeat(r, f);
    }
    r->heartbeat_due_us = r->now_us + r->options.heartbeat_interval_us;
}

/* When a majority has not answered for an election timeout; never, if nobody else is needed. */
void raft_leader_await_quorum(struct raft *r)
{
    uint64_t heard = raft_quorum(r, RAFT_QUORUM_CONTACT);
    r->quorum_due_us = heard == UINT64_MAX ? heard : heard + r->options.election_timeout_us;
}

/* §6.2: a leader without a quorum steps down. Answers that came meanwhile have put that off. */
static bool has_quorum(struct raft *r)
{
    if (r->now_us >= r->quorum_due_us)
        raft_leader_await_quorum(r);
    if (r->now_us < r->quorum_due_us)
        return true;
    raft_trace_add(r, TRACE_NO_QUORUM, 0,
                   r->now_us - r->quorum_due_us + r->options.election_timeout_us, 0, 0, 0);
    return false;
}

void raft_leader_tick(struct raft *r)
{
    if (!has_quorum(r)) {
        raft_election_follow(r, r->term, 0);
        return;
    }
    raft_transfer_tick(r);
    if (r->now_us >= r->heartbeat_due_us)
        heartbeat_all(r);
}

static bool is_alone(const struct raft *r)
{
    return r->follower_count == 1 && raft_id_is_self(r, r->followers[0].id);
}

uint64_t raft_leader_wake_us(const struct raft *r)
{
    if (r->out.sends_left)
        return r->now_us + 1;
    if (is_alone(r))
        return UINT64_MAX;
    uint64_t wake = r->heartbeat_due_us;
    if (r->quorum_due_us < wake)
        wake = r->quorum_due_us;
    if (r->transfer_to != 0 && r->transfer_due_us < wake)
        wake = r->transfer_due_us;
    if (r->handover_due_us != 0 && r->handover_due_us < wake)
        wake = r->handover_due_us;
    return wake;
}

int raft_leader_propose(struct raft *r, uint32_t count)
{
    if (r->state != RAFT_LEADER)
        return ERR_NO_LEADER;
    if (count == 0)
        return ERR_BAD_REQUEST;
    /* §3.10: while leadership is handed over, and while we lead only to end our own removal
     * (§4.2.2), a new entry's outcome would be unknown. */
    if (raft_handing_over(r) || !raft_configuration_is_voter(raft_latest(r), r->options.id))
        return ERR_AGAIN;
    uint64_t waiting = r->terms.last - r->commit;
    if (r->options.uncommitted_max != 0 && waiting + count > r->options.uncommitted_max)
        return ERR_OVERLOADED;
    r->out.proposed_first = r->terms.last + 1;
    r->out.proposed_term = r->term;
    raft_terms_append(&r->terms, r->term, count);
    raft_persist_write(r, r->out.proposed_first, r->terms.last);
    raft_progress_new_entries(r);
    return 0;
}

/* A leader never serves beside a disk that hangs, or from a state that diverged: the best voter
 * takes over, within a heartbeat. The only voter has nobody to hand over to. */
void raft_leader_withhold(struct raft *r)
{
    if (r->state == RAFT_FOLLOWER)
        return;
    if (r->state != RAFT_LEADER)
        raft_election_follow(r, r->term, 0);
    else if (!raft_configuration_sole_voter(raft_latest(r), r->options.id))
        r->handover_due_us = r->now_us + r->options.heartbeat_interval_us;
}

/* Whom the latest configuration dropped is told as soon as that is committed and arrived. */
static void tell_leaving(struct raft *r)
{
    for (uint32_t i = raft_latest(r)->count; i < r->follower_count; i++) {
        struct raft_follower *f = &r->followers[i];
        if (!f->told && r->commit >= f->leaving_index && f->match >= f->leaving_index)
            raft_leader_heartbeat(r, f);
    }
}

void raft_leader_advance(struct raft *r)
{
    bool moved;
    do {
        moved = raft_quorum_advance(r);
        moved = raft_membership_advance(r) || moved;
    } while (moved && r->state == RAFT_LEADER);
    if (r->state != RAFT_LEADER)
        return;
    tell_leaving(r);
    if (r->handover_due_us != 0)
        raft_transfer_withheld(r);
    if (r->state != RAFT_LEADER)
        return;
    raft_transfer_advance(r);
    raft_read_index_advance(r);
    raft_replication_send_all(r);
}
