#!/usr/bin/env bash
# `run` among nodes of another DDS vendor: CycloneDDS cameras and controls drive it, CycloneDDS readers check its answers, forecasts,
# surprises and accounts.
#
#     tests/peers/run.sh PERIHELION PYTHON WORK_DIR
#
# Needs Debian's cyclonedds-dev and cyclonedds-tools, the PyPI package cyclonedds in PYTHON, and net.core.rmem_max of 4 MiB.
# Everything stays on the loopback interface, in a domain of its own. SECONDS_PER_CAMERA shortens it for a quick look; SCENARIOS
# names those to run, such as "quiet jumps".
set -euo pipefail
[ $# = 3 ] || { echo "usage: run.sh PERIHELION PYTHON WORK_DIR" >&2; exit 2; }
perihelion=$(realpath "$1") python=$2 work=$3
here=$(cd "$(dirname "$0")" && pwd)
seconds=${SECONDS_PER_CAMERA:-60}
mkdir -p "$work"
work=$(realpath "$work")

if [ "$(cat /proc/sys/net/core/rmem_max)" -lt 4194304 ]; then
    echo "raw images need larger UDP buffers: sudo sysctl -w net.core.rmem_max=4194304" >&2
    exit 1
fi
export ROS_DOMAIN_ID=${ROS_DOMAIN_ID:-$((40 + $$ % 60))} ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST
export CYCLONEDDS_URI='<CycloneDDS><Domain><General><Interfaces><NetworkInterface name="lo" multicast="false"/></Interfaces>
    </General><Discovery><ParticipantIndex>auto</ParticipantIndex><MaxAutoParticipantIndex>30</MaxAutoParticipantIndex>
    <Peers><Peer address="127.0.0.1"/></Peers></Discovery></Domain></CycloneDDS>'

(cd "$work" && idlc -l c "$here/Image.idl" && cc -O2 -Wall -I. -o camera "$here/camera.c" Image.c -lddsc)

# built CHECKPOINT NAME: prints the path of its engine, built unless it is there.
built() {
    if [ ! -e "$work/$2.engine" ]; then
        "$perihelion" export "$1" -o "$work/$2.model" >&2
        "$perihelion" build "$work/$2.model" -o "$work/$2.engine" --backend cpu --precision f32 >&2
    fi
    echo "$work/$2.engine"
}
engine=$(built "$here/../../engines/small-reason" small)
predict=$(built "$here/../../engines/small-predict" predict)
driven=$(built "$here/../fixtures/predict/predict25_actions_of_each_latent/checkpoint" driven)

# await FILE PATTERN: until a line of the file matches, at most a minute.
await() {
    for _ in $(seq 600); do
        grep -q "$2" "$1" 2>/dev/null && return
        sleep 0.1
    done
    echo "waited in vain for \"$2\" in $1:" >&2
    tail -20 "$1" >&2
    return 1
}

wanted() { [ -z "${SCENARIOS:-}" ] || [[ " $SCENARIOS " == *" $1 "* ]]; }

# scenario NAME DISTRO MAX_AGE "CHECK OPTIONS" "NODE OPTIONS" CAMERA...
scenario() {
    local name=$1 distro=$2 max_age=$3 checks=$4 node_options=$5
    shift 5
    wanted "$name" || return 0
    local gid_bytes=16
    [ "$distro" = humble ] && gid_bytes=24
    "$python" "$here/reader.py" "$ROS_DOMAIN_ID" /robot/eye "$gid_bytes" 300 "$work/$name.json" >"$work/$name.reader" 2>&1 &
    local reader=$!
    await "$work/$name.reader" listening
    # shellcheck disable=SC2086
    ROS_DISTRO=$distro "$perihelion" run "$engine" --clip 1 --prompt "How many balls are there?" $node_options \
        --ros-args -r __ns:=/robot -r __node:=eye -r image:=/camera/image_raw -p max_age:="$max_age" \
        >"$work/$name.out" 2>"$work/$name.log" &
    local node=$!
    await "$work/$name.log" "listening to"
    await "$work/$name.reader" matched
    "$@" "$work/$name.sent" || { cat "$work/$name.log" >&2; kill "$node"; return 1; }
    kill -INT "$node"
    wait "$node" || { echo "$name: the node left with $?" >&2; tail -20 "$work/$name.log" >&2; return 1; }
    wait "$reader"
    # shellcheck disable=SC2086
    "$python" "$here/check.py" "$name" "$work/$name.sent" "$work/$name.json" "$max_age" $checks
}

# forecasts NAME "ENGINES" MAX_AGE "CHECK OPTIONS" "NODE OPTIONS" CAMERA...
forecasts() {
    local name=$1 engines=$2 max_age=$3 checks=$4 node_options=$5
    shift 5
    wanted "$name" || return 0
    "$python" "$here/forecast_reader.py" "$ROS_DOMAIN_ID" /robot/eye 300 "$work/$name.json" >"$work/$name.reader" 2>&1 &
    local reader=$!
    await "$work/$name.reader" listening
    # shellcheck disable=SC2086
    "$perihelion" run $engines --ros-args -r __ns:=/robot -r __node:=eye -r image:=/camera/image_raw -r cmd_vel:=/cmd_vel \
        -p max_age:="$max_age" $node_options >"$work/$name.out" 2>"$work/$name.log" &
    local node=$!
    await "$work/$name.log" "listening to"
    await "$work/$name.reader" matched
    "$@" "$work/$name.sent" || { cat "$work/$name.log" >&2; kill "$node"; return 1; }
    kill -INT "$node"
    wait "$node" || { echo "$name: the node left with $?" >&2; tail -20 "$work/$name.log" >&2; return 1; }
    wait "$reader"
    # shellcheck disable=SC2086
    "$python" "$here/check_forecasts.py" "$name" "$work/$name.sent" "$work/$name.json" "$max_age" $checks
}

c_camera=("$work/camera" "$ROS_DOMAIN_ID" /camera/image_raw)
small_camera=("$python" "$here/small_camera.py" "$ROS_DOMAIN_ID")
brief=$((seconds < 15 ? seconds : 15))
scenario small jazzy 2.0 "" "" "${small_camera[@]}" /camera/image_raw raw 160 120 10 "$brief"
scenario humble humble 2.0 "" "" "${small_camera[@]}" /camera/image_raw raw 161 121 5 "$brief"
scenario jpeg jazzy 2.0 "" "--image-transport compressed" \
    "${small_camera[@]}" /camera/image_raw/compressed jpeg 320 240 10 "$brief"
scenario vga jazzy 2.0 "" "" "${c_camera[@]}" 640 480 30 "$seconds"
scenario hd jazzy 4.0 "" "" "${c_camera[@]}" 1280 720 30 "$seconds"
# A camera that is far more than ten times too fast, by what the engine has just managed.
rate=30
if wanted vga; then
    rate=$("$python" - "$work/vga.json" "$seconds" <<'END'
import json, sys
print(min(500, max(30, round(20 * len(json.load(open(sys.argv[1]))["answers"]) / float(sys.argv[2])))))
END
    )
fi
scenario slow jazzy 2.0 "--slow" "" "${c_camera[@]}" 320 240 "$rate" "$((seconds < 30 ? seconds : 30))"
scene_camera=("$python" "$here/scene_camera.py" "$ROS_DOMAIN_ID")
surprise="64x64 8 --threshold 0.5" warn="-p surprise_warn:=0.5"
forecasts quiet "$predict" 4.0 "$surprise" "$warn" "${scene_camera[@]}" 64 64 8 "$brief"
forecasts jumps "$predict" 4.0 "$surprise" "$warn" "${scene_camera[@]}" 160 120 24 "$((2 * brief))" --jumps 4
forecasts driven "$driven" 4.0 "16x32 4 --actions" "" "${scene_camera[@]}" 64 64 8 "$((2 * brief))" --actions
forecasts future "$predict" 4.0 "64x64 8" "" "${c_camera[@]}" 640 480 30 "$brief"
forecasts both "$engine $predict" 4.0 "64x64 8" "" "${scene_camera[@]}" 64 64 16 "$brief"

wanted plans || exit 0
# A node that answers and forecasts is asked to rank plans while its camera runs.
"$perihelion" run "$engine" "$driven" --prompt "How many balls are there?" --ros-args -r __ns:=/robot -r __node:=eye \
    -r image:=/camera/image_raw >"$work/plans.out" 2>"$work/plans.log" &
node=$!
await "$work/plans.log" "listening to"
"${scene_camera[@]}" 64 64 8 "$((2 * brief))" "$work/plans.sent" &
camera=$!
"$python" "$here/plan_asker.py" "$ROS_DOMAIN_ID" /robot/eye 2
wait "$camera"
kill -INT "$node"
wait "$node"
echo "peers: all accounted for"
