"""Asks a node to rank plans, as another ROS 2 node does, and checks what it says.

    python plan_asker.py DOMAIN NODE ACTIONS

NODE is the node's full name, such as /robot/eye; its engine takes so many ACTIONS. Asks three times, each time once the last
result is there: for the expected surprise of plans drawn around zeros, for a critic, and for nonsense.
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
from ros_types import String

domain, node, width = sys.argv[1:]
participant = DomainParticipant(int(domain))
qos = Qos(Policy.Reliability.Reliable(duration(seconds=1)), Policy.Durability.Volatile, Policy.History.KeepLast(10))
asks = DataWriter(participant, Topic(participant, f"rt{node}/plan/request", String, qos=qos), qos=qos)
hears = DataReader(participant, Topic(participant, f"rt{node}/plan/result", String, qos=qos), qos=qos)
give_up = time.monotonic() + 60
while not (asks.get_matched_subscriptions() and hears.get_matched_publications()):
    if give_up < time.monotonic():
        raise SystemExit("plan_asker: no planner came")
    time.sleep(0.1)
time.sleep(1)

around = dict(around=[[0.0] * int(width)], spread=0.3, samples=7, budget_ms=20_000)
surprise = dict(noises=2, score=dict(expected_surprise={}), **around)
critic = dict(question="Is the path of the red ball clear?", frames=4)


def ask(request):
    begin = time.monotonic()
    asks.write(String(request))
    while time.monotonic() < begin + 40:
        time.sleep(0.01)
        for sample in hears.take(10):
            if sample.sample_info.valid_data:
                result = json.loads(sample.data)
                print(f"plans: {result.get('error') or result['score']['name']} after {(time.monotonic() - begin) * 1e3:.0f} ms")
                return result
    raise SystemExit(f"plan_asker: no result of {request}")


for number, name, request in ((1, "expected_surprise", surprise), (2, "critic", dict(score=dict(critic=critic), **around))):
    result = ask(json.dumps(dict(id=number, **request)))
    assert result["id"] == number and result["score"]["name"] == name, result
    assert result["n_evaluated"] == 8 and not result["truncated"], result
    scores = [candidate["score"] for candidate in result["candidates"]]
    assert scores == sorted(scores, reverse=name == "critic") and len(set(scores)) == 8, scores
    assert result["frame_id"] == "peer_camera" and 0 < result["age_ms"] < 40_000, result
    assert len(result["best"]["actions"][0]) == int(width), result
nonsense = ask("nonsense")
assert nonsense["id"] is None and "expected" in nonsense["error"], nonsense
