# shellcheck shell=bash
# What the measuring scripts share: nodes in a directory of their own, a load for wrk, and cleaning
# up. Sourced with their arguments [SECONDS [DIRECTORY]]. RAFTKV_BIN: where the programs are;
# RAFTKV_PORT: the nodes take the three ports after it. wrk -s "$dir/load.lua" takes METHOD (GET,
# PUT, or POST for batches of 100 puts), ORDER (order or random) and QUERY ("", or with its ?) from
# the environment; $url is the leader's.

bin=$(cd "${RAFTKV_BIN:-build/bin}" && pwd)
dir=$(mktemp -d "${2:-${TMPDIR:-/tmp}}/raftkv-load.XXXXXX")
base=${RAFTKV_PORT:-17200}
pids=()
cleanup() {
    [ ${#pids[@]} -eq 0 ] || kill -KILL "${pids[@]}" 2>/dev/null || true
    wait 2>/dev/null || true
    rm -rf "$dir"
}
trap cleanup EXIT

cat >"$dir/load.lua" <<'LUA'
local method, order, query = os.getenv("METHOD"), os.getenv("ORDER"), os.getenv("QUERY") or ""
local body = method == "PUT" and string.rep("x", 100) or nil
local requests, n = {}, 0
local function batch(b)
    local ops, taken = {}, {}
    for i = 1, 100 do
        local key
        repeat
            key = order == "random" and math.random(0, 99999) or b * 100 + i - 1
        until not taken[key]
        taken[key] = true
        ops[i] = string.format('{"op":"put","key":"key%d","value":"%s"}', key, string.rep("x", 100))
    end
    return wrk.format("POST", "/batch", {["Content-Type"] = "application/json"},
        '{"ops":[' .. table.concat(ops, ",") .. ']}')
end
function init()
    for i = 1, method == "POST" and 1000 or 100000 do
        local key = order == "random" and math.random(0, 99999) or i - 1
        requests[i] = method == "POST" and batch(i - 1) or
            wrk.format(method, "/kv/key" .. key .. query, nil, body)
    end
end
function request()
    n = n % #requests + 1
    return requests[n]
end
LUA

await_leader() { # PORT: sets url
    local i name
    for ((i = 0; i < 200; i++)); do
        name=$(curl -sf --max-time 1 "http://127.0.0.1:$1/status" | jq -r '.leader // empty') || name=
        if [ -n "$name" ]; then
            # shellcheck disable=SC2034 # for whoever sources this
            url=http://127.0.0.1:$((base + ${name#n}))
            return 0
        fi
        sleep 0.05
    done
    echo "no leader" >&2
    cat "$dir"/*.log >&2
    exit 1
}

start_node() { # I
    "$bin/raftkv-node" --node-id "n$1" --port $((base + $1)) --data-dir "$dir/$nodes-n$1" \
        --cluster "$list" 2>>"$dir/$nodes-n$1.log" &
    pids[$1]=$!
}

start_nodes() { # NODES
    local i
    nodes=$1 list=
    for ((i = 1; i <= nodes; i++)); do
        list+=${list:+,}n$i=http://127.0.0.1:$((base + i))
    done
    for ((i = 1; i <= nodes; i++)); do
        start_node $i
    done
    await_leader $((base + 1))
}

stop_nodes() {
    kill -TERM "${pids[@]}"
    wait
    pids=()
}
