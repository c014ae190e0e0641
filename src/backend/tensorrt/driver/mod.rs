//! NVIDIA's driver as a session's device: memory, one stream, TensorRT's contexts.
//!
//! Compiled with feature `tensorrt`; without it, it says so. The driver's library is opened when it is asked for.

#[cfg(feature = "tensorrt")]
mod cuda;
#[cfg(not(feature = "tensorrt"))]
mod disabled;
#[cfg(feature = "tensorrt")]
mod enabled;
#[cfg(feature = "tensorrt")]
mod memory;

#[cfg(not(feature = "tensorrt"))]
pub(super) use disabled::{gpu, open};
#[cfg(feature = "tensorrt")]
pub(super) use enabled::{gpu, open};

/// The first GPU of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Gpu {
    /// As its driver names it.
    pub(super) name: String,
    /// As 86 for 8.6.
    pub(super) capability: i32,
    /// Its multiprocessors.
    pub(super) n_multiprocessors: i32,
    /// All of its memory; that of the machine, where it has none of its own.
    pub(super) memory_bytes: u64,
}
