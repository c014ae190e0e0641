"""Our node as a process, and a stranger's node beside it."""

import atexit
import os
import re
import signal
import subprocess
import time

import rclpy
from rclpy.executors import SingleThreadedExecutor

ALIVE = []


@atexit.register
def end_all():
    """No node outlives its script."""
    for process in ALIVE:
        if process.poll() is None:
            process.kill()
            process.wait()


class Ours:
    """`perihelion run ENGINES ARGS --ros-args -r image:=/camera/image_raw ROS`, having logged how it `begins` once this returns."""

    def __init__(self, perihelion, work, name, engines, args=(), ros=(), begins="listening to"):
        self.log_path = f"{work}/{os.environ['ROS_DISTRO']}.{name}.log"
        ros = ["-r", "__ns:=/robot", "-r", "__node:=eye", "-r", "image:=/camera/image_raw", *ros]
        self.out_path = self.log_path.removesuffix("log") + "out"
        with open(self.log_path, "w") as log, open(self.out_path, "w") as out:
            command = [perihelion, "run", *engines, *args, "--ros-args", *ros]
            self.process = subprocess.Popen(command, stdout=out, stderr=log)
        ALIVE.append(self.process)
        self.await_log(begins)

    def log(self):
        with open(self.log_path) as log:
            return log.read()

    def n_said(self):
        """How many answers and forecasts it has written."""
        with open(self.out_path) as out:
            return sum(1 for _ in out)

    def await_log(self, pattern, timeout=30.0):
        """Seconds until the log has the pattern; the script ends if it never does."""
        begin = time.monotonic()
        while time.monotonic() < begin + timeout and self.process.poll() is None:
            if re.search(pattern, self.log()):
                return time.monotonic() - begin
            time.sleep(0.01)
        raise SystemExit(f"waited in vain for {pattern!r} in {self.log_path}:\n{self.log()}")

    def stop(self, number=signal.SIGINT):
        """The exit code after this signal."""
        self.process.send_signal(number)
        try:
            return self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return "hung"

    def account(self, what):
        """The last account of `answers` or `forecasts` in the log."""
        line = [line for line in self.log().splitlines() if f"{what}: received" in line][-1]
        numbers = re.search(r"received (\d+) = answered (\d+) \+ clip members (\d+) \+ dropped (\d+).*in flight (\d+); lost (\d+)", line)
        return dict(zip(("received", "answered", "clip_members", "dropped", "in_flight", "lost"), map(int, numbers.groups())))


class Peer:
    """A node in a participant of its own, spun only while somebody waits."""

    def __init__(self, name):
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = rclpy.create_node(name, context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)

    def until(self, holds, timeout):
        """Seconds until it holds, or None."""
        begin = time.monotonic()
        while time.monotonic() < begin + timeout:
            if holds():
                return time.monotonic() - begin
            self.executor.spin_once(timeout_sec=0.002)
        return None

    def spin(self, seconds):
        self.until(lambda: False, seconds)

    def leave(self):
        self.executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.leave()


def figures(pid):
    """Threads, descriptors, and KiB of memory of its own."""
    with open(f"/proc/{pid}/status") as file:
        status = dict(line.split(":", 1) for line in file)
    return int(status["Threads"]), len(os.listdir(f"/proc/{pid}/fd")), int(status["RssAnon"].split()[0])


def children(pid):
    """Processes that any of its threads has started."""
    found = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/children") as file:
            found += [int(word) for word in file.read().split()]
    return found
