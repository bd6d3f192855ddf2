/* Entries: checksum from proposal to apply, references, and the run of entries of an append. */
#include <pthread.h>
#include <string.h>

#include "lib/base/hash.h"
#include "lib/base/limits.h"
#include "lib/base/mem.h"
#include "lib/kv/entry.h"
#include "tests/support/kv_maker.h"
#include "tests/unit/tap.h"

static struct entry *sample(const char *text, raft_index index, raft_term term)
{
    struct entry *e = entry_new(RAFT_NORMAL, text, strlen(text));
    entry_place(e, index, term);
    return e;
}

static void test_checksum(void)
{
    struct entry *e = entry_new(RAFT_NORMAL, "payload", 7);
    ok(entry_intact(e), "intact before it has a place");
    e->data[3] ^= 1;
    ok(!entry_intact(e), "a flipped bit of a proposal is seen");
    entry_place(e, 5, 2);
    ok(!entry_intact(e), "… and not healed by placing it");
    e->data[3] ^= 1;
    ok(entry_intact(e), "intact with the bit back");
    e->index++;
    ok(!entry_intact(e), "the checksum covers the index");
    e->index--;
    e->term++;
    ok(!entry_intact(e), "… the term");
    e->term--;
    e->kind = RAFT_CONFIGURATION;
    ok(!entry_intact(e), "… the kind");
    e->kind = RAFT_NORMAL;
    e->size--;
    ok(!entry_intact(e), "… the size");
    e->size++;
    ok(entry_intact(e), "… and nothing else changed");
    is_u64(e->crc, 0x97014e10, "the checksum's value is that of files written before");
    entry_unref(e);

    struct entry *filled = entry_alloc(RAFT_NORMAL, 7);
    memcpy(filled->data, "payload", 7);
    entry_seal(filled);
    entry_place(filled, 5, 2);
    is_u64(filled->crc, 0x97014e10, "filled in place: the same");
    entry_unref(filled);
    entry_unref(NULL);
}

static void test_restore(void)
{
    struct entry *e = sample("payload", 5, 2);
    struct err err = {0};
    struct entry *back = entry_restore(e->kind, 5, 2, e->crc, e->data, e->size, &err);
    ok(back && back->index == 5 && back->term == 2 && entry_intact(back), "restored");
    is_i64(err.code, 0, "err left alone");
    entry_unref(back);
    ok(!entry_restore(e->kind, 6, 2, e->crc, e->data, e->size, &err), "another index is refused");
    is_i64(err.code, ERR_CORRUPT, "as corrupt");
    has_str(err.text, "entry 6", "and named");
    ok(!entry_restore(e->kind, 5, 3, e->crc, e->data, e->size, NULL), "another term");
    ok(!entry_restore(RAFT_NOOP, 5, 2, e->crc, e->data, e->size, NULL), "another kind");
    ok(!entry_restore((enum raft_entry_kind)9, 5, 2, e->crc, e->data, e->size, NULL), "no kind");
    ok(!entry_restore(e->kind, 5, 2, e->crc + 1, e->data, e->size, NULL), "another checksum");
    ok(!entry_restore(e->kind, 5, 2, e->crc, "paxload", e->size, NULL), "another payload");
    ok(!entry_restore(e->kind, 5, 2, e->crc, e->data, e->size - 1, NULL), "a shorter one");
    ok(!entry_restore(e->kind, 0, 2, e->crc, e->data, e->size, NULL), "index 0");
    ok(!entry_restore(e->kind, 5, 2, e->crc, e->data, (size_t)LIMIT_ENTRY_BYTES + 1, NULL),
       "a size over the limit, without looking at it");
    entry_unref(e);
    struct entry *empty = make_noop(1, 1);
    struct entry *empty_back = entry_restore(RAFT_NOOP, 1, 1, empty->crc, NULL, 0, NULL);
    ok(empty_back && entry_intact(empty_back), "an empty payload");
    entry_unref(empty);
    entry_unref(empty_back);
}

/* The checksum of an entry as anybody could compute it. */
static uint32_t crc_of(uint8_t kind, uint8_t index, uint8_t term, const void *data, uint32_t size)
{
    uint8_t place[21] = {index};
    place[8] = term;
    place[16] = kind;
    for (int i = 0; i < 4; i++)
        place[17 + i] = (uint8_t)(size >> (8 * i));
    return crc32c(crc32c(0, data, size), place, sizeof(place));
}

/* A right checksum is not enough. */
static void test_restore_range(void)
{
    struct entry *e = entry_restore(RAFT_NORMAL, 5, 2, crc_of(0, 5, 2, "x", 1), "x", 1, NULL);
    ok(e != NULL, "an entry by its checksum");
    entry_unref(e);
    ok(!entry_restore((enum raft_entry_kind)3, 5, 2, crc_of(3, 5, 2, "x", 1), "x", 1, NULL),
       "no kind of entry");
    ok(!entry_restore(RAFT_NORMAL, 0, 2, crc_of(0, 0, 2, "x", 1), "x", 1, NULL), "no index");
    ok(!entry_restore(RAFT_NORMAL, 5, 0, crc_of(0, 5, 0, "x", 1), "x", 1, NULL), "no term");
    uint8_t *most = mem_zalloc(LIMIT_ENTRY_BYTES);
    e = entry_restore(RAFT_NORMAL, 5, 2, crc_of(0, 5, 2, most, LIMIT_ENTRY_BYTES), most,
                      LIMIT_ENTRY_BYTES, NULL);
    ok(e && e->size == LIMIT_ENTRY_BYTES, "the largest one");
    entry_unref(e);
    mem_free(most);
}

static void *borrow(void *argument)
{
    struct entry *e = argument;
    for (int i = 0; i < 20000; i++) {
        entry_ref(e);
        entry_unref(e);
    }
    entry_unref(e);
    return NULL;
}

static void test_references(void)
{
    struct entry *e = sample("shared", 1, 1);
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) {
        entry_ref(e);
        must(pthread_create(&threads[i], NULL, borrow, e) == 0);
    }
    for (int i = 0; i < 2; i++)
        must(pthread_join(threads[i], NULL) == 0);
    is_u64(atomic_load(&e->refs), 1, "references are counted across threads");
    entry_unref(e);
}

enum { RUN = 4 };

static void make_run(struct entry *run[RUN], struct buf *out)
{
    struct membership m = make_membership(3, 1);
    run[0] = make_noop(7, 3);
    run[1] = sample("one", 8, 3);
    run[2] = make_configuration(&m, 9, 3);
    run[3] = sample("a longer one, of a later term", 10, 5);
    must(entries_encode(out, run, RUN) == 0);
}

static void free_run(struct entry **run, size_t count)
{
    for (size_t i = 0; i < count; i++)
        entry_unref(run[i]);
}

static void test_run(void)
{
    struct buf b;
    buf_init(&b, 4096);
    struct entry *run[RUN], **back;
    size_t count, total = 0;
    make_run(run, &b);
    for (size_t i = 0; i < RUN; i++)
        total += entry_encoded_bytes(run[i]);
    is_u64(b.len, total, "a run has the bytes that its entries say");
    must(entries_decode(slice_of(b.data, b.len), 7, &back, &count, NULL) == 0);
    bool equal = count == RUN;
    for (size_t i = 0; equal && i < RUN; i++)
        equal = back[i]->index == run[i]->index && back[i]->term == run[i]->term &&
                back[i]->kind == run[i]->kind && back[i]->crc == run[i]->crc &&
                back[i]->size == run[i]->size && entry_intact(back[i]) &&
                memcmp(back[i]->data, run[i]->data, run[i]->size) == 0;
    ok(equal, "it comes back as it was");
    free_run(back, count);
    mem_free(back);

    struct err err = {0};
    is_i64(entries_decode(slice_of(b.data, b.len), 8, &back, &count, &err), ERR_CORRUPT,
           "a run that begins elsewhere is refused");
    has_str(err.text, "index 8", "and says where it should");
    size_t taken = 0;
    for (size_t len = 0; len < b.len; len++) { /* a cut between entries is a shorter run */
        if (entries_decode(slice_of(b.data, len), 7, &back, &count, NULL) != 0)
            continue;
        free_run(back, count);
        mem_free(back);
        taken++;
    }
    is_u64(taken, RUN, "cut anywhere but between entries, it is refused");
    size_t accepted = 0;
    for (size_t i = 0; i < b.len; i++)
        for (unsigned flip = 1; flip < 256; flip++) {
            b.data[i] ^= (uint8_t)flip;
            accepted += entries_decode(slice_of(b.data, b.len), 7, &back, &count, NULL) == 0;
            b.data[i] ^= (uint8_t)flip;
        }
    is_u64(accepted, 0, "any byte changed in any way, it is refused");
    must(buf_append_byte(&b, 0) == 0);
    is_i64(entries_decode(slice_of(b.data, b.len), 7, &back, &count, NULL), ERR_CORRUPT,
           "so is a byte behind the end");
    is_i64(entries_decode(slice_of(NULL, 0), 7, &back, &count, NULL), 0, "no entries");
    ok(count == 0 && back == NULL, "are no entries");
    free_run(run, RUN);
    buf_release(&b);
}

static void test_run_order(void)
{
    struct buf b;
    buf_init(&b, 4096);
    struct entry *first = sample("a", 1, 4), *older = sample("b", 2, 3), **back;
    struct entry *gap = sample("c", 3, 4);
    size_t count;
    must(entries_encode(&b, (struct entry *[]){first, older}, 2) == 0);
    is_i64(entries_decode(slice_of(b.data, b.len), 1, &back, &count, NULL), ERR_CORRUPT,
           "terms do not go back");
    buf_clear(&b);
    must(entries_encode(&b, &first, 1) == 0 && entries_encode(&b, &gap, 1) == 0);
    is_i64(entries_decode(slice_of(b.data, b.len), 1, &back, &count, NULL), ERR_CORRUPT,
           "indexes have no gap");
    buf_release(&b);

    struct buf small;
    buf_init(&small, 30);
    must(buf_append_str(&small, "head") == 0);
    is_i64(entries_encode(&small, (struct entry *[]){first, older}, 2), ERR_TOO_LARGE,
           "a run that does not fit");
    is_mem(small.data, small.len, "head", 4, "leaves the buffer as it was");
    buf_release(&small);
    entry_unref(first);
    entry_unref(older);
    entry_unref(gap);
}

static void test_run_fuzz(void)
{
    struct prng p;
    prng_seed(&p, test_seed());
    struct buf b;
    buf_init(&b, 4096);
    struct entry *run[RUN], **back;
    make_run(run, &b);
    size_t accepted = 0, count;
    for (int round = 0; round < 20000; round++) {
        uint8_t bytes[512];
        size_t len = prng_below(&p, sizeof(bytes));
        prng_fill(&p, bytes, len);
        if (len > 0 && prng_chance(&p, 1, 2)) { /* a piece of a real run, elsewhere */
            size_t from = prng_below(&p, b.len), some = prng_below(&p, b.len - from);
            memcpy(bytes, b.data + from, some < len ? some : len);
        }
        if (len > 0 && entries_decode(slice_of(bytes, len), 7, &back, &count, NULL) == 0) {
            accepted += count;
            free_run(back, count);
            mem_free(back);
        }
    }
    /* Only runs cut out whole from the beginning can be right, and then they are. */
    ok(accepted < 200, "random bytes are no run (%zu entries accepted)", accepted);
    free_run(run, RUN);
    buf_release(&b);
}

int main(void)
{
    test_checksum();
    test_restore();
    test_restore_range();
    test_references();
    test_run();
    test_run_order();
    test_run_fuzz();
    return done();
}
