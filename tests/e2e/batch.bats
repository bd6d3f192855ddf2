# POST /batch, raftkv-ctl batch and ?timings: several keys as one write, and where its time went.
# shellcheck disable=SC2016,SC2030,SC2031,SC2154
load helper
load api

setup_file() {
    export E2E_DIR=$BATS_FILE_TMPDIR
    three_nodes
}

batch() { # NODE JSON [CURL…]; JSON may be @FILE
    http POST "$1" "/batch${query:-}" -H 'Content-Type: application/json' --data-binary "$2" "${@:3}"
}

# "key=value@version …" of all keys with a prefix
rows() {
    http GET "$1" "/kv?prefix=$2"
    replied 200
    the '[.items[] | "\(.key)=\(.value)@\(.version)"] | join(" ")'
}

@test "a batch is one write: one version, all keys, on any node" {
    local node v
    for node in "$LEADER" "$FOLLOWER"; do
        put "$node" "$node-gone" x
        batch "$node" '{"ops":[{"op":"put","key":"'"$node"'-b","value":"2"},
            {"op":"delete","key":"'"$node"'-gone"},{"op":"delete","key":"'"$node"'-never"},
            {"op":"put","key":"'"$node"'-a","value":""}]}'
        replied 200
        holds 'keys == ["deletes","puts","timestamp","version"] and .puts == 2'
        holds '.deletes == [{key: ($n + "-gone"), deleted: true}, {key: ($n + "-never"), deleted: false}]' \
            --arg n "$node"
        v=$(the .version)
        [ "$(http_header RaftKV-Index)" = "$v" ]
        [ "$(rows "$node" "$node-")" = "$node-a=@$v $node-b=2@$v" ]
    done
}

@test "keys and values of any bytes, as base64" {
    batch "$LEADER" '{"ops":[{"op":"put","key_base64":"Yi8A/w==","value_base64":"AP8="},
        {"op":"put","key":"b/\u0001é","value":"\u0000"}]}'
    replied 200
    http GET "$FOLLOWER" '/kv/b/%00%FF'
    holds '.key_base64 == "Yi8A/w==" and .value_base64 == "AP8="'
    http GET "$FOLLOWER" '/kv/b/%01%C3%A9'
    holds '.value == "\u0000"'
}

@test "what is no batch is 400 and named; nothing of it is written" {
    local n=0 body want
    while IFS='|' read -r want body; do
        for node in "$LEADER" "$FOLLOWER"; do
            batch "$node" "$body"
            refused 400 bad_request not_applied
            holds '.error.message | contains($want)' --arg want "$want"
        done
        n=$((n + 1))
    done <<'END'
'ops', is empty|{"ops":[]}
'ops' is missing|{}
column 1|[]
bad JSON|{"ops":[
'more' is not known|{"ops":[{"op":"put","key":"no","value":"1"}],"more":1}
ops[1]: op 'cas'|{"ops":[{"op":"put","key":"no","value":"1"},{"op":"cas","key":"a"}]}
ops[0]: member 'ttl' is not known|{"ops":[{"op":"put","key":"no","value":"1","ttl":1}]}
member 'value': column|{"ops":[{"op":"put","key":"no","value":1}]}
"key":"no" stands in the batch more than once|{"ops":[{"op":"put","key":"no","value":"1"},{"op":"delete","key":"no"}]}
the key is empty|{"ops":[{"op":"put","key":"no","value":"1"},{"op":"delete","key":""}]}
END
    [ "$n" -eq 10 ]
    http GET "$LEADER" /kv/no
    refused 404 not_found
}

@test "its headers and parameters are looked at" {
    local one='{"ops":[{"op":"put","key":"header","value":"1"}]}' query
    http POST "$LEADER" /batch --data-binary "$one"
    refused 400 bad_request not_applied
    holds '.error.message | contains("application/json")'
    batch "$LEADER" "$one" -H 'If-Match: "1"'
    refused 400 bad_request not_applied
    for query in '?raw' '?timeout=soon' '?timings=1' '?redirect=x' '?timeout=1s&timeout=2s'; do
        batch "$LEADER" "$one"
        refused 400 bad_request not_applied
    done
    query='?redirect' batch "$FOLLOWER" "$one"
    replied 307
    [ "$(http_header Location)" = "$(base_of "$LEADER")/batch?redirect" ]
    query='?timeout=2s' batch "$FOLLOWER" "$one"
    replied 200
    http GET "$LEADER" /batch
    refused 405 method_not_allowed
    [ "$(http_header Allow)" = POST ]
}

@test "limits: 413 with the limit and what came" {
    local file=$BATS_TEST_TMPDIR/body
    jq -nc '{ops: [range(1024) | {op: "put", key: "limit-\(.)", value: "v"}]}' >"$file"
    batch "$FOLLOWER" "@$file"
    replied 200
    holds '.puts == 1024'
    jq -nc '{ops: [range(1025) | {op: "put", key: "over-\(.)", value: "v"}]}' >"$file"
    batch "$FOLLOWER" "@$file"
    refused 413 too_large not_applied
    holds '.error | .limit == 1024 and .actual == 1025'
    jq -nc '{ops: [{op: "put", key: ("k" * 4097), value: "v"}]}' >"$file"
    batch "$LEADER" "@$file"
    refused 413 too_large not_applied
    holds '.error | .limit == 4096 and .actual == 4097'
    jq -nc '{ops: [{op: "put", key: "over", value: ("v" * 1048577)}]}' >"$file"
    batch "$LEADER" "@$file"
    refused 413 too_large not_applied
    holds '.error | .limit == 1048576 and .actual == 1048577'
    jq -nc '{ops: [range(3) | {op: "put", key: "over-\(.)", value: ("v" * 700000)}]}' >"$file"
    batch "$LEADER" "@$file"
    refused 413 too_large not_applied
    holds '.error | .limit == 2097152 and .actual == 2100018'
    jq -nc '{ops: [{op: "put", key: "over", value: ("v" * 5000000)}]}' >"$file"
    batch "$LEADER" "@$file"
    refused 413 too_large not_applied
    holds '.error | .limit < .actual'
    [ -z "$(rows "$LEADER" over)" ]
}

@test "raftkv-ctl batch: lines from a file and from standard input" {
    local file=$BATS_TEST_TMPDIR/lines
    export RAFTKV_ENDPOINTS
    RAFTKV_ENDPOINTS=$(base_of "$FOLLOWER"),$(base_of "$LEADER")
    printf '%s\n' '{"op":"put","key":"ctl-a","value":"1"}' '' '  {"op":"delete","key":"ctl-z"}' >"$file"
    run --separate-stderr "$RAFTKV_BIN/raftkv-ctl" batch "$file"
    assert_success
    [ "$output" -gt 0 ]
    [ "$(rows "$LEADER" ctl-)" = "ctl-a=1@$output" ]
    run --separate-stderr "$RAFTKV_BIN/raftkv-ctl" -o json batch - <<<'{"op":"delete","key":"ctl-a"}'
    assert_success
    jq -e '.puts == 0 and .deletes == [{"key":"ctl-a","deleted":true}]' <<<"$output"

    run --separate-stderr "$RAFTKV_BIN/raftkv-ctl" batch - <<<$'{"op":"put","key":"ctl-a","value":"1"}\n{"op":"put"}'
    [ "$status" -eq 2 ]
    [[ $stderr == *'standard input, line 2: '*"'key' is missing"* ]]
    run --separate-stderr "$RAFTKV_BIN/raftkv-ctl" batch - <<<''
    [ "$status" -eq 2 ]
    [[ $stderr == *'no operation in it'* ]]
    run --separate-stderr "$RAFTKV_BIN/raftkv-ctl" batch "$BATS_TEST_TMPDIR/none"
    [ "$status" -eq 2 ]
    run --separate-stderr "$RAFTKV_BIN/raftkv-ctl" batch - \
        <<<$'{"op":"put","key":"ctl-a","value":"1"}\n{"op":"delete","key":"ctl-a"}'
    [ "$status" -eq 2 ]
    [[ $stderr == *'more than once'* ]]
    run --separate-stderr "$RAFTKV_BIN/raftkv-ctl" batch - \
        < <(jq -nc 'range(1025) | {op: "delete", key: "ctl-\(.)"}')
    [ "$status" -eq 7 ]
    [ -z "$(rows "$LEADER" ctl-)" ]
    run --separate-stderr "$RAFTKV_BIN/raftkv-ctl" --endpoints http://127.0.0.1:1 --timeout 500ms \
        batch - <<<'{"op":"delete","key":"ctl-a"}'
    [ "$status" -eq 4 ]
}

# ---- timings

dur='dur=[0-9]+\.[0-9]{3}'

@test "?timings tells a write's stages, also when it was forwarded" {
    local node stages="^queue;$dur, persist;$dur, replicate;$dur, commit;$dur, apply;$dur"
    http PUT "$LEADER" '/kv/timed?timings' -d x
    [[ $(http_header Server-Timing) =~ $stages$ ]]
    http DELETE "$LEADER" '/kv/timed?timings'
    [[ $(http_header Server-Timing) =~ $stages$ ]]
    query='?timings' batch "$LEADER" '{"ops":[{"op":"put","key":"timed","value":"1"}]}'
    [[ $(http_header Server-Timing) =~ $stages$ ]]
    http PUT "$LEADER" '/kv/timed?timings' -d x -H 'If-Match: "1"'
    replied 412
    [[ $(http_header Server-Timing) =~ $stages$ ]]
    http PUT "$FOLLOWER" '/kv/timed?timings&timeout=2s' -d x
    [[ $(http_header Server-Timing) =~ $stages,\ forward\;$dur$ ]]
    http PUT "$LEADER" /kv/timed -d x
    [ -z "$(http_header Server-Timing)" ]
}

@test "queue, commit and apply are the whole of a write, and nothing is without time" {
    http PUT "$LEADER" '/kv/timed?timings' -d x
    local of
    of=$(http_header Server-Timing | sed -E 's/([a-z]+);dur=([0-9.]+)/"\1":\2/g; s/.*/{&}/')
    jq -e '.persist > 0 and .replicate > 0 and .commit > 0 and .commit >= ([.persist, .replicate] | min)
        and (.queue + .commit + .apply) < 5000' <<<"$of"
}

@test "?timings of reads: until the state was asked, and that" {
    local path
    put "$LEADER" timed x
    for path in '/kv/timed?timings' '/kv?prefix=timed&timings' '/kv/nobody?timings' '/kv/timed?raw&timings'; do
        http GET "$FOLLOWER" "$path"
        [[ $(http_header Server-Timing) =~ ^queue\;$dur,\ read\;$dur$ ]]
    done
}

@test "timings takes no value, and other calls do not know it" {
    local path
    for path in '/kv/a?timings=1' '/kv/a?timings=' '/kv?timings=true' '/kv/a?timings&timings' \
        '/status?timings' '/metrics?timings' '/node?timings'; do
        http GET "$LEADER" "$path"
        refused 400 bad_request
    done
}

@test "the same stages stand in /metrics as histograms" {
    local stage before after
    count() {
        http GET "$LEADER" /metrics
        awk -v want="raftkv_write_stage_seconds_count{stage=\"$1\"}" '$1 == want { print $2 }' <<<"$http_body"
    }
    for stage in queue persist replicate commit apply; do
        before=$(count $stage)
        put "$LEADER" counted x
        put "$FOLLOWER" counted x
        after=$(count $stage)
        [ "$after" -eq $((before + 2)) ]
    done
}

# ---- last, since another node leads afterwards

@test "exactly once: a retry is told the first answer, on another node, after a restart too" {
    local first once=(-H 'RaftKV-Client: batcher' -H 'RaftKV-Seq: 1')
    local ops='{"ops":[{"op":"delete","key":"once-a"},{"op":"delete","key":"once-b"},{"op":"put","key":"once-c","value":"1"}]}'
    put "$LEADER" once-b x
    batch "$LEADER" "$ops" "${once[@]}"
    replied 200
    [ -z "$(http_header RaftKV-Replayed)" ]
    holds '.deletes | map(.deleted) == [false, true]'
    first=$http_body
    put "$LEADER" once-a later
    batch "$FOLLOWER" "$ops" "${once[@]}"
    replied 200
    [ "$(http_header RaftKV-Replayed)" = 1 ]
    [ "$http_body" = "$first" ]
    stop_node "$LEADER"
    restart_node "$LEADER"
    wait_ready node1 node2 node3
    find_roles
    batch "$LEADER" "$ops" "${once[@]}"
    [ "$(http_header RaftKV-Replayed)" = 1 ]
    [ "$http_body" = "$first" ]
    http GET "$LEADER" /kv/once-a
    holds '.value == "later"'
    batch "$LEADER" '{"ops":[{"op":"put","key":"once-c","value":"2"}]}' "${once[@]}"
    refused 409 seq_reused not_applied
    batch "$LEADER" "$ops" -H 'RaftKV-Client: batcher'
    refused 400 bad_request not_applied
}

@test "raftkv-check data and replay know what a batch wrote, and see what it did not" {
    local dir
    batch "$FOLLOWER" '{"ops":[{"op":"put","key":"looked-a","value":"1"},{"op":"put","key":"looked-b","value":"2"}]}'
    replied 200
    http GET "$FOLLOWER" "/kv/looked-b?consistency=stale&min_index=$(the .version)" # it has it too
    replied 200
    stop_node "$FOLLOWER"
    dir=$(node_dir "$FOLLOWER")/data
    run "$RAFTKV_BIN/raftkv-check" data "$dir"
    assert_success
    run "$RAFTKV_BIN/raftkv-check" replay "$dir"
    assert_success
    "$RAFTKV_TEST_TOOLS/kv-sql" "$dir/kv.1.db" "UPDATE kv SET value=x'31' WHERE key=x'6c6f6f6b65642d62'" # looked-b
    run "$RAFTKV_BIN/raftkv-check" data "$dir"
    assert_failure 9
    assert_output --regexp "key 'looked-b': entry [0-9]+, which is its version, puts another key, value or timestamp"
    refute_output --partial looked-a
}
