#!/usr/bin/env bash
# matrix.sh HEADERS: compiles the shim against each version of TensorRT's headers below a folder, for x86-64 and aarch64; a warning
# is an error.
set -euo pipefail
headers=$1
cd "$(dirname "$0")/../../src/backend/tensorrt/shim"
n=0
for version in "$headers"/*/NvInfer.h; do
    for compiler in x86_64-linux-gnu-g++ aarch64-linux-gnu-g++; do
        for file in *.cc; do
            "$compiler" -std=c++17 -O2 -fPIC -Wall -Wextra -Werror -c "$file" -o /dev/null \
                -isystem "$(dirname "$version")" -isystem without_cuda
        done
        n=$((n + 1))
    done
    echo "$(basename "$(dirname "$version")"): compiles for both, without a warning"
done
[ "$n" -ge 12 ] || {
    echo "expected six versions of headers below $headers, found $((n / 2))" >&2
    exit 1
}
