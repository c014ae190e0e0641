//! What runs an engine: a [`Backend`] compiles a model into an engine and opens an engine as a [`Session`].
//!
//! Backends meet the rest at whole-engine grain, because what is fast inside one (fusion, layouts, streams) has
//! no name in another. They are picked by name in one `match`; one that is asked for but cannot run is an error that
//! says why, and nothing falls back to another in silence.

pub mod cpu;
#[cfg(feature = "tensorrt")]
pub mod cuda;
pub mod reference;
pub mod tensorrt;

mod binding;
mod error;
mod format;
mod memory;
mod payload;
mod run;
mod scales;
mod traits;

pub use binding::{Binding, Difference};
pub use error::BackendError;
pub use format::{
    CACHE_PART, FormatChoice, FormatError, PartFormat, PartFormats, Scales, WeightFormat, coarsest_rounding,
    parts,
};
pub use memory::Memory;
pub use payload::{Payload, SECTION_ALIGN_BYTES, SectionSink, Sections};
pub use run::{Elements, Run, RunError};
pub use scales::{ActivationScale, ActivationScales, ScalesError};
pub use traits::{Backend, OpenOptions, Session};

/// The backend of that name, if it can be used.
///
/// # Errors
/// If there is none, or why it cannot be used.
pub fn backend(name: &str) -> Result<Box<dyn Backend>, BackendError> {
    match name {
        "cpu" => Ok(Box::new(cpu::Cpu::new()?)),
        "tensorrt" => Err(BackendError::Unavailable {
            name: "tensorrt",
            why: "it is not compiled in; use `--backend cpu`".into(),
        }),
        _ => Err(BackendError::Unknown { name: name.into() }),
    }
}
