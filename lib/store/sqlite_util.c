/* SQLite connections and statements with our error codes. */
#include "lib/store/sqlite_util.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/mem.h"
#include "lib/store/fault_internal.h"
#include "lib/store/page_sum.h"
#include "lib/store/private.h"
#include "lib/store/write_pace.h"

static void start_once(void)
{
    /* No accounting: it is one mutex around every allocation of every thread. */
    int rc = sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
    ASSERT(rc == SQLITE_OK || rc == SQLITE_MISUSE); /* MISUSE: somebody initialised it before us */
    write_pace_install();
    if (fault_vfs_on())
        ASSERT(fault_vfs_register(NULL) == 0);
    rc = sqlite3_initialize();
    ASSERT(rc == SQLITE_OK);
    page_sum_register(store_vfs_shared());
}

int sq_fail(sqlite3 *db, int rc, struct err *err)
{
    int code;
    switch (rc & 0xff) {
    case SQLITE_NOMEM: check_failed("out of memory", __FILE__, __LINE__);
    case SQLITE_MISUSE: check_failed("misuse of SQLite", __FILE__, __LINE__);
    case SQLITE_FULL: code = ERR_DISK_FULL; break;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB: code = ERR_CORRUPT; break;
    case SQLITE_BUSY:
    case SQLITE_LOCKED: code = ERR_LOCKED; break;
    default: code = ERR_IO; break;
    }
    const char *path = db ? sqlite3_db_filename(db, "main") : NULL;
    if (rc == SQLITE_IOERR_DATA)
        return err_set(err, ERR_CORRUPT, "%s: page %" PRIu64 " is damaged: " PAGE_SUM_WRONG,
                       path ? path : "database", page_sum_wrong_page());
    const char *text = db && sqlite3_errcode(db) != SQLITE_OK ? sqlite3_errmsg(db) : NULL;
    int errnum = db ? sqlite3_system_errno(db) : 0;
    if ((rc & 0xff) == SQLITE_IOERR && errnum)
        return err_errno(err, code, errnum, "%s: %s (%d)", path ? path : "database",
                         sqlite3_errstr(rc), rc);
    return err_set(err, code, "%s: %s (%d)", path ? path : "database",
                   text ? text : sqlite3_errstr(rc), rc);
}

static int open_with(const char *name, const char *path, int flags, const char *vfs, sqlite3 **db,
                     struct err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, start_once);
    *db = NULL;
    int rc = sqlite3_open_v2(name, db, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, vfs);
    if (rc == SQLITE_OK)
        rc = sqlite3_db_config(*db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_db_config(*db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_db_config(*db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_wal_autocheckpoint(*db, 0);
    if (rc == SQLITE_OK)
        return 0;
    int code = sq_fail(*db, rc, err);
    if (code == ERR_IO)
        code = err_set(err, code, "%s: cannot open: %s", path, sqlite3_errstr(rc));
    sq_close(*db);
    *db = NULL;
    return code;
}

enum { OURS = SQ_SHARED | SQ_SUMS };

static const char *vfs_of(int flags)
{
    if (flags & SQ_SUMS)
        return page_sum_vfs(flags & SQ_SHARED);
    return flags & SQ_SHARED ? store_vfs_shared() : NULL;
}

/* Room for the checksums, in a file that is empty yet: later it says itself what it has. */
static void reserve(sqlite3 *db)
{
    int bytes = PAGE_SUM_BYTES;
    int rc = sqlite3_file_control(db, "main", SQLITE_FCNTL_RESERVE_BYTES, &bytes);
    ASSERT(rc == SQLITE_OK);
}

int sq_open(const char *path, int flags, sqlite3 **db, struct err *err)
{
    int rc = open_with(path, path, flags & ~OURS, vfs_of(flags), db, err);
    if (rc == 0 && (flags & SQ_SUMS) && (flags & SQLITE_OPEN_READWRITE))
        reserve(*db);
    /* SQLite is content with reading a file that may not be written. */
    if (rc == 0 && !(flags & SQLITE_OPEN_READONLY) && sqlite3_db_readonly(*db, "main")) {
        rc = err_set(err, ERR_IO, "%s: cannot be written", path);
        sq_close(*db);
        *db = NULL;
    }
    return rc;
}

int sq_open_immutable(const char *path, sqlite3 **db, struct err *err)
{
    /* In a URI, the characters %, ? and # of a path have to be escaped. */
    size_t len = strlen(path), at = 0;
    char *uri = mem_alloc(len * 3 + 32);
    at += (size_t)sprintf(uri, "file:");
    for (size_t i = 0; i < len; i++) {
        if (strchr("%?#", path[i]))
            at += (size_t)sprintf(uri + at, "%%%02x", (unsigned)(unsigned char)path[i]);
        else
            uri[at++] = path[i];
    }
    snprintf(uri + at, len * 3 + 32 - at, "?immutable=1");
    int rc =
        open_with(uri, path, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, page_sum_vfs(false), db, err);
    mem_free(uri);
    return rc;
}

void sq_close(sqlite3 *db)
{
    int rc = sqlite3_close(db);
    ASSERT(rc != SQLITE_BUSY); /* a statement was forgotten */
}

int sq_exec(sqlite3 *db, const char *sql, struct err *err)
{
    int rc = sqlite3_exec(db, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK ? 0 : sq_fail(db, rc, err);
}

int sq_prepare(sqlite3 *db, const char *sql, sqlite3_stmt **out, struct err *err)
{
    int rc = sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, out, NULL);
    return rc == SQLITE_OK ? 0 : sq_fail(db, rc, err);
}

int sq_row(sqlite3_stmt *st, struct err *err)
{
    int rc = sqlite3_step(st);
    if (rc == SQLITE_ROW)
        return 0;
    int code = rc == SQLITE_DONE ? ERR_NOT_FOUND : sq_fail(sqlite3_db_handle(st), rc, err);
    sqlite3_reset(st);
    return code;
}

int sq_done(sqlite3_stmt *st, struct err *err)
{
    int rc = sqlite3_step(st);
    int code = rc == SQLITE_DONE ? 0 : sq_fail(sqlite3_db_handle(st), rc, err);
    sqlite3_reset(st);
    return code;
}

/* To its end, behind the first row: what a PRAGMA changes is committed there, and may fail. */
static int finish(sqlite3_stmt *st, struct err *err)
{
    int rc = sqlite3_step(st);
    return rc == SQLITE_DONE || rc == SQLITE_ROW ? 0 : sq_fail(sqlite3_db_handle(st), rc, err);
}

int sq_integer(sqlite3 *db, const char *sql, int64_t *out, struct err *err)
{
    sqlite3_stmt *st;
    int rc = sq_prepare(db, sql, &st, err);
    if (rc)
        return rc;
    rc = sq_row(st, err);
    if (rc == 0) {
        *out = sqlite3_column_int64(st, 0);
        rc = finish(st, err);
    } else if (rc == ERR_NOT_FOUND) {
        err_set(err, rc, "%s: no row", sql);
    }
    sqlite3_finalize(st);
    return rc;
}

int sq_text(sqlite3 *db, const char *sql, char *out, size_t out_bytes, struct err *err)
{
    sqlite3_stmt *st;
    int rc = sq_prepare(db, sql, &st, err);
    if (rc)
        return rc;
    rc = sq_row(st, err);
    if (rc == 0) {
        const char *text = (const char *)sqlite3_column_text(st, 0);
        snprintf(out, out_bytes, "%s", text ? text : "");
        rc = finish(st, err);
    } else if (rc == ERR_NOT_FOUND) {
        err_set(err, rc, "%s: no row", sql);
    }
    sqlite3_finalize(st);
    return rc;
}

void sq_rollback(sqlite3 *db)
{
    if (!sqlite3_get_autocommit(db))
        sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    /* A ROLLBACK fails only when there is nothing to roll back. */
    ASSERT(sqlite3_get_autocommit(db));
}

int sq_checkpoint(sqlite3 *db, int mode, int *frames, int *moved, struct err *err)
{
    ASSERT(sqlite3_get_autocommit(db)); /* inside a transaction it would fail */
    *frames = *moved = -1;
    int rc = sqlite3_wal_checkpoint_v2(db, "main", mode, frames, moved);
    /* Somebody is in the way: not an error, less is moved. Of nothing, if another connection is at
     * it: then it says neither number. */
    if (rc == SQLITE_BUSY && mode == SQLITE_CHECKPOINT_PASSIVE) {
        rc = SQLITE_OK;
        if (*frames < 0)
            *frames = *moved + 1;
    }
    if (rc != SQLITE_OK)
        return sq_fail(db, rc, err);
    return 0;
}

void sq_bind_u64(sqlite3_stmt *st, int column, uint64_t v)
{
    int rc = sqlite3_bind_int64(st, column, (sqlite3_int64)v);
    ASSERT(rc == SQLITE_OK);
}

void sq_bind_bytes(sqlite3_stmt *st, int column, struct slice bytes)
{
    /* A null pointer would be NULL instead of an empty blob. */
    int rc = sqlite3_bind_blob64(st, column, bytes.len ? (const void *)bytes.data : "", bytes.len,
                                 SQLITE_STATIC);
    ASSERT(rc == SQLITE_OK);
}

uint64_t sq_column_u64(sqlite3_stmt *st, int column)
{
    return (uint64_t)sqlite3_column_int64(st, column);
}

struct slice sq_column_bytes(sqlite3_stmt *st, int column)
{
    const void *data = sqlite3_column_blob(st, column);
    return slice_of(data, data ? (size_t)sqlite3_column_bytes(st, column) : 0);
}
