/* Whole clusters on a bad network: loss, delay, disorder, copies, restarts and pauses. Safety is
 * checked at every step by the fixture, progress here. */
#include "tests/support/cluster.h"
#include "tests/unit/tap.h"

/* ---- the fixture's network itself ---- */

static void loses_its_share(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
    cluster_become_ready(c, 1);
    c->loss_percent = 30;
    for (int i = 0; i < 1000; i++) {
        cluster_sleep(c, HEARTBEAT);
        cluster_tick(c, 1);
        cluster_beat_reply(c, 1, 2, 0);
    }
    uint32_t arrived = cluster_count(c, RAFT_HEARTBEAT, 1, 3);
    CHECK(arrived >= 640 && arrived <= 760);
    cluster_free(c);
}

static void delays_as_told(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.voters = 2});
    cluster_elect(c, 1);
    cluster_run(c, 2 * HEARTBEAT);
    c->delay_us = 7000;
    cluster_propose(c, 1, 1);
    cluster_run(c, 6999);
    CHECK_EQ(raft_last_index(cluster_core(c, 2)), 2);
    cluster_run(c, 1);
    CHECK_EQ(raft_last_index(cluster_core(c, 2)), 3);
    CHECK_EQ(raft_commit_index(cluster_core(c, 1)), 2);
    cluster_run(c, 6999);
    CHECK_EQ(raft_commit_index(cluster_core(c, 1)), 2);
    cluster_run(c, 1);
    CHECK_EQ(raft_commit_index(cluster_core(c, 1)), 3);
    cluster_free(c);
}

/* ---- clusters on it ---- */

/* Proposes until `count` entries were taken by leaders, whoever they are. */
static void propose_anyhow(struct cluster *c, uint32_t count)
{
    for (int i = 0; count > 0 && i < 4000; i++) {
        raft_id leader = cluster_leader(c);
        if (leader && !c->nodes[leader].paused && cluster_propose(c, leader, 1) == 0)
            count--;
        cluster_run(c, HEARTBEAT / 5);
    }
    CHECK_EQ(count, 0);
}

static void converges(struct cluster *c)
{
    cluster_heal(c);
    cluster_run(c, 10 * ELECTION_TIMEOUT);
    raft_id leader = cluster_leader(c);
    REQUIRE(leader);
    cluster_propose(c, leader, 1);
    cluster_run(c, ELECTION_TIMEOUT);
    CHECK(cluster_equal_logs(c));
    for (raft_id id = 1; id <= c->node_count; id++)
        CHECK_EQ(c->nodes[id].applied, raft_last_index(cluster_core(c, leader)));
}

static void progress_in_spite_of_loss(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.voters = 5, .log_max = 2000});
    c->loss_percent = 10;
    c->delay_us = 2000;
    propose_anyhow(c, 100);
    converges(c);
    CHECK(c->nodes[1].applied > 100);
    cluster_free(c);
}

static void restarts_from_the_disk(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.voters = 5, .log_max = 2000});
    c->delay_us = 2000;
    propose_anyhow(c, 30);
    cluster_crash(c, 2);
    propose_anyhow(c, 30);
    cluster_crash(c, 5);
    cluster_restart(c, 2);
    propose_anyhow(c, 30);
    cluster_restart(c, 5);
    cluster_restart(c, 1);
    propose_anyhow(c, 30);
    converges(c);
    cluster_free(c);
}

static void pauses(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.voters = 5, .log_max = 2000});
    propose_anyhow(c, 30);
    cluster_pause(c, 1, true); /* a stopped process: its messages wait */
    propose_anyhow(c, 30);
    cluster_pause(c, 2, true);
    for (int i = 0; i < 50; i++) {
        cluster_run(c, ELECTION_TIMEOUT / 5);
        raft_id leader = cluster_leader(c);
        if (leader && !c->nodes[leader].paused)
            cluster_propose(c, leader, 1);
    }
    cluster_pause(c, 1, false);
    cluster_pause(c, 2, false);
    converges(c);
    cluster_free(c);
}

/* A deposed leader that was stopped does not serve when it wakes up: neither writes nor reads. */
static void paused_leader(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.voters = 3});
    cluster_elect(c, 1);
    cluster_run(c, 2 * HEARTBEAT);
    cluster_pause(c, 1, true);
    cluster_elect(c, 2);
    cluster_propose(c, 2, 5);
    cluster_run(c, HEARTBEAT);
    raft_index commit = raft_commit_index(cluster_core(c, 2));
    CHECK_EQ(raft_state(cluster_core(c, 1)), RAFT_LEADER);       /* it does not know yet */
    CHECK(raft_lease_until_us(cluster_core(c, 1)) <= c->now_us); /* but its lease is over */
    cluster_read(c, 1, 1);
    cluster_lease_read(c, 1, 2);
    cluster_propose(c, 1, 1);
    cluster_pause(c, 1, false);
    cluster_run(c, 2 * ELECTION_TIMEOUT);
    for (uint64_t read = 1; read <= 2; read++) {
        const struct raft_read_result *result = cluster_read_result(c, 1, read);
        REQUIRE(result);
        CHECK(result->status != 0 || result->index >= commit);
    }
    CHECK_EQ(raft_state(cluster_core(c, 1)), RAFT_FOLLOWER);
    CHECK(cluster_equal_logs(c));
    cluster_free(c);
}

/* Messages in any order, twice, late by several terms: whatever happens to be delivered, nothing
 * unsafe comes of it. */
static void disorder_and_copies(void)
{
    for (uint64_t seed = test_seed(); seed < test_seed() + 6; seed++) {
        case_row("seed %llu", (unsigned long long)seed);
        struct cluster *c = cluster_new((struct cluster_plan){.voters = 3,
                                                              .learners = 1,
                                                              .seed = seed,
                                                              .log_max = 6000,
                                                              .inflight_max = 4,
                                                              .append_entries_max = 3});
        struct prng prng;
        prng_seed(&prng, seed);
        for (int step = 0; step < 12000; step++) {
            uint64_t dice = prng_below(&prng, 100);
            raft_id id = 1 + prng_below(&prng, 4);
            if (dice < 60 && c->packet_count > 0) {
                uint32_t i = (uint32_t)prng_below(&prng, c->packet_count);
                struct cluster_packet packet = c->packets[i];
                if (!prng_chance(&prng, 1, 10) || packet.m.type == RAFT_SEND_SNAPSHOT) {
                    c->packet_count--;
                    c->packets[i] = c->packets[c->packet_count];
                }
                cluster_deliver(c, packet);
            } else if (dice < 75) {
                cluster_sleep(c, prng_below(&prng, ELECTION_TIMEOUT / 20));
                for (raft_id k = 1; k <= 4; k++)
                    if (c->nodes[k].wake_us <= c->now_us)
                        cluster_tick(c, k);
            } else if (dice < 85) {
                cluster_propose(c, id, 1 + (uint32_t)prng_below(&prng, 3));
            } else if (dice < 88) {
                cluster_disk_hold(c, id);
            } else if (dice < 94) {
                cluster_disk_step(c, id);
            } else if (dice < 97) {
                cluster_disk_release(c, id);
            } else if (dice < 98) {
                if (c->nodes[id].applied > raft_snapshot_index(cluster_core(c, id)))
                    cluster_compact(c, id, raft_snapshot_index(cluster_core(c, id)) + 1);
            } else if (dice < 99) {
                cluster_transfer(c, id, 0);
            } else if (prng_chance(&prng, 1, 4)) {
                cluster_restart(c, id);
            }
            if (c->packet_count > 300)
                c->packet_count -= 150; /* the newest are lost */
            for (raft_id k = 1; k <= 4; k++)
                if (c->nodes[k].write_count > 100 || c->nodes[k].waiting_count > 500)
                    cluster_disk_release(c, k);
        }
        for (raft_id id = 1; id <= 4; id++)
            cluster_disk_release(c, id);
        converges(c);
        CHECK(c->nodes[1].applied > 100);
        cluster_free(c);
    }
}

/* Partial connectivity: the leader hears only one of four others, who do not hear each other;
 * somebody must still be elected. */
static void chained_topology(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.voters = 5});
    cluster_elect(c, 1);
    cluster_run(c, 2 * HEARTBEAT);
    for (raft_id a = 1; a <= 5; a++)
        for (raft_id b = a + 1; b <= 5; b++)
            if (b != 3 && a != 3)
                cluster_cut_both(c, a, b); /* only 3 is connected, with all */
    cluster_run(c, 12 * ELECTION_TIMEOUT);
    CHECK_EQ(raft_state(cluster_core(c, 3)), RAFT_LEADER);
    cluster_propose(c, 3, 1);
    cluster_run(c, HEARTBEAT);
    CHECK_EQ(raft_commit_index(cluster_core(c, 3)), raft_last_index(cluster_core(c, 3)));
    cluster_free(c);
}

static const struct test_case cases[] = {
    {"the fixture loses the share of messages it is told to", loses_its_share},
    {"the fixture delays messages as it is told to", delays_as_told},
    {"five servers make progress in spite of loss and delay", progress_in_spite_of_loss},
    {"servers restarted from their disks go on", restarts_from_the_disk},
    {"servers that were paused catch up", pauses},
    {"a leader that was paused serves nothing stale", paused_leader},
    {"disorder, copies and slow disks do no harm", disorder_and_copies},
    {"a server connected with all is elected when nobody else is", chained_topology},
};

CASES_MAIN(cases)
