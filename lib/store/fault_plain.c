/* Files outside of SQLite, and directories: the same rules, and what is needed to undo. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/mem.h"
#include "lib/store/fault_internal.h"
#include "lib/store/private.h"

static int ask(const char *name, enum fault_operation operation)
{
    int errnum = fault_rules_begin(name, operation);
    fault_rules_done();
    return errnum;
}

int fault_plain_write(const char *path, int fd, uint64_t offset, const void *data, size_t len)
{
    const struct fault_memory *memory = fault_memory();
    struct stat st;
    if (!fault_vfs_on())
        return 0;
    int errnum = fault_rules_begin(path, FAULT_WRITE);
    if (errnum == 0 && memory && fstat(fd, &st) == 0) {
        uint8_t *old = mem_zalloc(len);
        if (pread(fd, old, len, (off_t)offset) < 0)
            errnum = errno;
        memory->write(path, (uint64_t)st.st_size, offset, old, data, len);
        mem_free(old);
    }
    fault_rules_done();
    return errnum;
}

int fault_plain_truncate(const char *path, int fd, uint64_t bytes)
{
    const struct fault_memory *memory = fault_memory();
    struct stat st;
    if (!fault_vfs_on())
        return 0;
    int errnum = fault_rules_begin(path, FAULT_TRUNCATE);
    if (errnum == 0 && memory && fstat(fd, &st) == 0 && (uint64_t)st.st_size > bytes) {
        size_t len = (size_t)st.st_size - bytes;
        uint8_t *old = mem_zalloc(len);
        if (pread(fd, old, len, (off_t)bytes) < 0)
            errnum = errno;
        memory->truncate(path, (uint64_t)st.st_size, bytes, old, len);
        mem_free(old);
    }
    fault_rules_done();
    return errnum;
}

int fault_plain_sync(const char *path)
{
    return fault_vfs_on() ? ask(path, FAULT_SYNC) : 0;
}

void fault_plain_synced(const char *path)
{
    const struct fault_memory *memory = fault_memory();
    if (!memory)
        return;
    fault_rules_lock();
    memory->synced(path);
    fault_rules_unlock();
}

int fault_plain_open(const char *path, bool creates)
{
    const struct fault_memory *memory = fault_memory();
    if (!fault_vfs_on())
        return 0;
    int errnum = fault_rules_begin(path, FAULT_OPEN);
    if (errnum == 0 && memory && creates)
        memory->create(path);
    fault_rules_done();
    return errnum;
}

int fault_plain_read(const char *path)
{
    return fault_vfs_on() ? ask(path, FAULT_READ) : 0;
}

int fault_plain_rename(const char *from, const char *to)
{
    const struct fault_memory *memory = fault_memory();
    if (!fault_vfs_on())
        return 0;
    int errnum = fault_rules_begin(from, FAULT_RENAME);
    if (errnum == 0 && memory)
        errnum = memory->rename(from, to);
    fault_rules_done();
    return errnum;
}

int fault_plain_unlink(const char *path, bool *done)
{
    const struct fault_memory *memory = fault_memory();
    *done = false;
    if (!fault_vfs_on())
        return 0;
    int errnum = fault_rules_begin(path, FAULT_DELETE);
    if (errnum == 0 && memory) {
        errnum = memory->unlink(path);
        *done = errnum == 0;
    }
    fault_rules_done();
    return errnum;
}

int fault_directory_sync(void)
{
    return fault_vfs_on() ? ask("dir", FAULT_SYNC) : 0;
}

void fault_directory_synced(const char *path)
{
    const struct fault_memory *memory = fault_memory();
    if (!memory)
        return;
    char *inside = mem_alloc(strlen(path) + 2);
    sprintf(inside, "%s/", path);
    fault_rules_lock();
    memory->directory_synced(inside);
    fault_rules_unlock();
    mem_free(inside);
}
