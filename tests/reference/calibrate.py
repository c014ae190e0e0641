"""What `calibrate` sees against hooks in transformers, on every case of a folder that reason.py wrote.

    calibrate.py PERIHELION CASES WORK

The largest magnitude that each linear layer is given over a prompt must be the reference's, within a thousandth; none is left out.

With --smooth the factors must be those of the paper's formula on what the hooks see and the checkpoint has, of the groups that are
written down here; with them in its weights, transformers' own model must give the same logits, and its layers be given what the scales say.
"""
import json
import pathlib
import sys

import torch
from transformers import AutoProcessor, Qwen3VLForConditionalGeneration

from command import run
from reason import prepare

TOLERANCE = 1e-3
# Of logits, of their largest: sums of other terms.
LOGITS_TOLERANCE = 1e-4
ALPHA = 0.6


def load(case):
    return Qwen3VLForConditionalGeneration.from_pretrained(
        case / "checkpoint", dtype=torch.float32, attn_implementation="eager").eval()


@torch.no_grad()
def largest_given(model, case, facts):
    """By the name of each linear layer's weight the largest magnitude that each channel is given; and the logits."""
    processor = AutoProcessor.from_pretrained(case / "checkpoint")
    _, inputs = prepare(processor, facts["media"], case, facts["system"], facts["question"])
    found = {}

    def see(name):
        def hook(_, given):
            channels = given[0].abs().reshape(-1, given[0].shape[-1]).amax(0)
            found[name] = torch.maximum(found[name], channels) if name in found else channels
        return hook

    hooks = [module.register_forward_pre_hook(see(f"{name}.weight"))
             for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    logits = model(**inputs, logits_to_keep=1).logits
    for hook in hooks:
        hook.remove()
    return found, logits


def calibrate(binary, case, facts, work, *more):
    """The file of scales of a case's one question."""
    model, lines, scales = (work / f"{case.name}.{end}" for end in ("model", "jsonl", "json"))
    run(binary, "export", case / "checkpoint", "-o", model)
    line = {"prompt": facts["question"], "images": [str(case / m["image"]) for m in facts["media"] if "image" in m]}
    for medium in facts["media"]:
        if "video" in medium:
            line |= {"video": str(case / medium["video"]), "fps": medium["fps"]}
    if facts["system"]:
        line["system"] = facts["system"]
    lines.write_text(json.dumps(line) + "\n")
    run(binary, "calibrate", model, "--data", lines, "-o", scales, "--method", "max", "--max-tokens", 1, *more)
    return json.loads(scales.read_text())


def magnitudes(scales, given):
    """What is wrong with the magnitudes of scales, and how many layers were compared."""
    ours = {t["weight"]: t["amax"] for t in scales["tensors"]}
    theirs = {name: channels.max().item() for name, channels in given.items()}
    tied = "model.language_model.embed_tokens.weight"
    if tied in ours:
        theirs[tied] = theirs.pop("lm_head.weight")
    if missing := sorted(set(theirs) - set(ours)):
        return f"not calibrated: {missing}", 0
    off = {name: abs(ours[name] - amax) / amax for name, amax in theirs.items()}
    worst = max(off, key=off.get)
    if TOLERANCE < off[worst]:
        return f"{worst}: {ours[worst]} instead of {theirs[worst]}", 0
    # Patches are a convolution there.
    without = [name for name in ours if name not in theirs and "patch_embed" not in name]
    return (f"transformers has no {without}" if without else None), len(off)


def groups(model):
    """By what is divided: the linear layers that are given it, and the channel of each of their columns."""
    config, found = model.config.text_config, {}
    heads_each = config.num_attention_heads // config.num_key_value_heads
    for i in range(config.num_hidden_layers):
        layer = f"model.language_model.layers.{i}"
        attention, mlp = f"{layer}.self_attn", f"{layer}.mlp"
        found[f"{layer}.input_layernorm"] = ([f"{attention}.{x}_proj" for x in "qkv"], None)
        found[f"{layer}.post_attention_layernorm"] = ([f"{mlp}.gate_proj", f"{mlp}.up_proj"], None)
        found[f"{mlp}.up_proj"] = ([f"{mlp}.down_proj"], None)
        channels = torch.arange(config.num_key_value_heads * config.head_dim).reshape(-1, 1, config.head_dim)
        found[f"{attention}.v_proj"] = ([f"{attention}.o_proj"], channels.expand(-1, heads_each, -1).flatten())
    for i in range(model.config.vision_config.depth):
        block = f"model.visual.blocks.{i}"
        found[f"{block}.norm1"] = ([f"{block}.attn.qkv"], None)
        found[f"{block}.norm2"] = ([f"{block}.mlp.linear_fc1"], None)
    # The last merger has its norm before patches become one row.
    for i in range(len(model.config.vision_config.deepstack_visual_indexes)):
        merger = f"model.visual.deepstack_merger_list.{i}"
        found[f"{merger}.norm"] = ([f"{merger}.linear_fc1"], None)
    return found


def by_channel(columns, channels):
    if channels is None:
        return columns
    largest = torch.zeros(int(channels.max()) + 1)
    return largest.scatter_reduce(0, channels, columns, "amax")


@torch.no_grad()
def smoothed(model, scales, given):
    """What is wrong with the factors of scales; else the model's weights are then balanced by them."""
    modules = dict(model.named_modules())
    of = {balance["divided"][0]: balance for balance in scales["balances"]}
    # Of what the prompt reaches: text alone is seen by no encoder.
    expected = {name: group for name, group in groups(model).items() if f"{group[0][0]}.weight" in given}
    if set(of) != {f"{name}.weight" for name in expected}:
        return f"balanced are {sorted(of)}, expected {sorted(expected)}"
    changes = []
    for name, (products, channels) in expected.items():
        balance = of[f"{name}.weight"]
        if set(balance["multiplied"]) != {f"{product}.weight" for product in products}:
            return f"{name}: {balance['multiplied']} instead of {products}"
        of_weights = torch.stack([modules[product].weight.abs().amax(0) for product in products]).amax(0)
        largest = [by_channel(x, channels) for x in (given[f"{products[0]}.weight"], of_weights)]
        wanted = largest[0] ** ALPHA / largest[1] ** (1 - ALPHA)
        factors = torch.tensor(balance["factors"])
        off = ((factors - wanted) / wanted).abs().max().item()
        if TOLERANCE < off:
            return f"{name}: a factor is off by {off:.1e}"
        changes.append((modules[name], [modules[product] for product in products], factors, channels))
    for divided, multiplied, factors, channels in changes:
        rows = factors.reshape(-1, *[1] * (divided.weight.dim() - 1))
        divided.weight /= rows
        if getattr(divided, "bias", None) is not None:
            divided.bias /= factors
        for product in multiplied:
            product.weight *= factors if channels is None else factors[channels]
    return None


def check(binary, case, work):
    facts, model = json.loads((case / "case.json").read_text()), load(case)
    given, logits = largest_given(model, case, facts)
    problem, n_layers = magnitudes(calibrate(binary, case, facts, work), given)
    if problem:
        return problem, 0
    scales = calibrate(binary, case, facts, work, "--smooth", ALPHA)
    if problem := smoothed(model, scales, given):
        return problem, 0
    given, found = largest_given(model, case, facts)
    off = ((found - logits).abs().max() / logits.abs().max()).item()
    if LOGITS_TOLERANCE < off:
        return f"with balanced weights logits are off by {off:.1e}", 0
    problem, _ = magnitudes(scales, given)
    return (f"balanced: {problem}" if problem else None), n_layers


def main():
    binary, cases, work = (pathlib.Path(argument).resolve() for argument in sys.argv[1:4])
    work.mkdir(parents=True, exist_ok=True)
    compared = failed = 0
    for case in sorted(cases.iterdir()):
        if not (case / "case.json").exists():
            continue
        facts = json.loads((case / "case.json").read_text())
        kinds = ["image" in medium for medium in facts["media"]]
        if facts["think_suffix"] or kinds != sorted(kinds, reverse=True):
            continue
        problem, n_layers = check(binary, case, work)
        compared += 1
        failed += problem is not None
        print(f"{case.name:>28}: {problem or f'equal in {n_layers} layers, and balanced'}")
    print(f"calibrate: {compared - failed} passed, {failed} failed")
    if compared < 6:
        sys.exit(f"only {compared} cases under {cases}")
    sys.exit(failed != 0)


if __name__ == "__main__":
    main()
