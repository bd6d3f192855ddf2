/* The table that the terminal shows. */
#include <inttypes.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/bench/report.h"
#include "lib/bench/text.h"

static const char *order_name(enum keys_order order)
{
    static const char *const names[] = {"uniform", "zipfian", "sequential", "latest"};
    return names[order];
}

void report_load(FILE *out, const struct bench_options *o)
{
    fprintf(out, "%s: %s; ", o->workload.name, o->workload.summary);
    if (o->keys.file)
        fprintf(out, "keys from %s", o->keys.file);
    else
        fprintf(out, "%" PRIu64 " keys", o->keys.count);
    fprintf(out, ", %s, values of %" PRIu32, order_name(o->keys.order), o->value_min);
    if (o->value_max > o->value_min)
        fprintf(out, " to %" PRIu32, o->value_max);
    fprintf(out, " bytes; ");
    if (o->rate > 0)
        fprintf(out, "open loop, %.0f/s, %s", o->rate,
                o->arrivals == ARRIVALS_POISSON ? "poisson" : "even");
    else
        fputs("closed loop", out);
    fprintf(out, ", %" PRIu32 " clients, %" PRIu32 " connections, %" PRIu32 " thread%s", o->clients,
            o->connections, o->threads, o->threads > 1 ? "s" : "");
    if (o->local)
        fprintf(out, "; %" PRIu32 " local node%s", o->local, o->local > 1 ? "s" : "");
    fprintf(out, "; %s, reads %s; seed %" PRIu64, o->leader_only ? "leader only" : "all endpoints",
            o->consistency ? o->consistency : "as the nodes like", o->seed);
}

static void print_times(FILE *out, const struct bench_result *r)
{
    const struct bench_options *o = r->options;
    const struct bench_report *b = r->report;
    if (o->preload > 0)
        fprintf(out, "preload        %" PRIu64 " keys in %.1f s, %" PRIu64 " failed\n",
                b->preloaded, (double)b->preload_us / 1e6, b->preload_failed);
    fprintf(out, "measured       %.1f s", (double)b->measured_us / 1e6);
    if (o->ramp_ms + o->warmup_ms > 0)
        fprintf(out, ", behind %.1f s of ramp and warm-up, whose %" PRIu64 " answers do not count",
                (double)(o->ramp_ms + o->warmup_ms) / 1e3, b->excluded);
    fputc('\n', out);
}

static void print_latencies(FILE *out, const char *name, const struct figures_op *f,
                            uint64_t measured_us)
{
    static const double quantiles[] = {0.5, 0.95, 0.99, 0.999};
    const struct hist *h = &f->latency;
    char text[TEXT_LATENCY_BYTES];
    fprintf(out, "%-12s %10" PRIu64 " %9.0f/s %8" PRIu64 " %8" PRIu64, name, h->count,
            figures_rate(f, measured_us), figures_errors(f), figures_unknown(f));
    text_latency(h->count ? (double)h->sum_us / (double)h->count : 0, text, sizeof(text));
    fprintf(out, " %8s", h->count ? text : "-");
    for (size_t i = 0; i < sizeof(quantiles) / sizeof(quantiles[0]); i++) {
        text_latency((double)hist_quantile(h, quantiles[i]), text, sizeof(text));
        fprintf(out, " %8s", h->count ? text : "-");
    }
    text_latency((double)h->max_us, text, sizeof(text));
    fprintf(out, " %8s\n", h->count ? text : "-");
}

static void print_table(FILE *out, const struct bench_result *r, struct figures_op *f)
{
    unsigned kinds = 0;
    fprintf(out, "\n%-12s %10s %11s %8s %8s %8s %8s %8s %8s %8s %8s\n", "", "answered", "rate",
            "errors", "unknown", "mean", "P50", "P95", "P99", "P99.9", "max");
    for (unsigned op = 0; op <= FIGURES_ALL; op++) {
        figures_of(&r->report->figures, op, f);
        if (op < FIGURES_ALL && figures_total(f) == 0)
            continue;
        if (op < FIGURES_ALL || kinds != 1)
            print_latencies(out, figures_op_name(op), f, r->report->measured_us);
        kinds++;
    }
    fputc('\n', out);
}

static void print_kinds(FILE *out, const char *title, const struct bench_result *r, bool unknown,
                        struct figures_op *f)
{
    bool first = true;
    for (unsigned op = 0; op < BENCH_OPS; op++) {
        figures_of(&r->report->figures, op, f);
        const uint64_t *kinds = unknown ? f->unknown : f->errors;
        for (unsigned k = 0; k < FIGURES_KINDS; k++)
            if (kinds[k] > 0) {
                fprintf(out, "%s%s %s %" PRIu64, first ? title : ", ", figures_op_name(op),
                        figures_kind_name(k), kinds[k]);
                first = false;
            }
    }
    if (!first)
        fputc('\n', out);
}

static void print_answers(FILE *out, const struct bench_result *r, struct figures_op *f)
{
    figures_of(&r->report->figures, FIGURES_ALL, f);
    if (f->absent > 0)
        fprintf(out, "absent         %" PRIu64 " answers said that there is no such key\n",
                f->absent);
    if (f->unmet > 0)
        fprintf(out, "unmet          %" PRIu64 " answers said that somebody else wrote meanwhile\n",
                f->unmet);
}

static void print_honesty(FILE *out, const struct bench_result *r)
{
    const struct bench_report *b = r->report;
    if (r->options->rate > 0)
        fprintf(out, "schedule       %" PRIu64 " requests due, %" PRIu64 " begun in time%s\n",
                b->due, b->begun, b->rate_missed ? ": the rate was NOT kept" : "");
    fprintf(out, "busiest thread %.0f %% of a core%s\n", b->thread_cpu * 100,
            b->limited_by_us ? ": raftkv-bench itself is the limit, use more --threads" : "");
    if (b->why[0])
        fprintf(out, "ended early    %s\n", b->why);
}

static void print_slo(FILE *out, const struct slo_set *set)
{
    char value[TEXT_LATENCY_BYTES];
    for (unsigned i = 0; i < set->count; i++) {
        slo_value_text(&set->list[i], value, sizeof(value));
        fprintf(out, "SLO            %-24s %s: %s\n", set->list[i].text,
                slo_verdict_word(set->list[i].verdict), value);
    }
}

void report_text(FILE *out, const struct bench_result *r)
{
    struct figures_op *f = mem_alloc(sizeof(*f));
    fputs("load           ", out);
    report_load(out, r->options);
    fputc('\n', out);
    print_times(out, r);
    print_table(out, r, f);
    print_kinds(out, "errors        ", r, false, f);
    print_kinds(out, "unknown       ", r, true, f);
    print_answers(out, r, f);
    print_honesty(out, r);
    print_slo(out, r->slo);
    mem_free(f);
}
