"""Small random checkpoints of Cosmos-Predict2 and 2.5, written by diffusers itself: transformer, Wan VAE, scheduler, index.

Every weight is drawn so that each part moves the result: with diffusers' own initialisation the gates hardly open. diffusers has no
class for action conditioning: `ActionTimeEmbed` adds it, after `ActionConditionedMinimalV1LVGDiT` (the actions of the clip as one)
and `ActionChunkConditionedMinimalV1LVGDiT` (four actions a latent) in
https://github.com/nvidia-cosmos/cosmos-predict2.5, cosmos_predict2/_src/predict2/action/networks/action_conditioned_minimal_v1_lvg_dit.py
"""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import diffusers
import torch
from diffusers import AutoencoderKLWan, CosmosTransformer3DModel
from safetensors.torch import load_file, save_file
from torch import nn

diffusers.utils.logging.set_verbosity_error()

# The names of the network as it was trained, before diffusers renamed them.
ORIGINAL_NAMES = [
    ("time_embed.t_embedder", "t_embedder.1"), ("time_embed.norm", "t_embedding_norm"), ("transformer_blocks", "blocks"),
    ("norm1.linear_1", "adaln_modulation_self_attn.1"), ("norm1.linear_2", "adaln_modulation_self_attn.2"),
    ("norm2.linear_1", "adaln_modulation_cross_attn.1"), ("norm2.linear_2", "adaln_modulation_cross_attn.2"),
    ("norm3.linear_1", "adaln_modulation_mlp.1"), ("norm3.linear_2", "adaln_modulation_mlp.2"),
    ("attn1", "self_attn"), ("attn2", "cross_attn"), ("to_q", "q_proj"), ("to_k", "k_proj"), ("to_v", "v_proj"),
    ("to_out.0", "output_proj"), ("norm_q", "q_norm"), ("norm_k", "k_norm"), ("ff.net.0.proj", "mlp.layer1"),
    ("ff.net.2", "mlp.layer2"), ("patch_embed.proj", "x_embedder.proj.1"),
    ("norm_out.linear_1", "final_layer.adaln_modulation.1"), ("norm_out.linear_2", "final_layer.adaln_modulation.2"),
    ("proj_out", "final_layer.linear"),
]


@dataclass
class Shape:
    """The extents of one checkpoint, and how it is stored."""

    heads: int = 2
    head_dim: int = 16
    layers: int = 2
    adaln: int = 12
    mlp_ratio: float = 2.0
    rope_scale: tuple = (1.0, 3.0, 3.0)
    text_dim: int = 20
    text_tokens: int = 5
    projected_from: int | None = None
    channels: int = 8
    vae: dict = field(default_factory=dict)
    scheduler: dict = field(default_factory=dict)
    scheduler_class: str = "UniPCMultistepScheduler"
    pipeline: str = "Cosmos2_5_PredictBasePipeline"
    actions: dict | None = None
    original_names: bool = False
    stored: str = "float32"


class ActionTimeEmbed(nn.Module):
    """Diffusers' time embedding with two perceptrons that turn actions into a bias of the timestep's embedding and one of AdaLN's.

    `actions` `[n, action_dim]` and `mask` `[T]` (1 = given) are set before each call."""

    def __init__(self, base: nn.Module, width: int, n_inputs: int, per: str):
        super().__init__()
        mlp = lambda n_out: nn.ModuleDict(dict(fc1=nn.Linear(n_inputs, 4 * width), fc2=nn.Linear(4 * width, n_out)))
        self.time_proj, self.t_embedder, self.norm = base.time_proj, base.t_embedder, base.norm
        self.action_embedder_B_D, self.action_embedder_B_3D = mlp(width), mlp(3 * width)
        self.per, self.actions, self.mask = per, None, None

    def embed(self, mlp: nn.ModuleDict) -> torch.Tensor:
        hidden = lambda x: mlp.fc2(nn.functional.gelu(mlp.fc1(x), approximate="tanh"))
        if self.per == "clip":
            return hidden(self.actions.reshape(1, -1)).expand(len(self.mask), -1)
        later = hidden(self.actions.reshape(len(self.mask) - 1, -1))
        return torch.cat([torch.zeros_like(later[:1]), later]) * (1 - self.mask[:, None])

    def forward(self, hidden_states, timestep):
        embedded = self.time_proj(timestep).type_as(hidden_states)
        temb = self.t_embedder(embedded)
        if self.actions is not None:
            embedded = embedded + self.embed(self.action_embedder_B_D)
            temb = temb + self.embed(self.action_embedder_B_3D)
        return temb, self.norm(embedded)


def write(shape: Shape, clip: dict, out: Path, generator: torch.Generator) -> None:
    """Writes a checkpoint directory. `clip` says height, width, frames, condition_frames and fps."""
    stored = getattr(torch, shape.stored)
    vae = AutoencoderKLWan(**(dict(
        base_dim=4, z_dim=shape.channels, dim_mult=[1, 2, 2, 2], num_res_blocks=1,
        latents_mean=[round(0.1 * math.sin(i), 4) for i in range(shape.channels)],
        latents_std=[round(0.7 + 0.2 * math.cos(i), 4) for i in range(shape.channels)]) | shape.vae))
    randomise_vae(vae, generator)
    vae.to(stored).save_pretrained(out / "vae")

    transformer = CosmosTransformer3DModel(
        in_channels=shape.channels + 1, out_channels=shape.channels, num_attention_heads=shape.heads,
        attention_head_dim=shape.head_dim, num_layers=shape.layers, mlp_ratio=shape.mlp_ratio, text_embed_dim=shape.text_dim,
        adaln_lora_dim=shape.adaln, max_size=(16, 48, 48), rope_scale=shape.rope_scale, extra_pos_embed_type=None,
        use_crossattn_projection=shape.projected_from is not None, crossattn_proj_in_channels=shape.projected_from or 1024,
        encoder_hidden_states_channels=shape.text_dim)
    with_actions(transformer, shape, clip)
    randomise(transformer, generator)
    transformer.to(stored).save_pretrained(out / "transformer")
    weights = out / "transformer" / "diffusion_pytorch_model.safetensors"
    tensors = {k.replace("time_embed.action_", "action_"): v for k, v in load_file(weights).items()}
    if shape.original_names:
        for new, old in ORIGINAL_NAMES:
            tensors = {k.replace(new, old): v for k, v in tensors.items()}
        tensors = {f"net.{k}": v for k, v in tensors.items()}
        tensors |= {"net.accum_iteration": torch.zeros(1), "net.pos_embedder.seq": torch.arange(8.0)}
    save_file(tensors, weights)

    (out / "scheduler").mkdir()
    write_json(out / "scheduler" / "scheduler_config.json", dict(_class_name=shape.scheduler_class, **shape.scheduler))
    index = dict(
        _class_name=shape.pipeline, transformer=["diffusers", "CosmosTransformer3DModel"],
        vae=["diffusers", "AutoencoderKLWan"], scheduler=["diffusers", shape.scheduler_class], perihelion=dict(clip))
    if shape.actions:
        index["perihelion"]["actions"] = shape.actions
    write_json(out / "model_index.json", index)

    width = shape.projected_from or shape.text_dim
    text = {name: torch.randn((1, n, width), generator=generator) for name, n in
            (("default", shape.text_tokens), ("negative", shape.text_tokens - 1))}
    save_file(text, out / "text_embedding.safetensors")


def with_actions(transformer, shape: Shape, clip: dict) -> None:
    if shape.actions:
        per = shape.actions["per"]
        n = 4 if per == "latent" else clip["frames"] - 1
        width = shape.heads * shape.head_dim
        transformer.time_embed = ActionTimeEmbed(transformer.time_embed, width, n * len(shape.actions["names"]), per)


def load(shape: Shape, clip: dict, checkpoint: Path):
    """Transformer and VAE in float32, from the files."""
    config = CosmosTransformer3DModel.load_config(checkpoint / "transformer")
    transformer = CosmosTransformer3DModel.from_config(config)
    with_actions(transformer, shape, clip)
    tensors = load_file(checkpoint / "transformer" / "diffusion_pytorch_model.safetensors")
    if shape.original_names:
        tensors = {k.removeprefix("net."): v for k, v in tensors.items() if "accum" not in k and "pos_embedder" not in k}
        for new, old in ORIGINAL_NAMES:
            tensors = {k.replace(old, new): v for k, v in tensors.items()}
    transformer.load_state_dict({k.replace("action_embedder", "time_embed.action_embedder"): v for k, v in tensors.items()})
    vae = AutoencoderKLWan.from_pretrained(checkpoint / "vae", torch_dtype=torch.float32)
    return transformer.float().eval(), vae.eval()


@torch.no_grad()
def randomise(model, generator: torch.Generator) -> None:
    """Draws every parameter, so that norms and biases too are seen to be used."""
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if name.endswith("bias"):
            parameter.copy_(0.1 * noise)
        elif "norm" in name and "linear" not in name:
            parameter.copy_(1 + 0.2 * noise)
        else:
            gain = 0.7 if "linear_2" in name else 1.2
            parameter.copy_(gain * noise / math.sqrt(noise[0].numel()))


@torch.no_grad()
def randomise_vae(vae, generator: torch.Generator) -> None:
    """Draws every parameter so that no norm divides by almost nothing.

    The VAE's norms divide the channels of a place by their length. Of two or four random channels about zero some place of every
    clip has almost none, and norm after norm magnifies what float32 rounds away, up to ten thousand times: diffusers itself is then
    off by more than the tests' bound, beside itself in float64. Biases away from zero keep lengths near one, as the many channels
    of a real VAE do; their signs alternate, so that SiLU is used on both sides."""
    for name, parameter in vae.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if name.endswith("bias"):
            parameter.copy_((0.7 + 0.14 * noise) * (1 - 2 * (torch.arange(len(noise)) % 2)))
        elif name.endswith("gamma"):
            parameter.copy_(1 + 0.2 * noise)
        else:
            parameter.copy_(noise / math.sqrt(noise[0].numel()))


def write_json(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n")
