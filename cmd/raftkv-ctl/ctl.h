/*
 * What the commands of raftkv-ctl share: global options, the client, output. One file a group of
 * commands; each command returns the exit status.
 */
#ifndef RAFTKV_CMD_CTL_H
#define RAFTKV_CMD_CTL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/err.h"
#include "lib/base/program.h"
#include "lib/client/client.h"

enum ctl_output { OUTPUT_TEXT, OUTPUT_JSON };

struct ctl {
    enum ctl_output output;
    uint64_t timeout_ms;
    const struct program_command *command;
    struct client *client;
    struct client_reply reply; /* of the last call */
};

struct ctl_command {
    struct program_command command; /* first, and without a `run` of its own */
    int (*run)(struct ctl *c, int argc, const char *const *argv);
};

extern const struct ctl_command put_command, get_command, delete_command, batch_command,
    scan_command, member_command, leader_command, status_command, node_command, health_command,
    fault_command;

/* ---- input.c ---- */

/* All of a file, or of standard input (-), into `out`, whose maximum is one byte more than may
 * come: more is refused here, as a node would. */
int ctl_read_file(const char *path, struct buf *out, struct err *err);

/* ---- output.c ---- */

/* The end of a call that failed; the exit status that belongs to it. `about` (may be NULL) names
 * what was asked for. */
int ctl_failed(const struct ctl *c, int code, const struct err *err, const char *about);
void ctl_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The body of the last reply and a newline. */
void ctl_print_body(const struct ctl *c);
/* A key as messages show it: quoted, what is not printable as \xNN, cut to fit. */
enum { SHOWN_KEY_BYTES = 160 };
const char *shown_key(const char *key, char out[SHOWN_KEY_BYTES]);

/* Rows of text in aligned columns. */
struct table;
struct table *table_new(size_t columns);
void table_cell(struct table *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void table_print(struct table *t); /* and frees it; no blanks at line ends */
void table_free(struct table *t);

/* ---- cluster.c ---- */

/* The members as a table, as `status` and `member list` show them; sorts them by name. */
struct api_status;
void print_members(struct api_status *s);
/* The cluster as a node knows it, from /status or /members; the error of a failure. */
int look_at_status(struct ctl *c, const char *path, struct api_status *s, struct err *err);
/* The same; a failure is told, and its exit status returned. */
int read_status(struct ctl *c, const char *path, struct api_status *s);
/* Waits until the clock has moved by a poll interval; false when `deadline_us` is over. */
bool poll_wait(uint64_t deadline_us);

#endif
