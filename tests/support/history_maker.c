/* Random histories of a store that is linearizable. */
#include "tests/support/history_maker.h"

#include <stdio.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/base/prng.h"

enum { LIMBO_MAX = 64, STEP_NS = 1000 };

enum fate { FATE_KNOWN, FATE_UNKNOWN_SOON, FATE_UNKNOWN_LATER, FATE_UNKNOWN_NEVER };

struct maker_process {
    uint32_t number;
    bool busy, done;
    enum fate fate;
    struct maker_operation op;
};

struct maker {
    const struct maker_options *options;
    struct prng prng;
    struct maker_process *processes;
    struct maker_value *store;
    struct maker_operation *limbo; /* of unknown outcome, and not done yet */
    uint32_t limbo_count;
    uint32_t called, next_process, next_value;
    uint32_t total_weight;
    uint64_t ns, version;
    void (*event)(void *argument, const struct maker_event *e);
    void *argument;
};

static uint32_t below(struct maker *m, uint32_t bound)
{
    return (uint32_t)prng_below(&m->prng, bound);
}

/* ---- calls ---- */

static struct maker_value any_value(struct maker *m)
{
    struct maker_value v = {.present = true};
    uint32_t which = m->options->values ? below(m, m->options->values) : m->next_value++;
    snprintf(v.text, sizeof(v.text), "v%u", which);
    return v;
}

/* Mostly what is there, so that some succeed. */
static struct maker_value expected(struct maker *m, uint32_t key)
{
    if (prng_chance(&m->prng, 2, 3))
        return m->store[key];
    return prng_chance(&m->prng, 1, 3) ? (struct maker_value){0} : any_value(m);
}

static enum history_kind any_kind(struct maker *m)
{
    uint32_t at = below(m, m->total_weight), kind = 0;
    while (at >= m->options->weights[kind])
        at -= m->options->weights[kind++];
    return (enum history_kind)kind;
}

static struct maker_operation any_operation(struct maker *m)
{
    struct maker_operation op = {.kind = any_kind(m), .key = below(m, m->options->keys)};
    if (op.kind == HISTORY_APPEND && strlen(m->store[op.key].text) > MAKER_VALUE_BYTES / 2)
        op.kind = HISTORY_PUT;
    if (op.kind == HISTORY_CAS)
        op.expect = expected(m, op.key);
    if (op.kind == HISTORY_PUT || op.kind == HISTORY_CAS || op.kind == HISTORY_APPEND)
        op.value = any_value(m);
    if (op.kind != HISTORY_BATCH)
        return op;
    for (uint32_t key = 0; key < m->options->keys && op.item_count < MAKER_ITEMS_MAX; key++)
        if (prng_chance(&m->prng, 1, 2)) {
            struct maker_item *item = &op.items[op.item_count++];
            item->key = key;
            if (prng_chance(&m->prng, 3, 4))
                item->value = any_value(m);
        }
    if (op.item_count == 0)
        op.items[op.item_count++] = (struct maker_item){op.key, any_value(m)};
    return op;
}

/* ---- effects ---- */

static void write_key(struct maker *m, uint32_t key, const struct maker_value *value)
{
    m->store[key] = *value;
    m->store[key].version = m->version;
}

static void do_append(struct maker *m, struct maker_operation *op)
{
    struct maker_value both = {.present = true};
    snprintf(both.text, sizeof(both.text), "%.47s%.47s", m->store[op->key].text, op->value.text);
    write_key(m, op->key, &both);
}

static void do_scan(struct maker *m, struct maker_operation *op)
{
    op->item_count = 0;
    for (uint32_t key = 0; key < m->options->keys && op->item_count < MAKER_ITEMS_MAX; key++)
        if (m->store[key].present)
            op->items[op->item_count++] = (struct maker_item){key, m->store[key]};
    op->index = m->version;
}

static bool same_value(const struct maker_value *a, const struct maker_value *b)
{
    return a->present == b->present && strcmp(a->text, b->text) == 0;
}

static void take_effect(struct maker *m, struct maker_operation *op)
{
    const struct maker_value absent = {0};
    struct maker_value *now = &m->store[op->key];
    bool writes = op->kind != HISTORY_GET && op->kind != HISTORY_SCAN;
    op->failed = op->kind == HISTORY_CAS && !same_value(now, &op->expect);
    if (op->failed)
        return;
    op->existed = now->present;
    if (writes)
        op->version = ++m->version;
    switch (op->kind) {
    case HISTORY_GET:
        op->value = *now;
        op->version = now->version;
        op->index = m->version;
        break;
    case HISTORY_PUT:
    case HISTORY_CAS: write_key(m, op->key, &op->value); break;
    case HISTORY_DELETE: write_key(m, op->key, &absent); break;
    case HISTORY_APPEND: do_append(m, op); break;
    case HISTORY_SCAN: do_scan(m, op); break;
    case HISTORY_BATCH:
        for (uint32_t i = 0; i < op->item_count; i++)
            write_key(m, op->items[i].key, &op->items[i].value);
        break;
    case HISTORY_DIFFERS: break;
    }
}

/* ---- steps ---- */

static void tell(struct maker *m, const struct maker_process *p, enum history_event_type type)
{
    const struct maker_event e = {type, p->number, m->ns, &p->op};
    m->event(m->argument, &e);
}

static void call(struct maker *m, struct maker_process *p)
{
    static const enum fate fates[] = {FATE_UNKNOWN_SOON, FATE_UNKNOWN_LATER, FATE_UNKNOWN_NEVER};
    p->op = any_operation(m);
    p->busy = true;
    p->done = false;
    p->fate = prng_chance(&m->prng, m->options->unknown, 1000) ? fates[below(m, 3)] : FATE_KNOWN;
    m->called++;
    tell(m, p, HISTORY_INVOKE);
}

/* Half of those that do not know say so. */
static void leave(struct maker *m, struct maker_process *p)
{
    if (p->fate == FATE_UNKNOWN_LATER && m->limbo_count < LIMBO_MAX)
        m->limbo[m->limbo_count++] = p->op;
    if (prng_chance(&m->prng, 1, 2))
        tell(m, p, HISTORY_INFO);
    p->number = m->next_process++;
    p->busy = false;
}

static void step(struct maker *m, struct maker_process *p)
{
    if (!p->busy) {
        if (m->called < m->options->operations)
            call(m, p);
        return;
    }
    bool acts = p->fate == FATE_KNOWN || p->fate == FATE_UNKNOWN_SOON;
    if (acts && !p->done) {
        take_effect(m, &p->op);
        p->done = true;
        return;
    }
    if (p->fate != FATE_KNOWN) {
        leave(m, p);
        return;
    }
    tell(m, p, p->op.failed ? HISTORY_RETURN_FAIL : HISTORY_RETURN_OK);
    p->busy = false;
}

static bool anybody_busy(const struct maker *m)
{
    for (uint32_t i = 0; i < m->options->processes; i++)
        if (m->processes[i].busy)
            return true;
    return false;
}

void history_make(const struct maker_options *options,
                  void (*event)(void *argument, const struct maker_event *e), void *argument)
{
    struct maker m = {.options = options, .event = event, .argument = argument};
    prng_seed(&m.prng, options->seed);
    m.processes = mem_calloc(options->processes, sizeof(*m.processes));
    m.store = mem_calloc(options->keys, sizeof(*m.store));
    m.limbo = mem_calloc(LIMBO_MAX, sizeof(*m.limbo));
    for (uint32_t k = 0; k < HISTORY_KINDS; k++)
        m.total_weight += options->weights[k];
    for (; m.next_process < options->processes; m.next_process++)
        m.processes[m.next_process].number = m.next_process;
    while (m.called < options->operations || anybody_busy(&m)) {
        m.ns += 1 + prng_below(&m.prng, STEP_NS);
        step(&m, &m.processes[below(&m, options->processes)]);
        if (m.limbo_count > 0 && prng_chance(&m.prng, 1, 50)) {
            uint32_t which = below(&m, m.limbo_count);
            take_effect(&m, &m.limbo[which]);
            m.limbo[which] = m.limbo[--m.limbo_count];
        }
    }
    mem_free(m.processes);
    mem_free(m.store);
    mem_free(m.limbo);
}
