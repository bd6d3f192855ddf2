# Starts that must fail, clearly and without harm: flags, environment, configuration files,
# directories, ports, databases.
# shellcheck disable=SC2016,SC2030,SC2031,SC2154,SC2317
load helper
load api

teardown() {
    [ -z "${by_file:-}" ] || kill -KILL "$by_file" 2>/dev/null || true
    [ -z "${read_only:-}" ] || rm -r "$read_only"
    end_test
}

as=() # another user than this one

node() {
    run --separate-stderr timeout 20 "${as[@]}" "$RAFTKV_BIN/raftkv-node" "$@"
}

# Exit status 2, nothing on stdout, one line on stderr that begins with the program's name and has
# each of the words.
usage_error() { # WORD [WORD…] -- [FLAG…]
    local words=()
    while [ "$1" != -- ]; do
        words+=("$1")
        shift
    done
    shift
    node "$@"
    refuses 2 "${words[@]}" || fail_with "of: $*"
}

refuses() { # STATUS WORD…
    local word
    [ "$status" -eq "$1" ] || fail_with "status $status: $stderr" || return
    shift
    [ -z "$output" ] || fail_with "on stdout: $output" || return
    [[ $stderr == raftkv-node:* ]] || fail_with "stderr: $stderr" || return
    [ "$(wc -l <<<"$stderr")" -eq 1 ] || fail_with "more than a line: $stderr" || return
    for word; do
        [[ $stderr == *"$word"* ]] || fail_with "does not name $word: $stderr" || return
    done
}

# A start that fails later: not 0, no time-out, and the last line on stderr has the words.
start_fails() { # WORD… -- FLAG…
    local words=() word
    while [ "$1" != -- ]; do
        words+=("$1")
        shift
    done
    shift
    node "$@"
    [ "$status" -ne 0 ] && [ "$status" -ne 124 ] && [ "$status" -lt 128 ] ||
        fail_with "status $status: $stderr" || return
    for word in raftkv-node: "${words[@]}"; do
        [[ $(tail -n 1 <<<"$stderr") == *"$word"* ]] ||
            fail_with "does not name $word: $stderr" || return
    done
}

# ---- flags

@test "--help and --version are on stdout" {
    node --help
    [ "$status" -eq 0 ]
    [ -z "$stderr" ]
    assert_line --partial 'Usage: raftkv-node'
    for flag in node-id host port advertise data-dir cluster join standby election-timeout \
        heartbeat-interval read-mode log-level log-format config; do
        assert_line --regexp "^ +--$flag( |$)"
    done
    node -h
    [ "$status" -eq 0 ]
    node --version
    [ "$status" -eq 0 ]
    assert_output --regexp '^raftkv-node [0-9]+\.[0-9]+\.[0-9]+$'
}

@test "standard descriptors that are closed or full are never a file of the node" {
    local how
    export NODE="$RAFTKV_BIN/raftkv-node" DIR=$BATS_TEST_TMPDIR/data PORT PIDS=$BATS_TEST_TMPDIR/pid
    for how in '>/dev/full' '>&-'; do
        run --separate-stderr bash -c "\"\$NODE\" --help $how"
        refuses 70 'cannot write the output' || fail_with "of: $how"
    done
    free_port PORT
    bash -c '"$NODE" --data-dir "$DIR" --port "$PORT" <&- >&- 2>&- 3>&- 4>&- & echo $! >"$PIDS"; wait $!
        echo $? >"$PIDS.status"' &
    wait_until "$E2E_WAIT_SECONDS" curl -sf -o /dev/null "localhost:$PORT/readyz"
    by_file=$(<"$PIDS")
    for fd in 0 1 2; do
        assert_equal "$(readlink "/proc/$by_file/fd/$fd")" /dev/null
    done
    kill -TERM "$by_file"
    wait_until "$E2E_WAIT_SECONDS" test -s "$PIDS.status"
    by_file=
    assert_equal "$(<"$PIDS.status")" 0
}

@test "unknown flags, bad and missing values: exit status 2, one line that names them" {
    local flag dir=$BATS_TEST_TMPDIR/none
    usage_error --frob -- --frob
    usage_error frob -- frob
    usage_error -z -- -z
    for flag in --node-id --host --port --advertise --data-dir --cluster --join \
        --election-timeout --heartbeat-interval --read-mode --max-value-size --max-connections \
        --trailing-entries --allowed-hosts --log-level --log-format --config; do
        usage_error "$flag" -- "$flag"
    done
    for value in 0 -1 65536 x '' 5001x 1.5 99999999999999999999; do
        usage_error --port -- --port "$value" --data-dir "$dir"
    done
    for value in '' 'a b' a/b 'ä' "$(printf 'n%.0s' {1..65})" $'a\nb'; do
        usage_error --node-id -- --node-id "$value" --data-dir "$dir"
    done
    for value in 49ms 61s x -1ms 0 500 '' 1h 0.5s; do
        usage_error --election-timeout -- --election-timeout "$value" --data-dir "$dir"
    done
    for value in 4ms 21s x; do
        usage_error --heartbeat-interval -- --heartbeat-interval "$value" --data-dir "$dir"
    done
    usage_error --heartbeat-interval --election-timeout -- --heartbeat-interval 200ms \
        --data-dir "$dir"
    for value in strong '' LEASE lin; do
        usage_error --read-mode linearizable lease stale -- --read-mode "$value" --data-dir "$dir"
    done
    usage_error --log-level debug info warn error -- --log-level loud --data-dir "$dir"
    usage_error --log-format text json -- --log-format xml --data-dir "$dir"
    for value in 0 17MiB x 1MB; do
        usage_error --max-value-size -- --max-value-size "$value" --data-dir "$dir"
    done
    usage_error --max-connections -- --max-connections 15 --data-dir "$dir"
    usage_error --trailing-entries -- --trailing-entries -1 --data-dir "$dir"
    usage_error --standby -- --standby=maybe --data-dir "$dir"
    usage_error --data-dir -- --data-dir ''
    [ ! -e "$dir" ]
}

@test "addresses: --host, --advertise, --cluster, --join" {
    local dir=$BATS_TEST_TMPDIR/none value
    usage_error --host --advertise -- --host 0.0.0.0 --data-dir "$dir"
    for value in :: 0::0 0:0:0:0:0:0:0:0 ::ffff:0.0.0.0; do
        usage_error --host --advertise -- --host "$value" --data-dir "$dir"
    done
    for value in '' localhost '*' 300.1.1.1 127.1 '[::1]' ::1%lo node.example 127.0.0.1:5001; do
        usage_error --host "'$value'" IPv4 -- --host "$value" --data-dir "$dir"
    done
    for value in http://0.0.0.0:5001 http://0.0.0.0 'http://[::]:5001' 'http://[0::0]'; do
        usage_error --advertise "$value" -- --host 0.0.0.0 --advertise "$value" --data-dir "$dir"
    done
    for value in localhost:5001 ftp://localhost:1 https://localhost:1 http:// http://localhost/x \
        'http://a b:1' http://localhost:99999 'http://u@localhost:1' "http://$(printf 'x%.0s' {1..300})"; do
        usage_error --advertise -- --advertise "$value" --data-dir "$dir"
        usage_error --join -- --join "$value" --data-dir "$dir"
        usage_error --cluster -- --cluster "node1=$value" --data-dir "$dir"
    done
    usage_error --cluster -- --cluster '' --data-dir "$dir"
    usage_error --cluster -- --cluster node1 --data-dir "$dir"
    usage_error --cluster -- --cluster 'no de=http://127.0.0.1:5001' --data-dir "$dir"
    usage_error --cluster node1 -- --cluster node2=http://127.0.0.1:5002 --data-dir "$dir"
    usage_error --cluster node1 127.0.0.1:5009 -- --cluster node1=http://127.0.0.1:5009 \
        --data-dir "$dir"
    usage_error --cluster node2 -- --data-dir "$dir" \
        --cluster node1=http://127.0.0.1:5001,node2=http://127.0.0.1:2,node2=http://127.0.0.1:3
    usage_error --cluster twice -- --data-dir "$dir" \
        --cluster node1=http://127.0.0.1:5001,node2=http://127.0.0.1:5001
    usage_error --cluster -- --data-dir "$dir" \
        --cluster node1=http://127.0.0.1:5001,
    usage_error --join -- --join http://127.0.0.1:1,, --data-dir "$dir"
    usage_error --cluster --join -- --join http://127.0.0.1:1 --data-dir "$dir" \
        --cluster node1=http://127.0.0.1:5001
    usage_error --standby --join -- --join http://127.0.0.1:1 --standby --data-dir "$dir"
    for value in a,,b '' a.example:80 http://a.example 'a b' '[::1]'; do
        usage_error --allowed-hosts -- --allowed-hosts "$value" --data-dir "$dir"
    done
    [ ! -e "$dir" ]
    start_fails 192.0.2.1 -- --host 192.0.2.1 --data-dir "$dir" --port 20001
}

# ---- environment and file

node_says() { # NAME JQ: of GET /node
    curl -s --max-time 2 "$(url_of "$1")/node" | jq -r "$2"
}

@test "flags beat the environment, the environment beats the file" {
    local config=$BATS_TEST_TMPDIR/config.json
    echo '{"node-id": "file", "read-mode": "stale", "log-format": "json", "max-value-size": "7B"}' \
        >"$config"
    free_port port
    prepare_node flag
    RAFTKV_NODE_ID=environment RAFTKV_READ_MODE=lease start_node flag --config "$config"
    wait_ready flag
    [ "$(node_says flag .name)" = flag ]
    [ "$(head -n 1 "$(log_of flag)" | jq -r .node)" = flag ]
    http PUT flag /kv/k --data-binary 12345678
    refused 413 too_large
    holds '.error.limit == 7'
    kill_node flag
    restart_node flag --max-value-size 8B
    wait_ready flag
    http PUT flag /kv/k --data-binary 12345678
    replied 200
    kill_node flag
    # The environment names the file; a file's own numbers and words are as good as flags'.
    echo "{\"port\": $port, \"data-dir\": \"$BATS_TEST_TMPDIR/by-file\", \"standby\": true}" >"$config"
    RAFTKV_CONFIG=$config "$RAFTKV_BIN/raftkv-node" 3>&- 2>"$BATS_TEST_TMPDIR/by-file.log" &
    by_file=$!
    answers_there() {
        [ "$(curl -s "http://127.0.0.1:$port/node" | jq -r .state)" = forming ]
    }
    wait_until "$E2E_WAIT_SECONDS" answers_there
    kill -TERM "$by_file"
    wait "$by_file" || fail_with "status $?: $(<"$BATS_TEST_TMPDIR/by-file.log")"
    by_file=
    [ -d "$BATS_TEST_TMPDIR/by-file" ]
}

@test "errors of environment and file are named" {
    local config=$BATS_TEST_TMPDIR/config.json dir=$BATS_TEST_TMPDIR/none text
    RAFTKV_PORT=x usage_error RAFTKV_PORT -- --data-dir "$dir"
    RAFTKV_READ_MODE=fast usage_error RAFTKV_READ_MODE -- --data-dir "$dir"
    # No option of the environment: it may be anybody's.
    RAFTKV_VERSION=1.2.3 usage_error "$config" -- --config "$config" --data-dir "$dir"
    RAFTKV_STANDBY=maybe usage_error RAFTKV_STANDBY -- --data-dir "$dir"
    usage_error --config "$config" -- --config "$config" --data-dir "$dir"
    usage_error --config "$BATS_TEST_TMPDIR" -- --config "$BATS_TEST_TMPDIR" --data-dir "$dir"
    for text in '' x '[]' '{' '{"port": 1} x' '{"port": {}}' '{"port": [1]}' '{"port": null}' \
        '{"port": 1, "port": 2}'; do
        echo "$text" >"$config"
        usage_error "$config" -- --config "$config" --data-dir "$dir"
    done
    echo '{"prot": 5001}' >"$config"
    usage_error "$config" prot -- --config "$config" --data-dir "$dir"
    for text in '{"config": "x"}' '{"version": true}' '{"help": true}' '{"RAFTKV_PORT": 1}'; do
        echo "$text" >"$config"
        usage_error "$config" unknown -- --config "$config" --data-dir "$dir"
    done
    echo '{"port": 65536}' >"$config"
    usage_error "$config" port -- --config "$config" --data-dir "$dir"
    echo '{"port": "x"}' >"$config"
    usage_error "$config" port -- --config "$config" --data-dir "$dir"
    echo '{"read-mode": "fast"}' >"$config"
    usage_error "$config" read-mode -- --config "$config" --data-dir "$dir"
    head -c 2000000 /dev/zero >"$config"
    usage_error "$config" -- --config "$config" --data-dir "$dir"
    [ ! -e "$dir" ]
}

# ---- directories and ports

@test "a data directory that cannot be one" {
    local port
    free_port port
    echo x >"$BATS_TEST_TMPDIR/file"
    start_fails "$BATS_TEST_TMPDIR/file" -- --port "$port" --data-dir "$BATS_TEST_TMPDIR/file"
    start_fails "$BATS_TEST_TMPDIR/file/sub" -- --port "$port" \
        --data-dir "$BATS_TEST_TMPDIR/file/sub"
    start_fails /proc/nowhere -- --port "$port" --data-dir /proc/nowhere
    [ "$(<"$BATS_TEST_TMPDIR/file")" = x ]
    mkdir -p "$BATS_TEST_TMPDIR/taken/raft.db"
    start_fails "$BATS_TEST_TMPDIR/taken" -- --port "$port" --data-dir "$BATS_TEST_TMPDIR/taken"
}

@test "a directory that cannot be written to" {
    local port
    free_port port
    [ "$(id -u)" -ne 0 ] || as=(setpriv --reuid=65534 --regid=65534 --clear-groups)
    read_only=$(mktemp -d "${TMPDIR:-/tmp}/raftkv-read-only.XXXXXX")
    chmod 555 "$read_only"
    "${as[@]}" test -x "$RAFTKV_BIN/raftkv-node" -a -x "$read_only" || skip "nobody may not come here"
    start_fails "$read_only" -- --port "$port" --data-dir "$read_only"
    start_fails "$read_only/sub" -- --port "$port" --data-dir "$read_only/sub"
}

@test "a port that is taken" {
    start_node node1
    wait_ready node1
    start_fails "127.0.0.1:$(port_of node1)" -- --port "$(port_of node1)" \
        --data-dir "$BATS_TEST_TMPDIR/other"
    [ "$status" -eq 70 ]
    put node1 k v
}

@test "a second process on a data directory is refused, the first one goes on" {
    local port
    start_node node1
    wait_ready node1
    put node1 k v
    free_port port
    start_fails "$(data_dir_of node1)" "$(pid_of node1)" -- --port "$port" \
        --data-dir "$(data_dir_of node1)"
    [ "$status" -eq 4 ]
    put node1 k w
    kill_node node1
    restart_node node1
    wait_ready node1
    http GET node1 '/kv/k?raw'
    [ "$http_body" = w ]
}

# ---- databases

# A stopped node with some data, and a check that a start changes nothing in its directory.
stopped_node() { # [FLAG…]; sets dir and kv
    start_node node1 "$@"
    wait_ready node1
    put node1 findme "a-value-to-be-found"
    put_many node1 k/ 1 200
    wait_until "$E2E_WAIT_SECONDS" "${before_stop:-true}"
    ${stop:-stop_node} node1
    dir=$(data_dir_of node1)
    kv=$(basename "$dir"/kv.*.db)
}

damaged() { # FILE WORD…: refuses to start, names the file, deletes and changes nothing of it
    local file=$1 sum
    shift
    sum=$(md5sum <"$dir/$file")
    start_fails "$file" "$@" -- --port "$(port_of node1)" --data-dir "$dir"
    [ "$(md5sum <"$dir/$file")" = "$sum" ]
}

@test "raft.db: garbage, another application's, a newer format, cut short" {
    local dir kv
    stopped_node
    cp "$dir/raft.db" "$BATS_TEST_TMPDIR/whole"
    head -c 100000 /dev/urandom >"$dir/raft.db"
    damaged raft.db
    rm "$dir/raft.db"
    sqlite3 "$dir/raft.db" 'CREATE TABLE log (a, b); INSERT INTO log VALUES (1, 2)'
    damaged raft.db
    rm "$dir/raft.db"
    sqlite3 "$dir/raft.db" 'PRAGMA application_id = 77; CREATE TABLE photos (a)'
    damaged raft.db
    cp "$BATS_TEST_TMPDIR/whole" "$dir/raft.db"
    version=$(sqlite3 "$dir/raft.db" 'PRAGMA user_version')
    sqlite3 "$dir/raft.db" "PRAGMA user_version = $((version + 1))"
    damaged raft.db
    head -c 8192 "$BATS_TEST_TMPDIR/whole" >"$dir/raft.db"
    damaged raft.db
    cp "$BATS_TEST_TMPDIR/whole" "$dir/raft.db"
    restart_node node1
    wait_ready node1
    http GET node1 '/kv?prefix=k/'
    holds '.items | length == 200'
}

@test "kv.db: garbage, another application's, missing" {
    local dir kv
    stopped_node
    rm -f "$dir/$kv"-*
    head -c 100000 /dev/urandom >"$dir/$kv"
    damaged "$kv"
    rm "$dir/$kv"
    sqlite3 "$dir/$kv" 'CREATE TABLE kv (a, b)'
    damaged "$kv"
    # The log has everything: it is made anew.
    rm "$dir/$kv"*
    restart_node node1
    wait_ready node1
    http GET node1 '/kv?prefix=k/'
    holds '.items | length == 200'
}

@test "kv.db missing where the log was cut: refused" {
    local dir kv
    log_is_cut() {
        [ "$(curl -s "$(url_of node1)/node" | jq .index.first)" -gt 100 ]
    }
    before_stop=log_is_cut stopped_node --trailing-entries 10
    mkdir "$BATS_TEST_TMPDIR/whole"
    mv "$dir/$kv"* "$BATS_TEST_TMPDIR/whole"
    start_fails "$kv" -- --port "$(port_of node1)" --data-dir "$dir"
    [ ! -e "$dir/$kv" ]
    mv "$BATS_TEST_TMPDIR/whole"/* "$dir"
    restart_node node1
    wait_ready node1
    http GET node1 '/kv?prefix=k/'
    holds '.items | length == 200'
}

flip() { # FILE OFFSET…: one bit of each of these bytes
    perl -e 'open my $f, "+<", shift or die; binmode $f;
        for (@ARGV) { seek $f, $_, 0; read $f, my $b, 1; seek $f, $_, 0; print $f chr(ord($b) ^ 4) }' \
        "$@"
}

@test "a flipped bit in an entry of the log is found, and the row named" {
    local dir kv at=()
    stopped_node
    # It may stand in free pages too.
    mapfile -t at < <(grep -abo a-value-to-be-found "$dir/raft.db" | cut -d: -f1)
    [ ${#at[@]} -gt 0 ]
    flip "$dir/raft.db" "${at[@]}"
    damaged raft.db 3
    flip "$dir/raft.db" "${at[@]}"
    restart_node node1
    wait_ready node1
    http GET node1 '/kv/findme?raw'
    [ "$http_body" = a-value-to-be-found ]
}

@test "a flipped bit in the WAL is found; a torn end of it is not damage" {
    local dir kv size
    stop=kill_node stopped_node
    size=$(stat -c %s "$dir/raft.db-wal")
    [ "$size" -gt 20000 ]
    cp -r "$dir" "$BATS_TEST_TMPDIR/whole"
    flip "$dir/raft.db-wal" 3000
    damaged raft.db
    rm -r "$dir"
    cp -r "$BATS_TEST_TMPDIR/whole" "$dir"
    # Half a frame more, as a power loss may leave it.
    head -c 1000 /dev/urandom >>"$dir/raft.db-wal"
    restart_node node1
    wait_ready node1
    http GET node1 '/kv?prefix=k/'
    holds '.items | length == 200'
}

@test "a flipped bit in a row of kv.db is found when it is read: no answer, and the page named" {
    local dir kv at=()
    stopped_node
    # What is in the WAL yet is written into the file again at a start, which mends it.
    restart_node node1
    wait_ready node1
    stop_node node1
    mapfile -t at < <(grep -abo a-value-to-be-found "$dir/$kv" | cut -d: -f1)
    [ ${#at[@]} -gt 0 ]
    flip "$dir/$kv" "${at[@]}"
    run "$RAFTKV_BIN/raftkv-check" data "$dir"
    assert_failure 9
    assert_output --regexp "WRONG: $dir/$kv: page [0-9]+ is damaged: wrong checksum"
    restart_node node1
    wait_ready node1
    ! curl -sf "$(url_of node1)/kv/findme?raw" || fail_with 'it was answered'
    run wait_exit node1
    assert_failure 70
    assert_regex "$(cat "$(log_of node1)")" "error fatal .*$kv: page [0-9]+ is damaged: wrong checksum"
}

@test "another node's files: a foreign kv.db, and a directory under another name" {
    local dir kv
    stopped_node
    start_node other
    wait_ready other
    put other k v
    stop_node other
    cp -r "$dir" "$BATS_TEST_TMPDIR/whole"
    cp "$(data_dir_of other)/$kv"* "$dir"
    damaged "$kv"
    rm -r "$dir"
    cp -r "$BATS_TEST_TMPDIR/whole" "$dir"
    start_fails node1 elsewhere -- --node-id elsewhere --port "$(port_of node1)" --data-dir "$dir"
    restart_node node1
    wait_ready node1
}
