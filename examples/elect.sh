#!/usr/bin/env bash
# Leader election among any number of candidates.
#
#   elect.sh campaign NAME CANDIDATE [SECONDS]   stand for election, until SIGTERM
#   elect.sh leader NAME                         who leads; exit status 1: nobody
#
# The key election/NAME holds the leader's name. A candidate takes it with put --if-absent, and
# goes on writing it with --if-version: each write is a sign of life. The others watch the version;
# when it stands still for SECONDS (default 5) they take it over with --if-version, and exactly one
# of them succeeds. campaign prints a line for each change: "CANDIDATE leads, epoch VERSION" or
# "CANDIDATE follows LEADER". The epoch only grows: work done in the name of an older one is refused
# by whoever compares.
set -eu

bin=${RAFTKV_BIN:-$(dirname "$0")/../build/bin}
ctl=$bin/raftkv-ctl

usage() {
    sed -n '4,5s/^# *//p' "$0" >&2
    exit 2
}

# put CONDITION...: sets version and returns 0; 1: the condition did not hold, 2: cannot tell.
put() {
    local status=0 written
    written=$("$ctl" --timeout "$((ttl * 1000 / 3))ms" put "$@" -- "$key" "$me" 2>/dev/null) || status=$?
    case $status in
    0) version=$written ;;
    3) return 1 ;;
    *) return 2 ;;
    esac
}

# Sets holder and version of the key; fails if there is none or it cannot be read.
look() {
    local item
    item=$("$ctl" -o json get "$key" 2>/dev/null) || return 1
    holder=$(jq -r .value <<<"$item")
    version=$(jq .version <<<"$item")
}

# Ends early when a signal comes.
pause() {
    sleep "$1" &
    wait $! || kill $! 2>/dev/null || true
}

lead() {
    local wrote=$SECONDS status
    echo "$me leads, epoch $version"
    while [ -z "$ending" ]; do
        pause "$(awk "BEGIN { print $ttl / 5 }")"
        status=0
        put --if-version "$version" || status=$?
        case $status in
        0) wrote=$SECONDS ;;
        1)
            echo "$me leads no more"
            return
            ;;
        *)
            # Step back before anybody else may think that we are gone.
            if [ $((SECONDS - wrote)) -ge $((ttl - 1)) ]; then
                echo "$me leads no more"
                return
            fi
            ;;
        esac
    done
    "$ctl" delete --if-version "$version" -- "$key" >/dev/null 2>&1 || true
    echo "$me resigns"
}

campaign() {
    local seen='' since=$SECONDS shown=''
    while [ -z "$ending" ]; do
        if put --if-absent; then
            shown=
            lead
            continue
        fi
        if look; then
            if [ "$holder" != "$shown" ]; then
                echo "$me follows $holder"
                shown=$holder
            fi
            if [ "$version" != "$seen" ]; then
                seen=$version
                since=$SECONDS
            elif [ $((SECONDS - since)) -ge "$ttl" ] && put --if-version "$seen"; then
                shown=
                lead
                continue
            fi
        fi
        pause 0.2
    done
}

[ $# -ge 2 ] || usage
key=election/$2
ending=
case $1 in
leader) exec "$ctl" get "$key" ;;
campaign)
    [ $# -ge 3 ] || usage
    me=$3
    ttl=${4:-5}
    trap 'ending=1' TERM INT
    campaign
    ;;
*) usage ;;
esac
