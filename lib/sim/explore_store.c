/*
 * Nodes, messages and steps, each kept once, so that a state is a few numbers and a step of a core
 * is computed once. Reading takes no lock: a number is handed out only when what it names is
 * there. Adding takes one, and is rare: there are far fewer nodes than states.
 */
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/mem.h"
#include "lib/sim/explore_internal.h"

enum {
    BLOCK_ITEMS = 1 << 12,
    BLOCKS_MAX = 1 << 14,
    CHUNK_BYTES = 1 << 18,
    INDEX_SIZE_FIRST = 1 << 12,
    STEPS_SIZE_FIRST = 1 << 14,
    TABLES_MAX = 20,
};

struct items {
    void **blocks[BLOCKS_MAX];
    uint32_t count;
    uint32_t *index; /* numbers by the hash of what they name; 0: free, so they begin at 1 */
    uint32_t index_size;
};

struct chunk {
    struct chunk *next;
    uint64_t data[];
};

struct step_slot {
    atomic_uint_fast64_t key; /* 0: free */
    const struct outcome *outcome;
};

/* A full table gets a larger one beside it; nothing moves, so readers need not wait. */
struct step_table {
    struct step_slot *slots;
    uint64_t size, used;
};

struct store {
    const struct symmetry *symmetry;
    atomic_uint_fast64_t *memory;
    pthread_mutex_t lock;
    struct items nodes, messages;
    struct chunk *chunks;
    size_t chunk_used, chunk_size;
    struct step_table tables[TABLES_MAX];
    atomic_uint table_count;
    uint64_t step_count;
};

/* ---- symmetry ---- */

static bool next_permutation(raft_id *of, uint32_t count)
{
    uint32_t i = count - 1, k = count - 1;
    while (i > 0 && of[i - 1] >= of[i])
        i--;
    if (i == 0)
        return false;
    while (of[k] <= of[i - 1])
        k--;
    raft_id swap = of[i - 1];
    of[i - 1] = of[k];
    of[k] = swap;
    for (k = count - 1; i < k; i++, k--) {
        swap = of[i];
        of[i] = of[k];
        of[k] = swap;
    }
    return true;
}

/* Of the voters' names; of the first four of them, as more would cost more than they save. Stepping
 * must not depend on names: for the one place where it does see note_heir in explore_step.c. */
void symmetry_init(struct symmetry *s, const struct explore_options *options)
{
    raft_id names[EXPLORE_NODES_MAX + 1];
    uint32_t moved = options->nodes < 4 ? (uint32_t)options->nodes : 4;
    for (raft_id id = 0; id <= EXPLORE_NODES_MAX; id++)
        names[id] = id;
    s->count = 0;
    do {
        memcpy(s->rename[s->count++], names, sizeof(names));
    } while (options->symmetry && next_permutation(&names[1], moved));
}

/* ---- memory ---- */

static void *count_alloc(struct store *s, size_t bytes)
{
    atomic_fetch_add_explicit(s->memory, bytes, memory_order_relaxed);
    return mem_zalloc(bytes);
}

static void *keep(struct store *s, size_t bytes)
{
    bytes = (bytes + 7) & ~(size_t)7;
    if (s->chunk_used + bytes > s->chunk_size) {
        size_t size = bytes > CHUNK_BYTES ? bytes : CHUNK_BYTES;
        struct chunk *chunk = count_alloc(s, sizeof(*chunk) + size);
        chunk->next = s->chunks;
        s->chunks = chunk;
        s->chunk_used = 0;
        s->chunk_size = size;
    }
    void *at = (char *)s->chunks->data + s->chunk_used;
    s->chunk_used += bytes;
    return at;
}

static void add_table(struct store *s)
{
    uint32_t count = atomic_load_explicit(&s->table_count, memory_order_relaxed);
    ASSERT(count < TABLES_MAX);
    struct step_table *t = &s->tables[count];
    t->size = (uint64_t)STEPS_SIZE_FIRST << count;
    t->slots = count_alloc(s, t->size * sizeof(t->slots[0]));
    atomic_store_explicit(&s->table_count, count + 1, memory_order_release);
}

struct store *store_new(const struct symmetry *symmetry, atomic_uint_fast64_t *memory)
{
    struct store *s = mem_zalloc(sizeof(*s));
    s->symmetry = symmetry;
    s->memory = memory;
    pthread_mutex_init(&s->lock, NULL);
    add_table(s);
    return s;
}

static void free_items(struct items *items)
{
    for (uint32_t i = 0; i < BLOCKS_MAX && items->blocks[i]; i++)
        mem_free(items->blocks[i]);
    mem_free(items->index);
}

void store_free(struct store *s)
{
    if (!s)
        return;
    free_items(&s->nodes);
    free_items(&s->messages);
    while (s->chunks) {
        struct chunk *next = s->chunks->next;
        mem_free(s->chunks);
        s->chunks = next;
    }
    for (uint32_t i = 0; i < s->table_count; i++)
        mem_free(s->tables[i].slots);
    pthread_mutex_destroy(&s->lock);
    mem_free(s);
}

/* ---- items ---- */

static void *item_of(const struct items *items, uint32_t id)
{
    return items->blocks[(id - 1) / BLOCK_ITEMS][(id - 1) % BLOCK_ITEMS];
}

const struct node_item *store_node(const struct store *s, uint32_t id)
{
    return item_of(&s->nodes, id);
}

const struct message_item *store_message(const struct store *s, uint32_t id)
{
    return item_of(&s->messages, id);
}

static void grow_index(struct store *s, struct items *items, uint64_t (*hash)(const void *))
{
    uint32_t size = items->index_size ? 2 * items->index_size : INDEX_SIZE_FIRST;
    uint32_t *index = count_alloc(s, size * sizeof(*index));
    for (uint32_t id = 1; id <= items->count; id++) {
        uint64_t at = hash(item_of(items, id));
        while (index[at & (size - 1)] != 0)
            at++;
        index[at & (size - 1)] = id;
    }
    atomic_fetch_sub_explicit(s->memory, items->index_size * sizeof(*index), memory_order_relaxed);
    mem_free(items->index);
    items->index = index;
    items->index_size = size;
}

/* Where `id` is to be entered, in a table that has room. */
static uint32_t *find_index(struct items *items, struct digest d,
                            bool (*is)(const void *, struct digest))
{
    uint64_t at = d.lo;
    for (;; at++) {
        uint32_t *slot = &items->index[at & (items->index_size - 1)];
        if (*slot == 0 || is(item_of(items, *slot), d))
            return slot;
    }
}

static void enter(struct store *s, struct items *items, uint32_t *slot, void *item)
{
    uint32_t block = items->count / BLOCK_ITEMS;
    ASSERT(block < BLOCKS_MAX);
    if (!items->blocks[block])
        items->blocks[block] = count_alloc(s, BLOCK_ITEMS * sizeof(void *));
    items->blocks[block][items->count++ % BLOCK_ITEMS] = item;
    *slot = items->count;
}

static uint64_t node_hash(const void *item)
{
    return ((const struct node_item *)item)->hashes[0].lo;
}

static bool node_is(const void *item, struct digest d)
{
    return digest_equal(((const struct node_item *)item)->hashes[0], d);
}

static uint64_t message_hash(const void *item)
{
    return ((const struct message_item *)item)->hashes[0].lo;
}

static bool message_is(const void *item, struct digest d)
{
    return digest_equal(((const struct message_item *)item)->hashes[0], d);
}

static void look_for_joint(struct view *v, const struct entries *log)
{
    for (uint32_t i = 0; i < log->configuration_count; i++) {
        const struct configuration *c = &log->configurations[i];
        bool is_joint = false;
        for (raft_id id = 1; id <= EXPLORE_NODES_MAX; id++)
            is_joint = is_joint || (member_byte(c->members, id) & RAFT_VOTER_OLD);
        if (!is_joint)
            continue;
        v->joint_index = c->index;
        v->joint_members = c->members;
    }
}

static void look(struct view *v, const struct node *n, const struct raft *r)
{
    struct raft_progress_view progress[RAFT_MEMBERS_MAX];
    memset(v, 0, sizeof(*v));
    v->log = entries_terms(&n->log);
    v->disk_log = entries_terms(&n->disk.log);
    v->members = members_of(raft_configuration_latest(r));
    look_for_joint(v, &n->log);
    v->led = n->led;
    v->last = n->log.last;
    v->disk_last = n->disk.log.last;
    v->commit = (uint8_t)raft_commit_index(r);
    v->durable = (uint8_t)raft_durable_index(r);
    v->snapshot = (uint8_t)raft_snapshot_index(r);
    v->term = (uint8_t)raft_term_current(r);
    v->disk_term = n->disk.term;
    v->state = (uint8_t)raft_state(r);
    v->write_count = n->write_count;
    v->read_count = n->read_count;
    v->has_leader = raft_leader(r) != 0;
    /* (A member that leaves is in no view; a leader with a change behind it may have one.) */
    v->is_late = raft_state(r) == RAFT_LEADER &&
                 (raft_transfer_target(r) != 0 || n->log.configuration_count > 1);
    v->asks = raft_state(r) == RAFT_FOLLOWER && n->read_count > 0;
    uint32_t count = raft_progress(r, progress);
    for (uint32_t i = 0; i < count; i++)
        if (progress[i].id != n->id)
            v->match[progress[i].id - 1] = (uint8_t)progress[i].match;
}

uint32_t store_add_node(struct store *s, const struct node *n, const struct raft *core)
{
    struct bytes b;
    struct digest hashes[PERMUTATIONS_MAX];
    node_put(&b, n, core, NULL);
    hashes[0] = digest_bytes(b.data, b.len, 1);
    pthread_mutex_lock(&s->lock);
    if (4 * (s->nodes.count + 1) > 3 * s->nodes.index_size)
        grow_index(s, &s->nodes, node_hash);
    uint32_t *slot = find_index(&s->nodes, hashes[0], node_is);
    if (*slot == 0) {
        struct node_item *item = keep(s, sizeof(*item) + b.len);
        struct digest *own = keep(s, s->symmetry->count * sizeof(own[0]));
        item->bytes = b.len;
        memcpy(item->data, b.data, b.len);
        look(&item->view, n, core);
        own[0] = hashes[0];
        for (uint32_t i = 1; i < s->symmetry->count; i++) {
            node_put(&b, n, core, s->symmetry->rename[i]);
            own[i] = digest_bytes(b.data, b.len, 1);
        }
        item->hashes = own;
        enter(s, &s->nodes, slot, item);
    }
    uint32_t id = *slot;
    pthread_mutex_unlock(&s->lock);
    return id;
}

uint32_t store_add_message(struct store *s, const struct message *m)
{
    struct bytes b;
    struct digest hashes[PERMUTATIONS_MAX];
    message_put(&b, m, NULL);
    hashes[0] = digest_bytes(b.data, b.len, 2);
    pthread_mutex_lock(&s->lock);
    if (4 * (s->messages.count + 1) > 3 * s->messages.index_size)
        grow_index(s, &s->messages, message_hash);
    uint32_t *slot = find_index(&s->messages, hashes[0], message_is);
    if (*slot == 0) {
        struct message_item *item = keep(s, sizeof(*item) + b.len);
        struct digest *own = keep(s, s->symmetry->count * sizeof(own[0]));
        item->bytes = b.len;
        memcpy(item->data, b.data, b.len);
        item->kind = (uint8_t)m->kind;
        item->type = (uint8_t)m->raft.type;
        item->from = (uint8_t)m->raft.from;
        item->to = (uint8_t)m->raft.to;
        own[0] = hashes[0];
        for (uint32_t i = 1; i < s->symmetry->count; i++) {
            message_put(&b, m, s->symmetry->rename[i]);
            own[i] = digest_bytes(b.data, b.len, 2);
        }
        item->hashes = own;
        enter(s, &s->messages, slot, item);
    }
    uint32_t id = *slot;
    pthread_mutex_unlock(&s->lock);
    return id;
}

/* ---- steps ---- */

static uint64_t mix(uint64_t key)
{
    key *= 0x9e3779b97f4a7c15u;
    return key ^ key >> 32;
}

static struct step_slot *find_slot(const struct step_table *t, uint64_t key, bool *found)
{
    for (uint64_t at = mix(key);; at++) {
        struct step_slot *slot = &t->slots[at & (t->size - 1)];
        uint64_t there = atomic_load_explicit(&slot->key, memory_order_acquire);
        *found = there == key;
        if (*found || there == 0)
            return slot;
    }
}

/* Node numbers begin at 1, so no key is 0. */
const struct outcome *store_find_step(const struct store *s, uint64_t key)
{
    uint32_t count = atomic_load_explicit(&s->table_count, memory_order_acquire);
    for (uint32_t i = count; i > 0; i--) {
        bool found;
        const struct step_slot *slot = find_slot(&s->tables[i - 1], key, &found);
        if (found)
            return slot->outcome;
    }
    return NULL;
}

const struct outcome *store_add_step(struct store *s, uint64_t key, const struct outcome *o)
{
    pthread_mutex_lock(&s->lock);
    const struct outcome *known = store_find_step(s, key);
    if (!known) {
        size_t bytes = sizeof(*o) + o->count * sizeof(o->messages[0]);
        struct outcome *own = keep(s, bytes);
        memcpy(own, o, bytes);
        known = own;
        struct step_table *t = &s->tables[s->table_count - 1];
        if (2 * t->used >= t->size) {
            add_table(s);
            t = &s->tables[s->table_count - 1];
        }
        bool found;
        struct step_slot *slot = find_slot(t, key, &found);
        slot->outcome = own;
        atomic_store_explicit(&slot->key, key, memory_order_release);
        t->used++;
        s->step_count++;
    }
    pthread_mutex_unlock(&s->lock);
    return known;
}

void store_counts(const struct store *s, struct explore_report *report)
{
    report->node_states = s->nodes.count;
    report->message_kinds = s->messages.count;
    report->core_steps = s->step_count;
    report->permutations = s->symmetry->count;
}
