/* Which nodes these are, and their digests at one index. The rows are in replicas_rows.c. */
#include "lib/verify/replicas.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/verify/replicas_internal.h"

enum {
    CALL_MS_MAX = 5000,
    PAUSE_MS = 20,
    LEAD_FIRST = 16,      /* entries that the index is chosen ahead, once it has to be … */
    LEAD_MAX = 1 << 20,   /* … doubled each time that a node was past it */
    REACH_US = 2000000,   /* no longer is waited for nodes to come to it … */
    DIGEST_US = 10000000, /* … and for the flush there */
};

/* ---- asking ---- */

void replicas_tell(const struct replicas *r, enum finding kind, const char *fmt, ...)
{
    struct err line;
    va_list ap;
    va_start(ap, fmt);
    err_vset(&line, ERR_CORRUPT, fmt, ap);
    va_end(ap);
    r->sink->tell(r->sink->self, kind, line.text);
}

bool replicas_time_left(const struct replicas *r)
{
    return clock_now_us() < r->deadline_us;
}

void replicas_pause(void)
{
    const struct timespec pause = {.tv_nsec = PAUSE_MS * 1000000L};
    nanosleep(&pause, NULL);
}

int replicas_get(struct replicas *r, const struct replica *from, const char *target,
                 struct err *err)
{
    struct api_error said = {0};
    int rc = client_read_from(r->client, from->endpoint, target, &r->reply, err);
    if (rc || r->reply.status == 200)
        return rc;
    struct slice body = slice_of(r->reply.body.data, r->reply.body.len);
    if (api_error_decode(body, &said, NULL) != 0)
        return err_set(err, ERR_UNREACHABLE, "%s: status %d", from->url, r->reply.status);
    return err_set(err, said.code ? said.code : ERR_UNREACHABLE, "%s: %s", from->url, said.message);
}

static int ask_node(struct replicas *r, struct replica *x, uint64_t digest_at)
{
    char target[64] = "/node";
    if (digest_at > 0)
        snprintf(target, sizeof(target), "/node?digest_at=%" PRIu64, digest_at);
    int rc = replicas_get(r, x, target, &r->why);
    if (rc == 0)
        rc = api_node_decode(slice_of(r->reply.body.data, r->reply.body.len), &x->node, &r->why);
    return rc;
}

/* ---- who they are ---- */

static int identify(struct replicas *r, struct replica *x)
{
    int rc = ask_node(r, x, 0);
    if (rc == 0)
        rc = replicas_get(r, x, "/status", &r->why);
    if (rc == 0)
        rc =
            api_status_decode(slice_of(r->reply.body.data, r->reply.body.len), &x->status, &r->why);
    if (rc == 0 && !x->status.has_cluster)
        rc = err_set(&r->why, ERR_NO_LEADER, "%s: it is in no cluster yet", x->url);
    x->known = rc == 0;
    return rc;
}

/* False: told. */
static bool identify_all(struct replicas *r)
{
    for (size_t i = 0; i < r->count; i++) {
        while (identify(r, &r->all[i]) != 0) {
            if (!replicas_time_left(r)) {
                replicas_tell(r, FINDING_UNKNOWN, "%s", r->why.text);
                return false;
            }
            replicas_pause();
        }
    }
    return true;
}

static int all_different(const struct replicas *r, struct err *err)
{
    for (size_t i = 0; i < r->count; i++)
        for (size_t j = i + 1; j < r->count; j++)
            if (r->all[i].node.id == r->all[j].node.id)
                return err_set(err, ERR_USAGE, "%s and %s are one node, %s", r->all[i].url,
                               r->all[j].url, r->all[i].node.name);
    return 0;
}

static bool one_cluster(const struct replicas *r)
{
    char x[HEX128_BYTES], y[HEX128_BYTES];
    for (size_t i = 1; i < r->count; i++) {
        const struct replica *a = &r->all[0], *b = &r->all[i];
        if (digest_equal(a->status.cluster, b->status.cluster))
            continue;
        replicas_tell(r, FINDING_WRONG, "%s and %s: of two clusters, %s and %s", a->url, b->url,
                      hex128(a->status.cluster, x), hex128(b->status.cluster, y));
        return false;
    }
    return true;
}

/* Members that nobody asked to be looked at. */
static void tell_others(const struct replicas *r)
{
    const struct api_status *s = &r->all[0].status;
    for (uint32_t i = 0; i < s->member_count; i++) {
        bool asked = false;
        for (size_t j = 0; j < r->count; j++)
            asked = asked || r->all[j].node.id == s->members[i].id;
        if (!asked)
            replicas_tell(r, FINDING_NOTE, "%s, member %s, is none of the endpoints: not looked at",
                          s->members[i].url, s->members[i].name);
    }
}

/* ---- digests at one index ---- */

enum round {
    ROUND_DONE,
    ROUND_PASSED,  /* a node was past the index */
    ROUND_TOO_FAR, /* nothing more is written, or slowly */
    ROUND_FAILED,  /* a node does not answer */
};

static bool highest_applied(struct replicas *r, uint64_t *index)
{
    *index = 0;
    for (size_t i = 0; i < r->count; i++) {
        if (ask_node(r, &r->all[i], 0) != 0)
            return false;
        if (r->all[i].node.applied > *index)
            *index = r->all[i].node.applied;
    }
    return true;
}

/* Asks those that have not told yet. */
static enum round ask_digests(struct replicas *r, uint64_t index, uint64_t since_us, bool first)
{
    uint64_t waited_us = clock_now_us() - since_us;
    enum round round = ROUND_DONE;
    for (size_t i = 0; i < r->count; i++) {
        struct replica *x = &r->all[i];
        if (x->has_digest)
            continue;
        if (ask_node(r, x, index) != 0)
            return ROUND_FAILED;
        if (x->node.digest_index == index) {
            x->digest = x->node.digest;
            x->has_digest = true;
            continue;
        }
        round = ROUND_FAILED; /* not all, so far */
        if (x->node.applied > index && (first || waited_us > DIGEST_US))
            return ROUND_PASSED;
        if (x->node.applied < index && waited_us > REACH_US)
            return ROUND_TOO_FAR;
        err_set(&r->why, ERR_TIMEOUT,
                "%s: no digest of the state at %" PRIu64 " came; applied up to %" PRIu64, x->url,
                index, x->node.applied);
    }
    return round;
}

static enum round digests_at(struct replicas *r, uint64_t index)
{
    uint64_t since_us = clock_now_us();
    for (size_t i = 0; i < r->count; i++)
        r->all[i].has_digest = false;
    enum round round = ask_digests(r, index, since_us, true);
    while (round == ROUND_FAILED && replicas_time_left(r)) {
        replicas_pause();
        round = ask_digests(r, index, since_us, false);
    }
    return round;
}

/* The index at which all have told theirs; 0: told that it could not be had. */
static uint64_t digests_find(struct replicas *r)
{
    uint64_t lead = 0, index = 0;
    while (replicas_time_left(r)) {
        if (!highest_applied(r, &index)) {
            replicas_pause();
            continue;
        }
        switch (digests_at(r, index + lead)) {
        case ROUND_DONE: return index + lead;
        case ROUND_PASSED:
            lead = lead == 0 ? LEAD_FIRST : lead < LEAD_MAX ? lead * 2 : LEAD_MAX;
            break;
        case ROUND_TOO_FAR: lead /= 4; break;
        case ROUND_FAILED: break;
        }
    }
    replicas_tell(r, FINDING_UNKNOWN, "%s", r->why.text);
    return 0;
}

/* Whom most agree with: the one whose digest most have. */
static size_t most_agree(const struct replicas *r)
{
    size_t best = 0, best_count = 0;
    for (size_t i = 0; i < r->count; i++) {
        size_t same = 0;
        for (size_t j = 0; j < r->count; j++)
            same += digest_equal(r->all[i].digest, r->all[j].digest);
        if (same > best_count) {
            best = i;
            best_count = same;
        }
    }
    return best;
}

static void digest_tell(const struct replicas *r, const struct replica *x, const struct replica *y,
                        uint64_t index)
{
    char a[HEX128_BYTES], b[HEX128_BYTES];
    if (digest_equal(x->digest, y->digest))
        replicas_tell(r, FINDING_FACT, "%s, %s: digest at %" PRIu64 " is %s", x->url, x->node.name,
                      index, hex128(x->digest, a));
    else
        replicas_tell(
            r, FINDING_WRONG, "%s, %s: digest at %" PRIu64 " is %s, that of %s, %s, is %s", x->url,
            x->node.name, index, hex128(x->digest, a), y->url, y->node.name, hex128(y->digest, b));
}

/* ---- the whole ---- */

static void compare(struct replicas *r)
{
    uint64_t index = digests_find(r);
    if (index == 0)
        return;
    const struct replica *agreed = &r->all[most_agree(r)];
    if (r->options->agreement)
        *r->options->agreement =
            (struct replicas_agreement){.index = index, .digest = agreed->digest};
    for (size_t i = 0; i < r->count; i++)
        digest_tell(r, &r->all[i], agreed, index);
    for (size_t i = 0; i < r->count; i++) {
        const struct replica *x = &r->all[i];
        bool same = digest_equal(x->digest, agreed->digest);
        if (x == agreed || (same && !r->options->rows))
            continue;
        if (replicas_rows(r, agreed, x) == 0 && !same)
            replicas_tell(r, FINDING_NOTE,
                          "%s, %s: its rows are those of %s, %s: what differs is the digest it "
                          "keeps (see raftkv-check data)",
                          x->url, x->node.name, agreed->url, agreed->node.name);
    }
}

int verify_replicas(const struct replicas_options *options, const struct finding_sink *sink,
                    struct err *err)
{
    struct client_options how = {
        .endpoints = options->endpoints,
        .timeout_ms = options->timeout_ms < CALL_MS_MAX ? options->timeout_ms : CALL_MS_MAX,
    };
    struct replicas r = {.options = options,
                         .sink = sink,
                         .deadline_us = clock_now_us() + (uint64_t)options->timeout_ms * 1000};
    int rc = client_new(&how, &r.client, err);
    if (rc)
        return rc;
    client_reply_init(&r.reply);
    r.count = client_endpoint_count(r.client);
    r.all = mem_calloc(r.count, sizeof(r.all[0]));
    for (size_t i = 0; i < r.count; i++) {
        r.all[i].endpoint = i;
        r.all[i].url = client_endpoint(r.client, i);
    }
    if (r.count < 2)
        rc = err_set(err, ERR_USAGE, "one endpoint, %s: there is nothing to compare it with",
                     r.all[0].url);
    if (rc == 0 && identify_all(&r)) {
        rc = all_different(&r, err);
        if (rc == 0 && one_cluster(&r)) {
            tell_others(&r);
            compare(&r);
        }
    }
    client_reply_release(&r.reply);
    mem_free(r.all);
    client_free(r.client);
    return rc;
}
