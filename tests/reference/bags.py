"""Bags against readers and writers that are not ours: rosbags writes what we play, rosbags and mcap-ros2-support decode what we record.

    bags.py PERIHELION WORK

The bag holds rendered scenes as `sensor_msgs/Image`, once as one file and once split in two as `ros2 bag record` splits it. Both
small checkpoints of the project run on it, recorded. Every message of the recording must decode by the definitions that the
recording itself carries, to the same fields in both readers, and the definitions must be those of ROS.
"""
import json
import pathlib
import subprocess
import sys

import numpy
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOPIC, N_FRAMES, PERIOD_NS, START_NS = "/camera/image_raw", 24, 125_000_000, 1_700_000_000_000_000_000
STORE = get_typestore(Stores.ROS2_JAZZY)
# What ROS's store lacks: our own interface package, from the files that others build, and vision_msgs as of Humble, Jazzy and Kilted.
for package in (ROOT / "jetson" / "ros2" / "perihelion_msgs", ROOT / "tests" / "fixtures" / "vision_msgs"):
    for path in sorted((package / "msg").glob("*.msg")):
        STORE.register(get_types_from_msg(path.read_text(), f"{package.name}/msg/{path.stem}"))


def run(*command, code=0):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode != code:
        sys.exit(f"{' '.join(str(c) for c in command)}: exit code {done.returncode}, not {code}\n{done.stderr}")
    return done


def write_bag(path, frames):
    Image, Header, Time = (STORE.types[t] for t in ("sensor_msgs/msg/Image", "std_msgs/msg/Header", "builtin_interfaces/msg/Time"))
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as bag:
        connection = bag.add_connection(TOPIC, Image.__msgtype__, typestore=STORE)
        for number in frames:
            stamp_ns = START_NS + number * PERIOD_NS
            pixels = numpy.full((64, 64, 3), 40, numpy.uint8)
            pixels[20:30, 2 * number:2 * number + 10] = (230, 60, 50)
            header = Header(Time(*divmod(stamp_ns, 10**9)), "camera")
            image = Image(header, 64, 64, "rgb8", 0, 192, pixels.reshape(-1))
            bag.write(connection, stamp_ns, STORE.serialize_cdr(image, Image.__msgtype__))


def split_bag(path, halves):
    """What `ros2 bag record --max-bag-duration` leaves: files that follow each other, and one metadata.yaml."""
    path.mkdir()
    names = []
    for i, half in enumerate(halves):
        (file,) = half.glob("*.mcap")
        names.append(f"split_{i}.mcap")
        (path / names[-1]).write_bytes(file.read_bytes())
    listed = "".join(f"    - {name}\n" for name in names)
    (path / "metadata.yaml").write_text(
        "rosbag2_bagfile_information:\n  version: 9\n  storage_identifier: mcap\n  duration:\n    nanoseconds: 0\n"
        f"  relative_file_paths:\n{listed}  compression_format: ''\n  compression_mode: ''\n  custom_data: ~\n")


def fields(message):
    """A message of either reader as plain values."""
    names = getattr(message, "__slots__", None) or getattr(message, "__dataclass_fields__", {})
    names = [name for name in names if not name.startswith("_") and name != "structure_needs_at_least_one_member"]
    if names:
        return {name: fields(getattr(message, name)) for name in names}
    if isinstance(message, numpy.ndarray | bytes | bytearray):
        return [v.item() if hasattr(v, "item") else v for v in message]
    if isinstance(message, list | tuple):
        return [fields(v) for v in message]
    return message


def by_rosbags(path):
    messages = []
    with AnyReader([path]) as bag:
        for connection, time_ns, raw in bag.messages():
            own = get_types_from_msg(connection.msgdef.data, connection.msgtype)
            known = STORE.get_msgdef(connection.msgtype).fields if hasattr(STORE, "get_msgdef") else STORE.fielddefs[connection.msgtype]
            mine = own[connection.msgtype]
            if [name for name, _ in mine[1]] != [name for name, _ in (known[1] if isinstance(known, tuple) else known)]:
                sys.exit(f"{connection.msgtype}: our definition has {mine[1]}, ROS's {known}")
            message = fields(bag.deserialize(raw, connection.msgtype))
            if repr(fields(STORE.deserialize_cdr(raw, connection.msgtype))) != repr(message):
                sys.exit(f"{connection.topic} decodes otherwise by the definition of {connection.msgtype} that others have")
            messages.append((connection.topic, time_ns, message))
    return messages


def by_mcap_ros2(path):
    messages = []
    with path.open("rb") as file:
        for decoded in make_reader(file, decoder_factories=[DecoderFactory()]).iter_decoded_messages():
            messages.append((decoded.channel.topic, decoded.message.log_time, fields(decoded.decoded_message)))
    return messages


def plain(value):
    """Level of a diagnostic: one reader gives a byte, the other a number."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return value[0] if len(value) == 1 and isinstance(value[0], int) else [plain(v) for v in value]
    return round(value, 6) if isinstance(value, float) else value


def main():
    binary, work = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2])
    work.mkdir(parents=True, exist_ok=True)
    engines = []
    for name in ("small-predict", "small-reason"):
        model, engine = work / f"{name}.model", work / f"{name}.engine"
        run(binary, "export", ROOT / "engines" / name, "-o", model)
        run(binary, "build", model, "-o", engine, "--backend", "cpu", "--precision", "f32")
        engines.append(engine)
    whole, halves, split = work / "whole", [work / "first", work / "second"], work / "split"
    write_bag(whole, range(N_FRAMES))
    write_bag(halves[0], range(N_FRAMES // 2))
    write_bag(halves[1], range(N_FRAMES // 2, N_FRAMES))
    split_bag(split, halves)
    (file,) = whole.glob("*.mcap")
    recorded = {}
    for name, bag in {"file": file, "directory": whole, "split": split}.items():
        recorded[name] = work / f"{name}.mcap"
        run(binary, "run", *engines, "--bag", bag, "--record", recorded[name], "--prompt", "How many balls?", "--greedy", "--clip", 1,
            "--forecast-seed", 3, "--ros-args", "-r", f"image:={TOPIC}")
    first, second = by_rosbags(recorded["file"]), by_mcap_ros2(recorded["file"])
    if sorted(map(repr, map(plain_message, first))) != sorted(map(repr, map(plain_message, second))):
        sys.exit("the two readers decode different messages")
    topics = sorted({topic for topic, _, _ in first})
    answers = [m for topic, _, m in first if topic == "/perihelion/answer/json"]
    if len(answers) != N_FRAMES or any(not json.loads(m["data"])["text"] for m in answers):
        sys.exit(f"{len(answers)} answers in the recording, {N_FRAMES} frames were sent")
    for wanted in ("/perihelion/forecast", "/perihelion/forecast/json", "/perihelion/surprise", "/perihelion/surprise/pixels"):
        if wanted not in topics:
            sys.exit(f"{wanted} is not among the recorded topics {topics}")
    look_at_typed(first)
    for name in ("directory", "split"):
        texts = lambda messages: [(t, at, json.loads(m["data"])["text"]) for t, at, m in messages if t == "/perihelion/answer/json"]
        if texts(by_rosbags(recorded[name])) != texts(first):
            sys.exit(f"the bag as a {name} is answered otherwise")
    # Time runs only in a paced bag, and with it diagnostics.
    paced = work / "paced.mcap"
    run(binary, "run", engines[1], "--bag", file, "--paced", 2, "--record", paced, "--prompt", "How many balls?", "--greedy", "--clip", 1,
        "--ros-args", "-r", f"image:={TOPIC}")
    by_mcap_ros2(paced)
    if not any(topic == "/diagnostics" and m["status"] for topic, _, m in by_rosbags(paced)):
        sys.exit("no diagnostics are recorded from a paced bag")
    cut = work / "cut.mcap"
    with file.open("rb") as opened:
        chunk = make_reader(opened).get_summary().chunk_indexes[-1]
    cut.write_bytes(file.read_bytes()[:chunk.chunk_start_offset + chunk.chunk_length + 20])
    done = run(binary, "run", engines[1], "--bag", cut, "--prompt", "How many balls?", "--greedy", "--ros-args", "-r", f"image:={TOPIC}",
               code=1)
    if "interrupted" not in done.stderr:
        sys.exit(f"a bag that was cut short is not named: {done.stderr}")
    print(f"{len(first)} messages on {len(topics)} topics decode alike in rosbags and mcap-ros2-support; a split bag is answered as a whole one")


def look_at_typed(messages):
    """What stands in messages of our own is what stands in the JSON beside them."""
    of = lambda topic: [m for t, _, m in messages if t == f"/perihelion/{topic}"]
    beside = {"answer": {"text": "text", "prompt": "prompt_text", "age_ms": "age_ms", "valid_until": "valid_until", "stamps": "stamps",
                         "asked_because": "asked_because", "timed_by": "timed_by", "stamp_suspect": "stamp_suspect"},
              "forecast": {name: name for name in ("stamps", "horizon_frames", "forecast_frames", "fps", "forecast_until", "truncated",
                                                   "steps", "seed", "latent_only", "age_ms", "valid_until")}}
    for what, names in beside.items():
        typed, told = of(f"{what}/typed"), [json.loads(m["data"]) for m in of(f"{what}/json")]
        if not typed or len(typed) != len(told):
            sys.exit(f"{len(typed)} typed messages of {what}, {len(told)} in JSON")
        for one, other in zip(typed, told):
            wrong = [name for name, member in names.items() if plain(one[name]) != plain(other[member])]
            if wrong or one["header"]["stamp"] != other["stamp"] or one["header"]["frame_id"] != other["frame_id"]:
                sys.exit(f"{what}: {wrong} differ: {one}, JSON {other}")
    latents = [m["latent"] for m in of("surprise/typed") if m["latent"] == m["latent"]]
    if not latents or latents != [m["data"] for m in of("surprise")]:
        sys.exit(f"surprises: typed {latents}, {of('surprise')}")
    if len(of("detections")) != len(of("answer/typed")):
        sys.exit("not every answer has its detections")


def plain_message(message):
    topic, time_ns, value = message
    return topic, time_ns, plain(value)


if __name__ == "__main__":
    main()
