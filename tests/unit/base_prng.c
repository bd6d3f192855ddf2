/* The generator's numbers never change: seeds in bug reports must mean the same for ever. */
#include "lib/base/prng.h"

#include <string.h>

#include "tests/unit/tap.h"

int main(void)
{
    /* The authors' C code, state 1, 2, 3, 4. */
    static const uint64_t reference[] = {UINT64_C(11520),
                                         UINT64_C(0),
                                         UINT64_C(1509978240),
                                         UINT64_C(1215971899390074240),
                                         UINT64_C(1216172134540287360),
                                         UINT64_C(607988272756665600),
                                         UINT64_C(16172922978634559625),
                                         UINT64_C(8476171486693032832),
                                         UINT64_C(10595114339597558777),
                                         UINT64_C(2904607092377533576)};
    struct prng p = {{1, 2, 3, 4}};
    bool same = true;
    for (size_t i = 0; i < sizeof(reference) / sizeof(reference[0]); i++)
        same = same && prng_next(&p) == reference[i];
    ok(same, "xoshiro256** gives the published numbers");

    prng_seed(&p, 0);
    static const uint64_t seeded[4] = {UINT64_C(0xe220a8397b1dcdaf), UINT64_C(0x6e789e6aa1b965f4),
                                       UINT64_C(0x06c45d188009454f), UINT64_C(0xf88bb8a8724c81ec)};
    is_mem(p.s, sizeof(p.s), seeded, sizeof(seeded), "seed 0 through splitmix64");

    struct prng q;
    prng_seed(&p, 42);
    prng_seed(&q, 42);
    is_mem(&p, sizeof(p), &q, sizeof(q), "equal seeds, equal states");
    q = p;
    ok(prng_next(&p) == prng_next(&q), "a copy goes on in the same way");
    prng_seed(&q, 43);
    ok(prng_next(&p) != prng_next(&q), "another seed, other numbers");

    uint8_t bytes[21], prefix[13];
    prng_seed(&p, 7);
    q = p;
    prng_fill(&p, bytes, sizeof(bytes));
    uint64_t first = prng_next(&q);
    is_u64(bytes[0], first & 0xff, "bytes are little-endian: the first");
    is_u64(bytes[7], first >> 56, "… and the eighth");
    is_u64(bytes[8], prng_next(&q) & 0xff, "the ninth is of the next number");
    prng_seed(&p, 7);
    prng_fill(&p, prefix, sizeof(prefix));
    is_mem(prefix, sizeof(prefix), bytes, sizeof(prefix), "a shorter run is a prefix");

    enum { DRAWS = 60000, SIDES = 6 };
    unsigned seen[SIDES] = {0};
    bool below = true;
    prng_seed(&p, 1);
    for (int i = 0; i < DRAWS; i++) {
        uint64_t r = prng_below(&p, SIDES);
        below = below && r < SIDES;
        seen[r % SIDES]++;
    }
    ok(below, "prng_below stays below");
    bool even = true;
    for (int i = 0; i < SIDES; i++) /* five standard deviations are 456 */
        even = even && seen[i] > DRAWS / SIDES - 456 && seen[i] < DRAWS / SIDES + 456;
    ok(even, "… and is even");
    is_u64(prng_below(&p, 1), 0, "below 1 is 0");
    uint64_t bound = (UINT64_C(1) << 63) + 1;
    for (int i = 0; i < 1000; i++)
        below = below && prng_below(&p, bound) < bound;
    ok(below, "a bound that rejects half of the numbers");
    ok(!prng_chance(&p, 0, 5), "no chance");
    ok(prng_chance(&p, 5, 5), "certainty");
    unsigned hits = 0;
    for (int i = 0; i < DRAWS; i++)
        hits += prng_chance(&p, 1, 4);
    ok(hits > 15000 - 530 && hits < 15000 + 530, "a chance of a quarter: %u of %d", hits, DRAWS);

    ok(random_id() != 0 && random_id() != random_id(), "random ids");
    return done();
}
