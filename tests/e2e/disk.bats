# Disks that stall, are full, fail, or forget what was not synced: nodes with the VFS for tests.
# shellcheck disable=SC2016,SC2030,SC2031,SC2154,SC2317
load helper
load api
load cluster

setup() {
    load_setup
    export NODE_PROGRAM=$RAFTKV_TEST_BIN/raftkv-node
    [ -x "$NODE_PROGRAM" ] || skip "no $NODE_PROGRAM"
}

# ---- each node has a disk of its own: rules in a file

disk() { # NAME [RULE…]
    local file
    file=$(node_dir "$1")/rules
    shift
    [ $# -eq 0 ] || printf '%s\n' "$@" >"$file.new"
    [ $# -gt 0 ] || : >"$file.new"
    mv "$file.new" "$file"
}

on_disk() { # start_node|restart_node NAME …
    prepare_node "$2"
    RAFTKV_TEST_VFS_CONTROL=$(node_dir "$2")/rules "$@"
}

three_disks() { # [FLAG…]
    local name list=
    for name in node1 node2 node3; do
        prepare_node "$name"
        disk "$name"
        list=$list,$name=$(url_of "$name")
    done
    for name in node1 node2 node3; do
        on_disk start_node "$name" --cluster "${list#,}" --election-timeout 1s "$@"
    done
    wait_ready
}

one_disk() {
    prepare_node node1
    disk node1
    on_disk start_node node1 "$@"
    wait_ready
}

now_ms() {
    date +%s%3N
}

other_leads() { # NAME: it is not that one
    local found
    # shellcheck disable=SC2046
    found=$(find_leader $(running_nodes | grep -vx "$1")) && [ "$found" != "$1" ]
}

put_answers() { # NODE STATUS
    http PUT "$1" '/kv/probe?timeout=500ms' --data-binary x && [ "$http_status" = "$2" ]
}

# ---- stalled

@test "the leader's disk stalls: another one leads within three election timeouts" {
    local old began
    three_disks
    begin_load -c 4
    await_acks 50
    old=$(leader)
    disk "$old" 'raft.db sync stall'
    began=$(now_ms)
    wait_until "$E2E_WAIT_SECONDS" other_leads "$old"
    [ $(($(now_ms) - began)) -lt 3500 ]
    await_acks 50
    http GET "$old" '/readyz?verbose'
    replied 503
    [[ $http_body == *'[-]disk'* ]]
    [ "$(metric_of "$old" raftkv_raft_stalled)" = 1 ]
    # It leads no more, and stands for nothing while it cannot write.
    [ "$(curl -s "$(url_of "$old")/node" | jq -r .state)" != leader ]
    disk "$old"
    wait_ready "$old"
    await_acks 50
    end_load
    verify_load
    same_everywhere
}

@test "a follower's disk stalls: the others go on" {
    local victim
    three_disks
    begin_load -c 4
    await_acks 50
    victim=$(followers | head -n 1)
    disk "$victim" '* sync stall'
    await_acks 200
    disk "$victim"
    await_acks 50
    end_load
    [ "$gap_ms" -lt 3000 ]
    wait_ready
    verify_load "$victim"
    same_everywhere
}

@test "one node with a stalled disk answers 503, and recovers" {
    one_disk
    put node1 before x
    disk node1 'raft.db sync stall'
    http PUT node1 '/kv/during?timeout=1s' --data-binary x
    [[ $http_status =~ ^50[34]$ ]]
    holds '.error.outcome == "unknown"'
    wait_until "$E2E_WAIT_SECONDS" put_answers node1 503
    refused 503 no_leader not_applied
    http GET node1 /readyz
    replied 503
    http GET node1 '/kv/before?raw&consistency=stale'
    [ "$http_body" = x ]
    http GET node1 /livez
    replied 200
    disk node1
    wait_until "$E2E_WAIT_SECONDS" put_answers node1 200
    wait_ready
    kill_node node1
    on_disk restart_node node1
    wait_ready
    http GET node1 /kv/probe
    replied 200
}

@test "a stalled kv.db reaches no client" {
    one_disk
    disk node1 'kv sync stall' 'kv write stall'
    for i in {1..50}; do
        http PUT node1 "/kv/k$i" --data-binary "$i"
        replied 200
    done
    http GET node1 '/kv?prefix=k'
    holds '.items | length == 50'
    kill_node node1
    disk node1
    on_disk restart_node node1
    wait_ready
    http GET node1 '/kv?prefix=k'
    holds '.items | length == 50'
}

# ---- between commit and reply

in_flight() { # NAME NODE PATH CURL_ARGUMENT…: a PUT that is left to itself
    local name=$1 url
    url=$(url_of "$2")$3
    shift 3
    curl -s -X PUT --max-time 60 -H Expect: -o "$BATS_TEST_TMPDIR/$name.body" -w '%{http_code}' "$@" \
        "$url" >"$BATS_TEST_TMPDIR/$name.status" 3>&- 4>&- &
    flights[$name]=$!
}

came_down_without_a_word() { # NAME
    local status=0
    wait "${flights[$1]}" || status=$?
    [ "$status" -ne 0 ] && [ "$(<"$BATS_TEST_TMPDIR/$1.status")" = 000 ] &&
        [ ! -s "$BATS_TEST_TMPDIR/$1.body" ]
}

applied_on() { # NODE INDEX
    [ "$(curl -s --max-time 2 "$(url_of "$1")/node" | jq .index.applied)" -ge "$2" ]
}

@test "kill -9 of the leader between commit and reply: a retry on another node gives the first answer" {
    declare -A flights
    local old other before first node
    three_disks --election-timeout 5s
    old=$(leader)
    put "$old" taken before
    before=$version
    same_everywhere
    # The others write them and so commit them; the leader, which waits for its own disk, can
    # neither apply nor answer them.
    disk "$old" 'raft.db sync stall'
    in_flight put "$old" '/kv/between?timeout=60s' --data-binary one -H 'RaftKV-Client: c' \
        -H 'RaftKV-Seq: 1'
    in_flight condition "$old" '/kv/taken?timeout=60s' --data-binary one -H 'If-None-Match: *' \
        -H 'RaftKV-Client: d' -H 'RaftKV-Seq: 1'
    for other in $(running_nodes | grep -vx "$old"); do
        wait_until 5 applied_on "$other" $((before + 2))
    done
    http GET "$other" '/kv/between?consistency=stale'
    replied 200
    first=$(the .version)
    [ "$first" -gt "$before" ]
    http GET "$old" /node
    holds '.state == "leader" and .index.applied == ($i | tonumber)' --arg i "$before"
    http GET "$old" '/kv/between?consistency=stale'
    refused 404 not_found
    kill_node "$old"
    came_down_without_a_word put
    came_down_without_a_word condition
    wait_leader >/dev/null
    put "$other" between later
    for node in $(running_nodes) "$old"; do
        if [ "$node" = "$old" ]; then
            disk "$old"
            on_disk restart_node "$old"
            wait_ready "$old"
        fi
        http PUT "$node" '/kv/between?timeout=10s' --data-binary one -H 'RaftKV-Client: c' \
            -H 'RaftKV-Seq: 1'
        replied 200
        holds '.version == ($i | tonumber)' --arg i "$first"
        [ "$(http_header RaftKV-Replayed)" = 1 ]
        http PUT "$node" '/kv/taken?timeout=10s' --data-binary one -H 'If-None-Match: *' \
            -H 'RaftKV-Client: d' -H 'RaftKV-Seq: 1'
        refused 412 precondition_failed not_applied
        holds '.error.version == ($i | tonumber)' --arg i "$before"
        [ "$(http_header RaftKV-Replayed)" = 1 ]
    done
    http GET "$other" '/kv/between?raw'
    [ "$http_body" = later ]
    same_everywhere
}

# ---- full

@test "one node with a full disk answers 507, and recovers when there is room" {
    one_disk
    put node1 before x
    disk node1 '* write full'
    wait_until "$E2E_WAIT_SECONDS" put_answers node1 507
    refused 507 disk_full not_applied
    http GET node1 '/kv/before?raw'
    [ "$http_body" = x ]
    http GET node1 '/readyz?verbose'
    replied 503
    disk node1
    wait_until "$E2E_WAIT_SECONDS" put_answers node1 200
    wait_ready
    kill_node node1
    on_disk restart_node node1
    wait_ready
    http GET node1 '/kv/before?raw'
    [ "$http_body" = x ]
}

@test "the leader's disk is full: leadership moves, and nothing is lost" {
    local old
    three_disks
    begin_load -c 4
    await_acks 50
    old=$(leader)
    disk "$old" '* write full'
    wait_until "$E2E_WAIT_SECONDS" other_leads "$old"
    await_acks 100
    disk "$old"
    wait_ready "$old"
    await_acks 50
    end_load
    verify_load "$old"
    same_everywhere
}

# ---- errors

@test "a failed fsync of raft.db stops the node at once with exit 70; the cluster serves on" {
    local old
    three_disks
    begin_load -c 4
    await_acks 50
    old=$(leader)
    disk "$old" 'raft.db sync error'
    run wait_exit "$old" 10
    [ "$status" -eq 70 ]
    await_acks 50
    disk "$old"
    on_disk restart_node "$old"
    wait_ready "$old"
    await_acks 50
    end_load
    verify_load "$old"
    same_everywhere
}

@test "one node: a failed fsync or write is never acknowledged" {
    local what
    one_disk
    begin_load -c 8
    for what in sync write; do
        await_acks 100
        disk node1 "raft.db $what error after=20 count=1"
        run wait_exit node1 10
        [ "$status" -eq 70 ]
        disk node1
        on_disk restart_node node1
        wait_ready
    done
    await_acks 50
    end_load
    verify_load
}

@test "a flush of kv.db that fails is done again; nothing is lost" {
    local what
    one_disk
    begin_load -c 4
    for what in write sync; do
        await_acks 50
        disk node1 "kv $what error count=7"
        failures() {
            [ "$(metric_of node1 raftkv_flush_failures_total)" -ge "$1" ]
        }
        wait_until "$E2E_WAIT_SECONDS" failures 1
        await_acks 100
        disk node1
    done
    flushed() {
        [ "$(metric_of node1 raftkv_flush_failing)" = 0 ]
    }
    wait_until "$E2E_WAIT_SECONDS" flushed
    end_load
    verify_load
    kill_node node1
    on_disk restart_node node1
    wait_ready
    verify_load
    same_everywhere
}

# ---- snapshots

log_begins_behind() { # NODE INDEX
    [ "$(curl -s --max-time 2 "$(url_of "$1")/node" | jq .index.first)" -gt "$2" ]
}

tries() { # NODE WHAT: lines of its log
    grep -c "snapshot not sent.*$2" "$(log_of "$1")" || true
}

tried() { # NODE WHAT COUNT
    [ "$(tries "$1" "$2")" -ge "$3" ]
}

@test "a snapshot that cannot be taken or received is tried again, but not without a pause" {
    local lead victim began
    three_disks --trailing-entries 10
    lead=$(leader)
    victim=$(followers | head -n 1)
    kill_node "$victim"
    put_many "$lead" a/ 1 300
    wait_until "$E2E_WAIT_SECONDS" log_begins_behind "$lead" 100
    disk "$lead" 'snapshot write error'
    on_disk restart_node "$victim"
    wait_until "$E2E_WAIT_SECONDS" tried "$lead" 'I/O error' 1
    began=$(now_ms)
    wait_until "$E2E_WAIT_SECONDS" tried "$lead" 'I/O error' 4
    [ $(($(now_ms) - began)) -gt 2500 ]
    disk "$victim" 'incoming write full'
    disk "$lead"
    wait_until "$E2E_WAIT_SECONDS" tried "$lead" 'no room' 1
    began=$(now_ms)
    wait_until "$E2E_WAIT_SECONDS" tried "$lead" 'no room' 4
    [ $(($(now_ms) - began)) -gt 2500 ]
    disk "$victim"
    wait_ready "$victim"
    http GET "$victim" '/kv?prefix=a/'
    holds '.items | length == 300'
    same_everywhere
}

@test "no copy is begun that might fill the disk" {
    one_disk --trailing-entries 10
    put_many node1 a/ 1 300
    wait_until "$E2E_WAIT_SECONDS" log_begins_behind node1 100
    disk node1 'snapshot write full'
    start_standby node2
    json_post node1 /members "{\"name\":\"node2\",\"url\":\"$(url_of node2)\"}"
    replied 200
    wait_until "$E2E_WAIT_SECONDS" tried node1 'no room for a copy' 2
    [ -z "$(compgen -G "$(data_dir_of node1)/snapshot.*")" ]
    disk node1
    wait_ready node2
    same_everywhere
}

# ---- power loss

@test "power loss of one node at a sync: nothing acknowledged is lost" {
    local rule
    one_disk --trailing-entries 10
    begin_load -r 0 -c 8
    for rule in 'raft.db sync powerloss after=30' 'raft.db sync powerloss after=5 seed=1' \
        'kv sync powerloss after=3 seed=2' 'raft.db write powerloss after=40 seed=3' \
        'raft.db truncate powerloss seed=4' 'kv write powerloss after=10 seed=5'; do
        await_acks 50
        disk node1 "$rule"
        wait_until "$E2E_WAIT_SECONDS" test -e "$(node_dir node1)/status"
        echo end >"$(node_dir node1)/expected"
        disk node1
        on_disk restart_node node1
        wait_ready
    done
    await_acks 50
    end_load
    verify_load
    same_everywhere
}

@test "power loss of the leader, then of a follower: nothing acknowledged is lost" {
    local victim
    three_disks
    begin_load -c 4
    await_acks 50
    for victim in "$(leader)" "$(followers | head -n 1)"; do
        disk "$victim" 'raft.db sync powerloss after=10 seed=7'
        wait_until "$E2E_WAIT_SECONDS" test -e "$(node_dir "$victim")/status"
        echo end >"$(node_dir "$victim")/expected"
        disk "$victim"
        await_acks 50
        on_disk restart_node "$victim"
        wait_ready "$victim"
    done
    await_acks 50
    end_load
    verify_load
    same_everywhere
}
