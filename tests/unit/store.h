/* What the tests of lib/store share: a directory of their own, entries, memberships, damage. */
#ifndef RAFTKV_TESTS_UNIT_STORE_H
#define RAFTKV_TESTS_UNIT_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/kv/command.h"
#include "lib/kv/entry.h"
#include "lib/store/log_store.h"

/* A fresh directory below TMPDIR, removed at exit. */
const char *store_scratch(void);
/* A path in it that does not exist yet (static buffers, a few at a time). */
const char *store_fresh_path(const char *name);
void store_copy_dir(const char *from, const char *to); /* files only; `to` is made anew */
void store_remove_dir(const char *path);
size_t store_count_files(const char *path, const char *prefix);

/* Payload from index, term and a seed, so that it can be told from any other. */
struct entry *store_entry(raft_index index, raft_term term, size_t size);
struct membership store_membership(raft_index index, unsigned members);

/* Files of a stopped store. */
uint64_t store_file_bytes(const char *dir, const char *name);
void store_flip_bit(const char *dir, const char *name, uint64_t bit);
void store_write_file(const char *dir, const char *name, const void *data, size_t len);
void store_cut_file(const char *dir, const char *name, uint64_t bytes);

#endif
