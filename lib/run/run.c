/* A run from its directory to its verdict; see run.h. */
#include "lib/run/run_internal.h"

#include <signal.h>
#include <stdarg.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/run/admin.h"
#include "lib/run/directory.h"

enum {
    FORM_MS = 30000,
    PREPARE_MS = 15000,
    FINISH_MS = 30000,
    STOP_MS = 15000,
};

static const char *const words[] = {"ok", "violated", "inconclusive"};

const char *run_verdict_word(enum run_verdict v)
{
    return words[v];
}

void run_judge(struct run_report *r, enum run_verdict verdict, const char *fmt, ...)
{
    va_list ap;
    if (r->verdict == RUN_VIOLATED || r->verdict == verdict)
        return;
    r->verdict = verdict;
    va_start(ap, fmt);
    vsnprintf(r->why, sizeof(r->why), fmt, ap);
    va_end(ap);
}

void run_report_release(struct run_report *r)
{
    stats_release(&r->stats);
    mem_free(r->events);
}

/* ---- the directory ---- */

static int make_directory(struct run *r, struct err *err)
{
    if (!r->options->report) {
        int code = directory_make_temporary("raftkv-run", r->dir, sizeof(r->dir), err);
        r->temporary = code == 0;
        if (code != 0)
            return code;
    } else if (snprintf(r->dir, sizeof(r->dir), "%s", r->options->report) >= (int)sizeof(r->dir)) {
        return err_set(err, ERR_USAGE, "the directory's name is too long");
    }
    snprintf(r->history_path, sizeof(r->history_path), "%s/history.jsonl", r->dir);
    return 0;
}

/* ---- beginning ---- */

static void draw_prefix(struct run *r)
{
    snprintf(r->load.prefix, sizeof(r->load.prefix), "check-%08x/", (unsigned)random_id());
}

static int start_nodes(struct run *r, struct err *err)
{
    struct fleet *c = &r->fleet;
    unsigned needs = 0;
    for (unsigned i = 0; i < r->options->set_count; i++)
        needs |= fault_set_needs(&r->options->sets[i]);
    c->faults = needs & FAULT_OF_NODE;
    c->trailing_entries = 200; /* few, so that who was away for long needs a snapshot */
    int code = proxy_new(r->options->seed, &c->proxy, err);
    return code ? code : fleet_start(c, r->options->nodes, err);
}

/* Until the cluster serves; for endpoints, until one of them does. */
static bool await_cluster(struct run *r)
{
    struct err err;
    struct api_status status;
    if (r->fleet.program && !fleet_await_ready(&r->fleet, NULL, FORM_MS)) {
        if (!r->fleet.interrupted && !r->fleet.failed)
            run_judge(r->report, RUN_INCONCLUSIVE, "the nodes formed no cluster within %d s",
                      FORM_MS / 1000);
        return false;
    }
    int code = admin_status(&r->fleet, &status, &err);
    if (code == 0 && !status.has_cluster)
        code = err_set(&err, ERR_NO_LEADER, "it has no cluster yet");
    if (code != 0) {
        run_judge(r->report, RUN_INCONCLUSIVE, "no %s serves: %s",
                  r->fleet.program ? "node" : "endpoint", err.text);
        return false;
    }
    hex128(status.cluster, r->fleet.cluster);
    return true;
}

static int begin(struct run *r, struct err *err)
{
    const struct run_options *o = r->options;
    int code = make_directory(r, err);
    if (code == 0)
        code = fleet_init(&r->fleet, o->program, r->dir, o->endpoints, err);
    if (code == 0 && !o->endpoints)
        code = start_nodes(r, err);
    if (code == 0)
        code = recorder_open(&r->recorder, r->history_path, err);
    r->recording = code == 0;
    if (code == 0)
        code = observer_new(&r->fleet, &r->observer, err);
    return code;
}

/* ---- the middle ---- */

static bool load_and_faults(struct run *r, struct err *err)
{
    if (!await_cluster(r))
        return false;
    if (!load_prepare(&r->load, PREPARE_MS)) {
        run_judge(r->report, RUN_INCONCLUSIVE, "the workload could not be prepared");
        return false;
    }
    schedule_draw(&r->schedule, r->options->seed, r->options->time_ms, r->options->set_count);
    if (load_start(&r->load, err) != 0) {
        run_judge(r->report, RUN_INCONCLUSIVE, "%s", err->text);
        load_stop(&r->load);
        return false;
    }
    run_drive(r);
    bool healed = !r->fleet.interrupted && !r->fleet.failed && run_heal(r);
    load_stop(&r->load);
    if (healed && !load_finish(&r->load, FINISH_MS)) {
        run_judge(r->report, RUN_VIOLATED, "the final state could not be read within %d s",
                  FINISH_MS / 1000);
        healed = false;
    }
    return healed;
}

/* ---- the end ---- */

static void stop_nodes(struct run *r, bool in_order)
{
    char text[64];
    for (unsigned i = 0; i < r->fleet.count; i++)
        if (r->fleet.members[i].pid != 0 && in_order)
            kill(r->fleet.members[i].pid, SIGTERM); /* all at once: no leader is looked for */
    for (unsigned i = 0; i < r->fleet.count; i++) {
        struct member *m = &r->fleet.members[i];
        int status = member_end(&r->fleet, m, in_order ? SIGTERM : SIGKILL, STOP_MS);
        if (!in_order || status <= 0)
            continue;
        describe_status(status, text, sizeof(text));
        fleet_fail(&r->fleet, "%s was asked to stop and ended with %s", m->name, text);
    }
}

static void finish_events(struct run *r)
{
    const struct stats *s = &r->recorder.stats;
    for (uint32_t i = 0; i < r->report->event_count; i++) {
        struct run_event *e = &r->report->events[i];
        uint64_t leader = observer_leader_after(r->observer, e->term);
        uint64_t end = i + 1 < r->report->event_count ? r->report->events[i + 1].from_us
                                                      : r->report->measured_us;
        e->gap_us = stats_longest_gap_us(s, e->from_us, e->to_us);
        if (leader > r->recorder.began_us + e->from_us && leader < r->recorder.began_us + end)
            e->leader_us = leader - r->recorder.began_us - e->from_us;
    }
    struct observer_view view;
    observer_view(r->observer, &view);
    r->report->terms = view.term;
}

static void judge_workload(struct run *r, bool whole)
{
    struct tally *t = &r->load.tally;
    struct run_report *report = r->report;
    if (r->load.why[0])
        run_judge(report, RUN_VIOLATED, "%s: %s", r->options->workload->name, r->load.why);
    if (!whole || t->count == 0)
        return;
    bool good = tally_judge(t);
    snprintf(report->workload, sizeof(report->workload),
             "%llu acknowledged, %llu lost or twice; %llu unknown, %llu of them applied",
             (unsigned long long)t->acknowledged, good ? 0ULL : 1ULL,
             (unsigned long long)t->unknown, (unsigned long long)t->unknown_applied);
    if (!good)
        run_judge(report, RUN_VIOLATED, "%s: %s", r->options->workload->name, t->why);
}

static void judge_cluster(struct run *r)
{
    r->report->interrupted = r->fleet.interrupted;
    if (r->fleet.failed)
        run_judge(r->report, RUN_VIOLATED, "%s", r->fleet.why);
    if (r->fleet.interrupted)
        run_judge(r->report, RUN_INCONCLUSIVE, "interrupted");
}

static void judge_all(struct run *r, bool whole)
{
    struct err err;
    uint64_t began = r->recorder.began_us;
    judge_cluster(r);
    judge_workload(r, whole);
    stats_end(&r->recorder.stats, r->report->measured_us > r->recorder.stats.last_write_us
                                      ? r->report->measured_us
                                      : r->recorder.stats.last_write_us);
    finish_events(r);
    r->report->stats = r->recorder.stats;
    stats_init(&r->recorder.stats);
    if (recorder_close(&r->recorder, &err) != 0)
        run_judge(r->report, RUN_INCONCLUSIVE, "%s", err.text);
    else if (!r->fleet.interrupted)
        run_judge_history(r);
    if (r->report->stats.totals[STATS_OK] == 0)
        run_judge(r->report, RUN_INCONCLUSIVE, "nothing was answered");
    (void)began;
}

/* What a violated run left is evidence; what any other one left in a temporary place is not. */
static void leave_directory(struct run *r)
{
    if (r->temporary && r->report->verdict != RUN_VIOLATED)
        directory_erase(r->dir);
    else
        snprintf(r->report->dir, sizeof(r->report->dir), "%s", r->dir);
}

int run_execute(const struct run_options *options, struct run_report *report, struct err *err)
{
    struct run *r = mem_zalloc(sizeof(*r));
    bool whole = false;
    memset(report, 0, sizeof(*report));
    r->options = options;
    r->report = report;
    r->fault = "";
    r->load = (struct load){.workload = options->workload,
                            .fleet = &r->fleet,
                            .recorder = &r->recorder,
                            .consistency = options->consistency,
                            .clients = options->clients,
                            .keys = options->keys,
                            .rate = options->rate,
                            .seed = options->seed};
    draw_prefix(r);
    load_init(&r->load);
    int code = begin(r, err);
    if (code == 0) {
        whole = load_and_faults(r, err);
        if (whole)
            run_compare(r);
        report->proxied = r->fleet.proxy != NULL;
        if (r->fleet.proxy)
            proxy_figures(r->fleet.proxy, &report->proxy);
        stop_nodes(r, whole);
        judge_all(r, whole);
    } else if (r->recording) {
        recorder_close(&r->recorder, NULL);
    }
    observer_free(r->observer);
    fleet_release(&r->fleet);
    proxy_free(r->fleet.proxy);
    load_release(&r->load);
    schedule_release(&r->schedule);
    if (code != 0 && r->temporary)
        directory_erase(r->dir);
    else
        leave_directory(r);
    mem_free(r);
    return code;
}
