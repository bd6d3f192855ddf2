/*
 * What the files of this folder share: writing JSON by hand into a buffer, and reading jansson's
 * objects strictly.
 *
 * Writers (json_put_*) append to `out` and return 0, ERR_TOO_LARGE (over out->max) or ERR_INTERNAL
 * (an integer that JSON readers cannot hold). After an error `out` holds half a document: the
 * caller throws it away.
 *
 * Readers keep the first error and read on, so that a decoder is a plain list of members; what
 * they give after an error is zero or empty.
 */
#ifndef RAFTKV_JSON_JSON_INTERNAL_H
#define RAFTKV_JSON_JSON_INTERNAL_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/err.h"
#include "lib/base/hash.h"
#include "lib/base/limits.h"

/* RFC 7493, section 2.2: what a double holds exactly. */
#define JSON_INTEGER_MAX ((UINT64_C(1) << 53) - 1)

/* ---- writing ---- */

int json_put_u64(struct buf *out, uint64_t v);
int json_put_hex64(struct buf *out, uint64_t v);         /* quoted */
int json_put_hex128(struct buf *out, struct digest d);   /* quoted */
int json_put_text(struct buf *out, const char *text);    /* quoted; not UTF-8: U+FFFD */
int json_put_base64(struct buf *out, struct slice data); /* quoted */
int json_put_bool(struct buf *out, bool v);
/* `lead` ends in what stands before the value, as in ",\"term\":". */
int json_put_u64_after(struct buf *out, const char *lead, uint64_t v);
int json_put_text_after(struct buf *out, const char *lead, const char *text);
int json_put_bool_after(struct buf *out, const char *lead, bool v);

/* ---- reading ---- */

/* Members that nobody asked for: refused (requests, peers) or ignored (replies of newer nodes). */
enum json_rule { MEMBERS_EXACT, MEMBERS_MORE };

enum { JSON_MEMBERS_MAX = 32, JSON_WHERE_BYTES = 48 };

struct json_reader {
    const json_t *object;
    char where[JSON_WHERE_BYTES]; /* "", "index." or "members[2]." */
    int code;                     /* the first error */
    struct err *err;
    size_t read_count;
    const char *read[JSON_MEMBERS_MAX]; /* members asked for, static strings */
};

/* Parses text whose root is an object, nested no deeper than `depth_max` (1: flat); checked before
 * the parse, so that no stranger makes it recurse or allocate in depth. The caller json_decref()s
 * `*root`. */
int json_parse_object(struct slice text, unsigned depth_max, json_t **root, struct err *err);

void json_reader_init(struct json_reader *r, const json_t *object, struct err *err);
/* The error so far; MEMBERS_EXACT: ERR_BAD_REQUEST names a member that was not asked for. */
int json_reader_end(struct json_reader *r, enum json_rule rule);
/* ERR_BAD_REQUEST "member 'WHEREname' …". */
int json_reader_fail(struct json_reader *r, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* A member of any type; NULL when it is absent (an error if `required`). */
const json_t *json_read(struct json_reader *r, const char *name, bool required);
/* These return whether the member was there and good; *out is zero or empty otherwise. */
bool json_read_u64(struct json_reader *r, const char *name, bool required, uint64_t *out);
bool json_read_bool(struct json_reader *r, const char *name, bool required, bool *out);
/* Borrowed from the document and followed by a NUL; may hold others. */
bool json_read_string(struct json_reader *r, const char *name, bool required, struct slice *out);
bool json_text_is(struct slice text, const char *word);
/* Copied, NUL-terminated; a NUL inside or more than out_bytes - 1 bytes is an error. */
bool json_read_text(struct json_reader *r, const char *name, bool required, char *out,
                    size_t out_bytes);
bool json_read_hex64(struct json_reader *r, const char *name, bool required, uint64_t *out);
bool json_read_hex128(struct json_reader *r, const char *name, bool required, struct digest *out);
/* As json_read_text, checked as a member's name or address (kv/command.h). */
bool json_read_name(struct json_reader *r, const char *name, bool required,
                    char out[LIMIT_NAME_BYTES + 1]);
bool json_read_url(struct json_reader *r, const char *name, bool required,
                   char out[LIMIT_URL_BYTES + 1]);
/* `name` as text or `name_base64` (static strings both), not both. */
bool json_read_bytes(struct json_reader *r, const char *name, const char *name_base64,
                     bool required, size_t bytes_max, struct buf *out);
const json_t *json_read_array(struct json_reader *r, const char *name, bool required);
/* A reader of the object that member `name` is; false when it is absent, null or no object. */
bool json_read_object(struct json_reader *r, const char *name, bool required,
                      struct json_reader *inner);
/* A reader of element i of the array that member `name` is. */
bool json_read_element(struct json_reader *r, const char *name, const json_t *array, size_t i,
                       struct json_reader *inner);
/* The inner reader is done: its error becomes the outer's. */
void json_read_close(struct json_reader *r, struct json_reader *inner, enum json_rule rule);

#endif
