/*
 * raftkv-ctl: the cluster from the command line. Global options and the table of commands; each
 * group of commands has a file of its own.
 */
#include <stdio.h>

#include "cmd/raftkv-ctl/ctl.h"

enum { TIMEOUT_DEFAULT_MS = 5000, TIMEOUT_MAX_MS = 60000 };

static const struct program_command *const commands[] = {
    &put_command.command,    &get_command.command,    &delete_command.command,
    &batch_command.command,  &scan_command.command,   &member_command.command,
    &leader_command.command, &status_command.command, &node_command.command,
    &health_command.command, &fault_command.command,  NULL,
};

static const char *const outputs[] = {"text", "json", NULL};
static const char *const modes[] = {"linearizable", "lease", "stale", NULL};

static const char *endpoints = "http://127.0.0.1:5001";
static int output = OUTPUT_TEXT;
static uint64_t timeout_ms = TIMEOUT_DEFAULT_MS;
static int consistency = -1;

static const struct opt globals[] = {
    {"endpoints", 0, OPT_STRING, &endpoints, "URL,URL", "nodes to ask, in this order", 0, 0, NULL,
     "http://127.0.0.1:5001"},
    {"output", 'o', OPT_WORD, &output, NULL, "form of the output", 0, 0, outputs, "text"},
    {"timeout", 0, OPT_DURATION, &timeout_ms, "DUR", "time for a request, with all its retries", 1,
     TIMEOUT_MAX_MS, NULL, "5s"},
    {"consistency", 0, OPT_WORD, &consistency, NULL, "of get and scan; the node's own if not given",
     0, 0, modes, NULL},
};

static const char footer[] =
    "The environment variable RAFTKV_ENDPOINTS stands for --endpoints.\n\n"
    "Exit codes: 0 done, 1 not found, 2 usage, 3 a condition did not hold, 4 unavailable and not\n"
    "applied, 5 outcome unknown, 6 not authorised, 7 over a limit, 8 too stale, 70 internal "
    "error.\n";

static int run(const struct program_command *command, int argc, const char *const *argv)
{
    const struct ctl_command *of_ctl = (const struct ctl_command *)command;
    struct err err;
    struct ctl c = {
        .output = (enum ctl_output)output, .timeout_ms = timeout_ms, .command = command};
    struct client_options options = {.endpoints = endpoints,
                                     .timeout_ms = (uint32_t)timeout_ms,
                                     .consistency = consistency < 0 ? NULL : modes[consistency]};
    int code = client_new(&options, &c.client, &err);
    if (code != 0) {
        fprintf(stderr, "raftkv-ctl: %s\n", err.text);
        return err_exit_status(code);
    }
    client_reply_init(&c.reply);
    int status = of_ctl->run(&c, argc, argv);
    client_reply_release(&c.reply);
    client_free(c.client);
    return status;
}

int main(int argc, char **argv)
{
    static const struct program program = {
        .name = "raftkv-ctl",
        .summary = "Reads, writes and looks after a RaftKV cluster.",
        .env_prefix = "RAFTKV_",
        .options = globals,
        .option_count = sizeof(globals) / sizeof(globals[0]),
        .commands = commands,
        .footer = footer,
        .run = run,
    };
    return program_main(&program, argc, argv);
}
