# Members come, go and are replaced while clients write; leadership moves; nothing is lost.
# shellcheck disable=SC2016,SC2030,SC2031,SC2154,SC2317
load helper
load api
load cluster

# ---- what the tests ask

voters_are() { # NAMES, sorted: of the leader's view, no change under way
    local now
    now=$(curl -s --max-time 2 "$(leader_url)/members" | jq -r 'if .change then "changing" else
        [.members[] | "\(.name)=\(.role)"] | sort | join(" ") end')
    [ "$now" = "${*/%/=voter}" ]
}

await_voters() {
    wait_until "$E2E_WAIT_SECONDS" voters_are "$@" ||
        fail_with "members: $(curl -s "$(leader_url)/members")"
}

role_is() { # NAME ROLE
    [ "$(curl -s --max-time 2 "$(leader_url)/members" |
        jq -r ".members[] | select(.name == \"$1\") | .role")" = "$2" ]
}

says_removed() {
    http GET "$1" /kv/x && [ "$http_status" = 503 ] && [ "$(the .error.code)" = removed ]
}

state_of() {
    curl -s --max-time 2 "$(url_of "$1")/node" | jq -r .state
}

member_json() { # NAME [NAME TO GIVE]
    echo "{\"name\":\"${2:-$1}\",\"url\":\"$(url_of "$1")\"}"
}

# ---- add

@test "a node that joins becomes a voter, under load" {
    start_cluster 3
    begin_load -c 8
    await_acks 100
    prepare_node node4
    start_node node4 --join "$(url_of node4),$(url_of "$(followers | head -n 1)")"
    await_voters node1 node2 node3 node4
    wait_ready node4
    await_acks 100
    end_load
    [ "$gap_ms" -lt 3000 ]
    verify_load node4
    same_everywhere
}

@test "one node grows to three, and survives the loss of the first" {
    start_node node1
    wait_ready
    put_many node1 k/ 1 50
    start_node node2 --join "$(url_of node1)"
    await_voters node1 node2
    start_node node3 --join "$(url_of node2)"
    await_voters node1 node2 node3
    wait_ready
    [ "$(curl -s "$(url_of node2)/status" | jq .fault_tolerance)" = 1 ]
    kill_node node1
    wait_leader
    http GET node3 '/kv?prefix=k/&timeout=10s'
    holds '.items | length == 50'
    put node2 more x
}

@test "a standby waits until it is added, through any node; the same again: the same answer" {
    local follower
    start_cluster 3
    start_standby node4
    waits() {
        http GET node4 '/readyz?verbose' && [ "$http_status" = 503 ]
    }
    wait_until "$E2E_WAIT_SECONDS" waits
    http PUT node4 /kv/x --data-binary x
    refused 503 no_leader not_applied
    begin_load -c 8
    await_acks 50
    follower=$(followers | grep -vx node4 | head -n 1)
    json_post "$follower" /members "$(member_json node4)"
    replied 200
    holds '.members | length == 4'
    await_voters node1 node2 node3 node4
    json_post "$follower" /members "$(member_json node4)"
    replied 200
    holds '.change == null and (.members | length == 4)'
    wait_ready node4
    end_load
    verify_load node4
    same_everywhere
}

@test "auto_promote false: a learner, until it is promoted" {
    start_cluster 3
    start_standby node4
    json_post "$(leader)" /members \
        "{\"name\":\"node4\",\"url\":\"$(url_of node4)\",\"auto_promote\":false}"
    replied 200
    holds '.members[] | select(.name == "node4") | .role == "learner"'
    wait_ready node4
    put "$(leader)" learned x
    same_everywhere
    role_is node4 learner
    http GET node4 '/kv/learned?raw'
    [ "$http_body" = x ]
    http PUT node4 /kv/learned --data-binary y
    replied 200
    json_post "$(leader)" /leader '{"to":"node4"}'
    refused 400 bad_request not_applied
    json_post node4 /members/node4/promote '{}'
    replied 200
    role_is node4 voter
    json_post "$(leader)" /members/node4/promote '{}'
    replied 200
}

@test "what cannot be added is refused, and nothing changes" {
    local before other
    start_cluster 1
    start_node stranger
    start_standby node2
    wait_ready stranger
    free_port other
    before=$(curl -s "$(url_of node1)/members" | jq -c .configuration_index)
    bad() { # STATUS CODE JSON
        json_post node1 /members "$3"
        refused "$1" "$2" not_applied || fail_with "$3"
    }
    bad 400 bad_request ''
    bad 400 bad_request '{}'
    bad 400 bad_request '[]'
    bad 400 bad_request '{"name":"node2"}'
    bad 400 bad_request "{\"url\":\"$(url_of node2)\"}"
    bad 400 bad_request "{\"name\":\"node2\",\"url\":\"$(url_of node2)\",\"more\":1}"
    bad 400 bad_request "{\"name\":\"node2\",\"name\":\"node2\",\"url\":\"$(url_of node2)\"}"
    bad 400 bad_request "{\"name\":2,\"url\":\"$(url_of node2)\"}"
    bad 400 bad_request "{\"name\":\"node2\",\"url\":\"$(url_of node2)\",\"auto_promote\":1}"
    bad 400 bad_request "{\"name\":\"no de\",\"url\":\"$(url_of node2)\"}"
    bad 400 bad_request '{"name":"node2","url":"node2:5001"}'
    bad 400 bad_request '{"name":"node2","url":"http://127.0.0.1:5001/path"}'
    bad 400 bad_request '{"name":"node2","url":"https://127.0.0.1:5001"}'
    bad 400 bad_request '{"name":"node2","url":"http://127.0.0.1:99999"}'
    bad 409 conflict "{\"name\":\"node3\",\"url\":\"$(url_of node2)\"}"
    bad 409 conflict "$(member_json stranger)"
    json_post node1 '/members?timeout=1s' "{\"name\":\"node9\",\"url\":\"http://127.0.0.1:$other\"}"
    refused 503 no_leader not_applied
    json_post node1 '/members?x' "$(member_json node2)"
    refused 400 bad_request not_applied
    [ "$(curl -s "$(url_of node1)/members" | jq -c .configuration_index)" = "$before" ]
    kill_node stranger
    json_post node1 /members "$(member_json node2)"
    replied 200
    await_voters node1 node2
}

# ---- remove

@test "a removed follower answers 503 removed and never campaigns" {
    local gone id term
    start_cluster 3
    begin_load -c 8
    await_acks 50
    gone=$(followers | head -n 1)
    id=$(curl -s "$(url_of "$gone")/node" | jq -r .id)
    http DELETE "$(followers | tail -n 1)" "/members/$id"
    replied 200
    holds '.members | length == 2'
    wait_until "$E2E_WAIT_SECONDS" says_removed "$gone"
    term=$(term_of "$(leader)")
    refused 503 removed
    http PUT "$gone" /kv/x --data-binary x
    refused 503 removed not_applied
    http GET "$gone" '/kv/x?consistency=stale'
    refused 503 removed
    for path in '/kv/x?consistency=stale' /kv /readyz /status /members /leader; do
        http GET "$gone" "$path"
        refused 503 removed || fail_with "$path"
        holds '.error.retryable == false'
    done
    http DELETE "$gone" "/members/$id"
    refused 503 removed not_applied
    json_post "$gone" /leader '{}'
    refused 503 removed not_applied
    http GET "$gone" /livez
    replied 200
    # Five election timeouts, as many writes as it takes.
    local end=$(($(date +%s%3N) + 2500))
    while [ "$(date +%s%3N)" -lt "$end" ]; do
        await_acks 20
    done
    [ "$(state_of "$gone")" = removed ]
    [ "$(term_of "$(leader)")" -eq "$term" ]
    kill_node "$gone"
    restart_node "$gone"
    wait_until "$E2E_WAIT_SECONDS" says_removed "$gone"
    await_acks 100
    [ "$(term_of "$(leader)")" -eq "$term" ]
    kill_node "$gone"
    end_load
    verify_load
    same_everywhere
}

asked_for_votes() { # NAME: since it was started
    curl -s --max-time 2 "$(url_of "$1")/debug/trace" | grep -q 'asks who would vote'
}

knows_it_is_removed() { # NAME: of itself, and asks nobody for a vote in five election timeouts
    local end
    wait_until "$E2E_WAIT_SECONDS" says_removed "$1"
    end=$(($(date +%s%3N) + 2500))
    while [ "$(date +%s%3N)" -lt "$end" ]; do
        put "$(leader)" goes on
    done
    says_removed "$1"
    ! asked_for_votes "$1"
}

@test "a removal is remembered over kill -9, before anything is flushed" {
    local gone
    start_cluster 3
    put node1 before x
    gone=$(followers | head -n 1)
    http DELETE "$(leader)" "/members/$gone"
    replied 200
    wait_until "$E2E_WAIT_SECONDS" says_removed "$gone"
    kill_node "$gone"
    restart_node "$gone"
    knows_it_is_removed "$gone"
}

@test "who missed its removal is told by any member, once and for all" {
    local gone
    start_cluster 3
    put node1 before x
    gone=$(followers | head -n 1)
    kill_node "$gone"
    start_standby node4
    json_post "$(leader)" "/members/$gone/replace?timeout=20s" "$(member_json node4)"
    replied 200
    # shellcheck disable=SC2046
    await_voters $(running_nodes)
    # The leader is one that it never heard of.
    wait_until "$E2E_WAIT_SECONDS" handed_over "$(leader)" '{"to":"node4"}'
    restart_node "$gone"
    wait_until "$E2E_WAIT_SECONDS" says_removed "$gone"
    asked_for_votes "$gone"
    kill_node "$gone"
    restart_node "$gone"
    knows_it_is_removed "$gone"
    [ "$(leader)" = node4 ]
}

@test "the leader itself is removed, under load" {
    local gone
    start_cluster 3
    begin_load -s -c 8
    await_acks 100
    gone=$(leader)
    http DELETE "$gone" "/members/$gone?timeout=10s"
    # It may hand over before it can tell.
    [ "$http_status" = 200 ] || refused 503 no_leader unknown
    wait_until "$E2E_WAIT_SECONDS" says_removed "$gone"
    await_acks 200
    [ "$(leader)" != "$gone" ]
    end_load
    [ "$gap_ms" -lt 5000 ]
    kill_node "$gone"
    voters_are node1 node2 node3 || true
    [ "$(curl -s "$(leader_url)/members" | jq '.members | length')" -eq 2 ]
    verify_load
    same_everywhere
}

@test "a removed node comes back with an empty directory" {
    local gone
    start_cluster 3
    put_many node1 k/ 1 50
    gone=$(followers | head -n 1)
    http DELETE "$(leader)" "/members/$gone"
    replied 200
    wait_until "$E2E_WAIT_SECONDS" says_removed "$gone"
    # Not with the old one.
    json_post "$(leader)" /members "$(member_json "$gone")"
    refused 409 conflict not_applied
    kill_node "$gone"
    rm -r "$(data_dir_of "$gone")"
    # shellcheck disable=SC2046
    start_node "$gone" --join "$(url_of $(running_nodes | head -n 1))"
    await_voters node1 node2 node3
    wait_ready
    http GET "$gone" '/kv?prefix=k/&consistency=stale'
    holds '.items | length == 50'
}

@test "the last voter cannot be removed" {
    start_cluster 1
    http DELETE node1 /members/node1
    [[ $http_status =~ ^(400|409)$ ]]
    holds '.error.outcome == "not_applied"'
    put node1 still here
}

# ---- replace

@test "replace a live follower and the leader, under load" {
    local old new
    start_cluster 3
    begin_load -s -c 8
    await_acks 100
    old=$(followers | head -n 1)
    start_standby node4
    json_post "$(leader)" "/members/$old/replace?timeout=20s" "$(member_json node4)"
    replied 200
    # shellcheck disable=SC2046
    await_voters $(printf '%s\n' node1 node2 node3 node4 | grep -vx "$old")
    wait_until "$E2E_WAIT_SECONDS" says_removed "$old"
    kill_node "$old"
    await_acks 100
    old=$(leader)
    start_standby node5
    json_post "$old" "/members/$old/replace?timeout=20s" "$(member_json node5)"
    [ "$http_status" = 200 ] || refused 503 no_leader unknown
    wait_until "$E2E_WAIT_SECONDS" says_removed "$old"
    kill_node "$old"
    wait_ready
    # shellcheck disable=SC2046
    await_voters $(running_nodes)
    end_load
    [ "$gap_ms" -lt 5000 ]
    new=node5
    verify_load "$new"
    same_everywhere
}

@test "a dead member is replaced by one of another name" {
    local old
    start_cluster 3
    put_many node1 k/ 1 50
    old=$(followers | head -n 1)
    kill_node "$old"
    start_standby node4
    json_post "$(leader)" "/members/$old/replace?timeout=20s" "$(member_json node4)"
    replied 200
    # shellcheck disable=SC2046
    await_voters $(running_nodes)
    wait_ready
    same_everywhere
    restart_node "$old"
    wait_until "$E2E_WAIT_SECONDS" says_removed "$old"
    kill_node "$old"
}

# ---- what becomes of a change whose leader has no majority

@test "a change that its leader cannot commit is of unknown outcome" {
    local lead gone name
    start_cluster 3
    lead=$(leader)
    gone=$(followers | head -n 1)
    for name in $(followers); do
        pause_node "$name"
    done
    http DELETE "$lead" "/members/$gone?timeout=30s"
    refused 503 no_leader unknown
    holds '.error.retryable == false'
    for name in node1 node2 node3; do
        [ "$name" = "$lead" ] || resume_node "$name"
    done
    # Whether it was done in the end is not known; who stays goes on.
    for name in node1 node2 node3; do
        [ "$name" = "$gone" ] || wait_ready "$name"
    done
}

@test "a change under way when its leader stops is of unknown outcome" {
    local lead gone name answer=$BATS_TEST_TMPDIR/answer
    start_cluster 3 --election-timeout 10s
    lead=$(leader)
    gone=$(followers | head -n 1)
    for name in $(followers); do
        pause_node "$name"
    done
    curl -s --max-time 40 -X DELETE "$(url_of "$lead")/members/$gone?timeout=30s" >"$answer" 3>&- &
    local client=$!
    changing() {
        http GET "$lead" /members
        holds '.change.kind == "remove"' 2>/dev/null
    }
    wait_until "$E2E_WAIT_SECONDS" changing
    signal_node "$lead" TERM
    wait "$client"
    http_body=$(<"$answer")
    holds '.error | .code == "shutting_down" and .outcome == "unknown"'
    run wait_exit "$lead"
    assert_success
}

# ---- one at a time; what is not there

@test "a change while another runs is 409 conflict" {
    local lead paused
    start_cluster 3 --election-timeout 2s
    start_standby node4
    lead=$(leader)
    paused=$(followers | grep -vx node4)
    # Two of three stand still: what begins now does not end.
    for name in $paused; do
        pause_node "$name"
    done
    http DELETE "$lead" "/members/$(head -n 1 <<<"$paused")?timeout=200ms"
    refused 504 timeout unknown
    http GET "$lead" /members
    holds '.change.kind == "remove" and .change.phase == "joint"'
    http DELETE "$lead" "/members/$(tail -n 1 <<<"$paused")?timeout=200ms"
    refused 409 conflict not_applied
    holds .error.retryable
    json_post "$lead" '/members?timeout=200ms' "$(member_json node4)"
    refused 409 conflict not_applied
    for name in $paused; do
        resume_node "$name"
    done
    settled() {
        http GET "$(leader)" /members
        holds '.change == null' 2>/dev/null
    }
    wait_until "$E2E_WAIT_SECONDS" settled
    wait_leader
}

@test "unknown members are 404" {
    start_cluster 1
    for id in nobody 0123456789abcdef '%00' 'no%20de' ..; do
        http DELETE node1 "/members/$id"
        refused 404 not_found not_applied
        json_post node1 "/members/$id/promote" '{}'
        refused 404 not_found not_applied
        json_post node1 "/members/$id/replace" '{"name":"node2","url":"http://127.0.0.1:1"}'
        refused 404 not_found not_applied
    done
    json_post node1 /leader '{"to":"nobody"}'
    refused 404 not_found not_applied
    json_post node1 /leader '{"to":1}'
    refused 400 bad_request not_applied
    json_post node1 /leader '{"whom":"node1"}'
    refused 400 bad_request not_applied
}

# ---- transfer

@test "leadership goes to whom it is asked for, or to the best" {
    local old new term
    start_cluster 3
    begin_load -s -c 8
    await_acks 50
    old=$(leader)
    new=$(followers | head -n 1)
    term=$(term_of "$old")
    wait_until "$E2E_WAIT_SECONDS" handed_over "$(followers | tail -n 1)" "{\"to\":\"$new\"}"
    [ "$(leader)" = "$new" ]
    [ "$(term_of "$new")" -gt "$term" ]
    await_acks 50
    wait_until "$E2E_WAIT_SECONDS" handed_over "$new" '{}'
    [ "$(leader)" != "$new" ]
    await_acks 50
    # By member id; to itself: it leads already.
    wait_until "$E2E_WAIT_SECONDS" handed_over "$(leader)" "{\"to\":\"$(curl -s "$(url_of "$old")/node" | jq -r .id)\"}"
    [ "$(leader)" = "$old" ]
    term=$(term_of "$old")
    json_post "$old" /leader "{\"to\":\"$old\"}"
    replied 200
    [ "$(term_of "$old")" -eq "$term" ]
    end_load
    [ "$gap_ms" -lt 2000 ]
    verify_load
}

@test "a hand-over that was done says so" {
    local i to term
    start_cluster 3 --election-timeout 2s
    term=$(term_of "$(leader)")
    for i in 1 2 3; do
        to=$(followers | head -n 1)
        json_post "$(leader)" /leader "{\"to\":\"$to\"}"
        replied 200
        [ "$(leader)" = "$to" ]
        [ "$(term_of "$to")" -eq $((term + i)) ]
    done
}

@test "a transfer to a node that stands still fails, and the leader goes on" {
    local lead still term
    start_cluster 3
    lead=$(leader)
    still=$(followers | head -n 1)
    term=$(term_of "$lead")
    pause_node "$still"
    # It lacks an entry, so it is not even told.
    http PUT "$lead" '/kv/on?timeout=10s' --data-binary x
    replied 200
    json_post "$lead" /leader "{\"to\":\"$still\"}"
    refused 503 no_leader not_applied
    http PUT "$lead" '/kv/on?timeout=10s' --data-binary y
    replied 200
    resume_node "$still"
    same_everywhere
    [ "$(term_of "$lead")" -eq "$term" ]
}

@test "a transfer whose target may yet take over is of unknown outcome" {
    local lead still
    start_cluster 3
    lead=$(leader)
    same_everywhere
    still=$(followers | head -n 1)
    pause_node "$still"
    json_post "$lead" /leader "{\"to\":\"$still\"}"
    refused 503 no_leader unknown
    holds .error.retryable
    http PUT "$lead" '/kv/on?timeout=10s' --data-binary x
    replied 200
    resume_node "$still"
    wait_ready
    http PUT "$still" '/kv/on?timeout=10s' --data-binary y
    replied 200
}

# ---- snapshots

@test "a node far behind catches up by a snapshot, under load" {
    local behind
    start_cluster 3 --trailing-entries 100
    behind=$(followers | head -n 1)
    put_many "$behind" old/ 1 100
    kill_node "$behind"
    begin_load -r 0 -c 8 -v 2000
    await_acks 1000
    compacted() {
        [ "$(curl -s "$(leader_url)/node" | jq .index.first)" -gt 300 ]
    }
    wait_until "$E2E_WAIT_SECONDS" compacted
    restart_node "$behind"
    wait_ready "$behind"
    caught_up() {
        [ "$(metric_of "$behind" raftkv_snapshots_installed_total)" -ge 1 ]
    }
    wait_until "$E2E_WAIT_SECONDS" caught_up
    await_acks 100
    end_load
    same_everywhere
    http GET "$behind" '/kv?prefix=old/&consistency=stale'
    holds '.items | length == 100'
    kill_node "$behind"
    restart_node "$behind"
    wait_ready "$behind"
    same_everywhere
    verify_load "$behind"
}

@test "a new node gets a snapshot of many chunks" {
    local i
    start_cluster 1 --trailing-entries 10
    head -c 1000000 /dev/urandom >"$BATS_TEST_TMPDIR/large"
    for i in {1..24}; do
        http PUT node1 "/kv/large/$i" --data-binary "@$BATS_TEST_TMPDIR/large"
        replied 200
    done
    put_many node1 small/ 1 100
    compacted() {
        [ "$(curl -s "$(url_of node1)/node" | jq .index.first)" -gt 30 ]
    }
    wait_until "$E2E_WAIT_SECONDS" compacted
    start_node node2 --join "$(url_of node1)"
    await_voters node1 node2
    wait_ready node2
    [ "$(metric_of node2 raftkv_snapshots_installed_total)" -ge 1 ]
    same_everywhere
    http GET node2 '/kv/large/17?raw&consistency=stale'
    cmp "$(body_file)" "$BATS_TEST_TMPDIR/large"
    http GET node2 '/kv?prefix=small/&consistency=stale'
    holds '.items | length == 100'
}
