/*
 * The percentile distribution in the text form of HdrHistogram, five steps each time the distance
 * to 100 % is halved.
 */
#include <inttypes.h>
#include <math.h>

#include "lib/base/mem.h"
#include "lib/bench/report.h"

enum { STEPS_A_HALF = 5 };

/* From the middles of the buckets. */
static double deviation_us(const struct hist *h)
{
    double mean = (double)h->sum_us / (double)h->count, sum = 0;
    for (unsigned i = 0; i < HIST_BUCKETS; i++) {
        if (h->buckets[i] == 0)
            continue;
        double low = i > 0 ? (double)hist_upper_edge(i - 1) + 1 : 0;
        double off = (low + (double)hist_upper_edge(i)) / 2 - mean;
        sum += (double)h->buckets[i] * off * off;
    }
    return sqrt(sum / (double)h->count);
}

static void put_line(FILE *out, const struct hist *h, double percentile)
{
    uint64_t us = hist_quantile(h, percentile / 100);
    uint64_t below = hist_count_below(h, us);
    fprintf(out, "%12.3f %2.12f %10" PRIu64, (double)us / 1e3, percentile / 100, below);
    if (percentile < 100)
        fprintf(out, " %14.2f", 1 / (1 - percentile / 100));
    fputc('\n', out);
}

void report_hdr(FILE *out, const struct bench_result *r, unsigned op)
{
    struct figures_op *f = mem_alloc(sizeof(*f));
    const struct hist *h = &f->latency;
    figures_of(&r->report->figures, op, f);
    fprintf(out, "%12s %14s %10s %14s\n\n", "Value", "Percentile", "TotalCount",
            "1/(1-Percentile)");
    for (double p = 0; h->count > 0 && p < 100;) {
        put_line(out, h, p);
        if (hist_quantile(h, p / 100) >= h->max_us)
            break;
        double halves = floor(log2(100 / (100 - p))) + 1;
        p += 100 / (STEPS_A_HALF * exp2(halves));
    }
    if (h->count > 0)
        put_line(out, h, 100);
    fprintf(out, "#[Mean    = %12.3f, StdDeviation   = %12.3f]\n",
            h->count ? (double)h->sum_us / (double)h->count / 1e3 : 0,
            h->count ? deviation_us(h) / 1e3 : 0);
    fprintf(out, "#[Max     = %12.3f, Total count    = %12" PRIu64 "]\n", (double)h->max_us / 1e3,
            h->count);
    fprintf(out, "#[Buckets = %12d, SubBuckets     = %12d]\n", HIST_BUCKETS >> HIST_SUB_BITS,
            1 << HIST_SUB_BITS);
    mem_free(f);
}
