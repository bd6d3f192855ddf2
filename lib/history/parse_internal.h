/* What the parsers have in common. */
#ifndef RAFTKV_HISTORY_PARSE_INTERNAL_H
#define RAFTKV_HISTORY_PARSE_INTERNAL_H

#include "lib/history/parse.h"

enum { PARSE_WHY_BYTES = 256 };

/* Each takes one line or map from the front of `bytes` and says how long it was; 0: it is not whole
 * yet (never when `last`). */
int history_parse_json(struct history_parser *p, struct slice bytes, bool last, size_t *used,
                       struct err *err);
int history_parse_jepsen(struct history_parser *p, struct slice bytes, bool last, size_t *used,
                         struct err *err);
int history_parse_edn(struct history_parser *p, struct slice bytes, bool last, size_t *used,
                      struct err *err);

/* Whether what the file ends with is closed. */
int history_parse_edn_end(struct history_parser *p, struct err *err);

/* "NAME:LINE: …"; returns ERR_BAD_REQUEST. */
int parse_fail(const struct history_parser *p, uint32_t line, struct err *err, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Gives the event to the history, and its complaint a place. */
int parse_event(struct history_parser *p, const struct history_event *e, struct err *err);

bool slice_is(struct slice s, const char *word);
bool parse_is_blank(uint8_t c);
/* A line without its end; false: not whole yet. */
bool parse_line(struct slice bytes, bool last, struct slice *line, size_t *used);
/* "invoke", "ok", "fail", "info" into `type`. */
bool parse_type(struct slice word, uint8_t *type);
/* Whole decimal number from 0 to max. */
bool parse_number(struct slice word, uint64_t max, uint64_t *number);
/* Jepsen's names of operations; false: none of them. */
bool parse_function(struct slice word, uint8_t *kind);

#endif
