/* Objectives; see slo.h. */
#include "lib/bench/slo.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/mem.h"
#include "lib/bench/text.h"

static const struct {
    const char *name;
    enum slo_metric metric;
} metrics[] = {{"max", SLO_MAX_LATENCY},
               {"mean", SLO_MEAN},
               {"rate", SLO_RATE},
               {"errors", SLO_ERRORS},
               {"unknown", SLO_UNKNOWN}};

static const struct {
    const char *name;
    double us;
} units[] = {{"us", 1}, {"µs", 1}, {"ms", 1e3}, {"s", 1e6}};

/* ---- parsing ---- */

/* Digits with at most one point; what is behind them in `end`. */
static bool parse_number(const char *text, double *number, const char **end)
{
    size_t digits = strspn(text, "0123456789"), len = digits;
    if (text[len] == '.')
        len += 1 + strspn(text + len + 1, "0123456789");
    *end = text + len;
    if (digits == 0 || text[len - 1] == '.')
        return false;
    char *stopped;
    *number = strtod(text, &stopped);
    return stopped == *end && isfinite(*number);
}

static bool parse_metric(struct slo *s, const char *name)
{
    const char *end;
    double percent;
    if (name[0] == 'p' && parse_number(name + 1, &percent, &end) && !*end && percent <= 100) {
        s->metric = SLO_QUANTILE;
        s->quantile = percent / 100;
        return true;
    }
    for (size_t i = 0; i < sizeof(metrics) / sizeof(metrics[0]); i++)
        if (strcmp(metrics[i].name, name) == 0) {
            s->metric = metrics[i].metric;
            return true;
        }
    return false;
}

static int parse_subject(struct slo *s, const char *name, struct err *err)
{
    s->op = FIGURES_ALL;
    for (unsigned op = 0; op <= FIGURES_ALL; op++) {
        size_t len = strlen(figures_op_name(op));
        if (strncmp(name, figures_op_name(op), len) == 0 && name[len] == '.') {
            s->op = op;
            name += len + 1;
            break;
        }
    }
    if (parse_metric(s, name))
        return 0;
    return err_set(err, ERR_USAGE,
                   "'%s': want [OPERATION.]METRIC, with p99 (any number), max, mean, rate, errors "
                   "or unknown",
                   name);
}

static int parse_limit(struct slo *s, const char *text, struct err *err)
{
    const char *unit;
    bool number = parse_number(text, &s->limit, &unit);
    if (s->metric == SLO_RATE)
        return number && !*unit ? 0 : err_set(err, ERR_USAGE, "'%s': want a number", text);
    if (s->metric == SLO_ERRORS || s->metric == SLO_UNKNOWN)
        return number && strcmp(unit, "%") == 0
                   ? 0
                   : err_set(err, ERR_USAGE, "'%s': want a percentage, as 0.1%%", text);
    for (size_t i = 0; number && i < sizeof(units) / sizeof(units[0]); i++)
        if (strcmp(unit, units[i].name) == 0) {
            s->limit *= units[i].us;
            return 0;
        }
    return err_set(err, ERR_USAGE, "'%s': want a time in us, ms or s, as 10ms", text);
}

static int parse_one(struct slo *s, const char *text, struct err *err)
{
    char subject[SLO_TEXT_BYTES];
    size_t len = strcspn(text, "<>");
    if (!text[len])
        return err_set(err, ERR_USAGE, "'%s': want METRIC<VALUE, as put.p99<10ms", text);
    memcpy(subject, text, len);
    subject[len] = '\0';
    s->below = text[len] == '<';
    s->or_equal = text[len + 1] == '=';
    int code = parse_subject(s, subject, err);
    return code ? code : parse_limit(s, text + len + 1 + s->or_equal, err);
}

int slo_parse(struct slo_set *set, const char *text, struct err *err)
{
    set->count = 0;
    for (const char *from = text; *from;) {
        size_t len = strcspn(from, ",");
        if (set->count == SLO_MAX)
            return err_set(err, ERR_USAGE, "more than %d objectives", SLO_MAX);
        if (len >= SLO_TEXT_BYTES)
            return err_set(err, ERR_USAGE, "'%.*s' is too long", (int)len, from);
        struct slo *s = &set->list[set->count++];
        memset(s, 0, sizeof(*s));
        memcpy(s->text, from, len);
        int code = parse_one(s, s->text, err);
        if (code != 0)
            return code;
        from += len + (from[len] == ',');
    }
    return set->count > 0 ? 0 : err_set(err, ERR_USAGE, "no objective is given");
}

/* ---- judging ---- */

/* false: there is nothing to say. */
static bool value_of(const struct slo *s, const struct figures_op *f, uint64_t measured_us,
                     double *out)
{
    const struct hist *h = &f->latency;
    double total = (double)figures_total(f);
    if (total == 0 || measured_us == 0)
        return false;
    switch (s->metric) {
    case SLO_QUANTILE: *out = (double)hist_quantile(h, s->quantile); break;
    case SLO_MAX_LATENCY: *out = (double)h->max_us; break;
    case SLO_MEAN: *out = h->count ? (double)h->sum_us / (double)h->count : 0; break;
    case SLO_RATE: *out = figures_rate(f, measured_us); return true;
    case SLO_ERRORS:
        *out = 100 * (double)(figures_errors(f) + figures_unknown(f)) / total;
        return true;
    case SLO_UNKNOWN: *out = 100 * (double)figures_unknown(f) / total; return true;
    }
    return h->count > 0;
}

static bool is_met(const struct slo *s)
{
    if (s->value == s->limit)
        return s->or_equal;
    return s->below ? s->value < s->limit : s->value > s->limit;
}

enum slo_verdict slo_judge(struct slo_set *set, const struct figures *f, uint64_t measured_us)
{
    enum slo_verdict worst = SLO_HELD;
    struct figures_op *op = mem_alloc(sizeof(*op));
    for (unsigned i = 0; i < set->count; i++) {
        struct slo *s = &set->list[i];
        figures_of(f, s->op, op);
        if (!value_of(s, op, measured_us, &s->value))
            s->verdict = SLO_INCONCLUSIVE;
        else
            s->verdict = is_met(s) ? SLO_HELD : SLO_VIOLATED;
        if (s->verdict > worst)
            worst = s->verdict;
    }
    mem_free(op);
    return worst;
}

const char *slo_verdict_word(enum slo_verdict v)
{
    static const char *const words[] = {"held", "inconclusive", "violated"};
    return words[v];
}

void slo_value_text(const struct slo *s, char *out, size_t bytes)
{
    if (s->verdict == SLO_INCONCLUSIVE)
        snprintf(out, bytes, "-");
    else if (s->metric == SLO_RATE)
        snprintf(out, bytes, "%.0f/s", s->value);
    else if (s->metric == SLO_ERRORS || s->metric == SLO_UNKNOWN)
        snprintf(out, bytes, "%.3g%%", s->value);
    else
        text_latency(s->value, out, bytes);
}
