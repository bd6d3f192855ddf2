/* Standard descriptors that are never a file of ours; see stdfd.h. */
#include "lib/base/stdfd.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

int stdfd_open(struct err *err)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) >= 0 || errno != EBADF)
            continue;
        /* The lowest free number is this one. Open for the other direction: who uses it is told. */
        int got = open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
        if (got < 0)
            return err_errno(err, ERR_IO, errno, "cannot open /dev/null");
        if (got != fd) {
            close(got);
            return err_set(err, ERR_IO, "standard descriptor %d is closed", fd);
        }
    }
    return 0;
}
