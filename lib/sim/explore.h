/*
 * Bounded exhaustive search: every state that a cluster of real cores (lib/raft) can reach within
 * given bounds, breadth first, so that the first violation found is one with the fewest steps.
 *
 * A state is all nodes (core, disk, writes on their way), the messages in flight, what was ever
 * committed, and what is left of the bounds. Time is no part of it: a timeout is a choice that may
 * be taken at any moment, promises not to vote have always ended, so every election that some
 * timing allows is explored; what only a clock keeps from happening (leases) is not. Messages are
 * delivered in any order. States that differ only by the names of nodes count as one.
 *
 * Each core's step from one state by one event is computed once and remembered (explore_step.c);
 * a search is mostly looking up.
 */
#ifndef RAFTKV_SIM_EXPLORE_H
#define RAFTKV_SIM_EXPLORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"

enum {
    EXPLORE_NODES_MAX = 6,      /* voters at the beginning and spares together */
    EXPLORE_BUDGET_MAX = 15,    /* of any one bound */
    EXPLORE_IN_FLIGHT_MAX = 16, /* options.messages */
    EXPLORE_LOG_MAX = 15,       /* entries, and terms */
    EXPLORE_JOBS_MAX = 64,
    EXPLORE_DEPTHS = 512, /* depths that are counted singly */
};

/* What may happen so often on the way to a state. */
enum explore_budget {
    EXPLORE_TIMEOUTS,    /* election timeouts, and leaders that lose their quorum */
    EXPLORE_HEARTBEATS,  /* of a leader, to all; a follower that asks again for its reads */
    EXPLORE_CRASHES,     /* of a node, which starts again at once */
    EXPLORE_LOSSES,      /* messages lost, beside those that find no room in flight */
    EXPLORE_DUPLICATES,  /* messages delivered once more */
    EXPLORE_PROPOSALS,   /* entries */
    EXPLORE_CHANGES,     /* of membership */
    EXPLORE_TRANSFERS,   /* of leadership */
    EXPLORE_COMPACTIONS, /* of one node's log */
    EXPLORE_READS,
    EXPLORE_BUDGETS
};

/* What happens between one state and the next. */
enum explore_kind {
    EXPLORE_TIMEOUT,
    EXPLORE_HEARTBEAT,
    EXPLORE_LATE, /* a transfer takes too long, or a member that leaves */
    EXPLORE_PERSISTED,
    EXPLORE_CRASH,
    EXPLORE_PROPOSE,
    EXPLORE_CHANGE,
    EXPLORE_TRANSFER,
    EXPLORE_COMPACT,
    EXPLORE_READ,
    EXPLORE_SNAPSHOT_FAILS,
    EXPLORE_DELIVER,
    EXPLORE_DUPLICATE, /* delivered, and delivered again later */
    EXPLORE_KINDS
};

const char *explore_budget_name(enum explore_budget budget); /* "timeouts" */
const char *explore_kind_name(enum explore_kind kind);       /* "timeout" */

struct explore_progress {
    uint64_t states, transitions;
    uint64_t queued; /* of this depth, not looked at yet */
    uint32_t depth;
    uint64_t memory_bytes;
    uint64_t elapsed_ms;
};

struct explore_options {
    uint64_t nodes;  /* voters at the beginning */
    uint64_t spares; /* nodes outside, with empty disks */
    uint64_t budgets[EXPLORE_BUDGETS];
    uint64_t messages; /* in flight; what a step sends beyond is lost, whichever it be */
    uint64_t batch;    /* entries of one append at most */
    bool slow_disk; /* a write takes its time, and a crash may lose it; else it is durable at once
                     */
    bool symmetry;  /* states that differ by the names of voters count as one */
    uint64_t depth, states, memory_bytes, time_ms; /* limits; 0: none, but for memory_bytes */
    uint64_t jobs;                                 /* threads */
    void (*progress)(void *, const struct explore_progress *); /* now and then; may be NULL */
    void *progress_argument;
};

enum explore_end {
    EXPLORE_WHOLE,    /* everything within the bounds was seen */
    EXPLORE_VIOLATED, /* `violation`, `steps` */
    EXPLORE_DEPTH,    /* a limit ended it */
    EXPLORE_STATES,
    EXPLORE_MEMORY,
    EXPLORE_TIME,
    EXPLORE_CUT, /* all was seen but what `cut` steps lead to */
};

/* One of the steps of a counterexample. */
struct explore_step {
    char *text;  /* "node 2 times out" */
    char *trace; /* the core's decisions, a line each; may be empty */
};

struct explore_report {
    enum explore_end end;
    uint64_t states, transitions;
    uint64_t cut;   /* steps not taken: more writes or entries than this search can hold */
    uint32_t depth; /* of the deepest state found */
    uint64_t per_depth[EXPLORE_DEPTHS];
    uint64_t per_kind[EXPLORE_KINDS];                /* transitions */
    uint64_t node_states, message_kinds, core_steps; /* distinct; core_steps: by the real core */
    uint32_t permutations;                           /* of names that count as one */
    uint64_t memory_bytes;                           /* most that was held at a time */
    double seconds;
    double collision_odds; /* that two states were taken for one, at most */
    const char *violation; /* its name; static */
    struct explore_step *steps;
    size_t step_count;
};

/* Returns 0 when the search ran, however it ended, or ERR_USAGE: bounds beyond what it can hold. */
int explore_run(const struct explore_options *options, struct explore_report *report,
                struct err *err);
void explore_report_release(struct explore_report *report);

#endif
