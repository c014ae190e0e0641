#!/usr/bin/env bash
# A loopback that loses datagrams: the very first frame of a forecast, and from then on two in a hundred of those that hold images. Every
# frame that the node announces must be heard all the same.
#
#     tests/peers/lossy.sh PERIHELION PYTHON WORK_DIR
#
# As `run.sh`, of whose scenarios it runs two, in a network namespace of its own. As root; needs Debian's nftables too.
set -euo pipefail
[ $# = 3 ] || { echo "usage: lossy.sh PERIHELION PYTHON WORK_DIR" >&2; exit 2; }
[ "$(id -u)" = 0 ] || { echo "this makes a network namespace: run it as root" >&2; exit 1; }
here=$(cd "$(dirname "$0")" && pwd)
for scenario in quiet jumps; do
    # A frame of small-predict is 12,288 bytes behind some two hundred of headers, and the quota is that of one.
    unshare --net bash -c '
        set -euo pipefail
        ip link set lo up
        nft add table ip lossy
        nft "add chain ip lossy input { type filter hook input priority 0; }"
        nft add rule ip lossy input udp length 12288-12700 quota until 13000 bytes counter drop
        nft add rule ip lossy input udp length gt 9000 numgen random mod 100 lt 2 counter drop
        SCENARIOS=$1 SECONDS_PER_CAMERA=15 "$2" "${@:3}"
        nft list table ip lossy | grep counter
    ' _ "$scenario" "$here/run.sh" "$@"
done
