/*
 * Histories as JSON lines, the format that raftkv-bench and raftkv-check write:
 *
 *     {"process":3,"type":"invoke","op":"put","key":"k","value":"v","time":123}
 *     {"process":3,"type":"ok","op":"put","version":42,"time":456}
 *
 * Members that are not known here are passed over, but for those that would change what a scan
 * means.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/base/hash.h"
#include "lib/base/json_text.h"
#include "lib/base/mem.h"
#include "lib/history/parse_internal.h"

#define JSON_INTEGER_MAX ((UINT64_C(1) << 53) - 1)

struct line {
    struct history_parser *parser;
    struct history_event event;
    struct history_item item; /* of the element that is being read */
    uint32_t prefix;
    uint32_t seen, item_seen;        /* bits of the members' table */
    uint8_t item_kind;               /* of an element of "ops" */
    const char *scan_only_by_prefix; /* a member that a scan may not have */
};

/* ---- values ---- */

/* A string, or bytes in base64, as an id of `in`. */
static bool read_bytes(struct json_text *t, struct intern *in, bool base64, uint32_t *id)
{
    struct slice text;
    if (!json_text_string(t, &text))
        return false;
    if (!base64) {
        *id = intern_add(in, text);
        return true;
    }
    uint8_t *bytes = mem_alloc(text.len / 4 * 3 + 1);
    size_t len = 0;
    bool good =
        text.len % 4 == 0 &&
        (text.len == 0 || base64_decode(bytes, &len, (const char *)text.data, text.len) == 0);
    if (good)
        *id = intern_add(in, slice_of(bytes, len));
    mem_free(bytes);
    return good || json_text_fail(t, "base64 with padding is wanted");
}

static bool read_value(struct line *l, struct json_text *t, bool base64, uint32_t *id)
{
    if (!base64 && json_text_null(t)) {
        *id = 0;
        return true;
    }
    return read_bytes(t, &l->parser->history->values, base64, id);
}

static bool read_key(struct line *l, struct json_text *t, bool base64, uint32_t *id)
{
    return read_bytes(t, &l->parser->history->keys, base64, id);
}

static bool read_kind(struct json_text *t, uint8_t *kind)
{
    static const uint8_t kinds[] = {HISTORY_PUT,    HISTORY_GET,  HISTORY_CAS,  HISTORY_DELETE,
                                    HISTORY_APPEND, HISTORY_SCAN, HISTORY_BATCH};
    struct slice word;
    if (!json_text_string(t, &word))
        return false;
    for (size_t i = 0; i < sizeof(kinds); i++)
        if (slice_is(word, history_kind_name(kinds[i]))) {
            *kind = kinds[i];
            return true;
        }
    return json_text_fail(t, "\"op\" is none of put, get, delete, scan, batch, cas, append");
}

/* ---- elements of "items" and "ops" ---- */

enum { ITEM_KEY = 1, ITEM_VALUE = 2, ITEM_VERSION = 4, ITEM_OP = 8 };

static bool seen_twice(struct json_text *t, uint32_t *seen, uint32_t bit, struct slice name)
{
    if (*seen & bit)
        return !json_text_fail(t, "'%.*s' stands there twice", (int)name.len,
                               (const char *)name.data);
    *seen |= bit;
    return false;
}

static bool item_member(void *argument, struct json_text *t, struct slice name)
{
    struct line *l = argument;
    static const struct {
        const char *name;
        uint32_t bit;
        bool base64;
    } members[] = {
        {"key", ITEM_KEY, false},         {"value", ITEM_VALUE, false},
        {"version", ITEM_VERSION, false}, {"op", ITEM_OP, false},
        {"key_base64", ITEM_KEY, true},   {"value_base64", ITEM_VALUE, true},
    };
    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
        if (!slice_is(name, members[i].name))
            continue;
        if (seen_twice(t, &l->item_seen, members[i].bit, name))
            return false;
        switch (members[i].bit) {
        case ITEM_KEY: return read_key(l, t, members[i].base64, &l->item.key);
        case ITEM_VALUE: return read_value(l, t, members[i].base64, &l->item.value);
        case ITEM_OP: return read_kind(t, &l->item_kind);
        default: return json_text_u64(t, JSON_INTEGER_MAX, &l->item.version);
        }
    }
    return json_text_skip(t);
}

static bool read_item(struct line *l, struct json_text *t)
{
    l->item = (struct history_item){0};
    l->item_seen = 0;
    if (!json_text_object(t, item_member, l))
        return false;
    if (!(l->item_seen & ITEM_KEY))
        return json_text_fail(t, "'key' is missing in an element");
    return true;
}

static bool keep_item(struct line *l)
{
    history_add_item(l->parser->history, l->item);
    l->event.item_count++;
    return true;
}

static bool scanned_item(void *argument, struct json_text *t)
{
    struct line *l = argument;
    if (!read_item(l, t))
        return false;
    if (l->item.value == 0)
        return json_text_fail(t, "'value' is missing in an item");
    return keep_item(l);
}

static bool batched_item(void *argument, struct json_text *t)
{
    struct line *l = argument;
    if (!read_item(l, t))
        return false;
    if (!(l->item_seen & ITEM_OP) ||
        (l->item_kind != HISTORY_PUT && l->item_kind != HISTORY_DELETE))
        return json_text_fail(t, "'op' of an element must be put or delete");
    if ((l->item_kind == HISTORY_PUT) != (l->item.value != 0))
        return json_text_fail(t, "'value' stands with a put, and with nothing else");
    return keep_item(l);
}

static int item_order(const void *a, const void *b)
{
    const struct history_item *x = a, *y = b;
    return (x->key > y->key) - (x->key < y->key);
}

/* Of a batch each key may be there once; sorted, so that equal ones stand together. */
static bool read_batch(struct line *l, struct json_text *t)
{
    if (!json_text_array(t, batched_item, l))
        return false;
    struct history_item *items = l->parser->history->items + l->event.items;
    if (l->event.item_count == 0)
        return json_text_fail(t, "'ops' is empty");
    qsort(items, l->event.item_count, sizeof(*items), item_order);
    for (uint32_t i = 1; i < l->event.item_count; i++)
        if (items[i].key == items[i - 1].key)
            return json_text_fail(t, "a batch has a key twice");
    return true;
}

/* ---- members of a line ---- */

enum member {
    MEMBER_PROCESS,
    MEMBER_TYPE,
    MEMBER_OP,
    MEMBER_KEY,
    MEMBER_VALUE,
    MEMBER_EXPECT,
    MEMBER_PREFIX,
    MEMBER_ITEMS,
    MEMBER_OPS,
    MEMBER_VERSION,
    MEMBER_INDEX,
    MEMBER_TIME,
    MEMBER_DELETED,
    MEMBER_OF_SCAN,
};

/* A million lines look a name up here seven times each: the length tells most of them apart. */
#define MEMBER(name, member, base64)                                                               \
    {                                                                                              \
        name, sizeof(name) - 1, member, base64                                                     \
    }
static const struct member_row {
    const char *name;
    size_t len;
    enum member member;
    bool base64;
} member_rows[] = {
    MEMBER("process", MEMBER_PROCESS, false),
    MEMBER("type", MEMBER_TYPE, false),
    MEMBER("op", MEMBER_OP, false),
    MEMBER("key", MEMBER_KEY, false),
    MEMBER("value", MEMBER_VALUE, false),
    MEMBER("time", MEMBER_TIME, false),
    MEMBER("version", MEMBER_VERSION, false),
    MEMBER("index", MEMBER_INDEX, false),
    MEMBER("expect", MEMBER_EXPECT, false),
    MEMBER("prefix", MEMBER_PREFIX, false),
    MEMBER("items", MEMBER_ITEMS, false),
    MEMBER("ops", MEMBER_OPS, false),
    MEMBER("deleted", MEMBER_DELETED, false),
    MEMBER("key_base64", MEMBER_KEY, true),
    MEMBER("value_base64", MEMBER_VALUE, true),
    MEMBER("expect_base64", MEMBER_EXPECT, true),
    MEMBER("prefix_base64", MEMBER_PREFIX, true),
    MEMBER("start", MEMBER_OF_SCAN, false),
    MEMBER("end", MEMBER_OF_SCAN, false),
    MEMBER("limit", MEMBER_OF_SCAN, false),
    MEMBER("cursor", MEMBER_OF_SCAN, false),
    MEMBER("max_bytes", MEMBER_OF_SCAN, false),
    MEMBER("keys_only", MEMBER_OF_SCAN, false),
};

static bool read_type(struct line *l, struct json_text *t)
{
    struct slice word;
    if (!json_text_string(t, &word))
        return false;
    return parse_type(word, &l->event.type) ||
           json_text_fail(t, "\"type\" is none of invoke, ok, fail, info");
}

static bool read_process(struct line *l, struct json_text *t)
{
    uint64_t n;
    if (!json_text_u64(t, UINT32_MAX - 1, &n))
        return false;
    l->event.process = (uint32_t)n;
    return true;
}

static bool read_deleted(struct line *l, struct json_text *t)
{
    bool deleted;
    if (!json_text_bool(t, &deleted))
        return false;
    l->event.existed = deleted ? HISTORY_EXISTED : HISTORY_WAS_ABSENT;
    return true;
}

static bool read_items(struct line *l, struct json_text *t, bool batch)
{
    if (l->event.has_items)
        return json_text_fail(t, "'items' and 'ops' exclude each other");
    l->event.has_items = true;
    l->event.items = l->parser->history->item_count;
    return batch ? read_batch(l, t) : json_text_array(t, scanned_item, l);
}

static bool read_member(struct line *l, struct json_text *t, const struct member_row *row)
{
    struct history_event *e = &l->event;
    switch (row->member) {
    case MEMBER_PROCESS: return read_process(l, t);
    case MEMBER_TYPE: return read_type(l, t);
    case MEMBER_OP: e->has_kind = true; return read_kind(t, &e->kind);
    case MEMBER_KEY: return read_key(l, t, row->base64, &e->key);
    case MEMBER_VALUE: return read_value(l, t, row->base64, &e->value);
    case MEMBER_EXPECT: return read_value(l, t, row->base64, &e->expect);
    case MEMBER_PREFIX: return read_key(l, t, row->base64, &l->prefix);
    case MEMBER_ITEMS: return read_items(l, t, false);
    case MEMBER_OPS: return read_items(l, t, true);
    case MEMBER_VERSION: return json_text_u64(t, JSON_INTEGER_MAX, &e->version);
    case MEMBER_INDEX: return json_text_u64(t, JSON_INTEGER_MAX, &e->index);
    case MEMBER_TIME: e->has_ns = true; return json_text_u64(t, JSON_INTEGER_MAX, &e->ns);
    case MEMBER_DELETED: return read_deleted(l, t);
    case MEMBER_OF_SCAN: l->scan_only_by_prefix = row->name; return json_text_skip(t);
    }
    return false;
}

static bool line_member(void *argument, struct json_text *t, struct slice name)
{
    struct line *l = argument;
    for (size_t i = 0; i < sizeof(member_rows) / sizeof(member_rows[0]); i++) {
        const struct member_row *row = &member_rows[i];
        if (name.len != row->len || memcmp(name.data, row->name, row->len) != 0)
            continue;
        if (row->member != MEMBER_OF_SCAN && seen_twice(t, &l->seen, 1U << row->member, name))
            return false;
        return read_member(l, t, row);
    }
    return json_text_skip(t);
}

static const char *wrong_with(struct line *l)
{
    struct history_event *e = &l->event;
    if (!(l->seen & 1U << MEMBER_PROCESS))
        return "'process' is missing";
    if (!(l->seen & 1U << MEMBER_TYPE))
        return "'type' is missing";
    if (!e->has_kind && e->type == HISTORY_INVOKE)
        return "'op' is missing";
    if (e->has_kind && e->kind == HISTORY_SCAN) {
        if (l->scan_only_by_prefix)
            return "a scan is checked by its 'prefix' only: no start, end, limit, max_bytes, "
                   "cursor, keys_only";
        e->key = l->prefix;
    }
    return NULL;
}

int history_parse_json(struct history_parser *p, struct slice bytes, bool last, size_t *used,
                       struct err *err)
{
    struct slice text;
    if (!parse_line(bytes, last, &text, used))
        return 0;
    if (text.len == 0)
        return 0;
    struct line line = {.parser = p, .prefix = HISTORY_NO_ID};
    struct json_text t;
    history_event_init(&line.event);
    line.event.line = p->line;
    json_text_init(&t, text, &p->scratch);
    if (!json_text_object(&t, line_member, &line) || !json_text_end(&t))
        return parse_fail(p, p->line, err, "%s%s", t.why,
                          *used == text.len ? " (the file ends in this line)" : "");
    const char *wrong = wrong_with(&line);
    if (wrong)
        return parse_fail(p, p->line, err, "%s", wrong);
    return parse_event(p, &line.event, err);
}
