/* Looking through a file of the state: kv.<generation>.db, or a snapshot that was finished. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/mem.h"
#include "lib/store/inspect_internal.h"
#include "lib/store/kv_file_internal.h"
#include "lib/store/wal_scan.h"

enum { SHOWN_KEY_BYTES = 256 };

struct look {
    const struct inspection *in;
    const char *file;
    struct kv_facts *facts;
    void (*row)(void *self, const struct row *row);
    void *self;
    sqlite3 *db;
    unsigned told;
    unsigned wrong_pages;
};

/* ---- pages ---- */

static void wrong_page(void *self, uint64_t number)
{
    struct look *l = self;
    if (l->wrong_pages++ < INSPECT_FINDINGS_MAX)
        inspect_tell(l->in, FINDING_WRONG, l->file, "page %" PRIu64 " is damaged: " PAGE_SUM_WRONG,
                     number);
    else if (l->wrong_pages == INSPECT_FINDINGS_MAX + 1)
        inspect_tell(l->in, FINDING_WRONG, l->file, "and further pages");
}

/* Where a checksum is wrong there is no use in what the page says. */
static void pages_look(struct look *l)
{
    struct err err = {0};
    int frames, moved;
    int rc = sq_checkpoint(l->db, SQLITE_CHECKPOINT_PASSIVE, &frames, &moved, &err);
    if (rc == 0)
        rc = page_sum_scan(l->db, wrong_page, l, &err);
    if (rc)
        inspect_tell_failure(l->in, &err);
    else if (l->wrong_pages == 0)
        inspect_pages(l->in, l->db);
}

/* Of a page that was told of already there is no more to say. */
static void read_failed(const struct look *l, const struct err *err)
{
    if (l->wrong_pages == 0 || !strstr(err->text, PAGE_SUM_WRONG))
        inspect_tell_failure(l->in, err);
}

/* ---- rows of meta ---- */

static const char *const meta_names[] = {
    "cluster_id",      "applied_index", "applied_term", "membership", "membership_index",
    "cluster_time_ms", "digest",        "keys",         NULL};

static bool told_ok(struct look *l, int rc, const struct err *err)
{
    if (rc)
        read_failed(l, err);
    return rc == 0;
}

static void meta_membership(struct look *l, struct sq_meta *meta)
{
    struct err err = {0};
    struct slice bytes = {0};
    uint64_t index = 0;
    if (!told_ok(l, sq_meta_u64(meta, "membership_index", &index, &err), &err) ||
        !told_ok(l, sq_meta_bytes(meta, "membership", &bytes, &err), &err))
        return;
    if (membership_decode(bytes, index, &l->facts->membership, &err) != 0)
        inspect_tell(l->in, FINDING_WRONG, l->file, "row 'membership' of table meta: %s", err.text);
    else
        l->facts->has |= KV_HAS_MEMBERSHIP;
}

static void meta_read(struct look *l)
{
    struct kv_facts *f = l->facts;
    struct sq_meta meta;
    struct err err = {0};
    if (!told_ok(l, sq_meta_open(&meta, l->db, &err), &err))
        return;
    bool index = told_ok(l, sq_meta_u64(&meta, "applied_index", &f->applied, &err), &err);
    bool term = told_ok(l, sq_meta_u64(&meta, "applied_term", &f->applied_term, &err), &err);
    if (index && term)
        f->has |= KV_HAS_APPLIED;
    if (told_ok(l, sq_meta_u64(&meta, "cluster_time_ms", &f->cluster_time_ms, &err), &err))
        f->has |= KV_HAS_TIME;
    if (told_ok(l, sq_meta_digest(&meta, "cluster_id", &f->cluster_id, &err), &err))
        f->has |= KV_HAS_CLUSTER;
    if (told_ok(l, sq_meta_digest(&meta, "digest", &f->digest, &err), &err))
        f->has |= KV_HAS_DIGEST;
    if (told_ok(l, sq_meta_u64(&meta, "keys", &f->keys, &err), &err))
        f->has |= KV_HAS_KEYS;
    meta_membership(l, &meta);
    sq_meta_close(&meta);
    if (f->has)
        inspect_meta_names(l->in, l->db, l->file, meta_names);
}

static void meta_judge(const struct look *l)
{
    const struct kv_facts *f = l->facts;
    if ((f->has & KV_HAS_APPLIED) && (f->applied == 0) != (f->applied_term == 0))
        inspect_tell(l->in, FINDING_WRONG, l->file,
                     "meta: applied up to %" PRIu64 ", of term %" PRIu64, f->applied,
                     f->applied_term);
    if ((f->has & KV_HAS_APPLIED) && (f->has & KV_HAS_MEMBERSHIP) &&
        f->membership.configuration.index > f->applied)
        inspect_tell(l->in, FINDING_WRONG, l->file,
                     "meta: the membership of entry %" PRIu64 ", applied up to %" PRIu64,
                     f->membership.configuration.index, f->applied);
}

/* ---- rows ---- */

static void wrong_row(struct look *l, struct slice key, const char *what)
{
    struct buf shown;
    if (l->told++ >= INSPECT_FINDINGS_MAX) {
        if (l->told == INSPECT_FINDINGS_MAX + 1)
            inspect_tell(l->in, FINDING_WRONG, l->file, "table kv: and further rows");
        return;
    }
    buf_init(&shown, SHOWN_KEY_BYTES);
    inspect_show_key(key, &shown);
    inspect_tell(l->in, FINDING_WRONG, l->file, "table kv, key %s: %s", (const char *)shown.data,
                 what);
    buf_release(&shown);
}

static void row_check(struct look *l, sqlite3_stmt *st, const struct row *row,
                      const struct buf *before)
{
    const struct kv_facts *f = l->facts;
    struct err why;
    if (sqlite3_column_type(st, 0) != SQLITE_BLOB || sqlite3_column_type(st, 1) != SQLITE_INTEGER ||
        sqlite3_column_type(st, 2) != SQLITE_INTEGER || sqlite3_column_type(st, 3) != SQLITE_BLOB)
        wrong_row(l, row->key, "a value of another type");
    if (row->key.len < 1 || row->key.len > LIMIT_KEY_BYTES ||
        row->value.len > LIMIT_VALUE_BYTES_CEILING)
        wrong_row(l, row->key, "key or value of a length that cannot be");
    if (f->rows > 0 && slice_compare(slice_of(before->data, before->len), row->key) >= 0)
        wrong_row(l, row->key, "not in the order of keys");
    if (row->version == 0 || ((f->has & KV_HAS_APPLIED) && row->version > f->applied)) {
        err_set(&why, ERR_CORRUPT, "version %" PRIu64 ", applied up to %" PRIu64, row->version,
                f->applied);
        wrong_row(l, row->key, why.text);
    }
}

static void digest_check(const struct look *l, struct digest rows)
{
    const struct kv_facts *f = l->facts;
    char found[HEX128_BYTES], stored[HEX128_BYTES];
    if ((f->has & KV_HAS_KEYS) && f->keys != f->rows)
        inspect_tell(l->in, FINDING_WRONG, l->file,
                     "table kv has %" PRIu64 " rows, row 'keys' of table meta says %" PRIu64,
                     f->rows, f->keys);
    if ((f->has & KV_HAS_DIGEST) && !digest_equal(f->digest, rows))
        inspect_tell(l->in, FINDING_WRONG, l->file,
                     "the digest of the rows of table kv is %s, row 'digest' of table meta says %s",
                     hex128(rows, found), hex128(f->digest, stored));
}

static void rows_read(struct look *l)
{
    struct kv_facts *f = l->facts;
    sqlite3_stmt *st = NULL;
    struct err err = {0};
    struct digest digest = {0};
    struct buf before;
    buf_init(&before, LIMIT_KEY_BYTES * 2);
    int rc =
        sq_prepare(l->db, "SELECT key, version, timestamp, value FROM kv ORDER BY key", &st, &err);
    while (rc == 0 && (rc = sq_row(st, &err)) == 0) {
        struct row row = {.key = sq_column_bytes(st, 0),
                          .version = sq_column_u64(st, 1),
                          .timestamp_ms = sq_column_u64(st, 2),
                          .value = sq_column_bytes(st, 3)};
        row_check(l, st, &row, &before);
        digest = digest_add(digest, kv_row_digest(&row));
        f->rows++;
        buf_clear(&before);
        if (row.key.len <= LIMIT_KEY_BYTES)
            ASSERT(buf_append(&before, row.key.data, row.key.len) == 0);
        if (l->row)
            l->row(l->self, &row);
    }
    sqlite3_finalize(st);
    buf_release(&before);
    f->whole = rc == ERR_NOT_FOUND;
    if (f->whole)
        digest_check(l, digest);
    else
        read_failed(l, &err);
}

/* ---- sessions ---- */

static void session_check(struct look *l, const struct session *s)
{
    const struct kv_facts *f = l->facts;
    if (s->seq == 0 || (s->status != 0 && s->status != ERR_PRECONDITION_FAILED) ||
        !client_id_valid(s->client, strlen(s->client)) || s->used_index == 0 ||
        ((f->has & KV_HAS_APPLIED) && s->used_index > f->applied) ||
        ((f->has & KV_HAS_TIME) && s->used_ms > f->cluster_time_ms))
        inspect_tell(l->in, FINDING_WRONG, l->file,
                     "table sessions, client '%s': sequence %" PRIu64 ", status %d, used by entry "
                     "%" PRIu64 " at %" PRIu64 " ms, applied up to %" PRIu64 " at %" PRIu64 " ms",
                     s->client, s->seq, (int)s->status, s->used_index, s->used_ms, f->applied,
                     f->cluster_time_ms);
}

static void sessions_read(struct look *l)
{
    sqlite3_stmt *st = NULL;
    struct err err = {0};
    struct session session;
    unsigned told = 0;
    int rc = sq_prepare(l->db, KV_SESSIONS_SELECT, &st, &err);
    while (rc == 0 && (rc = sq_row(st, &err)) == 0) {
        l->facts->sessions++;
        if (kv_session_read(st, &session, &err) == 0)
            session_check(l, &session);
        else if (told++ < INSPECT_FINDINGS_MAX)
            inspect_tell_failure(l->in, &err);
    }
    sqlite3_finalize(st);
    if (rc != ERR_NOT_FOUND) {
        l->facts->whole = false;
        read_failed(l, &err);
    }
}

/* ---- the file ---- */

/* Its commits are not synced one by one, so after a loss of power any frame may be bad: SQLite goes
 * back to the commit before, and the log has the rest. */
static void wal_look(const struct inspection *in, const char *file)
{
    struct wal_scan scan;
    struct err err = {0};
    char name[KV_NAME_BYTES + 8];
    snprintf(name, sizeof(name), "%s-wal", file);
    char *wal = data_dir_join(in->copy, name);
    int rc = wal_scan(wal, PAGE_BYTES, &scan, &err);
    mem_free(wal);
    if (rc == ERR_CORRUPT || (rc == 0 && (scan.torn || scan.frames > scan.committed)))
        inspect_tell(in, FINDING_NOTE, name,
                     "only the first %" PRIu64 " frames are good, up to a commit: what was behind "
                     "is to be taken from the log",
                     scan.committed);
    else if (rc)
        inspect_tell_failure(in, &err);
}

static bool file_open(struct look *l)
{
    bool empty = false, plain = inspect_snapshot_index(l->file) > 0;
    struct err err = {0};
    char *path = data_dir_join(l->in->copy, l->file);
    int rc = sq_format_probe(path, &kv_format, &empty, &err);
    if (rc == 0 && empty)
        rc = err_set(&err, ERR_CORRUPT, "%s: missing or empty", path);
    if (rc == 0 && !plain)
        wal_look(l->in, l->file);
    if (rc == 0)
        rc = plain ? sq_open_immutable(path, &l->db, &err)
                   : sq_open(path, SQ_WRITE | SQ_SUMS, &l->db, &err);
    if (rc == 0 && !plain)
        rc = sq_exec(l->db, "PRAGMA locking_mode=EXCLUSIVE", &err);
    if (rc == 0)
        rc = kv_file_check(l->db, &err);
    mem_free(path);
    if (rc)
        inspect_tell_failure(l->in, &err);
    return rc == 0;
}

void kv_inspect(const struct inspection *in, const char *name,
                void (*row)(void *self, const struct row *row), void *self, struct kv_facts *out)
{
    struct look l = {.in = in, .file = name, .facts = out, .row = row, .self = self};
    memset(out, 0, sizeof(*out));
    if (file_open(&l)) {
        pages_look(&l);
        meta_read(&l);
        meta_judge(&l);
        rows_read(&l);
        sessions_read(&l);
    }
    sq_close(l.db);
}
