//! The weights with which a pipeline begins to learn: a checkpoint's, or random ones.

use std::collections::HashMap;

use super::super::pipeline::{self, ACTIONS};
use super::Denoiser;
use crate::distill::DistillError;
use crate::distill::draw::{Purpose, generator};
use crate::distill::optimizer::{Parameter, Rule};
use crate::graph::{Weight, WeightId, Weights as _};
use crate::models::predict25::{ClipOptions, PredictCheckpoint};

impl Denoiser {
    /// The weights before the first step: `learnt` gives those that learn.
    pub(in super::super) fn parameters(&self, learnt: impl Fn(usize, &Weight) -> Vec<f32>) -> Vec<Parameter> {
        let of = |(i, weight): (usize, &Weight)| match self.fixed.get(&WeightId(i as u32)) {
            Some(values) => Parameter::new(&weight.name, &weight.shape, values.clone(), Rule::Fixed),
            None => Parameter::new(&weight.name, &weight.shape, learnt(i, weight), pipeline::rule(weight)),
        };
        self.network.weights.iter().enumerate().map(of).collect()
    }

    /// The weights of a checkpoint, by their names, which a run begins with.
    pub(in super::super) fn first(
        &self,
        checkpoint: &PredictCheckpoint,
    ) -> Result<HashMap<String, Vec<f32>>, DistillError> {
        let options = ClipOptions {
            actions: checkpoint.config().actions(self.clip.n_frames, None)?,
            ..self.clip.clone()
        };
        let (network, constants) = checkpoint.network(&options, std::slice::from_ref(&self.text))?;
        // It would be lost, such as what takes actions that no config speaks of.
        if let Some(weight) = network.weights.iter().find(|w| self.network.weight(&w.name).is_none()) {
            let why = format!(
                "its `{}` has no place in what is trained; expected configs that speak of it",
                weight.name
            );
            return Err(DistillError::run(checkpoint.config().dir(), &why));
        }
        let of = |(i, weight): (usize, &Weight)| {
            (weight.name.clone(), constants.weight(WeightId(i as u32)).to_f32())
        };
        Ok(network.weights.iter().enumerate().map(of).collect())
    }

    /// The first weight that learns and is not among these with as many values; what takes actions may be missing.
    pub(in super::super) fn missing<'d>(&'d self, first: &HashMap<String, Vec<f32>>) -> Option<&'d Weight> {
        let is_there = |weight: &Weight| match first.get(&weight.name) {
            Some(values) => values.len() == weight.shape.iter().product::<usize>(),
            None => weight.name.contains(ACTIONS),
        };
        let learns = |i: usize| !self.fixed.contains_key(&WeightId(i as u32));
        let all = self.network.weights.iter().enumerate().filter(|(i, _)| learns(*i));
        all.map(|(_, weight)| weight).find(|weight| !is_there(weight))
    }

    /// The weights of a teacher that has learnt what `first` has, and otherwise nothing.
    pub(in super::super) fn begun(&self, seed: u64, first: &HashMap<String, Vec<f32>>) -> Vec<Parameter> {
        self.parameters(|i, weight| {
            let rng = &mut generator(seed, Purpose::Weights, i as u64);
            first.get(&weight.name).cloned().unwrap_or_else(|| pipeline::values(rng, &self.network, weight))
        })
    }
}
