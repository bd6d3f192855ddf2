/*
 * Applying a batch: all of its writes have the version of its entry. As with single writes,
 * whatever may fail comes first, for all of them, and what changes something cannot fail.
 */
#include <string.h>

#include "lib/base/check.h"
#include "lib/kv/state_internal.h"

struct place {
    uint64_t hash;         /* of the key in the overlay */
    struct memrow *newest; /* the key's row there */
};

static int evaluate(struct state *s, const struct command *c, struct place *places, uint32_t *count,
                    uint8_t existed[BATCH_EXISTED_BYTES], struct err *err)
{
    struct slice rest = c->writes;
    struct command_write w;
    uint32_t i = 0;
    for (; command_write_next(&rest, &w); i++) {
        uint64_t version;
        places[i].hash = hash_index_hash(&s->overlay, w.key);
        places[i].newest = overlay_find(&s->overlay, w.key, places[i].hash);
        if (w.op != COMMAND_DELETE)
            continue;
        int rc = state_key_version(s, w.key, places[i].newest, &version, err);
        if (rc != 0)
            return rc;
        if (version > 0)
            existed[i / 8] |= (uint8_t)(1u << i % 8);
    }
    *count = i;
    return 0;
}

/*
 * Each row gets an entry of its own that holds just its key and value: were it the whole batch, a
 * row could keep two megabytes in memory that are accounted to no one, or to each of a thousand
 * rows.
 */
static void write_row(struct state *s, const struct place *place, const struct command_write *w,
                      uint64_t version, uint64_t wall_ms)
{
    struct entry *own = entry_alloc(RAFT_NORMAL, w->key.len + w->value.len);
    uint8_t *value = own->data + w->key.len;
    memcpy(own->data, w->key.data, w->key.len);
    if (w->value.len > 0)
        memcpy(value, w->value.data, w->value.len);
    struct row row = {
        .key = slice_of(own->data, w->key.len),
        .value = slice_of(value, w->value.len),
        .version = version,
        .timestamp_ms = wall_ms,
    };
    memtable_write(state_active(s), &s->overlay, place->newest, place->hash, own, &row,
                   w->op == COMMAND_DELETE);
    entry_unref(own);
}

int batch_apply(struct state *s, const struct entry *e, const struct command *c,
                struct apply_result *result, struct err *err)
{
    struct place places[LIMIT_BATCH_WRITES];
    ASSERT(c->write_count <= LIMIT_BATCH_WRITES);
    memset(result->batch_existed, 0, sizeof(result->batch_existed));
    uint32_t count = 0;
    int rc = evaluate(s, c, places, &count, result->batch_existed, err);
    if (rc != 0)
        return rc;
    struct slice rest = c->writes;
    struct command_write w;
    for (uint32_t i = 0; i < count && command_write_next(&rest, &w); i++)
        if (w.op == COMMAND_PUT || batch_existed(result->batch_existed, i))
            write_row(s, &places[i], &w, e->index, c->wall_ms);
    result->version = e->index;
    result->timestamp_ms = c->wall_ms;
    return 0;
}
