/*
 * The inside of carry, shared by carry*.c only.
 *
 * - carry.c: life, events into the core, updates out of it
 * - carry_requests.c: clients' writes and reads, and what each is told
 * - carry_peers.c: appends out, in order and in slices; appends in, ordered for the core
 * - carry_snapshot.c: cutting the log, sending and installing snapshots
 */
#ifndef RAFTKV_NODE_CARRY_INTERNAL_H
#define RAFTKV_NODE_CARRY_INTERNAL_H

#include "lib/node/carry.h"
#include "lib/node/log_cache.h"

enum {
    CARRY_OUTBOX = 2 * RAFT_INFLIGHT_MAX, /* appends of the core to one peer, not on the wire yet */
    CARRY_HELD = 32,                      /* appends of one leader that came too early */
    /* addresses known: of every configuration that the core knows, and of one more */
    CARRY_DIGESTS = 8, /* of each member */
    CARRY_BOOK = (RAFT_CONFIGURATIONS_MAX + 1) * RAFT_MEMBERS_MAX,
    CARRY_BATCH_MAX = 4096,  /* writes proposed in one step */
    CARRY_LOW_TIMEOUTS = 20, /* between hand-overs because of a full disk, in election timeouts */
};

/* An append as the core wants it; carry cuts it into messages. */
struct carry_append {
    raft_term term;
    raft_index prev_index; /* moves on as slices are sent */
    raft_term prev_term;
    uint32_t left; /* entries still to send */
    raft_index commit;
    uint64_t round, sent_us;
};

struct carry_held {
    struct peer_message message;
    uint64_t context;
    uint64_t since_us;
    bool used;
};

/* The digests that a node told last. */
struct carry_digests {
    struct peer_digest ring[CARRY_DIGESTS];
    uint32_t next;
};

struct carry_peer {
    raft_id id;
    /* out */
    struct carry_append outbox[CARRY_OUTBOX];
    uint32_t outbox_head, outbox_count;
    raft_index outbox_end; /* last entry of the newest append taken in */
    uint64_t stream, seq;  /* of the last message sent */
    uint32_t wire;         /* appends on the wire */
    uint64_t log_read;     /* id of the read under way for its head; 0: none */
    struct entry **slice;  /* what the read brought, by reference */
    size_t slice_count;
    /* in */
    raft_term in_term;
    uint64_t in_stream, in_next;
    struct carry_held held[CARRY_HELD];
    uint32_t held_count;
    bool delivering; /* stays what it is meanwhile */
    /* snapshot being sent: its index; 0: none */
    raft_index sending;
    uint64_t sending_from; /* written_bytes when it began */
    struct carry_digests digests;
};

RB_HEAD(carry_index_tree, carry_request);
RB_HEAD(carry_deadline_tree, carry_request);
TAILQ_HEAD(carry_list, carry_request);

/* Reads that wait to be asked for; LATER: the leader refused them, and nothing else is known yet.
 */
enum carry_read_list { READS_BY_INDEX, READS_BY_LEASE, READS_LATER, READ_LISTS };

/* Reads that share one ReadIndex request. */
struct carry_read_batch {
    uint64_t id, asked_us;
    raft_id leader; /* who was asked, in which term */
    raft_term term;
    bool lease;
    struct carry_list reads;
    TAILQ_ENTRY(carry_read_batch) link;
};
TAILQ_HEAD(carry_read_batches, carry_read_batch);

enum carry_install { INSTALL_NONE, INSTALL_DRAINING, INSTALL_SWITCHING };

struct carry {
    struct carry_options options;
    struct carry_io io;
    struct raft *raft;
    struct digest cluster_id;
    uint64_t wall_ms;
    uint64_t wake_us; /* the core's */
    enum raft_state seen_state;

    struct log_cache cache;
    uint32_t book_count, peer_count;
    struct membership membership; /* latest, with addresses */

    /* writes on their way to the disk */
    uint64_t persist_issued, persist_done;
    uint64_t written_bytes;    /* of entries, since the start */
    uint64_t persist_since_us; /* when the oldest outstanding one was issued, or the one before it
                                  ended */

    /* the state machine */
    raft_index handed, applied; /* entries handed out, and applied */
    uint64_t handed_bytes;
    uint64_t apply_since_us; /* as persist_since_us */
    uint64_t apply_read;     /* log read under way for it; 0: none */
    uint64_t next_log_read;

    /* clients */
    struct carry_list write_batch; /* CARRY_BATCHED */
    uint32_t write_batch_count;
    struct carry_list read_lists[READ_LISTS]; /* CARRY_BATCHED */
    uint64_t later_us;                        /* when READS_LATER are asked for again */
    struct carry_read_batches read_batches;
    uint64_t next_read;
    struct carry_index_tree writes, reads; /* CARRY_APPLYING, by (index, term) */
    struct carry_deadline_tree deadlines;
    uint32_t pending_writes, pending_reads;
    uint64_t pending_bytes;

    /* cluster time: §6.3 of the dissertation, and design: never a wall clock */
    uint64_t cluster_time_ms;                  /* highest seen in the log */
    uint64_t cluster_base_ms, cluster_base_us; /* as of this leader's election */
    raft_index expiring; /* the last entry that expires sessions: no other before it is applied */

    /* How fresh this node is: when it asked for the last read index that it has handed out, and for
     * the next one that it waits for. */
    uint64_t fresh_us, fresh_next_us;
    raft_index fresh_next;

    bool stalled, flush_failing, disk_low, shutting_down;
    uint64_t low_due_us; /* disk_low: leadership is not handed over before */
    bool transfer_told;  /* see carry_transfer_told */
    uint64_t next_stream;
    uint64_t overlay_bytes;

    struct carry_digests digests;   /* our own */
    struct peer_digest digest_last; /* … the newest */
    struct peer_digest verdict;     /* what a majority has */
    raft_index fenced_at, disputed;
    bool fenced;

    enum carry_install install;
    uint64_t install_generation;
    struct snapshot_cut install_cut;

    struct carry_figures figures;

    /* Of these, so many are in use as book_count and peer_count say; the rest is never looked at.
     */
    struct member_address book[CARRY_BOOK]; /* the latest last */
    struct carry_peer peers[RAFT_MEMBERS_MAX + 1];
};

/* carry.c */
/* Steps the core and carries the update out. `attached`: the entries of RAFT_PROPOSE (placed here)
 * or of an incoming append. */
int carry_step(struct carry *c, struct raft_event *event, struct entry **attached,
               size_t attached_count);
void carry_note_members(struct carry *c); /* latest configuration -> membership */
void carry_hand_out(struct carry *c, uint64_t now_us);
void carry_book_add(struct carry *c, const struct member_address *a);
void carry_membership_of(const struct carry *c, const struct raft_configuration *configuration,
                         struct membership *out);
void carry_check_stall(struct carry *c, uint64_t now_us);

/* carry_requests.c */
RB_PROTOTYPE(carry_index_tree, carry_request, by_index, carry_index_compare)
RB_PROTOTYPE(carry_deadline_tree, carry_request, by_deadline, carry_deadline_compare)
void carry_requests_init(struct carry *c);
void carry_requests_free(struct carry *c);
void carry_requests_turn(struct carry *c, uint64_t now_us);
void carry_requests_expire(struct carry *c, uint64_t now_us);
uint64_t carry_requests_wake_us(const struct carry *c);
void carry_read_result(struct carry *c, const struct raft_read_result *result, uint64_t now_us);
void carry_reads_ready(struct carry *c, uint64_t now_us);
void carry_resolve(struct carry *c, const struct carry_applied_entry *e);
void carry_writes_superseded(struct carry *c,
                             raft_index up_to); /* a snapshot covers them: unknown */

/* carry_peers.c */
struct carry_peer *carry_peer(struct carry *c, raft_id id, bool make);
void carry_peer_entered(struct carry *c, raft_id id); /* it has become a member */
void carry_append_out(struct carry *c, const struct raft_message *m);
void carry_outboxes_clear(struct carry *c);
void carry_pump(struct carry *c, struct carry_peer *p);
void carry_peers_tick(struct carry *c, uint64_t now_us);
uint64_t carry_peers_wake_us(const struct carry *c);
void carry_peers_free(struct carry *c);
bool carry_peer_log_read(struct carry *c, uint64_t id, int code, struct entry **entries,
                         size_t count, uint64_t now_us);
void carry_held_deliver(struct carry *c, uint64_t now_us); /* all appends held back */

/* carry_snapshot.c */
void carry_install_continue(struct carry *c);
raft_index carry_sending_floor(const struct carry *c);

/* carry_digest.c */
void carry_digests_forget(struct carry *c, uint64_t now_us);

#endif
