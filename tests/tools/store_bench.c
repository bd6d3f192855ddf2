/*
 * Figures of lib/store: store_bench [DIRECTORY]
 *
 * Entries a second of log_store_write in batches of 1, 64 and 1024; rows a second of
 * kv_writer_flush (8,192 rows over 100,000 keys); microseconds of a read through kv_reader, alone
 * and beside flushes and checkpoints; what taking a snapshot does to the latency of
 * log_store_write.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/base/check.h"
#include "lib/base/clock.h"
#include "lib/base/hist.h"
#include "lib/base/mem.h"
#include "lib/base/prng.h"
#include "lib/store/kv_store.h"
#include "lib/store/log_store.h"
#include "tests/unit/store.h"

enum { KEYS = 100000, ROWS = 8192, VALUE_BYTES = 100 };

static struct data_dir *dir;

static void must_be(int rc, const struct err *err)
{
    if (rc) {
        fprintf(stderr, "store_bench: %s\n", err->text);
        exit(70);
    }
}

/* The histogram holds nanoseconds here. */
static void print_hist(const char *what, const struct hist *h)
{
    printf("%-44s %9" PRIu64 " times, us: mean %.2f P50 %.1f P99 %.1f P99.9 %.1f max %.1f\n", what,
           h->count, (double)h->sum_us / 1e3 / (double)h->count,
           (double)hist_quantile(h, 0.5) / 1e3, (double)hist_quantile(h, 0.99) / 1e3,
           (double)hist_quantile(h, 0.999) / 1e3, (double)h->max_us / 1e3);
}

/* ---- the log ---- */

static struct log_store *log_open(void)
{
    struct log_store *s;
    struct log_store_state state;
    struct err err;
    must_be(log_store_open(dir, "bench", &s, &state, &err), &err);
    struct log_write w = {.hard_state = true, .term = 1};
    must_be(log_store_write(s, &w, 1, &err), &err);
    return s;
}

static void log_batch(struct log_store *s, struct entry **entries, size_t n, raft_index *last)
{
    struct err err;
    struct log_write w = {.entries = entries, .entry_count = n};
    for (size_t i = 0; i < n; i++) {
        entries[i] = entry_alloc(RAFT_NORMAL, VALUE_BYTES + 40);
        memset(entries[i]->data, (int)i, entries[i]->size);
        entry_seal(entries[i]);
        entry_place(entries[i], ++*last, 1);
    }
    must_be(log_store_write(s, &w, 1, &err), &err);
    for (size_t i = 0; i < n; i++)
        entry_unref(entries[i]);
    struct log_store_figures f;
    bool done;
    log_store_figures(s, &f);
    if (f.wal_pages > 1000)
        must_be(log_store_checkpoint(s, &done, &err), &err);
}

static void bench_log(struct log_store *s, raft_index *last)
{
    static struct entry *entries[1024];
    static const size_t batches[] = {1, 64, 1024};
    struct membership m = store_membership(1, 1);
    struct err err;
    for (size_t b = 0; b < 3; b++) {
        size_t n = batches[b], rounds = n == 1 ? 5000 : n == 64 ? 4000 : 400;
        struct hist *h = mem_zalloc(sizeof(*h));
        hist_init(h);
        uint64_t begin = clock_now_ns();
        for (size_t i = 0; i < rounds; i++) {
            uint64_t at = clock_now_ns();
            log_batch(s, entries, n, last);
            if (*last > 20000 && i % 64 == 0)
                must_be(log_store_compact(s, *last - 10000, 1, &m, &err), &err);
            hist_record(h, clock_now_ns() - at);
        }
        double seconds = (double)(clock_now_ns() - begin) / 1e9;
        char what[64];
        snprintf(what, sizeof(what), "log_store_write, %zu entries", n);
        print_hist(what, h);
        printf("    %.0f entries/s, %.2f us an entry\n", (double)(n * rounds) / seconds,
               seconds * 1e6 / (double)(n * rounds));
        mem_free(h);
    }
}

/* ---- the state ---- */

struct kv {
    struct kv_writer *writer;
    struct kv_reader *reader;
    struct state_base base;
    struct state *state;
    struct state_image image;
    raft_index index;
    struct prng prng;
    atomic_bool stop;
    atomic_bool flushed; /* the reader's thread is to refresh */
    uint64_t flushes;
};

static int rows_a_flush;

static size_t key_make(uint64_t n, char out[32])
{
    return (size_t)snprintf(out, 32, "key%09" PRIu64, n);
}

static void put(struct kv *k, uint64_t n)
{
    char key[32];
    uint8_t value[VALUE_BYTES];
    memset(value, (int)k->index, sizeof(value));
    struct command c = {.op = COMMAND_PUT,
                        .wall_ms = k->index,
                        .key = slice_of(key, key_make(n, key)),
                        .value = slice_of(value, sizeof(value))};
    struct entry *e = entry_alloc(RAFT_NORMAL, command_encoded_bytes(&c));
    command_encode(&c, e->data);
    entry_seal(e);
    entry_place(e, ++k->index, 1);
    struct apply_result result;
    struct err err;
    must_be(state_apply(k->state, e, &result, &err), &err);
    entry_unref(e);
}

static const struct state_options state_options = {
    .memtable_rows_max = 1 << 20, .memtable_bytes_max = 1 << 30, .sessions_max = 10};

static void kv_open(struct kv *k)
{
    struct err err;
    must_be(kv_store_prepare(dir, 1, true, &err), &err);
    must_be(kv_writer_open(dir, 1, NULL, &k->writer, &err), &err);
    must_be(kv_reader_open(dir, 1, &k->reader, &err), &err);
    kv_reader_base(k->reader, &k->base);
    prng_seed(&k->prng, 1);
    k->state = state_new(&state_options, &k->base, &k->image);
}

/* `reading`: another thread reads, and does so. */
static void flush(struct kv *k, bool reading)
{
    struct err err;
    struct digest digest;
    uint64_t keys;
    raft_index checkpointed = 0;
    const struct memtable *m = state_freeze(k->state);
    must_be(kv_writer_flush(k->writer, m, &digest, &keys, &err), &err);
    if (!reading)
        kv_reader_refresh(k->reader);
    atomic_store(&k->flushed, reading);
    while (atomic_load(&k->flushed) && !atomic_load(&k->stop))
        ;
    must_be(kv_writer_checkpoint(k->writer, &checkpointed, &err), &err);
    state_flushed(k->state, m);
    k->flushes++;
}

static void bench_flush(struct kv *k)
{
    for (uint64_t at = 0; at < KEYS; at += ROWS) {
        for (uint64_t i = at; i < at + ROWS && i < KEYS; i++)
            put(k, i);
        flush(k, false);
    }
    struct hist *h = mem_zalloc(sizeof(*h)), *c = mem_zalloc(sizeof(*c));
    hist_init(h);
    hist_init(c);
    uint64_t rows = 0, ns = 0;
    for (int i = 0; i < 40; i++) {
        for (int j = 0; j < ROWS; j++)
            put(k, prng_below(&k->prng, KEYS));
        struct err err;
        struct digest digest;
        uint64_t keys;
        raft_index checkpointed = 0;
        const struct memtable *m = state_freeze(k->state);
        uint64_t at = clock_now_ns();
        must_be(kv_writer_flush(k->writer, m, &digest, &keys, &err), &err);
        hist_record(h, clock_now_ns() - at);
        ns += clock_now_ns() - at;
        rows += memtable_row_count(m);
        kv_reader_refresh(k->reader);
        at = clock_now_ns();
        must_be(kv_writer_checkpoint(k->writer, &checkpointed, &err), &err);
        hist_record(c, clock_now_ns() - at);
        ASSERT(checkpointed == k->index);
        state_flushed(k->state, m);
    }
    print_hist("kv_writer_flush, 8192 puts of 100,000 keys", h);
    printf("    %.0f rows/s, %.2f us a row\n", (double)rows * 1e9 / (double)ns,
           (double)ns / 1e3 / (double)rows);
    print_hist("kv_writer_checkpoint behind it", c);
    mem_free(h);
    mem_free(c);
}

static void gets(struct kv *k, const char *what, uint64_t count, bool with_value)
{
    struct hist *h = mem_zalloc(sizeof(*h));
    struct err err;
    struct prng prng;
    hist_init(h);
    prng_seed(&prng, 7);
    for (uint64_t i = 0; i < count; i++) {
        char key[32];
        struct row row;
        struct slice s = slice_of(key, key_make(prng_below(&prng, KEYS), key));
        uint64_t at = clock_now_ns();
        must_be(k->base.get(k->base.self, s, with_value, &row, &err), &err);
        hist_record(h, clock_now_ns() - at);
        if (atomic_load(&k->flushed)) {
            kv_reader_refresh(k->reader);
            atomic_store(&k->flushed, false);
        }
    }
    print_hist(what, h);
    mem_free(h);
}

static void *paced_flusher(void *argument)
{
    struct kv *k = argument;
    while (!atomic_load(&k->stop)) {
        uint64_t at = clock_now_ns();
        for (int j = 0; j < rows_a_flush; j++)
            put(k, prng_below(&k->prng, KEYS));
        flush(k, false);
        uint64_t took = clock_now_ns() - at, whole = (uint64_t)rows_a_flush * 50000;
        if (took < whole)
            nanosleep(&(struct timespec){.tv_nsec = (long)(whole - took) % 1000000000}, NULL);
    }
    return NULL;
}

/* 20,000 rows a second flushed meanwhile. */
static void bench_log_beside_flushes(struct log_store *s, raft_index *last, struct kv *k)
{
    static struct entry *entries[64];
    static const int rows[] = {0, 512, 2048, 8192};
    for (size_t r = 0; r < sizeof(rows) / sizeof(rows[0]); r++) {
        struct hist *h = mem_zalloc(sizeof(*h));
        hist_init(h);
        pthread_t thread = 0;
        rows_a_flush = rows[r];
        atomic_store(&k->stop, false);
        if (rows_a_flush)
            pthread_create(&thread, NULL, paced_flusher, k);
        uint64_t begin = clock_now_ns();
        while (clock_now_ns() - begin < 4000000000ULL) {
            uint64_t at = clock_now_ns();
            log_batch(s, entries, 16, last);
            hist_record(h, clock_now_ns() - at);
        }
        atomic_store(&k->stop, true);
        if (rows_a_flush)
            pthread_join(thread, NULL);
        char what[64];
        snprintf(what, sizeof(what), "log_store_write, 16, beside flushes of %d", rows_a_flush);
        print_hist(what, h);
        mem_free(h);
    }
}

static void *flusher(void *argument)
{
    struct kv *k = argument;
    while (!atomic_load(&k->stop)) {
        for (int j = 0; j < ROWS; j++)
            put(k, prng_below(&k->prng, KEYS));
        flush(k, true);
    }
    return NULL;
}

static void bench_get(struct kv *k)
{
    gets(k, "get, cold cache", 20000, true);
    gets(k, "get, alone", 500000, true);
    gets(k, "get without value, alone", 500000, false);
    pthread_t thread = 0;
    k->flushes = 0;
    pthread_create(&thread, NULL, flusher, k);
    gets(k, "get, beside flushes and checkpoints", 2000000, true);
    atomic_store(&k->stop, true);
    pthread_join(thread, NULL);
    printf("    %" PRIu64 " flushes; WAL %" PRIu64 " bytes\n", k->flushes,
           kv_writer_wal_bytes(k->writer));
}

/* ---- snapshots beside writes ---- */

static atomic_bool snapshot_done;

static void *taker(void *argument)
{
    struct snapshot_info info;
    struct err err;
    (void)argument;
    uint64_t at = clock_now_ns();
    must_be(snapshot_take(dir, 1, NULL, &info, &err), &err);
    printf("snapshot_take: %" PRIu64 " bytes in %.0f ms\n", info.bytes,
           (double)(clock_now_ns() - at) / 1e6);
    snapshot_delete(dir, info.index);
    atomic_store(&snapshot_done, true);
    return NULL;
}

static void bench_snapshot(struct log_store *s, raft_index *last, struct kv *k)
{
    static struct entry *entries[64];
    for (uint64_t n = KEYS; n < 20 * KEYS; n++) {
        put(k, n);
        if (n % 65536 == 0)
            flush(k, false);
    }
    flush(k, false);
    for (int round = 0; round < 2; round++) {
        struct hist *h = mem_zalloc(sizeof(*h));
        hist_init(h);
        pthread_t thread = 0;
        if (round)
            pthread_create(&thread, NULL, taker, NULL);
        for (int i = 0; round ? !atomic_load(&snapshot_done) : i < 4000; i++) {
            uint64_t at = clock_now_ns();
            log_batch(s, entries, 64, last);
            hist_record(h, clock_now_ns() - at);
        }
        if (round)
            pthread_join(thread, NULL);
        print_hist(round ? "log_store_write, 64, beside a snapshot" : "log_store_write, 64, alone",
                   h);
        mem_free(h);
    }
}

int main(int argc, char **argv)
{
    struct err err;
    static struct kv k;
    raft_index last = 0;
    must_be(data_dir_open(argc > 1 ? argv[1] : store_fresh_path("bench"), &dir, &err), &err);
    struct log_store *s = log_open();
    bench_log(s, &last);
    kv_open(&k);
    bench_flush(&k);
    bench_log_beside_flushes(s, &last, &k);
    atomic_store(&k.stop, false);
    bench_get(&k);
    bench_snapshot(s, &last, &k);
    state_free(k.state);
    kv_reader_close(k.reader);
    kv_writer_close(k.writer);
    must_be(log_store_close(s, &err), &err);
    data_dir_close(dir);
    return 0;
}
