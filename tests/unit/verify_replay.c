/* raftkv-check replay: the state built anew, from every beginning, and every kind of difference. */
#include <stdio.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/store/test_vfs.h"
#include "tests/unit/tap.h"
#include "tests/unit/verify.h"

enum { SEED = 5 };

static const struct dir_plan plain = {.seed = SEED, .last = 200, .applied = 180};
static const struct dir_plan cut = {
    .seed = SEED, .last = 200, .applied = 180, .compacted = 100, .snapshot = 150};

static const char *whole; /* of `plain` */

static const char *damaged_copy(void)
{
    const char *path = store_fresh_path("damaged");
    store_copy_dir(whole, path);
    return path;
}

static void test_whole(void)
{
    static const struct {
        const char *name, *text;
        struct dir_plan plan;
    } cases[] = {
        {"from the first entry on",
         "built anew from entry 1 on, beginning with nothing, to 180",
         {.seed = SEED, .last = 200, .applied = 180}},
        {"of a node that was killed",
         "those up to 200 are in the log only",
         {.seed = SEED, .last = 200, .applied = 180, .killed = true}},
        {"with a snapshot that is not needed",
         "built anew from entry 1 on",
         {.seed = SEED, .last = 200, .applied = 180, .snapshot = 150}},
        {"from a snapshot on",
         "built anew from entry 151 on, beginning with the snapshot at it, to 180",
         {.seed = SEED, .last = 200, .applied = 180, .compacted = 100, .snapshot = 150}},
        {"from a snapshot on, killed",
         "built anew from entry 101 on",
         {.seed = SEED,
          .last = 200,
          .applied = 180,
          .compacted = 100,
          .snapshot = 100,
          .killed = true}},
        {"nothing applied", "built anew from entry 1 on", {.seed = SEED, .last = 10}},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct found f;
        const char *path = verify_make_dir("whole", &cases[i].plan);
        char *before = verify_picture(path);
        find_replay(path, NULL, &f);
        char *after = verify_picture(path);
        found_sound(&f, cases[i].name);
        has_str(found_text(&f), cases[i].text, "%s: what was done is told", cases[i].name);
        is_str(after, before, "%s: no file, name or time has changed", cases[i].name);
        found_release(&f);
        mem_free(before);
        mem_free(after);
    }
}

/* Several memtables, and sessions that expire and are pushed out of reach of the log's beginning.
 */
static void test_seeds(void)
{
    for (uint64_t seed = 100; seed < 106; seed++) {
        struct found f;
        char what[32];
        snprintf(what, sizeof(what), "seed %u", (unsigned)seed);
        find_replay(verify_make_dir("seed", &(struct dir_plan){.seed = seed,
                                                               .last = 700,
                                                               .applied = 690,
                                                               .compacted = 300,
                                                               .snapshot = 350}),
                    NULL, &f);
        found_sound(&f, what);
        found_release(&f);
    }
}

static void test_from(void)
{
    struct found f;
    char file[4096];
    struct dir_plan nothing = cut, early = plain;
    nothing.snapshot = 0;
    const char *path = verify_make_dir("nothing", &nothing);
    find_replay(path, NULL, &f);
    found_unknown(&f, "the log begins behind entry 100, and of the state there or later",
                  "nothing to begin with");
    found_release(&f);

    early.applied = early.last = 130;
    snprintf(file, sizeof(file), "%s/kv.1.db", verify_make_dir("early", &early));
    find_replay(path, file, &f);
    found_sound(&f, "from an earlier kv.1.db");
    has_str(found_text(&f), "built anew from entry 131 on", "what was done is told");
    found_release(&f);

    early.applied = early.last = 99;
    snprintf(file, sizeof(file), "%s/kv.1.db", verify_make_dir("early", &early));
    find_replay(path, file, &f);
    found_unknown(&f, "the state to begin with is that at 99, the log begins behind 100",
                  "from too early a state");
    found_release(&f);

    early.applied = early.last = 181;
    snprintf(file, sizeof(file), "%s/kv.1.db", verify_make_dir("late", &early));
    find_replay(path, file, &f);
    found_unknown(&f, "the state to begin with is that at 181, kv.1.db is that at 180",
                  "from too late a state");
    found_release(&f);

    snprintf(file, sizeof(file), "%s/kv.9.db", path);
    find_replay(path, file, &f);
    is_i64(f.code, ERR_NOT_FOUND, "from a file that is not there");
    has_str(f.err.text, "kv.9.db: there is no such file", "which is named");
    found_release(&f);

    snprintf(file, sizeof(file), "%s/raft.db", path);
    find_replay(path, file, &f);
    found_wrong(&f, "a database of another program", "from a file of something else");
    found_release(&f);

    struct dir_plan other = early;
    other.applied = other.last = 130;
    other.other = 3; /* another past */
    snprintf(file, sizeof(file), "%s/kv.1.db", verify_make_dir("other", &other));
    find_replay(path, file, &f);
    found_wrong(&f, "by the log there is no such key", "from the state of another past");
    found_release(&f);
}

static void test_differences(void)
{
    static const struct {
        const char *sql, *text;
    } cases[] = {
        {"UPDATE kv SET value=x'00' WHERE key=(SELECT min(key) FROM kv)",
         "kv.1.db: table kv, key x'6b657900"},
        {"UPDATE kv SET value=x'00' WHERE key=(SELECT min(key) FROM kv)",
         "another value, of 1 bytes, than the one of"},
        {"UPDATE kv SET version=4 WHERE key=(SELECT max(key) FROM kv)",
         "version 4, the log makes it"},
        {"UPDATE kv SET timestamp=4 WHERE key=(SELECT max(key) FROM kv)",
         "timestamp 4, the log makes it 17000000"},
        {"DELETE FROM kv WHERE key=(SELECT max(key) FROM kv)", "missing, entry "},
        {"DELETE FROM kv", "rows differ in all"},
        {"INSERT INTO kv VALUES(x'41', 7, 7, x'42')",
         "table kv, key 'A': version 7, by the log there is no such key"},
        {"INSERT INTO kv VALUES(x'ffff', 7, 7, x'42')", "key x'ffff': version 7, by the log"},
        {"DELETE FROM sessions WHERE client=(SELECT min(client) FROM sessions)",
         "table sessions, client 'client"},
        {"UPDATE sessions SET seq=seq+1", "wrong CRC"},
        {"UPDATE meta SET value=5 WHERE name='applied_index'", "row 'applied_index' of table meta"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct found f;
        const char *path = damaged_copy();
        verify_sql(path, "kv.1.db", cases[i].sql);
        find_replay(path, NULL, &f);
        found_wrong(&f, cases[i].text, cases[i].sql);
        found_release(&f);
    }
}

static void test_figures(void)
{
    static const struct {
        const char *file, *name;
        uint64_t value;
        const char *text;
    } cases[] = {
        {"kv.1.db", "applied_term", 2, "row 'applied_term' of table meta is 2, the log makes it 5"},
        {"kv.1.db", "cluster_time_ms", 9, "row 'cluster_time_ms' of table meta is 9"},
        {"kv.1.db", "membership_index", 2, "row 'membership_index' of table meta is 2"},
        {"kv.1.db", "keys", 2, "row 'keys' of table meta is 2"},
        {"kv.1.db", "applied_index", 170, "table kv, key "}, /* later rows are there */
        {"kv.1.db", "applied_index", 201, "applied up to 201, the log in raft.db ends at 200"},
        {"raft.db", "kv_generation", 2, "kv.2.db: missing or empty"},
        {"raft.db", "term", 2, "has term 3, expected 2 to 2"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct found f;
        const char *path = damaged_copy();
        verify_set_u64(path, cases[i].file, cases[i].name, cases[i].value);
        find_replay(path, NULL, &f);
        found_wrong(&f, cases[i].text, cases[i].name);
        found_release(&f);
    }
    struct found f;
    struct membership m = make_membership(2, 9);
    const char *path = damaged_copy();
    verify_set_membership(path, "kv.1.db", "membership", &m);
    find_replay(path, NULL, &f);
    found_wrong(&f, "row 'membership' of table meta is not what the log makes it", "membership");
    found_release(&f);
    path = damaged_copy();
    verify_set_digest(path, "kv.1.db", "digest", (struct digest){.lo = 1});
    find_replay(path, NULL, &f);
    found_wrong(&f, "row 'digest' of table meta is 00000000000000000000000000000001, the log makes",
                "digest");
    found_release(&f);
    path = damaged_copy();
    verify_set_digest(path, "kv.1.db", "cluster_id", (struct digest){.lo = 1});
    find_replay(path, NULL, &f);
    found_wrong(&f, "the state of cluster 00000000000000000000000000000001", "another cluster");
    found_release(&f);
}

/* A session as it would be after another request, with the CRC that goes with it. */
static void test_sessions(void)
{
    struct found f;
    const char *path = damaged_copy();
    struct dir_plan other = plain;
    other.other = 100;
    const char *from = verify_make_dir("other", &other);
    char sql[4300];
    snprintf(sql, sizeof(sql),
             "ATTACH '%s/kv.1.db' AS o; DELETE FROM sessions; INSERT INTO sessions SELECT * FROM "
             "o.sessions",
             from);
    verify_sql(path, "kv.1.db", sql);
    find_replay(path, NULL, &f);
    found_wrong(&f, "not what the log makes it", "a session of another past");
    found_release(&f);
}

static void test_log(void)
{
    struct found f;
    const char *path = damaged_copy();
    verify_sql(path, "raft.db", "DELETE FROM log WHERE idx=77");
    find_replay(path, NULL, &f);
    found_wrong(&f, "raft.db: row 77 of the log is missing", "an entry that is missing");
    has_str(found_text(&f), path, "the directory is named");
    found_release(&f);
    path = damaged_copy();
    struct entry *e = store_entry(77, 2, 30); /* no command */
    verify_set_entry(path, e);
    entry_unref(e);
    find_replay(path, NULL, &f);
    found_wrong(&f, "entry 77", "an entry that cannot be applied");
    has_str(found_text(&f), path, "the directory is named");
    found_release(&f);
    path = damaged_copy();
    struct command c = make_put("fresh", "value");
    e = make_entry(&c, 77, 2);
    verify_set_entry(path, e);
    entry_unref(e);
    find_replay(path, NULL, &f);
    found_wrong(&f, "key 'fresh': missing, entry 77 puts it", "another entry");
    found_release(&f);
    path = damaged_copy();
    store_cut_file(path, "raft.db", 0);
    find_replay(path, NULL, &f);
    found_wrong(&f, "raft.db: missing or empty", "an empty raft.db");
    found_release(&f);
}

static void test_refused(void)
{
    struct found f;
    struct data_dir *dir;
    const char *path = damaged_copy(), *missing = store_fresh_path("missing");
    find_replay(missing, NULL, &f);
    is_i64(f.code, ERR_NOT_FOUND, "a path that is not there");
    has_str(f.err.text, missing, "is named");
    found_release(&f);
    must(data_dir_open(path, &dir, NULL) == 0);
    find_replay(path, NULL, &f);
    found_unknown(&f, "is using this data directory", "a directory in use");
    found_release(&f);
    data_dir_close(dir);
#ifdef RAFTKV_TEST_VFS
    must(test_vfs_rules("raft.db write full", NULL) == 0);
    find_replay(path, NULL, &f);
    found_unknown(&f, "no room for a copy", "no room");
    found_release(&f);
    must(test_vfs_rules("kv write error after=8", NULL) == 0);
    find_replay(path, NULL, &f);
    found_unknown(&f, "kv.1.db", "a disk that fails");
    found_release(&f);
    must(test_vfs_rules("", NULL) == 0);
#endif
    find_replay(path, NULL, &f);
    found_sound(&f, "afterwards");
    found_release(&f);
}

int main(void)
{
    whole = verify_make_dir("plain", &plain);
    test_whole();
    test_seeds();
    test_from();
    test_differences();
    test_figures();
    test_sessions();
    test_log();
    test_refused();
    return done();
}
