#!/usr/bin/env bash
# Man pages against --help, which comes from the option tables: every option of a program (and of its
# subcommands) stands in its page with the same help words, and a page names no option that nobody
# has. man.sh PROGRAM_FILE...
set -u
cd "$(dirname "$0")/../.." || exit 70

failed=0
complain() {
    echo "man: $1" >&2
    failed=1
}

# A page as one line of plain text: fonts, escapes and requests taken out.
plain() {
    sed -E 's/^\.\\".*//; s/\\f(\[[A-Z]*\]|[BIRP])//g; s/\\-/-/g; s/\\&//g; s/\\\(aq/'\''/g; s/\\e/\\/g
        s/^\.(TP|PP|IP|RS|RE|nf|fi|EX|EE|in|sp|ad|nh|ft|br)\b.*//; s/^\.[A-Z]+ +//; s/"//g' "$1" |
        tr -s ' \n' ' '
}

# "--name<tab>help words" of each option; a long option has its help in the next line.
options_of() {
    awk '
        function emit() { if (name != "") print name "\t" help; name = "" }
        /^ +(-[A-Za-z0-9], +)?--[a-z]/ {
            emit()
            line = $0
            match(line, /--[a-z][a-z0-9-]*/)
            name = substr(line, RSTART, RLENGTH)
            help = ""
            if (match(line, /[^ ]  +[^ ]/))
                help = substr(line, RSTART + 1)
            sub(/^ +/, "", help)
            next
        }
        name != "" && help == "" && /^          +[^ -]/ { help = $0; sub(/^ +/, "", help); next }
        { emit() }
        END { emit() }'
}

known=$(mktemp)
trap 'rm -f "$known"' EXIT
echo --help >"$known"
for program in "$@"; do
    name=${program##*/} page=man/${program##*/}.1
    if [ ! -f "$page" ]; then
        complain "$page is missing"
        continue
    fi
    text=$(plain "$page" | tr -d '"')
    help=$("$program" --help) || complain "$name --help fails"
    all=$help
    while read -r command; do
        [ -n "$command" ] || continue
        more=$("$program" "$command" --help) || complain "$name $command --help fails"
        all+=$'\n'$more
    done < <(awk '/^[Cc]ommands:/ { on = 1; next } /^[^ ]/ { on = 0 } on && /^  [a-z]/ { print $1 }' \
        <<<"$help" | sort -u)
    while IFS=$'\t' read -r option words; do
        echo "$option" >>"$known"
        [[ $text =~ (^|[^a-z0-9-])$option([^a-z0-9-]|$) ]] ||
            complain "$page does not have $option of $name --help"
        words=$(tr -s ' ' <<<"${words//\"/}")
        [[ $option == --help || (-n $words && $text == *"$words"*) ]] ||
            complain "$page has other words for $option than $name --help: \"$words\""
    done < <(options_of <<<"$all")
done
for page in man/*.1; do
    [ -f "$page" ] || continue
    while read -r option; do
        grep -qxF -e "$option" "$known" || complain "$page names $option, which no program has"
    done < <(plain "$page" | grep -oE -- '(^| |,|\()--[a-z][a-z0-9-]*' | grep -oE -- '--.*' | sort -u)
done
exit $failed
