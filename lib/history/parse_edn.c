/*
 * Histories as EDN maps, as Jepsen, Knossos and porcupine keep them:
 *
 *     [{:process 0, :type :invoke, :f :cas, :value [1 2]} …]
 *     {:process 0, :type :ok, :f :get, :key "7", :value ""}
 *
 * Events of processes that are no numbers (:nemesis) are passed over, as are keys of a map that are
 * not known here.
 */
#include <string.h>

#include "lib/base/mem.h"
#include "lib/history/parse_internal.h"

enum { DEPTH_MAX = 32 };

struct text {
    const uint8_t *at, *end;
    const char *why; /* NULL with a false result: the text ends too early */
};

enum form_type { FORM_SYMBOL, FORM_KEYWORD, FORM_NUMBER, FORM_STRING, FORM_VECTOR, FORM_OTHER };

struct form {
    enum form_type type;
    struct slice text; /* without the colon, the quotes, the brackets */
};

static bool fail(struct text *t, const char *why)
{
    t->why = why;
    return false;
}

/* Blanks, commas, comments. */
static void skip_blanks(struct text *t)
{
    while (t->at < t->end) {
        if (*t->at == ';') {
            const uint8_t *end = memchr(t->at, '\n', (size_t)(t->end - t->at));
            t->at = end ? end : t->end;
        } else if (parse_is_blank(*t->at) || *t->at == ',') {
            t->at++;
        } else {
            return;
        }
    }
}

static bool ends_token(uint8_t c)
{
    return parse_is_blank(c) || memchr(",;\"()[]{}", c, 9) != NULL;
}

static bool read_form(struct text *t, struct form *f, int depth);

static bool read_string(struct text *t, struct form *f)
{
    const uint8_t *from = ++t->at;
    while (t->at < t->end && *t->at != '"')
        t->at += *t->at == '\\' && t->end - t->at > 1 ? 2 : 1;
    if (t->at == t->end)
        return false;
    *f = (struct form){FORM_STRING, slice_of(from, (size_t)(t->at - from))};
    t->at++;
    return true;
}

static bool read_collection(struct text *t, struct form *f, int depth)
{
    uint8_t open = *t->at, close = open == '(' ? ')' : open == '[' ? ']' : '}';
    const uint8_t *from = ++t->at;
    if (depth == DEPTH_MAX)
        return fail(t, "nested too deep");
    for (skip_blanks(t); t->at < t->end && *t->at != close; skip_blanks(t)) {
        struct form inner;
        if (!read_form(t, &inner, depth + 1))
            return false;
    }
    if (t->at == t->end)
        return false;
    *f = (struct form){open == '[' ? FORM_VECTOR : FORM_OTHER,
                       slice_of(from, (size_t)(t->at - from))};
    t->at++;
    return true;
}

/* "#{…}" is a set, "#tag form" and "#_ form" are a form behind something. */
static bool read_tagged(struct text *t, struct form *f, int depth)
{
    t->at++;
    if (t->at < t->end && *t->at == '_')
        t->at++;
    while (t->at < t->end && !ends_token(*t->at))
        t->at++;
    if (depth == DEPTH_MAX)
        return fail(t, "nested too deep");
    skip_blanks(t);
    if (!read_form(t, f, depth + 1))
        return false;
    f->type = FORM_OTHER;
    return true;
}

static bool read_token(struct text *t, struct form *f)
{
    const uint8_t *from = t->at;
    while (t->at < t->end && (t->at == from || !ends_token(*t->at)))
        t->at++;
    f->text = slice_of(from, (size_t)(t->at - from));
    f->type = FORM_SYMBOL;
    if (*from == ':') {
        f->type = FORM_KEYWORD;
        f->text = slice_of(from + 1, f->text.len - 1);
    } else if (*from == '-' || (*from >= '0' && *from <= '9')) {
        f->type = FORM_NUMBER;
    }
    return true;
}

static bool read_form(struct text *t, struct form *f, int depth)
{
    if (t->at == t->end)
        return false;
    switch (*t->at) {
    case '"': return read_string(t, f);
    case '(':
    case '[':
    case '{': return read_collection(t, f, depth);
    case ')':
    case ']':
    case '}': return fail(t, "a closing bracket that nothing opened");
    case '#': return read_tagged(t, f, depth);
    default: return read_token(t, f);
    }
}

/* ---- values ---- */

static bool unescape(struct slice s, uint8_t *out, size_t *len)
{
    static const char from[] = "\"\\nrt", to[] = "\"\\\n\r\t";
    *len = 0;
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = s.data[i];
        if (c == '\\') {
            const char *found = ++i < s.len && s.data[i] ? strchr(from, s.data[i]) : NULL;
            if (!found)
                return false;
            c = (uint8_t)to[found - from];
        }
        out[(*len)++] = c;
    }
    return true;
}

/* A string, or a number as it is written; nil, and "" where it means that, is absent. */
static bool read_bytes(struct history *h, const struct form *f, struct intern *in, uint32_t *id)
{
    if (f->type == FORM_SYMBOL && slice_is(f->text, "nil")) {
        *id = 0;
        return true;
    }
    if (f->type == FORM_NUMBER || f->type == FORM_KEYWORD) {
        *id = intern_add(in, f->text);
        return true;
    }
    if (f->type != FORM_STRING)
        return false;
    if (f->text.len == 0 && in == &h->values) {
        *id = 0;
        return true;
    }
    uint8_t *bytes = mem_alloc(f->text.len + 1);
    size_t len;
    bool good = unescape(f->text, bytes, &len);
    if (good)
        *id = intern_add(in, slice_of(bytes, len));
    mem_free(bytes);
    return good;
}

static bool read_pair(struct history *h, const struct form *f, struct history_event *e)
{
    struct text t = {f->text.data, f->text.data + f->text.len, NULL};
    struct form from, to;
    if (f->type != FORM_VECTOR)
        return false;
    skip_blanks(&t);
    if (!read_form(&t, &from, 1) || !read_bytes(h, &from, &h->values, &e->expect))
        return false;
    skip_blanks(&t);
    if (!read_form(&t, &to, 1) || !read_bytes(h, &to, &h->values, &e->value))
        return false;
    skip_blanks(&t);
    return t.at == t.end;
}

/* ---- maps ---- */

enum { HAS_PROCESS = 1, HAS_TYPE = 2, HAS_F = 4, HAS_VALUE = 8, HAS_KEY = 16, HAS_TIME = 32 };

struct map {
    struct form process, type, f, value, key, time;
    uint32_t has;
};

static bool read_map(struct text *t, struct map *m)
{
    struct {
        const char *name;
        uint32_t bit;
        struct form *form;
    } rows[] = {
        {"process", HAS_PROCESS, &m->process}, {"type", HAS_TYPE, &m->type},
        {"f", HAS_F, &m->f},                   {"value", HAS_VALUE, &m->value},
        {"key", HAS_KEY, &m->key},             {"time", HAS_TIME, &m->time},
    };
    for (skip_blanks(t); t->at < t->end; skip_blanks(t)) {
        struct form name, value;
        if (!read_form(t, &name, 1))
            return false;
        skip_blanks(t);
        if (!read_form(t, &value, 1))
            return t->why ? false : fail(t, "a key without a value in a map");
        for (size_t i = 0; name.type == FORM_KEYWORD && i < sizeof(rows) / sizeof(rows[0]); i++) {
            if (!slice_is(name.text, rows[i].name))
                continue;
            if (m->has & rows[i].bit)
                return fail(t, "a key stands twice in a map");
            m->has |= rows[i].bit;
            *rows[i].form = value;
        }
    }
    return true;
}

static const char *wrong_with(struct history *h, const struct map *m, struct history_event *e)
{
    uint64_t process;
    if (!(m->has & HAS_TYPE) || m->type.type != FORM_KEYWORD || !parse_type(m->type.text, &e->type))
        return ":type is none of :invoke, :ok, :fail, :info";
    if (m->process.type != FORM_NUMBER || !parse_number(m->process.text, UINT32_MAX - 1, &process))
        return ":process is no whole number";
    e->process = (uint32_t)process;
    if (!(m->has & HAS_F) || m->f.type != FORM_KEYWORD || !parse_function(m->f.text, &e->kind))
        return ":f is none of :read, :write, :cas, :get, :put, :append, :delete";
    e->key = 0;
    if (!(m->has & HAS_KEY))
        e->key = intern_add(&h->keys, slice_str("register"));
    else if (!read_bytes(h, &m->key, &h->keys, &e->key) || e->key == 0)
        return ":key is neither a string nor a number";
    if (e->type != HISTORY_INVOKE && e->type != HISTORY_RETURN_OK) {
        e->has_kind = e->kind != HISTORY_PUT; /* it may have been of nil */
        return NULL;
    }
    if (e->kind == HISTORY_CAS) {
        if (!(m->has & HAS_VALUE) || !read_pair(h, &m->value, e))
            return ":value is not [FROM TO]";
    } else if (m->has & HAS_VALUE && !read_bytes(h, &m->value, &h->values, &e->value)) {
        return ":value is neither a string, nor a number, nor nil";
    }
    if (e->kind == HISTORY_PUT && e->value == 0)
        e->kind = HISTORY_DELETE; /* writes what an absent one reads as */
    return NULL;
}

static int map_event(struct history_parser *p, struct slice text, uint32_t line, struct err *err)
{
    struct text t = {text.data, text.data + text.len, NULL};
    struct map map = {.has = 0};
    struct history_event e;
    if (!read_map(&t, &map))
        return parse_fail(p, line, err, "%s", t.why ? t.why : "a map that is not whole");
    if (!(map.has & HAS_PROCESS))
        return parse_fail(p, line, err, ":process is missing");
    if (map.process.type == FORM_KEYWORD)
        return 0;
    history_event_init(&e);
    e.line = line;
    e.has_kind = true;
    const char *wrong = wrong_with(p->history, &map, &e);
    if (wrong)
        return parse_fail(p, line, err, "%s", wrong);
    return parse_event(p, &e, err);
}

/* ---- from the front ---- */

static int bracket(struct history_parser *p, uint8_t c, uint32_t line, struct err *err)
{
    if (c == '[' || c == '(') {
        if (p->bracket)
            return parse_fail(p, line, err, "a %s in a %s: maps are wanted there",
                              c == '[' ? "vector" : "list", p->bracket == '[' ? "vector" : "list");
        p->bracket = (char)c;
        return 0;
    }
    if (p->bracket != (c == ']' ? '[' : '('))
        return parse_fail(p, line, err, "a closing bracket that nothing opened");
    p->bracket = 0;
    return 0;
}

static uint32_t lines_before(struct slice bytes, const uint8_t *at)
{
    uint32_t lines = 0;
    for (const uint8_t *c = bytes.data; c < at; c++)
        lines += *c == '\n';
    return lines;
}

int history_parse_edn(struct history_parser *p, struct slice bytes, bool last, size_t *used,
                      struct err *err)
{
    struct text t = {bytes.data, bytes.data + bytes.len, NULL};
    struct form form;
    skip_blanks(&t);
    *used = (size_t)(t.at - bytes.data);
    if (t.at == t.end) {
        /* A comment may go on in what comes next: it is read again with that. */
        if (!last)
            *used = 0;
        return 0;
    }
    uint32_t line = p->line + lines_before(bytes, t.at);
    if (strchr("[]()", *t.at)) {
        ++*used;
        return bracket(p, *t.at, line, err);
    }
    if (*t.at != '{')
        return parse_fail(p, line, err, "a map {…} is wanted");
    if (!read_form(&t, &form, 0)) {
        *used = 0;
        if (!t.why && !last)
            return 0;
        return parse_fail(p, line, err, "%s",
                          t.why ? t.why : "the file ends in the map that begins here");
    }
    *used = (size_t)(t.at - bytes.data);
    return map_event(p, form.text, line, err);
}

int history_parse_edn_end(struct history_parser *p, struct err *err)
{
    if (!p->bracket)
        return 0;
    return parse_fail(p, p->line, err, "the file ends, and its %s is not closed",
                      p->bracket == '[' ? "vector" : "list");
}
