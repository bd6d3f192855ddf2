/* Receiving a snapshot: chunks into a file, and all that is verified before it may be installed. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/mem.h"
#include "lib/store/kv_file_internal.h"
#include "lib/store/snapshot_internal.h"

enum { INCOMING_NAME_BYTES = 128, WRITE_BACK_BYTES = 1 << 20 };

struct snapshot_receiver {
    struct data_dir *dir;
    struct snapshot_info expected;
    char name[INCOMING_NAME_BYTES];
    struct plain_file file;
    uint64_t offset;
    uint64_t written_back; /* up to here */
    bool finished;
};

struct clearing {
    struct snapshot_receiver *r;
    struct err *err;
};

static int delete_other(void *argument, const char *name)
{
    struct clearing *c = argument;
    if (strncmp(name, "incoming.", 9) != 0 || strcmp(name, c->r->name) == 0)
        return 0;
    return data_dir_unlink(c->r->dir, name, c->err);
}

int snapshot_receive_open(struct data_dir *dir, const struct snapshot_info *expected,
                          struct snapshot_receiver **out, struct err *err)
{
    struct snapshot_receiver *r = mem_zalloc(sizeof(*r));
    r->dir = dir;
    r->expected = *expected;
    r->file.fd = -1;
    /* What it is stands in its name, so that only the same one is resumed. */
    snprintf(r->name, sizeof(r->name),
             "incoming.%" PRIu64 ".%" PRIu64 ".%" PRIu64 ".%08" PRIx32 ".db", expected->index,
             expected->term, expected->bytes, expected->crc);
    struct clearing c = {.r = r, .err = err};
    int rc = data_dir_each(dir, delete_other, &c, err);
    if (rc == 0)
        rc = plain_open(&r->file, dir, r->name, true, err);
    if (rc == 0)
        rc = plain_size(&r->file, &r->offset, err);
    r->written_back = r->offset;
    if (rc == 0 && r->offset > expected->bytes) {
        rc = plain_truncate(&r->file, 0, err);
        r->offset = 0;
    }
    if (rc) {
        plain_close(&r->file);
        mem_free(r);
        return rc;
    }
    *out = r;
    return 0;
}

uint64_t snapshot_receive_offset(const struct snapshot_receiver *r)
{
    return r->offset;
}

int snapshot_receive_chunk(struct snapshot_receiver *r, uint64_t offset, const uint8_t *data,
                           size_t len, struct err *err)
{
    if (offset != r->offset)
        return err_set(err, ERR_BAD_REQUEST,
                       "snapshot %" PRIu64 ": a chunk at %" PRIu64 ", expected at %" PRIu64,
                       r->expected.index, offset, r->offset);
    if (len > r->expected.bytes - offset)
        return err_set(err, ERR_BAD_REQUEST,
                       "snapshot %" PRIu64 ": more than the announced %" PRIu64 " bytes",
                       r->expected.index, r->expected.bytes);
    int rc = plain_write(&r->file, offset, data, len, err);
    if (rc)
        return rc;
    r->offset += len;
    if (r->offset - r->written_back >= WRITE_BACK_BYTES) {
        plain_write_back(&r->file);
        r->written_back = r->offset;
    }
    return 0;
}

/* ---- verifying ---- */

static int bad(const struct snapshot_receiver *r, struct err *err, const char *what)
{
    return err_set(err, ERR_CORRUPT, "%s: received snapshot: %s", r->file.path, what);
}

/* The rows against digest and number in meta; in order, or they would not be found by their keys.
 */
static int verify_rows(struct snapshot_receiver *r, sqlite3 *db, const struct kv_head *head,
                       struct err *err)
{
    sqlite3_stmt *st = NULL;
    struct digest digest = {0};
    uint64_t keys = 0;
    struct buf before;
    bool ordered = true;
    buf_init(&before, LIMIT_KEY_BYTES);
    int rc = sq_prepare(db, "SELECT key, version, timestamp, value FROM kv ORDER BY key", &st, err);
    while (rc == 0 && (rc = sq_row(st, err)) == 0) {
        struct row row = {.key = sq_column_bytes(st, 0),
                          .version = sq_column_u64(st, 1),
                          .timestamp_ms = sq_column_u64(st, 2),
                          .value = sq_column_bytes(st, 3)};
        digest = digest_add(digest, kv_row_digest(&row));
        ordered = ordered && slice_compare(slice_of(before.data, before.len), row.key) < 0;
        buf_clear(&before);
        ordered = ordered && buf_append(&before, row.key.data, row.key.len) == 0;
        keys++;
    }
    buf_release(&before);
    sqlite3_finalize(st);
    if (rc != ERR_NOT_FOUND)
        return rc;
    if (!ordered)
        return bad(r, err, "its keys are not in order");
    if (keys != head->keys || !digest_equal(digest, head->digest))
        return bad(r, err, "its rows do not agree with its digest");
    return 0;
}

static bool same_membership(const struct membership *a, const struct membership *b)
{
    struct buf x, y;
    buf_init(&x, LIMIT_MEMBERSHIP_BYTES);
    buf_init(&y, LIMIT_MEMBERSHIP_BYTES);
    membership_encode(a, &x);
    membership_encode(b, &y);
    bool same = a->configuration.index == b->configuration.index && x.len == y.len &&
                memcmp(x.data, y.data, x.len) == 0;
    buf_release(&x);
    buf_release(&y);
    return same;
}

static int verify_head(struct snapshot_receiver *r, const struct kv_head *head, struct err *err)
{
    const struct snapshot_info *e = &r->expected;
    struct digest none = {0};
    if (!digest_equal(head->cluster_id, e->cluster_id)) {
        char theirs[HEX128_BYTES], ours[HEX128_BYTES];
        return err_set(err, ERR_WRONG_CLUSTER, "%s: received snapshot: of cluster %s, expected %s",
                       r->file.path, hex128(head->cluster_id, theirs), hex128(e->cluster_id, ours));
    }
    if (head->applied != e->index || head->applied_term != e->term)
        return bad(r, err, "another index or term inside than announced");
    if (e->membership.configuration.count && !same_membership(&head->membership, &e->membership))
        return bad(r, err, "another membership inside than announced");
    if (!digest_equal(e->state_digest, none) && !digest_equal(head->digest, e->state_digest))
        return bad(r, err, "another digest inside than announced");
    return 0;
}

static int verify_database(struct snapshot_receiver *r, struct kv_head *head, struct err *err)
{
    sqlite3 *db = NULL;
    struct sq_meta meta = {0};
    struct session *sessions = NULL;
    size_t count;
    char result[256];
    bool empty = false;
    int rc = sq_format_probe(r->file.path, &kv_format, &empty, err);
    if (rc == 0 && empty)
        rc = bad(r, err, "empty");
    if (rc == 0)
        rc = sq_open_immutable(r->file.path, &db, err);
    if (rc == 0)
        rc = kv_cache_set(db, LIMIT_HELPER_CACHE_KIB, err);
    if (rc == 0)
        rc = kv_file_check(db, err);
    if (rc == 0)
        rc = sq_text(db, "PRAGMA integrity_check(1)", result, sizeof(result), err);
    if (rc == 0 && strcmp(result, "ok") != 0)
        rc = bad(r, err, result);
    if (rc == 0)
        rc = sq_meta_open(&meta, db, err);
    if (rc == 0)
        rc = kv_head_read(&meta, head, err);
    if (rc == 0)
        rc = verify_head(r, head, err);
    if (rc == 0)
        rc = verify_rows(r, db, head, err);
    if (rc == 0)
        rc = kv_sessions_read(db, &sessions, &count, err);
    mem_free(sessions);
    sq_meta_close(&meta);
    sq_close(db);
    return rc;
}

static int verify(struct snapshot_receiver *r, struct kv_head *head, struct err *err)
{
    uint64_t bytes;
    uint32_t crc;
    int rc = snapshot_checksum(&r->file, NULL, &bytes, &crc, err);
    if (rc == 0 && (bytes != r->expected.bytes || crc != r->expected.crc))
        rc = bad(r, err, "wrong CRC");
    if (rc == 0)
        rc = verify_database(r, head, err);
    return rc;
}

/* ---- into its place ---- */

static int put_in_place(struct snapshot_receiver *r, uint64_t generation, struct err *err)
{
    static const char *const leftovers[] = {"-wal", "-shm", "-journal"};
    char name[KV_NAME_BYTES], beside[KV_NAME_BYTES + 16];
    kv_file_name(generation, name);
    int rc = plain_sync(&r->file, err);
    for (size_t i = 0; i < 3 && rc == 0; i++) {
        snprintf(beside, sizeof(beside), "%s%s", name, leftovers[i]);
        rc = data_dir_unlink(r->dir, beside, err);
    }
    if (rc == 0)
        rc = data_dir_rename(r->dir, r->name, name, err);
    if (rc == 0)
        r->finished = true;
    if (rc == 0)
        rc = data_dir_sync(r->dir, err);
    return rc;
}

int snapshot_receive_finish(struct snapshot_receiver *r, uint64_t generation,
                            struct snapshot_info *info, struct err *err)
{
    ASSERT(!r->finished);
    if (r->offset != r->expected.bytes)
        return err_set(err, ERR_BAD_REQUEST,
                       "snapshot %" PRIu64 ": %" PRIu64 " of %" PRIu64 " bytes have come",
                       r->expected.index, r->offset, r->expected.bytes);
    struct kv_head *head = mem_zalloc(sizeof(*head));
    int rc = verify(r, head, err);
    if (rc == ERR_CORRUPT || rc == ERR_WRONG_CLUSTER) {
        /* Resuming it would only give the same again. */
        if (plain_truncate(&r->file, 0, NULL) == 0)
            r->offset = r->written_back = 0;
    }
    if (rc == 0)
        rc = put_in_place(r, generation, err);
    if (rc == 0) {
        *info = r->expected;
        info->membership = head->membership;
        info->state_digest = head->digest;
    }
    mem_free(head);
    return rc;
}

void snapshot_receive_close(struct snapshot_receiver *r, bool keep_file)
{
    if (!r)
        return;
    plain_close(&r->file);
    if (!keep_file && !r->finished)
        data_dir_unlink(r->dir, r->name, NULL);
    mem_free(r);
}
