/* The test VFS itself: rules, stalls, and a program that is told to lose its power. */
#ifdef RAFTKV_TEST_VFS
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/store/fault_vfs.h"
#include "lib/store/private.h"
#include "lib/store/test_vfs.h"
#include "tests/unit/store.h"
#include "tests/unit/tap.h"

/* ---- a program with a control file; before this process has used SQLite ---- */

static int append_one(struct log_store *s, raft_index index, struct err *err)
{
    struct entry *e = store_entry(index, 1, 500);
    struct log_write w = {.entries = &e, .entry_count = 1};
    int rc = log_store_write(s, &w, 1, err);
    entry_unref(e);
    return rc;
}

static _Noreturn void program(const char *path, const char *control, int out)
{
    struct data_dir *dir;
    struct log_store *s;
    struct log_store_state state;
    bool done;
    setenv("RAFTKV_TEST_VFS_CONTROL", control, 1);
    if (data_dir_open(path, &dir, NULL) || log_store_open(dir, "n", &s, &state, NULL))
        _exit(3);
    struct log_write w = {.hard_state = true, .term = 1};
    if (state.term == 0 && log_store_write(s, &w, 1, NULL))
        _exit(4);
    for (raft_index i = state.last_index + 1;; i++) {
        if (append_one(s, i, NULL))
            _exit(5);
        if (i % 50 == 0 && log_store_checkpoint(s, &done, NULL))
            _exit(6);
        if (write(out, &i, sizeof(i)) != sizeof(i))
            _exit(7);
    }
}

static void set_control(const char *path, const char *rules)
{
    char next[600];
    snprintf(next, sizeof(next), "%s.next", path);
    FILE *f = fopen(next, "we");
    must(f && fputs(rules, f) >= 0 && fclose(f) == 0);
    must(rename(next, path) == 0);
}

static void test_program(void)
{
    enum { ROUNDS = 12 };
    const char *path = store_fresh_path("program"), *control = store_fresh_path("control");
    raft_index acked = 0;
    unsigned killed = 0;
    bool kept = true;
    for (unsigned round = 0; round < ROUNDS; round++) {
        int out[2];
        char rule[96];
        set_control(control, "");
        must(pipe(out) == 0);
        fflush(stdout);
        pid_t child = fork();
        if (child == 0) {
            close(out[0]);
            program(path, control, out[1]);
        }
        close(out[1]);
        /* The first that it says is the first behind what its start found. */
        raft_index i, first = 0;
        unsigned told = 0;
        while (read(out[0], &i, sizeof(i)) == sizeof(i)) {
            kept = kept && (first || i > acked);
            first = first ? first : i;
            acked = i;
            if (++told == 5 + round) {
                snprintf(rule, sizeof(rule), "raft.db any powerloss after=%u seed=%u\n", round,
                         round % 3 ? round : 0);
                set_control(control, rule);
            }
        }
        close(out[0]);
        int status;
        must(waitpid(child, &status, 0) == child);
        killed += WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
        if (!WIFSIGNALED(status))
            diag("round %u: exit status %d", round, WEXITSTATUS(status));
    }
    is_u64(killed, ROUNDS, "each program ended as by a power loss");
    ok(kept, "and what it had acknowledged was there for the next (%" PRIu64 " entries)", acked);
}

/* ---- in this process ---- */

struct writer {
    struct log_store *store;
    atomic_bool done;
    int rc;
};

static void *write_in_thread(void *argument)
{
    struct writer *w = argument;
    w->rc = append_one(w->store, 1, NULL);
    atomic_store(&w->done, true);
    return NULL;
}

static void test_stall(void)
{
    struct data_dir *dir;
    struct log_store_state state;
    struct writer w = {0};
    struct err err = {0};
    pthread_t thread;
    must(data_dir_open(store_fresh_path("stall"), &dir, &err) == 0);
    must(log_store_open(dir, "n", &w.store, &state, &err) == 0);
    struct log_write term = {.hard_state = true, .term = 1};
    must(log_store_write(w.store, &term, 1, &err) == 0);
    must(test_vfs_rules("raft.db sync stall", &err) == 0);
    uint64_t syncs = test_vfs_calls("sync");
    must(pthread_create(&thread, NULL, write_in_thread, &w) == 0);
    while (test_vfs_calls("sync") == syncs)
        ; /* the call that stalls has been made */
    ok(!atomic_load(&w.done), "a write waits for its sync");
    struct log_store_figures f;
    log_store_figures(w.store, &f);
    is_u64(f.last, 0, "the figures do not wait");
    must(test_vfs_rules("kv any stall", &err) == 0);
    pthread_join(thread, NULL);
    is_i64(w.rc, 0, "and goes on when the rules change");
    log_store_close(w.store, NULL);
    data_dir_close(dir);
    must(test_vfs_rules("", &err) == 0);
}

static void test_rules(void)
{
    static const char *const wrong[] = {"raft.db",
                                        "raft.db sync",
                                        "raft.db sink stall",
                                        "raft.db sync stop",
                                        "raft.db sync stall for=5",
                                        "raft.db sync stall after=x"};
    struct err err = {0};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        is_i64(test_vfs_rules(wrong[i], &err), ERR_BAD_REQUEST, "refused: %s", wrong[i]);
    is_i64(test_vfs_rules("\n# nothing\n  kv write full after=2 count=1\n\n", &err), 0,
           "blank lines and comments");
    ok(!fault_rules_full(), "not full yet");
    must(test_vfs_rules("kv write full", &err) == 0);
    ok(fault_rules_full(), "full");
    must(test_vfs_rules("", &err) == 0);
    ok(!fault_rules_full(), "no longer");
}

/* Those that a node sets while it runs: beside the rules as text, each under its owner. */
static void test_owners(void)
{
    struct data_dir *dir;
    struct log_store *store;
    struct log_store_state state;
    struct err err = {0};
    struct fault_rule slow = {.owner = 7,
                              .file = "raft.db",
                              .operations = 1U << FAULT_SYNC,
                              .action = FAULT_DELAY,
                              .delay_ms = 40};
    struct fault_rule full = {.owner = 8,
                              .file = "*",
                              .operations = 1U << FAULT_WRITE,
                              .action = FAULT_FULL,
                              .count = UINT64_MAX};
    must(data_dir_open(store_fresh_path("owners"), &dir, &err) == 0);
    must(log_store_open(dir, "n", &store, &state, &err) == 0);
    struct log_write term = {.hard_state = true, .term = 1};
    must(log_store_write(store, &term, 1, &err) == 0);
    ok(fault_rules_add(&slow) && fault_rules_add(&full), "a delay and a full disk");
    must(test_vfs_rules("", &err) == 0);
    ok(fault_rules_full(), "rules as text leave them alone");
    is_i64(append_one(store, 1, &err), ERR_DISK_FULL, "a write is told that there is no room");
    fault_rules_remove(8);
    ok(!fault_rules_full(), "room again");
    uint64_t began_us = clock_now_us();
    is_i64(append_one(store, 1, &err), 0, "the same write");
    ok(clock_now_us() - began_us >= 40000, "whose sync waits for the delay");
    must(test_vfs_rules("raft.db sync error count=1", &err) == 0);
    began_us = clock_now_us();
    is_i64(append_one(store, 2, &err), ERR_IO, "a sync that fails");
    ok(clock_now_us() - began_us >= 40000, "does so behind the delay");
    fault_rules_remove(7);
    must(test_vfs_rules("", &err) == 0);
    unsigned room = 0;
    while (room <= FAULT_RULES_MAX && fault_rules_add(&full))
        room++;
    is_u64(room, FAULT_RULES_MAX, "there is a limit");
    fault_rules_remove(8);
    log_store_close(store, NULL);
    data_dir_close(dir);
    test_vfs_restart();
}

static void write_file(struct data_dir *dir, const char *name, const char *text, bool sync)
{
    struct plain_file f;
    struct err err = {0};
    must(plain_open(&f, dir, name, true, &err) == 0);
    must(plain_write(&f, 0, text, strlen(text), &err) == 0);
    must(!sync || plain_sync(&f, &err) == 0);
    plain_close(&f);
}

static void has_file(struct data_dir *dir, const char *name, const char *text, const char *what)
{
    struct plain_file f;
    struct err err = {0};
    char content[64] = "";
    size_t len = sizeof(content) - 1;
    must(plain_open(&f, dir, name, false, &err) == 0);
    must(plain_read(&f, 0, content, &len, &err) == 0);
    is_str(content, text, "%s", what);
    plain_close(&f);
}

/* What is not synced of a file goes with the file, not with its name. */
static void test_names(void)
{
    struct data_dir *dir;
    struct err err = {0};
    must(test_vfs_rules("", &err) == 0);
    must(data_dir_open(store_fresh_path("names"), &dir, &err) == 0);
    write_file(dir, "a", "first", true);
    must(data_dir_sync(dir, &err) == 0);
    write_file(dir, "a", "second", false);
    write_file(dir, "b", "taken", true);
    must(data_dir_rename(dir, "b", "a", &err) == 0);
    has_file(dir, "a", "taken", "b is called a");
    must(test_vfs_rules("dir sync powerloss", &err) == 0);
    is_i64(data_dir_sync(dir, &err), ERR_IO, "the power goes before that is durable");
    test_vfs_restart();
    has_file(dir, "a", "first", "a is what it was, of its last sync");

    write_file(dir, "a", "second", false);
    write_file(dir, "b", "taken", true);
    must(data_dir_rename(dir, "b", "a", &err) == 0);
    must(data_dir_sync(dir, &err) == 0);
    must(test_vfs_rules("* any powerloss", &err) == 0);
    is_i64(data_dir_sync(dir, &err), ERR_IO, "the power goes afterwards");
    test_vfs_restart();
    has_file(dir, "a", "taken", "what was not synced of the other is not taken from it");
    data_dir_close(dir);
}

int main(void)
{
    test_program();
    test_rules();
    test_owners();
    test_names();
    test_stall();
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
