/* Lease reads (§6.4.1): served without a round while a majority has promised not to elect anybody
 * else. */
#include "lib/base/err.h"
#include "tests/support/cluster.h"

static struct cluster *leader_of(uint32_t voters, uint32_t drift_ppm)
{
    struct cluster *c = cluster_new(
        (struct cluster_plan){.alone = true, .voters = voters, .clock_drift_ppm = drift_ppm});
    cluster_become_ready(c, 1);
    return c;
}

static void promise(struct cluster *c, raft_id from, uint64_t sent_us, uint64_t promise_us)
{
    cluster_feed(c, 1,
                 (struct raft_message){.type = RAFT_HEARTBEAT_REPLY,
                                       .from = from,
                                       .term = 2,
                                       .sent_us = sent_us,
                                       .promise_us = promise_us});
}

static void served_without_a_round(void)
{
    struct cluster *c = leader_of(3, 0);
    uint64_t sent = c->now_us;
    cluster_sleep(c, 1000);
    promise(c, 2, sent, ELECTION_TIMEOUT);
    CHECK_EQ(raft_lease_until_us(cluster_core(c, 1)),
             sent + ELECTION_TIMEOUT); /* from sending, not from the answer */
    cluster_forget(c);
    CHECK_EQ(cluster_lease_read(c, 1, 1), 0);
    const struct raft_read_result *read = cluster_read_result(c, 1, 1);
    REQUIRE(read);
    CHECK_EQ(read->status, 0);
    CHECK_EQ(read->index, 2);
    CHECK_EQ(read->lease_until_us, sent + ELECTION_TIMEOUT);
    CHECK_EQ(c->packet_count, 0);
    cluster_free(c);
}

/* The lease ends with the promise: a read then takes a round, as without. */
static void falls_back_to_a_round(void)
{
    struct cluster *c = leader_of(3, 0);
    promise(c, 2, c->now_us, 500);
    cluster_sleep(c, 500);
    CHECK_EQ(cluster_lease_read(c, 1, 1), 0);
    CHECK(!cluster_read_result(c, 1, 1));
    const struct raft_message *m = cluster_sent(c, RAFT_HEARTBEAT, 1, 2);
    REQUIRE(m);
    cluster_beat_reply(c, 1, 2, m->round);
    const struct raft_read_result *read = cluster_read_result(c, 1, 1);
    REQUIRE(read);
    CHECK_EQ(read->status, 0);
    CHECK_EQ(read->lease_until_us, 0);
    cluster_free(c);
}

/* The minimum over a majority, the leader itself included. */
static void minimum_over_a_majority(void)
{
    struct cluster *c = leader_of(5, 0);
    uint64_t now = c->now_us;
    promise(c, 2, now, 900);
    CHECK_EQ(raft_lease_until_us(cluster_core(c, 1)), 0); /* two of five */
    promise(c, 3, now, 300);
    CHECK_EQ(raft_lease_until_us(cluster_core(c, 1)), now + 300);
    promise(c, 4, now, 600);
    CHECK_EQ(raft_lease_until_us(cluster_core(c, 1)), now + 600);
    promise(c, 5, now, 100);
    CHECK_EQ(raft_lease_until_us(cluster_core(c, 1)), now + 600);
    promise(c, 4, now, 10); /* a promise once given is not shortened by a late reply */
    CHECK_EQ(raft_lease_until_us(cluster_core(c, 1)), now + 600);
    cluster_free(c);
}

static void shortened_by_drift(void)
{
    struct cluster *c = leader_of(3, 100000); /* a tenth */
    promise(c, 2, c->now_us, ELECTION_TIMEOUT);
    CHECK_EQ(raft_lease_until_us(cluster_core(c, 1)),
             c->now_us + ELECTION_TIMEOUT - ELECTION_TIMEOUT / 10);
    cluster_free(c);
    c = leader_of(3, 100000);
    promise(c, 2, c->now_us, 15); /* a fraction counts as a whole: 1.5 */
    CHECK_EQ(raft_lease_until_us(cluster_core(c, 1)), c->now_us + 13);
    cluster_free(c);
}

static void unbelievable_promises(void)
{
    struct cluster *c = leader_of(3, 0);
    promise(c, 2, c->now_us + 5, ELECTION_TIMEOUT); /* an answer to what was not sent yet */
    CHECK_EQ(raft_lease_until_us(cluster_core(c, 1)), 0);
    promise(c, 2, c->now_us, UINT64_MAX - 5);
    CHECK_EQ(raft_lease_until_us(cluster_core(c, 1)), 0);
    promise(c, 2, c->now_us, 0);
    CHECK_EQ(raft_lease_until_us(cluster_core(c, 1)), 0);
    cluster_free(c);
}

static void both_majorities_while_joint(void)
{
    struct raft_configuration configuration = {.index = 1, .joint = true};
    configuration_add(&configuration, 1, RAFT_VOTER | RAFT_VOTER_OLD);
    configuration_add(&configuration, 2, RAFT_VOTER_OLD);
    configuration_add(&configuration, 3, RAFT_VOTER_OLD);
    configuration_add(&configuration, 4, RAFT_VOTER);
    configuration_add(&configuration, 5, RAFT_VOTER);
    struct cluster *c = cluster_new(
        (struct cluster_plan){.alone = true, .voters = 5, .configuration = &configuration});
    cluster_become(c, 1, RAFT_LEADER);
    for (raft_id from = 2; from <= 5;
         from++) /* joint at 1 and the no-op at 2, then C_new's entry at 3 */
        cluster_ack(c, 1, from, 2);
    CHECK(raft_leader_ready(cluster_core(c, 1)));
    CHECK(!raft_configuration_latest(cluster_core(c, 1))->joint);
    promise(c, 2, c->now_us, 900); /* of C_old only: C_new is in force since it was appended */
    CHECK_EQ(raft_lease_until_us(cluster_core(c, 1)), 0);
    promise(c, 4, c->now_us, 700);
    CHECK_EQ(raft_lease_until_us(cluster_core(c, 1)), c->now_us + 700);
    cluster_free(c);

    c = cluster_new((struct cluster_plan){.alone = true, .voters = 3, .learners = 1});
    cluster_become_ready(c, 1);
    cluster_ack(c, 1, 4, 2);
    promise(c, 2, c->now_us, 900);
    CHECK_EQ(raft_lease_until_us(cluster_core(c, 1)), c->now_us + 900);
    REQUIRE(cluster_change(c, 1, (struct raft_change){.kind = RAFT_PROMOTE, .id = 4}) == 0);
    REQUIRE(raft_configuration_latest(cluster_core(c, 1))->joint);
    CHECK_EQ(raft_lease_until_us(cluster_core(c, 1)), 0); /* two of three, but two of four */
    promise(c, 4, c->now_us, 800);
    CHECK_EQ(raft_lease_until_us(cluster_core(c, 1)), c->now_us + 800);
    cluster_free(c);
}

static void none_before_the_noop(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
    cluster_become(c, 1, RAFT_LEADER);
    promise(c, 2, c->now_us, ELECTION_TIMEOUT);
    promise(c, 3, c->now_us, ELECTION_TIMEOUT);
    CHECK_EQ(raft_lease_until_us(cluster_core(c, 1)), 0);
    CHECK_EQ(cluster_lease_read(c, 1, 1), 0);
    CHECK(!cluster_read_result(c, 1, 1));
    cluster_free(c);
}

/* Given up before TIMEOUT_NOW goes out, and for the rest of the term: that vote may come at any
 * time. */
static void given_up_before_a_transfer(void)
{
    struct cluster *c = leader_of(3, 0);
    promise(c, 2, c->now_us, ELECTION_TIMEOUT);
    promise(c, 3, c->now_us, ELECTION_TIMEOUT);
    CHECK(raft_lease_until_us(cluster_core(c, 1)) != 0);
    CHECK_EQ(cluster_transfer(c, 1, 2), 0);
    CHECK_EQ(raft_lease_until_us(cluster_core(c, 1)), 0);
    CHECK_EQ(cluster_lease_read(c, 1, 1), 0);
    CHECK(!cluster_read_result(c, 1, 1));
    for (int i = 0; i < 11; i++) {
        cluster_sleep(c, HEARTBEAT);
        cluster_tick(c, 1);
        cluster_beat_reply(c, 1, 2, 0);
    }
    CHECK_EQ(raft_transfer_target(cluster_core(c, 1)), 0); /* it has failed */
    promise(c, 3, c->now_us, ELECTION_TIMEOUT);
    CHECK_EQ(raft_lease_until_us(cluster_core(c, 1)), 0);
    /* In another term there may be one again. */
    cluster_append(c, 1, APPEND(2, 3, 2, 2, NULL, 2));
    cluster_become_ready(c, 1);
    cluster_feed(c, 1,
                 (struct raft_message){.type = RAFT_HEARTBEAT_REPLY,
                                       .from = 2,
                                       .term = raft_term_current(cluster_core(c, 1)),
                                       .sent_us = c->now_us,
                                       .promise_us = 700});
    CHECK_EQ(raft_lease_until_us(cluster_core(c, 1)), c->now_us + 700);
    cluster_free(c);
    c = leader_of(3, 0); /* also while the target is only being brought up to date */
    cluster_propose(c, 1, 1);
    promise(c, 3, c->now_us, ELECTION_TIMEOUT);
    CHECK_EQ(cluster_transfer(c, 1, 2), 0);
    CHECK_EQ(cluster_count(c, RAFT_TIMEOUT_NOW, 1, 2), 0);
    CHECK_EQ(raft_lease_until_us(cluster_core(c, 1)), 0);
    cluster_free(c);
}

/* What followers promise is what they keep: while a lease can hold, no other leader can have been
 * elected. */
static void lease_excludes_another_leader(void)
{
    for (uint64_t seed = 1; seed <= 10; seed++) {
        case_row("seed %u", (unsigned)seed);
        struct cluster *c = cluster_new((struct cluster_plan){.voters = 3, .seed = seed});
        c->delay_us = 3000;
        cluster_elect(c, 1);
        cluster_run(c, 5 * HEARTBEAT);
        cluster_isolate(c, 1);
        uint64_t lease = raft_lease_until_us(cluster_core(c, 1));
        CHECK(lease > c->now_us && lease <= c->now_us + ELECTION_TIMEOUT);
        uint64_t elected_us = 0;
        while (!elected_us && c->now_us < lease + 10 * ELECTION_TIMEOUT) {
            cluster_run(c, 1000);
            if (raft_state(cluster_core(c, 2)) == RAFT_LEADER ||
                raft_state(cluster_core(c, 3)) == RAFT_LEADER)
                elected_us = c->now_us;
            CHECK(!elected_us || raft_lease_until_us(cluster_core(c, 1)) == 0);
        }
        CHECK(elected_us >= lease);
        cluster_free(c);
    }
}

/* A follower that crashed has forgotten its promise, and therefore waits it out (§6.4.1). */
static void restart_does_not_break_a_promise(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.voters = 3});
    cluster_elect(c, 1);
    cluster_run(c, 5 * HEARTBEAT);
    cluster_isolate(c, 1);
    uint64_t lease = raft_lease_until_us(cluster_core(c, 1));
    cluster_restart(c, 2);
    cluster_restart(c, 3);
    while (c->now_us < lease) {
        cluster_run(c, 10000);
        CHECK(cluster_leader(c) == 1 || c->now_us >= lease);
    }
    cluster_run(c, 10 * ELECTION_TIMEOUT);
    CHECK(cluster_leader(c) == 2 || cluster_leader(c) == 3);
    cluster_free(c);
}

/* One that the leader has not reached for long stands as soon as its timeout is over, and finds the
 * follower on whose promise the lease rests just started again. */
static void restart_elects_nobody_beside_a_lease(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.voters = 3});
    cluster_elect(c, 1);
    cluster_run(c, 5 * HEARTBEAT);
    cluster_cut_both(c, 1, 3);
    cluster_run(c, 3 * ELECTION_TIMEOUT);
    uint64_t stands_us = c->nodes[3].wake_us;
    REQUIRE(stands_us > c->now_us + 1000);
    cluster_run(c, stands_us - c->now_us - 1000);
    REQUIRE(cluster_leader(c) == 1);
    cluster_cut_both(c, 1, 2);
    cluster_restart(c, 2);
    cluster_run(c, 10000);
    CHECK(raft_lease_until_us(cluster_core(c, 1)) > c->now_us);
    CHECK_EQ(cluster_leader(c), 1);
    cluster_run(c, 10 * ELECTION_TIMEOUT);
    CHECK(cluster_leader(c) == 2 || cluster_leader(c) == 3);
    cluster_free(c);
}

/* At a follower there is no lease: the read goes to the leader. */
static void follower_takes_a_round(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
    cluster_append(c, 1, APPEND(2, 2, 1, 1, TERMS(2), 2));
    CHECK_EQ(cluster_lease_read(c, 1, 1), 0);
    CHECK_EQ(cluster_count(c, RAFT_READ_INDEX, 1, 2), 1);
    CHECK(!cluster_read_result(c, 1, 1));
    cluster_free(c);
}

/* In every reply, from receiving on, and only what it keeps. */
static void followers_promise(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
    const struct raft_message *reply = cluster_append(c, 1, APPEND(2, 2, 1, 1, NULL, 1));
    REQUIRE(reply && reply->accepted);
    CHECK_EQ(reply->promise_us, ELECTION_TIMEOUT);
    reply = cluster_append(c, 1, APPEND(2, 2, 9, 2, NULL, 1));
    REQUIRE(reply && !reply->accepted);
    CHECK_EQ(reply->promise_us, ELECTION_TIMEOUT);
    reply = cluster_feed(
        c, 1, (struct raft_message){.type = RAFT_HEARTBEAT, .from = 2, .term = 2, .sent_us = 77});
    REQUIRE(reply);
    CHECK_EQ(reply->promise_us, ELECTION_TIMEOUT);
    CHECK_EQ(reply->sent_us, 77);
    cluster_disk_hold(c, 1);
    CHECK(!cluster_append(c, 1, APPEND(2, 2, 1, 1, TERMS(2), 1)));
    cluster_disk_release(c, 1);
    reply = cluster_replied(c);
    REQUIRE(reply && reply->accepted);
    CHECK_EQ(reply->promise_us, ELECTION_TIMEOUT);
    struct raft_message vote = {
        .type = RAFT_VOTE, .from = 3, .term = 9, .last_index = 99, .last_term = 9};
    for (int over = 0; over <= 1; over++) {
        cluster_sleep(c, over ? 1 : ELECTION_TIMEOUT - 1);
        reply = cluster_feed(c, 1, vote);
        REQUIRE(reply);
        CHECK_EQ(reply->granted, over);
    }
    cluster_free(c);
}

/* Its own vote was part of the lease: deposed, a leader gives it to nobody before that is over. */
static void deposed_leader_keeps_to_its_lease(void)
{
    struct cluster *c = leader_of(3, 0);
    promise(c, 2, c->now_us, ELECTION_TIMEOUT);
    cluster_feed(c, 1, (struct raft_message){.type = RAFT_HEARTBEAT_REPLY, .from = 3, .term = 5});
    CHECK_EQ(raft_state(cluster_core(c, 1)), RAFT_FOLLOWER);
    struct raft_message vote = {
        .type = RAFT_VOTE, .from = 3, .term = 6, .last_index = 99, .last_term = 5};
    for (int over = 0; over <= 1; over++) {
        cluster_sleep(c, over ? 1 : ELECTION_TIMEOUT - 1);
        const struct raft_message *reply = cluster_feed(c, 1, vote);
        REQUIRE(reply);
        CHECK_EQ(reply->granted, over);
    }
    cluster_free(c);
}

static const struct test_case cases[] = {
    {"§6.4.1 within the lease a read takes no round", served_without_a_round},
    {"§6.4.1 after the lease it takes one", falls_back_to_a_round},
    {"§6.4.1 the lease is the minimum over a majority's promises", minimum_over_a_majority},
    {"§6.4.1 the lease is shortened by the drift of clocks", shortened_by_drift},
    {"§6.4.1 promises that cannot be are not believed", unbelievable_promises},
    {"§6.4.1 both majorities must promise while joint", both_majorities_while_joint},
    {"§6.4.1 no lease before the no-op is committed", none_before_the_noop},
    {"§6.4.1 the lease is given up before a transfer", given_up_before_a_transfer},
    {"§6.4.1 while a lease holds nobody else is elected", lease_excludes_another_leader},
    {"§6.4.1 a restarted follower waits out its promise", restart_does_not_break_a_promise},
    {"§6.4.1 … also when another one stands at once", restart_elects_nobody_beside_a_lease},
    {"§6.4.1 a follower's lease read goes to the leader", follower_takes_a_round},
    {"§6.4.1 a follower promises its minimum timeout in every reply, and keeps it",
     followers_promise},
    {"§6.4.1 a deposed leader keeps to its own lease", deposed_leader_keeps_to_its_lease},
};

CASES_MAIN(cases)
