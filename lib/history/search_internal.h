/* The search: what setting it up and running it share. */
#ifndef RAFTKV_HISTORY_SEARCH_INTERNAL_H
#define RAFTKV_HISTORY_SEARCH_INTERNAL_H

#include "lib/history/check_internal.h"

struct fingerprint { /* of a set of operations and a state: the sum (xor) of its members' */
    uint64_t a, b;
};

struct search_pair {
    uint32_t slot, value; /* of a batch: written; of a scan: seen, 0 for absent */
};

/* What an operation does to slots; a slot is a key of the part. */
struct search_effect {
    uint8_t kind;    /* enum history_kind */
    uint8_t existed; /* enum history_existed */
    bool impossible; /* a scan that shows what its prefix does not cover */
    uint32_t slot, value, expect;
    uint32_t pairs, pair_count;
};

/* An operation that returned. */
struct search_op {
    struct search_effect effect;
    uint32_t call, ret;
};

/* Operations of unknown outcome that do the same: the one called first can do all that the others
 * can, so they are used in the order of their calls. */
struct search_group {
    struct search_effect effect;
    uint32_t first, count; /* in `calls` */
    uint32_t used;
};

enum search_frame_type { FRAME_CHOSEN, FRAME_FORCED, FRAME_UNKNOWN };

struct search_frame {
    uint32_t which; /* operation, or group */
    uint32_t undo;  /* length of the undo stack before it */
    uint32_t window;
    uint8_t type; /* enum search_frame_type */
};

struct search {
    const struct history_part *part;
    struct search_op *ops;
    uint32_t op_count;
    struct search_group *groups;
    uint32_t group_count;
    uint32_t *calls; /* of the groups' members */
    struct search_pair *pairs;
    uint32_t pair_count, pair_room;
    uint32_t *slots; /* the state: slot -> value */
    uint32_t slot_count;
    /* Calls and returns in order, as a list: node 2i is the call of operation i, 2i+1 its return,
     * `head` stands before all. What is linearized is not in it. */
    uint32_t *next, *previous;
    uint32_t head;
    uint32_t left; /* operations that are not linearized */
    struct search_frame *frames;
    uint32_t frame_count;
    struct search_pair *undo;
    uint32_t undo_count, undo_room;
    struct fingerprint now;
    struct fingerprint *seen; /* a table, a power of two of them; {0, 0}: free */
    uint64_t seen_mask, seen_count;
    uint32_t at;     /* the node that is tried next */
    uint32_t group;  /* the group that is tried next; UINT32_MAX: not yet */
    uint32_t window; /* position of the first return that is left */
    uint64_t steps, bytes;
    bool begun, full;
};

/* Operations, groups, slots and the list. */
void search_set_up(struct search *s);

#endif
