//! The CPU backend: engines of packed weights, run by our own kernels.

pub mod kernels;
