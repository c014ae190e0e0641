"""Recordings of live topics against readers that are not ours: CycloneDDS cameras, `run --record`, and what rosbags and mcap make of the bag.

    recordings.py PERIHELION WORK

WORK holds the engines that `bags.py` built. A camera sends pictures that follow from their number, raw and as JPEG; what is recorded of it
must be those pictures, bear the stamps that were sent, and hold every frame that an answer names. Then a ball is put elsewhere twice
before an engine that forecasts: the frames that are kept are those around its surprises. Last, a file that may not grow further, as on a
full disk: every answer comes, and what was written is still read.
"""
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy
from bags import N_FRAMES, ROOT, TOPIC, by_mcap_ros2, by_rosbags, plain_message

PEERS = ROOT / "tests" / "peers"
DOMAIN = str(40 + os.getpid() % 60)
CYCLONE = """<CycloneDDS><Domain><General><Interfaces><NetworkInterface name="lo" multicast="false"/></Interfaces></General><Discovery>
<ParticipantIndex>auto</ParticipantIndex><MaxAutoParticipantIndex>30</MaxAutoParticipantIndex><Peers><Peer address="127.0.0.1"/></Peers>
</Discovery></Domain></CycloneDDS>"""
ENVIRONMENT = {**os.environ, "ROS_DOMAIN_ID": DOMAIN, "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", "CYCLONEDDS_URI": CYCLONE}
AROUND_S, NEAR_S = 1.0, 0.5
# Between two processes a frame may be lost.
LOST_MAX = 1


def told(messages):
    """What messages say, in an order: one reader gives the constants of a definition too."""
    def without_constants(value):
        if isinstance(value, dict):
            return {k: without_constants(v) for k, v in value.items() if not k.isupper()}
        return [without_constants(v) for v in value] if isinstance(value, list) else value
    return sorted(repr(without_constants(list(plain_message(m)))) for m in messages)


def live(binary, work, name, options, camera):
    """What is recorded while a camera runs; the messages by rosbags, which mcap-ros2-support must read alike."""
    place, log = work / f"{name}.mcap", work / f"{name}.log"
    command = [binary, "run", *options, "--record", place, "--ros-args", "-p", "max_age:=10.0"]
    with log.open("w") as opened:
        node = subprocess.Popen([str(c) for c in command], env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=opened)
    for _ in range(600):
        if "listening to" in log.read_text() or node.poll() is not None:
            break
        time.sleep(0.1)
    subprocess.run([sys.executable, *(str(c) for c in camera)], env=ENVIRONMENT, check=True)
    node.send_signal(signal.SIGINT)
    if node.wait(60) != 0 or not place.exists():
        sys.exit(f"{name}: the node left with {node.returncode}\n{log.read_text()}")
    if "memory of the recorder" not in log.read_text() or "; 0 found no room" not in log.read_text():
        sys.exit(f"{name}: the log lacks the recorder's account\n{log.read_text()}")
    messages = by_rosbags(place)
    if told(messages) != told(by_mcap_ros2(place)):
        sys.exit(f"{name}: the two readers decode different messages")
    return messages


def stamp_ns(message):
    stamp = message["header"]["stamp"]
    return stamp["sec"] * 10**9 + stamp["nanosec"]


def frames(messages, topic):
    return {stamp_ns(m): (at, m) for t, at, m in messages if t == topic}


def answered(messages):
    """The stamps that answers name."""
    answers = [json.loads(m["data"]) for t, _, m in messages if t == "/perihelion/answer/json"]
    return {s["sec"] * 10**9 + s["nanosec"] for answer in answers for s in answer["stamps"]}


def camera_and_answers(binary, work, reason, form, topic):
    sent = work / f"{form}.sent"
    options = [reason, "--clip", 1, "--max-tokens", 2, "--image", TOPIC, "--image-transport", "raw" if form == "raw" else "compressed"]
    messages = live(binary, work, form, options, [PEERS / "small_camera.py", DOMAIN, topic, form, 96, 64, 10, 5, sent])
    stamps = [int(line) for line in sent.read_text().split()]
    kept = frames(messages, topic)
    if not answered(messages) or not answered(messages) <= kept.keys() or not kept.keys() <= set(stamps):
        sys.exit(f"{form}: answers name {sorted(answered(messages))}, the recording has {sorted(kept)}, {stamps} were sent")
    ys, xs = numpy.mgrid[:64, :96]
    for stamp, (at, message) in kept.items():
        i = stamps.index(stamp)
        if form == "raw":
            pixels = numpy.stack([xs + i, ys + 2 * i, numpy.full_like(xs, i >> 2)], -1).astype(numpy.uint8)
            if bytes(message["data"]) != pixels.tobytes() or message["encoding"] != "rgb8":
                sys.exit(f"raw: frame {i} is another picture")
        elif bytes(message["data"])[:2] != b"\xff\xd8" or message["format"] != "rgb8; jpeg compressed bgr8":
            sys.exit(f"jpeg: frame {i} is no JPEG")
        if at < stamp:
            sys.exit(f"{form}: frame {i} was received at {at}, before it was sent")
    for wanted in ("/perihelion/answer", "/perihelion/answer/typed", "/perihelion/detections", "/diagnostics", "/rosout"):
        if not any(t == wanted for t, _, _ in messages):
            sys.exit(f"{form}: {wanted} is not recorded")
    return len(kept), len(stamps)


def surprises(binary, work, predict):
    sent = work / "jumps.sent"
    options = [predict, "--latent-only", "--image", TOPIC, "--record-when", "surprise", "--record-seconds", AROUND_S]
    messages = live(binary, work, "jumps", options, [PEERS / "scene_camera.py", DOMAIN, 64, 64, 8, 24, "--jumps", 2, sent])
    told = json.loads(sent.read_text())
    kept = frames(messages, TOPIC)
    beyond = [stamp_ns(m) for t, _, m in messages if t == "/perihelion/surprise/typed" and 0.5 < m["latent"]]
    near = lambda stamp, others, seconds: any(abs(stamp - other) <= seconds * 1e9 for other in others)
    # A frame is on its way for a while, and seconds count from receipt to receipt.
    strangers = [stamp for stamp in kept if not near(stamp, beyond, AROUND_S + NEAR_S)]
    missing = [stamp for stamp in told["sent"] if near(stamp, beyond, AROUND_S - NEAR_S) and stamp not in kept]
    problem = None
    if strangers or len(missing) > LOST_MAX or len(kept) == len(told["sent"]):
        problem = f"surprises at {beyond}: kept {sorted(kept)}; too many {strangers}, too few {missing}"
    elif not any(near(jump, kept, NEAR_S) for jump in told["jumps"]):
        problem = f"no jump of {told['jumps']} is among {sorted(kept)}"
    return problem, len(kept), len(told["sent"])


def surprises_of_one_course_of_two(binary, work, predict):
    """A jump may come while nothing is forecast, where the machine is busy."""
    for _ in range(2):
        problem, *counts = surprises(binary, work, predict)
        if problem is None:
            return counts
        print(problem)
    sys.exit("neither of two courses was recorded around its jumps")


def full_disk(binary, work, reason):
    place, partial = work / "full.mcap", work / "full.partial.mcap"
    place.unlink(missing_ok=True)
    partial.unlink(missing_ok=True)
    command = [binary, "run", reason, "--bag", work / "whole", "--record", place, "--record-when", "always", "--clip", 1, "--max-tokens", 2,
               "--json", "--ros-args", "-r", f"image:={TOPIC}"]
    limited = ["bash", "-c", 'trap "" XFSZ; ulimit -f 6; exec "$@"', "bash", *command]
    done = subprocess.run([str(c) for c in limited], capture_output=True, text=True)
    if done.returncode != 1 or len(done.stdout.splitlines()) != N_FRAMES or place.exists() or "File too large" not in done.stderr:
        sys.exit(f"a full disk: exit code {done.returncode}, {len(done.stdout.splitlines())} answers\n{done.stderr}")
    first, second = by_rosbags(partial), by_mcap_ros2(partial)
    if not first or told(first) != told(second):
        sys.exit("the two readers decode different messages of what a full disk left")
    return len(first)


def main():
    binary, work = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2])
    reason, predict = (work / f"{name}.engine" for name in ("small-reason", "small-predict"))
    raw = camera_and_answers(binary, work, reason, "raw", TOPIC)
    jpeg = camera_and_answers(binary, work, reason, "jpeg", f"{TOPIC}/compressed")
    around = surprises_of_one_course_of_two(binary, work, predict)
    left = full_disk(binary, work, reason)
    print(f"live recordings decode alike in rosbags and mcap-ros2-support: {raw[0]} of {raw[1]} raw frames, {jpeg[0]} of {jpeg[1]} JPEGs, "
          f"every answered one among them; {around[0]} of {around[1]} frames around two jumps; {left} messages of what a full disk left")


if __name__ == "__main__":
    main()
