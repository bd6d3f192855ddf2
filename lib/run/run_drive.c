/* Faults by their schedule, and the end of all faults; see run.h. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/run/admin.h"
#include "lib/run/run_internal.h"

enum {
    SHOW_EVERY_US = 200000,
    HEALED_MS = 20000,   /* until all nodes are ready again */
    PROGRESS_MS = 15000, /* until clients get through again */
    STEP_MS = 20,
};

/* ---- waiting and showing ---- */

static uint64_t answered(struct run *r, uint64_t *unknown)
{
    pthread_mutex_lock(&r->recorder.lock);
    const uint64_t *totals = r->recorder.stats.totals;
    uint64_t count = totals[STATS_OK] + totals[STATS_UNMET];
    *unknown = totals[STATS_UNKNOWN];
    pthread_mutex_unlock(&r->recorder.lock);
    return count;
}

static void show(struct run *r)
{
    uint64_t now = clock_now_us(), unknown;
    if (!r->options->show || now < r->shown_us + SHOW_EVERY_US)
        return;
    struct observer_view view;
    observer_view(r->observer, &view);
    uint64_t count = answered(r, &unknown);
    struct run_progress p = {
        .elapsed_ms = (now - r->began_us) / 1000,
        .time_ms = r->options->time_ms,
        .answered = count,
        .unknown = unknown,
        .answered_a_s =
            r->shown_us ? (count - r->shown_answered) * 1000000 / (now - r->shown_us) : 0,
        .fault = r->fault,
        .leader = view.leader,
        .term = view.term,
    };
    r->shown_us = now;
    r->shown_answered = count;
    r->options->show(r->options->argument, &p);
}

bool run_wait(struct run *r, uint64_t until_us, struct fault_run *faults, unsigned count)
{
    uint64_t tick_us = clock_now_us() + FAULT_TICK_MS * 1000;
    for (;;) {
        uint64_t now = clock_now_us();
        if (now >= until_us)
            return true;
        uint64_t next = until_us < tick_us ? until_us : tick_us;
        if (!fleet_wait(&r->fleet, next > now ? (uint32_t)((next - now) / 1000 + 1) : 0))
            return false;
        show(r);
        if (clock_now_us() < tick_us)
            continue;
        tick_us += FAULT_TICK_MS * 1000;
        for (unsigned i = 0; i < count; i++)
            fault_tick(&faults[i]);
    }
}

/* ---- one entry ---- */

static void describe(struct run_event *e, const struct fault_run *faults, unsigned count)
{
    size_t len = 0;
    e->text[0] = '\0';
    for (unsigned i = 0; i < count && len < sizeof(e->text); i++)
        len += (size_t)snprintf(e->text + len, sizeof(e->text) - len, "%s%s", i ? "; " : "",
                                faults[i].text);
}

static bool run_entry(struct run *r, const struct schedule_entry *entry, uint64_t end_us)
{
    const struct fault_set *set = &r->options->sets[entry->set];
    struct fault_run faults[FAULT_PARTS_MAX];
    struct observer_view view;
    struct run_event *e = &r->report->events[r->report->event_count++];
    observer_view(r->observer, &view);
    *e = (struct run_event){.from_us = recorder_now_us(&r->recorder), .term = view.term};
    snprintf(e->name, sizeof(e->name), "%s", set->name);
    r->fault = set->name;
    uint64_t until = clock_now_us() + (uint64_t)entry->for_ms * 1000;
    until = until < end_us ? until : end_us;
    for (unsigned i = 0; i < set->count; i++)
        fault_begin(&faults[i], set->parts[i], &r->fleet, r->observer, entry->seed + i);
    describe(e, faults, set->count);
    bool goes_on = run_wait(r, until, faults, set->count);
    for (unsigned i = 0; i < set->count && !r->fleet.interrupted; i++)
        fault_end(&faults[entry->seed & 1 ? i : set->count - 1 - i]);
    describe(e, faults, set->count);
    e->to_us = recorder_now_us(&r->recorder);
    r->fault = "";
    return goes_on && !r->fleet.failed && !r->fleet.interrupted;
}

void run_drive(struct run *r)
{
    bool goes_on = true;
    r->report->events = mem_calloc(r->schedule.count + 1, sizeof(r->report->events[0]));
    r->began_us = clock_now_us();
    uint64_t end = r->began_us + (uint64_t)r->options->time_ms * 1000;
    for (uint32_t i = 0; goes_on && i < r->schedule.count; i++) {
        const struct schedule_entry *entry = &r->schedule.entries[i];
        uint64_t at = r->began_us + (uint64_t)entry->at_ms * 1000;
        /* Earlier ones may have taken longer than planned: what is late is shorter, or left out. */
        if (clock_now_us() >= end)
            break;
        goes_on = run_wait(r, at, NULL, 0) && run_entry(r, entry, end);
    }
    if (goes_on)
        run_wait(r, end, NULL, 0);
    r->report->measured_us = recorder_now_us(&r->recorder);
}

/* ---- healing ---- */

static void end_all_faults(struct run *r)
{
    struct err err;
    struct fleet *c = &r->fleet;
    if (!c->program)
        return; /* those of endpoints were ended by themselves */
    proxy_heal(c->proxy);
    for (unsigned i = 0; i < c->count; i++) {
        struct member *m = &c->members[i];
        member_continue(c, m);
        if (c->faults && member_answers(m))
            admin_fault(m, NULL, &err);
        if (m->state == MEMBER_DOWN && member_start(c, m, &err) != 0)
            fleet_fail(c, "%s cannot be started again: %s", m->name, err.text);
    }
}

/* Members must be ready; a node that was made to be added and never was is no member. */
static bool all_ready(struct run *r)
{
    uint64_t until = clock_now_us() + (uint64_t)HEALED_MS * 1000;
    for (unsigned i = 0; i < r->fleet.count; i++) {
        const struct member *m = &r->fleet.members[i];
        uint64_t now = clock_now_us();
        if (!m->votes || m->state == MEMBER_GONE)
            continue;
        if (!fleet_await_ready(&r->fleet, m, now < until ? (uint32_t)((until - now) / 1000) : 0)) {
            if (!r->fleet.interrupted && !r->fleet.failed)
                run_judge(r->report, RUN_VIOLATED, "%s is not ready %d s after all was healed",
                          m->name, HEALED_MS / 1000);
            return false;
        }
    }
    return true;
}

/* The members as they are in the end, whatever came of the changes that were asked for. */
static void settle_members(struct run *r)
{
    struct api_status status;
    if (!r->fleet.program || admin_members(&r->fleet, &status, NULL) != 0)
        return;
    for (unsigned i = 0; i < r->fleet.count; i++) {
        struct member *m = &r->fleet.members[i];
        m->votes = false;
        for (uint32_t k = 0; k < status.member_count; k++)
            m->votes = m->votes || strcmp(status.members[k].name, m->name) == 0;
    }
}

bool run_heal(struct run *r)
{
    uint64_t unknown, from = clock_now_us(), before = answered(r, &unknown);
    r->fault = "healing";
    end_all_faults(r);
    for (;;) {
        uint64_t now = clock_now_us();
        if (answered(r, &unknown) > before) {
            r->report->recovery_us = now - from;
            break;
        }
        if (now > from + (uint64_t)PROGRESS_MS * 1000) {
            run_judge(r->report, RUN_VIOLATED, "no client got an answer within %d s of healing",
                      PROGRESS_MS / 1000);
            return false;
        }
        if (!run_wait(r, now + STEP_MS * 1000, NULL, 0))
            return false;
    }
    settle_members(r);
    return all_ready(r);
}
