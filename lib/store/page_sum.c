/* The VFS that seals and verifies pages. */
#include "lib/store/page_sum.h"

#include <string.h>

#include "lib/base/check.h"
#include "lib/base/hash.h"
#include "lib/store/vfs_wrap.h"

enum { SUMMED_BYTES = PAGE_BYTES - PAGE_SUM_BYTES, AT_RESERVED = 20 };

static _Thread_local uint64_t wrong_page;

static void sum_of(const uint8_t *page, uint64_t number, uint8_t out[PAGE_SUM_BYTES])
{
    uint64_t sum = digest_bytes(page, SUMMED_BYTES, number).lo;
    for (int i = 0; i < PAGE_SUM_BYTES; i++)
        out[i] = (uint8_t)(sum >> (8 * i));
}

void page_sum_set(uint8_t page[PAGE_BYTES], uint64_t number)
{
    sum_of(page, number, page + SUMMED_BYTES);
}

bool page_sum_is_right(const uint8_t page[PAGE_BYTES], uint64_t number)
{
    uint8_t sum[PAGE_SUM_BYTES];
    sum_of(page, number, sum);
    return memcmp(page + SUMMED_BYTES, sum, PAGE_SUM_BYTES) == 0;
}

uint64_t page_sum_wrong_page(void)
{
    return wrong_page;
}

/* ---- files ---- */

static sqlite3_file *real(sqlite3_file *file)
{
    return ((struct wrapped_file *)(void *)file)->real;
}

/* Else it is a look into the header, which is read as a page before anything in it counts. */
static bool is_page(int len, sqlite3_int64 offset)
{
    return len == PAGE_BYTES && offset % PAGE_BYTES == 0;
}

static uint64_t number_at(sqlite3_int64 offset)
{
    return (uint64_t)(offset / PAGE_BYTES) + 1;
}

static int sum_read(sqlite3_file *file, void *out, int len, sqlite3_int64 offset)
{
    int rc = real(file)->pMethods->xRead(real(file), out, len, offset);
    if (rc != SQLITE_OK || !is_page(len, offset) || page_sum_is_right(out, number_at(offset)))
        return rc;
    wrong_page = number_at(offset);
    return SQLITE_IOERR_DATA;
}

static int sum_write(sqlite3_file *file, const void *data, int len, sqlite3_int64 offset)
{
    uint8_t page[PAGE_BYTES];
    if (!is_page(len, offset))
        return real(file)->pMethods->xWrite(real(file), data, len, offset);
    memcpy(page, data, SUMMED_BYTES);
    ASSERT(offset > 0 || page[AT_RESERVED] == PAGE_SUM_BYTES); /* else content would be lost */
    page_sum_set(page, number_at(offset));
    return real(file)->pMethods->xWrite(real(file), page, len, offset);
}

/* ---- the VFS ---- */

static sqlite3_io_methods methods;

static int sum_open(sqlite3_vfs *vfs, const char *path, sqlite3_file *file, int flags,
                    int *out_flags)
{
    sqlite3_vfs *under = vfs->pAppData;
    struct wrapped_file *f = (struct wrapped_file *)(void *)file;
    if (!(flags & SQLITE_OPEN_MAIN_DB))
        return under->xOpen(under, path, file, flags, out_flags);
    f->base.pMethods = NULL;
    f->real = (sqlite3_file *)(void *)(f + 1);
    int rc = under->xOpen(under, path, f->real, flags, out_flags);
    if (rc == SQLITE_OK)
        f->base.pMethods = &methods;
    return rc;
}

enum { ALONE, SHARED };
static sqlite3_vfs wrappers[2];
static const char *const names[2] = {[ALONE] = "raftkv-sum", [SHARED] = "raftkv-sum-excl"};

void page_sum_register(const char *shared)
{
    methods = wrapped_methods;
    methods.xRead = sum_read;
    methods.xWrite = sum_write;
    for (int i = ALONE; i <= SHARED; i++) {
        bool there = vfs_wrap(&wrappers[i], names[i], i == SHARED ? shared : NULL,
                              sizeof(struct wrapped_file));
        ASSERT(there);
        wrappers[i].xOpen = sum_open;
        int rc = sqlite3_vfs_register(&wrappers[i], false);
        ASSERT(rc == SQLITE_OK);
    }
}

const char *page_sum_vfs(bool shared)
{
    return names[shared ? SHARED : ALONE];
}

/* ---- looking at all of them ---- */

int page_sum_scan(sqlite3 *db, void (*wrong)(void *self, uint64_t number), void *self,
                  struct err *err)
{
    enum { NEVER_WRITTEN = 0x40000000 }; /* the page with SQLite's locks, if it comes so far */
    sqlite3_file *file = NULL;
    sqlite3_int64 bytes = 0;
    uint8_t page[PAGE_BYTES];
    int rc = sqlite3_file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &file);
    ASSERT(rc == SQLITE_OK && file && file->pMethods == &methods);
    rc = file->pMethods->xFileSize(file, &bytes);
    for (sqlite3_int64 at = 0; rc == SQLITE_OK && at < bytes; at += PAGE_BYTES) {
        if (at == NEVER_WRITTEN)
            continue;
        rc = file->pMethods->xRead(file, page, PAGE_BYTES, at);
        if (rc == SQLITE_IOERR_DATA || rc == SQLITE_IOERR_SHORT_READ) {
            wrong(self, number_at(at));
            rc = SQLITE_OK;
        }
    }
    if (rc != SQLITE_OK)
        return err_set(err, ERR_IO, "%s: %s (%d)", sqlite3_db_filename(db, "main"),
                       sqlite3_errstr(rc), rc);
    return 0;
}
