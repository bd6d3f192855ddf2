/*
 * Memory: these never return NULL. A node that cannot allocate a few kilobytes within its own
 * bounds cannot keep a promise either: it aborts, and the log on disk is what counts.
 */
#ifndef RAFTKV_BASE_MEM_H
#define RAFTKV_BASE_MEM_H

#include <stddef.h>

void *mem_alloc(size_t size) __attribute__((malloc, alloc_size(1), returns_nonnull));
void *mem_zalloc(size_t size) __attribute__((malloc, alloc_size(1), returns_nonnull));
void *mem_calloc(size_t n, size_t size) __attribute__((malloc, alloc_size(1, 2), returns_nonnull));
void *mem_realloc(void *old, size_t size) __attribute__((alloc_size(2), returns_nonnull));
char *mem_strdup(const char *s) __attribute__((returns_nonnull));
void *mem_dup(const void *data, size_t size) __attribute__((returns_nonnull));
void mem_free(void *p); /* NULL is fine */

#endif
