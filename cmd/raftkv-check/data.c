/*
 * raftkv-check data: data directories of nodes that do not run (lib/verify/verify.h).
 */
#include "cmd/raftkv-check/aside.h"
#include "lib/verify/verify.h"

static const char *temp_dir;
static const char *const *paths;
static size_t path_count;

static const struct opt options[] = {ASIDE_OPTION(temp_dir)};

static int look(const char *scratch, const struct finding_sink *sink, struct err *err)
{
    return verify_data(paths, path_count, scratch, sink, err);
}

static int run(int operand_count, const char *const *operands)
{
    paths = operands;
    path_count = (size_t)operand_count;
    return aside_run(&data_command, temp_dir, look);
}

const struct program_command data_command = {
    .name = "data",
    .usage = "[options] DIR…",
    .summary = "look through data directories of nodes that do not run",
    .options = options,
    .option_count = sizeof(options) / sizeof(options[0]),
    .operands_min = 1,
    .operands_max = VERIFY_DIRECTORIES_MAX,
    .footer = ASIDE_EXIT_CODES,
    .run = run,
};
