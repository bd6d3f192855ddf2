/*
 * What operators ask: status, members, leadership, health, debugging.
 */
#include <stdio.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/base/version.h"
#include "lib/node/node_internal.h"

enum {
    ADMIN_BODY_MAX = 4 << 20,
    ADMIN_TRACE = RAFT_TRACE_MAX,
    ADMIN_LOG_TAIL = 100,
    ADMIN_ASK_MS = 1000, /* for the leader to say what it knows */
};

/* ---- status
 * -------------------------------------------------------------------------------------------------------
 */

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

static void reply_members(struct node *n, struct http_request *r)
{
    struct api_status s;
    struct buf body;
    struct reply reply = {.status = 200, .body = &body};

    fill_status(n, &s);
    buf_init(&body, ADMIN_BODY_MAX);
    api_members_encode(&s, &body);
    reply_send(n, r, &reply);
}

static void status_here(struct node *n, struct http_request *r)
{
    struct api_status s;
    struct buf body;
    struct reply reply = {.status = 200, .body = &body};

    fill_status(n, &s);
    buf_init(&body, ADMIN_BODY_MAX);
    api_status_encode(&s, &body);
    reply_send(n, r, &reply);
}

/* No parameter is known: false if one is there (answered). */
static bool no_query(struct node *n, struct http_request *r)
{
    struct err err = {0};

    if (parse_query(r, NULL, 0, &err) != 0) {
        reply_err(n, r, &err,
                  r->method == HTTP_GET || r->method == HTTP_HEAD ? OUTCOME_NONE
                                                                  : OUTCOME_NOT_APPLIED);
        return false;
    }
    return true;
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
        uint64_t ask_ms = n->options.election_timeout_ms < ADMIN_ASK_MS
                              ? n->options.election_timeout_ms
                              : ADMIN_ASK_MS;

        forward_request(n, r, leader, target, (uint32_t)ask_ms, true, here);
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

void http_node(struct node *n, struct http_request *r)
{
    struct machine_figures machine;
    struct disk_figures disk;
    struct api_node out = {.id = n->id, .version = RAFTKV_VERSION, .state = "forming"};
    struct buf body;
    struct reply reply = {.status = 200, .body = &body};

    if (!no_query(n, r)) {
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
    out.log_bytes = disk.log.file_bytes;
    out.kv_bytes = machine.kv_bytes;
    out.wal_bytes = disk.log.wal_bytes + machine.wal_bytes;
    out.disk_free = n->disk_free == UINT64_MAX ? 0 : n->disk_free;
    out.keys = machine.keys;
    buf_init(&body, ADMIN_BODY_MAX);
    api_node_encode(&out, &body);
    reply_send(n, r, &reply);
}

/* ---- changes, and who waits for them
 * ---------------------------------------------------------------------------------- */

enum waiter_kind { WAIT_ADDED, WAIT_VOTER, WAIT_GONE, WAIT_LEADER };

struct waiter {
    struct waiter *next;
    struct http_request *request;
    enum waiter_kind kind;
    raft_id id;
    uint64_t deadline_us;
};

static void wait_for(struct node *n, struct http_request *r, enum waiter_kind kind, raft_id id,
                     uint64_t deadline_us)
{
    struct waiter *w = mem_zalloc(sizeof *w);

    w->request = r;
    w->kind = kind;
    w->id = id;
    w->deadline_us = deadline_us;
    w->next = n->waiters;
    n->waiters = w;
    http_admin_look(n, clock_now_us());
}

static bool reached(const struct node *n, const struct waiter *w)
{
    const struct raft *raft = carry_raft(n->carry);
    const struct raft_configuration *committed = raft_configuration_committed(raft);
    const struct raft_member *m = raft_configuration_find(committed, w->id);

    switch (w->kind) {
    case WAIT_ADDED: return m != NULL;
    case WAIT_VOTER: return m && !committed->joint && (m->flags & RAFT_VOTER);
    case WAIT_GONE: return !m && !committed->joint;
    case WAIT_LEADER:
        return w->id ? raft_leader(raft) == w->id
                     : raft_leader(raft) != 0 && raft_leader(raft) != n->id;
    }
    return false;
}

/* NULL while it may still happen. */
static const char *hopeless(const struct node *n, const struct waiter *w, enum outcome *outcome)
{
    const struct raft *raft = carry_raft(n->carry);

    *outcome = OUTCOME_UNKNOWN;
    if (w->kind == WAIT_LEADER) {
        if (!carry_transfer_told(n->carry)) {
            *outcome = OUTCOME_NOT_APPLIED;
        }
        return raft_state(raft) == RAFT_LEADER && raft_transfer_target(raft) == 0
                   ? "nobody took over leadership within an election timeout"
                   : NULL;
    }
    return raft_state(raft) != RAFT_LEADER
               ? "leadership was lost; whether the change took effect, GET /members tells"
               : NULL;
}

void http_admin_look(struct node *n, uint64_t now_us)
{
    struct waiter **link = &n->waiters;

    while (*link) {
        struct waiter *w = *link;
        enum outcome outcome = OUTCOME_UNKNOWN;
        const char *why = NULL;
        struct api_error e = {.code = ERR_NO_LEADER};

        if (!reached(n, w)) {
            why = hopeless(n, w, &outcome);
            if (!why && now_us >= w->deadline_us) {
                why = "not done in time; it may still be";
                e.code = ERR_TIMEOUT;
            }
            if (!why) {
                link = &w->next;
                continue;
            }
        }
        *link = w->next;
        if (!why) {
            reply_members(n, w->request);
        } else {
            e.outcome = outcome;
            e.retryable = outcome == OUTCOME_NOT_APPLIED || w->kind == WAIT_LEADER;
            snprintf(e.message, sizeof e.message, "%s", why);
            reply_error(n, w->request, &e);
        }
        mem_free(w);
    }
}

void http_admin_stop(struct node *n)
{
    struct waiter *w;

    while ((w = n->waiters) != NULL) {
        struct api_error e = {.code = ERR_SHUTTING_DOWN, .outcome = OUTCOME_UNKNOWN};

        n->waiters = w->next;
        snprintf(e.message, sizeof e.message, "this node shuts down; GET /members elsewhere tells");
        reply_error(n, w->request, &e);
        mem_free(w);
    }
}

static int change_parameters(const struct http_request *r, uint64_t *timeout_ms, bool *redirect,
                             struct err *err)
{
    struct query_parameter p[] = {{.name = "timeout"}, {.name = "redirect"}};
    int code = parse_query(r, p, 2, err);

    *timeout_ms = NODE_TIMEOUT_DEFAULT_MS;
    *redirect = false;
    if (code == 0) {
        code = parse_timeout(&p[0], timeout_ms, err);
    }
    if (code == 0) {
        code = parse_flag(&p[1], redirect, err);
    }
    query_release(p, 2);
    return code;
}

/* Membership and leadership are the leader's. true: this node leads, and has until *deadline_us;
 * false: answered, redirected or forwarded. */
static bool leads(struct node *n, struct http_request *r, uint64_t *deadline_us)
{
    const struct member_address *leader = node_leader(n);
    struct err err = {0};
    struct buf target;
    uint64_t timeout_ms;
    bool redirect;

    if (change_parameters(r, &timeout_ms, &redirect, &err) != 0) {
        reply_err(n, r, &err, OUTCOME_NOT_APPLIED);
    } else if (carry_removed(n->carry)) {
        reply_failure(n, r, ERR_REMOVED, "this node was removed from the cluster");
    } else if (n->phase == NODE_STOPPING) {
        reply_failure(n, r, ERR_SHUTTING_DOWN, "this node shuts down");
    } else if (raft_state(carry_raft(n->carry)) == RAFT_LEADER) {
        *deadline_us = clock_now_us() + timeout_ms * 1000;
        return true;
    } else if (!leader || request_forwarded(r)) {
        reply_failure(n, r, ERR_NO_LEADER, "no leader is known");
    } else if (redirect) {
        forward_redirect(n, r, leader);
    } else {
        buf_init(&target, LIMIT_QUERY_BYTES);
        buf_printf(&target, "%.*s?timeout=%llums", (int)r->path.len, (const char *)r->path.data,
                   (unsigned long long)timeout_ms);
        forward_request(n, r, leader, (const char *)target.data, (uint32_t)timeout_ms, false, NULL);
        buf_release(&target);
    }
    return false;
}

/* {id} is a name or a member id. 0: not found, and answered. */
static raft_id find_member(struct node *n, struct http_request *r, struct slice raw)
{
    const struct membership *m = carry_membership(n->carry);
    struct buf text;
    struct err err = {0};
    raft_id id = 0, found = 0;

    buf_init(&text, LIMIT_NAME_BYTES);
    if (target_decode(raw, false, &text, &err) == 0) {
        const struct member_address *a = member_name_valid((const char *)text.data, text.len)
                                             ? membership_by_name(m, (const char *)text.data)
                                             : NULL;

        if (!a && hex64_parse((const char *)text.data, text.len, &id) == 0) {
            a = membership_by_id(m, id);
        }
        found = a ? a->id : 0;
    }
    if (found == 0) {
        reply_failure(n, r, ERR_NOT_FOUND, "no member has the name or id %.*s",
                      raw.len < 100 ? (int)raw.len : 100, (const char *)raw.data);
    }
    buf_release(&text);
    return found;
}

struct asking { /* the URL of a new member is asked for its member id */
    struct node *node;
    struct http_request *request;
    struct api_member_request member;
    raft_id replaced; /* 0: add */
    uint64_t deadline_us;
};

static int judge_newcomer(const struct node *n, const struct asking *a, const struct hello *h,
                          struct err *err)
{
    if (strcmp(h->name, a->member.name) != 0) {
        return err_set(err, ERR_CONFLICT, "the node at %s is called %s, not %s", a->member.url,
                       h->name, a->member.name);
    }
    if (h->has_cluster && !digest_equal(h->cluster, n->cluster_id)) {
        return err_set(err, ERR_CONFLICT, "the node at %s belongs to another cluster",
                       a->member.url);
    }
    if (!h->has_cluster && !h->waits) {
        return err_set(err, ERR_CONFLICT,
                       "the node at %s forms a cluster of its own; start it with --join or "
                       "--standby",
                       a->member.url);
    }
    if (h->has_cluster && !membership_by_id(carry_membership(n->carry), h->id)) {
        return err_set(err, ERR_CONFLICT,
                       "the node at %s was a member of this cluster and was removed; it comes "
                       "back with an empty data directory",
                       a->member.url);
    }
    return 0;
}

static void newcomer_answered(void *argument, const struct http_result *result)
{
    struct asking *a = argument;
    struct node *n = a->node;
    struct hello h;
    struct err err = {0};
    struct raft_change change = {.kind = a->replaced ? RAFT_REPLACE : RAFT_ADD_LEARNER,
                                 .auto_promote = a->member.auto_promote};
    struct member_address address = {0};
    struct api_error refusal = {.code = ERR_CONFLICT, .outcome = OUTCOME_NOT_APPLIED};
    bool for_good = false; /* trying again will not help */
    int code;

    if (result->code != 0 || result->status != 200) {
        code = err_set(&err, ERR_NO_LEADER, "%s does not answer: %s", a->member.url,
                       result->code != 0 ? result->detail : "no raftkv-node there");
    } else if (!n->carry) {
        code = err_set(&err, ERR_SHUTTING_DOWN, "this node shuts down");
    } else {
        code = hello_decode(result->body, &h, &err);
        if (code == 0) {
            code = judge_newcomer(n, a, &h, &err);
            for_good = code != 0;
        }
    }
    if (code == 0) {
        address.id = h.id;
        snprintf(address.name, sizeof address.name, "%s", a->member.name);
        snprintf(address.url, sizeof address.url, "%s", a->member.url);
        change.id = a->replaced ? a->replaced : h.id;
        change.new_id = a->replaced ? h.id : 0;
        code = carry_change(n->carry, &change, &address, clock_now_us(), &err);
    }
    if (for_good) {
        snprintf(refusal.message, sizeof refusal.message, "%s", err.text);
        reply_error(n, a->request, &refusal);
    } else if (code != 0) {
        reply_err(n, a->request, &err, OUTCOME_NOT_APPLIED);
    } else {
        log_info("membership change", "kind=%s name=%s url=%s", a->replaced ? "replace" : "add",
                 a->member.name, a->member.url);
        wait_for(n, a->request, WAIT_ADDED, h.id, a->deadline_us);
    }
    mem_free(a);
}

static void ask_newcomer(struct node *n, struct http_request *r, raft_id replaced,
                         uint64_t deadline_us)
{
    uint64_t now_us = clock_now_us();
    struct asking *a = mem_zalloc(sizeof *a);
    struct err err = {0};
    char url[LIMIT_URL_BYTES + 16];
    struct http_call call = {
        .method = HTTP_GET,
        .url = url,
        .timeout_ms = deadline_us > now_us + 1000 ? (uint32_t)((deadline_us - now_us) / 1000) : 1,
        .reply_max = LIMIT_PEER_HELLO_BYTES,
        .idempotent = true};
    int code = api_member_request_decode(r->body, replaced == 0, &a->member, &err);

    if (code == 0 && !url_valid(a->member.url, &err)) {
        code = err.code;
    }
    if (code != 0) {
        reply_err(n, r, &err, OUTCOME_NOT_APPLIED);
        mem_free(a);
        return;
    }
    a->node = n;
    a->request = r;
    a->replaced = replaced;
    a->deadline_us = deadline_us;
    snprintf(url, sizeof url, "%s/raft/hello", a->member.url);
    http_client_call(n->client, &call, newcomer_answered, a);
}

void http_members_add(struct node *n, struct http_request *r)
{
    uint64_t deadline_us;

    if (leads(n, r, &deadline_us)) {
        ask_newcomer(n, r, 0, deadline_us);
    }
}

void http_member_replace(struct node *n, struct http_request *r, struct slice id)
{
    uint64_t deadline_us;
    raft_id replaced;

    if (leads(n, r, &deadline_us) && (replaced = find_member(n, r, id)) != 0) {
        ask_newcomer(n, r, replaced, deadline_us);
    }
}

static void change_member(struct node *n, struct http_request *r, struct slice raw,
                          enum raft_change_kind kind, enum waiter_kind wait)
{
    struct raft_change change = {.kind = kind};
    struct err err = {0};
    uint64_t deadline_us;
    raft_id id;

    if (!leads(n, r, &deadline_us)) {
        return;
    }
    if (api_empty_request_decode(r->body, &err) != 0) {
        reply_err(n, r, &err, OUTCOME_NOT_APPLIED);
        return;
    }
    id = find_member(n, r, raw);
    if (id == 0) {
        return;
    }
    change.id = id;
    if (kind == RAFT_PROMOTE && reached(n, &(struct waiter){.kind = wait, .id = id})) {
        reply_members(n, r); /* asked again: it is done */
        return;
    }
    if (carry_change(n->carry, &change, NULL, clock_now_us(), &err) != 0) {
        reply_err(n, r, &err, OUTCOME_NOT_APPLIED);
        return;
    }
    log_info("membership change", "kind=%s name=%s", kind == RAFT_REMOVE ? "remove" : "promote",
             node_member_name(n, id));
    wait_for(n, r, wait, id, deadline_us);
}

void http_member_remove(struct node *n, struct http_request *r, struct slice id)
{
    change_member(n, r, id, RAFT_REMOVE, WAIT_GONE);
}

void http_member_promote(struct node *n, struct http_request *r, struct slice id)
{
    change_member(n, r, id, RAFT_PROMOTE, WAIT_VOTER);
}

void http_leader_get(struct node *n, struct http_request *r)
{
    const struct member_address *leader = node_leader(n);
    struct buf body;
    struct reply reply = {.status = 200, .body = &body};
    char id[HEX64_BYTES];

    if (!no_query(n, r)) {
        return;
    }
    if (n->carry && carry_removed(n->carry)) {
        reply_failure(n, r, ERR_REMOVED, "this node was removed from the cluster");
        return;
    }
    if (!leader) {
        reply_failure(n, r, ERR_NO_LEADER, "no leader is known");
        return;
    }
    buf_init(&body, ADMIN_BODY_MAX);
    buf_printf(&body, "{\"leader\":\"%s\",\"id\":\"%s\",\"url\":\"%s\",\"term\":%s}", leader->name,
               hex64(leader->id, id), leader->url, n->header_term);
    reply_send(n, r, &reply);
}

void http_leader_post(struct node *n, struct http_request *r)
{
    struct api_leader_request q;
    struct err err = {0};
    uint64_t deadline_us;
    raft_id to = 0;

    if (!leads(n, r, &deadline_us)) {
        return;
    }
    if (api_leader_request_decode(r->body, &q, &err) != 0) {
        reply_err(n, r, &err, OUTCOME_NOT_APPLIED);
        return;
    }
    if (q.to[0]) {
        to = find_member(n, r, slice_str(q.to));
        if (to == 0) {
            return;
        }
    }
    if (to == n->id) {
        reply_members(n, r); /* it leads already */
        return;
    }
    if (carry_transfer(n->carry, to, clock_now_us(), &err) != 0) {
        reply_err(n, r, &err, OUTCOME_NOT_APPLIED);
        return;
    }
    wait_for(n, r, WAIT_LEADER, to, deadline_us);
}

/* ---- health
 * ------------------------------------------------------------------------------------------------------------------
 */

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
        buf_init(&forming, ADMIN_BODY_MAX);
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
    buf_init(&checks, ADMIN_BODY_MAX);
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
    buf_init(&body, ADMIN_BODY_MAX);
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

/* ---- debugging
 * ------------------------------------------------------------------------------------------------------------------
 */

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
    buf_init(&body, ADMIN_BODY_MAX);
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
    buf_init(&body, ADMIN_BODY_MAX);
    buf_append_str(&body, "{\"entries\":[");
    last = n->carry ? raft_last_index(carry_raft(n->carry)) : 0;
    first = last > ADMIN_LOG_TAIL ? last - ADMIN_LOG_TAIL + 1 : 1;
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
    struct raft_trace *trace = mem_calloc(ADMIN_TRACE, sizeof *trace);
    struct buf body;
    struct reply reply = {.status = 200, .body = &body};
    uint32_t count = n->carry ? raft_trace_read(carry_raft(n->carry), 0, trace, ADMIN_TRACE) : 0;
    char line[512];

    if (!no_query(n, r)) {
        mem_free(trace);
        return;
    }
    buf_init(&body, ADMIN_BODY_MAX);
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
