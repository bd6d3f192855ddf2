# What `make install` puts where, and what the shell's completion makes of it.
# shellcheck disable=SC2030,SC2031,SC2154
load helper

# complete WORD…: what bash would offer for the last of the words, in one line, sorted.
complete_words() {
    local COMPREPLY=() COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
    "_${1//-/_}"
    printf '%s\n' "${COMPREPLY[@]}" | sort | paste -sd' ' -
}

@test "make install: programs, man pages and completions below DESTDIR and PREFIX" {
    local root="$BATS_TEST_TMPDIR/a root" program
    [ "$RAFTKV_BIN" = "$REPO/build/bin" ] || skip "another build is under test"
    env -u MAKEFLAGS -u MAKELEVEL -u VARIANT make -s -C "$REPO" install PREFIX=/opt/raftkv DESTDIR="$root"
    for program in raftkv-node raftkv-ctl raftkv-check raftkv-bench; do
        run "$root/opt/raftkv/bin/$program" --version
        assert_success
        assert_output --partial "$program"
        cmp "$REPO/man/$program.1" "$root/opt/raftkv/share/man/man1/$program.1"
        bash -n "$root/opt/raftkv/share/bash-completion/completions/$program"
    done
    assert_equal "$(ls "$root")" opt
    assert_equal "$(ls "$root/opt/raftkv")" $'bin\nshare'
}

@test "completion of raftkv-ctl: commands, what follows them, their options" {
    cd "$BATS_TEST_TMPDIR"
    eval "$("$REPO/completions/bash.sh" "$RAFTKV_BIN/raftkv-ctl")"
    assert_equal "$(complete_words raftkv-ctl le)" leader
    assert_equal "$(complete_words raftkv-ctl s)" 'scan status'
    assert_equal "$(complete_words raftkv-ctl --out)" --output
    assert_equal "$(complete_words raftkv-ctl --if)" ''
    assert_equal "$(complete_words raftkv-ctl put --if)" '--if-absent --if-version'
    assert_equal "$(complete_words raftkv-ctl --timeout 1s scan --k)" --keys-only
    assert_equal "$(complete_words raftkv-ctl put k --end)" --endpoints
    assert_equal "$(complete_words raftkv-ctl member '')" 'add list promote remove replace'
    assert_equal "$(complete_words raftkv-ctl leader '')" transfer
    touch value.json
    assert_equal "$(complete_words raftkv-ctl put k --file val)" value.json
}

@test "completion of raftkv-node: its options" {
    cd "$BATS_TEST_TMPDIR"
    eval "$("$REPO/completions/bash.sh" "$RAFTKV_BIN/raftkv-node")"
    assert_equal "$(complete_words raftkv-node --data)" --data-dir
    assert_equal "$(complete_words raftkv-node --port 1 --st)" --standby
}

@test "completion of raftkv-bench: its options, and those of compare" {
    cd "$BATS_TEST_TMPDIR"
    eval "$("$REPO/completions/bash.sh" "$RAFTKV_BIN/raftkv-bench")"
    assert_equal "$(complete_words raftkv-bench --key)" '--key-file --key-order --key-prefix --keys'
    assert_equal "$(complete_words raftkv-bench com)" compare
    assert_equal "$(complete_words raftkv-bench compare --)" '--help --worse'
}
