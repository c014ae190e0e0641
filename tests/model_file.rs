//! `export` writes a model that holds all of its checkpoint, or says why not and leaves nothing behind.

#![allow(clippy::unwrap_used, reason = "what a test cannot go on without fails it")]

use std::fs;
use std::path::{Path, PathBuf};

use perihelion::backend::reference::Reference;
use perihelion::backend::{Elements, Run, Session};
use perihelion::checkpoint::Checkpoint;
use perihelion::container::{Container, Kind, Writer};
use perihelion::export::{ReasonOptions, Summary, export_reason};
use perihelion::model::{GoldenValues, Model};
use perihelion::models::reason2::{Limits, PATCH_EMBEDDING, Reason2};
use serde_json::{Value, json};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn fixture(name: &str) -> PathBuf {
    root().join("tests/fixtures/reason").join(name).join("checkpoint")
}

fn export(dir: &Path, out: &Path) -> Result<Summary, String> {
    export_reason(dir, &ReasonOptions::default(), out, &mut |_| ()).map_err(|e| e.to_string())
}

#[test]
fn a_model_holds_all_of_its_checkpoint() {
    let dir = root().join("engines/small-reason");
    let place = tempfile::tempdir().unwrap();
    let out = place.path().join("small.model");
    let options = ReasonOptions { think_suffix: Some("\nThink.".into()), ..ReasonOptions::default() };
    let mut stages = Vec::new();
    let mut progress = |p: perihelion::export::Progress| {
        assert!(p.done <= p.total);
        if stages.last() != Some(&p.stage) {
            stages.push(p.stage);
        }
    };
    let summary = export_reason(&dir, &options, &out, &mut progress).unwrap();
    assert_eq!(stages, ["golden case", "digest of the checkpoint", "weights"]);
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    assert_eq!(fs::metadata(&out).unwrap().len(), summary.file_bytes);

    let checkpoint = Checkpoint::open(&dir).unwrap();
    let model = Model::open(&out).unwrap();
    model.verify(|_, _| ()).unwrap();
    let expected = Reason2::new(&checkpoint, Limits::default()).unwrap();
    assert_eq!(*model.network(), expected.network);
    assert_eq!(summary.n_tensors, checkpoint.names().count());
    for (i, weight) in expected.network.weights.iter().enumerate() {
        let id = expected.network.weight(&weight.name).unwrap();
        assert_eq!(id.index(), i);
        let (found, stored) = (model.tensor(id), checkpoint.tensor(&weight.name).unwrap());
        assert_eq!((found.dtype, found.bytes), (stored.dtype, stored.bytes), "{}", weight.name);
        assert!(found.shape == stored.shape || weight.name == PATCH_EMBEDDING);
    }
    assert_eq!(model.tokenizer().unwrap(), fs::read(dir.join("tokenizer.json")).unwrap());

    let manifest = model.manifest();
    assert_eq!(manifest.source.name, "small-reason");
    let reason = manifest.roles.answers.as_ref().expect("it answers");
    assert_eq!(reason.prompt.think_suffix.as_deref(), Some("\nThink."));
    assert_eq!((reason.vocab_size, reason.context_max, reason.n_deepstack), (512, 4096, 2));
    assert_eq!((reason.sampling.top_k, &reason.stop_token_ids[..]), (20, &[504, 502][..]));
    assert_eq!((reason.clip.frames, reason.clip.fps), (1, 8.0), "nobody asked for clips");
    assert_eq!(reason.preprocess.patches.patch_size, 8);
}

#[test]
fn the_golden_case_comes_out_again() {
    let place = tempfile::tempdir().unwrap();
    let out = place.path().join("a.model");
    export(&fixture("video"), &out).unwrap();
    let model = Model::open(&out).unwrap();
    let graphs: Vec<&str> = model.golden().steps.iter().map(|s| s.graph.as_str()).collect();
    assert_eq!(graphs, ["vision", "prefill", "prefill", "head", "decode"]);

    let network = model.network();
    let mut reference = Reference::new(network, &model);
    for step in &model.golden().steps {
        for input in &step.inputs {
            match &input.values {
                GoldenValues::F32(v) => reference.write(input.buffer, 0, Elements::F32(v)).unwrap(),
                GoldenValues::I32(v) => reference.write(input.buffer, 0, Elements::I32(v)).unwrap(),
            }
        }
        let run = Run { extents: &step.extents, ..Run::default() };
        reference.run(network.graph(&step.graph).unwrap(), &run).unwrap();
        assert!(!step.outputs.is_empty());
        for output in &step.outputs {
            let mut found = vec![f32::NAN; output.values.len()];
            reference.read(output.buffer, 0, &mut found).unwrap();
            assert_eq!(found, output.values, "{}", step.graph);
            assert!(found.iter().any(|v| 1e-3 < v.abs()), "{}: all but zero", step.graph);
        }
    }
}

#[test]
fn the_same_checkpoint_makes_the_same_file() {
    let place = tempfile::tempdir().unwrap();
    let [a, b] = ["a.model", "b.model"].map(|name| place.path().join(name));
    let summaries = [&a, &b].map(|out| export(&fixture("image_and_video_sharded"), out).unwrap());
    assert_eq!(summaries[0], summaries[1]);
    assert_eq!(fs::read(&a).unwrap(), fs::read(&b).unwrap());
}

/// A copy of a fixture's checkpoint that may be changed.
fn copied(name: &str) -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(fixture(name)).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, place.path().join(path.file_name().unwrap())).unwrap();
    }
    place
}

fn change_json(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut value: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    change(&mut value);
    fs::write(path, value.to_string()).unwrap();
}

#[test]
fn a_checkpoint_that_cannot_be_exported_is_named_with_its_fault() {
    let check = |change: &dyn Fn(&Path), expected: &[&str]| {
        let (place, out_dir) = (copied("text_only"), tempfile::tempdir().unwrap());
        change(place.path());
        let message = export(place.path(), &out_dir.path().join("a.model")).expect_err("exported");
        for part in expected.iter().copied().chain([&*place.path().to_string_lossy()]) {
            assert!(message.contains(part), "`{message}` lacks `{part}`");
        }
        assert_eq!(fs::read_dir(out_dir.path()).unwrap().count(), 0);
    };
    let config = |pointer: &'static str, value: Value| {
        move |dir: &Path| {
            change_json(&dir.join("config.json"), |c| *c.pointer_mut(pointer).unwrap() = value.clone())
        }
    };
    check(
        &config("/text_config/intermediate_size", json!(96)),
        &["mlp.gate_proj.weight", "expected shape [96, 32], found [48, 32]"],
    );
    check(
        &config("/text_config/num_hidden_layers", json!(3)),
        &["no tensor `model.language_model.layers.2."],
    );
    check(
        &config("/vision_config/depth", json!(2)),
        &["tensors that this config's network does not have, first `model.visual.blocks.2."],
    );
    check(
        &|dir| {
            change_json(&dir.join("processor_config.json"), |c| {
                for kind in ["image_processor", "video_processor"] {
                    c[kind]["patch_size"] = json!(16);
                }
            })
        },
        &["expects patches", "[8, 2, 2]", "makes [16, 2, 2]"],
    );
    check(&|dir| fs::remove_file(dir.join("tokenizer.json")).unwrap(), &["expected tokenizer.json"]);
    check(&|dir| fs::write(dir.join("tokenizer.json"), "{}").unwrap(), &["tokenizer.json: "]);
    check(&|dir| fs::remove_file(dir.join("chat_template.jinja")).unwrap(), &["no chat template"]);
    check(&|dir| fs::remove_file(dir.join("processor_config.json")).unwrap(), &["preprocessor_config.json"]);
    check(
        &|dir| {
            // The last value of the last tensor becomes NaN.
            let path = dir.join("model.safetensors");
            let mut bytes = fs::read(&path).unwrap();
            let end = bytes.len();
            bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
            fs::write(&path, bytes).unwrap();
        },
        &["expected finite numbers"],
    );
}

/// Sets the value that the pointer leads to.
fn set(content: &mut Value, pointer: &str, value: Value) {
    *content.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer}")) = value;
}

#[test]
fn a_manifest_that_lies_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let (out, forged) = (place.path().join("a.model"), place.path().join("forged.model"));
    export(&fixture("text_only"), &out).unwrap();
    let container = Container::open(&out, Kind::Model).unwrap();
    let content: Value = container.content().unwrap();
    let check = |pointer: &str, value: Value, expected: &str| {
        let mut lying = content.clone();
        set(&mut lying, pointer, value);
        let mut writer = Writer::create(&forged, Kind::Model).unwrap();
        for section in container.sections() {
            writer.add(&section.name, container.section(&section.name).unwrap()).unwrap();
        }
        writer.finish(&lying).unwrap();
        let message = Model::open(&forged).expect_err(pointer).to_string();
        assert!(message.contains("forged.model: "), "{message}");
        assert!(message.contains(expected), "{pointer}: `{message}` lacks `{expected}`");
    };
    check("/tensors/0", json!(u64::MAX), "should lie in the section");
    check("/tensors", json!([]), "places of 0");
    check("/network/weights/0/shape", json!([1, 2]), "node");
    check("/network/graphs/0/name", json!("sight"), "graph `vision` should be there");
    check("/network/graphs/3/name", json!("head"), "two graphs");
    check("/network/limits/0", json!({"name": "context"}), "missing field `value`");
    check("/golden/0/graph", json!("sight"), "no graph `sight`");
    check("/golden/0/extents", json!([]), "1 extents, the case 0");
    check("/golden/0/inputs/0/rows", json!(1u64 << 40), "rows of `patches`");
    check("/golden/0/outputs/0/offset", json!(u64::MAX), "are not in");
    check("/golden/1/outputs/0/buffer", json!("tokens"), "should be f32");
    check("/roles/answers/vocab_size", json!(7), "buffer `logits` should have rows of 7");
    check("/roles/answers/n_deepstack", json!(1u64 << 60), "buffer `deepstack.2` should be there");
    check("/roles/answers/stop_token_ids", json!([512]), "below 512");
    check("/roles/answers/preprocess/patches/patch_size", json!(0), "`preprocess`");
    check("/roles/answers/patch_positions/table_side", json!(0), "`patch_positions`");
    check("/roles/answers/clip/frames", json!(0), "`clip`");
    check("/roles", json!({"poem": {}}), "poem");
    check("/roles", json!({}), "at least one of `answers`, `forecasts`");
}
