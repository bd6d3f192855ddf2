/*
 * Recorded histories as text, in three formats, into events (history.h). A parser is fed with what
 * has been read so far and takes whole lines, or whole EDN maps, from its front.
 *
 *     json     one JSON object a line, as raftkv-bench and raftkv-check write it
 *     jepsen   lines of a Jepsen log, "INFO  jepsen.util - 3\t:invoke\t:write\t4", one register
 *     edn      maps, in a vector or list or one after the other: a register's read, write and cas,
 *              or get, put and append of keys, where "" and absent are the same
 */
#ifndef RAFTKV_HISTORY_PARSE_H
#define RAFTKV_HISTORY_PARSE_H

#include "lib/history/history.h"

enum history_format { HISTORY_AUTO, HISTORY_JSON, HISTORY_JEPSEN, HISTORY_EDN };

enum { HISTORY_UNIT_BYTES_MAX = 256 << 20 }; /* of a line or map */

struct history_parser {
    struct history *history;
    const char *name; /* of the file, for messages; borrowed */
    enum history_format format;
    uint32_t line;      /* of what comes next */
    char bracket;       /* EDN: the one that is open, or 0 */
    struct buf scratch; /* of one string */
};

/* HISTORY_AUTO: the first bytes that are no blanks tell. */
void history_parser_init(struct history_parser *p, struct history *h, const char *name,
                         enum history_format format);
void history_parser_release(struct history_parser *p);
/*
 * Takes what is whole in `bytes`; `used` tells how many bytes that was. `last`: nothing comes behind
 * them, so everything is taken. ERR_BAD_REQUEST with "NAME:LINE: what".
 */
int history_parse(struct history_parser *p, struct slice bytes, bool last, size_t *used,
                  struct err *err);
const char *history_format_name(enum history_format format);

#endif
