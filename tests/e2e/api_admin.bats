# What every reply bears and every request must satisfy; status, health, metrics, debugging.
# shellcheck disable=SC2016,SC2030,SC2031,SC2154
load helper
load api

setup_file() {
    export E2E_DIR=$BATS_FILE_TMPDIR
    three_nodes
    BATS_TEST_TMPDIR=$BATS_FILE_TMPDIR
    put "$LEADER" setup value
    http GET "$LEADER" /status
    CLUSTER=$(the .cluster)
    export CLUSTER
}

# ---- every reply

bears_all() { # NODE: the last reply, each header once
    local numbers='RaftKV-(Term|Index): [1-9][0-9]*'
    local rest=$'X-Content-Type-Options: nosniff|Content-Type: [a-z]+/[^\r]+'
    [ "$(grep -ciE "^(RaftKV-Node: $1|RaftKV-Leader: $LEADER|RaftKV-Cluster: $CLUSTER|$numbers|$rest)"$'\r?$' \
        "$http_headers")" -eq 7 ] && ! grep -qi '^Access-Control' "$http_headers"
}

@test "each reply bears node, leader, term, index, cluster, a type and nosniff" {
    local node status method path
    for node in "$LEADER" "$FOLLOWER"; do
        while read -r status method path; do
            http "$method" "$node" "$path" -H 'Content-Type: application/json'
            replied "$status" || fail_with "$method $path"
            bears_all "$node" || fail_with "$method $path: $(cat "$http_headers")"
        done <<'END'
200 GET /kv/setup
200 HEAD /kv/setup
200 GET /kv/setup?raw
200 GET /kv?prefix=s
404 GET /kv/missing
400 GET /kv/setup?x
400 GET /kv/%zz
200 DELETE /kv/missing
400 PUT /kv/setup?x
405 POST /kv/setup
404 GET /nowhere
200 GET /status
200 GET /node
200 GET /members
200 GET /leader
200 GET /livez
200 GET /readyz
200 GET /readyz?verbose
200 GET /health
200 GET /metrics
200 GET /debug/raft
200 GET /debug/log
200 GET /debug/trace
400 POST /members
404 DELETE /members/nobody
404 POST /members/nobody/promote
405 PATCH /kv/setup
404 PATCH /nowhere
END
        # What is refused before its body has come, too.
        head -c 1048577 /dev/zero >"$BATS_TEST_TMPDIR/large"
        for how in Expect: 'Transfer-Encoding: chunked'; do
            http PUT "$node" /kv/large --data-binary "@$BATS_TEST_TMPDIR/large" -H "$how"
            refused 413 too_large not_applied
            bears_all "$node" || fail_with "413: $(cat "$http_headers")"
        done
        http GET "$node" /kv/setup --data-binary x
        refused 413 too_large none
        bears_all "$node"
    done
    http GET "$FOLLOWER" '/kv/setup?redirect'
    replied 307
    [ "$(http_header RaftKV-Leader)" = "$LEADER" ]
    [ "$(http_header X-Content-Type-Options)" = nosniff ]
}

@test "a request that names another cluster is 412 wrong_cluster" {
    local node other=00000000000000000000000000000000
    for node in "$LEADER" "$FOLLOWER"; do
        printf "%s\tRaftKV-Cluster: $other\n" /kv/setup /kv /status /node /metrics |
            all_refused 412 wrong_cluster "$node" GET
        printf '/kv/setup\tRaftKV-Cluster: %s\n' "$other" x "${CLUSTER:1}" |
            all_refused 412 wrong_cluster "$node" PUT
        http GET "$node" '/kv/setup?raw' -H "RaftKV-Cluster: $CLUSTER"
        replied 200
        [ "$http_body" = value ]
        http PUT "$node" /kv/cluster --data-binary x -H "RaftKV-Cluster: $CLUSTER"
        replied 200
        printf "/kv/setup\tRaftKV-Cluster: %s\tRaftKV-Cluster: %s\n" "$CLUSTER" "$other" \
            "$CLUSTER" "$CLUSTER" | all_refused 400 bad_request "$node" PUT
    done
}

@test "Host must be an address, localhost or the advertised host" {
    local port
    port=$(port_of "$LEADER")
    printf '/kv/setup\tHost: %s\n' "127.0.0.1:$port" 127.0.0.1 localhost "LOCALHOST:$port" \
        192.0.2.7:80 '[::1]' "[::1]:$port" '[2001:db8::7]:80' 127.0.0.1: |
        sed 's/\t/\t\t/; s/^/GET\t/' | requests "$LEADER"
    [ "$(jq -sc 'map(.status) | unique' "$answers")" = '[200]' ] || fail_with "$(cat "$answers")"
    printf '/kv/setup\tHost: %s\n' evil.example "evil.example:$port" localhost.evil.example \
        127.0.0.1.evil.example 4.cc 1.de abc::1 '[evil]' '127.0.0.1@evil.example' node1 \
        2130706433 0x7f.1 | all_refused 403 forbidden "$LEADER" GET
    printf '/kv/setup\tHost: evil.example\n' | all_refused 403 forbidden "$FOLLOWER" PUT
    printf '%s\tHost: evil.example\n' /status /metrics /kv /debug/raft /nowhere / /members/x |
        all_refused 403 forbidden "$FOLLOWER" GET
    printf '%s\tHost: evil.example\n' /kv/setup /status | all_refused 403 forbidden "$FOLLOWER" PATCH
}

@test "--allowed-hosts and --advertise name further hosts" {
    start_node named --advertise http://kv.example:7000 --allowed-hosts a.example,B.example
    wait_ready named
    printf 'GET\t/kv\t\tHost: %s\n' kv.example kv.example:7000 A.example b.example:1 127.0.0.1 |
        requests named
    [ "$(jq -sc 'map(.status) | unique' "$answers")" = '[200]' ]
    printf '/kv\tHost: %s\n' c.example xa.example a.example.org | all_refused 403 forbidden named GET
    kill_node named
}

@test "another Origin is 403" {
    local port
    port=$(port_of "$LEADER")
    printf '/kv/setup\tOrigin: %s\n' http://evil.example null "http://127.0.0.1:$((port + 1))" \
        http://127.0.0.1 "http://localhost:$port" "http://127.0.0.1:$port.evil.example" '' x |
        sed 's/Origin: $/Origin;/' | all_refused 403 forbidden "$LEADER" PUT
    printf '/kv/setup\tOrigin: %s\tOrigin: http://evil.example\n' "http://127.0.0.1:$port" |
        all_refused 403 forbidden "$LEADER" PUT
    http PUT "$LEADER" /kv/origin --data-binary x -H "Origin: http://127.0.0.1:$port"
    replied 200
}

@test "a POST needs Content-Type: application/json" {
    local node path
    for node in "$LEADER" "$FOLLOWER"; do
        for path in /members /members/node1/promote /members/node1/replace /leader; do
            printf '%s\tContent-Type: %s\n' "$path" text/plain "$path" \
                application/x-www-form-urlencoded "$path" application/jsonx "$path" '' |
                sed 's/: $/;/'
            printf '%s\tContent-Type: application/json\tContent-Type: text/plain\n' "$path"
        done | all_refused 400 bad_request "$node" POST
        for type in 'application/json; charset=utf-8' 'Application/JSON' 'application/json ;x=y'; do
            http POST "$node" /leader -H "Content-Type: $type" -d '{"to":"x"}'
            refused 404 not_found not_applied
        done
    done
}

@test "unknown paths are 404, other methods 405" {
    local node method
    for node in "$LEADER" "$FOLLOWER"; do
        printf '%s\n' / /nowhere /kv2 /status/ /Status /kvv/a /members/ /members/a/b /debug \
            /debug/ /debug/nothing /raft /raft/ //kv/a /kv%2Fa /.. /metrics/x /batch/ /batches |
            all_refused 404 not_found "$node" GET
        printf '%s\n' /members/x/y/promote /members//promote /members/x/demote |
            all_refused 404 not_found "$node" POST
        printf '%s\n' /status /node /members /leader /livez /readyz /health /metrics /kv \
            /debug/raft | all_refused 405 method_not_allowed "$node" PUT
        printf '%s\n' /kv/a /kv /status /raft/hello | all_refused 405 method_not_allowed "$node" POST
        printf '%s\n' /leader /members /kv | all_refused 405 method_not_allowed "$node" DELETE
        printf '%s\n' /members/x /members/x/promote /raft/message /raft/snapshot |
            all_refused 405 method_not_allowed "$node" GET
        for method in PATCH OPTIONS TRACE CONNECT FROB get; do
            http "$method" "$node" /kv/a
            refused 405 method_not_allowed not_applied || fail_with "$method"
            [ "$(http_header Allow)" = 'GET, HEAD, PUT, DELETE' ]
            http "$method" "$node" /nowhere
            refused 404 not_found not_applied || fail_with "$method"
        done
        while read -r method path allow; do
            http "$method" "$node" "$path"
            refused 405 method_not_allowed
            [ "$(http_header Allow)" = "$allow" ] || fail_with "$path: $(http_header Allow)"
        done <<'END'
POST /kv/a GET, HEAD, PUT, DELETE
PUT /kv GET, HEAD
DELETE /members GET, HEAD, POST
GET /members/x DELETE
GET /members/x/promote POST
DELETE /leader GET, HEAD, POST
PUT /metrics GET, HEAD
GET /raft/message POST
END
        # With a body that is too large for all of them.
        head -c 2000000 /dev/zero >"$BATS_TEST_TMPDIR/large"
        http POST "$node" /kv/a --data-binary "@$BATS_TEST_TMPDIR/large"
        refused 405 method_not_allowed not_applied
        http PUT "$node" /nowhere --data-binary "@$BATS_TEST_TMPDIR/large"
        refused 404 not_found not_applied
        http PUT "$node" /kv/a --data-binary "@$BATS_TEST_TMPDIR/large" -H 'Host: evil.example'
        refused 403 forbidden not_applied
    done
    http GET "$LEADER" /kv/setup
    replied 200
}

@test "calls without parameters refuse them" {
    local path
    for path in /status /node /members /leader /livez /health /metrics /debug/raft /debug/log \
        /debug/trace /readyz; do
        printf '%s?%s\n' "$path" x "$path" timeout=1s
    done | all_refused 400 bad_request "$FOLLOWER" GET
    printf '%s\n' '/readyz?verbose=x' '/readyz?verbose&verbose' |
        all_refused 400 bad_request "$FOLLOWER" GET
}

# ---- what operators ask

@test "GET /status is the same from every node" {
    local node
    for node in node1 node2 node3; do
        http GET "$node" /status
        replied 200
        holds 'keys == ["change","cluster","fault_tolerance","index","leader","members","term"]'
        holds '.leader == $l and .cluster == $c and .fault_tolerance == 1 and .change == null' \
            --arg l "$LEADER" --arg c "$CLUSTER"
        holds '.cluster | test("^[0-9a-f]{32}$")'
        holds '.term > 0 and .index.commit >= 3 and .index.applied >= 3'
        holds '.members | length == 3 and (map(.name) | sort) == ["node1","node2","node3"]'
        holds '.members | map(keys) | unique == [["id","last_contact_ms","match","name",
            "reachable","role","state","url"]]'
        holds '.members | all(.id | test("^[0-9a-f]{16}$")) and (map(.id) | unique | length) == 3'
        holds '.members | all(.role == "voter" and .reachable and .match >= 1)'
        holds '.members | all(.last_contact_ms >= 0 and .last_contact_ms < 500)'
        holds '(.members | map(select(.state == "leader")) | map(.name)) == [$l]' \
            --arg l "$LEADER"
        holds '(.members | map(select(.state == "follower")) | length) == 2'
        holds '.members[] | select(.name == $n) | .url == $u' \
            --arg n "$node" --arg u "$(url_of "$node")"
    done
}

digest_at() { # NODE INDEX: its digest there is known
    http GET "$1" "/node?digest_at=$2" && [ "$(the .digest.index)" = "$2" ]
}

@test "GET /node?digest_at=N: all nodes come to tell the digest of the state at that index" {
    local index node digests=
    put "$LEADER" digest/a 1
    index=$((version + 2)) # of the second of three
    for node in node1 node2 node3; do
        http GET "$node" "/node?digest_at=$index"
        replied 200
        holds '.digest.index < $i' --argjson i "$index"
    done
    put "$LEADER" digest/a 2
    put "$LEADER" digest/a 3
    put "$LEADER" digest/a 4
    for node in node1 node2 node3; do
        wait_until "$E2E_WAIT_SECONDS" digest_at "$node" "$index"
        digests+=$(the .digest.value)$'\n'
    done
    [ "$(sort -u <<<"${digests%$'\n'}" | wc -l)" -eq 1 ]
    [[ ${digests%%$'\n'*} =~ ^[0-9a-f]{32}$ ]]
    for node in "digest_at=0" "digest_at=-1" "digest_at=x" "digest_at=" "digest=1" \
        "digest_at=1&digest_at=1" "digest_at=9007199254740992"; do
        http GET "$LEADER" "/node?$node"
        refused 400 bad_request
    done
}

@test "GET /node speaks of itself" {
    local node
    for node in node1 node2 node3; do
        http GET "$node" /node
        replied 200
        holds 'keys == ["digest","id","index","leader","name","ready","state","storage","term",
            "uptime_ms","version"]'
        holds '.name == $n and .leader == $l and .ready and .term > 0 and .uptime_ms > 0' \
            --arg n "$node" --arg l "$LEADER"
        holds '.state == (if $n == $l then "leader" else "follower" end)' \
            --arg n "$node" --arg l "$LEADER"
        holds '.version | test("^[0-9]+\\.[0-9]+\\.[0-9]+$")'
        holds '.index | keys == ["applied","commit","first","last","snapshot"]'
        holds '.index | .first == 1 and .snapshot == 0 and .last >= .commit and .commit >= .applied'
        holds '.digest | keys == ["index","value"] and (.value | test("^[0-9a-f]+$"))'
        holds '.storage | keys == ["disk_free","keys","kv_bytes","log_bytes","log_entries",
            "wal_bytes"]'
        holds '.storage | .log_bytes > 0 and .kv_bytes > 0 and .disk_free > 0 and .log_entries > 2'
    done
}

@test "digests of the nodes agree at the same index" {
    local node
    put "$LEADER" digest "$RANDOM"
    all_flushed() {
        for node in node1 node2 node3; do
            http GET "$node" /node
            the '[.digest.index, .digest.value, .storage.keys] | @text' \
                >"$BATS_TEST_TMPDIR/digest.$node"
            [ "$(the .digest.index)" -ge "$version" ] || return
        done
    }
    wait_until "$E2E_WAIT_SECONDS" all_flushed
    cmp "$BATS_TEST_TMPDIR/digest.node1" "$BATS_TEST_TMPDIR/digest.node2"
    cmp "$BATS_TEST_TMPDIR/digest.node1" "$BATS_TEST_TMPDIR/digest.node3"
}

@test "GET /members and /leader" {
    local node id
    for node in node1 node2 node3; do
        http GET "$node" /members
        replied 200
        holds 'keys == ["change","configuration_index","members"]'
        holds '.change == null and .configuration_index >= 1 and (.members | length) == 3'
        id=$(the '.members[] | select(.name == "'"$LEADER"'") | .id')
        http GET "$node" /leader
        replied 200
        holds '.leader == $l and .id == $i and .url == $u and .term > 0' \
            --arg l "$LEADER" --arg i "$id" --arg u "$(url_of "$LEADER")"
    done
}

@test "health: livez, readyz with its checks, health" {
    local node
    for node in node1 node2 node3; do
        http GET "$node" /livez
        replied 200
        http GET "$node" /readyz
        replied 200
        http GET "$node" '/readyz?verbose'
        replied 200
        [ "$(grep -c '^\[+\][a-z]* ok$' <<<"$http_body")" -ge 5 ]
        ! grep -v '^\[+\]' <<<"$http_body"
        [[ $(http_header Content-Type) == text/plain* ]]
        http GET "$node" /health
        replied 200
        holds '.status == "ok" and .ready and .leader == $l and .fault_tolerance == 1' \
            --arg l "$LEADER"
    done
}

@test "GET /debug/*" {
    local node
    for node in "$LEADER" "$FOLLOWER"; do
        http GET "$node" /debug/raft
        replied 200
        holds '.term > 0 and .commit > 0 and .last >= .commit and .leader == $l' --arg l "$LEADER"
        http GET "$node" /debug/log
        replied 200
        holds '.entries | length > 2 and all(.index > 0 and .term > 0)'
        http GET "$node" /debug/trace
        replied 200
        holds '.decisions | length > 2 and all(.decision | length > 0)'
    done
    http GET "$LEADER" /debug/raft
    holds '.state == "leader" and (.progress | length) == 3'
}

@test "HEAD of each of them" {
    local path
    for path in /status /node /members /leader /livez /readyz '/readyz?verbose' /health /metrics \
        /debug/raft /debug/log /debug/trace /kv; do
        http HEAD "$FOLLOWER" "$path"
        replied 200 || fail_with "$path"
    done
}

# ---- metrics

metrics() { # NODE
    http GET "$1" /metrics
    replied 200
    cp "$(body_file)" "$BATS_TEST_TMPDIR/metrics"
}

metric() { # SERIES of the last metrics
    awk -v name="$1" '$1 == name { print $2 }' "$BATS_TEST_TMPDIR/metrics"
}

@test "metrics are valid Prometheus text" {
    local node
    for node in node1 node2 node3; do
        metrics "$node"
        [[ $(http_header Content-Type) == 'text/plain; version=0.0.4'* ]]
        awk -f "$BATS_TEST_DIRNAME/metrics.awk" "$BATS_TEST_TMPDIR/metrics"
        [ "$(tail -c 1 "$BATS_TEST_TMPDIR/metrics" | od -An -tx1)" = ' 0a' ]
    done
}

@test "metrics count operations, and tell Raft's state, storage, queues and limits" {
    local puts gets name
    metrics "$LEADER"
    puts=$(metric 'raftkv_request_seconds_count{op="put"}')
    gets=$(metric 'raftkv_request_seconds_count{op="get"}')
    put "$LEADER" counted x
    put "$LEADER" counted x
    http GET "$LEADER" /kv/counted
    metrics "$LEADER"
    [ "$(metric 'raftkv_request_seconds_count{op="put"}')" -eq $((puts + 2)) ]
    [ "$(metric 'raftkv_request_seconds_count{op="get"}')" -eq $((gets + 1)) ]
    [ "$(metric raftkv_raft_is_leader)" = 1 ]
    [ "$(metric raftkv_raft_commit_index)" -ge "$version" ]
    [ "$(metric raftkv_raft_applied_index)" -ge "$version" ]
    [ "$(metric "raftkv_peer_match_index{peer=\"$FOLLOWER\"}")" -gt 0 ]
    [ -n "$(metric "raftkv_peer_last_contact_seconds{peer=\"$FOLLOWER\"}")" ]
    for name in raft_term raft_elections_total raft_last_index raft_first_index log_file_bytes \
        log_wal_bytes kv_file_bytes kv_wal_bytes snapshot_bytes disk_free_bytes log_entries \
        pending_writes pending_writes_limit pending_reads pending_reads_limit overlay_bytes \
        overlay_bytes_limit connections connections_limit persist_seconds_count \
        apply_seconds_count sessions keys; do
        [ -n "$(metric "raftkv_$name")" ] || fail_with "no $name"
    done
    metrics "$FOLLOWER"
    [ "$(metric raftkv_raft_is_leader)" = 0 ]
    [ "$(metric raftkv_raft_has_leader)" = 1 ]
}
