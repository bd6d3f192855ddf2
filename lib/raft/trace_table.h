/*
 * The decisions of the core and the sentences that state them. In a sentence {p} is the peer, {t}
 * our term, {a} to {d} are numbers, {ia} to {id} members, {ma} a type of message, {sa} to {sd} a
 * state,
 * {?a:yes|no} one of two texts.
 */
#ifndef RAFTKV_RAFT_TRACE_TABLE_H
#define RAFTKV_RAFT_TRACE_TABLE_H

#define RAFT_TRACE_TABLE(X)                                                                        \
    X(STARTS, "starts in term {t}: snapshot {a}, log to {b}, commit {c}, vote {id}")               \
    /* terms and messages */                                                                       \
    X(LATER_TERM, "{ma} from {p} is of term {b}, after ours, {t}: follow")                         \
    X(STALE, "{ma} from {p} is of term {b}, before ours, {t}: stale")                              \
    X(TWO_LEADERS, "{p} claims to lead term {t}, which {ia} leads: refused")                       \
    X(FOLLOWS, "follows {p} in term {t}")                                                          \
    X(LEADER_SILENT, "leader {p} silent for {a} us: forgotten")                                    \
    /* elections */                                                                                \
    X(PRE_VOTE_STARTS, "asks who would vote for us in term {a}, log to ({b},{c})")                 \
    X(CAMPAIGNS, "campaigns in term {t}, log to ({a},{b}){?c:, asked to by the leader|}")          \
    X(VOTE_PROMISED, "{p} asks for our vote in term {a}, promised to {ib}: refused")               \
    X(VOTE_GIVEN, "{p} asks for our vote in term {a}, it is {ib}'s: refused")                      \
    X(VOTE_BEHIND, "{p}'s log ({a},{b}) is behind ours ({c},{d}): vote refused")                   \
    X(COUNTED_ON, "a learner, but {p} counts on our vote: may stand itself")                       \
    X(VOTE_GRANTED, "{p}'s log ({a},{b}) is no less than ours ({c},{d}): vote granted")            \
    X(PRE_VOTE_GRANTED, "{p}'s log ({b},{c}) would do in term {a}: pre-vote granted")              \
    X(VOTE_COUNTED, "as {sc}: {p} {?a:grants|refuses} its vote{?b:: decided|}")                    \
    X(LEADS, "leads in term {t}: no-op at {a}, commit {b}")                                        \
    X(READY, "no-op at {a} is committed, commit {b}: serves reads and changes")                    \
    X(LEADS_NO_MORE, "leads term {t} no more: log to {a}, commit {b}")                             \
    X(NO_QUORUM, "no majority has answered for {a} us: steps down")                                \
    X(STALLED, "a write {?a:hangs, as|has ended, as} {sb}")                                        \
    X(FENCED, "state {?a:diverged: fenced, as|is sound again, as} {sb}")                           \
    /* replication */                                                                              \
    X(APPEND_TAKEN, "append from {p} after {a}, {b} entries: verified to {c}, commit {d}")         \
    X(APPEND_GAP, "append from {p} after {a}: our log ends at {b}: refused, hint ({c},{d})")       \
    X(APPEND_MISMATCH, "append from {p} after {a}: our term there is {b}, not {c}: refused, "      \
                       "hint {d}")                                                                 \
    X(APPEND_CONTRADICTS, "append from {p} contradicts entry {a}, verified up to {b}: refused")    \
    X(TRUNCATES, "entry {a} has term {c}, {p} sends {d}: truncates {a} to {b}")                    \
    X(RUNS_FULL, "no room for another term at {a}: takes no more of {p}'s entries up to {b}")      \
    X(REPLIES_FULL, "too many replies wait: {p} is answered at once, {b} of {a} durable")          \
    X(PIPELINE, "{p}'s log meets ours at {a}: pipeline")                                           \
    X(PROBE, "{p} refused the append after {a}, hint ({b},{c}): probes from {d}")                  \
    X(REFUSAL_STALE, "{p} refused the append after {a}: stale, match {b}, next {c}")               \
    X(ACK_BEYOND, "{p} acknowledges {a}, beyond our log's end {b}: ignored")                       \
    X(APPEND_LOST, "{p} answers heartbeats, not appends {a} to {b}: probes")                       \
    X(UNREACHABLE, "{p} is unreachable: back from {b} to {a}")                                     \
    /* snapshots */                                                                                \
    X(COMPACTED, "log compacted up to ({a},{b})")                                                  \
    X(INSTALLED, "snapshot ({a},{b}) installed{?c:, log kept to {d}|, log replaced}")              \
    X(SNAPSHOT_NEEDED, "{p} needs entry {a}, compacted up to {b}: snapshot")                       \
    X(SNAPSHOT_SENT, "snapshot for {p} {?a:installed at {b}|failed}")                              \
    /* membership */                                                                               \
    X(CONFIGURATION, "configuration {a}: {b} voters, {c} old ones, {d} members")                   \
    X(ROLLBACK, "configuration {a} is truncated: {b} is in force again")                           \
    X(PROMOTES, "{p} is caught up: votes, in the place of {ia}")                                   \
    X(LEAVING_GIVEN_UP, "{p}, dropped at {a}, matches only {b}: given up")                         \
    X(LEFT, "{p} knows that it was dropped at {a}")                                                \
    X(RETIRES, "configuration {a} {?c:in which we do not vote|without us} is committed: retires")  \
    X(REMOVED, "configuration {a} without us is committed{?b:, says a peer|}: no candidacy")       \
    /* reads */                                                                                    \
    X(READS_DROPPED, "{a} reads end without a leader")                                             \
    /* transfer */                                                                                 \
    X(TRANSFER, "hands over to {p}, which has {a} of {b}")                                         \
    X(TIMEOUT_NOW, "tells {p} to campaign, log to {a}")                                            \
    X(TOLD_TO_CAMPAIGN, "{p} tells us to campaign{?a:|: not possible}")                            \
    X(TRANSFER_DONE, "{p} was to lead, and we do no more")                                         \
    X(TRANSFER_FAILED, "{p} was to lead, and does not")

enum raft_decision {
    TRACE_NONE,
#define RAFT_TRACE_ENUM_(name, sentence) TRACE_##name,
    RAFT_TRACE_TABLE(RAFT_TRACE_ENUM_)
#undef RAFT_TRACE_ENUM_
        TRACE_DECISIONS
};

#endif
