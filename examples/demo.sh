#!/usr/bin/env bash
# The tour: three real nodes in a temporary directory, some thousand real keys, the leader killed.
# Takes under a minute, ends only the processes it started, leaves nothing behind.
#
# Keys are the source tree itself: "file/PATH" holds a file, "line/PATH:NUMBER" a line of it.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
export RAFTKV_BIN=${RAFTKV_BIN:-$here/../build/bin}
export LC_ALL=C
work=$(mktemp -d "${TMPDIR:-/tmp}/raftkv-demo.XXXXXX")
cluster=$work/cluster
began=$EPOCHREALTIME

since() { awk "BEGIN { printf \"%.$2f\", $EPOCHREALTIME - $1 }"; }
say() { printf '[%5s s] %s\n' "$(since "$began" 1)" "$*"; }
show() { sed 's/^/          | /'; }
ctl() { "$RAFTKV_BIN/raftkv-ctl" "$@"; }
nodes() { "$here/cluster.sh" "$@" "$cluster"; }

die() {
    say "FAILED: $*" >&2
    exit 1
}

# Whatever happens, also to standard output or to somebody who cannot wait, nothing is left behind.
interrupted=
finish() {
    local status=$?
    trap '' INT TERM HUP PIPE
    set +e
    [ ! -e "$cluster/node3.port" ] || nodes stop
    if [ -n "$interrupted" ]; then
        say "interrupted: stopped the nodes, and cleaned up" >&2
    elif [ $status -ne 0 ]; then
        echo "demo.sh: it failed; logs of the nodes:" >&2
        tail -n 10 "$cluster"/*.log >&2
    fi
    rm -rf "$work"
    exit $status
}
trap finish EXIT
trap 'interrupted=1; exit 130' INT
trap 'interrupted=1; exit 143' TERM
trap 'interrupted=1; exit 129' HUP

# An awaited thing is asked for again and again, for half a minute at most.
await() {
    local what=$1 deadline=$((SECONDS + 30))
    shift
    until "$@"; do
        [ $SECONDS -lt $deadline ] || die "$what"
        sleep 0.05
    done
}

# What is to be stored, a copy of it (somebody may be editing), and what a scan must give afterwards.
prepare() {
    (
        cd "$here/.."
        find lib cmd tests examples scripts -type f -size +0 -size -500k \
            \( -name '*.[ch]' -o -name '*.sh' -o -name '*.bats' \) | sort
    ) >"$work/files"
    mkdir "$work/tree"
    tar -C "$here/.." -cf - -T "$work/files" | tar -C "$work/tree" -xf -
    cd "$work/tree"
    # Lines of the largest files, until there are some thousand.
    xargs wc -l <"$work/files" | grep -v ' total$' | sort -k1,1nr |
        awk '{ if (lines < 4000) { print $2; lines += $1 } }' >"$work/lined"
    # shellcheck disable=SC2016 # awk expands
    xargs awk '/[^ \t]/ && !/\t/ { printf "line/%s:%05d\t%s\n", FILENAME, FNR, $0 }' \
        <"$work/lined" | sort >"$work/lines"
}

# $1 endpoints, by turns: any node takes any request.
write_config() {
    local urls
    IFS=, read -ra urls <<<"$1"
    awk -v top="$work/tree" -v a="${urls[0]}" -v b="${urls[1]}" -v c="${urls[2]}" '
        function begin(key) {
            if (n++)
                print "next"
            url = n % 3 == 0 ? a : n % 3 == 1 ? b : c
            printf "url = \"%s/kv/%s\"\noutput = /dev/null\n", url, key
            print "header = \"Expect:\"\nwrite-out = \"%{http_code}\\n\""
        }
        FILENAME ~ /files$/ {
            begin("file/" $0)
            printf "upload-file = \"%s/%s\"\n", top, $0
            next
        }
        {
            tab = index($0, "\t")
            value = substr($0, tab + 1)
            gsub(/\\/, "&&", value)
            gsub(/"/, "\\\\&", value)
            begin(substr($0, 1, tab - 1))
            printf "request = PUT\ndata-raw = \"%s\"\n", value
        }' "$work/files" "$work/lines"
}

check_everything() {
    ctl scan line/ >"$work/scanned"
    cmp -s "$work/lines" "$work/scanned" || die "lines differ from the source tree"
    ctl scan --keys-only file/ | sed 's/^file.//' >"$work/scanned"
    cmp -s "$work/files" "$work/scanned" || die "file names differ from the source tree"
    local file
    while read -r file; do
        ctl get "file/$file" | cmp -s - "$work/tree/$file" || die "$file differs"
    done < <(shuf -n 20 --random-source=<(yes) "$work/files")
}

say "starting three nodes in $cluster"
nodes start >/dev/null
RAFTKV_ENDPOINTS=$(nodes endpoints)
export RAFTKV_ENDPOINTS
say "the cluster has formed:"
ctl status | show

prepare
count=$(cat "$work/files" "$work/lines" | wc -l)
say "storing $count keys: $(wc -l <"$work/files") files of the source tree and" \
    "$(wc -l <"$work/lines") of their lines, by turns through each node"
write_config "$RAFTKV_ENDPOINTS" >"$work/config"
loading=$EPOCHREALTIME
bad=$(curl --no-progress-meter --parallel --parallel-max 32 -K "$work/config" 2>&1 | grep -cvx 200) || true
[ "$bad" = 0 ] || die "$bad of the writes failed"
say "all are committed on a majority of disks, after $(since "$loading" 1) s"

file=$(head -n 1 "$work/files")
ctl get "file/$file" | cmp - "$work/tree/$file"
say "raftkv-ctl get file/$file gives back the file, byte for byte"
say "raftkv-ctl scan file/lib/base/ --keys-only --limit 5:"
ctl scan file/lib/base/ --keys-only --limit 5 | show
check_everything
say "a scan of everything is equal to the source tree"

version=$(ctl put greeting hello)
status=0
ctl put --if-absent greeting again 2>/dev/null || status=$?
[ $status -eq 3 ] || die "a condition was not kept"
ctl put --if-version "$version" greeting 'hello again' >/dev/null
say "put greeting: version $version; --if-absent now ends with exit status 3," \
    "--if-version $version writes"

leader=$(ctl leader)
killed=$EPOCHREALTIME
nodes kill "$leader"
say "kill -9 of the leader, $leader"
version=$(ctl put after-the-kill yes)
say "the next write was committed $(since "$killed" 2) s after the kill, as version $version;" \
    "the leader is now $(ctl leader)"
[ "$(ctl get greeting)" = 'hello again' ] || die "greeting is lost"
check_everything
say "all $count keys are there, equal to the source tree"

nodes restart "$leader"
caught_up() {
    ctl -o json status | jq -e '.index.commit as $c | .members | all(.reachable and .match >= $c)' \
        >/dev/null
}
await "$leader did not catch up" caught_up
say "$leader is back and has caught up:"
ctl status | show

ctl delete greeting after-the-kill >/dev/null
nodes stop
say "stopped all three"
rm -rf "$work"
say "done, and cleaned up"
