#!/usr/bin/env bash
# Line coverage of lib/ and cmd/ by file, from a build with VARIANT=cov: cov.sh OUT
set -eu

out=$1
find "$out/obj/lib" "$out/obj/cmd" -name '*.gcda' 2>/dev/null | sort | while IFS= read -r data; do
    gcov -n -o "${data%/*}" "$data" 2>/dev/null
done | awk '
    /^File / { file = $2; gsub(/\x27/, "", file) }
    /^Lines executed:/ && file ~ /^(lib|cmd)\/.*\.c$/ {
        split($0, part, /[:% ]+/)
        lines = part[5]; hit = part[3] * lines / 100
        total += lines; covered += hit
        printf "%6.2f %% of %5d  %s\n", part[3], lines, file
        file = ""
    }
    END { if (total) printf "%6.2f %% of %5d  total\n", 100 * covered / total, total }'
