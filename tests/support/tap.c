/* TAP output for unit tests; see tests/unit/tap.h. One thread at a time may report. */
#include "tests/unit/tap.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned tests_run;
static unsigned tests_failed;

__attribute__((format(printf, 4, 0))) static void report(bool held, const char *file, int line,
                                                         const char *fmt, va_list ap)
{
    tests_run++;
    printf("%sok %u - ", held ? "" : "not ", tests_run);
    vprintf(fmt, ap);
    putchar('\n');
    if (!held) {
        tests_failed++;
        diag("failed at %s:%d", file, line);
    }
    fflush(stdout);
}

bool tap_ok(bool held, const char *expression, const char *file, int line, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    report(held, file, line, fmt, ap);
    va_end(ap);
    if (!held)
        diag("  %s", expression);
    return held;
}

bool tap_is_i64(int64_t got, int64_t want, const char *file, int line, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    report(got == want, file, line, fmt, ap);
    va_end(ap);
    if (got != want)
        diag("  got %" PRId64 ", want %" PRId64, got, want);
    return got == want;
}

bool tap_is_u64(uint64_t got, uint64_t want, const char *file, int line, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    report(got == want, file, line, fmt, ap);
    va_end(ap);
    if (got != want)
        diag("  got %" PRIu64 ", want %" PRIu64, got, want);
    return got == want;
}

bool tap_is_str(const char *got, const char *want, const char *file, int line, const char *fmt, ...)
{
    bool held = (!got && !want) || (got && want && strcmp(got, want) == 0);
    va_list ap;
    va_start(ap, fmt);
    report(held, file, line, fmt, ap);
    va_end(ap);
    if (!held)
        diag("  got  \"%s\"\n  want \"%s\"", got ? got : "(null)", want ? want : "(null)");
    return held;
}

bool tap_has_str(const char *text, const char *part, const char *file, int line, const char *fmt,
                 ...)
{
    bool held = text && strstr(text, part);
    va_list ap;
    va_start(ap, fmt);
    report(held, file, line, fmt, ap);
    va_end(ap);
    if (!held)
        diag("  \"%s\"\n  does not contain \"%s\"", text ? text : "(null)", part);
    return held;
}

static void diag_bytes(const char *label, const void *data, size_t len)
{
    enum { SHOWN = 48 };
    char line[SHOWN * 4 + 8];
    size_t at = 0;
    for (size_t i = 0; i < len && i < SHOWN; i++) {
        unsigned char c = ((const unsigned char *)data)[i];
        at += (size_t)snprintf(line + at, sizeof(line) - at, isprint(c) ? "%c" : "\\x%02x", c);
    }
    line[at] = '\0';
    diag("  %s %zu bytes: %s%s", label, len, line, len > SHOWN ? "…" : "");
}

bool tap_is_mem(const void *got, size_t got_len, const void *want, size_t want_len,
                const char *file, int line, const char *fmt, ...)
{
    bool held = got_len == want_len && (got_len == 0 || memcmp(got, want, got_len) == 0);
    va_list ap;
    va_start(ap, fmt);
    report(held, file, line, fmt, ap);
    va_end(ap);
    if (!held) {
        diag_bytes("got ", got, got_len);
        diag_bytes("want", want, want_len);
    }
    return held;
}

void tap_bail(const char *expression, const char *file, int line)
{
    printf("Bail out! %s:%d: %s\n", file, line, expression);
    fflush(stdout);
    exit(1);
}

void diag(const char *fmt, ...)
{
    char text[4096];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    fflush(stdout);
    for (char *line = text, *end; line; line = end) {
        end = strchr(line, '\n');
        if (end)
            *end++ = '\0';
        fprintf(stderr, "# %s\n", line);
    }
}

void skip(const char *name, const char *reason)
{
    tests_run++;
    printf("ok %u - %s # SKIP %s\n", tests_run, name, reason);
    fflush(stdout);
}

int done(void)
{
    printf("1..%u\n", tests_run);
    if (tests_failed)
        diag("%u of %u failed", tests_failed, tests_run);
    if (tests_run == 0)
        diag("no test ran");
    fflush(stdout);
    return tests_failed || tests_run == 0 ? 1 : 0;
}

uint64_t test_seed(void)
{
    static uint64_t seed;
    static bool known;
    if (!known) {
        const char *text = getenv("RAFTKV_SEED");
        seed = text ? strtoull(text, NULL, 0) : 20260101;
        known = true;
        printf("# RAFTKV_SEED=%" PRIu64 "\n", seed);
    }
    return seed;
}
