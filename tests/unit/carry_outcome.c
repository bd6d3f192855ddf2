/* What a client is told of a write: each class of outcome, by what really became of its entry. */
#include <string.h>

#include "tests/support/carry_rig.h"

static void check_refused(const struct rig_request *q, int code, const char *message)
{
    CHECK_EQ(q->answers, 1);
    CHECK_EQ(q->answer.code, code);
    CHECK_EQ(q->answer.outcome, OUTCOME_NOT_APPLIED);
    CHECK_EQ(q->answer.retryable, code != ERR_REMOVED);
    CHECK(strstr(q->answer.message, message) != NULL);
}

static void check_unknown(const struct rig_request *q, int code)
{
    CHECK_EQ(q->answers, 1);
    CHECK_EQ(q->answer.code, code);
    CHECK_EQ(q->answer.outcome, OUTCOME_UNKNOWN);
    CHECK(!q->answer.retryable);
}

static void check_applied(const struct rig_request *q, raft_index index)
{
    CHECK_EQ(q->answers, 1);
    CHECK_EQ(q->answer.code, 0);
    CHECK_EQ(q->answer.result.index, index);
}

/* ---- refused before anything was proposed ---- */

/* A write now: refused by its route, and nothing was proposed. */
static void refused_now(struct rig *r, raft_id id, bool forwarded, int code, const char *message)
{
    struct rig_request *q;
    raft_index last;

    rig_turn(r, id);
    last = raft_last_index(rig_core(r, id));
    q = rig_write(r, id, (struct rig_write){.key = "k", .value = "v", .forwarded = forwarded});

    CHECK_EQ(q->route, CARRY_REFUSE);
    check_refused(q, code, message);
    rig_turn(r, id);
    CHECK_EQ(raft_last_index(rig_core(r, id)), last);
}

static void no_leader(void)
{
    struct rig *r = rig_new((struct rig_plan){0});

    refused_now(r, 1, false, ERR_NO_LEADER, "no leader is known");
    refused_now(r, 1, true, ERR_NO_LEADER, "no leader is known");
    rig_free(r);
}

static void a_follower_forwards_one_hop(void)
{
    struct rig *r = rig_new((struct rig_plan){0});
    struct rig_request *q;

    rig_elect(r, 2);
    q = rig_put(r, 1, "k", "v");
    CHECK_EQ(q->route, CARRY_FORWARD);
    CHECK_EQ(q->leader, 2);
    refused_now(r, 1, true, ERR_NO_LEADER, "does not lead");
    q = rig_write(r, 2, (struct rig_write){.key = "k", .value = "v", .forwarded = true});
    rig_settle(r);
    check_applied(q, 3);
    rig_free(r);
}

static void leadership_is_handed_over(void)
{
    struct rig *r = rig_new((struct rig_plan){0});

    rig_elect(r, 1);
    CHECK_EQ(carry_transfer(rig_carry(r, 1), 2, r->now_us, NULL), 0);
    refused_now(r, 1, false, ERR_NO_LEADER, "handed over");
    rig_run(r, RIG_ELECTION);
    CHECK_EQ(rig_leader(r), 2);
    rig_free(r);
}

/* The target that was told may campaign whenever the message arrives. */
static void a_transfer_that_was_told(void)
{
    struct rig *r = rig_new((struct rig_plan){0});

    rig_elect(r, 1);
    CHECK(!carry_transfer_told(rig_carry(r, 1)));
    r->held[1][2] = true;
    rig_put_now(r, 1, "k", "v");
    CHECK_EQ(carry_transfer(rig_carry(r, 1), 2, r->now_us, NULL), 0);
    rig_run(r, RIG_ELECTION + 1); /* it lacks an entry */
    CHECK_EQ(raft_transfer_target(rig_core(r, 1)), 0);
    CHECK(!carry_transfer_told(rig_carry(r, 1)));
    r->held[1][2] = false;
    rig_run(r, RIG_ELECTION);
    r->held[1][2] = true;
    CHECK_EQ(carry_transfer(rig_carry(r, 1), 2, r->now_us, NULL), 0);
    CHECK(carry_transfer_told(rig_carry(r, 1)));
    CHECK(carry_transfer(rig_carry(r, 1), 3, r->now_us, NULL) != 0); /* one is under way */
    CHECK(carry_transfer_told(rig_carry(r, 1)));
    rig_run(r, RIG_ELECTION + 1);
    CHECK_EQ(raft_transfer_target(rig_core(r, 1)), 0);
    CHECK(carry_transfer_told(rig_carry(r, 1)));
    r->held[1][2] = false;
    rig_run(r, RIG_ELECTION);
    CHECK_EQ(rig_leader(r), 2); /* so it was */
    rig_free(r);
}

static void disk_is_low(void)
{
    struct rig *r = rig_new((struct rig_plan){.voters = 1});

    rig_elect(r, 1);
    carry_disk_low(rig_carry(r, 1), true, r->now_us);
    refused_now(r, 1, false, ERR_DISK_FULL, "full");
    carry_disk_low(rig_carry(r, 1), false, r->now_us);
    rig_put_now(r, 1, "k", "v");
    rig_free(r);
}

static void disk_is_stalled(void)
{
    struct rig *r = rig_new((struct rig_plan){.voters = 1});
    struct rig_request *q;

    rig_elect(r, 1);
    r->nodes[1].hold.disk = true;
    q = rig_put(r, 1, "k", "v");
    rig_run(r, RIG_ELECTION + 2);
    CHECK(carry_stalled(rig_carry(r, 1)));
    refused_now(r, 1, false, ERR_NO_LEADER, "does not answer");
    r->nodes[1].hold.disk = false;
    rig_settle(r);
    check_applied(q, 3);
    rig_put_now(r, 1, "k", "w");
    rig_free(r);
}

static void too_many_writes(void)
{
    struct carry_options options = rig_options();
    struct rig *r;

    options.pending_writes_max = 3;
    r = rig_new((struct rig_plan){.options = &options});
    rig_elect(r, 1);
    for (int i = 0; i < 3; i++) {
        rig_put(r, 1, "k", "v");
    }
    refused_now(r, 1, false, ERR_OVERLOADED, "too many writes");
    rig_settle(r);
    rig_put_now(r, 1, "k", "v"); /* those were answered */
    rig_free(r);
}

static void too_many_bytes(void)
{
    struct carry_options options = rig_options();
    struct rig_write w = {.key = "k", .value_bytes = 900};
    struct rig *r;

    options.pending_bytes_max = 1000;
    r = rig_new((struct rig_plan){.options = &options});
    rig_elect(r, 1);
    CHECK_EQ(rig_write(r, 1, w)->route, CARRY_HERE);
    check_refused(rig_write(r, 1, w), ERR_OVERLOADED, "too many writes");
    rig_settle(r); /* answered: there is room again */
    CHECK_EQ(rig_write(r, 1, w)->route, CARRY_HERE);
    check_refused(rig_write(r, 1, w), ERR_OVERLOADED, "too many writes");
    rig_free(r);
}

static void overlay_is_full(void)
{
    struct rig *r = rig_new((struct rig_plan){0});

    rig_elect(r, 1);
    carry_overlay(rig_carry(r, 1), rig_options().overlay_bytes_max + 1);
    refused_now(r, 1, false, ERR_OVERLOADED, "does not keep up");
    carry_overlay(rig_carry(r, 1), rig_options().overlay_bytes_max);
    rig_put_now(r, 1, "k", "v");
    rig_free(r);
}

/* Started again from its disk it knows, though the state machine has forgotten, and asks nobody for
 * a vote. */
static void stays_removed(struct rig *r, raft_id id)
{
    rig_stop(r, id);
    rig_start(r, id);
    CHECK_EQ(raft_commit_index(rig_core(r, id)), 0);
    CHECK(carry_removed(rig_carry(r, id)));
    for (raft_id to = 1; to <= r->node_count; to++) {
        r->held[id][to] = true;
    }
    rig_run(r, 6 * RIG_ELECTION);
    CHECK_EQ(rig_count(r, RAFT_MESSAGE_TYPES, id, 0), 0);
    refused_now(r, id, false, ERR_REMOVED, "removed");
}

static void removed(void)
{
    struct raft_change change = {.kind = RAFT_REMOVE, .id = 3};
    struct rig *r = rig_new((struct rig_plan){0});
    struct rig_request *read;

    rig_elect(r, 1);
    CHECK_EQ(carry_change(rig_carry(r, 1), &change, NULL, r->now_us, NULL), 0);
    rig_run(r, RIG_ELECTION);
    REQUIRE(carry_removed(rig_carry(r, 3)));
    refused_now(r, 3, false, ERR_REMOVED, "removed");
    for (int mode = CARRY_LINEARIZABLE; mode <= CARRY_STALE; mode++) {
        read = rig_get(r, 3, "k", (enum carry_read_mode)mode);
        CHECK_EQ(read->answers, 1);
        CHECK_EQ(read->answer.code, ERR_REMOVED);
    }
    CHECK_EQ(r->nodes[3].disk.removed, raft_configuration_latest(rig_core(r, 1))->index);
    stays_removed(r, 3);
    rig_put_now(r, 1, "k", "v");
    rig_free(r);
}

/* A member that slept through its removal is told by the others when it stands for election. */
static void told_that_it_is_removed(void)
{
    struct raft_change change = {.kind = RAFT_REMOVE, .id = 3};
    struct rig *r = rig_new((struct rig_plan){0});

    rig_elect(r, 1);
    rig_cut(r, 3, true);
    CHECK_EQ(carry_change(rig_carry(r, 1), &change, NULL, r->now_us, NULL), 0);
    rig_run(r, 10 * RIG_ELECTION);
    CHECK(!carry_removed(rig_carry(r, 3)));
    rig_cut(r, 3, false);
    rig_run(r, 4 * RIG_ELECTION);
    CHECK(carry_removed(rig_carry(r, 3)));
    refused_now(r, 3, false, ERR_REMOVED, "removed");
    stays_removed(r, 3);
    rig_free(r);
}

/* … also where the leader is none of those whom it asks. */
static void told_by_a_follower(void)
{
    struct raft_change change = {.kind = RAFT_REPLACE, .id = 3, .new_id = 4};
    struct member_address newcomer = {.id = 4, .name = "n4", .url = "http://n4"};
    struct rig *r = rig_new((struct rig_plan){.spares = 1});

    rig_elect(r, 1);
    rig_cut(r, 3, true);
    rig_start(r, 4);
    CHECK_EQ(carry_change(rig_carry(r, 1), &change, &newcomer, r->now_us, NULL), 0);
    rig_run(r, 10 * RIG_ELECTION);
    CHECK_EQ(carry_transfer(rig_carry(r, 1), 4, r->now_us, NULL), 0);
    rig_run(r, RIG_ELECTION);
    REQUIRE(raft_state(rig_core(r, 4)) == RAFT_LEADER);
    CHECK(!carry_removed(rig_carry(r, 3)));
    rig_cut(r, 3, false);
    rig_run(r, 4 * RIG_ELECTION);
    CHECK(carry_removed(rig_carry(r, 3)));
    stays_removed(r, 3);
    rig_free(r);
}

static void shutting_down(void)
{
    struct rig *r = rig_new((struct rig_plan){0});

    rig_elect(r, 1);
    for (raft_id id = 1; id <= 2; id++) { /* the leader, and who would forward */
        carry_shutdown(rig_carry(r, id));
        refused_now(r, id, false, ERR_SHUTTING_DOWN, "shuts down");
    }
    rig_free(r);
}

/* ---- refused by the core, at the end of the turn ---- */

static void leadership_lost_before_the_turn(void)
{
    struct rig *r = rig_new((struct rig_plan){.alone = true});
    struct rig_request *q;

    rig_lead(r);
    q = rig_put(r, 1, "k", "v");
    CHECK_EQ(q->route, CARRY_HERE);
    rig_feed(r, (struct raft_message){.type = RAFT_HEARTBEAT, .from = 2, .to = 1, .term = 5}, 0, 0,
             0);
    CHECK_EQ(q->answers, 0);
    rig_turn(r, 1);
    check_refused(q, ERR_NO_LEADER, "does not lead");
    rig_free(r);
}

static void handed_over_before_the_turn(void)
{
    struct rig *r = rig_new((struct rig_plan){.alone = true});
    struct rig_request *q;

    rig_lead(r);
    q = rig_put(r, 1, "k", "v");
    CHECK_EQ(carry_transfer(rig_carry(r, 1), 2, r->now_us, NULL), 0);
    rig_turn(r, 1);
    check_refused(q, ERR_NO_LEADER, "handed over");
    rig_free(r);
}

static void too_many_uncommitted(void)
{
    struct carry_options options = rig_options();
    struct rig_request *q[3];
    struct rig *r;

    options.raft.uncommitted_max = 2;
    r = rig_new((struct rig_plan){.alone = true, .options = &options});
    rig_lead(r);
    for (int i = 0; i < 3; i++) {
        q[i] = rig_put(r, 1, "k", "v");
        rig_turn(r, 1);
    }
    check_refused(q[2], ERR_OVERLOADED, "wait to be committed");
    CHECK_EQ(q[0]->answers + q[1]->answers, 0);
    rig_free(r);
}

/* ---- proposed ---- */

static void committed(void)
{
    struct rig *r = rig_new((struct rig_plan){0});
    struct rig_request *q, *same, *other;

    rig_elect(r, 1);
    r->held[2][1] = r->held[3][1] = true;
    q = rig_put(r, 1, "k", "v");
    rig_settle(r);
    CHECK_EQ(q->answers, 0); /* on the leader alone */
    r->held[2][1] = false;
    rig_settle(r);
    check_applied(q, 3);
    CHECK_EQ(q->answer.result.version, 3);
    r->held[3][1] = false;
    /* A condition that does not hold is a result, not an error. */
    same = rig_write(r, 1,
                     (struct rig_write){
                         .key = "k", .value = "w", .condition = CONDITION_VERSION, .expected = 3});
    other = rig_write(r, 1,
                      (struct rig_write){
                          .key = "k", .value = "x", .condition = CONDITION_VERSION, .expected = 3});
    rig_settle(r);
    check_applied(same, 4);
    CHECK_EQ(same->answer.result.status, 0);
    check_applied(other, 5);
    CHECK_EQ(other->answer.result.status, ERR_PRECONDITION_FAILED);
    CHECK_EQ(other->answer.result.version, 4);
    rig_free(r);
}

/* The leader counts a majority that it is not in; it answers when its own disk has the entry. */
static void answered_when_applied_here(void)
{
    struct rig *r = rig_new((struct rig_plan){0});
    struct rig_request *q;

    rig_elect(r, 1);
    r->nodes[1].hold.disk = true;
    q = rig_put(r, 1, "k", "v");
    rig_settle(r);
    CHECK_EQ(raft_commit_index(rig_core(r, 1)), 3);
    CHECK_EQ(q->answers, 0);
    r->nodes[1].hold.disk = false;
    rig_settle(r);
    check_applied(q, 3);
    rig_free(r);
}

/* An append of leader 2, term 5, to node 1: `entries` after 2, which is the no-op of term 2. */
static void append_of_2(struct rig *r, uint64_t seq, uint32_t entries, raft_index commit)
{
    raft_term prev_term = raft_term_at(rig_core(r, 1), 2);

    CHECK_EQ(rig_feed(r,
                      (struct raft_message){.type = RAFT_APPEND,
                                            .from = 2,
                                            .to = 1,
                                            .term = 5,
                                            .prev_index = 2,
                                            .prev_term = prev_term,
                                            .entry_count = entries,
                                            .commit = commit},
                      1, seq, 10),
             0);
    rig_settle(r);
}

static void another_entry_is_committed(void)
{
    struct rig *r = rig_new((struct rig_plan){.alone = true});
    struct rig_request *q[3];

    rig_lead(r);
    for (int i = 0; i < 3; i++) {
        q[i] = rig_put(r, 1, "k", "v");
        rig_settle(r);
    }
    append_of_2(r, 1, 2, 4); /* 3 and 4; 5 is gone, nobody knows what for */
    for (int i = 0; i < 2; i++) {
        check_refused(q[i], ERR_NO_LEADER, "another entry");
    }
    CHECK_EQ(q[2]->answers, 0);
    append_of_2(r, 2, 3, 5);
    check_refused(q[2], ERR_NO_LEADER, "another entry");
    rig_free(r);
}

/* What is overwritten in one's own log may live on in others', and be committed there. */
static void overwritten_here_only(void)
{
    struct rig *r = rig_new((struct rig_plan){.alone = true});
    struct rig_request *q;

    rig_lead(r);
    q = rig_put(r, 1, "k", "v");
    rig_settle(r);
    append_of_2(r, 1, 1, 2);
    CHECK_EQ(raft_term_at(rig_core(r, 1), 3), 5);
    rig_run(r, RIG_TIMEOUT - RIG_ELECTION);
    CHECK_EQ(q->answers, 0);
    rig_run(r, RIG_ELECTION + 1);
    check_unknown(q, ERR_TIMEOUT);
    rig_free(r);
}

static void committed_by_the_next_leader(void)
{
    struct rig *r = rig_new((struct rig_plan){0});
    struct rig_request *q;

    rig_elect(r, 1);
    r->held[2][1] = r->held[3][1] = true; /* they have it, and it does not know */
    q = rig_put(r, 1, "k", "v");
    rig_settle(r);
    rig_forget_all(r);
    rig_cut(r, 1, true);
    r->held[2][1] = r->held[3][1] = false;
    rig_elect(r, 2);
    rig_run(r, 4 * RIG_ELECTION);
    CHECK(raft_state(rig_core(r, 1)) != RAFT_LEADER);
    CHECK_EQ(q->answers, 0); /* losing leadership says nothing */
    rig_cut(r, 1, false);
    rig_run(r, 4 * RIG_ELECTION);
    check_applied(q, 3);
    rig_free(r);
}

/* The same with what nobody else had. */
static void lost_with_its_leader(void)
{
    struct rig *r = rig_new((struct rig_plan){0});
    struct rig_request *q;

    rig_elect(r, 1);
    rig_cut(r, 1, true);
    q = rig_put(r, 1, "k", "v");
    rig_settle(r);
    rig_elect(r, 2);
    rig_run(r, 4 * RIG_ELECTION);
    CHECK_EQ(q->answers, 0);
    rig_cut(r, 1, false);
    rig_run(r, 4 * RIG_ELECTION);
    check_refused(q, ERR_NO_LEADER, "another entry");
    rig_free(r);
}

static void deadline(void)
{
    struct rig *r = rig_new((struct rig_plan){.alone = true});
    struct rig_request *early, *late, *past;

    rig_lead(r);
    late = rig_write(r, 1, (struct rig_write){.key = "k", .value = "v", .timeout_us = 200000});
    early = rig_write(r, 1, (struct rig_write){.key = "k", .value = "v", .timeout_us = 100000});
    past = rig_write(r, 1, (struct rig_write){.key = "k", .value = "v", .timeout_us = 1});
    rig_sleep(r, 2);
    rig_run(r, 100000 - 3);
    check_unknown(past, ERR_TIMEOUT); /* it was proposed all the same */
    CHECK_EQ(early->answers, 0);
    rig_run(r, 1);
    check_unknown(early, ERR_TIMEOUT);
    CHECK_EQ(late->answers, 0);
    rig_run(r, 100000);
    check_unknown(late, ERR_TIMEOUT);
    rig_free(r);
}

/* A snapshot that covers the entry hides what it was. */
static void superseded_by_a_snapshot(void)
{
    struct rig *r = rig_new((struct rig_plan){0});
    struct rig_request *q[3];

    rig_elect(r, 1);
    rig_cut(r, 1, true);
    for (int i = 0; i < 3; i++) {
        q[i] = rig_write(
            r, 1, (struct rig_write){.key = "k", .value = "v", .timeout_us = 100 * RIG_TIMEOUT});
        rig_settle(r);
    }
    rig_elect(r, 2); /* its no-op is 3 */
    rig_put_now(r, 2, "k", "w");
    rig_run(r, 4 * RIG_ELECTION); /* 1 steps down */
    CHECK_EQ(rig_snapshot_give(r, 1, rig_snapshot_take(r, 2)), 0);
    rig_settle(r);
    CHECK_EQ(raft_snapshot_index(rig_core(r, 1)), 4);
    check_unknown(q[0], ERR_TIMEOUT);
    check_unknown(q[1], ERR_TIMEOUT);
    CHECK_EQ(q[2]->answers, 0); /* it lay behind the snapshot: the log will tell */
    rig_put_now(r, 2, "k", "x");
    rig_cut(r, 1, false);
    rig_run(r, 4 * RIG_ELECTION);
    check_refused(q[2], ERR_NO_LEADER, "another entry");
    rig_free(r);
}

static void node_stops(void)
{
    struct rig *r = rig_new((struct rig_plan){.alone = true});
    struct rig_request *proposed, *batched, *read[4];

    rig_lead(r);
    proposed = rig_put(r, 1, "k", "v");
    read[0] = rig_get(r, 1, "k", CARRY_LINEARIZABLE);
    read[1] = rig_read(r, 1, (struct rig_read){.key = "k", .mode = CARRY_STALE, .min_index = 100});
    rig_settle(r);
    batched = rig_put(r, 1, "k", "v");
    read[2] = rig_get(r, 1, "k", CARRY_LINEARIZABLE);
    read[3] = rig_get(r, 1, "k", CARRY_LEASE);
    rig_stop(r, 1);
    check_unknown(proposed, ERR_SHUTTING_DOWN);
    check_refused(batched, ERR_SHUTTING_DOWN, "shuts down");
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(read[i]->answers, 1);
        CHECK_EQ(read[i]->answer.code, ERR_SHUTTING_DOWN);
        CHECK(read[i]->answer.retryable);
    }
    rig_free(r);
}

/* ---- forwarded ---- */

static void forwarded(void)
{
    static const struct {
        bool sent;
        int code, status;
        bool pass_on;
        int told;
        enum outcome outcome;
    } table[] = {
        {true, 0, 200, true, 0, OUTCOME_NONE},
        {true, 0, 503, true, 0, OUTCOME_NONE}, /* the leader's own word */
        {false, ERR_UNREACHABLE, 0, false, ERR_NO_LEADER, OUTCOME_NOT_APPLIED},
        {false, ERR_TIMEOUT, 0, false, ERR_NO_LEADER, OUTCOME_NOT_APPLIED},
        {true, ERR_TIMEOUT, 0, false, ERR_TIMEOUT, OUTCOME_UNKNOWN},
        {true, ERR_UNREACHABLE, 0, false, ERR_TIMEOUT, OUTCOME_UNKNOWN},
        {true, ERR_TOO_LARGE, 200, false, ERR_TIMEOUT, OUTCOME_UNKNOWN}, /* cut short */
        {true, 0, 0, false, ERR_TIMEOUT, OUTCOME_UNKNOWN},
    };

    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct carry_answer a;

        case_row("row %zu", i);
        CHECK_EQ(carry_forward_outcome(table[i].sent, table[i].code, table[i].status, &a),
                 table[i].pass_on);
        CHECK_EQ(a.code, table[i].told);
        CHECK_EQ(a.outcome, table[i].outcome);
        CHECK_EQ(a.retryable, table[i].outcome == OUTCOME_NOT_APPLIED);
    }
}

/* ---- retries ---- */

/* The leader dies between commit and reply; another node has the first answer. */
static void retry_on_another_node(void)
{
    struct rig *r = rig_new((struct rig_plan){0});
    struct rig_write w = {.key = "k", .value = "v", .client = "c", .seq = 1};
    struct rig_write condition = {
        .key = "k", .value = "w", .client = "d", .seq = 1, .condition = CONDITION_ABSENT};
    struct rig_request *first, *refused, *again[2];

    rig_elect(r, 1);
    first = rig_write(r, 1, w);
    refused = rig_write(r, 1, condition);
    r->nodes[1].hold.results = true;
    rig_settle(r);
    rig_run(r, RIG_HEARTBEAT); /* the others know that it is committed */
    CHECK_EQ(carry_applied_index(rig_carry(r, 2)), 4);
    CHECK_EQ(first->answers + refused->answers, 0);
    rig_stop(r, 1);
    check_unknown(first, ERR_SHUTTING_DOWN);
    rig_elect(r, 2);
    rig_put_now(r, 2, "k", "later");
    again[0] = rig_write(r, 2, w);
    again[1] = rig_write(r, 2, condition);
    rig_settle(r);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(again[i]->answers, 1);
        CHECK_EQ(again[i]->answer.code, 0);
        CHECK(again[i]->answer.result.replayed);
    }
    CHECK_EQ(again[0]->answer.result.status, 0);
    CHECK_EQ(again[0]->answer.result.version, 3);
    CHECK_EQ(again[1]->answer.result.status, ERR_PRECONDITION_FAILED);
    CHECK_EQ(again[1]->answer.result.version, 3);
    rig_free(r);
}

/* … and so it is when nobody had committed it yet, or nobody had it. */
static void retry_of_what_was_not_committed(void)
{
    for (int reached = 0; reached < 2; reached++) {
        struct rig *r = rig_new((struct rig_plan){0});
        struct rig_write w = {.key = "k", .value = "v", .client = "c", .seq = 1};
        struct rig_request *first, *again;

        case_row("%s", reached ? "on the others' disks" : "on the leader's alone");
        rig_elect(r, 1);
        first = rig_write(r, 1, w);
        r->held[2][1] = r->held[3][1] = true;
        rig_cut(r, 1, !reached);
        rig_settle(r);
        rig_stop(r, 1);
        check_unknown(first, ERR_SHUTTING_DOWN);
        r->held[2][1] = r->held[3][1] = false;
        rig_elect(r, 2);
        again = rig_write(r, 2, w);
        rig_settle(r);
        CHECK_EQ(again->answer.result.status, 0);
        CHECK_EQ(again->answer.result.replayed, reached);
        CHECK_EQ(again->answer.result.version, reached ? 3 : 4);
        rig_free(r);
    }
}

/* ---- the owner ---- */

static void write_again(struct rig_request *q)
{
    struct rig *r = q->rig;

    rig_put(r, q->node, "again", "v");
    rig_get(r, q->node, "again", CARRY_LINEARIZABLE);
    rig_get(r, q->node, "again", CARRY_STALE);
}

/* New requests out of an answer, whatever the answer. */
static void requests_out_of_answers(void)
{
    struct rig *r = rig_new((struct rig_plan){.alone = true});
    struct rig_request *q[6];

    rig_lead(r);
    for (int i = 0; i < 3; i++) { /* refused */
        q[i] = rig_put(r, 1, "k", "v");
        q[i]->then = write_again;
    }
    q[3] = rig_get(r, 1, "k", CARRY_LINEARIZABLE); /* dropped with the leadership */
    q[3]->then = write_again;
    rig_turn(r, 1);
    q[4] = rig_put(r, 1, "k", "v");
    q[4]->then = write_again;
    q[5] = rig_write(r, 1, (struct rig_write){.key = "k", .value = "v", .timeout_us = 1});
    q[5]->then = write_again;
    rig_feed(r,
             (struct raft_message){
                 .type = RAFT_VOTE, .from = 2, .to = 1, .term = 9, .last_index = 9, .last_term = 9},
             0, 0, 0);
    rig_run(r, 2 * RIG_TIMEOUT);
    rig_free(r); /* looks that all were answered */
}

static const struct test_case cases[] = {
    {"refused: no leader is known", no_leader},
    {"a follower forwards, one hop and never two", a_follower_forwards_one_hop},
    {"refused: leadership is being handed over", leadership_is_handed_over},
    {"a transfer that failed, told or not", a_transfer_that_was_told},
    {"refused: the disk is low", disk_is_low},
    {"refused: the disk is stalled", disk_is_stalled},
    {"refused: too many writes", too_many_writes},
    {"refused: too many bytes", too_many_bytes},
    {"refused: the overlay is full", overlay_is_full},
    {"refused: removed", removed},
    {"refused: told that it is removed", told_that_it_is_removed},
    {"refused: told by a follower that it is removed", told_by_a_follower},
    {"refused: shutting down", shutting_down},
    {"refused by the core: leadership was lost before the turn", leadership_lost_before_the_turn},
    {"refused by the core: leadership is being handed over", handed_over_before_the_turn},
    {"refused by the core: too many entries not committed", too_many_uncommitted},
    {"applied: committed with its own term", committed},
    {"applied: not before this node's disk has it", answered_when_applied_here},
    {"not applied: another entry is committed at its index", another_entry_is_committed},
    {"unknown: overwritten here, nothing committed", overwritten_here_only},
    {"applied: leadership lost, committed by the next leader", committed_by_the_next_leader},
    {"not applied: lost with its leader", lost_with_its_leader},
    {"unknown: the deadline", deadline},
    {"unknown: a snapshot covers it", superseded_by_a_snapshot},
    {"unknown: the node stops", node_stops},
    {"forwarded: not sent, no reply, a reply", forwarded},
    {"a retry on another node gets the first answer", retry_on_another_node},
    {"a retry of what was not committed", retry_of_what_was_not_committed},
    {"new requests out of an answer", requests_out_of_answers},
};
CASES_MAIN(cases)
