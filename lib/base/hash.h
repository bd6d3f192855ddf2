/*
 * Checksums, hashes, hexadecimal, base64: thin covers over ISA-L (CRC32C), xxHash and Nettle.
 */
#ifndef RAFTKV_BASE_HASH_H
#define RAFTKV_BASE_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* CRC32C (Castagnoli, RFC 3720): crc32c(0, …) starts, the result of one call continues in the next.
 */
uint32_t crc32c(uint32_t crc, const void *data, size_t len);

struct digest { /* 128 bits; addition modulo 2^64 in each half makes it a set hash */
    uint64_t hi, lo;
};
struct digest digest_bytes(const void *data, size_t len, uint64_t seed); /* XXH3-128 */
struct digest digest_add(struct digest a, struct digest b);
struct digest digest_sub(struct digest a, struct digest b);
bool digest_equal(struct digest a, struct digest b);
uint64_t hash64(const void *data, size_t len, uint64_t seed); /* XXH3-64 */

enum { HEX64_BYTES = 17, HEX128_BYTES = 33 };   /* with the NUL */
char *hex64(uint64_t v, char out[HEX64_BYTES]); /* 16 lower-case digits; returns out */
char *hex128(struct digest d, char out[HEX128_BYTES]);
int hex64_parse(const char *s, size_t len,
                uint64_t *v); /* exactly 16 hex digits; 0 or ERR_BAD_REQUEST */
int hex128_parse(const char *s, size_t len, struct digest *d);

size_t base64_encoded_len(size_t len);                       /* without a NUL */
void base64_encode(char *out, const void *data, size_t len); /* RFC 4648, padded; writes no NUL */
/* `out` has room for len/4*3 bytes; strict: padding required, no blanks, no stray bits.
 * 0 or ERR_BAD_REQUEST. */
int base64_decode(uint8_t *out, size_t *out_len, const char *text, size_t len);

bool utf8_valid(const void *data, size_t len); /* RFC 3629: no surrogates, no overlong forms */

#endif
