/* Recorded histories as text: what is read from each format, and what is refused with which words.
 * The files of tests/histories are read by tests/e2e/check_history.bats. */
#include "lib/history/parse.h"

#include <stdio.h>
#include <string.h>

#include "lib/base/prng.h"
#include "lib/history/proof.h"
#include "tests/support/cases.h"

static struct history h;
static struct history_parser parser;

/* In pieces of `step` bytes, as a file comes; the result of the last. */
static int parse_in_steps(const void *text, size_t len, size_t step, struct err *err)
{
    size_t from = 0, to = 0, used = 0;
    history_init(&h);
    history_parser_init(&parser, &h, "x", HISTORY_AUTO);
    int code = 0;
    while (code == 0) {
        bool last = to == len;
        code = history_parse(&parser, slice_of((const uint8_t *)text + from, to - from), last,
                             &used, err);
        from += used;
        if (last)
            break;
        to = len - to > step ? to + step : len;
    }
    history_parser_release(&parser);
    return code;
}

static int parse(const char *text, struct err *err)
{
    return parse_in_steps(text, strlen(text), SIZE_MAX / 2, err);
}

static void check_operation(uint32_t which, const char *want)
{
    struct buf text;
    buf_init(&text, 4096);
    REQUIRE(which < h.count);
    history_operation_text(&h, &h.operations[which], &text);
    if (strcmp((const char *)text.data, want) != 0)
        case_fail("operation %u: got %s, want %s", which, (const char *)text.data, want);
    buf_release(&text);
}

struct row {
    const char *text, *want; /* want: of the last operation, or the complaint */
};

#define IN "{\"process\":1,\"type\":\"invoke\",\"op\":"
#define OK "{\"process\":1,\"type\":\"ok\""

static void reads_json(void)
{
    static const struct row rows[] = {
        {IN "\"put\",\"key\":\"k\",\"value\":\"v\"}\n" OK ",\"version\":7}\n",
         "put \"k\" \"v\", version 7"},
        {IN "\"get\",\"key\":\"k\"}\n" OK ",\"op\":\"get\",\"value\":null,\"index\":4}",
         "get \"k\" -> absent, index 4"},
        {IN "\"get\",\"key\":\"k\"}\n" OK ",\"value\":\"\"}", "get \"k\" -> \"\""},
        {IN "\"delete\",\"key\":\"k\"}\n" OK ",\"deleted\":true}", "delete \"k\" -> was there"},
        {IN "\"delete\",\"key\":\"k\"}\n" OK ",\"deleted\":false}", "delete \"k\" -> was absent"},
        {IN "\"cas\",\"key\":\"k\",\"expect\":null,\"value\":\"v\"}",
         "cas \"k\" from absent to \"v\", outcome unknown"},
        {IN "\"append\",\"key\":\"k\",\"value\":\"v\"}\n{\"process\":1,\"type\":\"info\"}",
         "append \"k\" \"v\", outcome unknown"},
        {IN "\"scan\",\"prefix\":\"a\"}\n" OK
            ",\"items\":[{\"key\":\"ab\",\"value\":\"1\",\"version\":3}],\"index\":9}",
         "scan \"a\" -> {\"ab\": \"1\"}, index 9"},
        {IN "\"batch\",\"ops\":[{\"op\":\"put\",\"key\":\"a\",\"value\":\"1\"},"
            "{\"op\":\"delete\",\"key\":\"b\"}]}",
         "batch {\"a\": \"1\", \"b\": absent}, outcome unknown"},
        {IN "\"put\",\"key_base64\":\"AP8=\",\"value_base64\":\"\"}",
         "put \"\\x00\\xff\" \"\", outcome unknown"},
        {IN "\"put\",\"key\":\"\\u00e9\\ud83d\\ude00\",\"value\":\"\\n\\\"\\\\\"}",
         "put \"\\xc3\\xa9\\xf0\\x9f\\x98\\x80\" \"\\x0a\\\"\\\\\", outcome unknown"},
        {"\n \n" IN
         "\"put\",\"key\":\"k\",\"value\":\"v\",\"more\":[{\"x\":[1.5e3,true]},null]}\r\n",
         "put \"k\" \"v\", outcome unknown"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct err err = {.text = ""};
        case_row("row %zu", i);
        if (!CHECK_EQ(parse(rows[i].text, &err), 0))
            case_fail("%s", err.text);
        else
            check_operation(h.count - 1, rows[i].want);
        history_release(&h);
    }
    case_row_done();
}

static void reads_edn_and_logs(void)
{
    static const struct row rows[] = {
        {"INFO  jepsen.util - 0\t:invoke\t:write\t3\nINFO  jepsen.util - 0\t:ok\t:write\t3\n",
         "put \"register\" \"3\""},
        {"INFO  jepsen.util - 0\t:invoke\t:cas\t[3 -1]\nINFO  jepsen.util - 0\t:fail\t:cas\t[3 -1]",
         "failed cas \"register\" -> not \"3\""},
        {"INFO  jepsen.util - 0\t:invoke\t:cas\t[3 0]\nINFO  jepsen.util - 0\t:info\t:cas\t"
         ":timed-out\n",
         "cas \"register\" from \"3\" to \"0\", outcome unknown"},
        {"; a comment\n[{:process 0, :type :invoke, :f :read, :value nil}\n"
         " {:process :nemesis, :type :info, :f :start, :value #{:n1 \"}\"}}\n"
         " {:type :ok :process 0 :f :read :value 4 :time 3 :error [:x {}]}]\n",
         "get \"register\" -> \"4\""},
        {"({:process 0, :type :invoke, :f :cas, :value [1 2]})",
         "cas \"register\" from \"1\" to \"2\", outcome unknown"},
        {"{:process 0, :type :invoke, :f :get, :key \"7\", :value nil}\n"
         "{:process 0, :type :ok, :f :get, :key \"7\", :value \"\"}\n",
         "get \"7\" -> absent"},
        {"{:process 0, :type :invoke, :f :append, :key \"7\", :value \"x \\\"y\"}",
         "append \"7\" \"x \\\"y\", outcome unknown"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (size_t step = 1; step < 100; step += 33) {
            struct err err = {.text = ""};
            case_row("row %zu in steps of %zu", i, step);
            if (!CHECK_EQ(parse_in_steps(rows[i].text, strlen(rows[i].text), step, &err), 0))
                case_fail("%s", err.text);
            else
                check_operation(h.count - 1, rows[i].want);
            history_release(&h);
        }
    }
    case_row_done();
}

#define PUT IN "\"put\",\"key\":\"k\",\"value\":\"v\""

static void refuses(void)
{
    static const struct row rows[] = {
        {"{\"process\":1", "x:1: column 13: the text ends where '}' is wanted behind the members "
                           "(the file ends in this line)"},
        {PUT "}\n" IN "\"put\",\"key\":\"k", "x:2: column 49: the text ends in a string"},
        {"{\"process\":1,}", "x:1: column 14: '\"' is wanted for a string"},
        {"{\"process\":-1}", "whole number from 0 to 4294967294"},
        {"{\"process\":99999999999}", "a number above 4294967294"},
        {"{\"process\":1,\"process\":1}", "'process' stands there twice"},
        {"{\"type\":\"invoke\"}", "'process' is missing"},
        {"{\"process\":1}", "'type' is missing"},
        {"{\"process\":1,\"type\":\"go\"}", "\"type\" is none of"},
        {"{\"process\":1,\"type\":\"invoke\"}", "'op' is missing"},
        {IN "\"frob\"}", "\"op\" is none of"},
        {IN "\"failed cas\",\"key\":\"k\"}", "\"op\" is none of"},
        {IN "\"put\",\"value\":\"v\"}", "this put needs 'key'"},
        {IN "\"put\",\"key\":\"k\"}", "this put needs 'value'"},
        {IN "\"put\",\"key\":\"k\",\"value\":null}", "this put needs 'value'"},
        {IN "\"put\",\"key\":\"k\",\"value\":1}", "'\"' is wanted for a string"},
        {IN "\"put\",\"key\":\"k\",\"value_base64\":\"A\"}", "base64 with padding"},
        {IN "\"put\",\"key\":\"\xff\",\"value\":\"\"}", "not UTF-8"},
        {IN "\"put\",\"key\":\"\\ud800\",\"value\":\"\"}", "surrogate"},
        {IN "\"put\",\"key\":\"a\tb\",\"value\":\"\"}", "control character"},
        {IN "\"cas\",\"key\":\"k\",\"value\":\"v\"}", "this cas needs 'expect'"},
        {IN "\"scan\"}", "this scan needs 'prefix'"},
        {IN "\"scan\",\"prefix\":\"\",\"limit\":3}", "by its 'prefix' only"},
        {IN "\"batch\"}", "this batch needs 'ops'"},
        {IN "\"batch\",\"ops\":[]}", "'ops' is empty"},
        {IN "\"batch\",\"ops\":[{\"op\":\"get\",\"key\":\"a\"}]}", "must be put or delete"},
        {IN "\"batch\",\"ops\":[{\"op\":\"put\",\"key\":\"a\"}]}", "'value' stands with a put"},
        {IN "\"batch\",\"ops\":[{\"op\":\"delete\",\"key\":\"a\"},{\"op\":\"delete\",\"key\":"
            "\"a\"}]}",
         "a batch has a key twice"},
        {PUT ",\"x\":[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]}", "nested deeper than 16"},
        {PUT "} x", "something stands behind the object"},
        {PUT "}\n" PUT "}",
         "x:2: process 1 invokes while its operation of line 1 has not returned"},
        {OK "}", "x:1: process 1 returns from an operation that it has not invoked"},
        {PUT "}\n" OK "}\n" OK "}", "x:3: process 1 returns from an operation that it has not"},
        {PUT "}\n{\"process\":1,\"type\":\"info\"}\n" PUT "}",
         "x:3: process 1 goes on after an outcome that it does not know"},
        {PUT "}\n" OK ",\"op\":\"get\",\"value\":null}", "invoked put in line 1"},
        {PUT "}\n" OK ",\"key\":\"other\"}", "returns with another key"},
        {IN "\"get\",\"key\":\"k\"}\n" OK "}", "a get that is ok needs 'value'"},
        {IN "\"scan\",\"prefix\":\"\"}\n" OK "}", "a scan that is ok needs 'items'"},
        {PUT ",\"time\":5}\n" OK ",\"time\":4}", "x:2: the time goes back, from 5 to 4 ns"},
        {PUT ",\"time\":5}\n" OK "}", "a time on the lines before"},
        {PUT "}\n" OK ",\"time\":4}", "a time on this line"},
        {"hello", "x:1: the line does not begin with \"INFO  jepsen.util - \", nor is it JSON"},
        {"INFO  jepsen.util - 0\t:invoke\t:re",
         "the value is missing (the file ends in this line)"},
        {"INFO  jepsen.util - 0\t:invoke\t:frob\t1", "none of :read, :write, :cas"},
        {"INFO  jepsen.util - x\t:invoke\t:read\tnil", "process must be a whole number"},
        {"INFO  jepsen.util - 0\t:go\t:read\tnil", "type is none of"},
        {"INFO  jepsen.util - 0\t:invoke\t:cas\t3", "the value is not [FROM TO]"},
        {"INFO  jepsen.util - 0\t:invoke\t:read\tnil\t1", "more than 4 fields"},
        {"[{:process 0, :type :invoke, :f :read, :value nil}\n", "its vector is not closed"},
        {"[{:process 0,\n :type", "x:1: the file ends in the map that begins here"},
        {"[{:process 0]", "a closing bracket that nothing opened"},
        {"[[", "a vector in a vector"},
        {"({:process 0, :type :invoke, :f :read]", "a closing bracket that nothing opened"},
        {"[1]", "a map {…} is wanted"},
        {"[]]", "a closing bracket that nothing opened"},
        {"{:process 0, :type :invoke, :f :frob}", ":f is none of"},
        {"{:process 0, :type 1, :f :read}", ":type is none of"},
        {"{:process \"0\", :type :invoke, :f :read}", ":process is no whole number"},
        {"{:type :invoke, :f :read}", ":process is missing"},
        {"{:process}", "a key without a value"},
        {"{:process 0 :process 0}", "a key stands twice"},
        {"{:process 0, :type :invoke, :f :cas, :value 3}", ":value is not [FROM TO]"},
        {"{:process 0, :type :invoke, :f :write, :value {}}", ":value is neither"},
        {"[\n\n{:process 0, :type :ok, :f :read, :value 3}", "x:3: process 0 returns from"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct err err = {.text = ""};
        case_row("row %zu", i);
        int code = parse(rows[i].text, &err);
        if (code != ERR_BAD_REQUEST || !strstr(err.text, rows[i].want))
            case_fail("got %d: %s, want %s", code, err.text, rows[i].want);
        CHECK(strncmp(err.text, "x:", 2) == 0);
        history_release(&h);
    }
    case_row_done();
}

/* Equal times are of one moment: what returns then and what is called then are concurrent. But what
 * one process does stays in its order. */
static void equal_times_are_concurrent(void)
{
    struct err err;
    static const char text[] =
        "{\"process\":1,\"type\":\"invoke\",\"op\":\"get\",\"key\":\"k\",\"time\":1}\n"
        "{\"process\":1,\"type\":\"ok\",\"value\":null,\"time\":2}\n"
        "{\"process\":2,\"type\":\"invoke\",\"op\":\"get\",\"key\":\"k\",\"time\":2}\n"
        "{\"process\":1,\"type\":\"invoke\",\"op\":\"get\",\"key\":\"k\",\"time\":2}\n";
    CHECK_EQ(parse(text, &err), 0);
    REQUIRE(h.count == 3);
    CHECK(h.operations[1].call < h.operations[0].ret);
    CHECK(h.operations[2].call > h.operations[0].ret);
    history_release(&h);
}

/* Whatever comes, it is taken or refused, and memory stays whole (the sanitizers look). */
static void takes_any_bytes(void)
{
    static const char *const seeds[] = {
        PUT ",\"time\":5}\n" OK ",\"time\":6,\"version\":4}\n",
        IN "\"scan\",\"prefix\":\"a\"}\n" OK ",\"items\":[{\"key\":\"ab\",\"value\":\"1\"}]}\n",
        "[{:process 0, :type :invoke, :f :cas, :value [1 2]}\n {:process :n #{\"\\\"\" [()]} 1}]",
        "INFO  jepsen.util - 0\t:invoke\t:cas\t[3 -1]\nINFO  jepsen.util - 0\t:fail\t:cas\t[3 -1]",
    };
    static const char bytes[] = "{}[]()\"\\:,;#\n\t 0159eE.-nulltruefalse\x80\xff";
    struct prng prng;
    prng_seed(&prng, 7);
    uint32_t refused = 0;
    for (uint32_t i = 0; i < 40000; i++) {
        char text[256];
        size_t len = strlen(seeds[i % 4]);
        memcpy(text, seeds[i % 4], len);
        for (uint64_t n = 1 + prng_below(&prng, 4); n > 0; n--)
            text[prng_below(&prng, len)] = bytes[prng_below(&prng, sizeof(bytes))];
        if (prng_chance(&prng, 1, 4))
            len = prng_below(&prng, len + 1);
        struct err err;
        refused += parse_in_steps(text, len, 1 + prng_below(&prng, 80), &err) != 0;
        history_release(&h);
    }
    CHECK(refused > 1000 && refused < 40000);
}

static const struct test_case cases[] = {
    {"json lines are read", reads_json},
    {"edn and jepsen's log are read, in pieces of any size", reads_edn_and_logs},
    {"what is no history is refused, with its line", refuses},
    {"equal times are concurrent", equal_times_are_concurrent},
    {"any bytes are taken or refused", takes_any_bytes},
};
CASES_MAIN(cases)
