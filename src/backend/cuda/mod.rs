//! Kernels of our own for NVIDIA GPUs: what stands between a camera's bytes or a plan's numbers and what TensorRT takes and gives.
//!
//! Their one source (`kernels/`) is compiled twice: by NVRTC on the device ([`Nvrtc`]), and by a C++ compiler in tests, where
//! blocks and threads are loops, against the CPU path. A kernel takes one argument, a struct by value ([`arguments`]).

use std::error::Error as _;

pub mod arguments;
#[allow(unsafe_code)] // a C library, opened at run time
mod nvrtc;

pub use nvrtc::{Nvrtc, NvrtcError};

/// What every kernel's text stands behind.
pub const BLOCK_H: &str = include_str!("kernels/block.h");

/// One kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Its function.
    pub name: &'static str,
    /// Its text, without [`BLOCK_H`].
    pub text: &'static str,
    /// Threads of a block; the sampler has one block, the others as many as they like.
    pub n_threads: u32,
}

/// A camera's bytes to network input ([`arguments::Pixels`]).
pub const CAMERA_TO_INPUT: Kernel =
    Kernel { name: "camera_to_input", text: include_str!("kernels/pixels.cu"), n_threads: 256 };
/// Rows between buffers of other pitches and number formats ([`arguments::Rows`]).
pub const COPY_ROWS: Kernel =
    Kernel { name: "copy_rows", text: include_str!("kernels/rows.cu"), n_threads: 256 };
/// Logits to a token ([`arguments::Sample`]), in one block.
pub const SAMPLE: Kernel =
    Kernel { name: "sample", text: include_str!("kernels/sampling.cu"), n_threads: 1024 };

/// What went wrong with a library, and the loader's reason, which the error keeps apart.
pub(in crate::backend) fn caused(why: &libloading::Error) -> String {
    why.source().map_or_else(|| why.to_string(), |cause| format!("{why}: {cause}"))
}

impl Kernel {
    /// Every kernel.
    pub const ALL: [Kernel; 3] = [CAMERA_TO_INPUT, COPY_ROWS, SAMPLE];

    /// The whole text, as a compiler takes it.
    #[must_use]
    pub fn source(&self) -> String {
        format!("{BLOCK_H}\n#line 1 \"{}\"\n{}", self.name, self.text)
    }
}
