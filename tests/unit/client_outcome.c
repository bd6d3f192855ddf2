/*
 * What a call ends as, and how often it was sent, for everything that can happen to it on the way:
 * reads, writes with a session, and changes without one. Each row flips when its rule does.
 */
#include <stdio.h>
#include <string.h>

#include "lib/client/client.h"
#include "tests/support/cases.h"
#include "tests/support/fake_node.h"
#include "tests/unit/tap.h"

#define ERROR(code, outcome, retryable)                                                            \
    "{\"error\":{\"code\":\"" code "\",\"message\":\"words\"" outcome ",\"retryable\":" retryable  \
    "}}"
#define NOT_APPLIED ",\"outcome\":\"not_applied\""
#define UNKNOWN     ",\"outcome\":\"unknown\""
#define ITEM        "{\"key\":\"k\",\"value\":\"v\",\"version\":42,\"timestamp\":1}"

#define REPLY(body)                                                                                \
    {                                                                                              \
        FAKE_REPLY, 200, "ETag: \"42\"\r\n", body                                                  \
    }
#define REFUSE(status, body)                                                                       \
    {                                                                                              \
        FAKE_REPLY, status, NULL, body                                                             \
    }
#define STRANGER(status, body)                                                                     \
    {                                                                                              \
        FAKE_STRANGER, status, "ETag: \"42\"\r\n", body                                            \
    }
#define ACT(act)                                                                                   \
    {                                                                                              \
        act, 0, NULL, NULL                                                                         \
    }
#define NO_LEADER       REFUSE(503, ERROR("no_leader", NOT_APPLIED, "true"))
#define LEADERSHIP_LOST REFUSE(503, ERROR("no_leader", UNKNOWN, "true"))
#define DONE            REPLY(ITEM)

/* Of a call that goes on until its time is over; of one that would end as unknown if its last reply
 * did not come in time, on a busy machine; and of one that ends by itself. */
enum { TIMEOUT_SHORT_MS = 400, TIMEOUT_SURE_MS = 2000, TIMEOUT_LONG_MS = 20000, STEPS_MAX = 8 };
enum call { READ, WRITE, CHANGE, CALL_COUNT };
static const char *const call_names[] = {"read", "write", "change"};

/* What one kind of call makes of the script. */
struct end {
    int exit_status;
    unsigned sends; /* MANY: more than the script has steps, until the time was over */
    enum outcome outcome;
};
enum { MANY = 99 };
#define FINE(sends)                                                                                \
    {                                                                                              \
        0, sends, OUTCOME_NONE                                                                     \
    }
#define FAILED(exit, sends)                                                                        \
    {                                                                                              \
        exit, sends, OUTCOME_NONE                                                                  \
    }
#define SURELY(exit, sends)                                                                        \
    {                                                                                              \
        exit, sends, OUTCOME_NOT_APPLIED                                                           \
    }
#define PERHAPS(sends)                                                                             \
    {                                                                                              \
        5, sends, OUTCOME_UNKNOWN                                                                  \
    }

struct expected {
    const char *name;
    struct fake_step steps[STEPS_MAX]; /* the last one that is there is played again and again */
    struct end ends[CALL_COUNT];
};

static const struct expected rows[] = {
    {"done", {DONE}, {FINE(1), FINE(1), FINE(1)}},
    /* the connection */
    {"reset before the request", {ACT(FAKE_RESET_BEFORE), DONE}, {FINE(2), FINE(2), PERHAPS(1)}},
    {"reset after the request", {ACT(FAKE_RESET), DONE}, {FINE(2), FINE(2), PERHAPS(1)}},
    {"closed after the request", {ACT(FAKE_CLOSE), DONE}, {FINE(2), FINE(2), PERHAPS(1)}},
    {"always closed", {ACT(FAKE_CLOSE)}, {FAILED(4, 3), PERHAPS(MANY), PERHAPS(1)}},
    {"reply cut off",
     {{FAKE_CUT, 200, "ETag: \"42\"\r\n", ITEM}, DONE},
     {FINE(2), FINE(2), PERHAPS(1)}},
    {"refusal cut off",
     {{FAKE_CUT, 412, NULL, ERROR("precondition_failed", NOT_APPLIED, "false")}, DONE},
     {FINE(2), FINE(2), PERHAPS(1)}},
    {"silent", {ACT(FAKE_SILENT)}, {FAILED(4, 1), PERHAPS(1), PERHAPS(1)}},
    {"no HTTP", {{FAKE_GARBAGE, 0, NULL, "SSH-2.0\r\n"}, DONE}, {FINE(2), FINE(2), PERHAPS(1)}},
    /* certainly not applied */
    {"no leader, then done", {NO_LEADER, NO_LEADER, DONE}, {FINE(3), FINE(3), FINE(3)}},
    {"no leader", {NO_LEADER}, {FAILED(4, MANY), SURELY(4, MANY), SURELY(4, MANY)}},
    {"removed",
     {REFUSE(503, ERROR("removed", NOT_APPLIED, "false"))},
     {FAILED(4, 3), SURELY(4, 3), SURELY(4, 3)}},
    {"504 before it was proposed",
     {REFUSE(504, ERROR("timeout", NOT_APPLIED, "false"))},
     {FAILED(4, 1), SURELY(4, 1), SURELY(4, 1)}},
    {"a membership change runs",
     {REFUSE(409, ERROR("conflict", NOT_APPLIED, "false"))},
     {FAILED(4, 1), SURELY(4, 1), SURELY(4, 1)}},
    {"disk full",
     {REFUSE(507, ERROR("disk_full", NOT_APPLIED, "false"))},
     {FAILED(7, 1), SURELY(7, 1), SURELY(7, 1)}},
    {"internal error before it was proposed",
     {REFUSE(500, ERROR("internal", NOT_APPLIED, "false"))},
     {FAILED(70, 1), SURELY(70, 1), SURELY(70, 1)}},
    /* refused */
    {"condition failed",
     {REFUSE(412, ERROR("precondition_failed", NOT_APPLIED ",\"version\":42", "false"))},
     {FAILED(3, 1), SURELY(3, 1), SURELY(3, 1)}},
    {"too large",
     {REFUSE(413, ERROR("too_large", NOT_APPLIED ",\"limit\":1,\"actual\":2", "false"))},
     {FAILED(7, 1), SURELY(7, 1), SURELY(7, 1)}},
    {"bad request",
     {REFUSE(400, ERROR("bad_request", NOT_APPLIED, "false"))},
     {FAILED(2, 1), SURELY(2, 1), SURELY(2, 1)}},
    {"forbidden",
     {REFUSE(403, ERROR("forbidden", NOT_APPLIED, "false"))},
     {FAILED(6, 1), SURELY(6, 1), SURELY(6, 1)}},
    {"not found",
     {REFUSE(404, ERROR("not_found", "", "false"))},
     {FAILED(1, 1), SURELY(1, 1), SURELY(1, 1)}},
    {"too stale",
     {REFUSE(503, ERROR("too_stale", "", "false"))},
     {FAILED(8, 1), PERHAPS(MANY), PERHAPS(1)}},
    /* perhaps applied */
    {"leadership lost, then done", {LEADERSHIP_LOST, DONE}, {FINE(2), FINE(2), PERHAPS(1)}},
    {"leadership lost", {LEADERSHIP_LOST}, {FAILED(4, MANY), PERHAPS(MANY), PERHAPS(1)}},
    {"504 after it was proposed",
     {REFUSE(504, ERROR("timeout", UNKNOWN, "false"))},
     {FAILED(4, 1), PERHAPS(MANY), PERHAPS(1)}},
    {"internal error after it was proposed",
     {REFUSE(500, ERROR("internal", UNKNOWN, "false"))},
     {FAILED(70, 1), PERHAPS(MANY), PERHAPS(1)}},
    /* perhaps applied, then an answer: only the state machine's settles the first try */
    {"lost, then no leader",
     {LEADERSHIP_LOST, NO_LEADER},
     {FAILED(4, MANY), PERHAPS(MANY), PERHAPS(1)}},
    {"reset, then no leader",
     {ACT(FAKE_RESET), NO_LEADER},
     {FAILED(4, MANY), PERHAPS(MANY), PERHAPS(1)}},
    {"lost, then a condition that did not hold",
     {LEADERSHIP_LOST, REFUSE(412, ERROR("precondition_failed", NOT_APPLIED, "false"))},
     {FAILED(3, 2), SURELY(3, 2), PERHAPS(1)}},
    {"lost, then another cluster",
     {LEADERSHIP_LOST, REFUSE(412, ERROR("wrong_cluster", NOT_APPLIED, "false"))},
     {FAILED(4, 4), PERHAPS(MANY), PERHAPS(1)}},
    {"another cluster",
     {REFUSE(412, ERROR("wrong_cluster", NOT_APPLIED, "false"))},
     {FAILED(4, 3), SURELY(4, 3), SURELY(4, 3)}},
    {"lost, then refused as too large",
     {LEADERSHIP_LOST, REFUSE(413, ERROR("too_large", NOT_APPLIED, "false"))},
     {FAILED(7, 2), PERHAPS(2), PERHAPS(1)}},
    {"lost, then an unknown session",
     {LEADERSHIP_LOST, REFUSE(409, ERROR("session_unknown", NOT_APPLIED, "false"))},
     {FAILED(4, 2), PERHAPS(2), PERHAPS(1)}},
    /* strangers */
    {"200 without JSON", {REFUSE(200, "<html>")}, {FAILED(70, 3), PERHAPS(MANY), PERHAPS(1)}},
    {"200 with half a JSON, then done",
     {REFUSE(200, "{\"key\":"), DONE},
     {FINE(2), FINE(2), PERHAPS(1)}},
    {"redirect",
     {{FAKE_REPLY, 307, "Location: http://127.0.0.1:1/kv/k\r\n", ""}},
     {FAILED(70, 3), PERHAPS(MANY), PERHAPS(1)}},
    {"another program's 200", {STRANGER(200, ITEM)}, {FAILED(70, 3), PERHAPS(MANY), PERHAPS(1)}},
    {"another program's 200, then done",
     {STRANGER(200, ITEM), DONE},
     {FINE(2), FINE(2), PERHAPS(1)}},
    {"a proxy's 404", {STRANGER(404, "<html>")}, {FAILED(70, 3), PERHAPS(MANY), PERHAPS(1)}},
    {"the HTTP parser's 400", {STRANGER(400, "")}, {FAILED(2, 1), SURELY(2, 1), SURELY(2, 1)}},
};

static struct client *connect_to(const char *endpoints, uint32_t timeout_ms)
{
    struct client *c;
    struct client_options options = {.endpoints = endpoints, .timeout_ms = timeout_ms};
    must(client_new(&options, &c, NULL) == 0);
    return c;
}

static int call(struct client *c, enum call which, struct client_reply *reply, struct err *err)
{
    struct slice key = slice_str("k");
    switch (which) {
    case READ: return client_get(c, key, false, reply, err);
    case WRITE: return client_put(c, key, slice_str("v"), CONDITION_NONE, 0, reply, err);
    default: return client_change(c, CLIENT_POST, "/leader", slice_str("{}"), reply, err);
    }
}

/* The steps of a row and its last one until the request log would be full. */
static size_t lengthen(const struct expected *row, struct fake_step *steps, size_t room)
{
    size_t count = 0;
    while (count < STEPS_MAX &&
           (row->steps[count].act != FAKE_REPLY || row->steps[count].status != 0))
        count++;
    for (size_t i = 0; i < room; i++)
        steps[i] = row->steps[i < count ? i : count - 1];
    return count;
}

static uint32_t timeout_of(const struct expected *row, const struct end *end)
{
    if (end->sends != MANY && row->steps[0].act != FAKE_SILENT)
        return TIMEOUT_LONG_MS;
    return end->outcome == OUTCOME_NOT_APPLIED ? TIMEOUT_SURE_MS : TIMEOUT_SHORT_MS;
}

static void check_end(const struct expected *row, enum call which)
{
    struct fake_step steps[200];
    size_t count = lengthen(row, steps, 200);
    const struct end *end = &row->ends[which];
    struct fake_node *node = fake_node_start(steps, 200);
    struct client *c = connect_to(fake_node_url(node), timeout_of(row, end));
    struct client_reply reply;
    struct err err = {0};
    client_reply_init(&reply);
    int code = call(c, which, &reply, &err);
    CHECK_EQ(client_exit_status(code, &reply), end->exit_status);
    CHECK_EQ(reply.outcome, end->outcome);
    if (end->sends == MANY)
        CHECK(reply.sends > count && reply.sends > LIMIT_CLIENT_SILENT_ROUNDS);
    else
        CHECK_EQ(reply.sends, end->sends);
    if (code == 0)
        CHECK(which == CHANGE || (reply.has_version && reply.version == 42));
    else
        CHECK(strstr(err.text, fake_node_url(node)) != NULL);
    CHECK((end->outcome == OUTCOME_UNKNOWN) == (strstr(err.text, "may have been applied") != NULL));
    client_reply_release(&reply);
    client_free(c);
    fake_node_stop(node);
}

static void check_rows(enum call which)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        case_row("%s: %s", call_names[which], rows[i].name);
        check_end(&rows[i], which);
    }
}

static void reads(void)
{
    check_rows(READ);
}

static void writes(void)
{
    check_rows(WRITE);
}

static void changes(void)
{
    check_rows(CHANGE);
}

static void nobody_there(void)
{
    struct client_reply reply;
    client_reply_init(&reply);
    for (int which = READ; which < CALL_COUNT; which++) {
        struct client *c = connect_to(fake_refusing_url(), TIMEOUT_LONG_MS);
        struct err err = {0};
        case_row("%s", call_names[which]);
        int code = call(c, (enum call)which, &reply, &err);
        CHECK_EQ(client_exit_status(code, &reply), 4);
        CHECK_EQ(reply.outcome, which == READ ? OUTCOME_NONE : OUTCOME_NOT_APPLIED);
        CHECK_EQ(reply.sends, 0);
        CHECK(strstr(err.text, fake_refusing_url()) != NULL);
        client_free(c);
    }
    client_reply_release(&reply);
}

/* Reset once and then gone: the time is used up for an answer, and the end is "unknown". */
static void lost_then_nobody_there(void)
{
    static const struct fake_step steps[] = {ACT(FAKE_RESET)};
    struct client_reply reply;
    struct err err = {0};
    char endpoints[200];
    client_reply_init(&reply);
    struct fake_node *node = fake_node_start(steps, 1);
    snprintf(endpoints, sizeof(endpoints), "%s,%s", fake_node_url(node), fake_refusing_url());
    struct client *c = connect_to(endpoints, TIMEOUT_LONG_MS);
    int code = call(c, CHANGE, &reply, &err);
    CHECK_EQ(client_exit_status(code, &reply), 5);
    CHECK_EQ(reply.sends, 1);
    client_free(c);
    fake_node_stop(node);
    client_reply_release(&reply);
}

static const struct test_case cases[] = {
    {"reads", reads},
    {"writes", writes},
    {"changes", changes},
    {"nobody_there", nobody_there},
    {"lost_then_nobody_there", lost_then_nobody_there},
};
CASES_MAIN(cases)
