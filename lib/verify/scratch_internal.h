/* The directories that are made below a scratch directory. */
#ifndef RAFTKV_VERIFY_SCRATCH_INTERNAL_H
#define RAFTKV_VERIFY_SCRATCH_INTERNAL_H

#include "lib/verify/verify.h"

enum scratch_part { SCRATCH_COPY, SCRATCH_BUILT };
char *scratch_path(const char *scratch, enum scratch_part part); /* mem_free */

#endif
