/* Reading JSON strictly: depth first, then jansson, then members one by one, by name and type. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/json/api.h"
#include "lib/json/json_internal.h"
#include "lib/kv/command.h"

/* ---- parsing ---- */

/* Deepest nesting of brackets outside strings; ends early above `enough`. Broken text gives some
 * number: the parser refuses it afterwards. */
static unsigned nesting(struct slice text, unsigned enough)
{
    unsigned depth = 0, deepest = 0;
    bool in_string = false;
    for (size_t i = 0; i < text.len && deepest <= enough; i++) {
        uint8_t c = text.data[i];
        if (c == '"') {
            in_string = !in_string;
        } else if (in_string) {
            if (c == '\\')
                i++;
        } else if (c == '{' || c == '[') {
            if (++depth > deepest)
                deepest = depth;
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--;
        }
    }
    return deepest;
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* The parser says only where a number ends that it cannot hold; the member is named before it. */
static struct slice member_before(struct slice text, size_t end)
{
    size_t i = end < text.len ? end : text.len;
    while (i > 0 && text.data[i - 1] != ':' && text.data[i - 1] != '"')
        i--;
    if (i == 0 || text.data[i - 1] != ':')
        return slice_of(NULL, 0);
    i--;
    while (i > 0 && is_blank(text.data[i - 1]))
        i--;
    if (i == 0 || text.data[i - 1] != '"')
        return slice_of(NULL, 0);
    size_t name_end = --i;
    while (i > 0 && text.data[i - 1] != '"')
        i--;
    return slice_of(text.data + i, name_end - i);
}

static int parse_failed(struct slice text, const json_error_t *why, struct err *err)
{
    switch (json_error_code(why)) {
    case json_error_numeric_overflow: {
        struct slice name = member_before(text, (size_t)why->position);
        if (name.len > 0 && name.len <= LIMIT_NAME_BYTES)
            return err_set(err, ERR_BAD_REQUEST,
                           "member '%.*s' must be a whole number from 0 to %" PRIu64, (int)name.len,
                           (const char *)name.data, JSON_INTEGER_MAX);
        break;
    }
    case json_error_out_of_memory:
        return err_set(err, ERR_INTERNAL, "out of memory in parsing JSON");
    default: break;
    }
    return err_set(err, ERR_BAD_REQUEST, "bad JSON at byte %d: %s", why->position, why->text);
}

int json_parse_object(struct slice text, unsigned depth_max, json_t **root, struct err *err)
{
    if (text.len == 0)
        return err_set(err, ERR_BAD_REQUEST, "bad JSON: the body is empty");
    if (nesting(text, depth_max) > depth_max)
        return err_set(err, ERR_BAD_REQUEST, "bad JSON: nested deeper than %u", depth_max);
    json_error_t why;
    json_t *found = json_loadb((const char *)text.data, text.len,
                               JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &why);
    if (!found)
        return parse_failed(text, &why, err);
    if (!json_is_object(found)) {
        json_decref(found);
        return err_set(err, ERR_BAD_REQUEST, "bad JSON: must be an object");
    }
    *root = found;
    return 0;
}

/* ---- members ---- */

void json_reader_init(struct json_reader *r, const json_t *object, struct err *err)
{
    r->object = object;
    r->where[0] = '\0';
    r->code = 0;
    r->err = err;
    r->read_count = 0;
}

int json_reader_fail(struct json_reader *r, const char *name, const char *fmt, ...)
{
    if (r->code)
        return r->code;
    char text[ERR_TEXT_BYTES];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    r->code = err_set(r->err, ERR_BAD_REQUEST, "member '%s%.64s' %.300s", r->where, name, text);
    return r->code;
}

int json_reader_end(struct json_reader *r, enum json_rule rule)
{
    if (r->code || rule == MEMBERS_MORE)
        return r->code;
    const char *name;
    json_t *value;
    /* jansson's iterators take no const, and change nothing. */
    union {
        const json_t *in;
        json_t *out;
    } object = {.in = r->object};
    json_object_foreach(object.out, name, value)
    {
        bool known = false;
        for (size_t i = 0; i < r->read_count && !known; i++)
            known = strcmp(r->read[i], name) == 0;
        if (!known)
            return json_reader_fail(r, name, "is not known here");
    }
    return 0;
}

const json_t *json_read(struct json_reader *r, const char *name, bool required)
{
    ASSERT(r->read_count < JSON_MEMBERS_MAX);
    r->read[r->read_count++] = name;
    if (r->code)
        return NULL;
    const json_t *value = json_object_get(r->object, name);
    if (!value && required)
        json_reader_fail(r, name, "is missing");
    return value;
}

bool json_read_u64(struct json_reader *r, const char *name, bool required, uint64_t *out)
{
    *out = 0;
    const json_t *value = json_read(r, name, required);
    if (!value)
        return false;
    json_int_t v = json_is_integer(value) ? json_integer_value(value) : -1;
    if (v < 0 || (uint64_t)v > JSON_INTEGER_MAX) {
        json_reader_fail(r, name, "must be a whole number from 0 to %" PRIu64, JSON_INTEGER_MAX);
        return false;
    }
    *out = (uint64_t)v;
    return true;
}

bool json_read_bool(struct json_reader *r, const char *name, bool required, bool *out)
{
    *out = false;
    const json_t *value = json_read(r, name, required);
    if (!value)
        return false;
    if (!json_is_boolean(value)) {
        json_reader_fail(r, name, "must be true or false");
        return false;
    }
    *out = json_is_true(value);
    return true;
}

bool json_read_string(struct json_reader *r, const char *name, bool required, struct slice *out)
{
    *out = slice_of("", 0);
    const json_t *value = json_read(r, name, required);
    if (!value)
        return false;
    if (!json_is_string(value)) {
        json_reader_fail(r, name, "must be a string");
        return false;
    }
    *out = slice_of(json_string_value(value), json_string_length(value));
    return true;
}

bool json_text_is(struct slice text, const char *word)
{
    return text.len == strlen(word) && memcmp(text.data, word, text.len) == 0;
}

bool json_read_text(struct json_reader *r, const char *name, bool required, char *out,
                    size_t out_bytes)
{
    struct slice text;
    out[0] = '\0';
    if (!json_read_string(r, name, required, &text))
        return false;
    if (text.len >= out_bytes) {
        json_reader_fail(r, name, "is longer than %zu bytes", out_bytes - 1);
        return false;
    }
    if (memchr(text.data, '\0', text.len)) {
        json_reader_fail(r, name, "must not hold a NUL");
        return false;
    }
    memcpy(out, text.data, text.len);
    out[text.len] = '\0';
    return true;
}

bool json_read_hex64(struct json_reader *r, const char *name, bool required, uint64_t *out)
{
    struct slice text;
    *out = 0;
    if (!json_read_string(r, name, required, &text))
        return false;
    if (hex64_parse((const char *)text.data, text.len, out) < 0) {
        json_reader_fail(r, name, "must be 16 hex digits");
        return false;
    }
    return true;
}

bool json_read_hex128(struct json_reader *r, const char *name, bool required, struct digest *out)
{
    struct slice text;
    *out = (struct digest){0};
    if (!json_read_string(r, name, required, &text))
        return false;
    if (hex128_parse((const char *)text.data, text.len, out) < 0) {
        json_reader_fail(r, name, "must be 32 hex digits");
        return false;
    }
    return true;
}

bool json_read_name(struct json_reader *r, const char *name, bool required,
                    char out[LIMIT_NAME_BYTES + 1])
{
    if (!json_read_text(r, name, required, out, LIMIT_NAME_BYTES + 1))
        return false;
    if (!member_name_valid(out, strlen(out))) {
        json_reader_fail(r, name, "must be 1 to %d of A-Z a-z 0-9 . _ -", LIMIT_NAME_BYTES);
        out[0] = '\0';
        return false;
    }
    return true;
}

/* Whether it is an address that can be called is judged where it is called; here only that it can
 * be stored, shown and sent in a header without harm. */
bool json_read_url(struct json_reader *r, const char *name, bool required,
                   char out[LIMIT_URL_BYTES + 1])
{
    if (!json_read_text(r, name, required, out, LIMIT_URL_BYTES + 1))
        return false;
    bool good = out[0] != '\0';
    for (const char *c = out; *c; c++)
        good = good && *c > ' ' && *c < 0x7f && *c != '"' && *c != '\\' && *c != '<' && *c != '>';
    if (!good) {
        json_reader_fail(r, name, "must be a URL");
        out[0] = '\0';
    }
    return good;
}

bool json_read_bytes(struct json_reader *r, const char *name, const char *name_base64,
                     bool required, size_t bytes_max, struct buf *out)
{
    struct slice text, encoded;
    buf_init(out, bytes_max);
    bool plain = json_read_string(r, name, false, &text);
    bool base64 = json_read_string(r, name_base64, false, &encoded);
    if (r->code)
        return false;
    if (plain && base64) {
        json_reader_fail(r, name, "stands beside '%s': one of them only", name_base64);
        return false;
    }
    if (!plain && !base64) {
        if (required)
            json_reader_fail(r, name, "is missing");
        return false;
    }
    /* Decoding may need room for two bytes more than it gives. */
    const char *which = plain ? name : name_base64;
    size_t len = plain ? text.len : encoded.len / 4 * 3;
    buf_init(out, bytes_max + 2);
    int rc = buf_reserve(out, len);
    if (rc == 0 && plain)
        rc = buf_append(out, text.data, text.len);
    else if (rc == 0 && len > 0)
        rc = base64_decode(out->data, &out->len, (const char *)encoded.data, encoded.len);
    else if (rc == 0 && encoded.len > 0)
        rc = ERR_BAD_REQUEST; /* less than four characters */
    if (rc == ERR_BAD_REQUEST) {
        json_reader_fail(r, which, "must be base64, padded");
    } else if (rc < 0 || out->len > bytes_max) {
        json_reader_fail(r, which, "is longer than %zu bytes", bytes_max);
    } else {
        if (len > 0)
            out->data[out->len] = 0;
        return true;
    }
    buf_release(out);
    return false;
}

const json_t *json_read_array(struct json_reader *r, const char *name, bool required)
{
    const json_t *value = json_read(r, name, required);
    if (value && !json_is_array(value)) {
        json_reader_fail(r, name, "must be an array");
        return NULL;
    }
    return value;
}

bool json_read_object(struct json_reader *r, const char *name, bool required,
                      struct json_reader *inner)
{
    const json_t *value = json_read(r, name, required);
    if (!value || (!required && json_is_null(value)))
        return false;
    if (!json_is_object(value)) {
        json_reader_fail(r, name, "must be an object");
        return false;
    }
    json_reader_init(inner, value, r->err);
    snprintf(inner->where, sizeof(inner->where), "%.24s%.16s.", r->where, name);
    return true;
}

bool json_read_element(struct json_reader *r, const char *name, const json_t *array, size_t i,
                       struct json_reader *inner)
{
    if (r->code)
        return false;
    const json_t *value = json_array_get(array, i);
    ASSERT(value);
    json_reader_init(inner, value, r->err);
    snprintf(inner->where, sizeof(inner->where), "%.16s%.16s[%zu].", r->where, name, i % 10000000);
    if (!json_is_object(value)) {
        char element[40];
        snprintf(element, sizeof(element), "%.16s[%zu]", name, i);
        json_reader_fail(r, element, "must be an object");
        return false;
    }
    return true;
}

void json_read_close(struct json_reader *r, struct json_reader *inner, enum json_rule rule)
{
    int rc = json_reader_end(inner, rule);
    if (!r->code)
        r->code = rc;
}

/* ---- flat objects ---- */

static int flat_member(const char *name, const json_t *value,
                       int (*each)(void *, const char *, const char *, struct err *),
                       void *argument, struct err *err)
{
    char number[64];
    switch (json_typeof(value)) {
    case JSON_STRING:
        if (memchr(json_string_value(value), '\0', json_string_length(value)))
            return err_set(err, ERR_BAD_REQUEST, "member '%.64s' must not hold a NUL", name);
        return each(argument, name, json_string_value(value), err);
    case JSON_INTEGER:
        snprintf(number, sizeof(number), "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        return each(argument, name, number, err);
    case JSON_REAL:
        snprintf(number, sizeof(number), "%.17g", json_real_value(value));
        return each(argument, name, number, err);
    case JSON_TRUE: return each(argument, name, "true", err);
    case JSON_FALSE: return each(argument, name, "false", err);
    default:
        return err_set(err, ERR_BAD_REQUEST,
                       "member '%.64s' must be a string, a number, true or false", name);
    }
}

int json_flat_object(struct slice body,
                     int (*each)(void *, const char *name, const char *text, struct err *err),
                     void *argument, struct err *err)
{
    json_t *root = NULL;
    int rc = json_parse_object(body, LIMIT_JSON_DEPTH, &root, err);
    if (rc < 0)
        return rc;
    const char *name;
    json_t *value;
    json_object_foreach(root, name, value)
    {
        rc = flat_member(name, value, each, argument, err);
        if (rc < 0)
            break;
    }
    json_decref(root);
    return rc;
}
