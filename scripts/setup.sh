#!/usr/bin/env bash
# Installs what a fresh Debian 12 (or Ubuntu 24.04) lacks to build bamba. Does nothing when all of it is there.
#   scripts/setup.sh          to build and use it
#   scripts/setup.sh --test   also to run its tests
#   scripts/setup.sh --ci     also what .ci/run needs (clang and its tools)
#   scripts/setup.sh --neon   also a cross compiler for Arm
#   scripts/setup.sh --web    also a browser and proxies, for the tests of the chat page and of deploy/
set -euo pipefail

packages=(g++ cmake ninja-build pkg-config libhwy-dev libpcre2-dev nlohmann-json3-dev libcli11-dev libboost-dev)
case "${1:-}" in
  "") ;;
  --test) packages+=(ccache libgtest-dev) ;;
  --ci) packages+=(ccache libgtest-dev libbenchmark-dev git clang-14 clang libclang-rt-14-dev clang-tidy clang-format llvm-14 python3) ;;
  --neon) packages+=(ccache g++-aarch64-linux-gnu) ;;
  --web) packages+=(python3 python3-venv python3-selenium chromium chromium-driver nginx-light haproxy curl) ;;
  *) echo "usage: $0 [--test | --ci | --neon | --web]" >&2; exit 2 ;;
esac

missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
  [[ $status == installed ]] || missing+=("$package")
done
[[ ${#missing[@]} -gt 0 ]] || exit 0

as_root=()
if [[ $(id -u) != 0 ]]; then
  command -v sudo >/dev/null || { echo "$0: needs root or sudo to install: ${missing[*]}" >&2; exit 1; }
  as_root=(sudo)
fi
echo "installing ${missing[*]}"
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq update
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${missing[@]}" \
  >/dev/null
