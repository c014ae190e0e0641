//! Which products cost most in eight bits, and which are better given numbers of sixteen: the golden cases with one product after the other
//! in eight bits, and with all of them, beside the reference evaluation.
//!
//! Why the golden cases: they decide whether `build` writes the engine. Why not the products' own errors: what an error of one layer becomes
//! in the outputs, layers after it decide.
//!
//! An engine computes the rest in 16 bits, which is not looked at here: so all products together may cost three quarters of what is
//! allowed.

use std::collections::HashMap;

use super::EngineError;
use super::self_test::{Allowed, allowed};
use super::sums::Sums;
use crate::backend::WeightFormat;
use crate::backend::reference::Reference;
use crate::export::Progress;
use crate::graph::WeightId;
use crate::model::Model;
use crate::quantize::{Narrow, each};
use crate::tensor::TensorView;

/// Of what is allowed, how much all products of eight bits may cost.
const MARGIN: f64 = 0.75;

/// How far golden cases are off: of each, that of the output that is off most.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct GoldenError {
    /// Root of the mean square of the differences, over that of the elements.
    pub rms_share: f64,
    /// The largest difference, over the largest element.
    pub largest_share: f64,
}

/// What products of eight bits cost, and which are to be given numbers of sixteen.
#[derive(Clone, Debug, PartialEq)]
pub struct Keeping {
    /// Each product alone in eight bits; those that cost most first.
    pub alone: Vec<(WeightId, GoldenError)>,
    /// All of them.
    pub all: GoldenError,
    /// Those to be given numbers of 16 bits.
    pub wide: Vec<WeightId>,
    /// All products, with what these are given as it is.
    pub kept: GoldenError,
    /// Whether that is near enough.
    pub is_near: bool,
}

impl GoldenError {
    /// As a share of what is allowed.
    fn of(self, allowed: Allowed) -> f64 {
        (self.rms_share / f64::from(allowed.rms)).max(self.largest_share / f64::from(allowed.largest))
    }
}

/// Tries a model's golden cases with products of eight bits, each alone and all together, and as many of the worst left in 16 bits as it
/// takes to be near enough. Each trial evaluates the golden cases once, of which there are as many as products and some more, `threads` at a
/// time.
///
/// # Errors
/// If a golden case cannot be run.
pub fn keeping(
    model: &Model,
    products: &HashMap<WeightId, Narrow>,
    threads: usize,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Keeping, EngineError> {
    let allowed = allowed(WeightFormat::Int8);
    let mut ids: Vec<WeightId> = products.keys().copied().collect();
    ids.sort_unstable();
    let total = ids.len() as u64;
    let told = |done: usize| progress(Progress { stage: "products alone", done: done as u64, total });
    let alone = each(&ids, threads, &told, |id| {
        let of = golden(model, &|weight| (weight == *id).then(|| products[&weight].clone()))?;
        Ok::<_, EngineError>((*id, of))
    });
    let mut alone = alone.into_iter().collect::<Result<Vec<_>, _>>()?;
    alone.sort_by(|a, b| b.1.of(allowed).total_cmp(&a.1.of(allowed)).then(a.0.cmp(&b.0)));
    // Of those that cost most, so many are given 16 bits.
    let with = |n_wide: usize| {
        let wide = &alone[..n_wide];
        golden(model, &|weight| {
            let as_it_is = wide.iter().any(|(id, _)| *id == weight);
            let way = products.get(&weight)?.clone();
            Some(if as_it_is { Narrow::default() } else { way })
        })
    };
    let is_near = |of: GoldenError| of.of(allowed) <= MARGIN;
    let all = with(0)?;
    let (mut n_wide, mut kept) = (0, all);
    if !is_near(all) {
        // More of them cost no less, all but exactly: halves are searched and what they say is tried.
        let (mut too_few, mut enough) = (0, alone.len());
        (n_wide, kept) = (enough, with(enough)?);
        while is_near(kept) && 1 < enough - too_few {
            let between = too_few.midpoint(enough);
            let found = with(between)?;
            if is_near(found) {
                (enough, n_wide, kept) = (between, between, found);
            } else {
                too_few = between;
            }
        }
    }
    let wide = alone[..n_wide].iter().map(|(id, _)| *id).collect();
    Ok(Keeping { alone, all, wide, kept, is_near: is_near(kept) })
}

/// The golden cases with some products of eight bits.
fn golden(
    model: &Model,
    way: &(dyn Fn(WeightId) -> Option<Narrow> + Sync),
) -> Result<GoldenError, EngineError> {
    let products = |id: WeightId, matrix: &TensorView<'_>, x: &[f32]| Some(way(id)?.product(matrix, x));
    let mut session = Reference::new(model.network(), model).with_products(&products);
    let mut worst = GoldenError::default();
    for step in model.golden().iter().flat_map(|case| &case.steps) {
        let found = step.run(&mut session).map_err(|source| {
            let (path, graph) = (model.path().to_owned(), step.graph.clone());
            EngineError::GoldenRun { path, graph, source }
        })?;
        for (output, found) in step.outputs.iter().zip(&found) {
            let mut sums = Sums::default();
            sums.add(&output.values, found, 0);
            worst.rms_share = worst.rms_share.max(sums.rms_share());
            worst.largest_share = worst.largest_share.max(sums.largest_share());
        }
    }
    Ok(worst)
}
