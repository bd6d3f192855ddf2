/*
 * Byte strings as small numbers: equal bytes have the same id, so that checkers compare ids. An id
 * stays valid for the life of the table; id 0 is taken for "no bytes at all" (an absent value) and
 * never given out.
 */
#ifndef RAFTKV_HISTORY_INTERN_H
#define RAFTKV_HISTORY_INTERN_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/buf.h"

struct intern_string {
    const uint8_t *data;
    uint32_t len;
    uint32_t hash;
};

struct intern_block;

struct intern {
    struct intern_string *strings; /* by id; [0] is not used */
    uint32_t count, room;
    uint32_t *slots; /* a power of two of them; 0: free */
    uint32_t slot_count;
    struct intern_block *blocks; /* the bytes; a block never moves */
    size_t block_left;
    size_t bytes; /* allocated in all */
};

void intern_init(struct intern *in);
void intern_release(struct intern *in);
/* The id of these bytes, which are copied when they are new. */
uint32_t intern_add(struct intern *in, struct slice bytes);
struct slice intern_get(const struct intern *in, uint32_t id);

#endif
