/*
 * Which key is next. Keys are numbered from 0: their text is a prefix and twelve digits, or a line
 * of a file.
 *
 *     uniform     each as likely as any other
 *     zipfian     a few very often: the one of rank k as 1 / k^0.99, as in YCSB; ranks are spread
 *                 over all numbers, so that neighbours are not hot together
 *     sequential  one after the other, and around, all threads together
 *     latest      zipfian, counted from the newest key backwards
 *
 * `struct keys` is shared by all threads; each has a chooser of its own.
 */
#ifndef RAFTKV_BENCH_KEYS_H
#define RAFTKV_BENCH_KEYS_H

#include <stdatomic.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/err.h"
#include "lib/base/prng.h"
#include "lib/bench/zipf.h"

enum keys_order { KEYS_UNIFORM, KEYS_ZIPFIAN, KEYS_SEQUENTIAL, KEYS_LATEST };

enum {
    KEYS_COUNT_MAX = 1000000000,
    KEYS_PREFIX_BYTES = 256,
    KEYS_FILE_BYTES_MAX = 1 << 30,
};

struct keys_options {
    enum keys_order order;
    uint64_t count;     /* at the beginning; of a file: its lines */
    const char *prefix; /* without a file */
    const char *file;   /* a key a line, without the newline; NULL: made from numbers */
};

struct keys {
    struct keys_options options;
    uint8_t *text; /* of the file */
    struct slice *lines;
    _Atomic uint64_t count; /* with those that were added */
    _Atomic uint64_t next;  /* of sequential */
};

int keys_init(struct keys *k, const struct keys_options *options, struct err *err);
void keys_release(struct keys *k);
/* The key of that number, at most LIMIT_KEY_BYTES, appended. */
void keys_text(const struct keys *k, uint64_t number, struct buf *out);
/* A number that no key had. Not of keys from a file. */
uint64_t keys_add(struct keys *k);

struct keys_chooser {
    struct keys *keys;
    enum keys_order order;
    struct zipf zipf;
};

void keys_chooser_init(struct keys_chooser *c, struct keys *k, enum keys_order order);
uint64_t keys_draw(struct keys_chooser *c, struct prng *p);

#endif
