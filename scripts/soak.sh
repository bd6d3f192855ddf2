#!/usr/bin/env bash
# N rounds of all tests that draw random numbers, each round with another seed (RAFTKV_SEED): the
# unit tests given, and the end-to-end files. soak.sh ROUNDS REPORT PROGRAM...; a failing round names
# its seed, and `RAFTKV_SEED=… PROGRAM` repeats it.
set -u

rounds=$1 report=$2
shift 2
shopt -s nullglob
read -ra files <<<"${E2E_FILES:-}"
[ ${#files[@]} -gt 0 ] || files=(tests/e2e/*.bats)
first=${SEED:-$(date +%s)}
jobs=${JOBS:-$(nproc)}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
passed=0 tests=0 failed=()
began=$SECONDS
for ((round = 0; round < rounds; round++)); do
    seed=$((first + round))
    if RAFTKV_SEED=$seed prove -j"$jobs" -e '' "$@" >"$log" 2>&1 &&
        { [ ${#files[@]} -eq 0 ] ||
            RAFTKV_SEED=$seed prove -j"$jobs" --failures --comments -e 'bats --tap' "${files[@]}" >>"$log" 2>&1; }; then
        passed=$((passed + 1))
    else
        failed+=("$seed")
        cat "$log"
    fi
    count=$(sed -n 's/^Files=[0-9]*, Tests=\([0-9]*\).*/\1/p' "$log" | awk "{ n += \$1 } END { print n }")
    tests=$((tests + ${count:-0}))
    echo "soak: round $((round + 1)) of $rounds, seed $seed: ${count:-0} tests, $passed passed so far"
done
mkdir -p "$(dirname "$report")"
{
    echo "commit $(git rev-parse HEAD 2>/dev/null || echo unknown)$(
        [ -z "$(git status --porcelain 2>/dev/null)" ] || echo ' with local changes')"
    echo "date   $(date -u +%Y-%m-%dT%H:%M:%SZ)"
    echo "soak   $rounds rounds from seed $first: $passed passed, $tests tests, $((SECONDS - began)) s"
    [ ${#failed[@]} -eq 0 ] || echo "failed seeds: ${failed[*]}"
} | tee "$report"
[ "$passed" -eq "$rounds" ]
