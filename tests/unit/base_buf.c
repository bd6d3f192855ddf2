/* The bounded buffer against a plain array, at its limit, and the order of slices. */
#include "lib/base/buf.h"

#include <string.h>

#include "lib/base/err.h"
#include "lib/base/mem.h"
#include "lib/base/prng.h"
#include "tests/unit/tap.h"

static void test_small(void)
{
    struct buf b;
    buf_init(&b, 10);
    is_str((char *)b.data, "", "an empty buffer ends with NUL too");
    is_i64(buf_append_str(&b, "hello"), 0, "append");
    is_i64(buf_append_byte(&b, '!'), 0, "append a byte");
    is_str((char *)b.data, "hello!", "bytes and NUL");
    is_i64(buf_append_str(&b, "12345"), ERR_TOO_LARGE, "over the maximum");
    is_str((char *)b.data, "hello!", "unchanged after a refusal");
    is_i64(buf_append_str(&b, "1234"), 0, "exactly the maximum");
    is_u64(b.len, 10, "length at the maximum");
    is_i64(buf_append_byte(&b, 'x'), ERR_TOO_LARGE, "not a byte more");
    is_i64(buf_append(&b, "", 0), 0, "nothing fits always");
    is_i64(buf_reserve(&b, SIZE_MAX), ERR_TOO_LARGE, "a sum that overflows is too large");
    buf_consume(&b, 6);
    is_str((char *)b.data, "1234", "consumed from the front");
    buf_consume(&b, 4);
    is_u64(b.len, 0, "all consumed");
    buf_append_str(&b, "x");
    buf_clear(&b);
    is_str((char *)b.data, "", "cleared");
    buf_release(&b);
    is_u64(b.max, 10, "maximum kept when released");
    is_i64(buf_append_str(&b, "again"), 0, "usable again");
    size_t len;
    uint8_t *taken = buf_take(&b, &len);
    is_mem(taken, len + 1, "again", 6, "taken with its NUL");
    mem_free(taken);
    is_u64(b.len, 0, "empty after taking");
    taken = buf_take(&b, &len);
    is_mem(taken, len + 1, "", 1, "an empty buffer can be taken");
    mem_free(taken);
    buf_release(&b);
}

static void test_printf(void)
{
    struct buf b;
    buf_init(&b, 100);
    is_i64(buf_printf(&b, "%d-%s", 42, "x"), 0, "printf into nothing");
    is_i64(buf_printf(&b, "%s", ""), 0, "printf of nothing");
    is_str((char *)b.data, "42-x", "printed");
    is_i64(buf_printf(&b, "%060d", 7), 0, "printf that just reaches the capacity");
    is_u64(b.len, 64, "length");
    is_i64(buf_printf(&b, "%036d", 7), 0, "printf that grows to the maximum");
    is_u64(b.len, 100, "length at the maximum");
    is_i64(buf_printf(&b, "y"), ERR_TOO_LARGE, "printf over the maximum");
    is_u64(strlen((char *)b.data), 100, "NUL still behind the text");
    buf_clear(&b);
    is_i64(buf_printf(&b, "%0101d", 7), ERR_TOO_LARGE, "one more than the maximum");
    is_u64(b.len, 0, "nothing of it stays");
    is_str((char *)b.data, "", "… nor is seen");
    buf_release(&b);
    is_i64(buf_printf(&b, "%s", ""), 0, "nothing into nothing");
    is_str((char *)b.data, "", "… is empty");
    buf_release(&b);
}

static void test_model(void)
{
    enum { MAX = 5000 };
    static uint8_t model[MAX];
    size_t model_len = 0;
    struct prng p;
    struct buf b;
    prng_seed(&p, test_seed());
    buf_init(&b, MAX);
    bool equal = true, codes = true, nul = true;
    for (int i = 0; i < 20000 && equal; i++) {
        uint8_t bytes[700];
        size_t n = prng_below(&p, prng_chance(&p, 1, 20) ? sizeof(bytes) : 20);
        if (prng_chance(&p, 1, 2)) {
            prng_fill(&p, bytes, n);
            int rc = buf_append(&b, bytes, n);
            bool fits = model_len + n <= MAX;
            codes = codes && rc == (fits ? 0 : ERR_TOO_LARGE);
            if (fits) {
                memcpy(model + model_len, bytes, n);
                model_len += n;
            }
        } else {
            n = n > model_len ? model_len : n;
            buf_consume(&b, n);
            memmove(model, model + n, model_len - n);
            model_len -= n;
        }
        equal = b.len == model_len && memcmp(b.data, model, model_len) == 0;
        nul = nul && b.data[b.len] == 0;
    }
    ok(equal, "random appends and consumes agree with an array");
    ok(codes, "… as do the refusals");
    ok(nul, "… and the NUL is always there");
    buf_release(&b);
}

static void test_slices(void)
{
    is_i64(slice_compare(slice_str("a"), slice_str("b")), -1, "a < b");
    is_i64(slice_compare(slice_str("b"), slice_str("a")), 1, "b > a");
    is_i64(slice_compare(slice_str("a"), slice_str("ab")), -1, "shorter first");
    is_i64(slice_compare(slice_str("ab"), slice_str("a")), 1, "longer later");
    is_i64(slice_compare(slice_str("ab"), slice_str("ab")), 0, "equal");
    is_i64(slice_compare(slice_of(NULL, 0), slice_str("")), 0, "empty ones are equal");
    is_i64(slice_compare(slice_of(NULL, 0), slice_str("a")), -1, "empty first");
    is_i64(slice_compare(slice_of("\xff", 1), slice_of("\x01", 1)), 1, "bytes are unsigned");
    is_i64(slice_compare(slice_of("a\0b", 3), slice_of("a\0a", 3)), 1, "NUL ends nothing");
}

int main(void)
{
    test_small();
    test_printf();
    test_model();
    test_slices();
    return done();
}
