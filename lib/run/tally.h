/*
 * The end checks of workloads whose elements are numbers, each added once: in the final state every
 * acknowledged one is there exactly once, none that certainly failed, and nothing that nobody
 * added. One of unknown outcome may be there, once.
 */
#ifndef RAFTKV_RUN_TALLY_H
#define RAFTKV_RUN_TALLY_H

#include <pthread.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/run/record.h"

struct tally_element {
    uint32_t group; /* the key it was added to */
    uint8_t added;  /* enum tally_added */
    uint8_t seen;   /* in the final state; stops at 2 */
};

struct tally {
    pthread_mutex_t lock;
    struct tally_element *elements; /* by number */
    uint32_t count, room;
    uint64_t acknowledged, unknown, failed; /* set by tally_judge */
    uint64_t unknown_applied;
    char why[256]; /* the first violation; "": none */
};

void tally_init(struct tally *t);
void tally_release(struct tally *t);
/* A number that nobody has used, for an element of that group; its outcome is unknown until told.
 */
uint32_t tally_new(struct tally *t, uint32_t group);
uint32_t tally_count(struct tally *t); /* elements so far */
void tally_told(struct tally *t, uint32_t number, enum record_end end);
/* The final state has it, in that group. */
void tally_seen(struct tally *t, uint32_t group, uint32_t number);
/* Elements as an append leaves them, "12,7,": each one is seen. Anything else is a violation. */
void tally_seen_list(struct tally *t, uint32_t group, struct slice text);
/* True: nothing is violated. */
bool tally_judge(struct tally *t);

#endif
