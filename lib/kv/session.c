/* Client sessions: look-up, judgement of sequence numbers, eviction and expiry. */
#include <stdlib.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/mem.h"
#include "lib/kv/session_internal.h"

enum { SESSIONS_EXPECTED = 8192 };

_Static_assert(offsetof(struct live_session, link) == 0, "a link is its session");

void sessions_init(struct session_table *t, size_t max, uint64_t ttl_ms)
{
    ASSERT(max > 0);
    hash_index_init(&t->index, max < SESSIONS_EXPECTED ? max : SESSIONS_EXPECTED);
    TAILQ_INIT(&t->used);
    TAILQ_INIT(&t->gone);
    t->count = 0;
    t->max = max;
    t->ttl_ms = ttl_ms;
}

static void free_list(struct session_list *list)
{
    struct live_session *live;
    while ((live = TAILQ_FIRST(list))) {
        TAILQ_REMOVE(list, live, uses);
        mem_free(live);
    }
}

void sessions_release(struct session_table *t)
{
    free_list(&t->used);
    free_list(&t->gone);
    hash_index_release(&t->index);
    t->count = 0;
}

/* Gone ones too. */
static struct live_session *find_any(const struct session_table *t, struct slice client,
                                     uint64_t hash)
{
    for (struct hash_link *link = hash_index_chain(&t->index, hash); link; link = link->next) {
        if (link->hash != hash)
            continue;
        struct live_session *live = (struct live_session *)link;
        if (slice_compare(slice_str(live->session.client), client) == 0)
            return live;
    }
    return NULL;
}

struct live_session *sessions_find(const struct session_table *t, struct slice client)
{
    struct live_session *live = find_any(t, client, hash_index_hash(&t->index, client));
    return live && !live->gone ? live : NULL;
}

int session_judge(const struct live_session *known, uint64_t seq, uint64_t fingerprint)
{
    if (!known)
        return seq == 1 ? SESSION_NEW_REQUEST : ERR_SESSION_UNKNOWN;
    if (seq > known->session.seq)
        return SESSION_NEW_REQUEST;
    if (seq < known->session.seq)
        return ERR_SEQ_OLD;
    return fingerprint == known->session.fingerprint ? SESSION_REPLAY : ERR_SEQ_REUSED;
}

static void note(struct memtable *m, struct live_session *live)
{
    memtable_note_session(m, &live->session, live->gone, live->table != m->number, &live->record);
    live->table = m->number;
}

static void remove_session(struct session_table *t, struct memtable *m, struct live_session *live)
{
    ASSERT(!live->gone);
    TAILQ_REMOVE(&t->used, live, uses);
    TAILQ_INSERT_TAIL(&t->gone, live, uses);
    live->gone = true;
    t->count--;
    note(m, live);
}

/* A session that is not there yet, or only as gone; the last of `used`. */
static struct live_session *add_session(struct session_table *t, const char *client)
{
    struct slice id = slice_str(client);
    uint64_t hash = hash_index_hash(&t->index, id);
    struct live_session *live = find_any(t, id, hash);
    if (live) {
        ASSERT(live->gone);
        TAILQ_REMOVE(&t->gone, live, uses);
        live->gone = false;
    } else {
        live = mem_zalloc(sizeof(*live));
        live->link.hash = hash;
        memcpy(live->session.client, client, id.len + 1);
        hash_index_insert(&t->index, &live->link);
    }
    TAILQ_INSERT_TAIL(&t->used, live, uses);
    t->count++;
    return live;
}

void sessions_put(struct session_table *t, struct memtable *m, struct live_session *known,
                  const struct session *next)
{
    if (known) {
        TAILQ_REMOVE(&t->used, known, uses);
        TAILQ_INSERT_TAIL(&t->used, known, uses);
    } else {
        while (t->count >= t->max)
            remove_session(t, m, TAILQ_FIRST(&t->used));
        known = add_session(t, next->client);
    }
    ASSERT(!known->gone && strcmp(known->session.client, next->client) == 0);
    ASSERT(next->used_index > known->session.used_index || known->session.seq == 0);
    known->session = *next;
    note(m, known);
}

bool session_expired(const struct session_table *t, const struct session *session, uint64_t now_ms)
{
    return now_ms > session->used_ms && now_ms - session->used_ms >= t->ttl_ms;
}

void sessions_expire(struct session_table *t, struct memtable *m, struct slice client,
                     uint64_t now_ms)
{
    struct live_session *live = sessions_find(t, client);
    if (live && session_expired(t, &live->session, now_ms))
        remove_session(t, m, live);
}

void sessions_frozen(struct session_table *t)
{
    struct live_session *live;
    while ((live = TAILQ_FIRST(&t->gone))) {
        TAILQ_REMOVE(&t->gone, live, uses);
        hash_index_remove(&t->index, &live->link);
        mem_free(live);
    }
}

static int compare_use(const void *a, const void *b)
{
    const struct session *const *x = a, *const *y = b;
    uint64_t left = (*x)->used_index, right = (*y)->used_index;
    return left < right ? -1 : left > right;
}

void sessions_load(struct session_table *t, const struct session *sessions, size_t count)
{
    if (count == 0)
        return;
    const struct session **order = mem_calloc(count, sizeof(*order));
    for (size_t i = 0; i < count; i++)
        order[i] = &sessions[i];
    qsort(order, count, sizeof(*order), compare_use);
    for (size_t i = 0; i < count; i++)
        add_session(t, order[i]->client)->session = *order[i];
    mem_free(order);
}
