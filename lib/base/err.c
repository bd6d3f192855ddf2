/* Error details and the table of codes. */
#include "lib/base/err.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

struct row {
    const char *name;
    int http_status;
    int exit_status;
};

static const struct row rows[] = {
#define ERR_ROW_(id, name, http, exit) {(name), (http), (exit)},
    ERR_TABLE(ERR_ROW_)
#undef ERR_ROW_
};

enum { ROW_COUNT = sizeof(rows) / sizeof(rows[0]) };
_Static_assert(ERR_FIRST_ + 1 + ROW_COUNT <= 0, "every code is negative");

static const struct row *row_of(int code)
{
    int at = code - (ERR_FIRST_ + 1);
    return &rows[at >= 0 && at < ROW_COUNT ? at : ERR_INTERNAL - (ERR_FIRST_ + 1)];
}

/* One line whatever came in: detail often quotes what a stranger sent. */
static void one_line(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            *text = ' ';
}

int err_vset(struct err *e, int code, const char *fmt, va_list ap)
{
    if (e) {
        /* The arguments may point into e->text: format aside. */
        char text[ERR_TEXT_BYTES];
        vsnprintf(text, sizeof(text), fmt, ap);
        one_line(text);
        e->code = code;
        memcpy(e->text, text, sizeof(text));
    }
    return code;
}

/* The parentheses keep the macros for the analyzer away. */
int(err_set)(struct err *e, int code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    err_vset(e, code, fmt, ap);
    va_end(ap);
    return code;
}

int(err_errno)(struct err *e, int code, int errnum, const char *fmt, ...)
{
    char reason[128];
    va_list ap;
    va_start(ap, fmt);
    err_vset(e, code, fmt, ap);
    va_end(ap);
    if (e) {
        size_t len = strlen(e->text);
        snprintf(e->text + len, sizeof(e->text) - len, ": %s",
                 strerror_r(errnum, reason, sizeof(reason)));
    }
    return code;
}

int err_prefix(struct err *e, const char *fmt, ...)
{
    if (!e)
        return ERR_INTERNAL;
    char old[ERR_TEXT_BYTES];
    memcpy(old, e->text, sizeof(old));
    va_list ap;
    va_start(ap, fmt);
    err_vset(e, e->code, fmt, ap);
    va_end(ap);
    size_t len = strlen(e->text);
    snprintf(e->text + len, sizeof(e->text) - len, ": %s", old);
    return e->code;
}

const char *err_name(int code)
{
    return code == ERR_OK ? "ok" : row_of(code)->name;
}

int err_http_status(int code)
{
    return code == ERR_OK ? 200 : row_of(code)->http_status;
}

int err_exit_status(int code)
{
    return code == ERR_OK ? 0 : row_of(code)->exit_status;
}

int err_by_name(const char *name)
{
    for (int i = 0; i < ROW_COUNT; i++)
        if (strcmp(rows[i].name, name) == 0)
            return ERR_FIRST_ + 1 + i;
    return 0;
}
