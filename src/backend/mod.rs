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
mod parts;
mod payload;
mod run;
mod scales;
mod stored;
mod traits;

pub use binding::{Binding, Difference};
pub use error::BackendError;
pub use format::{
    CacheFormat, FormatChoice, FormatError, PartFormat, PartFormats, Scales, Storing, WeightFormat,
    coarsest_rounding,
};
pub use memory::Memory;
pub use parts::{CACHE_PART, parts, takes_format};
pub use payload::{Payload, SECTION_ALIGN_BYTES, SectionSink, Sections};
pub use run::{Elements, Run, RunError};
pub use scales::{ActivationScale, ActivationScales, Balance, ScalesError};
pub use stored::Stored;
pub use traits::{Backend, OpenOptions, PlanMade, PlanTold, Session, Told};

/// The backend of that name, if it can be used on this machine.
///
/// # Errors
/// If there is none, or why it cannot be used.
pub fn backend(name: &str) -> Result<Box<dyn Backend>, BackendError> {
    backend_for(name, None)
}

/// The backend of that name, if it can build for a target: a device by name, or this machine if none is named.
///
/// # Errors
/// If there is none, or why it cannot be used, or not for the target.
pub fn backend_for(name: &str, target: Option<&str>) -> Result<Box<dyn Backend>, BackendError> {
    match (name, target) {
        ("cpu", None) => Ok(Box::new(cpu::Cpu::new()?)),
        ("cpu", Some(target)) => Err(BackendError::Target {
            why: format!(
                "backend `cpu` builds for machines like this one, not for `{target}`; leave --target out"
            ),
        }),
        ("tensorrt", target) => Ok(Box::new(tensorrt::TensorRt::new(target)?)),
        _ => Err(BackendError::Unknown { name: name.into() }),
    }
}
