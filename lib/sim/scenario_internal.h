/*
 * Inside of scenario files: parsed lines, and a script that runs.
 */
#ifndef RAFTKV_SIM_SCENARIO_INTERNAL_H
#define RAFTKV_SIM_SCENARIO_INTERNAL_H

#include "lib/sim/cluster.h"
#include "lib/sim/scenario.h"

enum {
    SCENARIO_WORDS_MAX = 64, /* of a command */
    SCENARIO_LINE_BYTES = 1024,
    SCENARIO_RUN_MS_MAX = 60000, /* of a `run` or `wait` */
    SCENARIO_ENTRIES_MAX = 200,  /* of a `propose` */
    SCENARIO_TERM_MAX = 1000,    /* of a `log` */
};

struct scenario;
struct scenario_parser;
struct scenario_command;

/* A row of the language. In `usage` words in lower case stand as they are; NODE, FROM, TO and OTHER
 * are nodes, INDEX and COUNT numbers, DURATION a time, MESSAGE a type of message, VALUE… and NODE…
 * one or more; [x] may be missing. */
struct scenario_verb {
    const char *usage;
    void (*run)(struct scenario *s, const struct scenario_command *command);
    bool prepares; /* stands before anything happens in the cluster */
    /* What `parse` reads behind that, from word `first` on. */
    const char *rest;
    int (*parse)(struct scenario_parser *p, struct scenario_command *command, uint32_t first);
};

struct scenario_command {
    const struct scenario_verb *verb;
    bool quietly; /* what it brings about is not compared */
    uint32_t line;
    char text[SCENARIO_LINE_BYTES]; /* its words, each ended by NUL */
    const char *words[SCENARIO_WORDS_MAX];
    uint32_t word_count;

    raft_id nodes[SCENARIO_WORDS_MAX]; /* in the order of the words */
    uint8_t group[SCENARIO_WORDS_MAX]; /* cut: of each of the nodes */
    uint32_t node_count;
    enum raft_message_type type; /* CLUSTER_ANY: not said */
    bool first, last;
    uint64_t number;        /* INDEX, COUNT */
    uint64_t us;            /* DURATION */
    uint32_t values, count; /* VALUE…: words[values] and so on */

    uint32_t voters, learners, spares;        /* cluster */
    raft_term terms[SCENARIO_WORDS_MAX + 1u]; /* log, ended by 0 */
    raft_term term;
    raft_id vote;
    raft_index commit;
};

/* ---- scenario_parse.c ---- */

struct scenario_parser {
    const char *file;
    char names[CLUSTER_NODES][CLUSTER_NAME_BYTES]; /* by id, of the last `cluster` */
    uint32_t node_count, spares;
    raft_term logs[CLUSTER_NODES][SCENARIO_WORDS_MAX + 1u]; /* by id, of `log`; ended by 0 */
    bool begun;                                             /* something has happened in it */
    char why[ERR_TEXT_BYTES / 2]; /* the last reason why a row does not fit … */
    uint32_t why_at;              /* … and at which word: the farthest is told */
};

/* The command in the line, which is no comment and not indented. Returns 0 or ERR_BAD_REQUEST. */
int scenario_parse(struct scenario_parser *p, uint32_t line, struct slice text,
                   struct scenario_command *command, struct err *err);
/* Notes why a row does not fit, at that word; returns ERR_BAD_REQUEST. */
int scenario_unfit(struct scenario_parser *p, uint32_t at, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
int scenario_parse_cluster(struct scenario_parser *p, struct scenario_command *c, uint32_t first);
int scenario_parse_log(struct scenario_parser *p, struct scenario_command *c, uint32_t first);
int scenario_parse_cut(struct scenario_parser *p, struct scenario_command *c, uint32_t first);

/* ---- scenario_verbs.c ---- */

extern const struct scenario_verb scenario_verbs[]; /* ended by one without usage */

/* ---- scenario_network.c ---- */

void scenario_deliver_all(struct scenario *s, const struct scenario_command *command);
void scenario_deliver(struct scenario *s, const struct scenario_command *command);
void scenario_deliver_from(struct scenario *s, const struct scenario_command *command);
void scenario_deliver_to(struct scenario *s, const struct scenario_command *command);
void scenario_drop(struct scenario *s, const struct scenario_command *command);
void scenario_drop_from(struct scenario *s, const struct scenario_command *command);
void scenario_drop_to(struct scenario *s, const struct scenario_command *command);
void scenario_drop_all(struct scenario *s, const struct scenario_command *command);
void scenario_repeat(struct scenario *s, const struct scenario_command *command);
void scenario_cut(struct scenario *s, const struct scenario_command *command);
void scenario_cut_one_way(struct scenario *s, const struct scenario_command *command);
void scenario_hold_link(struct scenario *s, const struct scenario_command *command);
void scenario_release_link(struct scenario *s, const struct scenario_command *command);
void scenario_heal(struct scenario *s, const struct scenario_command *command);

/* ---- scenario_watch.c ---- */

struct scenario_value {
    uint64_t payload; /* of the entry that bears it */
    char name[CLUSTER_NAME_BYTES];
};

struct scenario {
    const char *file;
    struct scenario_parser *names;
    struct cluster *cluster; /* NULL: none yet */
    uint32_t line;           /* of the command that runs */
    bool muted;
    struct buf out; /* what that command brings about, a line each */
    bool full;      /* … and no more fits */
    struct scenario_result *result;

    uint64_t traced[CLUSTER_NODES]; /* number of the last decision told */
    raft_index commit[CLUSTER_NODES];
    uint64_t heartbeats; /* sent so far, whatever became of them */
    uint64_t reads;      /* their numbers */
    const struct scenario_command *proposal;
    struct scenario_value *values;
    uint32_t value_count;
};

/* A line of what the command that runs has brought about. */
void scenario_say(struct scenario *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* … put together from pieces: text, and the end of the line. */
void scenario_put(struct scenario *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
const char *scenario_name(const struct scenario *s, raft_id id); /* "nobody" for 0 */
struct cluster_observer scenario_observer(struct scenario *s);

/* ---- scenario_show.c ---- */

void scenario_show_state(struct scenario *s, const struct scenario_command *command);
void scenario_show_entries(struct scenario *s, const struct scenario_command *command);
void scenario_show_applied(struct scenario *s, const struct scenario_command *command);
void scenario_show_configuration(struct scenario *s, const struct scenario_command *command);
void scenario_show_progress(struct scenario *s, const struct scenario_command *command);
void scenario_show_messages(struct scenario *s, const struct scenario_command *command);
/* "a -> b append: term 2, after (3,2), 1 entry, commit 3" */
void scenario_show_message(struct scenario *s, const char *before, const struct raft_message *m);

/* ---- scenario_diff.c ---- */

/* Appends the lines of both, those that differ marked - and +, all indented by four. */
void scenario_diff(struct buf *out, struct slice expected, struct slice actual);

#endif
