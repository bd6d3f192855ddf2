/* Byte strings as small numbers: a hash table over blocks that only grow. */
#include "lib/history/intern.h"

#include <string.h>

#include "lib/base/check.h"
#include "lib/base/hash.h"
#include "lib/base/mem.h"

enum { BLOCK_BYTES = 1 << 18, SLOTS_AT_FIRST = 64 };

struct intern_block {
    struct intern_block *next;
    uint8_t data[];
};

void intern_init(struct intern *in)
{
    *in = (struct intern){.count = 1, .room = SLOTS_AT_FIRST, .slot_count = SLOTS_AT_FIRST};
    in->strings = mem_calloc(in->room, sizeof(*in->strings));
    in->slots = mem_calloc(in->slot_count, sizeof(*in->slots));
    in->bytes = in->room * sizeof(*in->strings) + in->slot_count * sizeof(*in->slots);
}

void intern_release(struct intern *in)
{
    while (in->blocks) {
        struct intern_block *next = in->blocks->next;
        mem_free(in->blocks);
        in->blocks = next;
    }
    mem_free(in->strings);
    mem_free(in->slots);
    *in = (struct intern){0};
}

static const uint8_t *keep(struct intern *in, struct slice bytes)
{
    if (bytes.len > in->block_left || !in->blocks) {
        size_t size = bytes.len > BLOCK_BYTES ? bytes.len : (size_t)BLOCK_BYTES;
        struct intern_block *block = mem_alloc(sizeof(*block) + size);
        block->next = in->blocks;
        in->blocks = block;
        in->block_left = size;
        in->bytes += sizeof(*block) + size;
    }
    /* Filled from the end, so that what is left is all there is to know. */
    in->block_left -= bytes.len;
    uint8_t *to = in->blocks->data + in->block_left;
    if (bytes.len > 0)
        memcpy(to, bytes.data, bytes.len);
    return to;
}

static void grow_slots(struct intern *in)
{
    in->bytes += in->slot_count * sizeof(*in->slots);
    in->slot_count *= 2;
    mem_free(in->slots);
    in->slots = mem_calloc(in->slot_count, sizeof(*in->slots));
    for (uint32_t id = 1; id < in->count; id++) {
        uint32_t at = in->strings[id].hash & (in->slot_count - 1);
        while (in->slots[at])
            at = (at + 1) & (in->slot_count - 1);
        in->slots[at] = id;
    }
}

static uint32_t add_new(struct intern *in, struct slice bytes, uint32_t hash, uint32_t at)
{
    if (in->count == in->room) {
        in->bytes += in->room * sizeof(*in->strings);
        in->room *= 2;
        in->strings = mem_realloc(in->strings, in->room * sizeof(*in->strings));
    }
    uint32_t id = in->count++;
    in->strings[id] = (struct intern_string){keep(in, bytes), (uint32_t)bytes.len, hash};
    in->slots[at] = id;
    if (in->count > in->slot_count / 2)
        grow_slots(in);
    return id;
}

uint32_t intern_add(struct intern *in, struct slice bytes)
{
    ASSERT(bytes.len <= UINT32_MAX && in->count < UINT32_MAX / 4);
    uint32_t hash = (uint32_t)hash64(bytes.len > 0 ? (const void *)bytes.data : "", bytes.len, 0);
    uint32_t at = hash & (in->slot_count - 1);
    for (; in->slots[at]; at = (at + 1) & (in->slot_count - 1)) {
        const struct intern_string *s = &in->strings[in->slots[at]];
        if (s->hash == hash && s->len == bytes.len &&
            (bytes.len == 0 || memcmp(s->data, bytes.data, bytes.len) == 0))
            return in->slots[at];
    }
    return add_new(in, bytes, hash, at);
}

struct slice intern_get(const struct intern *in, uint32_t id)
{
    ASSERT(id > 0 && id < in->count);
    return slice_of(in->strings[id].data, in->strings[id].len);
}
