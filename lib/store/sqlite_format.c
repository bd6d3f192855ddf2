/* What makes a database file ours: application id, format, schema, and meta rows with a CRC. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/check.h"
#include "lib/base/mem.h"
#include "lib/store/private.h"
#include "lib/store/sqlite_util.h"

static uint32_t get_be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static int identity_check(const char *path, const struct sq_format *format, uint32_t application_id,
                          uint32_t version, struct err *err)
{
    if (application_id != format->application_id)
        return err_set(err, ERR_CORRUPT,
                       "%s: a database of another program (application id %08" PRIx32
                       ", expected %08" PRIx32 ")",
                       path, application_id, format->application_id);
    if (version > format->version)
        return err_set(err, ERR_CORRUPT,
                       "%s: its format %" PRIu32 " is newer than this program's %" PRIu32, path,
                       version, format->version);
    if (version < 1)
        return err_set(err, ERR_CORRUPT, "%s: its format is %" PRIu32 ", which never was", path,
                       version);
    if (version < format->version)
        return err_set(err, ERR_CORRUPT,
                       "%s: its format %" PRIu32 " is older than this program's %" PRIu32
                       ", which does not read it any more",
                       path, version, format->version);
    return 0;
}

/* A crash in the very first transaction leaves a torn page, and a journal by which SQLite takes it
 * back. */
static bool journal_exists(const char *path)
{
    char *journal = mem_alloc(strlen(path) + sizeof("-journal"));
    sprintf(journal, "%s-journal", path);
    struct stat st;
    bool exists = stat(journal, &st) == 0 && st.st_size > 0;
    mem_free(journal);
    return exists;
}

int sq_format_probe(const char *path, const struct sq_format *format, bool *empty, struct err *err)
{
    /* Opened and closed before SQLite opens it: closing later would drop SQLite's POSIX locks. */
    enum { HEADER = 100, AT_WRITING = 18, AT_VERSION = 60, AT_APPLICATION = 68 };
    uint8_t header[HEADER];
    *empty = false;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) {
        *empty = true;
        return 0;
    }
    if (fd < 0)
        return err_errno(err, ERR_IO, errno, "%s: cannot open", path);
    ssize_t n = pread(fd, header, sizeof(header), 0);
    int errnum = errno;
    close(fd);
    if (n < 0)
        return err_errno(err, ERR_IO, errnum, "%s: cannot read", path);
    *empty = n == 0;
    if (*empty)
        return 0;
    if (n < HEADER || memcmp(header, "SQLite format 3", 16) != 0)
        return journal_exists(path) ? 0 : err_set(err, ERR_CORRUPT, "%s: not a database", path);
    /* Else SQLite opens it, but for reading only. */
    if (header[AT_WRITING] != header[AT_WRITING + 1] || header[AT_WRITING] < 1 ||
        header[AT_WRITING] > 2)
        return err_set(err, ERR_CORRUPT, "%s: its header is damaged", path);
    uint32_t application_id = get_be32(header + AT_APPLICATION);
    uint32_t version = get_be32(header + AT_VERSION);
    /* Both 0: made, but not yet filled, or filled in the WAL only. */
    if (application_id == 0 && version == 0)
        return 0;
    return identity_check(path, format, application_id, version, err);
}

/* The schema as text, in order of name: any difference in it is damage. */
static int schema_check(sqlite3 *db, const struct sq_format *format, struct err *err)
{
    const char *path = sqlite3_db_filename(db, "main");
    char schema[2048];
    int rc = sq_text(db,
                     "SELECT group_concat(sql || char(59, 10), '') FROM "
                     "(SELECT sql FROM sqlite_schema ORDER BY name)",
                     schema, sizeof(schema), err);
    if (rc == ERR_IO) /* SQLITE_ERROR for a schema that it cannot parse */
        return err_set(err, ERR_CORRUPT, "%s: unreadable schema: %s", path, sqlite3_errmsg(db));
    if (rc)
        return rc;
    if (strcmp(schema, format->schema) != 0)
        return err_set(err, ERR_CORRUPT, "%s: its tables are not those of format %" PRIu32, path,
                       format->version);
    return 0;
}

int sq_format_check(sqlite3 *db, const struct sq_format *format, bool *empty, struct err *err)
{
    int64_t application_id = 0, version = 0, objects = 0;
    int rc = sq_integer(db, "PRAGMA application_id", &application_id, err);
    if (rc == 0)
        rc = sq_integer(db, "PRAGMA user_version", &version, err);
    if (rc)
        return rc;
    *empty = false;
    if (application_id == 0 && version == 0) {
        rc = sq_integer(db, "SELECT count(*) FROM sqlite_schema", &objects, err);
        if (rc)
            return rc;
        *empty = objects == 0;
        if (*empty)
            return 0;
    }
    rc = identity_check(sqlite3_db_filename(db, "main"), format, (uint32_t)application_id,
                        (uint32_t)version, err);
    if (rc == 0)
        rc = schema_check(db, format, err);
    return rc;
}

int sq_format_create(sqlite3 *db, const struct sq_format *format, struct err *err)
{
    char sql[128];
    snprintf(sql, sizeof(sql), "PRAGMA application_id=%" PRIu32 "; PRAGMA user_version=%" PRIu32,
             format->application_id, format->version);
    int rc = sq_exec(db, format->schema, err);
    if (rc == 0)
        rc = sq_exec(db, sql, err);
    return rc;
}

/* ---- meta ---- */

int sq_meta_open(struct sq_meta *m, sqlite3 *db, struct err *err)
{
    *m = (struct sq_meta){.db = db};
    int rc = sq_prepare(db, "SELECT value, crc FROM meta WHERE name=?1", &m->get, err);
    /* Not for read-only connections, where it would fail when it runs. */
    if (rc == 0)
        rc = sq_prepare(db,
                        "INSERT INTO meta(name, value, crc) VALUES(?1, ?2, ?3) ON CONFLICT(name) "
                        "DO UPDATE SET value=excluded.value, crc=excluded.crc",
                        &m->set, err);
    return rc;
}

void sq_meta_close(struct sq_meta *m)
{
    sqlite3_finalize(m->get);
    sqlite3_finalize(m->set);
    *m = (struct sq_meta){0};
}

/* Over name and value, the type included. */
static uint32_t meta_crc(const char *name, char type, struct slice value)
{
    uint32_t crc = crc32c(0, name, strlen(name) + 1);
    crc = crc32c(crc, &type, 1);
    return crc32c(crc, value.data, value.len);
}

static struct slice meta_integer(uint64_t v, uint8_t out[8])
{
    for (int i = 0; i < 8; i++)
        out[i] = (uint8_t)(v >> (8 * i));
    return slice_of(out, 8);
}

static int meta_damaged(struct sq_meta *m, const char *name, const char *how, struct err *err)
{
    sqlite3_reset(m->get);
    return err_set(err, ERR_CORRUPT, "%s: row '%s' of table meta %s",
                   sqlite3_db_filename(m->db, "main"), name, how);
}

/* Leaves the statement on the row. */
static int meta_find(struct sq_meta *m, const char *name, int type, struct err *err)
{
    sqlite3_reset(m->get);
    int rc = sqlite3_bind_text(m->get, 1, name, -1, SQLITE_STATIC);
    ASSERT(rc == SQLITE_OK);
    rc = sq_row(m->get, err);
    if (rc == ERR_NOT_FOUND)
        return meta_damaged(m, name, "is missing", err);
    if (rc)
        return rc;
    uint8_t integer[8];
    struct slice value;
    if (sqlite3_column_type(m->get, 0) != type || sqlite3_column_type(m->get, 1) != SQLITE_INTEGER)
        return meta_damaged(m, name, "is damaged: wrong type", err);
    if (type == SQLITE_INTEGER)
        value = meta_integer(sq_column_u64(m->get, 0), integer);
    else
        value = sq_column_bytes(m->get, 0);
    if (sqlite3_column_int64(m->get, 1) != meta_crc(name, (char)('0' + type), value))
        return meta_damaged(m, name, "is damaged: wrong CRC", err);
    return 0;
}

int sq_meta_u64(struct sq_meta *m, const char *name, uint64_t *v, struct err *err)
{
    int rc = meta_find(m, name, SQLITE_INTEGER, err);
    if (rc == 0) {
        *v = sq_column_u64(m->get, 0);
        sqlite3_reset(m->get);
    }
    return rc;
}

int sq_meta_digest(struct sq_meta *m, const char *name, struct digest *d, struct err *err)
{
    int rc = meta_find(m, name, SQLITE_TEXT, err);
    if (rc)
        return rc;
    const char *text = (const char *)sqlite3_column_text(m->get, 0);
    rc = hex128_parse(text, (size_t)sqlite3_column_bytes(m->get, 0), d);
    if (rc)
        return meta_damaged(m, name, "is damaged: not 32 hex digits", err);
    sqlite3_reset(m->get);
    return 0;
}

int sq_meta_bytes(struct sq_meta *m, const char *name, struct slice *bytes, struct err *err)
{
    int rc = meta_find(m, name, SQLITE_BLOB, err);
    if (rc == 0)
        *bytes = sq_column_bytes(m->get, 0);
    return rc;
}

static int meta_store(struct sq_meta *m, const char *name, uint32_t crc, struct err *err)
{
    int rc = sqlite3_bind_text(m->set, 1, name, -1, SQLITE_STATIC);
    ASSERT(rc == SQLITE_OK);
    sq_bind_u64(m->set, 3, crc);
    return sq_done(m->set, err);
}

int sq_meta_set_u64(struct sq_meta *m, const char *name, uint64_t v, struct err *err)
{
    uint8_t integer[8];
    sq_bind_u64(m->set, 2, v);
    return meta_store(m, name, meta_crc(name, '0' + SQLITE_INTEGER, meta_integer(v, integer)), err);
}

int sq_meta_set_digest(struct sq_meta *m, const char *name, struct digest d, struct err *err)
{
    char hex[HEX128_BYTES];
    hex128(d, hex);
    int rc = sqlite3_bind_text(m->set, 2, hex, -1, SQLITE_TRANSIENT);
    ASSERT(rc == SQLITE_OK);
    return meta_store(m, name, meta_crc(name, '0' + SQLITE_TEXT, slice_str(hex)), err);
}

int sq_meta_set_bytes(struct sq_meta *m, const char *name, struct slice bytes, struct err *err)
{
    sq_bind_bytes(m->set, 2, bytes);
    return meta_store(m, name, meta_crc(name, '0' + SQLITE_BLOB, bytes), err);
}
