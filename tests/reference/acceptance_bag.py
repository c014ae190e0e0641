"""Writes the bag that `jetson/accept` plays: the frames of `tests/fixtures/scenes/clip`, to and fro, at 8 Hz, as an MCAP file of ROS 2.

    python tests/reference/acceptance_bag.py jetson/camera.mcap

The file is in the repository so that a board needs neither Python packages nor ROS for it.
"""

import itertools
import pathlib
import sys

import numpy
from mcap.writer import CompressionType, Writer
from PIL import Image as Picture
from rosbags.typesys import Stores, get_typestore

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOPIC, N_FRAMES, PERIOD_NS, START_NS = "/camera/image_raw", 48, 125_000_000, 1_700_000_000_000_000_000
STORE = get_typestore(Stores.ROS2_JAZZY)


def main():
    (out,) = sys.argv[1:]
    Image, Header, Time = (STORE.types[t] for t in ("sensor_msgs/msg/Image", "std_msgs/msg/Header", "builtin_interfaces/msg/Time"))
    paths = sorted((ROOT / "tests/fixtures/scenes/clip").glob("*.png"))
    pictures = [numpy.asarray(Picture.open(path).convert("RGB")) for path in paths]
    to_and_fro = itertools.cycle(pictures + pictures[-2:0:-1])
    definition, _ = STORE.generate_msgdef(Image.__msgtype__, ros_version=2)
    with open(out, "wb") as file:
        bag = Writer(file, compression=CompressionType.ZSTD)
        bag.start(profile="ros2", library="perihelion")
        schema = bag.register_schema("sensor_msgs/msg/Image", "ros2msg", definition.encode())
        channel = bag.register_channel(TOPIC, "cdr", schema)
        for number, picture in zip(range(N_FRAMES), to_and_fro):
            stamp_ns = START_NS + number * PERIOD_NS
            height, width, _ = picture.shape
            header = Header(Time(*divmod(stamp_ns, 10**9)), "camera")
            image = Image(header, height, width, "rgb8", 0, 3 * width, picture.reshape(-1))
            data = bytes(STORE.serialize_cdr(image, Image.__msgtype__))
            bag.add_message(channel, log_time=stamp_ns, publish_time=stamp_ns, sequence=number, data=data)
        bag.finish()


main()
