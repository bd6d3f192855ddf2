/*
 * Reading little-endian fields out of bytes that came from outside: a reader never goes past the
 * end; it remembers that it would have, so that a decoder checks once, at the end of a group of
 * fields.
 */
#ifndef RAFTKV_KV_WIRE_INTERNAL_H
#define RAFTKV_KV_WIRE_INTERNAL_H

#include <bsd/sys/endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/buf.h"

struct reader {
    const uint8_t *at;
    size_t left;
    bool failed; /* more was asked for than there is */
};

static inline struct reader reader_of(struct slice in)
{
    return (struct reader){.at = in.data, .left = in.len, .failed = false};
}

static inline struct slice reader_bytes(struct reader *r, size_t len)
{
    if (r->failed || len > r->left) {
        r->failed = true;
        return (struct slice){NULL, 0};
    }
    struct slice bytes = {.data = r->at, .len = len};
    if (len > 0)
        r->at += len;
    r->left -= len;
    return bytes;
}

static inline uint8_t reader_u8(struct reader *r)
{
    struct slice b = reader_bytes(r, 1);
    return b.data ? b.data[0] : 0;
}

static inline uint16_t reader_u16(struct reader *r)
{
    struct slice b = reader_bytes(r, 2);
    return b.data ? le16dec(b.data) : 0;
}

static inline uint32_t reader_u32(struct reader *r)
{
    struct slice b = reader_bytes(r, 4);
    return b.data ? le32dec(b.data) : 0;
}

static inline uint64_t reader_u64(struct reader *r)
{
    struct slice b = reader_bytes(r, 8);
    return b.data ? le64dec(b.data) : 0;
}

#endif
