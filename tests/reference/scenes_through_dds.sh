#!/usr/bin/env bash
# Rendered scenes through DDS, node and engine: accuracy by task against the checkpoint's README, and every answer
# against transformers on the very frames that arrived.
#
#     scenes_through_dds.sh BINARY PYTHON WORK [SCENES]
set -euo pipefail
binary=$1 python=$2 work=$3 scenes=${4:-300}
here=$(dirname "$0")
checkpoint=$here/../../engines/small-reason
mkdir -p "$work"
"$binary" demo --scenes "$scenes" --record "$work"
"$python" "$here/accuracy.py" "$work/answers.jsonl" "$checkpoint/README.md"
"$python" "$here/arrived.py" "$checkpoint" "$work/questions.jsonl" --answers "$work/answers.jsonl" >"$work/reference.jsonl"
