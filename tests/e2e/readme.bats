#!/usr/bin/env bats
# README's commands, executed as written: every ```sh block in order, in one shell, but for the ports, the directories in /tmp and
# the programs' place, which are this test's own.

load helper

script_of_readme() {
    awk '/^```sh$/ { block = 1; next } /^```$/ { block = 0 } block' "$REPO/README.md"
}

@test "README: every command of its sh blocks does what README says" {
    local a b c
    free_port a
    free_port b
    free_port c
    {
        echo 'set -e'
        script_of_readme
    } | sed -e "s/\b5001\b/$a/g" -e "s/\b5002\b/$b/g" -e "s/\b5003\b/$c/g" \
        -e "s|/tmp/raftkv-|$BATS_TEST_TMPDIR/|g" -e "s|^make\$|true|" \
        -e "s|^build/bin/|\$BIN/|; s|^\(\$BIN/raftkv-node\)|\1 --port $a|" \
        -e "s|&\$|2>>$BATS_TEST_TMPDIR/log \& pids=\"\$pids \$!\"|" >"$BATS_TEST_TMPDIR/readme.sh"
    # The first node names no port in README; a later --port wins over the one put in.
    echo "kill \$pids 2>/dev/null || true; wait" >>"$BATS_TEST_TMPDIR/readme.sh"
    sed -i "1i BIN=$RAFTKV_BIN; pids=; trap 'kill \$pids 2>/dev/null || true' EXIT" "$BATS_TEST_TMPDIR/readme.sh"

    cd "$REPO"
    run bash "$BATS_TEST_TMPDIR/readme.sh"
    assert_success
    assert_output --partial '"key":"greeting","value":"hello","version":'
    assert_output --partial '"deleted":true'
    assert_output --partial 'HTTP/1.1 412'
    assert_output --partial 'color'$'\t''blue'
    assert_output --partial 'fault tolerance  1'
}

@test "README: make deps demo and make deps test stand at its top" {
    run head -n 12 "$REPO/README.md"
    assert_output --partial 'make deps demo'
    assert_output --partial 'make deps test'
}
