//! Checkpoints that are read and written are the same, and what was trained comes back as it was trained.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use perihelion::checkpoint::{Checkpoint, CheckpointError, CheckpointWriter, Tensors};
use perihelion::export::load_text;
use perihelion::graph::{Network, WeightId, Weights};
use perihelion::models::names::{Names, Rule};
use perihelion::models::predict25::{
    ClipOptions, Generation, PredictCheckpoint, PredictConfig, Spelling, TextEmbedding,
};
use perihelion::models::reason2::{Head, Limits, Reason2, Reason2Config, names, network};
use perihelion::tensor::{DType, TensorView, narrow};
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use serde_json::Value;
use support::Case;

/// Weights of someone who trained: none is of the checkpoint any more.
struct Trained {
    tensors: Vec<(DType, Vec<usize>, Vec<u8>)>,
}

impl Trained {
    /// Random values of the types and shapes that the network declares.
    fn of(network: &Network, seed: u64) -> Trained {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let tensors = network.weights.iter().map(|weight| {
            let n: usize = weight.shape.iter().product();
            let values: Vec<f32> = (0..n).map(|_| random.next_u32() as f32 / 2f32.powi(31) - 1.0).collect();
            let mut bytes = vec![0; n * weight.dtype.size_bytes()];
            narrow(weight.dtype, &values, &mut bytes);
            (weight.dtype, weight.shape.clone(), bytes)
        });
        Trained { tensors: tensors.collect() }
    }
}

impl Weights for Trained {
    fn weight(&self, id: WeightId) -> TensorView<'_> {
        let (dtype, shape, bytes) = &self.tensors[id.index()];
        TensorView { dtype: *dtype, shape: shape.clone(), bytes }
    }
}

/// The checkpoints of Predict that lie here, and those that were trained for the demo.
fn predict_checkpoints() -> Vec<PathBuf> {
    let fixtures =
        fs::read_dir("tests/fixtures/predict").expect("fixtures").map(|e| e.expect("readable").path());
    let mut all: Vec<PathBuf> = fixtures.filter(|p| p.is_dir()).map(|p| p.join("checkpoint")).collect();
    all.sort();
    all.push("engines/small-predict".into());
    assert!(8 <= all.len(), "found {} checkpoints", all.len());
    all
}

fn reason_checkpoints() -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = Case::all().iter().map(|case| case.dir.join("checkpoint")).collect();
    all.push("engines/small-reason".into());
    assert!(9 <= all.len(), "found {} checkpoints", all.len());
    all
}

/// The network of a checkpoint of Predict, at the size that its index or the fixture says.
fn predict_options(dir: &Path, config: &PredictConfig) -> ClipOptions {
    let case = fs::read(dir.with_file_name("case.json")).ok();
    let case: Option<Value> = case.map(|text| serde_json::from_slice(&text).expect("a case"));
    let count = |key: &str| {
        let noted = config.notes().expect("notes").and_then(|n| n.count(key).expect("a count"));
        let said = case.as_ref().and_then(|case| case["clip"][key].as_u64());
        noted.or(said.map(|n| n as usize)).unwrap_or_else(|| panic!("{}: no {key}", dir.display()))
    };
    ClipOptions {
        height: count("height"),
        width: count("width"),
        n_frames: count("frames"),
        n_given: count("condition_frames"),
        rope_fps: (config.generation == Generation::Predict2).then_some(16.0),
        actions: config.actions(count("frames"), None).expect("actions"),
    }
}

fn texts(dir: &Path, checkpoint: &PredictCheckpoint) -> Vec<TextEmbedding> {
    let file = dir.join(TextEmbedding::FILE);
    let names = Tensors::open(&file).expect("embeddings");
    names.names().map(|name| load_text(checkpoint, name, &file).expect(name)).collect()
}

/// Every tensor of the files, but those that training leaves.
fn tensors(dir: &Path) -> BTreeMap<String, (DType, Vec<usize>, Vec<u8>)> {
    let checkpoint = Checkpoint::open(dir).expect("a checkpoint");
    let names =
        checkpoint.names().filter(|name| !name.starts_with("net.accum_") && !name.contains("pos_embedder"));
    let names = names.filter(|name| !name.ends_with("_extra_state"));
    let tensor = |name: &str| {
        let view = checkpoint.tensor(name).expect(name);
        (name.to_owned(), (view.dtype, view.shape, view.bytes.to_vec()))
    };
    names.map(tensor).collect()
}

/// That all files but those of tensors are the same, and these files hold the same tensors.
fn expect_equal(found: &Path, expected: &Path, folders: &[&str]) {
    for folder in folders {
        let (found, expected) = (found.join(folder), expected.join(folder));
        assert_eq!(tensors(&found), tensors(&expected), "{}", expected.display());
        for entry in fs::read_dir(&expected).expect("a folder") {
            let path = entry.expect("readable").path();
            let name = path.file_name().expect("a file").to_string_lossy().into_owned();
            let of_weights = name.contains(".safetensors");
            // A reader's page and a trainer's recipes stand beside what a checkpoint is.
            let is_beside = name.ends_with(".md") || name.ends_with(".toml");
            if path.is_file() && !of_weights && !is_beside {
                let copy = fs::read(found.join(&name)).unwrap_or_else(|e| panic!("{name}: {e}"));
                assert_eq!(copy, fs::read(&path).expect("readable"), "{}", path.display());
            }
        }
    }
}

#[test]
fn what_is_read_and_written_is_the_same() {
    let out = tempfile::tempdir().expect("a directory");
    for (i, dir) in reason_checkpoints().iter().enumerate() {
        let checkpoint = Checkpoint::open(dir).expect("a checkpoint");
        let model = Reason2::new(&checkpoint, Limits::default()).expect("a model");
        let written = out.path().join(format!("reason-{i}"));
        model.write(&model, &written).expect("written");
        expect_equal(&written, dir, &[""]);
        let again = Checkpoint::open(&written).expect("a checkpoint");
        let again = Reason2::new(&again, Limits::default()).expect("a model");
        assert_eq!((&again.config, &again.network), (&model.config, &model.network), "{}", dir.display());
    }
    for (i, dir) in predict_checkpoints().iter().enumerate() {
        let checkpoint = PredictCheckpoint::open(dir).expect("a checkpoint");
        let texts = texts(dir, &checkpoint);
        let options = predict_options(dir, checkpoint.config());
        let (network, constants) = checkpoint.network(&options, &texts).expect("a network");
        let names = checkpoint.names(&network, &texts);
        let written = out.path().join(format!("predict-{i}"));
        checkpoint.write(&names, &network, &constants, &written).expect("written");
        expect_equal(&written, dir, &["transformer", "vae"]);
        for file in ["model_index.json", "scheduler/scheduler_config.json", TextEmbedding::FILE] {
            assert_eq!(fs::read(written.join(file)).expect(file), fs::read(dir.join(file)).expect(file));
        }
    }
    assert_eq!(
        fs::read_dir(out.path()).expect("there").count(),
        reason_checkpoints().len() + predict_checkpoints().len(),
        "nothing else lies there"
    );
}

#[test]
fn trained_weights_come_back_as_they_were_trained() {
    let out = tempfile::tempdir().expect("a directory");
    for (i, dir) in reason_checkpoints().iter().enumerate() {
        let checkpoint = Checkpoint::open(dir).expect("a checkpoint");
        let model = Reason2::new(&checkpoint, Limits::default()).expect("a model");
        let trained = Trained::of(&model.network, i as u64);
        let written = out.path().join(format!("reason-{i}"));
        model.write(&trained, &written).expect("written");
        let again = Checkpoint::open(&written).expect("a checkpoint");
        let again = Reason2::new(&again, Limits::default()).expect("a model");
        expect_weights(dir, &model.network, &again, &trained, &model.names);
    }
    for (i, dir) in predict_checkpoints().iter().enumerate() {
        let checkpoint = PredictCheckpoint::open(dir).expect("a checkpoint");
        let texts = texts(dir, &checkpoint);
        let options = predict_options(dir, checkpoint.config());
        let (network, _) = checkpoint.network(&options, &texts).expect("a network");
        let names = checkpoint.names(&network, &texts);
        let trained = Trained::of(&network, i as u64);
        let written = out.path().join(format!("predict-{i}"));
        checkpoint.write(&names, &network, &trained, &written).expect("written");
        let again = PredictCheckpoint::open(&written).expect("a checkpoint");
        let (_, constants) = again.network(&options, &texts).expect("a network");
        expect_weights(dir, &network, &constants, &trained, &names);
    }
}

/// That the same weights were read as were written: bit for bit, or, where a fold was undone and done again, as nearly as the type in
/// which they are stored allows. Values are within −1…1, and so are the folds' own numbers but for deviations from 0.3 on.
fn expect_weights(dir: &Path, network: &Network, found: &dyn Weights, expected: &dyn Weights, names: &Names) {
    let mut n_folded = 0;
    for (i, (weight, rule)) in network.weights.iter().zip(names.rules()).enumerate() {
        let id = WeightId(i as u32);
        let (found, expected) = (found.weight(id), expected.weight(id));
        match rule {
            Rule::Given(_) => {}
            Rule::Folded { .. } => {
                n_folded += 1;
                let off =
                    found.to_f32().iter().zip(expected.to_f32()).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
                assert!(off < 0.06, "{}: {} is off by {off}", dir.display(), weight.name);
            }
            _ => assert_eq!(found, expected, "{}: {}", dir.display(), weight.name),
        }
    }
    assert!(n_folded == 0 || n_folded == 6, "{n_folded} folded weights");
}

#[test]
fn a_network_of_a_config_alone_is_trained_and_written() {
    let dir = tempfile::tempdir().expect("a directory");
    let source = Path::new("engines/small-reason");
    let config_file = Checkpoint::open(source).expect("a checkpoint");
    let mut value = config_file.config().value().clone();
    // A size that nobody has.
    value["text_config"]["num_hidden_layers"] = 3.into();
    let out = dir.path().join("new");
    let config = {
        let file = serde_json::to_vec(&value).expect("JSON");
        let file = perihelion::checkpoint::JsonFile::parse(&out.join("config.json"), &file).expect("JSON");
        Reason2Config::parse(&file).expect("a config")
    };
    let network = network(&config, Limits::default(), Head::Embedding, config.dtype);
    let trained = Trained::of(&network, 7);
    let names = names(&config, &network, Head::Embedding);

    let mut writer = CheckpointWriter::create(&out, None).expect("begins");
    writer.json("config.json", &value).expect("writes");
    for (folder, tensors) in names.write(&network, &trained, &[]) {
        assert_eq!(folder, "");
        writer.tensors("model.safetensors", tensors).expect("writes");
    }
    assert!(!out.exists());
    writer.finish().expect("installs");

    let checkpoint = Checkpoint::open(&out).expect("a checkpoint");
    let read = Reason2::new(&checkpoint, Limits::default()).expect("a model");
    assert_eq!((&read.config, &read.network), (&config, &network));
    expect_weights(&out, &network, &read, &trained, &names);
}

#[test]
fn a_predict_network_of_its_configs_alone_is_trained_and_written() {
    let dir = tempfile::tempdir().expect("a directory");
    let source = Path::new("engines/small-predict");
    let out = dir.path().join("new");
    let config = PredictConfig::open(source).expect("configs");
    let options = predict_options(source, &config);
    let text = TextEmbedding {
        name: "default".into(),
        n_tokens: 2,
        values: vec![0.5; 2 * config.denoiser.text_dim],
    };
    let network = config.network(&options, &[text.entry()], DType::F32).expect("a network");
    let texts = [text];
    let names = config.names(&network, &texts, Spelling::Diffusers);
    let trained = Trained::of(&network, 7);

    let mut writer = CheckpointWriter::create(&out, None).expect("begins");
    for file in
        ["model_index.json", "scheduler/scheduler_config.json", "transformer/config.json", "vae/config.json"]
    {
        writer.copy(&source.join(file), file).expect("copies");
    }
    for (folder, tensors) in names.write(&network, &trained, &[]) {
        writer.tensors(&format!("{folder}/diffusion_pytorch_model.safetensors"), tensors).expect("writes");
    }
    writer.finish().expect("installs");

    let checkpoint = PredictCheckpoint::open(&out).expect("a checkpoint");
    let (read, constants) = checkpoint.network(&options, &texts).expect("a network");
    assert_eq!(read, network);
    expect_weights(&out, &network, &constants, &trained, &names);
}

#[test]
fn nothing_is_written_over_anything() {
    let dir = tempfile::tempdir().expect("a directory");
    let source = dir.path().join("source");
    fs::create_dir(&source).expect("made");
    for name in ["config.json", "model.safetensors"] {
        fs::copy(Path::new("engines/small-reason").join(name), source.join(name)).expect("copied");
    }
    let checkpoint = Checkpoint::open(&source).expect("a checkpoint");
    let model = Reason2::new(&checkpoint, Limits::default()).expect("a model");
    std::os::unix::fs::symlink(&source, dir.path().join("link")).expect("linked");
    fs::create_dir(dir.path().join("full")).expect("made");
    fs::write(dir.path().join("full/theirs"), "").expect("written");
    fs::write(dir.path().join("file"), "").expect("written");
    type Refused = fn(&CheckpointError) -> bool;
    let not_empty: Refused = |e| matches!(e, CheckpointError::NotEmpty { .. });
    let into_source: Refused = |e| matches!(e, CheckpointError::IntoSource { .. });
    for (place, refused) in [
        ("source", not_empty),
        ("link", not_empty),
        ("full", not_empty),
        ("file", not_empty),
        ("source/new", into_source),
        ("link/new", into_source),
    ] {
        let error = model.write(&model, &dir.path().join(place)).expect_err(place);
        assert!(refused(&error), "{place}: {error}");
        assert!(error.to_string().contains(place), "{error}");
    }
    assert_eq!(fs::read_dir(&source).expect("there").count(), 2);
    assert_eq!(fs::read_dir(dir.path()).expect("there").count(), 4);
    fs::create_dir(dir.path().join("empty")).expect("made");
    model.write(&model, &dir.path().join("empty")).expect("an empty directory is taken");
}
