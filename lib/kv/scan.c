/*
 * Scans: a merge of all memtables and the base, in either direction. Of equal keys the newest
 * source has the say; a delete there hides the rest.
 */
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/mem.h"
#include "lib/kv/state_internal.h"

/* The keys from `low` (included) to `high` (not included; empty: no bound). */
struct range {
    struct slice low, high;
};

struct source {
    struct slice key;  /* where it stands */
    struct memrow *at; /* NULL: the base, whose row is in merge.base_row */
    uint32_t age;      /* 0 is the active memtable; the base is the oldest */
};

struct merge {
    struct state *state;
    struct range range;
    bool reverse, with_value;
    struct row base_row;
    struct source
        *heap; /* the next one in the order of the scan on top; of equal keys, the newest */
    uint32_t count;
};

/* ---- the range */

static struct slice larger(struct slice a, struct slice b)
{
    return slice_compare(a, b) >= 0 ? a : b;
}

/* Of upper bounds, where empty is none. */
static struct slice tighter(struct slice a, struct slice b)
{
    if (a.len == 0 || b.len == 0)
        return a.len == 0 ? b : a;
    return slice_compare(a, b) <= 0 ? a : b;
}

/* The first key above all that begin with `prefix`, into `out`; empty if there is none: a prefix of
 * 0xff bytes. */
static struct slice prefix_end(struct slice prefix, uint8_t *out)
{
    size_t len = prefix.len;
    while (len > 0 && prefix.data[len - 1] == 0xff)
        len--;
    if (len == 0)
        return (struct slice){NULL, 0};
    memcpy(out, prefix.data, len);
    out[len - 1]++;
    return slice_of(out, len);
}

/* `room` holds prefix.len + after.len + 1 bytes. */
static struct range range_of(const struct state_scan *scan, uint8_t *room)
{
    struct range r = {
        .low = larger(scan->prefix, scan->start),
        .high = tighter(prefix_end(scan->prefix, room), scan->end),
    };
    if (scan->after.len > 0 && scan->reverse) {
        r.high = tighter(r.high, scan->after);
    } else if (scan->after.len > 0) {
        uint8_t *next =
            room + scan->prefix.len; /* the key next to `after`: a zero byte behind it */
        memcpy(next, scan->after.data, scan->after.len);
        next[scan->after.len] = 0;
        r.low = larger(r.low, slice_of(next, scan->after.len + 1));
    }
    return r;
}

static bool range_has(const struct range *r, struct slice key, bool reverse)
{
    if (reverse)
        return slice_compare(key, r->low) >= 0;
    return r->high.len == 0 || slice_compare(key, r->high) < 0;
}

/* ---- the heap */

static bool source_before(const struct merge *m, const struct source *a, const struct source *b)
{
    int order = slice_compare(a->key, b->key);
    if (order == 0)
        return a->age < b->age;
    return m->reverse ? order > 0 : order < 0;
}

static void sift_down(struct merge *m, uint32_t i)
{
    for (;;) {
        uint32_t first = i, left = 2 * i + 1;
        for (uint32_t child = left; child <= left + 1 && child < m->count; child++)
            if (source_before(m, &m->heap[child], &m->heap[first]))
                first = child;
        if (first == i)
            return;
        struct source swap = m->heap[i];
        m->heap[i] = m->heap[first];
        m->heap[first] = swap;
        i = first;
    }
}

/* ---- the merge */

/* Reads the base's next row. 0 with *found, or the base's error. */
static int base_next(struct merge *m, bool *found, struct err *err)
{
    const struct state_base *base = m->state->base;
    struct err detail; /* the end is no error here, and leaves `err` alone */
    int rc = base->next(base->self, &m->base_row, &detail);
    *found = rc == 0 && range_has(&m->range, m->base_row.key, m->reverse);
    if (rc == 0 || rc == ERR_NOT_FOUND)
        return 0;
    if (err)
        *err = detail;
    return rc;
}

static int merge_start(struct merge *m, struct err *err)
{
    const struct state_base *base = m->state->base;
    struct slice from = m->reverse ? m->range.high : m->range.low;
    m->heap = mem_calloc((size_t)m->state->frozen + 2, sizeof(*m->heap));
    m->count = 0;
    uint32_t age = 0;
    struct memtable *table;
    TAILQ_FOREACH(table, &m->state->tables, tables)
    {
        struct memrow *at = memtable_seek(table, from, m->reverse);
        if (at && range_has(&m->range, at->row.key, m->reverse))
            m->heap[m->count++] = (struct source){.key = at->row.key, .at = at, .age = age};
        age++;
    }
    int rc = base->seek(base->self, from, m->reverse, m->with_value, err);
    if (rc != 0)
        return rc;
    bool found;
    rc = base_next(m, &found, err);
    if (rc != 0)
        return rc;
    if (found)
        m->heap[m->count++] = (struct source){.key = m->base_row.key, .at = NULL, .age = age};
    for (uint32_t i = m->count / 2; i-- > 0;)
        sift_down(m, i);
    return 0;
}

/* Moves the source on top to its next row. */
static int merge_step(struct merge *m, struct err *err)
{
    struct source *top = &m->heap[0];
    bool found;
    if (top->at) {
        top->at = memtable_step(top->at, m->reverse);
        found = top->at && range_has(&m->range, top->at->row.key, m->reverse);
        if (found)
            top->key = top->at->row.key;
    } else {
        int rc = base_next(m, &found, err);
        if (rc != 0)
            return rc;
        top->key = m->base_row.key;
    }
    if (!found)
        *top = m->heap[--m->count];
    sift_down(m, 0);
    return 0;
}

/* Moves behind the key on top, in all sources. */
static int merge_skip(struct merge *m, struct err *err)
{
    /* The base is the oldest: on top, it is alone with its key, which is not valid any more after
     * the step. */
    bool alone = m->heap[0].at == NULL;
    struct slice key = m->heap[0].key;
    int rc = merge_step(m, err);
    while (rc == 0 && !alone && m->count > 0 && slice_compare(m->heap[0].key, key) == 0)
        rc = merge_step(m, err);
    return rc;
}

/* The row on top; false if it is deleted. */
static bool merge_row(const struct merge *m, struct row *row)
{
    const struct memrow *at = m->heap[0].at;
    if (at && at->deleted)
        return false;
    *row = at ? at->row : m->base_row;
    if (!m->with_value)
        row->value = (struct slice){NULL, 0};
    return true;
}

static int merge_run(struct merge *m, const struct state_scan *scan,
                     int (*emit)(void *, const struct row *), void *argument, bool *more,
                     struct err *err)
{
    uint64_t bytes = 0;
    uint32_t rows = 0;
    while (m->count > 0) {
        struct row row;
        if (merge_row(m, &row)) {
            uint64_t size = row.key.len + row.value.len;
            *more = rows == scan->limit || (rows > 0 && bytes + size > scan->bytes_max);
            if (*more)
                return 0;
            int rc = emit(argument, &row);
            if (rc != 0) {
                *more = true;
                return rc;
            }
            rows++;
            bytes += size;
        }
        int rc = merge_skip(m, err);
        if (rc != 0)
            return rc;
    }
    return 0;
}

int state_scan(struct state *s, const struct state_scan *scan,
               int (*emit)(void *, const struct row *), void *argument, bool *more, struct err *err)
{
    ASSERT(scan->limit > 0);
    *more = false;
    uint8_t *room = mem_alloc(scan->prefix.len + scan->after.len + 1);
    struct merge m = {
        .state = s,
        .range = range_of(scan, room),
        .reverse = scan->reverse,
        .with_value = !scan->keys_only,
    };
    int rc = 0;
    if (m.range.high.len == 0 || slice_compare(m.range.low, m.range.high) < 0)
        rc = merge_start(&m, err);
    if (rc == 0)
        rc = merge_run(&m, scan, emit, argument, more, err);
    mem_free(m.heap);
    mem_free(room);
    return rc;
}
