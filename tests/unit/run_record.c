/* Outcome classes, the lines of a history, availability, and the end check by elements. */
#include "lib/run/record.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/run/run.h"
#include "lib/run/tally.h"
#include "tests/support/cases.h"

/* ---- outcome classes ---- */

static void every_outcome_has_its_class(void)
{
    static const struct {
        const char *what;
        bool write;
        int code;
        enum outcome outcome;
        const char *node;
        enum record_end end;
    } rows[] = {
        {"a write that is done", true, 0, OUTCOME_NONE, "n1", RECORD_OK},
        {"a write refused before it was proposed", true, ERR_NO_LEADER, OUTCOME_NOT_APPLIED, "n1",
         RECORD_FAIL},
        {"a write that never left", true, ERR_UNREACHABLE, OUTCOME_NOT_APPLIED, "", RECORD_FAIL},
        {"a condition that did not hold", true, ERR_PRECONDITION_FAILED, OUTCOME_NOT_APPLIED, "n1",
         RECORD_FAIL},
        {"a write without an answer", true, ERR_UNKNOWN, OUTCOME_UNKNOWN, "", RECORD_INFO},
        {"a write whose leader lost its place", true, ERR_NO_LEADER, OUTCOME_UNKNOWN, "n1",
         RECORD_INFO},
        {"a write with nothing said of it", true, ERR_TIMEOUT, OUTCOME_NONE, "n1", RECORD_INFO},
        {"a read that is done", false, 0, OUTCOME_NONE, "n1", RECORD_OK},
        {"a read of no such key", false, ERR_NOT_FOUND, OUTCOME_NONE, "n1", RECORD_OK},
        {"no such key, and no node says so", false, ERR_NOT_FOUND, OUTCOME_NONE, "", RECORD_FAIL},
        {"a read without an answer", false, ERR_TIMEOUT, OUTCOME_NONE, "", RECORD_FAIL},
        {"a read that is too stale", false, ERR_TOO_STALE, OUTCOME_NONE, "n1", RECORD_FAIL},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct client_reply reply = {.outcome = rows[i].outcome};
        snprintf(reply.node, sizeof(reply.node), "%s", rows[i].node);
        case_row("%s", rows[i].what);
        CHECK_EQ(record_end_of(rows[i].write, rows[i].code, &reply), rows[i].end);
    }
    case_row_done();
}

/* ---- lines ---- */

static char path[64];

static void open_recorder(struct recorder *r)
{
    snprintf(path, sizeof(path), "/tmp/raftkv-record-XXXXXX");
    int fd = mkstemp(path);
    REQUIRE(fd >= 0);
    close(fd);
    REQUIRE(recorder_open(r, path, NULL) == 0);
}

/* The next line without its time; times must not decrease. */
static void check_line(FILE *f, const char *want)
{
    static unsigned long long last;
    char line[512] = "", *time, *end;
    CHECK(fgets(line, sizeof(line), f) != NULL);
    time = strstr(line, ",\"time\":");
    REQUIRE(time != NULL);
    unsigned long long now = strtoull(time + strlen(",\"time\":"), &end, 10);
    CHECK(strcmp(end, "}\n") == 0 && now >= last);
    last = now;
    *time = '\0';
    if (strcmp(line, want) != 0)
        case_fail("got  %s\n#   want %s", line, want);
}

static void lines_are_those_of_the_contract(void)
{
    struct recorder r;
    struct slice key = slice_str("k"), none = slice_of(NULL, 0);
    struct record_call cas = {RECORD_CAS, key, slice_str("v"), none};
    struct record_call get = {RECORD_GET, key, none, none};
    struct record_call put = {RECORD_PUT, key, slice_of("\xff", 1), none};
    struct record_call delete = {RECORD_DELETE, key, none, none};
    struct record_result done = {.has_version = true, .version = 4, .has_index = true, .index = 5};
    struct record_result absent = {.has_index = true, .index = 6};
    struct record_result deleted = {.has_deleted = true, .has_version = true, .version = 7};
    open_recorder(&r);
    CHECK_EQ(recorder_process(&r), 0);
    CHECK_EQ(recorder_process(&r), 1);
    recorder_invoke(&r, 0, &cas);
    recorder_invoke(&r, 1, &get);
    recorder_return(&r, 1, &get, RECORD_OK, &absent);
    recorder_return(&r, 0, &cas, RECORD_OK, &done);
    recorder_invoke(&r, 0, &put);
    recorder_return(&r, 0, &put, RECORD_INFO, &done);
    recorder_invoke(&r, 1, &delete);
    recorder_return(&r, 1, &delete, RECORD_OK, &deleted);
    CHECK_EQ(r.lines, 8);
    CHECK_EQ(r.stats.totals[STATS_OK], 3);
    CHECK_EQ(r.stats.totals[STATS_UNKNOWN], 1);
    stats_release(&r.stats);
    CHECK_EQ(recorder_close(&r, NULL), 0);
    FILE *f = fopen(path, "re");
    REQUIRE(f != NULL);
    check_line(f, "{\"process\":0,\"type\":\"invoke\",\"op\":\"cas\",\"key\":\"k\",\"expect\":null,"
                  "\"value\":\"v\"");
    check_line(f, "{\"process\":1,\"type\":\"invoke\",\"op\":\"get\",\"key\":\"k\"");
    check_line(f, "{\"process\":1,\"type\":\"ok\",\"op\":\"get\",\"key\":\"k\",\"value\":null,"
                  "\"index\":6");
    check_line(f, "{\"process\":0,\"type\":\"ok\",\"op\":\"cas\",\"key\":\"k\",\"version\":4,"
                  "\"index\":5");
    check_line(f, "{\"process\":0,\"type\":\"invoke\",\"op\":\"put\",\"key\":\"k\","
                  "\"value_base64\":\"/w==\"");
    check_line(f, "{\"process\":0,\"type\":\"info\",\"op\":\"put\",\"key\":\"k\"");
    check_line(f, "{\"process\":1,\"type\":\"invoke\",\"op\":\"delete\",\"key\":\"k\"");
    check_line(f, "{\"process\":1,\"type\":\"ok\",\"op\":\"delete\",\"key\":\"k\","
                  "\"deleted\":false,\"version\":7");
    fclose(f);
    unlink(path);
}

static void a_condition_that_did_not_hold_is_an_answer(void)
{
    struct recorder r;
    struct record_call cas = {RECORD_CAS, slice_str("k"), slice_str("v"), slice_str("w")};
    struct record_result unmet = {.unmet = true}, failed = {.unmet = false};
    open_recorder(&r);
    recorder_invoke(&r, 0, &cas);
    recorder_return(&r, 0, &cas, RECORD_FAIL, &unmet);
    recorder_invoke(&r, 0, &cas);
    recorder_return(&r, 0, &cas, RECORD_FAIL, &failed);
    CHECK_EQ(r.stats.totals[STATS_UNMET], 1);
    CHECK_EQ(r.stats.totals[STATS_FAILED], 1);
    stats_release(&r.stats);
    CHECK_EQ(recorder_close(&r, NULL), 0);
    unlink(path);
}

static void what_cannot_be_written_is_an_error(void)
{
    struct recorder r;
    struct err err;
    struct record_call get = {.op = RECORD_GET, .key = slice_str("k")};
    CHECK_EQ(recorder_open(&r, "/tmp/no/such/dir", &err), ERR_IO);
    REQUIRE(recorder_open(&r, "/dev/full", &err) == 0);
    for (int i = 0; i < 1000; i++)
        recorder_invoke(&r, 0, &get);
    CHECK_EQ(recorder_close(&r, &err), ERR_IO);
}

/* ---- availability ---- */

static void tenths_and_gaps(void)
{
    struct stats s;
    stats_init(&s);
    for (uint64_t ms = 10; ms < 1000; ms += 20)
        stats_add(&s, ms * 1000, STATS_OK, true);
    stats_add(&s, 1050000, STATS_OK, false); /* a read, no write */
    stats_add(&s, 1150000, STATS_FAILED, true);
    stats_add(&s, 1250000, STATS_UNKNOWN, true);
    stats_add(&s, 1450000, STATS_UNMET, true);
    stats_end(&s, 3000000);
    CHECK_EQ(stats_slots(&s, 0), 10);
    CHECK_EQ(stats_slots(&s, 1), 2);
    CHECK_EQ(stats_slots(&s, 2), 0);
    CHECK_EQ(stats_slots(&s, 99), 0);
    CHECK(stats_availability(&s, 3000000) > 39.9 && stats_availability(&s, 3000000) < 40.1);
    CHECK(stats_availability(&s, 900000) == 0);
    CHECK_EQ(s.gap_count, 2);
    CHECK_EQ(stats_longest_gap_us(&s, 0, UINT64_MAX), 1550000);
    CHECK_EQ(stats_longest_gap_us(&s, 0, 1400000), 460000);
    CHECK_EQ(stats_longest_gap_us(&s, 0, 900000), 0);
    stats_release(&s);
}

/* ---- elements ---- */

static void judge_elements(const char *list, bool good, const char *why)
{
    struct tally t;
    tally_init(&t);
    case_row("\"%s\"", list);
    CHECK_EQ(tally_new(&t, 3), 0);
    CHECK_EQ(tally_new(&t, 3), 1);
    CHECK_EQ(tally_new(&t, 3), 2);
    CHECK_EQ(tally_new(&t, 4), 3);
    tally_told(&t, 0, RECORD_OK);
    tally_told(&t, 1, RECORD_FAIL);
    tally_told(&t, 2, RECORD_INFO);
    tally_seen(&t, 4, 3);
    tally_told(&t, 3, RECORD_OK);
    tally_seen_list(&t, 3, slice_str(list));
    CHECK_EQ(tally_judge(&t), good);
    CHECK(strstr(t.why, why) != NULL);
    CHECK_EQ(t.acknowledged, 2);
    CHECK_EQ(t.unknown, 1);
    tally_release(&t);
}

static void each_acknowledged_element_is_there_once(void)
{
    judge_elements("0,", true, "");
    judge_elements("0,2,", true, "");
    judge_elements("2,0,", true, "");
    judge_elements("", false, "element 0 was acknowledged, and is lost");
    judge_elements("2,", false, "element 0 was acknowledged, and is lost");
    judge_elements("0,0,", false, "element 0 is there more than once");
    judge_elements("0,2,2,", false, "element 2 is there more than once");
    judge_elements("0,1,", false, "element 1 was refused, and is there");
    judge_elements("0,3,", false, "element 3 was never added there");
    judge_elements("0,9,", false, "element 9 was never added there");
    judge_elements("0,2", false, "ends within");
    judge_elements("0,x,", false, "no append has written");
    judge_elements("0,,", false, "no append has written");
    judge_elements("0,99999999999999999999,", false, "no append has written");
    case_row_done();
}

/* ---- the page ---- */

static void the_page_escapes_what_it_shows(void)
{
    static struct run_event event = {.name = "kill", .text = "<script>\"&'", .to_us = 500000};
    struct run_options o = {.workload = workload_find("set"), .seed = 4};
    struct run_report r = {.verdict = RUN_VIOLATED,
                           .why = "<b>bad</b>",
                           .events = &event,
                           .event_count = 1,
                           .measured_us = 2000000};
    char *text = NULL;
    size_t bytes = 0;
    stats_init(&r.stats);
    stats_add(&r.stats, 100000, STATS_OK, true);
    stats_end(&r.stats, 2000000);
    FILE *f = open_memstream(&text, &bytes);
    REQUIRE(f != NULL);
    run_print_page(f, &o, &r);
    fclose(f);
    CHECK(strstr(text, "&lt;script&gt;&quot;&amp;&#39;") != NULL);
    CHECK(strstr(text, "<script") == NULL && strstr(text, "<b>") == NULL);
    CHECK(strstr(text, "http:") == NULL && strstr(text, "src=") == NULL);
    CHECK(strstr(text, "class=\"band\"") != NULL && strstr(text, "</html>") != NULL);
    free(text);
    stats_release(&r.stats);
}

static const struct test_case cases[] = {
    {"every_outcome_has_its_class", every_outcome_has_its_class},
    {"lines_are_those_of_the_contract", lines_are_those_of_the_contract},
    {"a_condition_that_did_not_hold_is_an_answer", a_condition_that_did_not_hold_is_an_answer},
    {"what_cannot_be_written_is_an_error", what_cannot_be_written_is_an_error},
    {"tenths_and_gaps", tenths_and_gaps},
    {"each_acknowledged_element_is_there_once", each_acknowledged_element_is_there_once},
    {"the_page_escapes_what_it_shows", the_page_escapes_what_it_shows},
};

CASES_MAIN(cases)
