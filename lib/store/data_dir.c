/* The data directory: its lock, and what is done to names in it. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "lib/base/check.h"
#include "lib/base/mem.h"
#include "lib/store/fault_vfs.h"
#include "lib/store/private.h"

static int parent_sync(const char *path, struct err *err)
{
    char *copy = mem_strdup(path);
    char *slash = strrchr(copy, '/');
    ASSERT(slash); /* the path is absolute */
    slash[slash == copy ? 1 : 0] = '\0';
    int errnum = fault_directory_sync();
    int fd = open(copy, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (!errnum && (fd < 0 || fsync(fd) != 0))
        errnum = errno;
    int rc = 0;
    if (errnum)
        rc = err_errno(err, ERR_IO, errnum, "%s: cannot sync the directory", copy);
    if (fd >= 0)
        close(fd);
    mem_free(copy);
    return rc;
}

static int lock_take(struct data_dir *d, struct err *err)
{
    d->lock_fd = openat(d->fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (d->lock_fd < 0)
        return err_errno(err, ERR_IO, errno, "%s/lock: cannot create", d->path);
    if (flock(d->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK)
            return err_errno(err, ERR_IO, errno, "%s/lock: cannot lock", d->path);
        char pid[32] = "";
        ssize_t n = pread(d->lock_fd, pid, sizeof(pid) - 1, 0);
        pid[n > 0 ? strspn(pid, "0123456789") : 0] = '\0';
        return err_set(err, ERR_LOCKED, "%s: process %s is using this data directory", d->path,
                       *pid ? pid : "(unknown)");
    }
    char pid[32];
    int len = snprintf(pid, sizeof(pid), "%ld\n", (long)getpid());
    if (ftruncate(d->lock_fd, 0) != 0 || pwrite(d->lock_fd, pid, (size_t)len, 0) != len)
        return err_errno(err, errno == ENOSPC ? ERR_DISK_FULL : ERR_IO, errno,
                         "%s/lock: cannot write", d->path);
    return 0;
}

int data_dir_open(const char *path, struct data_dir **out, struct err *err)
{
    struct data_dir *d = mem_zalloc(sizeof(*d));
    int rc = 0;
    d->fd = d->lock_fd = -1;
    bool made = mkdir(path, 0700) == 0;
    if (!made && errno != EEXIST) {
        rc = err_errno(err, ERR_IO, errno, "%s: cannot create the data directory", path);
        goto out;
    }
    d->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (d->fd < 0) {
        rc = err_errno(err, ERR_IO, errno, "%s: cannot use as data directory", path);
        goto out;
    }
    char *absolute = realpath(path, NULL);
    if (!absolute) {
        rc = err_errno(err, ERR_IO, errno, "%s: cannot use as data directory", path);
        goto out;
    }
    d->path = mem_strdup(absolute);
    free(absolute);
    if (made)
        rc = parent_sync(d->path, err);
    if (rc == 0)
        rc = lock_take(d, err);
out:
    if (rc) {
        data_dir_close(d);
        return rc;
    }
    *out = d;
    return 0;
}

void data_dir_close(struct data_dir *d)
{
    if (!d)
        return;
    /* The lock goes with its descriptor; the file stays, since removing it would race. */
    if (d->lock_fd >= 0)
        close(d->lock_fd);
    if (d->fd >= 0)
        close(d->fd);
    mem_free(d->path);
    mem_free(d);
}

const char *data_dir_path(const struct data_dir *d)
{
    return d->path;
}

int data_dir_free_bytes(const struct data_dir *d, uint64_t *bytes, struct err *err)
{
    struct statvfs v;
    if (fstatvfs(d->fd, &v) != 0)
        return err_errno(err, ERR_IO, errno, "%s: statvfs", d->path);
    *bytes = (uint64_t)v.f_bavail * v.f_frsize;
    if (fault_rules_full())
        *bytes = 0;
    return 0;
}

char *data_dir_join(const struct data_dir *d, const char *name)
{
    size_t len = strlen(d->path) + strlen(name) + 2;
    char *path = mem_alloc(len);
    snprintf(path, len, "%s/%s", d->path, name);
    return path;
}

int data_dir_sync(struct data_dir *d, struct err *err)
{
    int errnum = fault_directory_sync();
    if (!errnum && fsync(d->fd) != 0)
        errnum = errno;
    if (errnum)
        return err_errno(err, ERR_IO, errnum, "%s: cannot sync the directory", d->path);
    fault_directory_synced(d->path);
    return 0;
}

int data_dir_rename(struct data_dir *d, const char *from, const char *to, struct err *err)
{
    char *from_path = data_dir_join(d, from), *to_path = data_dir_join(d, to);
    int errnum = fault_plain_rename(from_path, to_path);
    mem_free(from_path);
    mem_free(to_path);
    if (!errnum && renameat(d->fd, from, d->fd, to) != 0)
        errnum = errno;
    if (errnum)
        return err_errno(err, errnum == ENOSPC ? ERR_DISK_FULL : ERR_IO, errnum,
                         "%s/%s: cannot rename to %s", d->path, from, to);
    return 0;
}

int data_dir_unlink(struct data_dir *d, const char *name, struct err *err)
{
    char *path = data_dir_join(d, name);
    bool gone;
    int errnum = fault_plain_unlink(path, &gone);
    mem_free(path);
    if (!errnum && !gone && unlinkat(d->fd, name, 0) != 0)
        errnum = errno;
    if (errnum && errnum != ENOENT)
        return err_errno(err, ERR_IO, errnum, "%s/%s: cannot delete", d->path, name);
    return 0;
}

int data_dir_each(struct data_dir *d, int (*visit)(void *, const char *), void *argument,
                  struct err *err)
{
    DIR *stream = opendir(d->path);
    if (!stream)
        return err_errno(err, ERR_IO, errno, "%s: cannot list", d->path);
    int rc = 0;
    while (rc == 0) {
        errno = 0;
        struct dirent *entry = readdir(stream);
        if (!entry && errno)
            rc = err_errno(err, ERR_IO, errno, "%s: cannot list", d->path);
        if (!entry)
            break;
        rc = visit(argument, entry->d_name);
    }
    closedir(stream);
    return rc;
}

uint64_t data_dir_file_bytes(const struct data_dir *d, const char *name)
{
    struct stat st;
    return fstatat(d->fd, name, &st, 0) == 0 ? (uint64_t)st.st_size : 0;
}

/* "kv.7.db-wal" -> 7, "-wal". What is no name of ours may be a user's copy, and is left alone. */
bool kv_file_parse(const char *name, uint64_t *generation, const char **suffix)
{
    static const char *const suffixes[] = {"", "-wal", "-shm", "-journal"};
    if (strncmp(name, "kv.", 3) != 0 || name[3] < '1' || name[3] > '9')
        return false;
    char *end;
    errno = 0;
    unsigned long long v = strtoull(name + 3, &end, 10);
    if (errno || strncmp(end, ".db", 3) != 0)
        return false;
    *generation = v;
    *suffix = end + 3;
    for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
        if (strcmp(*suffix, suffixes[i]) == 0)
            return true;
    }
    return false;
}

/* ---- plain files ---- */

static int plain_fail(const struct plain_file *f, int errnum, const char *what, struct err *err)
{
    int code = errnum == ENOSPC || errnum == EDQUOT ? ERR_DISK_FULL : ERR_IO;
    return err_errno(err, code, errnum, "%s: cannot %s", f->path, what);
}

int plain_open(struct plain_file *f, struct data_dir *d, const char *name, bool create,
               struct err *err)
{
    f->path = data_dir_join(d, name);
    f->fd = -1;
    int errnum = fault_plain_open(f->path, create && faccessat(d->fd, name, F_OK, 0) != 0);
    if (!errnum) {
        f->fd = openat(d->fd, name, (create ? O_RDWR | O_CREAT : O_RDONLY) | O_CLOEXEC, 0600);
        errnum = f->fd < 0 ? errno : 0;
    }
    if (!errnum)
        return 0;
    int rc = errnum == ENOENT ? err_set(err, ERR_NOT_FOUND, "%s: there is no such file", f->path)
                              : plain_fail(f, errnum, "open", err);
    plain_close(f);
    return rc;
}

void plain_close(struct plain_file *f)
{
    if (f->fd >= 0)
        close(f->fd);
    mem_free(f->path);
    *f = (struct plain_file){.fd = -1};
}

int plain_size(const struct plain_file *f, uint64_t *bytes, struct err *err)
{
    struct stat st;
    if (fstat(f->fd, &st) != 0)
        return plain_fail(f, errno, "stat", err);
    *bytes = (uint64_t)st.st_size;
    return 0;
}

int plain_write(struct plain_file *f, uint64_t offset, const void *data, size_t len,
                struct err *err)
{
    int errnum = fault_plain_write(f->path, f->fd, offset, data, len);
    if (errnum)
        return plain_fail(f, errnum, "write", err);
    for (size_t done = 0; done < len;) {
        ssize_t n = pwrite(f->fd, (const char *)data + done, len - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return plain_fail(f, errno, "write", err);
        done += (size_t)n;
    }
    return 0;
}

int plain_truncate(struct plain_file *f, uint64_t bytes, struct err *err)
{
    int errnum = fault_plain_truncate(f->path, f->fd, bytes);
    if (errnum)
        return plain_fail(f, errnum, "truncate", err);
    return ftruncate(f->fd, (off_t)bytes) == 0 ? 0 : plain_fail(f, errno, "truncate", err);
}

int plain_sync(struct plain_file *f, struct err *err)
{
    int errnum = fault_plain_sync(f->path);
    if (errnum)
        return plain_fail(f, errnum, "sync", err);
    if (fsync(f->fd) != 0)
        return plain_fail(f, errno, "sync", err);
    fault_plain_synced(f->path);
    return 0;
}

void plain_write_back(struct plain_file *f)
{
    sync_file_range(f->fd, 0, 0,
                    SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
                        SYNC_FILE_RANGE_WAIT_AFTER);
}

int plain_read(struct plain_file *f, uint64_t offset, void *out, size_t *len, struct err *err)
{
    size_t done = 0;
    int errnum = fault_plain_read(f->path);
    if (errnum)
        return plain_fail(f, errnum, "read", err);
    while (done < *len) {
        ssize_t n = pread(f->fd, (char *)out + done, *len - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return plain_fail(f, errno, "read", err);
        if (n == 0)
            break;
        done += (size_t)n;
    }
    *len = done;
    return 0;
}
