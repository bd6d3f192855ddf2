# raftkv-check sim: what it prints, what it refuses.
# shellcheck disable=SC2030,SC2031,SC2154
load helper

check() {
    "$RAFTKV_BIN/raftkv-check" "$@"
}

@test "sim: seeds run, and the figures say what happened" {
    run check sim --seeds 1..20
    assert_success
    assert_line --regexp '^20 seeds, [0-9]+ steps of cores, [0-9]+ events, [0-9.]+ virtual hours in [0-9.]+ s'
    assert_line --regexp '^[0-9]+ elections, [0-9]+ snapshots installed'
    assert_line --regexp '^[0-9]+ writes \([0-9]+ told again\), [0-9]+ reads'
    assert_line --regexp '^faults: kill [0-9]+, kill-all '
    assert_line 'no violation'
}

@test "sim: seeds that once broke a promise keep it" {
    local seed what
    cd "$BATS_TEST_TMPDIR"
    while IFS=$'\t' read -r seed what; do
        [[ $seed == \#* ]] || check sim --seed "$seed" >out || fail_with "seed $seed: $what"
    done <"$REPO/tests/sim/seeds.tsv"
}

@test "sim: a seed says what it draws, and its trace is the same each time" {
    cd "$BATS_TEST_TMPDIR"
    run check sim --seed 7 --nodes 3
    assert_success
    assert_line --regexp '^seed 7: 3 voters, [0-9]+ clients'
    assert_line --regexp '^ +0  at [0-9.]+ s, for [0-9.]+ s: '
    check sim --seed 7 --trace first >/dev/null
    check sim --seed 7 --trace second >/dev/null
    cmp first second
    grep -q 'n1: term [0-9]*: ' first
    check sim --seed 7 --trace - | grep -q 'n1: starts'
    check sim --seed 8 --trace second >/dev/null
    run ! cmp -s first second
}

@test "sim: other builds run the same" {
    "$REPO/tests/sim/same.sh" 3 "$RAFTKV_BIN/raftkv-check" "$RAFTKV_TEST_BIN/raftkv-check"
}

@test "sim: parts of a run can be left out" {
    run check sim --seed 7 --faults none --without loss,drift,reads --clients 1 --until 2s
    assert_success
    refute_line --partial 'messages are lost'
    assert_line --partial ' 0 reads, 0 scans'
    assert_line --regexp '^faults: .*kill 0, kill-all 0'
    run check sim --seed 7 --faults 0,2
    assert_success
    assert_line --regexp '^ +0  at'
    refute_line --regexp '^ +1  at'
}

@test "sim: a campaign by time writes its figures" {
    cd "$BATS_TEST_TMPDIR"
    run check sim --time 1s --seeds 5..1000000 --jobs 1 --json figures.json
    assert_success
    jq -e '.first_seed == 5 and .seeds > 0 and .steps > 1000 and .events > .steps and .result == "ok"' figures.json
}

@test "sim: what is wrong is refused by name" {
    local args want
    while IFS='|' read -r args want; do
        # shellcheck disable=SC2086
        run check sim $args
        assert_failure 2
        assert_output --partial "$want"
    done <<'END'
--seed 0|--seed: '0'
--seed x|--seed: 'x'
--seeds 5|--seeds: '5'
--seeds 5..4|--seeds: '5..4'
--seeds 0..4|--seeds: '0..4'
--seeds 1..99999999999999999999|--seeds:
--seed 1 --seeds 1..2|either --seed or --seeds
--trace out|want --seed N
--seeds 1..2 --faults 1|want --seed N
--seed 1 --faults 64|--faults: '64'
--seed 1 --faults x|--faults: 'x'
--without nothing|--without: 'nothing'
--nodes 8|nodes
--nodes 0|nodes
--seed 1 --time 1s|not with --seed
--seed 1 --json out|not with --seed
--frob|--frob
1 2|too many arguments
END
    run check sim --seed 1 --trace "$BATS_TEST_TMPDIR/no/such"
    assert_failure 70
    assert_output --partial 'no/such'
    run check sim --seed 1 --trace /dev/full
    assert_failure 70
    assert_output --partial 'cannot write the trace'
    run check sim --seeds 1..2 --json "$BATS_TEST_TMPDIR/no/such"
    assert_failure 70
    assert_output --partial 'no/such'
}

@test "sim: where no process can be made nothing is said to hold" {
    local as=()
    [ "$(id -u)" -ne 0 ] || as=(setpriv --reuid=65534 --regid=65534 --clear-groups)
    "${as[@]}" test -x "$RAFTKV_BIN/raftkv-check" || skip "the program is out of reach"
    # The search for leaks would want a process, too.
    for args in '--seeds 1..2' '--seed 1'; do
        # shellcheck disable=SC2086
        ASAN_OPTIONS=${ASAN_OPTIONS-}:detect_leaks=0 run "${as[@]}" bash -c 'ulimit -u 0; exec "$@"' - "$RAFTKV_BIN/raftkv-check" sim $args
        assert_failure 70
        refute_line 'no violation'
        assert_output --partial 'process'
    done
}

@test "commands: help, version, and what is none" {
    run check --help
    assert_success
    assert_line --regexp '^  sim +run whole clusters'
    run check sim --help
    assert_success
    assert_line --partial '--seeds'
    run check --version
    assert_success
    assert_output --regexp '^raftkv-check [0-9]'
    run check
    assert_failure 2
    run check frob
    assert_failure 2
    assert_output --partial "'frob'"
    run bash -c '"$RAFTKV_BIN/raftkv-check" sim --seeds 1..2 >/dev/full'
    assert_failure 70
    assert_output --partial 'cannot write'
}
