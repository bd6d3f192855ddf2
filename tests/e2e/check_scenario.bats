# raftkv-check scenario: the scripts of tests/scenarios, and what happens when one goes otherwise than it
# says, is no script, or cannot be read or rewritten.
# shellcheck disable=SC2030,SC2031,SC2154
load helper

scenario() {
    "$RAFTKV_BIN/raftkv-check" scenario "$@"
}

setup() {
    cd "$BATS_TEST_TMPDIR" || return
    cp "$REPO"/tests/scenarios/figure-7.txt .
    # The first line of what the first `deliver to leader` brings about is another one here.
    sed '0,/leader: as pre_candidate: a grants its vote/s//leader: as pre_candidate: a refuses its vote/' \
        figure-7.txt >changed.txt
    changed=$(($(grep -n 'a refuses its vote' changed.txt | cut -d: -f1) - 1))
}

# stderr is one line that begins with the program's name, and names $1; nothing is on stdout.
assert_usage() {
    [ "$status" -eq 2 ] || fail_with "exit status $status"
    [ -z "$output" ] || fail_with "stdout: $output"
    [[ $stderr == raftkv-check:* ]] || fail_with "stderr: $stderr"
    [ "$(wc -l <<<"$stderr")" -eq 1 ] || fail_with "more than a line: $stderr"
    [[ $stderr == *"$1"* ]] || fail_with "does not name '$1': $stderr"
}

@test "every script of tests/scenarios is decided as it says" {
    local file count
    for file in "$REPO"/tests/scenarios/*.txt; do
        run --separate-stderr scenario "$file"
        [ "$status" -eq 0 ] || fail_with "$output" "$stderr"
        [ -z "$stderr" ]
        assert_output --regexp '^1 script, [0-9]+ commands: decided as expected$'
    done
    count=$(find "$REPO/tests/scenarios" -name '*.txt' | wc -l)
    [ "$count" -ge 20 ]
    run scenario "$REPO"/tests/scenarios/*.txt
    assert_success
    assert_output --regexp "^$count scripts, [0-9]+ commands: decided as expected\$"
}

@test "every script is decided as it says with sanitizers and assertions of the libraries, too" {
    run "$RAFTKV_TEST_BIN/raftkv-check" scenario "$REPO"/tests/scenarios/*.txt
    assert_success
}

@test "every script begins with a title and says where the situation is from" {
    local file
    for file in "$REPO"/tests/scenarios/*.txt; do
        run sed -n '1s/^# [^ ].*/title/p; 2s/^#$/line/p; 3s/^# [^ ].*/prose/p' "$file"
        assert_output $'title\nline\nprose' || fail_with "$file"
        sed '/^cluster/,$d' "$file" | grep -qE 'section|Section|issue|Figure|raft-dev|etcd' ||
            fail_with "$file does not say where it is from"
        sed '/^cluster/,$d' "$file" | grep -qE 'What must happen|is not enough' ||
            fail_with "$file does not say what must happen"
    done
}

@test "a changed expectation: exit status 9, and a difference with file and line" {
    run --separate-stderr scenario changed.txt
    assert_equal "$status" 9
    [ -z "$stderr" ]
    assert_line --index 0 '--- changed.txt'
    assert_line --index 2 "@@ changed.txt:$changed: deliver to leader"
    assert_line --index 3 '-   leader: as pre_candidate: a refuses its vote'
    assert_line --index 4 '+   leader: as pre_candidate: a grants its vote'
    assert_line --index 5 '    leader: as pre_candidate: b grants its vote'
    [ "$(grep -c '^@@' <<<"$output")" -eq 1 ]
}

@test "among several scripts the one that differs is shown, and the others are still run" {
    run scenario changed.txt figure-7.txt
    assert_equal "$status" 9
    [ "$(grep -c '^+++' <<<"$output")" -eq 1 ]
    run scenario figure-7.txt changed.txt
    assert_equal "$status" 9
    run --separate-stderr scenario missing.txt changed.txt
    assert_equal "$status" 2
    assert_line "@@ changed.txt:$changed: deliver to leader"
    [[ $stderr == *missing.txt* ]]
}

@test "--rewrite puts the decisions back byte for byte, and leaves mode and good files alone" {
    local before
    chmod 640 changed.txt
    run --separate-stderr scenario --rewrite changed.txt figure-7.txt
    assert_success
    assert_output 'changed.txt: rewritten, 1 difference'
    cmp changed.txt "$REPO/tests/scenarios/figure-7.txt"
    assert_equal "$(stat -c %a changed.txt)" 640
    assert_equal "$(echo changed.txt* figure-7.txt*)" 'changed.txt figure-7.txt'
    cp "$REPO"/tests/scenarios/figure-7.txt link-target
    sed -i '/^ /d' link-target
    ln -s link-target linked.txt
    run scenario --rewrite linked.txt
    assert_success
    [ -L linked.txt ]
    cmp link-target "$REPO/tests/scenarios/figure-7.txt"
    before=$(stat -c %i,%y figure-7.txt)
    run scenario --rewrite figure-7.txt
    assert_success
    assert_equal "$(stat -c %i,%y figure-7.txt)" "$before"
}

@test "--rewrite makes any script whole again from its comments and commands" {
    local file name
    for file in "$REPO"/tests/scenarios/*.txt; do
        name=$(basename "$file")
        grep -v '^ ' "$file" >"$name"
        scenario --rewrite "$name"
        cmp "$name" "$file"
    done
}

# A script that says of a log that it is committed, and it is not: other entries are applied.
@test "what does not hold is exit status 9, with file and line, and never rewritten" {
    cat >false.txt <<'END'
cluster a b c
log a terms 1 1 commit 2
log b terms 1 2
log c terms 1 2
crash a
quietly timeout b
quietly deliver all
state
END
    cp false.txt before.txt
    run --separate-stderr scenario --rewrite false.txt
    assert_equal "$status" 9
    [ -z "$stderr" ]
    assert_line 'false.txt:7: BREACH: State Machine Safety: node b applies another entry at 2'
    cmp false.txt before.txt
    # As it is when all the rest is as expected.
    scenario -v false.txt | sed '/^--- /,$d' >expected.txt || true
    run scenario expected.txt
    assert_equal "$status" 9
    assert_output --regexp '^expected.txt:7: BREACH: State Machine Safety'
}

@test "-v prints the script with what is decided" {
    grep -v '^ ' figure-7.txt >bare.txt
    run --separate-stderr scenario -v figure-7.txt
    assert_success
    assert_equal "$output" "$(<figure-7.txt)"
    run scenario -v bare.txt
    assert_equal "$status" 9
    assert_line '    leader: as pre_candidate: a grants its vote'
}

@test "a script that is none: exit status 2, and file and line are named" {
    printf 'cluster a b c\n\nfrobnicate a\n' >bad.txt
    run --separate-stderr scenario bad.txt
    assert_usage "bad.txt:3: no command is called 'frobnicate'"
    printf 'cluster a b c\ndeliver a d\n' >bad.txt
    run --separate-stderr scenario --rewrite bad.txt
    assert_usage "bad.txt:2: no node is called 'd': want"
    printf '    a: leads\n' >bad.txt
    run --separate-stderr scenario bad.txt
    assert_usage 'bad.txt:1: no command stands above this'
    : >bad.txt
    run --separate-stderr scenario bad.txt
    assert_usage 'bad.txt: no commands'
    printf 'cluster a\0b\n' >bad.txt
    run --separate-stderr scenario bad.txt
    assert_usage 'bad.txt:1: no line of a script'
    head -c 2000000 /dev/zero | tr '\0' '#' >bad.txt
    run --separate-stderr scenario bad.txt
    assert_usage 'bad.txt: a script has 1048576 bytes at most'
    head -c 100000 /dev/urandom >bad.txt
    run --separate-stderr scenario bad.txt
    assert_equal "$status" 2
}

@test "a file that cannot be read: exit status 2, and it is named" {
    run --separate-stderr scenario missing.txt
    assert_usage 'cannot open missing.txt: No such file or directory'
    run --separate-stderr scenario .
    assert_usage 'cannot read .: Is a directory'
    run --separate-stderr scenario
    assert_usage 'too few arguments: want [options] FILE…'
    run --separate-stderr scenario --frob figure-7.txt
    assert_usage --frob
}

@test "a file that cannot be rewritten: exit status 2, and it stays as it was" {
    local as=()
    [ "$(id -u)" -ne 0 ] || as=(setpriv --reuid=65534 --regid=65534 --clear-groups)
    "${as[@]}" test -x "$RAFTKV_BIN/raftkv-check" || skip "the program is out of reach"
    chmod 755 . ..
    mkdir shut
    cp changed.txt shut/
    chmod 444 shut/changed.txt
    chmod 555 shut
    run --separate-stderr "${as[@]}" "$RAFTKV_BIN/raftkv-check" scenario --rewrite shut/changed.txt
    assert_usage 'cannot rewrite shut/changed.txt'
    cmp changed.txt shut/changed.txt
    # The file may be written, its folder not.
    chmod 666 shut/changed.txt
    run --separate-stderr "${as[@]}" "$RAFTKV_BIN/raftkv-check" scenario --rewrite shut/changed.txt
    assert_usage 'cannot rewrite shut/changed.txt'
    cmp changed.txt shut/changed.txt
    chmod 755 shut
}

@test "an output that cannot be written is no success" {
    to_full() { scenario figure-7.txt >/dev/full; }
    run --separate-stderr to_full
    assert_equal "$status" 70
    [[ $stderr == 'raftkv-check: cannot write the output: '* ]]
}
