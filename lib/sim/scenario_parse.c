/*
 * Scenario files: one line as a command, by the rows of scenario_verbs.c. Names of nodes are those
 * of the last `cluster` above.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/opt.h"
#include "lib/sim/scenario_internal.h"

enum { TOKEN_BYTES = 32 };

int scenario_unfit(struct scenario_parser *p, uint32_t at, const char *fmt, ...)
{
    if (p->why[0] != '\0' && at < p->why_at)
        return ERR_BAD_REQUEST;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(p->why, sizeof(p->why), fmt, ap);
    va_end(ap);
    p->why_at = at;
    return ERR_BAD_REQUEST;
}

/* ---- words ---- */

static int split(struct slice text, struct scenario_command *c)
{
    if (text.len >= sizeof(c->text))
        return ERR_TOO_LARGE;
    memcpy(c->text, text.data, text.len);
    c->text[text.len] = '\0';
    char *rest = c->text, *word;
    while ((word = strtok_r(rest, " \t\r", &rest))) {
        if (c->word_count == SCENARIO_WORDS_MAX)
            return ERR_TOO_LARGE;
        c->words[c->word_count++] = word;
    }
    return 0;
}

static const char name_rest[] = "letters and digits, up to 15";
_Static_assert(CLUSTER_NAME_BYTES == 16, "name_rest tells it");

/* A node or a value. */
static bool is_name(const char *word)
{
    size_t length = strspn(word, "abcdefghijklmnopqrstuvwxyz0123456789");
    return length < CLUSTER_NAME_BYTES && word[length] == '\0' && word[0] >= 'a' && word[0] <= 'z';
}

static raft_id find_node(const struct scenario_parser *p, const char *word)
{
    for (raft_id id = 1; id <= p->node_count; id++)
        if (strcmp(p->names[id], word) == 0)
            return id;
    return 0;
}

static int read_node(struct scenario_parser *p, struct scenario_command *c, uint32_t at)
{
    raft_id id = find_node(p, c->words[at]);
    if (id == 0)
        return scenario_unfit(p, at, "no node is called '%.32s'", c->words[at]);
    c->nodes[c->node_count++] = id;
    return 0;
}

static int read_number(struct scenario_parser *p, const char *word, uint32_t at, uint64_t max,
                       uint64_t *value)
{
    bool is_number = word[0] >= '0' && word[0] <= '9';
    if (!is_number && p->why[0] != '\0' && p->why_at == at)
        return ERR_BAD_REQUEST; /* what another row says of the word is nearer to it */
    if (opt_parse_uint(word, value) != 0 || *value == 0 || *value > max)
        return scenario_unfit(p, at, "'%.32s' is no number from 1 to %llu", word,
                              (unsigned long long)max);
    return 0;
}

static int read_duration(struct scenario_parser *p, struct scenario_command *c, uint32_t at)
{
    uint64_t ms;
    if (opt_parse_duration(c->words[at], &ms) != 0 || ms == 0 || ms > SCENARIO_RUN_MS_MAX)
        return scenario_unfit(p, at, "'%.32s' is no duration up to 60s, like 300ms or 2s",
                              c->words[at]);
    c->us = ms * 1000;
    return 0;
}

static int read_message(struct scenario_parser *p, struct scenario_command *c, uint32_t at)
{
    for (unsigned type = 0; type < RAFT_MESSAGE_TYPES; type++) {
        if (strcmp(raft_message_name((enum raft_message_type)type), c->words[at]) != 0)
            continue;
        c->type = (enum raft_message_type)type;
        return 0;
    }
    return scenario_unfit(p, at, "no message is called '%.32s'", c->words[at]);
}

/* ---- commands whose rest is their own ---- */

static int add_member(struct scenario_parser *p, const struct scenario_command *c, uint32_t at)
{
    const char *word = c->words[at];
    if (!is_name(word))
        return scenario_unfit(p, at, "'%.32s' is no name of a node: want a letter, then %s", word,
                              name_rest);
    if (find_node(p, word) != 0)
        return scenario_unfit(p, at, "'%s' is there already", word);
    if (p->node_count + 1 == RAFT_MEMBERS_MAX)
        return scenario_unfit(p, at, "too many nodes");
    snprintf(p->names[++p->node_count], CLUSTER_NAME_BYTES, "%s", word);
    return 0;
}

int scenario_parse_cluster(struct scenario_parser *p, struct scenario_command *c, uint32_t first)
{
    uint32_t *kind = &c->voters;
    p->node_count = 0;
    p->begun = false;
    memset(p->logs, 0, sizeof(p->logs));
    for (uint32_t i = first; i < c->word_count; i++) {
        if (strcmp(c->words[i], "learners") == 0 && kind == &c->voters) {
            kind = &c->learners;
        } else if (strcmp(c->words[i], "spares") == 0 && kind != &c->spares) {
            kind = &c->spares;
        } else {
            if (add_member(p, c, i) != 0)
                return ERR_BAD_REQUEST;
            ++*kind;
        }
    }
    p->spares = c->spares;
    return c->voters > 0 ? 0 : scenario_unfit(p, first, "a cluster has voters");
}

/* Log Matching (section 3.5): what two logs have at an index with the same term, and all before it,
 * is the same in both. A script that begins with something else is about no Raft. */
static int check_logs(struct scenario_parser *p, const struct scenario_command *c, uint32_t first)
{
    raft_id self = c->nodes[0];
    memcpy(p->logs[self], c->terms, sizeof(p->logs[self]));
    for (raft_id id = 1; id <= p->node_count; id++) {
        const raft_term *a = c->terms, *b = p->logs[id];
        uint32_t differs = 0;
        for (uint32_t i = 0; a[i] != 0 && b[i] != 0; i++) {
            if (a[i] != b[i] && differs == 0)
                differs = i + 1;
            else if (a[i] == b[i] && differs != 0)
                return scenario_unfit(p, first + i,
                                      "entry %u is that of %s, so entry %u must be, too", i + 1,
                                      p->names[id], differs);
        }
    }
    return 0;
}

/* log NODE terms TERM… [commit INDEX] [term TERM] [vote NODE] */
int scenario_parse_log(struct scenario_parser *p, struct scenario_command *c, uint32_t first)
{
    uint32_t at = first, count = 0;
    uint64_t number = 0;
    if (c->nodes[0] > p->node_count - p->spares)
        return scenario_unfit(p, 1, "a spare has no log");
    for (; at < c->word_count && c->words[at][0] >= '0' && c->words[at][0] <= '9'; at++) {
        if (read_number(p, c->words[at], at, SCENARIO_TERM_MAX, &number) != 0)
            return ERR_BAD_REQUEST;
        if (count == 0 ? number != 1 : number < c->terms[count - 1])
            return scenario_unfit(p, at, "terms begin with 1 and never go down");
        c->terms[count++] = number;
    }
    if (count == 0)
        return scenario_unfit(p, at, "a log has entries");
    c->commit = 1;
    c->term = c->terms[count - 1];
    for (; at + 1 < c->word_count; at += 2) {
        const char *word = c->words[at], *value = c->words[at + 1];
        if (strcmp(word, "commit") == 0) {
            if (read_number(p, value, at + 1, count, &c->commit) != 0)
                return ERR_BAD_REQUEST;
        } else if (strcmp(word, "term") == 0) {
            if (read_number(p, value, at + 1, SCENARIO_TERM_MAX, &number) != 0)
                return ERR_BAD_REQUEST;
            if (number < c->term)
                return scenario_unfit(p, at + 1, "the log has entries of term %llu",
                                      (unsigned long long)c->term);
            c->term = number;
        } else if (strcmp(word, "vote") == 0) {
            c->vote = find_node(p, value);
            if (c->vote == 0)
                return scenario_unfit(p, at + 1, "no node is called '%.32s'", value);
        } else {
            break;
        }
    }
    if (at < c->word_count)
        return scenario_unfit(p, at, "'%.32s' is too much", c->words[at]);
    return check_logs(p, c, first);
}

/* cut NODE… | NODE… [| NODE…]: who stands between the same bars can talk. */
int scenario_parse_cut(struct scenario_parser *p, struct scenario_command *c, uint32_t first)
{
    uint8_t group = 0;
    uint32_t alone = 0;
    for (uint32_t i = first; i < c->word_count; i++) {
        if (strcmp(c->words[i], "|") == 0) {
            if (alone == 0)
                return scenario_unfit(p, i, "nobody stands in front of the bar");
            group++;
            alone = 0;
            continue;
        }
        c->group[c->node_count] = group;
        if (read_node(p, c, i) != 0)
            return ERR_BAD_REQUEST;
        alone++;
    }
    return group > 0 && alone > 0 ? 0 : scenario_unfit(p, c->word_count, "nothing is cut off");
}

/* ---- rows ---- */

static int read_token(struct scenario_parser *p, struct scenario_command *c, const char *token,
                      uint32_t at)
{
    if (strcmp(token, "NODE") == 0 || strcmp(token, "FROM") == 0 || strcmp(token, "TO") == 0 ||
        strcmp(token, "OTHER") == 0)
        return read_node(p, c, at);
    if (strcmp(token, "INDEX") == 0)
        return read_number(p, c->words[at], at, UINT32_MAX, &c->number);
    if (strcmp(token, "COUNT") == 0)
        return read_number(p, c->words[at], at, SCENARIO_ENTRIES_MAX, &c->number);
    if (strcmp(token, "DURATION") == 0)
        return read_duration(p, c, at);
    if (strcmp(token, "MESSAGE") == 0)
        return read_message(p, c, at);
    if (strcmp(token, c->words[at]) != 0)
        return scenario_unfit(p, at, "'%.32s' is not understood", c->words[at]);
    c->first = c->first || strcmp(token, "first") == 0;
    c->last = c->last || strcmp(token, "last") == 0;
    return 0;
}

/* VALUE… and NODE… take all words that are left. */
static int read_rest(struct scenario_parser *p, struct scenario_command *c, bool are_nodes,
                     uint32_t at)
{
    c->values = at;
    c->count = c->word_count - at;
    for (; at < c->word_count; at++) {
        if (are_nodes && read_node(p, c, at) != 0)
            return ERR_BAD_REQUEST;
        if (!are_nodes && !is_name(c->words[at]))
            return scenario_unfit(p, at, "'%.32s' is no value: want a letter, then %s",
                                  c->words[at], name_rest);
    }
    return 0;
}

/* The next token of a row, without its brackets; false: there is none. */
static bool next_token(const char **usage, char *token, bool *optional)
{
    *usage += strspn(*usage, " ");
    size_t length = strcspn(*usage, " ");
    const char *from = *usage;
    if (length == 0)
        return false;
    *usage += length;
    *optional = from[0] == '[';
    if (*optional) {
        from++;
        length -= 2;
    }
    snprintf(token, TOKEN_BYTES, "%.*s", (int)length, from);
    return true;
}

static int fit(struct scenario_parser *p, struct scenario_command *c,
               const struct scenario_verb *row)
{
    const char *usage = row->usage;
    char token[TOKEN_BYTES];
    bool optional;
    uint32_t at = c->quietly;
    c->node_count = c->values = c->count = 0;
    c->first = c->last = false;
    c->type = CLUSTER_ANY;
    while (next_token(&usage, token, &optional)) {
        bool are_nodes = strcmp(token, "NODE…") == 0;
        if (at == c->word_count) {
            if (!optional)
                return scenario_unfit(p, at, "something is missing");
            continue;
        }
        if (are_nodes || strcmp(token, "VALUE…") == 0)
            return read_rest(p, c, are_nodes, at);
        if (read_token(p, c, token, at) == 0)
            at++;
        else if (!optional)
            return ERR_BAD_REQUEST;
    }
    if (row->parse)
        return row->parse(p, c, at);
    if (at == c->word_count)
        return 0;
    if (p->why[0] != '\0' && p->why_at == at) /* why it is none of what may stand there */
        return ERR_BAD_REQUEST;
    return scenario_unfit(p, at, "'%.32s' is too much", c->words[at]);
}

static bool same_verb(const struct scenario_verb *row, const char *word)
{
    size_t length = strcspn(row->usage, " ");
    return strlen(word) == length && memcmp(row->usage, word, length) == 0;
}

/* "file:line: why: want A, or B" */
static int complain(const struct scenario_parser *p, uint32_t line, const char *verb,
                    struct err *err)
{
    char want[ERR_TEXT_BYTES / 2] = "";
    size_t length = 0;
    for (const struct scenario_verb *row = scenario_verbs; row->usage; row++)
        if (same_verb(row, verb) && length < sizeof(want))
            length += (size_t)snprintf(want + length, sizeof(want) - length, "%s\"%s%s%s\"",
                                       length > 0 ? " or " : ": want ", row->usage,
                                       row->rest ? " " : "", row->rest ? row->rest : "");
    return err_set(err, ERR_BAD_REQUEST, "%s:%u: %s%s", p->file, line, p->why, want);
}

int scenario_parse(struct scenario_parser *p, uint32_t line, struct slice text,
                   struct scenario_command *c, struct err *err)
{
    memset(c, 0, sizeof(*c));
    c->line = line;
    p->why[0] = '\0';
    if (split(text, c) != 0 || memchr(text.data, '\0', text.len))
        return err_set(err, ERR_BAD_REQUEST, "%s:%u: no line of a script: too long, or with a NUL",
                       p->file, line);
    c->quietly = strcmp(c->words[0], "quietly") == 0;
    const char *verb = c->quietly && c->word_count > 1 ? c->words[1] : c->words[0];
    for (const struct scenario_verb *row = scenario_verbs; row->usage; row++) {
        if (!same_verb(row, verb))
            continue;
        if (row->parse != scenario_parse_cluster && p->node_count == 0)
            return err_set(err, ERR_BAD_REQUEST, "%s:%u: there is no cluster yet", p->file, line);
        if (fit(p, c, row) != 0)
            continue;
        if (p->begun && row->prepares)
            return err_set(err, ERR_BAD_REQUEST,
                           "%s:%u: \"%s\" stands before anything happens in the cluster", p->file,
                           line, verb);
        c->verb = row;
        p->begun = !row->prepares && row->parse != scenario_parse_cluster;
        return 0;
    }
    if (p->why[0] == '\0')
        scenario_unfit(p, 0, "no command is called '%.32s'", verb);
    return complain(p, line, verb, err);
}
