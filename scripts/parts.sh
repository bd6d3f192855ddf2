#!/usr/bin/env bash
# Runs the parts of a test run one after the other (each is parallel in itself), all of them even
# when one fails, and prints the time of each: parts.sh NAME COMMAND [NAME COMMAND]...
# With REPORT=FILE the table and the totals of prove go there too, with the commit.
set -u

names=() states=() times=()
output=$(mktemp)
trap 'rm -f "$output"' EXIT
failed=0
began=$SECONDS
totals=()
while [ $# -ge 2 ]; do
    part_began=$SECONDS
    echo "=== $1"
    if (set -o pipefail; bash -c "$2" 2>&1 | tee "$output"); then
        states+=(ok)
    else
        states+=(FAILED)
        failed=1
    fi
    names+=("$1")
    times+=($((SECONDS - part_began)))
    totals+=("$(grep -E '^(Files=|Result:)' "$output" | sed 's/, *[0-9]* wallclock.*//' |
        paste -sd' ' -)")
    shift 2
done

table() {
    local i
    for i in "${!names[@]}"; do
        printf '%-10s %-7s %4d s  %s\n' "${names[i]}" "${states[i]}" "${times[i]}" "${totals[i]}"
    done
    printf '%-10s %-7s %4d s\n' total "$([ $failed = 0 ] && echo ok || echo FAILED)" \
        $((SECONDS - began))
}

echo "=== parts"
table
if [ -n "${REPORT:-}" ]; then
    mkdir -p "$(dirname "$REPORT")"
    {
        echo "commit $(git rev-parse HEAD 2>/dev/null || echo unknown)$(
            [ -z "$(git status --porcelain 2>/dev/null)" ] || echo ' with local changes')"
        echo "date   $(date -u +%Y-%m-%dT%H:%M:%SZ)"
        table
    } >"$REPORT"
fi
exit $failed
