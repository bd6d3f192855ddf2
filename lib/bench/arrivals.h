/*
 * When requests of an open loop should begin: a schedule that knows nothing of answers. The rate
 * grows evenly over a ramp and stays then; the distances are equal, or exponential (Poisson), which
 * is how many users that know nothing of each other arrive.
 *
 * Each of `parts` threads takes an equal part; together they make the whole rate.
 */
#ifndef RAFTKV_BENCH_ARRIVALS_H
#define RAFTKV_BENCH_ARRIVALS_H

#include <stdint.h>

#include "lib/base/prng.h"

enum arrivals_kind { ARRIVALS_EVEN, ARRIVALS_POISSON };

struct arrivals {
    enum arrivals_kind kind;
    double per_us; /* of this part, behind the ramp */
    double ramp_us;
    double position; /* arrivals so far, as a real number */
    struct prng prng;
};

void arrivals_init(struct arrivals *a, enum arrivals_kind kind, double rate, uint64_t ramp_us,
                   unsigned part, unsigned parts, uint64_t seed);
/* µs from the beginning of the schedule to the next arrival; never decreases. */
uint64_t arrivals_next(struct arrivals *a);

#endif
