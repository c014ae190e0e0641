"""Gives the same `--ros-args` to a node of the real rclpy and to ours, and compares what they make of them.

    python arguments.py PERIHELION WORK_DIR

Compared are names, the logger and its level, topics and services after all rules, and parameters of every type, which rclpy declares
as ours does. Ours is asked with `doctor`, which needs no engine. What the real one refuses we refuse too, but for rows that say why not.
"""

import json
import multiprocessing
import os
import select
import signal
import subprocess
import sys

# Nobody is talked to here, and shared memory would stay behind those that leave at once.
os.environ["FASTDDS_BUILTIN_TRANSPORTS"] = "UDPv4"

import rclpy
from rclpy.node import Node
from rclpy.parameter import Parameter

PERIHELION, WORK = sys.argv[1:3]
LEVELS = {10: "debug", 20: "info", 30: "warn", 40: "error", 50: "error"}
REFUSED = "refused"
# A node comes and goes in a tenth of a second.
PATIENCE_S = 20
HUNG = ("nothing", f"it hung for {PATIENCE_S} s")
DIED = ("nothing", "it died of a signal")

EYE = "-r __ns:=/robot -r __node:=eye "
TEXT = "a text is declared, and this is one"
OLD = "the form of old launch files"
SLASH = "a namespace without its first slash, or with a last one, is the same namespace"
NUMBER = "a whole number is a number"
NAMES = [
    "",
    "-r __node:=eye",
    "-r __name:=eye",
    "-r __node:=a -r __node:=b",
    "-r other:__node:=a",
    "-r perihelion:__node:=a -r __node:=b",
    "-r a:__node:=b -r __node:=a",
    "-r __ns:=/",
    "-r __ns:=/r -r __ns:=/s",
    "-r __ns:=/a/b",
    "-r other:__ns:=/r -r __ns:=/s",
    "-r __node:=eye -r eye:__ns:=/robot",
    "-r perihelion:__ns:=/robot -r __node:=eye",
    ("-r __ns:=robot", SLASH),
    ("-r __ns:=/robot/", SLASH),
    "-r __ns:=",
    "-r __ns:=/two-words",
    "-r __node:=two-words",
    "-r __node:=/a",
    "-r __node:=1a",
    "-r __node:=",
    "-r other:__node:=two-words",
]
RULES = [
    "-r image:=/a",
    "--remap image:=/a",
    "-r image:=/a -r image:=/b",
    "-r other:image:=/a -r image:=/b",
    "-r perihelion:image:=/a -r image:=/b",
    "-r image:=/a -r perihelion:image:=/b",
    "-r __node:=eye -r perihelion:image:=/a",
    "-r eye:image:=/a -r __node:=eye",
    "-r image:=cam",
    "-r image:=a/b",
    "-r image:=~/x",
    "-r image:=~",
    EYE + "-r image:=cam",
    EYE + "-r /image:=cam",
    EYE + "-r /robot/image:=cam",
    EYE + "-r eye:image:=/a",
    EYE + "-r image:=~/x",
    EYE + "-r ~/answer:=said -r ~/answer/json:=/said/json",
    EYE + "-r /robot/eye/answer:=/x",
    EYE + "-r answer:=/x",
    "-r /diagnostics:=/state -r /rosout:=log -r /clock:=sim/clock",
    "-r rostopic://image:=/a",
    "-r rosservice://image:=/a",
    "-r ~/set_parameters:=/a",
    "-r rostopic://~/set_parameters:=/a",
    "-r rosservice://~/set_parameters:=/a",
    "-r perihelion:rosservice://~/set_parameters:=/a",
    "-r /perihelion/get_parameters:=~/read",
    "-r image:=rostopic:///a",
    "-r /robot/eye:image:=/a",
    "-r {ns}/image:=/a",
    "-r /**/image:=/a",
    "-r *:=/a",
    "-r image:=a//b",
    "-r image:=/a/",
    "-r image/:=/a",
    "-r 1image:=a",
    "-r image:=1a",
    "-r image:=",
    "-r :=x",
    "-r :=",
    "-r image=/a",
    "-r",
    ("image:=/a", OLD),
]
LEVELS_OF_LOGGERS = [
    "--log-level debug",
    "--log-level DEBUG",
    "--log-level Fatal",
    "--log-level warn --log-level error",
    "--log-level unset",
    "--log-level perihelion:=debug",
    "--log-level other:=debug",
    "--log-level perihelion:=warn --log-level debug",
    "--log-level perihelion:=warn --log-level perihelion:=error",
    "--log-level perihelion:=unset --log-level warn",
    "--log-level robot.eye:=debug " + EYE,
    EYE + "--log-level robot.eye:=debug",
    EYE + "--log-level robot:=debug",
    EYE + "--log-level eye:=debug",
    EYE + "--log-level /robot/eye:=debug",
    EYE + "--log-level robot.eye.lid:=debug",
    EYE + "--log-level robot:=debug --log-level robot.eye:=error",
    "--log-level loud",
    "--log-level perihelion:=loud",
    "--log-level other:=loud",
    "--log-level perihelion:=",
    "--log-level :=debug",
    "--log-level",
    "--disable-rosout-logs --disable-stdout-logs --disable-external-lib-logs --log-file-name x -e /x",
    "--ros-args -r image:=/a",
    "-r image:=/a --",
    "-r image:=/a -- --ros-args -r ~/answer:=/b",
    "--foo",
]
PARAMETERS = [
    "-p max_tokens:=1",
    "--param max_tokens:=1 -p max_tokens:=2",
    "-p other:max_tokens:=1",
    "-p perihelion:max_tokens:=1",
    "-p perihelion:max_tokens:=1 -p max_tokens:=2",
    "-p max_tokens:=2 -p perihelion:max_tokens:=1",
    EYE + "-p eye:max_tokens:=1",
    EYE + "-p perihelion:max_tokens:=1",
    "-r __node:=eye -p eye:max_tokens:=1",
    "-p /perihelion:max_tokens:=1",
    "-p /**:max_tokens:=1",
    "-p unknown:=1 -p un.known:=2",
    "-p a-b:=1",
    "-p 1a:=1",
    "-p :=1",
    "-p x",
    "-p",
]
VALUES = [
    *(f"max_tokens:={value}" for value in ["+7", "010", "0x1F", "7.0", "'7'", "seven", "yes", "1_000", "0o7", "[1]", "[]", "{a: 1}", "*a", "'7"]),
    *(f"max_rate:={value}" for value in ["1e3", "1.", ".5", "+.5", "1e", "x", "'1.5'"]),
    ("max_rate:=5", NUMBER),
    *(f"latent_only:={value}" for value in "yes no on off y N True TRUE False Yes ON tRue 1 'yes' maybe".split()),
    *(f"prompt:={value}" for value in ["words", "two words", "'1e3'", '"yes"', "~", "null", "NULL", "None", "tRue", "1,5", "12:30", "a #b", "it's", "!!str 1", "0b1"]),
    *((f"prompt:={value}", TEXT) for value in ["123", "1e3", "yes", "007", ".inf", "a: b", "[1, 2]", "@home", "'cut", ""]),
    "choices:=[left, right]",
    "choices:=['yes', \"no\"]",
    "choices:=[]",
    "choices:=left",
    ("choices:=[yes, no]", TEXT),
    ("choices:=[1, 2]", TEXT),
    ("choices:=[1, x]", TEXT),
]


def section(node, *values):
    return f"{node}:\n  ros__parameters:\n" + "".join(f"    {value}\n" for value in values)


ONE, TWO = "max_tokens: 1", "max_tokens: 2"
NO_PARAMETER = "max_tokens: 3\n"
FILES = [
    ("--params-file @f", section("/**", ONE)),
    ("--params-file @f -p max_tokens:=2", section("/**", ONE)),
    ("-p max_tokens:=2 --params-file @f", section("/**", ONE)),
    ("-p max_tokens:=2 --params-file @f", section("/perihelion", ONE)),
    ("--params-file @f -p max_tokens:=2", section("/perihelion", ONE)),
    ("-p max_tokens:=2 --params-file @f -p max_tokens:=3", section("/perihelion", ONE)),
    ("--params-file @f", section("/perihelion", ONE) + section("/**", TWO)),
    ("--params-file @f", section("/**", ONE) + section("/perihelion", TWO)),
    ("--params-file @f", section("perihelion", ONE)),
    (EYE + "--params-file @f", section("eye", ONE)),
    (EYE + "--params-file @f", section("/robot/eye", ONE)),
    (EYE + "--params-file @f", "robot:\n  eye:\n    ros__parameters:\n      max_tokens: 1\n"),
    (EYE + "--params-file @f", "/robot/:\n  eye:\n    ros__parameters:\n      max_tokens: 1\n"),
    *((EYE + "--params-file @f", section(node, ONE)) for node in ["/*/eye", "/**/eye", "/robot/*", "/robot/**", "/*", "'*'", "'**'", "/other", "/robot"]),
    ("--params-file @f", section("/perihelion", ONE) + section("/perihelion", "max_rate: 2.5")),
    ("--params-file @f", section("/perihelion", ONE, TWO)),
    ("--params-file @f --params-file @f", section("/perihelion", ONE, "un: {known: 1}")),
    ("--params-file @f", "---\n" + section("/**", ONE) + "---\n" + section("/**", TWO)),
    ("--params-file @f", section("/**", "prompt: |\n      two\n      lines", "max_rate: 1e1", "latent_only: on", "choices:\n    - a\n    - b")),
    ("--params-file @f", section("/**", "prompt: folded\n      lines", "latent_only: yes")),
    ("--params-file @f", section("/**", "prompt: &anchor words")),
    ("--params-file @f", section("/**", "prompt: &anchor words", "image_transport: *anchor")),
    ("--params-file @f", section("/**", "max_tokens:")),
    ("--params-file @f", "/**:\n  ros__parameters:\n"),
    ("--params-file @f", "/**:\n  ros__parameters: {}\n"),
    *(("--params-file @f", text) for text in ["", "# nothing\n", "{}\n", NO_PARAMETER, "[1]\n", "{", "ros__parameters:\n  a: 1\n", "/**:\n  a: 1\n", "/**:\n\tros__parameters:\n"]),
    ("--params-file @missing", ""),
    ("--params-file", ""),
]
# Where a text is declared an empty value is one.
ROWS = [row if isinstance(row, tuple) else (row, None) for row in NAMES + RULES + LEVELS_OF_LOGGERS + PARAMETERS]
ROWS = [(line.split(), "", why) for line, why in ROWS]
ROWS += [(["-p", value], "", None) if isinstance(value, str) else (["-p", value[0]], "", value[1]) for value in VALUES]
ROWS += [(line.split(), text, None) for line, text in FILES]


def ours(words):
    """What `doctor` says, or that it refuses."""
    command = [PERIHELION, "doctor", "--json", "--ros-args", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    if done.returncode == 2 and done.stderr.startswith("error: ") and "panicked" not in done.stderr:
        return REFUSED, done.stderr.strip()
    if done.returncode != 0:
        raise SystemExit(f"{command}: exit code {done.returncode}\n{done.stderr}")
    node = json.loads(done.stdout)["ros"]["node"]
    node = node or json.loads(subprocess.run([*command[:4], "--log-level", "unset"], capture_output=True).stdout)["ros"]["node"]
    return {key: node[key] for key in ("node", "logger", "log_level", "topics", "services", "parameters")}, ""


def real(words, plain):
    """The same of a node of rclpy; again if its process hangs or dies of a signal, as three of 896 did on a busy machine (Kilted)."""
    for _ in range(3):
        said = real_once(words, plain)
        if said not in (HUNG, DIED):
            break
    return said


def real_once(words, plain):
    """In a process of its own: levels of loggers outlive a context."""
    receiver, sender = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        try:
            said = seen(words, plain), ""
        except BaseException as error:
            said = REFUSED, f"{type(error).__name__}: {error}"
        os.write(sender, json.dumps(said).encode())
        os._exit(0)
    os.close(sender)
    with os.fdopen(receiver, "rb") as stream:
        hangs = not select.select([stream], [], [], PATIENCE_S)[0]
        if hangs:
            os.kill(child, signal.SIGKILL)
        said = stream.read()
    _, status = os.waitpid(child, 0)
    if hangs:
        return HUNG
    if not said and os.WIFSIGNALED(status):
        return DIED
    return tuple(json.loads(said)) if said else ("nothing", "it ended without a word")


def seen(words, plain):
    context = rclpy.Context()
    rclpy.init(args=["program", "--ros-args", *words], context=context)
    node = Node("perihelion", context=context)
    parameters = {}
    for name, default in plain["parameters"].items():
        if not node.has_parameter(name):
            node.declare_parameter(name, Parameter.Type.STRING_ARRAY if isinstance(default, list) else default)
        value = node.get_parameter_or(name).value
        parameters[name] = list(value) if isinstance(default, list) and value is not None else default if value is None else value
    names = [service.rsplit("/", 1)[1] for service in plain["services"]]
    return {
        "node": node.get_fully_qualified_name(),
        "logger": node.get_logger().name,
        "log_level": LEVELS[int(node.get_logger().get_effective_level())],
        "topics": {name: node.resolve_topic_name(name) for name in plain["topics"]},
        "services": [node.resolve_service_name(f"~/{name}") for name in names],
        "parameters": parameters,
    }


def problem(row):
    """What is understood otherwise, or None."""
    number, plain = row
    words, text, why = ROWS[number]
    place = f"{WORK}/arguments-{number}.yaml"
    with open(place, "w") as file:
        file.write(text)
    words = [place if word == "@f" else word for word in words]
    (theirs, their_reason), (mine, my_reason) = real(words, plain), ours(words)
    os.remove(place)
    if why is None and theirs == mine or why is not None and theirs == REFUSED and mine != REFUSED:
        return None
    return f"WRONG: {' '.join(words)}\n{text}  rclpy: {theirs} {their_reason}\n  ours:  {mine} {my_reason}"


def main():
    plain, _ = ours(["--log-level", "unset"])
    with multiprocessing.get_context("fork").Pool(os.cpu_count()) as pool:
        problems = [found for found in pool.map(problem, [(i, plain) for i in range(len(ROWS))], chunksize=8) if found]
    print(*problems, f"{len(ROWS)} command lines, {len(problems)} understood otherwise than by rclpy", sep="\n")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
