/*
 * Breadth first: all states of one depth are looked at, by several threads, before any of the next,
 * so the first violation found has the fewest steps, and the number of states of a depth does not
 * depend on who found them first.
 */
#include <math.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/sim/explore_internal.h"

enum { BLOCK_STATES = 128, SLOTS_MIN = 1 << 20, SLOT_BYTES = 16, MOVED_BYTES = 4 };
#define SLOTS_MAX (UINT64_C(1) << 31)

/* States of one depth. */
struct block {
    struct block *next;
    uint32_t first, count; /* those before `first` were looked at */
    uint64_t data[];
};

struct search {
    const struct explore_options *options;
    struct symmetry symmetry;
    struct store *store;
    struct seen seen;
    size_t state_bytes;
    uint64_t started_ns;
    uint32_t depth;
    uint64_t crowded; /* states in `seen` at which it grows */
    atomic_uint_fast64_t memory, memory_most;
    atomic_uint_fast64_t queued, transitions;
    pthread_mutex_t lock;
    struct block *blocks;   /* to be looked at */
    atomic_int end;         /* enum explore_end, but EXPLORE_WHOLE: goes on */
    uint32_t violated_from; /* slot of the state before the violation */
    uint64_t jobs;
    struct worker *workers;
};

struct worker {
    struct search *search;
    bool is_first;
    pthread_t thread;
    struct expansion *expansion;
    struct block *found, *found_last; /* the states of the next depth */
    uint64_t states, transitions;
    uint64_t per_kind[EXPLORE_KINDS];
};

/* ---- ending ---- */

static bool is_over(const struct search *s)
{
    return atomic_load_explicit(&s->end, memory_order_relaxed) != EXPLORE_WHOLE;
}

static void end(struct search *s, enum explore_end how, uint32_t from)
{
    pthread_mutex_lock(&s->lock);
    int before = atomic_load(&s->end);
    if (before != EXPLORE_VIOLATED && (before == EXPLORE_WHOLE || how == EXPLORE_VIOLATED)) {
        s->violated_from = from;
        atomic_store(&s->end, how);
    }
    pthread_mutex_unlock(&s->lock);
}

static uint64_t elapsed_ms(const struct search *s)
{
    return (clock_now_ns() - s->started_ns) / 1000000;
}

/* ---- states of the next depth ---- */

static void count_memory(struct search *s, int64_t bytes)
{
    atomic_fetch_add_explicit(&s->memory, (uint64_t)bytes, memory_order_relaxed);
}

static struct state *state_at(const struct search *s, struct block *b, uint32_t i)
{
    return (struct state *)(void *)((char *)b->data + i * s->state_bytes);
}

static struct state *room(struct worker *w)
{
    struct search *s = w->search;
    if (!w->found_last || w->found_last->count == BLOCK_STATES) {
        size_t bytes = sizeof(struct block) + BLOCK_STATES * s->state_bytes;
        struct block *b = mem_alloc(bytes);
        b->next = NULL;
        b->first = b->count = 0;
        if (w->found_last)
            w->found_last->next = b;
        else
            w->found = b;
        w->found_last = b;
        count_memory(s, (int64_t)bytes);
    }
    return state_at(s, w->found_last, w->found_last->count);
}

static void free_block(struct search *s, struct block *b)
{
    count_memory(s, -(int64_t)(sizeof(*b) + BLOCK_STATES * s->state_bytes));
    mem_free(b);
}

/* ---- looking ---- */

static void add_child(struct worker *w, const struct state *from, const struct child *c)
{
    struct search *s = w->search;
    uint32_t slot;
    enum seen_result result = seen_add(&s->seen, c->fingerprint, from->slot, &slot);
    if (result == SEEN_FULL)
        end(s, s->seen.used_max == s->options->states ? EXPLORE_STATES : EXPLORE_MEMORY, 0);
    if (result != SEEN_NEW)
        return;
    struct state *to = room(w);
    expand_child(w->expansion, from, c, to);
    to->slot = slot;
    w->found_last->count++;
    w->states++;
    if (check_state(w->expansion, to, c->action.node))
        end(s, EXPLORE_VIOLATED, from->slot);
}

static void look_at(struct worker *w, const struct state *s)
{
    struct expansion *x = w->expansion;
    expand(x, s);
    for (uint32_t i = 0; i < x->count; i++)
        seen_prefetch(&w->search->seen, x->children[i].fingerprint);
    for (uint32_t i = 0; i < x->count; i++) {
        const struct child *c = &x->children[i];
        w->per_kind[c->action.kind]++;
        if (c->violation)
            end(w->search, EXPLORE_VIOLATED, s->slot);
        else
            add_child(w, s, c);
    }
    w->transitions += x->count;
}

static uint64_t note_memory(struct search *s)
{
    uint64_t memory = atomic_load(&s->memory);
    if (memory > atomic_load(&s->memory_most))
        atomic_store(&s->memory_most, memory);
    return memory;
}

static void check_limits(struct worker *w)
{
    struct search *s = w->search;
    const struct explore_options *o = s->options;
    uint64_t memory = note_memory(s);
    if (memory > o->memory_bytes)
        end(s, EXPLORE_MEMORY, 0);
    if (o->time_ms != 0 && elapsed_ms(s) >= o->time_ms)
        end(s, EXPLORE_TIME, 0);
    if (!w->is_first || !o->progress)
        return;
    struct explore_progress p = {
        .states = atomic_load(&s->seen.used),
        .transitions = atomic_load(&s->transitions),
        .queued = atomic_load(&s->queued),
        .depth = s->depth,
        .memory_bytes = memory,
        .elapsed_ms = elapsed_ms(s),
    };
    o->progress(o->progress_argument, &p);
}

static struct block *take_block(struct search *s)
{
    pthread_mutex_lock(&s->lock);
    struct block *b = s->blocks;
    if (b)
        s->blocks = b->next;
    pthread_mutex_unlock(&s->lock);
    return b;
}

static void put_block(struct search *s, struct block *b)
{
    pthread_mutex_lock(&s->lock);
    b->next = s->blocks;
    s->blocks = b;
    pthread_mutex_unlock(&s->lock);
}

/* Whether the table of those seen should grow before anything is added. */
static bool is_crowded(const struct search *s)
{
    return atomic_load_explicit(&s->seen.used, memory_order_relaxed) > s->crowded;
}

static void *work(void *argument)
{
    struct worker *w = argument;
    struct search *s = w->search;
    uint64_t told = w->transitions;
    while (!is_over(s) && !is_crowded(s)) {
        struct block *b = take_block(s);
        if (!b)
            break;
        uint32_t before = b->first;
        while (b->first < b->count && !is_over(s) && !is_crowded(s))
            look_at(w, state_at(s, b, b->first++));
        atomic_fetch_sub_explicit(&s->queued, b->first - before, memory_order_relaxed);
        atomic_fetch_add_explicit(&s->transitions, w->transitions - told, memory_order_relaxed);
        told = w->transitions;
        if (b->first < b->count)
            put_block(s, b);
        else
            free_block(s, b);
        check_limits(w);
    }
    return NULL;
}

/* Of one depth, by all threads; this one is the first of them. */
static void look_at_some(struct search *s)
{
    uint64_t threads = s->jobs;
    if (threads > 1 && atomic_load(&s->queued) <= BLOCK_STATES)
        threads = 1;
    for (uint64_t i = 1; i < threads; i++)
        ASSERT(pthread_create(&s->workers[i].thread, NULL, work, &s->workers[i]) == 0);
    work(&s->workers[0]);
    for (uint64_t i = 1; i < threads; i++)
        pthread_join(s->workers[i].thread, NULL);
}

static void move_slots(struct search *s, struct block *blocks, const uint32_t *moved)
{
    for (struct block *b = blocks; b; b = b->next)
        for (uint32_t i = 0; i < b->count; i++)
            state_at(s, b, i)->slot = moved[state_at(s, b, i)->slot];
}

/* Never past what it may hold: then it fills up, and that ends the search. */
static void set_crowded(struct search *s)
{
    const struct explore_options *o = s->options;
    uint64_t slots = s->seen.count;
    uint64_t more = slots * (2 * SLOT_BYTES + MOVED_BYTES) + atomic_load(&s->memory);
    bool may_grow = slots < SLOTS_MAX && more <= o->memory_bytes;
    s->crowded = may_grow ? slots / 4 * 3 : UINT64_MAX;
    if (o->states != 0 && o->states < s->seen.used_max)
        s->seen.used_max = o->states;
}

static void grow(struct search *s)
{
    uint64_t slots = s->seen.count;
    set_crowded(s); /* other memory has been used meanwhile */
    if (s->crowded == UINT64_MAX)
        return;
    count_memory(s, (int64_t)(slots * (2 * SLOT_BYTES + MOVED_BYTES)));
    note_memory(s);
    uint32_t *moved = seen_grow(&s->seen);
    move_slots(s, s->blocks, moved);
    for (uint64_t i = 0; i < s->jobs; i++)
        move_slots(s, s->workers[i].found, moved);
    mem_free(moved);
    count_memory(s, -(int64_t)(slots * (SLOT_BYTES + MOVED_BYTES)));
    set_crowded(s);
}

static void look_at_all(struct search *s)
{
    while (s->blocks && !is_over(s)) {
        look_at_some(s);
        if (is_crowded(s) && !is_over(s))
            grow(s);
    }
}

/* ---- depth by depth ---- */

static uint64_t gather(struct search *s)
{
    uint64_t found = 0;
    for (uint64_t i = 0; i < s->jobs; i++) {
        struct worker *w = &s->workers[i];
        if (w->found) {
            w->found_last->next = s->blocks;
            s->blocks = w->found;
        }
        w->found = w->found_last = NULL;
        found += w->states;
        w->states = 0;
    }
    atomic_store(&s->queued, found);
    return found;
}

static void first_state(struct search *s, struct worker *w)
{
    struct state *root = room(w);
    expand_root(w->expansion, root);
    ASSERT(seen_add(&s->seen, expand_fingerprint(w->expansion, root), SEEN_NO_PARENT,
                    &root->slot) == SEEN_NEW);
    w->found_last->count++;
    w->states++;
}

static void count_depth(struct explore_report *report, uint32_t depth, uint64_t states)
{
    report->per_depth[depth < EXPLORE_DEPTHS ? depth : EXPLORE_DEPTHS - 1] += states;
    report->states += states;
    if (states > 0)
        report->depth = depth;
}

static void run(struct search *s, struct explore_report *report)
{
    first_state(s, &s->workers[0]);
    uint64_t found = gather(s);
    count_depth(report, 0, found);
    while (found > 0 && !is_over(s)) {
        if (s->options->depth != 0 && s->depth == s->options->depth) {
            end(s, EXPLORE_DEPTH, 0);
            break;
        }
        look_at_all(s);
        s->depth++;
        found = gather(s);
        count_depth(report, s->depth, found);
    }
}

/* ---- beginning and end ---- */

/* Room for the states asked for, in at most half the memory; if none are, it grows. */
static uint64_t slots_for(const struct explore_options *o)
{
    uint64_t slots = SLOTS_MIN;
    while (slots > 1024 && 2 * slots * SLOT_BYTES > o->memory_bytes)
        slots /= 2;
    while (slots < SLOTS_MAX && 4 * slots * SLOT_BYTES <= o->memory_bytes &&
           slots < o->states + o->states / 2)
        slots *= 2;
    return slots;
}

static void init(struct search *s, const struct explore_options *options)
{
    memset(s, 0, sizeof(*s));
    s->options = options;
    s->started_ns = clock_now_ns();
    symmetry_init(&s->symmetry, options);
    pthread_mutex_init(&s->lock, NULL);
    s->store = store_new(&s->symmetry, &s->memory);
    s->state_bytes = state_bytes(options);
    seen_init(&s->seen, slots_for(options));
    count_memory(s, (int64_t)(s->seen.count * SLOT_BYTES));
    set_crowded(s);
    s->jobs = options->jobs;
    s->workers = mem_calloc(s->jobs, sizeof(s->workers[0]));
    for (uint64_t i = 0; i < s->jobs; i++) {
        struct worker *w = &s->workers[i];
        w->search = s;
        w->is_first = i == 0;
        w->expansion = expansion_new(options, &s->symmetry, s->store);
    }
}

static void release(struct search *s)
{
    while (s->blocks) {
        struct block *next = s->blocks->next;
        free_block(s, s->blocks);
        s->blocks = next;
    }
    for (uint64_t i = 0; i < s->jobs; i++)
        expansion_free(s->workers[i].expansion);
    mem_free(s->workers);
    store_free(s->store);
    seen_release(&s->seen);
    pthread_mutex_destroy(&s->lock);
}

static void report_on(struct search *s, struct explore_report *report)
{
    for (uint64_t i = 0; i < s->jobs; i++) {
        report->transitions += s->workers[i].transitions;
        report->cut += s->workers[i].expansion->cut;
        for (uint32_t k = 0; k < EXPLORE_KINDS; k++)
            report->per_kind[k] += s->workers[i].per_kind[k];
    }
    report->end = (enum explore_end)atomic_load(&s->end);
    if (report->end == EXPLORE_WHOLE && report->cut > 0)
        report->end = EXPLORE_CUT;
    report->seconds = (double)(clock_now_ns() - s->started_ns) / 1e9;
    note_memory(s);
    report->memory_bytes = atomic_load(&s->memory_most);
    /* Pairs of states, of 2^96 fingerprints. */
    double n = (double)report->states;
    report->collision_odds = n * n / 2 / pow(2, 96);
    store_counts(s->store, report);
}

static int check_options(const struct explore_options *o, struct err *err)
{
    const uint64_t *b = o->budgets;
    for (uint32_t i = 0; i < EXPLORE_BUDGETS; i++)
        if (b[i] > EXPLORE_BUDGET_MAX)
            return err_set(err, ERR_USAGE, "%s: at most %d", explore_budget_name(i),
                           EXPLORE_BUDGET_MAX);
    if (o->nodes < 1 || o->nodes + o->spares > EXPLORE_NODES_MAX)
        return err_set(err, ERR_USAGE, "nodes and spares: 1 to %d together", EXPLORE_NODES_MAX);
    if (o->messages < 1 || o->messages > EXPLORE_IN_FLIGHT_MAX)
        return err_set(err, ERR_USAGE, "messages: 1 to %d", EXPLORE_IN_FLIGHT_MAX);
    if (o->batch < 1 || o->batch > EXPLORE_LOG_MAX)
        return err_set(err, ERR_USAGE, "batch: 1 to %d", EXPLORE_LOG_MAX);
    if (o->jobs < 1 || o->jobs > EXPLORE_JOBS_MAX)
        return err_set(err, ERR_USAGE, "jobs: 1 to %d", EXPLORE_JOBS_MAX);
    /* Each election has a term and a no-op; a change has three configurations at most. */
    uint64_t terms = 1 + b[EXPLORE_TIMEOUTS] + b[EXPLORE_TRANSFERS] + b[EXPLORE_CHANGES];
    if (terms + b[EXPLORE_PROPOSALS] + 3 * b[EXPLORE_CHANGES] > EXPLORE_LOG_MAX)
        return err_set(err, ERR_USAGE,
                       "timeouts, transfers, proposals and 4 for each change: %d together at most",
                       EXPLORE_LOG_MAX - 1);
    if (1 + 3 * b[EXPLORE_CHANGES] > CONFIGURATIONS_MAX)
        return err_set(err, ERR_USAGE, "changes: at most %d", (CONFIGURATIONS_MAX - 1) / 3);
    return 0;
}

int explore_run(const struct explore_options *options, struct explore_report *report,
                struct err *err)
{
    struct search s;
    memset(report, 0, sizeof(*report));
    int code = check_options(options, err);
    if (code != 0)
        return code;
    init(&s, options);
    check_set_hook(step_assertion_failed, NULL);
    run(&s, report);
    report_on(&s, report);
    if (report->end == EXPLORE_VIOLATED)
        path_tell(s.workers[0].expansion, &s.seen, s.violated_from, report);
    check_set_hook(NULL, NULL);
    release(&s);
    return 0;
}

void explore_report_release(struct explore_report *report)
{
    for (size_t i = 0; i < report->step_count; i++) {
        mem_free(report->steps[i].text);
        mem_free(report->steps[i].trace);
    }
    mem_free(report->steps);
    report->steps = NULL;
    report->step_count = 0;
}

const char *explore_budget_name(enum explore_budget budget)
{
    static const char *const names[EXPLORE_BUDGETS] = {
        "timeouts",  "heartbeats", "crashes",   "losses",      "duplicates",
        "proposals", "changes",    "transfers", "compactions", "reads",
    };
    return names[budget];
}

const char *explore_kind_name(enum explore_kind kind)
{
    static const char *const names[EXPLORE_KINDS] = {
        "timeout",  "heartbeat", "late", "persisted",       "crash",   "propose",   "change",
        "transfer", "compact",   "read", "snapshot failed", "deliver", "duplicate",
    };
    return names[kind];
}
