"""TensorRT plans of the 2B shapes, made without a GPU and without weights: time, peak memory, size, kernels, scratch memory.

    PERIHELION_TENSORRT=DIR tensorrt_plans.py --binary target/release/perihelion --work DIR --out benches/results/tensorrt_plans.json

Of Cosmos-Reason2-2B the plan of a token and that of a piece of the prompt, of Cosmos-Predict2.5-2B one call of the denoiser at 256×320 and
33 frames. Only configs are written: a plan holds no weights. The binary is one with feature `tensorrt`. Peak memory is `VmHWM` of the
process that makes the plan. Kernels and scratch memory are what the plan's text says. What OUT already has of this machine is not made again.
"""
import argparse
import json
import os
import pathlib
import platform
import subprocess
import sys

REASON_TEXT = dict(
    vocab_size=151936, hidden_size=2048, intermediate_size=6144, num_hidden_layers=28, num_attention_heads=16, num_key_value_heads=8,
    head_dim=128, max_position_embeddings=32768, rms_norm_eps=1e-6, tie_word_embeddings=True, attention_bias=False, hidden_act="silu",
    rope_parameters=dict(rope_type="default", rope_theta=5000000.0, mrope_section=[24, 20, 20], mrope_interleaved=True))
REASON_VISION = dict(
    depth=24, hidden_size=1024, intermediate_size=4096, num_heads=16, deepstack_visual_indexes=[5, 11, 17], patch_size=16,
    spatial_merge_size=2, temporal_patch_size=2, num_position_embeddings=2304, in_channels=3, out_hidden_size=2048)
DENOISER = dict(
    num_attention_heads=16, attention_head_dim=128, num_layers=28, text_embed_dim=1024, adaln_lora_dim=256, max_size=[128, 240, 240],
    rope_scale=[1.0, 3.0, 3.0], use_crossattn_projection=True, crossattn_proj_in_channels=100352, encoder_hidden_states_channels=1024)
VAE = dict(base_dim=96, dim_mult=[1, 2, 4, 4], num_res_blocks=2)
CLIP = dict(height=256, width=320, frames=33, condition_frames=5)

# Shape, graph, precision, compute capability, attention. What the kept result lacks has not been made since the lowering changed.
PLANS = [
    ("reason2-2b", "decode", "f16", 86, "portable"),
    ("reason2-2b", "decode", "int8", 86, "portable"),
    ("reason2-2b", "prefill", "f16", 86, "portable"),
    ("predict2.5-2b", "denoise", "f16", 86, "portable"),
    ("reason2-2b", "decode", "f16", 86, "own"),
    ("reason2-2b", "decode", "int4", 86, "portable"),
    ("reason2-2b", "decode", "fp8", 89, "portable"),
    ("reason2-2b", "decode", "nvfp4", 120, "portable"),
    ("reason2-2b", "prefill", "int4", 86, "portable"),
    ("predict2.5-2b", "denoise", "f16", 86, "own"),
    ("predict2.5-2b", "denoise", "fp8", 89, "portable"),
]


def write_configs(work, small):
    """The configs of both shapes, after those of the small checkpoints."""
    reason = json.loads((small / "small-reason/config.json").read_text())
    reason["text_config"] |= REASON_TEXT
    reason["vision_config"] |= REASON_VISION
    folder = work / "reason2-2b"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(reason))
    folder = work / "predict2.5-2b"
    for part, changes in (("transformer", DENOISER), ("vae", VAE), ("scheduler", {})):
        (folder / part).mkdir(parents=True, exist_ok=True)
        for file in (small / "small-predict" / part).glob("*.json"):
            (folder / part / file.name).write_text(json.dumps(json.loads(file.read_text()) | changes))
    index = json.loads((small / "small-predict/model_index.json").read_text())
    index["perihelion"] |= CLIP
    (folder / "model_index.json").write_text(json.dumps(index))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=pathlib.Path, default=pathlib.Path("target/release/perihelion"))
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    options = parser.parse_args()
    write_configs(options.work, pathlib.Path(__file__).parents[1] / "engines")
    machine = dict(machine=platform.processor() or platform.machine(), cores=os.cpu_count())
    report = machine | dict(plans=[])
    if options.out.exists():
        report = json.loads(options.out.read_text())
        if not machine.items() <= report.items():
            sys.exit(f"{options.out} is of another machine than this one, {machine}; name another file")
    for shape, graph, precision, target, attention in PLANS:
        key = dict(shape=shape, graph=graph, precision=precision, target=target, attention=attention)
        if any(key.items() <= plan.items() for plan in report["plans"]):
            continue
        command = [options.binary, "compile", options.work / shape, "--graph", graph, "--precision", precision, "--target", f"sm{target}",
                   "--attention", attention, "--json"]
        done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, text=True)
        if done.returncode != 0:
            sys.exit(f"failed with {done.returncode}: {' '.join(str(c) for c in command)}")
        (made,) = json.loads(done.stdout)["plans"]
        (program,) = made.pop("programs")
        made |= dict(kernels=program["kernels"], scratch_bytes=program["scratch_bytes"])
        report["plans"].append(key | made)
        options.out.write_text(json.dumps(report, indent=1) + "\n")
        print(f"{shape} {graph} {precision} sm{target} {attention}: {made['elapsed_ms'] / 1e3:.1f} s, {made['peak_bytes'] / 1e6:.0f} MB, "
              f"{made['plan_bytes'] / 1e6:.1f} MB, {made['kernels']} kernels", flush=True)


if __name__ == "__main__":
    main()
