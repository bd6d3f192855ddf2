/*
 * A VFS of ours between SQLite and the system's, for disks that are slow, stand still, are full or
 * fail. What lib/store does to files by itself (snapshots, renames, directory syncs) goes through
 * the same rules.
 *
 * It is there in builds for tests (RAFTKV_TEST_VFS, see test_vfs.h) and, in all builds, in a
 * process that called fault_vfs_enable: there each call asks the rules, which are none at first.
 * Elsewhere SQLite uses the system's VFS and the calls for plain files look at one flag.
 * Thread-safe.
 */
#ifndef RAFTKV_STORE_FAULT_VFS_H
#define RAFTKV_STORE_FAULT_VFS_H

#include <stdbool.h>
#include <stdint.h>

enum fault_operation {
    FAULT_READ,
    FAULT_WRITE,
    FAULT_SYNC,
    FAULT_TRUNCATE,
    FAULT_OPEN,
    FAULT_DELETE,
    FAULT_RENAME,
    FAULT_OPERATIONS
};

enum fault_action {
    FAULT_DELAY,     /* the call waits, and then goes on to the other rules */
    FAULT_STALL,     /* it waits until its rule goes */
    FAULT_FULL,      /* ENOSPC, SQLITE_FULL; data_dir_free_bytes answers 0 meanwhile */
    FAULT_ERROR,     /* EIO, an I/O error of SQLite */
    FAULT_CRASH,     /* builds for tests only: see test_vfs.h */
    FAULT_POWERLOSS, /* likewise */
    FAULT_ACTIONS
};

enum { FAULT_RULES_MAX = 256, FAULT_FILE_BYTES = 32 };

struct fault_rule {
    uint64_t owner;              /* by which it is removed; 0: those of test_vfs_rules */
    char file[FAULT_FILE_BYTES]; /* beginning of the name, -wal files included; "*": every file.
                                    A directory that is synced is called "dir" */
    unsigned operations;         /* bits: 1 << enum fault_operation */
    enum fault_action action;
    uint64_t delay_ms;     /* DELAY */
    uint64_t after, count; /* all but DELAY: the first `after` calls pass, then `count` are hit */
    uint64_t seed;         /* POWERLOSS */
    uint64_t seen;         /* calls that matched so far */
};

/* Before the first store is opened, and before there are other threads. */
void fault_vfs_enable(void);

/* Of all rules that match, the longest delay counts, and then the first other one that hits. Calls
 * that wait look at the rules again whenever they change. False: there are FAULT_RULES_MAX. */
bool fault_rules_add(const struct fault_rule *rule);
void fault_rules_remove(uint64_t owner);
bool fault_rules_full(void); /* the next write of some file is told that there is no room */

#endif
