/* The state in kv.db against the same state in memory; see tests/unit/store.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"
#include "tests/unit/store.h"
#include "tests/unit/tap.h"

enum { KEYS = 100 };

static struct entry *random_expiry(struct prng *p, raft_index index, raft_term term)
{
    char names[4][16];
    const char *list[4];
    for (unsigned i = 0; i < 4; i++) {
        snprintf(names[i], sizeof(names[i]), "client%u", (unsigned)prng_below(p, 20));
        list[i] = names[i];
    }
    struct command c = make_expire(list, 4, index * 10);
    return make_entry(&c, index, term);
}

struct entry *store_random_entry(struct prng *p, raft_index index, raft_term term)
{
    static char value[100000];
    char key[32], client[32];
    if (prng_chance(p, 1, 100)) {
        struct membership m = make_membership(1 + (uint32_t)prng_below(p, 5), 1 + prng_below(p, 9));
        return make_configuration(&m, index, term);
    }
    if (prng_chance(p, 1, 30))
        return random_expiry(p, index, term);
    size_t len = prng_below(p, prng_chance(p, 1, 100) ? sizeof(value) : 300);
    snprintf(key, sizeof(key), "key%c%03u", "\0\xff+z"[prng_below(p, 4)],
             (unsigned)prng_below(p, KEYS));
    prng_fill(p, value, len < 64 ? len : 64);
    struct command c = make_put(key, "");
    if (prng_chance(p, 1, 3))
        c = make_delete(key);
    else
        c.value = slice_of(value, len);
    c.key.len = 7; /* the byte behind "key" may be a NUL */
    if (prng_chance(p, 1, 4)) {
        snprintf(client, sizeof(client), "client%u", (unsigned)prng_below(p, 20));
        c = with_client(c, client, prng_chance(p, 1, 3) ? 1 : index);
    }
    c = with_time(c, 1700000000000 + index, index * 10);
    return make_entry(&c, index, term);
}

void store_apply_random(struct kv_rig *rig, struct prng *p, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct entry *e = store_random_entry(p, rig->index + 1, rig->term);
        struct apply_result result;
        must(state_apply(rig->state, e, &result, NULL) == 0);
        entry_unref(e);
        rig->index++;
    }
}

static bool same_row(const struct row *a, const struct row *b)
{
    return slice_compare(a->key, b->key) == 0 && slice_compare(a->value, b->value) == 0 &&
           a->version == b->version && a->timestamp_ms == b->timestamp_ms;
}

/* An error is told as such: it is no difference. */
static const char *failed_or(int rc, const char *difference)
{
    return rc && rc != ERR_NOT_FOUND ? "reading" : difference;
}

/* What begins at a key, and just behind it: a row, and those next to it, or none. */
static const char *seeks_differ(const struct state_base *a, struct slice key, bool reverse)
{
    uint8_t room[64];
    struct row x, after;
    struct err err = {0};
    must(key.len < sizeof(room));
    memcpy(room, key.data, key.len);
    room[key.len] = 0;
    struct slice here = slice_of(room, key.len), behind = slice_of(room, key.len + 1);
    if (a->seek(a->self, here, reverse, false, &err))
        return "seeking a key";
    int rc = a->next(a->self, &x, &err);
    if (!reverse && (rc || slice_compare(x.key, here) != 0 || x.value.len))
        return failed_or(rc, "the key sought is not the first");
    if (rc && rc != ERR_NOT_FOUND)
        return "reading";
    if (reverse && rc == 0 && slice_compare(x.key, here) >= 0)
        return "the key sought is not left out, in reverse";
    if (a->seek(a->self, behind, reverse, true, &err))
        return "seeking behind a key";
    rc = a->next(a->self, &after, &err);
    if (reverse && (rc || slice_compare(after.key, here) != 0))
        return failed_or(rc, "the key before is not the first, in reverse");
    if (rc && rc != ERR_NOT_FOUND)
        return "reading";
    if (!reverse && rc == 0 && slice_compare(after.key, here) <= 0)
        return "a key behind is not behind";
    return NULL;
}

static const char *rows_differ(const struct state_base *a, const struct state_base *b, bool reverse,
                               struct digest *digest, uint64_t *keys)
{
    struct row x, y, found;
    struct err err = {0};
    struct slice all = {0};
    unsigned number = 0;
    *digest = (struct digest){0};
    *keys = 0;
    if (a->seek(a->self, all, reverse, true, &err) || b->seek(b->self, all, reverse, true, &err))
        return "seeking";
    for (;;) {
        int left = a->next(a->self, &x, &err), right = b->next(b->self, &y, &err);
        if (left == ERR_NOT_FOUND && right == ERR_NOT_FOUND)
            break;
        if (left || right)
            return failed_or(left, "number of rows");
        if (!same_row(&x, &y))
            return "a row";
        *digest = digest_add(*digest, kv_row_digest(&x));
        ++*keys;
    }
    /* One by one, through the keys of `b`, since a get ends a's cursor. */
    if (b->seek(b->self, all, reverse, true, &err))
        return "seeking";
    while (b->next(b->self, &y, &err) == 0) {
        int rc = a->get(a->self, y.key, true, &found, &err);
        if (rc || !same_row(&found, &y))
            return failed_or(rc, "a row by key");
        rc = a->get(a->self, y.key, false, &found, &err);
        if (rc || found.value.len || found.version != y.version)
            return failed_or(rc, "a row by key, without value");
        const char *what = number++ % 16 == 0 ? seeks_differ(a, y.key, reverse) : NULL;
        if (what)
            return what;
    }
    return NULL;
}

static int by_client(const void *a, const void *b)
{
    return strcmp(((const struct session *)a)->client, ((const struct session *)b)->client);
}

static const char *images_differ(struct kv_image *file, const struct state_image *want)
{
    const struct state_image *got = &file->image;
    if (got->applied != want->applied || got->applied_term != want->applied_term)
        return "applied index or term";
    if (got->cluster_time_ms != want->cluster_time_ms)
        return "cluster time";
    if (!membership_equal(&got->membership, &want->membership))
        return "membership";
    if (got->session_count != want->session_count)
        return "number of sessions";
    if (!got->session_count)
        return NULL;
    struct session *sorted = mem_dup(want->sessions, sizeof(*sorted) * want->session_count);
    qsort(sorted, want->session_count, sizeof(*sorted), by_client);
    qsort(file->sessions, got->session_count, sizeof(*sorted), by_client);
    bool same = true;
    for (size_t i = 0; i < got->session_count; i++)
        same = same && session_equal(&file->sessions[i], &sorted[i]);
    mem_free(sorted);
    return same ? NULL : "a session";
}

const char *store_kv_differs_open(struct kv_writer *w, struct kv_reader *r, struct base_map *map)
{
    struct kv_image file;
    struct state_image want;
    struct state_base base;
    struct digest digest;
    uint64_t keys;
    if (kv_writer_image(w, &file, NULL))
        return "reading the image";
    base_map_image(map, &want);
    const char *what = images_differ(&file, &want);
    mem_free(file.sessions);
    kv_reader_base(r, &base);
    for (int reverse = 0; reverse < 2 && !what; reverse++) {
        what = rows_differ(&base, base_map_base(map), reverse, &digest, &keys);
        if (!what && (keys != file.keys || !digest_equal(digest, file.digest)))
            what = "digest";
    }
    return what;
}

const char *store_kv_differs(struct data_dir *dir, uint64_t generation, struct base_map *map)
{
    struct kv_writer *w;
    struct kv_reader *r;
    struct err err = {0};
    if (kv_writer_open(dir, generation, NULL, &w, &err)) {
        diag("%s", err.text);
        return "opening";
    }
    const char *what = "opening the reader";
    if (kv_reader_open(dir, generation, &r, &err) == 0) {
        what = store_kv_differs_open(w, r, map);
        kv_reader_close(r);
    }
    kv_writer_close(w);
    return what;
}
