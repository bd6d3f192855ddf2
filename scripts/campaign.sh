#!/usr/bin/env bash
# A campaign of the simulator, and what it was, for the record: tests/campaigns/NAME.json.
# campaign.sh NAME [OPTION of raftkv-check sim]...; campaign.sh --sum adds up what is there.
set -eu
cd "$(dirname "$0")/.."

if [ "${1:-}" = --sum ]; then
    # shellcheck disable=SC2046 # names without blanks
    jq -s '{campaigns: length, seeds: (map(.seeds) | add), steps: (map(.steps) | add), events: (map(.events) | add),
        virtual_seconds: (map(.virtual_seconds) | add), violated: (map(select(.result != "ok")) | length)}' \
        $(jq -r 'select(.kind != "run") | input_filename' tests/campaigns/*.json)
    jq -s 'map(select(.kind == "run")) | {runs_of_nodes: (map(.runs) | add // 0), operations: (map(.operations) | add // 0),
        violated: (map(.violated) | add // 0), inconclusive: (map(.inconclusive) | add // 0)}' tests/campaigns/*.json
    exit
fi
name=${1:?usage: campaign.sh NAME [OPTION]..., or campaign.sh --sum}
shift
[ -z "$(git status --porcelain)" ] || {
    echo "campaign: the tree has local changes: which commit would it be of?" >&2
    exit 2
}
make -s
mkdir -p tests/campaigns
figures=$(mktemp)
trap 'rm -f "$figures"' EXIT
status=0
build/bin/raftkv-check sim "$@" --json "$figures" || status=$?
jq --arg commit "$(git rev-parse HEAD)" --arg options "$*" --arg date "$(date -u +%F)" \
    '{date: $date, commit: $commit, options: $options} + .' "$figures" >"tests/campaigns/$name.json"
exit $status
