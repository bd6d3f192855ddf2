/*
 * raft.db against a model: random append, truncate, compact, install, read, checkpoint, reopen;
 * with power loss, I/O errors and a full disk at random calls. What was acknowledged is there, and
 * nothing beyond the one write that was under way.
 */
#ifdef RAFTKV_TEST_VFS
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/mem.h"
#include "lib/base/prng.h"
#include "lib/store/sqlite_util.h"
#include "lib/store/test_vfs.h"
#include "tests/unit/store.h"
#include "tests/unit/tap.h"

enum { ENTRIES_MAX = 4096 };

/* ---- the model ---- */

struct model {
    raft_term term;
    raft_id vote;
    raft_index removed;
    raft_index base, last;
    raft_term base_term;
    unsigned base_members;
    raft_index base_members_index;
    uint64_t generation;
    struct digest cluster_id;
    raft_term terms[ENTRIES_MAX]; /* by index */
    uint32_t sizes[ENTRIES_MAX];
    unsigned members[ENTRIES_MAX]; /* a configuration entry, if > 0 */
};

static struct entry *model_entry(const struct model *m, raft_index index)
{
    if (!m->members[index])
        return store_entry(index, m->terms[index], m->sizes[index]);
    struct buf b;
    buf_init(&b, 65536);
    struct membership s = store_membership(index, m->members[index]);
    membership_encode(&s, &b);
    struct entry *e = entry_new(RAFT_CONFIGURATION, b.data, b.len);
    entry_place(e, index, m->terms[index]);
    buf_release(&b);
    return e;
}

static bool same_entry(const struct entry *a, const struct entry *b)
{
    return a->index == b->index && a->term == b->term && a->kind == b->kind && a->crc == b->crc &&
           a->size == b->size && memcmp(a->data, b->data, a->size) == 0;
}

static bool same_membership(const struct membership *a, const struct membership *b)
{
    struct buf x, y;
    buf_init(&x, 65536);
    buf_init(&y, 65536);
    membership_encode(a, &x);
    membership_encode(b, &y);
    bool same = a->configuration.index == b->configuration.index && x.len == y.len &&
                memcmp(x.data, y.data, x.len) == 0;
    buf_release(&x);
    buf_release(&y);
    return same;
}

static const char *log_differs(const struct model *m, struct log_store *s)
{
    const char *what = NULL;
    for (raft_index at = m->base + 1; at <= m->last && !what;) {
        struct entry **entries;
        size_t count;
        if (log_store_read(s, at, m->last, 4096, &entries, &count, NULL) || count == 0)
            return "reading";
        for (size_t i = 0; i < count; i++) {
            struct entry *want = model_entry(m, at + i);
            if (!same_entry(entries[i], want))
                what = "entry";
            entry_unref(want);
            entry_unref(entries[i]);
        }
        mem_free(entries);
        at += count;
    }
    struct entry **entries;
    size_t count;
    if (log_store_read(s, m->last + 1, m->last + 1, 1, &entries, &count, NULL) != ERR_AGAIN)
        return "something behind the end";
    if (m->base && log_store_read(s, m->base, m->last, 1, &entries, &count, NULL) != ERR_NOT_FOUND)
        return "something before the beginning";
    return what;
}

/* NULL, or what differs. */
static const char *model_differs(const struct model *m, struct log_store *s,
                                 const struct log_store_state *state)
{
    if (state->term != m->term || state->vote != m->vote || state->removed != m->removed)
        return "hard state";
    if (state->snapshot_index != m->base || state->snapshot_term != m->base_term)
        return "snapshot";
    if (state->last_index != m->last)
        return "last index";
    if (state->kv_generation != m->generation)
        return "generation";
    if (!digest_equal(state->cluster_id, m->cluster_id))
        return "cluster";
    struct membership at_base = store_membership(m->base_members_index, m->base_members);
    if (!same_membership(&state->snapshot_membership, &at_base))
        return "membership";
    uint32_t run = 0, membership = 0;
    raft_term before = 0;
    for (raft_index i = m->base + 1; i <= m->last; i++) {
        if (m->terms[i] != before) {
            if (run >= state->run_count || state->runs[run].first != i ||
                state->runs[run].term != m->terms[i])
                return "runs";
            run++;
            before = m->terms[i];
        }
        if (m->members[i]) {
            struct membership want = store_membership(i, m->members[i]);
            if (membership >= state->membership_count ||
                !same_membership(&state->memberships[membership], &want))
                return "memberships";
            membership++;
        }
    }
    if (run != state->run_count || membership != state->membership_count)
        return "number of runs or memberships";
    return log_differs(m, s);
}

/* ---- random work ---- */

struct world {
    struct prng prng;
    const char *path;
    struct data_dir *dir;
    struct log_store *store;
    struct model now, then; /* then: if the operation under way took effect */
    unsigned writes, crashes, errors, fulls, unknown;
};

static uint64_t pick(struct world *w, uint64_t below)
{
    return prng_below(&w->prng, below);
}

static bool start(struct world *w)
{
    struct log_store_state state;
    struct err err = {0};
    must(data_dir_open(w->path, &w->dir, &err) == 0);
    if (log_store_open(w->dir, "node1", &w->store, &state, &err)) {
        diag("open: %s", err.text);
        return false;
    }
    const char *now = model_differs(&w->now, w->store, &state);
    const char *then = now ? model_differs(&w->then, w->store, &state) : NULL;
    if (now && !then) {
        w->unknown++;
        w->now = w->then;
    }
    w->then = w->now;
    log_store_forget_start(w->store);
    if (now && then)
        diag("differs from before by %s, from after by %s", now, then);
    return !now || !then;
}

static void stop(struct world *w)
{
    log_store_close(w->store, NULL);
    data_dir_close(w->dir);
}

static void plan_write(struct world *w, struct log_write *out, struct entry **entries)
{
    struct model *m = &w->then;
    *out = (struct log_write){0};
    if (pick(w, 3) == 0) {
        out->hard_state = true;
        if (pick(w, 2) || m->vote == 0) {
            m->vote = 100 + pick(w, 3);
            m->term++;
        }
        out->term = m->term;
        out->vote = m->vote;
        out->removed = m->removed += pick(w, 4) == 0;
    }
    if (!m->cluster_id.hi && pick(w, 4) == 0) {
        out->set_cluster = true;
        out->cluster_id = m->cluster_id = (struct digest){.hi = 7, .lo = 9};
    }
    if (m->last > m->base && pick(w, 5) == 0) {
        out->truncate_from = m->last - pick(w, m->last - m->base < 9 ? m->last - m->base : 9);
        m->last = out->truncate_from - 1;
    }
    size_t count = m->term ? pick(w, 20) : 0;
    for (size_t i = 0; i < count && m->last + 1 < ENTRIES_MAX; i++) {
        raft_index index = ++m->last;
        m->terms[index] = m->term;
        m->members[index] = pick(w, 30) == 0 ? 1 + (unsigned)pick(w, 5) : 0;
        m->sizes[index] = (uint32_t)pick(w, pick(w, 50) == 0 ? 20000 : 200);
        entries[i] = model_entry(m, index);
        out->entry_count++;
    }
    out->entries = entries;
}

static int do_write(struct world *w, struct err *err)
{
    struct log_write writes[3];
    struct entry *entries[3][20];
    size_t count = 1 + pick(w, 3);
    for (size_t i = 0; i < count; i++)
        plan_write(w, &writes[i], entries[i]);
    int rc = log_store_write(w->store, writes, count, err);
    if (rc == ERR_DISK_FULL) {
        w->fulls++;
        struct model kept = w->then;
        if (pick(w, 3) == 0) /* nothing had changed: go on from what was before, crashed */
            goto out;
        test_vfs_rules("", NULL);
        rc = log_store_write(w->store, writes, count, err);
        w->then = kept;
    }
out:
    w->writes++;
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < writes[i].entry_count; j++)
            entry_unref(entries[i][j]);
    }
    return rc;
}

static void move_base(struct model *m, raft_index index, raft_term term)
{
    unsigned members = m->base_members;
    raft_index members_index = m->base_members_index;
    for (raft_index i = m->base + 1; i <= index && i <= m->last; i++) {
        if (m->members[i]) {
            members = m->members[i];
            members_index = i;
        }
    }
    m->base_members = members;
    m->base_members_index = members_index;
    m->base = index;
    m->base_term = term;
}

static int do_compact(struct world *w, struct err *err)
{
    struct model *m = &w->then;
    if (m->last == m->base)
        return 0;
    raft_index index = m->base + 1 + pick(w, m->last - m->base);
    move_base(m, index, m->terms[index]);
    struct membership members = store_membership(m->base_members_index, m->base_members);
    return log_store_compact(w->store, index, m->base_term, &members, err);
}

static int do_install(struct world *w, struct err *err)
{
    struct model *m = &w->then;
    raft_index index = m->base + 1 + pick(w, 60);
    if (index + 30 >= ENTRIES_MAX)
        return 0;
    if (!m->term)
        return 0;
    /* The same entry as ours, or one of another term, or one that we do not have. */
    raft_term term = index <= m->last && pick(w, 2) ? m->terms[index] : m->term;
    bool keep = index <= m->last && m->terms[index] == term, kept = false;
    move_base(m, index, term);
    if (!keep)
        m->last = index;
    m->generation++;
    struct membership members = store_membership(m->base_members_index, m->base_members);
    int rc = log_store_install(w->store, m->generation, index, term, &members, &kept, err);
    if (rc == 0 && kept != keep)
        diag("install at %" PRIu64 ": tail kept %d", index, kept);
    return rc == 0 && kept != keep ? ERR_INTERNAL : rc;
}

static int step(struct world *w, struct err *err)
{
    bool done;
    w->then = w->now;
    switch (pick(w, 20)) {
    case 0: return do_compact(w, err);
    case 1: return log_store_compact_slice(w->store, err);
    case 2: return pick(w, 3) ? 0 : do_install(w, err);
    case 3: return log_store_checkpoint(w->store, &done, err);
    default: return do_write(w, err);
    }
}

/* A fault at one of the next calls: power loss (all or some of what was not synced lost), an error,
 * or a full disk. */
static void set_fault(struct world *w)
{
    static const char *const faults[] = {"raft.db any powerloss", "raft.db any powerloss",
                                         "raft.db any error count=1", "raft.db write full",
                                         "raft.db any crash"};
    char rule[128];
    size_t n = pick(w, 5);
    int len = snprintf(rule, sizeof(rule), "%s after=%" PRIu64, faults[n], pick(w, 60));
    if (n == 1)
        snprintf(rule + len, sizeof(rule) - (size_t)len, " seed=%" PRIu64, 1 + pick(w, 1000000));
    must(test_vfs_rules(rule, NULL) == 0);
}

static bool round_of(struct world *w)
{
    struct err err = {0};
    if (w->now.last + 100 >= ENTRIES_MAX)
        return true;
    bool faults = pick(w, 4) != 0;
    if (faults)
        set_fault(w);
    for (unsigned i = 0; i < 60; i++) {
        int rc = step(w, &err);
        if (rc == ERR_INTERNAL || (rc && !faults)) {
            diag("unexpected: %s", err.text);
            return false;
        }
        if (rc) {
            if (test_vfs_dead())
                w->crashes++;
            else
                w->errors++;
            if (rc == ERR_DISK_FULL)
                w->then = w->now; /* nothing happened */
            break;
        }
        w->now = w->then;
    }
    test_vfs_rules("", NULL);
    stop(w);
    test_vfs_restart();
    return start(w);
}

static void test_model(void)
{
    static struct world w;
    prng_seed(&w.prng, test_seed());
    bool good = true;
    unsigned rounds = 0;
    for (unsigned life = 0; life < 20 && good; life++) {
        w.path = store_fresh_path("model");
        w.now = w.then = (struct model){.generation = 1};
        good = start(&w);
        for (unsigned i = 0; i < 40 && good; i++, rounds++)
            good = round_of(&w);
        if (good)
            stop(&w);
    }
    ok(good, "%u rounds agree with the model", rounds);
    diag("%u writes, %u power losses and crashes, %u errors, %u times full, %u unknown outcomes "
         "that had taken effect",
         w.writes, w.crashes, w.errors, w.fulls, w.unknown);
    ok(w.crashes > 100 && w.errors > 20 && w.fulls > 20, "the faults happened");
}

/* ---- plain cases ---- */

static void test_life(void)
{
    struct data_dir *dir, *second;
    struct log_store *s;
    struct log_store_state state;
    struct err err = {0};
    const char *path = store_fresh_path("life");
    char pid[32];
    must(data_dir_open(path, &dir, &err) == 0);
    is_i64(data_dir_open(path, &second, &err), ERR_LOCKED, "a second opener is refused");
    snprintf(pid, sizeof(pid), "process %ld", (long)getpid());
    has_str(err.text, pid, "its error names the process that has the lock");
    has_str(err.text, path, "and the directory");

    must(log_store_open(dir, "node1", &s, &state, &err) == 0);
    raft_id id = state.member_id;
    ok(id != 0 && state.created && !state.has_cluster && state.kv_generation == 1 &&
           state.last_index == 0 && state.run_count == 0,
       "a new log store");
    struct log_store *wiped;
    must(data_dir_open(store_fresh_path("wiped"), &second, &err) == 0);
    must(log_store_open(second, "node1", &wiped, &state, &err) == 0);
    ok(state.member_id != 0 && state.member_id != id,
       "a wiped directory is another member, under the same name too");
    must(log_store_close(wiped, &err) == 0);
    data_dir_close(second);
    struct entry *e[3] = {store_entry(1, 3, 0), store_entry(2, 3, 100), store_entry(3, 5, 70000)};
    struct log_write w[2] = {
        {.hard_state = true, .term = 5, .vote = 77, .entries = e, .entry_count = 2},
        {.entries = e + 2, .entry_count = 1, .set_cluster = true, .cluster_id = {1, 2}}};
    is_i64(log_store_write(s, w, 2, &err), 0, "write");
    struct log_store_figures figures;
    log_store_figures(s, &figures);
    ok(figures.first == 1 && figures.last == 3 && figures.wal_pages > 0 && figures.file_bytes > 0,
       "figures");
    is_i64(log_store_close(s, &err), 0, "close");
    is_u64(store_file_bytes(path, "raft.db-wal"), 0, "nothing is left in the WAL");
    is_i64(log_store_open(dir, "node2", &s, &state, &err), ERR_CORRUPT, "another name is refused");
    has_str(err.text, "'node1', not 'node2'", "both are named");
    must(log_store_open(dir, "node1", &s, &state, &err) == 0);
    ok(state.member_id == id && !state.created && state.has_cluster && state.cluster_id.lo == 2,
       "identity is kept");
    ok(state.term == 5 && state.vote == 77 && state.last_index == 3 && state.run_count == 2 &&
           state.runs[1].first == 3,
       "hard state and log are kept");
    log_store_forget_start(s);

    struct entry **got;
    size_t count;
    is_i64(log_store_read(s, 1, 3, 1, &got, &count, &err), 0, "read with room for one byte");
    ok(count == 1 && same_entry(got[0], e[0]), "gives one entry");
    entry_unref(got[0]);
    mem_free(got);
    is_i64(log_store_read(s, 1, 2, 100, &got, &count, &err), 0, "read with room for just two");
    is_u64(count, 2, "gives two");
    entry_unref(got[0]);
    entry_unref(got[1]);
    mem_free(got);
    is_i64(log_store_read(s, 1, 2, 99, &got, &count, &err), 0, "read with room for one and a half");
    is_u64(count, 1, "gives one");
    entry_unref(got[0]);
    mem_free(got);
    is_i64(log_store_read(s, 2, 9, 1 << 20, &got, &count, &err), 0, "read over the end");
    ok(count == 2 && same_entry(got[1], e[2]), "gives what there is");
    entry_unref(got[0]);
    entry_unref(got[1]);
    mem_free(got);
    for (int i = 0; i < 3; i++)
        entry_unref(e[i]);
    is_i64(log_store_close(s, &err), 0, "close again");
    data_dir_close(dir);
}

/* In the file of a store that is closed. */
static int64_t count_rows(const char *path)
{
    char name[600];
    sqlite3 *db;
    int64_t rows = -1;
    snprintf(name, sizeof(name), "%s/raft.db", path);
    must(sq_open(name, SQ_WRITE, &db, NULL) == 0);
    must(sq_integer(db, "SELECT count(*) FROM log", &rows, NULL) == 0);
    sq_close(db);
    return rows;
}

static void write_at(struct log_store *s, raft_index first, unsigned count)
{
    struct entry *e[1024];
    struct err err = {0};
    must(count <= 1024);
    for (unsigned i = 0; i < count; i++)
        e[i] = store_entry(first + i, 1, 20);
    struct log_write w = {.hard_state = true, .term = 1, .entries = e, .entry_count = count};
    must(log_store_write(s, &w, 1, &err) == 0);
    for (unsigned i = 0; i < count; i++)
        entry_unref(e[i]);
}

/* A write cuts a little beside its own work: twice as many rows, within bounds. */
static void test_cutting_beside_writes(void)
{
    static const struct {
        unsigned written, cut;
    } cases[] = {{1, 64}, {100, 200}, {600, 512}};
    struct data_dir *dir;
    struct log_store *s;
    struct log_store_state state;
    struct err err = {0};
    struct membership m = {0};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *path = store_fresh_path("beside");
        must(data_dir_open(path, &dir, &err) == 0);
        must(log_store_open(dir, "n", &s, &state, &err) == 0);
        write_at(s, 1, 1000);
        must(log_store_compact(s, 990, 1, &m, &err) == 0);
        must(log_store_compact(s, 5, 1, &m, &err) == 0); /* behind its time */
        write_at(s, 1001, cases[i].written);
        must(log_store_close(s, &err) == 0);
        is_i64(count_rows(path), 1000 + cases[i].written - cases[i].cut,
               "a write of %u entries cuts %u", cases[i].written, cases[i].cut);
        must(log_store_open(dir, "n", &s, &state, &err) == 0);
        is_u64(state.snapshot_index, 990, "the log begins where it was cut");
        must(log_store_close(s, &err) == 0);
        data_dir_close(dir);
    }
}

/* The rows under an installed snapshot go as well, while the store is open. */
static void test_cutting_behind_install(void)
{
    static const struct {
        raft_index index;
        raft_term term;
        bool kept;
        raft_index last;
        int64_t rows; /* when all is cut */
    } cases[] = {{60, 1, true, 100, 40},  {100, 1, true, 100, 0},  {60, 2, false, 60, 0},
                 {100, 2, false, 100, 0}, {101, 1, false, 101, 0}, {500, 1, false, 500, 0}};
    struct data_dir *dir;
    struct log_store *s;
    struct log_store_state state;
    struct err err = {0};
    struct membership m = {0};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *path = store_fresh_path("install");
        bool kept = !cases[i].kept;
        struct log_store_figures f;
        must(data_dir_open(path, &dir, &err) == 0);
        must(log_store_open(dir, "n", &s, &state, &err) == 0);
        write_at(s, 1, 100);
        must(log_store_compact(s, 20, 1, &m, &err) == 0);
        must(log_store_install(s, 2, cases[i].index, cases[i].term, &m, &kept, &err) == 0);
        log_store_figures(s, &f);
        ok(kept == cases[i].kept && f.first == cases[i].index + 1 && f.last == cases[i].last,
           "installed at %" PRIu64 ", term %" PRIu64 ": the tail", cases[i].index, cases[i].term);
        ok(log_store_compacting(s), "there are rows to cut");
        while (log_store_compacting(s))
            must(log_store_compact_slice(s, &err) == 0);
        must(log_store_close(s, &err) == 0);
        is_i64(count_rows(path), cases[i].rows, "all of them go");
        data_dir_close(dir);
    }
}

static void test_compaction_in_slices(void)
{
    enum { N = 5000 };
    struct data_dir *dir;
    struct log_store *s;
    struct log_store_state state;
    struct err err = {0};
    static struct entry *e[N];
    must(data_dir_open(store_fresh_path("slices"), &dir, &err) == 0);
    must(log_store_open(dir, "n", &s, &state, &err) == 0);
    for (raft_index i = 0; i < N; i++)
        e[i] = store_entry(i + 1, 1, 50);
    struct log_write w = {.hard_state = true, .term = 1, .entries = e, .entry_count = N - 1};
    must(log_store_write(s, &w, 1, &err) == 0);
    struct membership m = store_membership(1, 3);
    must(log_store_compact(s, N - 10, 1, &m, &err) == 0);
    ok(log_store_compacting(s), "compacting");
    w = (struct log_write){.entries = e + N - 1, .entry_count = 1};
    must(log_store_write(s, &w, 1, &err) == 0);
    must(log_store_close(s, &err) == 0);
    must(log_store_open(dir, "n", &s, &state, &err) == 0);
    is_u64(state.snapshot_index, N - 10, "the base is durable at once");
    ok(log_store_compacting(s), "rows to delete are found again");
    unsigned slices = 0;
    while (log_store_compacting(s) && slices < 100) {
        must(log_store_compact_slice(s, &err) == 0);
        slices++;
    }
    is_u64(slices, (N - 10 - 64 + 511) / 512, "slices");
    must(log_store_close(s, &err) == 0);
    must(log_store_open(dir, "n", &s, &state, &err) == 0);
    ok(!log_store_compacting(s) && state.last_index == N, "all cut");
    must(log_store_close(s, &err) == 0);
    data_dir_close(dir);
    for (raft_index i = 0; i < N; i++)
        entry_unref(e[i]);
}

/* A power loss at each call of the creation: the next start finds a store or makes one. */
static void test_creation_crash(void)
{
    bool good = true;
    uint64_t points = 0;
    for (uint64_t seed = 0; seed < 2; seed++) {
        for (uint64_t after = 0; good; after++, points++) {
            struct data_dir *dir;
            struct log_store *s;
            struct log_store_state state;
            struct err err = {0};
            char rule[64];
            const char *path = store_fresh_path("creation");
            snprintf(rule, sizeof(rule), "* any powerloss after=%" PRIu64 " seed=%" PRIu64, after,
                     seed * (after + 1));
            must(data_dir_open(path, &dir, &err) == 0);
            must(test_vfs_rules(rule, NULL) == 0);
            bool opened = log_store_open(dir, "n", &s, &state, &err) == 0;
            raft_id id = state.member_id;
            bool dead = test_vfs_dead();
            if (opened) {
                test_vfs_rules("", NULL);
                log_store_close(s, NULL);
            }
            test_vfs_restart();
            good = log_store_open(dir, "n", &s, &state, &err) == 0 && state.last_index == 0 &&
                   (!opened || state.member_id == id);
            if (good)
                log_store_close(s, NULL);
            else
                diag("after=%" PRIu64 ": %s", after, err.text);
            data_dir_close(dir);
            store_remove_dir(path);
            if (!dead)
                break;
        }
    }
    ok(good && points > 20, "power loss at each of %" PRIu64 " calls of the creation", points);
}

/* An error that ends a write: no later write and no later checkpoint touches the file. */
static void test_error_is_final(void)
{
    struct data_dir *dir;
    struct log_store *s;
    struct log_store_state state;
    struct err err = {0};
    bool done;
    must(data_dir_open(store_fresh_path("final"), &dir, &err) == 0);
    must(log_store_open(dir, "n", &s, &state, &err) == 0);
    struct log_write w = {.hard_state = true, .term = 1};
    must(log_store_write(s, &w, 1, &err) == 0);
    must(test_vfs_rules("raft.db sync error count=1", NULL) == 0);
    w.term = 2;
    is_i64(log_store_write(s, &w, 1, &err), ERR_IO, "a failed sync is an error");
    has_str(err.text, "raft.db", "which names the file");
    uint64_t calls = test_vfs_calls("any");
    is_i64(log_store_write(s, &w, 1, &err), ERR_IO, "the next write fails");
    is_i64(log_store_checkpoint(s, &done, &err), ERR_IO, "and a checkpoint");
    log_store_close(s, NULL);
    is_u64(test_vfs_calls("any"), calls, "without a write or a sync, at closing neither");
    must(log_store_open(dir, "n", &s, &state, &err) == 0);
    ok(state.term == 1 || state.term == 2, "a start finds the one or the other");
    log_store_close(s, NULL);
    data_dir_close(dir);
}

static void test_checkpoint(void)
{
    struct data_dir *dir;
    struct log_store *s;
    struct log_store_state state;
    struct log_store_figures f;
    struct err err = {0};
    bool done = false;
    must(data_dir_open(store_fresh_path("checkpoint"), &dir, &err) == 0);
    must(log_store_open(dir, "n", &s, &state, &err) == 0);
    write_at(s, 1, 100);
    must(test_vfs_rules("raft.db write full", NULL) == 0);
    is_i64(log_store_checkpoint(s, &done, &err), ERR_DISK_FULL, "a checkpoint on a full disk");
    must(test_vfs_rules("", NULL) == 0);
    write_at(s, 101, 100);
    log_store_figures(s, &f);
    ok(!done && f.last == 200 && f.wal_pages > 0, "is no end: writes go on");
    is_i64(log_store_checkpoint(s, &done, &err), 0, "and it is tried again");
    log_store_figures(s, &f);
    ok(done && f.wal_pages == 0, "nothing waits for it any more");
    write_at(s, 201, 1);
    must(test_vfs_rules("raft.db sync error count=1", NULL) == 0);
    is_i64(log_store_checkpoint(s, &done, &err), ERR_IO, "one that cannot sync");
    uint64_t calls = test_vfs_calls("any");
    struct log_write w = {.hard_state = true, .term = 2};
    is_i64(log_store_write(s, &w, 1, &err), ERR_IO, "is the end");
    log_store_close(s, NULL);
    is_u64(test_vfs_calls("any"), calls, "nothing is written or synced any more");
    must(log_store_open(dir, "n", &s, &state, &err) == 0);
    ok(state.term == 1 && state.last_index == 201, "a start finds all");
    log_store_close(s, NULL);
    data_dir_close(dir);
}

/* A commit whose sync failed may be found by the next start, and is then there for good: a power
 * loss behind that start takes nothing away. */
static void test_found_is_kept(void)
{
    struct data_dir *dir;
    struct log_store *s;
    struct log_store_state state;
    struct err err = {0};
    must(data_dir_open(store_fresh_path("found"), &dir, &err) == 0);
    must(log_store_open(dir, "n", &s, &state, &err) == 0);
    struct log_write w = {.hard_state = true, .term = 1};
    must(log_store_write(s, &w, 1, &err) == 0);
    must(test_vfs_rules("raft.db sync error count=1", NULL) == 0);
    w.term = 2;
    w.vote = 7;
    must(log_store_write(s, &w, 1, &err) == ERR_IO);
    log_store_close(s, NULL);
    must(log_store_open(dir, "n", &s, &state, &err) == 0);
    raft_term found = state.term;
    must(found == 2); /* or nothing is tried here */
    must(test_vfs_rules("raft.db any powerloss", NULL) == 0);
    w.term = found + 1;
    must(log_store_write(s, &w, 1, &err) != 0);
    log_store_close(s, NULL);
    test_vfs_restart();
    must(log_store_open(dir, "n", &s, &state, &err) == 0);
    is_u64(state.term, found, "what a start has found outlives a power loss");
    log_store_close(s, NULL);
    data_dir_close(dir);
}

static void test_new_directory(void)
{
    struct data_dir *dir;
    struct err err = {0};
    const char *path = store_fresh_path("new");
    must(test_vfs_rules("dir sync error count=1", NULL) == 0);
    is_i64(data_dir_open(path, &dir, &err), ERR_IO, "a new directory whose name cannot be synced");
    has_str(err.text, "cannot sync the directory", "is said to be one");
    must(test_vfs_rules("", NULL) == 0);
    is_i64(data_dir_open(path, &dir, &err), 0, "the next try");
    data_dir_close(dir);
}

static void test_full_disk(void)
{
    struct data_dir *dir;
    struct log_store *s;
    struct log_store_state state;
    struct err err = {0};
    uint64_t bytes = 1;
    must(data_dir_open(store_fresh_path("full"), &dir, &err) == 0);
    must(log_store_open(dir, "n", &s, &state, &err) == 0);
    struct entry *e = store_entry(1, 1, 50000);
    struct log_write w = {.hard_state = true, .term = 1, .entries = &e, .entry_count = 1};
    must(test_vfs_rules("raft.db write full after=3", NULL) == 0);
    for (int i = 0; i < 3; i++)
        is_i64(log_store_write(s, &w, 1, &err), ERR_DISK_FULL, "disk full, try %d", i + 1);
    must(data_dir_free_bytes(dir, &bytes, &err) == 0);
    is_u64(bytes, 0, "no bytes are free");
    test_vfs_rules("", NULL);
    must(data_dir_free_bytes(dir, &bytes, &err) == 0);
    ok(bytes > 0, "bytes are free");
    is_i64(log_store_write(s, &w, 1, &err), 0, "the same batch, when there is room");
    must(test_vfs_rules("raft.db any crash", NULL) == 0);
    log_store_close(s, NULL);
    test_vfs_restart();
    must(log_store_open(dir, "n", &s, &state, &err) == 0);
    ok(state.last_index == 1 && state.term == 1, "is there after a crash");
    log_store_close(s, NULL);
    data_dir_close(dir);
    entry_unref(e);
}

/* Frames of a commit that did not fit, or that a kill cut short, stand in the WAL. The commit
 * behind it may be torn by a power loss at each of its calls, wherever in the WAL that happens: a
 * start must not take what is left of the first for the proof of a damaged second. */
enum place { WAL_EMPTY, WAL_MOVED, WAL_IN_USE, WAL_LEFT, PLACES };

static int write_some(struct log_store *s, raft_index first, unsigned count, struct err *err)
{
    struct entry *e[32];
    must(count <= 32);
    for (unsigned i = 0; i < count; i++)
        e[i] = store_entry(first + i, 1, 2000);
    struct log_write w = {.hard_state = true, .term = 1, .entries = e, .entry_count = count};
    int rc = log_store_write(s, &w, 1, err);
    for (unsigned i = 0; i < count; i++)
        entry_unref(e[i]);
    return rc;
}

/* The commit that does not come to its end. */
static void write_too_much(struct data_dir *dir, struct log_store **s, enum place place,
                           raft_index last)
{
    struct log_store_state state;
    struct err err = {0};
    if (place != WAL_LEFT) {
        must(test_vfs_rules("raft.db write full after=24", NULL) == 0);
        must(write_some(*s, last + 1, 32, &err) == ERR_DISK_FULL);
        return;
    }
    must(test_vfs_rules("raft.db write crash after=24", NULL) == 0);
    must(write_some(*s, last + 1, 32, &err) == ERR_IO);
    log_store_close(*s, NULL);
    test_vfs_restart();
    must(log_store_open(dir, "n", s, &state, &err) == 0 && state.last_index == last);
}

/* False: the call number `after` was not reached. */
static bool torn_behind(const char *before, enum place place, uint64_t after, uint64_t seed,
                        bool *good)
{
    struct data_dir *dir;
    struct log_store *s;
    struct log_store_state state;
    struct err err = {0};
    char rule[96];
    bool done;
    const char *path = store_fresh_path("torn");
    store_copy_dir(before, path);
    must(data_dir_open(path, &dir, &err) == 0);
    must(log_store_open(dir, "n", &s, &state, &err) == 0);
    raft_index last = state.last_index;
    if (place != WAL_EMPTY)
        must(write_some(s, ++last, 1, &err) == 0);
    if (place == WAL_MOVED || place == WAL_LEFT)
        must(log_store_checkpoint(s, &done, &err) == 0 && done);
    write_too_much(dir, &s, place, last);
    snprintf(rule, sizeof(rule), "raft.db any powerloss after=%" PRIu64 " seed=%" PRIu64, after,
             seed);
    must(test_vfs_rules(rule, NULL) == 0);
    bool written = write_some(s, last + 1, 6, &err) == 0, hit = test_vfs_dead();
    test_vfs_rules("", NULL);
    log_store_close(s, NULL);
    test_vfs_restart();
    int rc = log_store_open(dir, "n", &s, &state, &err);
    *good = rc == 0 && (state.last_index == last + 6 || (!written && state.last_index == last));
    if (!*good)
        diag("place %d, after=%" PRIu64 " seed=%" PRIu64 ": last %" PRIu64 " (%s)", (int)place,
             after, seed, state.last_index, err.text);
    if (rc == 0)
        log_store_close(s, NULL);
    data_dir_close(dir);
    store_remove_dir(path);
    return hit;
}

static void test_torn_behind(void)
{
    static const char *const names[] = {"an empty WAL", "a WAL that begins anew", "a WAL in use",
                                        "a WAL that a kill left"};
    enum { SEEDS = 6 };
    struct data_dir *dir;
    struct log_store *s;
    struct log_store_state state;
    struct err err = {0};
    const char *before = store_fresh_path("before");
    must(data_dir_open(before, &dir, &err) == 0);
    must(log_store_open(dir, "n", &s, &state, &err) == 0);
    must(write_some(s, 1, 3, &err) == 0);
    must(log_store_close(s, &err) == 0);
    data_dir_close(dir);
    for (enum place place = WAL_EMPTY; place < PLACES; place++) {
        bool good = true, hit = true;
        uint64_t after = 0;
        for (; good && hit; after++) {
            hit = false;
            for (uint64_t seed = 1; seed <= SEEDS && good; seed++)
                hit = torn_behind(before, place, after, seed + SEEDS * after, &good) || hit;
        }
        ok(good && after > 10,
           "%s: a commit behind one that was cut short, torn at each of %" PRIu64 " calls",
           names[place], after);
    }
}

int main(void)
{
    test_life();
    test_compaction_in_slices();
    test_cutting_beside_writes();
    test_cutting_behind_install();
    test_new_directory();
    test_creation_crash();
    test_error_is_final();
    test_checkpoint();
    test_found_is_kept();
    test_full_disk();
    test_torn_behind();
    test_model();
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
