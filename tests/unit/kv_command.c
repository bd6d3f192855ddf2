/* Codecs of commands and memberships: one encoding for each, strict, proof against any bytes. */
#include <stdio.h>
#include <string.h>

#include "lib/base/hash.h"
#include "lib/base/mem.h"
#include "lib/kv/command.h"
#include "tests/support/kv_maker.h"
#include "tests/unit/tap.h"

static bool slice_equal(struct slice a, struct slice b)
{
    return slice_compare(a, b) == 0;
}

static bool command_equal(const struct command *a, const struct command *b)
{
    bool equal = a->op == b->op && a->wall_ms == b->wall_ms &&
                 a->cluster_time_ms == b->cluster_time_ms && slice_equal(a->client, b->client) &&
                 a->seq == b->seq && slice_equal(a->key, b->key) &&
                 slice_equal(a->value, b->value) && a->condition == b->condition &&
                 a->expected == b->expected && a->expire_count == b->expire_count &&
                 a->write_count == b->write_count && slice_equal(a->writes, b->writes);
    for (uint32_t i = 0; equal && i < a->expire_count; i++)
        equal = slice_equal(a->expire[i], b->expire[i]);
    return equal;
}

/* Refused, or it is the encoding of what came out. */
static bool strict(const uint8_t *bytes, size_t len, bool *accepted)
{
    struct command c;
    struct err err = {0};
    int rc = command_decode(slice_of(bytes, len), &c, &err);
    *accepted = rc == 0;
    if (rc != 0)
        return rc == ERR_CORRUPT && err.code == ERR_CORRUPT && err.text[0] != '\0';
    if (command_encoded_bytes(&c) != len)
        return false;
    uint8_t *again = mem_alloc(len);
    command_encode(&c, again);
    bool same = memcmp(again, bytes, len) == 0;
    mem_free(again);
    return same;
}

static uint8_t batch_bytes[256];

static struct command samples(size_t i, bool *last)
{
    static const char *const clients[] = {"a", "client-2", "x y z"};
    static const struct command_write writes[] = {
        {COMMAND_PUT, {(const uint8_t *)"a", 1}, {(const uint8_t *)"1", 1}},
        {COMMAND_DELETE, {(const uint8_t *)"ab", 2}, {NULL, 0}},
        {COMMAND_PUT, {(const uint8_t *)"b", 1}, {NULL, 0}},
    };
    static struct buf room;
    buf_init(&room, sizeof(batch_bytes));
    room.data = batch_bytes;
    room.cap = sizeof(batch_bytes) - 1;
    *last = i == 11;
    switch (i) {
    case 0: return make_put("k", "v");
    case 1: return make_put("k", "");
    case 2: return with_client(make_put("key", "value"), "client", 7);
    case 3: return with_version(make_put("key", "value"), 42);
    case 4: return with_absent(with_client(make_put("key", "value"), "c", UINT64_MAX));
    case 5: return make_delete("key");
    case 6: return with_version(with_client(make_delete("key"), "c", 1), UINT64_MAX);
    case 7: return with_time(make_delete("key"), UINT64_MAX, UINT64_MAX);
    case 8: return make_expire(clients, 1, 5);
    case 9: return make_batch(&room, writes, 1);
    case 10: return with_client(make_batch(&room, writes, 3), "client", 3);
    default: return make_expire(clients, 3, UINT64_MAX);
    }
}

static void test_samples(void)
{
    bool last = false;
    for (size_t i = 0; !last; i++) {
        struct command c = samples(i, &last), back;
        uint8_t bytes[256];
        size_t len = command_encoded_bytes(&c);
        must(len < sizeof(bytes));
        command_encode(&c, bytes);
        ok(command_decode(slice_of(bytes, len), &back, NULL) == 0 && command_equal(&c, &back),
           "sample %zu comes back", i);
        bool accepted, refused = true, all_strict = true;
        for (size_t cut = 0; cut < len; cut++) {
            all_strict = strict(bytes, cut, &accepted) && all_strict;
            refused = refused && !accepted;
        }
        bytes[len] = 0;
        all_strict = strict(bytes, len + 1, &accepted) && all_strict;
        ok(refused && !accepted, "sample %zu cut anywhere, or with a byte more, is refused", i);
        for (size_t at = 0; at < len; at++)
            for (unsigned flip = 1; flip < 256; flip++) {
                bytes[at] ^= (uint8_t)flip;
                all_strict = strict(bytes, len, &accepted) && all_strict;
                bytes[at] ^= (uint8_t)flip;
            }
        ok(all_strict, "sample %zu with any byte changed is refused or another command", i);
    }
}

/* What was written once must be read for ever. */
static void test_format(void)
{
    struct command c = with_version(with_client(make_put("key", "value"), "me", 3), 0x0102);
    c = with_time(c, 0x1122334455667788, 0x99);
    static const uint8_t want[] = {
        1, 1, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0x99, 0,   0,   0,   0,   0,  0, 0,
        1, 2, 3,    0,    5,    0,    0,    0,    2,    1,    0,    0,   0,   0,   0,   0,  3, 0,
        0, 0, 0,    0,    0,    0,    'm',  'e',  'k',  'e',  'y',  'v', 'a', 'l', 'u', 'e'};
    uint8_t bytes[256];
    command_encode(&c, bytes);
    is_mem(bytes, command_encoded_bytes(&c), want, sizeof(want), "a put, byte by byte");
    const char *const clients[] = {"ab"};
    struct command x = make_expire(clients, 1, 0x99);
    static const uint8_t want_x[] = {1, 3, 0, 0, 0, 0, 0, 0, 0, 0,   0x99,
                                     0, 0, 0, 0, 0, 0, 0, 1, 2, 'a', 'b'};
    command_encode(&x, bytes);
    is_mem(bytes, command_encoded_bytes(&x), want_x, sizeof(want_x), "an expiry, byte by byte");
}

static void test_flaws(void)
{
    struct {
        const char *name;
        size_t at; /* in the bytes of a put of "key"="value" by "me" */
        uint8_t byte;
    } table[] = {
        {"format 0", 0, 0},
        {"format 2", 0, 2},
        {"operation 0", 1, 0},
        {"operation 9", 1, 9},
        {"delete with value", 1, 2},
        {"condition 3", 18, 3},
        {"absent with expected", 18, 1},
        {"no client", 19, 0},
        {"no key", 20, 0},
        {"sequence 0", 26, 0},
        {"client with NUL", 34, 0},
        {"client with 0x7f", 34, 0x7f},
        {"client with newline", 35, '\n'},
    };
    struct command c = with_client(make_put("key", "value"), "me", 3);
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        uint8_t bytes[256];
        command_encode(&c, bytes);
        bytes[table[i].at] = table[i].byte;
        bool accepted;
        ok(strict(bytes, command_encoded_bytes(&c), &accepted) && !accepted, "%s is refused",
           table[i].name);
    }
    struct command d = with_version(make_delete("k"), 1);
    uint8_t bytes[64];
    bool accepted;
    command_encode(&d, bytes);
    bytes[26] = 0;
    ok(strict(bytes, command_encoded_bytes(&d), &accepted) && !accepted, "expected 0 is refused");
    d = make_delete("k");
    command_encode(&d, bytes);
    bytes[18] = CONDITION_ABSENT;
    ok(strict(bytes, command_encoded_bytes(&d), &accepted) && !accepted,
       "a delete that asks for absence is refused");
    static const uint8_t expire[] = {1, 3, 0, 0, 0, 0, 0, 0, 0, 0,   0,
                                     0, 0, 0, 0, 0, 0, 0, 1, 2, 'a', '\n'};
    ok(strict(expire, sizeof(expire), &accepted) && !accepted,
       "an expiry of what is no client is refused");
    ok(client_id_valid("a b~", 4) && !client_id_valid("", 0) && !client_id_valid("\t", 1) &&
           !client_id_valid("\xc3\xa4", 2),
       "client ids are printable ASCII");
    char longest[COMMAND_CLIENT_BYTES + 1];
    memset(longest, 'x', sizeof(longest));
    ok(client_id_valid(longest, COMMAND_CLIENT_BYTES) &&
           !client_id_valid(longest, COMMAND_CLIENT_BYTES + 1),
       "of 64 bytes at most");
}

static void test_limits(void)
{
    size_t key_len = LIMIT_KEY_BYTES, value_len = LIMIT_VALUE_BYTES_CEILING;
    uint8_t *data = mem_zalloc(value_len + 1);
    struct command c = {
        .op = COMMAND_PUT, .key = slice_of(data, key_len), .value = slice_of(data, value_len)};
    size_t len = command_encoded_bytes(&c);
    uint8_t *bytes = mem_zalloc(len + 1);
    command_encode(&c, bytes);
    struct command back;
    ok(command_decode(slice_of(bytes, len), &back, NULL) == 0 && command_equal(&c, &back),
       "the largest key and value");
    bytes[20] = (key_len + 1) & 0xff; /* a byte moves from the value to the key */
    bytes[22] = 0xff;
    bytes[23] = 0xff;
    bytes[24] = 0xff;
    bytes[25] = 0x00;
    bool accepted;
    ok(strict(bytes, len, &accepted) && !accepted, "a key that is longer is refused");
    command_encode(&c, bytes);
    bytes[22] = 1;
    ok(strict(bytes, len + 1, &accepted) && !accepted, "a value that is longer is refused");
    mem_free(bytes);
    mem_free(data);
}

static void test_fuzz(void)
{
    struct prng p;
    prng_seed(&p, test_seed());
    enum { ROOM = 16384, ROUNDS = 60000 };
    uint8_t *room = mem_alloc(ROOM), *bytes = mem_alloc((size_t)2 * ROOM);
    bool round_trip = true, all_strict = true, accepted;
    size_t taken = 0;
    for (int round = 0; round < ROUNDS; round++) {
        struct command c = make_random_command(&p, room, ROOM), back;
        size_t len = command_encoded_bytes(&c);
        must(len <= (size_t)2 * ROOM);
        command_encode(&c, bytes);
        round_trip = round_trip && command_decode(slice_of(bytes, len), &back, NULL) == 0 &&
                     command_equal(&c, &back) &&
                     command_fingerprint(&c) == command_fingerprint(&back);
        for (uint64_t n = 1 + prng_below(&p, 4); n > 0;
             n--) /* the head has the interesting bytes */
            bytes[prng_below(&p, prng_chance(&p, 3, 4) && len > 40 ? 40 : len)] =
                (uint8_t)(prng_chance(&p, 1, 2) ? prng_below(&p, 5) : prng_next(&p));
        if (prng_chance(&p, 1, 4))
            len = prng_below(&p, len + 1);
        /* Its own block, so that the sanitizer sees a byte read too many. */
        uint8_t *exact = mem_dup(bytes, len);
        all_strict = strict(exact, len, &accepted) && all_strict;
        taken += accepted;
        mem_free(exact);
    }
    ok(round_trip, "%d random commands come back", ROUNDS);
    ok(all_strict, "changed, they are refused or other commands (%zu were)", taken);
    ok(taken > ROUNDS / 20 && taken < ROUNDS - ROUNDS / 20, "both happened");
    for (int round = 0; round < ROUNDS; round++) {
        size_t len = prng_below(&p, 200);
        prng_fill(&p, bytes, len);
        if (len > 1) {
            bytes[0] = 1;
            bytes[1] = (uint8_t)(1 + prng_below(&p, 4));
        }
        all_strict = strict(bytes, len, &accepted) && all_strict;
    }
    ok(all_strict, "random bytes are refused or commands");
    mem_free(room);
    mem_free(bytes);
}

static void test_fingerprint(void)
{
    struct command base = with_client(make_put("key", "value"), "c", 1);
    uint64_t print = command_fingerprint(&base);
    struct command same = with_time(with_client(base, "other", 9), 77, 88);
    is_u64(command_fingerprint(&same), print, "times, client and sequence do not count");
    is_u64(print, 0x2286ed46e4c52857, "the fingerprint's value is that of sessions stored before");
    struct command others[] = {
        make_put("key", "valu"),  make_put("keyv", "alue"), make_put("key", ""),
        make_put("kez", "value"), make_delete("key"),       with_absent(base),
        with_version(base, 1),    with_version(base, 2),    with_version(make_delete("key"), 1),
    };
    size_t count = sizeof(others) / sizeof(others[0]);
    bool distinct = true;
    for (size_t i = 0; i < count; i++) {
        distinct = distinct && command_fingerprint(&others[i]) != print;
        for (size_t j = 0; j < i; j++)
            distinct =
                distinct && command_fingerprint(&others[i]) != command_fingerprint(&others[j]);
    }
    ok(distinct, "operation, key, value and condition do");
}

/* ---- membership */

static struct membership joint_membership(void)
{
    struct membership m = make_membership(4, 9);
    m.configuration.joint = true;
    m.configuration.members[1].flags = RAFT_VOTER_OLD;
    m.configuration.members[2].flags = RAFT_VOTER | RAFT_VOTER_OLD;
    m.configuration.members[3].flags = RAFT_AUTO_PROMOTE;
    m.configuration.members[3].replaces = m.configuration.members[1].id;
    (void)snprintf(m.addresses[3].name, sizeof(m.addresses[3].name), "%s", m.addresses[1].name);
    return m;
}

static bool membership_strict(const uint8_t *bytes, size_t len, bool *accepted)
{
    struct membership m;
    struct err err = {0};
    int rc = membership_decode(slice_of(bytes, len), 5, &m, &err);
    *accepted = rc == 0;
    if (rc != 0)
        return rc == ERR_CORRUPT && err.code == ERR_CORRUPT;
    struct buf again;
    buf_init(&again, 1 << 16);
    bool same = membership_encode(&m, &again) == len && memcmp(again.data, bytes, len) == 0;
    buf_release(&again);
    return same;
}

static void test_membership(void)
{
    struct membership m = joint_membership(), back;
    struct buf b;
    buf_init(&b, 1 << 16);
    size_t len = membership_encode(&m, &b);
    is_u64(len, b.len, "the length is returned");
    must(membership_decode(slice_of(b.data, b.len), 17, &back, NULL) == 0);
    m.configuration.index = 17;
    ok(membership_equal(&m, &back), "a membership comes back, with the index given");

    bool accepted, any = false, all_strict = true;
    for (size_t cut = 0; cut < len; cut++) {
        all_strict = membership_strict(b.data, cut, &accepted) && all_strict;
        any = any || accepted;
    }
    ok(!any && all_strict, "cut anywhere, it is refused");
    for (size_t at = 0; at < len; at++)
        for (unsigned flip = 1; flip < 256; flip++) {
            b.data[at] ^= (uint8_t)flip;
            all_strict = membership_strict(b.data, len, &accepted) && all_strict;
            b.data[at] ^= (uint8_t)flip;
        }
    ok(all_strict, "with any byte changed, it is refused or another one");
    must(buf_append_byte(&b, 0) == 0);
    ok(membership_strict(b.data, b.len, &accepted) && !accepted, "a byte more is refused");
    buf_release(&b);

    struct prng p;
    prng_seed(&p, test_seed());
    for (int round = 0; round < 20000; round++) {
        uint8_t bytes[300];
        size_t n = prng_below(&p, sizeof(bytes));
        prng_fill(&p, bytes, n);
        if (n > 3) {
            bytes[0] = 1;
            bytes[1] &= 1;
            bytes[2] = (uint8_t)prng_below(&p, 20);
        }
        all_strict = membership_strict(bytes, n, &accepted) && all_strict;
    }
    ok(all_strict, "random bytes are refused or a membership");

    struct buf small;
    buf_init(&small, 20);
    is_u64(membership_encode(&m, &small), 0, "0 where there is no room");
    buf_release(&small);

    struct membership most = make_membership(RAFT_MEMBERS_MAX, 3);
    for (uint32_t i = 0; i < RAFT_MEMBERS_MAX; i++) {
        memset(most.addresses[i].name, 'a', LIMIT_NAME_BYTES);
        memset(most.addresses[i].url, 'u', LIMIT_URL_BYTES);
    }
    buf_init(&b, 1 << 16);
    must(membership_encode(&most, &b) > 0);
    ok(membership_decode(slice_of(b.data, b.len), 0, &back, NULL) == 0 &&
           membership_equal(&most, &back),
       "the largest one");
    buf_release(&b);
}

/* One member or two, byte by byte; each flaw alone. */
static void test_membership_flaws(void)
{
    enum { NAME = 3 + 19, URL = NAME + 3, SECOND = URL + 5 };
    static const uint8_t two[] = {1, 0, 2, 7, 0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,
                                  0, 0, 0, 0, 1,   3,   5,   'n', '-', '1', 'h', 't', 't', 'p', ':',
                                  8, 0, 0, 0, 0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,
                                  0, 1, 3, 5, 'n', '-', '2', 'h', 't', 't', 'p', ':'};
    static const struct {
        const char *name;
        size_t at;
        uint8_t byte;
    } cases[] = {
        {"format 0", 0, 0},
        {"joint 2", 1, 2},
        {"17 members", 2, 17},
        {"id 0", 3, 0},
        {"ids that are equal", SECOND, 7},
        {"ids that descend", SECOND, 6},
        {"an unknown flag", 19, 0x81},
        {"an outgoing voter outside of a joint configuration", 19, RAFT_VOTER | RAFT_VOTER_OLD},
        {"a blank in a name", NAME + 1, ' '},
        {"a NUL in a name", NAME + 2, 0},
        {"a slash in a name", NAME, '/'},
        {"a blank in a URL", URL, ' '},
        {"a NUL in a URL", URL + 4, 0},
        {"a DEL in a URL", URL + 2, 0x7f},
        {"a newline in a URL", URL + 1, '\n'},
    };
    bool accepted;
    ok(membership_strict(two, sizeof(two), &accepted) && accepted, "two members");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint8_t bytes[sizeof(two)];
        memcpy(bytes, two, sizeof(two));
        bytes[cases[i].at] = cases[i].byte;
        ok(membership_strict(bytes, sizeof(bytes), &accepted) && !accepted, "%s is refused",
           cases[i].name);
    }
    uint8_t one[400] = {1, 0, 1, 7};
    memset(one + NAME, 'n', sizeof(one) - NAME);
    one[19] = RAFT_VOTER;
    for (unsigned len = 0; len < 256; len++) {
        one[20] = (uint8_t)len;
        one[21] = 1;
        ok(membership_strict(one, NAME + len + 1, &accepted) &&
               accepted == (len >= 1 && len <= LIMIT_NAME_BYTES),
           "a name of %u bytes", len);
    }
    one[20] = 1;
    one[21] = 0;
    ok(membership_strict(one, NAME + 1, &accepted) && !accepted, "no URL is refused");
    one[21] = LIMIT_URL_BYTES;
    ok(membership_strict(one, NAME + 1 + LIMIT_URL_BYTES, &accepted) && accepted,
       "the longest URL");
    bool right = true;
    for (unsigned c = 0; c < 256; c++) {
        char name = (char)c;
        right = right && member_name_valid(&name, 1) ==
                             (c && strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                          "0123456789._-",
                                          (int)c) != NULL);
    }
    ok(right, "the characters of a name");
}

static void test_membership_lookup(void)
{
    struct membership m = joint_membership();
    const struct member_address *a = membership_by_id(&m, m.addresses[2].id);
    ok(a == &m.addresses[2], "by id");
    ok(membership_by_id(&m, 12345) == NULL, "an unknown id");
    ok(membership_by_name(&m, "node1") == &m.addresses[0], "by name");
    ok(membership_by_name(&m, "node") == NULL, "an unknown name");
    ok(membership_by_name(&m, "node2") == &m.addresses[1],
       "a name that is there twice: one of them");
    m.configuration.members[3].flags = RAFT_VOTER;
    ok(membership_by_name(&m, "node2") == &m.addresses[3], "… the voter, once there is one");
    ok(member_name_valid("a.B_9-", 6) && !member_name_valid("", 0) &&
           !member_name_valid("a b", 3) && !member_name_valid("a/b", 3) &&
           !member_name_valid("\xc3\xa4", 2),
       "names");
}

static void test_cluster_id(void)
{
    struct membership m = make_membership(3, 1), other = m;
    struct digest id = membership_cluster_id(&m);
    other.configuration.index = 99;
    ok(digest_equal(membership_cluster_id(&other), id), "the index does not count");
    other.addresses[2].url[7] ^= 1;
    ok(!digest_equal(membership_cluster_id(&other), id), "a URL does");
    other = make_membership(3, 2);
    ok(!digest_equal(membership_cluster_id(&other), id), "an id does");
    char hex[HEX128_BYTES];
    is_str(hex128(id, hex), "32b2ee2482e44f42f73eedec20cbe9c5", "the id of a known cluster");
}

int main(void)
{
    test_samples();
    test_format();
    test_flaws();
    test_limits();
    test_fuzz();
    test_fingerprint();
    test_membership();
    test_membership_flaws();
    test_membership_lookup();
    test_cluster_id();
    return done();
}
