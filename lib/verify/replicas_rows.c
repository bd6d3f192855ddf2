/*
 * The rows of two nodes side by side, page by page in the order of keys.
 *
 * A search by halves, as one does it in trees of hashes, would need digests of ranges from the
 * nodes; from outside, the digest of a range takes all rows of the range, so going through them in
 * order reads no more and stops at the first that differ.
 */
#include <inttypes.h>
#include <stdio.h>

#include "lib/base/check.h"
#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/net/http_server.h"
#include "lib/verify/replicas_internal.h"

enum {
    PAGE_ROWS = 1000,
    TOLD_MAX = 10, /* differing keys, then it ends */
    ASKED_MAX = 6, /* times for one key; then it is written faster than we ask */
    TARGET_BYTES = 1 << 16,
    REFUSED_US = 3000000, /* a node that does not read out is asked so long */
};

struct walk {
    struct replicas *r;
    const struct replica *a, *b;
    struct api_page page_a, page_b;
    struct buf from; /* the first key of the pages */
    uint64_t keys;
    uint64_t moving; /* keys that changed whenever they were looked at */
    int differing;
};

/* ---- reading ---- */

/* [from, from + "\0") if `one`, else everything from `from` on. */
static void scan_target(struct buf *out, struct slice from, bool one, uint64_t min_index)
{
    ASSERT(buf_printf(out, "/kv?consistency=stale&min_index=%" PRIu64 "&limit=%d&timeout=2s",
                      min_index, one ? 1 : PAGE_ROWS) == 0);
    if (from.len == 0)
        return;
    ASSERT(buf_append_str(out, "&start=") == 0 && target_encode(from, true, out) == 0);
    if (one)
        ASSERT(buf_append_str(out, "&end=") == 0 && target_encode(from, true, out) == 0 &&
               buf_append_str(out, "%00") == 0);
}

static int scan(struct replicas *r, const struct replica *node, struct slice from, bool one,
                uint64_t min_index, struct api_page *page)
{
    struct buf target;
    struct err err = {0};
    uint64_t until_us = clock_now_us() + REFUSED_US;
    int rc;
    buf_init(&target, TARGET_BYTES);
    scan_target(&target, from, one, min_index);
    for (;;) {
        rc = replicas_get(r, node, (const char *)target.data, &err);
        if (rc == 0)
            rc = api_page_decode(slice_of(r->reply.body.data, r->reply.body.len), page, &err);
        if (rc == 0 || clock_now_us() > until_us || !replicas_time_left(r))
            break;
        replicas_pause();
    }
    buf_release(&target);
    if (rc)
        replicas_tell(r, FINDING_UNKNOWN, "the rows of %s cannot be read: %s", node->node.name,
                      err.text);
    return rc;
}

/* ---- one key ---- */

static struct slice key_of(const struct api_item *item)
{
    return slice_of(item->key.data, item->key.len);
}

static struct replica_view view_of(const struct api_page *page, const struct api_item *item)
{
    struct replica_view v = {.index = page->index};
    if (item) {
        v.there = true;
        v.version = item->version;
        v.timestamp_ms = item->timestamp_ms;
        v.value = slice_of(item->value.data, item->value.len);
    }
    return v;
}

static void describe(const struct replica_view *v, const struct replica *x, struct buf *out)
{
    if (v->there)
        (void)buf_printf(out, "%s has version %" PRIu64 " of %zu bytes at %" PRIu64, x->node.name,
                         v->version, v->value.len, v->index);
    else
        (void)buf_printf(out, "%s has none at %" PRIu64, x->node.name, v->index);
}

static void differs(struct walk *w, struct slice key, const struct replica_view *a,
                    const struct replica_view *b)
{
    struct buf text;
    if (++w->differing > TOLD_MAX)
        return;
    buf_init(&text, 1024);
    (void)buf_append_str(&text, "key ");
    inspect_show_key(key, &text);
    (void)buf_append_str(&text, ": ");
    describe(a, w->a, &text);
    (void)buf_append_str(&text, ", ");
    describe(b, w->b, &text);
    if (a->there && b->there && a->version == b->version)
        (void)buf_append_str(&text, slice_compare(a->value, b->value) != 0 ? ": other values"
                                                                           : ": other timestamps");
    replicas_tell(w->r, FINDING_WRONG, "%s", (const char *)text.data);
    buf_release(&text);
}

/* Asks one of them again until both views say something of each other. */
static int key_compare(struct walk *w, struct slice key, struct replica_view a,
                       struct replica_view b)
{
    struct api_page again_a = {0}, again_b = {0};
    uint64_t min_index;
    int rc = 0;
    enum replica_verdict v = replicas_judge(&a, &b, &min_index);
    for (unsigned asked = 0; rc == 0 && v >= REPLICAS_ASK_A && asked < ASKED_MAX; asked++) {
        bool first = v == REPLICAS_ASK_A;
        struct api_page *page = first ? &again_a : &again_b;
        api_page_release(page);
        rc = scan(w->r, first ? w->a : w->b, key, true, min_index, page);
        if (rc)
            break;
        *(first ? &a : &b) = view_of(page, page->count ? &page->items[0] : NULL);
        v = replicas_judge(&a, &b, &min_index);
    }
    if (rc == 0 && v == REPLICAS_DIFFER)
        differs(w, key, &a, &b);
    w->moving += rc == 0 && v >= REPLICAS_ASK_A;
    api_page_release(&again_a);
    api_page_release(&again_b);
    return rc;
}

/* ---- pages ---- */

/* Up to which key, included, a page says something; false: up to the last there can be. */
static bool page_end(const struct api_page *p, struct slice *end)
{
    if (!p->next || p->count == 0)
        return false;
    *end = key_of(&p->items[p->count - 1]);
    return true;
}

/* What both pages cover; false: all that is left. */
static bool common_end(const struct walk *w, struct slice *end)
{
    struct slice a = {0}, b = {0};
    bool a_ends = page_end(&w->page_a, &a), b_ends = page_end(&w->page_b, &b);
    *end = !a_ends ? b : !b_ends ? a : slice_compare(a, b) < 0 ? a : b;
    return a_ends || b_ends;
}

static const struct api_item *item_at(const struct api_page *p, size_t i, bool bounded,
                                      struct slice end)
{
    if (i == p->count || (bounded && slice_compare(key_of(&p->items[i]), end) > 0))
        return NULL;
    return &p->items[i];
}

static int pages_compare(struct walk *w, bool bounded, struct slice end)
{
    size_t i = 0, j = 0;
    int rc = 0;
    while (rc == 0 && w->differing < TOLD_MAX) {
        const struct api_item *a = item_at(&w->page_a, i, bounded, end);
        const struct api_item *b = item_at(&w->page_b, j, bounded, end);
        if (!a && !b)
            break;
        int order = !a ? 1 : !b ? -1 : slice_compare(key_of(a), key_of(b));
        rc = key_compare(w, key_of(order <= 0 ? a : b), view_of(&w->page_a, order <= 0 ? a : NULL),
                         view_of(&w->page_b, order >= 0 ? b : NULL));
        w->keys++;
        i += order <= 0;
        j += order >= 0;
    }
    return rc;
}

static int step(struct walk *w, bool *more)
{
    struct slice from = slice_of(w->from.data, w->from.len), end = {0};
    int rc = scan(w->r, w->a, from, false, 1, &w->page_a);
    if (rc == 0)
        rc = scan(w->r, w->b, from, false, w->page_a.index, &w->page_b);
    *more = false;
    if (rc == 0) {
        *more = common_end(w, &end);
        rc = pages_compare(w, *more, end);
    }
    if (rc == 0 && *more) { /* the key next to `end`: a zero byte behind it */
        struct buf next;
        buf_init(&next, LIMIT_KEY_BYTES + 1);
        ASSERT(buf_append(&next, end.data, end.len) == 0 && buf_append_byte(&next, 0) == 0);
        buf_release(&w->from);
        w->from = next;
    }
    api_page_release(&w->page_a);
    api_page_release(&w->page_b);
    return rc;
}

int replicas_rows(struct replicas *r, const struct replica *a, const struct replica *b)
{
    struct walk w = {.r = r, .a = a, .b = b};
    bool more = true;
    int rc = 0;
    buf_init(&w.from, LIMIT_KEY_BYTES + 1);
    while (rc == 0 && more && w.differing < TOLD_MAX) {
        rc = step(&w, &more);
        if (rc == 0 && more && !replicas_time_left(r)) {
            replicas_tell(r, FINDING_UNKNOWN,
                          "the time is over with %" PRIu64 " keys of %s and %s compared", w.keys,
                          a->node.name, b->node.name);
            rc = ERR_TIMEOUT;
        }
    }
    buf_release(&w.from);
    if (rc == 0)
        replicas_tell(r, FINDING_FACT,
                      "%s and %s: %" PRIu64 " keys compared, %d differ%s, %" PRIu64
                      " changed each time",
                      a->node.name, b->node.name, w.keys, w.differing,
                      w.differing == TOLD_MAX ? " and others may" : "", w.moving);
    return rc ? rc : w.differing;
}
