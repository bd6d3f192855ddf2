/*
 * A client: one operation at a time, as requests and back, and as lines of the history.
 *
 * A conditional operation is two requests, a get and a put; its latency is of both. In the history
 * it is a get, and a compare-and-set that expects what was read.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/bench/bench_internal.h"
#include "lib/json/api.h"
#include "lib/net/http_server.h"

enum {
    URL_BYTES_MAX = LIMIT_URL_BYTES + 6 * LIMIT_KEY_BYTES + 256,
    CONDITION_BYTES = 64,
    STAMP_BYTES = 24, /* that make a value differ from all others */
    READ_BYTES_MAX = LIMIT_VALUE_BYTES_CEILING,
};

/* ---- life ---- */

void bench_client_init(struct bench_client *c, struct worker *w, uint32_t number)
{
    const struct bench_options *o = w->phase->options;
    memset(c, 0, sizeof(*c));
    c->worker = w;
    c->number = number;
    c->target = targets_first(w->phase->targets, number);
    c->call = channel_call_new(w->channel, c);
    buf_init(&c->key, LIMIT_KEY_BYTES + 16);
    buf_init(&c->url, URL_BYTES_MAX);
    buf_init(&c->read, READ_BYTES_MAX);
    buf_init(&c->value, o->value_max);
    ASSERT(buf_reserve(&c->value, o->value_max) == 0);
    for (uint32_t i = 0; i < o->value_max; i++)
        c->value.data[i] = (uint8_t)('a' + prng_below(&w->prng, 26));
    if (w->phase->recorder)
        c->process = recorder_process(w->phase->recorder);
}

void bench_client_release(struct bench_client *c)
{
    buf_release(&c->key);
    buf_release(&c->url);
    buf_release(&c->read);
    buf_release(&c->value);
}

/* ---- the history ---- */

static struct slice of_buf(const struct buf *b)
{
    return slice_of(b->data ? b->data : (const uint8_t *)"", b->len);
}

/* The call as it stands in the history: of a conditional operation, the part that runs. */
static struct record_call call_of(const struct bench_client *c)
{
    static const enum record_op ops[BENCH_OPS] = {[BENCH_PUT] = RECORD_PUT,
                                                  [BENCH_GET] = RECORD_GET,
                                                  [BENCH_DELETE] = RECORD_DELETE,
                                                  [BENCH_SCAN] = RECORD_SCAN,
                                                  [BENCH_CONDITIONAL] = RECORD_GET};
    struct record_call call = {.op = ops[c->op], .key = of_buf(&c->key)};
    if (c->op == BENCH_PUT || c->writing)
        call.value = of_buf(&c->value);
    if (c->writing) {
        call.op = RECORD_CAS;
        call.expect = c->found ? of_buf(&c->read) : slice_of(NULL, 0);
    }
    return call;
}

static void record_invoke(struct bench_client *c)
{
    struct record_call call = call_of(c);
    if (!c->worker->phase->recorder)
        return;
    recorder_invoke(c->worker->phase->recorder, c->process, &call);
    c->open = true;
}

static void record_return(struct bench_client *c, const struct figures_end *end,
                          const struct channel_reply *reply)
{
    struct recorder *r = c->worker->phase->recorder;
    struct record_call call = call_of(c);
    struct record_result result = {.unmet = end->unmet};
    struct api_item item = {0};
    enum record_end how = end->code == 0 && !end->unmet ? RECORD_OK
                          : end->unknown                ? RECORD_INFO
                                                        : RECORD_FAIL;
    if (!r)
        return;
    if (reply) {
        result.has_index = reply->has_index;
        result.index = reply->index;
        result.has_version = reply->has_version;
        result.version = reply->version;
    }
    if (how == RECORD_OK && call.op == RECORD_GET)
        result.value = end->absent ? slice_of(NULL, 0) : of_buf(&c->read);
    if (how == RECORD_OK && call.op == RECORD_DELETE && reply &&
        api_item_decode(reply->body, &item, NULL) == 0) {
        result.has_deleted = item.has_deleted;
        result.deleted = item.deleted;
        result.has_version = true;
        result.version = item.version;
    }
    recorder_return(r, c->process, &call, how, &result);
    api_item_release(&item);
    c->open = false;
    if (how == RECORD_INFO)
        c->process = recorder_process(r);
}

/* ---- requests ---- */

static void put_consistency(struct bench_client *c, char lead)
{
    const char *mode = c->worker->phase->options->consistency;
    if (mode)
        ASSERT(buf_printf(&c->url, "%cconsistency=%s", lead, mode) == 0);
}

static void put_target(struct bench_client *c)
{
    struct targets *t = c->worker->phase->targets;
    if (t->leader_only)
        c->target = atomic_load_explicit(&t->leader, memory_order_relaxed);
    buf_clear(&c->url);
    ASSERT(buf_append_str(&c->url, t->list[c->target].url) == 0 &&
           buf_append_str(&c->url, "/kv") == 0);
}

static void make_scan_url(struct bench_client *c)
{
    const struct bench_options *o = c->worker->phase->options;
    uint64_t limit = 1 + prng_below(&c->worker->prng, o->scan_max);
    put_target(c);
    ASSERT(buf_printf(&c->url, "?limit=%" PRIu64 "&start=", limit) == 0);
    ASSERT(target_encode(of_buf(&c->key), false, &c->url) == 0);
    put_consistency(c, '&');
}

static void make_key_url(struct bench_client *c, bool read)
{
    put_target(c);
    ASSERT(buf_append_byte(&c->url, '/') == 0);
    ASSERT(target_encode(of_buf(&c->key), false, &c->url) == 0);
    if (read) {
        ASSERT(buf_append_str(&c->url, "?raw") == 0);
        put_consistency(c, '&');
    }
}

/* Its first bytes are written anew: who and the how-manyeth. */
static void make_value(struct bench_client *c)
{
    const struct bench_options *o = c->worker->phase->options;
    char stamp[STAMP_BYTES + 1];
    size_t len = o->value_min + prng_below(&c->worker->prng, o->value_max - o->value_min + 1);
    snprintf(stamp, sizeof(stamp), "%07" PRIx32 "-%015" PRIx64 "-", c->number & 0xfffffff,
             c->values++ & 0xfffffffffffffff);
    memcpy(c->value.data, stamp, len < STAMP_BYTES ? len : STAMP_BYTES);
    c->value.len = len;
}

static void send_request(struct bench_client *c, enum channel_method method, const char *condition)
{
    struct channel_request request = {
        .method = method, .url = (const char *)c->url.data, .condition = condition};
    if (method == CHANNEL_PUT)
        request.body = of_buf(&c->value);
    record_invoke(c);
    channel_send(c->call, &request);
}

static void begin_request(struct bench_client *c)
{
    static const enum channel_method methods[BENCH_OPS] = {CHANNEL_PUT, CHANNEL_GET, CHANNEL_DELETE,
                                                           CHANNEL_GET, CHANNEL_GET};
    if (c->op == BENCH_SCAN)
        make_scan_url(c);
    else
        make_key_url(c, methods[c->op] == CHANNEL_GET);
    if (c->op == BENCH_PUT)
        make_value(c);
    send_request(c, methods[c->op], NULL);
}

void bench_client_begin(struct bench_client *c, uint64_t begun_us)
{
    struct worker *w = c->worker;
    bool insert;
    c->begun_us = begun_us;
    c->op = bench_workload_draw(w->phase->workload, &w->prng, &insert);
    c->writing = false;
    c->key_number = insert ? keys_add(w->phase->keys) : keys_draw(&w->chooser, &w->prng);
    buf_clear(&c->key);
    keys_text(w->phase->keys, c->key_number, &c->key);
    begin_request(c);
}

/* ---- replies ---- */

/* The second half of a conditional operation. */
static void send_conditional(struct bench_client *c, const struct channel_reply *reply)
{
    char condition[CONDITION_BYTES] = "If-None-Match: *";
    c->writing = true;
    c->version = reply->version;
    if (c->found)
        snprintf(condition, sizeof(condition), "If-Match: \"%" PRIu64 "\"", c->version);
    make_value(c);
    make_key_url(c, false);
    send_request(c, CHANNEL_PUT, condition);
}

static void end_operation(struct bench_client *c, struct figures_end *end)
{
    bool failed = end->code != 0;
    end->latency_us = clock_now_us() - c->begun_us;
    if (failed)
        c->target = targets_next(c->worker->phase->targets, c->target);
    worker_ended(c->worker, c, end, failed);
}

void bench_client_reply(void *client, const struct channel_reply *reply)
{
    struct bench_client *c = client;
    bool writing = bench_op_writes(c->op) && (c->op != BENCH_CONDITIONAL || c->writing);
    struct figures_end end = {.op = c->op, .begun = true};
    outcome_of(c->op, writing, reply, &end);
    if (c->worker->phase->targets->leader_only && reply->leader[0])
        targets_follow(c->worker->phase->targets, reply->leader);
    if (c->worker->phase->recorder && !writing) {
        buf_clear(&c->read);
        if (buf_append(&c->read, reply->body.data, reply->body.len) != 0)
            end.code = ERR_TOO_LARGE;
    }
    record_return(c, &end, reply);
    c->found = end.code == 0 && !end.absent;
    if (c->op == BENCH_CONDITIONAL && !c->writing && end.code == 0) {
        send_conditional(c, reply);
        return;
    }
    end_operation(c, &end);
}

void bench_client_give_up(struct bench_client *c)
{
    bool writing = bench_op_writes(c->op) && (c->op != BENCH_CONDITIONAL || c->writing);
    struct figures_end end = {.op = c->op, .begun = true, .code = ERR_UNKNOWN, .unknown = writing};
    record_return(c, &end, NULL);
    end_operation(c, &end);
}
