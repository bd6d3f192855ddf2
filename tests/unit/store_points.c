/*
 * Every place of a run: a member's stores (tests/support/store_world.h) are started again in the
 * middle of their life and used for some steps, with a fault at the first call that they make, then
 * the same run with one at the second, and so on to the last. Behind each comes a start without
 * faults, which must succeed and find what was acknowledged; then all is caught up and compared.
 *
 *     power loss   at every call but reads: what was not synced is lost
 *     torn         likewise, and of what was not synced each sector is lost or kept at random
 *     crash        what was written stays
 *     error        the call fails, once: the process ends, or it is tried again
 *     full         the write finds no room, once
 *     read error   at every read
 *
 *     RAFTKV_POINTS=N     so many faults at least, of as many seeds from RAFTKV_SEED on as it
 * takes, each at every place; by default a few hundred, spread over one seed RAFTKV_SEEDS=7 that
 * seed alone, at every place RAFTKV_POINT=KIND,N that one of it, with what did not succeed
 */
#ifdef RAFTKV_TEST_VFS
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/store/test_vfs.h"
#include "tests/support/store_world.h"
#include "tests/unit/tap.h"

enum {
    POINTS = 300, /* by default */
    BEFORE = 40,  /* steps of the life before */
    STEPS = 16,   /* with the fault */
    AFTER = 4,    /* behind the start */
};

static const struct {
    const char *name, *calls, *rule;
    bool torn;
} kinds[] = {
    {"power loss", "any", "any powerloss", false},
    {"torn", "any", "any powerloss", true},
    {"crash", "any", "any crash", false},
    {"error", "any", "any error count=1", false},
    {"full", "write", "write full count=1", false},
    {"read error", "read", "read error count=1", false},
};
enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };

/* A member with some past, stopped; a snapshot for it is there with every other seed. */
static struct world *prepare(uint64_t seed, struct totals *sum)
{
    struct world *w = world_new(seed, sum);
    struct err err = {0};
    world_start(w);
    for (unsigned i = 0; i < BEFORE && !w->failure; i++)
        if (world_step(w, &err) != 0)
            world_fail(w, "an error without a fault", &err);
    if (seed % 2)
        world_make_snapshot(w);
    must(test_vfs_rules("* any crash", NULL) == 0);
    world_stop(w);
    test_vfs_restart();
    return w;
}

/* Ends with the first error that would end a process. */
static int live(struct world *w, struct err *err)
{
    int rc = world_try_start(w, err);
    for (unsigned i = 0; i < STEPS && rc == 0 && !w->failure && !test_vfs_dead(); i++)
        rc = i == STEPS / 2 && w->snapshot_bytes ? world_install(w, err) : world_step(w, err);
    return rc;
}

/* Of a run without a fault. */
static void count_calls(uint64_t seed, uint64_t calls[KINDS])
{
    struct totals sum = {0};
    struct world *w = prepare(seed, &sum);
    struct err err = {0};
    for (int k = 0; k < KINDS; k++)
        calls[k] = test_vfs_calls(kinds[k].calls);
    if (live(w, &err) != 0)
        world_fail(w, "an error without a fault", &err);
    for (int k = 0; k < KINDS; k++)
        calls[k] = test_vfs_calls(kinds[k].calls) - calls[k];
    must(world_free(w));
}

/* *hit: the run came to that call. */
static bool run_point(uint64_t seed, int kind, uint64_t point, bool *hit, struct totals *sum)
{
    struct world *w = prepare(seed, sum);
    struct err err = {0};
    char rule[128];
    uint64_t calls = test_vfs_calls(kinds[kind].calls);
    if (w->failure)
        return world_free(w);
    snprintf(rule, sizeof(rule), "* %s after=%" PRIu64 " seed=%" PRIu64, kinds[kind].rule, point,
             kinds[kind].torn ? seed * 1000003 + point + 1 : 0);
    must(test_vfs_rules(rule, NULL) == 0);
    int rc = live(w, &err);
    *hit = test_vfs_calls(kinds[kind].calls) - calls > point;
    bool dead = test_vfs_dead();
    sum->power_losses += dead;
    sum->errors += rc && !dead;
    if (rc && !*hit)
        world_fail(w, "an error before the fault", &err);
    /* As by kill -9, also where the run went on to its end. */
    if (!dead)
        must(test_vfs_rules("* any crash", NULL) == 0);
    world_stop(w);
    test_vfs_restart();
    if (!w->failure)
        world_start(w);
    for (unsigned i = 0; i < AFTER && !w->failure; i++)
        if (world_step(w, &err) != 0)
            world_fail(w, "an error behind the fault", &err);
    if (!w->failure)
        world_catch_up(w);
    return world_free(w);
}

/* Every `stride`-th place of each kind. */
static uint64_t run_seed(uint64_t seed, uint64_t points_max, struct totals *sum)
{
    uint64_t calls[KINDS], all = 0, done_points = 0;
    count_calls(seed, calls);
    for (int k = 0; k < KINDS; k++)
        all += calls[k];
    uint64_t stride = points_max < all ? (all + points_max - 1) / points_max : 1;
    for (int k = 0; k < KINDS; k++) {
        uint64_t hits = 0, bad = 0, count = 0;
        for (uint64_t i = stride > 1 ? (seed + (uint64_t)k) % stride : 0; i < calls[k];
             i += stride) {
            bool hit = false;
            count++;
            if (!run_point(seed, k, i, &hit, sum) && bad++ == 0)
                diag("RAFTKV_SEEDS=%" PRIu64 " RAFTKV_POINT='%s,%" PRIu64 "'", seed, kinds[k].name,
                     i);
            hits += hit;
        }
        ok(bad == 0 && hits == count,
           "seed %" PRIu64 ", %s: %" PRIu64 " of %" PRIu64 " places (%" PRIu64 " wrong, %" PRIu64
           " not reached)",
           seed, kinds[k].name, count, calls[k], bad, count - hits);
        done_points += count;
    }
    return done_points;
}

static int run_one(uint64_t seed, const char *text)
{
    struct totals sum = {0};
    const char *comma = strchr(text, ',');
    bool hit = false;
    must(comma);
    setenv("RAFTKV_VERBOSE", "1", 1);
    for (int k = 0; k < KINDS; k++)
        if (strncmp(kinds[k].name, text, (size_t)(comma - text)) == 0 &&
            kinds[k].name[comma - text] == '\0')
            ok(run_point(seed, k, strtoull(comma + 1, NULL, 10), &hit, &sum) && hit, "%s", text);
    return done();
}

int main(void)
{
    const char *points = getenv("RAFTKV_POINTS"), *seeds = getenv("RAFTKV_SEEDS"),
               *point = getenv("RAFTKV_POINT");
    uint64_t seed = seeds ? strtoull(seeds, NULL, 10) : test_seed();
    uint64_t wanted = points ? strtoull(points, NULL, 10) : POINTS;
    struct totals sum = {0};
    uint64_t all = 0;
    if (point)
        return run_one(seed, point);
    if (seeds)
        run_seed(seed, UINT64_MAX, &sum);
    else if (!points) /* one seed without a snapshot, one with */
        all = run_seed(seed, wanted / 2, &sum) + run_seed(seed + 1, wanted / 2, &sum);
    else
        for (; all < wanted; seed++)
            all += run_seed(seed, UINT64_MAX, &sum);
    diag("%" PRIu64 " faults: %u power losses and crashes, %u errors that end a process; %u times "
         "full, %u flushes, %u cuts, %u snapshots taken, %u installed (%u with a tail kept)",
         all, sum.power_losses, sum.errors, sum.fulls, sum.flushes, sum.cuts, sum.taken,
         sum.installs, sum.tails);
    ok(seeds || (sum.power_losses > all / 3 && sum.errors > 0 && sum.cuts > 0 && sum.installs > 0),
       "the faults happened, and there was something to lose");
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
