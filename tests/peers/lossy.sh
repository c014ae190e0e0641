#!/usr/bin/env bash
# A loopback that loses datagrams: the very first frame of a forecast, and from then on two in a hundred of those that hold images. Every
# frame that the node announces must be heard all the same.
#
#     tests/peers/lossy.sh PERIHELION PYTHON WORK_DIR
#
# As `run.sh`, of whose scenarios it runs one, in a network namespace of its own. As root; needs Debian's nftables too.
set -euo pipefail
[ $# = 3 ] || { echo "usage: lossy.sh PERIHELION PYTHON WORK_DIR" >&2; exit 2; }
[ "$(id -u)" = 0 ] || { echo "this makes a network namespace: run it as root" >&2; exit 1; }
here=$(cd "$(dirname "$0")" && pwd)
# A frame of small-predict is 12,288 bytes behind some two hundred of headers, which no datagram of this camera is; the quota is that of one.
exec unshare --net bash -c '
    set -euo pipefail
    ip link set lo up
    nft add table ip lossy
    nft "add chain ip lossy input { type filter hook input priority 0; }"
    nft add rule ip lossy input udp length 12288-12700 quota until 13000 bytes counter drop
    nft add rule ip lossy input udp length gt 9000 numgen random mod 100 lt 2 counter drop
    SCENARIOS=jumps SECONDS_PER_CAMERA=15 "$1/run.sh" "${@:2}"
    lost=$(nft list table ip lossy | grep counter)
    echo "$lost"
    if grep -q "packets 0 " <<<"$lost"; then
        echo "nothing was lost by one of these rules: the run shows nothing" >&2
        exit 1
    fi
' _ "$here" "$@"
