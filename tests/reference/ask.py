"""What transformers answers about a few rendered scenes with engines/small-reason: tests/fixtures/scenes/, which tests/cli.rs asks.

    python tests/reference/ask.py [--checkpoint engines/small-reason] [--out tests/fixtures/scenes] [--seed 11]

`questions.jsonl` is a batch for `perihelion ask --batch`, its paths relative to the directory; `expected.json` holds, for each line,
the greedy tokens and text, how close the reference's own first two choices were at each position, the first position's
probabilities, and the truth. The network runs in float32. transformers 5.23.
"""
import argparse
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import AutoProcessor, Qwen3VLForConditionalGeneration

import scenes_reference as scenes
from reason import prepare

STOP = (504, 502)


@torch.no_grad()
def answer(model, processor, directory: Path, line: dict, tokens_max: int) -> dict:
    media = [dict(image=name) for name in line.get("images", [])]
    if "video" in line:
        media.append(dict(video=line["video"], fps=line["fps"]))
    question = line["prompt"] + (scenes.THINK if line.get("think") else "")
    _, inputs = prepare(processor, media, directory, line.get("system"), question)
    out = model.generate(**inputs, do_sample=False, temperature=None, top_p=None, top_k=None, max_new_tokens=tokens_max,
                         output_logits=True, return_dict_in_generate=True)
    n_prompt = inputs["input_ids"].shape[1]
    tokens = out.sequences[0, n_prompt:].tolist()
    if tokens[-1] in STOP:
        tokens.pop()
    logits = torch.stack(out.logits)[:, 0].double()
    top = logits.topk(2).values
    first = torch.softmax(logits[0], -1)
    return dict(tokens=tokens, text=processor.tokenizer.decode(tokens), prompt=inputs["input_ids"][0].tolist(),
                top_two_gaps=[float(f"{g:.6g}") for g in (top[:, 0] - top[:, 1]).tolist()],
                first_probabilities={str(i): first[i].item() for i in first.topk(8).indices.tolist()})


def main():
    here = Path(__file__).resolve().parent
    parser = argparse.ArgumentParser()
    parser.add_argument("--checkpoint", type=Path, default=here.parents[1] / "engines/small-reason")
    parser.add_argument("--out", type=Path, default=here.parent / "fixtures/scenes")
    parser.add_argument("--seed", type=int, default=11)
    options = parser.parse_args()
    torch.set_num_threads(1)
    processor = AutoProcessor.from_pretrained(options.checkpoint)
    model = Qwen3VLForConditionalGeneration.from_pretrained(options.checkpoint, dtype=torch.float32).eval()

    rng = np.random.default_rng(options.seed)
    clips = scenes.simulate(rng, 3, 8, 2, 32)
    frames = np.round(scenes.render(clips)).astype(np.uint8).transpose(0, 1, 3, 4, 2)
    (options.out / "clip").mkdir(parents=True, exist_ok=True)
    for i in range(2):
        Image.fromarray(frames[i, -1]).save(options.out / f"scene-{i + 1}.png")
    for t in range(8):
        Image.fromarray(frames[2, t]).save(options.out / f"clip/{t:03}.png")

    lines, truths = [], []
    still = dict(clips, track=clips["track"][:, -1:])
    for i in range(2):
        for task, color, truth in scenes.answers(still, i, False):
            prompt = scenes.QUESTIONS[task][0].format(color=color)
            lines.append(dict(images=[f"scene-{i + 1}.png"], prompt=prompt))
            truths.append(truth)
    for task, color, truth in scenes.answers(clips, 2, False):
        lines.append(dict(video="clip", fps=8, prompt=scenes.QUESTIONS[task][0].format(color=color)))
        truths.append(truth)
    lines.append(dict(images=["scene-1.png"], prompt="How many balls are there?", think=True))
    truths.append(truths[0])
    lines.append(dict(images=["scene-1.png", "scene-2.png"], prompt="What do you see?", system="Look closely."))
    truths.append(None)
    lines.append(dict(prompt="How many balls are there?"))
    truths.append(None)

    expected = []
    for line, truth in zip(lines, truths):
        expected.append(dict(**answer(model, processor, options.out, line, 64), truth=truth))
        print(json.dumps(line), "->", expected[-1]["text"], "| truth:", truth)
    (options.out / "questions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (options.out / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
