/*
 * The check by log index, first half: which write stands where. Those whose outcome nobody was told
 * are found by the versions that reads bear: of those that may have written what was read, the one
 * that was called first is given the lowest version, which leaves most room for the others.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/history/index_internal.h"

struct observation {
    uint64_t version;
    uint32_t key, value;
    uint32_t line;
};

struct observations {
    struct observation *list;
    uint32_t count, room;
};

static const struct history_operation *operation(const struct index_check *c, uint32_t i)
{
    return &c->part->history->operations[c->part->ops[i]];
}

static void add_write(struct index_check *c, uint32_t i, uint32_t key, uint32_t value,
                      uint64_t version)
{
    if (c->write_count == c->write_room) {
        c->write_room = c->write_room + c->write_room / 2 + 16;
        c->writes = mem_realloc(c->writes, c->write_room * sizeof(*c->writes));
    }
    c->writes[c->write_count++] =
        (struct index_write){.version = version, .key = key, .value = value, .op = c->part->ops[i]};
    c->versions[i] = version;
}

static void add_writes(struct index_check *c, uint32_t i, uint64_t version)
{
    const struct history_operation *op = operation(c, i);
    if (op->kind != HISTORY_BATCH)
        add_write(c, i, op->key, op->value, version);
    for (uint32_t k = 0; k < op->item_count; k++) {
        const struct history_item *item = &c->part->history->items[op->items + k];
        add_write(c, i, item->key, item->value, version);
    }
}

static void add_unknown_key(struct index_check *c, uint32_t i, uint32_t key, uint32_t value)
{
    if (c->unknown_count == c->unknown_room) {
        c->unknown_room = c->unknown_room * 2 + 16;
        c->unknown = mem_realloc(c->unknown, c->unknown_room * sizeof(*c->unknown));
    }
    c->unknown[c->unknown_count++] = (struct index_unknown){.key = key,
                                                            .value = value,
                                                            .call = operation(c, i)->call,
                                                            .place_in_part = i,
                                                            .kind = operation(c, i)->kind};
}

static void add_unknown(struct index_check *c, uint32_t i)
{
    const struct history_operation *op = operation(c, i);
    if (op->kind != HISTORY_BATCH)
        add_unknown_key(c, i, op->key, op->value);
    for (uint32_t k = 0; k < op->item_count; k++) {
        const struct history_item *item = &c->part->history->items[op->items + k];
        add_unknown_key(c, i, item->key, item->value);
    }
}

/* ---- what replies bear ---- */

static enum history_verdict unfit(struct index_check *c, const struct history_operation *op,
                                  const char *what)
{
    return verdict_why(c->why, VERDICT_UNFIT, "the %s of line %" PRIu32 " bears no %s",
                       history_kind_name(op->kind), op->call_line, what);
}

static enum history_verdict take_operation(struct index_check *c, uint32_t i, bool *bears)
{
    const struct history_operation *op = operation(c, i);
    if (op->kind == HISTORY_DIFFERS)
        return unfit(c, op, "index");
    if (op->outcome == HISTORY_OK && (op->version || op->index))
        *bears = true;
    if (op->kind == HISTORY_SCAN && op->index == 0)
        return unfit(c, op, "index");
    if (history_is_read(op))
        return VERDICT_LINEARIZABLE;
    if (op->outcome == HISTORY_UNKNOWN)
        add_unknown(c, i);
    else if (op->version)
        add_writes(c, i, index_place(op->version));
    else if (op->kind != HISTORY_DELETE || op->existed != HISTORY_WAS_ABSENT)
        return unfit(c, op, "version");
    return VERDICT_LINEARIZABLE;
}

/* Where those that wrote the value begin. */
static struct index_unknown *first_of(const struct index_check *c, uint32_t key, uint32_t value)
{
    uint32_t low = 0, high = c->unknown_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct index_unknown *u = &c->unknown[middle];
        if (u->key < key || (u->key == key && u->value < value))
            low = middle + 1;
        else
            high = middle;
    }
    return c->unknown + low;
}

static bool same_unknown(const struct index_check *c, const struct index_unknown *u, uint32_t key,
                         uint32_t value)
{
    return u < c->unknown + c->unknown_count && u->key == key && u->value == value;
}

/* How many may have written the value, and whether all are puts or all are deletes. */
static uint32_t candidates(const struct index_check *c, uint32_t key, uint32_t value, bool *alike)
{
    const struct index_unknown *u = first_of(c, key, value);
    uint32_t count = 0;
    for (; same_unknown(c, u, key, value); u++, count++)
        if (alike && u->kind != HISTORY_PUT && u->kind != HISTORY_DELETE)
            *alike = false;
    return count;
}

static void mark_placed(struct index_check *c, uint32_t place_in_part)
{
    if (operation(c, place_in_part)->kind != HISTORY_BATCH)
        return;
    for (uint32_t i = 0; i < c->unknown_count; i++)
        if (c->unknown[i].place_in_part == place_in_part)
            c->unknown[i].placed = true;
}

/* One that was found to stand behind this place, with nothing of the key between, stands here. */
static bool move_down(struct index_check *c, uint32_t key, uint32_t value, uint64_t place)
{
    uint32_t behind = index_write_behind(c, key, place);
    if (behind == c->sorted_count)
        return false;
    struct index_write *w = &c->writes[behind];
    if (w->key != key || w->value != value || w->version % 2 == 0)
        return false;
    w->version = place;
    c->changed = true;
    return true;
}

bool index_infer(struct index_check *c, uint32_t key, uint32_t value, uint64_t place)
{
    if (move_down(c, key, value, place))
        return true;
    struct index_unknown *u = first_of(c, key, value);
    for (; same_unknown(c, u, key, value); u++) {
        if (u->placed || u->kind == HISTORY_APPEND)
            continue;
        c->guessed = true; /* another may have stood there, or this one elsewhere */
        u->placed = true;
        add_writes(c, u->place_in_part, place);
        mark_placed(c, u->place_in_part);
        return true;
    }
    return false;
}

/* Of puts of the same, or deletes, the one that was called first takes the lowest place: what has
 * been found out since may stand below what was placed before. */
void index_share_out(struct index_check *c)
{
    for (uint32_t i = 0; i < c->unknown_count; i++) {
        struct index_unknown *u = &c->unknown[i];
        bool first = i == 0 || u[-1].key != u->key || u[-1].value != u->value;
        if (first) {
            u->alike = true;
            (void)candidates(c, u->key, u->value, &u->alike);
        } else {
            u->alike = u[-1].alike;
        }
        u->taken = 0;
        if (u->alike) {
            u->placed = false;
            c->versions[u->place_in_part] = 0;
        }
    }
    for (uint32_t i = 0; i < c->write_count; i++) {
        struct index_write *w = &c->writes[i];
        if (c->part->history->operations[w->op].outcome != HISTORY_UNKNOWN)
            continue;
        struct index_unknown *first = first_of(c, w->key, w->value);
        if (!same_unknown(c, first, w->key, w->value) || !first->alike)
            continue;
        struct index_unknown *u = first + first->taken++;
        u->placed = true;
        w->op = c->part->ops[u->place_in_part];
        c->versions[u->place_in_part] = w->version;
    }
}

/* ---- what reads tell of writes of unknown outcome ---- */

static bool is_written(const struct index_check *c, uint32_t key, uint64_t version)
{
    uint32_t behind = index_write_behind(c, key, version);
    return behind > 0 && c->writes[behind - 1].key == key &&
           c->writes[behind - 1].version == version;
}

static void observe(struct index_check *c, struct observations *o, uint32_t key, uint32_t value,
                    uint64_t version, uint32_t line)
{
    if (version == 0 || is_written(c, key, version))
        return;
    if (o->count == o->room) {
        o->room = o->room * 2 + 16;
        o->list = mem_realloc(o->list, o->room * sizeof(*o->list));
    }
    o->list[o->count++] =
        (struct observation){.version = version, .key = key, .value = value, .line = line};
}

static void observe_all(struct index_check *c, struct observations *o)
{
    for (uint32_t i = 0; i < c->part->count; i++) {
        const struct history_operation *op = operation(c, i);
        if (!history_is_read(op) || !part_has(c->part, op))
            continue;
        if (op->kind == HISTORY_GET)
            observe(c, o, op->key, op->value, index_place(op->version), op->call_line);
        for (uint32_t k = 0; k < op->item_count; k++) {
            const struct history_item *item = &c->part->history->items[op->items + k];
            observe(c, o, item->key, item->value, index_place(item->version), op->call_line);
        }
    }
}

static int observation_order(const void *a, const void *b)
{
    const struct observation *x = a, *y = b;
    if (x->version != y->version)
        return x->version < y->version ? -1 : 1;
    return (x->key > y->key) - (x->key < y->key);
}

static int unknown_order(const void *a, const void *b)
{
    const struct index_unknown *x = a, *y = b;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    if (x->value != y->value)
        return x->value < y->value ? -1 : 1;
    return (x->call > y->call) - (x->call < y->call);
}

static bool ends_with(const struct history *h, uint32_t value, uint32_t suffix)
{
    if (value == 0)
        return false;
    struct slice whole = intern_get(&h->values, value), end = intern_get(&h->values, suffix);
    return whole.len >= end.len &&
           (end.len == 0 || memcmp(whole.data + whole.len - end.len, end.data, end.len) == 0);
}

/* The first that was not placed and may have written the value; NULL. */
static struct index_unknown *writer_of(struct index_check *c, const struct observation *o)
{
    struct index_unknown *first = first_of(c, o->key, o->value);
    for (; same_unknown(c, first, o->key, o->value); first++)
        if (!first->placed && first->kind != HISTORY_APPEND)
            return first;
    if (!c->appends_unknown)
        return NULL;
    for (uint32_t i = 0; i < c->unknown_count; i++) {
        struct index_unknown *u = &c->unknown[i];
        if (u->key == o->key && !u->placed && u->kind == HISTORY_APPEND &&
            ends_with(c->part->history, o->value, u->value))
            return u;
    }
    return NULL;
}

/* First by the values that were seen, which tell most, then by what was seen to be absent. */
static enum history_verdict place_unknown(struct index_check *c, const struct observations *o,
                                          bool absent)
{
    for (uint32_t i = 0; i < o->count; i++) {
        const struct observation *seen = &o->list[i], *before = i > 0 ? seen - 1 : NULL;
        if ((seen->value == 0) != absent || (absent && is_written(c, seen->key, seen->version)))
            continue;
        if (before && before->version == seen->version && before->key == seen->key)
            continue; /* another value would be noticed where gets are placed */
        struct index_unknown *u = writer_of(c, seen);
        if (!u && before && before->version == seen->version)
            continue; /* a batch that was found by another of its keys */
        if (!u)
            return verdict_why(c->why, VERDICT_VIOLATED,
                               "line %" PRIu32 " read version %" PRIu64
                               ", which no operation wrote",
                               seen->line, index_shown(seen->version));
        bool alike = u->kind != HISTORY_APPEND;
        bool several = candidates(c, seen->key, seen->value, &alike) > 1;
        c->guessed = c->guessed || u->kind == HISTORY_APPEND || (several && !alike);
        u->placed = true;
        add_writes(c, u->place_in_part, seen->version);
        mark_placed(c, u->place_in_part);
    }
    return VERDICT_LINEARIZABLE;
}

enum history_verdict index_collect(struct index_check *c)
{
    enum history_verdict v = VERDICT_LINEARIZABLE;
    struct observations seen = {0};
    bool bears = false;
    c->versions = mem_calloc(c->part->count + UINT64_C(1), sizeof(*c->versions));
    for (uint32_t i = 0; i < c->part->count && v == VERDICT_LINEARIZABLE; i++)
        if (part_has(c->part, operation(c, i)))
            v = take_operation(c, i, &bears);
    if (v == VERDICT_LINEARIZABLE && !bears)
        v = verdict_why(c->why, VERDICT_UNFIT, "no reply bears an index");
    if (v != VERDICT_LINEARIZABLE)
        return v;
    for (uint32_t i = 0; i < c->unknown_count; i++)
        c->appends_unknown = c->appends_unknown || c->unknown[i].kind == HISTORY_APPEND;
    if (c->unknown_count > 0)
        qsort(c->unknown, c->unknown_count, sizeof(*c->unknown), unknown_order);
    index_sort_writes(c);
    if (c->unknown_count > 0)
        observe_all(c, &seen);
    if (seen.count > 0) {
        qsort(seen.list, seen.count, sizeof(*seen.list), observation_order);
        v = place_unknown(c, &seen, false);
        index_sort_writes(c);
        if (v == VERDICT_LINEARIZABLE)
            v = place_unknown(c, &seen, true);
        index_sort_writes(c);
    }
    mem_free(seen.list);
    return v;
}

void index_release(struct index_check *c)
{
    mem_free(c->writes);
    mem_free(c->unknown);
    mem_free(c->versions);
    mem_free(c->places);
}
