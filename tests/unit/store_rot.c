/*
 * A bit flipped anywhere in kv.db and in its WAL. (Those of raft.db are in store_damage.c, of its
 * WAL in store_wal.c, of a snapshot in store_snapshot.c.)
 *
 * In the WAL it takes what is behind it: the state is that of an earlier flush, and the log replays
 * the rest. In the file it is refused at the start, or an error when its page is read, or harmless
 * (the page is not in use). Nothing ever differs without a word.
 *
 *     RAFTKV_FLIPS=N    bits of each file, spread over all of it (default: 400)
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/mem.h"
#include "lib/base/prng.h"
#include "lib/store/kv_file_internal.h"
#include "lib/store/kv_store.h"
#include "tests/unit/store.h"
#include "tests/unit/tap.h"

enum { FLIPS = 400, ENTRIES = 260, MORE = 60 };

/* The same twice: one stops at what is in the file, the other goes on to what is in the WAL. */
struct right {
    struct kv_rig early, late;
};

enum verdict { REFUSED, AS_WRITTEN, EARLIER, WRONG };

static void flush_to(struct kv_writer *w, struct kv_rig *rig)
{
    struct digest digest;
    uint64_t keys;
    struct err err = {0};
    for (const struct memtable *m; (m = state_freeze(rig->state)) != NULL;) {
        if (w)
            must(kv_writer_flush(w, m, &digest, &keys, &err) == 0);
        kv_rig_flush_oldest(rig);
    }
}

/* `crashed` ends with the last flush in the WAL, `closed` with everything in the file and no WAL.
 */
static void make(const char *crashed, const char *closed, struct right *r)
{
    struct state_options options = kv_rig_options();
    struct data_dir *dir;
    struct kv_writer *w;
    struct err err = {0};
    struct prng p, same;
    raft_index checkpointed = 0;
    const char *path = store_fresh_path("made");
    prng_seed(&p, test_seed());
    same = p;
    kv_rig_init(&r->early, &options);
    kv_rig_init(&r->late, &options);
    must(data_dir_open(path, &dir, &err) == 0);
    must(kv_store_prepare(dir, 1, true, &err) == 0);
    must(kv_writer_open(dir, 1, NULL, &w, &err) == 0);
    store_apply_random(&r->early, &same, ENTRIES);
    store_apply_random(&r->late, &p, ENTRIES);
    flush_to(NULL, &r->early);
    flush_to(w, &r->late);
    must(kv_writer_checkpoint(w, &checkpointed, &err) == 0 && checkpointed == ENTRIES);
    store_apply_random(&r->late, &p, MORE);
    flush_to(w, &r->late);
    store_copy_dir(path, crashed);
    must(kv_writer_checkpoint(w, &checkpointed, &err) == 0 && checkpointed == ENTRIES + MORE);
    kv_writer_close(w);
    data_dir_close(dir);
    store_copy_dir(path, closed);
    char wal[600];
    snprintf(wal, sizeof(wal), "%s/kv.1.db-wal", closed);
    must(unlink(wal) == 0 || errno == ENOENT);
}

static enum verdict judge_open(struct kv_writer *w, struct kv_reader *reader, struct right *r,
                               const char **what)
{
    *what = store_kv_differs_open(w, reader, r->late.map);
    if (!*what)
        return AS_WRITTEN;
    if (!store_kv_differs_open(w, reader, r->early.map))
        return EARLIER;
    return strncmp(*what, "reading", 7) == 0 ? REFUSED : WRONG;
}

static enum verdict judge(const char *path, struct right *r, const char **what)
{
    struct data_dir *dir;
    struct kv_writer *w = NULL;
    struct kv_reader *reader = NULL;
    struct err err = {0};
    enum verdict verdict = REFUSED;
    must(data_dir_open(path, &dir, &err) == 0);
    int rc = kv_store_prepare(dir, 1, false, &err);
    if (rc == 0)
        rc = kv_writer_open(dir, 1, NULL, &w, &err);
    if (rc == 0)
        rc = kv_reader_open(dir, 1, &reader, &err);
    if (rc == 0) {
        verdict = judge_open(w, reader, r, what);
    } else if (!strstr(err.text, "kv.1.db")) {
        *what = "refused, but the file is not named";
        verdict = WRONG;
    }
    if (reader)
        kv_reader_close(reader);
    if (w)
        kv_writer_close(w);
    data_dir_close(dir);
    return verdict;
}

/* The header whole, the rest at random within equal parts, so that no region is left out. */
static void flip_all(const char *whole, const char *file, struct right *r, unsigned flips,
                     unsigned counts[WRONG + 1])
{
    const char *path = store_fresh_path("rot"), *what = "";
    uint64_t bits = store_file_bytes(whole, file) * 8;
    struct prng p;
    prng_seed(&p, test_seed() + 1);
    for (unsigned i = 0; i < flips; i++) {
        uint64_t part = bits / flips, bit = i * part + prng_below(&p, part);
        if (i < flips / 8)
            bit = prng_below(&p, 100 * 8); /* the headers are small, and have much to say */
        store_copy_dir(whole, path);
        store_flip_bit(path, file, bit);
        enum verdict v = judge(path, r, &what);
        counts[v]++;
        if (v == WRONG)
            diag("%s, bit %" PRIu64 " of byte %" PRIu64 ": %s", file, bit % 8, bit / 8, what);
        store_remove_dir(path);
    }
}

int main(void)
{
    const char *text = getenv("RAFTKV_FLIPS"), *what = "", *crashed = store_fresh_path("crashed"),
               *closed = store_fresh_path("closed");
    unsigned flips = text ? (unsigned)strtoul(text, NULL, 10) : FLIPS;
    unsigned file[WRONG + 1] = {0}, wal[WRONG + 1] = {0};
    static struct right r;
    make(crashed, closed, &r);
    must(flips > 8 && store_file_bytes(crashed, "kv.1.db-wal") > 8192);
    flip_all(crashed, "kv.1.db-wal", &r, flips, wal);
    flip_all(closed, "kv.1.db", &r, flips, file);
    is_i64(judge(crashed, &r, &what), AS_WRITTEN, "what was in the WAL is read (%s)", what);
    is_i64(judge(closed, &r, &what), AS_WRITTEN, "what is in the file is read (%s)", what);
    is_u64(wal[WRONG], 0, "WAL: %u as written, %u as of an earlier flush, %u refused",
           wal[AS_WRITTEN], wal[EARLIER], wal[REFUSED]);
    ok(wal[EARLIER] > 0, "what is behind a bad frame is gone");
    is_u64(file[WRONG], 0, "file: %u as written, %u refused", file[AS_WRITTEN] + file[EARLIER],
           file[REFUSED]);
    ok(file[REFUSED] > flips / 2, "most were told of");
    kv_rig_release(&r.early);
    kv_rig_release(&r.late);
    return done();
}
