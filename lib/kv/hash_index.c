/* The intrusive hash table under rows and sessions. */
#include "lib/base/check.h"
#include "lib/base/hash.h"
#include "lib/base/mem.h"
#include "lib/kv/hash_index_internal.h"

enum { BUCKETS_MIN = 64, LOAD_MAX = 2 };

void hash_index_init(struct hash_index *h, size_t expected)
{
    h->bucket_count = BUCKETS_MIN;
    while (h->bucket_count * LOAD_MAX < expected)
        h->bucket_count *= 2;
    h->buckets = mem_calloc(h->bucket_count, sizeof(struct hash_link *));
    h->count = 0;
    /* Another one in every process (address space randomisation), so that nobody can choose keys
     * that share a chain. Nothing that anybody sees depends on it. */
    h->seed = (uint64_t)(uintptr_t)h->buckets;
}

void hash_index_release(struct hash_index *h)
{
    mem_free(h->buckets);
    h->buckets = NULL;
    h->bucket_count = 0;
    h->count = 0;
}

uint64_t hash_index_hash(const struct hash_index *h, struct slice key)
{
    return hash64(key.data, key.len, h->seed);
}

static void chain_push(struct hash_index *h, struct hash_link *link)
{
    struct hash_link **bucket = &h->buckets[link->hash & (h->bucket_count - 1)];
    link->next = *bucket;
    *bucket = link;
}

static void grow(struct hash_index *h)
{
    struct hash_link **old = h->buckets;
    size_t old_count = h->bucket_count;
    h->bucket_count *= 2;
    h->buckets = mem_calloc(h->bucket_count, sizeof(struct hash_link *));
    for (size_t i = 0; i < old_count; i++)
        for (struct hash_link *link = old[i], *next; link; link = next) {
            next = link->next;
            chain_push(h, link);
        }
    mem_free(old);
}

void hash_index_insert(struct hash_index *h, struct hash_link *link)
{
    if (h->count >= h->bucket_count * LOAD_MAX)
        grow(h);
    chain_push(h, link);
    h->count++;
}

/* The pointer that points to `link`, which must be in the table. */
static struct hash_link **place_of(struct hash_index *h, const struct hash_link *link)
{
    struct hash_link **place = &h->buckets[link->hash & (h->bucket_count - 1)];
    while (*place != link) {
        ASSERT(*place != NULL);
        place = &(*place)->next;
    }
    return place;
}

void hash_index_remove(struct hash_index *h, struct hash_link *link)
{
    *place_of(h, link) = link->next;
    link->next = NULL;
    h->count--;
}

void hash_index_replace(struct hash_index *h, struct hash_link *old, struct hash_link *link)
{
    ASSERT(old->hash == link->hash);
    *place_of(h, old) = link;
    link->next = old->next;
    old->next = NULL;
}
