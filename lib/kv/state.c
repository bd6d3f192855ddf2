/*
 * The state machine: applying entries, reading single keys, and the life of memtables. Batches are
 * in batch.c, scans in scan.c, sessions in session.c.
 *
 * Applying has two halves: evaluate, which may read the base and fail, and change, which cannot
 * fail. Whatever goes wrong happens in the first half.
 */
#include <inttypes.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/mem.h"
#include "lib/kv/state_internal.h"

enum {
    OVERLAY_TABLES_EXPECTED = 8, /* full memtables that the overlay's index holds without growing */
    RETIRED_ROWS_A_STEP = 32, /* rows dropped with each apply: 8,192 at once pause for over 1 ms */
};

const struct state_options state_options_default = {
    .memtable_rows_max = 32768,
    .memtable_bytes_max = 32 << 20,
    .index_stride = 32768,
    .sessions_max = 100000,
    .session_ttl_ms = UINT64_C(24) * 3600 * 1000,
};

/* ---- life */

static void publish(struct state *s)
{
    const struct memtable *active = state_active(s);
    atomic_store_explicit(&s->published.bytes, s->frozen_bytes + active->bytes,
                          memory_order_relaxed);
    atomic_store_explicit(&s->published.rows, s->frozen_rows + active->row_count,
                          memory_order_relaxed);
    atomic_store_explicit(&s->published.frozen, s->frozen, memory_order_relaxed);
    atomic_store_explicit(&s->published.applied, s->applied, memory_order_relaxed);
    atomic_store_explicit(&s->published.flushed, s->flushed, memory_order_relaxed);
}

static void load(struct state *s, const struct state_image *image)
{
    s->applied = image->applied;
    s->applied_term = image->applied_term;
    s->cluster_time_ms = image->cluster_time_ms;
    s->membership = image->membership;
    s->flushed = image->applied;
    s->frozen = 0;
    s->frozen_bytes = s->frozen_rows = 0;
    hash_index_init(&s->overlay, (size_t)s->options.memtable_rows_max * OVERLAY_TABLES_EXPECTED);
    sessions_init(&s->sessions, s->options.sessions_max, s->options.session_ttl_ms);
    sessions_load(&s->sessions, image->sessions, image->session_count);
    TAILQ_INIT(&s->tables);
    struct memtable *active = memtable_new(++s->table_number, s->applied + 1);
    TAILQ_INSERT_HEAD(&s->tables, active, tables);
    publish(s);
}

static void unload(struct state *s)
{
    struct memtable *m;
    while ((m = TAILQ_FIRST(&s->tables))) {
        TAILQ_REMOVE(&s->tables, m, tables);
        memtable_free(m, NULL);
    }
    if (s->retired)
        memtable_free(s->retired, NULL);
    s->retired = NULL;
    hash_index_release(&s->overlay);
    sessions_release(&s->sessions);
}

struct state *state_new(const struct state_options *options, const struct state_base *base,
                        const struct state_image *image)
{
    ASSERT(options->memtable_rows_max > 0 && options->memtable_bytes_max > 0);
    ASSERT(options->sessions_max > 0);
    struct state *s = mem_zalloc(sizeof(*s));
    s->options = *options;
    s->base = base;
    load(s, image);
    return s;
}

void state_free(struct state *s)
{
    if (!s)
        return;
    unload(s);
    mem_free(s);
}

void state_reset(struct state *s, const struct state_image *image)
{
    unload(s);
    load(s, image);
}

/* ---- memtables */

/*
 * A row of a retired memtable that is still the newest of its key is what the base says too, so the
 * overlay may show it or not. That needs older rows to go before newer ones: only one memtable is
 * retired at a time.
 */
static void drop_retired(struct state *s, uint32_t rows)
{
    if (!s->retired || memtable_drop(s->retired, &s->overlay, rows))
        return;
    memtable_free(s->retired, &s->overlay);
    s->retired = NULL;
}

static void freeze(struct state *s)
{
    struct memtable *m = state_active(s);
    m->membership = s->membership;
    m->cluster_time_ms = s->cluster_time_ms;
    s->frozen++;
    s->frozen_bytes += m->bytes;
    s->frozen_rows += m->row_count;
    sessions_frozen(&s->sessions);
    struct memtable *active = memtable_new(++s->table_number, m->last + 1);
    TAILQ_INSERT_HEAD(&s->tables, active, tables); /* a macro: its arguments are evaluated often */
}

static bool ends_here(const struct state *s)
{
    for (size_t i = 0; i < STATE_ENDS_MAX; i++)
        if (s->ends[i] == s->applied)
            return true;
    return s->options.index_stride > 0 && s->applied % s->options.index_stride == 0;
}

static void freeze_if_full(struct state *s)
{
    const struct memtable *m = state_active(s);
    const struct state_options *o = &s->options;
    if (m->row_count >= o->memtable_rows_max || m->bytes >= o->memtable_bytes_max || ends_here(s))
        freeze(s);
}

void state_end_at(struct state *s, raft_index index)
{
    for (size_t i = 0; i < STATE_ENDS_MAX; i++)
        if (s->ends[i] == index && index > s->applied)
            return;
    if (index == s->applied && !memtable_empty(state_active(s))) {
        freeze(s);
        publish(s);
    } else if (index > s->applied) {
        s->ends[s->ends_next++ % STATE_ENDS_MAX] = index;
    }
}

const struct memtable *state_freeze(struct state *s)
{
    drop_retired(s, UINT32_MAX);
    if (!memtable_empty(state_active(s))) {
        freeze(s);
        publish(s);
    }
    return state_oldest_frozen(s);
}

const struct memtable *state_oldest_frozen(const struct state *s)
{
    return s->frozen > 0 ? TAILQ_LAST(&s->tables, memtable_queue) : NULL;
}

void state_flushed(struct state *s, const struct memtable *m)
{
    ASSERT(s->frozen > 0);
    struct memtable *oldest = TAILQ_LAST(&s->tables, memtable_queue);
    ASSERT(m == oldest && oldest->first == s->flushed + 1);
    TAILQ_REMOVE(&s->tables, oldest, tables);
    s->flushed = oldest->last;
    s->frozen--;
    s->frozen_bytes -= oldest->bytes;
    s->frozen_rows -= oldest->row_count;
    drop_retired(s, UINT32_MAX);
    s->retired = oldest;
    publish(s);
}

/* ---- applying */

/* A write in the course of being evaluated. */
struct write {
    struct entry *entry;
    const struct command *command;
    uint64_t now_ms; /* cluster time at this entry */
    uint64_t fingerprint;
    struct live_session *session; /* NULL: unknown client, or none */
    uint64_t hash;                /* of the key in the overlay */
    struct memrow *newest;        /* the key's row there */
};

int state_key_version(struct state *s, struct slice key, const struct memrow *newest,
                      uint64_t *version, struct err *err)
{
    *version = 0;
    if (newest) {
        *version = newest->deleted ? 0 : newest->row.version;
        return 0;
    }
    struct row row;
    struct err detail; /* a key that is not there is no error here, and leaves `err` alone */
    int rc = s->base->get(s->base->self, key, false, &row, &detail);
    if (rc == 0)
        *version = row.version;
    if (rc == 0 || rc == ERR_NOT_FOUND)
        return 0;
    if (err)
        *err = detail;
    return rc;
}

static bool condition_holds(const struct command *c, uint64_t version)
{
    switch (c->condition) {
    case CONDITION_NONE: return true;
    case CONDITION_VERSION: return version == c->expected;
    case CONDITION_ABSENT: return version == 0;
    }
    return false; /* not decoded, then */
}

/* What the write comes to; changes nothing. */
static int evaluate(struct state *s, struct write *w, struct apply_result *result, struct err *err)
{
    const struct command *c = w->command;
    w->hash = hash_index_hash(&s->overlay, c->key);
    w->newest = overlay_find(&s->overlay, c->key, w->hash);
    uint64_t version = 0;
    if (c->op == COMMAND_DELETE || c->condition != CONDITION_NONE) {
        int rc = state_key_version(s, c->key, w->newest, &version, err);
        if (rc != 0)
            return rc;
    }
    if (!condition_holds(c, version)) {
        result->status = ERR_PRECONDITION_FAILED;
        result->version = version;
        return 0;
    }
    result->existed = c->op == COMMAND_DELETE && version > 0;
    result->version = w->entry->index;
    result->timestamp_ms = c->wall_ms;
    return 0;
}

static void change(struct state *s, const struct write *w, const struct apply_result *result)
{
    const struct command *c = w->command;
    /* Deleting what is not there leaves nothing to write. */
    if (result->status != 0 || (c->op == COMMAND_DELETE && !result->existed))
        return;
    struct row row = {
        .key = c->key,
        .value = c->value,
        .version = w->entry->index,
        .timestamp_ms = c->wall_ms,
    };
    memtable_write(state_active(s), &s->overlay, w->newest, w->hash, w->entry, &row,
                   c->op == COMMAND_DELETE);
}

static void remember(struct state *s, const struct write *w, const struct apply_result *result)
{
    const struct command *c = w->command;
    struct session next = {
        .seq = c->seq,
        .fingerprint = w->fingerprint,
        .status = result->status,
        .existed = result->existed,
        .version = result->version,
        .timestamp_ms = result->timestamp_ms,
        .used_ms = w->now_ms,
        .used_index = w->entry->index,
    };
    memcpy(next.client, c->client.data, c->client.len);
    memcpy(next.batch_existed, result->batch_existed, sizeof(next.batch_existed));
    sessions_put(&s->sessions, state_active(s), w->session, &next);
}

/* The first answer again. Being asked for it is a use of the session, other than being refused. */
static void replay(struct state *s, const struct write *w, struct apply_result *result)
{
    struct session next = w->session->session;
    result->replayed = true;
    result->status = next.status;
    result->existed = next.existed;
    result->version = next.version;
    result->timestamp_ms = next.timestamp_ms;
    memcpy(result->batch_existed, next.batch_existed, sizeof(next.batch_existed));
    next.used_ms = w->now_ms;
    next.used_index = w->entry->index;
    sessions_put(&s->sessions, state_active(s), w->session, &next);
}

static int apply_write(struct state *s, struct write *w, struct apply_result *result,
                       struct err *err)
{
    const struct command *c = w->command;
    if (c->client.len > 0) {
        w->fingerprint = command_fingerprint(c);
        w->session = sessions_find(&s->sessions, c->client);
        int verdict = session_judge(w->session, c->seq, w->fingerprint);
        if (verdict == SESSION_REPLAY) {
            replay(s, w, result);
            return 0;
        }
        if (verdict != SESSION_NEW_REQUEST) {
            result->status = verdict;
            return 0;
        }
    }
    int rc = c->op == COMMAND_BATCH ? batch_apply(s, w->entry, c, result, err)
                                    : evaluate(s, w, result, err);
    if (rc != 0)
        return rc;
    if (c->op != COMMAND_BATCH)
        change(s, w, result);
    if (c->client.len > 0)
        remember(s, w, result);
    return 0;
}

static int apply_command(struct state *s, struct entry *e, struct apply_result *result,
                         struct err *err)
{
    struct command c;
    int rc = command_decode(slice_of(e->data, e->size), &c, err);
    if (rc != 0)
        return rc;
    uint64_t now_ms =
        c.cluster_time_ms > s->cluster_time_ms ? c.cluster_time_ms : s->cluster_time_ms;
    if (c.op == COMMAND_EXPIRE_SESSIONS) {
        /* By the entry's own time: whoever was used since its leader looked stays. */
        for (uint32_t i = 0; i < c.expire_count; i++)
            sessions_expire(&s->sessions, state_active(s), c.expire[i], c.cluster_time_ms);
    } else {
        struct write w = {.entry = e, .command = &c, .now_ms = now_ms};
        rc = apply_write(s, &w, result, err);
        if (rc != 0)
            return rc;
    }
    s->cluster_time_ms = now_ms;
    return 0;
}

static int apply_configuration(struct state *s, const struct entry *e, struct err *err)
{
    struct membership m;
    int rc = membership_decode(slice_of(e->data, e->size), e->index, &m, err);
    if (rc != 0)
        return rc;
    if (m.configuration.count == 0)
        return err_set(err, ERR_CORRUPT, "a membership without members");
    s->membership = m;
    return 0;
}

static int apply_entry(struct state *s, struct entry *e, struct apply_result *result,
                       struct err *err)
{
    if (!entry_intact(e))
        return err_set(err, ERR_CORRUPT, "checksum differs");
    switch (e->kind) {
    case RAFT_NORMAL: return apply_command(s, e, result, err);
    case RAFT_CONFIGURATION: return apply_configuration(s, e, err);
    case RAFT_NOOP: return e->size == 0 ? 0 : err_set(err, ERR_CORRUPT, "a no-op with a payload");
    }
    return err_set(err, ERR_CORRUPT, "unknown kind %d", (int)e->kind);
}

int state_apply(struct state *s, struct entry *e, struct apply_result *result, struct err *err)
{
    ASSERT(e->index == s->applied + 1);
    ASSERT(e->term >= s->applied_term);
    *result = (struct apply_result){.index = e->index};
    struct memtable *active = state_active(s);
    uint32_t rows_before = active->row_count;
    int rc = apply_entry(s, e, result, err);
    if (rc != 0) {
        *result = (struct apply_result){.index = e->index, .status = rc};
        err_prefix(err, "entry %" PRIu64, e->index);
        return rc;
    }
    s->applied = e->index;
    s->applied_term = e->term;
    active->last = e->index;
    active->last_term = e->term;
    uint32_t rows = active->row_count - rows_before; /* of a batch many */
    freeze_if_full(s);
    drop_retired(s, RETIRED_ROWS_A_STEP + rows);
    publish(s);
    return 0;
}

/* ---- looking at it */

raft_index state_applied(const struct state *s)
{
    return s->applied;
}

raft_term state_applied_term(const struct state *s)
{
    return s->applied_term;
}

uint64_t state_cluster_time_ms(const struct state *s)
{
    return s->cluster_time_ms;
}

const struct membership *state_membership(const struct state *s)
{
    return &s->membership;
}

size_t state_session_count(const struct state *s)
{
    return s->sessions.count;
}

size_t state_sessions_expired(const struct state *s, uint64_t cluster_time_ms,
                              char ids[COMMAND_EXPIRE_MAX][COMMAND_CLIENT_BYTES + 1])
{
    size_t count = 0;
    const struct live_session *live;
    TAILQ_FOREACH(live, &s->sessions.used, uses)
    {
        if (count == COMMAND_EXPIRE_MAX ||
            !session_expired(&s->sessions, &live->session, cluster_time_ms))
            break;
        memcpy(ids[count++], live->session.client, sizeof(live->session.client));
    }
    return count;
}

int state_get(struct state *s, struct slice key, struct row *row, struct err *err)
{
    const struct memrow *newest = overlay_find(&s->overlay, key, hash_index_hash(&s->overlay, key));
    if (!newest)
        return s->base->get(s->base->self, key, true, row, err);
    if (newest->deleted)
        return err_set(err, ERR_NOT_FOUND, "no such key");
    *row = newest->row;
    return 0;
}

void state_limits(const struct state *s, struct state_limits *out)
{
    *out = (struct state_limits){
        .overlay_bytes = atomic_load_explicit(&s->published.bytes, memory_order_relaxed),
        .overlay_rows = atomic_load_explicit(&s->published.rows, memory_order_relaxed),
        .frozen = atomic_load_explicit(&s->published.frozen, memory_order_relaxed),
        .applied = atomic_load_explicit(&s->published.applied, memory_order_relaxed),
        .flushed = atomic_load_explicit(&s->published.flushed, memory_order_relaxed),
    };
}
