/* Directories for the data of nodes that live no longer than this process. */
#ifndef RAFTKV_RUN_DIRECTORY_H
#define RAFTKV_RUN_DIRECTORY_H

#include <stddef.h>

#include "lib/base/err.h"

/* Makes $TMPDIR/NAME-XXXXXX (/tmp without TMPDIR), its path in `out`. */
int directory_make_temporary(const char *name, char *out, size_t bytes, struct err *err);
/* A directory with all that is in it. */
void directory_erase(const char *path);

#endif
