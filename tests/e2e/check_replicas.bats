# raftkv-check replicas: nodes that are the same, at rest and under load, and nodes that are not.
# shellcheck disable=SC2030,SC2031,SC2154
load helper
load api
load cluster

check() {
    "$RAFTKV_BIN/raftkv-check" "$@"
}

replicas() {
    check replicas --endpoints "$(endpoints)" "$@"
}

flushed() { # NODE: all that it has applied is in its file
    http GET "$1" /node && holds '.digest.index == .index.applied'
}

# While nothing runs it in a node: alters rows of the state's file with SQL.
altered() { # NODE SQL
    stop_node "$1"
    "$RAFTKV_TEST_TOOLS/kv-sql" "$(data_dir_of "$1")/kv.1.db" "$2"
    restart_node "$1"
    wait_ready "$1"
}

hex() {
    printf %s "$1" | od -An -v -tx1 | tr -d ' \n'
}

@test "replicas: the same, at rest" {
    start_cluster 3
    put_many "$(leader)" k 1 200
    ctl delete k000003
    run replicas
    assert_success
    assert_equal "$(grep -c ': digest at ' <<<"$output")" 3
    assert_equal "$(sed -n 's/.*: digest at //p' <<<"$output" | sort -u | wc -l)" 1
    assert_line 'result: nothing is wrong'
    run replicas --rows
    assert_success
    assert_equal "$(grep -c ': 199 keys compared, 0 differ, ' <<<"$output")" 2
}

@test "replicas: the same, under load" {
    local i
    start_cluster 3
    begin_load -c 4
    await_acks 50
    for i in 1 2 3; do
        run replicas --rows
        assert_success
        assert_equal "$(grep -c ': digest at ' <<<"$output")" 3
        assert_equal "$(sed -n 's/.*: digest at //p' <<<"$output" | sort -u | wc -l)" 1
    done
    end_load
}

@test "replicas: many keys, more than a page, of all bytes" {
    local i
    start_cluster 3
    put_many "$(leader)" key 1 2300
    for i in %00 %00%00 %ff %ff%ff a%2fb a%27b; do
        put "$(leader)" "$i" "$i"
    done
    put "$(leader)" "$(printf 'x%.0s' $(seq 4096))" long
    run replicas --rows
    assert_success
    assert_equal "$(grep -c ': 2307 keys compared, 0 differ, ' <<<"$output")" 2
}

@test "replicas: a row that was altered is found by --rows, and named" {
    local name
    start_cluster 3
    put_many "$(leader)" k 1 1200
    for name in node1 node2 node3; do
        wait_until "$E2E_WAIT_SECONDS" flushed "$name"
    done
    name=$(followers | head -n 1)
    altered "$name" "UPDATE kv SET value=x'58' WHERE key=x'$(hex k001100)'"
    # What was applied is the same, so the digests are.
    run replicas
    assert_success
    run replicas --rows
    assert_failure 9
    assert_line --regexp "^WRONG: key 'k001100': node[1-3] has version [0-9]+ of [0-9]+ bytes at [0-9]+, node[1-3] has version [0-9]+ of [0-9]+ bytes at [0-9]+: other values$"
    assert_output --partial "$name has version"
    refute_output --partial "k000007"
    altered "$name" "DELETE FROM kv WHERE key IN (x'$(hex k000007)', x'$(hex k000012)')"
    run replicas --rows
    assert_failure 9
    assert_output --partial "key 'k000007': "
    assert_output --partial "key 'k000012': "
    assert_output --partial "$name has none at"
}

@test "replicas: digests that differ are told, and the keys, of two nodes that nobody fences" {
    local name
    start_cluster 2
    put_many "$(leader)" k 1 50
    for name in node1 node2; do
        wait_until "$E2E_WAIT_SECONDS" flushed "$name"
    done
    name=$(followers)
    altered "$name" "UPDATE kv SET value=x'58' WHERE key IN (x'$(hex k000020)', x'$(hex k000030)')"
    put "$(leader)" k000020 new # what it takes out of its digest now is another row than was put in
    run replicas
    assert_failure 9
    assert_line --regexp "^WRONG: http://[^ ]+, node2: digest at [0-9]+ is [0-9a-f]{32}, that of http://[^ ]+, node1, is [0-9a-f]{32}$"
    assert_output --partial "key 'k000030': "
    refute_output --partial "key 'k000020': "
    # And offline.
    stop_node node1
    kill_node node2
    run check data "$(data_dir_of node1)" "$(data_dir_of node2)"
    assert_failure 9
    assert_output --partial "$name/data/kv.1.db: table kv, key 'k000030': "
}

@test "replicas: a digest that is wrong, over rows that are right" {
    local name
    start_cluster 2
    put_many "$(leader)" k 1 10
    for name in node1 node2; do
        wait_until "$E2E_WAIT_SECONDS" flushed "$name"
    done
    altered "$(followers)" "UPDATE kv SET value=x'58' WHERE key=x'$(hex k000005)'"
    put "$(leader)" k000005 new
    run replicas
    assert_failure 9
    assert_output --partial 'what differs is the digest it keeps'
}

@test "replicas: a node that is dead, stopped, or not asked for" {
    local dead later
    start_cluster 3
    put "$(leader)" a 1
    dead=$(followers | tail -n 1)
    run check replicas --endpoints "$(url_of node1),$(url_of node2)"
    assert_success
    assert_line "note: $(url_of node3), member node3, is none of the endpoints: not looked at"
    pause_node "$dead"
    run replicas --timeout 2s
    resume_node "$dead"
    assert_failure 10
    assert_line --regexp "^unknown: .*$(url_of "$dead")"
    kill_node "$dead"
    run replicas --timeout 1s
    assert_failure 10
    assert_line --regexp "^unknown: .*$(url_of "$dead")"
    # It comes while it is waited for.
    (
        sleep 1
        restart_node "$dead"
    ) 3>&- 4>&- &
    later=$!
    run replicas --timeout 30s
    assert_success
    wait "$later"
}

@test "replicas: what is wrong is refused by name" {
    local args want
    start_node node1
    wait_ready
    while IFS='|' read -r args want; do
        # shellcheck disable=SC2086
        run check replicas $args
        assert_failure 2
        assert_output --partial "$want"
    done <<END
|--endpoints URL,URL,… is missing
--endpoints ftp://a,http://b:1|ftp://a
--endpoints http://a:1,,http://b:1|empty endpoint
--endpoints $(url_of node1)|nothing to compare it with
--endpoints $(url_of node1),http://localhost:$(port_of node1)|are one node, node1
--timeout 0|timeout
--timeout 5|timeout
--frob|--frob
x|too many arguments
END
    RAFTKV_ENDPOINTS=$(url_of node1),$(url_of node1) run check replicas
    assert_failure 2
    assert_output --partial 'are one node'
}
