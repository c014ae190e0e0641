"""What transformers makes of small random Qwen3-VL checkpoints: fixtures of the parity tests.

    python tests/reference/reason.py --out tests/fixtures/reason [--seed N] [--only NAME ...]

Every case is a directory: `checkpoint/` (as transformers wrote it), the media as PNG, `case.json` (the question, the prompt's
ids, grids, the tokens generated and how close the reference's own first two choices were) and `expected.safetensors` (pixels,
positions, vision features, logits). The network runs in float32 whatever its storage. transformers 5.23.
"""

import argparse
import json
import os
import shutil
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
import transformers
from PIL import Image
from safetensors.torch import save_file
from transformers import AutoProcessor, GenerationConfig, Qwen3VLForConditionalGeneration

from reason_checkpoints import Shape, write, write_json

N_GENERATED = 64


def image(width, height, kind=0):
    return dict(image=[width, height, kind])


def video(n_frames, width, height, fps, kind=0):
    return dict(video=[n_frames, width, height, kind], fps=fps)


CASES = {
    "text_only": dict(shape=Shape(), media=[], question="Is the path clear? Naïve café, 東京, 🤖 <think>maybe</think>\n"),
    "text_system": dict(
        shape=Shape(tied=False, heads=6, kv_heads=2, mrope=(3, 3, 2), stored="bfloat16", layers=3, intermediate=64),
        media=[], system="You are a helpful assistant.", question="  Two spaces,\n\nthen lines.  "),
    "one_image": dict(
        shape=Shape(stored="bfloat16", hidden=48, layers=3, kv_heads=1, vision_hidden=32, deepstack=(1, 2)),
        media=[image(64, 48)], question="What do you see?"),
    "two_images": dict(
        shape=Shape(heads=4, kv_heads=4, head_dim=8, mrope=(2, 1, 1), deepstack=(0, 2)),
        media=[image(70, 37, 1), image(33, 61, 2)], question="Which one is nearer?"),
    "large_image_untied": dict(
        shape=Shape(tied=False, stored="float16", hidden=40, patch=4, vision_depth=4, deepstack=(3,), positions=25,
                    image=dict(size=dict(shortest_edge=256, longest_edge=1536))),
        media=[image(160, 97, 1)], system="Be brief.", question="Describe."),
    "video": dict(
        shape=Shape(stored="bfloat16", hidden=48, heads=6, kv_heads=3, layers=3, deepstack=(0, 1, 2)),
        media=[video(8, 40, 32, 8.0)], question="Which way does it go?"),
    "video_odd_untied": dict(
        shape=Shape(tied=False, stored="float16", hidden=40, heads=8, kv_heads=2, vision_depth=4, deepstack=(1, 3),
                    video=dict(cap_pixels_per_frame=True, max_video_tokens=6)),
        media=[video(5, 65, 49, 2.0, 1)], question="What happens?", think_suffix="\nThink between <think> and </think>."),
    "image_and_video_sharded": dict(
        shape=Shape(stored="bfloat16", hidden=48, layers=4, kv_heads=1, vision_hidden=32, vision_heads=4, shard_bytes=100_000),
        media=[image(48, 32, 2), video(3, 32, 48, 4.0), image(32, 32)], question="Compare them."),
    "old_files": dict(
        shape=Shape(tied=False, stored="bfloat16", hidden=48, heads=6, kv_heads=1, theta=5e6, old_files=True),
        media=[image(56, 40, 1)], question="How many balls?"),
    "old_files_system": dict(
        shape=Shape(stored="bfloat16", hidden=48, theta=5e6, old_files=True, mrope=(4, 3, 1)),
        media=[video(4, 32, 32, 30.0, 2)], system="Look closely.", question="How many boxes?"),
}


def pattern(width: int, height: int, kind: int, time: int = 0) -> np.ndarray:
    """A picture of integers, the same on every machine: ramps, a texture, or hard edges, which move with time."""
    y, x = np.mgrid[0:height, 0:width].astype(np.int64)
    x = x + 3 * time
    if kind == 0:
        planes = [x * 255 // width % 256, y * 255 // height, (x + y + 20 * time) * 4 % 256]
    elif kind == 1:
        planes = [(x * x + 3 * y * time) % 251, (7 * x * y + 31) % 256, (x * 13 + y * 29) % 256]
    else:
        planes = [(x // 8 + y // 8) % 2 * 255, (x // 5) % 3 * 120, np.where((x - 20) ** 2 + (y - 16) ** 2 < 120, 250, 10)]
    return np.stack([np.broadcast_to(p, (height, width)) for p in planes], axis=-1).astype(np.uint8)


def write_media(media: list[dict], out: Path) -> list[dict]:
    """Writes the media as PNG and returns what `case.json` says of them."""
    described = []
    for i, medium in enumerate(media):
        if "image" in medium:
            name = f"image{i}.png"
            Image.fromarray(pattern(*medium["image"])).save(out / name)
            described.append(dict(image=name))
        else:
            n_frames, width, height, kind = medium["video"]
            name = f"video{i}"
            (out / name).mkdir()
            for t in range(n_frames):
                Image.fromarray(pattern(width, height, kind, t)).save(out / name / f"{t:03}.png")
            described.append(dict(video=name, fps=medium["fps"]))
    return described


def load(described: list[dict], case_dir: Path):
    """The pictures, and the videos with their metadata, read back from the files."""
    images = [Image.open(case_dir / m["image"]).convert("RGB") for m in described if "image" in m]
    videos, metadata = [], []
    for m in described:
        if "video" in m:
            frames = [np.asarray(Image.open(p).convert("RGB")) for p in sorted((case_dir / m["video"]).iterdir())]
            videos.append(np.stack(frames))
            n = len(frames)
            metadata.append(dict(total_num_frames=n, fps=m["fps"], frames_indices=list(range(n)), duration=n / m["fps"]))
    return images, videos, metadata


def prepare(processor, described: list[dict], case_dir: Path, system: str | None, question: str):
    """The prompt's text, and the processor's tensors."""
    parts = [dict(type="image" if "image" in m else "video") for m in described] + [dict(type="text", text=question)]
    messages = [dict(role="user", content=parts)]
    if system is not None:
        messages.insert(0, dict(role="system", content=system))
    # transformers 4 kept the template with the tokenizer.
    templated = processor if processor.chat_template else processor.tokenizer
    prompt = templated.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    images, videos, metadata = load(described, case_dir)
    inputs = processor(
        text=[prompt], images=images or None, videos=videos or None, return_tensors="pt",
        videos_kwargs=dict(do_sample_frames=False, video_metadata=metadata) if videos else {})
    return prompt, inputs


def vision_features(model, inputs) -> dict[str, torch.Tensor]:
    """The tokens that the language model receives, and the DeepStack taps, for images and for videos."""
    out = {}
    for kind, pixels in (("image", "pixel_values"), ("video", "pixel_values_videos")):
        if pixels in inputs:
            features = model.model.get_image_features(inputs[pixels], inputs[f"{kind}_grid_thw"])
            out[f"{kind}.features"] = torch.cat(features.pooler_output)
            for i, tap in enumerate(features.deepstack_features):
                out[f"{kind}.deepstack.{i}"] = torch.cat(tap)
    return out


def positions(model, inputs):
    """Position ids `[3, n]`, and what is added to a token's index after the prompt."""
    ids = inputs["input_ids"]
    if "mm_token_type_ids" not in inputs or not ("image_grid_thw" in inputs or "video_grid_thw" in inputs):
        return torch.arange(ids.shape[1]).expand(3, -1), 0
    position_ids, deltas = model.model.get_rope_index(
        ids, inputs["mm_token_type_ids"], inputs.get("image_grid_thw"), inputs.get("video_grid_thw"))
    return position_ids[:, 0], deltas.item()


@torch.no_grad()
def make(name: str, case: dict, tokenizer: Path, out: Path, seed: int) -> None:
    case_dir = out / name
    shutil.rmtree(case_dir, ignore_errors=True)
    case_dir.mkdir(parents=True)
    generator = torch.Generator().manual_seed(seed)
    write(case["shape"], tokenizer, case_dir / "checkpoint", generator)
    described = write_media(case["media"], case_dir)

    model = Qwen3VLForConditionalGeneration.from_pretrained(
        case_dir / "checkpoint", dtype=torch.float32, attn_implementation="eager").eval()
    processor = AutoProcessor.from_pretrained(case_dir / "checkpoint")
    question = case["question"] + case.get("think_suffix", "")
    prompt, inputs = prepare(processor, described, case_dir, case.get("system"), question)
    position_ids, rope_delta = positions(model, inputs)
    expected = {k: inputs[k].float() for k in ("pixel_values", "pixel_values_videos") if k in inputs}
    expected |= vision_features(model, inputs)
    expected["position_ids"] = position_ids.to(torch.int32)

    # No stop tokens: every case compares as many positions.
    model.generation_config = GenerationConfig(
        do_sample=False, max_new_tokens=N_GENERATED, pad_token_id=0, return_dict_in_generate=True, output_logits=True)
    generated = model.generate(**inputs)
    n_prompt = inputs["input_ids"].shape[1]
    logits = torch.cat(generated.logits).float()
    tokens = generated.sequences[0, n_prompt:].tolist()
    assert len(tokens) == N_GENERATED and logits.argmax(-1).tolist() == tokens
    expected["logits"] = logits
    save_file({k: v.contiguous() for k, v in expected.items()}, case_dir / "expected.safetensors")

    first, second = logits.topk(2).values.unbind(-1)
    write_json(case_dir / "case.json", dict(
        media=described, system=case.get("system"), question=case["question"], think_suffix=case.get("think_suffix"),
        prompt=prompt, prompt_ids=inputs["input_ids"][0].tolist(), rope_delta=rope_delta,
        image_grid_thw=inputs["image_grid_thw"].tolist() if "image_grid_thw" in inputs else [],
        video_grid_thw=inputs["video_grid_thw"].tolist() if "video_grid_thw" in inputs else [],
        generated=tokens, top_two_gaps=[float(f"{gap:.6g}") for gap in (first - second).tolist()],
        seed=seed, transformers=transformers.__version__))
    report(name, case_dir, tokens, logits, (first - second))


def report(name, case_dir, tokens, logits, gaps):
    largest = logits.abs().max().item()
    n_bytes = sum(p.stat().st_size for p in case_dir.rglob("*") if p.is_file())
    weights = sum(p.stat().st_size for p in case_dir.rglob("checkpoint/*.safetensors"))
    print(f"{name}: {len(set(tokens))} distinct tokens of {len(tokens)}, largest logit {largest:.1f}, least gap "
          f"{gaps.min().item():.4f} (tolerance {2e-4 * largest:.4f}), weights {weights} B, all {n_bytes} B")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--tokenizer", type=Path, default=Path(__file__).parents[2] / "engines/small-reason",
                         help="directory with the tokenizer of 512 and its template")
    options.add_argument("--out", type=Path, required=True, help="directory in which each case gets a directory")
    options.add_argument("--seed", type=int, default=20261122, help="seed of all weights")
    options.add_argument("--only", nargs="*", choices=CASES, help="make only these cases")
    options = options.parse_args()
    torch.set_num_threads(1)
    for i, (name, case) in enumerate(CASES.items()):
        if not options.only or name in options.only:
            make(name, case, options.tokenizer, options.out, options.seed + i)


if __name__ == "__main__":
    main()
