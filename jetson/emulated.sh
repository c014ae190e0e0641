#!/usr/bin/env bash
# Installs the package in a fresh arm64 Debian under emulation and runs a short acceptance there, with the CPU backend.
#
#   jetson/emulated.sh PACKAGE.deb FOLDER                                # FOLDER gets the Debian root, and in it /acceptance
#   jetson/emulated.sh - FOLDER $(jetson/cross.sh tests)                 # tests instead: those of all backends, and of heap calls
#   jetson/emulated.sh PACKAGE.deb FOLDER $(jetson/cross.sh tests)       # both
#
# As root, on a Debian machine: debootstrap, qemu-user-static and the kernel's binfmt_misc. Emulated code is some ten times slower than a
# board, so that its figures say nothing; that every step passes is what this is for. There is no soak unless PERIHELION_SOAK says how many
# seconds: a live camera's answers have deadlines, which emulation misses. PERIHELION_NO_ALLOC_PART=20 counts heap calls in a twentieth of
# the steps.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
usage="usage: jetson/emulated.sh PACKAGE.deb|- FOLDER [TEST...]"
package=${1:?$usage}
folder=$(realpath -m "${2:?$usage}")
shift 2
[ "$(id -u)" = 0 ] || { echo "this makes a root and enters it: run it as root" >&2; exit 1; }

missing=()
for name in debootstrap qemu-user-static; do dpkg -s "$name" >/dev/null 2>&1 || missing+=("$name"); done
[ ${#missing[@]} = 0 ] || { apt-get update -qq; DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null; }
binfmt=/proc/sys/fs/binfmt_misc
[ -e $binfmt/register ] || mount -t binfmt_misc binfmt_misc $binfmt
[ -e $binfmt/qemu-aarch64 ] || cat /usr/lib/binfmt.d/qemu-aarch64.conf >$binfmt/register

root=$folder/root
if [ ! -e "$folder/complete" ]; then
    rm -rf "$root"
    mkdir -p "$folder"
    debootstrap --arch=arm64 --variant=minbase --include=python3,procps,gawk bookworm "$root" >"$folder/debootstrap.log"
    touch "$folder/complete"
fi
script='true'
if [ "$package" != - ]; then
    cp "$package" "$root/perihelion.deb"
    rm -rf "$root/acceptance"
    script="dpkg -i /perihelion.deb && /usr/share/perihelion/accept --out /acceptance --soak ${PERIHELION_SOAK:-0} --scenes 3 --runs 3"
fi
# A test finds the small checkpoints where it was built.
rm -rf "$root/tests"
mkdir -p "$root/tests" "$root$here/../tests/fixtures"
for test in "$@"; do
    cp "$test" "$root/tests/"
    cp -r "$here/../engines" "$root$here/.."
    cp -r "$here/../tests/fixtures/predict" "$root$here/../tests/fixtures"
    script="/tests/$(basename "$test") && $script"
done
# Of its own: the loopback interface for DDS, and mounts that go with it.
exec unshare --mount --net --pid --fork bash -c '
    set -euo pipefail
    ip link set lo up
    mount -t proc proc "$1/proc"
    mount -t sysfs sysfs "$1/sys"
    mount --bind /dev "$1/dev"
    mkdir -p "$1/dev/shm"
    exec chroot "$1" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root PERIHELION_NO_ALLOC_PART="$3" bash -c "cd /tests && $2"
' _ "$root" "$script" "${PERIHELION_NO_ALLOC_PART:-1}"
