/*
 * Log-linear buckets: values below 2^7 have one each; above, each power of two has 2^7 of equal
 * width, so that a bucket is at most 1/128 as wide as its values are large.
 */
#include "lib/base/hist.h"

#include <string.h>

#include "lib/base/check.h"

enum { SUBS = 1 << HIST_SUB_BITS };

static unsigned bucket_of(uint64_t us)
{
    if (us < SUBS)
        return (unsigned)us;
    unsigned power = 63 - (unsigned)__builtin_clzll(us);
    unsigned shift = power - HIST_SUB_BITS;
    unsigned at = ((shift + 1) << HIST_SUB_BITS) + (unsigned)((us >> shift) - SUBS);
    return at < HIST_BUCKETS && shift < HIST_BUCKETS >> HIST_SUB_BITS ? at : HIST_BUCKETS - 1;
}

uint64_t hist_upper_edge(unsigned bucket)
{
    if (bucket < SUBS)
        return bucket;
    unsigned shift = (bucket >> HIST_SUB_BITS) - 1;
    uint64_t sub = bucket & (SUBS - 1);
    return ((SUBS + sub + 1) << shift) - 1;
}

void hist_init(struct hist *h)
{
    memset(h, 0, sizeof(*h));
}

void hist_record(struct hist *h, uint64_t us)
{
    h->count++;
    h->sum_us += us;
    if (us > h->max_us)
        h->max_us = us;
    h->buckets[bucket_of(us)]++;
}

void hist_merge(struct hist *into, const struct hist *from)
{
    into->count += from->count;
    into->sum_us += from->sum_us;
    if (from->max_us > into->max_us)
        into->max_us = from->max_us;
    for (unsigned i = 0; i < HIST_BUCKETS; i++)
        into->buckets[i] += from->buckets[i];
}

uint64_t hist_quantile(const struct hist *h, double q)
{
    ASSERT(q >= 0 && q <= 1);
    double exact = q * (double)h->count;
    uint64_t rank = (uint64_t)exact;
    if ((double)rank < exact || rank == 0)
        rank++;
    uint64_t seen = 0;
    for (unsigned i = 0; i < HIST_BUCKETS - 1; i++) {
        seen += h->buckets[i];
        if (seen >= rank) {
            uint64_t edge = hist_upper_edge(i);
            return edge < h->max_us ? edge : h->max_us;
        }
    }
    return h->max_us; /* the last bucket has no edge */
}

uint64_t hist_count_below(const struct hist *h, uint64_t us)
{
    if (us >= h->max_us)
        return h->count;
    uint64_t sum = 0;
    for (unsigned i = 0; i < HIST_BUCKETS - 1 && hist_upper_edge(i) <= us; i++)
        sum += h->buckets[i];
    return sum;
}
