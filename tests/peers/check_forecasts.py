"""Holds what a reader heard of forecasts against what a camera sent.

    python check_forecasts.py NAME SENT HEARD.json MAX_AGE_S WIDTHxHEIGHT RATE_HZ [--threshold S] [--actions]

SENT is what `camera` or `scene_camera.py` wrote down. Every forecast frame must bear a stamp of the future of a frame that was sent, and every frame sent must be accounted for. With
--threshold, surprise must be below it while nothing happens, beyond it after most of the jumps (if there were any), and then in
the diagnostics too. With --actions, velocities and plans must have been taken, and the bad ones counted.
"""

import argparse
import difflib
import json

parser = argparse.ArgumentParser()
for name in ("name", "sent", "heard"):
    parser.add_argument(name)
parser.add_argument("max_age_s", type=float)
parser.add_argument("size")
parser.add_argument("rate_hz", type=float)
parser.add_argument("--threshold", type=float)
parser.add_argument("--actions", action="store_true")
options = parser.parse_args()
text = open(options.sent).read()
camera = json.loads(text) if text.startswith("{") else dict(sent=[int(line) for line in text.split()], jumps=[], bad=0)
heard = json.load(open(options.heard))
sent, jumps = camera["sent"], camera["jumps"]
problems = []


def expect(holds, what):
    if not holds:
        problems.append(what)


def ns(time):
    return time["sec"] * 10**9 + time["nanosec"]


expect(heard["left"], "the node did not leave")
reports, frames = heard["reports"], heard["frames"]
expect(5 <= len(reports), f"{len(reports)} forecasts, expected at least 5")
known = set(sent)
ahead = lambda k: round(k / options.rate_hz * 1e9)
expected = []
for report in reports:
    stamp = ns(report["stamp"])
    expect(stamp in known and all(ns(time) in known for time in report["stamps"]), "a forecast is of frames that nobody sent")
    expect(ns(report["stamps"][-1]) == stamp, "a forecast's stamp is not its newest frame's")
    expect(ns(report["valid_until"]) == stamp + round(options.max_age_s * 1e9), "valid_until is wrong")
    expect(0 <= report["age_ms"] < 1000 * options.max_age_s + 100, f"a forecast is {report['age_ms']:.0f} ms old")
    expect(not report["stamp_suspect"] and report["frame_id"] == "peer_camera", "a true stamp is suspected, or frame_id is lost")
    shown = report["forecast_frames"]
    expect(report["truncated"] == (shown < report["horizon_frames"]), "a forecast does not say whether it is cut")
    expect(ns(report["forecast_until"]) == stamp + ahead(shown), "forecast_until is wrong")
    expect(0 < report["denoise_ms"] and 0 < report["encode_ms"], "no timings")
    expected += [stamp + ahead(k + 1) for k in range(shown)]
stamps = [ns(report["stamp"]) for report in reports]
expect(stamps == sorted(set(stamps)), "forecasts repeat a clip or run backwards")
came = [frame["stamp"] for frame in frames]
if came != expected:
    changes = [change for change in difflib.SequenceMatcher(None, expected, came, autojunk=False).get_opcodes() if change[0] != "equal"]
    problems.append(f"{len(came)} frames heard, {len(expected)} announced; where they differ, announced and heard from to: {changes[:5]}")
width, height = map(int, options.size.split("x"))
expect(all(frame["shape"] == [width, height, "rgb8", "peer_camera"] for frame in frames), "a forecast frame has another shape")
expect(all(0 < frame["mean"] < 255 for frame in frames), "a forecast frame is blank")

own = [report for report in heard["diagnostics"] if report["name"].endswith(": forecasts")]
expect(own, "nothing came on /diagnostics")
account = {}
for report in own:
    account = {key: int(report[key]) for key in ("received", "answered", "clip_members", "dropped", "in_flight", "lost")}
    total = account["answered"] + account["clip_members"] + account["dropped"] + account["in_flight"]
    expect(account["received"] == total, f"the account does not balance: {account}")
if account:
    expect(account["in_flight"] == 0, f"frames were in flight at the end: {account}")
    expect(account["answered"] == len(reports), f"{account['answered']} answered, {len(reports)} heard")
    seen = account["received"] + account["lost"]
    expect(len(sent) - 5 <= seen <= len(sent), f"{len(sent)} sent, {seen} received or known to be lost")

surprise = heard["surprise"]
expect(surprise and heard["pixels"], "no frame was compared with its forecast")
expect(all(0 <= value["value"] < 10 for value in surprise + heard["pixels"]), "a surprise is no distance")
shown = ""
if options.threshold is not None:
    first = jumps[0] if jumps else sent[-1] + 10**18
    quiet = max([value["value"] for value in surprise if value["heard_ns"] < first] or [0])
    # A frame is compared when the next clip is looked at, and a latent is of four frames.
    window = round(options.max_age_s * 1e9) + 10**9
    peaks = [max([v["value"] for v in surprise if jump <= v["heard_ns"] < jump + window] or [0]) for jump in jumps]
    n_seen = sum(options.threshold < peak for peak in peaks)
    shown = f"; surprise {quiet:.3f} at most in quiet, after jumps {[round(peak, 2) for peak in peaks]}"
    expect(quiet < options.threshold, f"a quiet scene surprises by {quiet:.3f}")
    expect(len(peaks) <= 2 * n_seen, f"{n_seen} of {len(peaks)} jumps are beyond {options.threshold}")
    loud = [report for report in own if report["level"] in (1, 2) and "surprise" in report["message"]]
    expect(bool(loud) == bool(jumps), f"{len(loud)} alarms in the diagnostics, {len(jumps)} jumps")
if options.actions:
    sources = {report["actions"].split(" ")[0] for report in reports}
    expect({"cmd_vel", "plan"} <= sources, f"forecasts are for {sources}")
    refused = [int(report["actions_refused"]) for report in own]
    expect(refused[-1] == camera["bad"], f"{camera['bad']} bad actions sent, {refused[-1]} refused")
    shown += f"; actions from {sorted(sources)}, {refused[-1]} refused"

times = sorted(report["forecast_ms"] for report in reports) or [0]
summary = f"sent {len(sent)}, {account}; forecasts in {times[len(times) // 2]:.0f} ms median, {times[-1]:.0f} at most{shown}"
if problems:
    problems = "\n  ".join(dict.fromkeys(problems[:20]))
    raise SystemExit(f"{options.name}: {summary}\n  {problems}")
print(f"{options.name}: {summary}")
