/*
 * The state machine's thread and the flusher's: applies and reads in one queue, results in another,
 * memtables into kv.db.
 */
#include <inttypes.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/mem.h"
#include "lib/sim/sim_internal.h"
#include "lib/store/kv_store.h"

enum { SIM_SESSIONS = 100000, SIM_FAILING_AFTER = 5, SIM_FLUSH_AGAIN_US = 200000 };

/* ---- queues ---- */

static struct sim_work *works_at(struct sim_works *w, size_t i)
{
    return &w->items[(w->first + i) & (w->room - 1)];
}

static void works_add(struct sim_works *w, const struct sim_work *work)
{
    if (w->count == w->room) {
        size_t room = w->room ? 2 * w->room : 64;
        struct sim_work *grown = mem_calloc(room, sizeof(*grown));
        for (size_t i = 0; i < w->count; i++)
            grown[i] = *works_at(w, i);
        mem_free(w->items);
        w->items = grown;
        w->first = 0;
        w->room = room;
    }
    *works_at(w, w->count++) = *work;
}

static struct sim_work works_take(struct sim_works *w)
{
    struct sim_work work = *works_at(w, 0);
    w->first = (w->first + 1) & (w->room - 1);
    w->count--;
    return work;
}

static void post(struct sim_node *n, const struct sim_work *work)
{
    struct sim *s = n->sim;
    works_add(&n->works, work);
    if (n->due_us[SIM_DUE_STATE] == UINT64_MAX) {
        uint64_t at_us = s->now_us + sim_draw(&s->state, 1, s->plan.state_range_us);
        if (at_us < n->state_stalled_until_us)
            at_us = n->state_stalled_until_us;
        sim_node_due(n, SIM_DUE_STATE, at_us);
    }
}

/* ---- carry's wishes ---- */

/* The bound of every node, the leader included: min(commit, durable). */
void sim_state_apply(void *self, struct entry **entries, size_t count)
{
    struct sim_node *n = self;
    struct sim_work work = {.entries = mem_dup(entries, count * sizeof(struct entry *)),
                            .count = count};
    for (size_t i = 0; i < count; i++) {
        sim_check_apply(n, entries[i]);
        n->handed++;
    }
    post(n, &work);
}

void sim_state_read(void *self, struct carry_request *r)
{
    struct sim_node *n = self;
    struct sim *s = n->sim;
    struct sim_op *op = (struct sim_op *)r;
    if (n->installing)
        sim_violated(s, "n%" PRIu64 " reads its state while a snapshot is installed", n->id);
    if (r->write || !op->held || r->index > n->handed)
        sim_violated(s, "n%" PRIu64 " reads before what was asked for is handed out", n->id);
    struct sim_work work = {.op = (uint32_t)(op - s->ops) + 1};
    post(n, &work);
}

void sim_state_expired(struct sim_node *n)
{
    struct sim_work work = {.expired = true,
                            .expired_ms = carry_cluster_time_ms(n->carry, sim_clock(n))};
    post(n, &work);
}

/* ---- evaluating ---- */

static void apply(struct sim_node *n, struct sim_work *w)
{
    w->results = mem_calloc(w->count, sizeof(*w->results));
    for (size_t i = 0; i < w->count; i++) {
        struct entry *e = w->entries[i];
        struct err err = {0};
        if (state_apply(n->state, e, &w->results[i].result, &err) != 0)
            sim_violated(n->sim, "n%" PRIu64 ": %s", n->id, err.text);
        sim_model_result(n, e, &w->results[i].result);
        w->results[i].term = e->term;
        w->results[i].bytes = e->size;
        w->results[i].cluster_time_ms = state_cluster_time_ms(n->state);
        entry_unref(e);
    }
    mem_free(w->entries);
    w->entries = NULL;
}

static uint64_t record_of(struct slice value)
{
    uint64_t record = 0;
    ASSERT(value.len >= sizeof(record));
    memcpy(&record, value.data, sizeof(record));
    return record;
}

static void get(struct sim_node *n, struct sim_op *op, const struct sim_record *record)
{
    char key[SIM_KEY_BYTES];
    struct row row = {0};
    sim_key_text(record->key, key);
    op->code = state_get(n->state, slice_str(key), &row, NULL);
    op->version = op->code == 0 ? row.version : 0;
    op->value_record = op->code == 0 ? record_of(row.value) : 0;
    op->value_bytes = op->code == 0 ? (uint32_t)row.value.len : 0;
}

static int emit(void *argument, const struct row *row)
{
    struct sim_op *op = argument;
    ASSERT(op->row_count < SIM_KEYS_MAX && row->key.len == 3);
    uint32_t key = (uint32_t)(row->key.data[1] - '0') * 10 + (uint32_t)(row->key.data[2] - '0');
    op->rows[op->row_count++] = (struct sim_row){.key = key, .version = row->version};
    return 0;
}

static void scan(struct sim_node *n, struct sim_op *op)
{
    const struct state_scan all = {.limit = SIM_KEYS_MAX, .bytes_max = 1 << 20, .keys_only = true};
    bool more = false;
    op->row_count = 0;
    op->code = state_scan(n->state, &all, emit, op, &more, NULL);
}

static void evaluate(struct sim_node *n, struct sim_work *w)
{
    struct sim *s = n->sim;
    if (w->entries) {
        apply(n, w);
    } else if (w->expired) {
        char(*ids)[COMMAND_CLIENT_BYTES + 1] = mem_calloc(COMMAND_EXPIRE_MAX, sizeof(*ids));
        w->count = state_sessions_expired(n->state, w->expired_ms, ids);
        w->ids = ids;
    } else {
        struct sim_op *op = &s->ops[w->op - 1];
        const struct sim_record *record = &s->model.records[op->record];
        op->evaluated_at = state_applied(n->state);
        if (record->kind == SIM_SCAN)
            scan(n, op);
        else
            get(n, op, record);
    }
}

static void evaluate_all(struct sim_node *n)
{
    while (n->works.count > 0) {
        struct sim_work w = works_take(&n->works);
        evaluate(n, &w);
        works_add(&n->done, &w);
    }
}

void sim_state_evaluate(struct sim_node *n)
{
    struct sim *s = n->sim;
    struct state_limits limits;
    if (n->state_stalled_until_us > s->now_us) {
        sim_node_due(n, SIM_DUE_STATE, n->state_stalled_until_us);
        return;
    }
    evaluate_all(n);
    state_limits(n->state, &limits);
    carry_overlay(n->carry, limits.overlay_bytes);
    if (limits.frozen > 0 && n->due_us[SIM_DUE_CHECKPOINT] == UINT64_MAX && !n->installing)
        sim_node_due(n, SIM_DUE_FLUSH, s->now_us + 1);
    if (n->due_us[SIM_DUE_RESULTS] == UINT64_MAX && n->done.count > 0)
        sim_node_due(n, SIM_DUE_RESULTS, s->now_us + sim_draw(&s->state, 0, 50));
}

static void result(struct sim_node *n, struct sim_work *w)
{
    struct sim *s = n->sim;
    if (w->results) {
        carry_applied(n->carry, w->results, w->count, sim_clock(n));
        mem_free(w->results);
    } else if (w->ids) {
        carry_sessions_expired(n->carry, w->ids, w->count, sim_clock(n));
        mem_free(w->ids);
    } else if (w->op > 0) {
        struct sim_op *op = &s->ops[w->op - 1];
        if (carry_read_done(n->carry, &op->carry, sim_clock(n)))
            sim_client_read_done(n, op);
    }
}

void sim_state_results(struct sim_node *n)
{
    for (size_t left = n->done.count; left > 0; left--) {
        struct sim_work w = works_take(&n->done);
        result(n, &w);
    }
}

/* ---- kv.db ---- */

void sim_state_open(struct sim_node *n)
{
    const struct sim_plan *p = &n->sim->plan;
    struct state_options options = {
        .memtable_rows_max = p->memtable_rows,
        .memtable_bytes_max = 1 << 20,
        .index_stride = p->index_stride,
        .sessions_max = SIM_SESSIONS,
        .session_ttl_ms = p->session_ttl_ms,
    };
    struct state_image image;
    state_free(n->state);
    base_map_image(n->map, &image);
    n->state = state_new(&options, base_map_base(n->map), &image);
    n->handed = image.applied;
}

/* Of the file's rows: what the node's flusher keeps up to date row by row. */
static struct digest rows_digest(struct base_map *map)
{
    const struct state_base *base = base_map_base(map);
    struct digest sum = {0};
    struct row row;
    base->seek(base->self, slice_str(""), false, true, NULL);
    while (base->next(base->self, &row, NULL) == 0)
        sum = digest_add(sum, kv_row_digest(&row));
    return sum;
}

static void flush_failed(struct sim_node *n)
{
    if (++n->flush_failures == SIM_FAILING_AFTER)
        carry_flush_failing(n->carry, true, sim_clock(n));
    sim_node_due(n, SIM_DUE_FLUSH, n->sim->now_us + SIM_FLUSH_AGAIN_US);
}

/* One memtable. */
static bool flush_one(struct sim_node *n)
{
    const struct memtable *m = state_freeze(n->state);
    if (!m)
        return false;
    raft_index last = memtable_last_index(m);
    base_map_flush(n->map, m);
    state_flushed(n->state, m);
    if (last % n->sim->plan.index_stride == 0) {
        struct digest rows = rows_digest(n->map);
        sim_model_digest(n, last, rows);
        if (n->carry)
            carry_flushed(n->carry, last, rows, sim_clock(n));
    }
    return true;
}

void sim_state_flush(struct sim_node *n)
{
    struct sim *s = n->sim;
    if (n->installing)
        return;
    if (n->flush_breaks) {
        flush_failed(n);
        return;
    }
    if (!flush_one(n) && n->flush_failures == 0 && base_map_applied(n->map) == n->synced_index) {
        sim_node_due(n, SIM_DUE_FLUSH, s->now_us + s->plan.flush_us);
        return;
    }
    sim_node_due(n, SIM_DUE_CHECKPOINT,
                 s->now_us + sim_draw(&s->disk, s->plan.disk_min_us, s->plan.disk_range_us));
}

void sim_state_synced(struct sim_node *n)
{
    n->synced_index = base_map_applied(n->map);
    if (n->synced)
        base_map_copy(n->synced, n->map);
}

void sim_state_checkpoint(struct sim_node *n)
{
    struct sim *s = n->sim;
    if (n->installing)
        return;
    if (n->flush_breaks) {
        flush_failed(n);
        return;
    }
    if (n->flush_failures >= SIM_FAILING_AFTER)
        carry_flush_failing(n->carry, false, sim_clock(n));
    n->flush_failures = 0;
    sim_state_synced(n);
    carry_checkpointed(n->carry, base_map_applied(n->map), sim_clock(n));
    sim_node_due(n, SIM_DUE_FLUSH,
                 s->now_us + (state_oldest_frozen(n->state) ? 1 : s->plan.flush_us));
}

/* ---- its end ---- */

static void works_drop(struct sim_node *n, struct sim_works *works)
{
    while (works->count > 0) {
        struct sim_work w = works_take(works);
        for (size_t i = 0; w.entries && i < w.count; i++)
            entry_unref(w.entries[i]);
        mem_free(w.entries);
        mem_free(w.results);
        mem_free(w.ids);
        if (w.op > 0)
            sim_client_lost(n, &n->sim->ops[w.op - 1]);
    }
}

void sim_state_crash(struct sim_node *n, bool power)
{
    works_drop(n, &n->works);
    works_drop(n, &n->done);
    state_free(n->state);
    n->state = NULL;
    n->flush_failures = 0;
    if (power) {
        ASSERT(n->synced);
        base_map_copy(n->map, n->synced);
    }
}

void sim_state_free(struct sim_node *n)
{
    base_map_free(n->map);
    if (n->synced)
        base_map_free(n->synced);
    mem_free(n->works.items);
    mem_free(n->done.items);
}
