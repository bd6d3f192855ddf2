#!/usr/bin/env bash
# Keeps a file equal to a key, and runs a command whenever it has changed:
#
#   reload.sh [-i SECONDS] KEY FILE COMMAND [ARGUMENT]...
#
# It asks for the key's version every SECONDS (default 1), with a stale read: any node answers that
# from what it has, so that watching costs the leader nothing. When the version is a new one, the
# value is written to a file beside FILE, which then takes FILE's place: nobody sees half of it. FILE
# keeps its permissions. The command gets the version as RELOAD_VERSION, and is run for the first
# version seen, too. A key that is deleted leaves the file as it is. Runs until SIGTERM.
set -eu

bin=${RAFTKV_BIN:-$(dirname "$0")/../build/bin}
ctl=$bin/raftkv-ctl
interval=1
if [ "${1:-}" = -i ]; then
    interval=${2:-}
    shift $(($# < 2 ? $# : 2))
fi
if ! [[ $interval =~ ^[0-9]+(\.[0-9]+)?$ ]] || [ $# -lt 3 ]; then
    echo "usage: reload.sh [-i SECONDS] KEY FILE COMMAND [ARGUMENT]..." >&2
    exit 2
fi
key=$1 file=$2
shift 2
ending=
trap 'ending=1' TERM INT HUP

# The version and the bytes come from one answer: two could belong to different writes.
seen=0 failing=
while [ -z "$ending" ]; do
    status=0
    item=$("$ctl" --consistency stale -o json get -- "$key" 2>&1) || status=$?
    case $status in
    0)
        failing=
        version=$(jq .version <<<"$item")
        # A node that lags behind may answer with an older version than another did.
        if [ "$version" -gt "$seen" ]; then
            rm -f -- "$file.new"
            (
                [ ! -e "$file" ] || umask 077
                jq -j 'if has("value") then .value else empty end' <<<"$item" >"$file.new"
                jq -r '.value_base64 // empty' <<<"$item" | base64 -d >>"$file.new"
            )
            [ ! -e "$file" ] || chmod --reference="$file" -- "$file.new"
            mv -- "$file.new" "$file"
            seen=$version
            RELOAD_VERSION=$version "$@" || echo "reload.sh: the command failed with $?" >&2
        fi
        ;;
    1) failing= ;; # there is no such key
    *)
        [ -n "$failing" ] || echo "$item" >&2 # once, until it answers again
        failing=1
        ;;
    esac
    sleep "$interval" &
    wait $! || kill $! 2>/dev/null || true
done
