/* The in-memory base: two trees, of rows and of sessions. */
#include "lib/kv/base_map.h"

#include <bsd/sys/tree.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/mem.h"

struct map_row {
    RB_ENTRY(map_row) node;
    struct row row; /* key and value are in `bytes` */
    uint8_t bytes[];
};

struct map_session {
    RB_ENTRY(map_session) node;
    struct session session;
};

RB_HEAD(map_rows, map_row);
RB_HEAD(map_sessions, map_session);

struct base_map {
    struct state_base base;
    raft_index applied;
    raft_term applied_term;
    uint64_t cluster_time_ms;
    struct membership membership;
    struct map_rows rows;
    struct map_sessions sessions;
    size_t row_count, session_count;
    struct session *image_sessions;
    struct { /* cursor */
        struct map_row *at;
        bool reverse, with_value;
    } cursor;
};

static int row_compare(const struct map_row *a, const struct map_row *b)
{
    return slice_compare(a->row.key, b->row.key);
}

static int session_compare(const struct map_session *a, const struct map_session *b)
{
    return strcmp(a->session.client, b->session.client);
}

RB_GENERATE_INTERNAL(map_rows, map_row, node, row_compare, static __attribute__((unused)))
RB_GENERATE_INTERNAL(map_sessions, map_session, node, session_compare,
                     static __attribute__((unused)))

/* ---- as the state sees it */

static struct row view(const struct map_row *r, bool with_value)
{
    struct row row = r->row;
    if (!with_value)
        row.value = (struct slice){NULL, 0};
    return row;
}

static int map_get(void *self, struct slice key, bool with_value, struct row *row, struct err *err)
{
    struct base_map *map = self;
    struct map_row probe = {.row.key = key};
    const struct map_row *found = RB_FIND(map_rows, &map->rows, &probe);
    if (!found)
        return err_set(err, ERR_NOT_FOUND, "no such key");
    *row = view(found, with_value);
    return 0;
}

static int map_seek(void *self, struct slice from, bool reverse, bool with_value, struct err *err)
{
    (void)err;
    struct base_map *map = self;
    struct map_row probe = {.row.key = from};
    struct map_row *at = from.len > 0 || !reverse ? RB_NFIND(map_rows, &map->rows, &probe) : NULL;
    if (reverse)
        at = at ? RB_PREV(map_rows, &map->rows, at) : RB_MAX(map_rows, &map->rows);
    map->cursor.at = at;
    map->cursor.reverse = reverse;
    map->cursor.with_value = with_value;
    return 0;
}

static int map_next(void *self, struct row *row, struct err *err)
{
    struct base_map *map = self;
    struct map_row *at = map->cursor.at;
    if (!at)
        return err_set(err, ERR_NOT_FOUND, "no more rows");
    *row = view(at, map->cursor.with_value);
    map->cursor.at =
        map->cursor.reverse ? RB_PREV(map_rows, &map->rows, at) : RB_NEXT(map_rows, &map->rows, at);
    return 0;
}

const struct state_base *base_map_base(struct base_map *map)
{
    return &map->base;
}

/* ---- changes */

static void put_row(struct base_map *map, const struct row *row)
{
    struct map_row *r = mem_zalloc(sizeof(*r) + row->key.len + row->value.len);
    memcpy(r->bytes, row->key.data, row->key.len);
    if (row->value.len > 0)
        memcpy(r->bytes + row->key.len, row->value.data, row->value.len);
    r->row = *row;
    r->row.key.data = r->bytes;
    r->row.value.data = r->bytes + row->key.len;
    struct map_row *old = RB_FIND(map_rows, &map->rows, r);
    if (old) {
        RB_REMOVE(map_rows, &map->rows, old);
        mem_free(old);
        map->row_count--;
    }
    RB_INSERT(map_rows, &map->rows, r);
    map->row_count++;
}

static void delete_row(struct base_map *map, struct slice key)
{
    struct map_row probe = {.row.key = key};
    struct map_row *old = RB_FIND(map_rows, &map->rows, &probe);
    if (!old)
        return;
    RB_REMOVE(map_rows, &map->rows, old);
    mem_free(old);
    map->row_count--;
}

static void put_session(struct base_map *map, const struct session *session, bool gone)
{
    struct map_session probe = {.session = *session};
    struct map_session *old = RB_FIND(map_sessions, &map->sessions, &probe);
    if (old && gone) {
        RB_REMOVE(map_sessions, &map->sessions, old);
        mem_free(old);
        map->session_count--;
    } else if (old) {
        old->session = *session;
    } else if (!gone) {
        struct map_session *added = mem_dup(&probe, sizeof(probe));
        RB_INSERT(map_sessions, &map->sessions, added);
        map->session_count++;
    }
}

void base_map_flush(struct base_map *map, const struct memtable *m)
{
    ASSERT(memtable_first_index(m) == map->applied + 1);
    struct memtable_change change;
    for (const void *at = NULL; (at = memtable_next(m, at, &change));) {
        if (change.deleted)
            delete_row(map, change.row.key);
        else
            put_row(map, &change.row);
    }
    for (uint32_t i = 0; i < memtable_session_count(m); i++) {
        bool gone;
        const struct session *session = memtable_session(m, i, &gone);
        put_session(map, session, gone);
    }
    map->applied = memtable_last_index(m);
    map->applied_term = memtable_last_term(m);
    map->cluster_time_ms = memtable_cluster_time_ms(m);
    map->membership = *memtable_membership(m);
    map->cursor.at = NULL;
}

/* ---- life */

struct base_map *base_map_new(void)
{
    struct base_map *map = mem_zalloc(sizeof(*map));
    map->base =
        (struct state_base){.self = map, .get = map_get, .seek = map_seek, .next = map_next};
    RB_INIT(&map->rows);
    RB_INIT(&map->sessions);
    return map;
}

static bool row_same(const struct row *a, const struct row *b)
{
    return a->version == b->version && a->timestamp_ms == b->timestamp_ms &&
           slice_compare(a->value, b->value) == 0;
}

/* Both in order, side by side: most of it is there already. */
static void copy_rows(struct base_map *to, const struct base_map *from)
{
    struct map_rows rows = from->rows; /* the head only: walking asks for one that may be changed */
    struct map_row *have = RB_MIN(map_rows, &to->rows), *want = RB_MIN(map_rows, &rows), *next;
    while (have || want) {
        int order = !have ? 1 : !want ? -1 : row_compare(have, want);
        next = have && order <= 0 ? RB_NEXT(map_rows, &to->rows, have) : have;
        if (order < 0)
            delete_row(to, have->row.key);
        else if (order > 0 || !row_same(&have->row, &want->row))
            put_row(to, &want->row);
        have = next;
        if (order >= 0)
            want = RB_NEXT(map_rows, &rows, want);
    }
}

static void copy_sessions(struct base_map *to, const struct base_map *from)
{
    struct map_sessions sessions = from->sessions;
    struct map_session *have = RB_MIN(map_sessions, &to->sessions);
    struct map_session *want = RB_MIN(map_sessions, &sessions), *next;
    while (have || want) {
        int order = !have ? 1 : !want ? -1 : session_compare(have, want);
        next = have && order <= 0 ? RB_NEXT(map_sessions, &to->sessions, have) : have;
        if (order == 0)
            have->session = want->session;
        else
            put_session(to, order < 0 ? &have->session : &want->session, order < 0);
        have = next;
        if (order >= 0)
            want = RB_NEXT(map_sessions, &sessions, want);
    }
}

void base_map_copy(struct base_map *to, const struct base_map *from)
{
    copy_rows(to, from);
    copy_sessions(to, from);
    to->applied = from->applied;
    to->applied_term = from->applied_term;
    to->cluster_time_ms = from->cluster_time_ms;
    to->membership = from->membership;
    to->cursor.at = NULL;
}

struct base_map *base_map_clone(const struct base_map *map)
{
    struct base_map *clone = base_map_new();
    base_map_copy(clone, map);
    return clone;
}

void base_map_free(struct base_map *map)
{
    if (!map)
        return;
    struct map_row *row;
    while ((row = RB_ROOT(&map->rows))) {
        RB_REMOVE(map_rows, &map->rows, row);
        mem_free(row);
    }
    struct map_session *session;
    while ((session = RB_ROOT(&map->sessions))) {
        RB_REMOVE(map_sessions, &map->sessions, session);
        mem_free(session);
    }
    mem_free(map->image_sessions);
    mem_free(map);
}

void base_map_image(struct base_map *map, struct state_image *image)
{
    mem_free(map->image_sessions);
    map->image_sessions = mem_calloc(map->session_count, sizeof(struct session));
    size_t count = 0;
    struct map_session *session;
    RB_FOREACH(session, map_sessions, &map->sessions)
    map->image_sessions[count++] = session->session;
    ASSERT(count == map->session_count);
    *image = (struct state_image){
        .applied = map->applied,
        .applied_term = map->applied_term,
        .cluster_time_ms = map->cluster_time_ms,
        .membership = map->membership,
        .sessions = map->image_sessions,
        .session_count = count,
    };
}

raft_index base_map_applied(const struct base_map *map)
{
    return map->applied;
}

size_t base_map_row_count(const struct base_map *map)
{
    return map->row_count;
}
