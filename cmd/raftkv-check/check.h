/*
 * What the commands of raftkv-check have in common: each is a row of main.c's table and has a file
 * of its own.
 */
#ifndef RAFTKV_CMD_CHECK_H
#define RAFTKV_CMD_CHECK_H

#include <stddef.h>

#include "lib/base/opt.h"

enum {
    EXIT_DONE = 0,
    EXIT_USAGE = 2,
    EXIT_VIOLATED = 9,
    EXIT_INCONCLUSIVE = 10,
    EXIT_INTERNAL = 70,
};

struct check_command {
    const char *name;    /* "sim" */
    const char *usage;   /* behind "raftkv-check sim" in --help: "[options]" */
    const char *summary; /* one line, lower case, no full stop */
    const struct opt *options;
    size_t option_count;
    int operands_min, operands_max;                             /* operands_max < 0: no bound */
    const char *footer;                                         /* NULL: none */
    int (*run)(int operand_count, const char *const *operands); /* the exit status */
};

extern const struct check_command sim_command;
extern const struct check_command scenario_command;
extern const struct check_command explore_command;
extern const struct check_command data_command;
extern const struct check_command replay_command;
extern const struct check_command replicas_command;

/* Says on stderr "raftkv-check COMMAND: …" and returns EXIT_USAGE. */
int command_usage(const struct check_command *command, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* The same for what went wrong otherwise; returns the exit status of `err`. */
int command_failed(const struct check_command *command, const struct err *err);

#endif
