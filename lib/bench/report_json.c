/* One JSON object; compare.c reads it again. */
#include <inttypes.h>

#include "lib/base/check.h"
#include "lib/base/mem.h"
#include "lib/base/version.h"
#include "lib/bench/report.h"
#include "lib/json/api.h"

enum { TEXT_BYTES = 8192 };

static void put_text(FILE *out, const char *name, const char *text)
{
    struct buf quoted;
    buf_init(&quoted, TEXT_BYTES);
    if (json_quote(slice_str(text), &quoted) != 0) { /* not UTF-8, a file's name */
        buf_clear(&quoted);
        ASSERT(buf_append_str(&quoted, "\"?\"") == 0);
    }
    fprintf(out, "\"%s\":%s", name, (const char *)quoted.data);
    buf_release(&quoted);
}

static void put_options(FILE *out, const struct bench_options *o)
{
    static const char *const orders[] = {"uniform", "zipfian", "sequential", "latest"};
    put_text(out, "workload", o->workload.name);
    fputs(",\"ratio\":{", out);
    for (unsigned op = 0; op < BENCH_OPS; op++)
        fprintf(out, "\"%s\":%u,", figures_op_name(op), o->workload.ratio[op]);
    fprintf(out, "\"insert\":%u},", o->workload.inserts);
    fprintf(out, "\"keys\":%" PRIu64 ",\"key_order\":\"%s\",", o->keys.count,
            orders[o->keys.order]);
    fprintf(out, "\"value_bytes\":[%" PRIu32 ",%" PRIu32 "],", o->value_min, o->value_max);
    fprintf(out,
            "\"clients\":%" PRIu32 ",\"connections\":%" PRIu32 ",\"threads\":%" PRIu32
            ",\"rate_wanted\":%.3f,\"arrivals\":\"%s\",",
            o->clients, o->connections, o->threads, o->rate,
            o->arrivals == ARRIVALS_POISSON ? "poisson" : "even");
    fprintf(out,
            "\"ramp_ms\":%" PRIu64 ",\"warmup_ms\":%" PRIu64 ",\"timeout_ms\":%" PRIu32
            ",\"seed\":%" PRIu64 ",",
            o->ramp_ms, o->warmup_ms, o->timeout_ms, o->seed);
    fprintf(out, "\"local\":%" PRIu32 ",\"target\":\"%s\",", o->local,
            o->leader_only ? "leader" : "all");
    put_text(out, "consistency", o->consistency ? o->consistency : "node");
}

static void put_kinds(FILE *out, const char *name, const uint64_t kinds[FIGURES_KINDS])
{
    const char *comma = "";
    fprintf(out, ",\"%s\":{", name);
    for (unsigned k = 0; k < FIGURES_KINDS; k++)
        if (kinds[k] > 0) {
            fprintf(out, "%s\"%s\":%" PRIu64, comma, figures_kind_name(k), kinds[k]);
            comma = ",";
        }
    fputc('}', out);
}

static void put_op(FILE *out, const struct figures_op *f, uint64_t measured_us)
{
    const struct hist *h = &f->latency;
    fprintf(out,
            "{\"total\":%" PRIu64 ",\"answered\":%" PRIu64 ",\"absent\":%" PRIu64
            ",\"unmet\":%" PRIu64 ",\"errors\":%" PRIu64 ",\"unknown\":%" PRIu64,
            figures_total(f), h->count, f->absent, f->unmet, figures_errors(f), figures_unknown(f));
    put_kinds(out, "error_kinds", f->errors);
    put_kinds(out, "unknown_kinds", f->unknown);
    fprintf(out, ",\"rate\":%.3f", figures_rate(f, measured_us));
    if (h->count > 0)
        fprintf(out,
                ",\"mean_us\":%.1f,\"p50_us\":%" PRIu64 ",\"p95_us\":%" PRIu64
                ",\"p99_us\":%" PRIu64 ",\"p999_us\":%" PRIu64 ",\"max_us\":%" PRIu64,
                (double)h->sum_us / (double)h->count, hist_quantile(h, 0.5), hist_quantile(h, 0.95),
                hist_quantile(h, 0.99), hist_quantile(h, 0.999), h->max_us);
    fputc('}', out);
}

static void put_ops(FILE *out, const struct bench_report *b)
{
    struct figures_op *f = mem_alloc(sizeof(*f));
    const char *comma = "";
    fputs(",\"operations\":{", out);
    for (unsigned op = 0; op <= FIGURES_ALL; op++) {
        figures_of(&b->figures, op, f);
        if (op < FIGURES_ALL && figures_total(f) == 0)
            continue;
        fprintf(out, "%s\"%s\":", comma, figures_op_name(op));
        put_op(out, f, b->measured_us);
        comma = ",";
    }
    fputc('}', out);
    mem_free(f);
}

static void put_slo(FILE *out, const struct slo_set *set)
{
    fputs(",\"slo\":[", out);
    for (unsigned i = 0; i < set->count; i++) {
        const struct slo *s = &set->list[i];
        fputs(i ? ",{" : "{", out);
        put_text(out, "objective", s->text);
        fprintf(out, ",\"verdict\":\"%s\"", slo_verdict_word(s->verdict));
        if (s->verdict != SLO_INCONCLUSIVE)
            fprintf(out, ",\"value\":%.3f", s->value);
        fputc('}', out);
    }
    fputc(']', out);
}

static void put_seconds(FILE *out, const struct bench_report *b)
{
    fputs(",\"seconds\":[", out);
    for (size_t i = 0; i < b->row_count; i++) {
        const struct figures_row *row = &b->rows[i];
        fprintf(out,
                "%s{\"from_s\":%.3f,\"length_s\":%.3f,\"phase\":\"%s\",\"answered\":%" PRIu64
                ",\"errors\":%" PRIu64 ",\"unknown\":%" PRIu64 ",\"p50_us\":%" PRIu64
                ",\"p95_us\":%" PRIu64 ",\"p99_us\":%" PRIu64 ",\"p999_us\":%" PRIu64
                ",\"max_us\":%" PRIu64 "}",
                i ? "," : "", row->from_s, row->seconds, row->phase, row->answered, row->errors,
                row->unknown, row->p50_us, row->p95_us, row->p99_us, row->p999_us, row->max_us);
    }
    fputc(']', out);
}

void report_json(FILE *out, const struct bench_result *r)
{
    const struct bench_report *b = r->report;
    fputs("{\"tool\":\"raftkv-bench\",\"version\":\"" RAFTKV_VERSION "\",", out);
    put_options(out, r->options);
    fprintf(out, ",\"measured_s\":%.6f,\"excluded\":%" PRIu64, (double)b->measured_us / 1e6,
            b->excluded);
    fprintf(out, ",\"preload\":{\"keys\":%" PRIu64 ",\"seconds\":%.3f,\"failed\":%" PRIu64 "}",
            b->preloaded, (double)b->preload_us / 1e6, b->preload_failed);
    put_ops(out, b);
    fprintf(out,
            ",\"due\":%" PRIu64 ",\"begun\":%" PRIu64
            ",\"rate_missed\":%s,\"thread_cpu\":%.3f,\"limited_by_bench\":%s,",
            b->due, b->begun, b->rate_missed ? "true" : "false", b->thread_cpu,
            b->limited_by_us ? "true" : "false");
    put_text(out, "ended_early", b->why);
    put_slo(out, r->slo);
    put_seconds(out, b);
    fputs("}\n", out);
}
