/* Is what is wrong with a WAL file a torn tail, or damage? */
#include "lib/store/wal_scan.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/mem.h"

enum { HEADER_BYTES = 32, FRAME_HEADER_BYTES = 24, SECTOR_BYTES = 512, FRAMES_AT_ONCE = 64 };

/* File header: magic, version, page size, checkpoint number, salts, checksums of the first 24. */
enum { AT_MAGIC = 0, AT_VERSION = 4, AT_PAGE_BYTES = 8, AT_SALTS = 16, AT_SUM = 24 };
/* Frame header: page, size of the database behind a commit (else 0), salts, checksums of the first
 * 8 bytes and the page, going on from the frame before. */
enum { FRAME_AT_PAGE = 0, FRAME_AT_COMMIT = 4, FRAME_AT_SALTS = 8, FRAME_AT_SUM = 16 };

static const uint32_t MAGIC = 0x377f0682; /* the lowest bit set: checksums of big-endian words */
static const uint32_t VERSION = 3007000;

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint32_t le32(const uint8_t *p)
{
    return (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
}

struct scan {
    FILE *f;
    const char *path;
    size_t frame_bytes;
    bool big_endian;
    uint8_t salts[8];
    uint32_t sum[2];
    uint8_t *frame;
};

static void sum_add(struct scan *s, const uint8_t *p, size_t len)
{
    uint32_t a = s->sum[0], b = s->sum[1];
    for (const uint8_t *end = p + len; p < end; p += 8) {
        a += (s->big_endian ? be32(p) : le32(p)) + b;
        b += (s->big_endian ? be32(p + 4) : le32(p + 4)) + a;
    }
    s->sum[0] = a;
    s->sum[1] = b;
}

static bool sum_is(const struct scan *s, const uint8_t *stored)
{
    return s->sum[0] == be32(stored) && s->sum[1] == be32(stored + 4);
}

/* Whole frames only: a part of one at the end is torn by itself and says nothing. */
static bool frame_next(struct scan *s)
{
    return fread(s->frame, s->frame_bytes, 1, s->f) == 1;
}

static bool frame_of_generation(const struct scan *s)
{
    return memcmp(s->frame + FRAME_AT_SALTS, s->salts, sizeof(s->salts)) == 0;
}

/* Whether the frame's checksums go on from `before`; `s->sum` is changed. */
static bool sum_goes_on(struct scan *s, const uint32_t before[2])
{
    memcpy(s->sum, before, sizeof(s->sum));
    sum_add(s, s->frame, 8);
    sum_add(s, s->frame + FRAME_HEADER_BYTES, s->frame_bytes - FRAME_HEADER_BYTES);
    return sum_is(s, s->frame + FRAME_AT_SUM);
}

static bool frame_good(struct scan *s, const uint32_t before[2])
{
    return frame_of_generation(s) && be32(s->frame + FRAME_AT_PAGE) != 0 && sum_goes_on(s, before);
}

/* Disks write sectors whole: a frame's header that lies in one sector is what was written, even if
 * the frame is torn. */
static bool header_whole(uint64_t frame, size_t frame_bytes)
{
    uint64_t at = (HEADER_BYTES + frame * frame_bytes) % SECTOR_BYTES;
    return at + FRAME_HEADER_BYTES <= SECTOR_BYTES;
}

/* Whether the frame was a good commit frame before one bit of its header rotted. */
static bool was_commit(struct scan *s, const uint32_t before[2])
{
    bool was = false;
    for (size_t bit = 0; bit < (size_t)FRAME_HEADER_BYTES * 8 && !was; bit++) {
        s->frame[bit / 8] ^= (uint8_t)(1U << (bit % 8));
        was = be32(s->frame + FRAME_AT_COMMIT) && frame_good(s, before);
        s->frame[bit / 8] ^= (uint8_t)(1U << (bit % 8));
    }
    return was;
}

/*
 * The first frame that is not good has just been read, number `frame` from 0, and `sum` are the
 * checksums behind the one before it. Whether a synced commit stands behind it, or in it: a commit
 * frame of this generation with a further frame of this generation behind.
 *
 * A frame is believed to be a commit frame if its header lies in one sector, or if its checksums
 * are right: else it may be old in one part and new in the other.
 */
static bool commit_synced_behind(struct scan *s, uint64_t frame, const uint32_t sum[2])
{
    bool commit = false;     /* there was one */
    bool salts_only = false; /* the last frame would be one, had it our salts */
    bool first = true;
    uint32_t before[2] = {sum[0], sum[1]};
    do {
        bool ours = frame_of_generation(s);
        /* Rotten salts: its own checksums still go on in the next frame. */
        if (!first && ours && (commit || (salts_only && sum_goes_on(s, before))))
            return true;
        bool believed = be32(s->frame + FRAME_AT_COMMIT) &&
                        (header_whole(frame, s->frame_bytes) || frame_good(s, before));
        commit = commit || (ours && believed) || (first && was_commit(s, sum));
        salts_only = believed && !ours;
        before[0] = be32(s->frame + FRAME_AT_SUM);
        before[1] = be32(s->frame + FRAME_AT_SUM + 4);
        first = false;
        frame++;
    } while (frame_next(s));
    return false;
}

/* The header is synced before the first frame is written, so a bad one with frames behind it is
 * damage; without, it was about to be written. */
static int header_check(struct scan *s, const uint8_t *header, uint32_t page_bytes, bool *usable,
                        struct err *err)
{
    *usable = false;
    s->big_endian = be32(header + AT_MAGIC) & 1;
    sum_add(s, header, AT_SUM);
    if ((be32(header + AT_MAGIC) & ~1U) == MAGIC && sum_is(s, header + AT_SUM)) {
        if (be32(header + AT_VERSION) != VERSION || be32(header + AT_PAGE_BYTES) != page_bytes)
            return err_set(err, ERR_CORRUPT,
                           "%s: a WAL of version %" PRIu32 " with pages of %" PRIu32
                           " bytes, expected version %" PRIu32 " and %" PRIu32,
                           s->path, be32(header + AT_VERSION), be32(header + AT_PAGE_BYTES),
                           VERSION, page_bytes);
        memcpy(s->salts, header + AT_SALTS, sizeof(s->salts));
        *usable = true;
        return 0;
    }
    static const uint8_t zeros[FRAME_HEADER_BYTES];
    while (frame_next(s)) {
        if (memcmp(s->frame, zeros, sizeof(zeros)) != 0)
            return err_set(err, ERR_CORRUPT, "%s: the header is damaged", s->path);
    }
    return 0;
}

int wal_scan(const char *path, uint32_t page_bytes, struct wal_scan *out, struct err *err)
{
    struct scan s = {.path = path, .frame_bytes = FRAME_HEADER_BYTES + page_bytes};
    int rc = 0;
    *out = (struct wal_scan){0};
    s.f = fopen(path, "re");
    if (!s.f)
        return errno == ENOENT ? 0 : err_errno(err, ERR_IO, errno, "%s: cannot open", path);
    s.frame = mem_alloc(s.frame_bytes);
    char *buffer = mem_alloc(s.frame_bytes * FRAMES_AT_ONCE);
    setvbuf(s.f, buffer, _IOFBF, s.frame_bytes * FRAMES_AT_ONCE);
    uint8_t header[HEADER_BYTES];
    bool usable;
    if (fread(header, sizeof(header), 1, s.f) != 1)
        goto out; /* empty, or not even a header */
    rc = header_check(&s, header, page_bytes, &usable, err);
    if (rc || !usable)
        goto out;
    while (frame_next(&s)) {
        uint32_t before[2] = {s.sum[0], s.sum[1]};
        if (!frame_good(&s, before)) {
            out->torn = frame_of_generation(&s);
            if (commit_synced_behind(&s, out->frames, before))
                rc =
                    err_set(err, ERR_CORRUPT,
                            "%s: frame %" PRIu64 " is damaged, and committed ones stand behind it: "
                            "acknowledged log entries are lost",
                            path, out->frames + 1);
            break;
        }
        out->frames++;
        if (be32(s.frame + FRAME_AT_COMMIT))
            out->committed = out->frames;
    }
out:
    if (rc == 0 && ferror(s.f))
        rc = err_errno(err, ERR_IO, errno, "%s: cannot read", path);
    fclose(s.f);
    mem_free(s.frame);
    mem_free(buffer);
    return rc;
}
