/*
 * Sends Raft messages to peers and brings their replies, over the HTTP client and the peer codec.
 *
 * Each request message is a POST to URL/raft/message whose reply body is the reply message. Appends
 * go over a few connections and may arrive out of order (they bear stream and sequence numbers);
 * heartbeats and votes have connections of their own, so that they never wait behind an append.
 * Loop thread only. Bounded: at most LIMIT_PEER_INFLIGHT messages to one peer, LIMIT_PEER_APPENDS
 * of them appends; what is over it is reported as failed (ERR_OVERLOADED) in the next turn, every
 * append, if no more than LIMIT_PEER_APPENDS to each peer are sent without a word on them, and
 * LIMIT_PEER_REFUSED others. No event comes inside peer_transport_send, and none any more while
 * freeing.
 */
#ifndef RAFTKV_NET_PEER_TRANSPORT_H
#define RAFTKV_NET_PEER_TRANSPORT_H

#include "lib/json/peer.h"
#include "lib/net/http_client.h"

struct peer_transport;

struct peer_transport_events {
    void *self;
    /* A verified reply (cluster, from, to, version checked against what was sent). Entries are
     * none. */
    void (*reply)(void *self, const struct peer_message *reply);
    /* No reply: `code` says why; ERR_FORBIDDEN with the refusal when the peer calls us a stranger.
     */
    void (*failed)(void *self, raft_id peer, enum raft_message_type type, int code,
                   const struct peer_refusal *refusal);
};

/* `timeout_ms`: for a reply to what is small; what is large, and what goes with it, has a
 * millisecond more for each LIMIT_PEER_BYTES_A_MS on their way. */
int peer_transport_new(struct loop *l, const struct peer_transport_events *events,
                       uint32_t timeout_ms, struct peer_transport **out, struct err *err);
void peer_transport_free(struct peer_transport *t);
void peer_transport_identity(struct peer_transport *t, struct digest cluster, raft_id self);
/* The name that each request bears, in its User-Agent: "raftkv-node/0.1.0 (NAME)". For those on the
 * way, as who captures or breaks the network between nodes; no node looks at it. */
void peer_transport_name(struct peer_transport *t, const char *name);
/* Adds or updates an address; url NULL: forget the peer. Beyond twice RAFT_MEMBERS_MAX the peer
 * whose address was given longest ago is forgotten: give those of all members with each
 * configuration. What is on its way to a forgotten peer is not reported. */
void peer_transport_address(struct peer_transport *t, raft_id peer, const char *url);
/* Borrowed; encoded before it returns. */
void peer_transport_send(struct peer_transport *t, const struct peer_message *m);
uint64_t peer_transport_bytes_sent(const struct peer_transport *t);
/* The client under it, for forwarding and snapshots. */
struct http_client *peer_transport_client(struct peer_transport *t);
/* Of all that goes out through either client: see http_client.h. */
void peer_transport_fates(struct peer_transport *t, http_fate_of *fate_of, void *argument);

#endif
