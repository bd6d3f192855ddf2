/* Joint consensus (§4.3), replacing members, roll-back of configurations (§4.1), and leaders that
 * are removed (§4.2.2). */
#include "lib/base/err.h"
#include "tests/support/cluster.h"
#include "tests/unit/tap.h"

static int change(struct cluster *c, raft_id leader, enum raft_change_kind kind, raft_id id,
                  raft_id new_id)
{
    return cluster_change(
        c, leader,
        (struct raft_change){.kind = kind, .id = id, .new_id = new_id, .auto_promote = true});
}

static const struct raft_configuration *latest(struct cluster *c, raft_id id)
{
    return raft_configuration_latest(cluster_core(c, id));
}

static uint32_t flags_of(struct cluster *c, raft_id of, raft_id id)
{
    const struct raft_member *m = raft_configuration_find(latest(c, of), id);
    return m ? m->flags : 99;
}

static struct cluster *elected(struct cluster_plan plan)
{
    struct cluster *c = cluster_new(plan);
    cluster_elect(c, 1);
    cluster_run(c, 2 * HEARTBEAT);
    return c;
}

static uint32_t configurations_in_log(struct cluster *c, raft_id id)
{
    uint32_t count = 0;
    for (raft_index i = 1; i <= c->nodes[id].last; i++)
        count += c->nodes[id].log[i].kind == RAFT_CONFIGURATION;
    return count;
}

/* ---- through the joint configuration ---- */

static void enters_and_leaves(void)
{
    struct cluster *c = elected((struct cluster_plan){.voters = 3, .learners = 1});
    cluster_hold(c, 2, 1);
    cluster_hold(c, 3, 1);
    CHECK_EQ(change(c, 1, RAFT_PROMOTE, 4, 0), 0);
    cluster_settle(c);
    for (raft_id of = 1; of <= 4; of++) { /* in force on every server as soon as it has the entry */
        CHECK(latest(c, of)->joint);
        CHECK_EQ(flags_of(c, of, 1), RAFT_VOTER | RAFT_VOTER_OLD);
        CHECK_EQ(flags_of(c, of, 4), RAFT_VOTER);
        CHECK_EQ(latest(c, of)->index, 3);
        CHECK(raft_configuration_committed(cluster_core(c, of))->index == 1);
    }
    CHECK_EQ(change(c, 1, RAFT_REMOVE, 2, 0), ERR_CONFLICT); /* not twice into it */
    cluster_propose(c, 1, 2);
    cluster_settle(c);
    CHECK_EQ(raft_commit_index(cluster_core(c, 1)), 2); /* 4 alone is no majority of C_old */
    cluster_heal(c);
    cluster_settle(c);
    CHECK(!latest(c, 1)->joint);
    CHECK_EQ(flags_of(c, 1, 4), RAFT_VOTER);
    CHECK_EQ(flags_of(c, 1, 1), RAFT_VOTER);
    CHECK(!raft_change_pending(cluster_core(c, 1)));
    cluster_propose(c, 1, 3);
    cluster_run(c, ELECTION_TIMEOUT);
    CHECK_EQ(configurations_in_log(c, 1), 3); /* C_old, C_old,new, C_new: left once */
    CHECK(cluster_equal_logs(c));
    for (raft_id of = 1; of <= 4; of++)
        CHECK_EQ(raft_configuration_committed(cluster_core(c, of))->index, latest(c, 1)->index);
    cluster_free(c);
}

/* Whoever leads next ends the change, at whatever point the first leader was lost. */
static void next_leader_leaves(void)
{
    for (int point = 0; point <= 2; point++) {
        case_row("point %d", point);
        struct cluster *c = elected((struct cluster_plan){.voters = 3, .learners = 1});
        cluster_hold(c, 2, 1);
        cluster_hold(c, 3, 1);
        cluster_hold(c, 4, 1);
        CHECK_EQ(change(c, 1, RAFT_PROMOTE, 4, 0), 0);
        cluster_settle(c);
        for (int i = 0; i < 3 * point; i++) /* 1: it is committed; 2: C_new is out too */
            for (raft_id from = 2; from <= 4; from++)
                cluster_pass(c, RAFT_APPEND_REPLY, from, 1);
        if (point == 2)
            cluster_settle(c);
        CHECK_EQ(raft_commit_index(cluster_core(c, 1)) >= 3, point > 0);
        cluster_crash(c, 1);
        cluster_heal(c);
        cluster_elect(c, 3);
        cluster_run(c, ELECTION_TIMEOUT);
        CHECK(!latest(c, 3)->joint);
        CHECK(!raft_change_pending(cluster_core(c, 3)));
        CHECK_EQ(flags_of(c, 2, 4), RAFT_VOTER);
        CHECK_EQ(configurations_in_log(c, 3), 3);
        cluster_restart(c, 1);
        cluster_run(c, 2 * ELECTION_TIMEOUT);
        CHECK(cluster_equal_logs(c));
        cluster_free(c);
    }
}

/* Elections in between need a majority of each, and so do commits. */
static void both_majorities_elect(void)
{
    struct raft_configuration configuration = {.index = 1, .joint = true};
    for (raft_id id = 1; id <= 6; id++)
        configuration_add(&configuration, id, id <= 3 ? RAFT_VOTER_OLD : RAFT_VOTER);
    static const struct {
        raft_id down[4];
        bool elects;
    } table[] = {{{0}, true},        {{3, 6}, true}, {{2, 3}, false},
                 {{5, 6}, false},    {{1, 4}, true}, {{1, 2, 3}, false},
                 {{4, 5, 6}, false}, {{6}, true},    {{2, 3, 5, 6}, false}};
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        case_row("row %zu", i);
        struct cluster *c =
            cluster_new((struct cluster_plan){.voters = 6, .configuration = &configuration});
        for (int k = 0; k < 4 && table[i].down[k]; k++)
            cluster_crash(c, table[i].down[k]);
        cluster_run(c, 12 * ELECTION_TIMEOUT);
        raft_id leader = cluster_leader(c);
        CHECK_EQ(leader != 0, table[i].elects);
        if (leader) { /* and it ends the change: who was in C_old only is out */
            CHECK(!latest(c, leader)->joint);
            CHECK_EQ(latest(c, leader)->count, 3);
            CHECK(leader >= 4);
        }
        cluster_free(c);
    }
}

/* By the latest configuration in its log, committed or not (§4.1): that is whom a candidate asks
 * and who elects it. */
static void latest_configuration_elects(void)
{
    for (int joint = 0; joint <= 1; joint++) {
        case_row(joint ? "joint" : "simple");
        struct raft_configuration first = cluster_configuration(1, 3, 0),
                                  second = {.index = 2, .joint = joint};
        for (raft_id id = 1; id <= 5; id++)
            configuration_add(&second, id, RAFT_VOTER | (joint && id <= 3 ? RAFT_VOTER_OLD : 0u));
        struct cluster *c =
            cluster_new((struct cluster_plan){.alone = true, .voters = 5, .configuration = &first});
        struct cluster_append a = APPEND(2, 2, 1, 1, TERMS(2), 1);
        a.configuration = &second;
        REQUIRE(cluster_append(c, 1, a));
        CHECK(raft_change_pending(cluster_core(c, 1)));
        cluster_become(c, 1, RAFT_PRE_CANDIDATE);
        for (raft_id id = 2; id <= 5; id++)
            CHECK_EQ(cluster_count(c, RAFT_PRE_VOTE, 1, id), 1);
        cluster_become(c, 1, RAFT_CANDIDATE);
        for (raft_id id = 4; id <= 5; id++) /* three of five, but one of three */
            cluster_feed(c, 1,
                         (struct raft_message){
                             .type = RAFT_VOTE_REPLY, .from = id, .term = 3, .granted = true});
        CHECK_EQ(raft_state(cluster_core(c, 1)), joint ? RAFT_CANDIDATE : RAFT_LEADER);
        cluster_feed(
            c, 1,
            (struct raft_message){.type = RAFT_VOTE_REPLY, .from = 2, .term = 3, .granted = true});
        CHECK_EQ(raft_state(cluster_core(c, 1)), RAFT_LEADER);
        cluster_free(c);
    }
}

/* ---- replacing ---- */

static void replace_voter(void)
{
    struct cluster *c = elected((struct cluster_plan){.voters = 3, .spares = 1});
    cluster_crash(c, 3); /* the usual reason */
    cluster_propose(c, 1, 10);
    CHECK_EQ(change(c, 1, RAFT_REPLACE, 3, 4), 0);
    CHECK_EQ(flags_of(c, 1, 4), RAFT_AUTO_PROMOTE); /* learns first */
    CHECK_EQ(raft_configuration_find(latest(c, 1), 4)->replaces, 3);
    CHECK_EQ(flags_of(c, 1, 3), RAFT_VOTER);
    cluster_run(c, 3 * ELECTION_TIMEOUT);
    CHECK_EQ(flags_of(c, 1, 4), RAFT_VOTER);
    CHECK_EQ(flags_of(c, 1, 3), 99);
    CHECK_EQ(latest(c, 1)->count, 3);
    CHECK_EQ(raft_configuration_find(latest(c, 1), 4)->replaces, 0);
    CHECK_EQ(configurations_in_log(c, 1),
             4); /* C, C + learner, C_old,new, C_new: never without three voters */
    cluster_crash(c, 2);
    cluster_propose(c, 1, 1);
    cluster_run(c, HEARTBEAT);
    CHECK_EQ(raft_commit_index(cluster_core(c, 1)), raft_last_index(cluster_core(c, 1)));
    cluster_free(c);
}

static void replace_is_repeatable(void)
{
    struct cluster *c = elected((struct cluster_plan){.voters = 3, .spares = 2});
    cluster_crash(c, 4);
    CHECK_EQ(change(c, 1, RAFT_REPLACE, 3, 4), 0);
    cluster_run(c, HEARTBEAT);
    raft_index last = raft_last_index(cluster_core(c, 1));
    CHECK_EQ(change(c, 1, RAFT_REPLACE, 3, 4), 0); /* the same again: it is under way */
    CHECK_EQ(raft_last_index(cluster_core(c, 1)), last);
    CHECK_EQ(change(c, 1, RAFT_REPLACE, 3, 5), ERR_CONFLICT); /* only one takes its place */
    CHECK_EQ(change(c, 1, RAFT_REMOVE, 4, 0), 0);             /* given up */
    cluster_run(c, HEARTBEAT);
    CHECK_EQ(flags_of(c, 1, 4), 99);
    CHECK_EQ(flags_of(c, 1, 3), RAFT_VOTER);
    CHECK_EQ(change(c, 1, RAFT_REPLACE, 3, 5), 0);
    cluster_run(c, 2 * ELECTION_TIMEOUT);
    CHECK_EQ(flags_of(c, 1, 5), RAFT_VOTER);
    CHECK_EQ(flags_of(c, 1, 3), 99);
    cluster_free(c);
}

/* The one to be replaced is removed meanwhile: the newcomer is promoted all the same. */
static void replaced_one_is_removed(void)
{
    struct cluster *c = elected((struct cluster_plan){.voters = 3, .spares = 1});
    cluster_crash(c, 4);
    CHECK_EQ(change(c, 1, RAFT_REPLACE, 3, 4), 0);
    cluster_run(c, HEARTBEAT);
    CHECK_EQ(change(c, 1, RAFT_REMOVE, 3, 0), 0);
    cluster_run(c, HEARTBEAT);
    CHECK_EQ(flags_of(c, 1, 3), 99);
    CHECK_EQ(raft_configuration_find(latest(c, 1), 4)->replaces, 0);
    cluster_restart(c, 4);
    cluster_run(c, 3 * ELECTION_TIMEOUT);
    CHECK_EQ(flags_of(c, 1, 4), RAFT_VOTER);
    CHECK_EQ(latest(c, 1)->count, 3);
    cluster_free(c);
}

/* The leader itself: it leads through the joint phase, then somebody of C_new takes over at once,
 * without a timeout. */
static void replace_the_leader(void)
{
    struct cluster *c = elected((struct cluster_plan){.voters = 3, .spares = 1});
    CHECK_EQ(change(c, 1, RAFT_REPLACE, 1, 4), 0);
    uint64_t begin = c->now_us;
    while (cluster_leader(c) <= 1 && c->now_us < begin + 10 * ELECTION_TIMEOUT)
        cluster_run(c, HEARTBEAT / 10);
    raft_id leader = cluster_leader(c);
    REQUIRE(leader > 1);
    CHECK(c->now_us - begin <= ELECTION_TIMEOUT / 2);
    CHECK_EQ(flags_of(c, leader, 1), 99);
    CHECK_EQ(flags_of(c, leader, 4), RAFT_VOTER);
    raft_term term = raft_term_current(cluster_core(c, leader));
    CHECK(cluster_propose(c, 1, 1) != 0);
    cluster_propose(c, leader, 1);
    cluster_run(c, 20 * ELECTION_TIMEOUT); /* the old leader stands no more */
    CHECK_EQ(cluster_leader(c), leader);
    CHECK_EQ(raft_term_current(cluster_core(c, leader)), term);
    CHECK_EQ(raft_state(cluster_core(c, 1)), RAFT_FOLLOWER);
    cluster_free(c);
}

/* Leadership handed to the newcomer while joint: it ends the change. */
static void transfer_while_joint(void)
{
    struct cluster *c = elected((struct cluster_plan){.voters = 3, .learners = 1});
    cluster_hold(c, 2, 1); /* so that it stays joint for a while */
    cluster_hold(c, 3, 1);
    CHECK_EQ(change(c, 1, RAFT_PROMOTE, 4, 0), 0);
    cluster_settle(c);
    REQUIRE(latest(c, 1)->joint);
    CHECK_EQ(cluster_transfer(c, 1, 4), 0);
    cluster_settle(c);
    CHECK_EQ(cluster_leader(c), 4); /* the votes of both majorities */
    cluster_heal(c);
    cluster_run(c, ELECTION_TIMEOUT);
    CHECK_EQ(cluster_leader(c), 4);
    CHECK(!latest(c, 4)->joint);
    CHECK(cluster_equal_logs(c));
    cluster_free(c);
}

/* ---- roll-back (§4.1) ---- */

static void append_with(struct cluster *c, struct cluster_append a,
                        const struct raft_configuration *configuration)
{
    a.configuration = configuration;
    REQUIRE(cluster_append(c, 1, a));
    CHECK(cluster_replied(c)->accepted);
}

static void rolled_back_with_its_entry(void)
{
    struct raft_configuration four = cluster_configuration(3, 4, 0),
                              five = cluster_configuration(5, 5, 0);
    struct raft_configuration joint = {.index = 5, .joint = true};
    for (raft_id id = 1; id <= 4; id++)
        configuration_add(&joint, id, id == 2 ? RAFT_VOTER_OLD : RAFT_VOTER | RAFT_VOTER_OLD);

    case_row("to the first");
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
    append_with(c, APPEND(2, 2, 1, 1, TERMS(2, 2, 2), 1), &four);
    CHECK_EQ(latest(c, 1)->count, 4);
    CHECK_EQ(raft_configuration_committed(cluster_core(c, 1))->count, 3);
    append_with(c, APPEND(3, 3, 1, 1, TERMS(3), 1), NULL);
    CHECK_EQ(latest(c, 1)->count, 3);
    CHECK_EQ(latest(c, 1)->index, 1);
    CHECK(!raft_change_pending(cluster_core(c, 1)));
    cluster_restart(c, 1);
    CHECK_EQ(latest(c, 1)->count, 3);
    cluster_free(c);

    case_row("to the one before, a joint one gone");
    c = cluster_new((struct cluster_plan){.alone = true});
    append_with(c, APPEND(2, 2, 1, 1, TERMS(2, 2), 1), &four);
    append_with(c, APPEND(2, 2, 3, 2, TERMS(2, 2), 3), &joint);
    CHECK(latest(c, 1)->joint);
    append_with(c, APPEND(3, 3, 4, 2, TERMS(3), 3), NULL);
    CHECK_EQ(latest(c, 1)->count, 4);
    CHECK_EQ(latest(c, 1)->index, 3);
    CHECK(!latest(c, 1)->joint);
    cluster_restart(c, 1);
    CHECK_EQ(latest(c, 1)->index, 3);
    cluster_free(c);

    case_row("to that of the snapshot");
    c = cluster_new((struct cluster_plan){.alone = true});
    append_with(c, APPEND(2, 2, 1, 1, TERMS(2, 2, 2), 4), &four);
    cluster_compact(c, 1, 4);
    append_with(c, APPEND(2, 2, 4, 2, TERMS(2), 4), &five);
    CHECK_EQ(latest(c, 1)->count, 5);
    append_with(c, APPEND(3, 3, 4, 2, TERMS(3), 4), NULL);
    CHECK_EQ(latest(c, 1)->count, 4);
    CHECK_EQ(latest(c, 1)->index, 3);
    cluster_restart(c, 1);
    CHECK_EQ(latest(c, 1)->count, 4);
    cluster_free(c);

    case_row("another in its place");
    c = cluster_new((struct cluster_plan){.alone = true});
    append_with(c, APPEND(2, 2, 1, 1, TERMS(2, 2), 1), &four);
    struct raft_configuration two = cluster_configuration(3, 2, 1);
    append_with(c, APPEND(3, 3, 1, 1, TERMS(3, 3), 1), &two);
    CHECK_EQ(latest(c, 1)->count, 3);
    CHECK(!raft_configuration_is_voter(latest(c, 1), 3));
    cluster_free(c);
}

/* A leader that loses leadership before its change is committed: everybody is back where they were.
 */
static void change_lost_with_leadership(void)
{
    struct cluster *c = elected((struct cluster_plan){.voters = 3, .learners = 1});
    cluster_isolate(c, 1);
    CHECK_EQ(change(c, 1, RAFT_PROMOTE, 4, 0), 0);
    CHECK(latest(c, 1)->joint);
    cluster_elect(c, 2);
    cluster_heal(c);
    cluster_run(c, 2 * ELECTION_TIMEOUT);
    CHECK_EQ(cluster_leader(c), 2);
    for (raft_id of = 1; of <= 4; of++) {
        CHECK(!latest(c, of)->joint);
        CHECK_EQ(flags_of(c, of, 4), 0);
        CHECK_EQ(latest(c, of)->index, 1);
    }
    cluster_free(c);
}

/* ---- a leader that is removed (§4.2.2) ---- */

static void removed_leader_does_not_count_itself(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
    cluster_become_ready(c, 1);
    CHECK_EQ(change(c, 1, RAFT_REMOVE, 1, 0), 0); /* C_old,new = {1,2,3},{2,3} at 3 */
    cluster_ack(c, 1, 2, 3);
    CHECK(latest(c, 1)->joint); /* two of C_old, but one of two of C_new: 1 is not in it */
    CHECK_EQ(raft_commit_index(cluster_core(c, 1)), 2);
    cluster_ack(c, 1, 3, 3);
    CHECK_EQ(raft_commit_index(cluster_core(c, 1)), 3);
    CHECK(!latest(c, 1)->joint); /* C_new at 4 */
    CHECK_EQ(raft_state(cluster_core(c, 1)), RAFT_LEADER);
    CHECK_EQ(cluster_propose(c, 1, 1), ERR_AGAIN);
    cluster_ack(c, 1, 2, 4);
    CHECK_EQ(raft_commit_index(cluster_core(c, 1)), 3); /* 1 and 2 are no majority of {2, 3} */
    CHECK_EQ(raft_state(cluster_core(c, 1)), RAFT_LEADER);
    cluster_forget(c);
    cluster_ack(c, 1, 3, 4);
    CHECK_EQ(raft_commit_index(cluster_core(c, 1)), 4);
    CHECK_EQ(raft_state(cluster_core(c, 1)), RAFT_FOLLOWER);
    CHECK_EQ(cluster_count(c, RAFT_TIMEOUT_NOW, 1, 0), 1); /* and hands over */
    for (raft_id peer = 2; peer <= 3; peer++) {            /* and tells them what is committed */
        const struct raft_message *m = cluster_sent(c, RAFT_HEARTBEAT, 1, peer);
        REQUIRE(m);
        CHECK_EQ(m->commit, 4);
    }
    cluster_ack(c, 1, 2, 4); /* late ones */
    cluster_ack(c, 1, 3, 4);
    CHECK_EQ(cluster_propose(c, 1, 1), ERR_NO_LEADER);
    for (int i = 0; i < 50; i++) {
        cluster_sleep(c, HEARTBEAT);
        cluster_tick(c, 1);
    }
    CHECK_EQ(raft_state(cluster_core(c, 1)), RAFT_FOLLOWER);
    CHECK_EQ(raft_term_current(cluster_core(c, 1)), 2);
    cluster_free(c);
}

static void removed_leader_leaves(void)
{
    for (uint32_t voters = 2; voters <= 5; voters++) {
        case_row("%u voters", voters);
        struct cluster *c = elected((struct cluster_plan){.voters = voters});
        CHECK_EQ(change(c, 1, RAFT_REMOVE, 1, 0), 0);
        cluster_run(c, HEARTBEAT);
        raft_id leader = cluster_leader(c);
        REQUIRE(leader > 1); /* by handing over, not by a timeout */
        CHECK_EQ(latest(c, leader)->count, voters - 1);
        cluster_propose(c, leader, 1);
        cluster_run(c, 10 * ELECTION_TIMEOUT);
        CHECK_EQ(cluster_leader(c), leader);
        CHECK_EQ(raft_commit_index(cluster_core(c, leader)),
                 raft_last_index(cluster_core(c, leader)));
        cluster_free(c);
    }
}

/* Nobody could take over at that moment: the rest elect by themselves, after a timeout. */
static void removed_leader_without_heir(void)
{
    struct cluster *c = elected((struct cluster_plan){.voters = 3});
    c->dropped[RAFT_TIMEOUT_NOW] = true;
    CHECK_EQ(change(c, 1, RAFT_REMOVE, 1, 0), 0);
    cluster_run(c, HEARTBEAT);
    CHECK_EQ(cluster_leader(c), 0);
    cluster_run(c, 4 * ELECTION_TIMEOUT);
    CHECK(cluster_leader(c) > 1);
    cluster_free(c);
}

/* ---- at random ---- */

/* Any sequence of changes, with restarts, isolation and transfers in between, arrives at the
 * membership that plain sets say. */
static void random_changes(void)
{
    enum { NODES = 7, CHANGES = 60 };
    for (uint64_t seed = test_seed(); seed < test_seed() + 3; seed++) {
        case_row("seed %llu", (unsigned long long)seed);
        struct cluster *c = cluster_new(
            (struct cluster_plan){.voters = 3, .spares = NODES - 3, .seed = seed, .log_max = 3000});
        struct prng prng;
        prng_seed(&prng, seed);
        enum { OUT, LEARNER, VOTER } role[NODES + 1] = {OUT, VOTER, VOTER, VOTER};
        for (int i = 0; i < CHANGES; i++) {
            cluster_run(c, 8 * ELECTION_TIMEOUT);
            raft_id leader = cluster_leader(c);
            REQUIRE(leader && !raft_change_pending(cluster_core(c, leader)));
            raft_id id = 1 + prng_below(&prng, NODES), other = 1 + prng_below(&prng, NODES);
            bool automatic = prng_chance(&prng, 1, 2);
            uint32_t voters = 0;
            for (raft_id k = 1; k <= NODES; k++)
                voters += role[k] == VOTER;
            struct raft_change what = {.id = id, .new_id = other, .auto_promote = automatic};
            what.kind = (enum raft_change_kind)prng_below(&prng, 4);
            int status = cluster_change(c, leader, what);
            bool valid = false;
            switch (what.kind) {
            case RAFT_ADD_LEARNER:
                if ((valid = role[id] == OUT))
                    role[id] = automatic ? VOTER : LEARNER;
                break;
            case RAFT_PROMOTE:
                if ((valid = role[id] == LEARNER))
                    role[id] = VOTER;
                break;
            case RAFT_REMOVE:
                if ((valid = role[id] == LEARNER || (role[id] == VOTER && voters > 1)))
                    role[id] = OUT;
                break;
            case RAFT_REPLACE:
                if ((valid = role[id] != OUT && role[other] != VOTER && id != other)) {
                    role[other] = role[id];
                    role[id] = OUT;
                }
                break;
            }
            CHECK_EQ(status == 0, valid);
            cluster_propose(c, leader, 1);
            if (prng_chance(&prng, 1, 3)) { /* a crash in the middle of it; one voter, since two of
                                               three may be needed */
                raft_id victim = 1 + prng_below(&prng, NODES);
                cluster_run(c, prng_below(&prng, HEARTBEAT));
                cluster_restart(c, victim);
            }
        }
        cluster_run(c, 8 * ELECTION_TIMEOUT);
        raft_id leader = cluster_leader(c);
        REQUIRE(leader);
        for (raft_id id = 1; id <= NODES; id++) {
            uint32_t want = role[id] == OUT ? 99 : role[id] == LEARNER ? 0 : RAFT_VOTER;
            CHECK_EQ(flags_of(c, leader, id), want);
            if (role[id] == OUT)
                continue;
            CHECK_EQ(latest(c, id)->index, latest(c, leader)->index);
            cluster_restart(c, id); /* what is on the disk makes the same configuration */
            CHECK_EQ(latest(c, id)->index, latest(c, leader)->index);
            CHECK_EQ(latest(c, id)->count, latest(c, leader)->count);
        }
        cluster_free(c);
    }
}

/* A restart in every kind of configuration: joint, with learners, with one to be promoted. */
static void restart_keeps_the_configuration(void)
{
    for (int compacted = 0; compacted <= 1; compacted++) {
        for (int kind = 0; kind < 4; kind++) {
            case_row("kind %d, %s", kind, compacted ? "from a snapshot" : "from the log");
            struct raft_configuration configuration = {.index = 2, .joint = kind >= 2};
            uint32_t old = kind >= 2 ? RAFT_VOTER_OLD : 0u;
            configuration_add(&configuration, 1, RAFT_VOTER | old);
            configuration_add(&configuration, 2, kind == 3 ? old : RAFT_VOTER | old);
            configuration_add(&configuration, 3, kind == 1 ? RAFT_AUTO_PROMOTE : 0u);
            if (kind == 1)
                configuration.members[2].replaces = 2;
            if (kind == 3)
                configuration_add(&configuration, 4, RAFT_VOTER);
            struct cluster *c = cluster_new((struct cluster_plan){.alone = true, .voters = 4});
            append_with(c, APPEND(2, 2, 1, 1, TERMS(2, 2), 3), &configuration);
            if (compacted)
                cluster_compact(c, 1, 3);
            cluster_restart(c, 1);
            const struct raft_configuration *now = latest(c, 1);
            CHECK_EQ(now->index, 2);
            CHECK_EQ(now->joint, configuration.joint);
            REQUIRE(now->count == configuration.count);
            for (uint32_t i = 0; i < now->count; i++) {
                CHECK_EQ(now->members[i].id, configuration.members[i].id);
                CHECK_EQ(now->members[i].flags, configuration.members[i].flags);
                CHECK_EQ(now->members[i].replaces, configuration.members[i].replaces);
            }
            cluster_free(c);
        }
    }
}

/* C_new, which drops it, is not committed: perhaps nobody else has its entry, and those whom it
 * outvotes by its longer log cannot be elected. It stands to end the change, without counting
 * itself (§4.2.2, Figure 4.6); once it is committed, it does not. */
static void dropped_one_is_needed(void)
{
    struct raft_configuration joint = {.index = 2, .joint = true}, new = {.index = 3};
    for (raft_id id = 1; id <= 3; id++)
        configuration_add(&joint, id, id == 1 ? RAFT_VOTER_OLD : RAFT_VOTER | RAFT_VOTER_OLD);
    configuration_add(&new, 2, RAFT_VOTER);
    configuration_add(&new, 3, RAFT_VOTER);
    for (raft_index commit = 2; commit <= 3; commit++) {
        case_row("commit %u", (unsigned)commit);
        struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
        struct raft *r = cluster_core(c, 1);
        append_with(c, APPEND(2, 2, 1, 1, TERMS(2), 1), &joint);
        append_with(c, APPEND(2, 2, 2, 2, NULL, 2), NULL);
        CHECK(raft_change_pending(r)); /* C_old,new is committed: C_new is to come */
        append_with(c, APPEND(2, 2, 2, 2, TERMS(2), commit), &new);
        for (int i = 0; i < 25; i++) {
            cluster_sleep(c, HEARTBEAT);
            cluster_tick(c, 1);
        }
        CHECK_EQ(raft_state(r), commit < 3 ? RAFT_PRE_CANDIDATE : RAFT_FOLLOWER);
        CHECK_EQ(cluster_count(c, RAFT_PRE_VOTE, 1, 0) > 0, commit < 3);
        if (commit == 3) {
            cluster_free(c);
            continue;
        }
        struct raft_message grant = {.type = RAFT_PRE_VOTE_REPLY, .term = 3, .granted = true};
        for (int votes = 0; votes <= 1; votes++) {
            grant.type = votes ? RAFT_VOTE_REPLY : RAFT_PRE_VOTE_REPLY;
            grant.from = 2;
            cluster_feed(c, 1, grant); /* one of two */
            CHECK_EQ(raft_state(r), votes ? RAFT_CANDIDATE : RAFT_PRE_CANDIDATE);
            grant.from = 3;
            cluster_feed(c, 1, grant);
            CHECK_EQ(raft_state(r), votes ? RAFT_LEADER : RAFT_CANDIDATE);
        }
        cluster_ack(c, 1, 2, 4);
        CHECK_EQ(raft_commit_index(r), 2);
        cluster_ack(c, 1, 3, 4);
        CHECK_EQ(raft_commit_index(r), 4);
        CHECK_EQ(raft_state(r), RAFT_FOLLOWER);
        CHECK(raft_removed(r));
        cluster_free(c);
    }
}

static const struct test_case cases[] = {
    {"§4.3 through the joint configuration, once", enters_and_leaves},
    {"§4.3 the next leader ends a change, wherever it stood", next_leader_leaves},
    {"§4.3 elections need a majority of each", both_majorities_elect},
    {"§4.1 the latest configuration in the log elects, committed or not",
     latest_configuration_elects},
    {"§4.3 a voter is replaced in one joint change", replace_voter},
    {"§4.3 a replacement asked for twice, otherwise, and given up", replace_is_repeatable},
    {"§4.3 who is to be replaced is removed meanwhile", replaced_one_is_removed},
    {"§4.2.2 the leader is replaced", replace_the_leader},
    {"§4.3 leadership goes to a newcomer while joint", transfer_while_joint},
    {"§4.1 a configuration is rolled back with its entry", rolled_back_with_its_entry},
    {"§4.1 a change is lost with leadership", change_lost_with_leadership},
    {"§4.2.2 a leader being removed does not count itself", removed_leader_does_not_count_itself},
    {"§4.2.2 a removed leader hands over and leaves", removed_leader_leaves},
    {"§4.2.2 a removed leader whom nobody follows at once", removed_leader_without_heir},
    {"§4.2.2 one that is dropped by a configuration not committed yet stands for it",
     dropped_one_is_needed},
    {"§4 random changes arrive at what plain sets say", random_changes},
    {"§4.1 a restart keeps the configuration", restart_keeps_the_configuration},
};

CASES_MAIN(cases)
