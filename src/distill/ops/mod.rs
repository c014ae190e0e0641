//! The ops of a graph with their gradients, a file for each family, as `backend/reference/` has them.
//!
//! Every value has one axis more than its graph says, in front: the members of a batch, or one where all of them have the same.

mod attention;
mod choice;
mod conv;
mod dense;
mod moves;
mod norm;
mod pointwise;
pub(super) mod product;
mod rotary;
mod rows;

pub(super) use attention::attention;
pub use choice::{divergence, log_likelihood};
pub(super) use conv::{Convolution, conv3d};
pub(super) use dense::linear;
pub(super) use moves::upsample;
pub(super) use norm::{layer_norm, rms_norm};
pub use pointwise::{add, mul, sub};
pub(super) use pointwise::{binary, unary};
pub(super) use rotary::{rotary, rotary_table};
pub(super) use rows::{embedding, interpolate_rows, select_rows};
