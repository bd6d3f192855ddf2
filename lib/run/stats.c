/* Availability; see stats.h. */
#include "lib/run/stats.h"

#include <string.h>

#include "lib/base/check.h"
#include "lib/base/mem.h"

void stats_init(struct stats *s)
{
    memset(s, 0, sizeof(*s));
}

void stats_release(struct stats *s)
{
    mem_free(s->seconds);
    mem_free(s->gaps);
    stats_init(s);
}

static struct stats_second *second_at(struct stats *s, uint64_t at_us)
{
    size_t second = (size_t)(at_us / 1000000);
    if (second >= s->second_room) {
        size_t room = second + 64;
        s->seconds = mem_realloc(s->seconds, room * sizeof(s->seconds[0]));
        memset(s->seconds + s->second_room, 0, (room - s->second_room) * sizeof(s->seconds[0]));
        s->second_room = room;
    }
    if (second >= s->second_count)
        s->second_count = second + 1;
    return &s->seconds[second];
}

static void end_gap(struct stats *s, uint64_t at_us)
{
    ASSERT(at_us >= s->last_write_us);
    if (at_us - s->last_write_us >= STATS_GAP_MIN_US) {
        if (s->gap_count == s->gap_room) {
            s->gap_room = s->gap_room * 2 + 16;
            s->gaps = mem_realloc(s->gaps, s->gap_room * sizeof(s->gaps[0]));
        }
        s->gaps[s->gap_count++] = (struct stats_gap){s->last_write_us, at_us};
    }
    s->last_write_us = at_us;
}

void stats_add(struct stats *s, uint64_t at_us, enum stats_kind kind, bool write)
{
    struct stats_second *second = second_at(s, at_us);
    s->totals[kind]++;
    second->counts[kind]++;
    if (kind != STATS_OK && kind != STATS_UNMET)
        return;
    second->slots |= (uint16_t)(1U << (at_us % 1000000 * STATS_SLOTS_A_SECOND / 1000000));
    if (write)
        end_gap(s, at_us);
}

void stats_end(struct stats *s, uint64_t at_us)
{
    second_at(s, at_us);
    end_gap(s, at_us);
}

uint64_t stats_longest_gap_us(const struct stats *s, uint64_t from_us, uint64_t to_us)
{
    uint64_t longest = 0;
    for (size_t i = 0; i < s->gap_count; i++) {
        const struct stats_gap *g = &s->gaps[i];
        if (g->from_us < to_us && g->to_us > from_us && g->to_us - g->from_us > longest)
            longest = g->to_us - g->from_us;
    }
    return longest;
}

unsigned stats_slots(const struct stats *s, size_t second)
{
    return second < s->second_count ? (unsigned)__builtin_popcount(s->seconds[second].slots) : 0;
}

double stats_availability(const struct stats *s, uint64_t at_us)
{
    size_t seconds = (size_t)(at_us / 1000000);
    uint64_t slots = 0;
    for (size_t i = 0; i < seconds; i++)
        slots += stats_slots(s, i);
    return seconds == 0 ? 0 : 100.0 * (double)slots / (double)(seconds * STATS_SLOTS_A_SECOND);
}
