#!/usr/bin/env bash
# Installs what building and testing need, with apt-get. Touches neither network nor root when
# nothing is missing.
set -eu

packages=(
    build-essential gcc clang make pkg-config binutils
    libjansson-dev libmicrohttpd-dev libuv1-dev libcurl4-openssl-dev libsqlite3-dev
    libbsd-dev libxxhash-dev nettle-dev libisal-dev libjemalloc-dev
    bats bats-assert bats-support perl curl jq sqlite3 wrk git util-linux
    chromium chromium-driver python3-selenium
    shellcheck cppcheck clang-format clang-tidy strace procps iproute2
)

missing=()
for package in "${packages[@]}"; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
    echo "deps: all ${#packages[@]} packages are installed"
    exit 0
fi

root=()
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "deps: need root or sudo to install: ${missing[*]}" >&2; exit 1; }
    root=(sudo)
fi
echo "deps: installing ${missing[*]}"
"${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -q
"${root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -q -y --no-install-recommends "${missing[@]}"
