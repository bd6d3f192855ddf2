#!/usr/bin/env bash
# Memory over minutes of load: three nodes, wrk beside them writes 100,000 keys at random over 64
# connections. Prints the resident memory of each node ten times, then the growth over the last half;
# fails if that is over 10 %.
# Usage: scripts/memory.sh [SECONDS [DIRECTORY]]; RAFTKV_BIN: where the programs are; RAFTKV_PORT: the
# nodes take the three ports after it.
set -eu

seconds=${1:-300}
# shellcheck source=scripts/nodes.bash
. "$(dirname "$0")/nodes.bash"

resident_kib() { # PID
    awk '$1 == "VmRSS:" { print $2 }' "/proc/$1/status"
}

start_nodes 3
METHOD=PUT ORDER=random wrk -t1 -c64 -d"${seconds}s" -s "$dir/load.lua" "$url" >"$dir/wrk" &
load=$!
half=(0 0 0) last=(0 0 0)
echo "seconds    n1 MiB    n2 MiB    n3 MiB    (leader at the start: n$((${url##*:} - base)))"
for ((step = 1; step <= 10; step++)); do
    sleep "$(awk "BEGIN { print $seconds / 10 * 0.98 }")"
    for i in 0 1 2; do
        last[i]=$(resident_kib "${pids[i + 1]}")
        [ $step -ne 5 ] || half[i]=${last[i]}
    done
    awk -v s=$((seconds * step / 10)) -v a="${last[0]}" -v b="${last[1]}" -v c="${last[2]}" \
        'BEGIN { printf "%7d %9.1f %9.1f %9.1f\n", s, a / 1024, b / 1024, c / 1024 }'
done
wait "$load"
awk '$1 == "Requests/sec:" { rate = $2 } $2 == "requests" { total = $1 }
    END { printf "%d writes, %d a second\n", total, rate }' "$dir/wrk"
grown=0
for i in 0 1 2; do
    percent=$((100 * (last[i] - half[i]) / half[i]))
    echo "n$((i + 1)): $percent % over the last half"
    [ $percent -le 10 ] || grown=1
done
stop_nodes
[ $grown = 0 ]
