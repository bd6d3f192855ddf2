/*
 * A raw HTTP client for tests of the server: blocking sockets, every byte as the test wants it, and
 * no wait longer than HTTP_PATIENCE_MS. And a raw server for tests of the client.
 */
#ifndef RAFTKV_TESTS_SUPPORT_HTTP_H
#define RAFTKV_TESTS_SUPPORT_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HTTP_PATIENCE_MS = 20000 };

int http_dial(uint16_t port); /* 127.0.0.1; -1: refused */
int http_listen(uint16_t *port);
int http_accept(int listening); /* -1: nobody came */
bool http_say(int fd, const char *text);
bool http_say_bytes(int fd, const void *data, size_t len);

struct http_heard {
    int status; /* 0: the connection was closed before a reply; -1: nothing came in time */
    char head[4096];
    char *body; /* NUL-terminated; http_forget */
    size_t body_len;
};
/* One reply. `bodyless`: to HEAD. 100 (Continue) is a reply of its own. */
struct http_heard http_hear(int fd, bool bodyless);
void http_forget(struct http_heard *h);
/* Value of a header of the reply, "" if absent; in a static buffer of this thread. */
const char *http_heard_header(const struct http_heard *h, const char *name);
/* Whether the other end closes; what comes before is thrown away. */
bool http_closed(int fd);
/* One request of a client (head and body by Content-Length) at a raw server; false: none came. */
bool http_take_request(int fd, char *out, size_t out_bytes);

#endif
