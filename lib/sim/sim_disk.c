/*
 * raft.db: writes are taken together and done after a while, all or none; then carry hears of them.
 * A crash loses what waits, and of the transaction under way nobody can say.
 */
#include <inttypes.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/mem.h"
#include "lib/sim/sim_internal.h"

raft_index sim_disk_last(const struct sim_node *n)
{
    return n->disk.base.index + n->disk.count;
}

const struct entry *sim_disk_entry(const struct sim_node *n, raft_index index)
{
    return index > n->disk.base.index && index <= sim_disk_last(n)
               ? n->disk.log[index - n->disk.base.index - 1]
               : NULL;
}

static void truncate(struct sim_disk *d, raft_index from)
{
    while (d->count > 0 && d->base.index + d->count >= from)
        entry_unref(d->log[--d->count]);
}

/* Drops entries from the beginning. */
static void cut(struct sim_disk *d, raft_index index)
{
    size_t gone = index > d->base.index ? (size_t)(index - d->base.index) : 0;
    gone = gone < d->count ? gone : d->count;
    if (gone == 0)
        return;
    for (size_t i = 0; i < gone; i++)
        entry_unref(d->log[i]);
    d->count -= gone;
    memmove(d->log, d->log + gone, d->count * sizeof(struct entry *));
}

void sim_disk_put(struct sim_node *n, struct entry *e)
{
    struct sim_disk *d = &n->disk;
    if (e->index != sim_disk_last(n) + 1)
        sim_violated(n->sim, "n%" PRIu64 " writes entry %" PRIu64 " behind %" PRIu64, n->id,
                     e->index, sim_disk_last(n));
    d->log = sim_room(d->log, &d->room, d->count + 1, sizeof(d->log[0]));
    d->log[d->count++] = entry_ref(e);
    sim_check_written(n, e);
}

/* ---- the queue ---- */

static struct sim_write *queued(struct sim_disk *d, size_t i)
{
    return &d->queue[(d->queue_first + i) & (d->queue_room - 1)];
}

static struct sim_write *add(struct sim_node *n)
{
    struct sim_disk *d = &n->disk;
    if (d->queue_count == d->queue_room) { /* a ring: grown by hand */
        size_t room = d->queue_room ? 2 * d->queue_room : 64;
        struct sim_write *grown = mem_calloc(room, sizeof(*grown));
        for (size_t i = 0; i < d->queue_count; i++)
            grown[i] = *queued(d, i);
        mem_free(d->queue);
        d->queue = grown;
        d->queue_first = 0;
        d->queue_room = room;
    }
    struct sim_write *w = queued(d, d->queue_count++);
    memset(w, 0, sizeof(*w));
    return w;
}

void sim_disk_begin(struct sim_node *n)
{
    struct sim *s = n->sim;
    const struct sim_plan *p = &s->plan;
    struct sim_disk *d = &n->disk;
    if (d->batch > 0 || d->queue_count == 0)
        return;
    d->batch = d->queue_count < SIM_BATCH_MAX ? d->queue_count : SIM_BATCH_MAX;
    uint64_t takes_us = sim_draw(&s->disk, p->disk_min_us, p->disk_range_us);
    bool slow = sim_chance(&s->disk, p->disk_slow);
    uint64_t slow_us = sim_draw(&s->disk, 0, p->disk_slow_us);
    if (slow && sim_has(s, SIM_WITH_SLOW_DISKS) && !s->calm)
        takes_us += slow_us;
    if (n->disk_slow_until_us > s->now_us)
        takes_us *= 20;
    uint64_t at_us = s->now_us + takes_us;
    if (at_us < n->disk_stalled_until_us)
        at_us = n->disk_stalled_until_us;
    sim_node_due(n, SIM_DUE_DISK, at_us);
}

static void write_free(struct carry_write *w)
{
    for (size_t i = 0; i < w->entry_count; i++)
        entry_unref(w->entries[i]);
    mem_free(w->entries);
    mem_free(w);
}

static void do_write(struct sim_node *n, const struct carry_write *w)
{
    struct sim_disk *d = &n->disk;
    if (w->hard_state) {
        if (w->term < d->term)
            sim_violated(n->sim, "n%" PRIu64 ": the term goes back from %" PRIu64 " to %" PRIu64,
                         n->id, d->term, w->term);
        if (w->term == d->term && d->vote != 0 && d->vote != w->vote)
            sim_violated(n->sim, "n%" PRIu64 " votes twice in term %" PRIu64, n->id, w->term);
        d->term = w->term;
        d->vote = w->vote;
        d->removed = w->removed;
    }
    if (w->truncate_from > 0) {
        if (w->truncate_from <= d->base.index)
            sim_violated(n->sim, "n%" PRIu64 " truncates from %" PRIu64 ", in its snapshot", n->id,
                         w->truncate_from);
        truncate(d, w->truncate_from);
    }
    for (size_t i = 0; i < w->entry_count; i++)
        sim_disk_put(n, w->entries[i]);
}

static void do_batch(struct sim_node *n)
{
    struct sim_disk *d = &n->disk;
    for (size_t i = 0; i < d->batch; i++) {
        const struct sim_write *w = queued(d, i);
        if (w->kind == SIM_WRITE) {
            do_write(n, w->write);
        } else {
            cut(d, w->cut.index);
            d->base = w->cut;
        }
    }
}

static void drop(struct sim_disk *d, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (queued(d, i)->write)
            write_free(queued(d, i)->write);
    d->queue_first = (d->queue_first + count) & (d->queue_room - 1);
    d->queue_count -= count;
    d->batch = 0;
}

void sim_disk_done(struct sim_node *n)
{
    struct sim *s = n->sim;
    struct sim_disk *d = &n->disk;
    uint64_t persists[SIM_BATCH_MAX];
    size_t count = 0;
    if (n->disk_stalled_until_us > s->now_us || n->disk_full) { /* full: tried again */
        uint64_t again_us = s->now_us + 50000;
        sim_node_due(n, SIM_DUE_DISK,
                     again_us > n->disk_stalled_until_us ? again_us : n->disk_stalled_until_us);
        return;
    }
    if (n->disk_breaks) { /* what was written of it nobody knows */
        n->disk_breaks = false;
        sim_note(s, n->id, "a write of raft.db fails");
        sim_node_kill(n, false);
        sim_push(s, s->now_us + 200000, SIM_RESTART, (uint32_t)n->id, n->life);
        return;
    }
    do_batch(n);
    for (size_t i = 0; i < d->batch; i++)
        if (queued(d, i)->write)
            persists[count++] = queued(d, i)->write->persist;
    drop(d, d->batch);
    sim_disk_begin(n);
    for (size_t i = 0; i < count; i++)
        carry_persisted(n->carry, persists[i], sim_clock(n));
}

/* What waits is lost; of what was being written nobody can say. */
void sim_disk_crash(struct sim_node *n)
{
    struct sim_disk *d = &n->disk;
    if (d->batch > 0 && prng_chance(&n->sim->disk, 1, 2))
        do_batch(n);
    drop(d, d->queue_count);
    d->read_count = 0;
}

void sim_disk_free(struct sim_node *n)
{
    truncate(&n->disk, 0);
    mem_free(n->disk.log);
    mem_free(n->disk.queue);
    mem_free(n->disk.reads);
}

/* ---- carry's wishes ---- */

void sim_disk_persist(void *self, struct carry_write *w)
{
    struct sim_node *n = self;
    if (n->installing)
        sim_violated(n->sim, "n%" PRIu64 " writes while a snapshot is installed", n->id);
    struct sim_write *q = add(n);
    q->kind = SIM_WRITE;
    q->write = w;
    sim_disk_begin(n);
}

void sim_disk_compact(void *self, raft_index index, raft_term term, const struct membership *m)
{
    struct sim_node *n = self;
    const struct entry *e = sim_disk_entry(n, index);
    if (n->installing || !e || e->term != term)
        sim_violated(n->sim, "n%" PRIu64 " cuts its log at %" PRIu64 ", which it does not have",
                     n->id, index);
    if (index > n->synced_index)
        sim_violated(n->sim,
                     "n%" PRIu64 " cuts its log at %" PRIu64 ", which only the log has for certain",
                     n->id, index);
    if (m->configuration.index > index)
        sim_violated(n->sim, "n%" PRIu64 " cuts its log at %" PRIu64 " with a later membership",
                     n->id, index);
    struct sim_write *q = add(n);
    q->kind = SIM_COMPACT;
    q->cut = (struct snapshot_cut){.index = index, .term = term, .membership = *m};
    sim_disk_begin(n);
}

void sim_disk_log_read(void *self, uint64_t id, raft_index first, raft_index last,
                       uint64_t bytes_max)
{
    struct sim_node *n = self;
    struct sim_disk *d = &n->disk;
    if (n->installing)
        sim_violated(n->sim, "n%" PRIu64 " reads its log while a snapshot is installed", n->id);
    d->reads = sim_room(d->reads, &d->read_room, d->read_count + 1, sizeof(d->reads[0]));
    d->reads[d->read_count++] = (struct sim_log_read){id, first, last, bytes_max};
    if (d->read_count == 1)
        sim_node_due(n, SIM_DUE_LOG_READ,
                     n->sim->now_us + sim_draw(&n->sim->disk, 10, n->sim->plan.disk_range_us));
}

static size_t read_entries(const struct sim_node *n, const struct sim_log_read *read,
                           struct entry ***entries)
{
    raft_index last = read->last < sim_disk_last(n) ? read->last : sim_disk_last(n);
    uint64_t bytes = 0;
    size_t count = 0;
    *entries = mem_calloc((size_t)(last - read->first + 1), sizeof(struct entry *));
    for (raft_index i = read->first; i <= last; i++) {
        struct entry *e = n->disk.log[i - n->disk.base.index - 1];
        bytes += e->size;
        if (count > 0 && bytes > read->bytes_max)
            break;
        (*entries)[count++] = entry_ref(e);
    }
    return count;
}

void sim_disk_read_done(struct sim_node *n)
{
    struct sim_disk *d = &n->disk;
    struct sim_log_read read = d->reads[0];
    struct entry **entries = NULL;
    size_t count = 0;
    int code = 0;
    memmove(&d->reads[0], &d->reads[1], --d->read_count * sizeof(d->reads[0]));
    if (d->read_count > 0)
        sim_node_due(n, SIM_DUE_LOG_READ,
                     n->sim->now_us + sim_draw(&n->sim->disk, 10, n->sim->plan.disk_range_us));
    if (read.first <= d->base.index)
        code = ERR_NOT_FOUND;
    else if (read.first > sim_disk_last(n))
        code = ERR_AGAIN;
    else
        count = read_entries(n, &read, &entries);
    carry_log_read(n->carry, read.id, code, entries, count, sim_clock(n));
}

/* The commit point of a snapshot. */
void sim_disk_install(struct sim_node *n, const struct snapshot_cut *at, bool *kept_tail)
{
    struct sim_disk *d = &n->disk;
    const struct entry *ours = sim_disk_entry(n, at->index);
    ASSERT(d->queue_count == 0);
    *kept_tail = ours && ours->term == at->term;
    cut(d, *kept_tail ? at->index : sim_disk_last(n));
    d->base = *at;
}
