/*
 * What lies between the core and the I/O, without I/O: the order of persists, the apply bound,
 * pending requests and the outcome each is told, the order of appends on the wire, reads,
 * compaction, the installation of snapshots, stalls.
 *
 *     requests, peer messages,   +-------+   struct carry_io: persist, apply, read, log_read,
 *     completions of what was -> | carry | -> send, reply, answer, compact, snapshot_send,
 *     asked for                  +---+---+    install
 *                                raft_step
 *
 * The node puts threads, files and sockets behind `struct carry_io`; the simulator puts virtual
 * ones there. Whatever carry asks for is asynchronous: its completion comes back as a call of one
 * of the functions below, later, never from inside the carry_io function. From inside one only what
 * looks may be called, and from inside `answer` new requests may be made too. No clock: every call
 * brings `now_us` (CLOCK_BOOTTIME in the node). One thread.
 */
#ifndef RAFTKV_NODE_CARRY_H
#define RAFTKV_NODE_CARRY_H

#include <bsd/sys/tree.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "lib/base/err.h"
#include "lib/json/api.h"
#include "lib/json/peer.h"
#include "lib/kv/command.h"
#include "lib/kv/entry.h"
#include "lib/kv/state.h"
#include "lib/raft/raft.h"

struct carry_read_batch;

enum carry_read_mode { CARRY_LINEARIZABLE, CARRY_LEASE, CARRY_STALE };

enum carry_request_state {
    CARRY_IDLE,     /* not with the carry */
    CARRY_BATCHED,  /* waits for the end of the turn */
    CARRY_INDEXING, /* read: waits for its read index */
    CARRY_APPLYING, /* write: proposed; read: waits until its index is handed to the state machine
                     */
    CARRY_READING,  /* read: with the state machine */
};

/* A client's request; embedded in whatever the owner keeps of it. The first part is the owner's,
 * before it is handed over. */
struct carry_request {
    uint64_t deadline_us;
    bool write;
    enum carry_read_mode mode; /* read */
    raft_index min_index;      /* read: serve when applied >= this */
    uint64_t max_stale_us;     /* stale read: 0: no bound */
    uint64_t received_us;

    /* the carry's */
    enum carry_request_state state;
    struct entry *entry;     /* write, until proposed */
    raft_index index;        /* write: of its entry; read: of its read index */
    raft_term term;          /* write: of its entry; read by lease: of the leader whose it is */
    uint64_t lease_until_us; /* read by lease: good only before */
    bool in_deadlines;
    uint8_t list;                   /* read, CARRY_BATCHED: enum carry_read_list */
    struct carry_read_batch *batch; /* CARRY_INDEXING */
    RB_ENTRY(carry_request) by_index;
    RB_ENTRY(carry_request) by_deadline;
    TAILQ_ENTRY(carry_request) link;
};

/* What a request is told. */
struct carry_answer {
    int code; /* 0 for a write that was applied: see result.status (which may be a failed
                 condition); else an enum err_code */
    enum outcome outcome;
    bool retryable;
    char message[160];
    struct apply_result result; /* code == 0 */
};

/* One write for the disk thread, in order. Entries bear a reference each, which the receiver drops.
 */
struct carry_write {
    uint64_t persist;
    bool hard_state;
    raft_term term;
    raft_id vote;
    raft_index removed; /* hard state too */
    raft_index truncate_from;
    struct entry **entries; /* mem_free */
    size_t entry_count;
};

struct carry_applied_entry {
    raft_term term;
    uint32_t bytes;           /* of the entry */
    uint64_t cluster_time_ms; /* of the state machine, after it */
    struct apply_result result;
};

/* Index, term and membership of a snapshot. */
struct snapshot_cut {
    raft_index index;
    raft_term term;
    struct membership membership;
};

struct carry_io {
    void *self;
    void (*persist)(void *self,
                    struct carry_write *w); /* w is the receiver's (mem_free) -> carry_persisted */
    /* Entries to apply, in order, a reference each; the array is borrowed -> carry_applied */
    void (*apply)(void *self, struct entry **entries, size_t count);
    void (*read)(void *self,
                 struct carry_request
                     *r); /* evaluate after all applies handed out so far -> carry_read_done */
    /* Entries first … last from the disk, about bytes_max -> carry_log_read */
    void (*log_read)(void *self, uint64_t id, raft_index first, raft_index last,
                     uint64_t bytes_max);
    /* A request to a peer -> exactly one carry_peer_reply or carry_peer_failed: appends on the wire
     * are counted. */
    void (*send)(void *self, const struct peer_message *m);
    void (*reply)(void *self, uint64_t context,
                  const struct raft_message *reply); /* to a peer's request */
    void (*answer)(void *self, struct carry_request *r,
                   const struct carry_answer *a); /* r is the owner's again */
    void (*compact)(void *self, raft_index index, raft_term term, const struct membership *m);
    /* A follower needs a snapshot that reaches at least `index` -> carry_snapshot_sent, in any
     * case: until then the log is kept from there on, up to sending_bytes_max. */
    void (*snapshot_send)(void *self, raft_id peer, raft_index index);
    /* Switch to the received generation: close kv, commit it in raft.db, reopen, reset the state
     * machine -> carry_installed */
    void (*install)(void *self, uint64_t generation, const struct snapshot_cut *cut);
    void (*membership)(void *self,
                       const struct membership *latest); /* in force has changed: addresses */
    void (*state_changed)(void *self); /* state, term, leader, or whether we were removed */
    /* The core has taken this step, nothing of its update is carried out yet. For those who only
     * look on; NULL: nobody does. */
    void (*stepped)(void *self, const struct raft_event *event);
};

struct carry_options {
    struct raft_options raft;
    uint64_t append_bytes_max;   /* payload of one append on the wire; one entry always fits */
    uint32_t wire_inflight_max;  /* appends on the wire to one peer */
    uint64_t cache_bytes_max;    /* log tail kept in memory, beyond what must be */
    uint32_t pending_writes_max; /* admission: over it ERR_OVERLOADED */
    uint64_t pending_bytes_max;  /* … of their entries */
    uint32_t pending_reads_max;
    uint64_t apply_ahead_bytes;  /* handed to the state machine and not applied yet */
    uint64_t overlay_bytes_max;  /* admission: over it ERR_OVERLOADED */
    raft_index trailing_entries; /* log kept behind the checkpointed index, for slow followers */
    uint64_t sending_bytes_max;  /* … and kept while a snapshot is sent: written since it began */
    uint64_t session_ttl_ms;
};

struct carry_start {
    uint64_t now_us;
    uint64_t wall_ms;
    struct digest cluster_id;
    raft_term term;
    raft_id vote;
    raft_index removed;
    bool fresh;
    struct snapshot_cut snapshot; /* where the log begins; index 0: none */
    const struct raft_run *runs;
    uint32_t run_count;
    raft_index last_index;
    const struct membership *memberships; /* in the log */
    uint32_t membership_count;
    raft_index applied; /* of the state machine */
    uint64_t cluster_time_ms;
    const struct membership *applied_membership;
};

struct carry;

int carry_new(const struct carry_options *options, const struct carry_io *io,
              const struct carry_start *start, struct carry **out, struct err *err);
/* Every request it still holds is answered first: writes that were proposed as unknown. */
void carry_free(struct carry *c);

/* ---- time ---- */

uint64_t carry_wake_us(const struct carry *c); /* call carry_tick then, at the latest */
void carry_tick(struct carry *c, uint64_t now_us, uint64_t wall_ms);
/* At the end of each turn: proposes and reads what came in during it, together. */
void carry_turn(struct carry *c, uint64_t now_us, uint64_t wall_ms);

/* ---- clients ---- */

/* What is to be done with a write on this node. */
enum carry_route { CARRY_HERE, CARRY_FORWARD, CARRY_REFUSE };
/* CARRY_REFUSE fills `a` (always not_applied); CARRY_FORWARD names the leader in *leader.
 * `forwarded`: it came from a peer and goes no further. */
enum carry_route carry_route_write(struct carry *c, size_t bytes, bool forwarded, raft_id *leader,
                                   struct carry_answer *a);
/* After CARRY_HERE in the same turn: takes the request until io->answer. `command`'s times are
 * filled in here. */
void carry_write_request(struct carry *c, struct carry_request *r, struct command *command,
                         uint64_t now_us);
void carry_read_request(struct carry *c, struct carry_request *r, uint64_t now_us);
/* The state machine has evaluated it. true: the result may be given out. false: the carry has taken
 * the request back (its lease had ended before the value was read, or the state was found to be
 * wrong) and asks for it again later. `now_us` is freshly read. */
bool carry_read_done(struct carry *c, struct carry_request *r, uint64_t now_us);

/* What to tell the client of a write that was forwarded and ended so: `sent` is false only if no
 * byte of it left; `status` is the leader's HTTP status, 0 if there was no reply. true: pass the
 * leader's reply on as it is. */
bool carry_forward_outcome(bool sent, int code, int status, struct carry_answer *a);

/* ---- membership and leadership (on the leader) ---- */

/* 0, ERR_NO_LEADER, ERR_CONFLICT, ERR_NOT_FOUND, ERR_BAD_REQUEST, ERR_AGAIN. `address`: of the
 * member to be added; NULL else. */
int carry_change(struct carry *c, const struct raft_change *change,
                 const struct member_address *address, uint64_t now_us, struct err *err);
int carry_transfer(struct carry *c, raft_id to, uint64_t now_us, struct err *err);
/* Whether the target of the last transfer was told to campaign: it may do so also when the transfer
 * has failed here, as late as the message arrives. */
bool carry_transfer_told(const struct carry *c);
/* Stop taking part in new work: writes are refused with ERR_SHUTTING_DOWN. */
void carry_shutdown(struct carry *c);

/* ---- peers ---- */

/* A verified message (cluster, to, version). 0: taken (entries too; io->reply will come).
 * ERR_FORBIDDEN: not a member
 * (*configuration_index says by which configuration), ERR_AGAIN: not now. */
int carry_peer_request(struct carry *c, struct peer_message *m, uint64_t context, uint64_t now_us,
                       raft_index *configuration_index);
void carry_peer_reply(struct carry *c, const struct raft_message *reply, uint64_t now_us);
void carry_peer_failed(struct carry *c, raft_id peer, enum raft_message_type type, uint64_t now_us);
/* A peer with a committed configuration at `configuration_index` says that we are no member. */
void carry_told_removed(struct carry *c, raft_index configuration_index, uint64_t now_us);

/* ---- completions ---- */

void carry_persisted(struct carry *c, uint64_t persist, uint64_t now_us);
void carry_applied(struct carry *c, const struct carry_applied_entry *results, size_t count,
                   uint64_t now_us);
/* `entries` (mem_free) and their references are taken. code ERR_NOT_FOUND: compacted meanwhile. */
void carry_log_read(struct carry *c, uint64_t id, int code, struct entry **entries, size_t count,
                    uint64_t now_us);
/* kv.db holds everything up to `index`, synced. */
void carry_checkpointed(struct carry *c, raft_index index, uint64_t now_us);
void carry_overlay(struct carry *c, uint64_t bytes);
void carry_disk_low(struct carry *c, bool low, uint64_t now_us);
/* The flusher fails again and again: counts as a stall until it is called with false. */
void carry_flush_failing(struct carry *c, bool failing, uint64_t now_us);
/* Sessions that the state machine says have expired; the leader puts them into the log. */
void carry_sessions_expired(struct carry *c, char (*ids)[COMMAND_CLIENT_BYTES + 1], size_t count,
                            uint64_t now_us);
uint64_t carry_cluster_time_ms(const struct carry *c, uint64_t now_us);

/* ---- snapshots ---- */

/* A snapshot of ours is being sent from now on: the log behind `index` is kept meanwhile. */
void carry_snapshot_sending(struct carry *c, raft_id peer, raft_index index);
void carry_snapshot_sent(struct carry *c, raft_id peer, bool ok, raft_index index, uint64_t now_us);
/* A leader offers one: is it wanted? 0, ERR_AGAIN (one is being installed), ERR_NOT_FOUND (not
 * needed), ERR_FORBIDDEN (no leader any more). */
int carry_snapshot_wanted(struct carry *c, raft_id from, raft_term term, raft_index index);
/* A complete one was received as `generation`. Installed when everything on its way has come back,
 * dropped when not needed any more (carry_installing is false then). 0, ERR_AGAIN, ERR_NOT_FOUND as
 * above, ERR_CORRUPT (what it says of itself cannot be). */
int carry_snapshot_received(struct carry *c, uint64_t generation, const struct snapshot_cut *cut,
                            uint64_t now_us);
void carry_installed(struct carry *c, bool kept_tail, uint64_t now_us);
bool carry_installing(const struct carry *c);

/* ---- are the replicas the same? ---- */

/* A flush ended at an index where all nodes end one. */
void carry_flushed(struct carry *c, raft_index index, struct digest value, uint64_t now_us);
/* A heartbeat or its reply, which bear digests. */
void carry_digest_heard(struct carry *c, const struct peer_message *m, uint64_t now_us);
struct peer_digest carry_digest_last(const struct carry *c); /* for heartbeat replies */
/* This node's state differs from that of a majority: no reads, no candidacy; it still votes and
 * appends. */
bool carry_fenced(const struct carry *c);
/* Highest index at which all voters have told their digests and no majority agrees; 0: none. */
raft_index carry_digest_disputed(const struct carry *c);

/* ---- looking at it ---- */

const struct raft *carry_raft(const struct carry *c);
bool carry_removed(const struct carry *c);
bool carry_stalled(const struct carry *c);
const struct membership *carry_membership(const struct carry *c); /* latest, with addresses */
const struct member_address *carry_address(const struct carry *c, raft_id id);
raft_index carry_applied_index(const struct carry *c);
bool carry_single_voter(const struct carry *c); /* this node is the only voter */
/* An entry of the log's tail that is in memory; borrowed, NULL if it is not there. */
const struct entry *carry_log_entry(const struct carry *c, raft_index index);

struct carry_figures {
    uint32_t pending_writes, pending_reads;
    uint64_t pending_bytes, cache_bytes, cache_entries;
    uint64_t elections, leader_changes, proposals, reads_by_index, reads_by_lease, reads_stale;
    uint64_t timeouts, refused, appends_sent, appends_held;
    uint64_t snapshots_installed, snapshots_sent;
};
void carry_figures(const struct carry *c, struct carry_figures *out);

#endif
