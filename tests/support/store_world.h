/*
 * Log, state and snapshots together, as a node uses them, but without its threads: random appends,
 * applies, flushes, checkpoints, cutting behind them, snapshots taken and installed. Beside them
 * stands what is right: all entries with their answers, and a state that was never interrupted.
 *
 * The test sets faults (lib/store/test_vfs.h) and says when to start again. Everything is drawn
 * from the seed, and nothing of a step depends on a fault before it happens, so that the same seed
 * makes the same calls.
 */
#ifndef RAFTKV_TESTS_SUPPORT_STORE_WORLD_H
#define RAFTKV_TESTS_SUPPORT_STORE_WORLD_H

#include "lib/base/prng.h"
#include "tests/unit/store.h"

enum { WORLD_ENTRIES = 6000 };

struct totals {
    unsigned starts, power_losses, crashes, errors, fulls, flushes, cuts, taken, installs, tails;
};

struct world {
    struct prng prng;
    const char *failure; /* the first */
    bool verbose;
    struct totals *sum;

    /* What is right: all entries with their answers, and the state behind the last. */
    struct kv_rig rig;
    struct entry *entries[WORLD_ENTRIES + 1];
    struct apply_result answers[WORLD_ENTRIES + 1];
    raft_index known;
    /* A member that has it, and a snapshot that it sends. */
    const char *source_path;
    struct data_dir *source;
    struct kv_writer *source_writer;
    struct snapshot_info snapshot;
    uint8_t *snapshot_bytes; /* NULL: none */

    /* The member under test. */
    const char *path;
    struct data_dir *dir;
    struct log_store *log;
    struct kv_writer *writer;
    struct kv_reader *reader;
    struct state_base base;
    struct state *state;
    raft_index log_base;
    raft_index acked, attempted; /* last entry on the disk; if what is under way took effect */
    raft_index checkpointed;
    uint64_t generation;
    bool installing; /* the next generation is about to be named */
};

struct world *world_new(uint64_t seed, struct totals *sum); /* not started yet */
bool world_free(struct world *w);                           /* whether nothing failed */

uint64_t world_pick(struct world *w, uint64_t below);
void world_fail(struct world *w, const char *what, const struct err *err);

/* Opens all, and looks whether it fits together and has what was acknowledged. An error is one of
 * the stores'; what they got wrong is w->failure. */
int world_try_start(struct world *w, struct err *err);
void world_start(struct world *w); /* an error is a failure */
void world_stop(struct world *w);

/* 0, or the code with which a process would end. */
int world_step(struct world *w, struct err *err);
/* A snapshot that the member with the right state sends, in memory until it is dropped. */
void world_make_snapshot(struct world *w);
void world_drop_snapshot(struct world *w);
int world_install(struct world *w, struct err *err);

/* Without faults: appends, applies and flushes all, and compares it with what is right. */
void world_catch_up(struct world *w);

#endif
