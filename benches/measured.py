"""Runs a command and says what it took: wall time, peak private memory, peak resident memory.

Private memory is the largest `RssAnon` seen in /proc/PID/status, sampled each 20 ms: memory that no file backs. Resident memory is `VmHWM`, which also
counts pages of mapped files.
"""
import os
import pathlib
import resource
import subprocess
import tempfile
import time

SAMPLED_EACH_S = 0.02


class Failed(Exception):
    """A command that did not do its work, and why."""


def measured(command, log, environment=None, cpu_s_max=None):
    """Runs a command, its errors going to `log`; what it took and its standard output. With `cpu_s_max` it is ended at so much processor time."""
    command = [str(word) for word in command]
    limit = None
    if cpu_s_max is not None:
        limit = lambda: resource.setrlimit(resource.RLIMIT_CPU, (cpu_s_max, cpu_s_max + 5))
    said = tempfile.TemporaryFile("w+")  # no pipe, which would fill while nobody reads
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=said, stderr=log, preexec_fn=limit, env=os.environ | (environment or {}))
    peaks = {"RssAnon": 0, "VmHWM": 0}
    status = pathlib.Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        try:
            for line in status.read_text().splitlines():
                key, _, value = line.partition(":")
                if key in peaks:
                    peaks[key] = max(peaks[key], int(value.split()[0]) * 1024)
        except (FileNotFoundError, ProcessLookupError):
            break
        time.sleep(SAMPLED_EACH_S)
    code = process.wait()
    took = dict(wall_ms=(time.monotonic() - start) * 1e3, peak_private_bytes=peaks["RssAnon"], peak_rss_bytes=peaks["VmHWM"])
    if cpu_s_max is not None and code in (-24, -9):
        raise Failed(f"not done after {cpu_s_max} s of processor time")
    if code != 0:
        raise Failed(f"failed with {code}: {' '.join(command)} (see {log.name})")
    said.seek(0)
    return took, said.read()
