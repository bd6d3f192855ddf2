/*
 * A measurement for people and for programs. Writers print to `out` and do not look whether that
 * worked: the caller does, with ferror.
 */
#ifndef RAFTKV_BENCH_REPORT_H
#define RAFTKV_BENCH_REPORT_H

#include <stdio.h>

#include "lib/bench/bench.h"
#include "lib/bench/slo.h"

struct bench_result {
    const struct bench_options *options;
    const struct bench_report *report;
    const struct slo_set *slo; /* judged; count 0: none */
};

/* What was asked for, as one line without a newline. */
void report_load(FILE *out, const struct bench_options *o);

void report_text(FILE *out, const struct bench_result *r);
void report_json(FILE *out, const struct bench_result *r); /* one object */
void report_csv(FILE *out, const struct bench_result *r);  /* a line a second */
void report_html(FILE *out, const struct bench_result *r); /* one page, nothing from elsewhere */
/* HdrHistogram's percentile distribution in ms, as its plotters read it; `op` up to FIGURES_ALL. */
void report_hdr(FILE *out, const struct bench_result *r, unsigned op);

#endif
