/* Asking nodes and their digests (replicas.c), reading rows of two (replicas_rows.c), what two rows
 * say of each other (replicas_judge.c). */
#ifndef RAFTKV_VERIFY_REPLICAS_INTERNAL_H
#define RAFTKV_VERIFY_REPLICAS_INTERNAL_H

#include "lib/client/client.h"
#include "lib/json/api.h"
#include "lib/verify/replicas.h"

struct replica {
    size_t endpoint;
    const char *url;
    struct api_node node; /* as it said last */
    struct api_status status;
    bool known;           /* node and status were asked for */
    struct digest digest; /* at the index that all were asked for */
    bool has_digest;
};

struct replicas {
    const struct replicas_options *options;
    const struct finding_sink *sink;
    struct client *client;
    uint64_t deadline_us;
    struct replica *all;
    size_t count;
    struct client_reply reply;
    struct err why; /* of the last that could not be done */
};

void replicas_tell(const struct replicas *r, enum finding kind, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
bool replicas_time_left(const struct replicas *r);
void replicas_pause(void);
/* One GET of one node; a reply of another status than 200 is an error with the node's words. */
int replicas_get(struct replicas *r, const struct replica *from, const char *target,
                 struct err *err);

/* Reads all rows of both side by side. Tells what differs, and returns how many keys that are, up
 * to the number after which it ends; < 0: what could not be read was told. */
int replicas_rows(struct replicas *r, const struct replica *a, const struct replica *b);

/* ---- two views of one key ---- */

struct replica_view {
    uint64_t index; /* the state it was read from */
    bool there;
    uint64_t version, timestamp_ms;
    struct slice value;
};

enum replica_verdict {
    REPLICAS_SAME,
    REPLICAS_DIFFER,
    REPLICAS_ASK_A, /* once more, at `min_index` or later */
    REPLICAS_ASK_B,
};

enum replica_verdict replicas_judge(const struct replica_view *a, const struct replica_view *b,
                                    uint64_t *min_index);

#endif
