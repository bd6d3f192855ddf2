/* The terms of the log as runs (lib/raft/log_terms.c), against a plain array; and what a full table
 * of runs does to a core. */
#include <string.h>

#include "lib/base/mem.h"
#include "lib/raft/raft_internal.h"
#include "tests/support/cluster.h"
#include "tests/unit/tap.h"

/* ---- by example ---- */

static struct raft_terms *terms_of(raft_index snapshot, raft_term snapshot_term,
                                   const raft_term *terms)
{
    struct raft_terms *t = mem_zalloc(sizeof(*t));
    raft_terms_reset(t, snapshot, snapshot_term);
    for (; *terms; terms++)
        raft_terms_append(t, *terms, 1);
    return t;
}

static void term_of_an_index(void)
{
    struct raft_terms *t = terms_of(100, 3, TERMS(3, 3, 4, 7, 7, 7));
    const struct {
        raft_index index;
        raft_term term;
    } table[] = {{0, 0},   {99, 0},  {100, 3}, {101, 3}, {102, 3},
                 {103, 4}, {104, 7}, {106, 7}, {107, 0}, {1000, 0}};
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        case_row("index %u", (unsigned)table[i].index);
        CHECK_EQ(raft_terms_at(t, table[i].index), table[i].term);
    }
    CHECK_EQ(raft_terms_last(t), 7);
    CHECK_EQ(t->last, 106);
    CHECK_EQ(t->run_count, 3);
    raft_terms_reset(t, 50, 2); /* nothing but a snapshot */
    CHECK_EQ(raft_terms_last(t), 2);
    CHECK_EQ(raft_terms_at(t, 50), 2);
    CHECK_EQ(raft_terms_at(t, 101), 0);
    CHECK_EQ(t->last, 50);
    CHECK_EQ(t->run_count, 0);
    mem_free(t);
}

static void largest_not_over_a_term(void)
{
    const struct {
        raft_index snapshot;
        raft_term snapshot_term;
        const raft_term *terms; /* behind the snapshot */
        raft_index index;
        raft_term term;
        raft_index found; /* 999: none */
    } table[] = {
        {0, 0, TERMS(2, 2, 5, 5, 5), 5, 5, 5},  {0, 0, TERMS(2, 2, 5, 5, 5), 4, 5, 4},
        {0, 0, TERMS(2, 2, 5, 5, 5), 5, 4, 2},  {0, 0, TERMS(2, 2, 5, 5, 5), 5, 2, 2},
        {0, 0, TERMS(2, 2, 5, 5, 5), 5, 1, 0},  {0, 0, TERMS(2, 2, 5, 5, 5), 2, 9, 2},
        {0, 0, TERMS(2, 2, 5, 5, 5), 99, 9, 5}, {0, 0, TERMS(2, 2, 5, 5, 5), 0, 9, 0},
        {0, 0, TERMS(1, 2, 3, 4, 5), 5, 3, 3},  {10, 3, TERMS(3, 3, 6), 13, 6, 13},
        {10, 3, TERMS(3, 3, 6), 13, 5, 12},     {10, 3, TERMS(6, 6), 12, 5, 10},
        {10, 3, TERMS(6, 6), 12, 3, 10},        {10, 3, TERMS(6, 6), 12, 2, 999},
        {10, 3, TERMS(6, 6), 10, 3, 10},        {10, 3, TERMS(6, 6), 9, 3, 999},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        case_row("row %zu", i);
        struct raft_terms *t = terms_of(table[i].snapshot, table[i].snapshot_term, table[i].terms);
        raft_index found = 999;
        bool any = raft_terms_find(t, table[i].index, table[i].term, &found);
        CHECK_EQ(any, table[i].found != 999);
        if (any)
            CHECK_EQ(found, table[i].found);
        mem_free(t);
    }
}

static void first_conflict(void)
{
    const struct {
        raft_index first; /* where the offered terms begin; the log is 1 1 2 2 3 */
        const raft_term *offered;
        raft_index conflict;
    } table[] = {
        {1, TERMS(1, 1, 2, 2, 3), 6}, /* none: one behind the offer */
        {2, TERMS(1, 2), 4},
        {4, TERMS(2, 3), 6},
        {1, TERMS(1, 1, 2, 2, 3, 3, 4), 6}, /* the log ends */
        {6, TERMS(3), 6},
        {1, TERMS(2, 2), 1},
        {2, TERMS(1, 3, 3), 3},
        {4, TERMS(3, 3), 4},
        {5, TERMS(4, 4), 5},
        {3, TERMS(2, 2, 2), 5},
    };
    struct raft_terms *t = terms_of(0, 0, TERMS(1, 1, 2, 2, 3));
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        case_row("row %zu", i);
        struct raft_run runs[8];
        uint32_t count = 0;
        raft_index last = table[i].first - 1;
        for (const raft_term *term = table[i].offered; *term; term++, last++)
            if (count == 0 || runs[count - 1].term != *term)
                runs[count++] = (struct raft_run){.first = last + 1, .term = *term};
        CHECK_EQ(raft_terms_conflict(t, table[i].first, last, runs, count), table[i].conflict);
    }
    mem_free(t);
}

static void after_truncating_and_compacting(void)
{
    struct raft_terms *t = terms_of(0, 0, TERMS(1, 1, 2, 2, 3, 3));
    raft_terms_truncate(t, 5); /* a whole run */
    CHECK_EQ(t->last, 4);
    CHECK_EQ(t->run_count, 2);
    raft_terms_truncate(t, 4); /* within one */
    CHECK_EQ(raft_terms_last(t), 2);
    CHECK_EQ(t->last, 3);
    raft_terms_append(t, 9, 3);
    CHECK_EQ(raft_terms_at(t, 4), 9);
    raft_terms_compact(t, 1);
    CHECK_EQ(raft_terms_at(t, 0), 0);
    CHECK_EQ(raft_terms_at(t, 1), 1);
    CHECK_EQ(raft_terms_at(t, 2), 1);
    raft_terms_compact(t, 3);
    CHECK_EQ(raft_terms_at(t, 2), 0);
    CHECK_EQ(raft_terms_at(t, 3), 2);
    CHECK_EQ(t->run_count, 1);
    raft_terms_compact(t, 6); /* all of it */
    CHECK_EQ(t->run_count, 0);
    CHECK_EQ(t->last, 6);
    CHECK_EQ(raft_terms_last(t), 9);
    raft_terms_compact(t, 6);
    raft_terms_append(t, 9, 1);
    CHECK_EQ(raft_terms_at(t, 7), 9);
    CHECK_EQ(t->runs[0].first, 7);
    mem_free(t);
}

/* ---- against a plain array ---- */

enum { MODEL = 4000 };

struct model {
    raft_index snapshot, last;
    raft_term term[MODEL]; /* by index, from the snapshot's on */
};

static raft_term model_at(const struct model *m, raft_index index)
{
    return index < m->snapshot || index > m->last ? 0 : m->term[index];
}

static void compare(const struct raft_terms *t, const struct model *m, struct prng *prng)
{
    CHECK_EQ(t->last, m->last);
    CHECK_EQ(t->snapshot_index, m->snapshot);
    CHECK_EQ(raft_terms_last(t), m->term[m->last]);
    for (int i = 0; i < 4; i++) {
        raft_index index = prng_below(prng, m->last + 3);
        CHECK_EQ(raft_terms_at(t, index), model_at(m, index));
        raft_term term = prng_below(prng, m->term[m->last] + 2);
        raft_index want = index < m->last ? index : m->last, found = 0;
        while (want > m->snapshot && m->term[want] > term)
            want--;
        bool any = want >= m->snapshot && m->term[want] <= term;
        CHECK_EQ(raft_terms_find(t, index, term, &found), any);
        if (any)
            CHECK_EQ(found, want);
    }
    uint32_t runs = 0;
    for (raft_index i = m->snapshot + 1; i <= m->last; i++)
        runs += i == m->snapshot + 1 || m->term[i] != m->term[i - 1];
    CHECK_EQ(t->run_count, runs);
    static const struct raft_run nothing;
    CHECK(t->run_count == RAFT_RUNS_MAX ||
          memcmp(&t->runs[t->run_count], &nothing, sizeof(nothing)) == 0);
}

static void check_conflict(const struct raft_terms *t, const struct model *m, struct prng *prng)
{
    /* The log's own terms from somewhere on, perhaps changed at one place, perhaps going further.
     */
    raft_index first = m->snapshot + 1 + prng_below(prng, m->last - m->snapshot + 1);
    raft_index last = first + prng_below(prng, 12), changed = first + prng_below(prng, 20);
    struct raft_run runs[16];
    uint32_t count = 0;
    raft_index want = last + 1;
    for (raft_index i = first; i <= last; i++) {
        raft_term term = i <= m->last ? m->term[i] : m->term[m->last];
        if (i >= changed)
            term = m->term[m->last] + 1;
        if (want > i && (i > m->last || m->term[i] != term))
            want = i;
        if (count == 0 || runs[count - 1].term != term)
            runs[count++] = (struct raft_run){.first = i, .term = term};
    }
    CHECK_EQ(raft_terms_conflict(t, first, last, runs, count), want);
}

static void against_an_array(void)
{
    struct raft_terms *t = mem_zalloc(sizeof(*t));
    struct model *m = mem_zalloc(sizeof(*m));
    struct prng prng;
    prng_seed(&prng, test_seed());
    for (int step = 0; step < 20000; step++) {
        raft_term term = m->term[m->last];
        switch (prng_below(&prng, 8)) {
        case 0: /* truncate */
            if (m->last > m->snapshot) {
                m->last -=
                    prng_below(&prng, m->last - m->snapshot < 20 ? m->last - m->snapshot : 20);
                raft_terms_truncate(t, m->last);
                m->last--;
            }
            break;
        case 1: /* compact */
            m->snapshot += prng_below(&prng, m->last - m->snapshot + 1);
            raft_terms_compact(t, m->snapshot);
            break;
        case 2: /* a snapshot of somebody else */
            if (prng_chance(&prng, 1, 10)) {
                m->snapshot = m->last = m->last + prng_below(&prng, 9);
                m->term[m->last] = term + prng_below(&prng, 2) + (term == 0);
                raft_terms_reset(t, m->last, m->last ? m->term[m->last] : 0);
                if (m->last == 0)
                    m->term[0] = 0;
            }
            break;
        default: { /* append */
            raft_index count = 1 + prng_below(&prng, 5);
            term += prng_chance(&prng, 1, 3) ? 1 + prng_below(&prng, 3) : 0;
            term += term == 0;
            raft_terms_append(t, term, count);
            for (; count > 0; count--)
                m->term[++m->last] = term;
        }
        }
        compare(t, m, &prng);
        check_conflict(t, m, &prng);
        if (m->last > MODEL - 100) {
            memset(m, 0, sizeof(*m));
            raft_terms_reset(t, 0, 0);
        }
    }
    mem_free(t);
    mem_free(m);
}

/* ---- a full table ---- */

/* Each entry in a term of its own: the core takes as much as there is room for, says so, and does
 * not stand. */
static void full_table(void)
{
    enum { LEFT = 3 };
    raft_term *log = mem_calloc(RAFT_RUNS_MAX - LEFT + 1, sizeof(*log));
    for (raft_term i = 0; i < RAFT_RUNS_MAX - LEFT; i++)
        log[i] = i + 1;
    struct cluster *c = cluster_new((struct cluster_plan){
        .alone = true, .log = log, .log_max = RAFT_RUNS_MAX + 20, .commit = 100});
    struct raft *r = cluster_core(c, 1);
    raft_index last = raft_last_index(r);
    CHECK_EQ(raft_runs_left(r), LEFT);
    const raft_term next = (raft_term)last + 1;
    const struct raft_message *reply =
        cluster_append(c, 1,
                       APPEND(2, next + 5, last, last,
                              TERMS(next, next + 1, next + 2, next + 2, next + 3, next + 4), 100));
    REQUIRE(reply);
    CHECK(reply->accepted);
    CHECK_EQ(reply->match_index, last + 4);
    CHECK_EQ(raft_last_index(r), last + 4);
    CHECK_EQ(raft_runs_left(r), 0);
    reply = cluster_append(
        c, 1, APPEND(2, next + 5, last + 4, next + 2, TERMS(next + 3), 100)); /* none at all */
    REQUIRE(reply);
    CHECK_EQ(raft_last_index(r), last + 4);
    CHECK(!reply->accepted || reply->match_index == last + 4);
    for (int i = 0; i < 40; i++) {
        cluster_sleep(c, HEARTBEAT);
        cluster_tick(c, 1);
    }
    CHECK_EQ(raft_state(r), RAFT_FOLLOWER);
    cluster_append(c, 1, APPEND(2, next + 5, last + 4, next + 2, NULL, last));
    cluster_compact(c, 1, 1000); /* room again */
    CHECK_EQ(raft_runs_left(r), 1000);
    CHECK(cluster_append(c, 1,
                         APPEND(2, next + 5, last + 4, next + 2, TERMS(next + 3, next + 4), last))
              ->accepted);
    CHECK_EQ(raft_last_index(r), last + 6);
    for (int i = 0; i < 40 && raft_state(r) == RAFT_FOLLOWER; i++) {
        cluster_sleep(c, HEARTBEAT);
        cluster_tick(c, 1);
    }
    CHECK_EQ(raft_state(r), RAFT_PRE_CANDIDATE);
    cluster_free(c);
    mem_free(log);
}

static const struct test_case cases[] = {
    {"§3.5 the term of an index, before, at and behind the snapshot", term_of_an_index},
    {"§3.5 the largest index whose term is not over a term", largest_not_over_a_term},
    {"§3.5 the first index that conflicts", first_conflict},
    {"§5.1 terms after truncating and compacting", after_truncating_and_compacting},
    {"terms of the log against a plain array, at random", against_an_array},
    {"a full table of runs: a shorter append, and no candidacy", full_table},
};

CASES_MAIN(cases)
