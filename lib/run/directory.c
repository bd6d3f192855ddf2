/* Directories for the data of nodes; see directory.h. */
#include "lib/run/directory.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_BYTES = 4096 };

int directory_make_temporary(const char *name, char *out, size_t bytes, struct err *err)
{
    const char *base = getenv("TMPDIR");
    if (snprintf(out, bytes, "%s/%s-XXXXXX", base && *base ? base : "/tmp", name) >= (int)bytes)
        return err_set(err, ERR_USAGE, "TMPDIR: the directory's name is too long");
    return mkdtemp(out) ? 0 : err_errno(err, ERR_IO, errno, "%s", out);
}

void directory_erase(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    char inner[PATH_BYTES];
    while (dir && (entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (snprintf(inner, sizeof(inner), "%s/%s", path, entry->d_name) >= (int)sizeof(inner))
            continue;
        if (entry->d_type == DT_DIR)
            directory_erase(inner);
        else
            unlink(inner);
    }
    if (dir)
        closedir(dir);
    rmdir(path);
}
