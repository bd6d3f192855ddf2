/* Files and VFS that hand on every call. */
#include "lib/store/vfs_wrap.h"

static sqlite3_file *real(sqlite3_file *file)
{
    return ((struct wrapped_file *)(void *)file)->real;
}

static int wrapped_close(sqlite3_file *file)
{
    return real(file)->pMethods->xClose(real(file));
}
static int wrapped_read(sqlite3_file *file, void *out, int len, sqlite3_int64 offset)
{
    return real(file)->pMethods->xRead(real(file), out, len, offset);
}
static int wrapped_write(sqlite3_file *file, const void *data, int len, sqlite3_int64 offset)
{
    return real(file)->pMethods->xWrite(real(file), data, len, offset);
}
static int wrapped_truncate(sqlite3_file *file, sqlite3_int64 bytes)
{
    return real(file)->pMethods->xTruncate(real(file), bytes);
}
static int wrapped_sync(sqlite3_file *file, int flags)
{
    return real(file)->pMethods->xSync(real(file), flags);
}
static int wrapped_size(sqlite3_file *file, sqlite3_int64 *bytes)
{
    return real(file)->pMethods->xFileSize(real(file), bytes);
}
static int wrapped_lock(sqlite3_file *file, int level)
{
    return real(file)->pMethods->xLock(real(file), level);
}
static int wrapped_unlock(sqlite3_file *file, int level)
{
    return real(file)->pMethods->xUnlock(real(file), level);
}
static int wrapped_reserved(sqlite3_file *file, int *out)
{
    return real(file)->pMethods->xCheckReservedLock(real(file), out);
}
static int wrapped_control(sqlite3_file *file, int operation, void *argument)
{
    return real(file)->pMethods->xFileControl(real(file), operation, argument);
}
static int wrapped_sector(sqlite3_file *file)
{
    return real(file)->pMethods->xSectorSize(real(file));
}
static int wrapped_device(sqlite3_file *file)
{
    return real(file)->pMethods->xDeviceCharacteristics(real(file));
}
static int wrapped_shm_map(sqlite3_file *file, int page, int bytes, int extend, void volatile **out)
{
    return real(file)->pMethods->xShmMap(real(file), page, bytes, extend, out);
}
static int wrapped_shm_lock(sqlite3_file *file, int offset, int n, int flags)
{
    return real(file)->pMethods->xShmLock(real(file), offset, n, flags);
}
static void wrapped_shm_barrier(sqlite3_file *file)
{
    real(file)->pMethods->xShmBarrier(real(file));
}
static int wrapped_shm_unmap(sqlite3_file *file, int delete)
{
    return real(file)->pMethods->xShmUnmap(real(file), delete);
}

const sqlite3_io_methods wrapped_methods = {
    .iVersion = 2,
    .xClose = wrapped_close,
    .xRead = wrapped_read,
    .xWrite = wrapped_write,
    .xTruncate = wrapped_truncate,
    .xSync = wrapped_sync,
    .xFileSize = wrapped_size,
    .xLock = wrapped_lock,
    .xUnlock = wrapped_unlock,
    .xCheckReservedLock = wrapped_reserved,
    .xFileControl = wrapped_control,
    .xSectorSize = wrapped_sector,
    .xDeviceCharacteristics = wrapped_device,
    .xShmMap = wrapped_shm_map,
    .xShmLock = wrapped_shm_lock,
    .xShmBarrier = wrapped_shm_barrier,
    .xShmUnmap = wrapped_shm_unmap,
};

static int wrapped_delete(sqlite3_vfs *vfs, const char *path, int sync_dir)
{
    sqlite3_vfs *under = vfs->pAppData;
    return under->xDelete(under, path, sync_dir);
}

bool vfs_wrap(sqlite3_vfs *vfs, const char *name, const char *over, size_t file_bytes)
{
    sqlite3_vfs *under = sqlite3_vfs_find(over);
    if (!under)
        return false;
    /* Of the system's methods none looks at which VFS it is called with, nor is any but these two
     * replaced by a wrapper underneath. */
    *vfs = *under;
    vfs->pNext = NULL;
    vfs->zName = name;
    vfs->szOsFile = (int)file_bytes + under->szOsFile;
    vfs->pAppData = under;
    vfs->xOpen = NULL;
    vfs->xDelete = wrapped_delete;
    return true;
}
