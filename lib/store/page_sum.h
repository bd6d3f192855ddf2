/*
 * A checksum in each page of a file of the state: its last eight bytes, which SQLite leaves alone
 * (https://www.sqlite.org/fileformat2.html#database_header, "reserved space"). It goes over the
 * page's number and its other bytes, so that a page in another's place is wrong too.
 *
 * A VFS puts it there with each page that is written to the file, and looks at it with each that is
 * read. Of the WAL SQLite has its own; a page gets ours when a checkpoint takes it over. A page
 * with a wrong one is never given out: the read fails with SQLITE_IOERR_DATA, which sq_fail turns
 * into ERR_CORRUPT and the page's number. Thread-safe.
 */
#ifndef RAFTKV_STORE_PAGE_SUM_H
#define RAFTKV_STORE_PAGE_SUM_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"

enum { PAGE_BYTES = 4096, PAGE_SUM_BYTES = 8 };

#define PAGE_SUM_WRONG "wrong checksum" /* in the text of the error */

/* Pages count from 1. */
void page_sum_set(uint8_t page[PAGE_BYTES], uint64_t number);
bool page_sum_is_right(const uint8_t page[PAGE_BYTES], uint64_t number);

/* Registers the two VFS, over the default one and over `shared`; once, when those are there. */
void page_sum_register(const char *shared);
const char *page_sum_vfs(bool shared);

/* Looks at every page in the file itself (not in its WAL) of a connection with one of those VFS.
 * ERR_IO: it could not be read. */
int page_sum_scan(sqlite3 *db, void (*wrong)(void *self, uint64_t number), void *self,
                  struct err *err);

/* The page for which this thread last got SQLITE_IOERR_DATA. */
uint64_t page_sum_wrong_page(void);

#endif
