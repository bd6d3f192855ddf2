/*
 * Events into the core, updates out of it: what goes to the disk, what is handed to the state
 * machine, what is told to whom.
 */
#include "lib/node/carry.h"

#include <string.h>

#include "lib/base/check.h"
#include "lib/base/mem.h"
#include "lib/node/carry_internal.h"

enum { CARRY_APPLY_BATCH = 1024 }; /* entries handed to the state machine in one call */

/* ---- addresses ---- */

/* In any configuration that the core knows: the log may be cut, and so a membership written down,
 * at each of them. */
static bool book_needed(const struct carry *c, raft_id id)
{
    const struct raft_configuration *known = raft_configuration_latest(c->raft);

    while (known) {
        if (raft_configuration_find(known, id)) {
            return true;
        }
        known = known->index > 0 ? raft_configuration_at(c->raft, known->index - 1) : NULL;
    }
    return false;
}

static void book_drop(struct carry *c, uint32_t i)
{
    memmove(&c->book[i], &c->book[i + 1], (--c->book_count - i) * sizeof c->book[0]);
}

static uint32_t book_find(const struct carry *c, raft_id id)
{
    uint32_t i = 0;

    while (i < c->book_count && c->book[i].id != id) {
        i++;
    }
    return i;
}

/* The latest go to the end. A full book forgets the one that was added longest ago, among those not
 * needed: the core may not have seen yet what was added just now. */
void carry_book_add(struct carry *c, const struct member_address *a)
{
    struct member_address copy = *a;
    uint32_t i = book_find(c, a->id);

    if (i == CARRY_BOOK) {
        i = 0;
        while (i + 1 < CARRY_BOOK && book_needed(c, c->book[i].id)) {
            i++;
        }
    }
    if (i < c->book_count) {
        book_drop(c, i);
    }
    c->book[c->book_count++] = copy;
}

static void book_add_all(struct carry *c, const struct membership *m)
{
    for (uint32_t i = 0; i < m->configuration.count; i++) {
        carry_book_add(c, &m->addresses[i]);
    }
}

const struct member_address *carry_address(const struct carry *c, raft_id id)
{
    uint32_t i = book_find(c, id);

    return i < c->book_count ? &c->book[i] : NULL;
}

void carry_membership_of(const struct carry *c, const struct raft_configuration *configuration,
                         struct membership *out)
{
    memset(out, 0, sizeof *out);
    out->configuration = *configuration;
    for (uint32_t i = 0; i < configuration->count; i++) {
        const struct member_address *a = carry_address(c, configuration->members[i].id);

        ASSERT(a);
        out->addresses[i] = *a;
    }
}

void carry_note_members(struct carry *c)
{
    const struct raft_configuration *latest = raft_configuration_latest(c->raft);

    for (uint32_t i = 0; i < latest->count; i++) {
        if (!raft_configuration_find(&c->membership.configuration, latest->members[i].id)) {
            carry_peer_entered(c, latest->members[i].id);
        }
    }
    carry_membership_of(c, latest, &c->membership);
}

bool carry_single_voter(const struct carry *c)
{
    const struct raft_configuration *latest = raft_configuration_latest(c->raft);
    uint32_t voters = 0;

    for (uint32_t i = 0; i < latest->count; i++) {
        voters += (latest->members[i].flags & (RAFT_VOTER | RAFT_VOTER_OLD)) != 0;
    }
    return voters == 1 && raft_configuration_is_voter(latest, raft_self(c->raft));
}

void carry_told_removed(struct carry *c, raft_index configuration_index, uint64_t now_us)
{
    struct raft_event event = {
        .type = RAFT_REMOVED, .now_us = now_us, .index = configuration_index};

    if (c->install != INSTALL_SWITCHING) {
        carry_step(c, &event, NULL, 0);
    }
}

/* ---- an update, carried out ---- */

static struct entry *entry_made(struct carry *c, const struct raft_made_entry *made, raft_term term)
{
    struct entry *e;

    if (made->kind == RAFT_CONFIGURATION) {
        struct membership m;
        struct buf b;

        carry_membership_of(c, made->configuration, &m);
        buf_init(&b, LIMIT_ENTRY_BYTES);
        membership_encode(&m, &b);
        e = entry_new(RAFT_CONFIGURATION, b.data, b.len);
        buf_release(&b);
    } else {
        e = entry_new(RAFT_NOOP, "", 0);
    }
    entry_place(e, made->index, term);
    return e;
}

/* A leader that learns of a later time only now (its log reached farther than what was applied, or
 * a snapshot did) goes on from there: else its own time would stand still until it caught up. */
static void note_cluster_time(struct carry *c, uint64_t time_ms, uint64_t now_us)
{
    if (time_ms > carry_cluster_time_ms(c, now_us)) {
        c->cluster_base_ms = time_ms;
        c->cluster_base_us = now_us;
    }
    if (time_ms > c->cluster_time_ms) {
        c->cluster_time_ms = time_ms;
    }
}

static void note_entry_time(struct carry *c, const struct entry *e, uint64_t now_us)
{
    struct command command;

    if (e->kind == RAFT_NORMAL && command_decode(slice_of(e->data, e->size), &command, NULL) == 0) {
        note_cluster_time(c, command.cluster_time_ms, now_us);
    }
}

/* The write for the disk; its entries enter the cache first, so that appends of the same update
 * find them there. */
static void take_write(struct carry *c, const struct raft_update *u, struct entry **attached,
                       size_t attached_count, uint64_t now_us)
{
    struct carry_write *w = mem_zalloc(sizeof *w);
    raft_index attached_first = attached_count > 0 ? attached[0]->index : 0;
    uint32_t made = 0;

    w->persist = u->persist;
    w->hard_state = u->hard_state;
    w->term = u->term;
    w->vote = u->vote;
    w->removed = u->removed;
    w->truncate_from = u->truncate_from;
    if (u->truncate_from > 0) {
        log_cache_truncate(&c->cache, u->truncate_from);
    }
    if (u->write_first > 0) {
        w->entry_count = (size_t)(u->write_last - u->write_first + 1);
        w->entries = mem_calloc(w->entry_count, sizeof(struct entry *));
    }
    for (size_t k = 0; k < w->entry_count; k++) {
        raft_index index = u->write_first + k;

        if (made < u->made_count && u->made[made].index == index) {
            w->entries[k] = entry_made(c, &u->made[made++], raft_term_at(c->raft, index));
        } else {
            ASSERT(attached_first > 0 && index >= attached_first &&
                   index - attached_first < attached_count);
            w->entries[k] = entry_ref(attached[index - attached_first]);
            note_entry_time(c, w->entries[k], now_us);
        }
        c->written_bytes += w->entries[k]->size;
        log_cache_append(&c->cache, w->entries[k]);
    }
    if (c->persist_issued == c->persist_done) {
        c->persist_since_us = now_us;
    }
    ASSERT(u->persist > c->persist_issued);
    c->persist_issued = u->persist;
    c->io.persist(c->io.self, w);
}

static void hand_out_message(struct carry *c, const struct raft_message *m)
{
    struct peer_message out;

    if (!raft_message_is_request(m->type) && m->type != RAFT_SEND_SNAPSHOT) {
        c->io.reply(c->io.self, m->context, m);
    } else if (m->type == RAFT_APPEND) {
        carry_append_out(c, m);
    } else if (m->type == RAFT_SEND_SNAPSHOT) {
        carry_snapshot_sending(c, m->to, m->snapshot_index); /* a copy may reach no farther */
        c->io.snapshot_send(c->io.self, m->to, m->snapshot_index);
    } else {
        memset(&out, 0, sizeof out);
        out.cluster = c->cluster_id;
        out.message = *m;
        if (m->type == RAFT_HEARTBEAT) {
            out.digest = c->verdict;
        }
        c->transfer_told |= m->type == RAFT_TIMEOUT_NOW;
        c->io.send(c->io.self, &out);
    }
}

static void note_state(struct carry *c, uint64_t now_us)
{
    enum raft_state state = raft_state(c->raft);

    if (state == c->seen_state) {
        return;
    }
    if (state == RAFT_CANDIDATE || (state == RAFT_LEADER && c->seen_state != RAFT_CANDIDATE)) {
        c->figures.elections++;
    }
    if (state == RAFT_LEADER) {
        c->figures.leader_changes++;
        c->cluster_base_ms = c->cluster_time_ms;
        c->cluster_base_us = now_us;
        c->expiring = 0;
    }
    if (c->seen_state == RAFT_LEADER) {
        carry_outboxes_clear(c);
    }
    c->seen_state = state;
}

int carry_step(struct carry *c, struct raft_event *event, struct entry **attached,
               size_t attached_count)
{
    struct raft_update u;
    bool removed = raft_removed(c->raft);
    int code = raft_step(c->raft, event, &u);

    if (c->io.stepped) {
        c->io.stepped(c->io.self, event);
    }
    c->wake_us = u.wake_us;
    if (u.proposed_first > 0) {
        for (size_t i = 0; i < attached_count; i++) {
            entry_place(attached[i], u.proposed_first + i, u.proposed_term);
        }
    }
    if (u.state_changed) {
        note_state(c, event->now_us);
    }
    if (u.persist > 0) {
        take_write(c, &u, attached, attached_count, event->now_us);
    }
    ASSERT(c->cache.next == raft_last_index(c->raft) + 1);
    if (u.configuration_changed) { /* before anything is sent to a new member */
        carry_note_members(c);
        c->io.membership(c->io.self, &c->membership);
    }
    for (uint32_t i = 0; i < u.message_count; i++) {
        hand_out_message(c, &u.messages[i]);
    }
    for (uint32_t i = 0; i < u.read_count; i++) {
        carry_read_result(c, &u.reads[i], event->now_us);
    }
    if (u.state_changed) {
        c->later_us = event->now_us; /* another leader, perhaps: what it refused is asked again */
    }
    if (u.state_changed || raft_removed(c->raft) != removed) {
        c->io.state_changed(c->io.self);
    }
    carry_install_continue(c);
    carry_hand_out(c, event->now_us);
    return code;
}

/* ---- to the state machine ---- */

/* Entries go to the state machine only up to min(commit index, own durable index), on every node.
 */
void carry_hand_out(struct carry *c, uint64_t now_us)
{
    raft_index durable = raft_durable_index(c->raft);
    raft_index commit = raft_commit_index(c->raft);
    raft_index limit = commit < durable ? commit : durable;
    struct entry *batch[CARRY_APPLY_BATCH];

    while (c->handed < limit && c->install == INSTALL_NONE &&
           c->handed_bytes < c->options.apply_ahead_bytes) {
        size_t n = 0;

        while (n < CARRY_APPLY_BATCH && c->handed + n < limit &&
               c->handed_bytes < c->options.apply_ahead_bytes) {
            struct entry *e = log_cache_get(&c->cache, c->handed + n + 1);

            if (!e) {
                break;
            }
            batch[n++] = entry_ref(e);
            c->handed_bytes += e->size;
        }
        if (n == 0) {
            if (c->apply_read == 0) {
                c->apply_read = ++c->next_log_read;
                c->io.log_read(c->io.self, c->apply_read, c->handed + 1, limit,
                               c->options.append_bytes_max);
            }
            break;
        }
        if (c->handed == c->applied) {
            c->apply_since_us = now_us;
        }
        c->handed += n;
        c->io.apply(c->io.self, batch, n);
    }
    carry_reads_ready(c, now_us);
    log_cache_trim(&c->cache, (c->handed < durable ? c->handed : durable) + 1,
                   c->options.cache_bytes_max);
}

void carry_log_read(struct carry *c, uint64_t id, int code, struct entry **entries, size_t count,
                    uint64_t now_us)
{
    if (id != c->apply_read) {
        if (!carry_peer_log_read(c, id, code, entries, count, now_us)) {
            for (size_t i = 0; i < count; i++) {
                entry_unref(entries[i]);
            }
            mem_free(entries);
        }
        return;
    }
    c->apply_read = 0;
    if (code == 0 && c->install == INSTALL_NONE && count > 0 &&
        entries[0]->index == c->handed + 1) {
        for (size_t i = 0; i < count; i++) {
            c->handed_bytes += entries[i]->size;
            note_entry_time(c, entries[i], now_us);
        }
        if (c->handed == c->applied) {
            c->apply_since_us = now_us;
        }
        c->handed += count;
        c->io.apply(c->io.self, entries, count); /* takes the references */
    } else {
        for (size_t i = 0; i < count; i++) {
            entry_unref(entries[i]);
        }
    }
    mem_free(entries);
    carry_hand_out(c, now_us);
}

void carry_applied(struct carry *c, const struct carry_applied_entry *results, size_t count,
                   uint64_t now_us)
{
    for (size_t i = 0; i < count; i++) {
        ASSERT(results[i].result.index == c->applied + 1);
        c->applied++;
        c->handed_bytes -= results[i].bytes;
        note_cluster_time(c, results[i].cluster_time_ms, now_us);
        carry_resolve(c, &results[i]);
    }
    c->apply_since_us = now_us;
    carry_check_stall(c, now_us);
    carry_install_continue(c);
    carry_hand_out(c, now_us);
}

void carry_persisted(struct carry *c, uint64_t persist, uint64_t now_us)
{
    struct raft_event event = {.type = RAFT_PERSISTED, .now_us = now_us, .persist = persist};

    ASSERT(persist > c->persist_done && persist <= c->persist_issued);
    c->persist_done = persist;
    c->persist_since_us = now_us;
    carry_step(c, &event, NULL, 0); /* first: with it an installation may begin */
    carry_check_stall(c, now_us);
}

/* ---- stalls ---- */

/* A write that is outstanding longer than an election timeout, on the disk or on the state machine,
 * is a stall. */
void carry_check_stall(struct carry *c, uint64_t now_us)
{
    uint64_t limit_us = c->options.raft.election_timeout_us;
    bool stalled =
        (c->persist_done < c->persist_issued && now_us > c->persist_since_us + limit_us) ||
        (c->applied < c->handed && now_us > c->apply_since_us + limit_us) || c->flush_failing;
    struct raft_event event = {.type = RAFT_STALL, .now_us = now_us, .ok = stalled};

    if (stalled != c->stalled && c->install != INSTALL_SWITCHING) {
        c->stalled = stalled;
        carry_step(c, &event, NULL, 0);
    }
}

void carry_flush_failing(struct carry *c, bool failing, uint64_t now_us)
{
    c->flush_failing = failing;
    carry_check_stall(c, now_us);
}

void carry_overlay(struct carry *c, uint64_t bytes)
{
    c->overlay_bytes = bytes;
}

/* Below the reserve nothing is proposed here, and leadership goes where there is room: whenever
 * this node has it, but not without end if all disks are full. */
void carry_disk_low(struct carry *c, bool low, uint64_t now_us)
{
    c->disk_low = low;
    if (!low || now_us < c->low_due_us || raft_state(c->raft) != RAFT_LEADER) {
        return;
    }
    if (carry_transfer(c, 0, now_us, NULL) == 0) {
        c->low_due_us = now_us + CARRY_LOW_TIMEOUTS * c->options.raft.election_timeout_us;
    }
}

/* ---- time ---- */

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t carry_wake_us(const struct carry *c)
{
    uint64_t limit_us = c->options.raft.election_timeout_us + 1;
    uint64_t wake = c->install == INSTALL_SWITCHING ? UINT64_MAX : c->wake_us;

    wake = min_u64(wake, carry_requests_wake_us(c));
    wake = min_u64(wake, carry_peers_wake_us(c));
    if (!c->stalled && c->persist_done < c->persist_issued) {
        wake = min_u64(wake, c->persist_since_us + limit_us);
    }
    if (!c->stalled && c->applied < c->handed) {
        wake = min_u64(wake, c->apply_since_us + limit_us);
    }
    return wake;
}

void carry_tick(struct carry *c, uint64_t now_us, uint64_t wall_ms)
{
    struct raft_event event = {.type = RAFT_TICK, .now_us = now_us};

    c->wall_ms = wall_ms;
    carry_check_stall(c, now_us);
    if (c->install != INSTALL_SWITCHING) {
        carry_step(c, &event, NULL, 0);
        carry_peers_tick(c, now_us);
    }
    carry_requests_expire(c, now_us);
}

void carry_turn(struct carry *c, uint64_t now_us, uint64_t wall_ms)
{
    c->wall_ms = wall_ms;
    carry_requests_turn(c, now_us);
}

/* The value in the last entry plus the monotonic time since this leader was elected. */
uint64_t carry_cluster_time_ms(const struct carry *c, uint64_t now_us)
{
    uint64_t by_clock = c->cluster_base_ms + (now_us - c->cluster_base_us) / 1000;

    return by_clock > c->cluster_time_ms ? by_clock : c->cluster_time_ms;
}

/* ---- membership and leadership ---- */

static int check_address(const struct carry *c, const struct member_address *a, raft_id replaced,
                         bool *there, struct err *err)
{
    *there = false;
    for (uint32_t i = 0; i < c->membership.configuration.count; i++) {
        const struct member_address *other = &c->membership.addresses[i];

        if (other->id == a->id) {
            if (strcmp(other->name, a->name) != 0 || strcmp(other->url, a->url) != 0) {
                return err_set(err, ERR_BAD_REQUEST, "this member is %s at %s already", other->name,
                               other->url);
            }
            *there = true;
        } else if (other->id != replaced && strcmp(other->name, a->name) == 0) {
            return err_set(err, ERR_BAD_REQUEST,
                           "the name %s is taken by another member; a node that lost its data "
                           "comes back with member replace",
                           a->name);
        } else if (other->id != replaced && strcmp(other->url, a->url) == 0) {
            return err_set(err, ERR_BAD_REQUEST, "%s is the address of member %s", a->url,
                           other->name);
        }
    }
    return 0;
}

int carry_change(struct carry *c, const struct raft_change *change,
                 const struct member_address *address, uint64_t now_us, struct err *err)
{
    struct raft_event event = {.type = RAFT_CHANGE, .now_us = now_us, .change = change};
    bool there, known = !address || carry_address(c, address->id);
    int code;

    if (raft_state(c->raft) != RAFT_LEADER) {
        return err_set(err, ERR_NO_LEADER, "this node does not lead");
    }
    if (c->shutting_down) {
        return err_set(err, ERR_SHUTTING_DOWN, "this node shuts down");
    }
    if (address) {
        code =
            check_address(c, address, change->kind == RAFT_REPLACE ? change->id : 0, &there, err);
        if (code != 0) {
            return code;
        }
        if (there && change->kind == RAFT_ADD_LEARNER) {
            return 0; /* the same member again: the same answer */
        }
        carry_book_add(c, address);
    }
    code = carry_step(c, &event, NULL, 0);
    if (code != 0 && !known) {
        book_drop(c, book_find(c, address->id));
    }
    switch (code) {
    case 0: return 0;
    case ERR_CONFLICT:
        return err_set(err, code,
                       "a membership change runs, or this one was made for another "
                       "configuration; try again when it is done");
    case ERR_NOT_FOUND: return err_set(err, code, "no such member");
    case ERR_AGAIN:
        return err_set(err, ERR_NO_LEADER,
                       "the leader is not ready yet: its first entry is not committed");
    case ERR_BAD_REQUEST:
        return err_set(err, code,
                       "this change is not possible: the last voter stays, and a "
                       "cluster has at most %d members",
                       RAFT_MEMBERS_MAX);
    default: return err_set(err, code, "the change was refused: %s", err_name(code));
    }
}

int carry_transfer(struct carry *c, raft_id to, uint64_t now_us, struct err *err)
{
    struct raft_event event = {.type = RAFT_TRANSFER, .now_us = now_us, .peer = to};
    int code;

    c->transfer_told &= raft_transfer_target(c->raft) != 0; /* that of one under way */
    code = carry_step(c, &event, NULL, 0);
    switch (code) {
    case 0: return 0;
    case ERR_NOT_FOUND:
        return err_set(err, code, "no such voter, or no other voter to hand leadership to");
    case ERR_AGAIN:
    case ERR_CONFLICT: return err_set(err, ERR_CONFLICT, "a transfer or a change runs already");
    default: return err_set(err, code, "leadership cannot be transferred: %s", err_name(code));
    }
}

bool carry_transfer_told(const struct carry *c)
{
    return c->transfer_told;
}

void carry_shutdown(struct carry *c)
{
    c->shutting_down = true;
}

/* ---- life ---- */

static int start_core(struct carry *c, const struct carry_start *s, struct err *err)
{
    struct raft_start start = {
        .now_us = s->now_us,
        .term = s->term,
        .vote = s->vote,
        .removed = s->removed,
        .runs = s->runs,
        .run_count = s->run_count,
        .last_index = s->last_index,
        .commit = s->applied > s->snapshot.index ? s->applied : s->snapshot.index,
        .configuration_count = s->membership_count,
        .fresh = s->fresh,
    };
    struct raft_configuration *configurations =
        mem_calloc(s->membership_count + 1, sizeof *configurations);
    int code;

    start.snapshot.index = s->snapshot.index;
    start.snapshot.term = s->snapshot.term;
    start.snapshot.configuration = s->snapshot.membership.configuration;
    for (uint32_t i = 0; i < s->membership_count; i++) {
        configurations[i] = s->memberships[i].configuration;
    }
    start.configurations = configurations;
    code = raft_init(c->raft, &c->options.raft, &start);
    if (code != 0) {
        err_set(err, code,
                "what is on disk is no state that this node can start from (term %llu, "
                "log to %llu, applied %llu)",
                (unsigned long long)s->term, (unsigned long long)s->last_index,
                (unsigned long long)s->applied);
    }
    mem_free(configurations);
    if (code != 0) {
        return code;
    }
    book_add_all(c, &s->snapshot.membership);
    for (uint32_t i = 0; i < s->membership_count; i++) {
        book_add_all(c, &s->memberships[i]);
    }
    return 0;
}

int carry_new(const struct carry_options *options, const struct carry_io *io,
              const struct carry_start *start, struct carry **out, struct err *err)
{
    struct carry *c = mem_alloc(sizeof *c);
    int code;

    memset(c, 0, offsetof(struct carry, book));
    c->options = *options;
    c->io = *io;
    c->raft = mem_alloc(raft_size());
    c->cluster_id = start->cluster_id;
    c->wall_ms = start->wall_ms;
    c->handed = c->applied = start->applied;
    c->cluster_time_ms = c->cluster_base_ms = start->cluster_time_ms;
    c->cluster_base_us = start->now_us;
    log_cache_init(&c->cache, start->last_index + 1);
    carry_requests_init(c);
    code = start_core(c, start, err);
    if (code != 0) {
        carry_free(c);
        return code;
    }
    c->seen_state = raft_state(c->raft);
    carry_note_members(c);
    c->wake_us = start->now_us;
    *out = c;
    return 0;
}

void carry_free(struct carry *c)
{
    if (!c) {
        return;
    }
    carry_requests_free(c);
    carry_peers_free(c);
    log_cache_release(&c->cache);
    mem_free(c->raft);
    mem_free(c);
}

/* ---- looking at it ---- */

const struct raft *carry_raft(const struct carry *c)
{
    return c->raft;
}

bool carry_removed(const struct carry *c)
{
    return raft_removed(c->raft);
}

bool carry_stalled(const struct carry *c)
{
    return c->stalled;
}

const struct membership *carry_membership(const struct carry *c)
{
    return &c->membership;
}

raft_index carry_applied_index(const struct carry *c)
{
    return c->applied;
}

const struct entry *carry_log_entry(const struct carry *c, raft_index index)
{
    return log_cache_get(&c->cache, index);
}

void carry_figures(const struct carry *c, struct carry_figures *out)
{
    *out = c->figures;
    out->pending_writes = c->pending_writes;
    out->pending_reads = c->pending_reads;
    out->pending_bytes = c->pending_bytes;
    out->cache_bytes = c->cache.bytes;
    out->cache_entries = c->cache.next - c->cache.first;
}
