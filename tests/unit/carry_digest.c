/* Replicas that differ: the minority is found by the digests that heartbeats bear, and fenced. */
#include <string.h>

#include "tests/support/carry_rig.h"

static const struct digest right = {.hi = 1, .lo = 1}, wrong = {.hi = 2, .lo = 2},
                           other = {.hi = 3, .lo = 3};

static void flushed(struct rig *r, raft_id id, raft_index index, struct digest value)
{
    carry_flushed(rig_carry(r, id), index, value, r->now_us);
}

/* What a follower's heartbeat reply bears. */
static void tell(struct rig *r, raft_id from, raft_id leader)
{
    struct peer_message m = {
        .message = {.type = RAFT_HEARTBEAT_REPLY,
                    .from = from,
                    .to = leader,
                    .term = raft_term_current(rig_core(r, leader))},
        .digest = carry_digest_last(rig_carry(r, from)),
    };

    carry_digest_heard(rig_carry(r, leader), &m, r->now_us);
}

static void heartbeat(struct rig *r)
{
    rig_run(r, 2 * RIG_HEARTBEAT);
    rig_settle(r);
}

static struct rig *three(struct digest first, struct digest second, struct digest third)
{
    struct rig *r = rig_new((struct rig_plan){0});

    rig_elect(r, 1);
    rig_put_now(r, 1, "k", "v");
    flushed(r, 1, 8, first);
    flushed(r, 2, 8, second);
    flushed(r, 3, 8, third);
    tell(r, 2, 1);
    tell(r, 3, 1);
    heartbeat(r);
    return r;
}

static void equal_states_fence_nobody(void)
{
    struct rig *r = three(right, right, right);

    for (raft_id id = 1; id <= 3; id++) {
        CHECK(!carry_fenced(rig_carry(r, id)));
        CHECK_EQ(carry_digest_disputed(rig_carry(r, id)), 0);
    }
    CHECK_EQ(raft_state(rig_core(r, 1)), RAFT_LEADER);
    rig_free(r);
}

static void a_follower_in_the_minority_is_fenced(void)
{
    struct rig *r = three(right, right, wrong);
    struct rig_request *q;

    CHECK(!carry_fenced(rig_carry(r, 1)));
    CHECK(!carry_fenced(rig_carry(r, 2)));
    CHECK(carry_fenced(rig_carry(r, 3)));
    q = rig_get(r, 3, "k", CARRY_STALE);
    rig_settle(r);
    CHECK_EQ(q->answers, 1);
    CHECK_EQ(q->answer.code, ERR_NO_LEADER);
    q = rig_get(r, 2, "k", CARRY_LINEARIZABLE);
    rig_settle(r);
    CHECK(q->served);
    rig_put_now(r, 1, "k", "v2"); /* it still votes and appends */
    CHECK_EQ(raft_last_index(rig_core(r, 3)), raft_last_index(rig_core(r, 1)));
    rig_free(r);
}

/* Reads that came before it was known: none is told what the wrong state says. */
static void reads_that_wait_when_it_is_fenced(void)
{
    struct rig *r = rig_new((struct rig_plan){0});
    struct rig_request *waits, *evaluated;

    rig_elect(r, 1);
    rig_put_now(r, 1, "k", "v");
    waits = rig_read(r, 3,
                     (struct rig_read){.key = "k",
                                       .mode = CARRY_STALE,
                                       .min_index = carry_applied_index(rig_carry(r, 3)) + 1});
    r->nodes[3].hold.results = true;
    evaluated = rig_get(r, 3, "k", CARRY_STALE);
    rig_settle(r);
    CHECK_EQ(evaluated->evaluations, 1);
    flushed(r, 1, 8, right);
    flushed(r, 2, 8, right);
    flushed(r, 3, 8, wrong);
    tell(r, 2, 1);
    tell(r, 3, 1);
    heartbeat(r);
    REQUIRE(carry_fenced(rig_carry(r, 3)));
    CHECK_EQ(waits->answers + evaluated->answers, 0);
    r->nodes[3].hold.results = false;
    rig_put_now(r, 1, "k", "v2"); /* what the one waited for */
    heartbeat(r);
    CHECK_EQ(waits->answers, 1);
    CHECK_EQ(waits->answer.code, ERR_NO_LEADER);
    CHECK_EQ(evaluated->answers, 1);
    CHECK_EQ(evaluated->answer.code, ERR_NO_LEADER);
    rig_free(r);
}

static void a_fenced_node_stands_for_no_election(void)
{
    struct rig *r = three(right, right, wrong);

    rig_cut(r, 1, true);
    rig_run(r, 10 * RIG_ELECTION);
    CHECK_EQ(raft_state(rig_core(r, 3)), RAFT_FOLLOWER);
    CHECK_EQ(rig_leader(r), 2);
    rig_free(r);
}

static void a_leader_in_the_minority_steps_down(void)
{
    struct rig *r = three(wrong, right, right);

    CHECK(carry_fenced(rig_carry(r, 1)));
    CHECK(raft_state(rig_core(r, 1)) != RAFT_LEADER);
    rig_run(r, 10 * RIG_ELECTION);
    CHECK(rig_leader(r) == 2 || rig_leader(r) == 3);
    rig_free(r);
}

static void without_a_majority_it_is_an_alarm(void)
{
    struct rig *r = three(right, wrong, other);

    CHECK_EQ(carry_digest_disputed(rig_carry(r, 1)), 8);
    for (raft_id id = 1; id <= 3; id++) {
        CHECK(!carry_fenced(rig_carry(r, id)));
    }
    rig_free(r);
}

static void who_has_not_told_yet_is_waited_for(void)
{
    struct rig *r = rig_new((struct rig_plan){0});

    rig_elect(r, 1);
    flushed(r, 1, 8, right);
    flushed(r, 2, 8, wrong);
    tell(r, 2, 1);
    heartbeat(r);
    CHECK_EQ(carry_digest_disputed(rig_carry(r, 1)), 0);
    CHECK(!carry_fenced(rig_carry(r, 1)) && !carry_fenced(rig_carry(r, 2)));
    flushed(r, 3, 8, right);
    tell(r, 3, 1);
    heartbeat(r);
    CHECK(carry_fenced(rig_carry(r, 2)));
    rig_free(r);
}

static void digests_of_another_term_say_nothing(void)
{
    struct rig *r = rig_new((struct rig_plan){0});
    struct peer_message m = {.message = {.type = RAFT_HEARTBEAT, .from = 2, .to = 1, .term = 0},
                             .digest = {.index = 8, .value = wrong}};

    rig_elect(r, 1);
    flushed(r, 1, 8, right);
    carry_digest_heard(rig_carry(r, 1), &m, r->now_us);
    CHECK(!carry_fenced(rig_carry(r, 1)));
    rig_free(r);
}

static const struct test_case cases[] = {
    {"equal states fence nobody", equal_states_fence_nobody},
    {"a follower in the minority is fenced", a_follower_in_the_minority_is_fenced},
    {"reads that wait when their node is fenced are refused", reads_that_wait_when_it_is_fenced},
    {"a fenced node stands for no election", a_fenced_node_stands_for_no_election},
    {"a leader in the minority steps down", a_leader_in_the_minority_steps_down},
    {"without a majority it is an alarm", without_a_majority_it_is_an_alarm},
    {"who has not told yet is waited for", who_has_not_told_yet_is_waited_for},
    {"digests of another term say nothing", digests_of_another_term_say_nothing},
};

CASES_MAIN(cases)
