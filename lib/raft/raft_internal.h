/*
 * The state of the core, and what its files call in each other. Private to lib/raft.
 *
 *                       timeout                 pre-votes of a majority          votes of a
 * majority FOLLOWER ------------------> PRE_CANDIDATE --------------------> CANDIDATE
 * -----------------> LEADER ^  ^  ^                       |   ^  higher term, leader heard,    |  |
 * timeout: PRE_CANDIDATE | |  |  +-----------------------+   |  lost                          |  |
 * | |  |                              +--------------------------------|--+ | |
 * +---------------------------------------------------------------+ higher term, leader, lost |
 *      +----- higher term, no quorum heard, stalled, fenced, removed
 * ---------------------------------+ FOLLOWER -- TIMEOUT_NOW of its leader, or sole voter: no
 * pre-vote --> CANDIDATE
 */
#ifndef RAFTKV_RAFT_RAFT_INTERNAL_H
#define RAFTKV_RAFT_RAFT_INTERNAL_H

#include "lib/base/check.h"
#include "lib/base/err.h"
#include "lib/raft/raft.h"
#include "lib/raft/trace_table.h"

enum {
    RAFT_PROGRESS_MAX =
        2 * RAFT_MEMBERS_MAX,    /* members, and those that shall learn their removal */
    RAFT_READS_REMOTE_MAX = 128, /* followers' read requests that wait at a leader */
    RAFT_APPENDS_A_STEP = 256,   /* appends of one step; what is left goes out 1 µs later */
    RAFT_MADE_MAX = 4,           /* entries that one step makes by itself */
};

/* A step ends all reads and flushes all replies at worst, and sends a round to everybody. */
_Static_assert(RAFT_REPLIES_MAX + RAFT_READS_REMOTE_MAX + 3 * RAFT_PROGRESS_MAX + 8 <=
                   RAFT_MESSAGES_MAX,
               "messages of a step that loses leadership");
_Static_assert(RAFT_APPENDS_A_STEP + RAFT_READS_REMOTE_MAX + 3 * RAFT_PROGRESS_MAX + 8 <=
                   RAFT_MESSAGES_MAX,
               "messages of a leader's step");

#define RAFT_TERM_MAX ((raft_term)1 << 62) /* a message over it is not from this cluster */

/* The terms of the log (log_terms.c). */
struct raft_terms {
    raft_index snapshot_index; /* last index that the snapshot covers; 0: none */
    raft_term snapshot_term;
    raft_index last;    /* last index of the log, snapshot_index when it is empty */
    uint32_t run_count; /* used of `runs`; the rest is zero */
    uint32_t pad;
    struct raft_run runs[RAFT_RUNS_MAX]; /* of entries snapshot_index+1 … last */
};

/* Configurations of the log, oldest first; [0] is at or below the commit index (membership.c). */
struct raft_configurations {
    uint32_t count;
    uint32_t pad;
    struct raft_configuration items[RAFT_CONFIGURATIONS_MAX];
};

/* Entries up to `last` are durable once write number `persist` is (persist.c). */
struct raft_write {
    uint64_t persist;
    raft_index
        last; /* lowered when they are truncated meanwhile: the numbers may come back (ABA) */
};

/* A reply that waits for the disk (persist.c). */
struct raft_deferred {
    uint32_t type; /* RAFT_VOTE_REPLY or RAFT_APPEND_REPLY */
    uint32_t pad;
    raft_id to;
    uint64_t context;
    uint64_t persist; /* number of the write with our term and vote */
    raft_index match; /* APPEND_REPLY: to be durable */
    uint64_t round;
    uint64_t sent_us;
};

/* What the leader knows of one follower (progress.c). */
struct raft_follower {
    raft_id id;
    uint32_t state; /* enum raft_progress_state */
    bool paused;    /* PROBE: one append is out; wait for its reply or a later heartbeat's */
    bool caught_up; /* learner: the last finished round took no longer than catch_up_us (§4.2.1) */
    bool told;      /* leaving: was sent the commit index of the configuration without it */
    bool pad;
    raft_index match;           /* known to be equal to ours, and durable there */
    raft_index next;            /* the next append begins here; optimistic in PIPELINE */
    uint64_t contact_us;        /* when its last reply came; of a new one: when we began to count */
    bool answered;              /* in this term */
    uint64_t promise_until_us;  /* it votes for nobody else until then, drift taken off (§6.4.1) */
    uint64_t round;             /* newest ReadIndex round that it confirmed (§6.4) */
    uint64_t probe_sent_us;     /* when the append that `paused` waits for was sent */
    uint64_t inflight_since_us; /* PIPELINE: since when nothing was acknowledged */
    raft_index round_target;    /* learner: the catch-up round ends when match reaches it */
    uint64_t round_start_us;
    raft_index leaving_index; /* dropped by the configuration at this index; 0: a member */
    uint64_t leaving_until_us;
    uint64_t told_us;
    uint32_t inflight_first; /* ring of the last indexes of the appends on their way */
    uint32_t inflight_count;
    raft_index inflight[RAFT_INFLIGHT_MAX];
};

/* A read in progress (read_index.c). */
struct raft_read {
    uint64_t id;      /* the carrier's, or the follower's number of its request */
    raft_id from;     /* 0: our own carrier; else the follower to answer */
    uint64_t context; /* of the follower's request */
    raft_index index; /* leader: the read index, once taken */
    uint64_t
        round; /* leader: confirmed with this round; follower: number of its request; 0: not yet */
};

/* What one step says; not part of the state. */
struct raft_output {
    bool hard_state;
    raft_index truncate_from, write_first, write_last;
    raft_index proposed_first;
    raft_term proposed_term;
    int transfer_status;
    bool configuration_changed;
    bool sends_left; /* RAFT_APPENDS_A_STEP was reached */
    uint32_t appends;
    uint32_t message_count, result_count, made_count;
    /* before the step */
    enum raft_state state;
    raft_term term;
    raft_id leader;
    struct raft_message messages[RAFT_MESSAGES_MAX];
    struct raft_read_result results[RAFT_READS_MAX + 1];
    struct raft_made_entry made[RAFT_MADE_MAX];
};

struct raft {
    struct raft_options options;
    struct prng prng;
    uint64_t now_us; /* time of the latest event */

    raft_term term;
    raft_id vote;
    uint32_t state;      /* enum raft_state */
    raft_index removed;  /* a committed configuration there is without us; durable; 0: none */
    bool was_member;     /* a configuration with us was seen */
    bool stalled;        /* a write of ours hangs: no candidacy */
    bool fenced;         /* our state diverged: no candidacy */
    bool counted_on;     /* a learner, but a voter to a candidate whose log is behind ours */
    bool waits_for_vote; /* CANDIDATE: votes are asked for once our own is durable */
    bool transferring;   /* CANDIDATE: the old leader asked for this election (§3.10) */
    raft_id leader;      /* 0: not known */
    raft_id
        term_leader; /* the leader of this term as once known; never forgotten within the term */
    raft_index commit;
    raft_index
        verified; /* follower: up to here this term's leader has verified our log by an append */
    raft_index durable; /* up to here our own disk has the log */

    uint64_t persist_issued; /* number of the last write given out */
    uint64_t persist_done;   /* … and known to be durable */
    uint64_t hard_persist;   /* number of the last write of term and vote */
    uint32_t write_count;    /* writes of entries on their way, oldest first */
    uint32_t deferred_count; /* replies that wait for the disk, oldest first */

    uint64_t election_timeout_us; /* as drawn (§3.4) */
    uint64_t election_due_us;
    uint64_t promise_until_us; /* until then no vote for anybody but promise_to (§4.2.3, §6.4.1) */
    raft_id promise_to;        /* 0, after a start: we forgot to whom */
    uint64_t contact_us;       /* when our leader was last heard; 0: never */
    uint32_t votes_granted;    /* bits by position in the latest configuration */
    uint32_t votes_refused;

    /* leader */
    raft_index noop; /* index of the entry that began our term; 0: not leader */
    uint64_t heartbeat_due_us;
    uint64_t quorum_due_us; /* check-quorum: not before then (§6.2) */
    uint64_t round;         /* last ReadIndex round sent */
    raft_id transfer_to;    /* 0: no transfer */
    uint64_t transfer_due_us;
    bool transfer_told;       /* TIMEOUT_NOW is out */
    bool transfer_over;       /* follower that handed over: reports when somebody else leads */
    uint64_t handover_due_us; /* stalled or fenced: leads until then, or until it can hand over */
    bool lease_void;          /* a TIMEOUT_NOW is out in this term: its vote may come at any time */
    uint32_t follower_count;  /* by position in the latest configuration, then those leaving */

    /* reads */
    uint32_t read_count, read_remote_count;
    uint64_t
        read_base; /* follower: numbers of our requests begin after it, differently in each life */
    uint64_t read_number; /* … the last one sent */
    uint64_t read_due_us; /* … asked again then; 0: none is out */

    struct raft_write writes[RAFT_WRITES_MAX];
    struct raft_deferred deferred[RAFT_REPLIES_MAX];
    struct raft_follower followers[RAFT_PROGRESS_MAX];
    struct raft_configurations configurations;
    struct raft_read reads[RAFT_READS_MAX];
    struct raft_terms terms;

    /* From here on nothing decides: see raft_state_size(). */
    struct raft_output out;
    uint64_t trace_number;
    struct raft_trace traces[RAFT_TRACE_MAX];
};

/* trace.c */
void raft_trace_add(struct raft *r, enum raft_decision decision, raft_id peer, uint64_t a,
                    uint64_t b, uint64_t c, uint64_t d);

/* log_terms.c */
raft_term raft_terms_at(const struct raft_terms *t,
                        raft_index index); /* also at the snapshot's index */
/* Largest index <= `index`, at or after the snapshot, whose term is <= `term`; false: none. */
bool raft_terms_find(const struct raft_terms *t, raft_index index, raft_term term,
                     raft_index *found);
bool raft_terms_room(const struct raft_terms *t, raft_term term); /* an entry of `term` would fit */
void raft_terms_append(struct raft_terms *t, raft_term term, raft_index count);
void raft_terms_truncate(struct raft_terms *t, raft_index from);
void raft_terms_compact(struct raft_terms *t, raft_index index);
void raft_terms_reset(struct raft_terms *t, raft_index index, raft_term term);
raft_term raft_terms_last(const struct raft_terms *t);
/* First index in first … last at which the log ends or has another term than `runs` say; last+1 if
 * there is none. The runs reach to `last`, and may begin before `first`, which is behind the
 * snapshot. */
raft_index raft_terms_conflict(const struct raft_terms *t, raft_index first, raft_index last,
                               const struct raft_run *runs, uint32_t run_count);

/* persist.c */
void raft_persist_begin(struct raft *r);
void raft_persist_write(struct raft *r, raft_index first, raft_index last);
void raft_persist_truncate(struct raft *r, raft_index from);
void raft_persist_finish(struct raft *r, struct raft_update *update);
int raft_persist_done(struct raft *r, uint64_t persist);
void raft_persist_snapshot(struct raft *r, raft_index index, bool keeps_tail);
bool raft_persist_hard_durable(const struct raft *r);
void raft_persist_defer(struct raft *r, const struct raft_message *request, raft_index match);
void raft_persist_refuse_all(
    struct raft *r); /* replies of an earlier term: answered with the new one */

/* step.c */
struct raft_message *raft_send(struct raft *r, enum raft_message_type type, raft_id to);
struct raft_message *raft_reply(struct raft *r, const struct raft_message *request);
void raft_refuse(struct raft *r, const struct raft_message *request);
void raft_append_made(struct raft *r, enum raft_entry_kind kind);

/* election.c */
void raft_election_tick(struct raft *r);
void raft_election_rest(struct raft *r); /* a new random timeout from now on */
void raft_election_start(struct raft *r, bool transfer);
void raft_election_persisted(struct raft *r);
void raft_election_follow(struct raft *r, raft_term term, raft_id leader);
void raft_election_heard(struct raft *r, raft_id leader);
bool raft_election_eligible(const struct raft *r);
bool raft_election_promised(const struct raft *r, const struct raft_message *request);
void raft_election_pre_vote(struct raft *r, const struct raft_message *m);
void raft_election_pre_vote_reply(struct raft *r, const struct raft_message *m);
void raft_election_vote(struct raft *r, const struct raft_message *m);
void raft_election_vote_reply(struct raft *r, const struct raft_message *m);

/* leader.c */
void raft_leader_start(struct raft *r);
void raft_leader_stop(struct raft *r); /* before the state changes */
void raft_leader_tick(struct raft *r);
void raft_leader_advance(struct raft *r); /* after every event of a leader */
uint64_t raft_leader_wake_us(const struct raft *r);
int raft_leader_propose(struct raft *r, uint32_t count);
void raft_leader_heartbeat(struct raft *r, struct raft_follower *f);
void raft_leader_await_quorum(struct raft *r); /* check-quorum, after the configuration changed */
void raft_leader_withhold(struct raft *r);     /* stalled or fenced: hand over and step down */

/* quorum.c */
enum raft_quorum_of {
    RAFT_QUORUM_MATCH,
    RAFT_QUORUM_ROUND,
    RAFT_QUORUM_CONTACT,
    RAFT_QUORUM_PROMISE
};
uint64_t raft_quorum(const struct raft *r, enum raft_quorum_of what);
enum raft_vote_result { RAFT_VOTE_PENDING, RAFT_VOTE_WON, RAFT_VOTE_LOST };
enum raft_vote_result raft_quorum_votes(const struct raft *r);
bool raft_quorum_advance(struct raft *r); /* the leader's commit index */
void raft_commit_to(struct raft *r, raft_index commit);

/* progress.c */
struct raft_follower *raft_progress_find(struct raft *r, raft_id id); /* NULL: not replicated to */
void raft_progress_sync(struct raft *r, const struct raft_configuration *c);
void raft_progress_new_entries(struct raft *r);
void raft_progress_probe(struct raft_follower *f, raft_index next);
void raft_progress_pipeline(struct raft_follower *f);
void raft_progress_snapshot(struct raft_follower *f);
bool raft_progress_may_append(const struct raft *r, const struct raft_follower *f);
void raft_progress_sent(const struct raft *r, struct raft_follower *f, uint32_t count);
void raft_progress_acknowledged(const struct raft *r, struct raft_follower *f, raft_index match);
void raft_progress_rounds(const struct raft *r, struct raft_follower *f);
bool raft_progress_caught_up(const struct raft *r, const struct raft_follower *f);
bool raft_progress_answers(const struct raft *r, const struct raft_follower *f);
void raft_progress_leave(struct raft *r, struct raft_follower *f);

/* replication.c, append.c */
void raft_replication_send(struct raft *r, struct raft_follower *f);
void raft_replication_send_all(struct raft *r);
void raft_replication_reply(struct raft *r, const struct raft_message *m);
void raft_replication_heartbeat_reply(struct raft *r, const struct raft_message *m);
void raft_replication_unreachable(struct raft *r, raft_id peer);
int raft_append_receive(struct raft *r, const struct raft_message *m);
void raft_append_heartbeat(struct raft *r, const struct raft_message *m);

/* configuration.c */
struct raft_member *raft_configuration_member(struct raft_configuration *c, raft_id id);
void raft_configuration_copy(struct raft_configuration *to, const struct raft_configuration *from);
bool raft_configuration_insert(struct raft_configuration *c, struct raft_member member);
void raft_configuration_remove(struct raft_configuration *c, raft_id id);
uint32_t raft_configuration_voters(const struct raft_configuration *c, uint32_t flag);
bool raft_configuration_sole_voter(const struct raft_configuration *c, raft_id id);
void raft_configuration_enter_joint(struct raft_configuration *c);
void raft_configuration_leave_joint(struct raft_configuration *c);

/* membership.c */
void raft_membership_reset(struct raft *r, const struct raft_configuration *c); /* c alone */
void raft_membership_push(struct raft *r, const struct raft_configuration *c);
void raft_membership_truncate(struct raft *r, raft_index from);
void raft_membership_compact(struct raft *r, raft_index index);
int raft_membership_change(struct raft *r, const struct raft_change *change);
bool raft_membership_advance(struct raft *r); /* leader: goes on with what the log says is due */
void raft_membership_notice(struct raft *r);  /* after every event: were we removed? */
int raft_membership_told(struct raft *r, raft_index index);

/* read_index.c */
int raft_read_index_add(struct raft *r, uint64_t id, bool lease);
void raft_read_index_asked(struct raft *r, const struct raft_message *m);
void raft_read_index_reply(struct raft *r, const struct raft_message *m);
void raft_read_index_advance(struct raft *r); /* leader */
void raft_read_index_open(
    struct raft *r);                      /* leader: what waits goes with the heartbeats sent now */
void raft_read_index_ask(struct raft *r); /* follower */
void raft_read_index_tick(struct raft *r); /* follower */
void raft_read_index_drop(struct raft *r);

/* snapshot.c */
int raft_snapshot_compacted(struct raft *r, const struct raft_snapshot *s);
int raft_snapshot_installed(struct raft *r, const struct raft_snapshot *s);
int raft_snapshot_sent(struct raft *r, raft_id peer, bool ok, raft_index index);

/* transfer.c */
int raft_transfer_start(struct raft *r, raft_id to);
void raft_transfer_advance(struct raft *r);
void raft_transfer_tick(struct raft *r);
void raft_transfer_stopped(struct raft *r); /* leadership is lost */
void raft_transfer_led(struct raft *r);     /* a leader is known, perhaps ourselves */
void raft_transfer_check(struct raft *r);   /* the configuration changed */
struct raft_follower *raft_transfer_best(struct raft *r);
void raft_transfer_hand_over(struct raft *r); /* TIMEOUT_NOW to the best voter, if any answers */
void raft_transfer_withheld(struct raft *r);  /* hands over once the best voter has it all */
void raft_transfer_timeout_now(struct raft *r, const struct raft_message *m);
void raft_transfer_reply(struct raft *r, const struct raft_message *m);

static inline bool raft_id_is_self(const struct raft *r, raft_id id)
{
    return id == r->options.id;
}

static inline const struct raft_configuration *raft_latest(const struct raft *r)
{
    return &r->configurations.items[r->configurations.count - 1];
}

#endif
