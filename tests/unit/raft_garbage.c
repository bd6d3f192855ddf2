/*
 * Messages that no peer would send: whatever comes in, the core asserts nothing about it, keeps its
 * invariants, and answers every request once. And the limits: full tables, long logs of many terms.
 */
#include <inttypes.h>
#include <string.h>

#include "lib/base/err.h"
#include "lib/base/mem.h"
#include "lib/base/prng.h"
#include "lib/raft/raft.h"
#include "tests/unit/tap.h"

enum { MEMBERS = 4, CASES = 60, STEPS = 4000, ELECTION_US = 300000, WAITING = 8192 };

struct fuzz {
    struct prng prng;
    struct raft *core, *before;
    uint64_t now_us, context;
    uint64_t persist; /* number of the last write */
    uint64_t waiting[WAITING];
    uint32_t waiting_count;
    struct raft_run runs[8];
    struct raft_configuration configurations[4];
    const char *broken;
};

static uint64_t below(struct fuzz *f, uint64_t bound)
{
    return prng_below(&f->prng, bound);
}

/* Something near what the core knows, now and then far off. */
static uint64_t near(struct fuzz *f, uint64_t value)
{
    switch (below(f, 12)) {
    case 0: return 0;
    case 1: return prng_next(&f->prng) >> below(f, 64);
    case 2:
    case 3: return value > 3 ? value - below(f, 3) : value;
    case 4: return value + below(f, 3);
    default: return value;
    }
}

static struct raft_configuration some_configuration(struct fuzz *f, raft_index index)
{
    struct raft_configuration c;
    memset(&c, 0, sizeof(c));
    c.index = near(f, index);
    c.joint = below(f, 3) == 0;
    c.count = (uint32_t)(below(f, 20) == 0 ? below(f, 40) : 1 + below(f, MEMBERS + 1));
    for (uint32_t i = 0; i < c.count && i < RAFT_MEMBERS_MAX; i++) {
        c.members[i].id = below(f, 15) == 0 ? below(f, 5) : i + 1;
        c.members[i].flags = (uint32_t)(below(f, 8) == 0 ? below(f, 16) : RAFT_VOTER);
        if (c.joint && below(f, 3))
            c.members[i].flags |= RAFT_VOTER_OLD;
        c.members[i].replaces = below(f, 10) == 0 ? below(f, 5) : 0;
    }
    return c;
}

static struct raft_message some_message(struct fuzz *f)
{
    const struct raft *r = f->core;
    raft_index last = raft_last_index(r), commit = raft_commit_index(r);
    raft_term term = raft_term_current(r);
    struct raft_message m = {
        .type = (enum raft_message_type)below(f, RAFT_MESSAGE_TYPES + 1),
        .from = below(f, 30) == 0 ? below(f, 9) : 2 + below(f, MEMBERS - 1),
        .to = below(f, 50) == 0 ? below(f, 9) : 1,
        .term = below(f, 200) == 0 ? near(f, term) : term + (below(f, 40) == 0),
        .last_index = near(f, last),
        .last_term = near(f, term),
        .transfer = below(f, 4) == 0,
        .granted = below(f, 2),
        .prev_index = near(f, below(f, 2) ? last : commit),
        .entry_count = (uint32_t)below(f, 6),
        .commit = near(f, last),
        .round = below(f, 8),
        .accepted = below(f, 3) != 0,
        .match_index = near(f, last),
        .reject_index = near(f, last),
        .hint_index = near(f, commit),
        .hint_term = near(f, term),
        .promise_us = near(f, ELECTION_US),
        .sent_us = near(f, f->now_us),
        .read_index = near(f, commit),
        .read_id = below(f, 9),
        .runs = f->runs,
        .configurations = f->configurations,
    };
    m.prev_term = near(f, raft_term_at(r, m.prev_index));
    if (below(f, 40) == 0)
        m.entry_count = (uint32_t)prng_next(&f->prng);
    m.run_count =
        m.entry_count == 0 ? 0 : (uint32_t)(1 + below(f, m.entry_count < 7 ? m.entry_count : 7));
    if (below(f, 40) == 0)
        m.run_count = (uint32_t)below(f, 8);
    for (uint32_t i = 0; i < m.run_count; i++)
        f->runs[i] = (struct raft_run){.first = near(f, m.prev_index + 1 + i),
                                       .term = below(f, 4) ? m.prev_term + i : near(f, m.term)};
    if (m.entry_count > 0 && below(f, 5) == 0) {
        m.configuration_count = 1 + (uint32_t)below(f, 2);
        for (uint32_t i = 0; i < m.configuration_count; i++)
            f->configurations[i] = some_configuration(f, m.prev_index + 1 + i);
    }
    return m;
}

static void note_replies(struct fuzz *f, const struct raft_update *u)
{
    for (uint32_t i = 0; i < u->message_count; i++) {
        const struct raft_message *m = &u->messages[i];
        if (raft_message_is_request(m->type) || m->type == RAFT_SEND_SNAPSHOT)
            continue;
        uint32_t k = 0;
        while (k < f->waiting_count && f->waiting[k] != m->context)
            k++;
        if (k == f->waiting_count)
            f->broken = "a request was answered twice";
        else
            f->waiting[k] = f->waiting[--f->waiting_count];
    }
}

static int step(struct fuzz *f, struct raft_event event)
{
    struct raft_update u;
    event.now_us = f->now_us;
    raft_remember(f->before, f->core);
    int status = raft_step(f->core, &event, &u);
    if (!f->broken)
        f->broken = raft_invariant(f->core);
    if (!f->broken)
        f->broken = raft_invariant_step(f->before, f->core);
    if (u.persist)
        f->persist = u.persist;
    note_replies(f, &u);
    return status;
}

static void step_message(struct fuzz *f)
{
    struct raft_message m = some_message(f);
    m.context = ++f->context;
    bool is_ours = m.type < RAFT_SEND_SNAPSHOT && m.to == 1 && m.from != 0 && m.from != 1;
    if (is_ours && raft_message_is_request(m.type)) {
        must(f->waiting_count < WAITING);
        f->waiting[f->waiting_count++] = m.context;
    }
    step(f, (struct raft_event){.type = RAFT_MESSAGE, .message = &m});
}

static void step_snapshot(struct fuzz *f, enum raft_event_type type)
{
    raft_index index = near(f, raft_commit_index(f->core));
    struct raft_snapshot s = {
        .index = index,
        .term = near(f, raft_term_at(f->core, index)),
        .configuration = some_configuration(f, index / 2),
    };
    step(f, (struct raft_event){
                .type = type, .snapshot = &s, .peer = 1 + below(f, MEMBERS), .ok = below(f, 2)});
}

static void step_something(struct fuzz *f)
{
    struct raft_change change = {
        .kind = (enum raft_change_kind)below(f, 5),
        .id = below(f, MEMBERS + 3),
        .new_id = below(f, MEMBERS + 3),
        .auto_promote = below(f, 2),
        .configuration_index = below(f, 4) ? 0 : below(f, 20),
    };
    struct raft_event e = {
        .peer = below(f, MEMBERS + 2), .change = &change, .ok = below(f, 2), .persist = f->persist};
    f->now_us += below(f, 50000);
    switch (below(f, 24)) {
    case 0:
        e.type = RAFT_PROPOSE;
        e.propose.count = (uint32_t)below(f, 4);
        break;
    case 1:
        e.type = RAFT_READ;
        e.read.id = below(f, 1000);
        e.read.lease = below(f, 2);
        break;
    case 2: e.type = RAFT_CHANGE; break;
    case 3: e.type = RAFT_TRANSFER; break;
    case 4:
        e.type = below(f, 2) ? RAFT_STALL : RAFT_FENCE;
        e.ok = below(f, 5) == 0;
        break;
    case 5:
        /* Seldom: who is told that it was removed does little afterwards. */
        e.type = below(f, 500) ? RAFT_UNREACHABLE : RAFT_REMOVED;
        e.index = near(f, raft_last_index(f->core));
        break;
    case 6: step_snapshot(f, RAFT_COMPACTED); return;
    case 7: step_snapshot(f, RAFT_SNAPSHOT_SENT); return;
    case 8:
        if (below(f, 10) == 0)
            step_snapshot(f, RAFT_SNAPSHOT_INSTALLED);
        return;
    case 9:
        e.type = RAFT_PERSISTED;
        e.persist = near(f, f->persist);
        break;
    case 10:
    case 11: e.type = RAFT_TICK; break;
    default:
        if (below(f, 3))
            step(f, (struct raft_event){.type = RAFT_PERSISTED, .persist = f->persist});
        step_message(f);
        return;
    }
    step(f, e);
}

static struct fuzz *fuzz_new(uint64_t seed, bool fresh)
{
    struct fuzz *f = mem_zalloc(sizeof(*f));
    prng_seed(&f->prng, seed);
    f->now_us = 5000000;
    struct raft_configuration c = {.index = 1, .count = seed % 5 == 0 ? 1 : 3};
    for (uint32_t i = 0; i < c.count; i++)
        c.members[i] = (struct raft_member){.id = i + 1, .flags = RAFT_VOTER};
    struct raft_run run = {.first = 1, .term = 1};
    struct raft_options options = {
        .id = 1,
        .election_timeout_us = ELECTION_US,
        .heartbeat_interval_us = 50000,
        .inflight_max = 1 + (uint32_t)below(f, 4),
        .append_entries_max = 1 + (uint32_t)below(f, 20),
        .seed = seed,
    };
    struct raft_start start = {
        .now_us = f->now_us,
        .term = 1,
        .runs = &run,
        .run_count = 1,
        .last_index = 1,
        .commit = 1,
        .configurations = &c,
        .configuration_count = 1,
        .fresh = fresh,
    };
    f->core = mem_alloc(raft_size());
    f->before = mem_alloc(raft_size());
    must(raft_init(f->core, &options, &start) == 0);
    return f;
}

static void fuzz_free(struct fuzz *f)
{
    mem_free(f->core);
    mem_free(f->before);
    mem_free(f);
}

/* Lies may make it commit what is on no other disk, but never break its own invariants. */
static void garbage(void)
{
    uint64_t leads = 0;
    for (uint64_t i = 0; i < CASES; i++) {
        uint64_t seed = test_seed() + i;
        struct fuzz *f = fuzz_new(seed, true);
        for (int k = 0; k < STEPS && !f->broken; k++) {
            step_something(f);
            leads += raft_state(f->core) == RAFT_LEADER;
        }
        if (!ok(!f->broken, "garbage, seed %" PRIu64, seed))
            diag("%s", f->broken);
        fuzz_free(f);
    }
    ok(leads > CASES * STEPS / 40, "it led for %" PRIu64 " steps", leads);
}

/* ---- limits ---- */

static uint32_t append(struct fuzz *f, raft_term term, raft_index prev, raft_term prev_term,
                       const struct raft_run *runs, uint32_t run_count, uint32_t count)
{
    struct raft_message m = {
        .type = RAFT_APPEND,
        .from = 2,
        .to = 1,
        .term = term,
        .context = ++f->context,
        .prev_index = prev,
        .prev_term = prev_term,
        .entry_count = count,
        .commit = prev,
        .runs = runs,
        .run_count = run_count,
    };
    f->waiting[f->waiting_count++] = m.context;
    step(f, (struct raft_event){.type = RAFT_MESSAGE, .message = &m});
    return f->waiting_count;
}

/* More writes and replies under way than the tables hold. */
static void full_tables(void)
{
    struct fuzz *f = fuzz_new(1, true);
    enum { APPENDS = RAFT_REPLIES_MAX + 100 };
    for (raft_index i = 1; i <= APPENDS; i++) {
        struct raft_run run = {.first = i + 1, .term = 2};
        append(f, 2, i, i == 1 ? 1 : 2, &run, 1, 1);
    }
    is_u64(f->waiting_count, RAFT_REPLIES_MAX, "replies that found no room were given at once");
    is_u64(raft_durable_index(f->core), 1, "nothing is durable");
    is_u64(raft_last_index(f->core), APPENDS + 1, "all entries are taken");
    step(f, (struct raft_event){.type = RAFT_PERSISTED, .persist = 10});
    is_u64(raft_durable_index(f->core), 11, "what is durable counts");
    step(f, (struct raft_event){.type = RAFT_PERSISTED, .persist = f->persist});
    is_u64(raft_durable_index(f->core), APPENDS + 1, "in the end all of it");
    is_u64(f->waiting_count, 0, "and all are answered");
    ok(!f->broken, "invariants hold: %s", f->broken ? f->broken : "all");
    fuzz_free(f);
}

static void full_runs(void)
{
    struct fuzz *f = fuzz_new(1, true);
    enum { ENTRIES = RAFT_RUNS_MAX + 500 };
    struct raft_run *runs = mem_calloc(ENTRIES, sizeof(*runs));
    for (uint32_t i = 0; i < ENTRIES; i++)
        runs[i] = (struct raft_run){.first = 2 + i, .term = 2 + i};
    append(f, ENTRIES + 5, 1, 1, runs, ENTRIES, ENTRIES);
    is_u64(raft_last_index(f->core), RAFT_RUNS_MAX, "as many entries as there is room for terms");
    is_u64(raft_runs_left(f->core), 0, "no room is left");
    step(f, (struct raft_event){.type = RAFT_PERSISTED, .persist = f->persist});
    is_u64(f->waiting_count, 0, "answered");
    /* One more of the last term fits, the configuration behind it does not. */
    const struct raft_run more[] = {{RAFT_RUNS_MAX + 1, RAFT_RUNS_MAX},
                                    {RAFT_RUNS_MAX + 2, RAFT_RUNS_MAX + 1}};
    struct raft_configuration c = *raft_configuration_latest(f->core);
    c.index = RAFT_RUNS_MAX + 2;
    struct raft_message m = {.type = RAFT_APPEND,
                             .from = 2,
                             .to = 1,
                             .term = ENTRIES + 5,
                             .context = ++f->context,
                             .prev_index = RAFT_RUNS_MAX,
                             .prev_term = RAFT_RUNS_MAX,
                             .entry_count = 2,
                             .runs = more,
                             .run_count = 2,
                             .configurations = &c,
                             .configuration_count = 1};
    f->waiting[f->waiting_count++] = m.context;
    step(f, (struct raft_event){.type = RAFT_MESSAGE, .message = &m});
    is_u64(raft_last_index(f->core), RAFT_RUNS_MAX + 1, "one entry is taken");
    is_u64(raft_configuration_latest(f->core)->index, 1, "and no configuration of those not taken");
    step(f, (struct raft_event){.type = RAFT_PERSISTED, .persist = f->persist});
    f->now_us += 3 * ELECTION_US;
    step(f, (struct raft_event){.type = RAFT_TICK});
    is_i64(raft_state(f->core), RAFT_FOLLOWER, "no candidacy without room");
    append(f, ENTRIES + 5, RAFT_RUNS_MAX, RAFT_RUNS_MAX, NULL, 0, 0); /* commits */
    step(f, (struct raft_event){.type = RAFT_PERSISTED, .persist = f->persist});
    struct raft_snapshot s = {.index = 4000, .term = 4000};
    s.configuration = *raft_configuration_at(f->core, 4000);
    is_i64(step(f, (struct raft_event){.type = RAFT_COMPACTED, .snapshot = &s}), 0, "compacts");
    is_u64(raft_runs_left(f->core), 4000, "which makes room");
    is_u64(raft_term_at(f->core, 4001), 4001, "and keeps the rest");
    f->now_us += 3 * ELECTION_US;
    step(f, (struct raft_event){.type = RAFT_TICK});
    is_i64(raft_state(f->core), RAFT_PRE_CANDIDATE, "candidacy again");
    ok(!f->broken, "invariants hold: %s", f->broken ? f->broken : "all");
    mem_free(runs);
    fuzz_free(f);
}

static void full_reads(void)
{
    struct fuzz *f = fuzz_new(1, true);
    append(f, 2, 1, 1, NULL, 0, 0);
    for (uint64_t i = 1; i <= RAFT_READS_MAX; i++)
        must(step(f, (struct raft_event){.type = RAFT_READ, .read = {.id = i}}) == 0);
    is_i64(step(f, (struct raft_event){.type = RAFT_READ, .read = {.id = 9999}}), ERR_OVERLOADED,
           "one read too many");
    f->now_us += 3 * ELECTION_US;
    struct raft_event tick = {.type = RAFT_TICK, .now_us = f->now_us};
    struct raft_update u;
    raft_step(f->core, &tick, &u);
    is_u64(u.read_count, RAFT_READS_MAX, "all end when the leader is silent");
    ok(!raft_invariant(f->core), "invariants hold");
    fuzz_free(f);
}

int main(void)
{
    garbage();
    full_tables();
    full_runs();
    full_reads();
    return done();
}
