/* Keys by number, and numbers by distribution; see keys.h. */
#include "lib/bench/keys.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/limits.h"
#include "lib/base/mem.h"

enum { CHUNK_BYTES = 1 << 16 };

static const double YCSB_EXPONENT = 0.99;
/* A prime above every number of keys: rank times this, modulo the number of keys, meets each once.
 */
static const uint64_t SPREAD = 2654435761;

_Static_assert(KEYS_COUNT_MAX < 2654435761, "ranks are spread one to one");

/* ---- a file ---- */

static int read_all(const char *path, struct buf *text, struct err *err)
{
    uint8_t chunk[CHUNK_BYTES];
    size_t got;
    FILE *file = fopen(path, "re");
    if (!file)
        return err_errno(err, ERR_USAGE, errno, "%s", path);
    int code = 0;
    while (code == 0 && (got = fread(chunk, 1, sizeof(chunk), file)) > 0)
        if (buf_append(text, chunk, got) != 0)
            code = err_set(err, ERR_USAGE, "%s has more than %d bytes", path, KEYS_FILE_BYTES_MAX);
    if (code == 0 && ferror(file))
        code = err_errno(err, ERR_USAGE, errno, "%s", path);
    fclose(file);
    return code;
}

static int split(struct keys *k, size_t bytes, struct err *err)
{
    uint64_t count = 0, room = 0, line = 1;
    for (size_t at = 0; at < bytes; line++) {
        const uint8_t *end = memchr(k->text + at, '\n', bytes - at);
        size_t len = end ? (size_t)(end - k->text) - at : bytes - at;
        if (len == 0 || len > LIMIT_KEY_BYTES)
            return err_set(err, ERR_USAGE, "%s, line %" PRIu64 ": a key has 1 to %d bytes",
                           k->options.file, line, LIMIT_KEY_BYTES);
        if (count == room) {
            room = room ? room * 2 : 1024;
            k->lines = mem_realloc(k->lines, room * sizeof(k->lines[0]));
        }
        k->lines[count++] = slice_of(k->text + at, len);
        at += len + 1;
    }
    if (count == 0 || count > KEYS_COUNT_MAX)
        return err_set(err, ERR_USAGE, "%s: has %s", k->options.file,
                       count ? "too many keys" : "no key");
    k->options.count = count;
    return 0;
}

static int read_file(struct keys *k, struct err *err)
{
    struct buf text;
    size_t bytes = 0;
    buf_init(&text, KEYS_FILE_BYTES_MAX);
    int code = read_all(k->options.file, &text, err);
    if (code == 0) {
        k->text = buf_take(&text, &bytes);
        code = split(k, bytes, err);
    }
    buf_release(&text);
    return code;
}

int keys_init(struct keys *k, const struct keys_options *options, struct err *err)
{
    memset(k, 0, sizeof(*k));
    k->options = *options;
    int code = options->file ? read_file(k, err) : 0;
    ASSERT(code != 0 || (k->options.count > 0 && k->options.count <= KEYS_COUNT_MAX));
    atomic_init(&k->count, k->options.count);
    atomic_init(&k->next, 0);
    return code;
}

void keys_release(struct keys *k)
{
    mem_free(k->lines);
    mem_free(k->text);
}

/* ---- texts and numbers ---- */

void keys_text(const struct keys *k, uint64_t number, struct buf *out)
{
    if (k->lines) {
        struct slice line = k->lines[number % k->options.count];
        ASSERT(buf_append(out, line.data, line.len) == 0);
        return;
    }
    char digits[12];
    for (int i = 11; i >= 0; i--, number /= 10)
        digits[i] = (char)('0' + number % 10);
    ASSERT(buf_append_str(out, k->options.prefix) == 0 &&
           buf_append(out, digits, sizeof(digits)) == 0);
}

uint64_t keys_add(struct keys *k)
{
    return atomic_fetch_add(&k->count, 1);
}

void keys_chooser_init(struct keys_chooser *c, struct keys *k, enum keys_order order)
{
    c->keys = k;
    c->order = order;
    zipf_init(&c->zipf, k->options.count, YCSB_EXPONENT);
}

uint64_t keys_draw(struct keys_chooser *c, struct prng *p)
{
    uint64_t count = atomic_load_explicit(&c->keys->count, memory_order_relaxed);
    if (count != c->zipf.n && (c->order == KEYS_ZIPFIAN || c->order == KEYS_LATEST))
        zipf_grow(&c->zipf, count);
    switch (c->order) {
    case KEYS_UNIFORM: return prng_below(p, count);
    case KEYS_ZIPFIAN: return zipf_draw(&c->zipf, p) * SPREAD % count;
    case KEYS_SEQUENTIAL: return atomic_fetch_add(&c->keys->next, 1) % count;
    case KEYS_LATEST: break;
    }
    return count - zipf_draw(&c->zipf, p);
}
