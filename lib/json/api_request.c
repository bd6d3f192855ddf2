/* Requests with a body: strict, since a member that is misspelt must not be ignored. */
#include "lib/json/api.h"
#include "lib/json/json_internal.h"

int api_member_request_encode(const struct api_member_request *r, bool with_auto_promote,
                              struct buf *out)
{
    int rc = json_put_text_after(out, "{\"name\":", r->name);
    if (rc == 0)
        rc = json_put_text_after(out, ",\"url\":", r->url);
    if (rc == 0 && with_auto_promote)
        rc = json_put_bool_after(out, ",\"auto_promote\":", r->auto_promote);
    return rc < 0 ? rc : buf_append_byte(out, '}');
}

int api_member_request_decode(struct slice body, bool with_auto_promote,
                              struct api_member_request *request, struct err *err)
{
    json_t *root = NULL;
    int rc = json_parse_object(body, LIMIT_JSON_DEPTH, &root, err);
    if (rc < 0)
        return rc;
    struct api_member_request found = {0};
    struct json_reader r;
    json_reader_init(&r, root, err);
    json_read_name(&r, "name", true, found.name);
    json_read_url(&r, "url", true, found.url);
    if (!with_auto_promote || !json_read_bool(&r, "auto_promote", false, &found.auto_promote))
        found.auto_promote = true;
    rc = json_reader_end(&r, MEMBERS_EXACT);
    if (rc == 0)
        *request = found;
    json_decref(root);
    return rc;
}

int api_empty_request_decode(struct slice body, struct err *err)
{
    json_t *root = NULL;
    if (body.len == 0)
        return 0;
    int rc = json_parse_object(body, LIMIT_JSON_DEPTH, &root, err);
    if (rc < 0)
        return rc;
    struct json_reader r;
    json_reader_init(&r, root, err);
    rc = json_reader_end(&r, MEMBERS_EXACT);
    json_decref(root);
    return rc;
}

int api_leader_request_decode(struct slice body, struct api_leader_request *request,
                              struct err *err)
{
    struct api_leader_request found = {0};
    json_t *root = NULL;
    if (body.len == 0) { /* nothing said: the best follower */
        *request = found;
        return 0;
    }
    int rc = json_parse_object(body, LIMIT_JSON_DEPTH, &root, err);
    if (rc < 0)
        return rc;
    struct json_reader r;
    json_reader_init(&r, root, err);
    json_read_name(&r, "to", false, found.to);
    rc = json_reader_end(&r, MEMBERS_EXACT);
    if (rc == 0)
        *request = found;
    json_decref(root);
    return rc;
}
