/*
 * A WAL with damage: a torn tail is accepted, a rotten frame in the middle is refused with the
 * file's name, a rotten header too.
 */
#ifdef RAFTKV_TEST_VFS
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/base/prng.h"
#include "lib/store/test_vfs.h"
#include "lib/store/wal_scan.h"
#include "tests/unit/store.h"
#include "tests/unit/tap.h"

enum { HEADER = 32, FRAME = 24 + 4096, COMMITS = 8, BITS_A_FRAME = 24 };

static const char *crashed;         /* a directory as a crash left it */
static uint64_t commit_at[COMMITS]; /* frames behind each commit */
static raft_index last_at[COMMITS]; /* last entry of each commit */
static raft_index last_before;      /* last entry in the file itself */

static void write_entries(struct log_store *s, raft_index *last, unsigned count, size_t size)
{
    struct entry *e[8];
    struct err err = {0};
    for (unsigned i = 0; i < count; i++)
        e[i] = store_entry(++*last, 1, size);
    struct log_write w = {.entries = e, .entry_count = count};
    must(log_store_write(s, &w, 1, &err) == 0);
    for (unsigned i = 0; i < count; i++)
        entry_unref(e[i]);
}

static void make_crashed(void)
{
    struct data_dir *dir;
    struct log_store *s;
    struct log_store_state state;
    struct log_store_figures f;
    struct err err = {0};
    bool done;
    raft_index last = 0;
    crashed = store_fresh_path("crashed");
    must(data_dir_open(crashed, &dir, &err) == 0);
    must(log_store_open(dir, "n", &s, &state, &err) == 0);
    struct log_write w = {.hard_state = true, .term = 1};
    must(log_store_write(s, &w, 1, &err) == 0);
    /* A longer generation first, so that old frames stand behind the new ones. */
    for (int i = 0; i < 12; i++)
        write_entries(s, &last, 8, 3000);
    must(log_store_checkpoint(s, &done, &err) == 0 && done);
    last_before = last;
    for (unsigned i = 0; i < COMMITS; i++) {
        write_entries(s, &last, 1 + i % 3, 2000 * (i % 4));
        log_store_figures(s, &f);
        commit_at[i] = f.wal_pages;
        last_at[i] = last;
    }
    must(test_vfs_rules("* any crash", NULL) == 0);
    log_store_close(s, NULL);
    data_dir_close(dir);
    test_vfs_restart();
}

/* The last entry that a start finds; 0 if it refuses, with the code and text in *err. */
static raft_index start(const char *path, struct err *err)
{
    struct data_dir *dir;
    struct log_store *s;
    struct log_store_state state;
    *err = (struct err){0};
    must(data_dir_open(path, &dir, err) == 0);
    raft_index last = 0;
    if (log_store_open(dir, "n", &s, &state, err) == 0) {
        last = state.last_index;
        log_store_close(s, NULL);
    }
    data_dir_close(dir);
    return last;
}

static void test_intact(void)
{
    struct wal_scan scan;
    struct err err = {0};
    char wal[600];
    snprintf(wal, sizeof(wal), "%s/raft.db-wal", crashed);
    is_i64(wal_scan(wal, 4096, &scan, &err), 0, "a WAL that a crash left");
    ok(scan.frames == commit_at[COMMITS - 1] && scan.committed == scan.frames && !scan.torn,
       "all of its frames are good");
    ok(store_file_bytes(crashed, "raft.db-wal") > HEADER + scan.frames * FRAME,
       "frames of an older generation stand behind them");
    snprintf(wal, sizeof(wal), "%s/none", crashed);
    is_i64(wal_scan(wal, 4096, &scan, &err), 0, "no WAL is none to complain of");
    const char *path = store_fresh_path("intact");
    store_copy_dir(crashed, path);
    is_u64(start(path, &err), last_at[COMMITS - 1], "a start finds every entry");
}

static raft_index last_in(uint64_t frames)
{
    raft_index last = last_before;
    for (unsigned i = 0; i < COMMITS; i++)
        last = commit_at[i] <= frames ? last_at[i] : last;
    return last;
}

/* Cut anywhere: what was committed before is there. */
static void test_cut(void)
{
    bool good = true;
    struct err err = {0};
    uint64_t frames = commit_at[COMMITS - 1];
    const char *path = store_fresh_path("cut");
    for (uint64_t at = 0; at <= frames && good; at++) {
        for (uint64_t more = 0; more < FRAME && good; more += 1373) {
            store_copy_dir(crashed, path);
            store_cut_file(path, "raft.db-wal", HEADER + at * FRAME + more);
            raft_index last = start(path, &err);
            good = last == last_in(at);
            if (!good)
                diag("cut behind frame %" PRIu64 ": last %" PRIu64 " (%s)", at, last, err.text);
        }
    }
    ok(good, "a WAL cut anywhere loses only what was behind");
}

/* A bit in a frame: refused, unless it is in the last transaction. */
static void test_rotten_frame(void)
{
    bool good = true, named = true;
    struct err err = {0};
    struct prng p;
    prng_seed(&p, test_seed());
    unsigned refused = 0, torn = 0;
    const char *path = store_fresh_path("rotten");
    for (uint64_t frame = 0; frame < commit_at[COMMITS - 1] && good; frame++) {
        bool in_last = frame >= commit_at[COMMITS - 2];
        for (unsigned i = 0; i < BITS_A_FRAME && good; i++) {
            /* Most of them in the frame's header. */
            uint64_t bit = prng_below(&p, i % 4 ? 24 * 8 : FRAME * 8);
            store_copy_dir(crashed, path);
            store_flip_bit(path, "raft.db-wal", (HEADER + frame * FRAME) * 8 + bit);
            raft_index last = start(path, &err);
            /* In the last one it may also look like a commit. */
            good =
                (in_last && last == last_at[COMMITS - 2]) || (last == 0 && err.code == ERR_CORRUPT);
            named = named && (in_last || strstr(err.text, "raft.db-wal"));
            refused += !in_last;
            torn += in_last;
            if (!good)
                diag("bit %" PRIu64 " of frame %" PRIu64 ": last %" PRIu64 " (%s)", bit, frame + 1,
                     last, err.text);
        }
    }
    ok(good, "a rotten bit is refused (%u) or taken for a torn last commit (%u)", refused, torn);
    ok(named, "the file is named");
    is_u64(store_count_files(path, "raft.db"), 2, "and nothing deleted");
}

/* Every single bit of a commit frame's header, of each commit but the last. */
static void test_rotten_commit(void)
{
    bool good = true;
    struct wal_scan scan;
    struct err err = {0};
    char wal[600];
    const char *path = store_fresh_path("commit");
    store_copy_dir(crashed, path);
    snprintf(wal, sizeof(wal), "%s/raft.db-wal", path);
    for (unsigned c = 0; c + 1 < COMMITS && good; c++) {
        for (uint64_t bit = 0; bit < 24 * 8 && good; bit++) {
            uint64_t at = (HEADER + (commit_at[c] - 1) * FRAME) * 8 + bit;
            store_flip_bit(path, "raft.db-wal", at);
            good = wal_scan(wal, 4096, &scan, &err) == ERR_CORRUPT;
            if (!good)
                diag("bit %" PRIu64 " of the frame of commit %u is not found", bit, c);
            store_flip_bit(path, "raft.db-wal", at);
        }
    }
    ok(good, "each bit of the header of each commit frame");
}

static void test_rotten_header(void)
{
    bool good = true;
    struct wal_scan scan;
    struct err err = {0};
    char wal[600];
    const char *path = store_fresh_path("header");
    store_copy_dir(crashed, path);
    snprintf(wal, sizeof(wal), "%s/raft.db-wal", path);
    for (uint64_t bit = 0; bit < (uint64_t)HEADER * 8 && good; bit++) {
        store_flip_bit(path, "raft.db-wal", bit);
        good = wal_scan(wal, 4096, &scan, &err) == ERR_CORRUPT;
        if (!good)
            diag("bit %" PRIu64 " of the header is not found", bit);
        store_flip_bit(path, "raft.db-wal", bit);
    }
    ok(good, "each bit of the header");
    store_cut_file(path, "raft.db-wal", HEADER);
    store_flip_bit(path, "raft.db-wal", 100);
    is_i64(wal_scan(wal, 4096, &scan, &err), 0, "a bad header with nothing behind is none");
    is_u64(start(path, &err), last_before, "and a start goes on from the file");
}

/* Old frames behind the present ones are nobody's. */
static void test_rotten_past(void)
{
    bool good = true;
    struct err err = {0};
    struct prng p;
    prng_seed(&p, test_seed());
    uint64_t begin = HEADER + commit_at[COMMITS - 1] * FRAME;
    uint64_t end = store_file_bytes(crashed, "raft.db-wal");
    const char *path = store_fresh_path("past");
    for (unsigned i = 0; i < 50 && good; i++) {
        store_copy_dir(crashed, path);
        store_flip_bit(path, "raft.db-wal", (begin + prng_below(&p, end - begin)) * 8);
        good = start(path, &err) == last_at[COMMITS - 1];
    }
    ok(good, "rot in frames of an older generation does no harm");
}

/* ---- made by hand ---- */

static void put_be32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (24 - 8 * i));
}

static uint32_t word(const uint8_t *p, bool big_endian)
{
    uint32_t v = 0;
    for (int i = 0; i < 4; i++)
        v |= (uint32_t)p[i] << (big_endian ? 24 - 8 * i : 8 * i);
    return v;
}

static void sum_words(uint32_t sum[2], const uint8_t *p, size_t len, bool big_endian)
{
    for (size_t i = 0; i < len; i += 8) {
        sum[0] += word(p + i, big_endian) + sum[1];
        sum[1] += word(p + i + 4, big_endian) + sum[0];
    }
}

/* Frames with right checksums; those at `commits` end a transaction. */
static void make_wal(uint8_t *wal, uint32_t frames, uint64_t commits, bool big_endian,
                     uint32_t version, uint32_t page_bytes)
{
    uint32_t sum[2] = {0};
    put_be32(wal, 0x377f0682 | big_endian);
    put_be32(wal + 4, version);
    put_be32(wal + 8, page_bytes);
    put_be32(wal + 12, 1);
    put_be32(wal + 16, 0x11223344);
    put_be32(wal + 20, 0x55667788);
    sum_words(sum, wal, 24, big_endian);
    put_be32(wal + 24, sum[0]);
    put_be32(wal + 28, sum[1]);
    for (uint32_t i = 0; i < frames; i++) {
        uint8_t *f = wal + HEADER + (size_t)i * FRAME;
        memset(f, (int)i, FRAME);
        put_be32(f, 1 + i % 7);
        put_be32(f + 4, commits >> i & 1 ? 16 : 0);
        memcpy(f + 8, wal + 16, 8);
        sum_words(sum, f, 8, big_endian);
        sum_words(sum, f + 24, FRAME - 24, big_endian);
        put_be32(f + 16, sum[0]);
        put_be32(f + 20, sum[1]);
    }
}

enum { FRAMES = 50, WAL_BYTES = HEADER + FRAMES * FRAME };

static int scan_bytes(const uint8_t *wal, size_t len, struct wal_scan *scan, struct err *err)
{
    static const char *path;
    char name[600];
    path = path ? path : store_fresh_path("made");
    store_write_file(path, "wal", wal, len);
    snprintf(name, sizeof(name), "%s/wal", path);
    *err = (struct err){0};
    return wal_scan(name, 4096, scan, err);
}

static void test_other_headers(void)
{
    static uint8_t wal[WAL_BYTES];
    struct wal_scan scan;
    struct err err;
    for (int big_endian = 0; big_endian < 2; big_endian++) {
        make_wal(wal, 5, 0xa, big_endian, 3007000, 4096);
        is_i64(scan_bytes(wal, HEADER + 5 * FRAME, &scan, &err), 0,
               "a WAL made on a machine with %s",
               big_endian ? "the high byte first" : "the low byte first");
        ok(scan.frames == 5 && scan.committed == 4 && !scan.torn, "is read");
    }
    make_wal(wal, 2, 2, false, 3007001, 4096);
    is_i64(scan_bytes(wal, HEADER + 2 * FRAME, &scan, &err), ERR_CORRUPT, "another version");
    has_str(err.text, "version 3007001", "is refused by name");
    make_wal(wal, 2, 2, false, 3007000, 8192);
    is_i64(scan_bytes(wal, HEADER + 2 * FRAME, &scan, &err), ERR_CORRUPT, "other pages");
    has_str(err.text, "pages of 8192 bytes", "are refused by name");
}

/* The last commit but one, the only proof that it was synced being its own frame. */
static void test_rotten_proof(void)
{
    static uint8_t wal[WAL_BYTES];
    struct wal_scan scan;
    struct err err;
    bool good = true;
    for (uint64_t bit = 0; bit < 24 * 8 && good; bit++) {
        uint8_t *f = wal + HEADER + 2 * FRAME;
        make_wal(wal, 5, 0x14, false, 3007000, 4096);
        f[bit / 8] ^= (uint8_t)(1U << bit % 8);
        good = scan_bytes(wal, HEADER + 5 * FRAME, &scan, &err) == ERR_CORRUPT;
        if (!good)
            diag("bit %" PRIu64 " is not found", bit);
    }
    ok(good, "a bit of it is found, also the only one of its size");
    make_wal(wal, 5, 0x14, false, 3007000, 4096);
    memset(wal + HEADER + 2 * FRAME + 8, 0, 8);
    is_i64(scan_bytes(wal, HEADER + 5 * FRAME, &scan, &err), ERR_CORRUPT,
           "so are salts that are gone altogether");
    make_wal(wal, 5, 0x10, false, 3007000, 4096);
    memset(wal + HEADER + 2 * FRAME + 8, 0, 8);
    is_i64(scan_bytes(wal, HEADER + 5 * FRAME, &scan, &err), 0,
           "in the last transaction they are a torn tail");
    ok(scan.frames == 2 && scan.committed == 0, "and only what is before them counts");
}

/* Sectors are written whole, frames are not: a header of which the beginning is of an older frame,
 * and the rest of this one, is no commit. */
static void test_torn_header(void)
{
    static uint8_t wal[WAL_BYTES];
    struct wal_scan scan;
    struct err err;
    unsigned across = 0;
    bool good = true;
    for (uint32_t i = 1; i < FRAMES - 2 && good; i++) {
        size_t at = HEADER + (size_t)i * FRAME, in_sector = 512 - at % 512;
        if (in_sector >= 24)
            continue;
        across++;
        make_wal(wal, FRAMES, UINT64_C(1) << (FRAMES - 1), false, 3007000, 4096);
        put_be32(wal + at + 4, 9);
        memset(wal + at - (512 - in_sector), 'o', 512 - in_sector);
        good = scan_bytes(wal, WAL_BYTES, &scan, &err) == 0 && scan.torn && scan.committed == 0;
        if (!good)
            diag("frame %u, %zu bytes of its header in the first sector: %s", (unsigned)i,
                 in_sector, err.text);
    }
    ok(good && across > 0, "%u headers that lie across two sectors", across);
}

static void test_garbage(void)
{
    static char garbage[3 * FRAME];
    struct wal_scan scan;
    struct err err = {0};
    char wal[600];
    const char *path = store_fresh_path("garbage");
    memset(garbage, 'x', sizeof(garbage));
    store_write_file(path, "wal", garbage, sizeof(garbage));
    snprintf(wal, sizeof(wal), "%s/wal", path);
    is_i64(wal_scan(wal, 4096, &scan, &err), ERR_CORRUPT, "garbage is refused");
    has_str(err.text, wal, "by name");
    memset(garbage, 0, sizeof(garbage));
    store_write_file(path, "wal", garbage, sizeof(garbage));
    is_i64(wal_scan(wal, 4096, &scan, &err), 0, "zeros are a file that grew before it was written");
    store_write_file(path, "wal", garbage, 5);
    is_i64(wal_scan(wal, 4096, &scan, &err), 0, "five bytes are no header");
    is_i64(wal_scan(path, 4096, &scan, &err), ERR_IO, "a directory is an error of reading");
}

int main(void)
{
    make_crashed();
    test_intact();
    test_cut();
    test_rotten_frame();
    test_rotten_commit();
    test_rotten_header();
    test_rotten_past();
    test_other_headers();
    test_rotten_proof();
    test_torn_header();
    test_garbage();
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
