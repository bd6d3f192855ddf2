/* Operations as text. */
#include <inttypes.h>
#include <string.h>

#include "lib/history/proof.h"

enum { SHOWN_BYTES = 48, SHOWN_ITEMS = 8 };

static int put_bytes(struct buf *out, struct slice s)
{
    int code = buf_append_byte(out, '"');
    size_t shown = s.len > SHOWN_BYTES ? SHOWN_BYTES : s.len;
    for (size_t i = 0; i < shown && code == 0; i++) {
        uint8_t c = s.data[i];
        if (c == '"' || c == '\\')
            code = buf_printf(out, "\\%c", c);
        else if (c < 0x20 || c >= 0x7f)
            code = buf_printf(out, "\\x%02x", c);
        else
            code = buf_append_byte(out, c);
    }
    if (code == 0)
        code = buf_append_byte(out, '"');
    if (code == 0 && shown < s.len)
        code = buf_printf(out, "… (%zu bytes)", s.len);
    return code;
}

static int put_value(const struct history *h, uint32_t value, struct buf *out)
{
    return value ? put_bytes(out, intern_get(&h->values, value)) : buf_append_str(out, "absent");
}

static int put_key(const struct history *h, uint32_t key, struct buf *out)
{
    return key ? put_bytes(out, intern_get(&h->keys, key)) : buf_append_str(out, "\"\"");
}

static int put_items(const struct history *h, const struct history_operation *op, struct buf *out)
{
    int code = buf_append_str(out, "{");
    for (uint32_t i = 0; i < op->item_count && i < SHOWN_ITEMS && code == 0; i++) {
        const struct history_item *item = &h->items[op->items + i];
        code = buf_append_str(out, i > 0 ? ", " : "");
        if (code == 0)
            code = put_key(h, item->key, out);
        if (code == 0)
            code = buf_append_str(out, ": ");
        if (code == 0)
            code = put_value(h, item->value, out);
    }
    if (code == 0 && op->item_count > SHOWN_ITEMS)
        code = buf_printf(out, ", %" PRIu32 " more", op->item_count - SHOWN_ITEMS);
    return code == 0 ? buf_append_byte(out, '}') : code;
}

/* What stands behind the key. */
static int put_rest(const struct history *h, const struct history_operation *op, struct buf *out)
{
    int code = 0;
    switch ((enum history_kind)op->kind) {
    case HISTORY_GET:
        code = buf_append_str(out, " -> ");
        return code == 0 ? put_value(h, op->value, out) : code;
    case HISTORY_PUT:
    case HISTORY_APPEND:
        code = buf_append_byte(out, ' ');
        return code == 0 ? put_value(h, op->value, out) : code;
    case HISTORY_CAS:
        code = buf_append_str(out, " from ");
        if (code == 0)
            code = put_value(h, op->expect, out);
        if (code == 0)
            code = buf_append_str(out, " to ");
        return code == 0 ? put_value(h, op->value, out) : code;
    case HISTORY_DIFFERS:
        code = buf_append_str(out, " -> not ");
        return code == 0 ? put_value(h, op->expect, out) : code;
    case HISTORY_DELETE:
        if (op->existed == HISTORY_MAY_EXIST)
            return 0;
        return buf_append_str(out, op->existed == HISTORY_EXISTED ? " -> was there"
                                                                  : " -> was absent");
    case HISTORY_SCAN:
        code = buf_append_str(out, " -> ");
        return code == 0 ? put_items(h, op, out) : code;
    case HISTORY_BATCH: return put_items(h, op, out);
    }
    return code;
}

int history_operation_text(const struct history *h, const struct history_operation *op,
                           struct buf *out)
{
    int code = buf_printf(out, "%s ", history_kind_name(op->kind));
    if (code == 0 && op->kind != HISTORY_BATCH)
        code = put_key(h, op->key, out);
    if (code == 0)
        code = put_rest(h, op, out);
    if (code == 0 && op->version)
        code = buf_printf(out, ", version %" PRIu64, op->version);
    if (code == 0 && op->index)
        code = buf_printf(out, ", index %" PRIu64, op->index);
    if (code == 0 && op->outcome == HISTORY_UNKNOWN)
        code = buf_append_str(out, ", outcome unknown");
    return code;
}

int history_part_text(const struct history_part *p, struct buf *out)
{
    if (p->key_count != 1)
        return buf_printf(out, "%" PRIu32 " keys", p->key_count);
    int code = buf_append_str(out, "key ");
    return code == 0 ? put_key(p->history, p->keys[0], out) : code;
}
