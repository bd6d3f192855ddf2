#!/usr/bin/env bash
# Every fault, and pairs of them, on three and on five nodes, with the workloads in turn:
# faults.sh CHECK TIME FIRST_SEED [RESULTS [OPTION]...], CHECK being raftkv-check, TIME as in --time, further options of
# raftkv-check run. A line each, and in RESULTS (a file) a JSON object each. What is violated is kept; exit status 9,
# or 10 if something else than that went wrong.
set -u
check=${1:?usage: faults.sh CHECK TIME FIRST_SEED [RESULTS]} time=${2:?} seed=${3:?} results=${4:-}
shift "$(($# < 4 ? $# : 4))"

faults=(none kill kill-all pause partition slow lossy membership transfer rolling-restart)
if "${check%raftkv-check}raftkv-node" --help | grep -q -- --enable-faults; then
    faults+=(disk-stall disk-error disk-full clock-jump clock-drift crash pause+clock-drift kill+disk-stall)
else
    echo "faults: nodes do not know --enable-faults: disks, clocks and crash are left out" >&2
fi
faults+=(kill+partition pause+partition lossy+membership transfer+partition slow+kill-all)
workloads=(register append set bank scan batch)

result=$(mktemp)
trap 'rm -f "$result"' EXIT
violated=0 inconclusive=0 number=0
for nodes in 3 5; do
    for fault in "${faults[@]}"; do
        workload=${workloads[number++ % ${#workloads[@]}]}
        status=0
        : >"$result"
        out=$("$check" run --nodes "$nodes" --faults "$fault" --workload "$workload" --time "$time" \
            --seed "$seed" --json "$result" "$@" 2>&1) || status=$?
        printf '%-18s %s nodes, %-8s seed %s: %s\n' "$fault" "$nodes" "$workload" "$seed" \
            "$(jq -r '"\(.operations) operations, available \(.availability) %, \(.result)"' "$result")"
        [ "$status" -eq 0 ] || echo "$out"
        [ "$status" -ne 9 ] || violated=1
        [ "$status" -eq 0 ] || [ "$status" -eq 9 ] || inconclusive=1
        [ -z "$results" ] || cat "$result" >>"$results"
        seed=$((seed + 1))
    done
done
[ $violated -eq 0 ] || exit 9
[ $inconclusive -eq 0 ] || exit 10
