"""Curates a fleet's logs over a Ray cluster: each worker reads a share through the command, and the shares join to the set of one machine.

    python calibration/ray_curate.py perihelion --parts /shared/parts --shards 32 -o /shared/kitchen -- /shared/logs --format webdataset

Logs, parts and the set lie where every worker finds them under the same names. A worker that dies loses nothing: its share goes on from
the sources that it had read (`--resume`), on whichever worker takes it. What stands behind `--` is given to `curate` as it is.
Needs `ray` (`pip install ray`); `--address auto` joins a running cluster, without it one is started on this machine.
"""

import argparse
import ctypes
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import ray


class StillThere(Exception):
    """Another process works on the share: that of a worker which has just died, and will be gone in a moment."""


def die_with_parent():
    """A worker that is killed takes its command along, or two would read one share."""
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def curate(binary, arguments):
    """Runs the command and returns what it says of the result; its own words if it fails."""
    command = [binary, "curate", *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=die_with_parent)
    if "another process works in it" in done.stderr:
        time.sleep(1)
        raise StillThere(done.stderr.strip())
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def read_share(share, binary, shards, parts, given):
    """One share: idempotent, so that Ray may run it again."""
    part = pathlib.Path(parts) / f"{share:05}-of-{shards:05}"
    return curate(binary, [*given, "-o", str(part), "--shard", f"{share}/{shards}", "--resume"]) | {"part": str(part)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", help="the command `perihelion`, as workers find it")
    parser.add_argument("given", nargs="+", help="sources and options of `curate`, behind --")
    parser.add_argument("--parts", required=True, help="a folder for the shares; kept, so that a run can go on")
    parser.add_argument("--shards", type=int, required=True, help="how many shares")
    parser.add_argument("-o", "--output", required=True, help="the set")
    parser.add_argument("--address", default=None, help="a running cluster, as `auto`")
    parser.add_argument("--retries", type=int, default=3, help="how often a share is taken up again whose worker died")
    parser.add_argument("--overwrite", action="store_true", help="replace a set that lies there")
    asked = parser.parse_args()

    # Ray says some things on stdout, where the result alone shall stand.
    stdout = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    pathlib.Path(asked.parts).mkdir(parents=True, exist_ok=True)
    ray.init(address=asked.address, log_to_driver=False)
    # A share that fails by itself (a full disk) is not tried again: Ray repeats what it lost, not what was answered.
    task = ray.remote(num_cpus=1, max_retries=asked.retries, retry_exceptions=[StillThere])(read_share)
    waiting = [
        task.remote(share, asked.binary, asked.shards, asked.parts, asked.given) for share in range(1, asked.shards + 1)
    ]
    parts = []
    while waiting:
        done, waiting = ray.wait(waiting)
        for result in ray.get(done):
            parts.append(result["part"])
            print(f"{result['part']}: {result['read']} sources read, {result['resumed']} there", file=sys.stderr)
    overwrite = ["--overwrite"] if asked.overwrite else []
    merged = curate(asked.binary, ["merge", *sorted(parts), "-o", asked.output, *overwrite])
    print(json.dumps(merged, indent=2), file=stdout)


if __name__ == "__main__":
    main()
