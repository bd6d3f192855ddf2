/*
 * What must hold between the nodes of a state (Ongaro, figure 3.2), beside what each core's own
 * invariants say. What was ever committed is part of the state, so a crash that forgets a commit
 * index forgets no promise.
 */
#include "lib/sim/explore_internal.h"

static const struct view *view_of(const struct expansion *x, uint32_t node)
{
    return &store_node(x->store, node)->view;
}

static unsigned term_of(uint64_t terms, uint32_t index)
{
    return (unsigned)(terms >> (4 * (index - 1))) & 15;
}

/* All bits of entries 1 … last. */
static uint64_t up_to(uint32_t last)
{
    return (UINT64_C(1) << (4 * last)) - 1;
}

/* ---- commitment ---- */

static bool on_majority(const struct expansion *x, const struct state *s, const struct child *c,
                        uint64_t members, uint32_t flag, uint32_t index, unsigned term)
{
    uint32_t voters = 0, durable = 0;
    for (uint32_t i = 0; i < x->node_count; i++) {
        if (!(member_byte(members, i + 1) & flag))
            continue;
        const struct view *v = view_of(x, i == c->action.node ? c->outcome->node : s->items[i]);
        voters++;
        durable += term_of(v->disk_log, index) == term;
    }
    return voters == 0 || durable > voters / 2;
}

static bool is_held(const struct expansion *x, const struct state *s, const struct child *c,
                    uint64_t members, uint32_t index, unsigned term)
{
    return on_majority(x, s, c, members, RAFT_VOTER, index, term) &&
           on_majority(x, s, c, members, RAFT_VOTER_OLD, index, term);
}

const char *check_commit(const struct expansion *x, const struct state *s, struct child *c)
{
    const struct view *before = view_of(x, s->items[c->action.node]);
    const struct view *after = view_of(x, c->outcome->node);
    uint32_t known = s->committed_count;
    c->committed = s->committed;
    c->committed_in = s->committed_in;
    c->committed_count = s->committed_count;
    uint32_t both = after->commit < known ? after->commit : known;
    if ((after->log ^ s->committed) & up_to(both))
        return "State Machine Safety: committed entries are the same everywhere";
    if (after->commit <= known)
        return NULL;
    if (before->state != RAFT_LEADER && after->state != RAFT_LEADER)
        return "only a leader commits what nobody has committed";
    unsigned term = term_of(after->log, after->commit);
    if (!is_held(x, s, c, before->members, after->commit, term) &&
        !is_held(x, s, c, after->members, after->commit, term))
        return "a committed entry is on a majority's disks";
    if (after->joint_index > known && after->joint_index <= after->commit &&
        !is_held(x, s, c, after->joint_members, after->joint_index,
                 term_of(after->log, after->joint_index)))
        return "a joint configuration is on the disks of both majorities";
    c->committed = after->log & up_to(after->commit);
    for (uint32_t i = known + 1; i <= after->commit; i++)
        c->committed_in |= (uint64_t)after->term << (4 * (i - 1));
    c->committed_count = after->commit;
    return NULL;
}

/* ---- a state ---- */

/* Entries with index and term in common have all before them in common (§3.5). */
static bool logs_match(const struct view *a, const struct view *b)
{
    static const uint64_t lowest = UINT64_C(0x1111111111111111);
    uint64_t both = up_to(a->last < b->last ? a->last : b->last) & lowest;
    uint64_t differ = a->log ^ b->log;
    differ |= differ >> 1;
    differ |= differ >> 2;
    differ &= both;
    uint64_t first = differ & -differ;
    return differ == 0 || differ == (both & ~(first - 1));
}

static bool is_complete(const struct state *s, const struct view *leader)
{
    uint64_t differ = (leader->log ^ s->committed) & up_to(s->committed_count);
    if (differ == 0)
        return true;
    for (uint32_t i = 1; i <= s->committed_count; i++)
        if (term_of(s->committed_in, i) < leader->term && term_of(differ, i) != 0)
            return false;
    return true;
}

/* What the leader takes for replicated is on the follower's disk, unless a later leader's write has
 * come meanwhile. */
static bool is_matched(const struct expansion *x, const struct state *s, const struct view *leader)
{
    for (uint32_t i = 0; i < x->node_count; i++) {
        const struct view *v = view_of(x, s->items[i]);
        uint32_t match = leader->match[i];
        if (match != 0 && v->disk_term <= leader->term &&
            term_of(v->disk_log, match) != term_of(leader->log, match))
            return false;
    }
    return true;
}

/* As long as nobody comes or goes, what is committed stays on a majority's disks. */
static bool is_durable(const struct expansion *x, const struct state *s)
{
    uint32_t last = s->committed_count, durable = 0;
    if (last == 0 || x->options->budgets[EXPLORE_CHANGES] > 0)
        return true;
    for (uint32_t i = 0; i < x->options->nodes; i++)
        durable += term_of(view_of(x, s->items[i])->disk_log, last) == term_of(s->committed, last);
    return durable > x->options->nodes / 2;
}

const char *check_state(const struct expansion *x, const struct state *s, uint32_t changed)
{
    const struct view *own = view_of(x, s->items[changed]);
    for (uint32_t i = 0; i < x->node_count; i++) {
        const struct view *v = view_of(x, s->items[i]);
        if (i != changed && (v->led & own->led))
            return "Election Safety: a term has one leader";
        if (i != changed && !logs_match(v, own))
            return "Log Matching: logs with an entry in common are equal up to it";
        if (v->state != RAFT_LEADER)
            continue;
        if (!is_complete(s, v))
            return "Leader Completeness: a leader has what earlier leaders committed";
        if (!is_matched(x, s, v))
            return "what a leader takes for replicated is on the follower's disk";
    }
    return is_durable(x, s) ? NULL : "a committed entry stays on a majority's disks";
}
