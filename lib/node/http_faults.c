/*
 * /faults: what this node is to suffer, of itself alone. Nothing here is forwarded.
 */
#include <string.h>

#include "lib/base/opt.h"
#include "lib/node/node_internal.h"

enum { FAULTS_REPLY_BYTES = 64 << 10, FAULTS_NAMES_BYTES = 300 };

/* ---- peers by name ---- */

static const char *match(const struct member_address *a, const char *url, const char *name)
{
    size_t len = strlen(a->url);

    if (name) {
        return strcmp(a->name, name) == 0 ? a->name : NULL;
    }
    return strncmp(a->url, url, len) == 0 && (url[len] == '/' || url[len] == '\0') ? a->name : NULL;
}

/* By URL, or by name: members, and before there is a cluster those it is to have. Not this node. */
static const char *find_peer(const struct node *n, const char *url, const char *name)
{
    const struct membership *m = n->carry ? carry_membership(n->carry) : NULL;
    const char *found = NULL;

    for (uint32_t i = 0; m && !found && i < m->configuration.count; i++) {
        if (m->addresses[i].id != n->id) {
            found = match(&m->addresses[i], url, name);
        }
    }
    for (uint32_t i = 0; !m && !found && i < n->options.cluster_count; i++) {
        if (strcmp(n->options.cluster[i].name, n->options.name) != 0) {
            found = match(&n->options.cluster[i], url, name);
        }
    }
    return found;
}

const char *node_peer_at(void *node, const char *url)
{
    return find_peer(node, url, NULL);
}

static void peer_names(const struct node *n, struct buf *out)
{
    const struct membership *m = n->carry ? carry_membership(n->carry) : NULL;
    const struct member_address *list = m ? m->addresses : n->options.cluster;
    uint32_t count = m ? m->configuration.count : n->options.cluster_count;

    for (uint32_t i = 0; i < count; i++) {
        if (strcmp(list[i].name, n->options.name) != 0) {
            buf_printf(out, "%s%s", out->len > 0 ? ", " : "", list[i].name);
        }
    }
}

/* ---- requests ---- */

/* false: answered. */
static bool enabled(struct node *n, struct http_request *r)
{
    if (!n->faults) {
        reply_failure(n, r, ERR_FORBIDDEN,
                      "faults are not enabled here: start the node with --enable-faults");
    }
    return n->faults != NULL;
}

static void reply_list(struct node *n, struct http_request *r)
{
    struct api_fault list[FAULTS_MAX];
    size_t count = faults_list(n->faults, list);
    struct buf body;
    struct reply reply = {.status = 200, .body = &body};

    buf_init(&body, FAULTS_REPLY_BYTES);
    api_faults_encode(list, count, &body);
    reply_send(n, r, &reply);
}

void http_faults_get(struct node *n, struct http_request *r)
{
    if (enabled(n, r) && no_query(n, r)) {
        reply_list(n, r);
    }
}

/* A fault of a peer that nobody has would act nowhere, and the test that asked for it prove
 * nothing. */
static int check_peer(const struct node *n, const struct api_fault *f, struct err *err)
{
    struct buf names;
    int code = 0;

    if (!api_fault_has(f, API_FAULT_PEER) || strcmp(f->peer, "*") == 0 ||
        find_peer(n, NULL, f->peer)) {
        return 0;
    }
    buf_init(&names, FAULTS_NAMES_BYTES);
    peer_names(n, &names);
    code = err_set(err, ERR_BAD_REQUEST, "peer '%s' must be a peer's name, or * for all; peers: %s",
                   f->peer, names.len > 0 ? (const char *)names.data : "(none)");
    buf_release(&names);
    return code;
}

void http_faults_post(struct node *n, struct http_request *r)
{
    struct api_fault fault;
    struct err err = {0};
    struct buf body;
    struct reply reply = {.status = 200, .body = &body};
    int code;

    if (!enabled(n, r) || !no_query(n, r)) {
        return;
    }
    code = api_fault_decode(r->body, &fault, &err);
    code = code ? code : check_peer(n, &fault, &err);
    code = code ? code : faults_add(n->faults, &fault, &err);
    if (code != 0) {
        reply_err(n, r, &err, OUTCOME_NOT_APPLIED);
        return;
    }
    buf_init(&body, FAULTS_REPLY_BYTES);
    api_fault_encode(&fault, &body);
    reply_send(n, r, &reply);
}

void http_faults_clear(struct node *n, struct http_request *r)
{
    if (enabled(n, r) && no_query(n, r)) {
        faults_clear(n->faults);
        reply_list(n, r);
    }
}

void http_fault_clear(struct node *n, struct http_request *r, struct slice raw)
{
    char text[24] = "";
    uint64_t id;

    if (!enabled(n, r) || !no_query(n, r)) {
        return;
    }
    if (raw.len < sizeof text) {
        memcpy(text, raw.data, raw.len);
    }
    if (opt_parse_uint(text, &id) != 0) {
        reply_failure(n, r, ERR_BAD_REQUEST, "'%.*s' is no id of a fault",
                      raw.len < 100 ? (int)raw.len : 100, (const char *)raw.data);
    } else if (faults_remove(n->faults, id) != 0) {
        reply_failure(n, r, ERR_NOT_FOUND, "no fault has the id %llu", (unsigned long long)id);
    } else {
        reply_list(n, r);
    }
}
