/* Majorities (§3.5, §4.3): what is committed and who has won, in one configuration and in two. Ids
 * are single digits; '_' is a voter of nothing. */
#include <string.h>

#include "lib/raft/raft_internal.h"
#include "tests/support/cases.h"
#include "tests/unit/tap.h"

/* Enough of a core for quorum.c: configuration, followers by position, votes. */
static struct raft *core_of(const char *voters, const char *old, const uint64_t *match)
{
    static struct raft core;
    struct raft *r = &core;
    memset(r->followers, 0, sizeof(r->followers));
    memset(&r->configurations.items[0], 0, sizeof(r->configurations.items[0]));
    r->votes_granted = r->votes_refused = 0;
    r->options.id = 99; /* no voter: everybody's match is in the table */
    r->configurations.count = 1;
    struct raft_configuration *c = &r->configurations.items[0];
    c->joint = *old != '\0';
    for (int id = '1'; id <= '9'; id++) {
        uint32_t flags = 0;
        if (strchr(voters, id))
            flags |= RAFT_VOTER;
        if (strchr(old, id))
            flags |= RAFT_VOTER_OLD;
        if (flags == 0 && match[id - '0'] == 0)
            continue; /* those with a match and no vote are learners */
        r->followers[c->count].id = (raft_id)(id - '0');
        r->followers[c->count].match = match[id - '0'];
        c->members[c->count++] = (struct raft_member){.id = (raft_id)(id - '0'), .flags = flags};
    }
    r->follower_count = c->count;
    return r;
}

static uint64_t committed(const char *voters, const char *old, const uint64_t *match)
{
    return raft_quorum(core_of(voters, old, match), RAFT_QUORUM_MATCH);
}

static enum raft_vote_result counted(const char *voters, const char *old, const char *granted,
                                     const char *refused)
{
    static const uint64_t everybody[10] = {0, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    struct raft *r = core_of(voters, old, everybody);
    for (uint32_t i = 0; i < r->follower_count; i++) {
        char id = (char)('0' + (int)r->followers[i].id);
        if (strchr(granted, id))
            r->votes_granted |= 1u << i;
        if (strchr(refused, id))
            r->votes_refused |= 1u << i;
    }
    return raft_quorum_votes(r);
}

/* ---- commit ---- */

static void majority_commit(void)
{
    static const struct {
        const char *voters;
        uint64_t match[10]; /* by id; 0: nothing known */
        uint64_t index;
    } table[] = {
        /* one voter */
        {"1", {0, 0}, 0},
        {"1", {0, 12}, 12},
        /* two: both */
        {"12", {0, 0, 0}, 0},
        {"12", {0, 12, 0}, 0},
        {"12", {0, 12, 5}, 5},
        {"12", {0, 5, 12}, 5},
        {"12", {0, 7, 7}, 7},
        /* three: the middle one */
        {"123", {0, 0, 0, 0}, 0},
        {"123", {0, 12, 0, 0}, 0},
        {"123", {0, 12, 5, 0}, 5},
        {"123", {0, 12, 5, 6}, 6},
        {"123", {0, 5, 12, 6}, 6},
        {"123", {0, 12, 12, 5}, 12},
        {"123", {0, 5, 5, 12}, 5},
        {"234", {0, 99, 12, 5, 6}, 6}, /* 1 is a learner */
        /* four: the third best */
        {"1234", {0, 9, 8, 7, 6}, 7},
        {"1234", {0, 9, 9, 0, 0}, 0},
        {"1234", {0, 9, 9, 3, 0}, 3},
        /* five and more */
        {"12345", {0, 101, 104, 103, 103, 102}, 103},
        {"12345", {0, 101, 102, 0, 0, 0}, 0},
        {"12345", {0, 101, 102, 103, 0, 0}, 101},
        {"123456", {0, 1, 2, 3, 4, 5, 6}, 3},
        {"1234567", {0, 1, 2, 3, 4, 5, 6, 7}, 4},
        {"123456789", {0, 9, 8, 7, 6, 5, 4, 3, 2, 1}, 5},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        case_row("row %zu, voters %s", i, table[i].voters);
        CHECK_EQ(committed(table[i].voters, "", table[i].match), table[i].index);
        /* The same configuration twice is no different. */
        CHECK_EQ(committed(table[i].voters, table[i].voters, table[i].match), table[i].index);
    }
}

static void joint_commit(void)
{
    static const struct {
        const char *voters, *old;
        uint64_t match[10];
        uint64_t index;
    } table[] = {
        /* a majority that needs nothing of the other: one voter, the same in both */
        {"1", "1", {0, 13}, 13},
        {"1", "12", {0, 13, 0}, 0},
        {"1", "12", {0, 13, 9}, 9},
        {"1", "123", {0, 13, 0, 0}, 0},
        {"1", "123", {0, 13, 4, 0}, 4},
        {"1", "123", {0, 3, 9, 9}, 3},
        /* disjoint: the smaller of the two */
        {"1", "2", {0, 0, 0}, 0},
        {"1", "2", {0, 100, 0}, 0},
        {"1", "2", {0, 100, 101}, 100},
        {"1", "2", {0, 102, 101}, 101},
        {"12", "34", {0, 9, 8, 7, 6}, 6},
        {"12", "34", {0, 9, 8, 7, 0}, 0},
        {"123", "456", {0, 9, 9, 9, 0, 0, 0}, 0},
        {"123", "456", {0, 9, 9, 9, 5, 0, 0}, 0},
        {"123", "456", {0, 9, 9, 9, 5, 6, 0}, 5},
        {"123", "456", {0, 4, 0, 3, 9, 9, 9}, 3},
        /* a majority of the union that is none of each */
        {"12", "3456", {0, 0, 0, 9, 9, 9, 9}, 0},
        {"123", "345", {0, 0, 0, 9, 9, 9}, 0},
        {"123", "345", {0, 7, 0, 9, 9, 9}, 7},
        /* overlapping */
        {"12", "23", {0, 100, 101, 0}, 0},
        {"12", "23", {0, 100, 101, 99}, 99},
        {"12", "23", {0, 100, 50, 100}, 50},
        {"123", "234", {0, 1, 2, 3, 4}, 2},
        {"123", "234", {0, 4, 3, 2, 1}, 2},
        {"123", "234", {0, 9, 0, 9, 9}, 9},
        {"123", "234", {0, 9, 0, 0, 9}, 0},
        {"123", "125", {0, 5, 5, 0, 0, 0}, 5},
        {"123", "125", {0, 5, 0, 5, 0, 5}, 5},
        {"123", "125", {0, 0, 5, 5, 0, 0}, 0},
        {"1234", "123", {0, 9, 9, 0, 0}, 0},
        {"1234", "123", {0, 9, 9, 0, 2}, 2},
        {"1234", "123", {0, 9, 0, 0, 9}, 0},
        {"123", "12345", {0, 9, 9, 0, 9, 0}, 9},
        {"123", "12345", {0, 9, 9, 0, 0, 0}, 0},
        {"123", "12345", {0, 9, 0, 0, 9, 9}, 0},
        /* learners besides count in neither */
        {"12", "13", {0, 9, 0, 0, 9, 9, 9}, 0},
        {"12", "13", {0, 9, 8, 7, 99, 99}, 7},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        case_row("row %zu, %s and %s", i, table[i].voters, table[i].old);
        CHECK_EQ(committed(table[i].voters, table[i].old, table[i].match), table[i].index);
        CHECK_EQ(committed(table[i].old, table[i].voters, table[i].match),
                 table[i].index); /* either way round */
    }
}

/* The definition itself: the largest index that more than half of the voters have. */
static uint64_t defined(const char *voters, const uint64_t *match)
{
    uint64_t best = 0;
    for (const char *candidate = voters; *candidate; candidate++) {
        uint64_t index = match[*candidate - '0'];
        size_t have = 0;
        for (const char *v = voters; *v; v++)
            have += match[*v - '0'] >= index;
        if (2 * have > strlen(voters) && index > best)
            best = index;
    }
    return best;
}

static void random_subset(struct prng *prng, char *out)
{
    size_t count = 0;
    for (int id = '1'; id <= '9'; id++)
        if (prng_chance(prng, 1, 2))
            out[count++] = (char)id;
    if (count == 0)
        out[count++] = '5';
    out[count] = '\0';
}

static void as_defined(void)
{
    struct prng prng;
    prng_seed(&prng, test_seed());
    for (int i = 0; i < 3000; i++) {
        char voters[12], old[12];
        uint64_t match[10] = {0};
        random_subset(&prng, voters);
        random_subset(&prng, old);
        for (int k = 1; k <= 9; k++)
            match[k] = prng_below(&prng, 12);
        case_row("%s and %s", voters, old);
        uint64_t one = defined(voters, match), other = defined(old, match);
        CHECK_EQ(committed(voters, "", match), one);
        CHECK_EQ(committed(voters, old, match), one < other ? one : other);
    }
}

/* A leader that is a voter counts what its own disk has, and nothing of what its follower's row
 * says. */
static void own_disk_counts(void)
{
    struct raft *r = core_of("123", "", (const uint64_t[10]){0, 50, 9, 0});
    r->options.id = 1;
    r->durable = 7;
    CHECK_EQ(raft_quorum(r, RAFT_QUORUM_MATCH), 7);
    r->durable = 12;
    CHECK_EQ(raft_quorum(r, RAFT_QUORUM_MATCH), 9);
}

/* ---- votes ---- */

enum { PENDING = RAFT_VOTE_PENDING, WON = RAFT_VOTE_WON, LOST = RAFT_VOTE_LOST };

static void majority_vote(void)
{
    static const struct {
        const char *voters, *granted, *refused;
        int result;
    } table[] = {
        {"1", "", "", PENDING},
        {"1", "1", "", WON},
        {"1", "", "1", LOST},
        {"12", "", "", PENDING},
        {"12", "1", "", PENDING},
        {"12", "", "1", LOST},
        {"12", "1", "2", LOST},
        {"12", "12", "", WON},
        {"12", "2", "1", LOST},
        {"123", "", "", PENDING},
        {"123", "1", "", PENDING},
        {"123", "", "1", PENDING},
        {"123", "1", "2", PENDING},
        {"123", "12", "", WON},
        {"123", "12", "3", WON},
        {"123", "", "23", LOST},
        {"123", "1", "23", LOST},
        {"123", "13", "2", WON},
        {"1234", "12", "", PENDING},
        {"1234", "12", "3", PENDING},
        {"1234", "12", "34", LOST},
        {"1234", "123", "4", WON},
        {"1234", "", "34", LOST},
        {"12345", "12", "34", PENDING},
        {"12345", "125", "34", WON},
        {"12345", "12", "345", LOST},
        {"1234567", "123", "456", PENDING},
        {"1234567", "1237", "456", WON},
        {"1234567", "123", "4567", LOST},
        /* strangers and learners */
        {"123", "456789", "", PENDING},
        {"123", "1", "456789", PENDING},
        {"456", "123456", "", WON},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        case_row("row %zu, voters %s", i, table[i].voters);
        CHECK_EQ(counted(table[i].voters, "", table[i].granted, table[i].refused), table[i].result);
        CHECK_EQ(counted(table[i].voters, table[i].voters, table[i].granted, table[i].refused),
                 table[i].result);
    }
}

static void joint_vote(void)
{
    static const struct {
        const char *voters, *old, *granted, *refused;
        int result;
    } table[] = {
        /* disjoint */
        {"1", "2", "", "", PENDING},
        {"1", "2", "1", "", PENDING},
        {"1", "2", "2", "", PENDING},
        {"1", "2", "12", "", WON},
        {"1", "2", "1", "2", LOST},
        {"1", "2", "", "1", LOST},
        {"12", "34", "123", "", PENDING},
        {"12", "34", "1234", "", WON},
        {"12", "34", "12", "3", LOST},
        {"123", "456", "12", "", PENDING},
        {"123", "456", "1245", "", WON},
        {"123", "456", "12", "45", LOST},
        {"123", "456", "1234", "5", PENDING},
        {"123", "456", "123", "456", LOST},
        {"123", "456", "4561", "2", PENDING},
        {"123", "456", "4561", "23", LOST},
        /* overlapping */
        {"12", "23", "2", "", PENDING},
        {"12", "23", "12", "", PENDING},
        {"12", "23", "123", "", WON},
        {"12", "23", "12", "3", LOST},
        {"12", "23", "", "2", LOST},
        {"123", "234", "23", "", WON},
        {"123", "234", "23", "14", WON},
        {"123", "234", "12", "", PENDING},
        {"123", "234", "12", "3", PENDING},
        {"123", "234", "12", "34", LOST},
        {"123", "234", "14", "23", LOST},
        {"123", "234", "", "12", LOST},
        {"123", "345", "123", "", PENDING},
        {"123", "345", "124", "", PENDING},
        {"123", "345", "1245", "", WON},
        {"1", "123", "1", "", PENDING},
        {"1", "123", "1", "2", PENDING},
        {"1", "123", "12", "", WON},
        {"1", "123", "23", "1", LOST},
        {"1", "123", "1", "23", LOST},
        {"1234", "123", "12", "", PENDING},
        {"1234", "123", "12", "34", LOST},
        {"1234", "123", "124", "3", WON},
        {"12345", "123", "145", "", PENDING},
        {"12345", "123", "145", "23", LOST},
        /* a majority of the union is not enough */
        {"12", "3456", "3456", "", PENDING},
        {"12", "3456", "3456", "1", LOST},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        case_row("row %zu, %s and %s", i, table[i].voters, table[i].old);
        CHECK_EQ(counted(table[i].voters, table[i].old, table[i].granted, table[i].refused),
                 table[i].result);
        CHECK_EQ(counted(table[i].old, table[i].voters, table[i].granted, table[i].refused),
                 table[i].result);
    }
}

static int defined_vote(const char *voters, const char *granted, const char *refused)
{
    size_t yes = 0, no = 0, all = strlen(voters);
    for (const char *v = voters; *v; v++) {
        yes += strchr(granted, *v) != NULL;
        no += strchr(refused, *v) != NULL;
    }
    return 2 * yes > all ? WON : 2 * (all - no) > all ? PENDING : LOST;
}

static void add_id(char *ids, bool wanted, unsigned k)
{
    size_t length = strlen(ids);
    if (!wanted)
        return;
    ids[length] = (char)('1' + (int)k);
    ids[length + 1] = '\0';
}

/* Every way in which four servers can vote, in all pairs of configurations of them. */
static void votes_as_defined(void)
{
    for (unsigned a = 1; a < 16; a++) {
        for (unsigned b = 0; b < 16; b++) {
            for (unsigned v = 0; v < 81; v++) {
                char voters[6] = "", old[6] = "", granted[6] = "", refused[6] = "";
                unsigned rest = v;
                for (unsigned k = 0; k < 4; k++, rest /= 3) {
                    add_id(voters, a >> k & 1, k);
                    add_id(old, b >> k & 1, k);
                    add_id(granted, rest % 3 == 1, k);
                    add_id(refused, rest % 3 == 2, k);
                }
                int one = defined_vote(voters, granted, refused);
                int other = b ? defined_vote(old, granted, refused) : WON;
                int want = one == LOST || other == LOST ? LOST
                           : one == WON && other == WON ? WON
                                                        : PENDING;
                case_row("%s and %s, %s granted, %s refused", voters, old, granted, refused);
                CHECK_EQ(counted(voters, old, granted, refused), want);
            }
        }
    }
}

static const struct test_case cases[] = {
    {"§3.5 the index of a majority", majority_commit},
    {"§4.3 the index of two majorities", joint_commit},
    {"§4.3 the index of majorities is as defined, at random", as_defined},
    {"§10.2.1 the leader counts what its own disk has", own_disk_counts},
    {"§3.4 the votes of a majority", majority_vote},
    {"§4.3 the votes of two majorities", joint_vote},
    {"§4.3 votes are counted as defined, exhaustively", votes_as_defined},
};

CASES_MAIN(cases)
