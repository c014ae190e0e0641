//! What an engine holds: a plan for each graph, and the weights once for all of them, apart those that plans are given as constants.

use super::layers::Layers;
use super::placed::PlacedLayout;
use super::session::{CONSTANTS, WEIGHTS, plan_section};
use super::weights::WeightLayout;
use super::whole::Whole;
use crate::backend::{BackendError, SectionSink, Stored, Told};
use crate::graph::{Network, Weights};

/// Makes the plan of a graph of this name, of these layers.
pub type MakeAlone<'a> = dyn FnMut(&str, &Layers) -> Result<Vec<u8>, BackendError> + 'a;

/// Writes the sections of a verified network so stored, whose plans `make` makes one after another; says how many bytes
/// that were.
///
/// # Errors
/// If the network cannot be lowered, a plan cannot be made, or the sink fails.
pub fn write_sections(
    network: &Network,
    weights: &dyn Weights,
    stored: &Stored,
    make: &mut MakeAlone<'_>,
    out: &mut dyn SectionSink,
) -> Result<u64, BackendError> {
    write(network, weights, stored, &mut |graph, layers, _, _| make(graph, layers), out, &mut |_| ())
}

/// As [`MakeAlone`], of the network's graph at this place, while something is told.
pub(super) type Make<'a> =
    dyn FnMut(&str, &Layers, usize, &mut dyn FnMut(Told<'_>)) -> Result<Vec<u8>, BackendError> + 'a;

/// As [`write_sections`], and tells how far it is.
pub(super) fn write(
    network: &Network,
    weights: &dyn Weights,
    stored: &Stored,
    make: &mut Make<'_>,
    out: &mut dyn SectionSink,
    told: &mut dyn FnMut(Told<'_>),
) -> Result<u64, BackendError> {
    let whole = Whole::new(network, stored)?;
    let (layout, placed) = (WeightLayout::new(network, &whole), PlacedLayout::new(&whole));
    let failed = |what| move |source| BackendError::System { what, source };
    let (of_inputs, of_constants) = (layout.total_bytes() as u64, placed.total_bytes() as u64);
    let mut n_bytes = of_inputs + of_constants;
    for (i, (graph, lowered)) in network.graphs.iter().zip(&whole.graphs).enumerate() {
        let plan = make(&graph.name, &lowered.layers, i, told)?;
        let written = out.section(&plan_section(&graph.name), &mut |out| out.write_all(&plan));
        written.map_err(failed("a plan"))?;
        n_bytes += plan.len() as u64;
    }
    let mut progress = |done| told(Told::Weights(done));
    let written = out.section(WEIGHTS, &mut |out| layout.write(network, weights, out, &mut progress));
    written.map_err(failed("the weights"))?;
    if of_constants != 0 {
        let mut progress = |done| told(Told::Weights(of_inputs + done));
        let written = out.section(CONSTANTS, &mut |out| placed.write(network, weights, out, &mut progress));
        written.map_err(failed("the weights in fewer bits"))?;
    }
    Ok(n_bytes)
}

/// Bytes of the weights of a network so stored, if it can be lowered.
pub(super) fn weights_bytes(network: &Network, stored: &Stored) -> Option<u64> {
    let whole = Whole::new(network, stored).ok()?;
    let n_bytes = WeightLayout::new(network, &whole).total_bytes() + PlacedLayout::new(&whole).total_bytes();
    Some(n_bytes as u64)
}
