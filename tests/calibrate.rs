//! `perihelion calibrate` as a person runs it: scales of both small models from clips and from questions, and what is refused.
#![allow(clippy::unwrap_used, reason = "what a test cannot go on without fails it")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use perihelion::backend::reference::Reference;
use perihelion::backend::{ActivationScales, Balance};
use perihelion::container::hex;
use perihelion::graph::{WeightId, Weights};
use perihelion::model::Model;
use perihelion::quantize::{Balanced, groups, groups_of};
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

/// Root of the mean square of what golden outputs are off, over that of their elements: of the output that is off most.
fn golden_error(model: &Model, network: &perihelion::graph::Network, weights: &dyn Weights) -> f64 {
    let mut session = Reference::new(network, weights);
    let mut worst = 0.0f64;
    for step in model.golden().iter().flat_map(|case| &case.steps) {
        let found = step.run(&mut session).unwrap();
        for (output, found) in step.outputs.iter().zip(&found) {
            let square = |v: f64| v * v;
            let off: f64 = output.values.iter().zip(found).map(|(e, f)| square(f64::from(e - f))).sum();
            let all: f64 = output.values.iter().map(|e| square(f64::from(*e))).sum();
            worst = worst.max((off / all).sqrt());
        }
    }
    worst
}

/// Factors of any size: the network is to stay the same network.
#[test]
fn a_balanced_network_computes_what_the_network_does() {
    let world = world();
    for (name, n_groups, some) in [
        // Of each of the language's layers four, of each of the vision's two norms.
        ("reason", 5 * 4 + 4 * 2, "model.language_model.layers.0.mlp.up_proj.weight"),
        ("predict", 0, ""),
    ] {
        let model = Model::open(Path::new(&world.path(name))).unwrap();
        let network = model.network();
        let names = |ids: &[WeightId]| -> Vec<String> {
            ids.iter().map(|id| network.weights[id.index()].name.clone()).collect()
        };
        let found = groups(network);
        assert!(n_groups <= found.len(), "{name}: {} groups", found.len());
        assert!(some.is_empty() || found.iter().any(|group| names(&group.divided) == [some]));
        let factor = |i: usize| {
            ((i * 37 % 101) as f32 / 101.0 - 0.5).exp2() * if i.is_multiple_of(7) { 16.0 } else { 0.3 }
        };
        let balances: Vec<Balance> = found
            .iter()
            .map(|group| Balance {
                divided: names(&group.divided),
                multiplied: names(&group.multiplied),
                alpha: 0.5,
                factors: (0..group.n_channels).map(factor).collect(),
            })
            .collect();
        let balanced = Balanced::new(network, &model, &balances).unwrap();
        balanced.network().verify().unwrap();
        let share = golden_error(&model, balanced.network(), &balanced);
        println!("{name}: {} groups, off by {share:.1e}", found.len());
        assert!(share < 2e-6, "{name}: {share}");
        // A balance that is half done is another network.
        for group in balances.iter().take(4) {
            let mut rest = balances.clone();
            rest.retain(|of| of == group);
            rest[0].factors[0] *= 3.0;
            let other = Balanced::new(network, &model, &rest).unwrap();
            let half = Half { whole: &other, plain: &model, of: &group.multiplied, network };
            assert!(1e-4 < golden_error(&model, other.network(), &half), "{:?}", group.divided);
        }
        let Some(first) = balances.first() else { continue };
        let refused = |of: Balance| groups_of(network, &[of]).unwrap_err().to_string();
        let why = refused(Balance { factors: first.factors[1..].to_vec(), ..first.clone() });
        assert!(why.contains("factors, one for each channel"), "{why}");
        let why = refused(Balance { multiplied: first.multiplied[1..].to_vec(), ..first.clone() });
        assert!(why.contains("all that are given the same"), "{why}");
        let why = refused(Balance { divided: vec!["lm_head.weight".to_owned()], ..first.clone() });
        assert!(why.contains("nothing is given what lm_head.weight alone scales"), "{why}");
    }
}

/// Balanced weights, but for some that are as the model has them.
struct Half<'a> {
    whole: &'a dyn Weights,
    plain: &'a Model,
    of: &'a [String],
    network: &'a perihelion::graph::Network,
}

impl Weights for Half<'_> {
    fn weight(&self, id: WeightId) -> perihelion::tensor::TensorView<'_> {
        match self.of.contains(&self.network.weights[id.index()].name) {
            true => self.plain.weight(id),
            false => self.whole.weight(id),
        }
    }
}

/// Of a file of scales and of its report: what every product costs is told before and after, and what stays wide has no scale.
#[test]
fn smoothing_lessens_what_eight_bits_cost_and_the_worst_stay_in_sixteen() {
    let world = world();
    let more = ["--samples", "6", "--smooth", "auto", "--keep", "auto"];
    let report = world.calibrate("reason", "clips", "smooth.json", &more);
    let found = scales(world, "reason", "smooth.json");
    let model = Model::open(Path::new(&world.path("reason"))).unwrap();
    groups_of(model.network(), &found.balances).unwrap();
    let seen = report["tensors"].as_array().unwrap();
    let error = |of: &Value| of["error"].as_f64().unwrap();
    let balanced: Vec<&Value> = seen.iter().filter(|seen| seen["before"].is_object()).collect();
    let multiplied: usize = found.balances.iter().map(|balance| balance.multiplied.len()).sum();
    assert!(10 < multiplied && balanced.len() == multiplied, "{} of {multiplied}", balanced.len());
    // Of a sample, and by a magnitude that is chosen from all: so most, and not each.
    let n_better = balanced.iter().filter(|seen| error(seen) < error(&seen["before"])).count();
    assert!(multiplied * 3 / 4 <= n_better, "{n_better} of {multiplied}");
    let of = |golden: &str| report["golden"][golden]["rms_share"].as_f64().unwrap();
    println!("all {}, kept {}, wide {:?}", of("all"), of("kept"), found.wide);
    assert_eq!(report["golden"]["is_near"], true);
    assert!(of("kept") <= 0.06 && of("kept") <= of("all"), "{}", report["golden"]);
    for seen in seen {
        let weight = seen["weight"].as_str().unwrap();
        let is_wide = found.wide.iter().any(|name| name == weight);
        assert_eq!(seen["wide"] == true, is_wide, "{weight}");
        assert_eq!(found.by_weight().contains_key(weight), !is_wide, "{weight}");
    }
    // Nothing costs more alone than what is kept wide.
    let alone = |seen: &Value| seen["alone"]["rms_share"].as_f64();
    let least_wide =
        seen.iter().filter(|seen| seen["wide"] == true).filter_map(alone).fold(f64::MAX, f64::min);
    let most_narrow = seen.iter().filter(|seen| seen["wide"] != true).filter_map(alone).fold(0.0, f64::max);
    assert!(most_narrow <= least_wide, "{most_narrow}, {least_wide}");
    // A share that is typed is that of all groups, and the same bytes come again.
    for out in ["half.json", "again.json"] {
        world.calibrate("reason", "clips", out, &["--samples", "2", "--smooth", "0.5", "--method", "max"]);
    }
    assert_eq!(fs::read(world.path("half.json")).unwrap(), fs::read(world.path("again.json")).unwrap());
    let half = scales(world, "reason", "half.json");
    assert_eq!(half.balances.len(), groups(model.network()).len());
    assert!(half.balances.iter().all(|balance| balance.alpha == 0.5) && half.wide.is_empty());
    // For a person.
    let [model, clips, out] = ["reason", "clips", "text.json"].map(|name| world.path(name));
    let arguments = ["calibrate", &model, "--data", &clips, "-o", &out];
    let text = String::from_utf8(done(&[&arguments[..], &more].concat())).unwrap();
    for word in ["moved", "error before", "golden", "bits", "as a whole in the output that is off most"] {
        assert!(text.contains(word), "{word}: {text}");
    }
}

/// What is asked of `build` is asked before the backend is: the CPU's takes of scales only what is moved to weights.
#[test]
fn scales_that_are_not_the_models_are_refused_by_what_is_wrong() {
    let world = world();
    world.calibrate("reason", "clips", "good.json", &["--samples", "2", "--smooth", "0.5"]);
    let good: Value = serde_json::from_slice(&fs::read(world.path("good.json")).unwrap()).unwrap();
    let refused = |model: &str, bytes: &[u8]| {
        let (model, file, out) = (world.path(model), world.path("bad.json"), world.path("never.engine"));
        fs::write(&file, bytes).unwrap();
        let output = perihelion(&["build", &model, "--scales", &file, "-o", &out]);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(!stderr.contains("panicked") && !Path::new(&out).exists(), "{stderr}");
        stderr
    };
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut other = good.clone();
        change(&mut other);
        refused("reason", &serde_json::to_vec(&other).unwrap())
    };
    let balance = |key: &'static str, value: Value| changed(&|all| all["balances"][0][key] = value.clone());
    let factors = || good["balances"][0]["factors"].as_array().unwrap().clone();
    let with_factor = |value: Value| {
        let mut factors = factors();
        factors[3] = value;
        balance("factors", factors.into())
    };
    for (why, words) in [
        (
            refused("predict", &serde_json::to_vec(&good).unwrap()),
            &["bad.json", "are of model", "this one is"][..],
        ),
        (
            refused("reason", &serde_json::to_vec(&good).unwrap()[..999]),
            &["bad.json", "EOF", "as `calibrate` writes it"],
        ),
        (with_factor(0.into()), &["bad.json", "factor 0 in channel 3", "expected 1e-6"]),
        (with_factor((-1.5).into()), &["factor -1.5"]),
        (with_factor(Value::Null), &["bad.json", "null"]),
        (balance("factors", factors()[1..].into()), &["bad.json", "factors, one for each channel"]),
        (balance("alpha", 2.into()), &["alpha 2"]),
        (
            balance("multiplied", serde_json::json!(["nobody"])),
            &["bad.json", "`nobody`", "no weight of the model"],
        ),
        (
            balance("divided", serde_json::json!(["model.language_model.norm.weight"])),
            &["bad.json", "norm.weight alone scales"],
        ),
        (changed(&|all| all["wide"] = serde_json::json!(["nobody"])), &["`nobody`"]),
        (
            changed(&|all| all["wide"] = all["tensors"][0]["weight"].clone().as_str().into_iter().collect()),
            &["is wide"],
        ),
        (changed(&|all| all["format"] = 1.into()), &["format 1", "neither"]),
        (changed(&|all| all["balances"] = serde_json::json!([])), &["takes no scales of activations"]),
    ] {
        assert!(words.iter().all(|word| why.contains(word)), "{words:?}: {why}");
    }
    // With the network's own factors an engine answers its golden cases, and says whose scales it has.
    let [model, good, out] = ["reason", "good.json", "good.engine"].map(|name| world.path(name));
    let built = done(&["build", &model, "--scales", &good, "-o", &out, "--json"]);
    let built: Value = serde_json::from_slice(&built).unwrap();
    assert!(built["golden_worst"].as_f64().unwrap() < 0.5, "{built}");
    let engine = perihelion::engine::Engine::open(Path::new(&out)).unwrap();
    assert!(engine.manifest().scales_sha256.is_some());
    engine.session(&Default::default()).unwrap();
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
        (2, &reason, &clips, &["--smooth", "1.5"], &["--smooth", "1.5", "0 to 1"]),
        (2, &reason, &clips, &["--smooth", "NaN"], &["--smooth", "0 to 1"]),
        (2, &reason, &clips, &["--bits", "4"], &["--smooth"]),
        (
            2,
            &reason,
            &clips,
            &["--smooth", "auto", "--bits", "4", "--keep", "auto"],
            &["--keep", "eight bits"],
        ),
        (2, &reason, &clips, &["--keep", "some"], &["--keep", "auto"]),
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
