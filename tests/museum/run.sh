#!/usr/bin/env bash
# The bug museum: puts known bugs back, one by one, each into a private copy of the source, and
# requires that the test named with it finds it, for the reason named with it. First the same tests
# must hold on the source as it is.
#
#     BUGS="18 54"     only those classes or patches (18, 07a, 07a-majority-of-the-union)
#     JOBS=2           bugs at a time
#     BUILD=build      below it: museum/ for the copies, reports/museum.txt for the table
#     SECONDS_MAX=120  for one run of a test
#
# A bug is a file NN-name.patch, NN its class in classes.tsv; a second one of a class is NNb-name.
# In front of the diff (-p1) stand lines:
#
#     Bug: what the code does wrong, in a sentence
#     Origin: who had it, where one can read of it
#     Class: NN
#     Caught-by: unit PROGRAM [NAME=VALUE…]    must fail; the settings go to its environment
#                sim ARGS, explore ARGS        raftkv-check; must end with status 9
#                scenario FILE                 likewise
#                e2e FILE FILTER               bats; for what nothing else can show
#     Expect: a text of the failing output: the name of the case or invariant; or "runs for ever"
#     Seconds: how long it may run (optional)
#
# Where several tests must find it, Caught-by and Expect stand there for each.
# A class that cannot be had here stands in absent.tsv, with the reason.
set -u
export LC_ALL=C.UTF-8
museum=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(cd "$museum/../.." && pwd)
build=${BUILD:-$top/build}
jobs=${JOBS:-$(nproc)}
export SECONDS_MAX=${SECONDS_MAX:-120}
room=$build/museum
base=$room/base
report=$build/reports/museum.txt
# Like a release, but with the test VFS; what a patch leaves unused is no error.
make_arguments=(VARIANT=release BUILD=build CFLAGS=-O1 --no-print-directory -s
    EXTRA_CFLAGS='-DRAFTKV_TEST_VFS -U_FORTIFY_SOURCE -Wno-error')
unset MAKEFLAGS MAKELEVEL MFLAGS
ulimit -c 0

die() {
    echo "museum: $*" >&2
    exit 1
}

# ---- patches: plain lines "Key: value" before the diff

header() { # FILE KEY: the values, one a line
    sed -n "/^--- /q; s/^$2: *//p" "$1"
}

# What make has to build for a command.
target_of() {
    case $1 in
    unit) echo "build/tests/unit/$2" ;;
    sim | explore | scenario) echo build/bin/raftkv-check ;;
    e2e) echo "all tools" ;;
    *) return 1 ;;
    esac
}

# The command, in the tree where we are.
run_test() {
    local kind=$1 name=$2 word arguments=() settings=()
    shift 2
    case $kind in
    unit)
        for word in "$@"; do
            if [[ $word =~ ^[A-Z_]+= ]]; then settings+=("$word"); else arguments+=("$word"); fi
        done
        exec env "${settings[@]}" "build/tests/unit/$name" "${arguments[@]}"
        ;;
    e2e)
        export RAFTKV_BIN=$PWD/build/bin RAFTKV_TEST_BIN=$PWD/build/bin
        export RAFTKV_TEST_TOOLS=$PWD/build/tests/tools
        exec bats --tap --filter "$*" "tests/e2e/$name"
        ;;
    *) exec build/bin/raftkv-check "$kind" "$name" "$@" ;;
    esac
}

# Its status, and its output in FILE.
run_timed() { # FILE WORDS…
    local file=$1 scratch status
    shift
    # Many short syncs: memory, if there is some, is as good as a disk here.
    scratch=$(mktemp -d "$([ -w /dev/shm ] && echo /dev/shm || echo "$room")/raftkv-museum.XXXXXX")
    chmod 755 "$scratch" # tests look into theirs as another user
    { # without the shell's own word on a signal
        TMPDIR=$scratch RAFTKV_FIRST=1 timeout -k 5 "${seconds_max:-$SECONDS_MAX}" \
            "$museum/run.sh" --run "$@" >"$file" 2>&1 </dev/null
    } 2>/dev/null
    status=$?
    rm -rf "$scratch"
    [ $status -le 128 ] || echo "# ended by signal $((status - 128))" >>"$file"
    return $status
}

milliseconds() {
    echo $((${EPOCHREALTIME/[.,]/} / 1000))
}

# ---- one control: the command must hold on the source as it is

control() { # NUMBER COMMAND
    local words status began
    read -ra words <<<"$2"
    cd "$base" || return 1
    began=$(milliseconds)
    run_timed "$room/control.$1.out" "${words[@]}"
    status=$?
    if [ $status = 0 ] || [ "${words[0]} $status" = 'explore 10' ]; then # 10: no more by its limits
        echo "control  $2  $(($(milliseconds) - began)) ms" >&2
    else
        echo "control  $2: fails without any bug (status $status)" >&2
        tail -n 5 "$room/control.$1.out" >&2
        echo "$2" >>"$room/controls.failed"
    fi
}

# ---- one bug: its row goes to results/NAME

row() { # STATUS EVENTS SEED BUILD_MS RUN_MS COMMAND EXPECT
    printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$name" "$@" "$(header "$patch" Bug)" \
        "$(header "$patch" Origin)" >>"$room/results/$name"
    [ "$1" = caught ] || echo "$name: $1 ($6)" >&2
}

# Where the output says why it failed: not in the names of what held.
failing_lines() {
    grep -av '^ok ' "$1"
}

# As each kind of test tells it: distinct states, events of the simulation, steps of cores.
count_events() {
    local pattern found=
    for pattern in '^states +([0-9]+) ' '(^| )([0-9]+) events[ ,]' '(^| )([0-9]+) steps, '; do
        found=${found:-$(grep -aoE "$pattern" "$1" | tail -n 1 | tr -dc 0-9)}
    done
    echo "$found"
}

# Runs COMMAND in the tree where we are, and says what came of it.
catch() { # COMMAND EXPECT
    local words status began ran events seed output=$room/$name.out
    read -ra words <<<"$1"
    began=$(milliseconds)
    run_timed "$output" "${words[@]}"
    status=$?
    ran=$(($(milliseconds) - began))
    events=$(count_events "$output")
    seed=$(failing_lines "$output" | sed -nE 's/.*\bseed ([0-9]+).*/\1/p' | head -n 1)
    if [ $status = 124 ] || [ $status = 137 ]; then
        status='runs for ever'
        [ "$2" != "$status" ] || status=caught
    elif [ $status = 0 ]; then
        status='NOT CAUGHT'
    elif [[ ${words[0]} =~ ^(sim|explore|scenario)$ ]] && [ $status != 9 ]; then
        status="exit status $status"
    elif ! failing_lines "$output" | grep -aqF -- "$2"; then
        status='caught by another'
    else
        status=caught
    fi
    row "$status" "${events:--}" "${seed:--}" $built $ran "$1" "$2"
}

one() { # PATCH
    local patch=$1 name tree began built=0 targets words commands expects seconds_max i
    name=$(basename "$patch" .patch)
    tree=$room/$name
    rm -rf "$tree" "$room/results/$name"
    cp -al "$base" "$tree" || return 1
    # What the compiler writes over in place must not be shared with the other copies.
    cd "$tree" || return 1
    find build -name '*.d' -delete
    (cd "$base" && find build -name '*.d' -print0 | tar -c --warning=no-file-changed --null -T -) | tar -x
    mapfile -t commands < <(header "$patch" Caught-by)
    mapfile -t expects < <(header "$patch" Expect)
    seconds_max=$(header "$patch" Seconds)
    targets=()
    for i in "${!commands[@]}"; do
        read -ra words <<<"${commands[i]}"
        read -ra words <<<"$(target_of "${words[@]}")"
        targets+=("${words[@]}")
    done
    began=$(milliseconds)
    if ! patch -p1 --fuzz=0 --batch --forward --silent <"$patch" >"$room/$name.out" 2>&1; then
        row 'does not apply' - - - - "${commands[0]}" "${expects[0]}"
    elif ! make "${make_arguments[@]}" "${targets[@]}" >"$room/$name.out" 2>&1; then
        row 'does not compile' - - - - "${commands[0]}" "${expects[0]}"
    else
        built=$(($(milliseconds) - began))
        for i in "${!commands[@]}"; do
            catch "${commands[i]}" "${expects[i]}"
        done
    fi
    cd "$room" || return 1
    rm -rf "$tree"
}

case ${1:-} in
--run)
    shift
    run_test "$@"
    ;;
--one) one "$2"; exit ;;
--control) control "$2" "$3"; exit ;;
esac

# ---- is it all there?

patches=("$museum"/*.patch)
[ -e "${patches[0]}" ] || die "no patches"
bad=0
complain() {
    echo "museum: $*" >&2
    bad=1
}
for patch in "${patches[@]}"; do
    name=$(basename "$patch" .patch)
    for key in Bug Origin Class Caught-by Expect; do
        [ -n "$(header "$patch" $key)" ] || complain "$name: no line '$key:' before the diff"
    done
    while read -ra words; do
        target_of "${words[@]}" >/dev/null || complain "$name: no kind of test: ${words[*]}"
    done < <(header "$patch" Caught-by)
    [ "$(header "$patch" Caught-by | wc -l)" = "$(header "$patch" Expect | wc -l)" ] ||
        complain "$name: as many lines 'Expect:' as 'Caught-by:'"
    [ "$(header "$patch" Class)" = "${name:0:2}" ] || complain "$name: its class is another"
done
awk -F'\t' -v patches="${patches[*]##*/}" '
    FILENAME ~ /classes/ && !/^#/ { title[$1] = $2; next }
    !/^#/ && NF { if (!($1 in title)) { print "museum: no class " $1; bad = 1 }; absent[$1] = $2 }
    END {
        n = split(patches, names, " ")
        for (i = 1; i <= n; i++) here[substr(names[i], 1, 2)] = 1
        for (c in here) if (!(c in title)) { print "museum: no class " c; bad = 1 }
        for (i = 1; i <= 84; i++) {
            c = sprintf("%02d", i)
            if (!(c in title)) { print "museum: class " c " has no title"; bad = 1 }
            if ((c in here) && (c in absent)) {
                print "museum: class " c " is said to be absent, and is there"; bad = 1
            } else if (!(c in here) && !(c in absent)) {
                print "museum: class " c " has neither a patch nor a reason"; bad = 1
            }
        }
        exit bad
    }' "$museum/classes.tsv" "$museum/absent.tsv" >&2 || bad=1
[ $bad = 0 ] || exit 1

chosen=()
for patch in "${patches[@]}"; do
    name=$(basename "$patch" .patch)
    for bug in ${BUGS:-$name}; do
        [[ $bug =~ ^[0-9]$ ]] && bug=0$bug
        if [ "$bug" = "$name" ] || [ "$bug" = "${name%%-*}" ] || [ "$bug" = "${name:0:2}" ]; then
            chosen+=("$patch")
            break
        fi
    done
done
[ ${#chosen[@]} -gt 0 ] || die "no such bug: ${BUGS:-}"

# ---- the clean copy, built once

began=$SECONDS
mkdir -p "$base" "$room/results" "$(dirname "$report")" || exit 1
rm -rf "$room"/results/* "$room"/*.out "$room/controls.failed"
for part in lib cmd tests scripts completions examples man; do
    rm -rf "${base:?}/$part"
done
for part in Makefile lib cmd tests scripts completions examples man; do
    cp -a "$top/$part" "$base/" || exit 1
done
targets=()
while read -ra words; do
    read -ra more <<<"$(target_of "${words[@]}")"
    targets+=("${more[@]}")
done < <(for patch in "${chosen[@]}"; do header "$patch" Caught-by; done | sort -u)
make -C "$base" -j"$jobs" "${make_arguments[@]}" "${targets[@]}" >"$room/base.out" 2>&1 ||
    { tail -n 20 "$room/base.out" >&2; die "the source does not compile"; }

number=0
for patch in "${chosen[@]}"; do header "$patch" Caught-by; done | sort -u | while read -r command; do
    printf '%s\0%s\0' "$((number += 1))" "$command"
done | xargs -0 -P "$jobs" -n 2 "$museum/run.sh" --control
[ ! -e "$room/controls.failed" ] || die "a test that fails without the bug proves nothing"

# ---- the bugs

printf '%s\0' "${chosen[@]}" | xargs -0 -P "$jobs" -n 1 "$museum/run.sh" --one

table() {
    echo 'bug | where it was found | caught by | fails with | events | seconds'
    cat "$room"/results/* | awk -F'\t' '{
        sub(/-.*/, "", $1)
        if ($4 != "-") $7 = $7 " (seed " $4 ")"
        if ($2 != "caught") $8 = $2 "! " $8
        seconds = $5 == "-" ? "-" : sprintf("%.1f", ($5 + $6) / 1000)
        print $1 ": " $9 " | " $10 " | " $7 " | " $8 " | " $3 " | " seconds
    }'
    if [ -z "${BUGS:-}" ]; then
        printf '\nnot here\n'
        awk -F'\t' 'FILENAME ~ /classes/ { title[$1] = $2; next }
            !/^#/ && NF { print $1 ": " title[$1] " | " $2 }' "$museum/classes.tsv" "$museum/absent.tsv"
    fi
    echo
    cat "$room"/results/* | awk -F'\t' '
        {
            bugs += !($1 in bug); bug[$1]
            classes += !(substr($1, 1, 2) in class); class[substr($1, 1, 2)]
            if ($2 == "caught") print $5 + $6
            else if (!($1 in missed)) { missed[$1]; n++ }
        }
        END { print "of", bugs, bugs - n, classes }' | sort -n | awk -v took=$((SECONDS - began)) '
        $1 == "of" { bugs = $2; caught = $3; classes = $4; next }
        { ms[++n] = $1 }
        END {
            printf "%d of %d bugs caught, of %d of the 84 classes; median %.1f s, longest %.1f s, " \
                "all in %d s\n", caught, bugs, classes, ms[int((n + 1) / 2)] / 1000, ms[n] / 1000, took
            exit caught < bugs
        }'
}

table | tee "$report"
exit "${PIPESTATUS[0]}"
