/* Vectors of the standards, and each fast path against a slow one written from the definition. */
#include "lib/base/hash.h"

#include <string.h>

#include "lib/base/err.h"
#include "lib/base/prng.h"
#include "tests/unit/tap.h"

/* ---- CRC32C ---- */

static uint32_t crc32c_by_bits(const uint8_t *data, size_t len)
{
    uint32_t crc = ~0U;
    for (size_t i = 0; i < len; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78U : 0);
    }
    return ~crc;
}

static void test_crc32c(struct prng *p)
{
    uint8_t bytes[32];
    is_u64(crc32c(0, "123456789", 9), 0xe3069283, "CRC32C check value");
    is_u64(crc32c(0, NULL, 0), 0, "CRC32C of nothing");
    memset(bytes, 0, sizeof(bytes));
    is_u64(crc32c(0, bytes, sizeof(bytes)), 0x8a9136aa, "RFC 3720 B.4: zeroes");
    memset(bytes, 0xff, sizeof(bytes));
    is_u64(crc32c(0, bytes, sizeof(bytes)), 0x62a8ab43, "RFC 3720 B.4: ones");
    for (uint8_t i = 0; i < 32; i++)
        bytes[i] = i;
    is_u64(crc32c(0, bytes, sizeof(bytes)), 0x46dd794e, "RFC 3720 B.4: ascending");
    for (uint8_t i = 0; i < 32; i++)
        bytes[i] = (uint8_t)(31 - i);
    is_u64(crc32c(0, bytes, sizeof(bytes)), 0x113fdb5c, "RFC 3720 B.4: descending");

    bool same = true, continues = true;
    for (int i = 0; i < 300; i++) {
        uint8_t data[2000];
        size_t from = prng_below(p, 16), len = prng_below(p, sizeof(data) - from + 1);
        prng_fill(p, data, sizeof(data));
        uint32_t want = crc32c_by_bits(data + from, len);
        size_t cut = prng_below(p, len + 1);
        same = same && crc32c(0, data + from, len) == want;
        continues =
            continues && crc32c(crc32c(0, data + from, cut), data + from + cut, len - cut) == want;
    }
    ok(same, "equal to the definition for random bytes and alignments");
    ok(continues, "one call continues another");
}

/* ---- base64 ---- */

static int digit_of(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

/* RFC 4648, section 4, with the strictness of section 3.5. */
static int decode_slowly(uint8_t *out, size_t *out_len, const char *text, size_t len)
{
    *out_len = 0;
    if (len % 4)
        return ERR_BAD_REQUEST;
    for (size_t i = 0; i < len; i += 4) {
        int d[4];
        int pad = 0;
        for (size_t j = 0; j < 4; j++) {
            d[j] = digit_of(text[i + j]);
            if (d[j] < 0) {
                if (text[i + j] != '=' || i + 4 != len || j < 2)
                    return ERR_BAD_REQUEST;
                pad++;
                d[j] = 0;
            } else if (pad) {
                return ERR_BAD_REQUEST;
            }
        }
        if ((pad == 2 && (d[1] & 15)) || (pad == 1 && (d[2] & 3)))
            return ERR_BAD_REQUEST;
        uint32_t bits = (uint32_t)(d[0] << 18 | d[1] << 12 | d[2] << 6 | d[3]);
        for (int j = 0; j < 3 - pad; j++)
            out[(*out_len)++] = (uint8_t)(bits >> (16 - 8 * j));
    }
    return 0;
}

static void test_base64(struct prng *p)
{
    static const char *const rfc[][2] = {{"", ""},
                                         {"f", "Zg=="},
                                         {"fo", "Zm8="},
                                         {"foo", "Zm9v"},
                                         {"foob", "Zm9vYg=="},
                                         {"fooba", "Zm9vYmE="},
                                         {"foobar", "Zm9vYmFy"}};
    for (size_t i = 0; i < sizeof(rfc) / sizeof(rfc[0]); i++) {
        char text[16] = "";
        uint8_t bytes[16];
        size_t len = 99;
        is_u64(base64_encoded_len(strlen(rfc[i][0])), strlen(rfc[i][1]), "length of \"%s\"",
               rfc[i][0]);
        base64_encode(text, rfc[i][0], strlen(rfc[i][0]));
        is_str(text, rfc[i][1], "RFC 4648 section 10: \"%s\"", rfc[i][0]);
        is_i64(base64_decode(bytes, &len, rfc[i][1], strlen(rfc[i][1])), 0, "… decodes");
        is_mem(bytes, len, rfc[i][0], strlen(rfc[i][0]), "… to what it was");
    }

    static const char *const bad[] = {"Z",        "Zg",       "Zg=",  "Zh==",     "Zm9=",
                                      "====",     "Z===",     "=Zg=", "Zg==Zg==", "Zm 9v",
                                      "Zm9v\n",   " Zm9",     "Zm9-", "Zm9_",     "Zg=\n",
                                      "Zm9v    ", "Zg==    ", "    ", "\nZm9vZ=", "Zm9v=YmF",
                                      "Zm9v Zg=", "Zg = ",    "Zg=A", "Zm8=====", "A\x80\x80\x80"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        uint8_t bytes[16];
        size_t len;
        is_i64(base64_decode(bytes, &len, bad[i], strlen(bad[i])), ERR_BAD_REQUEST, "refused (%zu)",
               i);
    }

    bool round = true, same = true;
    for (int i = 0; i < 300; i++) {
        uint8_t data[300], back[300];
        char text[400];
        size_t len = prng_below(p, sizeof(data) + 1), back_len = 0;
        prng_fill(p, data, len);
        base64_encode(text, data, len);
        round = round && base64_decode(back, &back_len, text, base64_encoded_len(len)) == 0 &&
                back_len == len && memcmp(back, data, len) == 0;
    }
    ok(round, "random bytes come back");
    for (int i = 0; i < 300000 && same; i++) {
        static const char often[] = "AQgw/+==\n Zz-";
        char text[12];
        uint8_t got[12], want[12];
        size_t len = prng_below(p, sizeof(text) + 1), got_len = 0, want_len = 0;
        for (size_t j = 0; j < len; j++)
            text[j] = prng_chance(p, 1, 50) ? (char)prng_below(p, 256)
                                            : often[prng_below(p, sizeof(often) - 1)];
        int rc = decode_slowly(want, &want_len, text, len);
        same = base64_decode(got, &got_len, text, len) == rc &&
               (rc < 0 || (got_len == want_len && memcmp(got, want, want_len) == 0));
    }
    ok(same, "accepts and refuses what the definition does");
}

/* ---- UTF-8 ---- */

static bool utf8_slowly(const uint8_t *s, size_t len)
{
    for (size_t i = 0; i < len;) {
        uint32_t c = s[i];
        size_t more = c < 0x80 ? 0 : (c & 0xe0) == 0xc0 ? 1 : (c & 0xf0) == 0xe0 ? 2 : 3;
        static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
        if ((c >= 0x80 && c < 0xc0) || c >= 0xf8 || i + more >= len)
            return false;
        if (more)
            c &= 0x3fU >> more;
        for (size_t j = 1; j <= more; j++) {
            if ((s[i + j] & 0xc0) != 0x80)
                return false;
            c = c << 6 | (s[i + j] & 0x3f);
        }
        if (c < least[more] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
            return false;
        i += more + 1;
    }
    return true;
}

static void test_utf8(struct prng *p)
{
    static const struct {
        const char *bytes;
        bool valid;
        const char *what;
    } cases[] = {
        {"", true, "nothing"},
        {"plain text of more than eight bytes", true, "ASCII"},
        {"\x7f", true, "U+007F"},
        {"\xc2\x80", true, "U+0080"},
        {"\xdf\xbf", true, "U+07FF"},
        {"\xe0\xa0\x80", true, "U+0800"},
        {"\xed\x9f\xbf", true, "U+D7FF"},
        {"\xee\x80\x80", true, "U+E000"},
        {"\xef\xbf\xbf", true, "U+FFFF"},
        {"\xf0\x90\x80\x80", true, "U+10000"},
        {"\xf4\x8f\xbf\xbf", true, "U+10FFFF"},
        {"\x80", false, "a lone continuation byte"},
        {"\xbf", false, "another"},
        {"\xc0\x80", false, "overlong NUL"},
        {"\xc1\xbf", false, "overlong U+007F"},
        {"\xe0\x9f\xbf", false, "overlong U+07FF"},
        {"\xf0\x8f\xbf\xbf", false, "overlong U+FFFF"},
        {"\xed\xa0\x80", false, "surrogate U+D800"},
        {"\xed\xbf\xbf", false, "surrogate U+DFFF"},
        {"\xf4\x90\x80\x80", false, "U+110000"},
        {"\xf5\x80\x80\x80", false, "first byte F5"},
        {"\xfe", false, "FE"},
        {"\xff", false, "FF"},
        {"\xc2", false, "cut after one of two"},
        {"\xe2\x82", false, "cut after two of three"},
        {"\xf0\x9f\x98", false, "cut after three of four"},
        {"\xe2\x82\x41", false, "letter where a continuation belongs"},
        {"twelve bytes\xff", false, "bad byte behind a run of ASCII"},
        {"12345678\xe2\x82\xac", true, "good character behind a run of ASCII"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        ok(utf8_valid(cases[i].bytes, strlen(cases[i].bytes)) == cases[i].valid, "UTF-8: %s",
           cases[i].what);
    ok(utf8_valid("a\0b", 3), "UTF-8: NUL is a character");

    bool same = true;
    unsigned valid = 0;
    for (int i = 0; i < 300000 && same; i++) {
        static const uint8_t often[] = {'a',  0x80, 0xbf, 0x9f, 0xa0, 0xc1, 0xc2, 0xe0,
                                        0xe2, 0xed, 0xef, 0xf0, 0xf4, 0x8f, 0x90};
        uint8_t bytes[12];
        size_t len = prng_below(p, sizeof(bytes) + 1);
        for (size_t j = 0; j < len; j++)
            bytes[j] = often[prng_below(p, sizeof(often))];
        bool want = utf8_slowly(bytes, len);
        same = utf8_valid(bytes, len) == want;
        valid += want;
    }
    ok(same && valid > 1000, "accepts and refuses what the definition does (%u valid)", valid);
}

/* ---- digests, hexadecimal ---- */

static void test_digest(struct prng *p)
{
    char text[HEX128_BYTES];
    /* xxHash's own values for an empty input and seed 0. */
    is_str(hex128(digest_bytes("", 0, 0), text), "99aa06d3014798d86001c324468d497f",
           "XXH3-128 of nothing");
    is_str(hex64(hash64("", 0, 0), text), "2d06800538d394c2", "XXH3-64 of nothing");
    ok(hash64("a", 1, 0) != hash64("a", 1, 1), "the seed matters");

    struct digest sum = {0, 0}, backwards = {0, 0};
    struct digest rows[50];
    for (int i = 0; i < 50; i++) {
        uint64_t row = prng_next(p);
        rows[i] = digest_bytes(&row, sizeof(row), 1);
        sum = digest_add(sum, rows[i]);
    }
    for (int i = 49; i >= 0; i--)
        backwards = digest_add(backwards, rows[i]);
    ok(digest_equal(sum, backwards), "a set's digest knows no order");
    for (int i = 0; i < 50; i += 2)
        sum = digest_sub(sum, rows[i]);
    ok(!digest_equal(sum, backwards), "taking rows away changes it");
    for (int i = 1; i < 50; i += 2)
        sum = digest_sub(sum, rows[i]);
    ok(digest_equal(sum, (struct digest){0, 0}), "taking all away leaves nothing");
    ok(!digest_equal((struct digest){1, 2}, (struct digest){1, 3}) &&
           !digest_equal((struct digest){1, 2}, (struct digest){3, 2}),
       "one half alone does not make digests equal");

    uint64_t v = 5;
    struct digest d;
    is_str(hex64(UINT64_C(0x0123456789abcdef), text), "0123456789abcdef", "hex64");
    is_i64(hex64_parse("0123456789abcdef", 16, &v), 0, "hex64_parse");
    is_u64(v, UINT64_C(0x0123456789abcdef), "… value");
    is_i64(hex64_parse("FEDCBA9876543210", 16, &v), 0, "upper case is read");
    is_u64(v, UINT64_C(0xfedcba9876543210), "… value");
    is_i64(hex64_parse("0123456789abcde", 15, &v), ERR_BAD_REQUEST, "too short");
    is_i64(hex64_parse("0123456789abcdef0", 17, &v), ERR_BAD_REQUEST, "too long");
    is_i64(hex64_parse("0123456789abcdeg", 16, &v), ERR_BAD_REQUEST, "no digit");
    is_i64(hex64_parse("0x23456789abcdef", 16, &v), ERR_BAD_REQUEST, "no prefix");
    is_u64(v, UINT64_C(0xfedcba9876543210), "left alone on error");
    is_i64(hex128_parse("99aa06d3014798d86001c324468d497f", 32, &d), 0, "hex128_parse");
    ok(digest_equal(d, digest_bytes("", 0, 0)), "… value");
    is_i64(hex128_parse("99aa06d3014798d86001c324468d497", 31, &d), ERR_BAD_REQUEST, "too short");
    is_i64(hex128_parse("99aa06d3014798d86001c324468d497-", 32, &d), ERR_BAD_REQUEST, "no digit");
}

int main(void)
{
    struct prng p;
    prng_seed(&p, test_seed());
    test_crc32c(&p);
    test_base64(&p);
    test_utf8(&p);
    test_digest(&p);
    return done();
}
