/*
 * A memtable, and the overlay: the index over all memtables of a state by which a key's newest row
 * is found in one look, however many of them wait for the flusher.
 *
 * Of a frozen memtable two threads use different members at the same time: the flusher those that
 * never change again (the tree, key, value, version, …), the state machine those that tie a row to
 * the overlay (`link`, `older`, `newer`).
 */
#ifndef RAFTKV_KV_MEMTABLE_INTERNAL_H
#define RAFTKV_KV_MEMTABLE_INTERNAL_H

#include <bsd/sys/queue.h>
#include <bsd/sys/tree.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/kv/hash_index_internal.h"
#include "lib/kv/state.h"

struct memrow {
    struct hash_link link; /* only the newest row of a key is in the overlay … */
    struct memrow *older;  /* … the others hang behind it, newest first */
    struct memrow *newer;
    RB_ENTRY(memrow) node;
    uint64_t table;      /* number of its memtable */
    struct entry *entry; /* a reference: key and value point into it */
    struct row row;
    bool deleted;
};

RB_HEAD(memrow_tree, memrow);

struct session_record {
    struct session session;
    bool gone;
};

enum { MEMROW_CHUNK_FIRST = 16, MEMROW_CHUNK_MAX = 512 };

struct memrow_chunk {
    SLIST_ENTRY(memrow_chunk) chunks;
    uint32_t used, room;
    struct memrow rows[];
};

SLIST_HEAD(memrow_chunks, memrow_chunk);

struct memtable {
    TAILQ_ENTRY(memtable) tables;
    uint64_t number;
    raft_index first, last; /* last == first-1: nothing applied yet */
    raft_term last_term;
    uint64_t cluster_time_ms; /* this and the membership are set when it is frozen */
    struct membership membership;
    uint64_t bytes;
    uint32_t row_count;
    struct memrow_tree rows;
    struct memrow_chunks chunks;
    struct session_record *sessions;
    uint32_t session_count, session_room;
};

struct memtable *memtable_new(uint64_t number, raft_index first);
/* Drops up to `rows` rows, also out of the overlay unless that is NULL; false when none is left. Of
 * a state's memtables only the oldest may be dropped, and from then on it is good for nothing but
 * memtable_free. */
bool memtable_drop(struct memtable *m, struct hash_index *overlay, uint32_t rows);
void memtable_free(struct memtable *m, struct hash_index *overlay); /* drops what is left */
bool memtable_empty(const struct memtable *m);

struct memrow *overlay_find(const struct hash_index *overlay, struct slice key, uint64_t hash);
/* Writes a row into the newest memtable; `newest` is what overlay_find said. Key and value point
 * into `e`. */
void memtable_write(struct memtable *m, struct hash_index *overlay, struct memrow *newest,
                    uint64_t hash, struct entry *e, const struct row *row, bool deleted);
/* Notes a session as it now is. `*record` is its place in this memtable; `fresh`: it has none yet.
 */
void memtable_note_session(struct memtable *m, const struct session *session, bool gone, bool fresh,
                           uint32_t *record);

/* First row with a key >= from (an empty `from` is below all), last row with a key < from (empty:
 * last of all). */
struct memrow *memtable_seek(struct memtable *m, struct slice from, bool reverse);
struct memrow *memtable_step(struct memrow *row, bool reverse);

#endif
