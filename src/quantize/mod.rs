//! Calibration: how large activations become while a network works on somebody's own data, and the scales that follow from it.
//!
//! [`Watching`] is a session that whatever loop runs it takes for any other. It sums up what each product is given in a [`Histogram`] by
//! the product's weight, and a [`Method`] makes of that the magnitude which the largest number of eight bits stands for.
//!
//! Why taps in the graph and not in a backend: every backend can be watched so, and none has to know of it.

mod histogram;
mod method;
mod taps;
mod watching;

use crate::graph::{Network, Op, WeightId};

pub use histogram::{Fit, Histogram};
pub use method::Method;
pub use watching::{Watched, Watching};

/// The weights of a network's products, each once.
pub fn products(network: &Network) -> Vec<WeightId> {
    let ops = network.graphs.iter().flat_map(|graph| &graph.nodes).map(|node| &node.op);
    let mut all: Vec<WeightId> = ops
        .filter_map(|op| match op {
            Op::Linear { weight, .. } => Some(*weight),
            _ => None,
        })
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}
