/* Schedules of faults, and the words of --faults. */
#include "lib/run/schedule.h"

#include <string.h>

#include "lib/run/fault.h"
#include "tests/support/cases.h"

enum { TIME_MS = 60000, SETS = 5 };

static void the_same_seed_draws_the_same(void)
{
    struct schedule a, b, other;
    schedule_draw(&a, 7, TIME_MS, SETS);
    schedule_draw(&b, 7, TIME_MS, SETS);
    schedule_draw(&other, 8, TIME_MS, SETS);
    REQUIRE(a.count > SETS && a.count == b.count);
    CHECK(memcmp(a.entries, b.entries, a.count * sizeof(a.entries[0])) == 0);
    CHECK(other.count != a.count ||
          memcmp(a.entries, other.entries, a.count * sizeof(a.entries[0])) != 0);
    schedule_release(&a);
    schedule_release(&b);
    schedule_release(&other);
}

static void a_seed_is_what_it_was(void)
{
    struct schedule s;
    schedule_draw(&s, 1, 10000, 3);
    REQUIRE(s.count == 5);
    CHECK_EQ(s.entries[0].at_ms, 800);
    CHECK_EQ(s.entries[0].set, 2);
    CHECK_EQ(s.entries[0].for_ms, 757);
    CHECK_EQ(s.entries[1].at_ms, 2048);
    schedule_release(&s);
}

static void one_comes_after_the_other_and_all_end_in_time(void)
{
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct schedule s;
        uint64_t free_ms = 0;
        schedule_draw(&s, seed, TIME_MS, SETS);
        case_row("seed %llu", (unsigned long long)seed);
        for (uint32_t i = 0; i < s.count; i++) {
            const struct schedule_entry *e = &s.entries[i];
            CHECK(e->at_ms > free_ms && e->for_ms > 0 && e->set < SETS);
            free_ms = e->at_ms + (uint64_t)e->for_ms;
        }
        CHECK(free_ms < TIME_MS);
        schedule_release(&s);
    }
    case_row_done();
}

static void each_set_comes_once_before_one_comes_again(void)
{
    struct schedule s;
    schedule_draw(&s, 3, TIME_MS, SETS);
    REQUIRE(s.count >= 2 * SETS);
    for (uint32_t round = 0; round < s.count / SETS; round++) {
        uint32_t seen = 0;
        for (uint32_t i = 0; i < SETS; i++)
            seen |= 1U << s.entries[round * SETS + i].set;
        CHECK_EQ(seen, (1U << SETS) - 1);
    }
    schedule_release(&s);
}

static void no_set_and_too_little_time_are_no_faults(void)
{
    struct schedule s;
    schedule_draw(&s, 3, TIME_MS, 0);
    CHECK_EQ(s.count, 0);
    schedule_release(&s);
    schedule_draw(&s, 3, 1500, 1);
    CHECK_EQ(s.count, 0);
    schedule_release(&s);
}

static void words_name_faults_and_several_at_once(void)
{
    struct fault_set sets[FAULT_SETS_MAX];
    unsigned count = 9;
    CHECK_EQ(fault_sets_parse("none", sets, &count, NULL), 0);
    CHECK_EQ(count, 0);
    CHECK_EQ(fault_sets_parse("kill,kill+partition,disk-full", sets, &count, NULL), 0);
    REQUIRE(count == 3);
    CHECK_EQ(sets[0].count, 1);
    CHECK_EQ(sets[1].count, 2);
    CHECK(strcmp(sets[1].name, "kill+partition") == 0);
    CHECK(sets[1].parts[1] == fault_find("partition"));
    CHECK_EQ(fault_set_needs(&sets[1]), FAULT_OF_PROCESS | FAULT_OF_LINK);
    CHECK_EQ(fault_set_needs(&sets[2]), FAULT_OF_NODE);
}

static void other_words_are_refused_by_name(void)
{
    static const struct {
        const char *text, *says;
    } rows[] = {
        {"", "empty"},          {"kill,", "empty"},    {"kill,,pause", "empty"},
        {"frob", "'frob'"},     {"kill+", "ends in"},  {"+kill", "''"},
        {"kill+kill", "twice"}, {"kill,none", "none"}, {"kill+pause+slow+lossy", "at most"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct fault_set sets[FAULT_SETS_MAX];
        unsigned count;
        struct err err = {0};
        case_row("\"%s\"", rows[i].text);
        CHECK_EQ(fault_sets_parse(rows[i].text, sets, &count, &err), ERR_USAGE);
        CHECK(strstr(err.text, rows[i].says) != NULL);
    }
    case_row_done();
}

static void every_fault_is_found_by_its_name(void)
{
    unsigned count = 0;
    for (; fault_at(count); count++) {
        const struct fault *fault = fault_at(count);
        CHECK(fault_find(fault->name) == fault);
        CHECK(fault->begin && fault->summary[0]);
    }
    CHECK_EQ(count, 15);
}

static const struct test_case cases[] = {
    {"the_same_seed_draws_the_same", the_same_seed_draws_the_same},
    {"a_seed_is_what_it_was", a_seed_is_what_it_was},
    {"one_comes_after_the_other_and_all_end_in_time",
     one_comes_after_the_other_and_all_end_in_time},
    {"each_set_comes_once_before_one_comes_again", each_set_comes_once_before_one_comes_again},
    {"no_set_and_too_little_time_are_no_faults", no_set_and_too_little_time_are_no_faults},
    {"words_name_faults_and_several_at_once", words_name_faults_and_several_at_once},
    {"other_words_are_refused_by_name", other_words_are_refused_by_name},
    {"every_fault_is_found_by_its_name", every_fault_is_found_by_its_name},
};

CASES_MAIN(cases)
