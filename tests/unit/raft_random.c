/*
 * Random torture of the core: each seed draws a cluster, its faults and its clients, runs them with
 * every check of tests/support/torture.h, then heals everything and requires progress: a leader,
 * the changes done, equal logs, reads served, and quiet.
 *
 *     RAFTKV_SEEDS=1..5000    those seeds instead of the few fixed ones
 *     RAFTKV_VERBOSE=1        every decision of every node
 *     RAFTKV_FIRST=1          the first seed that fails is the last
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/err.h"
#include "tests/support/torture.h"
#include "tests/unit/tap.h"

enum {
    FIXED_FROM = 1,
    FIXED_TO = 40,
    FAULTS_US = 8000000,
    PERIOD_US = 10000,
    MEMBERS_MAX = 8,
    VOTERS_MAX = 5,
};

/* What a seed lets happen, in chances of 1000 a period. */
struct faults {
    uint32_t propose, read, crash, crash_all, start, cut, mend, pause, hang, fence, change,
        transfer;
    uint32_t split, join; /* into two parts, and together again */
    uint32_t batch;
    uint32_t at_leader; /* how much of it befalls who leads */
    bool one_way;
    bool single; /* cuts one link, not all of a node */
};

static uint64_t pick(struct torture *t, const uint64_t *of, size_t count)
{
    return of[torture_below(t, count)];
}
#define PICK(t, ...)                                                                               \
    pick((t), (const uint64_t[]){__VA_ARGS__}, sizeof((uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))

static struct torture_plan draw_plan(struct torture *t)
{
    return (struct torture_plan){
        .voters = (uint32_t)PICK(t, 1, 2, 3, 3, 3, 3, 4, 5, 5),
        .loss = (uint32_t)PICK(t, 0, 5, 50, 200),
        .duplicate = (uint32_t)PICK(t, 0, 5, 100),
        .reorder = (uint32_t)PICK(t, 0, 0, 50, 1000),
        .split = (uint32_t)PICK(t, 0, 300),
        .unreachable = (uint32_t)PICK(t, 0, 500, 1000),
        .tick_late = (uint32_t)PICK(t, 0, 5, 50),
        .tick_late_max_us = PICK(t, 50000, 500000),
        .delay_max_us = PICK(t, 200, 2000, 15000, 60000),
        .slow_delay_max_us = PICK(t, 1000, 50000, 400000),
        .disk_max_us = PICK(t, 100, 3000, 20000, 60000),
        .compact_after = (uint32_t)PICK(t, 0, 4, 15, 60),
        .inflight_max = (uint32_t)PICK(t, 1, 2, 4, 8),
        .append_entries_max = (uint32_t)PICK(t, 1, 2, 5, 50),
        .uncommitted_max = (uint32_t)PICK(t, 0, 40, 150),
        .clock_drift_ppm = (uint32_t)PICK(t, 0, 1000, 100000),
    };
}

static struct faults draw_faults(struct torture *t)
{
    return (struct faults){
        .propose = (uint32_t)PICK(t, 50, 200, 500, 900),
        .read = (uint32_t)PICK(t, 100, 800),
        .crash = (uint32_t)PICK(t, 0, 5, 20),
        .crash_all = (uint32_t)PICK(t, 0, 0, 0, 10),
        .start = (uint32_t)PICK(t, 100, 300, 1000),
        .cut = (uint32_t)PICK(t, 0, 10, 50),
        .mend = (uint32_t)PICK(t, 30, 100, 200),
        .split = (uint32_t)PICK(t, 0, 0, 10),
        .join = (uint32_t)PICK(t, 20, 100),
        .pause = (uint32_t)PICK(t, 0, 5, 20),
        .hang = (uint32_t)PICK(t, 0, 3, 10),
        .fence = (uint32_t)PICK(t, 0, 0, 5),
        .change = (uint32_t)PICK(t, 0, 20, 100, 300),
        .transfer = (uint32_t)PICK(t, 0, 10, 50, 200),
        .batch = (uint32_t)PICK(t, 1, 5, 20),
        .at_leader = (uint32_t)PICK(t, 0, 300, 800),
        .one_way = torture_chance(t, 400),
    };
}

/* Leaders that fall as soon as they have begun, and logs that grow one entry at a time: what an
 * election may leave behind (§3.6.2, figure 3.7). */
static void draw_regicide(struct torture *t, struct torture_plan *plan, struct faults *f)
{
    plan->voters = torture_chance(t, 700) ? 5 : 3;
    plan->append_entries_max = plan->inflight_max = 1;
    plan->compact_after = 0;
    plan->loss = plan->duplicate = 0;
    plan->delay_max_us = 2000 + torture_below(t, 10000);
    plan->slow_delay_max_us = plan->delay_max_us;
    plan->disk_max_us = 1000 + torture_below(t, 4000);
    *f = (struct faults){
        .propose = 200,
        .crash = 100 + (uint32_t)torture_below(t, 200),
        .start = 100 + (uint32_t)torture_below(t, 400),
        .change = torture_chance(t, 300) ? 100 : 0,
        .at_leader = 950,
        .batch = 1,
    };
}

/* Parts that are cut off from each other, and changes of membership wherever somebody leads: what
 * majorities that do not overlap would do (§4.1, §4.3). */
static void draw_schism(struct torture *t, struct torture_plan *plan, struct faults *f)
{
    plan->voters = 3;
    plan->append_entries_max = (uint32_t)PICK(t, 1, 2, 50);
    plan->compact_after = (uint32_t)PICK(t, 0, 0, 15);
    plan->loss = plan->duplicate = 0;
    plan->delay_max_us = 1000 + torture_below(t, 4000);
    plan->slow_delay_max_us = 20000;
    plan->disk_max_us = 1000 + torture_below(t, 4000);
    *f = (struct faults){
        .propose = 100,
        .read = 200,
        .crash = (uint32_t)PICK(t, 0, 0, 10),
        .start = 300,
        .split = 20 + (uint32_t)torture_below(t, 60),
        .join = 20 + (uint32_t)torture_below(t, 60),
        .change = 200 + (uint32_t)torture_below(t, 400),
        .transfer = (uint32_t)PICK(t, 0, 0, 20),
        .at_leader = 500,
        .batch = 1,
    };
}

/* Single links cut, processes restarted within a moment, leadership handed on, clocks apart, on a
 * quick network: what would elect somebody beside a lease (§6.4.1). */
static void draw_usurpers(struct torture *t, struct torture_plan *plan, struct faults *f)
{
    plan->voters = 3;
    plan->loss = plan->duplicate = 0;
    plan->delay_max_us = 200 + torture_below(t, 3000);
    plan->slow_delay_max_us = PICK(t, 5000, 200000);
    plan->disk_max_us = 100 + torture_below(t, 1000);
    plan->clock_drift_ppm = (uint32_t)PICK(t, 0, 200000);
    *f = (struct faults){
        .propose = 20,
        .read = 800,
        .crash = 20 + (uint32_t)torture_below(t, 80),
        .start = 900,
        .cut = 20 + (uint32_t)torture_below(t, 50),
        .mend = 30 + (uint32_t)torture_below(t, 50),
        .pause = (uint32_t)PICK(t, 0, 20),
        .hang = (uint32_t)PICK(t, 0, 10),
        .transfer = (uint32_t)PICK(t, 0, 20, 100),
        .at_leader = (uint32_t)PICK(t, 300, 600),
        .batch = 1,
        .one_way = torture_chance(t, 300),
        .single = true,
    };
}

/* ---- what happens ---- */

static raft_id any_node(struct torture *t)
{
    raft_id ids[TORTURE_NODES];
    uint32_t count = 0;
    for (raft_id id = 1; id < TORTURE_NODES; id++)
        if (t->nodes[id].exists)
            ids[count++] = id;
    return ids[torture_below(t, count)];
}

/* 0, which nothing befalls, when it would be a leader and there is none. */
static raft_id victim_of(struct torture *t, const struct faults *f)
{
    return torture_chance(t, f->at_leader) ? torture_leader(t) : any_node(t);
}

static void cut_links(struct torture *t, const struct faults *f)
{
    raft_id victim = victim_of(t, f);
    bool all = !f->single && torture_chance(t, 500);
    raft_id peer = any_node(t);
    for (raft_id id = 1; id < TORTURE_NODES; id++) {
        if (!all && id != peer)
            continue;
        t->cut[victim][id] = true;
        if (!f->one_way)
            t->cut[id][victim] = true;
    }
}

/* The leader's part is small more often than not. */
static void split_links(struct torture *t)
{
    raft_id leader = torture_leader(t);
    bool part[TORTURE_NODES] = {false};
    for (raft_id id = 1; id < TORTURE_NODES; id++)
        part[id] = id == leader || torture_chance(t, 350);
    for (raft_id a = 1; a < TORTURE_NODES; a++)
        for (raft_id b = 1; b < TORTURE_NODES; b++)
            t->cut[a][b] = part[a] != part[b];
}

static void mend_links(struct torture *t)
{
    raft_id victim = any_node(t);
    for (raft_id id = 1; id < TORTURE_NODES; id++)
        t->cut[victim][id] = t->cut[id][victim] = false;
}

/* A node that is in no configuration: a new one, or one removed before. */
static raft_id spare(struct torture *t, const struct raft_configuration *c)
{
    raft_id first = 1 + torture_below(t, TORTURE_NODES - 1);
    for (raft_id i = 0; i < TORTURE_NODES - 1; i++) {
        raft_id id = 1 + (first + i) % (TORTURE_NODES - 1);
        if (!raft_configuration_find(c, id))
            return id;
    }
    return 0;
}

static void change_membership(struct torture *t, raft_id leader)
{
    const struct raft_configuration *c = raft_configuration_latest(t->nodes[leader].core);
    raft_id member = c->members[torture_below(t, c->count)].id;
    uint32_t voters = 0;
    for (uint32_t i = 0; i < c->count; i++)
        voters += (c->members[i].flags & RAFT_VOTER) != 0;
    struct raft_change change = {.auto_promote = voters < VOTERS_MAX && torture_chance(t, 700)};
    change.configuration_index = torture_chance(t, 500) ? c->index : 0;
    change.id = member;
    raft_id new_id = spare(t, c);
    switch (torture_below(t, 4)) {
    case 0:
        if (c->count >= MEMBERS_MAX || new_id == 0)
            return;
        change.kind = RAFT_ADD_LEARNER;
        change.id = new_id;
        torture_start(t, new_id);
        break;
    case 1:
        if (voters >= VOTERS_MAX)
            return;
        change.kind = RAFT_PROMOTE;
        break;
    case 2: change.kind = RAFT_REMOVE; break;
    default:
        if (c->count >= MEMBERS_MAX || new_id == 0)
            return;
        change.kind = RAFT_REPLACE;
        change.new_id = new_id;
        torture_start(t, new_id);
        break;
    }
    torture_change(t, leader, change);
}

/* Clients find whoever takes itself for the leader, deposed ones too. */
static void use_leaders(struct torture *t, const struct faults *f)
{
    for (raft_id id = 1; id < TORTURE_NODES; id++) {
        const struct raft *r = t->nodes[id].core;
        if (!r || (raft_state(r) != RAFT_LEADER && !torture_chance(t, 50)))
            continue;
        if (torture_chance(t, f->propose))
            torture_propose(t, id, 1 + (uint32_t)torture_below(t, f->batch));
        if (torture_chance(t, f->read))
            torture_read(t, id, torture_chance(t, 500));
    }
    if (torture_chance(t, f->read))
        for (uint64_t i = torture_below(t, 4); i > 0; i--)
            torture_read(t, any_node(t), torture_chance(t, 200));
}

static void break_things(struct torture *t, const struct faults *f)
{
    if (torture_chance(t, f->crash))
        torture_crash(t, victim_of(t, f));
    if (torture_chance(t, f->crash_all))
        torture_crash_all(t);
    if (torture_chance(t, f->start))
        torture_start(t, any_node(t));
    if (torture_chance(t, f->cut))
        cut_links(t, f);
    if (torture_chance(t, f->mend))
        mend_links(t);
    if (torture_chance(t, f->split))
        split_links(t);
    if (torture_chance(t, f->join))
        memset(t->cut, 0, sizeof(t->cut));
    if (torture_chance(t, f->pause))
        torture_pause(t, victim_of(t, f), torture_below(t, 4 * TORTURE_ELECTION_US));
    if (torture_chance(t, f->hang))
        torture_hang_disk(t, victim_of(t, f), torture_below(t, 4 * TORTURE_ELECTION_US));
    if (torture_chance(t, f->fence))
        torture_fence(t, any_node(t), torture_chance(t, 500));
}

static void one_period(struct torture *t, const struct faults *f)
{
    use_leaders(t, f);
    break_things(t, f);
    for (raft_id id = 1; id < TORTURE_NODES; id++)
        if (t->nodes[id].core && raft_state(t->nodes[id].core) == RAFT_LEADER &&
            torture_chance(t, f->change))
            change_membership(t, id);
    raft_id leader = torture_leader(t);
    if (leader && torture_chance(t, f->transfer))
        torture_transfer(t, leader, torture_chance(t, 300) ? 0 : any_node(t));
}

/* ---- afterwards ---- */

static bool changes_are_done(struct torture *t)
{
    raft_id leader = torture_leader(t);
    if (!leader || !raft_leader_ready(t->nodes[leader].core) ||
        raft_change_pending(t->nodes[leader].core) || raft_transfer_target(t->nodes[leader].core))
        return false;
    const struct raft_configuration *c = raft_configuration_latest(t->nodes[leader].core);
    for (uint32_t i = 0; i < c->count; i++)
        if (c->members[i].flags & RAFT_AUTO_PROMOTE)
            return false;
    return true;
}

static bool logs_are_equal(struct torture *t)
{
    raft_id leader = torture_leader(t);
    if (!leader)
        return false;
    const struct raft *r = t->nodes[leader].core;
    const struct raft_configuration *c = raft_configuration_latest(r);
    raft_index last = raft_last_index(r);
    for (uint32_t i = 0; i < c->count; i++) {
        const struct torture_node *n = &t->nodes[c->members[i].id];
        if (!n->core || raft_last_index(n->core) != last || raft_commit_index(n->core) != last ||
            n->applied != last)
            return false;
    }
    return true;
}

/* Time enough besides for what may have to be replicated, one entry at a time. */
static bool within(struct torture *t, uint64_t us, bool (*reached)(struct torture *),
                   const char *what)
{
    raft_index last = t->commit_max;
    for (raft_id id = 1; id < TORTURE_NODES; id++)
        last = t->nodes[id].last > last ? t->nodes[id].last : last;
    for (uint64_t end = t->now_us + us + last * 5000; t->now_us < end && !t->failed;) {
        torture_run(t, PERIOD_US);
        if (reached(t))
            return true;
    }
    torture_fail(t, "no progress: %s", what);
    return false;
}

static bool requests_are_answered(struct torture *t)
{
    for (raft_id id = 1; id < TORTURE_NODES; id++)
        if (t->nodes[id].core && t->nodes[id].waiting_count > 0)
            return false;
    return true;
}

static bool reads_are_answered(struct torture *t)
{
    for (raft_id id = 1; id < TORTURE_NODES; id++)
        if (t->nodes[id].core && t->nodes[id].read_count > 0)
            return false;
    return true;
}

static void require_progress(struct torture *t)
{
    torture_heal(t);
    torture_run(t, 5 * TORTURE_ELECTION_US); /* the slowest message arrives, whatever it asks */
    if (!within(t, 40 * TORTURE_ELECTION_US, changes_are_done, "changes done"))
        return;
    torture_propose(t, torture_leader(t), 3);
    if (!within(t, 20 * TORTURE_ELECTION_US, logs_are_equal, "equal logs"))
        return;
    raft_id leader = torture_leader(t);
    raft_term term = raft_term_current(t->nodes[leader].core);
    const struct raft_configuration *c = raft_configuration_latest(t->nodes[leader].core);
    for (uint32_t i = 0; i < c->count && !t->failed; i++)
        if (torture_read(t, c->members[i].id, false) != 0)
            torture_fail(t, "node %" PRIu64 " refuses a read", c->members[i].id);
    if (!within(t, 5 * TORTURE_ELECTION_US, reads_are_answered, "reads answered"))
        return;
    torture_run(t, 10 * TORTURE_ELECTION_US); /* removed nodes disturb nobody (§4.2.3) */
    if (torture_leader(t) != leader || raft_term_current(t->nodes[leader].core) != term)
        torture_fail(t, "leader %" PRIu64 " of term %" PRIu64 " did not stay", leader, term);
    within(t, TORTURE_ELECTION_US, requests_are_answered, "requests answered");
}

/* ---- seeds ---- */

struct totals {
    uint64_t steps, elections, installs, changes, reads, leases, transfers, crashes, commits;
};

static bool run_seed(uint64_t seed, bool verbose, struct totals *sum)
{
    struct torture draws = {0};
    prng_seed(&draws.prng, seed);
    struct torture_plan plan = draw_plan(&draws);
    struct faults f = draw_faults(&draws);
    if (seed % 8 == 0)
        draw_regicide(&draws, &plan, &f);
    else if (seed % 8 == 4)
        draw_schism(&draws, &plan, &f);
    else if (seed % 8 == 2)
        draw_usurpers(&draws, &plan, &f);
    struct torture *t = torture_new(seed, plan);
    t->verbose = verbose;
    for (uint64_t end = t->now_us + FAULTS_US; t->now_us < end && !t->failed;) {
        torture_run(t, 1 + torture_below(t, 2 * PERIOD_US));
        if (!t->failed)
            one_period(t, &f);
    }
    if (!t->failed)
        require_progress(t);
    sum->steps += t->steps;
    sum->elections += t->elections;
    sum->installs += t->installs;
    sum->changes += t->changes;
    sum->reads += t->reads_served;
    sum->leases += t->lease_reads;
    sum->transfers += t->transfers;
    sum->crashes += t->crashes;
    sum->commits += t->commit_max;
    bool held = !t->failed;
    torture_free(t);
    return held;
}

int main(void)
{
    uint64_t from = FIXED_FROM, to = FIXED_TO;
    const char *seeds = getenv("RAFTKV_SEEDS");
    if (seeds) {
        char *end;
        from = to = strtoull(seeds, &end, 10);
        if (end[0] == '.' && end[1] == '.')
            to = strtoull(end + 2, &end, 10);
        must(end != seeds && *end == '\0' && from <= to);
    }
    const char *verbose = getenv("RAFTKV_VERBOSE");
    struct totals sum = {0};
    for (uint64_t seed = from; seed <= to; seed++)
        if (!ok(run_seed(seed, verbose && *verbose == '1', &sum), "seed %" PRIu64, seed) &&
            getenv("RAFTKV_FIRST"))
            break;
    diag("%" PRIu64 " steps, %" PRIu64 " entries committed, %" PRIu64 " elections, %" PRIu64
         " crashes, %" PRIu64 " snapshots installed, %" PRIu64 " changes, %" PRIu64
         " transfers, %" PRIu64 " reads, %" PRIu64 " by lease",
         sum.steps, sum.commits, sum.elections, sum.crashes, sum.installs, sum.changes,
         sum.transfers, sum.reads, sum.leases);
    return done();
}
