/* Check-quorum (§6.2), and votes refused because of a leader (§4.2.3). */
#include "tests/support/cluster.h"

static struct raft_message vote_from(raft_id from, raft_term term)
{
    return (struct raft_message){
        .type = RAFT_VOTE, .from = from, .term = term, .last_index = 99, .last_term = term};
}

/* Lets time pass for a lone leader, `answering` of the peers replying to every heartbeat. */
static void lead_on(struct cluster *c, uint64_t us, uint32_t answering)
{
    for (uint64_t end = c->now_us + us; c->now_us < end;) {
        cluster_sleep(c, HEARTBEAT / 2);
        cluster_tick(c, 1);
        for (raft_id from = 2;
             from < 2 + answering && raft_state(cluster_core(c, 1)) == RAFT_LEADER; from++)
            cluster_beat_reply(c, 1, from, 0);
        cluster_forget(c);
    }
}

static void stays_with_a_quorum(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true, .voters = 5});
    cluster_become_ready(c, 1);
    lead_on(c, 20 * ELECTION_TIMEOUT, 2);
    CHECK_EQ(raft_state(cluster_core(c, 1)), RAFT_LEADER);
    CHECK_EQ(raft_term_current(cluster_core(c, 1)), 2);
    cluster_free(c);
}

static void steps_down_without(void)
{
    for (uint32_t answering = 0; answering <= 1; answering++) {
        struct cluster *c = cluster_new((struct cluster_plan){.alone = true, .voters = 5});
        cluster_become_ready(c, 1);
        uint64_t begin = c->now_us;
        while (raft_state(cluster_core(c, 1)) == RAFT_LEADER &&
               c->now_us < begin + 10 * ELECTION_TIMEOUT)
            lead_on(c, HEARTBEAT / 2, answering);
        CHECK_EQ(raft_state(cluster_core(c, 1)), RAFT_FOLLOWER);
        CHECK_EQ(raft_leader(cluster_core(c, 1)), 0);
        CHECK_EQ(raft_term_current(cluster_core(c, 1)), 2); /* the term stays */
        CHECK(c->now_us - begin >= ELECTION_TIMEOUT);
        CHECK(c->now_us - begin <= ELECTION_TIMEOUT + HEARTBEAT);
        CHECK(cluster_propose(c, 1, 1) != 0);
        cluster_free(c);
    }
}

static void learners_do_not_count(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.voters = 3, .learners = 2});
    cluster_elect(c, 1);
    cluster_isolate(c, 2);
    cluster_isolate(c, 3);
    cluster_run(c, 3 * ELECTION_TIMEOUT);
    CHECK_EQ(cluster_leader(c), 0);
    cluster_free(c);
}

static void both_majorities_while_joint(void)
{
    /* C_old = {1, 2, 3}, C_new = {1, 4, 5}: to hear from one of them is not enough. */
    for (int both = 0; both <= 1; both++) {
        struct raft_configuration configuration = {.index = 1, .joint = true};
        configuration_add(&configuration, 1, RAFT_VOTER | RAFT_VOTER_OLD);
        configuration_add(&configuration, 2, RAFT_VOTER_OLD);
        configuration_add(&configuration, 3, RAFT_VOTER_OLD);
        configuration_add(&configuration, 4, RAFT_VOTER);
        configuration_add(&configuration, 5, RAFT_VOTER);
        struct cluster *c = cluster_new(
            (struct cluster_plan){.alone = true, .voters = 5, .configuration = &configuration});
        cluster_become(c, 1, RAFT_LEADER);
        for (int i = 0; i < 60; i++) {
            cluster_sleep(c, HEARTBEAT / 2);
            cluster_tick(c, 1);
            for (raft_id from = 2; from <= (both ? 4 : 3); from++)
                if (raft_state(cluster_core(c, 1)) == RAFT_LEADER)
                    cluster_beat_reply(c, 1, from, 0);
            cluster_forget(c);
        }
        CHECK_EQ(raft_state(cluster_core(c, 1)) == RAFT_LEADER, both);
        cluster_free(c);
    }
}

/* §4.2.3: within the minimum election timeout of hearing a leader, neither vote nor term are given
 * to a candidate. */
static void votes_refused_while_a_leader_is_heard(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
    struct raft *r = cluster_core(c, 1);
    cluster_append(c, 1, APPEND(2, 1, 1, 1, NULL, 1));
    for (int i = 0; i < 4; i++) {
        const struct raft_message *reply = cluster_feed(c, 1, vote_from(3, 7));
        REQUIRE(reply);
        CHECK(!reply->granted);
        CHECK_EQ(raft_term_current(r), 1);
        CHECK_EQ(raft_leader(r), 2);
        cluster_sleep(c, ELECTION_TIMEOUT / 4 - 1);
    }
    cluster_sleep(c, 5);
    const struct raft_message *reply = cluster_feed(c, 1, vote_from(3, 7));
    REQUIRE(reply);
    CHECK(reply->granted);
    CHECK_EQ(raft_term_current(r), 7);
    CHECK_EQ(raft_leader(r), 0);
    cluster_free(c);
}

/* The leader's own wish overrides that (§3.10, §4.2.3). */
static void transfer_is_not_refused(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
    cluster_append(c, 1, APPEND(2, 1, 1, 1, NULL, 1));
    struct raft_message m = vote_from(3, 2);
    m.transfer = true;
    const struct raft_message *reply = cluster_feed(c, 1, m);
    REQUIRE(reply);
    CHECK(reply->granted);
    cluster_free(c);
}

/* A leader whose quorum answers has nobody's leave to be voted away. */
static void leader_with_a_quorum_is_not_deposed(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
    cluster_become_ready(c, 1);
    lead_on(c, 2 * ELECTION_TIMEOUT, 1);
    const struct raft_message *reply = cluster_feed(c, 1, vote_from(3, 9));
    REQUIRE(reply);
    CHECK(!reply->granted);
    CHECK_EQ(raft_state(cluster_core(c, 1)), RAFT_LEADER);
    CHECK_EQ(raft_term_current(cluster_core(c, 1)), 2);
    cluster_free(c);
}

static void candidate_waits_for_the_lease(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.voters = 3});
    cluster_elect(c, 1);
    cluster_cut_both(c, 1, 3);
    cluster_run(c, 5 * ELECTION_TIMEOUT); /* 2 hears the leader, so 3 gets nothing */
    CHECK_EQ(cluster_leader(c), 1);
    CHECK_EQ(raft_term_current(cluster_core(c, 2)), raft_term_current(cluster_core(c, 1)));
    cluster_cut_both(c, 1, 2);
    cluster_elect(c, 3); /* now 2 no longer does */
    CHECK_EQ(raft_leader(cluster_core(c, 2)), 3);
    cluster_free(c);
}

static void elections_work_throughout(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.voters = 3, .restarted = true});
    cluster_run(c, 4 * ELECTION_TIMEOUT); /* at start */
    raft_id first = cluster_leader(c);
    REQUIRE(first);
    cluster_crash(c, first); /* after a leader */
    cluster_run(c, 6 * ELECTION_TIMEOUT);
    raft_id second = cluster_leader(c);
    REQUIRE(second && second != first);
    cluster_restart(c, first);
    cluster_run(c, ELECTION_TIMEOUT);
    CHECK_EQ(raft_leader(cluster_core(c, first)), second);
    cluster_free(c);
}

/* One that is stuck in a later term answers the leader with it: the leader steps down, and a common
 * term is found. */
static void later_term_is_freed(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.voters = 3});
    cluster_elect(c, 1);
    cluster_propose(c, 1, 2);
    cluster_settle(c);
    cluster_crash(c, 3);
    cluster_disk_write(c, 3, 8, 3, TERMS(1), 1); /* was a candidate in term 8, with a shorter log */
    cluster_restart(c, 3);
    cluster_run(c, 8 * ELECTION_TIMEOUT);
    raft_id leader = cluster_leader(c);
    REQUIRE(leader == 1 || leader == 2);
    CHECK(raft_term_current(cluster_core(c, leader)) > 8);
    CHECK_EQ(raft_leader(cluster_core(c, 3)), leader);
    CHECK(cluster_equal_logs(c));
    cluster_free(c);
}

static void late_answer_deposes(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
    cluster_become_ready(c, 1);
    cluster_feed(c, 1, (struct raft_message){.type = RAFT_HEARTBEAT_REPLY, .from = 3, .term = 5});
    CHECK_EQ(raft_state(cluster_core(c, 1)), RAFT_FOLLOWER);
    CHECK_EQ(raft_term_current(cluster_core(c, 1)), 5);
    CHECK_EQ(raft_leader(cluster_core(c, 1)), 0);
    cluster_free(c);
}

/* Not in its own configuration (it may not have it yet): no candidate, but it follows who leads. */
static void outsider_follows(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.voters = 2, .spares = 1});
    cluster_elect(c, 1);
    struct raft *r = cluster_core(c, 3);
    raft_term term = raft_term_current(cluster_core(c, 1));
    const struct raft_message *reply = cluster_feed(
        c, 3, (struct raft_message){.type = RAFT_HEARTBEAT, .from = 1, .term = term, .commit = 0});
    REQUIRE(reply);
    CHECK_EQ(reply->term, term);
    CHECK_EQ(raft_leader(r), 1);
    cluster_run(c, 10 * ELECTION_TIMEOUT);
    CHECK_EQ(raft_state(r), RAFT_FOLLOWER);
    CHECK_EQ(raft_term_current(r), term);
    cluster_free(c);
}

/* Whoever refuses an append is there. */
static void refusals_are_answers(void)
{
    struct cluster *c = cluster_new(
        (struct cluster_plan){.alone = true, .log = TERMS(1, 1, 1, 1, 1, 1, 1, 1, 1, 1)});
    cluster_become(c, 1, RAFT_LEADER);
    for (int i = 0; i < 30; i++) {
        cluster_sleep(c, HEARTBEAT);
        cluster_tick(c, 1);
        if (raft_state(cluster_core(c, 1)) == RAFT_LEADER)
            cluster_feed(c, 1,
                         (struct raft_message){.type = RAFT_APPEND_REPLY,
                                               .from = 2,
                                               .term = raft_term_current(cluster_core(c, 1)),
                                               .reject_index = 10});
    }
    CHECK_EQ(raft_state(cluster_core(c, 1)), RAFT_LEADER);
    cluster_free(c);
}

static const struct test_case cases[] = {
    {"§6.2 a leader that hears from a quorum stays", stays_with_a_quorum},
    {"§6.2 a leader without a quorum for an election timeout steps down", steps_down_without},
    {"§6.2 learners are no quorum", learners_do_not_count},
    {"§6.2 both majorities count while joint", both_majorities_while_joint},
    {"§4.2.3 votes and terms are refused while a leader is heard",
     votes_refused_while_a_leader_is_heard},
    {"§4.2.3 … but not to whom the leader has asked to stand", transfer_is_not_refused},
    {"§4.2.3 a leader with a quorum is not voted away", leader_with_a_quorum_is_not_deposed},
    {"§4.2.3 a candidate is elected when the leader is no longer heard",
     candidate_waits_for_the_lease},
    {"§6.2 elections work at the start and after a leader", elections_work_throughout},
    {"§6.2 a server stuck in a later term is freed by deposing the leader once",
     later_term_is_freed},
    {"§3.3 a late answer of a later term deposes the leader", late_answer_deposes},
    {"§4.2.2 a server outside its configuration follows, and never stands", outsider_follows},
    {"§6.2 refusals are answers, too", refusals_are_answers},
};

CASES_MAIN(cases)
