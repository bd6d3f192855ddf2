/*
 * Objectives, "put.p99<10ms,get.p99<5ms,errors<0.1%", and whether figures meet them.
 *
 *     [OPERATION.]METRIC<VALUE    or <=, >, >=; without OPERATION: all together
 *
 *     p50, p99, p99.9, … max, mean    latency of what was answered; VALUE in us, ms or s
 *     rate                            answers a second
 *     errors                          what was not answered, unknown outcomes too; VALUE in %
 *     unknown                         writes of unknown outcome alone; VALUE in %
 *
 * An objective of something that did not happen is inconclusive.
 */
#ifndef RAFTKV_BENCH_SLO_H
#define RAFTKV_BENCH_SLO_H

#include <stdbool.h>

#include "lib/base/err.h"
#include "lib/bench/figures.h"

enum { SLO_MAX = 32, SLO_TEXT_BYTES = 64 };

enum slo_verdict { SLO_HELD, SLO_INCONCLUSIVE, SLO_VIOLATED };
enum slo_metric { SLO_QUANTILE, SLO_MAX_LATENCY, SLO_MEAN, SLO_RATE, SLO_ERRORS, SLO_UNKNOWN };

struct slo {
    char text[SLO_TEXT_BYTES];
    unsigned op; /* enum bench_op, or FIGURES_ALL */
    enum slo_metric metric;
    double quantile; /* 0 … 1 */
    bool below, or_equal;
    double limit; /* µs, a second, or per cent */
    enum slo_verdict verdict;
    double value; /* as limit */
};

struct slo_set {
    struct slo list[SLO_MAX];
    unsigned count;
};

int slo_parse(struct slo_set *s, const char *text, struct err *err); /* ERR_USAGE */
/* Fills verdict and value of each; returns the worst. */
enum slo_verdict slo_judge(struct slo_set *s, const struct figures *f, uint64_t measured_us);
const char *slo_verdict_word(enum slo_verdict v); /* "held", "inconclusive", "violated" */
/* The value as people write it: "3.1ms", "0.02%", "1204/s"; "-" if inconclusive. */
void slo_value_text(const struct slo *s, char *out, size_t bytes);

#endif
