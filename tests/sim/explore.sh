#!/usr/bin/env bash
# The exhaustive search under several bounds, each up to so many distinct states, in bounded memory.
# explore.sh STATES RAFTKV_CHECK [OPTIONS…]
set -u

states=$1 program=$2
shift 2

# What each is to come across: name, then bounds. All spaces have more than ten million states, but
# for the first, which is searched wholly.
spaces='
elections      --timeouts 3 --proposals 0 --messages 3
logs           --timeouts 4 --proposals 2 --messages 3
network        --timeouts 3 --proposals 1 --messages 3 --losses 1 --duplicates 1 --heartbeats 1
disks          --timeouts 3 --proposals 1 --messages 2 --crashes 2 --disk slow
reads          --timeouts 3 --proposals 0 --messages 3 --reads 2 --crashes 1
snapshots      --timeouts 3 --proposals 1 --messages 2 --compactions 2 --losses 1 --heartbeats 1
transfers      --timeouts 2 --proposals 1 --messages 3 --transfers 2 --heartbeats 1
members        --timeouts 2 --proposals 0 --messages 3 --changes 1 --spares 1 --heartbeats 1
two-changes    --timeouts 3 --proposals 0 --messages 2 --changes 2 --nodes 4
'

failed=0
while read -r name bounds; do
    [ -n "$name" ] || continue
    # shellcheck disable=SC2086
    report=$("$program" explore $bounds --states "$states" "$@")
    status=$?
    printf '%-12s %s\n' "$name" "$(sed -nE 's/^(states|speed|memory) +//p' <<<"$report" | paste -sd';')"
    case $status in
    0 | 10) ;;
    *)
        echo "$report"
        echo "explore: $name: exit status $status: $program explore $bounds --states $states $*" >&2
        failed=1
        ;;
    esac
done <<<"$spaces"
exit $failed
