#!/usr/bin/env bash
# `run` among nodes of a real ROS 2: rclpy on Fast DDS drives it and hears it.
#
#     tests/real_ros/run.sh DISTRO PYTHON PERIHELION WORK_DIR [flood|reliability]
#
# With `flood`, which needs root, damaged packets come at the node instead; with `reliability` it is measured what images cost
# that are read reliably in a small receive buffer.
#
# DISTRO is jazzy or kilted, PYTHON has what pins-DISTRO.txt lists. Everything stays on the loopback interface, in a domain of
# its own. Raw images need net.core.rmem_max of 4 MiB.
set -euo pipefail
case "$#${5:-}" in
    4 | 5flood | 5reliability) ;;
    *) echo "usage: run.sh DISTRO PYTHON PERIHELION WORK_DIR [flood|reliability]" >&2; exit 2 ;;
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
[ $# = 4 ] || exec "$python" "$here/$5.py" "$perihelion" "$reason" "$work"
"$python" "$here/arguments.py" "$perihelion" "$work"
"$python" "$here/settings.py" "$perihelion" "$reason" "$work"
"$python" "$here/lifecycle.py" "$perihelion" "$reason" "$work"
# Made once for each environment, as long as the texts are the same.
typed=$(dirname "$(dirname "$python")")/typed
"$python" "$here/typed.py" "$typed"
PYTHONPATH=$typed "$python" "$here/asks.py" "$perihelion" "$reason" "$predict" "$driven" "$work"
exec "$python" "$here/drive.py" "$perihelion" "$reason" "$predict" "$driven" "$work"
