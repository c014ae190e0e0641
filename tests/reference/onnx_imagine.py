"""Whole forecasts through ONNX Runtime alone, against the engine's: encoding, every denoising step and decoding are looped over here.

    onnx_imagine.py PERIHELION WORK

Frames and noise are given to both. The clip's latents must be within 1e-4 of their largest, and no byte of a forecast frame may differ
by more than 1.
"""
import json
import pathlib
import sys

import numpy as np
from PIL import Image
from safetensors.numpy import load_file, save_file

from onnx_graphs import Graphs, distance, perihelion

TOLERANCE = 1e-4
REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
FIXTURES = REPOSITORY / "tests/fixtures"
FRAMES_PER_LATENT, PATCH = 4, 2


def scene():
    """The first scene that the small checkpoint is compared on: its given frames, and the noise."""
    sheet = np.asarray(Image.open(FIXTURES / "predict_scenes/given.png").convert("RGB"))
    return sheet[:64].reshape(64, 5, 64, 3).transpose(1, 0, 2, 3), load_file(FIXTURES / "predict_scenes/forecasts.safetensors")["noise"][:1]


def fixture(name):
    """A random checkpoint's given frames, noise, and the sigmas that diffusers gives it."""
    case = json.loads((FIXTURES / "predict" / name / "case.json").read_text())
    tensors = load_file(FIXTURES / "predict" / name / "expected.safetensors")
    frames = tensors["frames"][:case["clip"]["condition_frames"]]
    if frames.dtype != np.uint8:
        frames = np.round((frames + 1) * 127.5).astype(np.uint8)
    return (frames, tensors["noise"]), case


class Driver:
    """A Predict model's graphs with the caches between their runs."""

    def __init__(self, folder):
        self.graphs, self.caches = Graphs(folder), {}

    def run(self, graph, **feed):
        """Runs with the caches that the graph reads, and keeps those that it leaves."""
        feed |= {name: self.caches[name] for name in self.graphs.inputs(graph) if name not in feed}
        out = self.graphs.run(graph, feed)
        self.caches |= {name.removeprefix("present."): value for name, value in out.items() if name.startswith("present.")}
        return out

    def encode(self, frames):
        """Latents `[t, h, w, c]` of `[n, h, w, 3]` bytes."""
        pixels = frames.astype(np.float32) / 127.5 - 1
        latents = [self.run("encode_first", frames=pixels[:1])["encoded"]]
        for at in range(1, len(pixels), FRAMES_PER_LATENT):
            latents.append(self.run("encode_step", frames=pixels[at:at + FRAMES_PER_LATENT])["encoded"])
        return np.concatenate(latents)

    def decode(self, latents):
        """Bytes `[n, h, w, 3]`."""
        pixels = [self.run("decode_first", latents=latents[:1])["pixels"]]
        pixels += [self.run("decode_step", latents=latents[t:t + 1])["pixels"] for t in range(1, len(latents))]
        return np.floor((np.concatenate(pixels).clip(-1, 1) + 1) * 127.5 + 0.5).astype(np.uint8)

    def velocity(self, text, **feed):
        self.run(f"text_{text}")
        return self.run("denoise", **feed)["velocity"]


def to_patches(latents):
    t, h, w, c = latents.shape
    return latents.reshape(t, h // PATCH, PATCH, w // PATCH, PATCH, c).transpose(0, 1, 3, 2, 4, 5).reshape(-1, PATCH * PATCH * c)


def from_patches(patches, shape):
    t, h, w, c = shape
    return patches.reshape(t, h // PATCH, w // PATCH, PATCH, PATCH, c).transpose(0, 1, 3, 2, 4, 5).reshape(shape)


def forecast(driver, facts, frames, noise, sigmas, guidance):
    """The clip's latents `[t, h, w, c]`."""
    noise = noise[0].transpose(1, 2, 3, 0)
    t, h, w, _ = noise.shape
    given = driver.encode(frames)
    n = len(given)
    mask = (np.arange(t) < n).astype(np.float32)[:, None]
    positions = np.stack(np.meshgrid(np.arange(t), np.arange(h // PATCH), np.arange(w // PATCH), indexing="ij"), -1)
    positions = positions.reshape(-1, 3).astype(np.float32)
    x = noise.copy()
    for sigma, following in zip(sigmas, sigmas[1:]):
        seen = np.concatenate([given, x[n:]])
        timesteps = np.where(np.arange(t) < n, facts["given_timestep"], sigma).astype(np.float32)
        feed = dict(patches=to_patches(seen), positions=positions, mask=mask, timesteps=timesteps)
        velocity = driver.velocity("default", **feed)
        if guidance:
            velocity = velocity + np.float32(guidance) * (velocity - driver.velocity("negative", **feed))
        velocity = from_patches(velocity, x.shape)
        if "fixed" in facts["schedule"]:
            clean = np.concatenate([given, (x - np.float32(sigma) * velocity)[n:]])
            x = np.float32(1 - following) * clean + np.float32(following) * noise
        else:
            velocity = np.concatenate([noise[:n] - given, velocity[n:]])
            x = x + np.float32(following - sigma) * velocity
    return x


def check(binary, name, checkpoint, frames, noise, sigmas, guidance, work):
    model, engine, onnx = work / "a.model", work / "a.engine", work / "onnx"
    perihelion(binary, "export", REPOSITORY / checkpoint, "-o", model, "--onnx", onnx)
    perihelion(binary, "build", model, "-o", engine, "--backend", "cpu", "--precision", "f32")
    (work / "given").mkdir()
    for i, frame in enumerate(frames):
        Image.fromarray(frame).save(work / "given" / f"{i}.png")
    save_file(dict(noise=noise), work / "noise.safetensors")
    perihelion(binary, "imagine", engine, "--frames", work / "given", "--noise", work / "noise.safetensors", "--steps", len(sigmas) - 1,
               "--guidance", guidance, "--latents", work / "latents.safetensors", "--frames-out", work / "out")
    facts = json.loads(perihelion(binary, "inspect", engine, "--json"))["predict"]

    driver = Driver(onnx)
    latents = forecast(driver, facts, frames, noise, sigmas, guidance)
    expected = load_file(work / "latents.safetensors")["latents"][0].transpose(1, 2, 3, 0)
    apart = distance(latents, expected)
    pictures = np.stack([np.asarray(Image.open(path)) for path in sorted((work / "out").glob("*.png"))])
    found = driver.decode(latents)[len(frames):]
    off = int(np.abs(found.astype(int) - pictures).max())
    if not apart <= TOLERANCE or off > 1:
        sys.exit(f"{name}: latents differ by {apart:.1e} of their largest, pixels by {off}")
    print(f"{name}: {len(sigmas) - 1} steps, latents within {apart:.1e} of the largest, {len(pictures)} frames within {off} of 255")


def main():
    binary, work = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    cases = [("small-predict", "engines/small-predict", *scene(), [1.0, 0.0], 0.0)]
    for name in ("predict25_euler",):
        inputs, case = fixture(name)
        cases.append((name, f"tests/fixtures/predict/{name}/checkpoint", *inputs, case["sigmas"], case["guidance"]))
    for case in cases:
        folder = work / case[0]
        folder.mkdir(parents=True)
        check(binary, *case, folder)


if __name__ == "__main__":
    main()
