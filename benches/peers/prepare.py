"""What `peers.py` measures, made once: peers, random checkpoints, their models for each peer, our engines.

Each is a step with a mark in WORK/done, so that a run that was cut short goes on where it stopped. Our engines lie in a folder that bears the
digest of the binary that made them.
"""
import hashlib
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
# What is made of the bf16 file.
QUANTISED = ["Q8_0", "Q4_K_M"]
ENGINES = {"mid": ["f32", "bf16", "bf16,kv=bf16", "int8", "int8,kv=bf16", "int4,kv=bf16"],
           "2b": ["bf16,kv=bf16", "int8,kv=bf16", "int4,kv=bf16"], "denoiser": ["f32", "bf16", "int8"], "vae": ["f32", "bf16"], "actions": ["f32"]}


class Workplace:
    """Where everything lies, and the log of what made it."""

    def __init__(self, work, binary):
        self.folder, self.binary = work.resolve(), binary.resolve()
        self.digest = hashlib.sha256(self.binary.read_bytes()).hexdigest()
        self.engines = self.folder / "engines" / self.digest[:12]
        self.python = self.folder / "venv" / "bin" / "python"
        for folder in (self.engines, self.folder / "done", self.folder / "gguf"):
            folder.mkdir(parents=True, exist_ok=True)

    def checkpoint(self, shape):
        return self.folder / f"checkpoint-{shape}"

    def gguf(self, shape, kind):
        return self.folder / "gguf" / f"{shape}-{kind}.gguf"

    def openvino(self, shape, part, precision):
        return self.folder / f"openvino-{shape}" / f"{part}-{precision}.xml"

    def engine(self, shape, precision):
        return self.engines / f"{shape}-{precision}.engine"

    def versions(self):
        """The peers' pins, by name."""
        pins = (HERE / "requirements.txt").read_text() + (HERE / "llama_cpp.txt").read_text()
        pins += (HERE.parents[1] / "tests" / "reference" / "requirements.txt").read_text()
        told = dict(line.split()[0].split("==") for line in pins.splitlines() if "==" in line)
        return {name: told[name] for name in ("llama-cpp-python", "openvino", "nncf", "torch", "transformers", "diffusers")}

    def said(self, text):
        """Without the path of this machine."""
        return str(text).replace(str(self.folder), "WORK").replace(str(self.binary), "perihelion").replace(str(HERE.parents[1]), ".")

    def run(self, command):
        with open(self.folder / "log", "a") as log:
            print("+", *command, file=log, flush=True)
            done = subprocess.run([str(word) for word in command], stdout=log, stderr=log)
        if done.returncode:
            sys.exit(f"{self.said(' '.join(str(word) for word in command))} failed with {done.returncode}, see {self.folder / 'log'}")

    def step(self, name, *commands):
        """Runs the commands unless they were run before."""
        mark = self.folder / "done" / name
        if not mark.exists():
            print(f"making {name}", file=sys.stderr, flush=True)
            for command in commands:
                self.run(command)
            mark.touch()


def prepare(place, shapes):
    """Makes all that is not there yet, for these shapes of Reason."""
    subprocess.run([HERE / "install.sh", place.folder], check=True)
    for shape in shapes:
        make(place, shape, HERE / "random_reason.py")
        for kind in ("bf16", "f32") if shape == "mid" else ("bf16",):
            out = place.gguf(shape, kind)
            place.step(f"gguf-{shape}-{kind}", [place.python, HERE / "to_gguf.py", place.checkpoint(shape), out, "--type", kind])
        for kind in QUANTISED:
            place.step(f"gguf-{shape}-{kind}", [place.folder / "bin" / "llama_quantize", place.gguf(shape, "bf16"), place.gguf(shape, kind), kind])
        to_openvino(place, shape, "text", "f32,int8,int4" if shape == "mid" else "int8,int4")
    to_openvino(place, "mid", "vision", "f32,int8")
    for shape in ("denoiser", "vae", "actions"):
        make(place, shape, HERE / "random_predict.py")
    to_openvino(place, "denoiser", "denoiser", "f32,int8")
    to_openvino(place, "vae", "vae", "f32")
    for shape in (*shapes, "denoiser", "vae", "actions"):
        build(place, shape)


def make(place, shape, script):
    out = place.checkpoint(shape)
    if not (place.folder / "done" / f"checkpoint-{shape}").exists():
        shutil.rmtree(out, ignore_errors=True)
    place.step(f"checkpoint-{shape}", [place.python, script, shape, out])


def to_openvino(place, shape, part, precisions):
    place.step(f"openvino-{shape}-{part}", [
        place.python, HERE / "to_openvino.py", part, place.checkpoint(shape), place.openvino(shape, part, "f32").parent,
        "--precisions", precisions])


def build(place, shape):
    """Our engines; the model between is removed."""
    wanted = [(precision, place.engine(shape, precision)) for precision in ENGINES[shape]]
    wanted = [(precision, engine) for precision, engine in wanted if not engine.exists()]
    if not wanted:
        return
    print(f"making our engines of {shape}", file=sys.stderr, flush=True)
    model = place.engines / f"{shape}.model"
    place.run([place.binary, "export", place.checkpoint(shape), "-o", model])
    for precision, engine in wanted:
        place.run([place.binary, "build", model, "-o", engine, "--backend", "cpu", "--precision", precision])
    model.unlink()
