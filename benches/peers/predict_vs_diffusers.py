"""Our engine beside diffusers on torch, on the same checkpoint, at the same work, in f32, interleaved in one run.

    predict_vs_diffusers.py {small,0.1b} --work DIR --out benches/results/predict_small_f32.json
        [--binary target/release/perihelion] [--threads 1] [--rounds 3] [--runs 3]

Run it with a Python that has torch and diffusers. `small` is engines/small-predict, `0.1b` a random checkpoint
(`random_predict.py`). With one thread both sides run on the clock of their own processor time (`cpu_clock.c`), which a shared
machine disturbs least; with more, on the wall clock. In each round the two take turns, and only one of them is in memory. A
ratio is torch's median time over ours: above 1, ours is faster.

Same work: the same frame size, new frames each run, the same latents and tokens, one call of the network, four frames a decoded chunk;
and first of all, both forecast the same frames from the same noise, and must agree. Keys and values of the text (one token
in `small`, 32 in `0.1b`) are computed once by us and in each call by diffusers.
"""
import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys

import numpy as np
from PIL import Image
from safetensors.numpy import load_file, save_file

HERE = pathlib.Path(__file__).parent
LATENTS_OFF_MAX = 5e-4  # of the largest
PIXELS_OFF_MAX = 1


def run(command, **environment):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, env=os.environ | environment)
    if done.returncode:
        sys.exit(f"{' '.join(str(c) for c in command)} failed with {done.returncode}:\n{done.stderr[-3000:]}")
    return done.stdout


def make_inputs(checkpoint, folder):
    """Frames and noise of one forecast, for both."""
    clip = json.loads((checkpoint / "model_index.json").read_text())["perihelion"]
    channels = json.loads((checkpoint / "vae" / "config.json").read_text())["z_dim"]
    random = np.random.default_rng(0)
    (folder / "given").mkdir(parents=True, exist_ok=True)
    for i in range(clip["condition_frames"]):
        coarse = random.integers(0, 256, (clip["height"] // 8, clip["width"] // 8, 3), dtype=np.uint8)
        Image.fromarray(coarse.repeat(8, 0).repeat(8, 1)).save(folder / "given" / f"{i:04}.png")
    shape = (1, channels, (clip["frames"] - 1) // 4 + 1, clip["height"] // 8, clip["width"] // 8)
    save_file(dict(noise=random.standard_normal(shape, dtype=np.float32)), folder / "noise.safetensors")


def agree(folder):
    """How far the two forecasts lie apart; ends the run if too far."""
    torch, ours = load_file(folder / "torch.safetensors"), load_file(folder / "ours.safetensors")
    latents = float(np.abs(torch["latents"] - ours["latents"]).max() / np.abs(torch["latents"]).max())
    frames = np.stack([np.asarray(Image.open(path)) for path in sorted((folder / "ours").glob("*.png"))])
    pixels = int(np.abs(frames.astype(int) - torch["frames"].astype(int)).max())
    if not (latents <= LATENTS_OFF_MAX and pixels <= PIXELS_OFF_MAX):
        sys.exit(f"the forecasts differ: latents by {latents:.2e} of the largest, pixels by {pixels} of 255")
    return dict(latents_off=latents, pixels_off=pixels, frames=len(frames))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=["small", "0.1b"])
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--binary", type=pathlib.Path, default=pathlib.Path("target/release/perihelion"))
    for name, default in (("threads", 1), ("rounds", 3), ("runs", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    checkpoint = HERE.parents[1] / "engines" / "small-predict"
    if options.shape != "small":
        checkpoint = options.work / f"random-predict-{options.shape}"
        if not (checkpoint / "model_index.json").exists():
            run([sys.executable, HERE / "random_predict.py", options.shape, checkpoint])
    model, engine = options.work / f"predict-{options.shape}.model", options.work / f"predict-{options.shape}-f32.engine"
    if not model.exists():
        run([options.binary, "export", checkpoint, "-o", model])
    if not engine.exists():
        run([options.binary, "build", model, "-o", engine, "--backend", "cpu", "--precision", "f32"])

    environment = dict(OMP_NUM_THREADS=str(options.threads), MKL_NUM_THREADS=str(options.threads))
    clock = "wall"
    if options.threads == 1:
        library = options.work / "cpu_clock.so"
        run(["cc", "-O2", "-shared", "-fPIC", "-o", library, HERE / "cpu_clock.c"])
        environment["LD_PRELOAD"] = str(library.resolve())
        clock = "processor time of the process"
    same = options.work / f"same-{options.shape}"
    make_inputs(checkpoint, same)
    run([options.binary, "imagine", engine, "--frames", same / "given", "--noise", same / "noise.safetensors",
         "--latents", same / "ours.safetensors", "--frames-out", same / "ours", "--threads", options.threads])

    work = ["--runs", options.runs, "--warmup", 1, "--threads", options.threads]
    ours, torch, agreement = [], [], None
    for round_ in range(options.rounds):
        ours.append(json.loads(run([options.binary, "bench", engine, "--json", *work], **environment)))
        ours[-1]["engine"] = engine.name
        theirs = [sys.executable, HERE / "torch_predict.py", checkpoint, *work] + ["--same", same] * (round_ == 0)
        torch.append(json.loads(run(theirs, **environment).splitlines()[-1]))
        agreement = agreement or agree(same)
        load = ours[-1]["workload"]
        if load["frames_per_chunk"] != 4:
            sys.exit(f"diffusers decodes 4 frames at a time, this engine {load['frames_per_chunk']}")
        for name in ("latents", "width", "height", "given_frames"):
            if torch[-1][name] != load[name]:
                sys.exit(f"not the same work: {name} {load[name]} and {torch[-1][name]}")

    command = f"predict_vs_diffusers.py {options.shape} --threads {options.threads} --rounds {options.rounds} --runs {options.runs}"
    report = dict(shape=options.shape, precision="f32", threads=options.threads, clock=clock, command=command,
                  torch_version=torch[0]["torch"], diffusers_version=torch[0]["diffusers"], python=platform.python_version(),
                  parameters=torch[0]["parameters"], machine=ours[0]["machine"], workload=load, agreement=agreement,
                  rounds=options.rounds, load_average=os.getloadavg(), stages={})
    print(f"{options.shape} f32, {options.threads} thread(s), {clock}: {load['given_frames']} given frames of {load['width']}x{load['height']}, "
          f"{load['latents']} latents, {load['tokens']} tokens; {options.rounds} rounds of {options.runs}; "
          f"latents agree within {agreement['latents_off']:.1e} of the largest")
    print(f"{'':>22} {'ours':>10} {'torch':>10} {'torch / ours':>13}")
    for title, name in (("encode, ms", "encode_ms"), ("denoise step, ms", "step_ms"), ("first chunk, ms", "first_chunk_ms"),
                        ("decoded chunk, ms", "chunk_ms"), ("whole clip decoded, ms", "decode_ms")):
        a = [statistics.median(r["samples"][name]) for r in ours]
        b = [statistics.median(r["samples"][name]) for r in torch]
        ratio = statistics.median(b) / statistics.median(a)
        report["stages"][name] = dict(ours_ms=a, torch_ms=b, ratio=ratio)
        print(f"{title:>22} {statistics.median(a):10.2f} {statistics.median(b):10.2f} {ratio:13.2f}")
    report["ours"], report["torch"] = ours, torch
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
