/*
 * Files that a node must not start with: rotten, foreign, newer, in a directory that cannot be
 * used. Everything is refused by name, and nothing is deleted.
 */
#include <inttypes.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/mem.h"
#include "lib/base/prng.h"
#include "lib/store/kv_store.h"
#include "tests/unit/store.h"
#include "tests/unit/tap.h"
#include "tests/unit/verify.h"

enum { ENTRIES = 120, BASE = 40 };

/* ---- a bit of raft.db ---- */

static void make_log(const char *path)
{
    struct data_dir *dir;
    struct log_store *s;
    struct log_store_state state;
    struct err err = {0};
    struct entry *e[ENTRIES];
    must(data_dir_open(path, &dir, &err) == 0);
    must(log_store_open(dir, "n", &s, &state, &err) == 0);
    for (raft_index i = 0; i < ENTRIES; i++)
        e[i] = store_entry(i + 1, 1 + i / 50, i == 70 ? 20000 : 150);
    struct log_write w = {.hard_state = true,
                          .term = 9,
                          .vote = 5,
                          .removed = 3,
                          .entries = e,
                          .entry_count = ENTRIES,
                          .set_cluster = true,
                          .cluster_id = {.hi = 1, .lo = 2}};
    must(log_store_write(s, &w, 1, &err) == 0);
    struct membership m = store_membership(3, 3);
    must(log_store_compact(s, BASE, 1, &m, &err) == 0);
    must(log_store_close(s, &err) == 0);
    data_dir_close(dir);
    for (raft_index i = 0; i < ENTRIES; i++)
        entry_unref(e[i]);
}

/* Refused with a text that names a file of the directory (-1), all as it was (1), or wrong (0). */
static int judge(const char *path, raft_id member_id, struct err *err)
{
    struct data_dir *dir;
    struct log_store *s;
    struct log_store_state state;
    struct membership m = store_membership(3, 3);
    *err = (struct err){0};
    must(data_dir_open(path, &dir, err) == 0);
    int rc = log_store_open(dir, "n", &s, &state, err);
    int verdict = rc ? (strstr(err->text, path) && rc != ERR_LOCKED ? -1 : 0) : 1;
    if (rc == 0) {
        struct entry **e;
        size_t count = 0;
        bool same = state.term == 9 && state.vote == 5 && state.removed == 3 &&
                    state.last_index == ENTRIES && state.snapshot_index == BASE &&
                    state.member_id == member_id && state.cluster_id.lo == 2 &&
                    state.kv_generation == 1 && state.run_count == 3 &&
                    membership_equal(&state.snapshot_membership, &m);
        same = same && log_store_read(s, BASE + 1, ENTRIES, 1 << 30, &e, &count, err) == 0;
        for (size_t i = 0; i < count; i++) {
            struct entry *want =
                store_entry(BASE + 1 + i, 1 + (BASE + i) / 50, BASE + i == 70 ? 20000 : 150);
            same = same && e[i]->crc == want->crc && e[i]->term == want->term;
            entry_unref(want);
            entry_unref(e[i]);
        }
        if (count)
            mem_free(e);
        /* And it can be gone on with: cutting walks through what was not read. */
        while (same && log_store_compacting(s))
            same = log_store_compact_slice(s, err) == 0;
        verdict = same && count == ENTRIES - BASE;
        log_store_close(s, NULL);
    }
    data_dir_close(dir);
    return verdict;
}

static void test_every_region(void)
{
    const char *whole = store_fresh_path("whole"), *path = store_fresh_path("rot");
    struct err err = {0};
    struct prng p;
    struct data_dir *dir;
    struct log_store *s;
    struct log_store_state state;
    prng_seed(&p, test_seed());
    make_log(whole);
    must(data_dir_open(whole, &dir, &err) == 0);
    must(log_store_open(dir, "n", &s, &state, &err) == 0);
    raft_id id = state.member_id;
    log_store_close(s, NULL);
    data_dir_close(dir);
    uint64_t bytes = store_file_bytes(whole, "raft.db");
    unsigned refused = 0, harmless = 0;
    bool good = true;
    for (unsigned i = 0; i < 1500 && good; i++) {
        /* The whole header, then anywhere. */
        uint64_t bit = i < 800 ? i : prng_below(&p, bytes * 8);
        store_copy_dir(whole, path);
        store_flip_bit(path, "raft.db", bit);
        int verdict = judge(path, id, &err);
        refused += verdict < 0;
        harmless += verdict > 0;
        good = verdict != 0 && store_file_bytes(path, "raft.db") == bytes;
        if (!good)
            diag("bit %" PRIu64 " of page %" PRIu64 ": neither refused nor harmless: %d, %" PRIu64
                 " bytes (%s)",
                 bit % 32768, bit / 32768 + 1, verdict, store_file_bytes(path, "raft.db"),
                 err.text);
    }
    ok(good, "a rotten bit is refused by name (%u) or harmless (%u)", refused, harmless);
    ok(refused > 300, "most of them are refused");
    /* Each page goes back to zeros. */
    for (uint64_t page = 0; page < bytes / 4096 && good; page++) {
        store_copy_dir(whole, path);
        char name[600];
        snprintf(name, sizeof(name), "%s/raft.db", path);
        FILE *f = fopen(name, "r+e");
        static const char zeros[4096];
        must(f && fseek(f, (long)(page * 4096), SEEK_SET) == 0);
        must(fwrite(zeros, sizeof(zeros), 1, f) == 1);
        fclose(f);
        good = judge(path, id, &err) != 0;
        if (!good)
            diag("page %" PRIu64 ": neither refused nor harmless", page + 1);
    }
    ok(good, "a page of zeros is refused or harmless");
    store_copy_dir(whole, path);
    store_cut_file(path, "raft.db", bytes - 4096);
    is_i64(judge(path, id, &err), -1, "a file cut short is refused");
    store_copy_dir(whole, path);
    store_cut_file(path, "raft.db", 0);
    is_i64(judge(path, id, &err), 0, "a file cut to nothing is a new one, alone in its directory");
    store_copy_dir(whole, path);
    store_write_file(path, "kv.3.db", "x", 1);
    store_cut_file(path, "raft.db", 0);
    is_i64(judge(path, id, &err), -1, "beside a state it is refused");
    has_str(err.text, "kv.3.db", "and what stands beside it is named");
}

/* ---- what the log says ---- */

static void change(const char *path, const char *name, const char *sql)
{
    char file[600];
    sqlite3 *db;
    snprintf(file, sizeof(file), "%s/%s", path, name);
    must(sqlite3_open_v2(file, &db, SQLITE_OPEN_READWRITE, "unix") == SQLITE_OK);
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK) {
        diag("%s: %s", sql, sqlite3_errmsg(db));
        must(false);
    }
    must(sqlite3_exec(db, "PRAGMA wal_checkpoint(TRUNCATE)", NULL, NULL, NULL) == SQLITE_OK);
    sqlite3_close(db);
}

static void test_rows(void)
{
    static const struct {
        const char *sql, *text;
    } cases[] = {
        {"DELETE FROM log WHERE idx=77", "row 77 of the log is missing"},
        {"DELETE FROM log WHERE idx=41", "row 41 of the log is missing"},
        {"UPDATE log SET data=x'00' WHERE idx=90", "entry 90: checksum"},
        {"UPDATE log SET term=3 WHERE idx=60", "entry 60: checksum"},
        {"UPDATE log SET kind=1 WHERE idx=60", "entry 60: checksum"},
        {"UPDATE log SET kind=9 WHERE idx=60", "entry 60: kind 9"},
        {"UPDATE meta SET value=8 WHERE name='term'", "row 'term' of table meta is damaged"},
        {"UPDATE meta SET value='9' WHERE name='vote'", "row 'vote' of table meta is damaged"},
        {"UPDATE meta SET value=0 WHERE name='removed'", "row 'removed' of table meta is damaged"},
        {"DELETE FROM meta WHERE name='kv_generation'", "'kv_generation' of table meta is missing"},
        {"UPDATE meta SET (value, crc)=(SELECT value, crc FROM meta WHERE name='vote') "
         "WHERE name='kv_generation'",
         "row 'kv_generation' of table meta is damaged"},
        {"DROP TABLE log", "tables are not those of format 1"},
        {"ALTER TABLE log ADD COLUMN more", "tables are not those of format 1"},
        {"PRAGMA user_version=2", "format 2 is newer than this program's 1"},
        {"PRAGMA user_version=0", "format is 0"},
        {"PRAGMA application_id=1234", "database of another program"},
    };
    const char *whole = store_fresh_path("whole"), *path = store_fresh_path("row");
    struct err err = {0};
    make_log(whole);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        store_copy_dir(whole, path);
        change(path, "raft.db", cases[i].sql);
        is_i64(judge(path, 0, &err), -1, "refused: %s", cases[i].sql);
        has_str(err.text, cases[i].text, "and said what");
    }
    store_copy_dir(whole, path);
    change(path, "raft.db", "DELETE FROM log WHERE idx=7");
    struct data_dir *dir;
    struct log_store *s;
    struct log_store_state state;
    must(data_dir_open(path, &dir, &err) == 0);
    is_i64(log_store_open(dir, "n", &s, &state, &err), 0,
           "a row that is not needed may be missing");
    log_store_close(s, NULL);
    data_dir_close(dir);
}

/* Rows that are whole, but cannot be those of one member's log. */
static void test_terms(void)
{
    static const struct {
        raft_term hard, first, second;
        const char *text;
    } cases[] = {{5, 3, 2, "row 2 of the log has term 2, expected 3 to 5"},
                 {5, 3, 6, "row 2 of the log has term 6, expected 3 to 5"}};
    struct err err = {0};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct data_dir *dir;
        struct log_store *s;
        struct log_store_state state;
        must(data_dir_open(store_fresh_path("terms"), &dir, &err) == 0);
        must(log_store_open(dir, "n", &s, &state, &err) == 0);
        struct entry *e[2] = {store_entry(1, cases[i].first, 10),
                              store_entry(2, cases[i].second, 10)};
        struct log_write w = {
            .hard_state = true, .term = cases[i].hard, .entries = e, .entry_count = 2};
        must(log_store_write(s, &w, 1, &err) == 0);
        must(log_store_close(s, &err) == 0);
        is_i64(log_store_open(dir, "n", &s, &state, &err), ERR_CORRUPT, "a term out of its order");
        has_str(err.text, cases[i].text, "is named");
        data_dir_close(dir);
        entry_unref(e[0]);
        entry_unref(e[1]);
    }
}

/* What rots while the store is open is found when it is read. */
static void test_rot_behind_start(void)
{
    enum { N = 2200, BYTES = 4000, ROTTEN = 10 }; /* more than the cache holds */
    struct data_dir *dir;
    struct log_store *s;
    struct log_store_state state;
    struct err err = {0};
    static struct entry *e[N];
    struct entry **got;
    size_t count;
    char name[600];
    const char *path = store_fresh_path("later");
    for (raft_index i = 0; i < N; i++)
        e[i] = store_entry(i + 1, 1, BYTES);
    must(data_dir_open(path, &dir, &err) == 0);
    must(log_store_open(dir, "n", &s, &state, &err) == 0);
    struct log_write w = {.hard_state = true, .term = 1, .entries = e, .entry_count = N};
    must(log_store_write(s, &w, 1, &err) == 0);
    must(log_store_close(s, &err) == 0);
    must(log_store_open(dir, "n", &s, &state, &err) == 0);
    snprintf(name, sizeof(name), "%s/raft.db", path);
    size_t size = store_file_bytes(path, "raft.db");
    uint8_t *file = mem_alloc(size);
    FILE *f = fopen(name, "re");
    must(f && fread(file, size, 1, f) == 1);
    fclose(f);
    const uint8_t *at = memmem(file, size, e[ROTTEN - 1]->data, 100);
    must(at);
    store_flip_bit(path, "raft.db", (uint64_t)(at - file) * 8 + 5);
    mem_free(file);
    is_i64(log_store_read(s, ROTTEN - 1, ROTTEN + 1, 1 << 30, &got, &count, &err), ERR_CORRUPT,
           "a row that rotted since the start is found when it is read");
    has_str(err.text, "entry 10: checksum", "it is named");
    has_str(err.text, name, "and the file");
    is_i64(log_store_read(s, ROTTEN + 1, ROTTEN + 1, 1, &got, &count, &err), 0, "others are read");
    entry_unref(got[0]);
    mem_free(got);
    log_store_close(s, NULL);
    data_dir_close(dir);
    for (raft_index i = 0; i < N; i++)
        entry_unref(e[i]);
}

/* Without raft.db this member has forgotten what it voted and acknowledged. */
static void test_lost(void)
{
    const char *whole = store_fresh_path("whole"), *path = store_fresh_path("lost");
    struct err err = {0};
    make_log(whole);
    store_remove_dir(path);
    store_write_file(path, "kv.3.db", "x", 1);
    is_i64(judge(path, 0, &err), -1, "a state without raft.db");
    has_str(err.text, "kv.3.db is there", "is named");
    is_u64(store_count_files(path, "raft.db"), 0, "and none is made beside it");
    store_remove_dir(path);
    store_write_file(path, "raft.db-wal", "x", 1);
    is_i64(judge(path, 0, &err), -1, "a WAL without raft.db");
    has_str(err.text, "raft.db-wal is there", "is named");
    store_remove_dir(path);
    store_write_file(path, "raft.db", "", 0);
    change(path, "raft.db", "PRAGMA journal_mode=WAL; CREATE TABLE t(x); DROP TABLE t");
    store_write_file(path, "kv.3.db", "x", 1);
    is_i64(judge(path, 0, &err), -1, "a state beside a raft.db with nothing in it");
    has_str(err.text, "kv.3.db is there", "is named");
}

/* Each part of a session. */
static void test_sessions(void)
{
    static const char *const changes[] = {
        "client='else'",
        "client=''",
        "seq=seq+1",
        "fingerprint=fingerprint+1",
        "status=1",
        "existed=1-existed",
        "version=77",
        "timestamp=timestamp+1",
        "used_ms=1",
        "used_index=3",
        "crc=crc+1",
        "seq='x'",
        "batch_existed=x'01'",
        "batch_existed=zeroblob(129)",
    };
    struct kv_rig rig;
    struct state_options options = kv_rig_options();
    struct prng prng;
    struct data_dir *dir;
    struct kv_writer *w;
    struct kv_image image;
    struct err err = {0};
    struct digest digest;
    uint64_t keys;
    const char *whole = store_fresh_path("whole"), *path = store_fresh_path("session");
    prng_seed(&prng, test_seed());
    kv_rig_init(&rig, &options);
    must(data_dir_open(whole, &dir, &err) == 0);
    must(kv_store_prepare(dir, 1, true, &err) == 0);
    must(kv_writer_open(dir, 1, NULL, &w, &err) == 0);
    store_apply_random(&rig, &prng, 300);
    must(kv_writer_flush(w, state_freeze(rig.state), &digest, &keys, &err) == 0);
    must(kv_writer_image(w, &image, &err) == 0 && image.image.session_count > 3);
    mem_free(image.sessions);
    kv_writer_close(w);
    data_dir_close(dir);
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        char sql[160];
        store_copy_dir(whole, path);
        snprintf(sql, sizeof(sql),
                 "UPDATE sessions SET %s WHERE client=(SELECT max(client) FROM sessions)",
                 changes[i]);
        verify_sql(path, "kv.1.db", sql);
        must(data_dir_open(path, &dir, &err) == 0);
        must(kv_writer_open(dir, 1, NULL, &w, &err) == 0);
        is_i64(kv_writer_image(w, &image, &err), ERR_CORRUPT, "a session with %s", changes[i]);
        has_str(err.text, "session", "is told to be one");
        kv_writer_close(w);
        data_dir_close(dir);
    }
    kv_rig_release(&rig);
}

static void test_foreign(void)
{
    static char garbage[10000];
    const char *path = store_fresh_path("foreign");
    struct err err = {0};
    memset(garbage, 'g', sizeof(garbage));
    for (size_t bytes = 1; bytes <= sizeof(garbage); bytes *= 10) {
        store_remove_dir(path);
        store_write_file(path, "raft.db", garbage, bytes);
        is_i64(judge(path, 0, &err), -1, "%zu bytes of garbage", bytes);
        has_str(err.text, "raft.db: not a database", "are named");
        is_u64(store_count_files(path, ""), 2, "nothing is made beside it but the lock");
    }
    store_remove_dir(path);
    store_write_file(path, "raft.db", "", 0);
    change(path, "raft.db", "PRAGMA journal_mode=WAL; CREATE TABLE mine(x)");
    is_i64(judge(path, 0, &err), -1, "somebody else's database");
    has_str(err.text, "database of another program", "is told to be one");

    struct data_dir *dir;
    struct kv_writer *w;
    must(data_dir_open(path, &dir, &err) == 0);
    store_write_file(path, "kv.1.db", garbage, sizeof(garbage));
    is_i64(kv_writer_open(dir, 1, NULL, &w, &err), ERR_CORRUPT, "a garbage kv.db");
    has_str(err.text, "kv.1.db: not a database", "is named");
    store_write_file(path, "kv.1.db", "", 0);
    is_i64(kv_writer_open(dir, 1, NULL, &w, &err), ERR_CORRUPT, "an empty kv.db");
    is_i64(kv_writer_open(dir, 2, NULL, &w, &err), ERR_CORRUPT, "a missing kv.db");
    verify_sql(path, "kv.1.db", "CREATE TABLE t(x); DROP TABLE t");
    is_i64(kv_writer_open(dir, 1, NULL, &w, &err), ERR_CORRUPT, "a kv.db with nothing in it");
    has_str(err.text, "kv.1.db: an empty database", "is told to be one");
    must(kv_store_prepare(dir, 5, true, &err) == 0);
    verify_sql(path, "kv.5.db", "PRAGMA user_version=3");
    is_i64(kv_writer_open(dir, 5, NULL, &w, &err), ERR_CORRUPT, "a newer kv.db");
    has_str(err.text, "newer", "is told to be newer");
    verify_sql(path, "kv.5.db",
               "PRAGMA user_version=2; UPDATE meta SET value=9 WHERE "
               "name='applied_index'");
    is_i64(kv_writer_open(dir, 5, NULL, &w, &err), ERR_CORRUPT, "a kv.db with a rotten meta row");
    has_str(err.text, "'applied_index'", "names the row");
    data_dir_close(dir);
}

/* ---- directories ---- */

static void test_directories(void)
{
    struct data_dir *dir;
    struct err err = {0};
    char below[600];
    const char *path = store_fresh_path("file");
    store_write_file(store_scratch(), strrchr(path, '/') + 1, "x", 1);
    is_i64(data_dir_open(path, &dir, &err), ERR_IO, "a file instead of a directory");
    has_str(err.text, path, "is named");
    snprintf(below, sizeof(below), "%s/below", path);
    is_i64(data_dir_open(below, &dir, &err), ERR_IO, "a directory below a file");
    has_str(err.text, "cannot create", "cannot be created");
    is_i64(data_dir_open("/proc/raftkv", &dir, &err), ERR_IO, "a place that cannot be written");

    const char *closed = store_fresh_path("closed");
    must(mkdir(closed, 0500) == 0);
    must(chmod(store_scratch(), 0755) == 0);
    pid_t child = fork();
    if (child == 0) {
        if (geteuid() == 0 && setuid(65534) != 0)
            _exit(9);
        int rc = data_dir_open(closed, &dir, &err);
        _exit(rc == ERR_IO && strstr(err.text, closed) && strstr(err.text, "denied") ? 0 : 1);
    }
    int status = -1;
    must(waitpid(child, &status, 0) == child);
    is_i64(WEXITSTATUS(status), 0, "a directory that may not be written is named");

    const char *fixed = store_fresh_path("fixed");
    struct log_store *s;
    struct log_store_state state;
    char file[600];
    make_log(fixed);
    snprintf(file, sizeof(file), "%s/raft.db", fixed);
    must(chmod(file, 0444) == 0 && chmod(fixed, 0777) == 0);
    child = fork();
    if (child == 0) {
        snprintf(file, sizeof(file), "%s/lock", fixed);
        if (geteuid() == 0 && (chmod(file, 0666) != 0 || setuid(65534) != 0))
            _exit(9);
        if (data_dir_open(fixed, &dir, &err))
            _exit(8);
        int rc = log_store_open(dir, "n", &s, &state, &err);
        _exit(rc == ERR_IO && strstr(err.text, "raft.db: cannot be written") ? 0 : 1);
    }
    must(waitpid(child, &status, 0) == child);
    is_i64(WEXITSTATUS(status), 0, "a raft.db that may not be written is named");

    const char *made = store_fresh_path("made");
    struct stat st;
    must(data_dir_open(made, &dir, &err) == 0);
    ok(stat(made, &st) == 0 && (st.st_mode & 0777) == 0700, "a new one is for its owner only");
    data_dir_close(dir);
    is_i64(data_dir_open(made, &dir, &err), 0, "and can be used again");
    data_dir_close(dir);
}

/* The lock goes with the process, however it ends. */
static void test_lock_of_killed(void)
{
    const char *path = store_fresh_path("killed");
    struct data_dir *dir;
    struct err err = {0};
    char pid[32];
    int ready[2];
    must(pipe(ready) == 0);
    pid_t child = fork();
    if (child == 0) {
        char c = data_dir_open(path, &dir, NULL) == 0 ? 'y' : 'n';
        if (write(ready[1], &c, 1) == 1)
            pause();
        _exit(1);
    }
    char c = 0;
    must(read(ready[0], &c, 1) == 1 && c == 'y');
    is_i64(data_dir_open(path, &dir, &err), ERR_LOCKED, "locked by another process");
    snprintf(pid, sizeof(pid), "process %ld ", (long)child);
    has_str(err.text, pid, "which is named");
    must(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child);
    is_i64(data_dir_open(path, &dir, &err), 0, "free when that one was killed");
    data_dir_close(dir);
    close(ready[0]);
    close(ready[1]);
}

int main(void)
{
    test_directories();
    test_lock_of_killed();
    test_rows();
    test_terms();
    test_rot_behind_start();
    test_lost();
    test_sessions();
    test_foreign();
    test_every_region();
    return done();
}
