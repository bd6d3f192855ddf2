#!/usr/bin/env bash
# tests/scenarios.tsv against tests/scenarios.list and against what the unit tests print: every
# scenario has its row, every reason is one of the two that count, every test named ran and passed.
# BUILD is where `make units` has put the programs.
set -u
cd "$(dirname "$0")/../.." || exit 70

table=tests/scenarios.tsv
build=${BUILD:-build}
work=$(mktemp -d) || exit 70
trap 'rm -rf "$work"' EXIT
failed=0
complain() {
    echo "scenarios: $1" >&2
    failed=1
}

rows=$work/rows
grep -v '^#' "$table" >"$rows"
# Rows are those of the list, each once, in its order.
if ! diff <(cut -f1,2 "$rows") tests/scenarios.list >"$work/diff"; then
    complain "rows differ from tests/scenarios.list (< too many, > missing):"
    cat "$work/diff" >&2
fi

tests=$work/tests # FILE:NAME, one a line
: >"$tests"
line=0
while IFS=$'\t' read -r section name kind rest; do
    line=$((line + 1))
    case $kind in
    test)
        [ -n "$rest" ] || complain "$section $name: no test"
        tr '\t' '\n' <<<"$rest" >>"$tests"
        ;;
    covered)
        [[ $rest == "covered by tests/"*":"?* && $rest != *$'\t'* ]] ||
            complain "$section $name: unknown reason: $rest"
        echo "${rest#covered by }" >>"$tests"
        ;;
    absent)
        [[ $rest == "feature absent from the contract: "?* && $rest != *$'\t'* ]] ||
            complain "$section $name: unknown reason: $rest"
        ;;
    *) complain "$section $name: kind is \"$kind\", not test, covered or absent" ;;
    esac
done <"$rows"
[ "$line" -gt 0 ] || complain "$table has no rows"

sort -u "$tests" -o "$tests"
# The programs run once each, side by side; their TAP says which tests passed.
while IFS= read -r file; do
    if [[ $file != tests/unit/*.c || ! -f $file ]]; then
        complain "$file is no unit test"
    elif [ ! -x "$build/${file%.c}" ]; then
        complain "$build/${file%.c} was not built"
    else
        "$build/${file%.c}" >"$work/$(basename "$file").tap" 2>/dev/null &
    fi
done < <(cut -d: -f1 "$tests" | sort -u)
wait
for tap in "$work"/*.tap; do
    sed -n '/# SKIP/d; s/^ok [0-9]* - //p' "$tap" | sed "s|^|tests/unit/$(basename "$tap" .tap):|"
done | sort -u >"$work/passed"
while IFS= read -r missing; do
    complain "named in the table, but did not run or did not pass: $missing"
done < <(comm -23 "$tests" "$work/passed")

[ $failed = 0 ] && echo "scenarios: $line rows, $(wc -l <"$tests") tests"
exit $failed
