/*
 * A VFS of ours around another one: files whose every call goes on to the real file, for a wrapper
 * to replace those that it is about.
 */
#ifndef RAFTKV_STORE_VFS_WRAP_H
#define RAFTKV_STORE_VFS_WRAP_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>

/* What a wrapper's own file begins with. */
struct wrapped_file {
    sqlite3_file base;
    sqlite3_file *real; /* behind the wrapper's file, in the same memory */
};

/* Every method hands on. Version 2: shared memory, but no memory map of the file (xFetch), which no
 * method would see. */
extern const sqlite3_io_methods wrapped_methods;

/* A wrapper named `name` over the VFS named `over`, whose files have `file_bytes` before the real
 * one; not registered yet, xOpen to be set. False: there is no such VFS. `vfs->pAppData` is the
 * real one. */
bool vfs_wrap(sqlite3_vfs *vfs, const char *name, const char *over, size_t file_bytes);

#endif
