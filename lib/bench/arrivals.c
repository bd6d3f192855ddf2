/*
 * Arrivals are drawn as positions on a line on which one comes a unit, and moved into time by the
 * inverse of how many the rate brings until then: rate t² / (2 ramp) within the ramp, straight
 * behind it.
 */
#include "lib/bench/arrivals.h"

#include <math.h>

#include "lib/base/check.h"

void arrivals_init(struct arrivals *a, enum arrivals_kind kind, double rate, uint64_t ramp_us,
                   unsigned part, unsigned parts, uint64_t seed)
{
    ASSERT(rate > 0 && part < parts);
    a->kind = kind;
    a->per_us = rate / parts / 1e6;
    a->ramp_us = (double)ramp_us;
    a->position = kind == ARRIVALS_EVEN ? (double)part / parts : 0;
    prng_seed(&a->prng, seed);
}

static double exponential(struct prng *p)
{
    return -log1p(-(double)(prng_next(p) >> 11) * 0x1p-53);
}

uint64_t arrivals_next(struct arrivals *a)
{
    double in_ramp = a->per_us * a->ramp_us / 2;
    if (a->kind == ARRIVALS_POISSON)
        a->position += exponential(&a->prng);
    double at = a->position;
    if (a->kind == ARRIVALS_EVEN)
        a->position += 1;
    if (at < in_ramp)
        return (uint64_t)sqrt(2 * at * a->ramp_us / a->per_us);
    return (uint64_t)(a->ramp_us + (at - in_ramp) / a->per_us);
}
