/*
 * Writes a random history of a linearizable store as JSON lines to stdout, for trying out and
 * measuring `raftkv-check history`.
 *
 *     history-make OPERATIONS [KEYS [MIX [SEED]]]
 *
 * MIX: `values` (put and get, each value once, no indexes), `indexes` (put, get, delete, cas,
 * append, replies bear indexes), `scans` (those, scan and batch; 16 keys at most), `repeated` (few
 * values, no indexes).
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/opt.h"
#include "tests/support/history_maker.h"

struct mix {
    const char *name;
    bool indexes;
    uint32_t values;
    uint32_t weights[HISTORY_KINDS];
};

static const struct mix mixes[] = {
    {"values", false, 0, {[HISTORY_GET] = 1, [HISTORY_PUT] = 1}},
    {"indexes",
     true,
     0,
     {[HISTORY_GET] = 8,
      [HISTORY_PUT] = 5,
      [HISTORY_DELETE] = 1,
      [HISTORY_CAS] = 1,
      [HISTORY_APPEND] = 1}},
    {"scans",
     true,
     0,
     {[HISTORY_GET] = 4,
      [HISTORY_PUT] = 4,
      [HISTORY_DELETE] = 1,
      [HISTORY_CAS] = 1,
      [HISTORY_SCAN] = 1,
      [HISTORY_BATCH] = 1}},
    {"repeated", false, 8, {[HISTORY_GET] = 2, [HISTORY_PUT] = 1, [HISTORY_CAS] = 1}},
};

static void write_value(const char *name, const struct maker_value *v)
{
    if (v->present)
        printf(",\"%s\":\"%s\"", name, v->text);
    else
        printf(",\"%s\":null", name);
}

static void write_items(const struct maker_operation *op, bool batch)
{
    printf(",\"%s\":[", batch ? "ops" : "items");
    for (uint32_t i = 0; i < op->item_count; i++) {
        const struct maker_item *item = &op->items[i];
        printf("%s{", i > 0 ? "," : "");
        if (batch)
            printf("\"op\":\"%s\",", item->value.present ? "put" : "delete");
        printf("\"key\":\"k%02" PRIu32 "\"", item->key);
        if (item->value.present)
            printf(",\"value\":\"%s\"", item->value.text);
        if (!batch)
            printf(",\"version\":%" PRIu64, item->value.version);
        printf("}");
    }
    printf("]");
}

static void write_event(void *argument, const struct maker_event *e)
{
    static const char *const types[] = {"invoke", "ok", "fail", "info"};
    const struct mix *mix = argument;
    const struct maker_operation *op = e->op;
    bool call = e->type == HISTORY_INVOKE, ok = e->type == HISTORY_RETURN_OK;
    bool batch = op->kind == HISTORY_BATCH, scan = op->kind == HISTORY_SCAN;
    printf("{\"process\":%" PRIu32 ",\"type\":\"%s\",\"op\":\"%s\"", e->process, types[e->type],
           history_kind_name((uint32_t)op->kind));
    if (scan)
        printf(",\"prefix\":\"\"");
    else if (!batch)
        printf(",\"key\":\"k%02" PRIu32 "\"", op->key);
    if ((batch && call) || (scan && ok))
        write_items(op, batch);
    if (call && op->kind == HISTORY_CAS)
        write_value("expect", &op->expect);
    if (op->kind == HISTORY_GET ? ok : call && !batch && !scan && op->kind != HISTORY_DELETE)
        write_value("value", &op->value);
    if (ok && mix->indexes && !scan && op->version)
        printf(",\"version\":%" PRIu64, op->version);
    if (ok && mix->indexes && scan)
        printf(",\"index\":%" PRIu64, op->index);
    printf(",\"time\":%" PRIu64 "}\n", e->ns);
}

static uint64_t number(int argc, char **argv, int which, uint64_t fallback, uint64_t max)
{
    uint64_t n = fallback;
    if (argc > which && (opt_parse_uint(argv[which], &n) != 0 || n == 0 || n > max)) {
        fprintf(stderr, "history-make: %s must be a number from 1 to %" PRIu64 "\n", argv[which],
                max);
        exit(2);
    }
    return n;
}

int main(int argc, char **argv)
{
    const struct mix *mix = NULL;
    const char *name = argc > 3 ? argv[3] : "indexes";
    for (size_t i = 0; i < sizeof(mixes) / sizeof(mixes[0]); i++)
        if (strcmp(mixes[i].name, name) == 0)
            mix = &mixes[i];
    if (argc < 2 || !mix) {
        fprintf(stderr,
                "usage: history-make OPERATIONS [KEYS [values|indexes|scans|repeated [SEED]]]\n");
        return 2;
    }
    bool scans = mix->weights[HISTORY_SCAN] > 0;
    struct mix copy = *mix;
    struct maker_options options = {
        .operations = (uint32_t)number(argc, argv, 1, 1000, UINT32_MAX / 8),
        .keys = (uint32_t)number(argc, argv, 2, scans ? MAKER_ITEMS_MAX : 100,
                                 scans ? MAKER_ITEMS_MAX : 1000000),
        .seed = number(argc, argv, 4, 1, UINT64_MAX / 16),
        .processes = 64,
        .unknown = 10,
        .values = mix->values,
    };
    memcpy(options.weights, mix->weights, sizeof(options.weights));
    history_make(&options, write_event, &copy);
    return fflush(stdout) == 0 && !ferror(stdout) ? 0 : 1;
}
