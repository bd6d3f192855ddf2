/*
 * What builds with RAFTKV_TEST_VFS can do with the fault VFS beyond what a node can: rules as text,
 * from a file that tests write; crashes, and the loss of what was not synced.
 *
 * Rules are text, one a line: `FILE OPERATION ACTION [after=N] [count=N] [seed=N] [ms=N]`
 *   FILE       raft.db, kv, or * (matches the name's beginning; -wal files included); the name of a
 *              directory sync is `dir`
 *   OPERATION  write, sync, truncate, open, delete, rename, read, any (all but read)
 *   ACTION     stall (until the rules change), delay (by ms=N), full, error, crash (the process
 *              ends at once, as by kill -9), powerloss (everything not synced is lost: contents go
 *              back to the last sync, names to the last directory sync; then as crash)
 *   after=N    the first N matching calls pass; count=N: only N calls are hit (default: all)
 *   seed=N     powerloss: of what was not synced, each 512-byte sector is kept or lost at random
 * The first rule that hits decides.
 *
 * A program reads them from the file that the environment variable RAFTKV_TEST_VFS_CONTROL names,
 * anew whenever that file changes (looked at before every call; stalled calls look every few
 * milliseconds); unit tests set them by call, and there a crash or power loss does not end the
 * process: all further calls fail until test_vfs_restart. Thread-safe.
 */
#ifndef RAFTKV_STORE_TEST_VFS_H
#define RAFTKV_STORE_TEST_VFS_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"

int test_vfs_rules(const char *rules, struct err *err); /* replaces all; "" for none */
/* Calls so far of one operation, or of "any", all files. */
uint64_t test_vfs_calls(const char *operation);
/* Behind a crash or power loss, with all connections closed: no rules, calls work again. */
void test_vfs_restart(void);
bool test_vfs_dead(void); /* a crash or power loss has happened */

#endif
