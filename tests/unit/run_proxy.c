/* The proxy between nodes, with raw sockets at both of its ends. */
#include "lib/run/proxy.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/run/proxy_internal.h"
#include "tests/support/cases.h"
#include "tests/support/http.h"

enum { QUIET_MS = 150, SOON_MS = 10000 };

static const char request_of_one[] =
    "POST /raft/message HTTP/1.1\r\nHost: a\r\nUser-Agent: raftkv-node/0.1.0 (n1)\r\n\r\n";

/* Nodes n1 and n2; what is said to n2's port arrives at `listening`. */
static struct {
    struct proxy *proxy;
    int listening, client, server;
    unsigned one, two;
    uint16_t port;
} f;

static void set_up(void)
{
    uint16_t target, other;
    f.listening = http_listen(&target);
    REQUIRE(f.listening >= 0 && proxy_new(5, &f.proxy, NULL) == 0);
    REQUIRE(proxy_add(f.proxy, "n1", 1, &f.one, &other, NULL) == 0);
    REQUIRE(proxy_add(f.proxy, "n2", target, &f.two, &f.port, NULL) == 0);
    f.client = http_dial(f.port);
    REQUIRE(f.client >= 0);
    f.server = http_accept(f.listening);
    REQUIRE(f.server >= 0);
}

static void tear_down(void)
{
    close(f.client);
    close(f.server);
    close(f.listening);
    proxy_free(f.proxy);
}

/* Whether something is there to be read within that time. */
static bool hears(int fd, int ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, ms) > 0;
}

/* All of `text` comes. */
static bool hears_text(int fd, const char *text)
{
    char got[512] = "";
    size_t len = 0, want = strlen(text);
    while (len < want && hears(fd, SOON_MS)) {
        ssize_t n = recv(fd, got + len, want - len, 0);
        if (n <= 0)
            return false;
        len += (size_t)n;
    }
    return len == want && memcmp(got, text, want) == 0;
}

static void introduce(void)
{
    CHECK(http_say(f.client, request_of_one));
    CHECK(hears_text(f.server, request_of_one));
}

static void cut(unsigned from, unsigned to, bool is_cut)
{
    proxy_set(f.proxy, from, to, &(struct proxy_link){.cut = is_cut});
}

static void the_sender_stands_in_the_head(void)
{
    char name[LIMIT_NAME_BYTES + 1];
    static const struct {
        const char *head, *name;
        bool whole;
    } rows[] = {
        {request_of_one, "n1", true},
        {"GET / HTTP/1.1\r\nuser-agent: raftkv-node/9 (a.b-c_d)\r\n\r\n", "a.b-c_d", true},
        {"GET / HTTP/1.1\r\nUser-Agent: raftkv/0.1.0\r\n\r\n", "", true},
        {"GET / HTTP/1.1\r\nUser-Agent: raftkv-node/9 (n1\r\n\r\n", "", true},
        {"GET / HTTP/1.1\r\nX: User-Agent: raftkv-node/9 (n1)\r\n\r\n", "", true},
        {"GET / HTTP/1.1\r\nUser-Agent: raftkv-node/9 (n1)\r\n", "n1", false},
        {"GET / HTTP/1.1\r\n\r\nUser-Agent: raftkv-node/9 (n1)\r\n", "", true},
        {"", "", false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        case_row("%s", rows[i].head);
        CHECK_EQ(proxy_sender(rows[i].head, name), rows[i].whole);
        CHECK(strcmp(name, rows[i].name) == 0);
    }
    case_row_done();
}

static void what_is_said_arrives_both_ways(void)
{
    struct proxy_figures figures;
    set_up();
    introduce();
    CHECK(http_say(f.server, "yes") && hears_text(f.client, "yes"));
    shutdown(f.client, SHUT_WR);
    CHECK(hears(f.server, SOON_MS) && http_closed(f.server));
    CHECK(http_say(f.server, "still") && hears_text(f.client, "still"));
    proxy_figures(f.proxy, &figures);
    CHECK_EQ(figures.connections, 1);
    CHECK_EQ(figures.strangers, 0);
    tear_down();
}

static void a_link_is_cut_one_way(void)
{
    set_up();
    introduce();
    cut(f.two, f.one, true); /* the answers of n2 */
    CHECK(http_say(f.client, "ask") && hears_text(f.server, "ask"));
    CHECK(http_say(f.server, "answer") && !hears(f.client, QUIET_MS));
    cut(f.two, f.one, false);
    /* It comes late, or the connection is gone. */
    CHECK(hears(f.client, SOON_MS));
    tear_down();
}

static void a_cut_link_takes_the_name_into_account(void)
{
    set_up();
    cut(f.one, f.two, true);
    CHECK(http_say(f.client, request_of_one) && !hears(f.server, QUIET_MS));
    int stranger = http_dial(f.port);
    int met = http_accept(f.listening);
    CHECK(http_say(stranger, "GET / HTTP/1.1\r\n\r\n") &&
          hears_text(met, "GET / HTTP/1.1\r\n\r\n"));
    close(stranger);
    close(met);
    proxy_heal(f.proxy);
    CHECK(hears(f.server, SOON_MS));
    tear_down();
}

static void an_end_is_not_seen_across_a_cut(void)
{
    struct linger at_once = {.l_onoff = 1};
    set_up();
    introduce();
    cut(f.one, f.two, true);
    cut(f.two, f.one, true);
    CHECK(!hears(f.server, QUIET_MS));
    setsockopt(f.client, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    close(f.client); /* a reset */
    CHECK(!hears(f.server, QUIET_MS));
    proxy_heal(f.proxy);
    CHECK(http_closed(f.server));
    f.client = -1;
    tear_down();
}

static void a_slow_link_delays_in_order(void)
{
    set_up();
    introduce();
    proxy_set(f.proxy, f.one, f.two,
              &(struct proxy_link){.delay_ms = 80, .jitter_ms = 60, .bytes_a_ms = 1000});
    uint64_t from = clock_now_us();
    CHECK(http_say(f.client, "first "));
    CHECK(http_say(f.client, "second"));
    CHECK(hears_text(f.server, "first second"));
    CHECK(clock_now_us() - from >= 80000);
    CHECK(http_say(f.server, "back") && hears_text(f.client, "back"));
    CHECK(proxy_get(f.proxy, f.one, f.two).delay_ms == 80);
    CHECK(proxy_get(f.proxy, f.two, f.one).delay_ms == 0);
    tear_down();
}

static void a_lost_piece_is_a_pause_or_a_reset(void)
{
    struct proxy_figures figures;
    set_up();
    introduce();
    proxy_set(f.proxy, f.one, f.two, &(struct proxy_link){.loss_per_mille = 1000});
    uint64_t from = clock_now_us();
    CHECK(http_say(f.client, "x") && hears(f.server, SOON_MS));
    proxy_figures(f.proxy, &figures);
    CHECK(clock_now_us() - from >= PROXY_RESEND_MS * 1000 || figures.resets == 1);
    tear_down();
}

static void a_closed_port_refuses(void)
{
    set_up();
    CHECK_EQ(proxy_open(f.proxy, f.two, false, NULL), 0);
    CHECK(http_dial(f.port) < 0);
    CHECK_EQ(proxy_open(f.proxy, f.two, true, NULL), 0);
    int again = http_dial(f.port);
    CHECK(again >= 0);
    close(again);
    introduce(); /* what was connected stays so */
    tear_down();
}

static void a_node_that_does_not_listen_closes(void)
{
    set_up();
    uint16_t port;
    unsigned place;
    REQUIRE(proxy_add(f.proxy, "n3", free_port(), &place, &port, NULL) == 0);
    int fd = http_dial(port);
    CHECK(fd >= 0 && http_closed(fd));
    close(fd);
    tear_down();
}

static const struct test_case cases[] = {
    {"the_sender_stands_in_the_head", the_sender_stands_in_the_head},
    {"what_is_said_arrives_both_ways", what_is_said_arrives_both_ways},
    {"a_link_is_cut_one_way", a_link_is_cut_one_way},
    {"a_cut_link_takes_the_name_into_account", a_cut_link_takes_the_name_into_account},
    {"an_end_is_not_seen_across_a_cut", an_end_is_not_seen_across_a_cut},
    {"a_slow_link_delays_in_order", a_slow_link_delays_in_order},
    {"a_lost_piece_is_a_pause_or_a_reset", a_lost_piece_is_a_pause_or_a_reset},
    {"a_closed_port_refuses", a_closed_port_refuses},
    {"a_node_that_does_not_listen_closes", a_node_that_does_not_listen_closes},
};

CASES_MAIN(cases)
