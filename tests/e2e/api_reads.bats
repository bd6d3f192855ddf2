# How reads and writes are served: consistency, waiting, redirection, retries with a session.
# shellcheck disable=SC2016,SC2030,SC2031,SC2154
load helper
load api

setup_file() {
    export E2E_DIR=$BATS_FILE_TMPDIR
    three_nodes
}

# ---- reads

@test "each consistency, on each node" {
    local node mode
    put "$LEADER" read one
    for node in node1 node2 node3; do
        for mode in linearizable lease stale; do
            http GET "$node" "/kv/read?consistency=$mode&min_index=$version"
            replied 200
            holds '.value == "one"'
            [ "$(http_header RaftKV-Index)" -ge "$version" ]
            http GET "$node" "/kv?prefix=read&consistency=$mode&min_index=$version"
            holds '.items[0].value == "one" and .index >= ($v | tonumber)' --arg v "$version"
        done
    done
}

@test "a read without a mode sees every write answered before it" {
    local i node
    for i in {1..30}; do
        put "node$((i % 3 + 1))" fresh "$i"
        node=node$(((i + 1) % 3 + 1))
        http GET "$node" '/kv/fresh?raw'
        [ "$http_body" = "$i" ]
    done
}

reads_of() { # NODE KIND: how many it served
    curl -s "$(url_of "$1")/metrics" | sed -n "s/^raftkv_reads_$2_total //p"
}

@test "a lease read needs no round" {
    local index lease
    find_roles
    put "$LEADER" lease one
    index=$(reads_of "$LEADER" index)
    lease=$(reads_of "$LEADER" lease)
    http GET "$LEADER" '/kv/lease?consistency=lease'
    holds '.value == "one"'
    [ "$(reads_of "$LEADER" index)" -eq "$index" ]
    [ "$(reads_of "$LEADER" lease)" -eq $((lease + 1)) ]
}

@test "--read-mode is the mode of a read that names none" {
    start_node alone --read-mode stale
    wait_ready alone
    put alone k v
    http GET alone /kv/k
    replied 200
    [ "$(reads_of alone stale) $(reads_of alone index)" = '1 0' ]
    http GET alone '/kv/k?consistency=linearizable'
    replied 200
    [ "$(reads_of alone stale) $(reads_of alone index)" = '1 1' ]
    kill_node alone
}

@test "min_index waits until the node has applied it" {
    local file=$BATS_TEST_TMPDIR/waited pid
    put "$LEADER" wait one
    http GET "$FOLLOWER" "/kv/wait?consistency=stale&min_index=$((version + 1))&timeout=200ms"
    refused 504 timeout
    curl -s "$(url_of "$FOLLOWER")/kv/wait?raw&consistency=stale&min_index=$((version + 1))" >"$file" &
    pid=$!
    put "$LEADER" wait two
    wait "$pid"
    [ "$(<"$file")" = two ]
    http GET "$LEADER" "/kv?min_index=$((version + 1000))&timeout=100ms"
    refused 504 timeout
}

@test "max_stale_ms bounds a stale read" {
    local alone=node1 name
    put "$LEADER" old value
    http GET "$FOLLOWER" /kv/old # what it has applied behind this is as new
    replied 200
    http GET "$FOLLOWER" '/kv/old?consistency=stale&max_stale_ms=60000'
    replied 200
    http GET "$LEADER" '/kv/old?consistency=stale&max_stale_ms=60000'
    replied 200
    printf '/kv/old?%s\n' max_stale_ms=100 'consistency=linearizable&max_stale_ms=100' \
        'consistency=lease&max_stale_ms=100' | all_refused 400 bad_request "$FOLLOWER" GET
    alone=$FOLLOWER
    for name in node1 node2 node3; do
        [ "$name" = "$alone" ] || pause_node "$name"
    done
    too_stale() {
        http GET "$alone" '/kv/old?consistency=stale&max_stale_ms=300'
        [ "$http_status" = 503 ]
    }
    wait_until "$E2E_WAIT_SECONDS" too_stale
    refused 503 too_stale
    http GET "$alone" '/kv/old?consistency=stale&max_stale_ms=60000'
    replied 200
    holds '.value == "value"'
    http GET "$alone" '/kv/old?consistency=stale'
    replied 200
    http GET "$alone" '/kv/old?timeout=300ms'
    [ "$http_status" = 503 ] || [ "$http_status" = 504 ]
    for name in node1 node2 node3; do
        [ "$name" = "$alone" ] || resume_node "$name"
    done
    wait_ready node1 node2 node3
    find_roles
    http GET "$alone" '/kv/old?raw&timeout=10s'
    [ "$http_body" = value ]
}

@test "without a majority: 504 timeout and unknown for a write, within its timeout" {
    local name lead
    find_roles
    put "$LEADER" quorum one
    lead=$LEADER
    for name in node1 node2 node3; do
        [ "$name" = "$lead" ] || pause_node "$name"
    done
    # At once, while it still leads.
    http PUT "$lead" '/kv/quorum?timeout=200ms' --data-binary two
    refused 504 timeout unknown
    no_leader() {
        http PUT "$lead" '/kv/quorum?timeout=200ms' --data-binary three
        [ "$http_status" = 503 ]
    }
    # check-quorum: it gives up leadership.
    wait_until "$E2E_WAIT_SECONDS" no_leader
    refused 503 no_leader not_applied
    http GET "$lead" '/kv/quorum?timeout=200ms'
    [ "$http_status" = 503 ] || [ "$http_status" = 504 ]
    http GET "$lead" '/readyz'
    refused 503 no_leader
    for name in node1 node2 node3; do
        [ "$name" = "$lead" ] || resume_node "$name"
    done
    wait_ready node1 node2 node3
    find_roles
    http GET "$lead" '/kv/quorum?raw&timeout=10s'
    [[ $http_body =~ ^(one|two|three)$ ]]
}

# ---- redirection

@test "redirect: 307 to the leader, same path and query" {
    find_roles
    put "$LEADER" a%2Fb%00 one
    http GET "$FOLLOWER" '/kv/a%2Fb%00?redirect&raw'
    replied 307
    [ "$(http_header Location)" = "$(url_of "$LEADER")/kv/a%2Fb%00?redirect&raw" ]
    http GET "$FOLLOWER" '/kv/a%2Fb%00?redirect&raw' -L
    [ "$http_body" = one ]
    http PUT "$FOLLOWER" '/kv/a%2Fb%00?redirect' --data-binary two
    replied 307
    http PUT "$FOLLOWER" '/kv/a%2Fb%00?redirect' --data-binary two -L
    replied 200
    http GET "$FOLLOWER" '/kv?prefix=a&redirect=true'
    replied 307
    [ "$(http_header Location)" = "$(url_of "$LEADER")/kv?prefix=a&redirect=true" ]
    http DELETE "$FOLLOWER" '/kv/a%2Fb%00?redirect'
    replied 307
    http GET "$FOLLOWER" '/kv/a%2Fb%00?redirect=false&raw'
    [ "$http_body" = two ]
    while read -r method path; do
        http "$method" "$FOLLOWER" "$path?timeout=9s&redirect" -H 'Content-Type: application/json'
        replied 307
        [ "$(http_header Location)" = "$(url_of "$LEADER")$path?timeout=9s&redirect" ]
    done <<'END'
POST /members
DELETE /members/nobody
POST /members/nobody/promote
POST /members/nobody/replace
POST /leader
END
    http DELETE "$FOLLOWER" '/members/nobody?redirect' -L
    refused 404 not_found not_applied
    http POST "$FOLLOWER" '/leader?redirect=maybe' -H 'Content-Type: application/json'
    refused 400 bad_request not_applied
    for how in redirect redirect=1; do
        http PUT "$LEADER" "/kv/a%2Fb%00?$how" --data-binary three
        replied 200
    done
    http GET "$FOLLOWER" '/kv/a%2Fb%00?redirect&consistency=stale'
    replied 200
}

# ---- sessions

# write CLIENT SEQ METHOD NODE PATH [CURL…]
write() {
    local client=$1 seq=$2
    shift 2
    http "$1" "$2" "$3" -H "RaftKV-Client: $client" -H "RaftKV-Seq: $seq" "${@:4}"
}

@test "the same number returns the first answer, on whichever node" {
    local node first
    find_roles
    write same 1 PUT "$FOLLOWER" /kv/same --data-binary one
    replied 200
    [ -z "$(http_header RaftKV-Replayed)" ]
    first=$http_body
    put "$LEADER" same overwritten
    for node in node1 node2 node3; do
        write same 1 PUT "$node" /kv/same --data-binary one
        replied 200
        [ "$http_body" = "$first" ]
        [ "$(http_header RaftKV-Replayed)" = 1 ]
        [ "$(http_header ETag)" = "\"$(jq .version <<<"$first")\"" ]
    done
    http GET "$FOLLOWER" '/kv/same?raw'
    [ "$http_body" = overwritten ]
}

@test "412 and deleted:false are answers like others" {
    local node first
    find_roles
    put "$LEADER" answers one
    write answers 1 PUT "$LEADER" /kv/answers --data-binary two -H 'If-Match: "1"'
    refused 412 precondition_failed not_applied
    first=$http_body
    put "$LEADER" answers three
    for node in node1 node2 node3; do
        write answers 1 PUT "$node" /kv/answers --data-binary two -H 'If-Match: "1"'
        refused 412 precondition_failed
        [ "$http_body" = "$first" ]
        [ "$(http_header RaftKV-Replayed)" = 1 ]
    done
    write answers 2 DELETE "$FOLLOWER" /kv/not-there
    holds '.deleted == false'
    first=$http_body
    put "$LEADER" not-there now
    write answers 2 DELETE "$LEADER" /kv/not-there
    holds '.deleted == false'
    [ "$http_body" = "$first" ]
    http GET "$LEADER" /kv/not-there
    replied 200
    write answers 3 DELETE "$LEADER" /kv/not-there
    holds '.deleted == true'
    write answers 3 DELETE "$FOLLOWER" /kv/not-there
    holds '.deleted == true'
    [ "$(http_header RaftKV-Replayed)" = 1 ]
}

@test "higher is new, lower is seq_old, unknown with a number over 1 is session_unknown" {
    find_roles
    write order 1 PUT "$LEADER" /kv/order --data-binary one
    replied 200
    write order 7 PUT "$FOLLOWER" /kv/order --data-binary seven
    replied 200
    for seq in 1 2 6; do
        write order "$seq" PUT "$FOLLOWER" /kv/order --data-binary wrong
        refused 409 seq_old unknown # of what that number was, nothing is known any more
    done
    http GET "$FOLLOWER" '/kv/order?raw'
    [ "$http_body" = seven ]
    write order 9007199254740991 PUT "$FOLLOWER" /kv/order --data-binary last
    replied 200
    write unknown 2 PUT "$FOLLOWER" /kv/order --data-binary wrong
    refused 409 session_unknown not_applied
    write unknown 1 PUT "$FOLLOWER" /kv/order --data-binary right
    replied 200
    write unknown 2 PUT "$FOLLOWER" /kv/order --data-binary right
    replied 200
}

@test "the same number with another request is seq_reused" {
    local match
    find_roles
    put "$LEADER" other x
    match=$version
    write reused 1 PUT "$LEADER" /kv/reused --data-binary one
    replied 200
    write reused 1 PUT "$FOLLOWER" /kv/reused --data-binary two
    refused 409 seq_reused not_applied
    write reused 1 PUT "$FOLLOWER" /kv/other --data-binary one
    refused 409 seq_reused not_applied
    write reused 1 DELETE "$FOLLOWER" /kv/reused
    refused 409 seq_reused not_applied
    write reused 1 PUT "$FOLLOWER" /kv/reused --data-binary one -H "If-Match: \"$match\""
    refused 409 seq_reused not_applied
    write reused 1 PUT "$FOLLOWER" /kv/reused --data-binary one -H 'If-None-Match: *'
    refused 409 seq_reused not_applied
    write reused 1 PUT "$FOLLOWER" '/kv/reused?timeout=9s' --data-binary one
    replied 200
    [ "$(http_header RaftKV-Replayed)" = 1 ]
    http GET "$FOLLOWER" '/kv/reused?raw'
    [ "$http_body" = one ]
}

@test "what is no client and no number is 400" {
    local node long seq=0
    find_roles
    long=$(printf 'c%.0s' {1..65})
    for node in "$LEADER" "$FOLLOWER"; do
        {
            printf '/kv/bad\tRaftKV-Client: c\tRaftKV-Seq: %s\n' 0 -1 +1 x 1x 1.0 '"1"' \
                9007199254740992 18446744073709551617
            printf '/kv/bad\t%s\n' 'RaftKV-Client: c' 'RaftKV-Seq: 1' \
                $'RaftKV-Client: c\tRaftKV-Seq;' $'RaftKV-Client;\tRaftKV-Seq: 1' \
                $'RaftKV-Client: c\tRaftKV-Client: c\tRaftKV-Seq: 1' \
                $'RaftKV-Client: c\tRaftKV-Seq: 1\tRaftKV-Seq: 1' \
                "RaftKV-Client: $long"$'\tRaftKV-Seq: 1' $'RaftKV-Client: \xc3\xa9\tRaftKV-Seq: 1'
        } >"$BATS_TEST_TMPDIR/bad"
        all_refused 400 bad_request "$node" PUT <"$BATS_TEST_TMPDIR/bad"
        all_refused 400 bad_request "$node" DELETE <"$BATS_TEST_TMPDIR/bad"
        write "${long:1}" "$((++seq))" PUT "$node" /kv/good --data-binary x
        replied 200
        write "all of: <printable>~$node" 1 PUT "$node" /kv/good --data-binary x
        replied 200
    done
    http GET "$LEADER" /kv/bad
    refused 404 not_found
}

@test "sessions outlive a change of leader and a restart of all nodes" {
    local first second node
    find_roles
    write lasting 1 PUT "$LEADER" /kv/lasting --data-binary one
    first=$http_body
    wait_until "$E2E_WAIT_SECONDS" handed_over "$LEADER" "{\"to\":\"$FOLLOWER\"}"
    wait_ready node1 node2 node3
    for node in node1 node2 node3; do
        write lasting 1 PUT "$node" '/kv/lasting?timeout=10s' --data-binary one
        replied 200
        [ "$http_body" = "$first" ]
    done
    write lasting 2 DELETE "$LEADER" /kv/lasting
    second=$http_body
    for node in node1 node2 node3; do
        kill_node "$node"
    done
    for node in node1 node2 node3; do
        restart_node "$node"
    done
    wait_ready node1 node2 node3
    write lasting 2 DELETE "$FOLLOWER" '/kv/lasting?timeout=10s'
    replied 200
    [ "$http_body" = "$second" ]
    [ "$(http_header RaftKV-Replayed)" = 1 ]
    write lasting 1 PUT "$FOLLOWER" '/kv/lasting?timeout=10s' --data-binary one
    refused 409 seq_old
    http GET "$FOLLOWER" /kv/lasting
    refused 404 not_found
}
