#!/usr/bin/env bash
# Writes the bash completion of one program to stdout, made from its --help and that of each of its
# commands: bash.sh PROGRAM_FILE
set -eu

name=$(basename "$1")

# --help on stdin: the options it lists, and -h's long form.
options() {
    sed -nE 's/^ +(-[A-Za-z0-9], )?(--[a-z][a-z0-9-]*).*/\2/p' | sort -u | paste -sd' ' -
}

# --help on stdin: what may follow the command, "list | add NAME URL" of its usage.
verbs() {
    sed -nE '1s/^Usage: [^ ]+ [^ ]+ \[options\]//p' | tr '|' '\n' |
        sed -nE 's/^ *([a-z]+).*/\1/p' | paste -sd' ' -
}

# "Commands:" heads an indented list in the --help of programs that have subcommands.
commands=$("$1" --help | awk '/^[Cc]ommands:/ { on = 1; next } /^[^ ]/ { on = 0 }
    on && /^  [a-z]/ { print $1 }' | sort -u | paste -sd' ' -)
cat <<END
# bash completion for $name
_${name//-/_}() {
    local word=\${COMP_WORDS[COMP_CWORD]} before options='$("$1" --help | options)' words='$commands'
    for before in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        case \$before in
END
for command in $commands; do
    help=$("$1" "$command" --help)
    echo "        $command) options='$(options <<<"$help")' words='$(verbs <<<"$help")' && break ;;"
done
cat <<END
        *) ;;
        esac
    done
    case \$word in
    -*) mapfile -t COMPREPLY < <(compgen -W "\$options" -- "\$word") ;;
    *) mapfile -t COMPREPLY < <(compgen -W "\$words" -f -- "\$word") ;;
    esac
}
complete -o filenames -F _${name//-/_} $name
END
