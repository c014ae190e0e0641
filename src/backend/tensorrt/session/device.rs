//! What a session asks of a device: memory, plans, copies and runs in an order, and waiting for them.
//!
//! There are two: NVIDIA's driver with TensorRT's library, and, in tests, memory of the host in which the layers themselves are
//! evaluated. So everything that a session decides is run where there is no GPU.

use std::ops::Range;

use crate::backend::BackendError;
use crate::backend::tensorrt::layers::{Constant, Layers};

/// Of which memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Space {
    /// The device's, which plans take and give.
    Device,
    /// The host's, which a program sees; plans reach it only on a device that shares its memory with the host.
    Host,
}

/// A byte of one of the two memories of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// Of which memory.
    pub space: Space,
    /// Bytes from its beginning.
    pub offset: usize,
}

impl Place {
    /// So many bytes further on.
    #[must_use]
    pub fn after(self, n_bytes: usize) -> Place {
        Place { offset: self.offset + n_bytes, ..self }
    }
}

/// What a session needs, all of it at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Bytes of device memory, of which all but `scratch` begin as zeros.
    pub device_bytes: usize,
    /// Where in it plans, one at a time, keep what they compute with.
    pub scratch: Range<usize>,
    /// Bytes of host memory, which begin as zeros.
    pub host_bytes: usize,
}

/// Why a device did not do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The driver's number.
    pub code: i32,
    /// Whether nothing more can be done in this process, as after an access to an address that is none.
    pub is_lasting: bool,
}

/// Memory and plans of one session. What is asked for after [`Device::claim`] neither allocates nor frees.
///
/// Copies and runs are done in the order in which they are asked for, at the latest when [`Device::wait`] returns.
pub trait Device: Send {
    /// Opens a plan that was made of these layers, whose outputs have rows of so many bytes, and gives it the constants that it waits for;
    /// the n-th is plan n. Says how many bytes of scratch it needs.
    ///
    /// # Errors
    /// If it is none for this device, or is not of these layers.
    fn load(
        &mut self,
        graph: &str,
        plan: &[u8],
        layers: &Layers,
        row_bytes: &[usize],
        constants: &[Constant<'_>],
    ) -> Result<usize, BackendError>;

    /// Claims all memory. Called once, after all plans were opened.
    ///
    /// # Errors
    /// How much was asked for, and how much there is.
    fn claim(&mut self, claim: &Claim) -> Result<(), BackendError>;

    /// Whether plans take from and give to host memory as well.
    fn shares_memory(&self) -> bool;

    /// All host memory. Between a run that was asked for and [`Device::wait`] it is not to be looked at.
    fn host(&self) -> &[u8];

    /// All host memory.
    fn host_mut(&mut self) -> &mut [u8];

    /// Puts bytes into device memory, at once.
    ///
    /// # Errors
    /// If the device fails.
    fn store(&mut self, offset: usize, bytes: &[u8]) -> Result<(), Failure>;

    /// Gets bytes out of device memory, at once.
    ///
    /// # Errors
    /// If the device fails.
    fn fetch(&self, offset: usize, out: &mut [u8]) -> Result<(), Failure>;

    /// Copies within and between the two memories.
    ///
    /// # Errors
    /// If the device fails.
    fn copy(&mut self, from: Place, to: Place, n_bytes: usize) -> Result<(), Failure>;

    /// Says where a tensor of a plan stands from its next run on: its inputs first, then its outputs. The place is aligned to 256
    /// bytes.
    ///
    /// # Errors
    /// If the device fails.
    fn bind(&mut self, plan: usize, tensor: usize, place: Place) -> Result<(), Failure>;

    /// Says how many rows an input has from the plan's next run on.
    ///
    /// # Errors
    /// If the device fails.
    fn set_rows(&mut self, plan: usize, input: usize, rows: usize) -> Result<(), Failure>;

    /// Runs a plan.
    ///
    /// # Errors
    /// If the device fails.
    fn launch(&mut self, plan: usize) -> Result<(), Failure>;

    /// Returns when everything that was asked for is done.
    ///
    /// # Errors
    /// If the device has failed at any of it.
    fn wait(&mut self) -> Result<(), Failure>;
}
