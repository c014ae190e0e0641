"""What diffusers makes of small random Cosmos-Predict checkpoints: fixtures of the parity tests.

    python tests/reference/predict.py --out tests/fixtures/predict [--seed N] [--only NAME ...]

Every case is a directory: `checkpoint/` (as diffusers wrote it), `case.json` (the clip, the sampler, its sigmas) and
`expected.safetensors`: `frames` (u8 `[n, H, W, 3]`, the given ones and then as many as are encoded), `encoded` (normalised latents
of all frames), `noise`, `renoise`, `actions`, one call of the network (`call.input`, `call.timestep`, `call.mask`, `call.output`),
the loop's `latents`, and `decoded` (their frames, not clamped, `[n, H, W, 3]`). Latents are `[C, T, h, w]`. A further file holds what the schedulers
make of given velocities. The networks run in float32 whatever their storage. diffusers 0.42.1.
"""

import argparse
import os
import shutil
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import diffusers
import torch
from safetensors.torch import load_file, save_file

from predict_checkpoints import Shape, load, write, write_json
from predict_loops import denoise, run_few_steps, run_pipeline

KARRAS_UNIPC = dict(
    num_train_timesteps=1000, solver_order=2, prediction_type="flow_prediction", use_flow_sigmas=True, use_karras_sigmas=True,
    sigma_min=0.01, sigma_max=200.0, final_sigmas_type="zero")
SHIFTED_UNIPC = dict(num_train_timesteps=1000, solver_order=3, prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=5.0)
PREDICT2_EULER = dict(num_train_timesteps=1000, use_karras_sigmas=True, sigma_max=80.0, sigma_min=0.002, sigma_data=1.0, final_sigmas_type="sigma_min")
SHIFTED_EULER = dict(num_train_timesteps=1000, shift=3.0)
DISTILLED_SIGMAS = [1.0, 0.9375, 0.8333333333333334, 0.625]


def clip(height, width, frames, given, fps=16):
    return dict(height=height, width=width, frames=frames, condition_frames=given, fps=fps)


PREDICT2 = dict(pipeline="Cosmos2VideoToWorldPipeline", scheduler_class="FlowMatchEulerDiscreteScheduler", scheduler=PREDICT2_EULER)
CASES = {
    "predict2_one_given": dict(
        shape=Shape(**PREDICT2, heads=3, stored="bfloat16"), clip=clip(16, 32, 9, 1, 10), steps=5, guidance=7.0),
    "predict2_two_given": dict(
        shape=Shape(**PREDICT2, rope_scale=(20 / 24, 2.0, 2.0), head_dim=20, layers=3, text_tokens=9, stored="float16",
                    vae=dict(base_dim=3, num_res_blocks=2)),
        clip=clip(48, 16, 9, 5), steps=4),
    "predict25_one_given": dict(
        shape=Shape(scheduler=KARRAS_UNIPC, projected_from=70, stored="bfloat16", vae=dict(dim_mult=[1, 2, 4, 4], base_dim=3, num_res_blocks=2)),
        clip=clip(32, 48, 5, 1), steps=6, guidance=3.0),
    "predict25_two_given": dict(
        shape=Shape(scheduler=KARRAS_UNIPC, projected_from=64, head_dim=18, adaln=16, stored="float16"),
        clip=clip(16, 48, 9, 5), steps=4),
    "predict25_euler": dict(
        shape=Shape(scheduler_class="FlowMatchEulerDiscreteScheduler", scheduler=SHIFTED_EULER, rope_scale=(1.0, 1.0, 1.0),
                    vae=dict(base_dim=4, dim_mult=[1, 2, 3, 4]), channels=16, text_tokens=2, stored="float16"),
        clip=clip(32, 16, 13, 5, 8), steps=3, guidance=1.5),
    "predict25_nothing_given": dict(
        shape=Shape(scheduler=SHIFTED_UNIPC, projected_from=33, head_dim=24, stored="bfloat16"), clip=clip(32, 32, 5, 0), steps=5),
    "predict25_actions_of_the_clip": dict(
        shape=Shape(scheduler=KARRAS_UNIPC, stored="bfloat16", rope_scale=(1.0, 1.0, 1.0),
                    actions=dict(names=["x", "y", "gripper"], per="clip")),
        clip=clip(16, 32, 9, 1, 4), sigmas=DISTILLED_SIGMAS, renoise="same"),
    "predict25_actions_of_each_latent": dict(
        shape=Shape(scheduler=KARRAS_UNIPC, stored="bfloat16", original_names=True,
                    actions=dict(names=["linear", "angular"], per="latent")),
        clip=clip(32, 16, 13, 5, 4), sigmas=DISTILLED_SIGMAS, renoise="fresh"),
}


def make_scheduler(shape: Shape):
    return getattr(diffusers, shape.scheduler_class).from_config(dict(shape.scheduler))


@torch.no_grad()
def make(name: str, case: dict, out: Path, seed: int) -> None:
    case_dir, shape, size = out / name, case["shape"], case["clip"]
    shutil.rmtree(case_dir, ignore_errors=True)
    (case_dir / "checkpoint").mkdir(parents=True)
    generator = torch.Generator().manual_seed(seed)
    index = dict(size)
    if "sigmas" in case:
        index |= dict(distilled_sigmas=case["sigmas"], renoise=case["renoise"])
    write(shape, index, case_dir / "checkpoint", generator)
    transformer, vae = load(shape, size, case_dir / "checkpoint")
    text = load_file(case_dir / "checkpoint" / "text_embedding.safetensors")

    n_given, n_latents = size["condition_frames"], (size["frames"] - 1) // 4 + 1
    n_given_latents = (n_given - 1) // 4 + 1 if n_given else 0
    frames = torch.randint(0, 256, (size["frames"], size["height"] // 8, size["width"] // 8, 3), generator=generator, dtype=torch.uint8)
    frames = frames.repeat_interleave(8, 1).repeat_interleave(8, 2)
    pixels = (frames.float() / 127.5 - 1).permute(3, 0, 1, 2)[None]
    noise = torch.randn((1, shape.channels, n_latents, size["height"] // 8, size["width"] // 8), generator=generator)
    renoise = torch.randn((len(case.get("sigmas", [0])) - 1, *noise.shape[1:]), generator=generator)

    of = lambda values: torch.tensor(values).view(1, -1, 1, 1, 1)
    mean, std = of(vae.config.latents_mean), of(vae.config.latents_std)
    encoded = (vae.encode(pixels).latent_dist.mode() - mean) / std
    mask = (torch.arange(n_latents) < n_given_latents).float().view(1, 1, -1, 1, 1)

    expected = dict(frames=frames, encoded=encoded[0], noise=noise)
    if shape.actions:
        actions = torch.randn((size["frames"] - 1, len(shape.actions["names"])), generator=generator)
        transformer.time_embed.actions, transformer.time_embed.mask = actions, mask.flatten()
        expected["actions"] = actions
    if case.get("renoise") == "fresh":
        expected["renoise"] = renoise

    # One call, with the rate where the pipeline passes it.
    predict2 = shape.pipeline == "Cosmos2VideoToWorldPipeline"
    given_timestep = 1e-4 / (1 + 1e-4) if predict2 else 1e-4
    fps = size["fps"] if predict2 else None
    sigma = 0.7
    expected |= {
        "call.input": (mask * encoded + (1 - mask) * noise)[0], "call.mask": mask.flatten(),
        "call.timestep": (mask * given_timestep + (1 - mask) * sigma).flatten(),
        "call.output": denoise(transformer, noise, encoded, mask, sigma, text, size, given_timestep, fps)[0]}

    scheduler = make_scheduler(shape)
    if "sigmas" in case:
        latents, sigmas = run_few_steps(case, transformer, encoded, mask, text, noise, renoise, size), case["sigmas"]
    else:
        latents = run_pipeline(shape, size, case, transformer, vae, scheduler, frames[:n_given], text, noise)
        sigmas = scheduler.sigmas.tolist()
    expected["latents"] = latents[0]
    expected["decoded"] = decode(vae, latents * std + mean)[0].permute(1, 2, 3, 0)
    save_file({k: v.contiguous() for k, v in expected.items()}, case_dir / "expected.safetensors")
    write_json(case_dir / "case.json", dict(
        clip=size, steps=case.get("steps", len(case.get("sigmas", []))), guidance=case.get("guidance"), sigmas=sigmas,
        given_timestep=given_timestep, seed=seed, diffusers=diffusers.__version__))
    report(name, case_dir, expected)


def decode(vae, z: torch.Tensor) -> torch.Tensor:
    """`vae.decode` without its clamp, which would hide differences: most values of a random network lie outside -1…1."""
    clamp, torch.clamp = torch.clamp, lambda x, **_: x
    try:
        return vae.decode(z).sample
    finally:
        torch.clamp = clamp


SCHEDULERS = {
    "unipc_karras_36": ("UniPCMultistepScheduler", KARRAS_UNIPC, 36),
    "unipc_karras_4": ("UniPCMultistepScheduler", KARRAS_UNIPC, 4),
    "unipc_karras_1": ("UniPCMultistepScheduler", KARRAS_UNIPC, 1),
    "unipc_shift_3rd_order_7": ("UniPCMultistepScheduler", SHIFTED_UNIPC, 7),
    "unipc_shift_corrected_in_part_6": ("UniPCMultistepScheduler", SHIFTED_UNIPC | dict(solver_order=2, disable_corrector=[0, 2]), 6),
    "unipc_terminal_5": ("UniPCMultistepScheduler", SHIFTED_UNIPC | dict(solver_order=1, shift_terminal=0.05), 5),
    "euler_shift_8": ("FlowMatchEulerDiscreteScheduler", SHIFTED_EULER, 8),
    "euler_shift_1": ("FlowMatchEulerDiscreteScheduler", SHIFTED_EULER, 1),
    "euler_terminal_5": ("FlowMatchEulerDiscreteScheduler", dict(num_train_timesteps=1000, shift=2.0, shift_terminal=0.1), 5),
    "euler_karras_6": ("FlowMatchEulerDiscreteScheduler", dict(num_train_timesteps=1000, use_karras_sigmas=True), 6),
}


@torch.no_grad()
def make_schedulers(out: Path, seed: int) -> None:
    """Sigmas, and the samples after each step when the velocities are given: no network is asked."""
    generator = torch.Generator().manual_seed(seed)
    tensors, cases = {}, {}
    for name, (cls, config, n_steps) in SCHEDULERS.items():
        scheduler = getattr(diffusers, cls).from_config(dict(config))
        scheduler.set_timesteps(n_steps)
        velocities = torch.randn((n_steps, 12), generator=generator)
        x = torch.randn(12, generator=generator)
        samples = [x]
        for t, velocity in zip(scheduler.timesteps, velocities):
            x = scheduler.step(velocity[None], t, x[None], return_dict=False)[0][0]
            samples.append(x)
        tensors |= {f"{name}.velocities": velocities, f"{name}.samples": torch.stack(samples), f"{name}.sigmas": scheduler.sigmas.clone()}
        cases[name] = dict(_class_name=cls, steps=n_steps, **config)
    out.mkdir(parents=True, exist_ok=True)
    save_file(tensors, out / "schedulers.safetensors")
    write_json(out / "schedulers.json", cases)


def report(name, case_dir, expected):
    n_bytes = sum(p.stat().st_size for p in case_dir.rglob("*") if p.is_file())
    largest = {k: round(v.abs().max().item(), 2) for k, v in expected.items() if k in ("encoded", "call.output", "latents", "decoded")}
    print(f"{name}: {n_bytes} B; largest {largest}")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--out", type=Path, required=True, help="directory in which each case gets a directory")
    options.add_argument("--seed", type=int, default=20261122, help="seed of all weights and inputs")
    options.add_argument("--only", nargs="*", choices=CASES, help="make only these cases")
    options = options.parse_args()
    torch.set_num_threads(1)
    for i, (name, case) in enumerate(CASES.items()):
        if not options.only or name in options.only:
            make(name, case, options.out, options.seed + i)
    make_schedulers(options.out, options.seed)


if __name__ == "__main__":
    main()
