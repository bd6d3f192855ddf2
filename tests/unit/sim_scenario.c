/* Scenario files: what is a script and what is not, what is compared, and what a rewritten file
 * looks like. The scripts of tests/scenarios are run by tests/e2e/check_scenario.bats. */
#include "lib/sim/scenario.h"

#include <stdio.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/sim/scenario_internal.h"
#include "tests/support/cases.h"

static struct scenario_result result;

static int run(const char *text, struct err *err)
{
    scenario_result_init(&result);
    return scenario_run("x.txt", slice_str(text), &result, err);
}

static const char *text_of(const struct buf *b)
{
    return b->data ? (const char *)b->data : "";
}

static void check_text(const struct buf *got, const char *want)
{
    if (strcmp(text_of(got), want) == 0)
        return;
    case_fail("got:\n%s", text_of(got));
    case_fail("want:\n%s", want);
}

/* ---- comparing ---- */

#define ASKS "    a: asks who would vote for us in term 2, log to (1,1)\n"

static const char as_expected[] = "# prose\n\ncluster a b c\ntimeout a\n" ASKS "\n# more\n";

static void is_as_expected(void)
{
    struct err err;
    CHECK_EQ(run(as_expected, &err), 0);
    CHECK_EQ(result.differences, 0);
    CHECK_EQ(result.commands, 2);
    CHECK_EQ(result.diff.len, 0);
    check_text(&result.text, as_expected);
    scenario_result_release(&result);
}

static void differs(void)
{
    struct err err;
    CHECK_EQ(run("# prose\n\ncluster a b c\ntimeout a\n    something else\n\n# more\n", &err), 0);
    CHECK_EQ(result.differences, 1);
    check_text(&result.text, as_expected);
    check_text(&result.diff, "--- x.txt\n+++ what was decided\n@@ x.txt:4: timeout a\n"
                             "-   something else\n"
                             "+   a: asks who would vote for us in term 2, log to (1,1)\n");
    CHECK_EQ(result.breach[0], 0);
    scenario_result_release(&result);
}

/* Lines that both have stand once, in their order. */
static void shows_what_is_common(void)
{
    struct err err;
    CHECK_EQ(run("cluster a b\ntimeout a\n" ASKS "deliver all\n"
                 "    b: a's log (1,1) would do in term 2: pre-vote granted\n"
                 "    a: as pre_candidate: b grants its vote: decided\n"
                 "    a: is struck by lightning\n"
                 "    a: campaigns in term 2, log to (1,1)\n",
                 &err),
             0);
    CHECK_EQ(result.differences, 1);
    CHECK(strstr(text_of(&result.diff),
                 "\n    a: as pre_candidate: b grants its vote: decided\n"
                 "-   a: is struck by lightning\n"
                 "    a: campaigns in term 2, log to (1,1)\n"
                 "+   b: vote from a is of term 2, after ours, 1: follow\n"));
    scenario_result_release(&result);
}

/* How it is indented is the author's; so are the ends of lines. */
static void keeps_indentation(void)
{
    static const char *const same[] = {
        "cluster a b c\ntimeout a\n\ta: asks who would vote for us in term 2, log to (1,1)\n",
        "cluster a b\r\n \r\ndeliver a b \r\n \t nothing like that is on its way \r\n",
        "cluster a b c\ntimeout a\n  a: asks who would vote for us in term 2, log to (1,1)",
    };
    for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
        struct err err;
        CHECK_EQ(run(same[i], &err), 0);
        CHECK_EQ(result.differences, 0);
        check_text(&result.text, same[i]);
        scenario_result_release(&result);
    }
}

static void ends_without_newline(void)
{
    struct err err;
    CHECK_EQ(run("cluster a b c\ntimeout a", &err), 0);
    CHECK_EQ(result.differences, 1);
    check_text(&result.text, "cluster a b c\ntimeout a\n" ASKS);
    scenario_result_release(&result);
}

static void quietly_is_not_compared(void)
{
    struct err err;
    static const char text[] = "cluster a b c\nquietly elect a\nquietly propose a x\napplied a\n"
                               "    a has applied: 1 configuration, 2 no-op\n";
    CHECK_EQ(run(text, &err), 0);
    CHECK_EQ(result.differences, 0);
    check_text(&result.text, text);
    scenario_result_release(&result);
}

/* Twice the same: nothing of it comes from outside. */
static void is_deterministic(void)
{
    static const char text[] = "cluster a b c d e spares f\nrun 20s\nchange a add f to vote\n"
                               "run 3s\nstate\nprogress a\nmessages\n";
    struct err err;
    CHECK_EQ(run(text, &err), 0);
    struct scenario_result first = result;
    CHECK_EQ(run(text, &err), 0);
    CHECK(first.text.len > sizeof(text) + 1000);
    check_text(&result.text, text_of(&first.text));
    scenario_result_release(&result);
    CHECK_EQ(run(text_of(&first.text), &err), 0);
    CHECK_EQ(result.differences, 0);
    scenario_result_release(&first);
    scenario_result_release(&result);
}

/* What cannot be done is said, and is no error of the script. */
static void what_cannot_be_done_is_said(void)
{
    static const struct {
        const char *command, *said;
    } rows[] = {
        {"crash a\ntimeout a", "a is down"},
        {"quietly elect a\ntimeout a", "a leads and waits for no election"},
        {"heartbeat b", "b sends no heartbeats"},
        {"deliver a b", "nothing like that is on its way"},
        {"drop all", "nothing like that is on its way"},
        {"write disk of c", "no write of c is under way"},
        {"compact a 1\ncompact a 1", "a cannot: its snapshot is at 1, applied is 1"},
        {"compact a 9", "a cannot: its snapshot is at 0, applied is 1"},
        {"cut a | b c\nelect a", "a is not elected"},
        {"progress c", "c does not lead"},
        {"propose b x", "b: refuses the proposal: no_leader"},
        {"read b", "b: refuses the read: no_leader"},
        {"change b remove a", "b: refuses the change: no_leader"},
        {"transfer b a", "b: refuses the transfer: no_leader"},
        {"quietly elect a\nquietly propose a 200 entries\nquietly propose a 190 entries\n"
         "propose a 20 entries",
         "no script needs so many entries"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char text[256], said[128];
        struct err err;
        case_row("%s", rows[i].command);
        snprintf(text, sizeof(text), "cluster a b c\n%s\n", rows[i].command);
        snprintf(said, sizeof(said), "    %s\n", rows[i].said);
        CHECK_EQ(run(text, &err), 0);
        CHECK(strstr(text_of(&result.text), said));
        CHECK_EQ(result.breach[0], 0);
        scenario_result_release(&result);
    }
    case_row_done();
}

/* A script can say that something is committed that is not, and so break a promise without the
 * core's doing. */
#define CONTRADICTION                                                                              \
    "cluster a b c\nlog a terms 1 1 commit 2\nlog b terms 1 2\nlog c terms 1 2\ncrash a\n"         \
    "quietly timeout b\nquietly deliver all\n"

static void tells_what_does_not_hold(void)
{
    struct err err;
    CHECK_EQ(run(CONTRADICTION, &err), 0);
    CHECK_EQ(result.differences, 0);
    if (strcmp(result.breach, "x.txt:7: BREACH: State Machine Safety: node b applies another "
                              "entry at 2") != 0)
        case_fail("says: %s", result.breach);
    scenario_result_release(&result);
}

/* After what makes no sense only a new cluster goes on. */
static void ends_when_nothing_makes_sense(void)
{
    static const char begin[] = "cluster a b c\nquietly elect a\nhold disk of a\n";
    char text[12000];
    size_t length = (size_t)snprintf(text, sizeof(text), "%s", begin);
    for (int i = 0; i < 300; i++)
        length += (size_t)snprintf(text + length, sizeof(text) - length, "quietly propose a x\n");
    snprintf(text + length, sizeof(text) - length, "state a\ncluster a\nstate\n");
    struct err err;
    CHECK_EQ(run(text, &err), 0);
    CHECK(strstr(result.breach, "BREACH: node a: more than 264 writes wait for its disk"));
    CHECK(strstr(text_of(&result.text),
                 "state a\n    not run: the cluster has come to its end above\n"
                 "cluster a\nstate\n    node "));
    scenario_result_release(&result);
}

/* ---- what is no script ---- */

static void names_line_and_reason(void)
{
    static const struct {
        const char *text, *why;
    } rows[] = {
        {"", "x.txt: no commands"},
        {"# prose\n\n", "x.txt: no commands"},
        {"state\n", "x.txt:1: there is no cluster yet"},
        {"cluster\n", "x.txt:1: a cluster has voters"},
        {"cluster learners a\n", "x.txt:1: a cluster has voters"},
        {"cluster a b a\n", "x.txt:1: 'a' is there already"},
        {"cluster a B\n", "x.txt:1: 'B' is no name of a node"},
        {"cluster a sixteenlettersxx\n", "is no name of a node"},
        {"cluster a b c d e f g h i j k l m n o p\n", "x.txt:1: too many nodes"},
        {"cluster a\n\n# prose\nfrobnicate a\n", "x.txt:4: no command is called 'frobnicate'"},
        {"cluster a\nquietly frobnicate a\n", "x.txt:2: no command is called 'frobnicate'"},
        {"cluster a\nquietly\n", "x.txt:2: no command is called 'quietly'"},
        {"cluster a\ntimeout\n", "x.txt:2: something is missing: want \"timeout NODE\""},
        {"cluster a\ntimeout x\n", "x.txt:2: no node is called 'x': want \"timeout NODE\""},
        {"cluster a\ntimeout a a\n", "x.txt:2: 'a' is too much: want \"timeout NODE\""},
        {"cluster a b\ndeliver a b frob\n", "x.txt:2: no message is called 'frob': want \"deliver"},
        {"cluster a b\nhold disk of x\n", "x.txt:2: no node is called 'x': want \"hold disk of"},
        {"cluster a\nrun 300\n", "x.txt:2: '300' is no duration"},
        {"cluster a\nrun 61s\n", "x.txt:2: '61s' is no duration up to 60s"},
        {"cluster a\nrun 0ms\n", "x.txt:2: '0ms' is no duration"},
        {"cluster a\ncompact a 0\n", "x.txt:2: '0' is no number"},
        {"cluster a\ncompact a x\n", "x.txt:2: 'x' is no number"},
        {"cluster a\npropose a\n", "x.txt:2: something is missing"},
        {"cluster a\npropose a sixteenlettersxx\n", "is no value: want a letter, then letters"},
        {"cluster a\npropose a 201 entries\n", "x.txt:2: '201' is no number from 1 to 200"},
        {"cluster a b\ncut a b\n", "x.txt:2: nothing is cut off: want \"cut"},
        {"cluster a b\ncut | a b\n", "x.txt:2: nobody stands in front of the bar"},
        {"cluster a b\ncut a |\n", "x.txt:2: nothing is cut off"},
        {"cluster a\nlog a terms\n", "x.txt:2: a log has entries"},
        {"cluster a\nlog a terms 2\n", "x.txt:2: terms begin with 1 and never go down"},
        {"cluster a\nlog a terms 1 3 2\n", "x.txt:2: terms begin with 1 and never go down"},
        {"cluster a\nlog a terms 1 1001\n", "x.txt:2: '1001' is no number from 1 to 1000"},
        {"cluster a\nlog a terms 1 2 term 1\n", "x.txt:2: the log has entries of term 2"},
        {"cluster a\nlog a terms 1 2 commit 3\n", "x.txt:2: '3' is no number from 1 to 2"},
        {"cluster a\nlog a terms 1 vote x\n", "x.txt:2: no node is called 'x'"},
        {"cluster a\nlog a terms 1 frob 2\n", "x.txt:2: 'frob' is too much"},
        {"cluster a b\nlog a terms 1 1 2\nlog b terms 1 2 2\n",
         "x.txt:3: entry 3 is that of a, so entry 2 must be, too"},
        {"cluster a spares b\nlog b terms 1\n", "x.txt:2: a spare has no log"},
        {"cluster a\nstate\nlog a terms 1\n",
         "x.txt:3: \"log\" stands before anything happens in the cluster"},
        {"    a: leads\ncluster a\n", "x.txt:1: no command stands above this"},
        {"cluster a\n# prose\n    a: leads\n", "x.txt:3: no command stands above this"},
        {"cluster a\nstate\n\n    a: leads\n", "x.txt:4: no command stands above this"},
        {"cluster a\nquietly state\n    a\n",
         "x.txt:3: nothing is expected of what is done quietly"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct err err = {0};
        case_row("%s", rows[i].text);
        CHECK(run(rows[i].text, &err) == ERR_BAD_REQUEST);
        if (!strstr(err.text, rows[i].why))
            case_fail("says: %s", err.text);
        scenario_result_release(&result);
    }
    case_row_done();
}

static void has_bounds(void)
{
    char line[2000];
    struct err err = {0};
    memset(line, 'a', sizeof(line) - 1);
    line[sizeof(line) - 1] = '\0';
    CHECK(run(line, &err) == ERR_BAD_REQUEST);
    CHECK(strstr(err.text, "x.txt:1: no line of a script"));
    scenario_result_release(&result);
    for (size_t i = 1; i < sizeof(line) - 1; i += 2)
        line[i] = ' ';
    CHECK(run(line, &err) == ERR_BAD_REQUEST);
    CHECK(strstr(err.text, "x.txt:1: no line of a script"));
    scenario_result_release(&result);
    char *large = mem_alloc(SCENARIO_FILE_BYTES + 2);
    memset(large, '#', SCENARIO_FILE_BYTES + 1);
    large[SCENARIO_FILE_BYTES + 1] = '\0';
    CHECK(run(large, &err) == ERR_BAD_REQUEST);
    CHECK(strstr(err.text, "x.txt: a script has 1048576 bytes at most"));
    scenario_result_release(&result);
    mem_free(large);
    scenario_result_init(&result);
    CHECK(scenario_run("x.txt", slice_of("cluster a\0b\n", 12), &result, &err) == ERR_BAD_REQUEST);
    CHECK(strstr(err.text, "with a NUL"));
    scenario_result_release(&result);
}

/* ---- the language ---- */

static void stands_in_the_man_page(void)
{
    static char page[1 << 16];
    FILE *file = fopen("man/raftkv-check.1", "r");
    REQUIRE(file);
    page[fread(page, 1, sizeof(page) - 1, file)] = '\0';
    fclose(file);
    for (const struct scenario_verb *row = scenario_verbs; row->usage; row++) {
        char line[256];
        snprintf(line, sizeof(line), "\n.B %s%s%s\n", row->usage, row->rest ? " " : "",
                 row->rest ? row->rest : "");
        if (!strstr(page, line))
            case_fail("not in man/raftkv-check.1: %s", line + 1);
    }
}

static const struct test_case cases[] = {
    {"a script as expected: no difference, and the same text", is_as_expected},
    {"a difference names file, line and command, and is put in the place", differs},
    {"a difference shows what is common", shows_what_is_common},
    {"indentation and ends of lines are the author's", keeps_indentation},
    {"a last line without a newline", ends_without_newline},
    {"what is done quietly is not compared", quietly_is_not_compared},
    {"the same script decides the same", is_deterministic},
    {"what cannot be done is said", what_cannot_be_done_is_said},
    {"what does not hold is told with file and line", tells_what_does_not_hold},
    {"when nothing makes sense the cluster ends, and the next one begins",
     ends_when_nothing_makes_sense},
    {"what is no script: line and reason", names_line_and_reason},
    {"lines, words and files have bounds", has_bounds},
    {"the man page has every command", stands_in_the_man_page},
};

CASES_MAIN(cases)
