/*
 * SQLite with our error codes: SQLITE_FULL is ERR_DISK_FULL, CORRUPT and NOTADB are ERR_CORRUPT,
 * BUSY (somebody else has the file) is ERR_LOCKED, out of memory aborts, all the rest is ERR_IO.
 * The text begins with the file's path.
 */
#ifndef RAFTKV_STORE_SQLITE_UTIL_H
#define RAFTKV_STORE_SQLITE_UTIL_H

#include <sqlite3.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/err.h"
#include "lib/base/hash.h"

enum {
    SQ_READ = SQLITE_OPEN_READONLY,
    SQ_WRITE = SQLITE_OPEN_READWRITE,
    SQ_CREATE = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
    SQ_SHARED = 1 << 30, /* several connections of this process: the unix-excl VFS */
    SQ_SUMS = 1 << 29,   /* a file of the state, whose pages bear checksums (page_sum.h) */
};

/* One connection for one thread at a time. It never checkpoints by itself: not after a commit, not
 * when closed. */
int sq_open(const char *path, int flags, sqlite3 **db, struct err *err);
/* A read-only look at a file of the state that nobody writes; makes neither -wal nor -shm beside
 * it. */
int sq_open_immutable(const char *path, sqlite3 **db, struct err *err);
void sq_close(sqlite3 *db); /* its statements finalised before; NULL is fine */

/* The error that the connection has just given; returns its code. */
int sq_fail(sqlite3 *db, int rc, struct err *err);
int sq_exec(sqlite3 *db, const char *sql, struct err *err);
int sq_prepare(sqlite3 *db, const char *sql, sqlite3_stmt **out, struct err *err);
/* 0: a row is there; ERR_NOT_FOUND: done, the statement is reset and nothing is written to err;
 * else an error, and reset. */
int sq_row(sqlite3_stmt *st, struct err *err);
/* Runs a statement that gives no rows, and resets it. */
int sq_done(sqlite3_stmt *st, struct err *err);
/* First column of the first row. ERR_NOT_FOUND (with text) if there is none. */
int sq_integer(sqlite3 *db, const char *sql, int64_t *out, struct err *err);
int sq_text(sqlite3 *db, const char *sql, char *out, size_t out_bytes, struct err *err);
/* Ends a transaction, if the error did not end it already. */
void sq_rollback(sqlite3 *db);
/* SQLITE_CHECKPOINT_…; frames in the WAL, and how many of them are in the file. */
int sq_checkpoint(sqlite3 *db, int mode, int *frames, int *moved, struct err *err);

void sq_bind_u64(sqlite3_stmt *st, int column, uint64_t v);
void sq_bind_bytes(sqlite3_stmt *st, int column, struct slice bytes); /* borrowed until reset */
uint64_t sq_column_u64(sqlite3_stmt *st, int column);
struct slice sq_column_bytes(sqlite3_stmt *st, int column); /* until the next step or reset */

/*
 * What both kinds of file have in common: an application id, a format number, a schema that is
 * compared word by word, and a table `meta(name, value, crc)` whose rows bear a CRC32C of name and
 * value.
 */
struct sq_format {
    uint32_t application_id;
    uint32_t version;
    const char *schema; /* statements, in order of name, each ended by ";\n" */
};

#define SQ_META_SCHEMA                                                                             \
    "CREATE TABLE meta(name TEXT PRIMARY KEY NOT NULL, value, crc INTEGER NOT NULL) "              \
    "WITHOUT ROWID"

/* Looks at the first 100 bytes without SQLite, so that nothing is made beside a stranger's file.
 * `*empty`: there is no file, or nothing in it. */
int sq_format_probe(const char *path, const struct sq_format *format, bool *empty, struct err *err);
/* `*empty`: a database without anything, to be created. Otherwise ERR_CORRUPT unless it is ours. */
int sq_format_check(sqlite3 *db, const struct sq_format *format, bool *empty, struct err *err);
/* Inside the transaction that fills the file for the first time. */
int sq_format_create(sqlite3 *db, const struct sq_format *format, struct err *err);

struct sq_meta {
    sqlite3 *db;
    sqlite3_stmt *get, *set;
};
int sq_meta_open(struct sq_meta *m, sqlite3 *db, struct err *err);
void sq_meta_close(struct sq_meta *m);
/* ERR_CORRUPT: the row is missing or damaged. */
int sq_meta_u64(struct sq_meta *m, const char *name, uint64_t *v, struct err *err);
int sq_meta_digest(struct sq_meta *m, const char *name, struct digest *d, struct err *err);
/* The bytes are valid until the next call. */
int sq_meta_bytes(struct sq_meta *m, const char *name, struct slice *bytes, struct err *err);
int sq_meta_set_u64(struct sq_meta *m, const char *name, uint64_t v, struct err *err);
int sq_meta_set_digest(struct sq_meta *m, const char *name, struct digest d, struct err *err);
int sq_meta_set_bytes(struct sq_meta *m, const char *name, struct slice bytes, struct err *err);

#endif
