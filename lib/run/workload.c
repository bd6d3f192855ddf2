/* The workloads; see workload.h. */
#include "lib/run/workload.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/opt.h"

enum {
    LIST_ELEMENTS = 50, /* appended to a key, about; then other keys are used */
    ACCOUNTS = 5,
    ACCOUNT_START = 20,
    VALUE_TEXT_BYTES = 64,
    SHEETS = 5, /* keys of a bundle */
    BUNDLE_TEXT_BYTES = 4096,
};

static uint32_t draw_group(struct worker *w)
{
    return (uint32_t)prng_below(&w->prng, w->load->keys);
}

/* A value that nobody else writes. */
static struct slice new_value(struct worker *w, char out[VALUE_TEXT_BYTES])
{
    snprintf(out, VALUE_TEXT_BYTES, "%" PRIu32 ".%" PRIu64, w->number, ++w->values);
    return slice_str(out);
}

/* ---- register: put, get, compare-and-set, delete ---- */

/* What was read last of this key (or of another one that shares the place): often still there. */
static struct buf *known_value(struct worker *w, uint32_t group)
{
    return &w->known[group % WORKLOAD_KNOWN];
}

static void register_step(struct worker *w)
{
    char key_text[WORKLOAD_KEY_BYTES], value_text[VALUE_TEXT_BYTES];
    uint32_t group = draw_group(w), what = (uint32_t)prng_below(&w->prng, 100);
    struct slice key = worker_key(w, group, key_text), value = new_value(w, value_text);
    struct buf *known = known_value(w, group);
    if (what < 40 && worker_get(w, key) == RECORD_OK) {
        buf_clear(known);
        if (w->present)
            ASSERT(buf_append(known, w->value.data, w->value.len) == 0);
    } else if (what >= 40 && what < 70) {
        if (worker_put(w, key, value) == RECORD_OK) {
            buf_clear(known);
            ASSERT(buf_append(known, value.data, value.len) == 0);
        }
    } else if (what >= 70 && what < 95) {
        struct slice expect = known->len ? slice_of(known->data, known->len) : slice_of(NULL, 0);
        if (worker_cas(w, key, expect, value) == RECORD_OK) {
            buf_clear(known);
            ASSERT(buf_append(known, value.data, value.len) == 0);
        }
    } else if (what >= 95) {
        worker_delete(w, key);
    }
}

/* ---- append: each element is in its list once ---- */

static uint32_t list_of(struct worker *w)
{
    struct load *l = w->load;
    return tally_count(&l->tally) / (l->keys * LIST_ELEMENTS) * l->keys + draw_group(w);
}

static void append_step(struct worker *w)
{
    char key_text[WORKLOAD_KEY_BYTES], value_text[VALUE_TEXT_BYTES];
    uint32_t group = list_of(w);
    struct slice key = worker_key(w, group, key_text);
    if (prng_chance(&w->prng, 1, 4)) {
        worker_get(w, key);
        return;
    }
    uint32_t number = tally_new(&w->load->tally, group);
    snprintf(value_text, sizeof(value_text), "%" PRIu32 ",", number);
    tally_told(&w->load->tally, number, worker_append(w, key, slice_str(value_text)));
}

static bool append_finish(struct worker *w)
{
    char key_text[WORKLOAD_KEY_BYTES];
    struct tally *t = &w->load->tally;
    uint32_t groups = 0;
    for (uint32_t i = 0; i < t->count; i++)
        groups = t->elements[i].group >= groups ? t->elements[i].group + 1 : groups;
    for (uint32_t i = 0; i < t->count; i++)
        t->elements[i].seen = 0;
    for (uint32_t group = 0; group < groups; group++) {
        if (worker_get(w, worker_key(w, group, key_text)) != RECORD_OK)
            return false;
        if (w->present)
            tally_seen_list(t, group, slice_of(w->value.data, w->value.len));
    }
    return true;
}

/* ---- set: elements are keys ---- */

static struct slice element_key(const struct worker *w, uint32_t number,
                                char out[WORKLOAD_KEY_BYTES])
{
    snprintf(out, WORKLOAD_KEY_BYTES, "%s%09" PRIu32, w->load->prefix, number);
    return slice_str(out);
}

static void set_step(struct worker *w)
{
    char key_text[WORKLOAD_KEY_BYTES], value_text[VALUE_TEXT_BYTES];
    struct tally *t = &w->load->tally;
    uint32_t count = tally_count(t);
    if (count > 0 && prng_chance(&w->prng, 1, 4)) {
        uint32_t recent = count < w->load->keys ? count : w->load->keys;
        uint32_t number = count - 1 - (uint32_t)prng_below(&w->prng, recent);
        worker_get(w, element_key(w, number, key_text));
        return;
    }
    uint32_t number = tally_new(t, 0);
    snprintf(value_text, sizeof(value_text), "%" PRIu32, number);
    tally_told(t, number, worker_put(w, element_key(w, number, key_text), slice_str(value_text)));
}

static void element_seen(struct worker *w, const struct api_item *item)
{
    char text[VALUE_TEXT_BYTES], key_text[WORKLOAD_KEY_BYTES];
    uint64_t number = UINT32_MAX;
    if (item->value.len < sizeof(text)) {
        memcpy(text, item->value.data, item->value.len);
        text[item->value.len] = '\0';
        if (opt_parse_uint(text, &number) != 0 || number > UINT32_MAX)
            number = UINT32_MAX;
    }
    struct slice key = element_key(w, (uint32_t)number, key_text);
    if (slice_compare(key, slice_of(item->key.data, item->key.len)) != 0)
        load_violated(w->load, "key %.*s holds the value of another one", (int)item->key.len,
                      (const char *)item->key.data);
    tally_seen(&w->load->tally, 0, (uint32_t)number);
}

static bool set_finish(struct worker *w)
{
    struct tally *t = &w->load->tally;
    for (uint32_t i = 0; i < t->count; i++)
        t->elements[i].seen = 0;
    return worker_scan_all(w, slice_str(w->load->prefix), element_seen);
}

/* ---- bank: what is in a bank stays in it ---- */

/* "20,20,20,20,20" into numbers; false: it is no bank, or its total is not what it was. */
static bool parse_bank(struct slice text, uint32_t accounts[ACCOUNTS])
{
    uint32_t total = 0, count = 0;
    bool digits = false;
    accounts[0] = 0;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t ch = text.data[i];
        if (ch >= '0' && ch <= '9' && accounts[count] < 1000) {
            accounts[count] = accounts[count] * 10 + (uint32_t)(ch - '0');
            digits = true;
        } else if (ch == ',' && digits && count + 1 < ACCOUNTS) {
            accounts[++count] = 0;
            digits = false;
        } else {
            return false;
        }
    }
    for (uint32_t i = 0; i <= count; i++)
        total += accounts[i];
    return digits && count + 1 == ACCOUNTS && total == ACCOUNTS * ACCOUNT_START;
}

static struct slice print_bank(const uint32_t accounts[ACCOUNTS], char out[VALUE_TEXT_BYTES])
{
    size_t len = 0;
    for (int i = 0; i < ACCOUNTS; i++)
        len += (size_t)snprintf(out + len, VALUE_TEXT_BYTES - len, "%s%" PRIu32, i ? "," : "",
                                accounts[i]);
    return slice_str(out);
}

static void check_bank(struct worker *w, struct slice key, struct slice value,
                       uint32_t accounts[ACCOUNTS])
{
    if (!parse_bank(value, accounts))
        load_violated(w->load, "%.*s holds \"%.*s\": the total is not %d", (int)key.len,
                      (const char *)key.data, (int)(value.len < 100 ? value.len : 100),
                      (const char *)value.data, ACCOUNTS * ACCOUNT_START);
}

static bool bank_prepare(struct worker *w)
{
    char key_text[WORKLOAD_KEY_BYTES], value_text[VALUE_TEXT_BYTES];
    uint32_t accounts[ACCOUNTS];
    for (int i = 0; i < ACCOUNTS; i++)
        accounts[i] = ACCOUNT_START;
    struct slice start = print_bank(accounts, value_text);
    for (uint32_t group = 0; group < w->load->keys; group++) {
        struct slice key = worker_key(w, group, key_text);
        if (worker_get(w, key) != RECORD_OK)
            return false;
        if (!w->present && worker_cas(w, key, slice_of(NULL, 0), start) != RECORD_OK)
            return false;
    }
    return true;
}

static void transfer(struct worker *w, struct slice key)
{
    char old_text[VALUE_TEXT_BYTES], new_text[VALUE_TEXT_BYTES];
    uint32_t accounts[ACCOUNTS];
    if (worker_get(w, key) != RECORD_OK)
        return;
    struct slice value = slice_of(w->value.data, w->value.len);
    check_bank(w, key, value, accounts);
    if (!parse_bank(value, accounts))
        return;
    struct slice old = print_bank(accounts, old_text);
    uint32_t from = (uint32_t)prng_below(&w->prng, ACCOUNTS);
    uint32_t to = (from + 1 + (uint32_t)prng_below(&w->prng, ACCOUNTS - 1)) % ACCOUNTS;
    uint32_t amount = (uint32_t)prng_below(&w->prng, accounts[from] + 1);
    accounts[from] -= amount;
    accounts[to] += amount;
    worker_cas(w, key, old, print_bank(accounts, new_text));
}

static bool scan_banks(struct worker *w)
{
    struct api_page page;
    uint32_t accounts[ACCOUNTS];
    bool good = worker_scan(w, slice_str(w->load->prefix), &page) == RECORD_OK;
    for (size_t i = 0; good && i < page.count; i++)
        check_bank(w, slice_of(page.items[i].key.data, page.items[i].key.len),
                   slice_of(page.items[i].value.data, page.items[i].value.len), accounts);
    if (good && page.count != w->load->keys)
        load_violated(w->load, "a scan has %zu banks of %" PRIu32, page.count, w->load->keys);
    api_page_release(&page);
    return good;
}

static void bank_step(struct worker *w)
{
    char key_text[WORKLOAD_KEY_BYTES];
    if (prng_chance(&w->prng, 1, 5))
        scan_banks(w);
    else
        transfer(w, worker_key(w, draw_group(w), key_text));
}

/* ---- batch: bundles of keys that are only ever written together ---- */

/* The prefix of a bundle's keys; nothing else begins with it. */
static struct slice bundle_prefix(const struct worker *w, uint32_t group,
                                  char out[WORKLOAD_KEY_BYTES])
{
    snprintf(out, WORKLOAD_KEY_BYTES, "%s%05" PRIu32 ".", w->load->prefix, group);
    return slice_str(out);
}

/* One value for all of them; NULL: all are deleted. */
static void write_bundle(struct worker *w, uint32_t group, const char *value)
{
    char prefix[WORKLOAD_KEY_BYTES];
    struct buf ops;
    bundle_prefix(w, group, prefix);
    buf_init(&ops, BUNDLE_TEXT_BYTES);
    for (int i = 0; i < SHEETS; i++) {
        const char *lead = i ? "," : "[";
        ASSERT((value ? buf_printf(&ops, "%s{\"op\":\"put\",\"key\":\"%s%d\",\"value\":\"%s\"}",
                                   lead, prefix, i, value)
                      : buf_printf(&ops, "%s{\"op\":\"delete\",\"key\":\"%s%d\"}", lead, prefix,
                                   i)) == 0);
    }
    ASSERT(buf_append_byte(&ops, ']') == 0);
    worker_batch(w, slice_of(ops.data, ops.len));
    buf_release(&ops);
}

static bool same_sheet(const struct api_item *a, const struct api_item *b)
{
    return a->version == b->version && slice_compare(slice_of(a->value.data, a->value.len),
                                                     slice_of(b->value.data, b->value.len)) == 0;
}

/* All of a bundle or nothing, of one version and value: else a batch was torn. */
static bool scan_bundle(struct worker *w, uint32_t group)
{
    char prefix[WORKLOAD_KEY_BYTES];
    struct api_page page;
    bool good = worker_scan(w, bundle_prefix(w, group, prefix), &page) == RECORD_OK;
    bool whole = page.count == 0 || page.count == SHEETS;
    for (size_t i = 1; whole && i < page.count; i++)
        whole = same_sheet(&page.items[0], &page.items[i]);
    if (good && !whole)
        load_violated(w->load,
                      "a scan of %s sees a part of a batch: %zu keys, from version %" PRIu64,
                      prefix, page.count, page.items[0].version);
    api_page_release(&page);
    return good;
}

static void batch_step(struct worker *w)
{
    char value[VALUE_TEXT_BYTES];
    uint32_t group = draw_group(w), what = (uint32_t)prng_below(&w->prng, 100);
    new_value(w, value);
    if (what < 45)
        write_bundle(w, group, value);
    else if (what < 55)
        write_bundle(w, group, NULL);
    else
        scan_bundle(w, group);
}

static bool batch_finish(struct worker *w)
{
    for (uint32_t group = 0; group < w->load->keys; group++)
        if (!scan_bundle(w, group))
            return false;
    return true;
}

/* ---- scan: pages of keys that come and go ---- */

static void scan_step(struct worker *w)
{
    char key_text[WORKLOAD_KEY_BYTES], value_text[VALUE_TEXT_BYTES];
    uint32_t group = draw_group(w), what = (uint32_t)prng_below(&w->prng, 100);
    struct slice key = worker_key(w, group, key_text);
    struct api_page page;
    if (what < 40) {
        worker_put(w, key, new_value(w, value_text));
    } else if (what < 55) {
        worker_delete(w, key);
    } else if (what < 70) {
        worker_get(w, key);
    } else {
        worker_scan(w, slice_str(w->load->prefix), &page);
        api_page_release(&page);
    }
}

static bool scan_finish(struct worker *w)
{
    struct api_page page;
    bool good = worker_scan(w, slice_str(w->load->prefix), &page) == RECORD_OK;
    api_page_release(&page);
    return good;
}

static bool register_finish(struct worker *w)
{
    char key_text[WORKLOAD_KEY_BYTES];
    for (uint32_t group = 0; group < w->load->keys; group++)
        if (worker_get(w, worker_key(w, group, key_text)) != RECORD_OK)
            return false;
    return true;
}

/* ---- the table ---- */

static const struct workload workloads[] = {
    {"register", "put, get, compare-and-set, delete", 10, NULL, register_step, register_finish},
    {"append", "lists that grow; none twice, none lost", 8, NULL, append_step, append_finish},
    {"set", "keys that are added; none lost", 100, NULL, set_step, set_finish},
    {"bank", "transfers by conditional writes; totals stay", 5, bank_prepare, bank_step,
     scan_banks},
    {"scan", "put, delete, and scans of all", 20, NULL, scan_step, scan_finish},
    {"batch", "keys written together, seen together", 5, NULL, batch_step, batch_finish},
};

const struct workload *workload_at(unsigned i)
{
    return i < sizeof(workloads) / sizeof(workloads[0]) ? &workloads[i] : NULL;
}

const struct workload *workload_find(const char *name)
{
    for (unsigned i = 0; workload_at(i); i++)
        if (strcmp(workloads[i].name, name) == 0)
            return &workloads[i];
    return NULL;
}
