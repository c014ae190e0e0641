//! The causal VAE: clips to latents and back, by what pixels differ in.
//!
//! There is no sampling in the bottleneck and no divergence to a prior; instead the decoder gets latents with noise of a strength drawn
//! for each clip, in shares of their own deviation, so that it bears what a denoiser gets wrong, and latents of no use collapse no code.
//! Each step draws a length of clip: a causal network learns where its zeros in front end, so that it must see clips at least as long
//! as those it will decode. Mean and deviation of the latents are measured when a checkpoint is written, and stand in its config.

use std::fmt::Display;
use std::path::Path;

use serde_json::json;

use super::{Means, Stage, Values, check_size, decibels, digest, uniform};
use crate::backend::Run;
use crate::checkpoint::{Checkpoint, CheckpointWriter};
use crate::distill::DistillError;
use crate::distill::clips::Clips;
use crate::distill::draw::{Purpose, generator, normal};
use crate::distill::interpreter::Interpreter;
use crate::distill::ops;
use crate::distill::optimizer::{Parameter, Rule};
use crate::distill::recipe::{Recipe, Scenes, Train, VaeRecipe};
use crate::distill::tape::Tensor;
use crate::graph::{BufferId, Network, Weight, WeightId, Weights as _};
use crate::models::names::Names;
use crate::models::wan_vae::{
    self, ClipSize, ENCODER_STATES, FRAMES_PER_LATENT, LATENTS_PER_CALL, WanVaeConfig,
};
use crate::scenes::Rng;
use crate::scenes::robot::Split;
use crate::tensor::DType;

/// Share of the latents' mean square in the loss: it only keeps their scale from drifting.
const LATENT_SQUARE: f64 = 1e-3;
/// Clips of which a checkpoint's statistics are made, and those that a measurement takes.
const MEASURED: u64 = 16;

pub(super) struct Vae {
    scenes: Scenes,
    train: Train,
    of: VaeRecipe,
    config: WanVaeConfig,
    network: Network,
    /// The weights to begin with; none for random ones.
    first: Option<Vec<Vec<f32>>>,
}

impl Vae {
    pub(super) fn new(recipe: &Recipe, of: &VaeRecipe) -> Result<Vae, DistillError> {
        let config = WanVaeConfig {
            base_dim: of.base_dim,
            decoder_base_dim: of.base_dim,
            z_dim: of.z_dim,
            dim_mult: of.dim_mult.clone(),
            num_res_blocks: of.num_res_blocks,
            temporal_downsample: of.halve_time.clone(),
            latents_mean: vec![0.0; of.z_dim],
            latents_std: vec![1.0; of.z_dim],
        };
        let network = network(&config, &recipe.scenes);
        check_size(recipe, &network)?;
        let first = of.from.as_deref().map(|from| first(recipe, from, &config, &network)).transpose()?;
        Ok(Vae {
            scenes: recipe.scenes.clone(),
            train: recipe.train.clone(),
            of: of.clone(),
            config,
            network,
            first,
        })
    }

    /// The frames again, and the latents that they were made from, which `noised` may change.
    fn reconstructed(
        &self,
        weights: &[Tensor],
        clips: &Clips,
        noised: impl FnOnce(&Tensor) -> Tensor,
    ) -> Result<(Tensor, Tensor), DistillError> {
        let mut on = Interpreter::new(&self.network, weights.to_vec());
        let frames =
            Tensor::constant(clips.frames.clone(), &[clips.n, clips.n_frames, clips.size, clips.size, 3]);
        let latents = encode(&mut on, &frames)?;
        let pixels = decode(&mut on, &noised(&latents))?;
        Ok((pixels, latents))
    }

    /// Mean and standard deviation of each channel of the latents.
    fn statistics(&self, weights: &[Tensor]) -> Result<(Vec<f32>, Vec<f32>), DistillError> {
        let z = self.of.z_dim;
        let (mut n, mut sums, mut squares) = (0.0, vec![0.0; z], vec![0.0; z]);
        for index in 0..MEASURED.min(self.scenes.clips) {
            let clips = Clips::draw(Split::Train, &[index], self.scenes.frames_max(), &self.scenes);
            let mut on = Interpreter::new(&self.network, weights.to_vec());
            let shape = [1, clips.n_frames, clips.size, clips.size, 3];
            let latents = encode(&mut on, &Tensor::constant(clips.frames, &shape))?.to_f32();
            for place in latents.chunks_exact(z) {
                n += 1.0;
                for (i, v) in place.iter().enumerate() {
                    sums[i] += f64::from(*v);
                    squares[i] += f64::from(*v).powi(2);
                }
            }
        }
        let mean = sums.iter().map(|s| (s / n) as f32).collect();
        let deviation =
            |(sum, square): (&f64, &f64)| (square / n - (sum / n).powi(2)).max(1e-8).sqrt() as f32;
        Ok((mean, sums.iter().zip(&squares).map(deviation).collect()))
    }
}

/// The weights of a checkpoint's VAE, which must be of the recipe's sizes.
fn first(
    recipe: &Recipe,
    from: &Path,
    config: &WanVaeConfig,
    network: &Network,
) -> Result<Vec<Vec<f32>>, DistillError> {
    let wrong = |why: &dyn Display| DistillError::Recipe {
        path: recipe.path.clone(),
        why: format!("`vae.from`: {why}"),
    };
    let checkpoint = Checkpoint::open(&recipe.beside(from).join(wan_vae::FOLDER)).map_err(|e| wrong(&e))?;
    let found = WanVaeConfig::parse(checkpoint.config()).map_err(|e| wrong(&e))?;
    // Those are of its latents, and are measured anew.
    let (latents_mean, latents_std) = (config.latents_mean.clone(), config.latents_std.clone());
    let found = WanVaeConfig { latents_mean, latents_std, ..found };
    if found != *config {
        return Err(wrong(&format!("a VAE of other sizes: {found:?}; the recipe has {config:?}")));
    }
    let names = Names::new(network, |weight| wan_vae::rule(config, weight));
    let folders = [(wan_vae::FOLDER, checkpoint.tensors())];
    Names::expect_no_others(&[&names], &folders).map_err(|e| wrong(&e))?;
    let mut network = network.clone();
    let constants = names.read(&mut network, &folders).map_err(|e| wrong(&e))?;
    let ids = (0..network.weights.len()).map(|i| WeightId(i as u32));
    Ok(ids.map(|id| constants.weight(id).to_f32()).collect())
}

/// The network for the longest clips, a whole clip in two calls.
fn network(config: &WanVaeConfig, scenes: &Scenes) -> Network {
    let n_latents = (scenes.frames_max() - 1) / FRAMES_PER_LATENT + 1;
    let size = ClipSize { height: scenes.size, width: scenes.size, n_latents };
    let mut network = Network::default();
    wan_vae::build(&mut network, config, size, "", DType::F32);
    let limits = [(LATENTS_PER_CALL, n_latents - 1), (ENCODER_STATES, 1)];
    network.set_limits(&limits).expect("one clip in two calls is within every bound");
    network
}

fn buffer(network: &Network, name: &str) -> BufferId {
    network.buffer(name).expect("the VAE's graphs have it")
}

/// `frames [b, 4 n + 1, h, w, 3]` to latents `[b, n + 1, h, w, z]`: the first frame by itself, then the rest.
pub(super) fn encode(on: &mut Interpreter<'_>, frames: &Tensor) -> Result<Tensor, DistillError> {
    let network = on.network();
    let (source, target) = (buffer(network, "frames"), buffer(network, "encoded"));
    let n_frames = frames.shape()[1];
    on.write(source, frames.sliced(1, 0, 1));
    on.run(network.graph("encode_first").expect("a VAE encodes"), &Run::default())?;
    let first = on.buffer(target).expect("just written").clone();
    on.write(source, frames.sliced(1, 1, n_frames - 1));
    let run = Run { extents: &[(n_frames - 1) / FRAMES_PER_LATENT], ..Run::default() };
    on.run(network.graph("encode_step").expect("a VAE encodes"), &run)?;
    let rest = on.buffer(target).expect("just written").sliced(1, 0, run.extents[0]);
    Ok(Tensor::joined(&[first, rest], 1))
}

/// The way back, to pixels that are not cut to −1…1.
pub(super) fn decode(on: &mut Interpreter<'_>, latents: &Tensor) -> Result<Tensor, DistillError> {
    let network = on.network();
    let (source, target) = (buffer(network, "latents"), buffer(network, "pixels"));
    let n_latents = latents.shape()[1];
    on.write(source, latents.sliced(1, 0, 1));
    on.run(network.graph("decode_first").expect("a VAE decodes"), &Run::default())?;
    let first = on.buffer(target).expect("just written").clone();
    on.write(source, latents.sliced(1, 1, n_latents - 1));
    let run = Run { extents: &[n_latents - 1], ..Run::default() };
    on.run(network.graph("decode_step").expect("a VAE decodes"), &run)?;
    let rest = on.buffer(target).expect("just written").sliced(1, 0, (n_latents - 1) * FRAMES_PER_LATENT);
    Ok(Tensor::joined(&[first, rest], 1))
}

impl Stage for Vae {
    fn inputs(&self) -> String {
        digest(self.first.iter().flatten().map(Vec::as_slice))
    }

    fn parameters(&self, seed: u64) -> Vec<Parameter> {
        let of = |(i, weight): (usize, &Weight)| {
            let rng = &mut generator(seed, Purpose::Weights, i as u64);
            parameter(rng, &self.network, weight, self.first.as_ref().map(|first| first[i].clone()))
        };
        self.network.weights.iter().enumerate().map(of).collect()
    }

    fn loss(&self, weights: &[Tensor], _: &Means<'_>, rng: &mut Rng) -> Result<Tensor, DistillError> {
        let n_frames = self.scenes.frames[rng.below(self.scenes.frames.len())];
        let index =
            |rng: &mut Rng| ((rng.unit() * self.scenes.clips as f64) as u64).min(self.scenes.clips - 1);
        let indices: Vec<u64> = (0..self.train.batch).map(|_| index(rng)).collect();
        let clips = Clips::draw(Split::Train, &indices, n_frames, &self.scenes);
        let strengths: Vec<f64> = (0..clips.n).map(|_| rng.uniform(0.0, self.of.noise)).collect();
        let noised = |latents: &Tensor| {
            let values = latents.to_f32();
            let n = values.len() as f32;
            let mean = values.iter().sum::<f32>() / n;
            let deviation = (values.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / n).sqrt();
            let mut noise = normal(rng, values.len());
            let each = values.len() / clips.n;
            for (noise, strength) in noise.chunks_exact_mut(each).zip(&strengths) {
                noise.iter_mut().for_each(|v| *v *= deviation * *strength as f32);
            }
            ops::add(latents, &Tensor::constant(noise, &latents.shape()))
        };
        let (pixels, latents) = self.reconstructed(weights, &clips, noised)?;
        let square = ops::mul(&latents, &latents).mean().scaled(LATENT_SQUARE);
        Ok(ops::add(&difference(&pixels, &clips, self.of.object_weight), &square))
    }

    fn measure(&self, weights: &[Tensor], _: &mut Rng) -> Result<Vec<(&'static str, f64)>, DistillError> {
        let (mut whole, mut objects, mut n_whole, mut n_objects) = (0.0, 0.0, 0.0, 0.0);
        for index in 0..MEASURED {
            let clips = Clips::draw(Split::Validation, &[index], self.scenes.frames_max(), &self.scenes);
            let (pixels, _) = self.reconstructed(weights, &clips, Tensor::clone)?;
            let pixels = pixels.to_f32();
            let pairs = pixels.chunks_exact(3).zip(clips.frames.chunks_exact(3)).zip(&clips.objects);
            for ((found, expected), is_object) in pairs {
                let square = |(f, e): (&f32, &f32)| f64::from(f.clamp(-1.0, 1.0) - e).powi(2);
                let square: f64 = found.iter().zip(expected).map(square).sum();
                (whole, n_whole) = (whole + square, n_whole + 3.0);
                if 0.5 < *is_object {
                    (objects, n_objects) = (objects + square, n_objects + 3.0);
                }
            }
        }
        Ok(vec![("psnr_db", decibels(whole, n_whole)), ("psnr_objects_db", decibels(objects, n_objects))])
    }

    fn write(&self, values: &[Vec<f32>], dir: &Path) -> Result<(), DistillError> {
        let tensors = values.iter().zip(&self.network.weights);
        let tensors: Vec<Tensor> = tensors.map(|(v, w)| Tensor::constant(v.clone(), &w.shape)).collect();
        let (mean, deviation) = self.statistics(&tensors)?;
        let mut writer = CheckpointWriter::create(dir, None)?.rounding_to(self.train.weights.dtype());
        // The weights are those of latents as they are; whoever reads them folds the statistics in.
        let names = Names::new(&self.network, |weight| wan_vae::rule(&self.config, weight));
        let constants = Values::of(&self.network, values);
        for (folder, tensors) in names.write(&self.network, &constants, &[]) {
            writer.tensors(&format!("{folder}/diffusion_pytorch_model.safetensors"), tensors)?;
        }
        let of = &self.of;
        let config = json!({
            "_class_name": "AutoencoderKLWan",
            "attn_scales": [],
            "base_dim": of.base_dim,
            "decoder_base_dim": null,
            "dim_mult": of.dim_mult,
            "dropout": 0.0,
            "in_channels": 3,
            "is_residual": false,
            "latents_mean": mean,
            "latents_std": deviation,
            "num_res_blocks": of.num_res_blocks,
            "out_channels": 3,
            "patch_size": null,
            "scale_factor_spatial": self.config.spatial_factor(),
            "scale_factor_temporal": FRAMES_PER_LATENT,
            "temperal_downsample": of.halve_time,
            "z_dim": of.z_dim,
        });
        writer.json(&format!("{}/config.json", wan_vae::FOLDER), &config)?;
        Ok(writer.finish()?)
    }
}

/// Without a beginning, as PyTorch's convolutions begin; norms begin as ones.
fn parameter(rng: &mut Rng, network: &Network, weight: &Weight, first: Option<Vec<f32>>) -> Parameter {
    let (name, shape) = (&weight.name[..], &weight.shape[..]);
    let values = first.unwrap_or_else(|| match name.ends_with(".gamma") {
        true => vec![1.0; shape.iter().product()],
        false => uniform(rng, network, weight),
    });
    let is_outer = ["conv_in", "conv_out"].iter().any(|outer| name.contains(outer));
    Parameter::new(name, shape, values, if is_outer { Rule::AdamW } else { Rule::Muon })
}

/// What pixels differ in, absolute and squared, where objects are more than elsewhere.
fn difference(pixels: &Tensor, clips: &Clips, object_weight: f64) -> Tensor {
    let shape = pixels.shape();
    let away = ops::sub(pixels, &Tensor::constant(clips.frames.clone(), &shape));
    let both = ops::add(&away.abs(), &ops::mul(&away, &away));
    let weigh = |o: &f32| 1.0 + (object_weight as f32 - 1.0) * o;
    let weights: Vec<f32> = clips.objects.iter().map(weigh).collect();
    let total: f64 = weights.iter().map(|w| f64::from(*w)).sum();
    let weights = Tensor::constant(weights, &[&shape[..4], &[1]].concat());
    ops::mul(&both, &weights).sum().scaled(1.0 / (3.0 * total))
}
