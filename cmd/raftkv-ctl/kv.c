/* put, get, delete: one key at a time, its bytes as they come from the command line. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cmd/raftkv-ctl/ctl.h"
#include "lib/base/limits.h"

/* Versions are log indexes, and integers in JSON stay below 2^53. */
#define VERSION_MAX ((UINT64_C(1) << 53) - 1)

static const char condition_help[] = "only if the key has version N";

/* ---- put ---- */

static const char *put_file;
static uint64_t put_version;
static bool put_absent;

static const struct opt put_options[] = {
    {"file", 0, OPT_STRING, &put_file, "FILE", "take the value from FILE (-: standard input)", 0, 0,
     NULL, NULL},
    {"if-version", 0, OPT_UINT, &put_version, "N", condition_help, 1, VERSION_MAX, NULL, NULL},
    {"if-absent", 0, OPT_FLAG, &put_absent, NULL, "only if there is no such key", 0, 0, NULL, NULL},
};

static int put(struct ctl *c, const char *key, struct slice value)
{
    struct err err;
    char shown[SHOWN_KEY_BYTES];
    enum command_condition condition = put_version > 0 ? CONDITION_VERSION
                                       : put_absent    ? CONDITION_ABSENT
                                                       : CONDITION_NONE;
    int code =
        client_put(c->client, slice_str(key), value, condition, put_version, &c->reply, &err);
    if (code != 0)
        return ctl_failed(c, code, &err, shown_key(key, shown));
    if (c->output == OUTPUT_JSON)
        ctl_print_body(c);
    else
        printf("%" PRIu64 "\n", c->reply.version);
    return EXIT_DONE;
}

static int run_put(struct ctl *c, int argc, const char *const *argv)
{
    const char *file = put_file;
    if (put_file && argc == 2)
        return command_usage(c->command, "VALUE and --file exclude each other");
    if (put_absent && put_version > 0)
        return command_usage(c->command, "--if-absent and --if-version exclude each other");
    if (argc == 1 && !file)
        return command_usage(c->command, "a value is missing: VALUE, - or --file FILE");
    if (argc == 2 && strcmp(argv[1], "-") == 0)
        file = "-";
    if (!file)
        return put(c, argv[0], slice_str(argv[1]));

    struct err err;
    struct buf value;
    buf_init(&value, LIMIT_VALUE_BYTES_CEILING + 1);
    int code = ctl_read_file(file, &value, &err);
    int status = code == 0
                     ? put(c, argv[0], slice_of(value.data ? value.data : (uint8_t *)"", value.len))
                     : ctl_failed(c, code, &err, NULL);
    buf_release(&value);
    return status;
}

const struct ctl_command put_command = {
    .command =
        {
            .name = "put",
            .usage = "[options] KEY VALUE | KEY - | KEY --file FILE",
            .summary = "store a value under a key, print its version",
            .footer = "- takes the value from standard input. Behind -- nothing is an option.\n",
            .options = put_options,
            .option_count = sizeof(put_options) / sizeof(put_options[0]),
            .operands_min = 1,
            .operands_max = 2,
        },
    .run = run_put,
};

/* ---- get ---- */

static int run_get(struct ctl *c, int argc, const char *const *argv)
{
    (void)argc;
    struct err err;
    char shown[SHOWN_KEY_BYTES];
    bool raw = c->output == OUTPUT_TEXT;
    int code = client_get(c->client, slice_str(argv[0]), raw, &c->reply, &err);
    if (code != 0)
        return ctl_failed(c, code, &err, shown_key(argv[0], shown));
    if (!raw) {
        ctl_print_body(c);
        return EXIT_DONE;
    }
    if (c->reply.body.len > 0)
        fwrite(c->reply.body.data, 1, c->reply.body.len, stdout);
    if (isatty(STDOUT_FILENO))
        putchar('\n');
    return EXIT_DONE;
}

const struct ctl_command get_command = {
    .command =
        {
            .name = "get",
            .usage = "[options] KEY",
            .summary = "print the bytes of a value",
            .footer = "A newline is added only on a terminal. A missing key is exit status 1.\n",
            .operands_min = 1,
            .operands_max = 1,
        },
    .run = run_get,
};

/* ---- delete ---- */

static uint64_t delete_version;
static bool delete_must_exist;

static const struct opt delete_options[] = {
    {"if-version", 0, OPT_UINT, &delete_version, "N", condition_help, 1, VERSION_MAX, NULL, NULL},
    {"must-exist", 0, OPT_FLAG, &delete_must_exist, NULL, "exit status 1 if a key was not there", 0,
     0, NULL, NULL},
};

/* Ends at the first key that could not be deleted: what comes behind was not tried. */
static int run_delete(struct ctl *c, int argc, const char *const *argv)
{
    enum command_condition condition = delete_version > 0 ? CONDITION_VERSION : CONDITION_NONE;
    char shown[SHOWN_KEY_BYTES];
    int status = EXIT_DONE;
    if (delete_version > 0 && argc > 1)
        return command_usage(c->command, "--if-version goes with one key");
    for (int i = 0; i < argc; i++) {
        struct err err;
        int code = client_delete(c->client, slice_str(argv[i]), condition, delete_version,
                                 &c->reply, &err);
        if (code != 0)
            return ctl_failed(c, code, &err, shown_key(argv[i], shown));
        if (c->output == OUTPUT_JSON)
            ctl_print_body(c);
        else
            printf("%s\n", c->reply.deleted ? "deleted" : "not there");
        if (!c->reply.deleted && delete_must_exist) {
            ctl_note("%s %s: not found", c->command->name, shown_key(argv[i], shown));
            status = EXIT_NOT_FOUND;
        }
    }
    return status;
}

const struct ctl_command delete_command = {
    .command =
        {
            .name = "delete",
            .usage = "[options] KEY…",
            .summary = "delete keys, one after the other",
            .footer = "A key that is not there is no error. The first failure ends the command.\n",
            .options = delete_options,
            .option_count = sizeof(delete_options) / sizeof(delete_options[0]),
            .operands_min = 1,
            .operands_max = -1,
        },
    .run = run_delete,
};
