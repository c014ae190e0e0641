//! What teacher and students have in common: a pipeline's network with its VAE fixed, latents of clips, one call of the denoiser, and
//! forecasts of it.

mod encoded;
mod first;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use self::encoded::Encoded;
use super::pipeline::{configs, fixed};
use super::vae::{decode, encode};
use super::{Values, check_size, decibels, digest};
use crate::backend::Run;
use crate::checkpoint::{Checkpoint, CheckpointWriter, NewTensor};
use crate::distill::DistillError;
use crate::distill::clips::Clips;
use crate::distill::draw::normal;
use crate::distill::interpreter::Interpreter;
use crate::distill::recipe::{Recipe, Scenes, WeightType};
use crate::distill::tape::Tensor;
use crate::graph::{BufferId, Network, Weight, WeightId};
use crate::models::names::Names;
use crate::models::predict25::{ClipOptions, LatentShape, PredictConfig, Spelling, TextEmbedding, places};
use crate::models::wan_vae::{self, ENCODER_STATES, FRAMES_PER_LATENT, LATENTS_PER_CALL};
use crate::scenes::Rng;
use crate::scenes::robot::Split;
use crate::tensor::DType;

/// What the network is told in place of σ about given frames.
const GIVEN_TIMESTEP: f32 = 1e-4;

/// Clips of the validation split that a measurement takes, and how many of them are decoded.
pub(super) const MEASURED: u64 = 32;
pub(super) const DECODED: usize = 8;

/// Of clips that were encoded, kept at most.
const KEPT_BYTES: usize = 2 << 30;

/// A pipeline as it is trained.
pub(super) struct Denoiser {
    scenes: Scenes,
    /// What a checkpoint's are written in.
    weights: WeightType,
    /// How often each number of frames is given.
    given: Vec<(usize, f64)>,
    index: Value,
    transformer: Value,
    vae: Checkpoint,
    text: TextEmbedding,
    clip: ClipOptions,
    network: Network,
    names: Names,
    fixed: HashMap<WeightId, Vec<f32>>,
    latent: LatentShape,
    /// Clips that were encoded.
    encoded: Mutex<HashMap<(bool, u64), Arc<Encoded>>>,
}

/// Clips of one call: latents as patches, and what the network is told.
#[derive(Clone)]
pub(super) struct Batch {
    pub(super) n: usize,
    pub(super) latents: Vec<f32>,
    pub(super) actions: Vec<f32>,
    /// How much of each element's place is taken by objects and pusher.
    things: Vec<f32>,
    /// Latents that are given, for each clip.
    pub(super) given: Vec<usize>,
}

impl Denoiser {
    /// The network that these configs describe, beside the VAE of a checkpoint.
    pub(super) fn new(
        recipe: &Recipe,
        given: &[(usize, f64)],
        index: Value,
        transformer: Value,
        vae: Checkpoint,
        text: TextEmbedding,
    ) -> Result<Denoiser, DistillError> {
        let scenes = &recipe.scenes;
        // Read back as whoever gets the checkpoint will: what the configs say is what is trained.
        let skeleton =
            tempfile::tempdir().map_err(|e| DistillError::io(Path::new("a temporary folder"), e))?;
        let dir = skeleton.path().join("skeleton");
        let mut writer = CheckpointWriter::create(&dir, None)?;
        configs(&mut writer, &index, &transformer, &vae)?;
        writer.finish()?;
        let config = PredictConfig::open(&dir)?;
        let n_frames = scenes.frames_max();
        let options = ClipOptions {
            height: scenes.size,
            width: scenes.size,
            n_frames,
            n_given: given[0].0,
            rope_fps: None,
            actions: config.actions(n_frames, None)?,
        };
        let mut network = config.network(&options, &[text.entry()], DType::F32)?;
        let limits = [(LATENTS_PER_CALL, (n_frames - 1) / FRAMES_PER_LATENT), (ENCODER_STATES, 1)];
        network.set_limits(&limits).expect("one clip in two calls is within every bound");
        check_size(recipe, &network)?;
        check_actions(recipe, &network)?;
        let names = config.names(&network, std::slice::from_ref(&text), Spelling::Diffusers);
        Ok(Denoiser {
            scenes: scenes.clone(),
            weights: recipe.train.weights,
            given: given.to_vec(),
            fixed: fixed(&network, &config, &vae, &names)?,
            latent: config.latent_shape(&options),
            clip: options,
            index,
            transformer,
            vae,
            text,
            network,
            names,
            encoded: Mutex::default(),
        })
    }

    /// The digest of the weights that do not learn, and of those that are begun with.
    pub(super) fn inputs(&self, first: &HashMap<String, Vec<f32>>) -> String {
        let all = self.network.weights.iter().enumerate();
        let of = |(i, weight): (usize, &Weight)| {
            self.fixed.get(&WeightId(i as u32)).or_else(|| first.get(&weight.name))
        };
        digest(all.filter_map(of).map(Vec::as_slice))
    }

    /// Of one clip, as patches.
    pub(super) fn len(&self) -> usize {
        self.latent.len()
    }

    /// Clips of a split, with numbers of given frames as the recipe shares them; each is encoded once.
    pub(super) fn batch(
        &self,
        weights: &[Tensor],
        split: Split,
        indices: &[u64],
        rng: &mut Rng,
    ) -> Result<Batch, DistillError> {
        let (mut latents, mut actions, mut things) = (Vec::new(), Vec::new(), Vec::new());
        for encoded in self.encoded(weights, split, indices)? {
            latents.extend(&encoded.patches);
            actions.extend(&encoded.actions);
            things.extend(&encoded.things);
        }
        let total: f64 = self.given.iter().map(|(_, share)| share).sum();
        let one = |rng: &mut Rng| {
            let mut at = rng.unit() * total;
            let below = |(_, share): &&(usize, f64)| {
                at -= share;
                at < 0.0
            };
            let found = self.given.iter().find(below).or(self.given.last());
            ClipOptions::n_latents(found.expect("checked: there is one").0)
        };
        let given = indices.iter().map(|_| one(rng)).collect();
        Ok(Batch { n: indices.len(), latents, actions, things, given })
    }

    /// Clips of a split as they are learnt from.
    fn encoded(
        &self,
        weights: &[Tensor],
        split: Split,
        indices: &[u64],
    ) -> Result<Vec<Arc<Encoded>>, DistillError> {
        let kept = || self.encoded.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = Vec::with_capacity(indices.len());
        for index in indices {
            let key = (split == Split::Train, *index);
            let known = kept().get(&key).map(Arc::clone);
            // Nobody waits: who draws the same clip at the same moment encodes it too.
            let encoded = match known {
                Some(encoded) => encoded,
                None => {
                    let encoded = Arc::new(self.encode(weights, split, *index)?);
                    let mut kept = kept();
                    // Clips are many and memory is not.
                    if KEPT_BYTES < (kept.len() + 1) * encoded.bytes() {
                        kept.clear();
                    }
                    kept.insert(key, Arc::clone(&encoded));
                    encoded
                }
            };
            all.push(encoded);
        }
        Ok(all)
    }

    fn encode(&self, weights: &[Tensor], split: Split, index: u64) -> Result<Encoded, DistillError> {
        let clips = Clips::draw(split, &[index], self.scenes.frames_max(), &self.scenes);
        let mut on = Interpreter::new(&self.network, weights.to_vec());
        let shape = [1, clips.n_frames, clips.size, clips.size, 3];
        let latents = encode(&mut on, &Tensor::constant(clips.frames.clone(), &shape))?.to_f32();
        Ok(Encoded::new(clips, &latents, &self.latent))
    }

    /// The first clips of the validation split, all with the first number of frames given: what a measurement is of.
    pub(super) fn measured(&self, weights: &[Tensor], rng: &mut Rng) -> Result<Batch, DistillError> {
        let indices: Vec<u64> = (0..MEASURED).collect();
        let mut batch = self.batch(weights, Split::Validation, &indices, rng)?;
        batch.given.fill(ClipOptions::n_latents(self.given[0].0));
        Ok(batch)
    }

    /// Clips of the training split, drawn.
    pub(super) fn drawn(&self, weights: &[Tensor], n: usize, rng: &mut Rng) -> Result<Batch, DistillError> {
        let clips = self.scenes.clips;
        let index = |rng: &mut Rng| ((rng.unit() * clips as f64) as u64).min(clips - 1);
        let indices: Vec<u64> = (0..n).map(|_| index(rng)).collect();
        self.batch(weights, Split::Train, &indices, rng)
    }

    /// The velocity `[n, patches, values]` that the network gives of latents at each clip's σ.
    pub(super) fn velocity(
        &self,
        weights: &[Tensor],
        batch: &Batch,
        sigma: &[f32],
        mixed: &[f32],
    ) -> Result<Tensor, DistillError> {
        let mut on = Interpreter::new(&self.network, weights.to_vec());
        on.run(self.network.graph(&self.text.graph_name()).expect("one graph a text"), &Run::default())?;
        let [t, ..] = self.latent.grid();
        let (n, n_rows) = (batch.n, t * self.latent.n_patches());
        let each = |of: &dyn Fn(usize, usize) -> f32| -> Vec<f32> {
            (0..n).flat_map(|i| (0..t).map(move |frame| of(i, frame))).collect()
        };
        let is_given = |i: usize, frame: usize| frame < batch.given[i];
        let mask = each(&|i, frame| if is_given(i, frame) { 1.0 } else { 0.0 });
        let timesteps = each(&|i, frame| if is_given(i, frame) { GIVEN_TIMESTEP } else { sigma[i] });
        let places = places(self.latent.grid(), None);
        let n_actions = batch.actions.len() / (2 * n);
        if let Some(actions) = self.network.buffer("actions") {
            on.write(actions, Tensor::constant(batch.actions.clone(), &[n, n_actions, 2]));
        }
        for (name, values, shape) in [
            ("patches", mixed.to_vec(), &[n, n_rows, mixed.len() / (n * n_rows)][..]),
            ("positions", places, &[1, n_rows, 3]),
            ("mask", mask, &[n, t, 1]),
            ("timesteps", timesteps, &[n, t]),
        ] {
            on.write(self.buffer(name), Tensor::constant(values, shape));
        }
        let run = Run { extents: &[self.latent.n_patches()], ..Run::default() };
        on.run(self.network.graph("denoise").expect("a denoiser denoises"), &run)?;
        Ok(on.buffer(self.buffer("velocity")).expect("just written").clone())
    }

    fn buffer(&self, name: &str) -> BufferId {
        self.network.buffer(name).expect("the network has it")
    }

    /// 1 where latents are not given, for each element.
    pub(super) fn open(&self, batch: &Batch) -> Vec<f32> {
        let (t, frame) = (self.latent.n_latents, self.latent.frame_len());
        let of = |i: usize| (0..t * frame).map(move |at| (i, at / frame));
        let all = (0..batch.n).flat_map(of);
        all.map(|(i, at)| if at < batch.given[i] { 0.0 } else { 1.0 }).collect()
    }

    /// The same, but that elements where objects and pusher are count so many times.
    pub(super) fn open_weighed(&self, batch: &Batch, object_weight: f64) -> Vec<f32> {
        let weigh = |(open, share): (f32, &f32)| open * (1.0 + (object_weight as f32 - 1.0) * share);
        self.open(batch).into_iter().zip(&batch.things).map(weigh).collect()
    }

    /// Forecasts from noise at these σ, falling: at each the clean latents that the network sees, mixed with noise again for the next.
    /// With `straight` the mixing follows the velocity (Euler's method), else it takes the first noise.
    pub(super) fn forecast(
        &self,
        weights: &[Tensor],
        batch: &Batch,
        noise: &[f32],
        sigmas: &[f32],
        straight: bool,
    ) -> Result<Vec<f32>, DistillError> {
        let open = self.open(batch);
        let start = batch.latents.iter().zip(noise).zip(&open);
        let mut x: Vec<f32> = start.map(|((z, e), open)| if *open == 0.0 { *z } else { *e }).collect();
        for (step, sigma) in sigmas.iter().enumerate() {
            let next = sigmas.get(step + 1).copied().unwrap_or(0.0);
            let velocity = self.velocity(weights, batch, &vec![*sigma; batch.n], &x)?.to_f32();
            let elements = x.iter_mut().zip(velocity).zip(noise.iter().zip(&open));
            for ((x, v), (e, _)) in elements.filter(|(_, (_, open))| **open != 0.0) {
                let clean = *x - sigma * v;
                *x = if straight { *x + (next - sigma) * v } else { (1.0 - next) * clean + next * e };
            }
        }
        Ok(x)
    }

    /// Peak signal to noise of the first `n` clips of a forecast against what was rendered, over the frames that were not given, in
    /// decibels.
    pub(super) fn decibels(
        &self,
        weights: &[Tensor],
        found: &[f32],
        split: Split,
        n: usize,
    ) -> Result<f64, DistillError> {
        let LatentShape { n_latents, height, width, channels } = self.latent;
        let (mut square, mut n_values) = (0.0, 0.0);
        for (index, patches) in found.chunks_exact(self.len()).enumerate().take(n) {
            let clips = Clips::draw(split, &[index as u64], self.scenes.frames_max(), &self.scenes);
            let mut latents = vec![0.0; patches.len()];
            self.latent.from_patches(patches, &mut latents);
            let mut on = Interpreter::new(&self.network, weights.to_vec());
            let latents = Tensor::constant(latents, &[1, n_latents, height, width, channels]);
            let pixels = decode(&mut on, &latents)?.to_f32();
            let given = self.given[0].0 * clips.size * clips.size * 3;
            for (found, expected) in pixels.iter().zip(&clips.frames).skip(given) {
                square += f64::from(found.clamp(-1.0, 1.0) - expected).powi(2);
                n_values += 1.0;
            }
        }
        Ok(decibels(square, n_values))
    }

    /// The whole pipeline's directory, with these values of the weights.
    pub(super) fn write(&self, values: &[Vec<f32>], dir: &Path) -> Result<(), DistillError> {
        let mut writer = CheckpointWriter::create(dir, None)?.rounding_to(self.weights.dtype());
        configs(&mut writer, &self.index, &self.transformer, &self.vae)?;
        let name = "diffusion_pytorch_model.safetensors";
        let constants = Values::of(&self.network, values);
        for (folder, tensors) in self.names.write(&self.network, &constants, &[]) {
            if folder != wan_vae::FOLDER {
                writer.tensors(&format!("{folder}/{name}"), tensors)?;
            }
        }
        // The VAE's tensors are those that were read, also where another run has replaced the file since.
        let mut tensors = Vec::new();
        for name in self.vae.names() {
            let view = self.vae.tensor(name)?;
            tensors.push(NewTensor::new(name, view.dtype, view.shape, move || view.bytes.into()));
        }
        writer.tensors(&format!("{}/{name}", wan_vae::FOLDER), tensors)?;
        let text = &self.text;
        let shape = vec![text.n_tokens, text.values.len() / text.n_tokens];
        let bytes: &[u8] = bytemuck::cast_slice(&text.values);
        let tensor = NewTensor::new(text.name.clone(), DType::F32, shape, move || bytes.into());
        writer.tensors(TextEmbedding::FILE, vec![tensor])?;
        Ok(writer.finish()?)
    }
}

/// What the clips have is the pusher's speed along two axes; a network takes that or no actions.
fn check_actions(recipe: &Recipe, network: &Network) -> Result<(), DistillError> {
    let Some(id) = network.buffer("actions") else { return Ok(()) };
    let expected = [recipe.scenes.frames_max() - 1, 2];
    let found = &network.buffers[id.index()].shape;
    if found[..] == expected {
        return Ok(());
    }
    let why = format!(
        "the teacher takes actions of {found:?}; expected {expected:?}, a speed along two axes, or none"
    );
    Err(DistillError::Recipe { path: recipe.path.clone(), why })
}

/// Times of `n` steps from pure noise, shifted towards it.
pub(super) fn shifted_times(n: usize, shift: f64) -> Vec<f32> {
    (0..n).map(|step| shifted(1.0 - step as f64 / n as f64, shift) as f32).collect()
}

/// `s u / (1 + (s − 1) u)`
pub(super) fn shifted(u: f64, shift: f64) -> f64 {
    shift * u / (1.0 + (shift - 1.0) * u)
}

/// Noise for a batch, and its latents mixed with it at each clip's σ; given ones stay clean.
pub(super) fn mixed(
    denoiser: &Denoiser,
    batch: &Batch,
    sigma: &[f32],
    rng: &mut Rng,
) -> (Vec<f32>, Vec<f32>) {
    let noise = normal(rng, batch.latents.len());
    let open = denoiser.open(batch);
    let each = denoiser.len();
    let elements = batch.latents.iter().zip(&noise).zip(&open).enumerate();
    let mixed = elements.map(|(i, ((z, e), open))| {
        let sigma = sigma[i / each] * open;
        (1.0 - sigma) * z + sigma * e
    });
    let mixed = mixed.collect();
    (noise, mixed)
}
