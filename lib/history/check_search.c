/*
 * Wing and Gong, "Testing and Verifying Concurrent Objects", 1993, with Lowe's memory of what was
 * seen ("Testing for Linearizability", 2017): depth first over the orders in which operations may
 * have taken effect. Next may be any operation that was called before the first return that is left.
 *
 * What keeps it short:
 * - A read that agrees with the state is taken at once: the state stays, and an order that takes it
 *   later stays one if it is moved here. So only writes are branched over.
 * - A set of operations with a state is seen once. It is kept as a fingerprint of 128 bits: with 10^9
 *   of them the odds that any two are taken for one are 10^-21.
 * - Operations of unknown outcome are tried last, equal ones as one, and only if something that may
 *   come next notices them: a linearization without those that nobody notices is one, too. Since
 *   they do not return, they may stand directly before who notices them.
 */
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/mem.h"
#include "lib/history/search_internal.h"

enum { SEEN_AT_FIRST = 1 << 8 };

/* ---- fingerprints ---- */

static uint64_t mix(uint64_t x) /* splitmix64 */
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

enum member_type { MEMBER_SLOT, MEMBER_OPERATION, MEMBER_UNKNOWN };

static void toggle(struct search *s, enum member_type type, uint32_t which, uint32_t value)
{
    uint64_t x = ((uint64_t)which << 32 | value);
    uint64_t salt = UINT64_C(0x632be59bd9b4e019) * (type + UINT64_C(1));
    s->now.a ^= mix(x ^ salt);
    s->now.b ^= mix(mix(x + salt) + UINT64_C(0x2545f4914f6cdd1d));
}

static bool is_free(const struct fingerprint *f)
{
    return f->a == 0 && f->b == 0;
}

static struct fingerprint *place_of(const struct search *s, struct fingerprint f)
{
    uint64_t at = f.a & s->seen_mask;
    while (!is_free(&s->seen[at]) && (s->seen[at].a != f.a || s->seen[at].b != f.b))
        at = (at + 1) & s->seen_mask;
    return &s->seen[at];
}

static bool grow_seen(struct search *s, uint64_t bytes_max)
{
    uint64_t old_count = s->seen_mask + 1, more = old_count * 2 * sizeof(*s->seen);
    if (s->bytes + more > bytes_max)
        return false;
    struct fingerprint *old = s->seen;
    s->seen = mem_calloc(old_count * 2, sizeof(*s->seen));
    s->seen_mask = old_count * 2 - 1;
    for (uint64_t i = 0; i < old_count; i++)
        if (!is_free(&old[i]))
            *place_of(s, old[i]) = old[i];
    mem_free(old);
    s->bytes += more / 2;
    return true;
}

/* Whether this set with this state is new. */
static bool remember(struct search *s)
{
    struct fingerprint f = s->now;
    if (is_free(&f))
        f.a = 1;
    struct fingerprint *place = place_of(s, f);
    if (!is_free(place))
        return false;
    *place = f;
    s->seen_count++;
    return true;
}

/* ---- effects on the state ---- */

static void set_slot(struct search *s, uint32_t slot, uint32_t value)
{
    if (s->undo_count == s->undo_room) {
        s->bytes -= s->undo_room * sizeof(*s->undo);
        s->undo_room = s->undo_room * 2 + 64;
        s->undo = mem_realloc(s->undo, s->undo_room * sizeof(*s->undo));
        s->bytes += s->undo_room * sizeof(*s->undo);
    }
    s->undo[s->undo_count++] = (struct search_pair){slot, s->slots[slot]};
    toggle(s, MEMBER_SLOT, slot, s->slots[slot]);
    toggle(s, MEMBER_SLOT, slot, value);
    s->slots[slot] = value;
}

static void undo_to(struct search *s, uint32_t undo_count)
{
    while (s->undo_count > undo_count) {
        struct search_pair p = s->undo[--s->undo_count];
        toggle(s, MEMBER_SLOT, p.slot, s->slots[p.slot]);
        toggle(s, MEMBER_SLOT, p.slot, p.value);
        s->slots[p.slot] = p.value;
    }
}

/* Whether what the operation says of the state holds. */
static bool agrees(const struct search *s, const struct search_effect *e)
{
    uint32_t now = s->slots[e->slot];
    switch ((enum history_kind)e->kind) {
    case HISTORY_GET: return now == e->value;
    case HISTORY_DIFFERS: return now != e->expect;
    case HISTORY_CAS: return now == e->expect;
    case HISTORY_DELETE:
        return e->existed == HISTORY_MAY_EXIST || (e->existed == HISTORY_EXISTED) == (now != 0);
    case HISTORY_SCAN:
        for (uint32_t i = 0; i < e->pair_count; i++)
            if (s->slots[s->pairs[e->pairs + i].slot] != s->pairs[e->pairs + i].value)
                return false;
        return !e->impossible;
    default: return true;
    }
}

/* Whether it changes nothing where it agrees, so that it can be taken at once. */
static bool only_reads(const struct search_effect *e)
{
    return e->kind == HISTORY_GET || e->kind == HISTORY_DIFFERS || e->kind == HISTORY_SCAN ||
           (e->kind == HISTORY_CAS && e->expect == e->value) ||
           (e->kind == HISTORY_DELETE && e->existed == HISTORY_WAS_ABSENT);
}

static void apply(struct search *s, const struct search_effect *e)
{
    switch ((enum history_kind)e->kind) {
    case HISTORY_PUT:
    case HISTORY_CAS: set_slot(s, e->slot, e->value); break;
    case HISTORY_DELETE: set_slot(s, e->slot, 0); break;
    case HISTORY_APPEND:
        set_slot(s, e->slot, history_concat(s->part->history, s->slots[e->slot], e->value));
        break;
    case HISTORY_BATCH:
        for (uint32_t i = 0; i < e->pair_count; i++)
            set_slot(s, s->pairs[e->pairs + i].slot, s->pairs[e->pairs + i].value);
        break;
    default: break;
    }
}

/* ---- the list ---- */

static void take_out(struct search *s, uint32_t node)
{
    s->next[s->previous[node]] = s->next[node];
    s->previous[s->next[node]] = s->previous[node];
}

static void put_back(struct search *s, uint32_t node)
{
    s->next[s->previous[node]] = node;
    s->previous[s->next[node]] = node;
}

static void push(struct search *s, enum search_frame_type type, uint32_t which, uint32_t undo)
{
    ASSERT(s->frame_count <= s->part->count);
    s->frames[s->frame_count++] = (struct search_frame){
        .which = which, .undo = undo, .window = s->window, .type = (uint8_t)type};
}

static void lift(struct search *s, uint32_t op)
{
    take_out(s, op * 2 + 1); /* first, so that the call's next is one that is still there */
    take_out(s, op * 2);
    toggle(s, MEMBER_OPERATION, op, 0);
    s->left--;
}

static void pop(struct search *s)
{
    const struct search_frame *f = &s->frames[--s->frame_count];
    undo_to(s, f->undo);
    if (f->type == FRAME_UNKNOWN) {
        struct search_group *g = &s->groups[f->which];
        toggle(s, MEMBER_UNKNOWN, f->which, --g->used);
        return;
    }
    put_back(s, f->which * 2);
    put_back(s, f->which * 2 + 1);
    toggle(s, MEMBER_OPERATION, f->which, 0);
    s->left++;
}

/* Takes all reads that agree; how many there were. */
static uint32_t settle(struct search *s)
{
    uint32_t taken = 0;
    for (uint32_t node = s->next[s->head]; node != s->head && node % 2 == 0;
         node = s->next[node]) {
        const struct search_effect *e = &s->ops[node / 2].effect;
        if (!only_reads(e) || !agrees(s, e))
            continue;
        push(s, FRAME_FORCED, node / 2, s->undo_count);
        lift(s, node / 2);
        taken++;
    }
    return taken;
}

/* ---- unknown outcomes ---- */

static bool notices(const struct search *s, const struct search_effect *e)
{
    bool looks = e->kind == HISTORY_CAS || e->kind == HISTORY_APPEND ||
                 (e->kind == HISTORY_DELETE && e->existed != HISTORY_MAY_EXIST);
    return looks && agrees(s, e);
}

static bool group_left(const struct search *s, const struct search_group *g)
{
    return g->used < g->count && s->calls[g->first + g->used] < s->window;
}

/* Whether something that may come next depends on the state. Reads that do have been taken. */
static bool may_be_noticed(const struct search *s)
{
    for (uint32_t node = s->next[s->head]; node != s->head && node % 2 == 0; node = s->next[node])
        if (notices(s, &s->ops[node / 2].effect))
            return true;
    for (uint32_t g = 0; g < s->group_count; g++)
        if (notices(s, &s->groups[g].effect) && group_left(s, &s->groups[g]))
            return true;
    return false;
}

/* ---- steps ---- */

static void start_over(struct search *s)
{
    s->at = s->next[s->head];
    s->group = UINT32_MAX;
}

/* What was chosen leads somewhere new, and the search goes on from there; or it is undone. */
static void accept(struct search *s, bool worth)
{
    if (worth && remember(s)) {
        start_over(s);
        return;
    }
    while (s->frames[s->frame_count - 1].type == FRAME_FORCED)
        pop(s);
    pop(s);
}

static void try_operation(struct search *s, uint32_t op)
{
    const struct search_effect *e = &s->ops[op].effect;
    s->at = s->next[op * 2];
    if (only_reads(e) || !agrees(s, e))
        return;
    push(s, FRAME_CHOSEN, op, s->undo_count);
    lift(s, op);
    apply(s, e);
    settle(s);
    accept(s, true);
}

static void try_group(struct search *s, uint32_t which)
{
    struct search_group *g = &s->groups[which];
    s->group = which + 1;
    if (!group_left(s, g) || !agrees(s, &g->effect))
        return;
    push(s, FRAME_UNKNOWN, which, s->undo_count);
    toggle(s, MEMBER_UNKNOWN, which, g->used++);
    apply(s, &g->effect);
    accept(s, settle(s) > 0 || may_be_noticed(s));
}

/* False: nothing is left to be tried. */
static bool backtrack(struct search *s)
{
    while (s->frame_count > 0 && s->frames[s->frame_count - 1].type == FRAME_FORCED)
        pop(s);
    if (s->frame_count == 0)
        return false;
    struct search_frame f = s->frames[s->frame_count - 1];
    pop(s);
    s->window = f.window;
    s->at = f.type == FRAME_CHOSEN ? s->next[f.which * 2] : s->head;
    s->group = f.type == FRAME_CHOSEN ? UINT32_MAX : f.which + 1;
    return true;
}

enum history_verdict search_run(struct search *s, uint64_t steps, uint64_t bytes_max)
{
    if (!s->begun) {
        s->begun = true;
        settle(s);
        start_over(s);
    }
    for (; s->left > 0; steps--, s->steps++) {
        if (steps == 0)
            return VERDICT_OPEN;
        if (s->seen_count > s->seen_mask / 2 && !grow_seen(s, bytes_max)) {
            s->full = true;
            return VERDICT_OPEN;
        }
        if (s->group == UINT32_MAX && s->at != s->head && s->at % 2 == 0) {
            try_operation(s, s->at / 2);
        } else if (s->group == UINT32_MAX) {
            s->window = s->ops[s->at / 2].ret;
            s->group = 0;
        } else if (s->group < s->group_count) {
            try_group(s, s->group);
        } else if (!backtrack(s)) {
            return VERDICT_VIOLATED;
        }
    }
    return VERDICT_LINEARIZABLE;
}

struct search *search_new(const struct history_part *p)
{
    struct search *s = mem_zalloc(sizeof(*s));
    s->part = p;
    search_set_up(s);
    s->seen = mem_calloc(SEEN_AT_FIRST, sizeof(*s->seen));
    s->seen_mask = SEEN_AT_FIRST - 1;
    s->bytes += SEEN_AT_FIRST * sizeof(*s->seen);
    return s;
}

void search_free(struct search *s)
{
    mem_free(s->ops);
    mem_free(s->groups);
    mem_free(s->calls);
    mem_free(s->pairs);
    mem_free(s->slots);
    mem_free(s->next);
    mem_free(s->previous);
    mem_free(s->frames);
    mem_free(s->undo);
    mem_free(s->seen);
    mem_free(s);
}

bool search_is_full(const struct search *s)
{
    return s->full;
}

uint64_t search_bytes(const struct search *s)
{
    return s->bytes;
}

uint64_t search_steps(const struct search *s)
{
    return s->steps;
}
