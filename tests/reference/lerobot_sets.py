"""Data sets of `curate` in lerobot's hands, and data sets that lerobot wrote in `curate`'s.

    lerobot_sets.py PERIHELION WORK

Needs tests/reference/requirements.txt and, before them, tests/reference/lerobot-requirements.txt.

Bags are rendered scenes with `cmd_vel`, and a camera of another size and rate whose stamps waver and whose JPEGs, actions and texts
rosbags writes. Every episode must be a clip of the folders that `--format frames` writes: its frames byte for byte and pixel for pixel
as lerobot decodes them, its actions those that rosbags hears last, its numbers those of lerobot's own functions. Lerobot then adds an
episode, and writes a data set of its own, which `curate` reads.
"""
import io
import json
import os
import pathlib
import shutil
import subprocess
import sys

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "TQDM_DISABLE": "1"}

import lerobot
import numpy as np
import pyarrow.parquet as parquet
import torch
from PIL import Image
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

WORK = pathlib.Path(sys.argv[2]).resolve()
os.environ["HF_DATASETS_CACHE"] = str(WORK / "cache")

from lerobot.datasets.compute_stats import aggregate_stats, get_feature_stats, sample_images, sample_indices
from lerobot.datasets.lerobot_dataset import LeRobotDataset

BINARY = pathlib.Path(sys.argv[1]).resolve()
STORE = get_typestore(Stores.ROS2_JAZZY)
TEXTS = {"task": "/perihelion/prompt", "answer": "/perihelion/answer"}
TOLD = ["min", "max", "mean", "std", "count", "q01", "q10", "q50", "q90", "q99"]


def run(*command, code=0):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode != code:
        sys.exit(f"{' '.join(str(word) for word in command)}: exit code {done.returncode}, not {code}\n{done.stderr}")
    return done


def curate(*arguments):
    return json.loads(run(BINARY, "curate", *arguments, "--json").stdout)


def wavering_bag(path, scenes):
    """30 frames a second of 96 by 64, give or take 3 ms, one lost; actions with stamps 50 times a second, from before the first frame."""
    types = STORE.types
    rng = np.random.default_rng(5)
    events = []
    now_ns = 1_700_000_000_000_000_000
    for number, scene in enumerate(scenes):
        begin_ns = now_ns
        for at, file in enumerate(sorted(scene.glob("frame_*"))):
            jpeg = io.BytesIO()
            picture = Image.open(file).convert("RGB").resize((96, 64))
            # One grey camera, as some are: a JPEG of one channel.
            (picture.convert("L") if number == 2 else picture).save(jpeg, "jpeg", quality=95)
            stamp_ns = now_ns + int(rng.integers(-3_000_000, 3_000_000))
            if at != 5:
                events.append((now_ns, "image", (stamp_ns, np.frombuffer(jpeg.getvalue(), np.uint8))))
            now_ns += 33_333_333
        for time_ns in range(begin_ns - 30_000_000, now_ns, 20_000_000):
            events.append((time_ns, "action", rng.normal(size=6)))
        events.append((begin_ns - 1, "task", f"push thing {number}  "))
        events.append((begin_ns + 200_000_000, "answer", f"I see scene {number}, ümläute"))
        now_ns += 2_000_000_000
    events.sort(key=lambda event: event[0])
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as bag:
        kinds = {"image": "sensor_msgs/msg/CompressedImage", "action": "geometry_msgs/msg/TwistStamped"}
        topics = {"image": "/front/image_raw/compressed", "action": "/robot/cmd_vel"} | TEXTS
        add = lambda kind: bag.add_connection(topics[kind], kinds.get(kind, "std_msgs/msg/String"), typestore=STORE)
        connections = {kind: add(kind) for kind in topics}
        for time_ns, kind, value in events:
            header = lambda stamp_ns: types["std_msgs/msg/Header"](types["builtin_interfaces/msg/Time"](*divmod(stamp_ns, 10**9)), "x")
            if kind == "image":
                message = types["sensor_msgs/msg/CompressedImage"](header(value[0]), "jpeg", value[1])
            elif kind == "action":
                vector = types["geometry_msgs/msg/Vector3"]
                twist = types["geometry_msgs/msg/Twist"](vector(*value[:3]), vector(*value[3:]))
                message = types["geometry_msgs/msg/TwistStamped"](header(time_ns), twist)
            else:
                message = types["std_msgs/msg/String"](value)
            bag.write(connections[kind], time_ns, STORE.serialize_cdr(message, message.__msgtype__))


def heard(bag):
    """What was heard last at each image's stamp: the action and the texts, by rosbags."""
    images, actions, texts = [], [], {name: [] for name in TEXTS}
    by_topic = {topic: name for name, topic in TEXTS.items()}
    with AnyReader([bag], default_typestore=STORE) as reader:
        for connection, time_ns, raw in reader.messages():
            kind = connection.msgtype.rsplit("/", 1)[1]
            message = reader.deserialize(raw, connection.msgtype) if kind != "Clock" else None
            if "Image" in kind:
                images.append((time_ns, message.header.stamp.sec * 10**9 + message.header.stamp.nanosec))
            elif kind.startswith("Twist"):
                twist = getattr(message, "twist", message)
                both = [getattr(part, axis) for part in (twist.linear, twist.angular) for axis in "xyz"]
                actions.append((time_ns, np.array(both, np.float32)))
            elif kind == "String":
                texts[by_topic[connection.topic]].append((time_ns, message.data.rstrip()))
    last = lambda events, time_ns, none: next((value for at, value in reversed(events) if at <= time_ns), none)
    return {
        stamp_ns: (last(actions, time_ns, None), {name: last(said, time_ns, "") for name, said in texts.items()})
        for time_ns, stamp_ns in images
    }


def close(found, expected, within, what):
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert found.shape == expected.shape, f"{what}: {found.shape}, expected {expected.shape}"
    assert np.all(np.abs(found - expected) <= within), f"{what}: {found.ravel()}, expected {expected.ravel()}"


def numbers_agree(found, values, what, of_images=False, is_lossy=False):
    """Against lerobot's function, of float64: of bytes its squares overflow."""
    if of_images:
        expected = get_feature_stats(values.astype(np.float64), axis=(0, 2, 3), keepdims=True)
        expected = {k: v if k == "count" else np.squeeze(v / 255.0, axis=0) for k, v in expected.items()}
        of_bytes = get_feature_stats(values, axis=(0, 2, 3), keepdims=True)
        for name in ("min", "max", "mean", "q01", "q10", "q50", "q90", "q99"):
            close(np.squeeze(of_bytes[name] / 255.0, axis=0), expected[name], 1e-6, f"lerobot's own {name}")
    else:
        # Stamps are so large that squares of their float64 tell nothing of how far apart they are: they are counted from the first.
        first = values.ravel()[0] if np.issubdtype(values.dtype, np.integer) else 0
        expected = get_feature_stats(np.asarray(values - first, np.float64), axis=0, keepdims=values.ndim == 1)
    scale = max(1.0, *(float(np.abs(expected[name]).max()) for name in ("min", "max")))
    # Two decoders of a JPEG are a level or two apart.
    within = 3 / 255 if is_lossy and of_images else 1e-7 * scale
    for name in TOLD:
        if of_images or name in ("std", "count"):
            close(found[name], expected[name], within, f"{what}: {name}")
        else:
            close(np.asarray(found[name]) - first, expected[name], within + 2 * np.spacing(float(abs(first))), f"{what}: {name}")


def opens(root, clips, folders, heard_at, texts):
    """A data set against the clips of folders that its episodes must be."""
    dataset = LeRobotDataset(f"perihelion/{root.name}", root=root)
    (camera,) = dataset.meta.camera_keys
    assert camera.startswith("observation.images."), camera
    clips = sorted(clips, key=lambda clip: clip["episode"]["index"])
    assert [clip["episode"]["index"] for clip in clips] == list(range(dataset.num_episodes)), root
    has_actions = "action" in dataset.features
    columns = dataset.meta.names["action"] if has_actions else []
    stats, gathered, pictures, n_lossy = [], {}, [], 0
    episodes = parquet.read_table(sorted((root / "meta/episodes").glob("*/*.parquet"))).to_pylist()
    table = parquet.read_table(sorted((root / "data").glob("*/*.parquet"))).to_pylist()
    for clip, row in zip(clips, episodes, strict=True):
        folder = folders / clip["folder"]
        described = json.loads((folder / "clip.json").read_text())
        files = sorted(folder.glob("frame_*"))
        begin, end = row["dataset_from_index"], row["dataset_to_index"]
        episode = dataset.meta.episodes[row["episode_index"]]
        assert (episode["length"], end - begin) == (len(files), len(files))
        is_lossy = False
        tasks = []
        for at, file in enumerate(files):
            item, stored = dataset[begin + at], table[begin + at]
            expected = np.array(Image.open(file).convert("RGB"))
            is_lossy |= file.suffix == ".jpg"
            shown = item[camera].permute(1, 2, 0) * 255
            if Image.open(file).mode == "RGB":
                assert stored[camera]["bytes"] == file.read_bytes(), f"{file}: other bytes"
                assert torch.equal(shown.round().to(torch.uint8), torch.from_numpy(expected)), f"{file}: other pixels"
            else:
                close(shown, expected, 2.01, f"{file}: grey")
                assert stored[camera]["path"].endswith(".png") and item[camera].shape[0] == 3
            stamp_ns = described["stamps_ns"][at]
            action, said = heard_at[stamp_ns]
            assert item["stamp_ns"].item() == stored["stamp_ns"] == stamp_ns
            assert item["timestamp"].item() == np.float32(at / dataset.fps)
            assert (item["frame_index"], item["episode_index"], item["index"]) == (at, row["episode_index"], begin + at)
            assert item["task"] == said["task"] if "task" in texts else item["task"] == ""
            tasks.append(item["task"])
            for name in set(texts) - {"task"}:
                assert item[name] == said[name], (item[name], said[name])
            if has_actions:
                assert np.array_equal(item["action"].numpy(), action), f"{file}: {item['action']}, heard {action}"
            else:
                assert action is None or described["topic"] == "", f"{file} has an action"
        assert episode["tasks"] == list(dict.fromkeys(tasks))
        off = max(abs((stamp - described["stamps_ns"][0]) / 1e9 - at / dataset.fps) for at, stamp in enumerate(described["stamps_ns"]))
        close(clip["episode"]["stamps_off_s"], off, 1e-6, "how far stamps are off")
        assert off < 0.04 and clip["episode"]["fps"] == dataset.fps
        # Its numbers: those of the frames that lerobot samples, and of all values.
        of_episode = {name: {k: np.array(row[f"stats/{name}/{k}"]) for k in TOLD} for name in dataset.features if dataset.features[name]["dtype"] != "string"}
        stats.append(of_episode)
        sampled = sample_images([str(file) for file in files])
        assert len(sampled) == len(sample_indices(len(files)))
        numbers_agree(of_episode[camera], sampled, f"{folder.name} {camera}", of_images=True, is_lossy=is_lossy)
        pictures.append(sampled)
        n_lossy += is_lossy
        for name in set(of_episode) - {camera}:
            values = np.array([frame[name] for frame in table[begin:end]])
            numbers_agree(of_episode[name], values, f"{folder.name} {name}")
            gathered.setdefault(name, []).append(values)
    # The whole set: what lerobot makes of its episodes, and quantiles of all values.
    together = aggregate_stats(stats)
    for name, all_told in dataset.meta.stats.items():
        for told in ("min", "max", "mean", "std", "count"):
            scale = max(1.0, float(np.abs(together[name]["max"]).max()))
            close(all_told[told], together[name][told], 1e-7 * scale, f"all {name}: {told}")
        values = np.concatenate(pictures if name == camera else gathered[name])
        numbers_agree(all_told, values, f"all {name}", of_images=name == camera, is_lossy=0 < n_lossy)
    assert dataset.meta.total_frames == sum(clip["frames"] for clip in clips) == len(dataset)
    # Windows over time as policies ask for them, and a batch.
    wanted = {camera: [-1 / dataset.fps, 0.0]} | ({"action": [0.0, 1 / dataset.fps]} if has_actions else {})
    windows = LeRobotDataset(f"perihelion/{root.name}", root=root, delta_timestamps=wanted)
    batch = next(iter(torch.utils.data.DataLoader(windows, batch_size=4)))
    assert batch[camera].shape[:3] == (4, 2, 3) and batch[f"{camera}_is_pad"][0].tolist() == [True, False]
    if has_actions:
        assert torch.equal(batch["action"][0, 1], dataset[1]["action"]) and len(columns) == batch["action"].shape[2]
    return dataset, camera


def adds_an_episode(root, camera, n_frames, n_episodes):
    """Lerobot goes on recording into a data set of ours."""
    copy = WORK / "goes-on"
    shutil.copytree(root, copy)
    dataset = LeRobotDataset(f"perihelion/{copy.name}", root=copy)
    rng = np.random.default_rng(1)
    for _ in range(3):
        frame = {name: of for name, of in dataset.features.items() if name not in ("timestamp", "frame_index", "episode_index", "index", "task_index")}
        make = {"image": lambda of: rng.integers(0, 255, of["shape"], np.uint8), "string": lambda of: "said",
                "int64": lambda of: np.array([7], np.int64), "float32": lambda of: np.ones(of["shape"], np.float32)}
        dataset.add_frame({name: make[of["dtype"]](of) for name, of in frame.items()} | {"task": "more"})
    dataset.save_episode()
    dataset.finalize()
    again = LeRobotDataset(f"perihelion/{copy.name}", root=copy)
    assert (len(again), again.num_episodes) == (n_frames + 3, n_episodes + 1)
    assert again[n_frames + 2]["task"] == "more" and again[0]["task"] == dataset[0]["task"]
    assert torch.equal(again[0][camera], dataset[0][camera])


def reads_what_lerobot_wrote(scenes):
    """Two cameras, actions and tasks, images in Parquet as lerobot saves them; then the same as videos, which are refused."""
    shape = Image.open(next(scenes[0].glob("frame_*"))).size[::-1] + (3,)
    image = {"dtype": "image", "shape": shape, "names": ["height", "width", "channels"]}
    features = {"observation.images.top": image, "observation.images.wrist": image,
                "action": {"dtype": "float32", "shape": (2,), "names": ["x", "gripper"]}}
    root = WORK / "theirs"
    dataset = LeRobotDataset.create("someone/theirs", fps=8, features=features, root=root, use_videos=False)
    written = {name: [] for name in features}
    for number, (scene, other) in enumerate(zip(scenes[0::2], scenes[1::2])):
        for name in features:
            written[name].append([])
        for at, (top, wrist) in enumerate(zip(sorted(scene.glob("frame_*")), sorted(other.glob("frame_*")))):
            values = {"observation.images.top": np.array(Image.open(top)), "observation.images.wrist": np.array(Image.open(wrist)),
                      "action": np.array([at, number], np.float32) / 7}
            for name, value in values.items():
                written[name][-1].append(value)
            dataset.add_frame(values | {"task": f"task {number % 2}"})
        dataset.save_episode()
    dataset.finalize()
    out, again = WORK / "of-theirs", WORK / "of-theirs-again"
    curate(root, "-o", out, "--min-frames", 2, "--still-for", 99)
    manifest = json.loads((out / "manifest.json").read_text())
    (source,) = manifest["sources"]
    assert source["kind"] == "lerobot" and [stream["topic"] for stream in source["streams"]] == list(features)[:2]
    n = {name: len(episodes) for name, episodes in written.items()}
    frames = {name: np.concatenate(written[name]) for name in list(features)[:2]}
    lengths = {name: [len(episode) for episode in episodes] for name, episodes in written.items()}
    for clip in manifest["clips"]:
        begins = np.cumsum([0] + lengths[clip["topic"]])
        episode = int(np.searchsorted(begins, clip["first"], "right")) - 1
        assert clip["last"] < begins[episode + 1], f"a clip of two episodes: {clip}"
        for at, file in enumerate(sorted((out / clip["place"]).glob("frame_*"))):
            assert np.array_equal(np.array(Image.open(file)), frames[clip["topic"]][clip["first"] + at]), file
    kept = len(manifest["clips"]) + len({line["like"] for line in manifest["dropped"] if "like" in line})
    assert n["action"] <= kept, manifest["dropped"]
    # And as data sets again: names, actions, tasks.
    said = curate(root, "-o", again, "--format", "lerobot", "--min-frames", 2, "--still-for", 99)
    manifest = json.loads((again / "manifest.json").read_text())
    for place in said["datasets"]:
        ours = LeRobotDataset(f"perihelion/{place}", root=again / place)
        (camera,) = ours.meta.camera_keys
        assert ours.meta.names["action"] == ["x", "gripper"] and ours.fps == 8
        for clip in (clip for clip in manifest["clips"] if clip["place"] == place):
            assert clip["topic"] == camera
            begin = ours.meta.episodes[clip["episode"]["index"]]["dataset_from_index"]
            episode = int(np.searchsorted(np.cumsum([0] + lengths[camera]), clip["first"], "right")) - 1
            for at in range(clip["frames"]):
                item, number = ours[begin + at], clip["first"] + at
                shown = (item[camera].permute(1, 2, 0) * 255).round().to(torch.uint8)
                assert np.array_equal(shown.numpy(), frames[camera][number])
                assert np.array_equal(item["action"].numpy(), np.concatenate(written["action"])[number])
                assert item["task"] == f"task {episode % 2}", (item["task"], episode)
    info = json.loads((root / "meta/info.json").read_text())
    for name in list(features)[:2]:
        info["features"][name]["dtype"] = "video"
    (root / "meta/info.json").write_text(json.dumps(info))
    refusal = run(BINARY, "curate", root, "-o", WORK / "none", code=1).stderr
    assert "observation.images.top" in refusal and "ffmpeg" in refusal, refusal
    return sum(len(episode) for episodes in frames.values() for episode in [episodes])


def main():
    shutil.rmtree(WORK, ignore_errors=True)
    (WORK / "logs").mkdir(parents=True)
    scenes = WORK / "scenes"
    run(BINARY, "scenes", "-o", WORK / "logs/a.mcap", "--count", 6, "--size", 128)
    run(BINARY, "scenes", "-o", scenes, "--count", 8, "--first", 20, "--size", 128)
    scenes = sorted(path for path in scenes.iterdir() if path.is_dir())
    wavering_bag(WORK / "logs/b", scenes[:4])
    heard_at = heard(WORK / "logs/a.mcap") | heard(WORK / "logs/b")
    logs = [WORK / "logs/a.mcap", WORK / "logs/b"]
    texts = [word for name, topic in TEXTS.items() for word in ("--text-topic", f"{name}={topic}")]
    said = curate(*logs, "-o", WORK / "frames")
    clips = {(c["source"], c["topic"], c["first"], c["last"]): c for c in json.loads((WORK / "frames/manifest.json").read_text())["clips"]}
    ours = curate(*logs, "-o", WORK / "sets", "--format", "lerobot", *texts)
    assert ours["clips"] == said["clips"] and 3 <= len(ours["datasets"]), ours
    manifest = json.loads((WORK / "sets/manifest.json").read_text())
    of_sets = {}
    for clip in manifest["clips"]:
        clip["folder"] = clips.pop((clip["source"], clip["topic"], clip["first"], clip["last"]))["place"]
        of_sets.setdefault(clip["place"], []).append(clip)
    assert not clips and sorted(of_sets) == sorted(ours["datasets"])
    frames = 0
    for place, episodes in sorted(of_sets.items()):
        dataset, camera = opens(WORK / "sets" / place, episodes, WORK / "frames", heard_at, TEXTS)
        frames += len(dataset)
        print(f"  {place}: {dataset.num_episodes} episodes, {len(dataset)} frames, {dataset.fps} a second, {list(dataset.features)}")
    adds_an_episode(WORK / "sets" / place, camera, len(dataset), dataset.num_episodes)
    # Parts join to the same bytes.
    for share in (1, 2):
        run(BINARY, "curate", *logs, "-o", WORK / f"part-{share}", "--shard", f"{share}/2", "--format", "lerobot", *texts)
    run(BINARY, "curate", "merge", WORK / "part-1", WORK / "part-2", "-o", WORK / "joined")
    tree = lambda root: {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    assert tree(WORK / "joined") == tree(WORK / "sets")
    theirs = reads_what_lerobot_wrote(scenes)
    print(f"lerobot {lerobot.__version__}: {frames} frames in {len(of_sets)} data sets, all as in folders; an episode added; {theirs} frames of lerobot's read")


if __name__ == "__main__":
    main()
