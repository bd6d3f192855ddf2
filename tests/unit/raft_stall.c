/* A node that cannot write (stalled), or whose state diverged (fenced): it hands leadership over
 * and does not stand; it goes on voting and appending. */
#include "lib/base/err.h"
#include "tests/support/cluster.h"

static struct cluster *three(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.voters = 3});
    cluster_elect(c, 1);
    cluster_run(c, 2 * HEARTBEAT);
    return c;
}

static void withhold(struct cluster *c, raft_id id, bool fence, bool on)
{
    if (fence)
        cluster_fence(c, id, on);
    else
        cluster_stall(c, id, on);
}

static void leader_hands_over(void)
{
    for (int fence = 0; fence <= 1; fence++) {
        case_row(fence ? "fenced" : "stalled");
        struct cluster *c = three();
        cluster_hold(c, 1, 3);
        cluster_propose(c, 1, 5); /* 2 has more of the log */
        cluster_settle(c);
        uint64_t begin = c->now_us;
        withhold(c, 1, fence, true);
        CHECK_EQ(raft_state(cluster_core(c, 1)), RAFT_FOLLOWER);
        CHECK_EQ(cluster_count(c, RAFT_TIMEOUT_NOW, 1, 2), 1);
        CHECK_EQ(cluster_propose(c, 1, 1), ERR_NO_LEADER);
        cluster_heal(c);
        cluster_settle(c);
        CHECK_EQ(cluster_leader(c), 2);
        CHECK_EQ(c->now_us, begin); /* nobody waits for a timeout */
        cluster_propose(c, 2, 1);
        cluster_run(c, 2 * HEARTBEAT);
        CHECK(cluster_equal_logs(c)); /* it goes on appending */
        cluster_free(c);
    }
}

/* Entries are under way to 3 alone, which nobody knows to be longer than 2: if 2 were told at once,
 * 3 would refuse it its vote, and an election timeout would pass. */
static struct cluster *three_with_entries_under_way(void)
{
    struct cluster *c = three();
    cluster_hold(c, 1, 2);
    cluster_hold(c, 3, 1);
    cluster_propose(c, 1, 5);
    cluster_settle(c);
    return c;
}

static void waits_for_the_longest_log(void)
{
    for (int fence = 0; fence <= 1; fence++) {
        case_row(fence ? "fenced" : "stalled");
        struct cluster *c = three_with_entries_under_way();
        const struct raft *leader = cluster_core(c, 1);
        uint64_t begin = c->now_us;
        withhold(c, 1, fence, true);
        CHECK_EQ(raft_state(leader), RAFT_LEADER);
        CHECK(raft_handing_over(leader));
        CHECK_EQ(cluster_count(c, RAFT_TIMEOUT_NOW, 1, 0), 0);
        CHECK_EQ(cluster_propose(c, 1, 1), ERR_AGAIN);
        CHECK_EQ(cluster_transfer(c, 1, 2), ERR_AGAIN);
        CHECK_EQ(cluster_change(c, 1, (struct raft_change){.kind = RAFT_REMOVE, .id = 2}),
                 ERR_AGAIN);
        REQUIRE(cluster_pass(c, RAFT_APPEND_REPLY, 3, 1));
        CHECK_EQ(raft_state(leader), RAFT_FOLLOWER);
        CHECK_EQ(cluster_count(c, RAFT_TIMEOUT_NOW, 1, 3), 1);
        CHECK_EQ(cluster_count(c, RAFT_TIMEOUT_NOW, 1, 2), 0);
        cluster_heal(c);
        cluster_settle(c);
        CHECK_EQ(cluster_leader(c), 3);
        CHECK_EQ(c->now_us, begin);
        cluster_free(c);
    }
}

static void does_not_wait_for_long(void)
{
    struct cluster *c = three_with_entries_under_way();
    const struct raft *leader = cluster_core(c, 1);
    cluster_stall(c, 1, true);
    uint64_t begin = c->now_us;
    CHECK(c->nodes[1].wake_us <= begin + HEARTBEAT);
    cluster_sleep(c, HEARTBEAT - 1);
    cluster_tick(c, 1);
    CHECK_EQ(raft_state(leader), RAFT_LEADER);
    cluster_sleep(c, 1);
    cluster_tick(c, 1);
    CHECK_EQ(raft_state(leader), RAFT_FOLLOWER);
    CHECK_EQ(cluster_count(c, RAFT_TIMEOUT_NOW, 1, 0), 1);
    cluster_free(c);
}

static void ends_before_it_is_handed_over(void)
{
    for (int fence = 0; fence <= 1; fence++) {
        case_row(fence ? "fenced" : "stalled");
        struct cluster *c = three_with_entries_under_way();
        withhold(c, 1, fence, true);
        withhold(c, 1, !fence, true);
        withhold(c, 1, !fence, false);
        CHECK(raft_handing_over(cluster_core(c, 1))); /* one reason is left */
        withhold(c, 1, fence, false);
        CHECK(!raft_handing_over(cluster_core(c, 1)));
        cluster_heal(c);
        cluster_run(c, 2 * ELECTION_TIMEOUT);
        CHECK_EQ(cluster_leader(c), 1);
        CHECK_EQ(raft_term_current(cluster_core(c, 1)), 2);
        CHECK_EQ(cluster_propose(c, 1, 1), 0);
        cluster_free(c);
    }
}

static void heartbeats_end_with_the_disk(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
    cluster_become_ready(c, 1);
    cluster_beat_reply(c, 1, 2, 0);
    cluster_disk_hold(c, 1);
    cluster_propose(c, 1, 1);
    cluster_stall(c, 1, true);
    cluster_sleep(c, HEARTBEAT);
    cluster_tick(c, 1); /* nobody has the entry: it waits no longer */
    CHECK_EQ(cluster_count(c, RAFT_TIMEOUT_NOW, 1, 0), 1);
    cluster_forget(c);
    for (int i = 0; i < 100; i++) {
        cluster_sleep(c, HEARTBEAT);
        cluster_tick(c, 1);
    }
    CHECK_EQ(c->packet_count, 0); /* neither heartbeats nor a candidacy */
    CHECK_EQ(raft_term_current(cluster_core(c, 1)), 2);
    cluster_disk_release(c, 1);
    cluster_stall(c, 1, false);
    for (int i = 0; i < 25; i++) {
        cluster_sleep(c, HEARTBEAT);
        cluster_tick(c, 1);
    }
    CHECK(cluster_count(c, RAFT_PRE_VOTE, 1, 0) > 0); /* it may stand again */
    cluster_free(c);
}

/* Nobody answers: it steps down all the same. */
static void leader_without_heir(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
    cluster_become_ready(c, 1);
    cluster_sleep(c, 2 * ELECTION_TIMEOUT); /* their last answers are old */
    cluster_stall(c, 1, true);
    CHECK_EQ(raft_state(cluster_core(c, 1)), RAFT_FOLLOWER);
    CHECK_EQ(cluster_count(c, RAFT_TIMEOUT_NOW, 1, 0), 0);
    cluster_free(c);
}

/* A single voter has nobody to hand over to: it stays leader, and commits when the disk goes on. */
static void single_voter_stays(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.voters = 1, .learners = 1});
    cluster_run(c, HEARTBEAT);
    cluster_disk_hold(c, 1);
    cluster_propose(c, 1, 2);
    cluster_stall(c, 1, true);
    cluster_run(c, 5 * ELECTION_TIMEOUT);
    CHECK_EQ(cluster_leader(c), 1);
    CHECK_EQ(raft_commit_index(cluster_core(c, 1)), 2);
    cluster_disk_release(c, 1);
    cluster_stall(c, 1, false);
    CHECK_EQ(raft_commit_index(cluster_core(c, 1)), 4);
    CHECK_EQ(cluster_leader(c), 1);
    cluster_free(c);
}

static void candidates_give_up(void)
{
    for (int i = 0; i < 4; i++) {
        enum raft_state state = i & 1 ? RAFT_CANDIDATE : RAFT_PRE_CANDIDATE;
        case_row("%s %s", i & 2 ? "fenced" : "stalled", raft_state_name(state));
        struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
        cluster_become(c, 1, state);
        raft_term term = raft_term_current(cluster_core(c, 1));
        withhold(c, 1, i & 2, true);
        CHECK_EQ(raft_state(cluster_core(c, 1)), RAFT_FOLLOWER);
        for (raft_id from = 2; from <= 3; from++) {
            cluster_feed(c, 1,
                         (struct raft_message){
                             .type = RAFT_VOTE_REPLY, .from = from, .term = term, .granted = true});
            cluster_feed(
                c, 1,
                (struct raft_message){
                    .type = RAFT_PRE_VOTE_REPLY, .from = from, .term = term + 1, .granted = true});
        }
        CHECK_EQ(raft_state(cluster_core(c, 1)), RAFT_FOLLOWER);
        cluster_free(c);
    }
}

static void told_to_stand(void)
{
    for (int fence = 0; fence <= 1; fence++) {
        struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
        cluster_append(c, 1, APPEND(2, 2, 1, 1, TERMS(2), 2));
        withhold(c, 1, fence, true);
        const struct raft_message *reply = cluster_feed(
            c, 1, (struct raft_message){.type = RAFT_TIMEOUT_NOW, .from = 2, .term = 2});
        CHECK(reply && !reply->granted);
        CHECK_EQ(raft_state(cluster_core(c, 1)), RAFT_FOLLOWER);
        CHECK_EQ(raft_term_current(cluster_core(c, 1)), 2);
        cluster_free(c);
    }
}

/* It votes, and appends: what it promises waits for its disk as ever. */
static void still_votes(void)
{
    for (int fence = 0; fence <= 1; fence++) {
        struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
        withhold(c, 1, fence, true);
        const struct raft_message *reply = cluster_feed(
            c, 1,
            (struct raft_message){
                .type = RAFT_VOTE, .from = 2, .term = 2, .last_index = 1, .last_term = 1});
        REQUIRE(reply);
        CHECK(reply->granted);
        reply = cluster_append(c, 1, APPEND(2, 2, 1, 1, TERMS(2), 2));
        REQUIRE(reply);
        CHECK(reply->accepted);
        CHECK_EQ(raft_commit_index(cluster_core(c, 1)), 2);
        cluster_free(c);
    }
}

/* The hung leader of a cluster is replaced in time, loses nothing that was committed, and comes
 * back as a follower. */
static void cluster_survives_a_hung_disk(void)
{
    struct cluster *c = three();
    cluster_disk_hold(c, 1);
    cluster_propose(c, 1, 3); /* committed by the others' disks */
    cluster_settle(c);
    CHECK_EQ(raft_commit_index(cluster_core(c, 1)), 5);
    CHECK_EQ(c->nodes[1].applied, 2);
    cluster_run(c, ELECTION_TIMEOUT);
    uint64_t begin = c->now_us;
    cluster_stall(c, 1, true);
    while (cluster_leader(c) <= 1 && c->now_us < begin + 10 * ELECTION_TIMEOUT)
        cluster_run(c, HEARTBEAT);
    CHECK(c->now_us - begin <= 3 * ELECTION_TIMEOUT);
    raft_id leader = cluster_leader(c);
    REQUIRE(leader > 1);
    cluster_propose(c, leader, 1);
    cluster_run(c, 10 * ELECTION_TIMEOUT);
    CHECK_EQ(cluster_leader(c), leader);
    CHECK_EQ(raft_commit_index(cluster_core(c, leader)), raft_last_index(cluster_core(c, leader)));
    cluster_disk_release(c, 1);
    cluster_stall(c, 1, false);
    cluster_run(c, 3 * ELECTION_TIMEOUT);
    CHECK(cluster_equal_logs(c));
    CHECK_EQ(c->nodes[1].applied, c->nodes[leader].applied);
    CHECK_EQ(cluster_leader(c), leader);
    cluster_free(c);
}

/* Two of three: nobody may stand until one of them writes again. */
static void majority_stalled(void)
{
    struct cluster *c = three();
    cluster_stall(c, 2, true);
    cluster_stall(c, 3, true);
    cluster_crash(c, 1);
    cluster_run(c, 10 * ELECTION_TIMEOUT);
    CHECK_EQ(cluster_leader(c), 0);
    cluster_stall(c, 3, false);
    cluster_run(c, 5 * ELECTION_TIMEOUT);
    CHECK_EQ(cluster_leader(c), 3);
    cluster_free(c);
}

static void both_must_end(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
    cluster_stall(c, 1, true);
    cluster_stall(c, 1, true);
    cluster_fence(c, 1, true);
    cluster_stall(c, 1, false);
    for (int i = 0; i < 50; i++) {
        cluster_sleep(c, HEARTBEAT);
        cluster_tick(c, 1);
    }
    CHECK_EQ(c->packet_count, 0);
    cluster_fence(c, 1, false);
    for (int i = 0; i < 25; i++) {
        cluster_sleep(c, HEARTBEAT);
        cluster_tick(c, 1);
    }
    CHECK(c->packet_count > 0);
    cluster_free(c);
}

/* Its end is no reason for haste: whoever leads by then is heard first. */
static void no_haste_at_the_end(void)
{
    for (int fence = 0; fence <= 1; fence++) {
        case_row(fence ? "fenced" : "stalled");
        struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
        cluster_append(c, 1, APPEND(2, 2, 1, 1, TERMS(2), 2));
        withhold(c, 1, fence, true);
        cluster_sleep(c, 10 * ELECTION_TIMEOUT); /* a process that stood still */
        cluster_forget(c);
        withhold(c, 1, fence, false);
        cluster_tick(c, 1);
        cluster_sleep(c, ELECTION_TIMEOUT - 1);
        cluster_tick(c, 1);
        CHECK_EQ(raft_state(cluster_core(c, 1)), RAFT_FOLLOWER);
        CHECK_EQ(c->packet_count, 0);
        cluster_sleep(c, ELECTION_TIMEOUT + 1);
        cluster_tick(c, 1);
        CHECK_EQ(raft_state(cluster_core(c, 1)), RAFT_PRE_CANDIDATE);
        cluster_free(c);
    }
}

/* The only voter of C_new, while C_old is needed still: it is not alone. */
static void not_alone_while_joint(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true, .voters = 2});
    cluster_become_ready(c, 1);
    CHECK_EQ(cluster_change(c, 1, (struct raft_change){.kind = RAFT_REMOVE, .id = 2}), 0);
    REQUIRE(raft_configuration_latest(cluster_core(c, 1))->joint);
    cluster_stall(c, 1, true);
    CHECK_EQ(raft_state(cluster_core(c, 1)), RAFT_FOLLOWER);
    cluster_free(c);
}

static const struct test_case cases[] = {
    {"stalled or fenced, a leader hands over to the best follower at once", leader_hands_over},
    {"stalled or fenced, a leader waits for acknowledgements under way", waits_for_the_longest_log},
    {"stalled, a leader waits for a heartbeat, not longer", does_not_wait_for_long},
    {"stalled or fenced, but not for long: it goes on leading", ends_before_it_is_handed_over},
    {"stalled, it sends no heartbeats and does not stand until it ends",
     heartbeats_end_with_the_disk},
    {"stalled, a leader whom nobody answers steps down all the same", leader_without_heir},
    {"stalled, a single voter stays leader", single_voter_stays},
    {"stalled or fenced, candidates give up", candidates_give_up},
    {"stalled or fenced, it declines to stand when told to", told_to_stand},
    {"stalled or fenced, it goes on voting and appending", still_votes},
    {"a cluster survives its leader's hung disk", cluster_survives_a_hung_disk},
    {"a majority stalled elects nobody until one writes again", majority_stalled},
    {"stalled and fenced: both must end", both_must_end},
    {"stalled or fenced, then sound: an election timeout before it stands", no_haste_at_the_end},
    {"stalled, the only voter of C_new steps down while joint", not_alone_while_joint},
};

CASES_MAIN(cases)
