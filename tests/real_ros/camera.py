"""A camera that sees a ball on a table, and stamps what it sends with the time of sending."""

import struct
import time

import numpy as np
from rclpy.qos import qos_profile_sensor_data
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image

# Where a serialised image has its stamp: behind four bytes that tell the encoding.
STAMP_AT = 4


def body(width, height):
    """A serialised `Image` with a ball in it."""
    rows, columns = np.mgrid[:height, :width]
    far = np.hypot(columns / width - 0.4, rows / height - 0.5)
    pixels = np.where((far < 0.15)[..., None], np.uint8([230, 60, 50]), np.uint8([40, 42, 38]))
    image = Image(width=width, height=height, step=3 * width, encoding="rgb8")
    image.header.frame_id = "camera"
    image.data = pixels.tobytes()
    return bytearray(serialize_message(image))


class Camera:
    def __init__(self, peer, width=64, height=64, qos=qos_profile_sensor_data):
        self.peer = peer
        self.publisher = peer.node.create_publisher(Image, "/camera/image_raw", qos)
        self.body = body(width, height)
        self.sent = []

    def is_seen(self):
        return 0 < self.publisher.get_subscription_count()

    def send(self):
        now = time.time_ns()
        struct.pack_into("<iI", self.body, STAMP_AT, now // 10**9, now % 10**9)
        self.sent.append(now)
        self.publisher.publish(bytes(self.body))

    def play(self, n_frames, rate_hz):
        begin = time.monotonic()
        for i in range(n_frames):
            self.send()
            self.peer.spin(max(0.0, begin + (i + 1) / rate_hz - time.monotonic()))
