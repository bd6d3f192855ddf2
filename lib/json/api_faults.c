/* /faults, both directions, by two tables. */
#include "lib/json/api_faults.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/opt.h"
#include "lib/json/json_internal.h"
#include "lib/kv/command.h"

enum { HOUR_MS = 3600000, TEXT_BYTES = 256 };
static const int64_t DECADE_MS = INT64_C(315576000000);

#define BIT(field) (1U << API_FAULT_##field)

static const struct {
    const char *name;
    unsigned needs, may; /* fields */
} kinds[API_FAULT_KINDS] = {
    [API_FAULT_DROP] = {"drop", BIT(PEER), BIT(PER_MILLE)},
    [API_FAULT_DELAY] = {"delay", BIT(PEER) | BIT(DELAY_MS), 0},
    [API_FAULT_FSYNC_DELAY] = {"fsync-delay", BIT(DELAY_MS), BIT(FILE)},
    [API_FAULT_FSYNC_ERROR] = {"fsync-error", 0, BIT(FILE)},
    [API_FAULT_DISK_FULL] = {"disk-full", 0, BIT(FILE)},
    [API_FAULT_DISK_STALL] = {"disk-stall", 0, BIT(FILE)},
    [API_FAULT_CLOCK_OFFSET] = {"clock-offset", BIT(OFFSET_MS), 0},
    [API_FAULT_CLOCK_RATE] = {"clock-rate", BIT(PPM), 0},
    [API_FAULT_CRASH] = {"crash", BIT(POINT), BIT(AFTER)},
};

static const char *const files[] = {"raft.db", "kv.db", NULL};
static const char *const points[] = {"before-persist",    "after-persist",    "before-apply",
                                     "after-apply",       "before-install",   "after-install",
                                     "before-compaction", "after-compaction", NULL};

static const struct {
    const char *name;
    const char *const *words; /* NULL: a number, or the peer */
    int64_t min, max, fallback;
} fields[API_FAULT_FIELDS] = {
    [API_FAULT_PEER] = {"peer", NULL, 0, 0, 0},
    [API_FAULT_PER_MILLE] = {"per_mille", NULL, 1, 1000, 1000},
    [API_FAULT_DELAY_MS] = {"delay_ms", NULL, 1, HOUR_MS, 0},
    [API_FAULT_FILE] = {"file", files, 0, 0, 0},
    [API_FAULT_OFFSET_MS] = {"offset_ms", NULL, -DECADE_MS, DECADE_MS, 0},
    [API_FAULT_PPM] = {"ppm", NULL, -500000, 500000, 0},
    [API_FAULT_POINT] = {"point", points, 0, 0, 0},
    [API_FAULT_AFTER] = {"after", NULL, 1, 1000000000, 1},
};

const char *api_fault_kind_name(enum api_fault_kind kind)
{
    return kinds[kind].name;
}

const char *api_fault_point_name(enum api_fault_point point)
{
    return points[point];
}

bool api_fault_has(const struct api_fault *f, enum api_fault_field field)
{
    return f->given & 1U << field;
}

/* ---- what is allowed, for people ---- */

static void list_word(char out[TEXT_BYTES], const char *word)
{
    size_t len = strlen(out);
    snprintf(out + len, TEXT_BYTES - len, "%s%s", len > 0 ? ", " : "", word);
}

static int unknown_kind(const char *kind, struct err *err)
{
    char all[TEXT_BYTES] = "";
    for (int i = 0; i < API_FAULT_KINDS; i++)
        list_word(all, kinds[i].name);
    return err_set(err, ERR_BAD_REQUEST, "kind '%.64s' must be one of: %s", kind, all);
}

static int unknown_field(const struct api_fault *f, const char *name, struct err *err)
{
    char all[TEXT_BYTES] = "";
    for (int i = 0; i < API_FAULT_FIELDS; i++) {
        if ((kinds[f->kind].needs | kinds[f->kind].may) & 1U << i)
            list_word(all, fields[i].name);
    }
    return err_set(err, ERR_BAD_REQUEST, "%s has no '%.64s', but: %s", kinds[f->kind].name, name,
                   all);
}

static void allowed(enum api_fault_field field, char out[TEXT_BYTES])
{
    *out = '\0';
    if (field == API_FAULT_PEER) {
        snprintf(out, TEXT_BYTES, "the name of a member, or * for all");
        return;
    }
    if (!fields[field].words)
        snprintf(out, TEXT_BYTES, "a whole number from %" PRId64 " to %" PRId64, fields[field].min,
                 fields[field].max);
    for (const char *const *word = fields[field].words; word && *word; word++)
        list_word(out, *word);
}

static int bad_value(enum api_fault_field field, const char *text, struct err *err)
{
    char want[TEXT_BYTES];
    allowed(field, want);
    return err_set(err, ERR_BAD_REQUEST, "%s '%.64s' must be %s%s", fields[field].name, text,
                   fields[field].words ? "one of: " : "", want);
}

/* ---- one by one ---- */

int api_fault_begin(struct api_fault *f, const char *kind, struct err *err)
{
    memset(f, 0, sizeof(*f));
    for (int i = 0; i < API_FAULT_FIELDS; i++)
        f->value[i] = fields[i].fallback;
    for (int i = 0; i < API_FAULT_KINDS; i++) {
        if (strcmp(kinds[i].name, kind) == 0) {
            f->kind = (enum api_fault_kind)i;
            return 0;
        }
    }
    return unknown_kind(kind, err);
}

/* -1: this kind has no such field. */
static int find_field(const struct api_fault *f, const char *name)
{
    for (int i = 0; i < API_FAULT_FIELDS; i++) {
        if ((kinds[f->kind].needs | kinds[f->kind].may) & 1U << i &&
            strcmp(fields[i].name, name) == 0)
            return i;
    }
    return -1;
}

static bool set_peer(struct api_fault *f, const char *text)
{
    if (strcmp(text, "*") != 0 && !member_name_valid(text, strlen(text)))
        return false;
    snprintf(f->peer, sizeof(f->peer), "%s", text);
    return true;
}

static bool set_word(struct api_fault *f, enum api_fault_field field, const char *text)
{
    const char *const *words = fields[field].words;
    for (int i = 0; words[i]; i++) {
        if (strcmp(words[i], text) == 0) {
            f->value[field] = i;
            return true;
        }
    }
    return false;
}

static bool set_number(struct api_fault *f, enum api_fault_field field, int64_t value)
{
    f->value[field] = value;
    return value >= fields[field].min && value <= fields[field].max;
}

/* "-12", "+12", "12" */
static bool parse_number(const char *text, int64_t *out)
{
    bool minus = *text == '-';
    uint64_t value;
    if (opt_parse_uint(text + (minus || *text == '+'), &value) != 0 || value > INT64_MAX)
        return false;
    *out = minus ? -(int64_t)value : (int64_t)value;
    return true;
}

int api_fault_set(struct api_fault *f, const char *name, const char *text, struct err *err)
{
    int found = find_field(f, name);
    int64_t number;
    if (found < 0)
        return unknown_field(f, name, err);
    enum api_fault_field field = (enum api_fault_field)found;
    bool good;
    if (field == API_FAULT_PEER)
        good = set_peer(f, text);
    else if (fields[field].words)
        good = set_word(f, field, text);
    else
        good = parse_number(text, &number) && set_number(f, field, number);
    if (!good)
        return bad_value(field, text, err);
    f->given |= 1U << field;
    return 0;
}

int api_fault_check(const struct api_fault *f, struct err *err)
{
    char want[TEXT_BYTES];
    unsigned missing = kinds[f->kind].needs & ~f->given;
    for (int i = 0; i < API_FAULT_FIELDS; i++) {
        if (missing & 1U << i) {
            allowed((enum api_fault_field)i, want);
            return err_set(err, ERR_BAD_REQUEST, "%s needs '%s': %s", kinds[f->kind].name,
                           fields[i].name, want);
        }
    }
    return 0;
}

/* ---- reading ---- */

static int read_value(struct api_fault *f, const char *name, const json_t *value, struct err *err)
{
    int found = find_field(f, name);
    if (found < 0)
        return unknown_field(f, name, err);
    enum api_fault_field field = (enum api_fault_field)found;
    bool number = field != API_FAULT_PEER && !fields[field].words;
    if (number && json_is_integer(value)) {
        char text[24];
        if (set_number(f, field, json_integer_value(value))) {
            f->given |= 1U << field;
            return 0;
        }
        snprintf(text, sizeof(text), "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        return bad_value(field, text, err);
    }
    if (number || !json_is_string(value))
        return bad_value(field, number ? "(no number)" : "(no string)", err);
    if (strlen(json_string_value(value)) != json_string_length(value))
        return bad_value(field, "(with a NUL)", err);
    return api_fault_set(f, name, json_string_value(value), err);
}

/* `with_id`: a reply. */
static int read_fault(json_t *object, bool with_id, struct api_fault *f, struct err *err)
{
    const json_t *kind = json_object_get(object, "kind");
    const char *name;
    json_t *value;
    uint64_t id = 0;
    if (!json_is_string(kind))
        return unknown_kind(kind ? "(no string)" : "(none)", err);
    int rc = api_fault_begin(f, json_string_value(kind), err);
    json_object_foreach(object, name, value)
    {
        if (rc == 0 && with_id && strcmp(name, "id") == 0)
            id = json_is_integer(value) ? (uint64_t)json_integer_value(value) : 0;
        else if (rc == 0 && strcmp(name, "kind") != 0)
            rc = read_value(f, name, value, err);
    }
    f->id = id;
    return rc ? rc : api_fault_check(f, err);
}

static int decode(struct slice body, bool with_id, struct api_fault *f, struct err *err)
{
    json_t *root = NULL;
    int rc = json_parse_object(body, LIMIT_JSON_DEPTH, &root, err);
    if (rc < 0)
        return rc;
    rc = read_fault(root, with_id, f, err);
    json_decref(root);
    return rc;
}

int api_fault_decode(struct slice body, struct api_fault *f, struct err *err)
{
    return decode(body, false, f, err);
}

int api_fault_reply_decode(struct slice body, struct api_fault *f, struct err *err)
{
    int rc = decode(body, true, f, err);
    return rc || f->id ? rc : err_set(err, ERR_BAD_REQUEST, "a fault without an id");
}

int api_faults_decode(struct slice body, struct api_fault *faults, size_t *count, struct err *err)
{
    json_t *root = NULL;
    int rc = json_parse_object(body, LIMIT_JSON_DEPTH, &root, err);
    if (rc < 0)
        return rc;
    json_t *list = json_object_get(root, "faults");
    size_t room = *count;
    *count = json_array_size(list);
    if (!json_is_array(list) || *count > room)
        rc = err_set(err, ERR_BAD_REQUEST, "member 'faults' is no list, or too long");
    for (size_t i = 0; rc == 0 && i < *count; i++) {
        json_t *element = json_array_get(list, i);
        rc = json_is_object(element)
                 ? read_fault(element, true, &faults[i], err)
                 : err_set(err, ERR_BAD_REQUEST, "member 'faults' holds what is no object");
    }
    json_decref(root);
    return rc;
}

/* ---- writing ---- */

static int put_i64(struct buf *out, int64_t v)
{
    return buf_printf(out, "%" PRId64, v);
}

/* `lead` before each name, `between` behind it. */
static int put_field(struct buf *out, const struct api_fault *f, int field, bool json)
{
    const char *const *words = fields[field].words;
    const char *text = field == API_FAULT_PEER ? f->peer : words ? words[f->value[field]] : NULL;
    int rc = buf_printf(out, json ? ",\"%s\":" : " %s=", fields[field].name);
    if (rc < 0)
        return rc;
    if (!text)
        return put_i64(out, f->value[field]);
    return json ? json_put_text(out, text) : buf_append_str(out, text);
}

static int put_fields(struct buf *out, const struct api_fault *f, bool json)
{
    int rc = 0;
    for (int i = 0; rc == 0 && i < API_FAULT_FIELDS; i++) {
        if (f->given & 1U << i)
            rc = put_field(out, f, i, json);
    }
    return rc;
}

int api_fault_encode(const struct api_fault *f, struct buf *out)
{
    int rc = f->id ? json_put_u64_after(out, "{\"id\":", f->id) : 0;
    if (rc == 0)
        rc = json_put_text_after(out, f->id ? ",\"kind\":" : "{\"kind\":", kinds[f->kind].name);
    if (rc == 0)
        rc = put_fields(out, f, true);
    return rc < 0 ? rc : buf_append_byte(out, '}');
}

int api_faults_encode(const struct api_fault *faults, size_t count, struct buf *out)
{
    int rc = buf_append_str(out, "{\"faults\":[");
    for (size_t i = 0; rc == 0 && i < count; i++) {
        if (i > 0)
            rc = buf_append_byte(out, ',');
        if (rc == 0)
            rc = api_fault_encode(&faults[i], out);
    }
    return rc < 0 ? rc : buf_append_str(out, "]}");
}

int api_fault_text(const struct api_fault *f, struct buf *out)
{
    int rc = buf_append_str(out, kinds[f->kind].name);
    return rc < 0 ? rc : put_fields(out, f, false);
}
