/* The bounded byte buffer. */
#include "lib/base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/err.h"
#include "lib/base/mem.h"

enum { SMALLEST_CAP = 64 };

/* What an empty buffer points at, so that its NUL is there too. Never written: cap is 0 then. */
static uint8_t nothing[1];

void buf_init(struct buf *b, size_t max)
{
    ASSERT(max < SIZE_MAX / 4);
    *b = (struct buf){.data = nothing, .max = max};
}

void buf_clear(struct buf *b)
{
    b->len = 0;
    if (b->cap)
        b->data[0] = 0;
}

void buf_release(struct buf *b)
{
    if (b->cap)
        mem_free(b->data);
    b->data = nothing;
    b->len = 0;
    b->cap = 0;
}

int buf_reserve(struct buf *b, size_t more)
{
    ASSERT(b->len <= b->max);
    if (more > b->max - b->len)
        return ERR_TOO_LARGE;
    size_t need = b->len + more;
    if (need <= b->cap)
        return 0;
    size_t cap = b->cap ? b->cap : SMALLEST_CAP;
    while (cap < need)
        cap *= 2;
    if (cap > b->max)
        cap = b->max;
    b->data = mem_realloc(b->cap ? b->data : NULL, cap + 1);
    b->data[b->len] = 0;
    b->cap = cap;
    return 0;
}

int buf_append(struct buf *b, const void *data, size_t len)
{
    int rc = buf_reserve(b, len);
    if (rc < 0)
        return rc;
    if (len == 0)
        return 0;
    memcpy(b->data + b->len, data, len);
    b->len += len;
    b->data[b->len] = 0;
    return 0;
}

int buf_append_byte(struct buf *b, uint8_t byte)
{
    return buf_append(b, &byte, 1);
}

int buf_append_str(struct buf *b, const char *s)
{
    return buf_append(b, s, strlen(s));
}

int buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    /* One byte behind cap is the NUL's, so a text of exactly cap - len fits. */
    size_t room = b->cap - b->len;
    int n = vsnprintf(b->cap ? (char *)b->data + b->len : NULL, b->cap ? room + 1 : 0, fmt, ap);
    va_end(ap);
    ASSERT(n >= 0);
    size_t len = (size_t)n;
    if (!b->cap || len > room) {
        if (b->cap)
            b->data[b->len] = 0;
        int rc = buf_reserve(b, len);
        if (rc < 0)
            return rc;
        if (len == 0)
            return 0;
        va_start(ap, fmt);
        vsnprintf((char *)b->data + b->len, len + 1, fmt, ap);
        va_end(ap);
    }
    b->len += len;
    return 0;
}

void buf_consume(struct buf *b, size_t n)
{
    ASSERT(n <= b->len);
    if (n == 0)
        return;
    memmove(b->data, b->data + n, b->len - n);
    b->len -= n;
    b->data[b->len] = 0;
}

uint8_t *buf_take(struct buf *b, size_t *len)
{
    uint8_t *data = b->cap ? b->data : mem_zalloc(1);
    if (len)
        *len = b->len;
    b->data = nothing;
    b->len = 0;
    b->cap = 0;
    return data;
}

struct slice slice_of(const void *data, size_t len)
{
    return (struct slice){.data = data, .len = len};
}

struct slice slice_str(const char *s)
{
    return slice_of(s, strlen(s));
}

int slice_compare(struct slice a, struct slice b)
{
    size_t shorter = a.len < b.len ? a.len : b.len;
    int order = shorter ? memcmp(a.data, b.data, shorter) : 0;
    if (order)
        return order < 0 ? -1 : 1;
    return (a.len > b.len) - (a.len < b.len);
}
