/* Looking through raft.db: what log_store_start refuses at the first flaw, here all of it. */
#include <inttypes.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/store/inspect_internal.h"
#include "lib/store/log_store_internal.h"
#include "lib/store/wal_scan.h"

#define FILE_NAME "raft.db"

struct look {
    const struct inspection *in;
    struct log_facts *facts;
    void (*entry)(void *self, const struct entry *e);
    void *self;
    sqlite3 *db;
    raft_index expected; /* of the next row behind base */
    raft_term before;    /* of the entry before it */
    unsigned told;       /* rows that are wrong */
};

/* ---- rows of meta ---- */

static const char *const meta_names[] = {"member_id",
                                         "name",
                                         "cluster_id",
                                         "term",
                                         "vote",
                                         "removed",
                                         "snapshot_index",
                                         "snapshot_term",
                                         "kv_generation",
                                         "snapshot_membership",
                                         "snapshot_membership_index",
                                         NULL};

static bool told_ok(struct look *l, int rc, const struct err *err)
{
    if (rc)
        inspect_tell_failure(l->in, err);
    return rc == 0;
}

static void meta_u64(struct look *l, struct sq_meta *meta, const char *name, uint64_t *out,
                     unsigned fact)
{
    struct err err = {0};
    if (told_ok(l, sq_meta_u64(meta, name, out, &err), &err))
        l->facts->has |= fact;
}

static void meta_name(struct look *l, struct sq_meta *meta)
{
    struct slice bytes = {0};
    struct err err = {0};
    if (!told_ok(l, sq_meta_bytes(meta, "name", &bytes, &err), &err))
        return;
    if (member_name_valid((const char *)bytes.data, bytes.len)) {
        memcpy(l->facts->name, bytes.data, bytes.len);
        l->facts->has |= LOG_HAS_NAME;
    } else {
        inspect_tell(l->in, FINDING_WRONG, FILE_NAME, "row 'name' of table meta is no name");
    }
}

static void meta_base(struct look *l, struct sq_meta *meta)
{
    struct log_facts *f = l->facts;
    struct slice bytes = {0};
    struct err err = {0};
    uint64_t membership_index = 0;
    bool good = told_ok(l, sq_meta_u64(meta, "snapshot_index", &f->base, &err), &err);
    good = told_ok(l, sq_meta_u64(meta, "snapshot_term", &f->base_term, &err), &err) && good;
    good =
        told_ok(l, sq_meta_u64(meta, "snapshot_membership_index", &membership_index, &err), &err) &&
        good;
    if (!told_ok(l, sq_meta_bytes(meta, "snapshot_membership", &bytes, &err), &err))
        return;
    int rc = membership_decode(bytes, membership_index, &f->base_membership, &err);
    if (rc) {
        inspect_tell(l->in, FINDING_WRONG, FILE_NAME, "row 'snapshot_membership' of table meta: %s",
                     err.text);
        return;
    }
    if (good)
        f->has |= LOG_HAS_BASE;
}

static void meta_read(struct look *l)
{
    struct sq_meta meta;
    struct err err = {0};
    struct log_facts *f = l->facts;
    if (!told_ok(l, sq_meta_open(&meta, l->db, &err), &err))
        return;
    meta_u64(l, &meta, "member_id", &f->member_id, LOG_HAS_MEMBER_ID);
    meta_name(l, &meta);
    if (told_ok(l, sq_meta_digest(&meta, "cluster_id", &f->cluster_id, &err), &err))
        f->has |= LOG_HAS_CLUSTER;
    meta_u64(l, &meta, "term", &f->term, LOG_HAS_TERM);
    meta_u64(l, &meta, "vote", &f->vote, LOG_HAS_VOTE);
    meta_u64(l, &meta, "removed", &f->removed, LOG_HAS_REMOVED);
    meta_u64(l, &meta, "kv_generation", &f->kv_generation, LOG_HAS_GENERATION);
    meta_base(l, &meta);
    sq_meta_close(&meta);
    inspect_meta_names(l->in, l->db, FILE_NAME, meta_names);
}

/* What the rows say of each other. */
static void meta_judge(const struct look *l)
{
    const struct log_facts *f = l->facts;
    const struct inspection *in = l->in;
    if ((f->has & LOG_HAS_MEMBER_ID) && f->member_id == 0)
        inspect_tell(in, FINDING_WRONG, FILE_NAME, "meta: the member id is 0");
    if ((f->has & LOG_HAS_GENERATION) && f->kv_generation == 0)
        inspect_tell(in, FINDING_WRONG, FILE_NAME, "meta: the generation of the state is 0");
    if ((f->has & LOG_HAS_TERM) && (f->has & LOG_HAS_VOTE) && f->term == 0 && f->vote != 0)
        inspect_tell(in, FINDING_WRONG, FILE_NAME, "meta: a vote, for %016" PRIx64 ", in term 0",
                     f->vote);
    if (!(f->has & LOG_HAS_BASE))
        return;
    const struct raft_configuration *c = &f->base_membership.configuration;
    if ((f->base == 0) != (f->base_term == 0) || (f->base == 0) != (c->count == 0) ||
        c->index > f->base)
        inspect_tell(in, FINDING_WRONG, FILE_NAME,
                     "meta: the log begins behind %" PRIu64 " of term %" PRIu64
                     ", with the %" PRIu32 " members of entry %" PRIu64,
                     f->base, f->base_term, c->count, c->index);
    if ((f->has & LOG_HAS_TERM) && f->base_term > f->term)
        inspect_tell(in, FINDING_WRONG, FILE_NAME,
                     "meta: the log begins behind an entry of term %" PRIu64
                     ", the current term is %" PRIu64,
                     f->base_term, f->term);
}

/* ---- the log ---- */

static void wrong_row(struct look *l, raft_index index, const char *what)
{
    l->facts->whole = false;
    if (l->told++ < INSPECT_FINDINGS_MAX)
        inspect_tell(l->in, FINDING_WRONG, FILE_NAME, "table log, row %" PRIu64 ": %s", index,
                     what);
    else if (l->told == INSPECT_FINDINGS_MAX + 1)
        inspect_tell(l->in, FINDING_WRONG, FILE_NAME, "table log: and further rows");
}

static int payload_check(const struct entry *e, struct err *err)
{
    struct slice data = slice_of(e->data, e->size);
    struct command c;
    struct membership m;
    switch (e->kind) {
    case RAFT_NORMAL: return command_decode(data, &c, err);
    case RAFT_CONFIGURATION: return membership_decode(data, e->index, &m, err);
    case RAFT_NOOP: return e->size ? err_set(err, ERR_CORRUPT, "a no-op with a payload") : 0;
    }
    return err_set(err, ERR_CORRUPT, "unknown kind");
}

/* Places and terms of the rows that are needed. False: not the next entry. */
static bool place_check(struct look *l, const struct entry *e)
{
    const struct log_facts *f = l->facts;
    struct err why;
    if (e->index > l->expected) {
        err_set(&why, ERR_CORRUPT, "missing, the next one is %" PRIu64, e->index);
        wrong_row(l, l->expected, why.text);
    }
    if (e->term < l->before || ((f->has & LOG_HAS_TERM) && e->term > f->term)) {
        err_set(&why, ERR_CORRUPT, "term %" PRIu64 " behind term %" PRIu64 ", in term %" PRIu64,
                e->term, l->before, f->term);
        wrong_row(l, e->index, why.text);
    }
    if (e->term > l->before)
        l->before = e->term;
    bool next = e->index == l->expected;
    l->expected = e->index + 1;
    return next;
}

static void row_look(struct look *l, sqlite3_stmt *st, bool *gap)
{
    struct err err = {0};
    raft_index index = sq_column_u64(st, 0);
    struct slice data = sq_column_bytes(st, 4);
    struct entry *e =
        entry_restore((enum raft_entry_kind)sqlite3_column_int(st, 2), index, sq_column_u64(st, 1),
                      (uint32_t)sq_column_u64(st, 3), data.data, data.len, &err);
    l->facts->rows++;
    if (!e || payload_check(e, &err)) {
        wrong_row(l, index, err.text);
        entry_unref(e);
        if (index >= l->expected)
            l->expected = index + 1;
        *gap = *gap || index > l->facts->base;
        return;
    }
    /* What is not needed any more may have gaps, and terms that were never committed. */
    if (index > l->facts->base) {
        *gap = !place_check(l, e) || *gap;
        if (!*gap)
            l->facts->last = index;
        if (l->entry)
            l->entry(l->self, e);
    }
    entry_unref(e);
}

static void log_read(struct look *l)
{
    struct log_facts *f = l->facts;
    sqlite3_stmt *st = NULL;
    struct err err = {0};
    bool gap = false;
    f->whole = true;
    f->last = f->base;
    l->expected = f->base + 1;
    l->before = f->base_term;
    int rc =
        sq_prepare(l->db, "SELECT idx, term, kind, crc, data FROM log ORDER BY idx", &st, &err);
    while (rc == 0 && (rc = sq_row(st, &err)) == 0)
        row_look(l, st, &gap);
    sqlite3_finalize(st);
    if (rc != ERR_NOT_FOUND) {
        f->whole = false;
        inspect_tell_failure(l->in, &err);
    }
}

/* ---- the file ---- */

static void wal_look(const struct inspection *in)
{
    struct wal_scan scan;
    struct err err = {0};
    char *wal = data_dir_join(in->copy, FILE_NAME "-wal");
    int rc = wal_scan(wal, LOG_PAGE_BYTES, &scan, &err);
    mem_free(wal);
    if (rc)
        inspect_tell_failure(in, &err);
    else if (scan.torn || scan.frames > scan.committed)
        inspect_tell(in, FINDING_NOTE, FILE_NAME "-wal",
                     "behind %" PRIu64 " good frames stands the torn end of a write that nobody "
                     "was told of",
                     scan.committed);
}

/* False: it cannot be looked at; told. */
static bool file_open(const struct inspection *in, sqlite3 **db)
{
    bool empty = false;
    struct err err = {0};
    char *path = data_dir_join(in->copy, FILE_NAME);
    *db = NULL;
    int rc = sq_format_probe(path, &log_format, &empty, &err);
    if (rc == 0 && empty)
        rc = err_set(&err, ERR_CORRUPT, "%s: missing or empty", path);
    if (rc == 0)
        wal_look(in);
    if (rc == 0)
        rc = sq_open(path, SQ_WRITE, db, &err);
    if (rc == 0)
        rc = sq_exec(*db, "PRAGMA locking_mode=EXCLUSIVE", &err);
    if (rc == 0)
        rc = sq_format_check(*db, &log_format, &empty, &err);
    if (rc == 0 && empty)
        rc = err_set(&err, ERR_CORRUPT, "%s: an empty database", path);
    mem_free(path);
    if (rc)
        inspect_tell_failure(in, &err);
    return rc == 0;
}

void log_inspect(const struct inspection *in, void (*entry)(void *self, const struct entry *e),
                 void *self, struct log_facts *out)
{
    struct look l = {.in = in, .facts = out, .entry = entry, .self = self};
    memset(out, 0, sizeof(*out));
    if (file_open(in, &l.db)) {
        inspect_pages(in, l.db);
        meta_read(&l);
        meta_judge(&l);
        if (out->has & LOG_HAS_BASE)
            log_read(&l);
    }
    sq_close(l.db);
}
