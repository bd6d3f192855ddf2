/*
 * Taking a snapshot, and reading it for sending.
 *
 * The copy is made page by page inside one read transaction, so it is the state at one index; what
 * index that is, is read from the copy. Meanwhile flushes go on, but the WAL cannot begin anew.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/mem.h"
#include "lib/store/kv_file_internal.h"
#include "lib/store/snapshot_internal.h"

enum {
    PAGES_A_STEP = 256,
    BYTES_AT_ONCE = 1 << 18,
};

#define TEMPORARY "snapshot.tmp"

static bool is_set(const volatile bool *flag)
{
    return flag && __atomic_load_n(flag, __ATOMIC_RELAXED);
}

static int cancelled_error(struct err *err)
{
    return err_set(err, ERR_AGAIN, "taking a snapshot was cancelled");
}

static int source_open(struct data_dir *dir, uint64_t generation, sqlite3 **db, struct err *err)
{
    char name[KV_NAME_BYTES];
    kv_file_name(generation, name);
    char *path = data_dir_join(dir, name);
    int rc = sq_open(path, SQ_READ | SQ_SHARED | SQ_SUMS, db, err);
    mem_free(path);
    if (rc == 0)
        rc = kv_cache_set(*db, LIMIT_HELPER_CACHE_KIB, err);
    if (rc == 0)
        rc = sq_exec(*db, "BEGIN", err);
    if (rc == 0)
        rc = kv_file_check(*db, err); /* its first read begins the transaction's view */
    return rc;
}

/* No journal and no sync: the file counts only once it is whole, and is synced then. */
static int copy_open(const char *path, sqlite3 **db, struct err *err)
{
    int rc = sq_open(path, SQ_CREATE | SQ_SUMS, db, err);
    if (rc == 0)
        rc = sq_exec(*db, "PRAGMA locking_mode=EXCLUSIVE; PRAGMA synchronous=OFF", err);
    if (rc == 0)
        rc = sq_exec(*db, "PRAGMA journal_mode=MEMORY", err);
    if (rc == 0)
        rc = kv_cache_set(*db, LIMIT_HELPER_CACHE_KIB, err);
    return rc;
}

static int copy_pages(sqlite3 *from, struct plain_file *file, sqlite3 *to,
                      const volatile bool *cancelled, struct err *err)
{
    sqlite3_backup *backup = sqlite3_backup_init(to, "main", from, "main");
    if (!backup)
        return sq_fail(to, sqlite3_extended_errcode(to), err);
    int rc = SQLITE_OK;
    bool stopped = false;
    while (rc == SQLITE_OK && !stopped) {
        rc = sqlite3_backup_step(backup, PAGES_A_STEP);
        stopped = is_set(cancelled);
        /* Some milliseconds of writing at a time: one sync of the whole copy would hold up the
         * syncs of raft.db for as long as it takes (measured: 70 to 120 ms for 290 MB, so 15). */
        plain_write_back(file);
    }
    int finished = sqlite3_backup_finish(backup);
    if (rc == SQLITE_DONE && finished == SQLITE_OK)
        return 0;
    if (rc == SQLITE_OK)
        return cancelled_error(err);
    return sq_fail(to, rc == SQLITE_DONE ? finished : rc, err);
}

/* Bytes 18 and 19 of the copy say, as those of the original do, that it has a WAL
 * (https://www.sqlite.org/fileformat2.html#file_format_version_numbers). It has none, and gets one
 * when it is opened as kv.<generation>.db. */
static int make_plain(struct plain_file *f, struct err *err)
{
    enum { AT_WRITING = 18, ROLLBACK_JOURNAL = 1 };
    uint8_t page[PAGE_BYTES];
    size_t len = sizeof(page);
    int rc = plain_read(f, 0, page, &len, err);
    if (rc)
        return rc;
    if (len != sizeof(page))
        return err_set(err, ERR_CORRUPT, "%s: the copy has no page", f->path);
    page[AT_WRITING] = page[AT_WRITING + 1] = ROLLBACK_JOURNAL;
    page_sum_set(page, 1);
    return plain_write(f, 0, page, sizeof(page), err);
}

static int copy_read(const char *path, struct snapshot_info *info, struct err *err)
{
    sqlite3 *db = NULL;
    struct sq_meta meta = {0};
    struct kv_head *head = mem_zalloc(sizeof(*head));
    int rc = sq_open_immutable(path, &db, err);
    if (rc == 0)
        rc = sq_meta_open(&meta, db, err);
    if (rc == 0)
        rc = kv_head_read(&meta, head, err);
    sq_meta_close(&meta);
    sq_close(db);
    if (rc == 0)
        *info = (struct snapshot_info){.index = head->applied,
                                       .term = head->applied_term,
                                       .membership = head->membership,
                                       .cluster_id = head->cluster_id,
                                       .state_digest = head->digest};
    mem_free(head);
    return rc;
}

int snapshot_checksum(struct plain_file *f, const volatile bool *cancelled, uint64_t *bytes,
                      uint32_t *crc, struct err *err)
{
    uint8_t *block = mem_alloc(BYTES_AT_ONCE);
    uint64_t at = 0;
    uint32_t sum = 0;
    size_t len = 0;
    int rc;
    do {
        len = BYTES_AT_ONCE;
        rc = is_set(cancelled) ? cancelled_error(err) : plain_read(f, at, block, &len, err);
        if (rc == 0) {
            sum = crc32c(sum, block, len);
            at += len;
        }
    } while (rc == 0 && len > 0);
    mem_free(block);
    *bytes = at;
    *crc = sum;
    return rc;
}

static void snapshot_name(raft_index index, char out[KV_NAME_BYTES])
{
    snprintf(out, KV_NAME_BYTES, "snapshot.%" PRIu64 ".db", index);
}

int snapshot_take(struct data_dir *dir, uint64_t generation, const volatile bool *cancelled,
                  struct snapshot_info *info, struct err *err)
{
    char *path = data_dir_join(dir, TEMPORARY), name[KV_NAME_BYTES];
    struct plain_file f = {.fd = -1};
    struct snapshot_info *taken = mem_zalloc(sizeof(*taken));
    sqlite3 *from = NULL, *to = NULL;
    int rc = data_dir_unlink(dir, TEMPORARY, err);
    if (rc == 0)
        rc = source_open(dir, generation, &from, err);
    if (rc == 0)
        rc = plain_open(&f, dir, TEMPORARY, true, err);
    if (rc == 0)
        rc = copy_open(path, &to, err);
    if (rc == 0)
        rc = copy_pages(from, &f, to, cancelled, err);
    sq_close(from);
    sq_close(to);
    if (rc == 0)
        rc = make_plain(&f, err);
    if (rc == 0)
        rc = copy_read(path, taken, err);
    if (rc == 0)
        rc = snapshot_checksum(&f, cancelled, &taken->bytes, &taken->crc, err);
    if (rc == 0)
        rc = plain_sync(&f, err);
    plain_close(&f);
    snapshot_name(taken->index, name);
    if (rc == 0)
        rc = data_dir_rename(dir, TEMPORARY, name, err);
    if (rc == 0)
        rc = data_dir_sync(dir, err);
    if (rc == 0)
        *info = *taken;
    else
        data_dir_unlink(dir, TEMPORARY, NULL);
    mem_free(taken);
    mem_free(path);
    return rc;
}

int snapshot_read(struct data_dir *dir, raft_index index, uint64_t offset, uint8_t *out,
                  size_t *len, struct err *err)
{
    char name[KV_NAME_BYTES];
    struct plain_file f = {.fd = -1};
    snapshot_name(index, name);
    int rc = plain_open(&f, dir, name, false, err);
    if (rc == 0)
        rc = plain_read(&f, offset, out, len, err);
    plain_close(&f);
    return rc;
}

void snapshot_delete(struct data_dir *dir, raft_index index)
{
    char name[KV_NAME_BYTES];
    snapshot_name(index, name);
    data_dir_unlink(dir, name, NULL);
}
