/* Building the state anew (replay.c), and comparing two of them (replay_compare.c). */
#ifndef RAFTKV_VERIFY_REPLAY_INTERNAL_H
#define RAFTKV_VERIFY_REPLAY_INTERNAL_H

#include "lib/store/kv_store.h"
#include "lib/verify/verify.h"

/* A file of the state with its connections. */
struct replay_side {
    struct data_dir *dir; /* borrowed */
    uint64_t generation;
    struct kv_writer *writer;
    struct kv_reader *reader;
    struct state_base base;
    struct kv_image image; /* as of the last replay_side_read; its sessions are the side's */
};

int replay_side_open(struct replay_side *s, struct data_dir *dir, uint64_t generation,
                     const struct digest *cluster_id, struct err *err);
int replay_side_read(struct replay_side *s, struct err *err);
void replay_side_close(struct replay_side *s);

/* Tells the differences of the state in `found` from the one that was built, all but the first few
 * rows only counted. Both stand at the same index. Changes the order of sessions. An error of
 * reading is told too. */
void replay_compare(const struct inspection *in, const char *file, struct replay_side *found,
                    struct replay_side *built);

#endif
