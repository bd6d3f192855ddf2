/*
 * The simulator: a whole cluster in one thread and in virtual time. Around the carries, cores and
 * state machines that run in production stand a virtual network, virtual disks, clocks that differ,
 * clients, and faults of all kinds; everything that happens is drawn from one number, the seed, so
 * a run can be repeated byte for byte on any machine.
 *
 * A run has three phases: faults and clients; then a majority is healed and the rest frozen, and a
 * write must succeed within a bound; then everybody is healed, must agree, and every promise made
 * to a client is looked at once more. What is checked meanwhile is listed in sim_check.c and
 * sim_model.c.
 *
 * What it leaves out: threads, sockets, files, HTTP and its routes; a snapshot is sent as a whole.
 *
 * Threads: a run uses no global state but the hook of failed assertions (lib/base/check.h), so one
 * process runs one at a time.
 */
#ifndef RAFTKV_SIM_SIM_H
#define RAFTKV_SIM_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SIM_NODES_MAX = 12, /* members and those that may become some, in the life of a cluster */
    SIM_VOTERS_MAX = 7,
    SIM_CLIENTS_MAX = 16,
    SIM_FAULTS_MAX = 64, /* of one run: they are bits of a mask */
    SIM_TEXT_BYTES = 512,
    SIM_LAST_BYTES = 16384,
};

/* Faults that happen at a time of their own, and last. The word names it in options and figures. */
#define SIM_FAULT_TABLE(X)                                                                         \
    X(KILL, "kill", "the process of a node is killed")                                             \
    X(KILL_ALL, "kill-all", "all processes are killed")                                            \
    X(POWER, "power", "a node loses its power, and what was not synced")                           \
    X(POWER_ALL, "power-all", "all lose their power, and what was not synced")                     \
    X(PAUSE, "pause", "a node is stopped, and goes on later")                                      \
    X(HALVES, "halves", "the network falls into two parts")                                        \
    X(ISOLATE, "isolate", "a node is cut off")                                                     \
    X(ONE_WAY, "one-way", "a node hears the others, and they do not hear it")                      \
    X(RING, "ring", "each node reaches only its neighbours")                                       \
    X(CUT, "cut", "one link to a node is cut")                                                     \
    X(CLOG, "clog", "messages from a node lie about, and arrive together")                         \
    X(FLAP, "flap", "the links of a node come and go")                                             \
    X(SLOW, "slow", "the links of a node are slow")                                                \
    X(LOSSY, "lossy", "many messages are lost, and many doubled")                                  \
    X(DISK_STALL, "disk-stall", "the disk of a node does not answer")                              \
    X(DISK_SLOW, "disk-slow", "the disk of a node is slow")                                        \
    X(DISK_ERROR, "disk-error", "a write of a node fails, and its process ends")                   \
    X(DISK_FULL, "disk-full", "the disk of a node is full")                                        \
    X(FLUSH_ERROR, "flush-error", "the state of a node cannot be written")                         \
    X(STATE_STALL, "state-stall", "the state machine of a node stands still")                      \
    X(WIPE, "wipe", "a node loses its directory for ever, and is replaced")                        \
    X(ADD, "add", "a new member is added")                                                         \
    X(PROMOTE, "promote", "a learner is promoted")                                                 \
    X(REMOVE, "remove", "a member is removed")                                                     \
    X(REPLACE, "replace", "a member is replaced by a new one")                                     \
    X(TRANSFER, "transfer", "leadership is handed over")                                           \
    X(CLOCK_RATE, "clock-rate", "the clock of a node runs faster or slower")                       \
    X(WALL_JUMP, "wall-jump", "the wall clock of a node jumps")

enum sim_fault_kind {
#define SIM_FAULT_ENUM_(id, word, sentence) SIM_##id,
    SIM_FAULT_TABLE(SIM_FAULT_ENUM_)
#undef SIM_FAULT_ENUM_
        SIM_FAULT_KINDS
};

/* What goes on all the time in a run, or does not. */
#define SIM_TRAIT_TABLE(X)                                                                         \
    X(LOSS, "loss", "messages are lost")                                                           \
    X(DUPLICATION, "duplication", "messages arrive twice")                                         \
    X(SLOW_LINKS, "slow-links", "some messages take long")                                         \
    X(SLOW_DISKS, "slow-disks", "some writes take long")                                           \
    X(DRIFT, "drift", "clocks run differently")                                                    \
    X(READS, "reads", "clients read")                                                              \
    X(SCANS, "scans", "clients scan")                                                              \
    X(CONDITIONS, "conditions", "clients write conditionally")                                     \
    X(SESSIONS, "sessions", "clients have sessions, and try again")                                \
    X(CODEC, "codec", "messages go through their JSON")                                            \
    X(BATCHES, "batches", "clients write several keys at once")

enum sim_trait {
#define SIM_TRAIT_ENUM_(id, word, sentence) SIM_WITH_##id,
    SIM_TRAIT_TABLE(SIM_TRAIT_ENUM_)
#undef SIM_TRAIT_ENUM_
        SIM_TRAITS
};

/* Which run. What is zero is drawn from the seed. */
struct sim_setup {
    uint64_t seed;
    uint32_t voters;      /* 1 … SIM_VOTERS_MAX; 0: drawn */
    uint32_t clients;     /* at most; 0: drawn */
    uint64_t until_us;    /* the run ends then, without its last phases; 0: whole */
    uint64_t without;     /* bits of enum sim_trait: not this run */
    uint64_t faults_kept; /* bits by number of the fault: only these happen */
    bool fewer_faults;    /* faults_kept counts; else all happen */
    void (*trace)(void *argument, const char *line); /* every decision; NULL: none */
    void *trace_argument;
};

struct sim_result {
    bool violated;
    char what[SIM_TEXT_BYTES]; /* the promise that was broken */
    char last[SIM_LAST_BYTES]; /* … and the last decisions of each node */
    uint64_t steps;            /* of cores */
    uint64_t events;           /* of the simulation */
    uint64_t virtual_us;
    uint64_t elections, installs, changes, transfers;
    uint64_t writes, reads, scans, unknown, refused; /* as clients were told */
    uint64_t faults[SIM_FAULT_KINDS];                /* that happened */
    uint64_t replayed;                               /* retries that were given the first answer */
};

void sim_run(const struct sim_setup *setup, struct sim_result *result);

/* What the seed drew, a line each; returns the length, which may exceed `bytes`. */
size_t sim_describe(const struct sim_setup *setup, char *out, size_t bytes);
/* Number of faults that the seed drew, and one of them as a line without its end. */
uint32_t sim_fault_count(const struct sim_setup *setup);
void sim_fault_text(const struct sim_setup *setup, uint32_t fault, char *out, size_t bytes);
const char *sim_fault_word(enum sim_fault_kind kind);
const char *sim_trait_word(enum sim_trait trait);

/*
 * Looks for a smaller run that fails: fewer faults, fewer traits, fewer clients, a shorter time.
 * `run` runs one (in a process of its own, say) and fills the result; it returns false to give up.
 * `setup` must fail; it ends as the smallest that does, with its result. Returns the number of
 * runs.
 */
uint32_t sim_minimise(struct sim_setup *setup, struct sim_result *result,
                      bool (*run)(void *argument, const struct sim_setup *, struct sim_result *),
                      void *argument);

#endif
