"""A camera over a small world, and a hand on the controls: for a node that forecasts.

    python scene_camera.py DOMAIN WIDTH HEIGHT RATE_HZ SECONDS [--jumps N] [--actions] LOG

Shows a ball and a box at rest on a table, in the colours of the demo's world, as rgb8 on /camera/image_raw. With --jumps the ball
is put elsewhere N times, evenly over the run. With --actions it also sends velocities on /cmd_vel, then plans on
/robot/eye/actions, good ones and ones that no engine can take. LOG gets one line of JSON: `sent` and `jumps` (stamps in
nanoseconds), and how many `bad` actions were sent. Starts when a reader is there.
"""

import argparse
import json
import time

import numpy as np
from cyclonedds.domain import DomainParticipant
from cyclonedds.pub import DataWriter
from cyclonedds.qos import Policy, Qos
from cyclonedds.topic import Topic
from cyclonedds.util import duration
from ros_types import Float32MultiArray, Header, Image, Layout, LayoutDimension, Time, Twist, Vector3

parser = argparse.ArgumentParser()
for name in ("domain", "width", "height"):
    parser.add_argument(name, type=int)
parser.add_argument("rate_hz", type=float)
parser.add_argument("seconds", type=float)
parser.add_argument("log")
parser.add_argument("--jumps", type=int, default=0)
parser.add_argument("--actions", action="store_true")
options = parser.parse_args()


def render(ball, width, height):
    """The table, a box and a ball, whose edges are soft over a pixel, in a view of 64 by 64."""
    ys, xs = np.mgrid[:64, :64] + 0.5
    picture = np.broadcast_to(np.float32([40, 42, 38]), (64, 64, 3))
    for colour, cover in (
        ([150, 150, 150], np.clip(8.5 - abs(xs - 44), 0, 1) * np.clip(7.5 - abs(ys - 20), 0, 1)),
        ([230, 60, 50], np.clip(7.5 - np.hypot(xs - ball[0], ys - ball[1]), 0, 1)),
    ):
        picture = picture * (1 - cover[..., None]) + np.float32(colour) * cover[..., None]
    picture = picture.round().astype(np.uint8)
    return picture[np.ix_(np.arange(height) * 64 // height, np.arange(width) * 64 // width)]


best_effort = Qos(Policy.Reliability.BestEffort, Policy.Durability.Volatile, Policy.History.KeepLast(5))
reliable = Qos(Policy.Reliability.Reliable(duration(seconds=1)), Policy.Durability.Volatile, Policy.History.KeepLast(10))
participant = DomainParticipant(options.domain)


def writer(name, kind, qos):
    return DataWriter(participant, Topic(participant, name, kind, qos=qos), qos=qos)


camera = writer("rt/camera/image_raw", Image, best_effort)
wheel = writer("rt/cmd_vel", Twist, reliable)
planner = writer("rt/robot/eye/actions", Float32MultiArray, reliable)
wanted = [camera] + ([wheel, planner] if options.actions else [])
give_up = time.monotonic() + 60
while not all(writer.get_matched_subscriptions() for writer in wanted):
    if give_up < time.monotonic():
        raise SystemExit("scene_camera: no reader came")
    time.sleep(0.1)
time.sleep(1.5)

places = [(16.0, 16.0), (48.0, 48.0), (14.0, 50.0), (24.0, 28.0)]
n_frames = int(options.rate_hz * options.seconds)
every = n_frames // (options.jumps + 1)
views = [render(place, options.width, options.height).tobytes() for place in places]
sent, jumps, n_bad = [], [], 0


def plan(rows, columns, value=0.1):
    layout = Layout([LayoutDimension("step", rows, rows * columns), LayoutDimension("action", columns, columns)], 0)
    return Float32MultiArray(layout, [value] * (rows * columns))


start = time.monotonic()
for i in range(n_frames):
    time.sleep(max(0, start + i / options.rate_hz - time.monotonic()))
    stamp = time.time_ns()
    at = min(i // every, options.jumps)
    image = Image(Header(Time.of(stamp), "peer_camera"), options.height, options.width, "rgb8", 0, 3 * options.width)
    image.data = views[at % len(places)]
    camera.write(image)
    sent.append(stamp)
    if 0 < at and i == at * every:
        jumps.append(stamp)
    if options.actions and i % 4 == 0:
        if i < n_frames // 2:
            bad = i % 16 == 12
            wheel.write(Twist(Vector3(float("nan") if bad else 0.2, 0.0, 0.0), Vector3(0.0, 0.0, -0.5)))
        else:
            bad = i % 8 == 4
            wrong = [plan(3, 5), plan(99, 2), plan(2, 2, float("nan"))][i // 8 % 3]
            planner.write(wrong if bad else plan(3, 2))
        n_bad += bad
with open(options.log, "w") as log:
    json.dump(dict(sent=sent, jumps=jumps, bad=n_bad), log)
time.sleep(1)
