/* Which format it is, and what the parsers have in common. */
#include "lib/history/parse.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/history/parse_internal.h"

typedef int parse_unit(struct history_parser *p, struct slice bytes, bool last, size_t *used,
                       struct err *err);

static const struct {
    const char *name;
    parse_unit *take;
} formats[] = {
    [HISTORY_AUTO] = {"auto", NULL},
    [HISTORY_JSON] = {"json", history_parse_json},
    [HISTORY_JEPSEN] = {"jepsen", history_parse_jepsen},
    [HISTORY_EDN] = {"edn", history_parse_edn},
};

const char *history_format_name(enum history_format format)
{
    return formats[format].name;
}

void history_parser_init(struct history_parser *p, struct history *h, const char *name,
                         enum history_format format)
{
    *p = (struct history_parser){.history = h, .name = name, .format = format, .line = 1};
    buf_init(&p->scratch, HISTORY_UNIT_BYTES_MAX);
}

void history_parser_release(struct history_parser *p)
{
    buf_release(&p->scratch);
}

/* ---- common to the formats ---- */

int parse_fail(const struct history_parser *p, uint32_t line, struct err *err, const char *fmt, ...)
{
    char why[PARSE_WHY_BYTES];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(why, sizeof(why), fmt, ap);
    va_end(ap);
    return err_set(err, ERR_BAD_REQUEST, "%.200s:%" PRIu32 ": %s", p->name, line, why);
}

int parse_event(struct history_parser *p, const struct history_event *e, struct err *err)
{
    struct err why;
    if (history_add(p->history, e, &why) == 0)
        return 0;
    return parse_fail(p, e->line, err, "%s", why.text);
}

bool slice_is(struct slice s, const char *word)
{
    return s.len == strlen(word) && memcmp(s.data, word, s.len) == 0;
}

bool parse_is_blank(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

bool parse_line(struct slice bytes, bool last, struct slice *line, size_t *used)
{
    const uint8_t *end = memchr(bytes.data, '\n', bytes.len);
    if (!end && !last)
        return false;
    size_t len = end ? (size_t)(end - bytes.data) : bytes.len;
    *used = len + (end ? 1 : 0);
    while (len > 0 && parse_is_blank(bytes.data[len - 1]))
        len--;
    *line = slice_of(bytes.data, len);
    return true;
}

bool parse_type(struct slice word, uint8_t *type)
{
    static const char *const words[] = {[HISTORY_INVOKE] = "invoke",
                                        [HISTORY_RETURN_OK] = "ok",
                                        [HISTORY_RETURN_FAIL] = "fail",
                                        [HISTORY_INFO] = "info"};
    for (uint8_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (slice_is(word, words[i])) {
            *type = i;
            return true;
        }
    return false;
}

bool parse_number(struct slice word, uint64_t max, uint64_t *number)
{
    uint64_t n = 0;
    if (word.len == 0)
        return false;
    for (size_t i = 0; i < word.len; i++) {
        uint8_t digit = (uint8_t)(word.data[i] - '0');
        if (digit > 9 || n > (max - digit) / 10)
            return false;
        n = n * 10 + digit;
    }
    *number = n;
    return true;
}

bool parse_function(struct slice word, uint8_t *kind)
{
    static const struct {
        const char *word;
        uint8_t kind;
    } functions[] = {
        {"read", HISTORY_GET},  {"get", HISTORY_GET}, {"write", HISTORY_PUT},
        {"put", HISTORY_PUT},   {"cas", HISTORY_CAS}, {"append", HISTORY_APPEND},
        {"delete", HISTORY_DELETE},
    };
    for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++)
        if (slice_is(word, functions[i].word)) {
            *kind = functions[i].kind;
            return true;
        }
    return false;
}

/* ---- from the front ---- */

/* JSON's members have quotes, EDN's keywords a colon. False: more is needed. */
static bool detect(struct history_parser *p, struct slice bytes, bool last)
{
    size_t i = 0;
    while (i < bytes.len && parse_is_blank(bytes.data[i]))
        i++;
    if (i == bytes.len)
        return last;
    uint8_t c = bytes.data[i];
    if (c == '[' || c == '(' || c == ';' || c == '#') {
        p->format = HISTORY_EDN;
    } else if (c != '{') {
        p->format = HISTORY_JEPSEN;
    } else {
        for (i++; i < bytes.len && (parse_is_blank(bytes.data[i]) || bytes.data[i] == ','); i++)
            ;
        if (i == bytes.len && !last)
            return false;
        p->format = i < bytes.len && bytes.data[i] == ':' ? HISTORY_EDN : HISTORY_JSON;
    }
    return true;
}

static uint32_t count_lines(struct slice bytes)
{
    uint32_t lines = 0;
    const uint8_t *at = bytes.data, *end = bytes.data + bytes.len;
    while (at < end && (at = memchr(at, '\n', (size_t)(end - at)))) {
        lines++;
        at++;
    }
    return lines;
}

int history_parse(struct history_parser *p, struct slice bytes, bool last, size_t *used,
                  struct err *err)
{
    *used = 0;
    if (p->format == HISTORY_AUTO && (bytes.len == 0 || !detect(p, bytes, last)))
        return 0;
    if (p->format == HISTORY_AUTO) {
        *used = bytes.len; /* blanks only */
        return 0;
    }
    p->history->fail_is_differs = p->format == HISTORY_JEPSEN;
    p->history->empty_is_absent = p->format == HISTORY_EDN;
    while (*used < bytes.len) {
        struct slice rest = slice_of(bytes.data + *used, bytes.len - *used);
        size_t taken = 0;
        int code = formats[p->format].take(p, rest, last, &taken, err);
        if (code != 0)
            return code;
        if (taken == 0)
            break;
        p->line += p->format == HISTORY_EDN ? count_lines(slice_of(rest.data, taken)) : 1;
        *used += taken;
    }
    ASSERT(!last || *used == bytes.len);
    return last ? history_parse_edn_end(p, err) : 0;
}
