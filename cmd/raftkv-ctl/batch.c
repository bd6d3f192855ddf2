/* batch: lines of operations as one write. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cmd/raftkv-ctl/ctl.h"
#include "lib/base/check.h"

/* A node takes no longer body; with it the list's own few bytes are behind a file of that size. */
enum { BATCH_FILE_BYTES = 2 * LIMIT_BATCH_BYTES + LIMIT_BATCH_WRITES * 128 };

static bool is_blank(struct slice line)
{
    for (size_t i = 0; i < line.len; i++)
        if (line.data[i] != ' ' && line.data[i] != '\t' && line.data[i] != '\r')
            return false;
    return true;
}

/* `body` gets {"ops":[…]} with each line as it stands; a line that is no operation is named. */
static int body_make(const char *name, struct slice text, struct buf *body, struct err *err)
{
    uint64_t number = 0;
    bool first = true;
    ASSERT(buf_append_str(body, "{\"ops\":[") == 0);
    for (size_t at = 0; at < text.len;) {
        const uint8_t *end = memchr(text.data + at, '\n', text.len - at);
        size_t len = end ? (size_t)(end - text.data) - at : text.len - at;
        struct slice line = slice_of(text.data + at, len);
        at += len + 1;
        number++;
        if (is_blank(line))
            continue;
        if (api_batch_op_check(line, err) != 0)
            return err_prefix(err, "%s, line %" PRIu64, name, number);
        if (!first)
            ASSERT(buf_append_byte(body, ',') == 0);
        first = false;
        ASSERT(buf_append(body, line.data, line.len) == 0);
    }
    ASSERT(buf_append_str(body, "]}") == 0);
    return first ? err_set(err, ERR_USAGE, "%s: no operation in it", name) : 0;
}

static int batch(struct ctl *c, struct slice body)
{
    struct err err;
    int code = client_batch(c->client, body, &c->reply, &err);
    if (code != 0)
        return ctl_failed(c, code, &err, NULL);
    if (c->output == OUTPUT_JSON)
        ctl_print_body(c);
    else
        printf("%" PRIu64 "\n", c->reply.version);
    return EXIT_DONE;
}

static int run_batch(struct ctl *c, int argc, const char *const *argv)
{
    (void)argc;
    const char *name = strcmp(argv[0], "-") == 0 ? "standard input" : argv[0];
    struct buf text, body;
    struct err err;
    buf_init(&text, BATCH_FILE_BYTES + 1);
    buf_init(&body, 2 * BATCH_FILE_BYTES);
    int code = ctl_read_file(argv[0], &text, &err);
    if (code == 0)
        code = body_make(name, slice_of(text.data, text.len), &body, &err);
    int status =
        code == 0 ? batch(c, slice_of(body.data, body.len)) : ctl_failed(c, code, &err, NULL);
    buf_release(&text);
    buf_release(&body);
    return status;
}

const struct ctl_command batch_command = {
    .command =
        {
            .name = "batch",
            .usage = "[options] FILE",
            .summary = "write several keys at once, print their version",
            .footer = "FILE has a JSON object a line, - is standard input:\n"
                      "  {\"op\":\"put\",\"key\":\"a\",\"value\":\"1\"}\n"
                      "  {\"op\":\"delete\",\"key\":\"b\"}\n"
                      "All of it takes effect, or nothing. A key may stand there once.\n",
            .operands_min = 1,
            .operands_max = 1,
        },
    .run = run_batch,
};
