"""The language model of a random checkpoint (`random_reason.py`) as a GGUF file that llama.cpp loads.

    to_gguf.py CHECKPOINT OUT.gguf [--type bf16]

Architecture `qwen3vl`, without the vision tower. The file has no vocabulary, only its size: llama.cpp then loads without building one,
which is in its favour, and is asked for ids. Nor does it say that the tower adds features to the first layers, so that it adds none.
Matrices are as the checkpoint stores them or f32, vectors f32. Other types are made of the bf16 file by `llama_quantize.c`.
"""
import argparse
import json
import pathlib

import gguf
import numpy as np
import torch
from safetensors import safe_open

# Ours to llama.cpp's, of layer N; a layer's names begin with `model.language_model.layers.N.` and `blk.N.`.
LAYER = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm", "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}
WHOLE = {"embed_tokens": "token_embd", "norm": "output_norm"}
PREFIX = "model.language_model."


def name_of(name):
    """llama.cpp's name of a tensor; none of what it is not given."""
    if not name.startswith(PREFIX):
        return None
    stem = name.removeprefix(PREFIX).removesuffix(".weight")
    if stem.startswith("layers."):
        _, layer, rest = stem.split(".", 2)
        return f"blk.{layer}.{LAYER[rest]}.weight"
    return f"{WHOLE[stem]}.weight"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--type", choices=["bf16", "f32"], default="bf16")
    options = parser.parse_args()
    config = json.loads((options.checkpoint / "config.json").read_text())["text_config"]
    rope = config["rope_parameters"]

    part = options.out.with_suffix(".part")
    writer = gguf.GGUFWriter(part, "qwen3vl")
    writer.add_name(options.checkpoint.name)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(rope["rope_theta"])
    writer.add_rope_dimension_sections([*rope["mrope_section"], 0])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("none")
    is_bf16 = options.type == "bf16"
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16 if is_bf16 else gguf.LlamaFileType.ALL_F32)
    for path in sorted(options.checkpoint.glob("*.safetensors")):
        with safe_open(path, "pt") as tensors:
            for name in tensors.keys():
                theirs = name_of(name)
                if theirs is None:
                    continue
                tensor = tensors.get_tensor(name)
                if is_bf16 and 1 < tensor.dim():
                    bits = tensor.to(torch.bfloat16).contiguous().view(torch.int16).numpy().view(np.uint8)
                    writer.add_tensor(theirs, bits, raw_dtype=gguf.GGMLQuantizationType.BF16)
                else:
                    writer.add_tensor(theirs, tensor.float().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    part.rename(options.out)


if __name__ == "__main__":
    main()
