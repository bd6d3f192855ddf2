/*
 * Majorities: of the voters, and while joint of both sets of voters separately (§4.3). A leader
 * that is no voter does not count itself (§4.2.2).
 */
#include "lib/raft/raft_internal.h"

static uint64_t value_of(const struct raft *r, uint32_t position, enum raft_quorum_of what)
{
    const struct raft_follower *f = &r->followers[position];
    if (raft_id_is_self(r, f->id)) /* our own log counts once our disk has it (§10.2.1) */
        return what == RAFT_QUORUM_MATCH ? r->durable : UINT64_MAX;
    switch (what) {
    case RAFT_QUORUM_MATCH: return f->match;
    case RAFT_QUORUM_ROUND: return f->round;
    case RAFT_QUORUM_CONTACT: return f->contact_us;
    case RAFT_QUORUM_PROMISE: return f->promise_until_us;
    }
    return 0;
}

/* The largest value that a majority of the voters with `flag` has reached; 0 if there are none. */
static uint64_t majority(const struct raft *r, uint32_t flag, enum raft_quorum_of what)
{
    const struct raft_configuration *c = raft_latest(r);
    uint64_t values[RAFT_MEMBERS_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        if (!(c->members[i].flags & flag))
            continue;
        uint64_t value = value_of(r, i, what);
        uint32_t k = count++;
        for (; k > 0 && values[k - 1] < value; k--) /* descending */
            values[k] = values[k - 1];
        values[k] = value;
    }
    return count > 0 ? values[count / 2] : 0;
}

uint64_t raft_quorum(const struct raft *r, enum raft_quorum_of what)
{
    uint64_t value = majority(r, RAFT_VOTER, what);
    if (raft_latest(r)->joint) {
        uint64_t old = majority(r, RAFT_VOTER_OLD, what);
        if (old < value)
            value = old;
    }
    return value;
}

static enum raft_vote_result votes_of(const struct raft *r, uint32_t flag)
{
    const struct raft_configuration *c = raft_latest(r);
    uint32_t voters = 0, granted = 0, refused = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        if (!(c->members[i].flags & flag))
            continue;
        voters++;
        granted += (r->votes_granted >> i) & 1;
        refused += (r->votes_refused >> i) & 1;
    }
    if (granted > voters / 2)
        return RAFT_VOTE_WON;
    return voters - refused > voters / 2 ? RAFT_VOTE_PENDING : RAFT_VOTE_LOST;
}

enum raft_vote_result raft_quorum_votes(const struct raft *r)
{
    enum raft_vote_result result = votes_of(r, RAFT_VOTER);
    if (!raft_latest(r)->joint || result == RAFT_VOTE_LOST)
        return result;
    enum raft_vote_result old = votes_of(r, RAFT_VOTER_OLD);
    return old == RAFT_VOTE_WON ? result : old;
}

/* The commit index never goes back (§3.5). */
void raft_commit_to(struct raft *r, raft_index commit)
{
    ASSERT(commit <= r->terms.last);
    if (commit <= r->commit)
        return;
    const struct raft_configuration *before = raft_configuration_committed(r);
    r->commit = commit;
    if (raft_configuration_committed(r) != before)
        r->out.configuration_changed = true;
    if (r->verified < commit)
        r->verified = commit;
}

/* An entry of our own term on a majority commits itself and all before it; one of an earlier term
 * is never committed by counting (§3.6.2). */
bool raft_quorum_advance(struct raft *r)
{
    raft_index index = raft_quorum(r, RAFT_QUORUM_MATCH);
    if (index <= r->commit || index < r->noop)
        return false;
    bool ready = r->commit >= r->noop;
    raft_commit_to(r, index);
    if (!ready)
        raft_trace_add(r, TRACE_READY, 0, r->noop, index, 0, 0);
    return true;
}
