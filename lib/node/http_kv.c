/*
 * /kv/KEY: reads and writes, and what all requests of clients share, from arrival to reply. What is
 * evaluated on the state machine's thread is marked so.
 */
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/base/opt.h"
#include "lib/node/http_kv_internal.h"

enum {
    KV_BODY_MAX = 160 << 20
}; /* a page of 1 MiB, or one value of 16 MiB, with every byte escaped */

static void request_free(struct client_request *c)
{
    buf_release(&c->key);
    buf_release(&c->writes);
    buf_release(&c->prefix);
    buf_release(&c->start);
    buf_release(&c->end);
    buf_release(&c->body);
    scan_cursor_release(&c->cursor);
    mem_free(c->err);
    mem_free(c);
}

struct client_request *client_request_new(struct node *n, struct http_request *r, enum node_op op)
{
    struct client_request *c = mem_zalloc(sizeof *c);

    c->node = n;
    c->http = r;
    c->op = op;
    c->timeout_ms = NODE_TIMEOUT_DEFAULT_MS;
    c->carry.mode = n->options.read_mode;
    c->carry.received_us = r->received_us;
    buf_init(&c->key, LIMIT_KEY_BYTES);
    buf_init(&c->body, KV_BODY_MAX);
    return c;
}

/* The request is over, and is timed; returns the time. */
static uint64_t request_end(struct client_request *c, bool error)
{
    struct node_meters *m = &c->node->meters;
    uint64_t now_us = clock_now_us();

    hist_record(&m->total[c->op], now_us - c->http->received_us);
    m->errors[c->op] += error;
    return now_us;
}

void client_request_fail(struct client_request *c, const struct err *err)
{
    request_end(c, true);
    reply_err(c->node, c->http, err, c->carry.write ? OUTCOME_NOT_APPLIED : OUTCOME_NONE);
    request_free(c);
}

void client_request_refuse(struct client_request *c, const struct api_error *e)
{
    request_end(c, true);
    reply_error(c->node, c->http, e);
    request_free(c);
}

static void request_answer(struct client_request *c, const struct carry_answer *a)
{
    request_end(c, true);
    reply_answer(c->node, c->http, a);
    request_free(c);
}

/* ---- timings ---- */

struct timing {
    const char *name;
    uint64_t us;
};

static void timing_set(struct client_request *c, const struct timing *table, size_t count)
{
    struct buf text;

    if (!c->timings) {
        return;
    }
    buf_init(&text, sizeof c->timing - 1);
    for (size_t i = 0; i < count; i++) {
        timing_put(&text, table[i].name, table[i].us);
    }
    memcpy(c->timing, text.data, text.len + 1);
    buf_release(&text);
}

/* A write that was applied. */
static void time_write(struct client_request *c, raft_index index, uint64_t now_us)
{
    struct node *n = c->node;
    struct timing table[STAGES];
    uint64_t us[STAGES];

    if (!stages_of(&n->stages, index, c->http->received_us, now_us, us)) {
        return;
    }
    for (int i = 0; i < STAGES; i++) {
        hist_record(&n->meters.stages[i], us[i]);
        table[i] = (struct timing){stage_names[i], us[i]};
    }
    timing_set(c, table, STAGES);
}

static void time_read(struct client_request *c, uint64_t now_us)
{
    const struct timing table[] = {{"queue", c->handed_us - c->http->received_us},
                                   {"read", now_us - c->handed_us}};

    timing_set(c, table, 2);
}

static void timing_add(struct client_request *c, struct reply *reply)
{
    if (c->timing[0]) {
        reply->extra[reply->extra_count++] = (struct http_header){"Server-Timing", c->timing};
    }
}

/* ---- headers ---- */

/* Exactly "N" with the quotes; anything else is refused, never ignored. */
static int parse_etag(const char *header, const char *text, uint64_t *version, struct err *err)
{
    char digits[24];
    size_t len = strlen(text);

    if (len < 3 || len - 2 >= sizeof digits || text[0] != '"' || text[len - 1] != '"') {
        return err_set(err, ERR_BAD_REQUEST, "%s: %.40s is not one \"VERSION\" in quotes", header,
                       text);
    }
    memcpy(digits, text + 1, len - 2);
    digits[len - 2] = '\0';
    if (digits[0] == '0' || opt_parse_uint(digits, version) != 0) {
        return err_set(err, ERR_BAD_REQUEST, "%s: %.40s is not one \"VERSION\" in quotes", header,
                       text);
    }
    return 0;
}

static int once(const struct http_request *r, const char *name, const char **value, struct err *err)
{
    unsigned count = 0;

    *value = http_request_header(r, name, &count);
    return count > 1 ? err_set(err, ERR_BAD_REQUEST, "%s stands there %u times", name, count) : 0;
}

int client_request_conditions(struct client_request *c, struct err *err)
{
    const char *match, *none_match;
    int code = once(c->http, "If-Match", &match, err);

    if (code == 0) {
        code = once(c->http, "If-None-Match", &none_match, err);
    }
    if (code != 0) {
        return code;
    }
    if (match && none_match) {
        return err_set(err, ERR_BAD_REQUEST, "If-Match and If-None-Match exclude each other");
    }
    if (match && (c->op == NODE_PUT || c->op == NODE_DELETE)) {
        c->condition = CONDITION_VERSION;
        return parse_etag("If-Match", match, &c->expected, err);
    }
    if (none_match && c->op == NODE_PUT) {
        if (strcmp(none_match, "*") != 0) {
            return err_set(err, ERR_BAD_REQUEST, "If-None-Match: %.40s; a PUT knows only *",
                           none_match);
        }
        c->condition = CONDITION_ABSENT;
        return 0;
    }
    if (none_match && c->op == NODE_GET) {
        return parse_etag("If-None-Match", none_match, &c->only_if_not, err);
    }
    if (match || none_match) {
        return err_set(err, ERR_BAD_REQUEST, "this call knows no %s",
                       match ? "If-Match" : "If-None-Match");
    }
    return 0;
}

int client_request_session(struct client_request *c, struct err *err)
{
    const char *client, *seq;
    int code = once(c->http, "RaftKV-Client", &client, err);

    if (code == 0) {
        code = once(c->http, "RaftKV-Seq", &seq, err);
    }
    if (code != 0 || (!client && !seq)) {
        return code;
    }
    if (!client || !seq) {
        return err_set(err, ERR_BAD_REQUEST, "RaftKV-Client and RaftKV-Seq belong together");
    }
    if (*client == '\0' || strlen(client) > COMMAND_CLIENT_BYTES) {
        return err_set(err, ERR_BAD_REQUEST, "RaftKV-Client: 1 to %d printable characters",
                       COMMAND_CLIENT_BYTES);
    }
    for (const char *p = client; *p; p++) {
        if (*p < 0x20 || *p > 0x7e) {
            return err_set(err, ERR_BAD_REQUEST, "RaftKV-Client: 1 to %d printable characters",
                           COMMAND_CLIENT_BYTES);
        }
    }
    if (opt_parse_uint(seq, &c->seq) != 0 || c->seq == 0 || c->seq >= (1ULL << 53)) {
        return err_set(err, ERR_BAD_REQUEST, "RaftKV-Seq: %.40s is no number from 1 on", seq);
    }
    c->client = slice_str(client);
    return 0;
}

/* ---- parameters ---- */

static int parse_consistency(const struct query_parameter *p, enum carry_read_mode *mode,
                             struct err *err)
{
    static const char *const words[] = {"linearizable", "lease", "stale"};

    if (!p->seen) {
        return 0;
    }
    for (int i = 0; i < 3; i++) {
        if (p->has_value && p->value.data && strcmp((const char *)p->value.data, words[i]) == 0 &&
            strlen(words[i]) == p->value.len) {
            *mode = (enum carry_read_mode)i;
            return 0;
        }
    }
    return err_set(err, ERR_BAD_REQUEST, "consistency=%.40s: linearizable, lease or stale",
                   p->has_value && p->value.data ? (const char *)p->value.data : "");
}

int client_request_common(struct client_request *c, const struct query_parameter *p, bool read,
                          struct err *err)
{
    uint64_t max_stale_ms = 0;
    int code = parse_timeout(&p[P_TIMEOUT], &c->timeout_ms, err);

    if (code == 0) {
        code = parse_flag(&p[P_REDIRECT], &c->redirect, err);
    }
    if (code == 0 && p[P_TIMINGS].seen && p[P_TIMINGS].has_value) {
        return err_set(err, ERR_BAD_REQUEST, "timings takes no value");
    }
    c->timings = p[P_TIMINGS].seen;
    if (code == 0 && read) {
        code = parse_consistency(&p[P_CONSISTENCY], &c->carry.mode, err);
    }
    if (code == 0 && read) {
        code = parse_number(&p[P_MIN_INDEX], (1ULL << 53) - 1, &c->carry.min_index, err);
    }
    if (code == 0 && read) {
        code = parse_number(&p[P_MAX_STALE], 1ULL << 40, &max_stale_ms, err);
        c->carry.max_stale_us = max_stale_ms * 1000;
    }
    if (code == 0 && read && p[P_MAX_STALE].seen && c->carry.mode != CARRY_STALE) {
        return err_set(err, ERR_BAD_REQUEST, "max_stale_ms goes with consistency=stale");
    }
    if (code == 0 && read && p[P_MAX_STALE].seen && max_stale_ms == 0) {
        return err_set(err, ERR_BAD_REQUEST,
                       "max_stale_ms=0 can never hold; see consistency=linearizable");
    }
    return code;
}

int client_request_parameters(struct client_request *c, struct err *err)
{
    struct query_parameter p[P_GET_COUNT] = {
        READ_PARAMETERS,
        [P_RAW] = {.name = "raw"},
    };
    bool read = c->op == NODE_GET;
    size_t count = read ? P_GET_COUNT : P_WRITE_COUNT;
    int code;

    if (!c->http->query.data) {
        return 0;
    }
    code = parse_query(c->http, p, count, err);
    if (code == 0) {
        code = client_request_common(c, p, read, err);
    }
    if (code == 0 && read) {
        code = parse_flag(&p[P_RAW], &c->raw, err);
    }
    query_release(p, count);
    return code;
}

/* ---- reads */

/* State machine's thread. Few requests fail: most go without room for a text. A file that is
 * damaged ends the node: others have what it had. */
void client_request_note(struct client_request *c, const struct err *err)
{
    if (c->code == ERR_CORRUPT) {
        node_fatal(c->node, err);
    }
    mem_free(c->err);
    c->err = c->code != 0 && c->code != ERR_NOT_FOUND ? mem_dup(err, sizeof *err) : NULL;
}

/* State machine's thread. */
static void evaluate_get(struct client_request *c, struct state *state)
{
    struct row row;
    struct err err = {0};

    c->code = state_get(state, slice_of(c->key.data, c->key.len), &row, &err);
    if (c->code != 0) {
        client_request_note(c, &err);
        return;
    }
    c->version = row.version;
    if (c->raw) {
        c->code = buf_append(&c->body, row.value.data, row.value.len);
    } else {
        c->code = api_item_encode(&row, true, &c->body);
    }
}

/* State machine's thread. */
static void evaluate(struct carry_request *r, struct state *state)
{
    struct client_request *c = (struct client_request *)r;

    buf_clear(&c->body);
    c->index = state_applied(state);
    if (c->op == NODE_SCAN) {
        client_scan_evaluate(c, state);
    } else {
        evaluate_get(c, state);
    }
}

static void reply_value(struct client_request *c)
{
    char etag[32];
    struct reply reply = {.status = 200, .body = &c->body, .index = c->index};

    snprintf(etag, sizeof etag, "\"%llu\"", (unsigned long long)c->version);
    reply.extra[reply.extra_count++] = (struct http_header){"ETag", etag};
    if (c->raw) {
        reply.content_type = "application/octet-stream";
        reply.extra[reply.extra_count++] =
            (struct http_header){"Content-Security-Policy", "sandbox"};
    }
    /* The same headers, with the length that the body would have: a cache puts them to what it has.
     * The server leaves out the body. */
    if (c->only_if_not != 0 && c->only_if_not == c->version) {
        reply.status = 304;
    }
    timing_add(c, &reply);
    reply_send(c->node, c->http, &reply);
}

/* At the index that it was absent at, not that of the moment: the key may be there by now. */
static void reply_absent(struct client_request *c)
{
    struct api_error e = {.code = ERR_NOT_FOUND, .message = "no such key"};
    struct reply reply = {.status = 404, .body = &c->body, .index = c->index};

    buf_clear(&c->body);
    api_error_encode(&e, &c->body);
    timing_add(c, &reply);
    reply_send(c->node, c->http, &reply);
}

static void read_done(struct work *w)
{
    struct client_request *c =
        (struct client_request *)((char *)w - offsetof(struct client_request, read.work));
    struct node *n = c->node;
    struct reply page = {.status = 200, .body = &c->body, .index = c->index};

    if (n->carry && !carry_read_done(n->carry, &c->carry, clock_now_us())) {
        return; /* its lease had ended: it is read again */
    }
    time_read(c, request_end(c, c->code != 0 && c->code != ERR_NOT_FOUND));
    if (c->code == ERR_NOT_FOUND) {
        reply_absent(c);
    } else if (c->code != 0) {
        struct err err = c->err ? *c->err : (struct err){0};

        err.code = c->code;
        reply_err(n, c->http, &err, OUTCOME_NONE);
    } else if (c->op == NODE_SCAN) {
        timing_add(c, &page);
        reply_send(n, c->http, &page);
    } else {
        reply_value(c);
    }
    request_free(c);
}

void http_kv_read(void *node, struct carry_request *r)
{
    struct node *n = node;
    struct client_request *c = (struct client_request *)r;

    c->read.work.done = read_done;
    c->read.owner = n;
    c->read.request = r;
    c->read.evaluate = evaluate;
    c->handed_us = c->timings ? clock_now_us() : 0;
    machine_post_read(n->machine, &c->read);
}

void client_request_read(struct client_request *c)
{
    struct node *n = c->node;
    const struct member_address *leader = node_leader(n);
    uint64_t now_us = clock_now_us();

    if (c->redirect && leader && leader->id != n->id && c->carry.mode != CARRY_STALE) {
        forward_redirect(n, c->http, leader);
        request_free(c);
        return;
    }
    c->carry.deadline_us = now_us + c->timeout_ms * 1000;
    carry_read_request(n->carry, &c->carry, now_us);
}

/* ---- writes ---- */

static void forward_write(struct client_request *c, const struct member_address *leader)
{
    struct node *n = c->node;
    struct buf target;

    if (c->redirect) {
        forward_redirect(n, c->http, leader);
        request_free(c);
        return;
    }
    buf_init(&target, 3 * LIMIT_KEY_BYTES + 64);
    if (c->op == NODE_BATCH) {
        buf_append_str(&target, "/batch");
    } else {
        buf_append_str(&target, "/kv/");
        target_encode(slice_of(c->key.data, c->key.len), false, &target);
    }
    buf_printf(&target, "?timeout=%llums%s", (unsigned long long)c->timeout_ms,
               c->timings ? "&timings" : "");
    forward_request(n, c->http, leader, (const char *)target.data, (uint32_t)c->timeout_ms, NULL);
    buf_release(&target);
    request_free(c);
}

void client_request_write(struct client_request *c)
{
    struct node *n = c->node;
    uint64_t now_us = clock_now_us();
    struct carry_answer refusal;
    const struct member_address *leader;
    raft_id leader_id = 0;
    struct command command = {
        .op = c->op == NODE_PUT ? COMMAND_PUT : COMMAND_DELETE,
        .client = c->client,
        .seq = c->seq,
        .key = slice_of(c->key.data, c->key.len),
        .value = c->op == NODE_PUT ? c->http->body : slice_of("", 0),
        .condition = c->condition,
        .expected = c->expected,
    };

    if (c->op == NODE_BATCH) {
        command = (struct command){.op = COMMAND_BATCH,
                                   .client = c->client,
                                   .seq = c->seq,
                                   .write_count = c->write_count,
                                   .writes = slice_of(c->writes.data, c->writes.len)};
    }
    switch (carry_route_write(n->carry, command_encoded_bytes(&command), request_forwarded(c->http),
                              &leader_id, &refusal)) {
    case CARRY_REFUSE: request_answer(c, &refusal); break;
    case CARRY_FORWARD:
        leader = carry_address(n->carry, leader_id);
        if (leader) {
            forward_write(c, leader);
        } else {
            struct err err = {0};

            err_set(&err, ERR_NO_LEADER, "the leader's address is not known yet");
            client_request_fail(c, &err);
        }
        break;
    case CARRY_HERE:
        c->carry.deadline_us = now_us + c->timeout_ms * 1000;
        carry_write_request(n->carry, &c->carry, &command, now_us);
        break;
    }
}

static void reply_applied(struct client_request *c, const struct apply_result *result)
{
    struct node *n = c->node;
    struct slice key = slice_of(c->key.data, c->key.len);
    char etag[32];
    struct reply reply = {.status = 200, .body = &c->body, .index = result->index};
    struct row row = {.key = key, .version = result->version, .timestamp_ms = result->timestamp_ms};

    if (c->op == NODE_BATCH) {
        api_batch_reply_encode(slice_of(c->writes.data, c->writes.len), result, &c->body);
    } else if (c->op == NODE_PUT) {
        api_item_encode(&row, false, &c->body);
        snprintf(etag, sizeof etag, "\"%llu\"", (unsigned long long)result->version);
        reply.extra[reply.extra_count++] = (struct http_header){"ETag", etag};
    } else {
        api_deleted_encode(key, result->existed, result->version, &c->body);
    }
    if (result->replayed) {
        reply.extra[reply.extra_count++] = (struct http_header){"RaftKV-Replayed", "1"};
    }
    timing_add(c, &reply);
    reply_send(n, c->http, &reply);
}

static void reply_refused(struct client_request *c, const struct apply_result *result)
{
    struct api_error e = {.code = result->status, .outcome = OUTCOME_NOT_APPLIED};
    struct buf body;
    struct reply reply = {
        .status = err_http_status(result->status), .body = &body, .index = result->index};

    switch (result->status) {
    case ERR_PRECONDITION_FAILED:
        e.has_version = true;
        e.version = result->version;
        snprintf(e.message, sizeof e.message, "the key's version is %llu",
                 (unsigned long long)result->version);
        break;
    case ERR_SEQ_OLD:
        snprintf(e.message, sizeof e.message, "this client has used a higher sequence number");
        e.outcome =
            OUTCOME_UNKNOWN; /* of an earlier request of that number nothing is known any more */
        break;
    case ERR_SEQ_REUSED:
        snprintf(e.message, sizeof e.message, "this sequence number belonged to another request");
        break;
    default:
        snprintf(e.message, sizeof e.message,
                 "this client has no session (it begins with 1; sessions end after 24 h)");
        break;
    }
    buf_init(&body, 4096);
    api_error_encode(&e, &body);
    if (result->replayed) {
        reply.extra[reply.extra_count++] = (struct http_header){"RaftKV-Replayed", "1"};
    }
    timing_add(c, &reply);
    reply_send(c->node, c->http, &reply);
}

void http_kv_answer(void *node, struct carry_request *r, const struct carry_answer *a)
{
    struct client_request *c = (struct client_request *)r;

    (void)node;
    if (a->code != 0) {
        request_answer(c, a);
        return;
    }
    time_write(c, a->result.index, request_end(c, a->result.status != 0));
    if (a->result.status == 0) {
        reply_applied(c, &a->result);
    } else {
        reply_refused(c, &a->result);
    }
    request_free(c);
}

/* ---- entry points ---- */

static int parse_key(struct client_request *c, struct slice raw, struct err *err)
{
    int code;

    if (raw.len == 0) {
        return err_set(err, ERR_BAD_REQUEST, "the key is empty");
    }
    code = target_decode(raw, false, &c->key, err);
    return code;
}

static void reply_key_too_large(struct client_request *c, struct slice raw)
{
    struct api_error e = {.code = ERR_TOO_LARGE,
                          .outcome = c->carry.write ? OUTCOME_NOT_APPLIED : OUTCOME_NONE,
                          .has_limit = true,
                          .limit = LIMIT_KEY_BYTES};

    for (size_t i = 0; i < raw.len; i++) {
        e.actual++;
        i += raw.data[i] == '%' ? 2 : 0;
    }
    snprintf(e.message, sizeof e.message, "a key has at most %d bytes", LIMIT_KEY_BYTES);
    client_request_refuse(c, &e);
}

/* Whether it names the bytes, and names them first: "application/octet-stream, text/html". */
static bool accepts_bytes(const char *accept)
{
    static const char bytes[] = "application/octet-stream";
    size_t len = sizeof bytes - 1;

    return accept && strncasecmp(accept, bytes, len) == 0 && strchr(",; \t", accept[len]);
}

void http_kv_key(struct node *n, struct http_request *r, struct slice raw_key)
{
    enum node_op op = r->method == HTTP_PUT      ? NODE_PUT
                      : r->method == HTTP_DELETE ? NODE_DELETE
                                                 : NODE_GET;
    struct client_request *c = client_request_new(n, r, op);
    const char *accept = http_request_header(r, "Accept", NULL);
    struct err err = {0};
    int code;

    c->carry.write = op != NODE_GET;
    c->raw = op == NODE_GET && accepts_bytes(accept);
    code = parse_key(c, raw_key, &err);
    if (code == ERR_TOO_LARGE) {
        reply_key_too_large(c, raw_key);
        return;
    }
    if (code == 0) {
        code = client_request_parameters(c, &err);
    }
    if (code == 0) {
        code = client_request_conditions(c, &err);
    }
    if (code == 0 && c->carry.write) {
        code = client_request_session(c, &err);
    }
    if (code != 0) {
        client_request_fail(c, &err);
    } else if (c->carry.write) {
        client_request_write(c);
    } else {
        client_request_read(c);
    }
}
