/* Leader election (§3.3, §3.4): terms, states and the counting of votes by one core; whole clusters
 * are in raft_campaign.c. */
#include <stdlib.h>

#include "tests/support/cluster.h"

static const enum raft_state states[] = {RAFT_FOLLOWER, RAFT_PRE_CANDIDATE, RAFT_CANDIDATE,
                                         RAFT_LEADER};
enum { STATES = 4 };

/* ---- terms (§3.3) ---- */

/* What says that its sender is in a later term, and whether the sender is that term's leader. */
static const struct {
    enum raft_message_type type;
    bool leads;
} later[] = {
    {RAFT_APPEND, true},        {RAFT_HEARTBEAT, true},        {RAFT_VOTE_REPLY, false},
    {RAFT_APPEND_REPLY, false}, {RAFT_HEARTBEAT_REPLY, false}, {RAFT_VOTE, false},
};

static void adopts_a_higher_term_as(enum raft_state state)
{
    for (size_t i = 0; i < sizeof(later) / sizeof(later[0]); i++) {
        if (later[i].type == RAFT_VOTE && state == RAFT_LEADER)
            continue; /* check-quorum: raft_checkquorum.c */
        case_row("%s, %s", raft_state_name(state), raft_message_name(later[i].type));
        struct cluster *c = cluster_new((struct cluster_plan){.alone = true, .vote = 1});
        cluster_become(c, 1, state);
        struct raft *r = cluster_core(c, 1);
        raft_term term = raft_term_current(r) + 3;
        cluster_feed(c, 1,
                     (struct raft_message){.type = later[i].type,
                                           .from = 2,
                                           .term = term,
                                           .prev_index = 1,
                                           .prev_term = 1,
                                           .last_index = 0});
        CHECK_EQ(raft_state(r), RAFT_FOLLOWER);
        CHECK_EQ(raft_term_current(r), term);
        CHECK_EQ(raft_leader(r), later[i].leads ? 2 : 0);
        CHECK_EQ(raft_vote(r), 0);
        CHECK_EQ(c->nodes[1].disk->term, term);
        CHECK_EQ(c->nodes[1].disk->vote, 0);
        cluster_free(c);
    }
}

static void follower_adopts_higher_term(void)
{
    adopts_a_higher_term_as(RAFT_FOLLOWER);
}

static void candidate_adopts_higher_term(void)
{
    adopts_a_higher_term_as(RAFT_PRE_CANDIDATE);
    adopts_a_higher_term_as(RAFT_CANDIDATE);
}

static void leader_adopts_higher_term(void)
{
    adopts_a_higher_term_as(RAFT_LEADER);
}

static void stale_requests_are_refused(void)
{
    static const enum raft_message_type requests[] = {RAFT_PRE_VOTE, RAFT_VOTE, RAFT_APPEND,
                                                      RAFT_HEARTBEAT, RAFT_TIMEOUT_NOW};
    for (int s = 0; s < STATES; s++) {
        for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
            case_row("%s, %s", raft_state_name(states[s]), raft_message_name(requests[i]));
            struct cluster *c = cluster_new((struct cluster_plan){.alone = true, .term = 5});
            cluster_become(c, 1, states[s]);
            struct raft *r = cluster_core(c, 1);
            raft_term term = raft_term_current(r);
            raft_index last = raft_last_index(r);
            cluster_tick(c, 1);
            uint64_t wake_us = c->nodes[1].wake_us;
            cluster_sleep(c, 1000);
            const struct raft_message *reply =
                cluster_feed(c, 1,
                             (struct raft_message){.type = requests[i],
                                                   .from = 2,
                                                   .term = 4,
                                                   .last_index = 100,
                                                   .last_term = 4,
                                                   .prev_index = 1,
                                                   .prev_term = 1,
                                                   .commit = last});
            REQUIRE(reply);
            CHECK_EQ(reply->term, term);
            CHECK(!reply->granted && !reply->accepted);
            CHECK_EQ(raft_state(r), states[s]);
            CHECK_EQ(raft_term_current(r), term);
            CHECK_EQ(raft_last_index(r), last);
            CHECK_EQ(raft_commit_index(r), 1);
            CHECK_EQ(raft_leader(r), states[s] == RAFT_LEADER ? 1 : 0);
            CHECK_EQ(c->nodes[1].wake_us, wake_us); /* the next election is not put off */
            cluster_free(c);
        }
    }
}

static void stale_replies_change_nothing(void)
{
    static const enum raft_message_type replies[] = {RAFT_VOTE_REPLY, RAFT_APPEND_REPLY,
                                                     RAFT_HEARTBEAT_REPLY};
    for (int s = 0; s < STATES; s++) {
        for (size_t i = 0; i < sizeof(replies) / sizeof(replies[0]); i++) {
            case_row("%s, %s", raft_state_name(states[s]), raft_message_name(replies[i]));
            struct cluster *c = cluster_new((struct cluster_plan){.alone = true, .term = 5});
            cluster_become(c, 1, states[s]);
            struct raft *r = cluster_core(c, 1);
            raft_term term = raft_term_current(r);
            for (raft_id from = 2; from <= 3; from++)
                cluster_feed(c, 1,
                             (struct raft_message){.type = replies[i],
                                                   .from = from,
                                                   .term = 4,
                                                   .granted = true,
                                                   .accepted = true,
                                                   .match_index = raft_last_index(r)});
            CHECK_EQ(raft_state(r), states[s]);
            CHECK_EQ(raft_term_current(r), term);
            CHECK_EQ(raft_commit_index(r), 1);
            cluster_free(c);
        }
    }
}

/* ---- states (Figure 3.3) ---- */

static void starts_as_follower(void)
{
    for (int restarted = 0; restarted <= 1; restarted++) {
        struct cluster *c = cluster_new(
            (struct cluster_plan){.alone = true, .restarted = restarted, .term = 7, .vote = 3});
        struct raft *r = cluster_core(c, 1);
        CHECK_EQ(raft_state(r), RAFT_FOLLOWER);
        CHECK_EQ(raft_term_current(r), 7);
        CHECK_EQ(raft_vote(r), 3);
        CHECK_EQ(raft_leader(r), 0);
        CHECK_EQ(raft_commit_index(r), 1);
        CHECK_EQ(c->packet_count, 0);
        cluster_free(c);
    }
}

static void follower_starts_election(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true, .voters = 5});
    struct raft *r = cluster_core(c, 1);
    cluster_become(c, 1, RAFT_PRE_CANDIDATE);
    CHECK_EQ(raft_term_current(r), 1); /* §9.6: not yet */
    cluster_become(c, 1, RAFT_CANDIDATE);
    CHECK_EQ(raft_term_current(r), 2);
    CHECK_EQ(raft_vote(r), 1);
    CHECK_EQ(raft_leader(r), 0);
    CHECK_EQ(c->nodes[1].disk->term, 2);
    CHECK_EQ(c->nodes[1].disk->vote, 1);
    for (raft_id peer = 2; peer <= 5; peer++) {
        const struct raft_message *vote = cluster_sent(c, RAFT_VOTE, 1, peer);
        REQUIRE(vote);
        CHECK_EQ(vote->term, 2);
        CHECK_EQ(cluster_count(c, RAFT_VOTE, 1, peer), 1);
    }
    cluster_free(c);
}

/* Without an answer the candidate begins anew: a pre-vote first (§9.6), then a new term. */
static void candidate_starts_new_election(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
    struct raft *r = cluster_core(c, 1);
    cluster_become(c, 1, RAFT_CANDIDATE);
    cluster_forget(c);
    c->now_us = c->nodes[1].wake_us;
    for (int i = 0; i < 10 && cluster_count(c, RAFT_PRE_VOTE, 1, 0) == 0; i++) {
        cluster_tick(c, 1);
        if (c->nodes[1].wake_us > c->now_us)
            c->now_us = c->nodes[1].wake_us;
    }
    CHECK_EQ(raft_state(r), RAFT_PRE_CANDIDATE);
    CHECK_EQ(raft_term_current(r), 2);
    cluster_become(c, 1, RAFT_CANDIDATE);
    CHECK_EQ(raft_term_current(r), 3);
    CHECK_EQ(raft_vote(r), 1);
    CHECK_EQ(cluster_count(c, RAFT_VOTE, 1, 0), 2);
    CHECK_EQ(cluster_sent(c, RAFT_VOTE, 1, 2)->term, 3);
    cluster_free(c);
}

static void leader_never_campaigns(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
    struct raft *r = cluster_core(c, 1);
    cluster_become_ready(c, 1);
    raft_term term = raft_term_current(r);
    cluster_feed(c, 1, (struct raft_message){.type = RAFT_TIMEOUT_NOW, .from = 2, .term = term});
    for (int i = 0; i < 100; i++) {
        cluster_sleep(c, HEARTBEAT);
        cluster_tick(c, 1);
        cluster_beat_reply(c, 1, 2, 0);
    }
    CHECK_EQ(raft_state(r), RAFT_LEADER);
    CHECK_EQ(raft_term_current(r), term);
    CHECK_EQ(cluster_count(c, RAFT_PRE_VOTE, 1, 0) + cluster_count(c, RAFT_VOTE, 1, 0), 0);
    cluster_free(c);
}

/* Figure 3.3: what moves a server from one state into another, and what does not. */
static void allowed_transitions(void)
{
    enum stimulus { NOTHING, TIMEOUT, GRANTED_PRE, GRANTED, LEADER_SAME_TERM, HIGHER_TERM };
    static const struct {
        enum raft_state from;
        enum stimulus stimulus;
        enum raft_state to;
    } table[] = {
        {RAFT_FOLLOWER, TIMEOUT, RAFT_PRE_CANDIDATE},
        {RAFT_FOLLOWER, GRANTED_PRE, RAFT_FOLLOWER},
        {RAFT_FOLLOWER, GRANTED, RAFT_FOLLOWER},
        {RAFT_FOLLOWER, LEADER_SAME_TERM, RAFT_FOLLOWER},
        {RAFT_FOLLOWER, HIGHER_TERM, RAFT_FOLLOWER},
        {RAFT_PRE_CANDIDATE, TIMEOUT, RAFT_PRE_CANDIDATE},
        {RAFT_PRE_CANDIDATE, GRANTED_PRE, RAFT_CANDIDATE},
        {RAFT_PRE_CANDIDATE, GRANTED, RAFT_PRE_CANDIDATE},
        {RAFT_PRE_CANDIDATE, LEADER_SAME_TERM, RAFT_FOLLOWER},
        {RAFT_PRE_CANDIDATE, HIGHER_TERM, RAFT_FOLLOWER},
        {RAFT_CANDIDATE, TIMEOUT, RAFT_PRE_CANDIDATE},
        {RAFT_CANDIDATE, GRANTED_PRE, RAFT_CANDIDATE},
        {RAFT_CANDIDATE, GRANTED, RAFT_LEADER},
        {RAFT_CANDIDATE, LEADER_SAME_TERM, RAFT_FOLLOWER},
        {RAFT_CANDIDATE, HIGHER_TERM, RAFT_FOLLOWER},
        {RAFT_LEADER, GRANTED_PRE, RAFT_LEADER},
        {RAFT_LEADER, GRANTED, RAFT_LEADER},
        {RAFT_LEADER, TIMEOUT, RAFT_FOLLOWER}, /* no quorum heard for an election timeout (§6.2) */
        {RAFT_LEADER, HIGHER_TERM, RAFT_FOLLOWER},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        case_row("row %zu, %s", i, raft_state_name(table[i].from));
        struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
        struct raft *r = cluster_core(c, 1);
        cluster_become(c, 1, table[i].from);
        raft_term term = raft_term_current(r);
        struct raft_message m = {.from = 2, .term = term, .granted = true};
        switch (table[i].stimulus) {
        case NOTHING: break;
        case TIMEOUT:
            for (int k = 0; k < 25 && raft_state(r) == table[i].from; k++) {
                cluster_sleep(c, HEARTBEAT);
                cluster_tick(c, 1);
            }
            break;
        case GRANTED_PRE:
            m.type = RAFT_PRE_VOTE_REPLY;
            m.term = term + 1;
            cluster_feed(c, 1, m);
            break;
        case GRANTED:
            m.type = RAFT_VOTE_REPLY;
            cluster_feed(c, 1, m);
            break;
        case LEADER_SAME_TERM: cluster_append(c, 1, APPEND(2, term, 1, 1, NULL, 1)); break;
        case HIGHER_TERM: cluster_append(c, 1, APPEND(2, term + 1, 1, 1, NULL, 1)); break;
        }
        CHECK_EQ(raft_state(r), table[i].to);
        cluster_free(c);
    }
}

static void candidate_concedes(void)
{
    static const enum raft_message_type claims[] = {RAFT_APPEND, RAFT_HEARTBEAT};
    for (int i = 0; i < 8; i++) {
        enum raft_state state = i & 1 ? RAFT_CANDIDATE : RAFT_PRE_CANDIDATE;
        raft_term ahead = i & 2 ? 1 : 0;
        case_row("%s, %s, %u terms ahead", raft_state_name(state), raft_message_name(claims[i / 4]),
                 (unsigned)ahead);
        struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
        struct raft *r = cluster_core(c, 1);
        cluster_become(c, 1, state);
        raft_term term = raft_term_current(r) + ahead;
        const struct raft_message *reply = cluster_feed(
            c, 1,
            (struct raft_message){
                .type = claims[i / 4], .from = 3, .term = term, .prev_index = 1, .prev_term = 1});
        REQUIRE(reply);
        CHECK_EQ(reply->term, term);
        CHECK_EQ(raft_state(r), RAFT_FOLLOWER);
        CHECK_EQ(raft_term_current(r), term);
        CHECK_EQ(raft_leader(r), 3);
        cluster_free(c);
    }
}

/* ---- votes counted (§3.4) ---- */

static void one_round(void)
{
    static const struct {
        uint32_t voters, granted, refused;
        enum raft_state state;
    } table[] = {
        /* it wins with a majority, itself included */
        {1, 0, 0, RAFT_LEADER},
        {2, 1, 0, RAFT_LEADER},
        {3, 2, 0, RAFT_LEADER},
        {3, 1, 0, RAFT_LEADER},
        {4, 2, 1, RAFT_LEADER},
        {5, 4, 0, RAFT_LEADER},
        {5, 3, 1, RAFT_LEADER},
        {5, 2, 2, RAFT_LEADER},
        {6, 3, 2, RAFT_LEADER},
        {7, 3, 3, RAFT_LEADER},
        /* it has lost, and waits for the winner or its next timeout */
        {2, 0, 1, RAFT_FOLLOWER},
        {3, 0, 2, RAFT_FOLLOWER},
        {4, 1, 2, RAFT_FOLLOWER},
        {5, 0, 4, RAFT_FOLLOWER},
        {5, 1, 3, RAFT_FOLLOWER},
        {5, 0, 3, RAFT_FOLLOWER},
        /* open */
        {3, 0, 0, RAFT_CANDIDATE},
        {3, 0, 1, RAFT_CANDIDATE},
        {4, 1, 0, RAFT_CANDIDATE},
        {4, 1, 1, RAFT_CANDIDATE},
        {5, 1, 0, RAFT_CANDIDATE},
        {5, 0, 2, RAFT_CANDIDATE},
        {5, 1, 2, RAFT_CANDIDATE},
        {6, 2, 2, RAFT_CANDIDATE},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        case_row("%u voters, %u granted, %u refused", table[i].voters, table[i].granted,
                 table[i].refused);
        struct cluster *c =
            cluster_new((struct cluster_plan){.alone = true, .voters = table[i].voters});
        struct raft *r = cluster_core(c, 1);
        cluster_become(c, 1, table[i].voters == 1 ? RAFT_LEADER : RAFT_CANDIDATE);
        raft_id from = 2;
        for (uint32_t k = 0; k < table[i].granted + table[i].refused; k++, from++) {
            struct raft_message m = {
                .type = RAFT_VOTE_REPLY, .from = from, .term = 2, .granted = k < table[i].granted};
            for (int twice = 0; twice < 2; twice++) /* a reply that comes twice counts once */
                cluster_feed(c, 1, m);
        }
        CHECK_EQ(raft_state(r), table[i].state);
        CHECK_EQ(raft_term_current(r), 2);
        cluster_free(c);
    }
}

static void one_vote_a_term(void)
{
    static const struct {
        raft_id voted, asks;
        bool granted;
    } table[] = {{0, 2, true},  {0, 3, true},  {2, 2, true}, {3, 3, true},
                 {2, 3, false}, {3, 2, false}, {1, 2, false}};
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        case_row("row %zu", i);
        struct cluster *c =
            cluster_new((struct cluster_plan){.alone = true, .term = 4, .vote = table[i].voted});
        const struct raft_message *reply = cluster_feed(c, 1,
                                                        (struct raft_message){.type = RAFT_VOTE,
                                                                              .from = table[i].asks,
                                                                              .term = 4,
                                                                              .last_index = 1,
                                                                              .last_term = 1});
        REQUIRE(reply);
        CHECK_EQ(reply->granted, table[i].granted);
        CHECK_EQ(reply->term, 4);
        CHECK_EQ(raft_vote(cluster_core(c, 1)), table[i].granted ? table[i].asks : table[i].voted);
        CHECK_EQ(c->nodes[1].disk->vote, table[i].granted ? table[i].asks : table[i].voted);
        cluster_free(c);
    }
}

static const struct test_case cases[] = {
    {"§3.3 a follower adopts a higher term", follower_adopts_higher_term},
    {"§3.3 a candidate adopts a higher term and follows", candidate_adopts_higher_term},
    {"§3.3 a leader adopts a higher term and follows", leader_adopts_higher_term},
    {"§3.3 a request of a stale term is refused with the current term", stale_requests_are_refused},
    {"§3.3 a reply of a stale term changes nothing", stale_replies_change_nothing},
    {"§3.4 a server starts as a follower", starts_as_follower},
    {"§3.4 a follower that hears nobody starts an election", follower_starts_election},
    {"§3.4 a candidate whose election times out starts another", candidate_starts_new_election},
    {"§3.4 a leader never campaigns", leader_never_campaigns},
    {"§3.4 Figure 3.3: the allowed changes of state", allowed_transitions},
    {"§3.4 a candidate concedes to a leader of its term or later", candidate_concedes},
    {"§3.4 one round of votes is won, lost, or open", one_round},
    {"§3.4 one vote a term, first come first served", one_vote_a_term},
};

CASES_MAIN(cases)
