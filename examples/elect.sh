#!/usr/bin/env bash
# Leader election among any number of candidates.
#
#   elect.sh campaign NAME CANDIDATE [SECONDS]   stand for election, until SIGTERM
#   elect.sh leader NAME                         who leads; exit status 1: nobody
#
# The key election/NAME holds the leader's name. A candidate takes it with put --if-absent, and
# goes on writing it with --if-version: each write is a sign of life. The others watch the version;
# when it stands still for SECONDS (default 5) they take it over with --if-version, and exactly one
# of them succeeds. Each CANDIDATE needs a name of its own. campaign prints a line for each change:
# "CANDIDATE leads, epoch VERSION", "CANDIDATE leads no more" or "CANDIDATE follows LEADER".
#
# A leader that cannot give a sign of life says "leads no more" after nine tenths of SECONDS, before
# anybody else may lead. Stopped meanwhile, it cannot. Therefore there is the epoch, which only grows:
# work done in the name of an older one is refused by whoever compares. leader says who led last,
# also when that one is gone and nobody has taken over yet.
set -eu

bin=${RAFTKV_BIN:-$(dirname "$0")/../build/bin}
ctl=$bin/raftkv-ctl

usage() {
    sed -n '4,5s/^# *//p' "$0" >&2
    exit 2
}

# Sets now: milliseconds of a clock that nobody sets, and that goes on while the machine sleeps.
clock() {
    local up
    read -r up _ </proc/uptime
    now=$((10#${up/./} * 10))
}

# The cluster does not answer: told once, until it does again.
silent=
complain() {
    [ "$silent" = 1 ] || [ -z "$1" ] || echo "elect.sh: $1" >&2
    silent=1
}

# put TIMEOUT_MS CONDITION...: sets status, and version if that is 0.
put() {
    local output timeout=$1
    shift
    status=0
    output=$("$ctl" --timeout "${timeout}ms" put "$@" -- "$key" "$me" 2>&1) || status=$?
    case $status in
    0) version=$output silent= ;;
    3) silent= ;;
    *) complain "$output" ;;
    esac
}

# look TIMEOUT_MS: sets status, and holder and version if that is 0; 1: nobody leads.
look() {
    local item
    status=0
    item=$("$ctl" --timeout "$1ms" -o json get -- "$key" 2>&1) || status=$?
    case $status in
    0)
        holder=$(jq -r .value <<<"$item")
        version=$(jq .version <<<"$item")
        silent=
        ;;
    1) holder='' silent= ;;
    *) complain "$item" ;;
    esac
}

# pause MILLISECONDS: ends early when a signal comes.
pause() {
    [ "$1" -gt 0 ] || return 0
    sleep "$(($1 / 1000)).$(printf %03d $(($1 % 1000)))" &
    wait $! || kill $! 2>/dev/null || true
}

# wrote: a moment before the version was written. Returns when somebody else may lead.
lead() {
    local sent left rest unsure=
    echo "$me leads, epoch $version"
    while [ -z "$ending" ]; do
        clock
        left=$((wrote + ttl_ms * 9 / 10 - now))
        pause $((left < ttl_ms / 5 ? left : ttl_ms / 5))
        clock
        left=$((wrote + ttl_ms * 9 / 10 - now))
        if [ $left -le 0 ]; then
            echo "$me leads no more"
            return
        fi
        [ -z "$ending" ] || break
        sent=$now
        rest=$((left < ttl_ms / 3 ? left : ttl_ms / 3))
        put $rest --if-version "$version"
        if [ $status -eq 3 ] && [ -n "$unsure" ]; then
            # A sign of life of unknown outcome may have been written.
            look $rest
            [ $status -ne 0 ] || [ "$holder" = "$me" ] || status=3
            if [ $status -eq 0 ]; then
                sent=$unsure
            elif [ $status -eq 1 ]; then
                status=3
            fi
        fi
        case $status in
        0)
            wrote=$sent
            unsure=
            ;;
        3)
            echo "$me leads no more"
            return
            ;;
        5) unsure=${unsure:-$sent} ;;
        esac
    done
    "$ctl" delete --if-version "$version" -- "$key" >/dev/null 2>&1 || true
    echo "$me resigns"
}

campaign() {
    local seen='' since=0 shown='' begun tried unsure=
    while [ -z "$ending" ]; do
        clock
        begun=$now
        tried=
        look 5000
        if [ $status -eq 0 ] && [ "$holder" = "$me" ] && [ -n "$unsure" ]; then
            tried=1 # the put of unknown outcome was written
        else
            wrote=$begun
            if [ $status -eq 1 ]; then
                tried=1
                put 5000 --if-absent
            elif [ $status -eq 0 ]; then
                unsure=
                if [ "$holder" != "$shown" ]; then
                    echo "$me follows $holder"
                    shown=$holder
                fi
                if [ "$version" != "$seen" ]; then
                    seen=$version
                    since=$now
                elif [ $((now - since)) -ge $ttl_ms ]; then
                    tried=1
                    put 5000 --if-version "$seen"
                fi
            fi
        fi
        if [ -n "$tried" ] && [ $status -eq 0 ]; then
            seen='' shown='' unsure=
            lead
            continue
        fi
        [ $status -ne 5 ] || unsure=1
        pause 200
    done
}

[ $# -ge 2 ] || usage
key=election/$2
ending=
case $1 in
leader) exec "$ctl" get -- "$key" ;;
campaign)
    [ $# -ge 3 ] || usage
    me=$3
    [[ ${4:-5} =~ ^[1-9][0-9]{0,4}$ ]] || usage
    ttl_ms=$((${4:-5} * 1000))
    trap 'ending=1' TERM INT HUP
    campaign
    ;;
*) usage ;;
esac
