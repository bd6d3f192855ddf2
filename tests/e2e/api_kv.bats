# PUT, GET, HEAD and DELETE of a key: bodies, headers, conditions, limits, keys of any bytes.
# shellcheck disable=SC2016,SC2030,SC2031,SC2154
load helper
load api

setup_file() {
    export E2E_DIR=$BATS_FILE_TMPDIR
    three_nodes
}

# ---- the four calls

@test "put answers the item without its value, get with it" {
    local node before
    before=$(date +%s%3N)
    for node in "$LEADER" "$FOLLOWER"; do
        http PUT "$node" /kv/item --data-binary 'some value'
        replied 200
        holds '(keys == ["key","timestamp","version"]) and .key == "item" and .version > 0'
        holds '.timestamp >= ($before | tonumber) - 60000' --arg before "$before"
        holds '.timestamp <= ($now | tonumber) + 60000' --arg now "$(date +%s%3N)"
        [ "$(http_header ETag)" = "\"$(the .version)\"" ]
        local put=$http_body

        http GET "$node" /kv/item
        replied 200
        [ "$(http_header Content-Type)" = application/json ]
        [ "$(http_header ETag)" = "\"$(the .version)\"" ]
        [ "$(jq -cS 'del(.value)' <<<"$http_body")" = "$(jq -cS . <<<"$put")" ]
        holds '(keys == ["key","timestamp","value","version"]) and .value == "some value"'
    done
}

@test "raw and Accept give the bytes" {
    local node
    put "$LEADER" bytes 'a & b'
    for node in "$LEADER" "$FOLLOWER"; do
        for how in raw raw=true raw=1; do
            http GET "$node" "/kv/bytes?$how"
            replied 200
            [ "$(cat "$(body_file)")" = 'a & b' ]
            [ "$(http_header Content-Type)" = application/octet-stream ]
            [ "$(http_header Content-Security-Policy)" = sandbox ]
            [ "$(http_header X-Content-Type-Options)" = nosniff ]
            [ "$(http_header ETag)" = "\"$version\"" ]
        done
        http GET "$node" /kv/bytes -H 'Accept: application/octet-stream'
        [ "$(cat "$(body_file)")" = 'a & b' ]
        printf 'GET\t/kv/bytes\t\tAccept: %s\n' Application/Octet-Stream application/octet-stream, \
            'application/octet-stream, */*;q=0.1' 'application/octet-stream;q=0.9' |
            requests "$node"
        [ "$(jq -rs 'map(.body) | unique[]' "$answers")" = 'a & b' ]
        printf 'GET\t/kv/bytes\t\tAccept: %s\n' '*/*' application/octet-streams \
            'text/html, application/octet-stream' application/octet | requests "$node"
        [ "$(jq -rs 'map(.body.value) | unique[]' "$answers")" = 'a & b' ]
        http GET "$node" '/kv/bytes?raw=false' -H 'Accept: application/json'
        holds '.value == "a & b"'
        http GET "$node" '/kv/bytes?raw=perhaps'
        refused 400 bad_request
        http GET "$node" '/kv/missing?raw'
        refused 404 not_found
    done
}

@test "HEAD says what GET says, without a body" {
    local node how
    put "$LEADER" head 12345
    for node in "$LEADER" "$FOLLOWER"; do
        for how in '' '?raw'; do
            http GET "$node" "/kv/head$how"
            local type length
            type=$(http_header Content-Type)
            length=$(http_header Content-Length)
            http HEAD "$node" "/kv/head$how"
            replied 200
            [ "$(http_header Content-Type)" = "$type" ]
            [ "$(http_header Content-Length)" = "$length" ]
            [ "$(http_header ETag)" = "\"$version\"" ]
        done
        http HEAD "$node" /kv/missing
        replied 404
    done
}

@test "delete says whether the key was there; a missing key is no error" {
    local node
    for node in "$LEADER" "$FOLLOWER"; do
        put "$node" gone x
        http DELETE "$node" /kv/gone
        replied 200
        holds '.key == "gone" and .deleted == true and .version > ($old | tonumber)' \
            --arg old "$version"
        http GET "$node" /kv/gone
        refused 404 not_found
        http DELETE "$node" /kv/gone
        replied 200
        holds '.key == "gone" and .deleted == false'
    done
}

@test "a version only grows, also over delete and re-creation" {
    local last=0 i
    for i in 1 2 3; do
        put "$LEADER" grows "$i"
        [ "$version" -gt "$last" ]
        last=$version
        http DELETE "$FOLLOWER" /kv/grows
        put "$FOLLOWER" grows "$i"
        [ "$version" -gt $((last + 1)) ]
        last=$version
    done
}

@test "RaftKV-Index of a reply is at least the version that it speaks of" {
    local node
    for node in "$LEADER" "$FOLLOWER"; do
        put "$node" index x
        [ "$(http_header RaftKV-Index)" -ge "$version" ]
        http GET "$node" /kv/index
        [ "$(http_header RaftKV-Index)" -ge "$version" ]
        http GET "$node" /kv/missing
        [ "$(http_header RaftKV-Index)" -ge "$version" ]
    done
}

# ---- conditions

@test "If-Match: done at that version, else 412 with the current one" {
    local node old
    for node in "$LEADER" "$FOLLOWER"; do
        put "$node" cond one
        old=$version
        put "$node" cond two -H "If-Match: \"$old\""
        http PUT "$node" /kv/cond --data-binary three -H "If-Match: \"$old\""
        refused 412 precondition_failed not_applied
        holds '.error.version == ($now | tonumber) and .error.retryable == false' \
            --arg now "$version"
        http DELETE "$node" /kv/cond -H "If-Match: \"$old\""
        refused 412 precondition_failed not_applied
        http GET "$node" '/kv/cond?raw'
        [ "$http_body" = two ]
        http DELETE "$node" /kv/cond -H "If-Match: \"$version\""
        replied 200
        http DELETE "$node" /kv/cond -H "If-Match: \"$version\""
        refused 412 precondition_failed not_applied
        holds '.error.version == 0'
        http PUT "$node" /kv/cond --data-binary x -H "If-Match: \"$version\""
        refused 412 precondition_failed not_applied
        holds '.error.version == 0'
    done
}

@test "If-None-Match: * puts only what is not there" {
    local node
    for node in "$LEADER" "$FOLLOWER"; do
        http DELETE "$node" /kv/absent
        put "$node" absent one -H 'If-None-Match: *'
        http PUT "$node" /kv/absent --data-binary two -H 'If-None-Match: *'
        refused 412 precondition_failed not_applied
        holds '.error.version == ($now | tonumber)' --arg now "$version"
        http DELETE "$node" /kv/absent
        put "$node" absent three -H 'If-None-Match: *'
    done
}

@test "If-None-Match on GET gives 304 without a body" {
    local node
    for node in "$LEADER" "$FOLLOWER"; do
        put "$node" cached one
        for how in '' '?raw'; do
            http GET "$node" "/kv/cached$how"
            grep -vi '^RaftKV-\|^HTTP' "$http_headers" >"$BATS_TEST_TMPDIR/headers"
            http GET "$node" "/kv/cached$how" -H "If-None-Match: \"$version\""
            replied 304
            [ ! -s "$(body_file)" ]
            [ "$(http_header ETag)" = "\"$version\"" ]
            # A cache puts these to what it has.
            grep -vi '^RaftKV-\|^HTTP' "$http_headers" | cmp - "$BATS_TEST_TMPDIR/headers"
            http GET "$node" "/kv/cached$how" -H "If-None-Match: \"$((version - 1))\""
            replied 200
        done
        http HEAD "$node" /kv/cached -H "If-None-Match: \"$version\""
        replied 304
        # What follows on the connection is the next reply.
        printf 'GET\t/kv/cached\t\tIf-None-Match: "%s"\n' "$version" "$version" "$((version - 1))" |
            requests "$node"
        [ "$(jq -sc '[map(.status), .[2].body.value]' "$answers")" = '[[304,304,200],"one"]' ]
        http GET "$node" /kv/missing -H "If-None-Match: \"$version\""
        refused 404 not_found
    done
}

# Lines for all_refused: the path, and each of the other arguments as a header.
each_as() { # PATH HEADER…
    local path=$1
    shift
    printf "$path\t%s\n" "$@"
}

@test "any other form of a condition is refused, never ignored" {
    local node method forms
    put "$LEADER" strict right
    forms=("$version" '""' '"a"' "\"$version\",\"1\"" "\"$version\", \"$version\"" '*' '"-1"' '"0"'
        "W/\"$version\"" '"+1"' "\"$version" "$version\"" "\" $version\"" '"0x1"' "'$version'"
        "\"0$version\""
        '"18446744073709551616"' '"1.0"' "\"$version\" x")
    for node in "$LEADER" "$FOLLOWER"; do
        for method in PUT DELETE; do
            {
                each_as /kv/strict "${forms[@]/#/If-Match: }" 'If-Match;'
                printf '/kv/strict\tIf-Match: "%s"\tIf-Match: "%s"\n' "$version" "$version"
                printf '/kv/strict\tIf-Match: "%s"\tIf-None-Match: *\n' "$version"
                each_as /kv/strict "If-None-Match: \"$version\"" 'If-None-Match: "1"' \
                    'If-None-Match: "*"' 'If-None-Match: *, *' 'If-None-Match: W/"1"' \
                    'If-None-Match: 1' 'If-None-Match;'
            } | all_refused 400 bad_request "$node" "$method"
        done
        printf '/kv/strict\tIf-None-Match: *\tIf-None-Match: *\n' |
            all_refused 400 bad_request "$node" PUT
        each_as /kv/strict 'If-None-Match: *' | all_refused 400 bad_request "$node" DELETE
        {
            each_as /kv/strict "${forms[@]/#/If-None-Match: }" 'If-None-Match;' \
                "If-Match: \"$version\""
            for path in '/kv?prefix=s' /status /node /members /leader /metrics; do
                each_as "$path" "If-Match: \"$version\"" "If-None-Match: \"$version\""
            done
        } | all_refused 400 bad_request "$node" GET
        http GET "$node" /kv/strict
        holds '.value == "right" and .version == ($v | tonumber)' --arg v "$version"
    done
}

# ---- keys

@test "a key is all behind /kv/, decoded once, never normalised" {
    local path json
    cat >"$BATS_TEST_TMPDIR/keys" <<'END'
a/../b "a/../b"
. "."
.. ".."
../.. "../.."
a/./b "a/./b"
a//b "a//b"
/ "/"
// "//"
/kv/a "/kv/a"
a/ "a/"
a+b "a+b"
a%20b "a b"
%00 "\u0000"
a%00b "a\u0000b"
a%00c "a\u0000c"
a%2520 "a%20"
%25 "%"
%3F "?"
%23 "#"
a;b=c&d "a;b=c&d"
%22%5C%0A "\"\\\n"
k%C3%A9 "ké"
%F0%9F%94%91 "🔑"
%7f "\u007f"
a:b@c "a:b@c"
END
    while read -r path json; do
        printf 'PUT\t/kv/%s\tvalue of %s\n' "$path" "$path"
    done <"$BATS_TEST_TMPDIR/keys" | requests "$FOLLOWER"
    [ -z "$(jq 'select(.status != 200)' "$answers")" ]
    while read -r path json; do
        printf 'GET\t/kv/%s\n' "$path"
    done <"$BATS_TEST_TMPDIR/keys" | requests "$LEADER"
    diff <(jq -c '[.body.key, .body.value]' "$answers") \
        <(while read -r path json; do jq -nc --arg v "value of $path" "[$json, \$v]"; done \
            <"$BATS_TEST_TMPDIR/keys")
    while read -r path json; do
        printf 'GET\t/kv/%s?raw\n' "$path"
    done <"$BATS_TEST_TMPDIR/keys" | requests "$FOLLOWER"
    diff <(jq -r .body "$answers") <(sed 's/ .*//; s/^/value of /' "$BATS_TEST_TMPDIR/keys")

    # Ways to write the same key, and keys that are others.
    put "$LEADER" a%2Fb slash
    http GET "$FOLLOWER" '/kv/a/b?raw'
    [ "$http_body" = slash ]
    http GET "$FOLLOWER" '/kv/%61%2f%62?raw'
    [ "$http_body" = slash ]
    http GET "$FOLLOWER" '/kv/%2e%2E?raw'
    [ "$http_body" = 'value of ..' ]
    http GET "$FOLLOWER" '/kv/b?raw'
    refused 404 not_found
    http GET "$FOLLOWER" '/kv/a?raw'
    refused 404 not_found
    http GET "$FOLLOWER" '/kv/a%2Bb?raw'
    [ "$http_body" = 'value of a+b' ]
    http DELETE "$FOLLOWER" '/kv/a%00b'
    holds '.key == "a\u0000b" and .deleted'
    http GET "$LEADER" /kv/a%00b
    refused 404 not_found
    http GET "$LEADER" '/kv/a%00c?raw'
    [ "$http_body" = 'value of a%00c' ]
}

@test "bytes that are not UTF-8 stand in key_base64 and value_base64" {
    local node path base64
    for node in "$LEADER" "$FOLLOWER"; do
        while read -r path base64; do
            put "$node" "$path" x
            holds '.key_base64 == $key and (has("key") | not)' --arg key "$base64"
            http GET "$node" "/kv/$path"
            holds '.key_base64 == $key and (has("key") | not) and .value == "x"' \
                --arg key "$base64"
            http DELETE "$node" "/kv/$path"
            holds '.key_base64 == $key and .deleted' --arg key "$base64"
        done <<'END'
%ff%fe //4=
a%80 YYA=
%C0%80 wIA=
%ED%A0%80 7aCA
%F4%90%80%80 9JCAgA==
%C3 ww==
END
        printf 'a\0\377\r\n' >"$BATS_TEST_TMPDIR/binary"
        http PUT "$node" /kv/binary --data-binary "@$BATS_TEST_TMPDIR/binary"
        replied 200
        http GET "$node" /kv/binary
        holds '.value_base64 == "YQD/DQo=" and (has("value") | not)'
        http GET "$node" '/kv/binary?raw'
        cmp "$(body_file)" "$BATS_TEST_TMPDIR/binary"
        printf 'a\0b' >"$BATS_TEST_TMPDIR/text"
        http PUT "$node" /kv/binary --data-binary "@$BATS_TEST_TMPDIR/text"
        http GET "$node" /kv/binary
        holds '.value == "a\u0000b"'
    done
}

@test "an empty key and broken percent-encoding are 400" {
    local node method
    for node in "$LEADER" "$FOLLOWER"; do
        for method in GET PUT DELETE; do
            printf '%s\n' /kv/ '/kv/?timeout=1s' /kv/% /kv/a% /kv/a%2 /kv/%zz /kv/%2 /kv/%0g \
                /kv/%-1 /kv/%%41 '/kv/a%2?timeout=1s' | all_refused 400 bad_request "$node" "$method"
        done
    done
}

repeat() { # TEXT TIMES
    printf "%.0s$1" $(seq "$2")
}

@test "keys of 4096 bytes are taken, longer ones are 413 with limit and actual" {
    local node c key
    for node in "$LEADER" "$FOLLOWER"; do
        for c in k %%41 %%00; do
            key=$(repeat "$c" 4096)
            put "$node" "$key" x
            http GET "$node" "/kv/$key?raw"
            [ "$http_body" = x ]
            http DELETE "$node" "/kv/$key"
            holds .deleted
            for method in GET PUT DELETE; do
                http "$method" "$node" "/kv/$key${c/#%%/%}"
                refused 413 too_large "$([ "$method" = GET ] && echo none || echo not_applied)"
                holds '.error.limit == 4096 and .error.actual == 4097'
            done
        done
    done
}

# ---- values

@test "values from nothing to the limit; over it 413 with limit and actual" {
    local node size file=$BATS_TEST_TMPDIR/value
    for node in "$LEADER" "$FOLLOWER"; do
        put "$node" size ''
        http GET "$node" /kv/size
        holds '.value == ""'
        http GET "$node" '/kv/size?raw'
        replied 200
        [ ! -s "$(body_file)" ]
        for size in 1 65536 1048575 1048576; do
            head -c "$size" /dev/urandom >"$file"
            http PUT "$node" /kv/size --data-binary "@$file"
            replied 200
            http GET "$node" '/kv/size?raw'
            cmp "$(body_file)" "$file"
        done
        http GET "$node" /kv/size
        replied 200
        [ "$(the .value_base64)" = "$(base64 -w0 "$file")" ]
        printf x >>"$file"
        http PUT "$node" /kv/size --data-binary "@$file"
        refused 413 too_large not_applied
        holds '.error.limit == 1048576 and .error.actual == 1048577'
        # One that does not say beforehand how long it will be.
        http PUT "$node" /kv/size -H 'Transfer-Encoding: chunked' --data-binary "@$file"
        refused 413 too_large not_applied
        holds '.error.limit == 1048576 and .error.actual > 1048576'
        head -c 1048576 "$file" >"$file.fits"
        http PUT "$node" /kv/size -H 'Transfer-Encoding: chunked' --data-binary "@$file.fits"
        replied 200
        http GET "$node" '/kv/size?raw'
        cmp "$(body_file)" "$file.fits"
        http DELETE "$node" /kv/size
    done
}

@test "a value of 1 MiB of control characters, each six bytes in JSON" {
    head -c 1048576 /dev/zero | tr '\0' '\1' >"$BATS_TEST_TMPDIR/controls"
    http PUT "$LEADER" /kv/controls --data-binary "@$BATS_TEST_TMPDIR/controls"
    replied 200
    http GET "$FOLLOWER" /kv/controls
    replied 200
    [ "$(the '.value | length')" -eq 1048576 ]
    http GET "$FOLLOWER" '/kv?prefix=controls'
    [ "$(the '.items[0].value | length')" -eq 1048576 ]
    http DELETE "$LEADER" /kv/controls
}

@test "--max-value-size sets the limit" {
    start_node small --max-value-size 10B
    wait_ready small
    put small k 1234567890
    http PUT small /kv/k --data-binary 12345678901
    refused 413 too_large not_applied
    holds '.error.limit == 10 and .error.actual == 11'
    http GET small '/kv/k?raw'
    [ "$http_body" = 1234567890 ]
    kill_node small
}

# ---- parameters

@test "unknown, repeated and bad parameters are 400" {
    local node method
    put "$LEADER" params right
    for node in "$LEADER" "$FOLLOWER"; do
        for method in GET PUT DELETE; do
            printf '/kv/params?%s\n' x=1 prefix=a limit=1 reverse cursor=x \
                'timeout=1s&timeout=1s' timeout timeout= timeout=5 timeout=0 timeout=0s \
                timeout=-1s timeout=61s timeout=1d timeout=1s%00 timeout=%zz timeout=5s, \
                redirect=maybe redirect= redirect=1%00 'redirect&redirect' Timeout=1s \
                timeout=18446744073709551617ms |
                all_refused 400 bad_request "$node" "$method"
        done
        for method in PUT DELETE; do
            printf '/kv/params?%s\n' raw consistency=stale min_index=1 max_stale_ms=1 |
                all_refused 400 bad_request "$node" "$method"
        done
        printf '/kv/params?%s\n' raw=x 'raw&raw' consistency consistency= consistency=STALE \
            consistency=strong min_index= min_index=-1 min_index=1x min_index=1%00 \
            min_index=18446744073709551616 max_stale_ms=x 'consistency=stale&max_stale_ms=-1' \
            consistency=stale%00 'raw=1&raw=1' '%72aw&raw' |
            all_refused 400 bad_request "$node" GET
        printf 'PUT\t/kv/params?%s\tright\n' '' timeout=60s timeout=500ms timeout=1m \
            redirect=false redirect=0 | requests "$node"
        [ "$(jq -s 'map(.status) | unique' -c "$answers")" = '[200]' ]
        http GET "$node" /kv/params
        holds '.value == "right"'
    done
}
