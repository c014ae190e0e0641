//! Predict networks against diffusers, on small random checkpoints that it wrote (`tests/reference/predict.py`).
//!
//! `PERIHELION_PREDICT_FIXTURES` names another directory of fixtures, made with another seed.

use std::path::{Path, PathBuf};

use perihelion::backend::reference::Reference;
use perihelion::backend::{Elements, Run, Session};
use perihelion::checkpoint::{Checkpoint, Tensors};
use perihelion::export::load_text;
use perihelion::graph::Network;
use perihelion::models::names::{Constants, Names};
use perihelion::models::predict25::{ClipOptions, Generation, PredictCheckpoint, TextEmbedding, places};
use perihelion::models::wan_vae::{self, ClipSize, WanVaeConfig};
use perihelion::tensor::DType;

/// Of the largest value of the reference's tensor.
const TOLERANCE: f32 = 5e-4;

fn fixtures() -> PathBuf {
    std::env::var_os("PERIHELION_PREDICT_FIXTURES")
        .map_or_else(|| "tests/fixtures/predict".into(), PathBuf::from)
}

fn cases() -> Vec<PathBuf> {
    let mut cases: Vec<PathBuf> = std::fs::read_dir(fixtures())
        .expect("fixtures are there")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.is_dir())
        .collect();
    cases.sort();
    assert!(6 <= cases.len(), "only {} cases", cases.len());
    cases
}

/// A tensor of the reference, and its shape.
struct Expected(Tensors);

impl Expected {
    fn open(case: &Path) -> Expected {
        Expected(Tensors::open(&case.join("expected.safetensors")).expect("fixture"))
    }

    fn get(&self, name: &str) -> (Vec<f32>, Vec<usize>) {
        let view = self.0.tensor(name).expect("fixture");
        (view.to_f32(), view.shape)
    }

    /// Latents `[C, T, h, w]` (or `[1, C, T, h, w]`) as `[T, h, w, C]`.
    fn latents(&self, name: &str) -> (Vec<f32>, [usize; 4]) {
        let (values, shape) = self.get(name);
        let [c, t, h, w] = *shape.last_chunk().expect("latents have four axes");
        let mut out = Vec::with_capacity(values.len());
        for place in 0..t * h * w {
            out.extend((0..c).map(|c| values[c * t * h * w + place]));
        }
        (out, [t, h, w, c])
    }
}

fn close(what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let worst = found
        .iter()
        .zip(expected)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0f32, |m, d| if d.is_nan() { d } else { m.max(d) });
    println!("{what}: {worst:.2e} of {largest:.2}");
    assert!(worst <= TOLERANCE * largest, "{what}: off by {worst:e}, largest {largest}");
}

struct Vae<'a> {
    network: Network,
    constants: Constants<'a>,
    size: ClipSize,
}

impl<'a> Vae<'a> {
    fn new(checkpoint: &'a Checkpoint, height: usize, width: usize, n_latents: usize) -> Vae<'a> {
        let config = WanVaeConfig::parse(checkpoint.config()).expect("config");
        let size = ClipSize { height, width, n_latents };
        let mut network = Network::default();
        wan_vae::build(&mut network, &config, size, "", DType::F32);
        let names = Names::new(&network, |weight| wan_vae::rule(&config, weight));
        let folders = [(wan_vae::FOLDER, checkpoint.tensors())];
        let constants = names.read(&mut network, &folders).expect("weights");
        network.set_limit(wan_vae::LATENTS_PER_CALL, n_latents).expect("limit");
        Vae { network, constants, size }
    }

    /// Encodes a clip, `per_call` latents at a time, with the caches of `state`.
    fn encode(
        &self,
        reference: &mut Reference<'_>,
        frames: &[f32],
        per_call: usize,
        state: usize,
    ) -> Vec<f32> {
        let buffer = |name: &str| self.network.buffer(name).expect("declared");
        let graph = |name: &str| self.network.graph(name).expect("declared");
        let frame_len = self.size.height * self.size.width * 3;
        let n = (frames.len() / frame_len - 1) / 4 + 1;
        let mut at = 0;
        while at < n {
            let (name, n_frames, k) = if at == 0 {
                ("encode_first", 1, 1)
            } else {
                ("encode_step", 4 * per_call.min(n - at), per_call.min(n - at))
            };
            let from = if at == 0 { 0 } else { 4 * (at - 1) + 1 } * frame_len;
            reference
                .write(buffer("frames"), 0, Elements::F32(&frames[from..from + n_frames * frame_len]))
                .expect("fits");
            let mut windows = wan_vae::cache_windows(&self.network, graph(name), state);
            windows.push((buffer("encoded"), at));
            let extents: &[usize] = if at == 0 { &[] } else { &[k] };
            reference.run(graph(name), &Run { extents, windows: &windows, ..Run::default() }).expect("runs");
            at += k;
        }
        let encoded = &self.network.buffers[buffer("encoded").index()];
        let mut out = vec![0.0; n * encoded.row_len()];
        reference.read(buffer("encoded"), 0, &mut out).expect("fits");
        out
    }

    fn decode(&self, reference: &mut Reference<'_>, latents: &[f32], per_call: usize) -> Vec<f32> {
        let buffer = |name: &str| self.network.buffer(name).expect("declared");
        let graph = |name: &str| self.network.graph(name).expect("declared");
        reference.write(buffer("latents"), 0, Elements::F32(latents)).expect("fits");
        let frame_len = self.size.height * self.size.width * 3;
        let (mut at, mut out) = (0, Vec::new());
        while at < self.size.n_latents {
            let k = if at == 0 { 1 } else { per_call.min(self.size.n_latents - at) };
            let (name, n_frames) = if at == 0 { ("decode_first", 1) } else { ("decode_step", 4 * k) };
            let windows = [(buffer("latents"), at)];
            let extents: &[usize] = if at == 0 { &[] } else { &[k] };
            reference.run(graph(name), &Run { extents, windows: &windows, ..Run::default() }).expect("runs");
            let mut pixels = vec![0.0; n_frames * frame_len];
            reference.read(buffer("pixels"), 0, &mut pixels).expect("fits");
            out.extend(pixels);
            at += k;
        }
        out
    }
}

/// The options that a case's `case.json` gives.
fn options(case: &Path, checkpoint: &PredictCheckpoint) -> ClipOptions {
    let text = std::fs::read(case.join("case.json")).expect("fixture");
    let case: serde_json::Value = serde_json::from_slice(&text).expect("fixture");
    let count = |key: &str| case["clip"][key].as_u64().expect("fixture") as usize;
    let predict2 = checkpoint.config().generation == Generation::Predict2;
    ClipOptions {
        height: count("height"),
        width: count("width"),
        n_frames: count("frames"),
        n_given: count("condition_frames"),
        rope_fps: predict2.then(|| count("fps") as f64),
        actions: checkpoint.config().actions(count("frames"), None).expect("actions"),
    }
}

fn texts(case: &Path, checkpoint: &PredictCheckpoint) -> Vec<TextEmbedding> {
    let file = case.join("checkpoint/text_embedding.safetensors");
    ["default", "negative"].map(|name| load_text(checkpoint, name, &file).expect("text")).into()
}

#[test]
fn the_denoiser_answers_as_diffusers() {
    for case in cases() {
        let name = case.file_name().expect("named").to_string_lossy().into_owned();
        let expected = Expected::open(&case);
        let checkpoint = PredictCheckpoint::open(&case.join("checkpoint")).expect("checkpoint");
        let texts = texts(&case, &checkpoint);
        let (network, constants) = checkpoint.network(&options(&case, &checkpoint), &texts).expect("network");
        let buffer = |name: &str| network.buffer(name).expect("declared");
        let graph = |name: &str| network.graph(name).expect("declared");
        let mut reference = Reference::new(&network, &constants);
        let longest = texts.iter().map(|t| t.n_tokens).max().expect("two");
        for (i, text) in texts.iter().enumerate() {
            let caches = network.buffers.iter().filter(|b| b.name.starts_with("text."));
            let windows: Vec<_> = caches.map(|b| (buffer(&b.name), i * longest)).collect();
            reference
                .run(graph(&text.graph_name()), &Run { windows: &windows, ..Run::default() })
                .expect("runs");
        }
        let options = options(&case, &checkpoint);
        let shape = checkpoint.config().latent_shape(&options);
        let mut patches = vec![0.0; shape.len()];
        shape.file_to_patches(&expected.get("call.input").0, &mut patches);
        reference.write(buffer("patches"), 0, Elements::F32(&patches)).expect("fits");
        reference
            .write(buffer("positions"), 0, Elements::F32(&places(shape.grid(), options.rope_fps)))
            .expect("fits");
        for (to, from) in [("mask", "call.mask"), ("timesteps", "call.timestep"), ("actions", "actions")] {
            if let Some(id) = network.buffer(to) {
                reference.write(id, 0, Elements::F32(&expected.get(from).0)).expect("fits");
            }
        }
        let extents = [texts[0].n_tokens, shape.n_patches()];
        reference.run(graph("denoise"), &Run { extents: &extents, ..Run::default() }).expect("runs");
        reference.read(buffer("velocity"), 0, &mut patches).expect("fits");
        let (velocity, _) = expected.get("call.output");
        let mut found = vec![0.0; velocity.len()];
        shape.patches_to_file(&patches, &mut found);
        close(&format!("{name}: velocity"), &found, &velocity);
    }
}

#[test]
fn the_vae_encodes_and_decodes_as_diffusers() {
    for case in cases() {
        let name = case.file_name().expect("named").to_string_lossy().into_owned();
        let expected = Expected::open(&case);
        let (frames, shape) = expected.get("frames");
        let frames: Vec<f32> = frames.iter().map(|v| v / 127.5 - 1.0).collect();
        let (encoded, [n_latents, ..]) = expected.latents("encoded");
        let checkpoint = Checkpoint::open(&case.join("checkpoint/vae")).expect("checkpoint");
        let vae = Vae::new(&checkpoint, shape[1], shape[2], n_latents);
        let mut reference = Reference::new(&vae.network, &vae.constants);
        // The frames of another clip first: nothing of them may be left.
        let other: Vec<f32> = frames.iter().rev().copied().collect();
        vae.encode(&mut reference, &other, 1, 0);
        let one_a_call = vae.encode(&mut reference, &frames, 1, 0);
        close(&format!("{name}: encoded"), &one_a_call, &encoded);
        assert_eq!(vae.encode(&mut reference, &frames, n_latents, 1), one_a_call, "{name}: several a call");

        let (latents, _) = expected.latents("latents");
        let (pixels, _) = expected.get("decoded");
        vae.decode(&mut reference, &encoded, 1);
        let one_a_call = vae.decode(&mut reference, &latents, 1);
        close(&format!("{name}: decoded"), &one_a_call, &pixels);
        assert_eq!(vae.decode(&mut reference, &latents, n_latents), one_a_call, "{name}: several a call");
    }
}
