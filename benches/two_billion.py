"""The 2B shape of Cosmos-Reason2 with random weights, through every step: peak memory, load time, time per token.

    two_billion.py --binary target/release/perihelion --work DIR --out benches/results/two_billion.json [--precision bf16]

Needs a Python with torch and transformers (to write the checkpoint) and about 20 GB of disk. What memory is counted, `measured.py` says.
"""
import argparse
import json
import pathlib
import platform
import subprocess
import sys

from measured import Failed, measured


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=pathlib.Path, default=pathlib.Path("target/release/perihelion"))
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--precision", default="bf16", choices=["f32", "bf16"])
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    checkpoint, model, engine = (options.work / name for name in ("checkpoint", "reason2.model", f"reason2-{options.precision}.engine"))
    here = pathlib.Path(__file__).parent
    report = dict(shape="2b", precision=options.precision, machine=platform.processor() or platform.machine(), steps={})
    with open(options.work / "log", "w") as log:
        if not (checkpoint / "config.json").exists():
            subprocess.run([sys.executable, here / "peers/random_reason.py", "2b", checkpoint], check=True, stdout=log, stderr=log)
        steps = {
            "export": ["export", checkpoint, "-o", model],
            "build": ["build", model, "-o", engine, "--backend", "cpu", "--precision", options.precision],
            "ask": ["ask", engine, "--image", here.parent / "tests/fixtures/scenes/scene-1.png", "--prompt", "What do you see?",
                    "--greedy", "--max-tokens", 16, "--json"],
            "bench": ["bench", engine, "--json", "--prompt-tokens", 64, "--image-size", 512, "--generate", 16, "--runs", 3],
        }
        for name, arguments in steps.items():
            report["steps"][name], out = measured([options.binary, *arguments], log)
            if name in ("ask", "bench"):
                report["steps"][name]["output"] = json.loads(out) | dict(engine=engine.name)
            step = report["steps"][name]
            print(f"{name:>7}: {step['wall_ms'] / 1e3:7.1f} s, {step['peak_private_bytes'] / 1e6:8.0f} MB private, "
                  f"{step['peak_rss_bytes'] / 1e6:8.0f} MB resident", flush=True)
    text = json.dumps(report, indent=1)
    if options.out:
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    try:
        main()
    except Failed as why:
        sys.exit(str(why))
