/* Granting votes (§3.4, §3.6.1): who may be elected, and that a vote is on disk before it is given.
 */
#include "tests/support/cluster.h"

static struct raft_message vote_from(raft_id from, raft_term term, raft_index last_index,
                                     raft_term last_term)
{
    return (struct raft_message){.type = RAFT_VOTE,
                                 .from = from,
                                 .term = term,
                                 .last_index = last_index,
                                 .last_term = last_term};
}

/* ---- the election restriction (§3.6.1) ---- */

/* The candidate's log against ours; Raft decides by the term of the last entry, then by length. */
static const struct {
    raft_term ours[6];
    raft_index index; /* of the candidate's last entry */
    raft_term term;
    bool up_to_date;
} logs[] = {
    /* the same term */
    {{1}, 1, 1, true},
    {{1}, 2, 1, true},
    {{1, 1}, 1, 1, false},
    {{1, 1, 1}, 3, 1, true},
    {{1, 1, 1}, 4, 1, true},
    {{1, 1, 1}, 2, 1, false},
    /* a later term wins over length */
    {{1}, 1, 2, true},
    {{1}, 2, 2, true},
    {{1, 1, 1}, 1, 2, true},
    {{1, 1, 1, 1, 1}, 2, 3, true},
    {{1, 2, 2}, 2, 3, true},
    {{1, 2, 2}, 2, 2, false},
    {{1, 2, 2}, 3, 2, true},
    {{1, 2, 2}, 4, 2, true},
    {{1, 2}, 1, 1, false},
    {{1, 2}, 2, 1, false},
    {{1, 1, 2}, 5, 1, false},
    {{1, 2, 3}, 5, 2, false},
    /* nothing at all */
    {{1}, 0, 0, false},
};
enum { LOGS = sizeof(logs) / sizeof(logs[0]) };

static void up_to_date_logs(void)
{
    for (size_t i = 0; i < LOGS; i++) {
        case_row("candidate (%u,%u), row %zu", (unsigned)logs[i].index, (unsigned)logs[i].term, i);
        struct cluster *c =
            cluster_new((struct cluster_plan){.alone = true, .log = logs[i].ours, .term = 3});
        const struct raft_message *reply =
            cluster_feed(c, 1, vote_from(2, 4, logs[i].index, logs[i].term));
        REQUIRE(reply);
        CHECK_EQ(reply->granted, logs[i].up_to_date);
        CHECK_EQ(reply->term, 4);
        CHECK_EQ(raft_term_current(cluster_core(c, 1)), 4); /* adopted, granted or not */
        CHECK_EQ(raft_vote(cluster_core(c, 1)), logs[i].up_to_date ? 2 : 0);
        CHECK_EQ(c->nodes[1].disk->vote, logs[i].up_to_date ? 2 : 0);
        cluster_free(c);
    }
}

static void pre_votes_the_same(void)
{
    for (size_t i = 0; i < LOGS; i++) {
        case_row("candidate (%u,%u), row %zu", (unsigned)logs[i].index, (unsigned)logs[i].term, i);
        struct cluster *c =
            cluster_new((struct cluster_plan){.alone = true, .log = logs[i].ours, .term = 3});
        struct raft_message m = vote_from(2, 4, logs[i].index, logs[i].term);
        m.type = RAFT_PRE_VOTE;
        const struct raft_message *reply = cluster_feed(c, 1, m);
        REQUIRE(reply);
        CHECK_EQ(reply->granted, logs[i].up_to_date);
        CHECK_EQ(raft_term_current(cluster_core(c, 1)), 3);
        CHECK_EQ(raft_vote(cluster_core(c, 1)), 0);
        cluster_free(c);
    }
}

/* The last entry of a log that a snapshot has replaced is the snapshot's. */
static void compacted_log_counts(void)
{
    for (raft_index index = 3; index <= 5; index++) {
        struct cluster *c = cluster_new(
            (struct cluster_plan){.alone = true, .log = TERMS(1, 2, 2, 2), .term = 3, .commit = 4});
        cluster_compact(c, 1, 4);
        CHECK_EQ(raft_first_index(cluster_core(c, 1)), 5);
        const struct raft_message *reply = cluster_feed(c, 1, vote_from(2, 4, index, 2));
        REQUIRE(reply);
        CHECK_EQ(reply->granted, index >= 4);
        cluster_free(c);
    }
}

static void request_describes_the_log(void)
{
    const struct {
        const raft_term *log;
        raft_index index;
        raft_term term;
    } table[] = {{TERMS(1), 1, 1}, {TERMS(1, 1, 2), 3, 2}, {TERMS(1, 4, 4, 4), 4, 4}};
    for (size_t i = 0; i < 3; i++) {
        struct cluster *c = cluster_new((struct cluster_plan){
            .alone = true, .voters = 5, .learners = 1, .log = table[i].log, .term = 6});
        cluster_become(c, 1, RAFT_PRE_CANDIDATE);
        for (raft_id peer = 2; peer <= 5; peer++) {
            const struct raft_message *m = cluster_sent(c, RAFT_PRE_VOTE, 1, peer);
            REQUIRE(m);
            CHECK_EQ(m->term, 7);
            CHECK_EQ(m->last_index, table[i].index);
            CHECK_EQ(m->last_term, table[i].term);
        }
        cluster_become(c, 1, RAFT_CANDIDATE);
        for (raft_id peer = 2; peer <= 5; peer++) {
            const struct raft_message *m = cluster_sent(c, RAFT_VOTE, 1, peer);
            REQUIRE(m);
            CHECK_EQ(m->term, 7);
            CHECK_EQ(m->last_index, table[i].index);
            CHECK_EQ(m->last_term, table[i].term);
            CHECK(!m->transfer);
        }
        CHECK_EQ(cluster_count(c, ANY, 1, 6), 0); /* a learner is not asked */
        cluster_free(c);
    }
}

/* ---- state, vote and term together ---- */

/* By state, vote given before and the candidate's log (1,1), (2,1) or (2,2), ours being (2,1) in
 * term 3. */
static void matrix(void)
{
    const struct {
        enum raft_state state;
        raft_index index;
        raft_term term;
        raft_id voted;
        bool granted;
    } table[] = {
        {RAFT_FOLLOWER, 0, 0, 0, false},      {RAFT_FOLLOWER, 1, 1, 0, false},
        {RAFT_FOLLOWER, 2, 1, 0, true},       {RAFT_FOLLOWER, 3, 1, 0, true},
        {RAFT_FOLLOWER, 1, 2, 0, true},       {RAFT_FOLLOWER, 2, 1, 2, true},
        {RAFT_FOLLOWER, 2, 1, 3, false},      {RAFT_FOLLOWER, 3, 2, 3, false},
        {RAFT_PRE_CANDIDATE, 2, 1, 0, true},  {RAFT_PRE_CANDIDATE, 1, 1, 0, false},
        {RAFT_PRE_CANDIDATE, 3, 2, 3, false}, {RAFT_CANDIDATE, 3, 2, 1, false},
        {RAFT_LEADER, 3, 2, 1, false},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        case_row("row %zu, %s", i, raft_state_name(table[i].state));
        bool elected = table[i].state >= RAFT_CANDIDATE;
        struct cluster *c =
            cluster_new((struct cluster_plan){.alone = true,
                                              .log = TERMS(1, 1),
                                              .term = elected ? 2 : 3,
                                              .vote = elected ? 0 : table[i].voted});
        cluster_become(c, 1, table[i].state);
        const struct raft_message *reply =
            cluster_feed(c, 1, vote_from(2, 3, table[i].index, table[i].term));
        REQUIRE(reply);
        CHECK_EQ(reply->granted, table[i].granted);
        CHECK_EQ(raft_state(cluster_core(c, 1)),
                 table[i].granted ? RAFT_FOLLOWER
                                  : table[i].state); /* who has given its vote, waits */
        CHECK_EQ(raft_vote(cluster_core(c, 1)), table[i].granted ? 2 : table[i].voted);
        cluster_free(c);
    }
}

/* A later term's request is granted whatever one was, and leaves a follower. (A leader's quorum
 * protects it: §6.2.) */
static void from_any_state(void)
{
    static const enum raft_state from[] = {RAFT_FOLLOWER, RAFT_PRE_CANDIDATE, RAFT_CANDIDATE};
    for (size_t i = 0; i < 3; i++) {
        case_row("%s", raft_state_name(from[i]));
        struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
        struct raft *r = cluster_core(c, 1);
        cluster_become(c, 1, from[i]);
        raft_term term = raft_term_current(r) + 1;
        const struct raft_message *reply = cluster_feed(c, 1, vote_from(2, term, 9, term - 1));
        REQUIRE(reply);
        CHECK(reply->granted);
        CHECK_EQ(reply->term, term);
        CHECK_EQ(raft_state(r), RAFT_FOLLOWER);
        CHECK_EQ(raft_term_current(r), term);
        CHECK_EQ(raft_vote(r), 2);
        CHECK_EQ(raft_leader(r), 0);
        cluster_free(c);
    }
}

/* After stepping down within a term, a candidate or leader has still voted for itself in it (CCF
 * 5891). */
static void former_candidate_votes_once(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
    struct raft *r = cluster_core(c, 1);
    cluster_become(c, 1, RAFT_CANDIDATE);
    cluster_append(c, 1, APPEND(3, 2, 1, 1, NULL, 1));
    CHECK_EQ(raft_state(r), RAFT_FOLLOWER);
    CHECK_EQ(raft_vote(r), 1);
    cluster_sleep(c, 3 * ELECTION_TIMEOUT);
    const struct raft_message *reply = cluster_feed(c, 1, vote_from(2, 2, 9, 2));
    REQUIRE(reply);
    CHECK(!reply->granted);
    CHECK_EQ(raft_vote(r), 1);
    cluster_free(c);
}

/* In a term whose leader is known every vote has been decided already. */
static void none_beside_a_leader(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
    cluster_append(c, 1, APPEND(2, 2, 1, 1, TERMS(2), 1));
    CHECK_EQ(raft_vote(cluster_core(c, 1)), 0);
    cluster_sleep(c, 3 * ELECTION_TIMEOUT); /* no promise holds any more */
    const struct raft_message *reply = cluster_feed(c, 1, vote_from(3, 2, 9, 2));
    REQUIRE(reply);
    CHECK(!reply->granted);
    CHECK_EQ(raft_vote(cluster_core(c, 1)), 0);
    cluster_free(c);
}

/* One who was refused must not keep better candidates waiting. */
static void granting_puts_off_the_timeout(void)
{
    for (int granted = 0; granted <= 1; granted++) {
        struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
        cluster_append(c, 1, APPEND(2, 1, 1, 1, NULL, 1));
        uint64_t wake = c->nodes[1].wake_us;
        cluster_sleep(c, ELECTION_TIMEOUT);
        const struct raft_message *reply =
            cluster_feed(c, 1, vote_from(2, 2, granted ? 1 : 0, granted ? 1 : 0));
        REQUIRE(reply);
        CHECK_EQ(reply->granted, granted);
        if (granted)
            CHECK(c->nodes[1].wake_us >= c->now_us + ELECTION_TIMEOUT);
        else
            CHECK_EQ(c->nodes[1].wake_us, wake);
        cluster_free(c);
    }
}

/* A learner that does not know yet that it is a voter must vote, or the cluster can get stuck (etcd
 * 10998). */
static void learner_votes(void)
{
    struct raft_configuration configuration = {.index = 1};
    configuration_add(&configuration, 1, 0);
    configuration_add(&configuration, 2, RAFT_VOTER);
    configuration_add(&configuration, 3, RAFT_VOTER);
    struct cluster *c = cluster_new(
        (struct cluster_plan){.alone = true, .configuration = &configuration, .log = TERMS(1, 1)});
    const struct raft_message *reply = cluster_feed(c, 1, vote_from(2, 2, 2, 1));
    REQUIRE(reply);
    CHECK(reply->granted);
    CHECK_EQ(raft_vote(cluster_core(c, 1)), 2);
    reply = cluster_feed(c, 1, vote_from(3, 2, 2, 1));
    REQUIRE(reply);
    CHECK(!reply->granted);
    cluster_free(c);
}

/* The cluster of that trap: a voter is dead, and the node that was promoted has only the log before
 * its promotion. */
static void learner_that_must_vote(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.voters = 2, .learners = 1});
    cluster_elect(c, 1);
    cluster_settle(c);
    cluster_cut(c, 1, 3); /* the promotion does not reach 3, but its acknowledgements count: it
                             commits on 1 and 2 */
    REQUIRE(cluster_change(c, 1, (struct raft_change){.kind = RAFT_PROMOTE, .id = 3}) == 0);
    cluster_settle(c);
    const struct raft_configuration *known = raft_configuration_latest(cluster_core(c, 2));
    REQUIRE(raft_configuration_is_voter(known, 3));
    CHECK(!raft_configuration_is_voter(raft_configuration_latest(cluster_core(c, 3)), 3));
    cluster_crash(c, 1);
    cluster_elect(c, 2); /* needs the vote of 3 */
    cluster_run(c, ELECTION_TIMEOUT);
    CHECK(raft_configuration_is_voter(raft_configuration_latest(cluster_core(c, 3)), 3));
    CHECK_EQ(raft_commit_index(cluster_core(c, 3)), raft_last_index(cluster_core(c, 2)));
    cluster_free(c);
}

static void vote_outlives_restart(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
    const struct raft_message *reply = cluster_feed(c, 1, vote_from(2, 2, 1, 1));
    REQUIRE(reply && reply->granted);
    cluster_restart(c, 1);
    CHECK_EQ(raft_vote(cluster_core(c, 1)), 2);
    cluster_sleep(c, 2 * ELECTION_TIMEOUT);
    reply = cluster_feed(c, 1, vote_from(3, 2, 9, 9));
    REQUIRE(reply);
    CHECK(!reply->granted);
    reply = cluster_feed(
        c, 1,
        vote_from(2, 2, 1, 1)); /* the same candidate asks again: the reply may have been lost */
    REQUIRE(reply);
    CHECK(reply->granted);
    cluster_free(c);
}

/* A restarted server may have promised its last leader not to vote (§6.4.1): it waits for a
 * timeout; a new one need not. */
static void restarted_server_waits(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true, .restarted = true});
    for (uint64_t waited = 0; waited < ELECTION_TIMEOUT; waited += ELECTION_TIMEOUT / 4) {
        const struct raft_message *reply = cluster_feed(c, 1, vote_from(2, 2, 9, 9));
        REQUIRE(reply);
        CHECK(!reply->granted);
        struct raft_message m = vote_from(2, 2, 9, 9);
        m.type = RAFT_PRE_VOTE;
        reply = cluster_feed(c, 1, m);
        REQUIRE(reply);
        CHECK(!reply->granted);
        cluster_sleep(c, ELECTION_TIMEOUT / 4);
    }
    cluster_sleep(c, 1);
    const struct raft_message *reply = cluster_feed(c, 1, vote_from(2, 2, 9, 9));
    REQUIRE(reply);
    CHECK(reply->granted);
    cluster_free(c);
    c = cluster_new((struct cluster_plan){.alone = true});
    reply = cluster_feed(c, 1, vote_from(2, 2, 9, 9));
    REQUIRE(reply);
    CHECK(reply->granted);
    cluster_free(c);
}

/* ---- durability (§3.8) ---- */

static void vote_is_durable_before_the_reply(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
    cluster_disk_hold(c, 1);
    CHECK(!cluster_feed(c, 1, vote_from(2, 2, 1, 1)));
    CHECK_EQ(c->nodes[1].disk->vote, 0);
    CHECK_EQ(c->packet_count, 0);
    cluster_disk_release(c, 1);
    const struct raft_message *reply = cluster_replied(c);
    REQUIRE(reply);
    CHECK(reply->granted);
    CHECK_EQ(c->nodes[1].disk->vote, 2);
    cluster_free(c);
}

/* It promises nothing, so nobody is kept waiting; the term gets to the disk with the next write all
 * the same. */
static void refusal_does_not_wait(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true, .log = TERMS(1, 1)});
    cluster_disk_hold(c, 1);
    const struct raft_message *reply = cluster_feed(c, 1, vote_from(2, 5, 1, 1));
    REQUIRE(reply);
    CHECK(!reply->granted);
    CHECK_EQ(reply->term, 5);
    CHECK_EQ(c->nodes[1].disk->term, 1);
    /* … and what does promise something waits for the term too. */
    CHECK(!cluster_feed(c, 1, vote_from(3, 5, 2, 1)));
    cluster_disk_release(c, 1);
    reply = cluster_replied(c);
    REQUIRE(reply);
    CHECK(reply->granted);
    CHECK_EQ(c->nodes[1].disk->term, 5);
    CHECK_EQ(c->nodes[1].disk->vote, 3);
    cluster_free(c);
}

/* Crash before the vote is on disk: it was never given, and another may have it. */
static void vote_lost_with_the_disk(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
    cluster_disk_hold(c, 1);
    cluster_feed(c, 1, vote_from(2, 2, 1, 1));
    cluster_crash(c, 1);
    cluster_restart(c, 1);
    CHECK_EQ(raft_vote(cluster_core(c, 1)), 0);
    CHECK_EQ(raft_term_current(cluster_core(c, 1)), 1);
    cluster_sleep(c, 2 * ELECTION_TIMEOUT);
    const struct raft_message *reply = cluster_feed(c, 1, vote_from(3, 2, 1, 1));
    REQUIRE(reply);
    CHECK(reply->granted);
    cluster_free(c);
}

/* The same election, step by step: vote on disk, then the answer; no-op appended; commit index
 * handed on. */
static void election_step_by_step(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.voters = 3});
    for (raft_id id = 1; id <= 3; id++)
        cluster_disk_hold(c, id);
    c->now_us = c->nodes[1].wake_us;
    for (int i = 0; i < 5 && raft_state(cluster_core(c, 1)) == RAFT_FOLLOWER;
         i++, c->now_us = c->nodes[1].wake_us)
        cluster_tick(c, 1);
    REQUIRE(cluster_pass(c, RAFT_PRE_VOTE, 1, 2));
    REQUIRE(cluster_pass(c, RAFT_PRE_VOTE_REPLY, 2, 1)); /* nothing to save for it */
    CHECK_EQ(raft_state(cluster_core(c, 1)), RAFT_CANDIDATE);
    cluster_disk_release(c, 1);
    REQUIRE(cluster_pass(c, RAFT_VOTE, 1, 2));
    CHECK_EQ(cluster_count(c, RAFT_VOTE_REPLY, 2, 1), 0);
    CHECK(cluster_disk_step(c, 2));
    CHECK_EQ(c->nodes[2].disk->vote, 1);
    CHECK_EQ(cluster_count(c, RAFT_VOTE_REPLY, 2, 1), 1);
    REQUIRE(cluster_pass(c, RAFT_VOTE_REPLY, 2, 1));
    CHECK_EQ(raft_state(cluster_core(c, 1)), RAFT_LEADER);
    CHECK_EQ(cluster_entry(c, 1, 2)->kind, RAFT_NOOP);
    CHECK_EQ(raft_commit_index(cluster_core(c, 1)), 1);
    REQUIRE(cluster_pass(c, RAFT_APPEND, 1, 2));
    CHECK_EQ(cluster_count(c, RAFT_APPEND_REPLY, 2, 1), 0);
    CHECK(cluster_disk_step(c, 2));
    REQUIRE(cluster_pass(c, RAFT_APPEND_REPLY, 2, 1));
    CHECK_EQ(raft_commit_index(cluster_core(c, 1)), 2);
    CHECK_EQ(raft_commit_index(cluster_core(c, 2)), 1);
    cluster_disk_release(c, 2);
    cluster_disk_release(c, 3);
    cluster_run(c, 2 * HEARTBEAT);
    CHECK_EQ(raft_commit_index(cluster_core(c, 2)), 2);
    CHECK_EQ(raft_commit_index(cluster_core(c, 3)), 2);
    cluster_free(c);
}

static const struct test_case cases[] = {
    {"§3.6.1 a vote goes only to a log that is at least as up-to-date", up_to_date_logs},
    {"§9.6 a pre-vote goes only to a log that is at least as up-to-date", pre_votes_the_same},
    {"§3.6.1 the end of a compacted log is the snapshot's", compacted_log_counts},
    {"§3.6.1 the request describes the candidate's log, to every voter", request_describes_the_log},
    {"§3.4 granted by state, vote given before, and log", matrix},
    {"§3.4 a later term's request is granted from any state", from_any_state},
    {"§3.4 a former candidate has voted for itself in its term", former_candidate_votes_once},
    {"§3.4 no vote in a term whose leader is known", none_beside_a_leader},
    {"§3.4 a vote granted puts off the own election, a refused one does not",
     granting_puts_off_the_timeout},
    {"§4.2.1 a learner grants a valid request", learner_votes},
    {"§4.2.1 a voter that does not know yet that it is one must vote", learner_that_must_vote},
    {"§3.8 a vote outlives a restart, and is repeated to the same candidate",
     vote_outlives_restart},
    {"§6.4.1 a restarted server neither votes nor pre-votes for a timeout", restarted_server_waits},
    {"§3.8 a vote is durable before it is given", vote_is_durable_before_the_reply},
    {"§3.8 a refusal waits for no disk", refusal_does_not_wait},
    {"§3.8 a vote not yet durable is lost in a crash, and was never given",
     vote_lost_with_the_disk},
    {"§3.4 an election step by step", election_step_by_step},
};

CASES_MAIN(cases)
