/* What the commands print, and how they end. */
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cmd/raftkv-ctl/ctl.h"
#include "lib/base/check.h"
#include "lib/base/mem.h"

int ctl_failed(const struct ctl *c, int code, const struct err *err, const char *about)
{
    fflush(stdout);
    fprintf(stderr, "raftkv-ctl: %s%s%s: %s\n", c->command->name, about ? " " : "",
            about ? about : "", err->text);
    return client_exit_status(code, &c->reply);
}

void ctl_note(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fputs("raftkv-ctl: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
}

void ctl_print_body(const struct ctl *c)
{
    const struct buf *body = &c->reply.body;
    fwrite(body->data, 1, body->len, stdout);
    if (body->len == 0 || body->data[body->len - 1] != '\n')
        putchar('\n');
}

const char *shown_key(const char *key, char out[SHOWN_KEY_BYTES])
{
    size_t at = 0;
    out[at++] = '"';
    for (const char *p = key; *p; p++) {
        if (at + 12 > SHOWN_KEY_BYTES) {
            at += (size_t)snprintf(out + at, SHOWN_KEY_BYTES - at, "…");
            break;
        }
        bool plain = isprint((unsigned char)*p) && *p != '"' && *p != '\\';
        at += (size_t)snprintf(out + at, SHOWN_KEY_BYTES - at, plain ? "%c" : "\\x%02x",
                               (unsigned char)*p);
    }
    snprintf(out + at, SHOWN_KEY_BYTES - at, "\"");
    return out;
}

/* ---- tables ---- */

enum { COLUMNS_MAX = 12 };

struct table {
    size_t columns, cells, room;
    char **text;
};

struct table *table_new(size_t columns)
{
    ASSERT(columns > 0 && columns <= COLUMNS_MAX);
    struct table *t = mem_zalloc(sizeof(*t));
    t->columns = columns;
    return t;
}

void table_cell(struct table *t, const char *fmt, ...)
{
    char text[ERR_TEXT_BYTES];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    for (char *p = text; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            *p = ' '; /* what a node sends is not to move the cursor */
    if (t->cells == t->room) {
        t->room = t->room * 2 + 64;
        t->text = mem_realloc(t->text, t->room * sizeof(*t->text));
    }
    t->text[t->cells++] = mem_strdup(text);
}

void table_free(struct table *t)
{
    for (size_t i = 0; i < t->cells; i++)
        mem_free(t->text[i]);
    mem_free(t->text);
    mem_free(t);
}

void table_print(struct table *t)
{
    size_t width[COLUMNS_MAX] = {0};
    ASSERT(t->cells % t->columns == 0);
    for (size_t i = 0; i < t->cells; i++)
        if (strlen(t->text[i]) > width[i % t->columns])
            width[i % t->columns] = strlen(t->text[i]);
    for (size_t i = 0; i < t->cells; i++)
        if ((i + 1) % t->columns == 0)
            printf("%s\n", t->text[i]);
        else
            printf("%-*s  ", (int)width[i % t->columns], t->text[i]);
    table_free(t);
}
