# Every command of raftkv-ctl on one node, and every exit status.
# shellcheck disable=SC2030,SC2031,SC2154
load helper

setup_file() {
    export E2E_DIR=$BATS_FILE_TMPDIR
    start_node node1
    wait_ready node1
}

# stderr is one line that begins with the program's name, and names $1.
assert_complaint() {
    [[ $stderr == raftkv-ctl:* ]] || fail_with "stderr: $stderr"
    [ "$(wc -l <<<"$stderr")" -eq 1 ] || fail_with "more than a line: $stderr"
    [[ $stderr == *"$1"* ]] || fail_with "does not name '$1': $stderr"
}

# ---- help and usage

@test "--help, of the program and of each command, goes to stdout" {
    run --separate-stderr "$RAFTKV_BIN/raftkv-ctl" --help
    assert_success
    assert_line --partial 'Usage: raftkv-ctl'
    [ -z "$stderr" ]
    for command in put get delete batch scan member leader status node health; do
        run --separate-stderr "$RAFTKV_BIN/raftkv-ctl" "$command" --help
        assert_success
        assert_line --partial "Usage: raftkv-ctl $command"
        [ -z "$stderr" ]
        run "$RAFTKV_BIN/raftkv-ctl" --help
        assert_line --regexp "^  $command "
    done
}

@test "--version names it" {
    run ctl --version
    assert_success
    assert_output --regexp '^raftkv-ctl [0-9]+\.[0-9]+\.[0-9]+$'
}

usage_error() { # what the line must name, arguments…
    local named=$1
    shift
    run --separate-stderr ctl "$@"
    [ "$status" -eq 2 ] || fail_with "exit status $status of: $*"
    [ -z "$output" ]
    assert_complaint "$named"
}

@test "unknown flags, commands and bad values are exit status 2 and named" {
    usage_error --frob --frob get a
    usage_error --frob get --frob a
    usage_error "'-z'" get -z a
    usage_error frobnicate frobnicate
    usage_error 'command is missing'
    usage_error xml -o xml get a
    usage_error 12parsecs --timeout 12parsecs get a
    usage_error 61s --timeout 61s get a
    usage_error eventual --consistency eventual get a
    usage_error minus put a b --if-version minus
    usage_error "'0'" put a b --if-version 0
    usage_error 'too few' get
    usage_error '"b"' get a b
    usage_error 'value is missing' put a
    usage_error 'exclude each other' put a b --file /dev/null
    usage_error 'exclude each other' put a b --if-absent --if-version 3
    usage_error 'one key' delete a b --if-version 3
    usage_error 'too few' delete
    usage_error 'exclude each other' scan -0 -o json
    usage_error frob member frob
    usage_error 'want add NAME URL' member add a
    usage_error 'is no name' member add 'a b' http://127.0.0.1:1
    usage_error 'is no name or id' member remove ''
    usage_error 'is no name or id' member promote 'a/b'
    usage_error 'is no name or id' member replace $'\xff' node9 http://127.0.0.1:1
    usage_error 'is no name or id' leader transfer ''
    usage_error frob leader frob
    usage_error /nonexistent put a --file /nonexistent
    usage_error /tmp put a --file /tmp
}

@test "bad endpoints are exit status 2 and named" {
    for bad in '' ',' 'http://a,,' https://a:1 http://a:1/b 'http://a b' http://a:99999; do
        run --separate-stderr "$RAFTKV_BIN/raftkv-ctl" --endpoints "$bad" get a
        [ "$status" -eq 2 ] || fail_with "exit status $status of '$bad'"
        assert_complaint endpoint
    done
    RAFTKV_ENDPOINTS=ftp://a run --separate-stderr "$RAFTKV_BIN/raftkv-ctl" get a
    assert_equal "$status" 2
    assert_complaint ftp://a
}

@test "RAFTKV_ENDPOINTS is the default, --endpoints beats it" {
    RAFTKV_ENDPOINTS=$(endpoints) run "$RAFTKV_BIN/raftkv-ctl" leader
    assert_output node1
    RAFTKV_ENDPOINTS=http://127.0.0.1:1 run "$RAFTKV_BIN/raftkv-ctl" leader --endpoints "$(endpoints)"
    assert_output node1
    run "$RAFTKV_BIN/raftkv-ctl" --endpoints "127.0.0.1:$(port_of node1)/" leader
    assert_output node1
}

# ---- put, get, delete

@test "put prints a version that grows, get the exact bytes" {
    run ctl put pg one
    assert_success
    assert_output --regexp '^[0-9]+$'
    first=$output
    run ctl put pg two
    assert_success
    [ "$output" -gt "$first" ]
    ctl get pg >"$BATS_TEST_TMPDIR/out"
    printf two | cmp - "$BATS_TEST_TMPDIR/out"
}

@test "values of any bytes, from stdin and from a file" {
    head -c 100000 /dev/urandom >"$BATS_TEST_TMPDIR/value"
    ctl put bytes - <"$BATS_TEST_TMPDIR/value"
    ctl get bytes | cmp - "$BATS_TEST_TMPDIR/value"
    ctl put bytes2 --file "$BATS_TEST_TMPDIR/value"
    ctl get bytes2 | cmp - "$BATS_TEST_TMPDIR/value"
    ctl put bytes3 --file - <"$BATS_TEST_TMPDIR/value"
    ctl get bytes3 | cmp - "$BATS_TEST_TMPDIR/value"
    ctl put empty ''
    run ctl get empty
    assert_success
    assert_output ''
    ctl put empty - </dev/null
    run ctl get empty
    assert_success
    assert_output ''
    ctl put -- -key -value
    run ctl get -- -key
    assert_output -- -value
}

@test "keys of any bytes" {
    for key in 'a/../b' . .. / // 'a+b' 'a b' 'a%2fb' '%' 'a?b#c&d=e' $'\xff\xfe' $'tab\tnew\nline' \
        'ключ' "$(head -c 4096 /dev/zero | tr '\0' k)"; do
        ctl put "$key" "value of $key"
        run ctl get "$key"
        assert_success
        assert_output "value of $key"
        run ctl delete --must-exist "$key"
        assert_success
        run ctl get "$key"
        assert_equal "$status" 1
    done
}

@test "get of a missing key is exit status 1" {
    run --separate-stderr ctl get nowhere
    assert_equal "$status" 1
    assert_output ''
    assert_complaint '"nowhere"'
    assert_complaint "$(url_of node1)"
}

@test "a newline is added only on a terminal" {
    command -v script >/dev/null || skip "no script(1)"
    ctl put line text
    script -qec "$RAFTKV_BIN/raftkv-ctl --endpoints $(endpoints) get line" /dev/null \
        </dev/null >"$BATS_TEST_TMPDIR/out"
    printf 'text\r\n' | cmp - "$BATS_TEST_TMPDIR/out"
}

@test "-o json is the node's answer" {
    version=$(ctl put json value)
    run ctl -o json get json
    assert_success
    assert_equal "$(jq -c '[.key, .value, .version]' <<<"$output")" "[\"json\",\"value\",$version]"
    run ctl put json again -o json
    assert_success
    assert_equal "$(jq -c '[.key, .version > '"$version"', has("value")]' <<<"$output")" '["json",true,false]'
    run ctl -o json delete json
    assert_equal "$(jq -c '[.key, .deleted]' <<<"$output")" '["json",true]'
}

@test "conditions: --if-absent, --if-version, exit status 3" {
    version=$(ctl put --if-absent cond a)
    run --separate-stderr ctl put --if-absent cond b
    assert_equal "$status" 3
    assert_complaint '"cond"'
    next=$(ctl put --if-version "$version" cond b)
    run ctl put --if-version "$version" cond c
    assert_equal "$status" 3
    run ctl delete --if-version "$version" cond
    assert_equal "$status" 3
    run ctl get cond
    assert_output b
    run ctl delete --if-version "$next" cond
    assert_success
    run ctl delete --if-version "$next" cond
    assert_equal "$status" 3
    run ctl put --if-version "$next" cond d
    assert_equal "$status" 3
}

@test "delete: several keys, missing ones, --must-exist" {
    ctl put d1 a
    ctl put d2 a
    run ctl delete d1 d-missing d2
    assert_success
    assert_output $'deleted\nnot there\ndeleted'
    ctl put d2 a
    run --separate-stderr ctl delete --must-exist d1 d2
    assert_equal "$status" 1
    assert_complaint '"d1"'
    run ctl get d2
    assert_equal "$status" 1
}

@test "over a limit is exit status 7" {
    head -c $(((1 << 20) + 1)) /dev/zero >"$BATS_TEST_TMPDIR/big"
    run --separate-stderr ctl put big --file "$BATS_TEST_TMPDIR/big"
    assert_equal "$status" 7
    assert_complaint 1048576
    head -c $((20 << 20)) /dev/zero >"$BATS_TEST_TMPDIR/big"
    run --separate-stderr ctl put big - <"$BATS_TEST_TMPDIR/big"
    assert_equal "$status" 7
    run ctl get big
    assert_equal "$status" 1
    run --separate-stderr ctl put "$(head -c 4097 /dev/zero | tr '\0' k)" v
    assert_equal "$status" 7
    assert_complaint 4096
    run ctl put "$(head -c 100000 /dev/zero | tr '\0' k)" v
    assert_equal "$status" 7
}

@test "an empty key is exit status 2" {
    run --separate-stderr ctl put '' v
    assert_equal "$status" 2
    assert_complaint "$(url_of node1)"
    run ctl get ''
    assert_equal "$status" 2
}

# ---- scan

@test "scan: order, bounds, limit, reverse, keys only, separators" {
    for key in b a/2 a/1 a c a/10; do
        ctl put "scan/$key" "v-$key" >/dev/null
    done
    run ctl scan scan/
    assert_success
    assert_output "$(printf 'scan/%s\tv-%s\n' a a a/1 a/1 a/10 a/10 a/2 a/2 b b c c)"
    run ctl scan scan/a/ --keys-only
    assert_output $'scan/a/1\nscan/a/10\nscan/a/2'
    run ctl scan scan/ --keys-only --start scan/a/10 --end scan/c
    assert_output $'scan/a/10\nscan/a/2\nscan/b'
    run ctl scan scan/ --keys-only --limit 2
    assert_output $'scan/a\nscan/a/1'
    run ctl scan scan/ --keys-only --reverse --limit 2
    assert_output $'scan/c\nscan/b'
    run ctl scan scan/nothing
    assert_success
    assert_output ''
    ctl scan -0 scan/a/1 >"$BATS_TEST_TMPDIR/out"
    printf 'scan/a/1\0v-a/1\0scan/a/10\0v-a/10\0' | cmp - "$BATS_TEST_TMPDIR/out"
    ctl scan -0 --keys-only scan/a/1 >"$BATS_TEST_TMPDIR/out"
    printf 'scan/a/1\0scan/a/10\0' | cmp - "$BATS_TEST_TMPDIR/out"
    run ctl -o json scan scan/a/
    assert_equal "$(jq -c '[.items[].key]' <<<"$output")" '["scan/a/1","scan/a/10","scan/a/2"]'
}

@test "scan goes over pages by itself" {
    put_many node1 pages/ 1 2500
    ctl scan pages/ >"$BATS_TEST_TMPDIR/out"
    seq 1 2500 | awk '{ printf "pages/%06d\tvalue-%d\n", $1, $1 }' | cmp - "$BATS_TEST_TMPDIR/out"
    ctl scan --reverse --keys-only pages/ >"$BATS_TEST_TMPDIR/out"
    seq 2500 -1 1 | awk '{ printf "pages/%06d\n", $1 }' | cmp - "$BATS_TEST_TMPDIR/out"
    assert_equal "$(ctl scan --keys-only --limit 1700 pages/ | wc -l)" 1700
    assert_equal "$(ctl -o json scan --limit 1700 pages/ | jq -s 'map(.items | length) | add')" 1700
    assert_equal "$(ctl scan --keys-only pages/ --consistency stale | wc -l)" 2500
}

@test "values of 1 MiB each: a page that fits one item" {
    head -c $((1 << 20)) /dev/urandom >"$BATS_TEST_TMPDIR/value"
    for i in 1 2 3; do
        ctl put mib/$i --file "$BATS_TEST_TMPDIR/value" >/dev/null
    done
    assert_equal "$(ctl scan -0 mib/ | wc -c)" $((3 * ((1 << 20) + 7)))
    assert_equal "$(ctl scan --keys-only mib/ | wc -l)" 3
}

# ---- the cluster

@test "leader, status, node, health" {
    run ctl leader
    assert_success
    assert_output node1
    run ctl status
    assert_success
    assert_line --regexp '^leader +node1$'
    assert_line --regexp '^fault tolerance +0$'
    assert_line --regexp "^node1 +[0-9a-f]{16} +voter +leader +[0-9]+ +yes +0 ms +$(url_of node1)\$"
    run ctl -o json status
    assert_equal "$(jq -r .leader <<<"$output")" node1
    run ctl node
    assert_success
    assert_line --regexp "^endpoint +$(url_of node1)\$"
    assert_line --regexp '^name +node1$'
    assert_line --regexp '^index.applied +[0-9]+$'
    run ctl node -o json
    assert_equal "$(jq -r .state <<<"$output")" leader
    run ctl health
    assert_success
    assert_line --regexp "^$(url_of node1) +ok +node1 +0\$"
    run ctl -o json health
    assert_equal "$(jq -r .ready <<<"$output")" true
    run ctl member list
    assert_success
    assert_line --regexp '^node1 +[0-9a-f]{16} +voter'
    run ctl -o json member list
    assert_equal "$(jq -r '.members[0].name' <<<"$output")" node1
}

@test "members that are not there are exit status 1" {
    run --separate-stderr ctl member remove nobody
    assert_equal "$status" 1
    assert_complaint nobody
    run ctl member promote nobody
    assert_equal "$status" 1
    run ctl member replace nobody node9 http://127.0.0.1:1
    assert_equal "$status" 1
    run ctl leader transfer nobody
    assert_equal "$status" 1
}

@test "a newcomer that does not answer is exit status 4" {
    run --separate-stderr ctl --timeout 1s member add node9 http://127.0.0.1:1
    assert_equal "$status" 4
}

# ---- outcomes

@test "nobody there: exit status 4 for reads and writes" {
    free_port port
    for arguments in 'get a' 'put a b' 'delete a' 'scan' 'status' 'leader' 'node' 'health' \
        'member list' 'member add x http://127.0.0.1:1' 'leader transfer'; do
        # shellcheck disable=SC2086
        run --separate-stderr "$RAFTKV_BIN/raftkv-ctl" --endpoints "http://127.0.0.1:$port" $arguments
        [ "$status" -eq 4 ] || fail_with "exit status $status of: $arguments"
        [[ $stderr == raftkv-ctl:*"127.0.0.1:$port"* ]] || fail_with "$arguments: $stderr"
    done
}

# "No leader", and that there will be none within the time: the call ends at this answer.
NO_LEADER='{"error":{"code":"no_leader","message":"m","outcome":"not_applied","retryable":true,"retry_after_ms":3600000}}'

@test "no leader: exit status 4, and nothing is written" {
    scripted_server reply 503 "$NO_LEADER"
    run --separate-stderr "$RAFTKV_BIN/raftkv-ctl" --timeout 60s --endpoints "$scripted_url" put a b
    assert_equal "$status" 4
    assert_complaint "$scripted_url"
}

@test "an unknown outcome of a write is exit status 5, never less; of a read 4" {
    pause_node node1
    run --separate-stderr ctl --timeout 1s put unknown v
    put_status=$status put_stderr=$stderr
    run ctl --timeout 1s get unknown
    get_status=$status
    resume_node node1
    assert_equal "$put_status" 5
    [[ $put_stderr == *"may have been applied"* ]]
    assert_equal "$get_status" 4
    scripted_server reset 0 ''
    run "$RAFTKV_BIN/raftkv-ctl" --timeout 1s --endpoints "$scripted_url" delete a
    assert_equal "$status" 5
    # Lost once, then refused by a node that knows nothing of the first try.
    scripted_server reset 0 '' reply 503 "$NO_LEADER"
    run "$RAFTKV_BIN/raftkv-ctl" --timeout 60s --endpoints "$scripted_url" put a b
    assert_equal "$status" 5
}

@test "a write that is sent twice is applied once" {
    scripted_server reset 0 '' reset 0 ''
    before=$(ctl -o json status | jq .index.commit)
    run ctl --endpoints "$scripted_url,$(url_of node1)" put twice v
    assert_success
    assert_equal "$output" $((before + 1))
}

@test "not allowed is exit status 6" {
    # A name that resolves to this machine and is none of the node's.
    run --separate-stderr "$RAFTKV_BIN/raftkv-ctl" \
        --endpoints "http://stranger.localhost:$(port_of node1)" get a
    assert_equal "$status" 6
    assert_complaint stranger.localhost
}

@test "too stale is exit status 8" {
    scripted_server reply 503 '{"error":{"code":"too_stale","message":"m","retryable":false}}'
    run "$RAFTKV_BIN/raftkv-ctl" --endpoints "$scripted_url" --consistency stale get a
    assert_equal "$status" 8
}

@test "output that cannot be written is exit status 70, closed or full" {
    local how
    ctl put full v
    export CTL="$RAFTKV_BIN/raftkv-ctl" RAFTKV_ENDPOINTS
    RAFTKV_ENDPOINTS=$(endpoints)
    for command in 'get full' 'put full v' 'scan full' 'status' '-o json status' 'node' 'health' \
        'leader' 'member list' 'delete nowhere' '--help' 'get --help' '--version'; do
        for how in '>/dev/full' '>&-'; do
            run --separate-stderr bash -c "\"\$CTL\" $command $how"
            [ "$status" -eq 70 ] || fail_with "exit status $status of: $command $how"
            assert_complaint 'cannot write the output'
        done
    done
    # A message that cannot be written changes nothing.
    for how in '2>/dev/full' '2>&-'; do
        run --separate-stderr bash -c "\"\$CTL\" get nowhere $how"
        [ "$status" -eq 1 ] || fail_with "exit status $status, $how"
    done
    # shellcheck disable=SC2016
    run --separate-stderr bash -c '"$CTL" put full - <&-'
    assert_equal "$status" 2
    assert_complaint 'standard input'
    run ctl get full
    assert_output v
}

# ---- changes of members and leadership whose answer is lost

member_json() { # NAME ID ROLE STATE PORT MATCH
    printf '{"name":"%s","id":"%016x","url":"http://127.0.0.1:%s","role":"%s","state":"%s","match":%s,"last_contact_ms":0,"reachable":true}' \
        "$1" "$2" "$5" "$3" "$4" "$6"
}

status_json() { # MEMBERS_JSON [CHANGE_JSON]
    printf '{"cluster":"%032x","leader":"node1","term":1,"index":{"commit":9,"applied":9},"fault_tolerance":0,"members":[%s],"change":%s}' \
        1 "$1" "${2:-null}"
}

scripted_ctl() { # ARGUMENT…: with --timeout 1s at the scripted server
    run --separate-stderr timeout 30 "$RAFTKV_BIN/raftkv-ctl" --timeout 1s --endpoints "$scripted_url" "$@"
}

assert_unknown() {
    assert_equal "$status" 5
    assert_output ''
    [[ $stderr == *'outcome unknown'* ]] || fail_with "stderr: $stderr"
}

@test "a lost change that the membership does not show is of unknown outcome" {
    local one
    one=$(status_json "$(member_json node1 1 voter leader 1 9)")
    # Whom it is about is not known to the node that was asked.
    scripted_server reply 200 "$one" reset 0 '' reply 200 "$one"
    scripted_ctl member remove node7
    assert_unknown
    scripted_server reply 200 "$one" reset 0 '' reply 200 "$one"
    scripted_ctl member promote node7
    assert_unknown
    # Another member has the name.
    scripted_server reset 0 '' reply 200 "$one"
    scripted_ctl member add node1 http://127.0.0.1:2
    assert_unknown
    # It is still there, or not there yet.
    scripted_server reply 200 "$one" reset 0 '' reply 200 "$one"
    scripted_ctl member remove node1
    assert_unknown
    scripted_server reply 200 "$one" reset 0 '' reply 200 "$one"
    scripted_ctl leader transfer
    assert_unknown
}

@test "a lost change that the membership shows is done" {
    local one
    one=$(status_json "$(member_json node1 1 voter leader 1 9)")
    scripted_server reply 200 "$(status_json "$(member_json node1 1 voter leader 1 9),$(member_json node2 2 voter follower 2 9)")" \
        reset 0 '' reply 200 "$one"
    scripted_ctl member remove node2
    assert_success
    scripted_server reset 0 '' reply 200 "$one"
    scripted_ctl member add node1 http://127.0.0.1:1
    assert_success
    assert_output 'node1  0000000000000001  voter'
}

@test "a lost change and nobody to tell of it: unknown, and not after ten minutes" {
    local one
    one=$(status_json "$(member_json node1 1 voter leader 1 9)")
    scripted_server reset 0 ''
    scripted_ctl member add node9 http://127.0.0.1:1
    assert_unknown
    [[ $stderr == *'nobody tells'* ]]
    scripted_server reply 200 "$one" reset 0 ''
    scripted_ctl leader transfer node2
    assert_unknown
}

@test "only the member that was removed can tell so by being removed" {
    local members removed
    members=$(member_json node1 1 voter leader 1 9),$(member_json fake 2 voter follower 2 9)
    removed='{"error":{"code":"removed","message":"m","retryable":false}}'
    scripted_server reply 200 "$(status_json "$members")" reset 0 '' reply 503 "$removed"
    scripted_ctl member remove node1
    assert_unknown
    scripted_server reply 200 "$(status_json "$members")" reset 0 '' reply 503 "$removed"
    scripted_ctl member remove fake # as the scripted server calls itself
    assert_success
}

@test "member replace under the same name shows the catch-up of the new one" {
    local old new change='{"kind":"replace","phase":"catching_up","id":"0000000000000003"}'
    old=$(member_json node2 2 voter unknown 2 8)
    new=$(member_json node2 3 learner follower 3 5)
    scripted_server reply 200 "$(status_json "$old")" reply 200 '{}' \
        reply 200 "$(status_json "$old,$new" "$change")" \
        reply 200 "$(status_json "$(member_json node2 3 voter follower 3 9)")"
    scripted_ctl member replace node2 node2 http://127.0.0.1:3
    assert_success
    assert_output 'node2  0000000000000003  voter'
    assert_equal "$stderr" 'raftkv-ctl: node2: learner, 5 of 9 entries'
}

@test "another program's server is told from a node: exit status 70, of a write 5" {
    local command
    # What it says could be an answer to everything.
    scripted_server stranger 200 '{"key":"a","value":"v","version":1,"deleted":true,"items":[],"next":null,"index":1,"name":"x","status":"ok","members":[]}'
    for command in 'get a' 'get a -o json' 'scan' 'status' 'node' 'health' 'leader' 'member list' \
        'leader transfer' 'member remove x'; do
        # shellcheck disable=SC2086
        run --separate-stderr "$RAFTKV_BIN/raftkv-ctl" --endpoints "$scripted_url" $command
        [ "$status" -eq 70 ] || fail_with "exit status $status of: $command"
        assert_complaint "$scripted_url"
        [ "$command" = health ] || assert_output ''
    done
    for command in 'put a b' 'delete a' 'member add x http://127.0.0.1:1 --wait 0s'; do
        # shellcheck disable=SC2086
        run --separate-stderr "$RAFTKV_BIN/raftkv-ctl" --timeout 1s --endpoints "$scripted_url" $command
        [ "$status" -eq 5 ] || fail_with "exit status $status of: $command"
        assert_complaint "$scripted_url"
    done
}
