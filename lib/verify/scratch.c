/* The directories that are made below a scratch directory. */
#include <stdio.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/verify/scratch_internal.h"

static const char *const names[] = {[SCRATCH_COPY] = "copy", [SCRATCH_BUILT] = "built"};

char *scratch_path(const char *scratch, enum scratch_part part)
{
    size_t room = strlen(scratch) + strlen(names[part]) + 2;
    char *path = mem_alloc(room);
    snprintf(path, room, "%s/%s", scratch, names[part]);
    return path;
}

int verify_scratch_erase(const char *scratch, struct err *err)
{
    int rc = 0;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && rc == 0; i++) {
        char *path = scratch_path(scratch, (enum scratch_part)i);
        rc = data_dir_erase(path, err);
        mem_free(path);
    }
    return rc ? rc : data_dir_erase(scratch, err);
}
