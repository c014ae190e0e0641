"""A random checkpoint of the Cosmos-Reason2 architecture (Qwen3-VL), written by transformers itself.

    random_reason.py {0.1b,mid,2b} OUT [--tokenizer engines/small-reason]

`2b` has the shape of Cosmos-Reason2-2B, `mid` its vision tower before a language model of half the width. The tokenizer is the small
checkpoint's: ids beyond that vocabulary are never asked for, and every id of the prompt and of the answer is a row of the true table.
"""
import argparse
import json
import pathlib
import shutil

import torch
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

SHAPES = {
    "0.1b": dict(
        text=dict(vocab_size=32768, hidden_size=512, intermediate_size=1536, num_hidden_layers=16,
                  num_attention_heads=8, num_key_value_heads=4, head_dim=128),
        vision=dict(depth=12, hidden_size=384, intermediate_size=1536, num_heads=6, deepstack_visual_indexes=[2, 5, 8]),
    ),
    "mid": dict(
        text=dict(vocab_size=151936, hidden_size=1024, intermediate_size=3072, num_hidden_layers=28,
                  num_attention_heads=16, num_key_value_heads=8, head_dim=128),
        vision=dict(depth=24, hidden_size=1024, intermediate_size=4096, num_heads=16, deepstack_visual_indexes=[5, 11, 17]),
    ),
    "2b": dict(
        text=dict(vocab_size=151936, hidden_size=2048, intermediate_size=6144, num_hidden_layers=28,
                  num_attention_heads=16, num_key_value_heads=8, head_dim=128),
        vision=dict(depth=24, hidden_size=1024, intermediate_size=4096, num_heads=16, deepstack_visual_indexes=[5, 11, 17]),
    ),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--tokenizer", type=pathlib.Path, default=pathlib.Path(__file__).parents[2] / "engines/small-reason")
    options = parser.parse_args()
    shape = SHAPES[options.shape]
    small = json.loads((options.tokenizer / "config.json").read_text())

    text = dict(max_position_embeddings=32768, rms_norm_eps=1e-6, tie_word_embeddings=True, attention_bias=False,
                rope_parameters=dict(rope_type="default", rope_theta=5000000.0, mrope_section=[24, 20, 20],
                                     mrope_interleaved=True),
                **{k: small["text_config"][k] for k in ("bos_token_id", "eos_token_id", "pad_token_id")}, **shape["text"])
    vision = dict(patch_size=16, spatial_merge_size=2, temporal_patch_size=2, num_position_embeddings=2304, in_channels=3,
                  hidden_act="gelu_pytorch_tanh", out_hidden_size=shape["text"]["hidden_size"], **shape["vision"])
    ids = {k: small[k] for k in ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")}
    config = Qwen3VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=True, **ids)

    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    model = Qwen3VLForConditionalGeneration(config).to(torch.bfloat16)
    model.save_pretrained(options.out, safe_serialization=True)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"):
        shutil.copy(options.tokenizer / name, options.out / name)
    processor = json.loads((options.tokenizer / "processor_config.json").read_text())
    for part in ("image_processor", "video_processor"):
        processor[part].update(patch_size=16, size=dict(shortest_edge=65536, longest_edge=16777216))
    (options.out / "processor_config.json").write_text(json.dumps(processor, indent=1))
    print(f"{options.out}: {sum(p.numel() for p in model.parameters()) / 1e9:.3f} billion parameters, bf16")


if __name__ == "__main__":
    main()
