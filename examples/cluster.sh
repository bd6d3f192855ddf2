#!/usr/bin/env bash
# A three-node cluster on this machine, on free ports.
#
#   cluster.sh start [DIR]        start it (DIR: ./raftkv-cluster), wait until every node is ready
#   cluster.sh status [DIR]       which nodes run, and what they say
#   cluster.sh kill NODE [DIR]    kill -9 one node: node1, node2, node3
#   cluster.sh restart NODE [DIR] start it again, on its data
#   cluster.sh endpoints [DIR]    URL,URL,URL: for RAFTKV_ENDPOINTS
#   cluster.sh stop [DIR]         SIGTERM (SIGKILL after 30 s), wait until all have ended; the data stays
#
# DIR holds, for each node, its data (nodeN.raftkv), log (nodeN.log), port and pid. RAFTKV_BIN is
# where the programs are (../build/bin).
set -eu

here=$(cd "$(dirname "$0")" && pwd)
bin=${RAFTKV_BIN:-$here/../build/bin}
nodes=(node1 node2 node3)

die() {
    echo "cluster.sh: $1" >&2
    exit 1
}

url() { echo "http://127.0.0.1:$(<"$dir/$1.port")"; }

endpoints() {
    local node list=
    for node in "${nodes[@]}"; do
        list=$list,$(url "$node")
    done
    echo "${list#,}"
}

# The pid may belong to somebody else by now: ours has this data directory on its command line.
runs() {
    local pid
    pid=$(cat "$dir/$1.pid" 2>/dev/null) && [ -n "$pid" ] &&
        tr '\0' '\n' 2>/dev/null <"/proc/$pid/cmdline" | grep -qxF "$dir/$1.raftkv"
}

ready() { curl -sf --max-time 2 -o /dev/null "$(url "$1")/readyz"; }

pick_ports() {
    local node port taken=' '
    for node in "${nodes[@]}"; do
        while :; do
            port=$((10000 + (RANDOM * 32768 + RANDOM) % 7000))
            [[ $taken != *" $port "* ]] && ! (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break
        done
        taken+="$port "
        echo "$port" >"$dir/$node.port"
    done
}

launch() {
    local node list=
    for node in "${nodes[@]}"; do
        list=$list,$node=$(url "$node")
    done
    "$bin/raftkv-node" --node-id "$1" --port "$(<"$dir/$1.port")" --data-dir "$dir/$1.raftkv" \
        --cluster "${list#,}" >>"$dir/$1.log" 2>&1 </dev/null &
    echo $! >"$dir/$1.pid"
}

# Until the node is ready; fails when its process has ended.
await_ready() {
    local deadline=$((SECONDS + 30))
    until ready "$1"; do
        runs "$1" || return 1
        [ "$SECONDS" -lt "$deadline" ] || return 1
        sleep 0.05
    done
}

await_end() {
    local deadline=$((SECONDS + 30))
    while runs "$1"; do
        if [ "$SECONDS" -ge "$deadline" ]; then
            echo "cluster.sh: $1 does not end: kill -9" >&2
            kill -KILL "$(<"$dir/$1.pid")" 2>/dev/null || true
            deadline=$((SECONDS + 30))
        fi
        sleep 0.02
    done
    rm -f "$dir/$1.pid"
}

stop_all() {
    local node pid
    for node in "${nodes[@]}"; do
        if runs "$node"; then
            pid=$(<"$dir/$node.pid")
            kill -TERM "$pid" 2>/dev/null || true
            kill -CONT "$pid" 2>/dev/null || true # somebody may have stopped it
        fi
    done
    for node in "${nodes[@]}"; do
        await_end "$node"
    done
}

all_ready() {
    local node
    for node in "${nodes[@]}"; do
        await_ready "$node" || return 1
    done
}

start() {
    local node try new=
    mkdir -p "$dir"
    for node in "${nodes[@]}"; do
        ! runs "$node" || die "$node of $dir runs already"
    done
    [ -e "$dir/node1.port" ] || new=1
    for try in 1 2 3 4 5; do
        [ -z "$new" ] || pick_ports
        for node in "${nodes[@]}"; do
            launch "$node"
        done
        if all_ready; then
            return
        fi
        # Somebody was quicker at one of the ports? Nothing has been stored yet: take others.
        stop_all
        if [ -z "$new" ] || ! grep -qi 'address already in use' "$dir"/*.log; then
            break
        fi
        echo "cluster.sh: try $try found a port taken" >&2
        rm -rf "$dir"/node?.raftkv "$dir"/node?.log
    done
    tail -n 5 "$dir"/*.log >&2
    die "the cluster did not start; its logs are in $dir"
}

status() {
    local node
    for node in "${nodes[@]}"; do
        if runs "$node"; then
            echo "$node runs: pid $(<"$dir/$node.pid"), $(url "$node")"
        else
            echo "$node does not run"
        fi
    done
    "$bin/raftkv-ctl" --endpoints "$(endpoints)" status
}

need_node() {
    case $1 in
    node1 | node2 | node3) ;;
    *) die "'$1' is none of ${nodes[*]}" ;;
    esac
}

usage() {
    sed -n '4,9s/^# *//p' "$0"
}

command=${1:-}
[ $# -eq 0 ] || shift
node=
case $command in
kill | restart)
    need_node "${1:-}"
    node=$1
    shift
    ;;
esac
dir=$(realpath -m "${1:-raftkv-cluster}")
case $command in
start) ;;
status | kill | restart | endpoints | stop)
    [ -e "$dir/node3.port" ] || die "there is no cluster in $dir"
    ;;
--help | -h)
    usage
    exit 0
    ;;
*)
    usage >&2
    exit 2
    ;;
esac
case $command in
start)
    start
    echo "export RAFTKV_ENDPOINTS=$(endpoints)"
    ;;
status) status ;;
endpoints) endpoints ;;
stop) stop_all ;;
kill)
    runs "$node" || die "$node does not run"
    kill -KILL "$(<"$dir/$node.pid")"
    await_end "$node"
    ;;
restart)
    ! runs "$node" || die "$node runs already"
    launch "$node"
    await_ready "$node" || die "$node did not become ready; see $dir/$node.log"
    ;;
esac
