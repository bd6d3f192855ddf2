/* One page without anything from elsewhere: curves over time, percentile curves, the table. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/html.h"
#include "lib/base/mem.h"
#include "lib/base/version.h"
#include "lib/bench/chart.h"
#include "lib/bench/report.h"
#include "lib/bench/text.h"

enum {
    TIME_TICKS = 10,
    NINES = 5,
    STEPS_A_NINE = 20,
    PERCENTILE_POINTS = NINES * STEPS_A_NINE + 1
};

static void label_seconds(double x, char *out, size_t bytes)
{
    snprintf(out, bytes, "%.4g s", x);
}

static void label_rate(double y, char *out, size_t bytes)
{
    snprintf(out, bytes, "%.0f/s", y);
}

/* x counts nines: 0 is 0 %, 1 is 90 %, 2 is 99 %, … */
static void label_nines(double x, char *out, size_t bytes)
{
    snprintf(out, bytes, "%.6g%%", 100 * (1 - pow(10, -x)));
}

/* The power of ten at or above; below if `down`. */
static double decade(double us, bool down)
{
    double power = us >= 1 ? log10(us) : 0;
    return pow(10, down ? floor(power) : ceil(power));
}

static void latency_axis(struct chart *c, double low, double high)
{
    c->y_log = true;
    c->y_min = decade(low, true);
    c->y_max = decade(high, false);
    if (c->y_max <= c->y_min)
        c->y_max = c->y_min * 10;
    c->y_label = text_latency;
}

static void time_axis(struct chart *c, const struct bench_result *r)
{
    const struct bench_report *b = r->report;
    const struct figures_row *last = b->row_count ? &b->rows[b->row_count - 1] : NULL;
    c->x_max = last ? last->from_s + last->seconds : 1;
    c->x_ticks = TIME_TICKS;
    c->x_label = label_seconds;
    c->band_from = (double)(r->options->ramp_ms + r->options->warmup_ms) / 1e3;
    c->band_to = c->band_from + (double)b->measured_us / 1e6;
    if (c->band_to > c->x_max)
        c->band_to = c->x_max;
}

static double middle(const struct figures_row *row)
{
    return row->from_s + row->seconds / 2;
}

static double rate_of(const struct figures_row *row, uint64_t count)
{
    return row->seconds > 0 ? (double)count / row->seconds : 0;
}

static void put_rates(FILE *out, const struct bench_result *r, struct chart_point *points)
{
    const struct bench_report *b = r->report;
    struct chart c = {.title = "Answers and failures a second", .y_max = 1, .y_label = label_rate};
    time_axis(&c, r);
    for (size_t i = 0; i < b->row_count; i++) {
        const struct figures_row *row = &b->rows[i];
        points[i] = (struct chart_point){middle(row), rate_of(row, row->answered)};
        points[b->row_count + i] =
            (struct chart_point){middle(row), rate_of(row, row->errors + row->unknown)};
        c.y_max = fmax(c.y_max, fmax(points[i].y, points[b->row_count + i].y));
    }
    c.lines[0] = (struct chart_line){"answered", points, b->row_count};
    c.lines[1] = (struct chart_line){"errors and unknown", points + b->row_count, b->row_count};
    c.line_count = 2;
    chart_put(out, &c);
}

static void put_latencies(FILE *out, const struct bench_result *r, struct chart_point *points)
{
    static const char *const names[] = {"P50", "P95", "P99", "max"};
    const struct bench_report *b = r->report;
    struct chart c = {.title = "Latency over time", .line_count = 4};
    double low = INFINITY, high = 1;
    size_t counts = 0;
    time_axis(&c, r);
    for (size_t i = 0; i < b->row_count; i++) {
        const struct figures_row *row = &b->rows[i];
        const uint64_t us[] = {row->p50_us, row->p95_us, row->p99_us, row->max_us};
        if (row->answered == 0)
            continue;
        for (size_t k = 0; k < 4; k++)
            points[k * b->row_count + counts] = (struct chart_point){middle(row), (double)us[k]};
        low = fmin(low, (double)us[0]);
        high = fmax(high, (double)us[3]);
        counts++;
    }
    for (size_t k = 0; k < 4; k++)
        c.lines[k] = (struct chart_line){names[k], points + k * b->row_count, counts};
    latency_axis(&c, counts ? low : 1, high);
    chart_put(out, &c);
}

static void put_percentiles(FILE *out, const struct bench_result *r)
{
    static struct chart_point points[FIGURES_ALL + 1][PERCENTILE_POINTS];
    struct chart c = {.title = "Latency by percentile, measured time",
                      .x_max = NINES,
                      .x_ticks = NINES,
                      .x_label = label_nines};
    struct figures_op *f = mem_alloc(sizeof(*f));
    double low = INFINITY, high = 1;
    for (unsigned op = 0; op < BENCH_OPS; op++) {
        figures_of(&r->report->figures, op, f);
        if (f->latency.count == 0)
            continue;
        for (unsigned i = 0; i < PERCENTILE_POINTS; i++) {
            double nines = (double)i / STEPS_A_NINE;
            double us = (double)hist_quantile(&f->latency, 1 - pow(10, -nines));
            points[op][i] = (struct chart_point){nines, us};
            low = fmin(low, us);
            high = fmax(high, us);
        }
        c.lines[c.line_count++] =
            (struct chart_line){figures_op_name(op), points[op], PERCENTILE_POINTS};
    }
    latency_axis(&c, c.line_count ? low : 1, high);
    chart_put(out, &c);
    mem_free(f);
}

static const char style[] =
    "body{font:15px/1.4 sans-serif;margin:2em auto;max-width:70em;padding:0 1em}"
    "svg{width:100%}polyline{fill:none;stroke-width:2}line{stroke:#ddd}"
    ".band{fill:#1a5fb4;fill-opacity:.06}.tick,.name{font-size:12px}.tick{fill:#555}"
    "polyline.l0{stroke:#1a5fb4}polyline.l1{stroke:#a51d2d}polyline.l2{stroke:#986a00}"
    "polyline.l3{stroke:#26703e}polyline.l4{stroke:#613583}"
    "text.l0{fill:#1a5fb4}text.l1{fill:#a51d2d}text.l2{fill:#986a00}text.l3{fill:#26703e}"
    "text.l4{fill:#613583}pre{background:#f4f4f4;padding:1em;overflow:auto}";

/* The text that the terminal shows, escaped. */
static void put_text(FILE *out, const struct bench_result *r)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *memory = open_memstream(&text, &bytes);
    if (!memory)
        return;
    report_text(memory, r);
    if (fclose(memory) == 0) {
        fputs("<pre>", out);
        html_put(out, text);
        fputs("</pre>\n", out);
    }
    free(text);
}

void report_html(FILE *out, const struct bench_result *r)
{
    struct chart_point *points = mem_calloc(4 * r->report->row_count + 1, sizeof(*points));
    fputs(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n<title>raftkv-bench: ",
        out);
    html_put(out, r->options->workload.name);
    fprintf(out, "</title>\n<style>%s</style></head><body>\n<h1>raftkv-bench %s</h1>\n", style,
            RAFTKV_VERSION);
    put_text(out, r);
    put_rates(out, r, points);
    put_latencies(out, r, points);
    put_percentiles(out, r);
    fputs("</body></html>\n", out);
    mem_free(points);
}
