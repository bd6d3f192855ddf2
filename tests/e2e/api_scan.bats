# GET /kv: bounds, direction, limits, cursors.
# shellcheck disable=SC2016,SC2030,SC2031,SC2154
load helper
load api

setup_file() {
    export E2E_DIR=$BATS_FILE_TMPDIR
    three_nodes
    BATS_TEST_TMPDIR=$BATS_FILE_TMPDIR
    setup
    # "p/" to be listed, keys around it that must not be.
    printf 'PUT\t/kv/%s\tvalue of %s\n' o o p p p/a p/a p/b p/b p/b/c p/b/c p/c p/c p/d p/d \
        p/%00 p/%00 p/%ff p/%ff p0 p0 q q 'sp%20a' 'sp%20a' sp+a sp+a | requests "$LEADER"
    put_many "$LEADER" many/ 1 1100
}

# The keys of the last page, as jq prints them.
keys_are() {
    [ "$(the '[.items[] | .key // .key_base64] | join(" ")')" = "$1" ] ||
        fail_with "keys: $(the '[.items[] | .key // .key_base64] | join(" ")'), not: $1"
}

scan() { # NODE QUERY
    http GET "$1" "/kv?$2"
    replied 200
}

@test "a prefix, in order of the bytes" {
    local node
    for node in "$LEADER" "$FOLLOWER"; do
        scan "$node" prefix=p/
        holds '[.items[] | .key // .key_base64] ==
            ["p/\u0000", "p/a", "p/b", "p/b/c", "p/c", "p/d", "cC//"]'
        holds '.next == null and .index > 0'
        holds '.items[1] | keys == ["key","timestamp","value","version"]'
        holds '.items[1].value == "value of p/a"'
        holds '.items[-1] | .key_base64 == "cC//" and (has("key") | not)'
        holds '[.items[] | .version > 0 and .version < 20] | all'
        scan "$node" prefix=p/b
        keys_are 'p/b p/b/c'
        scan "$node" prefix=nothing
        holds '.items == [] and .next == null'
        scan "$node" prefix=p/%00
        holds '.items | length == 1'
        [ "$(http_header Content-Type)" = application/json ]
    done
}

@test "in the query + is a space" {
    scan "$FOLLOWER" prefix=sp+
    keys_are 'sp a'
    scan "$FOLLOWER" prefix=sp%20
    keys_are 'sp a'
    scan "$FOLLOWER" prefix=sp%2B
    keys_are 'sp+a'
}

@test "start is included, end is not, with or without a prefix" {
    local node
    for node in "$LEADER" "$FOLLOWER"; do
        scan "$node" 'start=p/a&end=p/c'
        keys_are 'p/a p/b p/b/c'
        scan "$node" 'prefix=p/&start=p/b/c'
        keys_are 'p/b/c p/c p/d cC//'
        scan "$node" 'prefix=p/b&end=p/b/c'
        keys_are p/b
        scan "$node" 'prefix=p/&start=a&end=p/b'
        holds '.items | length == 2'
        scan "$node" 'start=p/c&end=p/c'
        holds '.items == []'
        scan "$node" 'start=z&end=a'
        holds '.items == [] and .next == null'
        scan "$node" 'prefix=p/&start=q'
        holds '.items == []'
        scan "$node" 'start=p0'
        keys_are 'p0 q sp a sp+a'
    done
}

@test "reverse" {
    local node
    for node in "$LEADER" "$FOLLOWER"; do
        scan "$node" 'start=p/a&end=p/c&reverse'
        keys_are 'p/b/c p/b p/a'
        scan "$node" 'prefix=p/b&reverse=true'
        keys_are 'p/b/c p/b'
        scan "$node" 'start=o&reverse&limit=3'
        keys_are 'sp+a sp a q'
        scan "$node" 'prefix=p/b&reverse=false'
        keys_are 'p/b p/b/c'
    done
}

@test "keys_only" {
    scan "$FOLLOWER" 'prefix=p/b&keys_only'
    keys_are 'p/b p/b/c'
    holds '[.items[] | has("value") or has("value_base64")] | any | not'
    holds '[.items[].version > 0] | all'
    scan "$FOLLOWER" 'prefix=p/b&keys_only=false'
    holds '.items[0].value == "value of p/b"'
}

@test "no parameter: all keys, 1000 a page" {
    scan "$LEADER" ''
    holds '(.items | length) == 1000 and .next != null'
    http GET "$FOLLOWER" /kv
    holds '(.items | length) == 1000 and .next != null'
    scan "$FOLLOWER" limit=10000
    holds '(.items | length) == 1113 and .next == null'
    scan "$FOLLOWER" 'prefix=many/&limit=1100'
    holds '(.items | length) == 1100 and .next == null'
}

# Follows the cursors of a scan over the nodes in turn; all keys into $BATS_TEST_TMPDIR/keys.
pages() { # QUERY
    local cursor='' nodes=(node1 node2 node3) i=0
    : >"$BATS_TEST_TMPDIR/keys"
    while :; do
        http GET "${nodes[i++ % 3]}" "/kv?$1$cursor"
        replied 200
        the '.items[] | .key // .key_base64' >>"$BATS_TEST_TMPDIR/keys"
        [ "$(the .next)" != null ] || break
        cursor="&cursor=$(jq -r '.next | @uri' <<<"$http_body")"
        [ "$i" -lt 200 ]
    done
    pages=$i
}

@test "a cursor goes on at another node, forth and back" {
    pages 'prefix=many/&limit=100'
    [ "$pages" -eq 11 ]
    diff "$BATS_TEST_TMPDIR/keys" <(printf 'many/%06d\n' $(seq 1100))
    pages 'prefix=many/&limit=99&reverse&keys_only'
    [ "$pages" -eq 12 ]
    diff "$BATS_TEST_TMPDIR/keys" <(printf 'many/%06d\n' $(seq 1100) | sort -r)
    pages 'prefix=p/&limit=1'
    [ "$pages" -eq 7 ]
    pages 'start=many/000900&end=p/c&limit=150'
    [ "$(wc -l <"$BATS_TEST_TMPDIR/keys")" -eq $((201 + 6)) ]
}

@test "a cursor needs nothing beside it, and what stands there must be equal" {
    local cursor
    scan "$LEADER" 'prefix=p/&start=p/a&end=p/d&limit=1'
    cursor=$(jq -r '.next | @uri' <<<"$http_body")
    scan "$FOLLOWER" "cursor=$cursor"
    keys_are 'p/b p/b/c p/c'
    scan "$FOLLOWER" "cursor=$cursor&prefix=p/&start=p/a&end=p/d&limit=2"
    keys_are 'p/b p/b/c'
    scan "$FOLLOWER" "cursor=$cursor&reverse=false&keys_only=false&max_bytes=1000"
    keys_are 'p/b p/b/c p/c'
    printf "/kv?cursor=$cursor&%s\n" prefix=p prefix= prefix=p/b start=p/b start= end=p/e end= \
        reverse keys_only reverse=true | all_refused 400 bad_request "$FOLLOWER" GET
    printf '/kv?cursor=%s\n' '' x "${cursor}x" "${cursor:1}" "${cursor:0:9}" %00 = "$(
        head -c 300 /dev/zero | base64 -w0 | sed 's/+/%2B/g'
    )" | all_refused 400 bad_request "$FOLLOWER" GET
}

@test "a cursor is valid though its last key and others are gone" {
    local cursor key
    for key in a b c d e; do
        put "$LEADER" "gone/$key" x
    done
    scan "$LEADER" 'prefix=gone/&limit=2'
    cursor=$(jq -r '.next | @uri' <<<"$http_body")
    http DELETE "$LEADER" /kv/gone/b
    http DELETE "$LEADER" /kv/gone/c
    put "$LEADER" gone/a2 x
    scan "$FOLLOWER" "cursor=$cursor"
    keys_are 'gone/d gone/e'
}

@test "max_bytes: a page ends there, one item always fits" {
    local i cursor
    head -c 600000 /dev/zero | tr '\0' x >"$BATS_TEST_TMPDIR/large"
    for i in 1 2 3; do
        http PUT "$LEADER" "/kv/large/$i" --data-binary "@$BATS_TEST_TMPDIR/large"
        replied 200
    done
    pages prefix=large/
    [ "$pages" -eq 3 ]
    [ "$(wc -l <"$BATS_TEST_TMPDIR/keys")" -eq 3 ]
    pages 'prefix=large/&keys_only'
    [ "$pages" -eq 1 ]
    pages 'prefix=p/&max_bytes=1'
    [ "$pages" -eq 7 ]
    scan "$FOLLOWER" 'prefix=many/&max_bytes=1000'
    holds '(.items | length) > 5 and (.items | length) < 100 and .next != null'
    scan "$FOLLOWER" 'prefix=many/&max_bytes=1048576'
    holds '(.items | length) == 1000'
}

@test "bad parameters are 400" {
    printf '/kv?%s\n' limit=0 limit=10001 limit= limit limit=x limit=-1 limit=1.5 limit=1%00 \
        max_bytes=0 max_bytes=1048577 max_bytes= max_bytes=1KiB prefix=%zz prefix=% x=1 raw \
        value=1 'prefix=a&prefix=a' 'limit=1&limit=1' reverse=x keys_only=maybe timeout=0 \
        consistency=none max_stale_ms=5 Prefix=a "prefix=$(printf 'a%.0s' {1..4097})" |
        all_refused 400 bad_request "$FOLLOWER" GET
    http PUT "$LEADER" /kv --data-binary x
    refused 405 method_not_allowed not_applied
    http DELETE "$LEADER" '/kv?prefix=a'
    refused 405 method_not_allowed not_applied
}

@test "a page shows what was written before it, on every node" {
    local i
    for i in 1 2 3 4 5; do
        put "$LEADER" "fresh/$i" "$i"
        scan "$FOLLOWER" 'prefix=fresh/'
        holds '(.items | length) == ($i | tonumber) and .index >= ($v | tonumber)' \
            --arg i "$i" --arg v "$version"
        [ "$(http_header RaftKV-Index)" = "$(the .index)" ]
    done
}

@test "keys and values of any bytes in pages" {
    http PUT "$LEADER" '/kv/odd/%22%5C%0A%01' --data-binary $'"\\\n\1\x7f'
    http PUT "$LEADER" '/kv/odd/%f0%28' --data-binary $'\xf0('
    scan "$FOLLOWER" prefix=odd/
    holds '.items[0].key == "odd/\"\\\n\u0001" and .items[0].value == "\"\\\n\u0001\u007f"'
    holds '.items[1].key_base64 == "b2RkL/Ao" and .items[1].value_base64 == "8Cg="'
    pages 'prefix=odd/&limit=1'
    [ "$pages" -eq 2 ]
}
