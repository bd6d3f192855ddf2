/*
 * The disk thread: the only user of raft.db once the node runs. Takes all that queued up meanwhile,
 * writes it in one transaction with one fsync, reads old entries between the batches.
 *
 * An error of raft.db ends the process (fatal): what is on disk is then unknown, and only reading
 * everything again at a start can tell. A full disk is the exception: the batch, or the commit
 * point of a received snapshot, is tried again until there is room; of a batch the carry sees the
 * stall meanwhile.
 */
#ifndef RAFTKV_NODE_DISK_H
#define RAFTKV_NODE_DISK_H

#include "lib/node/carry.h"
#include "lib/node/faults.h"
#include "lib/node/work.h"
#include "lib/store/log_store.h"

enum disk_kind { DISK_WRITE, DISK_READ, DISK_COMPACT, DISK_INSTALL, DISK_CLUSTER };

struct disk_write { /* DISK_WRITE; made by disk_post_write */
    struct work work;
    void *owner;
    struct carry_write *write; /* released before done */
    uint64_t persist;
    uint64_t batch_us; /* how long its batch took */
};

struct disk_read { /* DISK_READ */
    struct work work;
    void *owner;
    uint64_t id;
    raft_index first, last;
    uint64_t bytes_max;
    int code; /* result */
    struct entry **entries;
    size_t count;
};

struct disk_compact { /* DISK_COMPACT */
    struct work work;
    raft_index index;
    raft_term term;
    struct membership membership;
};

struct disk_install { /* DISK_INSTALL */
    struct work work;
    void *owner;
    uint64_t generation;
    struct snapshot_cut cut;
    bool kept_tail; /* result */
};

struct disk_cluster { /* DISK_CLUSTER: the first write of a member's life in a cluster */
    struct work work;
    void *owner;
    struct log_write write;
    struct entry *entry; /* entry 1, or NULL when it will come from a leader */
};

/* Figures of raft.db as of the last batch; any thread. */
struct disk_figures {
    struct log_store_figures log;
    uint64_t batches, entries;
    bool full; /* a batch is being tried again: no room */
};

struct disk;
/* `fatal` does not return; `faults` may be NULL. */
int disk_start(struct log_store *store, struct done_queue *done,
               void (*fatal)(void *, const struct err *), void *argument, struct faults *faults,
               struct disk **out, struct err *err);
struct worker *disk_worker(struct disk *d);
void disk_figures(struct disk *d, struct disk_figures *out);
void disk_stop(struct disk *d); /* finishes what is queued */

#endif
