/* Reads: linearizable on leader and follower, by lease, stale; what changes while they wait. */
#include <string.h>

#include "lib/base/prng.h"
#include "tests/support/carry_rig.h"

static void check_served(const struct rig_request *q, const char *value)
{
    CHECK_EQ(q->answers, 1);
    CHECK(q->served);
    CHECK_EQ(q->code, *value ? 0 : ERR_NOT_FOUND);
    if (strcmp(q->value, value) != 0) {
        case_fail("it read '%s', not '%s'", q->value, value);
    }
}

static void check_failed(const struct rig_request *q, int code)
{
    CHECK_EQ(q->answers, 1);
    CHECK(!q->served);
    CHECK_EQ(q->answer.code, code);
    CHECK_EQ(q->answer.outcome, OUTCOME_NONE);
}

/* ---- linearizable ---- */

static void on_the_leader(void)
{
    struct rig *r = rig_new((struct rig_plan){.alone = true});
    struct rig_request *q;

    rig_lead(r);
    q = rig_get(r, 1, "k", CARRY_LINEARIZABLE);
    rig_settle(r);
    CHECK_EQ(q->answers, 0); /* a majority has to confirm first */
    rig_beat(r);
    check_served(q, "");
    rig_free(r);
}

static void on_a_follower(void)
{
    struct rig *r = rig_new((struct rig_plan){0});
    struct rig_request *q;

    rig_elect(r, 1);
    r->nodes[3].hold.machine = true;
    rig_put_now(r, 1, "k", "1");
    rig_run(r, RIG_HEARTBEAT);
    q = rig_get(r, 3, "k", CARRY_LINEARIZABLE);
    rig_settle(r);
    CHECK_EQ(q->answers, 0); /* the index is known; it is not applied here */
    CHECK_EQ(q->carry.index, 3);
    r->nodes[3].hold.machine = false;
    rig_settle(r);
    check_served(q, "1");
    rig_free(r);
}

/* An idle follower that has the entry learns by the reply that it is committed. */
static void idle_follower_need_not_wait(void)
{
    struct rig *r = rig_new((struct rig_plan){0});
    struct rig_request *q;

    rig_elect(r, 1);
    rig_put_now(r, 1, "k", "1");
    q = rig_get(r, 3, "k", CARRY_LINEARIZABLE);
    rig_settle(r); /* no time has passed */
    check_served(q, "1");
    rig_free(r);
}

/* Many that come in one turn ask once. */
static void share_a_round(void)
{
    struct rig *r = rig_new((struct rig_plan){.alone = true});
    struct rig_request *q[20];

    rig_lead(r);
    for (int i = 0; i < 20; i++) {
        q[i] = rig_get(r, 1, "k", CARRY_LINEARIZABLE);
    }
    rig_settle(r);
    CHECK_EQ(rig_count(r, RAFT_HEARTBEAT, 1, 2), 1);
    rig_beat(r);
    for (int i = 0; i < 20; i++) {
        check_served(q[i], "");
    }
    rig_free(r);
}

/* What a new leader knows to be committed may be behind what its predecessor answered (§6.4). */
static void leader_reads_wait_for_its_no_op(void)
{
    struct rig *r = rig_new((struct rig_plan){.alone = true});
    struct rig_request *q[2];
    struct rig_packet *p;
    struct raft_message vote = {0};

    /* Leads, and nobody has accepted its first entry. */
    while (raft_state(rig_core(r, 1)) != RAFT_LEADER) {
        rig_sleep(r, RIG_HEARTBEAT);
        rig_tick(r, 1);
        rig_settle(r);
        while ((p = rig_find(r, RAFT_PRE_VOTE, 1, 0)) || (p = rig_find(r, RAFT_VOTE, 1, 0))) {
            vote.type = p->type + (RAFT_PRE_VOTE_REPLY - RAFT_PRE_VOTE);
            vote.from = p->to;
            vote.to = 1;
            vote.term = p->m.message.term;
            vote.granted = true;
            rig_forget(r, p);
            rig_reply(r, vote);
            rig_settle(r);
        }
    }
    q[0] = rig_get(r, 1, "k", CARRY_LINEARIZABLE);
    q[1] = rig_get(r, 1, "k", CARRY_LEASE);
    rig_settle(r);
    rig_beat(r);
    CHECK_EQ(q[0]->answers + q[1]->answers, 0);
    rig_accept(r, rig_find(r, RAFT_APPEND, 1, 2));
    rig_settle(r);
    CHECK_EQ(q[0]->answers, 0); /* what confirms it is sent after that */
    rig_beat(r);
    check_served(q[0], "");
    check_served(q[1], "");
    rig_free(r);
}

static void leadership_changes(void)
{
    struct rig *r = rig_new((struct rig_plan){0});
    struct rig_request *kept, *lost;

    rig_elect(r, 1);
    rig_put_now(r, 1, "k", "1");
    r->held[2][1] = r->held[3][1] = true;
    lost = rig_get(r, 1, "k", CARRY_LINEARIZABLE);
    rig_settle(r);
    rig_run(r, 2 * RIG_ELECTION); /* nobody answers it: it steps down */
    CHECK(raft_state(rig_core(r, 1)) != RAFT_LEADER);
    check_failed(lost, ERR_NO_LEADER);
    CHECK(lost->answer.retryable);
    rig_free(r);

    /* With the next leader known the read is asked again, there. */
    r = rig_new((struct rig_plan){.alone = true});
    rig_lead(r);
    kept = rig_get(r, 1, "k", CARRY_LINEARIZABLE);
    rig_settle(r);
    rig_feed(r, (struct raft_message){.type = RAFT_HEARTBEAT, .from = 3, .to = 1, .term = 9}, 0, 0,
             0);
    CHECK_EQ(kept->answers, 0);
    CHECK_EQ(carry_wake_us(rig_carry(r, 1)), 0); /* there must be another turn */
    rig_settle(r);
    REQUIRE(rig_count(r, RAFT_READ_INDEX, 1, 3) == 1);
    rig_reply(r, (struct raft_message){
                     .type = RAFT_READ_INDEX_REPLY,
                     .from = 3,
                     .to = 1,
                     .term = 9,
                     .granted = true,
                     .read_index = 2,
                     .read_id = rig_find(r, RAFT_READ_INDEX, 1, 3)->m.message.read_id,
                 });
    rig_settle(r);
    check_served(kept, "");
    rig_free(r);
}

static void refuse_read_index(struct rig *r, raft_id from)
{
    struct rig_packet *p = rig_find(r, RAFT_READ_INDEX, 1, from);
    struct raft_message m = {
        .type = RAFT_READ_INDEX_REPLY, .from = from, .to = 1, .term = p->m.message.term};

    m.read_id = p->m.message.read_id;
    rig_forget(r, p);
    rig_reply(r, m);
    rig_settle(r);
}

/* Who is taken for the leader may have stepped down: it is not asked without end. */
static void the_leader_refuses(void)
{
    struct rig *r = rig_new((struct rig_plan){.alone = true});
    struct raft_message beat = {.type = RAFT_HEARTBEAT, .from = 2, .to = 1, .term = 5};
    struct rig_request *q, *late;

    rig_feed(r, beat, 0, 0, 0);
    q = rig_get(r, 1, "k", CARRY_LEASE);
    late = rig_read(r, 1, (struct rig_read){.key = "k", .timeout_us = RIG_HEARTBEAT / 2});
    rig_settle(r);
    while (rig_find(r, RAFT_READ_INDEX, 1, 2)) {
        refuse_read_index(r, 2);
    }
    CHECK_EQ(q->answers + late->answers, 0);
    rig_run(r, RIG_HEARTBEAT - 1);
    CHECK_EQ(rig_count(r, RAFT_READ_INDEX, 1, 2), 0);
    check_failed(late, ERR_TIMEOUT);
    rig_run(r, 1);
    REQUIRE(rig_count(r, RAFT_READ_INDEX, 1, 2) == 1);
    refuse_read_index(r, 2);
    CHECK_EQ(rig_count(r, RAFT_READ_INDEX, 1, 0), 0);
    beat.from = 3, beat.term = 6; /* another one is asked at once */
    rig_feed(r, beat, 0, 0, 0);
    rig_settle(r);
    CHECK_EQ(rig_count(r, RAFT_READ_INDEX, 1, 3), 1);
    refuse_read_index(r, 3);
    rig_stop(r, 1);
    check_failed(q, ERR_SHUTTING_DOWN);
    rig_free(r);
}

static void no_leader_is_known(void)
{
    struct rig *r = rig_new((struct rig_plan){0});
    struct rig_request *q[2];

    q[0] = rig_get(r, 1, "k", CARRY_LINEARIZABLE);
    q[1] = rig_get(r, 1, "k", CARRY_LEASE);
    rig_settle(r);
    check_failed(q[0], ERR_NO_LEADER);
    check_failed(q[1], ERR_NO_LEADER);
    rig_free(r);
}

static void too_many_reads(void)
{
    struct carry_options options = rig_options();
    struct rig_request *q[3];
    struct rig *r;

    options.pending_reads_max = 2;
    r = rig_new((struct rig_plan){.options = &options});
    rig_elect(r, 1);
    for (int i = 0; i < 3; i++) {
        q[i] = rig_get(r, 1, "k", CARRY_LINEARIZABLE);
    }
    check_failed(q[2], ERR_OVERLOADED);
    rig_settle(r);
    check_served(q[0], "");
    check_served(q[1], "");
    q[0] = rig_get(r, 1, "k", CARRY_LINEARIZABLE);
    rig_settle(r);
    check_served(q[0], "");
    rig_free(r);
}

/* ---- order ---- */

/* A read that comes after a write was answered sees it, on every node; one that came before may. */
static void applies_and_reads_in_order(void)
{
    struct rig *r = rig_new((struct rig_plan){0});
    struct rig_request *write, *before, *after;

    rig_elect(r, 1);
    rig_put_now(r, 1, "k", "1");
    r->nodes[1].hold.machine = true;
    before = rig_get(r, 1, "k", CARRY_LINEARIZABLE);
    rig_settle(r); /* its index is known, it is with the state machine */
    write = rig_put(r, 1, "k", "2");
    rig_settle(r);
    CHECK_EQ(before->answers + write->answers, 0);
    after = rig_get(r, 1, "k", CARRY_LINEARIZABLE);
    rig_settle(r);
    CHECK_EQ(r->nodes[1].work_count, 3);
    CHECK(r->nodes[1].works[0].read == before);
    CHECK(r->nodes[1].works[2].read == after);
    r->nodes[1].hold.machine = false;
    rig_settle(r);
    check_served(before, "1");
    check_served(after, "2");
    CHECK_EQ(write->answer.code, 0);
    rig_free(r);
}

static void random_reads_and_writes(void)
{
    struct rig *r = rig_new((struct rig_plan){0});
    struct rig_request *write = NULL, *reads[400];
    raft_index answered = 0, least[400];
    size_t count = 0;
    struct prng p;

    prng_seed(&p, 1);
    rig_elect(r, 1);
    for (int step = 0; step < 3000 && count < 400; step++) {
        raft_id id = 1 + prng_below(&p, 3);

        r->nodes[id].hold.machine = prng_chance(&p, 1, 3);
        r->nodes[id].hold.results = prng_chance(&p, 1, 3);
        r->nodes[id].hold.disk = prng_chance(&p, 1, 3);
        if ((!write || write->answers == 1) && prng_chance(&p, 1, 3)) {
            answered = write ? write->answer.result.index : 0;
            write = rig_put(r, 1, "k", "v");
        }
        if (prng_chance(&p, 1, 3)) {
            least[count] = answered;
            reads[count++] = rig_get(r, id, "k", (enum carry_read_mode)prng_below(&p, 2));
        }
        rig_settle(r);
        rig_run(r, prng_below(&p, 5000));
    }
    for (raft_id id = 1; id <= 3; id++) {
        memset(&r->nodes[id].hold, 0, sizeof r->nodes[id].hold);
    }
    rig_run(r, RIG_ELECTION);
    CHECK_EQ(rig_leader(r), 1);
    for (size_t i = 0; i < count; i++) {
        CHECK(reads[i]->served);
        CHECK(reads[i]->version >= least[i]);
        CHECK_EQ(reads[i]->version <= reads[i]->at, 1);
    }
    rig_free(r);
}

/* ---- by lease ---- */

/* A lone leader with a lease, its clock just after the beat that gave it. */
static struct rig *with_lease(void)
{
    struct rig *r = rig_new((struct rig_plan){.alone = true});

    rig_lead(r);
    rig_run(r, RIG_HEARTBEAT);
    rig_beat(r);
    rig_forget_all(r);
    REQUIRE(raft_lease_until_us(rig_core(r, 1)) > r->now_us);
    return r;
}

static void lease_needs_no_round(void)
{
    struct rig *r = with_lease();
    struct rig_request *q = rig_get(r, 1, "k", CARRY_LEASE);
    struct carry_figures f;

    rig_settle(r);
    check_served(q, "");
    CHECK_EQ(rig_count(r, RAFT_HEARTBEAT, 1, 0), 0);
    carry_figures(rig_carry(r, 1), &f);
    CHECK_EQ(f.reads_by_lease, 1);
    rig_free(r);
}

/* The process is stopped between taking the lease and reading the value, or after reading it. */
static void lease_ends_before_the_value_is_read(void)
{
    for (int evaluated = 0; evaluated < 2; evaluated++) {
        struct rig *r = with_lease();
        uint64_t until_us = raft_lease_until_us(rig_core(r, 1));
        struct rig_request *q = rig_get(r, 1, "k", CARRY_LEASE);

        case_row("%s", evaluated ? "after it was read" : "before it was read");
        r->nodes[1].hold.machine = true;
        rig_settle(r);
        CHECK_EQ(q->carry.state, CARRY_READING);
        if (evaluated) {
            rig_evaluate_one(r, 1);
        }
        r->now_us = until_us;
        r->nodes[1].hold.results = true;
        r->nodes[1].hold.machine = false;
        rig_settle(r);
        r->nodes[1].hold.results = false;
        rig_result_one(r, 1);
        CHECK_EQ(q->answers, 0);
        CHECK_EQ(q->carry.state, CARRY_BATCHED);
        rig_settle(r);
        CHECK(rig_count(r, RAFT_HEARTBEAT, 1, 2) > 0); /* by ReadIndex now */
        CHECK_EQ(q->answers, 0);
        rig_beat(r);
        check_served(q, "");
        CHECK_EQ(q->evaluations, 2);
        rig_free(r);
    }
    case_row_done();
    /* One microsecond earlier it is good. */
    struct rig *r = with_lease();
    struct rig_request *q = rig_get(r, 1, "k", CARRY_LEASE);

    r->nodes[1].hold.machine = true;
    rig_settle(r);
    r->now_us = raft_lease_until_us(rig_core(r, 1)) - 1;
    r->nodes[1].hold.machine = false;
    rig_settle(r);
    check_served(q, "");
    CHECK_EQ(q->evaluations, 1);
    rig_free(r);
}

/* A transfer ends the lease at once, whatever the clock says: the next leader does not wait. */
static void transfer_ends_the_lease(void)
{
    struct rig *r = with_lease();
    struct rig_request *q = rig_get(r, 1, "k", CARRY_LEASE);

    r->nodes[1].hold.results = true;
    rig_settle(r);
    CHECK_EQ(q->evaluations, 1);
    CHECK_EQ(carry_transfer(rig_carry(r, 1), 2, r->now_us, NULL), 0);
    rig_result_one(r, 1);
    CHECK_EQ(q->answers, 0);
    rig_feed(r, (struct raft_message){.type = RAFT_HEARTBEAT, .from = 2, .to = 1, .term = 9}, 0, 0,
             0);
    rig_settle(r);
    CHECK_EQ(q->answers, 0);
    CHECK_EQ(rig_count(r, RAFT_READ_INDEX, 1, 2), 1); /* asked of the one who leads now */
    rig_free(r);
}

/* Leadership came back, with a lease of its own; between the two somebody else wrote. */
static void lease_of_an_earlier_term(void)
{
    struct rig *r = rig_new((struct rig_plan){0});
    struct rig_request *q;

    rig_elect(r, 1);
    rig_put_now(r, 1, "k", "1");
    rig_run(r, 2 * RIG_HEARTBEAT);
    q = rig_get(r, 1, "k", CARRY_LEASE);
    r->nodes[1].hold.results = true;
    rig_settle(r);
    CHECK_EQ(q->evaluations, 1);
    CHECK(q->carry.lease_until_us > r->now_us + RIG_ELECTION / 2);
    CHECK_EQ(carry_transfer(rig_carry(r, 1), 2, r->now_us, NULL), 0);
    rig_run(r, 1);
    REQUIRE(rig_leader(r) == 2);
    rig_settle(r);
    struct rig_request *write = rig_put(r, 2, "k", "2");
    rig_settle(r);
    CHECK_EQ(write->answer.code, 0);
    CHECK_EQ(write->answers, 1);
    CHECK_EQ(carry_transfer(rig_carry(r, 2), 1, r->now_us, NULL), 0);
    rig_run(r, 1);
    REQUIRE(rig_leader(r) == 1);
    rig_run(r, RIG_HEARTBEAT);
    CHECK(raft_lease_until_us(rig_core(r, 1)) > 0);
    CHECK(q->carry.lease_until_us > r->now_us);
    r->nodes[1].hold.results = false;
    rig_settle(r);
    check_served(q, "2");
    rig_free(r);
}

/* ---- stale, and bounds ---- */

static void stale_asks_nobody(void)
{
    struct rig *r = rig_new((struct rig_plan){0});
    struct rig_request *q;

    rig_elect(r, 1);
    rig_put_now(r, 1, "k", "1");
    rig_run(r, RIG_HEARTBEAT);
    rig_cut(r, 3, true);
    rig_put_now(r, 1, "k", "2");
    q = rig_get(r, 3, "k", CARRY_STALE);
    rig_settle(r);
    check_served(q, "1");
    rig_free(r);
}

static struct rig_request *bounded(struct rig *r, raft_id id, uint64_t max_stale_us)
{
    struct rig_request *q = rig_read(
        r, id, (struct rig_read){.key = "k", .mode = CARRY_STALE, .max_stale_us = max_stale_us});

    rig_settle(r);
    return q;
}

static uint64_t asked_by_index(struct rig *r, raft_id id)
{
    struct carry_figures figures;

    carry_figures(rig_carry(r, id), &figures);
    return figures.reads_by_index;
}

static void stale_within_a_bound(void)
{
    struct rig *r = rig_new((struct rig_plan){0});
    struct rig_request *q;

    check_failed(bounded(r, 3, 1000000000), ERR_TOO_STALE); /* nothing was ever heard */
    rig_elect(r, 1);
    rig_put_now(r, 1, "k", "1");
    check_served(bounded(r, 3, 1), "1");
    CHECK_EQ(asked_by_index(r, 3), 1);
    rig_cut(r, 3, true);
    r->only = 1;
    rig_put_now(r, 1, "k", "2");
    rig_run(r, 4 * RIG_HEARTBEAT);
    check_served(bounded(r, 3, 5 * RIG_HEARTBEAT), "1"); /* what is known is enough */
    CHECK_EQ(asked_by_index(r, 3), 1);
    r->only = 0;
    q = bounded(r, 3, 3 * RIG_HEARTBEAT);
    CHECK_EQ(q->answers, 0);
    rig_run(r, 2 * RIG_ELECTION); /* the leader is not heard any more */
    check_failed(q, ERR_TOO_STALE);
    rig_cut(r, 3, false);
    rig_run(r, 4 * RIG_ELECTION);
    check_served(bounded(r, 3, 1), "2");
    rig_free(r);
}

/* The leader is known, and never answers. */
static void stale_until_the_deadline(void)
{
    struct rig *r = rig_new((struct rig_plan){0});
    struct rig_read read = {.key = "k",
                            .mode = CARRY_STALE,
                            .max_stale_us = RIG_HEARTBEAT,
                            .timeout_us = RIG_HEARTBEAT};
    struct rig_request *q;

    rig_elect(r, 1);
    rig_put_now(r, 1, "k", "1");
    rig_cut(r, 3, true);
    q = rig_read(r, 3, read);
    rig_run(r, RIG_HEARTBEAT + 1);
    check_failed(q, ERR_TOO_STALE);
    rig_free(r);
}

/* The bound holds when it is read, not when it was asked for. */
static void stale_after_a_wait(void)
{
    struct rig *r = rig_new((struct rig_plan){0});
    struct rig_read read = {.key = "k", .mode = CARRY_STALE, .max_stale_us = 3 * RIG_HEARTBEAT};
    struct rig_request *bound, *unbound;

    rig_elect(r, 1);
    rig_put_now(r, 1, "k", "1");
    rig_run(r, 2 * RIG_HEARTBEAT);
    check_served(bounded(r, 3, 3 * RIG_HEARTBEAT), "1");
    r->nodes[3].hold.disk = true;
    read.min_index = rig_put_now(r, 1, "k", "2");
    rig_put_now(r, 1, "other", "3"); /* with it comes that the first is committed */
    bound = rig_read(r, 3, read);
    read.max_stale_us = 0;
    unbound = rig_read(r, 3, read);
    rig_cut(r, 3, true);
    rig_run(r, 4 * RIG_HEARTBEAT);
    CHECK_EQ(bound->answers + unbound->answers, 0);
    r->nodes[3].hold.disk = false;
    rig_settle(r);
    check_served(unbound, "2");
    CHECK_EQ(bound->answers, 0); /* it asks once more */
    rig_run(r, 2 * RIG_ELECTION);
    check_failed(bound, ERR_TOO_STALE);
    rig_free(r);
}

/* What was committed when it asked counts once that is handed to the state machine. */
static void fresh_once_handed_out(void)
{
    struct rig *r = rig_new((struct rig_plan){0});
    struct rig_request *first, *second;

    rig_elect(r, 1);
    rig_put_now(r, 1, "k", "1");
    rig_run(r, 2 * RIG_HEARTBEAT);
    r->nodes[3].hold.disk = true; /* so nothing is handed out */
    rig_put_now(r, 1, "k", "2");
    first = bounded(r, 3, 2 * RIG_HEARTBEAT);
    rig_run(r, RIG_HEARTBEAT);
    second = bounded(r, 3, 2 * RIG_HEARTBEAT);
    CHECK_EQ(first->answers + second->answers, 0);
    r->nodes[3].hold.disk = false;
    rig_settle(r);
    check_served(first, "2");
    check_served(second, "2");
    uint64_t asked = asked_by_index(r, 3);
    check_served(bounded(r, 3, 2 * RIG_HEARTBEAT), "2"); /* fresh since the first asked */
    CHECK_EQ(asked_by_index(r, 3), asked);
    rig_free(r);
}

/* A leader that was deposed and does not know it yet speaks as before: its word makes nobody fresh.
 */
static void word_of_a_deposed_leader(void)
{
    struct rig *r = rig_new((struct rig_plan){.voters = 5});
    struct raft_message beat = {.type = RAFT_HEARTBEAT, .from = 1, .to = 2};
    struct rig_request *q;

    rig_elect(r, 1);
    rig_put_now(r, 1, "k", "1");
    rig_run(r, RIG_HEARTBEAT);
    for (raft_id a = 1; a <= 2; a++) {
        for (raft_id b = 3; b <= 5; b++) {
            r->cut[a][b] = r->cut[b][a] = true;
        }
    }
    rig_elect(r, 3);
    rig_put_now(r, 3, "k", "2");
    CHECK_EQ(raft_state(rig_core(r, 1)), RAFT_LEADER);
    beat.term = raft_term_current(rig_core(r, 1));
    rig_feed(r, beat, 0, 0, 0);
    q = bounded(r, 2, RIG_HEARTBEAT);
    CHECK_EQ(q->answers, 0);
    rig_run(r, 4 * RIG_ELECTION);
    check_failed(q, ERR_TOO_STALE);
    rig_free(r);
}

static void stale_bound_on_a_leader(void)
{
    struct rig *r = rig_new((struct rig_plan){0});
    struct rig_request *q;

    rig_elect(r, 1);
    rig_put_now(r, 1, "k", "1");
    rig_run(r, RIG_HEARTBEAT);
    check_served(bounded(r, 1, 1), "1");
    /* A new one has not applied yet what the old one answered. */
    rig_cut(r, 1, true);
    r->nodes[2].hold.machine = true;
    rig_put(r, 1, "k", "lost");
    rig_elect(r, 2);
    rig_run(r, RIG_HEARTBEAT);
    CHECK(carry_applied_index(rig_carry(r, 2)) < raft_commit_index(rig_core(r, 2)));
    q = bounded(r, 2, 1);
    CHECK_EQ(q->answers, 0);
    r->nodes[2].hold.machine = false;
    rig_settle(r);
    check_served(q, "1");
    rig_free(r);
}

/* It leads, is confirmed, and still reads old entries from its disk. */
static void new_leader_that_replays(void)
{
    struct rig *r = rig_new((struct rig_plan){0});

    rig_elect(r, 1);
    rig_put_now(r, 1, "k", "1");
    rig_put_now(r, 1, "k", "2");
    rig_run(r, RIG_HEARTBEAT);
    rig_stop(r, 2);
    rig_start(r, 2); /* nothing was flushed: it begins at 0 */
    r->nodes[2].hold.log_reads = true;
    rig_run(r, RIG_HEARTBEAT);
    rig_stop(r, 1);
    rig_elect(r, 2);
    rig_run(r, RIG_HEARTBEAT);
    CHECK(raft_lease_until_us(rig_core(r, 2)) > r->now_us);
    struct rig_request *stale = bounded(r, 2, 1000);
    struct rig_request *q = rig_get(r, 2, "k", CARRY_LEASE);
    rig_settle(r);
    CHECK_EQ(q->answers + stale->answers, 0);
    r->nodes[2].hold.log_reads = false;
    rig_settle(r);
    check_served(q, "2");
    check_served(stale, "2");
    check_served(bounded(r, 2, 1), "2");
    rig_free(r);
}

static void min_index(void)
{
    for (int mode = CARRY_LINEARIZABLE; mode <= CARRY_STALE; mode++) {
        struct rig *r = rig_new((struct rig_plan){0});
        struct rig_read read = {.key = "k", .mode = (enum carry_read_mode)mode, .min_index = 4};
        struct rig_request *q[2];

        case_row("mode %d", mode);
        rig_elect(r, 1);
        rig_put_now(r, 1, "k", "1");
        rig_run(r, RIG_HEARTBEAT);
        q[0] = rig_read(r, 1, read);
        q[1] = rig_read(r, 2, read);
        rig_settle(r);
        CHECK_EQ(q[0]->answers + q[1]->answers, 0);
        rig_put_now(r, 1, "k", "2"); /* index 4 */
        rig_run(r, RIG_HEARTBEAT);
        check_served(q[0], "2");
        check_served(q[1], "2");
        rig_free(r);
    }
}

/* ---- deadlines ---- */

static void deadlines(void)
{
    struct rig *r = rig_new((struct rig_plan){.alone = true});
    struct rig_request *q[4];
    struct rig_read read = {.key = "k", .timeout_us = 100000};

    rig_lead(r);
    q[0] = rig_read(r, 1, read); /* nobody confirms */
    read.mode = CARRY_STALE, read.min_index = 100;
    q[1] = rig_read(r, 1, read); /* not applied */
    read.mode = CARRY_LINEARIZABLE, read.min_index = 0, read.timeout_us = 200000;
    q[2] = rig_read(r, 1, read); /* of the same round as the first */
    rig_settle(r);
    rig_run(r, 100000 - 1);
    CHECK_EQ(q[0]->answers + q[1]->answers, 0);
    rig_run(r, 1);
    check_failed(q[0], ERR_TIMEOUT);
    check_failed(q[1], ERR_TIMEOUT);
    CHECK_EQ(q[2]->answers, 0);
    rig_run(r, 50000);
    rig_beat(r);
    check_served(q[2], "");
    /* All of a round have run into it before the round ends. */
    q[3] = rig_get(r, 1, "k", CARRY_LINEARIZABLE);
    q[3]->carry.deadline_us = r->now_us + 10;
    rig_settle(r);
    rig_run(r, 10);
    check_failed(q[3], ERR_TIMEOUT);
    rig_beat(r);
    rig_free(r);
}

/* Its deadline is over when it comes: it is answered, once, whichever way. */
static void deadline_already_past(void)
{
    struct rig *r = rig_new((struct rig_plan){.alone = true});

    rig_lead(r);
    for (int mode = CARRY_LINEARIZABLE; mode <= CARRY_STALE; mode++) {
        struct rig_read read = {
            .key = "k", .mode = (enum carry_read_mode)mode, .min_index = 100, .timeout_us = 1};
        struct rig_request *q;

        rig_sleep(r, 5);
        q = rig_read(r, 1, read);
        q->carry.deadline_us = mode == CARRY_STALE ? q->carry.deadline_us : 1;
        rig_run(r, 5);
        check_failed(q, ERR_TIMEOUT);
    }
    rig_free(r);
}

static const struct test_case cases[] = {
    {"linearizable: on the leader, after a majority confirmed", on_the_leader},
    {"linearizable: on a follower, when the leader's index is applied", on_a_follower},
    {"linearizable: an idle follower need not wait for a heartbeat", idle_follower_need_not_wait},
    {"linearizable: reads of one turn share a round", share_a_round},
    {"linearizable: not before the leader's first entry is committed",
     leader_reads_wait_for_its_no_op},
    {"linearizable: leadership changes in between", leadership_changes},
    {"linearizable: the leader refuses", the_leader_refuses},
    {"linearizable: no leader is known", no_leader_is_known},
    {"too many reads", too_many_reads},
    {"applies and reads stay in order", applies_and_reads_in_order},
    {"random reads and writes: nothing older than what was answered", random_reads_and_writes},
    {"lease: no round", lease_needs_no_round},
    {"lease: it ends before the value is given out", lease_ends_before_the_value_is_read},
    {"lease: a transfer ends it", transfer_ends_the_lease},
    {"lease: of an earlier term", lease_of_an_earlier_term},
    {"stale: asks nobody", stale_asks_nobody},
    {"stale: within a bound", stale_within_a_bound},
    {"stale: a leader that does not answer", stale_until_the_deadline},
    {"stale: fresh once it is handed out", fresh_once_handed_out},
    {"stale: the bound holds after a wait too", stale_after_a_wait},
    {"stale: the word of a deposed leader", word_of_a_deposed_leader},
    {"stale: a bound on the leader", stale_bound_on_a_leader},
    {"stale: a new leader that still replays its log", new_leader_that_replays},
    {"min_index waits until it is applied", min_index},
    {"deadlines", deadlines},
    {"a deadline that is past already", deadline_already_past},
};
CASES_MAIN(cases)
