"""Greedy answers through ONNX Runtime alone, against the engine's: the loop over vision, prefill, head and decode is written here.

    onnx_ask.py PERIHELION WORK

The engine says the prompt, the pixels and the positions; every number of the network is ONNX Runtime's. Tokens must be equal, vision
features and the logits of every position within 1e-4 of their largest. One answer of the small checkpoint has 24 tokens, thought
included, and those of random ones are cut there.
"""
import json
import pathlib
import sys

import numpy as np
from safetensors.numpy import load_file

from onnx_graphs import Graphs, distance, perihelion

TOLERANCE = 1e-4
TOKENS = 24
# More than the small checkpoint has to say.
TO_THE_END = 40
REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
FIXTURES = REPOSITORY / "tests/fixtures"
# What a checkpoint is asked, whether it thinks, how many tokens it may say and how many it says.
CASES = [
    ("engines/small-reason", [FIXTURES / "scenes/scene-1.png"], "What do you see?", True, TO_THE_END, TOKENS),
    ("engines/small-reason", [FIXTURES / "scenes/scene-1.png", FIXTURES / "scenes/scene-2.png"], "What do you see?", False, TO_THE_END, None),
    ("tests/fixtures/reason/large_image_untied/checkpoint", [FIXTURES / "reason/large_image_untied/image0.png"], "Describe.", False, TOKENS, TOKENS),
    ("tests/fixtures/reason/two_images/checkpoint",
     [FIXTURES / "reason/two_images/image0.png", FIXTURES / "reason/two_images/image1.png"], "Which one is nearer?", False, TOKENS, TOKENS),
    ("tests/fixtures/reason/text_system/checkpoint", [], "  Two spaces,\n\nthen lines.  ", False, TOKENS, TOKENS),
]
THINK = "\nThink first, in <think> </think>."
# A piece of the prompt is at most so long, so that the caches are read by a second one.
PIECE = 20


def patch_inputs(rows, columns, merge, side):
    """Where patches lie: squares of `merge` patches one after the other, and the four places of the table around each patch."""
    grid = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), -1)
    squares = grid.reshape(rows // merge, merge, columns // merge, merge, 2).transpose(0, 2, 1, 3, 4).reshape(-1, 2)
    around = []
    for axis, extent in enumerate((rows, columns)):
        at = np.float32(side - 1) * squares[:, axis].astype(np.float32) / np.float32(max(extent - 1, 1))
        low = np.floor(at)
        around.append([(low.astype(np.int32), 1 - (at - low)), (np.minimum(low + 1, side - 1).astype(np.int32), at - low)])
    index = np.stack([r * side + c for r, _ in around[0] for c, _ in around[1]], -1)
    share = np.stack([a * b for _, a in around[0] for _, b in around[1]], -1)
    return dict(position_index=index.astype(np.int32), position_share=share.astype(np.float32), patch_positions=squares.astype(np.int32))


class Driver:
    """A Reason model's graphs with the caches between their runs."""

    def __init__(self, folder, config):
        self.graphs, self.config = Graphs(folder), config
        self.context = self.graphs.metadata["decode"]["limits"]["context"]
        caches = [name for name in self.graphs.inputs("decode") if "cache" in name]
        self.caches = {name: np.zeros((self.context, *self.graphs.shape("decode", name)[1:]), np.float32) for name in caches}
        self.past = 0

    def tokens(self, graph, feed, n):
        """Runs over `n` new tokens and puts their rows behind those that the caches hold."""
        feed |= {name: cache[:self.past] for name, cache in self.caches.items()}
        out = self.graphs.run(graph, feed)
        for name, cache in self.caches.items():
            cache[self.past:self.past + n] = out[f"present.{name}"]
        self.past += n
        return out

    def vision(self, pixels, grids):
        vision = self.config["vision_config"]
        side, merge = int(vision["num_position_embeddings"] ** 0.5), vision["spatial_merge_size"]
        features, at = [], 0
        for rows, columns in grids:
            feed = dict(patches=pixels[at:at + rows * columns], **patch_inputs(rows, columns, merge, side))
            features.append(self.graphs.run("vision", feed))
            at += rows * columns
        return {name: np.concatenate([f[name] for f in features]) for name in features[0]}

    def answer(self, prompt, positions, features, n, stops):
        """At most `n` greedy tokens, the one that ends it left out, and the logits of every position."""
        names = [name for name in self.graphs.inputs("prefill") if name == "visual_features" or name.startswith("deepstack.")]
        if not features:
            features = {name: np.zeros((1, self.graphs.shape("prefill", name)[1]), np.float32) for name in names}
        is_visual = prompt == self.config["image_token_id"]
        index = np.where(is_visual, np.cumsum(is_visual) - 1, -1).astype(np.int32)
        for at in range(0, len(prompt), PIECE):
            piece = slice(at, at + PIECE)
            feed = dict(tokens=prompt[piece], positions=positions[piece], visual_index=index[piece])
            hidden = self.tokens("prefill", feed | {name: features[name] for name in names}, len(prompt[piece]))["hidden"]
        logits = [self.graphs.run("head", dict(hidden=hidden))["logits"]]
        tokens, position = [], positions.max() + 1
        while True:
            token = int(logits[-1].argmax())
            if token in stops:
                break
            tokens.append(token)
            if len(tokens) == n:
                break
            feed = dict(tokens=np.array([token], np.int32), positions=np.full((1, 3), position, np.int32))
            logits.append(self.tokens("decode", feed, 1)["logits"])
            position += 1
        return tokens, np.concatenate(logits)


def grids_of(prompt, positions, image, merge, n_images):
    """Rows and columns of patches of each image, as the positions of its tokens span them."""
    at = np.flatnonzero(prompt == image)
    runs = np.split(at, np.flatnonzero(np.diff(at) != 1) + 1) if len(at) else []
    spans = [(np.ptp(positions[run], axis=0) + 1)[1:] * merge for run in runs]
    if len(spans) != n_images:
        sys.exit(f"{len(spans)} runs of image tokens for {n_images} images")
    return [(int(rows), int(columns)) for rows, columns in spans]


def check(binary, checkpoint, images, question, think, n_max, n, work):
    config = json.loads((REPOSITORY / checkpoint / "config.json").read_text())
    model, engine, onnx = work / "a.model", work / "a.engine", work / "onnx"
    suffix = ["--think-suffix", THINK] if think else []
    perihelion(binary, "export", REPOSITORY / checkpoint, "-o", model, "--onnx", onnx, *suffix)
    perihelion(binary, "build", model, "-o", engine, "--backend", "cpu", "--precision", "f32")
    shown = [part for image in images for part in ("--image", image)]
    ours = json.loads(perihelion(
        binary, "ask", engine, *shown, *(["--think"] if think else []), "--prompt", question, "--greedy", "--max-tokens", n_max,
        "--json", "--logits", work / "logits.safetensors", "--tensors", work / "tensors.safetensors"))
    tensors, logits = load_file(work / "tensors.safetensors"), load_file(work / "logits.safetensors")["logits"]

    driver = Driver(onnx, config)
    prompt, positions = np.array(ours["prompt"], np.int32), np.ascontiguousarray(tensors["position_ids"].T)
    features, apart = {}, 0.0
    if images:
        grids = grids_of(prompt, positions, config["image_token_id"], config["vision_config"]["spatial_merge_size"], len(images))
        features = driver.vision(tensors["pixel_values"], grids)
        apart = distance(features["visual_features"], tensors["image.features"])
    stops = json.loads((REPOSITORY / checkpoint / "generation_config.json").read_text())["eos_token_id"]
    stops = stops if isinstance(stops, list) else [stops]
    tokens, found = driver.answer(prompt, positions, features, n_max, stops)
    if tokens != ours["tokens"] or n is not None and len(tokens) != n:
        sys.exit(f"{checkpoint}: {tokens} instead of {ours['tokens']}")
    apart = max(apart, distance(found, logits))
    if not apart <= TOLERANCE:
        sys.exit(f"{checkpoint}: features or logits differ by {apart:.1e} of their largest")
    print(f"{checkpoint}: {len(tokens)} tokens equal, features and logits within {apart:.1e} of the largest")


def main():
    binary, work = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    for i, case in enumerate(CASES):
        folder = work / str(i)
        folder.mkdir(parents=True)
        check(binary, *case, folder)


if __name__ == "__main__":
    main()
