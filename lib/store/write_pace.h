/*
 * Spreads what a thread writes through SQLite over time.
 *
 * A flush of kv.db and its checkpoint write many megabytes, which Linux keeps in memory until
 * SQLite asks for a sync; the syncs of raft.db, for which clients wait, then stand behind all of
 * them at the device. Here they go out in slices, each waited for, so that other syncs find a gap.
 *
 * It is a hint: it takes the system call pwrite of SQLite's unix VFS in its hands
 * (sqlite3_vfs.xSetSystemCall), and does nothing where that cannot be done. What SQLite makes
 * durable, and when, stays as it is.
 */
#ifndef RAFTKV_STORE_WRITE_PACE_H
#define RAFTKV_STORE_WRITE_PACE_H

#include <stdint.h>

/* Before the first connection is opened; once. */
void write_pace_install(void);

/* Between these, of one thread: after each slice written to a file, waits until it is on the device
 * and then `pause_us` more. */
void write_pace_begin(uint64_t pause_us);
void write_pace_end(void);

#endif
