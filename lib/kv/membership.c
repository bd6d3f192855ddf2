/*
 * Membership: the codec of configuration entries, look-up, and the cluster id.
 *
 *     membership = format u8, joint u8, count u8, { id u64, replaces u64, flags u8, name_len u8,
 * url_len u8, name, url }…
 */
#include <inttypes.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/hash.h"
#include "lib/kv/command.h"
#include "lib/kv/wire_internal.h"

enum {
    MEMBERSHIP_FORMAT = 1,
    HEAD_BYTES = 3,
    MEMBER_BYTES = 8 + 8 + 1 + 1 + 1,
    MEMBERSHIP_BYTES_MAX =
        HEAD_BYTES + RAFT_MEMBERS_MAX * (MEMBER_BYTES + LIMIT_NAME_BYTES + LIMIT_URL_BYTES),
    FLAGS_ALL = RAFT_VOTER | RAFT_VOTER_OLD | RAFT_AUTO_PROMOTE,
};

_Static_assert(RAFT_MEMBERS_MAX <= UINT8_MAX && LIMIT_NAME_BYTES <= UINT8_MAX &&
                   LIMIT_URL_BYTES <= UINT8_MAX && FLAGS_ALL <= UINT8_MAX,
               "each is one byte");
_Static_assert((int)MEMBERSHIP_BYTES_MAX <= (int)LIMIT_ENTRY_BYTES,
               "a membership fits into an entry");

bool member_name_valid(const char *name, size_t len)
{
    if (len < 1 || len > LIMIT_NAME_BYTES)
        return false;
    for (size_t i = 0; i < len; i++) {
        char c = name[i];
        bool fine = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                    c == '.' || c == '_' || c == '-';
        if (!fine)
            return false;
    }
    return true;
}

/* Only what would break a line or a header; whether it is a URL is for those who take it from a
 * user. */
static bool url_valid(const char *url, size_t len)
{
    if (len < 1 || len > LIMIT_URL_BYTES)
        return false;
    for (size_t i = 0; i < len; i++)
        if (url[i] <= 0x20 || url[i] >= 0x7f)
            return false;
    return true;
}

/* NULL, or what is wrong; for both directions. Whether it is a sensible configuration the core
 * judges. */
static const char *membership_flaw(const struct membership *m)
{
    const struct raft_configuration *c = &m->configuration;
    if (c->count > RAFT_MEMBERS_MAX)
        return "too many members";
    raft_id before = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        const struct raft_member *member = &c->members[i];
        const struct member_address *a = &m->addresses[i];
        if (member->id <= before || a->id != member->id)
            return "ids are not ascending";
        if ((member->flags & ~(uint32_t)FLAGS_ALL) != 0)
            return "unknown flags";
        if ((member->flags & RAFT_VOTER_OLD) != 0 && !c->joint)
            return "outgoing voter outside of a joint configuration";
        if (!member_name_valid(a->name, strnlen(a->name, sizeof(a->name))))
            return "invalid member name";
        if (!url_valid(a->url, strnlen(a->url, sizeof(a->url))))
            return "invalid member URL";
        before = member->id;
    }
    return NULL;
}

static size_t encode(const struct membership *m, uint8_t out[MEMBERSHIP_BYTES_MAX])
{
    ASSERT(membership_flaw(m) == NULL);
    const struct raft_configuration *c = &m->configuration;
    uint8_t *at = out;
    *at++ = MEMBERSHIP_FORMAT;
    *at++ = c->joint;
    *at++ = (uint8_t)c->count;
    for (uint32_t i = 0; i < c->count; i++) {
        const struct member_address *a = &m->addresses[i];
        size_t name_len = strlen(a->name), url_len = strlen(a->url);
        le64enc(at, c->members[i].id);
        le64enc(at + 8, c->members[i].replaces);
        at[16] = (uint8_t)c->members[i].flags;
        at[17] = (uint8_t)name_len;
        at[18] = (uint8_t)url_len;
        memcpy(at + MEMBER_BYTES, a->name, name_len);
        memcpy(at + MEMBER_BYTES + name_len, a->url, url_len);
        at += MEMBER_BYTES + name_len + url_len;
    }
    return (size_t)(at - out);
}

size_t membership_encode(const struct membership *m, struct buf *out)
{
    uint8_t bytes[MEMBERSHIP_BYTES_MAX];
    size_t len = encode(m, bytes);
    return buf_append(out, bytes, len) == 0 ? len : 0;
}

/* False if it is too long or has a NUL inside: that would be another string behind the decoding. */
static bool copy_text(char *to, size_t to_bytes, struct slice from)
{
    if (from.len >= to_bytes || (from.len > 0 && memchr(from.data, 0, from.len)))
        return false;
    if (from.len > 0)
        memcpy(to, from.data, from.len);
    to[from.len] = '\0';
    return true;
}

int membership_decode(struct slice in, raft_index index, struct membership *m, struct err *err)
{
    memset(m, 0, sizeof(*m));
    struct raft_configuration *c = &m->configuration;
    struct reader r = reader_of(in);
    uint8_t format = reader_u8(&r);
    if (r.failed || format != MEMBERSHIP_FORMAT)
        return err_set(err, ERR_CORRUPT, "membership: unknown format %u", format);
    uint8_t joint = reader_u8(&r);
    c->index = index;
    c->joint = joint == 1;
    c->count = reader_u8(&r);
    bool fits = joint <= 1 && c->count <= RAFT_MEMBERS_MAX;
    for (uint32_t i = 0; fits && i < c->count; i++) {
        struct member_address *a = &m->addresses[i];
        a->id = c->members[i].id = reader_u64(&r);
        c->members[i].replaces = reader_u64(&r);
        c->members[i].flags = reader_u8(&r);
        size_t name_len = reader_u8(&r);
        size_t url_len = reader_u8(&r);
        fits = copy_text(a->name, sizeof(a->name), reader_bytes(&r, name_len)) &&
               copy_text(a->url, sizeof(a->url), reader_bytes(&r, url_len));
    }
    const char *flaw = r.failed     ? "cut short"
                       : !fits      ? "count or length out of range"
                       : r.left > 0 ? "bytes behind the end"
                                    : membership_flaw(m);
    if (flaw)
        return err_set(err, ERR_CORRUPT, "membership of entry %" PRIu64 ": %s", index, flaw);
    return 0;
}

const struct member_address *membership_by_id(const struct membership *m, raft_id id)
{
    for (uint32_t i = 0; i < m->configuration.count; i++)
        if (m->addresses[i].id == id)
            return &m->addresses[i];
    return NULL;
}

/* A wiped node comes back under its old name: while it is replaced, the name is there twice, and
 * means the one that votes. */
const struct member_address *membership_by_name(const struct membership *m, const char *name)
{
    const struct member_address *found = NULL;
    for (uint32_t i = 0; i < m->configuration.count; i++) {
        if (strcmp(m->addresses[i].name, name) != 0)
            continue;
        if ((m->configuration.members[i].flags & RAFT_VOTER) != 0)
            return &m->addresses[i];
        if (!found)
            found = &m->addresses[i];
    }
    return found;
}

struct digest membership_cluster_id(const struct membership *m)
{
    uint8_t bytes[MEMBERSHIP_BYTES_MAX];
    return digest_bytes(bytes, encode(m, bytes), 0);
}
