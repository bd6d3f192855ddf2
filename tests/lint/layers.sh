#!/usr/bin/env bash
# Who may include whom. A layer includes only layers before it in the list; a third-party header is
# included only where the table says; a private header (private.h, *_internal.h) stays in its
# folder, but for unit tests.
set -u
cd "$(dirname "$0")/../.." || exit 70

layers=(base history raft kv json store net client node sim verify run bench check)
declare -A rank
for i in "${!layers[@]}"; do rank[${layers[i]}]=$i; done

# header pattern -> layers that may include it. What is in no row and in angle brackets is the C
# library, listed in `system` below.
declare -A owner=(
    [jansson]="json" [sqlite3]="store" [uv]="net" [microhttpd]="net" [curl/]="net client bench"
    [isa-l]="base" [xxhash]="base" [nettle/]="base" [bsd/]="any"
)
system='^(assert|ctype|dirent|dlfcn|endian|errno|fcntl|float|getopt|inttypes|limits|locale|math|netdb|poll|pthread|regex|sched|semaphore|setjmp|signal|spawn|stdalign|stdarg|stdatomic|stdbool|stddef|stdint|stdio|stdlib|string|strings|termios|time|ucontext|unistd|wchar|arpa/inet|execinfo|net/if|netinet/(in|tcp|ip)|sys/(epoll|eventfd|file|inotify|ioctl|mman|param|prctl|queue|random|resource|select|signalfd|socket|stat|statfs|statvfs|syscall|sysinfo|time|timerfd|types|uio|un|utsname|vfs|wait)|linux/[a-z_/]+)\.h$'

failed=0
complain() {
    echo "layers: $1" >&2
    failed=1
}

check_third_party() { # file, layer ("" for programs and tests), header
    local pattern allowed
    [[ $3 =~ $system ]] && return
    for pattern in "${!owner[@]}"; do
        if [[ $3 == "$pattern" || $3 == "$pattern".h || $3 == "$pattern"* ]]; then
            allowed=${owner[$pattern]}
            if [ "$allowed" = any ] || [[ " $allowed " == *" $2 "* ]]; then return; fi
            # Tests look at files and replies with the libraries themselves; programs do not.
            [[ $1 == tests/* ]] ||
                complain "$1 includes <$3>, which is for: $allowed"
            return
        fi
    done
    complain "$1 includes <$3>, which is in no table of tests/lint/layers.sh"
}

check_own() { # file, layer, header
    local folder=${3%/*} name=${3##*/} target
    [ -e "$3" ] || complain "$1 includes \"$3\": write the path from the top of the tree"
    case $name in
    private.h | *_internal.h)
        [ "$folder" = "${1%/*}" ] || [[ $1 == tests/unit/* ]] ||
            complain "$1 includes \"$3\", private to $folder/"
        ;;
    esac
    [ -n "$2" ] || return
    case $3 in
    lib/*)
        target=${folder#lib/}
        if [ -z "${rank[$target]:-}" ]; then
            complain "$1 includes \"$3\": lib/$target is no layer"
        elif [ "${rank[$target]}" -gt "${rank[$2]}" ]; then
            complain "$1 includes \"$3\": $target lies above $2"
        fi
        ;;
    *) complain "$1 includes \"$3\": a library includes only lib/" ;;
    esac
}

for folder in lib/*/; do
    folder=${folder#lib/}
    [ -n "${rank[${folder%/}]:-}" ] || complain "lib/${folder%/} is no layer"
done

while IFS=: read -r file include; do
    layer=
    [[ $file == lib/* ]] && layer=${file#lib/} layer=${layer%%/*}
    [[ $include =~ include[[:space:]]*([\<\"])([^\>\"]+) ]] || continue
    if [ "${BASH_REMATCH[1]}" = "<" ]; then
        check_third_party "$file" "$layer" "${BASH_REMATCH[2]}"
    else
        check_own "$file" "$layer" "${BASH_REMATCH[2]}"
    fi
done < <(grep -rHE '^[[:space:]]*#[[:space:]]*include' --include='*.[ch]' lib cmd tests 2>/dev/null)
exit $failed
