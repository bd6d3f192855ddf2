/*
 * A run as one HTML page without anything from elsewhere: answers a second as a curve, faults as
 * bands, and what was found. All text is escaped.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "lib/base/html.h"
#include "lib/base/version.h"
#include "lib/run/run.h"

enum {
    WIDTH = 1000,
    HEIGHT = 260,
    LEFT = 60,
    BAND_ROW = 14, /* height of a fault's name */
    BAND_ROWS = 3, /* names one below the other, so that neighbours stay apart */
    TICKS = 10,
};

static uint64_t answers(const struct run_report *r, size_t second)
{
    return (uint64_t)r->stats.seconds[second].counts[STATS_OK] +
           r->stats.seconds[second].counts[STATS_UNMET];
}

static double span_s(const struct run_report *r)
{
    return r->stats.second_count > 0 ? (double)r->stats.second_count : 1;
}

static double x_of(const struct run_report *r, double seconds)
{
    return LEFT + seconds / span_s(r) * (WIDTH - LEFT);
}

static void put_bands(FILE *out, const struct run_report *r)
{
    for (uint32_t i = 0; i < r->event_count; i++) {
        const struct run_event *e = &r->events[i];
        double from = x_of(r, (double)e->from_us / 1e6), to = x_of(r, (double)e->to_us / 1e6);
        fprintf(out, "<rect class=\"band\" x=\"%.1f\" y=\"0\" width=\"%.1f\" height=\"%d\"><title>",
                from, to - from > 1 ? to - from : 1, HEIGHT);
        html_put(out, e->name);
        fputs(": ", out);
        html_put(out, e->text);
        fprintf(out, "</title></rect><text class=\"name\" x=\"%.1f\" y=\"%d\">", from + 2,
                HEIGHT + BAND_ROW * (2 + (int)(i % BAND_ROWS)));
        html_put(out, e->name);
        fputs("</text>\n", out);
    }
}

static void put_axes(FILE *out, const struct run_report *r, uint64_t most)
{
    size_t step = r->stats.second_count / TICKS + 1;
    for (size_t s = 0; s < r->stats.second_count; s += step)
        fprintf(out, "<text class=\"tick\" x=\"%.1f\" y=\"%d\">%zu s</text>\n", x_of(r, (double)s),
                HEIGHT + BAND_ROW, s);
    for (int i = 0; i <= 2; i++)
        fprintf(out,
                "<text class=\"tick\" x=\"0\" y=\"%d\">%" PRIu64
                "/s</text><line x1=\"%d\" x2=\"%d\" y1=\"%d\" y2=\"%d\"/>\n",
                HEIGHT - i * (HEIGHT - 20) / 2 - 2, most * (uint64_t)i / 2, LEFT, WIDTH,
                HEIGHT - i * (HEIGHT - 20) / 2, HEIGHT - i * (HEIGHT - 20) / 2);
}

static void put_curve(FILE *out, const struct run_report *r)
{
    uint64_t most = 1;
    for (size_t i = 0; i < r->stats.second_count; i++)
        most = answers(r, i) > most ? answers(r, i) : most;
    fprintf(out, "<svg viewBox=\"0 0 %d %d\" role=\"img\">\n", WIDTH,
            HEIGHT + BAND_ROW * (BAND_ROWS + 2));
    put_bands(out, r);
    put_axes(out, r, most);
    fputs("<polyline points=\"", out);
    for (size_t i = 0; i < r->stats.second_count; i++)
        fprintf(out, "%.1f,%.1f ", x_of(r, (double)i + 0.5),
                HEIGHT - (double)answers(r, i) / (double)most * (HEIGHT - 20));
    fputs("\"/>\n", out);
    /* A row below the curve: how many tenths of each second had an answer. */
    for (size_t i = 0; i < r->stats.second_count; i++)
        fprintf(out,
                "<rect class=\"up\" x=\"%.1f\" y=\"%d\" width=\"%.2f\" height=\"4\" "
                "fill-opacity=\"%.1f\"/>\n",
                x_of(r, (double)i), HEIGHT - 2, (WIDTH - LEFT) / span_s(r),
                stats_slots(&r->stats, i) / (double)STATS_SLOTS_A_SECOND);
    fputs("</svg>\n", out);
}

static void put_events(FILE *out, const struct run_report *r)
{
    fputs("<table><tr><th>at<th>for<th>fault<th>longest gap<th>new leader<th>what</tr>\n", out);
    for (uint32_t i = 0; i < r->event_count; i++) {
        const struct run_event *e = &r->events[i];
        fprintf(out, "<tr><td>%.1f s<td>%.1f s<td>", (double)e->from_us / 1e6,
                (double)(e->to_us - e->from_us) / 1e6);
        html_put(out, e->name);
        fprintf(out, "<td>%" PRIu64 " ms<td>", e->gap_us / 1000);
        if (e->leader_us > 0)
            fprintf(out, "%" PRIu64 " ms", e->leader_us / 1000);
        else
            fputs("the same", out);
        fputs("<td>", out);
        html_put(out, e->text);
        fputs("</tr>\n", out);
    }
    fputs("</table>\n", out);
}

static const char style[] =
    "body{font:15px/1.4 sans-serif;margin:2em auto;max-width:70em;padding:0 1em}"
    "svg{width:100%}polyline{fill:none;stroke:#1a5fb4;stroke-width:2}"
    "line{stroke:#ddd}.band{fill:#e5a50a;fill-opacity:.25}.up{fill:#26a269}"
    ".name,.tick{font-size:11px;fill:#555}pre{background:#f4f4f4;padding:1em;overflow:auto}"
    "td,th{text-align:left;padding:.2em .8em .2em 0;vertical-align:top}"
    ".violated{color:#a51d2d}.ok{color:#26703e}.inconclusive{color:#865e00}";

/* The text that the terminal shows, escaped. */
static void put_text(FILE *out, const struct run_options *o, const struct run_report *r)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *memory = open_memstream(&text, &bytes);
    if (!memory)
        return;
    run_print_text(memory, o, r);
    if (fclose(memory) == 0) {
        fputs("<pre>", out);
        html_put(out, text);
        fputs("</pre>\n", out);
    }
    free(text);
}

void run_print_page(FILE *out, const struct run_options *o, const struct run_report *r)
{
    const char *word = run_verdict_word(r->verdict);
    fprintf(out,
            "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
            "<title>raftkv-check run, seed %" PRIu64
            ": %s</title>\n<style>%s</style></head><body>\n"
            "<h1 class=\"%s\">%s</h1>\n<p>raftkv-check %s run: workload ",
            o->seed, word, style, word, word, RAFTKV_VERSION);
    html_put(out, o->workload->name);
    fprintf(out, ", seed %" PRIu64 ", %" PRIu32 " clients, %" PRIu32 " keys. ", o->seed, o->clients,
            o->keys);
    html_put(out, r->why);
    fputs("</p>\n<h2>Answers a second, and faults</h2>\n", out);
    put_curve(out, r);
    put_events(out, r);
    fputs("<h2>All that was found</h2>\n", out);
    put_text(out, o, r);
    fputs("</body></html>\n", out);
}
