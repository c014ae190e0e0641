//! Networks of configs alone, of sizes that nobody here has weights of.
//!
//! `tests/fixtures/configs` holds configs in the shape of published checkpoints, and beside them what those checkpoints hold: the shape
//! and number of every tensor, numbers in its name replaced by `N`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use perihelion::checkpoint::JsonFile;
use perihelion::models::names::{Names, Stored};
use perihelion::models::predict25::{
    ClipOptions, PredictConfig, PredictError, Spelling, TextEntry, projection, projection_names,
};
use perihelion::models::reason2::{Head, Limits, Reason2Config, names, network};
use perihelion::tensor::DType;
use serde_json::Value;

fn configs(name: &str) -> PathBuf {
    Path::new("tests/fixtures/configs").join(name)
}

/// How often a name with a shape stands in a checkpoint.
type Listing = BTreeMap<(String, Vec<usize>), usize>;

/// The listing, and the number of parameters and of tensors that its head names.
fn expected(file: &Path) -> (Listing, usize, usize) {
    let text = fs::read_to_string(file).expect("fixture");
    let (head, lines) = text.split_once('\n').expect("a head");
    let figure = |key: &str| {
        let value = head.split_whitespace().find_map(|word| word.strip_prefix(key)).expect(key);
        value.parse().expect(key)
    };
    let listing = lines.lines().map(|line| {
        let (name, rest) = line.split_once(" (").expect("a name");
        let (shape, n) = rest.split_once(") x").expect("a shape");
        let shape = shape.split(',').map(str::trim).filter(|n| !n.is_empty());
        let shape = shape.map(|n| n.parse().expect("an extent")).collect();
        ((name.to_owned(), shape), n.parse().expect("a count"))
    });
    (listing.collect(), figure("params="), figure("tensors="))
}

fn listing<'a>(stored: impl IntoIterator<Item = &'a Stored>) -> Listing {
    let mut listing = Listing::new();
    for stored in stored {
        let number = |word: &str| if word.parse::<u32>().is_ok() { "N".to_owned() } else { word.to_owned() };
        let name = stored.name.split('.').map(number).collect::<Vec<_>>().join(".");
        *listing.entry((name, stored.shape.clone())).or_default() += 1;
    }
    listing
}

fn check(what: &str, stored: &[&Stored], file: &Path, left_out: usize) {
    let (mut expected, n_parameters, n_tensors) = expected(file);
    if left_out == 1 {
        expected.retain(|(name, _), _| name != "lm_head.weight");
    }
    assert_eq!(listing(stored.iter().copied()), expected, "{what}");
    assert_eq!(stored.iter().map(|s| s.len()).sum::<usize>(), n_parameters, "{what}");
    assert_eq!(stored.len(), n_tensors - left_out, "{what}");
}

#[test]
fn reason_has_the_tensors_of_the_published_sizes() {
    // A tied head is listed beside the embedding that it is, and counted once.
    for (name, head, n_copies) in [("reason2-2b", Head::Embedding, 1), ("reason2-8b", Head::Own, 0)] {
        let file = JsonFile::open(&configs(name).join("config.json")).expect("readable").expect("there");
        let config = Reason2Config::parse(&file).expect("a config");
        assert_eq!(config.tie_word_embeddings, head == Head::Embedding);
        let network = network(&config, Limits::default(), head, config.dtype);
        network.verify().expect("sound");
        let names = names(&config, &network, head);
        check(name, &names.stored(), &configs(name).join("tensors.txt"), n_copies);
    }
}

#[test]
fn predict_has_the_tensors_of_the_published_sizes() {
    for name in ["predict2.5-2b", "predict2.5-14b", "predict2-2b"] {
        let config = PredictConfig::open(&configs(name)).expect("configs");
        let clip =
            ClipOptions { height: 704, width: 1280, n_frames: 93, n_given: 5, rope_fps: None, actions: None };
        let text = TextEntry { name: "default".into(), n_tokens: 512 };
        let network = config.network(&clip, &[text], DType::Bf16).expect("a network");
        network.verify().expect("sound");
        let names = config.names(&network, &[], Spelling::Diffusers);
        let projection = projection(&config.denoiser, 1, DType::Bf16);
        let projection = projection.map(|network| projection_names(&network, Spelling::Diffusers));
        let tables: Vec<&Names> = [&names].into_iter().chain(&projection).collect();
        let of = |folder: &str| -> Vec<&Stored> {
            tables.iter().flat_map(|table| table.stored()).filter(|s| s.folder == folder).collect()
        };
        check(name, &of("transformer"), &configs(name).join("transformer/tensors.txt"), 0);
        check(name, &of("vae"), &configs("predict2.5-2b/vae/tensors.txt"), 0);
    }
}

#[test]
fn a_clip_beyond_the_configs_positions_is_refused() {
    let config = PredictConfig::open(&configs("predict2.5-2b")).expect("configs");
    let clip =
        ClipOptions { height: 4096, width: 4096, n_frames: 5, n_given: 1, rope_fps: None, actions: None };
    let text = TextEntry { name: "default".into(), n_tokens: 1 };
    let error = config.network(&clip, &[text], DType::F32).expect_err("too large");
    assert!(matches!(error, PredictError::TooLarge { found: 256, max: 128, .. }), "{error}");
    assert!(matches!(config.network(&clip_of(64), &[], DType::F32), Err(PredictError::NoText)));
}

fn clip_of(side: usize) -> ClipOptions {
    ClipOptions { height: side, width: side, n_frames: 5, n_given: 1, rope_fps: None, actions: None }
}

/// Extents that no network has are refused by their keys, before a network of them is written.
#[test]
fn sizes_that_no_network_has_are_refused() {
    let refused = |name: &str, key: &str, value: Value| {
        let path = configs(name).join("config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(&path).expect("fixture")).expect("JSON");
        let (section, last) = key.rsplit_once('/').expect("a pointer");
        config.pointer_mut(section).expect("there")[last] = value;
        let text = serde_json::to_vec(&config).expect("JSON");
        let error = Reason2Config::parse(&JsonFile::parse(&path, &text).expect("JSON")).expect_err(key);
        assert!(error.to_string().contains(last), "{error}");
    };
    refused("reason2-2b", "/text_config/num_hidden_layers", 2_000_000_000.into());
    refused("reason2-2b", "/vision_config/depth", 2_000_000_000.into());
    refused("reason2-2b", "/text_config/hidden_size", 2_000_000_000.into());
    refused("reason2-2b", "/text_config/head_dim", 2_000_000_000.into());
    refused("reason2-2b", "/vision_config/patch_size", 2_000_000_000.into());
}

#[test]
fn inspect_says_what_a_config_alone_will_claim() {
    let inspect = |dir: &Path, more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_perihelion"));
        let output = command.arg("inspect").arg(dir).args(more).output().expect("runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let json = |dir: &Path| -> Value { serde_json::from_str(&inspect(dir, &["--json"])).expect("JSON") };
    let two_billion = json(&configs("reason2-2b"));
    assert_eq!(two_billion["parameters"], 2_127_532_032u64);
    assert_eq!(two_billion["size_bytes"], 2 * 2_127_532_032u64);
    assert_eq!(two_billion["files"], 0);
    let plan = |report: &Value, precision: &str| {
        let plans = report["engine"]["plans"].as_array().expect("plans").clone();
        plans.into_iter().find(|plan| plan["precision"] == precision).expect(precision)["memory"].clone()
    };
    let memory = plan(&two_billion, "bf16");
    // For 4096 tokens, in f32: keys and values of 28 layers, 8 heads of 128; and visual features with three taps, 2048 wide.
    assert_eq!(memory["caches_bytes"], (2 * 28 * 8 * 128 + 4 * 2048) * 4096 * 4u64);
    let mapped = memory["weights_mapped_bytes"].as_u64().expect("a size");
    assert!((4_255_064_064..4_400_000_000).contains(&mapped), "{mapped}");

    let predict = json(&configs("predict2.5-2b"));
    assert_eq!(predict["parameters"], 2_059_174_912u64 + 126_892_531);
    assert_eq!(predict["engine"]["sizes"]["height"], 704);
    let text = inspect(&configs("predict2.5-2b"), &[]);
    assert!(
        text.contains("without weights here") && text.contains("transformer.transformer_blocks"),
        "{text}"
    );

    // Where there are weights, the same is said of their configs, and it is what the model of them will claim.
    let dir = tempfile::tempdir().expect("a directory");
    fs::copy("engines/small-reason/config.json", dir.path().join("config.json")).expect("copied");
    let (alone, whole) = (json(dir.path()), json(Path::new("engines/small-reason")));
    for key in ["parameters", "tensors", "size_bytes", "parts", "engine"] {
        assert_eq!(alone[key], whole[key], "{key}");
    }
    let model = dir.path().join("a.model");
    let output = Command::new(env!("CARGO_BIN_EXE_perihelion"))
        .args(["export", "engines/small-reason", "-o"])
        .arg(&model)
        .output()
        .expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(json(&model)["plans"], whole["engine"]["plans"]);
}
