"""Listens to a node as other ROS 2 nodes do, until it leaves, and writes down what it heard.

    python reader.py DOMAIN NODE GID_BYTES SECONDS_MAX OUT.json

NODE is the node's full name, such as /perihelion. OUT gets `answers` (the JSON answers with `heard_ns`), `texts`, `diagnostics`
(level, message and figures of every report), `log` (lines of /rosout), `node` (readers and writers that
ros_discovery_info counts), `prompt` (the parameter, from the node's service), and whether the node `left`. Prints `listening`, and `matched` when the node's writers are known.
"""

import json
import sys
import time

from cyclonedds.domain import DomainParticipant
from cyclonedds.pub import DataWriter
from cyclonedds.qos import Policy, Qos
from cyclonedds.sub import DataReader
from cyclonedds.topic import Topic
from cyclonedds.util import duration
from ros_types import DiagnosticArray, GetParametersReply, GetParametersRequest, Log, Participant16, Participant24, String

domain, node, gid_bytes, seconds_max, out = sys.argv[1:]
participant = DomainParticipant(int(domain))


def reader(name, kind, durability=Policy.Durability.Volatile, depth=1000):
    qos = Qos(Policy.Reliability.Reliable(duration(seconds=1)), durability, Policy.History.KeepLast(depth))
    return DataReader(participant, Topic(participant, name, kind, qos=qos), qos=qos)


latched = Policy.Durability.TransientLocal
nodes = reader("ros_discovery_info", Participant16 if gid_bytes == "16" else Participant24, latched)
answers = reader(f"rt{node}/answer/json", String)
texts = reader(f"rt{node}/answer", String)
diagnostics = reader("rt/diagnostics", DiagnosticArray)
rosout = reader("rt/rosout", Log, latched)
replies = reader(f"rr{node}/get_parametersReply", GetParametersReply)
reliable = Qos(Policy.Reliability.Reliable(duration(seconds=1)), Policy.Durability.Volatile, Policy.History.KeepLast(10))
asking = DataWriter(participant, Topic(participant, f"rq{node}/get_parametersRequest", GetParametersRequest, qos=reliable), qos=reliable)

heard = dict(prompt=None, answers=[], texts=[], diagnostics=[], log=[], node=None, left=False)
print("listening", flush=True)


def samples(reader):
    return [sample for sample in reader.take(1000) if sample.sample_info.valid_data]


give_up = time.monotonic() + float(seconds_max)
last_words, is_matched = None, False
next_request = 0.0
while time.monotonic() < give_up and (last_words is None or time.monotonic() < last_words):
    time.sleep(0.02)
    now = time.time_ns()
    for sample in samples(answers):
        heard["answers"].append(json.loads(sample.data) | dict(heard_ns=now))
    heard["texts"] += [sample.data.rstrip(" ") for sample in samples(texts)]
    for sample in samples(diagnostics):
        for status in sample.status:
            figures = {value.key: value.value.strip() for value in status.values}
            heard["diagnostics"].append(dict(level=status.level, name=status.name, message=status.message, **figures))
    heard["log"] += [f"{sample.level} {sample.name}: {sample.msg}" for sample in samples(rosout)]
    for sample in samples(nodes):
        for found in sample.nodes:
            if f"{found.node_namespace.rstrip('/')}/{found.node_name}" == node:
                heard["node"] = dict(readers=len(found.readers), writers=len(found.writers))
    if heard["prompt"] is None and next_request < time.monotonic() and asking.get_matched_subscriptions():
        asking.write(GetParametersRequest(0x0123456789ABCDEF, 42, ["prompt"]))
        next_request = time.monotonic() + 1
    for sample in samples(replies):
        if (sample.client, sample.number) == (0x0123456789ABCDEF, 42):
            heard["prompt"] = sample.values[0].string_value
    # From here on nothing may be missing: DDS promises a volatile reader what is written after it was matched.
    if not is_matched and all(reader.get_matched_publications() for reader in (answers, texts, diagnostics)):
        is_matched = True
        print("matched", flush=True)
    if heard["node"] and not heard["left"] and not answers.get_matched_publications():
        heard["left"] = True
        # What was sent before it left may still be on its way up.
        last_words = time.monotonic() + 1

with open(out, "w") as file:
    json.dump(heard, file)
