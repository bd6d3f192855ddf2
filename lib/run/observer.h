/*
 * Who leads: asks every node a few dozen times a second, in a thread of its own, and keeps when a
 * leader of which term was seen first. Nodes that do not answer delay nothing.
 */
#ifndef RAFTKV_RUN_OBSERVER_H
#define RAFTKV_RUN_OBSERVER_H

#include "lib/base/limits.h"
#include "lib/run/fleet.h"

struct observer;

struct observer_view {
    char leader[LIMIT_NAME_BYTES + 1]; /* of the highest term; "": none was seen */
    int place;                         /* in the cluster's table; -1 */
    uint64_t term;
    uint64_t led_us; /* when it was seen to lead last; clock_now_us */
};

/* To be made before other threads use libcurl. */
int observer_new(struct fleet *c, struct observer **out, struct err *err);
void observer_free(struct observer *o);
void observer_view(struct observer *o, struct observer_view *view);
/* When a leader of a term over `term` was seen first that leads and is ready; 0: none yet. */
uint64_t observer_leader_after(struct observer *o, uint64_t term);

#endif
