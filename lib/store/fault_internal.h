/*
 * The inside of the fault VFS: rules (fault_rules.c), SQLite's files and plain ones (fault_vfs.c),
 * and what builds for tests hang into it (test_vfs.c).
 */
#ifndef RAFTKV_STORE_FAULT_INTERNAL_H
#define RAFTKV_STORE_FAULT_INTERNAL_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/store/fault_vfs.h"

/* Remembers what is needed to lose what was not synced. Called with the rules' mutex held, which
 * stays held until the change is made, so that the order is the one in which the calls came. */
struct fault_memory {
    void (*look)(void); /* before each call, and every few milliseconds of one that waits */
    bool (*dead)(void); /* every call fails */
    int (*end)(const struct fault_rule *rule); /* CRASH, POWERLOSS; the errno to fail with */
    /* Before the change is made. */
    void (*write)(const char *path, uint64_t old_size, uint64_t offset, const void *old,
                  const void *data, size_t len);
    void (*truncate)(const char *path, uint64_t old_size, uint64_t size, const void *cut,
                     size_t len);
    void (*create)(const char *path);
    int (*rename)(const char *from, const char *to); /* 0 or errno */
    int (*unlink)(const char *path);                 /* does it; 0 or errno */
    /* Behind it. */
    void (*synced)(const char *path);
    void (*forget)(const char *path); /* the file is gone for good */
    void (*directory_synced)(const char *path_inside);
};

/* ---- fault_rules.c ---- */

const struct fault_memory *fault_memory(void); /* NULL: none */
/* A call is about to be made: 0, or the errno to fail with. With a memory the mutex is held
 * afterwards, until fault_rules_done, whatever the answer. */
int fault_rules_begin(const char *path, enum fault_operation operation);
void fault_rules_done(void);
void fault_rules_lock(void);
void fault_rules_unlock(void);
/* With the mutex held: replaces all of that owner. */
int fault_rules_replace(uint64_t owner, const struct fault_rule *rules, size_t count,
                        struct err *err);
uint64_t fault_rules_calls(enum fault_operation operation); /* with the mutex held */

#ifdef RAFTKV_TEST_VFS
/* ---- test_vfs.c ---- */

extern const struct fault_memory test_vfs_memory;
void test_vfs_begin(void); /* when the VFS is registered */
#endif

/* ---- fault_vfs.c ---- */

int fault_vfs_register(struct err *err); /* becomes the default VFS; once; lib/store calls it */

#endif
