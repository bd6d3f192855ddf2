/*
 * Latency histogram: log-linear buckets (128 a power of two, 1 µs to over an hour, relative
 * error under 0.8 %), fixed size, no allocation. One writer; readers copy.
 */
#ifndef RAFTKV_BASE_HIST_H
#define RAFTKV_BASE_HIST_H

#include <stdint.h>

enum { HIST_SUB_BITS = 7, HIST_BUCKETS = (33 - HIST_SUB_BITS) << HIST_SUB_BITS };

struct hist {
    uint64_t count;
    uint64_t sum_us;
    uint64_t max_us;
    uint64_t buckets[HIST_BUCKETS];
};

void hist_init(struct hist *h);
void hist_record(struct hist *h, uint64_t us);
void hist_merge(struct hist *into, const struct hist *from);
/* q from 0 to 1; in µs. */
uint64_t hist_quantile(const struct hist *h, double q); /* upper edge of the bucket, at most max */
uint64_t hist_count_below(const struct hist *h, uint64_t us); /* values of at most `us` */
/* The largest value that falls into the bucket; the last one takes all above. */
uint64_t hist_upper_edge(unsigned bucket);

#endif
