#!/usr/bin/env bash
# How cost grows: raftkv-bench beside nodes on the same machine, 64 clients, values of 100 bytes, a line for each size.
# scale.sh keys [N]...         one node with N keys: load, memory with 1,000 connections, restart (default: 10^4 to 10^6)
# scale.sh values [BYTES]...   one node, 100 values of so many bytes (default: 10 B to 1 MiB)
# scale.sh clients [N]...      one node, so many clients with a connection each (default: 1 to 1,000)
# scale.sh scans [N]...        one node, scans of up to N of 100,000 keys (default: 1 to 10,000)
# scale.sh nodes [N]...        so many nodes, PUT and GET at the leader (default: 1 3 5 7)
# scale.sh minutes [N]...      one node with 10^6 keys, 1,000 clients that read and write 1,000 times a second: memory (default: 60)
# TIME: seconds of each measurement (default: 5). RAFTKV_BIN: where the programs are; RAFTKV_PORT: the nodes take the ports
# after it.
set -eu

what=${1:?usage: scale.sh keys|values|clients|scans|nodes|minutes [SIZE]...}
shift
sizes=("$@") time=${TIME:-5}
# shellcheck source=scripts/nodes.bash
. "$(dirname "$0")/nodes.bash" "$time"

bench() { # OPTION...: the result as JSON into $dir/result
    "$bin/raftkv-bench" --endpoints "$url" --target leader --key-prefix key --timeout 30s -o json "$@" \
        >"$dir/result" 2>"$dir/bench.log" || { cat "$dir/bench.log" >&2; return 1; }
}

measure() { # NAME OPTION...: rate and latencies of one kind of operation
    bench -d "${time}s" "${@:2}"
    jq -r --arg name "$1" '.operations.all
        | "  \($name) \(.rate | round)/s, P50 \(.p50_us / 1000) ms, P99 \(.p99_us / 1000) ms"
        + if .errors + .unknown > 0 then ", \(.errors) errors, \(.unknown) unknown" else "" end' "$dir/result"
}

preload() { # KEYS [OPTION]...
    bench -w get --preload "$1" --keys "$1" -n 1 -c 64 "${@:2}"
}

memory_mib() {
    awk '$1 == "VmRSS:" { printf "%.0f MiB", $2 / 1024 }' "/proc/${pids[1]}/status"
}

restart() { # SIGNAL: of the one node, until it serves
    local began i
    kill "-$1" "${pids[1]}"
    { wait "${pids[1]}" || true; } 2>/dev/null
    began=${EPOCHREALTIME/./}
    start_node 1
    for ((i = 0; i < 6000; i++)); do
        if curl -sf -o /dev/null --max-time 1 "$url/readyz"; then
            echo "  serves $(((${EPOCHREALTIME/./} - began) / 1000)) ms after a start behind SIG$1"
            return
        fi
        sleep 0.01
    done
    echo "scale: does not serve after a start behind SIG$1" >&2
    exit 1
}

for_keys() {
    start_nodes 1
    preload "$1"
    measure 'PUT ' -w put --keys "$1"
    measure 'GET ' -w get --keys "$1"
    measure 'scan' -w scan --scan-length 100 --keys "$1"
    measure '1,000 clients, mixed' -w mixed --keys "$1" -c 1000
    echo "  $(memory_mib) resident with them, $(du -sm "$dir/1-n1" | cut -f1) MiB of files"
    restart KILL
    restart TERM
}

for_values() {
    start_nodes 1
    preload 100 --value-size "$1"
    measure 'PUT' -w put --keys 100 --value-size "$1"
    measure 'GET' -w get --keys 100
}

for_clients() {
    start_nodes 1
    preload 10000
    measure 'PUT' -w put -c "$1"
    measure 'GET' -w get -c "$1"
    echo "  $(memory_mib) resident"
}

for_scans() {
    start_nodes 1
    preload 100000
    measure 'scan' -w scan --keys 100000 --scan-length "$1"
}

for_nodes() {
    start_nodes "$1"
    preload 10000
    measure 'PUT' -w put
    measure 'GET' -w get
    measure 'GET by lease' -w get --consistency lease
}

for_minutes() {
    local load step
    start_nodes 1
    preload 1000000
    bench -w mixed --keys 1000000 -c 1000 --rate 1000 -d "$1m" &
    load=$!
    for ((step = 1; step <= 12; step++)); do
        sleep "$(awk "BEGIN { print $1 * 5 * 0.99 }")"
        echo "  after $(($1 * 5 * step)) s $(memory_mib) resident"
    done
    wait "$load"
    jq -r '.operations.all | "  \(.total) operations, P99 \(.p99_us / 1000) ms, longest \(.max_us / 1000) ms, \(.errors) errors, \(.unknown) unknown"' "$dir/result"
}

case $what in
    keys) each=for_keys unit=keys default=(10000 100000 1000000) ;;
    values) each=for_values unit=bytes default=(10 100 1000 10000 100000 1048576) ;;
    clients) each=for_clients unit=clients default=(1 10 100 1000) ;;
    scans) each=for_scans unit='keys at most' default=(1 10 100 1000 10000) ;;
    nodes) each=for_nodes unit=nodes default=(1 3 5 7) ;;
    minutes) each=for_minutes unit=minutes default=(60) ;;
    *) echo "scale: unknown: '$what'" >&2; exit 2 ;;
esac
[ ${#sizes[@]} -gt 0 ] || sizes=("${default[@]}")
for size in "${sizes[@]}"; do
    echo "$size $unit"
    "$each" "$size"
    stop_nodes
    rm -rf "${dir:?}"/[0-9]*-n*
done
