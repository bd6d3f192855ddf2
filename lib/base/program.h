/*
 * A program with commands, as a table: `raftkv-ctl put`, `raftkv-check sim`. Help, --version,
 * global options, the choice of the command and the end of the output are the same for all of them.
 *
 * One program a process, from main on one thread. Messages are one line on stderr that begins with
 * the program's name.
 */
#ifndef RAFTKV_BASE_PROGRAM_H
#define RAFTKV_BASE_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/base/err.h"
#include "lib/base/opt.h"

/* What the process ends with; the other codes of the contract come from err_exit_status. */
enum {
    EXIT_DONE = 0,
    EXIT_NOT_FOUND = 1,
    EXIT_USAGE = 2,
    EXIT_UNAVAILABLE = 4,
    EXIT_VIOLATED = 9,
    EXIT_INCONCLUSIVE = 10,
    EXIT_INTERNAL = 70,
};

struct program_command {
    const char *name;    /* "put" */
    const char *usage;   /* behind the name in --help: "[options] KEY" */
    const char *summary; /* one line, lower case, no full stop; in the list of commands too */
    const char *footer;  /* of --help; NULL: none */
    const struct opt *options;
    size_t option_count;
    int operands_min, operands_max; /* operands_max < 0: no bound */
    /* Returns the exit status; NULL where the program's own `run` does it. */
    int (*run)(int operand_count, const char *const *operands);
};

struct program {
    const char *name;          /* "raftkv-ctl" */
    const char *summary;       /* one sentence */
    const char *env_prefix;    /* of the global options; NULL: none */
    const struct opt *options; /* global ones, to stand before or behind a command's name */
    size_t option_count;
    const struct program_command *const *commands; /* NULL-terminated */
    /* What the program does when no command is named, NULL: one must be. Its options stand in the
     * program's --help; it is not in `commands`, and a first operand is a command's name. */
    const struct program_command *otherwise;
    const char *footer; /* of --help, behind the list of commands */
    /* Runs a command whose operands were counted; NULL: its own `run`. */
    int (*run)(const struct program_command *command, int operand_count,
               const char *const *operands);
};

/* The path of the program of that name in the directory of the running one; false: that directory
 * is not known, or the path too long. */
bool program_beside(const char *name, char *out, size_t bytes);

/* All of main: its return value is the exit status. */
int program_main(const struct program *program, int argc, char **argv);

/* Says "PROGRAM: COMMAND: … (see PROGRAM COMMAND --help)"; returns EXIT_USAGE. */
int command_usage(const struct program_command *command, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* Says "PROGRAM: COMMAND: " and the error, behind all output so far; returns its exit status. */
int command_failed(const struct program_command *command, const struct err *err);

#endif
