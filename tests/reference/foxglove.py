"""`run --live` against libraries that are not ours: websockets talks to it, mcap-ros2-support decodes what comes by the schemas that came with it.

    foxglove.py PERIHELION WORK

WORK holds the engines that `bags.py` built. Both engines look at a bag in real time; a viewer that comes as Foxglove's page does hears all
that the node says, sees the camera move and the answer drawn over it, puts another question, and changes a parameter. Another viewer takes
nothing in meanwhile.
"""
import contextlib
import io
import json
import pathlib
import re
import struct
import subprocess
import sys
import time

from mcap.records import Schema
from mcap_ros2.decoder import DecoderFactory
from PIL import Image
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

CAMERA, NODE = "/camera/image_raw/compressed", "/perihelion"
HEARD = {
    CAMERA: "sensor_msgs/msg/CompressedImage",
    f"{NODE}/answer": "std_msgs/msg/String",
    f"{NODE}/answer/json": "std_msgs/msg/String",
    f"{NODE}/answer/typed": "perihelion_msgs/msg/Answer",
    f"{NODE}/detections": "vision_msgs/msg/Detection2DArray",
    f"{NODE}/annotated/compressed": "sensor_msgs/msg/CompressedImage",
    f"{NODE}/forecast": "sensor_msgs/msg/Image",
    f"{NODE}/forecast/json": "std_msgs/msg/String",
    f"{NODE}/forecast/typed": "perihelion_msgs/msg/Forecast",
    f"{NODE}/surprise": "std_msgs/msg/Float32",
    f"{NODE}/surprise/typed": "perihelion_msgs/msg/Surprise",
    "/diagnostics": "diagnostic_msgs/msg/DiagnosticArray",
}
ENOUGH = 3
OPEN = contextlib.ExitStack()
QUESTION = "How many balls are there?"


class Viewer:
    """A connection, what it was told of channels, and what it has decoded."""

    def __init__(self, address, **options):
        opened = connect(address, subprotocols=["foxglove.sdk.v1", "foxglove.websocket.v1"], max_size=None, close_timeout=1, **options)
        self.line = OPEN.enter_context(opened)
        assert self.line.subprotocol == "foxglove.sdk.v1", self.line.subprotocol
        self.channels, self.decoders, self.topics, self.messages, self.words = {}, {}, {}, {}, []
        self.info = json.loads(self.line.recv(timeout=10))
        assert self.info["op"] == "serverInfo" and self.info["supportedEncodings"] == ["cdr"], self.info

    def send(self, **message):
        self.line.send(json.dumps(message))

    def subscribe(self, topics):
        """Hears these topics from now on, each under the number of its channel and a thousand."""
        wanted = [{"id": 1000 + self.channels[topic], "channelId": self.channels[topic]} for topic in topics]
        self.topics |= {1000 + self.channels[topic]: topic for topic in topics}
        self.send(op="subscribe", subscriptions=wanted)

    def hear(self, seconds):
        """Takes in what comes for a while."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            try:
                message = self.line.recv(timeout=left)
            except TimeoutError:
                return
            if isinstance(message, bytes):
                opcode, subscription, at_ns = struct.unpack("<BIQ", message[:13])
                topic = self.topics[subscription]
                assert opcode == 1 and at_ns > 0, (opcode, at_ns)
                self.messages.setdefault(topic, []).append((at_ns, self.decoders[topic](message[13:])))
                continue
            message = json.loads(message)
            if message["op"] != "advertise":
                self.words.append(message)
                continue
            for channel in message["channels"]:
                schema = Schema(id=1, name=channel["schemaName"], encoding=channel["schemaEncoding"], data=channel["schema"].encode())
                decoder = DecoderFactory().decoder_for(channel["encoding"], schema)
                assert decoder, f"{channel['topic']}: nothing decodes {channel['schemaName']}"
                assert HEARD.get(channel["topic"], channel["schemaName"]) == channel["schemaName"], channel
                self.channels[channel["topic"]], self.decoders[channel["topic"]] = channel["id"], decoder

    def until(self, done, what, seconds=30):
        end = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < end, f"{what}: {({t: len(m) for t, m in self.messages.items()})}, {self.words}"
            self.hear(0.2)


def text(data):
    """`std_msgs/msg/String`, in CDR."""
    data = data.encode() + b"\0"
    return b"\0\1\0\0" + struct.pack("<I", len(data)) + data


def watch(address):
    try:
        with connect(address, subprotocols=["foxglove.sdk.v1"], origin="https://evil.example"):
            sys.exit("another page's viewer was let in")
    except InvalidStatus as refused:
        assert refused.response.status_code == 403, refused
    dead, viewer = Viewer(address), Viewer(address, origin="https://app.foxglove.dev")
    for one in (dead, viewer):
        one.until(lambda: HEARD.keys() <= one.channels.keys(), f"channels, of {sorted(HEARD)}")
        one.subscribe(HEARD)
    count = lambda: {topic: len(viewer.messages.get(topic, [])) for topic in HEARD}
    viewer.until(lambda: min(count().values()) >= ENOUGH, "messages")
    stamps = [at for at, _ in viewer.messages[f"{NODE}/answer/json"]]
    assert stamps == sorted(stamps), "answers come in their order"
    frames = [Image.open(io.BytesIO(bytes(frame.data))).convert("RGB") for _, frame in viewer.messages[CAMERA]]
    assert all(frame.size == (64, 64) for frame in frames) and len({frame.tobytes() for frame in frames}) > 1, "the camera moves"
    drawn = viewer.messages[f"{NODE}/annotated/compressed"][-1][1]
    assert drawn.format == "jpeg" and Image.open(io.BytesIO(bytes(drawn.data))).size == (64, 64), drawn.format
    forecast = viewer.messages[f"{NODE}/forecast"][-1][1]
    assert (forecast.width, forecast.height, forecast.encoding, len(forecast.data)) == (64, 64, "rgb8", 64 * 64 * 3), forecast
    both = zip(viewer.messages[f"{NODE}/answer/json"], viewer.messages[f"{NODE}/answer/typed"])
    assert all(json.loads(one.data)["text"] == other.text for (_, one), (_, other) in both), "JSON and typed answers differ"

    answers = lambda: [json.loads(message.data)["prompt_text"] for _, message in viewer.messages[f"{NODE}/answer/json"]]
    viewer.send(op="advertise", channels=[{"id": 1, "topic": f"{NODE}/prompt", "encoding": "cdr", "schemaName": "std_msgs/msg/String"}])
    viewer.line.send(struct.pack("<BI", 1, 1) + text(QUESTION))
    viewer.until(lambda: answers()[-1] == QUESTION, "another question")
    viewer.send(op="setParameters", parameters=[{"name": "max_rate", "value": 2}, {"name": "max_age", "value": "long"}], id="a")
    told = lambda op: [word for word in viewer.words if word["op"] == op]
    viewer.until(lambda: told("parameterValues") and told("status"), "parameters")
    values = {value["name"]: value["value"] for value in told("parameterValues")[0]["parameters"]}
    assert values["max_rate"] == 2 and values["max_age"] > 0 and "max_age" in told("status")[0]["message"], viewer.words
    print({topic.removeprefix(NODE): n for topic, n in count().items()})
    return viewer


def main():
    binary, work = sys.argv[1], pathlib.Path(sys.argv[2])
    bag, log = work / "foxglove.mcap", work / "foxglove.log"
    bag.unlink(missing_ok=True)
    subprocess.run([binary, "scenes", "-o", bag, "--count", "30"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    command = [binary, "run", work / "small-reason.engine", work / "small-predict.engine", "--bag", bag, "--paced", "--live", "127.0.0.1:0", "--max-age", "10"]
    command += ["--ros-args", "-r", "image:=/camera/image_raw"]
    with log.open("w") as opened:
        node = subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL, stderr=opened)
    try:
        found = None
        for _ in range(600):
            found = re.search(r"for Foxglove (ws://\S+)", log.read_text())
            if found or node.poll() is not None:
                break
            time.sleep(0.1)
        assert found, "the log does not say where Foxglove is to look"
        viewer = watch(found[1])
        node.terminate()
        try:
            viewer.hear(20)
            sys.exit("the node has ended, and the connection has not")
        except ConnectionClosed as closed:
            assert closed.rcvd is not None, f"it ends without a farewell: {closed}"
        assert node.wait(20) == 0, f"the node left with {node.returncode}"
    except BaseException:
        node.kill()
        print(log.read_text(), file=sys.stderr)
        raise


if __name__ == "__main__":
    with OPEN:
        main()
