//! The loops that drive an engine: what is asked becomes runs of graphs, and what they leave becomes answers.

pub mod plan;
pub mod predict;
pub mod reason;
mod sampler;
mod shared;
pub mod statistics;

pub use crate::models::reason2::{Sampling, SamplingError};
pub use sampler::{NotFinite, Sampler, check_finite, probabilities};
pub use shared::{Digest, Held, Lender, Limits, Loan, SharedSession};
