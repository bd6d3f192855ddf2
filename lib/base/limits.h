/*
 * Every limit of the program in one place, with the relations between them asserted. A limit is
 * checked where something comes in (a request, a message, a file); behind that it is assumed.
 */
#ifndef RAFTKV_BASE_LIMITS_H
#define RAFTKV_BASE_LIMITS_H

enum {
    LIMIT_KEY_BYTES = 4096,               /* a key has 1 … this many bytes */
    LIMIT_VALUE_BYTES_DEFAULT = 1 << 20,  /* --max-value-size when nothing is said */
    LIMIT_VALUE_BYTES_CEILING = 16 << 20, /* --max-value-size at most */
    LIMIT_LOG_LINE_BYTES = 4096,          /* one line of the structured log, cut to fit */
    LIMIT_LOG_QUEUE_BYTES = 1 << 20,      /* lines that wait for the log's own thread */
    LIMIT_OPT_NAME_BYTES = 64,            /* longest option name, for environment variable names */
};

_Static_assert(LIMIT_KEY_BYTES >= 1, "a key has at least one byte");
_Static_assert(LIMIT_VALUE_BYTES_DEFAULT <= LIMIT_VALUE_BYTES_CEILING,
               "default within the ceiling");
_Static_assert(LIMIT_LOG_LINE_BYTES * 16 <= LIMIT_LOG_QUEUE_BYTES, "the queue holds many lines");

#endif
