/* Pre-vote (§9.6): a server asks whether it would be elected before it uses up a term. */
#include "tests/support/cluster.h"

static struct raft_message pre_vote(raft_id from, raft_term term, raft_index last_index,
                                    raft_term last_term)
{
    return (struct raft_message){.type = RAFT_PRE_VOTE,
                                 .from = from,
                                 .term = term,
                                 .last_index = last_index,
                                 .last_term = last_term};
}

static void leaves_no_trace(void)
{
    static const enum raft_state states[] = {RAFT_FOLLOWER, RAFT_PRE_CANDIDATE, RAFT_CANDIDATE,
                                             RAFT_LEADER};
    for (int s = 0; s < 4; s++) {
        case_row("%s", raft_state_name(states[s]));
        struct cluster *c = cluster_new((struct cluster_plan){.alone = true, .voters = 5});
        struct raft *r = cluster_core(c, 1);
        cluster_become(c, 1, states[s]);
        raft_term term = raft_term_current(r);
        raft_id vote = raft_vote(r);
        raft_id disk_vote = c->nodes[1].disk->vote;
        for (raft_id from = 2; from <= 3; from++) { /* any number may have one: it is no vote */
            const struct raft_message *reply =
                cluster_feed(c, 1, pre_vote(from, term + 1, 9, term));
            REQUIRE(reply);
            CHECK_EQ(reply->granted, states[s] != RAFT_LEADER);
        }
        CHECK_EQ(raft_state(r), states[s]);
        CHECK_EQ(raft_term_current(r), term);
        CHECK_EQ(raft_vote(r), vote);
        CHECK_EQ(c->nodes[1].disk->vote, disk_vote);
        cluster_free(c);
    }
}

/* Whether one has voted in an earlier or the current term is nothing to a later one. */
static void vote_given_does_not_matter(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true, .term = 4, .vote = 3});
    const struct raft_message *reply = cluster_feed(c, 1, pre_vote(2, 5, 1, 1));
    REQUIRE(reply);
    CHECK(reply->granted);
    CHECK_EQ(raft_vote(cluster_core(c, 1)), 3);
    cluster_free(c);
}

static void no_term_without_majority(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.voters = 5});
    cluster_elect(c, 1);
    raft_term term = raft_term_current(cluster_core(c, 1));
    cluster_isolate(c, 5);
    cluster_run(c, 30 * ELECTION_TIMEOUT);
    CHECK_EQ(raft_term_current(cluster_core(c, 5)), term);
    CHECK_EQ(raft_state(cluster_core(c, 5)), RAFT_PRE_CANDIDATE);
    cluster_heal(c); /* and so it disturbs nobody on its return */
    cluster_run(c, 5 * ELECTION_TIMEOUT);
    CHECK_EQ(cluster_leader(c), 1);
    CHECK_EQ(raft_term_current(cluster_core(c, 1)), term);
    CHECK_EQ(raft_leader(cluster_core(c, 5)), 1);
    cluster_free(c);
}

static void counts_a_majority(void)
{
    static const struct {
        uint32_t voters, granted, refused;
        enum raft_state state;
    } table[] = {{3, 1, 0, RAFT_CANDIDATE},     {3, 0, 1, RAFT_PRE_CANDIDATE},
                 {5, 2, 0, RAFT_CANDIDATE},     {5, 2, 2, RAFT_CANDIDATE},
                 {5, 1, 2, RAFT_PRE_CANDIDATE}, {4, 1, 0, RAFT_PRE_CANDIDATE},
                 {4, 2, 1, RAFT_CANDIDATE}};
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        case_row("row %zu", i);
        struct cluster *c =
            cluster_new((struct cluster_plan){.alone = true, .voters = table[i].voters});
        cluster_become(c, 1, RAFT_PRE_CANDIDATE);
        raft_id from = 2;
        /* Refusals first: else the candidacy has begun before they come. */
        for (uint32_t k = 0; k < table[i].refused + table[i].granted; k++, from++) {
            bool granted = k >= table[i].refused;
            for (int twice = 0; twice < 2; twice++)
                cluster_feed(c, 1,
                             (struct raft_message){.type = RAFT_PRE_VOTE_REPLY,
                                                   .from = from,
                                                   .term = granted ? 2 : 1,
                                                   .granted = granted});
        }
        CHECK_EQ(raft_state(cluster_core(c, 1)), table[i].state);
        CHECK_EQ(raft_term_current(cluster_core(c, 1)), table[i].state == RAFT_CANDIDATE ? 2 : 1);
        cluster_free(c);
    }
}

/* A pre-vote that comes late, or in another round, is no vote. */
static void stale_pre_votes_do_not_elect(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true, .voters = 5});
    struct raft *r = cluster_core(c, 1);
    cluster_become(c, 1, RAFT_CANDIDATE);
    for (raft_id from = 2; from <= 5; from++)
        cluster_feed(c, 1,
                     (struct raft_message){
                         .type = RAFT_PRE_VOTE_REPLY, .from = from, .term = 2, .granted = true});
    CHECK_EQ(raft_state(r), RAFT_CANDIDATE);
    for (raft_id from = 2; from <= 5; from++)
        cluster_feed(c, 1,
                     (struct raft_message){
                         .type = RAFT_PRE_VOTE_REPLY, .from = from, .term = 3, .granted = true});
    CHECK_EQ(raft_state(r), RAFT_CANDIDATE);
    CHECK_EQ(raft_term_current(r), 2);
    cluster_free(c);
}

/* Replies to the pre-vote of an earlier term do not start a candidacy in a later one. */
static void stale_pre_votes_do_not_start(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true, .voters = 5});
    struct raft *r = cluster_core(c, 1);
    cluster_become(c, 1, RAFT_PRE_CANDIDATE); /* for term 2 */
    cluster_append(c, 1, APPEND(2, 4, 1, 1, NULL, 1));
    cluster_become(c, 1, RAFT_PRE_CANDIDATE); /* for term 5 */
    for (raft_id from = 2; from <= 5; from++)
        cluster_feed(c, 1,
                     (struct raft_message){
                         .type = RAFT_PRE_VOTE_REPLY, .from = from, .term = 2, .granted = true});
    CHECK_EQ(raft_state(r), RAFT_PRE_CANDIDATE);
    CHECK_EQ(raft_term_current(r), 4);
    cluster_free(c);
}

/* … so a node whose term was left behind cannot keep the others from electing, nor itself from
 * voting (etcd 8243). */
static void refusal_tells_the_term(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
    struct raft *r = cluster_core(c, 1);
    cluster_become(c, 1, RAFT_PRE_CANDIDATE);
    cluster_feed(c, 1, (struct raft_message){.type = RAFT_PRE_VOTE_REPLY, .from = 2, .term = 8});
    CHECK_EQ(raft_state(r), RAFT_FOLLOWER);
    CHECK_EQ(raft_term_current(r), 8);
    CHECK_EQ(c->nodes[1].disk->term, 8);
    cluster_free(c);
    c = cluster_new((struct cluster_plan){.alone = true, .term = 8});
    const struct raft_message *reply = cluster_feed(c, 1, pre_vote(2, 3, 5, 2));
    REQUIRE(reply);
    CHECK(!reply->granted);
    CHECK_EQ(reply->term, 8);
    cluster_free(c);
}

static void stale_log_gets_none(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.voters = 3});
    cluster_elect(c, 1);
    cluster_isolate(c, 3);
    cluster_propose(c, 1, 1);
    cluster_run(c, 2 * HEARTBEAT);
    cluster_crash(c, 1);
    cluster_heal(c);
    c->favoured = 3; /* only the one without the entry asks */
    cluster_run(c, 10 * ELECTION_TIMEOUT);
    c->favoured = 0;
    CHECK_EQ(cluster_leader(c), 0);
    CHECK_EQ(raft_term_current(cluster_core(c, 3)), 2);
    cluster_elect(c, 2); /* the up-to-date one can */
    CHECK_EQ(raft_leader(cluster_core(c, 3)), 2);
    cluster_free(c);
}

/* Who hears the leader refuses, whatever the log says; once it no longer does, it grants. */
static void refused_while_a_leader_is_heard(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
    cluster_append(c, 1, APPEND(2, 1, 1, 1, NULL, 1));
    const struct raft_message *reply;
    for (int i = 0; i < 4; i++) {
        reply = cluster_feed(c, 1, pre_vote(3, 2, 9, 1));
        REQUIRE(reply);
        CHECK(!reply->granted);
        cluster_sleep(c, ELECTION_TIMEOUT / 4 - 1);
    }
    reply = cluster_feed(
        c, 1,
        pre_vote(2, 2, 9, 1)); /* its leader has lost its way and asks itself (hashicorp 605) */
    REQUIRE(reply);
    CHECK(reply->granted);
    CHECK_EQ(raft_leader(cluster_core(c, 1)), 2);
    cluster_sleep(c, 5);
    reply = cluster_feed(c, 1, pre_vote(3, 2, 9, 1));
    REQUIRE(reply);
    CHECK(reply->granted);
    cluster_free(c);
}

/* Pre-votes themselves do not count as hearing from a leader (hashicorp 609). */
static void asking_puts_nothing_off(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
    struct raft *r = cluster_core(c, 1);
    for (int i = 0; i < 30 && raft_state(r) == RAFT_FOLLOWER; i++) {
        cluster_sleep(c, HEARTBEAT);
        cluster_feed(c, 1, pre_vote(2, 2, 1, 1));
        cluster_tick(c, 1);
    }
    CHECK_EQ(raft_state(r), RAFT_PRE_CANDIDATE);
    CHECK(c->now_us <= CLUSTER_START + 2 * ELECTION_TIMEOUT + HEARTBEAT);
    cluster_free(c);
}

/* A quorum of pre-candidates grant each other: nobody waits for a leader that none of them hears.
 */
static void pre_candidates_grant_each_other(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.voters = 5});
    cluster_elect(c, 1);
    cluster_crash(c, 1);
    for (raft_id a = 2; a <= 5; a++)
        for (raft_id b = 2; b <= 5; b++)
            cluster_hold(c, a, b);
    for (int i = 0; i < 40; i++) {
        cluster_sleep(c, HEARTBEAT);
        for (raft_id id = 2; id <= 5; id++)
            cluster_tick(c, id);
    }
    for (raft_id id = 2; id <= 5; id++)
        CHECK_EQ(raft_state(cluster_core(c, id)), RAFT_PRE_CANDIDATE);
    cluster_forget(c);
    cluster_heal(c);
    cluster_run(c, 5 * ELECTION_TIMEOUT);
    CHECK(cluster_leader(c) != 0);
    cluster_free(c);
}

static void two_voters(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.voters = 2});
    cluster_elect(c, 2);
    CHECK_EQ(raft_leader(cluster_core(c, 1)), 2);
    cluster_propose(c, 2, 3);
    cluster_run(c, 2 * HEARTBEAT);
    CHECK(cluster_equal_logs(c));
    cluster_free(c);
}

/* It came back at the moment at which the leader is lost, with an older term: the rest must still
 * elect (etcd 8501). */
static void smaller_term_completes_election(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.voters = 3});
    cluster_elect(c, 1);
    cluster_isolate(c, 3); /* stays in this term … */
    cluster_run(c, 3 * ELECTION_TIMEOUT);
    raft_term old = raft_term_current(cluster_core(c, 3));
    for (int i = 0; i < 3; i++) { /* … while the others go on */
        REQUIRE(cluster_transfer(c, cluster_leader(c), 3 - cluster_leader(c)) == 0);
        cluster_run(c, ELECTION_TIMEOUT);
    }
    raft_id leader = cluster_leader(c);
    REQUIRE(leader == 1 || leader == 2);
    CHECK(raft_term_current(cluster_core(c, leader)) > old);
    cluster_heal(c);
    cluster_isolate(c, leader);
    cluster_run(c, 10 * ELECTION_TIMEOUT);
    raft_id next = cluster_leader(c);
    CHECK(next != leader && next != 0);
    CHECK(raft_state(cluster_core(c, 3)) != RAFT_LEADER || raft_last_index(cluster_core(c, 3)) > 2);
    cluster_free(c);
}

static void prevents_disruption(void)
{
    /* A follower with slow incoming links asks for pre-votes; the others hear the leader, so
     * nothing comes of it. */
    struct cluster *c = cluster_new((struct cluster_plan){.voters = 3});
    cluster_elect(c, 1);
    raft_term term = raft_term_current(cluster_core(c, 1));
    cluster_hold(c, 1, 3);
    cluster_run(c, 6 * ELECTION_TIMEOUT);
    CHECK_EQ(raft_state(cluster_core(c, 3)), RAFT_PRE_CANDIDATE);
    CHECK_EQ(raft_term_current(cluster_core(c, 3)), term);
    CHECK_EQ(cluster_leader(c), 1);
    cluster_heal(c); /* the late messages arrive, and it follows again */
    cluster_run(c, HEARTBEAT);
    CHECK_EQ(raft_state(cluster_core(c, 3)), RAFT_FOLLOWER);
    CHECK_EQ(raft_leader(cluster_core(c, 3)), 1);
    CHECK_EQ(raft_term_current(cluster_core(c, 1)), term);
    cluster_free(c);
}

static void candidate_crashes(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.voters = 3});
    c->dropped[RAFT_VOTE_REPLY] = true;
    c->favoured = 1;
    for (int i = 0; i < 40 && raft_state(cluster_core(c, 1)) != RAFT_CANDIDATE; i++)
        cluster_run(c, HEARTBEAT);
    REQUIRE(raft_state(cluster_core(c, 1)) ==
            RAFT_CANDIDATE); /* it has the votes, and never learns of it */
    c->favoured = 0;
    cluster_crash(c, 1);
    cluster_heal(c);
    cluster_elect(c, 2);
    CHECK_EQ(raft_vote(cluster_core(c, 3)), 2);
    cluster_restart(c, 1);
    cluster_run(c, ELECTION_TIMEOUT);
    CHECK_EQ(raft_leader(cluster_core(c, 1)), 2);
    cluster_free(c);
}

/* For the term that we are in it is as with a vote: ours must be free, or theirs already, and no
 * leader known. For an earlier one there is none. */
static void for_the_term_we_are_in(void)
{
    static const struct {
        raft_id vote;
        raft_term term;
        bool granted;
    } table[] = {{0, 5, true}, {2, 5, true}, {3, 5, false}, {3, 6, true}, {0, 4, false}};
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        case_row("row %zu", i);
        struct cluster *c =
            cluster_new((struct cluster_plan){.alone = true, .term = 5, .vote = table[i].vote});
        const struct raft_message *reply = cluster_feed(c, 1, pre_vote(2, table[i].term, 9, 9));
        REQUIRE(reply);
        CHECK_EQ(reply->granted, table[i].granted);
        CHECK_EQ(reply->term, table[i].granted ? table[i].term : 5);
        cluster_free(c);
    }
    case_row("a leader known, no promise left");
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
    cluster_append(c, 1, APPEND(3, 5, 1, 1, NULL, 1));
    cluster_sleep(c, ELECTION_TIMEOUT);
    CHECK_EQ(raft_leader(cluster_core(c, 1)), 3);
    for (raft_term term = 5; term <= 6; term++) {
        const struct raft_message *reply = cluster_feed(c, 1, pre_vote(2, term, 9, 9));
        REQUIRE(reply);
        CHECK_EQ(reply->granted, term == 6);
    }
    cluster_free(c);
}

/* Only a vote may be asked for in a leader's name (§3.10), and only then a promise is none. */
static void not_in_a_leaders_name(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
    cluster_append(c, 1, APPEND(3, 2, 1, 1, NULL, 1));
    struct raft_message m = pre_vote(2, 3, 9, 9);
    m.transfer = true;
    const struct raft_message *reply = cluster_feed(c, 1, m);
    REQUIRE(reply);
    CHECK(!reply->granted);
    m.type = RAFT_VOTE;
    reply = cluster_feed(c, 1, m);
    REQUIRE(reply);
    CHECK(reply->granted);
    cluster_free(c);
}

static const struct test_case cases[] = {
    {"§9.6 a pre-vote changes neither state, term nor vote, and a leader grants none",
     leaves_no_trace},
    {"§9.6 the vote given in the current term does not matter", vote_given_does_not_matter},
    {"§9.6 an isolated server uses up no term and disturbs nobody on its return",
     no_term_without_majority},
    {"§9.6 a majority of pre-votes starts the candidacy", counts_a_majority},
    {"§9.6 a late pre-vote is not counted as a vote", stale_pre_votes_do_not_elect},
    {"§9.6 a pre-vote of an earlier term is not counted in a later one",
     stale_pre_votes_do_not_start},
    {"§9.6 a refusal of a later term is adopted, and tells it", refusal_tells_the_term},
    {"§9.6 a stale log gets no pre-votes, an up-to-date one does", stale_log_gets_none},
    {"§9.6 refused while a leader is heard, granted when it no longer is",
     refused_while_a_leader_is_heard},
    {"§9.6 being asked does not put off the own election", asking_puts_nothing_off},
    {"§9.6 a quorum of pre-candidates elects", pre_candidates_grant_each_other},
    {"§9.6 two voters", two_voters},
    {"§9.6 a server with a smaller term completes an election", smaller_term_completes_election},
    {"§9.6 a follower with slow links does not depose the leader", prevents_disruption},
    {"§9.6 a candidate crashes after it got the votes", candidate_crashes},
    {"§9.6 for the term that we are in, as with a vote", for_the_term_we_are_in},
    {"§3.10 no pre-vote is let through in a leader's name", not_in_a_leaders_name},
};

CASES_MAIN(cases)
