/*
 * What operators ask: status, health, debugging.
 */
#include <stdio.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/base/version.h"
#include "lib/node/node_internal.h"

enum {
    STATUS_TRACE = RAFT_TRACE_MAX,
    STATUS_LOG_TAIL = 100,
    STATUS_ASK_MS = 1000, /* for the leader to say what it knows */
};

/* ---- status ---- */

static const char *role_of(const struct raft_configuration *c, const struct raft_member *m)
{
    if (!c->joint) {
        return m->flags & RAFT_VOTER ? "voter" : "learner";
    }
    switch (m->flags & (RAFT_VOTER | RAFT_VOTER_OLD)) {
    case RAFT_VOTER | RAFT_VOTER_OLD: return "voter";
    case RAFT_VOTER: return "incoming";
    case RAFT_VOTER_OLD: return "outgoing";
    default: return "learner";
    }
}

static void describe_joint(const struct raft_configuration *c, struct api_change *out)
{
    raft_id in = 0, gone = 0;

    for (uint32_t i = 0; i < c->count; i++) {
        switch (c->members[i].flags & (RAFT_VOTER | RAFT_VOTER_OLD)) {
        case RAFT_VOTER: in = c->members[i].id; break;
        case RAFT_VOTER_OLD: gone = c->members[i].id; break;
        default: break;
        }
    }
    out->kind = in && gone ? "replace" : in ? "promote" : "remove";
    out->id = in ? in : gone;
}

static void describe_change(const struct raft *raft, struct api_change *out)
{
    const struct raft_configuration *latest = raft_configuration_latest(raft);
    const struct raft_configuration *committed = raft_configuration_committed(raft);

    memset(out, 0, sizeof *out);
    if (latest->joint) {
        describe_joint(latest, out);
        out->phase = "joint";
        return;
    }
    if (latest->index > committed->index) {
        if (committed->joint) {
            describe_joint(committed, out);
        } else {
            out->kind = latest->count > committed->count ? "add" : "remove";
        }
        out->phase = "final";
        return;
    }
    for (uint32_t i = 0; i < latest->count; i++) {
        const struct raft_member *m = &latest->members[i];

        if (!(m->flags & RAFT_VOTER) && (m->flags & RAFT_AUTO_PROMOTE)) {
            out->kind = m->replaces ? "replace" : "add";
            out->phase = "catching_up";
            out->id = m->id;
        }
    }
}

static void member_seen(const struct node *n, const struct raft_progress_view *views,
                        uint32_t view_count, uint64_t now_us, struct api_member *out)
{
    const struct raft *raft = carry_raft(n->carry);
    raft_id leader = raft_leader(raft);

    out->last_contact_ms = -1;
    out->state = "unknown";
    if (out->id == n->id) {
        out->state = raft_state_name(raft_state(raft));
        out->match = raft_durable_index(raft);
        out->last_contact_ms = 0;
        out->reachable = true;
        return;
    }
    if (out->id == leader) {
        uint64_t contact_us = raft_leader_contact_us(raft);

        out->state = "leader";
        if (contact_us > 0) {
            out->last_contact_ms = (int64_t)((now_us - contact_us) / 1000);
        }
        out->reachable = true;
        return;
    }
    for (uint32_t i = 0; i < view_count; i++) {
        const struct raft_progress_view *v = &views[i];

        if (v->id != out->id) {
            continue;
        }
        out->match = v->match;
        if (v->last_contact_us > 0) {
            uint64_t ago_us = now_us > v->last_contact_us ? now_us - v->last_contact_us : 0;

            out->last_contact_ms = (int64_t)(ago_us / 1000);
            out->reachable = ago_us < n->options.election_timeout_ms * 1000;
            out->state = out->reachable ? "follower" : "unknown";
        }
    }
}

static void fill_status(const struct node *n, struct api_status *s)
{
    struct raft_progress_view views[RAFT_MEMBERS_MAX];
    const struct raft *raft;
    const struct membership *m;
    uint32_t view_count, voters = 0, up = 0;
    uint64_t now_us = clock_now_us();

    memset(s, 0, sizeof *s);
    if (!n->carry) {
        return;
    }
    raft = carry_raft(n->carry);
    m = carry_membership(n->carry);
    view_count = raft_progress(raft, views);
    s->has_cluster = true;
    s->cluster = n->cluster_id;
    snprintf(s->leader, sizeof s->leader, "%s", node_member_name(n, raft_leader(raft)));
    s->term = raft_term_current(raft);
    s->commit = raft_commit_index(raft);
    s->applied = carry_applied_index(n->carry);
    s->configuration_index = m->configuration.index;
    s->member_count = m->configuration.count;
    for (uint32_t i = 0; i < s->member_count; i++) {
        struct api_member *out = &s->members[i];

        out->id = m->addresses[i].id;
        snprintf(out->name, sizeof out->name, "%s", m->addresses[i].name);
        snprintf(out->url, sizeof out->url, "%s", m->addresses[i].url);
        out->role = role_of(&m->configuration, &m->configuration.members[i]);
        member_seen(n, views, view_count, now_us, out);
        if (m->configuration.members[i].flags & RAFT_VOTER) {
            voters++;
            up += out->reachable;
        }
    }
    if (view_count == 0) { /* only a leader knows who is there; without one, too few are */
        up = raft_leader(raft) != 0 ? voters : 0;
    }
    s->fault_tolerance = (int)up - (int)(voters / 2 + 1);
    if (s->fault_tolerance < 0) {
        s->fault_tolerance = 0;
    }
    describe_change(raft, &s->change);
}

void reply_members(struct node *n, struct http_request *r)
{
    struct api_status s;
    struct buf body;
    struct reply reply = {.status = 200, .body = &body};

    fill_status(n, &s);
    buf_init(&body, NODE_ADMIN_BODY);
    api_members_encode(&s, &body);
    reply_send(n, r, &reply);
}

static void status_here(struct node *n, struct http_request *r)
{
    struct api_status s;
    struct buf body;
    struct reply reply = {.status = 200, .body = &body};

    fill_status(n, &s);
    buf_init(&body, NODE_ADMIN_BODY);
    api_status_encode(&s, &body);
    reply_send(n, r, &reply);
}

/* The leader knows most; when it cannot be asked, what this node knows is better than nothing. */
static void ask_leader(struct node *n, struct http_request *r, const char *target,
                       void (*here)(struct node *, struct http_request *))
{
    const struct member_address *leader = node_leader(n);

    if (!no_query(n, r)) {
        return;
    }
    if (n->carry && carry_removed(n->carry)) { /* what it knows is of the past */
        reply_failure(n, r, ERR_REMOVED, "this node was removed from the cluster");
    } else if (!leader || leader->id == n->id || request_forwarded(r)) {
        here(n, r);
    } else {
        uint64_t ask_ms = n->options.election_timeout_ms < STATUS_ASK_MS
                              ? n->options.election_timeout_ms
                              : STATUS_ASK_MS;

        forward_request(n, r, leader, target, (uint32_t)ask_ms, here);
    }
}

void http_status(struct node *n, struct http_request *r)
{
    ask_leader(n, r, "/status", status_here);
}

void http_members(struct node *n, struct http_request *r)
{
    ask_leader(n, r, "/members", reply_members);
}

/* The digest of the state at the index asked for, if it is known; else that of the last flush, and
 * a flush will end at that index unless it is behind: whoever wants to compare nodes asks again. */
static void digest_wanted(struct node *n, raft_index index, struct api_node *out)
{
    struct digest digest;

    if (machine_digest_at(n->machine, index, &digest)) {
        out->digest_index = index;
        out->digest = digest;
    } else if (index >= out->applied) {
        machine_end_at(n->machine, index);
    }
}

/* digest_at, 0 if it is not there; false: answered. */
static bool parse_digest_at(struct node *n, struct http_request *r, uint64_t *index)
{
    struct query_parameter p[] = {{.name = "digest_at"}};
    struct err err = {0};
    int code = parse_query(r, p, 1, &err);

    *index = 0;
    if (code == 0) {
        code = parse_number(&p[0], (1ULL << 53) - 1, index, &err);
    }
    if (code == 0 && p[0].seen && *index == 0) {
        code = err_set(&err, ERR_BAD_REQUEST, "digest_at=0: a log index from 1 on");
    }
    query_release(p, 1);
    if (code != 0) {
        reply_err(n, r, &err, OUTCOME_NONE);
    }
    return code == 0;
}

void http_node(struct node *n, struct http_request *r)
{
    struct machine_figures machine;
    struct disk_figures disk;
    struct api_node out = {.id = n->id, .version = RAFTKV_VERSION, .state = "forming"};
    struct buf body;
    struct reply reply = {.status = 200, .body = &body};
    uint64_t digest_at;

    if (!parse_digest_at(n, r, &digest_at)) {
        return;
    }
    machine_figures(n->machine, &machine);
    disk_figures(n->disk, &disk);
    snprintf(out.name, sizeof out.name, "%s", n->options.name);
    out.ready = node_ready(n, NULL);
    out.uptime_ms = (clock_now_us() - n->started_us) / 1000;
    if (n->carry) {
        const struct raft *raft = carry_raft(n->carry);

        out.state = carry_removed(n->carry) ? "removed" : raft_state_name(raft_state(raft));
        snprintf(out.leader, sizeof out.leader, "%s", node_member_name(n, raft_leader(raft)));
        out.term = raft_term_current(raft);
        out.last = raft_last_index(raft);
        out.commit = raft_commit_index(raft);
        out.applied = carry_applied_index(n->carry);
        out.snapshot = raft_snapshot_index(raft);
        out.first = raft_first_index(raft);
        out.log_entries = out.last + 1 - out.first;
    }
    out.digest_index = machine.flushed;
    out.digest = machine.digest;
    if (digest_at > 0 && n->carry) {
        digest_wanted(n, digest_at, &out);
    }
    out.log_bytes = disk.log.file_bytes;
    out.kv_bytes = machine.kv_bytes;
    out.wal_bytes = disk.log.wal_bytes + machine.wal_bytes;
    out.disk_free = n->disk_free == UINT64_MAX ? 0 : n->disk_free;
    out.keys = machine.keys;
    buf_init(&body, NODE_ADMIN_BODY);
    api_node_encode(&out, &body);
    reply_send(n, r, &reply);
}

/* ---- health ---- */

static bool check_line(struct buf *out, bool ok, const char *check, const char *detail)
{
    if (out) {
        buf_printf(out, "[%c]%s %s\n", ok ? '+' : '-', check, ok ? "ok" : detail);
    }
    return ok;
}

bool node_ready(struct node *n, struct buf *out)
{
    const struct raft *raft = n->carry ? carry_raft(n->carry) : NULL;
    struct buf forming;
    bool ready;

    if (!n->carry) {
        buf_init(&forming, NODE_ADMIN_BODY);
        forming_describe(n, &forming);
        check_line(out, false, "cluster", forming.data ? (const char *)forming.data : "");
        buf_release(&forming);
        return false;
    }
    ready = check_line(out, true, "cluster", "");
    ready &= check_line(out, n->phase != NODE_STOPPING, "running", "this node shuts down");
    ready &= check_line(out, !carry_removed(n->carry), "member", "this node was removed");
    ready &= check_line(out, raft_leader(raft) != 0, "leader", "no leader is known");
    ready &= check_line(out, carry_applied_index(n->carry) > 0, "state", "nothing applied yet");
    ready &= check_line(out, !carry_installing(n->carry), "snapshot", "one is being installed");
    ready &= check_line(out, !carry_fenced(n->carry), "digest",
                        "this node's state differs from that of a majority");
    ready &= check_line(out, !carry_stalled(n->carry), "disk", "a write does not end");
    ready &= check_line(out, n->disk_free >= NODE_DISK_RESERVE, "space", "the disk is nearly full");
    return ready;
}

static int not_ready_code(const struct node *n)
{
    if (n->phase == NODE_STOPPING) {
        return ERR_SHUTTING_DOWN;
    }
    return n->carry && carry_removed(n->carry) ? ERR_REMOVED : ERR_NO_LEADER;
}

void http_livez(struct node *n, struct http_request *r)
{
    struct buf body;
    struct reply reply = {.status = 200, .body = &body};

    if (!no_query(n, r)) {
        return;
    }
    buf_init(&body, 256);
    buf_append_str(&body, "{\"status\":\"alive\"}");
    reply_send(n, r, &reply);
}

void http_readyz(struct node *n, struct http_request *r)
{
    struct query_parameter p[] = {{.name = "verbose"}};
    struct err err = {0};
    struct buf checks;
    bool verbose = false, ready;
    int code = parse_query(r, p, 1, &err);
    struct reply reply = {.status = 200, .body = &checks};

    if (code == 0) {
        code = parse_flag(&p[0], &verbose, &err);
    }
    query_release(p, 1);
    if (code != 0) {
        reply_err(n, r, &err, OUTCOME_NONE);
        return;
    }
    buf_init(&checks, NODE_ADMIN_BODY);
    ready = node_ready(n, &checks);
    if (verbose) {
        reply.status = ready ? 200 : 503;
        reply.content_type = "text/plain; charset=utf-8";
    } else if (ready) {
        buf_clear(&checks);
        buf_append_str(&checks, "{\"status\":\"ready\"}");
    } else {
        const char *failed = strstr((const char *)checks.data, "[-]");

        err_set(&err, not_ready_code(n), "not ready: %.*s", (int)strcspn(failed + 3, "\n"),
                failed + 3);
        buf_release(&checks);
        reply_err(n, r, &err, OUTCOME_NONE);
        return;
    }
    reply_send(n, r, &reply);
}

void http_health(struct node *n, struct http_request *r)
{
    struct api_status s;
    struct buf body;
    struct reply reply = {.status = 200, .body = &body};
    bool ready = node_ready(n, NULL);
    const char *status;

    if (!no_query(n, r)) {
        return;
    }
    fill_status(n, &s);
    status = !ready                                         ? "unavailable"
             : s.fault_tolerance == 0 && s.member_count > 1 ? "degraded"
                                                            : "ok";
    buf_init(&body, NODE_ADMIN_BODY);
    buf_printf(&body, "{\"status\":\"%s\",\"ready\":%s,\"leader\":", status,
               ready ? "true" : "false");
    if (s.leader[0]) {
        json_quote(slice_str(s.leader), &body);
    } else {
        buf_append_str(&body, "null");
    }
    buf_printf(&body, ",\"fault_tolerance\":%d,\"members\":%u}", s.fault_tolerance, s.member_count);
    reply.status = ready ? 200 : 503;
    reply_send(n, r, &reply);
}

/* ---- debugging ---- */

static const char *name_of(void *node, raft_id id)
{
    const char *name = node_member_name(node, id);

    return *name ? name : NULL;
}

void http_debug_raft(struct node *n, struct http_request *r)
{
    struct raft_progress_view views[RAFT_MEMBERS_MAX];
    static const char *const states[] = {"probe", "pipeline", "snapshot"};
    struct buf body;
    struct reply reply = {.status = 200, .body = &body};
    const struct raft *raft;
    uint32_t count;

    if (!no_query(n, r)) {
        return;
    }
    buf_init(&body, NODE_ADMIN_BODY);
    if (!n->carry) {
        buf_append_str(&body, "{\"state\":\"forming\"}");
        reply_send(n, r, &reply);
        return;
    }
    raft = carry_raft(n->carry);
    buf_printf(
        &body,
        "{\"state\":\"%s\",\"term\":%llu,\"vote\":\"%s\",\"leader\":\"%s\",\"commit\":%llu,"
        "\"last\":%llu,\"durable\":%llu,\"snapshot\":%llu,\"first\":%llu,\"applied\":%llu,"
        "\"leader_ready\":%s,\"stalled\":%s,\"runs_left\":%u,\"progress\":[",
        raft_state_name(raft_state(raft)), (unsigned long long)raft_term_current(raft),
        node_member_name(n, raft_vote(raft)), node_member_name(n, raft_leader(raft)),
        (unsigned long long)raft_commit_index(raft), (unsigned long long)raft_last_index(raft),
        (unsigned long long)raft_durable_index(raft), (unsigned long long)raft_snapshot_index(raft),
        (unsigned long long)raft_first_index(raft),
        (unsigned long long)carry_applied_index(n->carry),
        raft_leader_ready(raft) ? "true" : "false", carry_stalled(n->carry) ? "true" : "false",
        raft_runs_left(raft));
    count = raft_progress(raft, views);
    for (uint32_t i = 0; i < count; i++) {
        buf_printf(
            &body,
            "%s{\"name\":\"%s\",\"state\":\"%s\",\"match\":%llu,\"next\":%llu,\"inflight\":%u}",
            i ? "," : "", node_member_name(n, views[i].id), states[views[i].state],
            (unsigned long long)views[i].match, (unsigned long long)views[i].next,
            views[i].inflight);
    }
    buf_append_str(&body, "]}");
    reply_send(n, r, &reply);
}

void http_debug_log(struct node *n, struct http_request *r)
{
    static const char *const kinds[] = {"normal", "noop", "configuration"};
    struct buf body;
    struct reply reply = {.status = 200, .body = &body};
    raft_index last, first;
    bool any = false;

    if (!no_query(n, r)) {
        return;
    }
    buf_init(&body, NODE_ADMIN_BODY);
    buf_append_str(&body, "{\"entries\":[");
    last = n->carry ? raft_last_index(carry_raft(n->carry)) : 0;
    first = last > STATUS_LOG_TAIL ? last - STATUS_LOG_TAIL + 1 : 1;
    for (raft_index i = first; n->carry && i <= last; i++) {
        const struct entry *e = carry_log_entry(n->carry, i);
        raft_term term = raft_term_at(carry_raft(n->carry), i);

        if (term == 0) {
            continue;
        }
        buf_printf(&body, "%s{\"index\":%llu,\"term\":%llu", any ? "," : "", (unsigned long long)i,
                   (unsigned long long)term);
        if (e) {
            buf_printf(&body, ",\"kind\":\"%s\",\"bytes\":%u", kinds[e->kind], e->size);
        }
        buf_append_byte(&body, '}');
        any = true;
    }
    buf_append_str(&body, "]}");
    reply_send(n, r, &reply);
}

void http_debug_trace(struct node *n, struct http_request *r)
{
    struct raft_trace *trace = mem_calloc(STATUS_TRACE, sizeof *trace);
    struct buf body;
    struct reply reply = {.status = 200, .body = &body};
    uint32_t count = n->carry ? raft_trace_read(carry_raft(n->carry), 0, trace, STATUS_TRACE) : 0;
    char line[512];

    if (!no_query(n, r)) {
        mem_free(trace);
        return;
    }
    buf_init(&body, NODE_ADMIN_BODY);
    buf_append_str(&body, "{\"decisions\":[");
    for (uint32_t i = 0; i < count; i++) {
        raft_trace_format(&trace[i], line, sizeof line, name_of, n);
        buf_printf(&body,
                   "%s{\"number\":%llu,\"at_us\":%llu,\"term\":%llu,\"decision\":", i ? "," : "",
                   (unsigned long long)trace[i].number, (unsigned long long)trace[i].now_us,
                   (unsigned long long)trace[i].term);
        json_quote(slice_str(line), &body);
        buf_append_byte(&body, '}');
    }
    buf_append_str(&body, "]}");
    mem_free(trace);
    reply_send(n, r, &reply);
}
