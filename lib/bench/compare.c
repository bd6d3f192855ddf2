/* Two results side by side; see compare.h. */
#include "lib/bench/compare.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/bench/text.h"
#include "lib/json/walk.h"

enum { NUMBER_BYTES = 64 };

enum kind { KIND_RATE, KIND_LATENCY, KIND_NUMBER };

static const struct {
    const char *member, *title;
    enum kind kind;
    bool judged; /* it counts for compare_worst */
} figures[COMPARE_FIGURES] = {
    {"rate", "rate", KIND_RATE, true},          {"mean_us", "mean", KIND_LATENCY, false},
    {"p50_us", "P50", KIND_LATENCY, true},      {"p95_us", "P95", KIND_LATENCY, true},
    {"p99_us", "P99", KIND_LATENCY, true},      {"p999_us", "P99.9", KIND_LATENCY, true},
    {"max_us", "max", KIND_LATENCY, false},     {"errors", "errors", KIND_NUMBER, false},
    {"unknown", "unknown", KIND_NUMBER, false},
};

static const char *const settings[COMPARE_SETTINGS] = {
    "version", "workload",    "keys",    "key_order",   "value_bytes[0]", "value_bytes[1]",
    "clients", "connections", "threads", "rate_wanted", "consistency"};

/* ---- reading ---- */

static double number_of(struct slice text)
{
    char copy[NUMBER_BYTES];
    size_t len = text.len < sizeof(copy) - 1 ? text.len : sizeof(copy) - 1;
    memcpy(copy, text.data, len);
    copy[len] = '\0';
    return strtod(copy, NULL);
}

static void take_figure(struct compare_side *s, const char *path, struct slice text)
{
    for (unsigned op = 0; op <= FIGURES_ALL; op++) {
        size_t len = strlen(figures_op_name(op));
        if (strncmp(path, figures_op_name(op), len) != 0 || path[len] != '.')
            continue;
        for (unsigned f = 0; f < COMPARE_FIGURES; f++)
            if (strcmp(path + len + 1, figures[f].member) == 0) {
                s->has[op][f] = true;
                s->value[op][f] = number_of(text);
            }
    }
}

static int take(void *argument, const char *path, struct slice text)
{
    struct compare_side *s = argument;
    if (strcmp(path, "tool") == 0)
        s->is_result =
            text.len == strlen("raftkv-bench") && memcmp(text.data, "raftkv-bench", text.len) == 0;
    if (strncmp(path, "operations.", 11) == 0)
        take_figure(s, path + 11, text);
    for (unsigned i = 0; i < COMPARE_SETTINGS; i++)
        if (strcmp(path, settings[i]) == 0)
            snprintf(s->settings[i], sizeof(s->settings[i]), "%.*s", (int)text.len,
                     (const char *)text.data);
    return 0;
}

int compare_read(struct compare_side *s, struct slice json, struct err *err)
{
    memset(s, 0, sizeof(*s));
    int code = json_walk(json, take, s, err);
    if (code == 0 && !s->is_result)
        code = err_set(err, ERR_BAD_REQUEST, "no result of raftkv-bench -o json");
    return code;
}

/* ---- comparing ---- */

/* How much more b has, in per cent; not finite if a has nothing. */
static double change(const struct compare_side *a, const struct compare_side *b, unsigned op,
                     unsigned f)
{
    return 100 * (b->value[op][f] - a->value[op][f]) / a->value[op][f];
}

static void put_value(const struct compare_side *s, unsigned op, unsigned f, char *out,
                      size_t bytes)
{
    if (!s->has[op][f])
        snprintf(out, bytes, "-");
    else if (figures[f].kind == KIND_LATENCY)
        text_latency(s->value[op][f], out, bytes);
    else
        snprintf(out, bytes, figures[f].kind == KIND_RATE ? "%.0f/s" : "%.0f", s->value[op][f]);
}

static void print_figure(FILE *out, const struct compare_side *a, const struct compare_side *b,
                         unsigned op, unsigned f)
{
    char left[NUMBER_BYTES], right[NUMBER_BYTES];
    put_value(a, op, f, left, sizeof(left));
    put_value(b, op, f, right, sizeof(right));
    fprintf(out, "%-12s %-8s %12s %12s", figures_op_name(op), figures[f].title, left, right);
    double more = change(a, b, op, f);
    if (a->has[op][f] && b->has[op][f] && isfinite(more))
        fprintf(out, " %+8.1f %%", more);
    fputc('\n', out);
}

void compare_print(FILE *out, const struct compare_side *a, const struct compare_side *b)
{
    for (unsigned i = 0; i < COMPARE_SETTINGS; i++)
        if (strcmp(a->settings[i], b->settings[i]) != 0)
            fprintf(out, "differs      %s: %s, %s\n", settings[i], a->settings[i], b->settings[i]);
    fprintf(out, "%-12s %-8s %12s %12s %10s\n", "", "", "first", "second", "change");
    for (unsigned op = 0; op <= FIGURES_ALL; op++)
        for (unsigned f = 0; f < COMPARE_FIGURES; f++)
            if (a->has[op][f] || b->has[op][f])
                print_figure(out, a, b, op, f);
}

double compare_worst(const struct compare_side *a, const struct compare_side *b, char *where,
                     size_t bytes)
{
    double worst = 0;
    snprintf(where, bytes, "%s", "");
    for (unsigned op = 0; op <= FIGURES_ALL; op++)
        for (unsigned f = 0; f < COMPARE_FIGURES; f++) {
            if (!figures[f].judged || !a->has[op][f] || !b->has[op][f])
                continue;
            double worse = change(a, b, op, f) * (figures[f].kind == KIND_RATE ? -1 : 1);
            if (!isfinite(worse) || worse <= worst)
                continue;
            worst = worse;
            snprintf(where, bytes, "%s %s", figures_op_name(op), figures[f].title);
        }
    return worst;
}
