/* A server that was removed stands no more, whatever it slept through and however often it is
 * started (§4.2.2, §4.2.3). */
#include "lib/base/err.h"
#include "tests/support/cluster.h"

static const struct raft_configuration *latest(struct cluster *c, raft_id id)
{
    return raft_configuration_latest(cluster_core(c, id));
}

static struct cluster *elected(struct cluster_plan plan)
{
    struct cluster *c = cluster_new(plan);
    cluster_elect(c, 1);
    cluster_run(c, 2 * HEARTBEAT);
    return c;
}

static raft_index remove_it(struct cluster *c, raft_id id)
{
    CHECK_EQ(cluster_change(c, 1, (struct raft_change){.kind = RAFT_REMOVE, .id = id}), 0);
    cluster_run(c, HEARTBEAT);
    CHECK(!raft_change_pending(cluster_core(c, 1)));
    CHECK(!raft_configuration_find(latest(c, 1), id));
    return latest(c, 1)->index;
}

static int tell(struct cluster *c, raft_id id, raft_index index)
{
    return cluster_step(c, id, (struct raft_event){.type = RAFT_REMOVED, .index = index});
}

/* Its clock goes on, nothing reaches it, and nobody hears of it. */
static bool keeps_quiet(struct cluster *c, raft_id id)
{
    raft_term term = raft_term_current(cluster_core(c, id));
    cluster_forget(c);
    for (int i = 0; i < 100; i++) {
        cluster_sleep(c, ELECTION_TIMEOUT / 4);
        cluster_tick(c, id);
        if (cluster_count(c, ANY, id, 0) > 0)
            return false;
    }
    return raft_state(cluster_core(c, id)) == RAFT_FOLLOWER &&
           raft_term_current(cluster_core(c, id)) == term;
}

/* From its disk, the state machine having forgotten all but the beginning: what it had applied does
 * not tell it any more what was committed. */
static void start_behind(struct cluster *c, raft_id id)
{
    cluster_crash(c, id);
    c->nodes[id].applied = 1;
    cluster_restart(c, id);
}

static void remembered(void)
{
    struct cluster *c = elected((struct cluster_plan){.voters = 3});
    CHECK(!raft_removed(cluster_core(c, 3)));
    raft_index at = remove_it(c, 3);
    CHECK(raft_removed(cluster_core(c, 3)));
    CHECK_EQ(raft_removed_index(cluster_core(c, 3)), at);
    CHECK_EQ(c->nodes[3].disk->removed, at);
    CHECK(!raft_removed(cluster_core(c, 1)));
    CHECK_EQ(raft_removed_index(cluster_core(c, 1)), 0);
    for (int life = 0; life < 2; life++) {
        start_behind(c, 3);
        REQUIRE(raft_commit_index(cluster_core(c, 3)) < at);
        CHECK(raft_removed(cluster_core(c, 3)));
        CHECK(keeps_quiet(c, 3));
    }
    /* Nor when it is told to, by a leader of long ago. */
    const struct raft_message *reply =
        cluster_feed(c, 3,
                     (struct raft_message){.type = RAFT_TIMEOUT_NOW,
                                           .from = 2,
                                           .term = raft_term_current(cluster_core(c, 3)) + 1});
    REQUIRE(reply);
    CHECK(!reply->granted);
    CHECK_EQ(raft_state(cluster_core(c, 3)), RAFT_FOLLOWER);
    cluster_free(c);
}

/* It knew, and fell before its disk did: it asks until it is told, and never again. */
static void before_the_disk_has_it(void)
{
    struct cluster *c = elected((struct cluster_plan){.voters = 3});
    cluster_hold(c, 1, 3);
    raft_index at = remove_it(c, 3);
    while (raft_last_index(cluster_core(c, 3)) < at) {
        REQUIRE(cluster_pass(c, ANY, 1, 3));
        cluster_settle(c);
    }
    cluster_disk_hold(c, 3);
    while (!raft_removed(cluster_core(c, 3)))
        REQUIRE(cluster_pass(c, ANY, 1, 3));
    start_behind(c, 3);
    c->nodes[3].disk_held = false;
    CHECK_EQ(latest(c, 3)->index, at);
    CHECK(!raft_configuration_find(latest(c, 3), 3));
    CHECK(!raft_removed(cluster_core(c, 3)));
    CHECK(!keeps_quiet(c, 3)); /* perhaps nobody else has that entry (§4.2.2) */
    CHECK_EQ(tell(c, 3, at), 0);
    CHECK(raft_removed(cluster_core(c, 3)));
    CHECK_EQ(raft_state(cluster_core(c, 3)), RAFT_FOLLOWER);
    CHECK(keeps_quiet(c, 3));
    start_behind(c, 3);
    CHECK(keeps_quiet(c, 3));
    cluster_free(c);
}

static void slept_through_it(void)
{
    struct cluster *c = elected((struct cluster_plan){.voters = 3});
    cluster_isolate(c, 3);
    cluster_propose(c, 1, 1);
    raft_index at = remove_it(c, 3);
    CHECK(!keeps_quiet(c, 3));
    CHECK(!raft_removed(cluster_core(c, 3)));
    CHECK(raft_configuration_find(latest(c, 3), 3));
    CHECK(raft_state(cluster_core(c, 3)) == RAFT_PRE_CANDIDATE);
    CHECK_EQ(tell(c, 3, at), 0);
    CHECK(raft_removed(cluster_core(c, 3)));
    CHECK_EQ(c->nodes[3].disk->removed, at);
    CHECK(keeps_quiet(c, 3));
    start_behind(c, 3);
    CHECK(raft_removed(cluster_core(c, 3)));
    CHECK(keeps_quiet(c, 3));
    CHECK_EQ(tell(c, 3, at - 1), 0); /* nothing new */
    CHECK_EQ(raft_removed_index(cluster_core(c, 3)), at);
    /* It votes: who asks may need it (§4.1). */
    const struct raft_message *reply = cluster_feed(
        c, 3,
        (struct raft_message){
            .type = RAFT_PRE_VOTE, .from = 2, .term = 9, .last_term = 9, .last_index = 99});
    REQUIRE(reply);
    CHECK(reply->granted);
    cluster_free(c);
}

/* A leader that has been removed behind its back is none any more. */
static void a_leader_is_told(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
    cluster_become_ready(c, 1);
    raft_index last = raft_last_index(cluster_core(c, 1));
    CHECK_EQ(tell(c, 1, last + 5), 0);
    CHECK_EQ(raft_state(cluster_core(c, 1)), RAFT_FOLLOWER);
    CHECK_EQ(cluster_propose(c, 1, 1), ERR_NO_LEADER);
    CHECK(keeps_quiet(c, 1));
    cluster_free(c);
}

/* What is older than the configuration that is known here, or the same and with us in it, is no
 * news. */
static void later_configurations_know_better(void)
{
    struct raft_configuration with = cluster_configuration(5, 4, 0), without = {.index = 7};
    configuration_add(&without, 2, RAFT_VOTER);
    configuration_add(&without, 3, RAFT_VOTER);
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true, .spares = 1});
    CHECK_EQ(tell(c, 1, 0), ERR_BAD_REQUEST);
    CHECK_EQ(tell(c, 1, (raft_index)1 << 62), ERR_BAD_REQUEST);
    CHECK_EQ(tell(c, 1, 1), 0); /* that is the one with us */
    struct cluster_append a = APPEND(2, 2, 1, 1, TERMS(2, 2, 2, 2), 1);
    a.configuration = &with;
    REQUIRE(cluster_append(c, 1, a));
    for (raft_index at = 1; at <= 5; at++)
        CHECK_EQ(tell(c, 1, at), 0);
    CHECK(!raft_removed(cluster_core(c, 1)));
    CHECK_EQ(raft_removed_index(cluster_core(c, 1)), 0);
    a = APPEND(2, 2, 5, 2, TERMS(2, 2), 5);
    a.configuration = &without;
    REQUIRE(cluster_append(c, 1, a));
    CHECK(!raft_removed(cluster_core(c, 1))); /* not committed: it may go again */
    CHECK_EQ(tell(c, 1, 6), 0);
    CHECK(!raft_removed(cluster_core(c, 1)));
    CHECK_EQ(tell(c, 1, 7), 0); /* now it is */
    CHECK(raft_removed(cluster_core(c, 1)));
    /* Added again, at a later index. */
    with.index = 8;
    a = APPEND(2, 2, 7, 2, TERMS(2), 7);
    a.configuration = &with;
    REQUIRE(cluster_append(c, 1, a));
    CHECK(!raft_removed(cluster_core(c, 1)));
    CHECK_EQ(raft_removed_index(cluster_core(c, 1)), 7);
    CHECK(!keeps_quiet(c, 1));
    start_behind(c, 1);
    CHECK(!raft_removed(cluster_core(c, 1)));
    CHECK(!keeps_quiet(c, 1));
    /* … and removed again, which is not committed yet. */
    without.index = 9;
    a = APPEND(2, 3, 8, 2, TERMS(3), 7);
    a.configuration = &without;
    REQUIRE(cluster_append(c, 1, a));
    CHECK(!raft_removed(cluster_core(c, 1)));
    CHECK(!keeps_quiet(c, 1));
    /* … and those entries are truncated: what stands is the first removal. */
    a = APPEND(3, 9, 7, 2, TERMS(9), 7);
    REQUIRE(cluster_append(c, 1, a));
    CHECK(raft_removed(cluster_core(c, 1)));
    CHECK(keeps_quiet(c, 1));
    cluster_free(c);
}

/* A learner that reads the log from its beginning meets configurations from before its time. */
static void before_its_time(void)
{
    struct cluster *c = elected((struct cluster_plan){
        .voters = 3, .spares = 1, .append_entries_max = 1, .inflight_max = 1});
    CHECK_EQ(tell(c, 4, 9), 0); /* never a member: never removed */
    CHECK(!raft_removed(cluster_core(c, 4)));
    cluster_propose(c, 1, 5);
    remove_it(c, 3);
    CHECK_EQ(
        cluster_change(
            c, 1, (struct raft_change){.kind = RAFT_ADD_LEARNER, .id = 4, .auto_promote = true}),
        0);
    cluster_hold(c, 1, 4);
    while (!raft_configuration_find(latest(c, 4), 4)) {
        CHECK(!raft_removed(cluster_core(c, 4)));
        if (!cluster_pass(c, ANY, 1, 4))
            cluster_run(c, HEARTBEAT);
    }
    cluster_heal(c);
    cluster_run(c, 2 * ELECTION_TIMEOUT);
    CHECK(raft_configuration_is_voter(latest(c, 4), 4));
    CHECK_EQ(raft_removed_index(cluster_core(c, 4)), 0);
    cluster_free(c);
}

/* By a snapshot, too. */
static void by_a_snapshot(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
    struct raft_snapshot s = {.index = 20, .term = 5, .configuration = {.index = 15}};
    configuration_add(&s.configuration, 2, RAFT_VOTER);
    configuration_add(&s.configuration, 3, RAFT_VOTER);
    cluster_install(c, 1, &s);
    CHECK(raft_removed(cluster_core(c, 1)));
    CHECK_EQ(c->nodes[1].disk->removed, 15);
    CHECK(keeps_quiet(c, 1));
    cluster_crash(c, 1);
    cluster_restart(c, 1);
    CHECK(raft_removed(cluster_core(c, 1)));
    cluster_free(c);
}

/* That it was a member only the snapshot says, from which it starts. */
static void member_by_its_snapshot(void)
{
    struct raft_configuration without = {.index = 4};
    configuration_add(&without, 2, RAFT_VOTER);
    configuration_add(&without, 3, RAFT_VOTER);
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
    REQUIRE(cluster_append(c, 1, APPEND(2, 2, 1, 1, TERMS(2, 2), 3)));
    cluster_compact(c, 1, 3);
    cluster_restart(c, 1);
    struct cluster_append a = APPEND(2, 2, 3, 2, TERMS(2), 4);
    a.configuration = &without;
    REQUIRE(cluster_append(c, 1, a));
    CHECK(raft_removed(cluster_core(c, 1)));
    CHECK_EQ(c->nodes[1].disk->removed, 4);
    CHECK(keeps_quiet(c, 1));
    cluster_free(c);
}

static const struct test_case cases[] = {
    {"§4.2.2 a removal is remembered over restarts", remembered},
    {"§4.2.2 removed, and down before the disk has it: asks until it is told",
     before_the_disk_has_it},
    {"§4.2.3 removed while it slept: told once, it stands no more", slept_through_it},
    {"§4.2.2 a leader removed behind its back steps down when told", a_leader_is_told},
    {"§4.1 a later configuration takes a removal back", later_configurations_know_better},
    {"§4.2.1 configurations from before a learner's time do not remove it", before_its_time},
    {"§5.3 a snapshot without us removes us", by_a_snapshot},
    {"§5.1 a member by the snapshot that it started from", member_by_its_snapshot},
};

CASES_MAIN(cases)
