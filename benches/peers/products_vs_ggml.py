"""Our matrix products beside llama.cpp's (ggml), one thread, the same shapes, interleaved in one run.

    products_vs_ggml.py --work DIR --bench PATH --out benches/results/peers.json [--rounds 3]

PATH is the program that `cargo bench --bench kernels --no-run` names. llama.cpp is the copy within the source package of
llama-cpp-python (pinned below), built here for this processor; needs cmake, ninja and a C++ compiler. Both sides are timed on the
clock of their own processor time, which a shared machine disturbs least; in each round they take turns. A ratio is their median time
over ours: above 1, ours is faster. Rows of the same work and peer are replaced in the table, others stay.
"""
import argparse
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import tarfile

HERE = pathlib.Path(__file__).parent
PACKAGE = "llama-cpp-python==0.3.36"

# What it is, rows, outputs, inputs: shapes of Qwen3-0.6B's layers and head, and of a 2B model's.
WORKS = [
    ("decode, a head", 1, 65536, 1024),
    ("decode, a layer of 2B", 1, 2048, 8192),
    ("prefill of 128", 128, 3072, 1024),
    ("prefill of 384", 384, 3072, 1024),
    ("prefill of 256, 2B", 256, 2048, 6144),
]
# Our format, and what it is held against: a type of ggml, in its own layout or plain.
PAIRS = [
    ("Int8", "q8_0", []),
    ("Int4", "q4_0", []),
    ("Int4", "q4_K", []),
    ("Int4", "q4_K", ["plain"]),
    ("Bf16", "bf16", []),
    ("F32", "f32", []),
]


def run(command, **environment):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, env=os.environ | environment)
    if done.returncode:
        sys.exit(f"{' '.join(str(c) for c in command)} failed with {done.returncode}:\n{done.stderr[-3000:]}")
    return done.stdout


def build(work):
    """llama.cpp's kernels and our small program over them."""
    source, program = work / "llama.cpp", work / "ggml_products"
    if not source.exists():
        run([sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", "llama-cpp-python", "-d", work, PACKAGE])
        (archive,) = work.glob("llama_cpp_python-*.tar.gz")
        with tarfile.open(archive) as tar:
            tar.extractall(work / "unpacked", filter="data")
        (vendored,) = (work / "unpacked").glob("*/vendor/llama.cpp")
        (vendored / ".git").unlink(missing_ok=True)  # points nowhere, and ninja would look at it for ever
        shutil.move(vendored, source)
    if not (source / "build/bin/libggml-cpu.so").exists():
        off = [f"-DLLAMA_{part}=OFF" for part in ("OPENSSL", "BUILD_TESTS", "BUILD_EXAMPLES", "BUILD_SERVER", "BUILD_APP", "BUILD_UI")]
        run(["cmake", "-S", source, "-B", source / "build", "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", "-DGGML_NATIVE=ON",
             "-DGGML_OPENMP=OFF", "-DBUILD_SHARED_LIBS=ON", "-DLLAMA_USE_PREBUILT_UI=OFF", *off])
        run(["ninja", "-C", source / "build", "ggml-cpu"])
    libraries = (source / "build/bin").resolve()
    run(["g++", "-O2", "-I", source / "ggml/include", HERE / "ggml_products.cpp", "-o", program, "-L", libraries, "-lggml-cpu",
         "-lggml-base", f"-Wl,-rpath,{libraries}"])
    return program


def ours_ms(bench, work, form, m, n, k):
    home = work / "criterion"
    shutil.rmtree(home, ignore_errors=True)
    run([bench, "--bench", "--noplot", f"{form}/{m}x{n}x{k}"], CRITERION_HOME=str(home))
    (found,) = home.glob(f"linear_*/{form}/{m}x{n}x{k}/new/estimates.json")
    return json.loads(found.read_text())["median"]["point_estimate"] / 1e6


def processor():
    names = [line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith(("model name", "cpu family", "model\t"))]
    return f"{platform.machine()}, {', '.join(dict.fromkeys(names[:3]))} (name, family, model in the order of /proc/cpuinfo)"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--bench", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    program = build(options.work)

    ours, theirs = {}, {}
    for _ in range(options.rounds):
        for _, m, n, k in WORKS:
            for form in dict.fromkeys(pair[0] for pair in PAIRS):
                ours.setdefault((form, m, n, k), []).append(ours_ms(options.bench, options.work, form, m, n, k))
                for _, kind, layout in (pair for pair in PAIRS if pair[0] == form):
                    found = json.loads(run([program, kind, k, n, m, 9, *layout]))
                    theirs.setdefault((kind, found["layout"], tuple(layout), m, n, k), []).append(found["ms"])

    command = f"benches/peers/products_vs_ggml.py --rounds {options.rounds}"
    rows = []
    for title, m, n, k in WORKS:
        for form, kind, layout in PAIRS:
            mine = statistics.median(ours[form, m, n, k])
            for key, samples in theirs.items():
                if key[0] != kind or key[2:] != (tuple(layout), m, n, k):
                    continue
                other = statistics.median(samples)
                rows.append(dict(work=f"{title}: [{m}, {k}] by {form.lower()} [{n}, {k}]",
                                 peer=f"llama.cpp {kind} ({key[1]} layout), {PACKAGE}", ours=round(mine, 4), theirs=round(other, 4),
                                 unit="ms of processor time, median", ratio=round(other / mine, 3), machine=processor(), command=command))
    for row in rows:
        print(f"{row['ratio']:6.2f}  {row['ours']:10.3f} {row['theirs']:10.3f}  {row['work']}  |  {row['peer']}")
    if options.out:
        known = json.loads(options.out.read_text()) if options.out.exists() else []
        new = {(row["work"], row["peer"]) for row in rows}
        kept = [row for row in known if (row["work"], row["peer"]) not in new]
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(kept + rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
