/*
 * A log entry with its payload: made once, shared by reference between loop, disk, state machine
 * and flusher.
 *
 * Immutable once index and term are set (by the loop thread, before anybody else sees it), save for
 * the reference count, which is atomic. The CRC32C covers payload, index, term and kind, and goes
 * with the entry from proposal to apply: on disk, on the wire and in memory; whoever reads an entry
 * from outside verifies it.
 */
#ifndef RAFTKV_KV_ENTRY_H
#define RAFTKV_KV_ENTRY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/err.h"
#include "lib/raft/raft.h"

struct entry {
    atomic_uint refs;
    enum raft_entry_kind kind;
    raft_index index;
    raft_term term;
    uint32_t crc;
    uint32_t size; /* of data */
    uint8_t data[];
};

/* One reference for the caller. The CRC of the payload is taken here; `entry_place` completes it.
 */
struct entry *entry_new(enum raft_entry_kind kind, const void *data, size_t size);
struct entry *entry_alloc(enum raft_entry_kind kind,
                          size_t size); /* data to be filled, then entry_seal */
void entry_seal(struct entry *e);
void entry_place(struct entry *e, raft_index index, raft_term term); /* once */
struct entry *entry_ref(struct entry *e);
void entry_unref(struct entry *e);        /* NULL is fine */
bool entry_intact(const struct entry *e); /* CRC agrees */
/* As read from outside: index, term, crc as stored; NULL and ERR_CORRUPT (with index in the text)
 * if the CRC disagrees. */
struct entry *entry_restore(enum raft_entry_kind kind, raft_index index, raft_term term,
                            uint32_t crc, const void *data, size_t size, struct err *err);

/* Entries of an append as one run of bytes, for the wire: for each of them index, term, kind, crc,
 * size, data (little endian). */
int entries_encode(struct buf *out, struct entry *const *entries, size_t count);
/* Strict: consecutive indexes from `first`, terms not decreasing, CRCs right, nothing behind. On
 * success `*entries` is an array (mem_free) of `*count` entries with one reference each. */
int entries_decode(struct slice in, raft_index first, struct entry ***entries, size_t *count,
                   struct err *err);
size_t entry_encoded_bytes(const struct entry *e);

#endif
