/* JSON read from the front. */
#include "lib/base/json_text.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/hash.h"

void json_text_init(struct json_text *t, struct slice text, struct buf *scratch)
{
    t->start = t->at = text.data;
    t->end = text.data + text.len;
    t->scratch = scratch;
    t->why[0] = '\0';
}

bool json_text_fail(struct json_text *t, const char *fmt, ...)
{
    char what[JSON_TEXT_WHY_BYTES - 32];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof(what), fmt, ap);
    va_end(ap);
    snprintf(t->why, sizeof(t->why), "column %zu: %s", (size_t)(t->at - t->start) + 1, what);
    return false;
}

static void blanks(struct json_text *t)
{
    while (t->at < t->end && (*t->at == ' ' || *t->at == '\t' || *t->at == '\r' || *t->at == '\n'))
        t->at++;
}

static bool take(struct json_text *t, uint8_t c)
{
    blanks(t);
    if (t->at == t->end || *t->at != c)
        return false;
    t->at++;
    return true;
}

static bool want(struct json_text *t, uint8_t c, const char *where)
{
    if (take(t, c))
        return true;
    if (t->at == t->end)
        return json_text_fail(t, "the text ends where '%c' is wanted %s", c, where);
    return json_text_fail(t, "'%c' is wanted %s", c, where);
}

static bool take_word(struct json_text *t, const char *word)
{
    size_t len = strlen(word);
    blanks(t);
    if ((size_t)(t->end - t->at) < len || memcmp(t->at, word, len) != 0)
        return false;
    t->at += len;
    return true;
}

/* ---- strings ---- */

static bool hex4(struct json_text *t, uint32_t *out)
{
    uint32_t v = 0;
    for (int i = 0; i < 4; i++, t->at++) {
        uint8_t c = t->at < t->end ? *t->at : 0, lower = c | 0x20;
        if (c >= '0' && c <= '9')
            v = v * 16 + (uint32_t)(c - '0');
        else if (lower >= 'a' && lower <= 'f')
            v = v * 16 + (uint32_t)(lower - 'a' + 10);
        else
            return json_text_fail(t, "\\u needs four hex digits");
    }
    *out = v;
    return true;
}

static void put_utf8(struct buf *out, uint32_t c)
{
    uint8_t b[4];
    size_t n = 0;
    if (c < 0x80) {
        b[n++] = (uint8_t)c;
    } else if (c < 0x800) {
        b[n++] = (uint8_t)(0xc0 | c >> 6);
        b[n++] = (uint8_t)(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
        b[n++] = (uint8_t)(0xe0 | c >> 12);
        b[n++] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
        b[n++] = (uint8_t)(0x80 | (c & 0x3f));
    } else {
        b[n++] = (uint8_t)(0xf0 | c >> 18);
        b[n++] = (uint8_t)(0x80 | (c >> 12 & 0x3f));
        b[n++] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
        b[n++] = (uint8_t)(0x80 | (c & 0x3f));
    }
    ASSERT(buf_append(out, b, n) == 0); /* shorter than its escape */
}

static bool unicode_escape(struct json_text *t)
{
    uint32_t c = 0, low = 0;
    if (!hex4(t, &c))
        return false;
    if (c >= 0xdc00 && c < 0xe000)
        return json_text_fail(t, "a low surrogate alone");
    if (c >= 0xd800 && c < 0xdc00) {
        if (t->end - t->at < 2 || t->at[0] != '\\' || t->at[1] != 'u')
            return json_text_fail(t, "a high surrogate alone");
        t->at += 2;
        if (!hex4(t, &low))
            return false;
        if (low < 0xdc00 || low >= 0xe000)
            return json_text_fail(t, "a high surrogate alone");
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
    }
    put_utf8(t->scratch, c);
    return true;
}

static bool escape(struct json_text *t)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (t->at == t->end)
        return json_text_fail(t, "the text ends in a string");
    uint8_t c = *t->at++;
    if (c == 'u')
        return unicode_escape(t);
    const char *found = c ? strchr(from, c) : NULL;
    if (!found)
        return json_text_fail(t, "an unknown escape");
    ASSERT(buf_append_byte(t->scratch, (uint8_t)to[found - from]) == 0);
    return true;
}

/* The run up to a quote, an escape, or what may not stand in a string. */
static struct slice run(struct json_text *t, uint8_t *bits)
{
    const uint8_t *from = t->at, *at = from;
    while (at < t->end && *at != '"' && *at != '\\' && *at >= 0x20)
        *bits |= *at++;
    t->at = at;
    return slice_of(from, (size_t)(at - from));
}

bool json_text_string(struct json_text *t, struct slice *out)
{
    uint8_t bits = 0;
    if (!want(t, '"', "for a string"))
        return false;
    struct slice plain = run(t, &bits);
    bool escaped = t->at < t->end && *t->at == '\\';
    if (escaped) {
        buf_clear(t->scratch);
        ASSERT(buf_append(t->scratch, plain.data, plain.len) == 0);
        while (t->at < t->end && *t->at == '\\') {
            t->at++;
            if (!escape(t))
                return false;
            plain = run(t, &bits);
            ASSERT(buf_append(t->scratch, plain.data, plain.len) == 0);
        }
        plain = slice_of(t->scratch->data, t->scratch->len);
    }
    if (t->at == t->end)
        return json_text_fail(t, "the text ends in a string");
    if (*t->at != '"')
        return json_text_fail(t, "a control character in a string");
    if (bits & 0x80 && !utf8_valid(plain.data, plain.len))
        return json_text_fail(t, "a string that is not UTF-8 (bytes go into …_base64)");
    t->at++;
    *out = plain;
    return true;
}

/* ---- the other values ---- */

bool json_text_u64(struct json_text *t, uint64_t max, uint64_t *out)
{
    blanks(t);
    const uint8_t *from = t->at;
    uint64_t n = 0;
    while (t->at < t->end && *t->at >= '0' && *t->at <= '9') {
        uint8_t digit = (uint8_t)(*t->at - '0');
        if (n > (max - digit) / 10)
            return json_text_fail(t, "a number above %" PRIu64, max);
        n = n * 10 + digit;
        t->at++;
    }
    bool more = t->at < t->end && (*t->at == '.' || *t->at == 'e' || *t->at == 'E');
    if (t->at == from || more || (*from == '0' && t->at - from > 1))
        return json_text_fail(t, "a whole number from 0 to %" PRIu64 " is wanted", max);
    *out = n;
    return true;
}

bool json_text_bool(struct json_text *t, bool *out)
{
    *out = take_word(t, "true");
    if (*out || take_word(t, "false"))
        return true;
    return json_text_fail(t, "true or false is wanted");
}

bool json_text_null(struct json_text *t)
{
    return take_word(t, "null");
}

bool json_text_end(struct json_text *t)
{
    blanks(t);
    return t->at == t->end || json_text_fail(t, "something stands behind the object");
}

bool json_text_object(struct json_text *t,
                      bool (*member)(void *argument, struct json_text *t, struct slice name),
                      void *argument)
{
    if (!want(t, '{', "for an object"))
        return false;
    if (take(t, '}'))
        return true;
    do {
        struct slice name;
        if (!json_text_string(t, &name) || !want(t, ':', "behind a name") ||
            !member(argument, t, name))
            return false;
    } while (take(t, ','));
    return want(t, '}', "behind the members");
}

bool json_text_array(struct json_text *t, bool (*element)(void *argument, struct json_text *t),
                     void *argument)
{
    if (!want(t, '[', "for an array"))
        return false;
    if (take(t, ']'))
        return true;
    do {
        if (!element(argument, t))
            return false;
    } while (take(t, ','));
    return want(t, ']', "behind the elements");
}

/* ---- values that nobody asked for ---- */

static bool digits(struct json_text *t)
{
    const uint8_t *from = t->at;
    while (t->at < t->end && *t->at >= '0' && *t->at <= '9')
        t->at++;
    return t->at > from || json_text_fail(t, "a value is wanted");
}

static bool skip_number(struct json_text *t)
{
    if (t->at < t->end && *t->at == '-')
        t->at++;
    if (!digits(t))
        return false;
    if (t->at < t->end && *t->at == '.') {
        t->at++;
        if (!digits(t))
            return false;
    }
    if (t->at < t->end && (*t->at | 0x20) == 'e') {
        t->at++;
        if (t->at < t->end && (*t->at == '+' || *t->at == '-'))
            t->at++;
        return digits(t);
    }
    return true;
}

static bool skip_value(struct json_text *t, int depth);

static bool skip_element(void *argument, struct json_text *t)
{
    const int *depth = argument;
    return skip_value(t, *depth + 1);
}

static bool skip_member(void *argument, struct json_text *t, struct slice name)
{
    const int *depth = argument;
    (void)name;
    return skip_value(t, *depth + 1);
}

static bool skip_value(struct json_text *t, int depth)
{
    struct slice ignored;
    if (depth > JSON_TEXT_DEPTH_MAX)
        return json_text_fail(t, "nested deeper than %d", JSON_TEXT_DEPTH_MAX);
    blanks(t);
    switch (t->at < t->end ? *t->at : 0) {
    case '"': return json_text_string(t, &ignored);
    case '{': return json_text_object(t, skip_member, &depth);
    case '[': return json_text_array(t, skip_element, &depth);
    default: break;
    }
    if (take_word(t, "true") || take_word(t, "false") || take_word(t, "null"))
        return true;
    return skip_number(t);
}

bool json_text_skip(struct json_text *t)
{
    return skip_value(t, 1);
}
