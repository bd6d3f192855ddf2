# A cluster of three real nodes: forming, failover, pauses, restarts; nothing acknowledged is lost.
# shellcheck disable=SC2016,SC2030,SC2031,SC2154
load helper
load api
load cluster

leader_of_three() {
    # shellcheck disable=SC2046
    wait_leader $(running_nodes | grep '^node')
}

# ---- forming

three_ports() { # sets list
    local name
    list=
    for name in node1 node2 node3; do
        prepare_node "$name"
        list=$list,$name=$(url_of "$name")
    done
    list=${list#,}
}

readyz_says() { # NODE TEXT
    http GET "$1" '/readyz?verbose' && [ "$http_status" = 503 ] && [[ $http_body == *"$2"* ]]
}

@test "forming waits for all; /readyz names who is missing" {
    local list
    three_ports
    start_node node1 --cluster "$list"
    wait_until "$E2E_WAIT_SECONDS" readyz_says node1 node2
    readyz_says node1 node3
    start_node node2 --cluster "$list"
    wait_until "$E2E_WAIT_SECONDS" readyz_says node2 node3
    no_longer() {
        readyz_says node1 node3 && ! readyz_says node1 node2
    }
    wait_until "$E2E_WAIT_SECONDS" no_longer
    http GET node1 /readyz
    refused 503 no_leader
    http PUT node1 /kv/a --data-binary x
    refused 503 no_leader not_applied
    http GET node2 '/kv/a?consistency=stale'
    refused 503 no_leader
    http GET node1 /livez
    replied 200
    http GET node1 /status
    replied 200
    holds '.cluster == null and .leader == null'
    [ "$(http_header RaftKV-Node) $(http_header RaftKV-Term) $(http_header RaftKV-Index)" = 'node1 0 0' ]
    start_node node3 --cluster "$list"
    wait_ready node1 node2 node3
    put node2 a x
}

@test "a difference of --cluster is named, and forming goes on when it is mended" {
    local list other
    three_ports
    other=${list/node2=http:\/\/127.0.0.1/node2=http:\/\/localhost}
    start_node node1 --cluster "$list"
    start_node node2 --cluster "$list"
    start_node node3 --cluster "$other"
    wait_until "$E2E_WAIT_SECONDS" readyz_says node1 node3
    wait_until "$E2E_WAIT_SECONDS" readyz_says node1 localhost
    wait_until "$E2E_WAIT_SECONDS" readyz_says node3 node1
    http GET node3 /kv/a
    refused 503 no_leader
    kill_node node3
    restart_node node3 --cluster "$list"
    wait_ready node1 node2 node3
    [ "$(curl -s "$(url_of node3)/status" | jq .fault_tolerance)" = 1 ]
}

@test "once there is a cluster, --cluster, --join and --standby are ignored with a notice" {
    local port
    start_node node1
    wait_ready node1
    put node1 a x
    kill_node node1
    free_port port
    restart_node node1 --cluster "node1=$(url_of node1),node2=http://127.0.0.1:$port"
    wait_ready node1
    http GET node1 '/kv/a?raw'
    [ "$http_body" = x ]
    grep -q -- '--cluster' "$(log_of node1)"
    http GET node1 /members
    holds '.members | length == 1'
}

# ---- kill -9

@test "kill -9 of the leader: another one serves, nothing acknowledged is lost" {
    local old
    start_cluster 3
    begin_load -r 0 -c 8
    await_acks 200
    old=$(leader)
    kill_node "$old"
    await_acks 200
    end_load
    [ "$gap_ms" -lt 5000 ]
    [ "$(leader)" != "$old" ]
    verify_load
    restart_node "$old"
    wait_ready "$old"
    verify_load "$old"
    same_everywhere
}

@test "kill -9 of a follower: the others go on; it catches up" {
    local victim
    start_cluster 3
    begin_load -r 0 -c 8
    await_acks 200
    victim=$(followers | head -n 1)
    kill_node "$victim"
    await_acks 300
    restart_node "$victim"
    await_acks 200
    end_load
    [ "$gap_ms" -lt 3000 ]
    wait_ready
    verify_load "$victim"
    same_everywhere
}

@test "kill -9 of all at once, again and again: nothing acknowledged is lost" {
    local name
    start_cluster 3
    begin_load -r 0 -c 8
    for _ in 1 2 3; do
        await_acks 200
        for name in node1 node2 node3; do
            signal_node "$name" KILL
        done
        for name in node1 node2 node3; do
            wait_until "$E2E_WAIT_SECONDS" test -e "$(node_dir "$name")/status"
            restart_node "$name"
        done
        wait_ready
    done
    await_acks 100
    end_load
    verify_load
    same_everywhere
}

@test "one node: kill -9 under load, nothing acknowledged is lost" {
    start_node node1
    wait_ready
    begin_load -r 0 -c 16
    for _ in 1 2 3; do
        await_acks 300
        kill_node node1
        restart_node node1
        wait_ready
    done
    await_acks 100
    end_load
    verify_load
}

@test "clients that retry with their number have each write applied once, over kills of leaders" {
    local old
    start_cluster 3
    begin_load -s -c 8
    for _ in 1 2 3; do
        await_acks 200
        old=$(leader)
        kill_node "$old"
        await_acks 100
        restart_node "$old"
        wait_ready
    done
    await_acks 100
    end_load
    [[ $load_line == *failed=0* ]]
    verify_load
    same_everywhere
}

@test "after kill -9 of the leader a retry on another node gives the first answer" {
    local old first node
    start_cluster 3
    old=$(leader)
    http PUT "$old" /kv/retry --data-binary one -H 'RaftKV-Client: c' -H 'RaftKV-Seq: 1'
    replied 200
    first=$http_body
    put "$old" retry other
    kill_node "$old"
    wait_leader
    for node in $(running_nodes); do
        http PUT "$node" '/kv/retry?timeout=10s' --data-binary one -H 'RaftKV-Client: c' \
            -H 'RaftKV-Seq: 1'
        replied 200
        [ "$http_body" = "$first" ]
        [ "$(http_header RaftKV-Replayed)" = 1 ]
    done
    http GET "$node" '/kv/retry?raw'
    [ "$http_body" = other ]
}

# ---- pauses

@test "SIGSTOP of the leader: no stale read from it afterwards, no split" {
    local old new
    start_cluster 3
    begin_register -c 6
    for _ in 1 2; do
        await_acks 30
        old=$(leader)
        pause_node "$old"
        # shellcheck disable=SC2046
        new=$(wait_leader $(running_nodes | grep -vx "$old"))
        [ "$new" != "$old" ]
        await_acks 30
        resume_node "$old"
        await_acks 30
        wait_ready
    done
    end_load
    same_everywhere
    [ "$(leading_nodes node1 node2 node3 | wc -l)" -eq 1 ]
}

@test "SIGSTOP of the leader: no stale lease read either" {
    local old
    start_cluster 3
    begin_register -c 6 -m lease
    await_acks 30
    old=$(leader)
    pause_node "$old"
    await_acks 30
    resume_node "$old"
    await_acks 30
    end_load
}

@test "SIGSTOP of a follower: it catches up and serves" {
    local victim
    start_cluster 3
    begin_load -c 8
    await_acks 100
    victim=$(followers | head -n 1)
    pause_node "$victim"
    await_acks 300
    resume_node "$victim"
    await_acks 100
    end_load
    wait_ready
    verify_load "$victim"
    same_everywhere
}

# ---- what a follower says of a leader that does not answer

@test "forwarded to a leader that stands still: unknown; to one that is gone: not applied" {
    local lead other
    start_cluster 3 --election-timeout 5s
    lead=$(leader)
    other=$(followers | head -n 1)
    put "$other" there x
    pause_node "$lead"
    http PUT "$other" '/kv/there?timeout=300ms' --data-binary y
    refused 504 timeout unknown
    holds '.error.retryable == false'
    http DELETE "$other" '/kv/there?timeout=300ms' -H 'RaftKV-Client: c' -H 'RaftKV-Seq: 1'
    refused 504 timeout unknown
    http DELETE "$other" "/members/$lead?timeout=300ms"
    refused 504 timeout unknown
    json_post "$other" '/leader?timeout=300ms' '{}'
    refused 504 timeout unknown
    kill_node "$lead"
    http PUT "$other" '/kv/gone?timeout=1s' --data-binary y
    refused 503 no_leader not_applied
    holds .error.retryable
    http DELETE "$other" "/members/$lead?timeout=1s"
    refused 503 no_leader not_applied
    wait_leader >/dev/null
    http GET "$other" '/kv/gone?timeout=20s'
    refused 404 not_found
    http GET "$other" /members
    holds '.members | length == 3'
}

@test "what a follower keeps for a leader that stands still has an end: 429, not applied" {
    local lead other statuses=$BATS_TEST_TMPDIR/statuses
    start_cluster 3 --election-timeout 10s
    lead=$(leader)
    other=$(followers | head -n 1)
    head -c 1000000 /dev/zero >"$BATS_TEST_TMPDIR/large"
    pause_node "$lead"
    # 134 of them fit into 128 MiB, and some of those are sent.
    curl -sS --parallel --parallel-immediate --parallel-max 160 -X PUT -H Expect: -o /dev/null \
        --data-binary "@$BATS_TEST_TMPDIR/large" -w '%{http_code}\n' \
        "$(url_of "$other")/kv/large[1-160]?timeout=3s" >"$statuses"
    [ "$(grep -cxE '50[34]' "$statuses")" -eq 134 ]
    [ "$(grep -cx 429 "$statuses")" -eq 26 ]
    resume_node "$lead"
    wait_ready
    # Behind what it has kept, more than a hundred megabytes.
    put "$other" 'afterwards?timeout=60s' x
}

# ---- stops and restarts

@test "a graceful stop hands leadership over and ends with exit 0" {
    local old term
    start_cluster 3
    begin_load -s -c 8
    await_acks 200
    old=$(leader)
    term=$(term_of "$old")
    run stop_node "$old"
    assert_success
    await_acks 200
    end_load
    [ "$gap_ms" -lt 1500 ]
    [[ $load_line == *failed=0* ]]
    [ "$(term_of "$(leader)")" -eq $((term + 1)) ]
    verify_load
    restart_node "$old"
    wait_ready
    same_everywhere
}

@test "a stop and start of all nodes keeps everything" {
    local name before
    start_cluster 3
    put_many node1 keep/ 1 300
    http GET node1 '/kv?prefix=keep/'
    before=$(the '.items' | md5sum)
    for name in node1 node2 node3; do
        signal_node "$name" TERM
    done
    for name in node1 node2 node3; do
        run wait_exit "$name"
        assert_success
    done
    for name in node1 node2 node3; do
        restart_node "$name"
    done
    wait_ready
    http GET node3 '/kv?prefix=keep/'
    [ "$(the '.items' | md5sum)" = "$before" ]
    same_everywhere
}

@test "one node ends with exit 0 on SIGTERM and SIGINT" {
    local signal
    start_node node1
    for signal in TERM INT; do
        wait_ready
        put node1 "$signal" x
        signal_node node1 "$signal"
        run wait_exit node1 10
        assert_success
        restart_node node1
    done
    wait_ready
    http GET node1 /kv
    holds '.items | length == 2'
}

# ---- strangers

@test "another cluster's node at a member's address harms neither" {
    local gone lead term
    start_cluster 3
    put node1 ours x
    gone=$(followers | head -n 1)
    kill_node "$gone"
    mv "$(data_dir_of "$gone")" "$BATS_TEST_TMPDIR/kept"
    start_node stranger --port "$(port_of "$gone")" # the last one counts
    answers() {
        curl -sf -o /dev/null "$(url_of "$gone")/readyz"
    }
    wait_until "$E2E_WAIT_SECONDS" answers
    lead=$(leader_of_three)
    term=$(term_of "$lead")
    refusals() {
        [ "$(metric_of "$gone" raftkv_peer_refused_total)" -gt 20 ]
    }
    wait_until "$E2E_WAIT_SECONDS" refusals
    http GET "$gone" /kv/ours
    refused 404 not_found
    http GET "$gone" /status
    holds '.members | length == 1'
    put "$lead" ours y
    [ "$(term_of "$lead")" -eq "$term" ]
    http GET "$lead" /status
    holds '.fault_tolerance == 0'
    kill_node stranger
    mv "$BATS_TEST_TMPDIR/kept" "$(data_dir_of "$gone")"
    restart_node "$gone"
    wait_ready "$gone"
    http GET "$gone" '/kv/ours?raw'
    [ "$http_body" = y ]
}

# ---- a node that lost its disk

@test "a wiped node is refused under its old identity; member replace brings it back" {
    local victim lead term
    start_cluster 3 --trailing-entries 100
    put_many node1 before/ 1 400
    victim=$(followers | head -n 1)
    kill_node "$victim"
    rm -r "$(data_dir_of "$victim")"
    put_many "$(leader)" after/ 1 400
    lead=$(leader)
    term=$(term_of "$lead")
    restart_node "$victim"
    run wait_exit "$victim" 10
    assert_failure
    [ "$status" -ne 99 ]
    grep -q 'member replace' "$(log_of "$victim")"
    [ "$(term_of "$lead")" -eq "$term" ]
    put "$lead" still served
    # What the newcomer needs first is no longer in the log.
    compacted() {
        [ "$(curl -s "$(url_of "$lead")/node" | jq .index.first)" -gt 300 ]
    }
    wait_until "$E2E_WAIT_SECONDS" compacted

    rm -rf "$(data_dir_of "$victim")"
    start_standby "$victim" --trailing-entries 100
    begin_load -c 4
    await_acks 50
    json_post "$lead" "/members/$victim/replace?timeout=20s" \
        "{\"name\":\"$victim\",\"url\":\"$(url_of "$victim")\"}"
    replied 200
    wait_ready "$victim"
    replaced() {
        http GET "$lead" /members
        holds '.change == null and (.members | length == 3 and all(.role == "voter"))'
    }
    wait_until "$E2E_WAIT_SECONDS" replaced
    await_acks 50
    end_load
    verify_load "$victim"
    [ "$(metric_of "$victim" raftkv_snapshots_installed_total)" -ge 1 ]
    http GET "$victim" '/kv?prefix=before/&consistency=stale'
    holds '.items | length == 400'
    same_everywhere
    # It counts: with another one gone it makes the majority.
    kill_node "$(followers | grep -vx "$victim")"
    http PUT "$victim" '/kv/counts?timeout=10s' --data-binary x
    replied 200
}
