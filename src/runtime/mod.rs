//! The loops that drive an engine: what is asked becomes runs of graphs, and what they leave becomes answers.

pub mod plan;
pub mod predict;
pub mod reason;
mod sampler;
pub mod statistics;

pub use sampler::{NotFinite, Sampler, Sampling, SamplingError, check_finite, probabilities};
