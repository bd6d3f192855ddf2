/*
 * A growable byte buffer that is given its maximum when it is made: going over it is ERR_TOO_LARGE,
 * never an unbounded allocation. The bytes are always followed by a NUL that `len` does not count.
 */
#ifndef RAFTKV_BASE_BUF_H
#define RAFTKV_BASE_BUF_H

#include <stddef.h>
#include <stdint.h>

struct buf {
    uint8_t *data;
    size_t len;
    size_t cap; /* allocated, without the NUL */
    size_t max;
};

/* A borrowed run of bytes: the way keys, values and bodies travel as arguments. */
struct slice {
    const uint8_t *data;
    size_t len;
};

void buf_init(struct buf *b, size_t max);
void buf_clear(struct buf *b);   /* len = 0, memory kept */
void buf_release(struct buf *b); /* memory freed, usable again with the same max */
int buf_append(struct buf *b, const void *data, size_t len);
int buf_append_byte(struct buf *b, uint8_t byte);
int buf_append_str(struct buf *b, const char *s);
int buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int buf_reserve(struct buf *b, size_t more);   /* room for `more` bytes behind len */
void buf_consume(struct buf *b, size_t n);     /* drops the first n bytes */
uint8_t *buf_take(struct buf *b, size_t *len); /* the memory goes to the caller (mem_free) */

struct slice slice_of(const void *data, size_t len);
struct slice slice_str(const char *s);
int slice_compare(struct slice a, struct slice b); /* memcmp order, shorter first */

#endif
