#!/usr/bin/env bash
# Makes the Debian package for arm64 of a binary that jetson/cross.sh built, and prints where it lies.
#
#   jetson/package.sh BINARY [FOLDER]
#
# In it: the program, stripped; its manual pages and shell completions, which it writes itself; the service with its settings; the UDP
# buffers; launch files; recipes; the two small checkpoints, which the acceptance run and the demonstration use; the acceptance run.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
binary=$(realpath "${1:?usage: jetson/package.sh BINARY [FOLDER]}")
out=$(realpath -m "${2:-.}")
root=$(cd "$here/.." && pwd)
mkdir -p "$out"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tree=$work/tree
install -D -m 755 "$binary" "$tree/usr/bin/perihelion"
strip=strip
if [ "$(dpkg --print-architecture)" != arm64 ]; then strip=aarch64-linux-gnu-strip; fi
"$strip" "$tree/usr/bin/perihelion"

# The newest glibc that the program asks for must be on JetPack 6 (Ubuntu 22.04), the oldest that is served.
glibc_max=2.35
glibc=$(LC_ALL=C grep -aoE 'GLIBC_2\.[0-9]+' "$tree/usr/bin/perihelion" | sed 's/GLIBC_//' | sort -uV | tail -1)
[ "$(printf '%s\n' "$glibc" "$glibc_max" | sort -V | tail -1)" = "$glibc_max" ] || {
    echo "the program asks for glibc $glibc, JetPack 6 has $glibc_max: build it on an older Debian" >&2
    exit 1
}

run=("$binary")
if [ "$(uname -m)" != aarch64 ]; then run=(qemu-aarch64 "$binary"); fi
"${run[@]}" manual "$work/manual"
for page in "$work"/manual/man1/*.1; do
    install -D -m 644 "$page" "$tree/usr/share/man/man1/$(basename "$page")"
    gzip -9n "$tree/usr/share/man/man1/$(basename "$page")"
done
install -D -m 644 "$work/manual/completions/perihelion.bash" "$tree/usr/share/bash-completion/completions/perihelion"
install -D -m 644 "$work/manual/completions/_perihelion" "$tree/usr/share/zsh/vendor-completions/_perihelion"
install -D -m 644 "$work/manual/completions/perihelion.fish" "$tree/usr/share/fish/vendor_completions.d/perihelion.fish"

install -D -m 644 "$here/debian/perihelion.service" "$tree/lib/systemd/system/perihelion.service"
install -D -m 644 "$here/debian/perihelion.default" "$tree/etc/default/perihelion"
install -D -m 644 "$here/debian/params.yaml" "$tree/etc/perihelion/params.yaml"
install -D -m 644 "$here/debian/60-perihelion.conf" "$tree/etc/sysctl.d/60-perihelion.conf"
install -D -m 644 "$root/LICENSE" "$tree/usr/share/doc/perihelion/copyright"
share=$tree/usr/share/perihelion
mkdir -p "$share/engines" "$share/launch"
cp -r "$root/engines/small-reason" "$root/engines/small-predict" "$root/engines/small-robot" "$root"/engines/*.toml "$share/engines/"
rm -rf "$share"/engines/*/pictures
cp "$here"/launch/* "$share/launch/"
install -m 755 "$here/accept" "$here/report.py" "$share/"
install -m 644 "$here/camera.mcap" "$share/"
install -D -m 644 "$here/ros2/perihelion/foxglove/perihelion.json" "$share/foxglove/perihelion.json"

version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"$/\1/p' "$root/Cargo.toml")
mkdir -p "$tree/DEBIAN"
cat >"$tree/DEBIAN/control" <<CONTROL
Package: perihelion
Version: $version
Architecture: arm64
Maintainer: The Perihelion authors <maintainers@perihelion.invalid>
Installed-Size: $(du -sk --exclude=DEBIAN "$tree" | cut -f1)
Depends: libc6 (>= $glibc), libgcc-s1, passwd
Recommends: python3
Section: science
Priority: optional
Description: edge inference runtime for NVIDIA Cosmos Reason and Predict
 Answers questions about a live ROS 2 camera and forecasts what it will show.
 It is one program that speaks ROS 2 by itself.
CONTROL
(cd "$tree" && find etc -type f -printf '/%p\n') >"$tree/DEBIAN/conffiles"
for script in postinst prerm postrm; do install -m 755 "$here/debian/$script" "$tree/DEBIAN/$script"; done
chmod -R u=rwX,go=rX "$tree"
package=$out/perihelion_${version}_arm64.deb
dpkg-deb --build --root-owner-group "$tree" "$package" >/dev/null
echo "$package"
