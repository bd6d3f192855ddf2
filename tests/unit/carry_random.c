/*
 * Carries under random faults: cut and slow links, messages lost, doubled and out of order, held
 * disks and state machines, crashes, snapshots, changes of members and leaders. Beside what the rig
 * checks at every call: what each client was told is true at the end, no read is older than what
 * was known when it was asked, and when the faults end everybody agrees and writes succeed.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/mem.h"
#include "tests/support/carry_rig.h"
#include "tests/unit/tap.h"

enum { VOTERS = 3, SPARES = 3, STEPS = 300, WRITES = 4000, READS = 4000, SEEDS = 25 };

struct chaos {
    struct rig *r;
    struct prng p;
    struct rig_request *writes[WRITES]; /* each to a key of its own */
    size_t write_count;
    struct rig_request *reads[READS]; /* of the key "x" */
    raft_index least[READS];          /* versions of "x" known when it was asked */
    size_t read_count;
    struct rig_request *x; /* the last write to it */
    raft_index known;      /* version of "x" that somebody was told */
    size_t looked;         /* reads before this one are settled */
};

static bool chance(struct chaos *c, uint32_t in)
{
    return prng_chance(&c->p, 1, in);
}

static raft_id any_node(struct chaos *c)
{
    return 1 + prng_below(&c->p, c->r->node_count);
}

/* What has been answered meanwhile is known from now on. */
static void look(struct chaos *c)
{
    if (c->x && c->x->answers == 1 && c->x->answer.code == 0 && c->x->route == CARRY_HERE &&
        c->x->answer.result.version > c->known) {
        c->known = c->x->answer.result.version;
    }
    for (size_t i = 0; i < c->read_count; i++) {
        const struct rig_request *q = c->reads[i];

        if (q->served && q->carry.mode != CARRY_STALE && q->version > c->known) {
            c->known = q->version;
        }
    }
}

static void ask(struct chaos *c)
{
    struct rig *r = c->r;
    raft_id id = chance(c, 3) ? any_node(c) : rig_leader(r);
    char key[24];

    if (id == 0 || !r->nodes[id].carry || r->nodes[id].paused) {
        return;
    }
    look(c);
    snprintf(key, sizeof key, "w%zu", c->write_count);
    switch (prng_below(&c->p, 4)) {
    case 0:
        if (c->write_count < WRITES) {
            c->writes[c->write_count++] =
                rig_write(r, id,
                          (struct rig_write){.key = key,
                                             .value_bytes = 1 + prng_below(&c->p, 300),
                                             .timeout_us = 1 + prng_below(&c->p, RIG_TIMEOUT)});
        }
        break;
    case 1:
        if (!c->x || c->x->answers == 1) {
            c->x = rig_put(r, id, "x", "v");
        }
        break;
    case 2: /* to make the log grow */ rig_put(r, id, "y", "v"); break;
    default:
        if (c->read_count < READS) {
            c->least[c->read_count] = c->known;
            c->reads[c->read_count++] =
                rig_read(r, id,
                         (struct rig_read){.key = "x",
                                           .mode = (enum carry_read_mode)prng_below(&c->p, 3),
                                           .timeout_us = 1 + prng_below(&c->p, RIG_TIMEOUT)});
        }
    }
}

static void disturb_links(struct chaos *c)
{
    struct rig *r = c->r;
    raft_id a = any_node(c), b = any_node(c);

    switch (prng_below(&c->p, 5)) {
    case 0: r->cut[a][b] = a != b && chance(c, 2); break;
    case 1: r->held[a][b] = chance(c, 2); break;
    case 2: rig_cut(r, a, chance(c, 3)); break;
    case 3:
        if (r->packet_count > 0) {
            struct rig_packet *p = r->packets[prng_below(&c->p, r->packet_count)];

            if (p->kind != RIG_FAILED && !r->nodes[p->to].paused) {
                rig_lose(r, p);
            }
        }
        break;
    case 4:
        if (r->packet_count > 0) {
            struct rig_packet *p = r->packets[prng_below(&c->p, r->packet_count)];

            if (p->kind == RIG_REQUEST) {
                rig_duplicate(r, p);
            }
        }
        break;
    }
    rig_shuffle(r, &c->p);
}

static void disturb_node(struct chaos *c)
{
    struct rig *r = c->r;
    struct rig_node *n = &r->nodes[any_node(c)];

    if (!n->carry) {
        if (n->started && chance(c, 2)) {
            rig_start(r, n->id);
        }
        return;
    }
    switch (prng_below(&c->p, 12)) {
    case 0: n->hold.disk = chance(c, 2); break;
    case 1: n->hold.machine = chance(c, 2); break;
    case 2: n->hold.results = chance(c, 2); break;
    case 3: n->hold.log_reads = chance(c, 2); break;
    case 4: n->hold.install = chance(c, 2); break;
    case 5: n->hold.snapshots = chance(c, 2); break;
    case 6: n->paused = chance(c, 2); break;
    case 7:
        if (chance(c, 3)) {
            rig_stop(r, n->id);
        }
        break;
    default: rig_checkpoint(r, n->id);
    }
}

static void disturb_cluster(struct chaos *c)
{
    struct rig *r = c->r;
    raft_id leader = rig_leader(r), other = any_node(c);
    struct raft_change change = {.id = other, .auto_promote = chance(c, 2)};
    struct member_address a = {.id = other};

    if (leader == 0) {
        return;
    }
    snprintf(a.name, sizeof a.name, "n%d", (int)other);
    snprintf(a.url, sizeof a.url, "http://n%d", (int)other);
    switch (prng_below(&c->p, 6)) {
    case 0: carry_transfer(rig_carry(r, leader), chance(c, 2) ? 0 : other, r->now_us, NULL); break;
    case 1: carry_disk_low(rig_carry(r, leader), chance(c, 2), r->now_us); break;
    case 2: carry_flush_failing(rig_carry(r, leader), chance(c, 2), r->now_us); break;
    case 3:
        if (!r->nodes[other].started) {
            rig_start(r, other);
        }
        if (!r->nodes[other].carry || !carry_removed(rig_carry(r, other))) {
            change.kind = RAFT_ADD_LEARNER;
            carry_change(rig_carry(r, leader), &change, &a, r->now_us, NULL);
        }
        break;
    case 4:
        change.kind = RAFT_PROMOTE;
        carry_change(rig_carry(r, leader), &change, NULL, r->now_us, NULL);
        break;
    case 5:
        if (raft_configuration_latest(rig_core(r, leader))->count > 3) {
            change.kind = RAFT_REMOVE;
            carry_change(rig_carry(r, leader), &change, NULL, r->now_us, NULL);
        }
        break;
    }
    rig_check(&r->nodes[leader]);
}

static void heal(struct chaos *c)
{
    struct rig *r = c->r;

    memset(r->cut, 0, sizeof r->cut);
    memset(r->held, 0, sizeof r->held);
    for (raft_id id = 1; id <= r->node_count; id++) {
        struct rig_node *n = &r->nodes[id];

        memset(&n->hold, 0, sizeof n->hold);
        n->paused = false;
        if (!n->carry && n->started) {
            rig_start(r, id);
        }
        if (n->carry) {
            carry_disk_low(n->carry, false, r->now_us);
            carry_flush_failing(n->carry, false, r->now_us);
        }
    }
    rig_run(r, 20 * RIG_ELECTION);
}

/* What the client was told, and what the state says at the end. */
static void check_writes(struct chaos *c, raft_id leader)
{
    for (size_t i = 0; i < c->write_count; i++) {
        const struct rig_request *q = c->writes[i];
        struct row row = {0};
        int code = state_get(c->r->nodes[leader].state, slice_str(q->key), &row, NULL);

        if (q->answers != 1) {
            case_fail("%s was answered %u times", q->key, q->answers);
        } else if (q->route == CARRY_FORWARD || q->answer.outcome == OUTCOME_NOT_APPLIED) {
            CHECK_EQ(code, ERR_NOT_FOUND);
        } else if (q->answer.code == 0) {
            CHECK_EQ(code, 0);
            CHECK_EQ(row.version, q->answer.result.version);
        }
    }
}

static void check_reads(const struct chaos *c)
{
    for (size_t i = 0; i < c->read_count; i++) {
        const struct rig_request *q = c->reads[i];

        CHECK_EQ(q->answers, 1);
        if (q->served && q->carry.mode != CARRY_STALE && q->version < c->least[i]) {
            case_fail("read %zu (mode %d) at node %d got %" PRIu64 ", known was %" PRIu64, i,
                      q->carry.mode, (int)q->node, q->version, c->least[i]);
        }
    }
}

static void check_end(struct chaos *c)
{
    struct rig *r = c->r;
    raft_id leader = rig_leader(r);

    REQUIRE(leader != 0 && raft_leader_ready(rig_core(r, leader)));
    rig_put_now(r, leader, "end", "v");
    rig_run(r, RIG_TIMEOUT + 4 * RIG_ELECTION);
    for (raft_id id = 1; id <= r->node_count; id++) {
        const struct raft_configuration *latest = raft_configuration_latest(rig_core(r, leader));

        if (raft_configuration_find(latest, id)) {
            CHECK(r->nodes[id].carry);
            CHECK_EQ(carry_applied_index(rig_carry(r, id)),
                     carry_applied_index(rig_carry(r, leader)));
        }
    }
    check_writes(c, leader);
    check_reads(c);
}

static void one_seed(uint64_t seed)
{
    struct carry_options options = rig_options();
    struct chaos *c = mem_zalloc(sizeof *c);

    case_row("seed %" PRIu64, seed);
    prng_seed(&c->p, seed);
    options.append_bytes_max = 200 + prng_below(&c->p, 2000);
    options.wire_inflight_max = 1 + (uint32_t)prng_below(&c->p, 8);
    options.cache_bytes_max = prng_below(&c->p, 3000);
    options.apply_ahead_bytes = 1 + prng_below(&c->p, 3000);
    options.trailing_entries = prng_below(&c->p, 20);
    c->r = rig_new((struct rig_plan){.voters = VOTERS, .spares = SPARES, .options = &options});
    for (int step = 0; step < STEPS; step++) {
        for (uint64_t i = prng_below(&c->p, chance(c, 5) ? 60 : 6); i > 0; i--) {
            ask(c);
        }
        if (chance(c, 2)) {
            disturb_links(c);
        }
        if (chance(c, 3)) {
            disturb_node(c);
        }
        if (chance(c, 10)) {
            disturb_cluster(c);
        }
        rig_run(c->r, prng_below(&c->p, chance(c, 5) ? RIG_ELECTION : 5000));
        if (chance(c, 40)) {
            heal(c);
        }
    }
    heal(c);
    check_end(c);
    rig_free(c->r);
    mem_free(c);
}

static void random_faults(void)
{
    uint64_t seed = test_seed();

    for (uint64_t i = 0; i < SEEDS; i++) {
        one_seed(seed + i);
    }
}

static const struct test_case cases[] = {{"random faults", random_faults}};
CASES_MAIN(cases)
