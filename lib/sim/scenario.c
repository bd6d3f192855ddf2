/*
 * Scenario files: the file line by line, each command run as it comes, and what it brings about in
 * the place of what was expected; see scenario.h.
 */
#include "lib/sim/scenario.h"

#include <ctype.h>
#include <inttypes.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/sim/scenario_internal.h"

/* ---- lines ---- */

struct reader {
    struct slice rest;
    uint32_t line; /* number of the last one taken */
};

/* The next line with its newline, left where it is; empty: the end. */
static struct slice peek(const struct reader *r)
{
    const uint8_t *end = r->rest.len > 0 ? memchr(r->rest.data, '\n', r->rest.len) : NULL;
    return slice_of(r->rest.data, end ? (size_t)(end - r->rest.data) + 1 : r->rest.len);
}

static void take(struct reader *r, struct slice line)
{
    r->rest = slice_of(r->rest.data + line.len, r->rest.len - line.len);
    r->line++;
}

static struct slice trim(struct slice line)
{
    while (line.len > 0 && isspace(line.data[line.len - 1]))
        line.len--;
    while (line.len > 0 && isspace(line.data[0])) {
        line.data++;
        line.len--;
    }
    return line;
}

static bool is_indented(struct slice line)
{
    return line.len > 0 && (line.data[0] == ' ' || line.data[0] == '\t') && trim(line).len > 0;
}

/* ---- one command ---- */

/* The indented lines that follow: as they stand, and without indentation. */
static int take_expected(struct reader *r, struct buf *raw, struct buf *expected)
{
    struct slice line;
    int code = 0;
    while (code == 0 && is_indented(line = peek(r))) {
        struct slice text = trim(line);
        take(r, line);
        code = buf_append(raw, line.data, line.len);
        if (code == 0)
            code = buf_append(expected, text.data, text.len);
        if (code == 0)
            code = buf_append_byte(expected, '\n');
    }
    return code;
}

static int append_indented(struct buf *out, const struct buf *lines)
{
    int code = 0;
    size_t at = 0;
    if (lines->len > 0 && out->len > 0 && out->data[out->len - 1] != '\n')
        code = buf_append_byte(out, '\n');
    while (code == 0 && at < lines->len) {
        const uint8_t *end = memchr(lines->data + at, '\n', lines->len - at);
        size_t length = (size_t)(end - (lines->data + at)) + 1;
        code = buf_append_str(out, "    ");
        if (code == 0)
            code = buf_append(out, lines->data + at, length);
        at += length;
    }
    return code;
}

static void note_difference(struct scenario *s, struct slice command, const struct buf *expected)
{
    struct scenario_result *result = s->result;
    struct slice text = trim(command);
    if (result->differences++ == 0)
        (void)buf_printf(&result->diff, "--- %s\n+++ what was decided\n", s->file);
    (void)buf_printf(&result->diff, "@@ %s:%" PRIu32 ": %.*s\n", s->file, s->line, (int)text.len,
                     (const char *)text.data);
    scenario_diff(&result->diff, slice_of(expected->data, expected->len),
                  slice_of(s->out.data, s->out.len));
}

/* After the end of a cluster nothing is run until the next one begins. */
static void run(struct scenario *s, const struct scenario_command *command)
{
    buf_clear(&s->out);
    s->line = command->line;
    if (s->cluster && s->cluster->ended && command->verb->parse != scenario_parse_cluster)
        scenario_say(s, "not run: the cluster has come to its end above");
    else
        command->verb->run(s, command);
    s->result->commands++;
}

static int finish_command(struct scenario *s, const struct scenario_command *command,
                          struct slice line, const struct buf *raw, const struct buf *expected,
                          struct err *err)
{
    if (command->quietly && expected->len > 0)
        return err_set(err, ERR_BAD_REQUEST,
                       "%s:%" PRIu32 ": nothing is expected of what is done quietly", s->file,
                       command->line + 1);
    run(s, command);
    bool same = command->quietly || slice_compare(slice_of(expected->data, expected->len),
                                                  slice_of(s->out.data, s->out.len)) == 0;
    if (same)
        return buf_append(&s->result->text, raw->data, raw->len);
    note_difference(s, line, expected);
    return append_indented(&s->result->text, &s->out);
}

static int run_command(struct scenario *s, struct reader *r, struct slice line, struct err *err)
{
    struct scenario_command *command = mem_zalloc(sizeof(*command));
    struct buf raw, expected;
    buf_init(&raw, SCENARIO_FILE_BYTES + 1);
    buf_init(&expected, SCENARIO_FILE_BYTES + 1);
    int code = scenario_parse(s->names, r->line, trim(line), command, err);
    if (code == 0)
        code = take_expected(r, &raw, &expected);
    if (code == 0)
        code = finish_command(s, command, line, &raw, &expected, err);
    buf_release(&raw);
    buf_release(&expected);
    mem_free(command);
    return code;
}

/* ---- the file ---- */

static int run_lines(struct scenario *s, struct slice text, struct err *err)
{
    struct reader r = {.rest = text};
    while (r.rest.len > 0) {
        struct slice line = peek(&r);
        take(&r, line);
        if (is_indented(line))
            return err_set(err, ERR_BAD_REQUEST, "%s:%" PRIu32 ": no command stands above this",
                           s->file, r.line);
        int code = buf_append(&s->result->text, line.data, line.len);
        if (code == 0 && trim(line).len > 0 && line.data[0] != '#')
            code = run_command(s, &r, line, err);
        if (code == ERR_TOO_LARGE)
            return err_set(err, ERR_BAD_REQUEST, "%s:%" PRIu32 ": the file becomes too large",
                           s->file, r.line);
        if (code != 0)
            return code;
    }
    return 0;
}

void scenario_result_init(struct scenario_result *result)
{
    memset(result, 0, sizeof(*result));
    buf_init(&result->text, SCENARIO_OUTPUT_BYTES);
    buf_init(&result->diff, SCENARIO_OUTPUT_BYTES);
}

void scenario_result_release(struct scenario_result *result)
{
    buf_release(&result->text);
    buf_release(&result->diff);
}

int scenario_run(const char *file, struct slice text, struct scenario_result *result,
                 struct err *err)
{
    struct scenario s = {.file = file, .result = result};
    if (text.len > SCENARIO_FILE_BYTES)
        return err_set(err, ERR_BAD_REQUEST, "%s: a script has %d bytes at most", file,
                       SCENARIO_FILE_BYTES);
    s.names = mem_zalloc(sizeof(*s.names));
    s.names->file = file;
    buf_init(&s.out, SCENARIO_FILE_BYTES);
    int code = run_lines(&s, text, err);
    if (code == 0 && result->commands == 0)
        code = err_set(err, ERR_BAD_REQUEST, "%s: no commands", file);
    if (s.cluster)
        cluster_stop(s.cluster);
    buf_release(&s.out);
    mem_free(s.values);
    mem_free(s.names);
    return code;
}
