/* Each method on histories that show one rule, the budget and memory of the search, parts, what is
 * left of a violation, and the page. How the methods agree: history_model.c. */
#include "lib/history/check.h"

#include <stdio.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/history/parse.h"
#include "lib/history/proof.h"
#include "tests/support/cases.h"

static struct history h;
static struct history_parts parts;
static struct history_report report;

/* An event a word: "1put:k=v" calls, "1ok", "1ok=v", "1ok@5" (version), "1ok%5" (index), "1info",
 * "1fail". See the rows below. */
static void add_word(const char *word, uint32_t line)
{
    struct history_event e;
    struct err err = {.text = ""};
    char name[16] = "", key[16] = "", value[64] = "", expect[16] = "";
    history_event_init(&e);
    e.line = line;
    e.process = (uint32_t)(word[0] - '0');
    const char *rest = word + 1;
    size_t n = strspn(rest, "abcdefghijklmnopqrstuvwxyz");
    memcpy(name, rest, n);
    rest += n;
    if (*rest == ':') {
        n = strcspn(++rest, "=>@%");
        memcpy(key, rest, n);
        rest += n;
        e.key = intern_add(&h.keys, slice_str(key));
    }
    if (*rest == '>') { /* cas:k>expect=value */
        n = strcspn(++rest, "=");
        memcpy(expect, rest, n);
        rest += n;
        e.expect = strcmp(expect, "-") == 0 ? 0 : intern_add(&h.values, slice_str(expect));
    }
    if (*rest == '=') {
        n = strcspn(++rest, "@%");
        memcpy(value, rest, n);
        rest += n;
        e.value = strcmp(value, "-") == 0 ? 0 : intern_add(&h.values, slice_str(value));
    }
    if (*rest == '@')
        e.version = (uint64_t)(rest[1] - '0');
    if (*rest == '%')
        e.index = (uint64_t)(rest[1] - '0');
    if (strchr(rest, '!')) /* a delete that found nothing: "1ok@3!" */
        e.existed = HISTORY_WAS_ABSENT;
    if (strchr(rest, '+')) /* … something */
        e.existed = HISTORY_EXISTED;
    static const char *const types[] = {"", "ok", "fail", "info"};
    e.type = HISTORY_INVOKE;
    for (uint8_t t = 1; t < 4; t++)
        if (strcmp(name, types[t]) == 0)
            e.type = t;
    for (uint32_t k = 0; k < HISTORY_KINDS; k++)
        if (strcmp(name, history_kind_name(k)) == 0)
            e.kind = (uint8_t)k;
    if (e.type == HISTORY_RETURN_OK && strchr(word, '[')) { /* a scan: "1ok[a=1,b=2]%5" */
        e.has_items = true;
        e.items = h.item_count;
        for (const char *at = strchr(word, '[') + 1; *at && *at != ']'; at += *at == ',') {
            struct history_item item = {0};
            item.key = intern_add(&h.keys, slice_of(at, 1));
            item.value = intern_add(&h.values, slice_of(at + 2, 1));
            at += 3;
            history_add_item(&h, item);
            e.item_count++;
        }
        if (strchr(word, '%'))
            e.index = (uint64_t)(strchr(word, '%')[1] - '0');
    }
    if (history_add(&h, &e, &err) != 0)
        case_fail("%s: %s", word, err.text);
}

static void set_up(const char *words)
{
    char copy[1024], *rest = copy, *word;
    uint32_t line = 0;
    snprintf(copy, sizeof(copy), "%s", words);
    history_init(&h);
    while ((word = strtok_r(rest, " ", &rest)))
        add_word(word, ++line);
    history_parts_init(&parts, &h);
}

static void tear_down(void)
{
    history_parts_release(&parts);
    history_release(&h);
}

static enum history_verdict judge(const struct history_limits *limits)
{
    history_judge(&parts, limits, &report);
    return report.verdict;
}

/* ---- the methods ---- */

enum { LIN = VERDICT_LINEARIZABLE, BAD = VERDICT_VIOLATED, UNFIT = VERDICT_UNFIT };

struct row {
    const char *words;
    int index, zones, search;
    const char *why; /* in the complaint of index or zones */
};

static const struct row rows[] = {
    {"1put:k=a 1ok 2get:k 2ok=a", UNFIT, LIN, LIN, "bears no version"},
    {"1put:k=a 1ok 2get:k 2ok=-", UNFIT, BAD, BAD, "absent was read after"},
    {"2get:k 2ok=a 1put:k=a 1ok", UNFIT, BAD, BAD, "before the put that it read was called"},
    {"1put:k=a 2get:k 2ok=a 1ok", UNFIT, LIN, LIN, ""},
    {"2get:k 2ok=z", UNFIT, BAD, BAD, "what nobody had written"},
    {"1put:k=a 1ok 1put:k=b 1ok 2get:k 2ok=a", UNFIT, BAD, BAD, "without a gap"},
    /* two readers see two concurrent writes in different orders */
    {"1put:k=a 2put:k=b 3get:k 3ok=a 3get:k 3ok=b 4get:k 4ok=b 4get:k 4ok=a 1ok 2ok", UNFIT, BAD,
     BAD, ""},
    /* of unknown outcome: late, early, never */
    {"1put:k=a 1info 2get:k 2ok=- 2get:k 2ok=a", UNFIT, LIN, LIN, ""},
    {"1put:k=a 1info 2get:k 2ok=a 2get:k 2ok=-", UNFIT, BAD, BAD, ""},
    {"1put:k=a 1fail 2get:k 2ok=a", UNFIT, BAD, BAD, ""},
    {"2get:k 1put:k=a 1info 2fail 3get:k 3ok=-", UNFIT, LIN, LIN, ""},
    /* what zones do not know */
    {"1put:k=a 1ok 1put:k=a 1ok", UNFIT, UNFIT, LIN, "written twice (lines 1 and 3)"},
    {"1put:k=a 1ok 1delete:k 1ok 2get:k 2ok=-", UNFIT, UNFIT, LIN, "neither put nor get"},
    {"1cas:k>-=a 1ok 1cas:k>a=b 1ok 2get:k 2ok=b", UNFIT, UNFIT, LIN, ""},
    {"1cas:k>-=a 1ok 2cas:k>-=b 2ok", UNFIT, UNFIT, BAD, ""},
    {"1append:k=a 1ok 1append:k=b 1ok 2get:k 2ok=ab", UNFIT, UNFIT, LIN, ""},
    {"1append:k=a 1ok 1append:k=b 1ok 2get:k 2ok=ba", UNFIT, UNFIT, BAD, ""},
    /* by index */
    {"1put:k=a 1ok@3 1put:k=b 1ok@4 2get:k 2ok=b@4", LIN, LIN, LIN, ""},
    {"1put:k=a 1ok@3 1put:k=b 1ok@4 2get:k 2ok=a@3", BAD, BAD, BAD, "is stale"},
    {"1put:k=a 1ok@4 1put:k=b 1ok@3", BAD, LIN, LIN, "stands at 3 in the log"},
    {"1put:k=a 1ok@3 2put:k=b 2ok@3", BAD, LIN, LIN, "at the same index, 3"},
    {"1put:k=a 1ok@3 2get:k 2ok=a@4", BAD, LIN, LIN, "which no operation wrote"},
    {"1put:k=a 1ok@3 2get:k 2ok=b@3", BAD, BAD, BAD, "another value than was written"},
    {"1put:k=a 1info 2get:k 2ok=a@7 3put:k=b 3ok@9", LIN, LIN, LIN, ""},
    {"1cas:k>a=b 1ok@3", BAD, UNFIT, BAD, "another value at its index"},
    {"2put:k=a 2info 1cas:k>a=b 1ok@3", LIN, UNFIT, LIN, ""},
    {"1append:k=a 1ok@1 1append:k=b 1ok@2 2get:k 2ok=ab@2", LIN, UNFIT, LIN, ""},
    {"1put:a=1 1ok@1 1put:b=2 1ok@2 2scan: 2ok[a=1,b=2]%2", LIN, UNFIT, LIN, ""},
    {"1put:a=1 1ok@1 1put:b=2 1ok@2 2scan: 2ok[b=2]%2", BAD, UNFIT, BAD, "what was there"},
    {"1put:a=1 1ok@1 1put:b=2 1ok@2 2scan: 2ok[a=1]%1", BAD, UNFIT, BAD, "stands at 1"},
    {"1put:a=1 1ok@1 2scan:a 2ok[a=1,a=1]%1", BAD, UNFIT, BAD, "a key twice"},
    {"1put:a=1 1ok@1 2scan:b 2ok[a=1]%1", BAD, UNFIT, BAD, "without its prefix"},
    {"2scan:b 2ok[]%1", LIN, UNFIT, LIN, ""},
    /* absent at an index, without a version: a delete of unknown outcome stood no later, however
     * late another reply would have it */
    {"1put:k=a 1ok@1 2delete:k 2info 3get:k 3ok=-%3 3cas:k>-=b 3ok@7", LIN, UNFIT, LIN, ""},
    {"1put:k=a 1ok@1 3get:k 3ok=-%3 3cas:k>-=b 3ok@7", BAD, UNFIT, BAD, "at its index"},
    {"1put:k=a 1ok@1 2get:k 2ok=-%3", BAD, BAD, BAD, "at its index"},
    /* a delete that found nothing: another one, of unknown outcome, had been there */
    {"1put:k=a 1ok@1 2delete:k 2info 3delete:k 3ok@4!", LIN, UNFIT, LIN, ""},
    {"1put:k=a 1ok@1 2delete:k 2info 3delete:k 3ok@4! 3get:k 3ok=a@1", UNFIT, UNFIT, BAD, ""},
    {"1put:k=a 1ok@1 3delete:k 3ok@4!", BAD, UNFIT, BAD, "deleted nothing"},
    /* … and one that found something tells of a put */
    {"1put:k=a 1info 3delete:k 3ok@4+ 3get:k 3ok=-%4", LIN, UNFIT, LIN, ""},
    {"1put:k=a 1info 2put:k=b 2info 3delete:k 3ok@4+ 4get:k 4ok=b@6", LIN, UNFIT, LIN, ""},
    {"3delete:k 3ok@4+ 1put:k=a 1info", UNFIT, UNFIT, BAD, ""},
    {"3delete:k 3ok@4+", BAD, UNFIT, BAD, "deleted something"},
};

static void methods_know_their_rules(void)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const int want[METHOD_COUNT] = {rows[i].index, rows[i].zones, rows[i].search};
        bool said = rows[i].why[0] == '\0';
        set_up(rows[i].words);
        for (int m = 0; m < METHOD_COUNT; m++) {
            const struct history_limits limits = {.forced = true, .method = (enum history_method)m};
            int got = (int)judge(&limits);
            if (got != want[m])
                case_fail("%s, by %s: got %d, want %d: %s", rows[i].words,
                          history_method_name((enum history_method)m), got, want[m], report.why);
            said = said || strstr(report.why, rows[i].why);
        }
        if (!said)
            case_fail("%s: nobody says: %s", rows[i].words, rows[i].why);
        tear_down();
    }
}

static void chooses_the_fastest(void)
{
    const struct history_limits limits = {0};
    set_up("1put:a=1 1ok@1 1put:b=2 1ok 1put:c=3 1ok 1put:c=3 1ok");
    CHECK_EQ(judge(&limits), VERDICT_LINEARIZABLE);
    CHECK_EQ(report.parts[METHOD_INDEX], 1);
    CHECK_EQ(report.parts[METHOD_ZONES], 1);
    CHECK_EQ(report.parts[METHOD_SEARCH], 1);
    tear_down();
}

static void scans_tie_keys(void)
{
    set_up("1put:a=1 1ok 1put:b=1 1ok 2scan:a 2ok[a=1] 1put:ab=1 1ok");
    uint32_t tied = 0;
    for (uint32_t i = 0; i < parts.count; i++)
        if (parts.parts[i].several_keys && parts.parts[i].key_count == 2)
            tied++;
    CHECK_EQ(tied, 1);
    tear_down();
}

/* ---- limits ---- */

static bool at_once(void *argument)
{
    (void)argument;
    return true;
}

/* Ten writers at once, and a read that needs them all in another order than they can be: long. */
static void make_hard(void)
{
    char words[1024] = "";
    size_t at = 0;
    for (int round = 0; round < 2; round++) {
        for (int p = 0; p < 9; p++)
            at += (size_t)snprintf(words + at, sizeof(words) - at, "%dappend:k=%c ", p, 'a' + p);
        for (int p = 0; p < 9; p++)
            at += (size_t)snprintf(words + at, sizeof(words) - at, "%dok ", p);
    }
    snprintf(words + at, sizeof(words) - at, "1get:k 1ok=nothing");
    set_up(words);
}

static void limits_leave_it_open(void)
{
    const struct history_limits time = {.stop = at_once}, memory = {.memory_bytes = 1 << 20};
    make_hard();
    CHECK_EQ(judge(&time), VERDICT_OPEN);
    CHECK(!report.out_of_memory);
    CHECK_EQ(judge(&memory), VERDICT_OPEN);
    CHECK(report.out_of_memory);
    CHECK_EQ(report.open, 1);
    tear_down();
}

static void search_goes_on_where_it_was(void)
{
    set_up("1cas:k>-=a 2cas:k>a=b 3cas:k>b=c 4cas:k>c=d 1ok 2ok 3ok 4ok 1get:k 1ok=d");
    const struct history_part *p = NULL;
    for (uint32_t i = 0; i < parts.count; i++)
        if (parts.parts[i].count > 0)
            p = &parts.parts[i];
    REQUIRE(p);
    struct search *s = search_new(p);
    enum history_verdict v = VERDICT_OPEN;
    uint32_t calls = 0;
    for (; v == VERDICT_OPEN && calls < 1000; calls++)
        v = search_run(s, 1, UINT64_MAX);
    CHECK_EQ(v, VERDICT_LINEARIZABLE);
    CHECK(calls >= 4);
    CHECK(search_steps(s) >= calls - 1);
    search_free(s);
    tear_down();
}

/* A key whose search takes long does not keep another's violation from being found. */
static void rounds_are_fair(void)
{
    const struct history_limits limits = {0};
    make_hard();
    add_word("8put:z=1", 100);
    add_word("8ok", 101);
    add_word("8put:z=1", 102);
    add_word("8ok", 103);
    add_word("8get:z", 104);
    add_word("8ok=2", 105);
    history_parts_release(&parts);
    history_parts_init(&parts, &h);
    CHECK_EQ(judge(&limits), VERDICT_VIOLATED);
    CHECK(report.steps < 100000);
    tear_down();
}

/* ---- proofs ---- */

static void prove(struct history_proof *proof)
{
    const struct history_limits limits = {0};
    REQUIRE(judge(&limits) == VERDICT_VIOLATED);
    history_prove(&parts.parts[report.violated], report.method, &limits, proof);
}

static void check_lines(const struct history_proof *proof, const char *want)
{
    char got[256] = "";
    size_t at = 0;
    for (uint32_t i = 0; i < proof->count; i++)
        at += (size_t)snprintf(got + at, sizeof(got) - at, "%s%u", i > 0 ? " " : "",
                               h.operations[proof->ops[i]].call_line);
    if (strcmp(got, want) != 0)
        case_fail("got lines %s, want %s", got, want);
}

static void keeps_the_smallest(void)
{
    static const struct {
        const char *words, *lines;
        uint32_t breaks; /* the line of the return */
    } proofs[] = {
        /* the stale get, its put and the one that overwrote it; not what comes before or behind */
        {"1put:k=x 1ok 3get:k 3ok=x 1put:k=a 1ok 1put:k=b 1ok 2get:k 2ok=b 2get:k 2ok=a 1put:k=c "
         "1ok 3get:k 3ok=c",
         "5 7 11", 12},
        /* an unread value needs nothing else */
        {"1put:k=x 1ok 2get:k 2ok=z 2get:k 2ok=x", "3", 4},
        /* another key is not there at all */
        {"1put:a=x 1ok 1put:k=x 1ok 2get:k 2ok=-", "3 5", 6},
        /* a put whose value is read stays, or the read alone would be the violation */
        {"1put:k=a 1ok 1delete:k 1ok 1put:k=a 1ok 1delete:k 1ok 2get:k 2ok=a", "1 5 7 9", 10},
    };
    for (size_t i = 0; i < sizeof(proofs) / sizeof(proofs[0]); i++) {
        struct history_proof proof;
        case_row("row %zu", i);
        set_up(proofs[i].words);
        prove(&proof);
        CHECK(proof.smallest);
        REQUIRE(proof.breaks != HISTORY_NO_ID);
        CHECK_EQ(h.operations[proof.breaks].return_line, proofs[i].breaks);
        check_lines(&proof, proofs[i].lines);
        history_proof_release(&proof);
        tear_down();
    }
    case_row_done();
}

static uint32_t count_of(const char *text, const char *part)
{
    uint32_t n = 0;
    for (; (text = strstr(text, part)); text++)
        n++;
    return n;
}

static void page_shows_it(void)
{
    struct history_proof proof;
    struct buf page;
    buf_init(&page, 1 << 20);
    set_up("1put:<k=x 1ok 2get:<k 2ok=-");
    prove(&proof);
    CHECK_EQ(
        history_page(&parts.parts[report.violated], &report, &proof, "<script>&'\"\xff", &page), 0);
    const char *text = (const char *)page.data;
    CHECK_EQ(count_of(text, "data-line="), 2);
    CHECK_EQ(count_of(text, "class=\"op shows impossible\""), 1);
    CHECK_EQ(count_of(text, "<script"), 0);
    CHECK(strstr(text, "&lt;script&gt;&amp;&#39;&quot;?"));
    CHECK(strstr(text, "&quot;&lt;k&quot;"));
    CHECK_EQ(count_of(text, "http"), 1); /* "http-equiv" */
    buf_release(&page);
    buf_init(&page, 100);
    CHECK_EQ(history_page(&parts.parts[report.violated], &report, &proof, "x", &page),
             ERR_TOO_LARGE);
    buf_release(&page);
    history_proof_release(&proof);
    tear_down();
}

static const struct test_case cases[] = {
    {"each method knows its rules", methods_know_their_rules},
    {"the fastest method that can tell is chosen for each key", chooses_the_fastest},
    {"scans tie keys together", scans_tie_keys},
    {"limits leave it open", limits_leave_it_open},
    {"a search goes on where it was", search_goes_on_where_it_was},
    {"rounds are fair", rounds_are_fair},
    {"the smallest set is what is needed", keeps_the_smallest},
    {"the page shows it, escaped", page_shows_it},
};
CASES_MAIN(cases)
