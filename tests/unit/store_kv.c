/*
 * kv.db against the same state in memory: random work with flushes, checkpoints, power losses; and
 * making, opening, flushing and reading that fail at each of their calls.
 */
#ifdef RAFTKV_TEST_VFS
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/base/prng.h"
#include "lib/store/sqlite_util.h"
#include "lib/store/test_vfs.h"
#include "tests/unit/store.h"
#include "tests/unit/tap.h"

struct kv {
    struct data_dir *dir;
    struct kv_writer *writer;
    struct kv_reader *reader;
};

static int kv_open(struct kv *k, const char *path, struct err *err)
{
    *k = (struct kv){0};
    int rc = data_dir_open(path, &k->dir, err);
    if (rc == 0)
        rc = kv_store_prepare(k->dir, 1, true, err);
    if (rc == 0)
        rc = kv_writer_open(k->dir, 1, NULL, &k->writer, err);
    if (rc == 0)
        rc = kv_reader_open(k->dir, 1, &k->reader, err);
    return rc;
}

static void kv_close(struct kv *k)
{
    kv_reader_close(k->reader);
    kv_writer_close(k->writer);
    data_dir_close(k->dir);
    *k = (struct kv){0};
}

static int flush(struct kv *k, const struct memtable *m, struct err *err)
{
    struct digest digest;
    uint64_t keys;
    int rc = kv_writer_flush(k->writer, m, &digest, &keys, err);
    if (rc == 0)
        kv_reader_refresh(k->reader);
    return rc;
}

/* ---- each call fails once ---- */

struct fault_case {
    const char *operation, *action;
    bool seeded;
    bool dies;
};

struct scene {
    const char *before_path;
    struct base_map *before, *after;
    const struct memtable *m;
};

/* One run with the fault at the call number `after`; false at the end of calls, or when *good is
 * false. */
static bool fault_run(const struct scene *s, const struct fault_case *f, uint64_t after, bool *good)
{
    struct kv k;
    struct err err = {0};
    char rule[96];
    const char *path = store_fresh_path("fault"), *what = NULL;
    raft_index checkpointed = 0;
    store_copy_dir(s->before_path, path);
    must(kv_open(&k, path, &err) == 0);
    snprintf(rule, sizeof(rule), "kv %s %s after=%" PRIu64 " count=1 seed=%" PRIu64, f->operation,
             f->action, after, f->seeded ? after + 1 : 0);
    uint64_t calls = test_vfs_calls(f->operation);
    must(test_vfs_rules(rule, NULL) == 0);
    int rc = flush(&k, s->m, &err);
    bool flushed = rc == 0;
    if (rc == 0)
        rc = kv_writer_checkpoint(k.writer, &checkpointed, &err);
    bool hit = test_vfs_calls(f->operation) - calls > after;
    test_vfs_rules("", NULL);
    if (f->dies) {
        kv_close(&k);
        test_vfs_restart();
        must(kv_open(&k, path, &err) == 0);
    } else if (hit && rc == 0) {
        what = "an error was swallowed";
    } else if (hit && rc != (strcmp(f->action, "full") == 0 ? ERR_DISK_FULL : ERR_IO)) {
        what = "another error than expected";
    }
    bool old = !what && store_kv_differs_open(k.writer, k.reader, s->before) == NULL;
    if (!what && !old)
        what = store_kv_differs_open(k.writer, k.reader, s->after);
    if (!what && !f->dies && flushed == old)
        what = "the file does not say what the flush did";
    if (!what && checkpointed && old)
        what = "lost behind a checkpoint";
    /* The same memtable again, and a checkpoint. */
    if (!what && old && flush(&k, s->m, &err))
        what = "the retry fails";
    kv_reader_refresh(k.reader);
    checkpointed = 0;
    if (!what && kv_writer_checkpoint(k.writer, &checkpointed, &err))
        what = "the checkpoint fails again";
    if (!what && checkpointed != base_map_applied(s->after))
        what = "the checkpoint is not complete";
    if (!what)
        what = store_kv_differs_open(k.writer, k.reader, s->after);
    kv_close(&k);
    store_remove_dir(path);
    if (what)
        diag("%s after=%" PRIu64 ": %s (%s)", f->action, after, what, err.text);
    *good = !what;
    return hit && *good;
}

static void test_every_call_fails(void)
{
    static const struct fault_case cases[] = {
        {"any", "error", false, false},
        {"read", "error", false, false}, /* in a statement: SQLite ends the transaction itself */
        {"any", "full", false, false},
        {"any", "crash", false, true},
        {"any", "powerloss", false, true},
        {"any", "powerloss", true, true}};
    struct kv_rig rig;
    struct state_options options = kv_rig_options();
    struct prng prng;
    struct kv k;
    struct err err = {0};
    raft_index checkpointed = 0;
    struct scene s = {.before_path = store_fresh_path("before")};
    prng_seed(&prng, test_seed());
    kv_rig_init(&rig, &options);
    must(kv_open(&k, s.before_path, &err) == 0);
    store_apply_random(&rig, &prng, 400);
    must(flush(&k, state_freeze(rig.state), &err) == 0);
    kv_rig_flush(&rig);
    must(kv_writer_checkpoint(k.writer, &checkpointed, &err) == 0);
    s.before = base_map_clone(rig.map);
    kv_close(&k);
    store_apply_random(&rig, &prng, 250);
    s.m = state_freeze(rig.state);
    s.after = base_map_clone(rig.map);
    base_map_flush(s.after, s.m);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        bool good = true;
        uint64_t after = 0;
        while (fault_run(&s, &cases[i], after, &good))
            after++;
        /* How much is read depends on what the cache has. */
        ok(good && after > (strcmp(cases[i].operation, "read") == 0 ? 5 : 25),
           "%s%s at each of %" PRIu64 " calls (%s) of flush and checkpoint", cases[i].action,
           cases[i].seeded ? " (some sectors kept)" : "", after, cases[i].operation);
    }
    base_map_free(s.before);
    base_map_free(s.after);
    kv_rig_release(&rig);
}

/* An error at each call of opening: it is told, or what was opened works. A file that was just
 * made, or installed, gets its WAL here. */
static void test_opening_fails(void)
{
    struct kv_rig rig;
    struct state_options options = kv_rig_options();
    struct prng prng;
    struct err err = {0};
    struct data_dir *dir;
    struct state_base base;
    struct row row;
    const char *made = store_fresh_path("made");
    bool hit = true, good = true;
    uint64_t after = 0;
    prng_seed(&prng, test_seed());
    kv_rig_init(&rig, &options);
    must(data_dir_open(made, &dir, &err) == 0);
    must(kv_store_prepare(dir, 1, true, &err) == 0);
    data_dir_close(dir);
    store_apply_random(&rig, &prng, 20);
    const struct memtable *m = state_freeze(rig.state);
    for (; good && hit; after++) {
        struct kv k = {0};
        char rule[64];
        raft_index checkpointed = 0;
        const char *path = store_fresh_path("opening");
        store_copy_dir(made, path);
        must(data_dir_open(path, &k.dir, &err) == 0);
        snprintf(rule, sizeof(rule), "* any error after=%" PRIu64 " count=1", after);
        uint64_t calls = test_vfs_calls("any");
        must(test_vfs_rules(rule, NULL) == 0);
        int rc = kv_writer_open(k.dir, 1, NULL, &k.writer, &err);
        if (rc == 0)
            rc = kv_reader_open(k.dir, 1, &k.reader, &err);
        hit = test_vfs_calls("any") - calls > after;
        test_vfs_rules("", NULL);
        good = rc == 0 || (hit && rc == ERR_IO);
        if (rc == 0) {
            kv_reader_base(k.reader, &base);
            base.get(base.self, slice_str("key"), true, &row, &err);
        }
        if (rc == 0)
            good = flush(&k, m, &err) == 0 &&
                   kv_writer_checkpoint(k.writer, &checkpointed, &err) == 0 &&
                   checkpointed == rig.index;
        if (!good)
            diag("after=%" PRIu64 ": %d, checkpointed %" PRIu64 " (%s)", after, rc, checkpointed,
                 err.text);
        kv_close(&k);
        store_remove_dir(path);
    }
    ok(good && after > 10, "an error at each of %" PRIu64 " calls of opening", after);
    kv_rig_release(&rig);
}

/* ---- random work ---- */

enum { BOUNDARIES = 16 };

struct world {
    struct prng prng;
    struct kv_rig rig;
    struct kv kv;
    const char *path;
    struct base_map *boundaries[BOUNDARIES]; /* the state behind each flush */
    unsigned boundary_count;
    raft_index checkpointed; /* as told */
    unsigned flushes, crashes, errors, lost;
};

static void boundary_add(struct world *w)
{
    if (w->boundary_count == BOUNDARIES) {
        base_map_free(w->boundaries[0]);
        memmove(w->boundaries, w->boundaries + 1, sizeof(w->boundaries[0]) * --w->boundary_count);
    }
    w->boundaries[w->boundary_count++] = base_map_clone(w->rig.map);
}

static void rig_back_to(struct world *w, struct base_map *map)
{
    struct state_image image;
    state_free(w->rig.state);
    if (map != w->rig.map) {
        struct base_map *clone = base_map_clone(map);
        base_map_free(w->rig.map);
        w->rig.map = clone;
    }
    base_trap_init(&w->rig.trap, base_map_base(w->rig.map));
    base_map_image(w->rig.map, &image);
    w->rig.state = state_new(&w->rig.options, &w->rig.trap.base, &image);
    w->rig.index = image.applied;
}

/* After a crash: the file is one of the boundaries, not before what was told as checkpointed. */
static bool recover(struct world *w)
{
    struct err err = {0};
    struct kv_image image;
    kv_close(&w->kv);
    test_vfs_restart();
    if (kv_open(&w->kv, w->path, &err) || kv_writer_image(w->kv.writer, &image, &err)) {
        diag("open: %s", err.text);
        return false;
    }
    mem_free(image.sessions);
    if (image.image.applied < w->checkpointed) {
        diag("lost behind the checkpoint: %" PRIu64 " < %" PRIu64, image.image.applied,
             w->checkpointed);
        return false;
    }
    w->lost += image.image.applied < base_map_applied(w->rig.map);
    for (unsigned i = w->boundary_count; i-- > 0;) {
        if (base_map_applied(w->boundaries[i]) != image.image.applied)
            continue;
        const char *what = store_kv_differs_open(w->kv.writer, w->kv.reader, w->boundaries[i]);
        if (what)
            diag("at %" PRIu64 ": %s differs", image.image.applied, what);
        rig_back_to(w, w->boundaries[i]);
        while (w->boundary_count > i + 1)
            base_map_free(w->boundaries[--w->boundary_count]);
        return !what;
    }
    diag("%" PRIu64 " is no flush boundary", image.image.applied);
    return false;
}

static bool step(struct world *w)
{
    struct err err = {0};
    char rule[96];
    bool fault = prng_chance(&w->prng, 1, 3);
    store_apply_random(&w->rig, &w->prng, 1 + (unsigned)prng_below(&w->prng, 100));
    const struct memtable *m = state_freeze(w->rig.state);
    if (fault) {
        static const char *const actions[] = {"error", "powerloss", "powerloss", "crash", "full"};
        size_t n = prng_below(&w->prng, 5);
        snprintf(rule, sizeof(rule), "kv any %s after=%" PRIu64 " count=1 seed=%" PRIu64,
                 actions[n], prng_below(&w->prng, 50), n == 2 ? 1 + prng_below(&w->prng, 1000) : 0);
        must(test_vfs_rules(rule, NULL) == 0);
    }
    int rc = 0;
    kv_writer_calm(w->kv.writer, prng_chance(&w->prng, 1, 4));
    for (int tries = 0; tries < 3; tries++) {
        rc = flush(&w->kv, m, &err);
        if (!rc || test_vfs_dead())
            break;
        w->errors++;
    }
    if (rc && !test_vfs_dead()) {
        diag("flush: %s", err.text);
        return false;
    }
    /* It may be in the file even if the call failed by a crash. */
    base_map_flush(w->rig.map, m);
    state_flushed(w->rig.state, m);
    boundary_add(w);
    w->flushes++;
    if (!rc && prng_chance(&w->prng, 2, 3))
        rc = kv_writer_checkpoint(w->kv.writer, &w->checkpointed, &err);
    if (!rc && !fault && prng_chance(&w->prng, 1, 4)) {
        const char *what = store_kv_differs_open(w->kv.writer, w->kv.reader, w->rig.map);
        if (what)
            diag("at %" PRIu64 ": %s differs", w->rig.index, what);
        if (what)
            return false;
    }
    test_vfs_rules("", NULL);
    if (test_vfs_dead() || prng_chance(&w->prng, 1, 10)) {
        w->crashes += test_vfs_dead();
        return recover(w);
    }
    return true;
}

static void test_random(void)
{
    static struct world w;
    struct err err = {0};
    struct state_options options = kv_rig_options();
    prng_seed(&w.prng, test_seed());
    kv_rig_init(&w.rig, &options);
    w.path = store_fresh_path("random");
    must(kv_open(&w.kv, w.path, &err) == 0);
    boundary_add(&w);
    bool good = true;
    for (unsigned i = 0; i < 150 && good; i++)
        good = step(&w);
    ok(good, "agrees with the state in memory");
    diag("%u flushes, %u crashes (%u of them lost a flush), %u errors", w.flushes, w.crashes,
         w.lost, w.errors);
    ok(w.crashes > 10 && w.errors > 3 && w.lost > 3, "the faults happened");
    while (w.boundary_count)
        base_map_free(w.boundaries[--w.boundary_count]);
    kv_close(&w.kv);
    kv_rig_release(&w.rig);
}

/* ---- pace ---- */

static void put_many(struct kv_rig *rig, unsigned count, size_t value_bytes)
{
    char key[32];
    uint8_t *value = mem_zalloc(value_bytes);
    for (unsigned i = 0; i < count; i++) {
        snprintf(key, sizeof(key), "many%u", i);
        struct command c = {
            .op = COMMAND_PUT, .key = slice_str(key), .value = slice_of(value, value_bytes)};
        kv_rig_apply(rig, c);
    }
    mem_free(value);
}

/* 4 MiB go to the WAL and to the file: 32 slices of 256 KiB, each with a rest of a millisecond. */
static void test_calm(void)
{
    struct kv_rig rig;
    struct state_options options = kv_rig_options();
    struct kv k;
    struct err err = {0};
    raft_index checkpointed = 0;
    options.memtable_bytes_max = 64 << 20;
    kv_rig_init(&rig, &options);
    must(kv_open(&k, store_fresh_path("calm"), &err) == 0);
    put_many(&rig, 1024, 4096);
    uint64_t begin_us = clock_now_us();
    kv_writer_calm(k.writer, true);
    is_i64(flush(&k, state_freeze(rig.state), &err), 0, "a calm flush");
    uint64_t flushed_us = clock_now_us();
    is_i64(kv_writer_checkpoint(k.writer, &checkpointed, &err), 0, "a calm checkpoint");
    uint64_t end_us = clock_now_us();
    kv_rig_flush(&rig);
    ok(flushed_us - begin_us >= 16000, "the flush rests between its slices: %" PRIu64 " us",
       flushed_us - begin_us);
    ok(end_us - flushed_us >= 16000, "so does the checkpoint: %" PRIu64 " us", end_us - flushed_us);
    is_u64(checkpointed, rig.index, "all is in the file");
    const char *what = store_kv_differs_open(k.writer, k.reader, rig.map);
    ok(!what, "and as it should be: %s", what ? what : "same");
    kv_close(&k);
    kv_rig_release(&rig);
}

/* ---- readers ---- */

/* Under reads and flushes the WAL begins anew each time, so it stays small. */
static void test_wal_stays_small(void)
{
    struct kv_rig rig;
    struct state_options options = kv_rig_options();
    struct prng prng;
    struct kv k;
    struct err err = {0};
    struct state_base base;
    struct row row;
    uint64_t first = 0, largest = 0;
    bool complete = true;
    prng_seed(&prng, 5);
    kv_rig_init(&rig, &options);
    const char *path = store_fresh_path("wal");
    must(kv_open(&k, path, &err) == 0);
    kv_reader_base(k.reader, &base);
    for (int i = 0; i < 30; i++) {
        raft_index checkpointed = 0;
        store_apply_random(&rig, &prng, 200);
        const struct memtable *m = state_freeze(rig.state);
        base.get(base.self, slice_str("key"), true, &row, &err);
        must(flush(&k, m, &err) == 0);
        base.get(base.self, slice_str("key"), true, &row, &err); /* before the checkpoint … */
        must(kv_writer_checkpoint(k.writer, &checkpointed, &err) == 0);
        base.get(base.self, slice_str("key"), true, &row, &err); /* … and behind it */
        complete = complete && checkpointed == rig.index;
        kv_rig_flush(&rig);
        uint64_t bytes = store_file_bytes(path, "kv.1.db-wal");
        largest = bytes > largest ? bytes : largest;
        first = i == 9 ? largest : first;
    }
    ok(complete, "every checkpoint is complete beside a reader");
    ok(largest < first * 2, "the WAL does not grow: %" PRIu64 " bytes, then %" PRIu64, first,
       largest);
    is_u64(kv_writer_wal_bytes(k.writer), 0, "nothing of it is waiting for a checkpoint");

    /* A cursor sees one state, whatever is flushed meanwhile. */
    struct digest before, after;
    uint64_t keys;
    size_t rows = 0;
    store_apply_random(&rig, &prng, 200);
    must(base.seek(base.self, (struct slice){0}, false, true, &err) == 0);
    must(base.next(base.self, &row, &err) == 0);
    must(kv_writer_flush(k.writer, state_freeze(rig.state), &after, &keys, &err) == 0);
    before = kv_row_digest(&row);
    for (rows = 1; base.next(base.self, &row, &err) == 0; rows++)
        before = digest_add(before, kv_row_digest(&row));
    ok(rows == base_map_row_count(rig.map) && !digest_equal(before, after),
       "a cursor keeps its view over a flush");
    is_i64(base.next(base.self, &row, &err), ERR_NOT_FOUND, "and stays at its end");
    kv_rig_flush(&rig);
    const char *what = store_kv_differs_open(k.writer, k.reader, rig.map);
    ok(!what, "the next read sees the new state");
    kv_close(&k);
    kv_rig_release(&rig);
}

/* A reader that keeps its view is in the way of a checkpoint, which then vouches for nothing. */
static void test_reader_in_the_way(void)
{
    struct kv_rig rig;
    struct state_options options = kv_rig_options();
    struct prng prng;
    struct kv k;
    struct err err = {0};
    struct state_base base;
    struct row row;
    struct digest digest;
    uint64_t keys;
    raft_index checkpointed = 0, first;
    prng_seed(&prng, 7);
    kv_rig_init(&rig, &options);
    must(kv_open(&k, store_fresh_path("way"), &err) == 0);
    kv_reader_base(k.reader, &base);
    store_apply_random(&rig, &prng, 100);
    must(flush(&k, state_freeze(rig.state), &err) == 0);
    kv_rig_flush(&rig);
    first = rig.index;
    must(kv_writer_checkpoint(k.writer, &checkpointed, &err) == 0 && checkpointed == first);
    store_apply_random(&rig, &prng, 100);
    must(kv_writer_flush(k.writer, state_freeze(rig.state), &digest, &keys, &err) == 0);
    kv_rig_flush(&rig);
    must(base.seek(base.self, (struct slice){0}, false, true, &err) == 0);
    must(base.next(base.self, &row, &err) == 0);
    store_apply_random(&rig, &prng, 100);
    must(kv_writer_flush(k.writer, state_freeze(rig.state), &digest, &keys, &err) == 0);
    kv_rig_flush(&rig);
    is_i64(kv_writer_checkpoint(k.writer, &checkpointed, &err), 0, "a reader in the way: no error");
    is_u64(checkpointed, first, "and nothing more may be cut");
    ok(kv_writer_wal_bytes(k.writer) > 0, "its frames wait in the WAL");
    kv_reader_refresh(k.reader);
    must(kv_writer_checkpoint(k.writer, &checkpointed, &err) == 0);
    is_u64(checkpointed, rig.index, "all, when it is out of the way");
    kv_close(&k);
    kv_rig_release(&rig);
}

struct checkpointer {
    sqlite3 *db;
    int rc, frames, moved;
};

static void *checkpoint_in_thread(void *argument)
{
    struct checkpointer *c = argument;
    c->rc = sq_checkpoint(c->db, SQLITE_CHECKPOINT_PASSIVE, &c->frames, &c->moved, NULL);
    return NULL;
}

/* Beside another connection's checkpoint nothing is moved, and SQLite says no numbers. */
static void test_checkpoint_beside_another(void)
{
    struct checkpointer one = {0}, other = {0};
    struct err err = {0};
    char mode[8];
    pthread_t thread;
    const char *path = store_fresh_path("beside");
    must(sq_open(path, SQ_CREATE | SQ_SHARED, &one.db, &err) == 0);
    must(sq_text(one.db, "PRAGMA journal_mode=WAL", mode, sizeof(mode), &err) == 0);
    must(sq_exec(one.db, "CREATE TABLE t(x); INSERT INTO t VALUES(1)", &err) == 0);
    must(sq_open(path, SQ_WRITE | SQ_SHARED, &other.db, &err) == 0);
    must(sq_exec(other.db, "SELECT * FROM t", &err) == 0);
    must(test_vfs_rules("beside sync stall", &err) == 0);
    uint64_t syncs = test_vfs_calls("sync");
    must(pthread_create(&thread, NULL, checkpoint_in_thread, &one) == 0);
    while (test_vfs_calls("sync") == syncs)
        ; /* the call that stalls has been made */
    checkpoint_in_thread(&other);
    must(test_vfs_rules("", &err) == 0);
    pthread_join(thread, NULL);
    ok(one.rc == 0 && one.frames > 0 && one.moved == one.frames, "one moves all frames");
    ok(other.rc == 0 && other.moved != other.frames, "the other one does not say so");
    sq_close(other.db);
    sq_close(one.db);
}

/* Reads that fail are told, and the next one works. */
static void test_reads_fail(void)
{
    struct kv_rig rig;
    struct state_options options = kv_rig_options();
    struct prng prng;
    struct kv k;
    struct err err = {0};
    const char *path = store_fresh_path("reads");
    unsigned failed = 0;
    bool good = true;
    prng_seed(&prng, 8);
    kv_rig_init(&rig, &options);
    store_apply_random(&rig, &prng, 600);
    must(kv_open(&k, path, &err) == 0);
    must(flush(&k, state_freeze(rig.state), &err) == 0);
    kv_rig_flush(&rig);
    kv_close(&k);
    for (uint64_t after = 0; good; after++) {
        struct state_base base;
        struct row row;
        char rule[64];
        must(kv_open(&k, path, &err) == 0);
        kv_reader_base(k.reader, &base);
        snprintf(rule, sizeof(rule), "kv read error after=%" PRIu64 " count=1", after);
        must(test_vfs_rules(rule, NULL) == 0);
        int rc = base.seek(base.self, (struct slice){0}, false, true, &err);
        while (rc == 0)
            rc = base.next(base.self, &row, &err);
        if (rc == ERR_NOT_FOUND)
            rc = base.get(base.self, slice_str("key"), true, &row, &err);
        test_vfs_rules("", NULL);
        failed += rc == ERR_IO;
        const char *what = store_kv_differs_open(k.writer, k.reader, rig.map);
        good = !what && (rc == ERR_IO || rc == ERR_NOT_FOUND);
        if (!good)
            diag("after=%" PRIu64 ": %d, then %s", after, rc, what ? what : "nothing");
        kv_close(&k);
        if (rc == ERR_NOT_FOUND)
            break;
    }
    ok(good && failed > 5, "an error at each of %u reads", failed);
    kv_rig_release(&rig);
}

/* The digest's value is that of files and members of before; every part of a row counts. */
static void test_digest(void)
{
    struct row row = {
        .key = slice_str("key"), .value = slice_str("value"), .version = 3, .timestamp_ms = 4};
    char hex[HEX128_BYTES];
    is_str(hex128(kv_row_digest(&row), hex), "9abddf5437bb7ad0489527fecf24bd73",
           "the digest of a known row");
    struct row others[] = {row, row, row, row, row, row};
    others[0].key = slice_str("kez");
    others[1].value = slice_str("valuf");
    others[2].version = 4;
    others[3].timestamp_ms = 3;
    others[4].key = slice_str("keyv");
    others[4].value = slice_str("alue");
    others[5].key = slice_str("value");
    others[5].value = slice_str("key");
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        ok(!digest_equal(kv_row_digest(&others[i]), kv_row_digest(&row)), "another row, %zu", i);
}

/* A power loss at each call of making the file: the next start makes it, or finds it whole. */
static void test_creation_crash(void)
{
    bool good = true, hit = true;
    uint64_t after = 0;
    for (; good && hit; after++) {
        hit = false;
        for (uint64_t seed = 0; seed < 3 && good; seed++) {
            struct kv k = {0};
            struct err err = {0};
            char rule[80];
            const char *path = store_fresh_path("creation");
            must(data_dir_open(path, &k.dir, &err) == 0);
            snprintf(rule, sizeof(rule), "* any powerloss after=%" PRIu64 " seed=%" PRIu64, after,
                     seed * (after + 1));
            must(test_vfs_rules(rule, NULL) == 0);
            bool made = kv_store_prepare(k.dir, 1, true, &err) == 0;
            /* Something later, at which the power may be lost as well. */
            int rc = kv_writer_open(k.dir, 1, NULL, &k.writer, &err);
            hit = hit || test_vfs_dead();
            kv_close(&k);
            test_vfs_restart();
            must(data_dir_open(path, &k.dir, &err) == 0);
            good = kv_store_prepare(k.dir, 1, !made, &err) == 0 &&
                   kv_writer_open(k.dir, 1, NULL, &k.writer, &err) == 0;
            if (!good)
                diag("after=%" PRIu64 " seed=%" PRIu64 ": %s, then %d: %s", after, seed,
                     made ? "made" : "not made", rc, err.text);
            kv_close(&k);
            store_remove_dir(path);
        }
    }
    ok(good && after > 20, "power loss at each of %" PRIu64 " calls of making a file", after);
}

static void test_cluster(void)
{
    struct kv k;
    struct kv_writer *w;
    struct err err = {0};
    struct digest a = {.hi = 1, .lo = 2}, b = {.hi = 1, .lo = 3};
    const char *path = store_fresh_path("cluster");
    must(kv_open(&k, path, &err) == 0);
    is_i64(kv_writer_set_cluster(k.writer, a, &err), 0, "set the cluster id");
    is_i64(kv_writer_set_cluster(k.writer, a, &err), 0, "the same again");
    is_i64(kv_writer_set_cluster(k.writer, b, &err), ERR_CORRUPT, "another is refused");
    kv_close(&k);
    must(data_dir_open(path, &k.dir, &err) == 0);
    is_i64(kv_writer_open(k.dir, 1, &b, &w, &err), ERR_CORRUPT, "opened for another cluster");
    has_str(err.text, "00000000000000010000000000000002", "names the one that it is of");
    is_i64(kv_writer_open(k.dir, 1, &a, &w, &err), 0, "opened for the right one");
    kv_writer_close(w);
    data_dir_close(k.dir);

    /* The file lost it, raft.db has it: without it no copy of the state could be installed. */
    struct snapshot_info info;
    struct digest none = {0};
    must(data_dir_open(store_fresh_path("lost"), &k.dir, &err) == 0);
    must(kv_store_prepare(k.dir, 1, true, &err) == 0);
    is_i64(kv_writer_open(k.dir, 1, &a, &w, &err), 0, "opened, and it knows no cluster");
    kv_writer_close(w);
    is_i64(kv_writer_open(k.dir, 1, &none, &w, &err), 0, "opened by who knows none");
    must(snapshot_take(k.dir, 1, NULL, &info, &err) == 0);
    ok(digest_equal(info.cluster_id, a), "it took the one that it was opened for, for good");
    kv_writer_close(w);
    data_dir_close(k.dir);
}

static void test_prepare(void)
{
    struct data_dir *dir;
    struct err err = {0};
    const char *path = store_fresh_path("prepare");
    static const char *const others[] = {
        "kv.1.db",     "kv.1.db-wal",    "kv.1.db-shm",  "kv.3.db",       "kv.12.db-journal",
        "kv.new",      "kv.new-journal", "snapshot.tmp", "snapshot.7.db", "incoming.1.2.3.x.db",
        "kv.2.db-wal", "kv.2.db-shm",
    };
    static const char *const users[] = {"kv.txt", "kv.1.db.bak", "kv.07.db", "kv.-1.db", "kv..db"};
    enum { USERS = sizeof(users) / sizeof(users[0]) };
    must(data_dir_open(path, &dir, &err) == 0);
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        store_write_file(path, others[i], "x", 1);
    for (size_t i = 0; i < USERS; i++)
        store_write_file(path, users[i], "mine", 4);
    is_i64(kv_store_prepare(dir, 2, false, &err), ERR_CORRUPT, "a missing file is refused");
    has_str(err.text, "kv.2.db", "and named");
    is_u64(store_count_files(path, ""), 1 + USERS + sizeof(others) / sizeof(others[0]),
           "nothing was deleted");
    is_i64(kv_store_prepare(dir, 2, true, &err), 0, "made, when it may be");
    is_u64(store_count_files(path, ""), 2 + USERS, "every other generation is gone");
    size_t kept = 0;
    for (size_t i = 0; i < USERS; i++)
        kept += store_file_bytes(path, users[i]) == 4;
    is_u64(kept, USERS, "files of the user are not");
    store_write_file(path, "kv.1.db-wal", "x", 1);
    store_write_file(path, "kv.2.db-wal", "", 0);
    is_i64(kv_store_prepare(dir, 2, false, &err), 0, "prepared again");
    is_u64(store_count_files(path, "kv.1.db-"), 0, "an orphaned WAL is gone");
    is_u64(store_count_files(path, "kv.2.db-wal"), 1, "the present one's is kept");
    data_dir_close(dir);
}

int main(void)
{
    test_prepare();
    test_creation_crash();
    test_cluster();
    test_digest();
    test_reader_in_the_way();
    test_checkpoint_beside_another();
    test_reads_fail();
    test_wal_stays_small();
    test_every_call_fails();
    test_opening_fails();
    test_random();
    test_calm();
    return done();
}

#else
#include "tests/unit/tap.h"

int main(void)
{
    skip("store", "needs a build with RAFTKV_TEST_VFS");
    return done();
}
#endif
