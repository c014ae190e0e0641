"""Holds what a reader heard against what a camera sent: every frame accounted for, every answer fresh.

    python check.py NAME SENT.log HEARD.json MAX_AGE_S [--answers-min N] [--slow]

With --slow the engine must have been ten times too slow for the camera, or the run proves nothing.
"""

import argparse
import json

parser = argparse.ArgumentParser()
parser.add_argument("name")
parser.add_argument("sent")
parser.add_argument("heard")
parser.add_argument("max_age_s", type=float)
parser.add_argument("--answers-min", type=int, default=5)
parser.add_argument("--slow", action="store_true")
options = parser.parse_args()
sent = [int(line) for line in open(options.sent)]
heard = json.load(open(options.heard))
problems = []


def expect(holds, what):
    if not holds:
        problems.append(what)


def ns(time):
    return time["sec"] * 10**9 + time["nanosec"]


expect(heard["node"] is not None, "the node does not show in ros_discovery_info")
expect(heard["left"], "the node did not leave")
expect(heard["prompt"] == "How many balls are there?", f"the parameter `prompt` is {heard['prompt']!r}")
expect(heard["log"], "nothing came on /rosout")
expect(heard["diagnostics"], "nothing came on /diagnostics")

answers = heard["answers"]
expect(options.answers_min <= len(answers), f"{len(answers)} answers, expected at least {options.answers_min}")
known = set(sent)
stamps = [ns(answer["stamp"]) for answer in answers]
expect(all(stamp in known for stamp in stamps), "an answer is about a frame that nobody sent")
expect(stamps == sorted(set(stamps)), "answers repeat a frame or run backwards")
for answer in answers:
    age_ms = answer["age_ms"]
    seen_ms = (answer["heard_ns"] - ns(answer["stamp"])) / 1e6
    expect(0 <= age_ms < 1000 * options.max_age_s, f"an answer is {age_ms:.0f} ms old")
    expect(age_ms <= seen_ms + 1, f"an answer says {age_ms:.0f} ms and was heard after {seen_ms:.0f} ms")
    expect(ns(answer["valid_until"]) == ns(answer["stamp"]) + round(options.max_age_s * 1e9), "valid_until is wrong")
    expect(not answer["stamp_suspect"], "a true stamp is suspected")
    expect(answer["frame_id"] == "peer_camera", f"frame_id is {answer['frame_id']!r}")
expect([answer["text"].rstrip() for answer in answers] == [text.rstrip() for text in heard["texts"]], "the two answer topics differ")

account = {}
for report in heard["diagnostics"]:
    account = {key: int(report[key]) for key in ("received", "answered", "clip_members", "dropped", "in_flight", "lost")}
    total = account["answered"] + account["clip_members"] + account["dropped"] + account["in_flight"]
    expect(account["received"] == total, f"the account does not balance: {account}")
    drops = {key: int(value) for key, value in report.items() if key.startswith("dropped.")}
    expect(sum(drops.values()) == account["dropped"], f"drops without a reason: {report}")
if account:
    expect(account["in_flight"] == 0, f"frames were in flight at the end: {account}")
    expect(account["answered"] == len(answers), f"{account['answered']} answered, {len(answers)} heard")
    seen = account["received"] + account["lost"]
    # Gaps show by the next frame: the first and the last few may be missing without one.
    expect(len(sent) - 5 <= seen <= len(sent), f"{len(sent)} sent, {seen} received or known to be lost")
    expect(account["lost"] <= len(sent) // 20, f"{account['lost']} of {len(sent)} frames lost on the loopback interface")
    if options.slow:
        expect(10 * account["answered"] <= account["received"], f"the engine was not slow: {account}")

ages = sorted(answer["age_ms"] for answer in answers) or [0]
summary = f"sent {len(sent)}, {account}; ages {ages[len(ages) // 2]:.0f} ms median, {ages[-1]:.0f} ms at most"
if problems:
    shown = "\n  ".join(dict.fromkeys(problems[:20]))
    raise SystemExit(f"{options.name}: {summary}\n  {shown}")
print(f"{options.name}: {summary}")
