/*
 * A cluster of Raft cores in one process for the conformance tests: virtual clock, network and
 * disks, with verbs that read like the protocol. Nothing happens by itself: messages wait in a
 * queue until a verb delivers them, disks answer at once unless they are held, time passes only in
 * cluster_run() and cluster_sleep().
 *
 * After every step of a core it checks the core's own invariants, and those that only the carrier
 * can see: one leader a term, the same entry applied at an index by everybody, nothing applied that
 * is not durable, every request answered once, the core's idea of the log equal to what was
 * written. A breach fails the running test case.
 */
#ifndef RAFTKV_TESTS_SUPPORT_CLUSTER_H
#define RAFTKV_TESTS_SUPPORT_CLUSTER_H

#include "lib/raft/raft.h"
#include "tests/support/cases.h"

enum {
    CLUSTER_NODES = 20, /* ids 1 … 19 */
    CLUSTER_WRITES = RAFT_WRITES_MAX + 8,
    CLUSTER_WAITING = 1024, /* requests that one node has not answered */
    CLUSTER_TERMS = 10000,
    CLUSTER_READS = 2 * RAFT_READS_MAX,
    /* Microseconds. */
    ELECTION_TIMEOUT = 1000000,
    HEARTBEAT = 100000,
    CLUSTER_START = 10000000, /* the clock at the beginning */
};

#define ANY        RAFT_MESSAGE_TYPES /* any type of message */
#define TERMS(...) ((const raft_term[]){__VA_ARGS__, 0})

struct cluster_entry {
    raft_term term;
    enum raft_entry_kind kind;
    uint64_t payload;
    const struct raft_configuration *configuration;
};

struct cluster_packet {
    struct raft_message m;
    uint64_t due_us;                     /* not delivered by settling before */
    const struct cluster_entry *entries; /* m.entry_count of an append */
};

/* One write on its way to the disk, or the installing of a snapshot. */
struct cluster_write {
    uint64_t persist;
    bool hard_state;
    raft_term term;
    raft_id vote;
    raft_index removed;
    raft_index truncate_from, first, last;
    const struct cluster_entry *entries;
    const struct raft_snapshot *snapshot;
    raft_id snapshot_from;
};

struct cluster_disk {
    raft_term term;
    raft_id vote;
    raft_index removed;
    struct raft_snapshot snapshot;
    raft_index last;
    struct cluster_entry *log;
};

struct cluster_waiting {
    uint64_t context;
    raft_id from;
    enum raft_message_type type;
};

struct cluster_node {
    raft_id id;
    struct raft *raft; /* NULL: crashed, or played by the test */
    struct raft *before;
    bool played;
    bool paused;
    bool disk_held;
    bool draining; /* its writes are being completed */
    bool fresh;
    struct raft_options options;

    raft_index last; /* log in memory */
    struct cluster_entry *log;
    struct cluster_disk *disk;
    struct cluster_write *writes; /* up to CLUSTER_WRITES */
    uint32_t write_count;
    raft_index applied;

    struct cluster_waiting *waiting; /* up to CLUSTER_WAITING */
    uint32_t waiting_count;

    /* Of the last update, and gathered over all of them. */
    struct raft_update update;
    uint64_t wake_us;
    struct raft_read_result *reads; /* all results so far */
    uint32_t read_count;
    int transfer_status; /* the last that was not 0 */
};

struct cluster {
    uint64_t now_us;
    struct cluster_node nodes[CLUSTER_NODES]; /* by id */
    uint32_t node_count;                      /* ids 1 … node_count */
    struct cluster_packet *packets;           /* in order of sending */
    uint32_t packet_count, packet_room;
    bool cut[CLUSTER_NODES][CLUSTER_NODES];  /* from, to: dropped */
    bool held[CLUSTER_NODES][CLUSTER_NODES]; /* from, to: not delivered by settling */
    bool dropped[RAFT_MESSAGE_TYPES];        /* types that get lost */
    uint64_t delay_us;                       /* of every message from now on */
    uint32_t loss_percent;                   /* at random, of those sent from now on */
    struct prng prng;
    uint64_t last_context, last_payload;
    struct raft_message reply; /* see cluster_feed */
    uint64_t awaited_context;
    bool replied;
    raft_id favoured;               /* only its pre-votes get through; see cluster_elect */
    raft_id leaders[CLUSTER_TERMS]; /* by term */
    raft_index log_max;
    struct cluster_entry *applied; /* by index: what the first to apply it has applied */
    struct cluster_chunk *chunks;
    uint64_t steps;
};

/* How it begins. Everybody's log starts with the configuration as entry 1 of term 1, known to be
 * committed. */
struct cluster_plan {
    uint32_t voters;      /* ids 1 … voters; default 3 */
    uint32_t learners;    /* the ids after them */
    uint32_t spares;      /* … and after those: empty disks, in no configuration */
    bool alone;           /* only node 1 is a core; the test plays the others */
    bool restarted;       /* not fresh: no vote and no candidacy for an election timeout */
    const raft_term *log; /* terms of everybody's entries from 1 on, ended by 0; default {1} */
    raft_term term;       /* current term; default that of the last entry */
    raft_id vote;
    raft_index commit;                              /* default 1 */
    const struct raft_configuration *configuration; /* instead of the one above, at index 1 */
    uint32_t inflight_max, append_entries_max, uncommitted_max, clock_drift_ppm;
    raft_index log_max; /* highest index that the fixture has room for; default 500 */
    uint64_t seed;
};

struct cluster *cluster_new(struct cluster_plan plan);
void cluster_free(
    struct cluster *c); /* checks once more that committed entries are everywhere the same */

/* ---- looking ---- */
struct raft *cluster_core(struct cluster *c, raft_id id);
raft_id cluster_leader(
    const struct cluster *c); /* of the highest term, among those that run; 0: none */
bool cluster_equal_logs(
    const struct cluster *c); /* of all that run: the same last index and entries */
const struct raft_read_result *cluster_read_result(const struct cluster *c, raft_id id,
                                                   uint64_t read);
struct raft_progress_view cluster_progress(const struct cluster *c, raft_id leader, raft_id peer);
const struct cluster_entry *cluster_entry(const struct cluster *c, raft_id id, raft_index index);
/* Whether the terms of the log in memory from `first` on are exactly these. */
bool cluster_log_is(const struct cluster *c, raft_id id, raft_index first, const raft_term *terms);
struct raft_configuration cluster_configuration(raft_index index, uint32_t voters,
                                                uint32_t learners);
void configuration_add(struct raft_configuration *configuration, raft_id id, uint32_t flags);

/* ---- time ---- */
void cluster_sleep(struct cluster *c, uint64_t us); /* the clock goes on, nobody is woken */
void cluster_tick(struct cluster *c, raft_id id);
void cluster_run(struct cluster *c, uint64_t us); /* messages delivered, timers obeyed */
bool cluster_run_until(struct cluster *c, uint64_t us, bool (*reached)(struct cluster *));

/* ---- events ---- */
int cluster_step(struct cluster *c, raft_id id, struct raft_event event); /* now_us is filled in */
int cluster_propose(struct cluster *c, raft_id id, uint32_t count);
int cluster_read(struct cluster *c, raft_id id, uint64_t read);
int cluster_lease_read(struct cluster *c, raft_id id, uint64_t read);
int cluster_transfer(struct cluster *c, raft_id id, raft_id to);
int cluster_change(struct cluster *c, raft_id id, struct raft_change change);
void cluster_unreachable(struct cluster *c, raft_id id, raft_id peer);
void cluster_stall(struct cluster *c, raft_id id, bool begins);
void cluster_fence(struct cluster *c, raft_id id, bool fenced);

/* ---- elections ---- */
/* Time passes until `id` leads, nobody else getting a pre-vote, and its no-op is committed. Fails
 * the case if it never does. */
void cluster_elect(struct cluster *c, raft_id id);
/* Brings a lone core into a state, the test's votes helping. */
void cluster_become(struct cluster *c, raft_id id, enum raft_state state);
/* … and into a leader whose no-op is committed by everybody's acknowledgement; its messages are
 * forgotten. */
void cluster_become_ready(struct cluster *c, raft_id id);

/* ---- network; links are one way ---- */
void cluster_cut(struct cluster *c, raft_id from, raft_id to);
void cluster_cut_both(struct cluster *c, raft_id a, raft_id b);
void cluster_isolate(struct cluster *c, raft_id id);
void cluster_hold(struct cluster *c, raft_id from, raft_id to);
void cluster_heal(struct cluster *c);   /* no link cut or held, no type dropped */
void cluster_settle(struct cluster *c); /* delivers until nothing moves */
uint32_t cluster_count(const struct cluster *c, enum raft_message_type type, raft_id from,
                       raft_id to); /* 0: any */
const struct raft_message *cluster_sent(const struct cluster *c, enum raft_message_type type,
                                        raft_id from, raft_id to); /* the oldest such; NULL: none */
bool cluster_take(struct cluster *c, enum raft_message_type type, raft_id from, raft_id to,
                  struct cluster_packet *out); /* the oldest, out of the queue */
void cluster_deliver(struct cluster *c, struct cluster_packet packet);
/* Takes and delivers the oldest such; false: there is none. */
bool cluster_pass(struct cluster *c, enum raft_message_type type, raft_id from, raft_id to);
void cluster_forget(struct cluster *c); /* everything on its way is lost */

/* ---- playing a peer ---- */
/* Steps a message; returns the core's reply to it if that came at once, else NULL. */
const struct raft_message *cluster_feed(struct cluster *c, raft_id id, struct raft_message m);
struct cluster_append {
    raft_id from;
    raft_term term;
    raft_index prev_index;
    raft_term prev_term;
    const raft_term *terms; /* of the entries, ended by 0; NULL: none */
    raft_index commit;
    const struct raft_configuration *configuration; /* the entry at its index is this one */
    uint64_t round, sent_us;
};
#define APPEND(leader, its_term, index, term_there, entries, committed)                            \
    ((struct cluster_append){.from = (leader),                                                     \
                             .term = (its_term),                                                   \
                             .prev_index = (index),                                                \
                             .prev_term = (term_there),                                            \
                             .terms = (entries),                                                   \
                             .commit = (committed)})
const struct raft_message *cluster_append(struct cluster *c, raft_id id, struct cluster_append a);
/* The reply to the request fed last, also when it came later; NULL: not yet. */
const struct raft_message *cluster_replied(const struct cluster *c);
void cluster_ack(struct cluster *c, raft_id id, raft_id from, raft_index match);
void cluster_refuse(struct cluster *c, raft_id id, raft_id from, raft_index reject, raft_index hint,
                    raft_term hint_term);
void cluster_beat_reply(struct cluster *c, raft_id id, raft_id from, uint64_t round);

/* ---- disk ---- */
void cluster_disk_hold(struct cluster *c, raft_id id);
void cluster_disk_release(struct cluster *c,
                          raft_id id); /* all writes complete, and later ones at once */
bool cluster_disk_step(struct cluster *c,
                       raft_id id); /* the oldest write completes; false: there was none */
/* What a crashed node will find. */
void cluster_disk_write(struct cluster *c, raft_id id, raft_term term, raft_id vote,
                        const raft_term *log, raft_index applied);

/* ---- life ---- */
void cluster_crash(struct cluster *c, raft_id id); /* writes under way are lost */
void cluster_restart(struct cluster *c, raft_id id);
void cluster_pause(struct cluster *c, raft_id id,
                   bool paused); /* a stopped process: no ticks, messages wait */
/* The node takes a snapshot at `index` (<= applied) and drops the log up to there. */
void cluster_compact(struct cluster *c, raft_id id, raft_index index);
/* Installs a snapshot into a node that the test feeds. */
void cluster_install(struct cluster *c, raft_id id, const struct raft_snapshot *snapshot);
void cluster_snapshot_sent(struct cluster *c, raft_id id, raft_id peer, bool ok, raft_index index);

/* ---- inside the fixture (cluster.c, cluster_net.c) ---- */
void *cluster_keep(struct cluster *c, const void *data,
                   size_t size); /* a copy that lives as long as the cluster */
int cluster_step_with(struct cluster *c, raft_id id, struct raft_event event,
                      const struct cluster_entry *entries);
void cluster_send(struct cluster *c, struct cluster_node *n, const struct raft_message *m);
struct cluster_entry cluster_made_up(raft_index index, raft_term term);
void cluster_write_add(struct cluster *c, struct cluster_node *n, struct cluster_write write);

#endif
