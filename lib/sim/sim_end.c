/*
 * The end of a run. Safety alone is cheap: a cluster that does nothing is safe. So the faults end,
 * as many nodes as can be spared are frozen, and the rest must serve a write within a bound. Then
 * all are healed, and must agree.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/sim/sim_internal.h"

/* ---- who can be spared ---- */

static bool has_majority(const struct sim *s, const struct raft_configuration *c, uint32_t flag,
                         uint32_t frozen)
{
    uint32_t voters = 0, left = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        raft_id id = c->members[i].id;
        if (!(c->members[i].flags & flag))
            continue;
        voters++;
        left += !s->nodes[id].wiped && !(frozen >> id & 1);
    }
    return voters == 0 || left > voters / 2;
}

/* A learner that is to become a voter may do so at any moment. */
static bool has_its_learners(const struct raft_configuration *c, uint32_t frozen)
{
    for (uint32_t i = 0; i < c->count; i++)
        if ((c->members[i].flags & RAFT_AUTO_PROMOTE) && frozen >> c->members[i].id & 1)
            return false;
    return true;
}

/* Of every configuration that may be in force: that is, of all in any log. */
static bool can_spare(struct sim *s, uint32_t frozen)
{
    for (uint32_t i = 1; i <= s->node_count; i++) {
        const struct raft *r = s->nodes[i].carry ? carry_raft(s->nodes[i].carry) : NULL;
        const struct raft_configuration *c = r ? raft_configuration_latest(r) : NULL;
        while (c && c->count > 0) {
            if (!has_majority(s, c, RAFT_VOTER, frozen) ||
                !has_majority(s, c, RAFT_VOTER_OLD, frozen) || !has_its_learners(c, frozen))
                return false;
            c = c->index > 0 ? raft_configuration_at(r, c->index - 1) : NULL;
        }
    }
    return true;
}

static uint32_t choose_frozen(struct sim *s)
{
    uint32_t frozen = 0;
    for (uint32_t tries = 0; tries < 2 * s->node_count; tries++) {
        uint32_t more = frozen | 1u << (1 + prng_below(&s->fault, s->node_count));
        if (can_spare(s, more))
            frozen = more;
    }
    return frozen;
}

/* ---- bounds ---- */

/* Elections may be split, replies of peers and snapshots that were lost are waited for, and a
 * client may ask the wrong ones first. */
static uint64_t bound_us(const struct sim *s)
{
    return 20 * s->plan.election_us + 3 * SIM_PEER_TIMEOUT_US + 2 * SIM_SNAPSHOT_TIMEOUT_US +
           5 * (s->plan.timeout_us + 1000000);
}

static bool has_succeeded(struct sim *s)
{
    return s->succeeded > 0;
}

/* A node that a configuration names, and that still exists, has all that its leader has. */
static bool agree(struct sim *s)
{
    raft_id leader = sim_leader(s);
    const struct raft *r = leader ? carry_raft(s->nodes[leader].carry) : NULL;
    if (!r || !raft_leader_ready(r) || raft_commit_index(r) < raft_last_index(r) ||
        !sim_clients_idle(s) || s->op_free_count < SIM_OPS)
        return false;
    const struct raft_configuration *c = raft_configuration_latest(r);
    for (uint32_t i = 0; i < c->count; i++) {
        const struct sim_node *n = &s->nodes[c->members[i].id];
        if (!n->wiped && (!n->carry || carry_applied_index(n->carry) < raft_last_index(r)))
            return false;
    }
    return true;
}

/* Why they do not agree. */
static void describe_missing(struct sim *s, char *out, size_t bytes)
{
    struct raft_progress_view views[RAFT_MEMBERS_MAX];
    raft_id leader = sim_leader(s);
    const struct raft *r = leader ? carry_raft(s->nodes[leader].carry) : NULL;
    snprintf(out, bytes, "%s",
             !r                           ? "nobody leads"
             : !raft_leader_ready(r)      ? "the leader's first entry is not committed"
             : !sim_clients_idle(s)       ? "a client was never answered"
             : s->op_free_count < SIM_OPS ? "a request lies somewhere"
                                          : "the leader does not commit its last entry");
    uint32_t count = r ? raft_progress(r, views) : 0;
    for (uint32_t i = 0; i < count; i++) {
        static const char *const states[] = {"probe", "pipeline", "snapshot"};
        const struct sim_node *n = &s->nodes[views[i].id];
        if (!n->wiped && n->carry && carry_applied_index(n->carry) < raft_last_index(r))
            snprintf(out, bytes,
                     "n%" PRIu64 " has applied %" PRIu64 " of %" PRIu64 "; n%" PRIu64
                     " has it at %" PRIu64 ", next %" PRIu64 ", %u on their way, %s",
                     n->id, carry_applied_index(n->carry), raft_last_index(r), leader,
                     views[i].match, views[i].next, views[i].inflight, states[views[i].state]);
    }
}

/* ---- the end ---- */

static void progress(struct sim *s)
{
    uint32_t frozen;
    for (uint32_t i = 1; i <= s->node_count; i++)
        sim_heal_node(&s->nodes[i]);
    frozen = choose_frozen(s);
    for (uint32_t i = 1; i <= s->node_count; i++) {
        struct sim_node *n = &s->nodes[i];
        if (!(frozen >> i & 1) || !n->carry)
            continue;
        sim_note(s, i, "is frozen");
        n->paused_until_us = s->now_us + bound_us(s);
        sim_node_due(n, SIM_DUE_WAKE, n->due_us[SIM_DUE_WAKE]);
    }
    s->frozen_us = s->now_us; /* an answer that was on its way already is no progress */
    s->only_writes = true;
    sim_run_until(s, s->now_us + bound_us(s), has_succeeded);
    if (!has_succeeded(s) && s->setup.until_us == 0)
        sim_violated(s, "Liveness: a majority is sound, and serves no write for %" PRIu64 " ms",
                     bound_us(s) / 1000);
}

void sim_end(struct sim *s)
{
    s->calm = true;
    s->lossy_until_us = 0;
    s->job_count = 0;
    progress(s);
    for (uint32_t i = 1; i <= s->node_count; i++)
        sim_heal_node(&s->nodes[i]);
    s->quiet = true;
    sim_run_until(s, s->now_us + 2 * bound_us(s), agree);
    if (s->setup.until_us > 0)
        return;
    if (!agree(s)) {
        char missing[SIM_TEXT_BYTES / 2];
        describe_missing(s, missing, sizeof(missing));
        sim_violated(s, "Liveness: all are sound, and do not agree after %" PRIu64 " ms: %s",
                     2 * bound_us(s) / 1000, missing);
    }
    const struct raft_configuration *c =
        raft_configuration_latest(carry_raft(s->nodes[sim_leader(s)].carry));
    for (uint32_t i = 0; i < c->count; i++)
        if (!s->nodes[c->members[i].id].wiped)
            sim_model_state(&s->nodes[c->members[i].id]);
    sim_model_end(s);
}
