/* A member's stores in use; see store_world.h. */
#include "tests/support/store_world.h"

#ifdef RAFTKV_TEST_VFS

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"
#include "tests/unit/tap.h"

enum {
    APPEND_MAX = 8,
    AHEAD_MAX = 60, /* how far a snapshot that comes from outside is ahead */
};

uint64_t world_pick(struct world *w, uint64_t below)
{
    return prng_below(&w->prng, below);
}

void world_fail(struct world *w, const char *what, const struct err *err)
{
    if (w->failure)
        return;
    w->failure = what;
    diag("%s: acked %" PRIu64 ", attempted %" PRIu64 ", base %" PRIu64 ", checkpointed %" PRIu64
         ", generation %" PRIu64 "%s (%s)",
         what, w->acked, w->attempted, w->log_base, w->checkpointed, w->generation,
         w->installing ? ", installing" : "", err ? err->text : "");
}

/* What did not succeed, with RAFTKV_VERBOSE=1. */
static void note(const struct world *w, const char *what, const struct err *err)
{
    if (w->verbose)
        diag("%s: acked %" PRIu64 ", checkpointed %" PRIu64 ": %s", what, w->acked, w->checkpointed,
             err->text);
}

/* ---- what is right ---- */

static void know(struct world *w, raft_index until)
{
    while (w->known < until && w->known < WORLD_ENTRIES) {
        w->rig.term += world_pick(w, 40) == 0;
        struct entry *e = store_random_entry(&w->prng, w->known + 1, w->rig.term);
        w->known++;
        must(state_apply(w->rig.state, e, &w->answers[w->known], NULL) == 0);
        w->entries[w->known] = e;
        w->rig.index = w->known;
    }
}

static struct membership membership_at(const struct world *w, raft_index index)
{
    struct membership m = {0};
    for (; index > 0; index--) {
        const struct entry *e = w->entries[index];
        if (e->kind == RAFT_CONFIGURATION) {
            must(membership_decode(slice_of(e->data, e->size), index, &m, NULL) == 0);
            break;
        }
    }
    return m;
}

/* Into the map, and into the file of the member that sends snapshots; synced, since a power loss is
 * one for all files. */
static void settle(struct world *w)
{
    struct digest digest;
    uint64_t keys;
    raft_index checkpointed = 0;
    for (const struct memtable *m = state_freeze(w->rig.state); m;
         m = state_oldest_frozen(w->rig.state)) {
        must(kv_writer_flush(w->source_writer, m, &digest, &keys, NULL) == 0);
        kv_rig_flush_oldest(&w->rig);
    }
    must(kv_writer_checkpoint(w->source_writer, &checkpointed, NULL) == 0);
    must(checkpointed == w->known);
}

void world_make_snapshot(struct world *w)
{
    struct err err = {0};
    know(w, w->acked + world_pick(w, AHEAD_MAX));
    settle(w);
    must(snapshot_take(w->source, 1, NULL, &w->snapshot, &err) == 0);
    must(w->snapshot.index == w->known);
    w->snapshot_bytes = mem_alloc(w->snapshot.bytes);
    size_t len;
    for (uint64_t at = 0; at < w->snapshot.bytes; at += len) {
        len = w->snapshot.bytes - at;
        must(snapshot_read(w->source, w->snapshot.index, at, w->snapshot_bytes + at, &len, &err) ==
                 0 &&
             len > 0);
    }
    snapshot_delete(w->source, w->snapshot.index);
}

void world_drop_snapshot(struct world *w)
{
    mem_free(w->snapshot_bytes);
    w->snapshot_bytes = NULL;
}

/* ---- a start ---- */

static bool same_entry(const struct entry *a, const struct entry *b)
{
    return a->index == b->index && a->term == b->term && a->kind == b->kind && a->crc == b->crc &&
           a->size == b->size && memcmp(a->data, b->data, a->size) == 0;
}

static bool same_answer(const struct apply_result *a, const struct apply_result *b)
{
    return a->index == b->index && a->status == b->status && a->replayed == b->replayed &&
           a->existed == b->existed && a->version == b->version &&
           a->timestamp_ms == b->timestamp_ms &&
           memcmp(a->batch_existed, b->batch_existed, sizeof(a->batch_existed)) == 0;
}

static int apply(struct world *w, struct entry *e, struct err *err)
{
    struct apply_result r;
    int rc = state_apply(w->state, e, &r, err);
    if (rc == 0 && !same_answer(&r, &w->answers[e->index]))
        world_fail(w, "an answer differs", NULL);
    return rc;
}

/* All of the log is compared, and what the state lacks is applied. */
static int replay(struct world *w, struct err *err)
{
    int rc = 0;
    for (raft_index at = w->log_base + 1; rc == 0 && at <= w->acked && !w->failure;) {
        struct entry **e;
        size_t count;
        rc = log_store_read(w->log, at, w->acked, 1 << 16, &e, &count, err);
        if (rc)
            return rc;
        for (size_t i = 0; i < count; i++) {
            if (!same_entry(e[i], w->entries[at + i]))
                world_fail(w, "an entry differs", NULL);
            if (rc == 0 && at + i > state_applied(w->state))
                rc = apply(w, e[i], err);
            entry_unref(e[i]);
        }
        mem_free(e);
        at += count;
    }
    return rc;
}

static int open_state(struct world *w, bool reset, struct err *err)
{
    struct kv_image image;
    int rc = kv_store_prepare(w->dir, w->generation, w->log_base == 0, err);
    if (rc == 0)
        rc = kv_writer_open(w->dir, w->generation, NULL, &w->writer, err);
    if (rc == 0)
        rc = kv_reader_open(w->dir, w->generation, &w->reader, err);
    if (rc == 0)
        rc = kv_writer_image(w->writer, &image, err);
    if (rc)
        return rc;
    kv_reader_base(w->reader, &w->base);
    struct state_options options = kv_rig_options();
    options.memtable_rows_max = 60;
    options.index_stride = 64;
    if (reset)
        state_reset(w->state, &image.image);
    else
        w->state = state_new(&options, &w->base, &image.image);
    mem_free(image.sessions);
    return 0;
}

static void check_log(struct world *w, const struct log_store_state *s)
{
    bool installed = w->installing && s->kv_generation == w->generation + 1;
    if (installed) {
        w->generation++;
        w->checkpointed = 0;
        w->sum->installs++;
    }
    if (s->kv_generation != w->generation)
        world_fail(w, "another generation", NULL);
    if (s->last_index != w->acked && s->last_index != w->attempted)
        world_fail(w, "the end of the log", NULL);
    if (installed && s->snapshot_index != w->snapshot.index)
        world_fail(w, "the snapshot is not where the log begins", NULL);
    struct membership m = membership_at(w, s->snapshot_index);
    if (!membership_equal(&s->snapshot_membership, &m))
        world_fail(w, "the membership where the log begins", NULL);
    if (s->snapshot_index && s->snapshot_term != w->entries[s->snapshot_index]->term)
        world_fail(w, "the term where the log begins", NULL);
    w->installing = false;
    w->log_base = s->snapshot_index;
    w->acked = w->attempted = s->last_index;
}

int world_try_start(struct world *w, struct err *err)
{
    struct log_store_state s;
    must(data_dir_open(w->path, &w->dir, err) == 0);
    w->sum->starts++;
    int rc = log_store_open(w->dir, "node1", &w->log, &s, err);
    if (rc) {
        w->log = NULL;
        return rc;
    }
    check_log(w, &s);
    log_store_forget_start(w->log);
    if (w->failure)
        return 0;
    rc = open_state(w, false, err);
    if (rc)
        return rc;
    raft_index applied = state_applied(w->state);
    if (applied < w->log_base || applied > w->acked)
        world_fail(w, "the log does not go on where the state ends", NULL);
    if (applied < w->checkpointed)
        world_fail(w, "lost behind a checkpoint", NULL);
    w->checkpointed = applied;
    return w->failure ? 0 : replay(w, err);
}

void world_start(struct world *w)
{
    struct err err = {0};
    if (world_try_start(w, &err) != 0)
        world_fail(w, "starting", &err);
}

void world_stop(struct world *w)
{
    if (w->state)
        state_free(w->state);
    if (w->reader)
        kv_reader_close(w->reader);
    if (w->writer)
        kv_writer_close(w->writer);
    if (w->log)
        log_store_close(w->log, NULL);
    data_dir_close(w->dir);
    w->state = NULL;
    w->reader = NULL;
    w->writer = NULL;
    w->log = NULL;
    w->dir = NULL;
}

/* ---- steps: 0, or the code with which a process would end ---- */

static int append(struct world *w, struct err *err)
{
    unsigned count = 1 + (unsigned)world_pick(w, APPEND_MAX);
    know(w, w->acked + count);
    if (w->acked + count > w->known)
        return 0;
    w->attempted = w->acked + count;
    struct log_write write = {.hard_state = true,
                              .term = w->entries[w->attempted]->term,
                              .vote = 1,
                              .entries = &w->entries[w->acked + 1],
                              .entry_count = count};
    int rc = log_store_write(w->log, &write, 1, err);
    if (rc)
        note(w, "append", err);
    if (rc == ERR_DISK_FULL) {
        w->sum->fulls++;
        w->attempted = w->acked;
        return 0;
    }
    if (rc == 0)
        w->acked = w->attempted;
    return rc;
}

static int apply_some(struct world *w, struct err *err)
{
    int rc = 0;
    for (uint64_t n = world_pick(w, 40); n > 0 && rc == 0 && state_applied(w->state) < w->acked;
         n--)
        rc = apply(w, w->entries[state_applied(w->state) + 1], err);
    return rc;
}

/* An error leaves the memtable for later. */
static void flush(struct world *w, struct err *err)
{
    struct digest digest;
    uint64_t keys;
    const struct memtable *m = state_oldest_frozen(w->state);
    if (!m)
        m = state_freeze(w->state);
    if (!m)
        return;
    if (kv_writer_flush(w->writer, m, &digest, &keys, err) != 0) {
        note(w, "flush", err);
        return;
    }
    w->sum->flushes++;
    state_flushed(w->state, m);
    kv_reader_refresh(w->reader);
}

static int cut(struct world *w, struct err *err)
{
    raft_index trailing = world_pick(w, 20);
    if (w->checkpointed < w->log_base + trailing + 1)
        return 0;
    raft_index index = w->checkpointed - trailing;
    struct membership m = membership_at(w, index);
    int rc = log_store_compact(w->log, index, w->entries[index]->term, &m, err);
    if (rc == 0) {
        w->log_base = index;
        w->sum->cuts++;
    }
    return rc == ERR_DISK_FULL ? 0 : rc;
}

static void take(struct world *w, struct err *err)
{
    struct snapshot_info info;
    struct kv_image image;
    if (snapshot_take(w->dir, w->generation, NULL, &info, err) != 0) {
        note(w, "snapshot", err);
        return;
    }
    w->sum->taken++;
    struct membership m = membership_at(w, info.index);
    if (!membership_equal(&info.membership, &m))
        world_fail(w, "the membership in a snapshot", NULL);
    if (kv_writer_image(w->writer, &image, NULL) == 0) {
        if (info.index != image.image.applied || !digest_equal(info.state_digest, image.digest))
            world_fail(w, "what a snapshot says", NULL);
        mem_free(image.sessions);
    }
    snapshot_delete(w->dir, info.index);
}

static int receive(struct world *w, struct err *err)
{
    enum { CHUNK = 30000 };
    struct snapshot_receiver *r;
    struct snapshot_info info;
    int rc = snapshot_receive_open(w->dir, &w->snapshot, &r, err);
    if (rc)
        return rc;
    for (uint64_t at; rc == 0 && (at = snapshot_receive_offset(r)) < w->snapshot.bytes;) {
        uint64_t left = w->snapshot.bytes - at;
        rc =
            snapshot_receive_chunk(r, at, w->snapshot_bytes + at, left < CHUNK ? left : CHUNK, err);
    }
    if (rc == 0)
        rc = snapshot_receive_finish(r, w->generation + 1, &info, err);
    snapshot_receive_close(r, false);
    return rc;
}

int world_install(struct world *w, struct err *err)
{
    raft_index index = w->snapshot.index;
    if (index <= state_applied(w->state) || index <= w->log_base)
        return 0;
    if (receive(w, err) != 0)
        return 0; /* it would be sent again */
    bool keep = w->acked >= index, kept = !keep;
    kv_reader_close(w->reader);
    kv_writer_close(w->writer);
    w->reader = NULL;
    w->writer = NULL;
    w->installing = true;
    w->attempted = keep ? w->acked : index;
    int rc = log_store_install(w->log, w->generation + 1, index, w->snapshot.term,
                               &w->snapshot.membership, &kept, err);
    if (rc)
        return rc;
    if (kept != keep)
        world_fail(w, "the log's tail", NULL);
    w->sum->installs++;
    w->sum->tails += keep && w->acked > index;
    w->installing = false;
    w->generation++;
    w->acked = w->attempted;
    w->log_base = w->checkpointed = index;
    return open_state(w, true, err);
}

int world_step(struct world *w, struct err *err)
{
    bool done;
    int rc;
    switch (world_pick(w, 14)) {
    case 0: return cut(w, err);
    case 1: rc = log_store_compact_slice(w->log, err); return rc == ERR_DISK_FULL ? 0 : rc;
    case 2: rc = log_store_checkpoint(w->log, &done, err); return rc == ERR_DISK_FULL ? 0 : rc;
    case 3:
    case 4:
        if (kv_writer_checkpoint(w->writer, &w->checkpointed, err) != 0)
            note(w, "checkpoint", err);
        return 0;
    case 5:
    case 6: flush(w, err); return 0;
    case 7:
    case 8:
    case 9: return apply_some(w, err);
    case 10: take(w, err); return 0;
    default: return append(w, err);
    }
}

void world_catch_up(struct world *w)
{
    struct err err = {0};
    raft_index flushed = 0;
    while (w->acked < w->known && !w->failure)
        if (append(w, &err) != 0)
            world_fail(w, "appending", &err);
    while (state_applied(w->state) < w->acked && !w->failure)
        if (apply_some(w, &err) != 0)
            world_fail(w, "applying", &err);
    while (!w->failure && flushed < w->acked) {
        flush(w, &err);
        struct state_limits limits;
        state_limits(w->state, &limits);
        if (limits.flushed == flushed)
            world_fail(w, "flushing", &err);
        flushed = limits.flushed;
    }
    settle(w);
    if (w->failure)
        return;
    const char *what = store_kv_differs_open(w->writer, w->reader, w->rig.map);
    if (what)
        world_fail(w, what, NULL);
}

/* ---- life ---- */

struct world *world_new(uint64_t seed, struct totals *sum)
{
    struct world *w = mem_zalloc(sizeof(*w));
    struct state_options options = kv_rig_options();
    struct err err = {0};
    const char *verbose = getenv("RAFTKV_VERBOSE");
    prng_seed(&w->prng, seed);
    w->verbose = verbose && *verbose == '1';
    w->sum = sum;
    w->generation = 1;
    w->path = store_fresh_path("node");
    w->source_path = store_fresh_path("source");
    kv_rig_init(&w->rig, &options);
    must(data_dir_open(w->source_path, &w->source, &err) == 0);
    must(kv_store_prepare(w->source, 1, true, &err) == 0);
    must(kv_writer_open(w->source, 1, NULL, &w->source_writer, &err) == 0);
    return w;
}

bool world_free(struct world *w)
{
    bool held = !w->failure;
    world_stop(w);
    world_drop_snapshot(w);
    kv_writer_close(w->source_writer);
    data_dir_close(w->source);
    kv_rig_release(&w->rig);
    for (raft_index i = 1; i <= w->known; i++)
        entry_unref(w->entries[i]);
    store_remove_dir(w->path);
    store_remove_dir(w->source_path);
    mem_free(w);
    return held;
}

#endif
