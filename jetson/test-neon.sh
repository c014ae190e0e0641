#!/usr/bin/env bash
# Runs the kernels' tests for AArch64, NEON among them, on any Debian machine: cross-built and run under qemu-user.
#
# Debian's own cross toolchain is enough: `rustc-web` (a recent rustc), the standard library for arm64, gcc's linker and
# qemu. Only the kernels and the element types are built, as a package made up here from the same source files and the
# same lock file: they need four small crates, while the whole program would need an hour of emulated C builds.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }

packages=(rustc-web libstd-rust-web-dev:arm64 libc6:arm64 gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user)
missing=()
for package in "${packages[@]}"; do dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package"); done
if [ ${#missing[@]} != 0 ]; then
    as_root dpkg --add-architecture arm64
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/src"
cp Cargo.lock "$work/"
cat >"$work/Cargo.toml" <<EOF
[package]
name = "perihelion-kernels"
version = "0.1.0"
edition = "2024"

[dependencies]
$(grep -E '^(bytemuck|half|serde|thiserror) = ' Cargo.toml)
EOF
cat >"$work/src/lib.rs" <<EOF
#[path = "$root/src/backend/cpu/kernels/mod.rs"]
pub mod kernels;
#[path = "$root/src/tensor/mod.rs"]
pub mod tensor;
EOF

export RUSTC=/usr/bin/rustc
export CARGO_TARGET_DIR=${PERIHELION_NEON_TARGET:-$work/target}
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
# arm64's own loader and C library, side by side: with the cross package's loader (`-L`) the two would not match.
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER=qemu-aarch64
# Emulated code is slow, so the optimiser earns its time.
export CARGO_PROFILE_TEST_OPT_LEVEL=2
cd "$work"
listed=$(cargo test --lib --quiet --target aarch64-unknown-linux-gnu -- --list 2>/dev/null | grep -c ': test$')
[ "$listed" -gt 20 ] || { echo "only $listed tests were found for aarch64" >&2; exit 1; }
PERIHELION_EXPECT_ISA=neon cargo test --lib --quiet --target aarch64-unknown-linux-gnu
