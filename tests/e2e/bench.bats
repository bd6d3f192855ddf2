# raftkv-bench: every workload on a real node, what comes out, what is refused, and what is counted
# when a node goes away.
# shellcheck disable=SC2030,SC2031,SC2154
load helper

setup() {
    export TMPDIR=$BATS_TEST_TMPDIR/tmp
    mkdir -p "$TMPDIR"
    cd "$BATS_TEST_TMPDIR" || return
}

bench() {
    "$RAFTKV_BIN/raftkv-bench" "$@"
}

twenty_are_there() {
    [ "$(ctl scan --keys-only --limit 20 bench- | wc -l)" -ge 20 ]
}

one_node() {
    start_node n1
    wait_ready
    RAFTKV_ENDPOINTS=$(url_of n1)
    export RAFTKV_ENDPOINTS
}

@test "bench: every workload is answered, without an error" {
    one_node
    local workload
    bench -w put --preload 200 -n 200 -c 8 >/dev/null
    for workload in put get delete scan conditional mixed a b c d e f; do
        run bench -w "$workload" --keys 200 -n 300 -c 8 --seed 3 -o json
        assert_success
        jq -e --arg w "$workload" '.workload == $w and .operations.all.total == 300
            and .operations.all.answered == 300 and .operations.all.errors == 0
            and .operations.all.unknown == 0 and .operations.all.p50_us > 0
            and .operations.all.p50_us <= .operations.all.p99_us
            and .operations.all.p99_us <= .operations.all.max_us' <<<"$output" >/dev/null ||
            fail_with "$workload: $output"
    done
    run bench -w mixed --ratio put=1,get=2,delete=1,conditional=1,insert=1,scan=1 -n 700 -o json
    assert_success
    jq -e '.operations | (keys | sort) == (["all", "conditional", "delete", "get", "put", "scan"])' \
        <<<"$output" >/dev/null
}

@test "bench: the keys are there afterwards, with values of the size that was asked for" {
    one_node
    run bench -w put --preload 20 --keys 20 --key-prefix 'a/b ' --value-size 30..40 -n 50
    assert_success
    assert_line --regexp '^preload +20 keys in [0-9.]+ s, 0 failed$'
    [ "$(ctl scan --keys-only 'a/b ' | wc -l)" -eq 20 ]
    local len
    len=$(ctl get 'a/b 000000000007' | wc -c)
    [ "$len" -ge 30 ] && [ "$len" -le 40 ]
    printf 'one\ntwo/%%\n' >keys
    bench -w put --key-file keys -n 20 -c 2 --key-order sequential >/dev/null
    ctl get 'two/%' >/dev/null
}

@test "bench: objectives decide the exit code" {
    one_node
    run bench -w put -n 100 --slo 'put.p99<1m'
    assert_failure 2
    run bench -w put -n 100 --slo 'put.p99<100s,errors<=0%,put.rate>0'
    assert_success
    assert_line --regexp '^SLO +put\.p99<100s +held: [0-9.]+(us|ms|s)$'
    run bench -w put -n 100 --slo 'errors<1%,put.p50<1us'
    assert_failure 9
    assert_line --regexp '^SLO +put\.p50<1us +violated: [0-9.]+(us|ms|s)$'
    run bench -w put -n 100 --slo 'errors<1%,get.p99<1s'
    assert_failure 10
    assert_line --regexp '^SLO +get\.p99<1s +inconclusive: -$'
}

@test "bench: --csv, --hdr and --html" {
    one_node
    run bench -w a --preload 100 --time 2s --warmup 1s --rate 200 --arrivals poisson \
        --csv f.csv --hdr f.hdr --html f.html
    assert_success
    assert_line --regexp '^measured +2\.0 s, behind 1\.0 s of ramp and warm-up, whose [0-9]+ answers do not count$'
    assert_line --regexp '^schedule +[0-9]+ requests due, [0-9]+ begun in time'
    [ "$(head -1 f.csv)" = from_s,length_s,phase,answered,rate,errors,unknown,p50_us,p95_us,p99_us,p999_us,max_us ]
    grep -q ',warm-up,' f.csv && grep -q ',measured,' f.csv
    [ "$(wc -l <f.csv)" -ge 4 ]
    grep -qE '^ +[0-9.]+ 0\.5[0-9]* +[0-9]+ +[0-9.]+$' f.hdr
    grep -q '^#\[Max     = ' f.hdr
    [ -s f.hdr.put ] && [ -s f.hdr.get ] && [ ! -e f.hdr.scan ]
    [ "$(grep -c '<svg' f.html)" -eq 3 ] && grep -q '</html>' f.html
    [ "$(grep -c '<polyline class="l0" points="[0-9]' f.html)" -eq 3 ]
    run ! grep -qE 'src=|href=|<script|https?:' f.html
    run bench -w put -n 10 --csv /nonexistent/f.csv
    assert_failure 2
    assert_output --partial '--csv: /nonexistent/f.csv: No such file or directory'
}

@test "bench: a history that raftkv-check judges" {
    one_node
    run bench -w mixed --ratio put=3,get=4,delete=1,conditional=2 --keys 20 --preload 10 -n 2000 -c 8 \
        --history h.json
    assert_success
    run "$RAFTKV_BIN/raftkv-check" history h.json
    assert_success
    assert_output --regexp '^h.json: linearizable: [0-9]+ operations of [0-9]+ processes'
    [ "$(jq -s 'map(select(.type == "invoke" and .op == "put")) | length' h.json)" -gt 300 ]
    jq -es '(map(select(.op == "cas")) | length > 0) and (map(.time) | . == sort)' h.json >/dev/null
    # A value that was never written must be seen.
    jq -c 'if .op == "get" and .type == "ok" and .value != null then .value = "nobody" else . end' h.json >bad.json
    run "$RAFTKV_BIN/raftkv-check" history bad.json
    assert_failure 9
    run bench -w e -n 10 --history x.json
    assert_failure 2
    assert_output --partial '--history: scans of a range have no form in a history'
}

@test "bench: compare" {
    one_node
    bench -w put -n 200 -c 4 -o json >a.json
    bench -w put -n 200 -c 8 -o json >b.json
    run bench compare a.json b.json
    assert_success
    assert_line --regexp '^differs +clients: 4, 8$'
    assert_line --regexp '^put +P99 +[0-9.]+(us|ms|s) +[0-9.]+(us|ms|s) +[+-][0-9.]+ %$'
    run bench compare --worse 0 a.json a.json
    assert_success
    jq '.operations.put.p99_us *= 3' a.json >worse.json
    run bench compare --worse 150 a.json worse.json
    assert_failure 9
    assert_line 'worse by 200.0 %: put P99'
    run bench compare --worse 250 a.json worse.json
    assert_success
    echo '{}' >none.json
    run bench compare a.json none.json
    assert_failure 2
    assert_output 'raftkv-bench: compare: none.json: no result of raftkv-bench -o json'
    run bench compare a.json nonexistent.json
    assert_failure 2
    run bench compare a.json
    assert_failure 2
}

@test "bench: --local starts nodes, and leaves nothing" {
    run env -u RAFTKV_ENDPOINTS "$RAFTKV_BIN/raftkv-bench" --local 3 --target leader -w a --preload 50 -n 500 -c 8 -o json
    assert_success
    jq -e '.local == 3 and .target == "leader" and .operations.all.answered == 500 and .preload.keys == 50' \
        <<<"$output" >/dev/null
    [ -z "$(find "$TMPDIR" -name 'raftkv-bench-*')" ]
    [ "$(pgrep -fc "raftkv-node .*$TMPDIR" || true)" -eq 0 ]
}

@test "bench: nobody there, or nobody who serves" {
    local port
    free_port port
    run bench --endpoints "http://127.0.0.1:$port" -n 10
    assert_failure 4
    assert_output --partial "127.0.0.1"
    [ "${#lines[@]}" -eq 1 ]
}

@test "bench: a node that is killed under load" {
    one_node
    bench -w put -c 16 --time 6s --timeout 1s -o json >result.json 2>errors &
    local pid=$!
    # Some puts are answered; then many are under way at any moment.
    wait_until "$E2E_WAIT_SECONDS" twenty_are_there
    kill_node n1
    wait "$pid"
    jq -e '.operations.put | .answered > 0 and .unknown >= 1 and .unknown_kinds.no_reply >= 1
        and .errors >= 1 and .error_kinds.unreachable >= 1
        and .total == .answered + .errors + .unknown' result.json
}

@test "bench: interrupted, it says what it has" {
    one_node
    "$RAFTKV_BIN/raftkv-bench" -w put -c 4 --time 100s -o json >result.json 2>errors &
    local pid=$! status=0
    wait_until "$E2E_WAIT_SECONDS" twenty_are_there
    kill -TERM "$pid"
    wait "$pid" || status=$?
    [ "$status" -eq 10 ]
    grep -q '^raftkv-bench: interrupted$' errors
    jq -e '.ended_early == "interrupted" and .operations.put.answered > 0 and .measured_s < 60' result.json
}

@test "bench: what is wrong with the command line is named" {
    local row want
    while IFS='|' read -r row want; do
        # shellcheck disable=SC2086
        run bench $row
        assert_failure 2
        assert_output --partial "$want"
        [ "${#lines[@]}" -eq 1 ]
    done <<'END'
--nonsense|--nonsense
-w x|-w: 'x' is none of put, get
-w put --ratio get=1|--ratio is for --workload mixed, not put
-w mixed --ratio get|'get' is no OPERATION=PARTS
-w mixed --ratio fly=1|'fly' is no operation
-w mixed --ratio get=0|leaves no operation
--value-size 9..3|--value-size: '9..3' is neither
--value-size x|--value-size: 'x' is neither
--value-size 5 --history h|--value-size: with --history at least
--slo put.p99|--slo: 'put.p99': want METRIC<VALUE
--preload 5 --keys 3|--preload: more than --keys, 3
--key-file nonexistent|nonexistent: No such file
--key-file x --keys 3|--key-file says what --keys would
-t 9 -c 3|--threads: more than --clients
-c 0|-c: '0' is no whole number from 1
--seed 0|--seed: '0' is no number from 1 on
--local 1 --endpoints http://127.0.0.1:1|either --endpoints or --local
--node-program x|--node-program is for --local
--local 1 --node-program nonexistent|--node-program: nonexistent
--consistency eventual|--consistency
frob|unknown command 'frob'
-n 5 compare a b|the options of 'compare' stand behind it
compare a|too few arguments
END
    run bench --help
    assert_success
    assert_line --regexp '^  compare '
    run bench --version
    assert_success
}
