/*
 * The cursor of a scan: base64url (RFC 4648, section 5) without padding, of
 *
 *   version 1 | flags 1 | length of prefix, start, end, after 2 each | start | end | after | crc 4
 *
 * little endian. The prefix is the beginning of `after`, which every key of the scan shares. The
 * CRC32C covers all before it: it catches what was mangled on the way. It is no seal, and none is
 * needed: a cursor says nothing that the other parameters could not.
 */
#include <endian.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/mem.h"
#include "lib/json/api.h"
#include "lib/json/json_internal.h"

enum {
    CURSOR_VERSION = 1,
    CURSOR_REVERSE = 1,
    CURSOR_KEYS_ONLY = 2,
    CURSOR_FIELDS = 4,
    CURSOR_HEAD_BYTES = 2 + 2 * CURSOR_FIELDS,
    CURSOR_CRC_BYTES = 4,
    CURSOR_RAW_MAX = CURSOR_HEAD_BYTES + 3 * LIMIT_KEY_BYTES + CURSOR_CRC_BYTES,
};
_Static_assert(LIMIT_KEY_BYTES <= UINT16_MAX, "lengths have two bytes");
_Static_assert((CURSOR_RAW_MAX + 2) / 3 * 4 <= LIMIT_CURSOR_BYTES, "the longest cursor fits");

static void put16(uint8_t *at, size_t v)
{
    at[0] = (uint8_t)(v & 0xff);
    at[1] = (uint8_t)(v >> 8);
}

static size_t get16(const uint8_t *at)
{
    return (size_t)at[0] | (size_t)at[1] << 8;
}

static bool starts_with(struct slice text, struct slice prefix)
{
    return text.len >= prefix.len &&
           (prefix.len == 0 || memcmp(text.data, prefix.data, prefix.len) == 0);
}

int scan_cursor_encode(const struct state_scan *scan, struct slice last_key, struct buf *out)
{
    ASSERT(last_key.len > 0 && last_key.len <= LIMIT_KEY_BYTES);
    ASSERT(starts_with(last_key, scan->prefix));
    if (scan->start.len > LIMIT_KEY_BYTES || scan->end.len > LIMIT_KEY_BYTES)
        return ERR_TOO_LARGE;
    uint8_t raw[CURSOR_RAW_MAX];
    raw[0] = CURSOR_VERSION;
    raw[1] =
        (uint8_t)((scan->reverse ? CURSOR_REVERSE : 0) | (scan->keys_only ? CURSOR_KEYS_ONLY : 0));
    put16(raw + 2, scan->prefix.len);
    put16(raw + 4, scan->start.len);
    put16(raw + 6, scan->end.len);
    put16(raw + 8, last_key.len);
    size_t len = CURSOR_HEAD_BYTES;
    const struct slice parts[] = {scan->start, scan->end, last_key};
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        if (parts[i].len > 0)
            memcpy(raw + len, parts[i].data, parts[i].len);
        len += parts[i].len;
    }
    uint32_t crc = htole32(crc32c(0, raw, len));
    memcpy(raw + len, &crc, sizeof(crc));
    len += sizeof(crc);

    int rc = buf_reserve(out, base64_encoded_len(len));
    if (rc < 0)
        return rc;
    char *text = (char *)out->data + out->len;
    base64_encode(text, raw, len);
    size_t text_len = (len * 8 + 5) / 6; /* the padding goes */
    for (size_t i = 0; i < text_len; i++)
        text[i] = (char)(text[i] == '+' ? '-' : text[i] == '/' ? '_' : text[i]);
    text[text_len] = '\0';
    out->len += text_len;
    return 0;
}

/* base64url without padding, strictly. 0 or ERR_BAD_REQUEST. */
static int decode_text(struct slice text, uint8_t *raw, size_t *len)
{
    char padded[LIMIT_CURSOR_BYTES + 4];
    for (size_t i = 0; i < text.len; i++) {
        char c = (char)text.data[i];
        if (c == '+' || c == '/' || c == '=')
            return ERR_BAD_REQUEST;
        padded[i] = (char)(c == '-' ? '+' : c == '_' ? '/' : c);
    }
    size_t padded_len = text.len;
    while (padded_len % 4)
        padded[padded_len++] = '=';
    return base64_decode(raw, len, padded, padded_len);
}

static void cursor_init(struct scan_cursor *c)
{
    *c = (struct scan_cursor){0};
    buf_init(&c->prefix, LIMIT_KEY_BYTES);
    buf_init(&c->start, LIMIT_KEY_BYTES);
    buf_init(&c->end, LIMIT_KEY_BYTES);
    buf_init(&c->after, LIMIT_KEY_BYTES);
}

void scan_cursor_release(struct scan_cursor *c)
{
    buf_release(&c->prefix);
    buf_release(&c->start);
    buf_release(&c->end);
    buf_release(&c->after);
}

int scan_cursor_decode(struct slice text, struct scan_cursor *c, struct err *err)
{
    static const char bad[] = "parameter 'cursor' is none that a scan gave";
    uint8_t raw[(LIMIT_CURSOR_BYTES + 3) / 4 * 3];
    size_t len;
    if (text.len == 0 || text.len > LIMIT_CURSOR_BYTES || decode_text(text, raw, &len) < 0 ||
        len < CURSOR_HEAD_BYTES + CURSOR_CRC_BYTES)
        return err_set(err, ERR_BAD_REQUEST, bad);
    len -= CURSOR_CRC_BYTES;
    uint32_t crc;
    memcpy(&crc, raw + len, sizeof(crc));
    if (le32toh(crc) != crc32c(0, raw, len))
        return err_set(err, ERR_BAD_REQUEST, "%s: mangled", bad);
    if (raw[0] != CURSOR_VERSION)
        return err_set(err, ERR_BAD_REQUEST, "%s: version %u, not %d", bad, raw[0], CURSOR_VERSION);

    size_t prefix_len = get16(raw + 2), start_len = get16(raw + 4), end_len = get16(raw + 6),
           after_len = get16(raw + 8);
    if (raw[1] & ~(CURSOR_REVERSE | CURSOR_KEYS_ONLY) || start_len > LIMIT_KEY_BYTES ||
        end_len > LIMIT_KEY_BYTES || after_len == 0 || after_len > LIMIT_KEY_BYTES ||
        prefix_len > after_len || CURSOR_HEAD_BYTES + start_len + end_len + after_len != len)
        return err_set(err, ERR_BAD_REQUEST, bad);
    struct slice start = slice_of(raw + CURSOR_HEAD_BYTES, start_len);
    struct slice end = slice_of(start.data + start_len, end_len);
    struct slice after = slice_of(end.data + end_len, after_len);
    if (slice_compare(after, start) < 0 || (end_len > 0 && slice_compare(after, end) >= 0))
        return err_set(err, ERR_BAD_REQUEST, bad);

    cursor_init(c);
    int rc = buf_append(&c->prefix, after.data, prefix_len);
    ASSERT(rc == 0);
    rc = buf_append(&c->start, start.data, start.len);
    ASSERT(rc == 0);
    rc = buf_append(&c->end, end.data, end.len);
    ASSERT(rc == 0);
    rc = buf_append(&c->after, after.data, after.len);
    ASSERT(rc == 0);
    c->reverse = raw[1] & CURSOR_REVERSE;
    c->keys_only = raw[1] & CURSOR_KEYS_ONLY;
    return 0;
}
