#!/usr/bin/env bash
# Prints the folder of TensorRT's headers, one folder below it for each version.
set -euo pipefail
cd "$(dirname "$0")"
cargo fetch --quiet --locked
cargo metadata --format-version 1 --locked --offline |
    python3 -c 'import json, os, sys
packages = json.load(sys.stdin)["packages"]
print(*(os.path.dirname(p["manifest_path"]) + "/TensorRT-Headers" for p in packages if p["name"] == "trtx-sys"))'
