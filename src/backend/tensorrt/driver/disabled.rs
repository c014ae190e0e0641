//! The same names where TensorRT is not compiled in.

use super::Gpu;
use crate::backend::BackendError;
use crate::backend::tensorrt::session::Device;
use crate::backend::tensorrt::shim::Library;

const WHY: &str = "it is not compiled in";

/// There is no driver to ask.
pub(in crate::backend::tensorrt) fn gpu() -> Result<Gpu, String> {
    Err(WHY.into())
}

/// There is no driver to open.
pub(in crate::backend::tensorrt) fn open(_: &Library) -> Result<Box<dyn Device>, BackendError> {
    Err(BackendError::Unavailable { name: "tensorrt", why: WHY.into() })
}
