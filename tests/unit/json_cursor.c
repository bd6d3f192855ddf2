/* The cursor of a scan: comes back as it was, or is refused. */
#include <string.h>

#include "lib/base/mem.h"
#include "lib/base/prng.h"
#include "lib/json/api.h"
#include "tests/unit/tap.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static bool same(const struct buf *b, struct slice s)
{
    return slice_compare(slice_of(b->data, b->len), s) == 0;
}

static struct buf encoded(const struct state_scan *scan, struct slice last)
{
    struct buf text;
    buf_init(&text, LIMIT_CURSOR_BYTES);
    must(scan_cursor_encode(scan, last, &text) == 0);
    return text;
}

static void test_fixed(void)
{
    struct state_scan scan = {.prefix = slice_str("us"),
                              .start = slice_str("user/"),
                              .end = slice_str("user0"),
                              .keys_only = true};
    struct buf text = encoded(&scan, slice_str("user/17"));
    is_str((char *)text.data, "AQICAAUABQAHAHVzZXIvdXNlcjB1c2VyLzE3VrA-ow",
           "version 1 does not change: cursors never expire");
    struct scan_cursor c;
    struct err e = {0};
    must(scan_cursor_decode(slice_of(text.data, text.len), &c, &e) == 0);
    ok(same(&c.prefix, scan.prefix) && same(&c.start, scan.start) && same(&c.end, scan.end) &&
           same(&c.after, slice_str("user/17")) && !c.reverse && c.keys_only,
       "… and comes back");
    scan_cursor_release(&c);

    /* Each character, changed to each other one. */
    bool refused = true;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t before = text.data[i];
        for (int to = 1; to < 256; to++) {
            if (to == before)
                continue;
            text.data[i] = (uint8_t)to;
            refused =
                refused &&
                scan_cursor_decode(slice_of(text.data, text.len), &c, &e) == ERR_BAD_REQUEST &&
                strstr(e.text, "'cursor'");
        }
        text.data[i] = before;
    }
    ok(refused, "one character that is mangled is noticed");
    bool cut = true;
    for (size_t len = 0; len < text.len; len++)
        cut = cut && scan_cursor_decode(slice_of(text.data, len), &c, &e) == ERR_BAD_REQUEST;
    ok(cut, "a cursor that is cut is refused");
    static const char *const behind[] = {"A", "=", "==", "AAAA", " ", "\n"};
    for (size_t i = 0; i < sizeof(behind) / sizeof(behind[0]); i++) {
        struct buf longer;
        buf_init(&longer, 1000);
        must(buf_append(&longer, text.data, text.len) == 0);
        must(buf_append_str(&longer, behind[i]) == 0);
        is_i64(scan_cursor_decode(slice_of(longer.data, longer.len), &c, &e), ERR_BAD_REQUEST,
               "nothing may stand behind it (%zu)", i);
        buf_release(&longer);
    }
    buf_release(&text);
}

static void test_round_trips(struct prng *p)
{
    bool held = true, url_safe = true;
    for (int round = 0; round < 3000 && held; round++) {
        static uint8_t bytes[3][LIMIT_KEY_BYTES];
        uint64_t most = round % 100 == 0 ? LIMIT_KEY_BYTES : 30;
        for (int i = 0; i < 3; i++)
            prng_fill(p, bytes[i], most);
        bytes[0][0] &= 0x3f; /* start … */
        bytes[1][0] |= 0x40; /* … <= last key … */
        bytes[1][0] &= 0x7f;
        bytes[2][0] |= 0x80; /* … < end */
        struct slice last = slice_of(bytes[1], 1 + prng_below(p, most));
        struct state_scan scan = {
            .prefix = slice_of(bytes[1], prng_below(p, last.len + 1)),
            .start = slice_of(bytes[0], prng_below(p, most + 1)),
            .end = slice_of(bytes[2], prng_below(p, most + 1)),
            .reverse = prng_chance(p, 1, 2),
            .keys_only = prng_chance(p, 1, 2),
        };
        struct buf text = encoded(&scan, last);
        url_safe = url_safe && strspn((char *)text.data, alphabet) == text.len;
        struct scan_cursor c;
        struct err e = {0};
        held = scan_cursor_decode(slice_of(text.data, text.len), &c, &e) == 0;
        if (held) {
            held = same(&c.prefix, scan.prefix) && same(&c.start, scan.start) &&
                   same(&c.end, scan.end) && same(&c.after, last) && c.reverse == scan.reverse &&
                   c.keys_only == scan.keys_only;
            scan_cursor_release(&c);
        } else {
            diag("%s", e.text);
        }
        buf_release(&text);
    }
    ok(held, "what was put in comes out");
    ok(url_safe, "nothing in it needs escaping in a URL");
}

/* As ours, but with head and body of the caller's, and a right checksum. */
static int decode_raw(const uint8_t *raw, size_t len, struct err *e)
{
    uint8_t with_crc[256];
    char text[400];
    memcpy(with_crc, raw, len);
    uint32_t crc = crc32c(0, raw, len);
    for (int i = 0; i < 4; i++)
        with_crc[len++] = (uint8_t)(crc >> 8 * i);
    base64_encode(text, with_crc, len);
    size_t text_len = (len * 8 + 5) / 6;
    for (size_t i = 0; i < text_len; i++)
        text[i] = (char)(text[i] == '+' ? '-' : text[i] == '/' ? '_' : text[i]);
    struct scan_cursor c;
    int rc = scan_cursor_decode(slice_of(text, text_len), &c, e);
    if (rc == 0)
        scan_cursor_release(&c);
    return rc;
}

static void test_made_up(void)
{
    static const struct {
        const char *what;
        uint8_t raw[16];
        size_t len;
        int want;
    } rows[] = {
        {"the smallest", {1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 'k'}, 11, 0},
        {"another version", {2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 'k'}, 11, ERR_BAD_REQUEST},
        {"an unknown flag", {1, 4, 0, 0, 0, 0, 0, 0, 1, 0, 'k'}, 11, ERR_BAD_REQUEST},
        {"no last key", {1, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 10, ERR_BAD_REQUEST},
        {"a head only", {1, 0, 0, 0, 0, 0, 0, 0, 1}, 9, ERR_BAD_REQUEST},
        {"a prefix longer than the key", {1, 0, 2, 0, 0, 0, 0, 0, 1, 0, 'k'}, 11, ERR_BAD_REQUEST},
        {"a length beyond the end", {1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 'k'}, 11, ERR_BAD_REQUEST},
        {"a byte too many", {1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 'k', 'k'}, 12, ERR_BAD_REQUEST},
        {"a key of 65,535 bytes", {1, 0, 0, 0, 0, 0, 0, 0, 255, 255, 'k'}, 11, ERR_BAD_REQUEST},
        {"a start behind the key", {1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 'l', 'k'}, 12, ERR_BAD_REQUEST},
        {"an end at the key", {1, 0, 0, 0, 0, 0, 1, 0, 1, 0, 'k', 'k'}, 12, ERR_BAD_REQUEST},
        {"a start at the key", {1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 'k', 'k'}, 12, 0},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct err e = {0};
        is_i64(decode_raw(rows[i].raw, rows[i].len, &e), rows[i].want, "%s", rows[i].what);
    }
    struct scan_cursor c;
    struct err e = {0};
    char *longer = mem_alloc(LIMIT_CURSOR_BYTES + 1);
    memset(longer, 'A', LIMIT_CURSOR_BYTES + 1);
    is_i64(scan_cursor_decode(slice_of(longer, LIMIT_CURSOR_BYTES + 1), &c, &e), ERR_BAD_REQUEST,
           "over the limit");
    is_i64(scan_cursor_decode(slice_of(longer, LIMIT_CURSOR_BYTES), &c, &e), ERR_BAD_REQUEST,
           "at the limit");
    mem_free(longer);
    struct buf text;
    buf_init(&text, 10);
    struct state_scan scan = {0};
    is_i64(scan_cursor_encode(&scan, slice_str("key"), &text), ERR_TOO_LARGE,
           "no room in the buffer");
    buf_release(&text);
}

int main(void)
{
    struct prng p;
    prng_seed(&p, test_seed());
    test_fixed();
    test_round_trips(&p);
    test_made_up();
    return done();
}
