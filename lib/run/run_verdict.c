/* The history of a run, read back from its file and judged by lib/history; see run.h. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/history/check.h"
#include "lib/history/parse.h"
#include "lib/run/run_internal.h"

enum { READ_BYTES = 1 << 20, TIME_MS = 120000, MEMORY_MIB = 4096 };

static bool time_is_up(void *argument)
{
    return clock_now_us() >= *(const uint64_t *)argument;
}

static int read_file(const char *path, struct history *h, struct err *err)
{
    struct history_parser parser;
    struct buf bytes;
    ssize_t got = 1;
    int code = 0, fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, ERR_IO, errno, "%s", path);
    buf_init(&bytes, HISTORY_UNIT_BYTES_MAX + READ_BYTES);
    history_parser_init(&parser, h, "history.jsonl", HISTORY_JSON);
    while (code == 0 && got > 0) {
        size_t used;
        code = buf_reserve(&bytes, READ_BYTES);
        got = code == 0 ? read(fd, bytes.data + bytes.len, READ_BYTES) : 0;
        if (got < 0)
            code = err_errno(err, ERR_IO, errno, "%s", path);
        if (code != 0)
            break;
        bytes.len += (size_t)got;
        code = history_parse(&parser, slice_of(bytes.data, bytes.len), got == 0, &used, err);
        if (code == 0)
            buf_consume(&bytes, used);
    }
    history_parser_release(&parser);
    buf_release(&bytes);
    close(fd);
    return code;
}

static void describe(struct run_report *report, const struct history *h,
                     const struct history_parts *parts, const struct history_report *found)
{
    size_t len =
        (size_t)snprintf(report->history, sizeof(report->history),
                         "%" PRIu32 " operations in %" PRIu32 " parts", h->count, parts->count);
    for (int m = 0; m < METHOD_COUNT && len < sizeof(report->history); m++)
        if (found->parts[m] > 0)
            len += (size_t)snprintf(report->history + len, sizeof(report->history) - len,
                                    ", %" PRIu32 " by %s", found->parts[m],
                                    history_method_name((enum history_method)m));
}

static void judge(struct run_report *report, struct history *h)
{
    uint64_t until = clock_now_us() + (uint64_t)TIME_MS * 1000;
    struct history_limits limits = {
        .memory_bytes = (uint64_t)MEMORY_MIB << 20, .stop = time_is_up, .argument = &until};
    struct history_parts parts;
    struct history_report found;
    history_parts_init(&parts, h);
    history_judge(&parts, &limits, &found);
    describe(report, h, &parts, &found);
    if (found.verdict == VERDICT_VIOLATED)
        run_judge(report, RUN_VIOLATED, "the history is not linearizable: %s", found.why);
    else if (found.verdict != VERDICT_LINEARIZABLE)
        run_judge(report, RUN_INCONCLUSIVE,
                  "%" PRIu32 " parts of the history could not be judged within %d s and %d MiB",
                  found.open, TIME_MS / 1000, MEMORY_MIB);
    history_parts_release(&parts);
}

void run_judge_history(struct run *r)
{
    struct history h;
    struct err err;
    history_init(&h);
    if (read_file(r->history_path, &h, &err) != 0)
        run_judge(r->report, RUN_INCONCLUSIVE, "the history cannot be read: %s", err.text);
    else if (h.count > 0)
        judge(r->report, &h);
    history_release(&h);
}
