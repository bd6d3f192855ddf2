/* The client API's JSON: golden texts, round trips, and what is refused. */
#include "lib/json/api.h"

#include <stdio.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/base/prng.h"
#include "tests/unit/tap.h"

static const uint64_t integer_max = (UINT64_C(1) << 53) - 1;

static struct buf text; /* of the encoder under test */

static struct buf *fresh(void)
{
    buf_clear(&text);
    return &text;
}

static struct slice written(void)
{
    return slice_of(text.data, text.len);
}

#define is_text(want, ...) is_str((const char *)text.data, (want), __VA_ARGS__)

/* ---- strings ---- */

static void test_quote(void)
{
    static const struct {
        const char *bytes;
        size_t len;
        const char *want; /* NULL: refused */
    } rows[] = {
        {"", 0, "\"\""},
        {"plain", 5, "\"plain\""},
        {"a\"b\\c/d", 7, "\"a\\\"b\\\\c/d\""},
        {"\b\t\n\f\r", 5, "\"\\b\\t\\n\\f\\r\""},
        {"a\0b", 3, "\"a\\u0000b\""},
        {"\x01\x1f\x7f", 3, "\"\\u0001\\u001f\x7f\""},
        {"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 9, "\"é€😀\""},
        {"\xff", 1, NULL},
        {"\xc0\x80", 2, NULL},         /* overlong NUL */
        {"\xed\xa0\x80", 3, NULL},     /* a surrogate */
        {"\xf4\x90\x80\x80", 4, NULL}, /* above U+10FFFF */
        {"ab\xe2\x82", 4, NULL},       /* cut */
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int rc = json_quote(slice_of(rows[i].bytes, rows[i].len), fresh());
        is_i64(rc, rows[i].want ? 0 : ERR_BAD_REQUEST, "quote (%zu)", i);
        is_text(rows[i].want ? rows[i].want : "", "… text");
    }
    must(json_bytes_member("value", slice_of("\xff\x00", 2), fresh()) == 0);
    is_text("\"value_base64\":\"/wA=\"", "bytes that are no text");
    must(json_bytes_member("value", slice_of(NULL, 0), fresh()) == 0);
    is_text("\"value\":\"\"", "no bytes are text");

    struct buf small;
    buf_init(&small, 6);
    is_i64(json_quote(slice_str("hello"), &small), ERR_TOO_LARGE, "over the buffer's maximum");
    is_i64(json_bytes_member("v", slice_of("\xff\xff\xff\xff", 4), &small), ERR_TOO_LARGE,
           "… in base64 too");
    buf_release(&small);
}

/* ---- errors ---- */

static void test_error(void)
{
    struct api_error e = {.code = ERR_NO_LEADER,
                          .message = "no \"leader\"\tnow",
                          .outcome = OUTCOME_NOT_APPLIED,
                          .retryable = true};
    struct api_error back;
    struct err err = {0};
    must(api_error_encode(&e, fresh()) == 0);
    is_text("{\"error\":{\"code\":\"no_leader\",\"message\":\"no \\\"leader\\\"\\tnow\","
            "\"outcome\":\"not_applied\",\"retryable\":true}}",
            "an error of a write");
    must(api_error_decode(written(), &back, &err) == 0);
    ok(back.code == ERR_NO_LEADER && back.outcome == OUTCOME_NOT_APPLIED && back.retryable &&
           !back.has_version && !back.has_limit && back.retry_after_ms == 0 &&
           strcmp(back.message, e.message) == 0,
       "… read back");

    e = (struct api_error){.code = ERR_PRECONDITION_FAILED,
                           .message = "m",
                           .outcome = OUTCOME_NOT_APPLIED,
                           .has_version = true};
    must(api_error_encode(&e, fresh()) == 0);
    is_text("{\"error\":{\"code\":\"precondition_failed\",\"message\":\"m\",\"outcome\":"
            "\"not_applied\",\"retryable\":false,\"version\":0}}",
            "a condition that did not hold, on a key that is absent");
    must(api_error_decode(written(), &back, &err) == 0);
    ok(back.has_version && back.version == 0, "… read back");

    e = (struct api_error){.code = ERR_TOO_LARGE,
                           .message = "m",
                           .has_limit = true,
                           .limit = 4096,
                           .actual = integer_max};
    must(api_error_encode(&e, fresh()) == 0);
    is_text("{\"error\":{\"code\":\"too_large\",\"message\":\"m\",\"retryable\":false,"
            "\"limit\":4096,\"actual\":9007199254740991}}",
            "over a limit, of a read: no outcome");
    must(api_error_decode(written(), &back, &err) == 0);
    ok(back.outcome == OUTCOME_NONE && back.has_limit && back.limit == 4096 &&
           back.actual == integer_max,
       "… read back");

    e = (struct api_error){.code = ERR_OVERLOADED,
                           .message = "cut \xe2\x82",
                           .outcome = OUTCOME_UNKNOWN,
                           .retry_after_ms = 1500,
                           .has_configuration_index = true,
                           .configuration_index = 7};
    must(api_error_encode(&e, fresh()) == 0);
    is_text("{\"error\":{\"code\":\"overloaded\",\"message\":\"cut \xef\xbf\xbd\xef\xbf\xbd\","
            "\"outcome\":\"unknown\",\"retryable\":false,\"retry_after_ms\":1500,"
            "\"configuration_index\":7}}",
            "a message that is cut inside a character");
    must(api_error_decode(written(), &back, &err) == 0);
    ok(back.retry_after_ms == 1500 && back.has_configuration_index &&
           back.configuration_index == 7 && back.outcome == OUTCOME_UNKNOWN,
       "… read back");
}

static void test_error_codes(void)
{
    bool status = true, round = true;
    for (int code = ERR_BAD_REQUEST; code <= ERR_AGAIN; code++) {
        struct api_error e = {.code = code}, back;
        must(api_error_encode(&e, fresh()) == 0);
        must(api_error_decode(written(), &back, NULL) == 0);
        status = status && err_http_status(back.code) == err_http_status(code);
        round = round && (back.code == code || code > ERR_DISK_FULL) && back.code <= ERR_DISK_FULL;
    }
    ok(round, "each code is read back; those that are ours alone stand for a public one");
    ok(status, "… of the same HTTP status");

    struct api_error back;
    must(api_error_decode(slice_str("{\"more\":[],\"error\":{\"code\":\"brand_new\",\"message\":"
                                    "\"m\",\"outcome\":\"maybe\",\"new\":{\"x\":1}}}"),
                          &back, NULL) == 0);
    is_i64(back.code, ERR_INTERNAL, "a code of a newer node");
    is_i64(back.outcome, OUTCOME_UNKNOWN, "an outcome of a newer node promises nothing");
    static const struct {
        const char *body, *named;
    } bad[] = {
        {"", "empty"},
        {"null", "bad JSON"},
        {"{}", "'error' is missing"},
        {"{\"error\":null}", "'error'"},
        {"{\"error\":{\"code\":1,\"message\":\"\"}}", "'error.code'"},
        {"{\"error\":{\"code\":\"internal\"}}", "'error.message' is missing"},
        {"{\"error\":{\"code\":\"internal\",\"message\":\"\",\"version\":-1}}", "'error.version'"},
        {"<html>", "bad JSON"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct err err = {0};
        is_i64(api_error_decode(slice_str(bad[i].body), &back, &err), ERR_BAD_REQUEST,
               "no error of ours: %s", bad[i].body);
        has_str(err.text, bad[i].named, "… says why");
    }
}

/* ---- items ---- */

static void test_item(void)
{
    struct row row = {slice_str("a"), slice_str("1"), 42, 1790000000123};
    must(api_item_encode(&row, true, fresh()) == 0);
    is_text("{\"key\":\"a\",\"value\":\"1\",\"version\":42,\"timestamp\":1790000000123}", "GET");
    must(api_item_encode(&row, false, fresh()) == 0);
    is_text("{\"key\":\"a\",\"version\":42,\"timestamp\":1790000000123}", "PUT");
    must(api_deleted_encode(row.key, true, 43, fresh()) == 0);
    is_text("{\"key\":\"a\",\"deleted\":true,\"version\":43}", "DELETE");
    row = (struct row){slice_of("a\0b", 3), slice_of("\x80", 1), 0, 0};
    must(api_item_encode(&row, true, fresh()) == 0);
    is_text("{\"key\":\"a\\u0000b\",\"value_base64\":\"gA==\",\"version\":0,\"timestamp\":0}",
            "a NUL is text, 0x80 is not");
    row.version = integer_max + 1;
    is_i64(api_item_encode(&row, true, fresh()), ERR_INTERNAL, "an integer over 2^53 - 1");
    must(api_deleted_encode(slice_of("\xfe", 1), false, 1, fresh()) == 0);
    is_text("{\"key_base64\":\"/g==\",\"deleted\":false,\"version\":1}", "a key that is no text");
}

static void test_item_round_trip(struct prng *p)
{
    bool held = true;
    for (int round = 0; round < 5000 && held; round++) {
        uint8_t key[LIMIT_KEY_BYTES], value[600];
        size_t key_len = 1 + prng_below(p, prng_chance(p, 1, 50) ? sizeof(key) : 20);
        size_t value_len = prng_below(p, sizeof(value));
        prng_fill(p, key, key_len);
        prng_fill(p, value, value_len);
        for (size_t i = 0; i < key_len && round % 2; i++)
            key[i] &= 0x7f;
        for (size_t i = 0; i < value_len && round % 3; i++)
            value[i] &= 0x7f;
        struct row row = {slice_of(key, key_len), slice_of(value, value_len),
                          prng_next(p) & integer_max, prng_next(p) & integer_max};
        must(api_item_encode(&row, true, fresh()) == 0);
        struct api_item item;
        struct err err = {0};
        if (api_item_decode(written(), &item, &err) < 0) {
            diag("%s: %s", err.text, (char *)text.data);
            held = false;
            break;
        }
        held = item.has_value && !item.has_deleted && item.version == row.version &&
               item.timestamp_ms == row.timestamp_ms &&
               slice_compare(slice_of(item.key.data, item.key.len), row.key) == 0 &&
               slice_compare(slice_of(item.value.data, item.value.len), row.value) == 0;
        api_item_release(&item);
    }
    ok(held, "any bytes come back");
}

static void test_item_decode(void)
{
    struct api_item item;
    struct err err = {0};
    must(api_item_decode(slice_str(" { \"version\" : 7, \"key_base64\":\"YQ==\", \"new\":[1.5] } "),
                         &item, &err) == 0);
    is_mem(item.key.data, item.key.len, "a", 1, "text may stand as base64, a member may be new");
    ok(!item.has_value && item.version == 7 && item.timestamp_ms == 0, "what is absent is zero");
    api_item_release(&item);
    must(api_item_decode(slice_str("{\"key\":\"\\ud83d\\ude00\\u0000\",\"deleted\":false,"
                                   "\"version\":9007199254740991}"),
                         &item, &err) == 0);
    is_mem(item.key.data, item.key.len, "😀\0", 5, "a pair of surrogates, and U+0000");
    ok(item.has_deleted && !item.deleted && item.version == integer_max, "deleted, 2^53 - 1");
    api_item_release(&item);

    static const struct {
        const char *body, *named;
    } bad[] = {
        {"[]", "object"},
        {"{\"version\":1}", "'key' is missing"},
        {"{\"key\":\"a\"}", "'version' is missing"},
        {"{\"key\":\"a\",\"key_base64\":\"YQ==\",\"version\":1}", "'key' stands beside"},
        {"{\"key_base64\":\"YQ\",\"version\":1}", "'key_base64' must be base64"},
        {"{\"key_base64\":\"YR==\",\"version\":1}", "'key_base64' must be base64"},
        {"{\"key_base64\":\"Y Q=\",\"version\":1}", "'key_base64' must be base64"},
        {"{\"key\":1,\"version\":1}", "'key' must be a string"},
        {"{\"key\":null,\"version\":1}", "'key' must be a string"},
        {"{\"key\":\"a\",\"value\":null,\"version\":1}", "'value' must be a string"},
        {"{\"key\":\"a\",\"version\":9007199254740992}", "'version' must be a whole"},
        {"{\"key\":\"a\",\"version\":-1}", "'version' must be a whole"},
        {"{\"key\":\"a\",\"version\":1.0}", "'version' must be a whole"},
        {"{\"key\":\"a\",\"version\":1e2}", "'version' must be a whole"},
        {"{\"key\":\"a\",\"version\":\"1\"}", "'version' must be a whole"},
        {"{\"key\":\"a\",\"version\":99999999999999999999}", "'version' must be a whole"},
        {"{\"key\":\"a\",\"version\":1e999}", "'version' must be a whole"},
        {"{\"key\":\"a\",\"version\" : -99999999999999999999 }", "'version' must be a whole"},
        {"{\"key\":\"a\",\"version\":01}", "bad JSON"},
        {"{\"key\":\"a\",\"version\":1,\"version\":1}", "duplicate"},
        {"{\"key\":\"\xff\",\"version\":1}", "bad JSON"},
        {"{\"key\":\"\\ud800\",\"version\":1}", "bad JSON"},
        {"{\"key\":\"a\x01\",\"version\":1}", "bad JSON"},
        {"{\"key\":\"a\",\"version\":1}}", "bad JSON"},
        {"{\"key\":\"a\",\"version\":1,}", "bad JSON"},
        {"{'key':\"a\",\"version\":1}", "bad JSON"},
        {"{\"key\":\"a\",\"version\":1,\"deleted\":0}", "'deleted' must be true"},
        {"{\"a\\u0000\":1}", "bad JSON"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        err = (struct err){0};
        is_i64(api_item_decode(slice_str(bad[i].body), &item, &err), ERR_BAD_REQUEST, "refused: %s",
               bad[i].body);
        has_str(err.text, bad[i].named, "… says why");
    }
    must(buf_append_str(fresh(), "{\"version\":1,\"key\":\"") == 0);
    for (int i = 0; i <= LIMIT_KEY_BYTES; i++)
        must(buf_append_byte(&text, 'k') == 0);
    must(buf_append_str(&text, "\"}") == 0);
    is_i64(api_item_decode(written(), &item, &err), ERR_BAD_REQUEST, "a key of 4097 bytes");
    has_str(err.text, "'key' is longer than 4096 bytes", "… says why");
    is_i64(api_item_decode(slice_of("{\"key\":\"a\",\"version\":1}\0", 24), &item, &err),
           ERR_BAD_REQUEST, "a NUL behind it");
}

static void test_depth(void)
{
    struct api_item item;
    struct err err = {0};
    for (int depth = LIMIT_JSON_DEPTH - 1; depth <= LIMIT_JSON_DEPTH; depth++) {
        must(buf_append_str(fresh(), "{\"key\":\"[[[[[[[[[[[[[[[[[[\\\"{\",\"version\":1,\"x\":") ==
             0);
        for (int i = 0; i < depth; i++)
            must(buf_append_byte(&text, '[') == 0);
        for (int i = 0; i < depth; i++)
            must(buf_append_byte(&text, ']') == 0);
        must(buf_append_byte(&text, '}') == 0);
        int rc = api_item_decode(written(), &item, &err);
        is_i64(rc, depth < LIMIT_JSON_DEPTH ? 0 : ERR_BAD_REQUEST, "depth %d", depth + 1);
        if (rc == 0)
            api_item_release(&item);
    }
    has_str(err.text, "nested deeper than 16", "… says why");
    fresh();
    for (int i = 0; i < 500000; i++)
        must(buf_append_byte(&text, i % 2 ? '[' : '{') == 0);
    is_i64(api_item_decode(written(), &item, &err), ERR_BAD_REQUEST, "half a million brackets");
}

/* ---- pages ---- */

static void test_page(void)
{
    struct row a = {slice_str("a"), slice_str("1"), 1, 2};
    struct row b = {slice_of("\xff", 1), slice_of(NULL, 0), 3, 4};
    must(api_page_begin(fresh()) == 0 && api_page_end(&text, NULL, 9) == 0);
    is_text("{\"items\":[],\"next\":null,\"index\":9}", "an empty page");
    must(api_page_begin(fresh()) == 0 && api_page_row(&text, &a, false, true) == 0 &&
         api_page_row(&text, &b, false, false) == 0 && api_page_end(&text, "AQ-_", 9) == 0);
    is_text("{\"items\":[{\"key\":\"a\",\"value\":\"1\",\"version\":1,\"timestamp\":2},"
            "{\"key_base64\":\"/w==\",\"value\":\"\",\"version\":3,\"timestamp\":4}],"
            "\"next\":\"AQ-_\",\"index\":9}",
            "a page of two with a next one");
    struct api_page page;
    struct err err = {0};
    must(api_page_decode(written(), &page, &err) == 0);
    is_u64(page.count, 2, "read back");
    is_mem(page.items[1].key.data, page.items[1].key.len, "\xff", 1, "… with its keys");
    ok(page.items[1].has_value && page.items[1].value.len == 0, "… and an empty value");
    is_str(page.next, "AQ-_", "… and cursor");
    is_u64(page.index, 9, "… and index");
    api_page_release(&page);
    must(api_page_begin(fresh()) == 0 && api_page_row(&text, &a, true, true) == 0 &&
         api_page_end(&text, NULL, 9) == 0);
    is_text("{\"items\":[{\"key\":\"a\",\"version\":1,\"timestamp\":2}],\"next\":null,\"index\":9}",
            "keys only");
    must(api_page_decode(written(), &page, &err) == 0);
    ok(page.count == 1 && !page.items[0].has_value && !page.next, "… read back");
    api_page_release(&page);

    static const struct {
        const char *body, *named;
    } bad[] = {
        {"{\"next\":null,\"index\":1}", "'items' is missing"},
        {"{\"items\":{},\"next\":null,\"index\":1}", "'items' must be an array"},
        {"{\"items\":[1],\"next\":null,\"index\":1}", "'items[0]' must be an object"},
        {"{\"items\":[{\"key\":\"a\",\"version\":1},{\"key\":\"b\"}],\"next\":null,\"index\":1}",
         "'items[1].version' is missing"},
        {"{\"items\":[],\"index\":1}", "'next' is missing"},
        {"{\"items\":[],\"next\":5,\"index\":1}", "'next' must be"},
        {"{\"items\":[],\"next\":null}", "'index' is missing"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        is_i64(api_page_decode(slice_str(bad[i].body), &page, &err), ERR_BAD_REQUEST, "refused: %s",
               bad[i].body);
        has_str(err.text, bad[i].named, "… says why");
    }
}

/* ---- status, members, node ---- */

static struct api_status sample_status(void)
{
    return (struct api_status){
        .has_cluster = true,
        .cluster = {.hi = 0x9f, .lo = 1},
        .leader = "node1",
        .term = 3,
        .commit = 812,
        .applied = 811,
        .fault_tolerance = 1,
        .member_count = 2,
        .members = {{.name = "node1",
                     .id = 0x51,
                     .url = "http://127.0.0.1:5001",
                     .role = "voter",
                     .state = "leader",
                     .match = 812,
                     .last_contact_ms = 0,
                     .reachable = true},
                    {.name = "n2",
                     .id = UINT64_MAX,
                     .url = "http://[::1]:5002",
                     .role = "learner",
                     .state = "unknown",
                     .last_contact_ms = -1}},
        .configuration_index = 7,
    };
}

#define MEMBERS                                                                                    \
    "\"members\":[{\"name\":\"node1\",\"id\":\"0000000000000051\",\"url\":"                        \
    "\"http://127.0.0.1:5001\",\"role\":\"voter\",\"state\":\"leader\",\"match\":812,"             \
    "\"last_contact_ms\":0,\"reachable\":true},{\"name\":\"n2\",\"id\":\"ffffffffffffffff\","      \
    "\"url\":\"http://[::1]:5002\",\"role\":\"learner\",\"state\":\"unknown\",\"match\":0,"        \
    "\"last_contact_ms\":null,\"reachable\":false}]"

static bool members_equal(const struct api_status *a, const struct api_status *b)
{
    bool equal = a->member_count == b->member_count;
    for (uint32_t i = 0; equal && i < a->member_count; i++) {
        const struct api_member *x = &a->members[i], *y = &b->members[i];
        equal = strcmp(x->name, y->name) == 0 && x->id == y->id && strcmp(x->url, y->url) == 0 &&
                strcmp(x->role, y->role) == 0 && strcmp(x->state, y->state) == 0 &&
                x->match == y->match && x->last_contact_ms == y->last_contact_ms &&
                x->reachable == y->reachable;
    }
    return equal;
}

static void test_status(void)
{
    struct api_status s = sample_status(), back;
    struct err err = {0};
    must(api_status_encode(&s, fresh()) == 0);
    is_text("{\"cluster\":\"000000000000009f0000000000000001\",\"leader\":\"node1\",\"term\":3,"
            "\"index\":{\"commit\":812,\"applied\":811},\"fault_tolerance\":1," MEMBERS
            ",\"change\":null}",
            "status");
    must(api_status_decode(written(), &back, &err) == 0);
    ok(members_equal(&s, &back) && back.has_cluster && digest_equal(back.cluster, s.cluster) &&
           strcmp(back.leader, "node1") == 0 && back.term == 3 && back.commit == 812 &&
           back.applied == 811 && back.fault_tolerance == 1 && !back.change.kind,
       "… read back");

    s.has_cluster = false;
    s.leader[0] = '\0';
    s.change = (struct api_change){.kind = "replace", .phase = "catching_up", .id = 0xab};
    must(api_members_encode(&s, fresh()) == 0);
    is_text("{" MEMBERS ",\"configuration_index\":7,\"change\":{\"kind\":\"replace\","
            "\"phase\":\"catching_up\",\"id\":\"00000000000000ab\"}}",
            "members");
    must(api_status_decode(written(), &back, &err) == 0);
    ok(members_equal(&s, &back) && back.configuration_index == 7 && !back.has_cluster &&
           strcmp(back.change.kind, "replace") == 0 &&
           strcmp(back.change.phase, "catching_up") == 0 && back.change.id == 0xab,
       "… read back");
    s.member_count = 0;
    must(api_status_encode(&s, fresh()) == 0);
    is_text("{\"cluster\":null,\"leader\":null,\"term\":3,\"index\":{\"commit\":812,"
            "\"applied\":811},\"fault_tolerance\":1,\"members\":[],\"change\":{\"kind\":"
            "\"replace\",\"phase\":\"catching_up\",\"id\":\"00000000000000ab\"}}",
            "status before there is a cluster");
    must(api_status_decode(written(), &back, &err) == 0);
    ok(!back.has_cluster && !back.leader[0] && back.member_count == 0, "… read back");

    must(api_status_decode(
             slice_str("{\"members\":[{\"name\":\"a\",\"id\":\"0000000000000001\",\"url\":\"u\","
                       "\"role\":\"witness\",\"state\":\"new\",\"match\":1,\"reachable\":true,"
                       "\"last_contact_ms\":5,\"more\":0}],\"change\":{\"kind\":\"split\","
                       "\"phase\":\"x\"}}"),
             &back, &err) == 0);
    is_str(back.members[0].role, "unknown", "a role of a newer node");
    is_str(back.members[0].state, "unknown", "a state of a newer node");
    is_str(back.change.kind, "unknown", "a change of a newer node is a change");

    static const struct {
        const char *body, *named;
    } bad[] = {
        {"{}", "'members' is missing"},
        {"{\"members\":[{\"name\":\"a b\"}]}", "'members[0].name'"},
        {"{\"members\":[{\"name\":\"a\",\"id\":\"1\"}]}", "'members[0].id' must be 16 hex"},
        {"{\"members\":[],\"index\":7}", "'index' must be an object"},
        {"{\"members\":[],\"index\":{\"commit\":1}}", "'index.applied' is missing"},
        {"{\"members\":[],\"fault_tolerance\":100}", "'fault_tolerance'"},
        {"{\"members\":[],\"cluster\":\"1\"}", "'cluster' must be 32 hex"},
        {"{\"members\":[],\"leader\":\"a\\u0000b\"}", "'leader' must not hold a NUL"},
        {"{\"members\":[],\"change\":{}}", "'change.kind' is missing"},
        {"{\"members\":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]}", "'members' has more than 16"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        is_i64(api_status_decode(slice_str(bad[i].body), &back, &err), ERR_BAD_REQUEST,
               "refused: %s", bad[i].body);
        has_str(err.text, bad[i].named, "… says why");
    }
}

static void test_node(void)
{
    struct api_node n = {.name = "node1",
                         .id = 0x51,
                         .version = "0.1.0",
                         .state = "leader",
                         .leader = "node1",
                         .term = 3,
                         .ready = true,
                         .uptime_ms = 5123,
                         .last = 812,
                         .commit = 811,
                         .applied = 810,
                         .snapshot = 5,
                         .first = 6,
                         .digest_index = 700,
                         .digest = {.hi = 1, .lo = 2},
                         .log_bytes = 11,
                         .kv_bytes = 12,
                         .wal_bytes = 13,
                         .disk_free = 14,
                         .log_entries = 15,
                         .keys = 40};
    must(api_node_encode(&n, fresh()) == 0);
    is_text("{\"name\":\"node1\",\"id\":\"0000000000000051\",\"version\":\"0.1.0\",\"state\":"
            "\"leader\",\"leader\":\"node1\",\"term\":3,\"ready\":true,\"uptime_ms\":5123,"
            "\"index\":{\"last\":812,\"commit\":811,\"applied\":810,\"snapshot\":5,\"first\":6},"
            "\"digest\":{\"index\":700,\"value\":\"00000000000000010000000000000002\"},"
            "\"storage\":{\"log_bytes\":11,\"kv_bytes\":12,\"wal_bytes\":13,\"disk_free\":14,"
            "\"log_entries\":15,\"keys\":40}}",
            "node");
    struct api_node back;
    struct err err = {0};
    must(api_node_decode(written(), &back, &err) == 0);
    ok(back.version == NULL && strcmp(back.name, n.name) == 0 && back.id == n.id &&
           strcmp(back.state, n.state) == 0 && strcmp(back.leader, n.leader) == 0 &&
           back.term == n.term && back.ready && back.uptime_ms == n.uptime_ms &&
           back.last == n.last && back.commit == n.commit && back.applied == n.applied &&
           back.snapshot == n.snapshot && back.first == n.first,
       "and back");
    ok(back.digest_index == n.digest_index && digest_equal(back.digest, n.digest) &&
           back.log_bytes == n.log_bytes && back.kv_bytes == n.kv_bytes &&
           back.wal_bytes == n.wal_bytes && back.disk_free == n.disk_free &&
           back.log_entries == n.log_entries && back.keys == n.keys,
       "its digest and its figures too");
    n.leader[0] = '\0';
    must(api_node_encode(&n, fresh()) == 0);
    ok(api_node_decode(written(), &back, &err) == 0 && !back.leader[0], "without a leader");
    is_i64(api_node_decode(slice_str("{\"name\":\"node1\"}"), &back, &err), ERR_BAD_REQUEST,
           "half a node");
    n.keys = integer_max + 1;
    is_i64(api_node_encode(&n, fresh()), ERR_INTERNAL, "a figure over 2^53 - 1");
}

/* ---- requests ---- */

static void test_requests(void)
{
    struct api_member_request r = {"n2", "http://h:1", true}, back;
    struct err err = {0};
    must(api_member_request_encode(&r, true, fresh()) == 0);
    is_text("{\"name\":\"n2\",\"url\":\"http://h:1\",\"auto_promote\":true}", "add");
    must(api_member_request_decode(written(), true, &back, &err) == 0);
    ok(strcmp(back.name, "n2") == 0 && strcmp(back.url, "http://h:1") == 0 && back.auto_promote,
       "… read back");
    must(api_member_request_encode(&r, false, fresh()) == 0);
    is_text("{\"name\":\"n2\",\"url\":\"http://h:1\"}", "replace");
    must(api_member_request_decode(written(), true, &back, &err) == 0);
    ok(back.auto_promote, "promoted by itself unless said otherwise");
    must(api_member_request_decode(
             slice_str("{\"auto_promote\":false,\"url\":\"http://h:1\",\"name\":\"x\"}"), true,
             &back, &err) == 0);
    ok(!back.auto_promote, "… as here");

    static const struct {
        const char *body, *named;
    } bad[] = {
        {"{\"name\":\"x\",\"url\":\"http://h:1\",\"auto_promote\":true}", "'auto_promote' is not"},
        {"{\"name\":\"x\",\"url\":\"http://h:1\",\"Name\":\"y\"}", "'Name' is not known"},
        {"{\"url\":\"http://h:1\"}", "'name' is missing"},
        {"{\"name\":\"x\"}", "'url' is missing"},
        {"{\"name\":\"\",\"url\":\"http://h:1\"}", "'name' must be"},
        {"{\"name\":\"a/b\",\"url\":\"http://h:1\"}", "'name' must be"},
        {"{\"name\":\"x\",\"url\":\"\"}", "'url' must be"},
        {"{\"name\":\"x\",\"url\":\"http://h\\n\"}", "'url' must be"},
        {"{\"name\":\"x\",\"url\":\"http://h\\u0000\"}", "'url' must not hold a NUL"},
        {"", "empty"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        is_i64(api_member_request_decode(slice_str(bad[i].body), false, &back, &err),
               ERR_BAD_REQUEST, "refused: %s", bad[i].body);
        has_str(err.text, bad[i].named, "… says why");
    }
    char longer[400] = "{\"name\":\"";
    memset(longer + 9, 'n', 65);
    memcpy(longer + 74, "\",\"url\":\"h\"}", 13);
    is_i64(api_member_request_decode(slice_str(longer), false, &back, &err), ERR_BAD_REQUEST,
           "a name of 65 bytes");
    has_str(err.text, "'name' is longer than 64", "… says why");

    struct api_leader_request to = {"kept"};
    is_i64(api_leader_request_decode(slice_str("{\"to\":5}"), &to, &err), ERR_BAD_REQUEST,
           "a number is no member");
    is_i64(api_leader_request_decode(slice_str("{\"too\":\"n\"}"), &to, &err), ERR_BAD_REQUEST,
           "a member that is misspelt");
    is_str(to.to, "kept", "an error leaves the result alone");
    must(api_leader_request_decode(slice_str("{\"to\":\"node2\"}"), &to, &err) == 0);
    is_str(to.to, "node2", "transfer to a member");
    must(api_leader_request_decode(slice_str("{}"), &to, &err) == 0);
    is_str(to.to, "", "transfer to the best");
    must(api_leader_request_decode(slice_str(""), &to, &err) == 0);
    is_str(to.to, "", "… without a body too");

    is_i64(api_empty_request_decode(slice_str(""), &err), 0, "nothing, where nothing is asked");
    is_i64(api_empty_request_decode(slice_str(" {} "), &err), 0, "an empty object is nothing");
    is_i64(api_empty_request_decode(slice_str("{\"to\":\"n\"}"), &err), ERR_BAD_REQUEST,
           "a member is refused");
    has_str(err.text, "'to' is not known", "… by name");
    is_i64(api_empty_request_decode(slice_str("{"), &err), ERR_BAD_REQUEST,
           "… and what is no JSON");
    is_i64(api_empty_request_decode(slice_str("[]"), &err), ERR_BAD_REQUEST, "… and no object");
}

/* ---- flat objects ---- */

static int collect(void *argument, const char *name, const char *value, struct err *err)
{
    if (strcmp(name, "stop") == 0)
        return err_set(err, ERR_USAGE, "stopped");
    return buf_printf(argument, "%s=%s;", name, value);
}

static void test_flat(void)
{
    struct err err = {0};
    is_i64(json_flat_object(slice_str("{\"s\":\"x y\",\"n\":-5,\"big\":9007199254740993,\"r\":0.5,"
                                      "\"t\":true,\"f\":false,\"\":\"\"}"),
                            collect, fresh(), &err),
           0, "a flat object");
    is_text("s=x y;n=-5;big=9007199254740993;r=0.5;t=true;f=false;=;", "in its order");
    is_i64(json_flat_object(slice_str("{\"a\":1,\"stop\":1,\"b\":1}"), collect, fresh(), &err),
           ERR_USAGE, "the visitor ends it");
    is_text("a=1;", "… at once");
    static const struct {
        const char *body, *named;
    } bad[] = {{"{\"a\":null}", "'a'"}, {"{\"a\":[]}", "'a'"},
               {"{\"a\":{}}", "'a'"},   {"{\"a\":\"x\\u0000\"}", "'a' must not hold a NUL"},
               {"[1]", "object"},       {"{\"a\":1,\"a\":2}", "duplicate"}};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        is_i64(json_flat_object(slice_str(bad[i].body), collect, fresh(), &err), ERR_BAD_REQUEST,
               "refused: %s", bad[i].body);
        has_str(err.text, bad[i].named, "… says why");
    }
}

int main(void)
{
    struct prng p;
    prng_seed(&p, test_seed());
    buf_init(&text, 1 << 20);
    test_quote();
    test_error();
    test_error_codes();
    test_item();
    test_item_round_trip(&p);
    test_item_decode();
    test_depth();
    test_page();
    test_status();
    test_node();
    test_requests();
    test_flat();
    buf_release(&text);
    return done();
}
