/* Writing JSON by hand: what is hot goes straight into the buffer, with no tree in between. */
#include <string.h>

#include "lib/base/check.h"
#include "lib/json/api.h"
#include "lib/json/json_internal.h"

/* How a byte stands in a string (RFC 8259, section 7): 0 as it is, 'u' as \u00XX, else behind a
 * backslash. */
static const char escapes[256] = {
    ['"'] = '"',  ['\\'] = '\\', [0] = 'u',  [1] = 'u',    [2] = 'u',    [3] = 'u',    [4] = 'u',
    [5] = 'u',    [6] = 'u',     [7] = 'u',  ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', [11] = 'u',
    ['\f'] = 'f', ['\r'] = 'r',  [14] = 'u', [15] = 'u',   [16] = 'u',   [17] = 'u',   [18] = 'u',
    [19] = 'u',   [20] = 'u',    [21] = 'u', [22] = 'u',   [23] = 'u',   [24] = 'u',   [25] = 'u',
    [26] = 'u',   [27] = 'u',    [28] = 'u', [29] = 'u',   [30] = 'u',   [31] = 'u',
};

/* Escapes what is known to be UTF-8, without the quotes. */
static int put_escaped(struct buf *out, const uint8_t *at, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    if (len == 0) /* `at` may be NULL */
        return 0;
    const uint8_t *end = at + len;
    int rc = 0;
    while (rc == 0 && at < end) {
        const uint8_t *plain = at;
        while (at < end && !escapes[*at])
            at++;
        rc = buf_append(out, plain, (size_t)(at - plain));
        if (rc < 0 || at == end)
            break;
        char escaped[6] = {'\\', escapes[*at], '0', '0', digits[*at >> 4], digits[*at & 15]};
        rc = buf_append(out, escaped, escapes[*at] == 'u' ? 6 : 2);
        at++;
    }
    return rc;
}

static int put_string(struct buf *out, struct slice text)
{
    int rc = buf_append_byte(out, '"');
    if (rc == 0)
        rc = put_escaped(out, text.data, text.len);
    return rc < 0 ? rc : buf_append_byte(out, '"');
}

int json_quote(struct slice text, struct buf *out)
{
    if (!utf8_valid(text.data, text.len))
        return ERR_BAD_REQUEST;
    return put_string(out, text);
}

int json_put_text(struct buf *out, const char *text)
{
    size_t len = strlen(text);
    if (utf8_valid(text, len))
        return put_string(out, slice_of(text, len));
    /* Detail of an error may quote a stranger's bytes, or be cut inside a character. */
    const uint8_t *at = (const uint8_t *)text, *end = at + len;
    int rc = buf_append_byte(out, '"');
    while (rc == 0 && at < end) {
        size_t size = 1, left = (size_t)(end - at);
        while (size <= 4 && size <= left && !utf8_valid(at, size))
            size++;
        bool whole = size <= 4 && size <= left;
        rc = whole ? put_escaped(out, at, size) : buf_append_str(out, "\xef\xbf\xbd");
        at += whole ? size : 1;
    }
    return rc < 0 ? rc : buf_append_byte(out, '"');
}

int json_put_base64(struct buf *out, struct slice data)
{
    size_t len = base64_encoded_len(data.len);
    int rc = buf_reserve(out, len + 2);
    if (rc < 0)
        return rc;
    uint8_t *at = out->data + out->len;
    *at++ = '"';
    base64_encode((char *)at, data.data, data.len);
    at += len;
    *at++ = '"';
    *at = 0;
    out->len += len + 2;
    return 0;
}

int json_put_u64(struct buf *out, uint64_t v)
{
    if (v > JSON_INTEGER_MAX)
        return ERR_INTERNAL;
    char digits[20];
    size_t at = sizeof(digits);
    do {
        digits[--at] = (char)('0' + v % 10);
        v /= 10;
    } while (v > 0);
    return buf_append(out, digits + at, sizeof(digits) - at);
}

int json_put_hex64(struct buf *out, uint64_t v)
{
    char text[1 + HEX64_BYTES] = "\"";
    hex64(v, text + 1);
    text[HEX64_BYTES] = '"';
    return buf_append(out, text, sizeof(text));
}

int json_put_hex128(struct buf *out, struct digest d)
{
    char text[1 + HEX128_BYTES] = "\"";
    hex128(d, text + 1);
    text[HEX128_BYTES] = '"';
    return buf_append(out, text, sizeof(text));
}

int json_put_bool(struct buf *out, bool v)
{
    return buf_append_str(out, v ? "true" : "false");
}

int json_put_u64_after(struct buf *out, const char *lead, uint64_t v)
{
    int rc = buf_append_str(out, lead);
    return rc < 0 ? rc : json_put_u64(out, v);
}

int json_put_text_after(struct buf *out, const char *lead, const char *text)
{
    int rc = buf_append_str(out, lead);
    return rc < 0 ? rc : json_put_text(out, text);
}

int json_put_bool_after(struct buf *out, const char *lead, bool v)
{
    int rc = buf_append_str(out, lead);
    return rc < 0 ? rc : json_put_bool(out, v);
}

int json_bytes_member(const char *name, struct slice bytes, struct buf *out)
{
    bool text = utf8_valid(bytes.data, bytes.len);
    int rc = buf_append_byte(out, '"');
    if (rc == 0)
        rc = buf_append_str(out, name);
    if (rc == 0)
        rc = buf_append_str(out, text ? "\":" : "_base64\":");
    if (rc < 0)
        return rc;
    return text ? put_string(out, bytes) : json_put_base64(out, bytes);
}
