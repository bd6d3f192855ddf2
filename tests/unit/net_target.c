/* Targets: percent-decoding with lengths, encoding, query strings; and addresses of members. */
#include <string.h>

#include "lib/base/limits.h"
#include "lib/base/prng.h"
#include "lib/net/http_client.h"
#include "lib/net/http_server.h"
#include "tests/unit/tap.h"

static void decodes(const char *raw, bool plus, const char *want, size_t want_len, const char *what)
{
    struct buf out;
    struct err err = {.code = 0};
    buf_init(&out, LIMIT_KEY_BYTES);
    int rc = target_decode(slice_str(raw), plus, &out, &err);
    ok(rc == 0, "%s: decodes", what);
    is_mem(out.data, out.len, want, want_len, "%s", what);
    buf_release(&out);
}

static void refuses(const char *raw, const char *what)
{
    struct buf out;
    struct err err = {.code = 0};
    buf_init(&out, LIMIT_KEY_BYTES);
    buf_append_str(&out, "kept");
    is_i64(target_decode(slice_str(raw), true, &out, &err), ERR_BAD_REQUEST, "%s", what);
    is_mem(out.data, out.len, "kept", 4, "%s: the buffer is as it was", what);
    has_str(err.text, "%", "%s: says what is wrong", what);
    buf_release(&out);
}

static void test_decode(void)
{
    decodes("abc", false, "abc", 3, "plain");
    decodes("", false, "", 0, "empty");
    decodes("a%00b", false, "a\0b", 3, "NUL");
    decodes("a%2Fb%2fc", false, "a/b/c", 5, "escaped slash, both cases");
    decodes("../a//b/.", false, "../a//b/.", 9, "dots and slashes stay");
    decodes("a+b", false, "a+b", 3, "plus in a path");
    decodes("a+b%2Bc", true, "a b+c", 5, "plus in a query");
    decodes("%25", false, "%", 1, "decoded once");
    decodes("%2541", false, "%41", 3, "decoded once only");
    decodes("%FF%fe", false, "\xff\xfe", 2, "bytes that are no text");
    decodes("\xc3\xa4", false, "\xc3\xa4", 2, "bytes over 127 as they are");
    refuses("%", "percent alone");
    refuses("a%4", "one digit");
    refuses("%zz", "no digits");
    refuses("%4g", "second no digit");
    refuses("% 1", "blank for a digit");
    refuses("%-1", "sign for a digit");
    refuses("abc%", "percent at the end");
}

static void test_decode_limit(void)
{
    struct buf out;
    struct err err;
    buf_init(&out, 3);
    is_i64(target_decode(slice_str("%61%62%63"), false, &out, &err), 0, "exactly the limit");
    buf_clear(&out);
    is_i64(target_decode(slice_str("abcd"), false, &out, &err), ERR_TOO_LARGE, "one byte more");
    is_u64(out.len, 0, "nothing half decoded");
    is_i64(target_decode(slice_str("abc%64"), false, &out, &err), ERR_TOO_LARGE, "escaped, too");
    buf_release(&out);
    const uint8_t cut[] = {'%', '4', '1'};
    buf_init(&out, 8);
    is_i64(target_decode(slice_of(cut, 2), false, &out, &err), ERR_BAD_REQUEST,
           "the length counts, not what stands behind it");
    is_i64(target_decode(slice_of(cut, 3), false, &out, &err), 0, "whole escape at the end");
    buf_release(&out);
}

static void test_encode(void)
{
    struct buf out;
    buf_init(&out, 1024);
    is_i64(target_encode(slice_of("a/b c+d%\0~\xff", 11), true, &out), 0, "encodes");
    is_str((char *)out.data, "a/b%20c%2Bd%25%00~%FF", "all but the unreserved, slash kept");
    buf_clear(&out);
    target_encode(slice_str("a/b"), false, &out);
    is_str((char *)out.data, "a%2Fb", "slash escaped");
    buf_release(&out);
    buf_init(&out, 2);
    is_i64(target_encode(slice_str("\n"), false, &out), ERR_TOO_LARGE, "over the limit");
    buf_release(&out);

    struct prng random;
    prng_seed(&random, test_seed());
    bool same = true;
    for (int round = 0; round < 500; round++) {
        uint8_t bytes[64];
        size_t len = prng_next(&random) % sizeof(bytes);
        for (size_t i = 0; i < len; i++)
            bytes[i] = (uint8_t)prng_next(&random);
        struct buf text, back;
        buf_init(&text, 1024);
        buf_init(&back, 1024);
        target_encode(slice_of(bytes, len), round & 1, &text);
        same = same && target_decode(slice_of(text.data, text.len), round & 2, &back, NULL) == 0 &&
               back.len == len && memcmp(back.data, bytes, len) == 0;
        buf_release(&text);
        buf_release(&back);
    }
    ok(same, "500 random strings come back");
}

static struct query_parameter table[3];

static int parse(const char *raw, struct err *err)
{
    table[0].name = "prefix";
    table[1].name = "limit";
    table[2].name = "raw";
    return query_parse(slice_str(raw), table, 3, err);
}

static void test_query(void)
{
    struct err err = {.code = 0};
    is_i64(parse("prefix=a%2Fb+c&limit=10&raw", &err), 0, "three parameters");
    is_mem(table[0].value.data, table[0].value.len, "a/b c", 5, "value decoded, plus is a space");
    is_str((char *)table[1].value.data, "10", "second");
    ok(table[2].seen && !table[2].has_value, "a name without a value");
    query_release(table, 3);
    is_i64(parse("prefix=&raw=", &err), 0, "empty values");
    ok(table[0].seen && table[0].has_value && table[0].value.len == 0, "empty is a value");
    ok(!table[1].seen && table[2].has_value, "absent is not seen");
    query_release(table, 3);
    is_i64(parse("", &err), 0, "nothing at all");
    query_release(table, 3);
    is_i64(query_parse((struct slice){NULL, 0}, table, 3, &err), 0, "no query");
    query_release(table, 3);
    is_i64(parse("&prefix=a&&", &err), 0, "surplus separators");
    query_release(table, 3);
    is_i64(parse("prefix=a=b", &err), 0, "second equals sign");
    is_str((char *)table[0].value.data, "a=b", "belongs to the value");
    query_release(table, 3);
    is_i64(parse("pre%66ix=%00", &err), 0, "escapes in a name, NUL in a value");
    is_u64(table[0].value.len, 1, "one byte");
    query_release(table, 3);
    is_i64(parse("prefix=a&limits=1", &err), ERR_BAD_REQUEST, "unknown parameter");
    has_str(err.text, "'limits'", "named");
    is_i64(parse("limit=1&prefix=a&limit=1", &err), ERR_BAD_REQUEST, "repeated parameter");
    has_str(err.text, "'limit'", "named");
    is_i64(parse("=x", &err), ERR_BAD_REQUEST, "empty name");
    is_i64(parse("prefix%00=x", &err), ERR_BAD_REQUEST, "NUL does not end a name");
    is_i64(parse("prefix=%4", &err), ERR_BAD_REQUEST, "broken escape in a value");
    has_str(err.text, "'prefix'", "named");
    is_i64(parse("%=1", &err), ERR_BAD_REQUEST, "broken escape in a name");
    char longer[LIMIT_QUERY_BYTES + 16];
    memset(longer, 'x', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    is_i64(parse(longer, &err), ERR_BAD_REQUEST, "longer than the limit");
    longer[200] = '\0';
    is_i64(parse(longer, &err), ERR_BAD_REQUEST, "a very long name");
}

static void test_url(void)
{
    static const char *const good[] = {"http://127.0.0.1:5001", "http://node1", "http://[::1]:80",
                                       "http://a-b.c_d:65535"};
    static const char *const bad[] = {
        "",           "node1:5001",   "https://a:1",    "http://",         "http://:5",
        "http://a:",  "http://a:0",   "http://a:65536", "http://a:123456", "http://a:5x",
        "http://a/",  "http://a:1/x", "http://u@a:1",   "http://[::1",     "http://[]:1",
        "http://a b", "http://a?x",   "HTTP://a",
    };
    struct err err;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        ok(url_valid(good[i], &err), "valid: %s", good[i]);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ok(!url_valid(bad[i], &err), "invalid: '%s'", bad[i]);
    char longer[LIMIT_URL_BYTES + 10];
    memset(longer, 'a', sizeof(longer) - 1);
    memcpy(longer, "http://", 7);
    longer[LIMIT_URL_BYTES] = '\0';
    ok(url_valid(longer, NULL), "as long as it may be");
    longer[LIMIT_URL_BYTES] = 'a';
    longer[LIMIT_URL_BYTES + 1] = '\0';
    ok(!url_valid(longer, NULL), "one byte too long");
}

int main(void)
{
    test_decode();
    test_decode_limit();
    test_encode();
    test_query();
    test_url();
    return done();
}
