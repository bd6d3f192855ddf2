#!/usr/bin/env bash
# A counter that many may count at once: counter.sh KEY [ADD]
#
# Reads value and version, and writes the sum only if the version is still the same; otherwise
# somebody else was quicker, and it begins again. Nothing is counted twice or lost: raftkv-ctl
# retries by itself only in a way that applies a write once. Prints the new value. Exit status 5:
# the cluster did not say in time whether this one was counted.
set -eu

bin=${RAFTKV_BIN:-$(dirname "$0")/../build/bin}
ctl=$bin/raftkv-ctl
key=${1:?usage: counter.sh KEY [ADD]}
add=${2:-1}

while :; do
    status=0
    item=$("$ctl" -o json get "$key" 2>/dev/null) || status=$?
    case $status in
    0)
        value=$(jq -r .value <<<"$item")
        condition=(--if-version "$(jq .version <<<"$item")")
        ;;
    1)
        value=0
        condition=(--if-absent)
        ;;
    *) exit "$status" ;;
    esac
    if ! [[ $value =~ ^-?[0-9]+$ ]]; then
        echo "counter.sh: $key is no counter, its value is: $value" >&2
        exit 1
    fi
    status=0
    "$ctl" put "${condition[@]}" -- "$key" $((value + add)) >/dev/null 2>&1 || status=$?
    case $status in
    0)
        echo $((value + add))
        exit 0
        ;;
    3) sleep "0.0$((RANDOM % 10))" ;; # somebody was quicker: again, not all at the same moment
    *) exit "$status" ;;
    esac
done
