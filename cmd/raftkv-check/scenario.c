/*
 * raftkv-check scenario: scripts of well-known situations, and what the core decides in them.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd/raftkv-check/check.h"
#include "lib/base/buf.h"
#include "lib/base/err.h"
#include "lib/base/mem.h"
#include "lib/sim/scenario.h"

enum { READ_BYTES = 1 << 16 };

static bool rewrite, verbose;

static const struct opt options[] = {
    {"rewrite", 0, OPT_FLAG, &rewrite, NULL, "put what is decided in the place of what is expected",
     0, 0, NULL, NULL},
    {"verbose", 'v', OPT_FLAG, &verbose, NULL, "print each script with what is decided in it", 0, 0,
     NULL, NULL},
};

/* ---- files ---- */

static int read_file(const char *path, struct buf *text, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, ERR_USAGE, errno, "cannot open %s", path);
    int code = 0;
    ssize_t n = 1;
    while (code == 0 && n > 0) {
        if (buf_reserve(text, READ_BYTES) != 0) {
            code = err_set(err, ERR_USAGE, "%s: a script has %d bytes at most", path,
                           SCENARIO_FILE_BYTES);
            break;
        }
        n = read(fd, text->data + text->len, READ_BYTES);
        if (n < 0)
            code = err_errno(err, ERR_USAGE, errno, "cannot read %s", path);
        else
            text->len += (size_t)n;
    }
    close(fd);
    return code;
}

static int write_all(int fd, const struct buf *text)
{
    for (size_t at = 0; at < text->len;) {
        ssize_t n = write(fd, text->data + at, text->len - at);
        if (n < 0)
            return -1;
        at += (size_t)n;
    }
    return 0;
}

/* The old file stays whole until the new one is; a link stays a link. */
static int replace_file(const char *path, const struct buf *text, struct err *err)
{
    char file[PATH_MAX], beside[PATH_MAX + sizeof(".new")];
    struct stat old;
    if (!realpath(path, file) || access(file, W_OK) != 0 || stat(file, &old) != 0)
        return err_errno(err, ERR_USAGE, errno, "cannot rewrite %s", path);
    snprintf(beside, sizeof(beside), "%s.new", file);
    int fd = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno(err, ERR_USAGE, errno, "cannot rewrite %s: cannot create %s", path,
                         beside);
    int failed = write_all(fd, text) != 0 || fchmod(fd, old.st_mode & 07777) != 0;
    int why = errno;
    if (close(fd) != 0 && !failed) {
        failed = 1;
        why = errno;
    }
    if (!failed && rename(beside, file) != 0) {
        failed = 1;
        why = errno;
    }
    if (!failed)
        return 0;
    unlink(beside);
    return err_errno(err, ERR_USAGE, why, "cannot rewrite %s", path);
}

/* ---- one script ---- */

struct totals {
    uint32_t scripts, commands, rewritten;
    bool differs;
};

static void print(const struct buf *text)
{
    if (text->len > 0)
        fwrite(text->data, 1, text->len, stdout);
}

static int judge(const char *path, const struct scenario_result *result, struct totals *totals,
                 struct err *err)
{
    totals->scripts++;
    totals->commands += result->commands;
    if (verbose)
        print(&result->text);
    if (result->breach[0] != '\0') {
        /* What breaks Raft is not written down as what is expected. */
        print(&result->diff);
        printf("%s\n", result->breach);
        totals->differs = true;
        return 0;
    }
    if (result->differences == 0)
        return 0;
    if (rewrite) {
        int code = replace_file(path, &result->text, err);
        totals->rewritten++;
        if (code == 0)
            printf("%s: rewritten, %" PRIu32 " %s\n", path, result->differences,
                   result->differences == 1 ? "difference" : "differences");
        return code;
    }
    print(&result->diff);
    totals->differs = true;
    return 0;
}

static int run_script(const char *path, struct totals *totals, struct err *err)
{
    struct buf text;
    struct scenario_result result;
    scenario_result_init(&result);
    buf_init(&text, SCENARIO_FILE_BYTES + READ_BYTES);
    int code = read_file(path, &text, err);
    if (code == 0)
        code = scenario_run(path, slice_of(text.data, text.len), &result, err);
    if (code == 0)
        code = judge(path, &result, totals, err);
    buf_release(&text);
    scenario_result_release(&result);
    return code;
}

static int run_scenario(int count, const char *const *paths);

const struct program_command scenario_command = {
    .name = "scenario",
    .usage = "[options] FILE…",
    .summary = "run scripts of well-known situations and compare the decisions",
    .options = options,
    .option_count = sizeof(options) / sizeof(options[0]),
    .operands_min = 1,
    .operands_max = -1,
    .run = run_scenario,
};

/* A file that cannot be run does not keep the others from it. */
static int run_scenario(int count, const char *const *paths)
{
    struct totals totals = {0};
    int status = EXIT_DONE;
    for (int i = 0; i < count; i++) {
        struct err err;
        if (run_script(paths[i], &totals, &err) == 0)
            continue;
        status = command_failed(&scenario_command, &err);
    }
    if (status != EXIT_DONE)
        return status;
    if (totals.differs)
        return EXIT_VIOLATED;
    if (!verbose && totals.rewritten == 0)
        printf("%" PRIu32 " %s, %" PRIu32 " commands: decided as expected\n", totals.scripts,
               totals.scripts == 1 ? "script" : "scripts", totals.commands);
    return EXIT_DONE;
}
