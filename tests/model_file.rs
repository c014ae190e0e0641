//! `export` writes a model that holds all of its checkpoint, or says why not and leaves nothing behind.

#![allow(clippy::unwrap_used, reason = "what a test cannot go on without fails it")]

use std::fs;
use std::path::{Path, PathBuf};

use perihelion::backend::reference::Reference;
use perihelion::backend::{OpenOptions, WeightFormat};
use perihelion::checkpoint::Checkpoint;
use perihelion::container::{Container, Kind, Writer};
use perihelion::engine::{BuildOptions, Engine, build};
use perihelion::export::{ReasonOptions, Summary, export_reason};
use perihelion::model::{GoldenCase, Model};
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
fn the_golden_cases_come_out_again() {
    let place = tempfile::tempdir().unwrap();
    let out = place.path().join("a.model");
    export(&fixture("video"), &out).unwrap();
    let model = Model::open(&out).unwrap();
    let [smallest, larger] = model.golden() else { panic!("two cases") };
    let graphs = |case: &GoldenCase| case.steps.iter().map(|s| s.graph.clone()).collect::<Vec<_>>();
    assert_eq!(graphs(smallest), ["vision", "prefill", "prefill", "head", "decode"]);
    assert_eq!(graphs(larger), ["vision", "prefill", "head", "decode"]);
    let network = model.network();
    for step in &smallest.steps {
        let dims = &network.graphs[network.graph(&step.graph).unwrap().index()].dims;
        let at_least = dims.iter().zip(&step.extents).filter(|(d, _)| d.name != "past");
        assert!(at_least.into_iter().all(|(d, e)| d.min == *e), "{}: {:?}", step.graph, step.extents);
        assert!(step.windows.is_empty());
    }
    // More rows than kernels for few of them take, tokens that are there already, and features at rows of their own.
    assert_eq!(
        (larger.steps[0].extents[..].to_vec(), larger.steps[1].extents[..].to_vec()),
        (vec![8], vec![5, 3, 5])
    );
    assert!(!larger.steps[0].windows.is_empty() && larger.steps[0].windows.iter().all(|(_, row)| *row == 3));

    let mut reference = Reference::new(network, &model);
    for step in model.golden().iter().flat_map(|case| &case.steps) {
        let found = step.run(&mut reference).unwrap();
        assert!(!step.outputs.is_empty());
        for (output, found) in step.outputs.iter().zip(found) {
            assert_eq!(found, output.values, "{}", step.graph);
            assert!(found.iter().any(|v| 1e-3 < v.abs()), "{}: all but zero", step.graph);
        }
    }
    // What the larger case reads of the smaller one's matters: alone, it is another.
    let mut alone = Reference::new(network, &model);
    let found: Vec<Vec<Vec<f32>>> = larger.steps.iter().map(|s| s.run(&mut alone).unwrap()).collect();
    assert_ne!(found[2][0], larger.steps[2].outputs[0].values);
}

#[test]
fn an_engine_too_small_for_the_larger_case_has_the_smallest_alone() {
    let place = tempfile::tempdir().unwrap();
    let (out, engine_path) = (place.path().join("a.model"), place.path().join("a.engine"));
    export(&fixture("video"), &out).unwrap();
    let model = Model::open(&out).unwrap();
    let built = |context: usize| {
        let options = BuildOptions {
            backend: "cpu".into(),
            formats: WeightFormat::F32.into(),
            limits: vec![("context".into(), context), ("image_tokens".into(), 2)],
            open: OpenOptions { threads: Some(1) },
        };
        build(&model, &options, &engine_path, &mut |_| ()).map(|summary| {
            (summary.tried.unwrap().self_test.n_runs, Engine::open(&engine_path).unwrap().golden().len())
        })
    };
    assert_eq!(built(9).unwrap(), (9, 2));
    assert_eq!(built(8).unwrap(), (5, 1), "its last token would be the ninth");
    let too_small = built(2).expect_err("the smallest case has three tokens").to_string();
    assert!(too_small.contains("graph `decode` needs 3 rows of `key_cache.0`, 2 are left"), "{too_small}");
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
    check("/golden/0/steps/0/graph", json!("sight"), "no graph `sight`");
    check("/golden/0/steps/0/extents", json!([]), "1 extents, the case 0");
    check("/golden/0/steps/0/inputs/0/rows", json!(1u64 << 40), "rows of `patches`");
    check("/golden/0/steps/0/outputs/0/offset", json!(u64::MAX), "are not in");
    check("/golden/0/steps/0/inputs/0/row", json!(u64::MAX), "rows of `patches`");
    check("/golden/1/steps/0/windows/0/buffer", json!("cellar"), "no buffer `cellar`");
    check("/golden/0/steps/1/outputs/0/buffer", json!("tokens"), "should be f32");
    check("/roles/answers/vocab_size", json!(7), "buffer `logits` should have rows of 7");
    check("/roles/answers/n_deepstack", json!(1u64 << 60), "buffer `deepstack.2` should be there");
    check("/roles/answers/stop_token_ids", json!([512]), "below 512");
    check("/roles/answers/preprocess/patches/patch_size", json!(0), "`preprocess`");
    check("/roles/answers/patch_positions/table_side", json!(0), "`patch_positions`");
    check("/roles/answers/clip/frames", json!(0), "`clip`");
    check("/roles", json!({"poem": {}}), "poem");
    check("/roles", json!({}), "at least one of `answers`, `forecasts`");
}
