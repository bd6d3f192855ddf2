/*
 * The log's tail in memory: consecutive entries, by reference. What is not durable or not handed to
 * the state machine must be here; beyond that a bounded number of bytes, so that followers that
 * keep up and the state machine never wait for the disk.
 */
#ifndef RAFTKV_NODE_LOG_CACHE_H
#define RAFTKV_NODE_LOG_CACHE_H

#include <stddef.h>
#include <stdint.h>

#include "lib/kv/entry.h"

struct log_cache {
    struct entry **ring; /* ring[index & mask] */
    size_t mask;         /* capacity - 1 */
    raft_index first;    /* first entry held; == next: none */
    raft_index next;     /* one behind the last */
    uint64_t bytes;      /* payload */
};

/* Empty; the first entry to come is `next`. */
void log_cache_init(struct log_cache *c, raft_index next);
void log_cache_release(struct log_cache *c);
/* The entry's index must be c->next. Takes a reference of its own. */
void log_cache_append(struct log_cache *c, struct entry *e);
void log_cache_truncate(struct log_cache *c, raft_index from); /* drops from … on */
/* Drops from the old end while over bytes_max, never at or behind `keep`. */
void log_cache_trim(struct log_cache *c, raft_index keep, uint64_t bytes_max);
void log_cache_reset(struct log_cache *c, raft_index next); /* drops all */
struct entry *log_cache_get(const struct log_cache *c,
                            raft_index index); /* borrowed; NULL if not held */

#endif
