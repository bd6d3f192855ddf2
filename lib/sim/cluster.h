/*
 * A cluster of bare Raft cores in one process, for scenarios and for the conformance tests: virtual
 * clock, network and disks, with verbs that read like the protocol. Nothing happens by itself:
 * messages wait in a queue until a verb delivers them, disks answer at once unless they are held,
 * time passes only in cluster_run() and cluster_sleep().
 *
 * After every step of a core it checks the core's own invariants, and those that only the carrier
 * can see: one leader a term, the same entry applied at an index by everybody, nothing applied that
 * is not durable, every request answered once, the core's idea of the log equal to what was
 * written. What does not hold is told to `breached` of the plan.
 */
#ifndef RAFTKV_SIM_CLUSTER_H
#define RAFTKV_SIM_CLUSTER_H

#include "lib/raft/raft.h"

enum {
    CLUSTER_NODES = 20, /* ids 1 … 19 */
    CLUSTER_WRITES = RAFT_WRITES_MAX + 8,
    CLUSTER_WAITING = 1024, /* requests that one node has not answered */
    CLUSTER_TERMS = 10000,
    CLUSTER_READS = 2 * RAFT_READS_MAX,
    CLUSTER_NAME_BYTES = 16,
    CLUSTER_BREACH_BYTES = 256,
    CLUSTER_ELECTION_TIMEOUT_US = 1000000,
    CLUSTER_HEARTBEAT_US = 100000,
    CLUSTER_START_US = 10000000, /* the clock at the beginning */
};

#define CLUSTER_ANY RAFT_MESSAGE_TYPES /* any type of message */

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
    struct raft *raft; /* NULL: crashed, or played by the caller */
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

struct cluster;

/* Who watches. Both may be NULL. */
struct cluster_observer {
    /* Something does not hold. `fatal`: nothing that comes after makes sense; verbs do nothing
     * from then on. */
    void (*breached)(void *argument, const char *text, bool fatal);
    /* A core has just decided, and its update is not carried out yet; `event` is NULL after a
     * start. `status` is what raft_step said of the event. */
    void (*stepped)(void *argument, struct cluster *c, raft_id id, const struct raft_event *event,
                    int status);
    void *argument;
};

struct cluster {
    struct cluster_observer observer;
    bool ended;                                    /* by a fatal breach */
    char names[CLUSTER_NODES][CLUSTER_NAME_BYTES]; /* in what is told; their numbers by default */
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
    uint64_t awaited_context; /* of a request that was fed by hand: its reply stays here */
    struct raft_message reply;
    bool replied;
    raft_id favoured; /* only its pre-votes get through; see cluster_run_until_leads */
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
    bool alone;           /* only node 1 is a core; the caller plays the others */
    bool restarted;       /* not fresh: no vote and no candidacy for an election timeout */
    const raft_term *log; /* terms of everybody's entries from 1 on, ended by 0; default {1} */
    raft_term term;       /* current term; default that of the last entry */
    raft_id vote;
    raft_index commit;                              /* default 1 */
    const struct raft_configuration *configuration; /* instead of the one above, at index 1 */
    uint32_t inflight_max, append_entries_max, uncommitted_max, clock_drift_ppm;
    raft_index log_max; /* highest index that the fixture has room for; default 500 */
    uint64_t seed;
    struct cluster_observer observer;
};

struct cluster *cluster_start(const struct cluster_plan *plan);
void cluster_stop(struct cluster *c); /* frees it */

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
struct raft_configuration cluster_configuration(raft_index index, uint32_t voters,
                                                uint32_t learners);

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
/* Time passes until `id` leads, nobody else getting a pre-vote, and its no-op is committed; false
 * if it never does. */
bool cluster_run_until_leads(struct cluster *c, raft_id id);

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
/* Installs a snapshot that no node of the cluster has sent. */
void cluster_install(struct cluster *c, raft_id id, const struct raft_snapshot *snapshot);
void cluster_snapshot_sent(struct cluster *c, raft_id id, raft_id peer, bool ok, raft_index index);

/* ---- for those who build further verbs ---- */
void cluster_breach(const struct cluster *c, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* … after which nothing makes sense. */
void cluster_end(struct cluster *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void *cluster_keep(struct cluster *c, const void *data,
                   size_t size); /* a copy that lives as long as the cluster */
int cluster_step_with(struct cluster *c, raft_id id, struct raft_event event,
                      const struct cluster_entry *entries);
void cluster_send(struct cluster *c, struct cluster_node *n, const struct raft_message *m);
struct cluster_entry cluster_made_up(raft_index index, raft_term term);
void cluster_write_add(struct cluster *c, struct cluster_node *n, struct cluster_write write);
/* Notes that a request waits for its reply, and gives it its context. */
void cluster_note_waiting(struct cluster *c, struct cluster_node *n, struct raft_message *m);
int cluster_step_packet(struct cluster *c, raft_id to, const struct cluster_packet *packet);

#endif
