/*
 * Logs and disks of explored nodes, and how a node starts from its disk.
 */
#include <string.h>

#include "lib/base/check.h"
#include "lib/sim/explore_internal.h"

/* ---- entries ---- */

void entries_truncate(struct entries *e, raft_index from)
{
    while (e->last >= from && e->last >= e->first)
        e->terms[e->last--] = 0;
    while (e->configuration_count > 0 &&
           e->configurations[e->configuration_count - 1].index >= from)
        e->configurations[--e->configuration_count] = (struct configuration){0};
}

void entries_add_configuration(struct entries *e, struct configuration c)
{
    ASSERT(e->configuration_count < CONFIGURATIONS_MAX);
    e->configurations[e->configuration_count++] = c;
}

void entries_add(struct entries *e, const struct entries *from, raft_index first, raft_index last)
{
    ASSERT(first == (raft_index)e->last + 1 && first >= from->first && last <= from->last);
    for (raft_index i = first; i <= last; i++)
        e->terms[++e->last] = from->terms[i];
    for (uint32_t i = 0; i < from->configuration_count; i++)
        if (from->configurations[i].index >= first && from->configurations[i].index <= last)
            entries_add_configuration(e, from->configurations[i]);
}

/* The one in force at `index`. */
struct configuration entries_configuration(const struct entries *e, raft_index index)
{
    struct configuration c = {0};
    for (uint32_t i = 0; i < e->configuration_count; i++)
        if (e->configurations[i].index <= index)
            c = e->configurations[i];
    return c;
}

uint64_t entries_terms(const struct entries *e)
{
    uint64_t terms = 0;
    for (uint32_t i = 1; i <= e->last; i++)
        terms |= (uint64_t)e->terms[i] << (4 * (i - 1));
    return terms;
}

struct raft_snapshot snapshot_of(const struct entries *log, raft_index index)
{
    struct raft_snapshot s = {.index = index, .term = log->terms[index]};
    if (index > 0)
        configuration_of(&s.configuration, entries_configuration(log, index));
    return s;
}

/* ---- disks ---- */

bool disk_has(const struct disk *d, raft_index index, raft_term term)
{
    return index == 0 || (index <= d->log.last && d->log.terms[index] == term);
}

void disk_write(struct disk *d, const struct write *w)
{
    if (w->hard_state) {
        d->term = w->term;
        d->vote = w->vote;
        d->removed = w->removed;
    }
    if (w->truncate_from != 0)
        entries_truncate(&d->log, w->truncate_from);
    if (w->entries.last >= w->entries.first)
        entries_add(&d->log, &w->entries, w->entries.first, w->entries.last);
}

/* From its disk. The state machine has applied what its snapshot covers, or the first entry, by
 * which the cluster was formed. */
int node_start(struct node *n, const struct raft_options *options, struct raft *core, bool fresh)
{
    struct disk *d = &n->disk;
    struct raft_run runs[EXPLORE_LOG_MAX];
    struct raft_configuration configurations[CONFIGURATIONS_MAX];
    n->log = d->log;
    n->write_count = n->read_count = 0;
    memset(n->writes, 0, sizeof(n->writes));
    memset(n->reads, 0, sizeof(n->reads));
    struct raft_start start = {
        .now_us = NOW_US,
        .term = d->term,
        .vote = d->vote,
        .removed = d->removed,
        .snapshot = snapshot_of(&d->log, d->snapshot),
        .runs = runs,
        .last_index = d->log.last,
        .commit = d->snapshot > 0 ? d->snapshot : d->log.last > 0,
        .configurations = configurations,
        .fresh = fresh,
    };
    for (raft_index i = d->snapshot + 1u; i <= d->log.last; i++)
        if (start.run_count == 0 || runs[start.run_count - 1].term != d->log.terms[i])
            runs[start.run_count++] = (struct raft_run){.first = i, .term = d->log.terms[i]};
    for (uint32_t i = 0; i < d->log.configuration_count; i++)
        if (d->log.configurations[i].index > d->snapshot)
            configuration_of(&configurations[start.configuration_count++],
                             d->log.configurations[i]);
    struct raft_options own = *options;
    own.id = n->id;
    own.seed = n->life; /* so that its questions about reads have other numbers in each life */
    return raft_init(core, &own, &start);
}
