#!/usr/bin/env bash
# `run` among nodes of a real ROS 2: rclpy on Fast DDS drives it and hears it.
#
#     tests/real_ros/run.sh DISTRO PYTHON PERIHELION WORK_DIR [flood|reliability|asks|soak MINUTES READER RESULT]
#
# With `flood`, which needs root, damaged packets come at the node instead; with `reliability` it is measured what images cost
# that are read reliably in a small receive buffer; with `asks` other nodes ask and nothing else happens; with `soak` everything is on for
# so many minutes, READER (a Python with mcap) reads the recording, and RESULT is what was seen.
#
# DISTRO is jazzy or kilted, PYTHON has what pins-DISTRO.txt lists. Everything stays on the loopback interface, in a domain of
# its own. Raw images need net.core.rmem_max of 4 MiB.
set -euo pipefail
case "$#${5:-}" in
    4 | 5flood | 5reliability | 5asks | 8soak) ;;
    *) echo "usage: run.sh DISTRO PYTHON PERIHELION WORK_DIR [flood|reliability|asks|soak MINUTES READER RESULT]" >&2; exit 2 ;;
esac
distro=$1 python=$2 perihelion=$(realpath "$3") work=$4
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$work"
work=$(realpath "$work")

# built CHECKPOINT NAME: its engine, built unless it is there.
built() {
    if [ ! -e "$work/$2.engine" ]; then
        "$perihelion" export "$1" -o "$work/$2.model" >&2
        "$perihelion" build "$work/$2.model" -o "$work/$2.engine" --backend cpu --precision f32 >&2
    fi
    echo "$work/$2.engine"
}
reason=$(built "$here/../../engines/small-reason" reason)
predict=$(built "$here/../../engines/small-predict" predict)
driven=$(built "$here/../fixtures/predict/predict25_actions_of_each_latent/checkpoint" driven)

domain=0
[ "$distro" = jazzy ] || domain=1
export ROS_DISTRO=$distro ROS_DOMAIN_ID=${ROS_DOMAIN_ID:-$((40 + ($$ * 2 + domain) % 60))}
export ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST ROS_LOG_DIR=$work/ros-log PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
unset RMW_IMPLEMENTATION ROS_LOCALHOST_ONLY
case ${5:-} in flood | reliability) exec "$python" "$here/$5.py" "$perihelion" "$reason" "$work" ;; esac
# Made once for each environment, as long as the texts are the same.
typed=$(dirname "$(dirname "$python")")/typed
"$python" "$here/typed.py" "$typed"
asks() { PYTHONPATH=$typed "$python" "$here/asks.py" "$perihelion" "$reason" "$predict" "$driven" "$work"; }
case ${5:-} in
    asks) asks; exit ;;
    soak) PYTHONPATH=$typed exec "$python" "$here/soak.py" "$perihelion" "$reason" "$predict" "$work" "$6" "$7" "$8" ;;
esac
"$python" "$here/arguments.py" "$perihelion" "$work"
"$python" "$here/settings.py" "$perihelion" "$reason" "$work"
"$python" "$here/lifecycle.py" "$perihelion" "$reason" "$work"
asks
exec "$python" "$here/drive.py" "$perihelion" "$reason" "$predict" "$driven" "$work"
