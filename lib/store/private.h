/*
 * Inside of lib/store: the data directory's parts, plain files, and the door of the fault VFS into
 * them.
 */
#ifndef RAFTKV_STORE_PRIVATE_H
#define RAFTKV_STORE_PRIVATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/store/log_store.h"

struct data_dir {
    char *path; /* absolute */
    int fd;
    int lock_fd;
    /* Goes up when kv.db has something new for its reader: a flush, a complete checkpoint. */
    atomic_uint_fast64_t kv_epoch;
};

char *data_dir_join(const struct data_dir *d, const char *name); /* mem_free */
int data_dir_sync(struct data_dir *d, struct err *err);
/* Both replace what is there and are durable only after data_dir_sync. */
int data_dir_rename(struct data_dir *d, const char *from, const char *to, struct err *err);
int data_dir_unlink(struct data_dir *d, const char *name, struct err *err); /* missing is fine */
/* Calls `visit` for each name; its non-zero return ends it and is returned. */
int data_dir_each(struct data_dir *d, int (*visit)(void *, const char *), void *argument,
                  struct err *err);
uint64_t data_dir_file_bytes(const struct data_dir *d, const char *name); /* 0: not there */
bool kv_file_parse(const char *name, uint64_t *generation, const char **suffix);

/* Plain files, none of which SQLite has open. */
struct plain_file {
    int fd;
    char *path;
};
int plain_open(struct plain_file *f, struct data_dir *d, const char *name, bool create,
               struct err *err);
void plain_close(struct plain_file *f);
int plain_size(const struct plain_file *f, uint64_t *bytes, struct err *err);
int plain_write(struct plain_file *f, uint64_t offset, const void *data, size_t len,
                struct err *err);
int plain_truncate(struct plain_file *f, uint64_t bytes, struct err *err);
int plain_sync(struct plain_file *f, struct err *err);
/* A hint: writes out what was written so far and waits for it, so that the sync at the end is short
 * and does not hold up the syncs of other files. */
void plain_write_back(struct plain_file *f);
/* `len` in: room, out: bytes read, fewer only at the end. */
int plain_read(struct plain_file *f, uint64_t offset, void *out, size_t *len, struct err *err);

/* ---- the fault VFS (fault_vfs.h) ---- */

bool fault_vfs_on(void);
/* The VFS for files that several connections of this process, and no other process, use. */
const char *store_vfs_shared(void);
/* What is about to be done to a file or directory outside of SQLite: 0, or the errno to fail with.
 * Builds for tests keep what is needed to undo it. `fd` is that of the file to be written or cut.
 */
int fault_plain_write(const char *path, int fd, uint64_t offset, const void *data, size_t len);
int fault_plain_truncate(const char *path, int fd, uint64_t bytes);
int fault_plain_sync(const char *path); /* before: a failed sync keeps it undoable */
void fault_plain_synced(const char *path);
int fault_plain_open(const char *path, bool creates);
int fault_plain_read(const char *path);
int fault_plain_rename(const char *from, const char *to);
/* *done: the name is gone already (the file is kept aside until the directory is synced). */
int fault_plain_unlink(const char *path, bool *done);
int fault_directory_sync(void);
void fault_directory_synced(const char *path);

#endif
