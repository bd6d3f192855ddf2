/*
 * A history in parts: keys that no operation ties together are apart. Union by the smaller key over
 * batches and over the keys that a scan's prefix covers, then a counting sort of the operations.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/mem.h"
#include "lib/history/check.h"
#include "lib/history/check_internal.h"

uint32_t part_return(const struct history_part *p, const struct history_operation *op)
{
    return op->outcome == HISTORY_OK && op->ret < p->until ? op->ret : HISTORY_NEVER;
}

bool part_has(const struct history_part *p, const struct history_operation *op)
{
    return op->call < p->until &&
           (part_return(p, op) != HISTORY_NEVER || !history_is_read(op));
}

/* ---- keys in the order of their bytes ---- */

static int key_order(const void *a, const void *b, void *argument)
{
    const struct intern *keys = argument;
    return slice_compare(intern_get(keys, *(const uint32_t *)a),
                         intern_get(keys, *(const uint32_t *)b));
}

static bool begins_with(struct slice s, struct slice prefix)
{
    return s.len >= prefix.len && (prefix.len == 0 || memcmp(s.data, prefix.data, prefix.len) == 0);
}

void keys_with_prefix(const struct history *h, const uint32_t *keys, uint32_t count,
                      uint32_t prefix, uint32_t *from, uint32_t *to)
{
    struct slice wanted = intern_get(&h->keys, prefix);
    uint32_t low = 0, high = count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (slice_compare(intern_get(&h->keys, keys[middle]), wanted) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *from = *to = low;
    for (high = count; *to < high;) {
        uint32_t middle = *to + (high - *to) / 2;
        if (begins_with(intern_get(&h->keys, keys[middle]), wanted))
            *to = middle + 1;
        else
            high = middle;
    }
}

/* ---- union and find ---- */

struct ties {
    struct history *h;
    uint32_t *parent;   /* by key id; 0 stands for scans that cover no key */
    bool *is_key;       /* a prefix alone is none */
    bool *several;      /* by root */
    uint32_t *sorted;   /* keys in the order of their bytes */
    uint32_t key_count;
};

static uint32_t root_of(struct ties *t, uint32_t key)
{
    while (t->parent[key] != key) {
        t->parent[key] = t->parent[t->parent[key]];
        key = t->parent[key];
    }
    return key;
}

static void tie(struct ties *t, uint32_t a, uint32_t b)
{
    a = root_of(t, a);
    b = root_of(t, b);
    if (a < b)
        t->parent[b] = a;
    else
        t->parent[a] = b;
}

static void note_keys(struct ties *t)
{
    for (uint32_t i = 0; i < t->h->count; i++) {
        const struct history_operation *op = &t->h->operations[i];
        if (!history_matters(op))
            continue;
        if (op->kind != HISTORY_SCAN && op->kind != HISTORY_BATCH)
            t->is_key[op->key] = true;
        for (uint32_t k = 0; k < op->item_count; k++)
            t->is_key[t->h->items[op->items + k].key] = true;
    }
    for (uint32_t key = 1; key < t->h->keys.count; key++)
        if (t->is_key[key])
            t->sorted[t->key_count++] = key;
}

/* Which key stands for the operation's part. */
static uint32_t key_of(struct ties *t, const struct history_operation *op)
{
    if (op->kind == HISTORY_BATCH)
        return t->h->items[op->items].key;
    if (op->kind != HISTORY_SCAN)
        return op->key;
    uint32_t from, to;
    keys_with_prefix(t->h, t->sorted, t->key_count, op->key, &from, &to);
    if (from < to)
        return t->sorted[from];
    return op->item_count > 0 ? t->h->items[op->items].key : 0;
}

static void tie_operation(struct ties *t, const struct history_operation *op, bool *prefix_seen)
{
    if (op->kind != HISTORY_BATCH && op->kind != HISTORY_SCAN)
        return;
    uint32_t first = key_of(t, op);
    for (uint32_t k = 0; k < op->item_count; k++)
        tie(t, first, t->h->items[op->items + k].key);
    if (op->kind == HISTORY_BATCH || prefix_seen[op->key])
        return;
    prefix_seen[op->key] = true;
    uint32_t from, to;
    keys_with_prefix(t->h, t->sorted, t->key_count, op->key, &from, &to);
    for (uint32_t i = from; i < to; i++)
        tie(t, first, t->sorted[i]);
}

static void tie_all(struct ties *t)
{
    bool scans = false;
    bool *prefix_seen = mem_calloc(t->h->keys.count, sizeof(*prefix_seen));
    for (uint32_t i = 0; i < t->h->count && !scans; i++)
        scans = t->h->operations[i].kind == HISTORY_SCAN;
    if (scans)
        qsort_r(t->sorted, t->key_count, sizeof(*t->sorted), key_order, &t->h->keys);
    for (uint32_t i = 0; i < t->h->count; i++)
        if (history_matters(&t->h->operations[i]))
            tie_operation(t, &t->h->operations[i], prefix_seen);
    for (uint32_t i = 0; i < t->h->count; i++) {
        const struct history_operation *op = &t->h->operations[i];
        if (history_matters(op) && (op->kind == HISTORY_SCAN || op->kind == HISTORY_BATCH))
            t->several[root_of(t, key_of(t, op))] = true;
    }
    mem_free(prefix_seen);
}

/* ---- the parts ---- */

/* Sorts operations and keys by part, keeping their order within it. */
static void fill(struct history_parts *parts, struct ties *t, const uint32_t *part_of_root)
{
    struct history *h = t->h;
    uint32_t *op_part = mem_calloc(h->count + 1, sizeof(*op_part));
    for (uint32_t i = 0; i < h->count; i++) {
        if (!history_matters(&h->operations[i]))
            continue;
        op_part[i] = part_of_root[root_of(t, key_of(t, &h->operations[i]))];
        parts->parts[op_part[i]].count++;
    }
    for (uint32_t i = 0; i < t->key_count; i++)
        parts->parts[part_of_root[root_of(t, t->sorted[i])]].key_count++;
    uint32_t op_at = 0, key_at = 0;
    for (uint32_t i = 0; i < parts->count; i++) {
        struct history_part *p = &parts->parts[i];
        p->ops = parts->ops + op_at;
        p->keys = parts->keys + key_at;
        op_at += p->count;
        key_at += p->key_count;
        p->count = p->key_count = 0;
    }
    for (uint32_t i = 0; i < h->count; i++)
        if (history_matters(&h->operations[i])) {
            struct history_part *p = &parts->parts[op_part[i]];
            parts->ops[(p->ops - parts->ops) + p->count++] = i;
        }
    for (uint32_t i = 0; i < t->key_count; i++) {
        struct history_part *p = &parts->parts[part_of_root[root_of(t, t->sorted[i])]];
        parts->keys[(p->keys - parts->keys) + p->key_count++] = t->sorted[i];
    }
    mem_free(op_part);
}

static void make_parts(struct history_parts *parts, struct ties *t)
{
    struct history *h = t->h;
    uint32_t *part_of_root = mem_calloc(h->keys.count, sizeof(*part_of_root));
    uint32_t roots = 1; /* part 0 is for scans that cover no key */
    for (uint32_t key = 1; key < h->keys.count; key++)
        if (t->is_key[key] && root_of(t, key) == key)
            part_of_root[key] = roots++;
    parts->parts = mem_calloc(roots, sizeof(*parts->parts));
    parts->count = roots;
    for (uint32_t i = 0; i < roots; i++)
        parts->parts[i] = (struct history_part){.history = h, .until = HISTORY_NEVER};
    parts->parts[0].several_keys = true;
    for (uint32_t key = 1; key < h->keys.count; key++)
        if (part_of_root[key])
            parts->parts[part_of_root[key]].several_keys = t->several[key];
    fill(parts, t, part_of_root);
    mem_free(part_of_root);
}

void history_parts_init(struct history_parts *parts, struct history *h)
{
    struct ties t = {.h = h};
    uint32_t room = h->keys.count;
    t.parent = mem_calloc(room, sizeof(*t.parent));
    t.is_key = mem_calloc(room, sizeof(*t.is_key));
    t.several = mem_calloc(room, sizeof(*t.several));
    t.sorted = mem_calloc(room, sizeof(*t.sorted));
    for (uint32_t key = 0; key < room; key++)
        t.parent[key] = key;
    note_keys(&t);
    tie_all(&t);
    *parts = (struct history_parts){.ops = mem_calloc(h->count + 1, sizeof(*parts->ops)),
                                    .keys = mem_calloc(room, sizeof(*parts->keys))};
    make_parts(parts, &t);
    mem_free(t.parent);
    mem_free(t.is_key);
    mem_free(t.several);
    mem_free(t.sorted);
}

void history_parts_release(struct history_parts *parts)
{
    mem_free(parts->parts);
    mem_free(parts->ops);
    mem_free(parts->keys);
    *parts = (struct history_parts){0};
}
