/* Items and scan pages: the answers to reads and writes of keys. */
#include "lib/base/mem.h"
#include "lib/json/api.h"
#include "lib/json/json_internal.h"

/* ---- writing: hot, so by hand ---- */

static int put_item(struct buf *out, const struct row *row, bool with_value)
{
    int rc = buf_append_byte(out, '{');
    if (rc == 0)
        rc = json_bytes_member("key", row->key, out);
    if (rc == 0 && with_value) {
        rc = buf_append_byte(out, ',');
        if (rc == 0)
            rc = json_bytes_member("value", row->value, out);
    }
    if (rc == 0)
        rc = json_put_u64_after(out, ",\"version\":", row->version);
    if (rc == 0)
        rc = json_put_u64_after(out, ",\"timestamp\":", row->timestamp_ms);
    return rc < 0 ? rc : buf_append_byte(out, '}');
}

int api_item_encode(const struct row *row, bool with_value, struct buf *out)
{
    return put_item(out, row, with_value);
}

int api_deleted_encode(struct slice key, bool deleted, uint64_t version, struct buf *out)
{
    int rc = buf_append_byte(out, '{');
    if (rc == 0)
        rc = json_bytes_member("key", key, out);
    if (rc == 0)
        rc = json_put_bool_after(out, ",\"deleted\":", deleted);
    if (rc == 0)
        rc = json_put_u64_after(out, ",\"version\":", version);
    return rc < 0 ? rc : buf_append_byte(out, '}');
}

int api_page_begin(struct buf *out)
{
    return buf_append_str(out, "{\"items\":[");
}

int api_page_row(struct buf *out, const struct row *row, bool keys_only, bool first)
{
    int rc = first ? 0 : buf_append_byte(out, ',');
    return rc < 0 ? rc : put_item(out, row, !keys_only);
}

int api_page_end(struct buf *out, const char *next, uint64_t index)
{
    int rc = buf_append_str(out, "],\"next\":");
    if (rc == 0)
        rc = next ? json_put_text(out, next) : buf_append_str(out, "null");
    if (rc == 0)
        rc = json_put_u64_after(out, ",\"index\":", index);
    return rc < 0 ? rc : buf_append_byte(out, '}');
}

/* ---- reading: the tools do it ---- */

static void item_init(struct api_item *i)
{
    *i = (struct api_item){0};
    buf_init(&i->key, LIMIT_KEY_BYTES);
    buf_init(&i->value, LIMIT_VALUE_BYTES_CEILING);
}

void api_item_release(struct api_item *i)
{
    buf_release(&i->key);
    buf_release(&i->value);
}

static void read_item(struct json_reader *r, struct api_item *i)
{
    json_read_bytes(r, "key", "key_base64", true, LIMIT_KEY_BYTES, &i->key);
    i->has_value =
        json_read_bytes(r, "value", "value_base64", false, LIMIT_VALUE_BYTES_CEILING, &i->value);
    i->has_deleted = json_read_bool(r, "deleted", false, &i->deleted);
    json_read_u64(r, "version", true, &i->version);
    json_read_u64(r, "timestamp", false, &i->timestamp_ms);
}

int api_item_decode(struct slice body, struct api_item *i, struct err *err)
{
    json_t *root = NULL;
    int rc = json_parse_object(body, LIMIT_JSON_DEPTH, &root, err);
    if (rc < 0)
        return rc;
    struct api_item found;
    item_init(&found);
    struct json_reader r;
    json_reader_init(&r, root, err);
    read_item(&r, &found);
    rc = json_reader_end(&r, MEMBERS_MORE);
    if (rc == 0)
        *i = found;
    else
        api_item_release(&found);
    json_decref(root);
    return rc;
}

void api_page_release(struct api_page *p)
{
    for (size_t i = 0; i < p->count; i++)
        api_item_release(&p->items[i]);
    mem_free(p->items);
    mem_free(p->next);
    *p = (struct api_page){0};
}

static void read_page(struct json_reader *r, struct api_page *p)
{
    const json_t *items = json_read_array(r, "items", true);
    size_t count = items ? json_array_size(items) : 0;
    if (count > LIMIT_PAGE_ITEMS) {
        json_reader_fail(r, "items", "has more than %d elements", LIMIT_PAGE_ITEMS);
        return;
    }
    p->items = count ? mem_calloc(count, sizeof(*p->items)) : NULL;
    for (; p->count < count; p->count++) {
        struct json_reader inner;
        if (!json_read_element(r, "items", items, p->count, &inner))
            return;
        item_init(&p->items[p->count]);
        read_item(&inner, &p->items[p->count]);
        json_read_close(r, &inner, MEMBERS_MORE);
    }
    const json_t *next = json_read(r, "next", true);
    if (json_is_string(next) && json_string_length(next) <= LIMIT_CURSOR_BYTES)
        p->next = mem_strdup(json_string_value(next));
    else if (next && !json_is_null(next))
        json_reader_fail(r, "next", "must be a cursor or null");
    json_read_u64(r, "index", true, &p->index);
}

int api_page_decode(struct slice body, struct api_page *p, struct err *err)
{
    json_t *root = NULL;
    int rc = json_parse_object(body, LIMIT_JSON_DEPTH, &root, err);
    if (rc < 0)
        return rc;
    struct api_page found = {0};
    struct json_reader r;
    json_reader_init(&r, root, err);
    read_page(&r, &found);
    rc = json_reader_end(&r, MEMBERS_MORE);
    if (rc == 0)
        *p = found;
    else
        api_page_release(&found);
    json_decref(root);
    return rc;
}
