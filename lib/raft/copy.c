/*
 * Copying a core: only what is used of its arrays, which is little of them. The rest of both is
 * zero, so the copy has equal bytes (but for the output of the last step and the trace).
 */
#include <string.h>

#include "lib/raft/raft_internal.h"

/* `from_count` items are copied; what `to` had beyond them becomes zero. */
static void copy_items(void *to, uint32_t to_count, const void *from, uint32_t from_count,
                       size_t item_bytes)
{
    memcpy(to, from, from_count * item_bytes);
    if (to_count > from_count)
        memset((char *)to + from_count * item_bytes, 0, (to_count - from_count) * item_bytes);
}

#define COPY_ITEMS(array, count)                                                                   \
    copy_items(to->array, to->count, from->array, from->count, sizeof(to->array[0]))

void raft_copy(struct raft *to, const struct raft *from)
{
    COPY_ITEMS(writes, write_count);
    COPY_ITEMS(deferred, deferred_count);
    COPY_ITEMS(followers, follower_count);
    COPY_ITEMS(configurations.items, configurations.count);
    COPY_ITEMS(reads, read_count);
    COPY_ITEMS(terms.runs, terms.run_count);
    to->configurations.count = from->configurations.count;
    memcpy(&to->terms, &from->terms, offsetof(struct raft_terms, runs));
    memcpy(to, from, offsetof(struct raft, writes));
}
