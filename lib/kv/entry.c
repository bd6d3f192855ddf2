/*
 * Entries: reference counts, checksums, and the run of bytes in which an append carries them.
 *
 *     run = { index u64, term u64, kind u8, crc u32, size u32, data }…      little endian
 */
#include "lib/kv/entry.h"

#include <inttypes.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/hash.h"
#include "lib/base/limits.h"
#include "lib/base/mem.h"
#include "lib/kv/wire_internal.h"

enum { ENTRY_HEAD_BYTES = 8 + 8 + 1 + 4 + 4 };

_Static_assert(RAFT_NORMAL == 0 && RAFT_NOOP == 1 && RAFT_CONFIGURATION == 2,
               "kinds are on disk and on the wire");

struct entry *entry_alloc(enum raft_entry_kind kind, size_t size)
{
    ASSERT(kind <= RAFT_CONFIGURATION);
    ASSERT(size <= LIMIT_ENTRY_BYTES);
    struct entry *e = mem_alloc(sizeof(*e) + size);
    atomic_init(&e->refs, 1);
    e->kind = kind;
    e->index = 0;
    e->term = 0;
    e->crc = 0;
    e->size = (uint32_t)size;
    return e;
}

struct entry *entry_new(enum raft_entry_kind kind, const void *data, size_t size)
{
    struct entry *e = entry_alloc(kind, size);
    if (size > 0)
        memcpy(e->data, data, size);
    entry_seal(e);
    return e;
}

void entry_seal(struct entry *e)
{
    ASSERT(e->index == 0);
    e->crc = crc32c(0, e->data, e->size);
}

/* Payload first: what was sealed at the proposal goes on in the entry's CRC, and is never computed
 * anew. */
static uint32_t crc_of_place(uint32_t payload, enum raft_entry_kind kind, raft_index index,
                             raft_term term, uint32_t size)
{
    uint8_t place[8 + 8 + 1 + 4];
    le64enc(place, index);
    le64enc(place + 8, term);
    place[16] = (uint8_t)kind;
    le32enc(place + 17, size);
    return crc32c(payload, place, sizeof(place));
}

void entry_place(struct entry *e, raft_index index, raft_term term)
{
    ASSERT(e->index == 0);
    ASSERT(index > 0 && term > 0);
    e->crc = crc_of_place(e->crc, e->kind, index, term, e->size);
    e->index = index;
    e->term = term;
}

struct entry *entry_ref(struct entry *e)
{
    unsigned before = atomic_fetch_add_explicit(&e->refs, 1, memory_order_relaxed);
    ASSERT(before > 0);
    return e;
}

void entry_unref(struct entry *e)
{
    if (!e)
        return;
    unsigned before = atomic_fetch_sub_explicit(&e->refs, 1, memory_order_acq_rel);
    ASSERT(before > 0);
    if (before == 1)
        mem_free(e);
}

bool entry_intact(const struct entry *e)
{
    uint32_t crc = crc32c(0, e->data, e->size);
    if (e->index > 0)
        crc = crc_of_place(crc, e->kind, e->index, e->term, e->size);
    return crc == e->crc;
}

struct entry *entry_restore(enum raft_entry_kind kind, raft_index index, raft_term term,
                            uint32_t crc, const void *data, size_t size, struct err *err)
{
    if (kind > RAFT_CONFIGURATION || index == 0 || term == 0 || size > LIMIT_ENTRY_BYTES) {
        err_set(err, ERR_CORRUPT,
                "entry %" PRIu64 ": kind %d, term %" PRIu64 " or size %zu out of range", index,
                (int)kind, term, size);
        return NULL;
    }
    uint32_t found = crc_of_place(crc32c(0, data, size), kind, index, term, (uint32_t)size);
    if (found != crc) {
        err_set(err, ERR_CORRUPT, "entry %" PRIu64 ": checksum %08" PRIx32 ", stored is %08" PRIx32,
                index, found, crc);
        return NULL;
    }
    struct entry *e = entry_alloc(kind, size);
    if (size > 0)
        memcpy(e->data, data, size);
    e->index = index;
    e->term = term;
    e->crc = crc;
    return e;
}

size_t entry_encoded_bytes(const struct entry *e)
{
    return ENTRY_HEAD_BYTES + (size_t)e->size;
}

int entries_encode(struct buf *out, struct entry *const *entries, size_t count)
{
    size_t total = 0;
    for (size_t i = 0; i < count; i++)
        total += entry_encoded_bytes(entries[i]);
    int rc = buf_reserve(out, total);
    if (rc != 0)
        return rc;
    for (size_t i = 0; i < count && rc == 0; i++) {
        const struct entry *e = entries[i];
        ASSERT(e->index > 0);
        ASSERT(i == 0 || e->index == entries[i - 1]->index + 1);
        uint8_t head[ENTRY_HEAD_BYTES];
        le64enc(head, e->index);
        le64enc(head + 8, e->term);
        head[16] = (uint8_t)e->kind;
        le32enc(head + 17, e->crc);
        le32enc(head + 21, e->size);
        rc = buf_append(out, head, sizeof(head));
        if (rc == 0)
            rc = buf_append(out, e->data, e->size);
    }
    ASSERT(rc == 0); /* reserved above */
    return 0;
}

/* How many entries the run has, by its heads alone; 0 also for a run that is cut. */
static size_t entries_count(struct slice in)
{
    size_t count = 0;
    while (in.len > 0) {
        if (in.len < ENTRY_HEAD_BYTES)
            return 0;
        size_t bytes = ENTRY_HEAD_BYTES + (size_t)le32dec(in.data + 21);
        if (bytes > in.len)
            return 0;
        in.data += bytes;
        in.len -= bytes;
        count++;
    }
    return count;
}

int entries_decode(struct slice in, raft_index first, struct entry ***entries, size_t *count,
                   struct err *err)
{
    size_t want = entries_count(in);
    if (want == 0 && in.len > 0)
        return err_set(err, ERR_CORRUPT, "run of entries from %" PRIu64 ": cut short", first);
    struct entry **found = want > 0 ? mem_calloc(want, sizeof(*found)) : NULL;
    size_t done = 0;
    int rc = 0;
    struct reader r = reader_of(in);
    raft_term term_before = 0;
    while (done < want) {
        raft_index index = reader_u64(&r);
        raft_term term = reader_u64(&r);
        uint8_t kind = reader_u8(&r);
        uint32_t crc = reader_u32(&r);
        uint32_t size = reader_u32(&r);
        struct slice data = reader_bytes(&r, size);
        ASSERT(!r.failed); /* counted above */
        if (index != first + done || term < term_before) {
            rc = err_set(err, ERR_CORRUPT,
                         "entry (%" PRIu64 ",%" PRIu64 ") where index %" PRIu64
                         " and a term from %" PRIu64 " on belongs",
                         index, term, first + done, term_before);
            goto out;
        }
        found[done] =
            entry_restore((enum raft_entry_kind)kind, index, term, crc, data.data, data.len, err);
        if (!found[done]) {
            rc = ERR_CORRUPT;
            goto out;
        }
        done++;
        term_before = term;
    }
    *entries = found;
    *count = done;
    found = NULL;
out:
    if (found) {
        for (size_t i = 0; i < done; i++)
            entry_unref(found[i]);
        mem_free(found);
    }
    return rc;
}
