/*
 * raftkv-check: is it correct? The table of commands; each has a file of its own.
 */
#include "cmd/raftkv-check/check.h"

/* jemalloc's: what runs one cluster after another had better keep its pages, and clear them itself.
 */
extern const char *malloc_conf;
const char *malloc_conf = "dirty_decay_ms:-1,muzzy_decay_ms:-1,thp:always";

static const struct program_command *const commands[] = {
    &sim_command,     &scenario_command, &explore_command,
    &history_command, &run_command,      &replicas_command,
    &data_command,    &replay_command,   NULL,
};

static const char footer[] = "Exit codes: 0 done, 2 usage, 9 a check was violated, 10 a check "
                             "was inconclusive, 70 internal\nerror.\n";

int main(int argc, char **argv)
{
    static const struct program program = {
        .name = "raftkv-check",
        .summary = "Checks that Raft, and this program's Raft, keeps what it promises.",
        .commands = commands,
        .footer = footer,
    };
    return program_main(&program, argc, argv);
}
