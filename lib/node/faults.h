/*
 * Faults of a running node (--enable-faults): what is in force, and where it acts.
 *
 *   drop, delay                what goes out to peers: asked by the HTTP client for each call
 *   fsync-…, disk-…            rules of the fault VFS (lib/store/fault_vfs.h)
 *   clock-…                    lib/base/clock.h
 *   crash                      fault_point, on the thread that passes it
 *
 * The table is set from the loop's thread and asked from any. A node without the option has none
 * (NULL), and each place where one could act costs it that comparison.
 */
#ifndef RAFTKV_NODE_FAULTS_H
#define RAFTKV_NODE_FAULTS_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/json/api_faults.h"
#include "lib/net/http_client.h"

enum { FAULTS_MAX = 64 };

struct faults;

/* The name of the peer at this URL (complete, with a path), NULL if none is known there. */
typedef const char *fault_peer_at(void *argument, const char *url);

/* Before the stores are opened and threads started. Ends with faults_free, once a process. */
struct faults *faults_new(fault_peer_at *peer_at, void *argument);
void faults_free(struct faults *f);

/* Gives it an id. ERR_OVERLOADED: there are FAULTS_MAX. */
int faults_add(struct faults *f, struct api_fault *fault, struct err *err);
int faults_remove(struct faults *f, uint64_t id); /* ERR_NOT_FOUND */
void faults_clear(struct faults *f);
size_t faults_list(struct faults *f, struct api_fault out[FAULTS_MAX]); /* oldest first */
size_t faults_count(struct faults *f);                                  /* NULL: 0 */

/* Loop thread: an http_fate_of; `faults` is a struct faults. */
struct http_fate faults_fate(void *faults, const char *url);

void faults_pass(struct faults *f, enum api_fault_point point);
/* Any thread passes that point of its work; may not return. */
static inline void fault_point(struct faults *f, enum api_fault_point point)
{
    if (f) {
        faults_pass(f, point);
    }
}

#endif
