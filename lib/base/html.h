/* Text in HTML pages. */
#ifndef RAFTKV_BASE_HTML_H
#define RAFTKV_BASE_HTML_H

#include <stdio.h>

/* The text as it is to be read, with what HTML would understand escaped; in attributes too. */
void html_put(FILE *out, const char *text);

#endif
