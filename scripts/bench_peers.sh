#!/usr/bin/env bash
# The same work on this node, on etcd and on Redis (appendfsync always), in turn on the same machine: medians of several
# rounds, and ratios with their spread. Loads from wrk, h2load (gRPC frames) and redis-benchmark, so that no client of
# ours favours us. Values of 100 bytes; of 100,000 keys, written before, one is drawn each time (etcd: always the same one, since h2load
# sends one body).
# Usage: scripts/bench_peers.sh [SECONDS [DIRECTORY]]; ROUNDS: how many (5); RESULTS: where the figures go as JSON lines;
# RAFTKV_BIN, RAFTKV_PORT: as with scripts/figures.sh; peers take the ports from RAFTKV_PORT+20 on.
set -eu

seconds=${1:-5} rounds=${ROUNDS:-5}
# shellcheck source=scripts/nodes.bash
. "$(dirname "$0")/nodes.bash"
results=${RESULTS:-$dir/results}
: >"$results"

missing=''
for program in etcd redis-server redis-benchmark h2load; do
    command -v "$program" >/dev/null || missing+=" $program"
done
if [ -n "$missing" ]; then
    echo "bench-peers: skipped, not installed:$missing (packages etcd-server, redis-server, redis-tools, nghttp2-client)"
    exit 0
fi

peer_pids=()
peer_base=$((base + 20))

await() { # COMMAND...: until it succeeds
    local i
    for ((i = 0; i < 300; i++)); do
        ! "$@" >"$dir/answer" 2>&1 || return 0
        sleep 0.05
    done
    echo "bench-peers: no success: $*" >&2
    cat "$dir/answer" >&2
    exit 1
}

result() { # WORK SYSTEM RATE P50_MS P99_MS
    jq -nc --arg work "$1" --arg system "$2" --argjson rate "$3" --argjson p50 "$4" --argjson p99 "$5" \
        '{work: $work, system: $system, rate: $rate, p50_ms: $p50, p99_ms: $p99}' >>"$results"
}

# ---- this node

wrk_run() { # WORK SYSTEM METHOD CONNECTIONS QUERY
    local out
    out=$(METHOD=$3 ORDER=random QUERY=$5 wrk -t1 -c"$4" -d"${seconds}s" --latency -s "$dir/load.lua" "$url")
    # shellcheck disable=SC2046 # three numbers
    result "$1" "$2" $(awk '
        function ms(t) { return t ~ /us$/ ? t / 1000 : t ~ /ms$/ ? t + 0 : t * 1000 }
        $1 == "50%" { p50 = ms($2) } $1 == "99%" { p99 = ms($2) } $1 == "Requests/sec:" { rate = $2 }
        /Non-2xx|Socket errors/ { print; exit 1 }
        END { print rate, p50, p99 }' <<<"$out")
}

ours() { # NODES
    local keys=0
    start_nodes "$1"
    while [ "$keys" -lt 100000 ]; do
        METHOD=POST ORDER=order wrk -t1 -c16 -d3s -s "$dir/load.lua" "$url" >"$dir/answer"
        sleep 3 # the state is flushed, and counted then
        keys=$(curl -sf "$url/node" | jq .storage.keys)
    done
    wrk_run "put $1x64" raftkv PUT 64 ''
    wrk_run "get $1x64" raftkv GET 64 ''
    wrk_run "put $1x1" raftkv PUT 1 ''
    if [ "$1" -eq 1 ]; then
        wrk_run "batches of 100 1x64" raftkv POST 64 ''
    else
        wrk_run "lease get $1x64" raftkv GET 64 '?consistency=lease'
        wrk_run "put $1x256" raftkv PUT 256 ''
    fi
    stop_nodes
}

# ---- etcd: PutRequest and RangeRequest in a gRPC frame

grpc() { # FILE FIELDS: a frame with that message
    local bytes=$2
    {
        printf '\0'
        # shellcheck disable=SC2059 # bytes in octal
        printf "$(printf '\\%03o' 0 0 0 ${#bytes})"
        printf %s "$bytes"
    } >"$1"
}

h2load_run() { # WORK METHOD FILE CONNECTIONS
    local out
    out=$(h2load -c"$4" -m1 -t1 -D "$seconds" --log-file="$dir/h2load" -d "$3" -H 'content-type: application/grpc' \
        -H 'te: trailers' "http://127.0.0.1:$((peer_base + 1))/etcdserverpb.KV/$2")
    grep -q ' 0 failed, 0 errored, 0 timeout' <<<"$out" || { echo "$out" >&2; exit 1; }
    # Start in us, status, time in us: only what ended within the time.
    # shellcheck disable=SC2046
    result "$1" etcd $(cut -f3 "$dir/h2load" | sort -n | awk -v seconds="$seconds" '
        { t[NR] = $1 } END { print NR / seconds, t[int(NR * 0.5) + 1] / 1000, t[int(NR * 0.99) + 1] / 1000 }')
    rm "$dir/h2load"
}

etcd_nodes() { # NODES
    local i list=''
    for ((i = 1; i <= $1; i++)); do
        list+=${list:+,}e$i=http://127.0.0.1:$((peer_base + 10 + i))
    done
    for ((i = 1; i <= $1; i++)); do
        etcd --name "e$i" --data-dir "$dir/etcd-$1-$i" --log-level error --logger zap \
            --listen-client-urls "http://127.0.0.1:$((peer_base + i))" \
            --advertise-client-urls "http://127.0.0.1:$((peer_base + i))" \
            --listen-peer-urls "http://127.0.0.1:$((peer_base + 10 + i))" \
            --initial-advertise-peer-urls "http://127.0.0.1:$((peer_base + 10 + i))" \
            --initial-cluster "$list" >"$dir/etcd.log" 2>&1 &
        peer_pids+=($!)
    done
    await curl -sf "http://127.0.0.1:$((peer_base + 1))/health"
}

stop_peers() {
    kill -TERM "${peer_pids[@]}"
    wait "${peer_pids[@]}" || true
    peer_pids=()
}

# Loads the leader: whom h2load asks first is a follower two times in three.
etcd_leads_first() {
    local id
    id=$(curl -sf -X POST "http://127.0.0.1:$((peer_base + 1))/v3/maintenance/status" -d '{}' | jq -r '.header.member_id')
    for ((i = 1; i <= 3; i++)); do
        curl -sf -X POST "http://127.0.0.1:$((peer_base + i))/v3/maintenance/transfer-leadership" \
            -d "{\"targetID\":\"$id\"}" >"$dir/answer" 2>&1 || true
    done
    [ "$(curl -sf -X POST "http://127.0.0.1:$((peer_base + 1))/v3/maintenance/status" -d '{}' | jq -r '.leader')" = "$id" ]
}

theirs_etcd() { # NODES
    etcd_nodes "$1"
    [ "$1" -eq 1 ] || await etcd_leads_first
    h2load_run "put $1x64" Put "$dir/put" 64
    h2load_run "get $1x64" Range "$dir/range" 64
    h2load_run "put $1x1" Put "$dir/put" 1
    stop_peers
    rm -rf "$dir"/etcd-*
}

# ---- Redis

redis_run() { # WORK TEST CONNECTIONS REQUESTS
    # shellcheck disable=SC2046
    result "$1" redis $(redis-benchmark -p $((peer_base + 5)) -t "$2" -r 100000 -d 100 -c "$3" -n "$4" --csv |
        awk -F'","' 'NR == 2 { print $2, $5, $7 }')
}

theirs_redis() {
    redis-server --port $((peer_base + 5)) --bind 127.0.0.1 --dir "$dir" --appendonly yes --appendfsync always \
        --save '' --daemonize no >"$dir/redis.log" 2>&1 &
    peer_pids+=($!)
    await redis-cli -p $((peer_base + 5)) ping
    redis-benchmark -p $((peer_base + 5)) -t set -r 100000 -d 100 -c 64 -n 200000 -q >"$dir/answer"
    redis_run 'put 1x64' set 64 $((seconds * 50000))
    redis_run 'get 1x64' get 64 $((seconds * 80000))
    redis_run 'put 1x1' set 1 $((seconds * 4000))
    stop_peers
    rm -rf "$dir/appendonlydir"
}

stop_all() {
    [ ${#peer_pids[@]} -eq 0 ] || kill -KILL "${peer_pids[@]}" 2>/dev/null || true
    cleanup
}
trap stop_all EXIT

value=$(printf 'x%.0s' {1..100})
grpc "$dir/put" $'\x0a\x06key100\x12\x64'"$value"
grpc "$dir/range" $'\x0a\x06key100'
for ((round = 1; round <= rounds; round++)); do
    echo "round $round of $rounds" >&2
    ours 1
    theirs_redis
    theirs_etcd 1
    ours 3
    theirs_etcd 3
done

# Each round's ratio by itself: what drifts from round to round is in both.
jq -rs '
def median: sort | .[(length - 1) / 2 | floor];
def ratios($a; $b): [range([$a, $b | length] | min) as $i | $a[$i] / $b[$i]];
def shown: (. * 100 | round) / 100;
[ ["work", "system", "rate/s", "P50 ms", "P99 ms", "raftkv is x", "least", "most"] ] + [
    (group_by(.work)[] | . as $rows | ($rows | map(select(.system == "raftkv") | .rate)) as $ours
        | group_by(.system)[] | (map(.rate)) as $theirs | ratios($ours; $theirs) as $r
        | [.[0].work, .[0].system, (map(.rate) | median | round), (map(.p50_ms) | median | shown), (map(.p99_ms) | median | shown)]
        + (if .[0].system == "raftkv" or ($r | length) == 0 then ["", "", ""] else
            [($r | median | shown), ($r | min | shown), ($r | max | shown)] end))
] | .[] | @tsv' "$results" | column -t -s $'\t'
