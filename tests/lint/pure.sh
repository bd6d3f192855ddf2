#!/usr/bin/env bash
# The core decides and does nothing else: its objects may refer to nothing but each other and the
# names below. No clock, no I/O, no threads, no global state (no writable data).
# pure.sh OBJECT...
set -u

allowed='memcpy|memset|memmove|memcmp|check_failed|prng_[a-z]+'
# What a compiler adds by itself.
compiler='__stack_chk_fail|__(memcpy|memset|memmove)_chk|_GLOBAL_OFFSET_TABLE_'

[ $# -gt 0 ] || exit 0
failed=0
defined=$(nm -g --defined-only "$@" | awk 'NF == 3 { print $3 }' | sort -u)
undefined=$(nm -u "$@" | awk 'NF == 2 { print $2 }' | sort -u)
foreign=$(comm -23 <(echo "$undefined") <(echo "$defined") | grep -vxE "$allowed|$compiler" || true)
if [ -n "$foreign" ]; then
    echo "pure: lib/raft refers to: $(echo "$foreign" | paste -sd' ' -)" >&2
    failed=1
fi
# (A constant table of pointers is data too, until the loader has made it read-only.)
state=$(nm -A -f sysv "$@" | awk -F"|" '{ gsub(/ /, "", $3); gsub(/[ \t]/, "", $7) }
    $3 ~ /^[bBdDC]$/ && $7 !~ /^\.data\.rel\.ro/ { print $1 }')
if [ -n "$state" ]; then
    echo "pure: lib/raft has global state:" >&2
    echo "$state" >&2
    failed=1
fi
exit $failed
