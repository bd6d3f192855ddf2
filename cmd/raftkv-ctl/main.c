/*
 * raftkv-ctl: the cluster from the command line. Global options and the table of commands; each
 * group of commands has a file of its own.
 */
#include <stdio.h>
#include <string.h>

#include "cmd/raftkv-ctl/ctl.h"
#include "lib/base/check.h"
#include "lib/base/mem.h"
#include "lib/base/stdfd.h"
#include "lib/base/version.h"

enum { TIMEOUT_DEFAULT_MS = 5000, TIMEOUT_MAX_MS = 60000, OPTIONS_MAX = 24, HELP_BYTES = 1 << 16 };

static const struct ctl_command *const commands[] = {
    &put_command,    &get_command,    &delete_command, &scan_command,   &member_command,
    &leader_command, &status_command, &node_command,   &health_command,
};
enum { COMMAND_COUNT = sizeof(commands) / sizeof(commands[0]) };

static const char *const outputs[] = {"text", "json", NULL};
static const char *const modes[] = {"linearizable", "lease", "stale", NULL};

static const char *endpoints = "http://127.0.0.1:5001";
static int output = OUTPUT_TEXT;
static uint64_t timeout_ms = TIMEOUT_DEFAULT_MS;
static int consistency = -1;
static bool show_version;

static const struct opt globals[] = {
    {"endpoints", 0, OPT_STRING, &endpoints, "URL,URL", "nodes to ask, in this order", 0, 0, NULL,
     "http://127.0.0.1:5001"},
    {"output", 'o', OPT_WORD, &output, NULL, "form of the output", 0, 0, outputs, "text"},
    {"timeout", 0, OPT_DURATION, &timeout_ms, "DUR", "time for a request, with all its retries", 1,
     TIMEOUT_MAX_MS, NULL, "5s"},
    {"consistency", 0, OPT_WORD, &consistency, NULL, "of get and scan; the node's own if not given",
     0, 0, modes, NULL},
    {"version", 0, OPT_ASK, &show_version, NULL, "show the version", 0, 0, NULL, NULL},
};
/* --version comes last and does not stand behind a command. */
enum { GLOBAL_COUNT = sizeof(globals) / sizeof(globals[0]), INHERITED_COUNT = GLOBAL_COUNT - 1 };

static const char exit_codes[] =
    "Exit codes: 0 done, 1 not found, 2 usage, 3 a condition did not hold, 4 unavailable and not\n"
    "applied, 5 outcome unknown, 6 not authorised, 7 over a limit, 8 too stale, 70 internal "
    "error.\n";

static int complain(const struct err *err)
{
    fprintf(stderr, "raftkv-ctl: %s\n", err->text);
    return err_exit_status(err->code);
}

static int print_help(const struct opt_set *set)
{
    char *text = opt_help(set);
    fputs(text, stdout);
    mem_free(text);
    return ctl_finish(EXIT_DONE);
}

static int print_program_help(const struct opt_set *set)
{
    struct buf footer;
    struct opt_set with = *set;
    buf_init(&footer, HELP_BYTES);
    ASSERT(buf_append_str(&footer, "Commands:\n") == 0);
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        ASSERT(buf_printf(&footer, "  %-8s %s\n", commands[i]->name, commands[i]->summary) == 0);
    ASSERT(buf_printf(&footer,
                      "\nraftkv-ctl COMMAND --help shows the options of a command. The environment "
                      "variable\nRAFTKV_ENDPOINTS stands for --endpoints.\n\n%s",
                      exit_codes) == 0);
    with.footer = (const char *)footer.data;
    int status = print_help(&with);
    buf_release(&footer);
    return status;
}

static const struct ctl_command *find_command(const char *name)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(commands[i]->name, name) == 0)
            return commands[i];
    return NULL;
}

static int run(const struct ctl_command *command, int argc, const char *const *argv)
{
    struct err err;
    struct ctl c = {
        .output = (enum ctl_output)output, .timeout_ms = timeout_ms, .command = command->name};
    struct client_options options = {.endpoints = endpoints,
                                     .timeout_ms = (uint32_t)timeout_ms,
                                     .consistency = consistency < 0 ? NULL : modes[consistency]};
    if (argc < command->operands_min)
        return ctl_usage(&c, "too few arguments: want %s", command->usage);
    if (command->operands_max >= 0 && argc > command->operands_max)
        return ctl_usage(&c, "too many arguments, \"%.64s\" is one: want %s",
                         argv[command->operands_max], command->usage);
    int code = client_new(&options, &c.client, &err);
    if (code != 0)
        return complain(&err);
    client_reply_init(&c.reply);
    int status = ctl_finish(command->run(&c, argc, argv));
    client_reply_release(&c.reply);
    client_free(c.client);
    return status;
}

/* argv[0] is the command; global options may stand behind it as well. */
static int parse_and_run(const struct ctl_command *command, int argc, char **argv)
{
    struct opt options[OPTIONS_MAX];
    char program[64], about[ERR_TEXT_BYTES];
    bool help = false;
    int count = 0;
    struct err err;
    ASSERT(command->option_count + INHERITED_COUNT <= OPTIONS_MAX);
    for (size_t i = 0; i < command->option_count; i++)
        options[i] = command->options[i];
    for (size_t i = 0; i < INHERITED_COUNT; i++)
        options[command->option_count + i] = globals[i];
    snprintf(program, sizeof(program), "raftkv-ctl %s", command->name);
    snprintf(about, sizeof(about), "%c%s.", command->summary[0] & ~0x20, command->summary + 1);
    struct opt_set set = {.program = program,
                          .usage = command->usage,
                          .summary = about,
                          .options = options,
                          .option_count = command->option_count + INHERITED_COUNT,
                          .footer = command->footer};
    const char **operands = mem_calloc((size_t)argc + 1, sizeof(*operands));
    int status;
    if (opt_parse(&set, argc, argv, false, operands, &count, &help, NULL, &err) != 0)
        status = complain(&err);
    else if (help)
        status = print_help(&set);
    else
        status = run(command, count, operands);
    mem_free(operands);
    return status;
}

int main(int argc, char **argv)
{
    static const struct opt_set set = {
        .program = "raftkv-ctl",
        .usage = "[options] COMMAND …",
        .summary = "Reads, writes and looks after a RaftKV cluster.",
        .env_prefix = "RAFTKV_",
        .options = globals,
        .option_count = GLOBAL_COUNT,
    };
    bool seen[GLOBAL_COUNT] = {false};
    bool help = false;
    int count = 0;
    struct err err;
    if (stdfd_open(&err) != 0)
        return complain(&err);
    const char **operands = mem_calloc((size_t)argc + 1, sizeof(*operands));
    int code = opt_parse(&set, argc, argv, true, operands, &count, &help, seen, &err);
    mem_free(operands);
    if (code == 0 && !help && !show_version) {
        struct opt_set inherited = set;
        inherited.option_count = INHERITED_COUNT;
        code = opt_environment(&inherited, seen, &err);
    }
    if (code != 0)
        return complain(&err);
    if (help)
        return print_program_help(&set);
    if (show_version) {
        puts("raftkv-ctl " RAFTKV_VERSION);
        return ctl_finish(EXIT_DONE);
    }
    if (count == 0) {
        fputs("raftkv-ctl: a command is missing (see raftkv-ctl --help)\n", stderr);
        return EXIT_USAGE;
    }
    char **rest = argv + (argc - count);
    const struct ctl_command *command = find_command(rest[0]);
    if (!command) {
        fprintf(stderr, "raftkv-ctl: unknown command '%.64s' (see raftkv-ctl --help)\n", rest[0]);
        return EXIT_USAGE;
    }
    return parse_and_run(command, count, rest);
}
