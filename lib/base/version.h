/* The version that /node, --help and the man pages show. */
#ifndef RAFTKV_BASE_VERSION_H
#define RAFTKV_BASE_VERSION_H

#define RAFTKV_VERSION "0.1.0"

#endif
