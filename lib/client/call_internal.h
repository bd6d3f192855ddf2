/*
 * What the calls of the client (calls.c) ask of its engine (client.c).
 */
#ifndef RAFTKV_CLIENT_CALL_INTERNAL_H
#define RAFTKV_CLIENT_CALL_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/client/client.h"

enum call_kind {
    CALL_READ,   /* may be sent again */
    CALL_WRITE,  /* with client id and sequence number: may be sent again */
    CALL_CHANGE, /* a write without: once it left, it is not sent again */
};

struct call {
    enum call_kind kind;
    const char *method;
    const char *target; /* path and query, encoded */
    bool pass_timeout;  /* the target takes timeout= */
    bool raw;           /* bytes are wanted, not JSON */
    bool pinned;        /* one endpoint, one try */
    bool any_status;    /* a reply is a success whatever its status */
    struct slice body;  /* data NULL: none */
    const char *content_type;
    const char *condition_header;
    char condition[32]; /* "": none */
    /* Looks at the body of a success and takes from it what the reply has fields for. */
    int (*accept)(const struct call *call, struct client_reply *reply, struct err *err);
    struct api_page *page; /* client_scan's */
};

int client_call(struct client *c, const struct call *call, struct client_reply *reply,
                struct err *err);
int client_call_at(struct client *c, size_t endpoint, const struct call *call,
                   struct client_reply *reply, struct err *err);
const char *client_consistency(const struct client *c);

#endif
