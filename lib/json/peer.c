/*
 * Messages between members.
 *
 * The scalars of a message are a table, so that writer and reader cannot differ. The entries of an
 * append are the bulk of all traffic: they stand last, and the reader takes them out before the
 * parse instead of pushing megabytes through it (56 µs for 64 small entries, against 5).
 */
#include "lib/json/peer.h"

#include <inttypes.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/mem.h"
#include "lib/json/api.h"
#include "lib/json/json_internal.h"

/* ---- the members of each type ---- */

struct field {
    const char *name;
    const char *lead;
    size_t offset;
    bool is_bool;
    uint32_t types; /* bits 1 << enum raft_message_type */
};

#define BIT(type)   (UINT32_C(1) << RAFT_##type)
#define CANDIDATE   (BIT(PRE_VOTE) | BIT(VOTE))
#define FROM_LEADER (BIT(APPEND) | BIT(HEARTBEAT))
#define TO_LEADER   (BIT(APPEND_REPLY) | BIT(HEARTBEAT_REPLY))
#define DIGEST      (BIT(HEARTBEAT) | BIT(HEARTBEAT_REPLY))
#define FIELD(member, is_bool, types)                                                              \
    {                                                                                              \
#member, ",\"" #member "\":", offsetof(struct raft_message, member), (is_bool), (types)    \
    }
_Static_assert(RAFT_MESSAGE_TYPES <= 32, "types fit into the bits");

static const struct field fields[] = {
    FIELD(last_index, false, CANDIDATE),
    FIELD(last_term, false, CANDIDATE),
    FIELD(transfer, true, BIT(VOTE)),
    FIELD(granted, true,
          BIT(PRE_VOTE_REPLY) | BIT(VOTE_REPLY) | BIT(READ_INDEX_REPLY) | BIT(TIMEOUT_NOW_REPLY)),
    FIELD(prev_index, false, BIT(APPEND)),
    FIELD(prev_term, false, BIT(APPEND)),
    FIELD(commit, false, FROM_LEADER | BIT(READ_INDEX_REPLY)),
    FIELD(accepted, true, BIT(APPEND_REPLY)),
    FIELD(match_index, false, BIT(APPEND_REPLY)),
    FIELD(reject_index, false, BIT(APPEND_REPLY)),
    FIELD(hint_index, false, BIT(APPEND_REPLY)),
    FIELD(hint_term, false, BIT(APPEND_REPLY)),
    FIELD(round, false, FROM_LEADER | TO_LEADER),
    FIELD(promise_us, false, TO_LEADER),
    FIELD(sent_us, false, FROM_LEADER | TO_LEADER),
    FIELD(read_index, false, BIT(READ_INDEX_REPLY)),
    FIELD(read_id, false, BIT(READ_INDEX) | BIT(READ_INDEX_REPLY)),
};
enum { FIELD_COUNT = sizeof(fields) / sizeof(fields[0]) };

static const char *const type_names[RAFT_MESSAGE_TYPES] = {
    [RAFT_PRE_VOTE] = "pre_vote",
    [RAFT_VOTE] = "vote",
    [RAFT_APPEND] = "append",
    [RAFT_HEARTBEAT] = "heartbeat",
    [RAFT_READ_INDEX] = "read_index",
    [RAFT_TIMEOUT_NOW] = "timeout_now",
    [RAFT_PRE_VOTE_REPLY] = "pre_vote_reply",
    [RAFT_VOTE_REPLY] = "vote_reply",
    [RAFT_APPEND_REPLY] = "append_reply",
    [RAFT_HEARTBEAT_REPLY] = "heartbeat_reply",
    [RAFT_READ_INDEX_REPLY] = "read_index_reply",
    [RAFT_TIMEOUT_NOW_REPLY] = "timeout_now_reply",
    /* RAFT_SEND_SNAPSHOT is no message on the wire */
};

void peer_message_release(struct peer_message *m)
{
    for (uint32_t i = 0; m->entries && i < m->message.entry_count; i++)
        entry_unref(m->entries[i]);
    mem_free(m->entries);
    m->entries = NULL;
    m->message.entry_count = 0;
}

/* ---- writing ---- */

static int put_head(struct buf *out, const struct peer_message *m)
{
    const struct raft_message *message = &m->message;
    int rc = json_put_u64_after(out, "{\"v\":", PEER_PROTOCOL_VERSION);
    if (rc == 0)
        rc = buf_append_str(out, ",\"cluster\":");
    if (rc == 0)
        rc = json_put_hex128(out, m->cluster);
    if (rc == 0)
        rc = buf_append_str(out, ",\"from\":");
    if (rc == 0)
        rc = json_put_hex64(out, message->from);
    if (rc == 0)
        rc = buf_append_str(out, ",\"to\":");
    if (rc == 0)
        rc = json_put_hex64(out, message->to);
    if (rc == 0)
        rc = json_put_text_after(out, ",\"type\":", type_names[message->type]);
    if (rc == 0)
        rc = json_put_u64_after(out, ",\"term\":", message->term);
    return rc;
}

static int put_fields(struct buf *out, const struct raft_message *message)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < FIELD_COUNT; i++) {
        if (!(fields[i].types & UINT32_C(1) << message->type))
            continue;
        const char *at = (const char *)message + fields[i].offset;
        if (fields[i].is_bool) {
            bool v;
            memcpy(&v, at, sizeof(v));
            rc = json_put_bool_after(out, fields[i].lead, v);
        } else {
            uint64_t v;
            memcpy(&v, at, sizeof(v));
            rc = json_put_u64_after(out, fields[i].lead, v);
        }
    }
    return rc;
}

static int put_digest(struct buf *out, const struct peer_digest *d)
{
    int rc = json_put_u64_after(out, ",\"digest_index\":", d->index);
    if (rc == 0)
        rc = buf_append_str(out, ",\"digest\":");
    return rc < 0 ? rc : json_put_hex128(out, d->value);
}

static int put_entries(struct buf *out, const struct peer_message *m)
{
    int rc = json_put_u64_after(out, ",\"stream\":", m->stream);
    if (rc == 0)
        rc = json_put_u64_after(out, ",\"seq\":", m->seq);
    if (rc == 0)
        rc = buf_append_str(out, ",\"entries\":");
    if (rc < 0)
        return rc;
    struct buf run;
    buf_init(&run, out->max);
    rc = entries_encode(&run, m->entries, m->message.entry_count);
    if (rc == 0)
        rc = json_put_base64(out, slice_of(run.data, run.len));
    buf_release(&run);
    return rc;
}

int peer_message_encode(const struct peer_message *m, struct buf *out)
{
    ASSERT(m->message.type < RAFT_MESSAGE_TYPES && type_names[m->message.type]);
    int rc = put_head(out, m);
    if (rc == 0)
        rc = put_fields(out, &m->message);
    if (rc == 0 && (DIGEST & UINT32_C(1) << m->message.type))
        rc = put_digest(out, &m->digest);
    if (rc == 0 && m->message.type == RAFT_APPEND)
        rc = put_entries(out, m);
    return rc < 0 ? rc : buf_append_byte(out, '}');
}

/* ---- reading ---- */

/* What is left for the parser, and what was taken out. */
struct split {
    char head[LIMIT_PEER_HEAD_BYTES + 16];
    size_t head_len;
    struct slice entries; /* base64; data NULL: there is no such member at the end */
};

/*
 * Splits `H"entries":"B"}` into H"entries":""} and B. B holds neither quote nor backslash, so the
 * short text is JSON if and only if the long one is, with the same meaning but for that one string;
 * and since one brace closes it, the member is the root's.
 */
static int split_entries(struct slice body, struct split *s, struct err *err)
{
    static const char opening[] = "\"entries\":\"";
    const size_t opening_len = sizeof(opening) - 1;
    s->head_len = 0;
    s->entries = slice_of(NULL, 0);
    struct slice head = body;
    if (body.len >= opening_len + 2 && memcmp(body.data + body.len - 2, "\"}", 2) == 0) {
        size_t end = body.len - 2;
        const uint8_t *quote = memrchr(body.data, '"', end);
        size_t start = quote ? (size_t)(quote - body.data) + 1 : 0;
        if (start >= opening_len &&
            memcmp(body.data + start - opening_len, opening, opening_len) == 0 &&
            !memchr(body.data + start, '\\', end - start)) {
            s->entries = slice_of(body.data + start, end - start);
            head.len = start;
        }
    }
    if (head.len > LIMIT_PEER_HEAD_BYTES)
        return err_set(err, ERR_BAD_REQUEST,
                       "peer message: more than %d bytes beside 'entries', which stands last",
                       LIMIT_PEER_HEAD_BYTES);
    memcpy(s->head, head.data, head.len);
    s->head_len = head.len;
    if (s->entries.data) {
        memcpy(s->head + s->head_len, "\"}", 2);
        s->head_len += 2;
    }
    return 0;
}

static bool read_type(struct json_reader *r, enum raft_message_type *type)
{
    struct slice text;
    if (!json_read_string(r, "type", true, &text))
        return false;
    for (int i = 0; i < RAFT_MESSAGE_TYPES; i++) {
        if (type_names[i] && json_text_is(text, type_names[i])) {
            *type = (enum raft_message_type)i;
            return true;
        }
    }
    json_reader_fail(r, "type", "is none of this protocol: '%.32s'", (const char *)text.data);
    return false;
}

static bool read_version(struct json_reader *r)
{
    uint64_t version;
    if (!json_read_u64(r, "v", true, &version))
        return false;
    if (version != PEER_PROTOCOL_VERSION)
        json_reader_fail(r, "v", "is %" PRIu64 ": this node speaks version %d", version,
                         PEER_PROTOCOL_VERSION);
    return version == PEER_PROTOCOL_VERSION;
}

static void read_id(struct json_reader *r, const char *name, raft_id *id)
{
    if (json_read_hex64(r, name, true, id) && *id == 0)
        json_reader_fail(r, name, "must not be 0");
}

static void read_scalars(struct json_reader *r, struct peer_message *m)
{
    struct raft_message *message = &m->message;
    if (!read_version(r)) /* of another version nothing else is judged */
        return;
    json_read_hex128(r, "cluster", true, &m->cluster);
    read_id(r, "from", &message->from);
    read_id(r, "to", &message->to);
    if (!read_type(r, &message->type))
        return;
    json_read_u64(r, "term", true, &message->term);
    for (size_t i = 0; i < FIELD_COUNT; i++) {
        if (!(fields[i].types & UINT32_C(1) << message->type))
            continue;
        char *at = (char *)message + fields[i].offset;
        if (fields[i].is_bool) {
            bool v;
            json_read_bool(r, fields[i].name, true, &v);
            memcpy(at, &v, sizeof(v));
        } else {
            uint64_t v;
            json_read_u64(r, fields[i].name, true, &v);
            memcpy(at, &v, sizeof(v));
        }
    }
    if (DIGEST & UINT32_C(1) << message->type) {
        json_read_u64(r, "digest_index", true, &m->digest.index);
        json_read_hex128(r, "digest", true, &m->digest.value);
    }
    if (message->type == RAFT_APPEND) {
        struct slice nothing;
        json_read_u64(r, "stream", true, &m->stream);
        json_read_u64(r, "seq", true, &m->seq);
        json_read_string(r, "entries", true, &nothing);
        if (nothing.len > 0)
            json_reader_fail(r, "entries", "must stand last");
    }
}

/* What Raft says of the terms in an append (§3.5), so that nobody behind has to doubt it. */
static int check_terms(const struct peer_message *m, struct err *err)
{
    const struct raft_message *message = &m->message;
    if (message->entry_count == 0)
        return 0;
    const struct entry *first = m->entries[0], *last = m->entries[message->entry_count - 1];
    if (first->term < message->prev_term || last->term > message->term)
        return err_set(err, ERR_BAD_REQUEST,
                       "member 'entries' has terms %" PRIu64 " to %" PRIu64 " between %" PRIu64
                       " and %" PRIu64,
                       first->term, last->term, message->prev_term, message->term);
    return 0;
}

static int read_entries(struct slice text, struct peer_message *m, struct err *err)
{
    if (text.len == 0)
        return 0;
    struct err detail = {0};
    size_t run_len, count;
    uint8_t *run = mem_alloc(text.len / 4 * 3 + 1);
    int rc = base64_decode(run, &run_len, (const char *)text.data, text.len);
    if (rc < 0) {
        err_set(&detail, rc, "must be base64, padded");
    } else {
        rc = entries_decode(slice_of(run, run_len), m->message.prev_index + 1, &m->entries, &count,
                            &detail);
        if (rc == 0 && count > RAFT_APPEND_ENTRIES_MAX) {
            rc = err_set(&detail, ERR_BAD_REQUEST, "more than %d", RAFT_APPEND_ENTRIES_MAX);
            for (size_t i = 0; i < count; i++)
                entry_unref(m->entries[i]);
            mem_free(m->entries);
            m->entries = NULL;
        }
    }
    mem_free(run);
    if (rc < 0)
        return err_set(err, ERR_BAD_REQUEST, "member 'entries': %s", detail.text);
    m->message.entry_count = (uint32_t)count;
    return check_terms(m, err);
}

int peer_message_decode(struct slice body, struct peer_message *m, struct err *err)
{
    struct split split;
    json_t *root = NULL;
    int rc = split_entries(body, &split, err);
    if (rc == 0)
        rc = json_parse_object(slice_of(split.head, split.head_len), 1, &root, err);
    if (rc < 0)
        return rc;
    struct peer_message found = {0};
    struct json_reader r;
    json_reader_init(&r, root, err);
    read_scalars(&r, &found);
    rc = json_reader_end(&r, MEMBERS_EXACT);
    json_decref(root);
    if (rc == 0 && found.message.type == RAFT_APPEND)
        rc = read_entries(split.entries, &found, err);
    if (rc == 0)
        *m = found;
    else
        peer_message_release(&found);
    return rc;
}
