/*
 * Changes of members and of leadership, and who waits for them.
 */
#include <stdio.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/node/node_internal.h"

/* ---- who waits ---- */

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
    http_members_look(n, clock_now_us());
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

void http_members_look(struct node *n, uint64_t now_us)
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

void http_members_stop(struct node *n)
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
        forward_request(n, r, leader, (const char *)target.data, (uint32_t)timeout_ms, NULL);
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
    buf_init(&body, NODE_ADMIN_BODY);
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
