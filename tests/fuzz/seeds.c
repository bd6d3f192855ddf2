/* Writes what the fuzzers begin with: seeds DIRECTORY makes DIRECTORY/fuzz_X/N files. Made by the
 * encoders, so that they keep in step with them. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/buf.h"
#include "lib/base/mem.h"
#include "lib/json/api.h"
#include "lib/json/peer.h"
#include "lib/kv/command.h"
#include "lib/kv/entry.h"

static const char *directory;
static const char *target;
static int number;
static int failed;

static void begin(const char *name)
{
    char path[4096];
    target = name;
    number = 0;
    snprintf(path, sizeof(path), "%s/%s", directory, name);
    if (mkdir(path, 0777) < 0 && errno != EEXIST) {
        perror(path);
        failed = 1;
    }
}

static void seed(char choice, const void *bytes, size_t len)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/%s/%02d", directory, target, number++);
    FILE *f = fopen(path, "w");
    if (!f || fputc(choice, f) == EOF || (len > 0 && fwrite(bytes, len, 1, f) != 1)) {
        perror(path);
        failed = 1;
    }
    if (f && fclose(f) != 0)
        failed = 1;
}

static void seed_text(char choice, const char *text)
{
    seed(choice, text, strlen(text));
}

static void seed_buf(char choice, struct buf *b)
{
    seed(choice, b->data, b->len);
    buf_clear(b);
}

static struct entry *entry_at(raft_index index, raft_term term, const void *data, size_t len)
{
    struct entry *e = entry_new(RAFT_NORMAL, data, len);
    entry_place(e, index, term);
    return e;
}

static void peer_seeds(struct buf *b)
{
    begin("fuzz_peer");
    for (int type = 0; type < RAFT_SEND_SNAPSHOT; type++) {
        struct peer_message m = {.cluster = {1, 2},
                                 .message = {.type = (enum raft_message_type)type,
                                             .from = 1,
                                             .to = 2,
                                             .term = 3,
                                             .prev_index = 4,
                                             .prev_term = 3}};
        struct entry *entries[2];
        if (type == RAFT_APPEND) {
            entries[0] = entry_at(5, 3, "payload", 7);
            entries[1] = entry_at(6, 3, "", 0);
            m.entries = entries;
            m.message.entry_count = 2;
        }
        peer_message_encode(&m, b);
        seed_buf('m', b);
        for (uint32_t i = 0; i < m.message.entry_count; i++)
            entry_unref(entries[i]);
    }
    struct hello h = {.name = "n1", .url = "http://h:1", .id = 1, .empty = true, .count = 2};
    snprintf(h.list[0].name, sizeof(h.list[0].name), "n1");
    snprintf(h.list[0].url, sizeof(h.list[0].url), "http://h:1");
    snprintf(h.list[1].name, sizeof(h.list[1].name), "n2");
    snprintf(h.list[1].url, sizeof(h.list[1].url), "http://h:2");
    hello_encode(&h, b);
    seed_buf('h', b);
    h.has_cluster = true;
    h.count = 0;
    hello_encode(&h, b);
    seed_buf('h', b);
    struct peer_refusal r = {.code = ERR_FORBIDDEN, .configuration_index = 9, .message = "no"};
    peer_refusal_encode(&r, b);
    seed_buf('r', b);
    seed('e', "\1\40x\0\2y", 6);
}

static void api_seeds(struct buf *b)
{
    begin("fuzz_api");
    struct api_error e = {.code = ERR_TOO_LARGE,
                          .message = "m",
                          .outcome = OUTCOME_UNKNOWN,
                          .retryable = true,
                          .has_version = true,
                          .has_limit = true,
                          .retry_after_ms = 5,
                          .has_configuration_index = true};
    api_error_encode(&e, b);
    seed_buf('e', b);
    struct row row = {slice_of("k\0", 2), slice_of("\xff", 1), 1, 2};
    api_item_encode(&row, true, b);
    seed_buf('i', b);
    api_deleted_encode(slice_str("k"), true, 9, b);
    seed_buf('i', b);
    api_page_begin(b);
    api_page_row(b, &row, false, true);
    api_page_row(b, &row, true, false);
    api_page_end(b, "AQ", 7);
    seed_buf('p', b);
    static struct api_status s = {.has_cluster = true,
                                  .leader = "n1",
                                  .member_count = 1,
                                  .members = {{.name = "n1",
                                               .id = 1,
                                               .url = "http://h:1",
                                               .role = "voter",
                                               .state = "leader",
                                               .last_contact_ms = -1}},
                                  .change = {"replace", "joint", 5}};
    api_status_encode(&s, b);
    seed_buf('s', b);
    api_members_encode(&s, b);
    seed_buf('s', b);
    seed_text('m', "{\"name\":\"n\",\"url\":\"http://h:1\",\"auto_promote\":true}");
    seed_text('r', "{\"name\":\"n\",\"url\":\"http://h:1\"}");
    seed_text('r', "{\"to\":\"n2\"}");
    seed_text('a', "{\"a\":1,\"b\":\"x\",\"c\":true,\"d\":0.5,\"e\":{\"f\":[null,-1e3]}}");
    struct state_scan scan = {
        .prefix = slice_str("a"), .start = slice_str("a"), .end = slice_str("b"), .reverse = true};
    scan_cursor_encode(&scan, slice_str("ab"), b);
    seed_buf('c', b);
    seed('C', "\1\3\1\0\1\0\1\0\2\0abab", 14);
    seed('q', "a\"\\\0\xc3\xa9\xff", 7);
    seed_text('b', "{\"ops\":[{\"op\":\"put\",\"key\":\"b\",\"value\":\"\\u00e9\"},"
                   "{\"op\":\"delete\",\"key_base64\":\"YQ==\"}]}");
}

static void target_seeds(void)
{
    begin("fuzz_target");
    seed_text('p', "a%2Fb/../%00+%c3%A9");
    seed_text('+', "a+b%2B");
    seed_text('q', "prefix=a%2fb&limit=10&reverse&start=&a%20b=x&a=%");
    seed_text('u', "http://127.0.0.1:5001");
    seed_text('u', "http://[::1]:65535");
}

static void command_seed(const struct command *c)
{
    uint8_t bytes[512];
    command_encode(c, bytes);
    seed('c', bytes, command_encoded_bytes(c));
}

static void command_seeds(struct buf *b)
{
    begin("fuzz_command");
    struct command c = {.op = COMMAND_PUT,
                        .wall_ms = 1,
                        .cluster_time_ms = 2,
                        .client = slice_str("client"),
                        .seq = 3,
                        .key = slice_str("key"),
                        .value = slice_str("value"),
                        .condition = CONDITION_VERSION,
                        .expected = 4};
    command_seed(&c);
    c = (struct command){.op = COMMAND_DELETE, .key = slice_str("k")};
    command_seed(&c);
    c = (struct command){.op = COMMAND_EXPIRE_SESSIONS, .expire_count = 2};
    c.expire[0] = slice_str("one");
    c.expire[1] = slice_str("two");
    command_seed(&c);
    const struct command_write writes[] = {
        {COMMAND_PUT, slice_str("a"), slice_str("1")},
        {COMMAND_DELETE, slice_str("b"), slice_of(NULL, 0)},
    };
    buf_clear(b);
    for (size_t i = 0; i < 2; i++)
        command_write_append(b, &writes[i]);
    c = (struct command){.op = COMMAND_BATCH,
                         .client = slice_str("client"),
                         .seq = 3,
                         .write_count = 2,
                         .writes = slice_of(b->data, b->len)};
    command_seed(&c);
    buf_clear(b);
    struct membership m = {.configuration = {.count = 2,
                                             .members = {{.id = 1, .flags = RAFT_VOTER},
                                                         {.id = 2, .flags = RAFT_AUTO_PROMOTE}}}};
    for (uint32_t i = 0; i < 2; i++) {
        m.addresses[i].id = i + 1;
        snprintf(m.addresses[i].name, sizeof(m.addresses[i].name), "n%u", i);
        snprintf(m.addresses[i].url, sizeof(m.addresses[i].url), "http://h:%u", i + 1);
    }
    membership_encode(&m, b);
    seed_buf('m', b);
    struct entry *entries[] = {entry_at(1, 1, "a", 1), entry_at(2, 2, "bc", 2)};
    entries_encode(b, entries, 2);
    seed_buf('e', b);
    entry_unref(entries[0]);
    entry_unref(entries[1]);
    seed('E', "\3abc\0\5defgh\21\7", 13);
}

static void wal_seeds(void)
{
    begin("fuzz_wal");
    seed('f', "\2\3\4\5\7\0\1\0x", 9);
    seed('f', "\3\3\3\0\0\60x\4\60y", 10);
    seed('f', "\2\2\3\2\0\10\7\1", 8);
    seed('r', "\x37\x7f\x06\x82\0\x2d\xe2\x18\0\0\2\0", 12);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: seeds DIRECTORY\n");
        return 2;
    }
    directory = argv[1];
    struct buf b;
    buf_init(&b, 1 << 20);
    peer_seeds(&b);
    api_seeds(&b);
    target_seeds();
    command_seeds(&b);
    wal_seeds();
    buf_release(&b);
    return failed;
}
