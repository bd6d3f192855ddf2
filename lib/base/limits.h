/*
 * Every limit of the program in one place, with the relations between them asserted. A limit is
 * checked where something comes in (a request, a message, a file); behind that it is assumed.
 */
#ifndef RAFTKV_BASE_LIMITS_H
#define RAFTKV_BASE_LIMITS_H

enum {
    LIMIT_KEY_BYTES = 4096,                      /* a key has 1 … this many bytes */
    LIMIT_VALUE_BYTES_DEFAULT = 1 << 20,         /* --max-value-size when nothing is said */
    LIMIT_VALUE_BYTES_CEILING = 16 << 20,        /* --max-value-size at most */
    LIMIT_NAME_BYTES = 64,                       /* a member's name */
    LIMIT_URL_BYTES = 255,                       /* a member's address */
    LIMIT_BATCH_WRITES = 1024,                   /* of one batch */
    LIMIT_BATCH_BYTES = 2 << 20,                 /* keys and values of a batch */
    LIMIT_ENTRY_BYTES = (16 << 20) + (64 << 10), /* payload of a log entry */
    LIMIT_LOG_LINE_BYTES = 4096,                 /* one line of the structured log, cut to fit */
    LIMIT_LOG_QUEUE_BYTES = 1 << 20,             /* lines that wait for the log's own thread */
    LIMIT_OPT_NAME_BYTES = 64, /* longest option name, for environment variable names */
};

/* lib/store */
enum {
    LIMIT_COMPACT_ROWS_MIN = 64,  /* log rows that a write deletes beside its own work: twice … */
    LIMIT_COMPACT_ROWS_MAX = 512, /* … what it writes, within these bounds */
    LIMIT_LOG_CACHE_KIB = 4096,   /* page cache of raft.db */
    LIMIT_WRITER_CACHE_KIB = 16384, /* … of the writing connection of kv.db */
    LIMIT_READER_CACHE_KIB = 32768, /* … of the reading one */
    LIMIT_HELPER_CACHE_KIB = 2048,  /* … of a snapshot's */
    LIMIT_MEMBERSHIP_BYTES = 65536, /* an encoded membership */
};

/* lib/client, raftkv-ctl */
enum {
    LIMIT_ENDPOINTS = 64,                 /* in --endpoints */
    LIMIT_CLIENT_REPLY_BYTES = 128 << 20, /* body of a reply */
    LIMIT_CLIENT_SILENT_ROUNDS = 3,       /* endpoints tried so often while none of them answers */
    LIMIT_CLIENT_BACKOFF_MIN_MS = 25,     /* between tries: doubled each time … */
    LIMIT_CLIENT_BACKOFF_MAX_MS = 800,    /* … up to this */
};

/* lib/json */
enum {
    LIMIT_JSON_DEPTH = 16,              /* nesting of what is parsed */
    LIMIT_CURSOR_BYTES = 17408,         /* text of a scan's cursor: three keys in base64 */
    LIMIT_PAGE_ITEMS = 10000,           /* items of a scan page */
    LIMIT_PEER_HEAD_BYTES = 2048,       /* a peer message beside its entries */
    LIMIT_PEER_HELLO_BYTES = 16 * 1024, /* what a node says of itself, with its list of members */
};

/* lib/net */
enum {
    LIMIT_QUERY_BYTES = 18 << 10, /* of a URL: a cursor, and something beside it */
    LIMIT_QUERY_NAME_BYTES = 64,
    LIMIT_HTTP_CONNECTION_BYTES = 24 << 10, /* request line, headers, and those of the reply */
    LIMIT_HTTP_HEADERS = 32,                /* of a request */
    LIMIT_HTTP_BODY_STEP_BYTES = 64 << 10,  /* reserved for a body before any of it has come */
    LIMIT_HTTP_DRAIN_BYTES = 32 << 20,      /* read and thrown away behind a refusal … */
    LIMIT_HTTP_LINGER_MS = 2000,            /* … and for so long */
    LIMIT_HTTP_ACCEPTS = 64,                /* connections taken a turn */
    LIMIT_HTTP_BACKLOG = 4096,
    LIMIT_HTTP_REPLY_HEADERS = 24,
    LIMIT_HTTP_CLIENT_IDLE_S =
        15,                       /* a kept connection is not used after it: servers close theirs */
    LIMIT_HTTP_CLIENT_KEPT = 256, /* kept connections, to all hosts */
    LIMIT_HTTP_CLIENT_UNUSED = 64, /* kept handles of libcurl */
    LIMIT_PEER_APPENDS = 8,        /* appends on their way to one peer, a connection each */
    LIMIT_PEER_INFLIGHT = 24,      /* messages of all kinds on their way to one peer */
    LIMIT_PEER_REPLY_BYTES = 64 << 10,
    LIMIT_PEER_BYTES_A_MS = 1000,        /* the slowest line to a peer that is reckoned with */
    LIMIT_PEER_MESSAGE_BYTES = 32 << 20, /* of one append: the largest entry in base64 */
    LIMIT_PEER_REFUSED = 256,            /* messages that could not be sent, not yet told of */
    LIMIT_PEER_CONNECTIONS = 64,         /* to one peer, for forwarding and snapshots */
};

_Static_assert(LIMIT_KEY_BYTES >= 1, "a key has at least one byte");
_Static_assert(LIMIT_VALUE_BYTES_DEFAULT <= LIMIT_VALUE_BYTES_CEILING,
               "default within the ceiling");
_Static_assert(LIMIT_VALUE_BYTES_CEILING + LIMIT_KEY_BYTES + 4096 <= LIMIT_ENTRY_BYTES,
               "an entry holds the largest key and value");
_Static_assert(LIMIT_BATCH_BYTES + LIMIT_BATCH_WRITES * 16 + 4096 <= LIMIT_ENTRY_BYTES,
               "an entry holds the largest batch");
_Static_assert(LIMIT_LOG_LINE_BYTES * 16 <= LIMIT_LOG_QUEUE_BYTES, "the queue holds many lines");
_Static_assert(LIMIT_CLIENT_REPLY_BYTES / 6 > LIMIT_VALUE_BYTES_CEILING + LIMIT_KEY_BYTES + 4096,
               "a page of the largest item fits, a byte escaped as six");
_Static_assert(LIMIT_COMPACT_ROWS_MIN <= LIMIT_COMPACT_ROWS_MAX, "bounds in order");
_Static_assert(3 * LIMIT_KEY_BYTES + 8192 <= LIMIT_HTTP_CONNECTION_BYTES,
               "the longest key, each byte of it escaped, and headers fit");
_Static_assert(LIMIT_QUERY_BYTES + 6144 <= LIMIT_HTTP_CONNECTION_BYTES,
               "so does the longest query");
_Static_assert(LIMIT_ENTRY_BYTES / 3 * 4 + LIMIT_PEER_HEAD_BYTES < LIMIT_PEER_MESSAGE_BYTES,
               "an append holds the largest entry");
_Static_assert(LIMIT_PEER_APPENDS < LIMIT_PEER_INFLIGHT, "heartbeats find a connection");

#endif
