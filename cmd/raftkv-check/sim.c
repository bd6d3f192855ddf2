/*
 * raftkv-check sim: many runs of the simulator; on a violation the smallest run that shows it, and
 * how to see it again.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/raftkv-check/check.h"
#include "cmd/raftkv-check/sim_jobs.h"
#include "lib/base/check.h"
#include "lib/base/clock.h"
#include "lib/sim/sim.h"

enum {
    SEEDS_DEFAULT = 100,
    DESCRIPTION_BYTES = 2048,
};

static const char *seed_text, *seeds_text, *faults_text, *without_text, *trace_file, *json_file;
static uint64_t time_ms, nodes, clients, jobs, until_ms;

static const struct opt options[] = {
    {"seed", 0, OPT_STRING, &seed_text, "N", "run this seed alone, and say what it draws", 0, 0,
     NULL, NULL},
    {"seeds", 0, OPT_STRING, &seeds_text, "A..B", "run the seeds from A to B", 0, 0, NULL,
     "1..100"},
    {"time", 0, OPT_DURATION, &time_ms, "DUR", "run seeds from A on for so long", 1, UINT32_MAX,
     NULL, NULL},
    {"nodes", 0, OPT_UINT, &nodes, "N", "voters at the beginning; drawn if not given", 1,
     SIM_VOTERS_MAX, NULL, NULL},
    {"jobs", 0, OPT_UINT, &jobs, "N", "processes at a time; as many as there are processors", 1,
     SIM_JOBS_MAX, NULL, NULL},
    {"clients", 0, OPT_UINT, &clients, "N", "no more clients than so many", 1, SIM_CLIENTS_MAX,
     NULL, NULL},
    {"faults", 0, OPT_STRING, &faults_text, "N,N,…",
     "only these of the seed's faults, by number; none: none", 0, 0, NULL, NULL},
    {"without", 0, OPT_STRING, &without_text, "WORD,…",
     "leave out what goes on all the time: loss, duplication, slow-links, …", 0, 0, NULL, NULL},
    {"until", 0, OPT_DURATION, &until_ms, "DUR",
     "end the run at this virtual time, without its last phases", 1, UINT32_MAX, NULL, NULL},
    {"trace", 0, OPT_STRING, &trace_file, "FILE", "write every decision of the seed (-: to stdout)",
     0, 0, NULL, NULL},
    {"json", 0, OPT_STRING, &json_file, "FILE", "write the figures of the campaign", 0, 0, NULL,
     NULL},
};

/* ---- options ---- */

static bool parse_range(const char *text, uint64_t *first, uint64_t *last)
{
    char number[32];
    const char *dots = strstr(text, "..");
    if (!dots || (size_t)(dots - text) >= sizeof(number))
        return false;
    memcpy(number, text, (size_t)(dots - text));
    number[dots - text] = '\0';
    return opt_parse_uint(number, first) == 0 && opt_parse_uint(dots + 2, last) == 0 &&
           *first >= 1 && *first <= *last && *last < UINT64_MAX;
}

/* The next word of a list; false at its end. */
static bool next_word(const char **list, char *word, size_t bytes)
{
    size_t len = strcspn(*list, ",");
    if (**list == '\0')
        return false;
    snprintf(word, bytes, "%.*s", (int)len, *list);
    *list += len + ((*list)[len] == ',');
    return true;
}

static int parse_faults(struct sim_setup *s)
{
    char word[32];
    uint64_t number;
    const char *list = faults_text;
    s->fewer_faults = true;
    if (strcmp(list, "none") == 0)
        return 0;
    while (next_word(&list, word, sizeof(word))) {
        if (opt_parse_uint(word, &number) != 0 || number >= SIM_FAULTS_MAX)
            return command_usage(&sim_command, "--faults: '%s' is no number of a fault", word);
        s->faults_kept |= (uint64_t)1 << number;
    }
    return 0;
}

static int parse_without(struct sim_setup *s)
{
    char word[32];
    const char *list = without_text;
    while (next_word(&list, word, sizeof(word))) {
        uint32_t i = 0;
        while (i < SIM_TRAITS && strcmp(word, sim_trait_word((enum sim_trait)i)) != 0)
            i++;
        if (i == SIM_TRAITS)
            return command_usage(&sim_command,
                                 "--without: '%s' is none of loss, duplication, slow-links, "
                                 "slow-disks, drift, reads, scans, conditions, sessions, codec, "
                                 "batches",
                                 word);
        s->without |= (uint64_t)1 << i;
    }
    return 0;
}

static int parse_setup(struct sim_setup *s, uint64_t *first, uint64_t *last)
{
    int status = 0;
    *s = (struct sim_setup){
        .voters = (uint32_t)nodes, .clients = (uint32_t)clients, .until_us = until_ms * 1000};
    *first = 1;
    *last = time_ms > 0 ? UINT64_MAX - 1 : SEEDS_DEFAULT;
    if (seed_text && seeds_text)
        return command_usage(&sim_command, "either --seed or --seeds");
    if (seed_text) {
        if (opt_parse_uint(seed_text, first) != 0 || *first == 0)
            return command_usage(&sim_command, "--seed: '%s' is no number from 1 on", seed_text);
        *last = *first;
    }
    if (seeds_text && !parse_range(seeds_text, first, last))
        return command_usage(&sim_command, "--seeds: '%s' is no range like 1..100", seeds_text);
    if (!seed_text && (trace_file || faults_text))
        return command_usage(&sim_command, "--trace and --faults are of one seed: want --seed N");
    if (seed_text && (time_ms > 0 || json_file))
        return command_usage(&sim_command, "--time and --json are of many seeds: not with --seed");
    if (faults_text)
        status = parse_faults(s);
    if (status == 0 && without_text)
        status = parse_without(s);
    return status;
}

/* A run that dies leaves its last decision behind. */
static void write_line(void *file, const char *line)
{
    fprintf(file, "%s\n", line);
    fflush(file);
}

/* ---- what is said ---- */

static void print_figures(const struct sim_totals *t, double seconds)
{
    printf("%" PRIu64 " seeds, %" PRIu64 " steps of cores, %" PRIu64
           " events, %.1f virtual hours in %.1f s: %.0f steps/s, %.0f times real time\n",
           t->seeds, t->steps, t->events, (double)t->virtual_us / 3.6e9, seconds,
           (double)t->steps / seconds, (double)t->virtual_us / 1e6 / seconds);
    printf("%" PRIu64 " elections, %" PRIu64 " snapshots installed, %" PRIu64
           " configurations, %" PRIu64 " transfers\n",
           t->elections, t->installs, t->changes, t->transfers);
    printf("%" PRIu64 " writes (%" PRIu64 " told again), %" PRIu64 " reads, %" PRIu64
           " scans, %" PRIu64 " unknown, %" PRIu64 " refused\n",
           t->writes, t->replayed, t->reads, t->scans, t->unknown, t->refused);
    printf("faults:");
    for (int i = 0; i < SIM_FAULT_KINDS; i++)
        printf("%s %s %" PRIu64, i ? "," : "", sim_fault_word((enum sim_fault_kind)i),
               t->faults[i]);
    printf("\n");
}

static void print_list(const char *option, uint64_t bits, uint32_t count,
                       const char *(*word)(uint32_t))
{
    const char *before = option;
    for (uint32_t i = 0; i < count; i++)
        if (bits >> i & 1) {
            printf("%s%s", before, word(i));
            before = ",";
        }
}

static const char *number_word(uint32_t i)
{
    static char text[16];
    snprintf(text, sizeof(text), "%u", i);
    return text;
}

static const char *trait_word(uint32_t i)
{
    return sim_trait_word((enum sim_trait)i);
}

static void print_command(const struct sim_setup *s)
{
    printf("raftkv-check sim --seed %" PRIu64, s->seed);
    if (s->voters > 0)
        printf(" --nodes %u", s->voters);
    if (s->clients > 0)
        printf(" --clients %u", s->clients);
    if (s->fewer_faults && s->faults_kept == 0)
        printf(" --faults none");
    if (s->fewer_faults)
        print_list(" --faults ", s->faults_kept, SIM_FAULTS_MAX, number_word);
    print_list(" --without ", s->without, SIM_TRAITS, trait_word);
    if (s->until_us > 0)
        printf(" --until %" PRIu64 "ms", s->until_us / 1000);
}

static void print_faults(const struct sim_setup *s)
{
    uint32_t count = sim_fault_count(s);
    char text[SIM_TEXT_BYTES];
    for (uint32_t i = 0; i < count; i++) {
        if (s->fewer_faults && !(s->faults_kept >> i & 1))
            continue;
        sim_fault_text(s, i, text, sizeof(text));
        printf("  %s\n", text);
    }
}

static void explain(struct sim_setup *s, struct sim_result *r)
{
    printf("VIOLATED, seed %" PRIu64 ": %s\n%s", s->seed, r->what, r->last);
    uint32_t runs = sim_minimise(s, r, sim_jobs_alone, NULL);
    printf("\nThe smallest run found that fails (%u were tried) ends so:\n%s\n%sIts faults:\n",
           runs, r->what, r->last);
    print_faults(s);
    printf("\nTo see it again:\n  ");
    print_command(s);
    printf(" --trace -\n");
}

static int write_json(const struct sim_setup *s, uint64_t first, const struct sim_totals *t,
                      double seconds, bool violated)
{
    FILE *f = fopen(json_file, "w");
    struct err err;
    if (!f)
        return command_failed(&sim_command,
                              (err_errno(&err, ERR_IO, errno, "%s", json_file), &err));
    fprintf(f,
            "{\"first_seed\": %" PRIu64 ", \"seeds\": %" PRIu64
            ", \"nodes\": %u, \"steps\": %" PRIu64 ", \"events\": %" PRIu64
            ", \"virtual_seconds\": %" PRIu64 ", \"seconds\": %.1f, "
            "\"result\": \"%s\"}\n",
            first, t->seeds, s->voters, t->steps, t->events, t->virtual_us / 1000000, seconds,
            violated ? "violated" : "ok");
    if (fclose(f) == 0)
        return EXIT_DONE;
    return command_failed(&sim_command, (err_errno(&err, ERR_IO, errno, "%s", json_file), &err));
}

/* ---- the command ---- */

static int run_seed(struct sim_setup *s)
{
    static struct sim_result result;
    char description[DESCRIPTION_BYTES];
    struct sim_totals t = {0};
    struct err err;
    bool to_stdout = trace_file && strcmp(trace_file, "-") == 0;
    FILE *trace = to_stdout ? stdout : NULL;
    uint64_t began_us = clock_now_us();
    sim_describe(s, description, sizeof(description));
    printf("seed %" PRIu64 ": %s", s->seed, description);
    if (!trace_file)
        print_faults(s);
    if (trace_file && !to_stdout && !(trace = fopen(trace_file, "w")))
        return command_failed(&sim_command,
                              (err_errno(&err, ERR_IO, errno, "%s", trace_file), &err));
    s->trace = trace ? write_line : NULL;
    s->trace_argument = trace;
    bool ran = sim_jobs_alone(NULL, s, &result);
    s->trace = NULL;
    if (trace && !to_stdout)
        fclose(trace); /* the process that wrote it has flushed it */
    if (!ran)
        return command_failed(&sim_command, sim_jobs_error());
    sim_totals_add(&t, &result);
    print_figures(&t, (double)(clock_now_us() - began_us + 1) / 1e6);
    if (!result.violated)
        return EXIT_DONE;
    if (trace_file)
        printf("VIOLATED, seed %" PRIu64 ": %s\n", s->seed, result.what);
    else
        explain(s, &result);
    return EXIT_VIOLATED;
}

static int run_seeds(struct sim_setup *s, uint64_t first, uint64_t last)
{
    static struct sim_result result;
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    uint64_t job_count = jobs ? jobs : processors > 0 ? (uint64_t)processors : 1;
    uint64_t began_ms = clock_now_us() / 1000;
    struct sim_jobs all = {.first = first,
                           .last = last,
                           .time_ms = time_ms,
                           .count = job_count < SIM_JOBS_MAX ? job_count : SIM_JOBS_MAX};
    struct err err;
    if (sim_jobs_many(s, &all, &s->seed, &err) != 0 && s->seed == 0)
        return command_failed(&sim_command, &err);
    uint64_t took_ms = clock_now_us() / 1000 - began_ms + 1;
    double seconds = (double)took_ms / 1000;
    struct sim_totals t = sim_jobs_totals();
    print_figures(&t, seconds);
    int status = json_file ? write_json(s, first, &t, seconds, s->seed > 0) : EXIT_DONE;
    if (s->seed == 0) {
        printf("no violation\n");
        return status;
    }
    if (!sim_jobs_alone(NULL, s, &result))
        return command_failed(&sim_command, sim_jobs_error());
    if (result.violated)
        explain(s, &result);
    else
        printf("VIOLATED, seed %" PRIu64 ", and not again when run alone\n", s->seed);
    return EXIT_VIOLATED;
}

static int run_sim(int operand_count, const char *const *operands)
{
    struct sim_setup setup;
    uint64_t first, last;
    (void)operand_count;
    (void)operands;
    int status = parse_setup(&setup, &first, &last);
    if (status != 0)
        return status;
    struct err err;
    if (sim_jobs_init(&err) != 0)
        return command_failed(&sim_command, &err);
    setup.seed = first;
    return seed_text ? run_seed(&setup) : run_seeds(&setup, first, last);
}

const struct program_command sim_command = {
    .name = "sim",
    .usage = "[options]",
    .summary = "run whole clusters in virtual time, with faults",
    .options = options,
    .option_count = sizeof(options) / sizeof(options[0]),
    .footer = "Each run is drawn from its seed alone and is the same on every machine. Exit status "
              "9: a\npromise was broken; the smallest run that shows it is printed.\n",
    .run = run_sim,
};
