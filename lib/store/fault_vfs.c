/*
 * The fault VFS: SQLite's files, each call of which asks the rules first (fault_rules.c).
 *
 * It is two VFS, over `unix` (the default) and over `unix-excl`.
 */
#include "lib/store/fault_vfs.h"

#include <errno.h>
#include <pthread.h>
#include <sqlite3.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/mem.h"
#include "lib/store/fault_internal.h"
#include "lib/store/private.h"
#include "lib/store/vfs_wrap.h"

#ifdef RAFTKV_TEST_VFS
static bool enabled = true;
#else
static bool enabled;
#endif

void fault_vfs_enable(void)
{
    enabled = true;
}

bool fault_vfs_on(void)
{
    return enabled;
}

const char *store_vfs_shared(void)
{
    return enabled ? "raftkv-fault-excl" : "unix-excl";
}

/* ---- SQLite's files ---- */

struct fault_file {
    struct wrapped_file file;
    char *path;     /* NULL: a temporary file without a name */
    bool syncs_dir; /* SQLite's VFS syncs the directory with its first sync, and with no other */
};

static struct fault_file *of(sqlite3_file *file)
{
    return (struct fault_file *)(void *)file;
}

/* The file's own answer to an errno; SQLITE_OK for 0. Temporary files without a name do as they
 * like. */
static int begin(const struct fault_file *f, enum fault_operation operation, int on_error)
{
    int errnum = f->path ? fault_rules_begin(f->path, operation) : 0;
    return errnum == 0 ? SQLITE_OK : errnum == ENOSPC ? SQLITE_FULL : on_error;
}

static void end(const struct fault_file *f)
{
    if (f->path)
        fault_rules_done();
}

static int file_close(sqlite3_file *file)
{
    struct fault_file *f = of(file);
    int rc = f->file.real->pMethods->xClose(f->file.real);
    mem_free(f->path);
    f->path = NULL;
    return rc;
}

static int file_read(sqlite3_file *file, void *out, int len, sqlite3_int64 offset)
{
    struct fault_file *f = of(file);
    int rc = begin(f, FAULT_READ, SQLITE_IOERR_READ);
    end(f);
    return rc ? rc : f->file.real->pMethods->xRead(f->file.real, out, len, offset);
}

static int file_write(sqlite3_file *file, const void *data, int len, sqlite3_int64 offset)
{
    struct fault_file *f = of(file);
    const struct fault_memory *memory = fault_memory();
    int rc = begin(f, FAULT_WRITE, SQLITE_IOERR_WRITE);
    if (rc == SQLITE_OK && memory && f->path) {
        sqlite3_int64 size = 0;
        uint8_t *old = mem_zalloc((size_t)len);
        f->file.real->pMethods->xFileSize(f->file.real, &size);
        if (offset < size)
            f->file.real->pMethods->xRead(f->file.real, old, len, offset);
        memory->write(f->path, (uint64_t)size, (uint64_t)offset, old, data, (size_t)len);
        mem_free(old);
    }
    if (rc == SQLITE_OK)
        rc = f->file.real->pMethods->xWrite(f->file.real, data, len, offset);
    end(f);
    return rc;
}

static int file_truncate(sqlite3_file *file, sqlite3_int64 bytes)
{
    struct fault_file *f = of(file);
    const struct fault_memory *memory = fault_memory();
    int rc = begin(f, FAULT_TRUNCATE, SQLITE_IOERR_TRUNCATE);
    sqlite3_int64 size = 0;
    if (rc == SQLITE_OK && memory && f->path)
        f->file.real->pMethods->xFileSize(f->file.real, &size);
    if (rc == SQLITE_OK && memory && f->path && bytes < size) {
        size_t len = (size_t)(size - bytes);
        uint8_t *old = mem_zalloc(len);
        for (size_t at = 0; at < len; at += 4096)
            f->file.real->pMethods->xRead(f->file.real, old + at,
                                          len - at < 4096 ? (int)(len - at) : 4096,
                                          bytes + (sqlite3_int64)at);
        memory->truncate(f->path, (uint64_t)size, (uint64_t)bytes, old, len);
        mem_free(old);
    }
    if (rc == SQLITE_OK)
        rc = f->file.real->pMethods->xTruncate(f->file.real, bytes);
    end(f);
    return rc;
}

static int file_sync(sqlite3_file *file, int flags)
{
    struct fault_file *f = of(file);
    const struct fault_memory *memory = fault_memory();
    int rc = begin(f, FAULT_SYNC, SQLITE_IOERR_FSYNC);
    if (rc == SQLITE_OK && !memory) /* else what is durable is what the memory takes for it */
        rc = f->file.real->pMethods->xSync(f->file.real, flags);
    if (rc == SQLITE_OK && memory && f->path) {
        memory->synced(f->path);
        if (f->syncs_dir)
            memory->directory_synced(f->path);
        f->syncs_dir = false;
    }
    end(f);
    return rc;
}

static sqlite3_io_methods methods;

static int vfs_open(sqlite3_vfs *v, const char *path, sqlite3_file *file, int flags, int *out_flags)
{
    sqlite3_vfs *real = v->pAppData;
    struct fault_file *f = of(file);
    memset(f, 0, sizeof(*f));
    f->file.real = (sqlite3_file *)(void *)(f + 1);
    f->path = path ? mem_strdup(path) : NULL;
    f->syncs_dir = flags & (SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_WAL);
    const struct fault_memory *memory = fault_memory();
    int rc = begin(f, FAULT_OPEN, SQLITE_CANTOPEN);
    bool creates = path && (flags & SQLITE_OPEN_CREATE) && access(path, F_OK) != 0;
    if (rc == SQLITE_OK)
        rc = real->xOpen(real, path, f->file.real, flags, out_flags);
    if (rc == SQLITE_OK && memory && creates)
        memory->create(path);
    end(f);
    if (rc == SQLITE_OK)
        f->file.base.pMethods = &methods;
    else
        mem_free(f->path);
    return rc;
}

static int vfs_delete(sqlite3_vfs *v, const char *path, int sync_dir)
{
    sqlite3_vfs *real = v->pAppData;
    const struct fault_memory *memory = fault_memory();
    int errnum = fault_rules_begin(path, FAULT_DELETE);
    int rc = errnum ? SQLITE_IOERR_DELETE : real->xDelete(real, path, sync_dir);
    if (rc == SQLITE_OK && memory)
        memory->forget(path);
    fault_rules_done();
    return rc;
}

static sqlite3_vfs wrapper_shared, wrapper_default;
static int register_result;

static int wrap(sqlite3_vfs *wrapper, const char *name, const char *over, bool make_default)
{
    if (!vfs_wrap(wrapper, name, over, sizeof(struct fault_file)))
        return SQLITE_NOTFOUND;
    wrapper->xOpen = vfs_open;
    wrapper->xDelete = vfs_delete;
    return sqlite3_vfs_register(wrapper, make_default);
}

static void register_once(void)
{
    methods = wrapped_methods;
    methods.xClose = file_close;
    methods.xRead = file_read;
    methods.xWrite = file_write;
    methods.xTruncate = file_truncate;
    methods.xSync = file_sync;
    register_result = sqlite3_initialize();
    if (register_result == SQLITE_OK)
        register_result = wrap(&wrapper_shared, store_vfs_shared(), "unix-excl", false);
    if (register_result == SQLITE_OK)
        register_result = wrap(&wrapper_default, "raftkv-fault", "unix", true);
}

int fault_vfs_register(struct err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, register_once);
    if (register_result != SQLITE_OK)
        return err_set(err, ERR_INTERNAL, "fault VFS: %s", sqlite3_errstr(register_result));
    return 0;
}
