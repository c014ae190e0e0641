//! What a session has claimed.

use serde::Serialize;

/// Bytes by what they are for: the table that opening an engine prints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Weights, mapped from the engine file and shared between processes.
    pub weights_mapped_bytes: u64,
    /// Weights copied to private or device memory.
    pub weights_private_bytes: u64,
    /// Input and output buffers.
    pub buffers_bytes: u64,
    /// Caches and features.
    pub caches_bytes: u64,
    /// Intermediate values of a run.
    pub arena_bytes: u64,
    /// Per-thread scratch of kernels.
    pub scratch_bytes: u64,
}
