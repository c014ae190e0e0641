//! Where the constants of a network come from.

use super::WeightId;
use crate::tensor::TensorView;

/// Where a network's constants are. `Sync`, so that whoever evaluates may move between threads.
pub trait Weights: Sync {
    /// The bytes of one weight, of the type and shape that the network declares.
    fn weight(&self, id: WeightId) -> TensorView<'_>;
}
