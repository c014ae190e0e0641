"""The shape of Cosmos-Predict2.5-2B and the whole Wan 2.1 VAE with random weights, through every step: peak memory and times.

    two_billion_predict.py --binary target/release/perihelion --work DIR --out benches/results/predict_2b_bf16.json

At 256×320 and 33 frames, five of them given: export, build, one denoise step, and the chunks decoded up to the first
of the forecast. For 480×832 the model is only exported and its memory plan printed; nothing of that size is opened. Needs a Python with torch and
diffusers (to write the checkpoint) and about 9 GB of disk: the checkpoint goes once it is exported, the model once it is built. Memory
is measured as `measured.py` says. What OUT already has is not measured again: a run that was cut short goes on where it stopped.
"""
import argparse
import json
import pathlib
import platform
import shutil
import subprocess
import sys

from measured import Failed, measured

# Height, width and frames.
PLANNED = [(480, 832, 61), (480, 832, 93)]
N_GIVEN = 5


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=pathlib.Path, default=pathlib.Path("target/release/perihelion"))
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--precision", default="bf16", choices=["f32", "bf16"])
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    checkpoint, model, engine = (options.work / name for name in ("checkpoint", "predict.model", "predict.engine"))
    here = pathlib.Path(__file__).parent
    report = dict(shape="2b", precision=options.precision, machine=platform.processor() or platform.machine(), steps={}, plans=[])
    if options.out.exists():
        report = json.loads(options.out.read_text())

    def save():
        options.out.write_text(json.dumps(report, indent=1) + "\n")

    with open(options.work / "log", "a") as log:

        def export(height, width, n_frames):
            if not (checkpoint / "model_index.json").exists():
                subprocess.run([sys.executable, here / "peers/random_predict_2b.py", checkpoint], check=True, stdout=log, stderr=log)
            model.unlink(missing_ok=True)
            return measured([options.binary, "export", checkpoint, "-o", model, "--height", height, "--width", width,
                             "--frames", n_frames, "--condition-frames", N_GIVEN], log)[0]

        def note(name, done):
            report["steps"][name] = done
            save()
            print(f"{name:>8}: {done['wall_ms'] / 1e3:7.1f} s, {done['peak_private_bytes'] / 1e6:6.0f} MB private, "
                  f"{done['peak_rss_bytes'] / 1e6:6.0f} MB resident", flush=True)

        def run(name, *arguments):
            done, out = measured([options.binary, name, *arguments, "--json"], log)
            note(name, done | dict(output=json.loads(out)))

        for height, width, n_frames in PLANNED[len(report["plans"]):]:
            export(height, width, n_frames)
            _, out = measured([options.binary, "inspect", model, "--json"], log)
            plan = next(p for p in json.loads(out)["plans"] if p["precision"] == options.precision)
            report["plans"].append(dict(height=height, width=width, frames=n_frames, **plan))
            save()
            claimed = sum(n_bytes for purpose, n_bytes in plan["memory"].items() if purpose != "weights_mapped_bytes")
            print(f"{height}×{width}, {n_frames} frames: {claimed / 1e9:.2f} GB planned beside the weights", flush=True)
        if "export" not in report["steps"]:
            note("export", export(256, 320, 33))
        shutil.rmtree(checkpoint, ignore_errors=True)
        if "build" not in report["steps"]:
            run("build", model, "-o", engine, "--backend", "cpu", "--precision", options.precision)
        model.unlink(missing_ok=True)
        if "imagine" not in report["steps"]:
            given = here.parent / "tests/fixtures/scenes/clip"
            run("imagine", engine, "--frames", given, "--steps", 1, "--horizon", 4)
        engine.unlink(missing_ok=True)


if __name__ == "__main__":
    try:
        main()
    except Failed as why:
        sys.exit(str(why))
