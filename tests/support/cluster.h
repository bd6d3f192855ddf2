/*
 * The virtual cluster of lib/sim/cluster.h as a fixture: a breach fails the running test case and
 * shows what the cores decided last. And for a core that is alone in it, the peers that the test
 * plays.
 */
#ifndef RAFTKV_TESTS_SUPPORT_CLUSTER_H
#define RAFTKV_TESTS_SUPPORT_CLUSTER_H

#include "lib/sim/cluster.h"
#include "tests/support/cases.h"

enum {
    ELECTION_TIMEOUT = CLUSTER_ELECTION_TIMEOUT_US,
    HEARTBEAT = CLUSTER_HEARTBEAT_US,
    CLUSTER_START = CLUSTER_START_US,
};

#define ANY        CLUSTER_ANY
#define TERMS(...) ((const raft_term[]){__VA_ARGS__, 0})

struct cluster *cluster_new(struct cluster_plan plan);
void cluster_free(struct cluster *c);
/* Whether the terms of the log in memory from `first` on are exactly these. */
bool cluster_log_is(const struct cluster *c, raft_id id, raft_index first, const raft_term *terms);
void configuration_add(struct raft_configuration *configuration, raft_id id, uint32_t flags);

/* Time passes until `id` leads, nobody else getting a pre-vote, and its no-op is committed. Fails
 * the case if it never does. */
void cluster_elect(struct cluster *c, raft_id id);
/* Brings a lone core into a state, the test's votes helping. */
void cluster_become(struct cluster *c, raft_id id, enum raft_state state);
/* … and into a leader whose no-op is committed by everybody's acknowledgement; its messages are
 * forgotten. */
void cluster_become_ready(struct cluster *c, raft_id id);

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

#endif
