/*
 * Walks any JSON object, for programs that show what a node says of itself without knowing each
 * member of it.
 */
#ifndef RAFTKV_JSON_WALK_H
#define RAFTKV_JSON_WALK_H

#include "lib/base/buf.h"
#include "lib/base/err.h"

enum { JSON_WALK_PATH_BYTES = 256 };

/* `path` is "name", "index.commit" or "members[0].name"; `text` a string as it is, a number,
 * "true", "false" or "null". Both are valid during the call. Returns non-zero to end the walk. */
typedef int json_walk_each(void *argument, const char *path, struct slice text);

/* Visits every scalar in the order of the text. `each` may be NULL: only checks that `text` is one
 * JSON object. ERR_BAD_REQUEST if it is not (or a path is longer than JSON_WALK_PATH_BYTES), else
 * what `each` returned. */
int json_walk(struct slice text, json_walk_each *each, void *argument, struct err *err);

#endif
