/* Two results of `-o json`, figure by figure. */
#ifndef RAFTKV_BENCH_COMPARE_H
#define RAFTKV_BENCH_COMPARE_H

#include <stdio.h>

#include "lib/base/buf.h"
#include "lib/base/err.h"
#include "lib/bench/figures.h"

enum compare_figure {
    COMPARE_RATE,
    COMPARE_MEAN,
    COMPARE_P50,
    COMPARE_P95,
    COMPARE_P99,
    COMPARE_P999,
    COMPARE_MAX,
    COMPARE_ERRORS,
    COMPARE_UNKNOWN,
    COMPARE_FIGURES
};

enum { COMPARE_SETTINGS = 11, COMPARE_SETTING_BYTES = 64 };

struct compare_side {
    bool is_result;
    bool has[FIGURES_ALL + 1][COMPARE_FIGURES];
    double value[FIGURES_ALL + 1][COMPARE_FIGURES]; /* as in the file: µs, a second, or a number */
    char settings[COMPARE_SETTINGS][COMPARE_SETTING_BYTES]; /* what was asked for */
};

/* ERR_BAD_REQUEST: that is no result of raftkv-bench. */
int compare_read(struct compare_side *s, struct slice json, struct err *err);
/* A line for each figure that either has, and one for each setting in which they differ. */
void compare_print(FILE *out, const struct compare_side *a, const struct compare_side *b);
/* By how many per cent b is worse than a where it is worst: a lower rate, higher P50 to P99.9; and
 * where that is, "put P99". Without anything to compare, or nothing worse: 0, "". */
double compare_worst(const struct compare_side *a, const struct compare_side *b, char *where,
                     size_t bytes);

#endif
