/*
 * The inside of the simulator, shared by lib/sim/sim*.c only.
 *
 * - sim.c: the run: time, what is next, the phases
 * - sim_plan.c: what a seed draws
 * - sim_faults.c: faults begin and end
 * - sim_node.c: life of a node, its clock, its carry
 * - sim_disk.c: raft.db: writes, log reads, what a crash leaves
 * - sim_state.c: state machine, flusher, snapshots and their installation
 * - sim_net.c: messages between nodes
 * - sim_client.c: clients, what they ask, when they try again
 * - sim_admin.c: members come and go, leadership moves
 * - sim_check.c: what must hold of cores and logs
 * - sim_model.c: what the state machine must say, and what clients may be told
 * - sim_end.c: a majority makes progress; all agree
 *
 * Each part draws from a generator of its own, so that a fault left out changes as little as it can
 * of the rest.
 */
#ifndef RAFTKV_SIM_SIM_INTERNAL_H
#define RAFTKV_SIM_SIM_INTERNAL_H

#include <setjmp.h>

#include "lib/base/prng.h"
#include "lib/kv/base_map.h"
#include "lib/node/carry.h"
#include "lib/sim/sim.h"

enum {
    SIM_START_US = 10000000,       /* global time at the beginning */
    SIM_PEER_TIMEOUT_US = 2000000, /* a peer's reply is waited for so long */
    SIM_BATCH_MAX = 1024,          /* writes of one transaction */
    SIM_OPS = 512,                 /* tries of clients that somebody knows of */
    SIM_KEYS_MAX = 24,
    SIM_KEY_BYTES = 8,
    SIM_STANDSTILL = 200000, /* events at one moment: something wants to be woken without end */
    SIM_SNAPSHOT_TIMEOUT_US = 8000000,
    SIM_ADMIN_JOBS = 64,
};

/* ---- the plan ---- */

struct sim_fault {
    uint64_t at_us, for_us;
    enum sim_fault_kind kind;
    uint64_t pick; /* decides whom it meets */
};

/* Chances are in parts of 1000. */
struct sim_plan {
    uint32_t voters, clients, keys;
    uint32_t traits; /* bits of enum sim_trait */
    uint64_t election_us, heartbeat_us;
    uint64_t link_min_us, link_range_us, link_slow_us;
    uint32_t link_slow, loss, duplicate;
    uint64_t disk_min_us, disk_range_us, disk_slow_us;
    uint32_t disk_slow;
    uint64_t state_range_us, turn_range_us;
    uint64_t flush_us;
    uint32_t memtable_rows, index_stride;
    uint64_t trailing, cache_bytes, apply_ahead_bytes, append_bytes, sending_bytes;
    uint32_t wire_inflight, inflight, append_entries, uncommitted, pending_writes, pending_reads;
    uint32_t drift_ppm; /* of each clock, at most */
    uint64_t session_ttl_ms;
    uint64_t think_us, timeout_us;
    uint32_t tries, value_bytes;
    uint32_t read_share, scan_share, condition_share, session_share;
    uint64_t chaos_us; /* clients and faults go on for so long */
    bool power_fails;
    uint32_t fault_count;
    struct sim_fault faults[SIM_FAULTS_MAX];
};

void sim_plan_make(struct sim_plan *p, const struct sim_setup *setup);

/* ---- events ---- */

enum sim_event_kind {
    SIM_REQUEST, /* a message arrives: exchange */
    SIM_REPLY,
    SIM_FAILED,
    SIM_COPIED, /* a snapshot was copied: transfer */
    SIM_ARRIVED,
    SIM_SENT,      /* … its receiver's answer is back, or time is over */
    SIM_CALL,      /* a client's try arrives at a node: op */
    SIM_FORWARDED, /* … at the leader */
    SIM_PASSED_ON, /* … the leader's answer is back at who forwarded it */
    SIM_ANSWER,    /* an answer arrives at the client */
    SIM_CLIENT,    /* a client goes on, or has waited long enough */
    SIM_FAULT,     /* begins */
    SIM_FAULT_END,
    SIM_ADMIN,
    SIM_RESTART,
};

struct sim_event {
    uint64_t at_us, number; /* number: in the order of being made */
    enum sim_event_kind kind;
    uint32_t index;      /* of exchange, op, client, fault, node */
    uint64_t generation; /* of that, or the life of a node: else it is out of date */
};

/* ---- a request to a peer, and its reply ---- */

struct sim_exchange {
    uint64_t generation; /* 0: free */
    raft_id from, to;
    uint64_t from_life, to_life;
    enum raft_message_type type;
    bool settled;        /* the sender has its reply or failure */
    bool waiting;        /* the receiver owes a reply */
    bool double_;        /* a second delivery: nobody hears the reply */
    uint32_t events;     /* that name it */
    raft_index stranger; /* FAILED: refused by this configuration */
    struct peer_message request;
    struct raft_message reply;
    uint32_t next_free;
};

struct sim_timeout {
    uint64_t at_us, generation;
    uint32_t exchange;
};

/* ---- snapshots on their way ---- */

struct sim_copy {
    uint32_t references;
    struct base_map *map;
    struct snapshot_cut cut;
};

struct sim_transfer {
    uint64_t generation; /* 0: free */
    raft_id from, to;
    uint64_t from_life;
    raft_term term;
    raft_index wanted;
    struct sim_copy *copy;
    bool ok;
};

/* ---- clients ---- */

enum sim_op_kind { SIM_PUT, SIM_DELETE, SIM_BATCH, SIM_GET, SIM_SCAN };

static inline bool sim_kind_writes(enum sim_op_kind kind)
{
    return kind == SIM_PUT || kind == SIM_DELETE || kind == SIM_BATCH;
}

enum { SIM_SPAN_MAX = 8 }; /* keys of a batch; bits of a byte */

/* What a client wants; it may take several tries. By number, from 1. */
struct sim_record {
    enum sim_op_kind kind;
    uint32_t client, key;
    uint32_t span;    /* SIM_BATCH: it writes so many keys, from `key` on; … */
    uint8_t deletes;  /* … bit i: deletes key + i; the first one is put */
    uint32_t session; /* 0: none */
    uint64_t seq;
    enum command_condition condition;
    uint64_t expected;
    enum carry_read_mode mode;
    uint64_t max_stale_us;
    raft_index min_index;
    uint32_t value_bytes;
    raft_index floor; /* what was known to somebody when it was asked */
    uint64_t asked_us;
    raft_index applied; /* the first entry that bears it; 0: none yet */
    bool told_failed;   /* not applied, the client was told */
};

struct sim_row {
    uint32_t key;
    uint64_t version;
};

/* A try. `carry` is first, and the tries lie in one array: the carry orders equals by address. */
struct sim_op {
    struct carry_request carry;
    uint64_t generation; /* 0: free */
    uint64_t record;
    uint64_t made_us;
    uint32_t next_free;
    raft_id at;        /* the node that has it, or had it last */
    raft_id forwarder; /* 0: none */
    uint64_t forwarder_life;
    bool held;        /* by the carry of `at`, or its state machine */
    bool sent;        /* it left the client */
    bool passed_back; /* forwarded: the leader's answer is in */
    struct carry_answer answer;
    /* a read that was evaluated */
    int code;
    uint64_t version;
    uint32_t value_bytes;
    uint64_t value_record;
    raft_index evaluated_at;
    uint64_t called_us; /* when it came to its node */
    uint32_t row_count;
    struct sim_row rows[SIM_KEYS_MAX];
};

struct sim_client {
    uint32_t number;
    uint32_t session; /* the client id is c<session>; 0: none yet */
    uint64_t seq;
    bool known;             /* the session has had an answer */
    uint64_t record;        /* 0: idle */
    uint64_t op_generation; /* of the try it waits for; 0: none */
    uint32_t tries;
    bool doubt;          /* an earlier try may have been applied */
    raft_id node;        /* asked last; 0: it gave no answer */
    raft_id asked;       /* the one before, in any case */
    uint64_t turn;       /* makes older SIM_CLIENT events void */
    uint32_t unanswered; /* of the last phase, one behind the other */
};

/* ---- nodes ---- */

enum sim_due {
    SIM_DUE_WAKE,
    SIM_DUE_TURN,
    SIM_DUE_DISK,
    SIM_DUE_LOG_READ,
    SIM_DUE_STATE,
    SIM_DUE_RESULTS,
    SIM_DUE_FLUSH,
    SIM_DUE_CHECKPOINT,
    SIM_DUE_INSTALL,
    SIM_DUE_SECOND,
    SIM_DUES
};

enum sim_write_kind { SIM_WRITE, SIM_COMPACT };

struct sim_write {
    enum sim_write_kind kind;
    struct carry_write *write;
    struct snapshot_cut cut; /* COMPACT */
};

struct sim_disk {
    raft_term term;
    raft_id vote;
    raft_index removed;
    struct snapshot_cut base; /* where the log begins */
    struct entry **log;       /* base.index + 1 … */
    size_t count, room;
    struct sim_write *queue; /* ring */
    size_t queue_first, queue_count, queue_room;
    size_t batch;         /* of the queue: in the transaction under way */
    struct sim_log_read { /* asked for, and asked again after a change of leaders */
        uint64_t id;
        raft_index first, last;
        uint64_t bytes_max;
    } * reads;
    size_t read_count, read_room;
};

struct sim_work { /* of the state machine */
    struct entry **entries;
    size_t count;
    uint32_t op;  /* a read */
    bool expired; /* asks for sessions whose time is over */
    uint64_t expired_ms;
    struct carry_applied_entry *results;
    char (*ids)[COMMAND_CLIENT_BYTES + 1];
};

struct sim_works {
    struct sim_work *items; /* ring */
    size_t first, count, room;
};

struct sim_node {
    raft_id id; /* 1 … SIM_NODES_MAX */
    struct sim *sim;
    struct carry *carry; /* NULL: down */
    struct raft *before; /* as it was before the last step */
    uint64_t life;       /* counts starts and ends */
    bool started;        /* once: it may have spoken to somebody */
    bool wiped;          /* its directory is gone for ever */
    bool dying;          /* its carry is being freed: what it says is heard by nobody */
    uint64_t due_us[SIM_DUES];
    uint64_t next_us; /* the least of them */
    uint64_t paused_until_us;
    uint64_t trace_read;

    /* its clock: local = base + (global - since) * (1 + ppm / 10^6) */
    uint64_t clock_base_us, clock_since_us;
    int32_t clock_ppm;
    int64_t wall_offset_ms;

    struct sim_disk disk;
    uint64_t disk_stalled_until_us, disk_slow_until_us;
    bool disk_full, disk_breaks, flush_breaks;
    uint32_t flush_failures;
    uint64_t state_stalled_until_us;

    struct base_map *map; /* kv.db */
    raft_index synced_index;
    struct base_map *synced; /* what a loss of power leaves of it; NULL: none is drawn */
    struct state *state;
    struct sim_works works, done;
    raft_index handed;

    bool installing;
    uint64_t generation; /* of the snapshots received */
    struct snapshot_cut install_cut;
    struct sim_copy *received, *install;
    uint32_t incoming; /* transfer whose sender waits for the installation, + 1 */
    uint64_t incoming_generation;

    uint64_t cut_until_us[SIM_NODES_MAX + 1]; /* to that node */
    uint64_t clog_until_us[SIM_NODES_MAX + 1];
    uint64_t slow_until_us; /* its links */
    uint64_t flap_until_us;
};

/* ---- the model: what must be ---- */

struct sim_expected { /* result of an entry */
    raft_term term;
    uint32_t crc;
    int32_t status;
    bool replayed, existed;
    uint8_t batch_existed; /* bit i: its write i is a delete, and the key was there */
    uint64_t version;
};

struct sim_version { /* of a key, from `index` on */
    raft_index index;
    uint64_t record; /* its value's; 0: deleted */
};

struct sim_versions {
    struct sim_version *items;
    size_t count, room;
};

struct sim_session {
    bool lives;
    uint64_t seq, record;
    uint64_t used_ms;
    struct sim_expected result; /* of seq */
};

struct sim_model {
    raft_index applied;
    uint64_t cluster_time_ms;
    struct sim_expected *results; /* by index */
    size_t results_room;
    struct sim_versions keys[SIM_KEYS_MAX];
    struct sim_session *sessions; /* by number */
    uint32_t session_count, sessions_room;
    struct sim_record *records; /* by number */
    uint64_t record_count, records_room;
    struct digest *digests; /* of the rows, by index; zero: not known */
    size_t digests_room;
    raft_index floor; /* highest index that a client was told something of */
    struct sim_floor {
        uint64_t at_us;
        raft_index floor;
    } * floors; /* its history */
    size_t floor_count, floor_room;
};

/* ---- what is known of logs ---- */

struct sim_known {    /* an entry that was in somebody's log */
    raft_index index; /* 0: free */
    raft_term term;
    uint32_t crc;
};

struct sim_check {
    struct sim_known *known; /* hash table */
    size_t known_count, known_room;
    struct sim_known *committed; /* by index */
    raft_term *committed_in;     /* term of the leader that did */
    size_t committed_room;
    raft_index commit; /* highest of all */
    raft_id *leaders;  /* by term */
    size_t leaders_room;
};

/* ---- the run ---- */

struct sim_job {
    struct raft_change change;
    bool until_done; /* a wiped member is replaced, however long it takes */
};

struct sim {
    struct sim_setup setup;
    struct sim_plan plan;
    struct sim_result *result;
    jmp_buf violated;

    uint64_t now_us;
    uint64_t still; /* events since time went on */
    uint64_t last_number;
    struct sim_event *queue; /* heap */
    size_t queue_count, queue_room;

    struct prng net, disk, state, client, fault, admin, clock, batches;

    struct sim_node nodes[SIM_NODES_MAX + 1];
    uint32_t node_count; /* that exist; ids 1 … node_count */
    uint32_t wiped_count;
    struct digest cluster_id;
    struct membership first;
    uint64_t generation; /* of exchanges, transfers, ops */

    struct sim_exchange *exchanges;
    uint32_t exchange_count, exchange_room, exchange_free; /* free: index + 1 */
    struct sim_timeout *timeouts;                          /* ring, in order of time */
    size_t timeout_first, timeout_count, timeout_room;
    uint64_t lossy_until_us;

    struct sim_transfer transfers[SIM_NODES_MAX * SIM_NODES_MAX];

    struct sim_op *ops; /* SIM_OPS */
    uint32_t op_free, op_free_count;
    struct sim_client clients[SIM_CLIENTS_MAX + 1];
    bool quiet; /* clients begin nothing new */
    bool only_writes;
    uint64_t frozen_us; /* since when a majority is on its own; 0: not yet */
    uint64_t succeeded; /* writes asked for since, that a client was told of */

    struct sim_job jobs[SIM_ADMIN_JOBS];
    uint32_t job_count;

    bool calm; /* the faults are over */
    struct sim_model model;
    struct sim_check check;
};

/* sim.c */
/* Says which promise is broken, and ends the run. */
_Noreturn void sim_violated(struct sim *s, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void sim_note(struct sim *s, raft_id id, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void sim_push(struct sim *s, uint64_t at_us, enum sim_event_kind kind, uint32_t index,
              uint64_t generation);
void sim_run_until(struct sim *s, uint64_t until_us, bool (*enough)(struct sim *));
void *sim_room(void *items, size_t *room, size_t wanted,
               size_t item_bytes); /* grown, new ones zero */
bool sim_chance(struct prng *p, uint32_t per_mille);
uint64_t sim_draw(struct prng *p, uint64_t least, uint64_t range); /* least … least + range */
bool sim_has(const struct sim *s, enum sim_trait trait);

/* sim_node.c */
void sim_nodes_make(struct sim *s);
void sim_nodes_free(struct sim *s);
struct sim_node *sim_node_new(struct sim *s); /* empty, runs, waits to be added; NULL: no room */
void sim_node_start(struct sim_node *n);
void sim_node_kill(struct sim_node *n, bool power);
void sim_node_due(struct sim_node *n, enum sim_due due, uint64_t at_us);
void sim_node_next(struct sim_node *n);  /* does what is due first */
void sim_node_after(struct sim_node *n); /* after each call of its carry */
uint64_t sim_clock(const struct sim_node *n);
uint64_t sim_wall_ms(const struct sim_node *n);
bool sim_runs(const struct sim_node *n); /* up, and not stopped */
raft_id sim_leader(const struct sim *s); /* of those that think so, the one of the highest term */
/* There is, or will be, another one, with another configuration perhaps: a leader that is stopped
 * or cut off does not know. */
bool sim_is_deposed(const struct sim *s, const struct raft *leader);
raft_id sim_any(struct sim *s, struct prng *p); /* a node that is up; 0: none */

/* sim_disk.c */
void sim_disk_persist(void *self, struct carry_write *w);
void sim_disk_log_read(void *self, uint64_t id, raft_index first, raft_index last,
                       uint64_t bytes_max);
void sim_disk_compact(void *self, raft_index index, raft_term term, const struct membership *m);
void sim_disk_begin(struct sim_node *n);
void sim_disk_done(struct sim_node *n);
void sim_disk_read_done(struct sim_node *n);
void sim_disk_crash(struct sim_node *n);
void sim_disk_install(struct sim_node *n, const struct snapshot_cut *cut, bool *kept_tail);
void sim_disk_free(struct sim_node *n);
raft_index sim_disk_last(const struct sim_node *n);
const struct entry *sim_disk_entry(const struct sim_node *n, raft_index index);
void sim_disk_put(struct sim_node *n, struct entry *e);

/* sim_state.c */
void sim_state_open(struct sim_node *n);
void sim_state_crash(struct sim_node *n, bool power);
void sim_state_free(struct sim_node *n);
void sim_state_apply(void *self, struct entry **entries, size_t count);
void sim_state_read(void *self, struct carry_request *r);
void sim_state_evaluate(struct sim_node *n);
void sim_state_results(struct sim_node *n);
void sim_state_expired(struct sim_node *n);
void sim_state_flush(struct sim_node *n);
void sim_state_checkpoint(struct sim_node *n);
void sim_state_synced(struct sim_node *n); /* what kv.db has is on the disk */

/* sim_snapshot.c */
void sim_snapshot_send(void *self, raft_id peer, raft_index index);
void sim_snapshot_install(void *self, uint64_t generation, const struct snapshot_cut *cut);
void sim_snapshot_installed(struct sim_node *n);
void sim_snapshot_crash(struct sim_node *n);
void sim_snapshot_look(struct sim_node *n);
void sim_snapshot_event(struct sim *s, const struct sim_event *e);
void sim_copy_release(struct sim_copy *copy);

/* sim_net.c */
void sim_net_send(void *self, const struct peer_message *m);
void sim_net_reply(void *self, uint64_t context, const struct raft_message *m);
void sim_net_event(struct sim *s, const struct sim_event *e);
void sim_net_timeout(struct sim *s);
uint64_t sim_net_timeout_us(const struct sim *s);
void sim_net_crash(struct sim_node *n);
void sim_net_free(struct sim *s);
/* false: it is lost. */
bool sim_net_latency(struct sim *s, raft_id from, raft_id to, uint64_t *at_us);

/* sim_client.c */
void sim_clients_make(struct sim *s);
void sim_client_event(struct sim *s, const struct sim_event *e);
void sim_client_answer(void *self, struct carry_request *r, const struct carry_answer *a);
void sim_client_read_done(struct sim_node *n, struct sim_op *op);
void sim_client_lost(struct sim_node *n, struct sim_op *op); /* its node died */
bool sim_clients_idle(const struct sim *s);
struct sim_op *sim_op_of(struct sim *s, uint32_t index, uint64_t generation);
void sim_key_text(uint32_t key, char out[SIM_KEY_BYTES]);
/* The value that a record writes: its number, and more bytes that follow from it. */
void sim_value_make(uint64_t record, uint8_t *out, uint32_t bytes);

/* sim_admin.c */
void sim_admin_job(struct sim *s, const struct raft_change *change, bool until_done);
void sim_admin_event(struct sim *s);
void sim_admin_transfer(struct sim *s, uint64_t pick);

/* sim_faults.c */
void sim_faults_make(struct sim *s);
void sim_fault_begin(struct sim *s, uint32_t fault);
void sim_fault_end(struct sim *s, uint32_t fault, raft_id id);
void sim_heal_node(struct sim_node *n);

/* sim_check.c */
void sim_check_stepped(void *self, const struct raft_event *event);
void sim_check_written(struct sim_node *n, const struct entry *e);
void sim_check_started(struct sim_node *n);
void sim_check_reply(struct sim_node *n, const struct raft_message *m);
void sim_check_apply(struct sim_node *n, const struct entry *e);
void sim_check_free(struct sim *s);

/* sim_model.c */
void sim_model_apply(struct sim *s, const struct entry *e);
void sim_model_result(struct sim_node *n, const struct entry *e, const struct apply_result *r);
uint64_t sim_model_record(struct sim *s, const struct sim_record *r); /* its number */
uint32_t sim_model_session(struct sim *s);
void sim_model_told(struct sim *s, const struct sim_op *op, bool replayed);
void sim_model_digest(struct sim_node *n, raft_index index, struct digest rows);
void sim_model_state(struct sim_node *n); /* all rows and sessions are what they must be */
void sim_model_end(struct sim *s);
void sim_model_free(struct sim *s);

/* sim_end.c */
void sim_end(struct sim *s);

#endif
