/*
 * What a power loss takes away: for each file the changes since its last sync, for each directory
 * the names changed since its last sync. One caller at a time (the mutex of the rules is held).
 */
#ifndef RAFTKV_STORE_TEST_UNDO_INTERNAL_H
#define RAFTKV_STORE_TEST_UNDO_INTERNAL_H

#include <stddef.h>
#include <stdint.h>

/* Called before the change is made. */
void test_undo_write(const char *path, uint64_t old_size, uint64_t offset, const void *old,
                     const void *data, size_t len);
void test_undo_truncate(const char *path, uint64_t old_size, uint64_t size, const void *cut,
                        size_t len);
void test_undo_synced(const char *path);
void test_undo_forget(const char *path); /* the file is gone for good */

void test_undo_create(const char *path);
int test_undo_rename(const char *from, const char *to); /* before renaming; 0 or errno */
int test_undo_unlink(const char *path);                 /* does it; 0 or errno */
void test_undo_directory_synced(const char *path_inside);

/* seed 0: everything goes back; else each sector that was not synced is lost or kept at random. */
void test_undo_power_loss(uint64_t seed);

#endif
