/*
 * Structured log on standard error: one line an event, text (`time level event key=value …`) or
 * JSON.
 *
 * A line is formatted by the calling thread and handed to a bounded queue; a thread of the log's
 * own writes it, so that a stopped pipe behind stderr never stops consensus (etcd #22214). Lines
 * that do not fit are dropped and counted, and the count is logged when there is room again. Before
 * log_start and after log_stop lines are written directly. Thread-safe.
 */
#ifndef RAFTKV_BASE_LOG_H
#define RAFTKV_BASE_LOG_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };
enum log_format { LOG_TEXT, LOG_JSON };

struct log_options {
    enum log_level level;
    enum log_format format;
    int fd;           /* 2 */
    const char *node; /* added to every line as node=…; copied */
};

void log_start(const struct log_options *options);
void log_stop(void); /* writes what is queued (one second at most) and ends the thread */
bool log_enabled(enum log_level level);
uint64_t log_dropped(void);

/* `fields` is a printf format that yields `key=value key2=value2 …`, or "" for none; values with
 * blanks or quotes stand in double quotes there (%s of log_quote). */
void log_write(enum log_level level, const char *event, const char *fields, ...)
    __attribute__((format(printf, 3, 4)));
/* Quotes and escapes into `out` (always NUL-terminated, cut with … when it does not fit); returns
 * out. */
const char *log_quote(const char *text, char *out, uint32_t out_bytes);
int log_level_parse(const char *word, enum log_level *level);
int log_format_parse(const char *word, enum log_format *format);

#define log_debug(...) (log_enabled(LOG_DEBUG) ? log_write(LOG_DEBUG, __VA_ARGS__) : (void)0)
#define log_info(...)  (log_enabled(LOG_INFO) ? log_write(LOG_INFO, __VA_ARGS__) : (void)0)
#define log_warn(...)  (log_enabled(LOG_WARN) ? log_write(LOG_WARN, __VA_ARGS__) : (void)0)
#define log_error(...) (log_enabled(LOG_ERROR) ? log_write(LOG_ERROR, __VA_ARGS__) : (void)0)

#endif
