/*
 * Cutting the log, sending snapshots, installing one.
 *
 *     NONE --received--> DRAINING --nothing on its way any more--> SWITCHING --installed--> NONE
 *                           '--overtaken by the log, or leader--> NONE
 *
 * While draining, nothing new is handed to the state machine and no append is taken in; while
 * switching, the core stands still: no message, no tick, no proposal. So nothing that was decided
 * before can reach the disk or the state machine after.
 */
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/mem.h"
#include "lib/node/carry_internal.h"

enum { CARRY_COMPACT_STEP = 64 }; /* cut when it gains at least so many entries */

/* ---- cutting ---- */

/* A receiver that takes too long for what is written meanwhile needs another snapshot in the end;
 * it must not fill the disk. */
raft_index carry_sending_floor(const struct carry *c)
{
    raft_index floor = UINT64_MAX;

    for (uint32_t i = 0; i < c->peer_count; i++) {
        const struct carry_peer *p = &c->peers[i];

        if (p->sending > 0 && p->sending < floor &&
            c->written_bytes - p->sending_from <= c->options.sending_bytes_max) {
            floor = p->sending;
        }
    }
    return floor;
}

/* Up to what kv.db holds for certain, less the entries that slow followers may still want, and
 * not past a snapshot that is being sent: its receiver goes on from the log. A log with too many
 * terms is cut without mercy. */
void carry_checkpointed(struct carry *c, raft_index index, uint64_t now_us)
{
    struct raft_snapshot snapshot;
    struct raft_event event = {.type = RAFT_COMPACTED, .now_us = now_us, .snapshot = &snapshot};
    const struct raft_configuration *configuration;
    struct membership m;
    raft_index floor = carry_sending_floor(c);
    raft_index trailing =
        raft_runs_left(c->raft) < RAFT_RUNS_MAX / 4 ? 0 : c->options.trailing_entries;

    if (c->install != INSTALL_NONE) {
        return;
    }
    index = index < c->applied ? index : c->applied;
    index = index > trailing ? index - trailing : 0;
    index = index < floor ? index : floor;
    if (index < raft_snapshot_index(c->raft) + CARRY_COMPACT_STEP) {
        return;
    }
    configuration = raft_configuration_at(c->raft, index);
    if (!configuration) {
        return;
    }
    snapshot.index = index;
    snapshot.term = raft_term_at(c->raft, index);
    snapshot.configuration = *configuration;
    carry_membership_of(c, configuration, &m);
    c->io.compact(c->io.self, index, snapshot.term, &m);
    carry_step(c, &event, NULL, 0);
}

/* ---- sending ---- */

void carry_snapshot_sending(struct carry *c, raft_id peer, raft_index index)
{
    struct carry_peer *p = carry_peer(c, peer, true);

    if (p) {
        if (p->sending == 0) {
            p->sending_from = c->written_bytes;
        }
        p->sending = index;
    }
}

void carry_snapshot_sent(struct carry *c, raft_id peer, bool ok, raft_index index, uint64_t now_us)
{
    struct raft_snapshot snapshot = {.index = index};
    struct raft_event event = {.type = RAFT_SNAPSHOT_SENT,
                               .now_us = now_us,
                               .peer = peer,
                               .ok = ok,
                               .snapshot = &snapshot};
    struct carry_peer *p = carry_peer(c, peer, false);

    if (p) {
        p->sending = 0;
    }
    c->figures.snapshots_sent += ok;
    if (c->install != INSTALL_SWITCHING) {
        carry_step(c, &event, NULL, 0);
    }
}

/* ---- receiving and installing ---- */

int carry_snapshot_wanted(struct carry *c, raft_id from, raft_term term, raft_index index)
{
    if (term < raft_term_current(c->raft) ||
        (term == raft_term_current(c->raft) && raft_leader(c->raft) != 0 &&
         raft_leader(c->raft) != from)) {
        return ERR_FORBIDDEN; /* a former leader */
    }
    if (c->install != INSTALL_NONE) {
        return ERR_AGAIN;
    }
    return index > raft_commit_index(c->raft) ? 0 : ERR_NOT_FOUND;
}

int carry_snapshot_received(struct carry *c, uint64_t generation, const struct snapshot_cut *cut,
                            uint64_t now_us)
{
    if (c->install != INSTALL_NONE) {
        return ERR_AGAIN;
    }
    if (cut->term == 0 || cut->membership.configuration.index > cut->index ||
        !raft_configuration_valid(&cut->membership.configuration)) {
        return ERR_CORRUPT;
    }
    carry_held_deliver(c, now_us); /* no append is taken in from now on */
    if (raft_state(c->raft) == RAFT_LEADER || cut->index <= raft_commit_index(c->raft)) {
        return ERR_NOT_FOUND;
    }
    c->install = INSTALL_DRAINING;
    c->install_generation = generation;
    c->install_cut = *cut;
    carry_install_continue(c);
    return 0;
}

/* The caller hands out what may have waited behind it. */
void carry_install_continue(struct carry *c)
{
    if (c->install != INSTALL_DRAINING) {
        return;
    }
    if (raft_state(c->raft) == RAFT_LEADER || c->install_cut.index <= raft_commit_index(c->raft)) {
        c->install = INSTALL_NONE; /* overtaken by events; the next start deletes the file */
        return;
    }
    if (c->persist_done < c->persist_issued || c->applied < c->handed) {
        return;
    }
    c->install = INSTALL_SWITCHING;
    c->io.install(c->io.self, c->install_generation, &c->install_cut);
}

void carry_installed(struct carry *c, bool kept_tail, uint64_t now_us)
{
    struct raft_snapshot snapshot = {
        .index = c->install_cut.index,
        .term = c->install_cut.term,
        .configuration = c->install_cut.membership.configuration,
    };
    struct raft_event event = {
        .type = RAFT_SNAPSHOT_INSTALLED, .now_us = now_us, .snapshot = &snapshot};

    ASSERT(c->install == INSTALL_SWITCHING && c->handed == c->applied && c->handed_bytes == 0);
    for (uint32_t i = 0; i < snapshot.configuration.count; i++) {
        carry_book_add(c, &c->install_cut.membership.addresses[i]);
    }
    /* The core and raft.db keep the tail by the same rule: the term at the snapshot's index. */
    ASSERT(kept_tail == (raft_term_at(c->raft, snapshot.index) == snapshot.term));
    if (!kept_tail) {
        log_cache_reset(&c->cache, snapshot.index + 1);
    }
    c->handed = c->applied = snapshot.index;
    c->apply_read = 0;
    c->install = INSTALL_NONE;
    c->figures.snapshots_installed++;
    carry_writes_superseded(c, snapshot.index);
    carry_step(c, &event, NULL, 0);
    carry_digests_forget(c, now_us);
    carry_note_members(c);
    c->io.membership(c->io.self, &c->membership);
    carry_check_stall(c, now_us);
}

bool carry_installing(const struct carry *c)
{
    return c->install != INSTALL_NONE;
}
