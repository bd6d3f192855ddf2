/*
 * raftkv-check explore: bounded exhaustive search of the core's states (lib/sim/explore.h).
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cmd/raftkv-check/check.h"
#include "lib/sim/explore.h"

static struct explore_options settings = {
    .nodes = 3,
    .budgets = {[EXPLORE_TIMEOUTS] = 3, [EXPLORE_PROPOSALS] = 1},
    .messages = 3,
    .batch = 1,
    .symmetry = true,
    .memory_bytes = UINT64_C(2) << 30,
};

static const char *const disk_words[] = {"quick", "slow", NULL};
static const char *const switch_words[] = {"on", "off", NULL};
static int disk_word, symmetry_word;

#define BUDGET(name, which, text, shown)                                                           \
    {                                                                                              \
        name, 0, OPT_UINT, &settings.budgets[which], "N", text, 0, EXPLORE_BUDGET_MAX, NULL, shown \
    }

static const struct opt options[] = {
    {"nodes", 0, OPT_UINT, &settings.nodes, "N", "voters at the beginning", 1, EXPLORE_NODES_MAX,
     NULL, "3"},
    {"spares", 0, OPT_UINT, &settings.spares, "N", "nodes outside the cluster, to be added", 0,
     EXPLORE_NODES_MAX - 1, NULL, "0"},
    BUDGET("timeouts", EXPLORE_TIMEOUTS, "election timeouts, and leaders that lose their quorum",
           "3"),
    BUDGET("heartbeats", EXPLORE_HEARTBEATS, "rounds of heartbeats of a leader", "0"),
    BUDGET("crashes", EXPLORE_CRASHES, "crashes, each with a start", "0"),
    {"messages", 0, OPT_UINT, &settings.messages, "N", "messages in flight; more are lost", 1,
     EXPLORE_IN_FLIGHT_MAX, NULL, "3"},
    {"batch", 0, OPT_UINT, &settings.batch, "N", "entries of an append at most", 1, EXPLORE_LOG_MAX,
     NULL, "1"},
    BUDGET("losses", EXPLORE_LOSSES, "messages lost, beside those", "0"),
    BUDGET("duplicates", EXPLORE_DUPLICATES, "messages delivered once more", "0"),
    BUDGET("proposals", EXPLORE_PROPOSALS, "entries proposed", "1"),
    BUDGET("changes", EXPLORE_CHANGES, "changes of membership", "0"),
    BUDGET("transfers", EXPLORE_TRANSFERS, "transfers of leadership", "0"),
    BUDGET("compactions", EXPLORE_COMPACTIONS, "compactions of a log", "0"),
    BUDGET("reads", EXPLORE_READS, "reads asked for", "0"),
    {"disk", 0, OPT_WORD, &disk_word, "quick|slow",
     "writes are durable at once, or later, and lost in a crash", 0, 0, disk_words, "quick"},
    {"symmetry", 0, OPT_WORD, &symmetry_word, "on|off",
     "states that differ by the names of nodes count as one", 0, 0, switch_words, "on"},
    {"depth", 0, OPT_UINT, &settings.depth, "N", "steps from the beginning; 0: any", 0, UINT32_MAX,
     NULL, "0"},
    {"states", 0, OPT_UINT, &settings.states, "N", "distinct states; 0: any number", 0,
     UINT32_MAX / 2, NULL, "0"},
    {"memory", 0, OPT_BYTES, &settings.memory_bytes, "SIZE", "memory", UINT64_C(16) << 20,
     UINT64_C(1) << 40, NULL, "2GiB"},
    {"time", 0, OPT_DURATION, &settings.time_ms, "DUR", "time; 0: any", 0, UINT64_MAX / 2, NULL,
     "0"},
    {"jobs", 0, OPT_UINT, &settings.jobs, "N", "threads; 0: one a processor", 0, EXPLORE_JOBS_MAX,
     NULL, "0"},
};

/* ---- while it runs ---- */

static uint64_t shown_ms;

static void show_progress(void *argument, const struct explore_progress *p)
{
    (void)argument;
    if (p->elapsed_ms < shown_ms + 200)
        return;
    shown_ms = p->elapsed_ms;
    fprintf(stderr,
            "\r%" PRIu64 " states, depth %" PRIu32 ", %" PRIu64 " of it left, %" PRIu64
            " states/s, %" PRIu64 " MiB\x1b[K",
            p->states, p->depth, p->queued, p->states * 1000 / (p->elapsed_ms + 1),
            p->memory_bytes >> 20);
    fflush(stderr);
}

/* ---- afterwards ---- */

/* Each line of `text` behind `indent`. */
static void print_lines(const char *text, const char *indent)
{
    while (*text) {
        size_t len = strcspn(text, "\n");
        printf("%s%.*s\n", indent, (int)len, text);
        text += len + (text[len] == '\n');
    }
}

static void print_counterexample(const struct explore_report *r)
{
    printf("VIOLATED: %s\n", r->violation);
    for (size_t i = 0; i < r->step_count; i++) {
        printf("%3zu. %s\n", i + 1, r->steps[i].text);
        print_lines(r->steps[i].trace, "       ");
    }
    printf("The same options find it again, whatever --jobs.\n\n");
}

static void print_bounds(void)
{
    printf("bounds        %" PRIu64 " nodes", settings.nodes);
    if (settings.spares > 0)
        printf(" and %" PRIu64 " spares", settings.spares);
    printf(", %" PRIu64 " messages in flight, disk %s", settings.messages, disk_words[disk_word]);
    for (uint32_t b = 0; b < EXPLORE_BUDGETS; b++)
        if (settings.budgets[b] > 0)
            printf(", %" PRIu64 " %s", settings.budgets[b], explore_budget_name(b));
    printf("\n");
}

static void print_counts(const struct explore_report *r)
{
    printf("transitions  ");
    for (uint32_t k = 0; k < EXPLORE_KINDS; k++)
        if (r->per_kind[k] > 0)
            printf(" %" PRIu64 " %s,", r->per_kind[k], explore_kind_name(k));
    printf(" %" PRIu64 " in all\n", r->transitions);
    printf("per depth    ");
    for (uint32_t d = 0; d <= r->depth && d < EXPLORE_DEPTHS; d++)
        printf(" %" PRIu64, r->per_depth[d]);
    printf("\n");
}

static const char *end_text(enum explore_end end)
{
    switch (end) {
    case EXPLORE_WHOLE: return "everything within the bounds was seen, nothing is violated";
    case EXPLORE_VIOLATED: return "violated";
    case EXPLORE_DEPTH: return "inconclusive: --depth ended it, nothing is violated so far";
    case EXPLORE_STATES: return "inconclusive: --states ended it, nothing is violated so far";
    case EXPLORE_MEMORY: return "inconclusive: --memory ended it, nothing is violated so far";
    case EXPLORE_TIME: return "inconclusive: --time ended it, nothing is violated so far";
    case EXPLORE_CUT: return "inconclusive: steps were left out, nothing is violated elsewhere";
    }
    return "";
}

static void print_report(const struct explore_report *r)
{
    print_bounds();
    printf("states        %" PRIu64 " distinct (%" PRIu32 " permutations of names count as one), "
           "depth %" PRIu32 "\n",
           r->states, r->permutations, r->depth);
    print_counts(r);
    printf("cores         %" PRIu64 " node states, %" PRIu64 " messages, %" PRIu64
           " steps of the core\n",
           r->node_states, r->message_kinds, r->core_steps);
    if (r->cut > 0)
        printf("cut           %" PRIu64 " steps with more writes or entries than fit\n", r->cut);
    printf("speed         %.2f s, %.0f states/s, %.0f transitions/s\n", r->seconds,
           (double)r->states / r->seconds, (double)r->transitions / r->seconds);
    printf("memory        %" PRIu64 " MiB of at most %" PRIu64 " MiB\n", r->memory_bytes >> 20,
           settings.memory_bytes >> 20);
    printf("collisions    odds that two states were taken for one: %.1e\n", r->collision_odds);
    printf("result        %s\n", end_text(r->end));
}

static int run(int operand_count, const char *const *operands)
{
    struct explore_report report;
    struct err err;
    (void)operand_count;
    (void)operands;
    settings.slow_disk = disk_word == 1;
    settings.symmetry = symmetry_word == 0;
    if (settings.jobs == 0) {
        long processors = sysconf(_SC_NPROCESSORS_ONLN);
        settings.jobs = processors < 1 ? 1 : (uint64_t)processors;
        if (settings.jobs > EXPLORE_JOBS_MAX)
            settings.jobs = EXPLORE_JOBS_MAX;
    }
    if (isatty(STDERR_FILENO))
        settings.progress = show_progress;
    if (explore_run(&settings, &report, &err) != 0)
        return command_usage(&explore_command, "%s", err.text);
    if (settings.progress)
        fprintf(stderr, "\r\x1b[K");
    if (report.end == EXPLORE_VIOLATED)
        print_counterexample(&report);
    print_report(&report);
    enum explore_end end = report.end;
    explore_report_release(&report);
    if (end == EXPLORE_WHOLE)
        return EXIT_DONE;
    return end == EXPLORE_VIOLATED ? EXIT_VIOLATED : EXIT_INCONCLUSIVE;
}

const struct program_command explore_command = {
    .name = "explore",
    .usage = "[options]",
    .summary = "search all states that cores can reach within bounds",
    .options = options,
    .option_count = sizeof(options) / sizeof(options[0]),
    .footer = "Exit codes: 0 all seen, 9 violated, 10 a limit ended it (--depth, --states, "
              "--memory, --time)\nor steps were left out (cut).\n",
    .run = run,
};
