/* Data directories for the tests of lib/verify; see tests/unit/verify.h. */
#include <dirent.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/hash.h"
#include "lib/base/mem.h"
#include "lib/store/sqlite_util.h"
#include "tests/unit/tap.h"
#include "tests/unit/verify.h"

enum { ENTRIES_A_TERM = 40, ENTRIES_A_WRITE = 6, FLUSH_EVERY = 37 };

/* ---- making ---- */

struct maker {
    const struct dir_plan *plan;
    struct prng prng, other;
    struct data_dir *dir;
    struct log_store *log;
    struct kv_writer *writer;
    struct kv_reader *reader;
    struct state_base base;
    struct kv_image image;
    struct state *state;
    struct membership first;
};

static raft_term term_at(const struct maker *m, raft_index index)
{
    raft_term term = 1 + index / ENTRIES_A_TERM;
    return m->plan->other && index >= m->plan->other ? term + m->plan->later : term;
}

/* Entry 1 is the membership, entry 2 a no-op; the others as the seed says. */
static struct entry *entry_at(struct maker *m, raft_index index)
{
    bool other = m->plan->other && index >= m->plan->other;
    raft_term term = term_at(m, index);
    if (index == 1)
        return make_configuration(&m->first, 1, 1);
    if (index == 2)
        return make_noop(2, term);
    return store_random_entry(other ? &m->other : &m->prng, index, term);
}

static void begin(struct maker *m, const char *path, const struct dir_plan *plan)
{
    struct log_store_state state;
    struct digest cluster;
    *m = (struct maker){.plan = plan, .first = make_membership(3, 7)};
    prng_seed(&m->prng, plan->seed);
    prng_seed(&m->other, plan->seed + 1000);
    cluster = membership_cluster_id(&m->first);
    must(data_dir_open(path, &m->dir, NULL) == 0);
    must(log_store_open(m->dir, "node1", &m->log, &state, NULL) == 0);
    log_store_forget_start(m->log);
    struct log_write w = {.hard_state = true,
                          .term = term_at(m, plan->last) + 1,
                          .vote = 0x702,
                          .set_cluster = true,
                          .cluster_id = cluster};
    must(log_store_write(m->log, &w, 1, NULL) == 0);
    must(kv_store_prepare(m->dir, 1, true, NULL) == 0);
    must(kv_writer_open(m->dir, 1, NULL, &m->writer, NULL) == 0);
    must(kv_writer_set_cluster(m->writer, cluster, NULL) == 0);
    must(kv_writer_image(m->writer, &m->image, NULL) == 0);
    must(kv_reader_open(m->dir, 1, &m->reader, NULL) == 0);
    kv_reader_base(m->reader, &m->base);
    m->state = state_new(&state_options_default, &m->base, &m->image.image);
}

static void flush(struct maker *m)
{
    struct digest digest;
    uint64_t keys;
    const struct memtable *t;
    while ((t = state_oldest_frozen(m->state)) || (t = state_freeze(m->state))) {
        must(kv_writer_flush(m->writer, t, &digest, &keys, NULL) == 0);
        kv_reader_refresh(m->reader);
        state_flushed(m->state, t);
    }
}

static void at_index(struct maker *m, raft_index index)
{
    const struct dir_plan *p = m->plan;
    struct snapshot_info info;
    raft_index checkpointed;
    if (index == p->applied || index == p->snapshot || index == p->compacted ||
        index % FLUSH_EVERY == 0)
        flush(m);
    if (index == p->snapshot)
        must(snapshot_take(m->dir, 1, NULL, &info, NULL) == 0 && info.index == index);
    if (index == p->compacted) { /* not before the state is in its file */
        must(kv_writer_checkpoint(m->writer, &checkpointed, NULL) == 0 && checkpointed == index);
        must(log_store_compact(m->log, index, term_at(m, index), state_membership(m->state),
                               NULL) == 0);
        while (log_store_compacting(m->log))
            must(log_store_compact_slice(m->log, NULL) == 0);
    }
    /* Half of the way is in the files, the rest in the WALs. */
    if (index == p->applied / 2) {
        bool done;
        must(kv_writer_checkpoint(m->writer, &checkpointed, NULL) == 0);
        must(log_store_checkpoint(m->log, &done, NULL) == 0);
    }
}

static void end(struct maker *m)
{
    state_free(m->state);
    mem_free(m->image.sessions);
    kv_reader_close(m->reader);
    kv_writer_close(m->writer);
    must(log_store_close(m->log, NULL) == 0);
    data_dir_close(m->dir);
}

const char *verify_make_dir(const char *name, const struct dir_plan *plan)
{
    struct maker m;
    const char *path = store_fresh_path(name), *taken = NULL;
    begin(&m, path, plan);
    for (raft_index i = 1; i <= plan->last;) {
        struct entry *e[ENTRIES_A_WRITE];
        size_t count = 0;
        for (; count < ENTRIES_A_WRITE && i + count <= plan->last; count++)
            e[count] = entry_at(&m, i + count);
        struct log_write w = {.entries = e, .entry_count = count};
        must(log_store_write(m.log, &w, 1, NULL) == 0);
        for (size_t k = 0; k < count; k++, i++) {
            struct apply_result result;
            if (i <= plan->applied) {
                must(state_apply(m.state, e[k], &result, NULL) == 0);
                at_index(&m, i);
            }
            entry_unref(e[k]);
        }
    }
    if (plan->killed) {
        taken = store_fresh_path(name);
        store_copy_dir(path, taken);
    }
    end(&m);
    return taken ? taken : path;
}

/* ---- changing ---- */

static sqlite3 *file_open(const char *dir, const char *file)
{
    char path[4096];
    sqlite3 *db;
    snprintf(path, sizeof(path), "%s/%s", dir, file);
    int sums = strcmp(file, "raft.db") == 0 ? 0 : SQ_SUMS;
    must(sq_open(path, SQ_WRITE | sums, &db, NULL) == 0);
    must(sq_exec(db, "PRAGMA locking_mode=EXCLUSIVE", NULL) == 0);
    return db;
}

static void file_close(sqlite3 *db)
{
    int frames, moved;
    char mode[16];
    must(sq_text(db, "PRAGMA journal_mode", mode, sizeof(mode), NULL) == 0);
    if (strcmp(mode, "wal") == 0)
        must(sq_checkpoint(db, SQLITE_CHECKPOINT_TRUNCATE, &frames, &moved, NULL) == 0);
    sq_close(db);
}

void verify_sql(const char *dir, const char *file, const char *sql)
{
    sqlite3 *db = file_open(dir, file);
    struct err err = {0};
    sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 0, NULL);
    if (sq_exec(db, sql, &err) != 0) {
        diag("%s: %s", sql, err.text);
        must(false);
    }
    file_close(db);
}

void verify_set_u64(const char *dir, const char *file, const char *name, uint64_t value)
{
    sqlite3 *db = file_open(dir, file);
    struct sq_meta meta;
    must(sq_meta_open(&meta, db, NULL) == 0);
    must(sq_meta_set_u64(&meta, name, value, NULL) == 0);
    sq_meta_close(&meta);
    file_close(db);
}

void verify_set_digest(const char *dir, const char *file, const char *name, struct digest value)
{
    sqlite3 *db = file_open(dir, file);
    struct sq_meta meta;
    must(sq_meta_open(&meta, db, NULL) == 0);
    must(sq_meta_set_digest(&meta, name, value, NULL) == 0);
    sq_meta_close(&meta);
    file_close(db);
}

void verify_set_membership(const char *dir, const char *file, const char *name,
                           const struct membership *m)
{
    sqlite3 *db = file_open(dir, file);
    struct sq_meta meta;
    struct buf b;
    buf_init(&b, LIMIT_MEMBERSHIP_BYTES);
    must(membership_encode(m, &b) > 0);
    must(sq_meta_open(&meta, db, NULL) == 0);
    must(sq_meta_set_bytes(&meta, name, slice_of(b.data, b.len), NULL) == 0);
    sq_meta_close(&meta);
    buf_release(&b);
    file_close(db);
}

void verify_set_entry(const char *dir, const struct entry *e)
{
    sqlite3 *db = file_open(dir, "raft.db");
    sqlite3_stmt *st;
    must(sq_prepare(db,
                    "INSERT OR REPLACE INTO log(idx, term, kind, crc, data) "
                    "VALUES(?1, ?2, ?3, ?4, ?5)",
                    &st, NULL) == 0);
    sq_bind_u64(st, 1, e->index);
    sq_bind_u64(st, 2, e->term);
    sq_bind_u64(st, 3, e->kind);
    sq_bind_u64(st, 4, e->crc);
    sq_bind_bytes(st, 5, slice_of(e->data, e->size));
    must(sq_done(st, NULL) == 0);
    sqlite3_finalize(st);
    file_close(db);
}

/* ---- what is found ---- */

static void note(void *self, enum finding kind, const char *text)
{
    static const char *const names[] = {"fact", "note", "wrong", "unknown"};
    struct found *f = self;
    unsigned *const counts[] = {&f->facts, &f->notes, &f->wrong, &f->unknown};
    ++*counts[kind];
    must(buf_printf(&f->text, "%s: %s\n", names[kind], text) == 0);
}

static void found_begin(struct found *f)
{
    *f = (struct found){0};
    buf_init(&f->text, 1 << 20);
}

void found_release(struct found *f)
{
    buf_release(&f->text);
}

const char *found_text(const struct found *f)
{
    return f->text.len ? (const char *)f->text.data : "";
}

/* A scratch directory, of which nothing may be left. */
static const char *scratch_begin(void)
{
    const char *scratch = store_fresh_path("scratch");
    must(mkdir(scratch, 0700) == 0);
    return scratch;
}

static void scratch_end(const char *scratch)
{
    must(rmdir(scratch) == 0);
}

void find_data_in(const char *path, const char *scratch, struct found *f)
{
    const struct finding_sink sink = {.tell = note, .self = f};
    found_begin(f);
    f->code = verify_data(&path, 1, scratch, &sink, &f->err);
}

void find_data(const char *const *paths, size_t count, struct found *f)
{
    const char *scratch = scratch_begin();
    found_begin(f);
    const struct finding_sink sink = {.tell = note, .self = f};
    f->code = verify_data(paths, count, scratch, &sink, &f->err);
    scratch_end(scratch);
}

void find_data_of(const char *path, struct found *f)
{
    find_data(&path, 1, f);
}

void find_replay(const char *path, const char *from, struct found *f)
{
    const char *scratch = scratch_begin();
    found_begin(f);
    const struct finding_sink sink = {.tell = note, .self = f};
    f->code = verify_replay(path, from, scratch, &sink, &f->err);
    scratch_end(scratch);
}

static void diag_found(const struct found *f)
{
    diag("code %d %s", f->code, f->err.text);
    diag("%s", found_text(f));
}

void found_sound(const struct found *f, const char *what)
{
    if (!ok(f->code == 0 && f->wrong == 0 && f->unknown == 0 && f->facts > 0,
            "%s: nothing is wrong", what))
        diag_found(f);
}

/* A line of that kind with the text in it. */
static bool has_line(const struct found *f, const char *kind, const char *text)
{
    const char *line = found_text(f);
    while (*line) {
        size_t len = strcspn(line, "\n");
        if (strncmp(line, kind, strlen(kind)) == 0 && memmem(line, len, text, strlen(text)))
            return true;
        line += len + 1;
    }
    return false;
}

void found_wrong(const struct found *f, const char *text, const char *what)
{
    if (!ok(f->code == 0 && has_line(f, "wrong: ", text), "%s: \"%s\"", what, text))
        diag_found(f);
}

void found_unknown(const struct found *f, const char *text, const char *what)
{
    if (!ok(f->code == 0 && f->wrong == 0 && has_line(f, "unknown: ", text), "%s: \"%s\"", what,
            text))
        diag_found(f);
}

/* ---- a picture of a directory ---- */

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void picture_file(const char *dir, const char *name, struct buf *out)
{
    char path[4096];
    struct stat st;
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    must(stat(path, &st) == 0);
    uint8_t *bytes = mem_alloc((size_t)st.st_size + 1);
    FILE *f = S_ISREG(st.st_mode) ? fopen(path, "re") : NULL;
    size_t len = f ? fread(bytes, 1, (size_t)st.st_size, f) : 0;
    if (f)
        fclose(f);
    must(buf_printf(out, "%s %zu %016" PRIx64 " %o %lld.%09ld %lld.%09ld\n", name, len,
                    hash64(bytes, len, 0), (unsigned)st.st_mode, (long long)st.st_mtim.tv_sec,
                    st.st_mtim.tv_nsec, (long long)st.st_ctim.tv_sec, st.st_ctim.tv_nsec) == 0);
    mem_free(bytes);
}

char *verify_picture(const char *dir)
{
    char *names[256];
    size_t count = 0, len;
    struct buf out;
    buf_init(&out, 1 << 20);
    DIR *stream = opendir(dir);
    must(stream);
    for (struct dirent *e; (e = readdir(stream)) && count < 256;)
        if (strcmp(e->d_name, "..") != 0)
            names[count++] = mem_strdup(e->d_name);
    closedir(stream);
    qsort(names, count, sizeof(names[0]), by_name);
    for (size_t i = 0; i < count; i++) {
        picture_file(dir, names[i], &out);
        mem_free(names[i]);
    }
    return (char *)buf_take(&out, &len);
}
