# What comes in at the port of a running node: garbage, slow and many connections, strangers. It is
# refused, and the node serves on.
# shellcheck disable=SC2016,SC2030,SC2031,SC2154,SC2317
load helper
load api

setup_file() {
    export E2E_DIR=$BATS_FILE_TMPDIR
    export RAFTKV_TEST_TOOLS=${RAFTKV_TEST_TOOLS:-$REPO/build/san/tests/tools}
    # With sanitizers, if there is one: what is read beyond its end, or lost, is told.
    [ ! -x "$RAFTKV_TEST_BIN/raftkv-node" ] || export NODE_PROGRAM=$RAFTKV_TEST_BIN/raftkv-node
    start_node node1
    wait_ready node1
    BATS_TEST_TMPDIR=$BATS_FILE_TMPDIR
    put node1 kept value
}

teardown() {
    [ -z "${flood_pid:-}" ] || kill -KILL "$flood_pid" 2>/dev/null || true
    end_test
}

serves() {
    http GET node1 '/kv/kept?raw' --max-time 5 || fail_with 'does not answer' || return
    [ "$http_status $http_body" = '200 value' ] || fail_with "answers $http_status $http_body"
}

# Sends what is on stdin, closes its side (or not: HOW is "open"), and sets $reply to what comes
# back within $raw_wait seconds (5): a request that is not whole is waited for.
raw() { # HOW
    reply=$(timeout 10 perl -MIO::Socket::INET -e '
        my $s = IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => $ARGV[0]) or die "$!";
        local $SIG{PIPE} = "IGNORE";
        local $/;
        my $bytes = <STDIN>;
        print $s $bytes if length $bytes;
        $s->flush;
        shutdown($s, 1) if $ARGV[1] eq "closed";
        $SIG{ALRM} = sub { exit 0 };
        alarm $ARGV[2];
        while (sysread($s, my $got, 65536)) { print $got; $| = 1 }' "$(port_of node1)" "$1" "${raw_wait:-5}" | tr -d '\0\r')
    reply_status=$(sed -n '1s/^HTTP\/1\.[01] \([0-9]*\).*/\1/p' <<<"$reply")
}

# The request on stdin, \r\n for each line's end, is refused or the connection closed.
turned_away() {
    raw closed < <(sed 's/$/\r/')
    [[ -z $reply_status || $reply_status =~ ^(4..|501|505)$ ]] || fail_with "answered: $reply"
}

# ---- no HTTP

@test "garbage on the port" {
    local i raw_wait=1
    for i in {1..20}; do
        raw closed < <(head -c $((i * i * 50)) /dev/urandom)
        [[ -z $reply_status || $reply_status =~ ^4..$ ]]
    done
    raw closed < <(head -c 300000 /dev/zero)
    raw closed < <(printf '\r\n\r\n\r\n')
    raw closed < <(printf '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03')
    raw closed < <(printf 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')
    [[ -z $reply_status || $reply_status =~ ^(4..|505)$ ]]
    raw closed < <(printf 'SSH-2.0-OpenSSH_9.2\r\n')
    raw closed </dev/null
    serves
}

@test "heads that are none" {
    turned_away <<<'GET'
    turned_away <<<'GET /kv/kept'
    turned_away <<<$'GET /kv/kept HTTP/9.9\nHost: localhost\n'
    turned_away <<<$'GET /kv/kept HTTP/1.1\n'
    turned_away <<<$'GET /kv/kept HTTP/1.1\nHost: localhost\nHost: localhost\n'
    turned_away <<<$'GET /kv/kept HTTP/1.1\nHost: localhost\nno colon\n'
    turned_away <<<$'GET /kv/kept HTTP/1.1\nHost : localhost\n'
    turned_away <<<$'GET kv/kept HTTP/1.1\nHost: localhost\n'
    turned_away <<<$'GET http://localhost/kv/kept HTTP/1.1\nHost: evil.example\n'
    turned_away <<<$'GET /kv/ke pt HTTP/1.1\nHost: localhost\n'
    turned_away <<<$'GET  /kv/kept HTTP/1.1\nHost: localhost\nX: '"$(printf 'x%.0s' {1..70000})"$'\n'
    turned_away <<<"GET /kv/$(printf 'x%.0s' {1..70000}) HTTP/1.1"$'\nHost: localhost\n'
    turned_away < <(
        echo 'GET /kv/kept HTTP/1.1'
        echo 'Host: localhost'
        for i in {1..500}; do echo "X-$i: $i"; done
        echo
    )
    turned_away <<<$'CONNECT localhost:80 HTTP/1.1\nHost: localhost\n'
    turned_away <<<$'OPTIONS * HTTP/1.1\nHost: localhost\n'
    raw closed < <(printf 'GET /kv/ke\0pt HTTP/1.1\r\nHost: localhost\r\n\r\n')
    [[ -z $reply_status || $reply_status =~ ^4..$ ]]
    serves
}

@test "bodies that are not what the head says: nothing of them is stored" {
    local head=$'PUT /kv/body HTTP/1.1\nHost: localhost\n'
    turned_away <<<"${head}Content-Length: -1"$'\n\nx'
    turned_away <<<"${head}Content-Length: 1x"$'\n\nx'
    turned_away <<<"${head}Content-Length: 99999999999999999999"$'\n\nx'
    turned_away <<<"${head}Content-Length: 1"$'\nContent-Length: 2\n\nxx'
    turned_away <<<"${head}Content-Length: 3"$'\nTransfer-Encoding: chunked\n\n1\nx\n0\n'
    turned_away <<<"${head}Transfer-Encoding: gzip"$'\n\nx'
    turned_away <<<"${head}Transfer-Encoding: chunked"$'\n\nzz\nx\n0\n'
    turned_away <<<"${head}Transfer-Encoding: chunked"$'\n\nffffffffffffffff1\nx\n0\n'
    turned_away <<<"${head}Transfer-Encoding: chunked"$'\n\n-1\nx\n0\n'
    # Cut short, with and without a length.
    local raw_wait=1
    raw closed < <(printf 'PUT /kv/body HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\ncut')
    [[ ! $reply_status =~ ^2..$ ]]
    raw closed < <(printf 'PUT /kv/body HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nff\r\ncut')
    [[ ! $reply_status =~ ^2..$ ]]
    http GET node1 /kv/body
    refused 404 not_found
    raw_wait=5
    # Too large to begin with: refused before it is sent.
    raw closed < <(printf 'PUT /kv/body HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\nx')
    [ "$reply_status" = 413 ]
    # A body where there is none.
    http GET node1 '/kv/kept?raw' --data-binary body
    [[ $http_status =~ ^(200|400|413)$ ]]
    serves
}

@test "several requests at once on one connection are answered in order" {
    raw open < <(printf 'PUT /kv/p%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n%s' 1 1 2 2 3 3
        printf 'GET /kv/p%s?raw HTTP/1.1\r\nHost: localhost\r\n\r\n' 1 2
        printf 'GET /kv/p3?raw HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n')
    [ "$(grep -o 'HTTP/1.1 200 OK' <<<"$reply" | wc -l)" -eq 6 ] || fail_with "$reply"
    [ "$(grep -xE '[123](HTTP/1.1 200 OK)?' <<<"$reply" | cut -c1 | paste -sd '')" = 123 ]
}

@test "clients that go while they wait" {
    local i
    for i in {1..30}; do
        timeout 5 perl -MIO::Socket::INET -e '
            my $s = IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => $ARGV[0]) or die;
            print $s "GET /kv/kept?min_index=999999&timeout=2s HTTP/1.1\r\nHost: localhost\r\n\r\n";
            $s->flush;
            setsockopt($s, SOL_SOCKET, SO_LINGER, pack("II", 1, 0)) if $ARGV[1] % 2;
            close $s' "$(port_of node1)" "$i"
    done
    serves
    nothing_waits() {
        [ "$(curl -s "$(url_of node1)/metrics" |
            awk '$1 == "raftkv_pending_reads" { print $2 }')" = 0 ]
    }
    wait_until "$E2E_WAIT_SECONDS" nothing_waits
}

# ---- many, and slow

flood() { # what is open into $opened
    # A file of its own each time: what the last one said must not be taken for this one's word.
    flood_file=$BATS_TEST_TMPDIR/flood.$((++floods))
    : >"$flood_file"
    "$RAFTKV_TEST_TOOLS/flood" "$@" 127.0.0.1 "$(port_of "${flooded:-node1}")" \
        >>"$flood_file" 3>&- 4>&- </dev/null &
    flood_pid=$!
    wait_until 60 grep -q open= "$flood_file"
    opened=$(sed -n 's/^open=\([0-9]*\).*/\1/p' "$flood_file")
}

end_flood() {
    kill -TERM "$flood_pid" 2>/dev/null || true
    wait "$flood_pid"
    flood_pid=
    closed=$(sed -n 's/^closed=\([0-9]*\).*/\1/p' "$flood_file")
    after_ms=$(sed -n 's/.*after_ms=\([0-9]*\).*/\1/p' "$flood_file")
}

connections() {
    curl -s --max-time 5 "$(url_of "$1")/metrics" | awk '$1 == "raftkv_connections" { print $2 }'
}

rss_kib() {
    awk '/^VmRSS:/ { print $2 }' "/proc/$(pid_of "$1")/status"
}

# Less than 100 MB over what it was: some of what was used stays with the allocator.
small_again() { # NODE KIB
    [ $(($(rss_kib "$1") - $2)) -lt 100000 ]
}

@test "10,000 open connections: it serves, and is as small as before when they are gone" {
    local before round
    NODE_PROGRAM=$RAFTKV_BIN/raftkv-node start_node crowded
    wait_ready crowded
    put crowded kept value
    before=$(rss_kib crowded)
    flooded=crowded
    # Silent ones are closed after 10 s, so how many are there at once is up to the machine; those
    # that were answered stay, and have used what a connection may.
    for round in silent answered answered; do
        if [ "$round" = silent ]; then
            flood -n 10000
        else
            flood -n 10000 -r '/kv/kept?raw'
        fi
        # Where fewer files may be open, it is as many as may be.
        [ "$opened" -eq 10000 ] || [ "$opened" -ge $(($(ulimit -Hn) - 100)) ]
        [ "$round" = silent ] || [ "$(connections crowded)" -gt "$opened" ] # and curl's
        put crowded kept "$round"
        http GET crowded '/kv/kept?raw'
        [ "$http_body" = "$round" ]
        end_flood
        [ "$round" = silent ] || [ "$closed" -eq 0 ]
        all_gone() {
            [ "$(connections crowded)" -le 5 ]
        }
        wait_until "$E2E_WAIT_SECONDS" all_gone
    done
    # (The allocator of a sanitizer keeps more.)
    grep -qE '__(a|t)san_init' "$RAFTKV_BIN/raftkv-node" ||
        wait_until "$E2E_WAIT_SECONDS" small_again crowded "$before" ||
        fail_with "$before KiB before, $(rss_kib crowded) KiB now"
    run stop_node crowded
    assert_success
}

@test "--max-connections: those over it are turned away, the others served" {
    start_node few --max-connections 16
    wait_ready few
    put few kept value
    flooded=few
    flood -n 200
    closed_some() {
        local now
        now=$(ss -Htn state established "sport = :$(port_of few)" | wc -l)
        [ "$now" -le 16 ]
    }
    wait_until "$E2E_WAIT_SECONDS" closed_some
    end_flood
    [ "$closed" -ge 180 ]
    all_gone() {
        [ "$(connections few)" -le 2 ]
    }
    wait_until "$E2E_WAIT_SECONDS" all_gone
    http GET few '/kv/kept?raw'
    [ "$http_body" = value ]
    kill_node few
}

@test "slow headers: others are served meanwhile, and the slow ones are closed" {
    flood -s -n 300 -w 25
    put node1 meanwhile x
    serves
    wait_until 30 grep -q closed= "$flood_file"
    end_flood
    [ "$closed" -eq "$opened" ]
    [ "$after_ms" -lt 20000 ]
    serves
}

# ---- strangers at /raft

message() { # [JQ FILTER over a valid vote of a stranger]
    jq -nc --arg cluster "$cluster" --arg to "$id" '{v: 1, cluster: $cluster,
        from: "00000000000000aa", to: $to, type: "vote", term: 9007199254740991, last_index: 9999999,
        last_term: 9007199254740991, transfer: true}'" | ${1:-.}"
}

whoami() {
    http GET node1 /status
    cluster=$(the .cluster)
    term=$(the .term)
    http GET node1 /node
    id=$(the .id)
}

sent() { # STATUS CODE FILE
    http POST node1 /raft/message -H 'Content-Type: application/json' --data-binary "@$3"
    refused "$1" "$2" || fail_with "after $(head -c 300 "$3")"
}

# Many at once, a line each on stdin.
all_bad_messages() {
    sed $'s/^/POST\t\\/raft\\/message\t/' | requests node1
    [ -s "$answers" ]
    wrong=$(jq -c 'select(.status != 400 or .body.error.code != "bad_request")' "$answers")
    [ -z "$wrong" ] || fail_with "not 400: $wrong"
}

@test "/raft/message: strangers, other clusters, other receivers are refused by name" {
    local cluster id term field file=$BATS_TEST_TMPDIR/message
    whoami
    message . >"$file"
    sent 403 forbidden "$file"
    [[ $(the .error.message) == *00000000000000aa* ]]
    message '.cluster = "00000000000000000000000000000000"' >"$file"
    sent 412 wrong_cluster "$file"
    [[ $(the .error.message) == *"$cluster"* ]]
    message '.to = "00000000000000bb"' >"$file"
    sent 403 forbidden "$file"
    [[ $(the .error.message) == *00000000000000bb* ]]
    message '.v = 2' >"$file"
    sent 400 bad_request "$file"
    [[ $(the .error.message) == *version* ]]
    {
        for field in v cluster from to type term last_index last_term transfer; do
            message "del(.$field), (.$field = null), (.$field = []), (.$field = {})"
        done
        for field in term last_index last_term; do
            message "(.$field = -1), (.$field = 1.5), (.$field = \"1\"), (.$field = true)"
            message ".$field = 9007199254740992"
            message . | sed "s/\"$field\":[0-9]*/\"$field\":99999999999999999999/"
            message . | sed "s/\"$field\":[0-9]*/\"$field\":1e999/"
        done
        message '.v = "1"'
        message '.type = "coup"'
        message '.type = "vote_reply" | .granted = true | del(.last_index, .last_term, .transfer)'
        message '.surplus = 1'
        message . | sed 's/}$/,"term":1}/'
        message '.from = "x"'
        message '.from = "0000000000000000"'
        message '.from = .to'
    } | all_bad_messages
    http GET node1 /status
    holds '.term == ($t | tonumber) and .leader == "node1"' --arg t "$term"
    serves
}

@test "/raft/message: what is no message" {
    local cluster id term file=$BATS_TEST_TMPDIR/message
    whoami
    printf '%s\n' '' x '[]' '1' '"x"' null '{' '{}' '{"v":1}' '{"v":1,"v":1}' '{"\u0000":1}' \
        '{"v":1,"entries":"' '{"v":1,"entries":""' | all_bad_messages
    perl -e 'print "[" x 1000000' >"$file"
    sent 400 bad_request "$file"
    perl -e 'print "{\"a\":" x 100000' >"$file"
    sent 400 bad_request "$file"
    perl -e 'print "{\"v\":1,\"entries\":\"" . "A" x 3000000 . "\"}"' >"$file"
    sent 400 bad_request "$file"
    head -c 1000000 /dev/urandom >"$file"
    sent 400 bad_request "$file"
    head -c 30000000 /dev/zero >"$file"
    sent 413 too_large "$file"
    for entries in '"%%%"' '"QUFB"' 1 null '"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"' '"AA\u0041A"'; do
        message ".type = \"append\" | del(.last_index, .last_term, .transfer) | .prev_index = 1 |
            .prev_term = 1 | .commit = 1 | .round = 1 | .sent_us = 1 | .stream = 1 | .seq = 1 |
            .entries = $entries"
    done | all_bad_messages
    http GET node1 /status
    holds '.term == ($t | tonumber)' --arg t "$term"
    serves
}

snapshot() { # QUERY HEADER…
    local query=$1 headers=()
    shift
    for header; do
        headers+=(-H "$header")
    done
    http POST node1 "/raft/snapshot?$query" "${headers[@]}" --data-binary 'not a snapshot'
}

@test "/raft/snapshot: strangers, nonsense" {
    local cluster id term all ok='index=999999&term=99&bytes=14&crc=1&offset=0' query
    whoami
    all=("RaftKV-Cluster: $cluster" 'RaftKV-From: 00000000000000aa' "RaftKV-To: $id"
        'RaftKV-Term: 9999999' 'RaftKV-Protocol: 1')
    for i in 0 1 2 3 4; do
        snapshot "$ok" "${all[@]:0:i}" "${all[@]:i+1}"
        refused 400 bad_request
    done
    snapshot "$ok" "${all[@]:0:4}" 'RaftKV-Protocol: 2'
    refused 400 bad_request
    snapshot "$ok" "RaftKV-Cluster: 00000000000000000000000000000000" "${all[@]:1}"
    refused 412 wrong_cluster
    snapshot "$ok" "${all[@]:0:2}" 'RaftKV-To: 00000000000000bb' "${all[@]:3}"
    refused 403 forbidden
    for query in '' x=1 index=1 "${ok/14/0}" "${ok/99&/x&}" "${ok/crc=1/crc=-1}" "$ok&index=2" \
        "${ok/999999/99999999999999999999}" "${ok/offset=0/offset=%zz}"; do
        snapshot "$query" "${all[@]}"
        refused 400 bad_request || fail_with "$query"
    done
    # Of a term that is over; then bytes that are no snapshot.
    snapshot "$ok" "${all[@]:0:3}" 'RaftKV-Term: 1' "${all[@]:4}"
    refused 403 forbidden
    snapshot "$ok" "${all[@]}"
    refused 400 bad_request
    [[ $(the .error.message) != */* ]]
    snapshot "${ok/index=999999/index=1}" "${all[@]}"
    [[ $http_status =~ ^(200|4..)$ ]]
    snapshot "${ok/offset=0/offset=9007199254740990}" "${all[@]}"
    [[ $http_status =~ ^(200|4..|503)$ ]]
    head -c 5000000 /dev/zero >"$BATS_TEST_TMPDIR/chunk"
    http POST node1 "/raft/snapshot?$ok" --data-binary "@$BATS_TEST_TMPDIR/chunk"
    refused 413 too_large
    serves
    [ "$(find "$(data_dir_of node1)" -type f | wc -l)" -le 8 ]
}

@test "bad JSON to members and leader" {
    local path text
    for path in /members /members/node1/promote /members/node1/replace /leader; do
        for text in x '[' '{"a"' '{"to":1,"to":1}' 'null' '[]' '"x"' '{"\u0000":1}'; do
            json_post node1 "$path" "$text"
            refused 400 bad_request not_applied || fail_with "$path $text"
        done
        perl -e 'print "[" x 60000' >"$BATS_TEST_TMPDIR/deep"
        json_post node1 "$path" "@$BATS_TEST_TMPDIR/deep"
        refused 400 bad_request not_applied
        head -c 70000 /dev/zero >"$BATS_TEST_TMPDIR/large"
        json_post node1 "$path" "@$BATS_TEST_TMPDIR/large"
        refused 413 too_large
    done
    for text in '{"to":"node1"}' '{"force":true}'; do
        json_post node1 /members/node1/promote "$text"
        refused 400 bad_request not_applied
    done
    for text in '' '{}' ' { } '; do
        json_post node1 /members/node1/promote "$text"
        replied 200
    done
    serves
}

@test "after all of this the node ends in order: nothing leaked" {
    serves
    run stop_node node1
    assert_success
}
