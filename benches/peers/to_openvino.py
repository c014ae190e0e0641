"""A part of a random checkpoint as OpenVINO models, one for each precision that its weights are stored in.

    to_openvino.py {text,vision,denoiser,vae} CHECKPOINT OUT_FOLDER [--image-size 512] [--precisions f32,int8,int4]

Writes OUT_FOLDER/PART-PRECISION.xml. `int8` and `int4` of the language model are weights by `nncf.compress_weights` (int8 by
channel; int4 symmetric in groups of 128, its table int8); `int8` of the tower and of the denoiser is `nncf.quantize`, weights and activations, calibrated on
random values. What f32 weights are computed in is said when the model is compiled. Why a precision could not be made is written
to OUT_FOLDER/PART-PRECISION.failed.

The language model is written here as transformers has it, with caches as OpenVINO's own state (`openvino_time.py` runs it): rotary positions of
text alone, logits of the last token. The denoiser takes ONE timestep for all frames, which is less work than ours, where each frame has its own.
"""
import argparse
import json
import pathlib
import sys

import nncf
import numpy as np
import openvino as ov
import torch
from openvino import opset13 as ops
from openvino._offline_transformations import apply_make_stateful_transformation
from torch import nn
from torch.nn import functional as F


class Norm(nn.Module):
    def __init__(self, weight, eps):
        super().__init__()
        self.weight, self.eps = weight, eps

    def forward(self, x):
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps))


class Layer(nn.Module):
    """One decoder layer over a layer of transformers, whose weights it uses."""

    def __init__(self, layer, config):
        super().__init__()
        attention, eps = layer.self_attn, config.rms_norm_eps
        self.q, self.k, self.v, self.o = attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj
        self.q_norm, self.k_norm = Norm(attention.q_norm.weight, eps), Norm(attention.k_norm.weight, eps)
        self.before, self.after = Norm(layer.input_layernorm.weight, eps), Norm(layer.post_attention_layernorm.weight, eps)
        self.gate, self.up, self.down = layer.mlp.gate_proj, layer.mlp.up_proj, layer.mlp.down_proj
        self.n_heads, self.n_kv, self.head_dim = config.num_attention_heads, config.num_key_value_heads, config.head_dim

    def heads(self, x, n):
        return x.view(1, -1, n, self.head_dim)

    def repeated(self, x):
        """Keys or values `[1, n_kv, n, d]` for each head of the queries."""
        n_groups = self.n_heads // self.n_kv
        x = x[:, :, None].expand(1, self.n_kv, n_groups, -1, self.head_dim)
        return x.reshape(1, self.n_heads, -1, self.head_dim)

    def forward(self, x, cos, sin, mask, past_k, past_v):
        y = self.before(x)
        q = rotated(self.q_norm(self.heads(self.q(y), self.n_heads)).transpose(1, 2), cos, sin)
        k = rotated(self.k_norm(self.heads(self.k(y), self.n_kv)).transpose(1, 2), cos, sin)
        k = torch.cat([past_k, k], 2)
        v = torch.cat([past_v, self.heads(self.v(y), self.n_kv).transpose(1, 2)], 2)
        y = F.scaled_dot_product_attention(q, self.repeated(k), self.repeated(v), attn_mask=mask)
        x = x + self.o(y.transpose(1, 2).reshape(1, -1, self.n_heads * self.head_dim))
        y = self.after(x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y)), k, v


def rotated(x, cos, sin):
    half = x.shape[-1] // 2
    return x * cos + torch.cat([-x[..., half:], x[..., :half]], -1) * sin


class Text(nn.Module):
    def __init__(self, model, config):
        super().__init__()
        self.table, self.final = model.embed_tokens, Norm(model.norm.weight, config.rms_norm_eps)
        self.layers = nn.ModuleList(Layer(layer, config) for layer in model.layers)
        steps = torch.arange(0, config.head_dim, 2, dtype=torch.float32) / config.head_dim
        self.register_buffer("rates", config.rope_parameters["rope_theta"] ** -steps)

    def forward(self, ids, positions, *pasts):
        """Logits of the last token and the caches: ids and positions `[1, n]`, caches `[1, n_kv, past, d]`, keys and values by layer."""
        angles = positions[0, :, None].float() * self.rates
        cos, sin = (f(torch.cat([angles, angles], -1))[None, None] for f in (torch.cos, torch.sin))
        keys = torch.arange(pasts[0].shape[2] + ids.shape[1])
        seen = keys[None] <= positions[0, :, None]
        mask = torch.where(seen, 0.0, torch.finfo(torch.float32).min)[None, None]
        x, present = self.table(ids), []
        for i, layer in enumerate(self.layers):
            x, k, v = layer(x, cos, sin, mask, pasts[2 * i], pasts[2 * i + 1])
            present += [k, v]
        return (F.linear(self.final(x[:, -1:]), self.table.weight), *present)


def text(checkpoint, _):
    from transformers import Qwen3VLForConditionalGeneration

    whole = Qwen3VLForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32, attn_implementation="sdpa").eval()
    config = whole.config.text_config
    model = Text(whole.model.language_model, config).eval()
    del whole.model.visual
    n_caches = 2 * config.num_hidden_layers
    past = [torch.zeros(1, config.num_key_value_heads, 3, config.head_dim) for _ in range(n_caches)]
    example = (torch.zeros(1, 2, dtype=torch.long), torch.tensor([[3, 4]]), *past)
    ids = torch.arange(7)[None]
    got = model(ids, torch.arange(7)[None], *(cache[:, :, :0] for cache in past))[0]
    same(got, whole(input_ids=ids, logits_to_keep=1).logits, "the language model written here")
    whole_ids, cache = ov.PartialShape([1, -1]), ov.PartialShape([1, config.num_key_value_heads, -1, config.head_dim])
    found = ov.convert_model(model, example_input=example, input=[whole_ids, whole_ids] + [cache] * n_caches)
    return stateful(found, n_caches)


def stateful(model, n_caches):
    """Caches as variables: the plugin keeps them in place only where a gather by `beam_idx` is between a variable and its use."""
    beams = ops.parameter([-1], np.int32, name="beam_idx")
    beams.output(0).get_tensor().add_names({"beam_idx"})
    pairs = {}
    for name, port in zip(("input_ids", "positions"), model.inputs):
        port.get_tensor().set_names({name})
    for i in range(n_caches):
        given, made = model.inputs[2 + i], model.outputs[1 + i]
        users = given.get_target_inputs()
        gathered = ops.gather(given, beams, ops.constant(0, np.int32))
        for user in users:
            user.replace_source_output(gathered.output(0))
        given.get_tensor().set_names({f"past.{i}"})
        made.get_tensor().set_names({f"present.{i}"})
        pairs[f"past.{i}"] = f"present.{i}"
    model.outputs[0].get_tensor().set_names({"logits"})
    model.add_parameters([beams])
    model.validate_nodes_and_infer_types()
    apply_make_stateful_transformation(model, pairs)
    return begun_empty(model)


def begun_empty(model):
    """Each variable begins with no tokens; the plugin's own attention wants to be told so."""
    for read in [node for node in model.get_ops() if node.get_type_name() == "ReadValue" and not node.inputs()]:
        shape = [0 if extent.is_dynamic else extent.get_length() for extent in read.output(0).partial_shape]
        read.set_arguments([ops.broadcast(ops.constant(0.0, np.float32), ops.constant(shape, np.int64)).output(0)])
    model.validate_nodes_and_infer_types()
    return model


def vision(checkpoint, image_size):
    from transformers import Qwen3VLForConditionalGeneration

    tower = Qwen3VLForConditionalGeneration.from_pretrained(
        checkpoint, dtype=torch.float32, attn_implementation="sdpa").eval().model.visual
    side = image_size // tower.config.patch_size
    grid = torch.tensor([[1, side, side]])
    n_values = tower.config.in_channels * tower.config.temporal_patch_size * tower.config.patch_size ** 2

    class Features(nn.Module):
        def __init__(self):
            super().__init__()
            self.tower = tower

        def forward(self, patches):
            out = self.tower(patches, grid_thw=grid)
            return (out.pooler_output, *out.deepstack_features)

    return static(Features(), (torch.randn(side * side, n_values),))


def denoiser(checkpoint, _):
    from diffusers import CosmosTransformer3DModel
    from safetensors.torch import load_file

    network = CosmosTransformer3DModel.from_pretrained(checkpoint / "transformer", torch_dtype=torch.float32).eval()
    clip = json.loads((checkpoint / "model_index.json").read_text())["perihelion"]
    said = load_file(checkpoint / "text_embedding.safetensors")["default"].float()
    shape = ((clip["frames"] - 1) // 4 + 1, clip["height"] // 8, clip["width"] // 8)

    class Step(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, x, given, timestep, said, padding):
            return self.network(hidden_states=x, condition_mask=given, timestep=timestep, encoder_hidden_states=said,
                                padding_mask=padding, fps=clip["fps"], return_dict=False)[0]

    channels = network.config.in_channels - 1
    return static(Step(), (torch.randn(1, channels, *shape), torch.zeros(1, 1, *shape), torch.tensor([0.5]), said,
                           torch.zeros(1, 1, clip["height"], clip["width"])))


def vae(checkpoint, _):
    from diffusers import AutoencoderKLWan

    network = AutoencoderKLWan.from_pretrained(checkpoint / "vae", torch_dtype=torch.float32).eval()
    clip = json.loads((checkpoint / "model_index.json").read_text())["perihelion"]
    for module in network.modules():
        if isinstance(module, nn.Upsample):
            module.mode = "nearest"  # the same as nearest-exact at a factor of two, and one that OpenVINO has

    class Decoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, latents):
            return self.network.decode(latents, return_dict=False)[0]

    shape = ((clip["frames"] - 1) // 4 + 1, clip["height"] // 8, clip["width"] // 8)
    return static(Decoder(), (torch.randn(1, network.config.z_dim, *shape),))


def static(module, example):
    """Converts at the example's shapes; the model must then compute what the module does."""
    module = module.eval()
    with torch.inference_mode():
        found = ov.convert_model(module, example_input=example, input=[tuple(value.shape) for value in example])
        wanted = module(*example)
    wanted = wanted[0] if isinstance(wanted, tuple) else wanted
    got = ov.compile_model(found, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([value.numpy() for value in example])[0]
    same(torch.from_numpy(got), wanted, "OpenVINO's model")
    return found


def same(got, wanted, whose):
    off = float((got.detach() - wanted).abs().max() / wanted.abs().max())
    if not off <= 1e-3:
        sys.exit(f"{whose} is {off:.1e} of the largest value off torch's")


def random_inputs(model):
    random = np.random.default_rng(0)
    return [random.standard_normal([d.get_length() for d in port.partial_shape]).astype(np.float32) for port in model.inputs]


def stored_as(part, model, precision):
    """The model with its weights in this precision; `model` stays as it is."""
    if precision == "f32":
        return model
    model = model.clone()
    if part != "text" and precision == "int8":
        data = nncf.Dataset([random_inputs(model) for _ in range(2)])
        return nncf.quantize(model, data, subset_size=2, model_type=nncf.ModelType.TRANSFORMER)
    if precision == "int4":
        return nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT4_SYM, group_size=128, ratio=1.0)
    return nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_SYM)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["text", "vision", "denoiser", "vae"])
    parser.add_argument("checkpoint", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--image-size", type=int, default=512)
    parser.add_argument("--precisions", default="f32")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    convert = dict(text=text, vision=vision, denoiser=denoiser, vae=vae)[options.part]
    with torch.inference_mode():
        model = convert(options.checkpoint, options.image_size)
    for precision in options.precisions.split(","):
        out = options.out / f"{options.part}-{precision}.xml"
        try:
            ov.save_model(stored_as(options.part, model, precision), out, compress_to_fp16=False)
        except Exception as why:  # a peer's failure is a result: the table prints it
            out.with_suffix(".failed").write_text(f"{type(why).__name__}: {str(why).splitlines()[0][:200]}\n")


if __name__ == "__main__":
    main()
