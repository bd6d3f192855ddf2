#include "lib/node/machine.h"

#include <pthread.h>
#include <stddef.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"

enum {
    MACHINE_POST_MAX = 64,     /* finished works are handed back at least so often */
    MACHINE_RETRY_US = 200000, /* a failed flush is tried again after */
    MACHINE_FAILING_AFTER = 5, /* failures in a row that make an alarm and a stall */
};

enum machine_kind {
    MACHINE_APPLY,
    MACHINE_READ,
    MACHINE_EXPIRED,
    MACHINE_FREEZE,
    MACHINE_FLUSHED,
    MACHINE_REFRESH,
    MACHINE_CLOSE,
    MACHINE_OPEN,
};

enum flusher_kind {
    FLUSHER_FLUSH,
    FLUSHER_CHECKPOINT,
    FLUSHER_CLUSTER,
    FLUSHER_CLOSE,
    FLUSHER_OPEN
};

/* Where the flush is; it is one work that travels. */
enum flush_stage {
    FLUSH_IDLE,
    FLUSH_FREEZING,
    FLUSH_WRITING,
    FLUSH_DROPPING,
    FLUSH_CHECKPOINTING,
    FLUSH_REFRESHING
};

struct machine {
    struct machine_options options;
    struct worker *machine, *flusher;

    /* state machine thread, once it runs */
    struct state *state;
    struct kv_reader *reader;
    struct state_base base;

    /* flusher thread, once it runs */
    struct kv_writer *writer;
    struct digest cluster_id;

    /* what the file said at the start, or at the last switch (handed from flusher to machine) */
    struct kv_image image;
    uint64_t generation;

    /* loop thread */
    struct work flush; /* the travelling work */
    enum flush_stage stage;
    const struct memtable *memtable; /* being flushed */
    raft_index memtable_last;
    raft_index checkpointed;
    struct digest digest;
    uint64_t keys;
    int flush_code;
    struct err flush_err;
    unsigned failures;
    bool more_frozen; /* at REFRESH or apply: another one waits */
    bool closing, open, stopped;
    struct loop_timer *pace;
    struct work switching;
    struct work cluster;
    void (*switched)(void *);
    void *switched_argument;
    struct machine_figures figures;

    pthread_mutex_t mutex; /* what the machine's thread tells in between */
    struct state_limits limits;
    size_t sessions;
};

static void flush_start(struct machine *m);
static void flush_next(struct work *w);

/* ---- the state machine's thread ---- */

static void run_apply(struct machine *m, struct machine_apply *a)
{
    uint64_t start_us = clock_now_us();
    struct state_limits limits;
    struct err err = {0};

    fault_point(m->options.faults, API_FAULT_BEFORE_APPLY);
    a->results = mem_calloc(a->count, sizeof *a->results);
    for (size_t i = 0; i < a->count; i++) {
        struct entry *e = a->entries[i];
        int code = state_apply(m->state, e, &a->results[i].result, &err);

        if (code != 0) {
            m->options.fatal(m->options.argument, &err);
        }
        a->results[i].term = e->term;
        a->results[i].bytes = e->size;
        a->results[i].cluster_time_ms = state_cluster_time_ms(m->state);
        entry_unref(e);
    }
    fault_point(m->options.faults, API_FAULT_AFTER_APPLY);
    mem_free(a->entries);
    a->entries = NULL;
    state_limits(m->state, &limits);
    a->overlay_bytes = limits.overlay_bytes;
    a->frozen = limits.frozen;
    a->took_us = clock_now_us() - start_us;
}

static void run_machine_work(struct machine *m, struct work *w)
{
    struct state_limits limits;
    struct err err = {0};

    switch ((enum machine_kind)w->kind) {
    case MACHINE_APPLY: run_apply(m, (struct machine_apply *)w); break;
    case MACHINE_READ: {
        struct machine_read *r = (struct machine_read *)w;

        r->evaluate(r->request, m->state);
        break;
    }
    case MACHINE_EXPIRED: {
        struct machine_expired *e = (struct machine_expired *)w;

        e->count = state_sessions_expired(m->state, e->cluster_time_ms, e->ids);
        break;
    }
    case MACHINE_FREEZE:
        m->memtable = state_oldest_frozen(m->state);
        if (!m->memtable) {
            m->memtable = state_freeze(m->state);
        }
        state_limits(m->state, &limits);
        m->more_frozen = limits.frozen > 1;
        break;
    case MACHINE_FLUSHED: /* first the reader sees the rows underneath, then they leave the overlay:
                             never a gap */
        kv_reader_refresh(m->reader);
        state_flushed(m->state, m->memtable);
        break;
    case MACHINE_REFRESH:
        kv_reader_refresh(m->reader);
        m->more_frozen = state_oldest_frozen(m->state) != NULL;
        break;
    case MACHINE_CLOSE:
        kv_reader_close(m->reader);
        m->reader = NULL;
        break;
    case MACHINE_OPEN:
        if (kv_reader_open(m->options.dir, m->generation, &m->reader, &err) != 0) {
            m->options.fatal(m->options.argument, &err);
        }
        kv_reader_base(m->reader, &m->base);
        state_reset(m->state, &m->image.image);
        break;
    }
}

static bool machine_batch(void *self, struct work_list *list)
{
    struct machine *m = self;
    struct work_list finished = STAILQ_HEAD_INITIALIZER(finished);
    struct work *w;
    unsigned n = 0;

    while ((w = STAILQ_FIRST(list)) != NULL) {
        STAILQ_REMOVE_HEAD(list, link);
        run_machine_work(m, w);
        STAILQ_INSERT_TAIL(&finished, w, link);
        if (++n % MACHINE_POST_MAX == 0) {
            done_post(m->options.done, &finished);
        }
    }
    pthread_mutex_lock(&m->mutex);
    state_limits(m->state, &m->limits);
    m->sessions = state_session_count(m->state);
    pthread_mutex_unlock(&m->mutex);
    done_post(m->options.done, &finished);
    return false;
}

/* ---- the flusher's thread ---- */

static void run_open(struct machine *m)
{
    struct err err = {0};

    mem_free(m->image.sessions);
    if (kv_writer_open(m->options.dir, m->generation, &m->cluster_id, &m->writer, &err) != 0 ||
        kv_writer_image(m->writer, &m->image, &err) != 0) {
        m->options.fatal(m->options.argument, &err);
    }
}

static bool flusher_batch(void *self, struct work_list *list)
{
    struct machine *m = self;
    struct work *w;

    while ((w = STAILQ_FIRST(list)) != NULL) {
        STAILQ_REMOVE_HEAD(list, link);
        switch ((enum flusher_kind)w->kind) {
        case FLUSHER_FLUSH:
            m->flush_code =
                kv_writer_flush(m->writer, m->memtable, &m->digest, &m->keys, &m->flush_err);
            break;
        case FLUSHER_CHECKPOINT:
            m->flush_code = kv_writer_checkpoint(m->writer, &m->checkpointed, &m->flush_err);
            break;
        case FLUSHER_CLUSTER:
            m->flush_code = kv_writer_set_cluster(m->writer, m->cluster_id, &m->flush_err);
            if (m->flush_code != 0) {
                m->options.fatal(m->options.argument, &m->flush_err);
            }
            break;
        case FLUSHER_CLOSE:
            kv_writer_close(m->writer);
            m->writer = NULL;
            break;
        case FLUSHER_OPEN: run_open(m); break;
        }
        done_post_one(m->options.done, w);
    }
    return false;
}

/* ---- the travelling flush (loop thread) ---- */

static void flush_send(struct machine *m, struct worker *to, int kind, enum flush_stage stage)
{
    m->stage = stage;
    m->flush.kind = kind;
    m->flush.done = flush_next;
    worker_post(to, &m->flush);
    worker_flush(to);
}

static void flush_start(struct machine *m)
{
    if (m->stage == FLUSH_IDLE && m->open && !m->closing && !m->stopped) {
        flush_send(m, m->machine, MACHINE_FREEZE, FLUSH_FREEZING);
    }
}

/* Somebody waits for the flush in progress: the next memtable, a new generation, the end. */
static void flush_hurry(struct machine *m)
{
    if (m->open) {
        kv_writer_calm(m->writer, false);
    }
}

static void close_continue(struct machine *m);

static void flush_end(struct machine *m, uint64_t again_in_us)
{
    m->stage = FLUSH_IDLE;
    if (m->closing) {
        close_continue(m);
    } else {
        loop_timer_at(m->pace, clock_now_us() + again_in_us);
    }
}

/* A flush that failed changed nothing that anybody saw: it begins again from the overlay, which
 * still has every row. */
static void flush_failed(struct machine *m)
{
    m->failures++;
    m->figures.flush_failures++;
    log_warn("flush failed", "tries=%u code=%s what=\"%s\"", m->failures, err_name(m->flush_code),
             m->flush_err.text);
    if (m->flush_code == ERR_CORRUPT) {
        m->options.fatal(m->options.argument, &m->flush_err);
    }
    if (m->failures == MACHINE_FAILING_AFTER) {
        log_error("kv.db cannot be written", "what=\"%s\"", m->flush_err.text);
        m->figures.flush_failing = true;
        m->options.flush_failing(m->options.argument, true);
    }
    flush_end(m, MACHINE_RETRY_US);
}

static void flush_succeeded(struct machine *m)
{
    m->failures = 0;
    if (m->figures.flush_failing) {
        m->figures.flush_failing = false;
        m->options.flush_failing(m->options.argument, false);
    }
}

static void flush_next(struct work *w)
{
    struct machine *m = (struct machine *)((char *)w - offsetof(struct machine, flush));

    if (m->stopped) {
        return; /* machine_stop looks where it got to */
    }
    switch (m->stage) {
    case FLUSH_IDLE: ASSERT(m->stage != FLUSH_IDLE); break;
    case FLUSH_FREEZING:
        if (m->memtable) {
            m->memtable_last = memtable_last_index(m->memtable);
            kv_writer_calm(m->writer, !m->more_frozen && !m->closing);
            flush_send(m, m->flusher, FLUSHER_FLUSH, FLUSH_WRITING);
        } else if (m->failures > 0) { /* a checkpoint did: what it was to move is still there */
            flush_send(m, m->flusher, FLUSHER_CHECKPOINT, FLUSH_CHECKPOINTING);
        } else {
            flush_end(m, (uint64_t)m->options.pace_ms * 1000);
        }
        break;
    case FLUSH_WRITING:
        if (m->flush_code != 0) {
            flush_failed(m);
        } else {
            m->figures.flushes++;
            m->figures.digest = m->digest;
            m->figures.keys = m->keys;
            m->figures.flushed = m->memtable_last;
            m->options.flushed(m->options.argument, m->memtable_last, m->digest);
            flush_send(m, m->machine, MACHINE_FLUSHED, FLUSH_DROPPING);
        }
        break;
    case FLUSH_DROPPING: flush_send(m, m->flusher, FLUSHER_CHECKPOINT, FLUSH_CHECKPOINTING); break;
    case FLUSH_CHECKPOINTING:
        if (m->flush_code != 0) {
            flush_failed(m);
        } else {
            flush_succeeded(m);
            flush_send(m, m->machine, MACHINE_REFRESH, FLUSH_REFRESHING);
        }
        break;
    case FLUSH_REFRESHING:
        m->figures.checkpointed = m->checkpointed;
        m->options.checkpointed(m->options.argument, m->checkpointed);
        m->stage = FLUSH_IDLE;
        if (m->more_frozen && !m->closing) {
            flush_start(m);
        } else {
            flush_end(m, (uint64_t)m->options.pace_ms * 1000);
        }
        break;
    }
}

static void pace_due(void *argument)
{
    flush_start(argument);
}

/* ---- posting (loop thread) ---- */

struct apply_with_done {
    struct machine_apply apply; /* first */
    struct machine *machine;
    void (*done)(struct work *);
};

static void apply_done(struct work *w)
{
    struct apply_with_done *a = (struct apply_with_done *)w;
    struct machine *m = a->machine;

    if (a->apply.frozen > 0) {
        flush_start(m);
    }
    if (a->apply.frozen > 1) {
        flush_hurry(m);
    }
    a->done(w);
    mem_free(a->apply.results);
    mem_free(a);
}

void machine_post_apply(struct machine *m, struct entry **entries, size_t count, void *owner,
                        void (*done)(struct work *))
{
    struct apply_with_done *a = mem_zalloc(sizeof *a);

    a->apply.work.kind = MACHINE_APPLY;
    a->apply.work.done = apply_done;
    a->apply.owner = owner;
    a->apply.entries = mem_dup(entries, count * sizeof(struct entry *));
    a->apply.count = count;
    a->machine = m;
    a->done = done;
    worker_post(m->machine, &a->apply.work);
}

void machine_post_read(struct machine *m, struct machine_read *r)
{
    r->work.kind = MACHINE_READ;
    worker_post(m->machine, &r->work);
}

void machine_post_expired(struct machine *m, struct machine_expired *e)
{
    e->work.kind = MACHINE_EXPIRED;
    worker_post(m->machine, &e->work);
}

void machine_flush_turn(struct machine *m)
{
    worker_flush(m->machine);
}

static void cluster_done(struct work *w)
{
    (void)w; /* errors are fatal where they happen */
}

void machine_set_cluster(struct machine *m, struct digest cluster_id)
{
    m->cluster_id = cluster_id;
    m->cluster.kind = FLUSHER_CLUSTER;
    m->cluster.done = cluster_done;
    worker_post(m->flusher, &m->cluster);
    worker_flush(m->flusher);
}

/* ---- another generation ----
 * Once stopped it goes no further: the threads have ended, and the next start finds what raft.db
 * names.
 */

static void closed_writer(struct work *w)
{
    struct machine *m = (struct machine *)((char *)w - offsetof(struct machine, switching));

    m->switched(m->switched_argument);
}

static void closed_reader(struct work *w)
{
    struct machine *m = (struct machine *)((char *)w - offsetof(struct machine, switching));

    if (m->stopped) {
        return;
    }
    w->kind = FLUSHER_CLOSE;
    w->done = closed_writer;
    worker_post(m->flusher, w);
    worker_flush(m->flusher);
}

static void opened_reader(struct work *w)
{
    struct machine *m = (struct machine *)((char *)w - offsetof(struct machine, switching));

    m->open = true;
    m->figures.flushed = m->figures.checkpointed = m->checkpointed = m->image.image.applied;
    m->figures.digest = m->digest = m->image.digest;
    m->figures.keys = m->keys = m->image.keys;
    loop_timer_at(m->pace, clock_now_us() + (uint64_t)m->options.pace_ms * 1000);
    m->switched(m->switched_argument);
}

static void opened_writer(struct work *w)
{
    struct machine *m = (struct machine *)((char *)w - offsetof(struct machine, switching));

    if (m->stopped) {
        return;
    }
    w->kind = MACHINE_OPEN;
    w->done = opened_reader;
    worker_post(m->machine, w);
    worker_flush(m->machine);
}

static void close_continue(struct machine *m)
{
    m->closing = false;
    m->open = false;
    m->switching.kind = MACHINE_CLOSE;
    m->switching.done = closed_reader;
    worker_post(m->machine, &m->switching);
    worker_flush(m->machine);
}

void machine_close(struct machine *m, void (*closed)(void *), void *argument)
{
    ASSERT(m->open && !m->closing);
    m->switched = closed;
    m->switched_argument = argument;
    m->closing = true;
    loop_timer_at(m->pace, UINT64_MAX);
    if (m->stage == FLUSH_IDLE) {
        close_continue(m);
    } else {
        flush_hurry(m);
    }
}

void machine_open(struct machine *m, uint64_t generation, void (*opened)(void *), void *argument)
{
    ASSERT(!m->open);
    if (m->stopped) {
        return;
    }
    m->generation = generation;
    m->switched = opened;
    m->switched_argument = argument;
    m->switching.kind = FLUSHER_OPEN;
    m->switching.done = opened_writer;
    worker_post(m->flusher, &m->switching);
    worker_flush(m->flusher);
}

/* ---- life ---- */

static int open_files(struct machine *m, struct err *err)
{
    int code =
        kv_writer_open(m->options.dir, m->generation, m->options.cluster_id, &m->writer, err);

    if (code == 0) {
        code = kv_writer_image(m->writer, &m->image, err);
    }
    if (code == 0) {
        code = kv_reader_open(m->options.dir, m->generation, &m->reader, err);
    }
    return code;
}

int machine_start(const struct machine_options *options, struct machine **out, struct err *err)
{
    struct machine *m = mem_zalloc(sizeof *m);
    struct worker_options machine = {.name = "raftkv-state", .batch = machine_batch, .self = m};
    struct worker_options flusher = {.name = "raftkv-flush", .batch = flusher_batch, .self = m};
    int code;

    m->options = *options;
    m->generation = options->generation;
    if (options->cluster_id) {
        m->cluster_id = *options->cluster_id;
    }
    pthread_mutex_init(&m->mutex, NULL);
    code = open_files(m, err);
    if (code != 0) {
        goto out;
    }
    kv_reader_base(m->reader, &m->base);
    m->state = state_new(&options->state, &m->base, &m->image.image);
    state_limits(m->state, &m->limits);
    m->checkpointed = m->image.image.applied;
    m->digest = m->image.digest;
    m->keys = m->image.keys;
    m->figures.flushed = m->figures.checkpointed = m->image.image.applied;
    m->figures.digest = m->digest;
    m->figures.keys = m->keys;
    m->open = true;
    m->pace = loop_timer_new(options->loop, pace_due, m);
    code = worker_start(&machine, &m->machine, err);
    if (code == 0) {
        code = worker_start(&flusher, &m->flusher, err);
    }
    if (code != 0) {
        goto out;
    }
    loop_timer_at(m->pace, clock_now_us() + (uint64_t)options->pace_ms * 1000);
    *out = m;
    return 0;
out:
    m->open = false;
    machine_stop(m);
    return code;
}

raft_index machine_start_applied(const struct machine *m)
{
    return m->image.image.applied;
}

uint64_t machine_start_cluster_time_ms(const struct machine *m)
{
    return m->image.image.cluster_time_ms;
}

const struct membership *machine_start_membership(const struct machine *m)
{
    return &m->image.image.membership;
}

void machine_figures(struct machine *m, struct machine_figures *out)
{
    *out = m->figures;
    pthread_mutex_lock(&m->mutex);
    out->applied = m->limits.applied;
    out->overlay_bytes = m->limits.overlay_bytes;
    out->overlay_rows = m->limits.overlay_rows;
    out->frozen = m->limits.frozen;
    out->sessions = m->sessions;
    pthread_mutex_unlock(&m->mutex);
    if (m->open) { /* else the writer is the flusher's alone */
        out->kv_bytes = kv_writer_file_bytes(m->writer);
        out->wal_bytes = kv_writer_wal_bytes(m->writer);
    }
}

/* Both threads have ended: what is not flushed yet is written here; what cannot be is in the log.
 */
static void last_flush(struct machine *m)
{
    const struct memtable *t;
    struct err err = {0};

    while ((t = state_oldest_frozen(m->state)) != NULL || (t = state_freeze(m->state)) != NULL) {
        if (kv_writer_flush(m->writer, t, &m->digest, &m->keys, &err) != 0) {
            log_warn("last flush failed", "what=\"%s; the log replays it\"", err.text);
            return;
        }
        kv_reader_refresh(m->reader);
        state_flushed(m->state, t);
    }
}

void machine_stop(struct machine *m)
{
    if (!m) {
        return;
    }
    m->stopped = true;
    if (m->pace) {
        loop_timer_at(m->pace, UINT64_MAX);
    }
    flush_hurry(m);
    worker_stop(m->machine);
    worker_stop(m->flusher);
    done_run(m->options.done);
    if (m->open && m->state) {
        if (m->stage == FLUSH_WRITING && m->flush_code == 0) {
            kv_reader_refresh(m->reader);
            state_flushed(m->state, m->memtable);
        }
        last_flush(m);
    }
    if (m->state) {
        state_free(m->state);
    }
    if (m->reader) {
        kv_reader_close(m->reader);
    }
    if (m->writer) {
        kv_writer_close(m->writer);
    }
    if (m->pace) {
        loop_timer_free(m->pace);
    }
    mem_free(m->image.sessions);
    pthread_mutex_destroy(&m->mutex);
    mem_free(m);
}
