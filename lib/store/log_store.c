/* raft.db at work: group commit, cutting, reading, the commit point of an installed snapshot. */
#include "lib/store/log_store.h"

#include <inttypes.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/mem.h"
#include "lib/store/log_store_internal.h"

static int count_frames(void *argument, sqlite3 *db, const char *name, int frames)
{
    struct log_store *s = argument;
    (void)db;
    (void)name;
    s->wal_frames = frames;
    return SQLITE_OK;
}

int log_store_open(struct data_dir *dir, const char *name, struct log_store **out,
                   struct log_store_state *state, struct err *err)
{
    struct log_store *s = mem_zalloc(sizeof(*s));
    s->dir = dir;
    int rc = log_store_start(s, name, state, err);
    if (rc) {
        s->failed = true;
        log_store_close(s, NULL);
        return rc;
    }
    sqlite3_wal_hook(s->db, count_frames, s);
    log_store_show(s);
    *out = s;
    return 0;
}

void log_store_forget_start(struct log_store *s)
{
    mem_free(s->runs);
    mem_free(s->memberships);
    s->runs = NULL;
    s->memberships = NULL;
}

int log_store_close(struct log_store *s, struct err *err)
{
    if (!s)
        return 0;
    int rc = 0, frames, moved;
    if (!s->failed)
        rc = sq_checkpoint(s->db, SQLITE_CHECKPOINT_TRUNCATE, &frames, &moved, err);
    log_store_forget_start(s);
    sqlite3_finalize(s->insert);
    sqlite3_finalize(s->truncate);
    sqlite3_finalize(s->cut);
    sqlite3_finalize(s->first);
    sqlite3_finalize(s->term_at);
    sqlite3_finalize(s->range);
    sq_meta_close(&s->meta);
    sq_close(s->db);
    mem_free(s);
    return rc;
}

void log_store_show(struct log_store *s)
{
    atomic_store(&s->file_bytes, data_dir_file_bytes(s->dir, "raft.db"));
    atomic_store(&s->wal_bytes, data_dir_file_bytes(s->dir, "raft.db-wal"));
    atomic_store(&s->wal_pages, (uint64_t)s->wal_frames);
    atomic_store(&s->shown_first, s->base + 1);
    atomic_store(&s->shown_last, s->last);
}

void log_store_figures(struct log_store *s, struct log_store_figures *out)
{
    out->file_bytes = atomic_load(&s->file_bytes);
    out->wal_bytes = atomic_load(&s->wal_bytes);
    out->wal_pages = atomic_load(&s->wal_pages);
    out->first = atomic_load(&s->shown_first);
    out->last = atomic_load(&s->shown_last);
}

/* ---- transactions ---- */

/* What a transaction changes in memory too, once it is committed. */
struct change {
    raft_term term;
    raft_id vote;
    raft_index removed, base, last, garbage;
    uint64_t kv_generation;
};

/* ERR_DISK_FULL is for later, everything else is the end: whether a failed commit is on the disk
 * only a restart can tell. */
static int failed(struct log_store *s, int rc)
{
    sq_rollback(s->db);
    if (rc == ERR_DISK_FULL) {
        s->unclean = true;
        return rc;
    }
    s->failed = true;
    return rc == ERR_CORRUPT ? rc : ERR_IO;
}

/* Frames of a commit that did not fit stand in the WAL without a commit frame. The next commit
 * would be written over their beginning, and if that is torn by a power loss, their end looks like
 * frames behind a synced commit. So the WAL begins anew first, with other salts. It does behind a
 * checkpoint that moved something, and keeps its room; one that has nothing to move leaves the
 * salts as they are, unless it truncates. */
static int clean_up(struct log_store *s, struct err *err)
{
    int frames, moved;
    int rc = sq_checkpoint(s->db, SQLITE_CHECKPOINT_PASSIVE, &frames, &moved, err);
    if (rc == 0 && frames == 0)
        rc = sq_checkpoint(s->db, SQLITE_CHECKPOINT_TRUNCATE, &frames, &moved, err);
    if (rc == 0 && moved != frames)
        rc = err_set(err, ERR_IO, "%s: a checkpoint moved %d of %d frames",
                     sqlite3_db_filename(s->db, "main"), moved, frames);
    if (rc == 0)
        s->unclean = false;
    return rc;
}

static int begin(struct log_store *s, struct change *c, struct err *err)
{
    if (s->failed)
        return err_set(err, ERR_IO, "%s: an earlier write failed",
                       sqlite3_db_filename(s->db, "main"));
    *c = (struct change){s->term, s->vote,    s->removed,      s->base,
                         s->last, s->garbage, s->kv_generation};
    int rc = s->unclean ? clean_up(s, err) : 0;
    if (rc == 0)
        rc = sq_exec(s->db, "BEGIN IMMEDIATE", err);
    return rc;
}

static int end(struct log_store *s, const struct change *c, int rc, struct err *err)
{
    if (rc == 0)
        rc = sq_exec(s->db, "COMMIT", err);
    if (rc)
        return failed(s, rc);
    s->term = c->term;
    s->vote = c->vote;
    s->removed = c->removed;
    s->base = c->base;
    s->last = c->last;
    s->garbage = c->garbage;
    s->kv_generation = c->kv_generation;
    atomic_store(&s->wal_pages, (uint64_t)s->wal_frames);
    atomic_store(&s->shown_first, s->base + 1);
    atomic_store(&s->shown_last, s->last);
    return 0;
}

/* Deletes about `rows` rows that are not needed any more. */
static int slice_delete(struct log_store *s, struct change *c, uint64_t rows, struct err *err)
{
    if (!c->garbage)
        return 0;
    int rc = sq_row(s->first, err);
    if (rc)
        return rc == ERR_NOT_FOUND ? ERR_INTERNAL : rc; /* an aggregate always gives a row */
    raft_index first = sq_column_u64(s->first, 0);
    sqlite3_reset(s->first);
    raft_index until = c->garbage;
    if (first && first <= c->garbage && c->garbage - first >= rows)
        until = first + rows - 1;
    sq_bind_u64(s->cut, 1, until);
    rc = sq_done(s->cut, err);
    if (rc == 0 && until == c->garbage)
        c->garbage = 0;
    return rc;
}

static int entries_insert(struct log_store *s, struct change *c, const struct log_write *w,
                          struct err *err)
{
    int rc = 0;
    for (size_t i = 0; i < w->entry_count && rc == 0; i++) {
        const struct entry *e = w->entries[i];
        ASSERT(e->index == c->last + 1);
        sq_bind_u64(s->insert, 1, e->index);
        sq_bind_u64(s->insert, 2, e->term);
        sq_bind_u64(s->insert, 3, e->kind);
        sq_bind_u64(s->insert, 4, e->crc);
        sq_bind_bytes(s->insert, 5, slice_of(e->data, e->size));
        rc = sq_done(s->insert, err);
        c->last = e->index;
    }
    return rc;
}

static int hard_state_store(struct log_store *s, const struct change *c, struct err *err)
{
    int rc = 0;
    if (c->term != s->term)
        rc = sq_meta_set_u64(&s->meta, "term", c->term, err);
    if (rc == 0 && c->vote != s->vote)
        rc = sq_meta_set_u64(&s->meta, "vote", c->vote, err);
    if (rc == 0 && c->removed != s->removed)
        rc = sq_meta_set_u64(&s->meta, "removed", c->removed, err);
    return rc;
}

int log_store_write(struct log_store *s, const struct log_write *writes, size_t count,
                    struct err *err)
{
    struct change c;
    uint64_t entries = 0;
    int rc = begin(s, &c, err);
    for (size_t i = 0; i < count && rc == 0; i++) {
        const struct log_write *w = &writes[i];
        if (w->hard_state) {
            /* A term has one vote (§3.4). */
            ASSERT(w->term > c.term || (w->term == c.term && (!c.vote || w->vote == c.vote)));
            ASSERT(w->removed >= c.removed); /* nobody is removed at an earlier index */
            c.term = w->term;
            c.vote = w->vote;
            c.removed = w->removed;
        }
        if (w->truncate_from) {
            ASSERT(w->truncate_from > c.base);
            sq_bind_u64(s->truncate, 1, w->truncate_from);
            rc = sq_done(s->truncate, err);
            if (c.last >= w->truncate_from)
                c.last = w->truncate_from - 1;
        }
        if (rc == 0)
            rc = entries_insert(s, &c, w, err);
        if (rc == 0 && w->set_cluster)
            rc = sq_meta_set_digest(&s->meta, "cluster_id", w->cluster_id, err);
        entries += w->entry_count;
    }
    if (rc == 0)
        rc = hard_state_store(s, &c, err);
    uint64_t rows = 2 * entries;
    if (rows < LIMIT_COMPACT_ROWS_MIN)
        rows = LIMIT_COMPACT_ROWS_MIN;
    if (rows > LIMIT_COMPACT_ROWS_MAX)
        rows = LIMIT_COMPACT_ROWS_MAX;
    if (rc == 0)
        rc = slice_delete(s, &c, rows, err);
    return end(s, &c, rc, err);
}

/* ---- cutting the log ---- */

int log_store_set_base(struct log_store *s, raft_index index, raft_term term,
                       const struct membership *membership, struct err *err)
{
    struct buf encoded;
    buf_init(&encoded, LIMIT_MEMBERSHIP_BYTES);
    size_t len = membership_encode(membership, &encoded);
    ASSERT(len > 0);
    int rc = sq_meta_set_u64(&s->meta, "snapshot_index", index, err);
    if (rc == 0)
        rc = sq_meta_set_u64(&s->meta, "snapshot_term", term, err);
    if (rc == 0)
        rc = sq_meta_set_u64(&s->meta, "snapshot_membership_index", membership->configuration.index,
                             err);
    if (rc == 0)
        rc = sq_meta_set_bytes(&s->meta, "snapshot_membership", slice_of(encoded.data, encoded.len),
                               err);
    buf_release(&encoded);
    return rc;
}

int log_store_compact(struct log_store *s, raft_index index, raft_term term,
                      const struct membership *membership, struct err *err)
{
    if (index <= s->base)
        return 0;
    ASSERT(index <= s->last);
    struct change c;
    int rc = begin(s, &c, err);
    if (rc == 0)
        rc = log_store_set_base(s, index, term, membership, err);
    c.base = index;
    c.garbage = index;
    return end(s, &c, rc, err);
}

bool log_store_compacting(const struct log_store *s)
{
    return s->garbage > 0;
}

int log_store_compact_slice(struct log_store *s, struct err *err)
{
    if (!s->garbage)
        return 0;
    struct change c;
    int rc = begin(s, &c, err);
    if (rc == 0)
        rc = slice_delete(s, &c, LIMIT_COMPACT_ROWS_MAX, err);
    return end(s, &c, rc, err);
}

/* The term of an entry in the log, 0 if it is not there. */
static int term_find(struct log_store *s, raft_index index, raft_term *term, struct err *err)
{
    *term = 0;
    if (index <= s->base || index > s->last)
        return 0;
    sq_bind_u64(s->term_at, 1, index);
    int rc = sq_row(s->term_at, err);
    if (rc == ERR_NOT_FOUND)
        return err_set(err, ERR_CORRUPT, "%s: row %" PRIu64 " of the log is missing",
                       sqlite3_db_filename(s->db, "main"), index);
    if (rc == 0)
        *term = sq_column_u64(s->term_at, 0);
    sqlite3_reset(s->term_at);
    return rc;
}

int log_store_install(struct log_store *s, uint64_t kv_generation, raft_index index, raft_term term,
                      const struct membership *membership, bool *kept_tail, struct err *err)
{
    ASSERT(index > s->base && kv_generation > s->kv_generation);
    struct change c = {0};
    raft_term ours = 0;
    int rc = begin(s, &c, err);
    if (rc == 0)
        rc = term_find(s, index, &ours, err);
    bool keep = ours == term;
    if (rc == 0)
        rc = log_store_set_base(s, index, term, membership, err);
    if (rc == 0)
        rc = sq_meta_set_u64(&s->meta, "kv_generation", kv_generation, err);
    if (rc == 0 && !keep) {
        /* What stands behind `index` here must never be taken for a continuation of it (§5.3). */
        sq_bind_u64(s->truncate, 1, index + 1);
        rc = sq_done(s->truncate, err);
    }
    c.garbage = index < c.last ? index : c.last;
    c.last = keep ? c.last : index;
    c.base = index;
    c.kv_generation = kv_generation;
    if (rc == 0)
        *kept_tail = keep;
    return end(s, &c, rc, err);
}

/* ---- reading ---- */

static int row_read(struct log_store *s, raft_index expected, struct entry **out, struct err *err)
{
    raft_index index = sq_column_u64(s->range, 0);
    struct slice data = sq_column_bytes(s->range, 4);
    if (index != expected)
        return err_set(err, ERR_CORRUPT, "row %" PRIu64 " of the log is missing", expected);
    *out = entry_restore((enum raft_entry_kind)sqlite3_column_int(s->range, 2), index,
                         sq_column_u64(s->range, 1), (uint32_t)sq_column_u64(s->range, 3),
                         data.data, data.len, err);
    return *out ? 0 : ERR_CORRUPT;
}

int log_store_read(struct log_store *s, raft_index first, raft_index last, uint64_t bytes_max,
                   struct entry ***entries, size_t *count, struct err *err)
{
    if (first <= s->base)
        return err_set(err, ERR_NOT_FOUND,
                       "entry %" PRIu64 " is compacted, the log begins at %" PRIu64, first,
                       s->base + 1);
    if (first > s->last || last < first)
        return err_set(err, ERR_AGAIN, "entry %" PRIu64 " is not written yet", first);
    if (last > s->last)
        last = s->last;
    size_t room = 0, n = 0;
    uint64_t bytes = 0;
    struct entry **found = NULL;
    sq_bind_u64(s->range, 1, first);
    sq_bind_u64(s->range, 2, last);
    int rc = 0;
    while (rc == 0 && first + n <= last) {
        rc = sq_row(s->range, err);
        if (rc == ERR_NOT_FOUND)
            rc = err_set(err, ERR_CORRUPT, "row %" PRIu64 " of the log is missing", first + n);
        if (rc)
            break;
        bytes += (uint64_t)sqlite3_column_bytes(s->range, 4);
        if (n && bytes > bytes_max)
            break;
        if (n == room)
            found = mem_realloc(found, sizeof(found[0]) * (room = room ? room * 2 : 16));
        rc = row_read(s, first + n, &found[n], err);
        n += rc == 0;
    }
    sqlite3_reset(s->range);
    if (rc == 0) {
        *entries = found;
        *count = n;
        return 0;
    }
    if (rc == ERR_CORRUPT)
        err_prefix(err, "%s", sqlite3_db_filename(s->db, "main"));
    while (n)
        entry_unref(found[--n]);
    mem_free(found);
    return rc;
}

/* ---- the WAL ---- */

int log_store_checkpoint(struct log_store *s, bool *done, struct err *err)
{
    int frames = 0, moved = 0;
    *done = false;
    if (s->failed)
        return err_set(err, ERR_IO, "%s: an earlier write failed",
                       sqlite3_db_filename(s->db, "main"));
    int rc = sq_checkpoint(s->db, SQLITE_CHECKPOINT_PASSIVE, &frames, &moved, err);
    if (rc == ERR_DISK_FULL)
        return rc;
    if (rc)
        return failed(s, rc);
    *done = frames == moved;
    if (*done)
        s->wal_frames = 0; /* the next commit begins the WAL anew */
    log_store_show(s);
    return 0;
}
