"""Times diffusers on torch (CPU, f32) at what `perihelion bench` times, and prints one JSON object.

    torch_predict.py CHECKPOINT --threads 1 --runs 3 --warmup 1 [--same DIR]

`encode_ms`: the given frames to latents. `step_ms`: one call of the network. `first_chunk_ms`, `chunk_ms`: calls of the VAE's decoder,
for the clip's first frame and for four frames each; `decode_ms`: the whole clip. With `--same DIR` it also makes one forecast of
`DIR/given/*.png` from `DIR/noise.safetensors` and writes it to `DIR/torch.safetensors`: `latents`, normalised, and `frames` in u8.
"""
import argparse
import json
import pathlib
import statistics
import sys
import time

import diffusers
import numpy as np
import torch
from diffusers import AutoencoderKLWan, CosmosTransformer3DModel
from PIL import Image
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "tests" / "reference"))
from predict_loops import denoise, run_few_steps  # noqa: E402

diffusers.utils.logging.set_verbosity_error()


def ms_since(start):
    return (time.perf_counter() - start) * 1e3


class Timed(torch.nn.Module):
    """A module that notes how long each call takes."""

    def __init__(self, module):
        super().__init__()
        self.module, self.ms = module, []

    def forward(self, *arguments, **keywords):
        start = time.perf_counter()
        out = self.module(*arguments, **keywords)
        self.ms.append(ms_since(start))
        return out


class Forecast:
    """The parts of a forecast, on tensors."""

    def __init__(self, checkpoint):
        self.transformer = CosmosTransformer3DModel.from_pretrained(checkpoint / "transformer", torch_dtype=torch.float32).eval()
        self.vae = AutoencoderKLWan.from_pretrained(checkpoint / "vae", torch_dtype=torch.float32).eval()
        self.text = {name: t.float() for name, t in load_file(checkpoint / "text_embedding.safetensors").items()}
        self.clip = json.loads((checkpoint / "model_index.json").read_text())["perihelion"]
        of = lambda values: torch.tensor(values).view(1, -1, 1, 1, 1)
        self.mean, self.std = of(self.vae.config.latents_mean), of(self.vae.config.latents_std)
        n = (self.clip["frames"] - 1) // 4 + 1
        self.n_given = (self.clip["condition_frames"] - 1) // 4 + 1
        self.mask = (torch.arange(n) < self.n_given).float().view(1, 1, -1, 1, 1)
        self.shape = (1, self.vae.config.z_dim, n, self.clip["height"] // 8, self.clip["width"] // 8)

    def encode(self, frames):
        """The clip's given latents, of `[n, H, W, 3]` in bytes; the others are zeros."""
        pixels = (frames.float() / 127.5 - 1).permute(3, 0, 1, 2)[None]
        context = torch.zeros(self.shape)
        context[:, :, :self.n_given] = (self.vae.encode(pixels).latent_dist.mode() - self.mean) / self.std
        return context

    def step(self, context, x):
        return denoise(self.transformer, x, context, self.mask, 1.0, self.text, self.clip, 1e-4)

    def decode(self, latents):
        return self.vae.decode(latents * self.std + self.mean).sample


def same(forecast, folder):
    """The forecast of given frames from given noise, to compare."""
    given = [np.asarray(Image.open(path)) for path in sorted((folder / "given").glob("*.png"))]
    context = forecast.encode(torch.from_numpy(np.stack(given)))
    case = dict(sigmas=forecast.clip["distilled_sigmas"], renoise=forecast.clip["renoise"])
    noise = load_file(folder / "noise.safetensors")["noise"]
    latents = run_few_steps(case, forecast.transformer, context, forecast.mask, forecast.text, noise, [], forecast.clip)
    frames = forecast.decode(latents)[:, :, forecast.clip["condition_frames"]:]
    frames = ((frames.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 4, 1)[0]
    save_file(dict(latents=latents, frames=frames.contiguous()), folder / "torch.safetensors")


@torch.inference_mode()
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=pathlib.Path)
    for name, default in (("threads", 1), ("runs", 3), ("warmup", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--same", type=pathlib.Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    start = time.perf_counter()
    forecast = Forecast(options.checkpoint)
    load_ms = ms_since(start)
    if options.same:
        same(forecast, options.same)

    clip, random = forecast.clip, torch.Generator().manual_seed(0)
    decoder = forecast.vae.decoder = Timed(forecast.vae.decoder)
    samples = {name: [] for name in ("encode_ms", "step_ms", "first_chunk_ms", "chunk_ms", "decode_ms")}
    for run in range(-options.warmup, options.runs):
        size = (clip["condition_frames"], clip["height"], clip["width"], 3)
        frames = torch.randint(0, 256, size, generator=random, dtype=torch.uint8)  # new ones each time
        noise = torch.randn(forecast.shape, generator=random)
        decoder.ms.clear()
        start = time.perf_counter()
        context = forecast.encode(frames)
        encode_ms = ms_since(start)
        start = time.perf_counter()
        velocity = forecast.step(context, noise)
        step_ms = ms_since(start)
        start = time.perf_counter()
        forecast.decode(noise - velocity)
        decode_ms = ms_since(start)
        if run >= 0:
            for name, values in (("encode_ms", [encode_ms]), ("step_ms", [step_ms]), ("first_chunk_ms", decoder.ms[:1]),
                                 ("chunk_ms", decoder.ms[1:]), ("decode_ms", [decode_ms])):
                samples[name] += values
    print(json.dumps(dict(
        load_ms=load_ms, torch=torch.__version__, diffusers=diffusers.__version__, latents=forecast.shape[2],
        width=clip["width"], height=clip["height"], given_frames=clip["condition_frames"],
        parameters=[sum(p.numel() for p in m.parameters()) for m in (forecast.transformer, forecast.vae)],
        **{name: statistics.median(values) for name, values in samples.items()}, samples=samples)))


if __name__ == "__main__":
    main()
