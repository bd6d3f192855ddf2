/* The rig: disks, state machines and snapshots of the nodes. See carry_rig.h. */
#include <stdio.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/mem.h"
#include "tests/support/carry_rig.h"

/* ---- the disk ---- */

raft_index rig_disk_last(const struct rig_node *n)
{
    return n->disk.base.index + n->disk.count;
}

const struct entry *rig_disk_entry(const struct rig_node *n, raft_index index)
{
    return index > n->disk.base.index && index <= rig_disk_last(n)
               ? n->disk.log[index - n->disk.base.index - 1]
               : NULL;
}

void rig_disk_truncate(struct rig_node *n, raft_index from)
{
    while (rig_disk_last(n) >= from && n->disk.count > 0) {
        entry_unref(n->disk.log[--n->disk.count]);
    }
}

static void disk_cut(struct rig_node *n, raft_index index)
{
    size_t gone = (size_t)(index - n->disk.base.index);

    gone = gone < n->disk.count ? gone : n->disk.count;
    for (size_t i = 0; i < gone; i++) {
        entry_unref(n->disk.log[i]);
    }
    n->disk.count -= gone;
    memmove(n->disk.log, n->disk.log + gone, n->disk.count * sizeof(struct entry *));
}

static void write_free(struct carry_write *w)
{
    for (size_t i = 0; i < w->entry_count; i++) {
        entry_unref(w->entries[i]);
    }
    mem_free(w->entries);
    mem_free(w);
}

static void disk_write(struct rig_node *n, const struct carry_write *w)
{
    if (w->hard_state) {
        CHECK(w->term >= n->disk.term);
        CHECK(w->term > n->disk.term || n->disk.vote == 0 || n->disk.vote == w->vote);
        n->disk.term = w->term;
        n->disk.vote = w->vote;
        n->disk.removed = w->removed;
    }
    if (w->truncate_from > 0) {
        CHECK(w->truncate_from > n->disk.base.index);
        rig_disk_truncate(n, w->truncate_from);
    }
    for (size_t i = 0; i < w->entry_count; i++) {
        ASSERT(n->disk.count < RIG_LOG);
        CHECK_EQ(w->entries[i]->index, rig_disk_last(n) + 1);
        n->disk.log[n->disk.count++] = entry_ref(w->entries[i]);
    }
}

static void io_persist(void *self, struct carry_write *w)
{
    struct rig_node *n = self;

    CHECK(!n->installing);
    CHECK(w->persist > n->persist_last);
    ASSERT(n->write_count < RIG_QUEUE);
    n->persist_last = w->persist;
    n->writes[n->write_count++] = w;
}

bool rig_disk_one(struct rig *r, raft_id id)
{
    struct rig_node *n = &r->nodes[id];
    struct carry_write *w;
    uint64_t persist;

    if (n->write_count == 0) {
        return false;
    }
    w = n->writes[0];
    memmove(&n->writes[0], &n->writes[1], --n->write_count * sizeof n->writes[0]);
    disk_write(n, w);
    persist = w->persist;
    write_free(w);
    carry_persisted(n->carry, persist, r->now_us);
    rig_check(n);
    return true;
}

static void io_log_read(void *self, uint64_t id, raft_index first, raft_index last,
                        uint64_t bytes_max)
{
    struct rig_node *n = self;

    CHECK(!n->installing);
    ASSERT(n->log_read_count < sizeof n->log_reads / sizeof n->log_reads[0]);
    n->log_reads[n->log_read_count++] = (struct rig_log_read){id, first, last, bytes_max};
    n->log_reads_asked++;
}

static size_t disk_read(const struct rig_node *n, const struct rig_log_read *read,
                        struct entry ***entries)
{
    raft_index last = read->last < rig_disk_last(n) ? read->last : rig_disk_last(n);
    uint64_t bytes = 0;
    size_t count = 0;

    *entries = mem_calloc((size_t)(last - read->first + 1), sizeof(struct entry *));
    for (raft_index i = read->first; i <= last; i++) {
        struct entry *e = n->disk.log[i - n->disk.base.index - 1];

        bytes += e->size;
        if (count > 0 && bytes > read->bytes_max) {
            break;
        }
        (*entries)[count++] = entry_ref(e);
    }
    return count;
}

bool rig_log_read_one(struct rig *r, raft_id id, int code)
{
    struct rig_node *n = &r->nodes[id];
    struct rig_log_read read;
    struct entry **entries = NULL;
    size_t count = 0;

    if (n->log_read_count == 0) {
        return false;
    }
    read = n->log_reads[0];
    memmove(&n->log_reads[0], &n->log_reads[1], --n->log_read_count * sizeof n->log_reads[0]);
    if (code == 0 && read.first <= n->disk.base.index) {
        code = ERR_NOT_FOUND;
    } else if (code == 0 && read.first > rig_disk_last(n)) {
        code = ERR_AGAIN;
    } else if (code == 0) {
        count = disk_read(n, &read, &entries);
    }
    carry_log_read(n->carry, read.id, code, entries, count, r->now_us);
    rig_check(n);
    return true;
}

static void io_compact(void *self, raft_index index, raft_term term, const struct membership *m)
{
    struct rig_node *n = self;

    CHECK(!n->installing);
    CHECK(index <= rig_disk_last(n) && index > n->disk.base.index);
    CHECK(index <= base_map_applied(n->map)); /* else a crash loses what the log alone has */
    CHECK(rig_disk_entry(n, index) && rig_disk_entry(n, index)->term == term);
    CHECK(m->configuration.index <= index);
    disk_cut(n, index);
    n->disk.base = (struct snapshot_cut){.index = index, .term = term, .membership = *m};
    n->compactions++;
    n->compacted = index;
}

/* ---- the state machine ---- */

static void note_applied(struct rig_node *n, const struct entry *e)
{
    struct rig *r = n->rig;

    ASSERT(e->index < RIG_LOG);
    if (r->applied[e->index].term == 0) {
        r->applied[e->index].term = e->term;
        r->applied[e->index].crc = e->crc;
    }
    CHECK_EQ(r->applied[e->index].term, e->term);
    CHECK_EQ(r->applied[e->index].crc, e->crc);
}

/* The bound of every node, the leader included: min(commit, durable). */
static void io_apply(void *self, struct entry **entries, size_t count)
{
    struct rig_node *n = self;
    struct rig_work *w;

    CHECK(!n->installing);
    ASSERT(count > 0 && n->work_count < RIG_QUEUE);
    for (size_t i = 0; i < count; i++) {
        const struct entry *on_disk = rig_disk_entry(n, entries[i]->index);

        CHECK_EQ(entries[i]->index, n->handed + 1);
        CHECK(entries[i]->index <= raft_commit_index(carry_raft(n->carry)));
        CHECK(on_disk && on_disk->term == entries[i]->term);
        note_applied(n, entries[i]);
        n->handed++;
    }
    w = &n->works[n->work_count++];
    memset(w, 0, sizeof *w);
    w->entries = mem_dup(entries, count * sizeof(struct entry *));
    w->count = count;
}

static void io_read(void *self, struct carry_request *request)
{
    struct rig_node *n = self;

    CHECK(!n->installing);
    CHECK(!request->write && request->index <= n->handed);
    ASSERT(n->work_count < RIG_QUEUE);
    n->works[n->work_count++] = (struct rig_work){.read = (struct rig_request *)request};
}

static void evaluate_read(struct rig_node *n, struct rig_request *q)
{
    struct row row;

    q->evaluations++;
    q->at = state_applied(n->state);
    q->code = state_get(n->state, slice_str(q->key), &row, NULL);
    q->version = q->code == 0 ? row.version : 0;
    snprintf(q->value, sizeof q->value, "%.*s", q->code == 0 ? (int)row.value.len : 0,
             q->code == 0 ? (const char *)row.value.data : "");
}

static void evaluate_apply(struct rig_node *n, struct rig_work *w)
{
    w->results = mem_calloc(w->count, sizeof *w->results);
    for (size_t i = 0; i < w->count; i++) {
        struct entry *e = w->entries[i];

        if (state_apply(n->state, e, &w->results[i].result, NULL) != 0) {
            case_fail("node %d: entry %llu is not applied", (int)n->id,
                      (unsigned long long)e->index);
        }
        w->results[i].term = e->term;
        w->results[i].bytes = e->size;
        w->results[i].cluster_time_ms = state_cluster_time_ms(n->state);
        entry_unref(e);
    }
    mem_free(w->entries);
    w->entries = NULL;
}

bool rig_evaluate_one(struct rig *r, raft_id id)
{
    struct rig_node *n = &r->nodes[id];
    struct rig_work w;

    if (n->work_count == 0) {
        return false;
    }
    w = n->works[0];
    memmove(&n->works[0], &n->works[1], --n->work_count * sizeof n->works[0]);
    if (w.read) {
        evaluate_read(n, w.read);
    } else {
        evaluate_apply(n, &w);
    }
    n->done[n->done_count++] = w;
    return true;
}

bool rig_result_one(struct rig *r, raft_id id)
{
    struct rig_node *n = &r->nodes[id];
    struct rig_work w;

    if (n->done_count == 0) {
        return false;
    }
    w = n->done[0];
    memmove(&n->done[0], &n->done[1], --n->done_count * sizeof n->done[0]);
    if (!w.read) {
        carry_applied(n->carry, w.results, w.count, r->now_us);
        mem_free(w.results);
    } else if (carry_read_done(n->carry, &w.read->carry, r->now_us)) {
        w.read->served = true;
        w.read->answers++;
    }
    rig_check(n);
    return true;
}

/* ---- snapshots ---- */

static void flush(struct rig_node *n)
{
    const struct memtable *m;

    while ((m = state_freeze(n->state)) != NULL) {
        base_map_flush(n->map, m);
        state_flushed(n->state, m);
    }
}

void rig_checkpoint(struct rig *r, raft_id id)
{
    struct rig_node *n = &r->nodes[id];

    flush(n);
    carry_checkpointed(n->carry, base_map_applied(n->map), r->now_us);
    rig_check(n);
}

struct rig_snapshot *rig_snapshot_take(struct rig *r, raft_id id)
{
    struct rig_node *n = &r->nodes[id];
    struct rig_snapshot *s = mem_zalloc(sizeof *s);
    struct state_image image;

    flush(n);
    s->map = base_map_clone(n->map);
    base_map_image(s->map, &image);
    s->cut.index = image.applied;
    s->cut.term = image.applied_term;
    s->cut.membership = image.membership;
    return s;
}

struct rig_snapshot *rig_snapshot_copy(const struct rig_snapshot *s)
{
    struct rig_snapshot *copy = mem_dup(s, sizeof *s);

    copy->map = base_map_clone(s->map);
    return copy;
}

void rig_snapshot_free(struct rig_snapshot *s)
{
    if (s) {
        base_map_free(s->map);
        mem_free(s);
    }
}

int rig_snapshot_give(struct rig *r, raft_id to, struct rig_snapshot *s)
{
    struct rig_node *n = &r->nodes[to];
    int code;

    ASSERT(n->generation + 1 < sizeof n->received / sizeof n->received[0]);
    rig_snapshot_free(n->received[n->generation + 1]);
    n->received[n->generation + 1] = s;
    code = carry_snapshot_received(n->carry, n->generation + 1, &s->cut, r->now_us);
    rig_check(n);
    return code;
}

static void io_snapshot_send(void *self, raft_id peer, raft_index index)
{
    struct rig_node *n = self;

    for (size_t i = 0; i < n->sending_count; i++) {
        if (n->sendings[i].to == peer) {
            return;
        }
    }
    n->snapshots_asked++;
    n->sendings[n->sending_count++] = (struct rig_sending){.to = peer, .wanted = index};
}

static void io_install(void *self, uint64_t generation, const struct snapshot_cut *cut)
{
    struct rig_node *n = self;

    CHECK(!n->installing);
    CHECK_EQ(n->write_count, 0); /* nothing is on its way any more */
    for (size_t i = 0; i < n->work_count; i++) {
        CHECK(n->works[i].read);
    }
    for (size_t i = 0; i < n->done_count; i++) {
        CHECK(n->done[i].read);
    }
    CHECK_EQ(generation, n->generation + 1);
    n->installing = true;
    n->install_cut = *cut;
}

void rig_state_open(struct rig_node *n)
{
    struct state_options options = {
        .memtable_rows_max = 1000,
        .memtable_bytes_max = 64 << 20,
        .sessions_max = 1000,
        .session_ttl_ms = 3600000,
    };
    struct state_image image;

    state_free(n->state);
    base_map_image(n->map, &image);
    n->state = state_new(&options, base_map_base(n->map), &image);
    n->handed = image.applied;
}

void rig_install_done(struct rig *r, raft_id id)
{
    struct rig_node *n = &r->nodes[id];
    raft_index index = n->install_cut.index;
    const struct entry *ours = rig_disk_entry(n, index);
    bool kept = ours && ours->term == n->install_cut.term;

    ASSERT(n->installing);
    while (rig_evaluate_one(r, id)) { /* reads that were asked before */
    }
    n->installing = false;
    n->generation++;
    n->installs++;
    base_map_free(n->map);
    n->map = base_map_clone(n->received[n->generation]->map);
    rig_state_open(n);
    disk_cut(n, kept ? index : rig_disk_last(n));
    n->disk.base = n->install_cut;
    carry_installed(n->carry, kept, r->now_us);
    rig_check(n);
}

static void sending_end(struct rig_node *n, size_t i, bool ok)
{
    struct rig_sending s = n->sendings[i];

    n->sendings[i] = n->sendings[--n->sending_count];
    carry_snapshot_sent(n->carry, s.to, ok, s.copy ? s.copy->cut.index : 0, n->rig->now_us);
    rig_snapshot_free(s.copy);
    rig_check(n);
}

/* One that is asked for is taken and given at once. */
bool rig_snapshot_send(struct rig_node *n, size_t i)
{
    struct rig *r = n->rig;
    struct rig_sending *s = &n->sendings[i];
    struct rig_node *to = &r->nodes[s->to];
    int code;

    if (s->given) {
        if (to->carry && carry_installing(to->carry)) {
            return false;
        }
        sending_end(n, i,
                    to->carry && raft_commit_index(carry_raft(to->carry)) >= s->copy->cut.index);
        return true;
    }
    if (!to->carry || to->paused || r->cut[n->id][s->to]) {
        sending_end(n, i, false);
        return true;
    }
    s->copy = rig_snapshot_take(r, n->id);
    CHECK(s->copy->cut.index >= s->wanted);
    carry_snapshot_sending(n->carry, s->to, s->copy->cut.index);
    code = carry_snapshot_wanted(to->carry, n->id, raft_term_current(carry_raft(n->carry)),
                                 s->copy->cut.index);
    code = code ? code : rig_snapshot_give(r, s->to, rig_snapshot_copy(s->copy));
    s->given = code == 0;
    if (code != 0) {
        sending_end(n, i, code == ERR_NOT_FOUND);
    }
    return true;
}

/* ---- for the life of a node ---- */

void rig_store_io(struct carry_io *io)
{
    io->persist = io_persist;
    io->log_read = io_log_read;
    io->compact = io_compact;
    io->apply = io_apply;
    io->read = io_read;
    io->snapshot_send = io_snapshot_send;
    io->install = io_install;
}

static void drop_work(struct rig_work *w)
{
    for (size_t i = 0; w->entries && i < w->count; i++) {
        entry_unref(w->entries[i]);
    }
    mem_free(w->entries);
    mem_free(w->results);
    if (w->read) {
        w->read->answers++; /* the connection is gone */
    }
}

/* What is queued is lost. */
void rig_store_lose(struct rig_node *n)
{
    for (size_t i = 0; i < n->write_count; i++) {
        write_free(n->writes[i]);
    }
    for (size_t i = 0; i < n->work_count; i++) {
        drop_work(&n->works[i]);
    }
    for (size_t i = 0; i < n->done_count; i++) {
        drop_work(&n->done[i]);
    }
    for (size_t i = 0; i < n->sending_count; i++) {
        rig_snapshot_free(n->sendings[i].copy);
    }
    n->write_count = n->work_count = n->done_count = n->sending_count = n->log_read_count = 0;
}
