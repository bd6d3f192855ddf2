/* Clocks of the system. */
#include "lib/base/clock.h"

#include <time.h>

#include "lib/base/check.h"

static struct timespec read_clock(clockid_t which)
{
    struct timespec now;
    int rc = clock_gettime(which, &now);
    ASSERT(rc == 0);
    return now;
}

uint64_t clock_now_us(void)
{
    struct timespec now = read_clock(CLOCK_BOOTTIME);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

uint64_t clock_now_ns(void)
{
    struct timespec now = read_clock(CLOCK_BOOTTIME);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

uint64_t clock_wall_ms(void)
{
    struct timespec now = read_clock(CLOCK_REALTIME);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}
