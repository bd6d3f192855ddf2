/* Schedules of faults; see schedule.h. */
#include "lib/run/schedule.h"

#include <string.h>

#include "lib/base/mem.h"
#include "lib/base/prng.h"

enum {
    START_MS = 800, /* the first one comes then */
    END_MS = 700,   /* the last one is over so long before the end */
    QUIET_MIN_MS = 300,
    QUIET_MAX_MS = 1200,
    LENGTH_MIN_MS = 600,
    LENGTH_MAX_MS = 2600,
    SETS_MAX = 64,
};

static void shuffle(struct prng *p, uint32_t *order, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        order[i] = i;
    for (uint32_t i = count; i > 1; i--) {
        uint32_t j = (uint32_t)prng_below(p, i), saved = order[i - 1];
        order[i - 1] = order[j];
        order[j] = saved;
    }
}

void schedule_draw(struct schedule *s, uint64_t seed, uint32_t time_ms, uint32_t set_count)
{
    struct prng p;
    uint32_t order[SETS_MAX], next = 0;
    memset(s, 0, sizeof(*s));
    prng_seed(&p, seed);
    if (set_count == 0 || set_count > SETS_MAX)
        return;
    s->entries = mem_calloc(SCHEDULE_MAX, sizeof(s->entries[0]));
    for (uint64_t at = START_MS; s->count < SCHEDULE_MAX;) {
        struct schedule_entry e = {.at_ms = (uint32_t)at};
        e.for_ms = LENGTH_MIN_MS + (uint32_t)prng_below(&p, LENGTH_MAX_MS - LENGTH_MIN_MS + 1);
        if (next % set_count == 0)
            shuffle(&p, order, set_count);
        e.set = order[next++ % set_count];
        e.seed = prng_next(&p);
        if (at + e.for_ms + END_MS > time_ms)
            break;
        s->entries[s->count++] = e;
        at += e.for_ms + QUIET_MIN_MS + prng_below(&p, QUIET_MAX_MS - QUIET_MIN_MS + 1);
    }
}

void schedule_release(struct schedule *s)
{
    mem_free(s->entries);
    memset(s, 0, sizeof(*s));
}
