"""Accuracy by task of recorded answers, against the table in a checkpoint's README.

    accuracy.py ANSWERS.jsonl engines/small-reason/README.md

Each line of ANSWERS has `task`, `truth` and `text`. The README's table gives the accuracy that the reference
implementation reached, in per cent, in the column "clip of 8". A task may differ by 5 points or by two standard errors
of the difference, whichever is more; else, and where a task of the table was not asked, the exit code is 1.
"""
import collections
import json
import math
import pathlib
import re
import sys

SCENES_OF_README = 1024


def expected(readme):
    rows = re.findall(r"^\| (\w+)[^|]*\| ([0-9.]+)", readme, re.MULTILINE)
    return {task: float(percent) / 100 for task, percent in rows}


def main():
    answers, readme = (pathlib.Path(argument).read_text() for argument in sys.argv[1:3])
    asked, right = collections.Counter(), collections.Counter()
    for line in answers.splitlines():
        answer = json.loads(line)
        asked[answer["task"]] += 1
        right[answer["task"]] += answer["text"] == answer["truth"]
    failed = False
    table = expected(readme)
    if len(table) < 9:
        sys.exit(f"the README's table has {len(table)} tasks: was it changed?")
    for task, reference in table.items():
        if not asked[task]:
            print(f"{task:>9}: never asked")
            failed = True
            continue
        share, n = right[task] / asked[task], asked[task]
        both = (share * n + reference * SCENES_OF_README) / (n + SCENES_OF_README)
        error = math.sqrt(both * (1 - both) * (1 / n + 1 / SCENES_OF_README))
        allowed = max(0.05, 2 * error)
        verdict = "ok" if abs(share - reference) <= allowed else "TOO FAR"
        failed |= verdict != "ok"
        print(f"{task:>9}: {100 * share:5.1f} % of {n}, reference {100 * reference:5.1f} % (may differ by {100 * allowed:.1f}) {verdict}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
