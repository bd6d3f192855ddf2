/*
 * Elections: pre-vote (§9.6), votes (§3.4, §3.6.1), refusing them while a leader is heard (§4.2.3),
 * and becoming a follower (§3.3).
 */
#include "lib/raft/raft_internal.h"

/* ---- terms and followers ---- */

/* Replies promised in the earlier term, and reads begun in it, end here: their truth ended too. */
static void enter_term(struct raft *r, raft_term term, raft_id vote)
{
    ASSERT(term > r->term);
    r->term = term;
    r->vote = vote;
    r->out.hard_state = true;
    r->leader = r->term_leader = 0;
    r->verified = r->commit;
    raft_persist_refuse_all(r);
    raft_read_index_drop(r);
}

static void forget_leader(struct raft *r)
{
    r->leader = 0;
    raft_read_index_drop(r);
}

static void forget_votes(struct raft *r)
{
    r->votes_granted = r->votes_refused = 0;
    r->waits_for_vote = r->transferring = false;
}

/* Follower of `leader` (0: of nobody known) in `term`, which is ours or a later one (§3.3). */
void raft_election_follow(struct raft *r, raft_term term, raft_id leader)
{
    bool was_follower = r->state == RAFT_FOLLOWER;
    if (r->state == RAFT_LEADER)
        raft_leader_stop(r);
    if (term > r->term)
        enter_term(r, term, 0);
    r->state = RAFT_FOLLOWER;
    forget_votes(r);
    if (!was_follower)
        raft_election_rest(r);
    if (leader == r->leader)
        return;
    forget_leader(r);
    if (leader == 0)
        return;
    r->leader = r->term_leader = leader;
    r->counted_on = false;
    raft_trace_add(r, TRACE_FOLLOWS, leader, 0, 0, 0, 0);
    raft_transfer_led(r);
}

/* A random timeout from [1, 2) times the minimum, drawn anew each time, splits few votes (§3.4). */
void raft_election_rest(struct raft *r)
{
    uint64_t minimum = r->options.election_timeout_us;
    r->election_timeout_us = minimum + prng_below(&r->prng, minimum);
    r->election_due_us = r->now_us + r->election_timeout_us;
}

/* The leader of our term was heard: no election, and no vote for anybody else, for a minimum
 * election timeout from now (§4.2.3); the leader may found its lease on that (§6.4.1). */
void raft_election_heard(struct raft *r, raft_id leader)
{
    r->contact_us = r->now_us;
    r->promise_to = leader;
    r->promise_until_us = r->now_us + r->options.election_timeout_us;
    r->election_due_us = r->now_us + r->election_timeout_us;
}

/* Whether a vote would break what we promised by answering a leader, or may have promised before
 * we were started (§4.2.3). A leader that asks for the election itself takes its lease back first
 * (§6.4.1), so that one is let through. */
bool raft_election_promised(const struct raft *r, const struct raft_message *request)
{
    if (request->type == RAFT_VOTE && request->transfer)
        return false;
    if (r->state == RAFT_LEADER) /* by check-quorum it has heard a majority lately (§6.2) */
        return true;
    return r->now_us < r->promise_until_us && request->from != r->promise_to;
}

/* A voter of the latest configuration; or of the one before while the latest, which drops us, is
 * not known to be committed: perhaps nobody else has its entry, and those who need our vote by the
 * one before cannot get it, their logs being behind ours. Or a learner in just that place: by a
 * configuration that we have not, or have no more, a candidate needs our vote, and its log is
 * behind ours. We lead only to commit what we have, and do not count ourselves (§4.2.2,
 * figure 4.6). */
static bool is_needed(const struct raft *r)
{
    const struct raft_configurations *all = &r->configurations;
    if (raft_configuration_is_voter(raft_latest(r), r->options.id))
        return true;
    if (r->counted_on && raft_configuration_find(raft_latest(r), r->options.id))
        return true;
    return all->count > 1 && raft_latest(r)->index > r->commit &&
           raft_configuration_is_voter(&all->items[all->count - 2], r->options.id);
}

/* Nor does one campaign that was removed, cannot write, whose state diverged, or who has no room
 * for the run of a new term. */
bool raft_election_eligible(const struct raft *r)
{
    return is_needed(r) && !raft_removed(r) && !r->stalled && !r->fenced &&
           r->terms.run_count < RAFT_RUNS_MAX;
}

/* ---- campaigning ---- */

static void count_vote(struct raft *r, raft_id from, bool granted)
{
    const struct raft_configuration *c = raft_latest(r);
    for (uint32_t i = 0; i < c->count; i++) {
        if (c->members[i].id != from)
            continue;
        if (granted)
            r->votes_granted |= 1u << i;
        else
            r->votes_refused |= 1u << i;
    }
}

static void ask_voters(struct raft *r, enum raft_message_type type, raft_term term)
{
    const struct raft_configuration *c = raft_latest(r);
    for (uint32_t i = 0; i < c->count; i++) {
        const struct raft_member *voter = &c->members[i];
        if (raft_id_is_self(r, voter->id) || !(voter->flags & (RAFT_VOTER | RAFT_VOTER_OLD)))
            continue;
        struct raft_message *m = raft_send(r, type, voter->id);
        m->term = term;
        m->last_index = r->terms.last;
        m->last_term = raft_terms_last(&r->terms);
        m->transfer = r->transferring;
    }
}

/* Pre-vote: would a majority vote for us? Our term stays until it would (§9.6). */
static void start_pre_vote(struct raft *r)
{
    r->state = RAFT_PRE_CANDIDATE;
    forget_votes(r);
    raft_election_rest(r);
    raft_trace_add(r, TRACE_PRE_VOTE_STARTS, 0, r->term + 1, r->terms.last,
                   raft_terms_last(&r->terms), 0);
    count_vote(r, r->options.id, true);
    if (raft_quorum_votes(r) == RAFT_VOTE_WON)
        raft_election_start(r, false);
    else
        ask_voters(r, RAFT_PRE_VOTE, r->term + 1);
}

/* A new term with our own vote (§3.4). It counts, and others are asked for theirs, once it is
 * durable: a vote given to a candidate that forgot its term could elect its shorter log (§3.8). */
void raft_election_start(struct raft *r, bool transfer)
{
    ASSERT(r->state != RAFT_LEADER);
    forget_votes(r);
    enter_term(r, r->term + 1, r->options.id);
    r->state = RAFT_CANDIDATE;
    r->waits_for_vote = true;
    r->transferring = transfer;
    raft_election_rest(r);
    raft_trace_add(r, TRACE_CAMPAIGNS, 0, r->terms.last, raft_terms_last(&r->terms), transfer, 0);
}

void raft_election_persisted(struct raft *r)
{
    if (r->state != RAFT_CANDIDATE || !r->waits_for_vote || !raft_persist_hard_durable(r))
        return;
    r->waits_for_vote = false;
    count_vote(r, r->options.id, true);
    if (raft_quorum_votes(r) == RAFT_VOTE_WON)
        raft_leader_start(r);
    else
        ask_voters(r, RAFT_VOTE, r->term);
}

void raft_election_tick(struct raft *r)
{
    if (r->now_us < r->election_due_us)
        return;
    if (r->leader != 0) {
        raft_trace_add(r, TRACE_LEADER_SILENT, r->leader, r->now_us - r->contact_us, 0, 0, 0);
        forget_leader(r);
    }
    if (raft_election_eligible(r)) {
        start_pre_vote(r);
        return;
    }
    if (r->state != RAFT_FOLLOWER)
        raft_election_follow(r, r->term, 0);
    else
        raft_election_rest(r);
}

/* ---- votes asked of us ---- */

/* §3.6.1: the voter's log must not be more up to date than the candidate's. */
static bool is_up_to_date(const struct raft *r, const struct raft_message *m)
{
    raft_term own = raft_terms_last(&r->terms);
    return m->last_term > own || (m->last_term == own && m->last_index >= r->terms.last);
}

/* Only voters are asked. Should nobody be able to win without our vote, which none of them gets, we
 * have to stand ourselves. */
static void count_on(struct raft *r, raft_id candidate)
{
    const struct raft_configuration *c = raft_latest(r);
    if (r->counted_on || r->leader != 0 || !raft_configuration_find(c, r->options.id) ||
        raft_configuration_is_voter(c, r->options.id))
        return;
    r->counted_on = true;
    raft_trace_add(r, TRACE_COUNTED_ON, candidate, 0, 0, 0, 0);
}

static bool judge(struct raft *r, const struct raft_message *m, bool is_free)
{
    if (raft_election_promised(r, m)) {
        raft_trace_add(r, TRACE_VOTE_PROMISED, m->from, m->term,
                       r->state == RAFT_LEADER ? r->options.id : r->promise_to, 0, 0);
    } else if (!is_free) {
        raft_trace_add(r, TRACE_VOTE_GIVEN, m->from, m->term, r->vote ? r->vote : r->leader, 0, 0);
    } else if (!is_up_to_date(r, m)) {
        raft_trace_add(r, TRACE_VOTE_BEHIND, m->from, m->last_index, m->last_term, r->terms.last,
                       raft_terms_last(&r->terms));
        count_on(r, m->from);
    } else {
        return true;
    }
    return false;
}

/* Granting changes nothing here: neither term, vote nor timeout (§9.6). A refusal tells our term,
 * so that a candidate behind it can take it over. */
void raft_election_pre_vote(struct raft *r, const struct raft_message *m)
{
    bool is_free = m->term > r->term ||
                   (m->term == r->term && r->leader == 0 && (r->vote == 0 || r->vote == m->from));
    bool granted = judge(r, m, is_free);
    struct raft_message *reply = raft_reply(r, m);
    reply->granted = granted;
    if (granted) {
        reply->term = m->term;
        raft_trace_add(r, TRACE_PRE_VOTE_GRANTED, m->from, m->term, m->last_index, m->last_term, 0);
    }
}

/* In our own term. One vote a term, first come first served, the same candidate again the same
 * answer (§3.4); a member that is no voter answers too, since a configuration that it has not seen
 * may count on it (§4.1). */
void raft_election_vote(struct raft *r, const struct raft_message *m)
{
    bool is_free = r->vote == m->from || (r->vote == 0 && r->leader == 0);
    if (!judge(r, m, is_free)) {
        raft_refuse(r, m); /* binds us to nothing: no need to wait for the disk */
        return;
    }
    if (r->vote == 0) {
        r->vote = m->from;
        r->out.hard_state = true;
    }
    raft_trace_add(r, TRACE_VOTE_GRANTED, m->from, m->last_index, m->last_term, r->terms.last,
                   raft_terms_last(&r->terms));
    if (r->state != RAFT_FOLLOWER)
        raft_election_follow(r, r->term, 0);
    raft_election_rest(r); /* §3.4: granting a vote puts our own candidacy off */
    raft_persist_defer(r, m, 0);
}

/* ---- votes given to us ---- */

static bool tally(struct raft *r, const struct raft_message *m)
{
    count_vote(r, m->from, m->granted);
    enum raft_vote_result result = raft_quorum_votes(r);
    raft_trace_add(r, TRACE_VOTE_COUNTED, m->from, m->granted, result, r->state, 0);
    if (result == RAFT_VOTE_LOST)
        raft_election_follow(r, r->term, 0);
    return result == RAFT_VOTE_WON;
}

/* Granted ones bear the term that we asked for, one after ours; refusals the voter's, which is
 * ours here. */
void raft_election_pre_vote_reply(struct raft *r, const struct raft_message *m)
{
    raft_term expected = m->granted ? r->term + 1 : r->term;
    if (r->state != RAFT_PRE_CANDIDATE || m->term != expected)
        return;
    if (tally(r, m))
        raft_election_start(r, false);
}

void raft_election_vote_reply(struct raft *r, const struct raft_message *m)
{
    if (r->state != RAFT_CANDIDATE || r->waits_for_vote)
        return;
    if (tally(r, m))
        raft_leader_start(r);
}
