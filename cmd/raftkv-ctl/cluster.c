/* leader, status, node, health: what nodes say of the cluster and of themselves. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cmd/raftkv-ctl/ctl.h"
#include "lib/base/check.h"
#include "lib/base/clock.h"
#include "lib/base/hash.h"
#include "lib/json/api.h"
#include "lib/json/walk.h"

enum { POLL_MS = 50 };

bool poll_wait(uint64_t deadline_us)
{
    struct timespec pause = {.tv_nsec = POLL_MS * 1000000L};
    if (clock_now_us() + POLL_MS * UINT64_C(1000) >= deadline_us)
        return false;
    nanosleep(&pause, NULL);
    return true;
}

static struct slice body_of(const struct ctl *c)
{
    return slice_of(c->reply.body.data, c->reply.body.len);
}

int look_at_status(struct ctl *c, const char *path, struct api_status *s, struct err *err)
{
    memset(s, 0, sizeof(*s));
    int code = client_read(c->client, path, &c->reply, err);
    if (code != 0 || api_status_decode(body_of(c), s, err) == 0)
        return code;
    err_prefix(err, "the reply of %s", c->reply.endpoint);
    return err->code = ERR_INTERNAL;
}

int read_status(struct ctl *c, const char *path, struct api_status *s)
{
    struct err err;
    int code = look_at_status(c, path, s, &err);
    return code == 0 ? EXIT_DONE : ctl_failed(c, code, &err, NULL);
}

/* ---- status ---- */

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct api_member *)a)->name, ((const struct api_member *)b)->name);
}

void print_members(struct api_status *s)
{
    static const char *const heads[] = {"NAME",  "ID",        "ROLE",         "STATE",
                                        "MATCH", "REACHABLE", "LAST CONTACT", "URL"};
    char id[HEX64_BYTES];
    struct table *t = table_new(sizeof(heads) / sizeof(heads[0]));
    qsort(s->members, s->member_count, sizeof(s->members[0]), by_name);
    for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++)
        table_cell(t, "%s", heads[i]);
    for (uint32_t i = 0; i < s->member_count; i++) {
        const struct api_member *m = &s->members[i];
        table_cell(t, "%s", m->name);
        table_cell(t, "%s", hex64(m->id, id));
        table_cell(t, "%s", m->role);
        table_cell(t, "%s", m->state);
        table_cell(t, "%" PRIu64, m->match);
        table_cell(t, "%s", m->reachable ? "yes" : "no");
        if (m->last_contact_ms < 0)
            table_cell(t, "-");
        else
            table_cell(t, "%" PRId64 " ms", m->last_contact_ms);
        table_cell(t, "%s", m->url);
    }
    table_print(t);
}

static void print_status(struct api_status *s)
{
    char cluster[HEX128_BYTES];
    struct table *t = table_new(2);
    table_cell(t, "cluster");
    table_cell(t, "%s", s->has_cluster ? hex128(s->cluster, cluster) : "none yet");
    table_cell(t, "leader");
    table_cell(t, "%s", s->leader[0] ? s->leader : "none");
    table_cell(t, "term");
    table_cell(t, "%" PRIu64, s->term);
    table_cell(t, "commit");
    table_cell(t, "%" PRIu64, s->commit);
    table_cell(t, "applied");
    table_cell(t, "%" PRIu64, s->applied);
    table_cell(t, "fault tolerance");
    table_cell(t, "%d", s->fault_tolerance);
    if (s->change.kind) {
        table_cell(t, "change");
        table_cell(t, "%s, %s", s->change.kind, s->change.phase);
    }
    table_print(t);
    if (s->member_count > 0) {
        putchar('\n');
        print_members(s);
    }
}

static int run_status(struct ctl *c, int argc, const char *const *argv)
{
    (void)argc;
    (void)argv;
    struct api_status s;
    int status = read_status(c, "/status", &s);
    if (status != EXIT_DONE)
        return status;
    if (c->output == OUTPUT_JSON)
        ctl_print_body(c);
    else
        print_status(&s);
    return EXIT_DONE;
}

const struct ctl_command status_command = {
    .command =
        {
            .name = "status",
            .usage = "[options]",
            .summary = "show the cluster and its members",
            .operands_max = 0,
        },
    .run = run_status,
};

/* ---- leader ---- */

/* A status with a leader, from whichever node knows one. */
static int await_leader(struct ctl *c, struct api_status *s)
{
    uint64_t deadline_us = clock_now_us() + c->timeout_ms * 1000;
    struct err err;
    for (;;) {
        int code = look_at_status(c, "/status", s, &err);
        if (code == 0 && s->leader[0])
            return EXIT_DONE;
        client_turn(c->client);
        if (code == 0 && poll_wait(deadline_us))
            continue;
        if (code == 0)
            code = err_set(&err, ERR_NO_LEADER, "no leader is known (%s)", c->reply.endpoint);
        return ctl_failed(c, code, &err, NULL);
    }
}

static int print_leader(struct ctl *c, const struct api_status *s)
{
    if (c->output == OUTPUT_JSON)
        ctl_print_body(c);
    else
        printf("%s\n", s->leader);
    return EXIT_DONE;
}

/* `text` is the leader's name or member id. */
static bool leads(const struct api_status *s, const char *text)
{
    char id[HEX64_BYTES];
    for (uint32_t i = 0; i < s->member_count; i++)
        if (strcmp(s->members[i].name, s->leader) == 0 &&
            strcmp(hex64(s->members[i].id, id), text) == 0)
            return true;
    return strcmp(s->leader, text) == 0;
}

/* The answer can be lost with the old leader; then the cluster tells whether it was done. */
static int settle_transfer(struct ctl *c, const char *old, const char *to, const struct err *why)
{
    uint64_t deadline_us = clock_now_us() + c->timeout_ms * 1000;
    struct api_status s;
    struct err err;
    do {
        int code = look_at_status(c, "/status", &s, &err);
        if (code == 0 && s.leader[0] && (to ? leads(&s, to) : strcmp(s.leader, old) != 0))
            return print_leader(c, &s);
        if (code != 0 || !s.leader[0])
            client_turn(c->client);
    } while (poll_wait(deadline_us));
    c->reply.outcome = OUTCOME_UNKNOWN;
    return ctl_failed(c, ERR_UNKNOWN, why, "transfer");
}

static int transfer(struct ctl *c, const char *to)
{
    struct api_status s;
    struct err err;
    struct buf body;
    char old[sizeof(s.leader)];
    if (to && !member_name_valid(to, strlen(to)))
        return command_usage(c->command, "\"%.80s\" is no name or id of a member", to);
    int status = await_leader(c, &s);
    if (status != EXIT_DONE)
        return status;
    memcpy(old, s.leader, sizeof(old));
    buf_init(&body, LIMIT_NAME_BYTES + 16);
    ASSERT((to ? buf_printf(&body, "{\"to\":\"%s\"}", to) : buf_append_str(&body, "{}")) == 0);
    int code = client_change(c->client, CLIENT_POST, "/leader", slice_of(body.data, body.len),
                             &c->reply, &err);
    buf_release(&body);
    if (code != 0 && c->reply.outcome == OUTCOME_NOT_APPLIED)
        return ctl_failed(c, code, &err, "transfer");
    if (code == 0)
        err_set(&err, ERR_UNKNOWN, "the node said done, and no other leader is seen");
    return settle_transfer(c, old, to, &err);
}

static int run_leader(struct ctl *c, int argc, const char *const *argv)
{
    struct api_status s;
    if (argc > 0 && strcmp(argv[0], "transfer") != 0)
        return command_usage(c->command, "unknown subcommand '%.64s': want transfer", argv[0]);
    if (argc > 0)
        return transfer(c, argc > 1 ? argv[1] : NULL);
    int status = await_leader(c, &s);
    return status == EXIT_DONE ? print_leader(c, &s) : status;
}

const struct ctl_command leader_command = {
    .command =
        {
            .name = "leader",
            .usage = "[options] | transfer [ID]",
            .summary = "show the leader, or hand leadership over",
            .footer = "ID is a name or a member id; without it, the best follower takes over.\n",
            .operands_max = 2,
        },
    .run = run_leader,
};

/* ---- node and health: each endpoint by itself ---- */

static int put_pair(void *argument, const char *path, struct slice text)
{
    struct table *t = argument;
    table_cell(t, "%s", path);
    table_cell(t, "%.*s", (int)text.len, (const char *)text.data);
    return 0;
}

static int run_node(struct ctl *c, int argc, const char *const *argv)
{
    (void)argc;
    (void)argv;
    int status = EXIT_DONE;
    for (size_t i = 0; i < client_endpoint_count(c->client); i++) {
        struct err err;
        int code = client_read_from(c->client, i, "/node", &c->reply, &err);
        if (code == 0 && c->reply.status != 200)
            code = err_set(&err, ERR_INTERNAL, "HTTP status %d (%s)", c->reply.status,
                           c->reply.endpoint);
        if (code != 0) {
            status = ctl_failed(c, code, &err, NULL);
            continue;
        }
        if (c->output == OUTPUT_JSON) {
            ctl_print_body(c);
            continue;
        }
        struct table *t = table_new(2);
        table_cell(t, "endpoint");
        table_cell(t, "%s", c->reply.endpoint);
        code = json_walk(body_of(c), put_pair, t, &err);
        if (i > 0)
            putchar('\n');
        table_print(t);
        if (code != 0)
            status = ctl_failed(c, ERR_INTERNAL, &err, NULL);
    }
    return status;
}

const struct ctl_command node_command = {
    .command =
        {
            .name = "node",
            .usage = "[options]",
            .summary = "show what each endpoint says of itself",
            .operands_max = 0,
        },
    .run = run_node,
};

struct health {
    char status[64], leader[LIMIT_NAME_BYTES + 1], fault_tolerance[24];
};

static int take_health(void *argument, const char *path, struct slice text)
{
    struct health *h = argument;
    int len = text.len < sizeof(h->status) ? (int)text.len : (int)sizeof(h->status) - 1;
    const char *from = (const char *)text.data;
    if (strcmp(path, "status") == 0)
        snprintf(h->status, sizeof(h->status), "%.*s", len, from);
    else if (strcmp(path, "leader") == 0)
        snprintf(h->leader, sizeof(h->leader), "%.*s", len, from);
    else if (strcmp(path, "fault_tolerance") == 0)
        snprintf(h->fault_tolerance, sizeof(h->fault_tolerance), "%.*s", len, from);
    return 0;
}

static int check_health(struct ctl *c, size_t endpoint, struct table *t)
{
    struct err err;
    struct health h = {.status = "-", .leader = "-", .fault_tolerance = "-"};
    int code = client_read_from(c->client, endpoint, "/health", &c->reply, &err);
    if (code == 0 && json_walk(body_of(c), take_health, &h, &err) != 0)
        code = ERR_INTERNAL;
    table_cell(t, "%s", client_endpoint(c->client, endpoint));
    table_cell(t, "%s", code == 0 ? h.status : "no answer");
    table_cell(t, "%s", strcmp(h.leader, "null") == 0 ? "none" : h.leader);
    table_cell(t, "%s", h.fault_tolerance);
    if (code != 0)
        return ctl_failed(c, code, &err, NULL);
    if (c->output == OUTPUT_JSON)
        ctl_print_body(c);
    if (c->reply.status == 200)
        return EXIT_DONE;
    ctl_note("%s: not healthy: %s (%s)", c->command->name, h.status, c->reply.endpoint);
    return EXIT_UNAVAILABLE;
}

static int run_health(struct ctl *c, int argc, const char *const *argv)
{
    (void)argc;
    (void)argv;
    static const char *const heads[] = {"ENDPOINT", "HEALTH", "LEADER", "FAULT TOLERANCE"};
    int status = EXIT_DONE;
    struct table *t = table_new(4);
    for (size_t i = 0; i < 4; i++)
        table_cell(t, "%s", heads[i]);
    for (size_t i = 0; i < client_endpoint_count(c->client); i++) {
        int one = check_health(c, i, t);
        status = one != EXIT_DONE ? one : status;
    }
    if (c->output == OUTPUT_TEXT)
        table_print(t);
    else
        table_free(t);
    return status;
}

const struct ctl_command health_command = {
    .command =
        {
            .name = "health",
            .usage = "[options]",
            .summary = "ask each endpoint whether it is well",
            .footer = "Exit status 4 if one of them is not, or does not answer.\n",
            .operands_max = 0,
        },
    .run = run_health,
};
