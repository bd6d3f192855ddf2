#include "lib/node/log_cache.h"

#include <string.h>

#include "lib/base/check.h"
#include "lib/base/mem.h"

enum { LOG_CACHE_START = 1024 };

void log_cache_init(struct log_cache *c, raft_index next)
{
    memset(c, 0, sizeof *c);
    c->ring = mem_calloc(LOG_CACHE_START, sizeof *c->ring);
    c->mask = LOG_CACHE_START - 1;
    c->first = c->next = next;
}

void log_cache_release(struct log_cache *c)
{
    log_cache_reset(c, c->next);
    mem_free(c->ring);
    c->ring = NULL;
}

static void grow(struct log_cache *c)
{
    size_t mask = c->mask * 2 + 1;
    struct entry **ring = mem_calloc(mask + 1, sizeof *ring);

    for (raft_index i = c->first; i < c->next; i++) {
        ring[i & mask] = c->ring[i & c->mask];
    }
    mem_free(c->ring);
    c->ring = ring;
    c->mask = mask;
}

void log_cache_append(struct log_cache *c, struct entry *e)
{
    ASSERT(e->index == c->next);
    if (c->next - c->first > c->mask) {
        grow(c);
    }
    c->ring[e->index & c->mask] = entry_ref(e);
    c->bytes += e->size;
    c->next++;
}

static void drop(struct log_cache *c, raft_index index)
{
    struct entry *e = c->ring[index & c->mask];

    c->bytes -= e->size;
    c->ring[index & c->mask] = NULL;
    entry_unref(e);
}

void log_cache_truncate(struct log_cache *c, raft_index from)
{
    while (c->next > c->first && c->next > from) {
        drop(c, --c->next);
    }
    if (c->next > from) { /* all of it was behind */
        c->first = c->next = from;
    }
}

void log_cache_trim(struct log_cache *c, raft_index keep, uint64_t bytes_max)
{
    while (c->first < c->next && c->first < keep && c->bytes > bytes_max) {
        drop(c, c->first++);
    }
}

void log_cache_reset(struct log_cache *c, raft_index next)
{
    while (c->first < c->next) {
        drop(c, c->first++);
    }
    c->first = c->next = next;
}

struct entry *log_cache_get(const struct log_cache *c, raft_index index)
{
    return index >= c->first && index < c->next ? c->ring[index & c->mask] : NULL;
}
