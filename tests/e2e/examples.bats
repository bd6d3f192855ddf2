# Each script of examples/ does what it says.
# shellcheck disable=SC2030,SC2031,SC2154
load helper

setup_file() {
    export E2E_DIR=$BATS_FILE_TMPDIR
    start_node node1
    wait_ready node1
}

setup() {
    RAFTKV_ENDPOINTS=$(endpoints)
    export RAFTKV_ENDPOINTS
    cd "$BATS_TEST_TMPDIR" || return
}

# What a test starts in the background, by pid; ended behind the test if it still runs.
background=()

in_background() { # FILE COMMAND…
    local file=$1
    shift
    "$@" >"$file" 2>&1 3>&- 4>&- &
    background+=($!)
}

teardown() {
    local pid
    for pid in "${background[@]}"; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    end_test
}

has_line() { # FILE TEXT
    grep -qF -e "$2" "$1"
}

key_is() { # KEY VALUE
    [ "$(ctl get "$1" 2>/dev/null)" = "$2" ]
}

version_of() { # KEY
    ctl -o json get "$1" | jq .version
}

newer_than() { # KEY VERSION
    [ "$(version_of "$1")" -gt "$2" ]
}

key_exists() {
    ctl get "$1" >/dev/null 2>&1
}

# ---- counter

@test "counter: four at once count five each" {
    run "$REPO/examples/counter.sh" visits
    assert_success
    assert_output 1
    run "$REPO/examples/counter.sh" visits 41
    assert_output 42
    ctl put visits 0
    # shellcheck disable=SC2016
    seq 4 | xargs -P 4 -I{} bash -c 'for i in 1 2 3 4 5; do "$0" visits >/dev/null || exit; done' \
        "$REPO/examples/counter.sh"
    run ctl get visits
    assert_output 20
}

@test "counter: refuses what is no number" {
    ctl put word text
    run "$REPO/examples/counter.sh" word
    assert_failure 1
    assert_output --partial 'no counter'
    run ctl get word
    assert_output text
}

@test "counter: nobody to ask is told by exit status 4, and why" {
    RAFTKV_ENDPOINTS=http://127.0.0.1:1 run --separate-stderr "$REPO/examples/counter.sh" visits
    assert_failure 4
    assert_output ''
    [[ $stderr == raftkv-ctl:*127.0.0.1:1* ]]
}

@test "counter: keys like options, numbers like octal ones, arguments like code" {
    run "$REPO/examples/counter.sh" -k
    assert_success
    assert_output 1
    ctl put octal 010
    run "$REPO/examples/counter.sh" octal
    assert_failure 1
    run ctl get octal
    assert_output 010
    # shellcheck disable=SC2016
    run "$REPO/examples/counter.sh" visits 'a[$(touch here)]'
    assert_failure 2
    [ ! -e here ]
    ctl put most 999999999999999999
    run "$REPO/examples/counter.sh" most
    assert_failure 1
}

# ---- lock

@test "lock: passes on the command's exit status and gives the lock back" {
    # shellcheck disable=SC2016
    run "$REPO/examples/lock.sh" job bash -c 'echo "token $FENCING_TOKEN"; exit 7'
    assert_failure 7
    assert_output --regexp '^token [0-9]+$'
    run ctl get lock/job
    assert_failure 1
}

@test "lock: one at a time, and the tokens grow" {
    # Each holder looks whether another is inside.
    cat >inside.sh <<'END'
mkdir inside || { echo "two at once" >>trouble; exit 1; }
sleep 0.05
rmdir inside
echo "$FENCING_TOKEN" >>tokens
END
    seq 6 | xargs -P 6 -I{} "$REPO/examples/lock.sh" shared bash inside.sh
    [ ! -e trouble ]
    assert_equal "$(wc -l <tokens)" 6
    sort -nu tokens | cmp - tokens
}

@test "lock: the lock of a dead holder is taken over after its time, with a higher token" {
    ctl put lock/dead somebody >/dev/null
    old=$(ctl -o json get lock/dead | jq .version)
    # shellcheck disable=SC2016
    run "$REPO/examples/lock.sh" -t 1 dead bash -c 'echo "$FENCING_TOKEN"'
    assert_success
    [ "$output" -gt "$old" ]
}

@test "lock: is renewed while the command runs, and a lost one ends the command" {
    in_background out "$REPO/examples/lock.sh" -t 5 long bash -c 'trap "echo stopped; exit" TERM; touch runs; while :; do sleep 0.05; done'
    wait_until "$E2E_WAIT_SECONDS" test -e runs
    first=$(version_of lock/long)
    wait_until "$E2E_WAIT_SECONDS" newer_than lock/long "$first"
    ctl put lock/long thief >/dev/null
    status=0
    wait "${background[0]}" || status=$?
    assert_equal "$status" 3
    wait_until "$E2E_WAIT_SECONDS" has_line out stopped
    has_line out 'lock was lost'
    key_is lock/long thief
}

uptime_ms() {
    local up
    read -r up _ </proc/uptime
    echo $((10#${up/./} * 10))
}

@test "lock: nobody takes it before its time is over" {
    local began
    ctl put lock/early somebody >/dev/null
    began=$(uptime_ms)
    run "$REPO/examples/lock.sh" -t 2 early true
    assert_success
    [ $(($(uptime_ms) - began)) -ge 2000 ]
}

@test "lock: the command reads what is meant for it" {
    run "$REPO/examples/lock.sh" input cat <<<'words for the command'
    assert_success
    assert_output 'words for the command'
}

@test "lock: bad arguments are exit status 2" {
    for bad in '-t 0 a true' '-t x a true' '-t' '-t 5' '-t 5 a' a; do
        # shellcheck disable=SC2086
        run timeout 10 "$REPO/examples/lock.sh" $bad
        assert_failure 2
        assert_output --partial usage
    done
}

# Whatever becomes of the cluster: no command runs on without its lock.
@test "lock: a command whose lock cannot be renewed is ended, by SIGKILL if need be" {
    local status
    in_background polite "$REPO/examples/lock.sh" -t 2 polite bash -c 'trap "echo stopped; exit" TERM; touch runs1; while :; do sleep 0.05; done'
    in_background deaf "$REPO/examples/lock.sh" -t 2 deaf bash -c 'trap "" TERM; echo $$ >pid; touch runs2; while :; do sleep 0.05; done'
    wait_until "$E2E_WAIT_SECONDS" test -e runs1
    wait_until "$E2E_WAIT_SECONDS" test -e runs2
    pause_node node1
    status=0
    wait "${background[0]}" || status=$?
    [ "$status" -eq 3 ] || { resume_node node1; fail_with "polite: exit status $status"; }
    status=0
    wait "${background[1]}" || status=$?
    resume_node node1
    assert_equal "$status" 3
    has_line polite stopped
    has_line polite 'lock was lost'
    run ! kill -0 "$(<pid)"
}

@test "lock: a renewal of unknown outcome does not end the command" {
    in_background out "$REPO/examples/lock.sh" -t 21 shaky bash -c 'touch runs; until [ -e end ]; do sleep 0.05; done; exit 7'
    wait_until "$E2E_WAIT_SECONDS" test -e runs
    pause_node node1
    wait_until "$E2E_WAIT_SECONDS" has_line out 'may have been applied' || { resume_node node1; false; }
    resume_node node1
    first=$(version_of lock/shaky)
    wait_until "$E2E_WAIT_SECONDS" newer_than lock/shaky "$first"
    touch end
    status=0
    wait "${background[0]}" || status=$?
    assert_equal "$status" 7
    run ctl get lock/shaky
    assert_failure 1
}

# ---- election

@test "elect: one leads, the others follow; after it is killed another one does" {
    in_background a.out "$REPO/examples/elect.sh" campaign boss a 2
    wait_until "$E2E_WAIT_SECONDS" has_line a.out 'a leads'
    in_background b.out "$REPO/examples/elect.sh" campaign boss b 2
    in_background c.out "$REPO/examples/elect.sh" campaign boss c 2
    wait_until "$E2E_WAIT_SECONDS" has_line b.out 'b follows a'
    wait_until "$E2E_WAIT_SECONDS" has_line c.out 'c follows a'
    run "$REPO/examples/elect.sh" leader boss
    assert_output a
    kill -KILL "${background[0]}"
    another_leads() { has_line b.out 'b leads' || has_line c.out 'c leads'; }
    wait_until "$E2E_WAIT_SECONDS" another_leads
    assert_equal "$(cat b.out c.out | grep -c ' leads, epoch')" 1
    run "$REPO/examples/elect.sh" leader boss
    assert_output --regexp '^[bc]$'
    old=$(sed -n 's/.*epoch //p' a.out)
    [ "$(cat b.out c.out | sed -n 's/.* leads, epoch //p')" -gt "$old" ]
}

@test "elect: who resigns is followed at once" {
    in_background a.out "$REPO/examples/elect.sh" campaign chair a 30
    wait_until "$E2E_WAIT_SECONDS" has_line a.out 'a leads'
    in_background b.out "$REPO/examples/elect.sh" campaign chair b 30
    wait_until "$E2E_WAIT_SECONDS" has_line b.out 'b follows a'
    kill -TERM "${background[0]}"
    wait "${background[0]}" || true
    has_line a.out 'a resigns'
    wait_until "$E2E_WAIT_SECONDS" has_line b.out 'b leads'
    kill -TERM "${background[1]}"
    wait "${background[1]}" || true
    run "$REPO/examples/elect.sh" leader chair
    assert_failure 1
}

@test "elect: a sign of life of unknown outcome is no end, silence is" {
    in_background a.out "$REPO/examples/elect.sh" campaign mayor a 6
    wait_until "$E2E_WAIT_SECONDS" has_line a.out 'a leads'
    pause_node node1
    wait_until "$E2E_WAIT_SECONDS" has_line a.out 'may have been applied' || { resume_node node1; false; }
    resume_node node1
    first=$(version_of election/mayor)
    wait_until "$E2E_WAIT_SECONDS" newer_than election/mayor "$first"
    run ! has_line a.out 'leads no more'
    pause_node node1
    wait_until "$E2E_WAIT_SECONDS" has_line a.out 'a leads no more' || { resume_node node1; false; }
    resume_node node1
    wait_until "$E2E_WAIT_SECONDS" key_exists election/mayor
}

@test "elect: bad arguments are exit status 2" {
    for bad in '' leader 'campaign x' 'campaign x a 0' 'campaign x a b' 'frob x'; do
        # shellcheck disable=SC2086
        run timeout 10 "$REPO/examples/elect.sh" $bad
        assert_failure 2
    done
}

# ---- reload

@test "reload: the file follows the key, the command runs at each change" {
    # shellcheck disable=SC2016
    in_background out "$REPO/examples/reload.sh" -i 0.1 conf app.conf bash -c 'echo "reload $RELOAD_VERSION"'
    first=$(ctl put conf 'a = 1')
    wait_until "$E2E_WAIT_SECONDS" has_line out "reload $first"
    assert_equal "$(cat app.conf)" 'a = 1'
    head -c 5000 /dev/urandom >value
    second=$(ctl put conf --file value)
    wait_until "$E2E_WAIT_SECONDS" has_line out "reload $second"
    cmp value app.conf
    ctl delete conf
    third=$(ctl put conf '')
    wait_until "$E2E_WAIT_SECONDS" has_line out "reload $third"
    [ -e app.conf ] && [ ! -s app.conf ]
    assert_equal "$(wc -l <out)" 3
}

@test "reload: keeps permissions, tells once that nobody answers" {
    : >app.conf
    chmod 640 app.conf
    ctl put -- -conf 'a = 1' >/dev/null
    in_background out "$REPO/examples/reload.sh" -i 0.1 -conf app.conf echo reload
    wait_until "$E2E_WAIT_SECONDS" has_line out reload
    assert_equal "$(stat -c %a app.conf)" 640
    assert_equal "$(cat app.conf)" 'a = 1'
    mkdir bin
    printf '#!/bin/sh\necho >>asked; echo "nobody answers" >&2; exit 4\n' >bin/raftkv-ctl
    chmod +x bin/raftkv-ctl
    RAFTKV_BIN=$PWD/bin in_background silent "$REPO/examples/reload.sh" -i 0.01 conf none.conf true
    asked_often() { [ "$(wc -l <asked)" -ge 5 ]; }
    wait_until "$E2E_WAIT_SECONDS" test -e asked
    wait_until "$E2E_WAIT_SECONDS" asked_often
    assert_equal "$(cat silent)" 'nobody answers'
    run "$REPO/examples/reload.sh" -i x conf app.conf true
    assert_failure 2
}

# ---- cluster and demo

@test "cluster: start, status, kill, restart, stop, start again" {
    run "$REPO/examples/cluster.sh" start here
    assert_success
    assert_output --regexp '^export RAFTKV_ENDPOINTS=http://.*,http://.*,http://'
    eval "$output"
    "$RAFTKV_BIN/raftkv-ctl" put k v
    leader=$("$RAFTKV_BIN/raftkv-ctl" leader)
    run "$REPO/examples/cluster.sh" kill "$leader" here
    assert_success
    run "$REPO/examples/cluster.sh" status here
    assert_line "$leader does not run"
    run "$RAFTKV_BIN/raftkv-ctl" get k
    assert_output v
    run "$REPO/examples/cluster.sh" restart "$leader" here
    assert_success
    run "$REPO/examples/cluster.sh" start here
    assert_failure
    run "$REPO/examples/cluster.sh" stop here
    assert_success
    run "$REPO/examples/cluster.sh" start here
    assert_success
    run "$RAFTKV_BIN/raftkv-ctl" get k
    assert_output v
    run "$REPO/examples/cluster.sh" stop here
    assert_success
    run "$REPO/examples/cluster.sh" frob
    assert_failure 2
}

@test "demo: runs in under a minute and leaves nothing behind" {
    mkdir tmp
    SECONDS=0
    TMPDIR=$PWD/tmp run "$REPO/examples/demo.sh"
    assert_success
    assert_line --partial 'kill -9 of the leader'
    assert_line --partial 'done, and cleaned up'
    [ "$SECONDS" -lt 60 ]
    assert_equal "$(ls -A tmp)" ''
}

@test "demo: interrupted, it says so and leaves nothing behind" {
    local signal
    mkdir tmp
    for signal in TERM HUP; do
        # A shell cannot trap what was ignored when it began, as under nohup.
        TMPDIR=$PWD/tmp in_background "out.$signal" env --default-signal="$signal" "$REPO/examples/demo.sh"
        wait_until "$E2E_WAIT_SECONDS" has_line "out.$signal" storing
        kill -"$signal" "${background[-1]}"
        status=0
        wait "${background[-1]}" || status=$?
        [ "$status" -gt 128 ]
        has_line "out.$signal" interrupted
        assert_equal "$(ls -A tmp)" ''
        run ! grep -aqsF "$PWD/tmp/" /proc/[0-9]*/cmdline
    done
    # Nobody reads any more.
    bash -c 'TMPDIR=$PWD/tmp "$REPO/examples/demo.sh" 2>&1 | head -n 1'
    assert_equal "$(ls -A tmp)" ''
    run ! grep -aqsF "$PWD/tmp/" /proc/[0-9]*/cmdline
}
