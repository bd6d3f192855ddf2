/* GET /status, /members and /node: what the cluster and a node say of themselves. */
#include <string.h>

#include "lib/json/api.h"
#include "lib/json/json_internal.h"
#include "lib/raft/raft.h"

/* Words that a reader knows; it says "unknown" for those of a newer node. */
static const char *const roles[] = {"voter", "learner", "incoming", "outgoing", NULL};
static const char *const states[] = {"leader",  "follower", "candidate", "pre_candidate",
                                     "learner", "removed",  "forming",   NULL};
static const char *const kinds[] = {"add", "promote", "remove", "replace", NULL};
static const char *const phases[] = {"catching_up", "joint", "final", NULL};

/* ---- writing ---- */

static int put_member(struct buf *out, const struct api_member *m)
{
    int rc = json_put_text_after(out, "{\"name\":", m->name);
    if (rc == 0)
        rc = buf_append_str(out, ",\"id\":");
    if (rc == 0)
        rc = json_put_hex64(out, m->id);
    if (rc == 0)
        rc = json_put_text_after(out, ",\"url\":", m->url);
    if (rc == 0)
        rc = json_put_text_after(out, ",\"role\":", m->role);
    if (rc == 0)
        rc = json_put_text_after(out, ",\"state\":", m->state);
    if (rc == 0)
        rc = json_put_u64_after(out, ",\"match\":", m->match);
    if (rc == 0 && m->last_contact_ms < 0)
        rc = buf_append_str(out, ",\"last_contact_ms\":null");
    else if (rc == 0)
        rc = json_put_u64_after(out, ",\"last_contact_ms\":", (uint64_t)m->last_contact_ms);
    if (rc == 0)
        rc = json_put_bool_after(out, ",\"reachable\":", m->reachable);
    return rc < 0 ? rc : buf_append_byte(out, '}');
}

static int put_members(struct buf *out, const struct api_status *s)
{
    int rc = buf_append_str(out, "\"members\":[");
    for (uint32_t i = 0; rc == 0 && i < s->member_count; i++) {
        if (i > 0)
            rc = buf_append_byte(out, ',');
        if (rc == 0)
            rc = put_member(out, &s->members[i]);
    }
    return rc < 0 ? rc : buf_append_byte(out, ']');
}

static int put_change(struct buf *out, const struct api_change *c)
{
    if (!c->kind)
        return buf_append_str(out, ",\"change\":null");
    int rc = json_put_text_after(out, ",\"change\":{\"kind\":", c->kind);
    if (rc == 0)
        rc = json_put_text_after(out, ",\"phase\":", c->phase);
    if (rc == 0 && c->id) {
        rc = buf_append_str(out, ",\"id\":");
        if (rc == 0)
            rc = json_put_hex64(out, c->id);
    }
    return rc < 0 ? rc : buf_append_byte(out, '}');
}

static int put_leader(struct buf *out, const char *leader)
{
    if (!leader[0])
        return buf_append_str(out, ",\"leader\":null");
    return json_put_text_after(out, ",\"leader\":", leader);
}

int api_status_encode(const struct api_status *s, struct buf *out)
{
    int rc = buf_append_str(out, "{\"cluster\":");
    if (rc == 0)
        rc = s->has_cluster ? json_put_hex128(out, s->cluster) : buf_append_str(out, "null");
    if (rc == 0)
        rc = put_leader(out, s->leader);
    if (rc == 0)
        rc = json_put_u64_after(out, ",\"term\":", s->term);
    if (rc == 0)
        rc = json_put_u64_after(out, ",\"index\":{\"commit\":", s->commit);
    if (rc == 0)
        rc = json_put_u64_after(out, ",\"applied\":", s->applied);
    if (rc == 0)
        rc = json_put_u64_after(out, "},\"fault_tolerance\":",
                                s->fault_tolerance > 0 ? (uint64_t)s->fault_tolerance : 0);
    if (rc == 0)
        rc = buf_append_byte(out, ',');
    if (rc == 0)
        rc = put_members(out, s);
    if (rc == 0)
        rc = put_change(out, &s->change);
    return rc < 0 ? rc : buf_append_byte(out, '}');
}

int api_members_encode(const struct api_status *s, struct buf *out)
{
    int rc = buf_append_byte(out, '{');
    if (rc == 0)
        rc = put_members(out, s);
    if (rc == 0)
        rc = json_put_u64_after(out, ",\"configuration_index\":", s->configuration_index);
    if (rc == 0)
        rc = put_change(out, &s->change);
    return rc < 0 ? rc : buf_append_byte(out, '}');
}

static int put_node_index(struct buf *out, const struct api_node *n)
{
    int rc = json_put_u64_after(out, ",\"index\":{\"last\":", n->last);
    if (rc == 0)
        rc = json_put_u64_after(out, ",\"commit\":", n->commit);
    if (rc == 0)
        rc = json_put_u64_after(out, ",\"applied\":", n->applied);
    if (rc == 0)
        rc = json_put_u64_after(out, ",\"snapshot\":", n->snapshot);
    if (rc == 0)
        rc = json_put_u64_after(out, ",\"first\":", n->first);
    if (rc == 0)
        rc = json_put_u64_after(out, "},\"digest\":{\"index\":", n->digest_index);
    if (rc == 0)
        rc = buf_append_str(out, ",\"value\":");
    if (rc == 0)
        rc = json_put_hex128(out, n->digest);
    return rc < 0 ? rc : buf_append_byte(out, '}');
}

static int put_node_storage(struct buf *out, const struct api_node *n)
{
    int rc = json_put_u64_after(out, ",\"storage\":{\"log_bytes\":", n->log_bytes);
    if (rc == 0)
        rc = json_put_u64_after(out, ",\"kv_bytes\":", n->kv_bytes);
    if (rc == 0)
        rc = json_put_u64_after(out, ",\"wal_bytes\":", n->wal_bytes);
    if (rc == 0)
        rc = json_put_u64_after(out, ",\"disk_free\":", n->disk_free);
    if (rc == 0)
        rc = json_put_u64_after(out, ",\"log_entries\":", n->log_entries);
    if (rc == 0)
        rc = json_put_u64_after(out, ",\"keys\":", n->keys);
    return rc < 0 ? rc : buf_append_byte(out, '}');
}

int api_node_encode(const struct api_node *n, struct buf *out)
{
    int rc = json_put_text_after(out, "{\"name\":", n->name);
    if (rc == 0)
        rc = buf_append_str(out, ",\"id\":");
    if (rc == 0)
        rc = json_put_hex64(out, n->id);
    if (rc == 0)
        rc = json_put_text_after(out, ",\"version\":", n->version);
    if (rc == 0)
        rc = json_put_text_after(out, ",\"state\":", n->state);
    if (rc == 0)
        rc = put_leader(out, n->leader);
    if (rc == 0)
        rc = json_put_u64_after(out, ",\"term\":", n->term);
    if (rc == 0)
        rc = json_put_bool_after(out, ",\"ready\":", n->ready);
    if (rc == 0)
        rc = json_put_u64_after(out, ",\"uptime_ms\":", n->uptime_ms);
    if (rc == 0)
        rc = put_node_index(out, n);
    if (rc == 0)
        rc = put_node_storage(out, n);
    return rc < 0 ? rc : buf_append_byte(out, '}');
}

/* ---- reading ---- */

static const char *read_word(struct json_reader *r, const char *name, const char *const *words)
{
    struct slice text;
    if (!json_read_string(r, name, true, &text))
        return "unknown";
    for (; *words; words++)
        if (json_text_is(text, *words))
            return *words;
    return "unknown";
}

static void read_member(struct json_reader *r, struct api_member *m)
{
    json_read_name(r, "name", true, m->name);
    json_read_hex64(r, "id", true, &m->id);
    json_read_url(r, "url", true, m->url);
    m->role = read_word(r, "role", roles);
    m->state = read_word(r, "state", states);
    json_read_u64(r, "match", true, &m->match);
    m->last_contact_ms = -1;
    if (!json_is_null(json_object_get(r->object, "last_contact_ms"))) {
        uint64_t ms;
        if (json_read_u64(r, "last_contact_ms", true, &ms))
            m->last_contact_ms = (int64_t)ms;
    }
    json_read_bool(r, "reachable", true, &m->reachable);
}

static void read_members(struct json_reader *r, struct api_status *s)
{
    const json_t *members = json_read_array(r, "members", true);
    size_t count = members ? json_array_size(members) : 0;
    if (count > RAFT_MEMBERS_MAX) {
        json_reader_fail(r, "members", "has more than %d elements", RAFT_MEMBERS_MAX);
        return;
    }
    for (; s->member_count < count; s->member_count++) {
        struct json_reader inner;
        if (!json_read_element(r, "members", members, s->member_count, &inner))
            return;
        read_member(&inner, &s->members[s->member_count]);
        json_read_close(r, &inner, MEMBERS_MORE);
    }
}

static void read_status(struct json_reader *r, struct api_status *s)
{
    struct json_reader inner;
    uint64_t tolerance;
    if (!json_is_null(json_object_get(r->object, "cluster")))
        s->has_cluster = json_read_hex128(r, "cluster", false, &s->cluster);
    if (!json_is_null(json_object_get(r->object, "leader")))
        json_read_name(r, "leader", false, s->leader);
    json_read_u64(r, "term", false, &s->term);
    if (json_read_object(r, "index", false, &inner)) {
        json_read_u64(&inner, "commit", true, &s->commit);
        json_read_u64(&inner, "applied", true, &s->applied);
        json_read_close(r, &inner, MEMBERS_MORE);
    }
    if (json_read_u64(r, "fault_tolerance", false, &tolerance)) {
        if (tolerance > RAFT_MEMBERS_MAX)
            json_reader_fail(r, "fault_tolerance", "must be at most %d", RAFT_MEMBERS_MAX);
        else
            s->fault_tolerance = (int)tolerance;
    }
    read_members(r, s);
    json_read_u64(r, "configuration_index", false, &s->configuration_index);
    if (json_read_object(r, "change", false, &inner)) {
        s->change.kind = read_word(&inner, "kind", kinds);
        s->change.phase = read_word(&inner, "phase", phases);
        json_read_hex64(&inner, "id", false, &s->change.id);
        json_read_close(r, &inner, MEMBERS_MORE);
    }
}

int api_status_decode(struct slice body, struct api_status *s, struct err *err)
{
    json_t *root = NULL;
    int rc = json_parse_object(body, LIMIT_JSON_DEPTH, &root, err);
    if (rc < 0)
        return rc;
    struct api_status found = {0};
    struct json_reader r;
    json_reader_init(&r, root, err);
    read_status(&r, &found);
    rc = json_reader_end(&r, MEMBERS_MORE);
    if (rc == 0)
        *s = found;
    json_decref(root);
    return rc;
}

static void read_node_parts(struct json_reader *r, struct api_node *n)
{
    struct json_reader inner;
    if (json_read_object(r, "index", true, &inner)) {
        json_read_u64(&inner, "last", true, &n->last);
        json_read_u64(&inner, "commit", true, &n->commit);
        json_read_u64(&inner, "applied", true, &n->applied);
        json_read_u64(&inner, "snapshot", true, &n->snapshot);
        json_read_u64(&inner, "first", true, &n->first);
        json_read_close(r, &inner, MEMBERS_MORE);
    }
    if (json_read_object(r, "digest", true, &inner)) {
        json_read_u64(&inner, "index", true, &n->digest_index);
        json_read_hex128(&inner, "value", true, &n->digest);
        json_read_close(r, &inner, MEMBERS_MORE);
    }
    if (json_read_object(r, "storage", true, &inner)) {
        json_read_u64(&inner, "log_bytes", true, &n->log_bytes);
        json_read_u64(&inner, "kv_bytes", true, &n->kv_bytes);
        json_read_u64(&inner, "wal_bytes", true, &n->wal_bytes);
        json_read_u64(&inner, "disk_free", true, &n->disk_free);
        json_read_u64(&inner, "log_entries", true, &n->log_entries);
        json_read_u64(&inner, "keys", true, &n->keys);
        json_read_close(r, &inner, MEMBERS_MORE);
    }
}

int api_node_decode(struct slice body, struct api_node *n, struct err *err)
{
    json_t *root = NULL;
    int rc = json_parse_object(body, LIMIT_JSON_DEPTH, &root, err);
    if (rc < 0)
        return rc;
    struct api_node found = {0};
    struct json_reader r;
    json_reader_init(&r, root, err);
    json_read_name(&r, "name", true, found.name);
    json_read_hex64(&r, "id", true, &found.id);
    found.state = read_word(&r, "state", states);
    if (!json_is_null(json_object_get(root, "leader")))
        json_read_name(&r, "leader", false, found.leader);
    json_read_u64(&r, "term", true, &found.term);
    json_read_bool(&r, "ready", true, &found.ready);
    json_read_u64(&r, "uptime_ms", true, &found.uptime_ms);
    read_node_parts(&r, &found);
    rc = json_reader_end(&r, MEMBERS_MORE);
    if (rc == 0)
        *n = found;
    json_decref(root);
    return rc;
}
