/* Classification of an exchange; see verdict_internal.h. No I/O. */
#include "lib/client/verdict_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { RETRY_AFTER_MAX_MS = 3600 * 1000 };

static void set_text(struct verdict *v, const char *text)
{
    snprintf(v->text, sizeof(v->text), "%s", text);
}

static void of_silence(const struct exchange *x, struct verdict *v)
{
    set_text(v, x->detail);
    switch (x->end) {
    case EXCHANGE_NOT_SENT:
        v->kind = VERDICT_UNREACHABLE;
        v->code = ERR_UNREACHABLE;
        break;
    case EXCHANGE_TIMED_OUT:
        v->kind = VERDICT_LOST;
        v->code = ERR_TIMEOUT;
        break;
    case EXCHANGE_OVER_LIMIT:
        v->kind = VERDICT_LOST;
        v->code = ERR_TOO_LARGE;
        break;
    case EXCHANGE_BROKEN:
    case EXCHANGE_REPLIED:
        v->kind = VERDICT_LOST;
        v->code = ERR_UNREACHABLE;
        break;
    }
}

/* A status without an error of ours in the body: what an HTTP parser refuses, or a stranger. */
static void of_bare_status(const struct exchange *x, struct verdict *v)
{
    snprintf(v->text, sizeof(v->text), "HTTP status %d without an error of RaftKV", x->status);
    switch (x->status) {
    case 400:
    case 411:
        v->kind = VERDICT_REFUSED;
        v->code = ERR_BAD_REQUEST;
        break;
    case 413:
    case 414:
    case 431: /* the target did not fit into the parser's memory */
        v->kind = VERDICT_REFUSED;
        v->code = ERR_TOO_LARGE;
        break;
    default:
        /* Even 404 and 412: a proxy's "not found" is not the cluster's. */
        v->kind = VERDICT_LOST;
        v->code = ERR_INTERNAL;
        break;
    }
}

/* Whether the write of this error may have been applied. Without a word on it, an error of the
 * client's making (4xx) was refused before, one of the server's making may have come after. */
static bool maybe_applied(const struct api_error *e, int status)
{
    switch (e->outcome) {
    case OUTCOME_NOT_APPLIED: return false;
    case OUTCOME_UNKNOWN: return true;
    case OUTCOME_NONE: return status >= 500;
    }
    return true;
}

static void of_error(const struct exchange *x, const struct api_error *e, bool write,
                     struct verdict *v)
{
    v->answered = true;
    v->code = e->code;
    v->evaluated = e->code == ERR_PRECONDITION_FAILED;
    v->has_version = e->has_version;
    v->version = e->version;
    set_text(v, e->message[0] ? e->message : err_name(e->code));
    if (e->code == ERR_TOO_LARGE && e->has_limit && !strstr(v->text, "limit")) {
        size_t len = strlen(v->text);
        snprintf(v->text + len, sizeof(v->text) - len, " (%" PRIu64 " bytes, limit %" PRIu64 ")",
                 e->actual, e->limit);
    }
    if (e->retry_after_ms > 0)
        v->retry_after_ms = e->retry_after_ms < RETRY_AFTER_MAX_MS ? (uint32_t)e->retry_after_ms
                                                                   : RETRY_AFTER_MAX_MS;
    else
        v->retry_after_ms = x->retry_after_s < RETRY_AFTER_MAX_MS / 1000 ? x->retry_after_s * 1000
                                                                         : RETRY_AFTER_MAX_MS;
    if (write && maybe_applied(e, x->status))
        v->kind = VERDICT_LOST;
    else
        v->kind = e->retryable ? VERDICT_RETRY : VERDICT_REFUSED;
    if (v->kind == VERDICT_REFUSED && (e->code == ERR_REMOVED || e->code == ERR_WRONG_CLUSTER)) {
        /* Not the cluster's answer, but that of a node which has none to give: another may. */
        v->kind = VERDICT_RETRY;
        v->answered = false;
    }
}

void verdict_of(const struct exchange *x, bool write, struct verdict *v)
{
    memset(v, 0, sizeof(*v));
    if (x->end != EXCHANGE_REPLIED) {
        of_silence(x, v);
        return;
    }
    if (x->status >= 200 && x->status <= 299) {
        if (!x->from_node) {
            verdict_garbled("it has no RaftKV-Node", v);
            return;
        }
        v->kind = VERDICT_DONE;
        v->evaluated = true;
        v->answered = true;
        return;
    }
    struct api_error e;
    if (api_error_decode(x->body, &e, NULL) == 0 && err_http_status(e.code) == x->status)
        of_error(x, &e, write, v);
    else
        of_bare_status(x, v);
}

void verdict_garbled(const char *why, struct verdict *v)
{
    memset(v, 0, sizeof(*v));
    v->kind = VERDICT_LOST;
    v->code = ERR_INTERNAL;
    snprintf(v->text, sizeof(v->text), "the reply is not one of RaftKV: %s", why);
}
