"""Nodes of rclpy ask a node of ours, by its services and by its action, with types that ROS's own generators have made.

    python asks.py PERIHELION REASON_ENGINE PREDICT_ENGINE DRIVEN_ENGINE WORK_DIR

`typed.py` has made these, and PYTHONPATH says where.
"""

import os
import sys
import time

from action_msgs.msg import GoalStatus, GoalStatusArray
from action_msgs.srv import CancelGoal
from perihelion_msgs.action import Ask as AskAction
from perihelion_msgs.msg import Answer, Forecast
from perihelion_msgs.srv import Ask, Imagine
from rclpy.action import ActionClient, get_action_names_and_types
from rclpy.action.graph import get_action_server_names_and_types_by_node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image
from unique_identifier_msgs.msg import UUID

from camera import Camera
from ours import Ours, Peer

PERIHELION, REASON, PREDICT, DRIVEN, WORK = sys.argv[1:6]
NAME, IMAGINE = "/robot/eye/ask", "/robot/eye/imagine"
SUCCEEDED, CANCELED, ABORTED = GoalStatus.STATUS_SUCCEEDED, GoalStatus.STATUS_CANCELED, GoalStatus.STATUS_ABORTED
# Every token is as likely as the others, so that an answer is long.
LONG = ["-p", "greedy:=false", "-p", "temperature:=1000.0", "-p", "max_tokens:=2000"]
STATUS_QOS = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
STARTED = time.monotonic()
problems = []


def expect(holds, what):
    if not holds:
        problems.append(what)
        print(f"  WRONG: {what}")


def ns(stamp):
    return stamp.sec * 10**9 + stamp.nanosec


class Asker:
    """A node with a camera and clients of ours."""

    def __init__(self, peer):
        self.peer, self.camera = peer, Camera(peer)
        self.action, self.service = ActionClient(peer.node, AskAction, NAME), peer.node.create_client(Ask, NAME)
        self.typed = []
        peer.node.create_subscription(Answer, "/robot/eye/answer/typed", self.typed.append, 10)
        found = lambda: self.action.server_is_ready() and self.service.service_is_ready() and self.camera.is_seen()
        expect(peer.until(found, 10) is not None, "the action or the service is not found")
        peer.spin(0.5)

    def wait(self, future, seconds=20.0):
        """Its result; frames are shown meanwhile."""
        until = time.monotonic() + seconds
        while not future.done() and time.monotonic() < until:
            self.camera.send()
            self.peer.until(future.done, 0.02)
        expect(future.done(), "no reply")
        return future.result() if future.done() else None

    def send(self, heard, **goal):
        return self.wait(self.action.send_goal_async(AskAction.Goal(**goal), feedback_callback=lambda message: heard.append(message.feedback)))

    def result(self, handle):
        """Its state and its result."""
        reply = self.wait(handle.get_result_async(), 60)
        return (reply.status, reply.result) if reply else (None, None)


def by_service(asker):
    """One request, one answer, of a frame that was sent; what cannot be answered is said."""
    reply = asker.wait(asker.service.call_async(Ask.Request(prompt="How many balls are there?")))
    answer = reply.answer
    expect(reply.error == "" and reply.finish_reason == "stop" and answer.text, f"the service answers {reply}")
    expect(ns(answer.header.stamp) in asker.camera.sent and answer.asked_because == "service", f"the answer is of {answer.header}")
    expect(answer.prompt == "How many balls are there?" and answer.age_ms < 30_000, f"the answer is {answer}")
    reply = asker.wait(asker.service.call_async(Ask.Request(prompt="Is it there?", choices=["yes", "no"])))
    expect(reply.answer.text in ("yes", "no"), f"of yes and no it chooses {reply}")
    for wrong, why in ((dict(camera="front"), "no such camera"), (dict(prompt="x" * 20_000), "at most 16384 bytes"), (dict(max_age=-1.0), "max_age")):
        reply = asker.wait(asker.service.call_async(Ask.Request(**wrong)))
        expect(why in reply.error and reply.answer == Answer(), f"{why}: {reply.error}")
    expect(asker.typed == [], "what one node asked was told to all")


def by_action(asker, node):
    """Accepted, fed back, succeeded; the pieces make up the answer; what is known of the action is as rclpy has it."""
    names = dict(get_action_names_and_types(asker.peer.node))
    expect(names.get(NAME) == ["perihelion_msgs/action/Ask"], f"actions: {names}")
    servers = get_action_server_names_and_types_by_node(asker.peer.node, "eye", "/robot")
    expect(servers == [(NAME, ["perihelion_msgs/action/Ask"])], f"servers of ours: {servers}")
    infos = asker.peer.node.get_publishers_info_by_topic(f"{NAME}/_action/status")
    expect([info.qos_profile.durability for info in infos] == [DurabilityPolicy.TRANSIENT_LOCAL], f"status: {infos}")
    # Beside the client, which in Kilted forgets a goal with its result: what is fed back is dropped if that is looked at first.
    heard, fed_back = [], []
    asker.peer.node.create_subscription(AskAction.Impl.FeedbackMessage, f"{NAME}/_action/feedback", fed_back.append, 100)
    asker.peer.spin(0.5)
    handle = asker.send(heard, prompt="Describe what you see.", max_age=30.0)
    expect(handle.accepted, "a goal is rejected")
    status, result = asker.result(handle)
    expect((status, result.error, result.answer.asked_because) == (SUCCEEDED, "", "action"), f"{status}: {result}")
    asker.peer.until(lambda: fed_back and fed_back[-1].feedback.text == result.answer.text, 2)
    pieces = [message.feedback.added for message in fed_back]
    expect("".join(pieces) == result.answer.text != "", f"{pieces} are not {result.answer.text!r}")
    known = [feedback.added for feedback in heard]
    expect(known and known == pieces[: len(known)], f"the client was fed {known} of {pieces}")
    expect(ns(result.answer.header.stamp) in asker.camera.sent, f"the answer is of {result.answer.header}")
    again = asker.result(handle)
    expect(again == (status, result), f"a second time the result is {again}")
    return result.answer.text


def canceled(asker):
    """An answer is stopped in the middle, and the next one is right."""
    statuses, whole = [], 0
    asker.peer.node.create_subscription(GoalStatusArray, f"{NAME}/_action/status", statuses.append, STATUS_QOS)
    for i in range(10):
        heard = []
        handle = asker.send(heard, prompt=f"What is in picture {i}?", max_age=30.0)
        waits = asker.send([], prompt="And now?", max_age=30.0)
        until = time.monotonic() + 10
        while not heard and time.monotonic() < until:
            asker.camera.send()
            asker.peer.until(lambda: heard, 0.005)
        reply = asker.wait(handle.cancel_goal_async())
        status, result = asker.result(handle)
        pending, empty = asker.wait(waits.cancel_goal_async()), asker.result(waits)
        if reply.return_code == CancelGoal.Response.ERROR_NONE and pending.return_code == CancelGoal.Response.ERROR_NONE:
            break
        # It had ended a moment before.
        whole += 1
    print(f"  canceled after {len(result.answer.text)} letters, in attempt {i}; {whole} had ended before")
    expect([bytes(info.goal_id.uuid) for info in reply.goals_canceling] == [bytes(handle.goal_id.uuid)], f"canceled: {reply}")
    expect((status, result.finish_reason) == (CANCELED, "canceled") and result.answer.text, f"{status}: {result}")
    expect(result.answer.text.startswith(heard[0].text), f"{heard[0].text!r} is no beginning of {result.answer.text!r}")
    expect(empty[0] == CANCELED, f"the one behind it: {empty}")
    late = asker.wait(handle.cancel_goal_async())
    expect(late.return_code == CancelGoal.Response.ERROR_GOAL_TERMINATED, f"after its end: {late}")
    known = {bytes(one.goal_info.goal_id.uuid): one.status for one in statuses[-1].status_list} if statuses else {}
    expect(known.get(bytes(handle.goal_id.uuid)) == CANCELED, f"the topic says {known}")


def flooded(asker):
    """Of many goals at once a few are accepted, and each of these has its result."""
    sent = []
    for i in range(30):
        sent.append(asker.action.send_goal_async(AskAction.Goal(prompt=f"What is {i}?", max_age=300.0)))
        # A writer of rclpy keeps ten: more at once are lost before they are sent.
        asker.peer.spin(0.02)
    handles = [asker.wait(one) for one in sent]
    accepted = [handle for handle in handles if handle.accepted]
    results = [asker.result(handle) for handle in accepted]
    print(f"  {len(accepted)} of {len(handles)} are accepted")
    expect(4 <= len(accepted) < len(handles) and all(status == SUCCEEDED for status, _ in results), f"{[status for status, _ in results]}")
    prompts = [result.answer.prompt for _, result in results]
    expect(len(set(prompts)) == len(prompts), f"answers to {prompts}")


def unknown(asker):
    """A goal that nobody sent has no result."""
    client = asker.peer.node.create_client(AskAction.Impl.GetResultService, f"{NAME}/_action/get_result")
    asker.peer.until(client.service_is_ready, 10)
    reply = asker.wait(client.call_async(AskAction.Impl.GetResultService.Request(goal_id=UUID(uuid=[7] * 16))))
    expect(reply.status == GoalStatus.STATUS_UNKNOWN and reply.result == AskAction.Result(), f"of a goal that nobody knows: {reply}")


class Wisher:
    """A node with a camera and a client for forecasts."""

    def __init__(self, peer):
        self.peer, self.camera, self.period = peer, Camera(peer), 1 / 30
        self.service = peer.node.create_client(Imagine, IMAGINE)
        self.shown = {}
        peer.node.create_subscription(Image, "/robot/eye/forecast", self.keep, 100)
        found = lambda: self.service.service_is_ready() and self.camera.is_seen()
        expect(peer.until(found, 10) is not None, "the service is not found")
        peer.spin(0.5)
        self.next = time.monotonic()

    def keep(self, image):
        self.shown[ns(image.header.stamp), image.header.frame_id] = bytes(image.data)

    def ask(self, seconds=20.0, **request):
        """The reply; frames are shown meanwhile."""
        future, until = self.service.call_async(Imagine.Request(**request)), time.monotonic() + seconds
        while not future.done() and time.monotonic() < until:
            self.camera.send()
            self.next = max(self.next + self.period, time.monotonic() - self.period)
            self.peer.spin(max(0.0, self.next - time.monotonic()))
        expect(future.done(), f"no reply to {request}")
        return future.result() if future.done() else Imagine.Response()


def imagined(engine, name, rate_hz, n_frames, size, actions):
    """A forecast of the newest clip with its frames; what is asked for another time is another; what cannot be is said."""
    with Peer(f"wisher_of_{name}") as peer:
        node = Ours(PERIHELION, WORK, f"imagines_{name}", (engine,), ("--max-age", "30"), ("-p", "max_rate:=0.5"))
        wisher = Wisher(peer)
        first = wisher.ask(want_frames=True, max_age=20.0)
        newest = ns(first.forecast.header.stamp)
        expect(first.error == "" and newest in wisher.camera.sent, f"{first.error!r}: a forecast of {first.forecast.header}")
        expect(first.forecast.forecast_frames == len(first.frames) == n_frames, f"{len(first.frames)} frames")
        stamps = [ns(frame.header.stamp) for frame in first.frames]
        expect(stamps == [newest + round(i * 10**9 / rate_hz) for i in range(1, n_frames + 1)], f"stamps of the future: {stamps} after {newest}")
        expect(all((frame.width, frame.height, frame.encoding, len(frame.data)) == (*size, "rgb8", 3 * size[0] * size[1]) for frame in first.frames), "sizes")
        expect(ns(first.forecast.valid_until) - newest == 20 * 10**9, f"valid until {first.forecast.valid_until}")
        other = wisher.ask(want_frames=True, seed=12345)
        expect(other.forecast.seed == 12345 != first.forecast.seed and other.frames[0].data != first.frames[0].data, "another noise makes the same frames")
        unseen = wisher.ask()
        expect(unseen.error == "" and len(unseen.frames) == 0 and unseen.forecast.latent_only, f"without frames: {unseen.forecast}")
        if actions:
            driven = wisher.ask(want_frames=True, actions=actions, action_width=2)
            expect(driven.forecast.actions == "request of 1 steps" and driven.error == "", f"{driven.error!r}: {driven.forecast.actions!r}")
            wrong = (dict(actions=[1.0] * 3), "whole rows of 2"), (dict(actions=[float("nan"), 0.0]), "finite"), (dict(action_width=5), "expected 2")
        else:
            wrong = ((dict(actions=[1.0]), "takes none"),)
        for request, why in (*wrong, (dict(camera="rear"), "not forecast"), (dict(max_age=-1.0), "max_age")):
            reply = wisher.ask(**request)
            expect(why in reply.error and reply.forecast == Forecast() and len(reply.frames) == 0, f"{why}: {reply.error}")
        heard = {stamp for stamp, _ in wisher.shown}
        expect(heard, "the standing forecast does not go on")
        bytes_of = sum(len(frame.data) for frame in first.frames)
        made = [wisher.ask(want_frames=True) for _ in range(10)]
        expect(all(reply.error == "" and len(reply.frames) == n_frames for reply in made), f"{[reply.error for reply in made]}")
        print(f"  {name}: replies of {bytes_of} bytes of frames")
        expect(node.process.poll() is None, "the node has ended")
        node.stop()
        account = node.account("forecasts")
        expect(account["received"] == sum(account[key] for key in ("answered", "clip_members", "dropped", "in_flight")), f"{account}")


def managed():
    """A managed node that is not active aborts goals, with the reason."""
    with Peer("manager") as peer:
        node = Ours(PERIHELION, WORK, "asks_managed", (REASON,), ("--lifecycle",), begins="managed: unconfigured")
        action = ActionClient(peer.node, AskAction, NAME)
        expect(peer.until(action.server_is_ready, 10) is not None, "the action is not found")
        peer.spin(0.5)
        sent = action.send_goal_async(AskAction.Goal(prompt="Who is there?"))
        expect(peer.until(sent.done, 10) is not None and sent.result().accepted, "not accepted")
        asked = sent.result().get_result_async()
        expect(peer.until(asked.done, 10) is not None, "no result")
        reply = asked.result()
        expect((reply.status, reply.result.error) == (ABORTED, "the node is not active"), f"{reply}")
        service = peer.node.create_client(Imagine, IMAGINE)
        expect(peer.until(service.service_is_ready, 10) is not None, "the service is not found")
        peer.spin(0.5)
        wanted = service.call_async(Imagine.Request())
        expect(peer.until(wanted.done, 10) is not None and wanted.result().error == "the node is not active", "a forecast of a node at rest")
        node.stop()


def main():
    with Peer("asker") as peer:
        node = Ours(PERIHELION, WORK, "asks", (REASON,), ("--ask-when", "topic", "--max-age", "30"))
        asker = Asker(peer)
        by_service(asker)
        by_action(asker, node)
        unknown(asker)
        node.stop()
    with Peer("canceler") as peer:
        node = Ours(PERIHELION, WORK, "asks_long", (REASON,), ("--ask-when", "topic", "--max-age", "30"), LONG)
        asker = Asker(peer)
        canceled(asker)
        flooded(asker)
        expect(node.process.poll() is None, "the node has ended")
        node.stop()
    imagined(PREDICT, "small", 8.0, 8, (64, 64), [])
    imagined(DRIVEN, "driven", 4.0, 8, (16, 32), [0.5, -1.0])
    managed()
    print(f"asks ({os.environ['ROS_DISTRO']}): {len(problems)} problems after {time.monotonic() - STARTED:.0f} s")
    sys.exit(bool(problems))


main()
