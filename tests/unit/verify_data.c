/* raftkv-check data: directories that are whole, each check firing, bits that flip anywhere. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/hash.h"
#include "lib/base/mem.h"
#include "lib/base/prng.h"
#include "lib/store/test_vfs.h"
#include "tests/unit/tap.h"
#include "tests/unit/verify.h"

enum { SEED = 5 };

static const struct dir_plan plain = {.seed = SEED, .last = 200, .applied = 180};
static const struct dir_plan killed = {
    .seed = SEED, .last = 200, .applied = 180, .killed = true, .snapshot = 111};
static const struct dir_plan cut = {
    .seed = SEED, .last = 200, .applied = 180, .compacted = 100, .snapshot = 150, .killed = true};

/* ---- whole ones ---- */

static void test_whole(void)
{
    static const struct {
        const char *name;
        struct dir_plan plan;
    } cases[] = {
        {"stopped", {.seed = SEED, .last = 200, .applied = 180}},
        {"killed", {.seed = SEED, .last = 200, .applied = 180, .killed = true}},
        {"with a snapshot", {.seed = SEED, .last = 200, .applied = 180, .snapshot = 111}},
        {"with a log that was cut", {.seed = SEED, .last = 200, .applied = 180, .compacted = 100}},
        {"all of it applied", {.seed = SEED, .last = 120, .applied = 120, .compacted = 120}},
        {"nothing applied", {.seed = SEED, .last = 20, .killed = true}},
        {"a log of one entry", {.seed = SEED, .last = 1, .applied = 1}},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct found f;
        const char *path = verify_make_dir("whole", &cases[i].plan);
        char *before = verify_picture(path);
        find_data_of(path, &f);
        char *after = verify_picture(path);
        found_sound(&f, cases[i].name);
        is_str(after, before, "%s: no file, name or time has changed", cases[i].name);
        found_release(&f);
        mem_free(before);
        mem_free(after);
    }
}

static void test_several(void)
{
    struct dir_plan other_end = plain;
    struct found f;
    other_end.other = 190; /* what nobody has applied may differ */
    other_end.later = 3;
    const char *paths[] = {verify_make_dir("one", &plain), verify_make_dir("two", &killed),
                           verify_make_dir("three", &cut), verify_make_dir("four", &other_end)};
    find_data(paths, 4, &f);
    found_sound(&f, "four of one cluster");
    found_release(&f);
}

/* ---- each check ---- */

static const char *whole; /* of `cut` */

static const char *damaged_copy(void)
{
    const char *path = store_fresh_path("damaged");
    store_copy_dir(whole, path);
    return path;
}

static void test_sql(void)
{
    static const struct {
        const char *file, *sql, *text;
    } cases[] = {
        {"raft.db", "DELETE FROM log WHERE idx=130",
         "raft.db: table log, row 130: missing, the next one is 131"},
        {"raft.db", "DELETE FROM log WHERE idx BETWEEN 101 AND 110",
         "row 101: missing, the next one is 111"},
        {"raft.db", "UPDATE log SET data=x'00' WHERE idx=140", "table log, row 140: entry 140"},
        {"raft.db", "UPDATE log SET term=term+1 WHERE idx=141", "table log, row 141: entry 141"},
        {"raft.db", "UPDATE log SET kind=9 WHERE idx=142", "kind 9"},
        {"raft.db", "UPDATE meta SET value=8 WHERE name='term'",
         "raft.db: row 'term' of table meta is damaged"},
        {"raft.db", "UPDATE meta SET value=8 WHERE name='vote'", "row 'vote' of table meta"},
        {"raft.db", "UPDATE meta SET value=8 WHERE name='removed'", "row 'removed' of table meta"},
        {"raft.db", "UPDATE meta SET value=8 WHERE name='member_id'", "row 'member_id' of"},
        {"raft.db", "UPDATE meta SET value=x'41' WHERE name='name'", "row 'name' of table meta"},
        {"raft.db", "UPDATE meta SET value='x' WHERE name='cluster_id'", "row 'cluster_id' of"},
        {"raft.db", "DELETE FROM meta WHERE name='snapshot_term'",
         "row 'snapshot_term' of table meta is missing"},
        {"raft.db", "UPDATE meta SET value=x'00' WHERE name='snapshot_membership'",
         "row 'snapshot_membership' of"},
        {"raft.db", "DELETE FROM meta WHERE name='kv_generation'", "row 'kv_generation' of"},
        {"raft.db", "INSERT INTO meta VALUES('more', 1, 1)", "row 'more' of table meta is none"},
        {"raft.db", "PRAGMA user_version=2", "format 2 is newer"},
        {"raft.db", "PRAGMA application_id=7", "a database of another program"},
        {"raft.db", "DROP TABLE log", "its tables are not those of format"},
        {"kv.1.db", "UPDATE kv SET value=x'00' WHERE version=(SELECT max(version) FROM kv)",
         "kv.1.db: the digest of the rows of table kv is"},
        {"kv.1.db", "UPDATE kv SET value=x'00' WHERE version=(SELECT max(version) FROM kv)",
         ", which is its version, puts another key, value or timestamp"},
        {"kv.1.db", "UPDATE kv SET timestamp=5 WHERE version=(SELECT min(version) FROM kv)",
         "the digest of the rows of table kv is"},
        {"kv.1.db", "UPDATE kv SET version=181 WHERE version=(SELECT max(version) FROM kv)",
         "version 181, applied up to 180"},
        {"kv.1.db", "UPDATE kv SET version=0 WHERE version=(SELECT max(version) FROM kv)",
         "version 0, applied up to 180"},
        {"kv.1.db", "DELETE FROM kv WHERE version=(SELECT max(version) FROM kv)", "row 'keys' of"},
        {"kv.1.db", "INSERT INTO kv VALUES('text', 3, 3, x'00')", "a value of another type"},
        {"kv.1.db", "INSERT INTO kv VALUES(x'', 3, 3, x'00')", "of a length that cannot be"},
        {"kv.1.db", "INSERT INTO kv VALUES(zeroblob(5000), 3, 3, x'00')", "of a length that"},
        {"kv.1.db", "UPDATE sessions SET seq=seq+1 WHERE client=(SELECT min(client) FROM sessions)",
         "the session of client 'client"},
        {"kv.1.db", "UPDATE meta SET value=9 WHERE name='applied_index'", "row 'applied_index' of"},
        {"kv.1.db", "UPDATE meta SET value=9 WHERE name='applied_term'", "row 'applied_term' of"},
        {"kv.1.db", "DELETE FROM meta WHERE name='cluster_time_ms'", "row 'cluster_time_ms' of"},
        {"kv.1.db", "DELETE FROM meta WHERE name='digest'", "row 'digest' of table meta is"},
        {"kv.1.db", "DELETE FROM meta WHERE name='keys'", "row 'keys' of table meta is missing"},
        {"kv.1.db", "DELETE FROM meta WHERE name='cluster_id'", "row 'cluster_id' of table meta"},
        {"kv.1.db", "DELETE FROM meta WHERE name='membership'", "row 'membership' of table meta"},
        {"kv.1.db", "INSERT INTO meta VALUES('more', 1, 1)", "row 'more' of table meta is none"},
        {"kv.1.db", "CREATE TABLE more(x)", "its tables are not those of format"},
        {"snapshot.150.db", "UPDATE kv SET value=x'77' WHERE version=(SELECT max(version) FROM kv)",
         "snapshot.150.db: the digest of the rows"},
        {"snapshot.150.db", "DELETE FROM meta WHERE name='keys'", "snapshot.150.db: row 'keys'"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct found f;
        const char *path = damaged_copy();
        verify_sql(path, cases[i].file, cases[i].sql);
        find_data_of(path, &f);
        found_wrong(&f, cases[i].text, cases[i].sql);
        has_str(found_text(&f), path, "the directory is named");
        found_release(&f);
    }
}

static void wrong_after(const char *path, const char *text, const char *what)
{
    struct found f;
    find_data_of(path, &f);
    found_wrong(&f, text, what);
    found_release(&f);
}

/* Rows that are whole, and cannot be. */
static void test_figures(void)
{
    static const struct {
        const char *file, *name;
        uint64_t value;
        const char *text;
    } cases[] = {
        {"raft.db", "member_id", 0, "the member id is 0"},
        {"raft.db", "kv_generation", 0, "the generation of the state is 0"},
        {"raft.db", "kv_generation", 2, "kv.2.db: missing, and the log begins behind 100"},
        {"raft.db", "term", 0, "in term 0"},
        {"raft.db", "term", 4, "in term 4"}, /* entries have higher ones */
        {"raft.db", "term", 1, "the current term is 1"},
        {"raft.db", "snapshot_index", 99, "table log, row 100: missing"},
        {"raft.db", "snapshot_index", 0, "the log begins behind 0 of term"},
        {"raft.db", "snapshot_index", 185, "the log in raft.db begins behind 185"},
        {"raft.db", "snapshot_term", 0, "the log begins behind 100 of term 0"},
        {"raft.db", "snapshot_term", 5, "behind term 5"},
        {"raft.db", "snapshot_membership_index", 101, "members of entry 101"},
        {"kv.1.db", "applied_index", 201, "the log in raft.db ends at 200"},
        {"kv.1.db", "applied_index", 90, "what is between them is lost"},
        {"kv.1.db", "applied_index", 0, "applied up to 0, of term"},
        {"kv.1.db", "applied_term", 2, "applied up to entry 180 of term 2, in raft.db it is of 5"},
        {"kv.1.db", "cluster_time_ms", 5, "table sessions, client 'client"},
        {"kv.1.db", "membership_index", 2, "meta: the membership of entry 2, in the log that of"},
        {"kv.1.db", "membership_index", 190, "the membership of entry 190, applied up to 180"},
        {"kv.1.db", "keys", 3, "row 'keys' of table meta says 3"},
        {"snapshot.150.db", "applied_index", 151, "snapshot.150.db: the state at 151"},
        {"snapshot.150.db", "applied_term", 1,
         "snapshot.150.db: applied up to entry 150 of term 1"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char what[96];
        const char *path = damaged_copy();
        verify_set_u64(path, cases[i].file, cases[i].name, cases[i].value);
        snprintf(what, sizeof(what), "%s: %s=%" PRIu64, cases[i].file, cases[i].name,
                 cases[i].value);
        wrong_after(path, cases[i].text, what);
    }
    static const struct digest odd = {.hi = 1, .lo = 2}, none;
    const char *path = damaged_copy();
    verify_set_digest(path, "kv.1.db", "digest", odd);
    wrong_after(path, "row 'digest' of table meta says 00000000000000010000000000000002",
                "another digest");
    path = damaged_copy();
    verify_set_digest(path, "kv.1.db", "cluster_id", odd);
    wrong_after(path, "kv.1.db: the state of cluster 00000000000000010000000000000002",
                "another cluster");
    path = damaged_copy();
    verify_set_digest(path, "raft.db", "cluster_id", none);
    wrong_after(path, "there is a log, and meta names no cluster", "no cluster");
    path = verify_make_dir("cluster", &plain);
    verify_set_digest(path, "raft.db", "cluster_id", odd);
    wrong_after(path, "the membership of entry 1 makes cluster", "not the cluster of entry 1");
    struct membership m = make_membership(2, 9);
    path = damaged_copy();
    verify_set_membership(path, "kv.1.db", "membership", &m);
    wrong_after(path, "another membership than that of entry", "another membership");
}

/* Entries that are whole, and cannot be. */
static void test_entries(void)
{
    struct entry *e = store_entry(150, 4, 30); /* no command */
    const char *path = damaged_copy();
    verify_set_entry(path, e);
    entry_unref(e);
    wrong_after(path, "table log, row 150: ", "an entry that does not decode");
    e = make_noop(150, 2);
    path = damaged_copy();
    verify_set_entry(path, e);
    entry_unref(e);
    wrong_after(path, "row 150: term 2 behind term 4", "a term that goes back");
    e = make_noop(200, 50);
    path = damaged_copy();
    verify_set_entry(path, e);
    entry_unref(e);
    wrong_after(path, "row 200: term 50 behind term 5, in term 7", "a term that has not begun");
    e = make_noop(1, 1);
    path = verify_make_dir("headless", &(struct dir_plan){.seed = SEED, .last = 2});
    verify_set_entry(path, e);
    entry_unref(e);
    wrong_after(path, "the log begins without a membership", "no membership");
    /* A put that another entry stands in the place of. */
    e = make_noop(179, 5);
    struct command c = make_put("fresh", "value");
    path = verify_make_dir("put", &(struct dir_plan){.seed = SEED, .last = 4, .applied = 3});
    struct entry *put = make_entry(&c, 3, 1);
    verify_set_entry(path, put);
    entry_unref(put);
    verify_sql(path, "kv.1.db", "DELETE FROM kv; INSERT INTO kv VALUES(x'41', 2, 5, x'42')");
    wrong_after(path, "key 'A': entry 2, which is its version, puts nothing",
                "a row whose entry puts nothing");
    entry_unref(e);
}

static void test_removed(void)
{
    struct dir_plan short_plan = {.seed = SEED, .last = 3, .applied = 3};
    const char *path = verify_make_dir("removed", &short_plan);
    struct data_dir *dir;
    struct log_store *s;
    struct log_store_state state;
    must(data_dir_open(path, &dir, NULL) == 0);
    must(log_store_open(dir, NULL, &s, &state, NULL) == 0);
    raft_id id = state.member_id;
    must(log_store_close(s, NULL) == 0);
    data_dir_close(dir);
    /* Entry 4 is a membership of this member alone. */
    struct membership m = make_membership(1, 3);
    m.configuration.members[0].id = m.addresses[0].id = id;
    struct entry *e = make_configuration(&m, 4, 1);
    verify_set_entry(path, e);
    entry_unref(e);
    verify_set_u64(path, "raft.db", "removed", 4);
    wrong_after(path, "removed by entry 4, whose membership has it", "removed, and there");
}

/* ---- files ---- */

static void test_files(void)
{
    struct found f;
    const char *path = damaged_copy();
    store_cut_file(path, "raft.db", 0);
    wrong_after(path, "raft.db: missing or empty", "an empty raft.db");
    path = damaged_copy();
    char name[4096];
    snprintf(name, sizeof(name), "%s/raft.db", path);
    must(unlink(name) == 0);
    wrong_after(path, "raft.db: missing or empty", "no raft.db");
    path = damaged_copy();
    store_write_file(path, "raft.db",
                     "certainly not a database, and long enough to be one ......."
                     "............................................",
                     100);
    wrong_after(path, "raft.db: not a database", "a raft.db of something else");
    path = verify_make_dir("short", &plain);
    verify_sql(path, "kv.1.db", "SELECT 1"); /* empties the WAL */
    store_cut_file(path, "kv.1.db", 5000);
    wrong_after(path, "kv.1.db", "a file of the state cut short");
    path = damaged_copy();
    store_cut_file(path, "snapshot.150.db", 8192);
    wrong_after(path, "snapshot.150.db", "a snapshot cut short");
    path = damaged_copy();
    store_write_file(path, "kv.2.db", "left over", 9);
    find_data_of(path, &f);
    found_sound(&f, "a file of another generation");
    has_str(found_text(&f), "kv.2.db: not the state in force", "is told of");
    found_release(&f);
    path = verify_make_dir("young", &(struct dir_plan){.seed = SEED, .last = 5});
    snprintf(name, sizeof(name), "%s/kv.1.db", path);
    must(unlink(name) == 0);
    find_data_of(path, &f);
    found_sound(&f, "no state, and a log from 1 on");
    has_str(found_text(&f), "missing: the next start makes it from the log", "is told of");
    found_release(&f);
}

/* A frame in the middle of raft.db's WAL, and at its end. */
static void test_wal(void)
{
    struct found f;
    const char *path = damaged_copy();
    uint64_t bytes = store_file_bytes(path, "raft.db-wal");
    must(bytes > 20 * 4120);
    store_flip_bit(path, "raft.db-wal", (32 + 4120 * 5 + 1000) * 8);
    wrong_after(path, "raft.db-wal: frame 6 is damaged", "a rotten frame");
    path = damaged_copy();
    store_cut_file(path, "raft.db-wal", bytes - 100);
    find_data_of(path, &f);
    is_u64(f.wrong + f.unknown, 0, "a torn end of raft.db's WAL is not wrong");
    found_release(&f);
    path = damaged_copy();
    store_flip_bit(path, "kv.1.db-wal", (32 + 4120 + 1000) * 8);
    find_data_of(path, &f);
    is_u64(f.wrong + f.unknown, 0, "nor is a frame of kv.db's that was lost");
    has_str(found_text(&f), "kv.1.db-wal: only the first", "but it is told of");
    found_release(&f);
}

/* ---- several ---- */

static void pair_wrong(const struct dir_plan *a, const struct dir_plan *b, const char *text,
                       const char *what)
{
    struct found f;
    const char *paths[] = {verify_make_dir("a", a), verify_make_dir("b", b)};
    find_data(paths, 2, &f);
    found_wrong(&f, text, what);
    is_u64(f.unknown, 0, "%s: all was looked at", what);
    found_release(&f);
}

static void test_pairs(void)
{
    struct dir_plan other = plain;
    other.other = 150;
    other.applied = 120;
    pair_wrong(&plain, &other, "table log, row 150: two entries of the same term, 4",
               "logs that do not match");
    other.later = 1; /* from 150 on, until the terms are the same again */
    other.applied = 160;
    pair_wrong(&plain, &other, "row 150: of term 4 and of term 5, and both have applied up to 160",
               "applied entries that differ");
    other = cut;
    other.other = 100;
    other.later = 1;
    pair_wrong(&plain, &other, "row 100: of term 3 and of term 4", "where a log begins");

    /* A row that one applied otherwise: its digest is that of its rows. */
    struct found f;
    const char *paths[] = {verify_make_dir("a", &cut), verify_make_dir("b", &cut)};
    verify_sql(paths[1], "kv.1.db", "DELETE FROM kv WHERE version<100");
    find_data(paths, 2, &f);
    found_wrong(&f, "kv.1.db: the digest of the rows", "a row that one lacks");
    found_release(&f);
    verify_set_digest(paths[1], "kv.1.db", "digest", (struct digest){.hi = 4});
    find_data(paths, 2, &f);
    found_wrong(&f, "both applied up to 180, with digests", "digests that differ");
    found_release(&f);

    /* Another cluster. */
    const char *far = verify_make_dir("far", &plain);
    struct membership m = make_membership(3, 8);
    struct entry *e = make_configuration(&m, 1, 1);
    verify_set_entry(far, e);
    entry_unref(e);
    verify_set_digest(far, "raft.db", "cluster_id", membership_cluster_id(&m));
    verify_set_digest(far, "kv.1.db", "cluster_id", membership_cluster_id(&m));
    paths[1] = far;
    find_data(paths, 2, &f);
    found_wrong(&f, "of two clusters, ", "two clusters");
    found_release(&f);

    const char *twice[] = {paths[0], paths[0]};
    find_data(twice, 2, &f);
    found_sound(&f, "one directory twice");
    has_str(found_text(&f), "the same member", "is told of");
    found_release(&f);
}

/* In one directory, too. */
static void test_snapshot_beside(void)
{
    struct dir_plan at = {.seed = SEED, .last = 180, .applied = 180, .snapshot = 180};
    const char *path = verify_make_dir("beside", &at);
    verify_set_digest(path, "snapshot.180.db", "digest", (struct digest){.hi = 4});
    wrong_after(path, "both applied up to 180, with digests", "a snapshot of the same index");
}

/* ---- what cannot be looked at ---- */

static void test_refused(void)
{
    struct found f;
    struct data_dir *dir;
    char name[4096];
    const char *path = damaged_copy(), *missing = store_fresh_path("missing");
    const char *both[] = {path, missing};
    find_data(both, 2, &f);
    is_i64(f.code, ERR_NOT_FOUND, "a path that is not there");
    has_str(f.err.text, missing, "is named");
    is_u64(f.facts + f.wrong, 0, "and nothing was looked at");
    found_release(&f);
    find_data_of(store_scratch(), &f);
    is_i64(f.code, ERR_NOT_FOUND, "a directory of something else");
    has_str(f.err.text, "not a data directory", "is told to be one");
    found_release(&f);
    snprintf(name, sizeof(name), "%s/raft.db", path);
    find_data_of(name, &f);
    is_i64(f.code, ERR_NOT_FOUND, "a file instead of a directory");
    found_release(&f);

    must(data_dir_open(path, &dir, NULL) == 0);
    char *before = verify_picture(path);
    find_data_of(path, &f);
    found_unknown(&f, "is using this data directory", "a directory in use");
    snprintf(name, sizeof(name), "process %ld", (long)getpid());
    has_str(found_text(&f), name, "and by whom");
    char *after = verify_picture(path);
    is_str(after, before, "nor does that change anything");
    mem_free(before);
    mem_free(after);
    found_release(&f);
    data_dir_close(dir);
    find_data_of(path, &f);
    found_sound(&f, "when it is free again");
    found_release(&f);

    snprintf(name, sizeof(name), "%s/raft.db-journal", path);
    must(mkfifo(name, 0600) == 0);
    find_data_of(path, &f);
    found_unknown(&f, "raft.db-journal: not a regular file", "a pipe in the place of a file");
    found_release(&f);
}

static void test_unreadable(void)
{
    const char *path = damaged_copy();
    char name[4096];
    snprintf(name, sizeof(name), "%s/kv.1.db", path);
    must(chmod(store_scratch(), 0755) == 0 && chmod(path, 0755) == 0 && chmod(name, 0) == 0);
    snprintf(name, sizeof(name), "%s/lock", path);
    must(chmod(name, 0644) == 0);
    static const char *const open_files[] = {"raft.db", "raft.db-wal", "kv.1.db-wal",
                                             "snapshot.150.db"};
    for (size_t i = 0; i < 4; i++) {
        snprintf(name, sizeof(name), "%s/%s", path, open_files[i]);
        must(chmod(name, 0644) == 0);
    }
    const char *scratch = store_fresh_path("theirs");
    must(mkdir(scratch, 0777) == 0 && chmod(scratch, 0777) == 0);
    pid_t child = fork();
    if (child == 0) {
        struct found f = {0};
        if (geteuid() == 0 && setuid(65534) != 0)
            _exit(9);
        find_data_in(path, scratch, &f);
        _exit(f.unknown == 1 && f.wrong == 0 && strstr(found_text(&f), "kv.1.db: cannot open") ? 0
                                                                                               : 1);
    }
    int status = -1;
    must(waitpid(child, &status, 0) == child);
    is_i64(WEXITSTATUS(status), 0, "a file that may not be read is named");
}

#ifdef RAFTKV_TEST_VFS
static void test_disk(void)
{
    struct found f;
    const char *path = damaged_copy();
    must(test_vfs_rules("raft.db write full", NULL) == 0);
    find_data_of(path, &f);
    found_unknown(&f, "no room for a copy", "no room");
    found_release(&f);
    must(test_vfs_rules("kv write error after=1", NULL) == 0);
    find_data_of(path, &f);
    found_unknown(&f, "cannot write", "a copy that cannot be written");
    found_release(&f);
    must(test_vfs_rules("raft.db read error count=1", NULL) == 0);
    find_data_of(path, &f);
    found_unknown(&f, "raft.db", "a file that cannot be read");
    found_release(&f);
    must(test_vfs_rules("", NULL) == 0);
    find_data_of(path, &f);
    found_sound(&f, "afterwards");
    found_release(&f);
}
#endif

/* ---- a bit, anywhere ---- */

/* The lines of facts, without the directory's name. */
static bool same_facts(const struct found *a, const char *a_path, const struct found *b,
                       const char *b_path)
{
    const char *x = found_text(a), *y = found_text(b);
    while (*x && *y) {
        size_t n = strcspn(x, "\n"), m = strcspn(y, "\n");
        const char *p = memmem(x, n, a_path, strlen(a_path));
        const char *q = memmem(y, m, b_path, strlen(b_path));
        if (!p || !q)
            return false;
        p += strlen(a_path);
        q += strlen(b_path);
        if (x + n - p != y + m - q || memcmp(p, q, (size_t)(x + n - p)) != 0)
            return false;
        x += n + 1;
        y += m + 1;
    }
    return *x == *y;
}

/* Told of, or of no consequence: then all facts are the same, and so are all entries and rows, as
 * the comparison with the whole one says. */
static void flip_bits(const char *from, const char *file, struct prng *p)
{
    enum { FLIPS = 120 };
    const char *path = store_fresh_path("rot"), *pair[] = {from, path};
    struct found sound, f;
    uint64_t bytes = store_file_bytes(from, file);
    unsigned told = 0, harmless = 0;
    bool good = bytes > 8192;
    find_data_of(from, &sound);
    for (unsigned n = 0; n < FLIPS && good; n++) {
        /* The first page for a third, then a place in every region in turn. */
        uint64_t bit = n < FLIPS / 3
                           ? prng_below(p, UINT64_C(4096) * 8)
                           : (bytes * n / FLIPS + prng_below(p, bytes / FLIPS)) * 8 + n % 8;
        store_copy_dir(from, path);
        store_flip_bit(path, file, bit);
        find_data_of(path, &f);
        bool silent = f.wrong + f.unknown == 0 && f.notes == sound.notes;
        good = !silent || same_facts(&sound, from, &f, path);
        if (good && silent && n % 8 == 0) {
            found_release(&f);
            find_data(pair, 2, &f);
            good = f.wrong + f.unknown == 0;
        }
        if (!good)
            diag("%s, bit %" PRIu64 " of page %" PRIu64 ": %s", file, bit % 32768, bit / 32768 + 1,
                 found_text(&f));
        found_release(&f);
        told += !silent;
        harmless += silent;
    }
    ok(good, "%s: a rotten bit is told of (%u) or harmless (%u)", file, told, harmless);
    ok(told > FLIPS / 4, "%s: many are told of", file);
    found_release(&sound);
}

/* The databases of a node that was stopped: of one that was killed, the WALs hide most pages. */
static void test_every_region(void)
{
    struct dir_plan plan = cut;
    struct prng p;
    plan.killed = false;
    const char *stopped = verify_make_dir("stopped", &plan);
    verify_sql(stopped, "kv.1.db", "SELECT 1"); /* empties the WAL */
    prng_seed(&p, test_seed());
    flip_bits(stopped, "raft.db", &p);
    flip_bits(stopped, "kv.1.db", &p);
    flip_bits(stopped, "snapshot.150.db", &p);
    flip_bits(whole, "raft.db-wal", &p);
    flip_bits(whole, "kv.1.db-wal", &p);
}

int main(void)
{
    whole = verify_make_dir("cut", &cut);
    test_whole();
    test_several();
    test_sql();
    test_figures();
    test_entries();
    test_removed();
    test_files();
    test_wal();
    test_pairs();
    test_snapshot_beside();
    test_refused();
    test_unreadable();
#ifdef RAFTKV_TEST_VFS
    test_disk();
#endif
    test_every_region();
    return done();
}
