/*
 * The state machine against a naive model under random operations: writes of every kind, freezing,
 * flushing (also a reader between flush and drop), failing disks, restarts and resets that apply
 * the log again. Gets and scans with all their parameters are compared, and every answer of an
 * entry applied a second time with its first.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"
#include "tests/support/kv_maker.h"
#include "tests/unit/tap.h"

enum {
    SEEDS = 120,
    OPERATIONS = 700, /* per seed */
    KEY_MAX = 4,
    KEYS_MAX = 512,
    CLIENTS = 6,
};

/* ---- the model: plain arrays, everything searched from the beginning */

struct model_row {
    uint8_t key[KEY_MAX];
    size_t key_len;
    char value[24];
    uint64_t version, timestamp_ms;
};

struct model {
    struct model_row rows[KEYS_MAX];
    size_t row_count;
    struct session sessions[CLIENTS];
    size_t session_count, sessions_max;
    uint64_t ttl_ms, now_ms;
    raft_index applied, configuration_index;
};

static struct model_row *model_find(struct model *m, struct slice key)
{
    for (size_t i = 0; i < m->row_count; i++)
        if (slice_compare(slice_of(m->rows[i].key, m->rows[i].key_len), key) == 0)
            return &m->rows[i];
    return NULL;
}

static struct session *model_session(struct model *m, struct slice client)
{
    for (size_t i = 0; i < m->session_count; i++)
        if (slice_compare(slice_str(m->sessions[i].client), client) == 0)
            return &m->sessions[i];
    return NULL;
}

static void model_drop_session(struct model *m, const struct session *s)
{
    m->sessions[s - m->sessions] = m->sessions[--m->session_count];
}

static void model_single(struct model *m, const struct command *c, struct apply_result *r)
{
    struct model_row *row = model_find(m, c->key);
    uint64_t version = row ? row->version : 0;
    if ((c->condition == CONDITION_VERSION && version != c->expected) ||
        (c->condition == CONDITION_ABSENT && version != 0)) {
        r->status = ERR_PRECONDITION_FAILED;
        r->version = version;
        return;
    }
    r->version = r->index;
    r->timestamp_ms = c->wall_ms;
    if (c->op == COMMAND_DELETE) {
        r->existed = row != NULL;
        if (row)
            *row = m->rows[--m->row_count];
        return;
    }
    if (!row) {
        must(m->row_count < KEYS_MAX);
        row = &m->rows[m->row_count++];
        memcpy(row->key, c->key.data, c->key.len);
        row->key_len = c->key.len;
    }
    must(c->value.len < sizeof(row->value));
    memset(row->value, 0, sizeof(row->value));
    memcpy(row->value, c->value.data, c->value.len);
    row->version = r->index;
    row->timestamp_ms = c->wall_ms;
}

static void model_write(struct model *m, const struct command *c, struct apply_result *r)
{
    if (c->op != COMMAND_BATCH) {
        model_single(m, c, r);
        return;
    }
    struct slice rest = c->writes;
    struct command_write w;
    for (uint32_t i = 0; command_write_next(&rest, &w); i++) {
        struct apply_result one = {.index = r->index};
        struct command single = {.op = w.op, .wall_ms = c->wall_ms, .key = w.key, .value = w.value};
        model_single(m, &single, &one);
        if (one.existed)
            r->batch_existed[i / 8] |= (uint8_t)(1u << i % 8);
    }
    r->version = r->index;
    r->timestamp_ms = c->wall_ms;
}

static void model_session_write(struct model *m, const struct command *c, struct apply_result *r)
{
    struct session *s = model_session(m, c->client);
    if (!s && c->seq > 1) {
        r->status = ERR_SESSION_UNKNOWN;
    } else if (s && c->seq < s->seq) {
        r->status = ERR_SEQ_OLD;
    } else if (s && c->seq == s->seq && command_fingerprint(c) != s->fingerprint) {
        r->status = ERR_SEQ_REUSED;
    } else if (s && c->seq == s->seq) {
        r->replayed = true;
        r->status = s->status;
        r->existed = s->existed;
        r->version = s->version;
        r->timestamp_ms = s->timestamp_ms;
        memcpy(r->batch_existed, s->batch_existed, sizeof(r->batch_existed));
        s->used_ms = m->now_ms;
        s->used_index = r->index;
    } else {
        model_write(m, c, r);
        if (!s) {
            while (m->session_count >= m->sessions_max) {
                const struct session *least = &m->sessions[0];
                for (size_t i = 1; i < m->session_count; i++)
                    if (m->sessions[i].used_index < least->used_index)
                        least = &m->sessions[i];
                model_drop_session(m, least);
            }
            must(m->session_count < CLIENTS);
            s = &m->sessions[m->session_count++];
            memset(s, 0, sizeof(*s));
            memcpy(s->client, c->client.data, c->client.len);
        }
        s->seq = c->seq;
        s->fingerprint = command_fingerprint(c);
        s->status = r->status;
        s->existed = r->existed;
        s->version = r->version;
        s->timestamp_ms = r->timestamp_ms;
        memcpy(s->batch_existed, r->batch_existed, sizeof(r->batch_existed));
        s->used_ms = m->now_ms;
        s->used_index = r->index;
    }
}

static struct apply_result model_apply(struct model *m, const struct entry *e)
{
    struct apply_result r = {.index = e->index};
    m->applied = e->index;
    if (e->kind == RAFT_CONFIGURATION)
        m->configuration_index = e->index;
    if (e->kind != RAFT_NORMAL)
        return r;
    struct command c;
    must(command_decode(slice_of(e->data, e->size), &c, NULL) == 0);
    if (c.cluster_time_ms > m->now_ms)
        m->now_ms = c.cluster_time_ms;
    if (c.op == COMMAND_EXPIRE_SESSIONS) {
        for (uint32_t i = 0; i < c.expire_count; i++) {
            const struct session *s = model_session(m, c.expire[i]);
            if (s && s->used_ms + m->ttl_ms <= c.cluster_time_ms)
                model_drop_session(m, s);
        }
    } else if (c.client.len > 0) {
        model_session_write(m, &c, &r);
    } else {
        model_write(m, &c, &r);
    }
    return r;
}

/* ---- random input */

struct world {
    struct prng prng;
    struct kv_rig rig;
    struct model model;
    struct entry *log[OPERATIONS + 1]; /* by index */
    struct apply_result answers[OPERATIONS + 1];
    uint64_t wall_ms;
    const char *failure; /* the first difference */
};

static uint64_t below(struct world *w, uint64_t bound)
{
    return prng_below(&w->prng, bound);
}

static void differ(struct world *w, const char *what)
{
    if (!w->failure)
        w->failure = what;
}

static struct slice random_key(struct world *w, uint8_t room[KEY_MAX], bool may_be_empty)
{
    static const uint8_t alphabet[] = {0x00, 'a', 'b', 0xff};
    size_t len = may_be_empty && below(w, 3) == 0 ? 0 : 1 + below(w, KEY_MAX);
    for (size_t i = 0; i < len; i++)
        room[i] = alphabet[below(w, sizeof(alphabet))];
    return slice_of(room, len);
}

static int by_key(const void *a, const void *b)
{
    return slice_compare(((const struct command_write *)a)->key,
                         ((const struct command_write *)b)->key);
}

/* Distinct keys in order; often such as are there. */
static struct command random_batch(struct world *w, const char *value, struct buf *room)
{
    enum { WRITES = 20 };
    uint8_t keys[WRITES][KEY_MAX];
    struct command_write writes[WRITES];
    uint32_t count = 0, wanted = 1 + (uint32_t)below(w, WRITES);
    for (uint32_t i = 0; i < wanted; i++) {
        bool deletes = below(w, 3) == 0;
        writes[i] = (struct command_write){
            .op = deletes ? COMMAND_DELETE : COMMAND_PUT,
            .key = random_key(w, keys[i], false),
            .value = deletes ? slice_of(NULL, 0) : slice_str(value),
        };
    }
    qsort(writes, wanted, sizeof(writes[0]), by_key);
    for (uint32_t i = 0; i < wanted; i++)
        if (count == 0 || slice_compare(writes[count - 1].key, writes[i].key) != 0)
            writes[count++] = writes[i];
    return make_batch(room, writes, count);
}

static struct entry *random_write(struct world *w, raft_index index)
{
    static const char *const clients[CLIENTS] = {"a", "b", "c", "d", "e", "f"};
    uint8_t key[KEY_MAX];
    char value[24];
    (void)snprintf(value, sizeof(value), "%" PRIu64, index);
    w->wall_ms += below(w, 3);
    uint64_t cluster_ms = w->model.now_ms + below(w, 40);
    if (below(w, 10) == 0)
        cluster_ms = below(w, cluster_ms + 1); /* a leader whose time is behind */
    if (below(w, 12) == 0) {
        struct command x = make_expire(clients, 1 + (uint32_t)below(w, CLIENTS), cluster_ms);
        return make_entry(&x, index, w->rig.term);
    }
    struct command c = below(w, 3) == 0 ? make_delete("") : make_put("", below(w, 9) ? value : "");
    struct buf room;
    buf_init(&room, 4096);
    bool batch = below(w, 4) == 0;
    if (batch)
        c = random_batch(w, value, &room);
    c = with_time(c, w->wall_ms, cluster_ms);
    if (!batch)
        c.key = random_key(w, key, false);
    const struct model_row *row = batch ? NULL : model_find(&w->model, c.key);
    if (!batch && below(w, 4) == 0)
        c = with_version(c, row && below(w, 2) ? row->version : 1 + below(w, index));
    else if (c.op == COMMAND_PUT && below(w, 5) == 0) /* batches have no conditions */
        c = with_absent(c);
    if (below(w, 2) == 0) {
        const char *client = clients[below(w, CLIENTS)];
        const struct session *s = model_session(&w->model, slice_str(client));
        uint64_t seq = s ? s->seq + 2 - below(w, 4) : 1 + below(w, 2) * below(w, 2);
        c = with_client(c, client, seq > 0 ? seq : 1);
    }
    struct entry *e = make_entry(&c, index, w->rig.term);
    buf_release(&room);
    return e;
}

static struct entry *random_entry(struct world *w)
{
    raft_index index = w->rig.index + 1;
    if (below(w, 40) == 0) {
        w->rig.term++;
        return make_noop(index, w->rig.term);
    }
    if (below(w, 60) == 0) {
        struct membership m = make_membership(1 + (uint32_t)below(w, 5), index);
        return make_configuration(&m, index, w->rig.term);
    }
    /* Often a client's last request again, as a retry. */
    if (below(w, 5) == 0) {
        for (raft_index i = index - 1; i > 0 && i + 5 > index; i--) {
            const struct entry *old = w->log[i];
            if (old->kind != RAFT_NORMAL || below(w, 2) == 0)
                continue;
            struct entry *again = entry_new(RAFT_NORMAL, old->data, old->size);
            entry_place(again, index, w->rig.term);
            return again;
        }
    }
    return random_write(w, index);
}

/* ---- one step each */

static bool answer_equal(const struct apply_result *a, const struct apply_result *b)
{
    return a->index == b->index && a->status == b->status && a->replayed == b->replayed &&
           a->existed == b->existed && a->version == b->version &&
           a->timestamp_ms == b->timestamp_ms &&
           memcmp(a->batch_existed, b->batch_existed, sizeof(a->batch_existed)) == 0;
}

static void step_apply(struct world *w)
{
    struct entry *e = random_entry(w);
    struct apply_result r;
    if (below(w, 10) == 0) {
        w->rig.trap.calls = 0;
        w->rig.trap.fail_at = 1;
        int rc = state_apply(w->rig.state, e, &r, NULL);
        w->rig.trap.fail_at = 0;
        if (rc != 0 && (rc != ERR_IO || state_applied(w->rig.state) != w->rig.index))
            differ(w, "a failed apply");
        if (rc != 0 && state_apply(w->rig.state, e, &r, NULL) != 0)
            differ(w, "an apply tried again");
    } else if (state_apply(w->rig.state, e, &r, NULL) != 0) {
        differ(w, "an apply failed");
    }
    w->rig.index++;
    w->log[w->rig.index] = e;
    w->answers[w->rig.index] = model_apply(&w->model, e);
    if (!answer_equal(&r, &w->answers[w->rig.index]))
        differ(w, "an answer");
}

/* The log again, from what the base has: after a crash, or a snapshot. */
static void apply_again(struct world *w)
{
    for (raft_index i = state_applied(w->rig.state) + 1; i <= w->rig.index; i++) {
        struct apply_result r;
        if (state_apply(w->rig.state, w->log[i], &r, NULL) != 0)
            differ(w, "an apply after a restart failed");
        if (!answer_equal(&r, &w->answers[i]))
            differ(w, "an answer after a restart");
    }
}

static void step_restart(struct world *w)
{
    struct state_image image;
    base_map_image(w->rig.map, &image);
    if (below(w, 2) == 0) {
        state_reset(w->rig.state, &image);
    } else {
        state_free(w->rig.state);
        w->rig.state = state_new(&w->rig.options, &w->rig.trap.base, &image);
    }
    apply_again(w);
}

static void check_get(struct world *w)
{
    uint8_t room[KEY_MAX];
    struct slice key = random_key(w, room, false);
    const struct model_row *want = model_find(&w->model, key);
    struct row row;
    int rc = state_get(w->rig.state, key, &row, NULL);
    bool equal = want ? rc == 0 && slice_compare(row.key, key) == 0 &&
                            slice_compare(row.value, slice_str(want->value)) == 0 &&
                            row.version == want->version && row.timestamp_ms == want->timestamp_ms
                      : rc == ERR_NOT_FOUND;
    if (!equal)
        differ(w, "a get");
}

static bool in_range(const struct state_scan *s, struct slice key)
{
    if (key.len < s->prefix.len ||
        (s->prefix.len > 0 && memcmp(key.data, s->prefix.data, s->prefix.len) != 0))
        return false;
    if (slice_compare(key, s->start) < 0)
        return false;
    if (s->end.len > 0 && slice_compare(key, s->end) >= 0)
        return false;
    if (s->after.len == 0)
        return true;
    int side = slice_compare(key, s->after);
    return s->reverse ? side < 0 : side > 0;
}

static int compare_rows(const void *a, const void *b)
{
    const struct model_row *x = a, *y = b;
    return slice_compare(slice_of(x->key, x->key_len), slice_of(y->key, y->key_len));
}

struct page {
    const struct model_row *want[KEYS_MAX];
    size_t count, at;
    bool keys_only, equal;
};

static int emit(void *argument, const struct row *row)
{
    struct page *p = argument;
    if (p->at >= p->count) {
        p->equal = false;
        return 1;
    }
    const struct model_row *want = p->want[p->at++];
    p->equal = p->equal && slice_compare(row->key, slice_of(want->key, want->key_len)) == 0 &&
               slice_compare(row->value, slice_str(p->keys_only ? "" : want->value)) == 0 &&
               row->version == want->version && row->timestamp_ms == want->timestamp_ms;
    return 0;
}

static void check_scan(struct world *w)
{
    struct model *m = &w->model;
    uint8_t room[4][KEY_MAX];
    struct state_scan s = {
        .prefix = random_key(w, room[0], true),
        .start = random_key(w, room[1], true),
        .end = random_key(w, room[2], true),
        .after = random_key(w, room[3], true),
        .reverse = below(w, 2) == 0,
        .keys_only = below(w, 3) == 0,
        .limit = below(w, 2) ? 1000 : 1 + (uint32_t)below(w, 8),
        .bytes_max = below(w, 2) ? 100000 : below(w, 60),
    };
    if (s.prefix.len > 1 && below(w, 2))
        s.prefix.len = 1;
    qsort(m->rows, m->row_count, sizeof(m->rows[0]), compare_rows);
    struct page page = {.keys_only = s.keys_only, .equal = true};
    bool want_more = false;
    uint64_t bytes = 0;
    for (size_t i = 0; i < m->row_count && !want_more; i++) {
        const struct model_row *row = &m->rows[s.reverse ? m->row_count - 1 - i : i];
        if (!in_range(&s, slice_of(row->key, row->key_len)))
            continue;
        uint64_t size = row->key_len + (s.keys_only ? 0 : strlen(row->value));
        want_more = page.count == s.limit || (page.count > 0 && bytes + size > s.bytes_max);
        if (!want_more) {
            page.want[page.count++] = row;
            bytes += size;
        }
    }
    bool more;
    int rc = state_scan(w->rig.state, &s, emit, &page, &more, NULL);
    if (rc != 0 || !page.equal || page.at != page.count || more != want_more)
        differ(w, "a scan");
}

static void step_flush(struct world *w)
{
    const struct memtable *m = state_oldest_frozen(w->rig.state);
    if (!m)
        return;
    base_map_flush(w->rig.map, m);
    if (below(w, 3) == 0) {
        step_restart(w); /* the crash between flush and drop */
        return;
    }
    for (uint64_t n = below(w, 4); n > 0;
         n--) { /* between the two, readers see rows twice over, never a gap */
        check_get(w);
        check_scan(w);
    }
    if (below(w, 2) && w->rig.index < OPERATIONS)
        step_apply(w);
    state_flushed(w->rig.state, m);
}

static void check_sessions(struct world *w)
{
    const struct model *m = &w->model;
    char ids[COMMAND_EXPIRE_MAX][COMMAND_CLIENT_BYTES + 1];
    uint64_t now_ms = m->now_ms + below(w, 300);
    size_t want = 0, count = state_sessions_expired(w->rig.state, now_ms, ids);
    for (size_t i = 0; i < m->session_count; i++)
        want += m->sessions[i].used_ms + m->ttl_ms <= now_ms;
    if (count != want || state_session_count(w->rig.state) != m->session_count)
        differ(w, "the number of sessions");
    if (state_applied(w->rig.state) != m->applied ||
        state_cluster_time_ms(w->rig.state) != m->now_ms ||
        state_membership(w->rig.state)->configuration.index != m->configuration_index)
        differ(w, "applied index, cluster time or membership");
}

/* All flushed, the base says what the model says. */
static void check_base(struct world *w)
{
    kv_rig_flush(&w->rig);
    struct state_image image;
    base_map_image(w->rig.map, &image);
    bool equal = image.applied == w->model.applied && image.cluster_time_ms == w->model.now_ms &&
                 image.session_count == w->model.session_count &&
                 base_map_row_count(w->rig.map) == w->model.row_count;
    for (size_t i = 0; i < image.session_count && equal; i++) {
        const struct session *s = model_session(&w->model, slice_str(image.sessions[i].client));
        equal = s && session_equal(s, &image.sessions[i]);
    }
    struct state_limits limits;
    state_limits(w->rig.state, &limits);
    equal = equal && limits.overlay_rows == 0 && limits.overlay_bytes == 0 && limits.frozen == 0 &&
            limits.flushed == limits.applied;
    if (!equal)
        differ(w, "the base");
}

static void run_seed(struct world *w, uint64_t seed)
{
    memset(w, 0, sizeof(*w));
    prng_seed(&w->prng, seed);
    struct state_options options = kv_rig_options();
    options.memtable_rows_max = 1 + (uint32_t)below(w, 60);
    options.memtable_bytes_max = below(w, 3) ? UINT64_MAX : 300 + below(w, 4000);
    options.index_stride = (uint32_t)(below(w, 2) * (2 + below(w, 40)));
    options.sessions_max = 1 + (uint32_t)below(w, CLIENTS);
    options.session_ttl_ms = 50 + below(w, 200);
    kv_rig_init(&w->rig, &options);
    w->model.ttl_ms = options.session_ttl_ms;
    w->model.sessions_max = options.sessions_max;
    uint64_t flush_often = 1 + below(w, 30); /* some worlds pile up memtables */
    while (w->rig.index < OPERATIONS && !w->failure) {
        step_apply(w);
        if (below(w, 25) == 0)
            (void)state_freeze(w->rig.state);
        if (below(w, flush_often) == 0)
            step_flush(w);
        if (below(w, 120) == 0)
            step_restart(w);
        check_get(w);
        if (below(w, 2) == 0)
            check_scan(w);
        if (below(w, 4) == 0)
            check_sessions(w);
        if (below(w, 200) == 0)
            check_base(w);
    }
    raft_index reached = w->rig.index;
    if (!w->failure)
        check_base(w);
    if (!ok(w->failure == NULL, "seed %" PRIu64, seed))
        diag("%s differs at index %" PRIu64, w->failure, reached);
    for (raft_index i = 1; i <= w->rig.index; i++)
        entry_unref(w->log[i]);
    kv_rig_release(&w->rig);
}

int main(void)
{
    struct world *w = mem_alloc(sizeof(*w));
    uint64_t seed = test_seed();
    for (uint64_t i = 0; i < SEEDS; i++)
        run_seed(w, seed + i);
    mem_free(w);
    return done();
}
