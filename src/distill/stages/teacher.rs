//! The teacher: a denoiser of latents by flow matching (Lipman et al. 2023, <https://arxiv.org/abs/2210.02747>), told the robot's actions.
//!
//! Latents of some frames are given and stand clean in place; the others are mixed with noise by σ, and the network predicts noise minus
//! latents. σ is a shifted logit-normal, with a share of the noisiest. The VAE is fixed.

use std::collections::HashMap;
use std::path::Path;

use super::denoiser::{Batch, DECODED, Denoiser, MEASURED, mixed, shifted, shifted_times};
use super::{Means, Stage, pipeline};
use crate::checkpoint::Checkpoint;
use crate::distill::DistillError;
use crate::distill::draw::normal;
use crate::distill::ops;
use crate::distill::optimizer::Parameter;
use crate::distill::recipe::{Recipe, TeacherRecipe, Train};
use crate::distill::tape::Tensor;
use crate::graph::Weight;
use crate::models::predict25::{PredictCheckpoint, TextEmbedding};
use crate::models::wan_vae;
use crate::scenes::Rng;
use crate::scenes::robot::Split;

/// Calls of the network for a forecast that is measured.
const STEPS: usize = 8;

pub(super) struct Teacher {
    train: Train,
    of: TeacherRecipe,
    denoiser: Denoiser,
    /// The weights to begin with; random ones where there are none.
    first: HashMap<String, Vec<f32>>,
}

impl Teacher {
    pub(super) fn new(recipe: &Recipe, of: &TeacherRecipe) -> Result<Teacher, DistillError> {
        let vae = Checkpoint::open(&recipe.beside(&of.vae).join(wan_vae::FOLDER))?;
        let channels = vae.config().root()?.extent("z_dim")?;
        let mut index = pipeline::index(recipe, of.given[0].0);
        if !of.sigmas.is_empty() {
            pipeline::ask_at(&mut index, &of.sigmas);
        }
        let transformer = pipeline::transformer(of, channels);
        let wrong = |why: String| DistillError::Recipe {
            path: recipe.path.clone(),
            why: format!("`teacher.from`: {why}"),
        };
        let from = of.from.as_ref().map(|from| recipe.beside(from));
        let from = from.map(|dir| taught(&dir, of).map_err(wrong)).transpose()?;
        let (from, text) = match from {
            Some((checkpoint, text)) => (Some(checkpoint), text),
            None => (None, pipeline::text(recipe.seed, of.text_dim)),
        };
        let denoiser = Denoiser::new(recipe, &of.given, index, transformer, vae, text)?;
        let first = from.map(|from| denoiser.first(&from)).transpose()?;
        if let Some(weight) = first.as_ref().and_then(|first| denoiser.missing(first)) {
            let Weight { name, shape, .. } = weight;
            return Err(wrong(format!("it has no `{name}` of the shape {shape:?} that the recipe asks for")));
        }
        Ok(Teacher {
            train: recipe.train.clone(),
            of: of.clone(),
            denoiser,
            first: first.unwrap_or_default(),
        })
    }

    /// The mean square of what velocities are off, over what is not given; objects and pusher count `object_weight` times.
    fn off(
        &self,
        weights: &[Tensor],
        batch: &Batch,
        sigma: &[f32],
        rng: &mut Rng,
    ) -> Result<Tensor, DistillError> {
        let (noise, mixed) = mixed(&self.denoiser, batch, sigma, rng);
        let velocity = self.denoiser.velocity(weights, batch, sigma, &mixed)?;
        let target = batch.latents.iter().zip(&noise).map(|(z, e)| e - z).collect();
        let away = ops::sub(&velocity, &Tensor::constant(target, &velocity.shape()));
        let open = self.denoiser.open_weighed(batch, self.of.object_weight);
        let total: f64 = open.iter().map(|o| f64::from(*o)).sum();
        let open = Tensor::constant(open, &velocity.shape());
        Ok(ops::mul(&ops::mul(&away, &away), &open).sum().scaled(1.0 / total))
    }
}

/// A checkpoint to begin with, and the text that it knows.
fn taught(dir: &Path, of: &TeacherRecipe) -> Result<(PredictCheckpoint, TextEmbedding), String> {
    let checkpoint = PredictCheckpoint::open(dir).map_err(|e| e.to_string())?;
    pipeline::check_taught(&checkpoint)?;
    let path = dir.join(TextEmbedding::FILE);
    let config = &checkpoint.config().denoiser;
    let text = TextEmbedding::load(config, "default", &path).map_err(|e| e.to_string())?;
    let width = text.values.len() / text.n_tokens;
    if width != of.text_dim {
        return Err(format!("its texts are of {width} values; the recipe has `text_dim` {}", of.text_dim));
    }
    Ok((checkpoint, text))
}

impl Stage for Teacher {
    fn inputs(&self) -> String {
        self.denoiser.inputs(&self.first)
    }

    fn parameters(&self, seed: u64) -> Vec<Parameter> {
        self.denoiser.begun(seed, &self.first)
    }

    fn loss(&self, weights: &[Tensor], _: &Means<'_>, rng: &mut Rng) -> Result<Tensor, DistillError> {
        let mut batch = self.denoiser.drawn(weights, self.train.batch, rng)?;
        let each = batch.actions.len() / batch.n;
        let mut sigma = Vec::new();
        for actions in batch.actions.chunks_exact_mut(each) {
            sigma.push(match rng.chance(self.of.noisiest) {
                true => rng.uniform(0.95, 1.0),
                false => shifted(1.0 / (1.0 + (-f64::from(normal(rng, 1)[0])).exp()), self.of.shift),
            } as f32);
            if rng.chance(self.of.drop_actions) {
                actions.fill(0.0);
            }
        }
        self.off(weights, &batch, &sigma, rng)
    }

    fn measure(&self, weights: &[Tensor], rng: &mut Rng) -> Result<Vec<(&'static str, f64)>, DistillError> {
        let batch = self.denoiser.measured(weights, rng)?;
        // Every measurement has the same noise and the same σ, evenly.
        let mut rng = Rng::new(1);
        let even = |i| shifted((i as f64 + 0.5) / MEASURED as f64, self.of.shift) as f32;
        let sigma: Vec<f32> = (0..MEASURED).map(even).collect();
        let loss = self.off(weights, &batch, &sigma, &mut rng)?.item();
        let noise = normal(&mut rng, batch.latents.len());
        let times = shifted_times(STEPS, self.of.shift);
        let found = self.denoiser.forecast(weights, &batch, &noise, &times, true)?;
        let decibels = self.denoiser.decibels(weights, &found, Split::Validation, DECODED)?;
        Ok(vec![("validation_loss", loss), ("forecast_psnr_db", decibels)])
    }

    fn write(&self, values: &[Vec<f32>], dir: &Path) -> Result<(), DistillError> {
        self.denoiser.write(values, dir)
    }
}
