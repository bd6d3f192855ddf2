/*
 * A small cluster of Raft cores under random faults: clocks that drift, disks that lag, stall and
 * forget, a network that delays, loses, doubles and reorders. Unlike cluster.h nothing is under a
 * test's hand but the seed: the test says what is to happen (torture_… verbs), chance says when.
 *
 * After every step all that can be known from outside is checked: one leader a term, the same
 * payload at the same (index, term), committed entries durable on a majority and never changed, a
 * new leader holding all of them, a follower's match index on its disk, no read older than what was
 * committed when it was asked, no commit beside a valid lease, every request answered once.
 */
#ifndef RAFTKV_TESTS_SUPPORT_TORTURE_H
#define RAFTKV_TESTS_SUPPORT_TORTURE_H

#include "lib/base/prng.h"
#include "lib/raft/raft.h"

enum {
    TORTURE_NODES = 12, /* ids 1 … 11; an id is never used with another disk */
    TORTURE_LOG = 12000,
    TORTURE_WRITES = 2048,
    TORTURE_WAITING = 4096,
    TORTURE_READS = 2048,
    TORTURE_EVENTS = 65536,
    TORTURE_KNOWN = 1 << 17,
    TORTURE_ELECTION_US = 100000,
    TORTURE_HEARTBEAT_US = 20000,
};

struct torture_entry {
    raft_term term;
    uint64_t payload;
    const struct raft_configuration *configuration; /* of a configuration entry */
};

/* What the disk is to do, in order. */
struct torture_write {
    enum { TORTURE_WRITE, TORTURE_INSTALL, TORTURE_COMPACT } kind;
    uint64_t persist;
    bool hard_state;
    raft_term term;
    raft_id vote;
    raft_index removed;
    raft_index truncate_from, first, last;
    struct torture_entry *entries; /* owned */
    struct raft_snapshot snapshot; /* INSTALL, COMPACT */
    raft_id from;                  /* INSTALL: who sent it … */
    uint64_t transfer;             /* … and its number there */
};

struct torture_read {
    uint64_t id;
    raft_index floor; /* committed when it was asked */
};

struct torture_node {
    raft_id id;
    bool exists;       /* has a data directory */
    struct raft *core; /* NULL: down */
    struct raft *before;
    struct raft_options options;
    int64_t clock_offset_us, clock_ppm;
    uint64_t paused_until_us;
    uint64_t wake_us;     /* by its own clock */
    uint64_t tick_lag_us; /* its timer is late by so much … */
    uint64_t tick_at_us;  /* … and goes off then */

    struct torture_entry *log; /* in memory */
    raft_index last;
    raft_index applied;
    struct raft_configuration applied_configuration;

    /* on disk */
    raft_term disk_term;
    raft_id disk_vote;
    raft_index disk_removed;
    struct raft_snapshot snapshot;
    struct torture_entry *disk_log;
    raft_index disk_last;
    struct torture_write *writes;
    uint32_t write_count;
    uint64_t disk_due_us; /* when the next batch is done; 0: idle */
    uint64_t disk_hangs_until_us;
    uint64_t batch_began_us;
    bool stall_told;
    bool fenced;

    uint64_t waiting[TORTURE_WAITING]; /* contexts of requests not answered */
    uint32_t waiting_count;
    struct torture_read reads[TORTURE_READS];
    uint32_t read_count;
    uint64_t sending[TORTURE_NODES]; /* number of the snapshot on its way to a peer; 0: none */
};

struct torture_event; /* of the queue */

/* Chances are in parts of 1000. */
struct torture_plan {
    uint32_t voters;
    uint32_t loss, duplicate, reorder, split, unreachable;
    uint32_t tick_late; /* a timer goes off late, by up to tick_late_max_us */
    uint64_t tick_late_max_us;
    uint64_t delay_max_us, slow_delay_max_us; /* one message in 50 may take the latter */
    uint64_t disk_max_us;
    uint32_t compact_after; /* entries; 0: never */
    uint32_t inflight_max, append_entries_max, uncommitted_max, clock_drift_ppm;
};

struct torture {
    uint64_t seed;
    struct prng prng;
    struct torture_plan plan;
    uint64_t now_us;
    bool calm; /* no more faults of network and disk */
    bool failed;
    bool verbose;
    struct torture_node nodes[TORTURE_NODES];
    bool cut[TORTURE_NODES][TORTURE_NODES];
    uint64_t link_us[TORTURE_NODES][TORTURE_NODES]; /* last arrival, for order */
    struct torture_event **queue;                   /* heap by time */
    uint32_t queue_count;
    uint64_t last_event, last_payload, last_context, last_read, last_transfer;
    struct torture_entry *known; /* hash table: payload by (index, term) */
    raft_index *known_index;
    struct torture_entry *committed;
    raft_term *committed_in; /* term of the leader that did */
    raft_index commit_max;
    raft_id *leaders; /* by term */
    struct torture_arena *arena;
    uint64_t steps, elections, installs, changes, reads_served, lease_reads, transfers, crashes;
    char failure[400];
};

enum { TORTURE_TERMS = 8192 };

struct torture *torture_new(uint64_t seed, struct torture_plan plan);
void torture_free(struct torture *t);
/* Runs until `us` later, or until something failed. */
void torture_run(struct torture *t, uint64_t us);

/* --- what may happen; each is a no-op where it makes no sense */
void torture_propose(struct torture *t, raft_id id, uint32_t count);
int torture_read(struct torture *t, raft_id id, bool lease);
int torture_change(struct torture *t, raft_id id, struct raft_change change);
int torture_transfer(struct torture *t, raft_id id, raft_id to);
void torture_fence(struct torture *t, raft_id id, bool fenced);
void torture_crash(struct torture *t, raft_id id);
void torture_crash_all(struct torture *t);
void torture_start(struct torture *t, raft_id id); /* also of an id that never was */
void torture_pause(struct torture *t, raft_id id, uint64_t us);
void torture_hang_disk(struct torture *t, raft_id id, uint64_t us);
void torture_heal(struct torture *t); /* network and disks are sound from now on, nobody is down */

/* --- looking */
raft_id torture_leader(const struct torture *t); /* of the highest term; 0: none */
uint64_t torture_below(struct torture *t, uint64_t bound);
bool torture_chance(struct torture *t, uint32_t per_mille);
uint64_t torture_clock(const struct torture *t, const struct torture_node *n);

/* --- inside (torture.c, torture_net.c, torture_disk.c, torture_check.c) */
void torture_fail(struct torture *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void *torture_keep(struct torture *t, const void *data, size_t size);
int torture_step(struct torture *t, struct torture_node *n, struct raft_event event,
                 const struct torture_entry *entries);
void torture_send(struct torture *t, struct torture_node *n, const struct raft_message *out);
uint64_t torture_queue_due(const struct torture *t);
void torture_queue_run(struct torture *t); /* what is due first happens */
void torture_queue_clear(struct torture *t);
void torture_disk_add(struct torture *t, struct torture_node *n, const struct torture_write *w);
void torture_disk_run(struct torture *t, struct torture_node *n);
void torture_disk_watch(struct torture *t, struct torture_node *n);
void torture_apply(struct torture *t, struct torture_node *n);
bool torture_disk_has(const struct torture_node *n, raft_index index, raft_term term);
void torture_snapshot_send(struct torture *t, struct torture_node *n, const struct raft_message *m);
void torture_snapshot_arrived(struct torture *t, raft_id from, raft_id to, uint64_t transfer,
                              const struct raft_snapshot *s);
void torture_snapshot_result(struct torture *t, raft_id from, raft_id to, uint64_t transfer,
                             bool success, raft_index index, uint64_t delay_us);
void torture_check_entry(struct torture *t, const struct torture_node *n, raft_index index,
                         const struct torture_entry *e);
void torture_check_step(struct torture *t, struct torture_node *n, const struct raft_event *event,
                        raft_index commit_before, bool led_before);

#endif
