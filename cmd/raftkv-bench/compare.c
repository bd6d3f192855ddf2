/* raftkv-bench compare: two results beside each other (lib/bench/compare.h). */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cmd/raftkv-bench/command.h"
#include "lib/bench/compare.h"

enum { RESULT_BYTES_MAX = 256 << 20, CHUNK_BYTES = 1 << 16, WHERE_BYTES = 64, WORSE_MAX = 1000000 };

static uint64_t worse_max = UINT64_MAX;

static const struct opt options[] = {
    {"worse", 0, OPT_UINT, &worse_max, "N",
     "exit code 9 if the second is over N % worse: rate, P50 to P99.9", 0, WORSE_MAX, NULL, NULL},
};

static int read_side(const char *path, struct compare_side *side)
{
    uint8_t chunk[CHUNK_BYTES];
    struct buf text;
    struct err err;
    size_t got;
    FILE *file = fopen(path, "re");
    if (!file)
        return command_usage(&compare_command, "%s: %s", path, strerror(errno));
    buf_init(&text, RESULT_BYTES_MAX);
    int code = 0;
    while (code == 0 && (got = fread(chunk, 1, sizeof(chunk), file)) > 0)
        code = buf_append(&text, chunk, got);
    if (code == 0 && ferror(file))
        code = err_errno(&err, ERR_IO, errno, "%s", path);
    else if (code != 0)
        err_set(&err, code, "%s: more than %d bytes", path, RESULT_BYTES_MAX);
    else if ((code = compare_read(side, slice_of(text.data, text.len), &err)) != 0)
        err_prefix(&err, "%s", path);
    fclose(file);
    buf_release(&text);
    return code == 0 ? 0 : command_failed(&compare_command, &err);
}

static int run_compare(int operand_count, const char *const *operands)
{
    static struct compare_side a, b;
    char where[WHERE_BYTES];
    (void)operand_count;
    int status = read_side(operands[0], &a);
    if (status == 0)
        status = read_side(operands[1], &b);
    if (status != 0)
        return status;
    compare_print(stdout, &a, &b);
    double worst = compare_worst(&a, &b, where, sizeof(where));
    if (worse_max == UINT64_MAX || worst <= (double)worse_max)
        return EXIT_DONE;
    printf("worse by %.1f %%: %s\n", worst, where);
    return EXIT_VIOLATED;
}

const struct program_command compare_command = {
    .name = "compare",
    .usage = "[options] A.json B.json",
    .summary = "compare two results of -o json",
    .options = options,
    .option_count = sizeof(options) / sizeof(options[0]),
    .operands_min = 2,
    .operands_max = 2,
    .run = run_compare,
};
