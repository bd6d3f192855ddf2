/* The files of the state: which are there, what is in their table meta, the digest of a row. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/check.h"
#include "lib/base/mem.h"
#include "lib/store/kv_file_internal.h"

/* `value` last, so that reading a row without it does not go through its overflow pages. */
const struct sq_format kv_format = {
    .application_id = 0x524b564b, /* "RKVK" */
    .version = 2,                 /* 1 had no checksums in its pages */
    .schema =
        "CREATE TABLE kv(key BLOB PRIMARY KEY NOT NULL, version INTEGER NOT NULL, "
        "timestamp INTEGER NOT NULL, value BLOB NOT NULL) WITHOUT ROWID;\n" SQ_META_SCHEMA ";\n"
        "CREATE TABLE sessions(client TEXT PRIMARY KEY NOT NULL, seq INTEGER NOT NULL, "
        "fingerprint INTEGER NOT NULL, status INTEGER NOT NULL, existed INTEGER NOT NULL, "
        "batch_existed BLOB NOT NULL, version INTEGER NOT NULL, timestamp INTEGER NOT NULL, "
        "used_ms INTEGER NOT NULL, "
        "used_index INTEGER NOT NULL, crc INTEGER NOT NULL) WITHOUT ROWID;\n",
};

static void put64(uint8_t *out, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        out[i] = (uint8_t)(v >> (8 * i));
}

struct digest kv_row_digest(const struct row *row)
{
    /* Key and value apart, so that no byte can move from the one to the other unseen. */
    struct digest key = digest_bytes(row->key.data, row->key.len, 0);
    struct digest value = digest_bytes(row->value.data, row->value.len, 1);
    uint8_t all[48];
    put64(all, key.hi);
    put64(all + 8, key.lo);
    put64(all + 16, value.hi);
    put64(all + 24, value.lo);
    put64(all + 32, row->version);
    put64(all + 40, row->timestamp_ms);
    return digest_bytes(all, sizeof(all), 2);
}

/* Without the zeros at its end, so that it takes no room but behind a batch that deleted. */
struct slice kv_session_batch(const struct session *s)
{
    size_t len = sizeof(s->batch_existed);
    while (len > 0 && s->batch_existed[len - 1] == 0)
        len--;
    return slice_of(s->batch_existed, len);
}

uint32_t kv_session_crc(const struct session *s)
{
    uint8_t all[64];
    put64(all, s->seq);
    put64(all + 8, s->fingerprint);
    put64(all + 16, (uint64_t)s->status);
    put64(all + 24, s->existed);
    put64(all + 32, s->version);
    put64(all + 40, s->timestamp_ms);
    put64(all + 48, s->used_ms);
    put64(all + 56, s->used_index);
    uint32_t crc = crc32c(crc32c(0, s->client, strlen(s->client) + 1), all, sizeof(all));
    struct slice batch = kv_session_batch(s);
    return batch.len > 0 ? crc32c(crc, batch.data, batch.len) : crc;
}

int kv_session_read(sqlite3_stmt *st, struct session *s, struct err *err)
{
    const char *path = sqlite3_db_filename(sqlite3_db_handle(st), "main");
    struct slice client = sq_column_bytes(st, 0);
    if (client.len < 1 || client.len > COMMAND_CLIENT_BYTES)
        return err_set(err, ERR_CORRUPT, "%s: a session with a name of %zu bytes", path,
                       client.len);
    struct slice batch = sq_column_bytes(st, 5);
    if (batch.len > sizeof(s->batch_existed))
        return err_set(err, ERR_CORRUPT, "%s: a session whose batch had more than %d writes", path,
                       LIMIT_BATCH_WRITES);
    *s = (struct session){
        .seq = sq_column_u64(st, 1),
        .fingerprint = sq_column_u64(st, 2),
        .status = (int32_t)sqlite3_column_int(st, 3),
        .existed = sqlite3_column_int(st, 4),
        .version = sq_column_u64(st, 6),
        .timestamp_ms = sq_column_u64(st, 7),
        .used_ms = sq_column_u64(st, 8),
        .used_index = sq_column_u64(st, 9),
    };
    memcpy(s->client, client.data, client.len);
    if (batch.len > 0)
        memcpy(s->batch_existed, batch.data, batch.len);
    if (kv_session_crc(s) != sq_column_u64(st, 10))
        return err_set(err, ERR_CORRUPT, "%s: the session of client '%s' is damaged: wrong CRC",
                       path, s->client);
    return 0;
}

int kv_sessions_read(sqlite3 *db, struct session **out, size_t *out_count, struct err *err)
{
    sqlite3_stmt *st = NULL;
    struct session *sessions = NULL;
    size_t count = 0, room = 0;
    int rc = sq_prepare(db, KV_SESSIONS_SELECT, &st, err);
    while (rc == 0 && (rc = sq_row(st, err)) == 0) {
        if (count == room)
            sessions = mem_realloc(sessions, sizeof(*sessions) * (room = room ? room * 2 : 64));
        rc = kv_session_read(st, &sessions[count++], err);
    }
    sqlite3_finalize(st);
    if (rc != ERR_NOT_FOUND) {
        mem_free(sessions);
        return rc;
    }
    *out = sessions;
    *out_count = count;
    return 0;
}

void kv_file_name(uint64_t generation, char out[KV_NAME_BYTES])
{
    snprintf(out, KV_NAME_BYTES, "kv.%" PRIu64 ".db", generation);
}

int kv_cache_set(sqlite3 *db, int kib, struct err *err)
{
    char sql[96];
    snprintf(sql, sizeof(sql), "PRAGMA cache_size=-%d; PRAGMA temp_store=MEMORY", kib);
    return sq_exec(db, sql, err);
}

int kv_file_check(sqlite3 *db, struct err *err)
{
    bool empty;
    int rc = sq_format_check(db, &kv_format, &empty, err);
    if (rc == 0 && empty)
        rc = err_set(err, ERR_CORRUPT, "%s: an empty database", sqlite3_db_filename(db, "main"));
    return rc;
}

int kv_head_read(struct sq_meta *meta, struct kv_head *out, struct err *err)
{
    struct slice encoded = {0};
    uint64_t membership_index = 0;
    int rc = sq_meta_u64(meta, "applied_index", &out->applied, err);
    if (rc == 0)
        rc = sq_meta_u64(meta, "applied_term", &out->applied_term, err);
    if (rc == 0)
        rc = sq_meta_u64(meta, "cluster_time_ms", &out->cluster_time_ms, err);
    if (rc == 0)
        rc = sq_meta_digest(meta, "cluster_id", &out->cluster_id, err);
    if (rc == 0)
        rc = sq_meta_digest(meta, "digest", &out->digest, err);
    if (rc == 0)
        rc = sq_meta_u64(meta, "keys", &out->keys, err);
    if (rc == 0)
        rc = sq_meta_u64(meta, "membership_index", &membership_index, err);
    if (rc == 0)
        rc = sq_meta_bytes(meta, "membership", &encoded, err);
    if (rc == 0)
        rc = membership_decode(encoded, membership_index, &out->membership, err);
    sqlite3_reset(meta->get);
    return rc;
}

/* ---- preparing the directory ---- */

struct prepare {
    struct data_dir *dir;
    uint64_t generation;
    bool exists; /* the file of `generation` */
    struct err *err;
};

static bool starts_with(const char *name, const char *prefix)
{
    return strncmp(name, prefix, strlen(prefix)) == 0;
}

static int delete_other(void *argument, const char *name)
{
    const struct prepare *p = argument;
    uint64_t generation;
    const char *suffix;
    bool other;
    if (kv_file_parse(name, &generation, &suffix))
        other = generation != p->generation || !p->exists;
    else
        other = starts_with(name, "snapshot.") || starts_with(name, "incoming.") ||
                starts_with(name, "kv.new");
    return other ? data_dir_unlink(p->dir, name, p->err) : 0;
}

static int fill_new(sqlite3 *db, struct err *err)
{
    struct sq_meta meta = {0};
    struct buf encoded;
    buf_init(&encoded, LIMIT_MEMBERSHIP_BYTES);
    membership_encode(&(struct membership){0}, &encoded);
    int rc = sq_exec(db, "PRAGMA page_size=4096; PRAGMA synchronous=FULL; BEGIN IMMEDIATE", err);
    if (rc == 0)
        rc = sq_format_create(db, &kv_format, err);
    if (rc == 0)
        rc = sq_meta_open(&meta, db, err);
    static const char *const integers[] = {"applied_index", "applied_term", "cluster_time_ms",
                                           "keys", "membership_index"};
    for (size_t i = 0; i < sizeof(integers) / sizeof(integers[0]) && rc == 0; i++)
        rc = sq_meta_set_u64(&meta, integers[i], 0, err);
    if (rc == 0)
        rc = sq_meta_set_digest(&meta, "cluster_id", (struct digest){0}, err);
    if (rc == 0)
        rc = sq_meta_set_digest(&meta, "digest", (struct digest){0}, err);
    if (rc == 0)
        rc = sq_meta_set_bytes(&meta, "membership", slice_of(encoded.data, encoded.len), err);
    if (rc == 0)
        rc = sq_exec(db, "COMMIT", err);
    if (rc)
        sq_rollback(db);
    sq_meta_close(&meta);
    buf_release(&encoded);
    return rc;
}

/* Under another name first: a file of the right name is always a whole one. */
static int create(struct data_dir *dir, const char *name, struct err *err)
{
    char *path = data_dir_join(dir, "kv.new");
    sqlite3 *db = NULL;
    int rc = sq_open(path, SQ_CREATE | SQ_SUMS, &db, err);
    if (rc == 0)
        rc = fill_new(db, err);
    sq_close(db);
    mem_free(path);
    if (rc == 0)
        rc = data_dir_rename(dir, "kv.new", name, err);
    return rc;
}

int kv_store_prepare(struct data_dir *dir, uint64_t generation, bool may_create, struct err *err)
{
    ASSERT(generation > 0);
    struct prepare p = {.dir = dir, .generation = generation, .err = err};
    char name[KV_NAME_BYTES];
    kv_file_name(generation, name);
    p.exists = faccessat(dir->fd, name, F_OK, 0) == 0;
    if (!p.exists && !may_create)
        return err_set(err, ERR_CORRUPT, "%s/%s: the file of the state is missing", dir->path,
                       name);
    int rc = data_dir_each(dir, delete_other, &p, err);
    if (rc == 0 && !p.exists)
        rc = create(dir, name, err);
    if (rc == 0)
        rc = data_dir_sync(dir, err);
    return rc;
}
