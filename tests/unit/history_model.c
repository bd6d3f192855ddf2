/*
 * The three methods against each other and against brute force: random small histories, right ones
 * and ones with something changed in a reply, and larger ones with one reply that cannot be.
 *
 *     RAFTKV_SEED=N         another first seed
 *     RAFTKV_HISTORIES=N    so many small histories (30000)
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/base/opt.h"
#include "lib/base/prng.h"
#include "lib/history/check.h"
#include "lib/history/proof.h"
#include "tests/support/history_maker.h"
#include "tests/unit/tap.h"

enum { SMALL_MAX = 8, PLANTED = 1000, SEARCH_STEPS = 10000000 };

static uint64_t first_seed = 1, history_count = 30000;

/* ---- a history from the maker ---- */

enum change { CHANGE_NOTHING, CHANGE_VALUE, CHANGE_VERSION, CHANGE_COUNT };

enum indexes {
    NO_INDEXES,
    INDEXES,          /* versions of all that was read, also of what is absent */
    INDEXES_OF_NODES, /* gets bear the index that they were served at, absent keys no version */
};

struct taking {
    struct history *h;
    enum indexes indexes;
    uint32_t line;
    struct err err;
    int code;
};

static uint32_t key_id(struct history *h, uint32_t key)
{
    const uint8_t name[2] = {'k', (uint8_t)('0' + key)};
    return intern_add(&h->keys, slice_of(name, 2));
}

static uint32_t value_id(struct history *h, const struct maker_value *v)
{
    return v->present ? intern_add(&h->values, slice_str(v->text)) : 0;
}

static void take_items(struct taking *t, const struct maker_operation *op, struct history_event *e)
{
    e->has_items = true;
    e->items = t->h->item_count;
    e->item_count = op->item_count;
    for (uint32_t i = 0; i < op->item_count; i++)
        history_add_item(t->h, (struct history_item){.key = key_id(t->h, op->items[i].key),
                                                     .value = value_id(t->h, &op->items[i].value),
                                                     .version = t->indexes != NO_INDEXES &&
                                                                        op->kind == HISTORY_SCAN
                                                                    ? op->items[i].value.version
                                                                    : 0});
}

static void take_event(void *argument, const struct maker_event *m)
{
    struct taking *t = argument;
    struct history_event e;
    history_event_init(&e);
    e.type = (uint8_t)m->type;
    e.kind = (uint8_t)m->op->kind;
    e.has_kind = true;
    e.process = m->process;
    e.line = ++t->line;
    bool call = m->type == HISTORY_INVOKE, ok = m->type == HISTORY_RETURN_OK;
    if (m->op->kind == HISTORY_SCAN)
        e.key = intern_add(&t->h->keys, slice_str("k"));
    else if (m->op->kind != HISTORY_BATCH)
        e.key = key_id(t->h, m->op->key);
    if (call || ok)
        e.value = value_id(t->h, &m->op->value);
    if (call)
        e.expect = value_id(t->h, &m->op->expect);
    if ((call && m->op->kind == HISTORY_BATCH) || (ok && m->op->kind == HISTORY_SCAN))
        take_items(t, m->op, &e);
    if (ok && t->indexes != NO_INDEXES) {
        e.version = m->op->version;
        e.index = m->op->kind == HISTORY_SCAN ||
                          (m->op->kind == HISTORY_GET && t->indexes == INDEXES_OF_NODES)
                      ? m->op->index
                      : 0;
        if (t->indexes == INDEXES_OF_NODES && m->op->kind == HISTORY_GET && !m->op->value.present)
            e.version = 0; /* an absent key is told without one */
    }
    if (ok && m->op->kind == HISTORY_DELETE && t->line % 2)
        e.existed = m->op->existed ? HISTORY_EXISTED : HISTORY_WAS_ABSENT;
    if (t->code == 0)
        t->code = history_add(t->h, &e, &t->err);
}

static void take(struct history *h, const struct maker_options *options, enum indexes indexes)
{
    struct taking t = {.h = h, .indexes = indexes};
    history_init(h);
    h->fail_is_differs = indexes == NO_INDEXES;
    history_make(options, take_event, &t);
    if (t.code != 0)
        diag("seed %" PRIu64 ": %s", options->seed, t.err.text);
    must(t.code == 0);
}

/* ---- brute force ---- */

/* Every order of the operations that real time allows, one after the other. Written for nothing but
 * to be plainly right; versions count only where `versions` says so, and then there is one key. */
struct brute {
    const struct history *h;
    const struct history_part *part;
    bool versions;
    bool used[SMALL_MAX];
};

enum { KEYS_MAX = 64, VERSION_OPEN = -1 };

struct state {
    uint32_t value[KEYS_MAX];
    int64_t version; /* of the one key; VERSION_OPEN: of an operation of unknown outcome */
    int64_t last;
};

static bool scan_holds(const struct brute *b, const struct history_operation *op,
                       const struct state *s)
{
    for (uint32_t k = 0; k < b->part->key_count; k++) {
        uint32_t key = b->part->keys[k], seen = 0;
        for (uint32_t i = 0; i < op->item_count; i++)
            if (b->h->items[op->items + i].key == key)
                seen = b->h->items[op->items + i].value;
        if (seen != s->value[key])
            return false;
    }
    return true;
}

static bool version_holds(const struct brute *b, const struct history_operation *op,
                          struct state *s)
{
    if (!b->versions || op->version == 0 || op->outcome == HISTORY_UNKNOWN)
        return true;
    int64_t v = (int64_t)op->version;
    if (op->kind != HISTORY_GET)
        return v > s->last;
    if (s->version == VERSION_OPEN && v > s->last)
        s->version = s->last = v;
    return s->version == v;
}

static bool does(const struct brute *b, const struct history_operation *op, struct state *s)
{
    uint32_t *now = &s->value[op->key];
    if (!version_holds(b, op, s))
        return false;
    if (!history_is_read(op)) {
        s->version = op->version ? (int64_t)op->version : VERSION_OPEN;
        s->last = op->version ? (int64_t)op->version : s->last;
    }
    switch ((enum history_kind)op->kind) {
    case HISTORY_GET: return *now == op->value;
    case HISTORY_DIFFERS: return *now != op->expect;
    case HISTORY_SCAN: return scan_holds(b, op, s);
    case HISTORY_PUT: *now = op->value; return true;
    case HISTORY_APPEND: *now = history_concat(b->part->history, *now, op->value); return true;
    case HISTORY_CAS:
        if (*now != op->expect)
            return false;
        *now = op->value;
        return true;
    case HISTORY_DELETE:
        if (op->existed != HISTORY_MAY_EXIST && (op->existed == HISTORY_EXISTED) != (*now != 0))
            return false;
        *now = 0;
        return true;
    case HISTORY_BATCH:
        for (uint32_t i = 0; i < op->item_count; i++)
            s->value[b->h->items[op->items + i].key] = b->h->items[op->items + i].value;
        return true;
    }
    return false;
}

static bool may_come(const struct brute *b, uint32_t i)
{
    const struct history_operation *op = &b->h->operations[b->part->ops[i]];
    for (uint32_t k = 0; k < b->part->count; k++) {
        const struct history_operation *other = &b->h->operations[b->part->ops[k]];
        if (!b->used[k] && k != i && other->outcome == HISTORY_OK && other->ret < op->call)
            return false;
    }
    return true;
}

static bool brute_force(struct brute *b, const struct state *s)
{
    bool done = true;
    for (uint32_t i = 0; i < b->part->count; i++)
        done = done && (b->used[i] || b->h->operations[b->part->ops[i]].outcome == HISTORY_UNKNOWN);
    if (done)
        return true;
    for (uint32_t i = 0; i < b->part->count; i++) {
        struct state next = *s;
        if (b->used[i] || !may_come(b, i) || !does(b, &b->h->operations[b->part->ops[i]], &next))
            continue;
        b->used[i] = true;
        bool found = brute_force(b, &next);
        b->used[i] = false;
        if (found)
            return true;
    }
    return false;
}

static bool by_brute_force(const struct history *h, const struct history_part *p, bool versions)
{
    struct brute b = {.h = h, .part = p, .versions = versions && !p->several_keys};
    struct state s = {.last = 0};
    must(p->count <= SMALL_MAX && h->keys.count <= KEYS_MAX);
    return brute_force(&b, &s);
}

/* ---- small histories ---- */

struct mix {
    const char *name;
    enum indexes indexes;
    uint32_t keys, values, unknown;
    uint32_t weights[HISTORY_KINDS];
};

static const struct mix mixes[] = {
    {"unique values", NO_INDEXES, 1, 0, 200, {[HISTORY_GET] = 3, [HISTORY_PUT] = 2}},
    {"few values",
     NO_INDEXES,
     1,
     2,
     200,
     {[HISTORY_GET] = 2, [HISTORY_PUT] = 1, [HISTORY_CAS] = 1}},
    {"all of a key",
     NO_INDEXES,
     1,
     3,
     200,
     {[HISTORY_GET] = 3,
      [HISTORY_PUT] = 2,
      [HISTORY_CAS] = 1,
      [HISTORY_DELETE] = 1,
      [HISTORY_APPEND] = 1}},
    {"all of three keys",
     NO_INDEXES,
     3,
     2,
     200,
     {[HISTORY_GET] = 3,
      [HISTORY_PUT] = 2,
      [HISTORY_DELETE] = 1,
      [HISTORY_SCAN] = 2,
      [HISTORY_BATCH] = 2}},
    {"indexes",
     INDEXES,
     1,
     0,
     200,
     {[HISTORY_GET] = 4, [HISTORY_PUT] = 2, [HISTORY_CAS] = 1, [HISTORY_DELETE] = 1}},
    {"indexes, few values",
     INDEXES,
     1,
     2,
     200,
     {[HISTORY_GET] = 4,
      [HISTORY_PUT] = 2,
      [HISTORY_CAS] = 1,
      [HISTORY_DELETE] = 1,
      [HISTORY_APPEND] = 1}},
    {"indexes, three keys",
     INDEXES,
     3,
     0,
     200,
     {[HISTORY_GET] = 3,
      [HISTORY_PUT] = 2,
      [HISTORY_DELETE] = 1,
      [HISTORY_SCAN] = 2,
      [HISTORY_BATCH] = 1}},
    {"indexes, scans, deletes and cas",
     INDEXES,
     2,
     2,
     300,
     {[HISTORY_GET] = 2,
      [HISTORY_PUT] = 2,
      [HISTORY_CAS] = 2,
      [HISTORY_DELETE] = 2,
      [HISTORY_SCAN] = 3}},
    {"indexes, as nodes reply",
     INDEXES_OF_NODES,
     1,
     2,
     300,
     {[HISTORY_GET] = 4,
      [HISTORY_PUT] = 2,
      [HISTORY_CAS] = 2,
      [HISTORY_DELETE] = 2,
      [HISTORY_APPEND] = 1}},
    {"indexes, as nodes reply, with scans",
     INDEXES_OF_NODES,
     2,
     2,
     300,
     {[HISTORY_GET] = 3,
      [HISTORY_PUT] = 2,
      [HISTORY_CAS] = 2,
      [HISTORY_DELETE] = 2,
      [HISTORY_SCAN] = 2}},
};
enum { MIXES = sizeof(mixes) / sizeof(mixes[0]) };

struct tally {
    uint64_t histories, parts, violated, disagree;
    uint64_t fit[METHOD_COUNT];
};

/* A get's reply becomes that of another moment, or of no moment. */
static void change_reply(struct history *h, enum change change, struct prng *prng)
{
    uint32_t gets[SMALL_MAX], count = 0, writes[SMALL_MAX], write_count = 0;
    for (uint32_t i = 0; i < h->count; i++) {
        const struct history_operation *op = &h->operations[i];
        if (op->kind == HISTORY_GET && op->outcome == HISTORY_OK)
            gets[count++] = i;
        if (op->kind == HISTORY_PUT)
            writes[write_count++] = i;
    }
    if (count == 0 || write_count == 0 || change == CHANGE_NOTHING)
        return;
    struct history_operation *get = &h->operations[gets[prng_below(prng, count)]];
    const struct history_operation *put = &h->operations[writes[prng_below(prng, write_count)]];
    if (change == CHANGE_VERSION)
        get->version = put->version;
    get->value = prng_chance(prng, 1, 8) ? 0 : put->value;
}

static void disagree(struct tally *t, const struct history_part *p, uint64_t seed, const char *mix,
                     const char *what)
{
    if (t->disagree++ > 1)
        return;
    diag("seed %" PRIu64 ", %s: %s", seed, mix, what);
    for (uint32_t i = 0; i < p->count; i++) {
        const struct history_operation *op = &p->history->operations[p->ops[i]];
        struct buf text;
        buf_init(&text, 4096);
        history_operation_text(p->history, op, &text);
        diag("  %" PRIu32 " to %" PRId32 ": %s", op->call, (int32_t)op->ret,
             (const char *)text.data);
        buf_release(&text);
    }
}

/* With several keys the index method looks at the order of writes of different keys too, and where
 * gets bear indexes at those, and not at what values alone would allow: then it may only err on the
 * side of a violation. */
static void judge_part(struct history *h, const struct history_part *p, const struct mix *mix,
                       uint64_t seed, bool changed, struct tally *t)
{
    char why[HISTORY_WHY_BYTES];
    bool allowed = by_brute_force(h, p, false);
    bool with_versions = mix->indexes != NO_INDEXES ? by_brute_force(h, p, true) : allowed;
    t->parts++;
    t->violated += !with_versions;
    for (int m = 0; m < METHOD_COUNT; m++) {
        enum history_verdict v =
            history_judge_part(p, (enum history_method)m, SEARCH_STEPS, UINT64_MAX, why);
        if (v == VERDICT_UNFIT)
            continue;
        t->fit[m]++;
        bool wanted = m == METHOD_INDEX ? with_versions : allowed;
        bool found = v == VERDICT_LINEARIZABLE;
        if (m == METHOD_INDEX && (p->several_keys || mix->indexes == INDEXES_OF_NODES)
                ? found && !wanted
                : found != wanted)
            disagree(t, p, seed, mix->name, history_method_name((enum history_method)m));
        if (v == VERDICT_VIOLATED && !changed)
            disagree(t, p, seed, mix->name, "what a linearizable store did is violated");
        if (v == VERDICT_OPEN)
            disagree(t, p, seed, mix->name, "the search did not end");
    }
}

static void small_history(uint64_t seed, const struct mix *mix, struct tally *t)
{
    struct history h;
    struct history_parts parts;
    struct prng prng;
    prng_seed(&prng, seed);
    struct maker_options options = {.seed = seed,
                                    .operations = 2 + (uint32_t)prng_below(&prng, SMALL_MAX - 1),
                                    .processes = 2 + (uint32_t)prng_below(&prng, 3),
                                    .keys = mix->keys,
                                    .unknown = mix->unknown,
                                    .values = mix->values,
                                    .batch_deletes = true};
    memcpy(options.weights, mix->weights, sizeof(options.weights));
    enum change change = (enum change)prng_below(&prng, CHANGE_COUNT);
    take(&h, &options, mix->indexes);
    change_reply(&h,
                 mix->indexes != NO_INDEXES ? change
                 : change == CHANGE_VERSION ? CHANGE_VALUE
                                            : change,
                 &prng);
    history_parts_init(&parts, &h);
    t->histories++;
    for (uint32_t i = 0; i < parts.count; i++)
        if (parts.parts[i].count > 0)
            judge_part(&h, &parts.parts[i], mix, seed, change != CHANGE_NOTHING, t);
    history_parts_release(&parts);
    history_release(&h);
}

static void test_small(void)
{
    for (size_t m = 0; m < MIXES; m++) {
        struct tally t = {0};
        for (uint64_t i = 0; i < history_count / MIXES; i++)
            small_history(first_seed + i * MIXES + m, &mixes[m], &t);
        is_u64(t.disagree, 0, "%s: brute force and the methods agree", mixes[m].name);
        ok(t.violated > t.parts / 50 && t.violated < t.parts,
           "%s: some are linearizable and some are not", mixes[m].name);
        ok(t.fit[METHOD_SEARCH] == t.parts, "%s: the search fits all", mixes[m].name);
        ok((mixes[m].indexes != NO_INDEXES) == (t.fit[METHOD_INDEX] > 0),
           "%s: indexes are used where they are", mixes[m].name);
        diag("%s: %" PRIu64 " histories, %" PRIu64 " parts, %" PRIu64 " violated; index %" PRIu64
             ", zones %" PRIu64,
             mixes[m].name, t.histories, t.parts, t.violated, t.fit[METHOD_INDEX],
             t.fit[METHOD_ZONES]);
    }
}

/* ---- one reply that cannot be ---- */

/* A get is given the value of a put that another put had overwritten before the get was called. */
static bool plant(struct history *h, struct prng *prng)
{
    for (uint32_t tries = 0; tries < 1000; tries++) {
        struct history_operation *get = &h->operations[prng_below(prng, h->count)];
        const struct history_operation *old = &h->operations[prng_below(prng, h->count)];
        const struct history_operation *newer = &h->operations[prng_below(prng, h->count)];
        if (get->kind != HISTORY_GET || old->kind != HISTORY_PUT || newer->kind != HISTORY_PUT ||
            get->outcome != HISTORY_OK || old->outcome != HISTORY_OK ||
            newer->outcome != HISTORY_OK || old->key != get->key || newer->key != get->key ||
            old->ret >= newer->call || newer->ret >= get->call)
            continue;
        get->value = old->value;
        get->version = old->version;
        return true;
    }
    return false;
}

static bool finds(struct history *h, enum history_method method, enum history_verdict wanted)
{
    struct history_parts parts;
    struct history_report report;
    const struct history_limits limits = {.forced = true, .method = method};
    history_parts_init(&parts, h);
    history_judge(&parts, &limits, &report);
    history_parts_release(&parts);
    return report.verdict == wanted;
}

static void test_planted(void)
{
    uint32_t planted = 0, found[METHOD_COUNT] = {0}, clean[METHOD_COUNT] = {0};
    for (uint64_t seed = first_seed; planted < PLANTED; seed++) {
        struct maker_options options = {.seed = seed,
                                        .operations = 60,
                                        .processes = 5,
                                        .keys = 2,
                                        .unknown = 50,
                                        .weights = {[HISTORY_GET] = 1, [HISTORY_PUT] = 1}};
        struct history h;
        struct prng prng;
        prng_seed(&prng, seed);
        take(&h, &options, INDEXES);
        bool right[METHOD_COUNT];
        for (int m = 0; m < METHOD_COUNT; m++)
            right[m] = finds(&h, (enum history_method)m, VERDICT_LINEARIZABLE);
        if (plant(&h, &prng)) {
            planted++;
            for (int m = 0; m < METHOD_COUNT; m++) {
                clean[m] += right[m];
                found[m] += finds(&h, (enum history_method)m, VERDICT_VIOLATED);
            }
        }
        history_release(&h);
    }
    for (int m = 0; m < METHOD_COUNT; m++) {
        is_u64(clean[m], PLANTED, "%s: %d right histories are linearizable",
               history_method_name((enum history_method)m), PLANTED);
        is_u64(found[m], PLANTED, "%s: a stale read is found in each of %d",
               history_method_name((enum history_method)m), PLANTED);
    }
}

static uint64_t number(const char *name, uint64_t fallback)
{
    const char *text = getenv(name);
    uint64_t n;
    return text && opt_parse_uint(text, &n) == 0 ? n : fallback;
}

int main(void)
{
    first_seed = number("RAFTKV_SEED", 1);
    history_count = number("RAFTKV_HISTORIES", history_count);
    diag("seeds from %" PRIu64 " on (RAFTKV_SEED), %" PRIu64 " histories (RAFTKV_HISTORIES)",
         first_seed, history_count);
    test_small();
    test_planted();
    return done();
}
