/*
 * Percent-encoding with lengths (RFC 3986 §2.1) and query strings. Bytes are bytes here: %00 is a
 * NUL in the result, %2F a slash that separates nothing, and nothing is normalised.
 */
#include <string.h>

#include "lib/base/limits.h"
#include "lib/net/http_server.h"

static int hex_value(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

int target_decode(struct slice raw, bool plus_is_space, struct buf *out, struct err *err)
{
    size_t before = out->len;
    int rc = 0;
    for (size_t i = 0; i < raw.len;) {
        size_t run = i; /* up to the next byte that stands for another one */
        while (run < raw.len && raw.data[run] != '%' && !(plus_is_space && raw.data[run] == '+'))
            run++;
        if (run > i) {
            rc = buf_append(out, raw.data + i, run - i);
        } else if (raw.data[i] == '+') {
            rc = buf_append_byte(out, ' ');
            run = i + 1;
        } else {
            int high = raw.len - i > 2 ? hex_value(raw.data[i + 1]) : -1;
            int low = raw.len - i > 2 ? hex_value(raw.data[i + 2]) : -1;
            if (high < 0 || low < 0) {
                out->len = before;
                return err_set(err, ERR_BAD_REQUEST,
                               "a %% in the URL must be followed by two hexadecimal digits");
            }
            rc = buf_append_byte(out, (uint8_t)(high << 4 | low));
            run = i + 3;
        }
        if (rc < 0) {
            out->len = before;
            return err_set(err, ERR_TOO_LARGE, "longer than %zu bytes", out->max - before);
        }
        i = run;
    }
    return 0;
}

/* RFC 3986 §2.3. */
static bool unreserved(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

int target_encode(struct slice bytes, bool keep_slash, struct buf *out)
{
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < bytes.len; i++) {
        uint8_t c = bytes.data[i];
        char escaped[3] = {'%', digits[c >> 4], digits[c & 15]};
        bool plain = unreserved(c) || (c == '/' && keep_slash);
        int rc = plain ? buf_append_byte(out, c) : buf_append(out, escaped, sizeof(escaped));
        if (rc < 0)
            return rc;
    }
    return 0;
}

static struct slice slice_until(struct slice *rest, uint8_t separator, bool *found)
{
    const uint8_t *at = rest->len ? memchr(rest->data, separator, rest->len) : NULL;
    struct slice head = {rest->data, at ? (size_t)(at - rest->data) : rest->len};
    *found = at != NULL;
    size_t skip = head.len + (at ? 1 : 0);
    if (skip)
        *rest = (struct slice){rest->data + skip, rest->len - skip};
    return head;
}

/* One `name`, `name=` or `name=value`. */
static int parse_one(struct slice pair, struct query_parameter *table, size_t count,
                     struct err *err)
{
    bool has_value;
    struct slice raw_name = slice_until(&pair, '=', &has_value);
    struct buf name;
    buf_init(&name, LIMIT_QUERY_NAME_BYTES);
    int rc = target_decode(raw_name, true, &name, err);
    if (rc == ERR_TOO_LARGE)
        rc = err_set(err, ERR_BAD_REQUEST, "unknown parameter '%.32s…'", (const char *)name.data);
    struct query_parameter *p = NULL;
    for (size_t i = 0; rc == 0 && i < count && !p; i++)
        if (strlen(table[i].name) == name.len && memcmp(table[i].name, name.data, name.len) == 0)
            p = &table[i];
    if (rc == 0 && (!p || p->seen))
        rc = err_set(err, ERR_BAD_REQUEST,
                     p ? "parameter '%s' stands there twice" : "unknown parameter '%s'",
                     (const char *)name.data);
    buf_release(&name);
    if (rc < 0 || !p)
        return rc;
    p->seen = true;
    p->has_value = has_value;
    rc = target_decode(pair, true, &p->value, err);
    if (rc < 0)
        err_prefix(err, "parameter '%s'", p->name);
    return rc;
}

int query_parse(struct slice raw, struct query_parameter *table, size_t count, struct err *err)
{
    for (size_t i = 0; i < count; i++) {
        table[i].seen = false;
        table[i].has_value = false;
        buf_init(&table[i].value, LIMIT_QUERY_BYTES);
    }
    if (raw.len > LIMIT_QUERY_BYTES)
        return err_set(err, ERR_BAD_REQUEST, "a query of %zu bytes, over the limit of %d", raw.len,
                       LIMIT_QUERY_BYTES);
    bool more = raw.len > 0;
    while (more) {
        struct slice pair = slice_until(&raw, '&', &more);
        if (pair.len == 0)
            continue; /* "a=1&&b=2", "a=1&": as every server takes it */
        int rc = parse_one(pair, table, count, err);
        if (rc < 0) {
            query_release(table, count);
            return rc;
        }
    }
    return 0;
}

void query_release(struct query_parameter *table, size_t count)
{
    for (size_t i = 0; i < count; i++)
        buf_release(&table[i].value);
}
