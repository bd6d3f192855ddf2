/* The error table: names, HTTP and exit statuses are what the contract promises. */
#include "lib/base/err.h"

#include <errno.h>
#include <string.h>

#include "tests/unit/tap.h"

static void test_table(void)
{
    is_str(err_name(0), "ok", "no error has the name ok");
    is_str(err_name(ERR_NO_LEADER), "no_leader", "name on the wire");
    is_i64(err_http_status(ERR_DISK_FULL), 507, "HTTP status");
    is_i64(err_http_status(0), 200, "HTTP status of success");
    is_i64(err_exit_status(ERR_TIMEOUT), 5, "exit status: outcome unknown");
    is_i64(err_exit_status(ERR_TOO_STALE), 8, "exit status: too stale");
    is_i64(err_exit_status(0), 0, "exit status of success");
    is_str(err_name(-12345), "internal", "unknown code is internal");
    is_str(err_name(7), "internal", "positive code is internal");
    is_i64(err_http_status(12), 500, "HTTP status of an unknown code");

    struct row {
        int code;
        const char *name;
    };
#define ROW(id, name, http, exit) {ERR_##id, (name)},
    static const struct row rows[] = {ERR_TABLE(ROW)};
#undef ROW
    bool names = true, negative = true;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        names = names && err_by_name(rows[i].name) == rows[i].code &&
                strcmp(err_name(rows[i].code), rows[i].name) == 0;
        negative = negative && rows[i].code < 0 && rows[i].code >= -99;
    }
    ok(names, "every name leads to its code and back, so none is double");
    ok(negative, "codes lie in -99 … -1");
    is_i64(err_by_name("nonsense"), 0, "unknown name");
}

static void test_text(void)
{
    struct err e = {.code = 77, .text = "before"};
    is_i64(err_set(NULL, ERR_IO, "nobody listens %d", 1), ERR_IO,
           "err_set without a place to write");
    is_i64(err_set(&e, ERR_IO, "cannot read %s", "x"), ERR_IO, "err_set returns the code");
    is_i64(e.code, ERR_IO, "code stored");
    is_str(e.text, "cannot read x", "text stored");
    is_i64(err_prefix(&e, "node %d", 3), ERR_IO, "err_prefix returns the code");
    is_str(e.text, "node 3: cannot read x", "prefix before the text");
    err_set(&e, ERR_IO, "again: %s", e.text);
    is_str(e.text, "again: node 3: cannot read x", "the old text may be an argument");
    is_i64(err_errno(&e, ERR_LOCKED, ENOENT, "open %s", "f"), ERR_LOCKED, "err_errno returns code");
    is_str(e.text, "open f: No such file or directory", "reason behind the text");
    err_set(&e, ERR_IO, "two\nlines\tand \x7f");
    is_str(e.text, "two lines and  ", "control characters become blanks");

    char longer[ERR_TEXT_BYTES * 2];
    memset(longer, 'a', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    err_set(&e, ERR_IO, "%s", longer);
    is_u64(strlen(e.text), ERR_TEXT_BYTES - 1, "text cut to fit");
    err_prefix(&e, "prefix");
    is_u64(strlen(e.text), ERR_TEXT_BYTES - 1, "text with prefix cut to fit");
    ok(strncmp(e.text, "prefix: aaa", 11) == 0, "prefix kept when cut");
    err_errno(&e, ERR_IO, EIO, "%s", longer);
    is_u64(strlen(e.text), ERR_TEXT_BYTES - 1, "reason cut off when there is no room");
    is_i64(err_prefix(NULL, "x"), ERR_INTERNAL, "prefix without an error");
}

int main(void)
{
    test_table();
    test_text();
    return done();
}
