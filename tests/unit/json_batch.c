/* POST /batch's JSON: what is taken, what is refused and in which words. */
#include <stdio.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/base/prng.h"
#include "lib/json/api.h"
#include "tests/unit/tap.h"

enum { VALUE_MAX = 100 };

/* "p key=value" or "d key" for each write, in their order. */
static int decode(const char *body, struct api_error *e, char *out, size_t room)
{
    struct buf writes;
    uint32_t count = 0, seen = 0;
    struct command_write w;
    char *exact = mem_dup(body, strlen(body)); /* so that a byte read too many is seen */
    int rc = api_batch_decode(slice_of(exact, strlen(body)), VALUE_MAX, &writes, &count, e);
    mem_free(exact);
    out[0] = '\0';
    if (rc != 0)
        return rc;
    for (struct slice rest = slice_of(writes.data, writes.len); command_write_next(&rest, &w);) {
        size_t len = strlen(out);
        (void)snprintf(out + len, room - len, "%s%c %.*s%s%.*s", seen++ ? ", " : "",
                       w.op == COMMAND_PUT ? 'p' : 'd', (int)w.key.len, (const char *)w.key.data,
                       w.op == COMMAND_PUT ? "=" : "", (int)w.value.len,
                       w.value.len ? (const char *)w.value.data : "");
    }
    ok(seen == count, "%u writes", count);
    buf_release(&writes);
    return 0;
}

#define OPS(list)     "{\"ops\":[" list "]}"
#define P(key, value) "{\"op\":\"put\",\"key\":\"" key "\",\"value\":\"" value "\"}"
#define D(key)        "{\"op\":\"delete\",\"key\":\"" key "\"}"

static void test_good(void)
{
    static const char *const rows[][2] = {
        {OPS(P("a", "1")), "p a=1"},
        {OPS(D("a")), "d a"},
        {OPS(P("b", "") "," D("c") "," P("a", "x")), "p a=x, p b=, d c"},
        {" { \"ops\" : [ { \"value\" : \"v\" , \"key\" : \"k\" , \"op\" : \"put\" } ] } ", "p k=v"},
        {OPS("{\"op\":\"put\",\"key_base64\":\"YWI=\",\"value_base64\":\"eHk=\"}"), "p ab=xy"},
        {OPS("{\"op\":\"put\",\"key\":\"a\",\"value_base64\":\"\"}"), "p a="},
        {OPS(P("\\u0061\\n", "\\\"\\u00e9") "," P("a", "\\/")), "p a=/, p a\n=\"\xc3\xa9"},
        {OPS("{\"\\u006fp\":\"\\u0070ut\",\"key\":\"a\",\"value\":\"b\"}"), "p a=b"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct api_error e;
        char out[200];
        is_i64(decode(rows[i][0], &e, out, sizeof(out)), 0, "%s", rows[i][0]);
        is_str(out, rows[i][1], "… in the order of keys");
    }
}

static void test_bad(void)
{
    static const char *const rows[][2] = {
        {"", "bad JSON: column 1: the text ends where '{' is wanted"},
        {"[]", "bad JSON: column 1: '{' is wanted"},
        {"{}", "'ops' is missing"},
        {"{\"ops\":{}}", "'[' is wanted"},
        {"{\"ops\":[]}", "'ops', is empty"},
        {"{\"ops\":[],\"ops\":[]}", "'ops' stands there twice"},
        {"{\"ops\":[],\"opts\":[]}", "'opts' is not known"},
        {OPS(D("a")) "x", "something stands behind"},
        {OPS(D("a") ","), "'{' is wanted"},
        {OPS("1"), "'{' is wanted"},
        {OPS("{}"), "ops[0]: member 'op' is missing"},
        {OPS(D("a") ",{\"op\":\"put\"}"), "ops[1]: member 'key' is missing"},
        {OPS("{\"op\":\"put\",\"key\":\"a\"}"), "ops[0]: member 'value' is missing"},
        {OPS("{\"op\":\"delete\",\"key\":\"a\",\"value\":\"\"}"), "a delete has no value"},
        {OPS("{\"op\":\"cas\",\"key\":\"a\"}"), "op 'cas': put or delete"},
        {OPS("{\"op\":1}"), "ops[0]: member 'op': column 15: '\"' is wanted for a string"},
        {OPS("{\"op\":\"put\",\"key\":null}"), "member 'key': column 27"},
        {OPS(D("")), "the key is empty"},
        {OPS("{\"op\":\"delete\",\"key\":\"a\",\"key\":\"b\"}"), "'key' stands there twice"},
        {OPS("{\"op\":\"delete\",\"key\":\"a\",\"key_base64\":\"YQ==\"}"), "one of them only"},
        {OPS("{\"op\":\"delete\",\"key_base64\":\"YQ\"}"), "must be base64"},
        {OPS("{\"op\":\"delete\",\"key_base64\":\"YQ=!\"}"), "must be base64"},
        {OPS("{\"op\":\"delete\",\"key\":\"a\",\"if\":1}"), "member 'if' is not known"},
        {OPS("{\"op\":\"delete\",\"key\":\"\xff\"}"), "not UTF-8"},
        {OPS(D("b") "," D("a") "," P("b", "")), "\"key\":\"b\" stands in the batch more than once"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct api_error e;
        char out[200];
        is_i64(decode(rows[i][0], &e, out, sizeof(out)), ERR_BAD_REQUEST, "%s", rows[i][0]);
        has_str(e.message, rows[i][1], "… is told");
        ok(e.outcome == OUTCOME_NOT_APPLIED && !e.has_limit, "… as not applied");
    }
}

/* `count` puts, of a value of `value_len` bytes each. */
static char *many(uint32_t count, size_t key_len, size_t value_len)
{
    struct buf b;
    size_t len;
    buf_init(&b, 64 << 20);
    must(buf_append_str(&b, "{\"ops\":[") == 0);
    for (uint32_t i = 0; i < count; i++)
        must(buf_printf(&b, "%s{\"op\":\"put\",\"key\":\"%0*u\",\"value\":\"%0*d\"}", i ? "," : "",
                        (int)key_len, i, (int)value_len, 0) == 0);
    must(buf_append_str(&b, "]}") == 0);
    return (char *)buf_take(&b, &len);
}

static void test_limits(void)
{
    static const struct {
        uint32_t count;
        size_t key_len, value_len;
        size_t value_max;
        uint64_t limit, actual; /* 0: taken */
    } rows[] = {
        {LIMIT_BATCH_WRITES, 4, 1, 100, 0, 0},
        {LIMIT_BATCH_WRITES + 1, 4, 1, 100, LIMIT_BATCH_WRITES, LIMIT_BATCH_WRITES + 1},
        {5000, 4, 1, 100, LIMIT_BATCH_WRITES, 5000},
        {2, LIMIT_KEY_BYTES, 1, 100, 0, 0},
        {2, LIMIT_KEY_BYTES + 1, 1, 100, LIMIT_KEY_BYTES, LIMIT_KEY_BYTES + 1},
        {3, 1, 100, 100, 0, 0},
        {3, 1, 101, 100, 100, 101},
        {512, 8, 4088, 5000, 0, 0},
        {512, 8, 4089, 5000, LIMIT_BATCH_BYTES, LIMIT_BATCH_BYTES + 512},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct api_error e;
        struct buf writes;
        uint32_t count;
        char *body = many(rows[i].count, rows[i].key_len, rows[i].value_len);
        int rc = api_batch_decode(slice_str(body), rows[i].value_max, &writes, &count, &e);
        is_i64(rc, rows[i].limit ? ERR_TOO_LARGE : 0, "%u writes of %zu and %zu bytes",
               rows[i].count, rows[i].key_len, rows[i].value_len);
        is_u64(e.limit, rows[i].limit, "limit");
        is_u64(e.actual, rows[i].actual, "actual");
        if (rc == 0)
            buf_release(&writes);
        mem_free(body);
    }
}

static void test_line(void)
{
    struct err err = {0};
    is_i64(api_batch_op_check(slice_str(P("a", "1")), &err), 0, "a put");
    is_i64(api_batch_op_check(slice_str(D("a")), &err), 0, "a delete");
    is_i64(api_batch_op_check(slice_str(D("a") "," D("b")), &err), ERR_BAD_REQUEST, "two");
    has_str(err.text, "something stands behind", "is told");
    is_i64(api_batch_op_check(slice_str("{\"op\":\"put\",\"key\":\"a\"}"), &err), ERR_BAD_REQUEST,
           "a put of nothing");
    is_str(err.text, "member 'value' is missing", "is told");
}

static void test_reply(void)
{
    struct api_error e;
    struct buf writes, out;
    struct api_batch_reply reply;
    struct apply_result r = {.version = 7, .timestamp_ms = 8, .batch_existed = {4}};
    uint32_t count;
    buf_init(&out, 1000);
    must(api_batch_decode(slice_str(OPS(D("c") "," P("a", "") "," D("b"))), VALUE_MAX, &writes,
                          &count, &e) == 0);
    is_i64(api_batch_reply_encode(slice_of(writes.data, writes.len), &r, &out), 0, "a reply");
    is_str(
        (const char *)out.data,
        "{\"version\":7,\"timestamp\":8,\"puts\":1,\"deletes\":[{\"key\":\"b\",\"deleted\":false},"
        "{\"key\":\"c\",\"deleted\":true}]}",
        "its text");
    is_i64(api_batch_reply_decode(slice_of(out.data, out.len), &reply, NULL), 0, "is read");
    ok(reply.version == 7 && reply.timestamp_ms == 8 && reply.puts == 1 && reply.deletes == 2 &&
           reply.deleted == 1,
       "as it was written");
    is_i64(api_batch_reply_decode(slice_str("{\"version\":7}"), &reply, NULL), ERR_BAD_REQUEST,
           "less is refused");
    buf_release(&writes);
    buf_release(&out);
}

/* Whatever comes is refused, or a batch as a command bears it. */
static void test_random(void)
{
    static const char base[] =
        OPS(P("a\\n", "1") ",{\"op\":\"put\",\"key_base64\":\"YWI=\",\"value_base64"
                           "\":\"AAAA\"}," D("c"));
    struct prng p;
    size_t taken = 0, rounds = 30000;
    bool good = true;
    prng_seed(&p, test_seed());
    for (size_t round = 0; round < rounds; round++) {
        size_t len = sizeof(base) - 1;
        char *body = mem_dup(base, len);
        for (uint64_t n = prng_below(&p, 4); n > 0; n--)
            body[prng_below(&p, len)] =
                prng_chance(&p, 1, 2) ? base[prng_below(&p, len)] : (char)prng_next(&p);
        struct buf writes;
        uint32_t count;
        struct api_error e;
        int rc = api_batch_decode(slice_of(body, len), VALUE_MAX, &writes, &count, &e);
        good = good && (rc == 0 ? e.code == 0 : rc == e.code && e.message[0] != '\0');
        if (rc == 0) {
            struct command c = {.op = COMMAND_BATCH,
                                .write_count = count,
                                .writes = slice_of(writes.data, writes.len)};
            uint8_t *bytes = mem_alloc(command_encoded_bytes(&c));
            command_encode(&c, bytes); /* asserts that it is one */
            mem_free(bytes);
            buf_release(&writes);
            taken++;
        }
        mem_free(body);
    }
    ok(good, "%zu random bodies are refused in words, or batches (%zu were)", rounds, taken);
    ok(taken > rounds / 20 && taken < rounds - rounds / 20, "both happened");
}

int main(void)
{
    test_good();
    test_bad();
    test_limits();
    test_line();
    test_reply();
    test_random();
    return done();
}
