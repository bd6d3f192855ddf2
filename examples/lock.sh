#!/usr/bin/env bash
# Runs a command under a lock: lock.sh [-t SECONDS] NAME COMMAND [ARGUMENT]...
#
# The lock is the key lock/NAME. It is taken with put --if-absent, kept by writing it again with
# --if-version while the command runs, and given back with delete --if-version. Who waits watches
# the version: if it stands still for SECONDS (default 10) by the waiter's own clock, the holder is
# gone, and the waiter takes the lock with --if-version. No two machines need the same time.
#
# A holder that was stopped for longer than that believes it still holds the lock. Therefore the
# command is given FENCING_TOKEN, the version under which the lock was taken. Versions only grow:
# whatever the command writes to should refuse a token lower than the highest it has seen.
#
# Exit status: the command's; 3 if the lock was lost meanwhile (the command gets SIGTERM); 4 or 5 if
# the cluster could not be asked.
set -eu

bin=${RAFTKV_BIN:-$(dirname "$0")/../build/bin}
ctl=$bin/raftkv-ctl
ttl=10
if [ "${1:-}" = -t ]; then
    ttl=$2
    shift 2
fi
[ $# -ge 2 ] || {
    echo "usage: lock.sh [-t SECONDS] NAME COMMAND [ARGUMENT]..." >&2
    exit 2
}
key=lock/$1
shift
me=$(hostname):$$:$RANDOM$RANDOM

# put CONDITION...: sets version; 1 if the condition did not hold.
put() {
    local status=0
    version=$("$ctl" put "$@" -- "$key" "$me" 2>/dev/null) || status=$?
    [ $status -ne 3 ] || return 1
    [ $status -eq 0 ] || exit "$status"
}

acquire() {
    local item status seen='' since=$SECONDS
    while :; do
        put --if-absent && return
        status=0
        item=$("$ctl" -o json get "$key" 2>/dev/null) || status=$?
        case $status in
        0) version=$(jq .version <<<"$item") ;;
        1) continue ;; # given back just now
        *) exit $status ;;
        esac
        if [ "$version" != "$seen" ]; then
            seen=$version
            since=$SECONDS
        elif [ $((SECONDS - since)) -ge "$ttl" ]; then
            put --if-version "$seen" && return
            seen=
        fi
        sleep 0.1
    done
}

# shellcheck disable=SC2317 # at EXIT
release() {
    "$ctl" delete --if-version "$version" -- "$key" >/dev/null 2>&1 || true
}

acquire
trap release EXIT
FENCING_TOKEN=$version "$@" &
child=$!
trap 'kill -TERM $child 2>/dev/null' TERM INT

# Written again three times in each period, as long as the command runs.
while :; do
    sleep "$(awk "BEGIN { print $ttl / 3 }")" &
    pause=$!
    status=0
    ended=
    wait -n -p ended $child $pause || status=$?
    kill $pause 2>/dev/null || true
    [ "$ended" != "$child" ] || exit $status
    [ -n "$ended" ] || continue # a signal came, which the command has been given
    if ! put --if-version "$version"; then
        echo "lock.sh: the lock was lost" >&2
        kill -TERM $child 2>/dev/null || true
        trap - EXIT
        exit 3
    fi
done
