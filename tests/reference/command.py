"""The command itself against transformers: export, build and ask on every case of a folder that reason.py wrote.

    command.py PERIHELION CASES WORK

For each case the prompt, the generated tokens and the logits of every generated position must be the reference's: logits
within 2e-4 of the largest. A token may differ only where the reference's own first two choices lie closer than that; such
a tie is named, and what follows it is not compared.
"""
import json
import pathlib
import subprocess
import sys

from safetensors.numpy import load_file

TOLERANCE = 2e-4


def run(*command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(str(c) for c in command)}: exit code {done.returncode}\n{done.stderr}")
    return done.stdout


def check(binary, case, work):
    facts = json.loads((case / "case.json").read_text())
    expected = load_file(case / "expected.safetensors")
    model, engine, logits_file = work / f"{case.name}.model", work / f"{case.name}.engine", work / f"{case.name}.safetensors"
    suffix = ["--think-suffix", facts["think_suffix"]] if facts["think_suffix"] else []
    run(binary, "export", case / "checkpoint", "-o", model, *suffix)
    run(binary, "build", model, "-o", engine, "--backend", "cpu", "--precision", "f32")
    shown = []
    for medium in facts["media"]:
        if "image" in medium:
            shown += ["--image", case / medium["image"]]
        else:
            shown += ["--video", case / medium["video"], "--fps", medium["fps"]]
    system = ["--system", facts["system"]] if facts["system"] else []
    think = ["--think"] if facts["think_suffix"] else []
    out = json.loads(run(binary, "ask", engine, *shown, *system, *think, "--prompt", facts["question"], "--greedy",
                         "--max-tokens", 64, "--json", "--logits", logits_file))
    if out["prompt"] != facts["prompt_ids"]:
        return f"prompt {out['prompt']} instead of {facts['prompt_ids']}", 0
    reference = expected["logits"]
    ours = load_file(logits_file)["logits"]
    largest = abs(reference).max()
    eos = json.loads((case / "checkpoint/generation_config.json").read_text())["eos_token_id"]
    stops = set(eos if isinstance(eos, list) else [eos])
    worst = 0.0
    for position, token in enumerate(facts["generated"]):
        if position == len(ours) and facts["generated"][position - 1] in stops:
            return None, worst  # the reference was told to go on behind its stop token
        if position == len(ours):
            return f"ended after {position} tokens", worst
        difference = float(abs(ours[position] - reference[position]).max() / largest)
        worst = max(worst, difference)
        if not difference <= TOLERANCE:
            return f"logits of position {position} differ by {difference:.1e}", worst
        mine = out["tokens"][position] if position < len(out["tokens"]) else None
        if mine is not None and mine != token:
            first, second = sorted(reference[position])[-1:-3:-1]
            if (first - second) / largest < 2 * TOLERANCE:
                print(f"  {case.name}: a tie at position {position}: {mine} instead of {token}")
                return None, worst
            return f"token {position} is {mine} instead of {token}", worst
    return None, worst


def main():
    binary, cases, work = (pathlib.Path(argument) for argument in sys.argv[1:4])
    work.mkdir(parents=True, exist_ok=True)
    failed = compared = 0
    for case in sorted(cases.iterdir()):
        if not (case / "case.json").exists():
            continue
        kinds = ["image" in medium for medium in json.loads((case / "case.json").read_text())["media"]]
        if kinds != sorted(kinds, reverse=True):
            print(f"{case.name:>28}: not for the command, which puts images before the video (the library's test has it)")
            continue
        problem, worst = check(binary, case, work)
        compared += 1
        failed += problem is not None
        print(f"{case.name:>28}: {problem or 'equal'} (logits within {worst:.1e})")
    print(f"command: {compared - failed} passed, {failed} failed")
    if compared < 8:
        sys.exit(f"only {compared} cases under {cases}")
    sys.exit(failed != 0)


if __name__ == "__main__":
    main()
