#!/usr/bin/env bash
# Standard runs of raftkv-bench on one node and on three, text on stdout, JSON, a page and a line a second for each in a
# directory. bench.sh DIRECTORY [TIME]; RAFTKV_BIN: where the programs are.
set -eu

out=${1:?usage: bench.sh DIRECTORY [TIME]} time=${2:-10s} bin=${RAFTKV_BIN:-build/bin}
mkdir -p "$out"

run() { # NAME OPTION...
    echo "== $1: ${*:2}"
    "$bin/raftkv-bench" "${@:2}" --keys 100000 --preload 100000 --warmup 1s -d "$time" \
        --html "$out/$1.html" --csv "$out/$1.csv" -o json >"$out/$1.json" 2>"$out/$1.log" || {
        cat "$out/$1.log" >&2
        return 1
    }
    jq -r '.operations | to_entries[] | select(.value.total > 0)
        | "\(.key)  \(.value.rate)/s  P50 \(.value.p50_us) us  P99 \(.value.p99_us) us"' "$out/$1.json"
}

for nodes in 1 3; do
    run "put-$nodes" --local $nodes -w put --target leader
    run "get-$nodes" --local $nodes -w get --target leader
    run "lease-$nodes" --local $nodes -w get --target leader --consistency lease
    run "mixed-$nodes" --local $nodes -w mixed
done
run "put-3-alone" --local 3 -w put --target leader -c 1
