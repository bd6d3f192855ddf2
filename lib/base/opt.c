/* Options: parsing, environment, configuration values and --help from one table. */
#include "lib/base/opt.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/buf.h"
#include "lib/base/check.h"
#include "lib/base/limits.h"
#include "lib/base/mem.h"

enum { HELP_COLUMN = 32, SHOWN_BYTES = 64 };

struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit durations[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}};
static const struct unit sizes[] = {{"", 1},
                                    {"B", 1},
                                    {"KiB", UINT64_C(1) << 10},
                                    {"MiB", UINT64_C(1) << 20},
                                    {"GiB", UINT64_C(1) << 30},
                                    {"TiB", UINT64_C(1) << 40}};

enum {
    DURATION_UNITS = sizeof(durations) / sizeof(durations[0]),
    SIZE_UNITS = sizeof(sizes) / sizeof(sizes[0]),
};

/* ---- numbers ---- */

/* Decimal digits from the front; *end points behind them. */
static int parse_digits(const char *text, uint64_t *value, const char **end)
{
    if (!isdigit((unsigned char)*text))
        return ERR_BAD_REQUEST;
    uint64_t v = 0;
    for (; isdigit((unsigned char)*text); text++)
        if (__builtin_mul_overflow(v, 10U, &v) ||
            __builtin_add_overflow(v, (unsigned)(*text - '0'), &v))
            return ERR_BAD_REQUEST;
    *value = v;
    *end = text;
    return 0;
}

static int parse_with_unit(const char *text, const struct unit *units, size_t count,
                           uint64_t *value)
{
    const char *end;
    uint64_t v;
    if (parse_digits(text, &v, &end) < 0)
        return ERR_BAD_REQUEST;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(end, units[i].name) != 0)
            continue;
        if (__builtin_mul_overflow(v, units[i].factor, &v))
            return ERR_BAD_REQUEST;
        *value = v;
        return 0;
    }
    return ERR_BAD_REQUEST;
}

int opt_parse_uint(const char *text, uint64_t *value)
{
    const char *end;
    uint64_t v;
    if (parse_digits(text, &v, &end) < 0 || *end)
        return ERR_BAD_REQUEST;
    *value = v;
    return 0;
}

int opt_parse_duration(const char *text, uint64_t *value_ms)
{
    if (strcmp(text, "0") == 0) {
        *value_ms = 0;
        return 0;
    }
    return parse_with_unit(text, durations, DURATION_UNITS, value_ms);
}

int opt_parse_bytes(const char *text, uint64_t *value)
{
    return parse_with_unit(text, sizes, SIZE_UNITS, value);
}

/* ---- values ---- */

/* Strings that came from a place that does not last. They live as long as the process, like argv;
 * the same text is kept once, so that reading a file again does not add to them. */
static struct kept {
    struct kept *next;
    char *text;
} * kept_strings;

static const char *keep(const char *text)
{
    for (struct kept *k = kept_strings; k; k = k->next)
        if (strcmp(k->text, text) == 0)
            return k->text;
    struct kept *k = mem_alloc(sizeof(*k));
    *k = (struct kept){.next = kept_strings, .text = mem_strdup(text)};
    kept_strings = k;
    return k->text;
}

/* A stranger's text in a message: one line is ensured by err_set, this one bounds it. */
static const char *shown(const char *text, char out[SHOWN_BYTES + 8])
{
    size_t len = strnlen(text, SHOWN_BYTES + 1);
    if (len <= SHOWN_BYTES) {
        memcpy(out, text, len + 1);
    } else {
        memcpy(out, text, SHOWN_BYTES);
        memcpy(out + SHOWN_BYTES, "…", sizeof("…"));
    }
    return out;
}

/* A number in the largest unit that divides it. */
static void put_number(struct buf *b, uint64_t value, const struct unit *units, size_t count)
{
    size_t best = 0;
    for (size_t i = 1; i < count; i++)
        if (value && value % units[i].factor == 0 && units[i].factor > units[best].factor)
            best = i;
    buf_printf(b, "%llu%s", (unsigned long long)(value / units[best].factor),
               value ? units[best].name : "");
}

static void put_range(struct buf *b, const struct opt *o)
{
    const struct unit *units = o->type == OPT_DURATION ? durations : sizes;
    size_t count = o->type == OPT_DURATION ? DURATION_UNITS : o->type == OPT_BYTES ? SIZE_UNITS : 1;
    if (o->max) {
        buf_append_str(b, " from ");
        put_number(b, o->min, units, count);
        buf_append_str(b, " to ");
        put_number(b, o->max, units, count);
    } else if (o->min) {
        buf_append_str(b, " of at least ");
        put_number(b, o->min, units, count);
    }
}

/* What may stand there, for messages. */
static int bad_value(const struct opt *o, const char *where, const char *text, struct err *err)
{
    struct buf allowed;
    char value[SHOWN_BYTES + 8];
    buf_init(&allowed, ERR_TEXT_BYTES);
    switch (o->type) {
    case OPT_FLAG:
    case OPT_ASK: buf_append_str(&allowed, "neither true nor false"); break;
    case OPT_STRING: buf_append_str(&allowed, "no text"); break;
    case OPT_UINT:
        buf_append_str(&allowed, "no whole number");
        put_range(&allowed, o);
        break;
    case OPT_DURATION:
        buf_append_str(&allowed, "no duration (such as 500ms, 5s, 2m, 1h)");
        put_range(&allowed, o);
        break;
    case OPT_BYTES:
        buf_append_str(&allowed, "no size (such as 64, 10KiB, 1MiB, 2GiB)");
        put_range(&allowed, o);
        break;
    case OPT_WORD:
        buf_append_str(&allowed, "none of ");
        for (size_t i = 0; o->words[i]; i++)
            buf_printf(&allowed, "%s%s", i ? ", " : "", o->words[i]);
        break;
    }
    int rc = err_set(err, ERR_USAGE, "%s: '%s' is %s", where, shown(text, value),
                     (const char *)allowed.data);
    buf_release(&allowed);
    return rc;
}

static int parse_flag(const char *text, bool *value)
{
    static const char *const yes[] = {"true", "1", "yes", "on"};
    static const char *const no[] = {"false", "0", "no", "off"};
    for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
        if (strcmp(text, yes[i]) == 0 || strcmp(text, no[i]) == 0) {
            *value = strcmp(text, yes[i]) == 0;
            return 0;
        }
    }
    return ERR_BAD_REQUEST;
}

static int parse_number(const struct opt *o, const char *text, uint64_t *value)
{
    uint64_t v = 0;
    int rc = o->type == OPT_UINT       ? opt_parse_uint(text, &v)
             : o->type == OPT_DURATION ? opt_parse_duration(text, &v)
                                       : opt_parse_bytes(text, &v);
    if (rc < 0 || v < o->min || (o->max && v > o->max))
        return ERR_BAD_REQUEST;
    *value = v;
    return 0;
}

static int parse_word(const struct opt *o, const char *text, int *value)
{
    for (int i = 0; o->words[i]; i++) {
        if (strcmp(text, o->words[i]) == 0) {
            *value = i;
            return 0;
        }
    }
    return ERR_BAD_REQUEST;
}

/* Sets the variable behind the option. `lasts`: the text lives as long as the process. */
static int assign(const struct opt *o, const char *text, bool lasts, const char *where,
                  struct err *err)
{
    int rc = 0;
    switch (o->type) {
    case OPT_FLAG:
    case OPT_ASK: rc = parse_flag(text, o->value); break;
    case OPT_STRING: *(const char **)o->value = lasts ? text : keep(text); break;
    case OPT_UINT:
    case OPT_DURATION:
    case OPT_BYTES: rc = parse_number(o, text, o->value); break;
    case OPT_WORD: rc = parse_word(o, text, o->value); break;
    }
    return rc < 0 ? bad_value(o, where, text, err) : 0;
}

static bool takes_value(const struct opt *o)
{
    return o->type != OPT_FLAG && o->type != OPT_ASK;
}

const struct opt *opt_find(const struct opt_set *set, const char *name)
{
    for (size_t i = 0; i < set->option_count; i++)
        if (strcmp(set->options[i].name, name) == 0)
            return &set->options[i];
    return NULL;
}

int opt_assign(const struct opt_set *set, const char *name, const char *text, const char *where,
               struct err *err)
{
    char value[SHOWN_BYTES + 8];
    const struct opt *o = opt_find(set, name);
    if (!o || o->type == OPT_ASK)
        return err_set(err, ERR_USAGE, "%s: unknown option '%s'", where, shown(name, value));
    char place[ERR_TEXT_BYTES / 2];
    snprintf(place, sizeof(place), "%s: %s", where, name);
    return assign(o, text, false, place, err);
}

/* ---- environment ---- */

static void environment_name(const struct opt_set *set, const struct opt *o,
                             char out[LIMIT_OPT_NAME_BYTES * 2])
{
    size_t at = 0;
    ASSERT(strlen(set->env_prefix) + strlen(o->name) < (size_t)LIMIT_OPT_NAME_BYTES * 2);
    for (const char *s = set->env_prefix; *s; s++)
        out[at++] = *s;
    for (const char *s = o->name; *s; s++)
        out[at++] = *s == '-' ? '_' : (char)toupper((unsigned char)*s);
    out[at] = '\0';
}

int opt_environment(const struct opt_set *set, bool *seen, struct err *err)
{
    if (!set->env_prefix)
        return 0;
    for (size_t i = 0; i < set->option_count; i++) {
        char name[LIMIT_OPT_NAME_BYTES * 2];
        if (set->options[i].type == OPT_ASK)
            continue; /* RAFTKV_VERSION is often somebody else's */
        environment_name(set, &set->options[i], name);
        const char *text = seen[i] ? NULL : getenv(name);
        if (!text)
            continue;
        int rc = assign(&set->options[i], text, false, name, err);
        if (rc < 0)
            return rc;
        seen[i] = true;
    }
    return 0;
}

/* ---- command line ---- */

struct parser {
    const struct opt_set *set;
    int argc;
    char **argv;
    int next; /* the argument behind the one being looked at */
    bool *seen;
    struct err *err;
};

/* `value` is what stood behind '=' (or behind the letter), or NULL; `as` is the option as typed. */
static int take_option(struct parser *p, const struct opt *o, const char *value, const char *as)
{
    if (p->seen)
        p->seen[o - p->set->options] = true;
    if (!takes_value(o)) {
        if (value)
            return err_set(p->err, ERR_USAGE, "%s takes no value", as);
        *(bool *)o->value = true;
        return 0;
    }
    if (!value) {
        if (p->next >= p->argc)
            return err_set(p->err, ERR_USAGE, "%s needs a value (%s)", as,
                           o->argument ? o->argument : "VALUE");
        value = p->argv[p->next++];
    }
    return assign(o, value, true, as, p->err);
}

static int take_long(struct parser *p, const char *arg, bool *help)
{
    char name[LIMIT_OPT_NAME_BYTES], as[LIMIT_OPT_NAME_BYTES + 2], text[SHOWN_BYTES + 8];
    size_t len = strcspn(arg + 2, "=");
    const struct opt *o = NULL;
    if (len < sizeof(name)) {
        memcpy(name, arg + 2, len);
        name[len] = '\0';
        if (strcmp(name, "help") == 0 && arg[2 + len] == '\0') {
            *help = true;
            return 0;
        }
        o = opt_find(p->set, name);
    }
    if (!o)
        return err_set(p->err, ERR_USAGE, "unknown option '%s' (see %s --help)", shown(arg, text),
                       p->set->program);
    memcpy(as, "--", 2);
    memcpy(as + 2, name, len + 1);
    return take_option(p, o, arg[2 + len] == '=' ? arg + 2 + len + 1 : NULL, as);
}

static const struct opt *find_letter(const struct opt_set *set, char letter)
{
    for (size_t i = 0; i < set->option_count; i++)
        if (set->options[i].letter == letter)
            return &set->options[i];
    return NULL;
}

/* -a, -ab (two flags), -o value, -ovalue */
static int take_letters(struct parser *p, const char *arg, bool *help)
{
    for (const char *at = arg + 1; *at; at++) {
        const char as[] = {'-', *at, '\0'};
        const struct opt *o = find_letter(p->set, *at);
        if (!o && *at == 'h') {
            *help = true;
            return 0;
        }
        if (!o) {
            char text[SHOWN_BYTES + 8];
            return err_set(p->err, ERR_USAGE, "unknown option '%s' (see %s --help)",
                           at == arg + 1 && at[1] ? shown(arg, text) : as, p->set->program);
        }
        if (takes_value(o))
            return take_option(p, o, at[1] ? at + 1 : NULL, as);
        int rc = take_option(p, o, NULL, as);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int opt_parse(const struct opt_set *set, int argc, char **argv, bool stop_at_operand,
              const char **operands, int *operand_count, bool *help, bool *seen, struct err *err)
{
    struct parser p = {.set = set, .argc = argc, .argv = argv, .next = 1, .seen = seen, .err = err};
    int count = 0;
    bool ended = false;
    *help = false;
    if (seen)
        memset(seen, 0, set->option_count * sizeof(*seen));
    while (p.next < argc) {
        const char *arg = argv[p.next++];
        int rc = 0;
        if (ended || arg[0] != '-' || arg[1] == '\0') {
            ended = ended || stop_at_operand;
            operands[count++] = arg;
        } else if (strcmp(arg, "--") == 0) {
            ended = true;
        } else if (arg[1] == '-') {
            rc = take_long(&p, arg, help);
        } else {
            rc = take_letters(&p, arg, help);
        }
        if (rc < 0)
            return rc;
        if (*help)
            break;
    }
    *operand_count = count;
    return 0;
}

/* ---- help ---- */

static void put_option(struct buf *b, char letter, const char *name, const char *argument)
{
    size_t start = b->len;
    if (letter)
        buf_printf(b, "  -%c, --%s", letter, name);
    else
        buf_printf(b, "      --%s", name);
    if (argument)
        buf_printf(b, " %s", argument);
    size_t width = b->len - start;
    if (width + 2 > HELP_COLUMN) {
        buf_append_byte(b, '\n');
        width = 0;
    }
    buf_printf(b, "%*s", (int)(HELP_COLUMN - width), "");
}

static void put_words(struct buf *b, const struct opt *o)
{
    for (size_t i = 0; o->words[i]; i++)
        buf_printf(b, "%s%s", i ? "|" : "", o->words[i]);
}

char *opt_help(const struct opt_set *set)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    buf_printf(&b, "Usage: %s %s\n%s\n\nOptions:\n", set->program, set->usage, set->summary);
    for (size_t i = 0; i < set->option_count; i++) {
        const struct opt *o = &set->options[i];
        struct buf words;
        buf_init(&words, ERR_TEXT_BYTES);
        const char *argument = o->argument;
        if (o->type == OPT_WORD && !argument) {
            put_words(&words, o);
            argument = (const char *)words.data;
        }
        put_option(&b, o->letter, o->name, takes_value(o) ? argument : NULL);
        buf_append_str(&b, o->help);
        if (o->fallback)
            buf_printf(&b, " (default: %s)", o->fallback);
        buf_append_byte(&b, '\n');
        buf_release(&words);
    }
    put_option(&b, find_letter(set, 'h') ? 0 : 'h', "help", NULL);
    buf_append_str(&b, "show this help\n");
    if (set->footer)
        buf_printf(&b, "\n%s", set->footer);
    if (b.data[b.len - 1] != '\n')
        buf_append_byte(&b, '\n');
    return (char *)buf_take(&b, NULL);
}
