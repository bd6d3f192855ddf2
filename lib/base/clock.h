/*
 * Clocks. CLOCK_BOOTTIME for everything that decides (it goes on while the machine sleeps, see
 * leases); the wall clock for display only.
 *
 * A node with --enable-faults can be made to have worse ones: its wall clock jumps, the other goes
 * faster or slower. Then clock_now_us and clock_now_ns tell its own time, which never goes
 * backwards. Thread-safe.
 */
#ifndef RAFTKV_BASE_CLOCK_H
#define RAFTKV_BASE_CLOCK_H

#include <stdint.h>

uint64_t clock_now_us(void);  /* CLOCK_BOOTTIME, microseconds */
uint64_t clock_now_ns(void);  /* CLOCK_BOOTTIME, nanoseconds */
uint64_t clock_wall_ms(void); /* CLOCK_REALTIME, milliseconds since 1970 */

enum { CLOCK_RATE_PPM_MAX = 500000 };

/* Once, before there are other threads that read clocks: without it nothing is ever skewed, and
 * reading costs a look at one flag more. */
void clock_skew_enable(void);
/* The wall clock is `wall_ms` off (not before 1970); from now on a second of clock_now_us takes
 * 1 / (1 + rate_ppm / 1,000,000) seconds. At most CLOCK_RATE_PPM_MAX either way. */
void clock_skew_set(int64_t wall_ms, int64_t rate_ppm);
/* How long it really takes until clock_now_us has moved on by so much. */
uint64_t clock_real_us(uint64_t own_us);

#endif
