/*
 * The log: formatting on the caller's thread, writing on the log's own.
 *
 * Two buffers of fixed size: callers append to one under the mutex, the writer takes it whole and
 * writes it while the other fills. Nothing is written without poll() saying that it will not block.
 */
#include "lib/base/log.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/check.h"
#include "lib/base/clock.h"
#include "lib/base/err.h"
#include "lib/base/hash.h"
#include "lib/base/limits.h"

enum {
    POLL_MS = 50,
    STOP_MS = 1000,
    DIRECT_MS = 100, /* how long a line may wait that has no thread to wait for it */
    NODE_BYTES = 80,
};

/* poll() promises room for PIPE_BUF bytes of a pipe, no more. */
_Static_assert(LIMIT_LOG_LINE_BYTES <= PIPE_BUF, "a line goes out in one write");

struct lines {
    char bytes[LIMIT_LOG_QUEUE_BYTES];
    size_t len;
    uint64_t count;
};

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t some;
    pthread_t thread;
    bool running; /* the thread takes lines */
    bool stopping;
    bool stuck; /* a thread did not come back: no further one is started */
    uint64_t stop_at_us;
    int fd;
    char node[NODE_BYTES];
    struct lines buffers[2];
    struct lines *filling; /* the other is the thread's while it runs */
    uint64_t unreported;   /* lines dropped since the last log_dropped line */
} queue = {
    .mutex = PTHREAD_MUTEX_INITIALIZER,
    .some = PTHREAD_COND_INITIALIZER,
    .fd = STDERR_FILENO,
    .filling = &queue.buffers[0],
};

static _Atomic int level_now = LOG_INFO;
static _Atomic int format_now = LOG_TEXT;
static _Atomic uint64_t dropped_lines;

static const char *const level_names[] = {"debug", "info", "warn", "error"};

/* ---- formatting ---- */

/* A line under construction; what does not fit is cut, and `cut` remembers it. */
struct line {
    char text[LIMIT_LOG_LINE_BYTES];
    size_t len;
    size_t max; /* room that the end of the line needs is taken off */
    bool cut;
};

static void put(struct line *line, const char *bytes, size_t len)
{
    if (line->cut || len > line->max - line->len) {
        line->cut = true;
        return;
    }
    memcpy(line->text + line->len, bytes, len);
    line->len += len;
}

static void put_str(struct line *line, const char *s)
{
    put(line, s, strlen(s));
}

/* One character (or byte) of `s` as it stands inside double quotes, in text and JSON alike; returns
 * how many bytes of `s` it took. A byte that is no UTF-8 shows as \\xNN. */
static size_t quoted_character(const char *s, char out[8])
{
    unsigned char c = (unsigned char)*s;
    size_t size = 1;
    if (c == '"' || c == '\\') {
        snprintf(out, 8, "\\%c", c);
    } else if (c == '\n') {
        snprintf(out, 8, "\\n");
    } else if (c == '\t') {
        snprintf(out, 8, "\\t");
    } else if (c < ' ' || c == 0x7f) {
        snprintf(out, 8, "\\u%04x", c);
    } else if (c < 0x80) {
        snprintf(out, 8, "%c", c);
    } else {
        size = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
        if (strnlen(s, size) == size && utf8_valid(s, size)) {
            snprintf(out, 8, "%.*s", (int)size, s);
        } else {
            size = 1;
            snprintf(out, 8, "\\\\x%02x", c);
        }
    }
    return size;
}

const char *log_quote(const char *text, char *out, uint32_t out_bytes)
{
    static const char end[] = "…\"";
    ASSERT(out_bytes > sizeof(end));
    size_t at = 0;
    out[at++] = '"';
    while (*text) {
        char piece[8];
        size_t taken = quoted_character(text, piece);
        size_t len = strlen(piece);
        /* Behind the piece there must be room for the end, cut or not. */
        if (at + len + sizeof(end) > out_bytes) {
            memcpy(out + at, end, sizeof(end));
            return out;
        }
        memcpy(out + at, piece, len);
        at += len;
        text += taken;
    }
    memcpy(out + at, "\"", 2);
    return out;
}

static void put_quoted(struct line *line, const char *s, size_t len)
{
    char piece[8];
    for (size_t i = 0; i < len;) {
        i += quoted_character(s + i, piece);
        put_str(line, piece);
    }
}

/* A number that JSON readers take exactly, or true or false: the rest are strings. */
static bool plain_in_json(const char *s, size_t len)
{
    if ((len == 4 && memcmp(s, "true", 4) == 0) || (len == 5 && memcmp(s, "false", 5) == 0))
        return true;
    size_t digits = len > 0 && s[0] == '-' ? len - 1 : len;
    const char *first = s + (len - digits);
    if (digits == 0 || digits > 15 || (digits > 1 && first[0] == '0'))
        return false;
    for (size_t i = 0; i < digits; i++)
        if (first[i] < '0' || first[i] > '9')
            return false;
    return true;
}

/* The end of a value that begins at s: the closing quote, or a blank, or the end. */
static size_t value_length(const char *s)
{
    if (*s != '"')
        return strcspn(s, " ");
    size_t len = 1;
    while (s[len] && s[len] != '"')
        len += s[len] == '\\' && s[len + 1] ? 2 : 1;
    return s[len] ? len + 1 : len;
}

/* Whether what stands between the quotes is a JSON string as it is: log_quote makes such, but a
 * caller may have put the quotes there itself. */
static bool quoted_in_json(const char *s, size_t len)
{
    if (len < 2 || s[0] != '"' || s[len - 1] != '"' || !utf8_valid(s, len))
        return false;
    for (size_t i = 1; i < len - 1; i++) {
        if ((unsigned char)s[i] < ' ')
            return false;
        if (s[i] != '\\')
            continue;
        i++;
        if (s[i] == 'u') {
            if (i + 4 >= len - 1 || strspn(s + i + 1, "0123456789abcdefABCDEF") < 4)
                return false;
        } else if (i >= len - 1 || !strchr("\"\\/bfnrt", s[i])) {
            return false;
        }
    }
    return true;
}

/* `key=value key2="a b"` as JSON members; a member goes in whole or not at all. */
static void put_members(struct line *line, const char *fields)
{
    while (*(fields += strspn(fields, " "))) {
        size_t before = line->len;
        size_t name = strcspn(fields, "= ");
        const char *value = fields + name + (fields[name] == '=');
        size_t len = value_length(value);
        put_str(line, ",\"");
        put_quoted(line, fields, name);
        put_str(line, "\":");
        if (quoted_in_json(value, len) || plain_in_json(value, len)) {
            put(line, value, len);
        } else {
            put_str(line, "\"");
            put_quoted(line, value, len);
            put_str(line, "\"");
        }
        if (line->cut) {
            line->len = before;
            return;
        }
        fields = value + len;
    }
}

static void put_time(struct line *line)
{
    uint64_t now_ms = clock_wall_ms();
    time_t seconds = (time_t)(now_ms / 1000);
    struct tm utc;
    char text[48];
    gmtime_r(&seconds, &utc);
    size_t len = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(text + len, sizeof(text) - len, ".%03uZ", (unsigned)(now_ms % 1000));
    put_str(line, text);
}

/* A line is a line, and text in it is text, whatever a field held. */
static void put_printable(struct line *line, const char *s)
{
    for (size_t size; *s; s += size) {
        unsigned char c = (unsigned char)*s;
        size = c < 0xc0 ? 1 : c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
        if (strnlen(s, size) != size || !utf8_valid(s, size) || c < ' ' || c == 0x7f) {
            size = 1;
            put(line, c < 0x80 ? " " : "?", 1);
        } else {
            put(line, s, size);
        }
    }
}

static void make_line(struct line *line, enum log_level level, const char *event,
                      const char *fields)
{
    static const char cut_text[] = " …\n", cut_json[] = ",\"cut\":true}\n";
    bool json = atomic_load_explicit(&format_now, memory_order_relaxed) == LOG_JSON;
    line->len = 0;
    line->cut = false;
    line->max = sizeof(line->text) - sizeof(cut_json);
    put_str(line, json ? "{\"time\":\"" : "");
    put_time(line);
    if (json) {
        put_str(line, "\",\"level\":\"");
        put_str(line, level_names[level]);
        put_str(line, "\",\"event\":\"");
        put_quoted(line, event, strlen(event));
        put_str(line, "\"");
        if (queue.node[0]) {
            put_str(line, ",\"node\":\"");
            put_quoted(line, queue.node, strlen(queue.node));
            put_str(line, "\"");
        }
        put_members(line, fields);
    } else {
        put_str(line, " ");
        put_str(line, level_names[level]);
        put_str(line, " ");
        put_printable(line, event);
        if (queue.node[0]) {
            put_str(line, " node=");
            put_printable(line, queue.node);
        }
        put_str(line, fields[0] ? " " : "");
        put_printable(line, fields);
    }
    const char *end = json ? (line->cut ? cut_json : "}\n") : (line->cut ? cut_text : "\n");
    line->max = sizeof(line->text);
    line->cut = false;
    put_str(line, end);
}

/* ---- writing ---- */

/* Whole lines from the front that go out in one write. */
static size_t piece_length(const char *bytes, size_t len)
{
    if (len <= PIPE_BUF)
        return len;
    const char *end = memrchr(bytes, '\n', PIPE_BUF);
    ASSERT(end);
    return (size_t)(end - bytes) + 1;
}

static uint64_t count_lines(const char *bytes, size_t len)
{
    uint64_t lines = 0;
    const char *end = bytes + len;
    while (bytes < end && (bytes = memchr(bytes, '\n', (size_t)(end - bytes)))) {
        lines++;
        bytes++;
    }
    return lines;
}

/* Waits until the descriptor takes a line; false when `timeout_ms` has passed. */
static bool writable(int fd, int timeout_ms)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    return poll(&p, 1, timeout_ms) == 1;
}

/* One write; what is left of a line then goes out with further ones, or is given up. */
static bool write_piece(int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, bytes, len);
        if (n < 0 && errno != EINTR && errno != EAGAIN)
            return false;
        if (n < 0 && errno == EAGAIN && !writable(fd, POLL_MS))
            return false;
        if (n > 0) {
            bytes += n;
            len -= (size_t)n;
        }
    }
    return true;
}

static bool given_up(void)
{
    pthread_mutex_lock(&queue.mutex);
    bool late = queue.stopping && clock_now_us() >= queue.stop_at_us;
    pthread_mutex_unlock(&queue.mutex);
    return late;
}

static void write_lines(struct lines *lines)
{
    size_t at = 0;
    while (at < lines->len) {
        if (!writable(queue.fd, POLL_MS)) {
            if (!given_up())
                continue;
            atomic_fetch_add(&dropped_lines, count_lines(lines->bytes + at, lines->len - at));
            break;
        }
        size_t piece = piece_length(lines->bytes + at, lines->len - at);
        if (!write_piece(queue.fd, lines->bytes + at, piece))
            atomic_fetch_add(&dropped_lines, count_lines(lines->bytes + at, piece));
        at += piece;
    }
    lines->len = 0;
}

static bool enqueue_locked(const struct line *line)
{
    struct lines *lines = queue.filling;
    if (line->len > sizeof(lines->bytes) - lines->len)
        return false;
    memcpy(lines->bytes + lines->len, line->text, line->len);
    lines->len += line->len;
    return true;
}

/* The gap is logged where it is: before the first line that fits again. */
static void report_dropped_locked(void)
{
    if (queue.unreported == 0)
        return;
    struct line line;
    char fields[48];
    snprintf(fields, sizeof(fields), "lines=%llu", (unsigned long long)queue.unreported);
    make_line(&line, LOG_WARN, "log_dropped", fields);
    if (enqueue_locked(&line))
        queue.unreported = 0;
}

static void *writer(void *unused)
{
    (void)unused;
    pthread_mutex_lock(&queue.mutex);
    for (;;) {
        while (queue.filling->len == 0 && queue.unreported == 0 && !queue.stopping)
            pthread_cond_wait(&queue.some, &queue.mutex);
        report_dropped_locked();
        struct lines *full = queue.filling;
        if (full->len == 0)
            break;
        queue.filling = full == &queue.buffers[0] ? &queue.buffers[1] : &queue.buffers[0];
        pthread_mutex_unlock(&queue.mutex);
        write_lines(full);
        pthread_mutex_lock(&queue.mutex);
    }
    pthread_mutex_unlock(&queue.mutex);
    return NULL;
}

/* ---- interface ---- */

void log_start(const struct log_options *options)
{
    ASSERT(!queue.running);
    atomic_store(&level_now, (int)options->level);
    atomic_store(&format_now, (int)options->format);
    queue.fd = options->fd;
    snprintf(queue.node, sizeof(queue.node), "%s", options->node ? options->node : "");
    if (queue.stuck)
        return;
    queue.stopping = false;
    /* Signals are for the program's own threads; a broken pipe is an error of write() here. */
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = pthread_create(&queue.thread, NULL, writer, NULL);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    ASSERT(rc == 0);
    pthread_mutex_lock(&queue.mutex);
    queue.running = true;
    pthread_mutex_unlock(&queue.mutex);
}

void log_stop(void)
{
    pthread_mutex_lock(&queue.mutex);
    bool running = queue.running;
    queue.running = false;
    queue.stopping = true;
    queue.stop_at_us = clock_now_us() + STOP_MS * 1000;
    pthread_cond_signal(&queue.some);
    pthread_mutex_unlock(&queue.mutex);
    if (!running)
        return;
    /* poll() may have promised too much, as a terminal does: then the thread is left where it is.
     * It touches static memory only. */
    struct timespec limit;
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += STOP_MS / 1000 + 1;
    if (pthread_timedjoin_np(queue.thread, NULL, &limit) != 0) {
        queue.stuck = true;
        pthread_detach(queue.thread);
    }
}

bool log_enabled(enum log_level level)
{
    return (int)level >= atomic_load_explicit(&level_now, memory_order_relaxed);
}

uint64_t log_dropped(void)
{
    return atomic_load(&dropped_lines);
}

void log_write(enum log_level level, const char *event, const char *fields, ...)
{
    if (!log_enabled(level))
        return;
    char text[LIMIT_LOG_LINE_BYTES];
    va_list ap;
    va_start(ap, fields);
    vsnprintf(text, sizeof(text), fields, ap);
    va_end(ap);
    struct line line;
    make_line(&line, level, event, text);

    pthread_mutex_lock(&queue.mutex);
    if (queue.running) {
        report_dropped_locked();
        if (queue.unreported > 0 || !enqueue_locked(&line)) {
            queue.unreported++;
            atomic_fetch_add(&dropped_lines, 1);
        }
        pthread_cond_signal(&queue.some);
        pthread_mutex_unlock(&queue.mutex);
        return;
    }
    pthread_mutex_unlock(&queue.mutex);
    if (!writable(queue.fd, DIRECT_MS) || !write_piece(queue.fd, line.text, line.len))
        atomic_fetch_add(&dropped_lines, 1);
}

int log_level_parse(const char *word, enum log_level *level)
{
    for (int i = LOG_DEBUG; i <= LOG_ERROR; i++) {
        if (strcmp(word, level_names[i]) == 0) {
            *level = (enum log_level)i;
            return 0;
        }
    }
    return ERR_BAD_REQUEST;
}

int log_format_parse(const char *word, enum log_format *format)
{
    if (strcmp(word, "text") == 0)
        *format = LOG_TEXT;
    else if (strcmp(word, "json") == 0)
        *format = LOG_JSON;
    else
        return ERR_BAD_REQUEST;
    return 0;
}
