/* The table of workloads; see workload.h. */
#include "lib/bench/workload.h"

#include <string.h>

#include "lib/base/check.h"
#include "lib/base/opt.h"

enum { PARTS_MAX = 1000000, WORD_BYTES = 64 };

static const char *const op_names[BENCH_OPS] = {"put", "get", "delete", "scan", "conditional"};

static const struct bench_workload workloads[] = {
    {"put", "puts", KEYS_UNIFORM, {[BENCH_PUT] = 1}, 0},
    {"get", "gets", KEYS_UNIFORM, {[BENCH_GET] = 1}, 0},
    {"delete", "deletes", KEYS_SEQUENTIAL, {[BENCH_DELETE] = 1}, 0},
    {"scan", "scans from a key on", KEYS_UNIFORM, {[BENCH_SCAN] = 1}, 0},
    {"conditional",
     "a get, then a put if nobody wrote meanwhile",
     KEYS_UNIFORM,
     {[BENCH_CONDITIONAL] = 1},
     0},
    {"mixed",
     "half gets, half puts, or as --ratio says",
     KEYS_UNIFORM,
     {[BENCH_PUT] = 1, [BENCH_GET] = 1},
     0},
    {"a", "YCSB A: half gets, half puts", KEYS_ZIPFIAN, {[BENCH_PUT] = 50, [BENCH_GET] = 50}, 0},
    {"b", "YCSB B: 95 % gets, 5 % puts", KEYS_ZIPFIAN, {[BENCH_PUT] = 5, [BENCH_GET] = 95}, 0},
    {"c", "YCSB C: gets", KEYS_ZIPFIAN, {[BENCH_GET] = 1}, 0},
    {"d", "YCSB D: 95 % gets of the latest, 5 % new keys", KEYS_LATEST, {[BENCH_GET] = 95}, 5},
    {"e", "YCSB E: 95 % scans, 5 % new keys", KEYS_ZIPFIAN, {[BENCH_SCAN] = 95}, 5},
    {"f",
     "YCSB F: half gets, half read-modify-write",
     KEYS_ZIPFIAN,
     {[BENCH_GET] = 50, [BENCH_CONDITIONAL] = 50},
     0},
};

const char *bench_op_name(enum bench_op op)
{
    return op_names[op];
}

bool bench_op_writes(enum bench_op op)
{
    return op != BENCH_GET && op != BENCH_SCAN;
}

const struct bench_workload *bench_workload_at(unsigned i)
{
    return i < sizeof(workloads) / sizeof(workloads[0]) ? &workloads[i] : NULL;
}

const struct bench_workload *bench_workload_find(const char *name)
{
    for (unsigned i = 0; bench_workload_at(i); i++)
        if (strcmp(workloads[i].name, name) == 0)
            return &workloads[i];
    return NULL;
}

/* The place of the parts of that operation; NULL: there is none of that name. */
static unsigned *parts_of(struct bench_workload *w, const char *name)
{
    if (strcmp(name, "insert") == 0)
        return &w->inserts;
    for (int op = 0; op < BENCH_OPS; op++)
        if (strcmp(name, op_names[op]) == 0)
            return &w->ratio[op];
    return NULL;
}

static unsigned sum_of(const struct bench_workload *w)
{
    unsigned sum = w->inserts;
    for (int op = 0; op < BENCH_OPS; op++)
        sum += w->ratio[op];
    return sum;
}

int bench_workload_parse_ratio(struct bench_workload *w, const char *text, struct err *err)
{
    memset(w->ratio, 0, sizeof(w->ratio));
    w->inserts = 0;
    for (const char *from = text; *from;) {
        char word[WORD_BYTES];
        size_t len = strcspn(from, ",");
        uint64_t parts;
        if (len >= sizeof(word))
            return err_set(err, ERR_USAGE, "'%.*s' is no OPERATION=PARTS", (int)len, from);
        memcpy(word, from, len);
        word[len] = '\0';
        char *sign = strchr(word, '=');
        if (!sign || opt_parse_uint(sign + 1, &parts) != 0 || parts > PARTS_MAX)
            return err_set(err, ERR_USAGE, "'%s' is no OPERATION=PARTS, as get=95", word);
        *sign = '\0';
        unsigned *place = parts_of(w, word);
        if (!place)
            return err_set(err, ERR_USAGE,
                           "'%s' is no operation: put, insert, get, delete, scan, conditional",
                           word);
        *place = (unsigned)parts;
        from += len + (from[len] == ',');
    }
    return sum_of(w) > 0 ? 0 : err_set(err, ERR_USAGE, "'%s' leaves no operation", text);
}

enum bench_op bench_workload_draw(const struct bench_workload *w, struct prng *p, bool *insert)
{
    uint64_t at = prng_below(p, sum_of(w));
    *insert = at < w->inserts;
    if (*insert)
        return BENCH_PUT;
    at -= w->inserts;
    for (int op = 0; op < BENCH_OPS; op++) {
        if (at < w->ratio[op])
            return (enum bench_op)op;
        at -= w->ratio[op];
    }
    ASSERT(false);
}

bool bench_workload_writes(const struct bench_workload *w)
{
    bool writes = w->inserts > 0;
    for (int op = 0; op < BENCH_OPS; op++)
        writes = writes || (w->ratio[op] > 0 && bench_op_writes((enum bench_op)op));
    return writes;
}
