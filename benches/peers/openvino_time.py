"""Times a model that `to_openvino.py` wrote, on the CPU, and prints one JSON object.

    openvino_time.py MODEL.xml --compute f32 --threads 1 [--prompt-tokens 256] [--generate 16] [--runs 1] [--warmup 1]

`load_ms`: from the path to a request that can be run. Of the language model, `prefill_ms`: random ids to the last one's likeliest
successor, and `itl_ms`: each further token; of the others, `run_ms`. Where the processor computes in another type than
was asked for, the run fails: bf16 on one without bf16 instructions is f32 under another name.
"""
import argparse
import json
import pathlib
import sys
import time

import numpy as np
import openvino as ov


def ms_since(start):
    return (time.perf_counter() - start) * 1e3


class Language:
    def __init__(self, request):
        self.request, self.past = request, 0

    def reset(self):
        self.request.reset_state()
        self.past = 0

    def next(self, ids):
        """The likeliest token after these."""
        positions = np.arange(self.past, self.past + len(ids), dtype=np.int64)[None]
        self.request.infer(dict(input_ids=np.array([ids], dtype=np.int64), positions=positions, beam_idx=np.zeros(1, np.int32)))
        self.past += len(ids)
        return int(self.request.get_tensor("logits").data[0, -1].argmax())


def language(request, options, samples):
    model, random = Language(request), np.random.default_rng(0)
    for run in range(-options.warmup, options.runs):
        ids = random.integers(0, 256, options.prompt_tokens).tolist()
        model.reset()
        start = time.perf_counter()
        token = model.next(ids)
        prefill_ms, steps = ms_since(start), []
        for _ in range(options.generate - 1):
            start = time.perf_counter()
            token = model.next([token])
            steps.append(ms_since(start))
        if 0 <= run:
            samples.setdefault("prefill_ms", []).append(prefill_ms)
            samples.setdefault("itl_ms", []).extend(steps)


def other(request, options, samples):
    random = np.random.default_rng(0)
    inputs = request.model_inputs
    for run in range(-options.warmup, options.runs):
        values = [random.standard_normal(tuple(port.shape)).astype(np.float32) for port in inputs]
        start = time.perf_counter()
        request.infer(values)
        if 0 <= run:
            samples.setdefault("run_ms", []).append(ms_since(start))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--compute", choices=["f32", "bf16"], default="f32")
    for name, default in (("threads", 1), ("prompt-tokens", 256), ("generate", 16), ("runs", 1), ("warmup", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    core = ov.Core()
    if options.compute == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        sys.exit("OpenVINO does not compute in bf16 on this processor")
    start = time.perf_counter()
    compiled = core.compile_model(options.model, "CPU", dict(
        INFERENCE_NUM_THREADS=options.threads, PERFORMANCE_HINT="LATENCY", NUM_STREAMS=1, INFERENCE_PRECISION_HINT=options.compute))
    request = compiled.create_infer_request()
    load_ms, samples = ms_since(start), {}
    (language if "beam_idx" in [port.any_name for port in compiled.inputs] else other)(request, options, samples)
    print(json.dumps(dict(load_ms=load_ms, openvino=ov.__version__, prompt_tokens=options.prompt_tokens, **samples)))


if __name__ == "__main__":
    main()
