/*
 * Tests print TAP (the plan comes last). `ok` and the is_… family return whether the check held; a
 * failing one prints place and values as diagnostics. A test's main ends with `return done();`.
 */
#ifndef RAFTKV_TESTS_UNIT_TAP_H
#define RAFTKV_TESTS_UNIT_TAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ok(condition, ...)     tap_ok((condition), #condition, __FILE__, __LINE__, __VA_ARGS__)
#define is_i64(got, want, ...) tap_is_i64((got), (want), __FILE__, __LINE__, __VA_ARGS__)
#define is_u64(got, want, ...) tap_is_u64((got), (want), __FILE__, __LINE__, __VA_ARGS__)
#define is_str(got, want, ...) tap_is_str((got), (want), __FILE__, __LINE__, __VA_ARGS__)
#define is_mem(got, got_len, want, want_len, ...)                                                  \
    tap_is_mem((got), (got_len), (want), (want_len), __FILE__, __LINE__, __VA_ARGS__)
/* Whether `text` contains `part`. */
#define has_str(text, part, ...) tap_has_str((text), (part), __FILE__, __LINE__, __VA_ARGS__)
/* Ends the test at once, as failed: for set-up that must work. */
#define must(condition) ((condition) ? (void)0 : tap_bail(#condition, __FILE__, __LINE__))

bool tap_ok(bool held, const char *expression, const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
bool tap_is_i64(int64_t got, int64_t want, const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
bool tap_is_u64(uint64_t got, uint64_t want, const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
bool tap_is_str(const char *got, const char *want, const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
bool tap_has_str(const char *text, const char *part, const char *file, int line, const char *fmt,
                 ...) __attribute__((format(printf, 5, 6)));
bool tap_is_mem(const void *got, size_t got_len, const void *want, size_t want_len,
                const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 7, 8)));
_Noreturn void tap_bail(const char *expression, const char *file, int line);

void diag(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void skip(const char *name, const char *reason); /* counts as a test that held */
int done(void);                                  /* prints the plan; the exit status of main */

/* The seed of randomised tests: RAFTKV_SEED, or a fixed one; printed once as a diagnostic. */
uint64_t test_seed(void);

#endif
