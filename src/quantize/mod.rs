//! Calibration: how large activations become while a network works on somebody's own data, and the scales that follow from it.
//!
//! [`Watching`] is a session that whatever loop runs it takes for any other. It sums up what each product is given in a [`Histogram`] by
//! the product's weight, and a [`Method`] makes of that the magnitude which the largest number of eight bits stands for.
//!
//! Where few channels are much larger than all others, those few take the bits. [`smoothed`] moves magnitude from such channels to the
//! matrices, within [`groups`] of products before which something stands that can be scaled; [`Balanced`] is a network's weights with it, and
//! [`Narrow`] what a product of few bits then computes.
//!
//! Why taps in the graph and not in a backend: every backend can be watched so, and none has to know of it.

mod balanced;
mod groups;
mod histogram;
mod method;
mod narrow;
mod parallel;
mod sample;
mod smooth;
mod taps;
mod watching;

use crate::graph::{Network, Op, WeightId};

pub use balanced::{Balanced, groups_of};
pub use groups::{Group, groups};
pub use histogram::{Fit, Histogram};
pub use method::Method;
pub use narrow::{Bits, Narrow, errors};
pub use parallel::each;
pub use sample::Sample;
pub use smooth::{Smooth, Smoothed, smoothed};
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
