/* fault: what one node is to suffer; it must run with --enable-faults. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cmd/raftkv-ctl/ctl.h"
#include "lib/base/check.h"
#include "lib/base/opt.h"
#include "lib/json/api_faults.h"

enum { BODY_BYTES = 4096, PATH_BYTES = 64, LIST_MAX = 256, NAME_BYTES = 64 };

static struct slice body_of(const struct ctl *c)
{
    return slice_of(c->reply.body.data, c->reply.body.len);
}

/* "delay peer=node2 delay_ms=100" into *f; the exit status of what is wrong with it. */
static int parse(struct ctl *c, int argc, const char *const *argv, struct api_fault *f)
{
    struct err err;
    char name[NAME_BYTES];
    int code = api_fault_begin(f, argv[0], &err);
    for (int i = 1; code == 0 && i < argc; i++) {
        const char *equals = strchr(argv[i], '=');
        if (!equals || (size_t)(equals - argv[i]) >= sizeof(name))
            return command_usage(c->command, "'%.64s' is not NAME=VALUE", argv[i]);
        snprintf(name, sizeof(name), "%.*s", (int)(equals - argv[i]), argv[i]);
        for (int k = 1; k < i; k++)
            if (strncmp(argv[k], argv[i], (size_t)(equals - argv[i]) + 1) == 0)
                return command_usage(c->command, "%s stands there twice", name);
        code = api_fault_set(f, name, equals + 1, &err);
    }
    code = code ? code : api_fault_check(f, &err);
    return code ? command_usage(c->command, "%s", err.text) : EXIT_DONE;
}

static void print_fault(const struct api_fault *f)
{
    struct buf text;
    buf_init(&text, BODY_BYTES);
    ASSERT(api_fault_text(f, &text) == 0);
    printf("%" PRIu64 "  %s\n", f->id, (const char *)text.data);
    buf_release(&text);
}

static int add(struct ctl *c, int argc, const char *const *argv)
{
    struct api_fault f;
    struct buf body;
    struct err err;
    int status = parse(c, argc, argv, &f);
    if (status != EXIT_DONE)
        return status;
    buf_init(&body, BODY_BYTES);
    ASSERT(api_fault_encode(&f, &body) == 0);
    int code = client_change_at(c->client, 0, CLIENT_POST, "/faults", slice_of(body.data, body.len),
                                &c->reply, &err);
    buf_release(&body);
    code = code ? code : api_fault_reply_decode(body_of(c), &f, &err);
    if (code != 0)
        return ctl_failed(c, code, &err, "add");
    if (c->output == OUTPUT_JSON)
        ctl_print_body(c);
    else
        print_fault(&f);
    return EXIT_DONE;
}

/* The faults that the last reply has, a line each. */
static int print_list(struct ctl *c, const char *what)
{
    static struct api_fault list[LIST_MAX];
    size_t count = LIST_MAX;
    struct err err;
    if (c->output == OUTPUT_JSON) {
        ctl_print_body(c);
        return EXIT_DONE;
    }
    if (api_faults_decode(body_of(c), list, &count, &err) != 0)
        return ctl_failed(c, ERR_INTERNAL, &err, what);
    for (size_t i = 0; i < count; i++)
        print_fault(&list[i]);
    return EXIT_DONE;
}

static int list_faults(struct ctl *c, int argc, const char *const *argv)
{
    struct err err;
    (void)argc;
    (void)argv;
    int code = client_fetch_from(c->client, 0, "/faults", &c->reply, &err);
    return code ? ctl_failed(c, code, &err, "list") : print_list(c, "list");
}

static int clear(struct ctl *c, int argc, const char *const *argv)
{
    char path[PATH_BYTES] = "/faults";
    uint64_t id;
    struct err err;
    if (argc > 0 && opt_parse_uint(argv[0], &id) != 0)
        return command_usage(c->command, "'%.64s' is no id of a fault", argv[0]);
    if (argc > 0)
        snprintf(path, sizeof(path), "/faults/%" PRIu64, id);
    int code =
        client_change_at(c->client, 0, CLIENT_DELETE, path, slice_of(NULL, 0), &c->reply, &err);
    if (code != 0)
        return ctl_failed(c, code, &err, "clear");
    if (c->output == OUTPUT_JSON)
        ctl_print_body(c);
    return EXIT_DONE;
}

static const struct {
    const char *name, *usage;
    int min, max; /* operands behind it */
    int (*run)(struct ctl *, int, const char *const *);
} verbs[] = {
    {"add", "add KIND [NAME=VALUE…]", 1, 9, add},
    {"list", "list", 0, 0, list_faults},
    {"clear", "clear [ID]", 0, 1, clear},
};

static int run_fault(struct ctl *c, int argc, const char *const *argv)
{
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        int count = argc - 1;
        if (strcmp(argv[0], verbs[i].name) != 0)
            continue;
        if (count < verbs[i].min || count > verbs[i].max)
            return command_usage(c->command, "too %s arguments: want %s",
                                 count < verbs[i].min ? "few" : "many", verbs[i].usage);
        return verbs[i].run(c, count, argv + 1);
    }
    return command_usage(c->command, "unknown subcommand '%.64s': want add, list or clear",
                         argv[0]);
}

const struct ctl_command fault_command = {
    .command =
        {
            .name = "fault",
            .usage = "[options] add KIND [NAME=VALUE…] | list | clear [ID]",
            .summary = "make one node fail, for tests",
            .footer = "Speaks to the first endpoint alone, a node that runs with "
                      "--enable-faults.\n\n"
                      "Kinds, with what they take (in brackets: may be left out):\n"
                      "  drop peer [per_mille], delay peer delay_ms, fsync-delay delay_ms [file],\n"
                      "  fsync-error [file], disk-full [file], disk-stall [file],\n"
                      "  clock-offset offset_ms, clock-rate ppm, crash point [after]\n",
            .operands_min = 1,
            .operands_max = 10,
        },
    .run = run_fault,
};
