"""A random checkpoint of the Cosmos-Predict2.5 architecture with a Wan VAE, written by diffusers itself.

    random_predict.py {0.1b,denoiser,vae,actions} OUT

`0.1b`: a denoiser of 8 layers of 12 heads of 64 and a VAE of half the Wan 2.1 VAE's width, for 33 frames of 128x160, five of them given.
`denoiser` and `vae` are those two, each with a tiny other half, so that a forecast times little else: that denoiser at that clip's 720
tokens, that VAE at five frames. `actions`: the shape of `engines/small-predict`, whose plans are actions of two numbers a frame.
"""
import argparse
import pathlib
import sys
from dataclasses import replace

import torch

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "tests" / "reference"))
from predict_checkpoints import Shape, write  # noqa: E402

CLIP = dict(height=128, width=160, frames=33, condition_frames=5, fps=16, distilled_sigmas=[1.0, 0.75], renoise="same")
SMALL_CLIP = dict(height=64, width=64, frames=13, condition_frames=5, fps=8, distilled_sigmas=[1.0], renoise="same")
VAE = dict(base_dim=48, dim_mult=[1, 2, 4, 4], num_res_blocks=2)
TINY_VAE = dict(base_dim=8, dim_mult=[1, 1, 1, 1], num_res_blocks=1)
SHAPE = Shape(
    heads=12, head_dim=64, layers=8, adaln=256, mlp_ratio=4.0, text_dim=1024, text_tokens=32, channels=16, stored="bfloat16", vae=VAE,
    scheduler=dict(num_train_timesteps=1000, solver_order=2, prediction_type="flow_prediction", use_flow_sigmas=True,
                   use_karras_sigmas=True, sigma_min=0.01, sigma_max=200.0, final_sigmas_type="zero"))
SHAPES = {
    "0.1b": (SHAPE, CLIP),
    "denoiser": (replace(SHAPE, vae=TINY_VAE), CLIP),
    "vae": (replace(SHAPE, heads=1, layers=1), CLIP | dict(frames=5, condition_frames=1)),
    "actions": (
        replace(SHAPE, heads=6, head_dim=32, adaln=64, text_dim=64, text_tokens=2, rope_scale=(1.0, 1.0, 1.0),
                vae=dict(base_dim=8, dim_mult=[1, 2, 4, 8], num_res_blocks=1), actions=dict(names=["linear", "angular"], per="latent")),
        SMALL_CLIP),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("out", type=pathlib.Path)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    shape, clip = SHAPES[options.shape]
    write(shape, clip, options.out, torch.Generator().manual_seed(0))


if __name__ == "__main__":
    main()
