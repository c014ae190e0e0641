"""Small random checkpoints of the Qwen3-VL architecture, written by transformers itself.

Each case differs in what a config can say: head tied or not, ratio of query to key heads, widths, patch size, DeepStack layers,
storage type, shards, and the files of transformers 4 in place of those of 5. Weights are scaled so that every part of the network
moves the answer: with transformers' own initialisation the logits hardly depend on the input.
"""

import json
import math
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import torch
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

# Ids of the special tokens in the tokenizer of 512 that the cases share.
END_OF_TEXT, TURN_START, TURN_END, VISION_START, VISION_END, IMAGE, VIDEO = 502, 503, 504, 505, 506, 508, 509

# A template with what real ones have beside the bare turns: a standing system text, counters, conditions, whitespace control.
ELABORATE_TEMPLATE = """\
{%- set seen = namespace(images=0) %}
{%- if messages[0].role != 'system' %}
    {{- '<|im_start|>system\\nYou help a robot.<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' }}
    {%- if message.content is string %}
        {{- message.content }}
    {%- else %}
        {%- for part in message.content %}
            {%- if part.type == 'image' or 'image' in part %}
                {%- set seen.images = seen.images + 1 %}
                {%- if number_images %}Picture {{ seen.images }}: {% endif -%}
                <|vision_start|><|image_pad|><|vision_end|>
            {%- elif part.type == 'video' %}
                <|vision_start|><|video_pad|><|vision_end|>
            {%- elif 'text' in part %}
                {{- part.text }}
            {%- endif %}
        {%- endfor %}
    {%- endif %}
    {{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""


@dataclass
class Shape:
    """The extents of one network, and how it is stored."""

    hidden: int = 32
    intermediate: int = 48
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 16
    mrope: tuple = (4, 2, 2)
    theta: float = 100_000.0
    tied: bool = True
    vision_hidden: int = 16
    vision_intermediate: int = 24
    vision_depth: int = 3
    vision_heads: int = 2
    patch: int = 8
    positions: int = 64
    deepstack: tuple = (0, 1)
    stored: str = "float32"
    shard_bytes: int | None = None
    old_files: bool = False
    video: dict = field(default_factory=dict)
    image: dict = field(default_factory=dict)


def write(shape: Shape, tokenizer_dir: Path, out: Path, generator: torch.Generator) -> None:
    """Writes a whole checkpoint directory: network, tokenizer, template, processor and generation configs."""
    config = Qwen3VLConfig(
        text_config=dict(
            vocab_size=512, hidden_size=shape.hidden, intermediate_size=shape.intermediate,
            num_hidden_layers=shape.layers, num_attention_heads=shape.heads, num_key_value_heads=shape.kv_heads,
            head_dim=shape.head_dim, max_position_embeddings=4096, bos_token_id=END_OF_TEXT, eos_token_id=TURN_END,
            pad_token_id=END_OF_TEXT, tie_word_embeddings=shape.tied,
            rope_parameters=dict(rope_type="default", rope_theta=shape.theta, mrope_section=list(shape.mrope),
                                 mrope_interleaved=True),
        ),
        vision_config=dict(
            depth=shape.vision_depth, hidden_size=shape.vision_hidden, intermediate_size=shape.vision_intermediate,
            num_heads=shape.vision_heads, patch_size=shape.patch, out_hidden_size=shape.hidden,
            num_position_embeddings=shape.positions, deepstack_visual_indexes=list(shape.deepstack),
        ),
        image_token_id=IMAGE, video_token_id=VIDEO, vision_start_token_id=VISION_START, vision_end_token_id=VISION_END,
        tie_word_embeddings=shape.tied,
    )
    model = Qwen3VLForConditionalGeneration(config)
    randomise(model, generator)
    model.generation_config.update(
        eos_token_id=[TURN_END, END_OF_TEXT], pad_token_id=END_OF_TEXT, do_sample=True, temperature=0.7, top_k=20, top_p=0.8)
    shards = {} if shape.shard_bytes is None else {"max_shard_size": shape.shard_bytes}
    model.to(getattr(torch, shape.stored)).save_pretrained(out, **shards)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(tokenizer_dir / name, out / name)
    write_processor(shape, out)
    if shape.old_files:
        as_transformers_4(out)


@torch.no_grad()
def randomise(model, generator: torch.Generator) -> None:
    """Draws every parameter, so that norms and biases too are seen to be used."""
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if name.endswith("bias"):
            parameter.copy_(0.2 * noise)
        elif "norm" in name:
            parameter.copy_(1 + 0.2 * noise)
        elif "embed_tokens" in name:
            # Small beside what the layers add, or a tied head would say its own input for ever.
            parameter.copy_(0.3 * noise)
        elif "pos_embed" in name:
            parameter.copy_(0.5 * noise)
        else:
            gain = 3.0 if name.startswith("lm_head") else 1.5
            parameter.copy_(gain * noise / math.sqrt(noise[0].numel()))


def write_processor(shape: Shape, out: Path) -> None:
    shared = dict(
        do_convert_rgb=True, do_normalize=True, do_rescale=True, do_resize=True, image_mean=[0.5] * 3, image_std=[0.5] * 3,
        merge_size=2, patch_size=shape.patch, resample=3, rescale_factor=1 / 255, temporal_patch_size=2)
    image = shared | dict(image_processor_type="Qwen2VLImageProcessor", size=dict(shortest_edge=1024, longest_edge=4096))
    video = shared | dict(
        video_processor_type="Qwen3VLVideoProcessor", size=dict(shortest_edge=2048, longest_edge=16384), fps=4,
        min_frames=2, max_frames=16, do_sample_frames=True)
    config = dict(processor_class="Qwen3VLProcessor", image_processor=image | shape.image, video_processor=video | shape.video)
    write_json(out / "processor_config.json", config)


def as_transformers_4(out: Path) -> None:
    """Turns the files into those that transformers 4 wrote: two preprocessor files, the template inside the tokenizer's config,
    rotary parameters spread over two keys."""
    processor = json.loads((out / "processor_config.json").read_text())
    image, video = processor["image_processor"], processor["video_processor"]
    image["image_processor_type"] += "Fast"
    for config, name in ((image, "preprocessor_config.json"), (video, "video_preprocessor_config.json")):
        write_json(out / name, config | dict(processor_class="Qwen3VLProcessor"))
    (out / "processor_config.json").unlink()

    (out / "chat_template.jinja").unlink()
    tokenizer = json.loads((out / "tokenizer_config.json").read_text())
    write_json(out / "tokenizer_config.json", tokenizer | dict(chat_template=ELABORATE_TEMPLATE))

    config = json.loads((out / "config.json").read_text())
    rope = config["text_config"].pop("rope_parameters")
    config["text_config"]["rope_theta"] = rope.pop("rope_theta")
    config["text_config"]["rope_scaling"] = rope
    config["vision_config"].pop("rope_parameters")
    config["vision_config"]["model_type"] = "qwen3_vl"
    config["torch_dtype"] = config.pop("dtype")
    write_json(out / "config.json", config)


def write_json(path: Path, value) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
