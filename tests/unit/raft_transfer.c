/* Leadership transfer (§3.10). */
#include "lib/base/err.h"
#include "tests/support/cluster.h"

static struct cluster *three(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.voters = 3});
    cluster_elect(c, 1);
    cluster_run(c, 2 * HEARTBEAT);
    return c;
}

static void check_leader(struct cluster *c, raft_id id)
{
    CHECK_EQ(cluster_leader(c), id);
    for (raft_id other = 1; other <= c->node_count; other++)
        if (c->nodes[other].raft &&
            raft_term_current(cluster_core(c, other)) == raft_term_current(cluster_core(c, id)))
            CHECK_EQ(raft_leader(cluster_core(c, other)), id);
}

/* The leader is still heard by everybody: its wish overrides that (§4.2.3), and no pre-vote is
 * needed. */
static void to_one_in_line(void)
{
    struct cluster *c = three();
    uint64_t begin = c->now_us;
    raft_term term = raft_term_current(cluster_core(c, 1));
    CHECK_EQ(cluster_transfer(c, 1, 2), 0);
    CHECK_EQ(raft_transfer_target(cluster_core(c, 1)), 2);
    cluster_settle(c);
    check_leader(c, 2);
    CHECK_EQ(c->now_us, begin);
    CHECK_EQ(raft_term_current(cluster_core(c, 2)), term + 1);
    CHECK_EQ(c->nodes[1].transfer_status, 1);
    CHECK_EQ(raft_transfer_target(cluster_core(c, 1)), 0);
    CHECK_EQ(cluster_transfer(c, 2, 1), 0); /* and back */
    cluster_settle(c);
    check_leader(c, 1);
    cluster_free(c);
}

static void asks_outright(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
    cluster_append(c, 1, APPEND(2, 2, 1, 1, TERMS(2), 2));
    const struct raft_message *reply =
        cluster_feed(c, 1, (struct raft_message){.type = RAFT_TIMEOUT_NOW, .from = 2, .term = 2});
    CHECK(reply);
    CHECK_EQ(raft_state(cluster_core(c, 1)), RAFT_CANDIDATE);
    CHECK_EQ(raft_term_current(cluster_core(c, 1)), 3);
    CHECK_EQ(cluster_count(c, RAFT_PRE_VOTE, 1, 0), 0);
    for (raft_id peer = 2; peer <= 3; peer++) {
        const struct raft_message *m = cluster_sent(c, RAFT_VOTE, 1, peer);
        REQUIRE(m);
        CHECK(m->transfer);
    }
    cluster_free(c);
}

/* A second attempt of its own is an ordinary one: the leader did not ask for that. */
static void retries_are_ordinary(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
    cluster_append(c, 1, APPEND(2, 2, 1, 1, TERMS(2), 2));
    cluster_feed(c, 1, (struct raft_message){.type = RAFT_TIMEOUT_NOW, .from = 2, .term = 2});
    cluster_forget(c);
    for (int i = 0; i < 25; i++) {
        cluster_sleep(c, HEARTBEAT);
        cluster_tick(c, 1);
    }
    CHECK_EQ(raft_state(cluster_core(c, 1)), RAFT_PRE_CANDIDATE);
    cluster_become(c, 1, RAFT_CANDIDATE);
    const struct raft_message *m = cluster_sent(c, RAFT_VOTE, 1, 2);
    REQUIRE(m);
    CHECK(!m->transfer);
    cluster_free(c);
}

static void to_one_that_lags(void)
{
    struct cluster *c = three();
    cluster_isolate(c, 3);
    cluster_propose(c, 1, 20);
    cluster_unreachable(c, 1, 3);
    cluster_run(c, HEARTBEAT);
    cluster_heal(c);
    CHECK_EQ(cluster_transfer(c, 1, 3), 0);
    CHECK_EQ(cluster_count(c, RAFT_TIMEOUT_NOW, 1, 3), 0); /* first the log */
    cluster_run(c, ELECTION_TIMEOUT * 9 / 10);
    check_leader(c, 3);
    CHECK_EQ(c->nodes[1].transfer_status, 1);
    CHECK(cluster_log_is(c, 3, 21, TERMS(2, 2, 3)));
    cluster_free(c);
}

static void to_one_that_needs_a_snapshot(void)
{
    struct cluster *c = three();
    cluster_isolate(c, 3);
    cluster_propose(c, 1, 20);
    cluster_unreachable(c, 1, 3);
    cluster_run(c, HEARTBEAT);
    cluster_compact(c, 1, 20);
    cluster_heal(c);
    CHECK_EQ(cluster_transfer(c, 1, 3), 0);
    cluster_run(c, ELECTION_TIMEOUT * 9 / 10);
    check_leader(c, 3);
    CHECK_EQ(raft_snapshot_index(cluster_core(c, 3)), 20);
    cluster_free(c);
}

static void to_whom_not(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.voters = 3, .learners = 1});
    cluster_elect(c, 1);
    cluster_run(c, 2 * HEARTBEAT);
    CHECK_EQ(cluster_transfer(c, 1, 9), ERR_NOT_FOUND);
    CHECK_EQ(cluster_transfer(c, 1, 4), ERR_BAD_REQUEST); /* a learner */
    CHECK_EQ(cluster_transfer(c, 1, 1), ERR_BAD_REQUEST); /* itself */
    CHECK_EQ(cluster_transfer(c, 2, 3),
             ERR_NO_LEADER); /* asked of a follower, which knows the leader */
    CHECK_EQ(raft_leader(cluster_core(c, 2)), 1);
    CHECK_EQ(raft_transfer_target(cluster_core(c, 1)), 0);
    CHECK_EQ(cluster_propose(c, 1, 1), 0);
    cluster_run(c, ELECTION_TIMEOUT);
    check_leader(c, 1);
    CHECK_EQ(cluster_transfer(c, raft_leader(cluster_core(c, 2)), 3), 0); /* … who does it */
    cluster_settle(c);
    check_leader(c, 3);
    cluster_free(c);
}

static void the_best_is_chosen(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.voters = 4, .learners = 1});
    cluster_elect(c, 1);
    cluster_run(c, 2 * HEARTBEAT);
    cluster_hold(c, 1, 2);
    cluster_isolate(c, 4);
    cluster_propose(c, 1, 3); /* on 1, 3, and the learner; 2 gets it late, 4 does not answer */
    cluster_settle(c);
    CHECK_EQ(cluster_progress(c, 1, 3).match, 5);
    CHECK_EQ(cluster_transfer(c, 1, 0), 0);
    CHECK_EQ(raft_transfer_target(cluster_core(c, 1)), 3);
    cluster_heal(c);
    cluster_run(c, HEARTBEAT);
    check_leader(c, 3);
    cluster_free(c);
    c = three();
    cluster_isolate(c, 1);
    cluster_run(c, ELECTION_TIMEOUT / 2);
    CHECK_EQ(cluster_transfer(c, 1, 0), 0); /* both answered lately */
    cluster_free(c);
    c = cluster_new((struct cluster_plan){.voters = 1, .learners = 1});
    cluster_run(c, 2 * HEARTBEAT);
    CHECK_EQ(cluster_transfer(c, 1, 0), ERR_NOT_FOUND);
    cluster_free(c);
    c = cluster_new((struct cluster_plan){.alone = true});
    cluster_become(c, 1, RAFT_LEADER);
    CHECK_EQ(cluster_transfer(c, 1, 0), ERR_NOT_FOUND); /* nobody has answered this leader yet */
    cluster_refuse(c, 1, 3, 1, 0, 0);
    CHECK_EQ(cluster_transfer(c, 1, 0), 0);
    CHECK_EQ(raft_transfer_target(cluster_core(c, 1)), 3);
    cluster_free(c);
}

/* Not done within an election timeout: the leader goes on, and takes proposals again. */
static void times_out(void)
{
    struct cluster *c = three();
    cluster_isolate(c, 3);
    cluster_propose(c, 1, 1);
    cluster_run(c, HEARTBEAT);
    uint64_t begin = c->now_us;
    CHECK_EQ(cluster_transfer(c, 1, 3), 0);
    while (raft_transfer_target(cluster_core(c, 1)) == 3 &&
           c->now_us < begin + 3 * ELECTION_TIMEOUT) {
        CHECK_EQ(cluster_propose(c, 1, 1), ERR_AGAIN);
        cluster_run(c, HEARTBEAT / 2);
    }
    CHECK(c->now_us - begin >= ELECTION_TIMEOUT &&
          c->now_us - begin <= ELECTION_TIMEOUT + HEARTBEAT);
    CHECK_EQ(c->nodes[1].transfer_status, ERR_TIMEOUT);
    check_leader(c, 1);
    CHECK_EQ(raft_term_current(cluster_core(c, 1)), 2);
    CHECK_EQ(cluster_propose(c, 1, 1), 0);
    cluster_free(c);
}

static void proposals_are_refused_meanwhile(void)
{
    struct cluster *c = three();
    cluster_hold(c, 1, 3);
    CHECK_EQ(cluster_transfer(c, 1, 3), 0);
    raft_index last = raft_last_index(cluster_core(c, 1));
    CHECK_EQ(cluster_propose(c, 1, 1), ERR_AGAIN);
    CHECK_EQ(cluster_change(c, 1, (struct raft_change){.kind = RAFT_REMOVE, .id = 2}), ERR_AGAIN);
    CHECK_EQ(raft_last_index(cluster_core(c, 1)), last);
    cluster_free(c);
}

/* The first that was asked for stands; another is refused, and puts nothing off. */
static void a_second_one_is_refused(void)
{
    struct cluster *c = three();
    cluster_isolate(c, 3);
    cluster_propose(c, 1, 1);
    uint64_t begin = c->now_us;
    CHECK_EQ(cluster_transfer(c, 1, 3), 0);
    while (c->nodes[1].transfer_status == 0 && c->now_us < begin + 3 * ELECTION_TIMEOUT) {
        CHECK_EQ(cluster_transfer(c, 1, 3), ERR_AGAIN); /* the same */
        CHECK_EQ(cluster_transfer(c, 1, 2), ERR_AGAIN); /* another */
        CHECK_EQ(cluster_transfer(c, 1, 1), ERR_AGAIN); /* back to itself */
        CHECK_EQ(raft_transfer_target(cluster_core(c, 1)), 3);
        cluster_run(c, HEARTBEAT / 2);
    }
    CHECK(c->now_us - begin <= ELECTION_TIMEOUT + HEARTBEAT);
    CHECK_EQ(cluster_transfer(c, 1, 2), 0); /* now it may */
    cluster_settle(c);
    check_leader(c, 2);
    cluster_free(c);
}

static void deposed_meanwhile(void)
{
    static const struct raft_message messages[] = {
        {.type = RAFT_HEARTBEAT_REPLY, .from = 2},
        {.type = RAFT_VOTE,
         .from = 2,
         .last_index = 9,
         .last_term = 9,
         .transfer = true}, /* of an earlier transfer */
    };
    for (size_t i = 0; i < 2; i++) {
        case_row("%s", raft_message_name(messages[i].type));
        struct cluster *c = three();
        cluster_isolate(c, 3);
        cluster_propose(c, 1, 1);
        cluster_settle(c);
        CHECK_EQ(cluster_transfer(c, 1, 3), 0);
        struct raft_message m = messages[i];
        m.term = raft_term_current(cluster_core(c, 1)) + 5;
        cluster_feed(c, 1, m);
        CHECK_EQ(raft_state(cluster_core(c, 1)), RAFT_FOLLOWER);
        CHECK_EQ(raft_transfer_target(cluster_core(c, 1)), 0);
        CHECK_EQ(cluster_propose(c, 1, 1), ERR_NO_LEADER);
        cluster_heal(c);
        cluster_run(c, 4 * ELECTION_TIMEOUT);
        raft_id leader = cluster_leader(c);
        REQUIRE(leader);
        CHECK(c->nodes[1].transfer_status != 0); /* how it ended is told in every case */
        CHECK_EQ(cluster_propose(c, leader, 1), 0);
        cluster_free(c);
    }
}

static void lost_timeout_now_is_repeated(void)
{
    struct cluster *c = three();
    c->dropped[RAFT_TIMEOUT_NOW] = true;
    CHECK_EQ(cluster_transfer(c, 1, 2), 0);
    cluster_run(c, 2 * HEARTBEAT);
    check_leader(c, 1);
    c->dropped[RAFT_TIMEOUT_NOW] = false;
    cluster_run(c, 2 * HEARTBEAT);
    check_leader(c, 2);
    cluster_free(c);
}

static void target_does_not_campaign(void)
{
    const struct {
        const char *what;
        uint32_t flags;
        bool in;
    } table[] = {{"learner", 0, true}, {"no member", 0, false}};
    for (size_t i = 0; i < 2; i++) {
        case_row("%s", table[i].what);
        struct raft_configuration configuration = {.index = 1};
        if (table[i].in)
            configuration_add(&configuration, 1, table[i].flags);
        configuration_add(&configuration, 2, RAFT_VOTER);
        configuration_add(&configuration, 3, RAFT_VOTER);
        struct cluster *c =
            cluster_new((struct cluster_plan){.alone = true, .configuration = &configuration});
        cluster_append(c, 1, APPEND(2, 2, 1, 1, TERMS(2), 2));
        const struct raft_message *reply = cluster_feed(
            c, 1, (struct raft_message){.type = RAFT_TIMEOUT_NOW, .from = 2, .term = 2});
        CHECK(reply);
        cluster_feed(
            c, 1,
            (struct raft_message){.type = RAFT_VOTE_REPLY, .from = 2, .term = 2, .granted = true});
        cluster_feed(
            c, 1,
            (struct raft_message){.type = RAFT_VOTE_REPLY, .from = 3, .term = 2, .granted = true});
        CHECK_EQ(raft_state(cluster_core(c, 1)), RAFT_FOLLOWER);
        CHECK_EQ(raft_term_current(cluster_core(c, 1)), 2);
        CHECK_EQ(cluster_count(c, RAFT_VOTE, 1, 0) + cluster_count(c, RAFT_PRE_VOTE, 1, 0), 0);
        cluster_free(c);
    }
}

/* Its target leaves the cluster: an earlier change, still running, takes it out. */
static void target_is_removed(void)
{
    struct cluster *c = three();
    REQUIRE(cluster_change(c, 1, (struct raft_change){.kind = RAFT_REMOVE, .id = 3}) == 0);
    CHECK_EQ(cluster_transfer(c, 1, 3), ERR_BAD_REQUEST); /* voter of C_old only */
    cluster_settle(c);
    CHECK_EQ(cluster_transfer(c, 1, 3), ERR_NOT_FOUND);
    CHECK_EQ(cluster_propose(c, 1, 1), 0);
    check_leader(c, 1);
    cluster_free(c);

    /* Joint configuration in the log, transfer to a member that C_new will not have: not even
     * begun. */
    c = three();
    cluster_hold(c, 2, 1);
    cluster_hold(c, 3, 1);
    REQUIRE(cluster_change(c, 1, (struct raft_change){.kind = RAFT_REMOVE, .id = 2}) == 0);
    CHECK_EQ(cluster_transfer(c, 1, 3), 0); /* one that stays is fine, in the middle of a change */
    CHECK_EQ(cluster_propose(c, 1, 1), ERR_AGAIN);
    cluster_heal(c);
    cluster_run(c, 2 * HEARTBEAT);
    check_leader(c, 3);
    cluster_run(c, ELECTION_TIMEOUT);
    CHECK(!raft_change_pending(cluster_core(c, 3))); /* the new leader has ended the change */
    CHECK(!raft_configuration_find(raft_configuration_latest(cluster_core(c, 3)), 2));
    cluster_free(c);
}

/* A target that crashed while it was to take over: the leader goes on. */
static void target_crashes(void)
{
    struct cluster *c = three();
    cluster_hold(c, 1, 2);
    CHECK_EQ(cluster_transfer(c, 1, 2), 0);
    cluster_crash(c, 2);
    cluster_heal(c);
    cluster_run(c, 2 * ELECTION_TIMEOUT);
    check_leader(c, 1);
    CHECK_EQ(c->nodes[1].transfer_status, ERR_TIMEOUT);
    cluster_restart(c, 2);
    cluster_run(c, ELECTION_TIMEOUT);
    check_leader(c, 1);
    cluster_free(c);
}

/* One that votes in C_old only has no future here, however much of the log it has. */
static void a_leaving_voter_is_not_the_best(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true, .voters = 4});
    cluster_become_ready(c, 1);
    CHECK_EQ(cluster_change(c, 1, (struct raft_change){.kind = RAFT_REMOVE, .id = 2}), 0);
    cluster_ack(c, 1, 2, 3);
    REQUIRE(raft_configuration_latest(cluster_core(c, 1))->joint);
    CHECK_EQ(cluster_transfer(c, 1, 0), 0);
    CHECK_EQ(raft_transfer_target(cluster_core(c, 1)), 3);
    cluster_free(c);
}

/* Only the target's own word ends it. */
static void only_the_target_declines(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
    cluster_become_ready(c, 1);
    CHECK_EQ(cluster_transfer(c, 1, 2), 0);
    struct raft_message reply = {.type = RAFT_TIMEOUT_NOW_REPLY, .from = 3, .term = 2};
    cluster_feed(c, 1, reply);
    CHECK_EQ(raft_transfer_target(cluster_core(c, 1)), 2);
    reply.from = 2;
    reply.granted = true;
    cluster_feed(c, 1, reply);
    CHECK_EQ(raft_transfer_target(cluster_core(c, 1)), 2);
    reply.granted = false;
    cluster_feed(c, 1, reply);
    CHECK_EQ(raft_transfer_target(cluster_core(c, 1)), 0);
    CHECK_EQ(c->nodes[1].transfer_status, ERR_AGAIN);
    cluster_free(c);
}

/* Deposed, and elected again before anybody else was: it was not handed over. */
static void led_by_ourselves_again(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
    cluster_become_ready(c, 1);
    CHECK_EQ(cluster_transfer(c, 1, 2), 0);
    cluster_feed(c, 1, (struct raft_message){.type = RAFT_HEARTBEAT_REPLY, .from = 3, .term = 3});
    CHECK_EQ(raft_state(cluster_core(c, 1)), RAFT_FOLLOWER);
    cluster_feed(c, 1, (struct raft_message){.type = RAFT_TIMEOUT_NOW, .from = 3, .term = 3});
    CHECK_EQ(c->nodes[1].transfer_status, 1); /* 3 led */
    cluster_free(c);
    c = cluster_new((struct cluster_plan){.voters = 2});
    cluster_elect(c, 1);
    cluster_run(c, 2 * HEARTBEAT);
    c->dropped[RAFT_TIMEOUT_NOW] = true;
    CHECK_EQ(cluster_transfer(c, 1, 2), 0);
    cluster_feed(c, 1,
                 (struct raft_message){.type = RAFT_HEARTBEAT_REPLY,
                                       .from = 2,
                                       .term = raft_term_current(cluster_core(c, 1)) + 1});
    CHECK_EQ(c->nodes[1].transfer_status, 0);
    for (uint64_t end = c->now_us + ELECTION_TIMEOUT; c->now_us < end;) {
        cluster_sleep(c, HEARTBEAT / 2);
        cluster_tick(c, 1);
    }
    CHECK_EQ(c->nodes[1].transfer_status, ERR_TIMEOUT);
    cluster_free(c);
}

/* No learner becomes a voter meanwhile: a change is a proposal, too. */
static void no_promotion_meanwhile(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true, .spares = 1});
    cluster_become_ready(c, 1);
    CHECK_EQ(
        cluster_change(
            c, 1, (struct raft_change){.kind = RAFT_ADD_LEARNER, .id = 4, .auto_promote = true}),
        0);
    cluster_ack(c, 1, 2, 3);
    CHECK_EQ(cluster_transfer(c, 1, 3), 0); /* which lags */
    cluster_ack(c, 1, 4, 3);
    CHECK(!raft_configuration_latest(cluster_core(c, 1))->joint);
    for (int i = 0; i < 11; i++) {
        cluster_sleep(c, HEARTBEAT);
        cluster_tick(c, 1);
        cluster_beat_reply(c, 1, 2, 0);
        cluster_beat_reply(c, 1, 4, 0);
    }
    CHECK_EQ(raft_transfer_target(cluster_core(c, 1)), 0);
    CHECK(raft_configuration_latest(cluster_core(c, 1))->joint);
    cluster_free(c);
}

static const struct test_case cases[] = {
    {"§3.10 to a follower in line, at once, and back", to_one_in_line},
    {"§3.10 the target stands without pre-vote, and says for whom", asks_outright},
    {"§3.10 the target's further attempts are ordinary ones", retries_are_ordinary},
    {"§3.10 a follower that lags is brought up to date first", to_one_that_lags},
    {"§3.10 a follower that needs a snapshot gets it first", to_one_that_needs_a_snapshot},
    {"§3.10 whom leadership cannot go to, and who can be asked", to_whom_not},
    {"§3.10 without a target the best follower is chosen", the_best_is_chosen},
    {"§3.10 not done within an election timeout: the leader goes on", times_out},
    {"§3.10 proposals and changes are refused meanwhile", proposals_are_refused_meanwhile},
    {"§3.10 a second transfer is refused and puts nothing off", a_second_one_is_refused},
    {"§3.10 a leader deposed meanwhile abandons it", deposed_meanwhile},
    {"§3.10 a lost TimeoutNow is repeated", lost_timeout_now_is_repeated},
    {"§3.10 who is no voter does not campaign when told to", target_does_not_campaign},
    {"§3.10 a target that leaves the cluster is none", target_is_removed},
    {"§3.10 a target that crashes", target_crashes},
    {"§3.10 a leaving voter is not the best follower", a_leaving_voter_is_not_the_best},
    {"§3.10 only the target's refusal ends it", only_the_target_declines},
    {"§3.10 a deposed leader tells how it ended", led_by_ourselves_again},
    {"§3.10 no learner is promoted meanwhile", no_promotion_meanwhile},
};

CASES_MAIN(cases)
