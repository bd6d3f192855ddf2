/* The search: a part of a history as operations on slots. */
#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/history/search_internal.h"

/* ---- slots ---- */

struct key_slot {
    uint32_t key, slot;
};

static int key_slot_order(const void *a, const void *b)
{
    const struct key_slot *x = a, *y = b;
    return (x->key > y->key) - (x->key < y->key);
}

static struct key_slot *key_slots(const struct history_part *p)
{
    struct key_slot *list = mem_calloc(p->key_count + UINT64_C(1), sizeof(*list));
    for (uint32_t i = 0; i < p->key_count; i++)
        list[i] = (struct key_slot){p->keys[i], i};
    qsort(list, p->key_count, sizeof(*list), key_slot_order);
    return list;
}

/* UINT32_MAX: it is no key of the part. */
static uint32_t slot_of(const struct search *s, const struct key_slot *list, uint32_t key)
{
    struct key_slot wanted = {.key = key};
    const struct key_slot *found =
        bsearch(&wanted, list, s->part->key_count, sizeof(*list), key_slot_order);
    return found ? found->slot : UINT32_MAX;
}

/* ---- effects ---- */

static void add_pair(struct search *s, uint32_t slot, uint32_t value)
{
    if (s->pair_count == s->pair_room) {
        s->pair_room = s->pair_room * 2 + 16;
        s->pairs = mem_realloc(s->pairs, s->pair_room * sizeof(*s->pairs));
    }
    s->pairs[s->pair_count++] = (struct search_pair){slot, value};
}

/* Every key that the prefix covers, absent if the scan did not show it. */
static void set_scan(struct search *s, const struct key_slot *list,
                     const struct history_operation *op, struct search_effect *e)
{
    const struct history_part *p = s->part;
    uint32_t from, to;
    keys_with_prefix(p->history, p->keys, p->key_count, op->key, &from, &to);
    e->pairs = s->pair_count;
    for (uint32_t slot = from; slot < to; slot++)
        add_pair(s, slot, 0);
    e->pair_count = to - from;
    for (uint32_t k = 0; k < op->item_count; k++) {
        const struct history_item *item = &p->history->items[op->items + k];
        uint32_t slot = slot_of(s, list, item->key);
        if (slot < from || slot >= to || s->pairs[e->pairs + (slot - from)].value)
            e->impossible = true;
        else
            s->pairs[e->pairs + (slot - from)].value = item->value;
    }
}

static struct search_effect effect_of(struct search *s, const struct key_slot *list,
                                      const struct history_operation *op)
{
    struct search_effect e = {
        .kind = op->kind, .existed = op->existed, .value = op->value, .expect = op->expect};
    if (op->kind == HISTORY_SCAN) {
        set_scan(s, list, op, &e);
    } else if (op->kind == HISTORY_BATCH) {
        e.pairs = s->pair_count;
        e.pair_count = op->item_count;
        for (uint32_t k = 0; k < op->item_count; k++) {
            const struct history_item *item = &s->part->history->items[op->items + k];
            add_pair(s, slot_of(s, list, item->key), item->value);
        }
    } else {
        e.slot = slot_of(s, list, op->key);
    }
    return e;
}

/* ---- unknown outcomes ---- */

struct unknown {
    struct search_effect effect;
    uint32_t call;
};

static int effect_order(const struct search_effect *x, const struct search_effect *y)
{
    const uint32_t a[] = {x->kind, x->slot, x->value, x->expect, x->pairs};
    const uint32_t b[] = {y->kind, y->slot, y->value, y->expect, y->pairs};
    for (size_t i = 0; i < sizeof(a) / sizeof(a[0]); i++)
        if (a[i] != b[i])
            return a[i] < b[i] ? -1 : 1;
    return 0;
}

static int unknown_order(const void *a, const void *b)
{
    const struct unknown *x = a, *y = b;
    int order = effect_order(&x->effect, &y->effect);
    return order ? order : (x->call > y->call) - (x->call < y->call);
}

/* Those that nobody can have noticed are left out: a put or compare-and-set of a value that was
 * neither read nor expected, where all that is noticed of a key are its values. */
static bool *noticed_values(const struct search *s)
{
    const struct history_part *p = s->part;
    bool *noticed = mem_calloc(p->history->values.count, sizeof(*noticed));
    for (uint32_t i = 0; i < p->count; i++) {
        const struct history_operation *op = &p->history->operations[p->ops[i]];
        bool values_only = op->kind == HISTORY_GET || op->kind == HISTORY_PUT ||
                           op->kind == HISTORY_CAS ||
                           (op->kind == HISTORY_DELETE && op->existed == HISTORY_MAY_EXIST);
        if (!values_only) {
            mem_free(noticed);
            return NULL;
        }
        if (op->kind == HISTORY_GET && part_has(p, op))
            noticed[op->value] = true;
        if (op->kind == HISTORY_CAS)
            noticed[op->expect] = true;
    }
    return noticed;
}

static void make_groups(struct search *s, struct unknown *unknown, uint32_t count)
{
    if (count > 0)
        qsort(unknown, count, sizeof(*unknown), unknown_order);
    s->groups = mem_calloc(count + UINT64_C(1), sizeof(*s->groups));
    s->calls = mem_calloc(count + UINT64_C(1), sizeof(*s->calls));
    for (uint32_t i = 0; i < count; i++) {
        struct search_group *last = s->group_count > 0 ? &s->groups[s->group_count - 1] : NULL;
        s->calls[i] = unknown[i].call;
        if (last && effect_order(&last->effect, &unknown[i].effect) == 0)
            last->count++;
        else
            s->groups[s->group_count++] =
                (struct search_group){.effect = unknown[i].effect, .first = i, .count = 1};
    }
}

static void set_operations(struct search *s)
{
    const struct history_part *p = s->part;
    struct key_slot *list = key_slots(p);
    struct unknown *unknown = mem_alloc((p->count + UINT64_C(1)) * sizeof(*unknown));
    bool *noticed = noticed_values(s);
    uint32_t unknown_count = 0;
    s->ops = mem_alloc((p->count + UINT64_C(1)) * sizeof(*s->ops));
    for (uint32_t i = 0; i < p->count; i++) {
        const struct history_operation *op = &p->history->operations[p->ops[i]];
        uint32_t ret = part_return(p, op);
        if (!part_has(p, op))
            continue;
        if (ret != HISTORY_NEVER)
            s->ops[s->op_count++] = (struct search_op){effect_of(s, list, op), op->call, ret};
        else if (!noticed || noticed[op->value])
            unknown[unknown_count++] = (struct unknown){effect_of(s, list, op), op->call};
    }
    make_groups(s, unknown, unknown_count);
    mem_free(noticed);
    mem_free(unknown);
    mem_free(list);
}

/* ---- the list ---- */

static void make_list(struct search *s)
{
    uint32_t count = s->op_count * 2, at = 0;
    uint64_t *events = mem_alloc((count + UINT64_C(1)) * sizeof(*events));
    uint64_t *spare = mem_alloc((count + UINT64_C(1)) * sizeof(*spare));
    for (uint32_t i = 0; i < s->op_count; i++) {
        events[at++] = (uint64_t)s->ops[i].call << 32 | (i * 2);
        events[at++] = (uint64_t)s->ops[i].ret << 32 | (i * 2 + 1);
    }
    sort_numbers(events, spare, count);
    s->head = count;
    s->next = mem_alloc((count + UINT64_C(1)) * sizeof(*s->next));
    s->previous = mem_alloc((count + UINT64_C(1)) * sizeof(*s->previous));
    uint32_t last = s->head;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t node = (uint32_t)events[i];
        s->next[last] = node;
        s->previous[node] = last;
        last = node;
    }
    s->next[last] = s->head;
    s->previous[s->head] = last;
    mem_free(events);
    mem_free(spare);
}

void search_set_up(struct search *s)
{
    set_operations(s);
    make_list(s);
    s->left = s->op_count;
    s->slot_count = s->part->key_count;
    s->slots = mem_calloc(s->slot_count + UINT64_C(1), sizeof(*s->slots));
    uint64_t frames = (uint64_t)s->part->count + 1;
    s->frames = mem_alloc(frames * sizeof(*s->frames));
    s->bytes += (s->part->count + UINT64_C(1)) *
                    (sizeof(*s->ops) + 4 * sizeof(*s->next) + sizeof(*s->frames) +
                     sizeof(*s->calls)) +
                s->group_count * sizeof(*s->groups) + s->pair_room * sizeof(*s->pairs) +
                s->slot_count * sizeof(*s->slots);
}
