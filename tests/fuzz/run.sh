#!/usr/bin/env bash
# Runs every fuzzer of a build: run.sh BUILD_DIRECTORY SECONDS REPORT. A line for each; status 1 if any
# found something, whose input then lies in BUILD_DIRECTORY/found.
set -u

build=$1 seconds=$2 report=$3
corpus=$build/corpus found=$build/found cases=$(dirname "$0")/cases
mkdir -p "$corpus" "$found" "$(dirname "$report")"
"$build/tests/fuzz/seeds" "$corpus" || exit 1
export ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_leaks=1:allocator_may_return_null=1

failed=0
{
    echo "fuzz: $seconds s each, commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown)"
    for fuzzer in "$build"/tests/fuzz/fuzz_*; do
        [ -x "$fuzzer" ] || continue
        name=${fuzzer##*/}
        mkdir -p "$corpus/$name"
        log=$build/$name.log
        status=ok
        old=("$cases/$name"/*)
        if [ -e "${old[0]}" ] && ! "$fuzzer" "${old[@]}" >"$log" 2>&1; then
            status="FAILED on a case of $cases/$name"
        elif ! "$fuzzer" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=8192 \
            -print_final_stats=1 -artifact_prefix="$found/$name-" "$corpus/$name" >"$log" 2>&1; then
            status="FAILED, see $found"
        fi
        runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
        edges=$(grep -oE 'cov: [0-9]+' "$log" | tail -1)
        printf '%-14s %10s runs  %-10s %s\n' "$name" "${runs:-?}" "${edges:-cov: ?}" "$status"
        if [ "$status" != ok ]; then
            failed=1
            grep -E 'ERROR|SUMMARY|failed' "$log" | head -5
            tail -5 "$log"
        fi
    done
} > >(tee "$report")
wait $! 2>/dev/null
exit $failed
