/* GET /kv: scans, their parameters, pages and cursors. */
#include "lib/base/limits.h"
#include "lib/node/http_kv_internal.h"

/* ---- a page */

struct page {
    struct client_request *request;
    struct buf last; /* key of the last row */
};

/* State machine's thread. */
static int page_row(void *argument, const struct row *row)
{
    struct page *page = argument;
    struct client_request *c = page->request;

    buf_clear(&page->last);
    buf_append(&page->last, row->key.data, row->key.len);
    return api_page_row(&c->body, row, c->scan.keys_only, c->rows++ == 0);
}

void client_scan_evaluate(struct client_request *c, struct state *state)
{
    struct page page = {.request = c};
    struct buf cursor;
    struct err err = {0};
    bool more = false;

    buf_init(&page.last, LIMIT_KEY_BYTES);
    buf_init(&cursor, LIMIT_CURSOR_BYTES);
    c->rows = 0;
    c->code = api_page_begin(&c->body);
    if (c->code == 0) {
        c->code = state_scan(state, &c->scan, page_row, &page, &more, &err);
        client_request_note(c, &err);
    }
    if (c->code == 0 && more) {
        c->code = scan_cursor_encode(&c->scan, slice_of(page.last.data, page.last.len), &cursor);
    }
    if (c->code == 0) {
        c->code = api_page_end(&c->body, more ? (const char *)cursor.data : NULL, c->index);
    }
    buf_release(&page.last);
    buf_release(&cursor);
}

/* ---- parameters */

enum {
    S_PREFIX = P_RAW,
    S_START,
    S_END,
    S_LIMIT,
    S_MAX_BYTES,
    S_CURSOR,
    S_REVERSE,
    S_KEYS_ONLY,
    S_COUNT
};

static int take_bytes(const struct query_parameter *p, struct buf *out, struct slice *slice,
                      struct err *err)
{
    buf_init(out, LIMIT_KEY_BYTES);
    if (p->seen && buf_append(out, p->value.data, p->value.len) != 0) {
        return err_set(err, ERR_BAD_REQUEST, "%s: a key has at most %d bytes", p->name,
                       LIMIT_KEY_BYTES);
    }
    *slice = slice_of(out->data, out->len);
    return 0;
}

static bool differs(const struct query_parameter *p, const struct buf *own,
                    const struct buf *cursor)
{
    return p->seen &&
           slice_compare(slice_of(own->data, own->len), slice_of(cursor->data, cursor->len)) != 0;
}

/* A cursor holds bounds and direction; what stands beside it must say the same. */
static int apply_cursor(struct client_request *c, const struct query_parameter *p, struct err *err)
{
    struct state_scan *s = &c->scan;
    int code;

    if (!p[S_CURSOR].seen) {
        return 0;
    }
    code = scan_cursor_decode(slice_of(p[S_CURSOR].value.data, p[S_CURSOR].value.len), &c->cursor,
                              err);
    if (code != 0) {
        return code;
    }
    if (differs(&p[S_PREFIX], &c->prefix, &c->cursor.prefix) ||
        differs(&p[S_START], &c->start, &c->cursor.start) ||
        differs(&p[S_END], &c->end, &c->cursor.end) ||
        (p[S_REVERSE].seen && s->reverse != c->cursor.reverse) ||
        (p[S_KEYS_ONLY].seen && s->keys_only != c->cursor.keys_only)) {
        return err_set(err, ERR_BAD_REQUEST,
                       "a parameter beside the cursor differs from the scan that it continues");
    }
    s->prefix = slice_of(c->cursor.prefix.data, c->cursor.prefix.len);
    s->start = slice_of(c->cursor.start.data, c->cursor.start.len);
    s->end = slice_of(c->cursor.end.data, c->cursor.end.len);
    s->after = slice_of(c->cursor.after.data, c->cursor.after.len);
    s->reverse = c->cursor.reverse;
    s->keys_only = c->cursor.keys_only;
    return 0;
}

static int parse_scan(struct client_request *c, const struct query_parameter *p, struct err *err)
{
    struct state_scan *s = &c->scan;
    uint64_t limit = NODE_SCAN_LIMIT;
    int code = client_request_common(c, p, true, err);

    s->bytes_max = NODE_SCAN_BYTES;
    code = code ? code : take_bytes(&p[S_PREFIX], &c->prefix, &s->prefix, err);
    code = code ? code : take_bytes(&p[S_START], &c->start, &s->start, err);
    code = code ? code : take_bytes(&p[S_END], &c->end, &s->end, err);
    code = code ? code : parse_number(&p[S_LIMIT], LIMIT_PAGE_ITEMS, &limit, err);
    code = code ? code : parse_number(&p[S_MAX_BYTES], NODE_SCAN_BYTES, &s->bytes_max, err);
    code = code ? code : parse_flag(&p[S_REVERSE], &s->reverse, err);
    code = code ? code : parse_flag(&p[S_KEYS_ONLY], &s->keys_only, err);
    if (code == 0 && (limit == 0 || s->bytes_max == 0)) {
        return err_set(err, ERR_BAD_REQUEST, "limit and max_bytes are at least 1");
    }
    s->limit = (uint32_t)limit;
    return code ? code : apply_cursor(c, p, err);
}

void http_kv_scan(struct node *n, struct http_request *r)
{
    struct query_parameter p[S_COUNT] = {
        READ_PARAMETERS,
        [S_PREFIX] = {.name = "prefix"},
        [S_START] = {.name = "start"},
        [S_END] = {.name = "end"},
        [S_LIMIT] = {.name = "limit"},
        [S_MAX_BYTES] = {.name = "max_bytes"},
        [S_CURSOR] = {.name = "cursor"},
        [S_REVERSE] = {.name = "reverse"},
        [S_KEYS_ONLY] = {.name = "keys_only"},
    };
    struct client_request *c = client_request_new(n, r, NODE_SCAN);
    struct err err = {0};
    int code = parse_query(r, p, S_COUNT, &err);

    if (code == 0) {
        code = parse_scan(c, p, &err);
    }
    if (code == 0) {
        code = client_request_conditions(c, &err);
    }
    query_release(p, S_COUNT);
    if (code != 0) {
        client_request_fail(c, &err);
    } else {
        client_request_read(c);
    }
}
