/*
 * What a start does with raft.db: makes it, or makes sure that it is whole.
 *
 *   no file      -> refuse if databases of the state are there; create
 *   a file       -> identity -> look through the WAL -> open -> checkpoint(TRUNCATE) -> structure
 *                -> meta rows -> every row of the log
 *
 * Nothing is mended and nothing deleted: what is wrong is named.
 */
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/mem.h"
#include "lib/base/prng.h"
#include "lib/store/log_store_internal.h"
#include "lib/store/wal_scan.h"

const struct sq_format log_format = {
    .application_id = 0x524b564c, /* "RKVL" */
    .version = 1,
    .schema =
        "CREATE TABLE log(idx INTEGER PRIMARY KEY, term INTEGER NOT NULL, "
        "kind INTEGER NOT NULL, crc INTEGER NOT NULL, data BLOB NOT NULL);\n" SQ_META_SCHEMA ";\n",
};

/* ---- creating ---- */

static int refuse_state_file(void *argument, const char *name)
{
    uint64_t generation;
    const char *suffix;
    if (!kv_file_parse(name, &generation, &suffix) || *suffix)
        return 0;
    snprintf(argument, NAME_MAX + 1, "%s", name);
    return ERR_CORRUPT;
}

/* An empty raft.db beside a state is a lost one: this member voted and acknowledged, and must not
 * begin again as if it had not. */
static int refuse_orphans(struct log_store *s, struct err *err)
{
    char name[NAME_MAX + 1];
    int rc = data_dir_each(s->dir, refuse_state_file, name, err);
    if (rc == ERR_CORRUPT)
        return err_set(err, rc, "%s: raft.db is missing or empty, but %s is there", s->dir->path,
                       name);
    return rc;
}

/* Its first page is synced before a WAL is made, so a WAL without it has lost its database. */
static int refuse_missing(struct log_store *s, struct err *err)
{
    if (data_dir_file_bytes(s->dir, "raft.db-wal") > 0)
        return err_set(err, ERR_CORRUPT,
                       "%s: raft.db is missing or empty, but raft.db-wal is there", s->dir->path);
    return refuse_orphans(s, err);
}

static int create(struct log_store *s, const char *name, struct err *err)
{
    int rc = sq_exec(s->db, "BEGIN IMMEDIATE", err);
    if (rc == 0)
        rc = sq_format_create(s->db, &log_format, err);
    if (rc == 0)
        rc = sq_meta_open(&s->meta, s->db, err);
    if (rc == 0)
        rc = sq_meta_set_u64(&s->meta, "member_id", random_id(), err);
    if (rc == 0)
        rc = sq_meta_set_bytes(&s->meta, "name", slice_str(name), err);
    if (rc == 0)
        rc = sq_meta_set_digest(&s->meta, "cluster_id", (struct digest){0}, err);
    if (rc == 0)
        rc = sq_meta_set_u64(&s->meta, "term", 0, err);
    if (rc == 0)
        rc = sq_meta_set_u64(&s->meta, "vote", 0, err);
    if (rc == 0)
        rc = sq_meta_set_u64(&s->meta, "removed", 0, err);
    if (rc == 0)
        rc = sq_meta_set_u64(&s->meta, "kv_generation", 1, err);
    if (rc == 0)
        rc = log_store_set_base(s, 0, 0, &(struct membership){0}, err);
    if (rc == 0)
        rc = sq_exec(s->db, "COMMIT", err);
    if (rc)
        sq_rollback(s->db);
    sq_meta_close(&s->meta);
    return rc;
}

/* ---- opening ---- */

static int configure(struct log_store *s, struct err *err)
{
    char mode[16], sql[64];
    int rc = sq_exec(s->db, "PRAGMA page_size=4096; PRAGMA secure_delete=OFF", err);
    if (rc == 0)
        rc = sq_text(s->db, "PRAGMA journal_mode=WAL", mode, sizeof(mode), err);
    if (rc == 0 && strcmp(mode, "wal") != 0)
        rc = err_set(err, ERR_IO, "%s: cannot use a WAL here", sqlite3_db_filename(s->db, "main"));
    snprintf(sql, sizeof(sql), "PRAGMA cache_size=-%d", LIMIT_LOG_CACHE_KIB);
    if (rc == 0)
        rc = sq_exec(s->db, sql, err);
    /* No spill: a transaction's frames are written by its commit and synced right behind, which is
     * what wal_scan relies on. */
    if (rc == 0)
        rc = sq_exec(s->db,
                     "PRAGMA synchronous=FULL; PRAGMA cache_spill=OFF; PRAGMA temp_store=MEMORY; "
                     "PRAGMA journal_size_limit=67108864",
                     err);
    return rc;
}

static int truncate_wal(struct log_store *s, struct err *err)
{
    int frames, moved;
    return sq_checkpoint(s->db, SQLITE_CHECKPOINT_TRUNCATE, &frames, &moved, err);
}

static int structure_check(struct log_store *s, struct err *err)
{
    char result[256];
    int rc = sq_text(s->db, "PRAGMA quick_check(1)", result, sizeof(result), err);
    if (rc == 0 && strcmp(result, "ok") != 0)
        rc = err_set(err, ERR_CORRUPT, "%s: %s", sqlite3_db_filename(s->db, "main"), result);
    return rc;
}

static int prepare_statements(struct log_store *s, struct err *err)
{
    const struct {
        sqlite3_stmt **st;
        const char *sql;
    } all[] = {
        {&s->insert, "INSERT INTO log(idx, term, kind, crc, data) VALUES(?1, ?2, ?3, ?4, ?5)"},
        {&s->truncate, "DELETE FROM log WHERE idx>=?1"},
        {&s->cut, "DELETE FROM log WHERE idx<=?1"},
        {&s->first, "SELECT min(idx) FROM log"},
        {&s->term_at, "SELECT term FROM log WHERE idx=?1"},
        {&s->range, "SELECT idx, term, kind, crc, data FROM log WHERE idx BETWEEN ?1 AND ?2 "
                    "ORDER BY idx"},
    };
    int rc = sq_meta_open(&s->meta, s->db, err);
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]) && rc == 0; i++)
        rc = sq_prepare(s->db, all[i].sql, all[i].st, err);
    return rc;
}

static int open_database(struct log_store *s, const char *name, bool *created, struct err *err)
{
    char *path = data_dir_join(s->dir, "raft.db"), *wal = data_dir_join(s->dir, "raft.db-wal");
    bool empty = false;
    struct wal_scan scan;
    int rc = sq_format_probe(path, &log_format, &empty, err);
    if (rc == 0 && empty && !name)
        rc = err_set(err, ERR_CORRUPT, "%s: missing or empty", path);
    if (rc == 0 && empty)
        rc = refuse_missing(s, err);
    if (rc == 0)
        rc = wal_scan(wal, LOG_PAGE_BYTES, &scan, err);
    if (rc == 0)
        rc = sq_open(path, SQ_CREATE, &s->db, err);
    /* Before the first access: then the index of the WAL is in our memory, not in a file. */
    if (rc == 0)
        rc = sq_exec(s->db, "PRAGMA locking_mode=EXCLUSIVE", err);
    if (rc == 0)
        rc = sq_format_check(s->db, &log_format, &empty, err);
    if (rc == 0 && empty && !name)
        rc = err_set(err, ERR_CORRUPT, "%s: an empty database", path);
    if (rc == 0 && empty)
        rc = refuse_orphans(s, err); /* made, but never filled */
    if (rc == 0)
        rc = configure(s, err);
    if (rc == 0 && empty)
        rc = create(s, name, err);
    /* What the WAL holds may be in the page cache only, behind a failed sync of the process before:
     * this writes it anew and syncs it. */
    if (rc == 0)
        rc = truncate_wal(s, err);
    if (rc == 0)
        rc = data_dir_sync(s->dir, err);
    if (rc == 0)
        rc = structure_check(s, err);
    if (rc == 0)
        rc = prepare_statements(s, err);
    *created = empty;
    mem_free(path);
    mem_free(wal);
    return rc;
}

/* ---- reading what is there ---- */

static int meta_read(struct log_store *s, const char *name, struct log_store_state *state,
                     struct err *err)
{
    struct slice bytes = {0};
    uint64_t membership_index = 0;
    int rc = sq_meta_u64(&s->meta, "member_id", &state->member_id, err);
    if (rc == 0)
        rc = sq_meta_digest(&s->meta, "cluster_id", &state->cluster_id, err);
    if (rc == 0)
        rc = sq_meta_u64(&s->meta, "term", &state->term, err);
    if (rc == 0)
        rc = sq_meta_u64(&s->meta, "vote", &state->vote, err);
    if (rc == 0)
        rc = sq_meta_u64(&s->meta, "removed", &state->removed, err);
    if (rc == 0)
        rc = sq_meta_u64(&s->meta, "kv_generation", &state->kv_generation, err);
    if (rc == 0)
        rc = sq_meta_u64(&s->meta, "snapshot_index", &state->snapshot_index, err);
    if (rc == 0)
        rc = sq_meta_u64(&s->meta, "snapshot_term", &state->snapshot_term, err);
    if (rc == 0)
        rc = sq_meta_u64(&s->meta, "snapshot_membership_index", &membership_index, err);
    if (rc == 0)
        rc = sq_meta_bytes(&s->meta, "snapshot_membership", &bytes, err);
    if (rc == 0)
        rc = membership_decode(bytes, membership_index, &state->snapshot_membership, err);
    if (rc == 0)
        rc = sq_meta_bytes(&s->meta, "name", &bytes, err);
    if (rc == 0 && name && slice_compare(bytes, slice_str(name)) != 0)
        rc = err_set(err, ERR_CORRUPT, "%s: this is the data directory of node '%.*s', not '%s'",
                     s->dir->path, (int)bytes.len, (const char *)bytes.data, name);
    sqlite3_reset(s->meta.get);
    state->has_cluster = !digest_equal(state->cluster_id, (struct digest){0});
    return rc;
}

static void run_add(struct log_store *s, struct log_store_state *state, raft_index index,
                    raft_term term)
{
    uint32_t n = state->run_count;
    if (n && s->runs[n - 1].term == term)
        return;
    if ((n & (n - 1)) == 0) /* 0, 1, 2, 4, …: full */
        s->runs = mem_realloc(s->runs, sizeof(s->runs[0]) * (n ? n * 2 : 1));
    s->runs[n] = (struct raft_run){.first = index, .term = term};
    state->run_count++;
}

static int membership_add(struct log_store *s, struct log_store_state *state, const struct entry *e,
                          struct err *err)
{
    uint32_t n = state->membership_count;
    if ((n & (n - 1)) == 0)
        s->memberships = mem_realloc(s->memberships, sizeof(s->memberships[0]) * (n ? n * 2 : 1));
    state->membership_count++;
    return membership_decode(slice_of(e->data, e->size), e->index, &s->memberships[n], err);
}

static int row_check(struct log_store *s, struct log_store_state *state, struct err *err)
{
    raft_index index = sq_column_u64(s->range, 0);
    raft_term term = sq_column_u64(s->range, 1);
    struct slice data = sq_column_bytes(s->range, 4);
    if (index != state->last_index + 1)
        return err_set(err, ERR_CORRUPT, "row %" PRIu64 " of the log is missing",
                       state->last_index + 1);
    raft_term before = state->run_count ? s->runs[state->run_count - 1].term : state->snapshot_term;
    struct entry *e =
        entry_restore((enum raft_entry_kind)sqlite3_column_int(s->range, 2), index, term,
                      (uint32_t)sq_column_u64(s->range, 3), data.data, data.len, err);
    if (!e)
        return ERR_CORRUPT;
    int rc = 0;
    if (term < before || term > state->term)
        rc = err_set(err, ERR_CORRUPT,
                     "row %" PRIu64 " of the log has term %" PRIu64 ", expected %" PRIu64
                     " to %" PRIu64,
                     index, term, before, state->term);
    if (rc == 0 && e->kind == RAFT_CONFIGURATION)
        rc = membership_add(s, state, e, err);
    entry_unref(e);
    state->last_index = index;
    run_add(s, state, index, term);
    return rc;
}

static int log_check(struct log_store *s, struct log_store_state *state, struct err *err)
{
    state->last_index = state->snapshot_index;
    sq_bind_u64(s->range, 1, state->snapshot_index + 1);
    sq_bind_u64(s->range, 2, INT64_MAX);
    int rc;
    while ((rc = sq_row(s->range, err)) == 0) {
        rc = row_check(s, state, err);
        if (rc) {
            err_prefix(err, "%s", sqlite3_db_filename(s->db, "main"));
            break;
        }
    }
    sqlite3_reset(s->range);
    return rc == ERR_NOT_FOUND ? 0 : rc;
}

static int garbage_look(struct log_store *s, struct err *err)
{
    int64_t garbage = 0;
    char sql[96];
    snprintf(sql, sizeof(sql), "SELECT max(idx) FROM log WHERE idx<=%" PRIu64, s->base);
    int rc = sq_integer(s->db, sql, &garbage, err); /* NULL, so 0, if there is none */
    s->garbage = (raft_index)garbage;
    return rc;
}

int log_store_start(struct log_store *s, const char *name, struct log_store_state *state,
                    struct err *err)
{
    memset(state, 0, sizeof(*state));
    int rc = open_database(s, name, &state->created, err);
    if (rc == 0)
        rc = meta_read(s, name, state, err);
    if (rc == 0)
        rc = log_check(s, state, err);
    if (rc)
        return rc;
    s->term = state->term;
    s->vote = state->vote;
    s->removed = state->removed;
    s->base = state->snapshot_index;
    s->last = state->last_index;
    s->kv_generation = state->kv_generation;
    state->runs = s->runs;
    state->memberships = s->memberships;
    return garbage_look(s, err);
}
