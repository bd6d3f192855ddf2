/* Makes commands, entries and memberships for tests of the state machine, in few words. */
#ifndef RAFTKV_TESTS_SUPPORT_KV_MAKER_H
#define RAFTKV_TESTS_SUPPORT_KV_MAKER_H

#include "lib/base/prng.h"
#include "lib/kv/base_map.h"
#include "lib/kv/command.h"
#include "lib/kv/entry.h"
#include "lib/kv/state.h"

/* Texts live as long as the command does. */
struct command make_put(const char *key, const char *value);
struct command make_delete(const char *key);
/* Its writes stand in `room`; keys in ascending order. */
struct command make_batch(struct buf *room, const struct command_write *writes, uint32_t count);
struct command make_expire(const char *const *clients, uint32_t count, uint64_t cluster_time_ms);
/* The same with a session, or a condition. */
struct command with_client(struct command c, const char *client, uint64_t seq);
struct command with_version(struct command c, uint64_t version);
struct command with_absent(struct command c);
struct command with_time(struct command c, uint64_t wall_ms, uint64_t cluster_time_ms);
/* Any valid command; its bytes are in `room`. */
struct command make_random_command(struct prng *p, uint8_t *room, size_t room_bytes);

struct entry *make_entry(const struct command *c, raft_index index, raft_term term);
struct entry *make_noop(raft_index index, raft_term term);
struct entry *make_configuration(const struct membership *m, raft_index index, raft_term term);
struct membership make_membership(uint32_t count, uint64_t seed); /* voters node1 … */

bool session_equal(const struct session *a, const struct session *b);
bool membership_equal(const struct membership *a, const struct membership *b);

/* A base that passes on to another one and can be told to fail. */
struct base_trap {
    struct state_base base;
    const struct state_base *real;
    uint64_t calls;
    uint64_t fail_at; /* the call with this number, counted from 1, fails with ERR_IO; 0: none */
};
void base_trap_init(struct base_trap *t, const struct state_base *real);

/* A state over a base_map, and the log position that it has come to. */
struct kv_rig {
    struct base_map *map;
    struct base_trap trap;
    struct state_options options;
    struct state *state;
    raft_index index; /* of the last entry applied */
    raft_term term;
};
struct state_options kv_rig_options(
    void); /* nothing is frozen or evicted by itself; sessions live 1000 ms */
void kv_rig_init(struct kv_rig *rig, const struct state_options *options);
void kv_rig_release(struct kv_rig *rig);
struct apply_result kv_rig_apply(struct kv_rig *rig, struct command c); /* must succeed */
bool kv_rig_flush_oldest(struct kv_rig *rig); /* false: nothing is frozen */
void kv_rig_flush(struct kv_rig *rig);        /* freezes and flushes all */
void kv_rig_restart(struct kv_rig *rig); /* a new state from what was flushed, which must be all */
/* "key=value@version …" of a scan; `room` is NUL-terminated. Returns what state_scan did. */
int kv_rig_scan(struct kv_rig *rig, const struct state_scan *scan, bool *more, char *room,
                size_t room_bytes);
/* Version of the key, 0: not there. */
uint64_t kv_rig_version(struct kv_rig *rig, const char *key);

#endif
