/*
 * Opens many connections to one port and keeps them.
 *
 *     flood [-n COUNT] [-s] [-w SECONDS] ADDRESS PORT
 *         -n COUNT     1000 connections if nothing is said; never more than this process may open
 *         -s           slow headers: a byte of a request every 100 ms on each connection
 *         -w SECONDS   ends when the server has closed all of them, or after SECONDS
 *     Prints "open=N refused=M" when it has them; ends with SIGTERM or when the server has closed
 *     all, and prints "closed=N after_ms=T": those that the server closed meanwhile.
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

/* Whether the server has closed it; what it said before is thrown away. */
static bool closed_by_peer(int fd)
{
    char bytes[4096];
    ssize_t n;

    while ((n = recv(fd, bytes, sizeof bytes, 0)) > 0) {
    }
    return n == 0 || (errno != EAGAIN && errno != EINTR);
}

static unsigned look(struct pollfd *fds, unsigned count, bool slow, unsigned step)
{
    unsigned closed = 0;

    poll(fds, count, FLOOD_STEP_MS);
    for (unsigned i = 0; i < count; i++) {
        if (fds[i].fd < 0) {
            continue;
        }
        if ((fds[i].revents && closed_by_peer(fds[i].fd)) ||
            (slow && !send_slowly(fds[i].fd, step))) {
            close(fds[i].fd);
            fds[i].fd = -1;
            closed++;
        }
    }
    return closed;
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_handler = on_signal};
    struct sockaddr_in address = {.sin_family = AF_INET};
    unsigned count = 1000, open = 0, closed = 0, step = 0, allowed = files_allowed();
    uint64_t seconds = 0, began_us, step_us = 0;
    struct pollfd *fds;
    bool slow = false;
    int c;

    while ((c = getopt(argc, argv, "n:sw:")) != -1) {
        switch (c) {
        case 'n': count = (unsigned)strtoul(optarg, NULL, 10); break;
        case 's': slow = true; break;
        case 'w': seconds = strtoull(optarg, NULL, 10); break;
        default: return 2;
        }
    }
    if (argc - optind != 2 || inet_pton(AF_INET, argv[optind], &address.sin_addr) != 1) {
        fprintf(stderr, "usage: flood [-n COUNT] [-s] [-w SECONDS] ADDRESS PORT\n");
        return 2;
    }
    address.sin_port = htons((uint16_t)strtoul(argv[optind + 1], NULL, 10));
    sigaction(SIGTERM, &action, NULL);
    count = count < allowed ? count : allowed;
    fds = mem_calloc(count, sizeof *fds);
    for (unsigned i = 0; i < count && !stop; i++) {
        fds[i].events = POLLIN;
        fds[i].fd = open_one(&address);
        open += fds[i].fd >= 0;
        if (i % FLOOD_BATCH == FLOOD_BATCH - 1) { /* the backlog is emptied */
            usleep(1000);
        }
    }
    printf("open=%u refused=%u\n", open, count - open);
    fflush(stdout);
    began_us = clock_now_us();
    while (!stop && closed < open && (!seconds || clock_now_us() < began_us + seconds * 1000000)) {
        bool now = slow && clock_now_us() >= step_us;

        closed += look(fds, count, now, step);
        if (now) {
            step++;
            step_us = clock_now_us() + FLOOD_STEP_MS * 1000;
        }
    }
    printf("closed=%u after_ms=%llu\n", closed,
           (unsigned long long)(clock_now_us() - began_us) / 1000);
    for (unsigned i = 0; i < count; i++) {
        if (fds[i].fd >= 0) {
            close(fds[i].fd);
        }
    }
    mem_free(fds);
    return 0;
}
