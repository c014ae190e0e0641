//! The graphs of Cosmos-Reason2 against `transformers`: vision features and logits of random checkpoints that it wrote itself.
//!
//! The graphs run in the reference evaluation, on the pixels, prompt ids and positions of the fixtures
//! (`tests/reference/reason.py` makes them): what differs here is the graphs' fault alone. Tolerance: 2e-4 of the largest value.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use perihelion::backend::reference::Reference;
use perihelion::backend::{Elements, Run, Session};
use perihelion::checkpoint::{Checkpoint, Tensors};
use perihelion::graph::{BufferId, Network};
use perihelion::models::reason2::{Limits, PatchInputs, PatchPositions, Reason2};
use serde_json::Value;

const TOLERANCE: f32 = 2e-4;
/// Greedy tokens that are compared after the prompt, each with all its logits.
const N_DECODED: usize = 6;

/// What `transformers` made of one checkpoint.
struct Case {
    name: String,
    described: Value,
    expected: Tensors,
}

impl Case {
    fn open(dir: &Path) -> Self {
        let described = std::fs::read(dir.join("case.json")).expect("a case");
        Case {
            name: dir.file_name().expect("a name").to_string_lossy().into_owned(),
            described: serde_json::from_slice(&described).expect("JSON"),
            expected: Tensors::open(&dir.join("expected.safetensors")).expect("tensors"),
        }
    }

    fn integers(&self, key: &str) -> Vec<i32> {
        let list = self.described[key].as_array().expect(key);
        list.iter().map(|n| n.as_i64().expect(key) as i32).collect()
    }

    fn tensor(&self, name: &str) -> Vec<f32> {
        self.expected.tensor(name).expect(name).to_f32()
    }

    fn grids(&self, kind: &str) -> Vec<[usize; 3]> {
        let key = format!("{kind}_grid_thw");
        serde_json::from_value(self.described[&key].clone()).expect("grids")
    }

    fn check(&self, what: &str, found: &[f32], expected: &[f32]) {
        assert_eq!(found.len(), expected.len(), "{}: {what}", self.name);
        let largest = expected.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let off = found.iter().zip(expected).map(|(f, e)| (f - e).abs());
        // Not `f32::max`, which leaves NaN out.
        let off = off.fold(0.0, |m: f32, d| if m.is_nan() || d <= m { m } else { d });
        println!("{}: {what}: off by {:.1e} of the largest", self.name, off / largest);
        // Not `<=` turned around: NaN must fail.
        assert!(
            off <= TOLERANCE * largest,
            "{}: {what} is off by {off}, the largest is {largest}",
            self.name
        );
    }
}

/// Where the next group's features go, and which rows belong to images and which to videos.
#[derive(Default)]
struct Features {
    n_rows: usize,
    rows: BTreeMap<&'static str, Vec<i32>>,
}

#[test]
fn every_case_agrees_with_transformers() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/reason");
    let mut dirs: Vec<PathBuf> =
        std::fs::read_dir(cases).expect("fixtures").map(|e| e.expect("readable").path()).collect();
    dirs.sort();
    assert!(8 <= dirs.len(), "found {} cases", dirs.len());
    for dir in dirs {
        run(&Case::open(&dir), &dir.join("checkpoint"));
    }
}

fn run(case: &Case, checkpoint: &Path) {
    let checkpoint = Checkpoint::open(checkpoint).expect("a checkpoint");
    let limits = Limits { context: 256, image_tokens: 64, frames: 16 };
    let model = Reason2::new(&checkpoint, limits).expect("a model");
    let mut reference = Reference::new(&model.network, &model);

    let mut features = Features::default();
    for kind in ["image", "video"] {
        encode(case, kind, &model, &mut reference, &mut features);
    }
    let mut logits = prefill(case, &model, &mut reference, &features);
    let network = &model.network;
    let expected = case.tensor("logits");
    let vocabulary = model.config.language.vocab_size;
    let prompt_len = case.integers("prompt_ids").len();
    let rope_delta = case.described["rope_delta"].as_i64().expect("an offset") as i32;
    for (i, token) in case.integers("generated").into_iter().take(N_DECODED).enumerate() {
        case.check(&format!("logits {i}"), &logits, &expected[i * vocabulary..(i + 1) * vocabulary]);
        let past = prompt_len + i;
        let position = past as i32 + rope_delta;
        reference.write(buffer(network, "tokens"), 0, Elements::I32(&[token])).expect("fits");
        reference.write(buffer(network, "positions"), 0, Elements::I32(&[position; 3])).expect("fits");
        reference
            .run(network.graph("decode").expect("a graph"), &Run { extents: &[past], ..Run::default() })
            .expect("runs");
        reference.read(buffer(network, "logits"), 0, &mut logits).expect("fits");
    }
    case.check("logits after them", &logits, &expected[N_DECODED * vocabulary..(N_DECODED + 1) * vocabulary]);
}

/// Runs `vision` for each image or group of frames, each at its own window.
fn encode(
    case: &Case,
    kind: &'static str,
    model: &Reason2<'_>,
    reference: &mut Reference<'_>,
    features: &mut Features,
) {
    let network = &model.network;
    let grids = case.grids(kind);
    if grids.is_empty() {
        return;
    }
    let pixels = case.tensor(if kind == "image" { "pixel_values" } else { "pixel_values_videos" });
    let vision = &model.config.vision;
    let patch_len = network.buffers[buffer(network, "patches").index()].row_len();
    let places =
        PatchPositions { merge_size: vision.spatial_merge_size, table_side: vision.position_grid_side };
    let first = features.n_rows;
    let outputs: Vec<BufferId> = std::iter::once("visual_features".to_owned())
        .chain((0..vision.deepstack_layers.len()).map(|i| format!("deepstack.{i}")))
        .map(|name| buffer(network, &name))
        .collect();
    let mut pixels = pixels.as_slice();
    for [t, h, w] in grids {
        let n = h * w;
        let (mut index, mut share, mut position) = (vec![0; 4 * n], vec![0.0; 4 * n], vec![0; 2 * n]);
        let inputs = PatchInputs { index: &mut index, share: &mut share, position: &mut position };
        places.fill(h, w, inputs);
        reference.write(buffer(network, "position_index"), 0, Elements::I32(&index)).expect("fits");
        reference.write(buffer(network, "position_share"), 0, Elements::F32(&share)).expect("fits");
        reference.write(buffer(network, "patch_positions"), 0, Elements::I32(&position)).expect("fits");
        for _ in 0..t {
            let (group, rest) = pixels.split_at(n * patch_len);
            pixels = rest;
            reference.write(buffer(network, "patches"), 0, Elements::F32(group)).expect("fits");
            let windows: Vec<_> = outputs.iter().map(|b| (*b, features.n_rows)).collect();
            reference
                .run(
                    network.graph("vision").expect("a graph"),
                    &Run { extents: &[n], windows: &windows, ..Run::default() },
                )
                .expect("runs");
            features.n_rows += n / vision.spatial_merge_size.pow(2);
        }
    }
    assert!(pixels.is_empty());
    let n_rows = features.n_rows - first;
    for (i, output) in outputs.iter().enumerate() {
        let name = if i == 0 { format!("{kind}.features") } else { format!("{kind}.deepstack.{}", i - 1) };
        let mut found = vec![f32::NAN; n_rows * vision.out_hidden_size];
        reference.read(*output, first, &mut found).expect("fits");
        case.check(&name, &found, &case.tensor(&name));
    }
    features.rows.insert(kind, (first as i32..features.n_rows as i32).collect());
}

/// Runs `prefill` in two pieces, then `head`; gives the logits.
fn prefill(case: &Case, model: &Reason2<'_>, reference: &mut Reference<'_>, features: &Features) -> Vec<f32> {
    let network = &model.network;
    let config = &model.config;
    let ids = case.integers("prompt_ids");
    let by_axis = case.tensor("position_ids");
    let rows_of = |kind| features.rows.get(kind).cloned().unwrap_or_default().into_iter();
    let (mut images, mut videos) = (rows_of("image"), rows_of("video"));
    let visual_index: Vec<i32> = ids
        .iter()
        .map(|id| match *id as u32 {
            id if id == config.image_token_id => images.next().expect("a row for each token"),
            id if id == config.video_token_id => videos.next().expect("a row for each token"),
            _ => -1,
        })
        .collect();
    assert!(images.next().is_none() && videos.next().is_none());
    let positions: Vec<i32> =
        (0..ids.len()).flat_map(|i| [0, 1, 2].map(|a| by_axis[a * ids.len() + i] as i32)).collect();

    let cut = ids.len() / 2;
    for (begin, end) in [(0, cut), (cut, ids.len())] {
        reference.write(buffer(network, "tokens"), 0, Elements::I32(&ids[begin..end])).expect("fits");
        reference
            .write(buffer(network, "positions"), 0, Elements::I32(&positions[3 * begin..3 * end]))
            .expect("fits");
        reference
            .write(buffer(network, "visual_index"), 0, Elements::I32(&visual_index[begin..end]))
            .expect("fits");
        let extents = [end - begin, begin, features.n_rows.max(1)];
        reference
            .run(network.graph("prefill").expect("a graph"), &Run { extents: &extents, ..Run::default() })
            .expect("runs");
    }
    reference.run(network.graph("head").expect("a graph"), &Run::default()).expect("runs");
    let mut logits = vec![f32::NAN; config.language.vocab_size];
    reference.read(buffer(network, "logits"), 0, &mut logits).expect("fits");
    logits
}

fn buffer(network: &Network, name: &str) -> BufferId {
    network.buffer(name).unwrap_or_else(|| panic!("no buffer {name}"))
}
