//! `perihelion curate` as a person runs it: planted stretches and those alone are left out, parts join to the bytes of one run, and
//! what is damaged is named.
#![allow(clippy::unwrap_used, reason = "what a test cannot go on without fails it")]

mod hostile;
mod lerobot;
mod parts;
mod planted;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

use planted::{Film, blurred, dark, pass, seen_again, still, text};

/// A folder in which tests make logs and sets.
struct World {
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_perihelion"));
        command.current_dir(self.dir.path()).arg("curate").args(arguments).output().unwrap()
    }

    /// Runs to the end, and tells what it said.
    fn done(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[arguments, &["--json"]].concat());
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Runs to a refusal, with this exit code and these words.
    fn refused(&self, arguments: &[&str], code: i32, words: &[&str]) {
        let output = self.run(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        for word in words {
            assert!(said.contains(word), "{arguments:?}: {said:?} lacks {word:?}");
        }
        assert!(output.stdout.is_empty());
    }

    fn manifest(&self, out: &str) -> Value {
        serde_json::from_slice(&fs::read(self.path(out).join("manifest.json")).unwrap()).unwrap()
    }

    /// Every file below a folder, by its name within it.
    fn tree(&self, name: &str) -> BTreeMap<PathBuf, Vec<u8>> {
        let (root, mut files) = (self.path(name), BTreeMap::new());
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    files.insert(path.strip_prefix(&root).unwrap().to_owned(), fs::read(&path).unwrap());
                }
            }
        }
        files
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// A recording with one of everything, and what must become of its frames.
fn one_of_everything() -> Film {
    let passed = pass(501, 0, 20);
    Film::new()
        .add(pass(500, 0, 20)) // 0 to 19
        .add(passed.clone()) // 20 to 39: at a cut
        .add(still(&passed[19], 16)) // 40 to 55: the camera has stopped at 39
        .add(pass(502, 0, 12)) // 56 to 67
        .add(dark(&pass(502, 12, 10))) // 68 to 77
        .add(pass(503, 0, 12)) // 78 to 89
        .add(blurred(&pass(503, 12, 10))) // 90 to 99
        .add(pass(506, 0, 12)) // 100 to 111
        .add(text(10)) // 112 to 121
        .add(seen_again(&pass(500, 0, 20), 1.06)) // 122 to 141: as at first
        .gap(3)
        .add(pass(507, 0, 10)) // 142 to 151
        .gap(2)
        .add(pass(507, 10, 10)) // 152 to 161: the same table goes on
        .add(pass(508, 0, 4)) // 162 to 165: too short
        .add(pass(512, 0, 10)) // 166 to 175
}

fn ranges(lines: &Value, more: &str) -> Vec<(u64, u64, String)> {
    let number = |line: &Value, name: &str| line[name].as_u64().unwrap();
    let mut found: Vec<_> = lines
        .as_array()
        .unwrap()
        .iter()
        .map(|line| (number(line, "first"), number(line, "last"), line[more].as_str().unwrap().to_owned()))
        .collect();
    found.sort();
    found
}

fn expected(ranges: &[(u64, u64, &str)]) -> Vec<(u64, u64, String)> {
    ranges.iter().map(|(first, last, word)| (*first, *last, (*word).to_owned())).collect()
}

#[test]
fn planted_stretches_and_those_alone_are_left_out() {
    let world = World::new();
    one_of_everything().bag(&world.path("a.mcap"));
    let said = world.done(&["a.mcap", "-o", "out"]);
    let manifest = world.manifest("out");
    let left_out = [
        (39, 55, "still"),
        (68, 77, "dark"),
        (90, 99, "blurred"),
        (112, 121, "text"),
        (122, 141, "duplicate"),
        (162, 165, "short"),
    ];
    assert_eq!(ranges(&manifest["dropped"], "reason"), expected(&left_out));
    let kept = [
        (0, 19, "start"),
        (20, 38, "cut"),
        (56, 67, "cut"),
        (78, 89, "cut"),
        (100, 111, "cut"),
        (142, 151, "gap"),
        (152, 161, "gap"),
        (166, 175, "cut"),
    ];
    assert_eq!(ranges(&manifest["clips"], "begins"), expected(&kept));
    // Each is left out by a measure beyond its threshold, and what is kept lies on the other side.
    for line in manifest["dropped"].as_array().unwrap() {
        let (value, threshold) = (line["value"].as_f64().unwrap(), line["threshold"].as_f64().unwrap());
        let is_below = ["still", "dark", "short", "duplicate"].contains(&line["reason"].as_str().unwrap());
        assert!(if is_below { value <= threshold } else { threshold <= value }, "{line}");
    }
    let parameters = &manifest["parameters"];
    for clip in manifest["clips"].as_array().unwrap() {
        let measured = &clip["measured"];
        for (measure, parameter) in [("blur_max", "blurred"), ("text_max", "text"), ("jump_max", "cut")] {
            assert!(measured[measure].as_f64() < parameters[parameter].as_f64(), "{clip}");
        }
        assert!(parameters["dark"].as_f64() <= measured["light_min"].as_f64());
    }
    assert_eq!((&said["clips"], &said["frames"]), (&Value::from(8), &Value::from(176)));
    assert_eq!(said["kept_frames"], 20 + 19 + 12 + 12 + 12 + 10 + 10 + 10);
    assert_eq!(said["digest"], manifest["digest"]);
    // The frames that were kept are the frames that came.
    let film = one_of_everything();
    for clip in manifest["clips"].as_array().unwrap() {
        let folder = world.path("out").join(clip["place"].as_str().unwrap());
        let first = clip["first"].as_u64().unwrap() as usize;
        let n = clip["frames"].as_u64().unwrap() as usize;
        for at in 0..n {
            let frame = image::open(folder.join(format!("frame_{at:03}.png"))).unwrap().into_rgb8();
            assert!(frame.into_raw() == film.frames[first + at].1, "frame {at} of {clip}");
        }
        let described: Value = serde_json::from_slice(&fs::read(folder.join("clip.json")).unwrap()).unwrap();
        assert_eq!(described["fps"], 8.0);
        assert_eq!(described["stamps_ns"][1], film.frames[first + 1].0);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), n + 1);
    }
    assert_eq!(world.names(), ["a.mcap", "out"]);
    let page = fs::read_to_string(world.path("out/index.html")).unwrap();
    for word in ["000007", "duplicate of 000", "blurred", "a.mcap"] {
        assert!(page.contains(word), "{word}");
    }
}

#[test]
fn folders_and_bags_of_whatever_order_give_one_set() {
    let world = World::new();
    fs::create_dir(world.path("logs")).unwrap();
    Film::new().add(pass(513, 0, 12)).bag(&world.path("b.mcap"));
    Film::new().add(pass(514, 0, 14)).folder(&world.path("logs/one"));
    Film::new().add(pass(515, 0, 10)).add(pass(516, 0, 9)).folder(&world.path("logs/two"));
    // The first again, in lossy files.
    let jpegs = Film::new().add(pass(513, 0, 12)).jpegs();
    planted::compressed_bag(&world.path("c.mcap"), &jpegs);
    let said = world.done(&["logs", "b.mcap", "c.mcap", "-o", "out"]);
    assert_eq!((&said["sources"], &said["clips"]), (&Value::from(4), &Value::from(4)));
    assert_eq!(said["dropped"]["duplicate"]["frames"], 12);
    let manifest = world.manifest("out");
    let dropped = &manifest["dropped"][0];
    assert!(dropped["value"].as_f64() < Some(0.1), "{dropped}");
    world.done(&["c.mcap", "./logs", "b.mcap", "logs/one", "-o", "again"]);
    assert!(world.tree("out") == world.tree("again"));

    // What was written is what other verbs take, and what this one takes again.
    let again = world.done(&["out/frames", "-o", "third"]);
    assert_eq!(again["clips"], 4);
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_perihelion")).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let [model, scales, frames] =
        ["model", "scales.json", "out/frames"].map(|name| world.path(name).to_str().unwrap().to_owned());
    run(&["export", "engines/small-reason", "-o", &model]);
    run(&["calibrate", &model, "--data", &frames, "-o", &scales, "--samples", "1"]);
}

#[test]
fn clips_have_a_greatest_length_and_thresholds_are_flags() {
    let world = World::new();
    Film::new().add(pass(500, 0, 30)).folder(&world.path("a"));
    world.done(&["a", "-o", "out", "--max-frames", "12", "--min-frames", "6"]);
    let kept = [(0, 11, "start"), (12, 23, "length"), (24, 29, "length")];
    assert_eq!(ranges(&world.manifest("out")["clips"], "begins"), expected(&kept));
    // With another threshold the same frames stand still.
    world.refused(&["a", "-o", "none", "--still", "1"], 1, &["no clip is left", "30 still"]);
    assert_eq!(world.names(), ["a", "out"]);
    for bad in
        [["--still", "2"], ["--gap", "0"], ["--shard", "3/2"], ["--format", "x"], ["--max-frames", "3"]]
    {
        world.refused(&[&["a", "-o", "none"], &bad[..]].concat(), 2, &[]);
    }
}
