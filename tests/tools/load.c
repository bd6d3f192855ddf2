/*
 * Load on a cluster that says afterwards whether anything acknowledged is lost.
 *
 *     load write [-c CONNECTIONS] [-r RATE] [-t SECONDS] [-n KEYS] [-p PREFIX] [-v BYTES] [-s]
 *         LOG URL...
 *         writes keys that nobody else writes, each once, as fast as it can or RATE a second, until
 *         SIGTERM, SECONDS or KEYS; a line in LOG for each: "ok KEY VERSION", "unknown KEY 0",
 *         "fail KEY 0". A connection that gets no answer goes on at the next URL. With -s each
 *         connection is a client with a session and repeats a write until it has its answer.
 *         Prints the counts, and the longest time without an acknowledged write.
 *     load verify [-p PREFIX] LOG URL
 *         scans: all that was acknowledged is there, once, with the version acknowledged and its
 *         value; what failed is not. Prints each violation; exit status 9 if there is one.
 *     load register [-c READERS] [-t SECONDS] [-m MODE] LOG KEY URL...
 *         one writer counts KEY up, readers at every URL in turn: no read may return less than what
 *         was acknowledged, or read by anybody, before it began. Exit status 9 if one does. LOG
 * gets a line for each acknowledged write.
 *
 * A write's value is made of its key. A connection refused, or an error that says not_applied, is a
 * failure; everything else without an answer is unknown.
 */
#include <curl/curl.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/base/buf.h"
#include "lib/base/check.h"
#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/base/opt.h"
#include "lib/json/api.h"

enum {
    LOAD_CONNECTIONS_MAX = 256,
    LOAD_REPLY_MAX = 64 << 20,
    LOAD_BACKOFF_MS = 20,
    LOAD_TIMEOUT_MS = 2500, /* of a request; the node is told 2 s */
    LOAD_EXIT_VIOLATED = 9,
};

struct settings {
    unsigned connections;
    uint64_t seconds, keys, rate; /* 0: no bound */
    size_t value_bytes;
    const char *prefix, *mode, *key;
    bool sessions;
    char **urls;
    int url_count;
    FILE *log;
};

static struct settings set = {.connections = 8, .prefix = "load-", .value_bytes = 100};
static atomic_bool stop;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* the log, and all that follows */
static uint64_t acknowledged, unknown, failed, violations, last_ack_us, gap_us;
static atomic_uint_fast64_t written;        /* keys begun */
static atomic_uint_fast64_t floor_of_reads; /* register: no read that begins now may return less */
static atomic_uint_fast64_t reads_answered;

static void on_signal(int signal)
{
    (void)signal;
    atomic_store(&stop, true);
}

static void rest(unsigned ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

    nanosleep(&t, NULL);
}

/* ---- one request ---- */

struct connection {
    CURL *curl;
    unsigned number;
    int url; /* the one in use */
    struct buf reply;
    long status;
    unsigned sendings; /* of the request under way */
    uint64_t seq;
};

static size_t on_body(char *data, size_t size, size_t count, void *argument)
{
    struct connection *c = argument;

    return buf_append(&c->reply, data, size * count) == 0 ? count : 0;
}

/* libcurl sends a request again when a kept connection dies under it: not one that must not be
 * applied twice. */
static int on_send(void *argument, char *from, char *to, int from_port, int to_port)
{
    struct connection *c = argument;

    (void)from, (void)to, (void)from_port, (void)to_port;
    return c->sendings++ > 0 && !set.sessions ? CURL_PREREQFUNC_ABORT : CURL_PREREQFUNC_OK;
}

static void connection_init(struct connection *c, unsigned number)
{
    ASSERT(set.url_count > 0);
    memset(c, 0, sizeof *c);
    c->curl = curl_easy_init();
    c->number = number;
    c->url = (int)(number % (unsigned)set.url_count);
    buf_init(&c->reply, LOAD_REPLY_MAX);
}

static void connection_release(struct connection *c)
{
    curl_easy_cleanup(c->curl);
    buf_release(&c->reply);
}

enum answer { ANSWERED, NOT_SENT, NO_ANSWER };

/* `body` NULL: GET. */
static enum answer request(struct connection *c, const char *path, const char *body, size_t len,
                           struct curl_slist *headers)
{
    char url[1024];
    CURLcode code;

    snprintf(url, sizeof url, "%s%s", set.urls[c->url], path);
    buf_clear(&c->reply);
    c->status = 0;
    c->sendings = 0;
    curl_easy_reset(c->curl);
    headers = curl_slist_append(headers, "Expect:");
    curl_easy_setopt(c->curl, CURLOPT_URL, url);
    curl_easy_setopt(c->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c->curl, CURLOPT_PROXY, "");
    curl_easy_setopt(c->curl, CURLOPT_TIMEOUT_MS, (long)LOAD_TIMEOUT_MS);
    curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(c->curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c->curl, CURLOPT_WRITEDATA, c);
    if (body) {
        curl_easy_setopt(c->curl, CURLOPT_CUSTOMREQUEST, "PUT");
        curl_easy_setopt(c->curl, CURLOPT_POSTFIELDS, body);
        curl_easy_setopt(c->curl, CURLOPT_POSTFIELDSIZE, (long)len);
        curl_easy_setopt(c->curl, CURLOPT_PREREQFUNCTION, on_send);
        curl_easy_setopt(c->curl, CURLOPT_PREREQDATA, c);
    }
    code = curl_easy_perform(c->curl);
    curl_slist_free_all(headers);
    if (code == CURLE_COULDNT_CONNECT && c->sendings == 0) {
        return NOT_SENT;
    }
    if (code != CURLE_OK) {
        return NO_ANSWER;
    }
    curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &c->status);
    return ANSWERED;
}

static bool says_not_applied(const struct connection *c)
{
    struct api_error e;
    struct slice body = slice_of(c->reply.data, c->reply.len);

    return api_error_decode(body, &e, NULL) == 0 && e.outcome == OUTCOME_NOT_APPLIED;
}

static uint64_t version_of(const struct connection *c)
{
    struct api_item item = {0};
    uint64_t version = 0;

    if (api_item_decode(slice_of(c->reply.data, c->reply.len), &item, NULL) == 0) {
        version = item.version;
    }
    api_item_release(&item);
    return version;
}

static void value_for(const char *key, size_t bytes, char *out)
{
    size_t len = strlen(key);

    for (size_t i = 0; i < bytes; i++) {
        out[i] = key[i % len];
    }
}

/* ---- write ---- */

static void report(const char *what, const char *key, uint64_t version)
{
    uint64_t now_us;

    pthread_mutex_lock(&lock);
    now_us = clock_now_us();
    fprintf(set.log, "%s %s %" PRIu64 "\n", what, key, version);
    fflush(set.log);
    switch (*what) {
    case 'o':
        acknowledged++;
        if (now_us - last_ack_us > gap_us) {
            gap_us = now_us - last_ack_us;
        }
        last_ack_us = now_us;
        break;
    case 'u': unknown++; break;
    default: failed++; break;
    }
    pthread_mutex_unlock(&lock);
}

static struct curl_slist *session_headers(const struct connection *c)
{
    struct curl_slist *headers = NULL;
    char line[160];

    if (!set.sessions) {
        return NULL;
    }
    snprintf(line, sizeof line, "RaftKV-Client: %s%u", set.prefix, c->number);
    headers = curl_slist_append(headers, line);
    snprintf(line, sizeof line, "RaftKV-Seq: %" PRIu64, c->seq);
    return curl_slist_append(headers, line);
}

/* With a session it is repeated until there is an answer: what was unknown is known then. */
static void write_key(struct connection *c, const char *key, const char *value)
{
    char path[512];
    bool repeated = false;

    snprintf(path, sizeof path, "/kv/%s?timeout=2s", key);
    c->seq++;
    for (;;) {
        enum answer a = request(c, path, value, set.value_bytes, session_headers(c));
        uint64_t version = a == ANSWERED && c->status == 200 ? version_of(c) : 0;
        bool not_applied = a == NOT_SENT || (a == ANSWERED && says_not_applied(c));

        if (version != 0) {
            report("ok", key, version);
            return;
        }
        if (!set.sessions || atomic_load(&stop)) {
            report(not_applied && !repeated ? "fail" : "unknown", key, 0);
        }
        c->url = (c->url + 1) % set.url_count;
        rest(LOAD_BACKOFF_MS);
        if (!set.sessions || atomic_load(&stop)) {
            return;
        }
        repeated = true;
    }
}

/* Its turns lie evenly; what came too late is not made up for. */
static void await_turn(uint64_t *due_us)
{
    uint64_t now_us = clock_now_us();

    if (set.rate == 0) {
        return;
    }
    if (*due_us > now_us) {
        rest((unsigned)((*due_us - now_us + 999) / 1000));
    } else {
        *due_us = now_us;
    }
    *due_us += UINT64_C(1000000) * set.connections / set.rate;
}

static void *writer(void *argument)
{
    struct connection *c = argument;
    char *value = mem_alloc(set.value_bytes + 1);
    uint64_t due_us = 0;
    char key[256];

    for (uint64_t i = 1; !atomic_load(&stop); i++) {
        await_turn(&due_us);
        if (set.keys && atomic_fetch_add(&written, 1) >= set.keys) {
            break;
        }
        snprintf(key, sizeof key, "%s%03u-%08" PRIu64, set.prefix, c->number, i);
        value_for(key, set.value_bytes, value);
        write_key(c, key, value);
    }
    mem_free(value);
    return NULL;
}

/* Threads of `run` for as long as was asked. */
static void run_threads(unsigned count, void *(*run)(void *))
{
    static struct connection connections[LOAD_CONNECTIONS_MAX];
    pthread_t threads[LOAD_CONNECTIONS_MAX];
    uint64_t end_us = clock_now_us() + set.seconds * 1000000;

    last_ack_us = clock_now_us();
    for (unsigned i = 0; i < count; i++) {
        connection_init(&connections[i], i);
        pthread_create(&threads[i], NULL, run, &connections[i]);
    }
    while (!atomic_load(&stop) && (set.seconds || set.keys) &&
           (!set.seconds || clock_now_us() < end_us) &&
           (!set.keys || atomic_load(&written) < set.keys)) {
        rest(10);
    }
    while (!atomic_load(&stop) && !set.seconds && !set.keys) {
        rest(10);
    }
    if (!set.keys || set.seconds) {
        atomic_store(&stop, true);
    }
    for (unsigned i = 0; i < count; i++) {
        pthread_join(threads[i], NULL);
        connection_release(&connections[i]);
    }
}

static int run_write(void)
{
    run_threads(set.connections, writer);
    printf("acknowledged=%" PRIu64 " unknown=%" PRIu64 " failed=%" PRIu64 " gap_ms=%" PRIu64 "\n",
           acknowledged, unknown, failed, gap_us / 1000);
    return 0;
}

/* ---- verify ---- */

struct found {
    char *key;
    uint64_t version;
    bool value_right;
};

struct found_list {
    struct found *items;
    size_t count, room;
};

static int by_key(const void *a, const void *b)
{
    return strcmp(((const struct found *)a)->key, ((const struct found *)b)->key);
}

static void found_add(struct found_list *list, const struct api_item *item)
{
    struct found *f;
    size_t len = item->key.len;

    if (list->count == list->room) {
        list->room = list->room ? 2 * list->room : 1024;
        list->items = mem_realloc(list->items, list->room * sizeof *list->items);
    }
    f = &list->items[list->count++];
    f->key = mem_zalloc(len + 1);
    memcpy(f->key, item->key.data, len);
    f->version = item->version;
    f->value_right = item->value.len > 0;
    for (size_t i = 0; i < item->value.len; i++) {
        f->value_right &= item->value.data[i] == item->key.data[i % len];
    }
}

/* 0, or -1 when the cluster cannot be read. */
static int scan_all(struct connection *c, struct found_list *list)
{
    char *next = NULL;

    do {
        struct api_page page = {0};
        struct err err = {0};
        struct buf path;

        buf_init(&path, 1 << 16);
        buf_printf(&path, "/kv?prefix=%s&limit=10000&timeout=2s%s%s", set.prefix,
                   next ? "&cursor=" : "", next ? next : "");
        if (request(c, (const char *)path.data, NULL, 0, NULL) != ANSWERED || c->status != 200 ||
            api_page_decode(slice_of(c->reply.data, c->reply.len), &page, &err) != 0) {
            fprintf(stderr, "load: no page: status %ld, %.*s\n", c->status,
                    c->reply.len < 200 ? (int)c->reply.len : 200, (const char *)c->reply.data);
            buf_release(&path);
            return -1;
        }
        for (size_t i = 0; i < page.count; i++) {
            found_add(list, &page.items[i]);
        }
        mem_free(next);
        next = page.next ? mem_strdup(page.next) : NULL;
        api_page_release(&page);
        buf_release(&path);
    } while (next);
    return 0;
}

static void violated(const char *what, const char *key)
{
    if (violations++ < 20) {
        printf("%s: %s\n", what, key);
    }
}

/* "WHAT KEY VERSION" */
static bool log_line(char **line, size_t *room, const char **what, char **key, uint64_t *version)
{
    char *rest = NULL, *number;

    if (getline(line, room, set.log) < 0) {
        return false;
    }
    *what = strtok_r(*line, " \n", &rest);
    *key = strtok_r(NULL, " \n", &rest);
    number = strtok_r(NULL, " \n", &rest);
    return *what && *key && number && opt_parse_uint(number, version) == 0;
}

static void compare(const struct found_list *list)
{
    const char *what;
    char *line = NULL, *key;
    uint64_t version;
    size_t seen = 0, room = 0;

    while (log_line(&line, &room, &what, &key, &version)) {
        struct found wanted = {.key = key};
        struct found *f = list->count == 0 ? NULL
                                           : bsearch(&wanted, list->items, list->count,
                                                     sizeof *list->items, by_key);

        seen += f != NULL;
        acknowledged += *what == 'o';
        if (*what == 'o' && !f) {
            violated("acknowledged and lost", key);
        } else if (*what == 'o' && f->version != version) {
            violated("applied again", key);
        } else if (*what == 'f' && f) {
            violated("said not_applied, and is there", key);
        }
        if (f && !f->value_right) {
            violated("wrong value", key);
        }
    }
    mem_free(line);
    if (seen != list->count) {
        violated("keys that nobody wrote", set.prefix);
    }
}

static int run_verify(void)
{
    struct connection c;
    struct found_list list = {0};
    int code;

    connection_init(&c, 0);
    code = scan_all(&c, &list);
    connection_release(&c);
    if (code != 0) {
        return 4;
    }
    if (list.count > 0) {
        qsort(list.items, list.count, sizeof *list.items, by_key);
    }
    compare(&list);
    printf("acknowledged=%" PRIu64 " present=%zu violations=%" PRIu64 "\n", acknowledged,
           list.count, violations);
    for (size_t i = 0; i < list.count; i++) {
        mem_free(list.items[i].key);
    }
    mem_free(list.items);
    return violations ? LOAD_EXIT_VIOLATED : 0;
}

/* ---- register ---- */

static void raise_floor(uint64_t value)
{
    uint64_t old = atomic_load(&floor_of_reads);

    while (old < value && !atomic_compare_exchange_weak(&floor_of_reads, &old, value)) {
    }
}

/* The number that the key holds, by a linearizable read; its version too. */
static bool read_number(struct connection *c, const char *mode, uint64_t *number, uint64_t *version)
{
    struct api_item item = {0};
    char path[512], digits[32] = "";
    bool ok = false;

    snprintf(path, sizeof path, "/kv/%s?timeout=2s&consistency=%s", set.key, mode);
    if (request(c, path, NULL, 0, NULL) != ANSWERED) {
        return false;
    }
    if (c->status == 404) {
        *number = *version = 0;
        return true;
    }
    if (c->status == 200 &&
        api_item_decode(slice_of(c->reply.data, c->reply.len), &item, NULL) == 0 &&
        item.value.len < sizeof digits) {
        memcpy(digits, item.value.data, item.value.len);
        *number = strtoull(digits, NULL, 10);
        *version = item.version;
        ok = true;
    }
    api_item_release(&item);
    return ok;
}

/* One conditional put; after anything but success the version is read anew, so that a late write
 * can no longer be applied once a later one was. */
static void count_up(struct connection *c)
{
    uint64_t number = 0, version = 0;
    bool known = false;

    while (!atomic_load(&stop)) {
        char path[512], value[32], line[64];

        if (!known && !(known = read_number(c, "linearizable", &number, &version))) {
            c->url = (c->url + 1) % set.url_count;
            rest(LOAD_BACKOFF_MS);
            continue;
        }
        snprintf(path, sizeof path, "/kv/%s?timeout=2s", set.key);
        snprintf(value, sizeof value, "%" PRIu64, number + 1);
        if (version) {
            snprintf(line, sizeof line, "If-Match: \"%" PRIu64 "\"", version);
        } else {
            snprintf(line, sizeof line, "If-None-Match: *");
        }
        known = request(c, path, value, strlen(value), curl_slist_append(NULL, line)) == ANSWERED &&
                c->status == 200 && (version = version_of(c)) != 0;
        if (known) {
            number++;
            raise_floor(number);
            report("ok", value, version);
        }
    }
}

static void *count_or_read(void *argument)
{
    struct connection *c = argument;

    if (c->number == 0) {
        count_up(c);
        return NULL;
    }
    while (!atomic_load(&stop)) {
        uint64_t before = atomic_load(&floor_of_reads), number, version;

        if (read_number(c, set.mode, &number, &version)) {
            atomic_fetch_add(&reads_answered, 1);
            if (number < before) {
                pthread_mutex_lock(&lock);
                violations++;
                printf("stale: %s said %" PRIu64 ", known before: %" PRIu64 "\n", set.urls[c->url],
                       number, before);
                pthread_mutex_unlock(&lock);
            }
            raise_floor(number);
        } else {
            rest(LOAD_BACKOFF_MS);
        }
        c->url = (c->url + 1) % set.url_count;
    }
    return NULL;
}

static int run_register(void)
{
    run_threads(set.connections + 1, count_or_read);
    printf("acknowledged=%" PRIu64 " reads=%" PRIuFAST64 " gap_ms=%" PRIu64 " violations=%" PRIu64
           "\n",
           acknowledged, atomic_load(&reads_answered), gap_us / 1000, violations);
    return violations ? LOAD_EXIT_VIOLATED : 0;
}

/* ---- arguments ---- */

static int usage(void)
{
    fprintf(stderr, "usage: load write|verify|register [options] LOG [KEY] URL...\n");
    return 2;
}

static bool parse(int argc, char **argv)
{
    int c;

    set.mode = "linearizable";
    while ((c = getopt(argc, argv, "c:r:t:n:p:v:m:s")) != -1) {
        switch (c) {
        case 'c': set.connections = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'r': set.rate = strtoull(optarg, NULL, 10); break;
        case 't': set.seconds = strtoull(optarg, NULL, 10); break;
        case 'n': set.keys = strtoull(optarg, NULL, 10); break;
        case 'p': set.prefix = optarg; break;
        case 'v': set.value_bytes = strtoul(optarg, NULL, 10); break;
        case 'm': set.mode = optarg; break;
        case 's': set.sessions = true; break;
        default: return false;
        }
    }
    return set.connections > 0 && set.connections < LOAD_CONNECTIONS_MAX && set.value_bytes > 0;
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_handler = on_signal};
    const char *command = argc > 1 ? argv[1] : "";
    bool is_register = strcmp(command, "register") == 0, verify = strcmp(command, "verify") == 0;
    int status;

    if (argc < 2 || !parse(argc - 1, argv + 1) || argc - 1 - optind < (is_register ? 3 : 2)) {
        return usage();
    }
    argv += 1 + optind;
    set.log = fopen(*argv, verify ? "r" : "a");
    if (!set.log) {
        perror(*argv);
        return 70;
    }
    argv++;
    set.key = is_register ? *argv++ : NULL;
    set.urls = argv;
    while (*argv) {
        argv++;
        set.url_count++;
    }
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    status = verify ? run_verify() : is_register ? run_register() : run_write();
    curl_global_cleanup();
    fclose(set.log);
    return status;
}
