/* xoshiro256** 1.0 and splitmix64 (Blackman and Vigna, "Scrambled linear pseudorandom number
 * generators", 2018; the seeding is what they recommend there). */
#include "lib/base/prng.h"

#include <errno.h>
#include <sys/random.h>

#include "lib/base/check.h"

static uint64_t rotate_left(uint64_t x, unsigned bits)
{
    return (x << bits) | (x >> (64 - bits));
}

static uint64_t splitmix64(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

void prng_seed(struct prng *p, uint64_t seed)
{
    for (int i = 0; i < 4; i++)
        p->s[i] = splitmix64(&seed);
}

uint64_t prng_next(struct prng *p)
{
    uint64_t *s = p->s;
    uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate_left(s[3], 45);
    return result;
}

uint64_t prng_below(struct prng *p, uint64_t bound)
{
    ASSERT(bound > 0);
    /* The first 2^64 mod bound numbers are drawn again, so that what is left divides evenly. */
    uint64_t uneven = (UINT64_MAX - bound + 1) % bound;
    uint64_t r;
    do {
        r = prng_next(p);
    } while (r < uneven);
    return r % bound;
}

bool prng_chance(struct prng *p, uint32_t num, uint32_t den)
{
    return prng_below(p, den) < num;
}

void prng_fill(struct prng *p, void *out, size_t len)
{
    uint8_t *bytes = out;
    uint64_t r = 0;
    for (size_t i = 0; i < len; i++) {
        r = i % 8 ? r >> 8 : prng_next(p);
        bytes[i] = (uint8_t)r;
    }
}

uint64_t random_id(void)
{
    uint64_t id = 0;
    while (id == 0) {
        ssize_t n = getrandom(&id, sizeof(id), 0);
        /* Up to 256 bytes come whole once the pool is ready; before that a signal may interrupt. */
        ASSERT(n == (ssize_t)sizeof(id) || (n < 0 && errno == EINTR));
        if (n < 0)
            id = 0;
    }
    return id;
}
