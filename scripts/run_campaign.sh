#!/usr/bin/env bash
# A campaign of raftkv-check run, and what it was, for the record: tests/campaigns/run-NAME.json.
# run_campaign.sh NAME sets TIME FIRST_SEED [OPTION]...: all fault sets on three and five nodes (tests/run/faults.sh).
# run_campaign.sh NAME runs COUNT AT_A_TIME FIRST_SEED [OPTION]...: so many runs of raftkv-check run.
set -u
cd "$(dirname "$0")/.." || exit 2

usage() {
    sed -n '3,4s/^# //p' "$0" >&2
    exit 2
}
[ $# -ge 4 ] || usage
name=$1 what=$2
shift 2
[ -z "$(git status --porcelain)" ] || {
    echo "run_campaign: the tree has local changes: which commit would it be of?" >&2
    exit 2
}
make -s || exit 2
mkdir -p tests/campaigns
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT

one_run() { # SEED [OPTION]...: what is violated is told and kept
    local seed=$1 out
    shift
    out=$(build/bin/raftkv-check run --seed "$seed" --json "$results/$seed" "$@" 2>&1) || echo "$out"
}

options=''
case $what in
    sets)
        options="--time $1 ${*:3}"
        tests/run/faults.sh build/bin/raftkv-check "$1" "$2" "$results/all" "${@:3}"
        ;;
    runs)
        count=$1 at_a_time=$2 seed=$3
        shift 3
        options=$*
        for ((i = 0; i < count; i++)); do
            [ "$i" -lt "$at_a_time" ] || wait -n
            one_run $((seed + i)) "$@" &
        done
        wait
        ;;
    *) usage ;;
esac
# Of faults that struck the leader: how long nothing was answered, and until there was another one. A disk-stall that
# only makes syncs slow is told apart: that leader is meant to stay.
jq -s --arg commit "$(git rev-parse HEAD)" --arg date "$(date -u +%F)" --arg options "$options" '
def spread: sort | if length == 0 then null else
    {p50: .[(length - 1) / 2 | floor], p99: .[(length - 1) * 0.99 | ceil], max: last} end;
{
    kind: "run", date: $date, commit: $commit, options: $options, runs: length,
    operations: (map(.operations) | add), unknown: (map(.unknown) | add), seeds: map(.seed),
    fault_sets: (map(.fault_sets[]) | unique), nodes: (map(.nodes) | unique),
    workloads: (map(.workload) | unique), faults: (map(.faults | length) | add),
    leader: (map(.faults[] | select(.text | contains("(leader)"))
        | .name += if .name == "disk-stall" and (.text | contains("fsync-delay")) then ", slow" else "" end)
        | group_by(.name) | map({
        fault: .[0].name, times: length, gap_ms: (map(.gap_ms) | spread),
        replaced: (map(.new_leader_ms | values) | length), new_leader_ms: (map(.new_leader_ms | values) | spread)})),
    seconds: (map(.seconds_measured) | add), violated: map(select(.result == "violated")) | length,
    inconclusive: map(select(.result == "inconclusive")) | length,
    result: (if any(.[]; .result == "violated") then "violated"
        elif any(.[]; .result != "ok") then "inconclusive" else "ok" end)}' \
    "$results"/* | tee "tests/campaigns/run-$name.json"
case $(jq -r .result "tests/campaigns/run-$name.json") in
    ok) ;;
    violated) exit 9 ;;
    *) exit 10 ;;
esac
