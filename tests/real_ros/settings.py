"""Reads and sets the parameters of a running node of ours from rclpy, as `ros2 param` does.

    python settings.py PERIHELION REASON_ENGINE WORK_DIR
"""

import json
import sys
import time

from rcl_interfaces.msg import ParameterEvent
from rcl_interfaces.srv import DescribeParameters, SetParametersAtomically
from rclpy.parameter import Parameter
from rclpy.parameter_client import AsyncParameterClient
from std_msgs.msg import String

from camera import Camera
from ours import Ours, Peer

PERIHELION, REASON, WORK = sys.argv[1:4]
NODE = "/robot/eye"
problems = []


def expect(holds, what):
    if not holds:
        problems.append(what)
        print(f"  WRONG: {what}")


def main():
    with Peer("before") as peer:
        camera = Camera(peer)
        node = Ours(PERIHELION, WORK, "settings", (REASON,), ("--prompt", "Which color is the ball?", "--greedy", "--max-age", "30"))
        answers, events = [], []
        peer.node.create_subscription(String, f"{NODE}/answer/json", lambda message: answers.append(json.loads(message.data)), 10)
        peer.node.create_subscription(ParameterEvent, "/parameter_events", lambda event: events.append(event) if event.node == NODE else None, 10)
        client = AsyncParameterClient(peer.node, NODE)
        expect(client.wait_for_services(10), "the services are not found")
        peer.until(lambda: camera.is_seen() and peer.node.count_publishers(f"{NODE}/answer/json"), 10)

        def reply(future):
            expect(peer.until(future.done, 10) is not None, "a service gives no reply")
            return future.result()

        def ask(kind, name, **fields):
            asker = peer.node.create_client(kind, f"{NODE}/{name}")
            asker.wait_for_service(5)
            return reply(asker.call_async(kind.Request(**fields)))

        def answered():
            del answers[:]
            camera.play(1, 30)
            for _ in range(100):
                if peer.until(lambda: answers, 0.1) is not None:
                    return answers[-1]
                camera.play(1, 30)
            raise SystemExit("no answer")

        expect(answered()["text"] not in ("wet", "dry"), "choices before any were set")
        names = ["max_rate", "temperature", "choices", "clip", "top_k"]
        described = {d.name: d for d in ask(DescribeParameters, "describe_parameters", names=names).descriptors}
        expect([described[name].read_only for name in names] == [False, False, False, True, False], f"{described}")
        expect(described["max_rate"].floating_point_range[0].to_value == 86400.0, f"{described['max_rate']}")
        expect(described["top_k"].integer_range[0].from_value == 0, f"{described['top_k']}")

        wanted = [
            Parameter("choices", value=["wet", "dry"]),
            Parameter("max_rate", value=20.0),
            Parameter("temperature", value=0.5),
            Parameter("clip", value=2),
            Parameter("max_age", value=3),
            Parameter("top_p", value=1.5),
        ]
        results = reply(client.set_parameters(wanted)).results
        expect([result.successful for result in results] == [True, True, True, False, False, False], f"{results}")
        reasons = [result.reason for result in results]
        expect("read-only" in reasons[3] and "Wrong parameter type" in reasons[4] and "top_p" in reasons[5], f"{reasons}")
        together = [wire.to_parameter_msg() for wire in (Parameter("prompt", value="Is it?"), Parameter("top_p", value=2.0))]
        expect(not ask(SetParametersAtomically, "set_parameters_atomically", parameters=together).result.successful, "half of a set")
        answer = answered()
        expect(answer["text"] in ("wet", "dry") and answer["prompt_text"] == "Which color is the ball?", f"{answer}")
        # The node may also have been heard telling its parameters at its start, which changes none.
        names_changed = lambda: [parameter.name for event in events for parameter in event.changed_parameters]
        peer.until(lambda: len(names_changed()) >= 3, 3)
        changed = names_changed()
        expect(changed == ["choices", "max_rate", "temperature"], f"events of {changed}")
        expect("parameter max_rate: 0 -> 20" in node.log(), node.log())

        topic = peer.node.create_publisher(String, f"{NODE}/prompt", 10)
        peer.until(lambda: topic.get_subscription_count(), 10)
        topic.publish(String(data="Where is the ball?"))
        value = lambda: reply(client.get_parameters(["prompt"])).values[0].string_value
        begin = time.monotonic()
        while value() != "Where is the ball?" and time.monotonic() < begin + 5:
            pass
        expect(value() == "Where is the ball?", "topic and parameter are two things")
        results = reply(client.set_parameters([Parameter("choices", Parameter.Type.BOOL_ARRAY, [])])).results
        expect(results[0].successful, f"{results}")
        expect(answered()["text"] not in ("", "wet", "dry"), "choices stay")
        expect(node.stop() == 0, "the node does not leave")
    print(f"settings: {len(problems)} problems")
    sys.exit(bool(problems))


main()
