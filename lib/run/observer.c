/* Watching for leaders; see observer.h. */
#include "lib/run/observer.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/base/opt.h"
#include "lib/json/walk.h"
#include "lib/net/http_client.h"
#include "lib/net/loop.h"

enum { EVERY_US = 20000, TIMEOUT_MS = 400, REPLY_BYTES_MAX = 64 << 10, LEADERS_MAX = 4096 };

struct asked {
    struct observer *observer;
    unsigned place;
    bool waits; /* for a reply */
};

struct first_seen {
    uint64_t term, at_us;
};

struct observer {
    struct fleet *fleet;
    struct loop *loop;
    struct http_client *client;
    struct loop_timer *timer;
    struct loop_wake *wake;
    pthread_t thread;
    atomic_bool stop;
    struct asked asked[FLEET_NODES_MAX];
    pthread_mutex_t lock; /* of all below */
    struct observer_view view;
    struct first_seen seen[LEADERS_MAX]; /* terms grow */
    unsigned seen_count;
};

/* ---- replies ---- */

struct answer {
    uint64_t term;
    bool leads, ready;
    char name[LIMIT_NAME_BYTES + 1];
};

static bool text_is(struct slice text, const char *word)
{
    return text.len == strlen(word) && memcmp(text.data, word, text.len) == 0;
}

static int read_member(void *argument, const char *path, struct slice text)
{
    struct answer *a = argument;
    char number[24];
    if (strcmp(path, "name") == 0 && text.len < sizeof(a->name)) {
        memcpy(a->name, text.data, text.len);
        a->name[text.len] = '\0';
    } else if (strcmp(path, "state") == 0) {
        a->leads = text_is(text, "leader");
    } else if (strcmp(path, "ready") == 0) {
        a->ready = text_is(text, "true");
    } else if (strcmp(path, "term") == 0 && text.len < sizeof(number)) {
        memcpy(number, text.data, text.len);
        number[text.len] = '\0';
        if (opt_parse_uint(number, &a->term) != 0)
            a->term = 0;
    }
    return 0;
}

static void note_leader(struct observer *o, unsigned place, const struct answer *a)
{
    uint64_t now = clock_now_us();
    pthread_mutex_lock(&o->lock);
    if (a->term >= o->view.term) {
        o->view.term = a->term;
        o->view.place = (int)place;
        o->view.led_us = now;
        memcpy(o->view.leader, a->name, sizeof(o->view.leader));
    }
    uint64_t last = o->seen_count ? o->seen[o->seen_count - 1].term : 0;
    if (a->ready && a->term > last && o->seen_count < LEADERS_MAX)
        o->seen[o->seen_count++] = (struct first_seen){a->term, now};
    pthread_mutex_unlock(&o->lock);
}

static void on_reply(void *argument, const struct http_result *result)
{
    struct asked *asked = argument;
    struct answer a = {0};
    asked->waits = false;
    if (result->code == 0 && result->status == 200 &&
        json_walk(result->body, read_member, &a, NULL) == 0 && a.leads)
        note_leader(asked->observer, asked->place, &a);
}

/* ---- asking ---- */

static void ask(struct observer *o, unsigned place, const char *base)
{
    char url[LIMIT_URL_BYTES + 8];
    struct asked *asked = &o->asked[place];
    snprintf(url, sizeof(url), "%.*s/node", LIMIT_URL_BYTES, base);
    struct http_call call = {.method = HTTP_GET,
                             .url = url,
                             .timeout_ms = TIMEOUT_MS,
                             .reply_max = REPLY_BYTES_MAX,
                             .idempotent = true};
    asked->observer = o;
    asked->place = place;
    asked->waits = true;
    http_client_call(o->client, &call, on_reply, asked);
}

static void on_turn(void *argument)
{
    struct observer *o = argument;
    char urls[FLEET_NODES_MAX][LIMIT_URL_BYTES + 1] = {{0}};
    struct fleet *c = o->fleet;
    pthread_mutex_lock(&c->lock);
    unsigned count = c->count;
    for (unsigned i = 0; i < count; i++)
        if (c->members[i].state == MEMBER_RUNS)
            memcpy(urls[i], c->members[i].url, sizeof(urls[i]));
    pthread_mutex_unlock(&c->lock);
    for (unsigned i = 0; i < count; i++)
        if (urls[i][0] && !o->asked[i].waits)
            ask(o, i, urls[i]);
    loop_timer_at(o->timer, loop_now_us(o->loop) + EVERY_US);
}

static void on_wake(void *argument)
{
    struct observer *o = argument;
    if (atomic_load(&o->stop))
        loop_stop(o->loop);
}

static void *run_observer(void *argument)
{
    struct observer *o = argument;
    loop_timer_at(o->timer, loop_now_us(o->loop));
    loop_run(o->loop);
    return NULL;
}

/* ---- life ---- */

static void release(struct observer *o)
{
    http_client_free(o->client);
    if (o->timer)
        loop_timer_free(o->timer);
    if (o->wake)
        loop_wake_free(o->wake);
    if (o->loop)
        loop_free(o->loop);
    pthread_mutex_destroy(&o->lock);
    mem_free(o);
}

int observer_new(struct fleet *c, struct observer **out, struct err *err)
{
    struct http_client_options options = {.connections_per_host = 2,
                                          .connect_timeout_ms = TIMEOUT_MS};
    struct observer *o = mem_zalloc(sizeof(*o));
    o->fleet = c;
    o->view.place = -1;
    pthread_mutex_init(&o->lock, NULL);
    int code = loop_new(&o->loop, err);
    if (code == 0)
        code = http_client_new(o->loop, &options, &o->client, err);
    if (code == 0) {
        o->timer = loop_timer_new(o->loop, on_turn, o);
        o->wake = loop_wake_new(o->loop, on_wake, o);
        code = pthread_create(&o->thread, NULL, run_observer, o);
        if (code != 0)
            code = err_errno(err, ERR_IO, code, "cannot start a thread");
    }
    if (code != 0) {
        release(o);
        return code;
    }
    *out = o;
    return 0;
}

void observer_free(struct observer *o)
{
    if (!o)
        return;
    atomic_store(&o->stop, true);
    loop_wake_send(o->wake);
    pthread_join(o->thread, NULL);
    release(o);
}

void observer_view(struct observer *o, struct observer_view *view)
{
    pthread_mutex_lock(&o->lock);
    *view = o->view;
    pthread_mutex_unlock(&o->lock);
}

uint64_t observer_leader_after(struct observer *o, uint64_t term)
{
    uint64_t at = 0;
    pthread_mutex_lock(&o->lock);
    for (unsigned i = o->seen_count; i-- > 0 && o->seen[i].term > term;)
        at = o->seen[i].at_us;
    pthread_mutex_unlock(&o->lock);
    return at;
}
