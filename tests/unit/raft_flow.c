/* Pacing of replication (§3.5, §10.2.1): probe and pipeline, the window of appends, what gets lost,
 * and how much may be uncommitted. */
#include "lib/base/err.h"
#include "tests/support/cluster.h"

/* A lone leader of term 2 whose no-op, at 2, is committed; its followers are in PIPELINE. */
static struct cluster *leader(uint32_t inflight_max, uint32_t append_entries_max)
{
    struct cluster *c = cluster_new((struct cluster_plan){
        .alone = true, .inflight_max = inflight_max, .append_entries_max = append_entries_max});
    cluster_become_ready(c, 1);
    return c;
}

static struct raft_progress_view peer2(struct cluster *c)
{
    return cluster_progress(c, 1, 2);
}

/* ---- probe ---- */

static void probe_sends_one(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
    cluster_become(c, 1, RAFT_LEADER);
    CHECK_EQ(peer2(c).state, RAFT_PROBE);
    CHECK_EQ(cluster_count(c, RAFT_APPEND, 1, 2), 1);
    for (int i = 0; i < 5; i++)
        cluster_propose(c, 1, 1);
    CHECK_EQ(cluster_count(c, RAFT_APPEND, 1, 2), 1);
    CHECK_EQ(peer2(c).next, 2); /* not optimistic */
    cluster_forget(c);
    cluster_ack(c, 1, 2, 2); /* the logs meet: everything follows */
    CHECK_EQ(peer2(c).state, RAFT_PIPELINE);
    CHECK_EQ(peer2(c).match, 2);
    CHECK_EQ(cluster_count(c, RAFT_APPEND, 1, 2), 1);
    CHECK_EQ(cluster_sent(c, RAFT_APPEND, 1, 2)->entry_count, 5);
    CHECK_EQ(peer2(c).next, 8);
    CHECK_EQ(cluster_count(c, RAFT_APPEND, 1, 3), 0); /* the other is still waited for */
    cluster_free(c);
}

/* A lost probe is sent again once a heartbeat that was sent later is answered, and once only. */
static void heartbeat_reply_resumes_a_probe(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true});
    cluster_become(c, 1, RAFT_LEADER);
    for (int beat = 0; beat < 3; beat++) {
        cluster_forget(c);
        cluster_sleep(c, HEARTBEAT);
        cluster_tick(c, 1);
        const struct raft_message *m = cluster_sent(c, RAFT_HEARTBEAT, 1, 2);
        REQUIRE(m);
        struct raft_message reply = {.type = RAFT_HEARTBEAT_REPLY,
                                     .from = 2,
                                     .term = 2,
                                     .round = m->round,
                                     .sent_us = m->sent_us};
        CHECK_EQ(cluster_count(c, RAFT_APPEND, 1, 2), 0);
        cluster_feed(c, 1, reply);
        CHECK_EQ(cluster_count(c, RAFT_APPEND, 1, 2), 1);
        cluster_sleep(c, 1); /* the copy was sent before the probe was */
        reply.sent_us--;
        cluster_feed(c, 1, reply);
        CHECK_EQ(cluster_count(c, RAFT_APPEND, 1, 2), 1);
    }
    cluster_free(c);
}

/* To a follower that has everything, a heartbeat's reply brings no append. */
static void heartbeat_reply_of_a_follower_in_line(void)
{
    struct cluster *c = leader(8, 64);
    for (int beat = 0; beat < 30; beat++) {
        cluster_sleep(c, HEARTBEAT);
        cluster_tick(c, 1);
        cluster_beat_reply(c, 1, 2, 0);
    }
    CHECK_EQ(cluster_count(c, RAFT_APPEND, 1, 2), 0);
    CHECK_EQ(cluster_count(c, RAFT_HEARTBEAT, 1, 2), 30);
    cluster_free(c);
}

static void refusals(void)
{
    /* The leader's log is (1,1), then three of term 2, the no-op of term 3 at 5. */
    static const struct {
        raft_index reject, hint;
        raft_term hint_term;
        raft_index next; /* afterwards */
        bool sent;
    } table[] = {
        {4, 4, 1, 2, true},  {4, 3, 2, 4, true},  {4, 1, 1, 2, true},
        {3, 3, 2, 5, false}, {9, 9, 2, 5, false}, /* answers to another append than the one out */
        {4, 0, 0, 1, true},                       /* it has nothing at all */
        {4, 4, 2, 4, true}, /* it contradicts itself: some progress all the same */
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        case_row("row %zu", i);
        struct cluster *c =
            cluster_new((struct cluster_plan){.alone = true, .log = TERMS(1, 2, 2, 2)});
        cluster_become(c, 1, RAFT_LEADER);
        cluster_forget(c);
        cluster_refuse(c, 1, 2, table[i].reject, table[i].hint, table[i].hint_term);
        CHECK_EQ(peer2(c).state, RAFT_PROBE);
        CHECK_EQ(peer2(c).match, 0);
        CHECK_EQ(peer2(c).next, table[i].next);
        CHECK_EQ(cluster_count(c, RAFT_APPEND, 1, 2), table[i].sent);
        if (table[i].sent)
            CHECK_EQ(cluster_sent(c, RAFT_APPEND, 1, 2)->prev_index, table[i].next - 1);
        cluster_free(c);
    }
}

static void answers_move_match_and_next(void)
{
    struct cluster *c = leader(8, 64);
    cluster_propose(c, 1, 4); /* up to 6 */
    CHECK_EQ(peer2(c).match, 2);
    CHECK_EQ(peer2(c).next, 7);
    cluster_ack(c, 1, 2, 4);
    CHECK_EQ(peer2(c).match, 4);
    CHECK_EQ(peer2(c).next, 7);
    CHECK_EQ(raft_commit_index(cluster_core(c, 1)), 4);
    cluster_ack(c, 1, 2, 3); /* late */
    CHECK_EQ(peer2(c).match, 4);
    CHECK_EQ(peer2(c).next, 7);
    cluster_refuse(c, 1, 2, 4, 2, 2); /* late, too: it has matched since */
    CHECK_EQ(peer2(c).state, RAFT_PIPELINE);
    CHECK_EQ(peer2(c).next, 7);
    cluster_refuse(c, 1, 2, 6, 4, 2); /* an append in between was lost */
    CHECK_EQ(peer2(c).state, RAFT_PROBE);
    CHECK_EQ(peer2(c).next, 5);
    cluster_ack(c, 1, 2, 99); /* beyond our log: not believed */
    CHECK_EQ(peer2(c).match, 4);
    cluster_ack(c, 1, 2, 6);
    CHECK_EQ(peer2(c).match, 6);
    CHECK_EQ(peer2(c).next, 7);
    CHECK_EQ(peer2(c).state, RAFT_PIPELINE);
    cluster_refuse(c, 1, 2, 7, 6, 2); /* of what was sent before it went back */
    cluster_refuse(c, 1, 2, 9, 6, 2);
    CHECK_EQ(peer2(c).next, 7);
    CHECK_EQ(peer2(c).state, RAFT_PIPELINE);
    cluster_free(c);
}

/* A refusal that was overtaken by acknowledgements must not put next below match (etcd, CCF 5991).
 */
static void late_refusal_in_probe(void)
{
    struct cluster *c = leader(8, 64);
    cluster_propose(c, 1, 5);
    cluster_ack(c, 1, 2, 7);
    cluster_unreachable(c, 1, 2);
    CHECK_EQ(peer2(c).state, RAFT_PROBE);
    CHECK_EQ(peer2(c).next, 8);
    cluster_refuse(c, 1, 2, 6, 3, 2);
    CHECK_EQ(peer2(c).next, 8);
    cluster_refuse(c, 1, 2, 7, 3, 2); /* even to the very index: it is known to match */
    CHECK_EQ(peer2(c).next, 8);
    CHECK_EQ(peer2(c).match, 7);
    cluster_free(c);
}

static void own_progress_is_durable(void)
{
    struct cluster *c = leader(8, 64);
    cluster_disk_hold(c, 1);
    cluster_propose(c, 1, 2);
    CHECK_EQ(cluster_progress(c, 1, 1).match, 2);
    cluster_disk_release(c, 1);
    CHECK_EQ(cluster_progress(c, 1, 1).match, 4);
    cluster_free(c);
}

static void unreachable_goes_back_to_probe(void)
{
    struct cluster *c = leader(8, 64);
    cluster_propose(c, 1, 3);
    CHECK_EQ(peer2(c).next, 6);
    cluster_forget(c);
    cluster_unreachable(c, 1, 2);
    CHECK_EQ(peer2(c).state, RAFT_PROBE);
    CHECK_EQ(peer2(c).next, 3);
    CHECK_EQ(peer2(c).inflight, 0);
    CHECK_EQ(cluster_progress(c, 1, 3).state, RAFT_PIPELINE);
    /* Nothing is thrown after it, until it answers a heartbeat. */
    cluster_propose(c, 1, 1);
    CHECK_EQ(cluster_count(c, RAFT_APPEND, 1, 2), 0);
    cluster_sleep(c, HEARTBEAT);
    cluster_tick(c, 1);
    cluster_beat_reply(c, 1, 2, 0);
    const struct raft_message *m = cluster_sent(c, RAFT_APPEND, 1, 2);
    REQUIRE(m);
    CHECK_EQ(m->prev_index, 2);
    CHECK_EQ(m->entry_count, 4);
    cluster_free(c);
}

/* ---- pipeline ---- */

static void pipeline_sends_at_once(void)
{
    struct cluster *c = leader(16, 64);
    for (uint32_t i = 0; i < 10; i++) {
        cluster_propose(c, 1, 2);
        CHECK_EQ(cluster_count(c, RAFT_APPEND, 1, 2), i + 1);
        CHECK_EQ(peer2(c).next, 5 + 2 * i);
        CHECK_EQ(peer2(c).inflight, i + 1);
    }
    raft_index expected = 2;
    struct cluster_packet packet;
    while (cluster_take(c, RAFT_APPEND, 1, 2,
                        &packet)) { /* each its own entries, without gap or overlap */
        CHECK_EQ(packet.m.prev_index, expected);
        CHECK_EQ(packet.m.entry_count, 2);
        expected += 2;
    }
    CHECK_EQ(expected, 22);
    cluster_free(c);
}

static void window_fills(void)
{
    for (uint32_t max = 1; max <= RAFT_INFLIGHT_MAX; max = max * 2 + 1) {
        case_row("%u in flight", max);
        struct cluster *c = leader(max, 64);
        for (uint32_t i = 0; i < max + 5; i++)
            cluster_propose(c, 1, 1);
        CHECK_EQ(cluster_count(c, RAFT_APPEND, 1, 2), max);
        CHECK_EQ(peer2(c).inflight, max);
        CHECK_EQ(peer2(c).next, 3 + max);
        cluster_forget(c);
        cluster_propose(c, 1, 1);
        cluster_sleep(c, HEARTBEAT);
        cluster_tick(c, 1);
        CHECK_EQ(cluster_count(c, RAFT_APPEND, 1, 2), 0);
        cluster_free(c);
    }
}

static void window_moves_on(void)
{
    enum { MAX = 4 };
    struct cluster *c = leader(MAX, 64);
    for (int i = 0; i < MAX; i++)
        cluster_propose(c, 1, 1);
    for (raft_index acked = 3; acked < 200; acked++) { /* over the ring's end, several times */
        cluster_forget(c);
        cluster_propose(c, 1, 1);
        CHECK_EQ(cluster_count(c, RAFT_APPEND, 1, 2), 0); /* full */
        cluster_ack(c, 1, 2, acked);
        CHECK_EQ(cluster_count(c, RAFT_APPEND, 1, 2), 1); /* one acknowledged, one sent */
        CHECK_EQ(peer2(c).inflight, MAX);
        for (raft_index old = acked > 8 ? acked - 8 : 2; old <= acked; old++) {
            cluster_ack(c, 1, 2, old); /* late ones free nothing */
            CHECK_EQ(cluster_count(c, RAFT_APPEND, 1, 2), 1);
        }
    }
    cluster_forget(c);
    raft_index last = raft_last_index(cluster_core(c, 1));
    cluster_ack(c, 1, 2, peer2(c).next - 1); /* one acknowledgement covers all before it */
    CHECK(peer2(c).inflight <= 1);
    CHECK_EQ(peer2(c).next, last + 1);
    cluster_free(c);
}

/* The whole window is lost, unnoticed; a follower that answers heartbeats gets it again. */
static void lost_window_is_sent_again(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.voters = 3, .inflight_max = 3});
    cluster_elect(c, 1);
    cluster_run(c, 2 * HEARTBEAT);
    c->dropped[RAFT_APPEND] = true;
    for (int i = 0; i < 10; i++)
        cluster_propose(c, 1, 1);
    CHECK_EQ(peer2(c).inflight, 3);
    c->dropped[RAFT_APPEND] = false;
    cluster_run(c, 2 * ELECTION_TIMEOUT);
    CHECK_EQ(cluster_leader(c), 1);
    CHECK(cluster_equal_logs(c));
    CHECK_EQ(raft_commit_index(cluster_core(c, 3)), 12);
    CHECK_EQ(peer2(c).state, RAFT_PIPELINE);
    CHECK_EQ(peer2(c).inflight, 0);
    cluster_free(c);
}

/* Lost in the middle: what comes behind is refused, and the gap is filled at once. */
static void gap_is_filled(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.voters = 3});
    cluster_elect(c, 1);
    cluster_run(c, 2 * HEARTBEAT);
    uint64_t begin = c->now_us;
    c->dropped[RAFT_APPEND] = true;
    cluster_propose(c, 1, 1);
    c->dropped[RAFT_APPEND] = false;
    cluster_propose(c, 1, 1);
    cluster_settle(c);
    CHECK_EQ(c->now_us, begin);
    CHECK(cluster_equal_logs(c));
    CHECK_EQ(raft_commit_index(cluster_core(c, 1)), 4);
    cluster_free(c);
}

/* A follower in line that is in PROBE (it was unreachable) returns by itself, without any proposal.
 */
static void probing_ends_by_itself(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.voters = 3});
    cluster_elect(c, 1);
    cluster_run(c, 2 * HEARTBEAT);
    cluster_unreachable(c, 1, 2);
    CHECK_EQ(peer2(c).state, RAFT_PROBE);
    cluster_run(c, 2 * HEARTBEAT);
    CHECK_EQ(peer2(c).state, RAFT_PIPELINE);
    cluster_free(c);
}

static void appends_are_cut_into_pages(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.voters = 3, .append_entries_max = 10});
    cluster_elect(c, 1);
    cluster_run(c, 2 * HEARTBEAT);
    cluster_isolate(c, 3);
    cluster_propose(c, 1, 95);
    cluster_run(c, HEARTBEAT);
    cluster_heal(c);
    cluster_hold(c, 1, 3);
    uint32_t pages = 0;
    for (int i = 0; i < 400 && cluster_progress(c, 1, 3).match < 97; i++) {
        struct cluster_packet packet;
        if (cluster_take(c, RAFT_APPEND, 1, 3, &packet)) {
            CHECK(packet.m.entry_count <= 10);
            pages += packet.m.entry_count > 0;
            cluster_deliver(c, packet);
        } else if (!cluster_pass(c, ANY, 1, 3)) {
            cluster_run(c, HEARTBEAT / 2);
        }
        cluster_settle(c);
    }
    CHECK(pages >= 10 && pages <= 20);
    CHECK(cluster_equal_logs(c));
    cluster_free(c);
}

/* The carrier may cut an append into several: each is acknowledged, and the window holds. */
static void carrier_cuts_an_append(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.voters = 2});
    cluster_elect(c, 1);
    cluster_run(c, 2 * HEARTBEAT);
    cluster_hold(c, 1, 2);
    cluster_propose(c, 1, 9);
    struct cluster_packet whole;
    REQUIRE(cluster_take(c, RAFT_APPEND, 1, 2, &whole));
    for (uint32_t i = 0; i < 3; i++) {
        struct cluster_packet part = whole;
        part.m.prev_index += (raft_index)i * 3;
        part.m.prev_term = 2;
        part.m.entry_count = 3;
        part.entries += (size_t)i * 3;
        cluster_deliver(c, part);
        cluster_settle(c);
        CHECK_EQ(cluster_progress(c, 1, 2).match, 5 + 3 * i);
        CHECK_EQ(cluster_progress(c, 1, 2).inflight, i < 2 ? 1 : 0);
    }
    CHECK_EQ(raft_commit_index(cluster_core(c, 1)), 11);
    cluster_free(c);
}

/* The latency of learning the commit index: half a round trip behind the leader with traffic, a
 * heartbeat later without. */
static void lagging_commit(void)
{
    enum { DELAY = 10000 };
    struct cluster *c = cluster_new((struct cluster_plan){.voters = 3});
    cluster_elect(c, 1);
    cluster_run(c, 2 * HEARTBEAT);
    c->delay_us = DELAY;
    cluster_cut(c, 1, 3); /* 3 misses the appends … */
    cluster_propose(c, 1, 1);
    cluster_run(c, 2 * DELAY);
    CHECK_EQ(raft_commit_index(cluster_core(c, 1)), 3);
    c->cut[1][3] = false; /* … of a network blip */
    cluster_run(c, HEARTBEAT + 2 * DELAY + DELAY);
    CHECK_EQ(raft_commit_index(cluster_core(c, 2)), 3);
    cluster_run(c, 2 * ELECTION_TIMEOUT);
    CHECK_EQ(raft_commit_index(cluster_core(c, 3)), 3);
    uint64_t begin = c->now_us;
    cluster_propose(c, 1, 1);
    cluster_run(c, HEARTBEAT +
                       3 * DELAY); /* undisturbed: a heartbeat and one and a half round trips */
    CHECK_EQ(raft_commit_index(cluster_core(c, 3)), 4);
    CHECK(c->now_us - begin <= HEARTBEAT + 3 * DELAY);
    cluster_free(c);
}

/* ---- what may be uncommitted ---- */

static void uncommitted_limit(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true, .uncommitted_max = 10});
    cluster_become_ready(c, 1);
    CHECK_EQ(cluster_propose(c, 1, 6), 0);
    CHECK_EQ(cluster_propose(c, 1, 5), ERR_OVERLOADED);
    CHECK_EQ(c->nodes[1].update.proposed_first, 0);
    CHECK_EQ(cluster_propose(c, 1, 4), 0);
    CHECK_EQ(cluster_propose(c, 1, 1), ERR_OVERLOADED);
    CHECK_EQ(raft_last_index(cluster_core(c, 1)), 12);
    cluster_ack(c, 1, 2, 5); /* room comes back with commitment */
    CHECK_EQ(cluster_propose(c, 1, 4), ERR_OVERLOADED);
    CHECK_EQ(cluster_propose(c, 1, 3), 0);
    cluster_ack(c, 1, 2, 15);
    CHECK_EQ(cluster_propose(c, 1, 10), 0);
    cluster_free(c);
    c = cluster_new((struct cluster_plan){.alone = true, .log_max = 5000}); /* none set: none */
    cluster_become_ready(c, 1);
    CHECK_EQ(cluster_propose(c, 1, 2000), 0);
    CHECK_EQ(cluster_propose(c, 1, 2000), 0);
    cluster_free(c);
}

/* The no-op of a new leader is never refused, however much it has inherited. */
static void noop_is_not_limited(void)
{
    struct cluster *c = cluster_new(
        (struct cluster_plan){.alone = true, .log = TERMS(1, 1, 1, 1, 1, 1), .uncommitted_max = 3});
    cluster_become(c, 1, RAFT_LEADER);
    CHECK_EQ(raft_last_index(cluster_core(c, 1)), 7);
    CHECK_EQ(cluster_propose(c, 1, 1), ERR_OVERLOADED); /* what was inherited counts */
    cluster_ack(c, 1, 2, 7);
    CHECK_EQ(cluster_propose(c, 1, 3), 0);
    cluster_free(c);
}

static void bounded_growth_in_a_partition(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.voters = 3, .uncommitted_max = 100});
    cluster_elect(c, 1);
    cluster_run(c, 2 * HEARTBEAT);
    cluster_isolate(c, 1);
    for (int i = 0; i < 1000; i++)
        cluster_propose(c, 1, 1);
    CHECK_EQ(raft_last_index(cluster_core(c, 1)), 102);
    cluster_heal(c);
    cluster_run(c, 2 * ELECTION_TIMEOUT);
    raft_id id = cluster_leader(c);
    REQUIRE(id);
    CHECK_EQ(cluster_propose(c, id, 1), 0);
    cluster_run(c, HEARTBEAT);
    CHECK(cluster_equal_logs(c));
    cluster_free(c);
}

/* Never without something in flight for far longer than an election timeout, but always
 * acknowledged in time: nothing is lost. */
static void traffic_is_no_loss(void)
{
    struct cluster *c = leader(8, 64);
    cluster_propose(c, 1, 1);
    for (raft_index acked = 3; acked < 33; acked++) {
        cluster_sleep(c, HEARTBEAT);
        cluster_tick(c, 1);
        cluster_propose(c, 1, 1);
        cluster_ack(c, 1, 2, acked);
        CHECK_EQ(peer2(c).inflight, 1);
        cluster_beat_reply(c, 1, 2, 0);
        CHECK_EQ(peer2(c).state, RAFT_PIPELINE);
    }
    cluster_free(c);
}

/* What one step may send is bounded; the rest follows a moment later. */
static void appends_of_one_step(void)
{
    struct cluster *c = cluster_new((struct cluster_plan){.alone = true,
                                                          .voters = RAFT_MEMBERS_MAX,
                                                          .inflight_max = RAFT_INFLIGHT_MAX,
                                                          .append_entries_max = 1});
    cluster_become_ready(c, 1);
    const uint32_t all = (RAFT_MEMBERS_MAX - 1) * RAFT_INFLIGHT_MAX;
    CHECK(all > RAFT_MESSAGES_MAX); /* more than one update holds */
    cluster_propose(c, 1, RAFT_INFLIGHT_MAX);
    uint32_t steps = 1;
    while (c->packet_count < all && steps < all) {
        CHECK(c->nodes[1].update.message_count < RAFT_MESSAGES_MAX);
        CHECK_EQ(c->nodes[1].wake_us, c->now_us + 1);
        cluster_sleep(c, 1);
        cluster_tick(c, 1);
        steps++;
    }
    CHECK_EQ(cluster_count(c, RAFT_APPEND, 1, 0), all);
    CHECK(steps <= 8);
    CHECK(c->nodes[1].wake_us > c->now_us + 1);
    cluster_free(c);
}

static const struct test_case cases[] = {
    {"§3.5 a probe is one append until it is answered", probe_sends_one},
    {"§3.5 a heartbeat's reply resumes a lost probe, once", heartbeat_reply_resumes_a_probe},
    {"§3.5 a heartbeat's reply of a follower in line brings no append",
     heartbeat_reply_of_a_follower_in_line},
    {"§3.5 a refusal moves the probe by its hint, a stale one does not", refusals},
    {"§3.5 acknowledgements move match and next, stale ones do not", answers_move_match_and_next},
    {"§3.5 a late refusal never puts next below match", late_refusal_in_probe},
    {"§10.2.1 the leader's own match is what is durable", own_progress_is_durable},
    {"§3.5 an unreachable follower is probed from match, when it answers again",
     unreachable_goes_back_to_probe},
    {"§10.2.1 a pipeline sends every append at once", pipeline_sends_at_once},
    {"§10.2.1 the window of appends fills", window_fills},
    {"§10.2.1 acknowledgements move the window, late ones do not", window_moves_on},
    {"§10.2.1 a window lost unnoticed is sent again", lost_window_is_sent_again},
    {"§10.2.1 a gap in the pipeline is filled at once", gap_is_filled},
    {"§3.5 a follower in line leaves the probe by itself", probing_ends_by_itself},
    {"§3.5 a lagging follower is sent pages", appends_are_cut_into_pages},
    {"§3.5 an append cut in parts by the carrier", carrier_cuts_an_append},
    {"§3.5 how late a follower learns the commit index", lagging_commit},
    {"§3.5 proposals beyond the uncommitted limit are refused, and room comes back",
     uncommitted_limit},
    {"§3.5 the no-op is not limited", noop_is_not_limited},
    {"§3.5 a partitioned leader's log is bounded", bounded_growth_in_a_partition},
    {"§10.2.1 a pipeline that is never empty is none that lost something", traffic_is_no_loss},
    {"§3.5 what one step sends is bounded, and the rest follows", appends_of_one_step},
};

CASES_MAIN(cases)
