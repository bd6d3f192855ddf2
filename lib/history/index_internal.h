/* The check by log index: what its two halves share. */
#ifndef RAFTKV_HISTORY_INDEX_INTERNAL_H
#define RAFTKV_HISTORY_INDEX_INTERNAL_H

#include "lib/history/check_internal.h"

/* Places in the log: an index and, one before it, room for a write that must have been there. */
static inline uint64_t index_place(uint64_t index)
{
    return index * 2;
}

static inline uint64_t index_shown(uint64_t place)
{
    return (place + 1) / 2;
}

struct index_write {
    uint64_t version;    /* its place */
    uint32_t key, value; /* value: what the key has from there on */
    uint32_t op;
    bool explained; /* what stands before it has just been found out */
    bool appended;  /* the value is what an append made of what was there */
};

/* A key that an operation of unknown outcome may have written. */
struct index_unknown {
    uint32_t key, value; /* of an append: what is put behind */
    uint32_t call;
    uint32_t place_in_part;
    uint8_t kind;
    bool placed;
    bool alike;     /* all that wrote this value to this key are puts or deletes */
    uint32_t taken; /* of the first of its value: how many are placed */
};

struct index_check {
    const struct history_part *part;
    struct index_write *writes; /* by key, then version */
    uint32_t write_count, write_room;
    uint32_t sorted_count;         /* the writes that have been sorted */
    struct index_unknown *unknown; /* by key, then value, then call */
    uint32_t unknown_count, unknown_room;
    uint64_t *versions; /* by place in the part: where a write stands; 0: not known */
    uint64_t *places;
    bool changed; /* a write was moved */
    bool guessed; /* some of unknown outcome were placed by more than the version that was read */
    bool appends; /* there are appends in the log */
    bool appends_unknown; /* there are appends of unknown outcome */
    char *why;
};

/* Writes with their versions, those of unknown outcome by what was read of them.
 * VERDICT_LINEARIZABLE: go on. */
enum history_verdict index_collect(struct index_check *c);
/* A put or delete of unknown outcome that wrote this value must have stood at this place; false:
 * there is none that was not placed. The writes are no longer sorted then. */
bool index_infer(struct index_check *c, uint32_t key, uint32_t value, uint64_t place);
void index_share_out(struct index_check *c);
void index_release(struct index_check *c);
void index_sort_writes(struct index_check *c);
/* The first write behind all of the key up to a version. */
uint32_t index_write_behind(const struct index_check *c, uint32_t key, uint64_t version);

#endif
