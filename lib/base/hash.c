/* Checksums and encodings, by libraries where there are any. */
#include "lib/base/hash.h"

#include <isa-l.h>
#include <nettle/base64.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "lib/base/err.h"

uint32_t crc32c(uint32_t crc, const void *data, size_t len)
{
    enum { PIECE = 1 << 30 }; /* ISA-L takes an int */
    /* ISA-L neither inverts at the start nor at the end, and takes its input without const. */
    union {
        const void *in;
        unsigned char *out;
    } at = {.in = data};
    crc = ~crc;
    while (len > 0) {
        size_t piece = len < PIECE ? len : PIECE;
        crc = crc32_iscsi(at.out, (int)piece, crc);
        at.out += piece;
        len -= piece;
    }
    return ~crc;
}

struct digest digest_bytes(const void *data, size_t len, uint64_t seed)
{
    XXH128_hash_t hash = XXH3_128bits_withSeed(data, len, seed);
    return (struct digest){.hi = hash.high64, .lo = hash.low64};
}

struct digest digest_add(struct digest a, struct digest b)
{
    return (struct digest){.hi = a.hi + b.hi, .lo = a.lo + b.lo};
}

struct digest digest_sub(struct digest a, struct digest b)
{
    return (struct digest){.hi = a.hi - b.hi, .lo = a.lo - b.lo};
}

bool digest_equal(struct digest a, struct digest b)
{
    return a.hi == b.hi && a.lo == b.lo;
}

uint64_t hash64(const void *data, size_t len, uint64_t seed)
{
    return XXH3_64bits_withSeed(data, len, seed);
}

char *hex64(uint64_t v, char out[HEX64_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    for (int i = 0; i < 16; i++)
        out[i] = digits[v >> (60 - 4 * i) & 15];
    out[16] = '\0';
    return out;
}

char *hex128(struct digest d, char out[HEX128_BYTES])
{
    hex64(d.hi, out);
    hex64(d.lo, out + 16);
    return out;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

int hex64_parse(const char *s, size_t len, uint64_t *v)
{
    if (len != HEX64_BYTES - 1)
        return ERR_BAD_REQUEST;
    uint64_t value = 0;
    for (size_t i = 0; i < len; i++) {
        int digit = hex_digit(s[i]);
        if (digit < 0)
            return ERR_BAD_REQUEST;
        value = value << 4 | (uint64_t)digit;
    }
    *v = value;
    return 0;
}

int hex128_parse(const char *s, size_t len, struct digest *d)
{
    struct digest parsed;
    if (len != HEX128_BYTES - 1 || hex64_parse(s, 16, &parsed.hi) < 0 ||
        hex64_parse(s + 16, 16, &parsed.lo) < 0)
        return ERR_BAD_REQUEST;
    *d = parsed;
    return 0;
}

size_t base64_encoded_len(size_t len)
{
    return (len + 2) / 3 * 4;
}

void base64_encode(char *out, const void *data, size_t len)
{
    if (len)
        base64_encode_raw(out, len, data);
}

int base64_decode(uint8_t *out, size_t *out_len, const char *text, size_t len)
{
    if (len % 4)
        return ERR_BAD_REQUEST;
    if (len == 0) {
        *out_len = 0;
        return 0;
    }
    size_t padding = text[len - 1] != '=' ? 0 : text[len - 2] != '=' ? 1 : 2;
    size_t want = len / 4 * 3 - padding;
    size_t got = want;
    struct base64_decode_ctx ctx;
    base64_decode_init(&ctx);
    /* Nettle refuses stray bits and bytes behind the padding, but skips blanks: then there is
     * less than the length promises. */
    if (!base64_decode_update(&ctx, &got, out, len, text) || !base64_decode_final(&ctx) ||
        got != want)
        return ERR_BAD_REQUEST;
    *out_len = got;
    return 0;
}

/* The length of the well-formed character at s, 0 if there is none (RFC 3629, section 4). */
static size_t utf8_character(const uint8_t *s, size_t len)
{
    uint8_t low = 0x80, high = 0xbf; /* of the second byte */
    size_t size;
    if (s[0] < 0x80)
        return 1;
    if (s[0] >= 0xc2 && s[0] <= 0xdf) {
        size = 2;
    } else if (s[0] >= 0xe0 && s[0] <= 0xef) {
        size = 3;
        if (s[0] == 0xe0)
            low = 0xa0; /* overlong */
        if (s[0] == 0xed)
            high = 0x9f; /* surrogates */
    } else if (s[0] >= 0xf0 && s[0] <= 0xf4) {
        size = 4;
        if (s[0] == 0xf0)
            low = 0x90; /* overlong */
        if (s[0] == 0xf4)
            high = 0x8f; /* above U+10FFFF */
    } else {
        return 0;
    }
    if (len < size || s[1] < low || s[1] > high)
        return 0;
    for (size_t i = 2; i < size; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    return size;
}

bool utf8_valid(const void *data, size_t len)
{
    const uint8_t *s = data;
    while (len > 0) {
        uint64_t eight;
        if (len >= sizeof(eight)) {
            memcpy(&eight, s, sizeof(eight));
            if (!(eight & UINT64_C(0x8080808080808080))) {
                s += sizeof(eight);
                len -= sizeof(eight);
                continue;
            }
        }
        size_t size = utf8_character(s, len);
        if (size == 0)
            return false;
        s += size;
        len -= size;
    }
    return true;
}
