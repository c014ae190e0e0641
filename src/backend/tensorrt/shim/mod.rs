//! TensorRT itself: the library where it lies, a network in it, and the plan that it makes of one.
//!
//! `shim.cc` and the files beside it put TensorRT's classes behind C functions and are compiled by `build.rs` with feature `tensorrt`. No
//! NVIDIA library is linked: it is opened when it is asked for, and its version is compared with that of the headers before anything else
//! of it is called, since another's classes lie otherwise in memory.

#[cfg(not(feature = "tensorrt"))]
mod disabled;
#[cfg(feature = "tensorrt")]
mod enabled;
#[cfg(feature = "tensorrt")]
mod ffi;
#[cfg(feature = "tensorrt")]
mod opened;
#[cfg(feature = "tensorrt")]
mod raw;
#[cfg(feature = "tensorrt")]
mod running;
#[cfg(feature = "tensorrt")]
mod translate;

#[cfg(not(feature = "tensorrt"))]
pub use disabled::{Library, Network};
#[cfg(feature = "tensorrt")]
pub use enabled::{Library, Network};
#[cfg(feature = "tensorrt")]
pub(super) use raw::AXES_MAX;
#[cfg(feature = "tensorrt")]
pub(super) use running::{Allocator, Running, Runtime};

use std::fmt;

use serde::{Deserialize, Serialize};

use super::layers::{Element, Layers};

/// The GPUs that a plan is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// The one of this machine.
    Current,
    /// Those of these compute capabilities, as 86 for 8.6. TensorRT-RTX alone builds for others than the machine's.
    Capabilities(Vec<i32>),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Current => f.write_str("the GPU of this machine"),
            Target::Capabilities(all) => {
                let names: Vec<String> = all.iter().map(|sm| format!("sm_{sm}")).collect();
                f.write_str(&names.join(", "))
            }
        }
    }
}

/// What TensorRT says that it was told.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// In the lowering's words. Whether an extent varies is TensorRT's; its bounds are in no network, and stand here as 0 to
    /// [`i64::MAX`].
    pub layers: Layers,
    /// By [`Tensor`](super::layers::Tensor): type and extents as TensorRT infers them, -1 for one that varies.
    pub tensors: Vec<RecordedTensor>,
}

/// A value of a network of TensorRT's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedTensor {
    /// Its type.
    pub element: Element,
    /// Its extents, -1 for one that varies.
    pub dims: Vec<i64>,
}
