/*
 * What the client sends: paths, headers, conditions, client id and sequence over retries and calls;
 * to whom, how often, and when. And libcurl's traps: it neither normalises a path nor asks a proxy,
 * follows no redirect, and sends nothing twice that must not be.
 */
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/client/client.h"
#include "tests/support/cases.h"
#include "tests/support/fake_node.h"
#include "tests/unit/tap.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define ITEM         "{\"key\":\"k\",\"version\":42,\"timestamp\":1,\"deleted\":true}"
#define PAGE         "{\"items\":[],\"next\":null,\"index\":9}"
#define NO_LEADER                                                                                  \
    "{\"error\":{\"code\":\"no_leader\",\"message\":\"m\",\"outcome\":\"not_applied\","            \
    "\"retryable\":true}}"
#define OVERLOADED                                                                                 \
    "{\"error\":{\"code\":\"overloaded\",\"message\":\"m\",\"outcome\":\"not_applied\","           \
    "\"retryable\":true}}"
#define DONE                                                                                       \
    {                                                                                              \
        FAKE_REPLY, 200, "ETag: \"42\"\r\nRaftKV-Leader: node7\r\n", ITEM                          \
    }

static struct fake_node *node;
static struct client *client;
static struct client_reply reply;
static struct err err;

static void begin_with(const char *endpoints, uint32_t timeout_ms)
{
    struct client_options options = {.endpoints = endpoints, .timeout_ms = timeout_ms};
    must(client_new(&options, &client, NULL) == 0);
    client_reply_init(&reply);
    memset(&err, 0, sizeof(err));
}

static void begin(const struct fake_step *steps, size_t count)
{
    node = fake_node_start(steps, count);
    begin_with(fake_node_url(node), 3000);
}

static void end(void)
{
    client_free(client);
    client_reply_release(&reply);
    if (node)
        fake_node_stop(node);
    node = NULL;
}

static int put(const char *key)
{
    return client_put(client, slice_str(key), slice_str("v"), CONDITION_NONE, 0, &reply, &err);
}

static bool header_is(unsigned request, const char *name, const char *value)
{
    char got[256];
    fake_request_header(fake_node_request(node, request), name, got);
    if (strcmp(got, value) == 0)
        return true;
    diag("%s: \"%s\", not \"%s\"", name, got, value);
    return false;
}

static bool same_header(unsigned a, unsigned b, const char *name)
{
    char of_a[256], of_b[256];
    fake_request_header(fake_node_request(node, a), name, of_a);
    fake_request_header(fake_node_request(node, b), name, of_b);
    return of_a[0] && strcmp(of_a, of_b) == 0;
}

static bool target_begins(unsigned request, const char *text)
{
    const char *target = fake_node_request(node, request)->target;
    if (strncmp(target, text, strlen(text)) == 0)
        return true;
    diag("target \"%s\", not \"%s\"", target, text);
    return false;
}

/* ---- sessions ---- */

static void a_retry_keeps_id_and_number(void)
{
    static const struct fake_step steps[] = {
        {FAKE_RESET, 0, NULL, NULL}, {FAKE_REPLY, 503, NULL, NO_LEADER}, DONE, DONE};
    begin(steps, COUNT(steps));
    CHECK_EQ(put("k"), 0);
    REQUIRE(fake_node_request_count(node) == 3);
    for (unsigned i = 0; i < 3; i++)
        CHECK(header_is(i, "RaftKV-Seq", "1"));
    CHECK(same_header(0, 1, "RaftKV-Client") && same_header(0, 2, "RaftKV-Client"));
    CHECK_EQ(reply.sends, 3);
    CHECK(strcmp(reply.leader, "node7") == 0);
    /* The next write is the next of the same session. */
    CHECK_EQ(put("k"), 0);
    CHECK(header_is(3, "RaftKV-Seq", "2"));
    CHECK(same_header(0, 3, "RaftKV-Client"));
    end();
}

static void a_failed_condition_keeps_the_session(void)
{
    static const struct fake_step steps[] = {
        {FAKE_REPLY, 412, NULL,
         "{\"error\":{\"code\":\"precondition_failed\",\"message\":\"m\",\"outcome\":"
         "\"not_applied\",\"retryable\":false,\"version\":5}}"},
        DONE};
    begin(steps, COUNT(steps));
    CHECK_EQ((uint64_t)-put("k"), (uint64_t)-ERR_PRECONDITION_FAILED);
    CHECK(reply.has_version && reply.version == 5);
    CHECK_EQ(put("k"), 0);
    CHECK(same_header(0, 1, "RaftKV-Client"));
    CHECK(header_is(1, "RaftKV-Seq", "2"));
    end();
}

/* Number 2 of a session whose number 1 was never seen would be refused. */
static void a_refused_write_ends_the_session(void)
{
    static const struct fake_step steps[] = {
        {FAKE_REPLY, 413, NULL,
         "{\"error\":{\"code\":\"too_large\",\"message\":\"m\",\"outcome\":\"not_applied\","
         "\"retryable\":false}}"},
        DONE};
    begin(steps, COUNT(steps));
    CHECK_EQ((uint64_t)-put("k"), (uint64_t)-ERR_TOO_LARGE);
    CHECK_EQ(put("k"), 0);
    CHECK(!same_header(0, 1, "RaftKV-Client"));
    CHECK(header_is(1, "RaftKV-Seq", "1"));
    end();
}

#define SESSION_UNKNOWN                                                                            \
    "{\"error\":{\"code\":\"session_unknown\",\"message\":\"m\",\"outcome\":\"not_applied\","      \
    "\"retryable\":false}}"

/* Unused for a day, or pushed out by others: a client that lives long must not fail for that. */
static void a_forgotten_session_begins_anew(void)
{
    static const struct fake_step steps[] = {DONE, {FAKE_REPLY, 409, NULL, SESSION_UNKNOWN}, DONE};
    begin(steps, COUNT(steps));
    CHECK_EQ(put("k"), 0);
    CHECK_EQ(put("k"), 0);
    CHECK_EQ(reply.sends, 2);
    REQUIRE(fake_node_request_count(node) == 3);
    CHECK(same_header(0, 1, "RaftKV-Client") && header_is(1, "RaftKV-Seq", "2"));
    CHECK(!same_header(1, 2, "RaftKV-Client") && header_is(2, "RaftKV-Seq", "1"));
    end();
}

/* … unless the write may have been applied before it was forgotten. */
static void a_session_forgotten_behind_a_lost_write_stays_unknown(void)
{
    static const struct fake_step steps[] = {
        DONE, {FAKE_RESET, 0, NULL, NULL}, {FAKE_REPLY, 409, NULL, SESSION_UNKNOWN}, DONE};
    begin(steps, COUNT(steps));
    CHECK_EQ(put("k"), 0);
    CHECK_EQ((uint64_t)-put("k"), (uint64_t)-ERR_UNKNOWN);
    CHECK_EQ(reply.sends, 2);
    CHECK_EQ(fake_node_request_count(node), 3);
    end();
}

/* Number 1 needs no session to be known: who says so does not keep the contract, and is not asked
 * again and again. */
static void a_first_number_is_never_unknown(void)
{
    static const struct fake_step steps[] = {{FAKE_REPLY, 409, NULL, SESSION_UNKNOWN}, DONE};
    begin(steps, COUNT(steps));
    CHECK_EQ((uint64_t)-put("k"), (uint64_t)-ERR_SESSION_UNKNOWN);
    CHECK_EQ(reply.outcome, OUTCOME_NOT_APPLIED);
    CHECK_EQ(reply.sends, 1);
    end();
}

static void reads_and_changes_have_no_session(void)
{
    static const struct fake_step steps[] = {DONE, DONE};
    begin(steps, COUNT(steps));
    CHECK_EQ(client_get(client, slice_str("k"), true, &reply, &err), 0);
    CHECK_EQ(client_change(client, CLIENT_POST, "/leader", slice_str("{}"), &reply, &err), 0);
    CHECK(header_is(0, "RaftKV-Client", "") && header_is(0, "RaftKV-Seq", ""));
    CHECK(header_is(1, "RaftKV-Client", "") && header_is(1, "RaftKV-Seq", ""));
    end();
}

static void a_replayed_answer_is_told(void)
{
    static const struct fake_step steps[] = {
        {FAKE_CLOSE, 0, NULL, NULL},
        {FAKE_REPLY, 200, "RaftKV-Replayed: 1\r\nRaftKV-Index: 77\r\n", ITEM}};
    begin(steps, COUNT(steps));
    CHECK_EQ(put("k"), 0);
    CHECK(reply.replayed);
    CHECK(reply.has_index);
    CHECK_EQ(reply.index, 77);
    end();
}

/* ---- libcurl's own second sending ---- */

static const struct fake_step dying[] = {DONE, {FAKE_CLOSE, 0, NULL, NULL}, DONE};

static void a_kept_connection_dies_under_a_change(void)
{
    begin(dying, COUNT(dying));
    CHECK_EQ(client_read(client, "/status", &reply, &err), 0);
    CHECK_EQ((uint64_t)-client_change(client, CLIENT_DELETE, "/members/a", slice_of(NULL, 0),
                                      &reply, &err),
             (uint64_t)-ERR_UNKNOWN);
    CHECK_EQ(reply.outcome, OUTCOME_UNKNOWN);
    CHECK_EQ(reply.sends, 1);
    CHECK_EQ(fake_node_request_count(node), 2);
    CHECK_EQ(fake_node_request(node, 1)->connection, 1); /* it was the kept one */
    end();
}

static void a_kept_connection_dies_under_a_write(void)
{
    begin(dying, COUNT(dying));
    CHECK_EQ(client_read(client, "/status", &reply, &err), 0);
    CHECK_EQ(put("k"), 0);
    CHECK_EQ(reply.sends, 2);
    REQUIRE(fake_node_request_count(node) == 3);
    CHECK_EQ(fake_node_request(node, 1)->connection, 1);
    CHECK(same_header(1, 2, "RaftKV-Client") && same_header(1, 2, "RaftKV-Seq"));
    CHECK_EQ(fake_node_request(node, 2)->body_len, 1);
    end();
}

/* The first sending may have been applied, whatever the answer to the second says. */
static void a_kept_connection_dies_and_the_next_is_refused(void)
{
    static const struct fake_step steps[] = {
        DONE,
        {FAKE_CLOSE, 0, NULL, NULL},
        {FAKE_REPLY, 503, NULL,
         "{\"error\":{\"code\":\"no_leader\",\"message\":\"m\",\"outcome\":\"not_applied\","
         "\"retryable\":true,\"retry_after_ms\":60000}}"}};
    begin(steps, COUNT(steps));
    CHECK_EQ(client_read(client, "/status", &reply, &err), 0);
    CHECK_EQ((uint64_t)-put("k"), (uint64_t)-ERR_UNKNOWN);
    CHECK_EQ(reply.outcome, OUTCOME_UNKNOWN);
    CHECK_EQ(reply.sends, 2);
    CHECK_EQ(fake_node_request(node, 1)->connection, 1);
    end();
}

static void a_kept_connection_dies_under_a_read(void)
{
    begin(dying, COUNT(dying));
    CHECK_EQ(client_read_from(client, 0, "/node", &reply, &err), 0);
    CHECK_EQ(client_read_from(client, 0, "/node", &reply, &err), 0);
    CHECK_EQ(reply.sends, 2);
    end();
}

/* ---- targets and headers ---- */

static void keys_go_out_as_they_are(void)
{
    static const struct fake_step steps[] = {DONE, DONE, DONE, DONE};
    begin(steps, COUNT(steps));
    CHECK_EQ(put("a/../b"), 0);
    CHECK(target_begins(0, "/kv/a/../b?timeout="));
    CHECK_EQ(put("."), 0);
    CHECK(target_begins(1, "/kv/.?timeout="));
    CHECK_EQ(put("a+b %?#\xff"), 0);
    CHECK(target_begins(2, "/kv/a%2Bb%20%25%3F%23%FF?timeout="));
    CHECK_EQ(client_get(client, slice_of("a\0b", 3), true, &reply, &err), 0);
    CHECK(target_begins(3, "/kv/a%00b?timeout="));
    end();
}

static void headers_of_a_write(void)
{
    static const struct fake_step steps[] = {DONE, DONE, DONE};
    size_t big_len = 3 << 20;
    uint8_t *big = mem_alloc(big_len);
    memset(big, 'x', big_len);
    begin(steps, COUNT(steps));
    CHECK_EQ(client_put(client, slice_str("k"), slice_of(big, big_len), CONDITION_ABSENT, 0, &reply,
                        &err),
             0);
    CHECK(strcmp(fake_node_request(node, 0)->method, "PUT") == 0);
    CHECK(header_is(0, "If-None-Match", "*"));
    CHECK(header_is(0, "Content-Type", "application/octet-stream"));
    CHECK(header_is(0, "Expect", ""));
    CHECK_EQ(fake_node_request(node, 0)->body_len, big_len);
    CHECK_EQ(reply.version, 42);
    CHECK_EQ(
        client_delete(client, slice_str("k"), CONDITION_VERSION, UINT64_C(1) << 52, &reply, &err),
        0);
    CHECK(strcmp(fake_node_request(node, 1)->method, "DELETE") == 0);
    CHECK(header_is(1, "If-Match", "\"4503599627370496\""));
    CHECK(header_is(1, "If-None-Match", "") && header_is(1, "Content-Type", ""));
    CHECK(reply.deleted);
    CHECK_EQ(client_put(client, slice_str("k"), slice_of(NULL, 0), CONDITION_NONE, 0, &reply, &err),
             0);
    CHECK_EQ(fake_node_request(node, 2)->body_len, 0);
    CHECK(header_is(2, "Content-Length", "0"));
    end();
    mem_free(big);
}

static void reads_ask_for_what_they_want(void)
{
    static const struct fake_step steps[] = {
        DONE, DONE, {FAKE_REPLY, 200, NULL, PAGE}, {FAKE_REPLY, 200, NULL, PAGE}};
    node = fake_node_start(steps, COUNT(steps));
    struct client_options options = {
        .endpoints = fake_node_url(node), .timeout_ms = 2000, .consistency = "stale"};
    must(client_new(&options, &client, NULL) == 0);
    client_reply_init(&reply);
    CHECK_EQ(client_get(client, slice_str("k"), true, &reply, &err), 0);
    CHECK(header_is(0, "Accept", "application/octet-stream"));
    CHECK(target_begins(0, "/kv/k?consistency=stale&timeout=1800ms"));
    CHECK_EQ(client_get(client, slice_str("k"), false, &reply, &err), 0);
    CHECK(header_is(1, "Accept", "application/json"));
    struct api_page page;
    struct client_scan scan = {.prefix = slice_str("a&b=c "),
                               .start = slice_str("x"),
                               .limit = 7,
                               .reverse = true,
                               .keys_only = true};
    CHECK_EQ(client_scan(client, &scan, &reply, &page, &err), 0);
    CHECK(target_begins(2, "/kv?prefix=a%26b%3Dc%20&start=x&consistency=stale&limit=7&reverse&"
                           "keys_only&timeout="));
    CHECK_EQ(page.index, 9);
    api_page_release(&page);
    scan = (struct client_scan){.prefix = slice_str(""), .end = slice_str("y"), .cursor = "c_-="};
    CHECK_EQ(client_scan(client, &scan, &reply, NULL, &err), 0);
    CHECK(target_begins(3, "/kv?prefix=&end=y&cursor=c_-%3D&consistency=stale&timeout="));
    end();
}

/* A stranger answers everything with 200: a value is one of ours only if it has a version. */
static void a_value_has_a_version(void)
{
    static const struct fake_step steps[] = {{FAKE_REPLY, 200, NULL, "<html>"},
                                             {FAKE_REPLY, 200, "ETag: \"x\"\r\n", "<html>"},
                                             {FAKE_REPLY, 200, "ETag: W/\"42\"\r\n", "v"}};
    begin(steps, COUNT(steps));
    int code = client_get(client, slice_str("k"), true, &reply, &err);
    CHECK_EQ(client_exit_status(code, &reply), 70);
    CHECK_EQ(reply.sends, 3);
    end();
}

static void no_proxy_is_asked(void)
{
    static const struct fake_step steps[] = {DONE};
    setenv("http_proxy", fake_refusing_url(), 1);
    setenv("all_proxy", fake_refusing_url(), 1);
    begin(steps, COUNT(steps));
    CHECK_EQ(put("k"), 0);
    CHECK(target_begins(0, "/kv/k?"));
    end();
    unsetenv("http_proxy");
    unsetenv("all_proxy");
}

static void no_redirect_is_followed(void)
{
    static const struct fake_step there[] = {DONE, DONE, DONE, DONE};
    struct fake_node *other = fake_node_start(there, COUNT(there));
    char location[200];
    snprintf(location, sizeof(location), "Location: %s/kv/k\r\n", fake_node_url(other));
    struct fake_step steps[3];
    for (size_t i = 0; i < COUNT(steps); i++)
        steps[i] = (struct fake_step){FAKE_REPLY, 301 + (int)i, location, ""};
    begin(steps, COUNT(steps));
    CHECK(client_get(client, slice_str("k"), true, &reply, &err) != 0);
    CHECK_EQ(fake_node_request_count(other), 0);
    end();
    fake_node_stop(other);
}

/* ---- endpoints and time ---- */

static void the_next_endpoint_is_asked(void)
{
    static const struct fake_step steps[] = {DONE, DONE};
    char endpoints[256];
    node = fake_node_start(steps, COUNT(steps));
    snprintf(endpoints, sizeof(endpoints), "%s/,%s", fake_refusing_url(), fake_node_url(node) + 7);
    begin_with(endpoints, 3000);
    CHECK_EQ(client_change(client, CLIENT_POST, "/leader", slice_str("{}"), &reply, &err), 0);
    CHECK_EQ(reply.sends, 1);
    CHECK(strcmp(reply.endpoint, fake_node_url(node)) == 0);
    CHECK_EQ(put("k"), 0); /* and stays the one */
    CHECK_EQ(fake_node_request_count(node), 2);
    end();
}

/* The first that answers says which cluster it is; a node of another one, which came to an endpoint
 * since, has no word in it: neither its refusal nor its silence about the key counts. */
static void another_cluster_is_left(void)
{
    static const char id[] = "00112233445566778899aabbccddeeff";
    static const struct fake_step steps[] = {
        {FAKE_REPLY, 200, "RaftKV-Cluster: 00112233445566778899aabbccddeeff\r\nETag: \"42\"\r\n",
         ITEM},
        DONE,
        DONE};
    static const struct fake_step foreign[] = {
        {FAKE_REPLY, 412, "RaftKV-Cluster: ffeeddccbbaa99887766554433221100\r\n",
         "{\"error\":{\"code\":\"wrong_cluster\",\"message\":\"m\",\"outcome\":\"not_applied\","
         "\"retryable\":false}}"}};
    char endpoints[256];
    struct fake_node *other = fake_node_start(foreign, 1);
    node = fake_node_start(steps, COUNT(steps));
    snprintf(endpoints, sizeof(endpoints), "%s,%s", fake_node_url(node), fake_node_url(other));
    begin_with(endpoints, 3000);
    CHECK_EQ(put("k"), 0);
    CHECK(header_is(0, "RaftKV-Cluster", "")); /* it knows none yet */
    client_turn(client);
    CHECK_EQ(put("k"), 0);
    CHECK_EQ(reply.sends, 2);
    CHECK(header_is(1, "RaftKV-Cluster", id));
    char got[256];
    fake_request_header(fake_node_request(other, 0), "RaftKV-Cluster", got);
    CHECK(strcmp(got, id) == 0);
    CHECK_EQ(put("k"), 0); /* and it did not learn from the stranger */
    CHECK(header_is(2, "RaftKV-Cluster", id));
    end();
    fake_node_stop(other);
    node = fake_node_start(steps, 1);
    const struct client_options named = {
        .endpoints = fake_node_url(node), .timeout_ms = 3000, .cluster = id};
    REQUIRE(client_new(&named, &client, &err) == 0);
    client_reply_init(&reply);
    CHECK_EQ(put("k"), 0);
    CHECK(header_is(0, "RaftKV-Cluster", id)); /* told beforehand */
    end();
}

static void a_removed_node_is_left(void)
{
    static const struct fake_step removed[] = {
        {FAKE_REPLY, 503, NULL,
         "{\"error\":{\"code\":\"removed\",\"message\":\"m\",\"outcome\":\"not_applied\","
         "\"retryable\":false}}"}};
    static const struct fake_step steps[] = {DONE};
    char endpoints[256];
    struct fake_node *first = fake_node_start(removed, 1);
    node = fake_node_start(steps, COUNT(steps));
    snprintf(endpoints, sizeof(endpoints), "%s,%s", fake_node_url(first), fake_node_url(node));
    begin_with(endpoints, 3000);
    CHECK_EQ(client_change(client, CLIENT_DELETE, "/members/a", slice_of(NULL, 0), &reply, &err),
             0);
    CHECK_EQ(reply.sends, 2);
    end();
    fake_node_stop(first);
}

/* However much time there is: two seconds, then another is asked. */
static void a_silent_endpoint_is_left_soon(void)
{
    static const struct fake_step silent[] = {{FAKE_SILENT, 0, NULL, NULL}};
    static const struct fake_step steps[] = {DONE};
    char endpoints[256];
    struct fake_node *first = fake_node_start(silent, 1);
    node = fake_node_start(steps, COUNT(steps));
    snprintf(endpoints, sizeof(endpoints), "%s,%s", fake_node_url(first), fake_node_url(node));
    begin_with(endpoints, 60000);
    uint64_t before = clock_now_us();
    CHECK_EQ(put("k"), 0);
    CHECK(clock_now_us() - before < 10000000);
    end();
    fake_node_stop(first);
}

static void a_silent_endpoint_leaves_time_for_another(void)
{
    static const struct fake_step silent[] = {{FAKE_SILENT, 0, NULL, NULL}};
    static const struct fake_step steps[] = {DONE};
    char endpoints[256];
    struct fake_node *first = fake_node_start(silent, 1);
    node = fake_node_start(steps, COUNT(steps));
    snprintf(endpoints, sizeof(endpoints), "%s,%s", fake_node_url(first), fake_node_url(node));
    begin_with(endpoints, 1000);
    CHECK_EQ(put("k"), 0);
    CHECK_EQ(reply.sends, 2);
    char id[2][256];
    fake_request_header(fake_node_request(first, 0), "RaftKV-Client", id[0]);
    fake_request_header(fake_node_request(node, 0), "RaftKV-Client", id[1]);
    CHECK(id[0][0] && strcmp(id[0], id[1]) == 0);
    end();
    fake_node_stop(first);
}

static void a_change_waits_for_a_silent_endpoint(void)
{
    static const struct fake_step silent[] = {{FAKE_SILENT, 0, NULL, NULL}};
    char endpoints[256];
    node = fake_node_start(silent, 1);
    snprintf(endpoints, sizeof(endpoints), "%s,%s", fake_node_url(node), fake_refusing_url());
    begin_with(endpoints, 1000);
    uint64_t before = clock_now_us();
    int code = client_change(client, CLIENT_POST, "/leader", slice_str("{}"), &reply, &err);
    CHECK_EQ((uint64_t)-code, (uint64_t)-ERR_UNKNOWN);
    CHECK(clock_now_us() - before >= 990000);
    end();
}

static void retry_after_is_kept(void)
{
    static const struct fake_step steps[] = {{FAKE_REPLY, 429, "Retry-After: 1\r\n", OVERLOADED},
                                             DONE};
    begin(steps, COUNT(steps));
    uint64_t before = clock_now_us();
    CHECK_EQ(put("k"), 0);
    CHECK(clock_now_us() - before >= 1000000);
    CHECK_EQ(reply.sends, 2);
    end();
}

static void a_longer_retry_after_ends_the_call(void)
{
    static const struct fake_step steps[] = {{FAKE_REPLY, 429, "Retry-After: 60\r\n", OVERLOADED}};
    begin(steps, COUNT(steps));
    uint64_t before = clock_now_us();
    int code = put("k");
    CHECK_EQ((uint64_t)-code, (uint64_t)-ERR_OVERLOADED);
    CHECK_EQ(client_exit_status(code, &reply), 4);
    CHECK(clock_now_us() - before < 2000000);
    CHECK_EQ(reply.sends, 1);
    end();
}

/* What is certainly not applied does not become unknown by a try that has no time for an answer. */
static void a_try_without_time_is_not_begun(void)
{
    static const struct fake_step steps[] = {
        {FAKE_REPLY, 429, NULL,
         "{\"error\":{\"code\":\"overloaded\",\"message\":\"m\",\"outcome\":\"not_applied\","
         "\"retryable\":true,\"retry_after_ms\":2900}}"},
        {FAKE_SILENT, 0, NULL, NULL}};
    begin(steps, COUNT(steps));
    int code = put("k");
    CHECK_EQ(client_exit_status(code, &reply), 4);
    CHECK_EQ(reply.outcome, OUTCOME_NOT_APPLIED);
    CHECK_EQ(reply.sends, 1);
    end();
}

/* ---- names ---- */

static pthread_mutex_t resolver_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t resolver_changed = PTHREAD_COND_INITIALIZER;
static bool resolver_release, resolver_done;

/* Before libc's, also for libcurl, which asks it for names only, not for addresses: one that is
 * looked up for as long as the test wants, though not for ever. */
int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                struct addrinfo **out)
{
    (void)service;
    (void)hints;
    (void)out;
    if (!name || strcmp(name, "slow.test") != 0)
        return EAI_NONAME;
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 20;
    pthread_mutex_lock(&resolver_lock);
    while (!resolver_release &&
           pthread_cond_timedwait(&resolver_changed, &resolver_lock, &until) == 0)
        continue;
    resolver_done = true;
    pthread_cond_signal(&resolver_changed);
    pthread_mutex_unlock(&resolver_lock);
    return EAI_AGAIN;
}

/* libcurl waits for its thread that looks up a name, which can take longer than the call may. */
static void a_name_server_that_is_silent_is_not_waited_for(void)
{
    static const struct fake_step steps[] = {DONE};
    char endpoints[256];
    node = fake_node_start(steps, COUNT(steps));
    snprintf(endpoints, sizeof(endpoints), "http://slow.test:1,%s", fake_node_url(node));
    begin_with(endpoints, 10000);
    CHECK_EQ(put("k"), 0);
    CHECK_EQ(reply.sends, 1);
    end();
    pthread_mutex_lock(&resolver_lock);
    CHECK(!resolver_done);
    resolver_release = true;
    pthread_cond_signal(&resolver_changed);
    while (!resolver_done)
        pthread_cond_wait(&resolver_changed, &resolver_lock);
    pthread_mutex_unlock(&resolver_lock);
}

static void one_endpoint_is_asked_once(void)
{
    static const struct fake_step steps[] = {{FAKE_REPLY_CLOSE, 503, NULL, NO_LEADER},
                                             {FAKE_RESET, 0, NULL, NULL}};
    begin(steps, COUNT(steps));
    CHECK_EQ(client_read_from(client, 0, "/readyz", &reply, &err), 0);
    CHECK_EQ(reply.status, 503);
    CHECK_EQ(reply.sends, 1);
    CHECK((uint64_t)-client_read_from(client, 0, "/readyz", &reply, &err) ==
          (uint64_t)-ERR_UNREACHABLE);
    CHECK_EQ(reply.sends, 1);
    end();
}

/* … and of the replies that are taken as they come too: another program's are none. */
static void a_stranger_is_told_from_a_node(void)
{
    static const struct fake_step steps[] = {{FAKE_STRANGER, 200, NULL, "{\"status\":\"green\"}"},
                                             {FAKE_STRANGER, 503, NULL, "{\"status\":\"red\"}"},
                                             {FAKE_STRANGER, 200, "ETag: \"42\"\r\n", "v"},
                                             DONE};
    begin(steps, COUNT(steps));
    for (int i = 0; i < 2; i++) {
        int code = client_read_from(client, 0, "/health", &reply, &err);
        CHECK_EQ(client_exit_status(code, &reply), 70);
        CHECK(strstr(err.text, "RaftKV") && strstr(err.text, fake_node_url(node)));
        CHECK(reply.node[0] == '\0');
    }
    CHECK_EQ(client_get(client, slice_str("k"), true, &reply, &err), 0);
    CHECK_EQ(reply.sends, 2);
    CHECK(strcmp(reply.node, "fake") == 0);
    end();
}

static void bad_endpoints_are_named(void)
{
    static const char *const bad[] = {"",           ",",         "http://a,",
                                      "http://a,,", "https://a", "http://a/b"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct client_options options = {.endpoints = bad[i], .timeout_ms = 1};
        struct client *c;
        struct err why = {0};
        case_row("\"%s\"", bad[i]);
        CHECK_EQ((uint64_t)-client_new(&options, &c, &why), (uint64_t)-ERR_USAGE);
        CHECK(strstr(why.text, "endpoint") != NULL);
    }
}

static const struct test_case cases[] = {
    {"a_retry_keeps_id_and_number", a_retry_keeps_id_and_number},
    {"a_failed_condition_keeps_the_session", a_failed_condition_keeps_the_session},
    {"a_refused_write_ends_the_session", a_refused_write_ends_the_session},
    {"a_forgotten_session_begins_anew", a_forgotten_session_begins_anew},
    {"a_session_forgotten_behind_a_lost_write_stays_unknown",
     a_session_forgotten_behind_a_lost_write_stays_unknown},
    {"a_first_number_is_never_unknown", a_first_number_is_never_unknown},
    {"reads_and_changes_have_no_session", reads_and_changes_have_no_session},
    {"a_replayed_answer_is_told", a_replayed_answer_is_told},
    {"a_kept_connection_dies_under_a_change", a_kept_connection_dies_under_a_change},
    {"a_kept_connection_dies_under_a_write", a_kept_connection_dies_under_a_write},
    {"a_kept_connection_dies_and_the_next_is_refused",
     a_kept_connection_dies_and_the_next_is_refused},
    {"a_kept_connection_dies_under_a_read", a_kept_connection_dies_under_a_read},
    {"keys_go_out_as_they_are", keys_go_out_as_they_are},
    {"headers_of_a_write", headers_of_a_write},
    {"reads_ask_for_what_they_want", reads_ask_for_what_they_want},
    {"a_value_has_a_version", a_value_has_a_version},
    {"no_proxy_is_asked", no_proxy_is_asked},
    {"no_redirect_is_followed", no_redirect_is_followed},
    {"the_next_endpoint_is_asked", the_next_endpoint_is_asked},
    {"a_removed_node_is_left", a_removed_node_is_left},
    {"another_cluster_is_left", another_cluster_is_left},
    {"a_silent_endpoint_is_left_soon", a_silent_endpoint_is_left_soon},
    {"a_silent_endpoint_leaves_time_for_another", a_silent_endpoint_leaves_time_for_another},
    {"a_change_waits_for_a_silent_endpoint", a_change_waits_for_a_silent_endpoint},
    {"retry_after_is_kept", retry_after_is_kept},
    {"a_longer_retry_after_ends_the_call", a_longer_retry_after_ends_the_call},
    {"a_try_without_time_is_not_begun", a_try_without_time_is_not_begun},
    {"a_name_server_that_is_silent_is_not_waited_for",
     a_name_server_that_is_silent_is_not_waited_for},
    {"a_stranger_is_told_from_a_node", a_stranger_is_told_from_a_node},
    {"one_endpoint_is_asked_once", one_endpoint_is_asked_once},
    {"bad_endpoints_are_named", bad_endpoints_are_named},
};
CASES_MAIN(cases)
