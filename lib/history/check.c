/* Judging a whole history: the method for each part, and searches in turns. */
#include "lib/history/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/mem.h"
#include "lib/history/check_internal.h"

enum {
    ROUND_STEPS = 20000, /* of each search in the first round … */
    ROUND_GROWTH = 8,    /* … and so many times more in each that follows */
    SLICE_STEPS = 20000, /* between looks at the clock */
    RADIX_BITS = 11,
};

const char *history_method_name(enum history_method method)
{
    static const char *const names[METHOD_COUNT] = {"index", "zones", "search"};
    return names[method];
}

enum history_verdict verdict_why(char *why, enum history_verdict verdict, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(why, HISTORY_WHY_BYTES, fmt, ap);
    va_end(ap);
    return verdict;
}

/* ---- sorting ---- */

/* Radix, from the lowest digit that differs. */
void sort_numbers(uint64_t *numbers, uint64_t *spare, uint32_t count)
{
    uint64_t differ = 0;
    for (uint32_t i = 1; i < count; i++)
        differ |= numbers[i] ^ numbers[0];
    uint64_t *from = numbers, *to = spare;
    for (uint32_t shift = 0; shift < 64; shift += RADIX_BITS) {
        if ((differ >> shift & ((1U << RADIX_BITS) - 1)) == 0)
            continue;
        uint32_t at[(1U << RADIX_BITS) + 1] = {0};
        for (uint32_t i = 0; i < count; i++)
            at[(from[i] >> shift & ((1U << RADIX_BITS) - 1)) + 1]++;
        for (uint32_t d = 1; d <= 1U << RADIX_BITS; d++)
            at[d] += at[d - 1];
        for (uint32_t i = 0; i < count; i++)
            to[at[from[i] >> shift & ((1U << RADIX_BITS) - 1)]++] = from[i];
        uint64_t *swap = from;
        from = to;
        to = swap;
    }
    if (from != numbers && count > 0)
        memcpy(numbers, from, count * sizeof(*numbers));
}

static void sort_few(uint64_t *numbers, uint32_t count)
{
    for (uint32_t i = 1; i < count; i++) {
        uint64_t n = numbers[i];
        uint32_t k = i;
        for (; k > 0 && numbers[k - 1] > n; k--)
            numbers[k] = numbers[k - 1];
        numbers[k] = n;
    }
}

uint64_t *part_returns(const struct history_part *p, uint32_t *count)
{
    enum { FEW = 256 };
    uint64_t *returns = mem_alloc((p->count + 1) * sizeof(*returns));
    *count = 0;
    for (uint32_t i = 0; i < p->count; i++) {
        const struct history_operation *op = &p->history->operations[p->ops[i]];
        uint32_t ret = part_return(p, op);
        if (ret != HISTORY_NEVER && part_has(p, op))
            returns[(*count)++] = (uint64_t)ret << 32 | i;
    }
    if (*count <= FEW) {
        sort_few(returns, *count);
    } else {
        uint64_t *spare = mem_alloc(*count * sizeof(*spare));
        sort_numbers(returns, spare, *count);
        mem_free(spare);
    }
    return returns;
}

/* ---- one part ---- */

enum history_verdict history_judge_part(const struct history_part *p, enum history_method method,
                                        uint64_t steps, uint64_t bytes_max, char *why)
{
    if (method == METHOD_INDEX)
        return check_index(p, why);
    if (method == METHOD_ZONES)
        return check_zones(p, why);
    struct search *s = search_new(p);
    enum history_verdict verdict = search_run(s, steps, bytes_max);
    search_free(s);
    if (verdict == VERDICT_VIOLATED)
        verdict_why(why, verdict, "no order of these operations explains what was replied");
    return verdict;
}

/* ---- all parts ---- */

struct judge {
    const struct history_parts *parts;
    const struct history_limits *limits;
    struct history_report *report;
    uint32_t *searched; /* the parts that are left to the search */
    struct search **searches;
    uint32_t search_count;
};

static bool stopped(const struct judge *j)
{
    return j->limits->stop && j->limits->stop(j->limits->argument);
}

static void found(struct judge *j, enum history_verdict verdict, uint32_t part,
                  enum history_method method)
{
    j->report->verdict = verdict;
    j->report->violated = part;
    j->report->method = method;
}

/* Whether index or zones settled the part. */
static bool settled(struct judge *j, uint32_t i)
{
    const struct history_limits *limits = j->limits;
    for (uint32_t m = METHOD_INDEX; m < METHOD_SEARCH; m++) {
        if (limits->forced && limits->method != m)
            continue;
        enum history_verdict v =
            history_judge_part(&j->parts->parts[i], (enum history_method)m, 0, 0, j->report->why);
        if (v == VERDICT_UNFIT && !limits->forced)
            continue;
        if (v != VERDICT_LINEARIZABLE)
            found(j, v, i, (enum history_method)m);
        j->report->parts[m]++;
        return true;
    }
    return false;
}

static bool fast_methods(struct judge *j)
{
    for (uint32_t i = 0; i < j->parts->count; i++) {
        const struct history_part *p = &j->parts->parts[i];
        if (p->count == 0)
            continue;
        if (settled(j, i)) {
            if (j->report->verdict != VERDICT_LINEARIZABLE)
                return false;
        } else {
            j->searched[j->search_count++] = i;
        }
        if (i % 64 == 0 && stopped(j)) {
            j->report->verdict = VERDICT_OPEN;
            j->report->open = j->parts->count - i - 1 + j->search_count;
            return false;
        }
    }
    return true;
}

static uint64_t memory_left(const struct judge *j, uint64_t searches)
{
    uint64_t max = j->limits->memory_bytes;
    if (max == 0)
        return UINT64_MAX;
    uint64_t used = history_bytes(j->parts->parts[0].history) + searches;
    return used < max ? max - used : 0;
}

/* One search within its round. False: nothing more is to be done. */
static bool turn(struct judge *j, uint32_t k, uint64_t steps, uint64_t *bytes)
{
    uint32_t part = j->searched[k];
    if (!j->searches[k]) {
        j->searches[k] = search_new(&j->parts->parts[part]);
        *bytes += search_bytes(j->searches[k]);
    }
    struct search *s = j->searches[k];
    enum history_verdict v = VERDICT_OPEN;
    for (uint64_t done = 0; done < steps && v == VERDICT_OPEN; done += SLICE_STEPS) {
        uint64_t before = search_bytes(s), steps_before = search_steps(s);
        v = search_run(s, SLICE_STEPS, before + memory_left(j, *bytes));
        *bytes = *bytes + search_bytes(s) - before;
        j->report->steps += search_steps(s) - steps_before;
        if (v == VERDICT_OPEN && (search_is_full(s) || stopped(j))) {
            j->report->out_of_memory = search_is_full(s);
            return false;
        }
    }
    if (v == VERDICT_OPEN)
        return true;
    *bytes -= search_bytes(s);
    search_free(s);
    j->searches[k] = NULL;
    j->searched[k] = UINT32_MAX;
    j->report->parts[METHOD_SEARCH]++;
    if (v == VERDICT_LINEARIZABLE)
        return true;
    found(j, v, part, METHOD_SEARCH);
    verdict_why(j->report->why, v, "no order of these operations explains what was replied");
    return false;
}

/* Round after round, so that a part that takes long does not keep the others waiting: most
 * violations are found in few steps (reliability of budgets: each round is eight times longer). */
static void search_in_rounds(struct judge *j)
{
    uint64_t bytes = 0;
    bool go_on = true;
    uint32_t open = j->search_count;
    for (uint64_t steps = ROUND_STEPS; go_on && open > 0; steps *= ROUND_GROWTH) {
        open = 0;
        for (uint32_t k = 0; k < j->search_count && go_on; k++) {
            if (j->searched[k] == UINT32_MAX)
                continue;
            go_on = turn(j, k, steps, &bytes);
            open += j->searched[k] != UINT32_MAX;
        }
    }
    if (j->report->verdict != VERDICT_LINEARIZABLE)
        return;
    for (uint32_t k = 0; k < j->search_count; k++)
        j->report->open += j->searched[k] != UINT32_MAX;
    if (j->report->open > 0)
        j->report->verdict = VERDICT_OPEN;
}

void history_judge(const struct history_parts *parts, const struct history_limits *limits,
                   struct history_report *report)
{
    *report = (struct history_report){.verdict = VERDICT_LINEARIZABLE};
    struct judge j = {.parts = parts, .limits = limits, .report = report};
    j.searched = mem_calloc(parts->count + 1, sizeof(*j.searched));
    if (fast_methods(&j)) {
        j.searches = mem_calloc(j.search_count + 1, sizeof(struct search *));
        search_in_rounds(&j);
        for (uint32_t k = 0; k < j.search_count; k++)
            if (j.searches[k])
                search_free(j.searches[k]);
        mem_free((void *)j.searches);
    }
    mem_free(j.searched);
}
