#!/usr/bin/env python3
"""Makes report.json and report.html of the folder that `accept` filled. Needs Python 3.8 and nothing else.

    report.py FOLDER
    report.py --check FIXTURES        reads recorded output of tegrastats and nvpmodel, and compares it with what is expected

The page holds everything it shows: no script, no font and no picture from elsewhere.
"""

import html
import json
import pathlib
import re
import sys


def tegrastats(line):
    """A line of `tegrastats` as numbers: MB, percent, MHz, degrees Celsius, mW. What it does not tell is absent."""
    found = {}
    if match := re.search(r"\bRAM (\d+)/(\d+)MB", line):
        found["ram_mb"], found["ram_mb_total"] = map(int, match.groups())
    if match := re.search(r"\bSWAP (\d+)/(\d+)MB", line):
        found["swap_mb"], found["swap_mb_total"] = map(int, match.groups())
    if match := re.search(r"\bCPU \[([^\]]*)\]", line):
        cores = [re.fullmatch(r"(\d+)%@(\d+)", core) for core in match[1].split(",")]
        found["cpu_percent"] = [int(core[1]) for core in cores if core]
        found["cpu_mhz"] = [int(core[2]) for core in cores if core]
    if match := re.search(r"\bEMC_FREQ (\d+)%(?:@(\d+))?", line):
        found["emc_percent"] = int(match[1])
        if match[2]:
            found["emc_mhz"] = int(match[2])
    if match := re.search(r"\bGR3D_FREQ (\d+)%(?:@\[?([\d,]+)\]?)?", line):
        found["gpu_percent"] = int(match[1])
        if match[2]:
            found["gpu_mhz"] = max(map(int, match[2].split(",")))
    # A sensor that is switched off tells -256.
    sensors = re.findall(r"\b(\w+)@(-?[\d.]+)C\b", line)
    found["celsius"] = {name.lower(): float(value) for name, value in sensors if -60 < float(value) < 200}
    rails = re.findall(r"\b(\w+) (\d+)mW(?:/(\d+)mW)?", line)
    found["mw"] = {name: int(now) for name, now, _ in rails if name != "NC"}
    return found


def nvpmodel(text):
    """The power mode's name and number of `nvpmodel -q`, with or without --verbose."""
    name = re.search(r"NV Power Mode: *(\S+)", text)
    number = re.search(r"^(\d+)$", text, re.MULTILINE)
    return {"name": name and name[1], "id": number and int(number[1])}


def load(text):
    try:
        return json.loads(text)
    except ValueError:
        pass
    lines = []
    for line in text.splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            return None
    return lines or None


def steps(folder):
    found = []
    for path in sorted(folder.glob("steps/*.step")):
        name, rc, seconds, command = path.read_text().rstrip("\n").split("\t", 3)
        step = {"name": name, "seconds": float(seconds)}
        if rc == "skipped":
            step.update(state="not run", why=command)
        else:
            out, err = (path.with_suffix(kind).read_text(errors="replace") for kind in (".stdout", ".stderr"))
            step.update(state="passed" if rc == "0" else "failed", exit_code=int(rc), command=command)
            step["result"] = load(out) if out.strip() else None
            if step["result"] is None:
                step["stdout_end"] = out[-2000:]
            step["stderr_end"] = err[-2000:]
        found.append(step)
    return found


def soak(folder):
    """What was seen of board and process during the soak, as columns over time."""
    path = folder / "soak.jsonl"
    samples = [load(line) for line in path.read_text().splitlines()] if path.exists() else []
    samples = [sample for sample in samples if isinstance(sample, dict)]
    columns = {"seconds": [], "rss_mib": [], "celsius": [], "watts": [], "gpu_mhz": []}
    for sample in samples:
        board = sample["doctor"].get("board", {})
        zones = board.get("heat", {}).get("zones", [])
        junction = [zone["celsius"] for zone in zones if zone["name"].startswith("tj")] or [zone["celsius"] for zone in zones]
        gpu = [clock["khz"] for clock in board.get("clocks", {}).get("gpu", []) if clock["khz"]]
        columns["seconds"].append(sample["at"] - samples[0]["at"])
        columns["rss_mib"].append(sample["rss_kib"] / 1024 if sample["rss_kib"] else None)
        columns["celsius"].append(max(junction) if junction else None)
        columns["watts"].append(board.get("rails", {}).get("watts"))
        columns["gpu_mhz"].append(max(gpu) / 1000 if gpu else None)
    return columns


def number(value):
    """Four digits, and of large numbers all before the point."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def plot(title, unit, xs, ys, x_unit="s"):
    """A line over time as SVG; nothing where there is nothing to show."""
    points = [(x, y) for x, y in zip(xs, ys) if y is not None]
    if len(points) < 2:
        return ""
    width, height, left, bottom = 640, 180, 80, 30
    x_max = max(x for x, _ in points) or 1
    low, high = min(y for _, y in points), max(y for _, y in points)
    margin = (high - low) * 0.1 or abs(high) * 0.05 or 1
    low, high = max(0, low - margin) if low >= 0 else low - margin, high + margin

    def at(x, y):
        return f"{left + x / x_max * (width - left - 10):.1f},{(height - bottom) - (y - low) / (high - low) * (height - bottom - 10):.1f}"

    line = " ".join(at(x, y) for x, y in points)
    return (
        f'<figure><figcaption>{html.escape(title)}</figcaption><svg viewBox="0 0 {width} {height}" role="img">'
        f'<line class="axis" x1="{left}" y1="{height - bottom}" x2="{width - 10}" y2="{height - bottom}"/>'
        f'<line class="axis" x1="{left}" y1="10" x2="{left}" y2="{height - bottom}"/>'
        f'<text x="{left - 6}" y="18" text-anchor="end">{number(high)} {unit}</text>'
        f'<text x="{left - 6}" y="{height - bottom}" text-anchor="end">{number(low)}</text>'
        f'<text x="{width - 10}" y="{height - 10}" text-anchor="end">{number(x_max)} {x_unit}</text>'
        f'<polyline points="{line}"/></svg></figure>'
    )


def bars(title, unit, rows):
    """Bars beside each other as SVG, each with its value."""
    rows = [(name, value) for name, value in rows if value is not None]
    if not rows:
        return ""
    width, left, each = 640, 240, 24
    longest = max(value for _, value in rows) or 1
    parts = [f'<figure><figcaption>{html.escape(title)}</figcaption><svg viewBox="0 0 {width} {each * len(rows)}" role="img">']
    for i, (name, value) in enumerate(rows):
        length = value / longest * (width - left - 110)
        parts.append(
            f'<text x="{left - 8}" y="{i * each + 16}" text-anchor="end">{html.escape(name)}</text>'
            f'<rect x="{left}" y="{i * each + 4}" width="{length:.1f}" height="{each - 8}"/>'
            f'<text x="{left + length + 6:.1f}" y="{i * each + 16}">{number(value)} {unit}</text>'
        )
    return "".join(parts) + "</svg></figure>"


def table(head, rows):
    def line(tag, cells):
        return "<tr>" + "".join(f"<{tag}>{html.escape(str(cell))}</{tag}>" for cell in cells) + "</tr>"

    return "<table>" + line("th", head) + "".join(line("td", row) for row in rows) + "</table>"


STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 60em; padding: 0 1em; color: #1b1f24; background: #fff }
table { border-collapse: collapse; margin: .5em 0 } td, th { border: 1px solid #ccd; padding: .2em .6em; text-align: left; vertical-align: top }
th { background: #f2f4f8 } .failed { color: #b00020; font-weight: 600 } .passed { color: #116329 }
figure { margin: 1em 0 } figcaption { font-weight: 600 } svg { width: 100%; max-width: 640px; font: 11px system-ui, sans-serif }
td:nth-child(-n+3) { white-space: nowrap }
polyline { fill: none; stroke: #1f6feb; stroke-width: 1.5 } rect { fill: #1f6feb } .axis { stroke: #889 } pre { background: #f6f8fa; padding: .6em; overflow: auto }
"""


def page(report):
    by_name = {step["name"]: step for step in report["steps"]}
    doctor = (by_name.get("doctor") or {}).get("result") or {}
    machine, board = doctor.get("machine", {}), doctor.get("board", {})
    verdict = report["verdict"]
    body = [f'<h1>Acceptance: <span class="{verdict}">{verdict}</span></h1>']
    told = [("made at", report["made_at"]), ("version", doctor.get("version", "?")), ("processor", machine.get("cpu", "?")),
            ("cores", machine.get("cores", "?")), ("memory", f"{(machine.get('memory_total_bytes') or 0) / 2**30:.1f} GiB"),
            ("kernel", machine.get("kernel", "?")), ("board", board["module"]["board"] if board.get("is_jetson") else "not a Jetson")]
    if "power_mode" in report:
        told.append(("nvpmodel -q", f"{report['power_mode']['name']} ({report['power_mode']['id']})"))
    body.append(table(["what", "found"], told))
    body.append("<h2>Steps</h2>")
    rows = [(step["name"], step["state"], f"{step['seconds']:.1f} s", step.get("why") or step["command"]) for step in report["steps"]]
    body.append(table(["step", "", "time", "command, or why not"], rows))
    for step in report["steps"]:
        if step["state"] == "failed":
            body.append(f"<h3 class='failed'>{html.escape(step['name'])}</h3><pre>{html.escape(step['stderr_end'][-1500:])}</pre>")
    if doctor:
        body.append("<h2>What doctor says</h2>")
        lines = board.get("lines", [])
        if lines:
            body.append(table(["", "", ""], [("!" if "advice" in l else "good", l["name"], l["value"]) for l in lines]))
        findings = [(finding["what"], finding["remedy"]) for finding in doctor.get("findings", [])]
        body.append(table(["to mend", "with"], findings) if findings else "<p>Nothing to mend.</p>")
    benches = [(step["name"][len("bench-"):], step["result"]) for step in report["steps"] if step["name"].startswith("bench-") and step.get("result")]
    if benches:
        body.append("<h2>Measured</h2><p>Medians of runs; the raw samples are in report.json.</p>")
        for role in ("reason", "predict"):
            # Backends beside each other, stage by stage.
            of_role = [(name[len(role) + 1:], result["stages"]) for name, result in benches if name.startswith(role + "-")]
            stages = list(dict.fromkeys(stage for _, found in of_role for stage in found))
            rows = [(f"{stage.replace('_ms', '')}, {backend}", (found.get(stage) or {}).get("p50")) for stage in stages for backend, found in of_role]
            body.append(bars(role, "ms", rows))
        energy = [(name, (result.get("board") or {}).get("joules_per_run")) for name, result in benches]
        body.append(bars("energy of a run", "J", energy))
        for name, result in benches:
            total = result["samples"].get("total_ms") or []
            body.append(plot(f"{name}: total of each run", "ms", range(len(total)), total, "runs"))
    bags = [(step["name"][len("bag-"):], step["result"]) for step in report["steps"] if step["name"].startswith("bag-") and step.get("result")]
    if bags:
        body.append("<h2>A recorded bag through the node</h2>")
        rows = []
        for name, said in bags:
            said = said if isinstance(said, list) else [said]
            texts = [line["text"] for line in said if "text" in line]
            rows.append((name, len(said), texts[0] if texts else ""))
        body.append(table(["engine", "messages", "the first answer"], rows))
    scenes = (by_name.get("scenes") or {}).get("result") or {}
    if scenes.get("accuracy"):
        body.append("<h2>Answers beside the truth</h2>")
        body.append(table(["task", "asked", "right"], [(name, task.get("asked"), task.get("right")) for name, task in scenes["accuracy"].items()]))
    seen = report["soak"]
    if seen["seconds"]:
        body.append(f"<h2>Soak: {seen['seconds'][-1]:.0f} s, looked at {len(seen['seconds'])} times</h2>")
        for key, title, unit in [("rss_mib", "resident memory of the demonstration", "MiB"), ("celsius", "hottest zone", "°C"),
                                 ("watts", "power", "W"), ("gpu_mhz", "GPU clock", "MHz")]:
            body.append(plot(title, unit, seen["seconds"], seen[key]))
    told = report["tegrastats"]
    if told:
        body.append("<h2>tegrastats</h2>")
        for key, title, unit in [("gpu_percent", "GPU load", "%"), ("emc_percent", "memory controller load", "%"), ("ram_mb", "memory in use", "MB")]:
            body.append(plot(title, unit, range(len(told)), [line.get(key) for line in told]))
    return (f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Perihelion: acceptance</title><style>{STYLE}</style>'
            + "".join(body) + "</html>\n")


def main(folder):
    folder = pathlib.Path(folder)
    found = steps(folder)
    if not found:
        sys.exit(f"{folder}/steps: no step was recorded there; `accept --out {folder}` fills it")
    log = folder / "tegrastats.log"
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    newest = max(path.stat().st_mtime for path in folder.glob("steps/*.step"))
    import datetime
    report = {
        "verdict": "failed" if any(step["state"] == "failed" for step in found) else "passed",
        "made_at": datetime.datetime.fromtimestamp(newest, datetime.timezone.utc).isoformat(timespec="seconds"),
        "steps": found, "soak": soak(folder), "tegrastats": [tegrastats(line) for line in lines if "RAM" in line],
    }
    mode = folder.glob("steps/*-nvpmodel.stdout")
    for path in mode:
        report["power_mode"] = nvpmodel(path.read_text())
    (folder / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    (folder / "report.html").write_text(page(report))


def check(fixtures):
    """The parsers on what boards print."""
    fixtures = pathlib.Path(fixtures)

    def lines(board):
        return [tegrastats(line) for line in (fixtures / f"tegrastats-{board}.txt").read_text().splitlines()]

    nano, agx, thor = lines("orin-nano"), lines("agx-orin")[0], lines("thor")[0]
    assert len(nano) == 2 and nano[0]["ram_mb"] == 6185 and nano[0]["swap_mb_total"] == 3810, nano
    assert nano[0]["cpu_mhz"] == [729] * 4 and nano[1]["gpu_percent"] == 99 and nano[1]["gpu_mhz"] == 612, nano
    assert nano[0]["emc_percent"] == 43 and nano[0]["emc_mhz"] == 2133, nano
    assert nano[1]["mw"] == {"VDD_IN": 14020, "VDD_CPU_GPU_CV": 5630, "VDD_SOC": 2917}, nano
    assert agx["celsius"]["tj"] == 44.343 and "gpu" not in agx["celsius"], agx
    assert agx["gpu_mhz"] == 0 and set(agx["mw"]) == {"VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0", "VDDQ_VDD2_1V8AO"}, agx
    assert len(thor["cpu_percent"]) == 14 and "gpu_mhz" not in thor and thor["mw"]["VIN"] == 31250, thor
    assert tegrastats("") == {"celsius": {}, "mw": {}}
    for board, expected in [("orin-nano", ("15W", 0)), ("agx-orin", ("MAXN", 0)), ("thor", ("120W", 1))]:
        mode = nvpmodel((fixtures / f"nvpmodel-{board}.txt").read_text())
        assert (mode["name"], mode["id"]) == expected, (board, mode)
    assert nvpmodel("") == {"name": None, "id": None}
    print("tegrastats and nvpmodel of three boards are read as they are written")


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "--check":
        check(sys.argv[2])
    elif len(sys.argv) == 2:
        main(sys.argv[1])
    else:
        sys.exit(__doc__)
