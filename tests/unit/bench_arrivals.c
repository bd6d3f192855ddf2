/* Schedules of open loops: rate, ramp, threads, distances. */
#include <math.h>

#include "lib/bench/arrivals.h"
#include "tests/support/cases.h"

enum { SECOND_US = 1000000 };

static void even_arrivals_have_equal_distances(void)
{
    struct arrivals a;
    arrivals_init(&a, ARRIVALS_EVEN, 1000, 0, 0, 1, 1);
    for (uint64_t i = 0; i < 5000; i++) {
        uint64_t at = arrivals_next(&a);
        CHECK(at + 1 >= i * 1000 && at <= i * 1000);
    }
}

static void threads_take_turns(void)
{
    struct arrivals parts[4];
    for (unsigned i = 0; i < 4; i++)
        arrivals_init(&parts[i], ARRIVALS_EVEN, 400, 0, i, 4, 1);
    for (uint64_t i = 0; i < 400; i++) {
        uint64_t at = arrivals_next(&parts[i % 4]);
        CHECK(at + 1 >= i * 2500 && at <= i * 2500);
    }
}

static uint64_t count_until(struct arrivals *a, uint64_t end_us, uint64_t *next_us)
{
    uint64_t count = 0, last_us = 0;
    while (*next_us < end_us) {
        CHECK(*next_us >= last_us);
        last_us = *next_us;
        *next_us = arrivals_next(a);
        count++;
    }
    return count;
}

static void a_ramp_brings_half_as_many_and_grows_evenly(void)
{
    struct arrivals a;
    arrivals_init(&a, ARRIVALS_EVEN, 1000, 4 * SECOND_US, 0, 1, 1);
    uint64_t next = arrivals_next(&a);
    /* rate t² / (2 ramp): 125, 500, 1125, 2000 until the end of each second */
    static const uint64_t want[] = {125, 375, 625, 875, 1000, 1000};
    for (unsigned s = 0; s < 6; s++) {
        uint64_t got = count_until(&a, (s + 1) * (uint64_t)SECOND_US, &next);
        CHECK(got + 1 >= want[s] && got <= want[s] + 1);
    }
}

static void poisson_arrivals_have_rate_and_spread(void)
{
    struct arrivals a;
    enum { COUNT = 100000 };
    double sum = 0, squares = 0;
    uint64_t last = 0;
    arrivals_init(&a, ARRIVALS_POISSON, 500, 0, 0, 1, 77);
    for (int i = 0; i < COUNT; i++) {
        uint64_t at = arrivals_next(&a);
        REQUIRE(at >= last);
        double gap = (double)(at - last);
        sum += gap;
        squares += gap * gap;
        last = at;
    }
    double mean = sum / COUNT, deviation = sqrt(squares / COUNT - mean * mean);
    CHECK(fabs(mean - 2000) < 2000 * 0.02);
    CHECK(fabs(deviation - 2000) < 2000 * 0.03); /* as large as the mean: exponential */
}

static void another_seed_is_another_schedule(void)
{
    struct arrivals a, b, c;
    arrivals_init(&a, ARRIVALS_POISSON, 500, 0, 0, 1, 1);
    arrivals_init(&b, ARRIVALS_POISSON, 500, 0, 0, 1, 1);
    arrivals_init(&c, ARRIVALS_POISSON, 500, 0, 0, 1, 2);
    unsigned same = 0;
    for (int i = 0; i < 100; i++) {
        uint64_t at = arrivals_next(&a);
        CHECK_EQ(arrivals_next(&b), at);
        same += arrivals_next(&c) == at;
    }
    CHECK(same < 5);
}

static const struct test_case cases[] = {
    {"even_arrivals_have_equal_distances", even_arrivals_have_equal_distances},
    {"threads_take_turns", threads_take_turns},
    {"a_ramp_brings_half_as_many_and_grows_evenly", a_ramp_brings_half_as_many_and_grows_evenly},
    {"poisson_arrivals_have_rate_and_spread", poisson_arrivals_have_rate_and_spread},
    {"another_seed_is_another_schedule", another_seed_is_another_schedule},
};

CASES_MAIN(cases)
