/*
 * A scripted HTTP server for tests of clients: plays one step a request, in order, and records what
 * came. A thread of its own, a port of its own on 127.0.0.1.
 *
 * The steps stand for what happens to a request on its way: an answer, an answer cut off, a
 * connection closed or reset at some point, silence. Requests beyond the script get 500 and are
 * recorded as well. The rest of the script waits while a connection is silent.
 */
#ifndef RAFTKV_TESTS_SUPPORT_FAKE_NODE_H
#define RAFTKV_TESTS_SUPPORT_FAKE_NODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum fake_act {
    FAKE_REPLY,        /* status, headers, body */
    FAKE_REPLY_CLOSE,  /* the same with Connection: close */
    FAKE_STRANGER,     /* the same without RaftKV-Node: another program, or an HTTP parser */
    FAKE_CUT,          /* announces more of the body than it sends, then closes */
    FAKE_CLOSE,        /* reads the request, closes without a byte */
    FAKE_RESET,        /* reads the request, resets the connection */
    FAKE_RESET_BEFORE, /* a step of the connection: reset when there is something to read */
    FAKE_SILENT,       /* reads the request, never answers */
    FAKE_GARBAGE,      /* sends `body` as it is, no HTTP around it, closes */
};

struct fake_step {
    enum fake_act act;
    int status;          /* 0: 200 */
    const char *headers; /* "A: b\r\nC: d\r\n", or NULL; RaftKV-Node is added */
    const char *body;    /* NULL: empty */
};

struct fake_request {
    char method[16];
    char target[512];
    char *headers; /* the whole head */
    uint8_t *body;
    size_t body_len;
    unsigned connection; /* which one, from 1 */
};

struct fake_node;

/* `steps` is borrowed until fake_node_stop. */
struct fake_node *fake_node_start(const struct fake_step *steps, size_t count);
void fake_node_stop(struct fake_node *n);
const char *fake_node_url(const struct fake_node *n);
/* For reading while no request is under way. */
unsigned fake_node_request_count(struct fake_node *n);
const struct fake_request *fake_node_request(struct fake_node *n, unsigned i); /* from 0 */
/* Value of a header of a request in `out`; "" if absent. */
const char *fake_request_header(const struct fake_request *r, const char *name, char out[256]);
/* A port on which nobody listens, and nobody will as long as the test lives: http://127.0.0.1:PORT.
 */
const char *fake_refusing_url(void);

#endif
