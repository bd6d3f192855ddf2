/* The answer to POST /batch. */
#include "lib/json/api.h"
#include "lib/json/json_internal.h"

static int put_deleted(struct buf *out, struct slice key, bool deleted, bool first)
{
    int rc = buf_append_str(out, first ? "{" : ",{");
    if (rc == 0)
        rc = json_bytes_member("key", key, out);
    if (rc == 0)
        rc = json_put_bool_after(out, ",\"deleted\":", deleted);
    return rc < 0 ? rc : buf_append_byte(out, '}');
}

int api_batch_reply_encode(struct slice writes, const struct apply_result *result, struct buf *out)
{
    struct command_write w;
    uint64_t puts = 0;
    for (struct slice rest = writes; command_write_next(&rest, &w);)
        puts += w.op == COMMAND_PUT;
    int rc = json_put_u64_after(out, "{\"version\":", result->version);
    if (rc == 0)
        rc = json_put_u64_after(out, ",\"timestamp\":", result->timestamp_ms);
    if (rc == 0)
        rc = json_put_u64_after(out, ",\"puts\":", puts);
    if (rc == 0)
        rc = buf_append_str(out, ",\"deletes\":[");
    bool first = true;
    struct slice rest = writes;
    for (uint32_t i = 0; rc == 0 && command_write_next(&rest, &w); i++) {
        if (w.op != COMMAND_DELETE)
            continue;
        rc = put_deleted(out, w.key, batch_existed(result->batch_existed, i), first);
        first = false;
    }
    return rc < 0 ? rc : buf_append_str(out, "]}");
}

int api_batch_reply_decode(struct slice body, struct api_batch_reply *reply, struct err *err)
{
    json_t *root = NULL;
    int rc = json_parse_object(body, LIMIT_JSON_DEPTH, &root, err);
    if (rc < 0)
        return rc;
    struct api_batch_reply found = {0};
    struct json_reader r, inner;
    json_reader_init(&r, root, err);
    json_read_u64(&r, "version", true, &found.version);
    json_read_u64(&r, "timestamp", true, &found.timestamp_ms);
    json_read_u64(&r, "puts", true, &found.puts);
    const json_t *deletes = json_read_array(&r, "deletes", true);
    for (size_t i = 0; i < json_array_size(deletes); i++) {
        bool deleted;
        if (!json_read_element(&r, "deletes", deletes, i, &inner))
            break;
        json_read_bool(&inner, "deleted", true, &deleted);
        json_read_close(&r, &inner, MEMBERS_MORE);
        found.deletes++;
        found.deleted += deleted;
    }
    rc = json_reader_end(&r, MEMBERS_MORE);
    if (rc == 0)
        *reply = found;
    json_decref(root);
    return rc;
}
