/* Cores under random faults: what must hold between them; see torture.h. */
#include <inttypes.h>

#include "tests/support/torture.h"
#include "tests/unit/tap.h"

/* Log Matching: what has an index and a term in common is the same entry. */
void torture_check_entry(struct torture *t, const struct torture_node *n, raft_index index,
                         const struct torture_entry *e)
{
    uint64_t slot = (index * 0x9e3779b97f4a7c15u + e->term * 0xc2b2ae3d27d4eb4fu) >> 40;
    for (uint32_t tries = 0; tries < TORTURE_KNOWN; tries++, slot++) {
        struct torture_entry *known = &t->known[slot % TORTURE_KNOWN];
        raft_index *known_index = &t->known_index[slot % TORTURE_KNOWN];
        if (*known_index == 0) {
            *known = *e;
            *known_index = index;
            return;
        }
        if (*known_index != index || known->term != e->term)
            continue;
        if (known->payload != e->payload)
            torture_fail(
                t, "Log Matching: node %" PRIu64 " has another entry (%" PRIu64 ",%" PRIu64 ")",
                n->id, index, e->term);
        return;
    }
    torture_fail(t, "more entries than TORTURE_KNOWN");
}

/* Election Safety, and Leader Completeness: a leader has what leaders of earlier terms committed.
 */
static void check_leader(struct torture *t, const struct torture_node *n, raft_index commit_max)
{
    raft_term term = raft_term_current(n->core);
    must(term < TORTURE_TERMS);
    t->elections++;
    if (t->leaders[term] != 0 && t->leaders[term] != n->id)
        torture_fail(t, "Election Safety: %" PRIu64 " and %" PRIu64 " lead term %" PRIu64,
                     t->leaders[term], n->id, term);
    t->leaders[term] = n->id;
    for (raft_index i = raft_snapshot_index(n->core) + 1; i <= commit_max; i++)
        if (t->committed_in[i] < term && raft_term_at(n->core, i) != t->committed[i].term) {
            torture_fail(t,
                         "Leader Completeness: %" PRIu64 " leads term %" PRIu64
                         " without committed entry %" PRIu64,
                         n->id, term, i);
            return;
        }
}

static bool on_majority(const struct torture *t, const struct raft_configuration *c, uint32_t flag,
                        raft_index index, raft_term term)
{
    uint32_t voters = 0, durable = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        if (!(c->members[i].flags & flag))
            continue;
        voters++;
        durable += torture_disk_has(&t->nodes[c->members[i].id], index, term);
    }
    return voters == 0 || durable > voters / 2;
}

static bool is_held(const struct torture *t, const struct raft_configuration *c, raft_index index,
                    raft_term term)
{
    return on_majority(t, c, RAFT_VOTER, index, term) &&
           on_majority(t, c, RAFT_VOTER_OLD, index, term);
}

/* A leader commits what a majority has on disk, of the configuration before or behind the step,
 * and nobody else may believe in a lease then. */
static void check_commit(struct torture *t, const struct torture_node *n, raft_index index)
{
    raft_term term = raft_term_at(n->core, index);
    if (!is_held(t, raft_configuration_latest(n->before), index, term) &&
        !is_held(t, raft_configuration_latest(n->core), index, term))
        torture_fail(t, "node %" PRIu64 " commits %" PRIu64 " without a majority's disks", n->id,
                     index);
    for (raft_id id = 1; id < TORTURE_NODES; id++) {
        const struct torture_node *other = &t->nodes[id];
        if (id == n->id || !other->core || raft_state(other->core) != RAFT_LEADER)
            continue;
        if (raft_lease_until_us(other->core) > torture_clock(t, other))
            torture_fail(t, "node %" PRIu64 " commits beside the lease of %" PRIu64, n->id, id);
    }
}

static void check_committed(struct torture *t, const struct torture_node *n, raft_index before,
                            bool leads)
{
    raft_index commit = raft_commit_index(n->core);
    if (commit > before && leads && commit > t->commit_max)
        check_commit(t, n, commit);
    for (raft_index i = before + 1; i <= commit; i++) {
        if (i <= raft_snapshot_index(n->core))
            continue;
        struct torture_entry *known = &t->committed[i];
        const struct torture_entry *e = &n->log[i];
        if (known->term == 0) {
            if (!leads)
                torture_fail(t, "node %" PRIu64 " commits %" PRIu64 ", no leader did", n->id, i);
            *known = *e;
            t->committed_in[i] = raft_term_current(n->core);
        } else if (known->term != e->term || known->payload != e->payload) {
            torture_fail(t, "node %" PRIu64 " commits another entry at %" PRIu64, n->id, i);
        }
    }
    if (t->commit_max < commit)
        t->commit_max = commit;
}

/* What the leader takes for replicated is on the follower's disk, unless a later leader's write has
 * come meanwhile. */
static void check_match(struct torture *t, const struct torture_node *n)
{
    struct raft_progress_view views[RAFT_MEMBERS_MAX];
    uint32_t count = raft_progress(n->core, views);
    for (uint32_t i = 0; i < count; i++) {
        const struct torture_node *peer = &t->nodes[views[i].id];
        if (views[i].match <= raft_snapshot_index(n->core) ||
            peer->disk_term > raft_term_current(n->core))
            continue;
        if (!torture_disk_has(peer, views[i].match, raft_term_at(n->core, views[i].match)))
            torture_fail(t, "node %" PRIu64 " takes %" PRIu64 " for on the disk of %" PRIu64, n->id,
                         views[i].match, views[i].id);
    }
}

void torture_check_step(struct torture *t, struct torture_node *n, const struct raft_event *event,
                        raft_index commit_before, bool led_before)
{
    if (t->failed)
        return;
    const struct raft *r = n->core;
    if (!led_before && raft_state(r) == RAFT_LEADER)
        check_leader(t, n, t->commit_max);
    /* One that commits its own removal leads no more behind the same step. */
    check_committed(t, n, commit_before, led_before || raft_state(r) == RAFT_LEADER);
    raft_index durable = raft_durable_index(r);
    if (durable > raft_snapshot_index(r) && !torture_disk_has(n, durable, raft_term_at(r, durable)))
        torture_fail(t, "node %" PRIu64 " takes %" PRIu64 " for durable", n->id, durable);
    if (event->type == RAFT_MESSAGE && event->message->type == RAFT_APPEND_REPLY)
        check_match(t, n);
}
