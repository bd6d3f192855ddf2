/* Log entries: commands, memberships, runs of entries. Their codecs are strict, so there is one run
 * of bytes for one meaning. The first byte chooses. */
#include "lib/base/mem.h"
#include "lib/kv/command.h"
#include "lib/kv/entry.h"
#include "tests/fuzz/fuzz.h"

static void fuzz_one_command(struct slice in)
{
    struct command c;
    struct err err = {0};
    int rc = command_decode(in, &c, &err);
    if (rc != 0) {
        fuzz_check_error(rc, ERR_CORRUPT, &err);
        return;
    }
    FUZZ_CHECK(command_encoded_bytes(&c) == in.len);
    uint8_t *again = mem_alloc(in.len);
    command_encode(&c, again);
    FUZZ_CHECK(memcmp(again, in.data, in.len) == 0);
    mem_free(again);
}

static void fuzz_membership(struct slice in)
{
    struct membership m;
    struct err err = {0};
    int rc = membership_decode(in, 7, &m, &err);
    if (rc != 0) {
        fuzz_check_error(rc, ERR_CORRUPT, &err);
        return;
    }
    struct buf again;
    buf_init(&again, 1 << 16);
    FUZZ_CHECK(membership_encode(&m, &again) == in.len);
    FUZZ_CHECK(slice_compare(slice_of(again.data, again.len), in) == 0);
    for (uint32_t i = 0; i < m.configuration.count; i++) {
        FUZZ_CHECK(membership_by_id(&m, m.addresses[i].id) == &m.addresses[i]);
        FUZZ_CHECK(membership_by_name(&m, m.addresses[i].name));
    }
    buf_release(&again);
}

static void check_run(struct slice in, raft_index first)
{
    struct entry **entries;
    size_t count;
    struct err err = {0};
    int rc = entries_decode(in, first, &entries, &count, &err);
    if (rc != 0) {
        fuzz_check_error(rc, ERR_CORRUPT, &err);
        return;
    }
    struct buf again;
    buf_init(&again, in.len);
    FUZZ_CHECK(entries_encode(&again, entries, count) == 0);
    FUZZ_CHECK(slice_compare(slice_of(again.data, again.len), in) == 0);
    for (size_t i = 0; i < count; i++) {
        FUZZ_CHECK(entry_intact(entries[i]) && entries[i]->index == first + i);
        entry_unref(entries[i]);
    }
    mem_free(entries);
    buf_release(&again);
}

/* A run with checksums that fit: for each entry a byte of length, its payload; then pairs of a
 * place and a byte that is changed there. */
static void fuzz_run(const uint8_t *data, size_t size)
{
    struct entry *entries[4];
    size_t count = 0;
    struct buf run;
    buf_init(&run, 1 << 16);
    while (count < 4 && size > 1) {
        size_t len = fuzz_choose(&data, &size) & 31;
        len = len < size ? len : size;
        entries[count] = entry_new(count % 2 ? RAFT_NOOP : RAFT_NORMAL, data, len);
        entry_place(entries[count], 5 + count, 3 + count / 2);
        count++;
        data += len;
        size -= len;
    }
    FUZZ_CHECK(entries_encode(&run, entries, count) == 0);
    for (; size > 1 && run.len > 0; size -= 2, data += 2)
        run.data[data[0] % run.len] = data[1];
    check_run(slice_of(run.data, run.len), 5);
    for (size_t i = 0; i < count; i++)
        entry_unref(entries[i]);
    buf_release(&run);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    switch (fuzz_choose(&data, &size)) {
    case 'c': fuzz_one_command(slice_of(data, size)); break;
    case 'm': fuzz_membership(slice_of(data, size)); break;
    case 'e': check_run(slice_of(data, size), 1); break;
    case 'E': fuzz_run(data, size); break;
    default: return -1;
    }
    return 0;
}
