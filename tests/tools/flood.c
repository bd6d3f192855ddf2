/*
 * Opens many connections to one port and keeps them.
 *
 *     flood [-n COUNT] [-s] [-r PATH] [-w SECONDS] ADDRESS PORT
 *         -n COUNT     1000 connections if nothing is said; never more than this process may open
 *         -s           slow headers: a byte of a request every 100 ms on each connection
 *         -r PATH      a GET of PATH on each connection, which is idle once that is answered
 *         -w SECONDS   ends when the server has closed all of them, or after SECONDS
 *     Prints "open=N refused=M" when it has them (with -r: and each has its answer); ends with
 *     SIGTERM or when the server has closed all, and prints "closed=N after_ms=T": those that the
 *     server closed meanwhile.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"

enum { FLOOD_SPARE_FILES = 64, FLOOD_STEP_MS = 100, FLOOD_BATCH = 500 };

static volatile sig_atomic_t stop;

static void on_signal(int signal)
{
    (void)signal;
    stop = 1;
}

static unsigned files_allowed(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return 1024 - FLOOD_SPARE_FILES;
    }
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    return limit.rlim_max > 1000000 ? 1000000 : (unsigned)limit.rlim_max - FLOOD_SPARE_FILES;
}

static int open_one(const struct sockaddr_in *address)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd >= 0 && connect(fd, (const struct sockaddr *)address, sizeof *address) != 0) {
        close(fd);
        return -1;
    }
    if (fd >= 0) {
        fcntl(fd, F_SETFL, O_NONBLOCK);
    }
    return fd;
}

/* The next byte of a head that does not end. */
static bool send_slowly(int fd, unsigned step)
{
    static const char head[] = "GET /kv/slow HTTP/1.1\r\nHost: localhost\r\nX-Slow: ";
    char byte = step < sizeof head - 1 ? head[step] : 'x';

    return send(fd, &byte, 1, MSG_NOSIGNAL) == 1 || errno == EAGAIN;
}

/* Whether the server has closed it; what it said before is thrown away, but that it said something
 * is told. */
static bool closed_by_peer(int fd, bool *spoke)
{
    char bytes[4096];
    ssize_t n;

    while ((n = recv(fd, bytes, sizeof bytes, 0)) > 0) {
        *spoke = true;
    }
    return n == 0 || (errno != EAGAIN && errno != EINTR);
}

struct flood {
    struct pollfd *fds;
    bool *answered;
    unsigned count, open, closed;
};

static void close_one(struct flood *f, unsigned i)
{
    close(f->fds[i].fd);
    f->fds[i].fd = -1;
    f->closed++;
}

/* What the server has done, awaited for so long. */
static void look(struct flood *f, int wait_ms)
{
    poll(f->fds, f->count, wait_ms);
    for (unsigned i = 0; i < f->count; i++) {
        if (f->fds[i].fd >= 0 && f->fds[i].revents &&
            closed_by_peer(f->fds[i].fd, &f->answered[i])) {
            close_one(f, i);
        }
    }
}

static void step_all(struct flood *f, unsigned step)
{
    for (unsigned i = 0; i < f->count; i++) {
        if (f->fds[i].fd >= 0 && !send_slowly(f->fds[i].fd, step)) {
            close_one(f, i);
        }
    }
}

static void open_all(struct flood *f, const struct sockaddr_in *address, const char *request)
{
    ssize_t len = (ssize_t)strlen(request);

    for (unsigned i = 0; i < f->count; i++) {
        if (stop) {
            f->count = i;
            return;
        }
        f->fds[i].events = POLLIN;
        f->fds[i].fd = open_one(address);
        if (f->fds[i].fd >= 0 &&
            (len == 0 || send(f->fds[i].fd, request, (size_t)len, MSG_NOSIGNAL) == len)) {
            f->open++;
        }
        if (i % FLOOD_BATCH == FLOOD_BATCH - 1) { /* the backlog is emptied */
            usleep(1000);
        }
    }
}

static bool all_answered(const struct flood *f)
{
    for (unsigned i = 0; i < f->count; i++) {
        if (f->fds[i].fd >= 0 && !f->answered[i]) {
            return false;
        }
    }
    return true;
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_handler = on_signal};
    struct sockaddr_in address = {.sin_family = AF_INET};
    struct flood f = {.count = 1000};
    unsigned step = 0, allowed = files_allowed();
    uint64_t seconds = 0, began_us, step_us = 0;
    char request[512] = "";
    bool slow = false;
    int c;

    while ((c = getopt(argc, argv, "n:sr:w:")) != -1) {
        switch (c) {
        case 'n': f.count = (unsigned)strtoul(optarg, NULL, 10); break;
        case 's': slow = true; break;
        case 'r':
            snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", optarg);
            break;
        case 'w': seconds = strtoull(optarg, NULL, 10); break;
        default: return 2;
        }
    }
    if (argc - optind != 2 || inet_pton(AF_INET, argv[optind], &address.sin_addr) != 1) {
        fprintf(stderr, "usage: flood [-n COUNT] [-s] [-r PATH] [-w SECONDS] ADDRESS PORT\n");
        return 2;
    }
    address.sin_port = htons((uint16_t)strtoul(argv[optind + 1], NULL, 10));
    sigaction(SIGTERM, &action, NULL);
    f.count = f.count < allowed ? f.count : allowed;
    f.fds = mem_calloc(f.count, sizeof *f.fds);
    f.answered = mem_calloc(f.count, sizeof *f.answered);
    open_all(&f, &address, request);
    while (!stop && *request && !all_answered(&f)) {
        look(&f, FLOOD_STEP_MS);
    }
    printf("open=%u refused=%u\n", f.open, f.count - f.open);
    fflush(stdout);
    began_us = clock_now_us();
    while (!stop && f.closed < f.open &&
           (!seconds || clock_now_us() < began_us + seconds * 1000000)) {
        if (slow && clock_now_us() >= step_us) {
            step_all(&f, step++);
            step_us = clock_now_us() + FLOOD_STEP_MS * 1000;
        }
        look(&f, FLOOD_STEP_MS);
    }
    look(&f, 0); /* what was closed before the signal came is told in any case */
    printf("closed=%u after_ms=%llu\n", f.closed,
           (unsigned long long)(clock_now_us() - began_us) / 1000);
    for (unsigned i = 0; i < f.count; i++) {
        if (f.fds[i].fd >= 0) {
            close(f.fds[i].fd);
        }
    }
    mem_free(f.answered);
    mem_free(f.fds);
    return 0;
}
