"""Listens to a node that forecasts as other ROS 2 nodes do, until it leaves, and writes down what it heard.

    python forecast_reader.py DOMAIN NODE SECONDS_MAX OUT.json

NODE is the node's full name, such as /robot/eye. OUT gets `frames` (stamp, size, frame_id, how bright), `reports` (the JSON
reports with `heard_ns`), `surprise` and `pixels` (each value with `heard_ns`), `diagnostics` (level, message and figures of every
report of forecasts), and whether the node `left`.
"""

import json
import sys
import time

from cyclonedds.domain import DomainParticipant
from cyclonedds.qos import Policy, Qos
from cyclonedds.sub import DataReader
from cyclonedds.topic import Topic
from cyclonedds.util import duration
from ros_types import DiagnosticArray, Float32, Image, String

domain, node, seconds_max, out = sys.argv[1:]
participant = DomainParticipant(int(domain))


def reader(name, kind):
    qos = Qos(Policy.Reliability.Reliable(duration(seconds=1)), Policy.Durability.Volatile, Policy.History.KeepLast(1000))
    return DataReader(participant, Topic(participant, name, kind, qos=qos), qos=qos)


frames = reader(f"rt{node}/forecast", Image)
reports = reader(f"rt{node}/forecast/json", String)
surprise = reader(f"rt{node}/surprise", Float32)
pixels = reader(f"rt{node}/surprise/pixels", Float32)
diagnostics = reader("rt/diagnostics", DiagnosticArray)
heard = dict(frames=[], reports=[], surprise=[], pixels=[], diagnostics=[], left=False)
print("listening", flush=True)


def samples(reader):
    return [sample for sample in reader.take(1000) if sample.sample_info.valid_data]


give_up = time.monotonic() + float(seconds_max)
readers = [frames, reports, surprise, pixels, diagnostics]
last_words, has_come, is_matched = None, False, False
while time.monotonic() < give_up and (last_words is None or time.monotonic() < last_words):
    time.sleep(0.02)
    now = time.time_ns()
    for sample in samples(frames):
        stamp = sample.header.stamp.sec * 10**9 + sample.header.stamp.nanosec
        data = bytes(sample.data)[: sample.step * sample.height]
        shape = [sample.width, sample.height, sample.encoding, sample.header.frame_id]
        heard["frames"].append(dict(stamp=stamp, shape=shape, mean=sum(data) / max(1, len(data))))
    heard["reports"] += [json.loads(sample.data) | dict(heard_ns=now) for sample in samples(reports)]
    heard["surprise"] += [dict(value=sample.data, heard_ns=now) for sample in samples(surprise)]
    heard["pixels"] += [dict(value=sample.data, heard_ns=now) for sample in samples(pixels)]
    for sample in samples(diagnostics):
        for status in sample.status:
            figures = {value.key: value.value.strip() for value in status.values}
            heard["diagnostics"].append(dict(level=status.level, name=status.name, message=status.message, **figures))
    # From here on nothing may be missing: DDS promises a volatile reader what is written after it was matched.
    if not is_matched and all(reader.get_matched_publications() for reader in readers):
        is_matched = True
        print("matched", flush=True)
    has_come |= bool(reports.get_matched_publications())
    if has_come and not heard["left"] and not reports.get_matched_publications():
        heard["left"] = True
        # What was sent before it left may still be on its way up.
        last_words = time.monotonic() + 1

with open(out, "w") as file:
    json.dump(heard, file)
