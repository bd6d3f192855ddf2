/*
 * Availability of a run: what was answered when. Times are µs since the beginning of the recording.
 *
 * A tenth of a second is available if anything was answered in it; a gap is a time without an
 * acknowledged write. No locks: the recorder
 * has one.
 */
#ifndef RAFTKV_RUN_STATS_H
#define RAFTKV_RUN_STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    STATS_SLOTS_A_SECOND = 10,
    STATS_GAP_MIN_US = 50000, /* shorter ones are not kept */
};

enum stats_kind {
    STATS_OK,
    STATS_UNMET,   /* answered: a condition did not hold */
    STATS_FAILED,  /* certainly not applied, or a read without an answer */
    STATS_UNKNOWN, /* outcome unknown */
    STATS_KINDS
};

struct stats_second {
    uint32_t counts[STATS_KINDS];
    uint16_t slots; /* a bit for each tenth in which something was answered */
};

struct stats_gap {
    uint64_t from_us, to_us;
};

struct stats {
    struct stats_second *seconds;
    size_t second_count, second_room;
    struct stats_gap *gaps; /* in order, and without overlap */
    size_t gap_count, gap_room;
    uint64_t totals[STATS_KINDS];
    uint64_t last_write_us;
};

void stats_init(struct stats *s);
void stats_release(struct stats *s);
/* Times do not decrease. */
void stats_add(struct stats *s, uint64_t at_us, enum stats_kind kind, bool write);
/* The end of what is measured: what was open becomes a gap. */
void stats_end(struct stats *s, uint64_t at_us);
/* The longest gap that touches from … to, whole; 0: none was as long as STATS_GAP_MIN_US. */
uint64_t stats_longest_gap_us(const struct stats *s, uint64_t from_us, uint64_t to_us);
/* Tenths of a second of that second in which something was answered. */
unsigned stats_slots(const struct stats *s, size_t second);
/* Of all whole seconds before `at_us`, in per cent. */
double stats_availability(const struct stats *s, uint64_t at_us);

#endif
