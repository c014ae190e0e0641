//! How large anything in a graph may be, and the extents at which a rule is tried.

use super::Graph;

/// Elements of any one value, buffer or weight, and so of any axis: keeps all arithmetic on sizes far from overflow.
pub(super) const ELEMENTS_MAX: usize = 1 << 40;
/// Axes of any one of them.
pub(super) const RANK_MAX: usize = 6;
/// Values of a named extent, the addend of one made from it, and steps and padding along it.
pub(super) const NAMED_MAX: usize = 1 << 32;
/// Factors of a named extent.
pub(super) const FACTOR_MAX: usize = 1 << 16;
/// Named extents of a graph: rules are tried at each one's two bounds, all combined.
pub(super) const DIMS_MAX: usize = 8;

/// The extents at which a rule has to hold that is linear in each symbol, or grows with it: each symbol at its bounds.
pub(super) fn corners(graph: &Graph) -> Vec<Vec<usize>> {
    graph.dims.iter().fold(vec![Vec::new()], |corners, dim| {
        corners.iter().flat_map(|c| [dim.min, dim.max].map(|bound| [&c[..], &[bound]].concat())).collect()
    })
}
