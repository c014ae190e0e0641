"""What `calibrate` sees against hooks in transformers, on every case of a folder that reason.py wrote.

    calibrate.py PERIHELION CASES WORK

The largest magnitude that each linear layer is given over a prompt must be the reference's, within a thousandth; none is left out.
"""
import json
import pathlib
import sys

import torch
from transformers import AutoProcessor, Qwen3VLForConditionalGeneration

from command import run
from reason import prepare

TOLERANCE = 1e-3


@torch.no_grad()
def largest_given(case, facts):
    """By the name of each linear layer's weight: the largest magnitude that it is given."""
    model = Qwen3VLForConditionalGeneration.from_pretrained(
        case / "checkpoint", dtype=torch.float32, attn_implementation="eager").eval()
    processor = AutoProcessor.from_pretrained(case / "checkpoint")
    _, inputs = prepare(processor, facts["media"], case, facts["system"], facts["question"])
    found = {}

    def see(name):
        def hook(_, given):
            found[name] = max(found.get(name, 0.0), given[0].abs().max().item())
        return hook

    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_pre_hook(see(f"{name}.weight"))
    model(**inputs, logits_to_keep=1)
    return found


def check(binary, case, work):
    facts = json.loads((case / "case.json").read_text())
    model, lines, scales = (work / f"{case.name}.{end}" for end in ("model", "jsonl", "json"))
    run(binary, "export", case / "checkpoint", "-o", model)
    line = {"prompt": facts["question"], "images": [str(case / m["image"]) for m in facts["media"] if "image" in m]}
    for medium in facts["media"]:
        if "video" in medium:
            line |= {"video": str(case / medium["video"]), "fps": medium["fps"]}
    if facts["system"]:
        line["system"] = facts["system"]
    lines.write_text(json.dumps(line) + "\n")
    run(binary, "calibrate", model, "--data", lines, "-o", scales, "--method", "max", "--max-tokens", 1)
    ours = {t["weight"]: t["amax"] for t in json.loads(scales.read_text())["tensors"]}
    theirs = largest_given(case, facts)
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
        print(f"{case.name:>28}: {problem or f'equal in {n_layers} layers'}")
    print(f"calibrate: {compared - failed} passed, {failed} failed")
    if compared < 6:
        sys.exit(f"only {compared} cases under {cases}")
    sys.exit(failed != 0)


if __name__ == "__main__":
    main()
