# raftkv-check explore: what it prints, how it ends, what it refuses.
# shellcheck disable=SC2030,SC2031,SC2154
load helper

check() {
    "$RAFTKV_BIN/raftkv-check" "$@"
}

@test "explore: a space that is searched wholly, in one thread or two" {
    local jobs
    for jobs in 1 2; do
        run check explore --timeouts 1 --proposals 1 --jobs "$jobs"
        assert_success
        assert_line --regexp '^bounds +3 nodes, 3 messages in flight, disk quick, 1 timeouts, 1 proposals$'
        assert_line --regexp '^states +[0-9]+ distinct \(6 permutations'
        assert_line --regexp '^memory +[0-9]+ MiB of at most 2048 MiB$'
        assert_line --regexp '^result +everything within the bounds was seen'
        grep '^states\|^per depth' <<<"$output" >"$BATS_TEST_TMPDIR/$jobs"
    done
    cmp "$BATS_TEST_TMPDIR/1" "$BATS_TEST_TMPDIR/2"
}

@test "explore: what a limit ends is inconclusive, and so is what was left out" {
    local limit
    for limit in '--states 1000' '--depth 5' '--memory 16MiB' '--time 1ms'; do
        # shellcheck disable=SC2086
        run check explore --timeouts 3 --proposals 2 $limit
        assert_failure 10
        assert_line --regexp "^result +inconclusive: ${limit% *} ended it"
    done
    run check explore --timeouts 1 --proposals 6 --disk slow --messages 1
    assert_failure 10
    assert_line --regexp '^cut +[0-9]+ steps'
    assert_line --regexp '^result +inconclusive: steps were left out'
}

@test "explore: names count or do not" {
    run check explore --timeouts 1 --symmetry off
    assert_success
    assert_line --regexp '^states +[0-9]+ distinct \(1 permutations'
}

@test "explore: what is wrong is refused by name" {
    local args want
    while IFS='|' read -r args want; do
        # shellcheck disable=SC2086
        run check explore $args
        assert_failure 2
        assert_output --partial "$want"
    done <<'END'
--nodes 0|nodes
--nodes 9|nodes
--timeouts x|timeouts
--timeouts 1 --proposals 15|14 together at most
--disk fast|disk
--memory 1|memory
--frob|--frob
x|too many arguments
END
}
