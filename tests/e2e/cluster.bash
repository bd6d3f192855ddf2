# What the tests of whole clusters share, on top of helper.bash and api.bash: load in the
# background (tests/tools/load.c), and what must hold afterwards.
#
#   begin_load [FLAG…]            `load write` at all nodes that run, 500 writes a second (-r 0: all it can)
#   begin_register [FLAG…]        `load register`: counts and reads, complains of stale reads
#   await_acks N                  N more writes were acknowledged
#   end_load                      stops it; sets $load_line, and $gap_ms: the longest time without
#                                 an acknowledged write
#   verify_load [NODE]            nothing acknowledged is lost, nothing applied twice
#   same_everywhere [NODE…]       digests of these nodes (default: all that run) come to agree
# shellcheck disable=SC2034 # read by the tests

load_setup() {
    export RAFTKV_TEST_TOOLS=${RAFTKV_TEST_TOOLS:-$REPO/build/san/tests/tools}
    load_dir=$BATS_TEST_TMPDIR/load
    mkdir -p "$load_dir"
}

setup() {
    answers=$BATS_TEST_TMPDIR/answers
    load_setup
}

teardown() {
    [ -z "${load_pid:-}" ] || kill -KILL "$load_pid" 2>/dev/null || true
    end_test
}

node_urls() {
    local name
    for name in $(running_nodes); do
        url_of "$name"
    done
}

in_background() {
    : >"$load_dir/log"
    "$RAFTKV_TEST_TOOLS/load" "$@" >"$load_dir/out" 2>&1 3>&- 4>&- </dev/null &
    load_pid=$!
}

begin_load() {
    # shellcheck disable=SC2046
    in_background write -r 500 "$@" "$load_dir/log" $(node_urls)
}

begin_register() {
    # shellcheck disable=SC2046
    in_background register "$@" "$load_dir/log" register $(node_urls)
}

acks() {
    grep -c ^ok "$load_dir/log" || true
}

more_acks_than() {
    kill -0 "$load_pid" && [ "$(acks)" -ge "$1" ]
}

await_acks() {
    wait_until "$E2E_WAIT_SECONDS" more_acks_than $(($(acks) + $1))
}

end_load() {
    local status=0
    kill -TERM "$load_pid"
    wait "$load_pid" || status=$?
    load_pid=
    load_line=$(tail -n 1 "$load_dir/out")
    gap_ms=$(sed -n 's/.*gap_ms=\([0-9]*\).*/\1/p' <<<"$load_line")
    echo "load: $load_line"
    [ "$status" -eq 0 ] || fail_with "load ended with $status: $(<"$load_dir/out")"
}

verify_load() {
    "$RAFTKV_TEST_TOOLS/load" verify "$load_dir/log" "$(url_of "${1:-$(running_nodes | head -n 1)}")"
}

digests() {
    local name
    for name in "$@"; do
        curl -s --max-time 2 "$(url_of "$name")/node" |
            jq -c '[.index.applied, .index.commit, .digest.index, .digest.value]'
    done
}

digests_agree() {
    local all
    all=$(digests "$@")
    [ "$(wc -l <<<"$all")" -eq $# ] && [ "$(sort -u <<<"$all" | wc -l)" -eq 1 ] &&
        jq -e '.[0] == .[2]' <<<"${all%%$'\n'*}" >/dev/null
}

same_everywhere() {
    # shellcheck disable=SC2046
    [ $# -gt 0 ] || set -- $(running_nodes)
    wait_until "$E2E_WAIT_SECONDS" digests_agree "$@" || fail_with "digests: $(digests "$@")"
}

# On a node's own authority: its metric, without labels.
metric_of() { # NODE NAME
    curl -s --max-time 2 "$(url_of "$1")/metrics" | awk -v name="$2" '$1 == name { print $2 }'
}

term_of() {
    curl -s --max-time 2 "$(url_of "$1")/node" | jq .term
}
