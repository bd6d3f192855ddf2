#include "lib/base/program.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/buf.h"
#include "lib/base/check.h"
#include "lib/base/mem.h"
#include "lib/base/stdfd.h"
#include "lib/base/version.h"

enum { OPTIONS_MAX = 48, HELP_BYTES = 1 << 16, NAME_BYTES = 64 };

static const struct program *running;
static bool show_version;

static const struct opt version_option = {"version",          0, OPT_ASK, &show_version, NULL,
                                          "show the version", 0, 0,       NULL,          NULL};

bool program_beside(const char *name, char *out, size_t bytes)
{
    ssize_t len = readlink("/proc/self/exe", out, bytes);
    if (len <= 0 || (size_t)len == bytes)
        return false;
    out[len] = '\0';
    char *file = strrchr(out, '/');
    size_t room = file ? bytes - (size_t)(file + 1 - out) : 0;
    if (strlen(name) >= room)
        return false;
    memcpy(file + 1, name, strlen(name) + 1);
    return true;
}

/* "PROGRAM: COMMAND", or the program alone if its command has no name of its own. */
static void print_who(const struct program_command *command)
{
    fprintf(stderr, "%s: ", running->name);
    if (command != running->otherwise)
        fprintf(stderr, "%s: ", command->name);
}

int command_usage(const struct program_command *command, const char *fmt, ...)
{
    struct err err;
    va_list ap;
    va_start(ap, fmt);
    err_vset(&err, ERR_USAGE, fmt, ap);
    va_end(ap);
    print_who(command);
    fprintf(stderr, "%s (see %s%s%s --help)\n", err.text, running->name,
            command == running->otherwise ? "" : " ",
            command == running->otherwise ? "" : command->name);
    return EXIT_USAGE;
}

int command_failed(const struct program_command *command, const struct err *err)
{
    fflush(stdout);
    print_who(command);
    fprintf(stderr, "%s\n", err->text);
    return err_exit_status(err->code);
}

static int complain(const struct err *err)
{
    fprintf(stderr, "%s: %s\n", running->name, err->text);
    return err_exit_status(err->code);
}

/* What could not be written was not done. */
static int finish(int status)
{
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout))
        return status;
    fprintf(stderr, "%s: cannot write the output: %s\n", running->name,
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
    int width = 0;
    struct buf footer;
    struct opt_set with = *set;
    buf_init(&footer, HELP_BYTES);
    for (const struct program_command *const *c = running->commands; *c; c++)
        if ((int)strlen((*c)->name) > width)
            width = (int)strlen((*c)->name);
    ASSERT(buf_append_str(&footer, "Commands:\n") == 0);
    for (const struct program_command *const *c = running->commands; *c; c++)
        ASSERT(buf_printf(&footer, "  %-*s  %s\n", width, (*c)->name, (*c)->summary) == 0);
    ASSERT(buf_printf(&footer, "\n%s COMMAND --help shows the options of a command.\n\n%s",
                      running->name, running->footer) == 0);
    with.footer = (const char *)footer.data;
    int status = print_help(&with);
    buf_release(&footer);
    return status;
}

static const struct program_command *find_command(const char *name)
{
    for (const struct program_command *const *c = running->commands; *c; c++)
        if (strcmp((*c)->name, name) == 0)
            return *c;
    return NULL;
}

static int run(const struct program_command *command, int argc, const char *const *argv)
{
    if (argc < command->operands_min)
        return command_usage(command, "too few arguments: want %s", command->usage);
    if (command->operands_max >= 0 && argc > command->operands_max)
        return command_usage(command, "too many arguments, \"%.64s\" is one: want %s",
                             argv[command->operands_max], command->usage);
    return finish(running->run ? running->run(command, argc, argv) : command->run(argc, argv));
}

/* The first options and then the second, in `all`. */
static size_t join_options(struct opt all[OPTIONS_MAX], const struct opt *first, size_t first_count,
                           const struct opt *second, size_t second_count)
{
    ASSERT(first_count + second_count <= OPTIONS_MAX);
    for (size_t i = 0; i < first_count; i++)
        all[i] = first[i];
    for (size_t i = 0; i < second_count; i++)
        all[first_count + i] = second[i];
    return first_count + second_count;
}

/* argv[0] is the command; global options may stand behind it as well. */
static int parse_and_run(const struct program_command *command, int argc, char **argv)
{
    struct opt options[OPTIONS_MAX];
    char name[NAME_BYTES], about[ERR_TEXT_BYTES];
    bool help = false;
    int count = 0, status;
    struct err err;
    snprintf(name, sizeof(name), "%s %s", running->name, command->name);
    snprintf(about, sizeof(about), "%c%s.", command->summary[0] & ~0x20, command->summary + 1);
    struct opt_set set = {.program = name,
                          .usage = command->usage,
                          .summary = about,
                          .options = options,
                          .footer = command->footer};
    set.option_count = join_options(options, command->options, command->option_count,
                                    running->options, running->option_count);
    const char **operands = mem_calloc((size_t)argc + 1, sizeof(*operands));
    if (opt_parse(&set, argc, argv, false, operands, &count, &help, NULL, &err) != 0)
        status = complain(&err);
    else if (help)
        status = print_help(&set);
    else
        status = run(command, count, operands);
    mem_free(operands);
    return status;
}

/* The options before the command; where it stands is argc less `rest`. */
static int parse_globals(const struct opt_set *set, int argc, char **argv, int *rest, bool *help,
                         struct err *err)
{
    bool seen[OPTIONS_MAX] = {false};
    const char **operands = mem_calloc((size_t)argc + 1, sizeof(*operands));
    int code = opt_parse(set, argc, argv, true, operands, rest, help, seen, err);
    mem_free(operands);
    if (code == 0 && !*help && !show_version && running->env_prefix) {
        struct opt_set variables = *set;
        variables.option_count = running->option_count;
        code = opt_environment(&variables, seen, err);
    }
    return code;
}

int program_main(const struct program *program, int argc, char **argv)
{
    struct opt options[OPTIONS_MAX];
    struct opt_set set = {.program = program->name,
                          .usage = "[options] COMMAND …",
                          .summary = program->summary,
                          .env_prefix = program->env_prefix,
                          .options = options};
    int rest = 0;
    bool help = false;
    struct err err;
    running = program;
    set.option_count =
        join_options(options, program->options, program->option_count, &version_option, 1);
    if (program->otherwise) {
        struct opt own[OPTIONS_MAX];
        size_t own_count = join_options(own, options, set.option_count, NULL, 0);
        set.option_count = join_options(options, program->otherwise->options,
                                        program->otherwise->option_count, own, own_count);
        set.usage = "[options] | COMMAND …";
    }
    if (stdfd_open(&err) != 0 || parse_globals(&set, argc, argv, &rest, &help, &err) != 0)
        return complain(&err);
    if (help)
        return print_program_help(&set);
    if (show_version) {
        printf("%s " RAFTKV_VERSION "\n", program->name);
        return finish(EXIT_DONE);
    }
    if (rest == 0 && program->otherwise)
        return run(program->otherwise, 0, NULL);
    if (rest == 0) {
        fprintf(stderr, "%s: a command is missing (see %s --help)\n", program->name, program->name);
        return EXIT_USAGE;
    }
    if (program->otherwise && rest < argc - 1) {
        fprintf(stderr, "%s: the options of '%.64s' stand behind it (see %s --help)\n",
                program->name, argv[argc - rest], program->name);
        return EXIT_USAGE;
    }
    argv += argc - rest;
    const struct program_command *command = find_command(argv[0]);
    if (!command) {
        fprintf(stderr, "%s: unknown command '%.64s' (see %s --help)\n", program->name, argv[0],
                program->name);
        return EXIT_USAGE;
    }
    return parse_and_run(command, rest, argv);
}
