"""Makes tests/fixtures/scenes.json and tests/fixtures/scenes.png: starts, tracks, answers and frames of the reference scenes.

    python tests/reference/scenes.py [--module tests/reference/scenes_reference.py] [--out tests/fixtures] [--seed 7]

The Rust simulator gets the same starts and must roll the same tracks, give the same answers and paint the same pixels.
The reference draws its starts inside `simulate`, so the same draws are repeated here to learn them, and checked.
"""
import argparse
import importlib.util
import json
import pathlib

import numpy as np
from PIL import Image

ROWS_OF_SHEET = 10      # rendered scenes
N_FRAMES, HORIZON = 8, 32


def starts(scenes, rng, batch, n_balls, push_at):
    radius, half, center, position, present = scenes.place(rng, batch, n_balls)
    angle = rng.uniform(0, 2 * np.pi, (batch, n_balls))
    speed = rng.uniform(1.0, 4.5, (batch, n_balls))
    velocity = np.stack([np.cos(angle) * speed, np.sin(angle) * speed], -1)
    velocity[:, 1:] *= rng.random((batch, n_balls - 1, 1)) < 0.5
    velocity[~present] = 0
    return dict(radius=radius, half=half, center=center, position=position, present=present, velocity=velocity)


def main():
    here = pathlib.Path(__file__).parent
    options = argparse.ArgumentParser()
    options.add_argument("--module", default=here / "scenes_reference.py")
    options.add_argument("--out", default=here.parent / "fixtures", type=pathlib.Path)
    options.add_argument("--seed", default=7, type=int)
    options = options.parse_args()
    spec = importlib.util.spec_from_file_location("scenes_reference", options.module)
    scenes = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(scenes)

    cases, sheet = [], []
    for n_balls, n_frames, push_at, batch in ((2, N_FRAMES, None, 24), (2, 1, None, 4), (2, N_FRAMES, 5, 8), (3, N_FRAMES, None, 8)):
        seed = [options.seed, n_balls, n_frames, push_at or 0]
        start = starts(scenes, np.random.default_rng(seed), batch, n_balls, push_at)
        done = scenes.simulate(np.random.default_rng(seed), batch, n_frames, n_balls, HORIZON, push_at)
        assert (done["track"][:, 0] == start["position"]).all(), "the draws above no longer follow `simulate`"
        frames = np.round(scenes.render(done)).astype(np.uint8).transpose(0, 1, 3, 4, 2)
        for i in range(batch):
            rendered = n_frames == N_FRAMES and (i < 5 if n_balls == 2 and push_at is None else i < 3)
            rendered = rendered and len(sheet) < ROWS_OF_SHEET
            if rendered:
                sheet.append(np.concatenate(list(frames[i]), 1))
            cases.append(dict(
                n_frames=n_frames, horizon=HORIZON, push_at=push_at, push=done["push"][i].tolist(),
                box_half=start["half"][i].tolist(), box_center=start["center"][i].tolist(), background=done["background"][i].tolist(),
                balls=[dict(radius=start["radius"][i, b], color=scenes.NAMES[done["color"][i, b]], present=bool(start["present"][i, b]),
                            position=start["position"][i, b].tolist(), velocity=start["velocity"][i, b].tolist()) for b in range(n_balls)],
                sheet_row=len(sheet) - 1 if rendered else None,
                track=done["track"][i].tolist(), touched=scenes.TOUCHED[done["touched"][i]],
                answers=[scenes.answers(done, i, reverse) for reverse in (False, True)]))
    wordings = scenes.QUESTIONS | {"think": scenes.THINK}
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "scenes.json").write_text(json.dumps(dict(wordings=wordings, cases=cases), separators=(",", ":")) + "\n")
    Image.fromarray(np.concatenate(sheet, 0)).save(options.out / "scenes.png", optimize=True)


if __name__ == "__main__":
    main()
