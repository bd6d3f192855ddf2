/* Visits the scalars of a JSON object; see walk.h. */
#include "lib/json/walk.h"

#include <stdio.h>
#include <string.h>

#include "lib/json/json_internal.h"

struct walk {
    json_walk_each *each;
    void *argument;
    struct err *err;
    char path[JSON_WALK_PATH_BYTES];
};

static int visit(struct walk *w, const json_t *value)
{
    char number[64];
    switch (json_typeof(value)) {
    case JSON_STRING:
        return w->each(w->argument, w->path,
                       slice_of(json_string_value(value), json_string_length(value)));
    case JSON_INTEGER:
        snprintf(number, sizeof(number), "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        break;
    case JSON_REAL: snprintf(number, sizeof(number), "%.17g", json_real_value(value)); break;
    case JSON_TRUE: return w->each(w->argument, w->path, slice_str("true"));
    case JSON_FALSE: return w->each(w->argument, w->path, slice_str("false"));
    default: return w->each(w->argument, w->path, slice_str("null"));
    }
    return w->each(w->argument, w->path, slice_str(number));
}

static int too_long(struct walk *w)
{
    return err_set(w->err, ERR_BAD_REQUEST, "names of more than %d bytes", JSON_WALK_PATH_BYTES);
}

/* The depth is bounded by json_parse_object. */
static int descend(struct walk *w, const json_t *value) // NOLINT(misc-no-recursion)
{
    size_t len = strlen(w->path);
    size_t room = sizeof(w->path) - len;
    int rc = 0;
    if (json_is_object(value)) {
        for (void *at = json_object_iter((json_t *)(uintptr_t)value); at && rc == 0;
             at = json_object_iter_next((json_t *)(uintptr_t)value, at)) {
            int n =
                snprintf(w->path + len, room, "%s%s", len > 0 ? "." : "", json_object_iter_key(at));
            rc = n < 0 || (size_t)n >= room ? too_long(w) : descend(w, json_object_iter_value(at));
        }
    } else if (json_is_array(value)) {
        for (size_t i = 0; i < json_array_size(value) && rc == 0; i++) {
            int n = snprintf(w->path + len, room, "[%zu]", i);
            rc = n < 0 || (size_t)n >= room ? too_long(w) : descend(w, json_array_get(value, i));
        }
    } else {
        return visit(w, value);
    }
    w->path[len] = '\0';
    return rc;
}

int json_walk(struct slice text, json_walk_each *each, void *argument, struct err *err)
{
    json_t *root = NULL;
    int rc = json_parse_object(text, LIMIT_JSON_DEPTH, &root, err);
    if (rc < 0)
        return rc;
    if (each) {
        struct walk w = {.each = each, .argument = argument, .err = err};
        rc = descend(&w, root);
    }
    json_decref(root);
    return rc;
}
