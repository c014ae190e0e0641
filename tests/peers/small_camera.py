"""A camera in Python for small images: raw or JPEG.

    python small_camera.py DOMAIN TOPIC raw|jpeg WIDTH HEIGHT RATE_HZ SECONDS LOG

Starts when a reader is there. LOG gets one line per image, its stamp in nanoseconds.
"""

import io
import sys
import time

import numpy as np
from cyclonedds.domain import DomainParticipant
from cyclonedds.pub import DataWriter
from cyclonedds.qos import Policy, Qos
from cyclonedds.topic import Topic
from PIL import Image as Picture
from ros_types import CompressedImage, Header, Image, Time

domain, topic, form, width, height, rate_hz, seconds, log = sys.argv[1:]
width, height, rate_hz = int(width), int(height), float(rate_hz)
qos = Qos(Policy.Reliability.BestEffort, Policy.Durability.Volatile, Policy.History.KeepLast(5))
participant = DomainParticipant(int(domain))
kind = Image if form == "raw" else CompressedImage
writer = DataWriter(participant, Topic(participant, "rt" + topic, kind, qos=qos), qos=qos)
give_up = time.monotonic() + 60
while not writer.get_matched_subscriptions():
    if give_up < time.monotonic():
        sys.exit("small_camera: no reader came")
    time.sleep(0.1)
time.sleep(1.5)

ys, xs = np.mgrid[:height, :width]
start = time.monotonic()
with open(log, "w") as sent:
    for i in range(int(rate_hz * float(seconds))):
        time.sleep(max(0, start + i / rate_hz - time.monotonic()))
        pixels = np.stack([xs + i, ys + 2 * i, np.full_like(xs, i >> 2)], -1).astype(np.uint8)
        stamp = time.time_ns()
        header = Header(Time.of(stamp), "peer_camera")
        if form == "raw":
            writer.write(Image(header, height, width, "rgb8", 0, 3 * width, pixels.tobytes()))
        else:
            file = io.BytesIO()
            Picture.fromarray(pixels).save(file, "jpeg", quality=85)
            writer.write(CompressedImage(header, "rgb8; jpeg compressed bgr8", file.getvalue()))
        sent.write(f"{stamp}\n")
time.sleep(1)
