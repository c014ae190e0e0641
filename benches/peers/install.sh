#!/usr/bin/env bash
# install.sh WORK: the peers, pinned, into the folder WORK: what is there already is not made again.
#
#   WORK/venv       Python with torch, transformers, diffusers, OpenVINO, NNCF, gguf (requirements.txt)
#   WORK/llama.cpp  llama.cpp, out of its Python package's sources (llama_cpp.txt), compiled for this processor: the library alone
#   WORK/bin        llama_time, llama_quantize, cpu_clock.so
#
# Needs python3 with venv, a C and a C++ compiler, about 9 GB of disk, and pip's index. COMPILE is put before what compiles
# (`COMPILE='nice -n 5'`).
set -euo pipefail
[ $# = 1 ] || { echo "usage: install.sh WORK" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"/{bin,done,downloads}
work=$(cd "$1" && pwd)

# todo NAME FILE...: whether NAME is still to be done for what these files say.
todo() {
    local name=$1 digest
    shift
    digest=$(cat "$@" | sha256sum | cut -d' ' -f1)
    marker=$work/done/$name-$digest
    [ ! -e "$marker" ]
}

for tool in python3 cc c++; do
    command -v "$tool" >/dev/null || { echo "install.sh: $tool is not there (Debian: apt-get install python3-venv g++)" >&2; exit 1; }
done
export PATH=$work/venv/bin:$PATH

pinned=$here/../../tests/reference/requirements.txt
if todo venv "$here/requirements.txt" "$pinned"; then
    python3 -m venv --clear "$work/venv"
    "$work/venv/bin/pip" install --quiet --requirement "$here/requirements.txt"
    touch "$marker"
fi

if todo llama.cpp "$here/llama_cpp.txt"; then
    rm -rf "$work/llama.cpp" "$work"/downloads/llama_cpp_python-*
    # Without isolation: what the package is built with is pinned too, and no build of it is made.
    "$work/venv/bin/pip" download --quiet --no-deps --no-build-isolation --no-binary llama-cpp-python --require-hashes \
        --requirement "$here/llama_cpp.txt" --dest "$work/downloads"
    mkdir "$work/llama.cpp"
    tar xzf "$work"/downloads/llama_cpp_python-*.tar.gz -C "$work/llama.cpp" --strip-components=3 --wildcards '*/vendor/llama.cpp'
    cmake -S "$work/llama.cpp" -B "$work/llama.cpp/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON -DGGML_NATIVE=ON \
        -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_APP=OFF \
        -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF
    ${COMPILE:-} cmake --build "$work/llama.cpp/build" -j2 --target llama
    touch "$marker"
fi

if todo tools "$here/llama_time.c" "$here/llama_quantize.c" "$here/llama_cpp.txt" "$here/cpu_clock.c"; then
    built=$work/llama.cpp/build/bin
    for tool in llama_time llama_quantize; do
        cc -O2 -Wall -Wextra -I "$work/llama.cpp/include" -I "$work/llama.cpp/ggml/include" "$here/$tool.c" -o "$work/bin/$tool" \
            -L "$built" -Wl,-rpath,"$built" -lllama -lggml -lggml-base
    done
    cc -O2 -shared -fPIC -o "$work/bin/cpu_clock.so" "$here/cpu_clock.c"
    touch "$marker"
fi
