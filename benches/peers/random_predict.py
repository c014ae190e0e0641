"""A random checkpoint of the Cosmos-Predict2.5 architecture with a Wan VAE, written by diffusers itself.

    random_predict.py 0.1b OUT

`0.1b`: a denoiser of 8 layers of 12 heads of 64 and a VAE of half the Wan 2.1 VAE's width, for 33 frames of 128x160, five of them given.
"""
import argparse
import pathlib
import sys

import torch

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "tests" / "reference"))
from predict_checkpoints import Shape, write  # noqa: E402

CLIP = dict(height=128, width=160, frames=33, condition_frames=5, fps=16, distilled_sigmas=[1.0, 0.75], renoise="same")
SHAPES = {
    "0.1b": Shape(
        heads=12, head_dim=64, layers=8, adaln=256, mlp_ratio=4.0, text_dim=1024, text_tokens=32, channels=16, stored="bfloat16",
        vae=dict(base_dim=48, dim_mult=[1, 2, 4, 4], num_res_blocks=2),
        scheduler=dict(num_train_timesteps=1000, solver_order=2, prediction_type="flow_prediction", use_flow_sigmas=True,
                       use_karras_sigmas=True, sigma_min=0.01, sigma_max=200.0, final_sigmas_type="zero")),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("out", type=pathlib.Path)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    write(SHAPES[options.shape], CLIP, options.out, torch.Generator().manual_seed(0))


if __name__ == "__main__":
    main()
