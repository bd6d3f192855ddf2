/*
 * Lines of a Jepsen log, one register:
 *
 *     INFO  jepsen.util - 3<tab>:invoke<tab>:cas<tab>[3 0]
 */
#include <string.h>

#include "lib/history/parse_internal.h"

enum { FIELDS = 4 };

static const char prefix[] = "INFO  jepsen.util - ";
static const char *const field_names[FIELDS] = {"process", "type", "operation", "value"};

/* The next field, up to a tab. */
static bool next_field(struct slice *rest, struct slice *field)
{
    if (!rest->data)
        return false;
    const uint8_t *tab = memchr(rest->data, '\t', rest->len);
    size_t len = tab ? (size_t)(tab - rest->data) : rest->len;
    *field = slice_of(rest->data, len);
    *rest = tab ? slice_of(tab + 1, rest->len - len - 1) : slice_of(NULL, 0);
    return true;
}

static struct slice without_colon(struct slice s)
{
    return s.len > 0 && s.data[0] == ':' ? slice_of(s.data + 1, s.len - 1) : slice_of(s.data, 0);
}

/* "nil" or a number as written. */
static bool read_value(struct history *h, struct slice word, uint32_t *id)
{
    struct slice number = word;
    if (slice_is(word, "nil")) {
        *id = 0;
        return true;
    }
    if (number.len > 0 && number.data[0] == '-')
        number = slice_of(number.data + 1, number.len - 1);
    uint64_t n;
    if (!parse_number(number, INT64_MAX, &n))
        return false;
    *id = intern_add(&h->values, word);
    return true;
}

/* "[3 0]" */
static bool read_pair(struct history *h, struct slice word, struct history_event *e)
{
    if (word.len < 2 || word.data[0] != '[' || word.data[word.len - 1] != ']')
        return false;
    struct slice inner = slice_of(word.data + 1, word.len - 2);
    const uint8_t *blank = memchr(inner.data, ' ', inner.len);
    if (!blank)
        return false;
    size_t len = (size_t)(blank - inner.data);
    return read_value(h, slice_of(inner.data, len), &e->expect) &&
           read_value(h, slice_of(blank + 1, inner.len - len - 1), &e->value);
}

static int read_event(struct history_parser *p, const struct slice *fields, struct err *err)
{
    struct history *h = p->history;
    struct history_event e;
    uint64_t process;
    history_event_init(&e);
    e.line = p->line;
    e.has_kind = true;
    if (!parse_number(fields[0], UINT32_MAX - 1, &process))
        return parse_fail(p, p->line, err, "the process must be a whole number");
    e.process = (uint32_t)process;
    if (!parse_type(without_colon(fields[1]), &e.type))
        return parse_fail(p, p->line, err, "the type is none of :invoke, :ok, :fail, :info");
    if (!parse_function(without_colon(fields[2]), &e.kind) || e.kind == HISTORY_APPEND ||
        e.kind == HISTORY_DELETE)
        return parse_fail(p, p->line, err, "the operation is none of :read, :write, :cas");
    e.key = intern_add(&h->keys, slice_str("register"));
    bool says = e.type == HISTORY_INVOKE || e.type == HISTORY_RETURN_OK;
    if (says && (e.kind == HISTORY_CAS ? !read_pair(h, fields[3], &e)
                                       : !read_value(h, fields[3], &e.value)))
        return parse_fail(p, p->line, err, "the value is not %s",
                          e.kind == HISTORY_CAS ? "[FROM TO]" : "a whole number or nil");
    return parse_event(p, &e, err);
}

int history_parse_jepsen(struct history_parser *p, struct slice bytes, bool last, size_t *used,
                         struct err *err)
{
    struct slice line, fields[FIELDS];
    if (!parse_line(bytes, last, &line, used))
        return 0;
    if (line.len == 0)
        return 0;
    if (line.len < sizeof(prefix) - 1 || memcmp(line.data, prefix, sizeof(prefix) - 1) != 0)
        return parse_fail(p, p->line, err, "the line does not begin with \"%s\"%s", prefix,
                          p->line == 1 ? ", nor is it JSON or EDN" : "");
    struct slice rest = slice_of(line.data + sizeof(prefix) - 1, line.len - (sizeof(prefix) - 1));
    for (size_t i = 0; i < FIELDS; i++)
        if (!next_field(&rest, &fields[i]))
            return parse_fail(p, p->line, err, "the %s is missing%s", field_names[i],
                              *used == line.len ? " (the file ends in this line)" : "");
    if (rest.data)
        return parse_fail(p, p->line, err, "more than %d fields", FIELDS);
    return read_event(p, fields, err);
}
