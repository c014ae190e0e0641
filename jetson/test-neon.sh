#!/usr/bin/env bash
# Runs the kernels' tests for AArch64, NEON with and without dot products among them, on any Debian machine: cross-built and run under qemu-user.
#
# Debian's own cross toolchain is enough: `rustc-web` (a recent rustc), the standard library for arm64, gcc's linker and
# qemu. Only the two crates of the kernels and the element types are built, in a workspace made up here of copies of their
# folders and the lines of the root manifest that they ask for: they need a handful of small crates, while the whole program
# would need an hour of emulated C builds. Debian's rustc may be older than the one that the manifest names, which is what the
# whole program is tested with; what these two crates cannot do without, the compiler says.
set -euo pipefail
cd "$(dirname "$0")/.."

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
cp Cargo.lock "$work/"
cp -r src/tensor "$work/tensor"
cp -r src/backend/cpu/kernels "$work/kernels"
# A table of the root manifest, without its heading.
table() { awk -v heading="[$1]" '/^\[/ { inside = ($0 == heading); next } inside' Cargo.toml; }
cat >"$work/Cargo.toml" <<EOF
[workspace]
members = ["tensor", "kernels"]
resolver = "3"

[workspace.package]
$(table workspace.package)

[workspace.dependencies]
$(table workspace.dependencies | sed 's#path = "src/tensor"#path = "tensor"#; s#path = "src/backend/cpu/kernels"#path = "kernels"#')

[workspace.lints.rust]
$(table workspace.lints.rust)

[workspace.lints.clippy]
$(table workspace.lints.clippy)
EOF

export RUSTC=/usr/bin/rustc
export CARGO_TARGET_DIR=${PERIHELION_NEON_TARGET:-$work/target}
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
# arm64's own loader and C library, side by side: with the cross package's loader (`-L`) the two would not match.
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER=qemu-aarch64
# Emulated code is slow, so the optimiser earns its time.
export CARGO_PROFILE_TEST_OPT_LEVEL=2
cd "$work"
tests=(cargo test --quiet --ignore-rust-version --target aarch64-unknown-linux-gnu)
"${tests[@]}" --no-run
listed=$("${tests[@]}" -- --list | grep -c ': test$' || true)
[ "$listed" -gt 20 ] || { echo "only $listed tests were found for aarch64" >&2; exit 1; }
PERIHELION_EXPECT_ISA=neon_dotprod "${tests[@]}"
