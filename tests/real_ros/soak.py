"""A node with everything on, for as long as is wanted: does anything grow, and is anything lost?

    python soak.py PERIHELION REASON_ENGINE PREDICT_ENGINE WORK_DIR MINUTES READER RESULT.json

A managed node of two engines and two cameras answers, forecasts, records, shows its live page and tells of the cameras' lenses. Meanwhile somebody looks at the page,
changes parameters, asks by the service and the action (and takes some of it back), and has forecasts made. Memory, descriptors and
threads of both of its processes are looked at all the time. At the end the accounts must close, memory must be level, every answer
must have been heard, and the recording must be read by READER, a Python that has the package `mcap`. A node of an older version offers
no `~/imagine` and tells of no lens; the result says what was on.
"""

import collections
import json
import os
import pathlib
import platform
import re
import subprocess
import sys
import threading
import time
import urllib.request

import numpy as np
from action_msgs.msg import GoalStatus
from perihelion_msgs.action import Ask as AskAction
from perihelion_msgs.srv import Ask, Imagine
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.action import ActionClient
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import String

from manager import Manager
from ours import Ours, Peer, children, figures

PERIHELION, REASON, PREDICT, WORK, MINUTES, READER, RESULT = sys.argv[1:8]
NODE = "/robot/eye"
SECONDS = 60 * float(MINUTES)
# What is claimed once has been claimed by then: the recorder's buffer, rings of the live page, what DDS libraries keep.
WARM_SHARE, WARM_S_MIN = 0.25, 120.0
# Of private memory, by the line that fits it best from the warm-up to the end.
RISE_KIB_MAX = 1024
SAMPLE_S = 5.0
CAMERA_HZ = 15.0
PROMPTS = ("How many balls are there?", "Is the path clear?", "What colours are the balls?")
problems = []


def expect(holds, what):
    if not holds:
        problems.append(what)
        print(f"  WRONG: {what}")


class Scene:
    """A ball that goes round, as two cameras see it."""

    def __init__(self, peer):
        of = lambda kind, topic: {name: peer.node.create_publisher(kind, f"/{name}/{topic}", qos_profile_sensor_data) for name in ("front", "rear")}
        self.publishers, self.lenses = of(Image, "image_raw"), of(CameraInfo, "camera_info")
        self.rows, self.columns = np.mgrid[:64, :64]
        self.n_sent = 0

    def are_seen(self):
        return all(0 < publisher.get_subscription_count() for publisher in self.publishers.values())

    def send(self):
        for i, (name, publisher) in enumerate(self.publishers.items()):
            angle = self.n_sent / CAMERA_HZ + i
            far = np.hypot(self.columns - 32 - 18 * np.cos(angle), self.rows - 32 - 18 * np.sin(angle))
            pixels = np.where((far < 7.5)[..., None], np.uint8([230, 60, 50]), np.uint8([40, 42, 38]))
            image = Image(width=64, height=64, step=192, encoding="rgb8")
            image.header.frame_id, now = name, time.time_ns()
            image.header.stamp.sec, image.header.stamp.nanosec = now // 10**9, now % 10**9
            image.data = pixels.tobytes()
            publisher.publish(serialize_message(image))
            lens = CameraInfo(header=image.header, width=64, height=64, distortion_model="plumb_bob", d=[0.0] * 5)
            lens.k[0] = lens.k[4] = lens.p[0] = lens.p[5] = 60.0
            lens.k[2] = lens.k[5] = lens.p[2] = lens.p[6] = 32.0
            lens.k[8] = lens.p[10] = 1.0
            self.lenses[name].publish(lens)
        self.n_sent += 1


class Viewer(threading.Thread):
    """Looks at the live page as a browser does."""

    def __init__(self, address):
        super().__init__(daemon=True)
        self.address, self.is_over, self.counts = address, threading.Event(), collections.Counter()
        self.start()

    def run(self):
        seen = {}
        while not self.is_over.wait(0.5):
            for path in ("state.json", "frame.jpg", "answer.jpg", "forecast.jpg"):
                after = f"?after={seen[path]}" if path in seen else ""
                try:
                    with urllib.request.urlopen(f"http://{self.address}/{path}{after}", timeout=10) as reply:
                        body = reply.read()
                        seen[path] = reply.headers.get("X-Number", seen.get(path)) or "0"
                        self.counts[f"{path} {reply.status}"] += 1
                        if path == "state.json":
                            json.loads(body)
                            seen.pop(path)
                        elif reply.status == 200 and not body.startswith(b"\xff\xd8"):
                            self.counts[f"{path} is no JPEG"] += 1
                except urllib.error.HTTPError as error:
                    # Before the first of them there is none.
                    is_early = error.code == 404 and not self.counts[f"{path} 200"]
                    self.counts[f"{path} {204 if is_early else error.code}"] += 1
                except OSError as error:
                    self.counts[f"{path} {type(error).__name__}"] += 1


class Others:
    """What other nodes do, each in its own rhythm, without waiting for one another."""

    def __init__(self, peer):
        self.peer, self.counts, self.pending, self.errors = peer, collections.Counter(), [], collections.Counter()
        self.ask = peer.node.create_client(Ask, f"{NODE}/ask")
        self.imagine = peer.node.create_client(Imagine, f"{NODE}/imagine")
        self.set = peer.node.create_client(SetParameters, f"{NODE}/set_parameters")
        self.action = ActionClient(peer.node, AskAction, f"{NODE}/ask")
        self.n = 0

    def are_found(self):
        return all(client.service_is_ready() for client in (self.ask, self.set)) and self.action.server_is_ready()

    def wait(self, what, future, then):
        self.counts[f"{what} sent"] += 1
        self.pending.append((what, future, then, time.monotonic() + 60))

    def look(self):
        """Takes what has come."""
        for entry in self.pending[:]:
            what, future, then, until = entry
            if future.done():
                self.pending.remove(entry)
                self.counts[f"{what} heard"] += 1
                then(future.result())
            elif until < time.monotonic():
                self.pending.remove(entry)
                self.counts[f"{what} lost"] += 1

    def note(self, what, error):
        if error:
            self.errors[f"{what}: {error}"] += 1

    def by_service(self):
        self.n += 1
        request = Ask.Request(prompt=PROMPTS[self.n % 3], max_age=20.0, camera=("", "front", "rear")[self.n % 3])
        self.wait("ask", self.ask.call_async(request), lambda reply: self.note("ask", reply.error))

    def by_action(self):
        self.n += 1
        is_canceled = self.n % 2 == 0

        def ended(reply):
            known = (GoalStatus.STATUS_SUCCEEDED, GoalStatus.STATUS_CANCELED)
            self.note("goal", "" if reply.status in known else f"status {reply.status}: {reply.result.error}")

        def accepted(handle):
            if not handle.accepted:
                return self.note("goal", "rejected")
            self.wait("result", handle.get_result_async(), ended)
            if is_canceled:
                self.wait("cancel", handle.cancel_goal_async(), lambda reply: None)

        goal = AskAction.Goal(prompt=PROMPTS[self.n % 3], max_age=20.0)
        self.wait("goal", self.action.send_goal_async(goal, feedback_callback=lambda _: self.counts.update(["feedback"])), accepted)

    def by_wish(self):
        self.n += 1
        request = Imagine.Request(seed=self.n, want_frames=self.n % 2 == 0, max_age=20.0)
        self.wait("imagine", self.imagine.call_async(request), lambda reply: self.note("imagine", reply.error))

    def by_parameter(self):
        self.n += 1
        value = (
            ("prompt", ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=PROMPTS[self.n % 3])),
            ("max_age", ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=8.0 + self.n % 3)),
            ("max_rate", ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=2.0 + self.n % 2)),
        )[self.n % 3]
        request = SetParameters.Request(parameters=[Parameter(name=value[0], value=value[1])])
        self.wait("parameter", self.set.call_async(request), lambda reply: self.note("parameter", reply.results[0].reason))


def private_kib(pid):
    """Memory that is this process's alone."""
    with open(f"/proc/{pid}/smaps_rollup") as file:
        lines = dict(line.split(":", 1) for line in file if ":" in line and "kB" in line)
    return sum(int(lines[f"Private_{kind}"].split()[0]) for kind in ("Clean", "Dirty", "Hugetlb"))


def fit(times_s, values):
    """Of the line that fits best: what it rises by from the first time to the last, and the error of that."""
    times, values = np.array(times_s), np.array(values, float)
    (slope, at), span = np.polyfit(times, values, 1), times[-1] - times[0]
    rest = values - (slope * times + at)
    error = np.sqrt(rest @ rest / max(1, len(times) - 2) / ((times - times.mean()) ** 2).sum())
    return float(slope * span), float(error * span)


def level(samples, process):
    """What is told of a process, of which nothing may grow."""
    begin = max(WARM_SHARE * SECONDS, min(WARM_S_MIN, SECONDS / 2))
    warm = [sample for sample in samples if begin <= sample["s"]]
    of = lambda what: [sample[process][what] for sample in warm]
    rise, error = fit([sample["s"] for sample in warm], of("private_kib"))
    hours = (warm[-1]["s"] - warm[0]["s"]) / 3600
    told = dict(private_kib=[of("private_kib")[0], of("private_kib")[-1]], private_kib_max=max(of("private_kib")), rise_kib=round(rise, 1),
                rise_kib_error=round(error, 1), rise_kib_an_hour=round(rise / hours, 1), from_s=round(begin))
    expect(rise <= RISE_KIB_MAX, f"the {process}'s process grew by {rise:.0f} KiB in {3600 * hours:.0f} s")
    quarter = max(1, len(warm) // 4)
    for what in ("threads", "descriptors"):
        # Of the page's connections some are there at times: what is left behind raises the least.
        first, last = (min(part) for part in (of(what)[:quarter], of(what)[-quarter:]))
        told[what] = dict(first=first, last=last, max=max(of(what)))
        expect(last <= first, f"the {process}'s process had {first} {what}, and then {last}")
    return told


def run_on(peer, node, scene, others, samples):
    """Everything at its time, until it is over."""
    began = time.monotonic()
    rhythm = [(5.0, others.by_service), (11.0, others.by_action), (17.0, others.by_parameter)]
    if others.imagine.service_is_ready():
        rhythm.append((9.0, others.by_wish))
    due = {act: began + period for period, act in rhythm}
    next_frame, next_sample = began, began
    network, = children(node.process.pid)
    while time.monotonic() < began + SECONDS and node.process.poll() is None:
        now = time.monotonic()
        if next_frame <= now:
            scene.send()
            next_frame = max(next_frame + 1 / CAMERA_HZ, now)
        for period, act in rhythm:
            if due[act] <= now:
                act()
                due[act] = now + period
        if next_sample <= now:
            sample = dict(s=round(now - began, 1))
            for what, pid in (("engine", node.process.pid), ("network", network)):
                threads, descriptors, _ = figures(pid)
                sample[what] = dict(private_kib=private_kib(pid), threads=threads, descriptors=descriptors)
            samples.append(sample)
            next_sample = now + SAMPLE_S
        others.look()
        peer.executor.spin_once(timeout_sec=max(0.0, min(next_frame - time.monotonic(), 0.02)))
    until = time.monotonic() + 60
    while others.pending and time.monotonic() < until:
        scene.send()
        others.look()
        peer.spin(1 / CAMERA_HZ)
    expect(network in children(node.process.pid), "the network's process is another one")


def accounts(log):
    """The last account of each engine and camera."""
    line = re.compile(r"(answers|forecasts)( about \w+)?: received (\d+) = answered (\d+) \+ clip members (\d+) \+ dropped (\d+).*in flight (\d+); lost (\d+)")
    names = ("received", "answered", "clip_members", "dropped", "in_flight", "lost")
    return {match[1] + (match[2] or ""): dict(zip(names, map(int, match.groups()[2:]))) for match in line.finditer(log)}


COUNTED = """
import collections, json, sys
from mcap.reader import make_reader
counts = collections.Counter()
with open(sys.argv[1], "rb") as file:
    for schema, channel, message in make_reader(file, validate_crcs=True).iter_messages():
        counts[channel.topic] += 1
print(json.dumps(counts))
"""


def main():
    bag = pathlib.Path(WORK) / "soak.mcap"
    for old in pathlib.Path(WORK).glob("soak*.mcap"):
        old.unlink()
    samples, heard, pictures, lenses = [], [], [], []
    with Peer("soak") as peer:
        options = ["--lifecycle", "--json", "--image", "front=/front/image_raw", "--image", "rear=/rear/image_raw", "--max-age", "10", "--max-rate", "3",
                   "--live", "127.0.0.1:0", "--record", str(bag), "--record-buffer", "32MiB"]
        node = Ours(PERIHELION, WORK, "soak", (REASON, PREDICT), options, begins="managed: unconfigured")
        manager, scene, others = Manager(peer, NODE, expect), Scene(peer), Others(peer)
        peer.node.create_subscription(String, f"{NODE}/answer/json", lambda message: heard.append(message.data), QoSProfile(depth=1000))
        for kind, topic, stamps in ((Image, "forecast", pictures), (CameraInfo, "forecast/camera_info", lenses)):
            hear = lambda message, stamps=stamps: stamps.append((message.header.stamp.sec, message.header.stamp.nanosec))
            peer.node.create_subscription(kind, f"{NODE}/{topic}", hear, QoSProfile(depth=1000))
        expect(manager.change(1), "it is not configured")
        expect(peer.until(others.are_found, 20) is not None, "services are not found")
        expect(manager.change(3), "it is not activated")
        expect(peer.until(scene.are_seen, 20) is not None, "the cameras are not seen")
        expect(peer.until(lambda: peer.node.count_publishers(f"{NODE}/answer/json"), 20) is not None, "answers are not found")
        peer.spin(1)
        viewer = Viewer(re.search(r"http://([0-9.]+:\d+)", node.log())[1])
        run_on(peer, node, scene, others, samples)
        viewer.is_over.set()
        viewer.join(30)
        expect(node.process.poll() is None, f"the node has ended with {node.process.poll()}")
        expect(manager.change(4), "it is not deactivated")
        peer.spin(2)
        code = node.stop()
        expect(code == 0, f"the node left with {code}")
    check(node, bag, samples, (heard, pictures, lenses), others, viewer, scene)
    print(f"soak: {len(problems)} problems")
    sys.exit(bool(problems))


def check(node, bag, samples, ears, others, viewer, scene):
    """What must hold at the end, and the result."""
    heard, pictures, lenses = ears
    told = {process: level(samples, process) for process in ("engine", "network")}
    found = accounts(node.log())
    expect(set(found) == {"answers about front", "answers about rear", "forecasts about front"}, f"accounts of {sorted(found)}")
    for name, account in found.items():
        total = sum(account[key] for key in ("answered", "clip_members", "dropped", "in_flight"))
        expect(account["received"] == total and account["in_flight"] == 0, f"{name} does not close: {account}")
        expect(scene.n_sent * 0.98 <= account["received"] + account["lost"] <= scene.n_sent, f"{name}: {scene.n_sent} sent, {account}")
    with open(node.out_path) as out:
        said = [json.loads(line) for line in out]
    answers = [one for one in said if "prompt_text" in one]
    forecasts = [one for one in said if "horizon_frames" in one]
    expect(0 < len(answers) and [json.loads(text) for text in heard] == answers, f"{len(answers)} answers, {len(heard)} heard")
    read = subprocess.run([READER, "-c", COUNTED, str(bag)], capture_output=True, text=True)
    expect(read.returncode == 0, f"the recording: {read.stderr[-500:]}")
    recorded = json.loads(read.stdout) if read.returncode == 0 else {}
    tells_of_lenses = f"{NODE}/forecast/camera_info" in recorded
    # It is heard from the first forecast on: the first few have none.
    have_lenses = set(lenses) <= set(pictures) and len(pictures) - len(lenses) <= 24
    expect(have_lenses or not tells_of_lenses, f"{len(pictures)} pictures of forecasts, {len(lenses)} with their lens")
    lost = {what: n for what, n in others.counts.items() if what.endswith("lost")}
    expect(not lost and not others.pending, f"no reply: {lost}, {len(others.pending)} are waited for")
    expect(not others.errors, f"others were told {dict(others.errors)}")
    bad = {what: n for what, n in viewer.counts.items() if what.split()[-1] not in ("200", "204")}
    expect(not bad and 0 < viewer.counts["frame.jpg 200"], f"the page: {dict(viewer.counts)}")
    for topic, n in ((f"{NODE}/answer/json", len(answers)), (f"{NODE}/forecast/json", len(forecasts))):
        expect(recorded.get(topic) == n, f"{topic}: {n} said, {recorded.get(topic)} recorded")
    expect(0 < recorded.get("/front/image_raw", 0) and 0 < recorded.get("/rear/image_raw", 0), f"recorded: {recorded}")
    every = max(1, len(samples) // 40)
    version = subprocess.run([PERIHELION, "--version"], capture_output=True, text=True).stdout.strip()
    result = dict(
        command="tests/real_ros/run.sh DISTRO PYTHON PERIHELION WORK soak MINUTES READER RESULT", minutes=float(MINUTES), version=version,
        profile=os.environ.get("PERIHELION_PROFILE", "release"), machine=machine(), ros=os.environ["ROS_DISTRO"], problems=problems,
        on=dict(imagine=0 < others.counts["imagine sent"], camera_info=tells_of_lenses),
        rise_kib_max=RISE_KIB_MAX, processes=told, accounts=found, sent_by_each_camera=scene.n_sent,
        said=dict(answers=len(answers), forecasts=len(forecasts), surprises=sum("surprise" in one for one in said)),
        heard=dict(answers=len(heard), pictures=len(pictures), lenses=len(lenses)),
        others=dict(sorted(others.counts.items())), page=dict(sorted(viewer.counts.items())), recorded=dict(sorted(recorded.items())),
        recording_bytes=bag.stat().st_size if bag.exists() else 0, samples=samples[::every])
    pathlib.Path(RESULT).write_text(json.dumps(result, indent=1) + "\n")
    for process, figures_of in told.items():
        print(f"  the {process}'s process: {figures_of}")
    print(f"  {len(answers)} answers, {len(forecasts)} forecasts, others: {dict(others.counts)}")


def machine():
    with open("/proc/cpuinfo") as file:
        models = {line.split(":", 1)[1].strip() for line in file if line.startswith("model name")}
    return dict(cpu=sorted(models), cores=os.cpu_count(), load=os.getloadavg(), kernel=platform.release())


main()
