/* The commands of raftkv-bench, each in a file of its own. */
#ifndef RAFTKV_CMD_BENCH_COMMAND_H
#define RAFTKV_CMD_BENCH_COMMAND_H

#include "lib/base/program.h"

extern const struct program_command load_command; /* without a name: what the program does */
extern const struct program_command compare_command;

#endif
