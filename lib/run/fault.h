/*
 * The faults, as a table: what each is called, what it needs, how it begins and ends. Several may
 * last at once ("kill+partition"). What a fault does to whom is drawn from its seed when it begins:
 * mostly to a minority, to the leader in every other case; kill-all and what is said so to all.
 *
 * All of this is called by the thread that owns the cluster, and waits there.
 */
#ifndef RAFTKV_RUN_FAULT_H
#define RAFTKV_RUN_FAULT_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/prng.h"
#include "lib/run/fleet.h"
#include "lib/run/observer.h"

enum {
    FAULT_TEXT_BYTES = 200,
    FAULT_SETS_MAX = 32,
    FAULT_PARTS_MAX = 3, /* of a set: "kill+partition+slow" */
    FAULT_NAME_BYTES = 64,
    FAULT_TICK_MS = 100,
};

enum fault_needs {
    FAULT_OF_PROCESS = 1, /* of a node that we started */
    FAULT_OF_LINK = 2,    /* the proxy */
    FAULT_OF_NODE = 4,    /* --enable-faults */
};

struct fault;

/* One that lasts, or did. */
struct fault_run {
    const struct fault *fault;
    struct fleet *fleet;
    struct observer *observer;
    struct prng prng;
    uint32_t targets; /* bits by place */
    uint32_t ticks;
    bool on;
    char text[FAULT_TEXT_BYTES]; /* what it did: "node2", "node1 | node2 node3" */
};

struct fault {
    const char *name, *summary;
    unsigned needs; /* enum fault_needs */
    void (*begin)(struct fault_run *f);
    void (*tick)(struct fault_run *f); /* every FAULT_TICK_MS while it lasts; NULL */
    void (*end)(struct fault_run *f);  /* NULL: nothing to undo */
};

/* A word of --faults: one fault, or some that come together. */
struct fault_set {
    const struct fault *parts[FAULT_PARTS_MAX];
    unsigned count; /* 0: none */
    char name[FAULT_NAME_BYTES];
};

const struct fault *fault_at(unsigned i); /* NULL behind the last one */
const struct fault *fault_find(const char *name);
/* "kill,pause+slow"; "none": no set. ERR_USAGE names the word. */
int fault_sets_parse(const char *text, struct fault_set sets[FAULT_SETS_MAX], unsigned *count,
                     struct err *err);
unsigned fault_set_needs(const struct fault_set *set);

void fault_begin(struct fault_run *f, const struct fault *fault, struct fleet *c,
                 struct observer *o, uint64_t seed);
void fault_tick(struct fault_run *f);
void fault_end(struct fault_run *f);

/* ---- for the rows of the table ---- */

/* Members that vote and whose process runs. */
uint32_t fault_candidates(const struct fault_run *f);
/* Some of them, no more than can be spared of the voters; with or without the leader. */
uint32_t fault_minority(struct fault_run *f);
/* One of `of`, as its place; -1: there is none. */
int fault_pick(struct fault_run *f, uint32_t of);
int fault_leader(const struct fault_run *f); /* its place; -1 */
void fault_say(struct fault_run *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void fault_say_members(struct fault_run *f, uint32_t which);
/* Starts what is down of these, and waits until it is ready. */
void fault_restart(struct fault_run *f, uint32_t which);

extern const struct fault fault_partition, fault_slow, fault_lossy; /* fault_links.c */
extern const struct fault fault_disk_stall, fault_disk_error, fault_disk_full, fault_clock_jump,
    fault_clock_drift, fault_crash;                                        /* fault_node.c */
extern const struct fault fault_membership, fault_transfer, fault_rolling; /* fault_members.c */

#endif
