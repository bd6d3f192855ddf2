/*
 * The log as a witness: writes took effect in the order of the log indexes that replies bear
 * (`version`), and what was read must be the state somewhere in that order, in real time.
 *
 * Every operation is given a place in the log. A write stands at its index, a scan behind the index
 * that it was served at. A get may stand anywhere from the write that it read to the next write of
 * its key; it is given the earliest such place that is not before the places of all operations that
 * had returned when it was called. If that place does not exist, or a write or scan stands before
 * such an operation, the order breaks real time, and since every place is the earliest possible, no
 * other choice would do. Operations that have no outcome and were read are placed where the read
 * says that they are; those that nobody read need not have happened.
 *
 * What does not bear an index is known by its value: a get without one is placed as early as its
 * value allows. So only writes must bear one, and scans.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/mem.h"
#include "lib/history/index_internal.h"

/* ---- the writes of a key ---- */

static int write_order(const void *a, const void *b)
{
    const struct index_write *x = a, *y = b;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return (x->version > y->version) - (x->version < y->version);
}

void index_sort_writes(struct index_check *c)
{
    if (c->write_count > 0)
        qsort(c->writes, c->write_count, sizeof(*c->writes), write_order);
    for (uint32_t i = 0; i < c->write_count; i++)
        c->writes[i].explained = false;
    c->sorted_count = c->write_count;
}

uint32_t index_write_behind(const struct index_check *c, uint32_t key, uint64_t version)
{
    uint32_t low = 0, high = c->sorted_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct index_write *w = &c->writes[middle];
        if (w->key < key || (w->key == key && w->version <= version))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The last write of the key up to a version; NULL: none, so it is absent. */
static const struct index_write *write_at(const struct index_check *c, uint32_t key,
                                          uint64_t version)
{
    uint32_t behind = index_write_behind(c, key, version);
    return behind > 0 && c->writes[behind - 1].key == key ? &c->writes[behind - 1] : NULL;
}

/* Where the next write of the key stands; UINT64_MAX: nowhere. */
static uint64_t next_version(const struct index_check *c, uint32_t key, uint64_t version)
{
    uint32_t behind = index_write_behind(c, key, version);
    if (behind < c->write_count && c->writes[behind].key == key)
        return c->writes[behind].version;
    return UINT64_MAX;
}

/* ---- what a write of unknown outcome may explain ---- */

/* Whether one that was not placed may have written this; HISTORY_NO_ID: anything. */
static bool may_explain(const struct index_check *c, uint32_t key, uint32_t value)
{
    for (uint32_t i = 0; i < c->unknown_count; i++) {
        const struct index_unknown *u = &c->unknown[i];
        if (u->placed || u->key != key)
            continue;
        if (value == HISTORY_NO_ID || u->value == value || u->kind == HISTORY_APPEND)
            return true;
    }
    return false;
}

static enum history_verdict contradiction(struct index_check *c, uint32_t key, uint32_t value,
                                          const struct history_operation *op, const char *what)
{
    if (may_explain(c, key, value))
        return verdict_why(
            c->why, VERDICT_UNFIT,
            "an operation of unknown outcome without index may explain line %" PRIu32,
            op->call_line);
    return verdict_why(c->why, VERDICT_VIOLATED, "the %s of line %" PRIu32 " %s",
                       history_kind_name(op->kind), op->call_line, what);
}

/* What must have been written for `seen` to be read where `w` is expected: behind an append it may
 * be anything, since what was appended to may be of unknown outcome. */
static uint32_t believed(const struct index_write *w, uint32_t seen)
{
    return w && w->appended ? HISTORY_NO_ID : seen;
}

/* ---- values in the order of the log ---- */

/* `value` without what was put behind it; HISTORY_NO_ID: it does not end so. */
static uint32_t without_suffix(struct history *h, uint32_t value, uint32_t suffix)
{
    if (value == 0)
        return HISTORY_NO_ID;
    struct slice whole = intern_get(&h->values, value), end = intern_get(&h->values, suffix);
    if (whole.len < end.len || end.len == 0 ||
        memcmp(whole.data + whole.len - end.len, end.data, end.len) != 0)
        return HISTORY_NO_ID;
    if (whole.len == end.len)
        return 0;
    return intern_add(&h->values, slice_of(whole.data, whole.len - end.len));
}

/* The key must have had this value directly before write `i`: an operation of unknown outcome wrote
 * it there, or what the appends before it were put behind. It stands as late as it can, which
 * leaves most room. True: one was placed, and all is to be replayed. */
static bool want_before(struct index_check *c, uint32_t i, uint32_t value)
{
    struct history *h = c->part->history;
    uint32_t key = c->writes[i].key;
    for (; value != HISTORY_NO_ID; i--) {
        if (c->writes[i].explained)
            return true;
        if (index_infer(c, key, value, c->writes[i].version - 1)) {
            c->writes[i].explained = true;
            return true;
        }
        if (i == 0 || c->writes[i - 1].key != key ||
            h->operations[c->writes[i - 1].op].kind != HISTORY_APPEND)
            return false;
        value = without_suffix(h, value, h->operations[c->writes[i - 1].op].value);
    }
    return false;
}

/* The key must have been there directly before write `i`, with whatever value: of the puts of
 * unknown outcome, that which was called first fits earliest. */
static bool want_there(struct index_check *c, uint32_t i)
{
    uint32_t key = c->writes[i].key;
    const struct index_unknown *first = NULL;
    for (uint32_t k = 0; k < c->unknown_count && !c->writes[i].explained; k++) {
        const struct index_unknown *u = &c->unknown[k];
        bool writes = u->value != 0 && u->kind != HISTORY_APPEND;
        if (u->key == key && writes && !u->placed && (!first || u->call < first->call))
            first = u;
    }
    if (!first || !index_infer(c, key, first->value, c->writes[i].version - 1))
        return false;
    c->writes[i].explained = true;
    return true;
}

/* What was read behind an append tells what it was put behind. */
static void want_read(struct index_check *c, uint32_t key, uint32_t value, uint64_t place)
{
    uint32_t behind = index_write_behind(c, key, place);
    if (place == 0 || behind == 0 || behind > c->sorted_count)
        return;
    const struct index_write *w = &c->writes[behind - 1];
    const struct history_operation *op = &c->part->history->operations[w->op];
    if (w->key != key || w->version != place || w->value == value || op->kind != HISTORY_APPEND)
        return;
    want_before(c, behind - 1, without_suffix(c->part->history, value, op->value));
}

static void want_reads(struct index_check *c)
{
    const struct history *h = c->part->history;
    for (uint32_t i = 0; i < c->part->count; i++) {
        const struct history_operation *op = &h->operations[c->part->ops[i]];
        if (!history_is_read(op) || !part_has(c->part, op))
            continue;
        if (op->kind == HISTORY_GET)
            want_read(c, op->key, op->value, index_place(op->version));
        for (uint32_t k = 0; k < op->item_count; k++)
            want_read(c, h->items[op->items + k].key, h->items[op->items + k].value,
                      index_place(h->items[op->items + k].version));
    }
}

/* ---- what is shown without a version ---- */

static const struct history_item *item_of(const struct index_check *c,
                                          const struct history_operation *op, uint32_t key)
{
    for (uint32_t i = 0; i < op->item_count; i++)
        if (c->part->history->items[op->items + i].key == key)
            return &c->part->history->items[op->items + i];
    return NULL;
}

static int index_order(const void *a, const void *b, void *argument)
{
    const struct history_operation *ops = argument;
    const struct history_operation *x = &ops[*(const uint32_t *)a], *y = &ops[*(const uint32_t *)b];
    return (x->index > y->index) - (x->index < y->index);
}

/* A key that is shown otherwise than the log has it was written by an operation of unknown outcome:
 * what is absent bears no version that would have told. Once for each key, since what is found
 * explains what is shown later. */
static void want_value(struct index_check *c, uint32_t k, uint32_t seen, uint64_t index,
                       bool *touched)
{
    uint32_t key = c->part->keys[k];
    const struct index_write *w = write_at(c, key, index_place(index));
    if (touched[k] || (w ? w->value : 0) == seen)
        return;
    touched[k] = true;
    index_infer(c, key, seen, index_place(index) - 1);
}

static void want_shown(struct index_check *c, const struct history_operation *op, bool *touched)
{
    const struct history_part *p = c->part;
    uint32_t from, to;
    keys_with_prefix(p->history, p->keys, p->key_count, op->key, &from, &to);
    if (op->kind == HISTORY_GET) { /* of those with this prefix, the key itself is the first */
        want_value(c, from, op->value, op->index, touched);
        return;
    }
    for (uint32_t k = from; k < to; k++) {
        const struct history_item *item = item_of(c, op, p->keys[k]);
        if (!item || item->version == 0)
            want_value(c, k, item ? item->value : 0, op->index, touched);
    }
}

/* Scans, and gets that bear the index that they were served at but no version. */
static void want_all_shown(struct index_check *c)
{
    const struct history_part *p = c->part;
    uint32_t *shown = mem_alloc((p->count + UINT64_C(1)) * sizeof(*shown)), count = 0;
    bool *touched = mem_calloc(p->key_count + UINT64_C(1), sizeof(*touched));
    for (uint32_t i = 0; i < p->count; i++) {
        const struct history_operation *op = &p->history->operations[p->ops[i]];
        bool shows = op->kind == HISTORY_SCAN ||
                     (op->kind == HISTORY_GET && op->version == 0 && op->index > 0);
        if (shows && part_has(p, op))
            shown[count++] = p->ops[i];
    }
    qsort_r(shown, count, sizeof(*shown), index_order, p->history->operations);
    for (uint32_t i = 0; i < count; i++)
        want_shown(c, &p->history->operations[shown[i]], touched);
    mem_free(touched);
    mem_free(shown);
}

/* ---- replay ---- */

/* What stands before each write must be what it says, and gives appends their values. */
static enum history_verdict replay(struct index_check *c)
{
    for (uint32_t i = 0; i < c->sorted_count; i++) {
        struct index_write *w = &c->writes[i];
        const struct history_operation *op = &c->part->history->operations[w->op];
        bool first = i == 0 || c->writes[i - 1].key != w->key;
        uint32_t before = first ? 0 : c->writes[i - 1].value;
        if (!first && c->writes[i - 1].version == w->version)
            return verdict_why(c->why, VERDICT_VIOLATED,
                               "lines %" PRIu32 " and %" PRIu32
                               " wrote the same key at the same index, %" PRIu64,
                               c->part->history->operations[c->writes[i - 1].op].call_line,
                               op->call_line, index_shown(w->version));
        if (op->kind == HISTORY_CAS && before != op->expect && want_before(c, i, op->expect))
            continue;
        if (op->kind == HISTORY_CAS && before != op->expect)
            return contradiction(c, w->key, believed(first ? NULL : w - 1, op->expect), op,
                                 "was done, but its key had another value at its index");
        if (op->kind == HISTORY_DELETE && op->existed == HISTORY_EXISTED && before == 0 &&
            want_there(c, i))
            continue;
        if (op->kind == HISTORY_DELETE && op->existed == HISTORY_EXISTED && before == 0)
            return contradiction(c, w->key, HISTORY_NO_ID, op,
                                 "deleted something, but its key was absent at its index");
        if (op->kind == HISTORY_DELETE && op->existed == HISTORY_WAS_ABSENT && before != 0 &&
            want_before(c, i, 0))
            continue;
        if (op->kind == HISTORY_DELETE && op->existed == HISTORY_WAS_ABSENT && before != 0)
            return contradiction(c, w->key, 0, op,
                                 "deleted nothing, but its key was there at its index");
        if (op->kind == HISTORY_APPEND) {
            w->value = history_concat(c->part->history, before, op->value);
            w->appended = c->appends = true;
        }
    }
    return VERDICT_LINEARIZABLE;
}

static bool found_more(const struct index_check *c)
{
    return c->changed || c->write_count > c->sorted_count;
}

/* Replays until nothing more is found out about operations of unknown outcome. */
static enum history_verdict replay_all(struct index_check *c)
{
    enum history_verdict v;
    do {
        index_sort_writes(c);
        index_share_out(c);
        c->changed = false;
        v = replay(c);
        if (v == VERDICT_LINEARIZABLE && c->appends && c->unknown_count > 0 && !found_more(c))
            want_reads(c);
        if (v == VERDICT_LINEARIZABLE && c->unknown_count > 0 && !found_more(c))
            want_all_shown(c);
    } while (v == VERDICT_LINEARIZABLE && found_more(c));
    return v;
}

/* ---- places ---- */

/* The earliest place from `low` on where the key has the value; UINT64_MAX: none. */
static uint64_t place_by_value(struct index_check *c, uint32_t key, uint32_t value, uint64_t low)
{
    const struct index_write *w = write_at(c, key, low);
    if ((w ? w->value : 0) == value)
        return low;
    if (may_explain(c, key, c->appends ? HISTORY_NO_ID : value))
        c->guessed = true; /* an earlier place is possible */
    for (uint32_t i = index_write_behind(c, key, low);
         i < c->write_count && c->writes[i].key == key; i++)
        if (c->writes[i].value == value)
            return c->writes[i].version;
    return UINT64_MAX;
}

/* Of a get that bears no version: by its index, or by its value alone. */
static enum history_verdict place_unversioned(struct index_check *c,
                                              const struct history_operation *op, uint64_t low,
                                              uint64_t *place)
{
    if (op->index == 0) {
        *place = place_by_value(c, op->key, op->value, low);
        if (*place != UINT64_MAX)
            return VERDICT_LINEARIZABLE;
        return contradiction(c, op->key, c->appends ? HISTORY_NO_ID : op->value, op,
                             "read what its key did not have then, by the indexes");
    }
    const struct index_write *w = write_at(c, op->key, index_place(op->index));
    if ((w ? w->value : 0) != op->value)
        return contradiction(c, op->key, believed(w, op->value), op,
                             "read what its key did not have at its index");
    *place = w && w->version > low ? w->version : low;
    if (*place < next_version(c, op->key, index_place(op->index)))
        return VERDICT_LINEARIZABLE;
    return contradiction(c, op->key, op->value, op, "is stale: it read what was overwritten");
}

static enum history_verdict place_get(struct index_check *c, const struct history_operation *op,
                                      uint64_t low, uint64_t *place)
{
    if (op->version == 0)
        return place_unversioned(c, op, low, place);
    uint64_t version = index_place(op->version);
    const struct index_write *w = write_at(c, op->key, version);
    if (!w || w->version != version)
        return verdict_why(c->why, VERDICT_VIOLATED,
                           "the get of line %" PRIu32 " read version %" PRIu64
                           ", which no operation wrote",
                           op->call_line, op->version);
    if (w->value != op->value && w->appended)
        return contradiction(c, op->key, HISTORY_NO_ID, op,
                             "read another value than was appended to at that version");
    if (w->value != op->value)
        return verdict_why(c->why, VERDICT_VIOLATED,
                           "the get of line %" PRIu32 " read another value than was written at"
                           " version %" PRIu64,
                           op->call_line, op->version);
    uint64_t next = next_version(c, op->key, version);
    *place = version > low ? version : low;
    if (*place < next)
        return VERDICT_LINEARIZABLE;
    return verdict_why(c->why, VERDICT_VIOLATED,
                       "the get of line %" PRIu32 " is stale: version %" PRIu64
                       " was overwritten at %" PRIu64 ", and a place from %" PRIu64 " on is needed",
                       op->call_line, op->version, index_shown(next), index_shown(low));
}

/* A scan's items against the state at its index, put together from the versions of the writes. Keys
 * mostly come in order, so the item is looked for where the last one was. */
static enum history_verdict check_scan(struct index_check *c, const struct history_operation *op)
{
    const struct history_part *p = c->part;
    const struct history_item *items = p->history->items + op->items;
    uint32_t from, to, next = 0, found = 0;
    keys_with_prefix(p->history, p->keys, p->key_count, op->key, &from, &to);
    for (uint32_t k = from; k < to; k++) {
        const struct index_write *w = write_at(c, p->keys[k], index_place(op->index));
        uint32_t value = w ? w->value : 0;
        const struct history_item *item = next < op->item_count && items[next].key == p->keys[k]
                                              ? &items[next]
                                              : item_of(c, op, p->keys[k]);
        uint32_t seen = item ? item->value : 0;
        if (item) {
            next = (uint32_t)(item - items) + 1;
            found++;
        }
        if (seen != value)
            return contradiction(c, p->keys[k], believed(w, seen), op,
                                 "does not show what was there at its index");
        if (item && item->version && (!w || index_place(item->version) != w->version))
            return verdict_why(c->why, VERDICT_VIOLATED,
                               "the scan of line %" PRIu32 " shows version %" PRIu64
                               " of a key that had version %" PRIu64 " at its index",
                               op->call_line, item->version, w ? index_shown(w->version) : 0);
    }
    if (found == op->item_count)
        return VERDICT_LINEARIZABLE;
    return verdict_why(c->why, VERDICT_VIOLATED,
                       "the scan of line %" PRIu32 " shows a key twice, or one without its prefix",
                       op->call_line);
}

/* ---- real time ---- */

static enum history_verdict too_late(struct index_check *c, const struct history_operation *op,
                                     uint64_t place, uint64_t low)
{
    return verdict_why(
        c->why, VERDICT_VIOLATED,
        "the %s of line %" PRIu32 " stands at %" PRIu64 " in the log, but what stands at %" PRIu64
        " had been told before it was called",
        history_kind_name(op->kind), op->call_line, index_shown(place), index_shown(low));
}

/* The place of operation `i` of the part, which is called when all up to `low` had returned. */
static enum history_verdict place(struct index_check *c, uint32_t i, uint64_t low)
{
    const struct history_operation *op = &c->part->history->operations[c->part->ops[i]];
    enum history_verdict v = VERDICT_LINEARIZABLE;
    if (op->kind == HISTORY_GET)
        return place_get(c, op, low, &c->places[i]);
    if (op->kind == HISTORY_SCAN) {
        c->places[i] = index_place(op->index);
        if (c->places[i] < low)
            return too_late(c, op, c->places[i], low);
        return check_scan(c, op);
    }
    uint64_t version = c->versions[i];
    if (version == 0 && op->outcome == HISTORY_OK) { /* a delete of what was absent */
        c->places[i] = place_by_value(c, op->key, 0, low);
        if (c->places[i] == UINT64_MAX)
            v = contradiction(c, op->key, 0, op, "deleted nothing, but its key was there then");
        return v;
    }
    if (version == 0)
        return v;
    c->places[i] = version;
    return version > low ? v : too_late(c, op, version, low);
}

static enum history_verdict sweep(struct index_check *c)
{
    const struct history_part *p = c->part;
    uint32_t return_count, next = 0;
    uint64_t *returns = part_returns(p, &return_count);
    uint64_t low = 0;
    enum history_verdict v = VERDICT_LINEARIZABLE;
    for (uint32_t i = 0; i < p->count && v == VERDICT_LINEARIZABLE; i++) {
        const struct history_operation *op = &p->history->operations[p->ops[i]];
        if (!part_has(p, op))
            continue;
        for (; next < return_count && returns[next] >> 32 < op->call; next++) {
            uint64_t returned = c->places[(uint32_t)returns[next]];
            low = returned > low ? returned : low;
        }
        v = place(c, i, low);
    }
    mem_free(returns);
    return v;
}

enum history_verdict check_index(const struct history_part *p, char *why)
{
    struct index_check c = {.part = p, .why = why};
    enum history_verdict v = index_collect(&c);
    if (v == VERDICT_LINEARIZABLE)
        v = replay_all(&c);
    if (v == VERDICT_LINEARIZABLE) {
        c.places = mem_calloc(p->count + UINT64_C(1), sizeof(*c.places));
        v = sweep(&c);
    }
    if (v == VERDICT_VIOLATED && c.guessed)
        v = verdict_why(why, VERDICT_UNFIT,
                        "which of several operations of unknown outcome was read is not clear");
    index_release(&c);
    return v;
}
