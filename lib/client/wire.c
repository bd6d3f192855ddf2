/* One HTTP exchange through libcurl's easy interface; see wire_internal.h. */
#include "lib/client/wire_internal.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "lib/base/check.h"
#include "lib/base/mem.h"
#include "lib/base/opt.h"
#include "lib/base/version.h"
#include "lib/net/curl_usual.h"

struct wire {
    CURL *curl;
    struct buf body;
    const struct wire_request *request; /* while an exchange runs */
    struct wire_reply *reply;
    bool over_limit;
    char detail[CURL_ERROR_SIZE + 64];
};

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;
static CURLcode curl_global;

static void init_curl(void)
{
    curl_global = curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* Called before each sending, also the one that libcurl makes by itself on a fresh connection. */
static int on_send(void *argument, char *remote, char *local, int remote_port, int local_port)
{
    (void)remote;
    (void)local;
    (void)remote_port;
    (void)local_port;
    struct wire *w = argument;
    if (w->reply->sends > 0 && !w->request->send_again)
        return CURL_PREREQFUNC_ABORT;
    w->reply->sends++;
    return CURL_PREREQFUNC_OK;
}

static size_t on_body(char *data, size_t size, size_t count, void *argument)
{
    struct wire *w = argument;
    if (buf_append(&w->body, data, size * count) != 0) {
        w->over_limit = true;
        return 0;
    }
    return size * count;
}

/* The value of header `name` if `line` is that, without blanks around it. */
static bool header_value(const char *line, size_t len, const char *name, char *out, size_t room)
{
    size_t name_len = strlen(name);
    if (len <= name_len || strncasecmp(line, name, name_len) != 0 || line[name_len] != ':')
        return false;
    const char *from = line + name_len + 1;
    const char *to = line + len;
    while (from < to && (*from == ' ' || *from == '\t'))
        from++;
    while (to > from && strchr(" \t\r\n", to[-1]))
        to--;
    size_t n = (size_t)(to - from);
    if (n >= room || memchr(from, '\0', n))
        return false;
    memcpy(out, from, n);
    out[n] = '\0';
    return true;
}

static void parse_etag(char *value, struct wire_reply *reply)
{
    size_t len = strlen(value);
    if (len < 3 || value[0] != '"' || value[len - 1] != '"')
        return;
    value[len - 1] = '\0';
    reply->has_version = opt_parse_uint(value + 1, &reply->version) == 0;
}

static size_t on_header(char *line, size_t size, size_t count, void *argument)
{
    struct wire *w = argument;
    struct wire_reply *reply = w->reply;
    size_t len = size * count;
    char value[WIRE_HEADER_BYTES];
    uint64_t number;
    if (len > 5 && memcmp(line, "HTTP/", 5) == 0) {
        /* A new reply begins: what a 1xx before it said is void. */
        reply->has_version = reply->has_index = reply->replayed = false;
        reply->leader[0] = reply->node[0] = reply->cluster[0] = '\0';
        reply->exchange.retry_after_s = 0;
    } else if (header_value(line, len, "RaftKV-Leader", reply->leader, sizeof(reply->leader))) {
        return len;
    } else if (header_value(line, len, "RaftKV-Node", reply->node, sizeof(reply->node))) {
        return len;
    } else if (header_value(line, len, "RaftKV-Cluster", reply->cluster, sizeof(reply->cluster))) {
        return len;
    } else if (header_value(line, len, "ETag", value, sizeof(value))) {
        parse_etag(value, reply);
    } else if (header_value(line, len, "RaftKV-Index", value, sizeof(value))) {
        reply->has_index = opt_parse_uint(value, &reply->index) == 0;
    } else if (header_value(line, len, "RaftKV-Replayed", value, sizeof(value))) {
        reply->replayed = strcmp(value, "1") == 0;
    } else if (header_value(line, len, "Retry-After", value, sizeof(value))) {
        if (opt_parse_uint(value, &number) == 0)
            reply->exchange.retry_after_s = number < 86400 ? (uint32_t)number : 86400;
    }
    return len;
}

int wire_new(struct wire **out, struct err *err)
{
    pthread_once(&curl_once, init_curl);
    if (curl_global != CURLE_OK)
        return err_set(err, ERR_IO, "cannot initialise libcurl: %s",
                       curl_easy_strerror(curl_global));
    CURL *curl = curl_easy_init();
    if (!curl)
        return err_set(err, ERR_IO, "cannot make a libcurl handle");
    struct wire *w = mem_zalloc(sizeof(*w));
    w->curl = curl;
    buf_init(&w->body, LIMIT_CLIENT_REPLY_BYTES);
    *out = w;
    return 0;
}

void wire_free(struct wire *w)
{
    if (!w)
        return;
    curl_easy_cleanup(w->curl);
    buf_release(&w->body);
    mem_free(w);
}

#define SET(option, value) ASSERT(curl_easy_setopt(w->curl, option, value) == CURLE_OK)

/* curl_easy_reset keeps connections and drops all options of the request before. */
static void set_up(struct wire *w, const struct wire_request *request, struct curl_slist *headers)
{
    curl_easy_reset(w->curl);
    curl_usual(w->curl);
    SET(CURLOPT_USERAGENT, "raftkv/" RAFTKV_VERSION);
    SET(CURLOPT_ERRORBUFFER, w->detail);
    SET(CURLOPT_PREREQFUNCTION, on_send);
    SET(CURLOPT_PREREQDATA, w);
    SET(CURLOPT_WRITEFUNCTION, on_body);
    SET(CURLOPT_WRITEDATA, w);
    SET(CURLOPT_HEADERFUNCTION, on_header);
    SET(CURLOPT_HEADERDATA, w);
    SET(CURLOPT_TIMEOUT_MS, (long)request->timeout_ms);
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)request->connect_timeout_ms);
    SET(CURLOPT_HTTPHEADER, headers);
    SET(CURLOPT_URL, request->url);
    if (request->body.data) {
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body.len);
        SET(CURLOPT_POSTFIELDS, (const char *)request->body.data);
    }
    SET(CURLOPT_CUSTOMREQUEST, request->method);
}

static enum exchange_end end_of(const struct wire *w, CURLcode code)
{
    if (code == CURLE_OK)
        return EXCHANGE_REPLIED;
    if (w->reply->sends == 0)
        return EXCHANGE_NOT_SENT;
    if (w->over_limit)
        return EXCHANGE_OVER_LIMIT;
    return code == CURLE_OPERATION_TIMEDOUT ? EXCHANGE_TIMED_OUT : EXCHANGE_BROKEN;
}

static void describe(struct wire *w, CURLcode code)
{
    if (w->over_limit)
        snprintf(w->detail, sizeof(w->detail), "the reply has over %d bytes",
                 LIMIT_CLIENT_REPLY_BYTES);
    else if (code == CURLE_ABORTED_BY_CALLBACK)
        snprintf(w->detail, sizeof(w->detail), "the connection was closed without a reply");
    else if (code == CURLE_OPERATION_TIMEDOUT && w->reply->sends > 0)
        snprintf(w->detail, sizeof(w->detail), "no reply within %u ms", w->request->timeout_ms);
    else if (w->detail[0] == '\0')
        snprintf(w->detail, sizeof(w->detail), "%s", curl_easy_strerror(code));
}

void wire_exchange(struct wire *w, const struct wire_request *request, struct wire_reply *reply)
{
    struct curl_slist *headers = curl_slist_append(NULL, "Expect:");
    ASSERT(headers);
    for (unsigned i = 0; i < request->header_count; i++) {
        struct curl_slist *longer = curl_slist_append(headers, request->headers[i]);
        ASSERT(longer);
        headers = longer;
    }
    memset(reply, 0, sizeof(*reply));
    w->request = request;
    w->reply = reply;
    w->over_limit = false;
    buf_clear(&w->body);
    set_up(w, request, headers);
    w->detail[0] = '\0';

    CURLcode code = curl_easy_perform(w->curl);
    long status = 0;
    curl_easy_getinfo(w->curl, CURLINFO_RESPONSE_CODE, &status);
    reply->exchange.end = end_of(w, code);
    reply->exchange.status = (int)status;
    reply->exchange.from_node = reply->node[0] != '\0';
    if (code == CURLE_OK)
        reply->exchange.body = slice_of(w->body.data, w->body.len);
    else
        describe(w, code);
    reply->exchange.detail = w->detail;
    curl_slist_free_all(headers);
    w->request = NULL;
    w->reply = NULL;
}
