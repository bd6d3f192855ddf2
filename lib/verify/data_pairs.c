/* Directories of one cluster with each other. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "lib/verify/data_internal.h"

static void tell(const struct finding_sink *sink, enum finding kind, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void tell(const struct finding_sink *sink, enum finding kind, const char *fmt, ...)
{
    struct err line;
    va_list ap;
    va_start(ap, fmt);
    err_vset(&line, ERR_CORRUPT, fmt, ap);
    va_end(ap);
    sink->tell(sink->self, kind, line.text);
}

static bool has_cluster(const struct data_directory *d)
{
    return (d->log.has & LOG_HAS_CLUSTER) && !digest_equal(d->log.cluster_id, (struct digest){0});
}

static raft_index log_end(const struct data_directory *d)
{
    return d->log.base + d->line_count;
}

/* ---- logs ---- */

struct pair {
    const struct data_directory *a, *b;
    raft_index from, to; /* what both logs could have */
    raft_index agreed;   /* highest index with an entry of the same term in both; 0: none */
    raft_index applied;  /* by both */
};

/* Why the entries at an index should be the same. */
static void tell_difference(const struct pair *p, raft_index at, const struct finding_sink *sink)
{
    const struct data_line *x = data_line_at(p->a, at), *y = data_line_at(p->b, at);
    if (x && y && x->term == y->term)
        tell(sink, FINDING_WRONG,
             "%s/raft.db and %s/raft.db: table log, row %" PRIu64
             ": two entries of the same term, %" PRIu64 ", with different contents",
             p->a->in.shown, p->b->in.shown, at, x->term);
    else if (at <= p->agreed)
        tell(sink, FINDING_WRONG,
             "%s/raft.db and %s/raft.db: table log, row %" PRIu64 ": of term %" PRIu64
             " and of term %" PRIu64 ", though row %" PRIu64 " is of the same term in both",
             p->a->in.shown, p->b->in.shown, at, data_term_at(p->a, at), data_term_at(p->b, at),
             p->agreed);
    else
        tell(sink, FINDING_WRONG,
             "%s/raft.db and %s/raft.db: table log, row %" PRIu64 ": of term %" PRIu64
             " and of term %" PRIu64 ", and both have applied up to %" PRIu64,
             p->a->in.shown, p->b->in.shown, at, data_term_at(p->a, at), data_term_at(p->b, at),
             p->applied);
}

static bool same_entry(const struct pair *p, raft_index at)
{
    const struct data_line *x = data_line_at(p->a, at), *y = data_line_at(p->b, at);
    if (x && y)
        return x->term == y->term && x->hash == y->hash;
    raft_term t = data_term_at(p->a, at), u = data_term_at(p->b, at);
    return !t || !u || t == u;
}

static void pair_find(struct pair *p)
{
    const struct log_facts *a = &p->a->log, *b = &p->b->log;
    p->from = a->base > b->base ? a->base : b->base; /* of that one the term is known */
    p->to = log_end(p->a) < log_end(p->b) ? log_end(p->a) : log_end(p->b);
    raft_index x = data_applied(p->a), y = data_applied(p->b);
    p->applied = x < y ? x : y;
    p->agreed = 0;
    for (raft_index i = p->to; i >= p->from && i > 0 && !p->agreed; i--)
        if (data_term_at(p->a, i) && data_term_at(p->a, i) == data_term_at(p->b, i))
            p->agreed = i;
}

static void logs_compare(const struct data_directory *a, const struct data_directory *b,
                         const struct finding_sink *sink)
{
    struct pair p = {.a = a, .b = b};
    pair_find(&p);
    raft_index until = p.agreed > p.applied ? p.agreed : p.applied;
    if (until > p.to)
        until = p.to;
    for (raft_index i = p.from; i <= until; i++)
        if (i > 0 && !same_entry(&p, i)) {
            tell_difference(&p, i, sink);
            return;
        }
    if (p.to < p.from)
        tell(sink, FINDING_NOTE, "%s and %s: no entry is in both logs, so they are not compared",
             a->in.shown, b->in.shown);
}

/* ---- states ---- */

/* Whether there was something to compare. */
static bool states_compare(const struct data_directory *a, const struct data_directory *b,
                           const struct data_state *s, const struct data_state *t,
                           const struct finding_sink *sink)
{
    unsigned both = s->facts.has & t->facts.has;
    char x[HEX128_BYTES], y[HEX128_BYTES];
    if (!(both & KV_HAS_APPLIED) || !(both & KV_HAS_DIGEST) || s->facts.applied != t->facts.applied)
        return false;
    if (!digest_equal(s->facts.digest, t->facts.digest))
        tell(sink, FINDING_WRONG,
             "%s/%s and %s/%s: both applied up to %" PRIu64 ", with digests %s and %s", a->in.shown,
             s->file, b->in.shown, t->file, s->facts.applied, hex128(s->facts.digest, x),
             hex128(t->facts.digest, y));
    return true;
}

static bool all_states_compare(const struct data_directory *a, const struct data_directory *b,
                               const struct finding_sink *sink)
{
    bool compared = false;
    for (size_t i = 0; i < a->state_count; i++)
        for (size_t j = a == b ? i + 1 : 0; j < b->state_count; j++)
            compared = states_compare(a, b, &a->states[i], &b->states[j], sink) || compared;
    return compared;
}

static void pair_compare(const struct data_directory *a, const struct data_directory *b,
                         const struct finding_sink *sink)
{
    char x[HEX128_BYTES], y[HEX128_BYTES];
    if (!has_cluster(a) || !has_cluster(b))
        return;
    if (!digest_equal(a->log.cluster_id, b->log.cluster_id)) {
        tell(sink, FINDING_WRONG, "%s and %s: of two clusters, %s and %s", a->in.shown, b->in.shown,
             hex128(a->log.cluster_id, x), hex128(b->log.cluster_id, y));
        return;
    }
    if ((a->log.has & b->log.has & LOG_HAS_MEMBER_ID) && a->log.member_id == b->log.member_id)
        tell(sink, FINDING_NOTE, "%s and %s: the same member, %016" PRIx64 "; never start both",
             a->in.shown, b->in.shown, a->log.member_id);
    if (a->log.has & b->log.has & LOG_HAS_BASE)
        logs_compare(a, b, sink);
    if (!all_states_compare(a, b, sink))
        tell(sink, FINDING_NOTE,
             "%s and %s: their states stand at different entries, so the digests are not compared",
             a->in.shown, b->in.shown);
}

void data_compare(const struct data_directory *all, size_t count, const struct finding_sink *sink)
{
    for (size_t i = 0; i < count; i++) {
        const struct data_directory *d = &all[i];
        all_states_compare(d, d, sink); /* also in one directory */
        for (size_t j = i + 1; j < count; j++)
            pair_compare(d, &all[j], sink);
    }
}
