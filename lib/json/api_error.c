/* {"error":{"code":…,"message":…,"outcome":…,"retryable":…}}, and what some codes add to it. */
#include <string.h>

#include "lib/json/api.h"
#include "lib/json/json_internal.h"

static const char *const outcomes[] = {
    [OUTCOME_NOT_APPLIED] = "not_applied",
    [OUTCOME_UNKNOWN] = "unknown",
};

/* Codes below the line in the table of lib/base/err.h are ours alone; whoever let one through to a
 * client meant the public code of the same HTTP status. */
static int public_code(int code)
{
    switch (code) {
    case ERR_USAGE: return ERR_BAD_REQUEST;
    case ERR_IO:
    case ERR_CORRUPT: return ERR_INTERNAL;
    case ERR_LOCKED:
    case ERR_UNREACHABLE:
    case ERR_AGAIN: return ERR_NO_LEADER;
    case ERR_UNKNOWN: return ERR_TIMEOUT;
    default: return code;
    }
}

int api_error_encode(const struct api_error *e, struct buf *out)
{
    int rc = json_put_text_after(out, "{\"error\":{\"code\":", err_name(public_code(e->code)));
    if (rc == 0)
        rc = json_put_text_after(out, ",\"message\":", e->message);
    if (rc == 0 && e->outcome != OUTCOME_NONE)
        rc = json_put_text_after(out, ",\"outcome\":", outcomes[e->outcome]);
    if (rc == 0)
        rc = json_put_bool_after(out, ",\"retryable\":", e->retryable);
    if (rc == 0 && e->has_version)
        rc = json_put_u64_after(out, ",\"version\":", e->version);
    if (rc == 0 && e->has_limit) {
        rc = json_put_u64_after(out, ",\"limit\":", e->limit);
        if (rc == 0)
            rc = json_put_u64_after(out, ",\"actual\":", e->actual);
    }
    if (rc == 0 && e->retry_after_ms > 0)
        rc = json_put_u64_after(out, ",\"retry_after_ms\":", e->retry_after_ms);
    if (rc == 0 && e->has_configuration_index)
        rc = json_put_u64_after(out, ",\"configuration_index\":", e->configuration_index);
    return rc < 0 ? rc : buf_append_str(out, "}}");
}

static void read_error(struct json_reader *r, struct api_error *e)
{
    struct slice text;
    if (json_read_string(r, "code", true, &text)) {
        /* A string of jansson's is followed by a NUL. A newer node may know more codes. */
        int code = err_by_name((const char *)text.data);
        e->code = code ? public_code(code) : ERR_INTERNAL;
    }
    /* A longer message is cut: it is for people. */
    if (json_read_string(r, "message", true, &text)) {
        size_t len = text.len < sizeof(e->message) ? text.len : sizeof(e->message) - 1;
        memcpy(e->message, text.data, len);
        e->message[len] = '\0';
    }
    if (json_read_string(r, "outcome", false, &text)) {
        /* A word that is not known promises nothing. */
        bool not_applied = json_text_is(text, outcomes[OUTCOME_NOT_APPLIED]);
        e->outcome = not_applied ? OUTCOME_NOT_APPLIED : OUTCOME_UNKNOWN;
    }
    json_read_bool(r, "retryable", false, &e->retryable);
    e->has_version = json_read_u64(r, "version", false, &e->version);
    e->has_limit = json_read_u64(r, "limit", false, &e->limit);
    json_read_u64(r, "actual", false, &e->actual);
    json_read_u64(r, "retry_after_ms", false, &e->retry_after_ms);
    e->has_configuration_index =
        json_read_u64(r, "configuration_index", false, &e->configuration_index);
}

int api_error_decode(struct slice body, struct api_error *e, struct err *err)
{
    json_t *root = NULL;
    int rc = json_parse_object(body, LIMIT_JSON_DEPTH, &root, err);
    if (rc < 0)
        return rc;
    struct api_error found = {0};
    struct json_reader r, inner;
    json_reader_init(&r, root, err);
    if (json_read_object(&r, "error", true, &inner)) {
        read_error(&inner, &found);
        json_read_close(&r, &inner, MEMBERS_MORE);
    }
    rc = json_reader_end(&r, MEMBERS_MORE);
    if (rc == 0)
        *e = found;
    json_decref(root);
    return rc;
}
