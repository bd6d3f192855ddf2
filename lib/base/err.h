/*
 * Errors: one table of codes with their name on the wire, HTTP status and exit status.
 *
 * Every fallible function returns 0 or one of these (negative) codes and writes the detail for
 * people into the `struct err` that the caller passes last; it may be NULL and is left alone on
 * success. The library never prints and never exits.
 */
#ifndef RAFTKV_BASE_ERR_H
#define RAFTKV_BASE_ERR_H

#include <stdarg.h>

/*      identifier           wire name              HTTP exit  what it means */
#define ERR_TABLE(X)                                                                               \
    X(BAD_REQUEST, "bad_request", 400, 2)                 /* malformed, or out of range */         \
    X(UNAUTHENTICATED, "unauthenticated", 401, 6)         /* no credentials */                     \
    X(FORBIDDEN, "forbidden", 403, 6)                     /* Host, Origin, stranger */             \
    X(NOT_FOUND, "not_found", 404, 1)                     /* no such key, route or member */       \
    X(METHOD_NOT_ALLOWED, "method_not_allowed", 405, 2)   /* known path, other method */           \
    X(CONFLICT, "conflict", 409, 4)                       /* a membership change runs */           \
    X(SEQ_OLD, "seq_old", 409, 4)                         /* sequence below the session's last */  \
    X(SEQ_REUSED, "seq_reused", 409, 4)                   /* same sequence, other request */       \
    X(SESSION_UNKNOWN, "session_unknown", 409, 4)         /* unknown client, sequence over 1 */    \
    X(PRECONDITION_FAILED, "precondition_failed", 412, 3) /* a condition did not hold */           \
    X(WRONG_CLUSTER, "wrong_cluster", 412, 4)             /* the request names another cluster */  \
    X(TOO_LARGE, "too_large", 413, 7)                     /* over a limit */                       \
    X(OVERLOADED, "overloaded", 429, 4)                   /* a queue is full, try again later */   \
    X(INTERNAL, "internal", 500, 70)                      /* our fault */                          \
    X(NO_LEADER, "no_leader", 503, 4)                     /* nobody to serve it now */             \
    X(TOO_STALE, "too_stale", 503, 8)                     /* bound on staleness not met */         \
    X(SHUTTING_DOWN, "shutting_down", 503, 4)             /* this node stops */                    \
    X(REMOVED, "removed", 503, 4)                         /* this node is no member any more */    \
    X(TIMEOUT, "timeout", 504, 5)                         /* a write: outcome unknown */           \
    X(DISK_FULL, "disk_full", 507, 7)                     /* below the reserve */                  \
    /* never on the wire */                                                                        \
    X(USAGE, "usage", 400, 2)             /* command line */                                       \
    X(IO, "io", 500, 70)                  /* a system call failed */                               \
    X(CORRUPT, "corrupt", 500, 70)        /* checksum, gap, foreign file */                        \
    X(LOCKED, "locked", 503, 4)           /* another process has the directory */                  \
    X(UNREACHABLE, "unreachable", 503, 4) /* connection could not be made */                       \
    X(UNKNOWN, "unknown", 504, 5)         /* outcome of a write unknown */                         \
    X(AGAIN, "again", 503, 4)             /* nothing to do now, ask later */

enum err_code {
    ERR_OK = 0,
    ERR_FIRST_ = -100, /* codes run from -99 upwards and never meet errno or library codes */
#define ERR_ENUM_(id, name, http, exit) ERR_##id,
    ERR_TABLE(ERR_ENUM_)
#undef ERR_ENUM_
};

enum { ERR_TEXT_BYTES = 512 };

struct err {
    int code;                  /* enum err_code */
    char text[ERR_TEXT_BYTES]; /* one line, no newline */
};

/* Sets code and text (truncated to fit) and returns `code`; `e` may be NULL. */
int err_set(struct err *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int err_vset(struct err *e, int code, const char *fmt, va_list ap)
    __attribute__((format(printf, 3, 0)));
/* As err_set, with ": " and strerror(errnum) behind the text. */
int err_errno(struct err *e, int code, int errnum, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Puts a prefix and ": " before the text that is there; returns e->code. */
int err_prefix(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#ifdef __clang_analyzer__ /* which sees one file at a time: these return `code` */
#define err_set(e, code, ...) ((void)err_set((e), (code), __VA_ARGS__), (code))
#define err_errno(e, code, errnum, ...)                                                            \
    ((void)err_errno((e), (code), (errnum), __VA_ARGS__), (code))
#endif

const char *err_name(int code);    /* "no_leader"; "ok" for 0; "internal" for an unknown code */
int err_http_status(int code);     /* 200 for 0 */
int err_exit_status(int code);     /* 0 for 0 */
int err_by_name(const char *name); /* code of a wire name, or 0 */

#endif
