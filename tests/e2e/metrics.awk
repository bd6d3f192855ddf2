# Prometheus text format, version 0.0.4: says what is wrong and exits 1. Prints nothing else.
#
#     awk -f metrics.awk FILE

function wrong(what) {
    print FILENAME ":" NR ": " what ": " $0
    bad = 1
}

# The family that a sample belongs to: of a histogram without its suffix.
function family_of(name,    base) {
    base = name
    if (sub(/_(bucket|sum|count)$/, "", base) && type[base] == "histogram")
        return base
    return name
}

# Labels without `le`, which must be in order.
function labels_without_le(labels) {
    gsub(/,?le="[^"]*"/, "", labels)
    sub(/^\{,/, "{", labels)
    return labels == "{}" ? "" : labels
}

/^# HELP / {
    if (NF < 4)
        wrong("no help")
    if ($3 in help)
        wrong("HELP twice")
    help[$3] = 1
    next
}

/^# TYPE / {
    if (NF != 4 || $4 !~ /^(counter|gauge|histogram|summary|untyped)$/)
        wrong("bad TYPE")
    if ($3 in type)
        wrong("TYPE twice")
    if (!($3 in help))
        wrong("TYPE without HELP")
    type[$3] = $4
    current = $3
    next
}

/^#/ || /^$/ { next }

!/^[a-zA-Z_:][a-zA-Z0-9_:]*(\{([a-zA-Z_][a-zA-Z0-9_]*="([^"\\]|\\["\\n])*",?)*\})? [-+]?([0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?|Inf|NaN)$/ {
    wrong("no sample")
    next
}

{
    name = $1
    sub(/\{.*/, "", name)
    labels = substr($0, length(name) + 1)
    sub(/ [^ ]*$/, "", labels)
    value = $NF
    family = family_of(name)
    if (!(family in type))
        wrong("sample without TYPE")
    else if (family != current)
        wrong("sample outside its family")
    if ((name labels) in seen)
        wrong("series twice")
    seen[name labels] = 1
    if (type[family] == "counter" && name !~ /_total$/)
        wrong("a counter's name ends in _total")
    if (type[family] != "gauge" && value + 0 < 0)
        wrong("negative")
    if (type[family] == "histogram" && name ~ /_bucket$/) {
        if (labels !~ /le="/)
            wrong("bucket without le")
        key = family labels_without_le(labels)
        if ((key in last) && value + 0 < last[key] + 0)
            wrong("buckets do not grow")
        last[key] = value
        if (labels ~ /le="\+Inf"/)
            infinite[key] = value
    }
    if (type[family] == "histogram" && name ~ /_count$/)
        count[family labels] = value
    if (type[family] == "histogram" && name ~ /_sum$/)
        sum[family labels] = value
}

END {
    for (key in last)
        if (!(key in infinite) || infinite[key] != count[key] || !(key in sum)) {
            print FILENAME ": histogram " key " has no +Inf, sum or count, or they differ"
            bad = 1
        }
    exit bad
}
