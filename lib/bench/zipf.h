/*
 * Numbers drawn by Zipf's law: k of 1 … n with a probability proportional to 1 / k^exponent. By
 * rejection-inversion (Hörmann and Derflinger, 1996): constant time, and n may grow at any moment.
 */
#ifndef RAFTKV_BENCH_ZIPF_H
#define RAFTKV_BENCH_ZIPF_H

#include <stdint.h>

#include "lib/base/prng.h"

struct zipf {
    uint64_t n;
    double exponent;
    double integral_first, integral_last, shortcut;
};

void zipf_init(struct zipf *z, uint64_t n, double exponent); /* n and exponent > 0 */
void zipf_grow(struct zipf *z, uint64_t n);                  /* another n */
uint64_t zipf_draw(const struct zipf *z, struct prng *p);    /* 1 … n */

#endif
