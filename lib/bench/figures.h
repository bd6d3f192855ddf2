/*
 * What is counted: latencies by operation, and what was not answered by kind. And rows, one a
 * second, for curves. No locks: who shares them has one.
 */
#ifndef RAFTKV_BENCH_FIGURES_H
#define RAFTKV_BENCH_FIGURES_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/hist.h"
#include "lib/bench/workload.h"

enum {
    FIGURES_NOT_BEGUN = 0, /* the kind of what was due and could not begin before the end */
    FIGURES_KINDS = -ERR_FIRST_,
    FIGURES_ALL = BENCH_OPS, /* in place of an operation: all together */
};

struct figures_op {
    struct hist latency; /* of what was answered, in µs; its count is theirs */
    uint64_t late;       /* answered when the measured time was over: not in the rate */
    uint64_t absent;     /* answered: no such key */
    uint64_t unmet;      /* answered: the condition did not hold */
    uint64_t errors[FIGURES_KINDS], unknown[FIGURES_KINDS];
};

struct figures {
    struct figures_op ops[BENCH_OPS];
};

/* How an operation ended. */
struct figures_end {
    enum bench_op op;
    int code;     /* enum err_code; 0: answered */
    bool unknown; /* it failed, and may have been applied */
    bool absent, unmet;
    bool late;  /* the measured time was over */
    bool begun; /* false: FIGURES_NOT_BEGUN */
    uint64_t latency_us;
};

void figures_add(struct figures *f, const struct figures_end *end);
void figures_merge(struct figures *into, const struct figures *from);
/* The sum of all operations, or one; `op` up to FIGURES_ALL. */
void figures_of(const struct figures *f, unsigned op, struct figures_op *out);
uint64_t figures_errors(const struct figures_op *f);
uint64_t figures_unknown(const struct figures_op *f);
double figures_rate(const struct figures_op *f, uint64_t measured_us); /* answers a second */
uint64_t figures_total(const struct figures_op *f); /* answered, errors, unknown */
/* "timeout", "no_reply", "not_begun", … */
const char *figures_kind_name(unsigned kind);
const char *figures_op_name(unsigned op); /* "all" too */

/* A second, or what is left of one at the end. */
struct figures_row {
    double from_s, seconds; /* since the beginning of the load */
    const char *phase;      /* "ramp", "warm-up", "measured", "last answers" */
    uint64_t answered, errors, unknown;
    uint64_t p50_us, p95_us, p99_us, p999_us, max_us;
};

/* What ended since the last row. */
struct figures_second {
    struct hist latency;
    uint64_t errors, unknown;
};
void figures_second_add(struct figures_second *s, const struct figures_end *end);
void figures_second_merge(struct figures_second *into, const struct figures_second *from);
void figures_second_row(const struct figures_second *s, struct figures_row *row);

#endif
