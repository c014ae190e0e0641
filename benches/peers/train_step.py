"""One training step of the small forecaster, in PyTorch beside ours: the same VAE and denoiser, batch, data type and threads.

    python benches/peers/train_step.py PERIHELION --out benches/results/train_step.json

`PERIHELION` is the command with training in it (cargo build --release --features distill). Rounds are interleaved: some steps of
`perihelion distill`, whose log has the seconds of each, then as many of PyTorch's on random clips of the same size, forward, backward
and AdamW. Our step has Muon (a few products more than AdamW), the perceptrons of actions and, of the VAE, the drawing of its clips in
it, PyTorch's has none of them. The figure is the median step of all rounds, the first step of each left out. With one thread both run
on the clock of their own processor time (`cpu_clock.c`), which a shared machine disturbs least; with more, on the wall clock.
"""

import argparse
import importlib.metadata
import json
import os
import pathlib
import platform
import statistics
import subprocess
import tempfile
import time

import torch
from diffusers import AutoencoderKLWan, CosmosTransformer3DModel

FRAMES, SIZE = 13, 64
HERE = pathlib.Path(__file__).resolve().parent
# A VAE for the teacher's latents, whose values do not matter here.
VAE = HERE.parent.parent / "engines/small-predict"


def vae(batch):
    model = AutoencoderKLWan(
        base_dim=8, z_dim=16, dim_mult=[1, 2, 4, 8], num_res_blocks=1, attn_scales=[],
        temperal_downsample=[False, True, True],
    )

    def loss():
        x = torch.rand(batch, 3, FRAMES, SIZE, SIZE) * 2 - 1
        away = model.decode(model.encode(x).latent_dist.mean).sample - x
        return (away.abs() + away * away).mean()

    return model, loss


def teacher(batch):
    model = CosmosTransformer3DModel(
        in_channels=17, out_channels=16, num_attention_heads=6, attention_head_dim=32, num_layers=8, mlp_ratio=4.0,
        text_embed_dim=64, adaln_lora_dim=64, max_size=(64, 128, 128), patch_size=(1, 2, 2), rope_scale=(1.0, 1.0, 1.0),
        concat_padding_mask=True, extra_pos_embed_type=None,
    )
    latents = (FRAMES - 1) // 4 + 1
    text, padding = torch.rand(batch, 1, 64), torch.zeros(1, 1, SIZE, SIZE)

    def loss():
        x = torch.randn(batch, 16, latents, SIZE // 8, SIZE // 8)
        mask = torch.zeros(batch, 1, latents, SIZE // 8, SIZE // 8)
        steps = torch.rand(batch, 1, latents, 1, 1)
        found = model(x, steps, text, condition_mask=mask, padding_mask=padding, return_dict=False)[0]
        return ((found - x) ** 2).mean()

    return model, loss


def torch_steps(model, loss, optimizer, n, clock):
    seconds = []
    for _ in range(n):
        begun = clock()
        optimizer.zero_grad(set_to_none=True)
        loss().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        seconds.append(clock() - begun)
    return seconds[1:]


def our_steps(binary, recipe, threads, n, environment):
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder)
        (place / "recipe.toml").write_text(recipe)
        subprocess.run(
            [binary, "distill", place / "recipe.toml", "-o", place / "run", "--threads", str(threads)],
            check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment,
        )
        rows = [json.loads(line) for line in (place / "run/log.jsonl").read_text().splitlines()]
        ends = [row["seconds"] for row in rows if "seconds" in row]
        return [b - a for a, b in zip(ends, ends[1:])]


def recipe(stage, batch, steps):
    tables = {
        "vae": "[vae]\nbase_dim = 8\ndim_mult = [1, 2, 4, 8]\nnum_res_blocks = 1\nz_dim = 16\n"
               "halve_time = [false, true, true]\nnoise = 0.6\nobject_weight = 4.0\n",
        "teacher": f"[teacher]\nvae = \"{VAE}\"\nheads = 6\nhead_dim = 32\nlayers = 8\nadaln_dim = 64\ntext_dim = 64\n"
                   "given = [[5, 1.0]]\nshift = 3.0\n",
    }
    # Few clips, so that all are encoded once at the start; measurements come after the last step.
    return (
        f"output = \"run\"\nseed = 1\n[scenes]\nsize = {SIZE}\nobjects = 3\nclips = {1 if stage == 'teacher' else 100}\n"
        f"frames = [{FRAMES}]\n[train]\nsteps = {steps}\nbatch = {batch}\nlearning_rate = 2e-3\nvalidate_every = {steps}\n"
        + tables[stage]
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("--stages", nargs="+", default=["vae", "teacher"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--build", default="release", help="the profile that PERIHELION was built in, for the report")
    parser.add_argument("--out", type=pathlib.Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    results = []
    environment, clock, clock_name = os.environ.copy(), time.perf_counter, "wall"
    folder = tempfile.TemporaryDirectory()
    if options.threads == 1:
        library = pathlib.Path(folder.name) / "cpu_clock.so"
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, HERE / "cpu_clock.c"], check=True)
        environment["LD_PRELOAD"] = str(library)
        clock, clock_name = time.process_time, "processor time of the process"
    for stage, make, batch in [("vae", vae, 4), ("teacher", teacher, 32)]:
        if stage not in options.stages:
            continue
        model, loss = make(batch)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
        text = recipe(stage, batch, options.steps)
        ours, theirs = [], []
        for _ in range(options.rounds):
            ours += our_steps(options.binary, text, options.threads, options.steps, environment)
            theirs += torch_steps(model, loss, optimizer, options.steps, clock)
        row = {
            "work": f"training step, {stage} of the small forecaster, batch {batch}, {FRAMES} frames of {SIZE}x{SIZE}, f32",
            "parameters": sum(p.numel() for p in model.parameters()),
            "threads": options.threads,
            "ours_s": round(statistics.median(ours), 4),
            "torch_s": round(statistics.median(theirs), 4),
            "torch_over_ours": round(statistics.median(theirs) / statistics.median(ours), 3),
            "ours_all_s": [round(s, 4) for s in ours],
            "torch_all_s": [round(s, 4) for s in theirs],
        }
        print(json.dumps(row))
        results.append(row)
    lines = (line.partition(":") for line in open("/proc/cpuinfo"))
    processor = {key.strip(): value.strip() for key, _, value in lines}
    known = ["avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile"]
    machine = {
        "cpu": processor.get("model name", platform.machine()),
        "instruction_sets": [name for name in known if name in processor.get("flags", "").split()],
        "cores": os.cpu_count(),
        "load_1min": round(os.getloadavg()[0], 1),
    }
    versions = {name: importlib.metadata.version(name) for name in ("torch", "diffusers")}
    report = {"build": options.build, "clock": clock_name, "versions": versions, "machine": machine, "results": results}
    if options.out:
        options.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
