"""Makes tests/fixtures/pixels.json: what the reference processors make of images and clips of known pixels.

    python tests/reference/pixels.py [--out tests/fixtures/pixels.json] [--seed N]

Reference: transformers' Qwen2VLImageProcessor (torchvision) and Qwen3VLVideoProcessor, timestamps of Qwen3VLProcessor.
The frames follow a formula (`frame`), which the test repeats. Of the pixels stand here the SHA-256 of all of them as
little-endian float32, and some samples, so that a difference can be looked at. With --seed, sizes and lengths are drawn
anew, for a check beyond the committed cases.
"""
import argparse
import hashlib
import json
import pathlib
import random

import numpy as np
import torch
from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor
from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor
from transformers.models.qwen3_vl.video_processing_qwen3_vl import Qwen3VLVideoProcessor
from transformers.video_utils import VideoMetadata

HALF = dict(image_mean=[0.5] * 3, image_std=[0.5] * 3)
CONFIGS = {
    "small": ({**HALF, "patch_size": 8, "size": {"shortest_edge": 1024, "longest_edge": 65536}},
              {**HALF, "patch_size": 8, "size": {"shortest_edge": 1024, "longest_edge": 1 << 20}, "fps": 8, "min_frames": 2, "max_frames": 16}),
    "reason2": ({**HALF, "patch_size": 16, "size": {"shortest_edge": 65536, "longest_edge": 1 << 24}},
                {**HALF, "patch_size": 16, "size": {"shortest_edge": 4096, "longest_edge": 25165824}}),
    "defaults": ({}, {"patch_size": 14}),
    "capped": ({"patch_size": 16, "rescale_factor": 1 / 128}, {"cap_pixels_per_frame": True, "max_video_tokens": 24, "size": {"shortest_edge": 2048, "longest_edge": 200000}}),
    "bilinear": ({"patch_size": 8, "resample": 2, "do_normalize": False, "size": {"shortest_edge": 4096, "longest_edge": 90000}},
                 {"patch_size": 8, "resample": 2, "do_rescale": False, "image_mean": [90, 100, 110.5], "image_std": [50, 60, 70], "fps": 2.5, "max_frames": 7}),
    "as they come": ({"patch_size": 8, "do_resize": False, "do_rescale": False, "do_normalize": False}, {"patch_size": 8, "do_resize": False}),
    "odd layout": ({"patch_size": 6, "merge_size": 3, "temporal_patch_size": 3, "size": {"shortest_edge": 2000, "longest_edge": 50000}},
                   {"patch_size": 6, "merge_size": 3, "temporal_patch_size": 3, "size": {"shortest_edge": 2000, "longest_edge": 200000}, "fps": 4}),
}
IMAGES = [("small", 64, 64), ("small", 63, 65), ("small", 200, 120), ("small", 1280, 720), ("small", 24, 24), ("small", 8, 8), ("small", 1, 1), ("small", 3, 500),
          ("small", 1600, 8), ("small", 641, 479), ("reason2", 320, 240), ("reason2", 64, 64), ("reason2", 640, 480), ("reason2", 97, 1033), ("defaults", 640, 480),
          ("defaults", 30, 20), ("defaults", 1921, 1081), ("capped", 500, 333), ("bilinear", 640, 480), ("bilinear", 40, 30), ("as they come", 64, 48),
          ("odd layout", 100, 90), ("odd layout", 700, 20)]
CLIPS = [("small", 64, 64, 8, 8, True), ("small", 64, 64, 8, 8, False), ("small", 64, 64, 5, None, False), ("small", 90, 50, 7, None, True), ("small", 64, 64, 60, 30, True),
         ("small", 64, 64, 3, 15, True), ("small", 32, 32, 100, 10, True), ("small", 320, 240, 9, 4, False), ("reason2", 160, 120, 8, 4, False), ("reason2", 20, 40, 4, 2, True),
         ("reason2", 64, 48, 30, 29.97, True), ("defaults", 320, 240, 11, 5, True), ("capped", 320, 240, 6, 4, False), ("capped", 640, 360, 31, 10, True), ("capped", 30, 20, 3, 1, True),
         ("bilinear", 100, 80, 20, 5, True), ("as they come", 64, 48, 5, 2, False), ("odd layout", 60, 60, 10, 6, True), ("odd layout", 200, 100, 7, 12.5, False)]


def frame(width, height, index):
    """Rings of all frequencies in even frames, hard checks (which overshoot) in odd ones: [height, width, 3]."""
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(3), indexing="ij")
    rings = (3 * x * x + 5 * y * y + 7 * x * y + 83 * c + 29 * index) % 256
    checks = 255 * ((x // 3 + y // 5 + c + index) % 2)
    return (checks if index % 2 else rings).astype(np.uint8)


def digest(values):
    values = values.contiguous().numpy().astype("<f4")
    flat = values.reshape(-1)
    at = np.linspace(0, len(flat) - 1, 16).astype(int)
    return dict(shape=list(values.shape), sha256=hashlib.sha256(flat.tobytes()).hexdigest(), samples=[[int(i), float(flat[i])] for i in at])


def image_case(config, width, height, index):
    processor = Qwen2VLImageProcessor(**CONFIGS[config][0])
    out = processor(images=[frame(width, height, index)], input_data_format="channels_last", return_tensors="pt")
    return dict(config=config, width=width, height=height, index=index, grid=out["image_grid_thw"][0].tolist(), **digest(out["pixel_values"].float()))


def video_case(config, width, height, n_frames, fps, sample):
    processor = Qwen3VLVideoProcessor(**CONFIGS[config][1])
    clip = np.stack([frame(width, height, i) for i in range(n_frames)])
    metadata = VideoMetadata(total_num_frames=n_frames, fps=fps, frames_indices=list(range(n_frames)))
    out = processor(videos=[torch.from_numpy(clip).permute(0, 3, 1, 2)], video_metadata=[metadata], do_sample_frames=sample,
                    return_metadata=True, return_tensors="pt")
    metadata = out["video_metadata"][0]
    indices = [int(i) for i in metadata.frames_indices]
    times = Qwen3VLProcessor._calculate_timestamps(None, list(indices), 24 if metadata.fps is None else metadata.fps, processor.temporal_patch_size)
    return dict(config=config, width=width, height=height, n_frames=n_frames, fps=fps, sample=sample, frame_indices=indices,
                timestamps=[f"<{seconds:.1f} seconds>" for seconds in times], grid=out["video_grid_thw"][0].tolist(),
                **digest(out["pixel_values_videos"].float()))


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--out", default=pathlib.Path(__file__).parent.parent / "fixtures" / "pixels.json", type=pathlib.Path)
    options.add_argument("--seed", type=int)
    options = options.parse_args()
    torch.set_num_threads(1)
    images, clips = IMAGES, CLIPS
    if options.seed is not None:
        draw = random.Random(options.seed)
        images = [(draw.choice(["small", "reason2", "defaults", "bilinear", "odd layout"]), draw.randint(8, 900), draw.randint(8, 700)) for _ in range(30)]
        clips = [(draw.choice(["small", "reason2", "capped", "bilinear"]), draw.randint(16, 300), draw.randint(16, 300), draw.randint(2, 40),
                  draw.choice([None, 2, 4, 7.5, 15, 30]), draw.random() < 0.5) for _ in range(15)]
    configs = {name: dict(image_processor=image, video_processor={"patch_size": 16, **video}) for name, (image, video) in CONFIGS.items()}
    for config in configs.values():
        config["image_processor"].setdefault("patch_size", 14)
    images = [image_case(*case, index) for index, case in enumerate(images)]
    clips = [video_case(*case) for case in clips]
    options.out.write_text(json.dumps(dict(configs=configs, images=images, clips=clips), indent=None, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
