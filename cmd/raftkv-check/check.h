/*
 * The commands of raftkv-check: each is a row of main.c's table and has a file of its own.
 */
#ifndef RAFTKV_CMD_CHECK_H
#define RAFTKV_CMD_CHECK_H

#include "lib/base/program.h"

extern const struct program_command sim_command;
extern const struct program_command scenario_command;
extern const struct program_command explore_command;
extern const struct program_command history_command;
extern const struct program_command run_command;
extern const struct program_command replicas_command;
extern const struct program_command data_command;
extern const struct program_command replay_command;

#endif
