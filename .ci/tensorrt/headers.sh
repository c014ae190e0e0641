#!/usr/bin/env bash
# Prints the folder of TensorRT's headers, one folder below it for each version; fails if a byte of them is not what it was.
set -euo pipefail
cd "$(dirname "$0")"
digest=04f2d1ba4f578580b4b31dbe42be5b9555adf58150dfc5c1f1fc9e8f677f6f16
cargo fetch --quiet
headers=$(cargo metadata --format-version 1 --offline |
    python3 -c 'import json, os, sys
packages = json.load(sys.stdin)["packages"]
print(*(os.path.dirname(p["manifest_path"]) + "/TensorRT-Headers" for p in packages if p["name"] == "trtx-sys"))')
found=$(cd "$headers" && find . -type f | LC_ALL=C sort | xargs sha256sum | sha256sum | cut -d ' ' -f 1)
[ "$found" = "$digest" ] || {
    echo "TensorRT's headers in $headers have digest $found, expected $digest: the pinned package is another one" >&2
    exit 1
}
echo "$headers"
