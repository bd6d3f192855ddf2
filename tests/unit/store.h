/* What the tests of lib/store share: a directory of their own, entries, memberships, damage. */
#ifndef RAFTKV_TESTS_UNIT_STORE_H
#define RAFTKV_TESTS_UNIT_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/kv/command.h"
#include "lib/kv/entry.h"
#include "lib/store/kv_store.h"
#include "lib/store/log_store.h"
#include "tests/support/kv_maker.h"

/* A fresh directory below TMPDIR, removed at exit. */
const char *store_scratch(void);
/* A path in it that does not exist yet; good until the end. */
const char *store_fresh_path(const char *name);
void store_copy_dir(const char *from, const char *to); /* files only; `to` is made anew */
void store_remove_dir(const char *path);
size_t store_count_files(const char *path, const char *prefix);

/* Payload from index, term and a seed, so that it can be told from any other. */
struct entry *store_entry(raft_index index, raft_term term, size_t size);
struct membership store_membership(raft_index index, unsigned members);

/* A put, a delete, an expiry of sessions or now and then a configuration, of few keys and clients;
 * values up to 100 KB. */
struct entry *store_random_entry(struct prng *p, raft_index index, raft_term term);
/* Applies such entries. */
void store_apply_random(struct kv_rig *rig, struct prng *p, unsigned count);
/* Opens kv.<generation>.db and compares all of it with `map`: rows in both directions and one by
 * one, sessions, membership, indexes, digest. NULL, or what differs. */
const char *store_kv_differs(struct data_dir *dir, uint64_t generation, struct base_map *map);
/* The same with connections that are open. */
const char *store_kv_differs_open(struct kv_writer *w, struct kv_reader *r, struct base_map *map);

/* Files of a stopped store. */
uint64_t store_file_bytes(const char *dir, const char *name);
void store_flip_bit(const char *dir, const char *name, uint64_t bit);
void store_write_file(const char *dir, const char *name, const void *data, size_t len);
void store_cut_file(const char *dir, const char *name, uint64_t bytes);

#endif
