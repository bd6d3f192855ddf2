/*
 * A look through an SQLite WAL file before SQLite opens the database.
 *
 * SQLite's recovery stops silently at the first frame whose checksum is wrong: right after a crash
 * in the middle of a commit (a torn tail), and the loss of acknowledged entries when a frame in the
 * middle has rotted. The two can be told apart where each commit is synced before the next frame is
 * written (synchronous=FULL, one writer, no cache spill): a bad frame is damage if behind it stands
 * a commit frame that has itself a further frame of the same generation (the salts of the header)
 * behind it, for then that commit had been synced. A bad frame in the last transaction is a torn
 * tail.
 *
 * Formats: https://www.sqlite.org/fileformat2.html#the_write_ahead_log
 */
#ifndef RAFTKV_STORE_WAL_SCAN_H
#define RAFTKV_STORE_WAL_SCAN_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"

struct wal_scan {
    uint64_t frames;    /* good ones from the beginning: what SQLite will use, but for … */
    uint64_t committed; /* … those behind the last commit frame */
    bool torn;          /* behind them stands a frame of this generation that is not good */
};

/* 0; ERR_CORRUPT names file and frame; ERR_IO. A missing or empty file is a scan of no frames. */
int wal_scan(const char *path, uint32_t page_bytes, struct wal_scan *out, struct err *err);

#endif
