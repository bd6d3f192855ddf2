#!/usr/bin/env bash
# The figures of README: one node and three, wrk beside them on the same machine. 64 connections,
# values of 100 bytes, 100,000 keys: written once in order, then written and read at random.
# Usage: scripts/figures.sh [SECONDS [DIRECTORY]]; RAFTKV_BIN: where the programs are;
# RAFTKV_PORT: the nodes take the three ports after it. 10 s write all keys at 10,000 a second.
set -eu

seconds=${1:-10}
bin=$(cd "${RAFTKV_BIN:-build/bin}" && pwd)
dir=$(mktemp -d "${2:-${TMPDIR:-/tmp}}/raftkv-figures.XXXXXX")
base=${RAFTKV_PORT:-17200}
pids=()
cleanup() {
    [ ${#pids[@]} -eq 0 ] || kill -KILL "${pids[@]}" 2>/dev/null || true
    wait
    rm -rf "$dir"
}
trap cleanup EXIT

cat >"$dir/load.lua" <<'LUA'
local method, order = os.getenv("METHOD"), os.getenv("ORDER")
local body = method == "PUT" and string.rep("x", 100) or nil
local requests, n = {}, 0
function init()
    for i = 1, 100000 do
        local key = order == "random" and math.random(0, 99999) or i - 1
        requests[i] = wrk.format(method, "/kv/key" .. key, nil, body)
    end
end
function request()
    n = n % 100000 + 1
    return requests[n]
end
LUA

await_leader() { # PORT: sets url
    local i name
    for ((i = 0; i < 200; i++)); do
        name=$(curl -sf --max-time 1 "http://127.0.0.1:$1/status" | jq -r '.leader // empty') || name=
        if [ -n "$name" ]; then
            url=http://127.0.0.1:$((base + ${name#n}))
            return 0
        fi
        sleep 0.05
    done
    echo "figures: no leader" >&2
    cat "$dir"/*.log >&2
    exit 1
}

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
    local i list=
    pids=()
    for ((i = 1; i <= $1; i++)); do
        list+=${list:+,}n$i=http://127.0.0.1:$((base + i))
    done
    for ((i = 1; i <= $1; i++)); do
        "$bin/raftkv-node" --node-id "n$i" --port $((base + i)) --data-dir "$dir/$1-n$i" \
            --cluster "$list" 2>"$dir/$1-n$i.log" &
        pids+=($!)
    done
    await_leader $((base + 1))
    run "$2: PUT, keys in order" PUT order
    run "$2: PUT, keys at random" PUT random
    run "$2: GET, keys at random" GET random
    kill -TERM "${pids[@]}"
    wait
    pids=()
}

measure 1 "one node"
measure 3 "three nodes"
