/*
 * A member's stores in use (tests/support/store_world.h), with a power loss, a crash, an error or a
 * full disk at a random call. Behind each, a start must succeed and find what was acknowledged; log
 * and state must fit together, and entries that are applied again must give their first answers.
 * The state is compared with one that was never interrupted. store_points.c has every call of short
 * runs instead.
 *
 *     RAFTKV_SEEDS=1..500     those seeds instead of the few from RAFTKV_SEED on
 *     RAFTKV_VERBOSE=1        the faults, and what did not succeed
 */
#ifdef RAFTKV_TEST_VFS
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/store/test_vfs.h"
#include "tests/support/store_world.h"
#include "tests/unit/tap.h"

enum {
    SEEDS = 24,
    ROUNDS = 30, /* per seed */
    STEPS = 14,  /* per round */
};

static void set_fault(struct world *w)
{
    static const char *const faults[] = {"any powerloss",     "any powerloss",
                                         "any powerloss",     "any crash",
                                         "any error count=1", "write full count=9"};
    char rule[128];
    size_t n = world_pick(w, sizeof(faults) / sizeof(faults[0]));
    uint64_t seed = n > 0 ? 1 + world_pick(w, 1000000) : 0; /* 0: all that was not synced is lost */
    snprintf(rule, sizeof(rule), "* %s after=%" PRIu64 " seed=%" PRIu64, faults[n],
             world_pick(w, world_pick(w, 2) ? 40 : 400), seed);
    must(test_vfs_rules(rule, NULL) == 0);
    if (w->verbose)
        diag("%s", rule);
}

/* As by kill -9, or a proper end. */
static void restart(struct world *w)
{
    if (test_vfs_dead())
        w->sum->power_losses++;
    else if (world_pick(w, 2)) {
        must(test_vfs_rules("* any crash", NULL) == 0);
        w->sum->crashes++;
    }
    world_stop(w);
    test_vfs_restart();
    world_start(w);
}

static void run_round(struct world *w)
{
    struct err err = {0};
    uint64_t install_at = STEPS;
    if (world_pick(w, 4) == 0) {
        world_make_snapshot(w);
        install_at = world_pick(w, STEPS);
    }
    bool faults = world_pick(w, 8) != 0;
    if (faults)
        set_fault(w);
    int rc = 0;
    for (uint64_t i = 0; i < STEPS && rc == 0 && !w->failure && !test_vfs_dead(); i++) {
        rc = i == install_at ? world_install(w, &err) : world_step(w, &err);
        if (rc && !faults)
            world_fail(w, "an error without a fault", &err);
    }
    w->sum->errors += rc && !test_vfs_dead();
    test_vfs_rules("", NULL);
    world_drop_snapshot(w);
    if (!w->failure && (rc || test_vfs_dead() || world_pick(w, 4) == 0))
        restart(w);
    if (!w->failure && world_pick(w, 3) == 0)
        world_catch_up(w);
}

static bool run_seed(uint64_t seed, struct totals *sum)
{
    struct world *w = world_new(seed, sum);
    world_start(w);
    for (unsigned i = 0; i < ROUNDS && !w->failure; i++)
        run_round(w);
    if (!w->failure)
        world_catch_up(w);
    return world_free(w);
}

int main(void)
{
    uint64_t from = test_seed(), to = from + SEEDS - 1;
    const char *seeds = getenv("RAFTKV_SEEDS");
    if (seeds) {
        char *end;
        from = to = strtoull(seeds, &end, 10);
        if (end[0] == '.' && end[1] == '.')
            to = strtoull(end + 2, &end, 10);
        must(end != seeds && *end == '\0' && from <= to);
    }
    struct totals sum = {0};
    for (uint64_t seed = from; seed <= to; seed++)
        if (!ok(run_seed(seed, &sum), "seed %" PRIu64, seed) && getenv("RAFTKV_FIRST"))
            break;
    diag(
        "%u starts behind %u power losses and crashes, %u errors, %u ends without a word; %u times "
        "full, %u flushes, %u cuts, %u snapshots taken, %u installed (%u with a tail kept)",
        sum.starts, sum.power_losses, sum.errors, sum.crashes, sum.fulls, sum.flushes, sum.cuts,
        sum.taken, sum.installs, sum.tails);
    ok(seeds || (sum.power_losses > 100 && sum.errors > 4 && sum.fulls > 16 && sum.cuts > 80 &&
                 sum.installs > 20 && sum.taken > 80),
       "the faults happened");
    return done();
}

#else
#include "tests/unit/tap.h"

int main(void)
{
    skip("store", "needs a build with RAFTKV_TEST_VFS");
    return done();
}
#endif
