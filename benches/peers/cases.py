"""Who is asked what: each case is one command, and what its output says of a work.

A work is named, has a unit, and is better when larger (rates) or smaller. A case gives figures of one or several works; cases of one group take
turns in a round.
"""
import json
import pathlib
import statistics
from dataclasses import dataclass, field
from typing import Callable

from prepare import ENGINES

HERE = pathlib.Path(__file__).parent
CONTEXT = 256  # tokens of the prompt, and of the context at which the first token is decoded
GENERATED = 16
IMAGE = 512
CANDIDATES = 16


@dataclass(frozen=True)
class Work:
    title: str
    unit: str
    is_rate: bool = False
    # Of our precisions, in the table's order.
    precisions: tuple = ("f32", "bf16", "int8", "int4")


@dataclass(frozen=True)
class Case:
    group: str
    peer: str
    configuration: str
    precision: str
    command: list
    figures: Callable  # (output, what it took) -> {work: value}
    environment: dict = field(default_factory=dict)
    # Files that must be there; a `.failed` beside one says why it is not.
    needs: tuple = ()
    threads: int = 1

    @property
    def name(self):
        return f"{self.group}, {self.peer} {self.configuration}"


def works(shapes):
    found = {}
    for shape in shapes:
        precisions = ("f32", "bf16", "int8", "int4") if shape == "mid" else ("bf16", "int8", "int4")
        found |= {
            f"prefill-{shape}": Work(f'prefill of {CONTEXT} tokens, "{shape}"', "tokens/s", True, precisions),
            f"decode-{shape}": Work(f'decode at a context of {CONTEXT}, "{shape}"', "tokens/s", True, precisions),
            f"load-{shape}": Work(f'load to ready, context 4096, "{shape}"', "ms", False, precisions),
            f"memory-{shape}": Work(f'peak private memory, context 4096, "{shape}"', "MB", False, precisions),
        }
    return found | {
        "image": Work(f"image encode, {IMAGE}×{IMAGE}, the 2B tower", "ms", False, ("f32", "bf16", "int8")),
        "step": Work("DiT step, 720 tokens (OpenVINO: one timestep for all frames)", "ms", False, ("f32", "bf16", "int8")),
        "vae": Work("VAE decode, 5 frames of 128×160", "ms", False, ("f32", "bf16")),
        "busy-prefill": Work("prefill, two threads, one core busy with other work", "tokens/s", True, ("int8",)),
        "busy-decode": Work("decode, two threads, one core busy with other work", "tokens/s", True, ("int8",)),
        "plan": Work(f"a plan of {CANDIDATES} candidates, small-predict's shape", "ms", False, ("f32",)),
    }


def median(values):
    return statistics.median(values)


def answer(out):
    """The object that a command printed: ours the whole output, others' its last line."""
    try:
        return json.loads(out)
    except json.JSONDecodeError:
        return json.loads(out.strip().splitlines()[-1])


def of_text(shape, prefill_ms, itl_ms, n_read, load_ms, took):
    figures = {f"prefill-{shape}": n_read * 1e3 / median(prefill_ms), f"decode-{shape}": 1e3 / median(itl_ms)}
    if shape != "busy":
        figures |= {f"load-{shape}": load_ms, f"memory-{shape}": took["peak_private_bytes"] / 1e6}
    return figures if shape != "busy" else {f"busy-{name.split('-')[0]}": value for name, value in figures.items()}


def ours_text(shape):
    def figures(out, took):
        found = answer(out)
        samples, rates = found["samples"], found["rates"]
        if found["workload"]["prompt_tokens"] != CONTEXT:
            raise ValueError(f"{found['workload']['prompt_tokens']} tokens of prompt")
        # The template's first tokens are kept from the run before: rates are of those that were read. To the first token, head and all.
        n_read = round(median(samples["prefill_ms"]) * rates["prompt_tokens_per_s"]["p50"] / 1e3)
        return of_text(shape, samples["ttft_ms"], samples["itl_ms"], n_read, found["load_ms"], took)

    return figures


def theirs_text(shape):
    def figures(out, took):
        found = answer(out)
        prefill_ms = found.get("prefill_ms") or found["samples"]["ttft_ms"]
        return of_text(shape, prefill_ms, found.get("itl_ms") or found["samples"]["tpot_ms"], CONTEXT, found["load_ms"], took)

    return figures


def sample(work, name):
    """The median of our or torch's samples of this name."""
    return lambda out, took: {work: median(answer(out)["samples"][name])}


def of_openvino(work):
    return lambda out, took: {work: median(answer(out)["run_ms"])}


# Products of bf16 in pairs, where the processor has them: activations are rounded to bf16 too, as the peers do.
IN_PAIRS = ("avx512_bf16 kernels", dict(PERIHELION_ISA="avx512_bf16"))


def of_ours(formats):
    """Configurations of ours: its name, the precision it counts as, what the engine was built in, its environment.

    The first engine in bf16 is asked as it is, the last with products in pairs.
    """
    in_bf16 = [asked for asked in formats if asked.startswith("bf16")]
    for asked in formats:
        precision = asked.partition(",")[0]
        if asked not in in_bf16[1:]:
            yield asked, precision, asked, {}
        if asked in in_bf16[-1:]:
            yield f"{asked}, {IN_PAIRS[0]}", precision, asked, IN_PAIRS[1]


def bench(place, engine, *words, threads=1, runs=1, warmup=1):
    return [place.binary, "bench", engine, "--json", "--threads", threads, "--warmup", warmup, "--runs", runs, *words]


def text_cases(place, shape, group=None, threads=1, only=None):
    """Prompts of text alone: ids to the likeliest next token, then one token after another."""
    group = group or f"text-{shape}"
    told = "busy" if group == "busy" else shape
    words = ["--image-size", 0, "--prompt-tokens", CONTEXT, "--generate", GENERATED]
    cases = []

    def add(peer, configuration, precision, command, figures, needs=(), **environment):
        if only is None or (peer, configuration) in only:
            cases.append(Case(group, peer, configuration, precision, command, figures, environment, needs, threads))

    for configuration, precision, built, environment in of_ours(ENGINES[shape]):
        engine = place.engine(shape, built)
        add("ours", configuration, precision, bench(place, engine, *words, threads=threads), ours_text(told), (engine,), **environment)
    for kind, precision in (("f32", "f32"), ("bf16", "bf16"), ("Q8_0", "int8"), ("Q4_K_M", "int4")):
        if shape != "mid" and kind == "f32":
            continue
        gguf = place.gguf(shape, kind)
        command = [place.folder / "bin" / "llama_time", gguf, threads, CONTEXT, GENERATED, 1, 1]
        add("llama.cpp", kind.upper(), precision, [*command, 1], theirs_text(told), (gguf,))
        if kind == "Q4_K_M":
            add("llama.cpp", f"{kind} --repack 0", precision, [*command, 0], theirs_text(told), (gguf,))
        if threads > 1:
            add("llama.cpp", f"{kind} OMP_WAIT_POLICY=passive", precision, [*command, 1], theirs_text(told), (gguf,), OMP_WAIT_POLICY="passive")
    for stored, compute, precision in (("f32", "f32", "f32"), ("f32", "bf16", "bf16"), ("int8", "f32", "int8"), ("int4", "f32", "int4")):
        if shape != "mid" and stored == "f32":
            continue
        model = place.openvino(shape, "text", stored)
        command = [place.python, HERE / "openvino_time.py", model, "--compute", compute, "--threads", threads,
                   "--prompt-tokens", CONTEXT, "--generate", GENERATED]
        add("OpenVINO", precision, precision, command, theirs_text(told), (model,))
    if shape == "mid":
        for precision in ("f32", "bf16"):
            command = [place.python, HERE / "torch_reason.py", place.checkpoint(shape), "--dtype", precision, "--threads", threads,
                       "--image-size", 0, "--prompt-tokens", CONTEXT, "--generate", GENERATED, "--runs", 1]
            add("torch", precision, precision, command, theirs_text(told), (place.checkpoint(shape) / "model.safetensors",))
    return cases


def busy_cases(place):
    """What is asked beside a busy core: a few, since each takes turns with it."""
    only = [("ours", "int8,kv=bf16"), ("llama.cpp", "Q8_0"), ("llama.cpp", "Q8_0 OMP_WAIT_POLICY=passive"), ("llama.cpp", "Q4_K_M"), ("OpenVINO", "int8")]
    return text_cases(place, "mid", "busy", 2, only)


def part_cases(place, group, work, shape, part, ours, stage, words, warmup=1):
    """A tower, a denoiser or a decoder: our engines in `ours` and OpenVINO's models."""
    cases = []
    for configuration, precision, built, environment in of_ours(ours):
        engine = place.engine(shape, built)
        command = bench(place, engine, *words, warmup=warmup)
        cases.append(Case(group, "ours", configuration, precision, command, sample(work, stage), environment, (engine,)))
    for stored, compute, precision in (("f32", "f32", "f32"), ("f32", "bf16", "bf16"), ("int8", "f32", "int8")):
        if precision not in ours:
            continue
        model = place.openvino(shape, part, stored)
        command = [place.python, HERE / "openvino_time.py", model, "--compute", compute, "--warmup", warmup]
        cases.append(Case(group, "OpenVINO", precision, precision, command, of_openvino(work), needs=(model,)))
    return cases


def image_cases(place):
    """One image each, the first: it takes so long that what a first run does besides is lost in it."""
    words = ["--image-size", IMAGE, "--prompt-tokens", 16, "--generate", 1]
    cases = part_cases(place, "image", "image", "mid", "vision", ("f32", "bf16", "int8"), "vision_ms", words, 0)
    for precision in ("f32", "bf16"):
        command = [place.python, HERE / "torch_reason.py", place.checkpoint("mid"), "--dtype", precision, "--image-size", IMAGE,
                   "--generate", 0, "--runs", 1, "--warmup", 0]
        cases.append(Case("image", "torch", precision, precision, command, sample("image", "vision_ms")))
    return cases


def predict_cases(place):
    cases = []
    for group, stage, ours, words in (("denoiser", "step_ms", ("f32", "bf16", "int8"), ["--steps", 1]), ("vae", "decode_ms", ("f32", "bf16"), ["--steps", 1])):
        work = dict(denoiser="step", vae="vae")[group]
        cases += part_cases(place, group, work, group, group, ours, stage, words)
        command = [place.python, HERE / "torch_predict.py", place.checkpoint(group), "--threads", 1, "--runs", 1]
        cases.append(Case(group, "torch", "f32", "f32", command, sample(work, stage)))
    return cases


def plan_cases(place, frames, actions, goal):
    """A plan is held against as many forecasts of the same engine: whole ones, and ones that decode nothing, as a plan does not."""
    engine = place.engine("actions", "f32")
    plan = [place.binary, "plan", engine, "--frames", frames, "--around", actions, "--spread", 0.2, "--samples", CANDIDATES - 1,
            "--goal", goal, "--threads", 1, "--json"]
    cases = [Case("plan", "ours", "f32", "f32", plan, lambda out, took: {"plan": answer(out)["total_ms"]}, needs=(engine,))]

    def forecasts(stages):
        def figures(out, took):
            samples = answer(out)["samples"]
            return {"plan": CANDIDATES * sum(median(samples[stage]) for stage in stages)}

        return figures

    for told, stages in (("whole", ["total_ms"]), ("not decoded", ["encode_ms", "denoise_ms"])):
        cases.append(Case("plan", "ourselves", f"{CANDIDATES} forecasts, {told}", "f32", bench(place, engine, runs=3), forecasts(stages), needs=(engine,)))
    return cases
