"""A random checkpoint of the shape of Cosmos-Predict2.5-2B with the whole Wan 2.1 VAE, bf16, written shard by shard.

    random_predict_2b.py OUT

Names and shapes are diffusers' own: its classes are made without memory and asked for their parameters. Of a value only one shard is
ever held, so that writing takes about a gigabyte. `text_embedding.safetensors` holds 512 tokens of 100,352 values, what the text
encoder of Predict2.5 gives for one prompt.
"""
import argparse
import json
import math
import pathlib

import torch
from diffusers import AutoencoderKLWan, CosmosTransformer3DModel
from safetensors.torch import save_file

TRANSFORMER = dict(
    in_channels=17, out_channels=16, num_attention_heads=16, attention_head_dim=128, num_layers=28, mlp_ratio=4.0, text_embed_dim=1024,
    adaln_lora_dim=256, max_size=[128, 240, 240], patch_size=[1, 2, 2], rope_scale=[1.0, 3.0, 3.0], concat_padding_mask=True,
    extra_pos_embed_type=None, use_crossattn_projection=True, crossattn_proj_in_channels=100352, encoder_hidden_states_channels=1024)
SCHEDULER = dict(
    num_train_timesteps=1000, use_flow_sigmas=True, prediction_type="flow_prediction", use_karras_sigmas=True, sigma_min=0.01,
    sigma_max=200.0, solver_order=2, solver_type="bh2", final_sigmas_type="zero")
TEXT_TOKENS = 512
SHARD_BYTES = 1 << 30
STEM = "diffusion_pytorch_model"


def write_component(kind, config, out, generator):
    """Writes config and weights of a model; the number of its parameters."""
    with torch.device("meta"):
        model = kind(**config)
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    out.mkdir(parents=True, exist_ok=True)
    model.save_config(out)
    shards, held = [[]], 0
    for name, shape in shapes.items():
        size = 2 * math.prod(shape)
        if shards[-1] and SHARD_BYTES < held + size:
            shards.append([])
            held = 0
        shards[-1].append(name)
        held += size
    places = {}
    for i, names in enumerate(shards, 1):
        file = f"{STEM}.safetensors" if len(shards) == 1 else f"{STEM}-{i:05}-of-{len(shards):05}.safetensors"
        save_file({name: draw(name, shapes[name], generator) for name in names}, out / file)
        places |= dict.fromkeys(names, file)
    if 1 < len(shards):
        index = dict(metadata=dict(total_size=2 * sum(map(math.prod, shapes.values()))), weight_map=places)
        write_json(out / f"{STEM}.safetensors.index.json", index)
    return sum(map(math.prod, shapes.values()))


def draw(name, shape, generator):
    """Values of a size that keeps a deep network's activations finite, and none of them idle."""
    noise = torch.randn(shape, generator=generator)
    if name.endswith("bias"):
        noise *= 0.1
    elif name.endswith("gamma") or "norm" in name and "linear" not in name:
        noise.mul_(0.1).add_(1)
    else:
        noise /= math.sqrt(math.prod(shape[1:]))
    return noise.to(torch.bfloat16)


def write_json(path, value):
    path.write_text(json.dumps(value, indent=1) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    out = parser.parse_args().out
    generator = torch.Generator().manual_seed(0)
    # Defaults of the class are those of Wan 2.1.
    n_vae = write_component(AutoencoderKLWan, {}, out / "vae", generator)
    n_transformer = write_component(CosmosTransformer3DModel, TRANSFORMER, out / "transformer", generator)
    embedding = torch.randn((TEXT_TOKENS, TRANSFORMER["crossattn_proj_in_channels"]), generator=generator).to(torch.bfloat16)
    save_file(dict(default=embedding), out / "text_embedding.safetensors")
    (out / "scheduler").mkdir(exist_ok=True)
    write_json(out / "scheduler/scheduler_config.json", dict(_class_name="UniPCMultistepScheduler", **SCHEDULER))
    parts = dict(transformer=["diffusers", "CosmosTransformer3DModel"], vae=["diffusers", "AutoencoderKLWan"],
                 scheduler=["diffusers", "UniPCMultistepScheduler"])
    # The last file: a directory that has it is whole.
    write_json(out / "model_index.json", dict(_class_name="Cosmos2_5_PredictBasePipeline", **parts))
    print(f"{out}: {n_transformer} parameters of the denoiser, {n_vae} of the VAE, bf16")


if __name__ == "__main__":
    main()
