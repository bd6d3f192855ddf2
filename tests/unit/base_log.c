/* The log: what a line looks like, and that nobody waits for a reader who does not read. */
#include "lib/base/log.h"

#include <fcntl.h>
#include <pthread.h>
#include <regex.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/err.h"
#include "lib/base/limits.h"
#include "tests/unit/tap.h"

static char output[8 << 20];
static int fds[2];

static void begin(enum log_level level, enum log_format format, const char *node)
{
    must(pipe(fds) == 0);
    struct log_options options = {.level = level, .format = format, .fd = fds[1], .node = node};
    log_start(&options);
}

/* Stops the log and reads what it wrote. */
static const char *end(void)
{
    log_stop();
    close(fds[1]);
    size_t len = 0;
    ssize_t n;
    while (len < sizeof(output) - 1 &&
           (n = read(fds[0], output + len, sizeof(output) - 1 - len)) > 0)
        len += (size_t)n;
    output[len] = '\0';
    close(fds[0]);
    return output;
}

static bool matches(const char *text, const char *pattern)
{
    regex_t regex;
    must(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB) == 0);
    bool found = regexec(&regex, text, 0, NULL, 0) == 0;
    regfree(&regex);
    if (!found)
        diag("%s", text);
    return found;
}

#define TIME "20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z"

static void test_text(void)
{
    char quoted[64];
    begin(LOG_INFO, LOG_TEXT, "n1");
    log_info("elected", "term=%d name=%s", 3, log_quote("a b", quoted, sizeof(quoted)));
    ok(matches(end(), "^" TIME " info elected node=n1 term=3 name=\"a b\"\n$"), "a line of text");

    begin(LOG_INFO, LOG_TEXT, NULL);
    log_error("stopped", "");
    ok(matches(end(), "^" TIME " error stopped\n$"), "no node, no fields");

    begin(LOG_WARN, LOG_TEXT, NULL);
    ok(!log_enabled(LOG_INFO) && log_enabled(LOG_WARN), "level");
    log_info("quiet", "");
    log_write(LOG_DEBUG, "quiet", "%s", "");
    log_warn("loud", "");
    ok(matches(end(), "^" TIME " warn loud\n$"), "below the level nothing is written");

    begin(LOG_DEBUG, LOG_TEXT, NULL);
    log_debug("bytes", "raw=%s", "a\nb\x01\xff\xe2\x82\xac");
    ok(matches(end(), "debug bytes raw=a b \\?\xe2\x82\xac\n$"), "a line stays a line");
}

static void test_json(void)
{
    char quoted[64];
    begin(LOG_INFO, LOG_JSON, "n\"1");
    log_info("elected", "term=%d id=%s flag=true path=%s name=%s neg=-5 zero=007", 3,
             "0123456789abcdef", "/tmp/x\\y", log_quote("a \"b\"\n\xff", quoted, sizeof(quoted)));
    ok(matches(end(), "^\\{\"time\":\"" TIME "\",\"level\":\"info\",\"event\":\"elected\","
                      "\"node\":\"n\\\\\"1\",\"term\":3,\"id\":\"0123456789abcdef\",\"flag\":true,"
                      "\"path\":\"/tmp/x\\\\\\\\y\",\"name\":\"a \\\\\"b\\\\\"\\\\n\\\\\\\\xff\","
                      "\"neg\":-5,\"zero\":\"007\"\\}\n$"),
       "a line of JSON");

    begin(LOG_INFO, LOG_JSON, NULL);
    log_info("odd", "alone =x bad=\"a\\q\" open=\"never closed empty=");
    ok(matches(end(), "\"alone\":\"\",\"\":\"x\",\"bad\":\"\\\\\"a\\\\\\\\q\\\\\"\","
                      "\"open\":\"\\\\\"never closed empty=\"\\}\n$"),
       "fields that are none still make JSON");
}

static void test_long(void)
{
    static char value[LIMIT_LOG_LINE_BYTES * 2];
    memset(value, 'v', sizeof(value) - 1);
    for (enum log_format format = LOG_TEXT; format <= LOG_JSON; format++) {
        begin(LOG_INFO, format, "n1");
        log_info("long", "short=1 value=%s", value);
        log_info("after", "");
        const char *text = end();
        size_t len = strcspn(text, "\n");
        ok(len < LIMIT_LOG_LINE_BYTES, "a line has its limit");
        ok(strstr(text, format == LOG_TEXT ? "short=1 value=vvv" : "\"short\":1,\"cut\":true}\n"),
           "what fits is there");
        ok(format == LOG_JSON || memcmp(text + len - 4, " …", 4) == 0, "the cut is shown");
        ok(strstr(text + len, "after"), "the next line is whole");
    }
}

static void test_quote(void)
{
    char out[16];
    is_str(log_quote("abc", out, sizeof(out)), "\"abc\"", "quoted");
    is_str(log_quote("", out, sizeof(out)), "\"\"", "nothing quoted");
    is_str(log_quote("a\"\\\n\t\x01", out, sizeof(out)), "\"a\\\"\\\\\\n\\t…\"", "escapes, cut");
    is_str(log_quote("1234567890", out, sizeof(out)), "\"1234567890\"", "just below the cut");
    is_str(log_quote("1234567890123456", out, sizeof(out)), "\"1234567890…\"", "cut");
    is_str(log_quote("\xe2\x82\xac\xe2\x82", out, sizeof(out)), "\"\xe2\x82\xac\\\\xe2…\"",
           "bytes that are no UTF-8");

    enum log_level level = LOG_INFO;
    enum log_format format = LOG_TEXT;
    ok(log_level_parse("error", &level) == 0 && level == LOG_ERROR, "level by name");
    is_i64(log_level_parse("Error", &level), ERR_BAD_REQUEST, "no such level");
    ok(log_format_parse("json", &format) == 0 && format == LOG_JSON, "format by name");
    is_i64(log_format_parse("xml", &format), ERR_BAD_REQUEST, "no such format");
}

/* What the buffers hold at most: of two, one is being written. */
enum { MORE_THAN_FITS = 4 * LIMIT_LOG_QUEUE_BYTES / 100 };

/* What the log_dropped lines say together; the last line may not be whole yet. */
static uint64_t sum_of_gaps(const char *text)
{
    static const char mark[] = " warn log_dropped lines=";
    uint64_t sum = 0;
    for (const char *at = text; (at = strstr(at, mark)); at++)
        if (strchr(at, '\n'))
            sum += strtoull(at + sizeof(mark) - 1, NULL, 10);
    return sum;
}

static void test_stopped_pipe(void)
{
    uint64_t before = log_dropped(), began = clock_now_us(), slowest = 0;
    begin(LOG_INFO, LOG_TEXT, NULL);
    for (int i = 0; i < MORE_THAN_FITS; i++) {
        uint64_t start = clock_now_us();
        log_info("flood", "number=%d filler=%0100d", i, 0);
        uint64_t took = clock_now_us() - start;
        slowest = took > slowest ? took : slowest;
    }
    ok(slowest < 5000000, "no call waited for the pipe (slowest %llu us)",
       (unsigned long long)slowest);
    uint64_t dropped = log_dropped() - before;
    ok(dropped > 0 && dropped < MORE_THAN_FITS, "lines were dropped and counted: %llu",
       (unsigned long long)dropped);

    /* Somebody reads again: the rest comes, and the gap is told. */
    uint64_t told = 0;
    size_t len = 0;
    while (told < dropped && len < sizeof(output) - 1) {
        ssize_t n = read(fds[0], output + len, sizeof(output) - 1 - len);
        must(n > 0);
        len += (size_t)n;
        output[len] = '\0';
        told = sum_of_gaps(output);
    }
    is_u64(told, dropped, "the gaps are logged with their sizes");
    unsigned lines = 0;
    for (const char *at = output; (at = strstr(at, " info flood ")); at++)
        lines++;
    is_u64(lines + dropped, MORE_THAN_FITS, "what was not dropped was written");
    ok(clock_now_us() - began < 60000000, "all of it in time");
    log_info("later", "");
    has_str(end(), " info later\n", "and it goes on");
}

static void test_stop_with_stopped_pipe(void)
{
    begin(LOG_INFO, LOG_TEXT, NULL);
    for (int i = 0; i < 2000; i++)
        log_info("flood", "number=%d filler=%0100d", i, 0);
    uint64_t began = clock_now_us(), before = log_dropped();
    log_stop();
    uint64_t took = clock_now_us() - began;
    ok(took < 3000000, "stopping gives up after a second (%llu us)", (unsigned long long)took);
    ok(log_dropped() > before, "… and counts what it left");
    began = clock_now_us();
    log_error("direct", "");
    ok(clock_now_us() - began < 2000000, "a line written directly does not wait for ever");
    close(fds[0]);
    close(fds[1]);
}

static void test_broken_pipe(void)
{
    begin(LOG_INFO, LOG_TEXT, NULL);
    close(fds[0]);
    uint64_t before = log_dropped();
    log_info("unheard", "");
    log_stop();
    close(fds[1]);
    is_u64(log_dropped() - before, 1, "nobody at the other end: counted, no signal");
}

enum { WRITERS = 4, LINES = 3000 };

static void *write_many(void *argument)
{
    int who = *(int *)argument;
    for (int i = 0; i < LINES; i++)
        log_info("many", "writer=%d line=%d", who, i);
    return NULL;
}

static void *read_all(void *argument)
{
    size_t *len = argument;
    ssize_t n;
    while ((n = read(fds[0], output + *len, sizeof(output) - 1 - *len)) > 0)
        *len += (size_t)n;
    output[*len] = '\0';
    return NULL;
}

static void test_threads(void)
{
    pthread_t writers[WRITERS], reader;
    int numbers[WRITERS];
    size_t len = 0;
    uint64_t before = log_dropped();
    begin(LOG_INFO, LOG_TEXT, NULL);
    must(pthread_create(&reader, NULL, read_all, &len) == 0);
    for (int i = 0; i < WRITERS; i++) {
        numbers[i] = i;
        must(pthread_create(&writers[i], NULL, write_many, &numbers[i]) == 0);
    }
    for (int i = 0; i < WRITERS; i++)
        pthread_join(writers[i], NULL);
    log_stop();
    close(fds[1]);
    pthread_join(reader, NULL);
    close(fds[0]);

    int next[WRITERS] = {0};
    bool ordered = true;
    unsigned lines = 0;
    char *state = NULL;
    for (char *line = strtok_r(output, "\n", &state); line; line = strtok_r(NULL, "\n", &state)) {
        const char *at = strstr(line, "writer=");
        int who, number;
        if (!at || sscanf(at, "writer=%d line=%d", &who, &number) != 2) /* NOLINT: our own text */
            continue;
        ordered = ordered && who >= 0 && who < WRITERS && number >= next[who];
        if (who >= 0 && who < WRITERS)
            next[who] = number + 1;
        lines++;
    }
    ok(ordered, "each thread's lines are whole and in order");
    is_u64(lines + (log_dropped() - before), WRITERS * LINES, "each is written or counted");
}

static void test_direct(void)
{
    must(pipe(fds) == 0);
    struct log_options options = {.level = LOG_INFO, .format = LOG_TEXT, .fd = fds[1], .node = "d"};
    log_start(&options);
    log_stop();
    log_info("afterwards", "");
    log_stop();
    ok(matches(end(), " info afterwards node=d\n$"), "after log_stop lines are written directly");
}

int main(void)
{
    test_text();
    test_json();
    test_long();
    test_quote();
    test_stopped_pipe();
    test_stop_with_stopped_pipe();
    test_broken_pipe();
    test_threads();
    test_direct();
    return done();
}
