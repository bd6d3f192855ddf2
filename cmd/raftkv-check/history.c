/*
 * raftkv-check history: whether recorded histories are linearizable (lib/history/check.h).
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd/raftkv-check/check.h"
#include "lib/base/buf.h"
#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/history/parse.h"
#include "lib/history/proof.h"

enum { READ_BYTES = 1 << 20, PAGE_BYTES = 64 << 20, TEXT_BYTES = 1 << 16, SHOWN_MAX = 40 };

static const char *const format_words[] = {"auto", "json", "jepsen", "edn", NULL};
static const char *const method_words[] = {"auto", "index", "zones", "search", NULL};

static int format_word, method_word;
static uint64_t time_ms, memory_bytes = UINT64_C(2) << 30;
static const char *page_path, *json_path;

static const struct opt options[] = {
    {"format", 0, OPT_WORD, &format_word, "auto|json|jepsen|edn", "format of the files", 0, 0,
     format_words, "auto"},
    {"method", 0, OPT_WORD, &method_word, "auto|index|zones|search",
     "how to check; auto: the fastest that can tell, for each key", 0, 0, method_words, "auto"},
    {"time", 0, OPT_DURATION, &time_ms, "DUR", "time for each file; 0: any", 0, UINT64_MAX / 2,
     NULL, "0"},
    {"memory", 0, OPT_BYTES, &memory_bytes, "SIZE", "memory for each file", UINT64_C(1) << 20,
     UINT64_C(1) << 40, NULL, "2GiB"},
    {"html", 0, OPT_STRING, &page_path, "FILE", "write a page that shows the operations in time", 0,
     0, NULL, NULL},
    {"json", 0, OPT_STRING, &json_path, "FILE", "write the results, one object a line (-: stdout)",
     0, 0, NULL, NULL},
};

static int run_history(int count, const char *const *paths);

const struct program_command history_command = {
    .name = "history",
    .usage = "[options] FILE…",
    .summary = "check recorded histories for linearizability",
    .options = options,
    .option_count = sizeof(options) / sizeof(options[0]),
    .operands_min = 1,
    .operands_max = -1,
    .footer = "Exit codes: 0 linearizable, 2 a file is no history, or the method does not fit it, "
              "9 not\nlinearizable, 10 a limit ended it (--time, --memory).\n",
    .run = run_history,
};

/* ---- limits ---- */

static uint64_t deadline_us;

static bool time_is_up(void *argument)
{
    (void)argument;
    return time_ms > 0 && clock_now_us() >= deadline_us;
}

/* ---- reading ---- */

enum read_end { READ_WHOLE, READ_TIME, READ_MEMORY, READ_FAILED };

struct reading {
    const char *path;
    int fd;
    struct buf bytes;
    struct history_parser parser;
};

/* Parses what is there, and keeps what is not whole. */
static int parse_some(struct reading *r, bool last, struct err *err)
{
    size_t used;
    int code = history_parse(&r->parser, slice_of(r->bytes.data, r->bytes.len), last, &used, err);
    if (code == 0)
        buf_consume(&r->bytes, used);
    return code;
}

/* As the operations in the first bytes of a file are to those bytes, so all are to its size. */
static void expect_operations(const struct reading *r, uint64_t bytes_seen)
{
    struct history *h = r->parser.history;
    struct stat st;
    if (fstat(r->fd, &st) != 0 || !S_ISREG(st.st_mode))
        return;
    double expected = 1.02 * (double)h->count * (double)st.st_size / (double)bytes_seen;
    if (expected * (sizeof(*h->operations) + sizeof(*h->returns)) < (double)memory_bytes / 2 &&
        expected < HISTORY_EVENTS_MAX)
        history_reserve(h, (uint32_t)expected);
}

static enum read_end read_on(struct reading *r, struct err *err)
{
    for (bool first = true;; first = false) {
        if (buf_reserve(&r->bytes, READ_BYTES) != 0) {
            err_set(err, ERR_BAD_REQUEST, "%.200s:%" PRIu32 ": a line or map of more than %d bytes",
                    r->path, r->parser.line, HISTORY_UNIT_BYTES_MAX);
            return READ_FAILED;
        }
        ssize_t n = read(r->fd, r->bytes.data + r->bytes.len, READ_BYTES);
        if (n < 0) {
            err_errno(err, ERR_USAGE, errno, "cannot read %s", r->path);
            return READ_FAILED;
        }
        r->bytes.len += (size_t)n;
        if (parse_some(r, n == 0, err) != 0)
            return READ_FAILED;
        if (n == 0)
            return READ_WHOLE;
        if (first)
            expect_operations(r, (uint64_t)n);
        if (history_bytes(r->parser.history) + r->bytes.cap > memory_bytes)
            return READ_MEMORY;
        if (time_is_up(NULL))
            return READ_TIME;
    }
}

static enum read_end read_history(const char *path, struct history *h, enum history_format *format,
                                  struct err *err)
{
    struct reading r = {.path = path};
    r.fd = strcmp(path, "-") == 0 ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (r.fd < 0) {
        err_errno(err, ERR_USAGE, errno, "cannot open %s", path);
        return READ_FAILED;
    }
    buf_init(&r.bytes, HISTORY_UNIT_BYTES_MAX + READ_BYTES);
    history_parser_init(&r.parser, h, path, (enum history_format)format_word);
    enum read_end end = read_on(&r, err);
    if (end == READ_WHOLE && h->event_count == 0) {
        err_set(err, ERR_USAGE, "%s: no operations in it", path);
        end = READ_FAILED;
    }
    *format = r.parser.format;
    history_parser_release(&r.parser);
    buf_release(&r.bytes);
    if (r.fd != STDIN_FILENO)
        close(r.fd);
    return end;
}

/* ---- what is said ---- */

struct checked { /* a file */
    const char *path;
    enum history_format format;
    struct history history;
    struct history_parts parts;
    struct history_limits limits;
    struct history_report report;
    struct history_proof proof;
    const char *ended_by; /* the limit: "--time" */
    uint32_t unknown;
};

static FILE *json_file;

static const char *verdict_text(const struct checked *c)
{
    switch (c->report.verdict) {
    case VERDICT_LINEARIZABLE: return "linearizable";
    case VERDICT_VIOLATED: return "not linearizable";
    default: return "inconclusive";
    }
}

/* "1000 keys by index, 2 by search (123 steps)" */
static void print_methods(const struct checked *c)
{
    bool any = false;
    for (int m = 0; m < METHOD_COUNT; m++) {
        if (c->report.parts[m] == 0)
            continue;
        printf("%s%" PRIu32 "%s by %s", any ? ", " : "; ", c->report.parts[m],
               any                       ? ""
               : c->report.parts[m] == 1 ? " part"
                                         : " parts",
               history_method_name((enum history_method)m));
        any = true;
    }
    if (c->report.steps > 0)
        printf(" (%" PRIu64 " steps)", c->report.steps);
}

static void print_counts(const struct checked *c)
{
    const struct history *h = &c->history;
    uint32_t processes = history_process_count(h);
    printf("%s: %s: %" PRIu32 " operation%s of %" PRIu32 " process%s, %" PRIu32
           " of unknown outcome",
           c->path, verdict_text(c), h->count, h->count == 1 ? "" : "s", processes,
           processes == 1 ? "" : "es", c->unknown);
    print_methods(c);
    printf("\n");
}

static void print_operation(const struct checked *c, uint32_t which, struct buf *text)
{
    const struct history_operation *op = &c->history.operations[which];
    buf_clear(text);
    if (history_operation_text(&c->history, op, text) != 0)
        (void)buf_append_str(text, "…");
    char lines[32];
    if (op->return_line)
        snprintf(lines, sizeof(lines), "%" PRIu32 "-%" PRIu32, op->call_line, op->return_line);
    else
        snprintf(lines, sizeof(lines), "%" PRIu32 "-", op->call_line);
    printf("  %c process %-4" PRIu32 " lines %-13s %s\n", which == c->proof.breaks ? '*' : ' ',
           op->process, lines, (const char *)text->data);
}

static void print_violation(const struct checked *c)
{
    const struct history_part *p = &c->parts.parts[c->report.violated];
    struct buf text;
    buf_init(&text, TEXT_BYTES);
    (void)history_part_text(p, &text);
    printf("%s, by %s: %s\n", (const char *)text.data, history_method_name(c->report.method),
           c->report.why);
    printf("%s%" PRIu32 " of its %" PRIu32 " operations, which no order explains:\n",
           c->proof.smallest ? "" : "at most ", c->proof.count, p->count);
    uint32_t left_out = c->proof.count > SHOWN_MAX ? c->proof.count - SHOWN_MAX : 0;
    if (left_out > 0)
        printf("    … %" PRIu32 " before these; --html and --json have all\n", left_out);
    for (uint32_t i = left_out; i < c->proof.count; i++)
        print_operation(c, c->proof.ops[i], &text);
    if (c->proof.breaks != HISTORY_NO_ID)
        printf("Up to the return in line %" PRIu32 " it is linearizable, with it (*) no longer.\n",
               c->history.operations[c->proof.breaks].return_line);
    buf_release(&text);
}

/* ---- the files that are written ---- */

static int write_page(const struct checked *c, struct err *err)
{
    struct buf page;
    buf_init(&page, PAGE_BYTES);
    bool violated = c->report.verdict == VERDICT_VIOLATED;
    uint32_t shown = violated ? c->report.violated : 0;
    for (uint32_t i = 1; !violated && i < c->parts.count; i++)
        if (c->parts.parts[i].count > c->parts.parts[shown].count)
            shown = i;
    int code = history_page(&c->parts.parts[shown], &c->report, violated ? &c->proof : NULL,
                            c->path, &page);
    if (code != 0) {
        err_set(err, code, "the page would have more than %d bytes", PAGE_BYTES);
    } else {
        FILE *f = fopen(page_path, "we");
        bool good = f && fwrite(page.data, 1, page.len, f) == page.len;
        int why = errno;
        if (f && fclose(f) != 0 && good) {
            good = false;
            why = errno;
        }
        if (!good)
            code = err_errno(err, ERR_IO, why, "cannot write %s", page_path);
    }
    buf_release(&page);
    return code;
}

static void write_json_string(const char *s)
{
    fputc('"', json_file);
    for (; *s; s++) {
        uint8_t c = (uint8_t)*s;
        if (c == '"' || c == '\\')
            fprintf(json_file, "\\%c", c);
        else if (c < 0x20)
            fprintf(json_file, "\\u%04x", c);
        else
            fputc(c, json_file);
    }
    fputc('"', json_file);
}

static void write_json_proof(const struct checked *c)
{
    fprintf(json_file, ",\"method\":\"%s\",\"why\":", history_method_name(c->report.method));
    write_json_string(c->report.why);
    if (c->proof.breaks != HISTORY_NO_ID)
        fprintf(json_file, ",\"breaks_at_line\":%" PRIu32,
                c->history.operations[c->proof.breaks].return_line);
    fprintf(json_file, ",\"smallest\":%s,\"lines\":[", c->proof.smallest ? "true" : "false");
    for (uint32_t i = 0; i < c->proof.count; i++)
        fprintf(json_file, "%s%" PRIu32, i > 0 ? "," : "",
                c->history.operations[c->proof.ops[i]].call_line);
    fprintf(json_file, "]");
}

static void write_json(const struct checked *c)
{
    fprintf(json_file, "{\"file\":");
    write_json_string(c->path);
    fprintf(json_file,
            ",\"format\":\"%s\",\"result\":\"%s\",\"operations\":%" PRIu32 ",\"processes\":%" PRIu32
            ",\"unknown\":%" PRIu32,
            history_format_name(c->format), verdict_text(c), c->history.count,
            history_process_count(&c->history), c->unknown);
    for (int m = 0; m < METHOD_COUNT; m++)
        fprintf(json_file, ",\"by_%s\":%" PRIu32, history_method_name((enum history_method)m),
                c->report.parts[m]);
    fprintf(json_file, ",\"steps\":%" PRIu64, c->report.steps);
    if (c->report.verdict == VERDICT_VIOLATED)
        write_json_proof(c);
    if (c->ended_by)
        fprintf(json_file, ",\"ended_by\":\"%s\"", c->ended_by);
    fprintf(json_file, "}\n");
}

/* ---- one file ---- */

static void judge(struct checked *c)
{
    c->limits = (struct history_limits){.forced = method_word > 0,
                                        .method = (enum history_method)(method_word - 1),
                                        .memory_bytes = memory_bytes,
                                        .stop = time_is_up};
    for (uint32_t i = 0; i < c->history.count; i++)
        c->unknown += c->history.operations[i].outcome == HISTORY_UNKNOWN;
    history_parts_init(&c->parts, &c->history);
    history_judge(&c->parts, &c->limits, &c->report);
    if (c->report.verdict == VERDICT_VIOLATED)
        history_prove(&c->parts.parts[c->report.violated], c->report.method, &c->limits, &c->proof);
    if (c->report.verdict == VERDICT_OPEN)
        c->ended_by = c->report.out_of_memory ? "--memory" : "--time";
}

static int say(struct checked *c)
{
    struct err err;
    if (c->report.verdict == VERDICT_UNFIT)
        return command_usage(&history_command, "%s: --method %s does not fit: %s", c->path,
                             history_method_name(c->report.method), c->report.why);
    if (json_file)
        write_json(c);
    if (json_file != stdout) {
        print_counts(c);
        if (c->report.verdict == VERDICT_VIOLATED)
            print_violation(c);
        if (c->ended_by)
            printf("inconclusive: %s ended it, nothing is violated so far\n", c->ended_by);
    }
    if (page_path && c->parts.count > 0 && write_page(c, &err) != 0)
        return command_failed(&history_command, &err);
    switch (c->report.verdict) {
    case VERDICT_LINEARIZABLE: return EXIT_DONE;
    case VERDICT_VIOLATED: return EXIT_VIOLATED;
    default: return EXIT_INCONCLUSIVE;
    }
}

static int check_file(const char *path)
{
    struct checked c = {.path = path};
    struct err err;
    int status;
    deadline_us = clock_now_us() + time_ms * 1000;
    history_init(&c.history);
    enum read_end end = read_history(path, &c.history, &c.format, &err);
    if (end == READ_FAILED) {
        status = command_failed(&history_command, &err);
    } else {
        c.report.verdict = VERDICT_OPEN;
        c.ended_by = end == READ_TIME ? "--time" : "--memory";
        if (end == READ_WHOLE) {
            c.ended_by = NULL;
            judge(&c);
        }
        status = say(&c);
    }
    history_proof_release(&c.proof);
    history_parts_release(&c.parts);
    history_release(&c.history);
    return status;
}

/* What counts most: a file that could not be read, then a violation, then what was left open. */
static int worse(int a, int b)
{
    static const int order[] = {EXIT_INTERNAL, EXIT_USAGE, EXIT_VIOLATED, EXIT_INCONCLUSIVE};
    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++)
        if (a == order[i] || b == order[i])
            return order[i];
    return a ? a : b;
}

static int open_json(void)
{
    struct err err;
    json_file = strcmp(json_path, "-") == 0 ? stdout : fopen(json_path, "we");
    if (json_file)
        return EXIT_DONE;
    err_errno(&err, ERR_USAGE, errno, "cannot write %s", json_path);
    return command_failed(&history_command, &err);
}

static int close_json(void)
{
    struct err err;
    bool bad = ferror(json_file);
    if (json_file == stdout)
        return EXIT_DONE; /* main looks at it */
    if (fclose(json_file) == 0 && !bad)
        return EXIT_DONE;
    err_errno(&err, ERR_IO, errno, "cannot write %s", json_path);
    return command_failed(&history_command, &err);
}

static int run_history(int count, const char *const *paths)
{
    if (page_path && count > 1)
        return command_usage(&history_command, "--html shows one FILE, not %d", count);
    int status = json_path ? open_json() : EXIT_DONE;
    if (status != EXIT_DONE)
        return status;
    for (int i = 0; i < count; i++)
        status = worse(status, check_file(paths[i]));
    return json_file ? worse(status, close_json()) : status;
}
