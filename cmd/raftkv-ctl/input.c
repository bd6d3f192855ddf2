/* Files and standard input, as a whole. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "cmd/raftkv-ctl/ctl.h"

enum { READ_BYTES = 1 << 16 };

static int read_all(int fd, const char *name, struct buf *out, struct err *err)
{
    for (;;) {
        if (out->len == out->max)
            return err_set(err, ERR_TOO_LARGE, "%s has more than %zu bytes", name, out->max - 1);
        size_t room = out->max - out->len;
        room = room < READ_BYTES ? room : READ_BYTES;
        if (buf_reserve(out, room) != 0)
            return err_set(err, ERR_TOO_LARGE, "%s is too large", name);
        ssize_t n = read(fd, out->data + out->len, room);
        if (n == 0)
            return 0;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(err, ERR_USAGE, errno, "cannot read %s", name);
        out->len += (size_t)n;
    }
}

int ctl_read_file(const char *path, struct buf *out, struct err *err)
{
    if (strcmp(path, "-") == 0)
        return read_all(STDIN_FILENO, "standard input", out, err);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, ERR_USAGE, errno, "cannot open %s", path);
    int code = read_all(fd, path, out, err);
    close(fd);
    return code;
}
