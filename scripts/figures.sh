#!/usr/bin/env bash
# The figures of README: one node and three, wrk beside them on the same machine. 64 connections,
# values of 100 bytes, 100,000 keys: written once in order, then written and read at random. Then
# the time from a kill -9 of the leader to the next acknowledged write, eight times.
# A batch writes 100 keys: its requests a second count a hundredfold.
# Usage: scripts/figures.sh [SECONDS [DIRECTORY]]; RAFTKV_BIN: where the programs are;
# RAFTKV_PORT: the nodes take the three ports after it. 10 s write all keys at 10,000 a second.
set -eu

seconds=${1:-10}
# shellcheck source=scripts/nodes.bash
. "$(dirname "$0")/nodes.bash"

run() { # WHAT METHOD ORDER
    local out
    out=$(METHOD=$2 ORDER=$3 wrk -t1 -c64 -d"${seconds}s" --latency -s "$dir/load.lua" "$url")
    awk -v what="$1" '
        $1 == "50%" { p50 = $2 } $1 == "99%" { p99 = $2 } $1 == "Requests/sec:" { rate = $2 }
        /Non-2xx/ { failed = $NF } /Socket errors/ { failed = $0 }
        END { printf "%-32s %8d /s   P50 %-8s P99 %-8s%s\n", what, rate, p50, p99,
              failed == "" ? "" : "  not 2xx: " failed }' <<<"$out"
}

measure() { # NODES TEXT
    start_nodes "$1"
    run "$2: PUT, keys in order" PUT order
    run "$2: PUT, keys at random" PUT random
    run "$2: GET, keys at random" GET random
    run "$2: batches of 100, in order" POST order
    run "$2: batches of 100, at random" POST random
    stop_nodes
}

now_ms() {
    echo $((${EPOCHREALTIME/./} / 1000))
}

failover() { # of the three nodes; asks the one behind the leader
    local i other began times=()
    start_nodes 3
    for ((i = 1; i <= 8; i++)); do
        leader=$((${url##*:} - base))
        other=http://127.0.0.1:$((base + leader % 3 + 1))
        began=$(now_ms)
        { kill -KILL "${pids[leader]}" && wait "${pids[leader]}"; } 2>/dev/null || true
        until curl -sf --max-time 1 -X PUT "$other/kv/failover" -d "$i" >"$dir/answer"; do
            :
        done
        times+=($(($(now_ms) - began)))
        start_node $leader
        until curl -sf --max-time 1 "$url/readyz" >"$dir/answer"; do
            sleep 0.05
        done
        await_leader $((base + 1))
    done
    echo "three nodes: kill -9 of the leader to the next write: ${times[*]} ms"
    stop_nodes
}

measure 1 "one node"
measure 3 "three nodes"
failover
