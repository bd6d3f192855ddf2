/*
 * The core's beginning, and what may be asked of it without an event.
 */
#include <string.h>

#include "lib/raft/raft_internal.h"

size_t raft_size(void)
{
    return sizeof(struct raft);
}

size_t raft_state_size(void)
{
    return offsetof(struct raft, out);
}

/* ---- init ---- */

static bool are_valid(const struct raft_options *o)
{
    return o->id != 0 && o->heartbeat_interval_us > 0 &&
           o->heartbeat_interval_us <= o->election_timeout_us / 3 &&
           o->election_timeout_us >> 40 == 0 && o->inflight_max >= 1 &&
           o->inflight_max <= RAFT_INFLIGHT_MAX && o->append_entries_max >= 1 &&
           o->append_entries_max <= RAFT_APPEND_ENTRIES_MAX && o->clock_drift_ppm < 1000000;
}

static bool is_possible(const struct raft_start *s)
{
    const struct raft_snapshot *snapshot = &s->snapshot;
    if (s->term > RAFT_TERM_MAX || s->last_index >> 62 != 0 || s->last_index < snapshot->index ||
        s->commit < snapshot->index || s->commit > s->last_index)
        return false;
    if ((snapshot->index == 0) != (snapshot->term == 0))
        return false;
    if (snapshot->index > 0 && (!raft_configuration_valid(&snapshot->configuration) ||
                                snapshot->configuration.index > snapshot->index))
        return false;
    if ((s->run_count > 0) != (s->last_index > snapshot->index) || s->run_count > RAFT_RUNS_MAX)
        return false;
    raft_term term = snapshot->term;
    for (uint32_t i = 0; i < s->run_count; i++) {
        const struct raft_run *run = &s->runs[i];
        raft_index after = i > 0 ? s->runs[i - 1].first : snapshot->index;
        if (i == 0 ? run->first != after + 1 : run->first <= after)
            return false;
        if (run->first > s->last_index || run->term < term || run->term == 0)
            return false;
        term = run->term;
    }
    if (term > s->term)
        return false;
    raft_index before = snapshot->index;
    for (uint32_t i = 0; i < s->configuration_count; i++) {
        const struct raft_configuration *c = &s->configurations[i];
        if (c->index <= before || c->index > s->last_index || !raft_configuration_valid(c))
            return false;
        before = c->index;
    }
    return true;
}

static void load_log(struct raft *r, const struct raft_start *start)
{
    struct raft_terms *terms = &r->terms;
    raft_terms_reset(terms, start->snapshot.index, start->snapshot.term);
    for (uint32_t i = 0; i < start->run_count; i++) {
        const struct raft_run *run = &start->runs[i];
        raft_index end =
            i + 1 < start->run_count ? start->runs[i + 1].first : start->last_index + 1;
        raft_terms_append(terms, run->term, end - run->first);
    }
    raft_membership_reset(r, &start->snapshot.configuration);
    for (uint32_t i = 0; i < start->configuration_count; i++)
        raft_membership_push(r, &start->configurations[i]);
}

/* Whether nobody else can hold a lease that our vote once supported: then the only voter need not
 * wait before it leads. That it is the only one is committed, and who led until then, if it was
 * somebody else, ended with that (§4.2.2). */
static bool may_lead_at_once(const struct raft *r, const struct raft_start *start)
{
    const struct raft_configuration *c = raft_latest(r);
    return raft_configuration_sole_voter(c, r->options.id) &&
           (start->fresh || c->index <= start->commit);
}

int raft_init(struct raft *r, const struct raft_options *options, const struct raft_start *start)
{
    if (!are_valid(options) || !is_possible(start))
        return ERR_BAD_REQUEST;
    memset(r, 0, raft_state_size() + offsetof(struct raft_output, messages));
    r->trace_number = 0;
    struct raft_options *own = &r->options;
    own->id = options->id;
    own->election_timeout_us = options->election_timeout_us;
    own->heartbeat_interval_us = options->heartbeat_interval_us;
    own->inflight_max = options->inflight_max;
    own->append_entries_max = options->append_entries_max;
    own->uncommitted_max = options->uncommitted_max;
    own->clock_drift_ppm = options->clock_drift_ppm;
    own->catch_up_us = options->catch_up_us ? options->catch_up_us : options->election_timeout_us;
    own->seed = options->seed;
    prng_seed(&r->prng, options->seed);
    r->now_us = start->now_us;
    r->state = RAFT_FOLLOWER;
    r->term = start->term;
    r->vote = start->vote;
    r->removed = start->removed;
    r->commit = r->verified = start->commit;
    load_log(r, start);
    r->durable = start->last_index;
    /* An entry of our term came from its leader, so all before it is the leader's too (Log
     * Matching, §3.5): else an idle leader, which knows that we have it, could not tell us what to
     * commit. */
    if (raft_terms_last(&r->terms) == r->term)
        r->verified = r->terms.last;
    raft_election_rest(r);
    /* §4.2.3: whom we have promised our vote is forgotten, so nobody gets it for one timeout. */
    if (start->fresh)
        r->election_due_us = start->now_us + prng_below(&r->prng, own->election_timeout_us);
    else
        r->promise_until_us = start->now_us + own->election_timeout_us;
    if (may_lead_at_once(r, start))
        r->election_due_us = start->now_us;
    /* Requests of different lives differ by time and term, even if all lives draw the same. */
    r->read_base =
        (prng_next(&r->prng) ^ (start->now_us << 20) ^ start->term) >> 13; /* stays below 2^53 */
    r->read_number = r->read_base;
    raft_trace_add(r, TRACE_STARTS, 0, r->terms.snapshot_index, r->terms.last, r->commit, r->vote);
    return 0;
}

/* ---- looking at it ---- */

raft_id raft_self(const struct raft *r)
{
    return r->options.id;
}

enum raft_state raft_state(const struct raft *r)
{
    return (enum raft_state)r->state;
}

const char *raft_state_name(enum raft_state state)
{
    static const char *const names[] = {"follower", "pre_candidate", "candidate", "leader"};
    return (uint32_t)state <= RAFT_LEADER ? names[state] : "unknown";
}

raft_term raft_term_current(const struct raft *r)
{
    return r->term;
}

raft_id raft_vote(const struct raft *r)
{
    return r->vote;
}

raft_id raft_leader(const struct raft *r)
{
    return r->leader;
}

raft_index raft_commit_index(const struct raft *r)
{
    return r->commit;
}

raft_index raft_last_index(const struct raft *r)
{
    return r->terms.last;
}

raft_index raft_first_index(const struct raft *r)
{
    return r->terms.snapshot_index + 1;
}

raft_index raft_durable_index(const struct raft *r)
{
    return r->durable;
}

raft_index raft_snapshot_index(const struct raft *r)
{
    return r->terms.snapshot_index;
}

raft_term raft_term_at(const struct raft *r, raft_index index)
{
    return raft_terms_at(&r->terms, index);
}

bool raft_leader_ready(const struct raft *r)
{
    return r->state == RAFT_LEADER && r->commit >= r->noop;
}

uint64_t raft_leader_contact_us(const struct raft *r)
{
    return r->contact_us;
}

raft_id raft_transfer_target(const struct raft *r)
{
    return r->state == RAFT_LEADER ? r->transfer_to : 0;
}

bool raft_handing_over(const struct raft *r)
{
    return r->state == RAFT_LEADER && (r->transfer_to != 0 || r->handover_due_us != 0);
}

uint32_t raft_runs_left(const struct raft *r)
{
    return RAFT_RUNS_MAX - r->terms.run_count;
}

uint32_t raft_progress(const struct raft *r, struct raft_progress_view *views)
{
    if (r->state != RAFT_LEADER)
        return 0;
    const struct raft_configuration *c = raft_latest(r);
    for (uint32_t i = 0; i < c->count; i++) {
        const struct raft_follower *f = &r->followers[i];
        bool self = raft_id_is_self(r, f->id);
        views[i] = (struct raft_progress_view){
            .id = f->id,
            .flags = c->members[i].flags,
            .state = (enum raft_progress_state)f->state,
            .match = self ? r->durable : f->match,
            .next = self ? r->terms.last + 1 : f->next,
            .inflight = f->inflight_count,
            .last_contact_us = self          ? r->now_us
                               : f->answered ? f->contact_us
                                             : 0,
        };
    }
    return c->count;
}

/* ---- messages ---- */

bool raft_message_is_request(enum raft_message_type type)
{
    return type < RAFT_PRE_VOTE_REPLY;
}

const char *raft_message_name(enum raft_message_type type)
{
    static const char *const names[] = {
        "pre_vote",         "vote",
        "append",           "heartbeat",
        "read_index",       "timeout_now",
        "pre_vote_reply",   "vote_reply",
        "append_reply",     "heartbeat_reply",
        "read_index_reply", "timeout_now_reply",
        "send_snapshot",
    };
    _Static_assert(sizeof(names) / sizeof(names[0]) == RAFT_MESSAGE_TYPES, "a name each");
    return (uint32_t)type < RAFT_MESSAGE_TYPES ? names[type] : "unknown";
}
