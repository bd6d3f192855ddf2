/* Counting; see figures.h. */
#include "lib/bench/figures.h"

#include <string.h>

#include "lib/base/check.h"

static unsigned kind_of(const struct figures_end *end)
{
    int kind = end->begun ? end->code - ERR_FIRST_ : FIGURES_NOT_BEGUN;
    ASSERT(kind >= 0 && kind < FIGURES_KINDS);
    return (unsigned)kind;
}

const char *figures_kind_name(unsigned kind)
{
    int code = (int)kind + ERR_FIRST_;
    if (kind == FIGURES_NOT_BEGUN)
        return "not_begun";
    return code == ERR_UNKNOWN ? "no_reply" : err_name(code);
}

const char *figures_op_name(unsigned op)
{
    return op == FIGURES_ALL ? "all" : bench_op_name((enum bench_op)op);
}

void figures_add(struct figures *f, const struct figures_end *end)
{
    struct figures_op *op = &f->ops[end->op];
    if (end->begun && end->code == 0) {
        hist_record(&op->latency, end->latency_us);
        op->late += end->late;
        op->absent += end->absent;
        op->unmet += end->unmet;
    } else if (end->unknown) {
        op->unknown[kind_of(end)]++;
    } else {
        op->errors[kind_of(end)]++;
    }
}

static void merge_op(struct figures_op *into, const struct figures_op *from)
{
    hist_merge(&into->latency, &from->latency);
    into->late += from->late;
    into->absent += from->absent;
    into->unmet += from->unmet;
    for (unsigned k = 0; k < FIGURES_KINDS; k++) {
        into->errors[k] += from->errors[k];
        into->unknown[k] += from->unknown[k];
    }
}

void figures_merge(struct figures *into, const struct figures *from)
{
    for (unsigned op = 0; op < BENCH_OPS; op++)
        merge_op(&into->ops[op], &from->ops[op]);
}

void figures_of(const struct figures *f, unsigned op, struct figures_op *out)
{
    memset(out, 0, sizeof(*out));
    for (unsigned i = 0; i < BENCH_OPS; i++)
        if (op == FIGURES_ALL || op == i)
            merge_op(out, &f->ops[i]);
}

static uint64_t sum(const uint64_t kinds[FIGURES_KINDS])
{
    uint64_t total = 0;
    for (unsigned k = 0; k < FIGURES_KINDS; k++)
        total += kinds[k];
    return total;
}

uint64_t figures_errors(const struct figures_op *f)
{
    return sum(f->errors);
}

uint64_t figures_unknown(const struct figures_op *f)
{
    return sum(f->unknown);
}

double figures_rate(const struct figures_op *f, uint64_t measured_us)
{
    return measured_us > 0 ? (double)(f->latency.count - f->late) * 1e6 / (double)measured_us : 0;
}

uint64_t figures_total(const struct figures_op *f)
{
    return f->latency.count + figures_errors(f) + figures_unknown(f);
}

/* ---- a second ---- */

void figures_second_add(struct figures_second *s, const struct figures_end *end)
{
    if (end->begun && end->code == 0)
        hist_record(&s->latency, end->latency_us);
    else if (end->unknown)
        s->unknown++;
    else
        s->errors++;
}

void figures_second_merge(struct figures_second *into, const struct figures_second *from)
{
    hist_merge(&into->latency, &from->latency);
    into->errors += from->errors;
    into->unknown += from->unknown;
}

void figures_second_row(const struct figures_second *s, struct figures_row *row)
{
    row->answered = s->latency.count;
    row->errors = s->errors;
    row->unknown = s->unknown;
    row->p50_us = hist_quantile(&s->latency, 0.5);
    row->p95_us = hist_quantile(&s->latency, 0.95);
    row->p99_us = hist_quantile(&s->latency, 0.99);
    row->p999_us = hist_quantile(&s->latency, 0.999);
    row->max_us = s->latency.max_us;
}
