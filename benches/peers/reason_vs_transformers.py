"""Our engine beside transformers on torch, on the same random checkpoint, at the same work, interleaved in one run.

    reason_vs_transformers.py {0.1b,2b} --work DIR --out benches/results/reason_0.1b_f32.json
        [--binary target/release/perihelion] [--precision f32] [--threads 1] [--rounds 3] [--runs 3]

Run it with a Python that has torch and transformers. With one thread both sides run on the clock of their own processor
time (`cpu_clock.c`), which a shared machine disturbs least; with more, on the wall clock. In each round the two take turns,
and only one of them is in memory. A ratio is torch's median time over ours: above 1, ours is faster.

Same work: the same image size (a new image each run), the same number of prompt tokens and of generated tokens. Our time
to the first token includes preprocessing; torch's does not.
"""
import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).parent


def run(command, **environment):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, env=os.environ | environment)
    if done.returncode:
        sys.exit(f"{' '.join(str(c) for c in command)} failed with {done.returncode}:\n{done.stderr[-3000:]}")
    return done.stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=["0.1b", "2b"])
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--binary", type=pathlib.Path, default=pathlib.Path("target/release/perihelion"))
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32")
    for name, default in (("threads", 1), ("rounds", 3), ("runs", 3), ("image-size", 512), ("prompt-tokens", 64), ("generate", 16)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    checkpoint, model = options.work / f"random-{options.shape}", options.work / f"{options.shape}.model"
    engine = options.work / f"{options.shape}-{options.precision}.engine"
    if not (checkpoint / "config.json").exists():
        run([sys.executable, HERE / "random_reason.py", options.shape, checkpoint])
    if not model.exists():
        run([options.binary, "export", checkpoint, "-o", model])
    if not engine.exists():
        run([options.binary, "build", model, "-o", engine, "--backend", "cpu", "--precision", options.precision])

    environment = dict(OMP_NUM_THREADS=str(options.threads), MKL_NUM_THREADS=str(options.threads))
    clock = "wall"
    if options.threads == 1:
        library = options.work / "cpu_clock.so"
        run(["cc", "-O2", "-shared", "-fPIC", "-o", library, HERE / "cpu_clock.c"])
        environment["LD_PRELOAD"] = str(library.resolve())
        clock = "processor time of the process"
    work = ["--image-size", options.image_size, "--generate", options.generate, "--runs", options.runs, "--warmup", 1,
            "--threads", options.threads]

    ours, torch = [], []
    for _ in range(options.rounds):
        ours.append(json.loads(run([options.binary, "bench", engine, "--json", "--prompt-tokens", options.prompt_tokens, *work],
                                   **environment)))
        ours[-1]["engine"] = engine.name
        load = ours[-1]["workload"]
        text = load["prompt_tokens"] - load["image_tokens"] - 2
        torch.append(json.loads(run([sys.executable, HERE / "torch_reason.py", checkpoint, "--dtype", options.precision,
                                     "--prompt-tokens", text, *work], **environment).splitlines()[-1]))
        for name in ("prompt_tokens", "image_tokens"):
            if torch[-1][name] != load[name]:
                sys.exit(f"not the same work: {name} {load[name]} and {torch[-1][name]}")

    report = dict(shape=options.shape, precision=options.precision, threads=options.threads, clock=clock,
                  processor=platform.processor() or platform.machine(), machine=ours[0]["machine"],
                  workload=ours[0]["workload"], rounds=options.rounds, load_average=os.getloadavg(), stages={})
    print(f"{options.shape} {options.precision}, {options.threads} thread(s), {clock}: {load['image_tokens']} image tokens of "
          f"{load['prompt_tokens']}, {options.generate} generated, {options.rounds} rounds of {options.runs}")
    print(f"{'':>22} {'ours':>10} {'torch':>10} {'torch / ours':>13}")
    for title, mine, theirs in (("image encode, ms", "vision_ms", "vision_ms"), ("to the first token, ms", "ttft_ms", "ttft_ms"),
                                ("per further token, ms", "itl_ms", "tpot_ms")):
        a = [statistics.median(r["samples"][mine]) for r in ours]
        b = [statistics.median(r["samples"][theirs]) for r in torch]
        ratio = statistics.median(b) / statistics.median(a)
        report["stages"][theirs] = dict(ours_ms=a, torch_ms=b, ratio=ratio)
        print(f"{title:>22} {statistics.median(a):10.2f} {statistics.median(b):10.2f} {ratio:13.2f}")
    report["ours"], report["torch"] = ours, torch
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
