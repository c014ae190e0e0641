"""ONNX files against ONNX's own checker, and ONNX Runtime against the runs that `tests/onnx.rs` made of the same graphs.

    PERIHELION_ONNX_CASES=CASES cargo test --test onnx
    onnx_parity.py CASES

Every graph is checked with full shape inference, then run in ONNX Runtime on the inputs of each case: every output must be within
1e-4 of its largest element. A graph without three cases, or a folder without graphs, fails.
"""
import json
import pathlib
import sys

import onnx
from safetensors import safe_open

from onnx_graphs import distance, open_session

TOLERANCE = 1e-4
RUNS = 3


def read_case(path):
    with safe_open(path, "np") as file:
        graph = file.metadata()["graph"]
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    split = lambda way: {name.removeprefix(way): value for name, value in tensors.items() if name.startswith(way)}
    return graph, split("input."), split("output.")


def check(folder, cases):
    """How many graphs and runs agree, the largest distance, and what does not agree."""
    worst, runs, problems = 0.0, 0, []
    paths = sorted(folder.glob("*.onnx"))
    for path in paths:
        onnx.checker.check_model(str(path), full_check=True)
        session = open_session(path)
        metadata = session.get_modelmeta().custom_metadata_map
        graph = metadata["perihelion.graph"]
        inputs = json.loads(metadata["perihelion.inputs"])
        own = [(i, o) for name, i, o in cases if name == graph]
        if len(own) != RUNS or set(inputs) != {i.name for i in session.get_inputs()}:
            problems.append(f"{path}: {len(own)} cases, inputs {sorted(inputs)}")
        # Every input is passed: one that the runtime does not know would be refused.
        for fed, expected in own:
            names = sorted(expected)
            for name, found in zip(names, session.run(names, fed)):
                apart = distance(found, expected[name])
                worst = max(worst, apart)
                if not apart <= TOLERANCE:
                    problems.append(f"{path}: `{name}` differs by {apart:.1e} of its largest")
            runs += 1
    return len(paths), runs, worst, problems


def main():
    root, failed, models = pathlib.Path(sys.argv[1]), [], 0
    operators = dict(graphs=0, runs=0, worst=0.0)
    for model in sorted(path for path in root.iterdir() if path.is_dir()):
        cases = [read_case(path) for path in sorted((model / "cases").glob("*.safetensors"))]
        for folder in sorted(path for path in model.iterdir() if path.name.isdigit()):
            graphs, runs, worst, problems = check(folder, cases)
            failed += problems
            if graphs == 0:
                failed.append(f"{folder}: no graphs")
            if model.name.startswith("op-"):
                operators = dict(graphs=operators["graphs"] + graphs, runs=operators["runs"] + runs,
                                 worst=max(operators["worst"], worst))
                continue
            models += 1
            print(f"{model.name:>14}, opset {folder.name}: {graphs} graphs, {runs} runs, within {worst:.1e} of the largest")
    print(f"operators and small networks: {operators['graphs']} graphs, {operators['runs']} runs, within {operators['worst']:.1e} of the largest")
    for problem in failed:
        print(problem)
    if models < 12 or operators["graphs"] < 300:
        sys.exit(f"only {models} models and {operators['graphs']} other graphs under {root}")
    sys.exit(len(failed) != 0)


if __name__ == "__main__":
    main()
