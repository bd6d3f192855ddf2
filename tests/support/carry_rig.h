/*
 * One or several carries in one process with everything behind `struct carry_io` virtual: disks,
 * state machines (lib/kv's state over an in-memory base), network, snapshots, clock. Nothing
 * happens by itself: rig_settle() completes what is under way, save what a node's `hold` or a held
 * or cut link keeps back; time passes only in rig_run() and rig_sleep().
 *
 * Checked at every call of the carry: the core's invariants; entries reach the state machine in
 * order, once, committed, on the node's own disk, and the same everywhere; writes to the disk are
 * numbered and fit the log; while a snapshot is switched to nothing is asked of disk or state
 * machine; every request of a client and of a peer is answered once. A breach fails the case.
 *
 * Messages go through their JSON, so what it does not carry does not arrive.
 */
#ifndef RAFTKV_TESTS_SUPPORT_CARRY_RIG_H
#define RAFTKV_TESTS_SUPPORT_CARRY_RIG_H

#include "lib/base/prng.h"
#include "lib/kv/base_map.h"
#include "lib/node/carry.h"
#include "tests/support/cases.h"

enum {
    RIG_NODES = 33, /* ids 1 … 32 */
    RIG_LOG = 20000,
    RIG_QUEUE = 4096,
    RIG_GENERATIONS = 200,
    /* Microseconds. */
    RIG_ELECTION = 300000,
    RIG_HEARTBEAT = 50000,
    RIG_START = 10000000,
    RIG_TIMEOUT = 5000000,
};

/* ---- what a client asks, and was told ---- */

struct rig_request {
    struct carry_request carry; /* first */
    struct rig *rig;
    raft_id node;
    struct rig_request *next;
    enum carry_route route; /* writes */
    raft_id leader;         /* CARRY_FORWARD */
    char key[32];
    unsigned answers;           /* times that it was answered, by the carry or with its result */
    struct carry_answer answer; /* of the carry; a write refused by its route too */
    /* a read that was served */
    bool served;
    int code;
    uint64_t version;
    char value[32];
    raft_index at; /* applied index at which it was evaluated */
    uint32_t evaluations;
    void (*then)(struct rig_request *); /* called inside io->answer */
};

struct rig_write {
    const char *key, *value; /* value NULL: delete */
    size_t value_bytes;      /* so many bytes instead of `value` */
    const char *client;
    uint64_t seq;
    enum command_condition condition;
    uint64_t expected;
    bool forwarded;
    uint64_t timeout_us; /* default RIG_TIMEOUT */
};

struct rig_read {
    const char *key;
    enum carry_read_mode mode;
    raft_index min_index;
    uint64_t max_stale_us, timeout_us;
};

/* ---- a message on its way ---- */

enum rig_packet_kind { RIG_REQUEST, RIG_REPLY, RIG_FAILED };

struct rig_packet {
    enum rig_packet_kind kind;
    raft_id from, to;
    enum raft_message_type type; /* RIG_FAILED: of what failed */
    struct peer_message m;
    raft_index configuration_index; /* RIG_FAILED: `from` calls `to` a stranger */
};

/* ---- a node ---- */

struct rig_disk {
    raft_term term;
    raft_id vote;
    raft_index removed;
    struct snapshot_cut base;
    struct entry **log; /* base.index + 1 … */
    size_t count;
};

struct rig_work { /* of the state machine */
    struct entry **entries;
    size_t count;
    struct rig_request *read;
    struct carry_applied_entry *results;
};

struct rig_log_read {
    uint64_t id;
    raft_index first, last;
    uint64_t bytes_max;
};

struct rig_waiting {
    uint64_t context;
    raft_id from;
    enum raft_message_type type;
};

struct rig_sending {
    raft_id to;
    raft_index wanted;         /* reaches at least here */
    struct rig_snapshot *copy; /* once taken */
    bool given;                /* waits for the receiver's installing */
};

struct rig_snapshot {
    struct base_map *map;
    struct snapshot_cut cut;
};

struct rig_node {
    raft_id id;
    struct rig *rig;
    struct carry *carry; /* NULL: stopped, or played by the test */
    bool played;
    bool started; /* once: it may have spoken to somebody */
    bool paused;  /* no time, no messages, no completions */
    struct {
        bool disk, machine, results, log_reads, install, snapshots, turn;
    } hold;

    struct rig_disk disk;
    struct carry_write *writes[RIG_QUEUE];
    size_t write_count;
    uint64_t persist_last;

    struct base_map *map;
    struct state *state;
    struct rig_work works[RIG_QUEUE], done[RIG_QUEUE];
    size_t work_count, done_count;
    raft_index handed;

    struct rig_log_read log_reads[64];
    size_t log_read_count;
    unsigned log_reads_asked;

    struct rig_waiting waiting[256];
    size_t waiting_count;

    struct rig_sending sendings[RIG_NODES];
    size_t sending_count;
    unsigned snapshots_asked;

    bool installing;
    uint64_t generation, installs;
    struct snapshot_cut install_cut;
    struct rig_snapshot *received[RIG_GENERATIONS];

    unsigned compactions;
    raft_index compacted;
    unsigned state_changes, memberships;
    bool known[RIG_NODES]; /* whose address it was told */
};

struct rig {
    uint64_t now_us, wall_ms;
    struct carry_options options;
    struct rig_node nodes[RIG_NODES]; /* by id */
    raft_id node_count;
    struct digest cluster_id;
    struct membership first; /* entry 1 */
    struct rig_packet *packets[RIG_QUEUE];
    size_t packet_count;
    bool cut[RIG_NODES][RIG_NODES];  /* from, to: fails */
    bool held[RIG_NODES][RIG_NODES]; /* from, to: stays */
    raft_id only;                    /* time passes for this node only; 0: for all */
    uint64_t context;
    struct rig_request *requests;
    struct { /* what the first to apply it has applied */
        raft_term term;
        uint32_t crc;
    } applied[RIG_LOG];
};

/* ---- life ---- */

struct rig_plan {
    raft_id voters;                /* ids 1 … voters; default 3 */
    raft_id spares;                /* ids after them: in no configuration, not started */
    bool alone;                    /* only node 1 is a carry; the test plays the others */
    struct carry_options *options; /* default rig_options() */
};

struct carry_options rig_options(void);
struct rig *rig_new(struct rig_plan plan);
void rig_free(struct rig *r); /* checks once more that everybody was answered */
struct carry *rig_carry(struct rig *r, raft_id id);
const struct raft *rig_core(struct rig *r, raft_id id);

/* A process that is killed: what was queued is lost; the disk and what was flushed stay. Its
 * clients are told what carry_free says. */
void rig_stop(struct rig *r, raft_id id);
void rig_start(struct rig *r, raft_id id);

/* ---- time and progress ---- */

void rig_settle(struct rig *r);
void rig_sleep(struct rig *r, uint64_t us); /* the clock only */
void rig_run(struct rig *r, uint64_t us);   /* ticks when they are due, settling */
void rig_tick(struct rig *r, raft_id id);
void rig_turn(struct rig *r, raft_id id);
/* Time passes for this node until it leads and its first entry is committed. */
void rig_elect(struct rig *r, raft_id id);
raft_id rig_leader(struct rig *r); /* of the highest term; 0: none */

/* One at a time; false: there was none. */
bool rig_disk_one(struct rig *r, raft_id id);
bool rig_evaluate_one(struct rig *r, raft_id id);           /* the state machine: to `done` */
bool rig_result_one(struct rig *r, raft_id id);             /* from `done` to the carry */
bool rig_log_read_one(struct rig *r, raft_id id, int code); /* code != 0: fails so */
void rig_install_done(struct rig *r, raft_id id);

/* ---- clients ---- */

struct rig_request *rig_write(struct rig *r, raft_id id, struct rig_write w);
struct rig_request *rig_put(struct rig *r, raft_id id, const char *key, const char *value);
/* Written and applied everywhere that is reachable, or the case ends. */
raft_index rig_put_now(struct rig *r, raft_id id, const char *key, const char *value);
struct rig_request *rig_read(struct rig *r, raft_id id, struct rig_read read);
struct rig_request *rig_get(struct rig *r, raft_id id, const char *key, enum carry_read_mode mode);

/* ---- storage ---- */

void rig_checkpoint(struct rig *r, raft_id id); /* everything applied is flushed and synced */
struct rig_snapshot *rig_snapshot_take(struct rig *r, raft_id id);
struct rig_snapshot *rig_snapshot_copy(const struct rig_snapshot *s);
void rig_snapshot_free(struct rig_snapshot *s);
/* As if it had been received: the carry's word on it. `s` is taken. */
int rig_snapshot_give(struct rig *r, raft_id to, struct rig_snapshot *s);
raft_index rig_disk_last(const struct rig_node *n);
const struct entry *rig_disk_entry(const struct rig_node *n, raft_index index);

/* ---- network ---- */

void rig_cut(struct rig *r, raft_id id, bool cut); /* from and to everybody */
/* The newest packet of that kind; NULL: none. type RAFT_MESSAGE_TYPES: any; id 0: any. */
struct rig_packet *rig_find(struct rig *r, enum raft_message_type type, raft_id from, raft_id to);
size_t rig_count(struct rig *r, enum raft_message_type type, raft_id from, raft_id to);
/* The n-th oldest such packet. */
struct rig_packet *rig_nth(struct rig *r, enum raft_message_type type, raft_id from, raft_id to,
                           size_t n);
void rig_deliver(struct rig *r, struct rig_packet *p);
void rig_lose(struct rig *r, struct rig_packet *p);   /* its sender hears that it failed */
void rig_forget(struct rig *r, struct rig_packet *p); /* nobody hears anything */
void rig_forget_all(struct rig *r);
void rig_shuffle(struct rig *r, struct prng *p);
struct rig_packet *rig_duplicate(struct rig *r, struct rig_packet *p);
/* A message of a played node; what the carry says to it. The entries are made: `count` of `term`,
 * from prev_index + 1 on, `bytes` each. */
int rig_feed(struct rig *r, struct raft_message m, uint64_t stream, uint64_t seq, size_t bytes);
/* As it is; the entries are taken. */
int rig_feed_message(struct rig *r, struct peer_message *m);
void rig_reply(struct rig *r, struct raft_message m); /* of a played node */
/* Node 1 of an `alone` rig leads, its first entry (at 2) committed: the played nodes grant and
 * accept everything. Nothing is left on its way. */
void rig_lead(struct rig *r);
/* The played nodes answer all heartbeats that are on their way, with the promise of a lease. */
void rig_beat(struct rig *r);
/* Answers an append to a played node: accepted up to its last entry. */
void rig_accept(struct rig *r, struct rig_packet *p);

/* for carry_rig*.c */
void rig_net_send(struct rig_node *n, const struct peer_message *m);
void rig_net_reply(struct rig_node *n, uint64_t context, const struct raft_message *m);
bool rig_net_settle(struct rig *r);
void rig_net_gone(struct rig *r, raft_id id); /* its requests to others are forgotten */
void rig_check(struct rig_node *n);
void rig_store_io(struct carry_io *io);
void rig_store_lose(struct rig_node *n);
void rig_state_open(struct rig_node *n);
void rig_disk_truncate(struct rig_node *n, raft_index from);
bool rig_snapshot_send(struct rig_node *n, size_t i); /* one that was asked for goes on */

#endif
