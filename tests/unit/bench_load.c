/*
 * Whole measurements against a stub of a node: one connection at a time, which answers at once but
 * for what a case lets go wrong. The machine may be slow: bounds are those that a stall gives.
 */
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/mem.h"
#include "lib/bench/bench.h"
#include "lib/json/api.h"
#include "tests/support/cases.h"
#include "tests/support/http.h"
#include "tests/unit/tap.h"

enum { STALL_MS = 600, REQUEST_BYTES = 1 << 16, REPLY_BYTES = 4096, WAIT_MS = 20 };

enum stub_act { ACT_ANSWER, ACT_CLOSE, ACT_SILENT, ACT_REFUSE, ACT_STRANGER };

struct stub {
    int listening;
    char url[64], status[REPLY_BYTES];
    pthread_t thread;
    atomic_bool stop;
    unsigned stall_at, acts_from; /* requests of keys, from 1; 0: never */
    enum stub_act act;            /* of those from acts_from on */
    _Atomic unsigned requests;
    char last[REQUEST_BYTES];
};

static void sleep_ms(unsigned ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    nanosleep(&t, NULL);
}

static bool say(int fd, int status, bool node, const char *body)
{
    char text[REPLY_BYTES + 256];
    snprintf(text, sizeof(text),
             "HTTP/1.1 %d X\r\nContent-Type: application/json\r\n%sRaftKV-Leader: node1\r\n"
             "RaftKV-Index: 5\r\nETag: \"7\"\r\nContent-Length: %zu\r\n\r\n%s",
             status, node ? "RaftKV-Node: node1\r\n" : "", strlen(body), body);
    return http_say(fd, text);
}

/* false: the connection is to be closed. */
static bool answer(struct stub *s, int fd)
{
    if (strncmp(s->last, "GET /status", 11) == 0)
        return say(fd, 200, true, s->status);
    unsigned number = atomic_fetch_add(&s->requests, 1) + 1;
    if (number == s->stall_at)
        sleep_ms(STALL_MS);
    if (s->acts_from == 0 || number < s->acts_from)
        return say(fd, 200, true, "{\"key\":\"k\",\"version\":7}");
    switch (s->act) {
    case ACT_ANSWER: return say(fd, 200, true, "{}");
    case ACT_CLOSE: return false;
    case ACT_SILENT: return true;
    case ACT_REFUSE:
        return say(fd, 503, true,
                   "{\"error\":{\"code\":\"no_leader\",\"message\":\"m\",\"outcome\":\"not_applied"
                   "\",\"retryable\":true}}");
    case ACT_STRANGER: return say(fd, 200, false, "{}");
    }
    return false;
}

static bool readable(const struct stub *s, int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    while (!atomic_load(&s->stop))
        if (poll(&p, 1, WAIT_MS) > 0)
            return true;
    return false;
}

static void *serve(void *argument)
{
    struct stub *s = argument;
    while (readable(s, s->listening)) {
        int fd = http_accept(s->listening);
        char peek;
        while (fd >= 0 && readable(s, fd) && recv(fd, &peek, 1, MSG_PEEK) > 0 &&
               http_take_request(fd, s->last, sizeof(s->last)) && answer(s, fd))
            continue;
        close(fd);
    }
    return NULL;
}

static void make_status(struct stub *s)
{
    static struct api_status status;
    struct buf text;
    status = (struct api_status){.leader = "node1",
                                 .term = 1,
                                 .member_count = 1,
                                 .has_cluster = true,
                                 .cluster = {.hi = 0xc1, .lo = 0x2b}};
    struct api_member *m = &status.members[0];
    snprintf(m->name, sizeof(m->name), "node1");
    snprintf(m->url, sizeof(m->url), "%s", s->url);
    m->id = 1;
    m->role = "voter";
    m->state = "leader";
    m->reachable = true;
    buf_init(&text, sizeof(s->status) - 1);
    must(api_status_encode(&status, &text) == 0);
    memcpy(s->status, text.data, text.len + 1);
    buf_release(&text);
}

static void stub_start(struct stub *s)
{
    uint16_t port;
    s->listening = http_listen(&port);
    snprintf(s->url, sizeof(s->url), "http://127.0.0.1:%u", port);
    make_status(s);
    must(pthread_create(&s->thread, NULL, serve, s) == 0);
}

static void stub_stop(struct stub *s)
{
    atomic_store(&s->stop, true);
    pthread_join(s->thread, NULL);
    close(s->listening);
}

static struct bench_options usual(const struct stub *s)
{
    return (struct bench_options){.endpoints = s->url,
                                  .workload = *bench_workload_find("put"),
                                  .keys = {.order = KEYS_SEQUENTIAL, .count = 10, .prefix = "k"},
                                  .value_min = 8,
                                  .value_max = 8,
                                  .scan_max = 10,
                                  .clients = 1,
                                  .connections = 1,
                                  .threads = 1,
                                  .time_ms = 2000,
                                  .timeout_ms = 5000,
                                  .seed = 1};
}

static struct bench_report report;
static struct figures_op puts_;

static void run(const struct bench_options *o, struct stub *s)
{
    struct err err = {.text = ""};
    stub_start(s);
    int code = bench_execute(o, &report, &err);
    stub_stop(s);
    if (code != 0)
        case_fail("%s", err.text);
    figures_of(&report.figures, FIGURES_ALL, &puts_);
    bench_report_release(&report);
}

/* 100 a second for two seconds; for 0.6 of them nothing is answered. About 60 requests had to wait,
 * 0.3 s on average: so every seventh took more than half of the stall. */
static void open_loop_counts_what_had_to_wait(void)
{
    struct stub s = {.stall_at = 40};
    struct bench_options o = usual(&s);
    o.rate = 100;
    run(&o, &s);
    CHECK_EQ(puts_.latency.count, 200);
    CHECK_EQ(report.due, 200);
    CHECK(hist_quantile(&puts_.latency, 0.87) >= STALL_MS * 1000 / 2);
    CHECK(puts_.latency.max_us >= STALL_MS * 1000);
}

/* The same stall in a closed loop is one slow request of many. */
static void closed_loop_counts_one(void)
{
    struct stub s = {.stall_at = 40};
    struct bench_options o = usual(&s);
    o.time_ms = 0;
    o.count = 200;
    run(&o, &s);
    CHECK_EQ(puts_.latency.count, 200);
    CHECK(puts_.latency.max_us >= STALL_MS * 1000);
    CHECK(hist_quantile(&puts_.latency, 0.87) < STALL_MS * 1000 / 2);
    CHECK_EQ(figures_total(&puts_), 200);
}

/* Nothing is answered behind the first ones: what was due is there in the end, as unknown, which
 * one client asked for, or as not begun. */
static void a_schedule_that_cannot_be_kept_is_told(void)
{
    struct stub s = {.acts_from = 11, .act = ACT_SILENT};
    struct bench_options o = usual(&s);
    o.rate = 100;
    o.timeout_ms = 700;
    run(&o, &s);
    CHECK(report.rate_missed);
    CHECK_EQ(report.due, 200);
    CHECK_EQ(figures_total(&puts_), 200);
    CHECK_EQ(puts_.latency.count, 10);
    CHECK(puts_.unknown[ERR_TIMEOUT - ERR_FIRST_] >= 2);
    CHECK(puts_.errors[FIGURES_NOT_BEGUN] >= 150);
}

static void each_end_has_its_kind(void)
{
    static const struct {
        const char *workload;
        enum stub_act act;
        int code;
        bool unknown;
    } rows[] = {
        {"put", ACT_CLOSE, ERR_UNKNOWN, true},         {"get", ACT_CLOSE, ERR_UNKNOWN, false},
        {"put", ACT_SILENT, ERR_TIMEOUT, true},        {"get", ACT_SILENT, ERR_TIMEOUT, false},
        {"put", ACT_REFUSE, ERR_NO_LEADER, false},     {"delete", ACT_REFUSE, ERR_NO_LEADER, false},
        {"put", ACT_STRANGER, ERR_CORRUPT, true},      {"get", ACT_STRANGER, ERR_CORRUPT, false},
        {"delete", ACT_SILENT, ERR_TIMEOUT, true},     {"scan", ACT_CLOSE, ERR_UNKNOWN, false},
        {"conditional", ACT_CLOSE, ERR_UNKNOWN, true},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        bool conditional = strcmp(rows[i].workload, "conditional") == 0;
        /* of a conditional one the put, which is the second request */
        struct stub s = {.acts_from = conditional ? 8 : 4, .act = rows[i].act};
        struct bench_options o = usual(&s);
        o.workload = *bench_workload_find(rows[i].workload);
        o.time_ms = 0;
        o.count = 4;
        o.timeout_ms = 500;
        case_row("%s, act %d", rows[i].workload, rows[i].act);
        run(&o, &s);
        CHECK_EQ(puts_.latency.count, 3);
        CHECK_EQ(figures_total(&puts_), 4);
        CHECK_EQ(rows[i].unknown ? puts_.unknown[rows[i].code - ERR_FIRST_]
                                 : puts_.errors[rows[i].code - ERR_FIRST_],
                 1);
    }
    case_row_done();
}

static void warm_up_is_not_counted_and_preload_comes_first(void)
{
    struct stub s = {.stall_at = 5};
    struct bench_options o = usual(&s);
    o.preload = 10;
    o.keys.count = 10;
    o.rate = 50;
    o.warmup_ms = 1000;
    o.time_ms = 1000;
    run(&o, &s);
    CHECK_EQ(report.preloaded, 10);
    CHECK(report.preload_us >= STALL_MS * 1000);
    CHECK_EQ(report.excluded, 50);
    CHECK_EQ(puts_.latency.count, 50);
    CHECK_EQ(atomic_load(&s.requests), 110);
    CHECK_EQ(report.measured_us, 1000000);
}

static void requests_are_what_a_node_takes(void)
{
    static const struct {
        const char *workload, *line;
    } rows[] = {
        {"put", "PUT /kv/k%2F000000000000 HTTP/1.1\r\n"},
        {"get", "GET /kv/k%2F000000000000?raw&consistency=stale HTTP/1.1\r\n"},
        {"delete", "DELETE /kv/k%2F000000000000 HTTP/1.1\r\n"},
        {"scan", "GET /kv?limit=1&start=k%2F000000000000&consistency=stale HTTP/1.1\r\n"},
        {"conditional", "PUT /kv/k%2F000000000000 HTTP/1.1\r\n"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct stub s = {.stall_at = 0};
        struct bench_options o = usual(&s);
        o.workload = *bench_workload_find(rows[i].workload);
        o.keys.prefix = "k/";
        o.scan_max = 1;
        o.consistency = "stale";
        o.time_ms = 0;
        o.count = 1;
        o.leader_only = i % 2;
        case_row("%s", rows[i].workload);
        run(&o, &s);
        CHECK(strncmp(s.last, rows[i].line, strlen(rows[i].line)) == 0);
        CHECK((strstr(s.last, "If-Match: \"7\"\r\n") != NULL) ==
              (strcmp(rows[i].workload, "conditional") == 0));
        CHECK(strstr(s.last, "\r\nRaftKV-Cluster: 00000000000000c1000000000000002b\r\n"));
        CHECK_EQ(puts_.latency.count, 1);
    }
    case_row_done();
}

static const struct test_case cases[] = {
    {"open_loop_counts_what_had_to_wait", open_loop_counts_what_had_to_wait},
    {"closed_loop_counts_one", closed_loop_counts_one},
    {"a_schedule_that_cannot_be_kept_is_told", a_schedule_that_cannot_be_kept_is_told},
    {"each_end_has_its_kind", each_end_has_its_kind},
    {"warm_up_is_not_counted_and_preload_comes_first",
     warm_up_is_not_counted_and_preload_comes_first},
    {"requests_are_what_a_node_takes", requests_are_what_a_node_takes},
};

CASES_MAIN(cases)
