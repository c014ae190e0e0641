"""What diffusers forecasts of 20 scenes with engines/small-predict: fixtures of tests/small_predict.rs.

    python tests/reference/predict_scenes.py --out tests/fixtures/predict_scenes [--seed N]

Writes `given.png` (a row for each scene, a column for each given frame) and `forecasts.safetensors`: `noise` and `latents`
`[20, 16, 4, 8, 8]`, the latter normalised, and `frames` `[2, 8, 64, 64, 3]` u8 of the first two scenes' forecasts. The networks run in float32.
"""

import argparse
import json
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from diffusers import AutoencoderKLWan, CosmosTransformer3DModel
from PIL import Image
from safetensors.torch import load_file, save_file

import scenes_reference
from predict_loops import run_few_steps

N_SCENES, N_GIVEN, N_FRAMES = 20, 5, 13


@torch.no_grad()
def main() -> None:
    here = Path(__file__).parent
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--checkpoint", type=Path, default=here.parent.parent / "engines" / "small-predict")
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("--seed", type=int, default=20261122, help="seed of scenes and noise")
    options = options.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)

    frames = scenes(options.seed)
    sheet = frames.reshape(N_SCENES, N_GIVEN, 64, 64, 3).transpose(0, 2, 1, 3, 4).reshape(N_SCENES * 64, N_GIVEN * 64, 3)
    Image.fromarray(sheet).save(options.out / "given.png", optimize=True)

    transformer = CosmosTransformer3DModel.from_pretrained(options.checkpoint / "transformer", torch_dtype=torch.float32).eval()
    vae = AutoencoderKLWan.from_pretrained(options.checkpoint / "vae", torch_dtype=torch.float32).eval()
    index = json.loads((options.checkpoint / "model_index.json").read_text())["perihelion"]
    text = load_file(options.checkpoint / "text_embedding.safetensors")
    of = lambda values: torch.tensor(values).view(1, -1, 1, 1, 1)
    mean, std = of(vae.config.latents_mean), of(vae.config.latents_std)
    noise = torch.randn((N_SCENES, 16, 4, 8, 8), generator=torch.Generator().manual_seed(options.seed))
    mask = (torch.arange(4) < 2).float().view(1, 1, -1, 1, 1)
    case = dict(sigmas=index["distilled_sigmas"], renoise=index["renoise"])
    latents = []
    for scene, scene_noise in zip(frames, noise):
        pixels = (torch.from_numpy(scene).float() / 127.5 - 1).permute(3, 0, 1, 2)[None]
        context = torch.zeros(1, 16, 4, 8, 8)
        context[:, :, :2] = (vae.encode(pixels).latent_dist.mode() - mean) / std
        latents.append(run_few_steps(case, transformer, context, mask, text, scene_noise[None], [], index))
    latents = torch.cat(latents)
    decoded = vae.decode(latents[:2] * std + mean).sample[:, :, N_GIVEN:]
    decoded = ((decoded.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 4, 1)
    save_file(dict(noise=noise, latents=latents, frames=decoded.contiguous()), options.out / "forecasts.safetensors")
    print(f"{N_SCENES} forecasts, largest latent {latents.abs().max():.2f}")


def scenes(seed: int) -> np.ndarray:
    """`[20, 5, 64, 64, 3]` of bytes."""
    rng = np.random.default_rng(seed)
    rendered = scenes_reference.render(scenes_reference.simulate(rng, N_SCENES, N_FRAMES))
    return rendered[:, :N_GIVEN].round().clip(0, 255).astype(np.uint8).transpose(0, 1, 3, 4, 2)


if __name__ == "__main__":
    main()
