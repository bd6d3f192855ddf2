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
    curl -s --max-time 180 -w '\n%{http_code}\n' "$@" >"$BATS_TEST_TMPDIR/held.${#clients[@]}" 3>&- &
    clients+=($!)
}

metric_is() { # NODE METRIC VALUE
    [ "$(metric_of "$1" "$2")" = "$3" ]
}

now_ms() {
    date +%s%3N
}

has_key() { # KEY
    http GET "$LEADER" "/kv?prefix=$1&keys_only" && [ "$(the '.items | length')" = 1 ]
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

# Three nodes; node1 leads, and can be stalled.
stallable_leader() { # FLAG…
    local name list=
    [ -x "$RAFTKV_TEST_BIN/raftkv-node" ] || skip "no test build"
    for name in node1 node2 node3; do
        prepare_node "$name"
        list=$list,$name=$(url_of "$name")
    done
    go_on node1
    NODE_PROGRAM=$RAFTKV_TEST_BIN/raftkv-node RAFTKV_TEST_VFS_CONTROL=$(node_dir node1)/rules \
        start_node node1 --cluster "${list#,}" "$@"
    for name in node2 node3; do
        start_node "$name" --cluster "${list#,}" "$@"
    done
    wait_ready
    wait_until "$E2E_WAIT_SECONDS" handed_over "$(leader)" '{"to":"node1"}'
    find_roles
}

@test "more than may be pending: 429 with Retry-After, from leader and follower" {
    local value=$BATS_TEST_TMPDIR/value began i node third
    # Long enough that the leader does not step down meanwhile.
    stallable_leader --election-timeout 30s --max-value-size 16MiB
    third=$(printf '%s\n' node1 node2 node3 | grep -vx -e "$LEADER" -e "$FOLLOWER")
    stall "$LEADER"
    # The rest of the time is passed on: it is the leader that says so.
    began=$(now_ms)
    http PUT "$FOLLOWER" '/kv/late?timeout=300ms' --data-binary x
    refused 504 timeout unknown
    [ $(($(now_ms) - began)) -lt 2500 ]
    [[ $(the .error.message) != *'did not answer'* ]]
    # 128 MiB may wait; the others need not write them meanwhile.
    pause_node "$third"
    pause_node "$FOLLOWER"
    head -c $((15 << 20)) /dev/zero >"$value"
    for i in {1..8}; do
        hold -X PUT --data-binary "@$value" "$(url_of "$LEADER")/kv/big$i?timeout=60s"
    done
    wait_until "$E2E_WAIT_SECONDS" metric_is "$LEADER" raftkv_pending_writes 8
    for node in "$LEADER" "$FOLLOWER"; do
        [ "$node" = "$LEADER" ] || resume_node "$node"
        http PUT "$node" '/kv/more?timeout=60s' --data-binary "@$value"
        refused 429 overloaded not_applied
        holds '.error.retryable and .error.retry_after_ms == 1000'
        [ "$(http_header Retry-After)" = 1 ]
        [ "$(http_header RaftKV-Node)" = "$node" ]
    done
    go_on "$LEADER"
    # All of them are committed; whether within their minute depends on the machine.
    for i in "${!clients[@]}"; do
        wait "${clients[i]}"
        grep -qxE '200|504' <(tail -n 1 "$BATS_TEST_TMPDIR/held.$i") ||
            fail_with "$(<"$BATS_TEST_TMPDIR/held.$i")"
    done
    for i in {1..8}; do
        wait_until "$E2E_WAIT_SECONDS" has_key "big$i"
    done
    clients=()
    resume_node "$third"
    http GET "$FOLLOWER" '/kv/more?timeout=60s'
    refused 404 not_found
    http PUT "$FOLLOWER" '/kv/more?timeout=60s' --data-binary x
    replied 200
}

# ---- a leader that does not answer, or is gone

@test "a leader that does not answer: 504 unknown in time; one that is gone: not applied" {
    local began
    start_cluster 3 --election-timeout 30s
    find_roles
    pause_node "$LEADER"
    began=$(now_ms)
    http PUT "$FOLLOWER" '/kv/a?timeout=300ms' --data-binary x
    refused 504 timeout unknown
    holds '.error.retryable == false'
    [ $(($(now_ms) - began)) -lt 2500 ]
    # Operators get what the follower knows, and soon.
    began=$(now_ms)
    http GET "$FOLLOWER" /status
    replied 200
    holds '.members | length == 3'
    [ $(($(now_ms) - began)) -lt 5000 ]
    kill_node "$LEADER"
    http PUT "$FOLLOWER" '/kv/a?timeout=300ms' --data-binary x
    refused 503 no_leader not_applied
    holds '.error.retryable'
}

@test "the timeout of a change is for all of it: for asking the newcomer, too" {
    local began name json
    start_cluster 3 --election-timeout 30s
    start_standby node4
    find_roles
    json="{\"name\":\"node4\",\"url\":\"$(url_of node4)\"}"
    # A newcomer that answers late, and a change that cannot be committed.
    for name in node1 node2 node3 node4; do
        [ "$name" = "$LEADER" ] || pause_node "$name"
    done
    began=$(now_ms)
    hold -H 'Content-Type: application/json' -d "$json" "$(url_of "$LEADER")/members?timeout=8s"
    sleep 2
    resume_node node4
    wait "${clients[0]}"
    [ $(($(now_ms) - began)) -lt 9500 ]
    http_body=$(head -n 1 "$BATS_TEST_TMPDIR/held.0")
    http_status=$(tail -n 1 "$BATS_TEST_TMPDIR/held.0")
    refused 504 timeout unknown
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
    wait_until "$E2E_WAIT_SECONDS" leaderless
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
        wait_until "$E2E_WAIT_SECONDS" metric_is "$node" raftkv_pending_reads 1
        signal_node "$node" "$signal"
        signal=INT
        wait_until 4 says_stopping "$node"
        {
            printf 'PUT\t/kv/a\ty\n'
            printf 'DELETE\t%s\n' /kv/a /members/node1
            printf 'POST\t%s\t{}\tContent-Type: application/json\n' /leader /members \
                /members/node1/promote /members/node1/replace
        } | requests "$node"
        [ "$(wc -l <"$answers")" -eq 7 ]
        wrong=$(jq -c 'select((.status == 503 and (.body.error | .code == "shutting_down" and
            .outcome == "not_applied" and .retryable)) | not)' "$answers")
        [ -z "$wrong" ] || fail_with "not refused: $wrong"
        run wait_exit "$node" 15
        assert_success
        wait "${clients[-1]}"
        http_body=$(head -n 1 "$BATS_TEST_TMPDIR/held.$((${#clients[@]} - 1))")
        http_status=$(tail -n 1 "$BATS_TEST_TMPDIR/held.$((${#clients[@]} - 1))")
        refused 503 shutting_down none
    done
    restart_node "$FOLLOWER"
    wait_ready "$FOLLOWER"
    reads_x() { # leadership may change meanwhile
        http GET "$FOLLOWER" '/kv/a?raw'
        [ "$http_body" = x ]
    }
    wait_until "$E2E_WAIT_SECONDS" reads_x
    http GET "$FOLLOWER" /members
    holds '.change == null and (.members | length) == 3'
}
