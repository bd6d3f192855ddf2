/*
 * Standard input, output and error as open descriptors. A program that was started with one of them
 * closed (`>&-`) would else get its number for the next file or socket it opens, and write messages
 * into that.
 */
#ifndef RAFTKV_BASE_STDFD_H
#define RAFTKV_BASE_STDFD_H

#include "lib/base/err.h"

/* To be called first in main. What was closed still fails when it is used, with EBADF. */
int stdfd_open(struct err *err);

#endif
