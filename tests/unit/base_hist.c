/* Quantiles of the histogram are within its error of the exact ones; counts are exact. */
#include "lib/base/hist.h"

#include <stdlib.h>

#include "lib/base/prng.h"
#include "tests/unit/tap.h"

enum { VALUES = 20000 };

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Values spread over all magnitudes; the reported quantile is at least the exact one, and at most
 * 1/128 above it. */
static void test_error(struct prng *p, unsigned magnitudes)
{
    static uint64_t values[VALUES];
    struct hist h;
    uint64_t sum = 0;
    hist_init(&h);
    for (int i = 0; i < VALUES; i++) {
        values[i] = prng_next(p) >> (64 - 1 - prng_below(p, magnitudes));
        sum += values[i];
        hist_record(&h, values[i]);
    }
    qsort(values, VALUES, sizeof(values[0]), compare);
    bool within = true;
    static const double quantiles[] = {0, 0.001, 0.1, 0.25, 0.5, 0.9, 0.95, 0.99, 0.999, 1};
    for (size_t i = 0; i < sizeof(quantiles) / sizeof(quantiles[0]); i++) {
        double at = quantiles[i] * VALUES;
        size_t rank = (size_t)at;
        rank += (double)rank < at || rank == 0;
        uint64_t exact = values[rank - 1];
        uint64_t got = hist_quantile(&h, quantiles[i]);
        if (got < exact || (double)(got - exact) > 0.0079 * (double)exact) {
            diag("quantile %g: exact %llu, got %llu", quantiles[i], (unsigned long long)exact,
                 (unsigned long long)got);
            within = false;
        }
    }
    ok(within, "quantiles within 0.79 %% over %u binary magnitudes", magnitudes);
    is_u64(h.count, VALUES, "count");
    is_u64(h.sum_us, sum, "sum");
    is_u64(h.max_us, values[VALUES - 1], "maximum is exact");
    is_u64(hist_quantile(&h, 1), values[VALUES - 1], "the last quantile is the maximum");

    bool monotonic = true, close = true;
    uint64_t before = 0;
    for (uint64_t us = 1; us < UINT64_C(1) << 33; us = us * 3 / 2 + 1) {
        uint64_t below = hist_count_below(&h, us), least = 0, most = 0;
        for (int i = 0; i < VALUES; i++) {
            least += (double)values[i] <= 0.968 * (double)us;
            most += values[i] <= us;
        }
        monotonic = monotonic && below >= before;
        close = close && below >= least && below <= most;
        before = below;
    }
    ok(monotonic, "cumulative counts grow");
    ok(close, "… and are right to a bucket");
}

int main(void)
{
    struct hist h, other;
    hist_init(&h);
    is_u64(hist_quantile(&h, 0.5), 0, "nothing recorded");
    is_u64(hist_count_below(&h, 1000), 0, "… nothing below");
    hist_record(&h, 17);
    is_u64(hist_quantile(&h, 0), 17, "a single value is every quantile");
    is_u64(hist_quantile(&h, 1), 17, "… the last too");
    is_u64(hist_count_below(&h, 16), 0, "not below 16");
    is_u64(hist_count_below(&h, 17), 1, "at most 17");

    bool exact = true;
    for (uint64_t us = 0; us < 64; us++) {
        hist_init(&h);
        hist_record(&h, us);
        hist_record(&h, 1000);
        exact = exact && hist_quantile(&h, 0.5) == us && hist_count_below(&h, us) == 1 &&
                (us == 0 || hist_count_below(&h, us - 1) == 0);
    }
    ok(exact, "values below 64 are exact");

    hist_init(&h);
    hist_record(&h, UINT64_MAX / 2);
    hist_record(&h, UINT64_C(3600) * 1000000);
    ok(hist_quantile(&h, 0.5) >= UINT64_C(3600000000) &&
           hist_quantile(&h, 0.5) < UINT64_C(3715000000),
       "an hour still has a bucket of its own");
    is_u64(hist_quantile(&h, 1), UINT64_MAX / 2, "what is over the range is the maximum");
    is_u64(hist_count_below(&h, UINT64_MAX / 2), 2, "… and counted there");
    is_u64(hist_count_below(&h, UINT64_C(5000) * 1000000), 1, "… not before");

    hist_init(&h);
    hist_init(&other);
    hist_record(&h, 10);
    hist_record(&other, 20);
    hist_record(&other, 5000);
    hist_merge(&h, &other);
    is_u64(h.count, 3, "merged count");
    is_u64(h.sum_us, 5030, "merged sum");
    is_u64(h.max_us, 5000, "merged maximum");
    is_u64(hist_quantile(&h, 0.5), 20, "merged quantile");

    struct prng p;
    prng_seed(&p, test_seed());
    test_error(&p, 10);
    test_error(&p, 20);
    test_error(&p, 31);
    return done();
}
