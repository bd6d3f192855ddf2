/* Messages between members: nothing is lost, nothing else gets in. */
#include "lib/json/peer.h"

#include <stdio.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/base/prng.h"
#include "tests/unit/tap.h"

enum { TYPES = RAFT_SEND_SNAPSHOT }; /* the last one is not on the wire */
static const uint64_t integer_max = (UINT64_C(1) << 53) - 1;

/* ---- samples ---- */

static struct entry **make_entries(struct prng *p, raft_index first, raft_term term, uint32_t count,
                                   size_t bytes)
{
    struct entry **entries = mem_calloc(count, sizeof(struct entry *));
    for (uint32_t i = 0; i < count; i++) {
        uint8_t data[512];
        prng_fill(p, data, bytes);
        entries[i] = entry_new(RAFT_NORMAL, data, bytes);
        entry_place(entries[i], first + i, term);
    }
    return entries;
}

/* Every field of the type differs from every other, so that no two can be confused. */
static struct peer_message sample(struct prng *p, enum raft_message_type type, uint32_t count)
{
    struct peer_message m = {
        .cluster = {.hi = prng_next(p), .lo = prng_next(p)},
        .message = {.type = type, .from = prng_next(p) | 1, .to = prng_next(p) | 1, .term = 90},
    };
    struct raft_message *r = &m.message;
    switch (type) {
    case RAFT_VOTE: r->transfer = true; /* fall through */
    case RAFT_PRE_VOTE: r->last_index = 1001, r->last_term = 89; break;
    case RAFT_APPEND:
        r->prev_index = 1002, r->prev_term = 88, r->commit = 1003, r->round = 1004;
        r->sent_us = integer_max, m.stream = 1005, m.seq = 1006, r->entry_count = count;
        m.entries = count ? make_entries(p, 1003, 89, count, 130) : NULL;
        break;
    case RAFT_HEARTBEAT:
        r->commit = 1007, r->round = 1008, r->sent_us = 1009;
        m.digest = (struct peer_digest){.index = 1024, .value = {.hi = 3, .lo = 4}};
        break;
    case RAFT_READ_INDEX: r->read_id = 1010; break;
    case RAFT_PRE_VOTE_REPLY:
    case RAFT_VOTE_REPLY:
    case RAFT_TIMEOUT_NOW_REPLY: r->granted = true; break;
    case RAFT_APPEND_REPLY:
        r->accepted = true, r->match_index = 1011, r->reject_index = 1012;
        r->hint_index = 1013, r->hint_term = 87, r->round = 1014, r->promise_us = 1015;
        r->sent_us = 1016;
        break;
    case RAFT_HEARTBEAT_REPLY:
        r->round = 1017, r->promise_us = 1018, r->sent_us = 1019;
        m.digest = (struct peer_digest){.index = 1025, .value = {.hi = 5, .lo = 6}};
        break;
    case RAFT_READ_INDEX_REPLY:
        r->granted = true, r->read_index = 1020, r->commit = 1021, r->read_id = 1022;
        break;
    default: break;
    }
    return m;
}

static bool entries_equal(const struct peer_message *a, const struct peer_message *b)
{
    for (uint32_t i = 0; i < a->message.entry_count; i++) {
        const struct entry *x = a->entries[i], *y = b->entries[i];
        if (x->kind != y->kind || x->index != y->index || x->term != y->term || x->crc != y->crc ||
            x->size != y->size || memcmp(x->data, y->data, x->size) != 0)
            return false;
    }
    return true;
}

static bool messages_equal(const struct peer_message *a, const struct peer_message *b)
{
    const struct raft_message *x = &a->message, *y = &b->message;
    return digest_equal(a->cluster, b->cluster) && a->stream == b->stream && a->seq == b->seq &&
           x->type == y->type && x->from == y->from && x->to == y->to && x->term == y->term &&
           x->last_index == y->last_index && x->last_term == y->last_term &&
           x->transfer == y->transfer && x->granted == y->granted &&
           x->prev_index == y->prev_index && x->prev_term == y->prev_term &&
           x->entry_count == y->entry_count && x->commit == y->commit && x->round == y->round &&
           x->accepted == y->accepted && x->match_index == y->match_index &&
           x->reject_index == y->reject_index && x->hint_index == y->hint_index &&
           x->hint_term == y->hint_term && x->promise_us == y->promise_us &&
           x->sent_us == y->sent_us && x->read_index == y->read_index && x->read_id == y->read_id &&
           a->digest.index == b->digest.index && digest_equal(a->digest.value, b->digest.value) &&
           entries_equal(a, b);
}

static int decode_text(const char *text, struct peer_message *m, struct err *e)
{
    *e = (struct err){0};
    return peer_message_decode(slice_str(text), m, e);
}

/* ---- tests ---- */

static void test_round_trip(struct prng *p)
{
    for (int type = 0; type < TYPES; type++) {
        for (uint32_t count = 0; count <= (type == RAFT_APPEND ? 64 : 0); count += 16) {
            struct peer_message m = sample(p, (enum raft_message_type)type, count), back;
            struct buf text;
            struct err e = {0};
            buf_init(&text, 1 << 20);
            must(peer_message_encode(&m, &text) == 0);
            int rc = peer_message_decode(slice_of(text.data, text.len), &back, &e);
            is_i64(rc, 0, "type %d with %u entries is read back: %s", type, count, e.text);
            if (rc == 0) {
                ok(messages_equal(&m, &back), "… and equal");
                peer_message_release(&back);
            }
            peer_message_release(&m);
            buf_release(&text);
        }
    }
}

static void test_golden(void)
{
    struct peer_message m = {
        .cluster = {.hi = 0x0123456789abcdef, .lo = 0xfedcba9876543210},
        .message = {.type = RAFT_APPEND, .from = 0xa1, .to = 0xb2, .term = 3, .commit = 0},
        .stream = 4,
        .seq = 5,
    };
    struct buf text;
    buf_init(&text, 4096);
    must(peer_message_encode(&m, &text) == 0);
    is_str(
        (char *)text.data,
        "{\"v\":1,\"cluster\":\"0123456789abcdeffedcba9876543210\",\"from\":\"00000000000000a1\","
        "\"to\":\"00000000000000b2\",\"type\":\"append\",\"term\":3,\"prev_index\":0,"
        "\"prev_term\":0,\"commit\":0,\"round\":0,\"sent_us\":0,\"stream\":4,\"seq\":5,"
        "\"entries\":\"\"}",
        "an empty append");
    buf_clear(&text);
    m.message.type = RAFT_TIMEOUT_NOW;
    must(peer_message_encode(&m, &text) == 0);
    is_str(
        (char *)text.data,
        "{\"v\":1,\"cluster\":\"0123456789abcdeffedcba9876543210\",\"from\":\"00000000000000a1\","
        "\"to\":\"00000000000000b2\",\"type\":\"timeout_now\",\"term\":3}",
        "the shortest message");
    buf_clear(&text);
    m.message.term = integer_max + 1;
    is_i64(peer_message_encode(&m, &text), ERR_INTERNAL, "a term that JSON cannot hold");
    buf_release(&text);

    buf_init(&text, 100);
    m.message.term = 3;
    is_i64(peer_message_encode(&m, &text), ERR_TOO_LARGE, "over the buffer's maximum");
    buf_release(&text);
}

/* One member of a message's text: "name":value, both with their place. */
struct part {
    char name[32];
    size_t start, value, end; /* of the name's quote, the value, behind the value */
};

static size_t split_members(const char *text, struct part *parts)
{
    size_t count = 0, i = 1;
    while (text[i] == '"') {
        struct part *part = &parts[count++];
        part->start = i;
        size_t colon = i + strcspn(text + i, ":");
        snprintf(part->name, sizeof(part->name), "%.*s", (int)(colon - i - 2), text + i + 1);
        part->value = colon + 1;
        if (text[part->value] == '"')
            part->end = part->value + 2 + strcspn(text + part->value + 1, "\"");
        else
            part->end = part->value + strcspn(text + part->value, ",}");
        i = part->end + (text[part->end] == ',');
    }
    return count;
}

/* The text with one member's value replaced, or left out (value NULL). */
static char *replace(const char *text, const struct part *part, const char *value)
{
    static char out[1 << 16];
    if (value) {
        snprintf(out, sizeof(out), "%.*s%s%s", (int)part->value, text, value, text + part->end);
    } else {
        size_t start = part->start, end = part->end;
        if (text[end] == ',')
            end++;
        else
            start--;
        snprintf(out, sizeof(out), "%.*s%s", (int)start, text, text + end);
    }
    return out;
}

static bool refused_and_named(const char *text, const char *name)
{
    struct peer_message m;
    struct err e;
    int rc = decode_text(text, &m, &e);
    if (rc == 0)
        peer_message_release(&m);
    bool held = rc == ERR_BAD_REQUEST && strstr(e.text, name);
    if (!held)
        diag("%d '%s' for %s in %.400s", rc, e.text, name, text);
    return held;
}

static void test_members(struct prng *p)
{
    static const char *const numbers[] = {"-1",
                                          "1.5",
                                          "1e3",
                                          "9007199254740992",
                                          "null",
                                          "true",
                                          "\"5\"",
                                          "123456789012345678901234",
                                          "-99999999999999999999",
                                          "1e400"};
    static const char *const flags[] = {"0", "1", "null", "\"true\"", "\"\""};
    static const char *const strings[] = {"0",      "null",  "true",        "\"\"",
                                          "\"zz\"", "\"é\"", "\"\\u0000\"", "5.5"};
    for (int type = 0; type < TYPES; type++) {
        struct peer_message m = sample(p, (enum raft_message_type)type, 1);
        struct buf text;
        buf_init(&text, 1 << 16);
        must(peer_message_encode(&m, &text) == 0);
        struct part parts[32] = {0};
        const char *whole = (char *)text.data;
        size_t count = split_members(whole, parts);
        bool missing = count >= 6, wrong = true, twice = true;
        for (size_t i = 0; i < count; i++) {
            missing = refused_and_named(replace(whole, &parts[i], NULL), parts[i].name) && missing;
            char first = whole[parts[i].value];
            const char *const *values = first == '"' ? strings : first <= '9' ? numbers : flags;
            size_t value_count = first == '"'   ? sizeof(strings) / sizeof(strings[0])
                                 : first <= '9' ? sizeof(numbers) / sizeof(numbers[0])
                                                : sizeof(flags) / sizeof(flags[0]);
            bool entries = strcmp(parts[i].name, "entries") == 0;
            for (size_t k = 0; k < value_count; k++)
                if (!entries || strcmp(values[k], "\"\"") != 0) /* no entries are allowed */
                    wrong =
                        refused_and_named(replace(whole, &parts[i], values[k]), parts[i].name) &&
                        wrong;
            char doubled[128];
            snprintf(doubled, sizeof(doubled), "1,\"%.100s\":1", parts[i].name);
            twice = refused_and_named(replace(whole, &parts[i], doubled), parts[i].name) && twice;
        }
        ok(missing, "type %d: each missing member is refused and named", type);
        ok(wrong, "type %d: each wrong value is refused and its member named", type);
        ok(twice, "type %d: each member that stands twice is refused and named", type);
        ok(refused_and_named(replace(whole, &parts[0], "1,\"surplus\":1"), "surplus"),
           "type %d: a surplus member is refused and named", type);
        ok(refused_and_named(replace(whole, &parts[0], "1,\"x\":[1]"), "nested"),
           "type %d: nothing is nested", type);
        peer_message_release(&m);
        buf_release(&text);
    }
}

static void test_version_and_type(struct prng *p)
{
    struct peer_message m = sample(p, RAFT_HEARTBEAT, 0);
    struct err e;
    is_i64(decode_text("{\"v\":2,\"anything\":1}", &m, &e), ERR_BAD_REQUEST, "another version");
    has_str(e.text, "'v' is 2: this node speaks version 1", "… is named before all else");
    is_i64(
        decode_text("{\"v\":1,\"cluster\":\"0123456789abcdef0123456789abcdef\",\"from\":"
                    "\"00000000000000a1\",\"to\":\"00000000000000b2\",\"type\":\"send_snapshot\","
                    "\"term\":3}",
                    &m, &e),
        ERR_BAD_REQUEST, "no message is called send_snapshot");
    has_str(e.text, "'type'", "… which is named");
    is_i64(decode_text("{\"v\":1,\"cluster\":\"0123456789abcdef0123456789abcdef\",\"from\":"
                       "\"0000000000000000\",\"to\":\"00000000000000b2\",\"type\":\"timeout_now\","
                       "\"term\":3}",
                       &m, &e),
           ERR_BAD_REQUEST, "nobody has id 0");
    has_str(e.text, "'from'", "… which is named");
    static const char *const broken[] = {"",
                                         "[]",
                                         "1",
                                         "{",
                                         "{}",
                                         "{}x",
                                         "\"\"}",
                                         "entries\":\"\"}",
                                         "\"entries\":\"\"}",
                                         "{\"entries\":\"\"}",
                                         "nul",
                                         "{\"entries\":\"\\\"}",
                                         "{\"a\":\"\"entries\":\"\"}"};
    for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
        is_i64(decode_text(broken[i], &m, &e), ERR_BAD_REQUEST, "refused: %s", broken[i]);
        ok(e.text[0], "… with a reason: %s", e.text);
    }
}

/* A message whose `entries` is `text`. */
static int decode_entries(struct slice run, raft_term term, raft_term prev_term, struct err *e)
{
    static char text[1 << 16], base64[1 << 15];
    must(base64_encoded_len(run.len) < sizeof(base64));
    base64_encode(base64, run.data, run.len);
    snprintf(text, sizeof(text),
             "{\"v\":1,\"cluster\":\"0123456789abcdef0123456789abcdef\",\"from\":"
             "\"00000000000000a1\",\"to\":\"00000000000000b2\",\"type\":\"append\",\"term\":%d,"
             "\"prev_index\":9,\"prev_term\":%d,\"commit\":0,\"round\":0,\"sent_us\":0,"
             "\"stream\":1,\"seq\":1,\"entries\":\"%.*s\"}",
             (int)term, (int)prev_term, (int)base64_encoded_len(run.len), base64);
    struct peer_message m;
    int rc = decode_text(text, &m, e);
    if (rc == 0)
        peer_message_release(&m);
    return rc;
}

static void test_entries(struct prng *p)
{
    struct entry **entries = make_entries(p, 10, 5, 4, 40);
    struct buf run;
    struct err e;
    buf_init(&run, 1 << 14);
    must(entries_encode(&run, entries, 4) == 0);
    struct slice whole = slice_of(run.data, run.len);
    is_i64(decode_entries(whole, 5, 5, &e), 0, "the run as it should be: %s", e.text);
    is_i64(decode_entries(whole, 4, 4, &e), ERR_BAD_REQUEST, "entries above the leader's term");
    has_str(e.text, "'entries'", "… are named");
    is_i64(decode_entries(whole, 6, 6, &e), ERR_BAD_REQUEST, "entries below the term before them");
    has_str(e.text, "'entries'", "… are named");

    bool flipped = true, cut = true;
    for (size_t i = 0; i < run.len; i++) {
        run.data[i] ^= (uint8_t)(1 << prng_below(p, 8));
        flipped = decode_entries(whole, 5, 5, &e) == ERR_BAD_REQUEST && flipped;
        flipped = strstr(e.text, "'entries'") && flipped;
        must(entries_encode((buf_clear(&run), &run), entries, 4) == 0);
        if (i > 0 && i % entry_encoded_bytes(entries[0]) != 0)
            cut = decode_entries(slice_of(run.data, i), 5, 5, &e) == ERR_BAD_REQUEST && cut;
    }
    ok(flipped, "any flipped bit is refused and named");
    ok(cut, "a run that is cut short is refused");
    is_i64(decode_entries(slice_of(run.data + entry_encoded_bytes(entries[0]),
                                   run.len - entry_encoded_bytes(entries[0])),
                          5, 5, &e),
           ERR_BAD_REQUEST, "entries that do not follow prev_index");
    buf_release(&run);
    for (int i = 0; i < 4; i++)
        entry_unref(entries[i]);
    mem_free(entries);
}

static void test_place_of_entries(struct prng *p)
{
    struct peer_message m = sample(p, RAFT_APPEND, 2), back;
    struct buf text;
    struct err e = {0};
    buf_init(&text, 1 << 20);
    must(peer_message_encode(&m, &text) == 0);
    struct part parts[32] = {0};
    size_t count = split_members((char *)text.data, parts);
    const struct part *last = &parts[count - 1];
    must(strcmp(last->name, "entries") == 0);
    char other[1 << 12];
    snprintf(other, sizeof(other), "{%.*s,%.*s}", (int)(last->end - last->start),
             (char *)text.data + last->start, (int)(last->start - 2), (char *)text.data + 1);
    ok(refused_and_named(other, "'entries' must stand last"), "entries stand last");

    snprintf(other, sizeof(other), "{ \"entries\" : \"\",\n%.*s }", (int)(last->start - 2),
             (char *)text.data + 1);
    is_i64(decode_text(other, &back, &e), 0, "where none are, they may stand anywhere: %s", e.text);
    peer_message_release(&back);

    buf_clear(&text);
    must(buf_append_str(&text, "{\"v\":1,\"x\":\"") == 0);
    while (text.len < 3000)
        must(buf_append_byte(&text, 'x') == 0);
    must(buf_append_str(&text, "\",\"entries\":\"\"}") == 0);
    is_i64(peer_message_decode(slice_of(text.data, text.len), &back, &e), ERR_BAD_REQUEST,
           "only entries may be long");
    has_str(e.text, "2048 bytes", "… with the limit named");
    buf_release(&text);
    peer_message_release(&m);
}

/* Whatever bytes come: refused with a reason, or a message that says the same when written again.
 */
static void test_mutations(struct prng *p)
{
    bool held = true;
    int accepted = 0;
    for (int round = 0; round < 20000 && held; round++) {
        enum raft_message_type type = (enum raft_message_type)prng_below(p, TYPES);
        struct peer_message m = sample(p, type, (uint32_t)prng_below(p, 3)), back;
        struct buf text, again;
        struct err e = {0};
        buf_init(&text, 1 << 16);
        buf_init(&again, 1 << 16);
        must(peer_message_encode(&m, &text) == 0);
        for (uint64_t n = prng_below(p, 3) + 1; n > 0; n--) {
            size_t at = prng_below(p, text.len);
            switch (prng_below(p, 4)) {
            case 0: text.data[at] = (uint8_t)prng_next(p); break;
            case 1: text.data[at] ^= (uint8_t)(1 << prng_below(p, 8)); break;
            case 2: text.data[at] = (uint8_t) "\"{}[]:,\\0919.-e"[prng_below(p, 15)]; break;
            default: text.len = at + 1; break;
            }
        }
        int rc = peer_message_decode(slice_of(text.data, text.len), &back, &e);
        if (rc == 0) {
            accepted++;
            held = peer_message_encode(&back, &again) == 0;
            struct peer_message third;
            held = held && peer_message_decode(slice_of(again.data, again.len), &third, &e) == 0;
            if (held) {
                held = messages_equal(&back, &third);
                peer_message_release(&third);
            }
            peer_message_release(&back);
        } else {
            held = rc == ERR_BAD_REQUEST && e.code == rc && e.text[0];
        }
        if (!held)
            diag("round %d: %d '%s': %.*s", round, rc, e.text, (int)text.len, (char *)text.data);
        peer_message_release(&m);
        buf_release(&text);
        buf_release(&again);
    }
    ok(held, "20,000 mutated messages: refused, or with one meaning (%d)", accepted);
}

/* ---- hello and refusals ---- */

static struct hello sample_hello(bool has_cluster, uint32_t count)
{
    struct hello h = {.name = "node1",
                      .url = "http://127.0.0.1:5001",
                      .id = 0x51,
                      .has_cluster = has_cluster,
                      .empty = !has_cluster,
                      .waits = true,
                      .count = count,
                      .view = {.hi = 7, .lo = 8}};
    if (has_cluster)
        h.cluster = (struct digest){.hi = 1, .lo = 2};
    for (uint32_t i = 0; i < count; i++) {
        snprintf(h.list[i].name, sizeof(h.list[i].name), "n%02u", i);
        snprintf(h.list[i].url, sizeof(h.list[i].url), "http://h%u:1", i);
        h.list[i].id = has_cluster ? i + 1 : 0;
    }
    return h;
}

static void test_hello(void)
{
    struct buf text;
    struct err e = {0};
    struct hello back;
    buf_init(&text, 1 << 16);
    struct hello h = sample_hello(false, 2);
    must(hello_encode(&h, &text) == 0);
    is_str((char *)text.data,
           "{\"v\":1,\"name\":\"node1\",\"url\":\"http://127.0.0.1:5001\",\"id\":"
           "\"0000000000000051\",\"cluster\":null,\"empty\":true,\"waits\":true,\"members\":["
           "{\"name\":\"n00\",\"url\":\"http://h0:1\"},{\"name\":\"n01\",\"url\":\"http://h1:1\"}],"
           "\"view\":\"00000000000000070000000000000008\"}",
           "hello of one that forms");
    for (uint32_t count = 0; count <= HELLO_MEMBERS_MAX; count += HELLO_MEMBERS_MAX) {
        buf_clear(&text);
        h = sample_hello(true, count);
        must(hello_encode(&h, &text) == 0);
        is_i64(hello_decode(slice_of(text.data, text.len), &back, &e), 0, "read back: %s", e.text);
        struct buf again;
        buf_init(&again, 1 << 16);
        must(hello_encode(&back, &again) == 0);
        is_str((char *)again.data, (char *)text.data, "… and equal (%u members)", count);
        buf_release(&again);
    }

    static const struct {
        const char *find, *put, *named;
    } bad[] = {
        {"\"v\":1", "\"v\":3", "'v' is 3"},
        {"\"node1\"", "\"no de\"", "'name'"},
        {"\"node1\"", "\"\"", "'name'"},
        {"http://127.0.0.1:5001", "", "'url'"},
        {"http://127.0.0.1:5001", "http://a b", "'url'"},
        {"0000000000000051", "0000000000000000", "'id'"},
        {"\"cluster\":null", "\"cluster\":1", "'cluster'"},
        {"\"empty\":true", "\"empty\":1", "'empty'"},
        {",\"waits\":true", "", "'waits'"},
        {"\"n01\"", "\"n00\"", "'members' must be sorted"},
        {"\"n01\"", "\"a\"", "'members' must be sorted"},
        {"\"name\":\"n01\"", "\"nome\":\"n01\"", "'members[1].name'"},
        {"\"name\":\"n01\"", "\"z\":1,\"name\":\"n01\"", "'members[1].z'"},
        {"\"members\":[", "\"members\":[7,", "'members[0]'"},
        {"\"members\":[{", "\"members\":{\"a\":[{", ""},
        {"\"view\":\"0", "\"view\":\"x", "'view'"},
        {"\"v\":1", "\"v\":1,\"more\":1", "'more'"},
    };
    h = sample_hello(false, 2);
    buf_clear(&text);
    must(hello_encode(&h, &text) == 0);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char mangled[4096];
        const char *at = strstr((char *)text.data, bad[i].find);
        must(at);
        snprintf(mangled, sizeof(mangled), "%.*s%s%s", (int)(at - (char *)text.data),
                 (char *)text.data, bad[i].put, at + strlen(bad[i].find));
        is_i64(hello_decode(slice_str(mangled), &back, &e), ERR_BAD_REQUEST, "refused: %s",
               bad[i].put);
        has_str(e.text, bad[i].named, "… by name");
    }
    buf_release(&text);
}

static void test_refusal(void)
{
    struct peer_refusal r = {.code = ERR_FORBIDDEN, .configuration_index = 12, .message = "no"};
    struct peer_refusal back = {0};
    struct buf text;
    struct err e = {0};
    buf_init(&text, 4096);
    must(peer_refusal_encode(&r, &text) == 0);
    is_str((char *)text.data,
           "{\"error\":{\"code\":\"forbidden\",\"message\":\"no\",\"retryable\":false,"
           "\"configuration_index\":12}}",
           "a stranger is refused");
    must(peer_refusal_decode(slice_of(text.data, text.len), &back, &e) == 0);
    is_i64(back.code, ERR_FORBIDDEN, "code read back");
    is_u64(back.configuration_index, 12, "index read back");
    is_str(back.message, "no", "message read back");
    is_i64(peer_refusal_decode(slice_str("{\"error\":1}"), &back, &e), ERR_BAD_REQUEST,
           "no refusal at all");
    char longer[1000];
    memset(longer, 'm', sizeof(longer));
    memcpy(longer, "{\"error\":{\"code\":\"x\",\"message\":\"", 32);
    memcpy(longer + sizeof(longer) - 4, "\"}}", 4);
    is_i64(peer_refusal_decode(slice_str(longer), &back, &e), 0, "a long message is cut: %s",
           e.text);
    is_u64(strlen(back.message), sizeof(back.message) - 1, "… to fit");
    is_i64(back.code, ERR_INTERNAL, "a code that is not known is internal");
    buf_release(&text);
}

int main(void)
{
    struct prng p;
    prng_seed(&p, test_seed());
    test_golden();
    test_round_trip(&p);
    test_members(&p);
    test_version_and_type(&p);
    test_entries(&p);
    test_place_of_entries(&p);
    test_mutations(&p);
    test_hello();
    test_refusal();
    return done();
}
