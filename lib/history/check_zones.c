/*
 * Gibbons and Korach, "Testing Shared Memories", SIAM J. Comput. 26 (1997), section 4.2: registers
 * whose values are written once each.
 *
 * A cluster is a write with the reads of its value. Let f be the earliest return in it and s the
 * latest call. If f < s, all of the cluster's value must be there from f to s: a forward zone. Else
 * it is enough that it is there at some moment from s to f: a backward zone. The history is
 * linearizable if and only if no read returns before its write is called, forward zones do not
 * overlap, and no backward zone lies wholly within a forward one.
 *
 * Absent is the value that was written before all. A write of unknown outcome has no return; if
 * nobody read it, it need not have happened.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/history/check_internal.h"

struct cluster {
    uint32_t f, s;
    uint32_t write_call; /* 0: absent, before all */
    uint32_t value;
    uint32_t writer; /* operation; HISTORY_NO_ID: none */
    bool read;
    bool unknown;
};

struct zones {
    const struct history_part *part;
    struct cluster *clusters; /* [0]: absent */
    uint32_t count;
    uint32_t *slots; /* value -> cluster, a power of two of them */
    uint32_t slot_mask;
    char *why;
};

static const struct history_operation *operation(const struct zones *z, uint32_t i)
{
    return &z->part->history->operations[z->part->ops[i]];
}

static uint32_t *slot_of(struct zones *z, uint32_t value)
{
    uint32_t at = (value * UINT32_C(2654435761)) & z->slot_mask;
    while (z->slots[at] && z->clusters[z->slots[at]].value != value)
        at = (at + 1) & z->slot_mask;
    return &z->slots[at];
}

/* ---- clusters ---- */

static enum history_verdict add_write(struct zones *z, uint32_t i)
{
    const struct history_operation *op = operation(z, i);
    uint32_t *slot = slot_of(z, op->value);
    if (*slot)
        return verdict_why(z->why, VERDICT_UNFIT,
                           "a value is written twice (lines %" PRIu32 " and %" PRIu32 ")",
                           z->part->history->operations[z->clusters[*slot].writer].call_line,
                           op->call_line);
    uint32_t ret = part_return(z->part, op);
    *slot = z->count;
    z->clusters[z->count++] = (struct cluster){.f = ret,
                                               .s = op->call,
                                               .write_call = op->call,
                                               .value = op->value,
                                               .writer = z->part->ops[i],
                                               .unknown = ret == HISTORY_NEVER};
    return VERDICT_LINEARIZABLE;
}

static enum history_verdict add_writes(struct zones *z)
{
    for (uint32_t i = 0; i < z->part->count; i++) {
        const struct history_operation *op = operation(z, i);
        if (op->kind != HISTORY_GET && op->kind != HISTORY_PUT)
            return verdict_why(z->why, VERDICT_UNFIT,
                               "a %s is neither put nor get (line %" PRIu32 ")",
                               history_kind_name(op->kind), op->call_line);
        if (op->kind == HISTORY_GET || !part_has(z->part, op))
            continue;
        enum history_verdict v = add_write(z, i);
        if (v != VERDICT_LINEARIZABLE)
            return v;
    }
    return VERDICT_LINEARIZABLE;
}

static enum history_verdict add_read(struct zones *z, const struct history_operation *op)
{
    uint32_t which = op->value ? *slot_of(z, op->value) : 0;
    if (op->value && !which)
        return verdict_why(z->why, VERDICT_VIOLATED,
                           "the get of line %" PRIu32 " read what nobody had written",
                           op->call_line);
    struct cluster *c = &z->clusters[which];
    uint32_t ret = part_return(z->part, op);
    if (ret < c->write_call)
        return verdict_why(z->why, VERDICT_VIOLATED,
                           "the get of line %" PRIu32
                           " returned before the put that it read was called",
                           op->call_line);
    c->read = true;
    if (ret < c->f)
        c->f = ret;
    if (op->call > c->s)
        c->s = op->call;
    return VERDICT_LINEARIZABLE;
}

/* ---- zones ---- */

static uint32_t line_of(const struct zones *z, const struct cluster *c)
{
    return c->writer == HISTORY_NO_ID ? 0 : z->part->history->operations[c->writer].call_line;
}

static enum history_verdict clash(struct zones *z, const struct cluster *within,
                                  const struct cluster *other)
{
    if (within->writer == HISTORY_NO_ID)
        return verdict_why(z->why, VERDICT_VIOLATED,
                           "absent was read after the put of line %" PRIu32 " had taken effect",
                           line_of(z, other));
    if (other->writer == HISTORY_NO_ID)
        return clash(z, other, within);
    return verdict_why(z->why, VERDICT_VIOLATED,
                       "the value of the put of line %" PRIu32 " was there without a gap while that"
                       " of line %" PRIu32 " must have been there too",
                       line_of(z, within), line_of(z, other));
}

/* The forward zones as f << 32 | cluster, in order; a violation if two overlap. */
static enum history_verdict forward_zones(struct zones *z, uint64_t *forward, uint32_t *count)
{
    uint64_t *spare = mem_alloc(z->count * sizeof(*spare));
    enum history_verdict v = VERDICT_LINEARIZABLE;
    *count = 0;
    for (uint32_t i = 0; i < z->count; i++)
        if (z->clusters[i].f < z->clusters[i].s)
            forward[(*count)++] = (uint64_t)z->clusters[i].f << 32 | i;
    sort_numbers(forward, spare, *count);
    for (uint32_t i = 1; i < *count && v == VERDICT_LINEARIZABLE; i++) {
        struct cluster *before = &z->clusters[(uint32_t)forward[i - 1]];
        struct cluster *after = &z->clusters[(uint32_t)forward[i]];
        if (after->f < before->s)
            v = clash(z, before, after);
    }
    mem_free(spare);
    return v;
}

static enum history_verdict backward_zones(struct zones *z, const uint64_t *forward, uint32_t count)
{
    for (uint32_t i = 1; i < z->count; i++) {
        const struct cluster *c = &z->clusters[i];
        if (c->f < c->s || (c->unknown && !c->read))
            continue;
        uint32_t low = 0, high = count; /* the last forward zone that begins before s */
        while (low < high) {
            uint32_t middle = low + (high - low) / 2;
            if (forward[middle] >> 32 < c->s)
                low = middle + 1;
            else
                high = middle;
        }
        if (low > 0 && c->f < z->clusters[(uint32_t)forward[low - 1]].s)
            return clash(z, &z->clusters[(uint32_t)forward[low - 1]], c);
    }
    return VERDICT_LINEARIZABLE;
}

static enum history_verdict judge(struct zones *z)
{
    enum history_verdict v = add_writes(z);
    for (uint32_t i = 0; i < z->part->count && v == VERDICT_LINEARIZABLE; i++) {
        const struct history_operation *op = operation(z, i);
        if (op->kind == HISTORY_GET && part_has(z->part, op))
            v = add_read(z, op);
    }
    if (v != VERDICT_LINEARIZABLE)
        return v;
    uint64_t *forward = mem_alloc(z->count * sizeof(*forward));
    uint32_t count;
    v = forward_zones(z, forward, &count);
    if (v == VERDICT_LINEARIZABLE)
        v = backward_zones(z, forward, count);
    mem_free(forward);
    return v;
}

enum history_verdict check_zones(const struct history_part *p, char *why)
{
    if (p->several_keys)
        return verdict_why(why, VERDICT_UNFIT, "a scan or a batch ties keys together");
    struct zones z = {.part = p, .count = 1, .slot_mask = 15, .why = why};
    while (z.slot_mask < p->count * UINT64_C(2))
        z.slot_mask = z.slot_mask * 2 + 1;
    z.clusters = mem_alloc((p->count + UINT64_C(1)) * sizeof(*z.clusters));
    z.clusters[0] = (struct cluster){.f = 1, .s = 0, .writer = HISTORY_NO_ID};
    z.slots = mem_calloc(z.slot_mask + UINT64_C(1), sizeof(*z.slots));
    enum history_verdict v = judge(&z);
    mem_free(z.clusters);
    mem_free(z.slots);
    return v;
}
