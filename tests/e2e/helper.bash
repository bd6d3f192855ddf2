# Shared by the end-to-end tests. Begin a test file with
#
#     load helper
#
# which also loads bats-assert and defines `teardown` (and `teardown_file`). A test file with a
# teardown of its own calls `end_test` in it.
#
# Programs come from $RAFTKV_BIN (build/bin by default). $NODE_PROGRAM is the node to start: a test
# sets it to $RAFTKV_TEST_BIN/raftkv-node where it needs the build with the test VFS.
#
# What is known of a node stands in files (program, flags, port, pid, exit status, log), so that
# every function works inside `run`, in subshells and between setup_file and the tests. They lie in
# $E2E_DIR, by default the directory of the test; nodes that are to live for all tests of a file:
#
#     setup_file() { export E2E_DIR=$BATS_FILE_TMPDIR; start_cluster 3; }
#
# Only processes that were started here are ever signalled, each by its pid.
#
#   start_node NAME [FLAG…]       a node with a data dir and a port of its own; does not wait
#   start_standby NAME [FLAG…]    one with --standby; waits until it answers
#   start_cluster N [FLAG…]       node1 … nodeN with --cluster; waits until all are ready
#   restart_node NAME [FLAG…]     again, with the flags it was started with (and more)
#   kill_node NAME [SIGNAL]       SIGKILL (or another), and waits for its end
#   stop_node NAME                SIGTERM, waits; returns its exit status
#   pause_node NAME, resume_node NAME     SIGSTOP (awaited), SIGCONT
#   wait_exit NAME [SECONDS]      for a node that ends by itself; returns its exit status
#   wait_ready [NAME…]            until /readyz says 200 on each (default: all that run)
#   wait_leader [NAME…]           until one of them leads and serves; prints its name
#   wait_until SECONDS COMMAND…   until the command holds; fails, and says so, at the end
#   leader, leader_url            of the running nodes: the one that leads (highest term)
#   followers                     names of the other running nodes, one a line
#   running_nodes, node_runs NAME
#   url_of NAME, data_dir_of NAME, log_of NAME, pid_of NAME, port_of NAME
#   endpoints                     URL,URL,… of all nodes
#   ctl ARGUMENT…                 raftkv-ctl with these endpoints
#   http METHOD NAME|URL PATH [CURL_ARGUMENT…]    sets http_status, http_body and http_headers (a
#                                 file); not inside `run`. The path goes out as it stands.
#   http_header NAME              of the last reply
#   post NAME|URL PATH JSON       POST through http
#   put_many NAME|URL PREFIX FROM TO      keys PREFIX000001 … with values value-1 …, all at once
#   scripted_server ACT STATUS BODY [ACT STATUS BODY]…    an HTTP server that plays these steps
#                                 (tests/tools/http-script.c); sets scripted_url; ends with the test
#   free_port VARIABLE            a port that nobody else takes while this bats run lives

bats_require_minimum_version 1.5.0
load /usr/lib/bats/bats-support/load.bash
load /usr/lib/bats/bats-assert/load.bash

REPO=$(cd "${BASH_SOURCE[0]%/*}/../.." && pwd)
export REPO
export RAFTKV_BIN=${RAFTKV_BIN:-$REPO/build/bin}
export RAFTKV_TEST_BIN=${RAFTKV_TEST_BIN:-$REPO/build/san/bin}
export RAFTKV_TEST_TOOLS=${RAFTKV_TEST_TOOLS:-$REPO/build/san/tests/tools}
export NODE_PROGRAM=${NODE_PROGRAM:-$RAFTKV_BIN/raftkv-node}
# One deadline for what must happen; far above what it takes, a slow machine is no failure.
export E2E_WAIT_SECONDS=${E2E_WAIT_SECONDS:-30}
unset RAFTKV_ENDPOINTS http_proxy https_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY all_proxy

e2e_dir() {
    echo "${E2E_DIR:-${BATS_TEST_TMPDIR:-$BATS_FILE_TMPDIR}}/nodes"
}

node_dir() {
    echo "$(e2e_dir)/$1"
}

fail_with() {
    echo "$*" >&2
    return 1
}

# ---- waiting

# Looks soon at first, then at leisure: a look takes as much of the cores as what it waits for.
wait_until() {
    local deadline=$((SECONDS + $1)) seconds=$1 pause_ms=20
    shift
    until "$@"; do
        if [ "$SECONDS" -gt "$deadline" ]; then
            fail_with "not within $seconds s: $*"
            return 1
        fi
        sleep "0.$(printf %03d "$pause_ms")"
        pause_ms=$((pause_ms < 80 ? 2 * pause_ms : 150))
    done
}

# ---- ports: below the range of ephemeral ones, reserved for the life of this bats run

ports_dir() {
    echo "${TMPDIR:-/tmp}/raftkv-ports-$(id -u)"
}

free_port() {
    local _dir _port _try _lock _found=
    _dir=$(ports_dir)
    mkdir -p "$_dir"
    exec {_lock}>"$_dir/lock"
    flock "$_lock"
    for ((_try = 0; _try < 500; _try++)); do
        _port=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
        if [ -e "$_dir/$_port" ] && kill -0 "$(<"$_dir/$_port")" 2>/dev/null; then
            continue
        fi
        if (: <>"/dev/tcp/127.0.0.1/$_port") 2>/dev/null; then
            continue
        fi
        echo "${BATS_ROOT_PID:-$$}" >"$_dir/$_port"
        _found=1
        break
    done
    exec {_lock}>&-
    [ -n "$_found" ] || fail_with "no free port"
    printf -v "$1" %s "$_port"
}

# ---- nodes

port_of() { echo "$(<"$(node_dir "$1")/port")"; }
pid_of() { echo "$(<"$(node_dir "$1")/pid")"; }
url_of() { echo "http://127.0.0.1:$(<"$(node_dir "$1")/port")"; }
data_dir_of() { echo "$(node_dir "$1")/data"; }
log_of() { echo "$(node_dir "$1")/log"; }

node_runs() {
    [ -e "$(node_dir "$1")/pid" ] && [ ! -e "$(node_dir "$1")/status" ]
}

all_nodes() {
    local dir
    for dir in "$(e2e_dir)"/*/; do
        dir=${dir%/}
        [ -e "$dir/port" ] && echo "${dir##*/}"
    done
    return 0
}

running_nodes() {
    local name
    for name in $(all_nodes); do
        if node_runs "$name"; then
            echo "$name"
        fi
    done
}

endpoints() {
    local name list=
    for name in $(all_nodes); do
        list=$list,$(url_of "$name")
    done
    echo "${list#,}"
}

prepare_node() {
    local dir port
    dir=$(node_dir "$1")
    [ -e "$dir/port" ] && return
    mkdir -p "$dir"
    free_port port
    echo "$port" >"$dir/port"
}

# The node runs below a shell that leaves its exit status in a file when it has ended.
launch() {
    local dir=$1
    rm -f "$dir/pid" "$dir/status" "$dir/expected"
    (
        trap - DEBUG ERR EXIT
        set +eET
        exec 3>&- 4>&- </dev/null >>"$dir/log" 2>&1
        mapfile -d '' -t command <"$dir/command"
        "${command[@]}" &
        echo $! >"$dir/pid.new" && mv "$dir/pid.new" "$dir/pid"
        status=0
        wait $! || status=$?
        echo $status >"$dir/status.new" && mv "$dir/status.new" "$dir/status"
    ) &
    wait_until "$E2E_WAIT_SECONDS" test -e "$dir/pid"
}

start_node() {
    local name=$1 dir
    shift
    prepare_node "$name"
    dir=$(node_dir "$name")
    printf '%s\0' "$NODE_PROGRAM" --node-id "$name" --port "$(<"$dir/port")" \
        --data-dir "$dir/data" "$@" >"$dir/command"
    launch "$dir"
}

restart_node() {
    local dir
    dir=$(node_dir "$1")
    shift
    [ $# -eq 0 ] || printf '%s\0' "$@" >>"$dir/command"
    launch "$dir"
}

start_cluster() {
    local count=$1 i list names=()
    shift
    for ((i = 1; i <= count; i++)); do
        names+=("node$i")
        prepare_node "node$i"
        list=$list,node$i=$(url_of "node$i")
    done
    for ((i = 1; i <= count; i++)); do
        start_node "node$i" --cluster "${list#,}" "$@"
    done
    wait_ready "${names[@]}"
}

process_stopped() {
    [[ $(<"/proc/$1/stat") =~ \)\ T ]]
}

signal_node() {
    echo "$2" >"$(node_dir "$1")/expected"
    kill -"$2" "$(pid_of "$1")"
}

wait_exit() {
    local dir
    dir=$(node_dir "$1")
    wait_until "${2:-$E2E_WAIT_SECONDS}" test -e "$dir/status" || return 99
    echo exit >"$dir/expected"
    return "$(<"$dir/status")"
}

kill_node() {
    signal_node "$1" "${2:-KILL}"
    wait_until "$E2E_WAIT_SECONDS" test -e "$(node_dir "$1")/status"
}

stop_node() {
    signal_node "$1" TERM
    wait_exit "$1"
}

pause_node() {
    kill -STOP "$(pid_of "$1")"
    wait_until "$E2E_WAIT_SECONDS" process_stopped "$(pid_of "$1")"
}

resume_node() {
    kill -CONT "$(pid_of "$1")"
}

# ---- states of nodes

# A node that waits to be added; answers when this returns.
start_standby() {
    start_node "$1" --standby "${@:2}"
    wait_until "$E2E_WAIT_SECONDS" curl -sf --max-time 2 -o /dev/null "$(url_of "$1")/livez"
}

answers_ready() {
    curl -sf --max-time 2 -o /dev/null "$(url_of "$1")/readyz"
}

# Sets ready; the next moment it may be otherwise, as when a snapshot is installed.
ready_or_ended() {
    ready=
    if answers_ready "$1"; then
        ready=yes
    else
        ! node_runs "$1"
    fi
}

wait_ready() {
    local name ready
    if [ $# -eq 0 ]; then
        # shellcheck disable=SC2046 # names have no blanks
        set -- $(running_nodes)
    fi
    for name in "$@"; do
        wait_until "$E2E_WAIT_SECONDS" ready_or_ended "$name" 2>/dev/null || true
        [ -n "$ready" ] || {
            echo "$name is not ready: $(curl -s --max-time 2 "$(url_of "$name")/readyz?verbose")"
            tail -n 5 "$(log_of "$name")"
            return 1
        } >&2
    done
}

# "TERM NAME" of each of the nodes given that says it leads and is ready.
leading_nodes() {
    local name urls=()
    for name in "$@"; do
        urls+=("$(url_of "$name")/node")
    done
    [ ${#urls[@]} -eq 0 ] || curl -s --max-time 1 "${urls[@]}" |
        jq -r 'select(.state == "leader" and .ready) | "\(.term) \(.name)"' 2>/dev/null || true
}

find_leader() {
    local found
    if [ $# -eq 0 ]; then
        # shellcheck disable=SC2046
        set -- $(running_nodes)
    fi
    found=$(leading_nodes "$@" | sort -n | tail -n 1)
    [ -n "$found" ] && echo "${found#* }"
}

# shellcheck disable=SC2120 # arguments are optional
wait_leader() {
    wait_until "$E2E_WAIT_SECONDS" find_leader "$@"
}

# shellcheck disable=SC2119
leader() { wait_leader; }
leader_url() { url_of "$(leader)"; }

followers() {
    local name lead
    lead=$(leader)
    for name in $(running_nodes); do
        [ "$name" = "$lead" ] || echo "$name"
    done
}

# ---- clients

ctl() {
    "$RAFTKV_BIN/raftkv-ctl" --endpoints "$(endpoints)" "$@"
}

base_of() {
    case $1 in
    http://*) echo "$1" ;;
    *) url_of "$1" ;;
    esac
}

http() {
    local method=$1 url how
    url=$(base_of "$2")$3
    shift 3
    how=(-X "$method")
    [ "$method" != HEAD ] || how=(-I)
    http_headers=${BATS_TEST_TMPDIR:-$BATS_FILE_TMPDIR}/http.headers
    local body=${http_headers%.headers}.body
    : >"$body"
    http_status=$(curl -sS --globoff --path-as-is --max-time 60 -H Expect: "${how[@]}" \
        -D "$http_headers" -o "$body" -w '%{http_code}' "$@" "$url") || {
        # shellcheck disable=SC2034
        http_status=000
        return 1
    }
    # shellcheck disable=SC2034 # for the tests
    http_body=$(tr -d '\0' <"$body")
}

http_header() {
    tr -d '\r' <"$http_headers" | sed -n "s/^$1: //Ip" | tail -n 1
}

post() {
    http POST "$1" "$2" -H 'Content-Type: application/json' --data-binary "$3"
}

put_many() {
    local url config bad
    url=$(base_of "$1")
    config=${BATS_TEST_TMPDIR:-$BATS_FILE_TMPDIR}/put_many.$BASHPID
    awk -v url="$url" -v prefix="$2" -v from="$3" -v to="$4" 'BEGIN {
        for (i = from; i <= to; i++) {
            if (i > from)
                print "next"
            printf "url = \"%s/kv/%s%06d\"\nrequest = PUT\ndata-binary = \"value-%d\"\n", \
                url, prefix, i, i
            print "header = \"Expect:\"\noutput = /dev/null"
            print "write-out = \"%{http_code}\\n\""
        }
    }' >"$config"
    bad=$(curl --no-progress-meter --parallel --parallel-max 32 -K "$config" 2>&1 | grep -vx 200 | sort | uniq -c)
    rm -f "$config"
    [ -z "$bad" ] || fail_with "put_many: $bad"
}

scripted_server() {
    local dir=${BATS_TEST_TMPDIR:-$BATS_FILE_TMPDIR}
    scripted_count=$((${scripted_count:-0} + 1))
    "$RAFTKV_TEST_TOOLS/http-script" "$@" >"$dir/scripted.$scripted_count" 3>&- 4>&- &
    echo $! >>"$dir/scripted.pids"
    wait_until "$E2E_WAIT_SECONDS" test -s "$dir/scripted.$scripted_count"
    # shellcheck disable=SC2034
    scripted_url=$(<"$dir/scripted.$scripted_count")
}

# ---- the end

stop_scripted_servers() {
    local pid pids=${BATS_TEST_TMPDIR:-$BATS_FILE_TMPDIR}/scripted.pids
    [ -e "$pids" ] || return 0
    while read -r pid; do
        kill "$pid" 2>/dev/null || true
    done <"$pids"
    rm -f "$pids"
}

show_logs() {
    local name
    for name in $(all_nodes); do
        echo "# --- $name (pid $(pid_of "$name" 2>/dev/null)), last lines of its log"
        tail -n 40 "$(log_of "$name")" 2>/dev/null | sed 's/^/# /'
    done >&2
}

stop_nodes() {
    local name
    for name in $(running_nodes); do
        echo end >"$(node_dir "$name")/expected"
        kill -KILL "$(pid_of "$name")" 2>/dev/null || true
    done
    for name in $(all_nodes); do
        wait_until 30 test -e "$(node_dir "$name")/status" || true
    done
    # Give back the ports.
    for name in $(all_nodes); do
        rm -f "$(ports_dir)/$(port_of "$name")"
    done
}

# A node that ended and was not told to, or that a sanitizer or an assertion complained about.
complaints() {
    local name dir
    for name in $(all_nodes); do
        dir=$(node_dir "$name")
        if [ -e "$dir/status" ] && [ ! -e "$dir/expected" ]; then
            echo "$name ended by itself with status $(<"$dir/status")"
        fi
        grep -E 'ERROR: (Address|Leak|Thread)Sanitizer|WARNING: ThreadSanitizer|runtime error:' \
            "$dir/log" 2>/dev/null | sed "s/^/$name: /" || true
    done
}

end_test() {
    local bad
    bad=$(complaints)
    if [ -z "${BATS_TEST_COMPLETED:-}" ] || [ -n "$bad" ]; then
        show_logs
    fi
    stop_scripted_servers
    [ -n "${E2E_DIR:-}" ] || stop_nodes
    [ -z "$bad" ] || fail_with "$bad"
}

teardown() {
    end_test
}

teardown_file() {
    [ -z "${E2E_DIR:-}" ] || stop_nodes
}
