/*
 * The rows underneath the state machine: a read-only connection with one read transaction that is
 * kept from statement to statement.
 *
 * A transaction holds a position in the WAL, and the WAL can begin anew only when no reader has
 * one. So it is given up and begun anew at the first read behind a flush or a complete checkpoint,
 * which the writer counts in the data directory's kv_epoch; and kv_reader_refresh gives it up for a
 * state machine that does not read.
 */
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/mem.h"
#include "lib/store/kv_file_internal.h"

enum { FORWARD, REVERSE, REVERSE_FROM_END, DIRECTIONS };

struct kv_reader {
    struct data_dir *dir;
    sqlite3 *db;
    sqlite3_stmt *begin, *commit;
    sqlite3_stmt *get[2]; /* without, with value */
    sqlite3_stmt *seek[DIRECTIONS][2];
    sqlite3_stmt *open; /* the get or seek whose row was given out last; NULL: none */
    bool cursor;        /* … is a seek with rows to come */
    bool with_value;
    bool in_transaction;
    uint64_t epoch; /* when it began */
};

static int prepare_statements(struct kv_reader *r, struct err *err)
{
    const struct {
        sqlite3_stmt **st;
        const char *sql;
    } all[] = {
        {&r->begin, "BEGIN"},
        {&r->commit, "COMMIT"},
        {&r->get[0], "SELECT key, version, timestamp FROM kv WHERE key=?1"},
        {&r->get[1], "SELECT key, version, timestamp, value FROM kv WHERE key=?1"},
#define SEEK(direction, rest)                                                                      \
    {&r->seek[direction][0], "SELECT key, version, timestamp FROM kv " rest},                      \
        {&r->seek[direction][1], "SELECT key, version, timestamp, value FROM kv " rest}
        SEEK(FORWARD, "WHERE key>=?1 ORDER BY key"),
        SEEK(REVERSE, "WHERE key<?1 ORDER BY key DESC"),
        SEEK(REVERSE_FROM_END, "ORDER BY key DESC"),
#undef SEEK
    };
    int rc = 0;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]) && rc == 0; i++)
        rc = sq_prepare(r->db, all[i].sql, all[i].st, err);
    return rc;
}

int kv_reader_open(struct data_dir *dir, uint64_t generation, struct kv_reader **out,
                   struct err *err)
{
    struct kv_reader *r = mem_zalloc(sizeof(*r));
    char name[KV_NAME_BYTES];
    kv_file_name(generation, name);
    char *path = data_dir_join(dir, name);
    r->dir = dir;
    int rc = sq_open(path, SQ_READ | SQ_SHARED | SQ_SUMS, &r->db, err);
    if (rc == 0)
        rc = kv_file_check(r->db, err);
    if (rc == 0)
        rc = kv_cache_set(r->db, LIMIT_READER_CACHE_KIB, err);
    if (rc == 0)
        rc = prepare_statements(r, err);
    mem_free(path);
    if (rc) {
        kv_reader_close(r);
        return rc;
    }
    *out = r;
    return 0;
}

/* The row that was given out is not valid any more. */
static void close_row(struct kv_reader *r)
{
    if (r->open)
        sqlite3_reset(r->open);
    r->open = NULL;
    r->cursor = false;
}

void kv_reader_close(struct kv_reader *r)
{
    if (!r)
        return;
    kv_reader_refresh(r);
    sqlite3_finalize(r->begin);
    sqlite3_finalize(r->commit);
    for (int v = 0; v < 2; v++) {
        sqlite3_finalize(r->get[v]);
        for (int d = 0; d < DIRECTIONS; d++)
            sqlite3_finalize(r->seek[d][v]);
    }
    sq_close(r->db);
    mem_free(r);
}

void kv_reader_refresh(struct kv_reader *r)
{
    close_row(r);
    if (r->in_transaction && !sqlite3_get_autocommit(r->db)) {
        sqlite3_step(r->commit);
        sqlite3_reset(r->commit);
        sq_rollback(r->db); /* if that failed */
    }
    r->in_transaction = false;
}

/* Before a new read: the transaction of the current epoch. */
static int renew(struct kv_reader *r, struct err *err)
{
    close_row(r);
    uint64_t epoch = atomic_load_explicit(&r->dir->kv_epoch, memory_order_acquire);
    if (r->in_transaction && r->epoch == epoch)
        return 0;
    kv_reader_refresh(r);
    int rc = sq_done(r->begin, err);
    r->in_transaction = rc == 0;
    r->epoch = epoch;
    return rc;
}

static int step(struct kv_reader *r, sqlite3_stmt *st, struct row *row, struct err *err)
{
    int rc = sq_row(st, err);
    if (rc) {
        r->open = NULL;
        r->cursor = false;
        if (rc != ERR_NOT_FOUND)
            kv_reader_refresh(r); /* behind an error, begin anew */
        return rc;
    }
    r->open = st;
    *row = (struct row){.key = sq_column_bytes(st, 0),
                        .version = sq_column_u64(st, 1),
                        .timestamp_ms = sq_column_u64(st, 2)};
    if (r->with_value)
        row->value = sq_column_bytes(st, 3);
    return 0;
}

static int reader_get(void *self, struct slice key, bool with_value, struct row *row,
                      struct err *err)
{
    struct kv_reader *r = self;
    int rc = renew(r, err);
    if (rc)
        return rc;
    r->with_value = with_value;
    sq_bind_bytes(r->get[with_value], 1, key);
    return step(r, r->get[with_value], row, err);
}

static int reader_seek(void *self, struct slice from, bool reverse, bool with_value,
                       struct err *err)
{
    struct kv_reader *r = self;
    int rc = renew(r, err);
    if (rc)
        return rc;
    int direction = !reverse ? FORWARD : from.len ? REVERSE : REVERSE_FROM_END;
    sqlite3_stmt *st = r->seek[direction][with_value];
    if (direction != REVERSE_FROM_END) {
        /* Copied: the cursor outlives this call. */
        rc = sqlite3_bind_blob64(st, 1, from.len ? (const void *)from.data : "", from.len,
                                 SQLITE_TRANSIENT);
        ASSERT(rc == SQLITE_OK);
    }
    r->with_value = with_value;
    r->open = st;
    r->cursor = true;
    return 0;
}

static int reader_next(void *self, struct row *row, struct err *err)
{
    struct kv_reader *r = self;
    if (!r->cursor)
        return ERR_NOT_FOUND; /* at the end, or no seek before */
    return step(r, r->open, row, err);
}

void kv_reader_base(struct kv_reader *r, struct state_base *base)
{
    *base =
        (struct state_base){.self = r, .get = reader_get, .seek = reader_seek, .next = reader_next};
}
