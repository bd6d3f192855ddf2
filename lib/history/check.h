/*
 * Whether a history is linearizable, by three methods. Keys are independent of each other
 * (locality, Herlihy and Wing 1990, theorem 1), so a history is judged in parts: a key, or the keys
 * that a scan or a batch ties together. Reads of unknown outcome and failed operations say nothing
 * and are in no part.
 *
 *     index   the log's own order, by the indexes that replies bear: does it respect real time, and
 *             does each reply follow from it? O(n log n)
 *     zones   unique values: Gibbons and Korach, "Testing Shared Memories", 1997. O(n log n)
 *     search  all orders, depth first, with a memory of what was seen: Wing and Gong 1993, Lowe 2017
 */
#ifndef RAFTKV_HISTORY_CHECK_H
#define RAFTKV_HISTORY_CHECK_H

#include "lib/history/history.h"

enum history_method { METHOD_INDEX, METHOD_ZONES, METHOD_SEARCH, METHOD_COUNT };

enum history_verdict {
    VERDICT_LINEARIZABLE,
    VERDICT_VIOLATED,
    VERDICT_OPEN,  /* a budget or limit ended it */
    VERDICT_UNFIT, /* the method cannot tell */
};

enum { HISTORY_WHY_BYTES = 200 };

/* A set of operations, looked at until a moment: what returns at `until` or later has not returned,
 * what is called then is not there. */
struct history_part {
    struct history *history;   /* values may be added to it */
    const uint32_t *ops;       /* indexes of operations, in the order of their calls; borrowed */
    uint32_t count;
    uint32_t until;            /* HISTORY_NEVER: all of it */
    bool several_keys;
    const uint32_t *keys;      /* all keys of the part in the order of their bytes; borrowed */
    uint32_t key_count;
};

/* When its return came; HISTORY_NEVER. */
uint32_t part_return(const struct history_part *p, const struct history_operation *op);
/* Whether an operation of the part is to be judged: called in time, and no read without return. */
bool part_has(const struct history_part *p, const struct history_operation *op);

/* Each fills `why` (HISTORY_WHY_BYTES) for VERDICT_VIOLATED and VERDICT_UNFIT. */
enum history_verdict check_index(const struct history_part *p, char *why);
enum history_verdict check_zones(const struct history_part *p, char *why);

/* A search that can be interrupted: each call goes on for `steps` more. */
struct search;
struct search *search_new(const struct history_part *p); /* `p` must outlive it */
void search_free(struct search *s);
/* VERDICT_OPEN: the steps are used up, or memory over `bytes_max` would be needed. */
enum history_verdict search_run(struct search *s, uint64_t steps, uint64_t bytes_max);
bool search_is_full(const struct search *s); /* it was the memory */
uint64_t search_bytes(const struct search *s);
uint64_t search_steps(const struct search *s);

/* ---- parts ---- */

struct history_parts {
    struct history_part *parts;
    uint32_t count;
    uint32_t *ops, *keys; /* of all parts */
};

/* The parts of a history; they borrow from it and from `parts`. */
void history_parts_init(struct history_parts *parts, struct history *h);
void history_parts_release(struct history_parts *parts);

/* ---- the whole ---- */

struct history_limits {
    bool forced;                /* only `method`; else the fastest that can tell */
    enum history_method method;
    uint64_t memory_bytes;      /* of history and search together; 0: any */
    bool (*stop)(void *argument); /* asked now and then; true: no time left; may be NULL */
    void *argument;
};

struct history_report {
    enum history_verdict verdict;
    uint32_t parts[METHOD_COUNT]; /* judged by each method */
    uint32_t open;                /* not judged to the end */
    uint32_t violated;            /* the part, by its place */
    enum history_method method;   /* that of the violated or unfit part */
    uint64_t steps;               /* of all searches */
    bool out_of_memory;
    char why[HISTORY_WHY_BYTES];
};

/* VERDICT_UNFIT only if a method was forced. */
void history_judge(const struct history_parts *parts, const struct history_limits *limits,
                   struct history_report *report);
/* One part by one method, within a number of steps. */
enum history_verdict history_judge_part(const struct history_part *p, enum history_method method,
                                        uint64_t steps, uint64_t bytes_max, char *why);
const char *history_method_name(enum history_method method);

#endif
