/* Memtables: rows and session changes of a run of log indexes, in order of keys. */
#include <stddef.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/mem.h"
#include "lib/kv/memtable_internal.h"

_Static_assert(offsetof(struct memrow, link) == 0, "a link is its row");

static int memrow_compare(const struct memrow *a, const struct memrow *b)
{
    return slice_compare(a->row.key, b->row.key);
}

/* Not RB_GENERATE_STATIC: its __unused is not defined by libbsd without the overlay headers. */
RB_GENERATE_INTERNAL(memrow_tree, memrow, node, memrow_compare, static __attribute__((unused)))

struct memtable *memtable_new(uint64_t number, raft_index first)
{
    ASSERT(first > 0);
    struct memtable *m = mem_zalloc(sizeof(*m));
    m->number = number;
    m->first = first;
    m->last = first - 1;
    RB_INIT(&m->rows);
    SLIST_INIT(&m->chunks);
    return m;
}

static void overlay_forget(struct hash_index *overlay, struct memrow *row)
{
    ASSERT(!row->older);
    if (row->newer)
        row->newer->older = NULL;
    else
        hash_index_remove(overlay, &row->link);
}

bool memtable_drop(struct memtable *m, struct hash_index *overlay, uint32_t rows)
{
    struct memrow_chunk *chunk;
    while ((chunk = SLIST_FIRST(&m->chunks))) {
        while (chunk->used > 0) {
            if (rows == 0)
                return true;
            rows--;
            struct memrow *row = &chunk->rows[--chunk->used];
            if (overlay)
                overlay_forget(overlay, row);
            entry_unref(row->entry);
        }
        SLIST_REMOVE_HEAD(&m->chunks, chunks);
        mem_free(chunk);
    }
    return false;
}

void memtable_free(struct memtable *m, struct hash_index *overlay)
{
    while (memtable_drop(m, overlay, UINT32_MAX))
        ;
    mem_free(m->sessions);
    mem_free(m);
}

bool memtable_empty(const struct memtable *m)
{
    return m->last < m->first;
}

struct memrow *overlay_find(const struct hash_index *overlay, struct slice key, uint64_t hash)
{
    for (struct hash_link *link = hash_index_chain(overlay, hash); link; link = link->next) {
        if (link->hash != hash)
            continue;
        struct memrow *row = (struct memrow *)link;
        if (slice_compare(row->row.key, key) == 0)
            return row;
    }
    return NULL;
}

/* Rows are never freed one by one, so they come out of chunks; a memtable of a few rows has a small
 * one. */
static struct memrow *memrow_new(struct memtable *m)
{
    struct memrow_chunk *chunk = SLIST_FIRST(&m->chunks);
    if (!chunk || chunk->used == chunk->room) {
        uint32_t room = chunk ? chunk->room * 2 : MEMROW_CHUNK_FIRST;
        if (room > MEMROW_CHUNK_MAX)
            room = MEMROW_CHUNK_MAX;
        chunk = mem_alloc(sizeof(*chunk) + room * sizeof(struct memrow));
        chunk->used = 0;
        chunk->room = room;
        SLIST_INSERT_HEAD(&m->chunks, chunk, chunks);
    }
    return &chunk->rows[chunk->used++];
}

/* A row keeps the whole entry in memory. */
static uint64_t memrow_bytes(const struct entry *e)
{
    return sizeof(struct memrow) + sizeof(struct entry) + e->size;
}

void memtable_write(struct memtable *m, struct hash_index *overlay, struct memrow *newest,
                    uint64_t hash, struct entry *e, const struct row *row, bool deleted)
{
    struct memrow *to = newest;
    if (newest && newest->table == m->number) {
        m->bytes -= memrow_bytes(to->entry);
        entry_ref(e);
        entry_unref(to->entry);
        to->row = *row; /* the equal key too: the old one goes with its entry */
    } else {
        to = memrow_new(m);
        memset(to, 0, sizeof(*to));
        to->link.hash = hash;
        to->table = m->number;
        to->row = *row;
        entry_ref(e);
        struct memrow *there = RB_INSERT(memrow_tree, &m->rows, to);
        ASSERT(!there);
        to->older = newest;
        if (newest) {
            ASSERT(newest->table < m->number);
            newest->newer = to;
            hash_index_replace(overlay, &newest->link, &to->link);
        } else {
            hash_index_insert(overlay, &to->link);
        }
        m->row_count++;
    }
    to->entry = e;
    to->deleted = deleted;
    m->bytes += memrow_bytes(e);
}

void memtable_note_session(struct memtable *m, const struct session *session, bool gone, bool fresh,
                           uint32_t *record)
{
    if (fresh) {
        if (m->session_count == m->session_room) {
            m->session_room = m->session_room ? m->session_room * 2 : 16;
            m->sessions = mem_realloc(m->sessions, m->session_room * sizeof(*m->sessions));
        }
        *record = m->session_count++;
        m->bytes += sizeof(*m->sessions);
    }
    ASSERT(*record < m->session_count);
    m->sessions[*record] = (struct session_record){.session = *session, .gone = gone};
}

struct memrow *memtable_seek(struct memtable *m, struct slice from, bool reverse)
{
    if (from.len == 0)
        return reverse ? RB_MAX(memrow_tree, &m->rows) : RB_MIN(memrow_tree, &m->rows);
    struct memrow probe = {.row.key = from};
    struct memrow *at = RB_NFIND(memrow_tree, &m->rows, &probe);
    if (!reverse)
        return at;
    return at ? RB_PREV(memrow_tree, &m->rows, at) : RB_MAX(memrow_tree, &m->rows);
}

struct memrow *memtable_step(struct memrow *row, bool reverse)
{
    return reverse ? RB_PREV(memrow_tree, NULL, row) : RB_NEXT(memrow_tree, NULL, row);
}

/* ---- for the flusher */

raft_index memtable_first_index(const struct memtable *m)
{
    return m->first;
}

raft_index memtable_last_index(const struct memtable *m)
{
    return m->last;
}

raft_term memtable_last_term(const struct memtable *m)
{
    return m->last_term;
}

uint64_t memtable_cluster_time_ms(const struct memtable *m)
{
    return m->cluster_time_ms;
}

const struct membership *memtable_membership(const struct memtable *m)
{
    return &m->membership;
}

uint32_t memtable_row_count(const struct memtable *m)
{
    return m->row_count;
}

static const struct memrow *leftmost(const struct memrow *row)
{
    while (row && RB_LEFT(row, node))
        row = RB_LEFT(row, node);
    return row;
}

/* RB_NEXT takes what it may not change as if it could; this one reads only. */
const void *memtable_next(const struct memtable *m, const void *previous,
                          struct memtable_change *change)
{
    const struct memrow *row = previous;
    if (!row) {
        row = leftmost(RB_ROOT(&m->rows));
    } else if (RB_RIGHT(row, node)) {
        row = leftmost(RB_RIGHT(row, node));
    } else {
        const struct memrow *below = row;
        row = RB_PARENT(below, node);
        while (row && below == RB_RIGHT(row, node)) {
            below = row;
            row = RB_PARENT(below, node);
        }
    }
    if (row)
        *change = (struct memtable_change){.row = row->row, .deleted = row->deleted};
    return row;
}

uint32_t memtable_session_count(const struct memtable *m)
{
    return m->session_count;
}

const struct session *memtable_session(const struct memtable *m, uint32_t i, bool *gone)
{
    ASSERT(i < m->session_count);
    *gone = m->sessions[i].gone;
    return &m->sessions[i].session;
}
