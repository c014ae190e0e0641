"""A lifecycle manager of rclpy takes a managed node of ours up and down, beside a managed node of rclpy's own.

    python lifecycle.py PERIHELION REASON_ENGINE WORK_DIR
"""

import os
import shutil
import sys

from rclpy.lifecycle import LifecycleNode
from std_msgs.msg import String

from camera import Camera
from manager import Manager
from ours import Ours, Peer, children, figures

PERIHELION, REASON, WORK = sys.argv[1:4]
N_ROUNDS = 50
# After so many rounds whatever is claimed once has been claimed.
N_WARM = 10
GROWTH_KIB_MAX = 4096
UP = (("configure", 1, "inactive"), ("activate", 3, "active"))
DOWN = (("deactivate", 4, "inactive"), ("cleanup", 2, "unconfigured"))
problems = []


def expect(holds, what):
    if not holds:
        problems.append(what)
        print(f"  WRONG: {what}")


def beside_theirs(peer, ours):
    """Everything that is told of states, and the events of a way through them, is as rcl_lifecycle has it."""
    node = LifecycleNode("theirs", context=peer.context)
    peer.executor.add_node(node)
    theirs = Manager(peer, "/theirs", expect)
    both = lambda ask: [ask(manager) for manager in (ours, theirs)]
    same = lambda what, pair: expect(pair[0] == pair[1], f"{what}: {pair[0]}, of rclpy {pair[1]}")
    same("all states", both(Manager.states))
    same("the graph", both(lambda one: one.transitions("get_transition_graph")))
    publishers = lambda one: [(info.topic_type, info.qos_profile.reliability, info.qos_profile.durability)
                              for info in peer.node.get_publishers_info_by_topic(f"{one.name}/transition_event")]
    expect(peer.until(lambda: all(both(publishers)), 10) is not None, "no topic of transitions")
    same("the topic of transitions", both(publishers))
    services = lambda one: sorted((path.removeprefix(one.name), kinds) for path, kinds in peer.node.get_service_names_and_types()
                                  if path.startswith(one.name + "/") and "lifecycle_msgs" in kinds[0])
    expect(peer.until(lambda: len(services(ours)) == len(services(theirs)) == 5, 10) is not None, f"services {both(services)}")
    same("services", both(services))
    peer.spin(0.5)
    for label in ("configure", "activate", "deactivate", "cleanup", "configure", "cleanup"):
        same(label, both(lambda one: (one.change(label=label), one.state(), one.transitions(), one.heard(2))))
    expect(theirs.change(5) and theirs.state() == (4, "finalized"), "of rclpy")
    peer.executor.remove_node(node)
    node.destroy_node()


def refusals(ours):
    """What cannot be done from here is refused, logged, and changes nothing."""
    for number, label in ((3, ""), (4, ""), (99, ""), (0, ""), (10, ""), (0, "activate"), (1, "nonsense"), (0, "transition_success")):
        expect(not ours.change(number, label), f"{number} {label!r} was taken from unconfigured")
        expect(ours.state() == (1, "unconfigured"), f"{number} {label!r} leads to {ours.state()}")


def a_bad_engine(ours, node, engine):
    """An engine that answers wrongly, or is not there, is refused; the node lives."""
    size = os.path.getsize(engine)
    with open(engine, "r+b") as file:
        file.seek(size // 4)
        file.write(os.urandom(size // 2))
    expect(not ours.change(1) and ours.state() == (1, "unconfigured"), f"a damaged engine: {ours.state()}")
    expect("the engine does not load" in node.log(), "no reason in the log")
    os.remove(engine)
    expect(not ours.change(1) and node.process.poll() is None, "an engine that is not there")
    shutil.copy(REASON, engine)


def up_and_down(peer, ours, node):
    """Round after round: every state as it should be, answers only while active, nothing that grows."""
    camera, answers = Camera(peer), []
    peer.node.create_subscription(String, f"{ours.name}/answer", answers.append, 10)
    network, = children(node.process.pid)
    measured, held = {0: [figures(pid) for pid in (node.process.pid, network)]}, 0

    def answered(n_frames):
        del answers[:]
        camera.play(n_frames, 50)
        return len(answers)

    for i in range(N_ROUNDS):
        for label, number, goal in UP:
            expect(ours.change(number) and ours.state()[1] == goal, f"round {i}: {label} leads to {ours.state()}")
            if goal == "inactive":
                expect(answered(3) == 0, f"round {i}: answers of an inactive node")
        expect(peer.until(lambda: 0 < answered(1), 10) is not None, f"round {i}: no answer")
        held = max(held, figures(node.process.pid)[2])
        for label, number, goal in DOWN:
            expect(ours.change(number) and ours.state()[1] == goal, f"round {i}: {label} leads to {ours.state()}")
            peer.spin(0.05)
            expect(answered(3) == 0, f"round {i}: answers of a node that is {goal}")
        if i + 1 in (N_WARM, N_ROUNDS):
            measured[i + 1] = [figures(pid) for pid in (node.process.pid, network)]
    for what, first, warm, last in zip(("engine", "network"), measured[0], measured[N_WARM], measured[N_ROUNDS]):
        print(f"  the {what}'s process before: {first}, after {N_WARM} rounds: {warm}, after {N_ROUNDS}: {last} (threads, descriptors, KiB)")
        expect(last[:2] == warm[:2], f"the {what}'s process has {last[:2]} threads and descriptors, before {warm[:2]}")
        expect(last[2] <= warm[2] + GROWTH_KIB_MAX, f"the {what}'s process grew from {warm[2]} to {last[2]} KiB")
    print(f"  active it held {held} KiB")
    expect(measured[N_ROUNDS][0][2] < held - 4096, f"active {held} KiB, cleaned up {measured[N_ROUNDS][0][2]} KiB")
    n_subscribers = camera.publisher.get_subscription_count()
    expect(n_subscribers <= 2, f"{n_subscribers} subscribers of the camera")
    return answered


def after_a_death(peer, ours, node, answered):
    """When the network's process is killed, the node comes back in the state that it was in."""
    for wanted in ("inactive", "active"):
        if wanted == "active":
            expect(ours.change(3), "activate")
        network, = children(node.process.pid)
        os.kill(network, 9)
        expect(peer.until(lambda: node.process.poll() is None and children(node.process.pid) not in ([], [network]), 10) is not None, "no process comes back")
        peer.spin(1.5)
        expect(ours.state()[1] == wanted, f"after a death of the network's process: {ours.state()}")
        is_heard = peer.until(lambda: 0 < answered(1), 3 if wanted == "active" else 1) is not None
        expect(is_heard == (wanted == "active"), f"{wanted}, and answers are heard: {is_heard}")


def main():
    engine = f"{WORK}/managed.engine"
    shutil.copy(REASON, engine)
    with Peer("manager") as peer:
        node = Ours(PERIHELION, WORK, "managed", (engine,), ("--lifecycle", "--max-age", "30"), begins="managed: unconfigured")
        ours = Manager(peer, "/robot/eye", expect)
        beside_theirs(peer, ours)
        refusals(ours)
        a_bad_engine(ours, node, engine)
        answered = up_and_down(peer, ours, node)
        expect(ours.change(1), "configure")
        after_a_death(peer, ours, node, answered)
        expect(ours.change(label="shutdown"), "it is not shut down")
        expect(peer.until(lambda: node.process.poll() is not None, 10) is not None and node.process.returncode == 0, f"shut down: {node.process.poll()}")
    print(f"lifecycle: {len(problems)} problems")
    sys.exit(bool(problems))


main()
