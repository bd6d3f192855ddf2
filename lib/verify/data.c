/*
 * One data directory by itself. Pages, CRCs and formats are lib/store's to look at; here it is what
 * log and state say of each other.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/hash.h"
#include "lib/base/mem.h"
#include "lib/store/kv_store.h"
#include "lib/verify/data_internal.h"
#include "lib/verify/scratch_internal.h"

enum {
    LINES_GAP_MAX = 1 << 20, /* entries missing in a row that are kept a place for */
    ROWS_TOLD_MAX = 20,
};

/* ---- the log ---- */

const struct data_line *data_line_at(const struct data_directory *d, raft_index index)
{
    if (index <= d->log.base || index - d->log.base > d->line_count)
        return NULL;
    const struct data_line *line = &d->lines[index - d->log.base - 1];
    return line->term ? line : NULL;
}

raft_term data_term_at(const struct data_directory *d, raft_index index)
{
    const struct data_line *line = data_line_at(d, index);
    if (line)
        return line->term;
    return index == d->log.base && (d->log.has & LOG_HAS_BASE) ? d->log.base_term : 0;
}

raft_index data_applied(const struct data_directory *d)
{
    return d->has_state && (d->states[0].facts.has & KV_HAS_APPLIED) ? d->states[0].facts.applied
                                                                     : d->log.base;
}

/* What `row` would be in the table, in 64 bits of its digest. */
static uint64_t row_hash(const struct row *row)
{
    uint64_t hash = kv_row_digest(row).lo;
    return hash ? hash : 1;
}

static void row_note(struct data_directory *d, struct data_line *line, const struct entry *e,
                     const struct command *c, struct slice key, struct slice value)
{
    struct row row = {.key = key, .value = value, .version = e->index, .timestamp_ms = c->wall_ms};
    if (d->row_count == d->row_room) {
        d->row_room = d->row_room ? 2 * d->row_room : 1024;
        d->rows = mem_realloc(d->rows, sizeof(d->rows[0]) * d->row_room);
    }
    d->rows[d->row_count++] = row_hash(&row);
    line->row_count++;
}

/* What the entry puts. */
static void rows_note(struct data_directory *d, struct data_line *line, const struct entry *e)
{
    struct command c;
    struct command_write w;
    line->rows_at = d->row_count;
    if (e->kind != RAFT_NORMAL || command_decode(slice_of(e->data, e->size), &c, NULL) != 0)
        return;
    if (c.op == COMMAND_PUT)
        row_note(d, line, e, &c, c.key, c.value);
    for (struct slice rest = c.writes; command_write_next(&rest, &w);)
        if (w.op == COMMAND_PUT)
            row_note(d, line, e, &c, w.key, w.value);
}

static bool line_puts(const struct data_directory *d, const struct data_line *line, uint64_t hash)
{
    for (uint32_t i = 0; i < line->row_count; i++)
        if (d->rows[line->rows_at + i] == hash)
            return true;
    return false;
}

static void membership_note(struct data_directory *d, raft_index index, const struct membership *m)
{
    if (d->membership_count == d->membership_room) {
        d->membership_room = d->membership_room ? d->membership_room * 2 : 8;
        d->memberships =
            mem_realloc(d->memberships, sizeof(d->memberships[0]) * d->membership_room);
    }
    d->memberships[d->membership_count++] = (struct data_membership){
        .index = index,
        .value = membership_cluster_id(m),
        .has_self = membership_by_id(m, d->log.member_id) != NULL,
    };
}

static void line_add(struct data_directory *d, const struct entry *e)
{
    size_t at = (size_t)(e->index - d->log.base - 1);
    if (at < d->line_count || at - d->line_count > LINES_GAP_MAX)
        return;
    if (at >= d->line_room) {
        d->line_room = at + 1 < 2 * d->line_room ? 2 * d->line_room : at + 1024;
        d->lines = mem_realloc(d->lines, sizeof(d->lines[0]) * d->line_room);
    }
    memset(&d->lines[d->line_count], 0, sizeof(d->lines[0]) * (at - d->line_count));
    struct data_line *line = &d->lines[at];
    *line = (struct data_line){.term = e->term, .hash = hash64(e->data, e->size, e->kind)};
    rows_note(d, line, e);
    d->line_count = at + 1;
}

static void entry_seen(void *self, const struct entry *e)
{
    struct data_directory *d = self;
    struct membership m;
    line_add(d, e);
    if (e->kind == RAFT_CONFIGURATION &&
        membership_decode(slice_of(e->data, e->size), e->index, &m, NULL) == 0)
        membership_note(d, e->index, &m);
}

/* The configuration at an index: the last one up to it. NULL: none is known. */
static const struct data_membership *membership_at(const struct data_directory *d, raft_index index)
{
    const struct data_membership *found = NULL;
    for (size_t i = 0; i < d->membership_count; i++)
        if (d->memberships[i].index <= index)
            found = &d->memberships[i];
    return found;
}

static void log_judge(const struct data_directory *d)
{
    const struct log_facts *f = &d->log;
    const struct inspection *in = &d->in;
    static const struct digest none;
    bool has_cluster = !digest_equal(f->cluster_id, none);
    char found[HEX128_BYTES], stored[HEX128_BYTES];
    if ((f->has & LOG_HAS_CLUSTER) && !has_cluster && (f->base > 0 || d->line_count > 0))
        inspect_tell(in, FINDING_WRONG, "raft.db", "there is a log, and meta names no cluster");
    if (d->membership_count > 0 && d->memberships[0].index == 1 && has_cluster &&
        !digest_equal(d->memberships[0].value, f->cluster_id))
        inspect_tell(in, FINDING_WRONG, "raft.db",
                     "the membership of entry 1 makes cluster %s, meta says %s",
                     hex128(d->memberships[0].value, found), hex128(f->cluster_id, stored));
    const struct data_membership *m = membership_at(d, f->removed);
    if ((f->has & LOG_HAS_REMOVED) && f->removed > 0 && m && m->index == f->removed && m->has_self)
        inspect_tell(in, FINDING_WRONG, "raft.db",
                     "meta says that this member is removed by entry %" PRIu64
                     ", whose membership has it",
                     f->removed);
    if (d->line_count > 0 && data_line_at(d, 1) && d->membership_count == 0)
        inspect_tell(in, FINDING_WRONG, "raft.db", "the log begins without a membership");
}

/* ---- the state ---- */

struct rows_look {
    const struct data_directory *d;
    const char *file;
    unsigned told;
};

static void row_seen(void *self, const struct row *row)
{
    struct rows_look *l = self;
    const struct data_line *line = data_line_at(l->d, row->version);
    if (!line || line_puts(l->d, line, row_hash(row)) || l->told++ >= ROWS_TOLD_MAX)
        return;
    struct buf key;
    buf_init(&key, 512);
    inspect_show_key(row->key, &key);
    inspect_tell(&l->d->in, FINDING_WRONG, l->file,
                 "table kv, key %s: entry %" PRIu64 ", which is its version, %s",
                 (const char *)key.data, row->version,
                 line->row_count > 0 ? "puts another key, value or timestamp" : "puts nothing");
    buf_release(&key);
}

static void cluster_judge(const struct data_directory *d, const struct data_state *s)
{
    static const struct digest none;
    char theirs[HEX128_BYTES], ours[HEX128_BYTES];
    if (!(d->log.has & LOG_HAS_CLUSTER) || !(s->facts.has & KV_HAS_CLUSTER) ||
        digest_equal(d->log.cluster_id, s->facts.cluster_id))
        return;
    /* Raft's file is the first to know. */
    if (digest_equal(s->facts.cluster_id, none) && s->facts.applied == 0)
        return;
    inspect_tell(&d->in, FINDING_WRONG, s->file, "the state of cluster %s, raft.db says %s",
                 hex128(s->facts.cluster_id, theirs), hex128(d->log.cluster_id, ours));
}

static void membership_judge(const struct data_directory *d, const struct data_state *s)
{
    const struct data_membership *m = membership_at(d, s->facts.applied);
    if (!m || !(s->facts.has & KV_HAS_MEMBERSHIP))
        return;
    raft_index index = s->facts.membership.configuration.index;
    if (index != m->index)
        inspect_tell(&d->in, FINDING_WRONG, s->file,
                     "meta: the membership of entry %" PRIu64 ", in the log that of entry %" PRIu64
                     " is the one at %" PRIu64,
                     index, m->index, s->facts.applied);
    else if (!digest_equal(membership_cluster_id(&s->facts.membership), m->value))
        inspect_tell(&d->in, FINDING_WRONG, s->file,
                     "meta: another membership than that of entry %" PRIu64 " in the log", index);
}

static void state_judge(const struct data_directory *d, const struct data_state *s, bool in_force)
{
    const struct kv_facts *f = &s->facts;
    const struct log_facts *log = &d->log;
    cluster_judge(d, s);
    if (!(f->has & KV_HAS_APPLIED) || !(log->has & LOG_HAS_BASE))
        return;
    if (f->applied > log->last && f->applied > log->base && log->whole)
        inspect_tell(&d->in, FINDING_WRONG, s->file,
                     "applied up to %" PRIu64 ", the log in raft.db ends at %" PRIu64, f->applied,
                     log->last);
    if (f->applied < log->base && in_force)
        inspect_tell(&d->in, FINDING_WRONG, s->file,
                     "applied up to %" PRIu64 ", the log in raft.db begins behind %" PRIu64
                     ": what is between them is lost",
                     f->applied, log->base);
    raft_term term = data_term_at(d, f->applied);
    if (term && f->applied_term != term)
        inspect_tell(&d->in, FINDING_WRONG, s->file,
                     "applied up to entry %" PRIu64 " of term %" PRIu64
                     ", in raft.db it is of %" PRIu64,
                     f->applied, f->applied_term, term);
    if (f->applied >= log->base)
        membership_judge(d, s);
}

static void state_look(struct data_directory *d, const char *file, bool in_force)
{
    ASSERT(d->state_count < DATA_STATES_MAX);
    struct data_state *s = &d->states[d->state_count++];
    struct rows_look look = {.d = d, .file = file};
    snprintf(s->file, sizeof(s->file), "%s", file);
    kv_inspect(&d->in, file, row_seen, &look, &s->facts);
    state_judge(d, s, in_force);
}

struct files_look {
    struct data_directory *d;
    char in_force[64];
    bool found;
};

/* The state in force is looked at first; other generations are what a crash left. */
static void file_seen(void *self, const char *name, uint64_t generation)
{
    struct files_look *l = self;
    if (strcmp(name, l->in_force) == 0)
        l->found = true;
    else if (generation > 0 && generation != l->d->log.kv_generation)
        inspect_tell(&l->d->in, FINDING_NOTE, name,
                     "not the state in force, which is %s: the next start deletes it", l->in_force);
}

static void snapshot_seen(void *self, const char *name, uint64_t generation)
{
    struct data_directory *d = self;
    if (generation > 0)
        return;
    if (d->state_count == DATA_STATES_MAX) {
        inspect_tell(&d->in, FINDING_UNKNOWN, name, "too many snapshots to look at this one");
        return;
    }
    state_look(d, name, false);
    const struct kv_facts *f = &d->states[d->state_count - 1].facts;
    if ((f->has & KV_HAS_APPLIED) && f->applied != inspect_snapshot_index(name))
        inspect_tell(&d->in, FINDING_WRONG, name, "the state at %" PRIu64, f->applied);
}

static void states_look(struct data_directory *d)
{
    struct files_look l = {.d = d};
    struct err err = {0};
    if (!(d->log.has & LOG_HAS_GENERATION)) {
        inspect_tell(&d->in, FINDING_UNKNOWN, "raft.db",
                     "it does not say which file of the state is in force");
        return;
    }
    snprintf(l.in_force, sizeof(l.in_force), "kv.%" PRIu64 ".db", d->log.kv_generation);
    if (inspect_files(&d->in, file_seen, &l, &err) != 0)
        inspect_tell_err(&d->in, FINDING_UNKNOWN, &err);
    if (l.found)
        state_look(d, l.in_force, true);
    else if (d->log.base > 0)
        inspect_tell(&d->in, FINDING_WRONG, l.in_force,
                     "missing, and the log begins behind %" PRIu64, d->log.base);
    else
        inspect_tell(&d->in, FINDING_NOTE, l.in_force,
                     "missing: the next start makes it from the log");
    d->has_state = l.found;
    if (inspect_files(&d->in, snapshot_seen, d, &err) != 0)
        inspect_tell_err(&d->in, FINDING_UNKNOWN, &err);
}

/* ---- the directory ---- */

static void facts_tell(const struct data_directory *d)
{
    const struct log_facts *f = &d->log;
    char hex[HEX128_BYTES], id[HEX64_BYTES];
    if (!f->has)
        return;
    inspect_tell(&d->in, FINDING_FACT, "raft.db",
                 "member %s, %s, of cluster %s, term %" PRIu64 ", log from %" PRIu64 " to %" PRIu64,
                 f->name, hex64(f->member_id, id), hex128(f->cluster_id, hex), f->term, f->base + 1,
                 f->last);
    for (size_t i = 0; i < d->state_count; i++) {
        const struct kv_facts *k = &d->states[i].facts;
        if (k->has && !k->whole)
            inspect_tell(&d->in, FINDING_FACT, d->states[i].file,
                         "applied up to %" PRIu64 ", not all of it can be read", k->applied);
        else if (k->has)
            inspect_tell(&d->in, FINDING_FACT, d->states[i].file,
                         "applied up to %" PRIu64 ", %" PRIu64 " keys, %" PRIu64
                         " sessions, digest %s",
                         k->applied, k->rows, k->sessions, hex128(k->digest, hex));
    }
}

static void directory_look(struct data_directory *d)
{
    log_inspect(&d->in, entry_seen, d, &d->log);
    /* The configuration that the log begins with comes before those in it. */
    if ((d->log.has & LOG_HAS_BASE) && d->log.base > 0) {
        membership_note(d, d->log.base_membership.configuration.index, &d->log.base_membership);
        struct data_membership first = d->memberships[d->membership_count - 1];
        memmove(d->memberships + 1, d->memberships, sizeof(first) * (d->membership_count - 1));
        d->memberships[0] = first;
    }
    log_judge(d);
    states_look(d);
    facts_tell(d);
}

static void directory_release(struct data_directory *d)
{
    mem_free(d->lines);
    mem_free(d->rows);
    mem_free(d->memberships);
    mem_free(d->states);
}

static void directory_verify(struct data_directory *d, const char *path, const char *scratch,
                             const struct finding_sink *sink)
{
    char *to = scratch_path(scratch, SCRATCH_COPY);
    struct err err = {0};
    *d = (struct data_directory){.in = {.shown = path, .sink = *sink}};
    d->states = mem_calloc(DATA_STATES_MAX, sizeof(d->states[0]));
    if (data_dir_copy(path, to, &d->in.copy, &err) != 0) {
        sink->tell(sink->self, FINDING_UNKNOWN, err.text);
    } else {
        directory_look(d);
        data_dir_close(d->in.copy);
        d->in.copy = NULL;
    }
    if (data_dir_erase(to, &err) != 0)
        sink->tell(sink->self, FINDING_NOTE, err.text);
    mem_free(to);
}

int verify_data(const char *const *paths, size_t count, const char *scratch,
                const struct finding_sink *sink, struct err *err)
{
    if (count > VERIFY_DIRECTORIES_MAX)
        return err_set(err, ERR_USAGE, "more than %d directories", VERIFY_DIRECTORIES_MAX);
    for (size_t i = 0; i < count; i++) {
        int rc = data_dir_recognise(paths[i], err);
        if (rc == ERR_NOT_FOUND)
            return rc;
    }
    struct data_directory *all = mem_calloc(count, sizeof(*all));
    for (size_t i = 0; i < count; i++)
        directory_verify(&all[i], paths[i], scratch, sink);
    data_compare(all, count, sink);
    for (size_t i = 0; i < count; i++)
        directory_release(&all[i]);
    mem_free(all);
    return 0;
}
