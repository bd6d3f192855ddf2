/* Virtual cluster of cores: disks and snapshots; see cluster.h. */
#include <string.h>

#include "lib/base/check.h"
#include "lib/sim/cluster.h"

void cluster_write_add(struct cluster *c, struct cluster_node *n, struct cluster_write write)
{
    if (n->write_count < CLUSTER_WRITES)
        n->writes[n->write_count++] = write;
    else
        cluster_end(c, "node %s: more than %d writes wait for its disk", c->names[n->id],
                    CLUSTER_WRITES);
}

static bool log_has(const struct cluster_entry *log, raft_index last, const struct raft_snapshot *s)
{
    return last >= s->index && log[s->index].term == s->term;
}

/* State and log are replaced; what follows the snapshot in the log stays if the log contains its
 * last entry (§5.3). */
static void disk_install(struct cluster *c, struct cluster_node *n, const struct cluster_write *w)
{
    const struct raft_snapshot *s = w->snapshot;
    bool installs = s->index > raft_commit_index(n->raft);
    if (installs) {
        if (!log_has(n->disk->log, n->disk->last, s))
            n->disk->last = s->index;
        if (!log_has(n->log, n->last, s))
            n->last = s->index;
        n->disk->log[s->index].term = n->log[s->index].term = s->term;
        n->disk->snapshot = *s;
        if (n->applied < s->index)
            n->applied = s->index;
        cluster_step(c, n->id, (struct raft_event){.type = RAFT_SNAPSHOT_INSTALLED, .snapshot = s});
    }
    if (w->snapshot_from && c->nodes[w->snapshot_from].raft)
        cluster_snapshot_sent(c, w->snapshot_from, n->id, true, s->index);
}

bool cluster_disk_step(struct cluster *c, raft_id id)
{
    struct cluster_node *n = &c->nodes[id];
    if (c->ended || !n->raft || n->write_count == 0)
        return false;
    struct cluster_write w = n->writes[0];
    n->write_count--;
    memmove(&n->writes[0], &n->writes[1], n->write_count * sizeof(n->writes[0]));
    bool nested = n->draining;
    n->draining = true;
    if (w.snapshot) {
        disk_install(c, n, &w);
    } else {
        struct cluster_disk *disk = n->disk;
        if (w.hard_state) {
            disk->term = w.term;
            disk->vote = w.vote;
            disk->removed = w.removed;
        }
        if (w.truncate_from)
            disk->last = w.truncate_from - 1;
        for (raft_index i = w.first; w.first && i <= w.last; i++)
            disk->log[i] = w.entries[i - w.first];
        if (w.first)
            disk->last = w.last;
        cluster_step(c, id, (struct raft_event){.type = RAFT_PERSISTED, .persist = w.persist});
    }
    n->draining = nested;
    return true;
}

void cluster_disk_hold(struct cluster *c, raft_id id)
{
    c->nodes[id].disk_held = true;
}

void cluster_disk_release(struct cluster *c, raft_id id)
{
    c->nodes[id].disk_held = false;
    while (cluster_disk_step(c, id))
        ;
}

void cluster_compact(struct cluster *c, raft_id id, raft_index index)
{
    struct cluster_node *n = &c->nodes[id];
    ASSERT(n->raft && index <= n->applied);
    struct raft_snapshot snapshot = {.index = index, .term = raft_term_at(n->raft, index)};
    const struct raft_configuration *configuration = raft_configuration_at(n->raft, index);
    ASSERT(configuration);
    snapshot.configuration = *configuration;
    n->disk->snapshot = snapshot;
    cluster_step(c, id, (struct raft_event){.type = RAFT_COMPACTED, .snapshot = &snapshot});
}

void cluster_install(struct cluster *c, raft_id id, const struct raft_snapshot *snapshot)
{
    struct cluster_node *n = &c->nodes[id];
    const struct raft_snapshot *kept = cluster_keep(c, snapshot, sizeof(*snapshot));
    cluster_write_add(c, n, (struct cluster_write){.snapshot = kept});
    if (!n->disk_held)
        while (cluster_disk_step(c, id))
            ;
}
