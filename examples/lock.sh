#!/usr/bin/env bash
# Runs a command under a lock: lock.sh [-t SECONDS] NAME COMMAND [ARGUMENT]...
#
# The lock is the key lock/NAME. It is taken with put --if-absent, kept by writing it again with
# --if-version while the command runs, and given back with delete --if-version. Who waits watches
# the version: if it stands still for SECONDS (default 10) by the waiter's own clock, the holder is
# gone, and the waiter takes the lock with --if-version. No two machines need the same time.
#
# A holder that cannot renew the lock in time must take it for lost: the command gets SIGTERM after
# four fifths of SECONDS since the last renewal was begun, and SIGKILL after all of them, before a
# waiter may have the lock. (Only the command's own process: what it leaves behind is its matter.)
# That holds as long as this script runs. Stopped for longer, it, and the command, believe that they
# still hold the lock. Therefore the command is given FENCING_TOKEN, the version under which the lock
# was taken. Versions only grow: whatever the command writes to should refuse a token lower than the
# highest it has seen.
#
# Exit status: the command's; 2 usage; 3 the lock was lost meanwhile; 4 or 5 the cluster could not be
# asked for the lock (after 5 it may be taken, and is free after SECONDS).
set -eu

bin=${RAFTKV_BIN:-$(dirname "$0")/../build/bin}
ctl=$bin/raftkv-ctl
ttl=10
if [ "${1:-}" = -t ]; then
    ttl=${2:-}
    shift $(($# < 2 ? $# : 2))
fi
if ! [[ $ttl =~ ^[1-9][0-9]{0,4}$ ]] || [ $# -lt 2 ]; then
    echo "usage: lock.sh [-t SECONDS] NAME COMMAND [ARGUMENT]..." >&2
    exit 2
fi
ttl_ms=$((ttl * 1000))
key=lock/$1
shift
me=$HOSTNAME:$$:$RANDOM$RANDOM
holder='' version='' status=0 wrote=0 child=

# Sets now: milliseconds of a clock that nobody sets, and that goes on while the machine sleeps.
clock() {
    local up
    read -r up _ </proc/uptime
    now=$((10#${up/./} * 10))
}

complain() { [ -z "$1" ] || echo "lock.sh: $1" >&2; }

# put TIMEOUT_MS CONDITION...: sets status, and version if that is 0.
put() {
    local output timeout=$1
    shift
    status=0
    output=$("$ctl" --timeout "${timeout}ms" put "$@" -- "$key" "$me" 2>&1) || status=$?
    case $status in
    0) version=$output ;;
    3) ;;
    *) complain "$output" ;;
    esac
}

# look TIMEOUT_MS: sets status, and holder and version if that is 0; 1: nobody holds it.
look() {
    local item
    status=0
    item=$("$ctl" --timeout "$1ms" -o json get -- "$key" 2>&1) || status=$?
    case $status in
    0)
        holder=$(jq -r .value <<<"$item")
        version=$(jq .version <<<"$item")
        ;;
    1) holder='' ;;
    *) complain "$item" ;;
    esac
}

# Sets version; wrote is a moment before that version was written.
acquire() {
    local seen='' since=0 begun tried unsure=
    while :; do
        clock
        begun=$now
        tried=
        look 5000
        # A put of unknown outcome may have been ours.
        [ $status -ne 0 ] || [ "$holder" != "$me" ] || return 0
        wrote=$begun
        if [ $status -eq 1 ]; then
            tried=1
            put 5000 --if-absent
        elif [ $status -eq 0 ] && [ "$version" != "$seen" ]; then
            seen=$version
            since=$now
        elif [ $status -eq 0 ] && [ $((now - since)) -ge $ttl_ms ]; then
            tried=1
            put 5000 --if-version "$seen"
            seen=
        fi
        case $status in
        0) [ -z "$tried" ] || return 0 ;;
        3) ;;
        5) unsure=1 ;;
        *) exit "$([ -z "$unsure" ] && echo "$status" || echo 5)" ;;
        esac
        sleep 0.1
    done
}

# Exit status 3 if it turns out that somebody else has it.
release() {
    status=0
    "$ctl" delete --if-version "$version" -- "$key" >/dev/null 2>&1 || status=$?
    [ $status -eq 3 ] || return 0
    look 5000
    case $status in
    0) [ "$holder" = "$me" ] || return 3 ;;
    1) return 3 ;;
    *) return 0 ;;
    esac
    # The last renewal was of unknown outcome, and written.
    "$ctl" delete --if-version "$version" -- "$key" >/dev/null 2>&1 || true
}

# await MILLISECONDS: until the command has ended (then 0, and ended is its status) or the time is over.
await() {
    local timer which=''
    [ "$1" -gt 0 ] || return 1
    sleep "$(($1 / 1000)).$(printf %03d $(($1 % 1000)))" &
    timer=$!
    ended=0
    # A signal ends the wait; the command has been given it, and is waited for again.
    wait -n -p which $child $timer || ended=$?
    kill $timer 2>/dev/null || true
    [ "${which:-}" = "$child" ] || return 1
    child=
}

# lost REASON DEADLINE_MS: SIGTERM now, SIGKILL at the deadline.
lost() {
    complain "the lock was lost: $1"
    kill -TERM "$child" 2>/dev/null || true
    clock
    while [ -n "$child" ] && [ $now -lt "$2" ]; do
        await $(($2 - now)) || true
        clock
    done
    if [ -n "$child" ]; then
        kill -KILL "$child" 2>/dev/null || true
        wait "$child" || true
        child=
    fi
    exit 3
}

# Sets wrote when the lock has been written again; gives up in time.
renew() {
    local sent left
    clock
    sent=$now
    left=$((wrote + ttl_ms * 4 / 5 - now))
    [ $left -gt 0 ] || lost "it could not be renewed in time" $((wrote + ttl_ms))
    put $((left < ttl_ms / 3 ? left : ttl_ms / 3)) --if-version "$version"
    case $status in
    0)
        wrote=$sent
        doubt=
        ;;
    3)
        look $((ttl_ms / 10))
        [ $status -ne 0 ] || [ "$holder" = "$me" ] || status=1
        [ $status -ne 1 ] || lost "somebody else took it" $((now + ttl_ms / 5))
        # An earlier renewal of unknown outcome was written.
        [ $status -ne 0 ] || wrote=${doubt:-$wrote}
        doubt=
        ;;
    5) doubt=${doubt:-$sent} ;;
    esac
}

acquire
# A background command of a script would read from /dev/null, if standard input is not named.
{ : <&0; } 2>/dev/null || exec </dev/null
# shellcheck disable=SC2154 # set by await
trap '[ -z "$child" ] || kill -KILL "$child" 2>/dev/null || true' EXIT
FENCING_TOKEN=$version "$@" <&0 &
child=$!
trap 'kill -TERM "$child" 2>/dev/null || true' TERM INT HUP
doubt=
pause=$((ttl_ms / 3))
until await $pause; do
    renew
    # Three times in each period; sooner again if it did not work.
    pause=$((status == 0 ? ttl_ms / 3 : ttl_ms / 20))
done
release || {
    complain "the lock was lost: somebody else took it"
    exit 3
}
exit "$ended"
