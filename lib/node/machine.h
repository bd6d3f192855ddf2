/*
 * The state machine thread and the flusher: the two that own the replicated state.
 *
 * The state machine applies committed entries to the overlay and serves reads, in the order in
 * which they were posted: what was read after an apply was posted sees it. The flusher writes
 * frozen memtables to kv.db, checkpoints, and nothing else. A flush goes round like this (each
 * arrow is a work; the loop only passes it on, so there is never more than one):
 *
 *   FREEZE      machine
 *   FLUSH       flusher: one transaction
 *   FLUSHED     machine: its reader sees the rows, then they leave the overlay
 *   CHECKPOINT  flusher
 *   REFRESH     machine: lets go of the old WAL; the log may be cut
 */
#ifndef RAFTKV_NODE_MACHINE_H
#define RAFTKV_NODE_MACHINE_H

#include "lib/kv/state.h"
#include "lib/node/carry.h"
#include "lib/node/faults.h"
#include "lib/node/work.h"
#include "lib/store/kv_store.h"

/* ---- works of the state machine ---- */

struct machine_apply {
    struct work work;
    void *owner;
    struct entry **entries; /* released before done */
    size_t count;
    struct carry_applied_entry *results;
    uint64_t overlay_bytes;
    uint32_t frozen; /* memtables that wait for the flusher, or are with it */
    uint64_t posted_us, took_us;
};

struct machine_read {
    struct work work;
    void *owner;
    struct carry_request *request;
    void (*evaluate)(struct carry_request *r, struct state *state); /* on the machine's thread */
};

/* Sessions whose time is over, for the leader to put into the log. */
struct machine_expired {
    struct work work;
    void *owner;
    uint64_t cluster_time_ms;
    size_t count;
    char ids[COMMAND_EXPIRE_MAX][COMMAND_CLIENT_BYTES + 1];
};

struct machine_figures {
    raft_index applied, flushed, checkpointed;
    uint64_t overlay_bytes, overlay_rows, sessions, keys;
    uint32_t frozen;
    struct digest digest; /* of the state at `flushed` */
    uint64_t kv_bytes, wal_bytes;
    uint64_t flushes, flush_failures;
    bool flush_failing;
};

struct machine_options {
    struct data_dir *dir;
    uint64_t generation;
    const struct digest *cluster_id; /* NULL: not known yet */
    struct state_options state;
    uint32_t pace_ms; /* a flush at least so often while anything is unflushed */
    struct done_queue *done;
    struct loop *loop;
    void (*fatal)(void *, const struct err *);                       /* does not return */
    void (*flushed)(void *, raft_index index, struct digest digest); /* loop thread */
    void (*checkpointed)(void *, raft_index index);                  /* loop thread */
    void (*flush_failing)(void *, bool failing);                     /* loop thread */
    void *argument;
    struct faults *faults; /* NULL: none */
};

struct machine;
/* Opens kv.<generation>.db, reads what it says (the image of the state), starts both threads. */
int machine_start(const struct machine_options *options, struct machine **out, struct err *err);
raft_index machine_start_applied(const struct machine *m);
uint64_t machine_start_cluster_time_ms(const struct machine *m);
const struct membership *machine_start_membership(const struct machine *m);

void machine_set_cluster(struct machine *m,
                         struct digest cluster_id); /* once; written by the flusher */
void machine_post_apply(struct machine *m, struct entry **entries, size_t count, void *owner,
                        void (*done)(struct work *));
void machine_post_read(struct machine *m, struct machine_read *r);
void machine_post_expired(struct machine *m, struct machine_expired *e);
void machine_flush_turn(struct machine *m); /* loop, once a turn: hands over what was posted */

/* Switching to another generation (a snapshot that was received). Close: waits for the flush in
 * progress, closes all connections to the current file, then calls back. Open: opens the new one
 * and resets the state to it. Nothing may be posted in between. Once machine_stop has begun neither
 * is certain to be done or to call back: the next start opens what raft.db names. */
void machine_close(struct machine *m, void (*closed)(void *), void *argument);
void machine_open(struct machine *m, uint64_t generation, void (*opened)(void *), void *argument);

void machine_figures(struct machine *m, struct machine_figures *out); /* loop thread */
/* A last flush and checkpoint, then both threads end and the files are closed. */
void machine_stop(struct machine *m);

#endif
