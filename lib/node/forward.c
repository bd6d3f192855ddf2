/*
 * Any node answers any request: what only the leader can do goes to it, one hop and never two.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/node/node_internal.h"

enum {
    FORWARD_MARGIN_MS = 250, /* so that the leader's own word on a timeout arrives before ours */
    FORWARD_REPLY_MAX = 64 << 20,
    FORWARD_TIMING_MAX = 512,
};

struct forward {
    struct node *node;
    struct http_request *request;
    size_t bytes; /* of the body, which is kept until the leader has answered */
    void (*fallback)(struct node *, struct http_request *);
    uint64_t started_us;
};

/* Headers of the request that mean something to the leader, and of its reply that mean something to
 * the client. */
static const char *const there[] = {"If-Match",   "If-None-Match", "RaftKV-Client",
                                    "RaftKV-Seq", "Content-Type",  "Accept"};
static const char *const back[] = {"ETag", "RaftKV-Replayed", "Retry-After"};

/* What the leader says of its stages, and the way there and back; NULL if it says nothing. */
static const char *forwarded_timing(const struct forward *f, const struct http_result *result,
                                    struct buf *out)
{
    const char *stages = http_result_header(result, "Server-Timing");

    if (!stages || buf_append_str(out, stages) != 0) {
        return NULL;
    }
    timing_put(out, "forward", clock_now_us() - f->started_us);
    return (const char *)out->data;
}

bool request_forwarded(const struct http_request *r)
{
    return http_request_header(r, "RaftKV-Forwarded", NULL) != NULL;
}

static void forward_done(void *argument, const struct http_result *result)
{
    struct forward *f = argument;
    struct node *n = f->node;
    struct carry_answer a;
    struct buf body, timing;
    struct reply reply = {.status = result->status, .body = &body};
    const char *index, *timings;

    n->forwarding_bytes -= f->bytes;
    if (!carry_forward_outcome(result->sent, result->code, result->status, &a)) {
        n->meters.forward_failed++;
        if (f->fallback) {
            f->fallback(n, f->request);
        } else {
            reply_answer(n, f->request, &a);
        }
        mem_free(f);
        return;
    }
    buf_init(&body, FORWARD_REPLY_MAX);
    buf_append(&body, result->body.data, result->body.len);
    reply.content_type = http_result_header(result, "Content-Type");
    for (size_t i = 0; i < sizeof back / sizeof back[0]; i++) {
        const char *value = http_result_header(result, back[i]);

        if (value) {
            reply.extra[reply.extra_count++] = (struct http_header){back[i], value};
        }
    }
    buf_init(&timing, FORWARD_TIMING_MAX);
    timings = forwarded_timing(f, result, &timing);
    if (timings) {
        reply.extra[reply.extra_count++] = (struct http_header){"Server-Timing", timings};
    }
    index = http_result_header(result, "RaftKV-Index");
    if (index) {
        reply.index = strtoull(index, NULL, 10);
    }
    reply_send(n, f->request, &reply);
    buf_release(&timing);
    mem_free(f);
}

void forward_request(struct node *n, struct http_request *r, const struct member_address *leader,
                     const char *target, uint32_t timeout_ms,
                     void (*fallback)(struct node *, struct http_request *))
{
    struct http_header headers[8];
    struct forward *f;
    struct buf url;
    char id[HEX64_BYTES];
    struct http_call call = {
        .method = r->method,
        .headers = headers,
        .body = r->body.data,
        .body_len = r->body.len,
        .timeout_ms = timeout_ms + FORWARD_MARGIN_MS,
        .reply_max = FORWARD_REPLY_MAX,
        /* Of a write, the answer to a second sending would hide what became of the first. */
        .idempotent = fallback != NULL,
    };

    if (http_client_pending(n->client) > NODE_PENDING_WRITES ||
        n->forwarding_bytes + r->body.len > NODE_PENDING_BYTES) {
        reply_failure(n, r, ERR_OVERLOADED, "too many requests are on their way to the leader");
        return;
    }
    for (size_t i = 0; i < sizeof there / sizeof there[0]; i++) {
        const char *value = http_request_header(r, there[i], NULL);

        if (value) {
            headers[call.header_count++] = (struct http_header){there[i], value};
        }
    }
    headers[call.header_count++] = (struct http_header){"RaftKV-Forwarded", hex64(n->id, id)};
    headers[call.header_count++] = (struct http_header){"RaftKV-Cluster", n->header_cluster};
    buf_init(&url, LIMIT_URL_BYTES + 3 * LIMIT_KEY_BYTES + LIMIT_QUERY_BYTES + 64);
    buf_printf(&url, "%s%s", leader->url, target);
    f = mem_zalloc(sizeof *f);
    *f = (struct forward){.node = n,
                          .request = r,
                          .bytes = r->body.len,
                          .fallback = fallback,
                          .started_us = clock_now_us()};
    n->forwarding_bytes += f->bytes;
    n->meters.forwarded++;
    call.url = (const char *)url.data;
    http_client_call(n->client, &call, forward_done, f);
    buf_release(&url);
}

bool forward_redirect(struct node *n, struct http_request *r, const struct member_address *leader)
{
    struct reply reply = {.status = 307};
    struct buf location;

    buf_init(&location, LIMIT_URL_BYTES + 3 * LIMIT_KEY_BYTES + LIMIT_QUERY_BYTES + 64);
    buf_printf(&location, "%s%.*s", leader->url, (int)r->path.len, (const char *)r->path.data);
    if (r->query.data) {
        buf_printf(&location, "?%.*s", (int)r->query.len, (const char *)r->query.data);
    }
    reply.extra[reply.extra_count++] =
        (struct http_header){"Location", (const char *)location.data};
    n->meters.redirected++;
    reply_send(n, r, &reply);
    buf_release(&location);
    return true;
}
