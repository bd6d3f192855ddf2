/*
 * Checksums in the pages of the state's files: a changed byte, a page in another's place, a page of
 * an earlier time are never read as rows, and the page is named; files of the format before are
 * refused.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/base/prng.h"
#include "lib/store/page_sum.h"
#include "lib/store/sqlite_util.h"
#include "tests/unit/store.h"
#include "tests/unit/tap.h"

enum { ROWS = 3000 };

static void test_sum(void)
{
    uint8_t page[PAGE_BYTES];
    struct prng p;
    unsigned missed = 0;
    prng_seed(&p, test_seed());
    prng_fill(&p, page, sizeof(page));
    page_sum_set(page, 7);
    ok(page_sum_is_right(page, 7), "a sum that was set is right");
    ok(!page_sum_is_right(page, 8), "and wrong for another page");
    for (unsigned bit = 0; bit < PAGE_BYTES * 8; bit++) {
        page[bit / 8] ^= (uint8_t)(1 << bit % 8);
        missed += page_sum_is_right(page, 7);
        page[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    is_u64(missed, 0, "every bit counts, those of the sum too");
    memset(page, 0, sizeof(page));
    ok(!page_sum_is_right(page, 1), "a page of zeros is wrong");
}

static sqlite3 *fill(const char *path)
{
    sqlite3 *db;
    char mode[8];
    struct err err = {0};
    must(sq_open(path, SQ_CREATE | SQ_SHARED | SQ_SUMS, &db, &err) == 0);
    must(sq_text(db, "PRAGMA journal_mode=WAL", mode, sizeof(mode), &err) == 0);
    must(sq_exec(db, "CREATE TABLE t(x INTEGER PRIMARY KEY, y BLOB)", &err) == 0);
    char sql[160];
    snprintf(sql, sizeof(sql),
             "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<%d) "
             "INSERT INTO t SELECT i, randomblob(i %% 300) FROM n",
             ROWS);
    must(sq_exec(db, sql, &err) == 0);
    return db;
}

struct wrong {
    uint64_t pages[4];
    unsigned count;
};

static void wrong(void *self, uint64_t number)
{
    struct wrong *w = self;
    if (w->count < 4)
        w->pages[w->count] = number;
    w->count++;
}

static struct wrong scanned(sqlite3 *db)
{
    struct wrong w = {0};
    struct err err = {0};
    must(page_sum_scan(db, wrong, &w, &err) == 0);
    return w;
}

/* The first two leaves of a table behind page 50: a copy of the one stands in the other's place, of
 * which the number is returned. */
static uint64_t page_move(const char *path)
{
    enum { LEAF = 13 };
    uint8_t page[PAGE_BYTES], moved[PAGE_BYTES];
    long number = 50, found = 0;
    FILE *f = fopen(path, "r+e");
    must(f && fseek(f, number * PAGE_BYTES, SEEK_SET) == 0);
    while (found < 2) {
        must(fread(page, sizeof(page), 1, f) == 1);
        number++;
        if (page[0] == LEAF && found++ == 0)
            memcpy(moved, page, sizeof(page));
    }
    must(fseek(f, (number - 1) * PAGE_BYTES, SEEK_SET) == 0);
    must(fwrite(moved, sizeof(moved), 1, f) == 1 && fclose(f) == 0);
    return (uint64_t)number;
}

/* Through the WAL, checkpoints, growth, deletion, free pages that are used again. */
static void test_database(void)
{
    struct err err = {0};
    int64_t rows = 0;
    int frames, moved;
    char result[64], *path = mem_strdup(store_fresh_path("sums.db"));
    sqlite3 *db = fill(path);
    must(sq_checkpoint(db, SQLITE_CHECKPOINT_TRUNCATE, &frames, &moved, &err) == 0);
    is_u64(scanned(db).count, 0, "no page is wrong behind a checkpoint");
    for (int i = 0; i < 20; i++) {
        must(sq_exec(db, "DELETE FROM t WHERE x % 7 = 3", &err) == 0);
        must(sq_exec(db,
                     "INSERT OR REPLACE INTO t SELECT x * 7 % 4001, randomblob(x % 9000) FROM t "
                     "WHERE x % 5 = 1",
                     &err) == 0);
        must(sq_checkpoint(db, SQLITE_CHECKPOINT_PASSIVE, &frames, &moved, &err) == 0);
    }
    is_u64(scanned(db).count, 0, "nor after many changes");
    must(sq_text(db, "PRAGMA integrity_check(1)", result, sizeof(result), &err) == 0);
    is_str(result, "ok", "SQLite finds all well");
    must(sq_integer(db, "PRAGMA page_count", &rows, &err) == 0 && rows > 100);
    sq_close(db);
    mem_free(path);
}

static void test_moved(void)
{
    struct err err = {0};
    int64_t bytes = 0;
    int frames, moved;
    char text[64], *path = mem_strdup(store_fresh_path("moved.db"));
    sqlite3 *db = fill(path);
    must(sq_checkpoint(db, SQLITE_CHECKPOINT_TRUNCATE, &frames, &moved, &err) == 0);
    sq_close(db);
    uint64_t place = page_move(path);
    must(sq_open(path, SQ_READ | SQ_SHARED | SQ_SUMS, &db, &err) == 0);
    struct wrong w = scanned(db);
    ok(w.count == 1 && w.pages[0] == place, "a good page in another's place is found");
    is_i64(sq_integer(db, "SELECT sum(length(y)) FROM t", &bytes, &err), ERR_CORRUPT,
           "it is not read");
    snprintf(text, sizeof(text), "page %" PRIu64 " is damaged: wrong checksum", place);
    ok(strstr(err.text, "moved.db") && strstr(err.text, text), "and named (%s)", err.text);
    sq_close(db);
    mem_free(path);
}

/* What another program writes without sums is not taken for ours. */
static void test_stranger(void)
{
    struct err err = {0};
    int frames, moved;
    char *path = mem_strdup(store_fresh_path("stranger.db"));
    sqlite3 *db = fill(path);
    must(sq_checkpoint(db, SQLITE_CHECKPOINT_TRUNCATE, &frames, &moved, &err) == 0);
    sq_close(db);
    must(sq_open(path, SQ_WRITE | SQ_SHARED, &db, &err) == 0);
    must(sq_exec(db, "UPDATE t SET y=x'00' WHERE x=1700", &err) == 0);
    must(sq_checkpoint(db, SQLITE_CHECKPOINT_TRUNCATE, &frames, &moved, &err) == 0);
    sq_close(db);
    must(sq_open(path, SQ_READ | SQ_SHARED | SQ_SUMS, &db, &err) == 0);
    ok(scanned(db).count > 0, "a page that was written without us is wrong");
    sq_close(db);
    mem_free(path);
}

static void test_format_before(void)
{
    struct data_dir *dir;
    struct kv_writer *w = NULL;
    struct err err = {0};
    sqlite3 *db;
    char name[600];
    const char *path = store_fresh_path("before");
    must(data_dir_open(path, &dir, &err) == 0);
    must(kv_store_prepare(dir, 1, true, &err) == 0);
    snprintf(name, sizeof(name), "%s/kv.1.db", path);
    must(sq_open(name, SQ_WRITE, &db, &err) == 0);
    must(sq_exec(db, "PRAGMA user_version=1", &err) == 0);
    sq_close(db);
    is_i64(kv_writer_open(dir, 1, NULL, &w, &err), ERR_CORRUPT, "a file of format 1 is refused");
    ok(strstr(err.text, "kv.1.db: its format 1 is older than this program's 2"), "by name (%s)",
       err.text);
    data_dir_close(dir);
}

int main(void)
{
    test_sum();
    test_database();
    test_moved();
    test_stranger();
    test_format_before();
    return done();
}
