/*
 * What must hold of one state, and of a step from one state to the next (after LogCabin's
 * RaftConsensusInvariants). The simulator and the tests ask after every event.
 */
#include <string.h>

#include "lib/raft/raft_internal.h"

#define REQUIRE(condition, name)                                                                   \
    do {                                                                                           \
        if (!(condition))                                                                          \
            return name;                                                                           \
    } while (0)

/* ---- one state ---- */

static const char *check_log(const struct raft *r)
{
    const struct raft_terms *t = &r->terms;
    REQUIRE(t->snapshot_index <= r->commit, "snapshot index <= commit index");
    REQUIRE(r->commit <= t->last, "commit index <= last index");
    REQUIRE(t->snapshot_index <= r->durable, "snapshot index <= durable index");
    REQUIRE(r->durable <= t->last, "durable index <= last index");
    REQUIRE((t->run_count > 0) == (t->last > t->snapshot_index), "runs cover the log");
    REQUIRE(t->run_count == 0 || t->runs[0].first == t->snapshot_index + 1, "first run's start");
    for (uint32_t i = 1; i < t->run_count; i++) {
        REQUIRE(t->runs[i].first > t->runs[i - 1].first, "runs in order");
        REQUIRE(t->runs[i].term > t->runs[i - 1].term, "terms in the log do not go down");
    }
    REQUIRE(t->run_count == 0 || t->runs[t->run_count - 1].first <= t->last, "last run's start");
    REQUIRE(raft_terms_last(t) <= r->term, "terms in the log <= current term");
    REQUIRE(t->run_count == 0 || t->runs[0].term >= t->snapshot_term, "log follows the snapshot");
    return NULL;
}

static const char *check_configurations(const struct raft *r)
{
    const struct raft_configurations *all = &r->configurations;
    REQUIRE(all->count > 0 && all->count <= RAFT_CONFIGURATIONS_MAX, "a configuration is known");
    REQUIRE(all->items[0].index <= r->commit || all->count > 1,
            "a configuration that may be rolled back has another behind it");
    for (uint32_t i = 0; i < all->count; i++) {
        const struct raft_configuration *c = &all->items[i];
        REQUIRE(c->count == 0 || raft_configuration_valid(c), "configurations are valid");
        REQUIRE(i == 0 || c->index > all->items[i - 1].index, "configurations in order");
        REQUIRE(c->index <= r->terms.last, "configurations are in the log");
        REQUIRE(i <= 1 || all->items[i - 1].index > r->terms.snapshot_index,
                "one configuration at or before the snapshot");
    }
    return NULL;
}

static const char *check_persist(const struct raft *r)
{
    REQUIRE(r->persist_done <= r->persist_issued, "writes done <= writes issued");
    REQUIRE(r->hard_persist <= r->persist_issued, "term's write is issued");
    for (uint32_t i = 0; i < r->write_count; i++) {
        const struct raft_write *w = &r->writes[i];
        REQUIRE(w->persist > r->persist_done && w->persist <= r->persist_issued,
                "writes under way");
        REQUIRE(i == 0 || w->persist > r->writes[i - 1].persist, "writes in order");
        REQUIRE(w->last <= r->terms.last, "writes are of the log");
    }
    raft_index end = r->write_count > 0 ? r->writes[r->write_count - 1].last : r->durable;
    REQUIRE(end == r->terms.last || r->durable == r->terms.last,
            "what is not durable is being written");
    for (uint32_t i = 0; i < r->deferred_count; i++)
        REQUIRE(r->deferred[i].match <= r->terms.last, "replies promise what the log has");
    return NULL;
}

static const char *check_reads(const struct raft *r)
{
    uint32_t remote = 0;
    for (uint32_t i = 0; i < r->read_count; i++) {
        remote += r->reads[i].from != 0;
        if (i > 0 && r->reads[i].round != 0)
            REQUIRE(r->reads[i].round >= r->reads[i - 1].round && r->reads[i - 1].round != 0,
                    "reads in order of their rounds");
        if (r->state == RAFT_LEADER)
            REQUIRE(r->reads[i].round <= r->round && r->reads[i].index <= r->commit,
                    "reads belong to a round sent");
    }
    REQUIRE(remote == r->read_remote_count, "followers' reads are counted");
    REQUIRE(r->state == RAFT_LEADER || remote == 0, "only a leader has followers' reads");
    REQUIRE(r->leader != 0 || r->read_count == 0, "no reads without a leader");
    return NULL;
}

static const char *check_follower(const struct raft *r, uint32_t position)
{
    const struct raft_follower *f = &r->followers[position];
    const struct raft_configuration *c = raft_latest(r);
    if (position < c->count)
        REQUIRE(f->id == c->members[position].id && f->leaving_index == 0,
                "followers lie beside members");
    else
        REQUIRE(f->leaving_index != 0 && !raft_configuration_find(c, f->id),
                "the other followers are leaving");
    if (raft_id_is_self(r, f->id))
        return NULL;
    REQUIRE(f->match <= r->terms.last, "match index <= last index");
    REQUIRE(f->next > f->match, "next index > match index");
    REQUIRE(f->next <= r->terms.last + 1, "next index <= last index + 1");
    REQUIRE(f->inflight_count <= r->options.inflight_max, "appends in flight are bounded");
    REQUIRE(f->state == RAFT_PIPELINE || f->inflight_count == 0, "only a pipeline is in flight");
    REQUIRE(f->state == RAFT_PROBE || !f->paused, "only a probe is paused");
    REQUIRE(f->round <= r->round, "rounds confirmed <= rounds sent");
    raft_index before = f->match;
    for (uint32_t i = 0; i < f->inflight_count; i++) {
        raft_index last = f->inflight[(f->inflight_first + i) % RAFT_INFLIGHT_MAX];
        REQUIRE(last > before && last < f->next, "appends in flight are in order");
        before = last;
    }
    REQUIRE(f->state != RAFT_PIPELINE || before + 1 == f->next, "a pipeline has no gap");
    return NULL;
}

static const char *check_leader(const struct raft *r)
{
    REQUIRE(r->leader == r->options.id, "a leader follows itself");
    REQUIRE(r->vote == r->options.id, "a leader voted for itself");
    REQUIRE(r->noop > 0 && r->noop <= r->terms.last, "a leader has its no-op");
    REQUIRE(raft_terms_last(&r->terms) == r->term, "a leader's log ends in its term");
    REQUIRE(r->follower_count >= raft_latest(r)->count, "a leader knows all members");
    REQUIRE(r->deferred_count == 0, "a leader promises nothing");
    REQUIRE(r->hard_persist <= r->persist_done, "a leader's term and vote are durable");
    for (uint32_t i = 0; i < r->follower_count; i++) {
        const char *broken = check_follower(r, i);
        if (broken)
            return broken;
    }
    raft_index quorum = raft_quorum(r, RAFT_QUORUM_MATCH);
    REQUIRE(quorum < r->noop || r->commit >= quorum, "commit index is advanced where it can be");
    REQUIRE(!raft_leader_ready(r) || !raft_latest(r)->joint || raft_latest(r)->index > r->commit,
            "a committed joint configuration is left");
    REQUIRE(r->handover_due_us == 0 || r->stalled || r->fenced, "a sound leader goes on leading");
    REQUIRE(r->transfer_to == 0 || raft_configuration_is_voter(raft_latest(r), r->transfer_to),
            "leadership goes to a voter");
    return NULL;
}

static const char *check_state(const struct raft *r)
{
    if (r->state == RAFT_LEADER)
        return check_leader(r);
    REQUIRE(r->follower_count == 0 && r->noop == 0 && r->round == 0 && r->handover_due_us == 0,
            "only a leader leads");
    REQUIRE(r->leader != r->options.id, "a follower follows somebody else");
    REQUIRE(r->state == RAFT_FOLLOWER || r->leader == 0, "a candidate has no leader");
    REQUIRE(r->state != RAFT_CANDIDATE || r->vote == r->options.id, "a candidate votes for itself");
    REQUIRE(r->state != RAFT_CANDIDATE || r->term_leader == 0, "no candidacy beside a leader");
    REQUIRE(r->state == RAFT_FOLLOWER || raft_election_eligible(r), "candidates may campaign");
    REQUIRE(!r->waits_for_vote || r->state == RAFT_CANDIDATE, "only a candidate awaits its vote");
    REQUIRE(r->leader == 0 || r->leader == r->term_leader, "the leader is the term's");
    REQUIRE(r->verified >= r->commit && r->verified <= r->terms.last,
            "verified between commit index and last index");
    return NULL;
}

const char *raft_invariant(const struct raft *r)
{
    const char *(*const checks[])(const struct raft *) = {
        check_log, check_configurations, check_persist, check_reads, check_state,
    };
    for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++) {
        const char *broken = checks[i](r);
        if (broken)
            return broken;
    }
    return NULL;
}

/* ---- a step ---- */

static bool same_runs(const struct raft_terms *a, const struct raft_terms *b)
{
    return a->snapshot_index == b->snapshot_index && a->snapshot_term == b->snapshot_term &&
           a->run_count == b->run_count &&
           memcmp(a->runs, b->runs, a->run_count * sizeof(a->runs[0])) == 0;
}

/* Whether the logs agree from what both know up to `last`. */
static bool agree_up_to(const struct raft_terms *a, const struct raft_terms *b, raft_index last)
{
    raft_index from = a->snapshot_index > b->snapshot_index ? a->snapshot_index : b->snapshot_index;
    if (last < from || (last <= a->last && last <= b->last && same_runs(a, b)))
        return true;
    if (raft_terms_at(a, last) != raft_terms_at(b, last) ||
        raft_terms_at(a, from) != raft_terms_at(b, from))
        return false;
    for (uint32_t i = 0; i < a->run_count; i++) {
        raft_index first = a->runs[i].first;
        if (first > from && first <= last && raft_terms_at(b, first) != a->runs[i].term)
            return false;
    }
    for (uint32_t i = 0; i < b->run_count; i++) {
        raft_index first = b->runs[i].first;
        if (first > from && first <= last && raft_terms_at(a, first) != b->runs[i].term)
            return false;
    }
    return true;
}

static const char *check_same_term(const struct raft *before, const struct raft *after)
{
    REQUIRE(before->vote == 0 || before->vote == after->vote, "one vote a term");
    REQUIRE(before->term_leader == 0 || before->term_leader == after->term_leader,
            "one leader a term");
    REQUIRE(before->state != RAFT_LEADER || after->state == RAFT_LEADER ||
                after->state == RAFT_FOLLOWER,
            "a leader campaigns only in another term");
    REQUIRE(before->verified <= after->verified || before->state == RAFT_LEADER ||
                after->terms.snapshot_index > before->terms.snapshot_index,
            "verified does not go back within the term");
    if (before->state != RAFT_LEADER || after->state != RAFT_LEADER)
        return NULL;
    REQUIRE(before->terms.last <= after->terms.last &&
                agree_up_to(&before->terms, &after->terms, before->terms.last),
            "a leader only appends");
    REQUIRE(before->round <= after->round, "rounds do not go back");
    for (uint32_t i = 0; i < before->follower_count; i++) {
        const struct raft_follower *old = &before->followers[i];
        for (uint32_t k = 0; k < after->follower_count; k++)
            REQUIRE(after->followers[k].id != old->id || after->followers[k].match >= old->match,
                    "match index does not go back");
    }
    return NULL;
}

void raft_remember(struct raft *past, const struct raft *r)
{
    const struct raft_configuration *latest = raft_latest(r);
    memcpy(past, r, offsetof(struct raft, writes));
    for (uint32_t i = 0; i < r->follower_count; i++) {
        past->followers[i].id = r->followers[i].id;
        past->followers[i].match = r->followers[i].match;
    }
    past->configurations.count = 1;
    memcpy(&past->configurations.items[0], latest,
           offsetof(struct raft_configuration, members) +
               latest->count * sizeof(latest->members[0]));
    memcpy(&past->terms, &r->terms,
           offsetof(struct raft_terms, runs) + r->terms.run_count * sizeof(r->terms.runs[0]));
}

const char *raft_invariant_step(const struct raft *before, const struct raft *after)
{
    REQUIRE(before->options.id == after->options.id, "the same node");
    REQUIRE(before->now_us <= after->now_us, "time does not go back");
    REQUIRE(before->term <= after->term, "the term does not go back");
    REQUIRE(before->commit <= after->commit, "the commit index does not go back");
    REQUIRE(before->removed <= after->removed, "a removal is not forgotten");
    REQUIRE(before->terms.snapshot_index <= after->terms.snapshot_index,
            "the snapshot index does not go back");
    REQUIRE(before->persist_issued <= after->persist_issued &&
                before->persist_done <= after->persist_done,
            "write numbers do not go back");
    REQUIRE(agree_up_to(&before->terms, &after->terms, before->commit),
            "committed entries do not change");
    REQUIRE(after->durable >= before->durable || after->out.truncate_from != 0 ||
                after->terms.snapshot_index > before->terms.snapshot_index,
            "the durable index goes back only by truncation");
    REQUIRE(after->state == before->state || after->state != RAFT_LEADER ||
                before->state == RAFT_CANDIDATE,
            "only a candidate becomes leader");
    return before->term == after->term ? check_same_term(before, after) : NULL;
}
