/* Shared by snapshot.c (taking, sending) and snapshot_receive.c. */
#ifndef RAFTKV_STORE_SNAPSHOT_INTERNAL_H
#define RAFTKV_STORE_SNAPSHOT_INTERNAL_H

#include "lib/store/private.h"

/* Reads the whole file. `cancelled` (may be NULL) set: ERR_AGAIN. */
int snapshot_checksum(struct plain_file *f, const volatile bool *cancelled, uint64_t *bytes,
                      uint32_t *crc, struct err *err);

#endif
