/* Two files of the state at the same index: rows, sessions, and what stands in meta. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/verify/replay_internal.h"

enum { TOLD_MAX = 10 };

struct comparison {
    const struct inspection *in;
    const char *file;
    uint64_t differing;
};

/* ---- rows ---- */

static void row_differs(struct comparison *c, struct slice key, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void row_differs(struct comparison *c, struct slice key, const char *fmt, ...)
{
    struct err what;
    struct buf shown;
    va_list ap;
    if (c->differing++ >= TOLD_MAX)
        return;
    va_start(ap, fmt);
    err_vset(&what, ERR_CORRUPT, fmt, ap);
    va_end(ap);
    buf_init(&shown, 512);
    inspect_show_key(key, &shown);
    inspect_tell(c->in, FINDING_WRONG, c->file, "table kv, key %s: %s", (const char *)shown.data,
                 what.text);
    buf_release(&shown);
}

static void row_compare(struct comparison *c, const struct row *found, const struct row *built)
{
    if (found->version != built->version)
        row_differs(c, found->key, "version %" PRIu64 ", the log makes it %" PRIu64, found->version,
                    built->version);
    else if (slice_compare(found->value, built->value) != 0)
        row_differs(c, found->key,
                    "another value, of %zu bytes, than the one of %zu bytes that entry %" PRIu64
                    " put",
                    found->value.len, built->value.len, built->version);
    else if (found->timestamp_ms != built->timestamp_ms)
        row_differs(c, found->key, "timestamp %" PRIu64 ", the log makes it %" PRIu64,
                    found->timestamp_ms, built->timestamp_ms);
}

/* A cursor over all rows. */
struct walk {
    const struct state_base *base;
    struct row row;
    bool there;
};

static int walk_next(struct walk *w, struct err *err)
{
    int rc = w->base->next(w->base->self, &w->row, err);
    w->there = rc == 0;
    return rc == ERR_NOT_FOUND ? 0 : rc;
}

static int walk_begin(struct walk *w, const struct replay_side *s, struct err *err)
{
    *w = (struct walk){.base = &s->base};
    int rc = w->base->seek(w->base->self, (struct slice){0}, false, true, err);
    return rc ? rc : walk_next(w, err);
}

static int rows_compare(struct comparison *c, const struct replay_side *found,
                        const struct replay_side *built, struct err *err)
{
    struct walk x, y;
    int rc = walk_begin(&x, found, err);
    if (rc == 0)
        rc = walk_begin(&y, built, err);
    while (rc == 0 && (x.there || y.there)) {
        int order = !x.there ? 1 : !y.there ? -1 : slice_compare(x.row.key, y.row.key);
        if (order < 0)
            row_differs(c, x.row.key, "version %" PRIu64 ", by the log there is no such key",
                        x.row.version);
        else if (order > 0)
            row_differs(c, y.row.key, "missing, entry %" PRIu64 " puts it", y.row.version);
        else
            row_compare(c, &x.row, &y.row);
        if (order <= 0)
            rc = walk_next(&x, err);
        if (rc == 0 && order >= 0)
            rc = walk_next(&y, err);
    }
    if (c->differing > TOLD_MAX)
        inspect_tell(c->in, FINDING_WRONG, c->file, "table kv: %" PRIu64 " rows differ in all",
                     c->differing);
    return rc;
}

/* ---- sessions ---- */

static int by_client(const void *a, const void *b)
{
    return strcmp(((const struct session *)a)->client, ((const struct session *)b)->client);
}

static bool session_same(const struct session *a, const struct session *b)
{
    return a->seq == b->seq && a->fingerprint == b->fingerprint && a->status == b->status &&
           a->existed == b->existed && a->version == b->version &&
           a->timestamp_ms == b->timestamp_ms && a->used_ms == b->used_ms &&
           a->used_index == b->used_index &&
           memcmp(a->batch_existed, b->batch_existed, sizeof(a->batch_existed)) == 0;
}

static void session_differs(const struct comparison *c, const struct session *s, const char *how,
                            unsigned *told)
{
    if ((*told)++ < TOLD_MAX)
        inspect_tell(c->in, FINDING_WRONG, c->file,
                     "table sessions, client '%s', sequence %" PRIu64 ": %s", s->client, s->seq,
                     how);
}

static void sessions_compare(const struct comparison *c, struct kv_image *found,
                             struct kv_image *built)
{
    size_t x = 0, y = 0, xs = found->image.session_count, ys = built->image.session_count;
    unsigned told = 0;
    if (xs)
        qsort(found->sessions, xs, sizeof(found->sessions[0]), by_client);
    if (ys)
        qsort(built->sessions, ys, sizeof(built->sessions[0]), by_client);
    while (x < xs || y < ys) {
        int order = x == xs   ? 1
                    : y == ys ? -1
                              : by_client(&found->sessions[x], &built->sessions[y]);
        if (order < 0)
            session_differs(c, &found->sessions[x], "by the log there is none", &told);
        else if (order > 0)
            session_differs(c, &built->sessions[y], "missing", &told);
        else if (!session_same(&found->sessions[x], &built->sessions[y]))
            session_differs(c, &found->sessions[x], "not what the log makes it", &told);
        x += order <= 0;
        y += order >= 0;
    }
}

/* ---- meta ---- */

static void number_compare(const struct comparison *c, const char *name, uint64_t found,
                           uint64_t built)
{
    if (found != built)
        inspect_tell(c->in, FINDING_WRONG, c->file,
                     "row '%s' of table meta is %" PRIu64 ", the log makes it %" PRIu64, name,
                     found, built);
}

static void meta_compare(const struct comparison *c, const struct kv_image *found,
                         const struct kv_image *built)
{
    const struct state_image *x = &found->image, *y = &built->image;
    char a[HEX128_BYTES], b[HEX128_BYTES];
    number_compare(c, "applied_index", x->applied, y->applied);
    number_compare(c, "applied_term", x->applied_term, y->applied_term);
    number_compare(c, "cluster_time_ms", x->cluster_time_ms, y->cluster_time_ms);
    number_compare(c, "membership_index", x->membership.configuration.index,
                   y->membership.configuration.index);
    number_compare(c, "keys", found->keys, built->keys);
    if (!digest_equal(membership_cluster_id(&x->membership), membership_cluster_id(&y->membership)))
        inspect_tell(c->in, FINDING_WRONG, c->file,
                     "row 'membership' of table meta is not what the log makes it");
    if (!digest_equal(found->digest, built->digest))
        inspect_tell(c->in, FINDING_WRONG, c->file,
                     "row 'digest' of table meta is %s, the log makes it %s",
                     hex128(found->digest, a), hex128(built->digest, b));
}

void replay_compare(const struct inspection *in, const char *file, struct replay_side *found,
                    struct replay_side *built)
{
    struct comparison c = {.in = in, .file = file};
    struct err err = {0};
    int rc = rows_compare(&c, found, built, &err);
    if (rc)
        inspect_tell_err(in, rc == ERR_CORRUPT ? FINDING_WRONG : FINDING_UNKNOWN, &err);
    sessions_compare(&c, &found->image, &built->image);
    meta_compare(&c, &found->image, &built->image);
}
