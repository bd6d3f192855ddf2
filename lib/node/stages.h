/*
 * How long a write spent where, on the leader that took it: the one source of Server-Timing and of
 * the histograms in /metrics.
 *
 *     received --queue--> proposed --+--persist---> on this disk ---+--> committed --apply-->
 * answered
 *                                    +--replicate-> on enough others+
 *                                    '----------commit--------------'
 *
 * persist and replicate go on side by side, within commit; queue, commit and apply together are the
 * whole. Nothing is noted of a single write: after each step of the core, how far the log had come
 * by then, at the time that the step was given anyway; a write's times are looked up by its index.
 *
 * One thread.
 */
#ifndef RAFTKV_NODE_STAGES_H
#define RAFTKV_NODE_STAGES_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/raft/raft.h"

enum stage {
    STAGE_QUEUE,
    STAGE_PERSIST,
    STAGE_REPLICATE, /* 0 where no other member is needed */
    STAGE_COMMIT,
    STAGE_APPLY,
    STAGES
};
extern const char *const stage_names[STAGES];

enum { STAGE_MARKS = 1024 };

/* "Up to this index by that time", in order; the oldest are overwritten. */
struct stage_marks {
    raft_index floor; /* of what is not above it nothing is known (any more) */
    uint32_t first, count;
    struct {
        raft_index index;
        uint64_t at_us;
    } ring[STAGE_MARKS];
};

struct stages {
    raft_term term; /* in which this node leads; 0: it does not */
    struct stage_marks proposed, durable, replicated, committed;
};

/* All zero is the beginning. Call it after each step of the core. */
void stages_stepped(struct stages *s, const struct raft *raft, uint64_t now_us);
/* Of the entry at `index`, whose write came at `received_us` and is answered now. false: it is not
 * known. */
bool stages_of(const struct stages *s, raft_index index, uint64_t received_us, uint64_t now_us,
               uint64_t us[STAGES]);

/* Server-Timing: "queue;dur=0.021, …", in ms. Appends a metric of that name. */
void timing_put(struct buf *out, const char *name, uint64_t us);

#endif
