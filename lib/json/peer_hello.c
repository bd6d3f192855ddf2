/* What a node says of itself to those who form a cluster with it or add it; and refusals between
 * peers. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/json/api.h"
#include "lib/json/json_internal.h"
#include "lib/json/peer.h"

static int put_list(struct buf *out, const struct hello *h)
{
    int rc = buf_append_str(out, ",\"members\":[");
    for (uint32_t i = 0; rc == 0 && i < h->count; i++) {
        rc = json_put_text_after(out, i > 0 ? ",{\"name\":" : "{\"name\":", h->list[i].name);
        if (rc == 0)
            rc = json_put_text_after(out, ",\"url\":", h->list[i].url);
        if (rc == 0 && h->list[i].id != 0)
            rc = buf_append_str(out, ",\"id\":");
        if (rc == 0 && h->list[i].id != 0)
            rc = json_put_hex64(out, h->list[i].id);
        if (rc == 0)
            rc = buf_append_byte(out, '}');
    }
    return rc < 0 ? rc : buf_append_byte(out, ']');
}

int hello_encode(const struct hello *h, struct buf *out)
{
    int rc = json_put_u64_after(out, "{\"v\":", PEER_PROTOCOL_VERSION);
    if (rc == 0)
        rc = json_put_text_after(out, ",\"name\":", h->name);
    if (rc == 0)
        rc = json_put_text_after(out, ",\"url\":", h->url);
    if (rc == 0)
        rc = buf_append_str(out, ",\"id\":");
    if (rc == 0)
        rc = json_put_hex64(out, h->id);
    if (rc == 0)
        rc = buf_append_str(out, ",\"cluster\":");
    if (rc == 0)
        rc = h->has_cluster ? json_put_hex128(out, h->cluster) : buf_append_str(out, "null");
    if (rc == 0)
        rc = json_put_bool_after(out, ",\"empty\":", h->empty);
    if (rc == 0)
        rc = json_put_bool_after(out, ",\"waits\":", h->waits);
    if (rc == 0)
        rc = put_list(out, h);
    if (rc == 0)
        rc = buf_append_str(out, ",\"view\":");
    if (rc == 0)
        rc = json_put_hex128(out, h->view);
    return rc < 0 ? rc : buf_append_byte(out, '}');
}

static void read_list(struct json_reader *r, struct hello *h)
{
    const json_t *list = json_read_array(r, "members", true);
    size_t count = list ? json_array_size(list) : 0;
    if (count > HELLO_MEMBERS_MAX) {
        json_reader_fail(r, "members", "has more than %d elements", HELLO_MEMBERS_MAX);
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct json_reader inner;
        if (!json_read_element(r, "members", list, i, &inner))
            return;
        json_read_name(&inner, "name", true, h->list[i].name);
        json_read_url(&inner, "url", true, h->list[i].url);
        json_read_hex64(&inner, "id", false, &h->list[i].id);
        json_read_close(r, &inner, MEMBERS_EXACT);
        /* While a member is replaced, its name is there twice; in a list of --cluster never. */
        int order = i > 0 ? strcmp(h->list[i - 1].name, h->list[i].name) : -1;
        if (order > 0 || (order == 0 && !h->has_cluster))
            json_reader_fail(r, "members", "must be sorted by name, no name twice");
    }
    h->count = (uint32_t)count;
}

static void read_hello(struct json_reader *r, struct hello *h)
{
    uint64_t version;
    if (json_read_u64(r, "v", true, &version) && version != PEER_PROTOCOL_VERSION)
        json_reader_fail(r, "v", "is %" PRIu64 ": this node speaks version %d", version,
                         PEER_PROTOCOL_VERSION);
    json_read_name(r, "name", true, h->name);
    json_read_url(r, "url", true, h->url);
    if (json_read_hex64(r, "id", true, &h->id) && h->id == 0)
        json_reader_fail(r, "id", "must not be 0");
    const json_t *cluster = json_object_get(r->object, "cluster");
    if (json_is_null(cluster))
        json_read(r, "cluster", true);
    else
        h->has_cluster = json_read_hex128(r, "cluster", true, &h->cluster);
    json_read_bool(r, "empty", true, &h->empty);
    json_read_bool(r, "waits", true, &h->waits);
    read_list(r, h);
    json_read_hex128(r, "view", true, &h->view);
}

int hello_decode(struct slice body, struct hello *h, struct err *err)
{
    if (body.len > LIMIT_PEER_HELLO_BYTES)
        return err_set(err, ERR_BAD_REQUEST, "hello: more than %d bytes", LIMIT_PEER_HELLO_BYTES);
    json_t *root = NULL;
    int rc = json_parse_object(body, LIMIT_JSON_DEPTH, &root, err);
    if (rc < 0)
        return rc;
    struct hello found = {0};
    struct json_reader r;
    json_reader_init(&r, root, err);
    read_hello(&r, &found);
    rc = json_reader_end(&r, MEMBERS_EXACT);
    if (rc == 0)
        *h = found;
    json_decref(root);
    return rc;
}

/* ---- refusals ---- */

int peer_refusal_encode(const struct peer_refusal *r, struct buf *out)
{
    struct api_error e = {
        .code = r->code,
        .retryable = r->code != ERR_FORBIDDEN && r->code != ERR_WRONG_CLUSTER &&
                     r->code != ERR_BAD_REQUEST && r->code != ERR_REMOVED,
        .has_configuration_index = r->configuration_index > 0,
        .configuration_index = r->configuration_index,
    };
    snprintf(e.message, sizeof(e.message), "%s", r->message);
    return api_error_encode(&e, out);
}

int peer_refusal_decode(struct slice body, struct peer_refusal *r, struct err *err)
{
    if (body.len > LIMIT_PEER_HELLO_BYTES)
        return err_set(err, ERR_BAD_REQUEST, "refusal: more than %d bytes", LIMIT_PEER_HELLO_BYTES);
    struct api_error e;
    int rc = api_error_decode(body, &e, err);
    if (rc < 0)
        return rc;
    *r = (struct peer_refusal){.code = e.code, .configuration_index = e.configuration_index};
    snprintf(r->message, sizeof(r->message), "%.*s", (int)sizeof(r->message) - 1, e.message);
    return 0;
}
