//! The same names where TensorRT is not compiled in: there is no library, and so no network.

use std::path::Path;

use super::{Recorded, Target};
use crate::backend::BackendError;
use crate::backend::tensorrt::layers::Layers;

#[derive(Clone, Copy, Debug)]
enum Never {}

/// TensorRT's library, of which there is none here.
#[derive(Clone, Debug)]
pub struct Library(Never);

impl Library {
    /// Says that TensorRT is not compiled in.
    ///
    /// # Errors
    /// Always.
    pub fn open(_: Option<&Path>) -> Result<Library, BackendError> {
        let why = "it is not compiled in; build with `--features tensorrt`, or use `--backend cpu`";
        Err(BackendError::Unavailable { name: "tensorrt", why: why.into() })
    }

    /// Name and version.
    pub fn version(&self) -> &str {
        match self.0 {}
    }

    /// From now on this process prints what TensorRT says, as it says it.
    pub(in crate::backend::tensorrt) fn print_log(&self) {
        match self.0 {}
    }

    /// Whether it is TensorRT-RTX.
    pub(in crate::backend::tensorrt) fn is_rtx(&self) -> bool {
        match self.0 {}
    }

    /// Whether it makes plans that wait for constants.
    pub(in crate::backend::tensorrt) fn takes_placeholders(&self) -> bool {
        match self.0 {}
    }

    /// Whether a plan can be opened on this machine.
    ///
    /// # Errors
    /// Never: there is no library to ask.
    pub fn can_open(&self, _: &[u8]) -> Result<(), BackendError> {
        match self.0 {}
    }
}

/// A network in a library, of which there is none here.
#[derive(Debug)]
pub struct Network(Never);

impl Network {
    /// Tells TensorRT of a network.
    ///
    /// # Errors
    /// Never: there is no library to tell.
    pub fn new(library: &Library, _: &Layers) -> Result<Network, BackendError> {
        match library.0 {}
    }

    /// As [`new`](Self::new).
    ///
    /// # Errors
    /// Never: there is no library to tell.
    pub fn with(
        library: &Library,
        _: &Layers,
        _: impl Fn(&str) -> Option<Vec<u8>>,
    ) -> Result<Network, BackendError> {
        match library.0 {}
    }

    /// What TensorRT says that it was told.
    ///
    /// # Errors
    /// Never: there is no network.
    pub fn recorded(&self) -> Result<Recorded, BackendError> {
        match self.0 {}
    }

    /// Has a plan made.
    ///
    /// # Errors
    /// Never: there is no network.
    pub fn plan(&mut self, _: &Target) -> Result<Vec<u8>, BackendError> {
        match self.0 {}
    }
}
