/*
 * raftkv-check run: real nodes, load, faults, and a verdict (lib/run/run.h).
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd/raftkv-check/check.h"
#include "lib/base/prng.h"
#include "lib/run/run.h"

enum { PATH_BYTES = 4096, SEED_MAX = 1000000000 };

static const char *const consistency_words[] = {"linearizable", "lease", "stale", NULL};
static const char *const workload_words[] = {"register", "append", "set", "bank",
                                             "scan",     "batch",  NULL};

static const char *program_text, *endpoints_text, *seed_text, *report_dir, *json_path;
static const char *faults_text; /* NULL: what is usual */
static int workload_word, consistency_word;
static uint64_t nodes = 3, time_ms = 30000, clients = 10, keys, rate = 2000;

static const struct opt options[] = {
    {"nodes", 0, OPT_UINT, &nodes, "N", "nodes to start", 1, RUN_NODES_MAX, NULL, "3"},
    {"node-program", 0, OPT_STRING, &program_text, "FILE",
     "program of the nodes; raftkv-node beside this program", 0, 0, NULL, NULL},
    {"endpoints", 0, OPT_STRING, &endpoints_text, "URL,…",
     "a cluster that runs already, instead of nodes of our own", 0, 0, NULL, NULL},
    {"workload", 0, OPT_WORD, &workload_word, "NAME",
     "what clients do: register, append, set, bank, scan or batch", 0, 0, workload_words,
     "register"},
    {"faults", 0, OPT_STRING, &faults_text, "NAME,…",
     "faults, or none; NAME+NAME: at the same time", 0, 0, NULL,
     "kill,pause,partition,slow,transfer; with --endpoints none"},
    {"seed", 0, OPT_STRING, &seed_text, "N", "draw schedule and load from this number", 0, 0, NULL,
     NULL},
    {"time", 0, OPT_DURATION, &time_ms, "DUR", "for so long there are load and faults", 1000,
     86400000, NULL, "30s"},
    {"clients", 0, OPT_UINT, &clients, "N", "clients at a time", 1, WORKLOAD_CLIENTS_MAX, NULL,
     "10"},
    {"keys", 0, OPT_UINT, &keys, "N", "keys in use at a time; as the workload likes", 1,
     WORKLOAD_KEYS_MAX, NULL, NULL},
    {"rate", 0, OPT_UINT, &rate, "N", "operations a second, all clients together; 0: any", 0,
     1000000, NULL, "2000"},
    {"consistency", 0, OPT_WORD, &consistency_word, "linearizable|lease|stale",
     "of reads; stale ones are judged as if they were linearizable", 0, 0, consistency_words,
     "linearizable"},
    {"report", 0, OPT_STRING, &report_dir, "DIR",
     "keep history, logs and data there, with a page report.html", 0, 0, NULL, NULL},
    {"json", 0, OPT_STRING, &json_path, "FILE", "write the results as one object (-: stdout)", 0, 0,
     NULL, NULL},
};

static struct fault_set sets[FAULT_SETS_MAX];
static unsigned set_count;
static char program_path[PATH_BYTES];

/* ---- options ---- */

/* raftkv-node beside this program. */
static int find_program(void)
{
    if (program_text)
        snprintf(program_path, sizeof(program_path), "%s", program_text);
    else if (!program_beside("raftkv-node", program_path, sizeof(program_path)))
        return command_usage(&run_command, "raftkv-node is not found: use --node-program");
    if (access(program_path, X_OK) == 0)
        return 0;
    return command_usage(&run_command, "--node-program: %s: %s", program_path, strerror(errno));
}

/* What a fault needs must be there. */
static int check_faults(void)
{
    for (unsigned i = 0; i < set_count; i++) {
        unsigned needs = fault_set_needs(&sets[i]);
        if (endpoints_text && needs & FAULT_OF_PROCESS)
            return command_usage(&run_command,
                                 "--faults: %s needs nodes of our own, so no "
                                 "--endpoints",
                                 sets[i].name);
        if (endpoints_text && needs & FAULT_OF_LINK)
            return command_usage(&run_command,
                                 "--faults: %s needs a proxy between nodes of our "
                                 "own, so no --endpoints",
                                 sets[i].name);
        if (!endpoints_text && needs & FAULT_OF_NODE &&
            !program_has_option(program_path, "--enable-faults"))
            return command_usage(&run_command,
                                 "--faults: %s needs nodes that know "
                                 "--enable-faults, and %s does not",
                                 sets[i].name, program_path);
    }
    return 0;
}

static int check_report(void)
{
    if (!report_dir)
        return 0;
    if (mkdir(report_dir, 0777) != 0 && errno != EEXIST)
        return command_usage(&run_command, "--report: %s: %s", report_dir, strerror(errno));
    DIR *dir = opendir(report_dir);
    struct dirent *entry;
    bool empty = true;
    if (!dir)
        return command_usage(&run_command, "--report: %s: %s", report_dir, strerror(errno));
    while ((entry = readdir(dir)) != NULL)
        empty = empty && (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0);
    closedir(dir);
    return empty ? 0 : command_usage(&run_command, "--report: %s is not empty", report_dir);
}

static int parse(struct run_options *o)
{
    struct err err;
    const struct workload *workload = workload_find(workload_words[workload_word]);
    *o = (struct run_options){.nodes = (uint32_t)nodes,
                              .program = program_path,
                              .endpoints = endpoints_text,
                              .workload = workload,
                              .sets = sets,
                              .time_ms = (uint32_t)time_ms,
                              .clients = (uint32_t)clients,
                              .keys = keys ? (uint32_t)keys : workload->keys,
                              .rate = (uint32_t)rate,
                              .consistency = consistency_words[consistency_word],
                              .report = report_dir};
    const char *usual = endpoints_text ? "none" : "kill,pause,partition,slow,transfer";
    uint64_t seed = 1 + random_id() % SEED_MAX;
    if (seed_text && (opt_parse_uint(seed_text, &seed) != 0 || seed == 0))
        return command_usage(&run_command, "--seed: '%s' is no number from 1 on", seed_text);
    if (endpoints_text && program_text)
        return command_usage(&run_command, "either --endpoints or --node-program");
    if (fault_sets_parse(faults_text ? faults_text : usual, sets, &set_count, &err) != 0)
        return command_usage(&run_command, "--faults: %s", err.text);
    o->seed = seed;
    o->set_count = set_count;
    int status = endpoints_text ? 0 : find_program();
    if (status == 0)
        status = check_faults();
    if (status == 0)
        status = check_report();
    return status;
}

/* ---- while it runs, and afterwards ---- */

static void show(void *argument, const struct run_progress *p)
{
    (void)argument;
    fprintf(stderr,
            "\r%.1f of %.0f s, %" PRIu64 " operations, %" PRIu64 "/s, %" PRIu64
            " unknown, %s leads term %" PRIu64 "%s%s\x1b[K",
            (double)p->elapsed_ms / 1000, (double)p->time_ms / 1000, p->answered, p->answered_a_s,
            p->unknown, p->leader[0] ? p->leader : "nobody", p->term, *p->fault ? ", " : "",
            p->fault);
    fflush(stderr);
}

typedef void print(FILE *out, const struct run_options *o, const struct run_report *r);

static int write_file(const char *path, print *what, const struct run_options *o,
                      const struct run_report *r)
{
    struct err err;
    if (strcmp(path, "-") == 0) {
        what(stdout, o, r);
        return EXIT_DONE;
    }
    FILE *file = fopen(path, "we");
    if (file) {
        what(file, o, r);
        if (fclose(file) == 0)
            return EXIT_DONE;
    }
    err_errno(&err, ERR_IO, errno, "%s", path);
    return command_failed(&run_command, &err);
}

static int write_reports(const struct run_options *o, const struct run_report *r)
{
    char path[PATH_BYTES];
    int status = EXIT_DONE;
    if (report_dir) {
        snprintf(path, sizeof(path), "%s/report.html", report_dir);
        status = write_file(path, run_print_page, o, r);
        snprintf(path, sizeof(path), "%s/report.json", report_dir);
        if (status == EXIT_DONE)
            status = write_file(path, run_print_json, o, r);
    }
    if (status == EXIT_DONE && json_path)
        status = write_file(json_path, run_print_json, o, r);
    return status;
}

static void print_beginning(const struct run_options *o)
{
    printf("seed %" PRIu64 ": workload %s, ", o->seed, o->workload->name);
    if (o->endpoints)
        printf("nodes at %s", o->endpoints);
    else
        printf("%" PRIu32 " nodes", o->nodes);
    printf(", %" PRIu32 " clients, %" PRIu32 " keys, faults:", o->clients, o->keys);
    for (unsigned i = 0; i < o->set_count; i++)
        printf(" %s", o->sets[i].name);
    printf("%s\n", o->set_count ? "" : " none");
    fflush(stdout);
}

static int run_run(int operand_count, const char *const *operands)
{
    static const int exits[] = {EXIT_DONE, EXIT_VIOLATED, EXIT_INCONCLUSIVE};
    struct run_options o;
    struct run_report report;
    struct err err;
    bool quiet = json_path && strcmp(json_path, "-") == 0;
    (void)operand_count;
    (void)operands;
    int status = parse(&o);
    if (status != 0)
        return status;
    if (!quiet)
        print_beginning(&o);
    if (isatty(STDERR_FILENO))
        o.show = show;
    int code = run_execute(&o, &report, &err);
    if (o.show)
        fprintf(stderr, "\r\x1b[K");
    if (code != 0) {
        run_report_release(&report);
        return command_failed(&run_command, &err);
    }
    if (!quiet)
        run_print_text(stdout, &o, &report);
    status = write_reports(&o, &report);
    if (report.interrupted)
        fprintf(stderr, "raftkv-check: run: interrupted; all nodes were stopped%s\n",
                report.dir[0] ? "" : " and the directory removed");
    if (status == EXIT_DONE)
        status = exits[report.verdict];
    run_report_release(&report);
    return status;
}

static const char footer[] =
    "Faults: kill, kill-all, pause, partition, slow, lossy, disk-stall, disk-error, disk-full,\n"
    "clock-jump, clock-drift, crash, membership, transfer, rolling-restart.\n"
    "Exit codes: 0 nothing is violated, 2 usage, 9 a promise was broken, 10 inconclusive:\n"
    "interrupted, no answers, or a history that could not be judged to its end.\n";

const struct program_command run_command = {
    .name = "run",
    .usage = "[options]",
    .summary = "check real nodes under load and faults",
    .options = options,
    .option_count = sizeof(options) / sizeof(options[0]),
    .footer = footer,
    .run = run_run,
};
