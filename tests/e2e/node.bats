# One process: where it listens, a log that nobody reads, a stop with requests under way.
# shellcheck disable=SC2016,SC2030,SC2031,SC2154,SC2317
load helper
load api
load cluster

teardown() {
    [ -z "${other:-}" ] || kill -KILL "$other" 2>/dev/null || true
    end_test
}

# A node outside of helper.bash, its standard error where the caller wants it.
run_node() { # [FLAG…]; sets port, other
    free_port port
    "$RAFTKV_BIN/raftkv-node" --port "$port" --data-dir "$BATS_TEST_TMPDIR/data" "$@" 3>&- 4>&- &
    other=$!
}

answers_at() { # URL
    curl -sf --max-time 2 -o /dev/null "$1/readyz"
}

one_is() { # METRIC, of node1
    [ "$(metric_of node1 "$1")" = 1 ]
}

@test "it listens on IPv6" {
    local port
    run_node --host ::1 2>"$BATS_TEST_TMPDIR/log"
    wait_until "$E2E_WAIT_SECONDS" answers_at "http://[::1]:$port" || {
        grep -q 'ddress' "$BATS_TEST_TMPDIR/log" && skip "no IPv6 here"
        return 1
    }
    http PUT "http://[::1]:$port" /kv/a --data-binary x
    replied 200
    http GET "http://[::1]:$port" /status
    holds '.members[0].url == $u' --arg u "http://[::1]:$port"
    kill -TERM "$other"
    wait "$other"
    other=
}

@test "it listens on all addresses, and advertises one" {
    local port
    free_port port
    "$RAFTKV_BIN/raftkv-node" --port "$port" --data-dir "$BATS_TEST_TMPDIR/data" --host 0.0.0.0 \
        --advertise "http://127.0.0.1:$port" 3>&- 2>"$BATS_TEST_TMPDIR/log" &
    other=$!
    wait_until "$E2E_WAIT_SECONDS" answers_at "http://127.0.0.1:$port"
    http GET "http://127.0.0.2:$port" /status
    holds '.members[0].url == $u' --arg u "http://127.0.0.1:$port"
    kill -TERM "$other"
    wait "$other"
    other=
}

@test "a log that nobody reads holds nothing up" {
    local port i
    mkfifo "$BATS_TEST_TMPDIR/pipe"
    exec 9<>"$BATS_TEST_TMPDIR/pipe" # open, and never read
    run_node --log-level debug 2>"$BATS_TEST_TMPDIR/pipe"
    wait_until "$E2E_WAIT_SECONDS" answers_at "http://127.0.0.1:$port"
    # A line for each, of what the message says: more than pipe and queue hold.
    for ((i = 0; i < 400; i++)); do
        printf 'POST\t/raft/message\t{"%s":1}\n' "$(printf 'x%.0s' {1..200})"
    done >"$BATS_TEST_TMPDIR/lines"
    for i in {1..20}; do
        cat "$BATS_TEST_TMPDIR/lines"
    done | requests "http://127.0.0.1:$port"
    http PUT "http://127.0.0.1:$port" /kv/a --data-binary x --max-time 5
    replied 200
    http GET "http://127.0.0.1:$port" /metrics
    [ "$(awk '$1 == "raftkv_peer_refused_total" { print $2 }' <<<"$http_body")" -eq 8000 ]
    kill -TERM "$other"
    wait "$other"
    other=
    exec 9>&-
}

@test "SIGTERM with a write that cannot end: answered unknown, in time" {
    local rules=$BATS_TEST_TMPDIR/rules began answer
    [ -x "$RAFTKV_TEST_BIN/raftkv-node" ] || skip "no test build"
    : >"$rules"
    NODE_PROGRAM=$RAFTKV_TEST_BIN/raftkv-node RAFTKV_TEST_VFS_CONTROL=$rules start_node node1
    wait_ready node1
    put node1 a x
    echo 'raft.db sync stall' >"$rules.new"
    mv "$rules.new" "$rules"
    answer=$BATS_TEST_TMPDIR/answer
    curl -s --max-time 40 -X PUT -d y "$(url_of node1)/kv/b?timeout=30s" >"$answer" 3>&- &
    local client=$!
    wait_until "$E2E_WAIT_SECONDS" one_is raftkv_pending_writes
    began=$SECONDS
    signal_node node1 TERM
    wait "$client"
    [ $((SECONDS - began)) -le 8 ]
    http_body=$(<"$answer")
    holds '.error.outcome == "unknown"'
    : >"$rules.new"
    mv "$rules.new" "$rules"
    run wait_exit node1 10
    assert_success
    RAFTKV_TEST_VFS_CONTROL=$rules restart_node node1
    wait_ready node1
    http GET node1 '/kv/a?raw'
    [ "$http_body" = x ]
}

@test "a reader that waits and a stop: answered, exit 0" {
    local began answer=$BATS_TEST_TMPDIR/answer
    start_node node1
    wait_ready node1
    curl -s --max-time 40 "$(url_of node1)/kv/b?timeout=30s&min_index=1000" >"$answer" 3>&- &
    local client=$!
    wait_until "$E2E_WAIT_SECONDS" one_is raftkv_pending_reads
    began=$SECONDS
    signal_node node1 TERM
    run wait_exit node1 15
    assert_success
    wait "$client"
    [ $((SECONDS - began)) -le 8 ]
    http_body=$(<"$answer")
    holds '.error.code | length > 0'
}

@test "SIGTERM again and again: it ends with 0 all the same" {
    local i pid
    for i in 1 2 3 4 5; do
        start_node "node$i"
        wait_ready "node$i"
        pid=$(pid_of "node$i")
        echo TERM >"$(node_dir "node$i")/expected"
        while kill -TERM "$pid" 2>/dev/null; do :; done
        wait_exit "node$i"
    done
}
