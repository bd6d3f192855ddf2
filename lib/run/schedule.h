/*
 * When which fault comes: drawn from a seed, the same on every machine. What a fault then does (to
 * which nodes, how hard) is drawn from its own seed when it begins, since that may depend on who
 * leads at that moment.
 */
#ifndef RAFTKV_RUN_SCHEDULE_H
#define RAFTKV_RUN_SCHEDULE_H

#include <stdint.h>

enum { SCHEDULE_MAX = 4096 };

struct schedule_entry {
    uint32_t at_ms, for_ms;
    uint32_t set; /* which of the fault sets */
    uint64_t seed;
};

struct schedule {
    struct schedule_entry *entries;
    uint32_t count;
};

/* Faults of `set_count` sets within `time_ms`: one after the other, each set once before one comes
 * again, with quiet times between and at the end. A run too short for any has none. */
void schedule_draw(struct schedule *s, uint64_t seed, uint32_t time_ms, uint32_t set_count);
void schedule_release(struct schedule *s);

#endif
