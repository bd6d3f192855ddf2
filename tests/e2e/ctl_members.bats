# raftkv-ctl on a cluster of three: who leads, who is a member, and a node that is gone.
# shellcheck disable=SC2030,SC2031,SC2154
load helper

setup() {
    start_cluster 3
}

role_of() {
    ctl -o json status | jq -r --arg name "$1" '.members[] | select(.name == $name) | .role'
}

member_names() {
    ctl -o json member list | jq -r '.members[].name' | sort | paste -sd' ' -
}

@test "leader transfer: to a member by name, by id, to the best follower" {
    old=$(leader)
    to=$(followers | head -n 1)
    run ctl leader transfer "$to"
    assert_success
    assert_output "$to"
    run ctl leader
    assert_output "$to"
    run ctl leader transfer "$(ctl -o json status | jq -r --arg n "$old" '.members[] | select(.name == $n) | .id')"
    assert_success
    assert_output "$old"
    run ctl leader transfer
    assert_success
    refute_output "$old"
    run ctl leader transfer "$(ctl leader)"
    assert_success
}

@test "any endpoint will do, the first that answers" {
    for name in node1 node2 node3; do
        "$RAFTKV_BIN/raftkv-ctl" --endpoints "$(url_of $name)" put "by/$name" "$name" >/dev/null
    done
    for name in node1 node2 node3; do
        run "$RAFTKV_BIN/raftkv-ctl" --endpoints "$(url_of $name)" scan by/
        assert_output $'by/node1\tnode1\nby/node2\tnode2\nby/node3\tnode3'
    done
    kill_node "$(leader)"
    run ctl put after-the-kill v
    assert_success
    run ctl get after-the-kill
    assert_output v
}

@test "a stopped leader: the write ends on another endpoint, under its own session" {
    lead=$(leader)
    others=$(followers | while read -r name; do url_of "$name"; done | paste -sd, -)
    pause_node "$lead"
    run "$RAFTKV_BIN/raftkv-ctl" --timeout 20s --endpoints "$(url_of "$lead"),$others" put paused v
    put_status=$status
    resume_node "$lead"
    assert_equal "$put_status" 0
    run ctl get paused
    assert_output v
}

@test "without a majority: a write is exit status 5 or 4, a read 4" {
    for name in $(followers); do
        kill_node "$name"
    done
    run ctl --timeout 1s put nobody v
    [[ $status == [45] ]]
    run ctl --timeout 1s get nobody
    assert_equal "$status" 4
}

@test "health and node name the endpoint that is gone: exit status 4" {
    run ctl health
    assert_success
    gone=$(followers | head -n 1)
    kill_node "$gone"
    run --separate-stderr ctl health
    assert_equal "$status" 4
    assert_line --regexp "^$(url_of "$gone") +no answer"
    [[ $stderr == *"$(url_of "$gone")"* ]]
    run --separate-stderr ctl node
    assert_equal "$status" 4
    assert_equal "$(grep -c '^endpoint' <<<"$output")" 2
    [[ $stderr == *"$(url_of "$gone")"* ]]
}

@test "member add: catches up, is promoted, and is waited for" {
    put_many node1 k 1 500
    start_standby node4
    run --separate-stderr ctl member add node4 "$(url_of node4)"
    assert_success
    assert_output --regexp '^node4  [0-9a-f]{16}  voter$'
    assert_equal "$(role_of node4)" voter
    wait_ready node4
    run "$RAFTKV_BIN/raftkv-ctl" --endpoints "$(url_of node4)" get k000500
    assert_output value-500
    # The same member again is the same answer.
    run ctl member add node4 "$(url_of node4)"
    assert_success
    assert_equal "$(member_names)" 'node1 node2 node3 node4'
}

@test "member add --learner, promote" {
    start_standby node4
    run ctl member add --learner node4 "$(url_of node4)"
    assert_success
    assert_output --regexp '^(raftkv-ctl: .*\n)*node4  [0-9a-f]{16}  learner$'
    assert_equal "$(role_of node4)" learner
    run ctl -o json member promote node4
    assert_success
    assert_equal "$(role_of node4)" voter
}

@test "member remove: by name, by id, also the leader" {
    gone=$(followers | head -n 1)
    run ctl member remove "$gone"
    assert_success
    refute [ "$(role_of "$gone")" ]
    run ctl member remove "$gone"
    assert_equal "$status" 1
    lead=$(leader)
    id=$(ctl -o json status | jq -r --arg n "$lead" '.members[] | select(.name == $n) | .id')
    run ctl --timeout 20s member remove "$id"
    assert_success
    run ctl put still v
    assert_success
    last=$(printf '%s\n' node1 node2 node3 | grep -vxe "$gone" -e "$lead")
    run "$RAFTKV_BIN/raftkv-ctl" --endpoints "$(url_of "$last")" -o json member list
    assert_equal "$(jq -r '.members[].name' <<<"$output")" "$last"
}

@test "member replace: one in, one out" {
    put_many node1 k 1 200
    gone=$(followers | head -n 1)
    kill_node "$gone"
    start_standby node4
    run --separate-stderr ctl --timeout 20s member replace "$gone" node4 "$(url_of node4)"
    assert_success
    assert_output --regexp '^node4  [0-9a-f]{16}  voter$'
    refute [ "$(role_of "$gone")" ]
    assert_equal "$(member_names | wc -w)" 3
    wait_ready node4
    run "$RAFTKV_BIN/raftkv-ctl" --endpoints "$(url_of node4)" get k000200
    assert_output value-200
}

@test "member add --wait: what is not done in time is exit status 5, and goes on" {
    start_standby node4
    pause_node node4
    run ctl --timeout 2s member add node4 "$(url_of node4)"
    [[ $status == [45] ]]
    resume_node node4
    run ctl --timeout 20s member add node4 "$(url_of node4)"
    assert_success
    kill_node node4
    run ctl member remove node4
    assert_success
}
