/* Memory that is there or the process is not. */
#include "lib/base/mem.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/check.h"

void *mem_alloc(size_t size)
{
    void *p = malloc(size ? size : 1);
    if (!p)
        check_failed("out of memory", __FILE__, __LINE__);
    return p;
}

void *mem_zalloc(size_t size)
{
    return mem_calloc(1, size);
}

void *mem_calloc(size_t n, size_t size)
{
    /* glibc's calloc refuses a product that overflows, which is then out of memory as well. */
    void *p = n && size ? calloc(n, size) : calloc(1, 1);
    if (!p)
        check_failed("out of memory", __FILE__, __LINE__);
    return p;
}

void *mem_realloc(void *old, size_t size)
{
    void *p = realloc(old, size ? size : 1);
    if (!p)
        check_failed("out of memory", __FILE__, __LINE__);
    return p;
}

char *mem_strdup(const char *s)
{
    return mem_dup(s, strlen(s) + 1);
}

void *mem_dup(const void *data, size_t size)
{
    void *p = mem_alloc(size);
    if (size)
        memcpy(p, data, size);
    return p;
}

void mem_free(void *p)
{
    free(p);
}
