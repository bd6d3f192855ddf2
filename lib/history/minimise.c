/* The smallest set of operations that shows a violation: delta debugging (Zeller and Hildebrandt,
 * 2002) over what may be left out. */
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/hash.h"
#include "lib/base/mem.h"
#include "lib/history/check_internal.h"
#include "lib/history/proof.h"

enum { TRIAL_STEPS = 1000000 };

struct minimiser {
    const struct history_part *part;
    enum history_method method;
    const struct history_limits *limits;
    uint32_t until;
    uint32_t *all; /* what may matter, in the order of calls */
    bool *keep;
    uint32_t count;
    uint32_t *chosen; /* those of `all` that are kept */
    uint64_t *read;   /* a set of key << 32 | value + 1 that is read; 0: free */
    uint64_t read_mask;
};

static bool out_of_time(const struct minimiser *m)
{
    return m->limits->stop && m->limits->stop(m->limits->argument);
}

static const struct history_operation *operation(const struct minimiser *m, uint32_t i)
{
    return &m->part->history->operations[m->all[i]];
}

static bool violated(const struct minimiser *m, const uint32_t *ops, uint32_t count, uint32_t until)
{
    char why[HISTORY_WHY_BYTES];
    struct history_part part = *m->part;
    part.ops = ops;
    part.count = count;
    part.until = until;
    uint64_t bytes = m->limits->memory_bytes ? m->limits->memory_bytes : UINT64_MAX;
    return history_judge_part(&part, m->method, TRIAL_STEPS, bytes, why) == VERDICT_VIOLATED;
}

/* ---- the moment ---- */

/* Prefixes of linearizable histories are linearizable, so the first return that breaks it can be
 * found by halving. */
static void find_moment(struct minimiser *m, struct history_proof *proof)
{
    uint32_t count;
    uint64_t *returns = part_returns(m->part, &count);
    uint32_t low = 0, high = count; /* with returns[0 … high) it is violated */
    proof->until = m->until;
    proof->breaks = HISTORY_NO_ID;
    while (low + 1 < high && !out_of_time(m)) {
        uint32_t middle = low + (high - low) / 2;
        if (violated(m, m->part->ops, m->part->count, (uint32_t)(returns[middle - 1] >> 32) + 1))
            high = middle;
        else
            low = middle;
    }
    if (high > 0 && low + 1 >= high) {
        uint32_t until = (uint32_t)(returns[high - 1] >> 32) + 1;
        if (violated(m, m->part->ops, m->part->count, until)) {
            proof->breaks = m->part->ops[(uint32_t)returns[high - 1]];
            proof->until = until;
        }
    }
    m->until = proof->until;
    mem_free(returns);
}

/* ---- what must stay ---- */

static uint64_t *read_slot(struct minimiser *m, uint32_t key, uint32_t value)
{
    uint64_t member = (uint64_t)key << 32 | (value + UINT64_C(1));
    uint64_t at = (member * UINT64_C(0x9e3779b97f4a7c15) >> 20) & m->read_mask;
    while (m->read[at] && m->read[at] != member)
        at = (at + 1) & m->read_mask;
    return &m->read[at];
}

enum { ANY_VALUE = UINT32_MAX - 1 }; /* what depends on whatever stands before it */

static void note_read(struct minimiser *m, uint32_t key, uint32_t value)
{
    *read_slot(m, key, value) = (uint64_t)key << 32 | (value + UINT64_C(1));
}

static void note_reads(struct minimiser *m, const struct history_operation *op)
{
    const struct history_item *items = m->part->history->items + op->items;
    switch ((enum history_kind)op->kind) {
    case HISTORY_GET: note_read(m, op->key, op->value); break;
    case HISTORY_CAS: note_read(m, op->key, op->expect); break;
    case HISTORY_DELETE:
        if (op->existed != HISTORY_MAY_EXIST)
            note_read(m, op->key, ANY_VALUE);
        break;
    case HISTORY_APPEND:
    case HISTORY_DIFFERS: note_read(m, op->key, ANY_VALUE); break;
    case HISTORY_SCAN:
        /* Absent keys are not listed: a scan holds on to every delete. */
        note_read(m, 0, 0);
        for (uint32_t i = 0; i < op->item_count; i++)
            note_read(m, items[i].key, items[i].value);
        break;
    default: break;
    }
}

static bool write_is_read(struct minimiser *m, uint32_t key, uint32_t value)
{
    return *read_slot(m, key, value) || *read_slot(m, key, ANY_VALUE) ||
           (value == 0 && *read_slot(m, 0, 0));
}

static bool is_read(struct minimiser *m, const struct history_operation *op)
{
    const struct history_item *items = m->part->history->items + op->items;
    if (history_is_read(op))
        return false;
    if (op->kind != HISTORY_BATCH)
        return op->kind == HISTORY_APPEND ? true : write_is_read(m, op->key, op->value);
    for (uint32_t i = 0; i < op->item_count; i++)
        if (write_is_read(m, items[i].key, items[i].value))
            return true;
    return false;
}

static uint32_t read_count(const struct minimiser *m)
{
    uint64_t most = 1;
    for (uint32_t i = 0; i < m->count; i++)
        most += operation(m, i)->item_count + UINT64_C(2);
    return (uint32_t)most;
}

/* Puts back what may not be left out beside what is kept. */
static void restore(struct minimiser *m)
{
    memset(m->read, 0, (m->read_mask + 1) * sizeof(*m->read));
    for (uint32_t i = 0; i < m->count; i++)
        if (m->keep[i])
            note_reads(m, operation(m, i));
    for (bool more = true; more;) {
        more = false;
        for (uint32_t i = 0; i < m->count; i++) {
            if (m->keep[i] || !is_read(m, operation(m, i)))
                continue;
            m->keep[i] = more = true;
            note_reads(m, operation(m, i));
        }
    }
}

/* ---- leaving out ---- */

static uint32_t choose(struct minimiser *m)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < m->count; i++)
        if (m->keep[i])
            m->chosen[n++] = m->all[i];
    return n;
}

static void forget_left_out(struct minimiser *m)
{
    uint32_t n = choose(m);
    memcpy(m->all, m->chosen, n * sizeof(*m->all));
    memset(m->keep, true, n * sizeof(*m->keep));
    m->count = n;
}

/* Whether it is still violated without those from `from` to `to` that may be left out. */
static bool leave_out(struct minimiser *m, uint32_t from, uint32_t to)
{
    memset(m->keep, true, m->count * sizeof(*m->keep));
    memset(m->keep + from, false, (to - from) * sizeof(*m->keep));
    restore(m);
    uint32_t n = choose(m);
    if (n == m->count || !violated(m, m->chosen, n, m->until))
        return false;
    forget_left_out(m);
    return true;
}

static void shrink(struct minimiser *m, struct history_proof *proof)
{
    for (uint32_t size = m->count / 2; size > 0;) {
        bool smaller = false;
        for (uint32_t from = 0; from < m->count && !out_of_time(m);) {
            uint32_t to = m->count - from > size ? from + size : m->count;
            if (leave_out(m, from, to))
                smaller = true;
            else
                from = to;
        }
        if (out_of_time(m))
            return;
        if (size == 1 && !smaller)
            break;
        size = size > 1 ? size / 2 : 1;
        if (size > m->count)
            size = m->count;
    }
    proof->smallest = true;
}

void history_prove(const struct history_part *p, enum history_method method,
                   const struct history_limits *limits, struct history_proof *proof)
{
    struct minimiser m = {.part = p, .method = method, .limits = limits, .until = p->until};
    *proof = (struct history_proof){0};
    find_moment(&m, proof);
    struct history_part seen = *p;
    seen.until = m.until;
    m.all = mem_alloc((p->count + UINT64_C(1)) * sizeof(*m.all));
    m.chosen = mem_alloc((p->count + UINT64_C(1)) * sizeof(*m.chosen));
    m.keep = mem_alloc(p->count + UINT64_C(1));
    for (uint32_t i = 0; i < p->count; i++)
        if (part_has(&seen, &p->history->operations[p->ops[i]]))
            m.all[m.count++] = p->ops[i];
    m.read_mask = 15;
    while (m.read_mask < read_count(&m) * UINT64_C(2))
        m.read_mask = m.read_mask * 2 + 1;
    m.read = mem_calloc(m.read_mask + 1, sizeof(*m.read));
    shrink(&m, proof);
    mem_free(m.read);
    mem_free(m.keep);
    mem_free(m.chosen);
    proof->ops = m.all;
    proof->count = m.count;
}

void history_proof_release(struct history_proof *proof)
{
    mem_free(proof->ops);
    *proof = (struct history_proof){0};
}
