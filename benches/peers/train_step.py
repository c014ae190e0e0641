"""One training step of the small forecaster, in PyTorch beside ours: the same VAE and denoiser, batch, data type and threads.

    python benches/peers/train_step.py PERIHELION --rounds 3 --out benches/results/training_step.json

`PERIHELION` is the command with training in it (cargo build --release --features distill). Rounds are interleaved: some steps of
`perihelion distill`, whose log has the seconds of each, then as many of PyTorch's on random clips of the same size, forward, backward
and AdamW. Our step has Muon (a few products more than AdamW) and the drawing of its clips in it, PyTorch's has neither. The figure is
the median step of all rounds, the first step of each left out. Of times, wall clock: look at the load of the machine that it notes.
"""

import argparse
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


def torch_steps(model, loss, optimizer, n):
    seconds = []
    for _ in range(n):
        begun = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        loss().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        seconds.append(time.perf_counter() - begun)
    return seconds[1:]


def our_steps(binary, recipe, threads, n):
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder)
        (place / "recipe.toml").write_text(recipe)
        subprocess.run(
            [binary, "distill", place / "recipe.toml", "-o", place / "run", "--threads", str(threads)],
            check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        rows = [json.loads(line) for line in (place / "run/log.jsonl").read_text().splitlines()]
        ends = [row["seconds"] for row in rows if "loss" in row]
        return [b - a for a, b in zip(ends, ends[1:])][:n - 1], (place / "run")


def recipe(stage, batch, steps, vae_run):
    tables = {
        "vae": "[vae]\nbase_dim = 8\ndim_mult = [1, 2, 4, 8]\nnum_res_blocks = 1\nz_dim = 16\n"
               "halve_time = [false, true, true]\nnoise = 0.6\nobject_weight = 4.0\n",
        "teacher": f"[teacher]\nvae = \"{vae_run}\"\nheads = 6\nhead_dim = 32\nlayers = 8\nadaln_dim = 64\ntext_dim = 64\n"
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
    parser.add_argument("--vae", help="the folder of a VAE's checkpoint, for the teacher's recipe; without it only the VAE is timed")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=pathlib.Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    results = []
    stages = [("vae", vae, 4)] + ([("teacher", teacher, 32)] if options.vae else [])
    for stage, make, batch in stages:
        model, loss = make(batch)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
        text = recipe(stage, batch, options.steps, pathlib.Path(options.vae).resolve() if options.vae else "")
        ours, theirs = [], []
        for _ in range(options.rounds):
            seconds, _ = our_steps(options.binary, text, options.threads, options.steps)
            ours += seconds
            theirs += torch_steps(model, loss, optimizer, options.steps)
        row = {
            "work": f"training step, {stage} of the small forecaster, batch {batch}, {FRAMES} frames of {SIZE}x{SIZE}, f32",
            "parameters": sum(p.numel() for p in model.parameters()),
            "threads": options.threads,
            "ours_s": round(statistics.median(ours), 4),
            "torch_s": round(statistics.median(theirs), 4),
            "ratio": round(statistics.median(theirs) / statistics.median(ours), 3),
            "n": len(ours),
        }
        print(json.dumps(row))
        results.append(row)
    machine = {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count(), "load_1min": os.getloadavg()[0]}
    report = {"torch": torch.__version__, "machine": machine, "results": results}
    if options.out:
        options.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
