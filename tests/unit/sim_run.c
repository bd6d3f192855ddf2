/*
 * The simulator: the same seed is the same run; runs keep their promises; a run that fails is made
 * smaller.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/hash.h"
#include "lib/base/mem.h"
#include "lib/sim/sim.h"
#include "tests/support/cases.h"
#include "tests/unit/tap.h"

enum { SEEDS = 12, SAME_SEEDS = 4 };

static void add_line(void *hash, const char *line)
{
    uint64_t *h = hash;
    *h = hash64(line, strlen(line), *h);
}

static uint64_t trace_of(struct sim_setup setup, struct sim_result *result)
{
    uint64_t hash = 0;
    setup.trace = add_line;
    setup.trace_argument = &hash;
    sim_run(&setup, result);
    return hash;
}

static void same_seed_same_run(void)
{
    static struct sim_result first, second;
    uint64_t seed = test_seed();
    for (uint64_t i = 0; i < SAME_SEEDS; i++) {
        struct sim_setup setup = {.seed = seed + i};
        case_row("seed %" PRIu64, setup.seed);
        uint64_t hash = trace_of(setup, &first);
        CHECK_EQ(trace_of(setup, &second), hash);
        CHECK_EQ(first.steps, second.steps);
        CHECK_EQ(first.events, second.events);
        setup.seed += SAME_SEEDS;
        CHECK(trace_of(setup, &second) != hash);
    }
}

static void promises_are_kept(void)
{
    static struct sim_result result;
    uint64_t seed = test_seed(), writes = 0;
    for (uint64_t i = 0; i < SEEDS; i++) {
        struct sim_setup setup = {.seed = seed + i};
        case_row("seed %" PRIu64, setup.seed);
        sim_run(&setup, &result);
        if (result.violated)
            case_fail("%s", result.what);
        writes += result.writes;
    }
    CHECK(writes > 0);
}

/* A part of a run is that run, as far as it goes. */
static void until_a_time(void)
{
    static struct sim_result whole, part;
    struct sim_setup setup = {.seed = test_seed(), .voters = 3};
    sim_run(&setup, &whole);
    setup.until_us = 2000000;
    sim_run(&setup, &part);
    CHECK_EQ(part.virtual_us, 2000000);
    CHECK(part.steps > 0 && part.steps < whole.steps);
}

static void number_of_voters(void)
{
    static struct sim_result result;
    for (uint32_t voters = 1; voters <= SIM_VOTERS_MAX; voters++) {
        struct sim_setup setup = {.seed = test_seed() + voters, .voters = voters};
        char text[2000], want[16];
        snprintf(want, sizeof(want), "%u voters", voters);
        CHECK(sim_describe(&setup, text, sizeof(text)) < sizeof(text));
        CHECK(strncmp(text, want, strlen(want)) == 0);
        setup.until_us = 3000000;
        sim_run(&setup, &result);
        CHECK(!result.violated);
        CHECK(result.elections > 0);
    }
}

/* ---- smaller runs ---- */

struct plant {
    uint64_t needed; /* faults without which it does not fail */
    enum sim_trait trait;
    uint32_t runs, give_up_at;
};

static bool run_planted(void *argument, const struct sim_setup *setup, struct sim_result *result)
{
    struct plant *p = argument;
    memset(result, 0, sizeof(*result));
    result->virtual_us = 5000500;
    result->violated =
        (setup->faults_kept & p->needed) == p->needed && !(setup->without >> p->trait & 1);
    return p->give_up_at == 0 || ++p->runs < p->give_up_at;
}

/* A seed that draws many faults, and the trait. */
static struct sim_setup planted_setup(void)
{
    struct sim_setup setup = {.seed = test_seed()};
    char text[2000];
    for (;; setup.seed++) {
        sim_describe(&setup, text, sizeof(text));
        if (sim_fault_count(&setup) > 20 && strstr(text, "clocks run differently"))
            return setup;
    }
}

static void smallest_run(void)
{
    static struct sim_result result = {.violated = true, .virtual_us = 5000500};
    struct plant plant = {.needed = 1u << 3 | 1u << 17, .trait = SIM_WITH_DRIFT};
    struct sim_setup setup = planted_setup();
    uint32_t runs = sim_minimise(&setup, &result, run_planted, &plant);
    CHECK(setup.fewer_faults);
    CHECK_EQ(setup.faults_kept, plant.needed);
    CHECK_EQ(setup.without >> SIM_WITH_DRIFT & 1, 0);
    CHECK(setup.clients <= 1);
    CHECK_EQ(setup.until_us, 5001000);
    CHECK(runs > 10 && runs < 200);
}

static void smallest_run_without_faults(void)
{
    static struct sim_result result = {.violated = true, .virtual_us = 1000};
    struct plant plant = {.trait = SIM_WITH_DRIFT};
    struct sim_setup setup = planted_setup();
    sim_minimise(&setup, &result, run_planted, &plant);
    CHECK(setup.fewer_faults);
    CHECK_EQ(setup.faults_kept, 0);
}

/* What cannot be run any more ends the search; what was found so far stays. */
static void search_that_is_given_up(void)
{
    static struct sim_result result = {.violated = true, .virtual_us = 5000500};
    struct plant plant = {.trait = SIM_WITH_DRIFT, .give_up_at = 3};
    struct sim_setup setup = planted_setup();
    CHECK_EQ(sim_minimise(&setup, &result, run_planted, &plant), 3);
    CHECK(result.violated);
}

static void words(void)
{
    struct sim_setup setup = planted_setup();
    char text[200];
    for (int i = 0; i < SIM_FAULT_KINDS; i++)
        CHECK(strlen(sim_fault_word((enum sim_fault_kind)i)) > 1);
    for (int i = 0; i < SIM_TRAITS; i++)
        CHECK(strlen(sim_trait_word((enum sim_trait)i)) > 1);
    sim_fault_text(&setup, 7, text, sizeof(text));
    CHECK(strncmp(text, " 7  at ", 7) == 0);
}

static const struct test_case cases[] = {
    {"the same seed is the same run", same_seed_same_run},
    {"promises are kept", promises_are_kept},
    {"a run until a time", until_a_time},
    {"1 to 7 voters", number_of_voters},
    {"the smallest run that fails", smallest_run},
    {"a run that fails without faults", smallest_run_without_faults},
    {"a search that is given up", search_that_is_given_up},
    {"words and sentences", words},
};
CASES_MAIN(cases)
