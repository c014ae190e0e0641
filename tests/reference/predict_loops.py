"""The whole denoising loop: diffusers' own pipelines where there are such, and the few-step sampler of distilled checkpoints.

The few-step sampler follows `cosmos_predict2/_src/predict2/distill` of https://github.com/nvidia-cosmos/cosmos-predict2.5 (the first noise
again: x' = cos t x0 + sin t z, which in rectified-flow scaling is (1 - s) x0 + s z) and `FixedStepSampler` of
https://github.com/NVIDIA/cosmos-framework (fresh noise); given latents stand clean in place before each call.
"""

from functools import partial
from unittest import mock

import diffusers
from diffusers.pipelines.cosmos import pipeline_cosmos2_video2world as predict2
from PIL import Image


class NoChecker:
    """Stands where the pipelines insist on a safety checker; it is asked nothing when only latents are wanted."""

    def to(self, _device):
        return self


def pipeline(shape, transformer, vae, scheduler):
    """The pipeline that the index names, without its text encoder."""
    pipe = getattr(diffusers, shape.pipeline)(
        text_encoder=None, tokenizer=None, transformer=transformer, vae=vae, scheduler=scheduler, safety_checker=NoChecker())
    pipe.set_progress_bar_config(disable=True)
    return pipe


def run_pipeline(shape, clip, case, transformer, vae, scheduler, given, text, noise):
    """The final latents, normalised. `given` is `[n, H, W, 3]` u8."""
    pipe = pipeline(shape, transformer, vae, scheduler)
    arguments = dict(
        height=clip["height"], width=clip["width"], num_frames=clip["frames"], num_inference_steps=case["steps"],
        guidance_scale=case.get("guidance", 0.0), latents=noise.clone(), prompt_embeds=text["default"],
        negative_prompt_embeds=text["negative"], output_type="latent", return_dict=False)
    if shape.pipeline == "Cosmos2VideoToWorldPipeline":
        pictures = [Image.fromarray(frame.numpy()) for frame in given]
        # It draws the given latents from the VAE's posterior, each time others; NVIDIA's own code (`encode` in
        # cosmos_predict2/tokenizers/tokenizer.py of https://github.com/nvidia-cosmos/cosmos-predict2), and diffusers for Predict2.5,
        # take the posterior's mean.
        mean = partial(predict2.retrieve_latents, sample_mode="argmax")
        with mock.patch.object(predict2, "retrieve_latents", mean):
            return pipe(video=pictures, fps=clip["fps"], **arguments)[0]
    if clip["condition_frames"] == 0:
        return pipe(**arguments)[0]
    n_latents = (clip["condition_frames"] - 1) // 4 + 1
    pixels = (given.float() / 127.5 - 1).permute(3, 0, 1, 2)[None]
    return pipe(video=pixels, num_latent_conditional_frames=n_latents, **arguments)[0]


def run_few_steps(case, transformer, context, mask, text, noise, renoise, clip):
    """Few steps at fixed sigmas, no guidance. `context` holds the given latents, `mask` `[1, 1, T, 1, 1]` is 1 on them."""
    x = noise
    for i, sigma in enumerate(case["sigmas"]):
        velocity = denoise(transformer, x, context, mask, sigma, text, clip, 1e-4)
        clean = mask * context + (1 - mask) * (x - sigma * velocity)
        following = case["sigmas"][i + 1] if i + 1 < len(case["sigmas"]) else 0.0
        again = noise if case["renoise"] == "same" else renoise[i][None] if i < len(renoise) else 0.0
        x = (1 - following) * clean + following * again
    return x


def denoise(transformer, x, context, mask, sigma, text, clip, given_timestep, fps=None):
    """One call of the network as the pipelines make it: given latents in place, a timestep for each frame."""
    _, _, n, h, w = x.shape
    return transformer(
        hidden_states=mask * context + (1 - mask) * x, condition_mask=mask.expand(-1, -1, -1, h, w).contiguous(),
        timestep=mask * given_timestep + (1 - mask) * sigma, encoder_hidden_states=text["default"], fps=fps,
        padding_mask=x.new_zeros(1, 1, clip["height"], clip["width"]), return_dict=False)[0]
