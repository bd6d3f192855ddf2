/* Clocks of the system, and what a node makes of them to be tested. */
#include "lib/base/clock.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>

#include "lib/base/check.h"

enum { MILLION = 1000000, BILLION = 1000000000 };

/* own time = own_ns + (real time - real_ns) * (1 + rate). A thread that has read the one and then
 * another rate could see time go back, so both are read under the mutex. */
static struct {
    atomic_bool on;
    pthread_mutex_t mutex;
    uint64_t real_ns, own_ns;
    int64_t rate_ppm, wall_ms;
} skew = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static struct timespec read_clock(clockid_t which)
{
    struct timespec now;
    int rc = clock_gettime(which, &now);
    ASSERT(rc == 0);
    return now;
}

static uint64_t real_now_ns(void)
{
    struct timespec now = read_clock(CLOCK_BOOTTIME);
    return (uint64_t)now.tv_sec * BILLION + (uint64_t)now.tv_nsec;
}

static bool skewed(void)
{
    return atomic_load_explicit(&skew.on, memory_order_relaxed);
}

/* With the mutex held. Whole millionths first: a product of both would overflow after hours. */
static uint64_t own_now_ns(uint64_t real_ns)
{
    uint64_t passed = real_ns - skew.real_ns;
    uint64_t scale = (uint64_t)(MILLION + skew.rate_ppm);
    return skew.own_ns + passed / MILLION * scale + passed % MILLION * scale / MILLION;
}

static uint64_t skewed_now_ns(void)
{
    pthread_mutex_lock(&skew.mutex);
    uint64_t ns = own_now_ns(real_now_ns());
    pthread_mutex_unlock(&skew.mutex);
    return ns;
}

uint64_t clock_now_us(void)
{
    return clock_now_ns() / 1000;
}

uint64_t clock_now_ns(void)
{
    return skewed() ? skewed_now_ns() : real_now_ns();
}

uint64_t clock_wall_ms(void)
{
    struct timespec now = read_clock(CLOCK_REALTIME);
    int64_t ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / MILLION;
    if (skewed()) {
        pthread_mutex_lock(&skew.mutex);
        ms += skew.wall_ms;
        pthread_mutex_unlock(&skew.mutex);
    }
    return ms > 0 ? (uint64_t)ms : 0;
}

void clock_skew_enable(void)
{
    skew.real_ns = skew.own_ns = real_now_ns();
    atomic_store(&skew.on, true);
}

void clock_skew_set(int64_t wall_ms, int64_t rate_ppm)
{
    ASSERT(skewed() && rate_ppm >= -CLOCK_RATE_PPM_MAX && rate_ppm <= CLOCK_RATE_PPM_MAX);
    pthread_mutex_lock(&skew.mutex);
    uint64_t real_ns = real_now_ns();
    skew.own_ns = own_now_ns(real_ns);
    skew.real_ns = real_ns;
    skew.rate_ppm = rate_ppm;
    skew.wall_ms = wall_ms;
    pthread_mutex_unlock(&skew.mutex);
}

uint64_t clock_real_us(uint64_t own_us)
{
    if (!skewed())
        return own_us;
    pthread_mutex_lock(&skew.mutex);
    uint64_t scale = (uint64_t)(MILLION + skew.rate_ppm);
    pthread_mutex_unlock(&skew.mutex);
    return own_us / scale * MILLION + own_us % scale * MILLION / scale;
}
