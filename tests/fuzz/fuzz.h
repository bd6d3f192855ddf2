/*
 * Fuzz targets: each is one function that libFuzzer calls with made-up bytes. What a decoder gives
 * back must be refused with a reason or mean the same when it is written again; FUZZ_CHECK stops
 * the run where that does not hold.
 */
#ifndef RAFTKV_TESTS_FUZZ_FUZZ_H
#define RAFTKV_TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "lib/base/buf.h"
#include "lib/base/check.h"
#include "lib/base/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_CHECK(condition) ASSERT(condition)

/* Takes a byte off the front: it chooses the decoder. 0 when there is none. */
static inline uint8_t fuzz_choose(const uint8_t **data, size_t *size)
{
    if (*size == 0)
        return 0;
    uint8_t byte = **data;
    (*data)++;
    (*size)--;
    return byte;
}

/* An error of `code` that says something, in one line. */
static inline void fuzz_check_error(int rc, int code, const struct err *err)
{
    FUZZ_CHECK(rc == code && err->code == code && err->text[0]);
    FUZZ_CHECK(!strchr(err->text, '\n') && strlen(err->text) < ERR_TEXT_BYTES);
}

static inline void fuzz_check_same(const struct buf *a, const struct buf *b)
{
    FUZZ_CHECK(slice_compare(slice_of(a->data, a->len), slice_of(b->data, b->len)) == 0);
}

#endif
