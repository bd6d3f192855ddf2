/*
 * Seeded pseudo-random numbers, xoshiro256** (Blackman and Vigna, 2018), the same on every machine
 * and compiler. Not for secrets. No global state: the generator is a value that its owner keeps,
 * copies and compares.
 */
#ifndef RAFTKV_BASE_PRNG_H
#define RAFTKV_BASE_PRNG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct prng {
    uint64_t s[4];
};

void prng_seed(struct prng *p, uint64_t seed); /* filled through splitmix64 */
uint64_t prng_next(struct prng *p);
uint64_t prng_below(struct prng *p, uint64_t bound); /* 0 … bound-1, unbiased; bound > 0 */
bool prng_chance(struct prng *p, uint32_t num, uint32_t den);
void prng_fill(struct prng *p, void *out, size_t len);

/* From the system (getrandom); never 0. */
uint64_t random_id(void);

#endif
