/*
 * raftkv-bench without a command: the options of a measurement, its live line, its reports
 * (lib/bench/bench.h).
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/raftkv-bench/command.h"
#include "lib/base/limits.h"
#include "lib/base/prng.h"
#include "lib/bench/report.h"
#include "lib/bench/text.h"

enum {
    PATH_BYTES = 4096,
    SEED_MAX = 1000000000,
    RATE_MAX = 10000000,
    LOCAL_MAX = 7,
    SCAN_DEFAULT = 100,
    STAMP_BYTES = 24, /* of a value, that make it unlike all others: for a history */
};

static const char *const consistency_words[] = {"linearizable", "lease", "stale", NULL};
static const char *const order_words[] = {"uniform", "zipfian", "sequential", "latest", NULL};
static const char *const target_words[] = {"all", "leader", NULL};
static const char *const arrivals_words[] = {"even", "poisson", NULL};
static const char *const output_words[] = {"text", "json", NULL};
static const char *const workload_words[] = {
    "put", "get", "delete", "scan", "conditional", "mixed", "a", "b", "c", "d", "e", "f", NULL};

static const char *endpoints_text, *program_text, *ratio_text, *prefix_text, *keys_file;
static const char *value_text = "100", *seed_text, *slo_text, *history_path;
static const char *csv_path, *hdr_path, *html_path;
static int consistency_word = -1, order_word = -1, target_word, arrivals_word, output_word;
static int workload_word = 5;
static uint64_t local, keys_count, preload, clients = 64, connections, threads = 1, rate;
static uint64_t ramp_ms, warmup_ms, time_ms, count, timeout_ms = 5000, scan_max = SCAN_DEFAULT;

static const struct opt options[] = {
    {"endpoints", 0, OPT_STRING, &endpoints_text, "URL,…",
     "a running cluster; RAFTKV_ENDPOINTS, or http://127.0.0.1:5001", 0, 0, NULL, NULL},
    {"local", 0, OPT_UINT, &local, "N", "start so many nodes, and remove them in the end", 1,
     LOCAL_MAX, NULL, NULL},
    {"node-program", 0, OPT_STRING, &program_text, "FILE",
     "program of those nodes; raftkv-node beside this program", 0, 0, NULL, NULL},
    {"target", 0, OPT_WORD, &target_word, "all|leader",
     "spread over all endpoints, or follow the leader", 0, 0, target_words, "all"},
    {"workload", 'w', OPT_WORD, &workload_word, "NAME", "what is asked for, see below", 0, 0,
     workload_words, "mixed"},
    {"ratio", 0, OPT_STRING, &ratio_text, "OP=N,…",
     "parts of the operations of mixed: put, insert, get, delete, scan, conditional", 0, 0, NULL,
     "get=50,put=50"},
    {"keys", 0, OPT_UINT, &keys_count, "N", "different keys, or as many as --preload", 1,
     KEYS_COUNT_MAX, NULL, "10000"},
    {"key-order", 0, OPT_WORD, &order_word, "ORDER",
     "uniform, zipfian, sequential or latest; as the workload likes", 0, 0, order_words, NULL},
    {"key-prefix", 0, OPT_STRING, &prefix_text, "TEXT",
     "what keys begin with; with --history something new", 0, 0, NULL, "bench-"},
    {"key-file", 0, OPT_STRING, &keys_file, "FILE", "take the keys from there, one a line", 0, 0,
     NULL, NULL},
    {"value-size", 0, OPT_STRING, &value_text, "N[..M]",
     "bytes of a value, or drawn evenly from N to M", 0, 0, NULL, "100"},
    {"scan-length", 0, OPT_UINT, &scan_max, "N", "items of a scan, drawn evenly from 1 to N", 1,
     LIMIT_PAGE_ITEMS, NULL, "100"},
    {"preload", 0, OPT_UINT, &preload, "N", "put so many keys before anything is measured", 1,
     KEYS_COUNT_MAX, NULL, NULL},
    {"clients", 'c', OPT_UINT, &clients, "N", "requests under way at a time", 1, BENCH_CLIENTS_MAX,
     NULL, "64"},
    {"connections", 0, OPT_UINT, &connections, "N", "TCP connections at most; one a client", 1,
     BENCH_CLIENTS_MAX, NULL, NULL},
    {"threads", 't', OPT_UINT, &threads, "N", "threads of this program", 1, BENCH_THREADS_MAX, NULL,
     "1"},
    {"rate", 'r', OPT_UINT, &rate, "N",
     "open loop: so many operations a second, whatever the answers do; without: closed loop", 1,
     RATE_MAX, NULL, NULL},
    {"arrivals", 0, OPT_WORD, &arrivals_word, "even|poisson", "distances of an open loop", 0, 0,
     arrivals_words, "even"},
    {"ramp", 0, OPT_DURATION, &ramp_ms, "DUR", "begin with less and grow for so long; not counted",
     0, 86400000, NULL, "0"},
    {"warmup", 0, OPT_DURATION, &warmup_ms, "DUR", "full load that is not counted", 0, 86400000,
     NULL, "0"},
    {"time", 'd', OPT_DURATION, &time_ms, "DUR", "measure for so long", 1, 604800000, NULL, "10s"},
    {"count", 'n', OPT_UINT, &count, "N", "end after so many operations; without --time: only then",
     1, UINT64_C(1) << 50, NULL, NULL},
    {"timeout", 0, OPT_DURATION, &timeout_ms, "DUR", "of a request", 1, 600000, NULL, "5s"},
    {"consistency", 0, OPT_WORD, &consistency_word, "linearizable|lease|stale",
     "of reads; as the nodes like", 0, 0, consistency_words, NULL},
    {"seed", 0, OPT_STRING, &seed_text, "N", "draw keys, operations and arrivals from this number",
     0, 0, NULL, NULL},
    {"slo", 0, OPT_STRING, &slo_text, "LIST", "objectives: put.p99<10ms,get.p99<5ms,errors<0.1%", 0,
     0, NULL, NULL},
    {"output", 'o', OPT_WORD, &output_word, "text|json", "form of the result on stdout", 0, 0,
     output_words, "text"},
    {"csv", 0, OPT_STRING, &csv_path, "FILE", "write a line a second", 0, 0, NULL, NULL},
    {"hdr", 0, OPT_STRING, &hdr_path, "FILE",
     "write percentiles as HdrHistogram does; FILE.OP for each operation", 0, 0, NULL, NULL},
    {"html", 0, OPT_STRING, &html_path, "FILE", "write a page with curves", 0, 0, NULL, NULL},
    {"history", 0, OPT_STRING, &history_path, "FILE",
     "record all that was asked and told, for raftkv-check history", 0, 0, NULL, NULL},
};

static struct slo_set slo;
static char program_path[PATH_BYTES], prefix[KEYS_PREFIX_BYTES];

/* ---- options ---- */

static int parse_value(struct bench_options *o)
{
    char low[32] = "";
    const char *dots = strstr(value_text, ".."), *high = dots ? dots + 2 : value_text;
    size_t len = dots ? (size_t)(dots - value_text) : strlen(value_text);
    uint64_t from, to;
    if (len < sizeof(low))
        memcpy(low, value_text, len);
    if (opt_parse_bytes(low, &from) != 0 || opt_parse_bytes(high, &to) != 0 || from > to ||
        to > LIMIT_VALUE_BYTES_CEILING)
        return command_usage(&load_command,
                             "--value-size: '%s' is neither N nor N..M, bytes of at most %d",
                             value_text, LIMIT_VALUE_BYTES_CEILING);
    if (history_path && from < STAMP_BYTES)
        return command_usage(&load_command,
                             "--value-size: with --history at least %d bytes, which make each "
                             "value different",
                             STAMP_BYTES);
    o->value_min = (uint32_t)from;
    o->value_max = (uint32_t)to;
    return 0;
}

static int parse_workload(struct bench_options *o)
{
    struct err err;
    o->workload = *bench_workload_find(workload_words[workload_word]);
    o->scan_max = (uint32_t)scan_max;
    if (ratio_text && strcmp(o->workload.name, "mixed") != 0)
        return command_usage(&load_command, "--ratio is for --workload mixed, not %s",
                             o->workload.name);
    if (ratio_text) {
        o->workload.summary = ratio_text;
        if (bench_workload_parse_ratio(&o->workload, ratio_text, &err) != 0)
            return command_usage(&load_command, "--ratio: %s", err.text);
    }
    if (history_path && o->workload.ratio[BENCH_SCAN] > 0)
        return command_usage(&load_command,
                             "--history: scans of a range have no form in a history");
    return 0;
}

static int parse_keys(struct bench_options *o)
{
    o->preload = preload;
    o->keys = (struct keys_options){.order = o->workload.order, .file = keys_file};
    o->keys.count = keys_count ? keys_count : preload ? preload : 10000;
    if (order_word >= 0)
        o->keys.order = (enum keys_order)order_word;
    if (keys_file && (keys_count || prefix_text))
        return command_usage(&load_command, "--key-file says what --%s would",
                             keys_count ? "keys" : "key-prefix");
    if (keys_file && o->workload.inserts > 0)
        return command_usage(&load_command, "--key-file has no new keys, which workload %s inserts",
                             o->workload.name);
    if (!keys_file && preload > o->keys.count)
        return command_usage(&load_command, "--preload: more than --keys, %" PRIu64, o->keys.count);
    if (prefix_text && strlen(prefix_text) >= sizeof(prefix))
        return command_usage(&load_command, "--key-prefix: more than %d bytes",
                             KEYS_PREFIX_BYTES - 1);
    if (prefix_text || !history_path)
        snprintf(prefix, sizeof(prefix), "%s", prefix_text ? prefix_text : "bench-");
    else /* what a history does not tell of must not be there */
        snprintf(prefix, sizeof(prefix), "bench-%08x-", (unsigned)random_id());
    o->keys.prefix = prefix;
    return 0;
}

static int parse_load(struct bench_options *o)
{
    o->clients = (uint32_t)clients;
    o->connections = (uint32_t)(connections ? connections : clients);
    o->threads = (uint32_t)threads;
    o->rate = (double)rate;
    o->arrivals = (enum arrivals_kind)arrivals_word;
    o->ramp_ms = ramp_ms;
    o->warmup_ms = warmup_ms;
    o->time_ms = time_ms ? time_ms : count ? 0 : 10000;
    o->count = count;
    o->timeout_ms = (uint32_t)timeout_ms;
    if (threads > clients || (connections && threads > connections))
        return command_usage(&load_command, "--threads: more than --%s",
                             threads > clients ? "clients" : "connections");
    o->seed = 1 + random_id() % SEED_MAX;
    if (seed_text && (opt_parse_uint(seed_text, &o->seed) != 0 || o->seed == 0))
        return command_usage(&load_command, "--seed: '%s' is no number from 1 on", seed_text);
    return 0;
}

static int parse_cluster(struct bench_options *o)
{
    const char *variable = getenv("RAFTKV_ENDPOINTS");
    o->leader_only = target_word == 1;
    o->consistency = consistency_word >= 0 ? consistency_words[consistency_word] : NULL;
    if (local && endpoints_text)
        return command_usage(&load_command, "either --endpoints or --local");
    if (program_text && !local)
        return command_usage(&load_command, "--node-program is for --local");
    o->local = (uint32_t)local;
    o->node_program = program_path;
    if (!local) {
        o->endpoints = endpoints_text          ? endpoints_text
                       : variable && *variable ? variable
                                               : "http://127.0.0.1:5001";
        return 0;
    }
    if (program_text)
        snprintf(program_path, sizeof(program_path), "%s", program_text);
    else if (!program_beside("raftkv-node", program_path, sizeof(program_path)))
        return command_usage(&load_command, "raftkv-node is not found: use --node-program");
    if (access(program_path, X_OK) == 0)
        return 0;
    return command_usage(&load_command, "--node-program: %s: %s", program_path, strerror(errno));
}

/* Before the load, not after it: what cannot be written in the end. */
static int check_file(const char *option, const char *path)
{
    FILE *file = path ? fopen(path, "ae") : NULL;
    if (path && !file)
        return command_usage(&load_command, "--%s: %s: %s", option, path, strerror(errno));
    if (file)
        fclose(file);
    return 0;
}

static int parse_output(void)
{
    struct err err;
    if (slo_text && slo_parse(&slo, slo_text, &err) != 0)
        return command_usage(&load_command, "--slo: %s", err.text);
    int status = check_file("csv", csv_path);
    if (status == 0)
        status = check_file("hdr", hdr_path);
    if (status == 0)
        status = check_file("html", html_path);
    return status;
}

static int parse(struct bench_options *o)
{
    int (*const parts[])(struct bench_options *) = {parse_value, parse_workload, parse_keys,
                                                    parse_load, parse_cluster};
    int status = parse_output();
    memset(o, 0, sizeof(*o));
    o->history = history_path;
    for (size_t i = 0; status == 0 && i < sizeof(parts) / sizeof(parts[0]); i++)
        status = parts[i](o);
    return status;
}

/* ---- while it runs, and afterwards ---- */

static void show(void *argument, const struct bench_progress *p)
{
    char p99[TEXT_LATENCY_BYTES];
    (void)argument;
    text_latency((double)p->p99_us, p99, sizeof(p99));
    fprintf(stderr,
            "\r%s: %.0f s, %" PRIu64 " answered, %.0f/s, P99 %s, %" PRIu64 " errors, %" PRIu64
            " unknown\x1b[K",
            p->phase, p->elapsed_s, p->answered, p->answered_a_s, p99, p->failed, p->unknown);
    fflush(stderr);
}

static int write_failed(const char *path)
{
    struct err err;
    err_errno(&err, ERR_IO, errno, "%s", path);
    return command_failed(&load_command, &err);
}

typedef void print(FILE *out, const struct bench_result *r);

static int write_file(const char *path, print *what, const struct bench_result *r)
{
    FILE *file = path ? fopen(path, "we") : NULL;
    if (!path)
        return EXIT_DONE;
    if (!file)
        return write_failed(path);
    what(file, r);
    bool broken = ferror(file);
    return fclose(file) != 0 || broken ? write_failed(path) : EXIT_DONE;
}

static int write_hdr(const char *path, const struct bench_result *r, unsigned op)
{
    FILE *file = fopen(path, "we");
    if (!file)
        return write_failed(path);
    report_hdr(file, r, op);
    bool broken = ferror(file);
    return fclose(file) != 0 || broken ? write_failed(path) : EXIT_DONE;
}

/* All together in the file, each operation in one of its own. */
static int write_hdrs(const struct bench_result *r)
{
    char path[PATH_BYTES];
    int status = hdr_path ? write_hdr(hdr_path, r, FIGURES_ALL) : EXIT_DONE;
    for (unsigned op = 0; hdr_path && status == EXIT_DONE && op < BENCH_OPS; op++) {
        if (r->report->figures.ops[op].latency.count == 0)
            continue;
        if (snprintf(path, sizeof(path), "%s.%s", hdr_path, figures_op_name(op)) >=
            (int)sizeof(path))
            errno = ENAMETOOLONG, status = write_failed(hdr_path);
        else
            status = write_hdr(path, r, op);
    }
    return status;
}

static int write_reports(const struct bench_result *r)
{
    int status = write_file(csv_path, report_csv, r);
    if (status == EXIT_DONE)
        status = write_file(html_path, report_html, r);
    if (status == EXIT_DONE)
        status = write_hdrs(r);
    if (output_word)
        report_json(stdout, r);
    else
        report_text(stdout, r);
    return status;
}

static bool anything_answered(const struct bench_report *report)
{
    for (unsigned op = 0; op < BENCH_OPS; op++)
        if (report->figures.ops[op].latency.count > 0)
            return true;
    return false;
}

static int judge(const struct bench_report *report)
{
    enum slo_verdict verdict = slo_judge(&slo, &report->figures, report->measured_us);
    if (verdict == SLO_VIOLATED)
        return EXIT_VIOLATED;
    if (report->why[0]) {
        fprintf(stderr, "raftkv-bench: %s\n", report->why);
        return EXIT_INCONCLUSIVE;
    }
    if (verdict == SLO_INCONCLUSIVE)
        return EXIT_INCONCLUSIVE;
    if (anything_answered(report))
        return EXIT_DONE;
    fprintf(stderr, "raftkv-bench: nothing was answered while it was measured\n");
    return EXIT_UNAVAILABLE;
}

static int run_load(int operand_count, const char *const *operands)
{
    static struct bench_report report;
    struct bench_options o;
    struct err err;
    (void)operand_count;
    (void)operands;
    int status = parse(&o);
    if (status != 0)
        return status;
    if (isatty(STDERR_FILENO))
        o.show = show;
    int code = bench_execute(&o, &report, &err);
    if (o.show)
        fprintf(stderr, "\r\x1b[K");
    if (code != 0) {
        bench_report_release(&report);
        return command_failed(&load_command, &err);
    }
    struct bench_result result = {.options = &o, .report = &report, .slo = &slo};
    int judged = judge(&report);
    status = write_reports(&result);
    bench_report_release(&report);
    return status == EXIT_DONE ? judged : status;
}

const struct program_command load_command = {
    .name = "load",
    .usage = "[options]",
    .summary = "put a cluster under load",
    .options = options,
    .option_count = sizeof(options) / sizeof(options[0]),
    .run = run_load,
};
