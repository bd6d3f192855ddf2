/* What one member says to another: messages, hellos, refusals. The first byte chooses. */
#include "lib/json/peer.h"
#include "tests/fuzz/fuzz.h"

enum { TEXT_MAX = 1 << 20 };

static void fuzz_message(struct slice body)
{
    struct peer_message m, again;
    struct err err = {0};
    int rc = peer_message_decode(body, &m, &err);
    if (rc != 0) {
        fuzz_check_error(rc, ERR_BAD_REQUEST, &err);
        return;
    }
    struct buf text, second;
    buf_init(&text, TEXT_MAX);
    buf_init(&second, TEXT_MAX);
    FUZZ_CHECK(peer_message_encode(&m, &text) == 0);
    FUZZ_CHECK(peer_message_decode(slice_of(text.data, text.len), &again, &err) == 0);
    FUZZ_CHECK(peer_message_encode(&again, &second) == 0);
    fuzz_check_same(&text, &second);
    peer_message_release(&again);
    peer_message_release(&m);
    buf_release(&second);
    buf_release(&text);
}

static void fuzz_hello(struct slice body)
{
    struct hello h, again;
    struct err err = {0};
    int rc = hello_decode(body, &h, &err);
    if (rc != 0) {
        fuzz_check_error(rc, ERR_BAD_REQUEST, &err);
        return;
    }
    struct buf text, second;
    buf_init(&text, TEXT_MAX);
    buf_init(&second, TEXT_MAX);
    FUZZ_CHECK(hello_encode(&h, &text) == 0);
    FUZZ_CHECK(hello_decode(slice_of(text.data, text.len), &again, &err) == 0);
    FUZZ_CHECK(hello_encode(&again, &second) == 0);
    fuzz_check_same(&text, &second);
    buf_release(&second);
    buf_release(&text);
}

static void fuzz_refusal(struct slice body)
{
    struct peer_refusal r, again;
    struct err err = {0};
    int rc = peer_refusal_decode(body, &r, &err);
    if (rc != 0) {
        fuzz_check_error(rc, ERR_BAD_REQUEST, &err);
        return;
    }
    struct buf text;
    buf_init(&text, TEXT_MAX);
    FUZZ_CHECK(peer_refusal_encode(&r, &text) == 0);
    FUZZ_CHECK(peer_refusal_decode(slice_of(text.data, text.len), &again, &err) == 0);
    FUZZ_CHECK(again.code == r.code && again.configuration_index == r.configuration_index);
    buf_release(&text);
}

/* An append whose entries are right but for what stands in `damage`: pairs of place and new byte.
 * No fuzzer finds a CRC32C by itself. */
static void fuzz_entries(const uint8_t *damage, size_t size)
{
    struct entry *entries[3];
    struct buf text;
    struct err err = {0};
    for (size_t i = 0; i < 3; i++) {
        uint8_t payload[8] = {(uint8_t)i};
        entries[i] = entry_new(i == 1 ? RAFT_NOOP : RAFT_NORMAL, payload, i * 4);
        entry_place(entries[i], 8 + i, 2 + i);
    }
    struct peer_message m = {.message = {.type = RAFT_APPEND,
                                         .from = 1,
                                         .to = 2,
                                         .term = 5,
                                         .prev_index = 7,
                                         .prev_term = 2,
                                         .entry_count = 3},
                             .entries = entries},
                        back;
    buf_init(&text, TEXT_MAX);
    FUZZ_CHECK(peer_message_encode(&m, &text) == 0);
    for (size_t i = 0; i + 2 < size; i += 3)
        text.data[((size_t)damage[i] << 8 | damage[i + 1]) % text.len] = damage[i + 2];
    int rc = peer_message_decode(slice_of(text.data, text.len), &back, &err);
    if (rc == 0)
        peer_message_release(&back);
    else
        fuzz_check_error(rc, ERR_BAD_REQUEST, &err);
    for (size_t i = 0; i < 3; i++)
        entry_unref(entries[i]);
    buf_release(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    switch (fuzz_choose(&data, &size)) {
    case 'm': fuzz_message(slice_of(data, size)); break;
    case 'h': fuzz_hello(slice_of(data, size)); break;
    case 'r': fuzz_refusal(slice_of(data, size)); break;
    case 'e': fuzz_entries(data, size); break;
    default: return -1;
    }
    return 0;
}
