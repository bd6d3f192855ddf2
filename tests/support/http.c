/* The raw HTTP client and server of the tests. */
#include "tests/support/http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/tap.h"

static bool readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, HTTP_PATIENCE_MS) == 1;
}

static struct sockaddr_in local(uint16_t port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

int http_dial(uint16_t port)
{
    struct sockaddr_in address = local(port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(fd >= 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

int http_listen(uint16_t *port)
{
    struct sockaddr_in address = local(0);
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(fd >= 0);
    must(bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 && listen(fd, 64) == 0);
    must(getsockname(fd, (struct sockaddr *)&address, &len) == 0);
    *port = ntohs(address.sin_port);
    return fd;
}

int http_accept(int listening)
{
    return readable(listening) ? accept(listening, NULL, NULL) : -1;
}

bool http_say_bytes(int fd, const void *data, size_t len)
{
    const char *at = data;
    while (len > 0) {
        ssize_t n = send(fd, at, len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        at += n;
        len -= (size_t)n;
    }
    return true;
}

bool http_say(int fd, const char *text)
{
    return http_say_bytes(fd, text, strlen(text));
}

/* Up to the empty line, byte by byte, so that nothing of what follows is taken. 1: whole; 0:
 * closed; -1: nothing in time. */
static int read_head(int fd, char *out, size_t out_bytes)
{
    size_t len = 0;
    out[0] = '\0';
    while (len + 1 < out_bytes) {
        if (!readable(fd))
            return -1;
        ssize_t n = recv(fd, out + len, 1, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return 0;
        out[++len] = '\0';
        if (len >= 4 && strcmp(out + len - 4, "\r\n\r\n") == 0)
            return 1;
    }
    return 0;
}

static size_t read_body(int fd, char *out, size_t len)
{
    size_t have = 0;
    while (have < len) {
        if (!readable(fd))
            break;
        ssize_t n = recv(fd, out + have, len - have, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        have += (size_t)n;
    }
    return have;
}

static const char *find_header(const char *head, const char *name)
{
    static _Thread_local char value[1024];
    size_t len = strlen(name);
    value[0] = '\0';
    for (const char *line = head; line; line = strstr(line, "\r\n")) {
        if (line != head)
            line += 2;
        if (strncasecmp(line, name, len) == 0 && line[len] == ':') {
            const char *from = line + len + 1;
            from += strspn(from, " ");
            snprintf(value, sizeof(value), "%.*s", (int)strcspn(from, "\r"), from);
            break;
        }
    }
    return value;
}

const char *http_heard_header(const struct http_heard *h, const char *name)
{
    return find_header(h->head, name);
}

struct http_heard http_hear(int fd, bool bodyless)
{
    struct http_heard h = {.status = 0};
    int rc = read_head(fd, h.head, sizeof(h.head));
    if (rc <= 0) {
        h.status = rc;
        return h;
    }
    if (strncmp(h.head, "HTTP/1.", 7) == 0)
        h.status = (int)strtol(h.head + 9, NULL, 10);
    size_t len = bodyless || h.status == 100 || h.status == 304
                     ? 0
                     : strtoul(http_heard_header(&h, "Content-Length"), NULL, 10);
    h.body = calloc(1, len + 1);
    must(h.body != NULL);
    h.body_len = read_body(fd, h.body, len);
    return h;
}

void http_forget(struct http_heard *h)
{
    free(h->body);
    h->body = NULL;
}

bool http_closed(int fd)
{
    char waste[4096];
    while (readable(fd)) {
        ssize_t n = recv(fd, waste, sizeof(waste), 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return true;
    }
    return false;
}

bool http_take_request(int fd, char *out, size_t out_bytes)
{
    if (read_head(fd, out, out_bytes) != 1)
        return false;
    size_t head = strlen(out), body = strtoul(find_header(out, "Content-Length"), NULL, 10);
    must(head + body < out_bytes);
    size_t have = read_body(fd, out + head, body);
    out[head + have] = '\0';
    return have == body;
}
