/*
 * The state once more, from what it began with and the log, by the code that made it: the entries
 * of raft.db through state_apply, the memtables through kv_writer_flush, into a file of its own.
 *
 * kv.<generation>.db stands at the applied index of its last flush; entries behind that are in
 * nobody's file yet, and perhaps not committed.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/verify/replay_internal.h"
#include "lib/verify/scratch_internal.h"

enum { READ_BYTES = 8 << 20, WAL_BYTES_MAX = 64 << 20 };

struct replay {
    struct inspection in;
    struct data_dir *scratch; /* where the state is built */
    struct log_store *log;
    struct log_store_state start;
    char file[64]; /* of the state in force */
    struct replay_side found, built;
    struct state *state;
};

/* ---- the two files ---- */

int replay_side_read(struct replay_side *s, struct err *err)
{
    mem_free(s->image.sessions);
    s->image = (struct kv_image){0};
    return kv_writer_image(s->writer, &s->image, err);
}

int replay_side_open(struct replay_side *s, struct data_dir *dir, uint64_t generation,
                     const struct digest *cluster_id, struct err *err)
{
    *s = (struct replay_side){.dir = dir, .generation = generation};
    int rc = kv_writer_open(dir, generation, cluster_id, &s->writer, err);
    if (rc == 0)
        rc = replay_side_read(s, err);
    if (rc == 0)
        rc = kv_reader_open(dir, generation, &s->reader, err);
    if (rc == 0)
        kv_reader_base(s->reader, &s->base);
    return rc;
}

void replay_side_close(struct replay_side *s)
{
    kv_reader_close(s->reader);
    kv_writer_close(s->writer);
    mem_free(s->image.sessions);
    *s = (struct replay_side){0};
}

/* ---- where to begin ---- */

struct choice {
    raft_index base, applied;
    raft_index index; /* of the oldest snapshot that is good for it; 0: none */
};

static void choose(void *self, const char *name, uint64_t generation)
{
    struct choice *c = self;
    raft_index index = generation ? 0 : inspect_snapshot_index(name);
    if (index >= c->base && index > 0 && index < c->applied && (!c->index || index < c->index))
        c->index = index;
}

static int begin_with(struct replay *p, const char *path, struct err *err)
{
    int rc = state_file_copy(path, p->scratch, 1, err);
    if (rc == 0)
        rc = kv_store_prepare(p->scratch, 1, false, err);
    return rc;
}

static int begin_with_snapshot(struct replay *p, struct err *err)
{
    struct choice c = {.base = p->start.snapshot_index, .applied = p->found.image.image.applied};
    int rc = inspect_files(&p->in, choose, &c, err);
    if (rc)
        return rc;
    if (!c.index)
        return err_set(err, ERR_AGAIN,
                       "%s: the log begins behind entry %" PRIu64
                       ", and of the state there or later there is none but %s itself: nothing to "
                       "begin with (see --from)",
                       p->in.shown, p->start.snapshot_index, p->file);
    size_t room = strlen(data_dir_path(p->in.copy)) + 64;
    char *path = mem_alloc(room);
    snprintf(path, room, "%s/snapshot.%" PRIu64 ".db", data_dir_path(p->in.copy), c.index);
    rc = begin_with(p, path, err);
    mem_free(path);
    return rc;
}

/* What `--from` or a snapshot says must be a state that the log goes on from. */
static int begin_check(struct replay *p, struct err *err)
{
    raft_index at = p->built.image.image.applied, to = p->found.image.image.applied;
    if (at < p->start.snapshot_index)
        return err_set(err, ERR_AGAIN,
                       "%s: the state to begin with is that at %" PRIu64
                       ", the log begins behind %" PRIu64,
                       p->in.shown, at, p->start.snapshot_index);
    if (at > to)
        return err_set(err, ERR_AGAIN,
                       "%s: the state to begin with is that at %" PRIu64 ", %s is that at %" PRIu64,
                       p->in.shown, at, p->file, to);
    return 0;
}

static int begin(struct replay *p, const char *from, struct err *err)
{
    int rc;
    if (from)
        rc = begin_with(p, from, err);
    else if (p->start.snapshot_index == 0)
        rc = kv_store_prepare(p->scratch, 1, true, err);
    else
        rc = begin_with_snapshot(p, err);
    if (rc == 0)
        rc = replay_side_open(&p->built, p->scratch, 1, &p->start.cluster_id, err);
    if (rc == 0)
        rc = begin_check(p, err);
    return rc;
}

/* ---- applying ---- */

static int flush(struct replay *p, const struct memtable *m, struct err *err)
{
    struct digest digest;
    uint64_t keys;
    raft_index checkpointed;
    int rc = kv_writer_flush(p->built.writer, m, &digest, &keys, err);
    if (rc)
        return rc;
    kv_reader_refresh(p->built.reader);
    state_flushed(p->state, m);
    if (kv_writer_wal_bytes(p->built.writer) > WAL_BYTES_MAX)
        rc = kv_writer_checkpoint(p->built.writer, &checkpointed, err);
    return rc;
}

static int apply(struct replay *p, struct entry *e, struct err *err)
{
    struct apply_result result;
    int rc = state_apply(p->state, e, &result, err);
    if (rc) {
        err_prefix(err, "%s/raft.db", data_dir_path(p->in.copy));
        return rc;
    }
    const struct memtable *m;
    while (rc == 0 && (m = state_oldest_frozen(p->state)))
        rc = flush(p, m, err);
    return rc;
}

static int apply_until(struct replay *p, raft_index to, struct err *err)
{
    int rc = 0;
    while (rc == 0 && state_applied(p->state) < to) {
        struct entry **entries;
        size_t count;
        rc = log_store_read(p->log, state_applied(p->state) + 1, to, READ_BYTES, &entries, &count,
                            err);
        if (rc)
            return rc;
        for (size_t i = 0; i < count; i++) {
            if (rc == 0)
                rc = apply(p, entries[i], err);
            entry_unref(entries[i]);
        }
        mem_free(entries);
    }
    const struct memtable *m;
    while (rc == 0 && ((m = state_oldest_frozen(p->state)) || (m = state_freeze(p->state))))
        rc = flush(p, m, err);
    return rc;
}

static int rebuild(struct replay *p, struct err *err)
{
    raft_index to = p->found.image.image.applied;
    if (to > p->start.last_index)
        return err_set(err, ERR_CORRUPT,
                       "%s/%s: applied up to %" PRIu64 ", the log in raft.db ends at %" PRIu64,
                       data_dir_path(p->in.copy), p->file, to, p->start.last_index);
    p->state = state_new(&state_options_default, &p->built.base, &p->built.image.image);
    int rc = apply_until(p, to, err);
    if (rc == 0)
        rc = replay_side_read(&p->built, err);
    return rc;
}

/* ---- the whole ---- */

static void tell_extent(const struct replay *p, raft_index from)
{
    raft_index to = p->found.image.image.applied;
    const char *began = from == 0 ? "nothing" : "the snapshot at it";
    inspect_tell(&p->in, FINDING_FACT, p->file,
                 "built anew from entry %" PRIu64 " on, beginning with %s, to %" PRIu64 "; %" PRIu64
                 " keys, %zu sessions",
                 from + 1, began, to, p->built.image.keys, p->built.image.image.session_count);
    if (p->start.last_index > to)
        inspect_tell(&p->in, FINDING_NOTE, p->file,
                     "it stands at entry %" PRIu64 "; those up to %" PRIu64
                     " are in the log only, and perhaps not committed",
                     to, p->start.last_index);
}

static int run(struct replay *p, const char *from, struct err *err)
{
    int rc = log_store_open(p->in.copy, NULL, &p->log, &p->start, err);
    if (rc)
        return rc;
    snprintf(p->file, sizeof(p->file), "kv.%" PRIu64 ".db", p->start.kv_generation);
    rc = replay_side_open(&p->found, p->in.copy, p->start.kv_generation, &p->start.cluster_id, err);
    if (rc == 0)
        rc = begin(p, from, err);
    raft_index began = rc ? 0 : p->built.image.image.applied;
    if (rc == 0)
        rc = rebuild(p, err);
    if (rc)
        return rc;
    tell_extent(p, began);
    replay_compare(&p->in, p->file, &p->found, &p->built);
    return 0;
}

static void release(struct replay *p)
{
    state_free(p->state);
    replay_side_close(&p->found);
    replay_side_close(&p->built);
    log_store_close(p->log, NULL);
    data_dir_close(p->in.copy);
    data_dir_close(p->scratch);
}

/* What went wrong on the way: a flaw of the files, or something that could not be done. */
static void tell_failure(const struct replay *p, const struct err *err)
{
    enum finding kind = err->code == ERR_CORRUPT || err->code == ERR_WRONG_CLUSTER
                            ? FINDING_WRONG
                            : FINDING_UNKNOWN;
    if (p->in.copy && strncmp(err->text, p->in.shown, strlen(p->in.shown)) != 0)
        inspect_tell_err(&p->in, kind, err);
    else
        p->in.sink.tell(p->in.sink.self, kind, err->text);
}

int verify_replay(const char *path, const char *from, const char *scratch,
                  const struct finding_sink *sink, struct err *err)
{
    struct replay p = {.in = {.shown = path, .sink = *sink}};
    struct err why = {0};
    int rc = data_dir_recognise(path, err);
    if (rc == ERR_NOT_FOUND)
        return rc;
    char *copy = scratch_path(scratch, SCRATCH_COPY);
    char *built = scratch_path(scratch, SCRATCH_BUILT);
    rc = data_dir_copy(path, copy, &p.in.copy, &why);
    if (rc == 0)
        rc = data_dir_open(built, &p.scratch, &why);
    if (rc == 0)
        rc = run(&p, from, &why);
    bool usage = rc == ERR_NOT_FOUND && from;
    if (usage)
        *err = why;
    else if (rc)
        tell_failure(&p, &why);
    release(&p);
    if (data_dir_erase(copy, &why) != 0 || data_dir_erase(built, &why) != 0)
        sink->tell(sink->self, FINDING_NOTE, why.text);
    mem_free(copy);
    mem_free(built);
    return usage ? ERR_NOT_FOUND : 0;
}
