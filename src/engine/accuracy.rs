//! What the format of each part costs: the golden cases with that part alone in it and all others in f32, and with all parts as
//! they were asked for, beside the reference evaluation.
//!
//! Why not leave it to the self-test: that asks whether an engine answers rightly, of all parts at once. Whoever chooses formats wants
//! to know which part is worth finer ones.

use std::sync::Arc;

use super::sums::{OutputAccuracy, Sums};
use super::{EngineError, build};
use crate::backend::{
    ActivationScales, CACHE_PART, CacheFormat, PartFormat, PartFormats, Sections, Session, Stored,
    WeightFormat, backend,
};
use crate::export::Progress;
use crate::graph::Network;
use crate::model::{GoldenCase, Model};
use serde::Serialize;

/// The buffer whose rows are scores, of which the highest counts.
const LOGITS: &str = "logits";

/// What came of a part in its format.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PartAccuracy {
    /// The part that was not in f32; none for all as they were asked for.
    pub part: Option<String>,
    /// Its format; of all parts as a list.
    pub format: String,
    /// What the golden cases have of each buffer.
    pub outputs: Vec<OutputAccuracy>,
}

/// Runs the golden cases of a model for each part that is asked for in another format than f32. Takes as much memory as the weights do,
/// and builds them once more for each such part.
///
/// # Errors
/// As [`build`]; but nothing is compared with what a precision allows.
pub fn accuracy(
    model: &Model,
    options: &super::BuildOptions,
    scales: Option<&Arc<ActivationScales>>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Vec<PartAccuracy>, EngineError> {
    let weights = build::balanced(model, &build::limited(model, &options.limits)?, scales)?;
    let network = weights.network().clone();
    // What damaged weights cost is nobody's question.
    model.verify(|done, total| progress(Progress { stage: "checking the model", done, total }))?;
    let failed = |source| EngineError::Backend { path: model.path().to_owned(), source };
    let backend = backend(&options.backend).map_err(failed)?;
    let (formats, stored) = build::stored(model, &network, options, scales.cloned(), backend.as_ref())?;
    // Where a backend keeps caches by what weights are, they are no part of their own.
    let is_asked = matches!(backend.storing().caches, CacheFormat::AsAsked(_));
    let counts = |p: &&PartFormat| p.format != WeightFormat::F32 && (is_asked || p.part != CACHE_PART);
    let mut tried: Vec<(Option<&str>, String, Stored)> = formats
        .list()
        .iter()
        .filter(counts)
        .map(|p| (Some(&p.part[..]), p.format.to_string(), alone(&network, &stored, &p.part, is_asked)))
        .collect();
    if tried.len() != 1 {
        tried.push((None, PartFormats::to_string(&formats), stored));
    }
    let total = tried.len() as u64;
    let mut all = Vec::new();
    for (done, (part, format, stored)) in tried.into_iter().enumerate() {
        progress(Progress { stage: "accuracy by part", done: done as u64, total });
        let mut sections = Sections::default();
        backend.build(&network, &weights, &stored, &mut sections, &mut |_| ()).map_err(failed)?;
        let opened = backend.open(network.clone(), &stored, &sections, &options.open);
        let outputs = compared(model, &network, opened.map_err(failed)?.as_mut())?;
        all.push(PartAccuracy { part: part.map(str::to_owned), format, outputs });
    }
    progress(Progress { stage: "accuracy by part", done: total, total });
    Ok(all)
}

/// One part as it is, all others f32; caches as the backend keeps them where that is not asked.
fn alone(network: &Network, stored: &Stored, part: &str, caches_are_asked: bool) -> Stored {
    let of = |(weight, format): (&crate::graph::Weight, &WeightFormat)| match weight.part == part {
        true => *format,
        false => WeightFormat::F32,
    };
    let formats: Vec<WeightFormat> = network.weights.iter().zip(&stored.formats).map(of).collect();
    let caches = stored.caches.filter(|_| caches_are_asked && part == CACHE_PART);
    Stored { caches, ..Stored::from(formats) }
}

fn compared(
    model: &Model,
    network: &Network,
    session: &mut dyn Session,
) -> Result<Vec<OutputAccuracy>, EngineError> {
    let mut sums: Vec<(Sums, usize)> = Vec::new();
    let fits = |case: &&GoldenCase| case.misfit(network).is_none();
    for step in model.golden().iter().filter(fits).flat_map(|case| &case.steps) {
        let found = step.run(session).map_err(|source| {
            let (path, graph) = (model.path().to_owned(), step.graph.clone());
            EngineError::GoldenRun { path, graph, source }
        })?;
        for (output, found) in step.outputs.iter().zip(&found) {
            let buffer = output.buffer.index();
            let at = sums.iter().position(|(_, known)| *known == buffer).unwrap_or_else(|| {
                sums.push((Sums::default(), buffer));
                sums.len() - 1
            });
            let is_scores = network.buffers[buffer].name == LOGITS;
            let row_len = if is_scores { network.buffers[buffer].row_len() } else { 0 };
            sums[at].0.add(&output.values, found, row_len);
        }
    }
    Ok(sums.into_iter().map(|(sums, buffer)| sums.of(network.buffers[buffer].name.clone())).collect())
}
