/* A node's own clocks: their rate, that they never go back, and the wall clock beside them. */
#include "lib/base/clock.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "lib/base/prng.h"
#include "tests/unit/tap.h"

enum { THREADS = 2, CHANGES = 300 };

static uint64_t real_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void test_none(void)
{
    uint64_t before = real_us(), now = clock_now_us();
    ok(now >= before && now <= real_us(), "at first it is the system's");
    is_u64(clock_real_us(123456789), 123456789, "and so is every wait");
}

/* Both are read before and behind, so a machine that is busy makes the bounds wider, not wrong. */
static void test_rate(int64_t ppm)
{
    clock_skew_set(0, ppm);
    uint64_t real_first = real_us(), own_first = clock_now_us(), real_second = real_us();
    while (real_us() < real_second + 30000)
        continue;
    uint64_t real_third = real_us(), own_last = clock_now_us(), real_last = real_us();
    double rate = 1 + (double)ppm / 1e6, moved = (double)(own_last - own_first);
    ok(moved >= (double)(real_third - real_second) * rate - 2 &&
           moved <= (double)(real_last - real_first) * rate + 2,
       "%d ppm: %.0f us", (int)ppm, moved);
    uint64_t wait = clock_real_us(1000000);
    ok((double)wait * rate > 999998 && (double)wait * rate < 1000002,
       "%d ppm: a second of it takes %d us", (int)ppm, (int)wait);
}

static atomic_bool over;
static atomic_uint_fast64_t latest; /* that anybody has seen */
static atomic_uint backwards;

/* What is read behind another thread's reading is not before it. */
static void *watch(void *argument)
{
    (void)argument;
    while (!atomic_load(&over)) {
        uint64_t seen = atomic_load(&latest), now = clock_now_ns();
        if (now < seen)
            atomic_fetch_add(&backwards, 1);
        while (seen < now && !atomic_compare_exchange_weak(&latest, &seen, now))
            continue;
    }
    return NULL;
}

static void test_never_back(void)
{
    pthread_t threads[THREADS];
    struct prng p;
    prng_seed(&p, test_seed());
    for (int i = 0; i < THREADS; i++)
        must(pthread_create(&threads[i], NULL, watch, NULL) == 0);
    for (int i = 0; i < CHANGES; i++) {
        uint64_t until = real_us() + prng_below(&p, 200);
        clock_skew_set(0, (int64_t)prng_below(&p, 1000001) - 500000);
        while (real_us() < until)
            continue;
    }
    atomic_store(&over, true);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    is_u64(atomic_load(&backwards), 0, "no thread sees it go back while its rate changes");
}

static void test_wall(void)
{
    clock_skew_set(0, 0);
    uint64_t right = clock_wall_ms();
    clock_skew_set(3600000, 0);
    uint64_t ahead = clock_wall_ms();
    ok(ahead >= right + 3600000 && ahead < right + 3660000, "the wall clock an hour ahead");
    clock_skew_set(-3600000, 0);
    uint64_t behind = clock_wall_ms();
    ok(behind + 3540000 < right, "an hour behind");
    clock_skew_set(-INT64_C(315576000000) * 64, 0);
    is_u64(clock_wall_ms(), 0, "not before 1970");
    clock_skew_set(0, 0);
    ok(clock_wall_ms() >= right, "and right again");
}

int main(void)
{
    test_none();
    clock_skew_enable();
    test_none();
    test_rate(500000);
    test_rate(-500000);
    test_rate(10000);
    test_rate(0);
    test_never_back();
    test_wall();
    return done();
}
