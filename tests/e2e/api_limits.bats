# What a node says when it cannot take more: over its limits, without time, while it stops.
# shellcheck disable=SC2016,SC2030,SC2031,SC2154,SC2317
load helper
load api
load cluster

teardown() {
    local pid
    for pid in "${clients[@]}"; do
        kill -KILL "$pid" 2>/dev/null || true
    done
    end_test
}

# A request in the background: its reply into $BATS_TEST_TMPDIR/held.N, its pid into $clients.
hold() { # CURL_ARGUMENT…
    curl -s --max-time 60 -w '\n%{http_code}\n' "$@" >"$BATS_TEST_TMPDIR/held.${#clients[@]}" 3>&- &
    clients+=($!)
}

metric_is() { # NODE METRIC VALUE
    [ "$(metric_of "$1" "$2")" = "$3" ]
}

now_ms() {
    date +%s%3N
}

# ---- a leader whose disk stands still

stall() { # NODE
    echo 'raft.db sync stall' >"$(node_dir "$1")/rules.new"
    mv "$(node_dir "$1")/rules.new" "$(node_dir "$1")/rules"
}

go_on() { # NODE
    : >"$(node_dir "$1")/rules.new"
    mv "$(node_dir "$1")/rules.new" "$(node_dir "$1")/rules"
}

with_disks() { # FLAG…: three nodes, each with rules of its own
    local name list=
    [ -x "$RAFTKV_TEST_BIN/raftkv-node" ] || skip "no test build"
    for name in node1 node2 node3; do
        prepare_node "$name"
        : >"$(node_dir "$name")/rules"
        list=$list,$name=$(url_of "$name")
    done
    for name in node1 node2 node3; do
        NODE_PROGRAM=$RAFTKV_TEST_BIN/raftkv-node \
            RAFTKV_TEST_VFS_CONTROL=$(node_dir "$name")/rules \
            start_node "$name" --cluster "${list#,}" "$@"
    done
    wait_ready
}

@test "more than may be pending: 429 with Retry-After, from leader and follower" {
    local value=$BATS_TEST_TMPDIR/value began i node
    # Long enough that the leader does not step down meanwhile.
    with_disks --election-timeout 8s --max-value-size 16MiB
    find_roles
    stall "$LEADER"
    # The rest of the time is passed on: it is the leader that says so.
    began=$(now_ms)
    http PUT "$FOLLOWER" '/kv/late?timeout=300ms' --data-binary x
    refused 504 timeout unknown
    [ $(($(now_ms) - began)) -lt 2500 ]
    [[ $(the .error.message) != *'did not answer'* ]]
    # 128 MiB may wait.
    head -c $((15 << 20)) /dev/zero >"$value"
    for i in {1..8}; do
        hold -X PUT --data-binary "@$value" "$(url_of "$LEADER")/kv/big$i?timeout=60s"
    done
    wait_until 8 metric_is "$LEADER" raftkv_pending_writes 8
    for node in "$LEADER" "$FOLLOWER"; do
        http PUT "$node" /kv/more --data-binary "@$value"
        refused 429 overloaded not_applied
        holds '.error.retryable and .error.retry_after_ms == 1000'
        [ "$(http_header Retry-After)" = 1 ]
        [ "$(http_header RaftKV-Node)" = "$node" ]
    done
    go_on "$LEADER"
    for i in "${!clients[@]}"; do
        wait "${clients[i]}"
        [ "$(tail -n 1 "$BATS_TEST_TMPDIR/held.$i")" = 200 ] ||
            fail_with "$(<"$BATS_TEST_TMPDIR/held.$i")"
    done
    clients=()
    http GET "$FOLLOWER" /kv/more
    refused 404 not_found
    http PUT "$FOLLOWER" /kv/more --data-binary x
    replied 200
}

# ---- a leader that does not answer, or is gone

@test "a leader that does not answer: 504 unknown in time; one that is gone: not applied" {
    local began
    start_cluster 3 --election-timeout 3s
    find_roles
    pause_node "$LEADER"
    began=$(now_ms)
    http PUT "$FOLLOWER" '/kv/a?timeout=300ms' --data-binary x
    refused 504 timeout unknown
    holds '.error.retryable == false'
    [ $(($(now_ms) - began)) -lt 2500 ]
    # Operators get what the follower knows.
    http GET "$FOLLOWER" /status
    replied 200
    holds '.members | length == 3'
    kill_node "$LEADER"
    http PUT "$FOLLOWER" '/kv/a?timeout=300ms' --data-binary x
    refused 503 no_leader not_applied
    holds '.error.retryable'
}

@test "without a leader: no fault can be borne, and /status says so" {
    start_cluster 3
    find_roles
    for name in node1 node2 node3; do
        [ "$name" = "$FOLLOWER" ] || kill_node "$name"
    done
    leaderless() {
        http GET "$FOLLOWER" /status && holds '.leader == null' 2>/dev/null
    }
    wait_until 10 leaderless
    holds '.fault_tolerance == 0'
    [ -z "$(http_header RaftKV-Leader)" ]
    http GET "$FOLLOWER" /health
    replied 503
    holds '.status == "unavailable" and .ready == false and .fault_tolerance == 0'
    for path in /readyz /leader; do
        http GET "$FOLLOWER" "$path"
        refused 503 no_leader
    done
}

# ---- a node that stops

says_stopping() { # NODE
    http GET "$1" /readyz && [ "$http_status" = 503 ] && [ "$(the .error.code)" = shutting_down ]
}

@test "a node that stops refuses what would change something, follower and leader" {
    local node signal=TERM
    start_cluster 3
    find_roles
    put "$LEADER" a x
    for node in "$FOLLOWER" "$LEADER"; do
        # Somebody waits for an answer: until then it lives, for 5 s.
        hold "$(url_of "$node")/kv/a?min_index=9999999&timeout=60s"
        wait_until 10 metric_is "$node" raftkv_pending_reads 1
        signal_node "$node" "$signal"
        signal=INT
        wait_until 4 says_stopping "$node"
        http PUT "$node" /kv/a --data-binary y
        refused 503 shutting_down not_applied
        holds '.error.retryable'
        http DELETE "$node" /kv/a
        refused 503 shutting_down not_applied
        for path in '/leader' '/members' '/members/node1/promote' '/members/node1/replace'; do
            json_post "$node" "$path" '{}'
            refused 503 shutting_down not_applied
        done
        http DELETE "$node" /members/node1
        refused 503 shutting_down not_applied
        http GET "$node" /livez
        replied 200
        run wait_exit "$node" 15
        assert_success
        wait "${clients[-1]}"
        http_body=$(head -n 1 "$BATS_TEST_TMPDIR/held.$((${#clients[@]} - 1))")
        http_status=$(tail -n 1 "$BATS_TEST_TMPDIR/held.$((${#clients[@]} - 1))")
        refused 503 shutting_down none
    done
    restart_node "$FOLLOWER"
    wait_ready "$FOLLOWER"
    http GET "$FOLLOWER" '/kv/a?raw'
    [ "$http_body" = x ]
    http GET "$FOLLOWER" /members
    holds '.change == null and (.members | length) == 3'
}
