/* Histories as they happen; see record.h. */
#include "lib/run/record.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/clock.h"

enum { LINE_BYTES_MAX = 64 << 20 };

static const char *const names[] = {"get", "put", "delete", "cas", "append", "scan", "batch"};
static const char *const ends[] = {"ok", "fail", "info"};

const char *record_op_name(enum record_op op)
{
    return names[op];
}

bool record_op_writes(enum record_op op)
{
    return op != RECORD_GET && op != RECORD_SCAN;
}

enum record_end record_end_of(bool write, int code, const struct client_reply *reply)
{
    if (code == 0)
        return RECORD_OK;
    if (!write)
        return code == ERR_NOT_FOUND && reply->node[0] ? RECORD_OK : RECORD_FAIL;
    return reply->outcome == OUTCOME_NOT_APPLIED ? RECORD_FAIL : RECORD_INFO;
}

/* ---- lines ---- */

static void put_slice(struct buf *line, const char *name, struct slice s)
{
    if (!s.data) {
        ASSERT(buf_printf(line, ",\"%s\":null", name) == 0);
        return;
    }
    ASSERT(buf_append_byte(line, ',') == 0 && json_bytes_member(name, s, line) == 0);
}

static void put_start(struct buf *line, uint32_t process, const char *type,
                      const struct record_call *call)
{
    buf_init(line, LINE_BYTES_MAX);
    ASSERT(buf_printf(line, "{\"process\":%" PRIu32 ",\"type\":\"%s\",\"op\":\"%s\"", process, type,
                      names[call->op]) == 0);
    if (call->op != RECORD_BATCH)
        put_slice(line, call->op == RECORD_SCAN ? "prefix" : "key", call->key);
}

static void put_items(struct buf *line, const struct api_page *page)
{
    ASSERT(buf_append_str(line, ",\"items\":[") == 0);
    for (size_t i = 0; i < page->count; i++) {
        const struct api_item *item = &page->items[i];
        ASSERT(buf_append_str(line, i ? ",{" : "{") == 0);
        ASSERT(json_bytes_member("key", slice_of(item->key.data, item->key.len), line) == 0);
        put_slice(
            line, "value",
            slice_of(item->value.data ? item->value.data : (const uint8_t *)"", item->value.len));
        ASSERT(buf_printf(line, ",\"version\":%" PRIu64 "}", item->version) == 0);
    }
    ASSERT(buf_append_byte(line, ']') == 0);
}

static void put_result(struct buf *line, const struct record_call *call,
                       const struct record_result *result)
{
    if (call->op == RECORD_GET)
        put_slice(line, "value", result->value);
    if (call->op == RECORD_SCAN)
        put_items(line, result->page);
    if (result->has_deleted)
        ASSERT(buf_printf(line, ",\"deleted\":%s", result->deleted ? "true" : "false") == 0);
    if (result->has_version)
        ASSERT(buf_printf(line, ",\"version\":%" PRIu64, result->version) == 0);
    if (result->has_index)
        ASSERT(buf_printf(line, ",\"index\":%" PRIu64, result->index) == 0);
}

/* The line's time is read under the lock that orders the lines. */
static uint64_t write_line(struct recorder *r, struct buf *line)
{
    uint64_t now = recorder_now_us(r);
    r->broken |= fwrite(line->data, 1, line->len, r->file) != line->len ||
                 fprintf(r->file, ",\"time\":%" PRIu64 "}\n", now * 1000) < 0;
    r->lines++;
    return now;
}

void recorder_invoke(struct recorder *r, uint32_t process, const struct record_call *call)
{
    struct buf line;
    put_start(&line, process, "invoke", call);
    if (call->op == RECORD_CAS)
        put_slice(&line, "expect", call->expect);
    if (call->op == RECORD_PUT || call->op == RECORD_CAS || call->op == RECORD_APPEND)
        put_slice(&line, "value", call->value);
    if (call->op == RECORD_BATCH)
        ASSERT(buf_append_str(&line, ",\"ops\":") == 0 &&
               buf_append(&line, call->key.data, call->key.len) == 0);
    pthread_mutex_lock(&r->lock);
    write_line(r, &line);
    pthread_mutex_unlock(&r->lock);
    buf_release(&line);
}

void recorder_return(struct recorder *r, uint32_t process, const struct record_call *call,
                     enum record_end end, const struct record_result *result)
{
    static const enum stats_kind kinds[] = {STATS_OK, STATS_FAILED, STATS_UNKNOWN};
    enum stats_kind kind = end == RECORD_FAIL && result->unmet ? STATS_UNMET : kinds[end];
    struct buf line;
    put_start(&line, process, ends[end], call);
    if (end == RECORD_OK)
        put_result(&line, call, result);
    pthread_mutex_lock(&r->lock);
    uint64_t now = write_line(r, &line);
    stats_add(&r->stats, now, kind, record_op_writes(call->op));
    pthread_mutex_unlock(&r->lock);
    buf_release(&line);
}

/* ---- life ---- */

int recorder_open(struct recorder *r, const char *path, struct err *err)
{
    memset(r, 0, sizeof(*r));
    r->file = fopen(path, "we");
    if (!r->file)
        return err_errno(err, ERR_IO, errno, "%s", path);
    pthread_mutex_init(&r->lock, NULL);
    stats_init(&r->stats);
    r->began_us = clock_now_us();
    return 0;
}

int recorder_close(struct recorder *r, struct err *err)
{
    if (!r->file)
        return 0;
    bool broken = fclose(r->file) != 0 || r->broken;
    r->file = NULL;
    pthread_mutex_destroy(&r->lock);
    return broken ? err_errno(err, ERR_IO, errno, "cannot write the history") : 0;
}

uint32_t recorder_process(struct recorder *r)
{
    pthread_mutex_lock(&r->lock);
    uint32_t process = r->processes++;
    pthread_mutex_unlock(&r->lock);
    return process;
}

uint64_t recorder_now_us(const struct recorder *r)
{
    return clock_now_us() - r->began_us;
}
