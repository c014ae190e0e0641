//! `perihelion calibrate` as a person runs it: scales of both small models from clips and from questions, and what is refused.
#![allow(clippy::unwrap_used, reason = "what a test cannot go on without fails it")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use perihelion::backend::ActivationScales;
use perihelion::container::hex;
use perihelion::model::Model;
use serde_json::Value;

fn perihelion(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_perihelion")).args(arguments).output().unwrap()
}

fn done(arguments: &[&str]) -> Vec<u8> {
    let output = perihelion(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Both small models, and three clips.
struct World {
    dir: tempfile::TempDir,
}

impl World {
    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    fn calibrate(&self, model: &str, data: &str, out: &str, more: &[&str]) -> Value {
        let (model, data, out) = (self.path(model), self.path(data), self.path(out));
        let arguments = [&["calibrate", &model, "--data", &data, "-o", &out, "--json"], more].concat();
        serde_json::from_slice(&done(&arguments)).unwrap()
    }
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let world = World { dir: tempfile::tempdir().unwrap() };
        for name in ["reason", "predict"] {
            done(&["export", &format!("engines/small-{name}"), "-o", &world.path(name)]);
        }
        done(&["scenes", "--count", "3", "--split", "validation", "-o", &world.path("clips")]);
        world
    })
}

fn scales(world: &World, model: &str, out: &str) -> ActivationScales {
    let scales = ActivationScales::open(Path::new(&world.path(out))).unwrap();
    let model = Model::open(Path::new(&world.path(model))).unwrap();
    let names = model.network().weights.iter().map(|weight| &weight.name[..]);
    scales.check_of(&hex(&model.digest()), names).unwrap();
    scales
}

#[test]
fn scales_are_of_every_product_that_the_data_reaches() {
    let world = world();
    for (model, named, samples) in [
        ("reason", "model.language_model.layers.0.self_attn.q_proj.weight", 4),
        ("predict", "transformer_blocks.0.attn1.to_q.weight", 2),
    ] {
        let out = format!("{model}.max.json");
        let samples_text = samples.to_string();
        let report = world.calibrate(model, "clips", &out, &["--method", "max", "--samples", &samples_text]);
        assert_eq!(report["samples"], samples);
        assert_eq!(report["unseen"], Value::Array(vec![]), "{model}");
        let largest = scales(world, model, &out);
        assert!(largest.tensors.iter().any(|scale| scale.weight.ends_with(named)), "{:?}", largest.tensors);
        assert!(largest.tensors.iter().all(|scale| scale.method == "max" && 0.0 < scale.amax));

        // What is cut fits no worse, and is less.
        let out = format!("{model}.mse.json");
        let report = world.calibrate(model, "clips", &out, &["--samples", &samples_text]);
        let found = scales(world, model, &out);
        assert_eq!(found.tensors.len(), largest.tensors.len());
        let mut n_cut = 0;
        for (a, b) in found.tensors.iter().zip(&largest.tensors) {
            assert!(a.weight == b.weight && a.amax <= b.amax && a.method == "mse", "{a:?}, {b:?}");
            n_cut += usize::from(a.amax < b.amax);
        }
        assert!(0 < n_cut, "{model}");
        for seen in report["tensors"].as_array().unwrap() {
            let of = |name: &str| seen[name].as_f64().unwrap();
            assert!(of("sqnr_db_of_max") <= of("sqnr_db") + 1e-9, "{seen}");
        }
        // The same data gives the same bytes.
        let again = format!("{model}.again.json");
        world.calibrate(model, "clips", &again, &["--samples", &samples_text]);
        assert_eq!(fs::read(world.path(&out)).unwrap(), fs::read(world.path(&again)).unwrap());
    }
}

#[test]
fn the_scales_that_ship_are_of_the_checkpoints_that_ship() {
    let world = world();
    for name in ["reason", "predict"] {
        let scales = ActivationScales::open(Path::new(&format!("calibration/small-{name}.scales.json")));
        let scales = scales.unwrap();
        let model = Model::open(Path::new(&world.path(name))).unwrap();
        let names = model.network().weights.iter().map(|weight| &weight.name[..]);
        scales.check_of(&hex(&model.digest()), names).unwrap();
        let by_weight = scales.by_weight();
        for id in perihelion::quantize::products(model.network()) {
            let weight = &model.network().weights[id.index()].name;
            assert!(by_weight.contains_key(&weight[..]), "{weight} of small-{name}");
        }
    }
}

#[test]
fn questions_of_a_file_are_asked() {
    let world = world();
    let clip = world.path("clips");
    let clip = fs::read_dir(clip).unwrap().next().unwrap().unwrap().path();
    let line = |prompt: &str| {
        serde_json::json!({ "prompt": prompt, "images": [clip.join("frame_000.png")] }).to_string()
    };
    let text = format!("{}\n\n{}\n", line("How many balls are there?"), line("Is the path clear?"));
    fs::write(world.path("questions.jsonl"), text).unwrap();
    let report = world.calibrate("reason", "questions.jsonl", "questions.json", &[]);
    assert_eq!(report["samples"], 2);
    assert_eq!(world.calibrate("reason", "questions.jsonl", "one.json", &["--samples", "1"])["samples"], 1);
    // In less memory.
    let small = ["--max-context", "512", "--max-image-tokens", "64"];
    assert_eq!(world.calibrate("reason", "questions.jsonl", "small.json", &small)["samples"], 2);
    // A folder of frames alone is asked what is typed.
    let frames = PathBuf::from(world.path("frames"));
    fs::create_dir(&frames).unwrap();
    fs::copy(clip.join("frame_003.png"), frames.join("a.png")).unwrap();
    assert_eq!(
        world.calibrate("reason", "frames", "typed.json", &["--prompt", "What is there?"])["samples"],
        1
    );
}

#[test]
fn what_cannot_be_calibrated_is_refused_and_nothing_is_written() {
    let world = world();
    let (reason, predict, clips, out) =
        (world.path("reason"), world.path("predict"), world.path("clips"), world.path("never.json"));
    let make = |name: &str, file: &str, bytes: &[u8]| {
        let dir = PathBuf::from(world.path(name));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(file), bytes).unwrap();
        dir.to_str().unwrap().to_owned()
    };
    let frame = fs::read(Path::new(&clips).join("000000/frame_000.png")).unwrap();
    let one = make("one", "a.png", &frame);
    make("beyond", "a.png", &frame);
    let beyond = make("beyond", "clip.json", br#"{"questions": [{"texts": ["?"], "frames": [1]}]}"#);
    make("broken", "a.png", &frame);
    let broken = make("broken", "clip.json", b"{");
    let cut = make("cut", "a.png", &frame[..frame.len() / 2]);
    let empty = make("empty", ".hidden", b"");
    let mixed = make("mixed", "a.png", &frame);
    make("mixed/inner", "b.png", &frame);
    fs::write(world.path("bad.jsonl"), "{\"prompt\": \"\"}\n").unwrap();
    fs::write(world.path("no.jsonl"), "\n").unwrap();
    fs::write(world.path("good.jsonl"), "{\"prompt\": \"?\"}\n").unwrap();
    let [bad, no, good] = ["bad", "no", "good"].map(|name| world.path(&format!("{name}.jsonl")));
    for (code, model, data, more, words) in [
        (1, &reason, "nowhere", &[][..], &["nowhere"][..]),
        (1, &reason, &reason, &[], &["expected a folder of clips"]),
        (1, &reason, &empty, &[], &["empty"]),
        (1, &reason, &cut, &[], &["a.png"]),
        (1, &reason, &beyond, &[], &["clip.json", "frame 1", "there are 1"]),
        (1, &reason, &broken, &[], &["clip.json"]),
        (2, &reason, &bad, &[], &["bad.jsonl:1", "prompt is empty"]),
        (1, &reason, &no, &[], &["no question"]),
        (1, &predict, &one, &[], &["one", "1 frames", "forecasts from 5"]),
        (1, &reason, &mixed, &[], &["mixed", "inner", "and folders as"]),
        (2, &reason, &clips, &["--percentile", "99"], &["for --method percentile"]),
        (2, &predict, &clips, &["--prompt", "?"], &["--prompt", "models of Reason"]),
        (2, &reason, &clips, &["--max-context", "1000000"], &["at most", "positions"]),
        (2, &predict, &good, &[], &["takes clips"]),
        (2, &predict, &clips, &["--max-context", "64"], &["models of Reason"]),
        (1, &reason, &clips, &["--max-context", "1"], &["000000", "tokens", "larger --max-context"]),
        (2, &reason, &clips, &["--method", "percentile", "--percentile", "101"], &["101", "at most 100"]),
        (2, &clips, &clips, &[], &["clips"]),
        (2, &one, &clips, &[], &["one"]),
    ] {
        let arguments = [&["calibrate", model, "--data", data, "-o", &out], more].concat();
        let output = perihelion(&arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
        assert!(words.iter().all(|word| stderr.contains(word)), "{arguments:?}: {stderr}");
        assert!(!stderr.contains("panicked") && output.stdout.is_empty(), "{stderr}");
        assert!(!Path::new(&out).exists());
    }
    // On top of what is read.
    let line = r#"{"prompt": "?", "images": ["one/a.png"]}"#;
    fs::write(world.path("one.jsonl"), line).unwrap();
    let lines = world.path("one.jsonl");
    for (data, target) in [
        (&clips, &reason),
        (&clips, &world.path("clips/000000/clip.json")),
        (&lines, &world.path("one/a.png")),
    ] {
        let before = fs::read(target).unwrap();
        let output = perihelion(&["calibrate", &reason, "--data", data, "-o", target]);
        assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(fs::read(target).unwrap(), before);
    }
}
