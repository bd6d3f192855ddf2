/* A measurement from the first node to the last answer; see bench.h. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/bench/bench_internal.h"
#include "lib/run/directory.h"

enum {
    FORM_MS = 30000,
    STOP_MS = 10000,
    TICK_US = 50000, /* so often the end is looked for */
    SECOND_US = 1000000,
};

static const double LIMITED_CPU = 0.9; /* of a core: then a thread of ours has no time left */
static const double KEPT_RATE = 0.99;  /* of what was due began in time: the rate was kept */

struct bench {
    const struct bench_options *options;
    struct bench_report *report;
    struct fleet fleet;
    char dir[BENCH_TEXT_BYTES]; /* of nodes of our own; "": none */
    struct targets targets;
    struct keys keys;
    struct recorder recorder;
    bool recording;
    uint64_t answered, failed, unknown; /* so far, for the live line */
};

/* ---- nodes of our own ---- */

static int start_nodes(struct bench *b, struct err *err)
{
    int code = fleet_start(&b->fleet, b->options->local, err);
    if (code != 0 || fleet_await_ready(&b->fleet, NULL, FORM_MS))
        return code;
    if (b->fleet.interrupted)
        return err_set(err, ERR_UNREACHABLE, "interrupted");
    return err_set(err, ERR_UNREACHABLE, "%s%sthe nodes formed no cluster within %d s",
                   b->fleet.why, b->fleet.why[0] ? ": " : "", FORM_MS / 1000);
}

static void stop_nodes(struct bench *b)
{
    for (unsigned i = 0; i < b->fleet.count; i++)
        if (b->fleet.members[i].pid != 0)
            kill(b->fleet.members[i].pid, SIGTERM); /* all at once: no leader is looked for */
    for (unsigned i = 0; i < b->fleet.count; i++)
        member_end(&b->fleet, &b->fleet.members[i], SIGTERM, STOP_MS);
}

/* ---- beginning ---- */

static int find_targets(struct bench *b, struct err *err)
{
    const struct bench_options *o = b->options;
    struct buf urls;
    buf_init(&urls, (size_t)FLEET_NODES_MAX * (LIMIT_URL_BYTES + 1));
    if (o->endpoints)
        return targets_find(&b->targets, o->endpoints, o->leader_only, err);
    fleet_urls(&b->fleet, 0, &urls);
    int code = targets_find(&b->targets, (const char *)urls.data, o->leader_only, err);
    buf_release(&urls);
    return code;
}

static int begin(struct bench *b, struct err *err)
{
    const struct bench_options *o = b->options;
    int code = keys_init(&b->keys, &o->keys, err);
    if (code == 0 && !o->endpoints)
        code = directory_make_temporary("raftkv-bench", b->dir, sizeof(b->dir), err);
    if (code != 0) {
        b->dir[0] = '\0';
        return code;
    }
    code = fleet_init(&b->fleet, o->node_program, b->dir, o->endpoints, err);
    if (code == 0)
        code = channel_global_init(err);
    if (code == 0 && !o->endpoints)
        code = start_nodes(b, err);
    if (code == 0)
        code = find_targets(b, err);
    if (code == 0 && o->history) {
        code = recorder_open(&b->recorder, o->history, err);
        b->recording = code == 0;
    }
    return code;
}

/* ---- seconds ---- */

static const char *phase_name(const struct phase *p, uint64_t from_us)
{
    if (p->from_us == UINT64_MAX)
        return "preload";
    if (from_us < p->began_us + p->ramp_us)
        return "ramp";
    if (from_us < p->from_us)
        return "warm-up";
    return from_us < p->to_us ? "measured" : "last answers";
}

static void add_row(struct bench_report *r, const struct figures_row *row)
{
    if ((r->row_count & (r->row_count - 1)) == 0)
        r->rows = mem_realloc(r->rows, (r->row_count ? 2 * r->row_count : 1) * sizeof(*row));
    r->rows[r->row_count++] = *row;
}

/* Of all that ended between the two times. */
static void end_second(struct bench *b, struct phase *p, uint64_t from_us, uint64_t to_us)
{
    struct figures_second *second = mem_zalloc(sizeof(*second));
    struct figures_row row = {.from_s = (double)(from_us - p->began_us) / 1e6,
                              .seconds = (double)(to_us - from_us) / 1e6,
                              .phase = phase_name(p, from_us)};
    phase_collect(p, second);
    figures_second_row(second, &row);
    mem_free(second);
    b->answered += row.answered;
    b->failed += row.errors;
    b->unknown += row.unknown;
    if (p->from_us != UINT64_MAX)
        add_row(b->report, &row);
    struct bench_progress progress = {.phase = row.phase,
                                      .elapsed_s = row.from_s + row.seconds,
                                      .answered = b->answered,
                                      .failed = b->failed,
                                      .unknown = b->unknown,
                                      .answered_a_s =
                                          row.seconds > 0 ? (double)row.answered / row.seconds : 0,
                                      .p99_us = row.p99_us};
    if (b->options->show)
        b->options->show(b->options->argument, &progress);
}

/* Until all threads have ended. */
static void watch(struct bench *b, struct phase *p)
{
    uint64_t row_us = p->began_us;
    while (atomic_load(&p->threads_running) > 0) {
        uint64_t now_us = clock_now_us(), next_us = row_us + SECOND_US;
        uint64_t wait_us = next_us > now_us ? next_us - now_us : 0;
        if (wait_us > TICK_US)
            wait_us = TICK_US;
        if (!fleet_wait(&b->fleet, (uint32_t)((wait_us + 999) / 1000)))
            atomic_store(&p->stop, true);
        now_us = clock_now_us();
        if (now_us >= next_us && atomic_load(&p->threads_running) > 0) {
            end_second(b, p, row_us, now_us);
            row_us = now_us;
        }
    }
    uint64_t last_us = atomic_load(&p->last_us);
    if (last_us > row_us)
        end_second(b, p, row_us, last_us);
}

static int run_phase(struct bench *b, struct phase *p, struct phase_sum *sum, struct err *err)
{
    p->options = b->options;
    p->targets = &b->targets;
    p->keys = &b->keys;
    p->recorder = b->recording ? &b->recorder : NULL;
    atomic_store(&b->keys.next, 0);
    int code = phase_start(p, err);
    if (code != 0)
        return code;
    watch(b, p);
    phase_end(p, sum);
    return 0;
}

/* ---- the phases ---- */

static int preload(struct bench *b, struct err *err)
{
    const struct bench_options *o = b->options;
    struct phase p = {.workload = bench_workload_find("put"),
                      .order = KEYS_SEQUENTIAL,
                      .count = o->preload,
                      .began_us = clock_now_us(),
                      .from_us = UINT64_MAX,
                      .to_us = UINT64_MAX};
    struct phase_sum *sum = mem_alloc(sizeof(*sum));
    if (o->preload == 0) {
        mem_free(sum);
        return 0;
    }
    int code = run_phase(b, &p, sum, err);
    if (code == 0) {
        b->report->preloaded = sum->excluded;
        b->report->preload_us = atomic_load(&p.last_us) - p.began_us;
        b->report->preload_failed = b->failed + b->unknown;
    }
    mem_free(sum);
    return code;
}

/* A time that was asked for is measured whole, though an open loop have nothing due at its end;
 * what ends by a count, or is stopped, ends with the last answer. */
static uint64_t measured_until_us(struct phase *p)
{
    uint64_t last_us = atomic_load(&p->last_us);
    bool counted_out = p->count > 0 && atomic_load(&p->begun) >= p->count;
    if (p->to_us < last_us || (p->to_us != UINT64_MAX && !counted_out && !atomic_load(&p->stop)))
        return p->to_us;
    return last_us;
}

static void sum_up(struct bench *b, struct phase *p, const struct phase_sum *sum)
{
    struct bench_report *r = b->report;
    uint64_t end_us = measured_until_us(p);
    r->figures = sum->figures;
    r->excluded = sum->excluded;
    r->measured_us = end_us > p->from_us ? end_us - p->from_us : 0;
    r->thread_cpu = sum->busiest;
    r->limited_by_us = sum->busiest >= LIMITED_CPU;
    r->due = sum->due;
    r->begun = sum->begun;
    r->rate_missed = p->rate > 0 && (double)r->begun < KEPT_RATE * (double)r->due;
}

static int measure(struct bench *b, struct err *err)
{
    const struct bench_options *o = b->options;
    struct phase p = {.workload = &o->workload,
                      .order = o->keys.order,
                      .rate = o->rate,
                      .count = o->count,
                      .began_us = clock_now_us(),
                      .ramp_us = o->ramp_ms * 1000,
                      .to_us = UINT64_MAX};
    struct phase_sum *sum = mem_alloc(sizeof(*sum));
    p.from_us = p.began_us + p.ramp_us + o->warmup_ms * 1000;
    if (o->time_ms > 0)
        p.to_us = p.from_us + o->time_ms * 1000;
    int code = run_phase(b, &p, sum, err);
    if (code == 0)
        sum_up(b, &p, sum);
    mem_free(sum);
    return code;
}

int bench_execute(const struct bench_options *options, struct bench_report *report, struct err *err)
{
    struct bench *b = mem_zalloc(sizeof(*b));
    memset(report, 0, sizeof(*report));
    b->options = options;
    b->report = report;
    int code = begin(b, err);
    bool begun = code == 0;
    if (code == 0)
        code = preload(b, err);
    if (code == 0 && !b->fleet.interrupted && !b->fleet.failed)
        code = measure(b, err);
    report->interrupted = b->fleet.interrupted;
    snprintf(report->why, sizeof(report->why), "%s",
             b->fleet.interrupted ? "interrupted" : b->fleet.why);
    if (b->recording && recorder_close(&b->recorder, begun && code == 0 ? err : NULL) != 0 &&
        code == 0)
        code = ERR_IO;
    stats_release(&b->recorder.stats);
    if (b->fleet.dir) {
        stop_nodes(b);
        fleet_release(&b->fleet);
    }
    if (b->dir[0])
        directory_erase(b->dir);
    keys_release(&b->keys);
    mem_free(b);
    return code;
}

void bench_report_release(struct bench_report *r)
{
    mem_free(r->rows);
}
