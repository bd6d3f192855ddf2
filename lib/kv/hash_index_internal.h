/*
 * An intrusive hash table: things carry a link as their first member, chains are compared by the
 * owner. Found by the whole 64-bit hash first, so that growing and most misses never touch the
 * things' keys.
 *
 * It only grows, by doubling at two things a bucket: a pause of some milliseconds at 100,000
 * things, so the owner begins with the size that it expects.
 */
#ifndef RAFTKV_KV_HASH_INDEX_INTERNAL_H
#define RAFTKV_KV_HASH_INDEX_INTERNAL_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/buf.h"

struct hash_link {
    struct hash_link *next;
    uint64_t hash;
};

struct hash_index {
    struct hash_link **buckets;
    size_t bucket_count; /* a power of two */
    size_t count;
    uint64_t seed;
};

void hash_index_init(struct hash_index *h, size_t expected);
void hash_index_release(struct hash_index *h); /* not the things in it */
uint64_t hash_index_hash(const struct hash_index *h, struct slice key);
void hash_index_insert(struct hash_index *h, struct hash_link *link); /* link->hash is set */
void hash_index_remove(struct hash_index *h, struct hash_link *link);
/* `link` takes the place of `old`, which has the same hash. */
void hash_index_replace(struct hash_index *h, struct hash_link *old, struct hash_link *link);

/* First of the chain in which things with this hash are, among others. */
static inline struct hash_link *hash_index_chain(const struct hash_index *h, uint64_t hash)
{
    return h->buckets[hash & (h->bucket_count - 1)];
}

#endif
