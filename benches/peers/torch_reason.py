"""Times transformers on torch (CPU, f32 or bf16, sdpa) at what `perihelion bench` times, and prints one JSON object.

    torch_reason.py CHECKPOINT --dtype f32 --threads 1 --image-size 512 --prompt-tokens 64 --generate 16 --runs 3 --warmup 1

`vision_ms`: pixels to features. `ttft_ms`: pixels and ids to the first token's logits (the processor's work is left
out, in torch's favour). `tpot_ms`: each further token. `--image-size 0` asks about text alone, `--generate 0` encodes the image alone.
"""
import argparse
import json
import statistics
import time

import torch
from transformers import Qwen3VLForConditionalGeneration


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--dtype", choices=["f32", "bf16"], default="f32")
    for name, default in (("threads", 1), ("image-size", 512), ("prompt-tokens", 64), ("generate", 16), ("runs", 3), ("warmup", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    dtype = dict(f32=torch.float32, bf16=torch.bfloat16)[options.dtype]
    start = time.perf_counter()
    model = Qwen3VLForConditionalGeneration.from_pretrained(options.checkpoint, dtype=dtype, attn_implementation="sdpa").eval()
    load_ms = (time.perf_counter() - start) * 1e3

    config, vision = model.config, model.config.vision_config
    side = options.image_size // vision.patch_size
    grid = torch.tensor([[1, side, side]]) if side else None
    n_image = side * side // vision.spatial_merge_size**2
    patch = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
    samples = dict(vision_ms=[], ttft_ms=[], tpot_ms=[])
    random = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        for run in range(-options.warmup, options.runs):
            pixels = torch.randn(side * side, patch, generator=random).to(dtype)  # a new image each time
            text = torch.randint(0, 256, (options.prompt_tokens,), generator=random)
            image = [torch.tensor([config.vision_start_token_id]), torch.full((n_image,), config.image_token_id),
                     torch.tensor([config.vision_end_token_id])]
            ids = torch.cat(image * bool(side) + [text])[None]
            seen = dict(pixel_values=pixels, image_grid_thw=grid, mm_token_type_ids=(ids == config.image_token_id).int()) if side else {}
            if side:
                start = time.perf_counter()
                model.model.visual(pixels, grid_thw=grid)
                vision_ms = (time.perf_counter() - start) * 1e3
                if 0 <= run:
                    samples["vision_ms"].append(vision_ms)
            if not options.generate:
                continue
            start = time.perf_counter()
            out = model(input_ids=ids, **seen, use_cache=True, logits_to_keep=1)
            token = out.logits[:, -1:].argmax(-1)
            ttft_ms = (time.perf_counter() - start) * 1e3
            steps = []
            for _ in range(options.generate - 1):
                start = time.perf_counter()
                out = model(input_ids=token, past_key_values=out.past_key_values, use_cache=True, logits_to_keep=1)
                token = out.logits[:, -1:].argmax(-1)
                steps.append((time.perf_counter() - start) * 1e3)
            if run >= 0:
                samples["ttft_ms"].append(ttft_ms)
                samples["tpot_ms"].extend(steps)
    print(json.dumps(dict(load_ms=load_ms, image_tokens=n_image, prompt_tokens=ids.shape[1],
                          **{name: statistics.median(values) for name, values in samples.items() if values}, samples=samples)))


if __name__ == "__main__":
    main()
