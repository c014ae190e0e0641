#!/usr/bin/env bash
# Builds the whole program for AArch64 on any Debian machine, with Debian's own cross toolchain, and prints where it lies.
#
#   jetson/cross.sh [CARGO OPTION...]        # --features tensorrt with JetPack's headers in TENSORRT_INCLUDE_DIR
#   jetson/cross.sh tests [CARGO OPTION...]  # the tests that emulated.sh runs instead, a line for each
#
# As `test-neon.sh`, which says why these packages. PERIHELION_CROSS_TARGET names a folder that is kept between builds.
set -euo pipefail
cd "$(dirname "$0")/.."

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }

packages=(rustc-web libstd-rust-web-dev:arm64 libc6:arm64 libc6-dev:arm64 gcc-aarch64-linux-gnu g++-aarch64-linux-gnu libc6-dev-arm64-cross)
missing=()
for package in "${packages[@]}"; do dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package"); done
if [ ${#missing[@]} != 0 ]; then
    as_root dpkg --add-architecture arm64
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

triple=aarch64-unknown-linux-gnu
target=${PERIHELION_CROSS_TARGET:-$PWD/target/cross}
export RUSTC=/usr/bin/rustc
export CARGO_TARGET_DIR=$target
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc CXX_aarch64_unknown_linux_gnu=aarch64-linux-gnu-g++
export CARGO_PROFILE_RELEASE_DEBUG=false
options=(--release --locked --ignore-rust-version --target "$triple" --package perihelion)
if [ "${1:-}" = tests ]; then
    shift
    cargo test "${options[@]}" --no-run --test conformance --test no_alloc --message-format json-render-diagnostics "$@" |
        python3 -c 'import json, sys
for line in sys.stdin:
    built = json.loads(line)
    if built.get("executable") and "test" in built["target"]["kind"]:
        print(built["executable"])'
else
    cargo build "${options[@]}" --bin perihelion "$@" >&2
    echo "$target/$triple/release/perihelion"
fi
