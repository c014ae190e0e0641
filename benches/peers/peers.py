#!/usr/bin/env python3
"""Our engines beside llama.cpp, OpenVINO and torch on this machine's CPU: installs them, makes the models, measures in turns, writes the table.

    peers.py --work DIR [--binary target/release/perihelion] [--rounds 3] [--two-billion] [--only GROUP,...]
        [--out benches/results/peers.json] [--plot FILE.svg]
    peers.py --markdown [--out benches/results/peers.json]

Random weights: what is measured is speed and memory, on the same checkpoints. The first run installs (`install.sh`) and makes models under DIR, which takes an hour
and 30 GB (50 with `--two-billion`); what is there is not made again. In each round every case of a group takes its turn, in an order that moves on by
one a round; a figure is the median of the rounds. With one thread a process is pinned to one core and runs on the clock of its own processor
time (`cpu_clock.c`), and its model is in the page cache; the cases beside a busy core have two threads, two cores, the wall clock, and a neighbour that never sleeps on the second core.

Rates are compared, of the tokens that were read, at the same context. Every configuration has its precision in its name. What a peer cannot do stays in the table
with the reason. A case is ended at `--limit` seconds of processor time. It needs nothing but Python; plan a quiet machine.
"""
import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
import cases as ask  # noqa: E402
from measured import Failed, measured  # noqa: E402
from prepare import HERE, Workplace, prepare  # noqa: E402
from table import markdown, plot, rows  # noqa: E402

RESULT = HERE.parent / "results" / "peers.json"
FIXTURES = HERE.parents[1] / "tests" / "fixtures" / "scenes"
N_ACTIONS = 12


def machine():
    """The processor by its name, and what of its instructions matters here."""
    told = dict(line.split(":", 1) for line in pathlib.Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines())
    told = {key.strip(): value.strip() for key, value in told.items()}
    known = ("avx", "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile",
             "amx_int8", "amx_bf16", "asimd", "asimddp", "i8mm", "bf16")
    flags = (told.get("flags") or told.get("Features") or "").split()
    return dict(processor=told.get("model name", "unknown"), family=told.get("cpu family"), model=told.get("model"),
                instruction_sets=[name for name in known if name in flags], cores=len(os.sched_getaffinity(0)),
                memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), kernel=os.uname().release)


def groups(place, shapes):
    actions = place.folder / "actions.csv"
    actions.write_text("\n".join(["linear,angular", *["0,0"] * N_ACTIONS]) + "\n")
    found = [case for shape in shapes for case in ask.text_cases(place, shape)]
    found += ask.image_cases(place) + ask.predict_cases(place) + ask.busy_cases(place)
    found += ask.plan_cases(place, FIXTURES / "clip", actions, FIXTURES / "scene-1.png")
    by_group = {}
    for case in found:
        by_group.setdefault(case.group, []).append(case)
    return by_group


def in_page_cache(path):
    """Reads a model, and what lies beside it under its name: all are loaded as by a process that is started again, none from the disk."""
    for file in (path, path.with_suffix(".bin")):
        if file.exists():
            with open(file, "rb", buffering=0) as opened:
                piece = bytearray(1 << 22)
                while opened.readinto(piece):
                    pass


def turn(place, case, limit_s):
    """One run of a case: its figures, or why there are none."""
    for path in case.needs:
        if not path.exists():
            why = path.with_suffix(".failed")
            return dict(failed=why.read_text().strip() if why.exists() else f"{place.said(path)} was not made")
    for path in case.needs:
        in_page_cache(path)
    cores = sorted(os.sched_getaffinity(0))
    pinned = cores[-1:] if case.threads == 1 else cores[:case.threads]
    environment = dict(OMP_NUM_THREADS=str(case.threads), MKL_NUM_THREADS=str(case.threads)) | case.environment
    if case.threads == 1:
        environment["LD_PRELOAD"] = str(place.folder / "bin" / "cpu_clock.so")
    with open(place.folder / "case.log", "w+") as log:
        try:
            took, out = measured(["taskset", "-c", ",".join(map(str, pinned)), *case.command], log, environment, limit_s)
            return case.figures(out, took)
        except Failed as why:
            log.seek(0)
            said = log.read().strip().splitlines()
            return dict(failed=place.said(said[-1] if said and "processor time" not in str(why) else why)[:300])
        except (ValueError, KeyError) as why:
            return dict(failed=f"its output was not understood: {why!r}")


class BusyCore:
    """A neighbour that never sleeps, on the second core."""

    def __enter__(self):
        cores = sorted(os.sched_getaffinity(0))
        self.process = subprocess.Popen(["taskset", "-c", str(cores[1 % len(cores)]), sys.executable, "-c", "while True: pass"])

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def cpu_s():
    """Of all commands so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(place, by_group, options, save):
    """Rounds of all cases; what there is so far is saved after each group, so that a run that is cut short is not lost."""
    found = {}
    for round_ in range(options.rounds):
        began = time.monotonic()
        for group, cases in by_group.items():
            first = round_ % len(cases)
            for case in cases[first:] + cases[:first]:
                turns, used = found.setdefault(case.name, []), cpu_s()
                if "failed" in (turns or [{}])[-1]:
                    continue  # what it cannot do once it is not asked again
                if group == "busy":
                    with BusyCore():
                        figures = turn(place, case, options.limit)
                else:
                    figures = turn(place, case, options.limit)
                turns.append(figures)
                told = " ".join(f"{name}={value:.4g}" if isinstance(value, float) else f"{name}: {value}" for name, value in figures.items())
                print(f"[{round_ + 1}] {case.name}: {told} ({cpu_s() - used:.0f} s of processor time)", file=sys.stderr, flush=True)
            save(found)
        print(f"round {round_ + 1}: {(time.monotonic() - began) / 60:.1f} min, load {os.getloadavg()[0]:.1f}", file=sys.stderr, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=pathlib.Path)
    parser.add_argument("--binary", type=pathlib.Path, default=pathlib.Path("target/release/perihelion"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", type=int, default=60, help="seconds of processor time of one case")
    parser.add_argument("--only", help="groups: text-mid, text-2b, image, denoiser, vae, busy, plan")
    parser.add_argument("--two-billion", action="store_true", help="also Reason's 2B shape")
    parser.add_argument("--as-it-is", action="store_true", help="make nothing more: what is not there is a row that says so")
    parser.add_argument("--out", type=pathlib.Path, default=RESULT)
    parser.add_argument("--plot", type=pathlib.Path, help="the ratios as SVG")
    parser.add_argument("--markdown", action="store_true", help="print OUT as a Markdown table; without --work nothing is measured")
    options = parser.parse_args()
    if options.work:
        shapes = ["mid", "2b"] if options.two_billion else ["mid"]
        place = Workplace(options.work, options.binary)
        if not options.as_it_is:
            prepare(place, shapes)
        by_group = groups(place, shapes)
        if options.only:
            by_group = {group: by_group[group] for group in options.only.split(",")}
        before, described = os.getloadavg(), machine()
        told = ["peers.py", "--work", "WORK", "--rounds", options.rounds, *["--two-billion"] * options.two_billion, *["--only", options.only] * bool(options.only)]
        options.out.parent.mkdir(parents=True, exist_ok=True)

        def save(found):
            report = dict(
                machine=described, clock="one thread: processor time of the process; beside a busy core: wall", binary_sha256=place.digest,
                peers=place.versions(), command=" ".join(map(str, told)), rounds=max(map(len, found.values())),
                load_average=[before, os.getloadavg()], rows=rows(ask.works(shapes), by_group, found, described, place.said), cases=found)
            options.out.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")

        measure(place, by_group, options, save)
    elif not options.markdown and not options.plot:
        parser.error("--work DIR to measure, or --markdown or --plot of what was measured")
    report = json.loads(options.out.read_text())
    if options.markdown:
        print(markdown(report))
    if options.plot:
        options.plot.write_text(plot(report))


if __name__ == "__main__":
    main()
