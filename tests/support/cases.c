/* Test cases with one TAP line each; see cases.h. */
#include "tests/support/cases.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "tests/unit/tap.h"

enum { FAILURES_SHOWN = 20 };

static unsigned failures;
static char row[160];
static jmp_buf abandon;
static void (*failure_hook)(void *);
static void *failure_argument;

static void note_failure(void)
{
    failures++;
    if (failures == 1 && failure_hook)
        failure_hook(failure_argument);
}

bool case_check(bool held, const char *expression, const char *file, int line)
{
    if (held)
        return true;
    if (failures < FAILURES_SHOWN)
        diag("%s:%d: %s%s", file, line, row, expression);
    note_failure();
    return false;
}

bool case_check_eq(uint64_t got, uint64_t want, const char *expression, const char *file, int line)
{
    if (got == want)
        return true;
    if (failures < FAILURES_SHOWN)
        diag("%s:%d: %s%s: got %" PRIu64 ", want %" PRIu64, file, line, row, expression, got, want);
    note_failure();
    return false;
}

void case_fail(const char *fmt, ...)
{
    char text[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (failures < FAILURES_SHOWN)
        diag("%s%s", row, text);
    note_failure();
}

void case_abandon(void)
{
    longjmp(abandon, 1);
}

void case_row(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char text[sizeof(row) - 2];
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    snprintf(row, sizeof(row), "%s: ", text);
}

void case_row_done(void)
{
    row[0] = '\0';
}

void case_set_hook(void (*hook)(void *), void *argument)
{
    failure_hook = hook;
    failure_argument = argument;
}

static bool run_one(void (*run)(void))
{
    failures = 0;
    row[0] = '\0';
    if (setjmp(abandon) == 0)
        run();
    case_set_hook(NULL, NULL);
    return failures == 0;
}

int cases_run(const struct test_case *cases, size_t count, int argc, char **argv)
{
    for (size_t i = 0; i < count; i++) {
        if (argc > 1 && !strstr(cases[i].name, argv[1]))
            continue;
        ok(run_one(cases[i].run), "%s", cases[i].name);
    }
    return done();
}
