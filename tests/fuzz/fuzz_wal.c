/*
 * The look through raft.db's WAL. The first byte chooses: 'r' takes the rest as the file; 'f' makes
 * a file of right frames first, one for each byte up to a 0 (its lowest bit: a commit frame), then
 * changes what the rest says (place of two bytes, new byte), and checks the verdict against a
 * simple reading of the rule: a torn tail is what stands behind the last synced commit.
 */
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/store/wal_scan.h"
#include "tests/fuzz/fuzz.h"

enum { PAGE_BYTES = 512, HEADER_BYTES = 32, FRAME_BYTES = 24 + PAGE_BYTES, FRAMES_MAX = 12 };

static int scan(const uint8_t *data, size_t size, struct wal_scan *out)
{
    char path[64];
    struct err err = {0};
    int fd = memfd_create("wal", MFD_CLOEXEC);
    FUZZ_CHECK(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    int rc = wal_scan(path, PAGE_BYTES, out, &err);
    if (rc != 0)
        fuzz_check_error(rc, ERR_CORRUPT, &err);
    close(fd);
    return rc;
}

static void put32(uint8_t *at, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(v >> (24 - 8 * i));
}

static void sum(uint32_t s[2], const uint8_t *at, size_t len)
{
    for (const uint8_t *end = at + len; at < end; at += 8) {
        uint32_t x, y;
        memcpy(&x, at, 4); /* little endian, as the magic says */
        memcpy(&y, at + 4, 4);
        s[0] += x + s[1];
        s[1] += y + s[0];
    }
}

static size_t make(uint8_t *file, const uint8_t *kinds, size_t count)
{
    uint32_t s[2] = {0, 0};
    memset(file, 0, HEADER_BYTES);
    put32(file, 0x377f0682);
    put32(file + 4, 3007000);
    put32(file + 8, PAGE_BYTES);
    put32(file + 16, 0x5a171234);
    put32(file + 20, 0x5a175678);
    sum(s, file, 24);
    put32(file + 24, s[0]);
    put32(file + 28, s[1]);
    uint8_t *at = file + HEADER_BYTES;
    for (size_t i = 0; i < count; i++, at += FRAME_BYTES) {
        put32(at, kinds[i]);
        put32(at + 4, kinds[i] & 1 ? 9 : 0);
        memcpy(at + 8, file + 16, 8);
        memset(at + 24, kinds[i], PAGE_BYTES);
        sum(s, at, 8);
        sum(s, at + 24, PAGE_BYTES);
        put32(at + 16, s[0]);
        put32(at + 20, s[1]);
    }
    return (size_t)(at - file);
}

static void fuzz_frames(const uint8_t *data, size_t size)
{
    static uint8_t file[HEADER_BYTES + FRAMES_MAX * FRAME_BYTES];
    uint8_t kinds[FRAMES_MAX];
    struct wal_scan found;
    size_t count = 0, committed = 0;
    while (count < FRAMES_MAX && size > 0) {
        uint8_t kind = fuzz_choose(&data, &size);
        if (kind == 0)
            break;
        kinds[count++] = kind;
        committed = kind & 1 ? count : committed;
    }
    size_t bytes = make(file, kinds, count);
    FUZZ_CHECK(scan(file, bytes, &found) == 0);
    FUZZ_CHECK(found.frames == count && found.committed == committed && !found.torn);

    static uint8_t right[sizeof(file)];
    memcpy(right, file, bytes);
    for (; size > 2; size -= 3, data += 3) {
        size_t place = HEADER_BYTES + ((size_t)data[0] << 8 | data[1]);
        if (place < bytes)
            file[place] = data[2];
    }
    size_t first_bad = count;
    bool only_pages = true; /* what is changed is no head of a frame */
    for (size_t i = bytes - 1; i >= HEADER_BYTES; i--) {
        if (file[i] == right[i])
            continue;
        first_bad = (i - HEADER_BYTES) / FRAME_BYTES;
        only_pages = only_pages && (i - HEADER_BYTES) % FRAME_BYTES >= 24;
    }
    int rc = scan(file, bytes, &found);
    if (!only_pages)
        return;
    bool synced = false; /* a commit frame from the bad one on that has another frame behind it */
    for (size_t i = first_bad; i + 1 < count; i++)
        synced = synced || kinds[i] & 1;
    FUZZ_CHECK(found.frames == first_bad && (rc == ERR_CORRUPT) == synced);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wal_scan found;
    switch (fuzz_choose(&data, &size)) {
    case 'r': scan(data, size, &found); break;
    case 'f': fuzz_frames(data, size); break;
    default: return -1;
    }
    return 0;
}
