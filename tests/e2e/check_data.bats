# raftkv-check data and replay: on the directories of real nodes, and on what they must refuse.
# shellcheck disable=SC2030,SC2031,SC2154
load helper
load api

check() {
    "$RAFTKV_BIN/raftkv-check" "$@"
}

# Names, bytes and times of all files in a directory.
picture() {
    (cd "$1" && find . -printf '%p %s %m %T@ %C@\n' | sort && find . -type f -exec sha256sum {} + | sort)
}

data_dirs() {
    local name
    for name in $(all_nodes); do
        data_dir_of "$name"
    done
}

kill_all() {
    local name
    for name in $(running_nodes); do
        kill_node "$name"
    done
}

nothing_left() {
    [ -z "$(find "$TMPDIR" -maxdepth 1 -name 'raftkv-check-*')" ] || fail_with "left: $(ls "$TMPDIR")"
}

flushed() { # NODE KEYS: so many are in its file
    http GET "$1" /node && [ "$(the '.storage.keys')" -eq "$2" ] && holds '.digest.index == .index.applied'
}

all_flushed() {
    local name
    for name in $(running_nodes); do
        wait_until "$E2E_WAIT_SECONDS" flushed "$name" "$1"
    done
}

setup() {
    export TMPDIR=$BATS_TEST_TMPDIR
}

teardown() {
    [ -z "${open_dir:-}" ] || rm -rf "$open_dir"
    end_test
}

# One node, stopped, with keys k000001 … k000040 in its file.
one_stopped() {
    start_node node1
    wait_ready
    put_many node1 k 1 40
    all_flushed 40
    stop_node node1
    dir=$(data_dir_of node1)
}

@test "data, replay: nothing is wrong with nodes that were killed, and nothing is changed" {
    local dir before name
    start_cluster 3
    put_many "$(leader)" a 1 300
    ctl delete a000007 a000008
    ctl put --if-absent a000009 x || true
    start_standby node4
    ctl member add node4 "$(url_of node4)"
    put_many "$(leader)" b 1 200
    name=$(followers | head -n 1)
    ctl member remove "$name"
    put_many "$(leader)" c 1 50
    kill_all
    before=$BATS_TEST_TMPDIR/before
    for dir in $(data_dirs); do
        picture "$dir"
    done >"$before"
    # shellcheck disable=SC2046
    run check data $(data_dirs)
    assert_success
    assert_line 'result: nothing is wrong'
    for dir in $(data_dirs); do
        assert_line --partial "$dir/raft.db: member node"
    done
    for dir in $(data_dirs); do
        run check replay "$dir"
        assert_success
        assert_line --regexp "^$dir/kv\.1\.db: built anew from entry 1 on"
    done
    for dir in $(data_dirs); do
        picture "$dir"
    done | cmp - "$before"
    nothing_left
}

@test "data, replay: logs that were cut, a snapshot that was installed" {
    local dir lag generation
    start_cluster 3 --trailing-entries 50
    lag=$(followers | head -n 1)
    kill_node "$lag"
    put_many "$(leader)" a 1 600
    all_flushed 600
    put_many "$(leader)" b 1 100
    all_flushed 700
    restart_node "$lag"
    wait_ready
    all_flushed 700
    kill_all
    # shellcheck disable=SC2046
    run check data $(data_dirs)
    assert_success
    generation=$(find "$(data_dir_of "$lag")" -name 'kv.*.db' -printf '%f\n')
    [ "$generation" != kv.1.db ]
    assert_line --partial "$lag/data/$generation: applied up to"
    # Of what came before the log there is nothing but the state itself.
    run check replay "$(data_dir_of "$lag")"
    assert_failure 10
    assert_line --partial 'nothing to begin with (see --from)'
    nothing_left
}

@test "replay: --from an earlier state" {
    local dir
    start_node node1 --trailing-entries 60
    wait_ready
    put_many node1 a 1 150
    all_flushed 150
    stop_node node1
    dir=$(data_dir_of node1)
    cp "$dir"/kv.1.db* "$BATS_TEST_TMPDIR"
    restart_node node1
    wait_ready
    put_many node1 b 1 30
    all_flushed 180
    stop_node node1
    run check replay --from "$BATS_TEST_TMPDIR/kv.1.db" "$dir"
    assert_success
    assert_line --regexp 'built anew from entry 15[0-9] on, beginning with the snapshot at it'
    run check replay --from "$BATS_TEST_TMPDIR/none.db" "$dir"
    assert_failure 2
    assert_output --partial 'none.db: there is no such file'
    nothing_left
}

@test "data, replay: a row that was altered by hand is named" {
    local dir what
    one_stopped
    "$RAFTKV_TEST_TOOLS/kv-sql" "$dir/kv.1.db" "UPDATE kv SET value=x'58' WHERE key=x'6b303030303233'" # k000023
    run check data "$dir"
    assert_failure 9
    assert_line --regexp "^WRONG: $dir/kv\.1\.db: table kv, key 'k000023': entry [0-9]+, which is its version, puts another key, value or timestamp$"
    assert_line --regexp "^WRONG: $dir/kv\.1\.db: the digest of the rows of table kv is [0-9a-f]{32}, row 'digest' of table meta says [0-9a-f]{32}$"
    run check replay "$dir"
    assert_failure 9
    assert_line --regexp "^WRONG: $dir/kv\.1\.db: table kv, key 'k000023': another value, of 1 bytes, than the one of 8 bytes that entry [0-9]+ put$"
    for what in "DELETE FROM kv WHERE key=x'6b303030303233'|key 'k000023': missing, entry" \
        "INSERT INTO kv VALUES(x'6e6577', 3, 3, x'31')|key 'new': version 3, by the log there is no such key"; do
        "$RAFTKV_TEST_TOOLS/kv-sql" "$dir/kv.1.db" "${what%%|*}"
        run check replay "$dir"
        assert_failure 9
        assert_output --partial "${what#*|}"
    done
    nothing_left
}

@test "data: rot in the log and a lost entry are named" {
    local dir
    one_stopped
    cp -r "$dir" "$BATS_TEST_TMPDIR/other"
    sqlite3 "$dir/raft.db" "UPDATE log SET data=x'00' WHERE idx=20; DELETE FROM log WHERE idx=30"
    run check data "$dir"
    assert_failure 9
    assert_line --regexp "^WRONG: $dir/raft\.db: table log, row 20: entry 20: checksum"
    assert_line "WRONG: $dir/raft.db: table log, row 30: missing, the next one is 31"
    run check replay "$dir"
    assert_failure 9
    run check data "$BATS_TEST_TMPDIR/other" "$BATS_TEST_TMPDIR/other"
    assert_success
    assert_line --partial 'the same member'
}

@test "data, replay: a directory that a node uses is refused, and the node does not mind" {
    local dir pid
    start_node node1
    wait_ready
    dir=$(data_dir_of node1)
    pid=$(pid_of node1)
    for command in data replay; do
        run check $command "$dir"
        assert_failure 10
        assert_line "unknown: $dir: process $pid is using this data directory; stop it, or look at a copy"
    done
    put node1 a 1
    nothing_left
}

@test "data, replay: what is no data directory" {
    local command
    mkdir "$BATS_TEST_TMPDIR/empty" "$BATS_TEST_TMPDIR/foreign"
    : >"$BATS_TEST_TMPDIR/file"
    sqlite3 "$BATS_TEST_TMPDIR/foreign/raft.db" 'CREATE TABLE t(x)'
    for command in data replay; do
        run check $command "$BATS_TEST_TMPDIR/empty"
        assert_failure 2
        assert_output --partial 'not a data directory: there is neither raft.db nor kv.*.db'
        run check $command "$BATS_TEST_TMPDIR/nowhere"
        assert_failure 2
        assert_output --partial 'nowhere: cannot open the directory'
        run check $command "$BATS_TEST_TMPDIR/file"
        assert_failure 2
        run check $command "$BATS_TEST_TMPDIR/foreign"
        assert_failure 9
        assert_output --partial 'foreign/raft.db: '
        run check $command
        assert_failure 2
        run check $command --frob x
        assert_failure 2
        run check $command --temp-dir "$BATS_TEST_TMPDIR/nowhere" "$BATS_TEST_TMPDIR/foreign"
        assert_failure 10
        assert_output --partial 'cannot make a directory in'
    done
    run check replay a b
    assert_failure 2
    nothing_left
}

@test "data: what may not be read" {
    local dir as=()
    one_stopped
    # Root may read everything: somebody who may read all but the one file.
    open_dir=$(mktemp -d -p "$(dirname "$BATS_RUN_TMPDIR")" raftkv-open.XXXXXX)
    mkdir "$open_dir/n" "$open_dir/tmp"
    cp "$dir"/* "$open_dir/n"
    chmod -R a+rwX "$open_dir"
    chmod 000 "$open_dir/n/kv.1.db"
    [ "$(id -u)" -ne 0 ] || as=(setpriv --reuid=65534 --regid=65534 --clear-groups)
    "${as[@]}" test -x "$RAFTKV_BIN/raftkv-check" -a -x "$open_dir" || skip "nobody may not come here"
    TMPDIR=$open_dir/tmp run "${as[@]}" "$RAFTKV_BIN/raftkv-check" data "$open_dir/n"
    assert_failure 10
    assert_output --partial "$open_dir/n/kv.1.db: cannot open: Permission denied"
}

@test "data, replay: no room for the copy" {
    local command
    [ -x "$RAFTKV_TEST_BIN/raftkv-check" ] || skip "no $RAFTKV_TEST_BIN/raftkv-check"
    one_stopped
    echo 'raft.db write full' >"$BATS_TEST_TMPDIR/rules"
    export RAFTKV_TEST_VFS_CONTROL=$BATS_TEST_TMPDIR/rules
    for command in data replay; do
        run "$RAFTKV_TEST_BIN/raftkv-check" "$command" "$dir"
        assert_failure 10
        assert_output --partial "no room for a copy of $dir: it takes "
    done
    nothing_left
}

@test "data: a signal ends it, and leaves no copy" {
    local pid signal status rules=$BATS_TEST_TMPDIR/rules
    [ -x "$RAFTKV_TEST_BIN/raftkv-check" ] || skip "no $RAFTKV_TEST_BIN/raftkv-check"
    one_stopped
    for signal in INT TERM HUP; do
        echo 'raft.db write stall' >"$rules"
        # A shell in between would have the background process ignore SIGINT.
        RAFTKV_TEST_VFS_CONTROL=$rules env --default-signal=INT "$RAFTKV_TEST_BIN/raftkv-check" \
            data "$dir" 3>&- 4>&- >/dev/null 2>&1 &
        pid=$!
        wait_until "$E2E_WAIT_SECONDS" copy_begun
        kill -"$signal" "$pid"
        status=0
        wait "$pid" || status=$?
        [ "$status" -eq $((128 + $(kill -l "$signal"))) ]
        nothing_left
    done
}

copy_begun() {
    [ -n "$(find "$TMPDIR" -path '*/raftkv-check-*/copy/lock')" ]
}
