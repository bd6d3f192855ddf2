# raftkv-check run: short runs on real nodes, what is found and what is refused.
# shellcheck disable=SC2030,SC2031,SC2154
load helper

setup() {
    export TMPDIR=$BATS_TEST_TMPDIR/tmp
    mkdir -p "$TMPDIR"
    cd "$BATS_TEST_TMPDIR" || return
}

check() {
    "$RAFTKV_BIN/raftkv-check" "$@"
}

# Nodes of this test's runs that are alive: their data lies in $TMPDIR or in the report.
nodes_left() {
    pgrep -fc "raftkv-node .*$BATS_TEST_TMPDIR" || true
}

nodes_run() {
    [ "$(nodes_left)" -ge 3 ]
}

no_node_runs() {
    [ "$(nodes_left)" -eq 0 ]
}

nothing_left() {
    [ "$(nodes_left)" -eq 0 ] || fail_with "nodes are left: $(pgrep -fa "raftkv-node .*$BATS_TEST_TMPDIR")"
    local left
    left=$(find "$TMPDIR" -name 'raftkv-run-*')
    [ -z "$left" ] || fail_with "left: $left"
}

@test "run: kill and pause, a register; the report is kept" {
    run check run --time 6s --seed 11 --faults kill,pause --report "$PWD/report" --json figures.json
    assert_success
    assert_line --regexp '^seed 11: workload register, 3 nodes, 10 clients, 10 keys, faults: kill pause'
    assert_line --regexp '^operations +[0-9]+ done, '
    assert_line --regexp '^availability +[0-9.]+ %'
    assert_line --regexp '^history +[0-9]+ operations in [0-9]+ parts'
    assert_line --regexp '^replicas +3 equal at index [0-9]+'
    assert_line --regexp '^result +ok$'
    jq -e '.result == "ok" and .seed == 11 and .done > 0 and (.faults | length > 0) and (.seconds | length >= 6)' \
        figures.json
    cmp figures.json report/report.json
    jq -es 'length > 0 and (map(.time) | . == sort) and all(.type | IN("invoke", "ok", "fail", "info"))' \
        report/history.jsonl >/dev/null
    check history report/history.jsonl
    [ -s report/node1.log ] && [ -s report/node3.log ] && [ -d report/node2.raftkv ]
    grep -q '</html>' report/report.html
    run ! grep -qE 'src=|href=|<script|https?:' report/report.html
    grep -q '<polyline points="[0-9]' report/report.html
    nothing_left
}

@test "run: partitions and a lossy network, appends" {
    run check run --time 6s --seed 12 --faults partition+lossy,transfer --workload append
    assert_success
    assert_line --regexp '^end check +[0-9]+ acknowledged, 0 lost or twice'
    assert_line --regexp '^links +[0-9]+ connections'
    assert_line --regexp '^result +ok$'
    nothing_left
}

@test "run: members change and all nodes are killed, a set" {
    run check run --time 8s --seed 13 --faults membership,kill-all --workload set --clients 5
    assert_success
    assert_line --regexp '^ .* membership .*(add|remove) node'
    assert_line --regexp '^end check +[0-9]+ acknowledged, 0 lost or twice'
    nothing_left
}

@test "run: leaders are killed and handed over, batches" {
    run check run --time 6s --seed 15 --faults kill,partition,transfer --workload batch --report "$PWD/report"
    assert_success
    assert_line --regexp '^history +[0-9]+ operations in [0-9]+ parts?, [0-9]+ by index'
    assert_line --regexp '^result +ok$'
    jq -es '(map(select(.op == "batch" and .type == "ok")) | length > 20) and
        (map(select(.op == "batch" and .type == "invoke")) | all(.ops | length == 5)) and
        (map(select(.op == "scan" and .type == "ok")) | all(.items | length == 0 or length == 5))' \
        report/history.jsonl >/dev/null
    nothing_left
}

@test "run: disks and clocks fail where nodes make it so, banks" {
    run check run --time 6s --seed 14 --faults disk-stall,disk-error,clock-jump --workload bank
    assert_success
    assert_line --regexp '"kind":"'
    refute_line --partial 'enable-faults'
    nothing_left
}

@test "run: stale reads are no linearizable ones, and are found" {
    local seed
    for seed in 1 2 3; do
        run check run --time 6s --seed $seed --faults pause,partition --consistency stale --report "$PWD/stale-$seed"
        [ "$status" -ne 9 ] || break
    done
    assert_failure 9
    # The words that follow depend on which read is met first.
    assert_line --regexp '^result +VIOLATED: the history is not linearizable: '
    assert_line "The same schedule of faults again: --seed $seed"
    run check history "stale-$seed/history.jsonl"
    assert_failure 9
    jq -e '.result == "violated" and (.why | contains("linearizable"))' "stale-$seed/report.json"
    [ "$(nodes_left)" -eq 0 ]
}

@test "run: a node that loses what it acknowledged is found" {
    # A program that starts the node on an emptied data directory each time but the first.
    cat >forgetful <<END
#!/usr/bin/env bash
[ "\$1" = --help ] && exec "$NODE_PROGRAM" --help
dir=\$(sed 's/.*--data-dir \([^ ]*\).*/\1/' <<<"\$*")
rm -rf "\$dir"
exec "$NODE_PROGRAM" "\$@"
END
    chmod +x forgetful
    # On a machine that does other things all the writes may come after the kill.
    local seed
    for seed in 2 3 4; do
        run check run --time 5s --seed $seed --faults kill-all --node-program ./forgetful --report "$PWD/lost-$seed"
        [ "$status" -ne 9 ] || break
    done
    assert_failure 9
    assert_line --regexp '^result +VIOLATED: '
    [ "$(nodes_left)" -eq 0 ]
}

@test "run: a cluster that runs already" {
    start_cluster 3
    run check run --endpoints "$(endpoints)" --time 5s --seed 3 --workload scan --faults transfer
    assert_success
    assert_line --regexp '^seed 3: workload scan, nodes at http://127.0.0.1:'
    assert_line --regexp '^ .* transfer .*to anybody'
    assert_line --regexp '^replicas +3 equal'
    # Again, in the same cluster: other keys.
    run check run --endpoints "$(endpoints)" --time 2s --workload bank
    assert_success
    run check run --endpoints "$(endpoints)" --faults kill
    assert_failure 2
    assert_output --partial 'kill needs nodes of our own'
    run check run --endpoints "$(endpoints)" --faults slow+transfer
    assert_failure 2
    assert_output --partial 'needs a proxy'
}

# As when a run goes on while another one's new node has taken the port of a node that is gone.
@test "run: what a node of another cluster at an endpoint says is no part of the history" {
    start_node node1
    start_node node2
    wait_ready node1 node2
    run check run --endpoints "$(endpoints)" --time 2s --seed 3 --report report
    assert_failure 9
    assert_line --regexp '^result +VIOLATED: the replicas differ: .* of two clusters'
    run check history report/history.jsonl
    assert_success
}

@test "run: endpoints that do not answer are no verdict" {
    local port
    free_port port
    run check run --endpoints "http://127.0.0.1:$port" --time 2s
    assert_failure 10
    assert_line --regexp '^result +inconclusive: no endpoint serves'
    nothing_left
}

@test "run: an interrupted run leaves nothing behind" {
    local signal pid status
    for signal in INT TERM; do
        "$RAFTKV_BIN/raftkv-check" run --time 60s --seed 4 --faults kill,partition >out 2>&1 3>&- 4>&- &
        pid=$!
        wait_until "$E2E_WAIT_SECONDS" nodes_run
        sleep 2
        kill -"$signal" $pid
        status=0
        wait $pid || status=$?
        [ "$status" -eq 10 ] || fail_with "status $status: $(<out)"
        grep -q 'interrupted; all nodes were stopped and the directory removed' out
        nothing_left
    done
}

@test "run: nodes do not outlive a run that is killed" {
    "$RAFTKV_BIN/raftkv-check" run --time 60s --faults none >out 2>&1 3>&- 4>&- &
    local pid=$!
    wait_until "$E2E_WAIT_SECONDS" nodes_run
    kill -KILL $pid
    wait $pid || true
    wait_until "$E2E_WAIT_SECONDS" no_node_runs
}

@test "run: what is wrong is refused by name" {
    local args want
    mkdir full && touch full/something
    while IFS='|' read -r args want; do
        # shellcheck disable=SC2086
        run check run $args
        assert_failure 2
        assert_output --partial "$want"
    done <<'END'
--seed 0|--seed: '0'
--seed x|--seed: 'x'
--faults frob|'frob' is no fault
--faults kill+kill|twice
--faults kill,|empty word
--workload frob|workload
--nodes 0|nodes
--nodes 8|nodes
--time 5|time
--time 0s|time
--clients 0|clients
--rate -1|rate
--consistency frob|consistency
--report full|full is not empty
--report no/such/dir|no/such/dir
--node-program /no/such|/no/such
--endpoints http://a --node-program /bin/true|either --endpoints
--faults disk-full --node-program /bin/true|/bin/true does not
1|too many arguments
END
    nothing_left
}
