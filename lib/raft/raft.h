/*
 * The consensus core: a pure function from events to decisions.
 *
 *     raft_step(core, event) -> update
 *
 * It has no clock, no I/O, no threads, no global state and allocates nothing: time comes in with
 * each event, randomness is a seeded generator inside, memory is handed over at init. It holds
 * indexes and terms, never payloads (membership configurations excepted). So the node, the
 * simulator and the exhaustive search drive the same code.
 *
 * Section numbers (§) are those of D. Ongaro, "Consensus: Bridging Theory and Practice", 2014.
 *
 * The contract with its carrier:
 *  1. Time (`now_us`) never goes back between two events of one core.
 *  2. The carrier does what an update says in this order: hard state and log writes are handed to
 *     the disk in the order of their `persist` numbers, and RAFT_PERSISTED comes back when they are
 *     durable (cumulative). Messages may be sent at once: what must wait for the disk the core
 *     holds back itself. So the votes that a candidate asks for come with the RAFT_PERSISTED of its
 *     own, and replies that promise something with that of what they promise.
 *  3. Entries up to `commit` may be applied, but never beyond min(commit, raft_durable_index()).
 *  4. Every request message (see enum raft_message_type) is answered by exactly one reply, at once
 *     or later; the reply bears the request's `context`, which is the carrier's to choose. One that
 *     makes no sense (ERR_BAD_REQUEST) is refused by its reply like any other; only what is not
 *     for this core at all (type, sender, receiver) has none.
 *  5. The arrays an update points to are the core's and live until the next raft_step.
 */
#ifndef RAFTKV_RAFT_RAFT_H
#define RAFTKV_RAFT_RAFT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/prng.h"

typedef uint64_t raft_index; /* 1 is the first entry; 0 is none */
typedef uint64_t raft_term;
typedef uint64_t raft_id; /* a member's id; 0 is none */

enum {
    RAFT_MEMBERS_MAX = 16, /* voters, learners and outgoing voters together */
    RAFT_CONFIGURATIONS_MAX =
        16, /* configurations in the log that are not known to be committed, and one before */
    RAFT_RUNS_MAX = 4096,            /* runs of equal terms in the log: see raft_runs_left() */
    RAFT_WRITES_MAX = 256,           /* log writes on their way to the disk */
    RAFT_REPLIES_MAX = 256,          /* replies waiting for the disk */
    RAFT_READS_MAX = 1024,           /* ReadIndex requests in progress */
    RAFT_INFLIGHT_MAX = 64,          /* upper bound of options.inflight_max */
    RAFT_MESSAGES_MAX = 512,         /* messages of one update */
    RAFT_APPEND_ENTRIES_MAX = 65536, /* upper bound of options.append_entries_max */
    RAFT_TRACE_MAX = 256,            /* ring of the last decisions */
};

/* ---- membership (§4) ---- */

enum raft_member_flags {
    RAFT_VOTER = 1,     /* votes in the configuration (in C_new while joint) */
    RAFT_VOTER_OLD = 2, /* votes in C_old; only while joint (§4.3) */
    RAFT_AUTO_PROMOTE =
        4, /* a learner that becomes a voter once caught up (§4.2.1), whoever leads then */
};

struct raft_member {
    raft_id id;
    raft_id replaces; /* with RAFT_AUTO_PROMOTE: the voter that leaves in the same joint change; 0:
                         none */
    uint32_t flags;   /* neither voter flag: a learner */
};

/* Effective when appended, rolled back when truncated (§4.1). `index` is that of its entry. */
struct raft_configuration {
    raft_index index;
    uint32_t count;
    bool joint;                                   /* C_old,new: two majorities */
    struct raft_member members[RAFT_MEMBERS_MAX]; /* sorted by id, no id twice */
};

enum raft_change_kind {
    RAFT_ADD_LEARNER, /* id; auto_promote */
    RAFT_PROMOTE,     /* id: learner to voter, when caught up at once, else when it is */
    RAFT_REMOVE,      /* id: learner or voter */
    RAFT_REPLACE,     /* id leaves, new_id enters: learner first, then one joint change */
};

struct raft_change {
    enum raft_change_kind kind;
    raft_id id;
    raft_id new_id;
    bool auto_promote;
    raft_index configuration_index; /* the configuration it was made for; 0: whichever is current */
};

/* ---- the log ---- */

/* Entries from `first` on (to the next run or the end) have term `term`. */
struct raft_run {
    raft_index first;
    raft_term term;
};

enum raft_entry_kind { RAFT_NORMAL, RAFT_NOOP, RAFT_CONFIGURATION };

/* ---- messages ---- */

enum raft_message_type {
    /* requests … */
    RAFT_PRE_VOTE,    /* §9.6: term = the term it would campaign in; last_index, last_term */
    RAFT_VOTE,        /* §3.4: last_index, last_term, transfer */
    RAFT_APPEND,      /* §3.5: prev_index, prev_term, entries, commit, round */
    RAFT_HEARTBEAT,   /* commit = min(commit, match of the receiver), round */
    RAFT_READ_INDEX,  /* §6.4, follower to leader */
    RAFT_TIMEOUT_NOW, /* §3.10 */
    /* … and their replies, in the same order */
    RAFT_PRE_VOTE_REPLY,  /* term, granted */
    RAFT_VOTE_REPLY,      /* term, granted */
    RAFT_APPEND_REPLY,    /* accepted: match_index, durable; else reject_index = prev_index, and the
                             hint */
    RAFT_HEARTBEAT_REPLY, /* round, promise_us */
    RAFT_READ_INDEX_REPLY, /* granted, read_index, commit */
    RAFT_TIMEOUT_NOW_REPLY,
    /* not on the wire as such: the carrier is asked to send a snapshot; answered by
       RAFT_SNAPSHOT_SENT */
    RAFT_SEND_SNAPSHOT,
    RAFT_MESSAGE_TYPES
};

struct raft_message {
    enum raft_message_type type;
    raft_id from, to;
    raft_term term;
    uint64_t context; /* of the request's receiver; copied into the reply, otherwise unseen by the
                         core */

    raft_index last_index; /* PRE_VOTE, VOTE: last entry of the candidate */
    raft_term last_term;
    bool transfer; /* VOTE: the leader asked for it, so do not refuse because of that leader
                      (§4.2.3) */
    bool granted;  /* PRE_VOTE_REPLY, VOTE_REPLY, READ_INDEX_REPLY */

    raft_index prev_index; /* APPEND */
    raft_term prev_term;
    uint32_t entry_count; /* APPEND: entries prev_index+1 … prev_index+entry_count; outgoing, the
                             carrier attaches payloads and may cut one append into several with
                             consecutive entries */
    raft_index commit;    /* APPEND, HEARTBEAT, READ_INDEX_REPLY: the leader's commit index */
    uint64_t round; /* APPEND, HEARTBEAT and replies: ReadIndex round (§6.4), cumulative within the
                       term */

    bool accepted;           /* APPEND_REPLY */
    raft_index match_index;  /* APPEND_REPLY accepted: verified by this append and durable */
    raft_index reject_index; /* APPEND_REPLY refused: the prev_index that did not match */
    raft_index hint_index; /* … and where to go on: largest index whose term is <= prev_term (§3.5,
                              fast back-up) */
    raft_term hint_term;
    uint64_t promise_us; /* APPEND_REPLY, HEARTBEAT_REPLY: no vote for anybody else for so long from
                            receipt (§6.4.1) */
    uint64_t sent_us; /* APPEND, HEARTBEAT: the leader's clock at sending; the reply returns it */

    raft_index read_index; /* READ_INDEX_REPLY */
    uint64_t read_id;      /* READ_INDEX and reply: number of the follower's request */

    raft_index
        snapshot_index; /* SEND_SNAPSHOT: the receiver needs one that reaches at least here */

    /* Incoming APPEND only: what the carrier knows of the attached entries; borrowed for the step.
     */
    const struct raft_run *runs; /* terms, first run starts at prev_index+1 */
    uint32_t run_count;
    const struct raft_configuration *configurations; /* of the configuration entries among them */
    uint32_t configuration_count;
};

bool raft_message_is_request(enum raft_message_type type);
const char *raft_message_name(enum raft_message_type type); /* "append_reply" */

/* ---- events ---- */

enum raft_event_type {
    RAFT_TICK,        /* time has come (update.wake_us), or just passed */
    RAFT_MESSAGE,     /* message */
    RAFT_UNREACHABLE, /* peer: a message could not be delivered (hint: back to probing) */
    RAFT_PROPOSE,     /* propose.count normal entries */
    RAFT_READ,        /* read */
    RAFT_PERSISTED,   /* persist: all writes up to this number are durable */
    RAFT_COMPACTED, /* snapshot: the log up to snapshot.index is gone; a snapshot of ours covers it
                     */
    RAFT_SNAPSHOT_INSTALLED, /* snapshot: state and log were replaced by it, durably (§5.3) */
    RAFT_SNAPSHOT_SENT, /* peer, ok, snapshot.index: the receiver has installed it, or it failed */
    RAFT_CHANGE,        /* change (leader) */
    RAFT_TRANSFER,      /* peer (0: the best), leader (§3.10) */
    RAFT_STALL, /* ok = true: a write is outstanding longer than an election timeout; false: it
                   ended */
    RAFT_FENCE, /* ok = true: this node's state diverged: no candidacy, step down; false: lifted */
    RAFT_REMOVED, /* index: a peer says that the configuration there is committed, and without us */
    RAFT_EVENT_TYPES
};

struct raft_snapshot {
    raft_index index;
    raft_term term;
    struct raft_configuration configuration; /* in force at index */
};

struct raft_event {
    enum raft_event_type type;
    uint64_t now_us;
    const struct raft_message *message;
    const struct raft_snapshot *snapshot;
    const struct raft_change *change;
    raft_id peer;
    uint64_t persist;
    raft_index index;
    struct {
        uint32_t count;
    } propose;
    struct {
        uint64_t id; /* the carrier's, unique among those in progress */
        bool lease;  /* answer at once if the lease holds (§6.4.1) */
    } read;
    bool ok;
};

/* What raft_step says of the event itself (0 or an enum err_code); a refused event changes nothing.
 *   RAFT_PROPOSE   ERR_NO_LEADER (not leader), ERR_AGAIN (a transfer runs, or this leader is being
 *                  removed), ERR_OVERLOADED (uncommitted_max), ERR_BAD_REQUEST (no entries)
 *   RAFT_READ      ERR_NO_LEADER (none known), ERR_OVERLOADED (RAFT_READS_MAX). With a leader known
 *                  a follower's read is passed on by the core (READ_INDEX); reads made before the
 *                  leader's no-op is committed wait inside
 *   RAFT_CHANGE    ERR_NO_LEADER, ERR_AGAIN (the no-op is not committed yet, or a transfer runs),
 *                  ERR_CONFLICT (a change runs, or it was made for another configuration, or the
 *                  member is there or has that role already, or is being replaced by another),
 *                  ERR_NOT_FOUND (no such member), ERR_OVERLOADED (RAFT_MEMBERS_MAX),
 *                  ERR_BAD_REQUEST (no id, the last voter, replaced by itself)
 *   RAFT_TRANSFER  ERR_NO_LEADER, ERR_AGAIN (one runs), ERR_NOT_FOUND (no such member; for 0: no
 *                  other voter answers), ERR_BAD_REQUEST (a learner, a leaving voter, itself)
 *   others         ERR_BAD_REQUEST: malformed, or not of this core's log
 * RAFT_REMOVED that says nothing new (a later configuration is known here) is no error. */

/* ---- updates ---- */

struct raft_read_result {
    uint64_t id;
    int status; /* 0, or ERR_NO_LEADER: dropped (leadership or term changed): nothing was served */
    raft_index index;        /* serve when applied >= index */
    uint64_t lease_until_us; /* lease reads: valid only if, after evaluation, the clock, read anew,
                                is below and raft_lease_until_us() not 0 (a transfer ends leases
                                at once); 0: by ReadIndex */
};

/* An entry that the core itself made; the carrier encodes it. Normal entries come from
 * RAFT_PROPOSE. */
struct raft_made_entry {
    raft_index index;
    enum raft_entry_kind kind;                      /* RAFT_NOOP or RAFT_CONFIGURATION */
    const struct raft_configuration *configuration; /* of the latter */
};

enum raft_state { RAFT_FOLLOWER, RAFT_PRE_CANDIDATE, RAFT_CANDIDATE, RAFT_LEADER };

struct raft_update {
    /* to the disk, as one write with this number; 0: nothing to write */
    uint64_t persist;
    bool hard_state; /* save term, vote and removed */
    raft_term term;
    raft_id vote;
    raft_index removed;       /* see raft_removed_index */
    raft_index truncate_from; /* first delete entries from here on; 0: none */
    raft_index write_first;   /* then write these; 0: none. On a follower they are entries of the
                                 message just stepped */
    raft_index write_last;
    const struct raft_made_entry *made; /* entries among them that the core made itself */
    uint32_t made_count;

    raft_index proposed_first; /* RAFT_PROPOSE: index of the first of the entries; 0: refused */
    raft_term proposed_term;

    const struct raft_message *messages;
    uint32_t message_count;

    raft_index commit; /* as it is now */
    const struct raft_read_result *reads;
    uint32_t read_count;

    bool state_changed; /* state, term or leader differ from before this step */
    bool configuration_changed;
    int transfer_status; /* 0: nothing to report; 1: done (somebody else leads); ERR_TIMEOUT;
                            ERR_AGAIN: the target cannot campaign now; ERR_CONFLICT: it is no voter
                            any more */
    uint64_t wake_us;    /* step RAFT_TICK then, at the latest; UINT64_MAX: never */
};

/* ---- life ---- */

struct raft_options {
    raft_id id;
    uint64_t election_timeout_us;   /* minimum; drawn from [1, 2) times it (§3.4) */
    uint64_t heartbeat_interval_us; /* at most a third of the election timeout */
    uint32_t inflight_max;          /* appends on their way to one follower */
    uint32_t append_entries_max;    /* entries of one append */
    uint32_t uncommitted_max; /* entries proposed and not committed; over it ERR_OVERLOADED; 0: no
                                 bound */
    uint32_t clock_drift_ppm; /* lease shortened by it (both clocks may drift) */
    uint64_t catch_up_us;     /* a learner is caught up when a round took no longer (§4.2.1); 0:
                                 election timeout */
    uint64_t seed;
};

/* What was on disk. */
struct raft_start {
    uint64_t now_us;
    raft_term term;
    raft_id vote;
    raft_index removed;            /* as last saved; 0: never */
    struct raft_snapshot snapshot; /* index 0: none; configuration then empty */
    const struct raft_run *runs;   /* of entries snapshot.index+1 … last_index */
    uint32_t run_count;
    raft_index last_index;
    raft_index
        commit; /* known to be committed: what the state machine had applied; >= snapshot.index */
    const struct raft_configuration
        *configurations; /* configuration entries in the log, in order */
    uint32_t configuration_count;
    bool fresh; /* this directory never spoke to anybody: no wait before its first vote or candidacy
                 */
};

struct raft;

size_t raft_size(void);
/* So many bytes at the beginning are the state; behind them lie the last update's arrays and the
 * trace, which decide nothing. Unused room in them is zero, so equal states are equal bytes (but
 * for options.seed's generator). */
size_t raft_state_size(void);
/* `memory` of raft_size() bytes, aligned for any type, is the whole state: no pointers out of it
 * but those in the last update, so it may be copied and compared. Returns 0 or ERR_BAD_REQUEST
 * (options or start state out of range). */
int raft_init(struct raft *r, const struct raft_options *options, const struct raft_start *start);
int raft_step(struct raft *r, const struct raft_event *event, struct raft_update *update);

/* ---- packing ---- */

/* What decides of a core in few bytes: equal bytes are cores that behave alike. Left out are the
 * options but for the id, all times, the generator, contexts and the trace; write numbers count
 * from the last durable one, so RAFT_PERSISTED must name them so after unpacking. `rename` gives
 * every id that occurs another, `rename[id]`, as if the members had been called so from the
 * beginning; NULL: none. Returns the number of bytes; 0: they do not fit. */
size_t raft_pack(const struct raft *r, const raft_id *rename, uint8_t *out, size_t out_bytes);
/* `r` is a core or all zero; `options->id` is not looked at. Time is whoever steps the core to say:
 * promises have ended, peers have answered just now, appends in flight are overdue. A leader's
 * heartbeats and a follower's question about its reads are due one heartbeat interval after
 * `now_us`, the end of a transfer or of handing over and the patience with members that leave two,
 * elections and check-quorum one election timeout. Returns 0 or ERR_BAD_REQUEST; then `r` is all
 * zero. */
int raft_unpack(struct raft *r, const struct raft_options *options, uint64_t now_us,
                const uint8_t *bytes, size_t len);

/* ---- looking at it ---- */

enum raft_progress_state { RAFT_PROBE, RAFT_PIPELINE, RAFT_SNAPSHOT };

struct raft_progress_view {
    raft_id id;
    uint32_t flags; /* enum raft_member_flags */
    enum raft_progress_state state;
    raft_index match, next;
    uint32_t inflight;
    uint64_t
        last_contact_us; /* when its last reply came, in the core's clock; 0: never in this term */
};

raft_id raft_self(const struct raft *r);
enum raft_state raft_state(const struct raft *r);
const char *raft_state_name(enum raft_state state);
raft_term raft_term_current(const struct raft *r);
raft_id raft_vote(const struct raft *r);
raft_id raft_leader(const struct raft *r); /* 0: not known */
raft_index raft_commit_index(const struct raft *r);
raft_index raft_last_index(const struct raft *r);
raft_index raft_first_index(
    const struct raft *r); /* first entry after the snapshot; last+1 when there is none */
raft_index raft_durable_index(const struct raft *r);
raft_index raft_snapshot_index(const struct raft *r);
raft_term raft_term_at(const struct raft *r,
                       raft_index index);           /* 0: compacted, or beyond the end */
bool raft_leader_ready(const struct raft *r);       /* leads, and its no-op is committed */
uint64_t raft_lease_until_us(const struct raft *r); /* 0: no lease */
uint64_t raft_leader_contact_us(
    const struct raft *r); /* when a follower last heard its leader; 0: never */
raft_id raft_transfer_target(const struct raft *r); /* 0: no transfer runs */
/* Leads, but proposes nothing: a transfer runs, or it is stalled or fenced and about to step down.
 */
bool raft_handing_over(const struct raft *r);
const struct raft_configuration *raft_configuration_latest(const struct raft *r); /* in force */
const struct raft_configuration *raft_configuration_committed(const struct raft *r);
const struct raft_configuration *raft_configuration_at(const struct raft *r,
                                                       raft_index index); /* NULL: not known */
/* A change runs: appended and its final configuration not committed yet. */
bool raft_change_pending(const struct raft *r);
/* This node was a member, and by a committed configuration it is none any more (§4.2.2): it serves
 * nobody and never campaigns, also after a restart. Only a later configuration takes that back. */
bool raft_removed(const struct raft *r);
raft_index raft_removed_index(const struct raft *r); /* that configuration's; 0: none is known */
const struct raft_member *raft_configuration_find(const struct raft_configuration *c, raft_id id);
/* Members in order, flags that go together, a voter: what the core accepts from others. */
bool raft_configuration_valid(const struct raft_configuration *c);
bool raft_configuration_is_voter(const struct raft_configuration *c,
                                 raft_id id); /* in C_new or C_old */
/* Leader: fills up to RAFT_MEMBERS_MAX views, itself included; returns their number, 0 when not
 * leader. */
uint32_t raft_progress(const struct raft *r, struct raft_progress_view *views);
/* Runs of terms that still fit. A full table makes the node compact; the core never overflows it:
 * it accepts a shorter part of an append, and does not campaign. */
uint32_t raft_runs_left(const struct raft *r);

/* ---- invariants and trace ---- */

/* NULL, or the name of the first invariant of one state that does not hold (LogCabin's
 * RaftConsensusInvariants). */
const char *raft_invariant(const struct raft *r);
/* … of the step from the state before: term, commit and match never go back, one vote and one
 * leader a term, … `before` is a copy of the core, or what raft_remember() kept of it. */
const char *raft_invariant_step(const struct raft *before, const struct raft *after);
/* Keeps in `past`, of raft_size() bytes, as much of a core as that takes: its numbers, its latest
 * configuration, its terms. */
void raft_remember(struct raft *past, const struct raft *r);

/* A decision, as in a line that states it: "vote: candidate's log (5,3) is behind ours (7,3):
 * refused". */
struct raft_trace {
    uint64_t number; /* counts from 1 */
    uint64_t now_us;
    uint16_t decision; /* of lib/raft/trace_table.h; formats itself */
    raft_term term;
    raft_id peer;
    uint64_t a, b, c, d;
};

/* Copies the newest `max` decisions after `after` (0: from the oldest kept), oldest first; returns
 * how many. */
uint32_t raft_trace_read(const struct raft *r, uint64_t after, struct raft_trace *out,
                         uint32_t max);
/* Writes the sentence, NUL-terminated, cut if need be; returns its full length. `name` turns an id
 * into a name, may be NULL (hex). */
size_t raft_trace_format(const struct raft_trace *t, char *out, size_t out_bytes,
                         const char *(*name)(void *, raft_id), void *name_argument);

#endif
