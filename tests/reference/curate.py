"""What `curate` writes in other programs' hands: shards in `webdataset`, and shares over a Ray cluster whose worker is killed midway.

    python tests/reference/curate.py BINARY WORK [CLIPS OF A BAG]

Needs tests/reference/curate-requirements.txt.
"""

import hashlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import ray
import webdataset
from PIL import Image

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
SHARES = 4


def run(command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def tree(folder):
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def shards_open(frames, shards):
    """Every clip that lies in folders is a sample with the same pixels and the same description."""
    manifest = json.loads((shards / "manifest.json").read_text())
    folders = json.loads((frames / "manifest.json").read_text())
    by_key = {clip["clip"]: clip for clip in folders["clips"]}
    assert manifest["digest"] == folders["digest"] and manifest["dropped"] == folders["dropped"]
    urls = [str(shards / shard["place"]) for shard in manifest["shards"]]
    dataset = webdataset.WebDataset(urls, shardshuffle=False).decode("rgb8")
    n_frames = 0
    for sample in dataset:
        clip = by_key.pop(sample["__key__"])
        folder = frames / clip["place"]
        assert sample["json"] == json.loads((folder / "clip.json").read_text())
        members = sorted(name for name in sample if name[0].isdigit())
        assert len(members) == clip["frames"] == len(list(folder.glob("frame_*")))
        for at, name in enumerate(members):
            file = next(folder.glob(f"frame_{at:03}.*"))
            assert np.array_equal(sample[name], np.array(Image.open(file).convert("RGB"))), f"{file}"
            n_frames += 1
    assert not by_key, f"clips that are in no shard: {sorted(by_key)}"
    return len(folders["clips"]), n_frames, len(urls)


def workers_of(parts):
    """Processes of workers that read a share of which a source is done and others are not."""
    for process in pathlib.Path("/proc").iterdir():
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            parent = int((process / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except (OSError, IndexError, ValueError):
            continue
        if b"curate" in words and b"--shard" in words:
            part = pathlib.Path(os.fsdecode(words[words.index(b"-o") + 1]))
            sources = part.with_name(part.name + ".curating") / "sources"
            done = [f for f in sources.glob("*") if not f.name.startswith(".")] if sources.is_dir() else []
            if part.parent == parts and done:
                yield parent


def over_ray(binary, logs, whole, work):
    parts, out = work / "parts", work / "joined"
    ray.init(num_cpus=2, log_to_driver=False, include_dashboard=False)
    address = ray.get_runtime_context().gcs_address
    script = [sys.executable, REPOSITORY / "calibration/ray_curate.py", binary, "--address", address]
    script += ["--parts", parts, "--shards", SHARES, "-o", out, "--", logs]
    driver = subprocess.Popen([str(word) for word in script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    killed = None
    while killed is None and driver.poll() is None:
        killed = next(workers_of(parts), None)
        if killed is None:
            time.sleep(0.005)
        else:
            os.kill(killed, signal.SIGKILL)
    said, problems = driver.communicate(timeout=300)
    assert driver.returncode == 0, problems
    assert killed is not None, "no worker was killed: the shares are too small to catch one at work"
    resumed = sum(int(line.split(", ")[1].split()[0]) for line in problems.splitlines() if " sources read, " in line)
    assert 0 < resumed, f"the share of the killed worker began anew:\n{problems}"
    ray.shutdown()
    assert tree(whole) == tree(out), "the set is not that of one machine"
    return json.loads(said)["digest"], resumed


def main():
    binary, work = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
    n_clips = int(sys.argv[3]) if 3 < len(sys.argv) else 16
    shutil.rmtree(work, ignore_errors=True)
    logs = work / "logs"
    logs.mkdir(parents=True)
    for number in range(12):
        run([binary, "scenes", "-o", logs / f"{number}.mcap", "--count", n_clips, "--first", n_clips * number, "--size", 128])
        # Each bag in a folder of its own: files of one folder are one bag.
        (logs / str(number)).mkdir()
        (logs / f"{number}.mcap").rename(logs / str(number) / f"{number}.mcap")
    shutil.copytree(logs / "3", logs / "copy-of-3")
    frames, shards = work / "frames", work / "shards"
    run([binary, "curate", logs, "-o", frames])
    run([binary, "curate", logs, "-o", shards, "--format", "webdataset", "--shard-mb", 2])
    clips, n_frames, n_shards = shards_open(frames, shards)
    print(f"webdataset {webdataset.__version__}: {clips} clips with {n_frames} frames in {n_shards} shards, all as in folders")
    digest, resumed = over_ray(binary, logs, frames, work)
    print(f"ray {ray.__version__}: two workers, one killed, {resumed} sources gone on from; the bytes of one process ({digest[:16]})")


if __name__ == "__main__":
    main()
