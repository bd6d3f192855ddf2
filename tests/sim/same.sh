#!/usr/bin/env bash
# The same seed is the same run, byte for byte, whatever compiler made the program.
# same.sh SEEDS PROGRAM PROGRAM...: compares the traces that builds of raftkv-check write.
set -eu

seeds=$1
shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for ((seed = 1; seed <= seeds; seed++)); do
    first=
    for program in "$@"; do
        "$program" sim --seed "$seed" --trace "$work/trace" >/dev/null || {
            echo "same: $program fails at seed $seed" >&2
            exit 1
        }
        sum=$(sha256sum <"$work/trace")
        [ "${first:=$sum}" = "$sum" ] || {
            echo "same: $program and $1 differ at seed $seed" >&2
            exit 1
        }
    done
done
echo "same: $# builds agree on $seeds seeds"
