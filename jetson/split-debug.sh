#!/usr/bin/env bash
# Splits a release binary in two: the command as a robot carries it, and its debug information, which may lie beside it.
#
#     split-debug.sh target/release/perihelion FOLDER
#
# makes FOLDER/perihelion and FOLDER/perihelion.debug. The command keeps its functions' names, so that a backtrace names
# them wherever it runs; with the other file beside it (or in a folder .debug, or below /usr/lib/debug) a backtrace, gdb and
# addr2line tell files and lines as well. OBJCOPY names the tool for another architecture (aarch64-linux-gnu-objcopy).
#
# Why not cargo: `strip` in a profile throws the lines away, and `split-debuginfo` leaves them in the binary.
set -euo pipefail

[ $# = 2 ] || { echo "usage: $0 BINARY FOLDER" >&2; exit 2; }
binary=$1 folder=$2 name=$(basename "$1")
objcopy=${OBJCOPY:-objcopy}

mkdir -p "$folder"
"$objcopy" --only-keep-debug --compress-debug-sections "$binary" "$folder/$name.debug"
chmod -x "$folder/$name.debug"
# The link holds the other file's name and checksum, and is made where that file lies.
"$objcopy" --strip-debug "$binary" "$folder/$name"
(cd "$folder" && "$objcopy" --add-gnu-debuglink="$name.debug" "$name")

# Lines are found through the link, or the split is none.
read -r address _ function < <(nm --demangle "$folder/$name" | awk '/ perihelion::cli::[a-z]+::run$/ { print; exit }') ||
    { echo "$folder/$name has lost the names of its functions" >&2; exit 1; }
line=$(addr2line --exe "$folder/$name" "0x$address")
case $line in
*src/cli/*.rs:[0-9]*) echo "$function is found at $line" ;;
*) echo "$function is found at $line, not in src/cli" >&2; exit 1 ;;
esac
stat --format '%n: %s bytes' "$binary" "$folder/$name" "$folder/$name.debug"
