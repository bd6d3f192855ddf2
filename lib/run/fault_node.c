/* Faults that nodes with --enable-faults make themselves: disks, clocks, crashes at a point; see
 * fault.h. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/run/admin.h"
#include "lib/run/fault.h"

enum {
    JSON_BYTES = 160,
    SYNC_DELAY_MAX_MS = 400,
    JUMP_MAX_MS = 3600000,
    DRIFT_MAX_PPM = 200000,
    CLEAR_MS = 3000,
    CLEAR_PAUSE_MS = 50,
};

/* Gives it to all targets. A target that a fault beside this one has ended does not take it. */
static void give(struct fault_run *f, const char *json, bool may_end)
{
    struct err err;
    fault_say_members(f, f->targets);
    fault_say(f, ": %s", json);
    for (unsigned i = 0; i < f->fleet->count; i++) {
        struct member *m = &f->fleet->members[i];
        if (!(f->targets >> i & 1) || !member_answers(m))
            continue;
        m->may_end = m->may_end || may_end;
        if (admin_fault(m, json, &err) != 0 && !may_end)
            fault_say(f, " (%s: %.60s)", m->name, err.text);
    }
}

/* Clears them; a node whose disk stands still may not answer at once. */
static void take_back(struct fault_run *f)
{
    struct err err;
    for (unsigned i = 0; i < f->fleet->count; i++) {
        struct member *m = &f->fleet->members[i];
        for (int left = CLEAR_MS; f->targets >> i & 1 && member_answers(m) && left > 0;
             left -= CLEAR_PAUSE_MS)
            if (admin_fault(m, NULL, &err) == 0 || !fleet_wait(f->fleet, CLEAR_PAUSE_MS))
                break;
    }
    if (f->fleet->program)
        fault_restart(f, f->targets);
    for (unsigned i = 0; i < f->fleet->count; i++)
        if (f->targets >> i & 1 && member_answers(&f->fleet->members[i]))
            f->fleet->members[i].may_end = false;
}

static void begin_disk_stall(struct fault_run *f)
{
    char json[JSON_BYTES] = "{\"kind\":\"disk-stall\"}";
    f->targets = fault_minority(f);
    if (prng_chance(&f->prng, 1, 2))
        snprintf(json, sizeof(json), "{\"kind\":\"fsync-delay\",\"delay_ms\":%" PRIu64 "}",
                 20 + prng_below(&f->prng, SYNC_DELAY_MAX_MS));
    give(f, json, false);
}

static void begin_disk_error(struct fault_run *f)
{
    f->targets = fault_minority(f);
    give(f, "{\"kind\":\"fsync-error\"}", true);
}

static void begin_disk_full(struct fault_run *f)
{
    f->targets = fault_minority(f);
    give(f, "{\"kind\":\"disk-full\"}", false);
}

static int64_t either_way(struct fault_run *f, uint64_t most)
{
    int64_t much = (int64_t)prng_below(&f->prng, most) + 1;
    return prng_chance(&f->prng, 1, 2) ? much : -much;
}

static void begin_clock_jump(struct fault_run *f)
{
    char json[JSON_BYTES];
    f->targets = fault_minority(f);
    snprintf(json, sizeof(json), "{\"kind\":\"clock-offset\",\"offset_ms\":%" PRId64 "}",
             either_way(f, JUMP_MAX_MS));
    give(f, json, false);
}

static void begin_clock_drift(struct fault_run *f)
{
    char json[JSON_BYTES];
    f->targets = fault_minority(f);
    snprintf(json, sizeof(json), "{\"kind\":\"clock-rate\",\"ppm\":%" PRId64 "}",
             either_way(f, DRIFT_MAX_PPM));
    give(f, json, false);
}

static void begin_crash(struct fault_run *f)
{
    static const char *const points[] = {"before-persist", "after-persist", "before-apply",
                                         "after-apply"};
    char json[JSON_BYTES];
    f->targets = fault_minority(f);
    snprintf(json, sizeof(json), "{\"kind\":\"crash\",\"point\":\"%s\"}",
             points[prng_below(&f->prng, sizeof(points) / sizeof(points[0]))]);
    give(f, json, true);
}

const struct fault fault_disk_stall = {"disk-stall",  "syncs of some nodes take long, or never end",
                                       FAULT_OF_NODE, begin_disk_stall,
                                       NULL,          take_back};
const struct fault fault_disk_error = {"disk-error",
                                       "syncs of some nodes fail, and end the node",
                                       FAULT_OF_NODE | FAULT_OF_PROCESS,
                                       begin_disk_error,
                                       NULL,
                                       take_back};
const struct fault fault_disk_full = {
    "disk-full", "disks of some nodes are full", FAULT_OF_NODE, begin_disk_full, NULL, take_back};
const struct fault fault_clock_jump = {"clock-jump",  "wall clocks of some nodes jump",
                                       FAULT_OF_NODE, begin_clock_jump,
                                       NULL,          take_back};
const struct fault fault_clock_drift = {"clock-drift", "clocks of some nodes go fast or slow",
                                        FAULT_OF_NODE, begin_clock_drift,
                                        NULL,          take_back};
const struct fault fault_crash = {"crash",
                                  "some nodes end at a chosen point of their work",
                                  FAULT_OF_NODE | FAULT_OF_PROCESS,
                                  begin_crash,
                                  NULL,
                                  take_back};
