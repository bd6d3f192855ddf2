# What the tests of the HTTP API share, on top of helper.bash.
#
#   three_nodes [FLAG…]           for setup_file: a cluster of node1 … node3, and find_roles
#   find_roles                    sets $LEADER and $FOLLOWER, names
#   replied STATUS                the last reply had this status
#   refused STATUS CODE [OUTCOME] … and was this error, with all that an error has
#   holds FILTER [JQ_ARGUMENT…]   jq: true of the last body
#   the FILTER                    jq -r of the last body
#   body_file                     its bytes
#   put NODE KEY VALUE [CURL…]    sets $version; KEY as it stands in the path
#   json_post NODE PATH JSON      POST of JSON
#   handed_over NODE JSON         POST /leader; for wait_until, since on a busy machine it may not be
#                                 done within an election timeout, and says that it may be tried again
#
# Many small requests, over one connection:
#   requests NODE                 those on stdin, a line METHOD<tab>PATH<tab>BODY<tab>HEADER… each;
#                                 leaves a line {"request","status","body"} for each in
#                                 $answers (a file); a body that is no JSON is a string
#   all_refused STATUS CODE NODE METHOD    requests of that method, a line PATH<tab>HEADER… each on
#                                 stdin, all get this error (and writes say not_applied)

setup() {
    answers=$BATS_TEST_TMPDIR/answers
}

three_nodes() {
    start_cluster 3 "$@"
    find_roles
}

find_roles() {
    LEADER=$(wait_leader node1 node2 node3)
    FOLLOWER=node1
    [ "$LEADER" != node1 ] || FOLLOWER=node2
    export LEADER FOLLOWER
}

body_file() {
    echo "${BATS_TEST_TMPDIR:-$BATS_FILE_TMPDIR}/http.body"
}

# shellcheck disable=SC2154 # http_status and http_body come from http
replied() {
    [ "$http_status" = "$1" ] || fail_with "status $http_status, not $1: ${http_body:0:1000}"
}

holds() {
    local filter=$1
    shift
    jq -e "$@" "$filter" <<<"$http_body" >/dev/null 2>&1 ||
        fail_with "not so: $filter $* in ${http_body:0:1000}"
}

the() {
    jq -r "$1" <<<"$http_body"
}

# shellcheck disable=SC2016 # jq's variables
is_error='.error | .code == $code and (.message | length > 0) and (.retryable | type == "boolean")
    and ($outcome == "any" or (.outcome // "none") == $outcome)'

refused() {
    replied "$1" && holds "$is_error" --arg code "$2" --arg outcome "${3:-any}"
}

put() {
    local node=$1 key=$2 value=$3
    shift 3
    http PUT "$node" "/kv/$key" --data-binary "$value" "$@"
    replied 200 || return
    # shellcheck disable=SC2034
    version=$(the .version)
}

json_post() {
    http POST "$1" "$2" -H 'Content-Type: application/json' --data-binary "$3"
}

handed_over() {
    json_post "$1" /leader "$2"
    [ "$http_status" = 200 ] || { holds '.error.retryable' && false; }
}

requests() {
    local lines=$BATS_TEST_TMPDIR/requests config=$BATS_TEST_TMPDIR/requests.curl
    cat >"$lines"
    awk -F'\t' -v url="$(base_of "$1")" '
        function quoted(text) {
            gsub(/[\\"]/, "\\\\&", text)
            return "\"" text "\""
        }
        {
            if (NR > 1)
                print "next"
            print "globoff\npath-as-is\nmax-time = 60\nheader = \"Expect:\"\nsilent\nshow-error"
            print "url = " quoted(url $2)
            print $1 == "HEAD" ? "head" : "request = " $1
            if ($1 == "PUT" || $1 == "POST")
                print "data-binary = " quoted($3)
            for (i = 4; i <= NF; i++)
                print "header = " quoted($i)
            print "write-out = \"\\n%{http_code}\\n\""
        }' "$lines" >"$config"
    curl -K "$config" >"$answers.text" || fail_with "curl: $?" || return
    jq -ncR --rawfile lines "$lines" '($lines | split("\n")) as $lines | [inputs] | . as $text
        | range(0; length; 2) | {request: $lines[. / 2], status: ($text[. + 1] | tonumber),
            body: ($text[.] | fromjson? // .)}' "$answers.text" >"$answers"
}

all_refused() {
    local wrong outcome=not_applied
    case $4 in
    GET | HEAD) outcome=none ;;
    esac
    sed $'s/\t/\twrong\t/; /\t/!s/$/\twrong/' | sed "s/^/$4\t/" | requests "$3"
    [ -s "$answers" ] || fail_with "no answer" || return
    wrong=$(jq -c --argjson status "$1" --arg code "$2" --arg outcome "$outcome" \
        "select((.status == \$status and (.body | $is_error)) | not)" "$answers")
    [ -z "$wrong" ] || fail_with "not $1 $2: $wrong"
}
