/* raftkv-check replicas: what two nodes' rows say of each other; nodes that do not answer as they
 * should. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/base/prng.h"
#include "lib/verify/replicas_internal.h"
#include "tests/support/fake_node.h"
#include "tests/unit/tap.h"

/* ---- two views ---- */

static struct replica_view none(uint64_t index)
{
    return (struct replica_view){.index = index};
}

static struct replica_view row(uint64_t index, uint64_t version, const char *value)
{
    return (struct replica_view){
        .index = index, .there = true, .version = version, .value = slice_str(value)};
}

static void test_judge(void)
{
    const struct {
        const char *name;
        struct replica_view a, b;
        enum replica_verdict verdict;
        uint64_t min_index;
    } cases[] = {
        {"nothing", none(5), none(9), REPLICAS_SAME, 0},
        {"the same", row(5, 3, "x"), row(9, 3, "x"), REPLICAS_SAME, 0},
        {"another value", row(5, 3, "x"), row(9, 3, "y"), REPLICAS_DIFFER, 0},
        {"overwritten later", row(5, 3, "x"), row(9, 7, "y"), REPLICAS_ASK_A, 7},
        {"overwritten later, there", row(9, 7, "y"), row(5, 3, "x"), REPLICAS_ASK_B, 7},
        {"an overwrite that was missed", row(7, 3, "x"), row(9, 7, "y"), REPLICAS_DIFFER, 0},
        {"missing at the same index", row(5, 3, "x"), none(5), REPLICAS_DIFFER, 0},
        {"missing, and never deleted", row(9, 3, "x"), none(5), REPLICAS_DIFFER, 0},
        {"perhaps deleted later", row(5, 3, "x"), none(9), REPLICAS_ASK_A, 9},
        {"perhaps deleted later, there", none(9), row(5, 3, "x"), REPLICAS_ASK_B, 9},
        {"not written yet", row(9, 7, "x"), none(5), REPLICAS_ASK_B, 7},
        {"not written yet, there", none(5), row(9, 7, "x"), REPLICAS_ASK_A, 7},
        {"written at once", row(9, 7, "x"), none(7), REPLICAS_DIFFER, 0},
        {"of the future", row(9, 10, "x"), none(5), REPLICAS_DIFFER, 0},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t min_index = 99;
        enum replica_verdict v = replicas_judge(&cases[i].a, &cases[i].b, &min_index);
        is_i64(v, cases[i].verdict, "%s", cases[i].name);
        is_u64(min_index, cases[i].min_index, "%s: from where on to ask", cases[i].name);
    }
    struct replica_view early = row(5, 3, "x"), late = row(5, 3, "x");
    uint64_t min_index;
    late.timestamp_ms = 4;
    is_i64(replicas_judge(&early, &late, &min_index), REPLICAS_DIFFER, "another timestamp");
}

/* A key's life at random: two views of it never differ. One that is written again and again, and
 * that the other has lost, differs as soon as nothing is left to ask. */
enum { LIFE = 60 };

struct life {
    uint64_t version[LIFE]; /* at an index; 0: none */
};

static struct replica_view seen(const struct life *l, uint64_t index)
{
    return l->version[index] ? row(index, l->version[index], "") : none(index);
}

static enum replica_verdict settle(const struct life *x, const struct life *y, uint64_t i,
                                   uint64_t j, struct prng *p, bool *asks_forward)
{
    struct replica_view a = seen(x, i), b = seen(y, j);
    uint64_t min_index = 0;
    enum replica_verdict v = replicas_judge(&a, &b, &min_index);
    while (v == REPLICAS_ASK_A || v == REPLICAS_ASK_B) {
        struct replica_view *asked = v == REPLICAS_ASK_A ? &a : &b;
        *asks_forward = *asks_forward && min_index > asked->index && min_index < LIFE;
        if (!*asks_forward)
            break;
        *asked = seen(v == REPLICAS_ASK_A ? x : y, min_index + prng_below(p, LIFE - min_index));
        v = replicas_judge(&a, &b, &min_index);
    }
    return v;
}

static void test_lives(void)
{
    struct prng p;
    unsigned wrong = 0, missed = 0;
    bool asks_forward = true;
    prng_seed(&p, test_seed());
    for (unsigned n = 0; n < 20000; n++) {
        struct life l = {0}, lost;
        bool deletes = n % 2 == 0;
        for (uint64_t i = 1; i < LIFE; i++) {
            bool change = i == 1 || prng_chance(&p, 1, 5);
            l.version[i] = !change ? l.version[i - 1] : deletes && prng_chance(&p, 1, 3) ? 0 : i;
        }
        uint64_t i = 1 + prng_below(&p, LIFE - 1), j = 1 + prng_below(&p, LIFE - 1);
        wrong += settle(&l, &l, i, j, &p, &asks_forward) == REPLICAS_DIFFER;
        if (deletes)
            continue;
        lost = l;
        for (uint64_t k = 1 + prng_below(&p, j); k < LIFE; k++)
            lost.version[k] = 0;
        missed += settle(&l, &lost, i, j, &p, &asks_forward) != REPLICAS_DIFFER;
        missed += settle(&lost, &l, j, i, &p, &asks_forward) != REPLICAS_DIFFER;
    }
    is_u64(wrong, 0, "views of one life never differ");
    is_u64(missed, 0, "a row that was lost does, in the end");
    ok(asks_forward, "asked is only for a later index, and none that nobody has");
}

/* ---- nodes ---- */

struct heard {
    struct buf text;
    unsigned wrong, unknown;
};

static void hear(void *self, enum finding kind, const char *text)
{
    struct heard *h = self;
    h->wrong += kind == FINDING_WRONG;
    h->unknown += kind == FINDING_UNKNOWN;
    must(buf_printf(&h->text, "%s\n", text) == 0);
}

/* What comes at once has long; what never comes is waited for this long. */
enum { LONG_MS = 30000, SHORT_MS = 300 };

static int ask(const char *endpoints, uint32_t timeout_ms, struct heard *h, struct err *err)
{
    const struct finding_sink sink = {.tell = hear, .self = h};
    const struct replicas_options options = {.endpoints = endpoints, .timeout_ms = timeout_ms};
    *h = (struct heard){0};
    buf_init(&h->text, 1 << 16);
    return verify_replicas(&options, &sink, err);
}

static void test_usage(void)
{
    static const char *const bad[] = {"http://127.0.0.1:1", "x y,http://a:1", "",
                                      "http://127.0.0.1:1,,http://127.0.0.1:2",
                                      "https://127.0.0.1:1,http://127.0.0.1:2"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct heard h;
        struct err err = {0};
        is_i64(ask(bad[i], SHORT_MS, &h, &err), ERR_USAGE, "endpoints \"%s\"", bad[i]);
        ok(err.text[0] && h.text.len == 0, "are told to be none");
        buf_release(&h.text);
    }
}

static void test_unreachable(void)
{
    struct heard h;
    struct err err = {0};
    char endpoints[256];
    snprintf(endpoints, sizeof(endpoints), "%s,%s", fake_refusing_url(), fake_refusing_url());
    is_i64(ask(endpoints, SHORT_MS, &h, &err), 0, "nobody there");
    is_u64(h.unknown, 1, "is inconclusive");
    has_str((const char *)h.text.data, fake_refusing_url(), "and named");
    buf_release(&h.text);
}

#define NODE(id, name)                                                                             \
    "{\"name\":\"" name "\",\"id\":\"" id "\",\"version\":\"0.1.0\",\"state\":\"follower\","       \
    "\"leader\":null,\"term\":1,\"ready\":true,\"uptime_ms\":1,\"index\":{\"last\":9,\"commit\":"  \
    "9,"                                                                                           \
    "\"applied\":9,\"snapshot\":0,\"first\":1},\"digest\":{\"index\":9,"                           \
    "\"value\":\"00000000000000000000000000000001\"},\"storage\":{\"log_bytes\":1,\"kv_bytes\":1," \
    "\"wal_bytes\":1,\"disk_free\":1,\"log_entries\":9,\"keys\":1}}"
#define STATUS(cluster)                                                                            \
    "{\"cluster\":" cluster ",\"leader\":null,\"term\":1,\"index\":{\"commit\":9,\"applied\":9},"  \
    "\"fault_tolerance\":1,\"members\":[],\"change\":null}"
#define CLUSTER "\"00000000000000000000000000000077\""

static void two_nodes(const char *node_a, const char *status_a, const char *node_b,
                      const char *status_b, uint32_t timeout_ms, struct heard *h, struct err *err,
                      int *rc)
{
    const struct fake_step a[] = {
        {.body = node_a}, {.body = status_a}, {.body = node_a}, {.body = node_a}};
    const struct fake_step b[] = {
        {.body = node_b}, {.body = status_b}, {.body = node_b}, {.body = node_b}};
    struct fake_node *x = fake_node_start(a, 4), *y = fake_node_start(b, 4);
    char endpoints[256];
    snprintf(endpoints, sizeof(endpoints), "%s,%s", fake_node_url(x), fake_node_url(y));
    *rc = ask(endpoints, timeout_ms, h, err);
    fake_node_stop(x);
    fake_node_stop(y);
}

static void test_who(void)
{
    struct heard h;
    struct err err = {0};
    int rc;
    two_nodes(NODE("0000000000000001", "n1"), STATUS(CLUSTER), NODE("0000000000000002", "n2"),
              STATUS(CLUSTER), LONG_MS, &h, &err, &rc);
    is_i64(rc, 0, "two nodes");
    is_u64(h.wrong + h.unknown, 0, "of one digest");
    has_str((const char *)h.text.data, "n2: digest at 9 is 00000000000000000000000000000001",
            "which is told");
    buf_release(&h.text);
    two_nodes(NODE("0000000000000001", "n1"), STATUS(CLUSTER), NODE("0000000000000001", "n1"),
              STATUS(CLUSTER), LONG_MS, &h, &err, &rc);
    is_i64(rc, ERR_USAGE, "one node twice");
    has_str(err.text, "are one node, n1", "is named");
    buf_release(&h.text);
    two_nodes(NODE("0000000000000001", "n1"), STATUS(CLUSTER), NODE("0000000000000002", "n2"),
              STATUS("\"00000000000000000000000000000078\""), LONG_MS, &h, &err, &rc);
    is_i64(rc, 0, "nodes of two clusters");
    is_u64(h.wrong, 1, "are wrong");
    has_str((const char *)h.text.data,
            "of two clusters, 00000000000000000000000000000077 and "
            "00000000000000000000000000000078",
            "and told to be");
    buf_release(&h.text);
    two_nodes(NODE("0000000000000001", "n1"), STATUS(CLUSTER), NODE("0000000000000002", "n2"),
              STATUS("null"), SHORT_MS, &h, &err, &rc);
    is_u64(h.unknown, 1, "a node of no cluster is inconclusive");
    buf_release(&h.text);
    two_nodes(NODE("0000000000000001", "n1"), STATUS(CLUSTER), "{\"name\":\"n2\"}", "{}", SHORT_MS,
              &h, &err, &rc);
    is_u64(h.unknown, 1, "so is one that speaks otherwise");
    buf_release(&h.text);
}

int main(void)
{
    test_judge();
    test_lives();
    test_usage();
    test_unreachable();
    test_who();
    return done();
}
