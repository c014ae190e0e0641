//! What is learnt, a file each: which network, of what, by which loss.

mod denoiser;
#[cfg(test)]
mod differences;
mod gkd;
mod grpo;
mod judged;
mod lesson;
mod pipeline;
mod reading;
mod reasoner;
mod seeing;
mod sft;
mod student;
mod teacher;
#[cfg(test)]
#[path = "../../../tests/support/tiny_reason.rs"]
mod tiny_reason;
mod vae;

use std::path::Path;

use sha2::{Digest, Sha256};

use super::DistillError;
use super::optimizer::Parameter;
use super::recipe::{Recipe, StageRecipe};
use super::tape::Tensor;
use crate::graph::{Network, Weight, WeightId, Weights};
use crate::scenes::Rng;
use crate::tensor::{DType, TensorView};

/// Gives the running means of the weights, as tensors of which nothing is learnt.
pub(super) type Means<'m> = dyn Fn() -> Vec<Tensor> + Sync + 'm;

/// A stage of training. Parts of a step may be computed at the same time, each by a thread.
pub(super) trait Stage: Sync {
    /// The digest of what it learns from besides clips.
    fn inputs(&self) -> String;

    /// The weights, as they are before the first step, in the order of the network's.
    fn parameters(&self, seed: u64) -> Vec<Parameter>;

    /// The loss on one part of a step, by these weights, whose running means are `means`.
    fn loss(&self, weights: &[Tensor], means: &Means<'_>, rng: &mut Rng) -> Result<Tensor, DistillError>;

    /// What is measured on clips of the validation split: names and figures.
    fn measure(&self, weights: &[Tensor], rng: &mut Rng) -> Result<Vec<(&'static str, f64)>, DistillError>;

    /// Writes a checkpoint with these values of the weights to a folder that is not there.
    fn write(&self, values: &[Vec<f32>], dir: &Path) -> Result<(), DistillError>;
}

/// The stage of a recipe.
pub(super) fn stage(recipe: &Recipe) -> Result<Box<dyn Stage>, DistillError> {
    Ok(match &recipe.stage {
        StageRecipe::Vae(of) => Box::new(vae::Vae::new(recipe, of)?),
        StageRecipe::Teacher(of) => Box::new(teacher::Teacher::new(recipe, of)?),
        StageRecipe::Student(of) => Box::new(student::Student::new(recipe, of)?),
        StageRecipe::Sft(of) => Box::new(sft::Sft::new(recipe, of)?),
        StageRecipe::Grpo(of) => Box::new(grpo::Grpo::new(recipe, of)?),
        StageRecipe::Gkd(of) => Box::new(gkd::Gkd::new(recipe, of)?),
    })
}

/// No network is larger: beyond that is a mistake, and memory is asked for by it.
const WEIGHTS_MAX: usize = 1 << 31;

/// Whether a recipe's network is one that a machine trains; asked before there is memory for it.
fn check_size(recipe: &Recipe, network: &Network) -> Result<(), DistillError> {
    let n: usize = network.weights.iter().map(|w| w.shape.iter().product::<usize>()).sum();
    if n <= WEIGHTS_MAX {
        return Ok(());
    }
    let why = format!("its network has {n} weights; expected {WEIGHTS_MAX} at most");
    Err(DistillError::Recipe { path: recipe.path.clone(), why })
}

/// SHA-256 of numbers, in hexadecimal digits.
fn digest<'v>(values: impl Iterator<Item = &'v [f32]>) -> String {
    let mut hasher = Sha256::new();
    values.for_each(|values| hasher.update(bytemuck::cast_slice::<f32, u8>(values)));
    hex(hasher)
}

fn hex(hasher: Sha256) -> String {
    crate::container::hex(&hasher.finalize())
}

/// Peak signal to noise of values that range over two, in decibels: `square` is the sum over `n` of what they are off, squared.
fn decibels(square: f64, n: f64) -> f64 {
    // No `max`, which would take a number for what is none.
    10.0 * (4.0 * n / if square < 1e-12 { 1e-12 } else { square }).log10()
}

/// Values of f32 as a network's constants.
pub(super) struct Values<'v> {
    shapes: Vec<Vec<usize>>,
    values: &'v [Vec<f32>],
}

impl<'v> Values<'v> {
    pub(super) fn of(network: &Network, values: &'v [Vec<f32>]) -> Values<'v> {
        Values { shapes: network.weights.iter().map(|w| w.shape.clone()).collect(), values }
    }
}

impl Weights for Values<'_> {
    fn weight(&self, id: WeightId) -> TensorView<'_> {
        let bytes = bytemuck::cast_slice(&self.values[id.index()]);
        TensorView { dtype: DType::F32, shape: self.shapes[id.index()].clone(), bytes }
    }
}

/// A matrix or its bias as PyTorch's layers begin with it: uniform, up to one over the root of what a row of the matrix takes in.
fn uniform(rng: &mut Rng, network: &Network, weight: &Weight) -> Vec<f32> {
    let matrix = weight.name.strip_suffix(".bias").and_then(|stem| network.weight(&format!("{stem}.weight")));
    let shape = matrix.map_or(&weight.shape, |id| &network.weights[id.index()].shape);
    let fan_in: usize = shape[1..].iter().product();
    let bound = (fan_in.max(1) as f64).sqrt().recip();
    let n = weight.shape.iter().product();
    (0..n).map(|_| rng.uniform(-bound, bound) as f32).collect()
}
