/*
 * What a reply says of an operation, by the contract's "Errors": not_applied is believed only from
 * a node, and everything else that left the socket without a success is unknown if it writes.
 */
#include "lib/bench/bench_internal.h"
#include "lib/json/api.h"

static bool is_success(const struct channel_reply *reply)
{
    return reply->from_node && reply->status >= 200 && reply->status < 300;
}

void outcome_of(enum bench_op op, bool writing, const struct channel_reply *reply,
                struct figures_end *end)
{
    struct api_error error;
    end->code = reply->code;
    end->unknown = writing && reply->sent;
    if (reply->code != 0)
        return;
    if (is_success(reply)) {
        end->unknown = false;
        return;
    }
    if (!reply->from_node || api_error_decode(reply->body, &error, NULL) != 0) {
        end->code = ERR_CORRUPT; /* no node says so */
        return;
    }
    end->code = error.code;
    end->unknown = writing && error.outcome != OUTCOME_NOT_APPLIED;
    end->absent = error.code == ERR_NOT_FOUND && (op == BENCH_GET || op == BENCH_CONDITIONAL);
    end->unmet = error.code == ERR_PRECONDITION_FAILED && op == BENCH_CONDITIONAL;
    if (end->absent || end->unmet) {
        end->code = 0;
        end->unknown = false;
    }
}
