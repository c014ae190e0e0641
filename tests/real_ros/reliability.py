"""What it costs to read raw images reliably in an untouched kernel's receive buffer, beside best effort in a large one.

    python reliability.py PERIHELION REASON_ENGINE WORK_DIR [SECONDS]

Writes one JSON object a case to standard output. Ages are those of answers, from the frame's stamp to publishing, so that the
engine's own time is in them; processor times are of the engine's process, of the network's, and of the camera.
"""

import json
import os
import platform
import statistics
import sys
import time

from rclpy.qos import QoSProfile
from std_msgs.msg import String

from camera import Camera
from ours import Ours, Peer

PERIHELION, REASON, WORK = sys.argv[1:4]
SECONDS = float(sys.argv[4]) if 4 < len(sys.argv) else 10.0
RATE_HZ = 30
SIZES = ((640, 480), (1280, 720), (1920, 1080))
HOWS = (("reliable", 212_992), ("best_effort", 8 << 20), ("best_effort", 212_992), ("reliable", 8 << 20))


def processor():
    with open("/proc/cpuinfo") as lines:
        return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def family(process):
    """The process and its children."""
    found = [process]
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            parent = open(f"/proc/{entry}/stat").read().rsplit(") ", 1)[1].split()[1]
        except OSError:
            continue
        if int(parent) == process:
            found.append(int(entry))
    return found


def seconds_of(process):
    try:
        fields = open(f"/proc/{process}/stat").read().rsplit(") ", 1)[1].split()
    except OSError:
        # The network's process has started again meanwhile: a row with restarts has no time of it.
        return float("nan")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def percentile(values, share):
    values = sorted(values)
    return round(values[min(len(values) - 1, int(share * len(values)))], 1) if values else None


def measure(width, height, how, buffer_bytes):
    with Peer("measured") as peer:
        name = f"{how}_{buffer_bytes}_{width}"
        ros = ["-p", f"image_reliability:={how}", "-p", f"receive_buffer:={buffer_bytes}"]
        node = Ours(PERIHELION, WORK, name, [REASON], ros=ros)
        camera, heard = Camera(peer, width, height, QoSProfile(depth=5)), []
        peer.node.create_subscription(String, "/robot/eye/answer/json", heard.append, 100)
        if peer.until(camera.is_seen, 10) is None:
            raise SystemExit("reliability: the camera is not found")
        peer.spin(1.5)
        members = family(node.process.pid)
        before = [seconds_of(process) for process in members]
        camera_before, begin = time.process_time(), time.monotonic()
        camera.play(int(SECONDS * RATE_HZ), RATE_HZ)
        took = time.monotonic() - begin
        used = [round((seconds_of(process) - s) / took, 3) for process, s in zip(members, before)]
        camera_used = round((time.process_time() - camera_before) / took, 3)
        peer.spin(1)
        node.stop()
        account = node.account("answers")
        ages = [json.loads(message.data)["age_ms"] for message in heard]
        row = dict(image=f"{width}x{height} rgb8", rate_hz=RATE_HZ, reliability=how, receive_buffer_bytes=buffer_bytes,
                   sent=len(camera.sent), received=account["received"], lost=account["lost"], answers=len(ages),
                   age_ms_median=round(statistics.median(ages), 1) if ages else None, age_ms_p90=percentile(ages, 0.9),
                   age_ms_most=percentile(ages, 1.0), cores_of_engine=used[0],
                   cores_of_network=used[1] if 1 < len(used) else None, cores_of_camera=camera_used)
        row["restarts"] = node.log().count("it starts again")
        print(json.dumps(row), flush=True)


print(json.dumps(dict(processor=processor(), cores=os.cpu_count(), load=os.getloadavg()[0], distro=os.environ["ROS_DISTRO"],
                      command="tests/real_ros/run.sh DISTRO PYTHON PERIHELION WORK_DIR reliability")))
for width, height in SIZES:
    for how, buffer_bytes in HOWS:
        measure(width, height, how, buffer_bytes)
