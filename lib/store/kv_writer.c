/*
 * The one connection that writes kv.db: whole memtables, each in one transaction, and checkpoints.
 *
 * With the rows goes a hash of the set of all rows, kept by taking out the old row and putting in
 * the new one: equal at equal applied index on every member, whatever order the rows came in.
 */
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "lib/base/check.h"
#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/store/kv_file_internal.h"
#include "lib/store/write_pace.h"

enum {
    PACE_ROWS = 128,      /* written between two rests, well under a millisecond of work */
    PACE_RESTS = 2,       /* a rest is so often as long as the work before it */
    PACE_SLICE_US = 1000, /* and behind each slice that went to the disk */
};

struct kv_writer {
    struct data_dir *dir;
    char name[KV_NAME_BYTES];
    sqlite3 *db;
    struct sq_meta meta;
    sqlite3_stmt *old, *insert, *update, *delete;
    sqlite3_stmt *session_put, *session_delete;
    struct kv_head head; /* as committed */
    int wal_frames;      /* behind the last commit, not in the file yet or not known to be */
    /* Any thread may read these, and set the last. */
    atomic_uint_fast64_t file_bytes, wal_bytes;
    atomic_bool calm;
};

static int count_frames(void *argument, sqlite3 *db, const char *name, int frames)
{
    struct kv_writer *w = argument;
    (void)db;
    (void)name;
    w->wal_frames = frames;
    return SQLITE_OK;
}

static int configure(struct kv_writer *w, struct err *err)
{
    char mode[16];
    int rc = sq_text(w->db, "PRAGMA journal_mode=WAL", mode, sizeof(mode), err);
    if (rc == 0 && strcmp(mode, "wal") != 0)
        rc = err_set(err, ERR_IO, "%s: cannot use a WAL here", sqlite3_db_filename(w->db, "main"));
    if (rc == 0)
        rc = sq_exec(w->db,
                     "PRAGMA synchronous=NORMAL; PRAGMA secure_delete=OFF; "
                     "PRAGMA journal_size_limit=67108864",
                     err);
    if (rc == 0)
        rc = kv_cache_set(w->db, LIMIT_WRITER_CACHE_KIB, err);
    return rc;
}

static int prepare_statements(struct kv_writer *w, struct err *err)
{
    const struct {
        sqlite3_stmt **st;
        const char *sql;
    } all[] = {
        {&w->old, "SELECT version, timestamp, value FROM kv WHERE key=?1"},
        {&w->insert, "INSERT INTO kv(key, version, timestamp, value) VALUES(?1, ?2, ?3, ?4)"},
        {&w->update, "UPDATE kv SET version=?2, timestamp=?3, value=?4 WHERE key=?1"},
        {&w->delete, "DELETE FROM kv WHERE key=?1"},
        {&w->session_put,
         "INSERT OR REPLACE INTO sessions(client, seq, fingerprint, status, existed, "
         "batch_existed, version, timestamp, used_ms, used_index, crc) "
         "VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"},
        {&w->session_delete, "DELETE FROM sessions WHERE client=?1"},
    };
    int rc = sq_meta_open(&w->meta, w->db, err);
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]) && rc == 0; i++)
        rc = sq_prepare(w->db, all[i].sql, all[i].st, err);
    return rc;
}

static int cluster_check(struct kv_writer *w, const struct digest *cluster_id, struct err *err)
{
    struct digest none = {0};
    if (!cluster_id || digest_equal(*cluster_id, none) || digest_equal(w->head.cluster_id, none) ||
        digest_equal(w->head.cluster_id, *cluster_id))
        return 0;
    char ours[HEX128_BYTES], theirs[HEX128_BYTES];
    return err_set(err, ERR_CORRUPT, "%s: the state of cluster %s, expected %s",
                   sqlite3_db_filename(w->db, "main"), hex128(w->head.cluster_id, theirs),
                   hex128(*cluster_id, ours));
}

static void show(struct kv_writer *w)
{
    enum { WAL_HEADER = 32, FRAME_HEADER = 24 };
    uint64_t frames = (uint64_t)w->wal_frames;
    atomic_store(&w->file_bytes, data_dir_file_bytes(w->dir, w->name));
    atomic_store(&w->wal_bytes, frames ? WAL_HEADER + frames * (FRAME_HEADER + PAGE_BYTES) : 0);
}

static int writer_open(struct kv_writer *w, const struct digest *cluster_id, struct err *err)
{
    char *path = data_dir_join(w->dir, w->name);
    bool empty;
    int frames, moved;
    int rc = sq_format_probe(path, &kv_format, &empty, err);
    if (rc == 0 && empty)
        rc = err_set(err, ERR_CORRUPT, "%s: missing or empty", path);
    if (rc == 0)
        rc = sq_open(path, SQ_WRITE | SQ_SHARED | SQ_SUMS, &w->db, err);
    if (rc == 0)
        rc = kv_file_check(w->db, err);
    if (rc == 0)
        rc = configure(w, err);
    if (rc == 0)
        rc = prepare_statements(w, err);
    if (rc == 0)
        rc = kv_head_read(&w->meta, &w->head, err);
    if (rc == 0)
        rc = cluster_check(w, cluster_id, err);
    /* Written anew and synced: behind a failed sync of the process before, the page cache may say
     * more than the disk. */
    if (rc == 0)
        rc = sq_checkpoint(w->db, SQLITE_CHECKPOINT_TRUNCATE, &frames, &moved, err);
    if (rc == 0)
        rc = data_dir_sync(w->dir, err);
    mem_free(path);
    return rc;
}

int kv_writer_open(struct data_dir *dir, uint64_t generation, const struct digest *cluster_id,
                   struct kv_writer **out, struct err *err)
{
    struct kv_writer *w = mem_zalloc(sizeof(*w));
    w->dir = dir;
    kv_file_name(generation, w->name);
    int rc = writer_open(w, cluster_id, err);
    if (rc) {
        kv_writer_close(w);
        return rc;
    }
    sqlite3_wal_hook(w->db, count_frames, w);
    if (cluster_id && !digest_equal(*cluster_id, (struct digest){0}))
        rc = kv_writer_set_cluster(w, *cluster_id, err);
    if (rc) {
        kv_writer_close(w);
        return rc;
    }
    show(w);
    *out = w;
    return 0;
}

void kv_writer_close(struct kv_writer *w)
{
    if (!w)
        return;
    int frames, moved;
    if (w->wal_frames)
        sq_checkpoint(w->db, SQLITE_CHECKPOINT_PASSIVE, &frames, &moved, NULL);
    sqlite3_finalize(w->old);
    sqlite3_finalize(w->insert);
    sqlite3_finalize(w->update);
    sqlite3_finalize(w->delete);
    sqlite3_finalize(w->session_put);
    sqlite3_finalize(w->session_delete);
    sq_meta_close(&w->meta);
    sq_close(w->db);
    mem_free(w);
}

void kv_writer_calm(struct kv_writer *w, bool calm)
{
    atomic_store(&w->calm, calm);
}

uint64_t kv_writer_file_bytes(const struct kv_writer *w)
{
    return atomic_load(&w->file_bytes);
}

uint64_t kv_writer_wal_bytes(const struct kv_writer *w)
{
    return atomic_load(&w->wal_bytes);
}

/* ---- what the file says ---- */

int kv_writer_image(struct kv_writer *w, struct kv_image *out, struct err *err)
{
    struct session *sessions;
    size_t count;
    int rc = kv_sessions_read(w->db, &sessions, &count, err);
    if (rc)
        return rc;
    *out = (struct kv_image){
        .image = {.applied = w->head.applied,
                  .applied_term = w->head.applied_term,
                  .cluster_time_ms = w->head.cluster_time_ms,
                  .membership = w->head.membership,
                  .sessions = sessions,
                  .session_count = count},
        .sessions = sessions,
        .digest = w->head.digest,
        .keys = w->head.keys,
    };
    return 0;
}

static int finish(struct kv_writer *w, int rc, struct err *err)
{
    if (rc == 0)
        rc = sq_exec(w->db, "COMMIT", err);
    if (rc) {
        /* The error may have ended the transaction already, or not. */
        sq_rollback(w->db);
        return rc;
    }
    atomic_fetch_add(&w->dir->kv_epoch, 1);
    return 0;
}

int kv_writer_set_cluster(struct kv_writer *w, struct digest cluster_id, struct err *err)
{
    int rc = cluster_check(w, &cluster_id, err);
    if (rc || digest_equal(w->head.cluster_id, cluster_id))
        return rc;
    rc = sq_exec(w->db, "BEGIN IMMEDIATE", err);
    if (rc == 0)
        rc = sq_meta_set_digest(&w->meta, "cluster_id", cluster_id, err);
    rc = finish(w, rc, err);
    if (rc == 0)
        w->head.cluster_id = cluster_id;
    return rc;
}

/* ---- flushing ---- */

/* Takes the old row out of head's digest. */
static int old_row(struct kv_writer *w, struct kv_head *head, struct slice key, bool *exists,
                   struct err *err)
{
    sq_bind_bytes(w->old, 1, key);
    int rc = sq_row(w->old, err);
    *exists = rc == 0;
    if (rc)
        return rc == ERR_NOT_FOUND ? 0 : rc;
    struct row row = {.key = key,
                      .version = sq_column_u64(w->old, 0),
                      .timestamp_ms = sq_column_u64(w->old, 1),
                      .value = sq_column_bytes(w->old, 2)};
    head->digest = digest_sub(head->digest, kv_row_digest(&row));
    head->keys--;
    sqlite3_reset(w->old);
    return 0;
}

static int row_flush(struct kv_writer *w, struct kv_head *head,
                     const struct memtable_change *change, struct err *err)
{
    const struct row *row = &change->row;
    bool exists;
    int rc = old_row(w, head, row->key, &exists, err);
    if (rc)
        return rc;
    if (change->deleted) {
        if (!exists)
            return 0;
        sq_bind_bytes(w->delete, 1, row->key);
        return sq_done(w->delete, err);
    }
    head->digest = digest_add(head->digest, kv_row_digest(row));
    head->keys++;
    sqlite3_stmt *st = exists ? w->update : w->insert;
    sq_bind_bytes(st, 1, row->key);
    sq_bind_u64(st, 2, row->version);
    sq_bind_u64(st, 3, row->timestamp_ms);
    sq_bind_bytes(st, 4, row->value);
    return sq_done(st, err);
}

static int session_flush(struct kv_writer *w, const struct session *s, bool gone, struct err *err)
{
    sqlite3_stmt *st = gone ? w->session_delete : w->session_put;
    int rc = sqlite3_bind_text(st, 1, s->client, -1, SQLITE_STATIC);
    ASSERT(rc == SQLITE_OK);
    if (!gone) {
        sq_bind_u64(st, 2, s->seq);
        sq_bind_u64(st, 3, s->fingerprint);
        rc = sqlite3_bind_int(st, 4, s->status);
        ASSERT(rc == SQLITE_OK);
        sq_bind_u64(st, 5, s->existed);
        sq_bind_bytes(st, 6, kv_session_batch(s));
        sq_bind_u64(st, 7, s->version);
        sq_bind_u64(st, 8, s->timestamp_ms);
        sq_bind_u64(st, 9, s->used_ms);
        sq_bind_u64(st, 10, s->used_index);
        sq_bind_u64(st, 11, kv_session_crc(s));
    }
    return sq_done(st, err);
}

static int membership_flush(struct kv_writer *w, const struct membership *m, struct err *err)
{
    struct buf encoded;
    buf_init(&encoded, LIMIT_MEMBERSHIP_BYTES);
    size_t len = membership_encode(m, &encoded);
    ASSERT(len > 0);
    int rc = sq_meta_set_u64(&w->meta, "membership_index", m->configuration.index, err);
    if (rc == 0)
        rc = sq_meta_set_bytes(&w->meta, "membership", slice_of(encoded.data, encoded.len), err);
    buf_release(&encoded);
    return rc;
}

static int head_flush(struct kv_writer *w, const struct kv_head *head, struct err *err)
{
    int rc = sq_meta_set_u64(&w->meta, "applied_index", head->applied, err);
    if (rc == 0)
        rc = sq_meta_set_u64(&w->meta, "applied_term", head->applied_term, err);
    if (rc == 0)
        rc = sq_meta_set_u64(&w->meta, "cluster_time_ms", head->cluster_time_ms, err);
    if (rc == 0)
        rc = sq_meta_set_digest(&w->meta, "digest", head->digest, err);
    if (rc == 0)
        rc = sq_meta_set_u64(&w->meta, "keys", head->keys, err);
    if (rc == 0 && head->membership.configuration.index != w->head.membership.configuration.index)
        rc = membership_flush(w, &head->membership, err);
    return rc;
}

/* A core that is busy for as long as a flush takes is one that clients wait for. */
static void rest(const struct kv_writer *w, uint64_t *since_ns)
{
    if (!atomic_load(&w->calm))
        return;
    uint64_t ns = (clock_now_ns() - *since_ns) * PACE_RESTS;
    const struct timespec pause = {.tv_sec = (time_t)(ns / 1000000000),
                                   .tv_nsec = (long)(ns % 1000000000)};
    nanosleep(&pause, NULL);
    *since_ns = clock_now_ns();
}

static int rows_flush(struct kv_writer *w, struct kv_head *head, const struct memtable *m,
                      struct err *err)
{
    struct memtable_change change;
    uint64_t since_ns = clock_now_ns();
    uint32_t rows = 0;
    int rc = 0;
    for (const void *at = NULL; rc == 0 && (at = memtable_next(m, at, &change));) {
        rc = row_flush(w, head, &change, err);
        if (++rows % PACE_ROWS == 0)
            rest(w, &since_ns);
    }
    return rc;
}

int kv_writer_flush(struct kv_writer *w, const struct memtable *m, struct digest *digest,
                    uint64_t *keys, struct err *err)
{
    ASSERT(memtable_first_index(m) == w->head.applied + 1);
    struct kv_head *head = mem_dup(&w->head, sizeof(w->head));
    head->applied = memtable_last_index(m);
    head->applied_term = memtable_last_term(m);
    head->cluster_time_ms = memtable_cluster_time_ms(m);
    head->membership = *memtable_membership(m);
    write_pace_begin(atomic_load(&w->calm) ? PACE_SLICE_US : 0);
    int rc = sq_exec(w->db, "BEGIN IMMEDIATE", err);
    if (rc == 0)
        rc = rows_flush(w, head, m, err);
    for (uint32_t i = 0; rc == 0 && i < memtable_session_count(m); i++) {
        bool gone;
        const struct session *s = memtable_session(m, i, &gone);
        rc = session_flush(w, s, gone, err);
    }
    if (rc == 0)
        rc = head_flush(w, head, err);
    rc = finish(w, rc, err);
    write_pace_end();
    if (rc == 0) {
        w->head = *head;
        *digest = head->digest;
        *keys = head->keys;
        show(w);
    }
    mem_free(head);
    return rc;
}

int kv_writer_checkpoint(struct kv_writer *w, raft_index *checkpointed, struct err *err)
{
    int frames, moved;
    write_pace_begin(atomic_load(&w->calm) ? PACE_SLICE_US : 0);
    int rc = sq_checkpoint(w->db, SQLITE_CHECKPOINT_PASSIVE, &frames, &moved, err);
    write_pace_end();
    if (rc)
        return rc;
    if (frames == moved) {
        *checkpointed = w->head.applied;
        w->wal_frames = 0; /* the next flush begins the WAL anew, unless a reader is in the way */
        /* A reader that begins its transaction now needs no WAL and is not in the way of that. */
        atomic_fetch_add(&w->dir->kv_epoch, 1);
    }
    show(w);
    return 0;
}
