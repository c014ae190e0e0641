//! What is learnt, a file each: which network, of what, by which loss.

mod denoiser;
mod pipeline;
mod student;
mod teacher;
mod vae;

use std::path::Path;

use super::DistillError;
use super::optimizer::Parameter;
use super::recipe::{Recipe, StageRecipe};
use super::tape::Tensor;
use crate::graph::{Network, WeightId, Weights};
use crate::scenes::Rng;
use crate::tensor::{DType, TensorView};

/// Gives the running means of the weights, as tensors of which nothing is learnt.
pub(super) type Means<'m> = dyn Fn() -> Vec<Tensor> + 'm;

/// A stage of training.
pub(super) trait Stage {
    /// The weights, as they are before the first step, in the order of the network's.
    fn parameters(&self, seed: u64) -> Vec<Parameter>;

    /// The loss on one part of a step, by these weights, whose running means are `means`.
    fn loss(&mut self, weights: &[Tensor], means: &Means<'_>, rng: &mut Rng) -> Result<Tensor, DistillError>;

    /// What is measured on clips of the validation split: names and figures.
    fn measure(
        &mut self,
        weights: &[Tensor],
        rng: &mut Rng,
    ) -> Result<Vec<(&'static str, f64)>, DistillError>;

    /// Writes a checkpoint with these values of the weights to a folder that is not there.
    fn write(&mut self, values: &[Vec<f32>], dir: &Path) -> Result<(), DistillError>;
}

/// The stage of a recipe.
pub(super) fn stage(recipe: &Recipe) -> Result<Box<dyn Stage>, DistillError> {
    Ok(match &recipe.stage {
        StageRecipe::Vae(of) => Box::new(vae::Vae::new(recipe, of)?),
        StageRecipe::Teacher(of) => Box::new(teacher::Teacher::new(recipe, of)?),
        StageRecipe::Student(of) => Box::new(student::Student::new(recipe, of)?),
    })
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

/// Uniform numbers as PyTorch's layers begin with: up to one over the root of what a row takes in.
fn uniform(rng: &mut Rng, n: usize, fan_in: usize) -> Vec<f32> {
    let bound = (fan_in.max(1) as f64).sqrt().recip();
    (0..n).map(|_| rng.uniform(-bound, bound) as f32).collect()
}
