//! A network that also writes what its products are given.

use crate::graph::{BufferId, Dim, Network, Op, Purpose, ValueId, WeightId, Write};
use crate::tensor::DType;

/// A value that products are given, and where a run leaves it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tap {
    /// Rows of it follow from a run's extents.
    pub(super) rows: Dim,
    pub(super) buffer: BufferId,
    /// Of the products that are given it.
    pub(super) weights: Vec<WeightId>,
}

/// The network with an output more for each value that products are given, and these by graph.
///
/// Weights, graphs and buffers keep their ids; new buffers stand last. They are as large as the largest run's values.
pub(super) fn tapped(network: &Network) -> (Network, Vec<Vec<Tap>>) {
    let mut with_taps = network.clone();
    let mut all = Vec::new();
    for (graph, plain) in network.graphs.iter().enumerate() {
        let maxima: Vec<usize> = plain.dims.iter().map(|dim| dim.max).collect();
        let mut taps: Vec<(ValueId, Tap)> = Vec::new();
        for node in &plain.nodes {
            let Op::Linear { weight, .. } = node.op else { continue };
            let value = node.inputs[0];
            if let Some((_, tap)) = taps.iter_mut().find(|(known, _)| *known == value) {
                tap.weights.push(weight);
                continue;
            }
            let dims = &plain.nodes[value.index()].shape;
            let shape: Vec<usize> = dims.iter().map(|dim| dim.value(&maxima)).collect();
            let name = format!("tap.{}.{}", plain.name, value.index());
            let buffer = with_taps.declare_buffer(&name, DType::F32, &shape, Purpose::Output);
            with_taps.graphs[graph].writes.push(Write { buffer, value });
            taps.push((value, Tap { rows: dims[0], buffer, weights: vec![weight] }));
        }
        all.push(taps.into_iter().map(|(_, tap)| tap).collect());
    }
    (with_taps, all)
}
