#!/usr/bin/env bash
# Writes the bash completion of one program to stdout, made from its --help: bash.sh PROGRAM_FILE
set -eu

name=$(basename "$1")
options=$("$1" --help | grep -oE -- '(^|[ ,])--[a-z][a-z0-9-]*' | tr -d ' ,' | sort -u | paste -sd' ' -)
# "commands:" heads an indented list in the --help of programs that have subcommands.
commands=$("$1" --help | awk '/^[Cc]ommands:/ { on = 1; next } /^[^ ]/ { on = 0 }
    on && /^  [a-z]/ { print $1 }' | sort -u | paste -sd' ' -)
cat <<END
# bash completion for $name
_${name//-/_}() {
    local word=\${COMP_WORDS[COMP_CWORD]}
    case \$word in
    -*) mapfile -t COMPREPLY < <(compgen -W '$options' -- "\$word") ;;
    *) mapfile -t COMPREPLY < <(compgen -W '$commands' -f -- "\$word") ;;
    esac
}
complete -o filenames -F _${name//-/_} $name
END
