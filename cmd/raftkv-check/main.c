/*
 * raftkv-check: is it correct? The table of commands; each has a file of its own.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cmd/raftkv-check/check.h"
#include "lib/base/buf.h"
#include "lib/base/check.h"
#include "lib/base/err.h"
#include "lib/base/mem.h"
#include "lib/base/stdfd.h"
#include "lib/base/version.h"

enum { HELP_BYTES = 1 << 16 };

/* jemalloc's: what runs one cluster after another had better keep its pages. */
extern const char *malloc_conf;
const char *malloc_conf = "dirty_decay_ms:-1,muzzy_decay_ms:-1";

static const struct check_command *const commands[] = {
    &sim_command,  &scenario_command, &explore_command,
    &data_command, &replay_command,   &replicas_command,
    NULL,
};

static bool show_version;

static const struct opt globals[] = {
    {"version", 0, OPT_ASK, &show_version, NULL, "show the version", 0, 0, NULL, NULL},
};
enum { GLOBAL_COUNT = sizeof(globals) / sizeof(globals[0]) };

static const char exit_codes[] = "Exit codes: 0 done, 2 usage, 9 a check was violated, 10 a check "
                                 "was inconclusive, 70 internal\nerror.\n";

int command_usage(const struct check_command *command, const char *fmt, ...)
{
    struct err err;
    va_list ap;
    va_start(ap, fmt);
    err_vset(&err, ERR_USAGE, fmt, ap);
    va_end(ap);
    fprintf(stderr, "raftkv-check: %s: %s (see raftkv-check %s --help)\n", command->name, err.text,
            command->name);
    return EXIT_USAGE;
}

int command_failed(const struct check_command *command, const struct err *err)
{
    fflush(stdout);
    fprintf(stderr, "raftkv-check: %s: %s\n", command->name, err->text);
    return err_exit_status(err->code);
}

static int complain(const struct err *err)
{
    fprintf(stderr, "raftkv-check: %s\n", err->text);
    return err_exit_status(err->code);
}

static int finish(int status)
{
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout))
        return status;
    fprintf(stderr, "raftkv-check: cannot write the output: %s\n",
            errno ? strerror(errno) : "write error");
    return status == EXIT_DONE ? EXIT_INTERNAL : status;
}

static int print_help(const struct opt_set *set)
{
    char *text = opt_help(set);
    fputs(text, stdout);
    mem_free(text);
    return finish(EXIT_DONE);
}

static int print_program_help(const struct opt_set *set)
{
    struct buf footer;
    struct opt_set with = *set;
    buf_init(&footer, HELP_BYTES);
    ASSERT(buf_append_str(&footer, "Commands:\n") == 0);
    for (size_t i = 0; commands[i]; i++)
        ASSERT(buf_printf(&footer, "  %-9s %s\n", commands[i]->name, commands[i]->summary) == 0);
    ASSERT(buf_printf(&footer,
                      "\nraftkv-check COMMAND --help shows the options of a command.\n\n%s",
                      exit_codes) == 0);
    with.footer = (const char *)footer.data;
    int status = print_help(&with);
    buf_release(&footer);
    return status;
}

static const struct check_command *find_command(const char *name)
{
    for (size_t i = 0; commands[i]; i++)
        if (strcmp(commands[i]->name, name) == 0)
            return commands[i];
    return NULL;
}

static int run(const struct check_command *command, int argc, const char *const *argv)
{
    if (argc < command->operands_min)
        return command_usage(command, "too few arguments: want %s", command->usage);
    if (command->operands_max >= 0 && argc > command->operands_max)
        return command_usage(command, "too many arguments, \"%.64s\" is one: want %s",
                             argv[command->operands_max], command->usage);
    return finish(command->run(argc, argv));
}

/* argv[0] is the command. */
static int parse_and_run(const struct check_command *command, int argc, char **argv)
{
    char program[64], about[ERR_TEXT_BYTES];
    bool help = false;
    int count = 0;
    struct err err;
    snprintf(program, sizeof(program), "raftkv-check %s", command->name);
    snprintf(about, sizeof(about), "%c%s.", command->summary[0] & ~0x20, command->summary + 1);
    struct opt_set set = {.program = program,
                          .usage = command->usage,
                          .summary = about,
                          .options = command->options,
                          .option_count = command->option_count,
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
        .program = "raftkv-check",
        .usage = "[options] COMMAND …",
        .summary = "Checks that Raft, and this program's Raft, keeps what it promises.",
        .options = globals,
        .option_count = GLOBAL_COUNT,
    };
    bool help = false;
    int count = 0;
    struct err err;
    if (stdfd_open(&err) != 0)
        return complain(&err);
    const char **operands = mem_calloc((size_t)argc + 1, sizeof(*operands));
    int code = opt_parse(&set, argc, argv, true, operands, &count, &help, NULL, &err);
    mem_free(operands);
    if (code != 0)
        return complain(&err);
    if (help)
        return print_program_help(&set);
    if (show_version) {
        puts("raftkv-check " RAFTKV_VERSION);
        return finish(EXIT_DONE);
    }
    if (count == 0) {
        fputs("raftkv-check: a command is missing (see raftkv-check --help)\n", stderr);
        return EXIT_USAGE;
    }
    char **rest = argv + (argc - count);
    const struct check_command *command = find_command(rest[0]);
    if (!command) {
        fprintf(stderr, "raftkv-check: unknown command '%.64s' (see raftkv-check --help)\n",
                rest[0]);
        return EXIT_USAGE;
    }
    return parse_and_run(command, count, rest);
}
