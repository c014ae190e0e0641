"""What `merge` writes against `merge_and_unload` of peft, on small random checkpoints and adapters made a moment ago.

    merge.py PERIHELION WORK [--seed N]

Checkpoints of Reason are written by transformers and their adapters by peft; a pipeline of Predict is written by diffusers and its
adapter as `save_lora_weights` does. Every tensor of the merged checkpoint must be peft's: in float32 within 1e-6 of the tensor's
largest, in 16 bits within one step of what peft merges in float32 and rounds once, or within that 1e-6 where the two cancel out; what the adapter does not change must be the same
byte for byte. `export` takes what comes out.
"""
import argparse
import json
import pathlib
import shutil

import torch
from diffusers import Cosmos2_5_PredictBasePipeline, CosmosTransformer3DModel
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file
from transformers import Qwen3VLForConditionalGeneration

import predict_checkpoints
import reason_checkpoints
from command import run
from predict import KARRAS_UNIPC

TOKENIZER = pathlib.Path(__file__).parents[2] / "engines/small-reason"
TOLERANCE = 1e-6
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
CLIP = dict(height=32, width=32, frames=5, condition_frames=1, fps=16)

REASON = {
    "plain": (dict(), dict(r=4, lora_alpha=8, target_modules=LINEAR)),
    "plain_bf16": (dict(stored="bfloat16"), dict(r=4, lora_alpha=8, target_modules=LINEAR + ["qkv", "linear_fc1"])),
    "plain_f16_sharded": (dict(stored="float16", shard_bytes=60_000), dict(r=8, lora_alpha=4, target_modules="all-linear")),
    "rslora_patterns": (dict(stored="bfloat16"), dict(
        r=4, lora_alpha=6, use_rslora=True, target_modules=LINEAR,
        rank_pattern={"q_proj": 2, r"layers\.1\.mlp\..*_proj": 5}, alpha_pattern={"layers.0.self_attn.v_proj": 3, "down_proj": 9})),
    "modules_to_save": (dict(tied=False), dict(
        r=2, lora_alpha=2, target_modules=["q_proj"], modules_to_save=["lm_head", "visual.merger", "language_model.norm"])),
    "bias_all": (dict(), dict(r=3, lora_alpha=3, target_modules=["qkv", "linear_fc2", "q_proj"], bias="all")),
    "bias_of_lora": (dict(stored="bfloat16"), dict(r=3, lora_alpha=3, target_modules=["qkv", "linear_fc2"], bias="lora_only")),
    "bias_in_lora": (dict(), dict(r=3, lora_alpha=5, target_modules=["qkv", "linear_fc1"], lora_bias=True)),
    "embedding": (dict(tied=False), dict(r=4, lora_alpha=4, target_modules=["embed_tokens", "q_proj"])),
    "patches": (dict(), dict(r=4, lora_alpha=2, target_modules=[r"proj", "o_proj"])),
    "dora": (dict(), dict(r=4, lora_alpha=8, target_modules=LINEAR + ["qkv"], use_dora=True)),
    "dora_bf16": (dict(stored="bfloat16"), dict(r=2, lora_alpha=8, target_modules=LINEAR, use_dora=True, use_rslora=True)),
}
PREDICT = {
    "predict": (dict(), dict(r=4, lora_alpha=4), False),
    "predict_metadata": (dict(stored="bfloat16"), dict(r=4, lora_alpha=12, rank_pattern={"to_k": 2}), True),
    "predict_original_names": (dict(stored="bfloat16", original_names=True), dict(r=2, lora_alpha=2), True),
}


@torch.no_grad()
def train(model, generator):
    """Moves whatever would be trained."""
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            noise = 0.2 * torch.randn(parameter.shape, generator=generator)
            scale = 1 + noise if "magnitude" in name else noise
            parameter.copy_(parameter * scale if "magnitude" in name else parameter + scale.to(parameter.dtype))


def compare(ours, base, theirs, stored):
    """What is wrong, or how many tensors changed. `theirs` are in float32."""
    n_changed = 0
    for name, before in base.items():
        after = ours.pop(name)
        if after.dtype != before.dtype or after.shape != before.shape:
            return f"{name}: {after.dtype} {after.shape}, was {before.dtype} {before.shape}", 0
        expected = theirs[name].to(before.dtype)
        if torch.equal(expected, before):
            if not torch.equal(after, before):
                return f"{name} changed", 0
            continue
        n_changed += 1
        off = (after.float() - expected.float()).abs()
        largest = expected.float().abs().max()
        if stored == torch.float32:
            if not off.max() <= TOLERANCE * largest:
                return f"{name} is off by {off.max() / largest:.2e} of its largest", 0
        else:
            steps = lambda x: torch.where((bits := x.view(torch.int16).int()) < 0, -(bits & 0x7FFF), bits)
            # What is left of two that cancel out has steps finer than float32 sums.
            is_more = ((steps(after) - steps(expected)).abs() > 1) & (off > TOLERANCE * largest)
            if is_more.any() or off.isnan().any():
                return f"{name} is off by {off[is_more].max() / largest:.2e} of its largest, more than one step", 0
    return (f"new tensors {sorted(ours)}" if ours else None), n_changed


def weights(folder):
    return {name: tensor for file in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(file).items()}


def check_reason(binary, work, shape, config, generator):
    shape = reason_checkpoints.Shape(**shape)
    reason_checkpoints.write(shape, TOKENIZER, work / "base", generator)
    base = lambda: Qwen3VLForConditionalGeneration.from_pretrained(work / "base", dtype=torch.float32)
    model = get_peft_model(base(), LoraConfig(**config))
    train(model, generator)
    model.save_pretrained(work / "adapter")
    merged = PeftModel.from_pretrained(base(), work / "adapter").merge_and_unload()
    said = json.loads(run(binary, "merge", work / "base", work / "adapter", "-o", work / "out", "--json"))
    problem, n_changed = compare(weights(work / "out"), weights(work / "base"), merged.state_dict(), getattr(torch, shape.stored))
    return problem, n_changed, said


def check_predict(binary, work, shape, config, with_metadata, generator):
    shape = predict_checkpoints.Shape(scheduler=KARRAS_UNIPC, **shape)
    predict_checkpoints.write(shape, CLIP, work / "base", generator)
    transformer, _ = predict_checkpoints.load(shape, CLIP, work / "base")
    config = LoraConfig(target_modules=["to_q", "to_k", "to_v", "to_out.0", "linear_1", "ff.net.2"], **config)
    transformer.requires_grad_(False)
    transformer.add_adapter(config)
    train(transformer, generator)
    more = {}
    if with_metadata:
        more = dict(transformer_lora_adapter_metadata=transformer.peft_config["default"].to_dict())
    Cosmos2_5_PredictBasePipeline.save_lora_weights(
        work / "adapter", transformer_lora_layers=get_peft_model_state_dict(transformer), **more)
    # Loaded as a pipeline does it, so that what diffusers makes of the file is what is compared.
    merged, _ = predict_checkpoints.load(shape, CLIP, work / "base")
    tensors, metadata = Cosmos2_5_PredictBasePipeline.lora_state_dict(work / "adapter", return_lora_metadata=True)
    merged.load_lora_adapter(tensors, prefix="transformer", metadata=metadata)
    merged.fuse_lora()
    merged.unload_lora()
    theirs = merged.state_dict()
    if shape.original_names:
        for new, old in predict_checkpoints.ORIGINAL_NAMES:
            theirs = {name.replace(new, old): tensor for name, tensor in theirs.items()}
        theirs = {f"net.{name}": tensor for name, tensor in theirs.items()}
    said = json.loads(run(binary, "merge", work / "base", work / "adapter", "-o", work / "out", "--json"))
    before = weights(work / "base/transformer")
    # What training leaves in a file is no part of the model.
    theirs = {name: tensor for name, tensor in before.items() if name not in theirs} | theirs
    problem, n_changed = compare(weights(work / "out/transformer"), before, theirs, getattr(torch, shape.stored))
    return problem, n_changed, said


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("binary", type=pathlib.Path)
    options.add_argument("work", type=pathlib.Path)
    options.add_argument("--seed", type=int, default=20261129)
    options = options.parse_args()
    checks = [(name, check_reason, case) for name, case in REASON.items()]
    checks += [(name, check_predict, case) for name, case in PREDICT.items()]
    failed = 0
    for i, (name, check, case) in enumerate(checks):
        work = options.work.resolve() / name
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        generator = torch.manual_seed(options.seed + i)
        problem, n_changed, said = check(options.binary.resolve(), work, *case, generator)
        if problem is None and not 0 < n_changed <= said["tensors_merged"]:
            problem = f"{n_changed} tensors changed, {said['tensors_merged']} are said"
        run(options.binary.resolve(), "export", work / "out", "-o", work / "merged.model")
        failed += problem is not None
        print(f"{name:>24}: {problem or f'equal, {n_changed} tensors merged'}")
    print(f"merge: {len(checks) - failed} passed, {failed} failed")
    raise SystemExit(failed != 0)


if __name__ == "__main__":
    main()
