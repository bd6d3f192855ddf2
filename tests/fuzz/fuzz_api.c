/* The client API's JSON: what the node reads from clients, and the tools from nodes. The first byte
 * chooses. */
#include "lib/base/mem.h"
#include "lib/json/api.h"
#include "lib/json/walk.h"
#include "tests/fuzz/fuzz.h"

enum { TEXT_MAX = 8 << 20 };

static struct slice slice_of_buf(const struct buf *b)
{
    return slice_of(b->data, b->len);
}

static void fuzz_error(struct slice body)
{
    struct api_error e, again;
    struct err err = {0};
    int rc = api_error_decode(body, &e, &err);
    if (rc != 0) {
        fuzz_check_error(rc, ERR_BAD_REQUEST, &err);
        return;
    }
    struct buf text;
    buf_init(&text, TEXT_MAX);
    FUZZ_CHECK(api_error_encode(&e, &text) == 0);
    FUZZ_CHECK(api_error_decode(slice_of_buf(&text), &again, &err) == 0);
    FUZZ_CHECK(again.code == e.code && again.outcome == e.outcome &&
               again.retryable == e.retryable && again.has_version == e.has_version &&
               again.version == e.version && again.has_limit == e.has_limit);
    buf_release(&text);
}

static void check_items(const struct api_item *a, const struct api_item *b)
{
    fuzz_check_same(&a->key, &b->key);
    fuzz_check_same(&a->value, &b->value);
    FUZZ_CHECK(a->version == b->version && a->timestamp_ms == b->timestamp_ms);
}

static struct row row_of(const struct api_item *i)
{
    return (struct row){slice_of_buf(&i->key), slice_of_buf(&i->value), i->version,
                        i->timestamp_ms};
}

static void fuzz_item(struct slice body)
{
    struct api_item i, again;
    struct err err = {0};
    int rc = api_item_decode(body, &i, &err);
    if (rc != 0) {
        fuzz_check_error(rc, ERR_BAD_REQUEST, &err);
        return;
    }
    struct buf text;
    struct row row = row_of(&i);
    buf_init(&text, TEXT_MAX);
    FUZZ_CHECK(api_item_encode(&row, i.has_value, &text) == 0);
    FUZZ_CHECK(api_item_decode(slice_of_buf(&text), &again, &err) == 0);
    check_items(&i, &again);
    api_item_release(&again);
    api_item_release(&i);
    buf_release(&text);
}

static void fuzz_page(struct slice body)
{
    struct api_page p, again;
    struct err err = {0};
    int rc = api_page_decode(body, &p, &err);
    if (rc != 0) {
        fuzz_check_error(rc, ERR_BAD_REQUEST, &err);
        return;
    }
    struct buf text;
    buf_init(&text, TEXT_MAX);
    FUZZ_CHECK(api_page_begin(&text) == 0);
    for (size_t i = 0; i < p.count; i++) {
        struct row row = row_of(&p.items[i]);
        FUZZ_CHECK(api_page_row(&text, &row, !p.items[i].has_value, i == 0) == 0);
    }
    FUZZ_CHECK(api_page_end(&text, p.next, p.index) == 0);
    FUZZ_CHECK(api_page_decode(slice_of_buf(&text), &again, &err) == 0);
    FUZZ_CHECK(again.count == p.count && again.index == p.index && !again.next == !p.next);
    for (size_t i = 0; i < p.count; i++)
        check_items(&p.items[i], &again.items[i]);
    api_page_release(&again);
    api_page_release(&p);
    buf_release(&text);
}

static void fuzz_status(struct slice body)
{
    struct api_status s, again;
    struct err err = {0};
    int rc = api_status_decode(body, &s, &err);
    if (rc != 0) {
        fuzz_check_error(rc, ERR_BAD_REQUEST, &err);
        return;
    }
    struct buf text, second;
    buf_init(&text, TEXT_MAX);
    buf_init(&second, TEXT_MAX);
    FUZZ_CHECK(api_status_encode(&s, &text) == 0);
    FUZZ_CHECK(api_status_decode(slice_of_buf(&text), &again, &err) == 0);
    FUZZ_CHECK(api_status_encode(&again, &second) == 0);
    fuzz_check_same(&text, &second);
    buf_release(&second);
    buf_release(&text);
}

static void fuzz_requests(struct slice body, bool with_auto_promote)
{
    struct api_member_request r, again;
    struct api_leader_request to;
    struct err err = {0};
    int rc = api_member_request_decode(body, with_auto_promote, &r, &err);
    if (rc != 0) {
        fuzz_check_error(rc, ERR_BAD_REQUEST, &err);
    } else {
        struct buf text;
        buf_init(&text, TEXT_MAX);
        FUZZ_CHECK(api_member_request_encode(&r, with_auto_promote, &text) == 0);
        FUZZ_CHECK(
            api_member_request_decode(slice_of_buf(&text), with_auto_promote, &again, &err) == 0);
        FUZZ_CHECK(memcmp(&r, &again, sizeof(r)) == 0);
        buf_release(&text);
    }
    err = (struct err){0};
    rc = api_leader_request_decode(body, &to, &err);
    if (rc != 0)
        fuzz_check_error(rc, ERR_BAD_REQUEST, &err);
}

static int flat_member(void *count, const char *name, const char *text, struct err *err)
{
    (void)err;
    *(size_t *)count += strlen(name) + strlen(text);
    return 0;
}

static int walk_member(void *count, const char *path, struct slice text)
{
    FUZZ_CHECK(strlen(path) < JSON_WALK_PATH_BYTES);
    *(size_t *)count += text.len;
    return 0;
}

static void fuzz_any(struct slice body)
{
    size_t count = 0;
    struct err err = {0};
    int rc = json_flat_object(body, flat_member, &count, &err);
    if (rc != 0)
        fuzz_check_error(rc, ERR_BAD_REQUEST, &err);
    err = (struct err){0};
    rc = json_walk(body, walk_member, &count, &err);
    if (rc != 0)
        fuzz_check_error(rc, ERR_BAD_REQUEST, &err);
}

static void fuzz_cursor(struct slice text)
{
    struct scan_cursor c;
    struct err err = {0};
    int rc = scan_cursor_decode(text, &c, &err);
    if (rc != 0) {
        fuzz_check_error(rc, ERR_BAD_REQUEST, &err);
        return;
    }
    /* Strict: there is one text for one cursor. */
    struct state_scan scan = {.prefix = slice_of_buf(&c.prefix),
                              .start = slice_of_buf(&c.start),
                              .end = slice_of_buf(&c.end),
                              .reverse = c.reverse,
                              .keys_only = c.keys_only};
    struct buf again;
    buf_init(&again, LIMIT_CURSOR_BYTES);
    FUZZ_CHECK(scan_cursor_encode(&scan, slice_of_buf(&c.after), &again) == 0);
    FUZZ_CHECK(slice_compare(slice_of_buf(&again), text) == 0);
    buf_release(&again);
    scan_cursor_release(&c);
}

/* The same with a checksum that fits, which no fuzzer finds by itself. */
static void fuzz_cursor_raw(struct slice raw)
{
    struct buf whole;
    buf_init(&whole, LIMIT_CURSOR_BYTES);
    uint32_t crc = crc32c(0, raw.data, raw.len);
    uint8_t sum[4] = {(uint8_t)crc, (uint8_t)(crc >> 8), (uint8_t)(crc >> 16),
                      (uint8_t)(crc >> 24)};
    if (buf_append(&whole, raw.data, raw.len) == 0 && buf_append(&whole, sum, sizeof(sum)) == 0) {
        char *text = mem_alloc(base64_encoded_len(whole.len) + 1);
        base64_encode(text, whole.data, whole.len);
        size_t len = (whole.len * 8 + 5) / 6;
        for (size_t i = 0; i < len; i++)
            text[i] = (char)(text[i] == '+' ? '-' : text[i] == '/' ? '_' : text[i]);
        fuzz_cursor(slice_of(text, len));
        mem_free(text);
    }
    buf_release(&whole);
}

static void fuzz_quote(struct slice bytes)
{
    struct buf text, body;
    struct api_item item;
    struct err err = {0};
    if (bytes.len == 0 || bytes.len > LIMIT_KEY_BYTES)
        return;
    buf_init(&text, TEXT_MAX);
    buf_init(&body, TEXT_MAX);
    FUZZ_CHECK((json_quote(bytes, &text) == 0) == utf8_valid(bytes.data, bytes.len));
    FUZZ_CHECK(api_deleted_encode(bytes, true, 1, &body) == 0);
    FUZZ_CHECK(api_item_decode(slice_of_buf(&body), &item, &err) == 0);
    FUZZ_CHECK(slice_compare(slice_of_buf(&item.key), bytes) == 0);
    api_item_release(&item);
    buf_release(&body);
    buf_release(&text);
}

/* Refused in words, or what a command takes, and says again. */
static void fuzz_batch(struct slice body)
{
    struct buf writes, text;
    struct api_error e;
    struct api_batch_reply reply;
    struct apply_result result = {.version = 1};
    uint32_t count;
    int rc = api_batch_decode(body, LIMIT_VALUE_BYTES_DEFAULT, &writes, &count, &e);
    FUZZ_CHECK(rc == e.code);
    if (rc != 0) {
        FUZZ_CHECK((rc == ERR_BAD_REQUEST || rc == ERR_TOO_LARGE) && e.message[0]);
        return;
    }
    struct command c = {.op = COMMAND_BATCH, .write_count = count, .writes = slice_of_buf(&writes)};
    uint8_t *bytes = mem_alloc(command_encoded_bytes(&c));
    command_encode(&c, bytes); /* asserts */
    mem_free(bytes);
    buf_init(&text, TEXT_MAX);
    FUZZ_CHECK(api_batch_reply_encode(slice_of_buf(&writes), &result, &text) == 0);
    FUZZ_CHECK(api_batch_reply_decode(slice_of_buf(&text), &reply, NULL) == 0);
    FUZZ_CHECK(reply.puts + reply.deletes == count && reply.deleted == 0);
    buf_release(&text);
    buf_release(&writes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t choice = fuzz_choose(&data, &size);
    struct slice body = slice_of(data, size);
    switch (choice) {
    case 'e': fuzz_error(body); break;
    case 'i': fuzz_item(body); break;
    case 'p': fuzz_page(body); break;
    case 's': fuzz_status(body); break;
    case 'm': fuzz_requests(body, true); break;
    case 'r': fuzz_requests(body, false); break;
    case 'a': fuzz_any(body); break;
    case 'c': fuzz_cursor(body); break;
    case 'C': fuzz_cursor_raw(body); break;
    case 'q': fuzz_quote(body); break;
    case 'b': fuzz_batch(body); break;
    default: return -1;
    }
    return 0;
}
