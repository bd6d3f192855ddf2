#include "lib/store/write_pace.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <time.h>
#include <unistd.h>

enum { SLICE_BYTES = 256 << 10 };

typedef ssize_t (*pwrite_call)(int fd, const void *data, size_t len, off_t offset);

static pwrite_call real_pwrite;

/* What was written to one file and not waited for. */
static _Thread_local struct {
    bool on;
    int fd;
    uint64_t pause_us;
    size_t bytes;
    off_t first, end;
} pace;

static void slice_out(void)
{
    const struct timespec pause = {.tv_sec = (time_t)(pace.pause_us / 1000000),
                                   .tv_nsec = (long)(pace.pause_us % 1000000) * 1000};
    sync_file_range(pace.fd, pace.first, pace.end - pace.first,
                    SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
                        SYNC_FILE_RANGE_WAIT_AFTER);
    pace.bytes = 0;
    if (pace.pause_us > 0)
        nanosleep(&pause, NULL);
}

static ssize_t paced_pwrite(int fd, const void *data, size_t len, off_t offset)
{
    ssize_t n = real_pwrite(fd, data, len, offset);
    if (!pace.on || n <= 0)
        return n;
    off_t end = offset + (off_t)n;
    if (pace.bytes > 0 && pace.fd != fd)
        pace.bytes = 0; /* the little that is left of another file waits for its sync */
    if (pace.bytes == 0) {
        pace.fd = fd;
        pace.first = offset;
        pace.end = end;
    }
    if (offset < pace.first)
        pace.first = offset;
    if (end > pace.end)
        pace.end = end;
    pace.bytes += (size_t)n;
    if (pace.bytes >= SLICE_BYTES)
        slice_out();
    return n;
}

void write_pace_install(void)
{
    sqlite3_vfs *unix_vfs = sqlite3_vfs_find("unix");
    if (!unix_vfs || unix_vfs->iVersion < 3 || !unix_vfs->xGetSystemCall ||
        !unix_vfs->xSetSystemCall)
        return;
    /* off_t has 64 bits here, so the two are one function. */
    static const char *const names[] = {"pwrite64", "pwrite"};
    _Static_assert(sizeof(off_t) == 8, "pwrite is pwrite64");
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        sqlite3_syscall_ptr own = unix_vfs->xGetSystemCall(unix_vfs, names[i]);
        if (!own)
            continue;
        real_pwrite = (pwrite_call)own;
        unix_vfs->xSetSystemCall(unix_vfs, names[i], (sqlite3_syscall_ptr)paced_pwrite);
        return;
    }
}

void write_pace_begin(uint64_t pause_us)
{
    pace.on = true;
    pace.bytes = 0;
    pace.pause_us = pause_us;
}

void write_pace_end(void)
{
    pace.on = false;
}
