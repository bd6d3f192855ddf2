/* Faults of processes, the table, and what all rows of it use; see fault.h. */
#include "lib/run/fault.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/clock.h"

enum { READY_MS = 5000 };

/* ---- whom ---- */

uint32_t fault_candidates(const struct fault_run *f)
{
    uint32_t bits = 0;
    for (unsigned i = 0; i < f->fleet->count; i++)
        if (f->fleet->members[i].votes && member_answers(&f->fleet->members[i]))
            bits |= 1U << i;
    return bits;
}

int fault_leader(const struct fault_run *f)
{
    struct observer_view view;
    observer_view(f->observer, &view);
    return view.place;
}

int fault_pick(struct fault_run *f, uint32_t of)
{
    int count = __builtin_popcount(of);
    if (count == 0)
        return -1;
    uint64_t which = prng_below(&f->prng, (uint64_t)count);
    for (int i = 0; i < FLEET_NODES_MAX; i++)
        if (of >> i & 1 && which-- == 0)
            return i;
    return -1;
}

uint32_t fault_minority(struct fault_run *f)
{
    uint32_t candidates = fault_candidates(f), chosen = 0;
    int voters = 0, leader = fault_leader(f);
    for (unsigned i = 0; i < f->fleet->count; i++)
        voters += f->fleet->members[i].votes && f->fleet->members[i].state != MEMBER_GONE;
    int most = (voters - 1) / 2;
    int want = most > 1 ? 1 + (int)prng_below(&f->prng, (uint64_t)most) : 1;
    bool lead = prng_chance(&f->prng, 1, 2);
    if (lead && leader >= 0 && candidates >> leader & 1)
        chosen = 1U << leader;
    while (__builtin_popcount(chosen) < want) {
        int one = fault_pick(f, candidates & ~chosen);
        if (one < 0)
            break;
        chosen |= 1U << one;
    }
    return chosen;
}

void fault_say(struct fault_run *f, const char *fmt, ...)
{
    size_t len = strlen(f->text);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(f->text + len, sizeof(f->text) - len, fmt, ap);
    va_end(ap);
}

void fault_say_members(struct fault_run *f, uint32_t which)
{
    const char *before = "";
    int leader = fault_leader(f);
    for (int i = 0; i < FLEET_NODES_MAX; i++)
        if (which >> i & 1) {
            fault_say(f, "%s%s%s", before, f->fleet->members[i].name,
                      i == leader ? " (leader)" : "");
            before = " ";
        }
}

void fault_restart(struct fault_run *f, uint32_t which)
{
    struct err err;
    for (unsigned i = 0; i < f->fleet->count; i++) {
        struct member *m = &f->fleet->members[i];
        if (which >> i & 1 && m->state == MEMBER_DOWN && member_start(f->fleet, m, &err) != 0)
            fault_say(f, " (%s cannot be started: %s)", m->name, err.text);
    }
    for (unsigned i = 0; i < f->fleet->count; i++)
        if (which >> i & 1)
            fleet_await_ready(f->fleet, &f->fleet->members[i], READY_MS);
}

/* ---- kill, kill-all, pause ---- */

static void kill_targets(struct fault_run *f)
{
    fault_say_members(f, f->targets);
    for (unsigned i = 0; i < f->fleet->count; i++)
        if (f->targets >> i & 1)
            member_end(f->fleet, &f->fleet->members[i], SIGKILL, 0);
}

static void begin_kill(struct fault_run *f)
{
    f->targets = fault_minority(f);
    kill_targets(f);
}

static void begin_kill_all(struct fault_run *f)
{
    for (unsigned i = 0; i < f->fleet->count; i++)
        if (f->fleet->members[i].pid != 0)
            f->targets |= 1U << i;
    kill_targets(f);
}

static void end_kill(struct fault_run *f)
{
    fault_restart(f, f->targets);
}

static void begin_pause(struct fault_run *f)
{
    f->targets = fault_minority(f);
    fault_say_members(f, f->targets);
    for (unsigned i = 0; i < f->fleet->count; i++)
        if (f->targets >> i & 1)
            member_stop(f->fleet, &f->fleet->members[i]);
}

static void end_pause(struct fault_run *f)
{
    for (unsigned i = 0; i < f->fleet->count; i++)
        if (f->targets >> i & 1)
            member_continue(f->fleet, &f->fleet->members[i]);
}

static const struct fault fault_kill = {
    "kill",  "some nodes, a minority, are killed and started", FAULT_OF_PROCESS, begin_kill, NULL,
    end_kill};
static const struct fault fault_kill_all = {
    "kill-all", "all nodes are killed at once and started", FAULT_OF_PROCESS, begin_kill_all, NULL,
    end_kill};
static const struct fault fault_pause = {
    "pause", "some nodes, a minority, stand still", FAULT_OF_PROCESS, begin_pause, NULL, end_pause};

/* ---- the table ---- */

static const struct fault *const faults[] = {
    &fault_kill,       &fault_kill_all,   &fault_pause,       &fault_partition,
    &fault_slow,       &fault_lossy,      &fault_disk_stall,  &fault_disk_error,
    &fault_disk_full,  &fault_clock_jump, &fault_clock_drift, &fault_crash,
    &fault_membership, &fault_transfer,   &fault_rolling,     NULL,
};

const struct fault *fault_at(unsigned i)
{
    return i < sizeof(faults) / sizeof(faults[0]) ? faults[i] : NULL;
}

const struct fault *fault_find(const char *name)
{
    for (unsigned i = 0; faults[i]; i++)
        if (strcmp(faults[i]->name, name) == 0)
            return faults[i];
    return NULL;
}

/* One word of the list into a set. */
static int parse_set(const char *word, struct fault_set *set, struct err *err)
{
    char name[FAULT_NAME_BYTES];
    memset(set, 0, sizeof(*set));
    if (strlen(word) >= sizeof(set->name))
        return err_set(err, ERR_USAGE, "'%.80s' is too long", word);
    snprintf(set->name, sizeof(set->name), "%.*s", FAULT_NAME_BYTES - 1, word);
    for (const char *from = word; *from;) {
        size_t len = strcspn(from, "+");
        snprintf(name, sizeof(name), "%.*s", (int)len, from);
        const struct fault *fault = fault_find(name);
        if (!fault)
            return err_set(err, ERR_USAGE, "'%s' is no fault", name);
        if (set->count == FAULT_PARTS_MAX)
            return err_set(err, ERR_USAGE, "'%s': %d at once at most", word, FAULT_PARTS_MAX);
        for (unsigned i = 0; i < set->count; i++)
            if (set->parts[i] == fault)
                return err_set(err, ERR_USAGE, "'%s' has %s twice", word, name);
        set->parts[set->count++] = fault;
        from += len;
        if (*from == '+' && *++from == '\0')
            return err_set(err, ERR_USAGE, "'%s' ends in +", word);
    }
    return set->count > 0 ? 0 : err_set(err, ERR_USAGE, "an empty word");
}

int fault_sets_parse(const char *text, struct fault_set sets[FAULT_SETS_MAX], unsigned *count,
                     struct err *err)
{
    char word[FAULT_NAME_BYTES * 2];
    *count = 0;
    if (strcmp(text, "none") == 0)
        return 0;
    for (const char *from = text;; from++) {
        size_t len = strcspn(from, ",");
        snprintf(word, sizeof(word), "%.*s", (int)len, from);
        if (*count == FAULT_SETS_MAX)
            return err_set(err, ERR_USAGE, "more than %d words", FAULT_SETS_MAX);
        int code = parse_set(word, &sets[*count], err);
        if (code != 0)
            return code;
        ++*count;
        from += len;
        if (*from == '\0')
            return 0;
    }
}

unsigned fault_set_needs(const struct fault_set *set)
{
    unsigned needs = 0;
    for (unsigned i = 0; i < set->count; i++)
        needs |= set->parts[i]->needs;
    return needs;
}

/* ---- running ---- */

void fault_begin(struct fault_run *f, const struct fault *fault, struct fleet *c,
                 struct observer *o, uint64_t seed)
{
    memset(f, 0, sizeof(*f));
    f->fault = fault;
    f->fleet = c;
    f->observer = o;
    prng_seed(&f->prng, seed);
    fault->begin(f);
}

void fault_tick(struct fault_run *f)
{
    f->ticks++;
    if (f->fault->tick)
        f->fault->tick(f);
}

void fault_end(struct fault_run *f)
{
    if (f->fault->end)
        f->fault->end(f);
}
