/*
 * raftkv-bench: how fast is it, and how surely? Without a command it puts a cluster under load.
 */
#include "cmd/raftkv-bench/command.h"

static const struct program_command *const commands[] = {&compare_command, NULL};

static const char footer[] =
    "Workloads: put, get, delete, scan, conditional, mixed, and those of YCSB, a to f.\n"
    "Exit codes: 0 measured, and every objective held; 2 usage; 4 nobody serves, or nothing was\n"
    "answered; 9 an objective of --slo was violated; 10 one was inconclusive, or it was "
    "interrupted;\n"
    "70 internal error.\n";

int main(int argc, char **argv)
{
    static const struct program program = {
        .name = "raftkv-bench",
        .summary = "Puts a cluster under load and says how fast and how surely it was served.",
        .commands = commands,
        .otherwise = &load_command,
        .footer = footer,
    };
    return program_main(&program, argc, argv);
}
