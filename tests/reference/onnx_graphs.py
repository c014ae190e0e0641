"""What the checks of ONNX files share: the graphs of a folder in ONNX Runtime, the command, and distances."""
import json
import subprocess
import sys

import numpy as np
import onnxruntime


def open_session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


class Graphs:
    """The graphs of a folder by name, and what their metadata says."""

    def __init__(self, folder):
        self.sessions, self.metadata = {}, {}
        for path in sorted(folder.glob("*.onnx")):
            session = open_session(path)
            about = session.get_modelmeta().custom_metadata_map
            name = about["perihelion.graph"]
            self.sessions[name] = session
            self.metadata[name] = {key: json.loads(about[f"perihelion.{key}"]) for key in ("limits", "extents", "inputs", "outputs")}

    def inputs(self, graph):
        return [i.name for i in self.sessions[graph].get_inputs()]

    def shape(self, graph, name):
        """Extents of an input or output; text where a run chooses."""
        session = self.sessions[graph]
        return next(p.shape for p in session.get_inputs() + session.get_outputs() if p.name == name)

    def run(self, graph, feed):
        names = [o.name for o in self.sessions[graph].get_outputs()]
        return dict(zip(names, self.sessions[graph].run(names, feed)))


def perihelion(*command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(str(c) for c in command)}: exit code {done.returncode}\n{done.stderr}")
    return done.stdout


def distance(found, expected):
    """The largest difference as a share of the largest expected element."""
    if found.shape != expected.shape:
        sys.exit(f"shape {found.shape} instead of {expected.shape}")
    if expected.size == 0:
        return 0.0
    return float(np.abs(found.astype(np.float64) - expected).max() / max(np.abs(expected).max(), 1e-30))
