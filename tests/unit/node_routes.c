/* What the server refuses by itself, as an error of ours: its code, and its outcome. */
#include "lib/base/buf.h"
#include "lib/json/api.h"
#include "lib/node/node_internal.h"
#include "tests/support/cases.h"

static void refusals(void)
{
    static const struct {
        int status, code;
        enum outcome outcome;
    } table[] = {
        {400, ERR_BAD_REQUEST, OUTCOME_NOT_APPLIED},
        {405, ERR_METHOD_NOT_ALLOWED, OUTCOME_NOT_APPLIED},
        {413, ERR_TOO_LARGE, OUTCOME_NOT_APPLIED},
        {431, ERR_BAD_REQUEST, OUTCOME_NOT_APPLIED},
        {503, ERR_SHUTTING_DOWN, OUTCOME_UNKNOWN}, /* of what was handed over and is cut off */
    };

    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct api_error e = {0};
        struct buf body;

        case_row("%d", table[i].status);
        buf_init(&body, 4096);
        routes_refusal(NULL, table[i].status, "words", 10, 11, &body);
        REQUIRE(api_error_decode(slice_of(body.data, body.len), &e, NULL) == 0);
        CHECK_EQ(e.code, table[i].code);
        CHECK_EQ(e.outcome, table[i].outcome);
        CHECK(!e.retryable);
        CHECK_EQ(e.has_limit, table[i].status == 413);
        CHECK_EQ(e.actual, table[i].status == 413 ? 11 : 0);
        buf_release(&body);
    }
}

static const struct test_case cases[] = {
    {"refusals of the server", refusals},
};
CASES_MAIN(cases)
