# raftkv-check history: verdicts of recorded histories, what it says of violations, how it ends, what it refuses, and its page in
# a browser.
# shellcheck disable=SC2030,SC2031,SC2154
load helper

HISTORIES=$REPO/tests/histories

check() {
    "$RAFTKV_BIN/raftkv-check" "$@"
}

# write_history NAME: standard input into a file of the test; sets file
write_history() {
    file=$BATS_TEST_TMPDIR/$1
    cat >"$file"
}

stale_read() {
    write_history "$1" <<'END'
{"process":0,"type":"invoke","op":"put","key":"k","value":"old","time":10}
{"process":0,"type":"ok","op":"put","key":"k","time":20}
{"process":0,"type":"invoke","op":"put","key":"k","value":"new","time":30}
{"process":1,"type":"invoke","op":"get","key":"k","time":35}
{"process":0,"type":"ok","op":"put","key":"k","time":40}
{"process":1,"type":"ok","op":"get","key":"k","value":"new","time":50}
{"process":2,"type":"invoke","op":"get","key":"k","time":60}
{"process":2,"type":"ok","op":"get","key":"k","value":"old","time":70}
END
}

@test "history: all recorded histories have the verdicts that are known" {
    local name format verdict status want seen=0
    while IFS=$'\t' read -r name format verdict; do
        [ "$name" != file ] || continue
        case $verdict in
        linearizable) want=0 ;;
        not-linearizable) want=9 ;;
        *) fail_with "$name: what is $verdict?" ;;
        esac
        case $format in
        jepsen-log) format=jepsen ;;
        edn-*) format=edn ;;
        esac
        for options in "" "--format $format --method search"; do
            status=0
            # shellcheck disable=SC2086
            check history $options "$HISTORIES/$name" >"$BATS_TEST_TMPDIR/out" 2>&1 || status=$?
            [ "$status" = "$want" ] || fail_with "$name $options: $status, want $want: $(<"$BATS_TEST_TMPDIR/out")"
        done
        seen=$((seen + 1))
    done <"$HISTORIES/VERDICTS.tsv"
    [ "$seen" = 125 ]
}

@test "history: a violation is shown with the smallest set of operations, and the first return that breaks it" {
    stale_read stale.json
    run check history "$file"
    assert_failure 9
    assert_line --regexp 'stale.json: not linearizable: 4 operations of 3 processes, 0 of unknown outcome; 1 part by zones$'
    assert_line --regexp '^key "k", by zones: the value of the put of line 1 '
    assert_line '3 of its 4 operations, which no order explains:'
    assert_line --regexp '^    process 0    lines 1-2 +put "k" "old"$'
    assert_line --regexp '^    process 0    lines 3-5 +put "k" "new"$'
    assert_line --regexp '^  \* process 2    lines 7-8 +get "k" -> "old"$'
    assert_line 'Up to the return in line 8 it is linearizable, with it (*) no longer.'
    run check history --method search "$file"
    assert_failure 9
    assert_line --partial '1 part by search'
    run check history "$file" "$HISTORIES/kv/c10-ok.txt"
    assert_failure 9
    assert_line --partial 'c10-ok.txt: linearizable'
}

@test "history: indexes in the replies are used, and say more than values" {
    write_history lost.json <<'END'
{"process":0,"type":"invoke","op":"put","key":"k","value":"a"}
{"process":0,"type":"ok","version":5}
{"process":0,"type":"invoke","op":"put","key":"k","value":"a"}
{"process":0,"type":"ok","version":4}
END
    run check history "$file"
    assert_failure 9
    assert_line --regexp 'by index: the put of line 3 stands at 4 in the log, but what stands at 5 had been told'
    run check history --method search "$file"
    assert_success
}

@test "history: a method that does not fit is refused, and says why" {
    stale_read stale.json
    run check history --method index "$file"
    assert_failure 2
    assert_output --partial '--method index does not fit: the put of line 1 bears no version'
    run check history --method zones "$HISTORIES/kv/c01-ok.txt"
    assert_failure 2
    assert_output --partial '--method zones does not fit: the append of line 1 is neither put nor get'
}

@test "history: what a limit ends is inconclusive, never ok" {
    local maker=$RAFTKV_TEST_TOOLS/history-make
    "$maker" 20000 10 values >"$BATS_TEST_TMPDIR/long.json"
    run check history --memory 1MiB "$BATS_TEST_TMPDIR/long.json"
    assert_failure 10
    assert_line 'inconclusive: --memory ended it, nothing is violated so far'
    "$maker" 300000 10 repeated >"$BATS_TEST_TMPDIR/long.json"
    run check history --time 1ms "$BATS_TEST_TMPDIR/long.json"
    assert_failure 10
    assert_line 'inconclusive: --time ended it, nothing is violated so far'
}

@test "history: what the maker makes is linearizable, by every method that its replies allow" {
    local mix
    for mix in values indexes scans repeated; do
        "$RAFTKV_TEST_TOOLS/history-make" 20000 10 "$mix" 7 >"$BATS_TEST_TMPDIR/$mix.json"
        run check history "$BATS_TEST_TMPDIR/$mix.json"
        assert_success
        case $mix in
        values) assert_output --partial '10 parts by zones' ;;
        indexes) assert_output --partial 'by index' ;;
        scans) assert_output --partial '1 part by index' ;;
        repeated) assert_output --partial '10 parts by search' ;;
        esac
    done
    # A reply that cannot be, in the middle.
    sed '20001,$ s/\("ok","op":"get",.*"value":\)"v[0-9]*"/\1"v0"/' "$BATS_TEST_TMPDIR/values.json" >"$BATS_TEST_TMPDIR/bad.json"
    run check history "$BATS_TEST_TMPDIR/bad.json"
    assert_failure 9
}

@test "history: what is no history is refused with file and line" {
    local text want
    while IFS='|' read -r text want; do
        printf '%b' "$text" >"$BATS_TEST_TMPDIR/bad"
        run check history "$BATS_TEST_TMPDIR/bad"
        assert_failure 2
        assert_output --partial "raftkv-check: history: $BATS_TEST_TMPDIR/bad:$want"
    done <<'END'
| no operations in it
\n\n| no operations in it
hello\n|1: the line does not begin with "INFO  jepsen.util - ", nor is it JSON or EDN
{"process":1,"type":"invoke","op":"get","key":"k"}\n{"process":1,"ty|2: column 17: the text ends in a string (the file ends in this line)
{"process":1,"type":"invoke","op":"get","key":"k"}\n{"process":1,"type":"invoke","op":"get","key":"k"}\n|2: process 1 invokes while its operation of line 1 has not returned
{"process":1,"type":"invoke","op":"get","key":"k"}\n{"process":1,"type":"info"}\n{"process":1,"type":"invoke","op":"get","key":"k"}\n|3: process 1 goes on after an outcome that it does not know
[{:process 1, :type :invoke, :f :read, :value nil}\n|2: the file ends, and its vector is not closed
END
    run check history --format json "$HISTORIES/kv/c01-ok.txt"
    assert_failure 2
    assert_output --partial "c01-ok.txt:1: column 2: '\"' is wanted for a string"
}

@test "history: files, options and outputs that do not work are said, and end with their status" {
    local args want
    stale_read stale.json
    while IFS='|' read -r args want; do
        # shellcheck disable=SC2086
        run check history $args
        assert_failure 2
        assert_output --partial "$want"
    done <<END
|too few arguments
$file.missing|cannot open $file.missing: No such file
$BATS_TEST_TMPDIR|cannot read $BATS_TEST_TMPDIR: Is a directory
--format xml $file|format
--method fast $file|method
--memory 1 $file|memory
--time 5 $file|time
--html x $file $file|--html shows one FILE, not 2
--json $BATS_TEST_TMPDIR/no/x $file|cannot write $BATS_TEST_TMPDIR/no/x
END
    run check history "$file.missing" "$HISTORIES/kv/c01-ok.txt"
    assert_failure 2
    assert_output --partial 'c01-ok.txt: linearizable'
    local status=0
    check history "$HISTORIES/kv/c01-ok.txt" >/dev/full 2>"$BATS_TEST_TMPDIR/err" || status=$?
    [ "$status" = 70 ]
    grep -q 'cannot write the output: No space left' "$BATS_TEST_TMPDIR/err"
    run check history --html /dev/full "$file"
    assert_failure 70
    assert_output --partial 'cannot write /dev/full'
    run check history --json /dev/full "$HISTORIES/kv/c01-ok.txt"
    assert_failure 70
    run check history - <"$HISTORIES/kv/c01-ok.txt"
    assert_success
}

@test "history: --json says the same to scripts" {
    stale_read stale.json
    run check history --json - "$file" "$HISTORIES/kv/c01-ok.txt"
    assert_failure 9
    [ "$(jq -rs '.[0] | "\(.format) \(.result) \(.method) \(.lines) \(.breaks_at_line) \(.smallest)"' <<<"$output")" = \
        'json not linearizable zones [1,3,7] 8 true' ]
    [ "$(jq -rs '.[1] | "\(.format) \(.result) \(.operations)"' <<<"$output")" = 'edn linearizable 58' ]
}

@test "history: the page in a browser: bars in time, the impossible one red, details on hover, nothing from outside" {
    stale_read stale.json
    run check history --html "$BATS_TEST_TMPDIR/page.html" "$file"
    assert_failure 9
    run grep -ciE '<script|https?://|src=|url\(' "$BATS_TEST_TMPDIR/page.html"
    assert_output 0
    HOME=$BATS_TEST_TMPDIR run /usr/bin/python3 "$REPO/tests/e2e/history_page.py" "$BATS_TEST_TMPDIR/page.html"
    assert_success
    assert_line 'bars 4, fits 3, shows 3'
    assert_line 'impossible: line 7, red, right of all that returned before'
    assert_line 'hidden before: True'
    assert_line 'get "k" -> "old"'
    assert_line 'process 2, called in line 7 at 60 ns'
    assert_line 'complaints: 0'
}
