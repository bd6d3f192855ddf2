/*
 * Test cases with one TAP line each: a case has a name, makes any number of checks, and is "ok"
 * when all held. So a name is the unit that tables and people refer to (tests/scenarios.tsv names
 * FILE:CASE).
 */
#ifndef RAFTKV_TESTS_SUPPORT_CASES_H
#define RAFTKV_TESTS_SUPPORT_CASES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct test_case {
    const char *name;
    void (*run)(void);
};

/* Runs those whose name contains argv[1] (all without it) and returns the exit status of main. */
int cases_run(const struct test_case *cases, size_t count, int argc, char **argv);

#define CASES_MAIN(cases)                                                                          \
    int main(int argc, char **argv)                                                                \
    {                                                                                              \
        return cases_run((cases), sizeof(cases) / sizeof((cases)[0]), argc, argv);                 \
    }

/* A check that fails is reported with its place; the case goes on. */
#define CHECK(condition) case_check((condition), #condition, __FILE__, __LINE__)
#define CHECK_EQ(got, want)                                                                        \
    case_check_eq((uint64_t)(got), (uint64_t)(want), #got " == " #want, __FILE__, __LINE__)
/* One that fails ends the case: for what the rest of it stands on. */
#define REQUIRE(condition)                                                                         \
    (case_check((condition), #condition, __FILE__, __LINE__) ? (void)0 : case_abandon())

bool case_check(bool held, const char *expression, const char *file, int line);
bool case_check_eq(uint64_t got, uint64_t want, const char *expression, const char *file, int line);
void case_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void case_abandon(void);
/* Printed in front of the failures from now on, to tell the rows of a table apart. */
void case_row(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void case_row_done(void);
/* Called at the first failure of a case, to show more. */
void case_set_hook(void (*hook)(void *), void *argument);

#endif
