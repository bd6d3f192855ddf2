#!/usr/bin/env bash
# Words that must not be in the tree: notes to finish something later, and paths of one machine.
set -u
cd "$(dirname "$0")/../.." || exit 70

later='\b(TO''DO|FIX''ME|XX''X)\b'
places='(^|[^A-Za-z0-9_.$}/-])/(work|root|home)/|/tmp/rk|\.\./shar''ed'
files=$(git ls-files -co --exclude-standard 2>/dev/null || find . -type f -not -path './build/*')
failed=0
while IFS= read -r file; do
    [ -f "$file" ] || continue
    [ "$file" = tests/lint/words.sh ] && continue
    if grep -InE "$later|$places" "$file" | sed "s|^|$file:|" | grep .; then
        failed=1
    fi
done <<<"$files"
[ $failed = 0 ] || echo "words: the lines above must not be in the tree" >&2
exit $failed
