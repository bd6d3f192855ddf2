/*
 * The parts of the search (explore.h), by file:
 *
 *     explore_node.c    a node, a message: as values, as bytes
 *     explore_disk.c    logs and disks, crash and start
 *     explore_step.c    what one event does to one node, by the real core
 *     explore_store.c   nodes, messages and steps, each kept once; symmetry
 *     explore_seen.c    fingerprints of the states seen
 *     explore_expand.c  the successors of a state
 *     explore_check.c   what must hold between nodes
 *     explore_search.c  breadth first, on several threads
 *     explore_path.c    the way to a violation, told
 */
#ifndef RAFTKV_SIM_EXPLORE_INTERNAL_H
#define RAFTKV_SIM_EXPLORE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "lib/base/hash.h"
#include "lib/raft/raft.h"
#include "lib/sim/explore.h"

enum {
    CONFIGURATIONS_MAX = 8, /* in one log */
    WRITES_MAX = 4,         /* of one node, on their way to its disk */
    READS_MAX = 4,          /* of one node */
    SENT_MAX = 24,          /* messages of one step */
    PERMUTATIONS_MAX = 24,
    ITEM_BYTES_MAX = 2048, /* a node or a message */
    NOW_US = 1000000000,   /* when every step happens */
    HEARTBEAT_US = 1000,
    ELECTION_US = 1000000,
};

/* ---- values (explore_node.c) ---- */

/* A configuration as a byte for each id, the lowest first: flags, MEMBER, and whom it replaces. */
struct configuration {
    uint8_t index;
    uint64_t members;
};
enum { MEMBER = 8, REPLACES_SHIFT = 4 };

/* Entries first … last; terms by index. */
struct entries {
    uint8_t first, last;
    uint8_t configuration_count;
    uint8_t terms[EXPLORE_LOG_MAX + 1];
    struct configuration configurations[CONFIGURATIONS_MAX];
};

struct write {
    uint64_t persist;
    bool hard_state;
    uint8_t term, vote, removed, truncate_from;
    struct entries entries;
};

struct disk {
    uint8_t term, vote, removed;
    uint8_t snapshot;   /* its index; 0: none */
    struct entries log; /* from 1, what the snapshot covers included: the core does not know that */
};

struct node {
    uint8_t id;
    uint8_t life;       /* starts, when reads are explored */
    uint16_t led;       /* terms in which it ever became leader: crashes do not undo that */
    struct entries log; /* in memory */
    struct disk disk;
    uint8_t write_count, read_count;
    struct write writes[WRITES_MAX];
    struct {
        uint8_t id, floor; /* committed when it was asked */
    } reads[READS_MAX];
};

/* A snapshot that arrives is installed, and then its sender hears of it. */
enum message_kind { MESSAGE_RAFT, MESSAGE_SNAPSHOT, MESSAGE_SNAPSHOT_RESULT };

struct message {
    enum message_kind kind;
    struct raft_message raft; /* SNAPSHOT…: from, to, snapshot_index */
    struct entries entries;   /* APPEND; SNAPSHOT: the log up to it */
};

struct bytes {
    uint32_t len;
    bool full;
    uint8_t data[ITEM_BYTES_MAX];
};

/* `rename` as in raft_pack. */
void node_put(struct bytes *b, const struct node *n, const struct raft *core,
              const raft_id *rename);
/* The core is unpacked too. */
void node_get(const uint8_t *data, size_t len, const struct raft_options *options, struct node *n,
              struct raft *core);
void message_put(struct bytes *b, const struct message *m, const raft_id *rename);
void message_get(const uint8_t *data, struct message *m);

uint64_t members_of(const struct raft_configuration *c);
void configuration_of(struct raft_configuration *to, struct configuration from);
static inline uint8_t member_byte(uint64_t members, raft_id id)
{
    return (uint8_t)(members >> (8 * (id - 1)));
}

/* ---- logs and disks (explore_disk.c) ---- */

void entries_truncate(struct entries *e, raft_index from);
void entries_add(struct entries *e, const struct entries *from, raft_index first, raft_index last);
void entries_add_configuration(struct entries *e, struct configuration c);
struct configuration entries_configuration(const struct entries *e, raft_index index);
uint64_t entries_terms(const struct entries *e); /* four bits each, entry 1 the lowest */
bool disk_has(const struct disk *d, raft_index index, raft_term term);
void disk_write(struct disk *d, const struct write *w);
struct raft_snapshot snapshot_of(const struct entries *log, raft_index index);
int node_start(struct node *n, const struct raft_options *options, struct raft *core, bool fresh);

/* ---- what is kept (explore_store.c) ---- */

/* What the search asks of a node without unpacking it. */
struct view {
    uint64_t log, disk_log; /* terms, four bits each */
    uint64_t members;       /* latest configuration */
    uint64_t joint_members; /* of the last joint configuration in the log, at joint_index */
    uint16_t led;
    uint8_t joint_index; /* 0: none */
    uint8_t last, disk_last, commit, durable, snapshot;
    uint8_t term, disk_term, state;
    uint8_t write_count, read_count;
    bool has_leader;                  /* knows one */
    bool is_late;                     /* something waits for EXPLORE_LATE */
    bool asks;                        /* a follower's question about its reads is out */
    uint8_t match[EXPLORE_NODES_MAX]; /* a leader's, by id - 1 */
};

struct node_item {
    uint32_t bytes;
    struct view view;
    const struct digest *hashes; /* by permutation */
    uint8_t data[];
};

struct message_item {
    uint32_t bytes;
    uint8_t kind, type, from, to;
    const struct digest *hashes;
    uint8_t data[];
};

/* What an event does to a node. */
struct outcome {
    uint32_t node; /* as it is then */
    uint32_t count;
    uint8_t hands_over_to; /* a leader that retires chose among equals by their names; 0: none */
    bool nothing;          /* refused, or changed nothing */
    bool cut;              /* not taken: see explore_report.cut */
    const char *violation; /* NULL: none */
    uint32_t messages[];
};

struct store;
struct scratch;

struct symmetry {
    uint32_t count;
    raft_id rename[PERMUTATIONS_MAX][EXPLORE_NODES_MAX + 1]; /* the first leaves all as they are */
};
void symmetry_init(struct symmetry *s, const struct explore_options *options);

struct store *store_new(const struct symmetry *symmetry, atomic_uint_fast64_t *memory);
void store_free(struct store *s);
const struct node_item *store_node(const struct store *s, uint32_t id);
const struct message_item *store_message(const struct store *s, uint32_t id); /* ids from 1 */
uint32_t store_add_node(struct store *s, const struct node *n, const struct raft *core);
uint32_t store_add_message(struct store *s, const struct message *m);
const struct outcome *store_find_step(const struct store *s, uint64_t key); /* NULL: not known */
/* Keeps it, unless somebody else has meanwhile; returns the one kept. */
const struct outcome *store_add_step(struct store *s, uint64_t key, const struct outcome *o);
void store_counts(const struct store *s, struct explore_report *report);

/* ---- a step of one node (explore_step.c) ---- */

/* An event for a node in 32 bits: a kind with two small arguments, or a message's number; and whom
 * a leader that retires then hands over to, if not to the one it chose. */
enum {
    EVENT_MESSAGE = 1 << 30,
    EVENT_HEIR_SHIFT = 27,
    EVENT_NUMBER = (1 << EVENT_HEIR_SHIFT) - 1,
    EVENT_KIND_SHIFT = 16,
    EVENT_A_SHIFT = 8
};
static inline uint32_t event_of(enum explore_kind kind, uint32_t a, uint32_t b)
{
    return (uint32_t)kind << EVENT_KIND_SHIFT | a << EVENT_A_SHIFT | b;
}

struct scratch *scratch_new(const struct explore_options *options, struct store *store);
void scratch_free(struct scratch *s);
const struct outcome *step_node(struct scratch *s, uint32_t node, uint32_t event);
uint32_t step_start(struct scratch *s, raft_id id, bool is_voter, uint32_t voters);
void step_assertion_failed(void *argument, const char *text); /* for check_set_hook */
/* Once more, for its decisions: one a line, each behind two blanks. The caller frees. */
char *step_trace(struct scratch *s, uint32_t node, uint32_t event);
char *step_message_text(struct scratch *s, uint32_t message); /* "append of term 2 from 1 …" */
enum { CHANGE_ADD, CHANGE_ADD_VOTER, CHANGE_PROMOTE, CHANGE_REMOVE, CHANGE_REPLACE };

/* ---- states ---- */

/* Everything that is hashed, but for the order of messages. */
struct state {
    uint64_t budgets;      /* what is left, four bits each */
    uint64_t committed;    /* terms of what was ever committed, four bits each */
    uint64_t committed_in; /* … and of the leaders that did */
    uint32_t slot;         /* in the table of those seen */
    uint8_t committed_count;
    uint8_t message_count;
    uint32_t items[]; /* nodes by id - 1, then messages, sorted */
};

struct fingerprint {
    uint64_t hi, lo;
};

/* ---- what was seen (explore_seen.c) ---- */

#define SEEN_NO_PARENT UINT32_MAX
enum seen_result { SEEN_NEW, SEEN_OLD, SEEN_FULL };

struct seen {
    struct seen_slot *slots;
    uint64_t count; /* a power of two */
    atomic_uint_fast64_t used;
    uint64_t used_max;
};
void seen_init(struct seen *s, uint64_t slots);
void seen_release(struct seen *s);
void seen_prefetch(const struct seen *s, struct fingerprint f);
/* Twice as many slots; returns their new numbers by the old, for the caller to free. */
uint32_t *seen_grow(struct seen *s);
enum seen_result seen_add(struct seen *s, struct fingerprint f, uint32_t parent, uint32_t *slot);
uint32_t seen_parent(const struct seen *s, uint32_t slot);
bool seen_is(const struct seen *s, uint32_t slot, struct fingerprint f);

/* ---- successors (explore_expand.c) ---- */

struct action {
    enum explore_kind kind;
    uint8_t node; /* id - 1 */
    uint8_t a, b;
    uint32_t message; /* DELIVER, DUPLICATE, SNAPSHOT_FAILS */
    uint32_t event;
    uint32_t lost; /* bits of those sent */
};

struct child {
    struct fingerprint fingerprint;
    struct action action;
    const struct outcome *outcome;
    uint64_t budgets, committed, committed_in;
    uint8_t committed_count;
    uint8_t gone; /* position of the message that is delivered; UINT8_MAX: none */
    const char *violation;
};

struct expansion {
    const struct explore_options *options;
    const struct symmetry *symmetry;
    struct store *store;
    struct scratch *scratch;
    uint32_t node_count;
    uint64_t cut;
    uint32_t count, size;
    struct child *children;
};
struct expansion *expansion_new(const struct explore_options *options,
                                const struct symmetry *symmetry, struct store *store);
void expansion_free(struct expansion *x);
void expand_root(const struct expansion *x, struct state *root);
void expand(struct expansion *x, const struct state *s);
/* `to` has room for all items. */
void expand_child(const struct expansion *x, const struct state *s, const struct child *c,
                  struct state *to);
struct fingerprint expand_fingerprint(const struct expansion *x, const struct state *s);
size_t state_bytes(const struct explore_options *options);
static inline uint32_t budget_left(uint64_t budgets, enum explore_budget b)
{
    return (uint32_t)(budgets >> (4 * b)) & 15;
}

/* ---- what must hold (explore_check.c) ---- */

/* What the step of node `node` makes of the history; NULL, or the violation. */
const char *check_commit(const struct expansion *x, const struct state *s, struct child *c);
/* … and of the state, in which node `changed` is another than before. */
const char *check_state(const struct expansion *x, const struct state *s, uint32_t changed);

/* ---- the way to it (explore_path.c) ---- */

/* Adds the steps to the state in `slot`, and leaves a state that is it but for names in `at`. */
void path_walk(struct expansion *x, const struct seen *seen, uint32_t slot,
               struct explore_report *report, struct state *at);
/* Fills in `violation` and `steps`; `slot` is that of the state before it. */
void path_tell(struct expansion *x, const struct seen *seen, uint32_t slot,
               struct explore_report *report);

#endif
