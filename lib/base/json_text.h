/*
 * JSON (RFC 8259) read from the front, one token after the other, without a tree and without
 * allocation but for strings with escapes: a history has millions of small lines, a batch a
 * thousand small objects. Strict: what is not JSON is refused with what was wanted.
 */
#ifndef RAFTKV_BASE_JSON_TEXT_H
#define RAFTKV_BASE_JSON_TEXT_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/buf.h"

enum { JSON_TEXT_WHY_BYTES = 160, JSON_TEXT_DEPTH_MAX = 16 };

struct json_text {
    const uint8_t *start, *at, *end;
    struct buf *scratch;           /* of strings with escapes; borrowed */
    char why[JSON_TEXT_WHY_BYTES]; /* set when a function has returned false */
};

void json_text_init(struct json_text *t, struct slice text, struct buf *scratch);
/* All of these return false and say why when it is not what they want. */
bool json_text_fail(struct json_text *t, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* Valid until the next string with escapes is read. */
bool json_text_string(struct json_text *t, struct slice *out);
bool json_text_u64(struct json_text *t, uint64_t max, uint64_t *out);
bool json_text_bool(struct json_text *t, bool *out);
bool json_text_null(struct json_text *t); /* true and taken if null comes next; never fails */
bool json_text_skip(struct json_text *t); /* any value */
bool json_text_end(struct json_text *t);  /* nothing but blanks is left */
/* `member` is called for each, standing before its value, which it must take. */
bool json_text_object(struct json_text *t,
                      bool (*member)(void *argument, struct json_text *t, struct slice name),
                      void *argument);
bool json_text_array(struct json_text *t, bool (*element)(void *argument, struct json_text *t),
                     void *argument);

#endif
