/* Clients: threads, their operations and what is recorded of them; see workload.h. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "lib/base/check.h"
#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/run/workload.h"

enum {
    CALL_TIMEOUT_MS = 1000, /* short, so that outcomes are unknown often */
    FAILURES_MAX = 3,       /* in a row; then another node is tried */
    PAUSE_MS = 20,          /* after a failure */
    SLICE_US = 100000,      /* of a wait: then the end is looked for */
    VALUE_BYTES_MAX = 1 << 20,
    ONE_NODE_OF = 3, /* one client of so many knows one node only */
};

/* ---- a client and its process ---- */

static void renew_client(struct worker *w)
{
    struct load *l = w->load;
    struct client_options options = {
        .timeout_ms = CALL_TIMEOUT_MS, .consistency = l->consistency, .cluster = l->fleet->cluster};
    unsigned first = (unsigned)prng_below(&w->prng, FLEET_NODES_MAX);
    client_free(w->client);
    w->client = NULL;
    if (w->number % ONE_NODE_OF == 1)
        fleet_url(l->fleet, first, &w->urls);
    else
        fleet_urls(l->fleet, first, &w->urls);
    options.endpoints = (const char *)w->urls.data;
    ASSERT(client_new(&options, &w->client, NULL) == 0);
    w->failures = 0;
}

static void rest(uint32_t ms)
{
    struct timespec pause = {ms / 1000, (long)(ms % 1000) * 1000000};
    nanosleep(&pause, NULL);
}

static void worker_init(struct worker *w, struct load *l, uint32_t number)
{
    memset(w, 0, sizeof(*w));
    w->load = l;
    w->number = number;
    prng_seed(&w->prng, l->seed + number * UINT64_C(0x9e3779b97f4a7c15));
    client_reply_init(&w->reply);
    buf_init(&w->urls, (size_t)FLEET_NODES_MAX * (LIMIT_URL_BYTES + 1));
    buf_init(&w->value, VALUE_BYTES_MAX);
    for (int i = 0; i < WORKLOAD_KNOWN; i++)
        buf_init(&w->known[i], VALUE_BYTES_MAX);
    w->process = recorder_process(l->recorder);
    renew_client(w);
}

static void worker_release(struct worker *w)
{
    client_free(w->client);
    client_reply_release(&w->reply);
    buf_release(&w->urls);
    buf_release(&w->value);
    for (int i = 0; i < WORKLOAD_KNOWN; i++)
        buf_release(&w->known[i]);
}

/* ---- operations ---- */

static void invoke(struct worker *w, const struct record_call *call)
{
    recorder_invoke(w->load->recorder, w->process, call);
}

/* The end of an operation: a process whose write is of unknown outcome does nothing more. */
static enum record_end end_call(struct worker *w, const struct record_call *call,
                                enum record_end end, struct record_result *result)
{
    result->has_index = w->reply.has_index;
    result->index = w->reply.index;
    recorder_return(w->load->recorder, w->process, call, end, result);
    if (end == RECORD_INFO) {
        w->process = recorder_process(w->load->recorder);
        renew_client(w);
    } else if (end == RECORD_FAIL && !result->unmet) {
        if (++w->failures >= FAILURES_MAX)
            renew_client(w);
        rest(PAUSE_MS);
    } else {
        w->failures = 0;
        if (prng_chance(&w->prng, 1, 4))
            client_turn(w->client);
    }
    return end;
}

struct slice worker_key(const struct worker *w, uint32_t group, char out[WORKLOAD_KEY_BYTES])
{
    snprintf(out, WORKLOAD_KEY_BYTES, "%s%05" PRIu32, w->load->prefix, group);
    return slice_str(out);
}

/* Reads without recording: fills value, present, version; as worker_get ends. */
static enum record_end read_key(struct worker *w, struct slice key)
{
    struct api_item item;
    int code = client_get(w->client, key, false, &w->reply, NULL);
    enum record_end end = record_end_of(false, code, &w->reply);
    w->present = code == 0;
    buf_clear(&w->value);
    if (code != 0)
        return end;
    if (api_item_decode(slice_of(w->reply.body.data, w->reply.body.len), &item, NULL) != 0)
        return RECORD_FAIL;
    if (buf_append(&w->value, item.value.data, item.value.len) != 0)
        end = RECORD_FAIL;
    w->version = item.version;
    api_item_release(&item);
    return end;
}

static struct slice value_read(const struct worker *w)
{
    if (!w->present)
        return slice_of(NULL, 0);
    return slice_of(w->value.data ? w->value.data : (const uint8_t *)"", w->value.len);
}

enum record_end worker_get(struct worker *w, struct slice key)
{
    struct record_call call = {.op = RECORD_GET, .key = key};
    invoke(w, &call);
    enum record_end end = read_key(w, key);
    struct record_result result = {.value = value_read(w)};
    if (w->present) {
        result.has_version = true;
        result.version = w->version;
    }
    return end_call(w, &call, end, &result);
}

static void take_version(const struct worker *w, struct record_result *result)
{
    result->has_version = w->reply.has_version;
    result->version = w->reply.version;
}

enum record_end worker_put(struct worker *w, struct slice key, struct slice value)
{
    struct record_call call = {.op = RECORD_PUT, .key = key, .value = value};
    struct record_result result = {0};
    invoke(w, &call);
    int code = client_put(w->client, key, value, CONDITION_NONE, 0, &w->reply, NULL);
    take_version(w, &result);
    return end_call(w, &call, record_end_of(true, code, &w->reply), &result);
}

enum record_end worker_delete(struct worker *w, struct slice key)
{
    struct record_call call = {.op = RECORD_DELETE, .key = key};
    struct record_result result = {0};
    invoke(w, &call);
    int code = client_delete(w->client, key, CONDITION_NONE, 0, &w->reply, NULL);
    take_version(w, &result);
    result.has_deleted = code == 0;
    result.deleted = w->reply.deleted;
    return end_call(w, &call, record_end_of(true, code, &w->reply), &result);
}

enum record_end worker_batch(struct worker *w, struct slice ops)
{
    struct record_call call = {.op = RECORD_BATCH, .key = ops};
    struct record_result result = {0};
    struct buf body;
    buf_init(&body, ops.len + 16);
    ASSERT(buf_append_str(&body, "{\"ops\":") == 0 && buf_append(&body, ops.data, ops.len) == 0 &&
           buf_append_byte(&body, '}') == 0);
    invoke(w, &call);
    int code = client_batch(w->client, slice_of(body.data, body.len), &w->reply, NULL);
    buf_release(&body);
    take_version(w, &result);
    return end_call(w, &call, record_end_of(true, code, &w->reply), &result);
}

/* The conditional write of compare-and-set and append, on what was read. */
static enum record_end write_read(struct worker *w, const struct record_call *call,
                                  struct slice value)
{
    struct record_result result = {0};
    int code =
        client_put(w->client, call->key, value, w->present ? CONDITION_VERSION : CONDITION_ABSENT,
                   w->present ? w->version : 0, &w->reply, NULL);
    take_version(w, &result);
    result.unmet = code == ERR_PRECONDITION_FAILED;
    return end_call(w, call, record_end_of(true, code, &w->reply), &result);
}

enum record_end worker_cas(struct worker *w, struct slice key, struct slice expect,
                           struct slice value)
{
    struct record_call call = {.op = RECORD_CAS, .key = key, .value = value, .expect = expect};
    struct record_result result = {0};
    invoke(w, &call);
    if (read_key(w, key) != RECORD_OK)
        return end_call(w, &call, RECORD_FAIL, &result);
    struct slice found = value_read(w);
    if ((found.data == NULL) != (expect.data == NULL) || slice_compare(found, expect) != 0) {
        result.unmet = true;
        return end_call(w, &call, RECORD_FAIL, &result);
    }
    return write_read(w, &call, value);
}

enum record_end worker_append(struct worker *w, struct slice key, struct slice value)
{
    struct record_call call = {.op = RECORD_APPEND, .key = key, .value = value};
    struct record_result result = {0};
    invoke(w, &call);
    if (read_key(w, key) != RECORD_OK || buf_append(&w->value, value.data, value.len) != 0)
        return end_call(w, &call, RECORD_FAIL, &result);
    return write_read(w, &call, slice_of(w->value.data, w->value.len));
}

enum record_end worker_scan(struct worker *w, struct slice prefix, struct api_page *page)
{
    struct record_call call = {.op = RECORD_SCAN, .key = prefix};
    struct client_scan scan = {.prefix = prefix, .limit = LIMIT_PAGE_ITEMS};
    struct record_result result = {.page = page};
    memset(page, 0, sizeof(*page));
    invoke(w, &call);
    int code = client_scan(w->client, &scan, &w->reply, page, NULL);
    /* Of several pages each has an index of its own: no one moment. */
    enum record_end end =
        code == 0 && page->next ? RECORD_FAIL : record_end_of(false, code, &w->reply);
    end_call(w, &call, end, &result);
    return end;
}

bool worker_scan_all(struct worker *w, struct slice prefix,
                     void (*each)(struct worker *w, const struct api_item *item))
{
    struct client_scan scan = {.prefix = prefix, .limit = LIMIT_PAGE_ITEMS};
    char *cursor = NULL;
    bool good = true, more = true;
    while (good && more) {
        struct api_page page = {0};
        scan.cursor = cursor;
        good = client_scan(w->client, &scan, &w->reply, &page, NULL) == 0;
        for (size_t i = 0; good && i < page.count; i++)
            each(w, &page.items[i]);
        mem_free(cursor);
        cursor = good && page.next ? mem_strdup(page.next) : NULL;
        more = cursor != NULL;
        api_page_release(&page);
    }
    mem_free(cursor);
    return good;
}

/* ---- the load ---- */

void load_init(struct load *l)
{
    pthread_mutex_init(&l->lock, NULL);
    tally_init(&l->tally);
    l->workers = mem_calloc(l->clients, sizeof(l->workers[0]));
}

void load_release(struct load *l)
{
    mem_free(l->workers);
    tally_release(&l->tally);
    pthread_mutex_destroy(&l->lock);
}

void load_violated(struct load *l, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    pthread_mutex_lock(&l->lock);
    if (!l->why[0])
        vsnprintf(l->why, sizeof(l->why), fmt, ap);
    pthread_mutex_unlock(&l->lock);
    va_end(ap);
}

static bool run_alone(struct load *l, bool (*what)(struct worker *), uint32_t ms)
{
    struct worker *w = mem_alloc(sizeof(*w));
    uint64_t until = clock_now_us() + (uint64_t)ms * 1000;
    bool done = what == NULL;
    worker_init(w, l, l->clients * 3); /* one that knows all nodes */
    while (!done && clock_now_us() < until) {
        done = what(w);
        if (!done)
            renew_client(w);
    }
    worker_release(w);
    mem_free(w);
    return done;
}

bool load_prepare(struct load *l, uint32_t ms)
{
    return run_alone(l, l->workload->prepare, ms);
}

bool load_finish(struct load *l, uint32_t ms)
{
    return run_alone(l, l->workload->finish, ms);
}

/* A client's turns lie evenly, with some spread; who is late catches up for a while only. */
static void await_turn(struct worker *w)
{
    const struct load *l = w->load;
    if (l->rate == 0)
        return;
    uint64_t now = clock_now_us(), every = UINT64_C(1000000) * l->clients / l->rate;
    if (w->due_us + 1000000 < now)
        w->due_us = now;
    for (; w->due_us > now && !atomic_load(&l->stop); now = clock_now_us()) {
        uint64_t left = w->due_us - now < SLICE_US ? w->due_us - now : SLICE_US;
        struct timespec pause = {0, (long)left * 1000};
        nanosleep(&pause, NULL);
    }
    w->due_us += every / 2 + prng_below(&w->prng, every + 1);
}

static void *run_worker(void *argument)
{
    struct worker *w = argument;
    while (!atomic_load(&w->load->stop)) {
        await_turn(w);
        if (!atomic_load(&w->load->stop))
            w->load->workload->step(w);
    }
    worker_release(w);
    return NULL;
}

int load_start(struct load *l, struct err *err)
{
    for (uint32_t i = 0; i < l->clients; i++) {
        struct worker *w = &l->workers[i];
        worker_init(w, l, i);
        int code = pthread_create(&w->thread, NULL, run_worker, w);
        if (code != 0) {
            worker_release(w);
            return err_errno(err, ERR_IO, code, "cannot start a client");
        }
        l->started++;
    }
    return 0;
}

void load_stop(struct load *l)
{
    atomic_store(&l->stop, true);
    for (uint32_t i = 0; i < l->started; i++)
        pthread_join(l->workers[i].thread, NULL);
    l->started = 0;
}
