"""NVIDIA's exporter (TensorRT Edge-LLM) beside ours, on the same random checkpoint of Reason's 2B shape, taking turns in one run.

    edgellm_export.py {0.1b,2b} --work DIR --out benches/results/edgellm_export_2b.json
        [--binary target/release/perihelion] [--checkpoint DIR] [--rounds 1]

Run it with a Python that has what `edgellm_requirements.txt` lists (their exporter runs under the same one). 2b wants 14 GB of
disk: the checkpoint, and beside it what one of the two has written, which is removed before the other's turn.

Theirs is their command as it comes: the language model and the vision tower to ONNX in f16. Ours is `export CHECKPOINT -o MODEL
--onnx DIR`: the model's file with its golden cases, which are computed, and every graph as ONNX with the weights as they are
stored; then, for comparison, `inspect MODEL --onnx DIR` alone, the part that has a counterpart in theirs. What each has written is
listed from its files.

`peak_private_bytes` is the largest sum of `RssAnon` and `RssShmem` over the processes that a command started, sampled each 20 ms:
memory that no file backs. `peak_resident_bytes` sums `VmRSS`, which counts pages of mapped files too. `wall_ms` ends with the
command, `flush_ms` is what the disk then still has to write: ours syncs its files itself, theirs does not. The checkpoint is read
once before each turn, so that neither waits for the disk's reads. A ratio is theirs over ours: above 1, ours needs less.
"""
import argparse
import collections
import importlib.metadata
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import time

import onnx

HERE = pathlib.Path(__file__).parent
THEIRS = [sys.executable, "-m", "tensorrt_edgellm.scripts.export"]
PACKAGES = ("tensorrt-edgellm", "torch", "transformers", "onnx", "onnxscript", "nvidia-modelopt")
DISK_BYTES = {"0.1b": 2 << 30, "2b": 14 << 30}


def descendants(pid):
    """The process and all that it has started and that still live."""
    alive = [pid]
    for parent in alive:
        try:
            for thread in os.listdir(f"/proc/{parent}/task"):
                alive += map(int, pathlib.Path(f"/proc/{parent}/task/{thread}/children").read_text().split())
        except (FileNotFoundError, ProcessLookupError):
            pass
    return alive


def memory(pid):
    """Bytes of a process: private ones, and resident ones."""
    try:
        status = dict(line.split(":", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines())
    except (FileNotFoundError, ProcessLookupError):
        return 0, 0
    private, shared, resident = (int(status.get(key, "0").split()[0]) * 1024 for key in ("RssAnon", "RssShmem", "VmRSS"))
    return private + shared, resident


def measured(command, checkpoint, log):
    """Runs a command: its time, the memory of its processes, its exit status and its standard output."""
    for file in checkpoint.glob("*.safetensors"):
        with file.open("rb") as weights:
            while weights.read(1 << 24):
                pass
    os.sync()
    with log.open("w") as errors, log.with_suffix(".out").open("w+") as out:
        start = time.monotonic()
        process = subprocess.Popen([str(c) for c in command], stdout=out, stderr=errors)
        peak_private = peak_resident = most_processes = 0
        while process.poll() is None:
            memories = [memory(pid) for pid in descendants(process.pid)]
            peak_private = max(peak_private, sum(private for private, _ in memories))
            peak_resident = max(peak_resident, sum(resident for _, resident in memories))
            most_processes = max(most_processes, len(memories))
            time.sleep(0.02)
        end = time.monotonic()
        os.sync()
        flushed = time.monotonic()
        out.seek(0)
        result = dict(wall_ms=(end - start) * 1e3, flush_ms=(flushed - end) * 1e3, peak_private_bytes=peak_private,
                      peak_resident_bytes=peak_resident, most_processes=most_processes)
        return result, process.returncode, out.read()


def written(folder):
    """What a folder holds: its bytes, and of each ONNX graph the operators and the types of its weights."""
    graphs = {}
    for file in sorted(folder.rglob("*.onnx")):
        model = onnx.load(file, load_external_data=False)
        domains = collections.Counter(node.domain or "ai.onnx" for node in model.graph.node)
        types = collections.Counter(onnx.TensorProto.DataType.Name(tensor.data_type) for tensor in model.graph.initializer)
        graphs[str(file.relative_to(folder))] = dict(
            opset={item.domain or "ai.onnx": item.version for item in model.opset_import}, nodes=domains, weights=types,
            inputs=len(model.graph.input), outputs=len(model.graph.output))
    files = {str(f.relative_to(folder)): f.stat().st_size for f in sorted(folder.rglob("*")) if f.is_file()}
    return dict(total_bytes=sum(files.values()), files=files, graphs=graphs)


def their_turn(options, checkpoint):
    folder = options.work / "edgellm"
    log = options.work / "edgellm.log"
    turn, status, out = measured([*THEIRS, checkpoint, folder], checkpoint, log)
    if status:
        last = log.read_text().strip().splitlines()[-6:]
        turn = dict(not_run=f"their exporter ended with {status}", last_lines=last, written=written(folder))
    else:
        turn["written"] = written(folder)
    shutil.rmtree(folder, ignore_errors=True)
    return turn


def our_turn(options, checkpoint):
    model, folder = options.work / "reason.model", options.work / "perihelion-onnx"
    turn = {}
    commands = dict(export=["export", checkpoint, "-o", model, "--onnx", folder], onnx_only=["inspect", model, "--onnx", folder])
    for name, arguments in commands.items():
        log = options.work / f"perihelion-{name}.log"
        turn[name], status, _ = measured([options.binary, *arguments], checkpoint, log)
        if status:
            sys.exit(f"perihelion {name} ended with {status}:\n{log.read_text()[-3000:]}")
        turn[name]["written"] = written(folder)
        shutil.rmtree(folder)
    turn["export"]["model_bytes"] = model.stat().st_size
    model.unlink()
    return turn


def departures():
    """Packages that are not installed here as pinned: the version that is, or null."""
    pins = [line.strip().split("==") for line in open(HERE / "edgellm_requirements.txt") if "==" in line and not line.startswith("#")]
    return {name: here for name, pinned in pins if (here := installed(name)) != pinned}


def installed(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def machine():
    processor = {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in open("/proc/cpuinfo"))}
    return dict(cpu=processor.get("model name", platform.machine()), cores=os.cpu_count(),
                memory_total_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), kernel=platform.release())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=DISK_BYTES)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--binary", type=pathlib.Path, default=pathlib.Path("target/release/perihelion"))
    parser.add_argument("--checkpoint", type=pathlib.Path, help="one that is there, in place of a new one")
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    checkpoint = options.checkpoint or options.work / f"random-{options.shape}"
    held = sum(f.stat().st_size for f in checkpoint.glob("*.safetensors"))
    free = shutil.disk_usage(options.work).free
    if free < DISK_BYTES[options.shape] - held:
        sys.exit(f"{options.work}: {free >> 20} MiB are free, and {DISK_BYTES[options.shape] - held >> 20} are needed")
    if not (checkpoint / "config.json").exists():
        subprocess.run([sys.executable, HERE / "random_reason.py", options.shape, checkpoint], check=True)

    version = subprocess.run([options.binary, "--version"], check=True, capture_output=True, text=True).stdout.strip()
    report = dict(shape=options.shape, command=" ".join([pathlib.Path(__file__).name, options.shape, "--rounds", str(options.rounds)]),
                  machine=machine(), python=platform.python_version(), ours_version=version,
                  their_versions={name: installed(name) for name in PACKAGES}, not_as_pinned=departures(),
                  checkpoint_bytes=sum(f.stat().st_size for f in checkpoint.glob("*.safetensors")),
                  rounds=options.rounds, load_average_before=os.getloadavg(), theirs=[], ours=[])
    for _ in range(options.rounds):
        report["theirs"].append(their_turn(options, checkpoint))
        report["ours"].append(our_turn(options, checkpoint))
    report["load_average_after"] = os.getloadavg()

    failed = [turn for turn in report["theirs"] if "not_run" in turn]
    rows = {"export": [turn["export"] for turn in report["ours"]], "onnx_only": [turn["onnx_only"] for turn in report["ours"]]}
    if not failed:
        rows = {"theirs": report["theirs"], **rows}
    medians = {name: middle(turns) for name, turns in rows.items()}
    if not failed:
        report["ratios"] = {name: {key: medians["theirs"][key] / medians[name][key] for key in medians[name]}
                            for name in ("export", "onnx_only")}
    print(f"{'':>10} {'wall, s':>9} {'to disk, s':>11} {'private, MB':>12} {'resident, MB':>13}")
    for name, row in medians.items():
        print(f"{name:>10} {row['wall_ms'] / 1e3:9.1f} {row['wall_and_flush_ms'] / 1e3:11.1f} "
              f"{row['peak_private_bytes'] / 1e6:12.0f} {row['peak_resident_bytes'] / 1e6:13.0f}")
    for name, ratio in report.get("ratios", {}).items():
        print(f"theirs / {name}: " + ", ".join(f"{key} {value:.2f}" for key, value in ratio.items()))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(report, indent=1) + "\n")
    for turn in failed:
        sys.exit(f"{turn['not_run']} (see {options.work / 'edgellm.log'}):\n" + "\n".join(turn["last_lines"]))


def middle(turns):
    """Medians over the rounds."""
    keys = ("wall_ms", "peak_private_bytes", "peak_resident_bytes")
    medians = {key: statistics.median(turn[key] for turn in turns) for key in keys}
    return medians | dict(wall_and_flush_ms=statistics.median(turn["wall_ms"] + turn["flush_ms"] for turn in turns))


if __name__ == "__main__":
    main()
