/*
 * The HTTP server alone, to be measured with wrk: a GET is answered at once, a PUT by way of
 * another thread that takes all there are, as the disk thread does. The reply bears as many headers
 * as a node's.
 *
 *     net_bench [PORT [CONNECTIONS]]     prints its port; ends with SIGTERM
 */
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "lib/base/log.h"
#include "lib/net/http_server.h"
#include "lib/net/loop.h"

struct queue {
    struct http_request *first, *last; /* linked by their `user` */
};

struct bench {
    struct loop *loop;
    struct http_server *server;
    struct loop_wake *wake;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t more;
    struct queue to_thread, from_thread, turn;
    bool stop;
};

static void push(struct queue *q, struct http_request *r)
{
    r->user = NULL;
    if (q->last)
        q->last->user = r;
    else
        q->first = r;
    q->last = r;
}

static void join(struct queue *q, struct queue *behind)
{
    if (!behind->first)
        return;
    if (q->last)
        q->last->user = behind->first;
    else
        q->first = behind->first;
    q->last = behind->last;
    *behind = (struct queue){NULL, NULL};
}

static void answer(struct http_request *r)
{
    static const struct http_header headers[] = {
        {"RaftKV-Node", "node1"},
        {"RaftKV-Leader", "node1"},
        {"RaftKV-Term", "3"},
        {"RaftKV-Index", "812"},
        {"RaftKV-Cluster", "9f86d081884c7d659a2feaa0c55ad015"},
        {"X-Content-Type-Options", "nosniff"},
        {"ETag", "\"812\""},
    };
    static const char body[] = "{\"key\":\"a\",\"version\":812,\"timestamp\":1790000000123}";
    struct http_reply reply = {.status = 200,
                               .headers = headers,
                               .header_count = sizeof(headers) / sizeof(headers[0]),
                               .body = body,
                               .body_len = sizeof(body) - 1};
    http_reply(r, &reply);
}

static void *work(void *argument)
{
    struct bench *b = argument;
    pthread_mutex_lock(&b->lock);
    while (!b->stop) {
        if (!b->to_thread.first) {
            pthread_cond_wait(&b->more, &b->lock);
            continue;
        }
        join(&b->from_thread, &b->to_thread);
        loop_wake_send(b->wake);
    }
    pthread_mutex_unlock(&b->lock);
    return NULL;
}

static size_t body_max(void *self, const struct http_request *head, struct http_reply *refuse)
{
    (void)self;
    (void)head;
    (void)refuse;
    return 1 << 20;
}

static void handle(void *self, struct http_request *r)
{
    struct bench *b = self;
    if (r->method == HTTP_PUT)
        push(&b->turn, r);
    else
        answer(r);
}

static void on_turn(void *self)
{
    struct bench *b = self;
    if (!b->turn.first)
        return;
    pthread_mutex_lock(&b->lock);
    join(&b->to_thread, &b->turn);
    pthread_cond_signal(&b->more);
    pthread_mutex_unlock(&b->lock);
}

static void on_wake(void *self)
{
    struct bench *b = self;
    pthread_mutex_lock(&b->lock);
    struct queue done = b->from_thread;
    b->from_thread = (struct queue){NULL, NULL};
    pthread_mutex_unlock(&b->lock);
    for (struct http_request *r = done.first, *next; r; r = next) {
        next = r->user;
        answer(r);
    }
}

static void on_signal(void *self, int signum)
{
    (void)signum;
    loop_stop(((struct bench *)self)->loop);
}

int main(int argc, char **argv)
{
    static struct bench b = {.lock = PTHREAD_MUTEX_INITIALIZER, .more = PTHREAD_COND_INITIALIZER};
    struct err err;
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    struct http_server_options options = {
        .host = "127.0.0.1",
        .port = argc > 1 ? (uint16_t)strtoul(argv[1], NULL, 10) : 0,
        .connections_max = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 10000,
        .header_timeout_ms = 10000,
        .body_timeout_ms = 30000,
        .idle_timeout_ms = 60000,
        .body_max = body_max,
        .handle = handle,
        .self = &b,
    };
    if (loop_new(&b.loop, &err) < 0 || http_server_start(b.loop, &options, &b.server, &err) < 0 ||
        loop_on_signal(b.loop, SIGTERM, on_signal, &b, &err) < 0 ||
        loop_on_signal(b.loop, SIGINT, on_signal, &b, &err) < 0) {
        fprintf(stderr, "net_bench: %s\n", err.text);
        return 70;
    }
    loop_every_turn(b.loop, on_turn, &b);
    b.wake = loop_wake_new(b.loop, on_wake, &b);
    pthread_create(&b.thread, NULL, work, &b);
    printf("%u\n", http_server_port(b.server));
    fflush(stdout);
    loop_run(b.loop);
    pthread_mutex_lock(&b.lock);
    b.stop = true;
    pthread_cond_signal(&b.more);
    pthread_mutex_unlock(&b.lock);
    pthread_join(b.thread, NULL);
    http_server_stop(b.server);
    loop_wake_free(b.wake);
    loop_free(b.loop);
    return 0;
}
