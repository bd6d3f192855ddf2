/*
 * raftkv-check replay: the state of a node once more, from its log (lib/verify/verify.h).
 */
#include "cmd/raftkv-check/aside.h"
#include "lib/verify/verify.h"

static const char *temp_dir, *from, *path;

static const struct opt options[] = {
    {"from", 0, OPT_STRING, &from, "FILE", "begin with this snapshot or older kv.*.db", 0, 0, NULL,
     NULL},
    ASIDE_OPTION(temp_dir),
};

static int look(const char *scratch, const struct finding_sink *sink, struct err *err)
{
    return verify_replay(path, from, scratch, sink, err);
}

static int run(int operand_count, const char *const *operands)
{
    (void)operand_count;
    path = operands[0];
    return aside_run(&replay_command, temp_dir, look);
}

const struct program_command replay_command = {
    .name = "replay",
    .usage = "[options] DIR",
    .summary = "build the state of a data directory anew from its log, and compare",
    .options = options,
    .option_count = sizeof(options) / sizeof(options[0]),
    .operands_min = 1,
    .operands_max = 1,
    .footer = ASIDE_EXIT_CODES,
    .run = run,
};
