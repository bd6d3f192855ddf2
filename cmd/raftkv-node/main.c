/*
 * raftkv-node: one member of a cluster. Options from the command line, the environment and a file;
 * all else is lib/node.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/buf.h"
#include "lib/base/err.h"
#include "lib/base/limits.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/base/opt.h"
#include "lib/base/stdfd.h"
#include "lib/base/version.h"
#include "lib/json/api.h"
#include "lib/net/http_client.h"
#include "lib/node/node.h"

enum { CONFIG_BYTES_MAX = 1 << 20 };

/* jemalloc reads it at its start. What 10,000 connections took is given back when they are gone:
 * by itself it does so only while more is asked for, and an idle node asks for little. */
extern const char *malloc_conf;
const char *malloc_conf = "background_thread:true";

/* Every option's variable, with its default. */
static struct settings {
    const char *node_id, *host, *advertise, *data_dir, *cluster, *join, *config, *allowed_hosts;
    uint64_t port, election_timeout_ms, heartbeat_interval_ms, value_bytes_max, trailing_entries,
        connections_max;
    bool standby, enable_faults, version;
    int read_mode, log_level, log_format;
} set = {
    .node_id = "node1",
    .host = "127.0.0.1",
    .port = 5001,
    .election_timeout_ms = 500,
    .heartbeat_interval_ms = 50,
    .value_bytes_max = LIMIT_VALUE_BYTES_DEFAULT,
    .trailing_entries = 10000,
    .connections_max = 12000,
    .log_level = LOG_INFO,
};

static const char *const read_modes[] = {"linearizable", "lease", "stale", NULL};
static const char *const log_levels[] = {"debug", "info", "warn", "error", NULL};
static const char *const log_formats[] = {"text", "json", NULL};

static const struct opt options[] = {
    {.name = "node-id",
     .type = OPT_STRING,
     .value = &set.node_id,
     .argument = "NAME",
     .help = "the name people type, [A-Za-z0-9._-]{1,64}",
     .fallback = "node1"},
    {.name = "host",
     .type = OPT_STRING,
     .value = &set.host,
     .argument = "ADDR",
     .help = "address to listen on",
     .fallback = "127.0.0.1"},
    {.name = "port",
     .type = OPT_UINT,
     .value = &set.port,
     .argument = "N",
     .help = "TCP port to listen on, for clients and peers",
     .min = 1,
     .max = 65535,
     .fallback = "5001"},
    {.name = "advertise",
     .type = OPT_STRING,
     .value = &set.advertise,
     .argument = "URL",
     .help = "how others reach this node; required when --host is a wildcard",
     .fallback = "http://HOST:PORT"},
    {.name = "data-dir",
     .type = OPT_STRING,
     .value = &set.data_dir,
     .argument = "DIR",
     .help = "directory of the databases and the lock file",
     .fallback = "./NAME.raftkv"},
    {.name = "cluster",
     .type = OPT_STRING,
     .value = &set.cluster,
     .argument = "NAME=URL,...",
     .help = "the first members of a new cluster",
     .fallback = "this node alone"},
    {.name = "join",
     .type = OPT_STRING,
     .value = &set.join,
     .argument = "URL,...",
     .help = "enter a running cluster: learner, promoted when caught up"},
    {.name = "standby",
     .type = OPT_FLAG,
     .value = &set.standby,
     .help = "start empty and wait to be added with 'member add'"},
    {.name = "election-timeout",
     .type = OPT_DURATION,
     .value = &set.election_timeout_ms,
     .argument = "DUR",
     .help = "silence of the leader after which a node stands for election",
     .min = 50,
     .max = 60000,
     .fallback = "500ms"},
    {.name = "heartbeat-interval",
     .type = OPT_DURATION,
     .value = &set.heartbeat_interval_ms,
     .argument = "DUR",
     .help = "time between the leader's heartbeats, at most a third of the election timeout",
     .min = 5,
     .max = 20000,
     .fallback = "50ms"},
    {.name = "read-mode",
     .type = OPT_WORD,
     .value = &set.read_mode,
     .argument = "MODE",
     .help = "consistency of a read that names none: linearizable, lease or stale",
     .words = read_modes,
     .fallback = "linearizable"},
    {.name = "max-value-size",
     .type = OPT_BYTES,
     .value = &set.value_bytes_max,
     .argument = "BYTES",
     .help = "largest value that is taken",
     .min = 1,
     .max = LIMIT_VALUE_BYTES_CEILING,
     .fallback = "1MiB"},
    {.name = "max-connections",
     .type = OPT_UINT,
     .value = &set.connections_max,
     .argument = "N",
     .help = "open connections at most",
     .min = 16,
     .max = 100000,
     .fallback = "12000"},
    {.name = "trailing-entries",
     .type = OPT_UINT,
     .value = &set.trailing_entries,
     .argument = "N",
     .help = "log entries kept for slow followers behind what is checkpointed",
     .min = 0,
     .max = 100000000,
     .fallback = "10000"},
    {.name = "allowed-hosts",
     .type = OPT_STRING,
     .value = &set.allowed_hosts,
     .argument = "NAME,...",
     .help = "further names that a Host header may bear"},
    {.name = "enable-faults",
     .type = OPT_FLAG,
     .value = &set.enable_faults,
     .help = "open the fault endpoints: this node can be made to fail, for tests"},
    {.name = "log-level",
     .type = OPT_WORD,
     .value = &set.log_level,
     .argument = "LEVEL",
     .help = "debug, info, warn or error",
     .words = log_levels,
     .fallback = "info"},
    {.name = "log-format",
     .type = OPT_WORD,
     .value = &set.log_format,
     .argument = "FORMAT",
     .help = "text or json, on standard error",
     .words = log_formats,
     .fallback = "text"},
    {.name = "config",
     .type = OPT_STRING,
     .value = &set.config,
     .argument = "FILE",
     .help = "JSON object of the same names; flags beat environment beats file"},
    {.name = "version", .type = OPT_ASK, .value = &set.version, .help = "print the version"},
};

enum { OPTION_COUNT = sizeof options / sizeof options[0] };

static const struct opt_set program = {
    .program = "raftkv-node",
    .usage = "[options]",
    .summary = "one member of a RaftKV cluster",
    .env_prefix = "RAFTKV_",
    .options = options,
    .option_count = OPTION_COUNT,
    .footer =
        "Each option may also be set by the environment, as RAFTKV_READ_MODE for --read-mode.",
};

/* ---- the configuration file ---- */

static int read_file(const char *path, struct buf *out, struct err *err)
{
    FILE *f = fopen(path, "rb");
    char chunk[4096];
    size_t n;
    int code = 0;

    if (!f) {
        return err_errno(err, ERR_USAGE, errno, "--config %s", path);
    }
    while (code == 0 && (n = fread(chunk, 1, sizeof chunk, f)) > 0) {
        code = buf_append(out, chunk, n);
    }
    if (code == 0 && ferror(f)) {
        code = err_errno(err, ERR_USAGE, errno, "--config %s", path);
    } else if (code != 0) {
        code = err_set(err, ERR_USAGE, "--config %s: over %d bytes", path, CONFIG_BYTES_MAX);
    }
    fclose(f);
    return code;
}

static int assign(void *argument, const char *name, const char *text, struct err *err)
{
    const bool *seen = argument;
    const struct opt *o = opt_find(&program, name);

    if (!o || o->value == &set.config || o->type == OPT_ASK) {
        return err_set(err, ERR_USAGE, "--config %s: unknown name %s", set.config, name);
    }
    if (seen[o - options]) {
        return 0; /* flags and environment beat the file */
    }
    return opt_assign(&program, name, text, set.config, err);
}

static int read_config(const bool *seen, struct err *err)
{
    struct buf text;
    struct err detail = {0};
    int code;

    if (!set.config) {
        return 0;
    }
    buf_init(&text, CONFIG_BYTES_MAX);
    code = read_file(set.config, &text, err);
    if (code == 0) {
        code = json_flat_object(slice_of(text.data, text.len), assign, (void *)(uintptr_t)seen,
                                &detail);
        if (code != 0) {
            code = detail.code == ERR_USAGE
                       ? err_set(err, ERR_USAGE, "%s", detail.text)
                       : err_set(err, ERR_USAGE, "--config %s: %s", set.config, detail.text);
        }
    }
    buf_release(&text);
    return code;
}

/* ---- from settings to node_options ---- */

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const struct member_address *)a)->name,
                  ((const struct member_address *)b)->name);
}

static int parse_cluster(struct node_options *o, struct err *err)
{
    char *list = set.cluster ? mem_strdup(set.cluster) : NULL;
    char *rest = list;
    bool self = false;
    int code = 0;

    for (char *item; code == 0 && (item = strsep(&rest, ",")) != NULL;) {
        char *url = strchr(item, '=');
        struct member_address *a = &o->cluster[o->cluster_count];
        struct err detail = {0};

        if (!url || !member_name_valid(item, (size_t)(url - item))) {
            code = err_set(err, ERR_USAGE, "--cluster: '%s' is not NAME=URL", item);
        } else if (o->cluster_count == RAFT_MEMBERS_MAX) {
            code = err_set(err, ERR_USAGE, "--cluster: more than %d members", RAFT_MEMBERS_MAX);
        } else if (!url_valid(url + 1, &detail)) {
            code = err_set(err, ERR_USAGE, "--cluster: %s", detail.text);
        } else {
            snprintf(a->name, sizeof a->name, "%.*s", (int)(url - item), item);
            snprintf(a->url, sizeof a->url, "%s", url + 1);
            for (uint32_t i = 0; i < o->cluster_count; i++) {
                if (strcmp(o->cluster[i].name, a->name) == 0 ||
                    strcmp(o->cluster[i].url, a->url) == 0) {
                    code = err_set(err, ERR_USAGE, "--cluster: %s or its URL stands there twice",
                                   a->name);
                }
            }
            if (strcmp(a->name, o->name) == 0) {
                self = true;
                if (strcmp(a->url, o->advertise) != 0) {
                    code = err_set(err, ERR_USAGE,
                                   "--cluster has %s at %s, but this node advertises %s", a->name,
                                   a->url, o->advertise);
                }
            }
            o->cluster_count++;
        }
    }
    mem_free(list);
    if (code == 0 && o->cluster_count > 0 && !self) {
        return err_set(err, ERR_USAGE, "--cluster does not name this node, %s", o->name);
    }
    qsort(o->cluster, o->cluster_count, sizeof o->cluster[0], compare_names);
    return code;
}

/* Splits at commas into `out`; the strings live as long as the program. */
static int parse_list(const char *option, const char *text, const char **out, uint32_t max,
                      uint32_t *count, bool urls, struct err *err)
{
    char *list = text ? mem_strdup(text) : NULL, *rest = list;
    int code = 0;

    for (char *item; code == 0 && (item = strsep(&rest, ",")) != NULL;) {
        struct err detail = {0};

        if (*item == '\0') {
            code = err_set(err, ERR_USAGE, "--%s: an empty item", option);
        } else if (*count == max) {
            code = err_set(err, ERR_USAGE, "--%s: more than %u items", option, max);
        } else if (urls && !url_valid(item, &detail)) {
            code = err_set(err, ERR_USAGE, "--%s: %s", option, detail.text);
        } else {
            out[(*count)++] = item;
        }
    }
    if (code != 0) {
        mem_free(list);
        *count = 0;
    }
    return code;
}

/* A numeric address, as it may be written: "::" is also "0::0". */
static bool parse_address(const char *host, bool *wildcard)
{
    struct in_addr v4;
    struct in6_addr v6;

    if (inet_pton(AF_INET, host, &v4) == 1) {
        *wildcard = v4.s_addr == htonl(INADDR_ANY);
        return true;
    }
    if (inet_pton(AF_INET6, host, &v6) == 1) {
        *wildcard = IN6_IS_ADDR_UNSPECIFIED(&v6) ||
                    (IN6_IS_ADDR_V4MAPPED(&v6) && memcmp(v6.s6_addr + 12, "\0\0\0", 4) == 0);
        return true;
    }
    return false;
}

/* "http://0.0.0.0:5001" and the like lead everybody to himself. */
static bool url_of_wildcard(const char *url)
{
    char host[INET6_ADDRSTRLEN];
    const char *at = strstr(url, "://");
    bool wildcard = false;
    size_t len;

    if (!at) {
        return false;
    }
    at += at[3] == '[' ? 4 : 3;
    len = strcspn(at, at[-1] == '[' ? "]" : ":");
    if (len >= sizeof host) {
        return false;
    }
    memcpy(host, at, len);
    host[len] = '\0';
    return parse_address(host, &wildcard) && wildcard;
}

/* A Host header is compared without its port. */
static int check_allowed_hosts(const struct node_options *o, struct err *err)
{
    for (uint32_t i = 0; i < o->allowed_host_count; i++) {
        const char *host = o->allowed_hosts[i];

        if (host[strspn(host,
                        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_")]) {
            return err_set(err, ERR_USAGE, "--allowed-hosts: '%s' is not a host's name alone",
                           host);
        }
    }
    return 0;
}

static int name_and_place(struct node_options *o, struct err *err)
{
    static char advertise[LIMIT_URL_BYTES + 1], dir[LIMIT_NAME_BYTES + 16];
    struct err detail = {0};
    const char *url;
    bool wildcard = false;

    if (!member_name_valid(set.node_id, strlen(set.node_id))) {
        return err_set(err, ERR_USAGE, "--node-id '%s': 1 to 64 of A-Z a-z 0-9 . _ -", set.node_id);
    }
    if (!parse_address(set.host, &wildcard)) {
        return err_set(err, ERR_USAGE,
                       "--host '%s': an IPv4 or IPv6 address, 0.0.0.0 or :: for all of them",
                       set.host);
    }
    if (!set.advertise && wildcard) {
        return err_set(err, ERR_USAGE,
                       "--host %s is a wildcard: say with --advertise how others reach this node",
                       set.host);
    }
    if (!set.advertise) {
        snprintf(advertise, sizeof advertise,
                 strchr(set.host, ':') ? "http://[%s]:%u" : "http://%s:%u", set.host,
                 (unsigned)set.port);
        set.advertise = advertise;
    }
    url = set.advertise;
    if (!url_valid(url, &detail)) {
        return err_set(err, ERR_USAGE, "--advertise: %s", detail.text);
    }
    if (url_of_wildcard(url)) {
        return err_set(err, ERR_USAGE, "--advertise %s: nobody is reached at a wildcard", url);
    }
    if (!set.data_dir) {
        snprintf(dir, sizeof dir, "./%s.raftkv", set.node_id);
        set.data_dir = dir;
    }
    if (*set.data_dir == '\0') {
        return err_set(err, ERR_USAGE, "--data-dir is empty");
    }
    if (set.heartbeat_interval_ms * 3 > set.election_timeout_ms) {
        return err_set(err, ERR_USAGE,
                       "--heartbeat-interval %llums is over a third of --election-timeout %llums",
                       (unsigned long long)set.heartbeat_interval_ms,
                       (unsigned long long)set.election_timeout_ms);
    }
    if ((set.cluster != NULL) + (set.join != NULL) + set.standby > 1) {
        return err_set(err, ERR_USAGE, "--cluster, --join and --standby exclude each other");
    }
    o->name = set.node_id;
    o->host = set.host;
    o->port = (uint16_t)set.port;
    o->advertise = url;
    o->data_dir = set.data_dir;
    return 0;
}

static int make_options(struct node_options *o, struct err *err)
{
    int code = name_and_place(o, err);

    o->standby = set.standby;
    o->election_timeout_ms = set.election_timeout_ms;
    o->heartbeat_interval_ms = set.heartbeat_interval_ms;
    o->read_mode = (enum carry_read_mode)set.read_mode;
    o->value_bytes_max = set.value_bytes_max;
    o->trailing_entries = set.trailing_entries;
    o->connections_max = set.connections_max;
    o->faults = set.enable_faults;
    code = code ? code : parse_cluster(o, err);
    code = code ? code
                : parse_list("join", set.join, o->join, NODE_JOIN_MAX, &o->join_count, true, err);
    code = code ? code
                : parse_list("allowed-hosts", set.allowed_hosts, o->allowed_hosts, NODE_HOSTS_MAX,
                             &o->allowed_host_count, false, err);
    return code ? code : check_allowed_hosts(o, err);
}

static int flush_output(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout)) {
        return 0;
    }
    fprintf(stderr, "raftkv-node: cannot write the output: %s\n", strerror(errno));
    return err_exit_status(ERR_IO);
}

int main(int argc, char **argv)
{
    const char **operands = mem_calloc((size_t)argc + 1, sizeof *operands);
    bool seen[OPTION_COUNT] = {false}, help = false;
    static struct node_options node;
    struct log_options log;
    struct err err = {0};
    int operand_count = 0;
    int code = stdfd_open(&err);

    code =
        code ? code
             : opt_parse(&program, argc, argv, false, operands, &operand_count, &help, seen, &err);
    if (code == 0 && !help && operand_count > 0) {
        code = err_set(&err, ERR_USAGE, "'%s': raftkv-node takes options only", operands[0]);
    }
    mem_free(operands);
    if (code == 0 && (help || set.version)) {
        char *text = help ? opt_help(&program) : NULL;

        fputs(text ? text : "raftkv-node " RAFTKV_VERSION "\n", stdout);
        mem_free(text);
        return flush_output();
    }
    code = code ? code : opt_environment(&program, seen, &err);
    code = code ? code : read_config(seen, &err);
    code = code ? code : make_options(&node, &err);
    if (code != 0) {
        fprintf(stderr, "raftkv-node: %s\n", err.text);
        return err_exit_status(code);
    }
    log = (struct log_options){.level = (enum log_level)set.log_level,
                               .format = (enum log_format)set.log_format,
                               .fd = 2,
                               .node = set.node_id};
    log_start(&log);
    code = node_run(&node, &err);
    log_stop();
    if (code != 0) {
        fprintf(stderr, "raftkv-node: %s\n", err.text);
        return err_exit_status(code);
    }
    return 0;
}
