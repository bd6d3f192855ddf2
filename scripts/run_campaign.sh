#!/usr/bin/env bash
# A campaign of raftkv-check run, and what it was, for the record: tests/campaigns/run-NAME.json.
# run_campaign.sh NAME TIME FIRST_SEED [ROUNDS]: so many times all fault sets on three and five nodes.
set -eu
cd "$(dirname "$0")/.."

name=${1:?usage: run_campaign.sh NAME TIME FIRST_SEED [ROUNDS]} time=${2:?} seed=${3:?} rounds=${4:-1}
[ -z "$(git status --porcelain)" ] || {
    echo "run_campaign: the tree has local changes: which commit would it be of?" >&2
    exit 2
}
make -s
mkdir -p tests/campaigns
results=$(mktemp)
trap 'rm -f "$results"' EXIT
status=0
for ((round = 0; round < rounds && status != 9; round++)); do
    now=0
    tests/run/faults.sh build/bin/raftkv-check "$time" $((seed + round * 1000)) "$results" || now=$?
    [ "$now" -eq 0 ] || status=$now
done
jq -s --arg commit "$(git rev-parse HEAD)" --arg date "$(date -u +%F)" --arg time "$time" '{
    kind: "run", date: $date, commit: $commit, time: $time, runs: length,
    operations: (map(.operations) | add), unknown: (map(.unknown) | add), seeds: map(.seed),
    fault_sets: (map(.fault_sets[]) | unique), nodes: (map(.nodes) | unique),
    workloads: (map(.workload) | unique), faults: (map(.faults | length) | add),
    seconds: (map(.seconds_measured) | add), violated: map(select(.result == "violated")) | length,
    inconclusive: map(select(.result == "inconclusive")) | length,
    result: (if any(.[]; .result == "violated") then "violated"
        elif any(.[]; .result != "ok") then "inconclusive" else "ok" end)}' \
    "$results" >"tests/campaigns/run-$name.json"
exit $status
