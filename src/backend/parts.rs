//! The parts of a network, by which formats are chosen, and which of their weights take one.

use crate::graph::{Graph, Network, WeightId, WeightUse};

/// The part that caches of keys and values count as. They are no weights: what they are kept in is the backend's to say.
pub const CACHE_PART: &str = "kv";

/// The parts of a network in the order in which they are declared, and [`CACHE_PART`] if it has caches of keys and values.
pub fn parts(network: &Network) -> Vec<&str> {
    let mut parts: Vec<&str> = Vec::new();
    for weight in &network.weights {
        if !parts.contains(&weight.part.as_str()) {
            parts.push(&weight.part);
        }
    }
    let mut nodes = network.graphs.iter().flat_map(|graph| &graph.nodes);
    if nodes.any(|node| node.op.touches().buffers.iter().any(|b| b.is_written)) {
        parts.push(CACHE_PART);
    }
    parts
}

/// The matrices and tables of a graph.
pub(super) fn formatted(graph: &Graph) -> impl Iterator<Item = WeightId> {
    let weights = graph.nodes.iter().flat_map(|node| node.op.weights());
    weights.filter(|weight| weight.usage != WeightUse::Elements).map(|weight| weight.id)
}

/// Whether each weight takes the format of its part: it is a matrix of products, or a table of which rows are taken.
pub fn takes_format(network: &Network) -> Vec<bool> {
    let mut takes = vec![false; network.weights.len()];
    for id in network.graphs.iter().flat_map(formatted) {
        takes[id.index()] = true;
    }
    takes
}
