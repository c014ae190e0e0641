"""transformers' greedy answers about frames that a node or an engine has already answered, and whether the two agree.

    python tests/reference/arrived.py CHECKPOINT QUESTIONS.jsonl [--answers ANSWERS.jsonl] [--max-tokens 64] > REFERENCE.jsonl

Each line of QUESTIONS is an object: `id`, `prompt`, and, as there are, `system`, `images` (a list of files), `video` (a list of files,
or a directory whose files are taken in the order of their names) with `fps`. Paths are relative to the file. Each line written has
`id`, `text`, `tokens` (without the stop token) and `gaps` (by how much each token, the stop token too, was preferred, as a share of
the position's largest logit).

Each line of ANSWERS has `id` and `tokens`, as `ask --json` writes them. An answer may leave the reference where the reference's own
two first choices lie closer than 2e-4 of the largest logit: such ties are counted and named. Any other difference, and any
question without an answer, is a failure (exit code 1).
"""

import argparse
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from PIL import Image
from transformers import AutoProcessor, GenerationConfig, Qwen3VLForConditionalGeneration

TOLERANCE = 2e-4


def picture(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def inputs_of(processor, question: dict, root: Path):
    """The processor's tensors: images first, then the video, then the text."""
    images = [Image.fromarray(picture(root / p)) for p in question.get("images") or []]
    video = question.get("video")
    parts = [dict(type="image") for _ in images]
    more = {}
    if video:
        paths = sorted((root / video).iterdir()) if isinstance(video, str) else [root / p for p in video]
        frames = np.stack([picture(p) for p in paths])
        n = len(frames)
        metadata = dict(total_num_frames=n, fps=question["fps"], frames_indices=list(range(n)), duration=n / question["fps"])
        more = dict(videos=[frames], videos_kwargs=dict(do_sample_frames=False, video_metadata=[metadata]))
        parts.append(dict(type="video"))
    messages = [dict(role="user", content=parts + [dict(type="text", text=question["prompt"])])]
    if question.get("system"):
        messages.insert(0, dict(role="system", content=question["system"]))
    templated = processor if processor.chat_template else processor.tokenizer
    prompt = templated.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    return processor(text=[prompt], images=images or None, return_tensors="pt", **more)


@torch.no_grad()
def answer(model, processor, question: dict, root: Path, config: GenerationConfig) -> dict:
    inputs = inputs_of(processor, question, root)
    generated = model.generate(**inputs, generation_config=config)
    tokens = generated.sequences[0, inputs["input_ids"].shape[1]:].tolist()
    logits = torch.cat(generated.logits)
    first, second = logits.topk(2).values.unbind(-1)
    gaps = ((first - second) / logits.abs().amax(-1)).tolist()
    if tokens and tokens[-1] in config.eos_token_id:
        tokens.pop()
    text = processor.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return dict(id=question["id"], text=text, tokens=tokens, gaps=[float(f"{g:.3g}") for g in gaps])


def compare(reference: list[dict], answers: dict) -> bool:
    """Says on stderr how many answers are equal, and names the ties and the differences."""
    n_equal, ties, differences = 0, [], []
    for expected in reference:
        found = answers.get(expected["id"])
        if found is None:
            differences.append(f"{expected['id']}: no answer")
        elif found == expected["tokens"]:
            n_equal += 1
        else:
            pairs = zip(found + [None], expected["tokens"] + [None])
            at = next(i for i, (a, b) in enumerate(pairs) if a != b)
            gap = expected["gaps"][at] if at < len(expected["gaps"]) else float("inf")
            (ties if gap < TOLERANCE else differences).append(f"{expected['id']}: token {at}, preferred by {gap:.1e}")
    print(f"{n_equal} of {len(reference)} answers equal, {len(ties)} left at a tie, {len(differences)} differ", file=sys.stderr)
    for kind, lines in (("tie", ties), ("DIFFERENT", differences)):
        for line in lines:
            print(f"{kind}: {line}", file=sys.stderr)
    return not differences


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("checkpoint", type=Path)
    options.add_argument("questions", type=Path)
    options.add_argument("--answers", type=Path, help="compare these answers with the reference's")
    options.add_argument("--max-tokens", type=int, default=64)
    options = options.parse_args()
    torch.set_num_threads(1)
    model = Qwen3VLForConditionalGeneration.from_pretrained(options.checkpoint, dtype=torch.float32, attn_implementation="eager").eval()
    processor = AutoProcessor.from_pretrained(options.checkpoint)
    stops = model.generation_config.eos_token_id
    config = GenerationConfig(
        do_sample=False, max_new_tokens=options.max_tokens, pad_token_id=0, return_dict_in_generate=True, output_logits=True,
        eos_token_id=stops if isinstance(stops, list) else [stops])
    reference = []
    for line in options.questions.read_text().splitlines():
        reference.append(answer(model, processor, json.loads(line), options.questions.parent, config))
        print(json.dumps(reference[-1]), flush=True)
    if options.answers is None:
        return 0
    answers = [json.loads(line) for line in options.answers.read_text().splitlines()]
    return 0 if compare(reference, {a["id"]: a["tokens"] for a in answers}) else 1


if __name__ == "__main__":
    sys.exit(main())
