/* How the client classifies one exchange: each row flips when its rule does. */
#include <string.h>

#include "lib/client/verdict_internal.h"
#include "tests/support/cases.h"
#include "tests/unit/tap.h"

#define ERROR(code, outcome, retryable)                                                            \
    "{\"error\":{\"code\":\"" code "\",\"message\":\"words\"" outcome ",\"retryable\":" retryable  \
    "}}"
#define NOT_APPLIED ",\"outcome\":\"not_applied\""
#define UNKNOWN     ",\"outcome\":\"unknown\""

enum { STRANGER = 100 };

struct expected {
    const char *name;
    int end; /* enum exchange_end, or STRANGER: a reply without RaftKV-Node */
    int status;
    const char *body;
    enum verdict_kind read, write;
    int code;
    bool evaluated;
};

static const struct expected rows[] = {
    {"done", EXCHANGE_REPLIED, 200, "{}", VERDICT_DONE, VERDICT_DONE, 0, true},
    {"not sent", EXCHANGE_NOT_SENT, 0, "", VERDICT_UNREACHABLE, VERDICT_UNREACHABLE,
     ERR_UNREACHABLE, false},
    {"timed out", EXCHANGE_TIMED_OUT, 0, "", VERDICT_LOST, VERDICT_LOST, ERR_TIMEOUT, false},
    {"broken", EXCHANGE_BROKEN, 0, "", VERDICT_LOST, VERDICT_LOST, ERR_UNREACHABLE, false},
    {"broken behind a status", EXCHANGE_BROKEN, 200, "{}", VERDICT_LOST, VERDICT_LOST,
     ERR_UNREACHABLE, false},
    {"over the limit", EXCHANGE_OVER_LIMIT, 200, "", VERDICT_LOST, VERDICT_LOST, ERR_TOO_LARGE,
     false},
    {"no leader, not applied", EXCHANGE_REPLIED, 503, ERROR("no_leader", NOT_APPLIED, "true"),
     VERDICT_RETRY, VERDICT_RETRY, ERR_NO_LEADER, false},
    {"leadership lost", EXCHANGE_REPLIED, 503, ERROR("no_leader", UNKNOWN, "true"), VERDICT_RETRY,
     VERDICT_LOST, ERR_NO_LEADER, false},
    {"shutting down", EXCHANGE_REPLIED, 503, ERROR("shutting_down", NOT_APPLIED, "true"),
     VERDICT_RETRY, VERDICT_RETRY, ERR_SHUTTING_DOWN, false},
    {"503 without an outcome", EXCHANGE_REPLIED, 503, ERROR("no_leader", "", "true"), VERDICT_RETRY,
     VERDICT_LOST, ERR_NO_LEADER, false},
    {"removed: another may be a member", EXCHANGE_REPLIED, 503,
     ERROR("removed", NOT_APPLIED, "false"), VERDICT_RETRY, VERDICT_RETRY, ERR_REMOVED, false},
    {"removed, after it was proposed", EXCHANGE_REPLIED, 503, ERROR("removed", UNKNOWN, "false"),
     VERDICT_RETRY, VERDICT_LOST, ERR_REMOVED, false},
    {"stopping, do not ask again", EXCHANGE_REPLIED, 503,
     ERROR("shutting_down", NOT_APPLIED, "false"), VERDICT_REFUSED, VERDICT_REFUSED,
     ERR_SHUTTING_DOWN, false},
    {"overloaded", EXCHANGE_REPLIED, 429, ERROR("overloaded", NOT_APPLIED, "true"), VERDICT_RETRY,
     VERDICT_RETRY, ERR_OVERLOADED, false},
    {"504, unknown", EXCHANGE_REPLIED, 504, ERROR("timeout", UNKNOWN, "false"), VERDICT_REFUSED,
     VERDICT_LOST, ERR_TIMEOUT, false},
    {"504, not applied", EXCHANGE_REPLIED, 504, ERROR("timeout", NOT_APPLIED, "true"),
     VERDICT_RETRY, VERDICT_RETRY, ERR_TIMEOUT, false},
    {"internal", EXCHANGE_REPLIED, 500, ERROR("internal", UNKNOWN, "false"), VERDICT_REFUSED,
     VERDICT_LOST, ERR_INTERNAL, false},
    {"bad request", EXCHANGE_REPLIED, 400, ERROR("bad_request", NOT_APPLIED, "false"),
     VERDICT_REFUSED, VERDICT_REFUSED, ERR_BAD_REQUEST, false},
    {"bad request without an outcome", EXCHANGE_REPLIED, 400, ERROR("bad_request", "", "false"),
     VERDICT_REFUSED, VERDICT_REFUSED, ERR_BAD_REQUEST, false},
    {"forbidden", EXCHANGE_REPLIED, 403, ERROR("forbidden", NOT_APPLIED, "false"), VERDICT_REFUSED,
     VERDICT_REFUSED, ERR_FORBIDDEN, false},
    {"not found", EXCHANGE_REPLIED, 404, ERROR("not_found", "", "false"), VERDICT_REFUSED,
     VERDICT_REFUSED, ERR_NOT_FOUND, false},
    {"condition failed", EXCHANGE_REPLIED, 412,
     ERROR("precondition_failed", NOT_APPLIED ",\"version\":7", "false"), VERDICT_REFUSED,
     VERDICT_REFUSED, ERR_PRECONDITION_FAILED, true},
    {"wrong cluster", EXCHANGE_REPLIED, 412, ERROR("wrong_cluster", NOT_APPLIED, "false"),
     VERDICT_RETRY, VERDICT_RETRY, ERR_WRONG_CLUSTER, false},
    {"sequence old", EXCHANGE_REPLIED, 409, ERROR("seq_old", NOT_APPLIED, "false"), VERDICT_REFUSED,
     VERDICT_REFUSED, ERR_SEQ_OLD, false},
    {"too large", EXCHANGE_REPLIED, 413,
     ERROR("too_large", NOT_APPLIED ",\"limit\":10,\"actual\":11", "false"), VERDICT_REFUSED,
     VERDICT_REFUSED, ERR_TOO_LARGE, false},
    {"disk full", EXCHANGE_REPLIED, 507, ERROR("disk_full", NOT_APPLIED, "true"), VERDICT_RETRY,
     VERDICT_RETRY, ERR_DISK_FULL, false},
    {"the parser's 400", STRANGER, 400, "<html>", VERDICT_REFUSED, VERDICT_REFUSED, ERR_BAD_REQUEST,
     false},
    {"the parser's 413", STRANGER, 413, "", VERDICT_REFUSED, VERDICT_REFUSED, ERR_TOO_LARGE, false},
    {"the parser's 431", STRANGER, 431, "", VERDICT_REFUSED, VERDICT_REFUSED, ERR_TOO_LARGE, false},
    {"a stranger's 404", STRANGER, 404, "<html>", VERDICT_LOST, VERDICT_LOST, ERR_INTERNAL, false},
    {"a stranger's 412", STRANGER, 412, "{}", VERDICT_LOST, VERDICT_LOST, ERR_INTERNAL, false},
    {"a stranger's 503", STRANGER, 503, "", VERDICT_LOST, VERDICT_LOST, ERR_INTERNAL, false},
    {"a stranger's 200", STRANGER, 200, "{}", VERDICT_LOST, VERDICT_LOST, ERR_INTERNAL, false},
    {"our error without a name, from the node's HTTP server", STRANGER, 503,
     ERROR("shutting_down", NOT_APPLIED, "true"), VERDICT_RETRY, VERDICT_RETRY, ERR_SHUTTING_DOWN,
     false},
    {"a redirect", EXCHANGE_REPLIED, 307, "", VERDICT_LOST, VERDICT_LOST, ERR_INTERNAL, false},
    {"a redirect with our error", EXCHANGE_REPLIED, 307, ERROR("no_leader", NOT_APPLIED, "true"),
     VERDICT_LOST, VERDICT_LOST, ERR_INTERNAL, false},
    {"code and status differ", EXCHANGE_REPLIED, 404, ERROR("no_leader", NOT_APPLIED, "true"),
     VERDICT_LOST, VERDICT_LOST, ERR_INTERNAL, false},
};

static void check_row(const struct expected *row, bool write)
{
    struct exchange x = {.end =
                             row->end == STRANGER ? EXCHANGE_REPLIED : (enum exchange_end)row->end,
                         .detail = "words",
                         .status = row->status,
                         .from_node = row->end != STRANGER,
                         .body = slice_str(row->body)};
    struct verdict v;
    verdict_of(&x, write, &v);
    CHECK_EQ(v.kind, write ? row->write : row->read);
    CHECK_EQ((uint64_t)-v.code, (uint64_t)-row->code);
    CHECK_EQ(v.evaluated, row->evaluated);
    CHECK(v.kind == VERDICT_DONE || v.text[0] != '\0');
}

static void classify_reads(void)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        case_row("%s", rows[i].name);
        check_row(&rows[i], false);
    }
}

static void classify_writes(void)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        case_row("%s", rows[i].name);
        check_row(&rows[i], true);
    }
}

static void take_details(void)
{
    struct verdict v;
    struct exchange x = {
        .end = EXCHANGE_REPLIED,
        .status = 412,
        .from_node = true,
        .body = slice_str(ERROR("precondition_failed", NOT_APPLIED ",\"version\":7", "false"))};
    verdict_of(&x, true, &v);
    CHECK(v.has_version);
    CHECK_EQ(v.version, 7);
    CHECK(v.answered);

    x = (struct exchange){.end = EXCHANGE_REPLIED,
                          .status = 429,
                          .from_node = true,
                          .body = slice_str(ERROR("overloaded", NOT_APPLIED, "true")),
                          .retry_after_s = 3};
    verdict_of(&x, true, &v);
    CHECK_EQ(v.retry_after_ms, 3000);
    CHECK(!v.has_version);

    x = (struct exchange){
        .end = EXCHANGE_REPLIED,
        .status = 413,
        .from_node = true,
        .body = slice_str(ERROR("too_large", NOT_APPLIED ",\"limit\":10,\"actual\":11", "false"))};
    verdict_of(&x, true, &v);
    CHECK(strstr(v.text, "10") && strstr(v.text, "11"));

    verdict_garbled("no JSON", &v);
    CHECK_EQ(v.kind, VERDICT_LOST);
    CHECK(!v.answered && !v.evaluated);
    CHECK(strstr(v.text, "no JSON") != NULL);
}

static const struct test_case cases[] = {
    {"classify_reads", classify_reads},
    {"classify_writes", classify_writes},
    {"take_details", take_details},
};
CASES_MAIN(cases)
