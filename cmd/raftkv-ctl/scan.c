/* scan: keys in order, page after page. */
#include <stdio.h>

#include "cmd/raftkv-ctl/ctl.h"
#include "lib/base/mem.h"
#include "lib/json/api.h"

enum { PAGE_ITEMS = 1000 };

static const char *scan_start, *scan_end;
static uint64_t scan_limit;
static bool scan_reverse, scan_keys_only, scan_null;

static const struct opt scan_options[] = {
    {"start", 0, OPT_STRING, &scan_start, "KEY", "first key (included)", 0, 0, NULL, NULL},
    {"end", 0, OPT_STRING, &scan_end, "KEY", "last key (not included)", 0, 0, NULL, NULL},
    {"limit", 0, OPT_UINT, &scan_limit, "N", "at most N keys", 1, UINT64_MAX, NULL, NULL},
    {"reverse", 0, OPT_FLAG, &scan_reverse, NULL, "in descending order", 0, 0, NULL, NULL},
    {"keys-only", 0, OPT_FLAG, &scan_keys_only, NULL, "without values", 0, 0, NULL, NULL},
    {"null", '0', OPT_FLAG, &scan_null, NULL, "a NUL behind each key and value", 0, 0, NULL, NULL},
};

static void print_bytes(const struct buf *b, char behind)
{
    if (b->len > 0)
        fwrite(b->data, 1, b->len, stdout);
    putchar(behind);
}

static void print_page(const struct api_page *page)
{
    for (size_t i = 0; i < page->count; i++) {
        const struct api_item *item = &page->items[i];
        print_bytes(&item->key, scan_null ? '\0' : scan_keys_only ? '\n' : '\t');
        if (!scan_keys_only)
            print_bytes(&item->value, scan_null ? '\0' : '\n');
    }
}

static int run_scan(struct ctl *c, int argc, const char *const *argv)
{
    struct err err;
    struct client_scan scan = {.prefix = slice_str(argc > 0 ? argv[0] : ""),
                               .start = scan_start ? slice_str(scan_start) : slice_of(NULL, 0),
                               .end = scan_end ? slice_str(scan_end) : slice_of(NULL, 0),
                               .reverse = scan_reverse,
                               .keys_only = scan_keys_only};
    uint64_t left = scan_limit;
    char *cursor = NULL;
    if (scan_null && c->output == OUTPUT_JSON)
        return command_usage(c->command, "-0 and -o json exclude each other");
    for (;;) {
        struct api_page page;
        scan.limit = left > 0 && left < PAGE_ITEMS ? (uint32_t)left : PAGE_ITEMS;
        int code = client_scan(c->client, &scan, &c->reply, &page, &err);
        if (code != 0) {
            mem_free(cursor);
            return ctl_failed(c, code, &err, NULL);
        }
        if (c->output == OUTPUT_JSON)
            ctl_print_body(c);
        else
            print_page(&page);
        bool enough = scan_limit > 0 && page.count >= left;
        left -= scan_limit > 0 && !enough ? page.count : 0;
        mem_free(cursor);
        cursor = page.next ? mem_strdup(page.next) : NULL;
        scan.cursor = cursor;
        api_page_release(&page);
        if (enough || !cursor || ferror(stdout))
            break;
    }
    mem_free(cursor);
    return EXIT_DONE;
}

const struct ctl_command scan_command = {
    .command =
        {
            .name = "scan",
            .usage = "[options] [PREFIX]",
            .summary = "print keys and values in order",
            .footer = "A line is KEY, a tab and VALUE, their bytes as they are. With -0 a NUL "
                      "stands behind "
                      "each of\nthem; with -o json a line is a page, as the node sends it.\n",
            .options = scan_options,
            .option_count = sizeof(scan_options) / sizeof(scan_options[0]),
            .operands_min = 0,
            .operands_max = 1,
        },
    .run = run_scan,
};
