/*
 * member: list, add, remove, promote, replace. A change is asked for once; what came of it, the
 * membership tells, also when the answer was lost on the way.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cmd/raftkv-ctl/ctl.h"
#include "lib/base/check.h"
#include "lib/base/clock.h"
#include "lib/base/hash.h"
#include "lib/json/api.h"
#include "lib/net/http_server.h"

enum { WAIT_DEFAULT_MS = 10 * 60 * 1000, WAIT_MAX_MS = 24 * 60 * 60 * 1000, BODY_BYTES = 4096 };

static uint64_t wait_ms = WAIT_DEFAULT_MS;
static bool stay_learner;

static const struct opt member_options[] = {
    {"learner", 0, OPT_FLAG, &stay_learner, NULL, "add: do not promote it when it has caught up", 0,
     0, NULL, NULL},
    {"wait", 0, OPT_DURATION, &wait_ms, "DUR", "for a change to be done; 0s: not at all", 0,
     WAIT_MAX_MS, NULL, "10m"},
};

/* What a change is to lead to. Neither `comes` nor `goes`: whom it is about is not known here, and
 * only the answer tells. */
struct goal {
    const char *verb;                 /* "add", as messages say it */
    char comes[LIMIT_NAME_BYTES + 1]; /* name of the member that is to be there; "": none */
    const char *url;                  /* … under this address; NULL: whichever */
    const char *role;                 /* … in this role */
    raft_id goes;                     /* member that is not to be there; 0: none */
    char goes_name[LIMIT_NAME_BYTES + 1];
};

static const struct api_member *by_name(const struct api_status *s, const char *name)
{
    for (uint32_t i = 0; i < s->member_count; i++)
        if (strcmp(s->members[i].name, name) == 0)
            return &s->members[i];
    return NULL;
}

static const struct api_member *by_id(const struct api_status *s, raft_id id)
{
    for (uint32_t i = 0; i < s->member_count; i++)
        if (s->members[i].id == id)
            return &s->members[i];
    return NULL;
}

static const struct api_member *by_text(const struct api_status *s, const char *text)
{
    raft_id id;
    const struct api_member *m = by_name(s, text);
    if (!m && hex64_parse(text, strlen(text), &id) == 0)
        m = by_id(s, id);
    return m;
}

/* The member that comes, once it is there: who goes may have the same name. */
static const struct api_member *comer(const struct goal *g, const struct api_status *s)
{
    for (uint32_t i = 0; g->comes[0] && i < s->member_count; i++) {
        const struct api_member *m = &s->members[i];
        if (strcmp(m->name, g->comes) == 0 && m->id != g->goes &&
            (!g->url || strcmp(m->url, g->url) == 0))
            return m;
    }
    return NULL;
}

static bool reached(const struct goal *g, const struct api_status *s)
{
    if (g->goes && by_id(s, g->goes))
        return false;
    if (!g->comes[0])
        return g->goes != 0;
    const struct api_member *m = comer(g, s);
    return m && strcmp(m->role, g->role) == 0;
}

/* On stderr, whenever something has moved. */
static void show_progress(const struct goal *g, const struct api_status *s, char last[160])
{
    char line[160];
    const struct api_member *m = comer(g, s);
    if (m)
        snprintf(line, sizeof(line), "%s: %s, %" PRIu64 " of %" PRIu64 " entries", m->name, m->role,
                 m->match, s->commit > m->match ? s->commit : m->match);
    else
        snprintf(line, sizeof(line), "%s: waiting", g->verb);
    if (strcmp(line, last) != 0)
        ctl_note("%s", line);
    memcpy(last, line, sizeof(line));
}

/* Whether the cluster is at it: else nothing is to be waited for. */
static bool under_way(const struct goal *g, const struct api_status *s)
{
    return s->change.kind || comer(g, s);
}

static int print_result(struct ctl *c, const struct goal *g, const struct api_status *s)
{
    char id[HEX64_BYTES];
    const struct api_member *m = comer(g, s);
    if (c->output == OUTPUT_JSON)
        ctl_print_body(c);
    else if (m)
        printf("%s  %s  %s\n", m->name, hex64(m->id, id), m->role);
    return EXIT_DONE;
}

/* The only endpoints that answer are those of the member that goes, and it says that it is gone. */
static bool left_behind(const struct ctl *c, const struct goal *g, int code)
{
    return code == ERR_REMOVED && !g->comes[0] && g->goes &&
           strcmp(c->reply.node, g->goes_name) == 0;
}

/* Until the membership shows it; `why`: that the answer was lost, or NULL if it was "done". */
static int await_goal(struct ctl *c, const struct goal *g, const struct err *why)
{
    uint64_t now_us = clock_now_us();
    uint64_t deadline_us = now_us + wait_ms * 1000;
    uint64_t seen_us = now_us + c->timeout_ms * 1000; /* until then it must have begun */
    bool begun = !why, told = false;
    char last[160] = "";
    struct api_status s;
    struct err err;
    for (;;) {
        int code = look_at_status(c, "/status", &s, &err);
        if (left_behind(c, g, code))
            return EXIT_DONE;
        if (code == 0 && reached(g, &s))
            return print_result(c, g, &s);
        if (code == 0) {
            begun = under_way(g, &s);
            show_progress(g, &s, last);
        }
        if ((!begun && clock_now_us() >= seen_us) || !poll_wait(deadline_us))
            break;
        if (code != 0 && !told)
            ctl_note("%s: nobody tells how it goes: %s", g->verb, err.text);
        told = code != 0;
    }
    c->reply.outcome = OUTCOME_UNKNOWN;
    if (!why)
        err_set(&err, ERR_UNKNOWN, "it was begun and is not done; `member list` tells (%s)",
                c->reply.endpoint);
    return ctl_failed(c, ERR_UNKNOWN, why ? why : &err, g->verb);
}

static int change(struct ctl *c, struct goal *g, enum client_change verb, const char *path,
                  struct slice body)
{
    struct err err;
    int code = client_change(c->client, verb, path, body, &c->reply, &err);
    if (code != 0 && c->reply.outcome != OUTCOME_UNKNOWN)
        return ctl_failed(c, code, &err, g->verb);
    bool known = g->comes[0] || g->goes;
    if (code != 0)
        return known ? await_goal(c, g, &err) : ctl_failed(c, code, &err, g->verb);
    if (wait_ms == 0 || !known) {
        if (c->output == OUTPUT_JSON)
            ctl_print_body(c);
        return EXIT_DONE;
    }
    g->url = NULL; /* the node has taken it for the one we meant */
    return await_goal(c, g, NULL);
}

/* "/members/ID/WHAT"; the member is looked up first, since its name is free again afterwards. */
static int begin(struct ctl *c, const char *id, const char *what, struct buf *path,
                 struct api_status *s)
{
    if (!member_name_valid(id, strlen(id))) { /* a member id in hex is one, too */
        command_usage(c->command, "\"%.80s\" is no name or id of a member", id);
        return EXIT_USAGE;
    }
    ASSERT(buf_printf(path, "/members/%s%s", id, what) == 0);
    return read_status(c, "/status", s);
}

static void set_goes(struct goal *g, const struct api_member *m)
{
    g->goes = m ? m->id : 0;
    snprintf(g->goes_name, sizeof(g->goes_name), "%s", m ? m->name : "");
}

static bool set_name(struct goal *g, const char *name)
{
    int len = snprintf(g->comes, sizeof(g->comes), "%s", name);
    return len > 0 && (size_t)len < sizeof(g->comes) && member_name_valid(name, (size_t)len);
}

static int request_body(struct ctl *c, const char *name, const char *url, bool with_auto_promote,
                        struct buf *body)
{
    struct api_member_request request = {.auto_promote = !stay_learner};
    snprintf(request.name, sizeof(request.name), "%s", name);
    if (strlen(url) >= sizeof(request.url))
        return command_usage(c->command, "the URL is too long");
    snprintf(request.url, sizeof(request.url), "%s", url);
    if (api_member_request_encode(&request, with_auto_promote, body) != 0)
        return command_usage(c->command, "this name or URL cannot be sent");
    return EXIT_DONE;
}

static int add(struct ctl *c, const char *const *argv, struct buf *path, struct buf *body)
{
    (void)path;
    struct goal g = {.verb = "add", .url = argv[1], .role = stay_learner ? "learner" : "voter"};
    if (!set_name(&g, argv[0]))
        return command_usage(c->command, "\"%.80s\" is no name: want [A-Za-z0-9._-]{1,64}",
                             argv[0]);
    int status = request_body(c, argv[0], argv[1], true, body);
    return status == EXIT_DONE
               ? change(c, &g, CLIENT_POST, "/members", slice_of(body->data, body->len))
               : status;
}

static int remove_member(struct ctl *c, const char *const *argv, struct buf *path, struct buf *body)
{
    (void)body;
    struct goal g = {.verb = "remove"};
    struct api_status s;
    int status = begin(c, argv[0], "", path, &s);
    if (status != EXIT_DONE)
        return status;
    set_goes(&g, by_text(&s, argv[0]));
    return change(c, &g, CLIENT_DELETE, (const char *)path->data, slice_of(NULL, 0));
}

static int promote(struct ctl *c, const char *const *argv, struct buf *path, struct buf *body)
{
    (void)body;
    struct goal g = {.verb = "promote", .role = "voter"};
    struct api_status s;
    int status = begin(c, argv[0], "/promote", path, &s);
    if (status != EXIT_DONE)
        return status;
    const struct api_member *m = by_text(&s, argv[0]);
    if (m)
        set_name(&g, m->name);
    return change(c, &g, CLIENT_POST, (const char *)path->data, slice_str("{}"));
}

static int replace(struct ctl *c, const char *const *argv, struct buf *path, struct buf *body)
{
    struct goal g = {.verb = "replace", .url = argv[2], .role = "voter"};
    struct api_status s;
    int status = begin(c, argv[0], "/replace", path, &s);
    if (status != EXIT_DONE)
        return status;
    set_goes(&g, by_text(&s, argv[0]));
    if (!set_name(&g, argv[1]))
        return command_usage(c->command, "\"%.80s\" is no name: want [A-Za-z0-9._-]{1,64}",
                             argv[1]);
    status = request_body(c, argv[1], argv[2], false, body);
    return status == EXIT_DONE ? change(c, &g, CLIENT_POST, (const char *)path->data,
                                        slice_of(body->data, body->len))
                               : status;
}

static int list(struct ctl *c, const char *const *argv, struct buf *path, struct buf *body)
{
    (void)argv;
    (void)path;
    (void)body;
    struct api_status s;
    int status = read_status(c, "/members", &s);
    if (status != EXIT_DONE)
        return status;
    if (c->output == OUTPUT_JSON)
        ctl_print_body(c);
    else
        print_members(&s);
    return EXIT_DONE;
}

static const struct {
    const char *name, *usage;
    int operands;
    int (*run)(struct ctl *, const char *const *, struct buf *path, struct buf *body);
} verbs[] = {
    {"list", "list", 0, list},
    {"add", "add NAME URL", 2, add},
    {"remove", "remove ID", 1, remove_member},
    {"promote", "promote ID", 1, promote},
    {"replace", "replace ID NAME URL", 3, replace},
};

static int run_member(struct ctl *c, int argc, const char *const *argv)
{
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        struct buf path, body;
        if (strcmp(argv[0], verbs[i].name) != 0)
            continue;
        if (argc - 1 != verbs[i].operands)
            return command_usage(c->command, "too %s arguments: want %s",
                                 argc - 1 < verbs[i].operands ? "few" : "many", verbs[i].usage);
        buf_init(&path, BODY_BYTES);
        buf_init(&body, BODY_BYTES);
        int status = verbs[i].run(c, argv + 1, &path, &body);
        buf_release(&path);
        buf_release(&body);
        return status;
    }
    return command_usage(c->command,
                         "unknown subcommand '%.64s': want list, add, remove, promote or replace",
                         argv[0]);
}

const struct ctl_command member_command = {
    .command =
        {
            .name = "member",
            .usage = "[options] list | add NAME URL | remove ID | promote ID | replace ID NAME URL",
            .summary = "show and change the members",
            .footer = "ID is a name or a member id. A change is waited for; what it does meanwhile "
                      "stands "
                      "on\nstandard error.\n",
            .options = member_options,
            .option_count = sizeof(member_options) / sizeof(member_options[0]),
            .operands_min = 1,
            .operands_max = 4,
        },
    .run = run_member,
};
