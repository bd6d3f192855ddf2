#!/usr/bin/env bash
# A counter that many may count at once: counter.sh KEY [ADD]
#
# Reads value and version, and writes the sum only if the version is still the same; otherwise
# somebody else was quicker, and it begins again. Nothing is counted twice or lost: raftkv-ctl
# retries by itself only in a way that applies a write once. Prints the new value. Exit status 1:
# the key holds no number; 5: the cluster did not say in time whether this one was counted; others
# are raftkv-ctl's.
set -eu

bin=${RAFTKV_BIN:-$(dirname "$0")/../build/bin}
ctl=$bin/raftkv-ctl
key=${1:-}
add=${2:-1}
number='^-?(0|[1-9][0-9]{0,17})$' # what bash can add
if [ $# -lt 1 ] || [ $# -gt 2 ] || ! [[ $add =~ $number ]]; then
    echo "usage: counter.sh KEY [ADD]" >&2
    exit 2
fi

# A message of raftkv-ctl's is all that it prints when it fails.
fail() {
    echo "$2" >&2
    exit "$1"
}

while :; do
    status=0
    item=$("$ctl" -o json get -- "$key" 2>&1) || status=$?
    case $status in
    0)
        value=$(jq -r .value <<<"$item")
        condition=(--if-version "$(jq .version <<<"$item")")
        ;;
    1)
        value=0
        condition=(--if-absent)
        ;;
    *) fail "$status" "$item" ;;
    esac
    [[ $value =~ $number ]] || fail 1 "counter.sh: $key is no counter, its value is: $value"
    sum=$((value + add))
    [[ $sum =~ $number ]] || fail 1 "counter.sh: $key is at its end: $value"
    status=0
    output=$("$ctl" put "${condition[@]}" -- "$key" "$sum" 2>&1) || status=$?
    case $status in
    0)
        echo "$sum"
        exit 0
        ;;
    3) sleep "0.0$((RANDOM % 10))" ;; # somebody was quicker: again, not all at the same moment
    *) fail "$status" "$output" ;;
    esac
done
