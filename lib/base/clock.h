/*
 * Clocks. CLOCK_BOOTTIME for everything that decides (it goes on while the machine sleeps, see
 * leases); the wall clock for display only.
 */
#ifndef RAFTKV_BASE_CLOCK_H
#define RAFTKV_BASE_CLOCK_H

#include <stdint.h>

uint64_t clock_now_us(void);  /* CLOCK_BOOTTIME, microseconds */
uint64_t clock_now_ns(void);  /* CLOCK_BOOTTIME, nanoseconds */
uint64_t clock_wall_ms(void); /* CLOCK_REALTIME, milliseconds since 1970 */

#endif
